/*
** floor.c - a virtual table that does nothing: what a point get or a scan through SQL costs at least.
**
**     .load build/release/bench/floor
**     CREATE VIRTUAL TABLE kv USING floor;
**     SELECT value FROM kv WHERE key = 'any';     -- goober, always
**     SELECT key, value FROM kv(100);             -- data/0000012/034 and goober, so many times
*/
#include <sqlite3ext.h>
SQLITE_EXTENSION_INIT1

#include <stddef.h>

typedef struct floor_cursor {
  sqlite3_vtab_cursor base;
  sqlite3_int64 left; /* rows */
} floor_cursor;

enum { COLUMN_KEY, COLUMN_VALUE, COLUMN_ROWS };
enum { PLAN_GET, PLAN_SCAN };

static int floor_connect(sqlite3 *db, void *aux, int argc, const char *const *argv,
                         sqlite3_vtab **out, char **error) {
  (void)aux, (void)argc, (void)argv, (void)error;
  int code = sqlite3_declare_vtab(
      db, "CREATE TABLE x(key TEXT NOT NULL PRIMARY KEY, value, rows HIDDEN) WITHOUT ROWID");
  if (code != SQLITE_OK) return code;
  *out = sqlite3_malloc(sizeof **out);
  if (*out == NULL) return SQLITE_NOMEM;
  **out = (sqlite3_vtab){0};
  return SQLITE_OK;
}

static int floor_disconnect(sqlite3_vtab *table) {
  sqlite3_free(table);
  return SQLITE_OK;
}

static int floor_best_index(sqlite3_vtab *table, sqlite3_index_info *info) {
  (void)table;
  for (int i = 0; i < info->nConstraint; i++) {
    if (!info->aConstraint[i].usable || info->aConstraint[i].iColumn == COLUMN_VALUE ||
        info->aConstraint[i].op != SQLITE_INDEX_CONSTRAINT_EQ) {
      continue;
    }
    info->aConstraintUsage[i].argvIndex = 1;
    info->aConstraintUsage[i].omit = 1;
    info->idxNum = info->aConstraint[i].iColumn == COLUMN_KEY ? PLAN_GET : PLAN_SCAN;
    if (info->idxNum == PLAN_GET) info->idxFlags = SQLITE_INDEX_SCAN_UNIQUE;
    info->estimatedCost = 1;
    info->estimatedRows = info->idxNum == PLAN_GET ? 1 : 100;
    return SQLITE_OK;
  }
  return SQLITE_CONSTRAINT;
}

static int floor_open(sqlite3_vtab *table, sqlite3_vtab_cursor **out) {
  (void)table;
  floor_cursor *c = sqlite3_malloc(sizeof *c);
  if (c == NULL) return SQLITE_NOMEM;
  *c = (floor_cursor){.left = 0};
  *out = &c->base;
  return SQLITE_OK;
}

static int floor_close(sqlite3_vtab_cursor *cursor) {
  sqlite3_free(cursor);
  return SQLITE_OK;
}

static int floor_filter(sqlite3_vtab_cursor *cursor, int number, const char *text, int argc,
                        sqlite3_value **argv) {
  (void)text, (void)argc;
  ((floor_cursor *)cursor)->left =
      number == PLAN_GET ? sqlite3_value_text(argv[0]) != NULL : sqlite3_value_int64(argv[0]);
  return SQLITE_OK;
}

static int floor_next(sqlite3_vtab_cursor *cursor) {
  ((floor_cursor *)cursor)->left--;
  return SQLITE_OK;
}

static int floor_eof(sqlite3_vtab_cursor *cursor) {
  return ((floor_cursor *)cursor)->left <= 0;
}

static int floor_column(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int column) {
  (void)cursor;
  sqlite3_result_text(context, column == COLUMN_KEY ? "data/0000012/034" : "goober", -1,
                      SQLITE_STATIC);
  return SQLITE_OK;
}

static int floor_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *out) {
  (void)cursor, (void)out;
  return SQLITE_ERROR;
}

static const sqlite3_module floor_module = {.xCreate = floor_connect,
                                            .xConnect = floor_connect,
                                            .xBestIndex = floor_best_index,
                                            .xDisconnect = floor_disconnect,
                                            .xDestroy = floor_disconnect,
                                            .xOpen = floor_open,
                                            .xClose = floor_close,
                                            .xFilter = floor_filter,
                                            .xNext = floor_next,
                                            .xEof = floor_eof,
                                            .xColumn = floor_column,
                                            .xRowid = floor_rowid};

__attribute__((visibility("default"))) int sqlite3_floor_init(sqlite3 *db, char **error,
                                                              const sqlite3_api_routines *api);
int sqlite3_floor_init(sqlite3 *db, char **error, const sqlite3_api_routines *api) {
  (void)error;
  SQLITE_EXTENSION_INIT2(api);
  return sqlite3_create_module(db, "floor", &floor_module, NULL);
}
