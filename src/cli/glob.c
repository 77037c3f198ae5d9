/* glob.c - Redis' patterns. See glob.h. */
#include "glob.h"

/* Whether c is in the class behind the `[` at pattern[*at]; moves *at behind the class. One that is
** not closed ends with the pattern. */
static bool class_has(const char *pattern, size_t size, size_t *at, unsigned char c) {
  size_t i = *at + 1;
  bool negated = i < size && pattern[i] == '^', found = false;
  if (negated) i++;
  while (i < size && pattern[i] != ']') {
    bool escaped = pattern[i] == '\\' && i + 1 < size; /* and so no beginning of a range */
    if (escaped) i++;
    unsigned char low = (unsigned char)pattern[i], high = low;
    if (!escaped && i + 2 < size && pattern[i + 1] == '-') {
      high = (unsigned char)pattern[i + 2];
      i += 2;
    }
    if (low > high) {
      unsigned char swap = low;
      low = high;
      high = swap;
    }
    if (c >= low && c <= high) found = true;
    i++;
  }
  *at = i < size ? i + 1 : size;
  return found != negated;
}

/* Match one element of the pattern other than a star against one byte; moves *at behind it. */
static bool element_matches(const char *pattern, size_t size, size_t *at, char c) {
  switch (pattern[*at]) {
  case '?':
    (*at)++;
    return true;
  case '[':
    return class_has(pattern, size, at, (unsigned char)c);
  case '\\':
    if (*at + 1 < size) (*at)++;
    break;
  default:
    break;
  }
  return pattern[(*at)++] == c;
}

/* Only the last star seen can need to take one byte more. */
bool glob_match(const char *pattern, size_t pattern_size, const char *text, size_t text_size) {
  size_t p = 0, t = 0, star_p = 0, star_t = 0;
  bool has_star = false;
  while (t < text_size) {
    if (p < pattern_size && pattern[p] == '*') {
      has_star = true;
      star_p = ++p;
      star_t = t;
    } else if (p < pattern_size && element_matches(pattern, pattern_size, &p, text[t])) {
      t++;
    } else if (has_star) {
      p = star_p;
      t = ++star_t;
    } else {
      return false;
    }
  }
  while (p < pattern_size && pattern[p] == '*') p++;
  return p == pattern_size;
}

size_t glob_literal_size(const char *pattern, size_t size) {
  size_t i = 0;
  while (i < size && pattern[i] != '*' && pattern[i] != '?' && pattern[i] != '[' &&
         pattern[i] != '\\') {
    i++;
  }
  return i;
}
