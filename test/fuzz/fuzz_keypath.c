/*
** fuzz_keypath.c - keypaths against a naive reading of their definition in keypath.h.
**
** The first byte says what the keypath begins with, the others are its end: 'a' to 'x' are so many
** bytes more, less one; with 'y' it gets as long as the longest, with 'z' one byte longer.
*/
#include "fuzz_help.h"
#include "keypath.h"

/* Bytes of the character at `at`, by decoding it and looking whether a shorter spelling would do; 0
** if it is none. */
static size_t character_size(const unsigned char *at, size_t size) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  size_t need = 0;
  uint32_t point = 0;
  if (at[0] < 0x80) return 1;
  if ((at[0] & 0xe0) == 0xc0) need = 2, point = at[0] & 0x1fu;
  if ((at[0] & 0xf0) == 0xe0) need = 3, point = at[0] & 0x0fu;
  if ((at[0] & 0xf8) == 0xf0) need = 4, point = at[0] & 0x07u;
  if (need == 0 || need > size) return 0;
  for (size_t i = 1; i < need; i++) {
    if ((at[i] & 0xc0) != 0x80) return 0;
    point = point << 6 | (at[i] & 0x3fu);
  }
  if (point < least[need] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return 0;
  return need;
}

/* What an error has to end with; empty if there is none. */
static void expect(char out[128], const char *key, size_t size) {
  const unsigned char *at = (const unsigned char *)key;
  out[0] = '\0';
  if (size == 0) (void)snprintf(out, 128, "''");
  if (size == 0 || size > KV_KEYPATH_SIZE_MAX) return;
  for (size_t i = 0; i < size;) {
    size_t n = character_size(at + i, size - i);
    bool begins = i == 0 || at[i - 1] == '/';
    if (n == 0) {
      (void)snprintf(out, 128, ": byte %zu (0x%02x) is not valid UTF-8", i, at[i]);
    } else if (at[i] == '\0') {
      (void)snprintf(out, 128, ": NUL at byte %zu", i);
    } else if (at[i] == '/' && begins) {
      (void)snprintf(out, 128, ": empty segment at byte %zu", i);
    }
    if (out[0] != '\0') return;
    i += n;
  }
  if (at[size - 1] == '/') (void)snprintf(out, 128, ": empty segment at byte %zu", size);
}

static bool ends_with(const char *text, const char *end) {
  size_t size = strlen(text), end_size = strlen(end);
  return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

/* An error's text is fit to be shown: valid UTF-8 without control characters. */
static bool is_presentable(const char *text) {
  const unsigned char *at = (const unsigned char *)text;
  for (size_t n, left = strlen(text); left > 0; at += n, left -= n) {
    n = character_size(at, left);
    if (n == 0 || at[0] < 0x20 || at[0] == 0x7f || (at[0] == 0xc2 && at[1] < 0xa0)) return false;
  }
  return true;
}

static void check_parts(const char *key, size_t size) {
  size_t depth = 1, name = 0;
  for (size_t i = 0; i < size; i++) {
    if (key[i] == '/') depth++, name = i + 1;
  }
  FUZZ_CHECK(keypath_depth(key, size) == depth, "depth %zu", depth);
  FUZZ_CHECK(keypath_name_offset(key, size) == name, "name at %zu", name);
  FUZZ_CHECK(keypath_parent_size(key, size) == (name > 0 ? name - 1 : 0), "name at %zu", name);
}

static size_t longer_by(uint8_t what, size_t size) {
  size_t full = size < KV_KEYPATH_SIZE_MAX ? KV_KEYPATH_SIZE_MAX - size : 0;
  if (what == 'y' || what == 'z') return full + (what == 'z');
  return what >= 'a' && what < 'y' ? (size_t)what - 'a' : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  size_t longer = longer_by(data[0], size - 1);
  char *key = fuzz_memory(longer + size - 1), want[128];
  memset(key, 'p', longer);
  memcpy(key + longer, data + 1, size - 1);
  size += longer - 1;
  kv_error err = {.code = KV_OK};
  int rc = keypath_check(key, size, &err);
  expect(want, key, size);
  FUZZ_CHECK(rc == keypath_check(key, size, NULL), "another result without an error");
  FUZZ_CHECK(rc == err.code, "%d, and in the error %d", rc, err.code);
  if (size > KV_KEYPATH_SIZE_MAX) {
    FUZZ_CHECK(rc == KV_ETOOBIG, "%d for %zu bytes", rc, size);
  } else {
    FUZZ_CHECK(rc == (want[0] != '\0' ? KV_EKEYPATH : KV_OK), "%d, '%s'", rc, want);
  }
  if (rc == KV_OK) check_parts(key, size);
  if (rc == KV_EKEYPATH) {
    FUZZ_CHECK(size == 0 || ends_with(err.text, want), "'%s' does not end in '%s'", err.text, want);
    FUZZ_CHECK(is_presentable(err.text), "'%s' cannot be shown", err.text);
  }
  free(key);
  return 0;
}
