/*
** keypath.c - telling keypaths from what are none.
**
** Every key that is written and every line that is replayed comes through keypath_check, so the
** common case, ASCII, is decided eight bytes at a time; whatever that does not accept is gone
** through again byte by byte, to find UTF-8 in order or to say what is wrong and where.
*/
#include "keypath.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#define QUOTED_SIZE_MAX 64u /* bytes of a keypath that an error shows */

#define LOW_BITS 0x7f7f7f7f7f7f7f7fu
#define HIGH_BITS 0x8080808080808080u
#define SLASHES 0x2f2f2f2f2f2f2f2fu

/* True if the eight bytes are ASCII without NUL and without two slashes side by side. In bytes
** below 0x80, adding 0x7f sets the top bit of exactly those that are not zero, and carries nothing
** into the next byte. */
static inline bool word_is_plain(uint64_t word) {
  uint64_t not_nul = word + LOW_BITS;
  uint64_t slash = ~((word ^ SLASHES) + LOW_BITS) & HIGH_BITS;
  return (word & HIGH_BITS) == 0 && (not_nul & HIGH_BITS) == HIGH_BITS && (slash & slash << 8) == 0;
}

/* True if the size > 0 bytes at key are an ASCII keypath; false says nothing. */
static bool is_plain(const char *key, size_t size) {
  if (key[0] == '/' || key[size - 1] == '/') return false;
  if (size < 8) {
    for (size_t i = 0; i < size; i++) {
      unsigned char byte = (unsigned char)key[i];
      if (byte == '\0' || byte >= 0x80) return false;
      if (byte == '/' && key[i + 1] == '/') return false; /* a slash is not the last byte */
    }
    return true;
  }
  uint64_t word;
  for (size_t i = 0; i + 8 < size; i += 8) {
    memcpy(&word, key + i, sizeof word);
    if (!word_is_plain(word)) return false;
    if (key[i + 7] == '/' && key[i + 8] == '/') return false; /* across two words */
  }
  memcpy(&word, key + size - 8, sizeof word); /* may overlap the one before */
  return word_is_plain(word);
}

/* Bytes of the UTF-8 character that starts at `at`, of which `size` > 0 bytes are there; 0 if there
** is none. The second byte's range keeps out overlong forms, surrogates and what is too large. */
static size_t utf8_size(const unsigned char *at, size_t size) {
  unsigned char lead = at[0];
  if (lead < 0x80) return 1;
  size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || size < need) return 0;
  unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (at[1] < low || at[1] > high) return 0;
  for (size_t i = 2; i < need; i++) {
    if ((at[i] & 0xc0) != 0x80) return 0;
  }
  return need;
}

/* Put the first bytes of the keypath into out, fit to be printed: '?' for a byte of a control
** character or of no character. */
static void quote(char out[QUOTED_SIZE_MAX + 4], const char *key, size_t size) {
  size_t shown = size < QUOTED_SIZE_MAX ? size : QUOTED_SIZE_MAX;
  for (size_t i = 0; i < shown;) {
    const unsigned char *at = (const unsigned char *)key + i;
    size_t n = utf8_size(at, shown - i);
    bool control = at[0] < 0x20 || at[0] == 0x7f || (n == 2 && at[0] == 0xc2 && at[1] < 0xa0);
    if (n == 0 || control) {
      out[i++] = '?';
    } else {
      memcpy(out + i, at, n);
      i += n;
    }
  }
  memcpy(out + shown, size > shown ? "..." : "", size > shown ? 4 : 1);
}

/* Find out what keypath_check is to say of a keypath that is not plain ASCII. */
static int check_slowly(const char *key, size_t size, kv_error *err) {
  char quoted[QUOTED_SIZE_MAX + 4];
  size_t segment = 0; /* where the segment began that byte i is in */
  quote(quoted, key, size);
  for (size_t i = 0; i < size;) {
    unsigned char byte = (unsigned char)key[i];
    size_t n = utf8_size((const unsigned char *)key + i, size - i);
    if (n == 0) {
      return kv_error_set(err, KV_EKEYPATH,
                          "invalid keypath '%s': byte %zu (0x%02x) is not valid UTF-8", quoted, i,
                          byte);
    }
    if (byte == '\0') {
      return kv_error_set(err, KV_EKEYPATH, "invalid keypath '%s': NUL at byte %zu", quoted, i);
    }
    if (byte == '/' && i == segment) break;
    i += n;
    if (byte == '/') segment = i;
    if (i == size && segment < size) return KV_OK;
  }
  return kv_error_set(err, KV_EKEYPATH, "invalid keypath '%s': empty segment at byte %zu", quoted,
                      segment);
}

int keypath_check(const char *key, size_t size, kv_error *err) {
  if (size == 0) return kv_error_set(err, KV_EKEYPATH, "invalid keypath '': it is empty");
  if (size > KV_KEYPATH_SIZE_MAX) {
    return kv_error_set(err, KV_ETOOBIG, "keypath of %zu bytes is too long: at most %u bytes", size,
                        KV_KEYPATH_SIZE_MAX);
  }
  return is_plain(key, size) ? KV_OK : check_slowly(key, size, err);
}

size_t keypath_depth(const char *key, size_t size) {
  size_t depth = size > 0;
  for (size_t i = 0; i < size; i++) depth += key[i] == '/';
  return depth;
}

size_t keypath_parent_size(const char *key, size_t size) {
  size_t name = keypath_name_offset(key, size);
  return name > 0 ? name - 1 : 0;
}

size_t keypath_name_offset(const char *key, size_t size) {
  assert(size == 0 || key[size - 1] != '/');
  while (size > 0 && key[size - 1] != '/') size--;
  return size;
}
