/*
** cmd_client.c - CLIENT: connections are named, listed, closed, and told not to be answered.
**
** A line of LIST has all fields of Redis 7, and of 7.2 lib-name and lib-ver. What has no meaning here
** (psub, redir and others) has the value of a connection that makes no use of it.
*/
#include "cmd_multi.h"
#include "commands.h"
#include "reply.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define ADDRESS_MAX 128u

/* --- names ------------------------------------------------------------------------------------ */

void cmd_client_id(call *x) {
  reply_integer(x->out, (int64_t)x->conn->id);
}

void cmd_client_getname(call *x) {
  if (x->conn->name != NULL) {
    reply_text(x->out, x->conn->name);
  } else {
    call_reply_nil(x);
  }
}

void cmd_client_setname(call *x) {
  if (call_set_name(x, &x->args[2], &x->conn->name, "Client names")) reply_ok(x->out);
}

void cmd_client_setinfo(call *x) {
  const resp_arg *what = &x->args[2];
  bool is_name = call_is(what, "LIB-NAME");
  if (!is_name && !call_is(what, "LIB-VER")) {
    reply_error(x->out, "ERR Unrecognized option '%.*s'",
                (int)(what->size < 128 ? what->size : 128), what->data);
    return;
  }
  char **place = is_name ? &x->conn->library : &x->conn->library_version;
  if (call_set_name(x, &x->args[3], place, is_name ? "lib-name" : "lib-ver")) reply_ok(x->out);
}

/* --- lists ------------------------------------------------------------------------------------ */

/* Both ends of a connection: "127.0.0.1:1337", "[::1]:1337", "/path:0". */
static void own_address(const conn *c, char out[ADDRESS_MAX], bool *is_unix) {
  struct sockaddr_storage own = {.ss_family = AF_UNSPEC};
  socklen_t size = sizeof own;
  char host[INET6_ADDRSTRLEN] = "?";
  (void)getsockname(c->fd, (struct sockaddr *)&own, &size);
  *is_unix = own.ss_family == AF_UNIX;
  if (own.ss_family == AF_INET) {
    const struct sockaddr_in *v4 = (const void *)&own;
    inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
    snprintf(out, ADDRESS_MAX, "%s:%u", host, ntohs(v4->sin_port));
  } else if (own.ss_family == AF_INET6) {
    const struct sockaddr_in6 *v6 = (const void *)&own;
    inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
    snprintf(out, ADDRESS_MAX, "[%s]:%u", host, ntohs(v6->sin6_port));
  } else {
    const char *path = c->server->options.unixsocket;
    snprintf(out, ADDRESS_MAX, "%.100s:0", path != NULL ? path : "?");
  }
}

static void flags_of(const conn *c, bool is_unix, char out[8]) {
  size_t n = 0;
  if (c->links[LIST_MONITORS].is_in) out[n++] = 'O';
  if (c->multi != NULL) out[n++] = 'x';
  if (c->is_closing) out[n++] = 'c';
  if (is_unix) out[n++] = 'U';
  if (c->wants_no_evict) out[n++] = 'e';
  if (n == 0) out[n++] = 'N';
  out[n] = '\0';
}

static const char *text_of(const char *text) {
  return text != NULL ? text : "";
}

static void append_client(bytes *out, const conn *c) {
  char line[1024], own[ADDRESS_MAX], flags[8];
  bool is_unix;
  uint64_t now_ms = uv_now(&c->server->loop);
  own_address(c, own, &is_unix);
  flags_of(c, is_unix, flags);
  size_t queue = multi_size(c), total = sizeof *c + c->in.room + c->out.room + queue;
  int size = snprintf(
      line, sizeof line,
      "id=%" PRIu64 " addr=%s laddr=%s fd=%d name=%.128s age=%" PRIu64 " idle=%" PRIu64
      " flags=%s db=0 sub=0 psub=0 ssub=0 multi=%d qbuf=%zu qbuf-free=%zu argv-mem=0 multi-mem=%zu"
      " rbs=%zu rbp=%zu obl=%zu oll=0 omem=0 tot-mem=%zu events=%s cmd=%s user=default redir=-1"
      " resp=%u lib-name=%.64s lib-ver=%.64s\n",
      c->id, is_unix ? own : c->peer, own, c->fd, text_of(c->name), (now_ms - c->created_ms) / 1000,
      (now_ms - c->active_ms) / 1000, flags, c->multi != NULL ? (int)multi_count(c) : -1,
      c->in.size, c->in.room - c->in.size, queue, c->out.room, c->out.size, c->out.size - c->start,
      total, c->events & UV_WRITABLE ? "rw" : "r", c->last_command, c->protocol,
      text_of(c->library), text_of(c->library_version));
  if (size > 0)
    bytes_append(out, line, (size_t)size < sizeof line ? (size_t)size : sizeof line - 1);
}

static void reply_lines(call *x, bytes *text) {
  reply_verbatim(x->out, x->conn->protocol, text->data != NULL ? text->data : "", text->size);
  if (bytes_failed(text)) x->out->failed = true;
  bytes_free(text);
}

void cmd_client_info(call *x) {
  bytes text = {.limit = CONN_OUTPUT_MAX};
  append_client(&text, x->conn);
  reply_lines(x, &text);
}

/* Which connections a LIST or KILL means. */
typedef struct selection {
  const resp_arg *ids; /* of LIST: so many */
  size_t id_count;
  uint64_t id; /* of KILL; 0: any */
  const resp_arg *peer, *own, *user;
  bool has_type, is_normal; /* TYPE: there are normal clients only */
  bool skips_me;
} selection;

static bool is_text(const resp_arg *arg, const char *text) {
  return arg->size == strlen(text) && memcmp(arg->data, text, arg->size) == 0;
}

static bool is_selected(const selection *s, const conn *c) {
  char own[ADDRESS_MAX];
  bool is_unix, has_id = s->id_count == 0;
  own_address(c, own, &is_unix);
  for (size_t i = 0; i < s->id_count && !has_id; i++) {
    int64_t id;
    has_id = value_parse_integer(s->ids[i].data, s->ids[i].size, &id) && (uint64_t)id == c->id;
  }
  return has_id && !c->is_killed && (s->id == 0 || s->id == c->id) &&
         (s->peer == NULL || is_text(s->peer, is_unix ? own : c->peer)) &&
         (s->own == NULL || is_text(s->own, own)) &&
         (s->user == NULL || is_text(s->user, "default")) && (!s->has_type || s->is_normal);
}

static bool parse_type(call *x, const resp_arg *arg, selection *s) {
  static const char *const others[] = {"master", "slave", "replica", "pubsub"};
  bool is_other = false;
  s->has_type = true;
  s->is_normal = call_is(arg, "normal");
  for (size_t i = 0; i < 4; i++) is_other = is_other || call_is(arg, others[i]);
  if (s->is_normal || is_other) return true;
  reply_error(x->out, "ERR Unknown client type '%.*s'", (int)(arg->size < 128 ? arg->size : 128),
              arg->data);
  return false;
}

static bool parse_list(call *x, selection *s) {
  int64_t id;
  if (x->count == 2) return true;
  if (x->count == 4 && call_is(&x->args[2], "TYPE")) return parse_type(x, &x->args[3], s);
  if (x->count < 4 || !call_is(&x->args[2], "ID")) {
    call_reply_syntax_error(x);
    return false;
  }
  s->ids = &x->args[3];
  s->id_count = x->count - 3;
  for (size_t i = 0; i < s->id_count; i++) {
    if (value_parse_integer(s->ids[i].data, s->ids[i].size, &id)) continue;
    reply_error(x->out, "ERR Invalid client ID");
    return false;
  }
  return true;
}

void cmd_client_list(call *x) {
  bytes text = {.limit = CONN_OUTPUT_MAX};
  selection s = {.id = 0};
  if (!parse_list(x, &s)) return;
  for (const conn *c = x->server->lists[LIST_ALL].first; c != NULL; c = c->links[LIST_ALL].next) {
    if (is_selected(&s, c)) append_client(&text, c);
  }
  reply_lines(x, &text);
}

/* --- closing ---------------------------------------------------------------------------------- */

/* One pair of words of KILL; false: the call is answered. */
static bool parse_kill_pair(call *x, const resp_arg *word, const resp_arg *value, selection *s) {
  int64_t id;
  if (call_is(word, "ID")) {
    if (value_parse_integer(value->data, value->size, &id) && id > 0) {
      s->id = (uint64_t)id;
      return true;
    }
    reply_error(x->out, "ERR client-id should be greater than 0");
    return false;
  }
  if (call_is(word, "TYPE")) return parse_type(x, value, s);
  if (call_is(word, "USER") && !is_text(value, "default")) {
    reply_error(x->out, "ERR No such user '%.*s'", (int)(value->size < 128 ? value->size : 128),
                value->data);
    return false;
  }
  if (call_is(word, "SKIPME") && (call_is(value, "yes") || call_is(value, "no"))) {
    s->skips_me = call_is(value, "yes");
  } else if (call_is(word, "ADDR")) {
    s->peer = value;
  } else if (call_is(word, "LADDR")) {
    s->own = value;
  } else if (call_is(word, "USER")) {
    s->user = value;
  } else {
    call_reply_syntax_error(x);
    return false;
  }
  return true;
}

void cmd_client_kill(call *x) {
  selection s = {.skips_me = x->count > 3};
  bool is_old_form = x->count == 3;
  if (is_old_form) s.peer = &x->args[2];
  if (!is_old_form && x->count % 2 != 0) {
    call_reply_syntax_error(x);
    return;
  }
  for (size_t i = 2; i + 1 < x->count; i += 2) {
    if (!parse_kill_pair(x, &x->args[i], &x->args[i + 1], &s)) return;
  }
  int64_t killed = 0;
  bool is_own = false;
  for (conn *c = x->server->lists[LIST_ALL].first; c != NULL; c = c->links[LIST_ALL].next) {
    if ((c == x->conn && s.skips_me) || !is_selected(&s, c)) continue;
    killed++;
    if (c == x->conn) {
      is_own = true;
    } else {
      conn_kill(c);
    }
  }
  if (is_own) x->conn->is_closing = true; /* after this reply */
  if (is_old_form && killed == 0) {
    reply_error(x->out, "ERR No such client");
  } else if (is_old_form) {
    reply_ok(x->out);
  } else {
    reply_integer(x->out, killed);
  }
}

/* --- switches ---------------------------------------------------------------------------------- */

void cmd_client_reply(call *x) {
  conn *c = x->conn;
  if (call_is(&x->args[2], "ON")) {
    c->muted = 0;
    reply_ok(x->out);
  } else if (call_is(&x->args[2], "OFF")) {
    c->muted = CONN_MUTED;
  } else if (call_is(&x->args[2], "SKIP")) {
    if (c->muted != CONN_MUTED) c->muted = 2; /* this command and the next */
  } else {
    call_reply_syntax_error(x);
  }
}

void cmd_client_no_evict(call *x) {
  bool is_on = call_is(&x->args[2], "ON");
  if (!is_on && !call_is(&x->args[2], "OFF")) {
    call_reply_syntax_error(x);
    return;
  }
  x->conn->wants_no_evict = is_on;
  reply_ok(x->out);
}

void cmd_client_help(call *x) {
  static const char *const lines[] = {
      "GETNAME",
      "    Give the name of this connection.",
      "ID",
      "    Give the number of this connection.",
      "INFO",
      "    Describe this connection.",
      "KILL <ip:port>",
      "    Close the connection from <ip:port>.",
      "KILL <option> <value> [<option> <value> [...]]",
      "    Close the connections that have all of these:",
      "    ADDR <ip:port>, LADDR <ip:port>, ID <number>,",
      "    TYPE (NORMAL|MASTER|REPLICA|PUBSUB), USER <name>;",
      "    SKIPME (YES|NO): but for this one (default: yes).",
      "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB)] [ID <number> ...]",
      "    Describe all connections, or some.",
      "NO-EVICT (ON|OFF)",
      "    Is accepted; no connection is closed for want of memory.",
      "REPLY (ON|OFF|SKIP)",
      "    Reply to commands, do not, or not to the next one.",
      "SETINFO (LIB-NAME|LIB-VER) <text>",
      "    Tell which library this client is.",
      "SETNAME <name>",
      "    Name this connection.",
      NULL};
  call_reply_help(x, lines);
}
