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
void cmd_client(call *x);

/* cmd_server.c */
void cmd_command(call *x);
void cmd_config(call *x);
void cmd_info(call *x);
void cmd_bgrewriteaof(call *x);
void cmd_shutdown(call *x);

/* cmd_string.c */
void cmd_get(call *x);
void cmd_set(call *x);
void cmd_setnx(call *x);
void cmd_getset(call *x);
void cmd_getdel(call *x);
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

/* cmd_key.c */
void cmd_exists(call *x);
void cmd_type(call *x);
void cmd_del(call *x);
void cmd_rename(call *x);
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
