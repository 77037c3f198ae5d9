/*
** run_lmdb.c - LMDB as a subject, without SQL. bench.h tells how it is run.
**
**     insert    a put in a write transaction of its own, on stable storage when it returns
**     get       a get in a read transaction that is renewed for it
*/
#include "bench.h"

#include <lmdb.h>
#include <stdlib.h>
#include <string.h>

#define MAP_SIZE ((size_t)16 << 30)

typedef struct connection {
  MDB_txn *reading, *loading;
  uint64_t (*operation)(struct connection *c, const entry *e);
} connection;

static MDB_env *environment;
static MDB_dbi table;

static void check(int code, const char *what) {
  if (code != 0) bench_die(what, mdb_strerror(code));
}

static MDB_txn *begin(unsigned flags) {
  MDB_txn *txn;
  check(mdb_txn_begin(environment, NULL, flags, &txn), "mdb_txn_begin");
  return txn;
}

static void put(MDB_txn *txn, const entry *e) {
  MDB_val key = {.mv_size = e->key_size, .mv_data = (void *)(uintptr_t)e->key};
  MDB_val value = {.mv_size = e->value_size, .mv_data = (void *)(uintptr_t)e->value};
  check(mdb_put(txn, table, &key, &value, 0), "mdb_put");
}

static uint64_t insert(connection *c, const entry *e) {
  (void)c;
  MDB_txn *txn = begin(0);
  put(txn, e);
  check(mdb_txn_commit(txn), "mdb_txn_commit");
  return 0;
}

static uint64_t get(connection *c, const entry *e) {
  MDB_val key = {.mv_size = e->key_size, .mv_data = (void *)(uintptr_t)e->key}, value;
  if (c->reading == NULL) c->reading = begin(MDB_RDONLY);
  else check(mdb_txn_renew(c->reading), "mdb_txn_renew");
  int code = mdb_get(c->reading, table, &key, &value);
  if (code != MDB_NOTFOUND) check(code, "mdb_get");
  mdb_txn_reset(c->reading);
  return code == 0;
}

static void open_environment(void) {
  check(mdb_env_create(&environment), "mdb_env_create");
  check(mdb_env_set_mapsize(environment, MAP_SIZE), "mdb_env_set_mapsize");
  check(mdb_env_set_maxreaders(environment, 2048), "mdb_env_set_maxreaders");
  check(mdb_env_open(environment, "lmdb.dat", MDB_NOSUBDIR | MDB_NOTLS, 0644), "lmdb.dat");
  MDB_txn *txn = begin(0);
  check(mdb_dbi_open(txn, NULL, 0, &table), "mdb_dbi_open");
  check(mdb_txn_commit(txn), "mdb_txn_commit");
}

static void *lmdb_open(const bench_options *o) {
  (void)o;
  connection *c = calloc(1, sizeof *c);
  if (c == NULL) abort();
  if (environment == NULL) open_environment();
  return c;
}

static void lmdb_close(void *connection_) {
  connection *c = connection_;
  if (c->reading != NULL) mdb_txn_abort(c->reading);
  free(c);
}

static void lmdb_load_begin(void *connection_) {
  connection *c = connection_;
  c->loading = begin(0);
}

static void lmdb_load(void *connection_, const entry *e) {
  connection *c = connection_;
  put(c->loading, e);
}

static void lmdb_load_end(void *connection_) {
  connection *c = connection_;
  check(mdb_txn_commit(c->loading), "mdb_txn_commit");
}

static bool lmdb_select(void *connection_, const char *operation) {
  connection *c = connection_;
  c->operation = strcmp(operation, "insert") == 0 ? insert
                 : strcmp(operation, "get") == 0  ? get
                                                  : NULL;
  return c->operation != NULL;
}

static uint64_t lmdb_step(void *connection_, const entry *e) {
  connection *c = connection_;
  return c->operation(c, e);
}

int main(int argc, char **argv) {
  static const bench_subject lmdb = {.open = lmdb_open,
                                     .close = lmdb_close,
                                     .load_begin = lmdb_load_begin,
                                     .load = lmdb_load,
                                     .load_end = lmdb_load_end,
                                     .select = lmdb_select,
                                     .step = lmdb_step};
  return bench_main(argc, argv, &lmdb);
}
