/*
** cmd_server.c - commands about the server: COMMAND, CONFIG GET, INFO, BGREWRITEAOF, SHUTDOWN.
**
** INFO and CONFIG GET use the names that Redis' clients look for, as far as they mean something here;
** redis_version says which Redis the commands are modelled on.
*/
#include "command.h"
#include "commands.h"
#include "glob.h"
#include "reply.h"
#include "rewrite.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define LIKE_REDIS "7.0.0"

/* --- COMMAND ---------------------------------------------------------------------------------- */

static size_t command_count(void) {
  size_t count = 0;
  while (command_table[count].name != NULL) count++;
  return count;
}

static void reply_command(call *x, const command *one) {
  static const struct {
    unsigned flag;
    const char *name;
  } flags[] = {{CMD_WRITE, "write"},
               {CMD_READ, "readonly"},
               {CMD_NO_AUTH, "no_auth"},
               {CMD_NO_MULTI, "no_multi"},
               {CMD_ADMIN, "admin"}};
  if (one == NULL) {
    reply_nil_array(x->out);
    return;
  }
  reply_array(x->out, 10);
  reply_text(x->out, one->name);
  reply_integer(x->out, one->arity);
  size_t begin = reply_array_begin(x->out), count = 0;
  for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
    bool writes = one->flags & CMD_WRITE && flags[i].flag == CMD_READ;
    if (!(one->flags & flags[i].flag) || writes) continue;
    reply_status(x->out, flags[i].name);
    count++;
  }
  reply_array_end(x->out, begin, count);
  reply_integer(x->out, one->first_key);
  reply_integer(x->out, one->last_key);
  reply_integer(x->out, one->key_step);
  for (int i = 0; i < 4; i++) reply_array(x->out, 0); /* categories, tips, keys, subcommands */
}

static void reply_docs(call *x, const command *one) {
  reply_text(x->out, one->name);
  reply_array(x->out, 6);
  reply_text(x->out, "summary");
  reply_text(x->out, one->summary);
  reply_text(x->out, "since");
  reply_text(x->out, "0.1.0");
  reply_text(x->out, "group");
  reply_text(x->out, one->flags & (CMD_READ | CMD_WRITE) ? "generic" : "server");
}

static void command_docs(call *x) {
  size_t begin = reply_array_begin(x->out), count = 0;
  if (x->count == 2) {
    for (const command *at = command_table; at->name != NULL; at++, count += 2) reply_docs(x, at);
  }
  for (size_t i = 2; i < x->count; i++) {
    const command *one = command_find(x->args[i].data, x->args[i].size);
    if (one == NULL) continue;
    reply_docs(x, one);
    count += 2;
  }
  reply_array_end(x->out, begin, count);
}

void cmd_command(call *x) {
  if (x->count == 1) {
    reply_array(x->out, command_count());
    for (const command *at = command_table; at->name != NULL; at++) reply_command(x, at);
  } else if (call_is(&x->args[1], "COUNT") && x->count == 2) {
    reply_integer(x->out, (int64_t)command_count());
  } else if (call_is(&x->args[1], "DOCS")) {
    command_docs(x);
  } else if (call_is(&x->args[1], "INFO")) {
    reply_array(x->out, x->count - 2);
    for (size_t i = 2; i < x->count; i++) {
      reply_command(x, command_find(x->args[i].data, x->args[i].size));
    }
  } else {
    call_reply_unknown_subcommand(x);
  }
}

/* --- CONFIG ----------------------------------------------------------------------------------- */

typedef struct setting {
  const char *name;
  char value[256];
} setting;

#define SETTINGS_MAX 20

static size_t settings_of(const server *s, setting out[SETTINGS_MAX]) {
  const server_options *o = &s->options;
  size_t n = 0;
#define SETTING(key, ...)                                                                          \
  do {                                                                                             \
    out[n].name = key;                                                                             \
    snprintf(out[n++].value, sizeof out[0].value, __VA_ARGS__);                                    \
  } while (0)
  SETTING("appendfilename", "%s", o->file);
  SETTING("appendfsync", "%s",
          o->settings.synchronous == KV_SYNC_FULL     ? "always"
          : o->settings.synchronous == KV_SYNC_NORMAL ? "everysec"
                                                      : "no");
  SETTING("appendonly", "yes");
  SETTING("bind", "%s", o->bind);
  SETTING("busy-timeout", "%u", o->busy_timeout_ms);
  SETTING("databases", "1");
  SETTING("group-size", "%u", o->settings.group_size);
  SETTING("group-timeout", "%u", o->settings.group_timeout_ms);
  SETTING("maxclients", "%u", o->clients_max);
  SETTING("maxmemory", "0");
  SETTING("port", "%u", o->port);
  SETTING("proto-max-bulk-len", "%zu", s->limits.bulk_max);
  SETTING("save", "%s", "");
  SETTING("synchronous", "%s", server_synchronous_name(s));
  SETTING("timeout", "%u", o->idle_timeout_s);
  SETTING("unixsocket", "%s", o->unixsocket != NULL ? o->unixsocket : "");
#undef SETTING
  return n;
}

void cmd_config(call *x) {
  setting settings[SETTINGS_MAX];
  if (call_is(&x->args[1], "SET")) {
    reply_error(x->out, "ERR kvstore: settings are given when the server is started");
    return;
  }
  if (!call_is(&x->args[1], "GET") || x->count < 3) {
    call_reply_unknown_subcommand(x);
    return;
  }
  size_t count = settings_of(x->server, settings), begin = reply_array_begin(x->out), shown = 0;
  for (size_t i = 0; i < count; i++) {
    const char *name = settings[i].name;
    bool matches = false;
    for (size_t j = 2; j < x->count && !matches; j++) {
      matches = glob_match(x->args[j].data, x->args[j].size, name, strlen(name));
    }
    if (!matches) continue;
    reply_text(x->out, name);
    reply_text(x->out, settings[i].value);
    shown += 2;
  }
  reply_array_end(x->out, begin, shown);
}

/* --- INFO ------------------------------------------------------------------------------------- */

static void line(bytes *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void line(bytes *out, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  bytes_append_text(out, text);
  bytes_append(out, "\r\n", 2);
}

/* Begin a section if it was asked for. */
static bool section(const call *x, bytes *out, const char *name) {
  bool wanted = x->count == 1;
  for (size_t i = 1; i < x->count && !wanted; i++) {
    const resp_arg *arg = &x->args[i];
    wanted = call_is(arg, name) || call_is(arg, "all") || call_is(arg, "default") ||
             call_is(arg, "everything");
  }
  if (!wanted) return false;
  if (out->size > 0) bytes_append(out, "\r\n", 2);
  line(out, "# %c%s", name[0] - 'a' + 'A', name + 1);
  return true;
}

static void info_server(const call *x, bytes *out) {
  const server *s = x->server;
  uint64_t up_s = (uv_now(&s->loop) - s->started_ms) / 1000;
  line(out, "redis_version:" LIKE_REDIS);
  line(out, "redis_mode:standalone");
  line(out, "kvstore_version:%s", kv_version());
  line(out, "process_id:%ld", (long)getpid());
  line(out, "tcp_port:%u", s->options.port);
  line(out, "uptime_in_seconds:%" PRIu64, up_s);
  line(out, "uptime_in_days:%" PRIu64, up_s / 86400);
}

static void info_clients(const call *x, bytes *out) {
  const server *s = x->server;
  line(out, "connected_clients:%zu", s->lists[LIST_ALL].size);
  line(out, "maxclients:%u", s->options.clients_max);
  line(out, "blocked_clients:%zu", s->lists[LIST_BLOCKED].size);
  line(out, "clients_waiting_for_flush:%zu", s->lists[LIST_HELD].size);
}

static void info_memory(const call *x, bytes *out, const kv_stats *stats) {
  struct rusage usage = {0};
  (void)getrusage(RUSAGE_SELF, &usage);
  line(out, "used_memory:%" PRIu64, stats->memory_bytes + x->server->buffers);
  line(out, "used_memory_tree:%" PRIu64, stats->memory_bytes);
  line(out, "used_memory_buffers:%zu", x->server->buffers);
  line(out, "used_memory_peak_rss:%ld", usage.ru_maxrss * 1024);
  line(out, "maxmemory:0");
}

static void info_persistence(const call *x, bytes *out, const kv_stats *stats) {
  const server *s = x->server;
  line(out, "loading:0");
  line(out, "aof_enabled:%d", s->db != NULL && stats->path != NULL);
  line(out, "aof_rewrite_in_progress:%d", s->rewrite.db != NULL);
  line(out, "aof_last_write_status:%s", s->is_failed ? "err" : "ok");
  line(out, "aof_current_size:%" PRIu64, stats->log_bytes);
  line(out, "synchronous:%s", server_synchronous_name(s));
  line(out, "commits:%" PRIu64, stats->commits);
  line(out, "flushes:%" PRIu64, stats->flushes);
  line(out, "commits_per_flush:%.1f",
       stats->flushes > 0 ? (double)stats->commits / (double)stats->flushes : 0.0);
  line(out, "flush_p50_us:%" PRIu64, stats->flush_p50_ns / 1000);
  line(out, "flush_p99_us:%" PRIu64, stats->flush_p99_ns / 1000);
  line(out, "flush_max_us:%" PRIu64, stats->flush_max_ns / 1000);
  line(out, "seq:%" PRIu64, stats->seq);
  line(out, "durable_seq:%" PRIu64, stats->durable_seq);
}

static void info_stats(const call *x, bytes *out) {
  const server_counters *counters = &x->server->counters;
  line(out, "total_connections_received:%" PRIu64, counters->connections);
  line(out, "rejected_connections:%" PRIu64, counters->rejected);
  line(out, "total_commands_processed:%" PRIu64, counters->commands);
  line(out, "reads_processed:%" PRIu64, counters->reads);
  line(out, "writes_processed:%" PRIu64, counters->writes);
  line(out, "protocol_errors:%" PRIu64, counters->protocol_errors);
}

void cmd_info(call *x) {
  bytes out = {0};
  kv_stats stats;
  kv_error err;
  int rc = kv_get_stats(x->server->db, &stats, &err);
  if (rc != KV_OK) {
    call_fail(x, &err);
    return;
  }
  if (section(x, &out, "server")) info_server(x, &out);
  if (section(x, &out, "clients")) info_clients(x, &out);
  if (section(x, &out, "memory")) info_memory(x, &out, &stats);
  if (section(x, &out, "persistence")) info_persistence(x, &out, &stats);
  if (section(x, &out, "stats")) info_stats(x, &out);
  if (section(x, &out, "replication")) {
    line(&out, "role:master");
    line(&out, "connected_slaves:0");
  }
  if (section(x, &out, "keyspace") && stats.keys > 0) {
    line(&out, "db0:keys=%" PRIu64 ",expires=0,avg_ttl=0", stats.keys);
  }
  reply_bulk(x->out, out.data != NULL ? out.data : "", out.size);
  bytes_free(&out);
}

/* --- the log and the end ---------------------------------------------------------------------- */

void cmd_bgrewriteaof(call *x) {
  kv_error err;
  int rc = rewrite_start(x->server, &err);
  if (rc == KV_OK) {
    reply_status(x->out, "Background append only file rewriting started");
  } else {
    reply_error(x->out, rc == KV_EBUSY ? "ERR %s" : "ERR kvstore: %s", err.text);
  }
}

void cmd_shutdown(call *x) {
  for (size_t i = 1; i < x->count; i++) {
    const resp_arg *arg = &x->args[i];
    if (call_is(arg, "SAVE") || call_is(arg, "NOSAVE") || call_is(arg, "NOW")) continue;
    if (call_is(arg, "FORCE")) continue;
    call_reply_syntax_error(x);
    return;
  }
  x->conn->is_closing = true;
  server_end(x->server, "SHUTDOWN");
}
