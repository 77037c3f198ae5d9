/*
** test_sql_memory.c - SQL when memory is short: in each scenario every allocation fails, SQLite's
** and the engine's alike, once by itself and once with all that follow. The statement then fails
** with SQLITE_NOMEM or succeeds, and nothing is half done: rows are as before it or as after it,
** in the connection and in the log when that is opened again; and nothing leaks.
**
**     test_sql_memory NAME     only the scenarios whose name starts so
**
** The extension is linked in, so that the engine's allocator is the one that is replaced here.
*/
#include "kv_help.h"
#include "os.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <unistd.h>

int sqlite3_kvstore_init(sqlite3 *connection, char **message, const sqlite3_api_routines *api);

/* --- the two allocators ---------------------------------------------------------------------------- */

static struct {
  long left; /* allocations before one fails; -1: none does */
  bool lasting;
  unsigned long refused;
} fault = {.left = -1};

static unsigned long refused_in_all;
static long blocks; /* of the engine, not given back */
static sqlite3_mem_methods plain;

static bool refuse(void) {
  if (fault.left < 0) return false;
  if (fault.left > 0) {
    fault.left--;
    return false;
  }
  if (!fault.lasting && fault.refused > 0) return false;
  fault.refused++;
  refused_in_all++;
  return true;
}

static void *sqlite_malloc(int size) {
  return refuse() ? NULL : plain.xMalloc(size);
}

static void *sqlite_realloc(void *data, int size) {
  return refuse() ? NULL : plain.xRealloc(data, size);
}

static void *engine_malloc(size_t size) {
  if (refuse()) return NULL;
  blocks++;
  return malloc(size);
}

static void *engine_realloc(void *data, size_t size) {
  if (refuse()) return NULL;
  blocks += data == NULL;
  return realloc(data, size);
}

static void engine_free(void *data) {
  blocks -= data != NULL;
  free(data);
}

static char *engine_realpath(const char *path) {
  if (refuse()) {
    errno = ENOMEM;
    return NULL;
  }
  char *out = realpath(path, NULL);
  blocks += out != NULL;
  return out;
}

static int no_sync(int fd) {
  (void)fd;
  return 0;
}

static void replace_allocators(void) {
  sqlite3_mem_methods methods;
  sqlite3_config(SQLITE_CONFIG_GETMALLOC, &plain);
  methods = plain;
  methods.xMalloc = sqlite_malloc;
  methods.xRealloc = sqlite_realloc;
  sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
  sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0); /* it would hide most of SQLite's */
  sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 1);
  os.malloc = engine_malloc;
  os.realloc = engine_realloc;
  os.free = engine_free;
  os.realpath = engine_realpath;
  os.fdatasync = os.fsync = no_sync;
}

/* --- scenarios -------------------------------------------------------------------------------------- */

/* What a scenario's table is kept in. */
enum { IN_LOG = 1, VOLATILE = 2, IN_FILE = 4, IN_UTF16 = 8, NONE = 16 };

typedef struct scenario {
  const char *name;
  int kinds;       /* it is run with each of these */
  const char *sql; /* fails at every allocation */
  enum {
    NO,
    FILE_TOO,
    VETO
  } undo; /* the log's commit has to be taken back: another file fails, or
                                       a commit hook refuses */
} scenario;

#define EACH (IN_LOG | VOLATILE)

static const scenario scenarios[] = {
    {"load", NONE, NULL, NO},
    {"create", NONE,
     "CREATE VIRTUAL TABLE kv USING kvstore('log', synchronous=FULL, group_size=2, group_timeout=0,"
     "busy_timeout=5, auto_checkpoint=0, readonly=0); SELECT count(*) FROM kv",
     NO},
    {"create new", NONE,
     "CREATE VIRTUAL TABLE kv USING kvstore(file=\"new\"); INSERT INTO kv VALUES('a', 1);"
     "INSERT INTO kv VALUES('b', 2); DROP TABLE kv",
     NO},
    {"create wrong", NONE, "CREATE VIRTUAL TABLE kv USING kvstore('log', synchronous=HALF)", NO},
    {"create foreign", NONE, "CREATE VIRTUAL TABLE kv USING kvstore('foreign')", NO},
    {"create temp", NONE,
     "CREATE VIRTUAL TABLE temp.kv USING kvstore; INSERT INTO kv VALUES('a', 1); DROP TABLE kv",
     NO},
    {"create inside", NONE,
     "BEGIN; CREATE VIRTUAL TABLE kv USING kvstore('log'); INSERT INTO kv VALUES('x', 1); COMMIT;"
     "BEGIN; DELETE FROM kv WHERE key = 'x'; COMMIT; DROP TABLE kv",
     NO},
    {"connect", IN_FILE, "SELECT count(*), max(value) FROM kv", NO},
    {"insert", EACH | IN_FILE | IN_UTF16, "INSERT INTO kv VALUES('new/key', 'text')", NO},
    {"insert large", EACH, "INSERT INTO kv VALUES('large', zeroblob(5000))", NO},
    {"insert rows", EACH | IN_UTF16,
     "INSERT INTO kv SELECT key || '/copy', value FROM kv WHERE value IS NOT NULL", NO},
    {"insert number", EACH | IN_UTF16, "INSERT INTO kv VALUES(5, 5), (2.5, x'00')", NO},
    {"insert replace", EACH, "INSERT OR REPLACE INTO kv VALUES('a', 'other'), ('z', 1)", NO},
    {"insert ignore", EACH, "INSERT OR IGNORE INTO kv VALUES('a', 'other'), ('z', 1)", NO},
    {"insert conflict", EACH, "INSERT INTO kv VALUES('y', 1), ('a', 'other')", NO},
    {"insert fail", EACH, "INSERT OR FAIL INTO kv VALUES('a', 'other')", NO},
    {"insert wrong", EACH | IN_UTF16, "INSERT INTO kv VALUES('a//b', 1)", NO},
    {"insert null", EACH, "INSERT INTO kv VALUES(NULL, 1)", NO},
    {"insert blob", EACH, "INSERT INTO kv VALUES(x'61', 1)", NO},
    {"insert computed", EACH, "INSERT INTO kv(key, value, name) VALUES('a', 1, 'x')", NO},
    {"update", EACH | IN_UTF16, "UPDATE kv SET value = 'changed' WHERE key = 'a/b'", NO},
    {"update rows", EACH, "UPDATE kv SET value = value || 'x' WHERE key GLOB 'a*'", NO},
    {"update key", EACH | IN_UTF16, "UPDATE kv SET key = 'moved' WHERE key = 'a'", NO},
    {"update keys", EACH | IN_UTF16, "UPDATE kv SET key = key || '/moved', value = 1", NO},
    {"update keys only", EACH, "UPDATE OR REPLACE kv SET key = 'm/' || key", NO},
    {"update computed", EACH, "UPDATE kv SET name = 'x' WHERE key = 'a'", NO},
    {"update from", EACH | IN_UTF16,
     "UPDATE kv SET value = o.v FROM (SELECT 'a' AS k, 9 AS v) AS o WHERE kv.key = o.k", NO},
    {"delete", EACH | IN_UTF16, "DELETE FROM kv WHERE key = 'a'", NO},
    {"delete rows", EACH | IN_FILE, "DELETE FROM kv WHERE parent = 'a'", NO},
    {"delete all", EACH, "DELETE FROM kv", NO},
    {"transaction", EACH | IN_FILE,
     "BEGIN; INSERT INTO kv VALUES('t1', 1); UPDATE kv SET value = 2 WHERE key = 'a';"
     "DELETE FROM kv WHERE key = 'b'; COMMIT",
     NO},
    {"rollback", EACH | IN_FILE, "BEGIN; INSERT INTO kv VALUES('t1', 1); DELETE FROM kv; ROLLBACK",
     NO},
    {"savepoints", EACH,
     "BEGIN; INSERT INTO kv VALUES('s0', 0); SAVEPOINT a; INSERT INTO kv VALUES('s1', 1);"
     "SAVEPOINT b; DELETE FROM kv WHERE key >= 's'; ROLLBACK TO b; UPDATE kv SET value = 3;"
     "ROLLBACK TO a; INSERT INTO kv VALUES('s2', 2); RELEASE a; COMMIT",
     NO},
    {"outer savepoint", EACH,
     "SAVEPOINT a; INSERT INTO kv VALUES('s1', 1); ROLLBACK TO a; INSERT INTO kv VALUES('s2', 2);"
     "RELEASE a",
     NO},
    {"statement rollback", EACH,
     "BEGIN; INSERT INTO kv VALUES('t1', 1); INSERT OR IGNORE INTO kv SELECT 't2', 1 UNION ALL "
     "SELECT 'a', 1; COMMIT",
     NO},
    {"file too", IN_FILE,
     "BEGIN; INSERT INTO t VALUES(1); INSERT INTO kv VALUES('t1', 1); INSERT INTO t VALUES(2); "
     "COMMIT",
     FILE_TOO},
    {"veto", EACH | IN_FILE, "INSERT INTO kv VALUES('v', 1)", VETO},
    {"veto many", EACH,
     "BEGIN; INSERT INTO kv VALUES('v', zeroblob(2000)); DELETE FROM kv WHERE key = 'a'; COMMIT",
     VETO},
    {"rename", EACH,
     "BEGIN; ALTER TABLE kv RENAME TO other; INSERT INTO other VALUES('r', 1);"
     "ALTER TABLE other RENAME TO kv; COMMIT",
     NO},
    {"drop", EACH, "BEGIN; DROP TABLE kv; ROLLBACK", NO},
    {"command", EACH | IN_UTF16,
     "INSERT INTO kv(kv) VALUES('flush'); INSERT INTO kv(kv, value) VALUES('group_size', 1)", NO},
    {"command checkpoint", EACH | IN_UTF16 | IN_FILE, "INSERT INTO kv(kv) VALUES('checkpoint')",
     NO},
    {"command wrong", EACH, "INSERT INTO kv(kv) VALUES('dance')", NO},
    {"command value", EACH, "INSERT INTO kv(kv, value) VALUES('group_size', 'many')", NO},
    {"get", EACH | IN_UTF16, "SELECT value, root, parent, name, depth FROM kv WHERE key = 'a/b'",
     NO},
    {"get number", EACH | IN_UTF16, "SELECT quote(value) FROM kv WHERE key = 17", NO},
    {"get large", EACH, "SELECT length(value), max(value) FROM kv WHERE key = 'c/large'", NO},
    {"range", EACH | IN_UTF16, "SELECT key FROM kv WHERE key > 'a' AND key <= 'b/c'", NO},
    {"glob", EACH | IN_UTF16, "SELECT key FROM kv WHERE key GLOB 'a/*'", NO},
    {"like", EACH | IN_UTF16, "SELECT key FROM kv WHERE key LIKE 'A/%'", NO},
    {"in", EACH | IN_UTF16, "SELECT key FROM kv WHERE key IN ('b', 'none', 'a/b', 'a')", NO},
    {"in select", EACH | IN_UTF16,
     "SELECT key FROM kv WHERE key IN (SELECT key FROM kv WHERE key < 'b') ORDER BY key DESC", NO},
    {"root", EACH | IN_UTF16, "SELECT key, root FROM kv('a') ORDER BY key DESC", NO},
    {"root wrong", EACH, "SELECT key, root FROM kv('a//b')", NO},
    {"parent", EACH | IN_UTF16, "SELECT name FROM kv WHERE parent = 'a'", NO},
    {"depth", EACH, "SELECT key FROM kv WHERE depth = 2 AND key > 'a/b'", NO},
    {"limit", EACH, "SELECT key FROM kv ORDER BY key DESC LIMIT 3 OFFSET 2", NO},
    {"limit root", EACH | IN_UTF16, "SELECT key FROM kv('a') LIMIT 2 OFFSET 1", NO},
    {"sort", EACH, "SELECT key FROM kv ORDER BY length(value), key", NO},
    {"join", EACH, "SELECT a.key, b.key FROM kv AS a JOIN kv AS b ON b.parent = a.key", NO},
    {"deep", EACH, "SELECT count(*) FROM kv WHERE key GLOB 'd/*' ORDER BY key DESC", NO},
    {"tree", EACH | IN_FILE | IN_UTF16, "SELECT * FROM kvstore_tree('kv')", NO},
    {"tree root", EACH | IN_UTF16, "SELECT path FROM kvstore_tree('main.kv', 'a') WHERE depth <= 2",
     NO},
    {"tree wrong", EACH, "SELECT path FROM kvstore_tree('none')", NO},
    {"stat", EACH, "SELECT file, keys, commits FROM kvstore_stat", NO},
    {"log", IN_LOG | IN_UTF16, "SELECT * FROM kvstore_log('log')", NO},
    {"log wrong", IN_LOG, "SELECT * FROM kvstore_log('none')", NO},
    {"functions", IN_LOG, "SELECT kvstore_version(), kvstore_debug()", NO},
};

/* --- files ------------------------------------------------------------------------------------------- */

typedef struct content {
  const char *name;
  char data[65536];
  size_t size;
} content;

static content log_content = {.name = "log"}, base_content = {.name = "app.db"};

static void read_content(content *c) {
  int fd = open(c->name, O_RDONLY);
  ssize_t got = fd >= 0 ? read(fd, c->data, sizeof c->data) : -1;
  if (got < 0 || (size_t)got > sizeof c->data / 2) abort();
  c->size = (size_t)got;
  (void)close(fd);
}

/* Behind a log's end there may be zeros, as room. */
static bool is_as_it_was(const content *c) {
  static char now[sizeof c->data];
  static const char zeros[64];
  int fd = open(c->name, O_RDONLY);
  ssize_t got = fd >= 0 ? read(fd, now, c->size + sizeof zeros) : -1;
  if (got < 0) abort();
  (void)close(fd);
  size_t size = (size_t)got;
  return size >= c->size && memcmp(now, c->data, c->size) == 0 &&
         memcmp(now + c->size, zeros, size - c->size) == 0;
}

static void write_content(const content *c) {
  int fd = open(c->name, O_RDWR | O_CREAT, 0600);
  if (fd < 0 || pwrite(fd, c->data, c->size, 0) != (ssize_t)c->size) abort();
  if (ftruncate(fd, (off_t)c->size) != 0) abort();
  (void)close(fd);
}

static void restore_files(void) {
  write_content(&log_content);
  write_content(&base_content);
  (void)unlink("new");
}

/* --- connections -------------------------------------------------------------------------------------- */

static const char fill[] =
    "INSERT INTO kv VALUES('a', 'text'), ('a/b', x'0102'), ('a/c', 1.5), ('a-b', NULL), ('b', 7),"
    "('b/c', 'x'), ('c/large', zeroblob(2000)), ('17', '5');"
    "WITH RECURSIVE d(k, n) AS (SELECT 'd', 1 UNION ALL SELECT k || '/d', n + 1 FROM d WHERE n < "
    "50)"
    "INSERT INTO kv SELECT k, 0 FROM d WHERE n % 2 = 0";

static void must(sqlite3 *db, const char *sql) {
  if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK) return;
  printf("%s: %s\n", sql, sqlite3_errmsg(db));
  abort();
}

static sqlite3 *open_bare(const char *name) {
  sqlite3 *db = NULL;
  if (sqlite3_open(name, &db) != SQLITE_OK) abort();
  return db;
}

static int load(sqlite3 *db) {
  char *message = NULL;
  int rc = sqlite3_kvstore_init(db, &message, NULL);
  sqlite3_free(message);
  return rc;
}

static sqlite3 *open_kind(int kind) {
  sqlite3 *db = open_bare(kind == IN_FILE ? "app.db" : ":memory:");
  if (kind == NONE) return db;
  if (load(db) != SQLITE_OK) abort();
  if (kind == IN_UTF16) must(db, "PRAGMA encoding = 'UTF-16le'");
  if (kind == IN_FILE) must(db, "PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY");
  if (kind == IN_LOG || kind == IN_UTF16) must(db, "CREATE VIRTUAL TABLE kv USING kvstore('log')");
  if (kind == VOLATILE) must(db, "CREATE VIRTUAL TABLE kv USING kvstore(':memory:')");
  if (kind == VOLATILE) must(db, fill);
  return db;
}

static void make_files(void) {
  (void)unlink("log");
  (void)unlink("app.db");
  content foreign = {.name = "foreign", .data = "SQLite", .size = 6};
  write_content(&foreign);
  sqlite3 *db = open_kind(IN_LOG);
  must(db, fill);
  (void)sqlite3_close(db);
  db = open_bare("app.db");
  if (load(db) != SQLITE_OK) abort();
  must(db, "CREATE VIRTUAL TABLE kv USING kvstore('log'); CREATE TABLE t(x)");
  (void)sqlite3_close(db);
  read_content(&log_content);
  read_content(&base_content);
}

/* --- running ------------------------------------------------------------------------------------------ */

typedef struct text {
  char bytes[20000];
  size_t size;
} text;

static void append(text *t, const char *from) {
  size_t size = from != NULL ? strlen(from) : 0;
  if (t->size + size + 2 > sizeof t->bytes) abort();
  if (size > 0) memcpy(t->bytes + t->size, from, size);
  t->size += size;
  t->bytes[t->size++] = '|';
  t->bytes[t->size] = '\0';
}

static int collect(void *context, int count, char **values, char **names) {
  (void)names;
  for (int i = 0; i < count; i++) append(context, values[i]);
  return 0;
}

/* All that can be seen of a scenario's tables; the size of what is kv's. */
static size_t dump(sqlite3 *db, int kind, text *out) {
  out->size = 0;
  out->bytes[0] = '\0';
  if (kind == NONE) return 0;
  static const char rows[] = "SELECT key, hex(value), typeof(value) FROM kv";
  if (sqlite3_exec(db, rows, collect, out, NULL) != SQLITE_OK) append(out, sqlite3_errmsg(db));
  size_t size = out->size;
  if (kind != IN_FILE) return size;
  int rc = sqlite3_exec(db, "SELECT x FROM t", collect, out, NULL);
  if (rc != SQLITE_OK) append(out, sqlite3_errmsg(db));
  return size;
}

static int veto(void *context) {
  (void)context;
  return 1;
}

typedef struct outcome {
  int rc;
  text output, seen, reopened;
  size_t rows_size; /* of what is seen, the rows of kv, the others behind */
  bool triggered;
} outcome;

static int run_sql(const scenario *s, sqlite3 *db, text *output) {
  return s->sql == NULL ? load(db) : sqlite3_exec(db, s->sql, collect, output, NULL);
}

/* The scenario's SQL, with the allocation `left` failing. */
static void run_failing(const scenario *s, sqlite3 *db, long left, bool lasting, outcome *out) {
  out->output.size = 0;
  fault.refused = 0;
  fault.lasting = lasting;
  fault.left = left;
  out->rc = run_sql(s, db, &out->output);
  fault.left = -1;
  out->triggered = fault.refused > 0;
}

static void close_all(sqlite3 *db) {
  if (!CHECK_INT(sqlite3_close(db), SQLITE_OK)) abort();
  CHECK_INT(blocks, 0);
}

static bool is_same(const char *a, size_t a_size, const char *b, size_t b_size) {
  return a_size == b_size && memcmp(a, b, a_size) == 0;
}

static bool is_seen(const outcome *a, const outcome *b) {
  return is_same(a->seen.bytes, a->seen.size, b->seen.bytes, b->seen.size);
}

/* Run a scenario in a connection: in *db, or a new one if that is NULL. A connection in which
** nothing came of it goes on to the next run, unless how it is opened belongs to the scenario. */
static void run(const scenario *s, int kind, long left, bool lasting, const outcome *before,
                sqlite3 **db, outcome *out) {
  if (*db == NULL) {
    restore_files();
    *db = open_kind(kind);
    if (kind == NONE && s->sql != NULL) (void)load(*db);
  }
  if (s->undo == VETO) (void)sqlite3_commit_hook(*db, veto, NULL);
  run_failing(s, *db, left, lasting, out);
  (void)sqlite3_commit_hook(*db, NULL, NULL);
  if (!sqlite3_get_autocommit(*db)) must(*db, "ROLLBACK");
  out->rows_size = dump(*db, kind, &out->seen);
  bool untouched = is_as_it_was(&log_content) && is_as_it_was(&base_content);
  untouched = untouched && is_seen(out, before);
  if (untouched && out->triggered && !(kind & (NONE | IN_FILE))) return;
  close_all(*db);
  *db = NULL;
  if (untouched || kind & (NONE | VOLATILE)) return;
  sqlite3 *again = open_kind(kind);
  (void)dump(again, kind, &out->reopened);
  close_all(again);
  if (!CHECK_STR(out->reopened.bytes, out->seen.bytes)) printf("  reopened: %s\n", s->name);
}

/* The rows of kv alone. */
static bool is_kept(const outcome *a, const outcome *b) {
  return is_same(a->seen.bytes, a->rows_size, b->seen.bytes, b->rows_size);
}

/* Without a fault: before the scenario, after it, and what is in the log if that is not taken back. */
typedef struct reference {
  outcome before, after, kept;
} reference;

/* Whether an outcome is one that may be: what was to be done is done, or nothing is. Where a commit
** has to be taken back, this needs memory too, and the commit may stand. */
static bool is_right(const scenario *s, const reference *r, const outcome *got) {
  if (got->rc == SQLITE_OK && r->after.rc == SQLITE_OK) {
    return is_seen(got, &r->after) && is_same(got->output.bytes, got->output.size,
                                              r->after.output.bytes, r->after.output.size);
  }
  if (got->rc != r->after.rc && !(got->triggered && got->rc == SQLITE_NOMEM)) return false;
  return is_seen(got, &r->before) || (s->undo != NO && is_kept(got, &r->kept));
}

static void check_outcome(const scenario *s, int kind, const reference *r, const outcome *got,
                          long n) {
  if (CHECK(is_right(s, r, got))) return;
  printf("  %s, kind %d, allocation %ld%s: result %d, %s\n", s->name, kind, n,
         fault.lasting ? " and all behind it" : "", got->rc,
         is_seen(got, &r->before)  ? "undone"
         : is_seen(got, &r->after) ? "done"
                                   : got->seen.bytes);
}

/* What reads only can go on in one connection. */
static void run_reading(const scenario *s, int kind, const reference *r) {
  static outcome got;
  restore_files();
  sqlite3 *db = open_kind(kind);
  for (int lasting = 0; lasting < 2; lasting++) {
    long n = 0;
    do {
      run_failing(s, db, n, lasting != 0, &got);
      got.seen = r->before.seen;
      check_outcome(s, kind, r, &got, n++);
    } while (got.triggered);
  }
  got.rows_size = dump(db, kind, &got.seen);
  CHECK(is_seen(&got, &r->before));
  close_all(db);
}

static void run_writing(const scenario *s, int kind, const reference *r, sqlite3_int64 used) {
  static outcome got;
  sqlite3 *db = NULL;
  for (int lasting = 0; lasting < 2; lasting++) {
    long n = 0;
    do {
      run(s, kind, n, lasting != 0, &r->before, &db, &got);
      check_outcome(s, kind, r, &got, n++);
      if (db == NULL) CHECK_INT(sqlite3_memory_used(), used);
    } while (got.triggered);
  }
}

static void run_scenario(const scenario *s, int kind) {
  static reference r;
  restore_files();
  sqlite3 *db = open_kind(kind);
  r.before.rows_size = dump(db, kind, &r.before.seen);
  (void)sqlite3_close(db);
  db = NULL;
  scenario kept = *s;
  kept.undo = NO;
  run(&kept, kind, -1, false, &r.before, &db, &r.kept);
  run(s, kind, -1, false, &r.before, &db, &r.after);
  sqlite3_int64 used = sqlite3_memory_used();
  bool reads = s->sql != NULL && strncmp(s->sql, "SELECT", 6) == 0 && kind != IN_FILE;
  if (reads) {
    run_reading(s, kind, &r);
    CHECK_INT(sqlite3_memory_used(), used);
  } else {
    run_writing(s, kind, &r, used);
  }
}

int main(int argc, char **argv) {
  const char *only = argc > 1 ? argv[1] : "";
  replace_allocators();
  make_files();
  for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
    const scenario *s = &scenarios[i];
    if (strncmp(s->name, only, strlen(only)) != 0) continue;
    for (int kind = IN_LOG; kind <= NONE; kind *= 2) {
      if (s->kinds & kind) run_scenario(s, kind);
    }
  }
  (void)sqlite3_shutdown();
  CHECK_INT(sqlite3_memory_used(), 0);
  CHECK_INT(blocks, 0);
  printf("%lu allocations refused\n", refused_in_all);
  return unit_done();
}
