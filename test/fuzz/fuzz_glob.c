/*
** fuzz_glob.c - patterns against a naive matcher.
**
** The first byte is the size of the pattern, which follows; the rest is the text. The naive matcher
** reads the pattern into elements once, the way Redis' own does, and then fills in a table of which
** part of the pattern matches which part of the text.
*/
#include "cli/glob.h"
#include "fuzz_help.h"

/* A star, or the bytes that an element matches. */
typedef struct element {
  bool star;
  bool has[256];
} element;

static void add_range(element *e, unsigned from, unsigned to) {
  if (from > to) {
    unsigned swap = from;
    from = to;
    to = swap;
  }
  for (unsigned c = from; c <= to; c++) e->has[c] = true;
}

/* The class whose `[` was just passed; where it ends. */
static const uint8_t *read_class(const uint8_t *at, const uint8_t *end, element *e) {
  bool negated = at < end && *at == '^';
  if (negated) at++;
  for (; at < end && *at != ']'; at++) {
    if (*at == '\\' && end - at >= 2) {
      at++;
      e->has[*at] = true;
    } else if (end - at >= 3 && at[1] == '-') {
      add_range(e, at[0], at[2]);
      at += 2;
    } else {
      e->has[*at] = true;
    }
  }
  for (unsigned c = 0; c < 256 && negated; c++) e->has[c] = !e->has[c];
  return at < end ? at + 1 : end;
}

static size_t read_pattern(const uint8_t *at, const uint8_t *end, element *out) {
  size_t count = 0;
  while (at < end) {
    element *e = &out[count++];
    memset(e, 0, sizeof *e);
    uint8_t c = *at++;
    if (c == '*') {
      e->star = true;
    } else if (c == '?') {
      add_range(e, 0, 255);
    } else if (c == '[') {
      at = read_class(at, end, e);
    } else {
      if (c == '\\' && at < end) c = *at++;
      e->has[c] = true;
    }
  }
  return count;
}

static bool naive_match(const element *pattern, size_t count, const uint8_t *text, size_t size) {
  bool *ends = fuzz_memory(size + 1); /* that the elements so far match text[0..i) */
  for (size_t i = 0; i <= size; i++) ends[i] = i == 0;
  for (size_t n = 0; n < count; n++) {
    if (pattern[n].star) {
      for (size_t i = 1; i <= size; i++) ends[i] = ends[i] || ends[i - 1];
    } else {
      for (size_t i = size; i > 0; i--) ends[i] = ends[i - 1] && pattern[n].has[text[i - 1]];
      ends[0] = false;
    }
  }
  bool out = ends[size];
  free(ends);
  return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static element elements[256];
  fuzz_bytes in = {.at = data, .end = data + size};
  size_t pattern_size, text_size, wanted = fuzz_take(&in);
  const char *from = fuzz_take_bytes(&in, wanted, &pattern_size);
  char *pattern = fuzz_copy(from, pattern_size);
  from = fuzz_take_bytes(&in, size, &text_size);
  char *text = fuzz_copy(from, text_size);
  const uint8_t *bytes = (const uint8_t *)pattern;
  size_t count = read_pattern(bytes, bytes + pattern_size, elements);
  bool want = naive_match(elements, count, (const uint8_t *)text, text_size);
  FUZZ_CHECK(glob_match(pattern, pattern_size, text, text_size) == want, "should be %d", want);
  size_t literal = glob_literal_size(pattern, pattern_size);
  FUZZ_CHECK(literal <= pattern_size, "%zu literal bytes", literal);
  if (want) {
    FUZZ_CHECK(text_size >= literal && memcmp(text, pattern, literal) == 0,
               "a match does not begin with %zu bytes of the pattern", literal);
  }
  free(pattern);
  free(text);
  return 0;
}
