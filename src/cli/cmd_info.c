/*
** cmd_info.c - INFO: how the server is, section by section, with the names of Redis 7 that programs
** look for, as far as they mean something here, and some of its own.
**
** redis_version says which Redis the commands are modelled on.
*/
#include "command.h"
#include "commands.h"
#include "reply.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define LIKE_REDIS "7.0.0"

typedef struct info {
  const call *x;
  const server *s;
  kv_stats stats;
  bytes out;
} info;

static void line(info *i, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void line(info *i, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  bytes_append_text(&i->out, text);
  bytes_append(&i->out, "\r\n", 2);
}

static void number(info *i, const char *name, uint64_t value) {
  line(i, "%s:%" PRIu64, name, value);
}

/* A number of bytes, and beside it as people read it. */
static void size_line(info *i, const char *name, uint64_t value) {
  static const char units[] = "BKMGT";
  double shown = (double)value;
  size_t unit = 0;
  for (; shown >= 1024 && unit < 4; unit++) shown /= 1024;
  number(i, name, value);
  line(i, unit == 0 ? "%s_human:%.0f%c" : "%s_human:%.2f%c", name, shown, units[unit]);
}

/* --- sections ----------------------------------------------------------------------------------- */

static void info_server(info *i) {
  const server *s = i->s;
  uint64_t up_s = (uv_now(&s->loop) - s->started_ms) / 1000;
  struct utsname os = {.sysname = ""};
  struct timespec now;
  (void)uname(&os);
  clock_gettime(CLOCK_REALTIME, &now);
  line(i, "redis_version:" LIKE_REDIS);
  line(i, "redis_git_sha1:00000000");
  line(i, "redis_git_dirty:0");
  line(i, "redis_mode:standalone");
  line(i, "kvstore_version:%s", kv_version());
  line(i, "os:%s %s %s", os.sysname, os.release, os.machine);
  line(i, "arch_bits:%zu", 8 * sizeof(void *));
  line(i, "monotonic_clock:POSIX clock_gettime");
  line(i, "multiplexing_api:libuv");
  line(i, "process_id:%ld", (long)getpid());
  line(i, "process_supervised:%s", getenv("NOTIFY_SOCKET") != NULL ? "systemd" : "no");
  line(i, "run_id:%s", s->run_id);
  number(i, "tcp_port", s->options.port);
  line(i, "server_time_usec:%lld%06ld", (long long)now.tv_sec, now.tv_nsec / 1000);
  number(i, "uptime_in_seconds", up_s);
  number(i, "uptime_in_days", up_s / 86400);
  line(i, "hz:1");
  line(i, "configured_hz:1");
  number(i, "lru_clock", (uint64_t)now.tv_sec & 0xffffff);
  line(i, "config_file:");
  line(i, "io_threads_active:0");
}

static void info_clients(info *i) {
  const server *s = i->s;
  size_t most_in = 0, most_out = 0;
  for (const conn *c = s->lists[LIST_ALL].first; c != NULL; c = c->links[LIST_ALL].next) {
    if (c->in.room > most_in) most_in = c->in.room;
    if (c->out.room > most_out) most_out = c->out.room;
  }
  number(i, "connected_clients", s->lists[LIST_ALL].size);
  line(i, "cluster_connections:0");
  number(i, "maxclients", s->options.clients_max);
  number(i, "client_recent_max_input_buffer", most_in);
  number(i, "client_recent_max_output_buffer", most_out);
  number(i, "blocked_clients", s->lists[LIST_BLOCKED].size);
  line(i, "tracking_clients:0");
  line(i, "clients_in_timeout_table:0");
  number(i, "monitor_clients", s->lists[LIST_MONITORS].size);
  number(i, "clients_waiting_for_flush", s->lists[LIST_HELD].size);
}

/* Bytes of memory that the process has now; 0: not known. */
static uint64_t resident_bytes(void) {
  size_t bytes_now = 0;
  return uv_resident_set_memory(&bytes_now) == 0 ? bytes_now : 0;
}

static void info_memory(info *i) {
  struct rusage usage = {0};
  (void)getrusage(RUSAGE_SELF, &usage);
  uint64_t tree = i->stats.memory_bytes, buffers = i->s->buffers, used = tree + buffers;
  uint64_t rss = resident_bytes(), peak = (uint64_t)usage.ru_maxrss * 1024;
  size_line(i, "used_memory", used);
  size_line(i, "used_memory_rss", rss);
  size_line(i, "used_memory_peak", peak);
  line(i, "used_memory_peak_perc:%.2f%%", peak > 0 ? 100.0 * (double)used / (double)peak : 0.0);
  number(i, "used_memory_overhead", used > i->stats.live_bytes ? used - i->stats.live_bytes : 0);
  line(i, "used_memory_startup:0");
  number(i, "used_memory_dataset", i->stats.live_bytes);
  line(i, "used_memory_dataset_perc:%.2f%%",
       used > 0 ? 100.0 * (double)i->stats.live_bytes / (double)used : 0.0);
  number(i, "used_memory_tree", tree);
  number(i, "used_memory_buffers", buffers);
  number(i, "used_memory_peak_rss", peak);
  size_line(i, "total_system_memory", uv_get_total_memory());
  size_line(i, "maxmemory", 0);
  line(i, "maxmemory_policy:noeviction");
  line(i, "mem_fragmentation_ratio:%.2f", used > 0 ? (double)rss / (double)used : 0.0);
  line(i, "mem_fragmentation_bytes:%" PRId64, (int64_t)(rss - used));
  line(i, "mem_not_counted_for_evict:0");
  line(i, "mem_replication_backlog:0");
  line(i, "mem_clients_slaves:0");
  number(i, "mem_clients_normal", buffers);
  line(i, "mem_aof_buffer:0");
  line(i, "mem_allocator:libc");
  line(i, "active_defrag_running:0");
  line(i, "lazyfree_pending_objects:0");
}

static void info_persistence(info *i) {
  const server *s = i->s;
  const kv_stats *stats = &i->stats;
  line(i, "loading:0");
  line(i, "async_loading:0");
  line(i, "rdb_changes_since_last_save:0");
  line(i, "rdb_bgsave_in_progress:0");
  number(i, "rdb_last_save_time", s->rewritten_s);
  line(i, "rdb_last_bgsave_status:ok");
  line(i, "rdb_last_bgsave_time_sec:-1");
  line(i, "rdb_current_bgsave_time_sec:-1");
  line(i, "aof_enabled:%d", s->db != NULL && stats->path != NULL);
  line(i, "aof_rewrite_in_progress:%d", s->rewrite.db != NULL);
  line(i, "aof_rewrite_scheduled:%d", s->rewrite.is_scheduled);
  line(i, "aof_last_rewrite_time_sec:%" PRId64, s->rewrite.took_s);
  line(i, "aof_current_rewrite_time_sec:%" PRId64,
       s->rewrite.db != NULL ? (int64_t)((uint64_t)time(NULL) - s->rewrite.began_s) : -1);
  line(i, "aof_last_bgrewrite_status:%s", s->rewrite.is_failed ? "err" : "ok");
  line(i, "aof_last_write_status:%s", s->is_failed || s->is_full || s->is_refused ? "err" : "ok");
  number(i, "aof_current_size", stats->log_bytes);
  line(i, "aof_pending_rewrite:0");
  line(i, "aof_buffer_length:0");
  line(i, "aof_pending_bio_fsync:0");
  line(i, "aof_delayed_fsync:0");
  line(i, "synchronous:%s", server_synchronous_name(s));
  number(i, "commits", stats->commits);
  number(i, "flushes", stats->flushes);
  line(i, "commits_per_flush:%.1f",
       stats->flushes > 0 ? (double)stats->commits / (double)stats->flushes : 0.0);
  number(i, "flush_p50_us", stats->flush_p50_ns / 1000);
  number(i, "flush_p99_us", stats->flush_p99_ns / 1000);
  number(i, "flush_max_us", stats->flush_max_ns / 1000);
  number(i, "seq", stats->seq);
  number(i, "durable_seq", stats->durable_seq);
}

static void info_stats(info *i) {
  const server_counters *counters = &i->s->counters;
  static const char *const zeros[] = {"sync_full",
                                      "sync_partial_ok",
                                      "sync_partial_err",
                                      "expired_keys",
                                      "expired_time_cap_reached_count",
                                      "evicted_keys",
                                      "evicted_clients",
                                      "pubsub_channels",
                                      "pubsub_patterns",
                                      "latest_fork_usec",
                                      "total_forks",
                                      "migrate_cached_sockets",
                                      "slave_expires_tracked_keys",
                                      "active_defrag_hits",
                                      "active_defrag_misses",
                                      "tracking_total_keys"};
  number(i, "total_connections_received", counters->connections);
  number(i, "total_commands_processed", counters->commands);
  number(i, "instantaneous_ops_per_sec", i->s->rate.commands);
  number(i, "total_net_input_bytes", counters->bytes_in);
  number(i, "total_net_output_bytes", counters->bytes_out);
  line(i, "instantaneous_input_kbps:%.2f", (double)i->s->rate.bytes_in / 1024);
  line(i, "instantaneous_output_kbps:%.2f", (double)i->s->rate.bytes_out / 1024);
  number(i, "rejected_connections", counters->rejected);
  number(i, "keyspace_hits", counters->hits);
  number(i, "keyspace_misses", counters->misses);
  for (size_t j = 0; j < sizeof zeros / sizeof zeros[0]; j++) number(i, zeros[j], 0);
  number(i, "total_error_replies", counters->errors);
  number(i, "total_reads_processed", counters->reads);
  number(i, "total_writes_processed", counters->writes);
  number(i, "reads_processed", counters->reads);
  number(i, "writes_processed", counters->writes);
  number(i, "protocol_errors", counters->protocol_errors);
}

static void info_replication(info *i) {
  line(i, "role:master");
  line(i, "connected_slaves:0");
  line(i, "master_failover_state:no-failover");
  line(i, "master_replid:%s", i->s->run_id);
  line(i, "master_replid2:0000000000000000000000000000000000000000");
  line(i, "master_repl_offset:0");
  line(i, "second_repl_offset:-1");
  line(i, "repl_backlog_active:0");
  line(i, "repl_backlog_size:0");
  line(i, "repl_backlog_first_byte_offset:0");
  line(i, "repl_backlog_histlen:0");
}

static void time_line(info *i, const char *name, const struct timeval *time_used) {
  line(i, "%s:%lld.%06ld", name, (long long)time_used->tv_sec, (long)time_used->tv_usec);
}

static void info_cpu(info *i) {
  struct rusage own = {0}, children = {0}, loop = {0};
  (void)getrusage(RUSAGE_SELF, &own);
  (void)getrusage(RUSAGE_CHILDREN, &children);
  (void)getrusage(RUSAGE_THREAD, &loop);
  time_line(i, "used_cpu_sys", &own.ru_stime);
  time_line(i, "used_cpu_user", &own.ru_utime);
  time_line(i, "used_cpu_sys_children", &children.ru_stime);
  time_line(i, "used_cpu_user_children", &children.ru_utime);
  time_line(i, "used_cpu_sys_main_thread", &loop.ru_stime);
  time_line(i, "used_cpu_user_main_thread", &loop.ru_utime);
}

static void info_modules(info *i) {
  (void)i; /* there are none */
}

static void info_commandstats(info *i) {
  for (size_t n = 0; n < command_table_size; n++) {
    const command_count *count = &i->s->stats.commands[n];
    if (count->calls + count->rejected == 0) continue;
    uint64_t took_us = count->took_ns / 1000;
    line(i,
         "cmdstat_%s:calls=%" PRIu64 ",usec=%" PRIu64 ",usec_per_call=%.2f,rejected_calls=%" PRIu64
         ",failed_calls=%" PRIu64,
         command_table[n].name, count->calls, took_us,
         count->calls > 0 ? (double)count->took_ns / 1000.0 / (double)count->calls : 0.0,
         count->rejected, count->failed);
  }
}

static void info_errorstats(info *i) {
  for (size_t n = 0; n < i->s->stats.error_count; n++) {
    const error_count *one = &i->s->stats.errors[n];
    line(i, "errorstat_%s:count=%" PRIu64, one->code, one->count);
  }
}

static void info_cluster(info *i) {
  line(i, "cluster_enabled:0");
}

static void info_keyspace(info *i) {
  if (i->stats.keys > 0) line(i, "db0:keys=%" PRIu64 ",expires=0,avg_ttl=0", i->stats.keys);
}

/* --- which ------------------------------------------------------------------------------------- */

static const struct {
  const char *name, *title;
  void (*write)(info *i);
  bool is_extra; /* only if it is asked for, or all are */
} sections[] = {{"server", "Server", info_server, false},
                {"clients", "Clients", info_clients, false},
                {"memory", "Memory", info_memory, false},
                {"persistence", "Persistence", info_persistence, false},
                {"stats", "Stats", info_stats, false},
                {"replication", "Replication", info_replication, false},
                {"cpu", "CPU", info_cpu, false},
                {"modules", "Modules", info_modules, false},
                {"commandstats", "Commandstats", info_commandstats, true},
                {"errorstats", "Errorstats", info_errorstats, false},
                {"cluster", "Cluster", info_cluster, false},
                {"keyspace", "Keyspace", info_keyspace, false}};

static bool is_wanted(const call *x, size_t section) {
  bool is_wanted = x->count == 1 && !sections[section].is_extra;
  for (size_t i = 1; i < x->count && !is_wanted; i++) {
    const resp_arg *arg = &x->args[i];
    is_wanted = call_is(arg, sections[section].name) || call_is(arg, "all") ||
                call_is(arg, "everything") ||
                (call_is(arg, "default") && !sections[section].is_extra);
  }
  return is_wanted;
}

void cmd_info(call *x) {
  info i = {.x = x, .s = x->server};
  kv_error err;
  int rc = kv_get_stats(x->server->db, &i.stats, &err);
  if (rc != KV_OK) {
    call_fail(x, &err);
    return;
  }
  for (size_t n = 0; n < sizeof sections / sizeof sections[0]; n++) {
    if (!is_wanted(x, n)) continue;
    if (i.out.size > 0) bytes_append(&i.out, "\r\n", 2);
    line(&i, "# %s", sections[n].title);
    sections[n].write(&i);
  }
  reply_verbatim(x->out, x->conn->protocol, i.out.data != NULL ? i.out.data : "", i.out.size);
  if (bytes_failed(&i.out)) x->out->failed = true;
  bytes_free(&i.out);
}
