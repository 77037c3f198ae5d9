/*
** cmd_string.c - commands on one value: GET, SET and their kin, numbers, parts of a value.
**
** A value keeps what SQL made of it where that makes sense: INCR leaves an INTEGER an INTEGER. What
** clients set is bytes (value.h says as which type they are stored). A value that is NULL is read as
** nil, and counts as absent bytes for those commands that add to it.
*/
#include "commands.h"
#include "reply.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* --- GET and SET ------------------------------------------------------------------------------ */

/* Reply the value, or nil; false: it was an error instead. */
static bool reply_present(call *x, const resp_arg *key) {
  kv_value value;
  call_found found = call_find(x, key, &value);
  if (found == CALL_FOUND) call_reply_value(x, &value);
  if (found == CALL_MISSING) reply_nil(x->out, x->conn->protocol);
  return found != CALL_ANSWERED;
}

void cmd_get(call *x) {
  (void)reply_present(x, &x->args[1]);
}

typedef struct set_options {
  bool if_absent, if_present, get;
} set_options;

/* The words behind SET's value; false: the call is answered. */
static bool parse_set_options(call *x, set_options *o) {
  static const char *const expiry[] = {"EX", "PX", "EXAT", "PXAT"};
  for (size_t i = 3; i < x->count; i++) {
    const resp_arg *arg = &x->args[i];
    for (size_t j = 0; j < sizeof expiry / sizeof expiry[0]; j++) {
      if (!call_is(arg, expiry[j])) continue;
      reply_error(x->out, "ERR kvstore: keys do not expire: SET does not take %s", expiry[j]);
      return false;
    }
    if (call_is(arg, "NX") && !o->if_present) {
      o->if_absent = true;
    } else if (call_is(arg, "XX") && !o->if_absent) {
      o->if_present = true;
    } else if (call_is(arg, "GET")) {
      o->get = true;
    } else if (!call_is(arg, "KEEPTTL")) {
      call_reply_syntax_error(x);
      return false;
    }
  }
  return true;
}

void cmd_set(call *x) {
  const resp_arg *key = &x->args[1], *data = &x->args[2];
  set_options o = {0};
  if (x->count > 3 && !parse_set_options(x, &o)) return;
  if ((o.if_absent || o.if_present || o.get) && !call_check_key(x, key)) return;
  bool has = (o.if_absent || o.if_present) && kv_has(x->server->db, key->data, key->size);
  if (o.get && !reply_present(x, key)) return;
  if ((o.if_absent && has) || (o.if_present && !has)) {
    if (!o.get) reply_nil(x->out, x->conn->protocol);
    return;
  }
  if (call_put_bytes(x, key, data->data, data->size) && !o.get) reply_ok(x->out);
}

void cmd_setnx(call *x) {
  const resp_arg *key = &x->args[1];
  if (kv_has(x->server->db, key->data, key->size)) {
    reply_integer(x->out, 0);
  } else if (call_put_bytes(x, key, x->args[2].data, x->args[2].size)) {
    reply_integer(x->out, 1);
  }
}

void cmd_getset(call *x) {
  if (!call_check_key(x, &x->args[1]) || !reply_present(x, &x->args[1])) return;
  (void)call_put_bytes(x, &x->args[1], x->args[2].data, x->args[2].size);
}

void cmd_getdel(call *x) {
  if (!reply_present(x, &x->args[1])) return;
  bool found;
  (void)call_delete(x, &x->args[1], &found);
}

/* Keys do not expire: PERSIST has nothing to do, and to let one expire is an error. */
void cmd_getex(call *x) {
  static const char *const expiry[] = {"EX", "PX", "EXAT", "PXAT"};
  for (size_t i = 2; i < x->count; i++) {
    for (size_t j = 0; j < sizeof expiry / sizeof expiry[0]; j++) {
      if (!call_is(&x->args[i], expiry[j])) continue;
      reply_error(x->out, "ERR kvstore: keys do not expire: GETEX does not take %s", expiry[j]);
      return;
    }
    if (!call_is(&x->args[i], "PERSIST")) {
      call_reply_syntax_error(x);
      return;
    }
  }
  (void)reply_present(x, &x->args[1]);
}

/* --- several ---------------------------------------------------------------------------------- */

void cmd_mget(call *x) {
  for (size_t i = 1; i < x->count; i++) {
    if (!call_check_key(x, &x->args[i])) return;
  }
  reply_array(x->out, x->count - 1);
  for (size_t i = 1; i < x->count && !x->is_failed; i++) (void)reply_present(x, &x->args[i]);
}

static bool check_pairs(call *x) {
  if (x->count % 2 == 0) {
    call_reply_wrong_count(x);
    return false;
  }
  for (size_t i = 1; i < x->count; i += 2) {
    if (!call_check_key(x, &x->args[i])) return false;
  }
  return true;
}

static bool put_pairs(call *x) {
  for (size_t i = 1; i < x->count; i += 2) {
    const resp_arg *data = &x->args[i + 1];
    if (!call_put_bytes(x, &x->args[i], data->data, data->size)) return false;
  }
  return true;
}

void cmd_mset(call *x) {
  if (check_pairs(x) && put_pairs(x)) reply_ok(x->out);
}

void cmd_msetnx(call *x) {
  if (!check_pairs(x)) return;
  for (size_t i = 1; i < x->count; i += 2) {
    if (!kv_has(x->server->db, x->args[i].data, x->args[i].size)) continue;
    reply_integer(x->out, 0);
    return;
  }
  if (put_pairs(x)) reply_integer(x->out, 1);
}

/* --- parts of a value ------------------------------------------------------------------------- */

void cmd_strlen(call *x) {
  char scratch[VALUE_TEXT_MAX];
  resp_arg now;
  if (call_find_bytes(x, &x->args[1], scratch, &now)) reply_integer(x->out, (int64_t)now.size);
}

/* Put `size` bytes at `offset` into the present ones, and zeros into the gap; reply the length. */
static void write_part(call *x, const resp_arg *now, size_t offset, const resp_arg *part) {
  size_t end = offset + part->size, size = end > now->size ? end : now->size;
  if (size > x->server->limits.bulk_max) {
    reply_error(x->out, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    return;
  }
  char *joined = calloc(1, size > 0 ? size : 1);
  if (joined == NULL) {
    call_fail(x, &(kv_error){.code = KV_ENOMEM, .text = "out of memory"});
    return;
  }
  if (now->size > 0) memcpy(joined, now->data, now->size);
  if (part->size > 0) memcpy(joined + offset, part->data, part->size);
  if (call_put_bytes(x, &x->args[1], joined, size)) reply_integer(x->out, (int64_t)size);
  free(joined);
}

void cmd_append(call *x) {
  char scratch[VALUE_TEXT_MAX];
  resp_arg now;
  if (call_find_bytes(x, &x->args[1], scratch, &now)) write_part(x, &now, now.size, &x->args[2]);
}

void cmd_setrange(call *x) {
  char scratch[VALUE_TEXT_MAX];
  int64_t offset;
  resp_arg now;
  if (!call_integer(x, &x->args[2], &offset)) return;
  if (offset < 0) {
    reply_error(x->out, "ERR offset is out of range");
    return;
  }
  if (!call_find_bytes(x, &x->args[1], scratch, &now)) return;
  if (x->args[3].size == 0) {
    reply_integer(x->out, (int64_t)now.size);
  } else if ((uint64_t)offset > x->server->limits.bulk_max) {
    reply_error(x->out, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
  } else {
    write_part(x, &now, (size_t)offset, &x->args[3]);
  }
}

void cmd_getrange(call *x) {
  char scratch[VALUE_TEXT_MAX];
  int64_t first, last;
  resp_arg now;
  if (!call_integer(x, &x->args[2], &first) || !call_integer(x, &x->args[3], &last)) return;
  if (!call_find_bytes(x, &x->args[1], scratch, &now)) return;
  int64_t size = (int64_t)now.size;
  bool is_backward = first < 0 && last < 0 && first > last;
  if (first < 0) first = first < -size ? 0 : first + size;
  if (last < 0) last = last < -size ? 0 : last + size;
  if (last >= size) last = size - 1;
  if (is_backward || first > last || size == 0) {
    reply_bulk(x->out, "", 0);
  } else {
    reply_bulk(x->out, now.data + first, (size_t)(last - first + 1));
  }
}

/* --- numbers ---------------------------------------------------------------------------------- */

/* Add to the number; what SQL stored as an INTEGER stays one, all else is text. */
static void increment(call *x, int64_t by) {
  kv_value value = {.type = KV_NULL};
  char text[VALUE_TEXT_MAX], scratch[VALUE_TEXT_MAX];
  resp_arg now;
  int64_t number = 0;
  call_found found = call_find(x, &x->args[1], &value);
  if (found == CALL_ANSWERED) return;
  bool is_there = found == CALL_FOUND && value_bytes(&value, scratch, &now.data, &now.size);
  if (is_there && !call_integer(x, &now, &number)) return;
  if (__builtin_add_overflow(number, by, &number)) {
    reply_error(x->out, "ERR increment or decrement would overflow");
    return;
  }
  bool is_put;
  if (is_there && value.type == KV_INTEGER) {
    kv_value sum = {.type = KV_INTEGER, .integer = number};
    is_put = call_put(x, &x->args[1], &sum, NULL);
  } else {
    int size = snprintf(text, sizeof text, "%" PRId64, number);
    is_put = call_put_bytes(x, &x->args[1], text, (size_t)size);
  }
  if (is_put) reply_integer(x->out, number);
}

void cmd_incr(call *x) {
  increment(x, 1);
}

void cmd_decr(call *x) {
  increment(x, -1);
}

void cmd_incrby(call *x) {
  int64_t by;
  if (call_integer(x, &x->args[2], &by)) increment(x, by);
}

void cmd_decrby(call *x) {
  int64_t by;
  if (!call_integer(x, &x->args[2], &by)) return;
  if (by == INT64_MIN) {
    reply_error(x->out, "ERR decrement would overflow");
  } else {
    increment(x, -by);
  }
}

void cmd_incrbyfloat(call *x) {
  char scratch[VALUE_TEXT_MAX], text[VALUE_REAL_TEXT_MAX];
  long double number = 0, by;
  resp_arg now = {.data = ""};
  kv_value value;
  call_found found = call_find(x, &x->args[1], &value);
  bool is_there = found == CALL_FOUND && value_bytes(&value, scratch, &now.data, &now.size);
  if (found == CALL_ANSWERED) return;
  if ((is_there && !value_parse_real(now.data, now.size, &number)) ||
      !value_parse_real(x->args[2].data, x->args[2].size, &by)) {
    reply_error(x->out, "ERR value is not a valid float");
    return;
  }
  number += by;
  if (isnan(number) || isinf(number)) {
    reply_error(x->out, "ERR increment would produce NaN or Infinity");
    return;
  }
  size_t size = value_from_real(text, number);
  if (call_put_bytes(x, &x->args[1], text, size)) reply_bulk(x->out, text, size);
}
