/* resp.c - reading requests of the Redis protocol. See resp.h. */
#include "resp.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_SIZE_MAX 20u  /* digits and sign of a count or a size */
#define SPANS_KEEP_MAX 1024u /* a larger array is given back after its request */

static int bad(resp_parser *p, const char *text) {
  snprintf(p->error, sizeof p->error, "Protocol error: %s", text);
  return RESP_BAD;
}

static bool add_span(resp_parser *p, size_t offset, size_t size) {
  if (p->room == 0) {
    p->spans = p->own_spans;
    p->room = RESP_INLINE_SPANS;
  }
  if (p->count == p->room) {
    bool own = p->spans == p->own_spans;
    resp_span *spans = realloc(own ? NULL : p->spans, p->room * 2 * sizeof *spans);
    if (spans == NULL) return false;
    if (own) memcpy(spans, p->own_spans, sizeof p->own_spans);
    p->spans = spans;
    p->room *= 2;
  }
  p->spans[p->count++] = (resp_span){.offset = offset, .size = size};
  return true;
}

void resp_reset(resp_parser *p) {
  if (p->room > SPANS_KEEP_MAX) resp_free(p);
  p->count = p->at = p->args_left = p->bulk_size = 0;
  p->has_count = p->has_size = p->is_done = false;
}

void resp_free(resp_parser *p) {
  if (p->spans != p->own_spans) free(p->spans);
  p->spans = NULL;
  p->room = p->count = 0;
}

size_t resp_missing(const resp_parser *p, size_t size) {
  if (!p->has_size || p->is_done) return 0;
  size_t wanted = p->at + p->bulk_size + 2;
  return wanted > size ? wanted - size : 0;
}

/* --- multibulk -------------------------------------------------------------------------------- */

/* Read a number and CRLF from data[*at] on, and move *at behind them. RESP_BAD leaves the words to
** the caller. */
static int parse_number(const char *data, size_t size, size_t *at, int64_t *out) {
  size_t i = *at;
  bool negative = i < size && data[i] == '-';
  if (negative) i++;
  size_t first = i;
  int64_t number = 0;
  bool has_zero = i < size && data[i] == '0';
  while (i < size && data[i] >= '0' && data[i] <= '9') {
    if (i - first >= NUMBER_SIZE_MAX - 2) return RESP_BAD; /* 18 digits cannot overflow */
    number = number * 10 + (data[i] - '0');
    i++;
  }
  if (has_zero && (negative || i - first > 1)) return RESP_BAD;
  if (i == size) return RESP_MORE;
  if (i == first || data[i] != '\r') return RESP_BAD;
  if (i + 1 == size) return RESP_MORE; /* what stands behind the CR is not looked at */
  *out = negative ? -number : number;
  *at = i + 2;
  return RESP_DONE;
}

static int parse_count(resp_parser *p, const resp_limits *limits, const char *data, size_t size) {
  int64_t count = 0;
  size_t at = 1;
  int rc = parse_number(data, size, &at, &count);
  if (rc == RESP_MORE) return RESP_MORE;
  if (rc == RESP_BAD) return bad(p, "invalid multibulk length");
  if (count > 0 && (uint64_t)count > limits->args_max) {
    return bad(p, limits->is_stranger ? "unauthenticated multibulk length"
                                      : "invalid multibulk length");
  }
  p->at = at;
  p->args_left = count > 0 ? (size_t)count : 0;
  p->has_count = true;
  return RESP_DONE;
}

static int parse_size(resp_parser *p, const resp_limits *limits, const char *data, size_t size) {
  if (p->at == size) return RESP_MORE;
  if (data[p->at] != '$') {
    char text[32];
    unsigned char got = (unsigned char)data[p->at];
    snprintf(text, sizeof text, "expected '$', got '%c'", isprint(got) ? got : '?');
    return bad(p, text);
  }
  int64_t bulk = 0;
  size_t at = p->at + 1;
  int rc = parse_number(data, size, &at, &bulk);
  if (rc == RESP_MORE) return RESP_MORE;
  if (rc == RESP_BAD || bulk < 0) return bad(p, "invalid bulk length");
  if ((uint64_t)bulk > limits->bulk_max) {
    return bad(p, limits->is_stranger ? "unauthenticated bulk length" : "invalid bulk length");
  }
  if (at + (size_t)bulk > limits->request_max) return bad(p, "request is too big");
  p->at = at;
  p->bulk_size = (size_t)bulk;
  p->has_size = true;
  return RESP_DONE;
}

static int parse_multibulk(resp_parser *p, const resp_limits *limits, const char *data,
                           size_t size) {
  if (!p->has_count) {
    int rc = parse_count(p, limits, data, size);
    if (rc != RESP_DONE) return rc;
  }
  while (p->args_left > 0) {
    if (!p->has_size) {
      int rc = parse_size(p, limits, data, size);
      if (rc != RESP_DONE) return rc;
    }
    if (size - p->at < p->bulk_size + 2) return RESP_MORE;
    if (!add_span(p, p->at, p->bulk_size)) return bad(p, "out of memory");
    p->at += p->bulk_size + 2;
    p->has_size = false;
    p->args_left--;
  }
  p->is_done = true;
  return RESP_DONE;
}

/* --- inline ----------------------------------------------------------------------------------- */

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* What the escape at `from` (behind its backslash) stands for; *taken gets its length. */
static char unescape(const char *from, const char *end, size_t *taken) {
  *taken = 1;
  if (*from == 'x' && end - from > 2 && hex_digit(from[1]) >= 0 && hex_digit(from[2]) >= 0) {
    *taken = 3;
    return (char)(hex_digit(from[1]) * 16 + hex_digit(from[2]));
  }
  switch (*from) {
  case 'n':
    return '\n';
  case 'r':
    return '\r';
  case 't':
    return '\t';
  case 'b':
    return '\b';
  case 'a':
    return '\a';
  default:
    return *from;
  }
}

/* Unescape the word that begins at *from, in place; *from moves behind it. False: a quote is not
** closed, or something stands right behind one that is. */
static bool take_word(char **from, const char *end, size_t *size) {
  char *in = *from, *out = in, quote = 0;
  for (; in < end && (quote != 0 || !isspace((unsigned char)*in)); in++) {
    if (quote == 0 && (*in == '"' || *in == '\'')) {
      quote = *in;
    } else if (quote != 0 && *in == quote) {
      quote = 0;
      if (in + 1 < end && !isspace((unsigned char)in[1])) return false;
    } else if (quote == '"' && *in == '\\' && in + 1 < end) {
      size_t taken;
      *out++ = unescape(in + 1, end, &taken);
      in += taken;
    } else if (quote == '\'' && *in == '\\' && in + 1 < end && in[1] == '\'') {
      *out++ = '\'';
      in++;
    } else {
      *out++ = *in;
    }
  }
  *size = (size_t)(out - *from);
  *from = in;
  return quote == 0;
}

static int parse_inline(resp_parser *p, const resp_limits *limits, char *data, size_t size) {
  char *line_end = memchr(data + p->at, '\n', size - p->at);
  size_t line_size = line_end != NULL ? (size_t)(line_end - data) : size;
  if (line_size > limits->inline_max) return bad(p, "too big inline request");
  p->at = line_size;
  if (line_end == NULL) return RESP_MORE;
  p->at++;
  if (memchr(data, '\0', line_size) != NULL) return bad(p, "NUL in an inline request");
  const char *end = line_end > data && line_end[-1] == '\r' ? line_end - 1 : line_end;
  for (char *from = data; from < end;) {
    if (isspace((unsigned char)*from)) {
      from++;
      continue;
    }
    size_t offset = (size_t)(from - data), word_size;
    if (!take_word(&from, end, &word_size)) return bad(p, "unbalanced quotes in request");
    if (p->count == limits->args_max) return bad(p, "too many words in inline request");
    if (!add_span(p, offset, word_size)) return bad(p, "out of memory");
  }
  p->is_done = true;
  return RESP_DONE;
}

int resp_parse(resp_parser *p, const resp_limits *limits, char *data, size_t size) {
  if (p->is_done) return RESP_DONE;
  if (size == 0) return RESP_MORE;
  return data[0] == '*' ? parse_multibulk(p, limits, data, size)
                        : parse_inline(p, limits, data, size);
}
