/*
** lines.c - kvstore_log(file): the lines of a log as rows, also of a damaged one, changing nothing.
**
**     SELECT seq, op, key, value FROM kvstore_log('test.dat') WHERE status <> 'ok';
**
** A row for each line, in the order of the file. status is 'ok' for a line of a transaction that
** verifies, 'header', 'original' (a log without a header), 'room' (zeros to the end), or begins with
** 'torn', 'damaged' or 'foreign' and says what is wrong. If any row is damaged or foreign opening
** refuses the file; else, if any is torn, it cuts the log off there.
**
** It reads any file the process may read, so it is closed to views and triggers.
*/
#include "lines.h"

#include "inspect.h"

#include <string.h>

enum {
  LINE_OFFSET,
  LINE_SEQ,
  LINE_OP,
  LINE_KEY,
  LINE_VALUE,
  LINE_DURABLE_SEQ,
  LINE_STATUS,
  LINE_FILE
};

static const char declaration[] =
    "CREATE TABLE x(offset INTEGER, seq INTEGER, op TEXT, key TEXT, value, durable_seq INTEGER, "
    "status TEXT, file HIDDEN)";

typedef struct lines_cursor {
  sqlite3_vtab_cursor base;
  inspection *log;
  inspect_row row;
  bool more;
} lines_cursor;

static int lines_connect(sqlite3 *connection, void *context, int argc, const char *const *argv,
                         sqlite3_vtab **out, char **message) {
  (void)context, (void)argc, (void)argv, (void)message;
  int rc = sqlite3_declare_vtab(connection, declaration);
  if (rc == SQLITE_OK) rc = sqlite3_vtab_config(connection, SQLITE_VTAB_DIRECTONLY);
  if (rc != SQLITE_OK) return rc;
  *out = sqlite3_malloc64(sizeof **out);
  if (*out == NULL) return SQLITE_NOMEM;
  memset(*out, 0, sizeof **out);
  return SQLITE_OK;
}

static int lines_disconnect(sqlite3_vtab *base) {
  sqlite3_free(base);
  return SQLITE_OK;
}

static int lines_best_index(sqlite3_vtab *base, sqlite3_index_info *info) {
  info->estimatedRows = 100000;
  info->estimatedCost = 1000000;
  for (int i = 0; i < info->nConstraint; i++) {
    const struct sqlite3_index_constraint *constraint = &info->aConstraint[i];
    if (constraint->iColumn != LINE_FILE || constraint->op != SQLITE_INDEX_CONSTRAINT_EQ) continue;
    if (!constraint->usable) return SQLITE_CONSTRAINT;
    info->aConstraintUsage[i].argvIndex = 1;
    info->aConstraintUsage[i].omit = 1;
    info->orderByConsumed =
        info->nOrderBy == 1 && info->aOrderBy[0].iColumn == LINE_OFFSET && !info->aOrderBy[0].desc;
    return SQLITE_OK;
  }
  return face_fail_text(base, SQLITE_ERROR, "kvstore_log needs a file: kvstore_log('test.dat')");
}

static int lines_open(sqlite3_vtab *base, sqlite3_vtab_cursor **out) {
  (void)base;
  lines_cursor *c = sqlite3_malloc64(sizeof *c);
  if (c == NULL) return SQLITE_NOMEM;
  memset(c, 0, sizeof *c);
  *out = &c->base;
  return SQLITE_OK;
}

static int lines_close(sqlite3_vtab_cursor *base) {
  lines_cursor *c = (lines_cursor *)base;
  inspect_close(c->log);
  sqlite3_free(c);
  return SQLITE_OK;
}

static int lines_next(sqlite3_vtab_cursor *base) {
  lines_cursor *c = (lines_cursor *)base;
  kv_error err;
  return inspect_next(c->log, &c->row, &c->more, &err) == KV_OK ? SQLITE_OK
                                                                : face_fail(base->pVtab, &err);
}

static int lines_filter(sqlite3_vtab_cursor *base, int plan, const char *words, int argc,
                        sqlite3_value **argv) {
  (void)plan, (void)words, (void)argc;
  lines_cursor *c = (lines_cursor *)base;
  kv_error err;
  inspect_close(c->log);
  c->log = NULL;
  c->more = false;
  const char *file;
  size_t size;
  int rc = face_text(argv[0], &file, &size);
  if (rc != SQLITE_OK || file == NULL) return rc;
  rc = inspect_open(file, &c->log, &err);
  return rc == KV_OK ? lines_next(base) : face_fail(base->pVtab, &err);
}

static int lines_eof(sqlite3_vtab_cursor *base) {
  return !((lines_cursor *)base)->more;
}

static int lines_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *out) {
  *out = (sqlite3_int64)((lines_cursor *)base)->row.offset;
  return SQLITE_OK;
}

static void column_status(sqlite3_context *context, const inspect_row *row) {
  static const char *const words[] = {
      [INSPECT_OK] = "ok",          [INSPECT_HEADER] = "header", [INSPECT_ORIGINAL] = "original",
      [INSPECT_ROOM] = "room",      [INSPECT_TORN] = "torn",     [INSPECT_DAMAGED] = "damaged",
      [INSPECT_FOREIGN] = "foreign"};
  const char *word = words[row->status];
  char *text = row->note[0] != '\0' ? sqlite3_mprintf("%s: %s", word, row->note)
                                    : sqlite3_mprintf("%s", word);
  if (text == NULL) {
    sqlite3_result_error_nomem(context);
  } else {
    sqlite3_result_text(context, text, -1, sqlite3_free);
  }
}

/* A text stands in the line, without a NUL behind it. */
static void column_value(sqlite3_context *context, const inspect_row *row) {
  if (row->has_value && row->value.type == KV_TEXT) {
    face_result_text(context, row->value.data, row->value.size);
  } else if (row->has_value) {
    face_result(context, &row->value, NULL);
  }
}

static int lines_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column) {
  const lines_cursor *c = (const lines_cursor *)base;
  const inspect_row *row = &c->row;
  switch (column) {
  case LINE_OFFSET:
    sqlite3_result_int64(context, (sqlite3_int64)row->offset);
    break;
  case LINE_SEQ:
    if (row->seq > 0) sqlite3_result_int64(context, (sqlite3_int64)row->seq);
    break;
  case LINE_OP:
    sqlite3_result_text(context, row->op, -1, SQLITE_STATIC);
    break;
  case LINE_KEY:
    if (row->key != NULL) {
      sqlite3_result_text64(context, row->key, row->key_size, SQLITE_TRANSIENT, SQLITE_UTF8);
    }
    break;
  case LINE_VALUE:
    column_value(context, row);
    break;
  case LINE_DURABLE_SEQ:
    if (row->op != NULL && strcmp(row->op, "COMMIT") == 0) {
      sqlite3_result_int64(context, (sqlite3_int64)row->durable_seq);
    }
    break;
  case LINE_STATUS:
    column_status(context, row);
    break;
  default:
    break; /* file is omitted from the check */
  }
  return SQLITE_OK;
}

const sqlite3_module lines_module = {
    .xConnect = lines_connect,
    .xBestIndex = lines_best_index,
    .xDisconnect = lines_disconnect,
    .xOpen = lines_open,
    .xClose = lines_close,
    .xFilter = lines_filter,
    .xNext = lines_next,
    .xEof = lines_eof,
    .xColumn = lines_column,
    .xRowid = lines_rowid,
};
