/*
** test_log_format.c - every value comes back from its line as it went in, every line is spelled the
** way the format says, and no other spelling is accepted.
*/
#include "crc32c.h"
#include "log_format.h"
#include "unit.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>

#define ID "0123456789abcdef"

typedef struct sample {
  const char *bytes;
  size_t size;
} sample;

#define LINE(bytes)                                                                                \
  { (bytes), sizeof(bytes) - 1 }

/* Parse a copy of a line; *copy, which the record points into, is for the caller to free. */
static int parse(const char *bytes, size_t size, log_record *out, kv_error *err, char **copy) {
  *copy = malloc(size + 1);
  if (*copy == NULL) abort();
  memcpy(*copy, bytes, size);
  (*copy)[size] = '\n';
  return log_parse_record(*copy, size, out, err);
}

static kv_value text_of(const char *data, size_t size) {
  kv_value value = {.type = KV_TEXT};
  value.data = data;
  value.size = size;
  return value;
}

/* Write a value, look at the line if `want` is given, read it back, write it again. */
static void round_trip(const char *key, const kv_value *value, const char *want) {
  buf b = {0};
  buf again = {0};
  log_record record;
  kv_error err = {.code = 0, .text = ""};
  char *copy;
  CHECK_INT(log_format_write(&b, key, strlen(key), value), KV_OK);
  if (want != NULL) CHECK_BYTES(b.data, b.size, want, strlen(want));
  CHECK(b.size > 0 && memchr(b.data, '\n', b.size) == b.data + b.size - 1);
  CHECK(memchr(b.data, '\0', b.size) == NULL && memchr(b.data, '\r', b.size) == NULL);
  if (CHECK_INT(parse(b.data, b.size - 1, &record, &err, &copy), KV_OK)) {
    CHECK(record.op == LOG_WRITE);
    CHECK_BYTES(record.key, record.key_size, key, strlen(key));
    CHECK_STR(record.key, key);
    if (CHECK_INT(record.value.type, value->type)) {
      if (value->type == KV_INTEGER) CHECK_INT(record.value.integer, value->integer);
      if (value->type == KV_REAL) CHECK(memcmp(&record.value.real, &value->real, 8) == 0);
      if (value->type == KV_TEXT || value->type == KV_BLOB) {
        CHECK_BYTES(record.value.data, record.value.size, value->data, value->size);
      }
      CHECK_INT(log_format_write(&again, record.key, record.key_size, &record.value), KV_OK);
      CHECK_BYTES(again.data, again.size, b.data, b.size);
    }
  } else {
    printf("  %s\n", err.text);
  }
  free(copy);
  buf_free(&again);
  buf_free(&b);
}

static void round_trip_bytes(const char *key, const char *data, size_t size,
                             const char *want_text) {
  kv_value value = text_of(data, size);
  round_trip(key, &value, want_text);
  value.type = KV_BLOB;
  round_trip(key, &value, NULL);
}

static void text_is_the_original_line(void) {
  kv_value null = {.type = KV_NULL};
  round_trip_bytes("test/val", "this is a test val", 18, "WRITE\ttest/val\tthis is a test val\n");
  round_trip_bytes("a", "", 0, "WRITE\ta\t\n");
  round_trip_bytes("a", NULL, 0, "WRITE\ta\t\n");
  round_trip_bytes("a", "\\\t\n\r\0", 5, "WRITE\ta\t\\\\\\t\\n\\r\\0\n");
  round_trip_bytes("a\tb\\c\nd\re", "x", 1, "WRITE\ta\\tb\\\\c\\nd\\re\tx\n");
  round_trip_bytes("a", "TEXT", 4, "WRITE\ta\tTEXT\n");
  round_trip_bytes("a", "\xff\xfe\x80 \x7f\x01", 6, "WRITE\ta\t\xff\xfe\x80 \x7f\x01\n");
  round_trip_bytes("\xc3\xa4", "\xe2\x82\xac", 3, "WRITE\t\xc3\xa4\t\xe2\x82\xac\n");
  round_trip("a", &null, "WRITE\ta\t\tNULL\n");
  kv_value blob = text_of("", 0);
  blob.type = KV_BLOB;
  round_trip("a", &blob, "WRITE\ta\t\tBLOB\n");
  blob = text_of("\0\t", 2);
  blob.type = KV_BLOB;
  round_trip("a", &blob, "WRITE\ta\t\\0\\t\tBLOB\n");
}

/* Each special byte, and each byte, at each place of data around the width of a vector. */
static void every_byte_at_every_place(void) {
  char data[70];
  for (size_t size = 1; size < sizeof data; size += size < 20 ? 1 : 7) {
    for (size_t at = 0; at < size; at++) {
      memset(data, 'x', sizeof data);
      for (size_t i = 0; i < 5; i++) {
        data[at] = "\\\t\n\r\0"[i];
        round_trip_bytes("k", data, size, NULL);
      }
    }
  }
  memset(data, 'x', sizeof data);
  for (unsigned byte = 0; byte < 256; byte++) {
    data[33] = (char)byte;
    round_trip_bytes("k", data, sizeof data, NULL);
  }
}

static void large_random_values(void) {
  size_t size = 300000;
  char *data = malloc(size);
  uint64_t seed = 3;
  if (!CHECK(data != NULL)) return;
  for (size_t i = 0; i < size; i++) data[i] = (char)(unit_random(&seed) >> 40);
  round_trip_bytes("k", data, size, NULL);
  round_trip_bytes("k", data, 65536, NULL);
  round_trip_bytes("k", data, 65537, NULL);
  for (size_t i = 0; i < size; i++) data[i] = "\\\t\n\r\0"[(unit_random(&seed) >> 40) % 5];
  round_trip_bytes("k", data, size, NULL);
  memset(data, 0, size);
  round_trip_bytes("k", data, size, NULL);
  free(data);
}

static void integers(void) {
  static const struct {
    int64_t n;
    const char *want;
  } samples[] = {
      {0, "WRITE\tn\t0\tINTEGER\n"},
      {7, "WRITE\tn\t7\tINTEGER\n"},
      {-1, "WRITE\tn\t-1\tINTEGER\n"},
      {1000000, "WRITE\tn\t1000000\tINTEGER\n"},
      {INT64_MAX, "WRITE\tn\t9223372036854775807\tINTEGER\n"},
      {INT64_MIN, "WRITE\tn\t-9223372036854775808\tINTEGER\n"},
      {INT64_MIN + 1, "WRITE\tn\t-9223372036854775807\tINTEGER\n"},
  };
  kv_value value = {.type = KV_INTEGER};
  for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
    value.integer = samples[i].n;
    round_trip("n", &value, samples[i].want);
  }
  for (int bit = 0; bit < 64; bit++) {
    for (int step = -1; step <= 1; step++) {
      value.integer = (int64_t)((UINT64_C(1) << bit) + (uint64_t)step);
      round_trip("n", &value, NULL);
    }
  }
}

/* What a REAL must look like, found another way: printf and strtod in the C locale. */
static void expected_real(char *out, size_t room, double real) {
  char number[64] = "Inf";
  if (isinf(real)) {
    snprintf(number, sizeof number, real < 0 ? "-Inf" : "Inf");
  } else {
    for (int precision = 15; precision <= 17; precision++) {
      snprintf(number, sizeof number, "%.*g", precision, real);
      double back = strtod(number, NULL);
      if (memcmp(&back, &real, sizeof real) == 0) break;
    }
  }
  snprintf(out, room, "WRITE\tr\t%s\tREAL\n", number);
}

static const struct {
  double real;
  const char *want;
} reals[] = {
    {0.0, "WRITE\tr\t0\tREAL\n"},
    {-0.0, "WRITE\tr\t-0\tREAL\n"},
    {1.0, "WRITE\tr\t1\tREAL\n"},
    {1.5, "WRITE\tr\t1.5\tREAL\n"},
    {-3.14, "WRITE\tr\t-3.14\tREAL\n"},
    {0.1, "WRITE\tr\t0.1\tREAL\n"},
    {0.1 + 0.2, "WRITE\tr\t0.30000000000000004\tREAL\n"},
    {1.0 / 3, "WRITE\tr\t0.3333333333333333\tREAL\n"},
    {0.0001, "WRITE\tr\t0.0001\tREAL\n"},
    {0.00012345, "WRITE\tr\t0.00012345\tREAL\n"},
    {0.00001, "WRITE\tr\t1e-05\tREAL\n"},
    {100.0, "WRITE\tr\t100\tREAL\n"},
    {123456789012345.0, "WRITE\tr\t123456789012345\tREAL\n"},
    {1e14, "WRITE\tr\t100000000000000\tREAL\n"},
    {1e15, "WRITE\tr\t1e+15\tREAL\n"},
    {1234567890123456.0, "WRITE\tr\t1234567890123456\tREAL\n"},
    {9007199254740993.0, "WRITE\tr\t9007199254740992\tREAL\n"},
    {1e100, "WRITE\tr\t1e+100\tREAL\n"},
    {1e308, "WRITE\tr\t1e+308\tREAL\n"},
    {1.5e-300, "WRITE\tr\t1.5e-300\tREAL\n"},
    {DBL_MAX, "WRITE\tr\t1.7976931348623157e+308\tREAL\n"},
    {-DBL_MAX, "WRITE\tr\t-1.7976931348623157e+308\tREAL\n"},
    {DBL_MIN, "WRITE\tr\t2.2250738585072014e-308\tREAL\n"},
    {DBL_TRUE_MIN, "WRITE\tr\t4.94065645841247e-324\tREAL\n"},
    {INFINITY, "WRITE\tr\tInf\tREAL\n"},
    {-INFINITY, "WRITE\tr\t-Inf\tREAL\n"},
};

static void fixed_reals(void) {
  kv_value value = {.type = KV_REAL};
  for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
    value.real = reals[i].real;
    round_trip("r", &value, reals[i].want);
  }
}

static void random_reals(void) {
  kv_value value = {.type = KV_REAL};
  char want[100];
  uint64_t seed = 11;
  for (int i = 0; i < 30000; i++) {
    uint64_t bits = unit_random(&seed);
    if (i % 5 == 1) bits &= UINT64_C(0x800fffffffffffff); /* subnormal */
    if (i % 5 == 2) bits &= UINT64_C(0xfff0000000000000); /* a power of two */
    memcpy(&value.real, &bits, sizeof bits);
    if (i % 5 == 3) value.real = (double)(int64_t)(bits >> (bits % 64)) / 1000;
    if (i % 5 == 4) value.real = (double)(int32_t)bits;
    if (isnan(value.real)) continue;
    expected_real(want, sizeof want, value.real);
    round_trip("r", &value, want);
  }
}

/* The same spelling wherever the decimal point is a comma. A machine may have no such locale; what
** can be had without one, fixed_reals, has been proved already. */
static void reals_in_a_locale_with_a_comma(void) {
  static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "de_DE",      "fr_FR.UTF-8",
                                      "fr_FR",       "cs_CZ.utf8", "es_ES.utf8", "ru_RU.utf8",
                                      "nl_NL.utf8",  "pl_PL.utf8", "ps_AF",      "fa_IR"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (setlocale(LC_ALL, names[i]) == NULL) continue;
    if (strcmp(localeconv()->decimal_point, ".") != 0) fixed_reals();
  }
  CHECK(setlocale(LC_ALL, "C") != NULL);
}

static const sample malformed_lines[] = {
    LINE(""),
    LINE("W"),
    LINE("WRITE"),
    LINE("WRITE\t"),
    LINE("WRITE\ta"),
    LINE("WRITE\t\tb"),
    LINE("WRITE a\tb"),
    LINE("write\ta\tb"),
    LINE(" WRITE\ta\tb"),
    LINE("WRITE\t/a\tb"),
    LINE("WRITE\ta/\tb"),
    LINE("WRITE\ta//b\tb"),
    LINE("WRITE\t\xff\tb"),
    LINE("WRITE\ta\\0\tb"),
    LINE("WRITE\ta\\a\tb"),
    LINE("WRITE\ta\\\tb"),
    LINE("WRITE\ta\rb\tb"),
    LINE("WRITE\ta\0b\tb"),
    LINE("WRITE\ta\nb\tb"),
    LINE("WRITE\ta\tb\\"),
    LINE("WRITE\ta\t\\a"),
    LINE("WRITE\ta\t\\N"),
    LINE("WRITE\ta\t\\x00"),
    LINE("WRITE\ta\tb\r"),
    LINE("WRITE\ta\tb\0"),
    LINE("WRITE\ta\t0123456789abcdef\r123"),
    LINE("WRITE\ta\tb\t"),
    LINE("WRITE\ta\tb\tTEXT"),
    LINE("WRITE\ta\tb\tblob"),
    LINE("WRITE\ta\tb\tBLOB\t"),
    LINE("WRITE\ta\tb\tBLOB\tx"),
    LINE("WRITE\ta\tb\tBLO"),
    LINE("WRITE\ta\tb\tBLOBS"),
    LINE("WRITE\ta\tb\tNULL"),
    LINE("WRITE\ta\tNULL\tNULL"),
    LINE("WRITE\ta\t\tnull"),
    LINE("WRITE\ta\t\tINTEGER"),
    LINE("WRITE\ta\t-\tINTEGER"),
    LINE("WRITE\ta\t007\tINTEGER"),
    LINE("WRITE\ta\t00\tINTEGER"),
    LINE("WRITE\ta\t+1\tINTEGER"),
    LINE("WRITE\ta\t-0\tINTEGER"),
    LINE("WRITE\ta\t-01\tINTEGER"),
    LINE("WRITE\ta\t--1\tINTEGER"),
    LINE("WRITE\ta\t 1\tINTEGER"),
    LINE("WRITE\ta\t1 \tINTEGER"),
    LINE("WRITE\ta\t1.0\tINTEGER"),
    LINE("WRITE\ta\t1\\n\tINTEGER"),
    LINE("WRITE\ta\t1\tinteger"),
    LINE("WRITE\ta\t0x1\tINTEGER"),
    LINE("WRITE\ta\t9223372036854775808\tINTEGER"),
    LINE("WRITE\ta\t-9223372036854775809\tINTEGER"),
    LINE("WRITE\ta\t18446744073709551616\tINTEGER"),
    LINE("WRITE\ta\t99999999999999999999999\tINTEGER"),
    LINE("WRITE\ta\t\tREAL"),
    LINE("WRITE\ta\t-\tREAL"),
    LINE("WRITE\ta\t.\tREAL"),
    LINE("WRITE\ta\te\tREAL"),
    LINE("WRITE\ta\t1.50\tREAL"),
    LINE("WRITE\ta\t1.0\tREAL"),
    LINE("WRITE\ta\t1.\tREAL"),
    LINE("WRITE\ta\t.5\tREAL"),
    LINE("WRITE\ta\t01.5\tREAL"),
    LINE("WRITE\ta\t+1.5\tREAL"),
    LINE("WRITE\ta\t--1.5\tREAL"),
    LINE("WRITE\ta\t1,5\tREAL"),
    LINE("WRITE\ta\t1.2.3\tREAL"),
    LINE("WRITE\ta\t1.5e0\tREAL"),
    LINE("WRITE\ta\t1.5e+00\tREAL"),
    LINE("WRITE\ta\t15e-01\tREAL"),
    LINE("WRITE\ta\t1e5\tREAL"),
    LINE("WRITE\ta\t1e+05\tREAL"),
    LINE("WRITE\ta\t1E+15\tREAL"),
    LINE("WRITE\ta\t1e+015\tREAL"),
    LINE("WRITE\ta\t1e15\tREAL"),
    LINE("WRITE\ta\t1.0e+15\tREAL"),
    LINE("WRITE\ta\t1000000000000000\tREAL"),
    LINE("WRITE\ta\t0.00001\tREAL"),
    LINE("WRITE\ta\t1e-5\tREAL"),
    LINE("WRITE\ta\t1e-04\tREAL"),
    LINE("WRITE\ta\t0.10000000000000001\tREAL"),
    LINE("WRITE\ta\t0.3333333333333333148\tREAL"),
    LINE("WRITE\ta\t0.33333333333333331\tREAL"),
    LINE("WRITE\ta\t5e-324\tREAL"),
    LINE("WRITE\ta\t1e-400\tREAL"),
    LINE("WRITE\ta\t1e+309\tREAL"),
    LINE("WRITE\ta\t1e+1000\tREAL"),
    LINE("WRITE\ta\t1e+999999999999999999999\tREAL"),
    LINE("WRITE\ta\t0.30000000000000002\tREAL"), /* as long as its double's, 0.30000000000000004 */
    LINE("WRITE\ta\t0.0\tREAL"),
    LINE("WRITE\ta\t00\tREAL"),
    LINE("WRITE\ta\t0e+00\tREAL"),
    LINE("WRITE\ta\tinf\tREAL"),
    LINE("WRITE\ta\tInfinity\tREAL"),
    LINE("WRITE\ta\t+Inf\tREAL"),
    LINE("WRITE\ta\tnan\tREAL"),
    LINE("WRITE\ta\tNaN\tREAL"),
    LINE("WRITE\ta\t-nan\tREAL"),
    LINE("WRITE\ta\t0x1p3\tREAL"),
    LINE("WRITE\ta\t1.5\treal"),
    LINE("WRITE\ta\t1.5 \tREAL"),
    LINE("DELETE"),
    LINE("DELETE\t"),
    LINE("DELETE\ta\t"),
    LINE("DELETE\ta\tb"),
    LINE("DELETE\ta/"),
    LINE("DELETE\ta\\q"),
    LINE("COMMIT"),
    LINE("COMMIT\t"),
    LINE("COMMIT\t1\t0"),
    LINE("COMMIT\t1\t0\t"),
    LINE("COMMIT\t1\t0\t0123456"),
    LINE("COMMIT\t1\t0\t012345678"),
    LINE("COMMIT\t1\t0\t0123456g"),
    LINE("COMMIT\t1\t0\t0123456A"),
    LINE("COMMIT\t1\t0\t01234567\t"),
    LINE("COMMIT\t1\t0\t01234567\r"),
    LINE("COMMIT\t1\t1\t01234567"),
    LINE("COMMIT\t1\t2\t01234567"),
    LINE("COMMIT\t0\t0\t01234567"),
    LINE("COMMIT\t01\t0\t01234567"),
    LINE("COMMIT\t1\t00\t01234567"),
    LINE("COMMIT\t1\t\t01234567"),
    LINE("COMMIT\t\t0\t01234567"),
    LINE("COMMIT\t12345678\t01234567"),
    LINE("COMMIT\t1 \t0\t01234567"),
    LINE("COMMIT\t-1\t0\t01234567"),
    LINE("COMMIT\t9223372036854775808\t0\t01234567"),
    LINE("COMMIT\t18446744073709551616\t0\t01234567"),
    LINE("COMMIT\t99999999999999999999\t0\t01234567"),
    LINE("COMMIT\t18446744073709551615\t18446744073709551616\t01234567"),
};

static void other_spellings_are_malformed(void) {
  for (size_t i = 0; i < sizeof malformed_lines / sizeof *malformed_lines; i++) {
    const sample *l = &malformed_lines[i];
    log_record record;
    kv_error err = {.code = 0, .text = ""};
    char *copy;
    if (!CHECK_INT(parse(l->bytes, l->size, &record, &err, &copy), KV_EDAMAGED)) {
      unit_show("line", l->bytes, l->size);
    }
    CHECK_INT(err.code, KV_EDAMAGED);
    CHECK(strncmp(err.text, "malformed line: ", 16) == 0 && strlen(err.text) > 16);
    free(copy);
    CHECK_INT(parse(l->bytes, l->size, &record, NULL, &copy), KV_EDAMAGED);
    free(copy);
    CHECK(!log_parse_commit(l->bytes, l->size, &record));
  }
}

/* Whatever one changed byte makes of a good line: it is refused, or it is what would be written. */
static void changed_lines_are_canonical_or_refused(void) {
  static const sample lines[] = {
      LINE("WRITE\ta/b\tx\\ty"),
      LINE("WRITE\tn\t-120\tINTEGER"),
      LINE("WRITE\tr\t1.25e-07\tREAL"),
      LINE("WRITE\tr\t0.1\tREAL"),
      LINE("WRITE\tb\t\\0\tBLOB"),
      LINE("WRITE\tz\t\tNULL"),
      LINE("DELETE\ta/b"),
  };
  char changed[64];
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    for (size_t at = 0; at < lines[i].size; at++) {
      for (unsigned byte = 0; byte < 256; byte++) {
        log_record record;
        buf b = {0};
        char *copy;
        memcpy(changed, lines[i].bytes, lines[i].size);
        changed[at] = (char)byte;
        if (parse(changed, lines[i].size, &record, NULL, &copy) == KV_OK) {
          if (record.op == LOG_DELETE) {
            CHECK_INT(log_format_delete(&b, record.key, record.key_size), KV_OK);
          } else {
            CHECK_INT(log_format_write(&b, record.key, record.key_size, &record.value), KV_OK);
          }
          CHECK_BYTES(b.data, b.size - 1, changed, lines[i].size);
        }
        buf_free(&b);
        free(copy);
      }
    }
  }
}

/* Where the LF should be there may be anything; an escape does not reach beyond the line. */
static void escape_at_the_end(void) {
  log_record record;
  char line[] = "WRITE\ta\tb\\t";
  CHECK_INT(log_parse_record(line, sizeof line - 2, &record, NULL), KV_EDAMAGED);
  CHECK_INT(log_parse_record(line, sizeof line - 1, &record, NULL), KV_OK);
  CHECK_BYTES(record.value.data, record.value.size, "b\t", 2);
}

static void errors_say_what(void) {
  log_record record;
  kv_error err;
  char *copy;
  parse("WRITE\ta\t007\tINTEGER", 19, &record, &err, &copy);
  CHECK_STR(err.text, "malformed line: INTEGER data is '007'");
  free(copy);
  parse("WRITE\ta//b\tx", 12, &record, &err, &copy);
  CHECK_STR(err.text, "malformed line: invalid keypath 'a//b': empty segment at byte 2");
  free(copy);
  parse("hello\tworld", 11, &record, &err, &copy);
  CHECK_STR(err.text, "malformed line: unknown operation 'hello?world'");
  free(copy);
  parse("WRITE\ta\tb\\qc", 12, &record, &err, &copy);
  CHECK_STR(err.text, "malformed line: data has a wrong escape at '\\q'");
  free(copy);
}

static void deletes(void) {
  buf b = {0};
  log_record record;
  char *copy;
  CHECK_INT(log_format_delete(&b, "a\t/b", 4), KV_OK);
  CHECK_BYTES(b.data, b.size, "DELETE\ta\\t/b\n", 13);
  CHECK_INT(parse(b.data, b.size - 1, &record, NULL, &copy), KV_OK);
  CHECK(record.op == LOG_DELETE);
  CHECK_BYTES(record.key, record.key_size, "a\t/b", 4);
  free(copy);
  buf_free(&b);
}

static void commits(void) {
  static const struct {
    uint64_t seq, durable_seq;
    const char *begin;
  } samples[] = {
      {1, 0, "COMMIT\t1\t0\t"},
      {1000, 998, "COMMIT\t1000\t998\t"},
      {LOG_SEQ_MAX, LOG_SEQ_MAX - 1, "COMMIT\t9223372036854775807\t9223372036854775806\t"}};
  for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
    buf b = {0};
    log_record record;
    char covered[256];
    char *copy;
    const char *ops = "WRITE\ttest/val\tthis is a test val\n";
    size_t start = strlen("something before\n");
    CHECK_INT(buf_append(&b, "something before\n", start), KV_OK);
    CHECK_INT(buf_append(&b, ops, strlen(ops)), KV_OK);
    CHECK_INT(log_format_commit(&b, start, ID, samples[i].seq, samples[i].durable_seq), KV_OK);
    int size = snprintf(covered, sizeof covered, "%s%s%s", ID, ops, samples[i].begin);
    snprintf(covered + size, sizeof covered - (size_t)size, "%08x\n",
             (unsigned)crc32c(0, covered, (size_t)size));
    CHECK_BYTES(b.data + start, b.size - start, covered + LOG_ID_SIZE,
                strlen(covered) - LOG_ID_SIZE);
    char *commit = b.data + start + strlen(ops);
    size_t commit_size = (size_t)(b.data + b.size - commit) - 1;
    CHECK(log_parse_commit(commit, commit_size, &record));
    CHECK(record.op == LOG_COMMIT && record.seq == samples[i].seq);
    CHECK(record.durable_seq == samples[i].durable_seq);
    CHECK_INT(record.crc_offset, strlen(samples[i].begin));
    CHECK_INT(record.crc, crc32c(0, covered, (size_t)size));
    CHECK(!log_parse_commit(commit, commit_size + 1, &record));
    CHECK_INT(parse(commit, commit_size, &record, NULL, &copy), KV_OK);
    CHECK(record.op == LOG_COMMIT && record.seq == samples[i].seq);
    free(copy);
    buf_free(&b);
  }
}

static void headers(void) {
  log_header header = {.id = ID, .base_seq = 42};
  log_header back;
  char line[LOG_HEADER_SIZE_MAX + 1];
  char want[100];
  int covered = snprintf(want, sizeof want, "KVSTORE\t1\t" ID "\t42\t");
  uint64_t version = 0;
  snprintf(want + covered, 20, "%08x\n", (unsigned)crc32c(0, want, (size_t)covered));
  size_t size = log_format_header(line, &header);
  CHECK_BYTES(line, size, want, strlen(want));
  CHECK_INT(log_parse_header(line, size - 1, &back, &version), KV_OK);
  CHECK_STR(back.id, ID);
  CHECK_INT(back.base_seq, 42);
  CHECK_INT(version, 0);
  for (size_t at = 0; at < size - 1; at++) { /* no flipped bit passes */
    for (int bit = 0; bit < 8; bit++) {
      line[at] = (char)(line[at] ^ (1 << bit));
      int rc = log_parse_header(line, size - 1, &back, NULL);
      CHECK(at < 8 ? rc == KV_EFOREIGN : rc == KV_EDAMAGED || (at == 8 && rc == KV_EVERSION));
      line[at] = (char)(line[at] ^ (1 << bit));
    }
  }
  for (size_t cut = 0; cut < size - 1; cut++) {
    int rc = log_parse_header(line, cut, &back, &version);
    CHECK_INT(rc, cut < 8 ? KV_EFOREIGN : KV_EDAMAGED);
  }
  CHECK_INT(log_parse_header(line, size, &back, NULL), KV_EDAMAGED);
  CHECK_INT(version, 0);
  CHECK_INT(log_parse_header("KVSTORE\t2\twhatever", 18, &back, &version), KV_EVERSION);
  CHECK_INT(version, 2);
  CHECK_INT(log_parse_header("KVSTORE\t17", 10, &back, &version), KV_EVERSION);
  CHECK_INT(version, 17);
  CHECK_INT(log_parse_header("KVSTORE\t01\t" ID "\t42\t", 31, &back, &version), KV_EDAMAGED);
  CHECK_INT(log_parse_header("KVSTORE\tx\t", 10, &back, &version), KV_EDAMAGED);
  CHECK_INT(log_parse_header("WRITE\ta\tb", 9, &back, &version), KV_EFOREIGN);
  CHECK_INT(log_parse_header("", 0, &back, &version), KV_EFOREIGN);
  header.base_seq = LOG_SEQ_MAX - 1;
  size = log_format_header(line, &header);
  CHECK_INT(log_parse_header(line, size - 1, &back, NULL), KV_OK);
  CHECK(back.base_seq == LOG_SEQ_MAX - 1);
  header.base_seq = LOG_SEQ_MAX;
  size = log_format_header(line, &header);
  CHECK_INT(log_parse_header(line, size - 1, &back, NULL), KV_EDAMAGED);
}

int main(void) {
  text_is_the_original_line();
  every_byte_at_every_place();
  large_random_values();
  integers();
  fixed_reals();
  random_reals();
  reals_in_a_locale_with_a_comma();
  other_spellings_are_malformed();
  changed_lines_are_canonical_or_refused();
  escape_at_the_end();
  errors_say_what();
  deletes();
  commits();
  headers();
  return unit_done();
}
