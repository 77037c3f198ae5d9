/* database.c - what is known of the databases that a connection has open. See database.h. */
#include "database.h"

#include "side_file.h"

#include <string.h>

#define DATABASES_MAX 128 /* SQLite's own limit is 125 attached, main and temp */

/* --- in a file, or in memory ---------------------------------------------------------------------- */

/* The VFS's name; of several that are stacked, the lowest. NULL if it does not tell. *name is to be
** freed with sqlite3_free. */
static const char *lowest_vfs(sqlite3 *connection, const char *schema, char **name) {
  *name = NULL;
  (void)sqlite3_file_control(connection, schema, SQLITE_FCNTL_VFSNAME, name);
  if (*name == NULL) return NULL;
  const char *slash = strrchr(*name, '/');
  return slash != NULL ? slash + 1 : *name;
}

const char *database_file(sqlite3 *connection, const char *schema) {
  const char *file = sqlite3_db_filename(connection, schema);
  if (file == NULL || file[0] != '/') return NULL;
  char *name;
  const char *vfs = lowest_vfs(connection, schema, &name);
  bool is_memory = vfs != NULL && strncmp(vfs, "memdb", 5) == 0;
  bool is_unix = vfs != NULL && strncmp(vfs, "unix", 4) == 0;
  sqlite3_free(name);
  if (is_memory || (!is_unix && !side_file_is_regular(file))) return NULL;
  return file;
}

/* --- all of them ---------------------------------------------------------------------------------- */

static void add(sqlite3 *connection, const char *schema, const char **list, int *count) {
  const char *file = database_file(connection, schema);
  if (file != NULL && *count < DATABASES_MAX) list[(*count)++] = file;
}

const char **database_files(sqlite3 *connection, const char *schema) {
  const char **list = sqlite3_malloc64((DATABASES_MAX + 1) * sizeof *list);
  int count = 0;
  if (list == NULL) return NULL;
#if SQLITE_VERSION_NUMBER >= 3039000
  if (sqlite3_libversion_number() >= 3039000) {
    const char *name;
    for (int i = 0; (name = sqlite3_db_name(connection, i)) != NULL; i++) {
      add(connection, name, list, &count);
    }
    list[count] = NULL;
    return list;
  }
#endif
  add(connection, "main", list, &count);
  add(connection, schema, list, &count);
  sqlite3_stmt *statement = NULL;
  if (sqlite3_prepare_v2(connection, "PRAGMA database_list", -1, &statement, NULL) == SQLITE_OK) {
    while (sqlite3_step(statement) == SQLITE_ROW) {
      add(connection, (const char *)sqlite3_column_text(statement, 1), list, &count);
    }
  }
  (void)sqlite3_finalize(statement);
  list[count] = NULL;
  return list;
}

/* --- a file that is not attached ------------------------------------------------------------------ */

bool database_is_at(const char *path) {
  static const char magic[] = "SQLite format 3";
  char head[sizeof magic];
  sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
  if (vfs == NULL) return false;
  const char *name = sqlite3_create_filename(path, "", "", 0, NULL);
  sqlite3_file *file = sqlite3_malloc64((sqlite3_uint64)vfs->szOsFile);
  bool is = false;
  if (name != NULL && file != NULL) {
    memset(file, 0, (size_t)vfs->szOsFile);
    int rc = vfs->xOpen(vfs, name, file, SQLITE_OPEN_READONLY | SQLITE_OPEN_MAIN_DB, NULL);
    if (rc == SQLITE_OK) rc = file->pMethods->xRead(file, head, sizeof head, 0);
    is = rc == SQLITE_OK && memcmp(head, magic, sizeof head) == 0;
    if (file->pMethods != NULL) (void)file->pMethods->xClose(file);
  }
  sqlite3_free(file);
  sqlite3_free_filename((char *)(uintptr_t)name);
  return is;
}
