/* slowlog.c - SLOWLOG. See slowlog.h. */
#include "slowlog.h"

#include "commands.h"
#include "reply.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct slow_entry {
  struct slow_entry *older, *newer;
  uint64_t id, time_s, took_us;
  size_t count;
  bytes args; /* each as a bulk of the protocol, as SLOWLOG GET sends it */
  char peer[64];
  char *name;
} slow_entry;

#define SLOWER_THAN_US 10000
#define SIZE_MAX_DEFAULT 128u
#define SHOWN_DEFAULT 10

void slowlog_init(slowlog *l) {
  *l = (slowlog){.slower_than_us = SLOWER_THAN_US, .size_max = SIZE_MAX_DEFAULT};
}

static void entry_free(slow_entry *e) {
  if (e == NULL) return;
  bytes_free(&e->args);
  free(e->name);
  free(e);
}

static void drop_oldest(slowlog *l) {
  slow_entry *e = l->oldest;
  assert(e != NULL);
  l->oldest = e->newer;
  if (l->oldest != NULL) {
    l->oldest->older = NULL;
  } else {
    l->newest = NULL;
  }
  l->size--;
  entry_free(e);
}

void slowlog_trim(slowlog *l) {
  while (l->size > l->size_max) drop_oldest(l);
}

void slowlog_clear(slowlog *l) {
  while (l->size > 0) drop_oldest(l);
}

static void append_arg(bytes *out, const resp_arg *arg) {
  char text[SLOWLOG_ARG_SIZE_MAX + 40];
  if (arg->size <= SLOWLOG_ARG_SIZE_MAX) {
    reply_bulk(out, arg->data, arg->size);
    return;
  }
  memcpy(text, arg->data, SLOWLOG_ARG_SIZE_MAX);
  int more = snprintf(text + SLOWLOG_ARG_SIZE_MAX, sizeof text - SLOWLOG_ARG_SIZE_MAX,
                      "... (%zu more bytes)", arg->size - SLOWLOG_ARG_SIZE_MAX);
  reply_bulk(out, text, SLOWLOG_ARG_SIZE_MAX + (size_t)more);
}

static void append_args(slow_entry *e, const call *x) {
  char text[64];
  bool is_cut = x->count > SLOWLOG_ARGS_MAX;
  size_t shown = is_cut ? SLOWLOG_ARGS_MAX - 1 : x->count;
  e->count = is_cut ? SLOWLOG_ARGS_MAX : x->count;
  for (size_t i = 0; i < shown; i++) {
    if (i > 0 && x->command->flags & CMD_SECRET) {
      reply_text(&e->args, "(redacted)");
    } else {
      append_arg(&e->args, &x->args[i]);
    }
  }
  if (!is_cut) return;
  snprintf(text, sizeof text, "... (%zu more arguments)", x->count - shown);
  reply_text(&e->args, text);
}

void slowlog_add(slowlog *l, const call *x, uint64_t took_ns) {
  slow_entry *e = l->size_max > 0 ? calloc(1, sizeof *e) : NULL;
  if (e == NULL) return;
  *e = (slow_entry){.older = l->newest, .took_us = took_ns / 1000, .time_s = (uint64_t)time(NULL)};
  append_args(e, x);
  memcpy(e->peer, x->conn->peer, sizeof e->peer);
  if (x->conn->name != NULL) e->name = strdup(x->conn->name);
  if (bytes_failed(&e->args)) {
    entry_free(e);
    return;
  }
  e->id = l->next_id++;
  if (l->newest != NULL) {
    l->newest->newer = e;
  } else {
    l->oldest = e;
  }
  l->newest = e;
  l->size++;
  slowlog_trim(l);
}

void cmd_slowlog_get(call *x) {
  const slowlog *l = &x->server->slow;
  int64_t count = SHOWN_DEFAULT;
  if (x->count > 3) {
    reply_error(x->out,
                "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try SLOWLOG HELP.",
                (int)x->args[1].size, x->args[1].data);
    return;
  }
  if (x->count == 3 &&
      (!value_parse_integer(x->args[2].data, x->args[2].size, &count) || count < -1)) {
    reply_error(x->out, "ERR count should be greater than or equal to -1");
    return;
  }
  if (count < 0 || (uint64_t)count > l->size) count = (int64_t)l->size;
  reply_array(x->out, (size_t)count);
  for (const slow_entry *e = l->newest; count > 0; e = e->older, count--) {
    reply_array(x->out, 6);
    reply_integer(x->out, (int64_t)e->id);
    reply_integer(x->out, (int64_t)e->time_s);
    reply_integer(x->out, (int64_t)e->took_us);
    reply_array(x->out, e->count);
    bytes_append(x->out, e->args.data, e->args.size);
    reply_text(x->out, e->peer);
    reply_text(x->out, e->name != NULL ? e->name : "");
  }
}

void cmd_slowlog_len(call *x) {
  reply_integer(x->out, (int64_t)x->server->slow.size);
}

void cmd_slowlog_reset(call *x) {
  slowlog_clear(&x->server->slow);
  reply_ok(x->out);
}

void cmd_slowlog_help(call *x) {
  static const char *const lines[] = {
      "GET [<count>]",
      "    Give the newest <count> entries (default: 10, -1: all). Each has",
      "    id, timestamp, microseconds, arguments, the client's address and its name.",
      "LEN",
      "    Count the entries.",
      "RESET",
      "    Forget the entries.",
      NULL};
  call_reply_help(x, lines);
}
