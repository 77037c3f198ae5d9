/*
** fuzz_resp.c - the parser of requests.
**
** The first byte says how the others are cut into pieces. A pipeline of requests is parsed at once and
** in pieces, the buffer being moved in between; the requests found have to be the same. Then the bytes,
** taken as arguments with a TAB between them, are spelled as a request, which has to give them back.
*/
#include "cli/resp.h"
#include "fuzz_help.h"

static const resp_limits LIMITS = {
    .inline_max = 256, .args_max = 64, .bulk_max = 512, .request_max = 2048};

/* Requests in a row, as a sum over their arguments, and how the last one ended. */
typedef struct found {
  size_t requests, at;
  uint64_t sum;
  int rc;
} found;

static void add_request(found *f, const resp_parser *p, const char *data) {
  for (size_t i = 0; i < p->count; i++) {
    FUZZ_CHECK(p->spans[i].offset + p->spans[i].size <= p->at, "argument %zu is outside", i);
    f->sum = f->sum * 31 + p->spans[i].size + 1;
    for (size_t j = 0; j < p->spans[i].size; j++) {
      f->sum = f->sum * 31 + (unsigned char)data[p->spans[i].offset + j];
    }
  }
  f->requests++;
  f->at += p->at;
}

static found parse(const uint8_t *bytes, size_t size, size_t piece) {
  found f = {.rc = RESP_MORE};
  resp_parser p = {0};
  size_t given = 0;
  char *buffer = NULL;
  size_t start = 0; /* of the request in bytes */
  do {
    given = size - given < piece ? size : given + piece;
    size_t part = given - start;
    char *moved = fuzz_copy(bytes + start, part);
    free(buffer);
    buffer = moved;
    size_t at = 0;
    while ((f.rc = resp_parse(&p, &LIMITS, buffer + at, part - at)) == RESP_DONE) {
      add_request(&f, &p, buffer + at);
      at += p.at;
      resp_reset(&p);
      if (at == part) break;
    }
    start += at;
  } while (given < size && f.rc != RESP_BAD);
  resp_free(&p);
  free(buffer);
  return f;
}

#define ARGS_MAX 10

static void check_spelled(const char *data, size_t size) {
  char request[ARGS_MAX * 32 + 1024];
  struct {
    const char *data;
    size_t size;
  } args[ARGS_MAX];
  size_t count = 0, at;
  if (size > 512) return;
  for (const char *from = data, *end = data + size; from != NULL && count < ARGS_MAX; count++) {
    const char *tab = memchr(from, '\t', (size_t)(end - from));
    args[count].data = from;
    args[count].size = (size_t)((tab != NULL ? tab : end) - from);
    from = tab != NULL ? tab + 1 : NULL;
  }
  at = (size_t)snprintf(request, sizeof request, "*%zu\r\n", count);
  for (size_t i = 0; i < count; i++) {
    at += (size_t)snprintf(request + at, sizeof request - at, "$%zu\r\n", args[i].size);
    memcpy(request + at, args[i].data, args[i].size);
    memcpy(request + at + args[i].size, "\r\n", 2);
    at += args[i].size + 2;
  }
  resp_parser p = {0};
  int rc = resp_parse(&p, &LIMITS, request, at);
  FUZZ_CHECK(rc == RESP_DONE && p.at == at && p.count == count, "%d, %zu of %zu bytes", rc, p.at,
             at);
  for (size_t i = 0; i < count; i++) {
    FUZZ_CHECK(p.spans[i].size == args[i].size &&
                   memcmp(request + p.spans[i].offset, args[i].data, args[i].size) == 0,
               "argument %zu of %zu is another", i, count);
  }
  resp_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  size_t piece = data[0] + 1u;
  found whole = parse(data + 1, size - 1, size - 1), parts = parse(data + 1, size - 1, piece);
  FUZZ_CHECK(whole.requests == parts.requests && whole.sum == parts.sum && whole.at == parts.at,
             "%zu requests in %zu bytes, but %zu in %zu when they come by %zu", whole.requests,
             whole.at, parts.requests, parts.at, piece);
  FUZZ_CHECK((whole.rc == RESP_BAD) == (parts.rc == RESP_BAD), "%d, by %zu %d", whole.rc, piece,
             parts.rc);
  check_spelled((const char *)data + 1, size - 1);
  return 0;
}
