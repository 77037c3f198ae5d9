/*
** test_process_stops.c - a process is stopped, or dies, at the worst places; the others go on.
**
** In each scene a child stops itself within some system call of the engine. While it stands still,
** others see what was there before and change nothing, and get KV_EBUSY if it has the turn. Then it
** goes on, and what it was doing is there; or it is killed, and the next writer goes on at once, with
** what the dead one had written whole, or without it.
*/
#include "process_help.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define WATCHDOG_S 120
#define SOON_MS 1000u /* far less than any timeout, much more than finding out that somebody died */

/* --- the places ----------------------------------------------------------------------------------------- */

static os_table real;
static atomic_int *ready;
static bool armed; /* in a child: the next such call stops it */

static void stop_here(void) {
  armed = false;
  raise(SIGSTOP);
}

static bool is_big(size_t size) {
  return armed && size > 1000; /* the transaction: 4 KB; no header, no zeros after it */
}

static bool is_zeros(const void *data, size_t size) {
  const char *bytes = data;
  return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static ssize_t half_pwrite(int fd, const void *data, size_t size, off_t offset) {
  if (!is_big(size) || is_zeros(data, size)) return real.pwrite(fd, data, size, offset);
  ssize_t half = real.pwrite(fd, data, size / 2, offset);
  stop_here();
  return half;
}

static ssize_t whole_pwrite(int fd, const void *data, size_t size, off_t offset) {
  ssize_t wrote = real.pwrite(fd, data, size, offset);
  if (is_big(size) && !is_zeros(data, size)) stop_here();
  return wrote;
}

static ssize_t room_pwrite(int fd, const void *data, size_t size, off_t offset) {
  ssize_t wrote = real.pwrite(fd, data, size, offset);
  if (is_big(size) && is_zeros(data, size)) stop_here();
  return wrote;
}

static int before_fdatasync(int fd) {
  if (armed) stop_here();
  return real.fdatasync(fd);
}

static int after_fdatasync(int fd) {
  int rc = real.fdatasync(fd);
  if (armed) stop_here();
  return rc;
}

static int before_rename(const char *from, const char *to) {
  if (armed) stop_here();
  return real.rename(from, to);
}

static int after_rename(const char *from, const char *to) {
  int rc = real.rename(from, to);
  if (armed) stop_here();
  return rc;
}

static bool is_folder(int fd) {
  struct stat facts;
  return fstat(fd, &facts) == 0 && S_ISDIR(facts.st_mode);
}

static int after_folder_fsync(int fd) {
  int rc = real.fsync(fd);
  if (armed && is_folder(fd)) stop_here();
  return rc;
}

static void *before_map(int fd, size_t size, void *at, bool writable) {
  if (armed) stop_here();
  return real.map(fd, size, at, writable);
}

static void stop_at_half_write(void) {
  os.pwrite = half_pwrite;
}

static void stop_at_whole_write(void) {
  os.pwrite = whole_pwrite;
}

static void stop_at_room(void) {
  os.pwrite = room_pwrite;
}

static void stop_before_flush(void) {
  os.fdatasync = before_fdatasync;
}

static void stop_after_flush(void) {
  os.fdatasync = after_fdatasync;
}

static void stop_before_rename(void) {
  os.rename = before_rename;
}

static void stop_after_rename(void) {
  os.rename = after_rename;
}

static void stop_after_folder_fsync(void) {
  os.fsync = after_folder_fsync;
}

static void stop_nowhere(void) {
}

/* --- what the child does ------------------------------------------------------------------------------ */

typedef struct scene {
  const char *name;
  void (*arm)(void);
  void (*act)(kv *db);
  kv_sync synchronous;
  bool has_turn;      /* while it stands still */
  bool adopted;       /* what it was doing is there after its death */
  bool changes;       /* it was changing something at all */
  bool blocks_joiner; /* a newcomer that wants to write has to wait */
} scene;

static void act_commit(kv *db) {
  char text[4001];
  memset(text, 't', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  MUST(kv_begin(db, BUSY_MS, &help_err));
  MUST(help_put(db, "long", text));
  MUST(help_put(db, "new", "1"));
  armed = true;
  MUST(kv_commit(db, 0, &help_err));
}

/* Stops with the turn, nothing being written yet. */
static void act_hold_turn(kv *db) {
  MUST(kv_begin(db, BUSY_MS, &help_err));
  MUST(help_put(db, "new", "1"));
  raise(SIGSTOP);
  MUST(kv_commit(db, 0, &help_err));
}

static void act_checkpoint(kv *db) {
  armed = true;
  MUST(kv_checkpoint(db, &help_err));
}

static void be_stopped(void *context) {
  const scene *s = context;
  kv_options options = help_options(s->name, s->synchronous, 1, 10);
  kv *db = help_open(s->name, KV_SYNC_OFF, 1, 10); /* makes no room ahead */
  MUST(help_commit_put(db, "child", "was here"));
  MUST(kv_flush(db, &help_err));
  kv_set_settings(db, &options.settings);
  s->arm();
  atomic_store(ready, 1);
  await(ready, 2);
  s->act(db);
  MUST(kv_close(db, &help_err));
}

/* --- what the others do -------------------------------------------------------------------------------- */

#define BEFORE "a=1 child=was here"

static const char *state(kv *db) {
  static char text[600];
  (void)snprintf(text, sizeof text, "a=%s", help_get(db, "a"));
  (void)snprintf(text + strlen(text), sizeof text - strlen(text), " child=%s",
                 help_get(db, "child"));
  if (strcmp(help_get(db, "new"), "-") != 0) (void)strcat(text, " new");
  return text;
}

static const char *after(const scene *s) {
  return s->changes ? BEFORE " new" : BEFORE;
}

static void make_log(const char *path) {
  kv *db = help_open_full(path);
  for (int i = 0; i < 20; i++) MUST(commit_number(db, "often", i));
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_close(db, &help_err));
}

typedef struct witnesses {
  kv *writer, *reader; /* that were there before */
} witnesses;

static const char *wanted;

static void be_newcomer(void *context) {
  kv *db = help_open_full(context);
  CHECK_STR(state(db), wanted);
  MUST(kv_close(db, &help_err));
}

static void be_new_looker(void *context) {
  kv *db = open_readonly(context);
  CHECK_STR(state(db), wanted);
  MUST(kv_close(db, &help_err));
}

/* In this process a second handle would be on the store that is open. */
static void child_sees(void (*run)(void *), const char *path, const char *want) {
  wanted = want;
  unsigned began_ms = now_ms();
  CHECK_INT(child_end(child_start(run, (void *)(uintptr_t)path)), 0);
  CHECK(now_ms() - began_ms < SOON_MS);
}

static void look_at_it(const scene *s, const witnesses *w, const char *want) {
  CHECK_STR(state(w->writer), want);
  CHECK_STR(state(w->reader), want);
  child_sees(be_new_looker, s->name, want);
  if (!s->blocks_joiner) child_sees(be_newcomer, s->name, want);
}

/* Nothing that the others do changes the file, as long as it stands still. */
static void while_it_stands(const scene *s, const witnesses *w) {
  size_t size, size_then;
  char *bytes = bytes_of(s->name, &size);
  look_at_it(s, w, BEFORE);
  unsigned began_ms = now_ms();
  int rc = kv_begin(w->writer, 50, &help_err);
  if (s->has_turn) {
    CHECK_INT(rc, KV_EBUSY);
    CHECK(now_ms() - began_ms < SOON_MS);
    CHECK_INT(kv_begin(w->writer, 0, &help_err), KV_EBUSY);
  } else if (CHECK_INT(rc, KV_OK)) {
    MUST(help_put(w->writer, "never", "x"));
    kv_rollback(w->writer);
  }
  look_at_it(s, w, BEFORE);
  char *bytes_then = bytes_of(s->name, &size_then);
  CHECK_BYTES(bytes_then, size_then, bytes, size);
  free(bytes);
  free(bytes_then);
}

/* Commit after it, quickly, and see that all is well, here and after opening again. */
static void go_on_after(const scene *s, witnesses *w, const char *want) {
  unsigned began_ms = now_ms();
  MUST(help_commit_put(w->writer, "b", "2"));
  CHECK(now_ms() - began_ms < SOON_MS);
  CHECK_STR(state(w->writer), want);
  CHECK_STR(state(w->reader), want);
  CHECK_STR(help_get(w->reader, "b"), "2");
  child_sees(be_newcomer, s->name, want);
  CHECK_INT(kv_check(w->writer, &help_err), KV_OK);
  MUST(kv_close(w->reader, &help_err));
  MUST(kv_close(w->writer, &help_err));
  kv *db = help_open_full(s->name);
  CHECK_STR(state(db), want);
  CHECK_STR(help_get(db, "b"), "2");
  CHECK_INT(kv_check(db, &help_err), KV_OK);
  MUST(kv_close(db, &help_err));
  CHECK_INT(left_over(s->name), 0);
}

static void play(const scene *s, bool kills) {
  unsigned long failed = unit_failed;
  if (unlink(s->name) != 0 && exists(s->name)) abort();
  make_log(s->name);
  atomic_store(ready, 0);
  pid_t child = child_start(be_stopped, (void *)(uintptr_t)s);
  await(ready, 1);
  kv *reader = open_readonly(s->name); /* first, so that it is a store of its own */
  witnesses w = {.writer = help_open(s->name, s->synchronous, 1, 10), .reader = reader};
  CHECK(!kv_same_store(w.writer, reader));
  CHECK_STR(state(w.writer), BEFORE);
  CHECK_STR(state(w.reader), BEFORE);
  atomic_store(ready, 2);
  if (!CHECK(child_stopped(child))) return;
  while_it_stands(s, &w);
  if (kills) {
    child_kill(child);
    go_on_after(s, &w, s->adopted ? after(s) : BEFORE);
  } else {
    CHECK_INT(child_go_on(child), 0);
    look_at_it(s, &w, after(s));
    go_on_after(s, &w, after(s));
  }
  if (unit_failed > failed) printf("  in scene '%s', %s\n", s->name, kills ? "killed" : "going on");
}

/* --- more than two processes ---------------------------------------------------------------------------- */

/* Opens `path`, makes a commit, and waits for flag 2 before it goes on to `armed` calls. */
static kv *open_and_wait(const char *path, int number) {
  kv *db = help_open_full(path);
  MUST(commit_number(db, "ready", number));
  atomic_store(ready, 1);
  await(ready, 2);
  return db;
}

static int flushes_left;

static int nth_fdatasync(int fd) {
  if (armed && --flushes_left == 0) stop_here();
  return real.fdatasync(fd);
}

static void be_robbed(void *context) {
  kv *db = open_and_wait(context, 1);
  os.fdatasync = nth_fdatasync;
  armed = true;
  CHECK_INT(kv_checkpoint(db, &help_err), KV_EBUSY);
  CHECK(strstr(help_err.text, "was just checkpointed by another") != NULL);
  MUST(kv_close(db, &help_err));
}

/* Its draft is removed by hand while it stands still, in the flush of the snapshot or in that of what
** it has copied, so that another can make one, and the log is that one's: then it gives up. */
static void test_robbed_checkpoint(int flush, int checkpoints) {
  make_log("robbed");
  atomic_store(ready, 0);
  flushes_left = flush;
  pid_t child = child_start(be_robbed, (void *)(uintptr_t) "robbed");
  await(ready, 1);
  kv *db = help_open_full("robbed");
  atomic_store(ready, 2);
  CHECK(child_stopped(child));
  if (unlink("robbed-kvstore-new") != 0) abort();
  for (int i = 0; i < checkpoints; i++) {
    for (int n = 0; n < 30; n++) MUST(commit_number(db, "since", n));
    MUST(kv_checkpoint(db, &help_err));
  }
  for (int n = 0; n < 30; n++) MUST(commit_number(db, "after", n));
  CHECK_INT(child_go_on(child), 0);
  MUST(commit_number(db, "later", 3));
  CHECK_INT(kv_check(db, &help_err), KV_OK);
  MUST(kv_close(db, &help_err));
  db = help_open_full("robbed");
  CHECK_STR(help_get(db, "since"), "#29");
  CHECK_STR(help_get(db, "after"), "#29");
  CHECK_STR(help_get(db, "later"), "#3");
  MUST(kv_close(db, &help_err));
  CHECK_INT(left_over("robbed"), 0);
  if (unlink("robbed") != 0) abort();
}

static int no_fdatasync(int fd) {
  (void)fd;
  errno = EIO;
  return -1;
}

static void be_broken(void *context) {
  kv *db = open_and_wait(context, 1);
  os.fdatasync = no_fdatasync;
  CHECK_INT(commit_number(db, "lost", 1), KV_EIO);
  os.fdatasync = real.fdatasync;
  atomic_store(ready, 3);
  await(ready, 4);
  MUST(kv_close(db, &help_err));
}

/* A process cannot flush: the others commit nothing more either, and see nothing of what it had
** written, until all of them have closed the log. */
static void test_broken_by_another(void) {
  make_log("broken");
  atomic_store(ready, 0);
  pid_t child = child_start(be_broken, (void *)(uintptr_t) "broken");
  await(ready, 1);
  kv *db = help_open_full("broken");
  atomic_store(ready, 2);
  await(ready, 3);
  CHECK_INT(kv_begin(db, BUSY_MS, &help_err), KV_EREADONLY);
  CHECK(strstr(help_err.text, "another process could not write or flush the log") != NULL);
  CHECK_STR(help_get(db, "a"), "1");
  CHECK_STR(help_get(db, "lost"), "-");
  atomic_store(ready, 4);
  CHECK_INT(child_end(child), 0);
  CHECK_INT(kv_begin(db, BUSY_MS, &help_err), KV_EREADONLY);
  MUST(kv_close(db, &help_err));
  db = help_open_full("broken");
  MUST(commit_number(db, "b", 2));
  CHECK_STR(help_get(db, "a"), "1");
  MUST(kv_close(db, &help_err));
  CHECK_INT(left_over("broken"), 0);
}

static void be_flushing(void *context) {
  kv *db = help_open_full(context);
  MUST(commit_number(db, "ready", 1));
  atomic_store(ready, 1);
  await(ready, 2);
  os.fdatasync = before_fdatasync;
  armed = true;
  MUST(commit_number(db, "m", 1));
  atomic_store(ready, 5);
  await(ready, 6); /* closing flushes what others have written */
  MUST(kv_close(db, &help_err));
}

/* Has the turn, has written, and waits for the flush that another is in. */
static void be_waiting(void *context) {
  kv *db = help_open_full(context);
  atomic_store(ready, 3);
  await(ready, 4);
  MUST(kv_begin(db, BUSY_MS, &help_err));
  MUST(help_put_number(db, "w", 1));
  MUST(kv_commit(db, KV_UNDOABLE | KV_KEEP_TURN, &help_err));
  pause();
}

/* Who repairs after a death takes what was written for several versions: the flush that is under way
** makes only the first of them visible. */
static void test_repair_during_flush(void) {
  make_log("repair");
  atomic_store(ready, 0);
  pid_t flushing = child_start(be_flushing, (void *)(uintptr_t) "repair");
  await(ready, 1);
  atomic_store(ready, 2);
  CHECK(child_stopped(flushing));
  pid_t waiting = child_start(be_waiting, (void *)(uintptr_t) "repair");
  await(ready, 3);
  kv *db = help_open_full("repair");
  atomic_store(ready, 4);
  await_in_file("repair", "WRITE\tw\t1");
  child_kill(waiting);
  MUST(kv_begin(db, BUSY_MS, &help_err));
  kv_rollback(db);
  CHECK_STR(help_get(db, "m"), "-");
  if (kill(flushing, SIGCONT) != 0) abort();
  await(ready, 5);
  CHECK_STR(help_get(db, "m"), "#1"); /* it was committed, in the other process */
  atomic_store(ready, 6);
  CHECK_INT(child_end(flushing), 0);
  MUST(commit_number(db, "b", 2));
  CHECK_STR(help_get(db, "w"), "#1");
  MUST(kv_close(db, &help_err));
  CHECK_INT(left_over("repair"), 0);
}

/* --- joining ------------------------------------------------------------------------------------------- */

static void be_joiner(void *context) {
  os.map = before_map;
  armed = true;
  kv *db = help_open_full(context);
  MUST(commit_number(db, "joined", 1));
  MUST(kv_close(db, &help_err));
}

/* A process stands still while it joins, which others have to wait for that want to join. */
static void test_stopped_joiner(const char *path, bool kills, bool alone) {
  make_log(path);
  kv *looker = open_readonly(path), *db = alone ? NULL : help_open_full(path);
  pid_t child = child_start(be_joiner, (void *)(uintptr_t)path);
  CHECK(child_stopped(child));
  CHECK_STR(help_get(looker, "a"), "1");
  if (db != NULL) MUST(commit_number(db, "meanwhile", 1));
  if (db != NULL) CHECK_STR(help_get(looker, "meanwhile"), "#1");
  if (kills) child_kill(child);
  if (!kills) CHECK_INT(child_go_on(child), 0);
  wanted = "a=1 child=-";
  CHECK_INT(child_end(child_start(be_newcomer, (void *)(uintptr_t)path)), 0);
  if (db == NULL) db = help_open_full(path);
  CHECK_STR(help_get(db, "joined"), kills ? "-" : "#1");
  MUST(commit_number(db, "b", 2));
  CHECK_STR(help_get(looker, "b"), "#2");
  MUST(kv_close(looker, &help_err));
  MUST(kv_close(db, &help_err));
  CHECK_INT(left_over(path), 0);
}

static uint64_t fast_now_ns(void) {
  return real.now_ns() * 200;
}

static void be_impatient(void *context) {
  kv *db = NULL;
  kv_options options = help_options(context, KV_SYNC_FULL, 1, 10);
  os.now_ns = fast_now_ns;
  CHECK_INT(kv_open(&options, &db, NULL, &help_err), KV_EBUSY);
}

/* Who waits in vain takes nothing away from those that are there. */
static void test_joining_in_vain(void) {
  make_log("in-vain");
  kv *db = help_open_full("in-vain");
  pid_t child = child_start(be_joiner, (void *)(uintptr_t) "in-vain");
  CHECK(child_stopped(child));
  CHECK_INT(child_end(child_start(be_impatient, (void *)(uintptr_t) "in-vain")), 0);
  CHECK(exists("in-vain-shm"));
  child_kill(child);
  wanted = "a=1 child=-";
  CHECK_INT(child_end(child_start(be_newcomer, (void *)(uintptr_t) "in-vain")), 0);
  MUST(kv_close(db, &help_err));
  CHECK_INT(left_over("in-vain"), 0);
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  alarm(WATCHDOG_S);
  real = os;
  ready = shared_memory(sizeof *ready);
  static const scene scenes[] = {
      {"half-written", stop_at_half_write, act_commit, KV_SYNC_OFF, true, false, true, false},
      {"half-full", stop_at_half_write, act_commit, KV_SYNC_FULL, true, false, true, false},
      {"written", stop_at_whole_write, act_commit, KV_SYNC_OFF, true, true, true, false},
      {"written-full", stop_at_whole_write, act_commit, KV_SYNC_FULL, true, true, true, false},
      {"room", stop_at_room, act_commit, KV_SYNC_FULL, true, false, true, false},
      {"turn", stop_nowhere, act_hold_turn, KV_SYNC_FULL, true, false, true, false},
      {"unflushed", stop_before_flush, act_commit, KV_SYNC_FULL, false, true, true, false},
      {"flushed", stop_after_flush, act_commit, KV_SYNC_FULL, false, true, true, false},
      {"draft", stop_before_rename, act_checkpoint, KV_SYNC_FULL, true, true, false, false},
      {"renamed", stop_after_rename, act_checkpoint, KV_SYNC_FULL, true, true, false, true},
      {"untold", stop_after_folder_fsync, act_checkpoint, KV_SYNC_FULL, true, true, false, true},
  };
  for (size_t i = 0; i < sizeof scenes / sizeof scenes[0]; i++) {
    play(&scenes[i], false);
    play(&scenes[i], true);
  }
  for (int flush = 1; flush <= 2; flush++) {
    for (int checkpoints = 1; checkpoints <= 2; checkpoints++) {
      test_robbed_checkpoint(flush, checkpoints);
    }
  }
  test_broken_by_another();
  test_repair_during_flush();
  test_stopped_joiner("joining", false, false);
  test_stopped_joiner("joining-killed", true, false);
  test_stopped_joiner("joining-alone", false, true);
  test_stopped_joiner("joining-alone-killed", true, true);
  test_joining_in_vain();
  return unit_done();
}
