/* command.c - from a request to the command that executes it. See command.h. */
#include "command.h"

#include "cmd_multi.h"
#include "logger.h"
#include "monitor.h"
#include "reply.h"
#include "turn.h"

#include <assert.h>
#include <stdio.h>

/* --- names ------------------------------------------------------------------------------------ */

#define NAME_SIZE_MAX 31u
#define BUCKETS 256u /* a power of two, well above the number of commands */

static const command *buckets[BUCKETS];

static uint32_t hash_name(const char *name, size_t size) {
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < size; i++) hash = (hash ^ (unsigned char)name[i]) * 16777619u;
  return hash ^ hash >> 15;
}

static void fill_buckets(void) {
  for (const command *at = command_table; at->name != NULL; at++) {
    uint32_t i = hash_name(at->name, strlen(at->name));
    assert(strlen(at->name) <= NAME_SIZE_MAX);
    while (buckets[i % BUCKETS] != NULL) i++;
    buckets[i % BUCKETS] = at;
  }
}

const command *command_find(const char *name, size_t size) {
  char lower[NAME_SIZE_MAX + 1];
  if (size > NAME_SIZE_MAX) return NULL;
  for (size_t i = 0; i < size; i++) {
    lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] - 'A' + 'a' : name[i]);
  }
  if (buckets[hash_name("get", 3) % BUCKETS] == NULL) fill_buckets();
  const command *found;
  for (uint32_t i = hash_name(lower, size); (found = buckets[i % BUCKETS]) != NULL; i++) {
    if (strlen(found->name) == size && memcmp(found->name, lower, size) == 0) return found;
  }
  return NULL;
}

const command *command_find_called(const resp_arg *args, size_t count) {
  char name[NAME_SIZE_MAX + 1];
  const command *found = command_find(args[0].data, args[0].size);
  if (found == NULL || !(found->flags & CMD_CONTAINER) || count == 1) return found;
  size_t size = strlen(found->name);
  if (size + 1 + args[1].size > NAME_SIZE_MAX) return NULL;
  memcpy(name, found->name, size);
  name[size] = '|';
  memcpy(name + size + 1, args[1].data, args[1].size);
  return command_find(name, size + 1 + args[1].size);
}

bool command_takes(const command *one, size_t count) {
  return one->arity < 0 ? count >= (size_t)-one->arity : count == (size_t)one->arity;
}

/* --- transactions ----------------------------------------------------------------------------- */

/* Whether the writer's turn can be asked for: those that wait already come first, one that has waited
** for too long is told so. */
static int take_turn(call *x, kv_error *err) {
  server *s = x->server;
  conn *c = x->conn, *first = s->lists[LIST_BLOCKED].first;
  int rc = KV_EBUSY;
  if ((first == NULL || first == c) && !turn_is_awaited(s)) rc = kv_begin_now(s->db, err);
  if (rc != KV_EBUSY) return rc;
  uint64_t waited_ms = c->blocked == WAIT_TURN ? uv_now(&s->loop) - c->blocked_ms : 0;
  if (waited_ms < s->options.busy_timeout_ms) {
    x->must_wait = true;
    turn_await(s);
  } else {
    reply_error(x->out, "BUSY kvstore: another writer has had the turn for %u ms; try again",
                s->options.busy_timeout_ms);
  }
  return KV_EBUSY;
}

bool command_begin(call *x) {
  server *s = x->server;
  kv_error err;
  int rc = take_turn(x, &err);
  server_note_refusal(s, rc, &err);
  if (rc != KV_OK) {
    if (rc != KV_EBUSY) call_fail(x, &err);
    return false;
  }
  if (server_note_losses(s)) {
    x->begin = x->out->size;
    if (x->conn->is_closing) { /* it was told an error in the place of several replies */
      kv_rollback(s->db);
      return false;
    }
  }
  x->in_transaction = true;
  s->is_newest_fresh = false;
  return true;
}

void command_end(call *x) {
  server *s = x->server;
  if (x->is_failed) {
    kv_rollback(s->db);
  } else {
    kv_error err;
    int rc = kv_commit(s->db, KV_NO_WAIT | KV_KEEP_TURN, &err);
    if (rc != KV_OK) {
      kv_rollback(s->db); /* still open after KV_ENOMEM */
      call_fail(x, &err);
    }
  }
  /* Also a transaction that changed nothing has seen the newest version. */
  s->handed = kv_handed_seq(s->db);
  if (s->options.settings.synchronous != KV_SYNC_FULL) s->published = kv_published_seq(s->db);
  (void)server_note_losses(s);
  if (s->handed > x->conn->depends_seq) x->conn->depends_seq = s->handed;
  s->is_newest_fresh = s->is_seen_fresh = false;
  x->in_transaction = false;
}

/* --- what may be executed ----------------------------------------------------------------------- */

static void reply_unknown(call *x) {
  char shown[160] = "";
  size_t size = 0;
  for (size_t i = 1; i < x->count && size < 128; i++) {
    int part = x->args[i].size < 128 - size ? (int)x->args[i].size : (int)(128 - size);
    size += (size_t)snprintf(shown + size, sizeof shown - size, "'%.*s' ", part, x->args[i].data);
    if (size >= sizeof shown) size = sizeof shown - 1;
  }
  int part = x->args[0].size < 128 ? (int)x->args[0].size : 128;
  reply_error(x->out, "ERR unknown command '%.*s', with args beginning with: %s", part,
              x->args[0].data, shown);
}

/* A page in a browser can make it send a request to this port, whose lines would be commands. */
static bool is_http(const call *x) {
  return call_is(&x->args[0], "POST") || call_is(&x->args[0], "Host:");
}

/* Whether the request may be executed or queued; if not it is answered. */
static bool is_allowed(call *x) {
  const command *what = x->command;
  if (what == NULL) {
    x->command = command_find(x->args[0].data, x->args[0].size);
    if (x->command != NULL) {
      call_reply_unknown_subcommand(x);
      x->command = NULL;
    } else {
      reply_unknown(x);
    }
  } else if (!command_takes(what, x->count)) {
    call_reply_wrong_count(x);
  } else if (!x->conn->is_authenticated && !(what->flags & CMD_NO_AUTH)) {
    reply_error(x->out, "NOAUTH Authentication required.");
  } else if (x->conn->multi != NULL && what->flags & CMD_NO_MULTI) {
    reply_error(x->out, "ERR Command not allowed inside a transaction");
  } else {
    return true;
  }
  multi_spoil(x);
  return false;
}

/* --- what is told of it ------------------------------------------------------------------------- */

/* Begin to execute: those that watch are shown the command. */
void command_note(call *x) {
  server *s = x->server;
  s->counters.commands++;
  if (x->command->flags & CMD_READ) s->counters.reads++;
  if (x->command->flags & CMD_WRITE) s->counters.writes++;
  if (s->lists[LIST_MONITORS].first != NULL) monitor_feed(x);
}

static bool is_error(const call *x) {
  return x->out->size > x->begin && x->out->data[x->begin] == '-';
}

static void note_error(call *x) {
  x->server->counters.errors++;
  stats_add_error(&x->server->stats, x->out->data + x->begin, x->out->size - x->begin);
}

/* It was executed, since the time that the loop's clock shows. */
static void note_end(call *x) {
  server *s = x->server;
  command_count *count = &s->stats.commands[x->command - command_table];
  uint64_t now_ns = uv_hrtime(), took_ns = now_ns - s->clock_ns;
  s->clock_ns = now_ns;
  count->calls++;
  count->took_ns += took_ns;
  if (is_error(x)) {
    count->failed++;
    note_error(x);
  }
  if (took_ns / 1000 < (uint64_t)s->slow.slower_than_us || s->slow.slower_than_us < 0) return;
  if (!(x->command->flags & (CMD_UNTIMED | CMD_ADMIN))) slowlog_add(&s->slow, x, took_ns);
}

static void note_rejected(call *x) {
  if (x->command != NULL) x->server->stats.commands[x->command - command_table].rejected++;
  if (is_error(x)) note_error(x);
}

/* A connection that said so gets no replies, or not this one. */
static void mute(call *x) {
  conn *c = x->conn;
  if (x->out->size > x->begin) x->out->size = x->begin;
  if (c->muted != CONN_MUTED) c->muted--;
}

/* --- executing -------------------------------------------------------------------------------- */

void command_run_queued(call *x) {
  command_note(x);
  x->command->run(x);
  note_end(x);
}

/* Execute a command that may be; false: it has to wait, and nothing has happened. */
static bool execute(call *x) {
  bool writes = (x->command->flags & CMD_WRITE) != 0;
  if (writes && !command_begin(x)) {
    if (x->must_wait) return false;
    note_end(x);
    return true;
  }
  if (!(x->command->flags & CMD_LATE)) command_note(x);
  x->command->run(x);
  if (x->must_wait) return false;
  if (writes) command_end(x);
  note_end(x);
  return true;
}

command_result command_run(conn *c, const resp_arg *args, size_t count) {
  call x = {.server = c->server, .conn = c, .args = args, .count = count, .out = &c->out};
  x.begin = c->out.size;
  x.command = command_find_called(args, count);
  if (x.command == NULL && is_http(&x)) {
    logger_warn("%s sent an HTTP request: closing its connection", c->peer);
    c->is_closing = true;
    return COMMAND_DONE;
  }
  if (x.command != NULL) c->last_command = x.command->name;
  if (!is_allowed(&x)) {
    note_rejected(&x);
  } else if (c->multi != NULL && !(x.command->flags & CMD_NOW)) {
    multi_queue(&x);
  } else if (x.command->flags & CMD_WALK && c->depends_seq > c->server->published) {
    return COMMAND_WAIT_PUBLISHED;
  } else {
    if (!execute(&x)) return COMMAND_WAIT_TURN;
  }
  if (c->muted > 0) {
    mute(&x);
  } else if (c->out.size > x.begin) {
    c->replies++;
  }
  return COMMAND_DONE;
}
