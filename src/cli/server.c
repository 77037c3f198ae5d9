/* server.c - the server. See server.h. */
#include "server.h"

#include "cmd_multi.h"
#include "command.h"
#include "listen.h"
#include "logger.h"
#include "notify.h"
#include "options.h"
#include "rewrite.h"
#include "turn.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MS                                                                                   \
  10u /* between two looks whether a connection has waited for the turn for too long */
#define CRON_MS 1000u

/* What a peer may send; as Redis has it. */
static const resp_limits LIMITS = {.inline_max = (size_t)64 << 10,
                                   .args_max = (size_t)1 << 20,
                                   .bulk_max = (size_t)512 << 20,
                                   .request_max = (size_t)1 << 30};
static const resp_limits STRANGER_LIMITS = {.inline_max = (size_t)16 << 10,
                                            .args_max = 10,
                                            .bulk_max = (size_t)16 << 10,
                                            .request_max = (size_t)192 << 10,
                                            .is_stranger = true};

/* --- rounds of the loop ------------------------------------------------------------------------ */

/* Whether somebody has to wait for a flush that the flush thread was not asked for yet. */
static bool wants_flush(server *s) {
  if (s->handed <= s->asked || s->handed <= s->published || s->is_failed) return false;
  s->published = kv_published_seq(s->db);
  return s->handed > s->published && s->flush_db != NULL;
}

/* Tell the flush thread how far the log has come. */
static void ask_for_flush(server *s) {
  if (!wants_flush(s) || !flusher_ask(&s->flusher, s->handed)) return;
  s->asked = s->handed;
  s->has_served = false;
}

/* Whether the loop should flush itself: that is quick, and holds up only who waits for it
** anyway. */
static bool should_flush_here(server *s) {
  return !s->has_served && wants_flush(s) && flusher_is_quick(&s->flusher);
}

static void note_failure(server *s) {
  kv_error why;
  if (s->is_failed || flusher_failure(&s->flusher, &why) == KV_OK) return;
  s->is_failed = true;
  logger_error("%s", why.text);
}

void server_note_refusal(server *s, int rc, const kv_error *err) {
  if (rc == KV_OK) s->is_refused = false;
  if (rc != KV_EMOVED && rc != KV_EIO && rc != KV_EREADONLY) return;
  if (!s->is_failed && !s->is_refused) logger_error("%s", err->text);
  s->is_refused = true;
}

static void flush_here(server *s) {
  if (!wants_flush(s) || !flusher_flush(&s->flusher, s->db, s->handed)) return;
  s->asked = s->handed;
  note_failure(s);
}

bool server_note_losses(server *s) {
  uint64_t kept_seq;
  kv_error why;
  if (kv_losses(s->db, NULL, NULL) == s->losses) {
    if (s->is_full && s->published > s->kept_seq) {
      s->is_full = false;
      logger_info("there is room for the log again");
    }
    return false;
  }
  s->losses = kv_losses(s->db, &kept_seq, &why);
  s->kept_seq = kept_seq;
  s->handed = kv_handed_seq(s->db);
  if (s->asked > kept_seq) s->asked = kept_seq;
  flusher_forget(&s->flusher, kept_seq);
  s->is_newest_fresh = false;
  if (!s->is_full) logger_error("%s; other writes are tried", why.text);
  s->is_full = true;
  for (conn *c = s->lists[LIST_ALL].first; c != NULL; c = c->links[LIST_ALL].next) {
    conn_refuse(c, kept_seq, why.text);
  }
  return true;
}

static void release_replies(server *s) {
  if (s->lists[LIST_HELD].first == NULL) return;
  s->published = kv_published_seq(s->db);
  (void)server_note_losses(s);
  kv_error why;
  if (s->is_failed) (void)flusher_failure(&s->flusher, &why);
  for (conn *c = s->lists[LIST_HELD].first, *next; c != NULL; c = next) {
    next = c->links[LIST_HELD].next;
    conn_publish(c, s->published);
    if (s->is_failed && c->hold_count > 0) conn_break(c, why.text);
  }
}

static void on_retry(uv_timer_t *timer) {
  turn_retry(timer->data);
}

/* Send what may be sent. Executing what had waited for that may hand over more. The turn was
** kept for all the writes of the round, which are written together so. */
static void answer(server *s) {
  release_replies(s);
  while (s->lists[LIST_TOUCHED].first != NULL) conn_send(s->lists[LIST_TOUCHED].first);
  if (!turn_is_awaited(s)) kv_pass_turn(s->db);
}

static void on_prepare(uv_prepare_t *prepare) {
  server *s = prepare->data;
  bool is_here = should_flush_here(s);
  if (!is_here) ask_for_flush(s);
  answer(s);
  if (is_here) {
    flush_here(s);
    answer(s);
  }
  ask_for_flush(s);
  rewrite_start_scheduled(s);
  kv_cursor_let_go(s->seen);
  kv_cursor_let_go(s->newest);
  s->is_seen_fresh = s->is_newest_fresh = false;
  if (s->lists[LIST_BLOCKED].first != NULL && !uv_is_active((uv_handle_t *)&s->retry)) {
    uv_timer_start(&s->retry, on_retry, RETRY_MS, 0);
  }
}

const char *server_synchronous_name(const server *s) {
  kv_sync synchronous = s->options.settings.synchronous;
  return synchronous == KV_SYNC_FULL ? "FULL" : synchronous == KV_SYNC_NORMAL ? "NORMAL" : "OFF";
}

static void wake_loop(void *context) {
  server *s = context;
  uv_async_send(&s->flushed);
}

static void on_flushed(uv_async_t *async) {
  note_failure(async->data);
}

static void measure_rates(server *s) {
  const server_counters *now = &s->counters;
  s->rate.commands = now->commands - s->rate.commands_before;
  s->rate.bytes_in = now->bytes_in - s->rate.bytes_in_before;
  s->rate.bytes_out = now->bytes_out - s->rate.bytes_out_before;
  s->rate.commands_before = now->commands;
  s->rate.bytes_in_before = now->bytes_in;
  s->rate.bytes_out_before = now->bytes_out;
}

static void on_cron(uv_timer_t *timer) {
  server *s = timer->data;
  measure_rates(s);
  uint64_t now_ms = uv_now(&s->loop), stall_ms = CONN_STALL_S * 1000u;
  uint64_t idle_ms = (uint64_t)s->options.idle_timeout_s * 1000u;
  for (conn *c = s->lists[LIST_ALL].first, *next; c != NULL; c = next) {
    next = c->links[LIST_ALL].next;
    watch_lapse(c, now_ms);
    bool is_idle = idle_ms > 0 && now_ms - c->active_ms > idle_ms && c->blocked == WAIT_NOTHING;
    if (now_ms > stall_ms && conn_is_stalled(c, now_ms - stall_ms)) {
      logger_warn("%s has not taken its replies for %u s: closing its connection", c->peer,
                  CONN_STALL_S);
      conn_close(c);
    } else if (is_idle) {
      conn_close(c);
    }
  }
}

static void on_signal(uv_signal_t *signal, int number) {
  server_end(signal->data, number == SIGTERM ? "SIGTERM" : "SIGINT");
}

void server_end(server *s, const char *why) {
  if (s->is_ending) return;
  s->is_ending = true;
  logger_info("%s: flushing and ending", why);
  notify("STOPPING=1");
  listen_stop(s);
  uv_stop(&s->loop);
}

/* --- beginning and end ------------------------------------------------------------------------- */

/* Have as many file descriptors as clients may come; *limit is how many there can be if not. */
static bool raise_fd_limit(unsigned clients_max, struct rlimit *limit) {
  rlim_t wanted = (rlim_t)clients_max + SERVER_FDS_SPARE;
  if (getrlimit(RLIMIT_NOFILE, limit) != 0 || limit->rlim_cur >= wanted) return true;
  limit->rlim_cur = limit->rlim_max < wanted ? limit->rlim_max : wanted;
  if (setrlimit(RLIMIT_NOFILE, limit) != 0) (void)getrlimit(RLIMIT_NOFILE, limit);
  return limit->rlim_cur >= wanted;
}

bool server_set_clients_max(server *s, unsigned clients_max) {
  struct rlimit limit;
  if (!raise_fd_limit(clients_max, &limit)) return false;
  s->options.clients_max = clients_max;
  return true;
}

/* Or else fewer clients. */
static void adjust_clients_max(server *s) {
  struct rlimit limit;
  if (raise_fd_limit(s->options.clients_max, &limit)) return;
  unsigned possible =
      limit.rlim_cur > SERVER_FDS_SPARE ? (unsigned)limit.rlim_cur - SERVER_FDS_SPARE : 1;
  logger_warn("%u clients need more file descriptors than the limit of %llu: at most %u clients",
              s->options.clients_max, (unsigned long long)limit.rlim_cur, possible);
  s->options.clients_max = possible;
}

static unsigned opening_timeout_ms(void *context) {
  return ((server *)context)->options.busy_timeout_ms;
}

/* What the loop itself waits for, it does not wait for long. */
static unsigned loop_timeout_ms(void *context) {
  (void)context;
  return 0;
}

static bool is_ending(void *context) {
  return ((server *)context)->is_ending;
}

static int open_store(server *s, kv_error *err) {
  bool is_volatile = strcmp(s->options.file, ":memory:") == 0;
  const kv_waiting in_loop = {
      .timeout_ms = loop_timeout_ms, .is_interrupted = is_ending, .context = s};
  kv_options options = {.path = is_volatile ? NULL : s->options.file,
                        .settings = s->options.settings,
                        .waiting = {.timeout_ms = opening_timeout_ms, .context = s}};
  kv_error notice = {.code = KV_OK};
  int rc = kv_open(&options, &s->db, &notice, err);
  if (rc != KV_OK) return rc;
  if (notice.code != KV_OK) logger_warn("%s", notice.text);
  kv_set_waiting(s->db, &in_loop);
  kv_get_settings(s->db, &s->options.settings);
  if (!is_volatile) {
    rc = kv_open(&options, &s->flush_db, NULL, err);
    if (rc == KV_OK) {
      rc = flusher_start(&s->flusher, s->flush_db, &s->options.settings, wake_loop, s, err);
    }
  }
  if (rc == KV_OK) rc = kv_cursor_open(s->db, &s->seen, err);
  if (rc == KV_OK) rc = kv_cursor_open_newest(s->db, &s->newest, err);
  s->published = s->handed = s->asked = kv_published_seq(s->db);
  kv_error why;
  s->losses = kv_losses(s->db, &s->kept_seq, &why);
  return rc;
}

static int start(server *s, kv_error *err) {
  uv_prepare_init(&s->loop, &s->prepare);
  uv_async_init(&s->loop, &s->flushed, on_flushed);
  uv_timer_init(&s->loop, &s->retry);
  uv_timer_init(&s->loop, &s->cron);
  uv_timer_init(&s->loop, &s->accept_pause);
  s->prepare.data = s->flushed.data = s->retry.data = s->cron.data = s->accept_pause.data = s;
  for (int i = 0; i < 2; i++) {
    uv_signal_init(&s->loop, &s->signals[i]);
    s->signals[i].data = s;
  }
  s->limits = LIMITS;
  s->stranger_limits = STRANGER_LIMITS;
  s->started_ms = uv_now(&s->loop);
  scan_table_init(&s->scans, (uint32_t)uv_hrtime() ^ (uint32_t)getpid());
  srand48((long)uv_hrtime());
  slowlog_init(&s->slow);
  for (size_t i = 0; i < sizeof s->run_id - 1; i++)
    s->run_id[i] = "0123456789abcdef"[lrand48() & 15];
  s->rewritten_s = (uint64_t)time(NULL);
  s->rewrite.took_s = -1;
  s->read_buffer = malloc(SERVER_READ_SIZE);
  if (s->read_buffer == NULL) {
    *err = (kv_error){.code = KV_ENOMEM, .text = "out of memory"};
    return KV_ENOMEM;
  }
  adjust_clients_max(s);
  int rc = open_store(s, err);
  if (rc == KV_OK) rc = listen_start(s, err);
  if (rc != KV_OK) return rc;
  uv_prepare_start(&s->prepare, on_prepare);
  uv_timer_start(&s->cron, on_cron, CRON_MS, CRON_MS);
  uv_signal_start(&s->signals[0], on_signal, SIGTERM);
  uv_signal_start(&s->signals[1], on_signal, SIGINT);
  return KV_OK;
}

/* Flush, and send what that allows to be sent, as far as the sockets take it at once. */
static int settle(server *s, kv_error *err) {
  int rc = s->db != NULL ? kv_flush(s->db, err) : KV_OK;
  if (s->db != NULL) release_replies(s);
  while (s->lists[LIST_TOUCHED].first != NULL) conn_send(s->lists[LIST_TOUCHED].first);
  while (s->lists[LIST_ALL].first != NULL) conn_close(s->lists[LIST_ALL].first);
  return rc;
}

static void close_handle(uv_handle_t *handle, void *context) {
  (void)context;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

static int stop(server *s, kv_error *err) {
  listen_stop(s);
  flusher_stop(&s->flusher);
  int rc = settle(s, err), closed;
  uv_walk(&s->loop, close_handle, NULL);
  while (uv_run(&s->loop, UV_RUN_DEFAULT) != 0) continue;
  uv_loop_close(&s->loop);
  if (s->seen != NULL) kv_cursor_close(s->seen);
  if (s->newest != NULL) kv_cursor_close(s->newest);
  closed = kv_close(s->flush_db, rc == KV_OK ? err : NULL);
  if (rc == KV_OK) rc = closed;
  closed = kv_close(s->db, rc == KV_OK ? err : NULL);
  if (rc == KV_OK) rc = closed;
  scan_table_free(&s->scans);
  slowlog_clear(&s->slow);
  free(s->new_password);
  free(s->args);
  free(s->read_buffer);
  return rc;
}

/* --- the command line --------------------------------------------------------------------------- */

static void print_help(const option *options) {
  printf("usage: kvstore server FILE [options]\n\n"
         "Serves the log FILE (:memory: for none) to clients of the Redis protocol.\n\n");
  options_print(options);
  printf("\nEach option can be given in the environment too: KVSTORE_PORT, KVSTORE_GROUP_SIZE and\n"
         "so on. More: man kvstore.\n");
}

/* The options' default values are those that are there already. -1: go on; else an exit code. */
static int parse_options(server_options *o, int argc, char **argv) {
  bool wants_help = false;
  const option options[] = {
      {"port", OPTION_NUMBER, &o->port, 0, 65535, "N", "TCP port; 0: none (1337)"},
      {"bind", OPTION_TEXT, &o->bind, 0, 0, "ADDRESSES", "addresses to listen on (127.0.0.1)"},
      {"unixsocket", OPTION_TEXT, &o->unixsocket, 0, 0, "PATH", "Unix socket to listen on, too"},
      {"synchronous", OPTION_SYNCHRONOUS, &o->settings.synchronous, 0, 0, "MODE",
       "FULL, NORMAL or OFF: what a reply promises (FULL)"},
      {"group-size", OPTION_NUMBER, &o->settings.group_size, 1, KV_GROUP_SIZE_MAX, "N",
       "commits that a flush waits for (FULL 1, else 50)"},
      {"group-timeout", OPTION_NUMBER, &o->settings.group_timeout_ms, 0, KV_GROUP_TIMEOUT_MS_MAX,
       "MS", "and how long at most (10)"},
      {"busy-timeout", OPTION_NUMBER, &o->busy_timeout_ms, 0, 3600000, "MS",
       "how long a write waits for another process's (5000)"},
      {"requirepass", OPTION_SECRET, &o->password, 0, 0, "PASSWORD", "what AUTH has to show"},
      {"maxclients", OPTION_NUMBER, &o->clients_max, 1, 1000000, "N", "connections (10000)"},
      {"timeout", OPTION_NUMBER, &o->idle_timeout_s, 0, 31536000, "SECONDS",
       "close idle connections; 0: never (0)"},
      {"help", OPTION_FLAG, &wants_help, 0, 0, NULL, "show this"},
      {NULL, OPTION_FLAG, NULL, 0, 0, NULL, NULL}};
  int count = options_parse(options, argc, argv, &o->file, 1);
  if (wants_help) print_help(options);
  if (wants_help || count < 0) return wants_help ? 0 : 2;
  if (count == 1) return -1;
  fprintf(stderr, "kvstore: which file? usage: kvstore server FILE [options]\n");
  return 2;
}

int server_main(int argc, char **argv) {
  server *s = calloc(1, sizeof *s);
  if (s == NULL) return 2;
  s->options = (server_options){.bind = "127.0.0.1",
                                .port = 1337,
                                .clients_max = 10000,
                                .busy_timeout_ms = 5000,
                                .settings = {.synchronous = KV_SYNC_FULL, .group_timeout_ms = 10}};
  int code = parse_options(&s->options, argc, argv);
  if (code < 0) {
    kv_error err = {.code = KV_OK}, end = {.code = KV_OK};
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN); /* a terminal that is closed does not end it, as with Redis */
    logger_start();
    logger_info("starting server");
    if (uv_loop_init(&s->loop) != 0) {
      logger_error("no event loop: file descriptors or memory are short");
      free(s);
      return 2;
    }
    int rc = start(s, &err);
    if (rc == KV_OK) {
      logger_info("ready: '%s', synchronous=%s", s->options.file, server_synchronous_name(s));
      notify("READY=1");
      uv_run(&s->loop, UV_RUN_DEFAULT);
    }
    int ended = stop(s, &end);
    if (rc != KV_OK) logger_error("%s", err.text);
    if (rc == KV_OK && ended != KV_OK) logger_error("%s", end.text);
    if (rc == KV_OK && ended == KV_OK) logger_info("ended");
    code = rc == KV_OK && ended == KV_OK ? 0 : 2;
  }
  free(s);
  return code;
}
