/*
** scan.c - cursors of a table: xFilter turns the plan's arguments into an interval of keys, and
** xNext walks it in order.
**
** A subtree is not one interval: between `a` and `a/b` sort `a-b` and `a.b`. So a scan with a root
** visits the root itself and then the interval below it, in either direction.
**
** Keys of an IN list are sorted and looked up one by one; of a list of parents one after the other is
** walked, which is not the order of the keys. OFFSET is a jump by the tree's counts
** where the scan is one interval, or one behind its root, and steps elsewhere.
**
** Children and `depth = n` are the same thing: keys of a given number of segments. What lies deeper
** is passed over a whole subtree at a time. So is what lies between the spellings of a LIKE's prefix.
**
** A cursor sees one version for its whole life, however often it is filtered anew by a join.
**
** What passes over many keys within one call looks now and then whether it has been interrupted.
**
** Every move of the cursor is counted in the link, so that kvstore_stat shows what a plan has cost;
** test/visits.test holds each plan to what its answer needs.
*/
#include "fold.h"
#include "plan.h"
#include "range.h"
#include "table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct list_key {
  const char *bytes; /* into scan.list */
  size_t size;
} list_key;

typedef struct scan {
  sqlite3_vtab_cursor base;
  kv_cursor *cursor;
  uint64_t *visited; /* of the link, which the table keeps alive */
  range range;       /* of the keys, or of those below the root */
  char *root;        /* NULL: no root was given; sqlite3_malloc'ed */
  size_t root_size;
  bool at_root;    /* the cursor stands on the root itself */
  bool visit_root; /* it has a value and belongs to the result */
  bool descending;
  size_t depth; /* only keys of so many segments; 0: any */
  fold like;    /* only keys that begin so, in either case */
  bool single;  /* a get: there is no next, and nothing to free */
  bool general; /* any other: forget() has to look at all of this */
  bool parents; /* the list is one of parents */
  range whole;  /* then the interval that each of them narrows */
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

static void scan_free(scan *s) {
  sqlite3_free(s->beyond);
  if (s->cursor != NULL) kv_cursor_close(s->cursor);
  sqlite3_free(s);
}

void scan_free_spare(table *t) {
  if (t->spare != NULL) scan_free(t->spare);
  t->spare = NULL;
}

static scan *scan_new(table *t, kv_error *err) {
  scan *s = sqlite3_malloc64(sizeof *s);
  if (s == NULL) {
    (void)kv_error_set(err, KV_ENOMEM, "out of memory");
    return NULL;
  }
  memset(s, 0, sizeof *s);
  s->visited = &t->link->visited;
  s->left = -1;
  if (kv_cursor_open(t->link->db, &s->cursor, err) == KV_OK) return s;
  scan_free(s);
  return NULL;
}

/* SQLite opens a cursor for each execution of a statement, so that one is kept. */
int scan_open(sqlite3_vtab *base, sqlite3_vtab_cursor **out) {
  table *t = (table *)base;
  kv_error err;
  scan *s = t->spare;
  t->spare = NULL;
  t->session->busy_timeout_ms = t->busy_timeout_ms;
  if (s == NULL) {
    s = scan_new(t, &err);
  } else if (kv_cursor_refresh(s->cursor, &err) != KV_OK) {
    scan_free(s);
    s = NULL;
  }
  if (s == NULL) return face_fail(base, &err);
  *out = &s->base;
  return SQLITE_OK;
}

static void forget(scan *s) {
  s->single = false;
  if (!s->general) return;
  range_free(&s->range);
  range_free(&s->whole);
  fold_free(&s->like);
  sqlite3_free(s->root);
  sqlite3_free(s->list);
  sqlite3_free(s->list_keys);
  s->root = s->list = NULL;
  s->list_keys = NULL;
  s->list_count = s->list_at = 0;
  s->left = -1;
  s->at_root = s->visit_root = s->descending = s->parents = s->general = false;
  s->depth = 0;
}

int scan_close(sqlite3_vtab_cursor *base) {
  scan *s = (scan *)base;
  table *t = (table *)base->pVtab;
  forget(s);
  if (t->spare != NULL) {
    scan_free(s);
    return SQLITE_OK;
  }
  kv_cursor_let_go(s->cursor);
  t->spare = s;
  return SQLITE_OK;
}

/* --- moves, counted ------------------------------------------------------------------------------ */

static void stand_nowhere(scan *s) {
  kv_cursor_find(s->cursor, "", 0);
}

static void find(scan *s, const char *key, size_t size) {
  ++*s->visited;
  kv_cursor_find(s->cursor, key, size);
}

static int seek(scan *s, const char *key, size_t size, kv_seek how) {
  ++*s->visited;
  return kv_cursor_seek(s->cursor, key, size, how);
}

/* To the first key in the direction of the scan, or the next one. */
static int go_first(scan *s) {
  ++*s->visited;
  return s->descending ? kv_cursor_last(s->cursor) : kv_cursor_first(s->cursor);
}

static int go_on(scan *s) {
  ++*s->visited;
  return s->descending ? kv_cursor_prev(s->cursor) : kv_cursor_next(s->cursor);
}

/* --- lists -------------------------------------------------------------------------------------- */

static int compare_keys(const void *a, const void *b) {
  const list_key *x = a, *y = b;
  int order = memcmp(x->bytes, y->bytes, x->size < y->size ? x->size : y->size);
  return order != 0 ? order : (x->size > y->size) - (x->size < y->size);
}

/* What the values of an IN come to. NULLs and blobs equal no key. */
typedef struct list_measure {
  size_t texts, size; /* how many, and their bytes */
  bool numbers;       /* there are some */
  bool infinite;      /* and one of them is */
} list_measure;

static int measure_list(scan *s, sqlite3_value *in, list_measure *out) {
  sqlite3_value *value;
  const char *bytes;
  size_t size;
  int rc;
  *out = (list_measure){0};
  for (rc = sqlite3_vtab_in_first(in, &value); rc == SQLITE_OK && value != NULL;
       rc = sqlite3_vtab_in_next(in, &value)) {
    int type = sqlite3_value_type(value);
    if (check_interrupt(s) != SQLITE_OK) return SQLITE_INTERRUPT;
    if (type == SQLITE_INTEGER || type == SQLITE_FLOAT) {
      out->numbers = true;
      out->infinite = out->infinite || !isfinite(sqlite3_value_double(value));
    }
    if (type != SQLITE_TEXT) continue;
    if (face_text(value, &bytes, &size) != SQLITE_OK) return SQLITE_NOMEM;
    out->texts++;
    out->size += size;
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

/* Narrow by a number. Whether SQLite compares it with a key as numbers or as texts depends on where
** it comes from, which we are not told: `5` is a text then, but the value of an INTEGER column equals
** '5.0' and ' 05' too. All of these begin with a space, a sign, a digit or a point, and are a single
** segment. Of the infinite ones, one is spelt in letters. */
static int narrow_by_number(scan *s, int bit, double number) {
  if (!isfinite(number)) return SQLITE_OK;
  int rc = SQLITE_OK;
  if (bit & (PLAN_EQUAL | PLAN_IN | PLAN_PARENT | PLAN_PARENTS)) {
    s->depth = bit & (PLAN_PARENT | PLAN_PARENTS) ? 2 : 1;
    rc = range_raise_low(&s->range, "\t", 1, 0, false);
  } else if (bit != PLAN_HIGH) {
    return SQLITE_OK;
  }
  return rc == SQLITE_OK ? range_below_prefix_end(&s->range, "9", 1) : rc;
}

/* Take the values of an IN on the key or the parent. Where some are numbers they are not looked up:
** SQLite compares. */
static int take_list(scan *s, int bit, sqlite3_value *in) {
  list_measure measure;
  int rc = measure_list(s, in, &measure);
  if (rc != SQLITE_OK) return rc;
  if (measure.numbers) {
    return measure.texts > 0 || measure.infinite ? SQLITE_OK : narrow_by_number(s, bit, 0);
  }
  s->parents = bit == PLAN_PARENTS;
  s->list = sqlite3_malloc64(measure.size + 1);
  s->list_keys = sqlite3_malloc64((measure.texts + 1) * sizeof *s->list_keys);
  if (s->list == NULL || s->list_keys == NULL) return SQLITE_NOMEM;
  return fill_list(s, in);
}

/* Go on to the next key of the list that exists and belongs to the scan. */
static int next_of_list(scan *s) {
  stand_nowhere(s);
  while (s->list_at < s->list_count && !kv_cursor_valid(s->cursor)) {
    size_t at = s->descending ? s->list_count - 1 - s->list_at : s->list_at;
    const list_key *key = &s->list_keys[at];
    s->list_at++;
    bool is_root =
        s->visit_root && key->size == s->root_size && memcmp(key->bytes, s->root, key->size) == 0;
    if (is_root || range_has(&s->range, key->bytes, key->size)) {
      find(s, key->bytes, key->size);
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

static int make_room(scan *s, size_t size) {
  if (s->beyond_room >= size) return KV_OK;
  char *beyond = sqlite3_realloc64(s->beyond, size + 64);
  if (beyond == NULL) return KV_ENOMEM;
  s->beyond = beyond;
  s->beyond_room = size + 64;
  return KV_OK;
}

/* From a key that is too deep, pass over everything below its first `size` bytes. */
static int pass_over(scan *s, const char *key, size_t size) {
  if (s->descending) return seek(s, key, size + 1, KV_SEEK_LT);
  if (make_room(s, size + 1) != KV_OK) return KV_ENOMEM;
  memcpy(s->beyond, key, size);
  s->beyond[size] = '/' + 1;
  return seek(s, s->beyond, size + 1, KV_SEEK_GE);
}

/* From a key that is not LIKE the prefix, pass over to its next spelling. */
static int pass_to_spelling(scan *s, const char *key, size_t size) {
  if (make_room(s, s->like.size) != KV_OK) return KV_ENOMEM;
  if (!s->descending && fold_after(&s->like, key, size, s->beyond)) {
    return seek(s, s->beyond, s->like.size, KV_SEEK_GE);
  }
  if (s->descending && fold_before(&s->like, key, size, s->beyond)) {
    s->beyond[s->like.size - 1]++; /* behind all that begin so; it is ASCII */
    return seek(s, s->beyond, s->like.size, KV_SEEK_LT);
  }
  stand_nowhere(s);
  return KV_OK;
}

/* The cursor has moved: go on to the next key that belongs to the scan, or to the end. */
static int settle(scan *s) {
  int rc = KV_OK;
  const range_bound *last = s->descending ? &s->range.low : &s->range.high;
  if (last->bytes == NULL && s->depth == 0 && s->like.size == 0) return SQLITE_OK; /* all do */
  while (rc == KV_OK && kv_cursor_valid(s->cursor)) {
    size_t size;
    const char *key = kv_cursor_key(s->cursor, &size);
    bool out =
        s->descending ? range_is_below(&s->range, key, size) : range_is_above(&s->range, key, size);
    if (out) {
      stand_nowhere(s);
      break;
    }
    size_t folder = s->depth > 0 ? size_of_first(key, size, s->depth) : 0;
    if (s->like.size > 0 && !fold_matches(&s->like, key, size)) {
      rc = pass_to_spelling(s, key, size);
    } else if (folder > 0) {
      rc = pass_over(s, key, folder);
    } else if (s->depth > 0 && depth_of(key, size) < s->depth) {
      rc = go_on(s);
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
    stand_nowhere(s);
    return SQLITE_OK;
  }
  const range_bound *from = s->descending ? &s->range.high : &s->range.low;
  int rc;
  if (from->bytes != NULL) {
    kv_seek how = s->descending ? (from->strict ? KV_SEEK_LT : KV_SEEK_LE)
                                : (from->strict ? KV_SEEK_GT : KV_SEEK_GE);
    rc = seek(s, from->bytes, from->size, how);
  } else {
    rc = go_first(s);
  }
  return rc == KV_OK ? settle(s) : SQLITE_NOMEM;
}

static int narrow_to_children(scan *s, const char *parent, size_t size) {
  s->depth = size == 0 ? 1 : depth_of(parent, size) + 1;
  return size == 0 ? SQLITE_OK : range_below(&s->range, parent, size);
}

/* Go on to the first child of the next parent of the list that has one. */
static int next_of_parents(scan *s) {
  int rc = SQLITE_OK;
  while (rc == SQLITE_OK && s->list_at < s->list_count && !kv_cursor_valid(s->cursor)) {
    const list_key *parent = &s->list_keys[s->list_at++];
    range_free(&s->range);
    rc = range_narrow(&s->range, &s->whole);
    if (rc == SQLITE_OK) rc = narrow_to_children(s, parent->bytes, parent->size);
    if (rc == SQLITE_OK) rc = start_range(s);
    if (rc == SQLITE_OK) rc = check_interrupt(s);
  }
  return rc;
}

static int start_parents(scan *s) {
  s->whole = s->range;
  s->range = (range){0};
  stand_nowhere(s);
  return next_of_parents(s);
}

static void stand_on_root(scan *s) {
  s->at_root = true;
  find(s, s->root, s->root_size);
}

static int start(scan *s) {
  if (s->parents) return start_parents(s);
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
  if (s->list != NULL && !s->parents) return next_of_list(s);
  if (s->single || (s->at_root && s->descending)) {
    stand_nowhere(s);
    return SQLITE_OK;
  }
  if (s->at_root) return start_range(s);
  int rc = go_on(s);
  if (rc != KV_OK) return SQLITE_NOMEM;
  rc = settle(s);
  if (rc == SQLITE_OK && s->parents) return next_of_parents(s);
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

/* From a key of the interval, pass over so many, by the tree's counts. */
static int pass_over_interval(scan *s, uint64_t rows) {
  size_t size;
  const char *key = kv_cursor_key(s->cursor, &size);
  uint64_t rank = kv_cursor_rank(s->cursor, key, size), to = rank + rows;
  if (s->descending && s->visit_root) { /* it comes last */
    const range_bound *low = &s->range.low;
    if (seek(s, low->bytes, low->size, low->strict ? KV_SEEK_GT : KV_SEEK_GE) != KV_OK) {
      return SQLITE_NOMEM;
    }
    key = kv_cursor_key(s->cursor, &size);
    uint64_t before = rank - kv_cursor_rank(s->cursor, key, size);
    if (rows == before + 1) {
      stand_on_root(s);
      return SQLITE_OK;
    }
    if (rows > before) rows = rank + 1;
  }
  if (s->descending) to = rows > rank ? UINT64_MAX : rank - rows;
  ++*s->visited;
  return kv_cursor_at(s->cursor, to) == KV_OK ? settle(s) : SQLITE_NOMEM;
}

/* Pass over the first rows: all at once where an interval is all there is, but for its root. */
static int pass_over_rows(scan *s, sqlite3_int64 rows) {
  if (s->depth == 0 && s->like.size == 0 && s->list == NULL && kv_cursor_valid(s->cursor)) {
    int rc = SQLITE_OK;
    if (s->at_root) {
      rows--;
      rc = step(s);
    }
    if (rc != SQLITE_OK || rows == 0 || !kv_cursor_valid(s->cursor)) return rc;
    return pass_over_interval(s, (uint64_t)rows);
  }
  int rc = SQLITE_OK;
  for (; rows > 0 && rc == SQLITE_OK && kv_cursor_valid(s->cursor); rows--) {
    rc = step(s);
    if (rc == SQLITE_OK) rc = check_interrupt(s);
  }
  return rc;
}

/* --- xFilter ------------------------------------------------------------------------------------ */

/* What a right-hand side means for a comparison with a text: a bound, not much (a number may be
** compared as a number), or that no row can match. */
typedef enum operand {
  OPERAND_TEXT,
  OPERAND_NUMBER,
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
    return OPERAND_NUMBER;
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

/* Narrow to what a LIKE pattern can match, whichever way it takes the case of letters. */
static int narrow_by_like(scan *s, const char *pattern, size_t size) {
  int rc = fold_init(&s->like, pattern, size);
  if (rc != SQLITE_OK || s->like.size == 0) return rc;
  rc = range_raise_low(&s->range, s->like.upper, s->like.size, 0, false);
  return rc == SQLITE_OK ? range_below_prefix_end(&s->range, s->like.lower, s->like.size) : rc;
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
    return narrow_to_children(s, text, size);
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
    return narrow_by_number(s, bit, sqlite3_value_double(value));
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
    find(s, s->root, s->root_size);
    s->visit_root = kv_cursor_valid(s->cursor);
  }
  if (s->depth != 0 && s->depth <= depth_of(s->root, s->root_size)) s->range.empty = true;
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
    const char *key;
    size_t size;
    s->single = true;
    int rc = face_text_in_place(argv[0], ((const table *)base->pVtab)->utf8, &key, &size);
    if (rc == SQLITE_OK) find(s, key, size);
    return rc;
  }
  s->general = true;
  s->descending = (plan & PLAN_DESC) != 0;
  sqlite3_int64 offset = 0;
  int rc = SQLITE_OK;
  for (int bit = 1; bit < 1 << PLAN_ARGUMENTS && rc == SQLITE_OK; bit <<= 1) {
    if (!(plan & bit)) continue;
    sqlite3_value *value = *argv++;
    switch (bit) {
    case PLAN_IN:
    case PLAN_PARENTS:
      rc = take_list(s, bit, value);
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

/* What is computed of the key. */
static void column_computed(const scan *s, sqlite3_context *context, int column) {
  size_t size, name;
  const char *key = kv_cursor_key(s->cursor, &size);
  for (name = size; name > 0 && key[name - 1] != '/'; name--) continue;
  switch (column) {
  case COLUMN_ROOT:
    if (s->root != NULL) sqlite3_result_text(context, s->root, -1, SQLITE_TRANSIENT);
    break;
  case COLUMN_PARENT:
    face_result_text(context, key, name > 0 ? name - 1 : 0);
    break;
  case COLUMN_NAME:
    sqlite3_result_text(context, key + name, -1, SQLITE_TRANSIENT);
    break;
  case COLUMN_DEPTH:
    sqlite3_result_int64(context, (sqlite3_int64)depth_of(key, size));
    break;
  default:
    break; /* the command column is always NULL */
  }
}

int scan_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column) {
  const scan *s = (const scan *)base;
  if (column == COLUMN_KEY) {
    size_t size;
    sqlite3_result_text(context, kv_cursor_key(s->cursor, &size), -1, SQLITE_TRANSIENT);
  } else if (sqlite3_vtab_nochange(context)) {
    /* In an UPDATE that leaves the column alone nobody needs it; but without the key it would fail. */
  } else if (column == COLUMN_VALUE) {
    column_value(s, context);
  } else {
    column_computed(s, context, column);
  }
  return SQLITE_OK;
}
