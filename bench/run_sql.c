/*
** run_sql.c - the subjects that are reached through SQL: run_sql FILE.sql [options], where
** sql_file.h tells what is in the file and bench.h the options and the rest.
**
** The extension is looked for beside this program (floor.so) and else where the file says, from the
** working directory; KVSTORE_LIB names another kvstore.so.
**
** SQLite is set up as its documentation recommends where speed matters, for all subjects alike: no
** mutex for a connection that only one thread uses, no statistics of memory.
*/
#include "bench.h"
#include "sql_file.h"

#include <limits.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATEMENTS_MAX 8

/* The statements of a section, prepared, and where their parameters are. */
typedef struct prepared {
  int count;
  struct {
    sqlite3_stmt *statement;
    int key, value, folder; /* 0: has none */
  } at[STATEMENTS_MAX];
} prepared;

typedef struct connection {
  sqlite3 *db;
  const bench_options *options;
  prepared load, begin, measure, finish;
} connection;

static sql_file file;
static size_t bytes_seen; /* so that no column is read for nothing; of all threads, in no order */

static _Noreturn void fail(sqlite3 *db, const char *sql) {
  bench_die(sqlite3_errmsg(db), sql);
}

/* --- statements ------------------------------------------------------------------------------- */

static void bind_settings(connection *c, sqlite3_stmt *statement) {
  for (int i = 1; i <= sqlite3_bind_parameter_count(statement); i++) {
    const char *name = sqlite3_bind_parameter_name(statement, i);
    const char *is = name != NULL ? bench_setting(c->options, name + 1, NULL) : NULL;
    char *end;
    long long number = is != NULL ? strtoll(is, &end, 10) : 0;
    if (is == NULL) continue;
    if (*is != '\0' && *end == '\0') sqlite3_bind_int64(statement, i, number);
    else sqlite3_bind_text(statement, i, is, -1, SQLITE_STATIC);
  }
}

static uint64_t run(connection *c, sqlite3_stmt *statement) {
  uint64_t rows = 0;
  size_t bytes = 0;
  int code;
  while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
    int columns = sqlite3_column_count(statement);
    for (int i = 0; i < columns; i++) {
      if (sqlite3_column_text(statement, i) == NULL) continue;
      bytes += (size_t)sqlite3_column_bytes(statement, i);
    }
    rows++;
  }
  if (code != SQLITE_DONE) fail(c->db, sqlite3_sql(statement));
  sqlite3_reset(statement);
  if (rows > 0) __atomic_store_n(&bytes_seen, bytes, __ATOMIC_RELAXED);
  return rows;
}

static void prepare(connection *c, const char *sql, prepared *out) {
  for (int i = 0; i < out->count; i++) sqlite3_finalize(out->at[i].statement);
  out->count = 0;
  while (*sql != '\0') {
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, &sql) !=
        SQLITE_OK) {
      fail(c->db, sql);
    }
    if (statement == NULL) continue;
    if (out->count == STATEMENTS_MAX) bench_die("too many statements", sql);
    bind_settings(c, statement);
    out->at[out->count].statement = statement;
    out->at[out->count].key = sqlite3_bind_parameter_index(statement, ":key");
    out->at[out->count].value = sqlite3_bind_parameter_index(statement, ":value");
    out->at[out->count].folder = sqlite3_bind_parameter_index(statement, ":folder");
    out->count++;
  }
}

static uint64_t run_prepared(connection *c, const prepared *p, const entry *e) {
  uint64_t rows = 0;
  for (int i = 0; i < p->count; i++) {
    sqlite3_stmt *s = p->at[i].statement;
    if (e != NULL && p->at[i].key != 0) {
      sqlite3_bind_text(s, p->at[i].key, e->key, (int)e->key_size, SQLITE_STATIC);
    }
    if (e != NULL && p->at[i].value != 0) {
      sqlite3_bind_text(s, p->at[i].value, e->value, (int)e->value_size, SQLITE_STATIC);
    }
    if (e != NULL && p->at[i].folder != 0) {
      sqlite3_bind_text(s, p->at[i].folder, e->key, (int)e->folder_size, SQLITE_STATIC);
    }
    rows += run(c, s);
  }
  return rows;
}

/* One statement after another, since the later ones may need what the earlier ones create. */
static void run_text(connection *c, const char *sql) {
  while (*sql != '\0') {
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(c->db, sql, -1, &statement, &sql) != SQLITE_OK) fail(c->db, sql);
    if (statement == NULL) continue;
    bind_settings(c, statement);
    run(c, statement);
    sqlite3_finalize(statement);
  }
}

/* --- the subject ------------------------------------------------------------------------------ */

static void load_extension(connection *c) {
  char path[2 * PATH_MAX], program[PATH_MAX], *message = NULL;
  const char *name = strrchr(file.extension, '/'), *ours = getenv("KVSTORE_LIB");
  name = name != NULL ? name + 1 : file.extension;
  ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
  program[size > 0 ? size : 0] = '\0';
  *(strrchr(program, '/') != NULL ? strrchr(program, '/') : program) = '\0';
  snprintf(path, sizeof path, "%s/%s.so", program, name);
  if (strcmp(name, "kvstore") == 0 && ours != NULL) {
    snprintf(path, sizeof path, "%s", ours);
  } else if (access(path, R_OK) != 0) {
    snprintf(path, sizeof path, "%s/%s", c->options->origin, file.extension);
  }
  sqlite3_enable_load_extension(c->db, 1);
  if (sqlite3_load_extension(c->db, path, NULL, &message) != SQLITE_OK) bench_die(path, message);
}

static void *sql_open(const bench_options *o) {
  connection *c = calloc(1, sizeof *c);
  if (c == NULL) abort();
  c->options = o;
  if (sqlite3_open_v2(file.database, &c->db,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                      NULL) != SQLITE_OK) {
    fail(c->db, file.database);
  }
  if (file.extension[0] != '\0') load_extension(c);
  run_text(c, sql_file_section(&file, "setup", ""));
  return c;
}

static void sql_close(void *connection_) {
  connection *c = connection_;
  prepared *all[] = {&c->load, &c->begin, &c->measure, &c->finish};
  for (int i = 0; i < 4; i++) prepare(c, "", all[i]);
  sqlite3_close(c->db);
  free(c);
}

static void sql_load_begin(void *connection_) {
  connection *c = connection_;
  if (c->load.count == 0) prepare(c, sql_file_section(&file, "load", ""), &c->load);
  run_text(c, "BEGIN");
}

static void sql_load(void *connection_, const entry *e) {
  connection *c = connection_;
  run_prepared(c, &c->load, e);
}

static void sql_load_end(void *connection_) {
  run_text(connection_, "COMMIT");
}

static bool sql_select(void *connection_, const char *operation) {
  connection *c = connection_;
  prepare(c, sql_file_section(&file, "begin", operation), &c->begin);
  prepare(c, sql_file_section(&file, "measure", operation), &c->measure);
  prepare(c, sql_file_section(&file, "finish", operation), &c->finish);
  return c->measure.count > 0;
}

static void sql_begin(void *connection_) {
  connection *c = connection_;
  run_prepared(c, &c->begin, NULL);
}

static uint64_t sql_step(void *connection_, const entry *e) {
  connection *c = connection_;
  return run_prepared(c, &c->measure, e);
}

static void sql_finish(void *connection_) {
  connection *c = connection_;
  run_prepared(c, &c->finish, NULL);
}

static void sql_figures(void *connection_, FILE *out) {
  connection *c = connection_;
  const char *sql = sql_file_section(&file, "figures", "");
  sqlite3_stmt *statement = NULL;
  if (sqlite3_prepare_v2(c->db, sql, -1, &statement, NULL) != SQLITE_OK) fail(c->db, sql);
  if (statement != NULL && sqlite3_step(statement) == SQLITE_ROW) {
    for (int i = 0; i < sqlite3_column_count(statement); i++) {
      fprintf(out, " %s=%s", sqlite3_column_name(statement, i),
              (const char *)sqlite3_column_text(statement, i));
    }
  }
  sqlite3_finalize(statement);
}

int main(int argc, char **argv) {
  static const bench_subject sql = {.open = sql_open,
                                    .close = sql_close,
                                    .load_begin = sql_load_begin,
                                    .load = sql_load,
                                    .load_end = sql_load_end,
                                    .select = sql_select,
                                    .begin = sql_begin,
                                    .step = sql_step,
                                    .finish = sql_finish,
                                    .figures = sql_figures};
  for (int i = 1; i < argc; i++) {
    if (argv[i][0] == '-') i++; /* an option and its value */
    else sql_file_read(argv[i], &file);
  }
  if (file.count == 0) bench_die("usage: run_sql FILE.sql [options]", "no sections");
  sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
  sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  return bench_main(argc, argv, &sql);
}
