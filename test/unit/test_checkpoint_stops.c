/*
** test_checkpoint_stops.c - a checkpoint stands still between two system calls, in another process or
** in a thread of this one, while others commit, flush, read, join, or begin one too: nobody loses
** anything, sees what is not there, or has to wait for what does not come.
*/
#include "process_help.h"

#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>

#define WATCHDOG_S 120
#define PATIENT_S 10 /* nothing here takes a tenth of it */

static os_table real;
static atomic_int *step;

/* --- the places ----------------------------------------------------------------------------------------- */

static _Thread_local bool armed; /* the next call of the kind stops the process */
static const char *name_to_stop_at;
static unsigned openings; /* of that name, before the one that stops it */

static void stop_here(void) {
  armed = false;
  raise(SIGSTOP);
}

/* Of what has a certain end of its name. */
static int before_open(const char *path, int flags, mode_t mode) {
  size_t size = strlen(path), end = strlen(name_to_stop_at);
  bool is_it = armed && size >= end && strcmp(path + size - end, name_to_stop_at) == 0;
  if (is_it && openings-- == 0) stop_here();
  return real.open(path, flags, mode);
}

static int after_rename(const char *from, const char *to) {
  int rc = real.rename(from, to);
  if (armed) stop_here();
  return rc;
}

static int before_unlink(const char *path) {
  if (armed) stop_here();
  return real.unlink(path);
}

static ssize_t no_pwrite(int fd, const void *data, size_t size, off_t offset) {
  if (!armed) return real.pwrite(fd, data, size, offset);
  errno = ENOSPC;
  return -1;
}

/* --- helpers -------------------------------------------------------------------------------------------- */

static void make_log(const char *path) {
  kv *db = help_open_full(path);
  for (int i = 0; i < 20; i++) MUST(commit_number(db, "often", i));
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_close(db, &help_err));
}

static pid_t start(void (*run)(void *), const char *path) {
  return child_start(run, (void *)(uintptr_t)path);
}

static void go_on(pid_t child) {
  if (kill(child, SIGCONT) != 0) abort();
}

/* Not visible before somebody flushes it. */
static void commit_unflushed(kv *db, const char *key, int64_t number) {
  MUST(kv_begin(db, BUSY_MS, &help_err));
  MUST(help_put_number(db, key, number));
  MUST(kv_commit(db, KV_NO_WAIT, &help_err));
}

static void check_and_close(kv *db, const char *path, const char *key, int64_t number) {
  CHECK_INT(help_number(db, key), number);
  MUST(commit_number(db, "end", 1));
  CHECK_INT(kv_check(db, &help_err), KV_OK);
  MUST(kv_close(db, &help_err));
  db = help_open_full(path);
  CHECK_INT(help_number(db, key), number);
  CHECK_INT(help_number(db, "end"), 1);
  MUST(kv_close(db, &help_err));
  CHECK_INT(left_over(path), 0);
}

/* --- children ------------------------------------------------------------------------------------------- */

/* Checkpoints at step 2, and stops when the new file has its name and nobody was told. */
static void be_checkpointer(void *context) {
  kv *db = help_open_full(context);
  os.rename = after_rename;
  atomic_store(step, 1);
  await(step, 2);
  armed = true;
  MUST(kv_checkpoint(db, &help_err));
  MUST(kv_close(db, &help_err));
}

/* The same, with one checkpoint before that comes to its end. */
static void be_second_checkpointer(void *context) {
  kv *db = help_open(context, KV_SYNC_OFF, 1, 10);
  atomic_store(step, 1);
  await(step, 2);
  MUST(kv_checkpoint(db, &help_err));
  MUST(commit_number(db, "between", 1));
  os.rename = after_rename;
  armed = true;
  MUST(kv_checkpoint(db, &help_err));
  MUST(kv_close(db, &help_err));
}

/* Looks at `late` until it is there. */
static void look_for_late(kv *db) {
  alarm(PATIENT_S);
  while (help_number(db, "late") != 1) continue;
  MUST(kv_close(db, &help_err));
}

static void be_reader(void *context) {
  look_for_late(help_open_full(context));
}

/* Stops when it has found the log, and is about to open it for reading. */
static void be_joiner(void *context) {
  name_to_stop_at = context;
  openings = 2;
  os.open = before_open;
  await(step, 1);
  armed = true;
  look_for_late(help_open_full(context));
}

/* --- two checkpoints at a time ---------------------------------------------------------------------------- */

static void be_overtaken(void *context) {
  kv *db = help_open_full(context);
  os.open = before_open;
  name_to_stop_at = "-kvstore-new";
  armed = true;
  CHECK_INT(kv_checkpoint(db, &help_err), KV_EBUSY);
  MUST(kv_close(db, &help_err));
}

/* One that has its snapshot and no draft yet stands still while another is made. */
static void test_overtaken(void) {
  make_log("overtaken");
  pid_t child = start(be_overtaken, "overtaken");
  CHECK(child_stopped(child));
  kv *db = help_open_full("overtaken");
  for (int i = 0; i < 10; i++) MUST(commit_number(db, "since", i));
  MUST(kv_checkpoint(db, &help_err));
  MUST(commit_number(db, "since", 10));
  CHECK_INT(child_go_on(child), 0);
  check_and_close(db, "overtaken", "since", 10);
}

static void be_failing(void *context) {
  kv *db = help_open_full(context);
  os.pwrite = no_pwrite;
  os.unlink = before_unlink;
  armed = true;
  CHECK_INT(kv_checkpoint(db, &help_err), KV_EFULL);
  MUST(kv_close(db, &help_err));
}

/* One that fails removes its draft, which nobody else takes for his meanwhile. */
static void test_failing(void) {
  make_log("failing");
  pid_t child = start(be_failing, "failing");
  CHECK(child_stopped(child));
  kv *db = help_open_full("failing");
  CHECK_INT(kv_checkpoint(db, &help_err), KV_EBUSY);
  CHECK_INT(child_go_on(child), 0);
  CHECK(!exists("failing-kvstore-new"));
  MUST(kv_checkpoint(db, &help_err));
  check_and_close(db, "failing", "often", 19);
}

/* Who was here before the first of two flushes while the second has not told of its file, and reads
** when that one is there, or its maker dead. */
static void test_second_untold(bool kills) {
  const char *path = kills ? "second-killed" : "second";
  make_log(path);
  atomic_store(step, 0);
  pid_t child = start(be_second_checkpointer, path);
  await(step, 1);
  kv *db = help_open_full(path);
  MUST(commit_number(db, "before", 1));
  atomic_store(step, 2);
  CHECK(child_stopped(child));
  CHECK_INT(kv_flush(db, &help_err), KV_OK);
  if (kills) child_kill(child);
  if (!kills) CHECK_INT(child_go_on(child), 0);
  CHECK_INT(help_number(db, "before"), 1);
  check_and_close(db, path, "between", 1);
}

/* --- a file that is not told of yet ------------------------------------------------------------------------ */

/* Has a commit that waits long for others to share its flush, and does not wait longer than that. */
static void be_patient(void *context) {
  kv *db = help_open(context, KV_SYNC_FULL, 100, 600000);
  await(step, 1);
  alarm(PATIENT_S);
  MUST(commit_number(db, "late", 1));
  MUST(kv_close(db, &help_err));
}

static void be_looker(void *context) {
  kv *db = open_readonly(context);
  CHECK_STR(help_get(db, "a"), "1");
  MUST(kv_close(db, &help_err));
}

/* A checkpoint's snapshot is ahead of what is visible. */
static void test_ahead(bool kills) {
  const char *path = kills ? "ahead-killed" : "ahead";
  make_log(path);
  atomic_store(step, 0);
  pid_t patient = start(be_patient, path), checkpointer = start(be_checkpointer, path);
  await(step, 1);
  kv *db = help_open_full(path);
  await_in_file(path, "WRITE\tlate");
  atomic_store(step, 2);
  CHECK(child_stopped(checkpointer));
  CHECK_STR(help_get(db, "late"), "-");
  CHECK_INT(child_end(start(be_looker, path)), 0);
  if (kills) {
    child_kill(checkpointer);
  } else {
    CHECK_INT(child_go_on(checkpointer), 0);
    CHECK_STR(help_get(db, "late"), "#1"); /* the checkpoint has brought it to the disk */
  }
  MUST(commit_number(db, "b", 2));
  CHECK_STR(help_get(db, "late"), "#1");
  CHECK_INT(child_end(start(be_looker, path)), 0);
  CHECK_INT(child_end(patient), 0);
  check_and_close(db, path, "b", 2);
}

/* Who reads while the file is replaced, and while that is told. */
static void test_reading(void) {
  make_log("reading");
  atomic_store(step, 0);
  pid_t checkpointer = start(be_checkpointer, "reading"), reader = start(be_reader, "reading");
  await(step, 1);
  kv *db = help_open_full("reading");
  commit_unflushed(db, "late", 1);
  atomic_store(step, 2);
  CHECK(child_stopped(checkpointer));
  usleep(20000); /* for the reader to be looking */
  CHECK_INT(child_go_on(checkpointer), 0);
  CHECK_INT(child_end(reader), 0);
  check_and_close(db, "reading", "late", 1);
}

/* Who joins finds the old file, and then the new one under its name. */
static void test_joining(void) {
  make_log("joining");
  atomic_store(step, 0);
  pid_t checkpointer = start(be_checkpointer, "joining"), joiner = start(be_joiner, "joining");
  await(step, 1);
  kv *db = help_open_full("joining");
  CHECK(child_stopped(joiner));
  commit_unflushed(db, "late", 1);
  atomic_store(step, 2);
  CHECK(child_stopped(checkpointer));
  go_on(joiner);
  usleep(20000); /* it may have opened it, if it should not */
  MUST(kv_flush(db, &help_err));
  usleep(20000); /* and look now */
  CHECK_INT(child_go_on(checkpointer), 0);
  CHECK_INT(child_end(joiner), 0);
  check_and_close(db, "joining", "late", 1);
}

/* --- in a thread ------------------------------------------------------------------------------------------- */

static _Thread_local bool is_checkpoint; /* this thread's work */

/* The draft: from step 1 to step 2. */
static int open_slowly(const char *path, int flags, mode_t mode) {
  if (is_checkpoint && strstr(path, "-kvstore-new") != NULL) {
    atomic_store(step, 1);
    await(step, 2);
  }
  return real.open(path, flags, mode);
}

/* Takes its time, with the turn. */
static int rename_slowly(const char *from, const char *to) {
  atomic_store(step, 3);
  usleep(30000);
  return real.rename(from, to);
}

static int no_sync(int fd) {
  (void)fd;
  return 0;
}

static void *checkpoint_main(void *db) {
  is_checkpoint = true;
  return kv_checkpoint(db, NULL) == KV_OK ? db : NULL;
}

/* Nobody gets to hear that a writer has the turn while it is a checkpoint that has it: neither when it
** was handed to it a moment ago, nor while it gives the new file its name. */
static void test_impatient(void) {
  pthread_t id;
  make_log("impatient");
  kv *db = help_open("impatient", KV_SYNC_OFF, 1, 10);
  kv *other = help_open("impatient", KV_SYNC_OFF, 1, 10);
  os.open = open_slowly;
  os.rename = rename_slowly;
  os.fdatasync = os.fsync = no_sync;
  for (int i = 0; i < 20; i++) {
    atomic_store(step, 0);
    if (pthread_create(&id, NULL, checkpoint_main, other) != 0) abort();
    await(step, 1);
    MUST(kv_begin(db, 0, &help_err));
    MUST(help_put_number(db, "n", i));
    atomic_store(step, 2);
    usleep(5000); /* until it waits, and is to have the turn next */
    MUST(kv_commit(db, 0, &help_err));
    if (i % 2) await(step, 3);
    if (CHECK_INT(kv_begin(db, 0, &help_err), KV_OK)) kv_rollback(db);
    void *ended;
    pthread_join(id, &ended);
    CHECK(ended != NULL);
  }
  os = real;
  MUST(kv_close(other, &help_err));
  check_and_close(db, "impatient", "n", 19);
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  alarm(WATCHDOG_S);
  real = os;
  step = shared_memory(sizeof *step);
  test_overtaken();
  test_failing();
  test_second_untold(false);
  test_second_untold(true);
  test_ahead(false);
  test_ahead(true);
  test_reading();
  test_joining();
  test_impatient();
  return unit_done();
}
