/*
** session.h - what one SQLite connection has open.
**
** Tables of one connection on one log share a handle, so that a transaction over several of them is
** one transaction of the store. A volatile store has no file to come back to, so the session keeps
** it under its table's name until the connection closes: SQLite disconnects and reconnects tables
** whenever the schema is read again, and takes a DROP back without telling.
**
** The session lives as long as the connection: it is the module's client data.
*/
#ifndef SESSION_H
#define SESSION_H

#include "args.h"
#include "face.h"

/* A handle that tables of the connection share. */
typedef struct session_link {
  struct session_link *next;
  kv *db;
  bool readonly;
  unsigned users;   /* tables; a volatile link stays when there are none */
  unsigned writers; /* tables that take part in its open transaction */
  uint64_t visited; /* keys that scans of its tables have looked at */
  char *table;      /* volatile: schema.table, else NULL */
  char *former;     /* volatile: its name before a rename, which may be rolled back */
} session_link;

/* What a table's relative file name meant when the table was first opened here: SQLite connects
** tables anew at any time, and the working directory may be another one by then. */
typedef struct session_path {
  struct session_path *next;
  char *table; /* schema.table */
  char *given;
  char *absolute;
} session_path;

typedef struct session {
  sqlite3 *connection;
  unsigned holders;
  session_link *links;
  session_path *paths;
  struct table *tables; /* the connected ones; table.c keeps the list */
} session;

/* A session with one holder, the module; every table of it is another, since before SQLite 3.41 a
** module that is replaced goes before its tables do. The last one to let go frees it. */
session *session_new(sqlite3 *connection);
void session_hold(session *s);
void session_drop(void *s);

/* The handle for a table of the schema with these arguments. `create`: the table is new, so that a
** volatile store starts empty. SQLITE_OK, or an error with a message. The caller gives the link back
** with session_release. */
int session_open(session *s, const char *schema, const char *table, const args *a, bool create,
                 session_link **out, char **message);
void session_release(session *s, session_link *link);

/* A volatile store's table has another name now. SQLITE_NOMEM. */
int session_rename(session_link *link, const char *schema, const char *table);

#endif
