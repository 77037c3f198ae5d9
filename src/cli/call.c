/* call.c - one command being executed. See call.h. */
#include "call.h"

#include "reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* --- reading ---------------------------------------------------------------------------------- */

/* What a reply shows may be sent once it is published. */
static void depend_on(conn *c, uint64_t seq) {
  if (seq > c->depends_seq) c->depends_seq = seq;
}

static int refresh_newest(call *x, kv_error *err) {
  server *s = x->server;
  if (!s->is_newest_fresh) {
    int rc = x->in_transaction ? kv_cursor_refresh(s->newest, err)
                               : kv_cursor_refresh_newest(s->newest, err);
    if (rc != KV_OK) return rc;
    s->is_newest_fresh = true;
  }
  if (!x->in_transaction) depend_on(x->conn, kv_cursor_seq(s->newest));
  return KV_OK;
}

static int refresh_seen(call *x, kv_error *err) {
  server *s = x->server;
  int rc = s->is_seen_fresh ? KV_OK : kv_cursor_refresh(s->seen, err);
  s->is_seen_fresh = rc == KV_OK;
  return rc;
}

kv_cursor *call_cursor(call *x) {
  bool is_ahead = x->in_transaction || x->conn->depends_seq > x->server->published;
  kv_error err;
  int rc = is_ahead ? refresh_newest(x, &err) : refresh_seen(x, &err);
  if (rc != KV_OK) {
    call_fail(x, &err);
    return NULL;
  }
  return is_ahead ? x->server->newest : x->server->seen;
}

call_found call_find(call *x, const resp_arg *key, kv_value *out) {
  kv_cursor *cursor = call_cursor(x);
  if (cursor == NULL) return CALL_ANSWERED;
  kv_cursor_find(cursor, key->data, key->size);
  bool counts = (x->command->flags & CMD_WRITE) == 0;
  if (!kv_cursor_valid(cursor)) {
    x->server->counters.misses += counts;
    return call_check_key(x, key) ? CALL_MISSING : CALL_ANSWERED;
  }
  x->server->counters.hits += counts;
  kv_cursor_value(cursor, out);
  return CALL_FOUND;
}

bool call_find_bytes(call *x, const resp_arg *key, char scratch[VALUE_TEXT_MAX], resp_arg *out) {
  kv_value value;
  call_found found = call_find(x, key, &value);
  *out = (resp_arg){.data = ""};
  if (found == CALL_FOUND) (void)value_bytes(&value, scratch, &out->data, &out->size);
  return found != CALL_ANSWERED;
}

bool call_check_key(call *x, const resp_arg *key) {
  kv_error err;
  if (kv_keypath_check(key->data, key->size, &err) == KV_OK) return true;
  reply_error(x->out, "ERR kvstore: %s", err.text);
  return false;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* An error of one command's arguments leaves the others of an EXEC alone; any other ends it. */
static bool check(call *x, int rc, const kv_error *err) {
  if (rc == KV_OK) return true;
  if (rc == KV_EKEYPATH || rc == KV_ETOOBIG) {
    reply_error(x->out, "ERR kvstore: %s", err->text);
  } else {
    call_fail(x, err);
  }
  return false;
}

bool call_put(call *x, const resp_arg *key, const kv_value *value, bool *replaced) {
  kv_error err;
  x->server->is_newest_fresh = false;
  if (x->server->absent.count > 0) absent_touch(&x->server->absent, key->data, key->size);
  return check(x, kv_put(x->server->db, key->data, key->size, value, replaced, &err), &err);
}

bool call_put_bytes(call *x, const resp_arg *key, const char *data, size_t size) {
  kv_value value = {.type = value_is_text(data, size) ? KV_TEXT : KV_BLOB};
  value.data = data;
  value.size = size;
  return call_put(x, key, &value, NULL);
}

bool call_delete(call *x, const resp_arg *key, bool *found) {
  kv_error err;
  x->server->is_newest_fresh = false;
  return check(x, kv_delete(x->server->db, key->data, key->size, found, &err), &err);
}

void call_fail(call *x, const kv_error *err) {
  bool is_disk = err->code == KV_EIO || err->code == KV_EREADONLY || err->code == KV_EFULL ||
                 err->code == KV_EMOVED;
  bool is_busy = err->code == KV_EBUSY || err->code == KV_EINTERRUPTED;
  const char *code = err->code == KV_ENOMEM ? "OOM"
                     : is_disk              ? "MISCONF"
                     : is_busy              ? "BUSY"
                                            : "ERR";
  x->out->size = x->begin;
  reply_error(x->out, "%s kvstore: %s", code, err->text);
  x->is_failed = true;
}

/* --- arguments and replies -------------------------------------------------------------------- */

bool call_is(const resp_arg *arg, const char *word) {
  return strlen(word) == arg->size && strncasecmp(arg->data, word, arg->size) == 0;
}

bool call_integer(call *x, const resp_arg *arg, int64_t *out) {
  if (value_parse_integer(arg->data, arg->size, out)) return true;
  reply_error(x->out, "ERR value is not an integer or out of range");
  return false;
}

bool call_set_name(call *x, const resp_arg *name, char **place, const char *what) {
  for (size_t i = 0; i < name->size; i++) {
    if (name->data[i] > ' ' && name->data[i] <= '~') continue;
    reply_error(x->out, "ERR %s cannot contain spaces, newlines or special characters.", what);
    return false;
  }
  char *copy = name->size > 0 ? strndup(name->data, name->size) : NULL;
  free(*place);
  *place = copy;
  return true;
}

void call_reply_nil(call *x) {
  reply_nil(x->out, x->conn->protocol);
}

void call_reply_value(call *x, const kv_value *value) {
  char scratch[VALUE_TEXT_MAX];
  const char *data;
  size_t size;
  if (value_bytes(value, scratch, &data, &size)) {
    reply_bulk(x->out, data, size);
  } else {
    call_reply_nil(x);
  }
}

void call_reply_syntax_error(call *x) {
  reply_error(x->out, "ERR syntax error");
}

void call_reply_wrong_count(call *x) {
  reply_error(x->out, "ERR wrong number of arguments for '%s' command", x->command->name);
}

/* The name of the container in capitals. */
static void container_name(const call *x, char name[32]) {
  size_t size = 0;
  for (const char *c = x->command->name; *c != '\0' && *c != '|' && size + 1 < 32; c++) {
    name[size++] = (char)(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
  }
  name[size] = '\0';
}

void call_reply_unknown_subcommand(call *x) {
  char name[32];
  container_name(x, name);
  int shown = x->args[1].size < 128 ? (int)x->args[1].size : 128;
  reply_error(x->out, "ERR unknown subcommand '%.*s'. Try %s HELP.", shown, x->args[1].data, name);
}

void call_reply_help(call *x, const char *const *lines) {
  char name[32], first[96];
  size_t count = 0;
  container_name(x, name);
  snprintf(first, sizeof first,
           "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", name);
  while (lines[count] != NULL) count++;
  reply_array(x->out, count + 3);
  reply_status(x->out, first);
  for (size_t i = 0; i < count; i++) reply_status(x->out, lines[i]);
  reply_status(x->out, "HELP");
  reply_status(x->out, "    Prints this help.");
}
