/*
** pending.h - takes part in transactions in which tables are dropped or renamed.
**
** SQLite does not tell a dropped table how the transaction ends in which it was dropped, nor a renamed
** one that the rename was rolled back, nor one that was created in the transaction that a savepoint
** from before was. So each connection has one more virtual table,
** kvstore_pending, which is empty and is never dropped: a DELETE on it, run from within xDestroy,
** xRename or xUpdate, makes SQLite call it for the rest of the transaction. It passes the calls on to the tables
** that were dropped after they had written, and to the session.
*/
#ifndef PENDING_H
#define PENDING_H

#include "table.h"

extern const sqlite3_module pending_module;

/* Take part in the open transaction, if not yet. An SQLite code; a failure has no effect. */
int pending_join(session *s);

/* A table that was dropped, with its changes: to be told of the end, and freed then. Only after
** pending_join. */
void pending_keep(table *t);

#endif
