/*
** cmd_conn.c - commands about the connection itself: PING, AUTH, HELLO, RESET and others.
*/
#include "cmd_multi.h"
#include "commands.h"
#include "reply.h"

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
  if (!call_integer(x, &x->args[1], &number)) return;
  if (number != 0) {
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

/* --- HELLO ------------------------------------------------------------------------------------ */

/* The words behind HELLO's version; false: the call is answered. */
static bool hello_options(call *x) {
  for (size_t i = 2; i < x->count; i++) {
    size_t left = x->count - 1 - i;
    if (call_is(&x->args[i], "AUTH") && left >= 2) {
      if (!authenticate(x, &x->args[i + 1], x->args[i + 2])) return false;
      i += 2;
    } else if (call_is(&x->args[i], "SETNAME") && left >= 1) {
      if (!call_set_name(x, &x->args[++i], &x->conn->name, "Client names")) return false;
    } else {
      reply_error(x->out, "ERR Syntax error in HELLO option '%.*s'",
                  (int)(x->args[i].size < 128 ? x->args[i].size : 128), x->args[i].data);
      return false;
    }
  }
  return true;
}

void cmd_hello(call *x) {
  conn *c = x->conn;
  int64_t version = c->protocol;
  if (x->count > 1 && !value_parse_integer(x->args[1].data, x->args[1].size, &version)) {
    reply_error(x->out, "ERR Protocol version is not an integer or out of range");
    return;
  }
  if (version != 2 && version != 3) {
    reply_error(x->out, "NOPROTO unsupported protocol version");
    return;
  }
  if (!hello_options(x)) return;
  if (!c->is_authenticated) {
    reply_error(
        x->out,
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the "
        "HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and "
        "select the RESP protocol version at the same time");
    return;
  }
  c->protocol = (unsigned)version;
  reply_map(x->out, c->protocol, 7);
  reply_text(x->out, "server");
  reply_text(x->out, "kvstore");
  reply_text(x->out, "version");
  reply_text(x->out, kv_version());
  reply_text(x->out, "proto");
  reply_integer(x->out, version);
  reply_text(x->out, "id");
  reply_integer(x->out, (int64_t)c->id);
  reply_text(x->out, "mode");
  reply_text(x->out, "standalone");
  reply_text(x->out, "role");
  reply_text(x->out, "master");
  reply_text(x->out, "modules");
  reply_array(x->out, 0);
}

/* --- RESET ------------------------------------------------------------------------------------ */

void cmd_reset(call *x) {
  conn *c = x->conn;
  multi_free(c);
  conn_list_remove(x->server->lists, LIST_MONITORS, c);
  free(c->name);
  c->name = NULL;
  c->protocol = 2;
  c->muted = 0;
  c->wants_no_evict = false;
  c->is_authenticated = x->server->options.password == NULL;
  reply_status(x->out, "RESET");
}
