/*
** fuzz_words.c - numbers, texts and options as people type them, against naive readings.
**
** The first byte says which: 'i' an integer, 'r' a floating-point number, 't' whether the bytes are a
** TEXT, 'd' the eight bytes of a double to be given out as text, and anything else the words of a command
** line, one a line.
*/
#include "cli/options.h"
#include "cli/value.h"
#include "fuzz_help.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>

static void check_integer(const char *text, size_t size) {
  char copy[64], again[64], *end;
  int64_t number = 7;
  bool is_number = value_parse_integer(text, size, &number), want = false;
  long long wanted = 7;
  if (size > 0 && size < sizeof copy && memchr(text, '\0', size) == NULL) {
    memcpy(copy, text, size);
    copy[size] = '\0';
    errno = 0;
    wanted = strtoll(copy, &end, 10);
    (void)snprintf(again, sizeof again, "%lld", wanted); /* the one spelling of it */
    want = errno == 0 && *end == '\0' && strcmp(copy, again) == 0;
  }
  FUZZ_CHECK(is_number == want, "%.*s", (int)size, text);
  FUZZ_CHECK(number == (want ? wanted : 7), "%" PRId64 ", not %lld", number, wanted);
}

static void check_real(const char *text, size_t size) {
  static char out[VALUE_REAL_TEXT_MAX], again_out[VALUE_REAL_TEXT_MAX];
  long double number, again;
  if (!value_parse_real(text, size, &number)) return;
  FUZZ_CHECK(!isnan(number) && memchr(text, '\0', size) == NULL, "no number: '%s'", text);
  size_t out_size = value_from_real(out, number);
  FUZZ_CHECK(out_size > 0 && out_size < sizeof out && strlen(out) == out_size, "%zu", out_size);
  if (isinf(number)) return;
  FUZZ_CHECK(strspn(out, "-0123456789.") == out_size, "'%s' has an exponent", out);
  const char *point = strchr(out, '.');
  FUZZ_CHECK(point == NULL || out[out_size - 1] > '0', "'%s' ends in zeros", out);
  if (out_size >= 256) return; /* too long to be read back */
  FUZZ_CHECK(value_parse_real(out, out_size, &again), "'%s' is not read back", out);
  FUZZ_CHECK(fabsl(again - number) <= 1e-17L + fabsl(number) * 1e-15L, "'%s' is another", out);
  (void)value_from_real(again_out, again);
  FUZZ_CHECK(strcmp(out, again_out) == 0, "'%s', then '%s'", out, again_out);
}

static void check_double(const char *bytes, size_t size) {
  double real = 0, back;
  char scratch[VALUE_TEXT_MAX], text[VALUE_TEXT_MAX + 1];
  const char *data;
  memcpy(&real, bytes, size < sizeof real ? size : sizeof real);
  if (isnan(real)) return;
  kv_value value = {.type = KV_REAL, .real = real};
  FUZZ_CHECK(value_bytes(&value, scratch, &data, &size), "a REAL has no bytes");
  FUZZ_CHECK(size > 0 && size < sizeof scratch, "%zu bytes", size);
  (void)snprintf(text, sizeof text, "%.*s", (int)size, data);
  back = strtod(text, NULL);
  FUZZ_CHECK(back == real && signbit(back) == signbit(real), "'%s' is not %a", text, real);
  FUZZ_CHECK(isinf(real) || strchr(text, '.') != NULL, "'%s' looks like an INTEGER", text);
}

/* Whether the bytes are UTF-8 without a NUL, by decoding each character and encoding it again. */
static bool is_text(const unsigned char *at, size_t size) {
  while (size > 0) {
    uint32_t point = at[0];
    size_t n = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    unsigned char again[4] = {at[0]};
    if (at[0] == 0 || (at[0] & 0xc0) == 0x80 || at[0] > 0xf7 || n > size) return false;
    if (n > 1) point &= 0x7fu >> n;
    for (size_t i = 1; i < n; i++) point = point << 6 | (at[i] & 0x3fu);
    if (point > 0x10ffff || (point >> 11) == 0x1b) return false;
    size_t least = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, point >>= 6) again[i] = (unsigned char)(0x80 | (point & 63));
    if (n != least || memcmp(again, at, n) != 0) return false;
    at += n, size -= n;
  }
  return true;
}

#define WORDS_MAX 20

/* Whatever the words are, options_parse says how many are none of its options, or that something is
** wrong with them; numbers are within their limits. */
static void check_options(char *text, size_t size) {
  static FILE *silence;
  unsigned number = 5, large = 1;
  kv_sync mode = KV_SYNC_FULL;
  bool flag = false;
  const char *name = NULL, *secret = NULL, *words[3];
  const option options[] = {{"number", OPTION_NUMBER, &number, 2, 1000, "N", ""},
                            {"large", OPTION_NUMBER, &large, 0, 4294967295u, "N", ""},
                            {"mode", OPTION_SYNCHRONOUS, &mode, 0, 0, "MODE", ""},
                            {"flag", OPTION_FLAG, &flag, 0, 0, NULL, ""},
                            {"name", OPTION_TEXT, &name, 0, 0, "NAME", ""},
                            {"secret", OPTION_SECRET, &secret, 0, 0, "SECRET", ""},
                            {NULL, OPTION_FLAG, NULL, 0, 0, NULL, NULL}};
  char *argv[WORDS_MAX + 1];
  int argc = 0;
  for (char *at = text, *end = text + size; at < end && argc < WORDS_MAX; argc++) {
    argv[argc] = fuzz_copy(at, strlen(at) + 1);
    at += strlen(at) + 1;
  }
  FILE *was = stderr;
  if (silence == NULL) silence = fopen("/dev/null", "w");
  stderr = silence;
  int count = options_parse(options, argc, argv, words, 3);
  stderr = was;
  FUZZ_CHECK(count >= -1 && count <= 3, "%d words", count);
  FUZZ_CHECK(number >= 2 && number <= 1000, "--number %u", number);
  for (int i = 0; i < count; i++) {
    bool found = false;
    for (int n = 0; n < argc; n++) found = found || words[i] == argv[n];
    FUZZ_CHECK(found, "'%s' is none of the words", words[i]);
  }
  if (secret != NULL) {
    for (int n = 0; n < argc; n++) FUZZ_CHECK(secret != argv[n], "the secret is where ps sees it");
  }
  for (int n = 0; n < argc; n++) free(argv[n]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  char *text = fuzz_copy(data + 1, size - 1);
  size--;
  switch (data[0]) {
  case 'i':
    check_integer(text, size);
    break;
  case 'r':
    check_real(text, size);
    break;
  case 'd':
    check_double(text, size);
    break;
  case 't':
    FUZZ_CHECK(value_is_text(text, size) == is_text((unsigned char *)text, size), "TEXT or not");
    break;
  default:
    if (size > 0) text[size - 1] = '\0';
    for (size_t i = 0; i < size; i++) text[i] = (char)(text[i] == '\n' ? '\0' : text[i]);
    check_options(text, size);
  }
  free(text);
  return 0;
}
