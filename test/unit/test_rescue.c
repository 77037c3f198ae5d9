/*
** test_rescue.c - a log that was removed, moved or replaced while it was open, and the checkpoint that
** writes what was committed to a new file of its name: each call of it fails, each allocation fails, and
** nothing that was committed is lost as long as the process lives.
*/
#include "fault_table.h"
#include "kv_help.h"
#include "short_memory.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static bool says(const char *text) {
  bool found = strstr(help_err.text, text) != NULL;
  if (!found) printf("  it says: %s\n", help_err.text);
  return found;
}

static bool exists(const char *path) {
  return access(path, F_OK) == 0;
}

static void removed(void) {
  if (unlink("log") != 0) abort();
}

static void moved(void) {
  if (rename("log", "aside") != 0) abort();
}

static void replaced(void) {
  moved();
  FILE *file = fopen("log", "w");
  if (file == NULL || fputs("a letter", file) < 0 || fclose(file) != 0) abort();
}

static void remove_all(void) {
  (void)unlink("log");
  (void)unlink("aside");
  (void)unlink("log-kvstore-new");
  (void)unlink("log-shm");
}

/* A log that is open and has something in it. `failed`: a commit has found already that its name is
** gone, and it is not there. */
static kv *begin(void (*what)(void), bool failed) {
  remove_all();
  kv *db = help_open_full("log");
  MUST(help_commit_put(db, "a", "1"));
  MUST(help_commit_put(db, "b", "2"));
  what();
  if (failed) {
    CHECK_INT(help_commit_put(db, "c", "3"), KV_EMOVED);
    CHECK(says("/log' was "));
    CHECK(kv_begin(db, 0, &help_err) == KV_EMOVED);
  }
  return db;
}

/* Everything that was committed is in the new file. What a failed commit wrote may be there, too. */
static bool check_rescued(kv *db, bool failed) {
  (void)kv_close(db, NULL);
  db = help_open_full("log");
  const char *all = help_all(db);
  bool good = CHECK(strcmp(all, "a=1 b=2") == 0 || (failed && strcmp(all, "a=1 b=2 c=3") == 0));
  MUST(help_commit_put(db, "d", "4"));
  MUST(kv_close(db, &help_err));
  return CHECK(!exists("log-kvstore-new")) && good;
}

/* Call N of the checkpoint fails, and the next checkpoint does it. */
static void test_each_call(void (*what)(void), bool failed, int reason, bool for_ever) {
  unsigned long nth = 1;
  for (bool done = false; !done; nth++) {
    kv *db = begin(what, failed);
    fail_call(CALL_ANY, nth, for_ever, reason);
    int rc = kv_checkpoint(db, &help_err);
    done = fault.failed == 0;
    fault_call call = fault.failed_call;
    fail_nothing();
    bool good = CHECK(rc == KV_OK || (help_err.code == rc && help_err.text[0] != '\0'));
    good = CHECK(!done || rc == KV_OK) && good;
    if (rc != KV_OK && !exists("log")) {
      good = CHECK_STR(help_all(db), "a=1 b=2") && good;
      (void)unlink("log-kvstore-new"); /* where its removal failed too */
      good = CHECK_INT(kv_checkpoint(db, &help_err), KV_OK) && good;
    }
    good = check_rescued(db, failed) && good;
    if (!good) {
      printf("  call %lu (%s), errno %d%s: %d %s\n", nth, fault_call_names[call], reason,
             failed ? ", after a commit" : "", rc, help_err.text);
    }
  }
  CHECK(nth > 8);
}

static void test_calls(void) {
  for (int failed = 0; failed < 2; failed++) {
    test_each_call(removed, failed, EIO, false);
    test_each_call(removed, failed, ENOSPC, false);
    test_each_call(removed, failed, EIO, true);
  }
  test_each_call(moved, false, EIO, false); /* a commit to it is no error: the file is there */
}

/* Allocation N of the checkpoint fails. */
static void test_memory(bool failed) {
  for (long nth = 0;; nth++) {
    kv *db = begin(removed, failed);
    refused = 0;
    calls_left = nth;
    int rc = kv_checkpoint(db, &help_err);
    bool done = refused == 0;
    calls_left = -1;
    CHECK(rc == KV_OK || rc == KV_ENOMEM);
    if (rc != KV_OK) CHECK_INT(kv_checkpoint(db, &help_err), KV_OK);
    if (!check_rescued(db, failed)) printf("  allocation %ld: %s\n", nth, help_err.text);
    if (done) break;
  }
}

/* Nothing was ever committed: there is nothing to write, and what is wrong is said. */
static void test_nothing_to_rescue(void) {
  remove_all();
  kv *db = help_open_full("log");
  MUST(kv_begin(db, 0, &help_err));
  kv_rollback(db);
  removed();
  CHECK_INT(kv_checkpoint(db, &help_err), KV_EMOVED);
  CHECK(says("was removed") && !exists("log"));
  CHECK_INT(help_commit_put(db, "c", "3"), KV_EMOVED);
  CHECK_INT(kv_checkpoint(db, &help_err), KV_EMOVED);
  CHECK(says("was removed") && !exists("log"));
  (void)kv_close(db, NULL);
}

/* Somebody's file has the name: it stays as it is. */
static void test_replaced(bool failed) {
  kv *db = begin(replaced, failed);
  CHECK_INT(kv_checkpoint(db, &help_err), KV_EMOVED);
  CHECK(says("was replaced by another file"));
  char text[16] = "";
  FILE *file = fopen("log", "r");
  if (file == NULL || fgets(text, sizeof text, file) == NULL || fclose(file) != 0) abort();
  CHECK_STR(text, "a letter");
  if (unlink("log") != 0) abort();
  MUST(kv_checkpoint(db, &help_err));
  (void)check_rescued(db, failed);
}

/* A commit has failed since another file had the name; the log is back, but who knows what it lacks. */
static void test_moved_back(void) {
  kv *db = begin(replaced, true);
  if (rename("aside", "log") != 0) abort();
  CHECK_INT(kv_checkpoint(db, &help_err), KV_EMOVED);
  CHECK(says("was replaced by another file"));
  (void)check_rescued(db, true);
}

static long asked, interrupt_at;

static bool is_interrupted(void *context) {
  (void)context;
  return asked++ >= interrupt_at;
}

/* A checkpoint is interrupted at any of its questions: the log is as it was. */
static void test_interrupted(void) {
  remove_all();
  kv *db = help_open_full("log");
  MUST(help_commit_put(db, "a", "1"));
  MUST(help_commit_put(db, "b", "2"));
  int rc = KV_EINTERRUPTED;
  for (interrupt_at = 0; rc != KV_OK; interrupt_at++) {
    struct stat before, after;
    kv_waiting waiting = {.is_interrupted = is_interrupted};
    asked = 0;
    kv_set_waiting(db, &waiting);
    if (stat("log", &before) != 0) abort();
    rc = kv_checkpoint(db, &help_err);
    kv_set_waiting(db, &(kv_waiting){.timeout_ms = NULL});
    if (stat("log", &after) != 0) abort();
    CHECK(rc == KV_OK || rc == KV_EINTERRUPTED);
    CHECK((before.st_ino == after.st_ino) == (rc != KV_OK));
    if (rc != KV_OK) CHECK(says("interrupted") && says("log'"));
    CHECK(!exists("log-kvstore-new"));
    CHECK_STR(help_all(db), "a=1 b=2");
  }
  CHECK(interrupt_at > 1);
  (void)check_rescued(db, false);
}

/* Without a flush nobody notices at once; commits look for the name now and then. */
static void test_noticed(kv_sync synchronous) {
  remove_all();
  kv *db = help_open("log", synchronous, 1, 10);
  MUST(help_commit_put(db, "a", "1"));
  removed();
  int rc = KV_OK;
  for (int i = 0; rc == KV_OK && i < 1000; i++) {
    fault.skew_ns += 2000000;
    rc = help_commit_put(db, "a", "2");
  }
  CHECK_INT(rc, KV_EMOVED);
  CHECK(says("was removed"));
  kv_close(db, NULL);
  fail_nothing();
}

int main(void) {
  faults_install();
  os.malloc = short_malloc;
  os.realloc = short_realloc;
  os.free = counted_free;
  test_calls();
  test_nothing_to_rescue();
  test_replaced(false);
  test_replaced(true);
  test_moved_back();
  test_interrupted();
  for (int mode = KV_SYNC_OFF; mode <= KV_SYNC_FULL; mode++) test_noticed((kv_sync)mode);
  test_memory(false);
  test_memory(true);
  remove_all();
  return unit_done();
}
