/*
** format_tsv.c - a line for each key, as the log spells it.
**
**     test/val<TAB>this is a test val
**     test/number<TAB>42<TAB>INTEGER
**
** keypath, TAB, data, and for what is no text another TAB and the type: INTEGER, REAL, BLOB or NULL.
** In keypath and data five bytes are escaped: \\ \t \n \r \0 stand for backslash, TAB, LF, CR and
** NUL; every other byte stands as it is, so that invalid UTF-8 and blobs come through.
**
** Read is also: a last line without its LF, empty lines (skipped), numbers in any spelling.
*/
#include "format.h"
#include "show.h"

#include <inttypes.h>
#include <string.h>

static void write_escaped(FILE *out, const char *data, size_t size) {
  for (const char *end = data + size; data < end; data++) {
    switch (*data) {
    case '\\':
      fputs("\\\\", out);
      break;
    case '\t':
      fputs("\\t", out);
      break;
    case '\n':
      fputs("\\n", out);
      break;
    case '\r':
      fputs("\\r", out);
      break;
    case '\0':
      fputs("\\0", out);
      break;
    default:
      putc_unlocked(*data, out);
      break;
    }
  }
}

static void tsv_begin(FILE *out, const char *table) {
  (void)out, (void)table;
}

static void tsv_write(FILE *out, const char *table, const char *key, size_t size,
                      const kv_value *value) {
  char number[32];
  (void)table;
  write_escaped(out, key, size);
  putc_unlocked('\t', out);
  switch (value->type) {
  case KV_NULL:
    fputs("\tNULL", out);
    break;
  case KV_INTEGER:
    fprintf(out, "%" PRId64 "\tINTEGER", value->integer);
    break;
  case KV_REAL:
    show_real(number, value->real);
    fprintf(out, "%s\tREAL", number);
    break;
  case KV_TEXT:
    write_escaped(out, value->data, value->size);
    break;
  case KV_BLOB:
    write_escaped(out, value->data, value->size);
    fputs("\tBLOB", out);
    break;
  }
  putc_unlocked('\n', out);
}

static void tsv_end(FILE *out) {
  (void)out;
}

/* A field, up to the TAB, the line's end or the end, which s then stands on. */
static bool read_field(source *s, bytes *out) {
  while (s->c != '\t' && s->c != '\n' && s->c != EOF) {
    char byte = (char)s->c;
    if (byte == '\0' || byte == '\r') {
      (void)source_bad(s, "%s stands where its escape should, '%s'", source_here(s),
                       byte == '\0' ? "\\0" : "\\r");
      return false;
    }
    if (byte == '\\') {
      static const char letters[] = "\\tnr0", meant[] = "\\\t\n\r\0";
      uint64_t line = s->line, column = s->column;
      source_step(s);
      const char *letter = s->c > 0 ? strchr(letters, s->c) : NULL;
      if (letter == NULL) {
        (void)source_bad_at(s, line, column,
                            "a backslash and %s is no escape: \\\\ \\t \\n \\r \\0 are; what the"
                            " sqlite3 shell wrote with -tabs is --format tabs",
                            source_here(s));
        return false;
      }
      byte = meant[letter - letters];
    }
    tool_append(out, &byte, 1);
    source_step(s);
  }
  return true;
}

/* Make the data the value of a named type. */
static read_result take_type(source *s, entry *out, const bytes *type, uint64_t data_column,
                             uint64_t type_column) {
  const bytes *data = &out->data;
#define TYPE_IS(word) (type->size == sizeof(word) - 1 && memcmp(type->data, word, type->size) == 0)
  if (TYPE_IS("BLOB")) {
    entry_set_data(out, KV_BLOB);
  } else if (TYPE_IS("NULL")) {
    if (data->size > 0) return source_bad_at(s, out->line, data_column, "NULL has no data");
  } else if (TYPE_IS("INTEGER")) {
    out->value.type = KV_INTEGER;
    if (!format_parse_integer(data->data, data->size, &out->value.integer)) {
      return source_bad_at(s, out->line, data_column, "not a 64-bit integer");
    }
  } else if (TYPE_IS("REAL")) {
    out->value.type = KV_REAL;
    if (!format_parse_real(data->data, data->size, &out->value.real)) {
      return source_bad_at(s, out->line, data_column, "not a real number");
    }
  } else {
    return source_bad_at(s, out->line, type_column,
                         "unknown type: INTEGER, REAL, BLOB and NULL are");
  }
#undef TYPE_IS
  return READ_ENTRY;
}

static read_result tsv_read(source *s, entry *out) {
  while (s->c == '\n') source_step(s);
  if (s->c == EOF) return READ_END;
  entry_begin(out, s);
  if (!read_field(s, &out->key)) return READ_BAD;
  if (s->c != '\t') return source_bad(s, "a TAB and data are missing behind the key");
  source_step(s);
  uint64_t data_column = s->column;
  if (!read_field(s, &out->data)) return READ_BAD;
  read_result result = READ_ENTRY;
  if (s->c == '\t') {
    bytes type = {0};
    source_step(s);
    uint64_t type_column = s->column;
    result = read_field(s, &type) ? READ_ENTRY : READ_BAD;
    if (result == READ_ENTRY && s->c == '\t') {
      result = source_bad(s, "a line has at most three fields");
    }
    if (result == READ_ENTRY) result = take_type(s, out, &type, data_column, type_column);
    bytes_free(&type);
  } else {
    entry_set_data(out, KV_TEXT);
  }
  if (result == READ_ENTRY && s->c == '\n') source_step(s);
  return result;
}

const text_format format_tsv = {.name = "tsv",
                                .suffixes = ".tsv .tab ",
                                .begin = tsv_begin,
                                .write = tsv_write,
                                .end = tsv_end,
                                .read = tsv_read};
