/* session.c - what one SQLite connection has open. See session.h. */
#include "session.h"

#include "database.h"
#include "side_file.h"

#include <string.h>

session *session_new(sqlite3 *connection) {
  session *s = sqlite3_malloc64(sizeof *s);
  if (s == NULL) return NULL;
  *s = (session){.connection = connection,
                 .member = owner_enter(connection),
                 .holders = 1,
                 .busy_timeout_ms = -1};
  if (s->member != NULL) return s;
  sqlite3_free(s);
  return NULL;
}

/* A close that fails has nobody to tell but the log: what was acknowledged is not in danger of it
** in mode FULL, and what is in the others was said to be. */
static void link_free(session_link *link) {
  kv_error err;
  int rc = kv_close(link->db, &err);
  if (rc != KV_OK) sqlite3_log(face_code(rc), "kvstore: closing: %s", err.text);
  owner_release(link->claim);
  sqlite3_free(link->table);
  sqlite3_free(link->side_name);
  sqlite3_free(link);
}

static void forget_note(session *s) {
  session_note *n = s->notes;
  s->notes = n->next;
  sqlite3_free(n->name);
  sqlite3_free(n);
}

static void path_free(session_path *path) {
  sqlite3_free(path->table);
  sqlite3_free(path->given);
  sqlite3_free(path->absolute);
  sqlite3_free(path);
}

void session_hold(session *s) {
  s->holders++;
}

void session_drop(void *context) {
  session *s = context;
  if (--s->holders > 0) return;
  while (s->notes != NULL) forget_note(s);
  while (s->links != NULL) {
    session_link *link = s->links;
    s->links = link->next;
    link_free(link);
  }
  while (s->paths != NULL) {
    session_path *path = s->paths;
    s->paths = path->next;
    path_free(path);
  }
  owner_leave(s->member);
  sqlite3_free(s);
}

static void unlink_link(session *s, session_link *link) {
  session_link **at = &s->links;
  while (*at != link) at = &(*at)->next;
  *at = link->next;
}

/* A table's name that no other table of the connection has had: a schema's name may stand for another
** database file after a DETACH. */
static char *qualified(const session *s, const char *schema, const char *table) {
  const char *file = sqlite3_db_filename(s->connection, schema);
  return sqlite3_mprintf("%s.%s.%s", file != NULL ? file : "", schema, table);
}

static bool is_name(const char *a, const char *b) {
  return a != NULL && sqlite3_stricmp(a, b) == 0;
}

static session_link *find_volatile(session *s, const char *name) {
  for (session_link *link = s->links; link != NULL; link = link->next) {
    if (!link->hidden && is_name(link->table, name)) return link;
  }
  return NULL;
}

/* What the arguments and the database say about the log's file; NULL in *path: volatile. */
static int choose_file(session *s, const char *schema, const char *table, const args *a,
                       char **path) {
  const char *database = database_file(s->connection, schema);
  *path = NULL;
  if (a->file != NULL && strcmp(a->file, ":memory:") == 0) return SQLITE_OK;
  if (a->file == NULL && database == NULL) return SQLITE_OK;
  *path = a->file != NULL
              ? sqlite3_mprintf("%s", a->file)
              : sqlite3_mprintf("%s-%s", database, a->log_name != NULL ? a->log_name : table);
  return *path != NULL ? SQLITE_OK : SQLITE_NOMEM;
}

/* The database is open read-only, so that SQLite lets no statement write a table of it. */
static bool is_readonly(const session *s, const char *schema) {
  return sqlite3_db_readonly(s->connection, schema) == 1;
}

unsigned session_busy_timeout_ms(sqlite3 *connection) {
  sqlite3_stmt *statement = NULL;
  int timeout_ms = 0;
  if (sqlite3_prepare_v2(connection, "PRAGMA busy_timeout", -1, &statement, NULL) == SQLITE_OK &&
      sqlite3_step(statement) == SQLITE_ROW) {
    timeout_ms = sqlite3_column_int(statement, 0);
  }
  (void)sqlite3_finalize(statement);
  return timeout_ms > 0 ? (unsigned)timeout_ms : 0;
}

/* Asked by the engine where a call has to wait. */
static unsigned timeout_ms(void *context) {
  const session *s = context;
  return s->busy_timeout_ms >= 0 ? (unsigned)s->busy_timeout_ms
                                 : session_busy_timeout_ms(s->connection);
}

static bool is_interrupted(void *context) {
  const session *s = context;
  return s->is_planning || face_check_interrupt(s->connection) != SQLITE_OK;
}

static int open_handle(session *s, const char *schema, const char *path, const args *a, kv **out,
                       char **message) {
  kv_options options = {.path = path, .readonly = a->readonly, .settings = a->settings};
  s->busy_timeout_ms = a->busy_timeout_ms;
  options.waiting =
      (kv_waiting){.timeout_ms = timeout_ms, .is_interrupted = is_interrupted, .context = s};
  options.rights_from = database_file(s->connection, schema);
  options.is_database = database_is_at;
  if (path != NULL && !a->readonly && is_readonly(s, schema)) {
    options.readonly = options.may_be_missing = true;
  }
  const char **databases = database_files(s->connection, schema);
  if (databases == NULL) return SQLITE_NOMEM;
  options.databases = databases;
  kv_error err, notice = {.code = KV_OK};
  int rc = kv_open(&options, out, &notice, &err);
  sqlite3_free(databases);
  if (rc != KV_OK) {
    *message = sqlite3_mprintf("kvstore: %s", err.text);
    return face_code(rc);
  }
  if (notice.code != KV_OK) sqlite3_log(SQLITE_NOTICE_RECOVER_WAL, "kvstore: %s", notice.text);
  return SQLITE_OK;
}

int session_check_name(session *s, const session_link *link, const char *schema, char **message) {
  if (link->side_name == NULL) return SQLITE_OK;
  kv_options options = {.path = link->side_name, .is_database = database_is_at};
  const char **databases = database_files(s->connection, schema);
  if (databases == NULL) return SQLITE_NOMEM;
  options.databases = databases;
  kv_error err;
  int rc = kv_check_name(&options, &err);
  sqlite3_free(databases);
  if (rc == KV_OK) return SQLITE_OK;
  *message = sqlite3_mprintf("kvstore: %s", err.text);
  return face_code(rc);
}

/* Remember a log's path that a database could have for a side file. */
static int keep_side_name(session_link *link) {
  kv_stats stats;
  if (kv_get_stats(link->db, &stats, NULL) != KV_OK) return SQLITE_NOMEM;
  if (stats.path == NULL || side_file_base(stats.path) == 0) return SQLITE_OK;
  link->side_name = sqlite3_mprintf("%s", stats.path);
  return link->side_name != NULL ? SQLITE_OK : SQLITE_NOMEM;
}

/* Enter a new handle in the session, or share the one that is there for the same store. */
static int enter(session *s, kv *db, bool readonly, char *table, session_link **out) {
  for (session_link *link = s->links; link != NULL; link = link->next) {
    if (link->readonly == readonly && kv_same_store(link->db, db)) {
      (void)kv_close(db, NULL);
      *out = link;
      return SQLITE_OK;
    }
  }
  session_link *link = sqlite3_malloc64(sizeof *link);
  if (link == NULL) {
    (void)kv_close(db, NULL);
    sqlite3_free(table);
    return SQLITE_NOMEM;
  }
  *link = (session_link){.next = s->links, .db = db, .readonly = readonly, .table = table};
  if (keep_side_name(link) != SQLITE_OK) {
    link_free(link);
    return SQLITE_NOMEM;
  }
  s->links = link;
  *out = link;
  return SQLITE_OK;
}

/* --- the open transaction ------------------------------------------------------------------------- */

static int note(session *s, session_note fields) {
  session_note *n = sqlite3_malloc64(sizeof *n);
  if (n == NULL) return SQLITE_NOMEM;
  *n = fields;
  n->next = s->notes;
  n->depth = s->depth;
  s->notes = n;
  return SQLITE_OK;
}

/* The store of a table that is no more: a prepared statement may still refer to the table. */
static void give_up(session *s, session_link *link) {
  sqlite3_free(link->table);
  link->table = NULL;
  link->users++;
  session_release(s, link);
}

void session_hide(session *s, session_link *link) {
  if (link->table == NULL || link->hidden || !s->joined) return;
  if (note(s, (session_note){.what = SESSION_DROPPED, .link = link}) == SQLITE_OK) {
    link->hidden = true;
  }
}

int session_rename(session *s, session_link *link, const char *schema, const char *table) {
  if (link->table == NULL) return SQLITE_OK;
  char *name = qualified(s, schema, table);
  if (name == NULL) return SQLITE_NOMEM;
  session_link *undone = find_volatile(s, name); /* no table has the name */
  if (undone != NULL && undone != link) give_up(s, undone);
  session_note fields = {.what = SESSION_RENAMED, .link = link, .name = link->table};
  if (!s->joined) {
    sqlite3_free(link->table);
  } else if (note(s, fields) != SQLITE_OK) {
    sqlite3_free(name);
    return SQLITE_NOMEM;
  }
  link->table = name;
  return SQLITE_OK;
}

void session_join(session *s) {
  s->joined = true;
  s->depth = 0;
}

void session_savepoint(session *s, int number) {
  s->depth = number + 1;
}

void session_release_savepoint(session *s, int number) {
  for (session_note *n = s->notes; n != NULL && n->depth > number; n = n->next) n->depth = number;
  s->depth = number;
}

void session_rollback_to(session *s, int number) {
  while (s->notes != NULL && s->notes->depth > number) {
    session_note *n = s->notes;
    switch (n->what) {
    case SESSION_CREATED:
      give_up(s, n->link);
      break;
    case SESSION_RENAMED:
      sqlite3_free(n->link->table);
      n->link->table = n->name;
      n->name = NULL;
      break;
    default:
      n->link->hidden = false;
      break;
    }
    forget_note(s);
  }
  s->depth = number + 1;
}

void session_settle(session *s) {
  while (s->notes != NULL) {
    session_link *link = s->notes->what == SESSION_DROPPED ? s->notes->link : NULL;
    forget_note(s);
    if (link == NULL) continue;
    give_up(s, link);
  }
  s->joined = false;
}

/* --- volatile stores ------------------------------------------------------------------------------ */

static int claim_database(session *s, const char *schema, const char *table, bool create,
                          owner_claim **out, char **message) {
  int rc = owner_claim_database(s->member, schema, create, out);
  if (rc == SQLITE_CANTOPEN) {
    *message = sqlite3_mprintf(
        "kvstore: table '%s' is in a memory database that several connections share, and its rows "
        "belong to another one of them; give it a file: kvstore('FILE')",
        table);
  }
  return rc;
}

static int open_volatile(session *s, const char *schema, const char *table, const args *a,
                         bool create, session_link **out, char **message) {
  char *name = qualified(s, schema, table);
  if (name == NULL) return SQLITE_NOMEM;
  session_link *link = find_volatile(s, name);
  if (link != NULL && create) { /* of a CREATE that was rolled back */
    give_up(s, link);
    link = NULL;
  }
  if (link != NULL) {
    sqlite3_free(name);
    *out = link;
    return SQLITE_OK;
  }
  kv *db;
  owner_claim *claim;
  int rc = claim_database(s, schema, table, create, &claim, message);
  if (rc == SQLITE_OK) rc = open_handle(s, schema, NULL, a, &db, message);
  if (rc != SQLITE_OK) {
    owner_release(claim);
    sqlite3_free(name);
    return rc;
  }
  rc = enter(s, db, a->readonly, name, out);
  if (rc == SQLITE_OK) {
    (*out)->claim = claim;
  } else {
    owner_release(claim);
  }
  if (rc != SQLITE_OK || !s->joined) return rc;
  rc = note(s, (session_note){.what = SESSION_CREATED, .link = *out});
  if (rc != SQLITE_OK) give_up(s, *out);
  return rc;
}

/* --- relative file names ------------------------------------------------------------------------ */

/* The place of what is remembered of a table's file name; it holds NULL if nothing is. */
static session_path **find_path(session *s, const char *table, const char *given) {
  session_path **at = &s->paths;
  while (*at != NULL && !(is_name((*at)->table, table) && strcmp((*at)->given, given) == 0)) {
    at = &(*at)->next;
  }
  return at;
}

static int remember_path(session *s, const char *table, const char *given, kv *db) {
  kv_stats stats;
  if (kv_get_stats(db, &stats, NULL) != KV_OK) return SQLITE_NOMEM;
  session_path *path = sqlite3_malloc64(sizeof *path);
  if (path == NULL) return SQLITE_NOMEM;
  *path = (session_path){.next = s->paths,
                         .table = sqlite3_mprintf("%s", table),
                         .given = sqlite3_mprintf("%s", given),
                         .absolute = sqlite3_mprintf("%s", stats.path)};
  if (path->table == NULL || path->given == NULL || path->absolute == NULL) {
    path_free(path);
    return SQLITE_NOMEM;
  }
  s->paths = path;
  return SQLITE_OK;
}

/* Open a log by its name, a relative one as it was understood the first time. */
static int open_path(session *s, const char *schema, const char *table, const char *given,
                     const args *a, bool create, session_link **out, char **message) {
  char *name = qualified(s, schema, table);
  if (name == NULL) return SQLITE_NOMEM;
  session_path **at = find_path(s, name, given);
  if (create && *at != NULL) {
    session_path *old = *at;
    *at = old->next;
    path_free(old);
    at = find_path(s, name, given);
  }
  bool known = given[0] == '/' || *at != NULL;
  kv *db;
  int rc = open_handle(s, schema, *at != NULL ? (*at)->absolute : given, a, &db, message);
  if (rc == SQLITE_OK && !known) {
    rc = remember_path(s, name, given, db);
    if (rc != SQLITE_OK) (void)kv_close(db, NULL);
  }
  sqlite3_free(name);
  bool readonly = a->readonly || is_readonly(s, schema);
  return rc == SQLITE_OK ? enter(s, db, readonly, NULL, out) : rc;
}

int session_open(session *s, const char *schema, const char *table, const args *a, bool create,
                 session_link **out, char **message) {
  char *path;
  int rc = choose_file(s, schema, table, a, &path);
  if (rc != SQLITE_OK) return rc;
  if (path == NULL) {
    rc = open_volatile(s, schema, table, a, create, out, message);
  } else {
    rc = open_path(s, schema, table, path, a, create, out, message);
    sqlite3_free(path);
  }
  if (rc == SQLITE_OK) (*out)->users++;
  return rc;
}

void session_release(session *s, session_link *link) {
  if (--link->users > 0 || link->table != NULL) return;
  unlink_link(s, link);
  link_free(link);
}
