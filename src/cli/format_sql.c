/*
** format_sql.c - statements that any SQLite can run.
**
**     BEGIN;
**     CREATE TABLE IF NOT EXISTS kv(key TEXT PRIMARY KEY NOT NULL, value) WITHOUT ROWID;
**     INSERT INTO kv VALUES('test/val', 'this is a test val');
**     COMMIT;
**
** They make an ordinary table; where kv is a kvstore table already, they fill that. One statement
** for each key. A value is NULL, an integer, a real with as many digits as it takes (9e999 is
** infinite; SQLite itself forgets the sign of -0.0, and 3.40 reads a few reals beyond 1e+-280 one
** bit off), x'00ff' for a blob, or 'text' with '' for a quote. Text that holds NUL, CR or another
** control character (but TAB and LF), or that is not UTF-8, is CAST(x'..' AS TEXT): no shell and no
** editor changes that on its way.
**
** Read is this, and as much around it as the sqlite3 shell's own .dump and .mode insert write:
** INSERT [OR REPLACE] INTO, REPLACE INTO, a list of the columns (key, value), several rows, any
** name of the table, comments, capitals or not; replace('a\nb','\n',char(10)) and unistr('a\u000ab'),
** which it writes for text with line breaks. BEGIN, COMMIT, END, PRAGMA, ANALYZE, CREATE and what is
** done to tables whose names begin with sqlite_ are read and mean nothing. Any other statement and any
** other expression is an error.
*/
#include "format.h"
#include "show.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* --- writing ------------------------------------------------------------------------------------ */

static void write_name(FILE *out, const char *name) {
  if (strcmp(name, FORMAT_TABLE) == 0) {
    fputs(name, out);
    return;
  }
  putc_unlocked('"', out);
  for (; *name != '\0'; name++) {
    if (*name == '"') putc_unlocked('"', out);
    putc_unlocked(*name, out);
  }
  putc_unlocked('"', out);
}

static void write_hex(FILE *out, const char *data, size_t size) {
  static const char digits[] = "0123456789abcdef";
  fputs("x'", out);
  for (const char *end = data + size; data < end; data++) {
    putc_unlocked(digits[(unsigned char)*data >> 4], out);
    putc_unlocked(digits[(unsigned char)*data & 15], out);
  }
  putc_unlocked('\'', out);
}

/* Whether a text can stand between quotes. */
static bool is_plain(const char *data, size_t size) {
  for (size_t at = 0, used; at < size; at += used) {
    unsigned char byte = (unsigned char)data[at];
    if ((byte < 0x20 && byte != '\t' && byte != '\n') || byte == 0x7f) return false;
    used = show_character(data + at, size - at);
    if (used == 0) return false;
  }
  return true;
}

static void write_text(FILE *out, const char *data, size_t size) {
  if (!is_plain(data, size)) {
    fputs("CAST(", out);
    write_hex(out, data, size);
    fputs(" AS TEXT)", out);
    return;
  }
  putc_unlocked('\'', out);
  for (const char *end = data + size; data < end; data++) {
    if (*data == '\'') putc_unlocked('\'', out);
    putc_unlocked(*data, out);
  }
  putc_unlocked('\'', out);
}

/* The shortest decimal would do for a reader that rounds right. SQLite's own, before 3.43 at least,
** is off by a little, which matters where a decimal lies almost in the middle between two doubles;
** so here it is the first of 15 to 17 digits that does not. */
static void write_real(FILE *out, double real) {
  char text[32];
  if (isinf(real)) {
    fputs(real < 0 ? "-9e999" : "9e999", out);
    return;
  }
  uint64_t bits;
  double next = fabs(real); /* and one bit more; infinite behind the last, which is well */
  memcpy(&bits, &next, sizeof bits);
  bits++;
  memcpy(&next, &bits, sizeof bits);
  long double step = (long double)next - fabsl(real);
  for (int digits = 15; digits <= 17; digits++) {
    (void)snprintf(text, sizeof text, "%.*g", digits, real);
    if (strtod(text, NULL) == real && fabsl(strtold(text, NULL) - real) < step * 0.45L) break;
  }
  fprintf(out, "%s%s", text, strpbrk(text, ".e") != NULL ? "" : ".0");
}

static void sql_begin(FILE *out, const char *table) {
  fputs("BEGIN;\nCREATE TABLE IF NOT EXISTS ", out);
  write_name(out, table);
  fputs("(key TEXT PRIMARY KEY NOT NULL, value) WITHOUT ROWID;\n", out);
}

static void sql_write(FILE *out, const char *table, const char *key, size_t size,
                      const kv_value *value) {
  fputs("INSERT INTO ", out);
  write_name(out, table);
  fputs(" VALUES(", out);
  write_text(out, key, size);
  fputs(", ", out);
  switch (value->type) {
  case KV_NULL:
    fputs("NULL", out);
    break;
  case KV_INTEGER:
    fprintf(out, "%" PRId64, value->integer);
    break;
  case KV_REAL:
    write_real(out, value->real);
    break;
  case KV_TEXT:
    write_text(out, value->data, value->size);
    break;
  case KV_BLOB:
    write_hex(out, value->data, value->size);
    break;
  }
  fputs(");\n", out);
}

static void sql_end(FILE *out) {
  fputs("COMMIT;\n", out);
}

/* --- reading ------------------------------------------------------------------------------------ */

/* Skip spaces and comments; false if a comment has no end. */
static bool skip(source *s) {
  for (;;) {
    source_skip_spaces(s);
    if (s->c != '-' && s->c != '/') return true;
    bool line = s->c == '-';
    int next = getc_unlocked(s->file);
    (void)ungetc(next, s->file);
    if (next != (line ? '-' : '*')) return true;
    uint64_t at_line = s->line, at_column = s->column;
    source_step(s);
    source_step(s);
    for (int before = 0; line ? s->c != '\n' : before != '*' || s->c != '/'; source_step(s)) {
      if (s->c == EOF && !line) {
        (void)source_bad_at(s, at_line, at_column, "the comment has no end");
        return false;
      }
      if (s->c == EOF) return true;
      before = s->c;
    }
    source_step(s);
  }
}

/* The word s stands on, in capitals; longer ones are cut. Then skip what follows. */
static bool read_word(source *s, char word[16]) {
  size_t size = 0;
  while (s->c != EOF && (isalnum(s->c) || s->c == '_')) {
    if (size < 15) word[size++] = (char)toupper(s->c);
    source_step(s);
  }
  word[size] = '\0';
  return skip(s);
}

static bool expect_word(source *s, const char *want) {
  char word[16];
  uint64_t line = s->line, column = s->column;
  if (!read_word(s, word)) return false;
  if (strcmp(word, want) == 0) return true;
  (void)source_bad_at(s, line, column, "%s is missing here", want);
  return false;
}

static bool expect(source *s, char want) {
  if (s->c != want) {
    (void)source_bad(s, "%s stands where '%c' should", source_here(s), want);
    return false;
  }
  source_step(s);
  return skip(s);
}

/* What stands between quotes that are doubled inside; s stands on the first. */
static bool read_quoted(source *s, bytes *out) {
  int quote = s->c;
  uint64_t line = s->line, column = s->column;
  for (source_step(s);; source_step(s)) {
    if (s->c == EOF) {
      (void)source_bad_at(s, line, column, "what begins with %c has no end", quote);
      return false;
    }
    if (s->c == quote) {
      source_step(s);
      if (s->c != quote) return true;
    }
    char byte = (char)s->c;
    if (out != NULL) tool_append(out, &byte, 1);
  }
}

/* A name of a table or column, as a word or between quotes. */
static bool read_name(source *s, bytes *out) {
  out->size = 0;
  if (s->c == '"' || s->c == '`') return read_quoted(s, out) && skip(s);
  while (s->c != EOF && (isalnum(s->c) || s->c == '_' || s->c >= 0x80)) {
    char byte = (char)s->c;
    tool_append(out, &byte, 1);
    source_step(s);
  }
  if (out->size > 0) return skip(s);
  (void)source_bad(s, "%s stands where a name should", source_here(s));
  return false;
}

/* x'..', whose quote s stands on. */
static bool read_hex(source *s, bytes *out) {
  if (s->c != '\'') {
    (void)source_bad(s, "%s stands where the quote of x'' should", source_here(s));
    return false;
  }
  for (source_step(s); s->c != '\''; source_step(s)) {
    int high = format_hex(s->c);
    if (high >= 0) source_step(s);
    int low = format_hex(s->c);
    if (high < 0 || low < 0) {
      (void)source_bad(s, "%s is no hex digit", source_here(s));
      return false;
    }
    char byte = (char)(high << 4 | low);
    tool_append(out, &byte, 1);
  }
  source_step(s);
  return skip(s);
}

static bool read_number(source *s, entry *out) {
  bytes *data = &out->data;
  uint64_t line = s->line, column = s->column;
  while (s->c != EOF && strchr("0123456789+-.eE", s->c) != NULL && s->c != 0 && data->size < 600) {
    char byte = (char)s->c;
    tool_append(data, &byte, 1);
    source_step(s);
  }
  tool_append(data, "", 1);
  data->size--;
  bool integer = strpbrk(data->data, ".eE") == NULL;
  out->value.type = integer ? KV_INTEGER : KV_REAL;
  bool good = integer ? format_parse_integer(data->data, data->size, &out->value.integer)
                      : format_parse_shell_real(data->data, data->size, &out->value.real);
  if (!good) (void)source_bad_at(s, line, column, "not a number that a value can be");
  return good && skip(s);
}

/* CAST(x'..' AS TEXT), behind the CAST. */
static bool read_cast(source *s, bytes *out) {
  if (!expect(s, '(')) return false;
  if (s->c != 'x' && s->c != 'X') {
    (void)source_bad(s, "only CAST(x'..' AS TEXT) is understood");
    return false;
  }
  source_step(s);
  return read_hex(s, out) && expect_word(s, "AS") && expect_word(s, "TEXT") && expect(s, ')');
}

/* unistr('..'), behind the word. Its escapes are \\, and a backslash with 4 hex digits, with u and 4, with
** + and 6, or with U and 8. */
static bool read_unistr(source *s, bytes *out) {
  bytes text = {0};
  uint64_t line = s->line, column = s->column;
  bool good = expect(s, '(') && s->c == '\'' && read_quoted(s, &text) && skip(s) && expect(s, ')');
  for (size_t i = 0; i < text.size && good;) {
    size_t left = text.size - i;
    if (text.data[i] != '\\') {
      tool_append(out, &text.data[i++], 1);
    } else if (left > 1 && text.data[i + 1] == '\\') {
      tool_append(out, "\\", 1);
      i += 2;
    } else {
      char kind = left > 1 ? text.data[i + 1] : '\0', digits[9] = "";
      size_t head = kind == '+' || kind == 'u' || kind == 'U' ? 2 : 1;
      size_t count = kind == '+' ? 6 : kind == 'U' ? 8 : 4;
      good = left >= head + count;
      if (!good) break;
      memcpy(digits, text.data + i + head, count);
      good = strspn(digits, "0123456789abcdefABCDEF") == count;
      unsigned long code = strtoul(digits, NULL, 16);
      good = good && code <= 0x10ffff;
      if (good) tool_append_character(out, code);
      i += head + count;
    }
  }
  bytes_free(&text);
  if (!good)
    (void)source_bad_at(s, line, column, "only unistr('..') with its escapes is understood");
  return good;
}

/* Put `byte` for every occurrence of a text. */
static void replace_in(bytes *in, const bytes *what, char byte) {
  bytes out = {0};
  for (size_t i = 0; i < in->size;) {
    bool here = what->size > 0 && in->size - i >= what->size &&
                memcmp(in->data + i, what->data, what->size) == 0;
    tool_append(&out, here ? &byte : &in->data[i], 1);
    i += here ? what->size : 1;
  }
  bytes_free(in);
  *in = out;
}

/* replace(text, '..', char(N)), behind the word; text is a literal or another one of these. */
static bool read_replace(source *s, bytes *out, int depth) {
  char word[16];
  uint64_t line = s->line, column = s->column, code = 0;
  bytes what = {0};
  bool good = depth < 4 && expect(s, '(');
  if (good && s->c == '\'') {
    good = read_quoted(s, out) && skip(s);
  } else if (good) {
    good = read_word(s, word) && strcmp(word, "REPLACE") == 0 && read_replace(s, out, depth + 1);
  }
  good = good && expect(s, ',') && s->c == '\'' && read_quoted(s, &what) && skip(s);
  good =
      good && expect(s, ',') && read_word(s, word) && strcmp(word, "CHAR") == 0 && expect(s, '(');
  good = good && read_word(s, word) && tool_parse_number(word, &code) && code < 0x80;
  good = good && expect(s, ')') && expect(s, ')');
  if (good) replace_in(out, &what, (char)code);
  bytes_free(&what);
  if (!good) {
    (void)source_bad_at(s, line, column, "only replace('..','..',char(N)) is understood");
  }
  return good;
}

/* A literal, into out->value and out->data. */
static bool read_literal(source *s, entry *out) {
  char word[16];
  uint64_t line = s->line, column = s->column;
  out->data.size = 0;
  if (s->c == '\'') {
    if (!read_quoted(s, &out->data) || !skip(s)) return false;
    entry_set_data(out, KV_TEXT);
    return true;
  }
  if (s->c == '-' || s->c == '.' || (s->c >= '0' && s->c <= '9')) return read_number(s, out);
  if (s->c == 'x' || s->c == 'X') {
    source_step(s);
    if (!read_hex(s, &out->data)) return false;
    entry_set_data(out, KV_BLOB);
    return true;
  }
  if (!read_word(s, word)) return false;
  if (strcmp(word, "NULL") == 0) {
    out->value.type = KV_NULL;
    return true;
  }
  bool is_cast = strcmp(word, "CAST") == 0, is_unistr = strcmp(word, "UNISTR") == 0;
  if (is_cast || is_unistr || strcmp(word, "REPLACE") == 0) {
    bool good = is_cast     ? read_cast(s, &out->data)
                : is_unistr ? read_unistr(s, &out->data)
                            : read_replace(s, &out->data, 0);
    if (!good) return false;
    entry_set_data(out, KV_TEXT);
    return true;
  }
  if (word[0] == '\0') {
    (void)source_bad_at(s, line, column, "%s stands where a literal should", source_here(s));
  } else {
    (void)source_bad_at(s, line, column, "a literal is missing here");
  }
  return false;
}

/* Whether a name is one of SQLite's own tables. */
static bool is_own(const bytes *name) {
  return name->size > 7 && strncasecmp(name->data, "sqlite_", 7) == 0;
}

/* INTO table [(key, value)] VALUES, behind INSERT; only INTO table if it is SQLite's own. */
static bool read_insert(source *s, bool replace, bool *own) {
  static const char *const columns[] = {"key", "value"};
  char word[16];
  bytes name = {0};
  uint64_t line = s->line, column = s->column;
  bool good = read_word(s, word);
  if (good && !replace && strcmp(word, "OR") == 0) {
    good = expect_word(s, "REPLACE");
    line = s->line;
    column = s->column;
    good = good && read_word(s, word);
  }
  if (good && strcmp(word, "INTO") != 0) {
    (void)source_bad_at(s, line, column, "INTO is missing here");
    good = false;
  }
  good = good && read_name(s, &name);
  *own = good && is_own(&name);
  if (good && !*own && s->c == '(') {
    for (int i = 0; i < 2 && good; i++) {
      good = expect(s, i == 0 ? '(' : ',');
      line = s->line;
      column = s->column;
      good = good && read_name(s, &name);
      if (good &&
          (name.size != strlen(columns[i]) || strncasecmp(name.data, columns[i], name.size) != 0)) {
        (void)source_bad_at(s, line, column, "the column should be '%s'", columns[i]);
        good = false;
      }
    }
    good = good && expect(s, ')');
  }
  good = good && (*own || expect_word(s, "VALUES"));
  bytes_free(&name);
  return good;
}

/* Skip to behind the semicolon of a statement that means nothing here. */
static bool skip_statement(source *s) {
  while (s->c != ';') {
    if (s->c == EOF) {
      (void)source_bad(s, "the statement has no end");
      return false;
    }
    if (s->c == '\'' || s->c == '"' || s->c == '`') {
      if (!read_quoted(s, NULL)) return false;
    } else {
      source_step(s);
    }
    if (!skip(s)) return false;
  }
  source_step(s);
  return true;
}

/* (key, value), and what follows the row. */
static read_result read_row(source *s, entry *out) {
  if (!expect(s, '(')) return READ_BAD;
  entry_begin(out, s);
  if (!read_literal(s, out)) return READ_BAD;
  if (out->value.type != KV_TEXT) {
    return source_bad_at(s, out->line, out->column, "the key is no text");
  }
  bytes swap = out->key;
  out->key = out->data;
  out->data = swap;
  if (!expect(s, ',') || !read_literal(s, out) || !expect(s, ')')) return READ_BAD;
  s->in_rows = s->c == ',';
  if (s->c != ',' && s->c != ';') {
    return source_bad(s, "%s stands where ',' or ';' should", source_here(s));
  }
  source_step(s);
  return READ_ENTRY;
}

/* Behind CREATE. The statements of a trigger end with one that is only END. The rows of a virtual table
** would not follow. */
static bool skip_create(source *s) {
  char word[16];
  uint64_t line = s->line, column = s->column;
  do {
    if (!read_word(s, word)) return false;
  } while (strcmp(word, "TEMP") == 0 || strcmp(word, "TEMPORARY") == 0);
  if (strcmp(word, "VIRTUAL") == 0) {
    (void)source_bad_at(s, line, column, "a virtual table is not understood");
    return false;
  }
  if (strcmp(word, "TRIGGER") != 0) return skip_statement(s);
  while (skip_statement(s)) {
    if (!skip(s)) return false;
    if (s->c != 'E' && s->c != 'e') continue;
    if (!read_word(s, word)) return false;
    if (strcmp(word, "END") == 0 && s->c == ';') return skip_statement(s);
  }
  return false;
}

/* FROM a table of SQLite's own, behind DELETE. */
static bool skip_delete(source *s) {
  bytes name = {0};
  uint64_t line = s->line, column = s->column;
  bool good = expect_word(s, "FROM") && read_name(s, &name), own = good && is_own(&name);
  bytes_free(&name);
  if (good && !own) (void)source_bad_at(s, line, column, "DELETE is not understood");
  return own && skip_statement(s);
}

static read_result sql_read(source *s, entry *out) {
  static const char *const ignored[] = {"BEGIN", "COMMIT", "END", "PRAGMA", "ANALYZE"};
  char word[16];
  while (!s->in_rows) {
    if (!skip(s)) return READ_BAD;
    if (s->c == EOF) return READ_END;
    if (s->c == ';') {
      source_step(s);
      continue;
    }
    uint64_t line = s->line, column = s->column;
    if (!read_word(s, word)) return READ_BAD;
    bool ignore = false, own = false;
    for (int i = 0; i < 5; i++) ignore = ignore || strcmp(word, ignored[i]) == 0;
    bool replace = strcmp(word, "REPLACE") == 0;
    if (replace || strcmp(word, "INSERT") == 0) {
      if (!read_insert(s, replace, &own)) return READ_BAD;
      s->in_rows = !own;
      ignore = own;
    } else if (strcmp(word, "CREATE") == 0) {
      if (!skip_create(s)) return READ_BAD;
    } else if (strcmp(word, "DELETE") == 0) {
      if (!skip_delete(s)) return READ_BAD;
    } else if (!ignore) {
      return source_bad_at(s, line, column,
                           "only INSERT, BEGIN, COMMIT, PRAGMA, ANALYZE and CREATE are understood");
    }
    if (ignore && !skip_statement(s)) return READ_BAD;
  }
  if (!skip(s)) return READ_BAD;
  return read_row(s, out);
}

const text_format format_sql = {.name = "sql",
                                .suffixes = ".sql ",
                                .begin = sql_begin,
                                .write = sql_write,
                                .end = sql_end,
                                .read = sql_read};
