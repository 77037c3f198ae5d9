/*
** table.c - the kvstore module: tables come and go, transactions begin and end.
**
** SQLite calls xBegin before the first write of a transaction, xSync when it commits, which is the
** only step that can still fail, then xCommit; or xRollback, which may also follow a successful
** xSync: a commit hook's veto, another table's failure, the main database's. So xSync commits
** undoably, xCommit settles, and xRollback after xSync takes the commit back by a transaction of
** its own. Where a database file is being written in the same BEGIN ... COMMIT the writer's turn is
** kept until then, so that nobody builds on what may be taken back; else it is passed on at once,
** and commits of several connections share a flush.
**
** CREATE VIRTUAL TABLE calls xSync and xCommit with no xBegin before: with no transaction open they
** do nothing. A write in the transaction of the CREATE comes without xBegin too, and begins late.
*/
#include "pending.h"

#include <string.h>

/* --- coming and going -------------------------------------------------------------------------- */

static bool is_column_name(const char *name) {
  static const char *const columns[] = {"key", "value", "root", "parent", "name", "depth"};
  for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
    if (sqlite3_stricmp(name, columns[i]) == 0) return true;
  }
  return false;
}

int table_compare_keys(void *unused, int a_size, const void *a, int b_size, const void *b) {
  (void)unused;
  int order = memcmp(a, b, (size_t)(a_size < b_size ? a_size : b_size));
  return order != 0 ? order : a_size - b_size;
}

#define NAMED_AS_A_COLUMN "a table cannot be named '%s', as one of its columns is"

/* A foreign key that refers to the key would have SQLite look for the primary key's index in the database
** file, where there is none: a malformed database. SQLite does not take an index whose collation is
** not the column's own, and reports a foreign key mismatch instead, as for every virtual table. So the
** primary key has a collation of its own, which compares as BINARY does. The column keeps BINARY. */
static int declare(sqlite3 *connection, const char *name) {
  char *sql =
      sqlite3_mprintf("CREATE TABLE x(key TEXT NOT NULL, value, root HIDDEN, "
                      "parent TEXT HIDDEN, name TEXT HIDDEN, depth INTEGER HIDDEN, "
                      "\"%w\" HIDDEN, PRIMARY KEY(key COLLATE " KEY_COLLATION ")) WITHOUT ROWID",
                      name);
  if (sql == NULL) return SQLITE_NOMEM;
  int rc = sqlite3_declare_vtab(connection, sql);
  sqlite3_free(sql);
  if (rc == SQLITE_OK) rc = sqlite3_vtab_config(connection, SQLITE_VTAB_CONSTRAINT_SUPPORT, 1);
  return rc;
}

static void table_free(table *t) {
  session *s = t->session;
  table **at = &t->session->tables;
  while (*at != NULL && *at != t) at = &(*at)->next;
  if (*at != NULL) *at = t->next;
  scan_free_spare(t);
  if (t->link != NULL) session_release(t->session, t->link);
  sqlite3_free(t->schema);
  sqlite3_free(t->name);
  sqlite3_free(t->arguments);
  sqlite3_free(t->base.zErrMsg); /* SQLite does not fetch every method's */
  sqlite3_free(t);
  session_drop(s);
}

static int make(session *s, const char *schema, const char *name, const args *a, bool create,
                table **out, char **message) {
  table *t = sqlite3_malloc64(sizeof *t);
  if (t == NULL) return SQLITE_NOMEM;
  *t = (table){.session = s,
               .schema = sqlite3_mprintf("%s", schema),
               .name = sqlite3_mprintf("%s", name),
               .settings = a->settings,
               .busy_timeout_ms = a->busy_timeout_ms};
  session_hold(s);
  int rc = t->schema != NULL && t->name != NULL ? SQLITE_OK : SQLITE_NOMEM;
  if (rc == SQLITE_OK) rc = face_is_utf8(s->connection, &t->utf8);
  if (rc == SQLITE_OK) rc = session_open(s, schema, name, a, create, &t->link, message);
  if (rc == SQLITE_OK) {
    t->next = s->tables;
    s->tables = t;
    *out = t;
  } else {
    table_free(t);
  }
  return rc;
}

/* What a rename will need to put the log's name into the schema. */
static int keep_arguments(table *t, int argc, const char *const *argv) {
  sqlite3_str *text = sqlite3_str_new(NULL);
  for (int i = 0; i < argc; i++) {
    if (argv[i][strspn(argv[i], " \t\r\n")] != '\0') sqlite3_str_appendf(text, "%s, ", argv[i]);
  }
  sqlite3_str_appendall(text, "");
  int rc = sqlite3_str_errcode(text);
  t->arguments = sqlite3_str_finish(text);
  if (t->arguments == NULL && rc == SQLITE_OK) t->arguments = sqlite3_mprintf("");
  return t->arguments != NULL ? SQLITE_OK : SQLITE_NOMEM;
}

/* argv: module, schema, table, arguments. */
static int connect(sqlite3 *connection, session *s, int argc, const char *const *argv, bool create,
                   sqlite3_vtab **out, char **message) {
  args a;
  table *t = NULL;
  if (is_column_name(argv[2])) {
    *message = sqlite3_mprintf("kvstore: " NAMED_AS_A_COLUMN, argv[2]);
    return *message != NULL ? SQLITE_ERROR : SQLITE_NOMEM;
  }
  int rc = args_parse(argc - 3, argv + 3, &a, message);
  if (rc != SQLITE_OK) return rc;
  rc = declare(connection, argv[2]);
  if (rc == SQLITE_OK) {
    rc = make(s, argv[1], argv[2], &a, create, &t, message);
  } else if (*message == NULL) {
    *message = sqlite3_mprintf("kvstore: %s", sqlite3_errmsg(connection));
  }
  if (rc == SQLITE_OK && a.file == NULL && a.log_name == NULL && t->link->table == NULL) {
    rc = keep_arguments(t, argc - 3, argv + 3);
    if (rc != SQLITE_OK) table_free(t);
  }
  args_free(&a);
  if (rc == SQLITE_OK) *out = &t->base;
  return rc;
}

static int table_create(sqlite3 *connection, void *context, int argc, const char *const *argv,
                        sqlite3_vtab **out, char **message) {
  return connect(connection, context, argc, argv, true, out, message);
}

static int table_connect(sqlite3 *connection, void *context, int argc, const char *const *argv,
                         sqlite3_vtab **out, char **message) {
  return connect(connection, context, argc, argv, false, out, message);
}

int table_disconnect(sqlite3_vtab *base) {
  table_free((table *)base);
  return SQLITE_OK;
}

static int take_part(table *t) {
  int rc = pending_join(t->session);
  if (rc == SQLITE_OK || rc == SQLITE_NOMEM) return rc;
  return face_fail_text(&t->base, rc, "cannot use kvstore_pending to follow the transaction");
}

/* DROP: the log stays where it is, and what the table wrote in the open transaction goes with that.
** SQLite does not tell a dropped table how it ends; pending.c does. */
static int table_destroy(sqlite3_vtab *base) {
  table *t = (table *)base;
  bool is_volatile = t->link->table != NULL, joined = false;
  if (t->changed || is_volatile) joined = pending_join(t->session) == SQLITE_OK;
  if (is_volatile) session_hide(t->session, t->link);
  if (t->changed && joined) {
    pending_keep(t);
    return SQLITE_OK;
  }
  if (t->changed && t->link->writers == 1) return SQLITE_LOCKED; /* SQLite would drop a message */
  if (t->begun && --t->link->writers == 0) kv_rollback(t->link->db);
  return table_disconnect(base);
}

/* A log that is named after the table keeps its name when the table gets another. A file cannot be
** renamed in step with a transaction of the database; so the name goes into the schema, in the
** transaction of the ALTER TABLE, and stands or falls with it. SQLite has written the new name there
** before it calls xRename, and reads the schema again after it. */
static int pin_log_name(table *t, const char *name) {
  sqlite3 *connection = t->session->connection;
  if (t->arguments == NULL) return SQLITE_OK;
  char *sql = sqlite3_mprintf("CREATE VIRTUAL TABLE \"%w\" USING kvstore(%slog_name=%Q)", name,
                              t->arguments, t->name);
  char *update = sqlite3_mprintf("UPDATE \"%w\".sqlite_master SET sql = %Q WHERE type = 'table' "
                                 "AND name COLLATE NOCASE IN (%Q, %Q)",
                                 t->schema, sql, t->name, name);
  int rc = sql != NULL && update != NULL ? SQLITE_OK : SQLITE_NOMEM, before = 0;
  if (rc == SQLITE_OK) {
    (void)sqlite3_db_config(connection, SQLITE_DBCONFIG_WRITABLE_SCHEMA, -1, &before);
    (void)sqlite3_db_config(connection, SQLITE_DBCONFIG_WRITABLE_SCHEMA, 1, NULL);
    rc = sqlite3_exec(connection, update, NULL, NULL, NULL);
    (void)sqlite3_db_config(connection, SQLITE_DBCONFIG_WRITABLE_SCHEMA, before, NULL);
    if (rc != SQLITE_OK && rc != SQLITE_NOMEM) {
      rc = face_fail_text(&t->base, rc, "cannot keep the log's name in the schema: %s",
                          sqlite3_errmsg(connection));
    }
  }
  sqlite3_free(sql);
  sqlite3_free(update);
  return rc;
}

static int table_rename(sqlite3_vtab *base, const char *name) {
  table *t = (table *)base;
  if (is_column_name(name)) {
    return face_fail_text(base, SQLITE_ERROR, NAMED_AS_A_COLUMN, name);
  }
  int rc = t->link->table != NULL ? take_part(t) : pin_log_name(t, name);
  if (rc != SQLITE_OK) return rc;
  char *copy = sqlite3_mprintf("%s", name);
  rc = copy != NULL ? session_rename(t->session, t->link, t->schema, name) : SQLITE_NOMEM;
  if (rc != SQLITE_OK) {
    sqlite3_free(copy);
    return rc;
  }
  sqlite3_free(t->name);
  t->name = copy;
  return SQLITE_OK;
}

/* --- transactions ------------------------------------------------------------------------------ */

/* A transaction over several tables on one log has the strictest of their settings. */
static void tighten(kv *db, const kv_settings *with) {
  kv_settings now;
  kv_get_settings(db, &now);
  if (with->synchronous > now.synchronous) now.synchronous = with->synchronous;
  if (with->group_size < now.group_size) now.group_size = with->group_size;
  if (with->group_timeout_ms < now.group_timeout_ms) now.group_timeout_ms = with->group_timeout_ms;
  kv_set_settings(db, &now);
}

static void join(table *t) {
  if (!t->begun) t->link->writers++;
  t->begun = true;
}

static void leave(table *t) {
  if (t->begun) t->link->writers--;
  t->begun = t->changed = false;
}

int table_begin_again(table *t) {
  kv *db = t->link->db;
  kv_error err;
  char *message = NULL;
  int rc = session_check_name(t->session, t->link, t->schema, &message);
  if (rc != SQLITE_OK) {
    sqlite3_free(t->base.zErrMsg);
    t->base.zErrMsg = message;
    return rc;
  }
  t->session->busy_timeout_ms = t->busy_timeout_ms;
  rc = kv_begin_now(db, &err);
  if (rc == KV_EBUSY) {
    unsigned timeout_ms = t->busy_timeout_ms >= 0 ? (unsigned)t->busy_timeout_ms
                                                  : session_busy_timeout_ms(t->session->connection);
    rc = kv_begin(db, timeout_ms, &err);
  }
  return rc == KV_OK ? SQLITE_OK : face_fail(&t->base, &err);
}

static int begin(table *t) {
  kv *db = t->link->db;
  t->in_begin = !sqlite3_get_autocommit(t->session->connection);
  if (kv_in_transaction(db)) {
    tighten(db, &t->settings);
    join(t);
    return SQLITE_OK;
  }
  kv_set_settings(db, &t->settings);
  int rc = table_begin_again(t);
  if (rc == SQLITE_OK) join(t);
  return rc;
}

/* A log that has lost its name: SQLite does not say what is coming, and the command 'checkpoint' has to
** come through. What else is written begins late, and fails. */
static int table_begin(sqlite3_vtab *base) {
  table *t = (table *)base;
  int rc = begin(t);
  t->is_lost = rc == SQLITE_READONLY_DBMOVED;
  if (!t->is_lost) return rc;
  sqlite3_free(base->zErrMsg);
  base->zErrMsg = NULL;
  return SQLITE_OK;
}

/* A COMMIT that failed with SQLITE_BUSY leaves the transaction open, ours being in the log already. */
static int check_commit_tried(table *t) {
  if (!t->begun || kv_in_transaction(t->link->db)) return SQLITE_OK;
  return face_fail_text(
      &t->base, SQLITE_ERROR,
      "this transaction's COMMIT has begun and could not be finished; only COMMIT "
      "or ROLLBACK can follow");
}

/* A savepoint from before its creation may be rolled back, which SQLite tells pending.c alone. */
int table_begin_late(table *t) {
  if (t->begun) return check_commit_tried(t);
  int rc = take_part(t);
  return rc == SQLITE_OK ? begin(t) : rc;
}

static bool is_file_being_written(sqlite3 *connection, const char *schema) {
  const char *file = sqlite3_db_filename(connection, schema);
  return file != NULL && file[0] != '\0' &&
         sqlite3_txn_state(connection, schema) == SQLITE_TXN_WRITE;
}

/* Whether a database file is written in the same transaction. */
static bool is_any_file_being_written(const table *t) {
  sqlite3 *connection = t->session->connection;
#if SQLITE_VERSION_NUMBER >= 3039000
  if (sqlite3_libversion_number() >= 3039000) {
    const char *schema;
    for (int i = 0; (schema = sqlite3_db_name(connection, i)) != NULL; i++) {
      if (is_file_being_written(connection, schema)) return true;
    }
    return false;
  }
#endif
  return is_file_being_written(connection, t->schema) || is_file_being_written(connection, "main");
}

int table_sync(sqlite3_vtab *base) {
  table *t = (table *)base;
  kv *db = t->link->db;
  if (!kv_in_transaction(db)) return SQLITE_OK;
  kv_error err;
  unsigned flags = KV_UNDOABLE;
  if (t->in_begin && is_any_file_being_written(t)) flags |= KV_KEEP_TURN;
  return kv_commit(db, flags, &err) == KV_OK ? SQLITE_OK : face_fail(base, &err);
}

int table_commit(sqlite3_vtab *base) {
  leave((table *)base);
  kv_settle(((table *)base)->link->db);
  return SQLITE_OK;
}

int table_rollback(sqlite3_vtab *base) {
  leave((table *)base);
  kv *db = ((table *)base)->link->db;
  kv_error err;
  if (kv_in_transaction(db)) {
    kv_rollback(db);
  } else if (kv_undo(db, &err) != KV_OK) {
    sqlite3_log(face_code(err.code), "kvstore: a rolled back transaction stands in the log: %s",
                err.text);
  }
  return SQLITE_OK;
}

static int table_savepoint(sqlite3_vtab *base, int number) {
  kv *db = ((table *)base)->link->db;
  kv_error err;
  if (!kv_in_transaction(db)) return SQLITE_OK;
  return kv_savepoint(db, number, &err) == KV_OK ? SQLITE_OK : face_fail(base, &err);
}

static int table_release(sqlite3_vtab *base, int number) {
  kv_release(((table *)base)->link->db, number);
  return SQLITE_OK;
}

int table_rollback_to(sqlite3_vtab *base, int number) {
  table *t = (table *)base;
  kv_rollback_to(t->link->db, number);
  return check_commit_tried(t);
}

#if SQLITE_VERSION_NUMBER >= 3044000
/* PRAGMA integrity_check and quick_check: what is found wrong is their result, not an error. */
static int table_integrity(sqlite3_vtab *base, const char *schema, const char *name, int flags,
                           char **message) {
  (void)schema, (void)name, (void)flags;
  kv_error err;
  int rc = kv_check(((table *)base)->link->db, &err);
  if (rc != KV_EDAMAGED) return rc == KV_OK ? SQLITE_OK : face_fail(base, &err);
  *message = sqlite3_mprintf("kvstore: %s", err.text);
  return *message != NULL ? SQLITE_OK : SQLITE_NOMEM;
}
#endif

const sqlite3_module table_module = {
#if SQLITE_VERSION_NUMBER >= 3044000
    .iVersion = 4, /* older libraries look no further than they know */
    .xIntegrity = table_integrity,
#else
    .iVersion = 2,
#endif
    .xCreate = table_create,
    .xConnect = table_connect,
    .xBestIndex = plan_best_index,
    .xDisconnect = table_disconnect,
    .xDestroy = table_destroy,
    .xOpen = scan_open,
    .xClose = scan_close,
    .xFilter = scan_filter,
    .xNext = scan_next,
    .xEof = scan_eof,
    .xColumn = scan_column,
    .xUpdate = write_update,
    .xBegin = table_begin,
    .xSync = table_sync,
    .xCommit = table_commit,
    .xRollback = table_rollback,
    .xRename = table_rename,
    .xSavepoint = table_savepoint,
    .xRelease = table_release,
    .xRollbackTo = table_rollback_to,
};
