/* format.c - what the formats of dump and load share. See format.h. */
#include "format.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const text_format *const formats[] = {&format_sql, &format_tsv, &format_json, &format_tabs};

enum { FORMATS = sizeof formats / sizeof formats[0] };

const text_format *format_named(const char *name) {
  for (int i = 0; i < FORMATS; i++) {
    if (strcmp(name, formats[i]->name) == 0) return formats[i];
  }
  return NULL;
}

const text_format *format_of_file(const char *path) {
  const char *dot = strrchr(path, '.');
  if (dot == NULL || strchr(dot, ' ') != NULL || strchr(dot, '/') != NULL) return NULL;
  size_t size = strlen(dot);
  for (int i = 0; i < FORMATS; i++) {
    for (const char *at = formats[i]->suffixes; *at != '\0'; at = strchr(at, ' ') + 1) {
      if (strncasecmp(at, dot, size) == 0 && at[size] == ' ') return formats[i];
    }
  }
  return NULL;
}

/* --- reading ------------------------------------------------------------------------------------ */

void source_begin(source *s, FILE *file) {
  *s = (source){.file = file, .line = 1, .column = 1};
  s->c = getc_unlocked(file);
}

static void note(source *s, uint64_t line, uint64_t column, const char *format, va_list arguments) {
  if (s->why[0] != '\0') return;
  (void)vsnprintf(s->why, sizeof s->why, format, arguments);
  s->why_line = line;
  s->why_column = column;
}

read_result source_bad(source *s, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  note(s, s->line, s->column, format, arguments);
  va_end(arguments);
  return READ_BAD;
}

read_result source_bad_at(source *s, uint64_t line, uint64_t column, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  note(s, line, column, format, arguments);
  va_end(arguments);
  return READ_BAD;
}

const char *source_here(const source *s) {
  static char text[24];
  if (s->c == EOF) return "the end";
  if (s->c == '\n') return "the end of the line";
  (void)snprintf(text, sizeof text, s->c > ' ' && s->c < 0x7f ? "'%c'" : "byte 0x%02x",
                 (unsigned)s->c);
  return text;
}

void source_skip_spaces(source *s) {
  while (s->c == ' ' || s->c == '\t' || s->c == '\n' || s->c == '\r') source_step(s);
}

void entry_begin(entry *e, const source *s) {
  e->key.size = e->data.size = 0;
  e->value = (kv_value){.type = KV_NULL};
  e->line = s->line;
  e->column = s->column;
}

void entry_free(entry *e) {
  bytes_free(&e->key);
  bytes_free(&e->data);
}

void entry_set_data(entry *e, kv_type type) {
  e->value.type = type;
  e->value.data = e->data.data != NULL ? e->data.data : "";
  e->value.size = e->data.size;
}

bool format_parse_integer(const char *text, size_t size, int64_t *out) {
  char copy[24];
  bool negative = size > 0 && text[0] == '-';
  if (size == (size_t)negative || size >= sizeof copy) return false;
  for (size_t i = negative; i < size; i++) {
    if (text[i] < '0' || text[i] > '9') return false;
  }
  memcpy(copy, text, size);
  copy[size] = '\0';
  errno = 0;
  long long n = strtoll(copy, NULL, 10);
  if (errno != 0) return false;
  *out = n;
  return true;
}

bool format_parse_real(const char *text, size_t size, double *out) {
  char copy[512];
  if (size == 3 && memcmp(text, "Inf", 3) == 0) {
    *out = (double)INFINITY;
    return true;
  }
  if (size == 4 && memcmp(text, "-Inf", 4) == 0) {
    *out = -(double)INFINITY;
    return true;
  }
  if (size == 0 || size >= sizeof copy) return false;
  memcpy(copy, text, size);
  copy[size] = '\0';
  if (strspn(copy, "0123456789+-.eE") < size) return false; /* nan, 0x1p3 */
  char *end;
  double real = strtod(copy, &end);
  if (end != copy + size || isinf(real)) return false;
  *out = real;
  return true;
}

bool format_parse_shell_real(const char *text, size_t size, double *out) {
  static const char *const infinite[] = {"9e999", "9.0e+999", "1e999"};
  bool negative = size > 0 && text[0] == '-';
  for (size_t i = 0; i < sizeof infinite / sizeof infinite[0]; i++) {
    if (strlen(infinite[i]) != size - negative) continue;
    if (strncasecmp(text + negative, infinite[i], size - negative) != 0) continue;
    *out = negative ? -(double)INFINITY : (double)INFINITY;
    return true;
  }
  return format_parse_real(text, size, out);
}

int format_hex(int c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}
