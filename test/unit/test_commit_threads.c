/*
** test_commit_threads.c - many threads on one log, each with a handle of its own.
**
** Every transaction reads counters and writes them back greater by one; if two ever overlapped, or
** one was lost, the sums would tell. Readers meanwhile check that each version they see is whole and
** none older than the one before. A watchdog ends the program if it hangs.
*/
#include "kv_help.h"
#include "os.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define THREADS 8
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define COMMITS 60
#else
#define COMMITS 300
#endif
#define WATCHDOG_S 120

/* --- helpers -------------------------------------------------------------------------------------- */

static atomic_ulong flushes;
static atomic_bool fail_flush;
static atomic_bool hold_flush, fail_write;
static int (*real_fdatasync)(int fd);
static ssize_t (*real_pwrite)(int fd, const void *data, size_t size, off_t offset);

/* As slow as a disk, wherever the test runs, so that groups form. */
static int slow_fdatasync(int fd) {
  atomic_fetch_add(&flushes, 1);
  usleep(200);
  while (atomic_load(&hold_flush)) usleep(200);
  if (atomic_load(&fail_flush)) {
    errno = EIO;
    return -1;
  }
  return real_fdatasync(fd);
}

static ssize_t frail_pwrite(int fd, const void *data, size_t size, off_t offset) {
  if (!atomic_load(&fail_write)) return real_pwrite(fd, data, size, offset);
  errno = EIO;
  return -1;
}

static int64_t number_at(kv_cursor *c, const char *key) {
  kv_value value;
  kv_cursor_find(c, key, strlen(key));
  if (!kv_cursor_valid(c)) return 0;
  kv_cursor_value(c, &value);
  return value.integer;
}

/* Count up one key within the open transaction. */
static int count_up(kv *db, const char *key) {
  kv_cursor *c;
  kv_error err;
  int rc = kv_cursor_open(db, &c, &err);
  if (rc != KV_OK) return rc;
  kv_value value = {.type = KV_INTEGER, .integer = number_at(c, key) + 1};
  kv_cursor_close(c);
  return kv_put(db, key, strlen(key), &value, NULL, &err);
}

typedef struct worker {
  pthread_t thread;
  const char *path;
  kv_settings settings;
  int id;
  int commits;    /* to make */
  unsigned flags; /* of kv_commit */
  bool flush_too;
  int acknowledged;    /* result */
  int failed;          /* result: the code, if one failed */
  atomic_int *company; /* of those that need somebody beside them */
  bool stays;          /* beside them, until they are done */
} worker;

/* One transaction: the sum of all, this worker's own, and every third time rolled back. */
static int count_once(worker *w, kv *db, int i) {
  kv_error err;
  char own[32];
  (void)snprintf(own, sizeof own, "by/%d", w->id);
  int rc = kv_begin(db, BUSY_MS, &err);
  if (rc != KV_OK) return rc;
  rc = count_up(db, "sum");
  if (rc == KV_OK && i % 3 == 1) {
    kv_rollback(db);
    rc = kv_begin(db, BUSY_MS, &err);
    if (rc == KV_OK) rc = count_up(db, "sum");
  }
  if (rc == KV_OK) rc = count_up(db, own);
  if (rc != KV_OK) {
    kv_rollback(db);
    return rc;
  }
  rc = kv_commit(db, w->flags, &err);
  kv_settle(db);
  return rc;
}

static void *work(void *context) {
  worker *w = context;
  kv_options options = {.path = w->path, .settings = w->settings};
  kv *db;
  kv_error err;
  w->failed = kv_open(&options, &db, NULL, &err);
  if (w->failed != KV_OK) return NULL;
  for (int i = 0; w->failed == KV_OK; i++) {
    if (w->stays) w->commits = i + (atomic_load(w->company) > 0);
    if (i >= w->commits) break;
    w->failed = count_once(w, db, i);
    if (w->failed == KV_OK) w->acknowledged++;
    if (w->failed == KV_OK && w->flush_too && i % 7 == 0) w->failed = kv_flush(db, &err);
  }
  if (w->company != NULL && !w->stays) atomic_fetch_sub(w->company, 1);
  (void)kv_close(db, &err);
  return NULL;
}

typedef struct reader {
  pthread_t thread;
  kv *db;
  atomic_bool stop;
  unsigned long versions, torn, older;
} reader;

/* In every version the workers' own counters add up to the sum, and the sum never goes back. */
static void *watch(void *context) {
  reader *r = context;
  int64_t before = 0;
  kv_error err;
  kv_cursor *c;
  if (kv_cursor_open(r->db, &c, &err) != KV_OK) return NULL;
  while (!atomic_load(&r->stop)) {
    int64_t parts = 0;
    for (int id = 0; id < 2 * THREADS; id++) {
      char own[32];
      (void)snprintf(own, sizeof own, "by/%d", id);
      parts += number_at(c, own);
    }
    int64_t sum = number_at(c, "sum");
    r->torn += sum != parts;
    r->older += sum < before;
    r->versions += sum != before;
    before = sum;
    if (kv_cursor_refresh(c, NULL) != KV_OK) break;
  }
  kv_cursor_close(c);
  return NULL;
}

static int acknowledged(const worker *workers, int count) {
  int sum = 0;
  for (int i = 0; i < count; i++) sum += workers[i].acknowledged;
  return sum;
}

static void start(worker *workers, int count, void *(*run)(void *)) {
  for (int i = 0; i < count; i++) {
    if (pthread_create(&workers[i].thread, NULL, run, &workers[i]) != 0) abort();
  }
}

static void join(worker *workers, int count) {
  for (int i = 0; i < count; i++) pthread_join(workers[i].thread, NULL);
}

static void check_sum(const char *path, int64_t sum) {
  kv *db = help_open_full(path);
  CHECK_INT(help_number(db, "sum"), sum);
  MUST(kv_close(db, &help_err));
}

/* Run workers on a log, with readers if asked for, and see that all adds up, after reopening too. */
static void run_workers(const char *path, worker *workers, int count, bool readers,
                        kv_stats *stats) {
  kv *db = help_open(path, KV_SYNC_OFF, 1, 10); /* keeps the store open */
  reader r[2] = {{.db = db}, {.db = NULL}};
  r[1].db = help_open_full(path);
  for (int i = 0; readers && i < 2; i++) {
    if (pthread_create(&r[i].thread, NULL, watch, &r[i]) != 0) abort();
  }
  start(workers, count, work);
  join(workers, count);
  for (int i = 0; readers && i < 2; i++) {
    atomic_store(&r[i].stop, true);
    pthread_join(r[i].thread, NULL);
    CHECK_INT(r[i].torn, 0);
    CHECK_INT(r[i].older, 0);
    CHECK(r[i].versions > 0);
  }
  int sum = acknowledged(workers, count);
  for (int i = 0; i < count; i++) {
    CHECK_INT(workers[i].failed, KV_OK);
    CHECK_INT(workers[i].acknowledged, workers[i].commits);
  }
  CHECK_INT(help_number(db, "sum"), sum);
  *stats = help_stats(db);
  CHECK_INT(stats->commits, sum);
  CHECK_INT(stats->readers, 0);
  MUST(kv_close(r[1].db, &help_err));
  MUST(kv_close(db, &help_err));
  check_sum(path, sum);
}

/* --- what is proved --------------------------------------------------------------------------------- */

static void test_full(void) {
  worker w[THREADS];
  kv_stats stats;
  for (int i = 0; i < THREADS; i++) {
    w[i] = (worker){.path = "full",
                    .id = i,
                    .commits = COMMITS,
                    .settings = {.synchronous = KV_SYNC_FULL, .group_size = 1}};
  }
  run_workers("full", w, THREADS, true, &stats);
  printf("8 threads FULL: %llu commits, %llu flushes\n", (unsigned long long)stats.commits,
         (unsigned long long)stats.flushes);
  CHECK(stats.flushes < stats.commits);
  CHECK(stats.flushes >= stats.commits / THREADS);
}

static void test_mixed(unsigned flags) {
  static const kv_settings settings[THREADS] = {
      {.synchronous = KV_SYNC_FULL, .group_size = 1, .group_timeout_ms = 10},
      {.synchronous = KV_SYNC_FULL, .group_size = 3, .group_timeout_ms = 3},
      {.synchronous = KV_SYNC_FULL, .group_size = 100, .group_timeout_ms = 2},
      {.synchronous = KV_SYNC_FULL, .group_size = 2, .group_timeout_ms = 0},
      {.synchronous = KV_SYNC_NORMAL, .group_size = 1, .group_timeout_ms = 1},
      {.synchronous = KV_SYNC_NORMAL, .group_size = 20, .group_timeout_ms = 5},
      {.synchronous = KV_SYNC_NORMAL, .group_size = 2, .group_timeout_ms = 3600000},
      {.synchronous = KV_SYNC_OFF, .group_size = 50, .group_timeout_ms = 10}};
  const char *path = flags == 0 ? "mixed" : "mixed-undoable";
  worker w[THREADS];
  kv_stats stats;
  for (int i = 0; i < THREADS; i++) {
    w[i] = (worker){.path = path,
                    .id = i,
                    .commits = COMMITS / 2,
                    .settings = settings[i],
                    .flags = i % 2 ? flags : 0,
                    .flush_too = i % 4 == 3};
  }
  run_workers(path, w, THREADS, true, &stats);
  printf("8 threads mixed: %llu commits, %llu flushes\n", (unsigned long long)stats.commits,
         (unsigned long long)stats.flushes);
}

/* Who has a small group must not wait for who has a large one and all the time in the world. */
static void test_patient_and_impatient(void) {
  worker w[4];
  kv_stats stats;
  atomic_int company = 3;
  for (int i = 0; i < 4; i++) {
    w[i] = (worker){.path = "patience", .id = i, .commits = COMMITS / 8, .company = &company};
    w[i].settings = (kv_settings){.synchronous = KV_SYNC_FULL,
                                  .group_size = i == 0   ? 1
                                                : i == 1 ? 2
                                                         : 3,
                                  .group_timeout_ms = 3600000};
  }
  w[0].stays = true;
  w[3].settings.synchronous = KV_SYNC_NORMAL;
  run_workers("patience", w, 4, false, &stats);
}

/* FULL, group_size 10, one writer: every commit waits for the timeout and is flushed by itself. Ten
** writers, a timeout that never comes: ten commits to a flush. */
static void test_group_of_ten(void) {
  worker w[10];
  kv_stats stats;
  w[0] =
      (worker){.path = "lone",
               .commits = 5,
               .settings = {.synchronous = KV_SYNC_FULL, .group_size = 10, .group_timeout_ms = 20}};
  uint64_t start_ns = os.now_ns();
  run_workers("lone", w, 1, false, &stats);
  CHECK_INT(stats.flushes, 5);
  CHECK(os.now_ns() - start_ns >= 5 * 20000000u); /* it did wait; how long beyond is not asked */
  int commits = COMMITS / 10;
  for (int i = 0; i < 10; i++) {
    w[i] = (worker){
        .path = "ten",
        .id = i,
        .commits = commits,
        .settings = {.synchronous = KV_SYNC_FULL, .group_size = 10, .group_timeout_ms = 3600000}};
  }
  run_workers("ten", w, 10, false, &stats);
  printf("10 threads FULL group_size 10: %llu commits, %llu flushes\n",
         (unsigned long long)stats.commits, (unsigned long long)stats.flushes);
  CHECK_INT(stats.flushes, commits);
}

/* --- who wakes whom: each would wait for an hour if nobody did ----------------------------------- */

static worker patient(const char *path, int id, kv_sync synchronous, unsigned group_size,
                      unsigned timeout_ms) {
  return (worker){.path = path,
                  .id = id,
                  .commits = 1,
                  .settings = {.synchronous = synchronous,
                               .group_size = group_size,
                               .group_timeout_ms = timeout_ms}};
}

/* Start one commit, and wait until it is in the queue. */
static void start_one(worker *w, kv *db, uint64_t commits) {
  start(w, 1, work);
  while (help_stats(db).commits < commits) usleep(200);
}

static void join_all(worker *w, int count, int code) {
  join(w, count);
  for (int i = 0; i < count; i++) CHECK_INT(w[i].failed, code);
}

/* The second makes the first one's group full, though not its own. */
static void test_group_filled_by_another(kv_sync second) {
  char path[32];
  (void)snprintf(path, sizeof path, "filled-%d", (int)second);
  kv *db = help_open_full(path);
  worker w[2] = {patient(path, 0, KV_SYNC_FULL, 2, 3600000),
                 patient(path, 1, second, 100, 3600000)};
  start_one(&w[0], db, 1);
  CHECK_INT(help_stats(db).durable_seq, 0);
  start_one(&w[1], db, 2);
  join_all(w, 2, KV_OK);
  CHECK_INT(help_stats(db).durable_seq, 2);
  CHECK_INT(help_stats(db).flushes, 1);
  MUST(kv_close(db, &help_err));
}

/* Both came while a flush ran; the first has all the time in the world, the second has not. */
static void test_short_timeout_behind_long(void) {
  kv *db = help_open_full("behind");
  MUST(kv_begin(db, 0, &help_err));
  kv_rollback(db); /* the file is there */
  worker w[3] = {patient("behind", 0, KV_SYNC_FULL, 1, 0),
                 patient("behind", 1, KV_SYNC_FULL, 100, 3600000),
                 patient("behind", 2, KV_SYNC_FULL, 100, 200)};
  atomic_store(&hold_flush, true);
  for (int i = 0; i < 3; i++) start_one(&w[i], db, (uint64_t)i + 1);
  atomic_store(&hold_flush, false);
  join_all(w, 3, KV_OK);
  CHECK_INT(help_stats(db).flushes, 2);
  MUST(kv_close(db, &help_err));
}

/* A write that fails in another thread is the end for those who wait. */
static void test_failed_write_wakes(void) {
  kv *db = help_open_full("wakes");
  MUST(help_commit_put(db, "a", "1"));
  worker w[3] = {patient("wakes", 0, KV_SYNC_FULL, 100, 3600000),
                 patient("wakes", 1, KV_SYNC_FULL, 100, 3600000),
                 patient("wakes", 2, KV_SYNC_OFF, 1, 0)};
  start_one(&w[0], db, 2);
  start_one(&w[1], db, 3);
  MUST(kv_begin(db, BUSY_MS, &help_err)); /* so they have passed the turn on, and written */
  kv_rollback(db);
  atomic_store(&fail_write, true);
  start_one(&w[2], db, 4);
  join_all(w, 3, KV_EIO);
  atomic_store(&fail_write, false);
  CHECK_STR(help_all(db), "a=1");
  MUST(kv_close(db, &help_err));
  db = help_open_full("wakes"); /* the first two were written before */
  CHECK_STR(help_all(db), "a=1 by/0=#1 by/1=#1 sum=#2");
  MUST(kv_close(db, &help_err));
}

/* NORMAL: of a lone commit the flush follows by itself, and 50 commits share one. */
static void test_normal(void) {
  kv *db = help_open("normal", KV_SYNC_NORMAL, 1000, 30);
  MUST(help_commit_put(db, "a", "1"));
  while (help_stats(db).durable_seq < 1) usleep(1000); /* or the watchdog bites */
  CHECK_INT(help_stats(db).flushes, 1);
  kv_settings settings = {
      .synchronous = KV_SYNC_NORMAL, .group_size = 50, .group_timeout_ms = 3600000};
  kv_set_settings(db, &settings);
  for (int i = 0; i < 50; i++) MUST(help_commit_put(db, "a", "2"));
  while (help_stats(db).durable_seq < 51) usleep(1000);
  CHECK_INT(help_stats(db).flushes, 2);
  MUST(kv_close(db, &help_err));
}

/* A flush fails under eight waiting threads: all of them are told, and what was acknowledged is
** there when the store is opened again. */
static void test_failed_flush(kv_sync synchronous) {
  char path[32];
  (void)snprintf(path, sizeof path, "failed-%d", (int)synchronous);
  worker w[THREADS];
  kv *db = help_open_full(path);
  for (int i = 0; i < THREADS; i++) {
    w[i] = (worker){.path = path,
                    .id = i,
                    .commits = 1000000,
                    .settings = {.synchronous = i % 2 ? synchronous : KV_SYNC_FULL,
                                 .group_size = 1 + (unsigned)i % 3,
                                 .group_timeout_ms = 1}};
  }
  start(w, THREADS, work);
  while (help_stats(db).commits < 100) usleep(500);
  atomic_store(&fail_flush, true);
  join(w, THREADS);
  atomic_store(&fail_flush, false);
  int sum = acknowledged(w, THREADS);
  for (int i = 0; i < THREADS; i++) CHECK(w[i].failed == KV_EIO || w[i].failed == KV_EREADONLY);
  CHECK_INT(help_number(db, "sum"), sum);
  MUST(kv_close(db, &help_err));
  db = help_open_full(path);
  CHECK(help_number(db, "sum") >= sum);
  CHECK(help_number(db, "sum") <= sum + THREADS);
  MUST(help_commit_put(db, "after", "it goes on"));
  MUST(kv_close(db, &help_err));
}

/* Handles come and go, the last one closes the store, and the next one opens it. */
static void *come_and_go(void *context) {
  worker *w = context;
  for (int i = 0; i < w->commits && w->failed == KV_OK; i++) {
    worker once = *w;
    once.commits = 1;
    once.acknowledged = 0;
    work(&once);
    w->acknowledged += once.acknowledged;
    w->failed = once.failed;
  }
  return NULL;
}

static void test_coming_and_going(void) {
  worker w[4];
  for (int i = 0; i < 4; i++) {
    w[i] = (worker){
        .path = "coming",
        .id = i,
        .commits = COMMITS / 6,
        .settings = {.synchronous = (kv_sync)(i % 3), .group_size = 2, .group_timeout_ms = 1}};
  }
  start(w, 4, come_and_go);
  join(w, 4);
  for (int i = 0; i < 4; i++) CHECK_INT(w[i].failed, KV_OK);
  check_sum("coming", acknowledged(w, 4));
}

static void *flush_a_lot(void *context) {
  reader *r = context;
  kv_error err;
  while (!atomic_load(&r->stop)) {
    if (kv_flush(r->db, &err) != KV_OK) r->torn++;
    r->versions++;
  }
  return NULL;
}

/* kv_flush from a thread that commits nothing, against every mode. */
static void test_flush_from_elsewhere(void) {
  reader r = {.db = help_open("elsewhere", KV_SYNC_OFF, 1, 10)};
  worker w[3];
  kv_stats stats;
  if (pthread_create(&r.thread, NULL, flush_a_lot, &r) != 0) abort();
  for (int i = 0; i < 3; i++) {
    w[i] = (worker){
        .path = "elsewhere",
        .id = i,
        .commits = COMMITS / 2,
        .settings = {.synchronous = (kv_sync)i, .group_size = 30, .group_timeout_ms = 3600000}};
  }
  run_workers("elsewhere", w, 3, false, &stats);
  atomic_store(&r.stop, true);
  pthread_join(r.thread, NULL);
  CHECK_INT(r.torn, 0);
  MUST(kv_flush(r.db, &help_err));
  stats = help_stats(r.db);
  CHECK_INT(stats.durable_seq, stats.seq);
  MUST(kv_close(r.db, &help_err));
}

int main(void) {
  alarm(WATCHDOG_S);
  real_fdatasync = os.fdatasync;
  os.fdatasync = slow_fdatasync;
  real_pwrite = os.pwrite;
  os.pwrite = frail_pwrite;
  test_full();
  test_mixed(0);
  test_mixed(KV_UNDOABLE);
  test_patient_and_impatient();
  test_group_of_ten();
  test_group_filled_by_another(KV_SYNC_FULL);
  test_group_filled_by_another(KV_SYNC_NORMAL);
  test_group_filled_by_another(KV_SYNC_OFF);
  test_short_timeout_behind_long();
  test_failed_write_wakes();
  test_normal();
  test_failed_flush(KV_SYNC_FULL);
  test_failed_flush(KV_SYNC_NORMAL);
  test_coming_and_going();
  test_flush_from_elsewhere();
  return unit_done();
}
