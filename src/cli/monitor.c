/* monitor.c - MONITOR. See monitor.h. */
#include "monitor.h"

#include "commands.h"
#include "logger.h"
#include "reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

/* A word between quotes, as redis-cli would show it. */
static void append_quoted(bytes *out, const resp_arg *arg) {
  static const char special[] = {
      ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't', ['\a'] = 'a', ['\b'] = 'b'};
  char hex[8];
  bytes_append(out, "\"", 1);
  for (size_t i = 0; i < arg->size; i++) {
    unsigned char byte = (unsigned char)arg->data[i];
    if (byte == '"' || byte == '\\') {
      bytes_append(out, (char[]){'\\', (char)byte}, 2);
    } else if (byte < sizeof special && special[byte] != 0) {
      bytes_append(out, (char[]){'\\', special[byte]}, 2);
    } else if (byte < ' ' || byte > '~') {
      snprintf(hex, sizeof hex, "\\x%02x", byte);
      bytes_append(out, hex, 4);
    } else {
      bytes_append(out, &byte, 1);
    }
  }
  bytes_append(out, "\"", 1);
}

static void append_line(bytes *out, const call *x) {
  char head[128];
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  snprintf(head, sizeof head, "+%lld.%06ld [0 %s]", (long long)now.tv_sec, now.tv_nsec / 1000,
           x->conn->peer);
  bytes_append_text(out, head);
  for (size_t i = 0; i < x->count; i++) {
    bytes_append(out, " ", 1);
    if (i > 0 && x->command->flags & CMD_SECRET) {
      bytes_append_text(out, "\"(redacted)\"");
    } else {
      append_quoted(out, &x->args[i]);
    }
  }
  bytes_append(out, "\r\n", 2);
}

void monitor_feed(const call *x) {
  if (x->command->flags & CMD_ADMIN) return;
  bytes line = {.limit = MONITOR_OUTPUT_MAX};
  append_line(&line, x);
  for (conn *c = x->server->lists[LIST_MONITORS].first, *next; c != NULL; c = next) {
    next = c->links[LIST_MONITORS].next;
    if (c->is_closing || bytes_failed(&line)) continue;
    bytes_append(&c->out, line.data, line.size);
    if (c->out.size - c->start > MONITOR_OUTPUT_MAX) {
      logger_warn("%s does not take what MONITOR shows: closing its connection", c->peer);
      c->out.failed = true;
    }
    conn_push(c);
  }
  bytes_free(&line);
}

void cmd_monitor(call *x) {
  conn_list_add(x->server->lists, LIST_MONITORS, x->conn);
  reply_ok(x->out);
}
