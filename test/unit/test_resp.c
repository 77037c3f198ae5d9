/*
** test_resp.c - the parser of requests: what is one and what is not, whatever pieces it comes in.
**
** Each request is parsed at once, then with its bytes coming one by one, then in every split into two
** with the buffer moved in between: the outcome is the same.
*/
#include "cli/resp.h"
#include "unit.h"

#include <stdlib.h>

static const resp_limits LIMITS = {
    .inline_max = 100, .args_max = 20, .bulk_max = 50, .request_max = 200};

typedef struct outcome {
  int rc;
  size_t used;
  char text[512]; /* arguments, each in <>, or the error */
} outcome;

static void describe(const resp_parser *p, const char *data, int rc, outcome *out) {
  memset(out, 0, sizeof *out);
  out->rc = rc;
  if (rc == RESP_BAD) {
    snprintf(out->text, sizeof out->text, "%s", p->error);
    return;
  }
  if (rc != RESP_DONE) return;
  out->used = p->at;
  size_t at = 0;
  for (size_t i = 0; i < p->count; i++) {
    CHECK(p->spans[i].offset + p->spans[i].size <= p->at);
    out->text[at++] = '<';
    memcpy(out->text + at, data + p->spans[i].offset, p->spans[i].size);
    at += p->spans[i].size;
    out->text[at++] = '>';
  }
}

/* A copy of exactly this size, so that a sanitizer sees every step too far. */
static char *copy_of(const char *data, size_t size) {
  char *copy = malloc(size > 0 ? size : 1);
  if (copy == NULL) abort();
  memcpy(copy, data, size);
  return copy;
}

/* Give the parser the first `part` bytes, then, elsewhere in memory, all. What an inline request's
** words were unescaped to is in the first buffer, and goes along. */
static void parse_split(const resp_limits *limits, const char *data, size_t size, size_t part,
                        outcome *out) {
  resp_parser p = {0};
  char *first = copy_of(data, part), *whole = copy_of(data, size);
  int rc = resp_parse(&p, limits, first, part);
  if (rc == RESP_MORE) {
    memcpy(whole, first, part);
    rc = resp_parse(&p, limits, whole, size);
    describe(&p, whole, rc, out);
  } else {
    describe(&p, first, rc, out);
  }
  resp_free(&p);
  free(first);
  free(whole);
}

static void parse_bytes(const resp_limits *limits, const char *data, size_t size, outcome *out) {
  resp_parser p = {0};
  char *copy = copy_of(data, size);
  int rc = RESP_MORE;
  for (size_t n = 0; n <= size && rc == RESP_MORE; n++) rc = resp_parse(&p, limits, copy, n);
  describe(&p, copy, rc, out);
  CHECK(rc == RESP_MORE || rc == RESP_BAD || resp_parse(&p, limits, copy, size) == RESP_DONE);
  resp_free(&p);
  free(copy);
}

static bool is_same(const outcome *a, const outcome *b) {
  return a->rc == b->rc && a->used == b->used && memcmp(a->text, b->text, sizeof a->text) == 0;
}

static void check_with(const resp_limits *limits, const char *data, size_t size, int rc,
                       const char *text, size_t used) {
  outcome whole, other;
  parse_split(limits, data, size, size, &whole);
  CHECK_INT(whole.rc, rc);
  CHECK_STR(whole.text, text);
  if (rc == RESP_DONE) CHECK_INT(whole.used, used);
  parse_bytes(limits, data, size, &other);
  CHECK(is_same(&whole, &other));
  for (size_t part = 0; part <= size; part++) {
    parse_split(limits, data, size, part, &other);
    if (!CHECK(is_same(&whole, &other))) printf("  split at %zu\n", part);
  }
}

static void done(const char *data, const char *text) {
  check_with(&LIMITS, data, strlen(data), RESP_DONE, text, strlen(data));
}

static void more(const char *data) {
  check_with(&LIMITS, data, strlen(data), RESP_MORE, "", 0);
}

static void bad(const char *data, const char *text) {
  check_with(&LIMITS, data, strlen(data), RESP_BAD, text, 0);
}

static void test_multibulk(void) {
  done("*1\r\n$4\r\nPING\r\n", "<PING>");
  done("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$0\r\n\r\n", "<SET><a><>");
  done("*2\r\n$3\r\nGET\r\n$4\r\n\r\n\r\n\r\n", "<GET><\r\n\r\n>");
  done("*0\r\n", "");
  done("*-1\r\n", "");
  done("*8\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n$1\r\n6\r\n$1\r\n7\r\n$"
       "1\r\n8\r\n",
       "<1><2><3><4><5><6><7><8>");
  more("*");
  more("*3\r\n");
  more("*3\r\n$3\r\nSET\r\n");
  more("*1\r\n$4\r\nPING\r");
  bad("*\r\n", "Protocol error: invalid multibulk length");
  bad("*x\r\n", "Protocol error: invalid multibulk length");
  bad("*1x", "Protocol error: invalid multibulk length");
  more("*1\rx"); /* as in Redis what stands for the LF is not looked at, nor behind a bulk */
  done("*1\rx$4\rxPINGxx", "<PING>");
  bad("*01\r\n", "Protocol error: invalid multibulk length");
  bad("*-0\r\n", "Protocol error: invalid multibulk length");
  bad("*1\r\n$04\r\nPING\r\n", "Protocol error: invalid bulk length");
  bad("*1\n", "Protocol error: invalid multibulk length");
  bad("*21\r\n", "Protocol error: invalid multibulk length");
  bad("*99999999999999999999\r\n", "Protocol error: invalid multibulk length");
  bad("*1\r\nPING\r\n", "Protocol error: expected '$', got 'P'");
  bad("*1\r\n\x01", "Protocol error: expected '$', got '?'");
  bad("*1\r\n$-1\r\n", "Protocol error: invalid bulk length");
  bad("*1\r\n$51\r\n", "Protocol error: invalid bulk length");
  bad("*1\r\n$99999999999999999999\r\n", "Protocol error: invalid bulk length");
}

static void test_inline(void) {
  done("PING\r\n", "<PING>");
  done("PING\n", "<PING>");
  done("\r\n", "");
  done("\n", "");
  done("  set  k\tv \r\n", "<set><k><v>");
  done("set k \"a b\\n\\x41\\\"\"\r\n", "<set><k><a b\nA\">");
  done("set k 'a \\' b\\n'\r\n", "<set><k><a ' b\\n>");
  done("set k \"\"\r\n", "<set><k><>");
  done("set k a\"b\"\r\n", "<set><k><ab>");
  done("set \"\\xzz\\x4\"\n", "<set><xzzx4>");
  more("PING");
  more("PING\r");
  bad("set k \"a\r\n", "Protocol error: unbalanced quotes in request");
  bad("set k 'a\n", "Protocol error: unbalanced quotes in request");
  bad("set k \"a\"b\n", "Protocol error: unbalanced quotes in request");
  bad("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21\n",
      "Protocol error: too many words in inline request");
  char line[120];
  memset(line, 'x', sizeof line);
  line[101] = '\0';
  bad(line, "Protocol error: too big inline request");
  line[100] = '\0';
  more(line);
}

/* Redis waits for ever for the end of a line with a NUL. */
static void test_inline_nul(void) {
  static const char data[] = "GET a\0b c\r\n";
  check_with(&LIMITS, data, sizeof data - 1, RESP_BAD, "Protocol error: NUL in an inline request",
             0);
}

static void test_limits(void) {
  static const resp_limits stranger = {
      .inline_max = 10, .args_max = 2, .bulk_max = 5, .request_max = 50, .is_stranger = true};
  check_with(&stranger, "*3\r\n", 4, RESP_BAD, "Protocol error: unauthenticated multibulk length",
             0);
  check_with(&stranger, "*1\r\n$6\r\n", 8, RESP_BAD, "Protocol error: unauthenticated bulk length",
             0);
  /* Each argument is allowed, all together are not. */
  char request[400] = "*5\r\n";
  for (int i = 0; i < 5; i++) {
    strcat(request, "$45\r\n012345678901234567890123456789012345678901234\r\n");
  }
  bad(request, "Protocol error: request is too big");
}

/* What has only been announced is told to the reader and takes no memory. */
static void test_missing(void) {
  resp_parser p = {0};
  char data[] = "*2\r\n$50\r\nabc";
  CHECK_INT(resp_parse(&p, &LIMITS, data, strlen(data)), RESP_MORE);
  CHECK_INT(resp_missing(&p, strlen(data)), 49);
  CHECK(p.spans == NULL || p.spans == p.own_spans);
  resp_free(&p);
}

/* Requests behind one another: each begins where the one before ended. */
static void test_pipeline(void) {
  char data[] = "*1\r\n$1\r\na\r\nb c\r\n*0\r\n*1\r\n$1\r\nd\r\n*1\r\n$";
  size_t size = strlen(data), at = 0, count = 0;
  resp_parser p = {0};
  while (resp_parse(&p, &LIMITS, data + at, size - at) == RESP_DONE) {
    at += p.at;
    count += p.count;
    resp_reset(&p);
  }
  CHECK_INT(count, 4);
  CHECK_INT(size - at, 5);
  resp_free(&p);
}

/* Any bytes: no step beyond them, and the same outcome in any pieces. */
static void test_random(void) {
  static const char alphabet[] = "**$$\r\n\r\n\r\n0123459- \"'\\xab";
  uint64_t state = 11;
  for (int round = 0; round < 20000; round++) {
    char data[64];
    size_t size = unit_random(&state) % sizeof data;
    for (size_t i = 0; i < size; i++) {
      data[i] = alphabet[unit_random(&state) % (sizeof alphabet - 1)];
    }
    outcome whole, bytes, split;
    parse_split(&LIMITS, data, size, size, &whole);
    parse_bytes(&LIMITS, data, size, &bytes);
    parse_split(&LIMITS, data, size, size > 0 ? unit_random(&state) % size : 0, &split);
    if (!CHECK(is_same(&whole, &bytes) && is_same(&whole, &split))) unit_show("data", data, size);
  }
}

int main(void) {
  test_multibulk();
  test_inline();
  test_inline_nul();
  test_limits();
  test_missing();
  test_pipeline();
  test_random();
  return unit_done();
}
