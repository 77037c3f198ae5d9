/*
** test_kv.c - the engine through kv.h: transactions, savepoints, undo, cursors, handles, turns,
** statistics. What happens when calls fail is in test_kv_faults.c, what a crash leaves in test_crash.c,
** what a child inherits in test_fork.c.
*/
#include "kv_help.h"
#include "os.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned long flushes, writes;

static int (*real_fdatasync)(int fd);
static ssize_t (*real_pwrite)(int fd, const void *data, size_t size, off_t offset);

static int count_fdatasync(int fd) {
  flushes++;
  return real_fdatasync(fd);
}

static ssize_t count_pwrite(int fd, const void *data, size_t size, off_t offset) {
  writes++;
  return real_pwrite(fd, data, size, offset);
}

static void count_calls(void) {
  real_fdatasync = os.fdatasync;
  real_pwrite = os.pwrite;
  os.fdatasync = count_fdatasync;
  os.pwrite = count_pwrite;
}

static bool exists(const char *path) {
  return access(path, F_OK) == 0;
}

static off_t size_of(const char *path) {
  struct stat facts;
  return stat(path, &facts) == 0 ? facts.st_size : -1;
}

static int commit_number(kv *db, const char *key, int64_t number) {
  int rc = kv_begin(db, BUSY_MS, &help_err);
  if (rc == KV_OK) rc = help_put_number(db, key, number);
  return rc == KV_OK ? kv_commit(db, 0, &help_err) : rc;
}

/* --- transactions ------------------------------------------------------------------------------- */

static void test_basics(const char *path) {
  kv *db = help_open_full(path), *other = path != NULL ? help_open_full(path) : NULL;
  bool replaced = true, found = true;
  kv_value one = {.type = KV_INTEGER, .integer = 1};
  CHECK_INT(help_put(db, "a", "x"), KV_EMISUSE);
  CHECK_INT(help_delete(db, "a"), KV_EMISUSE);
  CHECK_INT(kv_savepoint(db, 0, NULL), KV_EMISUSE);
  CHECK_INT(kv_commit(db, 0, NULL), KV_EMISUSE);
  kv_rollback(db);
  kv_settle(db);
  CHECK_INT(kv_undo(db, NULL), KV_OK);
  MUST(kv_begin(db, 0, &help_err));
  CHECK_INT(kv_begin(db, 0, &help_err), KV_EMISUSE);
  CHECK(kv_in_transaction(db));
  CHECK_INT(kv_put(db, "a/b", 3, &one, &replaced, &help_err), KV_OK);
  CHECK(!replaced);
  CHECK_INT(kv_put(db, "a/b", 3, &one, &replaced, &help_err), KV_OK);
  CHECK(replaced);
  CHECK(kv_has(db, "a/b", 3) && !kv_has(db, "a", 1));
  CHECK_INT(kv_put(db, "a//b", 4, &one, NULL, &help_err), KV_EKEYPATH);
  CHECK_STR(help_err.text, "invalid keypath 'a//b': empty segment at byte 2");
  CHECK_INT(kv_delete(db, "a//b", 4, &found, NULL), KV_OK);
  CHECK(!found);
  CHECK_INT(kv_delete(db, "nothing", 7, &found, NULL), KV_OK);
  CHECK(!found);
  if (other != NULL) {
    CHECK_STR(help_all(other), "");
    CHECK_INT(kv_begin(other, 0, &help_err), KV_EBUSY);
    CHECK_INT(kv_begin(other, 20, &help_err), KV_EBUSY);
    CHECK(!kv_in_transaction(other));
  }
  CHECK_STR(help_all(db), "a/b=#1");
  MUST(kv_commit(db, 0, &help_err));
  CHECK(!kv_in_transaction(db) && !kv_has(db, "a/b", 3));
  if (other != NULL) {
    CHECK(kv_same_store(db, other));
    CHECK_STR(help_all(other), "a/b=#1");
    MUST(help_commit_put(other, "c", "text"));
  } else {
    MUST(help_commit_put(db, "c", "text"));
  }
  CHECK_STR(help_all(db), "a/b=#1 c=text");
  MUST(kv_begin(db, 0, &help_err));
  MUST(help_delete(db, "c"));
  MUST(help_put(db, "d", "gone"));
  CHECK_STR(help_all(db), "a/b=#1 d=gone");
  kv_rollback(db);
  CHECK_STR(help_all(db), "a/b=#1 c=text");
  MUST(kv_begin(db, 0, &help_err));
  MUST(help_put(db, "e", "dropped by closing"));
  MUST(kv_close(other, &help_err));
  MUST(kv_close(db, &help_err));
}

static void test_reopen(void) {
  kv *db = help_open_full("basics");
  CHECK_STR(help_all(db), "a/b=#1 c=text");
  kv_stats stats = help_stats(db);
  CHECK_INT(stats.seq, 2);
  CHECK_INT(stats.durable_seq, 2);
  CHECK_INT(stats.replay_transactions, 2);
  CHECK_INT(stats.log_bytes, size_of("basics")); /* closing cut the room ahead off */
  MUST(kv_close(db, &help_err));
  CHECK_INT(kv_close(NULL, NULL), KV_OK);
}

static void test_lazy_creation(void) {
  kv *db = help_open_full("lazy");
  CHECK(!exists("lazy"));
  CHECK_STR(help_all(db), "");
  MUST(kv_flush(db, &help_err));
  CHECK(!exists("lazy"));
  MUST(kv_begin(db, 0, &help_err));
  CHECK(exists("lazy"));
  kv_rollback(db);
  MUST(kv_close(db, &help_err));
  CHECK(!exists("lazy-kvstore-new"));
}

static void test_empty_transactions_cost_nothing(void) {
  kv *db = help_open_full("free");
  MUST(help_commit_put(db, "a", "1"));
  kv_stats before = help_stats(db);
  unsigned long flushed = flushes, written = writes;
  for (int i = 0; i < 10; i++) {
    MUST(kv_begin(db, 0, &help_err));
    if (i % 2) MUST(help_delete(db, "nothing/there"));
    if (i == 4) {
      MUST(kv_savepoint(db, 0, &help_err));
      MUST(help_put(db, "b", "x"));
      kv_rollback_to(db, 0);
    }
    MUST(kv_commit(db, i < 5 ? 0 : KV_UNDOABLE | KV_KEEP_TURN, &help_err));
    kv_settle(db);
  }
  kv_stats after = help_stats(db);
  CHECK_INT(flushes, flushed);
  CHECK_INT(writes, written);
  CHECK_INT(after.commits, before.commits);
  CHECK_INT(after.seq, before.seq);
  CHECK_INT(after.log_bytes, before.log_bytes);
  MUST(kv_close(db, &help_err));
}

static void test_savepoints(const char *path) {
  kv *db = help_open_full(path);
  MUST(help_commit_put(db, "a", "0"));
  MUST(kv_begin(db, 0, &help_err));
  MUST(help_put(db, "b", "1"));
  MUST(kv_savepoint(db, 1, &help_err));
  MUST(help_put(db, "b", "2"));
  MUST(help_delete(db, "a"));
  MUST(kv_savepoint(db, 3, &help_err));
  MUST(help_put(db, "c", "3"));
  MUST(kv_savepoint(db, 3, &help_err)); /* is there: stays */
  kv_rollback_to(db, 4);                /* is not there, and nothing comes after it */
  CHECK_STR(help_all(db), "b=2 c=3");
  kv_rollback_to(db, 3);
  CHECK_STR(help_all(db), "b=2");
  MUST(help_put(db, "d", "4"));
  kv_rollback_to(db, 3); /* it was kept */
  CHECK_STR(help_all(db), "b=2");
  kv_release(db, 3);
  kv_release(db, 7);
  MUST(help_put(db, "e", "5"));
  kv_rollback_to(db, 1);
  CHECK_STR(help_all(db), "a=0 b=1");
  MUST(help_put(db, "f", "6"));
  kv_release(db, 1);
  CHECK_STR(help_all(db), "a=0 b=1 f=6");
  MUST(kv_savepoint(db, 1, &help_err));
  MUST(kv_savepoint(db, 2, &help_err));
  MUST(help_delete(db, "a"));
  kv_release(db, 1);     /* and 2 with it */
  kv_rollback_to(db, 0); /* below every one: the beginning */
  CHECK_STR(help_all(db), "a=0");
  MUST(help_put(db, "g", "7"));
  MUST(kv_savepoint(db, 2, &help_err));
  MUST(help_put(db, "h", "8"));
  kv_rollback_to(db, -1);
  CHECK_STR(help_all(db), "a=0");
  MUST(help_put(db, "i", "9"));
  MUST(kv_commit(db, 0, &help_err));
  CHECK_STR(help_all(db), "a=0 i=9");
  MUST(kv_begin(db, 0, &help_err));
  for (int n = 0; n < 100; n++) {
    char key[16];
    (void)snprintf(key, sizeof key, "n%02d", n);
    MUST(kv_savepoint(db, n, &help_err));
    MUST(help_put(db, key, "x"));
  }
  kv_rollback_to(db, 2);
  MUST(kv_commit(db, 0, &help_err));
  CHECK_STR(help_all(db), "a=0 i=9 n00=x n01=x");
  MUST(kv_close(db, &help_err));
  if (path == NULL) return;
  db = help_open_full(path);
  CHECK_STR(help_all(db), "a=0 i=9 n00=x n01=x");
  MUST(kv_close(db, &help_err));
}

/* --- taking back -------------------------------------------------------------------------------- */

static void begin_change(kv *db) {
  MUST(kv_begin(db, BUSY_MS, &help_err));
  MUST(help_put(db, "a", "changed"));
  MUST(help_delete(db, "b"));
  MUST(help_put(db, "c", "new"));
  MUST(help_put(db, "c", "newer"));
  MUST(help_put(db, "t", "put and"));
  MUST(help_delete(db, "t"));
  MUST(help_delete(db, "n"));
  MUST(help_put(db, "n", "a text"));
}

static void before_change(kv *db) {
  MUST(kv_begin(db, BUSY_MS, &help_err));
  MUST(help_put(db, "a", "1"));
  MUST(help_put(db, "b", "2"));
  MUST(help_put_number(db, "n", 3));
  MUST(help_put(db, "z", "untouched"));
  MUST(kv_commit(db, 0, &help_err));
}

static void test_undo(const char *path, unsigned flags) {
  kv *db = help_open_full(path);
  before_change(db);
  begin_change(db);
  MUST(kv_commit(db, flags, &help_err));
  CHECK(!kv_in_transaction(db));
  CHECK_STR(help_all(db), "a=changed c=newer n=a text z=untouched");
  CHECK_INT(kv_begin(db, 0, NULL), KV_EMISUSE);
  MUST(kv_undo(db, &help_err));
  CHECK_STR(help_all(db), "a=1 b=2 n=#3 z=untouched");
  CHECK_INT(help_stats(db).seq, 3);
  CHECK_INT(help_stats(db).readers, 0);
  CHECK_INT(kv_undo(db, NULL), KV_OK); /* nothing to take back any more */
  begin_change(db);
  MUST(kv_commit(db, flags, &help_err));
  kv_settle(db);
  CHECK_INT(help_stats(db).readers, 0);
  MUST(kv_undo(db, &help_err));
  CHECK_STR(help_all(db), "a=changed c=newer n=a text z=untouched");
  begin_change(db);
  MUST(kv_commit(db, flags, &help_err));
  MUST(kv_close(db, &help_err)); /* settles */
  if (path == NULL) return;
  db = help_open_full(path);
  CHECK_STR(help_all(db), "a=changed c=newer n=a text z=untouched");
  MUST(kv_close(db, &help_err));
}

/* What somebody else has changed since stays as he made it. */
static void test_undo_with_later_changes(void) {
  kv *db = help_open_full("later"), *other = help_open_full("later");
  before_change(db);
  begin_change(db);
  MUST(kv_commit(db, KV_UNDOABLE, &help_err));
  MUST(kv_begin(other, 0, &help_err));   /* the turn was passed on */
  MUST(help_put(other, "a", "changed")); /* the same value, but his */
  MUST(help_put(other, "b", "again"));
  MUST(help_delete(other, "c"));
  MUST(help_put(other, "d", "his"));
  MUST(kv_commit(other, 0, &help_err));
  MUST(kv_undo(db, &help_err));
  CHECK_STR(help_all(db), "a=changed b=again d=his n=#3 z=untouched");
  CHECK_STR(help_all(other), "a=changed b=again d=his n=#3 z=untouched");
  MUST(kv_close(db, &help_err));
  MUST(kv_close(other, &help_err));
  db = help_open_full("later");
  CHECK_STR(help_all(db), "a=changed b=again d=his n=#3 z=untouched");
  MUST(kv_close(db, &help_err));
}

/* Between a commit and its undo what it wrote may have been moved, which is no change. */
static void test_undo_after_moving(void) {
  kv *db = help_open("moved", KV_SYNC_OFF, 1, 10);
  kv_cursor *reader;
  char key[40], text[201] = {0};
  memset(text, 'x', sizeof text - 1);
  MUST(kv_begin(db, 0, &help_err));
  for (int i = 0; i < 20000; i++) {
    (void)snprintf(key, sizeof key, "k/%d", i);
    MUST(help_put(db, key, text));
  }
  MUST(kv_commit(db, 0, &help_err));
  MUST(kv_cursor_open(db, &reader, &help_err));
  MUST(kv_begin(db, 0, &help_err));
  for (int i = 0; i < 20000; i++) {
    (void)snprintf(key, sizeof key, "k/%d", i);
    if (i % 50 != 0) MUST(help_delete(db, key));
  }
  MUST(kv_commit(db, 0, &help_err));
  MUST(kv_begin(db, 0, &help_err));
  for (int i = 0; i < 20000; i += 50) {
    (void)snprintf(key, sizeof key, "k/%d", i);
    MUST(help_put(db, key, "new"));
  }
  MUST(kv_commit(db, KV_UNDOABLE, &help_err));
  CHECK(help_stats(db).memory_bytes > 4000000);
  kv_cursor_close(
      reader); /* the last one that needed what was deleted: now its regions are emptied */
  CHECK_STR(help_get(db, "k/50"), "new");
  MUST(kv_undo(db, &help_err));
  int right = 0;
  for (int i = 0; i < 20000; i += 50) {
    (void)snprintf(key, sizeof key, "k/%d", i);
    right += strcmp(help_get(db, key), text) == 0;
  }
  CHECK_INT(right, 400);
  CHECK(help_stats(db).memory_bytes < 2000000);
  MUST(kv_close(db, &help_err));
}

static void test_kept_turn(void) {
  kv *db = help_open_full("kept"), *other = help_open_full("kept");
  before_change(db);
  begin_change(db);
  MUST(kv_commit(db, KV_UNDOABLE | KV_KEEP_TURN, &help_err));
  CHECK_INT(kv_begin(other, 10, &help_err), KV_EBUSY);
  kv_settle(db);
  MUST(commit_number(other, "a", 5));
  begin_change(db);
  MUST(kv_commit(db, KV_UNDOABLE | KV_KEEP_TURN, &help_err));
  CHECK_INT(kv_begin(other, 10, &help_err), KV_EBUSY);
  MUST(kv_undo(db, &help_err));
  CHECK_STR(help_get(db, "a"), "#5");
  MUST(commit_number(other, "a", 6));
  begin_change(db);
  kv_pass_turn(db); /* not what an open transaction needs */
  CHECK_INT(kv_begin(other, 10, &help_err), KV_EBUSY);
  MUST(kv_commit(db, KV_UNDOABLE | KV_KEEP_TURN, &help_err));
  MUST(kv_close(db, &help_err)); /* passes it on */
  MUST(commit_number(other, "a", 7));
  MUST(kv_close(other, &help_err));
}

static void *take_a_while(void *context) {
  kv *other = context;
  usleep(20000);
  return (void *)(intptr_t)kv_commit(other, 0, NULL);
}

/* Undo waits for the turn as long as it takes. */
/* Whoever waits for less than it takes to become impatient gives up in time all the same. */
static void test_short_timeout(void) {
  kv *db = help_open_full("short"), *other = help_open_full("short");
  MUST(kv_begin(db, 0, &help_err));
  for (unsigned ms = 0; ms < 4; ms++) CHECK_INT(kv_begin(other, ms, &help_err), KV_EBUSY);
  kv_rollback(db);
  MUST(kv_begin(other, 1, &help_err));
  kv_rollback(other);
  MUST(kv_close(other, &help_err));
  MUST(kv_close(db, &help_err));
}

static void test_undo_waits(void) {
  kv *db = help_open_full("waits"), *other = help_open_full("waits");
  pthread_t thread;
  void *rc;
  before_change(db);
  begin_change(db);
  MUST(kv_commit(db, KV_UNDOABLE, &help_err));
  MUST(kv_begin(other, 0, &help_err));
  MUST(help_put(other, "a", "his"));
  if (pthread_create(&thread, NULL, take_a_while, other) != 0) abort();
  MUST(kv_undo(db, &help_err));
  pthread_join(thread, &rc);
  CHECK_INT((intptr_t)rc, KV_OK);
  CHECK_STR(help_all(db), "a=his b=2 n=#3 z=untouched");
  MUST(kv_close(db, &help_err));
  MUST(kv_close(other, &help_err));
}

/* --- cursors ------------------------------------------------------------------------------------ */

static void test_cursors(const char *path) {
  kv *db = help_open_full(path);
  kv_cursor *before, *inside, *c;
  size_t size;
  before_change(db);
  MUST(kv_cursor_open(db, &before, &help_err));
  MUST(kv_cursor_seek(before, "b", 1, KV_SEEK_GE));
  MUST(kv_begin(db, 0, &help_err));
  MUST(help_delete(db, "b"));
  MUST(help_put(db, "m", "inside"));
  MUST(kv_cursor_open(db, &inside, &help_err));
  MUST(kv_cursor_first(inside));
  MUST(help_delete(db, "m"));
  kv_rollback(db);
  /* neither the end nor the rollback of the transaction disturbs them */
  CHECK_STR(kv_cursor_key(before, &size), "b");
  MUST(kv_cursor_next(before));
  CHECK_STR(kv_cursor_key(before, &size), "n");
  CHECK_STR(kv_cursor_key(inside, &size), "a");
  MUST(kv_cursor_next(inside));
  CHECK_STR(kv_cursor_key(inside, &size), "m");
  kv_value value;
  kv_cursor_value(inside, &value);
  CHECK_BYTES(value.data, value.size, "inside", 6);
  begin_change(db);
  MUST(kv_commit(db, 0, &help_err));
  MUST(kv_cursor_next(inside));
  CHECK_STR(kv_cursor_key(inside, &size), "n");
  MUST(kv_cursor_prev(before));
  CHECK_STR(kv_cursor_key(before, &size), "b");
  kv_counts counts;
  kv_cursor_count(before, "", 0, &counts);
  CHECK_INT(counts.values, 4);
  CHECK_INT(kv_cursor_rank(before, "n", 1), 2);
  CHECK_INT(help_stats(db).readers, 2);
  MUST(kv_cursor_refresh(before, &help_err));
  CHECK(!kv_cursor_valid(before));
  MUST(kv_cursor_last(before));
  MUST(kv_cursor_prev(before));
  kv_cursor_value(before, &value);
  CHECK_BYTES(value.data, value.size, "a text", 6);
  kv_cursor_close(before);
  kv_cursor_close(inside);
  /* bytes outlive the cursor, the row and the store's newer versions */
  static char big[100000];
  memset(big, 'v', sizeof big);
  value = (kv_value){.type = KV_BLOB};
  value.data = big;
  value.size = sizeof big;
  MUST(kv_begin(db, 0, &help_err));
  MUST(kv_put(db, "big", 3, &value, NULL, &help_err));
  MUST(kv_commit(db, 0, &help_err));
  MUST(kv_cursor_open(db, &c, &help_err));
  kv_cursor_find(c, "big", 3);
  const char *bytes = kv_cursor_bytes_hold(c);
  CHECK(bytes != NULL);
  kv_cursor_find(c, "a", 1);
  CHECK(kv_cursor_bytes_hold(c) == NULL);
  kv_cursor_close(c);
  for (int i = 0; i < 4; i++) {
    MUST(kv_begin(db, 0, &help_err));
    MUST(help_delete(db, "big"));
    MUST(help_put(db, "x", "y"));
    MUST(kv_commit(db, 0, &help_err));
  }
  CHECK(bytes != NULL && memcmp(bytes, big, sizeof big) == 0);
  kv_bytes_release((void *)(uintptr_t)bytes);
  CHECK_INT(help_stats(db).readers, 0);
  MUST(kv_close(db, &help_err));
}

/* --- handles and stores ------------------------------------------------------------------------- */

static void test_readonly(void) {
  kv *db = NULL, *other = NULL;
  kv_options options = help_options("not-there", KV_SYNC_FULL, 1, 10);
  options.readonly = true;
  CHECK_INT(kv_open(&options, &db, NULL, &help_err), KV_ECANTOPEN);
  CHECK(!exists("not-there"));
  options.path = "basics";
  off_t size = size_of("basics");
  MUST(kv_open(&options, &db, NULL, &help_err));
  CHECK_STR(help_all(db), "a/b=#1 c=text");
  CHECK(help_stats(db).readonly);
  CHECK_INT(kv_begin(db, 0, &help_err), KV_EREADONLY);
  CHECK(strstr(help_err.text, "readonly=1") != NULL);
  MUST(kv_flush(db, &help_err));
  options.readonly = false; /* the log is opened once more for writing */
  MUST(kv_open(&options, &other, NULL, &help_err));
  CHECK(!kv_same_store(db, other));
  MUST(kv_close(other, &help_err));
  MUST(kv_close(db, &help_err));
  CHECK_INT(size_of("basics"), size);
  /* a read-only handle on a store that others write */
  MUST(kv_open(&options, &db, NULL, &help_err));
  options.readonly = true;
  MUST(kv_open(&options, &other, NULL, &help_err));
  CHECK(kv_same_store(db, other));
  CHECK_INT(kv_begin(other, 0, &help_err), KV_EREADONLY);
  MUST(help_commit_put(db, "c", "text")); /* the same again */
  CHECK_STR(help_all(other), "a/b=#1 c=text");
  MUST(kv_close(db, &help_err));
  MUST(kv_close(other, &help_err));
  options.path = NULL;
  MUST(kv_open(&options, &db, NULL, &help_err));
  CHECK_INT(kv_begin(db, 0, &help_err), KV_EREADONLY);
  MUST(kv_close(db, &help_err));
}

static void test_one_store_by_any_name(void) {
  char folder[512];
  if (getcwd(folder, sizeof folder - 16) == NULL || mkdir("sub", 0755) != 0) abort();
  if (symlink("basics", "alias") != 0) abort();
  kv *a = help_open_full("basics"), *b = help_open_full("./sub/../basics");
  kv *c = help_open_full("alias"), *d = help_open_full(strcat(folder, "/basics"));
  kv *e = help_open_full(NULL), *f = help_open_full(NULL);
  CHECK(kv_same_store(a, b) && kv_same_store(a, c) && kv_same_store(a, d));
  CHECK(!kv_same_store(a, e) && !kv_same_store(e, f));
  CHECK_STR(help_stats(c).path, folder);
  CHECK(help_stats(e).path == NULL);
  kv *all[] = {a, b, c, d, e, f};
  for (int i = 0; i < 6; i++) MUST(kv_close(all[i], &help_err));
}

static int count_stores(void *context, const kv_stats *stats) {
  int *count = context;
  count[stats->path != NULL]++;
  return *count > 1 ? KV_EMISUSE : KV_OK;
}

static void test_stats(void) {
  kv *db = help_open_full("stats"), *volatile_one = help_open_full(NULL);
  unsigned long before = flushes;
  for (int i = 0; i < 20; i++) MUST(commit_number(db, i % 2 ? "odd/one" : "even", i));
  kv_stats stats = help_stats(db);
  CHECK_INT(stats.commits, 20);
  CHECK_INT(stats.flushes, 20);
  CHECK_INT(flushes - before, 20);
  CHECK_INT(stats.seq, 20);
  CHECK_INT(stats.durable_seq, 20);
  CHECK_INT(stats.keys, 2);
  CHECK_INT(stats.nodes, 3);
  CHECK(stats.written_bytes > 20 * 20 && stats.written_bytes < stats.log_bytes);
  CHECK(stats.flush_p50_ns > 0 && stats.flush_p50_ns <= stats.flush_p99_ns);
  CHECK(stats.flush_p99_ns <= stats.flush_max_ns);
  CHECK(stats.memory_bytes > 0);
  for (int i = 0; i < 3; i++) MUST(commit_number(volatile_one, "n", i));
  stats = help_stats(volatile_one);
  CHECK_INT(stats.commits, 3);
  CHECK_INT(stats.seq, 3);
  CHECK_INT(stats.flushes, 0);
  CHECK_INT(stats.keys, 1);
  int count[2] = {0, 0};
  MUST(kv_each_store(count_stores, count));
  CHECK_INT(count[0], 1);
  CHECK_INT(count[1], 1);
  MUST(kv_close(db, &help_err));
  MUST(kv_close(volatile_one, &help_err));
}

static void test_settings(void) {
  kv *db = help_open("settings", KV_SYNC_NORMAL, 0, 99999999);
  kv_settings settings;
  kv_get_settings(db, &settings);
  CHECK_INT(settings.group_size, 50);
  CHECK_INT(settings.group_timeout_ms, KV_GROUP_TIMEOUT_MS_MAX);
  settings.synchronous = KV_SYNC_FULL;
  settings.group_size = 0;
  kv_set_settings(db, &settings);
  kv_get_settings(db, &settings);
  CHECK_INT(settings.group_size, 1);
  settings.group_size = 1u << 31;
  kv_set_settings(db, &settings);
  kv_get_settings(db, &settings);
  CHECK_INT(settings.group_size, KV_GROUP_SIZE_MAX);
  MUST(kv_close(db, &help_err));
}

/* Closing a handle that does not flush must not leave another one's commit unflushed for ever. */
static void test_flush(void) {
  kv *db = help_open("flush", KV_SYNC_NORMAL, 50, 3600000);
  unsigned long before = flushes;
  for (int i = 0; i < 30; i++) MUST(commit_number(db, "n", i));
  kv_stats stats = help_stats(db);
  CHECK_INT(flushes, before);
  CHECK_INT(stats.seq, 30);
  CHECK_INT(stats.durable_seq, 0);
  MUST(kv_flush(db, &help_err));
  CHECK_INT(flushes, before + 1);
  CHECK_INT(help_stats(db).durable_seq, 30);
  MUST(kv_flush(db, &help_err)); /* nothing to do */
  CHECK_INT(flushes, before + 1);
  kv *off = help_open("flush", KV_SYNC_OFF, 50, 10);
  MUST(commit_number(db, "n", 30));
  MUST(kv_close(db, &help_err));
  MUST(kv_close(off, &help_err));
  CHECK_INT(flushes, before + 2);
  off = help_open("flush", KV_SYNC_OFF, 50, 10);
  before = flushes;
  for (int i = 0; i < 100; i++) MUST(commit_number(off, "n", i));
  CHECK_INT(help_stats(off).durable_seq, 31);
  MUST(kv_close(off, &help_err));
  CHECK_INT(flushes, before);
}

/* A file that is no draft is not touched, whatever its name; what a crash left of a draft goes. */
static void test_drafts(void) {
  static const char mine[] = "these are somebody's notes\n";
  kv *db;
  FILE *file = fopen("draft-kvstore-new", "w");
  if (file == NULL || fputs(mine, file) < 0 || fclose(file) != 0) abort();
  db = help_open_full("draft");
  CHECK_INT(kv_begin(db, 0, &help_err), KV_ECANTOPEN);
  CHECK(strstr(help_err.text, "draft-kvstore-new") != NULL);
  CHECK_INT(size_of("draft-kvstore-new"), sizeof mine - 1);
  CHECK(!exists("draft"));
  if (unlink("draft-kvstore-new") != 0 || symlink("basics", "draft-kvstore-new") != 0) abort();
  off_t size = size_of("basics");
  CHECK_INT(kv_begin(db, 0, &help_err), KV_ECANTOPEN);
  CHECK_INT(size_of("basics"), size);
  if (unlink("draft-kvstore-new") != 0) abort();
  file = fopen("draft-kvstore-new", "w");
  if (file == NULL || fputs("KVSTORE\t1\t0123", file) < 0 || fclose(file) != 0) abort();
  MUST(help_commit_put(db, "a", "1"));
  CHECK(!exists("draft-kvstore-new"));
  MUST(kv_close(db, &help_err));
  if (link("draft", "draft-kvstore-new") != 0) abort(); /* killed between link and unlink */
  db = help_open_full("draft");
  CHECK_STR(help_all(db), "a=1");
  CHECK(!exists("draft-kvstore-new"));
  MUST(kv_close(db, &help_err));
}

static void test_rights(void) {
  struct stat facts;
  mode_t before = umask(077);
  kv_options options = help_options("rights", KV_SYNC_FULL, 1, 10);
  kv *db;
  if (chmod("basics", 0664) != 0) abort();
  options.rights_from = "basics";
  MUST(kv_open(&options, &db, NULL, &help_err));
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_close(db, &help_err));
  CHECK(stat("rights", &facts) == 0 && (facts.st_mode & 0777) == 0664);
  db = help_open_full("rights-2");
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_close(db, &help_err));
  CHECK(stat("rights-2", &facts) == 0 && (facts.st_mode & 0777) == 0600);
  FILE *file = fopen("original", "w");
  if (file == NULL || fputs("WRITE\ta\t1\n", file) < 0 || fclose(file) != 0) abort();
  if (chmod("original", 0660) != 0) abort();
  db = help_open_full("original");
  MUST(help_commit_put(db, "b", "2"));
  MUST(kv_close(db, &help_err));
  CHECK(stat("original", &facts) == 0 && (facts.st_mode & 0777) == 0660);
  umask(before);
}

/* --- an old transaction once more ------------------------------------------------------------------ */

/* A whole transaction that is not the next one, here an old one once more, is none. */
static void test_wrong_number(void) {
  char log[4096], again[4096];
  long ends[4] = {0};
  kv *db = help_open("number", KV_SYNC_OFF, 1, 10);
  for (int n = 1; n <= 3; n++) {
    MUST(help_commit_put(db, "a", n == 1 ? "1" : n == 2 ? "2" : "3"));
    ends[n] = (long)help_stats(db).log_bytes;
  }
  MUST(kv_close(db, &help_err));
  FILE *file = fopen("number", "r+");
  if (file == NULL || fread(log, 1, sizeof log, file) != (size_t)ends[3]) abort();
  size_t size = (size_t)(ends[2] - ends[1]);
  memcpy(again, log + ends[1], size);
  if (fseek(file, 0, SEEK_END) != 0 || fwrite(again, 1, size, file) != size) abort();
  if (fclose(file) != 0) abort();
  kv_error notice = {.code = KV_OK};
  kv_options options = help_options("number", KV_SYNC_FULL, 1, 10);
  MUST(kv_open(&options, &db, &notice, &help_err));
  CHECK_INT(notice.code, KV_ETORN);
  CHECK_STR(help_all(db), "a=3");
  CHECK_INT(help_stats(db).seq, 3);
  MUST(kv_close(db, &help_err));
}

int main(void) {
  test_wrong_number();
  count_calls();
  test_basics("basics");
  test_basics(NULL);
  test_reopen();
  test_lazy_creation();
  test_empty_transactions_cost_nothing();
  test_savepoints("savepoints");
  test_savepoints(NULL);
  test_undo("undo", KV_UNDOABLE);
  test_undo("undo-kept", KV_UNDOABLE | KV_KEEP_TURN);
  test_undo(NULL, KV_UNDOABLE);
  test_undo(NULL, KV_UNDOABLE | KV_KEEP_TURN);
  test_undo_with_later_changes();
  test_undo_after_moving();
  test_kept_turn();
  test_short_timeout();
  test_undo_waits();
  test_cursors("cursors");
  test_cursors(NULL);
  test_readonly();
  test_one_store_by_any_name();
  test_stats();
  test_settings();
  test_flush();
  test_drafts();
  test_rights();
  return unit_done();
}
