/*
** plan.c - xBestIndex: which constraints a scan takes, in what order it gives its rows, what it
** costs.
**
** What is taken narrows the scan; SQLite still checks every row against the key's constraints, since
** a right-hand side may turn out to be of another type than text, for which the scan does not
** narrow. `root` alone is omitted from that check: it is an argument, not a property of a row.
**
** Row counts are exact where the right-hand sides are known now, from the tree's counts.
*/
#include "plan.h"

#include "table.h"

#include <string.h>

/* The constraints taken: the index of each in the info, by bit number; -1: none. */
typedef struct choice {
  int taken[PLAN_ARGUMENTS];
  int plan;
} choice;

static int bit_number(int bit) {
  return __builtin_ctz((unsigned)bit);
}

static void take(choice *c, int bit, int constraint) {
  if (c->plan & bit) return; /* one of each is enough; SQLite checks the others */
  c->plan |= bit;
  c->taken[bit_number(bit)] = constraint;
}

static void take_key(choice *c, unsigned op, int constraint) {
  switch (op) {
    case SQLITE_INDEX_CONSTRAINT_EQ:
    case SQLITE_INDEX_CONSTRAINT_IS: take(c, PLAN_EQUAL, constraint); break;
    case SQLITE_INDEX_CONSTRAINT_GT:
      if (!(c->plan & PLAN_LOW)) c->plan |= PLAN_LOW_STRICT;
      take(c, PLAN_LOW, constraint);
      break;
    case SQLITE_INDEX_CONSTRAINT_GE: take(c, PLAN_LOW, constraint); break;
    case SQLITE_INDEX_CONSTRAINT_LT:
      if (!(c->plan & PLAN_HIGH)) c->plan |= PLAN_HIGH_STRICT;
      take(c, PLAN_HIGH, constraint);
      break;
    case SQLITE_INDEX_CONSTRAINT_LE: take(c, PLAN_HIGH, constraint); break;
    case SQLITE_INDEX_CONSTRAINT_GLOB: take(c, PLAN_GLOB, constraint); break;
    default: break;
  }
}

/* Look at one constraint. SQLITE_CONSTRAINT: a subtree's root comes from a table that would have to
** be read first, so this order of the join is impossible. */
static int consider(sqlite3_index_info *info, int i, choice *c) {
  const struct sqlite3_index_constraint *constraint = &info->aConstraint[i];
  bool equal = constraint->op == SQLITE_INDEX_CONSTRAINT_EQ ||
               constraint->op == SQLITE_INDEX_CONSTRAINT_IS;
  if (!constraint->usable) {
    return constraint->iColumn == COLUMN_ROOT && equal ? SQLITE_CONSTRAINT : SQLITE_OK;
  }
  if (constraint->iColumn == COLUMN_ROOT) {
    if (equal) take(c, PLAN_ROOT, i);
    return SQLITE_OK;
  }
  if (constraint->iColumn == COLUMN_DEPTH) {
    if (equal) take(c, PLAN_DEPTH, i);
    return SQLITE_OK;
  }
  /* LIMIT and OFFSET come with a meaningless column. */
  bool is_text_column = constraint->iColumn == COLUMN_KEY || constraint->iColumn == COLUMN_PARENT;
  if (!is_text_column || constraint->op >= 73) return SQLITE_OK;
  if (sqlite3_stricmp(sqlite3_vtab_collation(info, i), "BINARY") != 0) return SQLITE_OK;
  if (constraint->iColumn == COLUMN_KEY) {
    take_key(c, constraint->op, i);
  } else if (equal) {
    take(c, PLAN_PARENT, i);
  }
  return SQLITE_OK;
}

/* --- estimates ---------------------------------------------------------------------------------- */

/* The text on the right-hand side of a taken constraint, if it is known now. */
static const char *known_text(sqlite3_index_info *info, const choice *c, int bit, size_t *size) {
  sqlite3_value *value = NULL;
  if (!(c->plan & bit)) return NULL;
  if (sqlite3_vtab_rhs_value(info, c->taken[bit_number(bit)], &value) != SQLITE_OK) return NULL;
  if (value == NULL || sqlite3_value_type(value) != SQLITE_TEXT) return NULL;
  const char *text = (const char *)sqlite3_value_text(value);
  *size = (size_t)sqlite3_value_bytes(value);
  return text;
}

static double least(double a, double b) {
  return a < b ? a : b;
}

/* Rows in the range of the key's bounds; a bound that is not known yet halves it, as a guess. */
static double range_rows(sqlite3_index_info *info, const choice *c, const kv_cursor *cursor,
                         double total) {
  size_t size;
  double low = 0, high = total, factor = 1;
  const char *text = known_text(info, c, PLAN_LOW, &size);
  if (text != NULL) {
    low = (double)kv_cursor_rank(cursor, text, size);
  } else if (c->plan & PLAN_LOW) {
    factor /= 2;
  }
  text = known_text(info, c, PLAN_HIGH, &size);
  if (text != NULL) {
    high = (double)kv_cursor_rank(cursor, text, size);
  } else if (c->plan & PLAN_HIGH) {
    factor /= 2;
  }
  return high > low ? (high - low) * factor : 0;
}

static double estimate(sqlite3_index_info *info, const choice *c, const kv_cursor *cursor) {
  kv_counts counts;
  size_t size;
  kv_cursor_count(cursor, "", 0, &counts);
  double total = (double)counts.values;
  if (c->plan & PLAN_EQUAL) return 1;
  double rows = range_rows(info, c, cursor, total);
  const char *text = known_text(info, c, PLAN_ROOT, &size);
  if (text != NULL) {
    kv_cursor_count(cursor, text, size, &counts);
    rows = least(rows, (double)counts.values);
  } else if (c->plan & PLAN_ROOT) {
    rows = least(rows, total / 16 + 1);
  }
  text = known_text(info, c, PLAN_PARENT, &size);
  if (text != NULL) {
    kv_cursor_count(cursor, text, size, &counts);
    rows = least(rows, (double)counts.children);
  } else if (c->plan & PLAN_PARENT) {
    rows = least(rows, total / 16 + 1);
  }
  if (c->plan & PLAN_GLOB) rows = least(rows, total / 8 + 1);
  if (c->plan & PLAN_DEPTH) rows = least(rows, total / 2 + 1);
  return rows;
}

/* --- the answer ----------------------------------------------------------------------------------- */

/* Whether ORDER BY asks for the order of the keys; the direction goes into the plan. */
static bool is_key_order(const sqlite3_index_info *info, choice *c) {
  /* Further terms say nothing more: the key is unique. */
  if (info->nOrderBy < 1 || info->aOrderBy[0].iColumn != COLUMN_KEY) return false;
  if (info->aOrderBy[0].desc) c->plan |= PLAN_DESC;
  return true;
}

static char *words_of(int plan) {
  if (plan & PLAN_EQUAL) return sqlite3_mprintf("kvstore: get");
  bool bounds = (plan & (PLAN_LOW | PLAN_HIGH)) != 0;
  const char *what = plan & PLAN_PARENT ? "children"
                     : plan & PLAN_ROOT ? "subtree"
                     : plan & PLAN_GLOB ? "prefix"
                     : bounds           ? "range"
                                        : "scan";
  return sqlite3_mprintf("kvstore: %s%s%s%s", what,
                         bounds && (plan & (PLAN_PARENT | PLAN_ROOT)) ? " in range" : "",
                         plan & PLAN_DEPTH ? " at depth" : "", plan & PLAN_DESC ? " DESC" : "");
}

int plan_best_index(sqlite3_vtab *base, sqlite3_index_info *info) {
  table *t = (table *)base;
  choice c = {.plan = 0};
  for (int i = 0; i < info->nConstraint; i++) {
    int rc = consider(info, i, &c);
    if (rc != SQLITE_OK) return rc;
  }
  info->orderByConsumed = is_key_order(info, &c);
  int argument = 0;
  for (int bit = 0; bit < PLAN_ARGUMENTS; bit++) {
    if (!(c.plan >> bit & 1)) continue;
    info->aConstraintUsage[c.taken[bit]].argvIndex = ++argument;
    info->aConstraintUsage[c.taken[bit]].omit = 1 << bit == PLAN_ROOT;
  }
  kv_cursor *cursor;
  kv_error err;
  if (kv_cursor_open(t->link->db, &cursor, &err) != KV_OK) return face_fail(base, &err);
  double rows = estimate(info, &c, cursor);
  kv_cursor_close(cursor);
  info->estimatedRows = (sqlite3_int64)rows;
  info->estimatedCost = 3 + rows;
  if (c.plan & PLAN_EQUAL) {
    size_t size;
    info->estimatedCost = 1;
    /* A number may equal several keys, '5' and '5.0'; of a text there is one at most. */
    if (known_text(info, &c, PLAN_EQUAL, &size)) info->idxFlags = SQLITE_INDEX_SCAN_UNIQUE;
  }
  info->idxNum = c.plan;
  info->idxStr = words_of(c.plan);
  info->needToFreeIdxStr = 1;
  return info->idxStr != NULL ? SQLITE_OK : SQLITE_NOMEM;
}
