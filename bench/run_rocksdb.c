/*
** run_rocksdb.c - RocksDB as a subject, without SQL, with its defaults. bench.h tells how it is run.
**
**     insert    a put with sync=true: it returns when its record is on stable storage, together with
**               those of other threads that came at the same time
**     get       a get
*/
#include "bench.h"

#include <rocksdb/c.h>
#include <stdlib.h>
#include <string.h>

typedef struct connection {
  rocksdb_readoptions_t *reading;
  rocksdb_writeoptions_t *durable, *lazy;
  rocksdb_writebatch_t *batch;
  uint64_t (*operation)(struct connection *c, const entry *e);
} connection;

static rocksdb_t *database;

static void check(char *error, const char *what) {
  if (error != NULL) bench_die(what, error);
}

static uint64_t insert(connection *c, const entry *e) {
  char *error = NULL;
  rocksdb_put(database, c->durable, e->key, e->key_size, e->value, e->value_size, &error);
  check(error, "rocksdb_put");
  return 0;
}

static uint64_t get(connection *c, const entry *e) {
  char *error = NULL;
  size_t size;
  char *value = rocksdb_get(database, c->reading, e->key, e->key_size, &size, &error);
  check(error, "rocksdb_get");
  uint64_t found = value != NULL;
  free(value);
  return found;
}

static void *rocks_open(const bench_options *o) {
  (void)o;
  connection *c = calloc(1, sizeof *c);
  if (c == NULL) abort();
  if (database == NULL) {
    char *error = NULL;
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    database = rocksdb_open(options, "rocksdb", &error);
    check(error, "rocksdb_open");
    rocksdb_options_destroy(options);
  }
  c->reading = rocksdb_readoptions_create();
  c->durable = rocksdb_writeoptions_create();
  rocksdb_writeoptions_set_sync(c->durable, 1);
  c->lazy = rocksdb_writeoptions_create();
  c->batch = rocksdb_writebatch_create();
  return c;
}

static void rocks_close(void *connection_) {
  connection *c = connection_;
  rocksdb_readoptions_destroy(c->reading);
  rocksdb_writeoptions_destroy(c->durable);
  rocksdb_writeoptions_destroy(c->lazy);
  rocksdb_writebatch_destroy(c->batch);
  free(c);
}

static void rocks_load_begin(void *connection_) {
  connection *c = connection_;
  rocksdb_writebatch_clear(c->batch);
}

static void rocks_load(void *connection_, const entry *e) {
  connection *c = connection_;
  rocksdb_writebatch_put(c->batch, e->key, e->key_size, e->value, e->value_size);
}

static void rocks_load_end(void *connection_) {
  connection *c = connection_;
  char *error = NULL;
  rocksdb_write(database, c->lazy, c->batch, &error);
  check(error, "rocksdb_write");
}

static bool rocks_select(void *connection_, const char *operation) {
  connection *c = connection_;
  c->operation = strcmp(operation, "insert") == 0 ? insert
                 : strcmp(operation, "get") == 0  ? get
                                                  : NULL;
  return c->operation != NULL;
}

static uint64_t rocks_step(void *connection_, const entry *e) {
  connection *c = connection_;
  return c->operation(c, e);
}

int main(int argc, char **argv) {
  static const bench_subject rocks = {.open = rocks_open,
                                      .close = rocks_close,
                                      .load_begin = rocks_load_begin,
                                      .load = rocks_load,
                                      .load_end = rocks_load_end,
                                      .select = rocks_select,
                                      .step = rocks_step};
  int code = bench_main(argc, argv, &rocks);
  if (database != NULL) rocksdb_close(database);
  return code;
}
