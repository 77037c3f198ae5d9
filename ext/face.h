/*
** face.h - what the files of the SQLite face share: SQLite's header, the table, errors.
**
** The face is the only place that knows SQLite; it knows the engine
** by kv.h, and by inspect.h for logs that may be damaged. From the top:
**
**     kvstore.c   entry point: what .load registers
**     table.c     the module: create, connect, rename, transactions, and its list of methods
**     plan.c      xBestIndex: which constraints a scan takes, and what it costs
**     scan.c      cursors: xFilter, xNext, xColumn
**     write.c     xUpdate: rows, conflicts, commands
**     args.c      the arguments of CREATE VIRTUAL TABLE
**     session.c   what one connection has open; shares a handle between tables on one log
**     owner.c     which connection has the volatile stores of a shared memory database
**     pending.c   takes part in transactions in which tables are dropped or renamed
**     range.c     an interval of keys, for scan.c
**     fold.c      a prefix in either case, for scan.c
**     nodes.c     the table-valued function kvstore_tree
**     lines.c     the table-valued function kvstore_log
**     stat.c      the kvstore_stat table
**
** Threads: SQLite holds the connection's mutex around every call into a table.
*/
#ifndef FACE_H
#define FACE_H

#include "kv.h"

#include <sqlite3ext.h>
#include <stdbool.h>

#if SQLITE_VERSION_NUMBER < 3038000
#error "kvstore needs the header of SQLite 3.38.0 or newer"
#endif
#define FACE_SQLITE_VERSION_MIN 3038000

SQLITE_EXTENSION_INIT3

/* The columns, in the order of the declaration. */
enum {
  COLUMN_KEY,
  COLUMN_VALUE,
  COLUMN_ROOT,
  COLUMN_PARENT,
  COLUMN_NAME,
  COLUMN_DEPTH,
  COLUMN_COMMAND,
  COLUMN_COUNT
};

/* SQLite's code for an engine's error. */
int face_code(int kv_code);

/* SQLITE_INTERRUPT if sqlite3_interrupt was called, else SQLITE_OK. SQLite itself looks between the
** rows; this is for who passes over much within one call, and costs too much for every key. */
int face_check_interrupt(sqlite3 *connection);

/* Whether the connection's databases, which all have one encoding, have UTF-8: else BINARY is not the
** order of the tree. An SQLite code. */
int face_is_utf8(sqlite3 *connection, bool *out);

/* Put an engine's error, or a text of the face's own, into a table's error message; return SQLite's
** code for it. The message gets "kvstore: " in front. */
int face_fail(sqlite3_vtab *table, const kv_error *err);
#define face_fail_text(table, code, ...)                                                           \
  kv_error_returned(face_fail_write((table), (code), __VA_ARGS__), (code))
int face_fail_write(sqlite3_vtab *table, int code, const char *format, ...);

/* A text as a column's or a function's result, copied. A short one is told to end with a NUL, which
** sqlite3_column_text would else append by one more allocation. */
void face_result_text(sqlite3_context *context, const char *text, size_t size);

/* Set a function's or column's result to a value, of which a text is followed by a NUL; `hold` is a
** reference from kv_cursor_bytes_hold, or NULL to copy. */
void face_result(sqlite3_context *context, const kv_value *value, const char *hold);

/* Read a value as SQLite has it, or as UTF-8 (*text is NULL if it is NULL); the bytes live as long as
** the sqlite3_value is unchanged. SQLITE_OK or SQLITE_NOMEM: a text may have to be converted. `utf8`
** tells that the database has UTF-8 (face_is_utf8). */
int face_value(sqlite3_value *from, bool utf8, kv_value *out);
int face_text(sqlite3_value *from, const char **text, size_t *size);

/* As face_text, but a TEXT in a database with UTF-8 as it lies, without a NUL: SQLite would copy many a
** text to put one behind it. */
int face_text_in_place(sqlite3_value *from, bool utf8, const char **text, size_t *size);

#endif
