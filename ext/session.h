/*
** session.h - what one SQLite connection has open.
**
** Tables of one connection on one log share a handle, so that a transaction over several of them is
** one transaction of the store. A volatile store has no file to come back to, so the session keeps
** it under its table's name until the table is dropped or the connection closes: SQLite disconnects and
** reconnects tables whenever the schema is read again.
**
** A DROP, a rename and a CREATE under a name that is free since then may be rolled back. They are
** noted, with how many savepoints were open, until the transaction ends, which pending.c learns.
**
** The session lives as long as the connection: it is the module's client data.
*/
#ifndef SESSION_H
#define SESSION_H

#include "args.h"
#include "face.h"
#include "owner.h"

/* A handle that tables of the connection share. */
typedef struct session_link {
  struct session_link *next;
  kv *db;
  bool readonly;
  unsigned users;     /* tables; a volatile link stays when there are none */
  unsigned writers;   /* tables that take part in its open transaction */
  uint64_t visited;   /* keys that scans of its tables have looked at */
  char *table;        /* volatile: file.schema.table, else NULL */
  bool hidden;        /* volatile: its table was dropped in the open transaction */
  owner_claim *claim; /* volatile: on the memory database, NULL: none is needed */
  char *side_name;    /* the log's path, if a database might have it as a side file; else NULL */
} session_link;

/* What the open transaction did to a volatile store's name. */
typedef struct session_note {
  struct session_note *next; /* older */
  enum { SESSION_CREATED, SESSION_RENAMED, SESSION_DROPPED } what;
  session_link *link;
  char *name; /* RENAMED: the one before */
  int depth;  /* savepoints that were open */
} session_note;

/* What a table's relative file name meant when the table was first opened here: SQLite connects
** tables anew at any time, and the working directory may be another one by then. */
typedef struct session_path {
  struct session_path *next;
  char *table; /* file.schema.table */
  char *given;
  char *absolute;
} session_path;

typedef struct session {
  sqlite3 *connection;
  owner_member *member;
  unsigned holders;
  session_link *links;
  session_path *paths;
  struct table *tables;  /* the connected ones; table.c keeps the list */
  struct table *dropped; /* those with changes in the open transaction; pending.c keeps the list */
  session_note *notes;   /* of the open transaction, the newest first */
  bool joined;           /* it is followed */
  int depth;             /* its savepoints */
  bool is_planning;      /* nothing is waited for */
  int busy_timeout_ms; /* of the table that was used last, for what it waits for; -1: the connection's */
} session;

/* The connection's busy_timeout. */
unsigned session_busy_timeout_ms(sqlite3 *connection);

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

/* Whether the link's log has become a side file of a database that was attached since: SQLITE_OK, or an
** error with a message. To be asked before each transaction; costs nothing for usual names. */
int session_check_name(session *s, const session_link *link, const char *schema, char **message);

/* A volatile store's table has another name now, or was dropped. Taken back with the transaction if
** that is followed; a drop that is not has no effect. SQLITE_NOMEM from the first. */
int session_rename(session *s, session_link *link, const char *schema, const char *table);
void session_hide(session *s, session_link *link);

/* The open transaction is followed from now on, with its savepoints, to its end: session_settle lets
** stand what was not taken back by session_rollback_to. -1: before the first savepoint. */
void session_join(session *s);
void session_savepoint(session *s, int number);
void session_release_savepoint(session *s, int number);
void session_rollback_to(session *s, int number);
void session_settle(session *s);

#endif
