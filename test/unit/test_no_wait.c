/*
** test_no_wait.c - commits that do not wait: handed over, not yet to be seen, published by a flush.
*/
#include "kv_help.h"
#include "unit.h"

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

int main(void) {
  test_full();
  test_mixed();
  test_normal();
  test_volatile();
  return unit_done();
}
