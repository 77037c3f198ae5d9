/*
** test_keypath.c - what is a keypath and what is not, at every length, and what the refusal says.
*/
#include "keypath.h"
#include "unit.h"

#include <stdlib.h>

typedef struct sample {
  const char *key;
  size_t size;
  const char *text; /* what the error says; NULL if it is a keypath */
} sample;

#define SAMPLE(key, text)                                                                          \
  { (key), sizeof(key) - 1, (text) }
#define TEN "0123456789"
#define SIXTY TEN TEN TEN TEN TEN TEN

static const sample samples[] = {
    SAMPLE("a", NULL),
    SAMPLE("test/val", NULL),
    SAMPLE("a/b/c/d/e/f/g/h/i/j", NULL),
    SAMPLE(" ", NULL),
    SAMPLE(".", NULL),
    SAMPLE("../..", NULL),
    SAMPLE("\x01\t\n\r\\\x7f", NULL),
    SAMPLE("\xc3\xa4/\xe2\x82\xac/\xf0\x9f\x98\x80", NULL),
    SAMPLE("\xc2\x80", NULL),
    SAMPLE("\xdf\xbf", NULL),
    SAMPLE("\xe0\xa0\x80", NULL),
    SAMPLE("\xed\x9f\xbf", NULL),
    SAMPLE("\xee\x80\x80", NULL),
    SAMPLE("\xef\xbf\xbf", NULL),
    SAMPLE("\xf0\x90\x80\x80", NULL),
    SAMPLE("\xf4\x8f\xbf\xbf", NULL),
    SAMPLE("", "invalid keypath '': it is empty"),
    SAMPLE("/", "invalid keypath '/': empty segment at byte 0"),
    SAMPLE("/a", "invalid keypath '/a': empty segment at byte 0"),
    SAMPLE("a/", "invalid keypath 'a/': empty segment at byte 2"),
    SAMPLE("a//b", "invalid keypath 'a//b': empty segment at byte 2"),
    SAMPLE("\xc3\xa4//b", "invalid keypath '\xc3\xa4//b': empty segment at byte 3"),
    SAMPLE("abc/defg//hi", "invalid keypath 'abc/defg//hi': empty segment at byte 9"),
    SAMPLE("a\0b", "invalid keypath 'a?b': NUL at byte 1"),
    SAMPLE("0123456\0", "invalid keypath '0123456?': NUL at byte 7"),
    SAMPLE("a\n/", "invalid keypath 'a?/': empty segment at byte 3"),
    SAMPLE("\xc2\x9b/", "invalid keypath '\?\?/': empty segment at byte 3"),
    SAMPLE("a\xff", "invalid keypath 'a?': byte 1 (0xff) is not valid UTF-8"),
    SAMPLE("a\x80", "invalid keypath 'a?': byte 1 (0x80) is not valid UTF-8"),
    SAMPLE("a\xc3", "invalid keypath 'a?': byte 1 (0xc3) is not valid UTF-8"),
    SAMPLE("\xc3/a", "invalid keypath '?/a': byte 0 (0xc3) is not valid UTF-8"),
    SAMPLE("\xc0\x80", "invalid keypath '\?\?': byte 0 (0xc0) is not valid UTF-8"),
    SAMPLE("\xc1\xbf", "invalid keypath '\?\?': byte 0 (0xc1) is not valid UTF-8"),
    SAMPLE("\xe0\x9f\xbf", "invalid keypath '\?\?\?': byte 0 (0xe0) is not valid UTF-8"),
    SAMPLE("\xed\xa0\x80", "invalid keypath '\?\?\?': byte 0 (0xed) is not valid UTF-8"),
    SAMPLE("\xe2\x82", "invalid keypath '\?\?': byte 0 (0xe2) is not valid UTF-8"),
    SAMPLE("\xe2\x82/", "invalid keypath '\?\?/': byte 0 (0xe2) is not valid UTF-8"),
    SAMPLE("\xf0\x8f\xbf\xbf", "invalid keypath '\?\?\?\?': byte 0 (0xf0) is not valid UTF-8"),
    SAMPLE("\xf4\x90\x80\x80", "invalid keypath '\?\?\?\?': byte 0 (0xf4) is not valid UTF-8"),
    SAMPLE("\xf5\x80\x80\x80", "invalid keypath '\?\?\?\?': byte 0 (0xf5) is not valid UTF-8"),
    SAMPLE(SIXTY "0123", NULL),
    SAMPLE(SIXTY "012/", "invalid keypath '" SIXTY "012/': empty segment at byte 64"),
    SAMPLE(SIXTY "0123/", "invalid keypath '" SIXTY "0123...': empty segment at byte 65"),
    SAMPLE(SIXTY "012\xc3\xa4/", "invalid keypath '" SIXTY "012?...': empty segment at byte 66"),
};

static void samples_are_told_apart(void) {
  for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
    const sample *s = &samples[i];
    char *key = malloc(s->size + 1); /* a copy of its own, so that a sanitizer sees an overrun */
    if (!CHECK(key != NULL)) return;
    memcpy(key, s->key, s->size);
    char *exact = s->size > 0 ? realloc(key, s->size) : key;
    kv_error err = {.code = 0, .text = ""};
    CHECK_INT(keypath_check(exact, s->size, &err), s->text == NULL ? KV_OK : KV_EKEYPATH);
    CHECK_STR(err.text, s->text == NULL ? "" : s->text);
    CHECK_INT(err.code, s->text == NULL ? 0 : KV_EKEYPATH);
    CHECK_INT(keypath_check(exact, s->size, NULL), s->text == NULL ? KV_OK : KV_EKEYPATH);
    free(exact);
  }
}

/* One wrong byte is found wherever it stands in a key of any length: the words of eight bytes have
** no blind spot. */
static void no_blind_spot(void) {
  for (size_t size = 1; size <= 40; size++) {
    char *key = malloc(size);
    if (!CHECK(key != NULL)) return;
    memset(key, 'k', size);
    CHECK_INT(keypath_check(key, size, NULL), KV_OK);
    for (size_t at = 0; at < size; at++) {
      key[at] = '\0';
      CHECK_INT(keypath_check(key, size, NULL), KV_EKEYPATH);
      key[at] = (char)0x80;
      CHECK_INT(keypath_check(key, size, NULL), KV_EKEYPATH);
      key[at] = '/';
      CHECK_INT(keypath_check(key, size, NULL), at > 0 && at + 1 < size ? KV_OK : KV_EKEYPATH);
      if (at > 0) {
        key[at - 1] = '/';
        CHECK_INT(keypath_check(key, size, NULL), KV_EKEYPATH);
        key[at - 1] = 'k';
      }
      key[at] = (char)0x7f;
      CHECK_INT(keypath_check(key, size, NULL), KV_OK);
      key[at] = 'k';
    }
    free(key);
  }
}

static void the_limit_is_the_limit(void) {
  size_t size = KV_KEYPATH_SIZE_MAX;
  char *key = malloc(70000);
  kv_error err = {.code = 0, .text = ""};
  if (!CHECK(key != NULL)) return;
  for (size_t i = 0; i < 70000; i++) key[i] = i % 2 == 0 ? 'a' : '/';
  CHECK_INT(keypath_check(key, size, &err), KV_OK);
  CHECK_INT(keypath_depth(key, size), 32768);
  CHECK_INT(keypath_check(key, size + 2, &err), KV_ETOOBIG);
  CHECK_STR(err.text, "keypath of 65537 bytes is too long: at most 65535 bytes");
  memset(key, 'a', 70000);
  CHECK_INT(keypath_check(key, size, &err), KV_OK);
  CHECK_INT(keypath_check(key, size + 1, &err), KV_ETOOBIG);
  CHECK_INT(keypath_check(key, 70000, &err), KV_ETOOBIG);
  CHECK_STR(err.text, "keypath of 70000 bytes is too long: at most 65535 bytes");
  CHECK_INT(keypath_depth(key, size), 1);
  free(key);
}

static void parts_of_a_keypath(void) {
  CHECK_INT(keypath_depth("", 0), 0);
  CHECK_INT(keypath_depth("a", 1), 1);
  CHECK_INT(keypath_depth("a/bc/d", 6), 3);
  CHECK_INT(keypath_parent_size("a", 1), 0);
  CHECK_INT(keypath_parent_size("a/bc/d", 6), 4);
  CHECK_INT(keypath_parent_size("abc/d", 5), 3);
  CHECK_INT(keypath_parent_size("", 0), 0);
  CHECK_INT(keypath_name_offset("a", 1), 0);
  CHECK_INT(keypath_name_offset("a/bc/d", 6), 5);
  CHECK_INT(keypath_name_offset("abc/de", 6), 4);
  CHECK_INT(keypath_name_offset("", 0), 0);
}

int main(void) {
  samples_are_told_apart();
  no_blind_spot();
  the_limit_is_the_limit();
  parts_of_a_keypath();
  return unit_done();
}
