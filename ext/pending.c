/* pending.c - takes part in transactions in which tables are dropped or renamed. See pending.h. */
#include "pending.h"

#include <string.h>

typedef struct pending_table {
  sqlite3_vtab base;
  session *session;
} pending_table;

static session *session_of(sqlite3_vtab *base) {
  return ((pending_table *)base)->session;
}

int pending_join(session *s) {
  if (s->joined) return SQLITE_OK;
  /* WHERE 0: the schema may have a table of this name, which would be meant then. */
  int rc = sqlite3_exec(s->connection, "DELETE FROM kvstore_pending WHERE 0", NULL, NULL, NULL);
  return rc != SQLITE_OK || s->joined ? rc : SQLITE_ERROR;
}

void pending_keep(table *t) {
  session *s = t->session;
  table **at = &s->tables;
  while (*at != t) at = &(*at)->next;
  *at = t->next;
  t->next = s->dropped;
  s->dropped = t;
}

/* --- an empty table ------------------------------------------------------------------------------- */

static int pending_connect(sqlite3 *connection, void *context, int argc, const char *const *argv,
                           sqlite3_vtab **out, char **message) {
  (void)argc, (void)argv, (void)message;
  int rc = sqlite3_declare_vtab(connection, "CREATE TABLE x(unused)");
  if (rc == SQLITE_OK) rc = sqlite3_vtab_config(connection, SQLITE_VTAB_DIRECTONLY);
  if (rc != SQLITE_OK) return rc;
  pending_table *t = sqlite3_malloc64(sizeof *t);
  if (t == NULL) return SQLITE_NOMEM;
  *t = (pending_table){.session = context};
  session_hold(t->session);
  *out = &t->base;
  return SQLITE_OK;
}

static int pending_disconnect(sqlite3_vtab *base) {
  session_drop(session_of(base));
  sqlite3_free(base);
  return SQLITE_OK;
}

static int pending_best_index(sqlite3_vtab *base, sqlite3_index_info *info) {
  (void)base, (void)info;
  return SQLITE_OK;
}

static int pending_open(sqlite3_vtab *base, sqlite3_vtab_cursor **out) {
  (void)base;
  *out = sqlite3_malloc64(sizeof **out);
  if (*out == NULL) return SQLITE_NOMEM;
  memset(*out, 0, sizeof **out);
  return SQLITE_OK;
}

static int pending_close(sqlite3_vtab_cursor *base) {
  sqlite3_free(base);
  return SQLITE_OK;
}

static int pending_filter(sqlite3_vtab_cursor *base, int plan, const char *words, int argc,
                          sqlite3_value **argv) {
  (void)base, (void)plan, (void)words, (void)argc, (void)argv;
  return SQLITE_OK;
}

static int pending_next(sqlite3_vtab_cursor *base) {
  (void)base;
  return SQLITE_OK;
}

static int pending_eof(sqlite3_vtab_cursor *base) {
  (void)base;
  return 1;
}

static int pending_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column) {
  (void)base, (void)context, (void)column;
  return SQLITE_OK;
}

static int pending_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *out) {
  (void)base;
  *out = 0;
  return SQLITE_OK;
}

static int pending_update(sqlite3_vtab *base, int argc, sqlite3_value **argv,
                          sqlite3_int64 *rowid) {
  (void)argc, (void)argv, (void)rowid;
  return face_fail_text(base, SQLITE_READONLY, "kvstore_pending is always empty");
}

/* --- the transaction ------------------------------------------------------------------------------ */

static int pending_begin(sqlite3_vtab *base) {
  session_join(session_of(base));
  return SQLITE_OK;
}

static int pending_sync(sqlite3_vtab *base) {
  int rc = SQLITE_OK;
  for (table *t = session_of(base)->dropped; t != NULL && rc == SQLITE_OK; t = t->next) {
    rc = table_sync(&t->base);
    if (rc == SQLITE_OK || t->base.zErrMsg == NULL) continue;
    sqlite3_free(base->zErrMsg);
    base->zErrMsg = t->base.zErrMsg;
    t->base.zErrMsg = NULL;
  }
  return rc;
}

/* End the transaction of every dropped table by a method, and free it. */
static void end_dropped(session *s, int (*method)(sqlite3_vtab *)) {
  while (s->dropped != NULL) {
    table *t = s->dropped;
    (void)method(&t->base);
    s->dropped = t->next;
    (void)table_disconnect(&t->base);
  }
}

static int pending_commit(sqlite3_vtab *base) {
  end_dropped(session_of(base), table_commit);
  session_settle(session_of(base));
  return SQLITE_OK;
}

static int pending_rollback(sqlite3_vtab *base) {
  end_dropped(session_of(base), table_rollback);
  session_rollback_to(session_of(base), -1);
  session_settle(session_of(base));
  return SQLITE_OK;
}

/* Savepoints go to every store that is being written: a table that was created in the transaction is
** not told of those from before, and what is told twice is the same. */
static int pending_savepoint(sqlite3_vtab *base, int number) {
  session *s = session_of(base);
  kv_error err;
  for (session_link *link = s->links; link != NULL; link = link->next) {
    if (!kv_in_transaction(link->db)) continue;
    if (kv_savepoint(link->db, number, &err) != KV_OK) return face_fail(base, &err);
  }
  session_savepoint(s, number);
  return SQLITE_OK;
}

static int pending_release(sqlite3_vtab *base, int number) {
  session *s = session_of(base);
  for (session_link *link = s->links; link != NULL; link = link->next) {
    kv_release(link->db, number);
  }
  session_release_savepoint(s, number);
  return SQLITE_OK;
}

static int pending_rollback_to(sqlite3_vtab *base, int number) {
  session *s = session_of(base);
  int rc = SQLITE_OK;
  for (session_link *link = s->links; link != NULL; link = link->next) {
    kv_rollback_to(link->db, number);
  }
  for (table *t = s->dropped; t != NULL; t = t->next) {
    if (rc == SQLITE_OK) rc = table_rollback_to(&t->base, number);
  }
  session_rollback_to(s, number);
  return rc;
}

const sqlite3_module pending_module = {
    .iVersion = 2,
    .xConnect = pending_connect,
    .xBestIndex = pending_best_index,
    .xDisconnect = pending_disconnect,
    .xOpen = pending_open,
    .xClose = pending_close,
    .xFilter = pending_filter,
    .xNext = pending_next,
    .xEof = pending_eof,
    .xColumn = pending_column,
    .xRowid = pending_rowid,
    .xUpdate = pending_update,
    .xBegin = pending_begin,
    .xSync = pending_sync,
    .xCommit = pending_commit,
    .xRollback = pending_rollback,
    .xSavepoint = pending_savepoint,
    .xRelease = pending_release,
    .xRollbackTo = pending_rollback_to,
};
