/*
** owner.c - which connection has the volatile stores of a memory database. See owner.h.
**
** A database is known by its name in memdb, else by the address of its sqlite3_file, which the
** connections of a shared cache have in common. SQLite frees it before it frees a session, so that
** another thread's new database may have the address of one that is just being closed: whether a
** cache is really shared, SQLite's count of its memory tells.
*/
#include "owner.h"

#include "database.h"

#include <string.h>

struct owner_claim {
  owner_claim *next;
  const owner_member *owner;
  char *database;
};

struct owner_member {
  owner_member *next;
  sqlite3 *connection;
  char *database; /* its main one; NULL: nobody else can have it */
  bool shares;    /* another connection has, or had, a volatile store in it */
};

static owner_claim *claims;
static owner_member *members;

static void lock(void) {
  sqlite3_mutex_enter(sqlite3_mutex_alloc(SQLITE_MUTEX_STATIC_APP1));
}

static void unlock(void) {
  sqlite3_mutex_leave(sqlite3_mutex_alloc(SQLITE_MUTEX_STATIC_APP1));
}

/* What identifies a memory database that several connections can have; *out is NULL for any other.
** SQLITE_OK or SQLITE_NOMEM. */
static int identify(sqlite3 *connection, const char *schema, char **out) {
  const char *name = sqlite3_db_filename(connection, schema);
  sqlite3_file *pointer = NULL;
  *out = NULL;
  if (sqlite3_stricmp(schema, "temp") == 0) return SQLITE_OK;
  if (database_file(connection, schema) != NULL) return SQLITE_OK;
  if (name != NULL && name[0] == '/') {
    *out = sqlite3_mprintf("%s", name);
  } else {
    int rc = sqlite3_file_control(connection, schema, SQLITE_FCNTL_FILE_POINTER, &pointer);
    if (rc != SQLITE_OK || pointer == NULL) return SQLITE_OK;
    *out = sqlite3_mprintf("%p", (void *)pointer);
  }
  return *out != NULL ? SQLITE_OK : SQLITE_NOMEM;
}

/* Whether the connection shares a cache with another one just now. Not under our mutex: it takes the
** cache's, which another thread may hold while it waits for ours. */
static bool shares_cache(sqlite3 *connection) {
  int own = 0, shared = 0, highest;
  (void)sqlite3_db_status(connection, SQLITE_DBSTATUS_CACHE_USED, &own, &highest, 0);
  (void)sqlite3_db_status(connection, SQLITE_DBSTATUS_CACHE_USED_SHARED, &shared, &highest, 0);
  return own != shared;
}

/* Whether two databases are one; `shared`: one of the connections shares a cache. */
static bool is_same(const char *a, const char *b, bool shared) {
  return a != NULL && b != NULL && strcmp(a, b) == 0 && (shared || a[0] == '/');
}

/* Whether another connection has a claim on the database. Requires: the mutex. */
static bool is_claimed(const owner_member *m, const char *database, bool shared) {
  for (const owner_claim *c = claims; c != NULL; c = c->next) {
    if (c->owner != m && is_same(c->database, database, shared)) return true;
  }
  return false;
}

owner_member *owner_enter(sqlite3 *connection) {
  owner_member *m = sqlite3_malloc64(sizeof *m);
  if (m == NULL) return NULL;
  *m = (owner_member){.connection = connection};
  if (identify(connection, "main", &m->database) != SQLITE_OK) {
    sqlite3_free(m);
    return NULL;
  }
  bool shared = m->database != NULL && shares_cache(connection);
  lock();
  m->shares = is_claimed(m, m->database, shared);
  m->next = members;
  members = m;
  unlock();
  return m;
}

void owner_leave(owner_member *m) {
  lock();
  owner_member **at = &members;
  while (*at != m) at = &(*at)->next;
  *at = m->next;
  unlock();
  sqlite3_free(m->database);
  sqlite3_free(m);
}

int owner_claim_database(owner_member *m, const char *schema, bool create, owner_claim **out) {
  char *database;
  *out = NULL;
  int rc = identify(m->connection, schema, &database);
  if (rc != SQLITE_OK || database == NULL) return rc;
  owner_claim *claim = sqlite3_malloc64(sizeof *claim);
  if (claim == NULL) {
    sqlite3_free(database);
    return SQLITE_NOMEM;
  }
  *claim = (owner_claim){.owner = m, .database = database};
  bool shared = shares_cache(m->connection);
  lock();
  bool is_main = m->database != NULL && strcmp(m->database, database) == 0;
  if (is_claimed(m, database, shared) || (is_main && m->shares && !create)) {
    rc = SQLITE_CANTOPEN;
  } else {
    claim->next = claims;
    claims = claim;
    for (owner_member *other = members; other != NULL; other = other->next) {
      if (other != m && is_same(other->database, database, shared)) other->shares = true;
    }
  }
  unlock();
  if (rc == SQLITE_OK) {
    *out = claim;
  } else {
    sqlite3_free(database);
    sqlite3_free(claim);
  }
  return rc;
}

void owner_release(owner_claim *claim) {
  if (claim == NULL) return;
  lock();
  owner_claim **at = &claims;
  while (*at != claim) at = &(*at)->next;
  *at = claim->next;
  unlock();
  sqlite3_free(claim->database);
  sqlite3_free(claim);
}
