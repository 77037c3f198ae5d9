/* reply.c - writing replies of the Redis protocol. See reply.h. */
#include "reply.h"

#include <stdarg.h>
#include <stdio.h>

#define HEAD_SIZE_MAX 24u /* a letter, a 64-bit number, CRLF */
#define ERROR_SIZE_MAX 1536u

/* Write letter, number, CRLF so that they end at `end`; where they begin. */
static char *head_before(char *end, char letter, int64_t number) {
  uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
  *--end = '\n';
  *--end = '\r';
  do {
    *--end = (char)('0' + rest % 10);
    rest /= 10;
  } while (rest > 0);
  if (number < 0) *--end = '-';
  *--end = letter;
  return end;
}

static void append_head(bytes *out, char letter, int64_t number) {
  char head[HEAD_SIZE_MAX], *end = head + sizeof head;
  const char *from = head_before(end, letter, number);
  bytes_append(out, from, (size_t)(end - from));
}

void reply_status(bytes *out, const char *text) {
  bytes_append(out, "+", 1);
  bytes_append_text(out, text);
  bytes_append(out, "\r\n", 2);
}

void reply_ok(bytes *out) {
  bytes_append(out, "+OK\r\n", 5);
}

static void append_nil(bytes *out, unsigned protocol, const char *old) {
  bytes_append_text(out, protocol == 3 ? "_\r\n" : old);
}

void reply_nil(bytes *out, unsigned protocol) {
  append_nil(out, protocol, "$-1\r\n");
}

void reply_nil_array(bytes *out, unsigned protocol) {
  append_nil(out, protocol, "*-1\r\n");
}

void reply_integer(bytes *out, int64_t number) {
  append_head(out, ':', number);
}

void reply_bulk(bytes *out, const char *data, size_t size) {
  append_head(out, '$', (int64_t)size);
  bytes_append(out, data, size);
  bytes_append(out, "\r\n", 2);
}

void reply_text(bytes *out, const char *text) {
  reply_bulk(out, text, strlen(text));
}

void reply_verbatim(bytes *out, unsigned protocol, const char *data, size_t size) {
  if (protocol != 3) {
    reply_bulk(out, data, size);
    return;
  }
  append_head(out, '=', (int64_t)size + 4);
  bytes_append(out, "txt:", 4);
  bytes_append(out, data, size);
  bytes_append(out, "\r\n", 2);
}

void reply_array(bytes *out, size_t count) {
  append_head(out, '*', (int64_t)count);
}

void reply_map(bytes *out, unsigned protocol, size_t pairs) {
  append_head(out, protocol == 3 ? '%' : '*', (int64_t)(protocol == 3 ? pairs : 2 * pairs));
}

void reply_set(bytes *out, unsigned protocol, size_t count) {
  append_head(out, protocol == 3 ? '~' : '*', (int64_t)count);
}

size_t reply_array_begin(const bytes *out) {
  return out->size;
}

/* The elements are moved to make place for the head in front of them. */
static void put_head(bytes *out, size_t begin, char letter, size_t count) {
  char head[HEAD_SIZE_MAX], *end = head + sizeof head;
  const char *from = head_before(end, letter, (int64_t)count);
  size_t head_size = (size_t)(end - from), size = out->size - begin;
  if (!bytes_reserve(out, head_size)) return;
  memmove(out->data + begin + head_size, out->data + begin, size);
  memcpy(out->data + begin, from, head_size);
  out->size += head_size;
}

void reply_array_end(bytes *out, size_t begin, size_t count) {
  put_head(out, begin, '*', count);
}

void reply_map_end(bytes *out, unsigned protocol, size_t begin, size_t pairs) {
  put_head(out, begin, protocol == 3 ? '%' : '*', protocol == 3 ? pairs : 2 * pairs);
}

void reply_set_end(bytes *out, unsigned protocol, size_t begin, size_t count) {
  put_head(out, begin, protocol == 3 ? '~' : '*', count);
}

void reply_error(bytes *out, const char *format, ...) {
  char text[ERROR_SIZE_MAX];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  for (char *c = text; *c != '\0'; c++) {
    if (*c == '\r' || *c == '\n') *c = ' ';
  }
  bytes_append(out, "-", 1);
  bytes_append_text(out, text);
  bytes_append(out, "\r\n", 2);
}
