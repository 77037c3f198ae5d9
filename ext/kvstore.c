/*
** kvstore.c - the entry point of the extension: what .load ./kvstore registers.
**
**   kvstore            the table module (table.c)
**   kvstore_tree()     every node of a table's tree, a table-valued function (nodes.c)
**   kvstore_log()      the lines of a log, a table-valued function (lines.c)
**   kvstore_stat       a row for every open store (stat.c)
**   kvstore_pending    empty; learns how transactions end (pending.c)
**   kvstore_version()  the version, a text
**   kvstore_debug()    what it was built from and with, a text
**
** The library stays loaded until the process ends: the engine keeps process-wide state and may have
** a flush thread running.
*/
#include "face.h"
#include "lines.h"
#include "nodes.h"
#include "pending.h"
#include "session.h"
#include "stat.h"

#include <stdbool.h>

SQLITE_EXTENSION_INIT1

static void version_function(sqlite3_context *context, int argc, sqlite3_value **argv) {
  (void)argc, (void)argv;
  sqlite3_result_text(context, kv_version(), -1, SQLITE_STATIC);
}

static void debug_function(sqlite3_context *context, int argc, sqlite3_value **argv) {
  (void)argc, (void)argv;
  char *text = sqlite3_mprintf(
      "kvstore %s; log format 1; built with %s, SQLite header %s; running in SQLite %s%s",
      kv_version(),
#if defined(__clang__)
      "clang " __clang_version__,
#else
      "gcc " __VERSION__,
#endif
      SQLITE_VERSION, sqlite3_libversion(),
#ifdef NDEBUG
      ""
#else
      "; asserts on"
#endif
  );
  if (text == NULL) {
    sqlite3_result_error_nomem(context);
  } else {
    sqlite3_result_text(context, text, -1, sqlite3_free);
  }
}

static int register_functions(sqlite3 *connection) {
  int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
  int rc = sqlite3_create_function_v2(connection, "kvstore_version", 0, flags, NULL,
                                      version_function, NULL, NULL, NULL);
  if (rc != SQLITE_OK) return rc;
  return sqlite3_create_function_v2(connection, "kvstore_debug", 0, flags, NULL, debug_function,
                                    NULL, NULL, NULL);
}

/* sqlite3_auto_extension, by which a SQLite with the extension inside calls it, takes every other
** code for an error and calls no further extension. */
#ifdef SQLITE_CORE
#define LOADED SQLITE_OK
#else
#define LOADED SQLITE_OK_LOAD_PERMANENTLY
#endif

/* Loaded a second time, the modules must stay: the connection's tables live in their session. This
** PRAGMA does not read the schema: the database may be locked, or not be one. */
static int is_loaded(sqlite3 *connection, bool *out) {
  sqlite3_stmt *statement = NULL;
  bool loaded = false;
  int rc = sqlite3_prepare_v2(connection, "PRAGMA module_list", -1, &statement, NULL);
  while (rc == SQLITE_OK && !loaded && sqlite3_step(statement) == SQLITE_ROW) {
    const char *name = (const char *)sqlite3_column_text(statement, 0);
    loaded = sqlite3_stricmp(name, "kvstore") == 0;
  }
  int end = sqlite3_finalize(statement);
  *out = loaded;
  return rc != SQLITE_OK ? rc : end;
}

__attribute__((visibility("default"))) int sqlite3_kvstore_init(sqlite3 *connection, char **message,
                                                                const sqlite3_api_routines *api);

int sqlite3_kvstore_init(sqlite3 *connection, char **message, const sqlite3_api_routines *api) {
  SQLITE_EXTENSION_INIT2(api);
  if (sqlite3_libversion_number() < FACE_SQLITE_VERSION_MIN) {
    *message = sqlite3_mprintf("kvstore needs SQLite 3.38.0 or newer, and this is %s",
                               sqlite3_libversion());
    return SQLITE_ERROR;
  }
  bool loaded;
  int rc = is_loaded(connection, &loaded);
  if (rc != SQLITE_OK) {
    *message = sqlite3_mprintf("kvstore: PRAGMA module_list: %s", sqlite3_errmsg(connection));
    return rc;
  }
  if (loaded) return LOADED;
  session *s = session_new(connection);
  if (s == NULL) return SQLITE_NOMEM;
  rc = sqlite3_create_collation_v2(connection, KEY_COLLATION, SQLITE_UTF8, NULL, table_compare_keys,
                                   NULL);
  if (rc != SQLITE_OK) {
    session_drop(s);
    return rc;
  }
  /* Frees the session itself if it fails. */
  rc = sqlite3_create_module_v2(connection, "kvstore", &table_module, s, session_drop);
  if (rc == SQLITE_OK) {
    rc = sqlite3_create_module_v2(connection, "kvstore_tree", &nodes_module, s, NULL);
  }
  if (rc == SQLITE_OK) {
    rc = sqlite3_create_module_v2(connection, "kvstore_log", &lines_module, NULL, NULL);
  }
  if (rc == SQLITE_OK) {
    rc = sqlite3_create_module_v2(connection, "kvstore_stat", &stat_module, s, NULL);
  }
  if (rc == SQLITE_OK) {
    rc = sqlite3_create_module_v2(connection, "kvstore_pending", &pending_module, s, NULL);
  }
  if (rc == SQLITE_OK) rc = register_functions(connection);
  return rc == SQLITE_OK ? LOADED : rc;
}
