/*
** format_json.c - a JSON object for each key, one on a line.
**
**     {"key":"test/val","value":"this is a test val","type":"text"}
**     {"key":"test/number","value":9223372036854775807,"type":"integer"}
**     {"key":"test/pi","value":3.14,"type":"real"}
**     {"key":"test/nothing","value":null,"type":"null"}
**     {"key":"test/bytes","value":"AP8=","type":"blob","encoding":"base64"}
**
** An integer is written with all its digits; mind that some programs (jq, JavaScript) read numbers
** as doubles and round what is beyond 2^53. Infinities, which JSON has no number for, are the
** strings "Inf" and "-Inf" of type real. Blobs are base64, and so is a text that is not UTF-8, with
** "type":"text","encoding":"base64".
**
** Read is also: members in any order, spaces and line ends between them, no type (null, a string, a
** number without and with a point or exponent are null, text, integer and real), and the objects in an
** array, as the sqlite3 shell's -json writes them. That writes blobs as text.
*/
#include "format.h"
#include "show.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* --- writing ------------------------------------------------------------------------------------ */

static bool is_utf8(const char *data, size_t size) {
  for (size_t at = 0, used; at < size; at += used) {
    used = show_character(data + at, size - at);
    if (used == 0) return false;
  }
  return true;
}

static void write_string(FILE *out, const char *data, size_t size) {
  putc_unlocked('"', out);
  for (const char *end = data + size; data < end; data++) {
    unsigned char byte = (unsigned char)*data;
    if (byte == '"' || byte == '\\') {
      putc_unlocked('\\', out);
      putc_unlocked(byte, out);
    } else if (byte == '\n') {
      fputs("\\n", out);
    } else if (byte == '\t') {
      fputs("\\t", out);
    } else if (byte < 0x20 || byte == 0x7f) {
      fprintf(out, "\\u%04x", byte);
    } else {
      putc_unlocked(byte, out);
    }
  }
  putc_unlocked('"', out);
}

static void write_base64(FILE *out, const char *data, size_t size) {
  const unsigned char *at = (const unsigned char *)data;
  putc_unlocked('"', out);
  for (; size > 0; at += 3, size -= size < 3 ? size : 3) {
    unsigned bits = (unsigned)at[0] << 16;
    if (size > 1) bits |= (unsigned)at[1] << 8;
    if (size > 2) bits |= at[2];
    putc_unlocked(base64_digits[bits >> 18], out);
    putc_unlocked(base64_digits[bits >> 12 & 63], out);
    putc_unlocked(size > 1 ? base64_digits[bits >> 6 & 63] : '=', out);
    putc_unlocked(size > 2 ? base64_digits[bits & 63] : '=', out);
  }
  putc_unlocked('"', out);
}

static void json_begin(FILE *out, const char *table) {
  (void)out, (void)table;
}

static void write_real(FILE *out, double real) {
  char text[32];
  show_real(text, real);
  if (strchr(text, 'n') != NULL) { /* Inf */
    fprintf(out, "\"%s\"", text);
  } else {
    fprintf(out, "%s%s", text, strpbrk(text, ".e") != NULL ? "" : ".0");
  }
}

static void json_write(FILE *out, const char *table, const char *key, size_t size,
                       const kv_value *value) {
  bool base64 = value->type == KV_BLOB;
  (void)table;
  fputs("{\"key\":", out);
  write_string(out, key, size);
  fputs(",\"value\":", out);
  switch (value->type) {
  case KV_NULL:
    fputs("null", out);
    break;
  case KV_INTEGER:
    fprintf(out, "%" PRId64, value->integer);
    break;
  case KV_REAL:
    write_real(out, value->real);
    break;
  case KV_TEXT:
    base64 = !is_utf8(value->data, value->size);
    if (!base64) write_string(out, value->data, value->size);
    break;
  case KV_BLOB:
    break;
  }
  if (base64) write_base64(out, value->data, value->size);
  fprintf(out, ",\"type\":\"%s\"%s}\n", show_type(value->type),
          base64 ? ",\"encoding\":\"base64\"" : "");
}

static void json_end(FILE *out) {
  (void)out;
}

/* --- reading ------------------------------------------------------------------------------------ */

/* The four hex digits behind \u. */
static bool read_unit(source *s, unsigned *out) {
  *out = 0;
  for (int i = 0; i < 4; i++) {
    source_step(s);
    int digit = format_hex(s->c);
    if (digit < 0) {
      (void)source_bad(s, "%s is no hex digit", source_here(s));
      return false;
    }
    *out = *out << 4 | (unsigned)digit;
  }
  return true;
}

/* What follows a backslash, which s stands on; then s stands on its last byte. */
static bool read_escape(source *s, bytes *out) {
  static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
  uint64_t line = s->line, column = s->column;
  source_step(s);
  const char *letter = s->c > 0 ? strchr(letters, s->c) : NULL;
  if (letter != NULL) {
    tool_append(out, &meant[letter - letters], 1);
    return true;
  }
  if (s->c != 'u') {
    (void)source_bad_at(s, line, column, "a backslash and %s is no escape", source_here(s));
    return false;
  }
  unsigned code, low = 0;
  if (!read_unit(s, &code)) return false;
  if (code >= 0xd800 && code < 0xdc00) {
    source_step(s);
    if (s->c == '\\') {
      source_step(s);
      if (s->c == 'u' && !read_unit(s, &low)) return false;
    }
    if (low >= 0xdc00 && low < 0xe000) {
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
  }
  if (code >= 0xd800 && code < 0xe000) {
    (void)source_bad_at(s, line, column, "half of a surrogate pair");
    return false;
  }
  tool_append_character(out, code);
  return true;
}

/* A string, whose first quote s stands on; then it stands behind the last. */
static bool read_string(source *s, bytes *out) {
  if (s->c != '"') {
    (void)source_bad(s, "%s stands where a string should", source_here(s));
    return false;
  }
  uint64_t line = s->line, column = s->column;
  for (source_step(s); s->c != '"'; source_step(s)) {
    if (s->c == EOF) {
      (void)source_bad_at(s, line, column, "the string has no end");
      return false;
    }
    if (s->c < 0x20) {
      (void)source_bad(s, "%s has to be escaped in a string", source_here(s));
      return false;
    }
    char byte = (char)s->c;
    if (byte != '\\') {
      tool_append(out, &byte, 1);
    } else if (!read_escape(s, out)) {
      return false;
    }
  }
  source_step(s);
  return true;
}

/* One object's members as they come. */
typedef struct object {
  bool has_key, has_value;
  bytes word; /* a name, a type, a number */
  enum { VALUE_STRING, VALUE_NUMBER, VALUE_NULL } kind;
  int type; /* a kv_type, or -1: not told */
  bool base64;
  uint64_t value_line, value_column;
} object;

static bool word_is(const bytes *word, const char *text) {
  return word->size == strlen(text) && memcmp(word->data, text, word->size) == 0;
}

static bool read_value(source *s, entry *out, object *o) {
  o->value_line = s->line;
  o->value_column = s->column;
  o->has_value = true;
  out->data.size = 0;
  if (s->c == '"') {
    o->kind = VALUE_STRING;
    return read_string(s, &out->data);
  }
  while (s->c > ' ' && s->c != ',' && s->c != '}' && s->c < 0x7f && out->data.size < 600) {
    char byte = (char)s->c;
    tool_append(&out->data, &byte, 1);
    source_step(s);
  }
  o->kind = word_is(&out->data, "null") ? VALUE_NULL : VALUE_NUMBER;
  if (o->kind == VALUE_NULL) return true;
  char first = out->data.size > 0 ? out->data.data[0] : '\0';
  if (first == '-' || (first >= '0' && first <= '9')) return true;
  (void)source_bad_at(s, o->value_line, o->value_column,
                      "not a value: a string, a number or null is");
  return false;
}

static bool read_type(source *s, object *o) {
  uint64_t line = s->line, column = s->column;
  o->word.size = 0;
  if (!read_string(s, &o->word)) return false;
  for (int type = KV_NULL; type <= KV_BLOB; type++) {
    if (!word_is(&o->word, show_type((kv_type)type))) continue;
    o->type = type;
    return true;
  }
  (void)source_bad_at(s, line, column, "unknown type: null, integer, real, text and blob are");
  return false;
}

static bool read_member(source *s, entry *out, object *o) {
  uint64_t line = s->line, column = s->column;
  o->word.size = 0;
  if (!read_string(s, &o->word)) return false;
  source_skip_spaces(s);
  if (s->c != ':') {
    (void)source_bad(s, "%s stands where ':' should", source_here(s));
    return false;
  }
  source_step(s);
  source_skip_spaces(s);
  if (word_is(&o->word, "key") && !o->has_key) {
    out->line = s->line;
    out->column = s->column;
    o->has_key = true;
    return read_string(s, &out->key);
  }
  if (word_is(&o->word, "value") && !o->has_value) return read_value(s, out, o);
  if (word_is(&o->word, "type") && o->type < 0) return read_type(s, o);
  if (word_is(&o->word, "encoding") && !o->base64) {
    line = s->line;
    column = s->column;
    o->word.size = 0;
    if (!read_string(s, &o->word)) return false;
    o->base64 = word_is(&o->word, "base64");
    if (!o->base64) (void)source_bad_at(s, line, column, "unknown encoding: base64 is");
    return o->base64;
  }
  (void)source_bad_at(s, line, column,
                      "a member that is none of key, value, type and encoding, or is there twice");
  return false;
}

/* Undo base64 in place; false if it is malformed. */
static bool decode_base64(bytes *data) {
  size_t size = data->size, to = 0;
  if (size % 4 != 0) return false;
  size_t padding = size > 0 && data->data[size - 1] == '=' ? 1u + (data->data[size - 2] == '=') : 0;
  for (size_t at = 0; at < size; at += 4) {
    unsigned bits = 0;
    for (size_t i = 0; i < 4; i++) {
      char c = data->data[at + i];
      const char *digit = c != '\0' ? strchr(base64_digits, c) : NULL;
      if (digit == NULL && !(c == '=' && at + i >= size - padding)) return false;
      bits = bits << 6 | (digit != NULL ? (unsigned)(digit - base64_digits) : 0);
    }
    for (int shift = 16; shift >= 0; shift -= 8) data->data[to++] = (char)(bits >> shift & 255);
  }
  data->size = to - padding;
  return true;
}

static bool parse_real(const object *o, const bytes *data, double *out) {
  if (o->kind == VALUE_NUMBER) return format_parse_shell_real(data->data, data->size, out);
  return format_parse_real(data->data, data->size, out);
}

/* The value that kind, type and encoding together mean. */
static read_result finish(source *s, entry *out, const object *o) {
  const bytes *data = &out->data;
  bool string = o->kind == VALUE_STRING;
  bool point = !string && data->size > 0 && memchr(data->data, '.', data->size) != NULL;
  point = point || (!string && data->size > 0 && strcspn(data->data, "eE") < data->size);
  int type = o->type;
  if (type < 0 && o->base64) type = KV_BLOB;
  if (type < 0 && o->kind == VALUE_NULL) type = KV_NULL;
  if (type < 0) type = string ? KV_TEXT : point ? KV_REAL : KV_INTEGER;
  bool good = false;
  out->value.type = (kv_type)type;
  switch (type) {
  case KV_NULL:
    good = o->kind == VALUE_NULL;
    break;
  case KV_INTEGER:
    good = o->kind == VALUE_NUMBER &&
           format_parse_integer(data->data, data->size, &out->value.integer);
    break;
  case KV_REAL:
    good = o->kind != VALUE_NULL && parse_real(o, data, &out->value.real) &&
           string == (strchr("I-", data->data[0]) != NULL && data->data[data->size - 1] == 'f');
    break;
  default:
    good = string && (type == KV_TEXT || o->base64) && (!o->base64 || decode_base64(&out->data));
    entry_set_data(out, (kv_type)type);
    break;
  }
  if (good && o->base64 && type != KV_TEXT && type != KV_BLOB) good = false;
  if (good) return READ_ENTRY;
  return source_bad_at(s, o->value_line, o->value_column, "not a value of type %s%s",
                       show_type((kv_type)type), type == KV_BLOB ? " in base64" : "");
}

static read_result read_members(source *s, entry *out, object *o) {
  do {
    source_step(s);
    source_skip_spaces(s);
    if (!read_member(s, out, o)) return READ_BAD;
    source_skip_spaces(s);
  } while (s->c == ',');
  if (s->c != '}') return source_bad(s, "%s stands where ',' or '}' should", source_here(s));
  if (!o->has_key || !o->has_value) {
    return source_bad(s, "the object has no %s", o->has_key ? "value" : "key");
  }
  tool_append(&out->data, "", 1); /* ends a number */
  out->data.size--;
  source_step(s);
  return finish(s, out, o);
}

/* Go to the next object, or to the end, in an array or behind one; false: neither is there. */
static bool begin_object(source *s) {
  source_skip_spaces(s);
  if (s->in_rows && s->c != ',' && s->c != ']') {
    (void)source_bad(s, "%s stands where ',' or ']' should", source_here(s));
    return false;
  }
  if (s->in_rows) {
    s->in_rows = s->c == ',';
    source_step(s);
    source_skip_spaces(s);
  }
  while (!s->in_rows && s->c == '[') {
    source_step(s);
    source_skip_spaces(s);
    s->in_rows = s->c != ']';
    if (!s->in_rows) source_step(s);
    source_skip_spaces(s);
  }
  if (s->c == '{' || (s->c == EOF && !s->in_rows)) return true;
  (void)source_bad(s, "%s stands where '{' should", source_here(s));
  return false;
}

static read_result json_read(source *s, entry *out) {
  object o = {.type = -1};
  if (!begin_object(s)) return READ_BAD;
  if (s->c == EOF) return READ_END;
  entry_begin(out, s);
  read_result result = read_members(s, out, &o);
  bytes_free(&o.word);
  return result;
}

const text_format format_json = {.name = "json",
                                 .suffixes = ".json .jsonl .ndjson ",
                                 .begin = json_begin,
                                 .write = json_write,
                                 .end = json_end,
                                 .read = json_read};
