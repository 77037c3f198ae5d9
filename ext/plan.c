/*
** plan.c - xBestIndex: which constraints a scan takes, in what order it gives its rows, what it
** costs.
**
** What is taken narrows the scan; SQLite still checks every row against the key's constraints, since
** a right-hand side may turn out to be of another type than text, for which the scan does not
** narrow. `root` alone is always omitted from that check: it is an argument, not a property of a
** row.
**
** LIMIT and OFFSET are taken only where the scan alone decides which rows there are, in the order
** that is asked for: then every constraint must be one that narrows exactly and has a right-hand
** side known to be a text. What SQLite would check again after we had counted would be counted
** wrong. And only from a SQLite that shows us every constraint (has_honest_limits); without a LIMIT it
** stops asking for rows by itself, so that only the jump over an OFFSET is lost.
**
** In a UTF-16 database BINARY is the order of UTF-16 bytes, which is not the tree's: a bound means
** other keys there, and SQLite has to sort. Only what is an equality or a prefix is taken.
**
** Row counts are exact where the right-hand sides are known now, from the tree's counts.
*/
#include "plan.h"

#include "table.h"

#include <string.h>

#define HONEST_LIMITS_VERSION_MIN 3046000

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

/* key = ? or key IN (?): one of the two is enough, and the first is better. */
static void take_equal(sqlite3_index_info *info, choice *c, int constraint) {
  if (sqlite3_vtab_in(info, constraint, -1)) {
    if (!(c->plan & PLAN_EQUAL)) take(c, PLAN_IN, constraint);
    return;
  }
  c->plan &= ~PLAN_IN;
  take(c, PLAN_EQUAL, constraint);
}

/* parent = ? or parent IN (?). The list is taken as a whole: one by one SQLite would compare its
** values as texts, even where they are to be compared as numbers. */
static void take_parent(sqlite3_index_info *info, choice *c, int constraint) {
  if (sqlite3_vtab_in(info, constraint, -1)) {
    if (!(c->plan & PLAN_PARENT)) take(c, PLAN_PARENTS, constraint);
    return;
  }
  c->plan &= ~PLAN_PARENTS;
  take(c, PLAN_PARENT, constraint);
}

/* A list of parents goes with bounds and prefixes of the key only; else SQLite checks what is left. */
static void settle_parents(choice *c) {
  if (!(c->plan & PLAN_PARENTS)) return;
  if (c->plan & (PLAN_EQUAL | PLAN_IN | PLAN_ROOT)) {
    c->plan &= ~PLAN_PARENTS;
  } else {
    c->plan &= ~PLAN_DEPTH;
  }
}

static void take_key(sqlite3_index_info *info, choice *c, unsigned op, int constraint) {
  switch (op) {
  case SQLITE_INDEX_CONSTRAINT_EQ:
  case SQLITE_INDEX_CONSTRAINT_IS:
    take_equal(info, c, constraint);
    break;
  case SQLITE_INDEX_CONSTRAINT_GT:
    if (!(c->plan & PLAN_LOW)) c->plan |= PLAN_LOW_STRICT;
    take(c, PLAN_LOW, constraint);
    break;
  case SQLITE_INDEX_CONSTRAINT_GE:
    take(c, PLAN_LOW, constraint);
    break;
  case SQLITE_INDEX_CONSTRAINT_LT:
    if (!(c->plan & PLAN_HIGH)) c->plan |= PLAN_HIGH_STRICT;
    take(c, PLAN_HIGH, constraint);
    break;
  case SQLITE_INDEX_CONSTRAINT_LE:
    take(c, PLAN_HIGH, constraint);
    break;
  case SQLITE_INDEX_CONSTRAINT_GLOB:
    take(c, PLAN_GLOB, constraint);
    break;
  case SQLITE_INDEX_CONSTRAINT_LIKE:
    take(c, PLAN_LIKE, constraint);
    break;
  default:
    break;
  }
}

static bool is_bound(unsigned op) {
  return op == SQLITE_INDEX_CONSTRAINT_GT || op == SQLITE_INDEX_CONSTRAINT_GE ||
         op == SQLITE_INDEX_CONSTRAINT_LT || op == SQLITE_INDEX_CONSTRAINT_LE;
}

/* LIMIT and OFFSET come as constraints on a meaningless column. */
static bool is_limit(unsigned op) {
  return op == SQLITE_INDEX_CONSTRAINT_LIMIT || op == SQLITE_INDEX_CONSTRAINT_OFFSET;
}

/* Look at one constraint. SQLITE_CONSTRAINT: a subtree's root comes from a table that would have to
** be read first, so this order of the join is impossible. */
static int consider(const table *t, sqlite3_index_info *info, int i, choice *c) {
  const struct sqlite3_index_constraint *constraint = &info->aConstraint[i];
  bool equal =
      constraint->op == SQLITE_INDEX_CONSTRAINT_EQ || constraint->op == SQLITE_INDEX_CONSTRAINT_IS;
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
  bool is_text_column = constraint->iColumn == COLUMN_KEY || constraint->iColumn == COLUMN_PARENT;
  if (!is_text_column || is_limit(constraint->op)) return SQLITE_OK;
  if (sqlite3_stricmp(sqlite3_vtab_collation(info, i), "BINARY") != 0) return SQLITE_OK;
  if (constraint->iColumn == COLUMN_KEY) {
    if (!t->utf8 && is_bound(constraint->op)) return SQLITE_OK;
    take_key(info, c, constraint->op, i);
  } else if (equal) {
    take_parent(info, c, i);
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

#define ROWS_UNKNOWN 1000

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
  if (c->plan & PLAN_PARENTS) rows = least(rows, total / 8 + 1);
  if (c->plan & (PLAN_GLOB | PLAN_LIKE)) rows = least(rows, total / 8 + 1);
  if (c->plan & PLAN_IN) rows = least(rows, 16);
  if (c->plan & PLAN_DEPTH) rows = least(rows, total / 2 + 1);
  return rows;
}

/* --- the answer ----------------------------------------------------------------------------------- */

/* Whether the order of the keys, or for DISTINCT and GROUP BY any order of them, is what is asked
** for; the direction goes into the plan. The key is unique, so that further terms say nothing more,
** and rows that are to be told apart or grouped by it and others are so in any order. */
static bool is_key_order(sqlite3_index_info *info, choice *c) {
  int distinct = sqlite3_vtab_distinct(info);
  if (c->plan & PLAN_PARENTS) return false; /* one parent after the other */
  for (int i = 0; i < info->nOrderBy; i++) {
    if (info->aOrderBy[i].iColumn != COLUMN_KEY) continue;
    if (i == 0 && info->aOrderBy[0].desc) c->plan |= PLAN_DESC;
    return i == 0 || distinct == 1 || distinct == 2;
  }
  return false;
}

/* Whether a constraint is carried out by the scan to the letter. */
static bool is_exact(sqlite3_index_info *info, const choice *c, int constraint) {
  static const int exact = PLAN_EQUAL | PLAN_LOW | PLAN_HIGH | PLAN_PARENT;
  size_t size;
  if (is_limit(info->aConstraint[constraint].op)) return true;
  for (int bit = 1; bit < 1 << PLAN_ARGUMENTS; bit <<= 1) {
    if (!(c->plan & bit) || c->taken[bit_number(bit)] != constraint) continue;
    return bit == PLAN_ROOT || (bit & exact && known_text(info, c, bit, &size) != NULL);
  }
  return false;
}

/* Whether SQLite passes LIMIT and OFFSET only with every term of the WHERE clause, and never those of a
** compound. Older releases keep terms that compare two columns of the table to themselves (`key =
** value`) and offer a LIMIT all the same, which would then be counted over other rows; they give a
** scalar subquery and EXISTS a LIMIT of their own; and all parts of a compound share one OFFSET. The
** header does not matter: the extension may run in a library older or newer than it. */
static bool has_honest_limits(void) {
  return sqlite3_libversion_number() >= HONEST_LIMITS_VERSION_MIN;
}

/* Take LIMIT and OFFSET if nothing but the scan decides on the rows. */
static void take_limits(sqlite3_index_info *info, choice *c) {
  if (!has_honest_limits()) return;
  if (info->nOrderBy > 0 && !info->orderByConsumed) return;
  if (sqlite3_vtab_distinct(info) != 0) return;
  for (int i = 0; i < info->nConstraint; i++) {
    if (!info->aConstraint[i].usable || !is_exact(info, c, i)) return;
  }
  for (int i = 0; i < info->nConstraint; i++) {
    unsigned op = info->aConstraint[i].op;
    if (op == SQLITE_INDEX_CONSTRAINT_LIMIT) take(c, PLAN_LIMIT, i);
    if (op == SQLITE_INDEX_CONSTRAINT_OFFSET) take(c, PLAN_OFFSET, i);
  }
}

static char *words_of(int plan) {
  if (plan & PLAN_EQUAL) return sqlite3_mprintf("kvstore: get");
  if (plan & PLAN_IN) return sqlite3_mprintf("kvstore: in%s", plan & PLAN_DESC ? " DESC" : "");
  bool bounds = (plan & (PLAN_LOW | PLAN_HIGH)) != 0;
  const char *what = plan & (PLAN_PARENT | PLAN_PARENTS) ? "children"
                     : plan & PLAN_ROOT                  ? "subtree"
                     : plan & (PLAN_GLOB | PLAN_LIKE)    ? "prefix"
                     : bounds                            ? "range"
                                                         : "scan";
  return sqlite3_mprintf("kvstore: %s%s%s%s%s%s", what,
                         bounds && (plan & (PLAN_PARENT | PLAN_PARENTS | PLAN_ROOT)) ? " in range"
                                                                                     : "",
                         plan & PLAN_DEPTH ? " at depth" : "", plan & PLAN_DESC ? " DESC" : "",
                         plan & PLAN_LIMIT ? " LIMIT" : "", plan & PLAN_OFFSET ? " OFFSET" : "");
}

/* Tell SQLite which constraints xFilter gets, and which it need not check itself. */
static void use(sqlite3_index_info *info, const choice *c) {
  static const int omitted = PLAN_ROOT | PLAN_LIMIT | PLAN_OFFSET;
  int argument = 0;
  for (int bit = 0; bit < PLAN_ARGUMENTS; bit++) {
    if (!(c->plan >> bit & 1)) continue;
    info->aConstraintUsage[c->taken[bit]].argvIndex = ++argument;
    info->aConstraintUsage[c->taken[bit]].omit = (1 << bit & omitted) != 0;
    if (1 << bit & (PLAN_IN | PLAN_PARENTS)) (void)sqlite3_vtab_in(info, c->taken[bit], 1);
  }
}

int plan_best_index(sqlite3_vtab *base, sqlite3_index_info *info) {
  table *t = (table *)base;
  choice c = {.plan = 0};
  for (int i = 0; i < info->nConstraint; i++) {
    int rc = consider(t, info, i, &c);
    if (rc != SQLITE_OK) return rc;
  }
  settle_parents(&c);
  info->orderByConsumed = t->utf8 && is_key_order(info, &c);
  take_limits(info, &c);
  use(info, &c);
  kv_cursor *cursor;
  kv_error err;
  double rows = c.plan & PLAN_EQUAL ? 1 : ROWS_UNKNOWN;
  t->session->is_planning = true;
  int rc = kv_cursor_open(t->link->db, &cursor, &err);
  t->session->is_planning = false;
  if (rc == KV_OK) {
    rows = estimate(info, &c, cursor);
    kv_cursor_close(cursor);
  } else if (rc != KV_EBUSY && rc != KV_EINTERRUPTED) {
    return face_fail(base, &err);
  } /* else the scan will meet it: SQLite has no code but SQLITE_ERROR for what fails here */
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
