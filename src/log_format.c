/*
** log_format.c - spelling the lines of a log and reading them back. The grammar is in log_format.h.
**
** A log is text so that a person can read it, and it has one spelling for each thing so that a
** machine can trust it: what is read here would be written back byte for byte. That is kept up
** without writing anything back, by accepting only canonical pieces:
**
**   escapes   a field holds none of the five special bytes as it is, and a backslash only in front
**             of one of the five letters;
**   integers  no sign but '-', no leading zero, no "-0", nothing beyond the type's range;
**   REAL      the digits are those number_of_real finds, laid out as layout_real does.
**
** How a REAL is spelled. Its digits are those of printf's %.15g if they read back as the same
** double, else those of %.16g, else of %.17g, which always do. They are laid out as %g would: an
** exponent if it is < -4 or not less than the precision, no trailing zeros, so 1.0 is "1", -0.0 is
** "-0" and 1e15 is "1e+15". printf writes, and strtod expects, the decimal point of the locale,
** which another thread may be changing; neither is ever shown one: digits are picked from printf's
** %e around it, and given to strtod as a whole number with an exponent, "314e-2".
**
** A decimal of up to 15 digits in the range of normal doubles is always its double's spelling
** (DBL_DIG); only longer ones and subnormals must be printed to be verified.
**
** Errors: KV_ENOMEM leaves the buf as it was. A line that does not parse may be half unescaped.
*/
#include "log_format.h"

#include "crc32c.h"
#include "keypath.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define CRC_SIZE 8               /* hex digits */
#define INTEGER_SIZE_MAX 20      /* "-9223372036854775808", "18446744073709551615" */
#define REAL_DIGITS_MAX 17       /* what any double needs at most */
#define REAL_SIZE_MAX 32         /* "-1.7976931348623157e+308" is 24 */
#define ESCAPE_CHUNK_SIZE 65536u /* input bytes for which twice the room is reserved at a time */
#define QUOTED_SIZE_MAX 40       /* bytes of malformed data that an error shows */

#define WRITE_WORD "WRITE\t"
#define DELETE_WORD "DELETE\t"
#define COMMIT_WORD "COMMIT\t"
#define HEADER_WORD "KVSTORE\t"
#define WORD_SIZE(word) (sizeof(word) - 1)

static bool begins_with(const char *at, const char *end, const char *word, size_t word_size) {
  return (size_t)(end - at) >= word_size && memcmp(at, word, word_size) == 0;
}

/* ---- escapes ---- */

/* The letter that stands for a special byte behind a backslash; 0 for all other bytes. */
static const char escape_letter[256] = {
    ['\\'] = '\\', ['\t'] = 't', ['\n'] = 'n', ['\r'] = 'r', ['\0'] = '0'};

/* The first special byte from `at` on, or end. */
static inline const char *find_special(const char *at, const char *end) {
#if defined(__SSE2__)
  for (; end - at >= 16; at += 16) {
    __m128i bytes = _mm_loadu_si128((const void *)at);
    __m128i found =
        _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')),
                                  _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t'))),
                     _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\n')),
                                               _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\r'))),
                                  _mm_cmpeq_epi8(bytes, _mm_setzero_si128())));
    int mask = _mm_movemask_epi8(found);
    if (mask != 0) return at + __builtin_ctz((unsigned)mask);
  }
#endif
  while (at < end && escape_letter[(unsigned char)*at] == 0) at++;
  return at;
}

/* Append size bytes, escaped. On failure part of them may be in the buf. */
static int append_escaped(buf *b, const char *data, size_t size) {
  while (size > 0) {
    size_t chunk = size < ESCAPE_CHUNK_SIZE ? size : ESCAPE_CHUNK_SIZE;
    if (buf_reserve(b, 2 * chunk) != KV_OK) return KV_ENOMEM;
    char *to = b->data + b->size;
    for (const char *at = data, *end = data + chunk; at < end;) {
      const char *special = find_special(at, end);
      memcpy(to, at, (size_t)(special - at));
      to += special - at;
      at = special;
      if (at == end) break;
      *to++ = '\\';
      *to++ = escape_letter[(unsigned char)*at++];
    }
    b->size = (size_t)(to - b->data);
    data += chunk;
    size -= chunk;
  }
  return KV_OK;
}

/* The byte that an escape's letter stands for, or -1. */
static int unescape_letter(char letter) {
  switch (letter) {
  case '\\':
    return '\\';
  case 't':
    return '\t';
  case 'n':
    return '\n';
  case 'r':
    return '\r';
  case '0':
    return '\0';
  default:
    return -1;
  }
}

/* Unescape, in place, the field that starts at field and ends with a TAB or at end. Returns where
** it ended in the line, with its new size in *size; NULL if it is malformed at *size. */
static char *unescape_field(char *field, char *end, size_t *size) {
  char *to = field;
  for (char *at = field;;) {
    char *special = field + (find_special(at, end) - field);
    if (to != at) memmove(to, at, (size_t)(special - at));
    to += special - at;
    if (special == end || *special == '\t') {
      *size = (size_t)(to - field);
      return special;
    }
    int byte = *special == '\\' && special + 1 < end ? unescape_letter(special[1]) : -1;
    if (byte < 0) {
      *size = (size_t)(special - field);
      return NULL;
    }
    *to++ = (char)byte;
    at = special + 2;
  }
}

/* ---- numbers ---- */

/* Write n in decimal, at most INTEGER_SIZE_MAX bytes; return how many. */
static size_t put_unsigned(char *out, uint64_t n) {
  char digits[INTEGER_SIZE_MAX];
  size_t at = sizeof digits;
  do {
    digits[--at] = (char)('0' + n % 10);
    n /= 10;
  } while (n > 0);
  memcpy(out, digits + at, sizeof digits - at);
  return sizeof digits - at;
}

static size_t put_integer(char *out, int64_t n) {
  if (n >= 0) return put_unsigned(out, (uint64_t)n);
  out[0] = '-';
  return 1 + put_unsigned(out + 1, 0 - (uint64_t)n);
}

/* Read a whole run of digits as a number: no leading zero, no overflow. */
static bool parse_unsigned(const char *at, const char *end, uint64_t *out) {
  uint64_t n = 0;
  if (at == end || end - at > INTEGER_SIZE_MAX || (*at == '0' && end - at > 1)) return false;
  for (; at < end; at++) {
    unsigned digit = (unsigned)(unsigned char)*at - '0';
    if (digit > 9 || n > UINT64_MAX / 10 || n * 10 > UINT64_MAX - digit) return false;
    n = n * 10 + digit;
  }
  *out = n;
  return true;
}

static bool parse_integer(const char *at, const char *end, int64_t *out) {
  bool negative = at < end && *at == '-';
  uint64_t n;
  if (!parse_unsigned(at + negative, end, &n)) return false;
  if (negative ? n == 0 || n > (uint64_t)INT64_MAX + 1 : n > INT64_MAX) return false;
  /* -n for all n up to 2^63, without overflow on the way */
  *out = negative ? -(int64_t)(n - 1) - 1 : (int64_t)n;
  return true;
}

static void put_crc(char out[CRC_SIZE], uint32_t crc) {
  for (int i = CRC_SIZE - 1; i >= 0; i--, crc >>= 4) out[i] = "0123456789abcdef"[crc & 15];
}

/* One more than the value of a lower-case hex digit; 0 for all other bytes. A table, because a
** branch on the digits of a checksum is one that no processor can foresee. */
static const unsigned char hex_value_plus_1[256] = {
    ['0'] = 1, ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9, ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16};

static bool parse_crc(const char *at, uint32_t *out) {
  uint32_t crc = 0;
  bool good = true;
  for (int i = 0; i < CRC_SIZE; i++) {
    uint32_t plus_1 = hex_value_plus_1[(unsigned char)at[i]];
    good &= plus_1 != 0;
    crc = crc << 4 | ((plus_1 - 1) & 15);
  }
  if (good) *out = crc;
  return good;
}

/* ---- REAL ---- */

/* (-1)^negative * d.ddd * 10^exponent; the first and the last digit are not 0, and zero is the one
** digit 0 with exponent 0. */
typedef struct decimal {
  bool negative;
  int count; /* of digits */
  int exponent;
  char digits[REAL_DIGITS_MAX];
} decimal;

/* The double next to d; infinite if d is beyond all of them. */
static double real_of_decimal(const decimal *d) {
  char text[REAL_DIGITS_MAX + INTEGER_SIZE_MAX + 4];
  char *to = text;
  *to = '-';
  to += d->negative;
  memcpy(to, d->digits, (size_t)d->count);
  to += d->count;
  *to++ = 'e';
  to += put_integer(to, d->exponent - (d->count - 1));
  *to = '\0';
  return strtod(text, NULL);
}

/* The digits of a finite double that its one spelling has. */
static void decimal_of_real(decimal *out, double real) {
  for (int precision = DBL_DIG;; precision++) {
    assert(precision <= REAL_DIGITS_MAX && "17 digits tell any two doubles apart");
    char text[REAL_SIZE_MAX];
    int size = snprintf(text, sizeof text, "%.*e", precision - 1, fabs(real));
    assert(size > precision && size < (int)sizeof text);
    const char *e = memchr(text, 'e', (size_t)size);
    assert(e != NULL && e - text > precision); /* digit, point of any size, digits */
    out->negative = signbit(real) != 0;
    out->digits[0] = text[0];
    memcpy(out->digits + 1, e - (precision - 1), (size_t)precision - 1);
    out->exponent = atoi(e + 1);
    out->count = precision;
    while (out->count > 1 && out->digits[out->count - 1] == '0') out->count--;
    double back = real_of_decimal(out);
    if (memcmp(&back, &real, sizeof real) == 0) return;
  }
}

/* Write d as %g would; return the size. */
static size_t layout_real(char out[REAL_SIZE_MAX], const decimal *d) {
  char *to = out;
  int precision = d->count > DBL_DIG ? d->count : DBL_DIG;
  *to = '-';
  to += d->negative;
  if (d->exponent < -4 || d->exponent >= precision) {
    int size = d->exponent < 0 ? -d->exponent : d->exponent;
    *to++ = d->digits[0];
    if (d->count > 1) *to++ = '.';
    memcpy(to, d->digits + 1, (size_t)d->count - 1);
    to += d->count - 1;
    *to++ = 'e';
    *to++ = d->exponent < 0 ? '-' : '+';
    if (size < 10) *to++ = '0';
    to += put_unsigned(to, (uint64_t)size);
    return (size_t)(to - out);
  }
  int before = d->exponent + 1; /* digits in front of the point */
  if (before <= 0) {
    *to++ = '0';
    *to++ = '.';
    for (int i = before; i < 0; i++) *to++ = '0';
  }
  for (int i = 0; i < d->count || i < before; i++) {
    if (i > 0 && i == before) *to++ = '.';
    *to++ = i < d->count ? d->digits[i] : '0';
  }
  return (size_t)(to - out);
}

static size_t put_real(char out[REAL_SIZE_MAX], double real) {
  decimal d;
  assert(!isnan(real));
  if (isinf(real)) {
    size_t size = real < 0 ? 4 : 3;
    memcpy(out, real < 0 ? "-Inf" : "Inf", size);
    return size;
  }
  decimal_of_real(&d, real);
  return layout_real(out, &d);
}

/* Take a decimal's digits and exponent from text that looks like a REAL; its exact layout is
** verified by writing it again. */
static bool parse_decimal(decimal *out, const char *at, const char *end) {
  char digits[REAL_SIZE_MAX];
  int count = 0;
  int before = -1; /* digits in front of the point */
  out->negative = at < end && *at == '-';
  for (at += out->negative; at < end && *at != 'e'; at++) {
    if (*at == '.' && before < 0) {
      before = count;
    } else if (*at >= '0' && *at <= '9') {
      digits[count++] = *at;
    } else {
      return false;
    }
  }
  uint64_t shift = 0;
  bool down = false;
  if (at < end) { /* e, sign, and at least two digits, of which one may be a leading zero */
    if (end - at < 4) return false;
    down = at[1] == '-';
    at += at[2] == '0' ? 3 : 2;
    if (!parse_unsigned(at, end, &shift) || shift > 999) return false;
  }
  if (count == 0) return false;
  if (before < 0) before = count;
  int first = 0;
  while (first < count - 1 && digits[first] == '0') first++;
  while (count > first + 1 && digits[count - 1] == '0') count--;
  if (count - first > REAL_DIGITS_MAX) return false;
  out->count = count - first;
  out->exponent = digits[first] == '0' ? 0 : before - first - 1 + (down ? -1 : 1) * (int)shift;
  memcpy(out->digits, digits + first, (size_t)out->count);
  return true;
}

static bool parse_real(const char *at, const char *end, double *out) {
  char again[REAL_SIZE_MAX];
  decimal d;
  decimal shortest;
  size_t size = (size_t)(end - at);
  if (size == 3 && memcmp(at, "Inf", 3) == 0) {
    *out = (double)INFINITY;
    return true;
  }
  if (size == 4 && memcmp(at, "-Inf", 4) == 0) {
    *out = -(double)INFINITY;
    return true;
  }
  if (size >= REAL_SIZE_MAX || !parse_decimal(&d, at, end)) return false;
  if (layout_real(again, &d) != size || memcmp(again, at, size) != 0) return false;
  double real = real_of_decimal(&d);
  if (isinf(real)) return false;
  if (d.count > DBL_DIG || fabs(real) < DBL_MIN) {
    decimal_of_real(&shortest, real);
    if (shortest.count != d.count || shortest.exponent != d.exponent ||
        memcmp(shortest.digits, d.digits, (size_t)d.count) != 0) {
      return false;
    }
  }
  *out = real;
  return true;
}

/* ---- the header ---- */

size_t log_format_header(char out[LOG_HEADER_SIZE_MAX], const log_header *header) {
  static const char begin[] = HEADER_WORD "1\t";
  char *to = out;
  assert(strlen(header->id) == LOG_ID_SIZE);
  memcpy(to, begin, WORD_SIZE(begin));
  to += WORD_SIZE(begin);
  memcpy(to, header->id, LOG_ID_SIZE);
  to += LOG_ID_SIZE;
  *to++ = '\t';
  to += put_unsigned(to, header->base_seq);
  *to++ = '\t';
  put_crc(to, crc32c(0, out, (size_t)(to - out)));
  to += CRC_SIZE;
  *to++ = '\n';
  assert(to - out <= LOG_HEADER_SIZE_MAX);
  return (size_t)(to - out);
}

int log_parse_header(const char *line, size_t size, log_header *out, uint64_t *version) {
  const char *end = line + size;
  log_header header;
  uint64_t number;
  uint32_t crc;
  if (!begins_with(line, end, HEADER_WORD, WORD_SIZE(HEADER_WORD))) return KV_EFOREIGN;
  const char *at = line + WORD_SIZE(HEADER_WORD);
  const char *tab = memchr(at, '\t', (size_t)(end - at));
  if (!parse_unsigned(at, tab != NULL ? tab : end, &number)) return KV_EDAMAGED;
  if (number != 1) {
    if (version != NULL) *version = number;
    return KV_EVERSION;
  }
  if (tab == NULL || end - tab < 1 + LOG_ID_SIZE + 1 + 1 + 1 + CRC_SIZE) return KV_EDAMAGED;
  at = tab + 1;
  for (int i = 0; i < LOG_ID_SIZE; i++) {
    if (hex_value_plus_1[(unsigned char)at[i]] == 0) return KV_EDAMAGED;
  }
  memcpy(header.id, at, LOG_ID_SIZE);
  header.id[LOG_ID_SIZE] = '\0';
  at += LOG_ID_SIZE;
  const char *crc_at = end - CRC_SIZE;
  if (*at != '\t' || crc_at[-1] != '\t') return KV_EDAMAGED;
  if (!parse_unsigned(at + 1, crc_at - 1, &header.base_seq)) return KV_EDAMAGED;
  if (header.base_seq >= LOG_SEQ_MAX) return KV_EDAMAGED;
  if (!parse_crc(crc_at, &crc)) return KV_EDAMAGED;
  if (crc != crc32c(0, line, (size_t)(crc_at - line))) return KV_EDAMAGED;
  *out = header;
  return KV_OK;
}

/* ---- writing records ---- */

/* What stands behind the data of a value, TAB included; nothing behind a text. */
static const char *type_tail(kv_type type, size_t *size) {
  switch (type) {
  case KV_NULL:
    *size = 5;
    return "\tNULL";
  case KV_INTEGER:
    *size = 8;
    return "\tINTEGER";
  case KV_REAL:
    *size = 5;
    return "\tREAL";
  case KV_BLOB:
    *size = 5;
    return "\tBLOB";
  case KV_TEXT:
    break;
  }
  *size = 0;
  return "";
}

/* Append a line's word and key. On failure part of them may be in the buf. */
static int append_key(buf *b, const char *word, size_t word_size, const char *key,
                      size_t key_size) {
  assert(keypath_check(key, key_size, NULL) == KV_OK);
  if (buf_append(b, word, word_size) != KV_OK) return KV_ENOMEM;
  return append_escaped(b, key, key_size);
}

/* Append a value's data. On failure part of it may be in the buf. */
static int append_data(buf *b, const kv_value *value) {
  char number[REAL_SIZE_MAX];
  switch (value->type) {
  case KV_INTEGER:
    return buf_append(b, number, put_integer(number, value->integer));
  case KV_REAL:
    return buf_append(b, number, put_real(number, value->real));
  case KV_TEXT:
  case KV_BLOB:
    assert(value->size <= KV_VALUE_SIZE_MAX);
    return append_escaped(b, value->data, value->size);
  case KV_NULL:
    break;
  }
  return KV_OK;
}

int log_format_write(buf *b, const char *key, size_t key_size, const kv_value *value) {
  size_t size_before = b->size;
  size_t tail_size;
  const char *tail = type_tail(value->type, &tail_size);
  int rc = append_key(b, WRITE_WORD, WORD_SIZE(WRITE_WORD), key, key_size);
  if (rc == KV_OK) rc = buf_append(b, "\t", 1);
  if (rc == KV_OK) rc = append_data(b, value);
  if (rc == KV_OK) rc = buf_append(b, tail, tail_size);
  if (rc == KV_OK) rc = buf_append(b, "\n", 1);
  if (rc != KV_OK) b->size = size_before;
  return rc;
}

int log_format_delete(buf *b, const char *key, size_t key_size) {
  size_t size_before = b->size;
  int rc = append_key(b, DELETE_WORD, WORD_SIZE(DELETE_WORD), key, key_size);
  if (rc == KV_OK) rc = buf_append(b, "\n", 1);
  if (rc != KV_OK) b->size = size_before;
  return rc;
}

int log_format_commit_end(buf *b, uint32_t crc) {
  if (buf_reserve(b, LOG_COMMIT_END_SIZE) != KV_OK) return KV_ENOMEM;
  put_crc(b->data + b->size, crc);
  b->data[b->size + CRC_SIZE] = '\n';
  b->size += LOG_COMMIT_END_SIZE;
  return KV_OK;
}

int log_format_commit(buf *b, size_t start, const char *id, uint64_t seq, uint64_t durable_seq) {
  assert(strlen(id) == LOG_ID_SIZE);
  return log_format_commit_after(b, start, crc32c(0, id, LOG_ID_SIZE), seq, durable_seq);
}

int log_format_commit_after(buf *b, size_t start, uint32_t crc, uint64_t seq,
                            uint64_t durable_seq) {
  assert(start <= b->size && durable_seq < seq);
  if (buf_reserve(b, LOG_COMMIT_SIZE_MAX + 1) != KV_OK) return KV_ENOMEM;
  char *to = b->data + b->size;
  memcpy(to, COMMIT_WORD, WORD_SIZE(COMMIT_WORD));
  to += WORD_SIZE(COMMIT_WORD);
  to += put_unsigned(to, seq);
  *to++ = '\t';
  to += put_unsigned(to, durable_seq);
  *to++ = '\t';
  crc = crc32c(crc, b->data + start, (size_t)(to - (b->data + start)));
  b->size = (size_t)(to - b->data);
  return log_format_commit_end(b, crc);
}

/* ---- reading records ---- */

/* Say what is wrong with a line, quoting some of its data if there is any to quote. */
static int malformed(kv_error *err, const char *what, const char *data, size_t size) {
  char quoted[QUOTED_SIZE_MAX + 1];
  size_t shown = size < QUOTED_SIZE_MAX ? size : QUOTED_SIZE_MAX;
  if (err == NULL) return KV_EDAMAGED;
  if (data == NULL) return kv_error_set(err, KV_EDAMAGED, "malformed line: %s", what);
  for (size_t i = 0; i < shown; i++) {
    quoted[i] = data[i] >= ' ' && data[i] < 0x7f ? data[i] : '?';
  }
  quoted[shown] = '\0';
  return kv_error_set(err, KV_EDAMAGED, "malformed line: %s '%s%s'", what, quoted,
                      shown < size ? "..." : "");
}

/* Read the data of a WRITE line of which the type is named. */
static int parse_typed(kv_value *out, const char *type, size_t type_size, const char *data,
                       size_t size, kv_error *err) {
  const char *end = data + size;
  if (type_size == 4 && memcmp(type, "BLOB", 4) == 0) {
    if (size > KV_VALUE_SIZE_MAX) return malformed(err, "BLOB data is too long", NULL, 0);
    out->type = KV_BLOB;
    out->data = data;
    out->size = size;
  } else if (type_size == 4 && memcmp(type, "NULL", 4) == 0) {
    if (size > 0) return malformed(err, "NULL has data", data, size);
    out->type = KV_NULL;
  } else if (type_size == 7 && memcmp(type, "INTEGER", 7) == 0) {
    if (!parse_integer(data, end, &out->integer)) {
      return malformed(err, "INTEGER data is", data, size);
    }
    out->type = KV_INTEGER;
  } else if (type_size == 4 && memcmp(type, "REAL", 4) == 0) {
    if (!parse_real(data, end, &out->real)) return malformed(err, "REAL data is", data, size);
    out->type = KV_REAL;
  } else {
    return malformed(err, "unknown type", type, type_size);
  }
  return KV_OK;
}

/* Read what follows the key of a WRITE line, the TAB included. */
static int parse_value(char *at, char *end, kv_value *out, kv_error *err) {
  size_t size;
  if (at == end) return malformed(err, "WRITE without data", NULL, 0);
  char *data = at + 1;
  char *data_end = unescape_field(data, end, &size);
  if (data_end == NULL) return malformed(err, "data has a wrong escape at", data + size, 2);
  if (data_end < end) {
    const char *type = data_end + 1;
    return parse_typed(out, type, (size_t)(end - type), data, size, err);
  }
  if (size > KV_VALUE_SIZE_MAX) return malformed(err, "text data is too long", NULL, 0);
  out->type = KV_TEXT;
  out->data = data;
  out->size = size;
  return KV_OK;
}

int log_parse_record(char *line, size_t size, log_record *out, kv_error *err) {
  log_record record = {.op = LOG_WRITE};
  kv_error why;
  char *end = line + size;
  char *key = line + WORD_SIZE(WRITE_WORD);
  if (!begins_with(line, end, WRITE_WORD, WORD_SIZE(WRITE_WORD))) {
    if (begins_with(line, end, COMMIT_WORD, WORD_SIZE(COMMIT_WORD))) {
      return log_parse_commit(line, size, out) ? KV_OK : malformed(err, "not a COMMIT", line, size);
    }
    if (!begins_with(line, end, DELETE_WORD, WORD_SIZE(DELETE_WORD))) {
      return malformed(err, "unknown operation", line, size);
    }
    record.op = LOG_DELETE;
    key = line + WORD_SIZE(DELETE_WORD);
  }
  char *key_end = unescape_field(key, end, &record.key_size);
  if (key_end == NULL) {
    return malformed(err, "keypath has a wrong escape at", key + record.key_size, 2);
  }
  if (keypath_check(key, record.key_size, err != NULL ? &why : NULL) != KV_OK) {
    return err != NULL ? malformed(err, why.text, NULL, 0) : KV_EDAMAGED;
  }
  if (record.op == LOG_WRITE) {
    int rc = parse_value(key_end, end, &record.value, err);
    if (rc != KV_OK) return rc;
  } else if (key_end < end) {
    return malformed(err, "DELETE with data", key_end + 1, (size_t)(end - key_end - 1));
  }
  key[record.key_size] = '\0'; /* over the TAB, the LF, or what an escape left behind */
  record.key = key;
  *out = record;
  return KV_OK;
}

bool log_parse_commit(const char *line, size_t size, log_record *out) {
  log_record record = {.op = LOG_COMMIT};
  const char *end = line + size;
  if (size < LOG_COMMIT_SIZE_MIN || size > LOG_COMMIT_SIZE_MAX) return false;
  if (!begins_with(line, end, COMMIT_WORD, WORD_SIZE(COMMIT_WORD))) return false;
  const char *crc = end - CRC_SIZE;
  const char *seq = line + WORD_SIZE(COMMIT_WORD);
  const char *tab = memchr(seq, '\t', (size_t)(crc - seq));
  if (tab == NULL || tab == crc - 1 || crc[-1] != '\t') return false;
  if (!parse_unsigned(seq, tab, &record.seq)) return false;
  if (!parse_unsigned(tab + 1, crc - 1, &record.durable_seq)) return false;
  if (record.seq > LOG_SEQ_MAX || record.durable_seq >= record.seq) return false;
  if (!parse_crc(crc, &record.crc)) return false;
  record.crc_offset = (size_t)(crc - line);
  *out = record;
  return true;
}
