/*
** side_file.h - names that belong to another file: SQLite's side files, and this engine's own.
**
** SQLite keeps files beside a database, named after it: app.db-wal, app.db-shm, app.db-journal, and
** for a transaction over several databases app.db-mj and nine hex digits. It creates, overwrites and
** removes them as it likes, whatever they hold; a log of such a name is lost without an error. The
** engine keeps FILE-shm and FILE-kvstore-new beside a log in the same way. So a log must not have such
** a name.
**
** A database is known by its name, which may be spelled in any way: files are compared by device and
** inode where they exist, and by their canonical names else. Nothing here opens a file but
** side_file_is_database.
**
** Threads: any.
*/
#ifndef SIDE_FILE_H
#define SIDE_FILE_H

#include "kv_base.h"

#include <stdbool.h>

/* The bytes of the name in front of a suffix that SQLite uses; 0 if the path ends with none, in any
** case. */
size_t side_file_base(const char *path);

/* Check that the log `path` is neither the database file, nor one of its side files under any name.
** Both names are absolute, without links in their folders; `given` is the log's as the user spells it. KV_ECANTOPEN, KV_ENOMEM. */
int side_file_check_database(const char *path, const char *given, const char *database,
                             kv_error *err);

/* Check that `path` is no side file of a database that is there: is_database is asked about the file
** that has the name in front of the suffix. KV_ECANTOPEN, KV_ENOMEM. */
int side_file_check_beside(const char *path, bool (*is_database)(const char *path), kv_error *err);

/* Check that `path` is not a name that the engine itself uses beside a log. KV_ECANTOPEN, KV_ENOMEM. */
int side_file_check_own(const char *path, kv_error *err);

bool side_file_is_regular(const char *path);

/* Whether a regular file begins like an SQLite database. It is opened and closed, by which the process
** loses the locks that its own SQLite may have on it: for programs without SQLite. */
bool side_file_is_database(const char *path);

#endif
