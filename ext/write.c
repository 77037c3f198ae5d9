/*
** write.c - xUpdate: INSERT, UPDATE and DELETE of rows, and the commands of the hidden column.
**
** Nothing is changed before every check has passed, as SQLITE_VTAB_CONSTRAINT_SUPPORT promises; so
** SQLite itself carries out ROLLBACK, ABORT, FAIL and IGNORE when SQLITE_CONSTRAINT is returned, and
** REPLACE alone is done here.
**
** argv[0] is the key of the row that goes, NULL for an INSERT; argv[1] is the key of the row that comes,
** NULL for an INSERT; argv[2 + column] are the values of the row that comes, missing for a DELETE.
**
** An UPDATE ... FROM calls for each match: a row that matches several times comes several times, under
** the key that it had when the statement began. An ordinary table is given each row once, and passes
** over rows that are no longer there; so a row is only changed here if its old key is still there: the
** first match moves it. Of several matches that leave the key alone the last one counts. An UPDATE with
** an aggregate and no match comes once, with NULL for the old key; it has no row to change.
*/
#include "table.h"

#include <string.h>

typedef struct row_key {
  const char *bytes;
  size_t size;
} row_key;

/* A key as the column's TEXT affinity makes it. */
static int read_key(sqlite3_vtab *base, sqlite3_value *value, row_key *out) {
  const table *t = (const table *)base;
  int type = sqlite3_value_type(value);
  if (type == SQLITE_NULL) {
    sqlite3_free(base->zErrMsg);
    base->zErrMsg = sqlite3_mprintf("NOT NULL constraint failed: %s.key", t->name);
    return SQLITE_CONSTRAINT_NOTNULL;
  }
  if (type == SQLITE_BLOB) {
    return face_fail_text(base, SQLITE_CONSTRAINT_DATATYPE, "a keypath is a text, not a blob");
  }
  int rc = face_text_in_place(value, t->utf8, &out->bytes, &out->size);
  if (rc != SQLITE_OK) return rc;
  kv_error err;
  return kv_keypath_check(out->bytes, out->size, &err) == KV_OK ? SQLITE_OK : face_fail(base, &err);
}

/* Whether a computed column's new value is the one that follows from the row's key: SQLITE_OK,
** SQLITE_MISMATCH, SQLITE_NOMEM. An UPDATE ... FROM passes every column, and does not say which of
** them it leaves alone. */
static int check_unchanged(sqlite3_value *value, int column, sqlite3_value *old) {
  const char *key, *text;
  size_t size, text_size, skip = 0;
  if (face_text(old, &key, &size) != SQLITE_OK) return SQLITE_NOMEM;
  if (column == COLUMN_DEPTH) {
    sqlite3_int64 depth = 1;
    for (size_t i = 0; i < size; i++) depth += key[i] == '/';
    bool same = sqlite3_value_type(value) == SQLITE_INTEGER && sqlite3_value_int64(value) == depth;
    return same ? SQLITE_OK : SQLITE_MISMATCH;
  }
  if (face_text(value, &text, &text_size) != SQLITE_OK) return SQLITE_NOMEM;
  if (text == NULL) return column == COLUMN_ROOT ? SQLITE_OK : SQLITE_MISMATCH;
  size_t name = size;
  while (name > 0 && key[name - 1] != '/') name--;
  if (column == COLUMN_ROOT) { /* the row was found below it */
    size = text_size <= size ? text_size : SIZE_MAX;
  } else if (column == COLUMN_PARENT) {
    size = name > 0 ? name - 1 : 0;
  } else {
    skip = name;
    size -= name;
  }
  bool same = text_size == size && memcmp(text, key + skip, size) == 0;
  return same ? SQLITE_OK : SQLITE_MISMATCH;
}

/* Nobody can set what is computed from the key. An INSERT has NULL for the columns that it does not
** name. */
static int check_computed(sqlite3_vtab *base, sqlite3_value **argv, bool insert) {
  static const char *const names[] = {"root", "parent", "name", "depth"};
  for (int column = COLUMN_ROOT; column <= COLUMN_DEPTH; column++) {
    sqlite3_value *value = argv[2 + column];
    if (sqlite3_value_nochange(value)) continue;
    int rc = insert ? (sqlite3_value_type(value) == SQLITE_NULL ? SQLITE_OK : SQLITE_MISMATCH)
                    : check_unchanged(value, column, argv[0]);
    if (rc == SQLITE_OK) continue;
    if (rc == SQLITE_NOMEM) return rc;
    return face_fail_text(base, SQLITE_ERROR, "column %s follows from key and cannot be set",
                          names[column - COLUMN_ROOT]);
  }
  if (!insert && sqlite3_value_type(argv[2 + COLUMN_COMMAND]) != SQLITE_NULL) {
    return face_fail_text(base, SQLITE_ERROR, "a command is given by INSERT, not by UPDATE");
  }
  return SQLITE_OK;
}

/* SQLITE_CONSTRAINT if a key is taken and must not be replaced. */
static int check_free(table *t, const row_key *key) {
  if (sqlite3_vtab_on_conflict(t->session->connection) == SQLITE_REPLACE) return SQLITE_OK;
  bool taken = kv_has(t->link->db, key->bytes, key->size);
  if (!taken) return SQLITE_OK;
  sqlite3_free(t->base.zErrMsg);
  t->base.zErrMsg = sqlite3_mprintf("UNIQUE constraint failed: %s.key", t->name);
  return SQLITE_CONSTRAINT_PRIMARYKEY;
}

static int put(table *t, const row_key *key, const kv_value *value) {
  kv_error err;
  t->changed = true;
  int rc = kv_put(t->link->db, key->bytes, key->size, value, NULL, &err);
  return rc == KV_OK ? SQLITE_OK : face_fail(&t->base, &err);
}

static int delete_row(table *t, sqlite3_value *key) {
  kv_error err;
  const char *bytes = (const char *)sqlite3_value_text(key);
  if (bytes == NULL) return SQLITE_NOMEM;
  t->changed = true;
  int rc = kv_delete(t->link->db, bytes, (size_t)sqlite3_value_bytes(key), NULL, &err);
  return rc == KV_OK ? SQLITE_OK : face_fail(&t->base, &err);
}

static int insert_row(table *t, sqlite3_value **argv) {
  row_key key;
  kv_value value;
  int rc = read_key(&t->base, argv[2 + COLUMN_KEY], &key);
  if (rc == SQLITE_OK) rc = check_free(t, &key);
  if (rc == SQLITE_OK) rc = face_value(argv[2 + COLUMN_VALUE], t->utf8, &value);
  return rc == SQLITE_OK ? put(t, &key, &value) : rc;
}

/* Move a row to another key; its value stays where the statement does not touch it. */
static int move_row(table *t, sqlite3_value **argv, const row_key *old, const row_key *key) {
  int rc = check_free(t, key);
  if (rc != SQLITE_OK) return rc;
  if (!sqlite3_value_nochange(argv[2 + COLUMN_VALUE])) {
    kv_value value;
    rc = face_value(argv[2 + COLUMN_VALUE], t->utf8, &value);
    if (rc == SQLITE_OK) rc = delete_row(t, argv[0]);
    return rc == SQLITE_OK ? put(t, key, &value) : rc;
  }
  kv_cursor *cursor;
  kv_error err;
  if (kv_cursor_open(t->link->db, &cursor, &err) != KV_OK) return face_fail(&t->base, &err);
  kv_cursor_find(cursor, old->bytes, old->size);
  kv_value value = {.type = KV_NULL};
  if (kv_cursor_valid(cursor)) kv_cursor_value(cursor, &value);
  rc = delete_row(t, argv[0]);
  if (rc == SQLITE_OK) rc = put(t, key, &value);
  kv_cursor_close(cursor);
  return rc;
}

static int update_row(table *t, sqlite3_value **argv) {
  row_key old, key;
  int rc = face_text(argv[0], &old.bytes, &old.size);
  if (rc != SQLITE_OK) return rc;
  /* Moved or replaced by this statement already. Deleting what is not there changes nothing, and reports
  ** a transaction that cannot go on, as after a fork. */
  if (!kv_has(t->link->db, old.bytes, old.size)) return delete_row(t, argv[0]);
  rc = read_key(&t->base, argv[2 + COLUMN_KEY], &key);
  if (rc != SQLITE_OK) return rc;
  bool same = old.size == key.size && memcmp(old.bytes, key.bytes, key.size) == 0;
  if (!same) return move_row(t, argv, &old, &key);
  if (sqlite3_value_nochange(argv[2 + COLUMN_VALUE])) return SQLITE_OK;
  kv_value value;
  rc = face_value(argv[2 + COLUMN_VALUE], t->utf8, &value);
  return rc == SQLITE_OK ? put(t, &key, &value) : rc;
}

/* --- commands ------------------------------------------------------------------------------------ */

#define VALID_COMMANDS                                                                             \
  "flush, checkpoint, integrity-check, and with a value: synchronous, group_size, "                \
  "group_timeout, auto_checkpoint"

static int run_setting(table *t, const char *name, sqlite3_value *value) {
  const char *text;
  size_t size;
  if (face_text(value, &text, &size) != SQLITE_OK) return SQLITE_NOMEM;
  if (text == NULL) {
    return face_fail_text(
        &t->base, SQLITE_ERROR,
        "unknown command '%s', or its value is missing; valid are " VALID_COMMANDS, name);
  }
  char *message = NULL;
  int rc = args_apply_setting(name, text, &t->settings, &message);
  if (rc == SQLITE_NOTFOUND) {
    return face_fail_text(&t->base, SQLITE_ERROR, "unknown command '%s'; valid are " VALID_COMMANDS,
                          name);
  }
  if (rc == SQLITE_OK) {
    kv_set_settings(t->link->db, &t->settings);
  } else {
    sqlite3_free(t->base.zErrMsg);
    t->base.zErrMsg = message;
  }
  return rc;
}

/* A checkpoint takes the turn itself, so that ours, which SQLite has made us take, is given back
** meanwhile. */
static int run_checkpoint(table *t) {
  kv *db = t->link->db;
  kv_error err;
  if (kv_has_changes(db)) {
    return face_fail_text(&t->base, SQLITE_LOCKED,
                          "a checkpoint cannot run in a transaction that has changed something");
  }
  kv_rollback(db);
  t->session->busy_timeout_ms = t->busy_timeout_ms;
  int rc = kv_checkpoint(db, &err);
  if (rc == KV_OK) return table_begin_again(t);
  rc = face_fail(&t->base, &err);
  (void)kv_begin_now(db,
                     NULL); /* it has waited long enough; without a transaction SQLite rolls back */
  return rc;
}

/* Of a log that has lost its name no transaction can begin; a checkpoint writes what is in memory to a new
** file. */
static bool is_rescue(const table *t, int argc, sqlite3_value **argv) {
  if (!t->is_lost || argc == 1 || sqlite3_value_type(argv[0]) != SQLITE_NULL ||
      sqlite3_value_type(argv[2 + COLUMN_KEY]) != SQLITE_NULL ||
      sqlite3_value_type(argv[2 + COLUMN_VALUE]) != SQLITE_NULL) {
    return false;
  }
  const char *name = (const char *)sqlite3_value_text(argv[2 + COLUMN_COMMAND]);
  return name != NULL && sqlite3_stricmp(name, "checkpoint") == 0;
}

static int run_rescue(table *t) {
  kv_error err;
  return kv_checkpoint(t->link->db, &err) == KV_OK ? SQLITE_OK : face_fail(&t->base, &err);
}

static int run_command(table *t, sqlite3_value **argv) {
  const char *name = (const char *)sqlite3_value_text(argv[2 + COLUMN_COMMAND]);
  sqlite3_value *value = argv[2 + COLUMN_VALUE];
  if (name == NULL) return SQLITE_NOMEM;
  if (sqlite3_value_type(argv[2 + COLUMN_KEY]) != SQLITE_NULL) {
    return face_fail_text(&t->base, SQLITE_ERROR, "command '%s' does not take a key", name);
  }
  kv *db = t->link->db;
  kv_error err;
  if (sqlite3_value_type(value) != SQLITE_NULL) return run_setting(t, name, value);
  if (sqlite3_stricmp(name, "flush") == 0) {
    return kv_flush(db, &err) == KV_OK ? SQLITE_OK : face_fail(&t->base, &err);
  }
  if (sqlite3_stricmp(name, "integrity-check") == 0) {
    return kv_check(db, &err) == KV_OK ? SQLITE_OK : face_fail(&t->base, &err);
  }
  if (sqlite3_stricmp(name, "checkpoint") == 0) return run_checkpoint(t);
  return run_setting(t, name, value);
}

int write_update(sqlite3_vtab *base, int argc, sqlite3_value **argv, sqlite3_int64 *rowid) {
  (void)rowid;
  table *t = (table *)base;
  if (is_rescue(t, argc, argv)) return run_rescue(t);
  int rc = table_begin_late(t);
  if (rc != SQLITE_OK) return rc;
  if (argc == 1) return delete_row(t, argv[0]);
  bool insert = sqlite3_value_type(argv[0]) == SQLITE_NULL;
  if (insert && sqlite3_value_type(argv[1]) != SQLITE_NULL) return SQLITE_OK; /* UPDATE of no row */
  if (insert && sqlite3_value_type(argv[2 + COLUMN_COMMAND]) != SQLITE_NULL) {
    return run_command(t, argv);
  }
  rc = check_computed(base, argv, insert);
  if (rc != SQLITE_OK) return rc;
  return insert ? insert_row(t, argv) : update_row(t, argv);
}
