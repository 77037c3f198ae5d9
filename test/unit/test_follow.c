/*
** test_follow.c - who only reads follows what others write, whatever becomes of the file meanwhile:
** checkpoints, several of them between two looks, the conversion of an original log, nobody there at
** all. Old versions stay as they were, and what they took is given back.
**
** A readonly store that was opened before the writable one is a store of its own, as in another
** process; what needs more of them is done by a child.
*/
#include "process_help.h"

#include <sys/stat.h>

#define WATCHDOG_S 200
#define GENERATIONS 5
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define CHURN 1500
#else
#define CHURN 10000
#endif

static atomic_int *step;

static void close_it(kv *db) {
  MUST(kv_close(db, &help_err));
}

static void make_log(const char *path) {
  kv *db = help_open_full(path);
  MUST(help_commit_put(db, "a", "1"));
  close_it(db);
}

static void commit_once(const char *path, const char *key, int64_t number) {
  kv *db = help_open_full(path);
  MUST(commit_number(db, key, number));
  close_it(db);
}

/* --- nobody there, somebody there, nobody there ------------------------------------------------------ */

static void test_coming_and_going(void) {
  make_log("come");
  kv *looker = open_readonly("come");
  CHECK_STR(help_all(looker), "a=1");
  for (int i = 0; i < 20; i++) {
    kv *db = help_open(("come"), i % 2 ? KV_SYNC_OFF : KV_SYNC_FULL, 1, 10);
    CHECK(!kv_same_store(looker, db));
    MUST(commit_number(db, "n", 10 * i));
    CHECK_INT(help_number(looker, "n"), 10 * i);
    if (i % 3 == 0) MUST(kv_checkpoint(db, &help_err));
    if (i % 4 == 0) CHECK_INT(help_number(looker, "n"), 10 * i);
    MUST(commit_number(db, "n", 10 * i + 1));
    if (i % 5 != 0) CHECK_INT(help_number(looker, "n"), 10 * i + 1);
    close_it(db);
    CHECK(!exists("come-shm"));
    CHECK_INT(help_number(looker, "n"), 10 * i + 1);
    commit_once("come", "n", 10 * i + 2); /* all of it between two looks */
    if (i % 2) CHECK_INT(help_number(looker, "n"), 10 * i + 2);
  }
  CHECK_INT(help_number(looker, "n"), 192);
  CHECK_INT(kv_check(looker, &help_err), KV_OK);
  close_it(looker);
}

/* Commits in quick succession, into room ahead. */
static void be_quick(void *context) {
  kv *db = help_open_full(context);
  for (int i = 1; i <= 200; i++) {
    MUST(commit_number(db, "n", i));
    atomic_store(step, i);
  }
  raise(SIGKILL);
}

static void test_dead_writers(void) {
  make_log("dead");
  kv *looker = open_readonly("dead");
  for (int i = 0; i < 5; i++) {
    atomic_store(step, 0);
    pid_t child = child_start(be_quick, (void *)(uintptr_t) "dead");
    if (i % 2) await(step, 100);
    if (i % 2) CHECK(help_number(looker, "n") >= 100);
    CHECK_INT(child_end(child), 1000 + SIGKILL);
    CHECK_INT(help_number(looker, "n"), 200);
    kv *late = open_readonly("dead");
    CHECK_INT(help_number(late, "n"), 200);
    close_it(late);
  }
  close_it(looker);
  commit_once("dead", "n", 0);
  CHECK_INT(left_over("dead"), 0);
}

/* --- files that look the same -------------------------------------------------------------------------- */

#define NOON 1000000000 /* the clock stands still then */

static os_table real;
static ino_t number, number_shown; /* of a file, and what is told instead */

static int renumbered_stat(const char *path, struct stat *out) {
  int rc = real.stat(path, out);
  if (rc == 0 && out->st_ino == number) out->st_ino = number_shown;
  return rc;
}

static int renumbered_fstat(int fd, struct stat *out) {
  int rc = real.fstat(fd, out);
  if (rc == 0 && out->st_ino == number) out->st_ino = number_shown;
  return rc;
}

/* A checkpoint's file can get the inode number of one that was replaced before. */
static void test_same_number_again(void) {
  struct stat first, now = {.st_ino = 0};
  make_log("inode");
  if (stat("inode", &first) != 0) abort();
  kv *looker = open_readonly("inode"), *db = help_open_full("inode");
  for (int i = 0; i < 50 && (i < 2 || now.st_ino == first.st_ino); i++) { /* it leaves that file */
    MUST(commit_number(db, "n", i));
    MUST(kv_checkpoint(db, &help_err));
    if (i % 2 == 0) MUST(commit_number(db, "m", i));
    CHECK_INT(help_number(looker, "n"), i);
    if (stat("inode", &now) != 0) abort();
  }
  MUST(kv_checkpoint(db, &help_err)); /* nobody looks */
  MUST(commit_number(db, "n", 100));
  close_it(db);
  if (stat("inode", &now) != 0) abort();
  number = now.st_ino;
  number_shown = first.st_ino;
  os.stat = renumbered_stat;
  os.fstat = renumbered_fstat;
  CHECK_INT(help_number(looker, "n"), 100);
  close_it(looker);
  os = real;
}

static int noon_stat(const char *path, struct stat *out) {
  int rc = real.stat(path, out);
  if (rc == 0) out->st_mtim = (struct timespec){.tv_sec = NOON};
  return rc;
}

static uint64_t noon_time_s(void) {
  return NOON;
}

/* Who has no page to look at sees what comes into room ahead within one tick of the clock of
** modification times. */
static void test_same_tick(void) {
  make_log("tick");
  os.stat = noon_stat;
  os.time_s = noon_time_s;
  kv *looker = open_readonly("tick"), *db = help_open_full("tick");
  MUST(commit_number(db, "n", 0));
  if (unlink("tick-shm") != 0) abort();
  for (int i = 1; i < 10; i++) {
    MUST(commit_number(db, "n", i));
    CHECK_INT(help_number(looker, "n"), i);
  }
  close_it(db);
  close_it(looker);
  os = real;
}

/* --- original logs ------------------------------------------------------------------------------------- */

static void test_conversion(bool looks_between, bool closes) {
  static const char original[] = "WRITE\ta\t1\nWRITE\tb\t2\n";
  write_file("original", original, sizeof original - 1);
  kv *looker = open_readonly("original");
  CHECK_STR(help_all(looker), "a=1 b=2");
  kv *db = help_open_full("original");
  if (looks_between) CHECK_STR(help_all(looker), "a=1 b=2");
  size_t size;
  char *bytes = bytes_of("original", &size);
  CHECK_BYTES(bytes, size, original, sizeof original - 1);
  free(bytes);
  MUST(kv_begin(db, BUSY_MS, &help_err));
  if (looks_between) CHECK_STR(help_all(looker), "a=1 b=2");
  MUST(help_put(db, "c", "3"));
  MUST(kv_commit(db, 0, &help_err));
  if (closes) close_it(db);
  CHECK_STR(help_all(looker), "a=1 b=2 c=3");
  commit_once("original", "d", 4);
  CHECK_STR(help_all(looker), "a=1 b=2 c=3 d=#4");
  if (!closes) close_it(db);
  close_it(looker);
  CHECK_INT(left_over("original"), 0);
}

/* Converts it, checkpoints it, while another has it open for writing and does nothing. */
static void be_converter(void *context) {
  kv *db = help_open_full(context);
  MUST(help_commit_put(db, "c", "3"));
  atomic_store(step, 1);
  await(step, 2);
  MUST(kv_checkpoint(db, &help_err));
  MUST(help_commit_put(db, "d", "4"));
  close_it(db);
}

static void test_conversion_by_another(void) {
  static const char original[] = "WRITE\ta\t1\nWRITE\tb\t2\n";
  write_file("idle", original, sizeof original - 1);
  atomic_store(step, 3);
  kv *idle = help_open_full("idle");
  CHECK_STR(help_all(idle), "a=1 b=2");
  atomic_store(step, 0);
  pid_t child = child_start(be_converter, (void *)(uintptr_t) "idle");
  await(step, 1);
  CHECK_STR(help_all(idle), "a=1 b=2 c=3");
  atomic_store(step, 2);
  CHECK_INT(child_end(child), 0);
  MUST(help_commit_put(idle, "e", "5"));
  CHECK_STR(help_all(idle), "a=1 b=2 c=3 d=4 e=5");
  CHECK_INT(kv_check(idle, &help_err), KV_OK);
  close_it(idle);
  CHECK_INT(left_over("idle"), 0);
}

/* --- several checkpoints between two looks ------------------------------------------------------------- */

#define KEYS 300

static void be_rewriter(void *context) {
  kv *db = help_open(context, KV_SYNC_NORMAL, 20, 5);
  char key[32];
  atomic_store(step, 1);
  for (int generation = 1; generation <= 3 * GENERATIONS; generation++) {
    if (generation % GENERATIONS == 1) await(step, 2 * (generation / GENERATIONS + 1));
    for (int i = 0; i < KEYS; i++) {
      (void)snprintf(key, sizeof key, "key/%d", i);
      if ((i + generation) % 7 == 0) {
        MUST(kv_begin(db, BUSY_MS, &help_err));
        MUST(help_delete(db, key));
        MUST(kv_commit(db, 0, &help_err));
      } else {
        MUST(commit_number(db, key, generation));
      }
    }
    MUST(commit_number(db, "generation", generation));
    MUST(kv_checkpoint(db, &help_err));
    MUST(commit_number(db, "behind", generation)); /* what lies behind the snapshot */
    if (generation % GENERATIONS == 0) {
      MUST(kv_flush(db, &help_err));
      atomic_store(step, 2 * (generation / GENERATIONS) + 1);
    }
  }
  await(step, 100);
  CHECK_STR(help_get(db, "idle"), "#3");
  close_it(db);
}

/* Everything that a cursor sees is of that generation. */
static void check_generation(kv_cursor *c, int generation) {
  char key[32];
  CHECK_INT(cursor_number(c, "generation"), generation);
  CHECK_INT(cursor_number(c, "behind"), generation);
  unsigned long wrong = 0;
  for (int i = 0; i < KEYS; i++) {
    (void)snprintf(key, sizeof key, "key/%d", i);
    int64_t want = (i + generation) % 7 == 0 || generation == 0 ? 0 : generation;
    wrong += cursor_number(c, key) != want;
  }
  CHECK_INT(wrong, 0);
}

static void test_generations(void) {
  kv_cursor *old[2][4], *c;
  make_log("gone");
  atomic_store(step, 0);
  pid_t child = child_start(be_rewriter, (void *)(uintptr_t) "gone");
  await(step, 1);
  kv *db[2] = {open_readonly("gone"), help_open_full("gone")};
  for (int i = 0; i < 2; i++) MUST(kv_cursor_open(db[i], &old[i][0], &help_err));
  for (int round = 1; round <= 3; round++) {
    atomic_store(step, 2 * round);
    await(step, 2 * round + 1);
    for (int i = 0; i < 2; i++) {
      MUST(kv_cursor_open(db[i], &c, &help_err));
      check_generation(c, round * GENERATIONS);
      old[i][round] = c;
      for (int before = 0; before < round; before++) {
        check_generation(old[i][before], before * GENERATIONS);
      }
      CHECK_INT(kv_check(db[i], &help_err), KV_OK);
    }
    if (round % 2 == 1) MUST(commit_number(db[1], "idle", round));
  }
  CHECK_INT(help_number(db[0], "idle"), 3);
  atomic_store(step, 100);
  CHECK_INT(child_end(child), 0);
  for (int i = 0; i < 2; i++) {
    CHECK_INT(help_stats(db[i]).readers, 4);
    CHECK(help_stats(db[i]).reader_lag > KEYS);
    for (int round = 0; round <= 3; round++) kv_cursor_close(old[i][round]);
    CHECK_INT(help_stats(db[i]).readers, 0);
  }
  close_it(db[0]);
  close_it(db[1]);
  commit_once("gone", "end", 1);
  CHECK_INT(left_over("gone"), 0);
}

/* --- memory ---------------------------------------------------------------------------------------------- */

#define CHURN_KEYS 3000
#define CHURN_PER_COMMIT 20

/* Overwrite some keys over and over, with values of many sizes; the log is checkpointed by itself. */
static void churn(const char *path, kv **out, int commits, uint64_t *random) {
  kv_options options = {.path = path,
                        .settings = {.synchronous = KV_SYNC_OFF, .auto_checkpoint = 300000}};
  static char text[300];
  char key[32];
  if (*out == NULL) MUST(kv_open(&options, out, NULL, &help_err));
  memset(text, 'v', sizeof text - 1);
  for (int n = 0; n < commits; n++) {
    MUST(kv_begin(*out, BUSY_MS, &help_err));
    for (int i = 0; i < CHURN_PER_COMMIT; i++) {
      kv_value value = {.type = KV_TEXT};
      value.data = text;
      value.size = unit_random(random) % sizeof text;
      (void)snprintf(key, sizeof key, "k/%u", (unsigned)(unit_random(random) % CHURN_KEYS));
      MUST(kv_put(*out, key, strlen(key), &value, NULL, &help_err));
    }
    MUST(kv_commit(*out, 0, &help_err));
  }
}

static void be_churner(void *context) {
  kv *db = NULL;
  uint64_t random = 11;
  for (int part = 0; part < 4; part++) {
    churn(context, &db, CHURN / 8, &random);
    uint64_t memory = help_stats(db).memory_bytes;
    if (part == 3) CHECK(memory < 3u << 20);
  }
  /* where the disk is slow the first may still be under way */
  for (int more = 0; more < 200 && help_stats(db).checkpoints == 0; more++) {
    churn(context, &db, CHURN / 100, &random);
  }
  CHECK(help_stats(db).checkpoints > 0);
  close_it(db);
}

/* A reader holds its version and no more; what it held is used again. */
static uint64_t churn_with_reader(kv *db, uint64_t *random) {
  kv_cursor *c;
  MUST(kv_cursor_open(db, &c, &help_err));
  uint64_t seq = help_stats(db).seq;
  churn("churn", &db, CHURN / 16, random);
  kv_stats with = help_stats(db);
  CHECK(with.readers == 1 || with.readers == 2); /* a checkpoint of its own is one too */
  CHECK(with.reader_lag >= CHURN / 16 && with.reader_lag <= with.seq - seq + CHURN);
  kv_cursor_close(c);
  CHECK(help_stats(db).readers <= 1);
  churn("churn", &db, CHURN / 16, random);
  return help_stats(db).memory_bytes;
}

static void test_memory(void) {
  kv *db = NULL;
  uint64_t random = 5, first, with_reader, later = 0;
  make_log("churn");
  pid_t child = child_start(be_churner, (void *)(uintptr_t) "churn");
  churn("churn", &db, CHURN / 8, &random);
  first = help_stats(db).memory_bytes;
  churn("churn", &db, CHURN / 8, &random);
  CHECK(help_stats(db).memory_bytes <= 2 * first + (1 << 20));
  with_reader = churn_with_reader(db, &random);
  for (int round = 0; round < 4; round++) later = churn_with_reader(db, &random);
  CHECK(later <= 2 * with_reader + (1 << 20)); /* the pool grows in steps */
  CHECK(with_reader < 4u << 20);
  CHECK_INT(child_end(child), 0);
  CHECK(help_stats(db).checkpoints > 0);
  printf("memory %llu KB at first, %llu KB after a reader, %llu KB after four more\n",
         (unsigned long long)first >> 10, (unsigned long long)with_reader >> 10,
         (unsigned long long)later >> 10);
  int rc;
  while ((rc = kv_checkpoint(db, &help_err)) == KV_EBUSY)
    usleep(1000); /* its own may be under way */
  CHECK_INT(rc, KV_OK);
  CHECK_INT(help_stats(db).readers, 0);
  CHECK_INT(help_stats(db).reader_lag, 0);
  CHECK_INT(kv_check(db, &help_err), KV_OK);
  close_it(db);
  struct stat facts;
  CHECK(stat("churn", &facts) == 0 && facts.st_size < 1 << 20);
  CHECK_INT(left_over("churn"), 0);
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  alarm(WATCHDOG_S);
  real = os;
  step = shared_memory(sizeof *step);
  test_coming_and_going();
  test_dead_writers();
  test_same_number_again();
  test_same_tick();
  test_conversion(true, false);
  test_conversion(false, false);
  test_conversion(true, true);
  test_conversion(false, true);
  test_conversion_by_another();
  test_generations();
  test_memory();
  return unit_done();
}
