/* fold.c - a prefix whose letters stand for both of their cases. See fold.h. */
#include "fold.h"

#include "face.h"

#include <string.h>

static bool is_literal(unsigned char c) {
  return c != '%' && c != '_' && c != '\0' && c < 0x80;
}

int fold_init(fold *f, const char *pattern, size_t size) {
  size_t literal = 0;
  while (literal < size && is_literal((unsigned char)pattern[literal])) literal++;
  if (literal == 0) return SQLITE_OK;
  char *bytes = sqlite3_malloc64(2 * literal);
  if (bytes == NULL) return SQLITE_NOMEM;
  *f = (fold){.upper = bytes, .lower = bytes + literal, .size = literal};
  for (size_t i = 0; i < literal; i++) {
    char c = pattern[i];
    f->upper[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    f->lower[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
  }
  return SQLITE_OK;
}

void fold_free(fold *f) {
  sqlite3_free(f->upper);
  *f = (fold){.upper = NULL};
}

/* How many bytes of the key spell the prefix. */
static size_t spelt(const fold *f, const char *key, size_t size) {
  size_t i = 0;
  while (i < size && i < f->size && (key[i] == f->upper[i] || key[i] == f->lower[i])) i++;
  return i;
}

bool fold_matches(const fold *f, const char *key, size_t size) {
  return spelt(f, key, size) == f->size;
}

/* The first i bytes of the key, then a byte, then as all the rest goes. */
static bool spell(const fold *f, const char *key, size_t i, char byte, const char *rest, char *to) {
  memcpy(to, key, i);
  to[i] = byte;
  memcpy(to + i + 1, rest + i + 1, f->size - i - 1);
  return true;
}

/* Upper case sorts first. Where the key leaves the prefix either a case of that byte lies beyond the
** key's, or one of an earlier byte does. */
bool fold_after(const fold *f, const char *key, size_t size, char *to) {
  size_t i = spelt(f, key, size);
  int byte = i < size ? (unsigned char)key[i] : -1;
  if (byte < f->upper[i]) return spell(f, key, i, f->upper[i], f->upper, to);
  if (byte < f->lower[i]) return spell(f, key, i, f->lower[i], f->upper, to);
  while (i-- > 0) {
    if (key[i] < f->lower[i]) return spell(f, key, i, f->lower[i], f->upper, to);
  }
  return false;
}

bool fold_before(const fold *f, const char *key, size_t size, char *to) {
  size_t i = spelt(f, key, size);
  int byte = i < size ? (unsigned char)key[i] : -1;
  if (byte > f->lower[i]) return spell(f, key, i, f->lower[i], f->lower, to);
  if (byte > f->upper[i]) return spell(f, key, i, f->upper[i], f->lower, to);
  while (i-- > 0) {
    if (key[i] > f->upper[i]) return spell(f, key, i, f->upper[i], f->lower, to);
  }
  return false;
}
