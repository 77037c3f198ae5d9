/*
** commands.h - the functions that command_table.c points at, each the command of its name.
*/
#ifndef COMMANDS_H
#define COMMANDS_H

#include "call.h"

/* cmd_conn.c */
void cmd_ping(call *x);
void cmd_echo(call *x);
void cmd_quit(call *x);
void cmd_select(call *x);
void cmd_auth(call *x);
void cmd_hello(call *x);
void cmd_reset(call *x);

/* cmd_client.c */
void cmd_client_getname(call *x);
void cmd_client_help(call *x);
void cmd_client_id(call *x);
void cmd_client_info(call *x);
void cmd_client_kill(call *x);
void cmd_client_list(call *x);
void cmd_client_no_evict(call *x);
void cmd_client_reply(call *x);
void cmd_client_setinfo(call *x);
void cmd_client_setname(call *x);

/* cmd_command.c */
void cmd_command(call *x);
void cmd_command_count(call *x);
void cmd_command_docs(call *x);
void cmd_command_getkeys(call *x);
void cmd_command_getkeysandflags(call *x);
void cmd_command_help(call *x);
void cmd_command_info(call *x);
void cmd_command_list(call *x);

/* cmd_config.c */
void cmd_config_get(call *x);
void cmd_config_help(call *x);
void cmd_config_resetstat(call *x);
void cmd_config_rewrite(call *x);
void cmd_config_set(call *x);

/* cmd_info.c */
void cmd_info(call *x);

/* cmd_server.c */
void cmd_bgrewriteaof(call *x);
void cmd_shutdown(call *x);
void cmd_role(call *x);
void cmd_lastsave(call *x);
void cmd_time(call *x);

/* monitor.c */
void cmd_monitor(call *x);

/* slowlog.c */
void cmd_slowlog_get(call *x);
void cmd_slowlog_help(call *x);
void cmd_slowlog_len(call *x);
void cmd_slowlog_reset(call *x);

/* cmd_string.c */
void cmd_get(call *x);
void cmd_set(call *x);
void cmd_setnx(call *x);
void cmd_getset(call *x);
void cmd_getdel(call *x);
void cmd_getex(call *x);
void cmd_mget(call *x);
void cmd_mset(call *x);
void cmd_msetnx(call *x);
void cmd_strlen(call *x);
void cmd_append(call *x);
void cmd_setrange(call *x);
void cmd_getrange(call *x);
void cmd_incr(call *x);
void cmd_decr(call *x);
void cmd_incrby(call *x);
void cmd_decrby(call *x);
void cmd_incrbyfloat(call *x);

/* cmd_bits.c */
void cmd_bitcount(call *x);
void cmd_getbit(call *x);
void cmd_setbit(call *x);

/* cmd_lcs.c */
void cmd_lcs(call *x);

/* cmd_object.c */
void cmd_memory_help(call *x);
void cmd_memory_usage(call *x);
void cmd_object_encoding(call *x);
void cmd_object_freq(call *x);
void cmd_object_help(call *x);
void cmd_object_idletime(call *x);
void cmd_object_refcount(call *x);

/* cmd_key.c */
void cmd_exists(call *x);
void cmd_type(call *x);
void cmd_del(call *x);
void cmd_rename(call *x);
void cmd_renamenx(call *x);
void cmd_copy(call *x);
void cmd_ttl(call *x);
void cmd_expire(call *x);
void cmd_dbsize(call *x);
void cmd_randomkey(call *x);
void cmd_flush(call *x);
void cmd_keys(call *x);
void cmd_scan(call *x);
void cmd_kv_deltree(call *x);

/* cmd_tree.c */
void cmd_kv_children(call *x);
void cmd_kv_tree(call *x);

#endif
