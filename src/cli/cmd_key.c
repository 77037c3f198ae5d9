/*
** cmd_key.c - commands on keys: which there are, going through them, taking them away, renaming.
**
** Keys are in order, so a pattern that begins with something literal looks at those keys only.
*/
#include "commands.h"
#include "glob.h"
#include "reply.h"

#include <stdio.h>
#include <stdlib.h>

#define SCAN_COUNT_DEFAULT 10

/* --- one or several --------------------------------------------------------------------------- */

void cmd_exists(call *x) {
  int64_t count = 0;
  kv_value value;
  for (size_t i = 1; i < x->count; i++) {
    call_found found = call_find(x, &x->args[i], &value);
    if (found == CALL_ANSWERED) return;
    count += found == CALL_FOUND;
  }
  reply_integer(x->out, count);
}

void cmd_type(call *x) {
  kv_value value;
  call_found found = call_find(x, &x->args[1], &value);
  if (found != CALL_ANSWERED) reply_status(x->out, found == CALL_FOUND ? "string" : "none");
}

void cmd_del(call *x) {
  int64_t count = 0;
  for (size_t i = 1; i < x->count; i++) {
    if (!call_check_key(x, &x->args[i])) return;
  }
  for (size_t i = 1; i < x->count; i++) {
    bool found;
    if (!call_delete(x, &x->args[i], &found)) return;
    count += found;
  }
  reply_integer(x->out, count);
}

static bool is_same_key(const resp_arg *a, const resp_arg *b) {
  return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

/* The value moves, with its type; what lies below the key stays where it is. */
static void rename_key(call *x, bool only_if_absent) {
  const resp_arg *from = &x->args[1], *to = &x->args[2];
  kv_value value;
  call_found found = call_find(x, from, &value);
  if (found == CALL_MISSING) reply_error(x->out, "ERR no such key");
  if (found != CALL_FOUND || !call_check_key(x, to)) return;
  bool is_same = is_same_key(from, to);
  if (only_if_absent && (is_same || kv_has(x->server->db, to->data, to->size))) {
    reply_integer(x->out, 0);
  } else if (is_same || (call_put(x, to, &value, NULL) && call_delete(x, from, NULL))) {
    if (only_if_absent) {
      reply_integer(x->out, 1);
    } else {
      reply_ok(x->out);
    }
  }
}

void cmd_rename(call *x) {
  rename_key(x, false);
}

void cmd_renamenx(call *x) {
  rename_key(x, true);
}

/* The words behind COPY's keys; false: the call is answered. */
static bool parse_copy(call *x, bool *replaces) {
  int64_t database;
  for (size_t i = 3; i < x->count; i++) {
    if (call_is(&x->args[i], "REPLACE")) {
      *replaces = true;
    } else if (call_is(&x->args[i], "DB") && i + 1 < x->count) {
      if (!call_integer(x, &x->args[++i], &database)) return false;
      if (database == 0) continue;
      reply_error(x->out, "ERR DB index is out of range");
      return false;
    } else {
      call_reply_syntax_error(x);
      return false;
    }
  }
  return true;
}

/* The value alone is copied; what lies below the key is not. */
void cmd_copy(call *x) {
  const resp_arg *from = &x->args[1], *to = &x->args[2];
  bool replaces = false;
  kv_value value;
  if (!parse_copy(x, &replaces)) return;
  if (is_same_key(from, to)) {
    reply_error(x->out, "ERR source and destination objects are the same");
    return;
  }
  call_found found = call_find(x, from, &value);
  if (found == CALL_ANSWERED || !call_check_key(x, to)) return;
  bool is_in_the_way = !replaces && kv_has(x->server->db, to->data, to->size);
  if (found == CALL_MISSING || is_in_the_way) {
    reply_integer(x->out, 0);
  } else if (call_put(x, to, &value, NULL)) {
    reply_integer(x->out, 1);
  }
}

void cmd_ttl(call *x) {
  kv_value value;
  call_found found = call_find(x, &x->args[1], &value);
  if (found != CALL_ANSWERED) reply_integer(x->out, found == CALL_FOUND ? -1 : -2);
}

void cmd_expire(call *x) {
  reply_error(x->out, "ERR kvstore: keys do not expire: there is no %s", x->command->name);
}

/* --- all -------------------------------------------------------------------------------------- */

static uint64_t count_keys(const kv_cursor *cursor) {
  kv_counts counts;
  kv_cursor_count(cursor, "", 0, &counts);
  return counts.values;
}

void cmd_dbsize(call *x) {
  kv_cursor *cursor = call_cursor(x);
  if (cursor != NULL) reply_integer(x->out, (int64_t)count_keys(cursor));
}

static void fail_memory(call *x) {
  call_fail(x, &(kv_error){.code = KV_ENOMEM, .text = "out of memory"});
}

void cmd_randomkey(call *x) {
  kv_cursor *cursor = call_cursor(x);
  if (cursor == NULL) return;
  uint64_t keys = count_keys(cursor), random = (uint64_t)lrand48() << 31 ^ (uint64_t)lrand48();
  size_t size;
  if (keys == 0) {
    call_reply_nil(x);
  } else if (kv_cursor_at(cursor, random % keys) != KV_OK || !kv_cursor_valid(cursor)) {
    fail_memory(x);
  } else {
    const char *key = kv_cursor_key(cursor, &size);
    reply_bulk(x->out, key, size);
  }
}

/* Delete every key that begins with `prefix`; how many. A cursor sees nothing of what changes behind
** it, so deleting while walking is right. */
static bool delete_prefix(call *x, const resp_arg *prefix, int64_t *count) {
  kv_cursor *cursor = call_cursor(x);
  if (cursor == NULL) return false;
  int rc = kv_cursor_seek(cursor, prefix->data, prefix->size, KV_SEEK_GE);
  while (rc == KV_OK && kv_cursor_valid(cursor)) {
    resp_arg key;
    bool found;
    key.data = kv_cursor_key(cursor, &key.size);
    if (key.size < prefix->size || memcmp(key.data, prefix->data, prefix->size) != 0) break;
    if (!call_delete(x, &key, &found)) return false;
    *count += found;
    rc = kv_cursor_next(cursor);
  }
  if (rc != KV_OK) fail_memory(x);
  return rc == KV_OK;
}

void cmd_flush(call *x) {
  int64_t count = 0;
  bool is_mode = x->count == 2 && (call_is(&x->args[1], "ASYNC") || call_is(&x->args[1], "SYNC"));
  if (x->count > 1 && !is_mode) {
    call_reply_syntax_error(x);
  } else if (delete_prefix(x, &(resp_arg){.data = ""}, &count)) {
    reply_ok(x->out);
  }
}

void cmd_kv_deltree(call *x) {
  const resp_arg *root = &x->args[1];
  int64_t count = 0;
  bool found;
  if (root->size == 0) { /* the top: all */
    if (delete_prefix(x, root, &count)) reply_integer(x->out, count);
    return;
  }
  if (!call_check_key(x, root)) return;
  char *below = malloc(root->size + 1);
  if (below == NULL) {
    fail_memory(x);
    return;
  }
  memcpy(below, root->data, root->size);
  below[root->size] = '/';
  resp_arg prefix = {.data = below, .size = root->size + 1};
  bool is_done = delete_prefix(x, &prefix, &count) && call_delete(x, root, &found);
  free(below);
  if (is_done) reply_integer(x->out, count + found);
}

/* --- going through them ----------------------------------------------------------------------- */

typedef struct key_filter {
  const resp_arg *pattern; /* NULL: all */
  size_t prefix_size;      /* of the pattern: what is literal at its beginning */
} key_filter;

static key_filter filter_of(const resp_arg *pattern) {
  key_filter filter = {.pattern = pattern};
  if (pattern != NULL) filter.prefix_size = glob_literal_size(pattern->data, pattern->size);
  return filter;
}

/* Go to the first key that can match, behind `after` if that is not NULL. */
static int filter_start(const key_filter *filter, kv_cursor *cursor, const resp_arg *after) {
  const char *prefix = filter->pattern != NULL ? filter->pattern->data : "";
  size_t size = filter->prefix_size;
  if (after != NULL) {
    size_t common = after->size < size ? after->size : size;
    int order = common > 0 ? memcmp(after->data, prefix, common) : 0;
    if (order > 0 || (order == 0 && after->size >= size)) {
      return kv_cursor_seek(cursor, after->data, after->size, KV_SEEK_GT);
    }
  }
  return kv_cursor_seek(cursor, prefix, size, KV_SEEK_GE);
}

/* Whether no key from this one on can match. */
static bool filter_is_past(const key_filter *filter, const char *key, size_t size) {
  return filter->prefix_size > 0 && (size < filter->prefix_size ||
                                     memcmp(key, filter->pattern->data, filter->prefix_size) != 0);
}

static bool filter_matches(const key_filter *filter, const char *key, size_t size) {
  const resp_arg *pattern = filter->pattern;
  return pattern == NULL || glob_match(pattern->data, pattern->size, key, size);
}

void cmd_keys(call *x) {
  kv_cursor *cursor = call_cursor(x);
  if (cursor == NULL) return;
  key_filter filter = filter_of(&x->args[1]);
  size_t begin = reply_array_begin(x->out), count = 0, size;
  int rc = filter_start(&filter, cursor, NULL);
  for (; rc == KV_OK && kv_cursor_valid(cursor); rc = kv_cursor_next(cursor)) {
    const char *key = kv_cursor_key(cursor, &size);
    if (filter_is_past(&filter, key, size) || bytes_failed(x->out)) break;
    if (!filter_matches(&filter, key, size)) continue;
    reply_bulk(x->out, key, size);
    count++;
  }
  reply_array_end(x->out, begin, count);
  if (rc != KV_OK) fail_memory(x);
}

typedef struct scan_options {
  const resp_arg *pattern;
  int64_t count;
  bool none; /* TYPE is not string: nothing can match */
} scan_options;

static bool parse_scan_options(call *x, scan_options *o) {
  for (size_t i = 2; i < x->count; i += 2) {
    const resp_arg *word = &x->args[i], *value = &x->args[i + 1];
    if (i + 1 == x->count) {
      call_reply_syntax_error(x);
      return false;
    }
    if (call_is(word, "COUNT")) {
      if (!call_integer(x, value, &o->count)) return false;
      if (o->count >= 1) continue;
    } else if (call_is(word, "MATCH")) {
      o->pattern = value;
      continue;
    } else if (call_is(word, "TYPE")) {
      o->none = !call_is(value, "string");
      continue;
    }
    call_reply_syntax_error(x);
    return false;
  }
  return true;
}

/* The keys of one page; true: there are more behind *last, which belongs to the cursor. */
static bool scan_page(call *x, kv_cursor *cursor, const scan_options *o, const resp_arg *after,
                      bytes *out, size_t *count, resp_arg *last) {
  key_filter filter = filter_of(o->pattern);
  int rc = filter_start(&filter, cursor, after);
  for (int64_t seen = 0; rc == KV_OK && kv_cursor_valid(cursor); rc = kv_cursor_next(cursor)) {
    resp_arg key;
    key.data = kv_cursor_key(cursor, &key.size);
    if (filter_is_past(&filter, key.data, key.size)) return false;
    if (seen++ == o->count) return true;
    *last = key;
    if (o->none || !filter_matches(&filter, key.data, key.size)) continue;
    reply_bulk(out, key.data, key.size);
    ++*count;
  }
  if (rc != KV_OK) fail_memory(x);
  return false;
}

static bool scan_cursor(call *x, uint64_t *cursor, resp_arg *after) {
  int64_t number;
  const resp_arg *arg = &x->args[1];
  if (!value_parse_integer(arg->data, arg->size, &number) || number < 0) {
    reply_error(x->out, "ERR invalid cursor");
    return false;
  }
  *cursor = (uint64_t)number;
  if (number == 0 || scan_table_find(&x->server->scans, *cursor, &after->data, &after->size)) {
    return true;
  }
  reply_error(x->out, "ERR kvstore: SCAN cursor %llu is not known any more: begin again with 0",
              (unsigned long long)*cursor);
  return false;
}

void cmd_scan(call *x) {
  scan_options o = {.count = SCAN_COUNT_DEFAULT};
  uint64_t from;
  resp_arg after, last = {.data = ""};
  if (!scan_cursor(x, &from, &after) || !parse_scan_options(x, &o)) return;
  kv_cursor *cursor = call_cursor(x);
  if (cursor == NULL) return;
  bytes page = {.limit = CONN_OUTPUT_MAX};
  size_t count = 0;
  bool has_more = scan_page(x, cursor, &o, from != 0 ? &after : NULL, &page, &count, &last);
  uint64_t next = 0;
  if (has_more) {
    next = scan_table_next(&x->server->scans, from, last.data, last.size);
    if (next == 0) fail_memory(x);
  }
  if (!x->is_failed) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)next);
    reply_array(x->out, 2);
    reply_text(x->out, text);
    reply_array(x->out, count);
    bytes_append(x->out, page.data, page.size);
    if (bytes_failed(&page)) x->out->failed = true;
  }
  bytes_free(&page);
}
