/*
** test_no_wait.c - commits that do not wait: handed over, not yet to be seen, published by a flush.
*/
#include "kv_help.h"
#include "os.h"
#include "share.h"
#include "unit.h"

#include <sys/wait.h>
#include <unistd.h>

static const kv_settings FULL = {.synchronous = KV_SYNC_FULL};

static void put(kv *db, const char *key, const char *text) {
  kv_value value = {.type = KV_TEXT, .data = text, .size = strlen(text)};
  MUST(kv_begin(db, 0, &help_err));
  MUST(kv_put(db, key, strlen(key), &value, NULL, &help_err));
  MUST(kv_commit(db, KV_NO_WAIT, &help_err));
}

static bool cursor_has(kv_cursor *c, const char *key) {
  kv_cursor_find(c, key, strlen(key));
  return kv_cursor_valid(c);
}

static void test_full(void) {
  kv_options options = {.path = "no_wait.log", .settings = FULL};
  kv *db, *flusher;
  kv_cursor *newest, *seen;
  MUST(kv_open(&options, &db, NULL, &help_err));
  MUST(kv_open(&options, &flusher, NULL, &help_err));
  put(db, "a", "1");
  put(db, "a/b", "2");
  CHECK_INT(kv_handed_seq(db), 2);
  CHECK_INT(kv_published_seq(db), 0);
  MUST(kv_cursor_open_newest(db, &newest, &help_err));
  MUST(kv_cursor_open(db, &seen, &help_err));
  CHECK(cursor_has(newest, "a/b") && !cursor_has(seen, "a"));
  CHECK_INT(kv_cursor_seq(newest), 2);
  CHECK_INT(kv_cursor_seq(seen), 0);

  MUST(kv_flush(flusher, &help_err));
  CHECK_INT(kv_published_seq(flusher), 2);
  MUST(kv_cursor_refresh(seen, &help_err));
  CHECK(cursor_has(seen, "a/b"));
  CHECK_INT(kv_cursor_seq(seen), 2);

  put(db, "c", "3");
  MUST(kv_cursor_refresh_newest(newest, &help_err));
  CHECK_INT(kv_cursor_seq(newest), 3);
  CHECK(cursor_has(newest, "c"));
  kv_cursor_close(newest);
  kv_cursor_close(seen);
  MUST(kv_begin(db, 0, &help_err));
  CHECK_INT(kv_commit(db, KV_NO_WAIT | KV_UNDOABLE, &help_err), KV_EMISUSE);
  kv_rollback(db);
  MUST(kv_close(db, &help_err)); /* what nobody has flushed is flushed by closing */
  MUST(kv_close(flusher, &help_err));

  MUST(kv_open(&options, &db, NULL, &help_err));
  CHECK_INT(kv_handed_seq(db), 3);
  MUST(kv_cursor_open(db, &seen, &help_err));
  CHECK(cursor_has(seen, "c"));
  kv_cursor_close(seen);
  MUST(kv_close(db, &help_err));
}

/* A commit that waits leads for those before it that do not. */
static void test_mixed(void) {
  kv_options options = {.path = "no_wait.log", .settings = FULL};
  kv *db;
  MUST(kv_open(&options, &db, NULL, &help_err));
  put(db, "d", "1");
  MUST(kv_begin(db, 0, &help_err));
  MUST(kv_delete(db, "d", 1, NULL, &help_err));
  MUST(kv_commit(db, 0, &help_err));
  CHECK_INT(kv_published_seq(db), kv_handed_seq(db));
  MUST(kv_close(db, &help_err));
}

/* In NORMAL it is to be seen at once, until too much is unflushed. */
static void test_normal(void) {
  kv_options options = {.path = "no_wait.log",
                        .settings = {.synchronous = KV_SYNC_NORMAL,
                                     .group_size = 5,
                                     .group_timeout_ms = KV_GROUP_TIMEOUT_MS_MAX}};
  kv *db;
  MUST(kv_open(&options, &db, NULL, &help_err));
  put(db, "e", "1");
  CHECK_INT(kv_published_seq(db), kv_handed_seq(db));
  for (int i = 0; i < 1000; i++) put(db, "e", "2");
  MUST(kv_flush(db, &help_err));
  CHECK_INT(kv_published_seq(db), kv_handed_seq(db));
  MUST(kv_close(db, &help_err));
}

static void test_volatile(void) {
  kv_options options = {.path = NULL, .settings = FULL};
  kv *db;
  MUST(kv_open(&options, &db, NULL, &help_err));
  put(db, "a", "1");
  CHECK_INT(kv_published_seq(db), 1);
  MUST(kv_close(db, &help_err));
}

/* A flush that does not wait for another one, which is under way in this process. */
static os_table real;
static kv *impatient;
static int under_way_rc;

static int flush_meanwhile(int fd) {
  under_way_rc = kv_flush_unless_busy(impatient, &help_err);
  return real.fdatasync(fd);
}

static void test_unless_busy(void) {
  kv_options options = {.path = "no_wait.log", .settings = FULL};
  kv *db;
  MUST(kv_open(&options, &db, NULL, &help_err));
  MUST(kv_open(&options, &impatient, NULL, &help_err));
  MUST(kv_flush_unless_busy(impatient, &help_err)); /* nothing to do */
  put(db, "f", "1");
  real = os;
  os.fdatasync = flush_meanwhile;
  MUST(kv_flush(db, &help_err));
  os = real;
  CHECK_INT(under_way_rc, KV_EBUSY);
  CHECK_INT(kv_published_seq(db), kv_handed_seq(db));
  put(db, "f", "2");
  MUST(kv_flush_unless_busy(impatient, &help_err));
  CHECK_INT(kv_published_seq(db), kv_handed_seq(db));
  MUST(kv_close(impatient, &help_err));
  MUST(kv_close(db, &help_err));
}

/* Or in another one, which has the lock; and what was not flushed then is flushed by who waits
** for it. */
static void test_unless_busy_elsewhere(void) {
  kv_options options = {.path = "no_wait.log", .settings = FULL};
  kv *db;
  MUST(kv_open(&options, &db, NULL, &help_err));
  put(db, "g", "1");
  MUST(kv_flush(db, &help_err));
  int told[2], go[2];
  char byte = 0;
  CHECK(pipe(told) == 0 && pipe(go) == 0);
  pid_t child = fork();
  if (child == 0) {
    share s = {.fd = -1};
    bool alone, inherited;
    close(told[0]);
    close(go[1]);
    bool has_lock = share_join(&s, "no_wait.log", NULL, &alone, &help_err) == KV_OK;
    if (has_lock) share_joined(&s);
    has_lock = has_lock && share_lock_take(&s, &s.page->flush, 0, &inherited);
    if (!has_lock || write(told[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1) _exit(1);
    share_lock_pass(&s, &s.page->flush);
    share_leave(&s);
    _exit(0);
  }
  CHECK(child > 0 && read(told[0], &byte, 1) == 1);
  put(db, "g", "2");
  CHECK_INT(kv_flush_unless_busy(db, &help_err), KV_EBUSY);
  CHECK_INT(kv_published_seq(db) + 1, kv_handed_seq(db));
  CHECK(write(go[1], &byte, 1) == 1);
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  MUST(kv_begin(db, 0, &help_err));
  MUST(help_put(db, "g", "3"));
  MUST(kv_commit(db, 0, &help_err));
  CHECK_INT(kv_published_seq(db), kv_handed_seq(db));
  MUST(kv_close(db, &help_err));
}

/* A cursor that has let go of its version holds nothing, sees nothing, and can be refreshed. */
static void test_let_go(void) {
  kv_options options = {.path = NULL, .settings = FULL};
  kv *db;
  kv_cursor *cursor;
  kv_stats stats;
  MUST(kv_open(&options, &db, NULL, &help_err));
  put(db, "a", "1");
  MUST(kv_cursor_open(db, &cursor, &help_err));
  kv_cursor_let_go(cursor);
  kv_cursor_let_go(cursor);
  MUST(kv_get_stats(db, &stats, &help_err));
  CHECK_INT(stats.readers, 0);
  CHECK(!cursor_has(cursor, "a"));
  MUST(kv_cursor_refresh(cursor, &help_err));
  CHECK(cursor_has(cursor, "a"));
  kv_cursor_close(cursor);
  MUST(kv_close(db, &help_err));
}

int main(void) {
  test_full();
  test_unless_busy();
  test_unless_busy_elsewhere();
  test_let_go();
  test_mixed();
  test_normal();
  test_volatile();
  return unit_done();
}
