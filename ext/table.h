/* table.h - one kvstore table of one connection. */
#ifndef TABLE_H
#define TABLE_H

#include "face.h"
#include "session.h"

#include <stdbool.h>

typedef struct table {
  sqlite3_vtab base;
  struct table *next; /* of the session */
  session *session;
  session_link *link;
  char *schema, *name;
  char *arguments; /* as they stand in the schema, if the log is named after the table; else NULL */
  bool utf8;       /* the database's texts are, so that BINARY is the order of the tree */
  kv_settings settings;
  int busy_timeout_ms; /* -1: the connection's own */
  bool in_begin;       /* the transaction was begun inside a BEGIN */
  bool is_lost;        /* it has not begun, since its log has lost its name */
  bool begun;          /* it takes part in the open transaction of its link */
  bool changed;        /* and has changed something in it */
  struct scan *spare;  /* a cursor that was closed, for the next statement; NULL: none */
} table;

/* The collation of the table's primary key, to be registered before the module. */
#define KEY_COLLATION "kvstore_key"
int table_compare_keys(void *unused, int a_size, const void *a, int b_size, const void *b);

/* The module, for sqlite3_create_module_v2 with a session as client data. */
extern const sqlite3_module table_module;

/* Begin the table's transaction if it has none yet: SQLite does not call xBegin for a table that was
** created in the same transaction. An SQLite code. */
int table_begin_late(table *t);

/* Begin the transaction anew that was rolled back in between, waiting for the turn as the first time.
** An SQLite code. */
int table_begin_again(table *t);

/* The methods that pending.c calls for dropped tables. */
int table_disconnect(sqlite3_vtab *base);
int table_sync(sqlite3_vtab *base);
int table_commit(sqlite3_vtab *base);
int table_rollback(sqlite3_vtab *base);
int table_rollback_to(sqlite3_vtab *base, int number);

/* plan.c */
int plan_best_index(sqlite3_vtab *base, sqlite3_index_info *info);

/* scan.c */
int scan_open(sqlite3_vtab *base, sqlite3_vtab_cursor **out);
int scan_close(sqlite3_vtab_cursor *base);
int scan_filter(sqlite3_vtab_cursor *base, int plan, const char *words, int argc,
                sqlite3_value **argv);
int scan_next(sqlite3_vtab_cursor *base);
int scan_eof(sqlite3_vtab_cursor *base);
int scan_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column);
/* Free the table's spare cursor. */
void scan_free_spare(table *t);

/* write.c */
int write_update(sqlite3_vtab *base, int argc, sqlite3_value **argv, sqlite3_int64 *rowid);

#endif
