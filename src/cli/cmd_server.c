/*
** cmd_server.c - commands about the server: ROLE, TIME, LASTSAVE, BGREWRITEAOF, SHUTDOWN.
*/
#include "commands.h"
#include "reply.h"
#include "rewrite.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

void cmd_role(call *x) {
  reply_array(x->out, 3);
  reply_text(x->out, "master");
  reply_integer(x->out, 0);
  reply_array(x->out, 0);
}

void cmd_time(call *x) {
  char text[32];
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  reply_array(x->out, 2);
  snprintf(text, sizeof text, "%lld", (long long)now.tv_sec);
  reply_text(x->out, text);
  snprintf(text, sizeof text, "%ld", now.tv_nsec / 1000);
  reply_text(x->out, text);
}

void cmd_lastsave(call *x) {
  reply_integer(x->out, (int64_t)x->server->rewritten_s);
}

/* --- the log and the end ---------------------------------------------------------------------- */

void cmd_bgrewriteaof(call *x) {
  kv_error err;
  if (x->in_exec && x->server->flush_db != NULL && x->server->rewrite.db == NULL) {
    x->server->rewrite.is_scheduled = true; /* as in Redis: when the EXEC is done */
    reply_status(x->out, "Background append only file rewriting scheduled");
    return;
  }
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
