/*
** owner.h - which connection has the volatile stores of a memory database.
**
** Several connections can have one memory database: by a shared cache
** (file:m?mode=memory&cache=shared), or by a name of the VFS memdb (file:/m?vfs=memdb), which newer
** releases of SQLite do not tell, so that those are not noticed. All of them
** see its schema, but a volatile store belongs to one connection: the others would find another,
** empty table under the same name. So they get an error.
**
** A claim stands for one volatile store in a memory database. Each session is entered, so that one
** that came to the database while a claim stood is refused later too, when the owner has closed and
** its rows are gone.
**
** Threads: any; a mutex of SQLite's guards the lists.
*/
#ifndef OWNER_H
#define OWNER_H

#include "face.h"

#include <stdbool.h>

typedef struct owner_claim owner_claim;
typedef struct owner_member owner_member;

/* Enter a connection; NULL: out of memory. The caller gives it back with owner_leave. */
owner_member *owner_enter(sqlite3 *connection);
void owner_leave(owner_member *m);

/* Claim a memory database of the connection for a volatile store; `create`: for a new table. *out is
** NULL if nobody else can have the database. SQLITE_OK; SQLITE_CANTOPEN if another connection has it,
** or had it and is closed; SQLITE_NOMEM. The caller gives it back with owner_release. */
int owner_claim_database(owner_member *m, const char *schema, bool create, owner_claim **out);
void owner_release(owner_claim *claim);

#endif
