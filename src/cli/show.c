/* show.c - keys and values as a person reads them. See show.h. */
#include "show.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

size_t show_character(const char *data, size_t size) {
  const unsigned char *at = (const unsigned char *)data;
  if (size == 0) return 0;
  if (at[0] < 0x80) return 1;
  size_t length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
  if (at[0] < 0xc2 || at[0] > 0xf4 || length > size) return 0;
  for (size_t i = 1; i < length; i++) {
    if ((at[i] & 0xc0) != 0x80) return 0;
  }
  /* overlong forms, surrogates, beyond U+10FFFF */
  if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f)) return 0;
  if ((at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f)) return 0;
  return length;
}

/* How the character at data is shown: its bytes in *text, its columns returned. */
static size_t spell(const char *data, size_t size, char text[8], size_t *used) {
  static const char letters[] = {['\0'] = '0', ['\t'] = 't', ['\n'] = 'n', ['\r'] = 'r'};
  unsigned char byte = (unsigned char)data[0];
  *used = show_character(data, size);
  /* The C1 controls, too, are read as commands by some terminals. */
  bool control =
      byte < 0x20 || byte == 0x7f || (*used == 2 && byte == 0xc2 && (unsigned char)data[1] < 0xa0);
  if (byte == '\\' || (byte < sizeof letters && letters[byte] != 0)) {
    (void)snprintf(text, 8, "\\%c", byte == '\\' ? '\\' : letters[byte]);
    return 2;
  }
  if (*used == 0 || control) {
    *used = 1;
    (void)snprintf(text, 8, "\\x%02x", byte);
    return 4;
  }
  memcpy(text, data, *used);
  text[*used] = '\0';
  return 1;
}

size_t show_text(FILE *out, const char *data, size_t size, size_t width) {
  size_t columns = 0, used;
  char text[8];
  /* Does all of it fit? Not more than width characters are looked at. */
  size_t end = 0;
  while (end < size && (width == 0 || columns <= width)) {
    columns += spell(data + end, size - end, text, &used);
    end += used;
  }
  bool cut = width > 0 && columns > width;
  size_t room = cut ? (width > 3 ? width - 3 : 0) : columns;
  columns = 0;
  for (size_t at = 0; at < size; at += used) {
    size_t more = spell(data + at, size - at, text, &used);
    if (columns + more > room) break;
    fputs(text, out);
    columns += more;
  }
  if (cut) columns += (size_t)fprintf(out, "%.*s", (int)(width < 3 ? width : 3), "...");
  return columns;
}

static size_t show_blob(FILE *out, const char *data, size_t size, size_t width) {
  bool cut = width > 0 && size > (SIZE_MAX / 4) ? true : width > 0 && 2 * size + 3 > width;
  size_t bytes = cut ? (width > 6 ? (width - 6) / 2 : 0) : size;
  fputs("x'", out);
  for (size_t i = 0; i < bytes; i++) fprintf(out, "%02x", (unsigned char)data[i]);
  fputs(cut ? "...'" : "'", out);
  return 2 * bytes + (cut ? 6 : 3);
}

void show_real(char out[32], double real) {
  if (isinf(real)) {
    (void)snprintf(out, 32, real < 0 ? "-Inf" : "Inf");
    return;
  }
  for (int digits = 15; digits <= 17; digits++) {
    (void)snprintf(out, 32, "%.*g", digits, real);
    double back = strtod(out, NULL);
    if (memcmp(&back, &real, sizeof real) == 0) return;
  }
}

const char *show_type(kv_type type) {
  static const char *const names[] = {[KV_NULL] = "null",
                                      [KV_INTEGER] = "integer",
                                      [KV_REAL] = "real",
                                      [KV_TEXT] = "text",
                                      [KV_BLOB] = "blob"};
  return names[type];
}

size_t show_value(FILE *out, const kv_value *value, size_t width) {
  char number[32];
  switch (value->type) {
  case KV_TEXT:
    return show_text(out, value->data, value->size, width);
  case KV_BLOB:
    return show_blob(out, value->data, value->size, width);
  case KV_INTEGER:
    (void)snprintf(number, sizeof number, "%" PRId64, value->integer);
    break;
  case KV_REAL:
    show_real(number, value->real);
    break;
  case KV_NULL:
    (void)snprintf(number, sizeof number, "NULL");
    break;
  }
  return show_text(out, number, strlen(number), width);
}
