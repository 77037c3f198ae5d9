/*
** test_fork.c - what a child inherits from a process that has logs open: it is told so, touches nothing,
** and can open them for itself; and the parent is not disturbed, however parent and child end.
*/
#include "kv_help.h"
#include "os.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static off_t size_of(const char *path) {
  struct stat facts;
  return stat(path, &facts) == 0 ? facts.st_size : -1;
}

/* In the child: what was inherited is of no use, what is opened anew is. */
static void be_child(kv *open, kv *idle, kv *undoable, kv_cursor *c) {
  kv_error err;
  kv_cursor *none;
  kv_stats stats;
  unit_failed = unit_passed = 0;
  CHECK_INT(kv_begin(idle, 0, &err), KV_EMISUSE);
  CHECK(strstr(err.text, "before this process was forked; open it again") != NULL);
  CHECK_INT(help_put(open, "child", "x"), KV_EMISUSE);
  CHECK_INT(help_delete(open, "a"), KV_EMISUSE);
  CHECK_INT(kv_savepoint(open, 0, NULL), KV_EMISUSE);
  CHECK_INT(kv_commit(open, 0, NULL), KV_EMISUSE);
  CHECK_INT(kv_flush(idle, NULL), KV_EMISUSE);
  CHECK_INT(kv_undo(undoable, NULL), KV_EMISUSE);
  CHECK_INT(kv_cursor_open(idle, &none, NULL), KV_EMISUSE);
  CHECK_INT(kv_get_stats(idle, &stats, NULL), KV_EMISUSE);
  kv_settle(undoable);
  kv_rollback(open);
  kv_options options = help_options("forked", KV_SYNC_FULL, 1, 10);
  kv *own = NULL;
  CHECK_INT(kv_open(&options, &own, NULL, &err), KV_OK);
  CHECK_INT(kv_begin(own, 0, &err), KV_EBUSY); /* the parent has the turn */
  CHECK_INT(kv_close(own, NULL), KV_OK);
  options.readonly = true;
  CHECK_INT(kv_open(&options, &own, NULL, &err), KV_OK);
  if (own != NULL) CHECK_STR(help_get(own, "a"), "1");
  CHECK_INT(kv_close(own, NULL), KV_OK);
  options = help_options("child", KV_SYNC_FULL, 1, 10);
  CHECK_INT(kv_open(&options, &own, NULL, &err), KV_OK);
  CHECK_INT(help_commit_put(own, "a", "of the child"), KV_OK);
  CHECK_INT(kv_close(own, NULL), KV_OK);
  kv_cursor_close(c);
  CHECK_INT(kv_close(open, NULL), KV_OK);
  CHECK_INT(kv_close(idle, NULL), KV_OK);
  CHECK_INT(kv_close(undoable, NULL), KV_OK);
}

static int stop_at_second(void *context, const kv_stats *stats) {
  int *count = context;
  CHECK(stats->path == NULL || strstr(stats->path, "each-") != NULL);
  return ++*count == 2 ? KV_EBUSY : KV_OK;
}

/* Those that are open here, until the caller has seen enough; a child has none of them. */
static void test_each_store(void) {
  kv *first = help_open_full("each-1"), *second = help_open_full("each-2");
  kv *third = help_open_full(NULL);
  int count = 0, status = -1;
  CHECK_INT(kv_each_store(stop_at_second, &count), KV_EBUSY);
  CHECK_INT(count, 2);
  CHECK_INT(kv_each_store(stop_at_second, &count), KV_OK);
  CHECK_INT(count, 5);
  pid_t child = fork();
  count = 0;
  if (child == 0) _exit(kv_each_store(stop_at_second, &count) != KV_OK || count != 0);
  waitpid(child, &status, 0);
  CHECK_INT(status, 0);
  MUST(kv_close(third, &help_err));
  MUST(kv_close(second, &help_err));
  MUST(kv_close(first, &help_err));
}

/* Generations of processes, with stores of every kind: one without a file, one without a log yet, and
** one that only the grandparent had. Each ends through its atexit handlers. */
static void test_grandchild(void) {
  static kv *log, *looker, *others[2]; /* not given back is not lost */
  int status = -1;
  kv *db = help_open_full("grand");
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_close(db, &help_err));
  off_t size = size_of("grand");
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    unit_failed = unit_passed = 0;
    others[0] = help_open_full(NULL);
    others[1] = help_open_full("grand-later");
    CHECK(!kv_same_store(others[0], others[1]));
    kv_options options = help_options("grand", KV_SYNC_FULL, 1, 10);
    options.readonly = true;
    MUST(kv_open(&options, &looker, NULL, &help_err));
    log = help_open_full("grand");
    pid_t grandchild = fork();
    if (grandchild == 0) {
      if (fork() == 0) exit(0);
      wait(&status);
      CHECK_INT(status, 0);
      CHECK_INT(kv_begin(log, 0, &help_err), KV_EMISUSE);
      fflush(stdout);
      exit(unit_failed > 0);
    }
    waitpid(grandchild, &status, 0);
    CHECK_INT(status, 0);
    CHECK_STR(help_all(looker), "a=1");
    MUST(help_commit_put(log, "a", "2"));
    CHECK_STR(help_all(looker), "a=2");
    fflush(stdout);
    exit(unit_failed > 0);
  }
  waitpid(child, &status, 0);
  CHECK_INT(status, 0);
  CHECK(size_of("grand") > size && size_of("grand") < size + 100); /* no room is left at its end */
  CHECK_INT(size_of("grand-later"), -1);
  db = help_open_full("grand");
  CHECK_STR(help_all(db), "a=2");
  MUST(kv_close(db, &help_err));
}

static int no_fdatasync(int fd) {
  (void)fd;
  errno = EIO;
  return -1;
}

/* A process ends without closing while another has the turn, or when nothing can be flushed: it does
** not wait, and takes nothing away. */
static void test_ending(bool flushes) {
  static kv *volatile log; /* not given back is not lost */
  int there[2], back[2], status = -1;
  char byte = 'x';
  (void)unlink("ending");
  if (pipe(there) != 0 || pipe(back) != 0) abort();
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    close(there[1]);
    log = help_open("ending", KV_SYNC_NORMAL, 100, 3600000);
    MUST(help_commit_put(log, "a", "1"));
    if (!flushes) os.fdatasync = no_fdatasync;
    if (write(back[1], &byte, 1) != 1 || read(there[0], &byte, 1) != 1) _exit(1);
    exit(0);
  }
  CHECK_INT(read(back[0], &byte, 1), 1);
  kv *db = help_open_full("ending");
  if (flushes) MUST(kv_begin(db, 0, &help_err));
  if (flushes) MUST(help_put(db, "b", "2"));
  if (write(there[1], &byte, 1) != 1) abort();
  waitpid(child, &status, 0);
  CHECK_INT(status, 0);
  CHECK_STR(help_all(db), flushes ? "a=1 b=2" : "a=1");
  if (flushes) MUST(kv_commit(db, 0, &help_err));
  if (!flushes) CHECK_INT(kv_begin(db, 0, &help_err), KV_EREADONLY);
  MUST(kv_close(db, &help_err));
  db = help_open_full("ending");
  CHECK_STR(help_all(db), flushes ? "a=1 b=2" : "a=1");
  MUST(kv_close(db, &help_err));
  for (int i = 0; i < 2; i++) {
    close(there[i]);
    close(back[i]);
  }
}

static void test_fork(void) {
  kv *db = help_open("forked", KV_SYNC_NORMAL, 50, 3600000), *open = help_open_full("forked");
  kv *undoable = help_open_full("forked");
  kv_cursor *c;
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_begin(undoable, 0, &help_err));
  MUST(help_put(undoable, "b", "1"));
  MUST(kv_commit(undoable, KV_UNDOABLE, &help_err));
  MUST(help_commit_put(db, "c", "unflushed"));
  MUST(kv_begin(open, 0, &help_err));
  MUST(help_put(open, "d", "unfinished"));
  MUST(kv_cursor_open(db, &c, &help_err));
  off_t size = size_of("forked");
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    be_child(open, db, undoable, c);
    fflush(stdout);
    exit(unit_failed > 0); /* through its atexit handlers */
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK_INT(size_of("forked"), size);
  child = fork(); /* and one that touches nothing at all */
  if (child == 0) exit(0);
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK_INT(size_of("forked"), size);
  /* nothing of it disturbs the parent; while a child lives, the log can be closed and opened */
  int hold[2];
  char byte;
  if (pipe(hold) != 0) abort();
  child = fork();
  if (child == 0) {
    close(hold[1]);
    _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
  }
  close(hold[0]);
  MUST(kv_commit(open, 0, &help_err));
  MUST(kv_undo(undoable, &help_err));
  CHECK_STR(help_all(db), "a=1 c=unflushed d=unfinished");
  kv_cursor_close(c);
  MUST(kv_close(db, &help_err));
  MUST(kv_close(open, &help_err));
  MUST(kv_close(undoable, &help_err));
  db = help_open_full("forked");
  CHECK_STR(help_all(db), "a=1 c=unflushed d=unfinished");
  MUST(kv_close(db, &help_err));
  close(hold[1]);
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  db = help_open_full("child");
  CHECK_STR(help_all(db), "a=of the child");
  MUST(kv_close(db, &help_err));
}

/* A process is killed that has a child: the child does not keep the log locked. */
static void test_killed_parent(void) {
  int ready[2], hold[2];
  char byte;
  if (pipe(ready) != 0 || pipe(hold) != 0) abort();
  fflush(stdout);
  pid_t parent = fork();
  if (parent == 0) {
    kv *db = help_open_full("killed");
    MUST(help_commit_put(db, "a", "1"));
    if (fork() == 0) {
      close(hold[1]);
      if (write(ready[1], "r", 1) != 1) _exit(1);
      _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
    }
    for (;;) pause();
  }
  CHECK_INT(read(ready[0], &byte, 1), 1);
  CHECK_INT(kill(parent, SIGKILL), 0);
  waitpid(parent, NULL, 0);
  kv *db = help_open_full("killed");
  CHECK_STR(help_all(db), "a=1");
  MUST(kv_close(db, &help_err));
  close(hold[0]);
  close(hold[1]); /* the grandchild goes */
  close(ready[0]);
  close(ready[1]);
}

/* --- what a child keeps of its parent's files ---------------------------------------------------- */

/* How many files whose names begin so the process has open or mapped. */
static int kept_of(const char *start) {
  char path[300], name[4200];
  int count = 0;
  for (int fd = 0; fd < 200; fd++) {
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(path, name, sizeof name - 1);
    if (size <= 0) continue;
    name[size] = '\0';
    const char *slash = strrchr(name, '/');
    if (slash != NULL && strncmp(slash + 1, start, strlen(start)) == 0) count++;
  }
  FILE *maps = fopen("/proc/self/maps", "r");
  if (maps == NULL) abort();
  while (fgets(name, sizeof name, maps) != NULL) {
    const char *slash = strrchr(name, '/');
    if (slash != NULL && strncmp(slash + 1, start, strlen(start)) == 0) count++;
  }
  fclose(maps);
  return count;
}

static struct {
  int (*lock)(int fd, bool shared, uint64_t offset, uint64_t size);
  int to; /* a pipe */
} halt;

/* The thread that has come here goes no further. */
static void halt_here(void) {
  if (write(halt.to, "h", 1) != 1) _exit(1);
  for (;;) pause();
}

static int halt_at_sync(int fd) {
  (void)fd;
  halt_here();
  return 0;
}

static int halt_at_rename(const char *from, const char *to) {
  (void)from, (void)to;
  halt_here();
  return 0;
}

/* Locked for joining. */
static int halt_after_lock(int fd, bool shared, uint64_t offset, uint64_t size) {
  int rc = halt.lock(fd, shared, offset, size);
  if (rc == 0) halt_here();
  return rc;
}

typedef enum moment { IN_TRANSACTION, JOINING, DRAFTING, CHANGING, MOMENTS } moment;

static void *work(void *context) {
  moment when = *(const moment *)context;
  if (when == JOINING) os.lock = halt_after_lock;
  kv *db = help_open_full("kept");
  if (when == DRAFTING) os.fdatasync = os.fsync = halt_at_sync;
  if (when == CHANGING) os.rename = halt_at_rename;
  if (when >= DRAFTING) (void)kv_checkpoint(db, &help_err);
  MUST(kv_begin(db, 0, &help_err));
  MUST(help_put(db, "b", "unfinished"));
  halt_here();
  return NULL;
}

/* A process is killed in the middle of something, and has a child that lives on: the child has nothing
** of the log open or mapped, and all locks are free. */
static void test_child_of_dead(moment when) {
  int ready[2], hold[2], halted[2];
  char byte = 0;
  if (pipe(ready) != 0 || pipe(hold) != 0 || pipe(halted) != 0) abort();
  kv *db = help_open_full("kept");
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_close(db, &help_err));
  fflush(stdout);
  pid_t parent = fork();
  if (parent == 0) {
    pthread_t thread;
    halt.to = halted[1];
    halt.lock = os.lock;
    if (pthread_create(&thread, NULL, work, &when) != 0) _exit(1);
    if (read(halted[0], &byte, 1) != 1) _exit(1);
    if (fork() == 0) {
      close(hold[1]);
      byte = (char)('0' + kept_of("kept"));
      if (write(ready[1], &byte, 1) != 1) _exit(1);
      _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
    }
    for (;;) pause();
  }
  CHECK_INT(read(ready[0], &byte, 1), 1);
  CHECK_INT(byte, '0');
  CHECK_INT(kill(parent, SIGKILL), 0);
  waitpid(parent, NULL, 0);
  db = help_open_full("kept");
  CHECK_INT(kv_begin(db, 0, &help_err), KV_OK);
  MUST(help_put(db, "a", "2"));
  MUST(kv_commit(db, 0, &help_err));
  CHECK_INT(kv_checkpoint(db, &help_err), KV_OK);
  CHECK_STR(help_all(db), "a=2");
  MUST(kv_close(db, &help_err));
  if (unlink("kept") != 0) abort();
  close(hold[0]);
  close(hold[1]); /* the grandchild goes */
  close(ready[0]);
  close(ready[1]);
  close(halted[0]);
  close(halted[1]);
}

/* Other threads open and close logs all the time: a child still gets nothing. */
static _Atomic bool opened_enough;

static void *open_and_close(void *path) {
  while (!opened_enough) {
    kv *db = help_open_full(path);
    kv_error err;
    if (kv_begin(db, 0, &err) == KV_OK && kv_commit(db, 0, &err) != KV_OK) abort();
    if (kv_close(db, &err) != KV_OK) abort();
  }
  return NULL;
}

static void test_forks_beside_opening(void) {
  pthread_t threads[2];
  char paths[2][16] = {"opened-1", "opened-2"};
  for (int i = 0; i < 2; i++) {
    if (pthread_create(&threads[i], NULL, open_and_close, paths[i]) != 0) abort();
  }
  fflush(stdout);
  for (int i = 0; i < 50; i++) {
    int status = -1;
    pid_t child = fork();
    if (child == 0) _exit(kept_of("opened"));
    waitpid(child, &status, 0);
    CHECK_INT(status, 0);
  }
  opened_enough = true;
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
}

int main(void) {
  test_each_store();
  test_grandchild();
  test_ending(true);
  test_ending(false);
  test_fork();
  test_killed_parent();
  for (int when = 0; when < MOMENTS; when++) test_child_of_dead((moment)when);
  test_forks_beside_opening();
  return unit_done();
}
