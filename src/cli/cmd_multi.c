/* cmd_multi.c - several commands as one transaction. See cmd_multi.h. */
#include "cmd_multi.h"

#include "command.h"
#include "reply.h"

#include <stdlib.h>

typedef struct queued {
  const command *command;
  size_t first_span, count;
} queued;

struct multi {
  bytes data;  /* the arguments' bytes */
  bytes spans; /* resp_span, where they lie */
  bytes queue; /* queued */
  bool is_spoiled;
  bool writes; /* some command does, so that EXEC needs a transaction */
};

/* One WATCH: its keypaths, each with its size (size_t) in front, as of one version. */
typedef struct watch {
  struct watch *next;
  kv_cursor *cursor; /* NULL: lapsed */
  bytes keys;
  size_t count;
  struct absent_key *absent; /* those without a value */
  bool is_touched;           /* one of these was written */
  uint64_t since_ms;
} watch;

/* In the place of the whole reply: what the error that begins at `from` was the reason for. */
static void reply_abort(call *x, size_t from) {
  bytes why = {0};
  bytes_append(&why, x->out->data + from + 1, x->out->size - from - 3);
  x->out->size = x->begin;
  const char *text = why.data != NULL ? why.data : "";
  size_t size = why.size;
  if (size > 4 && memcmp(text, "ERR ", 4) == 0) {
    text += 4;
    size -= 4;
  }
  reply_error(x->out, "EXECABORT Transaction discarded because of: %.*s", (int)size, text);
  bytes_free(&why);
}

/* --- the queue -------------------------------------------------------------------------------- */

void multi_spoil(call *x) {
  conn *c = x->conn;
  if (c->multi != NULL) c->multi->is_spoiled = true;
  if (x->command == NULL || x->command->run != cmd_exec) return;
  multi_free(c);
  reply_abort(x, x->begin);
}

void multi_refuse(conn *c) {
  if (c->multi != NULL) c->multi->is_spoiled = true;
}

size_t multi_size(const conn *c) {
  const struct multi *m = c->multi;
  return m != NULL ? m->data.room + m->spans.room + m->queue.room : 0;
}

size_t multi_count(const conn *c) {
  return c->multi != NULL ? c->multi->queue.size / sizeof(queued) : 0;
}

static void queue_free(conn *c) {
  if (c->multi == NULL) return;
  bytes_free(&c->multi->data);
  bytes_free(&c->multi->spans);
  bytes_free(&c->multi->queue);
  free(c->multi);
  c->multi = NULL;
}

static void watches_free(conn *c) {
  while (c->watches != NULL) {
    watch *w = c->watches;
    c->watches = w->next;
    if (w->cursor != NULL) kv_cursor_close(w->cursor);
    absent_remove(&c->server->absent, &w->absent);
    bytes_free(&w->keys);
    free(w);
  }
}

void multi_free(conn *c) {
  queue_free(c);
  watches_free(c);
}

void multi_queue(call *x) {
  struct multi *m = x->conn->multi;
  queued entry = {.command = x->command, .count = x->count};
  entry.first_span = m->spans.size / sizeof(resp_span);
  for (size_t i = 0; i < x->count; i++) {
    resp_span span = {.offset = m->data.size, .size = x->args[i].size};
    bytes_append(&m->data, x->args[i].data, x->args[i].size);
    bytes_append(&m->spans, &span, sizeof span);
  }
  bytes_append(&m->queue, &entry, sizeof entry);
  if (x->command->flags & (CMD_WRITE | CMD_WALK)) m->writes = true;
  if (bytes_failed(&m->data) || bytes_failed(&m->spans) || bytes_failed(&m->queue)) {
    x->conn->multi->is_spoiled = true;
    reply_error(x->out, "ERR kvstore: the commands of a transaction take more than %zu bytes",
                MULTI_BYTES_MAX);
    return;
  }
  reply_status(x->out, "QUEUED");
}

void cmd_multi(call *x) {
  if (x->conn->multi != NULL) {
    reply_error(x->out, "ERR MULTI calls can not be nested");
    return;
  }
  struct multi *m = calloc(1, sizeof *m);
  if (m == NULL) {
    call_fail(x, &(kv_error){.code = KV_ENOMEM, .text = "out of memory"});
    return;
  }
  m->data.limit = m->spans.limit = m->queue.limit = MULTI_BYTES_MAX;
  x->conn->multi = m;
  reply_ok(x->out);
}

void cmd_discard(call *x) {
  if (x->conn->multi == NULL) {
    reply_error(x->out, "ERR DISCARD without MULTI");
    return;
  }
  multi_free(x->conn);
  reply_ok(x->out);
}

/* --- WATCH ------------------------------------------------------------------------------------ */

static size_t watched_keys(const conn *c) {
  size_t count = 0;
  for (const watch *w = c->watches; w != NULL; w = w->next) count += w->count;
  return count;
}

/* Watch the version that this connection reads: see server.h. */
static int watch_open(call *x, watch *w, kv_error *err) {
  kv *db = x->server->db;
  if (x->conn->depends_seq <= x->server->published) return kv_cursor_open(db, &w->cursor, err);
  return kv_cursor_open_newest(db, &w->cursor, err);
}

/* Keep the keypaths of a WATCH; false: memory is short. */
static bool watch_keys(call *x, watch *w) {
  for (size_t i = 1; i < x->count; i++) {
    const resp_arg *key = &x->args[i];
    bytes_append(&w->keys, &key->size, sizeof key->size);
    bytes_append(&w->keys, key->data, key->size);
    kv_cursor_find(w->cursor, key->data, key->size);
    if (kv_cursor_valid(w->cursor)) continue;
    if (!absent_add(&x->server->absent, key->data, key->size, &w->is_touched, &w->absent)) {
      return false;
    }
  }
  return !bytes_failed(&w->keys);
}

void cmd_watch(call *x) {
  conn *c = x->conn;
  if (c->multi != NULL) {
    reply_error(x->out, "ERR WATCH inside MULTI is not allowed");
    return;
  }
  for (size_t i = 1; i < x->count; i++) {
    if (!call_check_key(x, &x->args[i])) return;
  }
  if (watched_keys(c) + x->count - 1 > WATCH_KEYS_MAX) {
    reply_error(x->out, "ERR kvstore: at most %u keys can be watched", WATCH_KEYS_MAX);
    return;
  }
  kv_error err;
  watch *w = calloc(1, sizeof *w);
  int rc = w != NULL ? watch_open(x, w, &err) : KV_ENOMEM;
  if (rc != KV_OK || !watch_keys(x, w)) {
    if (rc == KV_OK) kv_cursor_close(w->cursor);
    if (w != NULL) {
      absent_remove(&x->server->absent, &w->absent);
      bytes_free(&w->keys);
    }
    free(w);
    call_fail(x, &(kv_error){.code = KV_ENOMEM, .text = "out of memory"});
    return;
  }
  w->count = x->count - 1;
  w->since_ms = uv_now(&x->server->loop);
  w->next = c->watches;
  c->watches = w;
  reply_ok(x->out);
}

void cmd_unwatch(call *x) {
  watches_free(x->conn);
  reply_ok(x->out);
}

void watch_lapse(conn *c, uint64_t now_ms) {
  for (watch *w = c->watches; w != NULL; w = w->next) {
    if (w->cursor == NULL || now_ms - w->since_ms < WATCH_S_MAX * 1000u) continue;
    kv_cursor_close(w->cursor);
    w->cursor = NULL;
  }
}

/* Whether a watched keypath is as it was. A leaf is the same in two versions exactly if its keypath
** was not written between them, and its key's address tells which leaf it is. */
static bool is_unchanged(watch *w, kv_cursor *now) {
  if (w->cursor == NULL || w->is_touched) return false;
  for (const char *at = w->keys.data, *end = at + w->keys.size; at < end;) {
    size_t size, ignored;
    memcpy(&size, at, sizeof size);
    at += sizeof size;
    kv_cursor_find(w->cursor, at, size);
    kv_cursor_find(now, at, size);
    at += size;
    const char *before = kv_cursor_valid(w->cursor) ? kv_cursor_key(w->cursor, &ignored) : NULL;
    const char *after = kv_cursor_valid(now) ? kv_cursor_key(now, &ignored) : NULL;
    if (before != after) return false;
  }
  return true;
}

/* --- EXEC ------------------------------------------------------------------------------------- */

static bool are_watches_unchanged(call *x) {
  if (x->conn->watches == NULL) return true;
  kv_cursor *now = call_cursor(x);
  for (watch *w = x->conn->watches; w != NULL && now != NULL; w = w->next) {
    if (!is_unchanged(w, now)) {
      reply_nil_array(x->out, x->conn->protocol);
      return false;
    }
  }
  return now != NULL;
}

/* Execute one queued command; its arguments are put into a run of memory that all of them share. */
static void run_queued(call *exec, const queued *entry, bytes *args) {
  const struct multi *m = exec->conn->multi;
  const resp_span *spans = (const resp_span *)(const void *)m->spans.data + entry->first_span;
  args->size = 0;
  for (size_t i = 0; i < entry->count; i++) {
    resp_arg arg = {.data = m->data.data + spans[i].offset, .size = spans[i].size};
    bytes_append(args, &arg, sizeof arg);
  }
  if (bytes_failed(args)) {
    call_fail(exec, &(kv_error){.code = KV_ENOMEM, .text = "out of memory"});
    return;
  }
  call x = *exec;
  x.command = entry->command;
  x.args = (const resp_arg *)(const void *)args->data;
  x.count = entry->count;
  x.begin = x.out->size;
  x.in_exec = true;
  command_run_queued(&x);
  if (!x.is_failed) return;
  /* Nothing of a transaction is kept that could not be executed to its end. */
  reply_abort(exec, x.begin);
  exec->is_failed = true;
}

static void run_all(call *x) {
  const struct multi *m = x->conn->multi;
  const queued *queue = (const queued *)(const void *)m->queue.data;
  size_t count = m->queue.size / sizeof *queue;
  bytes args = {0};
  reply_array(x->out, count);
  for (size_t i = 0; i < count && !x->is_failed; i++) run_queued(x, &queue[i], &args);
  bytes_free(&args);
}

void cmd_exec(call *x) {
  conn *c = x->conn;
  if (c->multi == NULL) {
    reply_error(x->out, "ERR EXEC without MULTI");
    return;
  }
  if (c->multi->is_spoiled) {
    multi_free(c);
    reply_error(x->out, "EXECABORT Transaction discarded because of previous errors.");
    return;
  }
  bool writes = c->multi->writes;
  if (writes && !command_begin(x)) {
    if (!x->must_wait) multi_free(c);
    return;
  }
  command_note(x);
  if (are_watches_unchanged(x)) run_all(x);
  if (writes) command_end(x);
  multi_free(c);
}
