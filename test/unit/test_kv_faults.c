/*
** test_kv_faults.c - system calls that fail, one kind at a time, with the words that a user gets to
** read: nothing acknowledged is lost, nothing is half done, and the store goes on once it is opened
** again. (test_fault_lives.c lets each call of a whole life fail.)
*/
#include "fault_table.h"
#include "kv_help.h"
#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static bool exists(const char *path) {
  return access(path, F_OK) == 0;
}

static off_t size_of(const char *path) {
  struct stat facts;
  return stat(path, &facts) == 0 ? facts.st_size : -1;
}

static bool says(const char *what) {
  bool does = strstr(help_err.text, what) != NULL;
  if (!does) printf("  it says: %s\n", help_err.text);
  return does;
}

#define LOST "; nothing of the transaction is kept"
#define READ_ONLY "; the store is read-only until it is reopened"

/* --- one call at a time, in words ------------------------------------------------------------------ */

/* After a failure at `path`: nothing can be written, what was published can be read, and opening it
** again helps. Closes db. */
static void check_until_reopened(kv *db, const char *path, const char *all, const char *text) {
  fail_nothing();
  CHECK_STR(help_all(db), all);
  CHECK_INT(kv_begin(db, 0, &help_err), KV_EREADONLY);
  CHECK_INT(help_err.code, KV_EREADONLY);
  CHECK(says(text) && says(READ_ONLY));
  kv *second = help_open_full(path); /* another handle does not make it another store */
  CHECK_INT(kv_begin(second, 0, &help_err), KV_EREADONLY);
  CHECK_INT(kv_close(second, &help_err), KV_OK);
  CHECK(kv_flush(db, NULL) != KV_OK);
  CHECK_INT(kv_close(db, &help_err), KV_OK);
}

static int commit_delete(kv *db, const char *key) {
  int rc = kv_begin(db, 0, &help_err);
  if (rc == KV_OK) rc = help_delete(db, key);
  return rc == KV_OK ? kv_commit(db, 0, &help_err) : rc;
}

/* The disk is full, and `a` is all that was committed: every commit tries it again, on this handle and on
** others, and what was refused is not seen. Closes db. */
static void check_goes_on(kv *db, const char *path) {
  CHECK_STR(help_all(db), "a=1");
  CHECK_INT(help_commit_put(db, "b", "refused"), KV_EFULL);
  CHECK_INT(commit_delete(db, "a"), KV_EFULL);
  kv *second = help_open(path, KV_SYNC_NORMAL, 1, 10);
  CHECK_INT(help_commit_put(second, "c", "refused"), KV_EFULL);
  CHECK_STR(help_all(second), "a=1");
  CHECK(!kv_in_transaction(second));
  fail_nothing();
  MUST(help_commit_put(second, "c", "there is room"));
  MUST(help_commit_put(db, "d", "and here"));
  CHECK_STR(help_all(db), "a=1 c=there is room d=and here");
  MUST(kv_flush(db, &help_err));
  MUST(kv_close(second, &help_err));
  MUST(kv_close(db, &help_err));
  db = help_open_full(path);
  CHECK_STR(help_all(db), "a=1 c=there is room d=and here");
  CHECK_INT(help_stats(db).torn_bytes, 0);
  MUST(commit_delete(db, "c"));
  MUST(commit_delete(db, "d"));
  MUST(kv_close(db, &help_err));
}

static void test_failed_flush(bool for_ever) {
  const char *path = for_ever ? "flush-for-ever" : "flush-once";
  kv *db = help_open_full(path);
  MUST(help_commit_put(db, "a", "1"));
  MUST(help_commit_put(db, "b", "2"));
  fail_call(CALL_FDATASYNC, 1, for_ever, EIO);
  CHECK_INT(help_commit_put(db, "c", "3"), KV_EIO);
  CHECK(says("fdatasync of '") && says("' failed: Input/output error" READ_ONLY) && says(path));
  CHECK_INT(fault.failed, 1);
  CHECK(!kv_in_transaction(db));
  CHECK_INT(help_commit_put(db, "d", "4"), KV_EREADONLY);
  check_until_reopened(db, path, "a=1 b=2", "fdatasync");
  db = help_open_full(path);
  /* what was not acknowledged may be there or not, but nothing else */
  CHECK(strncmp(help_all(db), "a=1 b=2", 7) == 0 &&
        help_all(db)[7 + 4 * (help_all(db)[7] == ' ')] == '\0');
  MUST(help_commit_put(db, "c", "again"));
  CHECK_STR(help_all(db), "a=1 b=2 c=again");
  MUST(kv_close(db, &help_err));
}

static void test_failed_write(int reason, int code, const char *words) {
  char path[32];
  (void)snprintf(path, sizeof path, "write-%d", reason);
  kv *db = help_open(path, KV_SYNC_OFF, 1, 10);
  MUST(help_commit_put(db, "a", "1"));
  off_t size = size_of(path);
  fail_call(CALL_PWRITE, 1, true, reason);
  CHECK_INT(help_commit_put(db, "b", "2"), code);
  CHECK(says("write of '") && says(words) && says(code == KV_EFULL ? LOST : READ_ONLY));
  CHECK_INT(size_of(path), size); /* the half of it that got there is cut off at once */
  if (code == KV_EFULL) {
    check_goes_on(db, path);
  } else {
    check_until_reopened(db, path, "a=1", words);
    CHECK_INT(size_of(path), size);
  }
  db = help_open_full(path);
  CHECK_STR(help_all(db), "a=1");
  MUST(help_commit_put(db, "b", "again"));
  MUST(kv_close(db, &help_err));
  db = help_open_full(path);
  CHECK_STR(help_all(db), "a=1 b=again");
  MUST(kv_close(db, &help_err));
}

/* FULL writes room ahead and its lines: whichever fails, and however often. */
static void test_full_disk(void) {
  for (unsigned nth = 1; nth <= 3; nth++) {
    char path[32];
    (void)snprintf(path, sizeof path, "full-disk-%u", nth);
    kv *db = help_open_full(path);
    MUST(kv_begin(db, 0, &help_err));
    kv_rollback(db); /* the file is there */
    fail_call(CALL_PWRITE, nth, true, ENOSPC);
    int rc = KV_OK, n = 0;
    for (; rc == KV_OK && n < 5000; n++)
      rc = help_commit_put(db, "a", "some text to fill the room with");
    CHECK_INT(rc, KV_EFULL);
    CHECK(says("No space left on device" LOST));
    fail_nothing();
    MUST(help_commit_put(db, "a", "it goes on"));
    n++;
    MUST(kv_close(db, &help_err));
    db = help_open_full(path);
    CHECK_INT(help_stats(db).seq, n - 1);
    MUST(help_commit_put(db, "a", "there is space again"));
    CHECK_STR(help_all(db), "a=there is space again");
    MUST(kv_close(db, &help_err));
  }
}

static void test_interrupted(void) {
  static const fault_call calls[] = {CALL_PWRITE, CALL_FDATASYNC, CALL_FSYNC, CALL_FTRUNCATE,
                                     CALL_PREAD};
  for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
    for (unsigned nth = 1; nth <= 6; nth++) {
      fail_call(calls[i], nth, false, EINTR);
      kv *db = help_open_full("interrupted");
      MUST(help_commit_put(db, "a", "1"));
      MUST(help_commit_put(db, "b", "2"));
      MUST(kv_close(db, &help_err));
      db = help_open_full("interrupted");
      CHECK_STR(help_all(db), "a=1 b=2");
      MUST(kv_close(db, &help_err));
      CHECK_INT(size_of("interrupted-torn-0"), -1);
      if (unlink("interrupted") != 0) abort();
    }
  }
  fail_nothing();
}

static void test_short_writes(void) {
  fail_call(CALL_PWRITE, 1, true, 0);
  fault.short_write = true;
  kv *db = help_open("short", KV_SYNC_NORMAL, 10, 10);
  for (int i = 0; i < 100; i++) {
    char key[16];
    (void)snprintf(key, sizeof key, "n%02d", i);
    MUST(help_commit_put(db, key, "x"));
  }
  kv_settings full = {.synchronous = KV_SYNC_FULL, .group_size = 1};
  kv_set_settings(db, &full);
  MUST(help_commit_put(db, "full", "y"));
  MUST(kv_close(db, &help_err));
  CHECK(fault.failed > 150);
  fail_nothing();
  db = help_open_full("short");
  CHECK_INT(help_stats(db).keys, 101);
  CHECK_INT(help_stats(db).seq, 101);
  MUST(kv_close(db, &help_err));
}

/* The file cannot be made: nothing is left behind, and a later try may do. */
static void test_failed_creation(fault_call call, unsigned nth, int reason, int code,
                                 const char *words) {
  kv *db = help_open_full("creation");
  fail_call(call, nth, true, reason);
  CHECK_INT(kv_begin(db, 0, &help_err), code);
  CHECK_INT(help_err.code, code);
  CHECK(says(words) && says("creation"));
  CHECK(!kv_in_transaction(db));
  fail_nothing();
  CHECK(!exists("creation"));
  if (call != CALL_LOCK) CHECK(!exists("creation-kvstore-new")); /* it may be the other one's */
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_close(db, &help_err));
  db = help_open_full("creation");
  CHECK_STR(help_all(db), "a=1");
  MUST(kv_close(db, &help_err));
  CHECK(!exists("creation-kvstore-new"));
  if (unlink("creation") != 0) abort();
}

static void test_failed_creations(void) {
  test_failed_creation(CALL_OPEN, 1, EACCES, KV_ECANTOPEN, "Permission denied");
  test_failed_creation(CALL_OPEN, 2, ENOSPC, KV_EFULL, "creation-shm', which its processes share");
  test_failed_creation(CALL_OPEN, 2, ENOMEM, KV_ENOMEM, "creation-shm', which its processes share");
  test_failed_creation(CALL_OPEN, 2, EDQUOT, KV_EFULL, "creation-shm', which its processes share");
  test_failed_creation(CALL_PWRITE, 1, EFBIG, KV_EFULL, "write of '");
  test_failed_creation(CALL_OPEN, 5, ENOSPC, KV_EFULL, "No space left on device");
  test_failed_creation(CALL_PWRITE, 1, ENOSPC, KV_EFULL, "write of '");
  test_failed_creation(CALL_PWRITE, 1, EIO, KV_EIO, "write of '");
  test_failed_creation(CALL_PWRITE, 2, ENOSPC, KV_EFULL, "write of '");
  test_failed_creation(CALL_PWRITE, 2, EIO, KV_EIO, "write of '");
  test_failed_creation(CALL_FSYNC, 1, EIO, KV_EIO, "fsync of '");
  test_failed_creation(CALL_FSYNC, 2, EIO, KV_EIO, "fsync of the folder of '");
  test_failed_creation(CALL_OPEN, 6, EMFILE, KV_EIO, "fsync of the folder of '");
  test_failed_creation(CALL_LINK, 1, EIO, KV_EIO, "creation of '");
  test_failed_creation(CALL_LINK, 1, EEXIST, KV_EBUSY, "was just created by another process");
  test_failed_creation(CALL_LOCK, 1, EAGAIN, KV_EBUSY, "is opening or closing the log");
  test_failed_creation(CALL_LOCK, 2, EAGAIN, KV_EBUSY, "1000 processes have the log open");
  test_failed_creation(CALL_LOCK, 3, EAGAIN, KV_EBUSY, "is in use by another process");
  test_failed_creation(CALL_RANDOM, 1, EIO, KV_EIO, "getrandom for the id of '");
}

static void write_file(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0) abort();
}

static void test_failed_conversion(fault_call call, unsigned nth, int reason, int code,
                                   const char *words) {
  write_file("original", "WRITE\ta\t1\n\nWRITE\tb\t2");
  kv *db = help_open_full("original");
  fail_call(call, nth, true, reason);
  CHECK_INT(kv_begin(db, 0, &help_err), code);
  CHECK(says(words) && says("original"));
  fail_nothing();
  CHECK_STR(help_all(db), "a=1 b=2");
  CHECK(!exists("original-kvstore-new"));
  if (call == CALL_FSYNC && nth == 2) { /* it has its new name, but who knows for how long */
    CHECK_INT(kv_begin(db, 0, &help_err), KV_EREADONLY);
    CHECK(says(READ_ONLY));
    MUST(kv_close(db, &help_err));
    db = help_open_full("original");
  } else {
    CHECK_INT(size_of("original"), 20);
  }
  MUST(help_commit_put(db, "c", "3"));
  MUST(kv_close(db, &help_err));
  db = help_open_full("original");
  CHECK_STR(help_all(db), "a=1 b=2 c=3");
  CHECK_INT(help_stats(db).seq, 3);
  MUST(kv_close(db, &help_err));
}

static void test_failed_conversions(void) {
  test_failed_conversion(CALL_OPEN, 1, EACCES, KV_ECANTOPEN, "Permission denied");
  test_failed_conversion(CALL_PWRITE, 2, ENOSPC, KV_EFULL, "No space left on device");
  test_failed_conversion(CALL_PREAD, 1, EIO, KV_EIO, "read of '");
  test_failed_conversion(CALL_FCHMOD, 1, EPERM, KV_EIO, "not permitted");
  test_failed_conversion(CALL_FSYNC, 1, EIO, KV_EIO, "fsync of '");
  test_failed_conversion(CALL_RENAME, 1, EIO, KV_EIO, "rename to its name of '");
  test_failed_conversion(CALL_FSYNC, 2, EIO, KV_EIO, "fsync of the folder of '");
}

/* Opening fails before anything is served, and leaves the log as it is. */
static void test_failed_opening(fault_call call, unsigned nth, int reason, int code,
                                const char *words) {
  kv_options options = help_options("opening", KV_SYNC_FULL, 1, 10);
  kv *db = NULL;
  off_t size = size_of("opening");
  fail_call(call, nth, true, reason);
  CHECK_INT(kv_open(&options, &db, NULL, &help_err), code);
  CHECK_INT(help_err.code, code);
  CHECK(says(words) && says("opening") && db == NULL);
  fail_nothing();
  CHECK_INT(size_of("opening"), size);
}

static void test_failed_openings(void) {
  kv *db = help_open_full("opening");
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_close(db, &help_err));
  test_failed_opening(CALL_REALPATH, 1, EACCES, KV_ECANTOPEN, "Permission denied");
  test_failed_opening(CALL_OPEN, 1, EACCES, KV_ECANTOPEN, "readonly=1 opens it for reading");
  test_failed_opening(CALL_OPEN, 1, EROFS, KV_ECANTOPEN, "readonly=1 opens it for reading");
  test_failed_opening(CALL_OPEN, 1, EMFILE, KV_ECANTOPEN, "Too many open files");
  test_failed_opening(CALL_LOCK, 1, EACCES, KV_EBUSY, "is opening or closing the log");
  test_failed_opening(CALL_LOCK, 2, EACCES, KV_EBUSY, "1000 processes have the log open");
  test_failed_opening(CALL_LOCK, 2, ENOLCK, KV_EIO, "lock of '");
  test_failed_opening(CALL_LOCK, 1, EAGAIN, KV_EBUSY, "is opening or closing the log");
  test_failed_opening(CALL_LOCK, 3, EAGAIN, KV_EBUSY, "in use by another process");
  test_failed_opening(CALL_LOCK, 1, ENOLCK, KV_EIO, "lock of '");
  test_failed_opening(CALL_FSTAT, 1, EIO, KV_EIO, "fstat of '");
  test_failed_opening(CALL_PREAD, 1, EIO, KV_EIO, "read of '");
  test_failed_opening(CALL_FSYNC, 1, EIO, KV_EIO, "fsync of '");
  test_failed_opening(CALL_FSYNC, 2, EIO, KV_EIO, "fsync of the folder of '");
  db = help_open_full("opening");
  CHECK_STR(help_all(db), "a=1");
  MUST(kv_close(db, &help_err));
  FILE *file = fopen("opening", "a");
  if (file == NULL || fputs("WRITE\tb\ttorn", file) < 0 || fclose(file) != 0) abort();
  test_failed_opening(CALL_OPEN, 5, ENOSPC, KV_EFULL, "creation of '");
  test_failed_opening(CALL_PWRITE, 2, ENOSPC, KV_EFULL, "write of '");
  test_failed_opening(CALL_FSYNC, 1, EIO, KV_EIO, "-torn-");
  test_failed_opening(CALL_FTRUNCATE, 1, EIO, KV_EIO, "truncate of '");
  db = help_open_full("opening");
  CHECK_STR(help_all(db), "a=1");
  MUST(kv_close(db, &help_err));
}

/* A file system that is read-only may refuse to flush; otherwise what is shown has to be flushed. */
static void test_readonly_opening(int reason, int code) {
  kv_options options = help_options("opening", KV_SYNC_FULL, 1, 10);
  kv *db = NULL;
  options.readonly = true;
  fail_call(CALL_FDATASYNC, 1, false, reason);
  CHECK_INT(kv_open(&options, &db, NULL, &help_err), code);
  CHECK_INT(fault.failed, 1);
  fail_nothing();
  if (code != KV_OK) {
    CHECK(says("fdatasync of '") && db == NULL);
    MUST(kv_open(&options, &db, NULL, &help_err));
  }
  CHECK_STR(help_all(db), "a=1");
  MUST(kv_close(db, &help_err));
}

/* --- each call of an opening with a torn tail ------------------------------------------------------ */

/* Check that what was behind the log's end is kept in a file beside it, whole, and, if that could be
** removed, that no other file is there; remove all. */
static bool check_tails(const char *torn, bool may_be_more) {
  DIR *folder = opendir(".");
  int count = 0;
  if (folder == NULL) abort();
  for (struct dirent *e = readdir(folder); e != NULL; e = readdir(folder)) {
    if (strncmp(e->d_name, "torn-torn-", 10) != 0) continue;
    char bytes[64] = "";
    FILE *file = fopen(e->d_name, "r");
    if (file == NULL) abort();
    size_t size = fread(bytes, 1, sizeof bytes - 1, file);
    bool whole = size == strlen(torn) && memcmp(bytes, torn, size) == 0;
    if (!may_be_more) CHECK_BYTES(bytes, size, torn, strlen(torn));
    if (fclose(file) != 0 || unlink(e->d_name) != 0) abort();
    if (whole) count++;
  }
  closedir(folder);
  return CHECK(count > 0);
}

/* Call N of opening and writing fails. The torn tail stands in the log or beside it, whole, and what was
** committed is there. */
static void test_each_call_of_opening(const char *log, const char *torn, const char *all,
                                      int reason, bool for_ever) {
  unsigned long nth = 1;
  for (bool done = false; !done; nth++) {
    kv_options options = help_options("torn", KV_SYNC_FULL, 1, 10);
    kv *db = NULL;
    FILE *file = fopen("torn", "w");
    if (file == NULL || fputs(log, file) < 0 || fputs(torn, file) < 0 || fclose(file) != 0) abort();
    fail_call(CALL_ANY, nth, for_ever, reason);
    int rc = kv_open(&options, &db, NULL, &help_err);
    if (rc == KV_OK) rc = help_commit_put(db, "new", "x");
    done = fault.failed == 0;
    fault_call call = fault.failed_call;
    fail_nothing();
    CHECK(rc == KV_OK || (help_err.code == rc && strstr(help_err.text, "torn") != NULL));
    bool refused = rc != KV_OK;
    (void)kv_close(db, &help_err);
    db = help_open_full("torn");
    if (refused) MUST(help_commit_put(db, "new", "x"));
    bool good = CHECK_STR(help_all(db), all);
    MUST(kv_close(db, &help_err));
    good = check_tails(torn, for_ever) && good;
    if (!good) printf("  call %lu (%s), errno %d\n", nth, fault_call_names[call], reason);
    if (unlink("torn") != 0) abort();
  }
  CHECK(nth > 20);
}

static void test_torn_openings(void) {
  char log[4096];
  kv *db = help_open_full("torn");
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_close(db, &help_err));
  FILE *file = fopen("torn", "r");
  if (file == NULL) abort();
  log[fread(log, 1, sizeof log - 1, file)] = '\0';
  if (fclose(file) != 0) abort();
  for (int i = 0; i < 4; i++) {
    int reason = i % 2 ? ENOSPC : EIO;
    test_each_call_of_opening(log, "WRITE\tb\ttorn", "a=1 new=x", reason, i >= 2);
    test_each_call_of_opening("WRITE\ta\t1\n", "WRITE\tb", "a=1 new=x", reason, i >= 2);
  }
}

static void test_failed_close(void) {
  kv *db = help_open("close", KV_SYNC_NORMAL, 50, 3600000);
  MUST(help_commit_put(db, "a", "1"));
  fail_call(CALL_FDATASYNC, 1, false, EIO);
  CHECK_INT(kv_close(db, &help_err), KV_EIO);
  CHECK(says("fdatasync of '"));
  fail_nothing();
  db = help_open_full("close"); /* it is closed all the same */
  CHECK_STR(help_all(db), "a=1");
  MUST(kv_close(db, &help_err));
}

/* Who does not wait is told of a full disk all the same. */
static void test_full_without_waiting(kv_sync synchronous) {
  kv *db = help_open("not-waiting", synchronous, 50, 3600000);
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_begin(db, 0, &help_err));
  MUST(help_put(db, "b", "2"));
  fail_call(CALL_PWRITE, 1, true, ENOSPC);
  CHECK_INT(kv_commit(db, KV_NO_WAIT, &help_err), KV_EFULL);
  CHECK(says("No space left on device" LOST));
  fail_nothing();
  CHECK(!kv_in_transaction(db));
  CHECK_STR(help_all(db), "a=1");
  MUST(help_commit_put(db, "c", "3"));
  MUST(kv_close(db, &help_err));
  db = help_open_full("not-waiting");
  CHECK_STR(help_all(db), "a=1 c=3");
  MUST(commit_delete(db, "c"));
  MUST(kv_close(db, &help_err));
}

static void test_failed_undo(void) {
  kv *db = help_open_full("undo");
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_begin(db, 0, &help_err));
  MUST(help_put(db, "a", "2"));
  MUST(kv_commit(db, KV_UNDOABLE | KV_KEEP_TURN, &help_err));
  fail_call(CALL_FDATASYNC, 1, false, EIO);
  CHECK_INT(kv_undo(db, &help_err), KV_EIO);
  CHECK_STR(help_all(db), "a=2");                      /* the commit stands */
  CHECK_INT(kv_begin(db, 0, &help_err), KV_EREADONLY); /* the turn is free */
  CHECK_INT(help_stats(db).readers, 0);
  MUST(kv_close(db, &help_err));
}

/* The store has failed since: the commit stands. */
static void test_undo_too_late(void) {
  kv *db = help_open_full("late"), *other = help_open_full("late");
  MUST(kv_begin(db, 0, &help_err));
  MUST(help_put(db, "a", "1"));
  MUST(kv_commit(db, KV_UNDOABLE, &help_err));
  fail_call(CALL_FDATASYNC, 1, false, EIO);
  CHECK_INT(help_commit_put(other, "b", "2"), KV_EIO);
  fail_nothing();
  CHECK_INT(kv_undo(db, &help_err), KV_EREADONLY);
  CHECK(!kv_in_transaction(db));
  CHECK_STR(help_all(db), "a=1");
  CHECK_INT(help_stats(db).readers, 0);
  MUST(kv_close(other, &help_err));
  MUST(kv_close(db, &help_err));
}

/* --- what is lost, and who comes upon it ----------------------------------------------------------- */

static void put_many(kv *db, bool only_drop) {
  char key[16], text[200];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  MUST(kv_begin(db, BUSY_MS, &help_err));
  for (int i = 0; i < 20000; i++) {
    (void)sprintf(key, "k%d", i);
    if (!only_drop) MUST(help_put(db, key, text));
    if (only_drop && i % 8 > 0) MUST(help_delete(db, key));
  }
  MUST(kv_commit(db, 0, &help_err));
}

/* One more transaction of a handle that keeps the turn, so that its lines are not written yet. */
static void commit_and_keep(kv *db, const char *key) {
  MUST(kv_begin(db, BUSY_MS, &help_err));
  MUST(help_put(db, key, "lost"));
  MUST(kv_commit(db, KV_NO_WAIT | KV_KEEP_TURN, &help_err));
}

/* Memory is worth moving together while transactions wait for being written that will be lost: what was
** moved is not left behind. */
static void test_moved_and_lost(void) {
  kv_cursor *reader;
  kv *db = help_open_full("moved-and-lost");
  put_many(db, false);
  MUST(kv_cursor_open(db, &reader, &help_err));
  put_many(db, true);
  commit_and_keep(db, "b");
  kv_cursor_close(reader);
  commit_and_keep(db, "c"); /* frees what the reader held */
  fail_call(CALL_PWRITE, 1, true, ENOSPC);
  commit_and_keep(db, "d"); /* comes to move */
  kv_pass_turn(db);
  fail_nothing();
  CHECK(kv_losses(db, NULL, NULL) > 0);
  CHECK_STR(help_get(db, "b"), "-");
  CHECK_STR(help_get(db, "d"), "-");
  CHECK_INT(help_get(db, "k8")[0], 'x');
  CHECK_INT(help_stats(db).keys, 2500);
  MUST(kv_begin(db, BUSY_MS, &help_err));
  char key[16];
  for (int i = 0; i < 20000; i += 8) {
    (void)sprintf(key, "k%d", i);
    MUST(help_delete(db, key));
  }
  MUST(kv_commit(db, 0, &help_err));
  MUST(kv_checkpoint(db, &help_err));
  CHECK_INT(help_stats(db).memory_used, 0);
  MUST(kv_close(db, &help_err));
}

static ssize_t write_but_not_to_removed(int fd, const void *data, size_t size, off_t at) {
  struct stat facts;
  if (fstat(fd, &facts) != 0 || facts.st_nlink > 0) return fault.real.pwrite(fd, data, size, at);
  errno = ENOSPC;
  return -1;
}

static void *be_rescuer(void *db) {
  kv_error err = {.code = KV_OK};
  CHECK_INT(kv_checkpoint(db, &err), KV_OK);
  return NULL;
}

/* A log is removed, and a checkpoint gets the turn with a transaction that is not written yet, for which
** there is no room: it rescues what is kept. */
static void test_rescued_without_lost(void) {
  pthread_t rescuer;
  kv *db = help_open_full("rescued"), *second = help_open_full("rescued");
  store *s = (store *)(uintptr_t)kv_store_of(db);
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_begin(db, BUSY_MS, &help_err));
  MUST(help_put(db, "b", "lost"));
  if (unlink("rescued") != 0 || pthread_create(&rescuer, NULL, be_rescuer, second) != 0) abort();
  for (bool waits = false; !waits; usleep(1000)) {
    pthread_mutex_lock(&s->turn.lock);
    waits = s->turn.first != NULL;
    pthread_mutex_unlock(&s->turn.lock);
  }
  ssize_t (*before)(int, const void *, size_t, off_t) = os.pwrite;
  os.pwrite = write_but_not_to_removed;
  int rc = kv_commit(db, KV_NO_WAIT, &help_err);
  CHECK(rc == KV_OK || rc == KV_EFULL); /* it may have been lost by now */
  if (pthread_join(rescuer, NULL) != 0) abort();
  os.pwrite = before;
  CHECK_INT(kv_losses(db, NULL, NULL), 1);
  CHECK_STR(help_all(db), "a=1");
  MUST(help_commit_put(db, "c", "3"));
  CHECK_STR(help_all(db), "a=1 c=3");
  MUST(kv_close(second, &help_err));
  MUST(kv_close(db, &help_err));
  db = help_open_full("rescued");
  CHECK_STR(help_all(db), "a=1 c=3");
  MUST(kv_close(db, &help_err));
}

int main(void) {
  faults_install();
  test_failed_flush(false);
  test_failed_flush(true);
  test_failed_write(EIO, KV_EIO, "Input/output error");
  test_failed_write(ENOSPC, KV_EFULL, "No space left on device");
  test_failed_write(EDQUOT, KV_EFULL, "quota exceeded");
  test_failed_write(EFBIG, KV_EFULL, "File too large");
  test_full_disk();
  test_interrupted();
  test_short_writes();
  test_failed_creations();
  test_failed_conversions();
  test_failed_openings();
  test_readonly_opening(EROFS, KV_OK);
  test_readonly_opening(EINVAL, KV_OK);
  test_readonly_opening(EIO, KV_EIO);
  test_torn_openings();
  test_failed_close();
  test_full_without_waiting(KV_SYNC_OFF);
  test_full_without_waiting(KV_SYNC_NORMAL);
  test_failed_undo();
  test_undo_too_late();
  test_moved_and_lost();
  test_rescued_without_lost();
  return unit_done();
}
