/*
** test_glob.c - patterns, numbers as text, what is TEXT: the server's small pure functions.
*/
#include "cli/glob.h"
#include "cli/value.h"
#include "unit.h"

#include <math.h>
#include <stdlib.h>

static bool match(const char *pattern, const char *text) {
  return glob_match(pattern, strlen(pattern), text, strlen(text));
}

static void test_glob(void) {
  CHECK(match("", "") && !match("", "a"));
  CHECK(match("*", "") && match("*", "a/b/c") && match("**", "x"));
  CHECK(match("a*c", "abbc") && match("a*c", "ac") && !match("a*c", "abcd"));
  CHECK(match("h?llo", "hello") && !match("h?llo", "hllo") && !match("?", ""));
  CHECK(match("h[ae]llo", "hallo") && !match("h[ae]llo", "hillo"));
  CHECK(match("h[^e]llo", "hallo") && !match("h[^e]llo", "hello"));
  CHECK(match("h[a-c]llo", "hbllo") && !match("h[a-c]llo", "hdllo") && match("h[c-a]llo", "hbllo"));
  CHECK(match("[\\]]", "]") && match("[a", "a") && !match("[", "a") && !match("[", "["));
  CHECK(match("[\\a-c]", "a") && match("[\\a-c]", "-") && !match("[\\a-c]", "b"));
  CHECK(match("a\\*b", "a*b") && !match("a\\*b", "axb") && match("a\\", "a\\"));
  CHECK(match("a*b*c*d", "a-b-b-c-c-d") && !match("a*b*c*d", "a-c-b-d"));
  CHECK_INT(glob_literal_size("test/*", 6), 5);
  CHECK_INT(glob_literal_size("test", 4), 4);
  CHECK_INT(glob_literal_size("te[s]t", 6), 2);
}

/* A pattern made to take for ever takes no time. */
static void test_glob_cost(void) {
  char pattern[201], text[2000];
  for (int i = 0; i < 200; i += 2) memcpy(pattern + i, "*a", 2);
  pattern[200] = 'b';
  memset(text, 'a', sizeof text);
  CHECK(!glob_match(pattern, 201, text, sizeof text));
}

static void check_integer(const char *text, bool is_number, int64_t number) {
  int64_t got = 7;
  CHECK_INT(value_parse_integer(text, strlen(text), &got), is_number);
  CHECK_INT(got, is_number ? number : 7);
}

static void test_integers(void) {
  check_integer("0", true, 0);
  check_integer("-1", true, -1);
  check_integer("9223372036854775807", true, INT64_MAX);
  check_integer("-9223372036854775808", true, INT64_MIN);
  check_integer("9223372036854775808", false, 0);
  check_integer("-9223372036854775809", false, 0);
  check_integer("99999999999999999999", false, 0);
  check_integer("", false, 0);
  check_integer("-", false, 0);
  check_integer("+1", false, 0);
  check_integer("01", false, 0);
  check_integer("-0", false, 0);
  check_integer(" 1", false, 0);
  check_integer("1 ", false, 0);
}

static void check_real(double real, const char *want) {
  char scratch[VALUE_TEXT_MAX], text[VALUE_TEXT_MAX + 1];
  const char *data;
  size_t size;
  kv_value value = {.type = KV_REAL, .real = real};
  CHECK(value_bytes(&value, scratch, &data, &size));
  snprintf(text, sizeof text, "%.*s", (int)size, data);
  CHECK_STR(text, want);
}

static void check_sum(const char *from, const char *want) {
  char text[VALUE_REAL_TEXT_MAX];
  long double number;
  if (!CHECK(value_parse_real(from, strlen(from), &number))) return;
  CHECK_INT(value_from_real(text, number), strlen(want));
  CHECK_STR(text, want);
}

static void test_reals(void) {
  check_real(2.5, "2.5");
  check_real(3, "3.0");
  check_real(-0.1, "-0.1");
  check_real(1e300, "1.0e+300");
  check_real(1.0 / 3, "0.33333333333333331");
  check_real(INFINITY, "Inf");
  check_real(-INFINITY, "-Inf");
  check_sum("10.50", "10.5");
  check_sum("5.0e3", "5000");
  check_sum("-0.0", "0");
  check_sum("3", "3");
  long double number;
  CHECK(!value_parse_real("nan", 3, &number) && !value_parse_real("", 0, &number));
  CHECK(!value_parse_real(" 1", 2, &number) && !value_parse_real("1x", 2, &number));
}

static bool is_text(const char *data) {
  return value_is_text(data, strlen(data));
}

static void test_text(void) {
  CHECK(is_text("") && is_text("a") && is_text("abcdefgh") && is_text("abcdefghijklmnopq"));
  CHECK(is_text("gr\xc3\xbcn") && is_text("\xe2\x82\xac") && is_text("\xf0\x9f\x98\x80"));
  CHECK(is_text("abcdefg\xc3\xbc") && !is_text("abcdefg\xc3"));
  CHECK(!value_is_text("a\0b", 3) && !value_is_text("abcdefg\0abcdefgh", 16));
  CHECK(!is_text("\xff") && !is_text("\xc0\x80") && !is_text("\xc3(") && !is_text("\x80"));
  CHECK(!is_text("\xed\xa0\x80") && !is_text("\xf4\x90\x80\x80") && !is_text("\xe2\x82"));
  CHECK(!is_text("\xe0\x80\x80") && !is_text("\xf0\x80\x80\x80") && !is_text("\xf5\x80\x80\x80"));
}

int main(void) {
  test_glob();
  test_glob_cost();
  test_integers();
  test_reals();
  test_text();
  return unit_done();
}
