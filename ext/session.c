/* session.c - what one SQLite connection has open. See session.h. */
#include "session.h"

#include <string.h>

session *session_new(sqlite3 *connection) {
  session *s = sqlite3_malloc64(sizeof *s);
  if (s != NULL) *s = (session){.connection = connection, .holders = 1};
  return s;
}

/* A close that fails has nobody to tell but the log: what was acknowledged is not in danger of it
** in mode FULL, and what is in the others was said to be. */
static void link_free(session_link *link) {
  kv_error err;
  int rc = kv_close(link->db, &err);
  if (rc != KV_OK) sqlite3_log(face_code(rc), "kvstore: closing: %s", err.text);
  sqlite3_free(link->table);
  sqlite3_free(link->former);
  sqlite3_free(link);
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
  sqlite3_free(s);
}

static void unlink_link(session *s, session_link *link) {
  session_link **at = &s->links;
  while (*at != link) at = &(*at)->next;
  *at = link->next;
}

static char *qualified(const char *schema, const char *table) {
  return sqlite3_mprintf("%s.%s", schema, table);
}

static bool is_name(const char *a, const char *b) {
  return a != NULL && sqlite3_stricmp(a, b) == 0;
}

/* The volatile store that a table of this name has, or had before a rename that was rolled back. */
static session_link *find_volatile(session *s, const char *name) {
  for (session_link *link = s->links; link != NULL; link = link->next) {
    if (is_name(link->table, name)) return link;
  }
  for (session_link *link = s->links; link != NULL; link = link->next) {
    if (link->table != NULL && is_name(link->former, name)) {
      char *later = link->table;
      link->table = link->former;
      link->former = later;
      return link;
    }
  }
  return NULL;
}

/* What the arguments and the database say about the log's file; NULL in *path: volatile. */
static int choose_file(session *s, const char *schema, const char *table, const args *a,
                       char **path) {
  const char *database = sqlite3_db_filename(s->connection, schema);
  bool in_file = database != NULL && database[0] != '\0';
  *path = NULL;
  if (a->file != NULL && strcmp(a->file, ":memory:") == 0) return SQLITE_OK;
  if (a->file == NULL && !in_file) return SQLITE_OK;
  *path = a->file != NULL
              ? sqlite3_mprintf("%s", a->file)
              : sqlite3_mprintf("%s-%s", database, a->log_name != NULL ? a->log_name : table);
  return *path != NULL ? SQLITE_OK : SQLITE_NOMEM;
}

static int open_handle(session *s, const char *schema, const char *path, const args *a, kv **out,
                       char **message) {
  kv_options options = {.path = path, .readonly = a->readonly, .settings = a->settings};
  const char *database = sqlite3_db_filename(s->connection, schema);
  if (database != NULL && database[0] != '\0') options.rights_from = database;
  kv_error err, notice = {.code = KV_OK};
  int rc = kv_open(&options, out, &notice, &err);
  if (rc != KV_OK) {
    *message = sqlite3_mprintf("kvstore: %s", err.text);
    return face_code(rc);
  }
  if (notice.code != KV_OK) sqlite3_log(SQLITE_NOTICE_RECOVER_WAL, "kvstore: %s", notice.text);
  return SQLITE_OK;
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
  s->links = link;
  *out = link;
  return SQLITE_OK;
}

/* The store of a table that was dropped: a prepared statement may still refer to the table. */
static void forget_dropped(session *s, session_link *link) {
  sqlite3_free(link->table);
  link->table = NULL;
  link->users++;
  session_release(s, link);
}

static int open_volatile(session *s, const char *schema, const char *table, const args *a,
                         bool create, session_link **out, char **message) {
  char *name = qualified(schema, table);
  if (name == NULL) return SQLITE_NOMEM;
  session_link *link = find_volatile(s, name);
  if (link != NULL && create) {
    forget_dropped(s, link);
    link = NULL;
  }
  if (link != NULL) {
    sqlite3_free(name);
    *out = link;
    return SQLITE_OK;
  }
  kv *db;
  int rc = open_handle(s, schema, NULL, a, &db, message);
  if (rc == SQLITE_OK) return enter(s, db, a->readonly, name, out);
  sqlite3_free(name);
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
  char *name = qualified(schema, table);
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
  return rc == SQLITE_OK ? enter(s, db, a->readonly, NULL, out) : rc;
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

int session_rename(session_link *link, const char *schema, const char *table) {
  if (link->table == NULL) return SQLITE_OK;
  char *name = qualified(schema, table);
  if (name == NULL) return SQLITE_NOMEM;
  sqlite3_free(link->former);
  link->former = link->table;
  link->table = name;
  return SQLITE_OK;
}
