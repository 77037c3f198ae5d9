/*
** group_commit.c - the experiment this project follows: what does fsync cost, and how much of it
** does group commit give back?
**
**     group_commit [--synchronous FULL|NORMAL] [--threads N] [--seconds S] [--folder F] SIZE ...
**
** For each group size, in turn, several rounds: autocommit INSERTs through SQL of the value `goober`
** under random keys out of 100 x 100, into a table on a fresh log in folder F (default: here, which
** should be on a disk). One connection by default; --threads N: N connections, each with a memory
** database and all on one log. Prints a line for each size: inserts per second (the median round),
** flushes, commits per flush, and the ratio to the first size.
*/
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SIZES_MAX 16
#define THREADS_MAX 512
#define ROUNDS 5

typedef struct options {
  const char *synchronous;
  const char *folder;
  int threads;
  double seconds; /* for each size, all rounds together */
  int sizes[SIZES_MAX];
  int size_count;
} options;

typedef struct worker {
  const options *o;
  int size, number;
  uint64_t inserts;
  pthread_t thread;
} worker;

typedef struct round_result {
  double rate;
  double commits_per_flush;
} round_result;

/* The 100 x 100 keys, made beforehand so that making them is not measured. */
static char keys[100 * 100][8];
static int key_sizes[100 * 100];

static _Atomic int stop;
static pthread_barrier_t ready;

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(sqlite3 *db, const char *what) {
  fprintf(stderr, "group_commit: %s: %s\n", what, db != NULL ? sqlite3_errmsg(db) : "");
  exit(1);
}

static void run(sqlite3 *db, const char *sql) {
  if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) die(db, sql);
}

static sqlite3 *open_table(const options *o, int size) {
  sqlite3 *db = NULL;
  if (sqlite3_open(":memory:", &db) != SQLITE_OK) die(db, "open");
  sqlite3_enable_load_extension(db, 1);
  const char *library = getenv("KVSTORE_LIB");
  char *message = NULL;
  if (sqlite3_load_extension(db, library != NULL ? library : "./kvstore", NULL, &message) !=
      SQLITE_OK) {
    fprintf(stderr, "group_commit: %s\n", message);
    exit(1);
  }
  char *sql = sqlite3_mprintf("CREATE VIRTUAL TABLE kv USING kvstore('%q/group_commit.dat', "
                              "synchronous=%s, group_size=%d); PRAGMA busy_timeout=10000",
                              o->folder, o->synchronous, size);
  run(db, sql);
  sqlite3_free(sql);
  return db;
}

static void *work(void *context) {
  worker *w = context;
  sqlite3 *db = open_table(w->o, w->size);
  sqlite3_stmt *insert;
  if (sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO kv VALUES(?1, 'goober')", -1, &insert, NULL) !=
      SQLITE_OK) {
    die(db, "prepare");
  }
  unsigned seed = 12345u + (unsigned)w->number;
  pthread_barrier_wait(&ready);
  while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
    int key = rand_r(&seed) % 10000;
    sqlite3_bind_text(insert, 1, keys[key], key_sizes[key], SQLITE_STATIC);
    if (sqlite3_step(insert) != SQLITE_DONE) die(db, "insert");
    sqlite3_reset(insert);
    w->inserts++;
  }
  sqlite3_finalize(insert);
  sqlite3_close(db);
  return NULL;
}

static double stat_column(sqlite3 *db, const char *column) {
  sqlite3_stmt *query;
  char *sql =
      sqlite3_mprintf("SELECT %s FROM kvstore_stat WHERE file GLOB '*/group_commit.dat'", column);
  double value = 0;
  if (sqlite3_prepare_v2(db, sql, -1, &query, NULL) == SQLITE_OK &&
      sqlite3_step(query) == SQLITE_ROW) {
    value = sqlite3_column_double(query, 0);
  }
  sqlite3_finalize(query);
  sqlite3_free(sql);
  return value;
}

static round_result run_round(const options *o, int size) {
  static worker workers[THREADS_MAX];
  char path[4096];
  snprintf(path, sizeof path, "%s/group_commit.dat", o->folder);
  unlink(path);
  atomic_store(&stop, 0);
  pthread_barrier_init(&ready, NULL, (unsigned)o->threads + 1);
  sqlite3 *db = open_table(o, size); /* keeps the store open for its figures */
  run(db, "INSERT INTO kv VALUES('first', 'goober')");
  for (int i = 0; i < o->threads; i++) {
    workers[i] = (worker){.o = o, .size = size, .number = i};
    pthread_create(&workers[i].thread, NULL, work, &workers[i]);
  }
  pthread_barrier_wait(&ready);
  double start = now_s();
  double seconds = o->seconds / ROUNDS;
  struct timespec pause = {.tv_sec = (time_t)seconds,
                           .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
  nanosleep(&pause, NULL);
  atomic_store(&stop, 1);
  uint64_t inserts = 0;
  double took = now_s() - start;
  for (int i = 0; i < o->threads; i++) {
    pthread_join(workers[i].thread, NULL);
    inserts += workers[i].inserts;
  }
  round_result result = {.rate = (double)inserts / took,
                         .commits_per_flush = stat_column(db, "commits_per_flush")};
  sqlite3_close(db);
  pthread_barrier_destroy(&ready);
  unlink(path);
  return result;
}

static int by_rate(const void *a, const void *b) {
  double x = ((const round_result *)a)->rate, y = ((const round_result *)b)->rate;
  return (x > y) - (x < y);
}

static void parse(options *o, int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (argv[i][0] != '-') {
      if (o->size_count < SIZES_MAX) o->sizes[o->size_count++] = atoi(argv[i]);
    } else if (i + 1 == argc) {
      die(NULL, argv[i]);
    } else if (strcmp(argv[i], "--synchronous") == 0) {
      o->synchronous = argv[++i];
    } else if (strcmp(argv[i], "--threads") == 0) {
      o->threads = atoi(argv[++i]);
    } else if (strcmp(argv[i], "--seconds") == 0) {
      o->seconds = atof(argv[++i]);
    } else if (strcmp(argv[i], "--folder") == 0) {
      o->folder = argv[++i];
    } else {
      die(NULL, argv[i]);
    }
  }
  if (o->size_count == 0 || o->threads < 1 || o->threads > THREADS_MAX) die(NULL, "usage");
}

int main(int argc, char **argv) {
  options o = {.synchronous = "NORMAL", .folder = ".", .threads = 1, .seconds = 2.5};
  static round_result results[SIZES_MAX][ROUNDS];
  parse(&o, argc, argv);
  for (int i = 0; i < 10000; i++) {
    key_sizes[i] = snprintf(keys[i], sizeof keys[i], "%d/%d", i / 100, i % 100);
  }
  /* A B C A B C ..., so that a drift of the machine meets all sizes alike. */
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < o.size_count; i++) results[i][round] = run_round(&o, o.sizes[i]);
  }
  printf("%12s %14s %18s %8s\n", "group_size", "inserts/s", "commits per flush", "ratio");
  for (int i = 0; i < o.size_count; i++) {
    qsort(results[i], ROUNDS, sizeof results[i][0], by_rate);
    const round_result *median = &results[i][ROUNDS / 2], *first = &results[0][ROUNDS / 2];
    printf("%12d %14.0f %18.1f %7.1fx\n", o.sizes[i], median->rate, median->commits_per_flush,
           median->rate / first->rate);
  }
  return 0;
}
