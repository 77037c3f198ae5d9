/*
** database.h - what is known of the databases that a connection has open.
**
** sqlite3_db_filename gives a name also for databases that have no file: "x" for a deserialized one,
** the name in the URI for one of SQLite's memdb VFS. So the VFS is asked. A database counts as one in
** a file if its VFS ends in one of SQLite's for Unix ("unix", "unix-excl", "cksm/unix"), or is another
** one and a regular file has the absolute name; else it is in memory.
*/
#ifndef DATABASE_H
#define DATABASE_H

#include "face.h"

/* The absolute name of the schema's database file, valid as long as the database is attached; NULL: it
** is in memory, temporary, or not there. */
const char *database_file(sqlite3 *connection, const char *schema);

/* The files of all databases of the connection, up to a NULL; the caller frees the list, not the names,
** with sqlite3_free. NULL: memory is short. */
const char **database_files(sqlite3 *connection, const char *schema);

/* Whether a file that no connection need have open is an SQLite database, as SQLite's own VFS reads it:
** that keeps the locks that other connections of the process have on the file. */
bool database_is_at(const char *path);

#endif
