/* range.c - an interval of keys, built by narrowing. See range.h. */
#include "range.h"

#include "face.h"

#include <string.h>

static int compare(const char *a, size_t a_size, const char *b, size_t b_size) {
  int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
  if (order != 0) return order;
  return (a_size > b_size) - (a_size < b_size);
}

/* Replace a bound if the new one is tighter; sign is 1 for a low bound, -1 for a high one. */
static int tighten(range_bound *bound, const char *bytes, size_t size, char last, bool strict,
                   int sign) {
  char *copy = sqlite3_malloc64(size + 2);
  if (copy == NULL) return SQLITE_NOMEM;
  memcpy(copy, bytes, size);
  if (last != 0) copy[size++] = last;
  int order = bound->bytes == NULL ? 1 : sign * compare(copy, size, bound->bytes, bound->size);
  if (order > 0) {
    sqlite3_free(bound->bytes);
    *bound = (range_bound){.bytes = copy, .size = size, .strict = strict};
  } else {
    if (order == 0) bound->strict = bound->strict || strict;
    sqlite3_free(copy);
  }
  return SQLITE_OK;
}

int range_raise_low(range *r, const char *bytes, size_t size, char last, bool strict) {
  return tighten(&r->low, bytes, size, last, strict, 1);
}

int range_lower_high(range *r, const char *bytes, size_t size, char last, bool strict) {
  return tighten(&r->high, bytes, size, last, strict, -1);
}

int range_prefix(range *r, const char *bytes, size_t size) {
  int rc = range_raise_low(r, bytes, size, 0, false);
  return rc == SQLITE_OK ? range_below_prefix_end(r, bytes, size) : rc;
}

int range_below_prefix_end(range *r, const char *bytes, size_t size) {
  /* The first bytes behind all that start so: the last byte that can be counted up, counted up. */
  while (size > 0 && (unsigned char)bytes[size - 1] == 0xff) size--;
  if (size == 0) return SQLITE_OK;
  return range_lower_high(r, bytes, size - 1, (char)(bytes[size - 1] + 1), true);
}

int range_below(range *r, const char *key, size_t size) {
  int rc = range_raise_low(r, key, size, '/', false);
  return rc == SQLITE_OK ? range_lower_high(r, key, size, '/' + 1, true) : rc;
}

int range_narrow(range *r, const range *by) {
  const range_bound *low = &by->low, *high = &by->high;
  int rc = SQLITE_OK;
  r->empty = r->empty || by->empty;
  if (low->bytes != NULL) rc = range_raise_low(r, low->bytes, low->size, 0, low->strict);
  if (rc != SQLITE_OK || high->bytes == NULL) return rc;
  return range_lower_high(r, high->bytes, high->size, 0, high->strict);
}

bool range_is_empty(const range *r) {
  if (r->empty) return true;
  if (r->low.bytes == NULL || r->high.bytes == NULL) return false;
  int order = compare(r->low.bytes, r->low.size, r->high.bytes, r->high.size);
  return order > 0 || (order == 0 && (r->low.strict || r->high.strict));
}

bool range_is_above(const range *r, const char *key, size_t size) {
  if (r->high.bytes == NULL) return false;
  int order = compare(key, size, r->high.bytes, r->high.size);
  return order > 0 || (order == 0 && r->high.strict);
}

bool range_is_below(const range *r, const char *key, size_t size) {
  if (r->low.bytes == NULL) return false;
  int order = compare(key, size, r->low.bytes, r->low.size);
  return order < 0 || (order == 0 && r->low.strict);
}

bool range_has(const range *r, const char *key, size_t size) {
  return !r->empty && !range_is_above(r, key, size) && !range_is_below(r, key, size);
}

void range_free(range *r) {
  sqlite3_free(r->low.bytes);
  sqlite3_free(r->high.bytes);
  *r = (range){0};
}
