/*
** test_by_hand.c - what people do to a log that is open: put an older copy in its place, or another log,
** or something else; cut it, change it, remove it, change its times. Nobody is shown anything that was
** not in it, and what cannot be followed is told.
*/
#include "fault_table.h"
#include "log_format.h"
#include "process_help.h"
#include "short_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WATCHDOG_S 200
#define ORIGINAL "WRITE\ta\t1\nWRITE\tb\t2\n"

static bool says(const char *what) {
  bool does = strstr(help_err.text, what) != NULL;
  if (!does) printf("  it says: %s\n", help_err.text);
  return does;
}

static void make_log(const char *path, int numbers) {
  (void)unlink(path);
  kv *db = help_open(path, KV_SYNC_OFF, 1, 10);
  for (int i = 1; i <= numbers; i++) MUST(commit_number(db, "n", i));
  MUST(kv_close(db, &help_err));
}

static bool is_original(const char *path) {
  size_t size;
  char *bytes = bytes_of(path, &size);
  bool is = size == strlen(ORIGINAL) && memcmp(bytes, ORIGINAL, size) == 0;
  free(bytes);
  return is;
}

/* What a statement that has something to follow is told. */
static int look(kv *db) {
  kv_cursor *c = NULL;
  help_err.code = KV_OK;
  int rc = kv_cursor_open(db, &c, &help_err);
  CHECK((rc == KV_OK) == (c != NULL) && help_err.code == rc);
  if (c != NULL) kv_cursor_close(c);
  return rc;
}

/* --- a log of the original program ------------------------------------------------------------------------ */

/* Reading converts nothing, whether the log is closed or the process just ends. */
static void test_original_is_only_read(void) {
  for (int closes = 0; closes < 2; closes++) {
    write_file("log", ORIGINAL, strlen(ORIGINAL));
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) abort();
    if (child == 0) {
      static kv *db; /* not given back is not lost */
      db = help_open_full("log");
      CHECK_STR(help_all(db), "a=1 b=2");
      if (closes) MUST(kv_close(db, &help_err));
      exit(unit_failed > 0); /* through its atexit handlers */
    }
    CHECK_INT(child_end(child), 0);
    CHECK(is_original("log"));
    (void)unlink("log-shm"); /* as after any process that has not closed */
  }
}

/* A reader sees a writer come that writes nothing yet, and then does. */
static void test_original_is_opened(void) {
  write_file("log", ORIGINAL, strlen(ORIGINAL));
  kv *reader = open_readonly("log");
  CHECK_STR(help_all(reader), "a=1 b=2");
  kv *db = help_open_full("log");
  CHECK_STR(help_all(reader), "a=1 b=2");
  CHECK(is_original("log"));
  MUST(help_commit_put(db, "c", "3"));
  CHECK_STR(help_all(reader), "a=1 b=2 c=3");
  MUST(kv_close(db, &help_err));
  MUST(kv_close(reader, &help_err));
}

static void append_line(const char *line) {
  FILE *file = fopen("log", "a");
  if (file == NULL || fputs(line, file) < 0 || fclose(file) != 0) abort();
}

/* The original program goes on writing its log: that is seen, by a reader that is alone and by one that
** a writer has come to; and what it looks like then is what is converted. */
static void test_original_goes_on(void) {
  write_file("log", ORIGINAL, strlen(ORIGINAL));
  kv *reader = open_readonly("log");
  CHECK_STR(help_all(reader), "a=1 b=2");
  append_line("WRITE\ta\t3\n");
  CHECK_STR(help_all(reader), "a=3 b=2");
  append_line("WRITE\tc\t4\n");
  kv *db = help_open_full("log");
  CHECK_STR(help_all(db), "a=3 b=2 c=4");
  CHECK_STR(help_all(reader), "a=3 b=2 c=4");
  MUST(help_commit_put(db, "d", "5"));
  CHECK_STR(help_all(reader), "a=3 b=2 c=4 d=5");
  MUST(kv_close(db, &help_err));
  CHECK_STR(help_all(reader), "a=3 b=2 c=4 d=5");
  MUST(kv_close(reader, &help_err));
}

/* --- damage while it is open ------------------------------------------------------------------------------- */

static void flip_byte(const char *path, off_t from_end) {
  struct stat facts;
  char byte;
  int fd = open(path, O_RDWR);
  if (fd < 0 || fstat(fd, &facts) != 0) abort();
  if (pread(fd, &byte, 1, facts.st_size - from_end) != 1) abort();
  byte ^= 1;
  if (pwrite(fd, &byte, 1, facts.st_size - from_end) != 1 || close(fd) != 0) abort();
}

/* What was appended is damaged before the reader gets to it: it stays where it is, and says so, also
** where it is asked to flush what it sees. */
static void test_damaged_end(void) {
  make_log("log", 2);
  kv *reader = open_readonly("log"), *db = help_open("log", KV_SYNC_OFF, 1, 10);
  CHECK_STR(help_all(reader), "n=#2");
  MUST(commit_number(db, "n", 3));
  flip_byte("log", 12);
  CHECK_INT(look(reader), KV_EDAMAGED);
  CHECK(says("transaction 3 at byte ") && says("does not verify; 'kvstore check' tells more"));
  CHECK_INT(kv_flush(reader, &help_err), KV_EDAMAGED);
  flip_byte("log", 12); /* it is mended */
  CHECK_STR(help_all(reader), "n=#3");
  MUST(kv_flush(reader, &help_err));
  MUST(kv_close(db, &help_err));
  MUST(kv_close(reader, &help_err));
}

static kv *other, *looker;
static int (*next_fdatasync)(int fd);

/* In the flush of a checkpoint's snapshot. */
static int commit_meanwhile(int fd) {
  os.fdatasync = next_fdatasync;
  MUST(commit_number(other, "n", 3));
  CHECK_STR(help_all(looker), "n=#3"); /* from the old file */
  return next_fdatasync(fd);
}

/* The new file of a checkpoint loses its end before the reader finds its place in it. */
static void test_cut_after_checkpoint(void) {
  make_log("log", 2);
  kv *reader = open_readonly("log"), *db = help_open("log", KV_SYNC_OFF, 1, 10);
  looker = reader;
  other = help_open("log", KV_SYNC_OFF, 1, 10);
  next_fdatasync = os.fdatasync;
  os.fdatasync = commit_meanwhile;
  MUST(kv_checkpoint(db, &help_err));
  MUST(kv_close(other, &help_err));
  size_t size;
  char *bytes = bytes_of("log", &size);
  if (truncate("log", (off_t)size - 5) != 0) abort();
  MUST(commit_number(db, "n", 4)); /* behind a hole */
  CHECK_INT(look(reader), KV_EDAMAGED);
  CHECK(says("ends before transaction 3 that was in it"));
  int fd = open("log", O_RDWR);
  if (fd < 0 || pwrite(fd, bytes, size, 0) != (ssize_t)size || close(fd) != 0) abort();
  free(bytes);
  CHECK_STR(help_all(reader), "n=#4"); /* it is mended */
  MUST(kv_close(db, &help_err));
  MUST(kv_close(reader, &help_err));
}

/* --- something else in its place ----------------------------------------------------------------------------- */

static void test_older_copy(void) {
  make_log("log", 2);
  make_log("newer", 3);
  if (rename("newer", "log") != 0) abort();
  kv *reader = open_readonly("log");
  CHECK_STR(help_all(reader), "n=#3");
  make_log("older", 1);
  if (rename("older", "log") != 0) abort();
  CHECK_INT(look(reader), KV_EDAMAGED);
  CHECK(says("has lost transactions that were in it"));
  make_log("newest", 5);
  if (rename("newest", "log") != 0) abort();
  CHECK_STR(help_all(reader), "n=#5");
  if (unlink("log") != 0 || symlink("/proc/version", "log") != 0) abort(); /* on another device */
  CHECK_INT(look(reader), KV_EFOREIGN);
  if (unlink("log") != 0) abort();
  CHECK_STR(help_all(reader), "n=#5"); /* what it saw last */
  MUST(kv_close(reader, &help_err));
}

/* A clock that runs fast: a second for each look at it. */
static _Atomic uint64_t seconds;

static uint64_t fast_ns(void) {
  return fault.real.now_ns() + 1000000000u * ++seconds;
}

static void be_checkpointer(void *context) {
  kv *db = help_open_full(context);
  for (int i = 3; i <= 4; i++) {
    MUST(commit_number(db, "n", i));
    MUST(kv_checkpoint(db, &help_err));
  }
  MUST(kv_close(db, &help_err));
}

static void be_newcomer(void *context) {
  kv_options options = help_options(context, KV_SYNC_FULL, 1, 10);
  kv *db = NULL;
  os.now_ns = fast_ns;
  CHECK_INT(kv_open(&options, &db, NULL, &help_err), KV_EBUSY);
  CHECK(says("is not the log that other processes have open"));
}

/* Another log is put in the place of one that processes have open, after checkpoints that one of them
** has not followed yet: neither that one nor a newcomer takes it for theirs, and when the right one is
** there again all is well. */
static void test_another_log(void) {
  make_log("log", 2);
  make_log("another", 2);
  kv *reader = open_readonly("log"), *db = help_open_full("log");
  CHECK_STR(help_all(reader), "n=#2");
  CHECK_INT(child_end(child_start(be_checkpointer, (void *)(uintptr_t) "log")), 0);
  if (rename("log", "aside") != 0 || link("another", "log") != 0) abort();
  os.now_ns = fast_ns;
  CHECK_INT(look(db), KV_EMOVED);
  CHECK(says("was replaced by another file while it was open"));
  CHECK_INT(look(reader), KV_EMOVED);
  CHECK(says("was replaced by another file while it was open"));
  os.now_ns = fault.real.now_ns;
  CHECK_INT(child_end(child_start(be_newcomer, (void *)(uintptr_t) "log")), 0);
  write_file("foreign", "a letter", 8);
  if (rename("foreign", "log") != 0) abort();
  CHECK_INT(child_end(child_start(be_newcomer, (void *)(uintptr_t) "log")), 0);
  CHECK_INT(look(db), KV_EMOVED);
  if (rename("aside", "log") != 0) abort();
  MUST(kv_begin(db, BUSY_MS, &help_err));
  CHECK_STR(help_all(db), "n=#4");
  CHECK_STR(help_all(reader), "n=#4");
  MUST(kv_close(reader, &help_err));
  kv *second = help_open_full("another");
  CHECK_STR(help_all(second), "n=#2"); /* nothing was written to it */
  MUST(kv_close(second, &help_err));
  kv_rollback(db);
  /* the same while somebody has the turn */
  MUST(kv_begin(db, BUSY_MS, &help_err));
  if (rename("log", "aside") != 0 || link("another", "log") != 0) abort();
  CHECK_INT(child_end(child_start(be_newcomer, (void *)(uintptr_t) "log")), 0);
  if (rename("aside", "log") != 0) abort();
  kv_rollback(db);
  MUST(kv_close(db, &help_err));
  CHECK_INT(left_over("log"), 0);
}

static void be_killed(void *context) {
  kv *db = help_open_full(context);
  MUST(kv_begin(db, BUSY_MS, &help_err));
  raise(SIGKILL);
}

/* Who takes the turn over from a dead process finds no log at all in its place. */
static void test_no_log_after_a_death(void) {
  make_log("log", 2);
  kv *db = help_open_full("log");
  CHECK_INT(child_end(child_start(be_killed, (void *)(uintptr_t) "log")), 1000 + SIGKILL);
  if (rename("log", "aside") != 0) abort();
  write_file("log", "a letter", 8);
  CHECK_INT(kv_begin(db, BUSY_MS, &help_err), KV_EMOVED);
  CHECK(says("was replaced by another file while it was open"));
  CHECK_STR(help_all(db), "n=#2");
  size_t size;
  char *bytes = bytes_of("log", &size);
  CHECK_BYTES(bytes, size, "a letter", 8);
  free(bytes);
  if (rename("aside", "log") != 0) abort();
  MUST(commit_number(db, "n", 3));
  MUST(kv_close(db, &help_err));
  CHECK_INT(left_over("log"), 0);
}

/* --- it is gone for a moment ----------------------------------------------------------------------------------- */

static int calls, gone_at;

static bool is_log(const char *path) {
  size_t size = strlen(path);
  return size >= 4 && strcmp(path + size - 4, "/log") == 0;
}

/* Opening finds no log, or another one, once. */
static int open_meanwhile(const char *path, int flags, mode_t mode) {
  bool now = is_log(path) && ++calls == gone_at % 8;
  if (now && (rename("log", "aside") != 0 || (gone_at > 8 && link("another", "log") != 0))) abort();
  int fd = fault.real.open(path, flags, mode);
  int reason = errno;
  if (now && rename("aside", "log") != 0) abort();
  errno = reason;
  return fd;
}

static void be_patient_newcomer(void *context) {
  kv_options options = help_options(context, KV_SYNC_FULL, 1, 10);
  kv *db = NULL;
  os.open = open_meanwhile;
  int rc = kv_open(&options, &db, NULL, &help_err);
  os.open = fault.real.open;
  CHECK(rc == KV_OK);
  if (db == NULL) return;
  if (gone_at % 8 > 1) CHECK_STR(help_all(db), "n=#2");
  MUST(commit_number(db, "n", 2));
  MUST(kv_close(db, &help_err));
}

static void test_gone_for_a_moment(void) {
  make_log("log", 2);
  make_log("another", 7);
  kv *db = help_open_full("log");
  for (gone_at = 1; gone_at < 14; gone_at++) {
    calls = 0;
    CHECK_INT(child_end(child_start(be_patient_newcomer, (void *)(uintptr_t) "log")), 0);
    CHECK_STR(help_all(db), "n=#2");
  }
  MUST(kv_close(db, &help_err));
}

/* --- times ----------------------------------------------------------------------------------------------------- */

static void set_time(time_t seconds_since, long ns) {
  struct timespec times[2] = {{.tv_sec = seconds_since, .tv_nsec = ns},
                              {.tv_sec = seconds_since, .tv_nsec = ns}};
  if (utimensat(AT_FDCWD, "log", times, 0) != 0) abort();
}

/* A writer that shares no page appends in room that is there: size and file stay the same. Whatever the
** time says, a reader sees it, unless it is exactly the one that it saw, and that is long ago. */
static void test_times(void) {
  static const struct {
    time_t before, after;
    long before_ns, after_ns;
    bool seen;
  } moments[] = {{1000, 1000, 5, 5, false},
                 {1000, 1001, 5, 5, true},
                 {1000, 1000, 5, 6, true},
                 {-7, -7, 0, 0, true},
                 {5000000000, 5000000000, 1, 1, true}};
  for (size_t i = 0; i < sizeof moments / sizeof *moments; i++) {
    make_log("log", 1);
    size_t size;
    char *bytes = bytes_of("log", &size);
    log_header header;
    if (log_parse_header(bytes, strcspn(bytes, "\n"), &header, NULL) != KV_OK) abort();
    free(bytes);
    if (truncate("log", (off_t)size + 5000) != 0) abort();
    set_time(moments[i].before, moments[i].before_ns);
    kv *reader = open_readonly("log");
    CHECK_STR(help_all(reader), "n=#1");
    buf lines = {0};
    kv_value value = {.type = KV_INTEGER, .integer = 2};
    MUST(log_format_write(&lines, "n", 1, &value));
    MUST(log_format_commit(&lines, 0, header.id, 2, 1));
    int fd = open("log", O_RDWR);
    if (fd < 0 || pwrite(fd, lines.data, lines.size, (off_t)size) != (ssize_t)lines.size) abort();
    close(fd);
    buf_free(&lines);
    set_time(moments[i].after, moments[i].after_ns);
    CHECK_STR(help_all(reader), moments[i].seen ? "n=#2" : "n=#1");
    MUST(kv_close(reader, &help_err));
  }
}

/* --- following when memory ends ------------------------------------------------------------------------------------ */

#define HELD 70

/* Every version is held by somebody, so that each new one needs memory of its own; some are read anew. */
static void test_memory(int anew_every) {
  kv_cursor *cursors[HELD];
  make_log("log", 1);
  kv *reader = open_readonly("log"), *db = help_open("log", KV_SYNC_OFF, 1, 10);
  unsigned long told = 0;
  for (int i = 0; i < HELD; i++) {
    MUST(commit_number(db, "n", i));
    if (i % anew_every == 1) {
      MUST(kv_checkpoint(db, &help_err));
      MUST(commit_number(db, "n", i));
      MUST(kv_checkpoint(db, &help_err));
    }
    int rc = KV_ENOMEM;
    for (long n = 0; rc == KV_ENOMEM; n++) {
      calls_left = n;
      rc = kv_cursor_open(reader, &cursors[i], &help_err);
      calls_left = -1;
      told += rc == KV_ENOMEM;
    }
    CHECK_INT(rc, KV_OK);
    CHECK_INT(cursor_number(cursors[i], "n"), i);
  }
  CHECK(told > HELD);
  for (int i = 0; i < HELD; i++) {
    CHECK_INT(cursor_number(cursors[i], "n"), i);
    kv_cursor_close(cursors[i]);
  }
  MUST(kv_close(db, &help_err));
  MUST(kv_close(reader, &help_err));
}

int main(void) {
  alarm(WATCHDOG_S);
  test_original_is_only_read();
  test_original_is_opened();
  test_original_goes_on();
  faults_install();
  test_damaged_end();
  test_cut_after_checkpoint();
  test_older_copy();
  test_another_log();
  test_no_log_after_a_death();
  test_gone_for_a_moment();
  test_times();
  os.malloc = short_malloc;
  os.realloc = short_realloc;
  os.free = counted_free;
  for (int every = 2; every < 7; every++) test_memory(every);
  return unit_done();
}
