/* value.c - values as clients know them. See value.h. */
#include "value.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool value_parse_integer(const char *text, size_t size, int64_t *out) {
  bool negative = size > 0 && text[0] == '-';
  size_t i = negative ? 1 : 0, digits = size - i;
  if (digits == 0 || digits > 19 || (text[i] == '0' && size > 1)) return false;
  uint64_t number = 0;
  for (; i < size; i++) {
    if (text[i] < '0' || text[i] > '9') return false;
    number = number * 10 + (uint64_t)(text[i] - '0'); /* 19 digits fit */
  }
  if (number > (uint64_t)INT64_MAX + (negative ? 1 : 0)) return false;
  *out = negative ? (int64_t)-number : (int64_t)number;
  return true;
}

bool value_parse_real(const char *text, size_t size, long double *out) {
  char copy[VALUE_REAL_TEXT_MAX], *end;
  if (size == 0 || size >= sizeof copy || isspace((unsigned char)text[0])) return false;
  memcpy(copy, text, size);
  copy[size] = '\0';
  errno = 0;
  long double number = strtold(copy, &end);
  if (end != copy + size || isnan(number)) return false;
  if (errno == ERANGE && (isinf(number) || number == 0)) return false;
  *out = number;
  return true;
}

size_t value_from_real(char text[VALUE_REAL_TEXT_MAX], long double number) {
  int size = snprintf(text, VALUE_REAL_TEXT_MAX, "%.17Lf", number);
  char *end = text + size;
  if (strchr(text, '.') != NULL) {
    while (end[-1] == '0') end--;
    if (end[-1] == '.') end--;
  }
  *end = '\0';
  if (strcmp(text, "-0") == 0) return (size_t)snprintf(text, VALUE_REAL_TEXT_MAX, "0");
  return (size_t)(end - text);
}

static size_t real_text(char text[VALUE_TEXT_MAX], double real) {
  if (isinf(real)) {
    return (size_t)snprintf(text, VALUE_TEXT_MAX, real > 0 ? "Inf" : "-Inf");
  }
  int size = snprintf(text, VALUE_TEXT_MAX, "%.15g", real);
  if (strtod(text, NULL) != real) size = snprintf(text, VALUE_TEXT_MAX, "%.17g", real);
  if (strpbrk(text, ".n") != NULL) return (size_t)size;
  char *exponent = strchr(text, 'e'), tail[16] = "";
  if (exponent != NULL) {
    snprintf(tail, sizeof tail, "%s", exponent);
    *exponent = '\0';
  }
  size_t kept = strlen(text);
  return kept + (size_t)snprintf(text + kept, VALUE_TEXT_MAX - kept, ".0%s", tail);
}

bool value_bytes(const kv_value *value, char scratch[VALUE_TEXT_MAX], const char **data,
                 size_t *size) {
  *data = scratch;
  switch (value->type) {
  case KV_TEXT:
  case KV_BLOB:
    *data = value->data;
    *size = value->size;
    return true;
  case KV_INTEGER:
    *size = (size_t)snprintf(scratch, VALUE_TEXT_MAX, "%" PRId64, value->integer);
    return true;
  case KV_REAL:
    *size = real_text(scratch, value->real);
    return true;
  case KV_NULL:
    break;
  }
  *data = "";
  *size = 0;
  return false;
}

/* --- UTF-8 ------------------------------------------------------------------------------------ */

/* The length of the character at `at`, of which size bytes are there; 0: not one. The second byte's
** range keeps out overlong forms, surrogates, and what is above U+10FFFF. */
static size_t utf8_size(const unsigned char *at, size_t size) {
  unsigned char first = at[0], low = 0x80, high = 0xbf;
  size_t n = first >= 0xc2 && first <= 0xdf ? 2 : (first & 0xf0) == 0xe0 ? 3 : 4;
  if (first < 0xc2 || first > 0xf4 || size < n) return 0;
  if (first == 0xe0) low = 0xa0;
  if (first == 0xed) high = 0x9f;
  if (first == 0xf0) low = 0x90;
  if (first == 0xf4) high = 0x8f;
  if (at[1] < low || at[1] > high) return 0;
  for (size_t i = 2; i < n; i++) {
    if ((at[i] & 0xc0) != 0x80) return 0;
  }
  return n;
}

bool value_is_text(const char *data, size_t size) {
  const unsigned char *at = (const unsigned char *)data;
  for (size_t i = 0; i < size;) {
    uint64_t eight;
    if (size - i >= sizeof eight) {
      memcpy(&eight, at + i, sizeof eight);
      /* No byte with the high bit, none that is 0: subtracting 1 borrows from none of them. */
      if (((eight | (eight - 0x0101010101010101u)) & 0x8080808080808080u) == 0) {
        i += sizeof eight;
        continue;
      }
    }
    size_t n = at[i] < 0x80 ? at[i] != 0 : utf8_size(at + i, size - i);
    if (n == 0) return false;
    i += n;
  }
  return true;
}
