/*
** format.h - the three texts that dump writes and load reads: SQL, TSV, JSON; and a fourth that load
** reads only, what the sqlite3 shell writes in .mode tabs.
**
** Each is exact: every key, and every value of the five storage classes, comes back byte for byte
** and bit for bit. A format is a table of functions; format_sql.c, format_tsv.c and format_json.c
** each open with what they look like. load reads all that dump writes and some of what people and
** other programs write, which those essays tell, and nothing else: at the first thing that is not
** understood reading ends with its line and column, counted in bytes from 1.
*/
#ifndef FORMAT_H
#define FORMAT_H

#include "tool.h"

#define FORMAT_TABLE "kv" /* the table that SQL names if no other is asked for */

/* A key and its value, read. value points into data. */
typedef struct entry {
  bytes key, data;
  kv_value value;
  uint64_t line, column; /* where it began */
} entry;

/* Text being read. c is the byte at line and column, EOF at the end. */
typedef struct source {
  FILE *file;
  int c;
  uint64_t line, column, offset;
  bool in_rows; /* of one INSERT, or of an array */
  char why[256];
  uint64_t why_line, why_column;
} source;

typedef enum read_result { READ_ENTRY, READ_END, READ_BAD } read_result;

typedef struct text_format {
  const char *name;
  const char *suffixes; /* of file names, each with a space behind: ".json .jsonl " */
  /* NULL for a format that can only be read. */
  void (*begin)(FILE *out, const char *table);
  void (*write)(FILE *out, const char *table, const char *key, size_t size, const kv_value *value);
  void (*end)(FILE *out);
  read_result (*read)(source *s, entry *out);
} text_format;

extern const text_format format_sql, format_tsv, format_json, format_tabs;

/* By its name, or by a file's name; NULL if there is none. */
const text_format *format_named(const char *name);
const text_format *format_of_file(const char *path);

/* --- for the formats ---------------------------------------------------------------------------- */

void source_begin(source *s, FILE *file);

static inline void source_step(source *s) {
  if (s->c == '\n') {
    s->line++;
    s->column = 0;
  }
  s->column++;
  s->offset++;
  s->c = getc_unlocked(s->file);
}

/* Note what is wrong at the byte s stands on, unless something is noted already; READ_BAD. */
read_result source_bad(source *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, at another place. */
read_result source_bad_at(source *s, uint64_t line, uint64_t column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* "'x'", "the end", "byte 0x00": what s stands on, for an error. */
const char *source_here(const source *s);

void source_skip_spaces(source *s); /* and line ends */

/* Begin a new entry at the place s stands on. */
void entry_begin(entry *e, const source *s);
void entry_free(entry *e);
void entry_set_data(entry *e, kv_type type); /* data is the text or blob */

/* The whole of a text as a number: [-]digits that fit; a decimal, or Inf and -Inf. */
bool format_parse_integer(const char *text, size_t size, int64_t *out);
bool format_parse_real(const char *text, size_t size, double *out);

/* The same, and how SQLite's shell spells the infinite: 9e999, 9.0e+999, 1e999. */
bool format_parse_shell_real(const char *text, size_t size, double *out);

/* The value of a hex digit; -1: it is none. */
int format_hex(int c);

#endif
