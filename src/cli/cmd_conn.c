/*
** cmd_conn.c - commands about the connection itself: PING, AUTH, HELLO, CLIENT and others.
*/
#include "commands.h"
#include "reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void cmd_ping(call *x) {
  if (x->count > 2) {
    call_reply_wrong_count(x);
  } else if (x->count == 2) {
    reply_bulk(x->out, x->args[1].data, x->args[1].size);
  } else {
    reply_status(x->out, "PONG");
  }
}

void cmd_echo(call *x) {
  reply_bulk(x->out, x->args[1].data, x->args[1].size);
}

void cmd_quit(call *x) {
  reply_ok(x->out);
  x->conn->is_closing = true;
}

void cmd_select(call *x) {
  int64_t number;
  if (!value_parse_integer(x->args[1].data, x->args[1].size, &number)) {
    reply_error(x->out, "ERR invalid DB index");
  } else if (number != 0) {
    reply_error(x->out, "ERR DB index is out of range");
  } else {
    reply_ok(x->out);
  }
}

/* --- passwords -------------------------------------------------------------------------------- */

/* Takes as long for any password of a length, so that time tells nothing of how much was right. */
static bool is_password(const char *password, resp_arg given) {
  size_t size = strlen(password);
  unsigned char differs = size != given.size;
  for (size_t i = 0; i < given.size; i++) {
    differs |= (unsigned char)(given.data[i] ^ password[size > 0 ? i % size : 0]);
  }
  return !differs;
}

/* Whether user and password are right; if not the reply says so. */
static bool authenticate(call *x, const resp_arg *user, resp_arg given) {
  const char *password = x->server->options.password;
  bool is_default = user == NULL || (user->size == 7 && memcmp(user->data, "default", 7) == 0);
  if (is_default && (password == NULL || is_password(password, given))) {
    x->conn->is_authenticated = true;
    return true;
  }
  reply_error(x->out, "WRONGPASS invalid username-password pair or user is disabled.");
  return false;
}

void cmd_auth(call *x) {
  if (x->count > 3) {
    call_reply_syntax_error(x);
  } else if (x->count == 2 && x->server->options.password == NULL) {
    reply_error(x->out,
                "ERR AUTH <password> called without any password configured for the default "
                "user. Are you sure your configuration is correct?");
  } else if (authenticate(x, x->count == 3 ? &x->args[1] : NULL, x->args[x->count - 1])) {
    reply_ok(x->out);
  }
}

/* --- names ------------------------------------------------------------------------------------ */

static bool set_name(call *x, const resp_arg *name) {
  for (size_t i = 0; i < name->size; i++) {
    if (name->data[i] > ' ' && name->data[i] <= '~') continue;
    reply_error(x->out, "ERR Client names cannot contain spaces, newlines or special characters.");
    return false;
  }
  char *copy = name->size > 0 ? strndup(name->data, name->size) : NULL;
  free(x->conn->name);
  x->conn->name = copy;
  return true;
}

/* The words behind HELLO's version; false: the call is answered. */
static bool hello_options(call *x) {
  for (size_t i = 2; i < x->count; i++) {
    size_t left = x->count - 1 - i;
    if (call_is(&x->args[i], "AUTH") && left >= 2) {
      if (!authenticate(x, &x->args[i + 1], x->args[i + 2])) return false;
      i += 2;
    } else if (call_is(&x->args[i], "SETNAME") && left >= 1) {
      if (!set_name(x, &x->args[++i])) return false;
    } else {
      reply_error(x->out, "ERR Syntax error in HELLO option '%.*s'",
                  (int)(x->args[i].size < 128 ? x->args[i].size : 128), x->args[i].data);
      return false;
    }
  }
  return true;
}

void cmd_hello(call *x) {
  int64_t version = 2;
  if (x->count > 1 && !value_parse_integer(x->args[1].data, x->args[1].size, &version)) {
    reply_error(x->out, "ERR Protocol version is not an integer or out of range");
    return;
  }
  if (version != 2) {
    reply_error(x->out, "NOPROTO unsupported protocol version");
    return;
  }
  if (!hello_options(x)) return;
  if (!x->conn->is_authenticated) {
    reply_error(
        x->out,
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the "
        "HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and "
        "select the RESP protocol version at the same time");
    return;
  }
  reply_array(x->out, 14);
  reply_text(x->out, "server");
  reply_text(x->out, "kvstore");
  reply_text(x->out, "version");
  reply_text(x->out, kv_version());
  reply_text(x->out, "proto");
  reply_integer(x->out, 2);
  reply_text(x->out, "id");
  reply_integer(x->out, (int64_t)x->conn->id);
  reply_text(x->out, "mode");
  reply_text(x->out, "standalone");
  reply_text(x->out, "role");
  reply_text(x->out, "master");
  reply_text(x->out, "modules");
  reply_array(x->out, 0);
}

/* --- CLIENT ----------------------------------------------------------------------------------- */

static void append_client(bytes *out, const conn *c) {
  char line[512];
  uint64_t now_ms = uv_now(&c->server->loop);
  int size = snprintf(line, sizeof line,
                      "id=%" PRIu64 " addr=%s fd=%d name=%.128s age=%" PRIu64 " idle=%" PRIu64
                      " flags=%s db=0 multi=%d qbuf=%zu obl=%zu cmd=%s resp=2\n",
                      c->id, c->peer, c->fd, c->name != NULL ? c->name : "",
                      (now_ms - c->created_ms) / 1000, (now_ms - c->active_ms) / 1000,
                      c->multi != NULL ? "x" : "N", c->multi != NULL ? 0 : -1, c->in.size,
                      c->out.size - c->start, c->last_command);
  if (size > 0)
    bytes_append(out, line, (size_t)size < sizeof line ? (size_t)size : sizeof line - 1);
}

static void client_list(call *x, bool all) {
  bytes text = {.limit = CONN_OUTPUT_MAX};
  if (!all) append_client(&text, x->conn);
  for (const conn *c = x->server->lists[LIST_ALL].first; all && c != NULL;
       c = c->links[LIST_ALL].next) {
    append_client(&text, c);
  }
  reply_bulk(x->out, text.data != NULL ? text.data : "", text.size);
  if (bytes_failed(&text)) x->out->failed = true;
  bytes_free(&text);
}

void cmd_client(call *x) {
  const resp_arg *what = &x->args[1];
  if (call_is(what, "ID") && x->count == 2) {
    reply_integer(x->out, (int64_t)x->conn->id);
  } else if (call_is(what, "GETNAME") && x->count == 2) {
    if (x->conn->name != NULL) {
      reply_text(x->out, x->conn->name);
    } else {
      reply_nil(x->out);
    }
  } else if (call_is(what, "SETNAME") && x->count == 3) {
    if (set_name(x, &x->args[2])) reply_ok(x->out);
  } else if (call_is(what, "LIST") && x->count == 2) {
    client_list(x, true);
  } else if (call_is(what, "INFO") && x->count == 2) {
    client_list(x, false);
  } else if (call_is(what, "SETINFO") && x->count == 4) {
    reply_ok(x->out); /* what library it is; nobody asks for it */
  } else {
    call_reply_unknown_subcommand(x);
  }
}
