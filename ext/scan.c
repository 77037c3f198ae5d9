/*
** scan.c - cursors of a table: xFilter turns the plan's arguments into an interval of keys, and
** xNext walks it in order.
**
** A subtree is not one interval: between `a` and `a/b` sort `a-b` and `a.b`. So a scan with a root
** visits the root itself and then the interval below it, in either direction.
**
** Keys of an IN list are sorted and looked up one by one. OFFSET is a jump by the tree's counts
** where the scan is one interval, and steps elsewhere.
**
** Children and `depth = n` are the same thing: keys of a given number of segments. What lies deeper
** is passed over a whole subtree at a time.
**
** A cursor sees one version for its whole life, however often it is filtered anew by a join.
**
** What passes over many keys within one call looks now and then whether it has been interrupted.
*/
#include "plan.h"
#include "range.h"
#include "table.h"

#include <stdlib.h>
#include <string.h>

typedef struct list_key {
  const char *bytes; /* into scan.list */
  size_t size;
} list_key;

typedef struct scan {
  sqlite3_vtab_cursor base;
  kv_cursor *cursor;
  range range; /* of the keys, or of those below the root */
  char *root;  /* NULL: no root was given; sqlite3_malloc'ed */
  size_t root_size;
  bool at_root;    /* the cursor stands on the root itself */
  bool visit_root; /* it has a value and belongs to the result */
  bool descending;
  size_t depth; /* only keys of so many segments; 0: any */
  bool single;  /* a get: there is no next */
  char *list;   /* the keys of an IN, one behind the other; sqlite3_malloc'ed, NULL: none */
  list_key *list_keys;
  size_t list_count, list_at;
  sqlite3_int64 left; /* rows that LIMIT still allows; negative: any number */
  char *beyond;       /* scratch for passing over a subtree; sqlite3_malloc'ed */
  size_t beyond_room;
  unsigned passed; /* keys passed over, to look for an interrupt by */
} scan;

#define PASSED_PER_CHECK 1024u

/* To be called for every key that is passed over. SQLITE_OK or SQLITE_INTERRUPT. */
static int check_interrupt(scan *s) {
  if (++s->passed % PASSED_PER_CHECK != 0) return SQLITE_OK;
  return face_check_interrupt(((table *)s->base.pVtab)->session->connection);
}

int scan_open(sqlite3_vtab *base, sqlite3_vtab_cursor **out) {
  table *t = (table *)base;
  kv_error err;
  scan *s = sqlite3_malloc64(sizeof *s);
  if (s == NULL) return SQLITE_NOMEM;
  memset(s, 0, sizeof *s);
  if (kv_cursor_open(t->link->db, &s->cursor, &err) != KV_OK) {
    sqlite3_free(s);
    return face_fail(base, &err);
  }
  *out = &s->base;
  return SQLITE_OK;
}

static void forget(scan *s) {
  range_free(&s->range);
  sqlite3_free(s->root);
  sqlite3_free(s->list);
  sqlite3_free(s->list_keys);
  s->root = s->list = NULL;
  s->list_keys = NULL;
  s->list_count = s->list_at = 0;
  s->left = -1;
  s->at_root = s->visit_root = s->descending = s->single = false;
  s->depth = 0;
}

int scan_close(sqlite3_vtab_cursor *base) {
  scan *s = (scan *)base;
  forget(s);
  sqlite3_free(s->beyond);
  kv_cursor_close(s->cursor);
  sqlite3_free(s);
  return SQLITE_OK;
}

/* --- lists -------------------------------------------------------------------------------------- */

static int compare_keys(const void *a, const void *b) {
  const list_key *x = a, *y = b;
  int order = memcmp(x->bytes, y->bytes, x->size < y->size ? x->size : y->size);
  return order != 0 ? order : (x->size > y->size) - (x->size < y->size);
}

/* Add up what the values of an IN need; *text: all of them can only equal keys that they spell. */
static int measure_list(scan *s, sqlite3_value *in, size_t *count, size_t *size, bool *text) {
  sqlite3_value *value;
  const char *bytes;
  size_t bytes_size;
  int rc;
  *count = *size = 0;
  *text = true;
  for (rc = sqlite3_vtab_in_first(in, &value); rc == SQLITE_OK && value != NULL;
       rc = sqlite3_vtab_in_next(in, &value)) {
    int type = sqlite3_value_type(value);
    if (check_interrupt(s) != SQLITE_OK) return SQLITE_INTERRUPT;
    if (type == SQLITE_INTEGER || type == SQLITE_FLOAT) *text = false;
    if (type != SQLITE_TEXT) continue; /* NULLs and blobs equal no key */
    if (face_text(value, &bytes, &bytes_size) != SQLITE_OK) return SQLITE_NOMEM;
    ++*count;
    *size += bytes_size;
  }
  return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int fill_list(scan *s, sqlite3_value *in) {
  sqlite3_value *value;
  char *to = s->list;
  int rc;
  for (rc = sqlite3_vtab_in_first(in, &value); rc == SQLITE_OK && value != NULL;
       rc = sqlite3_vtab_in_next(in, &value)) {
    if (sqlite3_value_type(value) != SQLITE_TEXT) continue;
    const char *bytes;
    list_key key = {.bytes = to};
    if (face_text(value, &bytes, &key.size) != SQLITE_OK) return SQLITE_NOMEM;
    memcpy(to, bytes, key.size);
    to += key.size;
    s->list_keys[s->list_count++] = key;
  }
  qsort(s->list_keys, s->list_count, sizeof *s->list_keys, compare_keys);
  size_t kept = 0;
  for (size_t i = 0; i < s->list_count; i++) {
    if (i == 0 || compare_keys(&s->list_keys[i], &s->list_keys[i - 1]) != 0) {
      s->list_keys[kept++] = s->list_keys[i];
    }
  }
  s->list_count = kept;
  return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Take the values of an IN. Where one of them is a number the scan visits everything instead, and
** SQLite compares. */
static int take_list(scan *s, sqlite3_value *in) {
  size_t count, size;
  bool text;
  int rc = measure_list(s, in, &count, &size, &text);
  if (rc != SQLITE_OK || !text) return rc;
  s->list = sqlite3_malloc64(size + 1);
  s->list_keys = sqlite3_malloc64((count + 1) * sizeof *s->list_keys);
  if (s->list == NULL || s->list_keys == NULL) return SQLITE_NOMEM;
  return fill_list(s, in);
}

/* Go on to the next key of the list that exists and belongs to the scan. */
static int next_of_list(scan *s) {
  kv_cursor_find(s->cursor, "", 0);
  while (s->list_at < s->list_count && !kv_cursor_valid(s->cursor)) {
    size_t at = s->descending ? s->list_count - 1 - s->list_at : s->list_at;
    const list_key *key = &s->list_keys[at];
    s->list_at++;
    bool is_root =
        s->visit_root && key->size == s->root_size && memcmp(key->bytes, s->root, key->size) == 0;
    if (is_root || range_has(&s->range, key->bytes, key->size)) {
      kv_cursor_find(s->cursor, key->bytes, key->size);
    }
    int rc = check_interrupt(s);
    if (rc != SQLITE_OK) return rc;
  }
  return SQLITE_OK;
}

/* --- walking ------------------------------------------------------------------------------------ */

/* Where the segment after the first `depth` ones begins, less its slash; 0 if there is none. */
static size_t size_of_first(const char *key, size_t size, size_t depth) {
  for (const char *at = key; (at = memchr(at, '/', (size_t)(key + size - at))) != NULL; at++) {
    if (--depth == 0) return (size_t)(at - key);
  }
  return 0;
}

static size_t depth_of(const char *key, size_t size) {
  size_t depth = 1;
  for (const char *at = key; (at = memchr(at, '/', (size_t)(key + size - at))) != NULL; at++)
    depth++;
  return depth;
}

/* From a key that is too deep, pass over everything below its first `size` bytes. */
static int pass_over(scan *s, const char *key, size_t size) {
  if (s->descending) return kv_cursor_seek(s->cursor, key, size + 1, KV_SEEK_LT);
  if (s->beyond_room < size + 1) {
    char *beyond = sqlite3_realloc64(s->beyond, size + 64);
    if (beyond == NULL) return KV_ENOMEM;
    s->beyond = beyond;
    s->beyond_room = size + 64;
  }
  memcpy(s->beyond, key, size);
  s->beyond[size] = '/' + 1;
  return kv_cursor_seek(s->cursor, s->beyond, size + 1, KV_SEEK_GE);
}

/* The cursor has moved: go on to the next key that belongs to the scan, or to the end. */
static int settle(scan *s) {
  int rc = KV_OK;
  while (rc == KV_OK && kv_cursor_valid(s->cursor)) {
    size_t size;
    const char *key = kv_cursor_key(s->cursor, &size);
    bool out =
        s->descending ? range_is_below(&s->range, key, size) : range_is_above(&s->range, key, size);
    if (out) {
      kv_cursor_find(s->cursor, "", 0);
      break;
    }
    if (s->depth == 0) break;
    size_t folder = size_of_first(key, size, s->depth);
    if (folder > 0) {
      rc = pass_over(s, key, folder);
    } else if (depth_of(key, size) < s->depth) {
      rc = s->descending ? kv_cursor_prev(s->cursor) : kv_cursor_next(s->cursor);
    } else {
      break;
    }
    if (check_interrupt(s) != SQLITE_OK) return SQLITE_INTERRUPT;
  }
  return rc == KV_OK ? SQLITE_OK : SQLITE_NOMEM;
}

/* Stand on the first key of the interval. */
static int start_range(scan *s) {
  s->at_root = false;
  if (range_is_empty(&s->range)) {
    kv_cursor_find(s->cursor, "", 0);
    return SQLITE_OK;
  }
  const range_bound *from = s->descending ? &s->range.high : &s->range.low;
  int rc;
  if (from->bytes != NULL) {
    kv_seek how = s->descending ? (from->strict ? KV_SEEK_LT : KV_SEEK_LE)
                                : (from->strict ? KV_SEEK_GT : KV_SEEK_GE);
    rc = kv_cursor_seek(s->cursor, from->bytes, from->size, how);
  } else {
    rc = s->descending ? kv_cursor_last(s->cursor) : kv_cursor_first(s->cursor);
  }
  return rc == KV_OK ? settle(s) : SQLITE_NOMEM;
}

static void stand_on_root(scan *s) {
  s->at_root = true;
  kv_cursor_find(s->cursor, s->root, s->root_size);
}

static int start(scan *s) {
  if (s->list != NULL) return next_of_list(s);
  if (!s->visit_root) return start_range(s);
  if (!s->descending) {
    stand_on_root(s);
    return SQLITE_OK;
  }
  int rc = start_range(s);
  if (rc == SQLITE_OK && !kv_cursor_valid(s->cursor)) stand_on_root(s);
  return rc;
}

/* --- steps --------------------------------------------------------------------------------------- */

static int step(scan *s) {
  if (s->list != NULL) return next_of_list(s);
  if (s->single || (s->at_root && s->descending)) {
    kv_cursor_find(s->cursor, "", 0);
    return SQLITE_OK;
  }
  if (s->at_root) return start_range(s);
  int rc = s->descending ? kv_cursor_prev(s->cursor) : kv_cursor_next(s->cursor);
  if (rc != KV_OK) return SQLITE_NOMEM;
  rc = settle(s);
  if (rc == SQLITE_OK && s->descending && s->visit_root && !kv_cursor_valid(s->cursor)) {
    stand_on_root(s);
  }
  return rc;
}

int scan_next(sqlite3_vtab_cursor *base) {
  scan *s = (scan *)base;
  if (s->left > 0) s->left--;
  return s->left == 0 ? SQLITE_OK : step(s);
}

int scan_eof(sqlite3_vtab_cursor *base) {
  const scan *s = (const scan *)base;
  return s->left == 0 || !kv_cursor_valid(s->cursor);
}

/* Pass over the first rows: in one interval by its counts, else one by one. */
static int pass_over_rows(scan *s, sqlite3_int64 rows) {
  if (s->depth == 0 && !s->visit_root && kv_cursor_valid(s->cursor) && rows > 0) {
    size_t size;
    const char *key = kv_cursor_key(s->cursor, &size);
    uint64_t rank = kv_cursor_rank(s->cursor, key, size), skip = (uint64_t)rows;
    uint64_t to = s->descending ? (skip > rank ? UINT64_MAX : rank - skip) : rank + skip;
    return kv_cursor_at(s->cursor, to) == KV_OK ? settle(s) : SQLITE_NOMEM;
  }
  int rc = SQLITE_OK;
  for (; rows > 0 && rc == SQLITE_OK && kv_cursor_valid(s->cursor); rows--) {
    rc = step(s);
    if (rc == SQLITE_OK) rc = check_interrupt(s);
  }
  return rc;
}

/* --- xFilter ------------------------------------------------------------------------------------ */

/* What a right-hand side means for a comparison with a text: a bound, nothing at all (a number may
** be compared as a number, SQLite has to see every row), or that no row can match. */
typedef enum operand {
  OPERAND_TEXT,
  OPERAND_ANY,
  OPERAND_NONE,
  OPERAND_BLOB,
  OPERAND_NO_MEMORY
} operand;

static operand read_operand(sqlite3_value *value, const char **text, size_t *size) {
  switch (sqlite3_value_type(value)) {
  case SQLITE_TEXT:
    return face_text(value, text, size) == SQLITE_OK ? OPERAND_TEXT : OPERAND_NO_MEMORY;
  case SQLITE_NULL:
    return OPERAND_NONE;
  case SQLITE_BLOB:
    return OPERAND_BLOB;
  default:
    return OPERAND_ANY;
  }
}

/* Bytes of a GLOB pattern that stand for themselves. The pattern ends at a NUL; and SQLite reads what
** is not valid UTF-8, and some that is, as U+FFFD, so that it matches other bytes than its own. */
static size_t literal_size(const char *pattern, size_t size) {
  size_t i = 0, ascii = 0;
  while (i < size && strchr("*?[", pattern[i]) == NULL) i++; /* finds a NUL too */
  while (ascii < i && (unsigned char)pattern[ascii] < 0x80) ascii++;
  if (ascii == i) return i;
  size_t whole = pattern[i - 1] == '/' ? i - 1 : i;
  bool is_certain =
      kv_keypath_check(pattern, whole, NULL) == KV_OK && memmem(pattern, i, "\xef\xbf", 2) == NULL;
  return is_certain ? i : ascii;
}

/* Narrow to what a LIKE pattern can match, whichever way it takes the case of letters: each letter
** lies between its upper and its lower form. Letters beyond ASCII end the prefix, since a LIKE of
** the application's own may fold them. */
static int narrow_by_like(scan *s, const char *pattern, size_t size) {
  size_t literal = 0;
  while (literal < size && pattern[literal] != '%' && pattern[literal] != '_' &&
         pattern[literal] != '\0' && (unsigned char)pattern[literal] < 0x80) {
    literal++;
  }
  if (literal == 0) return SQLITE_OK;
  char *upper = sqlite3_malloc64(2 * literal), *lower = upper + literal;
  if (upper == NULL) return SQLITE_NOMEM;
  for (size_t i = 0; i < literal; i++) {
    char c = pattern[i];
    upper[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    lower[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
  }
  int rc = range_raise_low(&s->range, upper, literal, 0, false);
  if (rc == SQLITE_OK) rc = range_below_prefix_end(&s->range, lower, literal);
  sqlite3_free(upper);
  return rc;
}

/* Narrow by a constraint whose right-hand side is a text. */
static int narrow_by_text(scan *s, int bit, int plan, const char *text, size_t size) {
  switch (bit) {
  case PLAN_EQUAL: {
    int rc = range_raise_low(&s->range, text, size, 0, false);
    return rc == SQLITE_OK ? range_lower_high(&s->range, text, size, 0, false) : rc;
  }
  case PLAN_LOW:
    return range_raise_low(&s->range, text, size, 0, (plan & PLAN_LOW_STRICT) != 0);
  case PLAN_HIGH:
    return range_lower_high(&s->range, text, size, 0, (plan & PLAN_HIGH_STRICT) != 0);
  case PLAN_LIKE:
    return narrow_by_like(s, text, size);
  case PLAN_GLOB:
    return range_prefix(&s->range, text, literal_size(text, size));
  default: /* PLAN_PARENT */
    s->depth = size == 0 ? 1 : depth_of(text, size) + 1;
    return size == 0 ? SQLITE_OK : range_below(&s->range, text, size);
  }
}

/* Narrow by a constraint on a text column. Every text sorts below every blob. */
static int narrow(scan *s, int bit, int plan, sqlite3_value *value) {
  const char *text;
  size_t size;
  switch (read_operand(value, &text, &size)) {
  case OPERAND_TEXT:
    return narrow_by_text(s, bit, plan, text, size);
  case OPERAND_NONE:
    s->range.empty = true;
    return SQLITE_OK;
  case OPERAND_NO_MEMORY:
    return SQLITE_NOMEM;
  case OPERAND_BLOB:
    if (bit & (PLAN_EQUAL | PLAN_LOW | PLAN_PARENT)) s->range.empty = true;
    return SQLITE_OK;
  default:
    return SQLITE_OK;
  }
}

static void narrow_depth(scan *s, sqlite3_value *value) {
  if (sqlite3_value_numeric_type(value) != SQLITE_INTEGER) return; /* SQLite looks at every row */
  sqlite3_int64 depth = sqlite3_value_int64(value);
  if (depth < 1 || depth > KV_KEYPATH_SIZE_MAX || (s->depth != 0 && s->depth != (size_t)depth)) {
    s->range.empty = true;
  } else {
    s->depth = (size_t)depth;
  }
}

static int take_root(scan *s, sqlite3_value *value) {
  if (sqlite3_value_type(value) == SQLITE_NULL) {
    s->range.empty = true;
    return SQLITE_OK;
  }
  const char *root = (const char *)sqlite3_value_text(value);
  size_t size = (size_t)sqlite3_value_bytes(value);
  if (root == NULL) return SQLITE_NOMEM;
  kv_error err;
  if (size > 0 && kv_keypath_check(root, size, &err) != KV_OK) {
    return face_fail_text(s->base.pVtab, SQLITE_ERROR, "root: %s", err.text);
  }
  s->root = sqlite3_malloc64(size + 1);
  if (s->root == NULL) return SQLITE_NOMEM;
  memcpy(s->root, root, size + 1);
  s->root_size = size;
  return SQLITE_OK;
}

/* With the range complete: does the root itself belong to the scan, and what is left below it? */
static int divide_at_root(scan *s) {
  if (s->root == NULL || s->root_size == 0) return SQLITE_OK;
  s->visit_root = range_has(&s->range, s->root, s->root_size) &&
                  (s->depth == 0 || s->depth == depth_of(s->root, s->root_size));
  if (s->visit_root) {
    kv_cursor_find(s->cursor, s->root, s->root_size);
    s->visit_root = kv_cursor_valid(s->cursor);
  }
  return range_below(&s->range, s->root, s->root_size);
}

/* A get needs no interval, so that it costs no allocation. */
static bool is_get(int plan, sqlite3_value **argv) {
  return (plan & ((1 << PLAN_ARGUMENTS) - 1)) == PLAN_EQUAL &&
         sqlite3_value_type(argv[0]) == SQLITE_TEXT;
}

int scan_filter(sqlite3_vtab_cursor *base, int plan, const char *words, int argc,
                sqlite3_value **argv) {
  (void)words, (void)argc;
  scan *s = (scan *)base;
  forget(s);
  if (is_get(plan, argv)) {
    s->single = true;
    const char *key = (const char *)sqlite3_value_text(argv[0]);
    if (key == NULL) return SQLITE_NOMEM;
    kv_cursor_find(s->cursor, key, (size_t)sqlite3_value_bytes(argv[0]));
    return SQLITE_OK;
  }
  s->descending = (plan & PLAN_DESC) != 0;
  sqlite3_int64 offset = 0;
  int rc = SQLITE_OK;
  for (int bit = 1; bit < 1 << PLAN_ARGUMENTS && rc == SQLITE_OK; bit <<= 1) {
    if (!(plan & bit)) continue;
    sqlite3_value *value = *argv++;
    switch (bit) {
    case PLAN_IN:
      rc = take_list(s, value);
      break;
    case PLAN_ROOT:
      rc = take_root(s, value);
      break;
    case PLAN_DEPTH:
      narrow_depth(s, value);
      break;
    case PLAN_LIMIT:
      s->left = sqlite3_value_int64(value);
      break;
    case PLAN_OFFSET:
      offset = sqlite3_value_int64(value);
      break;
    default:
      rc = narrow(s, bit, plan, value);
    }
  }
  if (rc == SQLITE_OK) rc = divide_at_root(s);
  if (rc == SQLITE_OK) rc = start(s);
  return rc == SQLITE_OK && offset > 0 ? pass_over_rows(s, offset) : rc;
}

/* --- xColumn ------------------------------------------------------------------------------------ */

/* Large texts and blobs are handed out by reference, which may outlive the cursor. */
static void column_value(const scan *s, sqlite3_context *context) {
  kv_value value;
  kv_cursor_value(s->cursor, &value);
  face_result(context, &value, kv_cursor_bytes_hold(s->cursor));
}

int scan_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column) {
  const scan *s = (const scan *)base;
  /* In an UPDATE that leaves the column alone nobody needs it; but without the key it would fail. */
  if (column != COLUMN_KEY && sqlite3_vtab_nochange(context)) return SQLITE_OK;
  size_t size, name = 0;
  const char *key = kv_cursor_key(s->cursor, &size);
  if (column == COLUMN_PARENT || column == COLUMN_NAME) {
    name = size;
    while (name > 0 && key[name - 1] != '/') name--;
  }
  switch (column) {
  case COLUMN_KEY:
    sqlite3_result_text64(context, key, size, SQLITE_TRANSIENT, SQLITE_UTF8);
    break;
  case COLUMN_VALUE:
    column_value(s, context);
    break;
  case COLUMN_ROOT:
    if (s->root != NULL) {
      sqlite3_result_text64(context, s->root, s->root_size, SQLITE_TRANSIENT, SQLITE_UTF8);
    }
    break;
  case COLUMN_PARENT:
    sqlite3_result_text64(context, key, name > 0 ? name - 1 : 0, SQLITE_TRANSIENT, SQLITE_UTF8);
    break;
  case COLUMN_NAME:
    sqlite3_result_text64(context, key + name, size - name, SQLITE_TRANSIENT, SQLITE_UTF8);
    break;
  case COLUMN_DEPTH:
    sqlite3_result_int64(context, (sqlite3_int64)depth_of(key, size));
    break;
  default:
    break; /* the command column is always NULL */
  }
  return SQLITE_OK;
}
