/*
** range.h - an interval of keys, built by narrowing.
**
** Bounds are bytes compared with memcmp, so that they need not be keypaths. The bytes are copied.
*/
#ifndef RANGE_H
#define RANGE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct range_bound {
  char *bytes; /* NULL: none; sqlite3_malloc'ed */
  size_t size;
  bool strict; /* the bound itself is outside */
} range_bound;

typedef struct range {
  range_bound low, high;
  bool empty;
} range;

/* Narrow to keys >= bytes (or > if strict), or <= (<). `last` is appended to the bytes, unless it is
** 0. SQLITE_OK or SQLITE_NOMEM. */
int range_raise_low(range *r, const char *bytes, size_t size, char last, bool strict);
int range_lower_high(range *r, const char *bytes, size_t size, char last, bool strict);

/* Narrow to keys that start with the bytes. */
int range_prefix(range *r, const char *bytes, size_t size);

/* Narrow to keys that sort below the last one that could start with the bytes, or are it. */
int range_below_prefix_end(range *r, const char *bytes, size_t size);

/* Narrow to the nodes below a keypath, itself excluded. */
int range_below(range *r, const char *key, size_t size);

/* Narrow to what lies in another range too. */
int range_narrow(range *r, const range *by);

/* Whether no key can lie in it. */
bool range_is_empty(const range *r);

bool range_has(const range *r, const char *key, size_t size);

/* Whether a key lies beyond the high bound, or the low one. */
bool range_is_above(const range *r, const char *key, size_t size);
bool range_is_below(const range *r, const char *key, size_t size);

void range_free(range *r);

#endif
