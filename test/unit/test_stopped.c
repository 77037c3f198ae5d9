/*
** test_stopped.c - a process is stopped behind call N of its life with a log, for every N: opening,
** commits, a checkpoint, more commits, closing; and at moments that nobody chose. It is alive all the
** while, so that nothing can be taken from it. Whoever writes, reads, opens or closes beside it is done,
** or gets KV_EBUSY, within its timeout and a second. When the stopped one goes on it ends as if nothing
** had been; and everything is there that was acknowledged to anybody.
**
** STOPS=N asks for so many stops, spread over all calls (60); STOPS=1000 is every one.
*/
#include "process_help.h"

#include <errno.h>

#define WATCHDOG_S 3000
#define TIMEOUT_MS 20u
#define LIMIT_MS (TIMEOUT_MS + 1000u)

/* --- being stopped behind a call ------------------------------------------------------------------------ */

static os_table real;
static atomic_ulong calls;    /* of all threads */
static unsigned long stop_at; /* 0: nowhere */

static void step(void) {
  if (atomic_fetch_add(&calls, 1) + 1 == stop_at) raise(SIGSTOP);
}

#define STEPPED(type, name, parameters, arguments)                                                 \
  static type step_##name parameters {                                                             \
    type result = real.name arguments;                                                             \
    int saved = errno;                                                                             \
    step();                                                                                        \
    errno = saved;                                                                                 \
    return result;                                                                                 \
  }

STEPPED(int, open, (const char *path, int flags, mode_t mode), (path, flags, mode))
STEPPED(int, close, (int fd), (fd))
STEPPED(ssize_t, pread, (int fd, void *data, size_t size, off_t offset), (fd, data, size, offset))
STEPPED(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t offset),
        (fd, data, size, offset))
STEPPED(int, fdatasync, (int fd), (fd))
STEPPED(int, fsync, (int fd), (fd))
STEPPED(int, ftruncate, (int fd, off_t size), (fd, size))
STEPPED(int, fstat, (int fd, struct stat *out), (fd, out))
STEPPED(int, stat, (const char *path, struct stat *out), (path, out))
STEPPED(int, rename, (const char *from, const char *to), (from, to))
STEPPED(int, link, (const char *from, const char *to), (from, to))
STEPPED(int, unlink, (const char *path), (path))
STEPPED(int, lock, (int fd, bool shared, uint64_t offset, uint64_t size),
        (fd, shared, offset, size))
STEPPED(int, unlock, (int fd, uint64_t offset, uint64_t size), (fd, offset, size))
STEPPED(int, is_locked, (int fd, uint64_t offset, uint64_t size), (fd, offset, size))
STEPPED(void *, map, (int fd, size_t size, void *at, bool writable), (fd, size, at, writable))

static void step_wake(_Atomic uint32_t *word) {
  real.wake(word);
  step();
}

static void install(void) {
  os.open = step_open;
  os.close = step_close;
  os.pread = step_pread;
  os.pwrite = step_pwrite;
  os.fdatasync = step_fdatasync;
  os.fsync = step_fsync;
  os.ftruncate = step_ftruncate;
  os.fstat = step_fstat;
  os.stat = step_stat;
  os.rename = step_rename;
  os.link = step_link;
  os.unlink = step_unlink;
  os.lock = step_lock;
  os.unlock = step_unlock;
  os.is_locked = step_is_locked;
  os.map = step_map;
  os.wake = step_wake;
}

/* --- what the processes do -------------------------------------------------------------------------------- */

typedef struct scene {
  const char *path;
  kv_sync synchronous;
  bool has_witness; /* another process has the log open all the time */
  bool checkpoints;
  unsigned long stop_at;
} scene;

/* What was acknowledged: the number of each writer's newest commit. */
typedef struct report {
  atomic_int child, newcomer;
  atomic_int word;    /* to who is to be the newcomer */
  atomic_ulong calls; /* of the child's whole life */
} report;

static report *told;
static unsigned long played;
static bool all_newcomers;

static unsigned timeout_ms(void *context) {
  (void)context;
  return TIMEOUT_MS;
}

static kv_options impatient(const scene *s) {
  kv_options options =
      help_options(s->path, s->synchronous, s->synchronous == KV_SYNC_FULL ? 1 : 3, 5);
  options.waiting.timeout_ms = timeout_ms;
  return options;
}

static void live(void *context) {
  const scene *s = context;
  char text[3000];
  memset(text, 't', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  install();
  stop_at = s->stop_at;
  kv_options options =
      help_options(s->path, s->synchronous, s->synchronous == KV_SYNC_FULL ? 1 : 3, 5);
  kv *db = NULL;
  MUST(kv_open(&options, &db, NULL, &help_err));
  for (int i = 0; i < 4; i++) {
    if (i == 2 && s->checkpoints) {
      int rc = kv_checkpoint(db, &help_err);
      CHECK(rc == KV_OK || rc == KV_EBUSY);
    }
    MUST(kv_begin(db, BUSY_MS, &help_err));
    MUST(help_put(db, "text", text));
    MUST(help_put_number(db, "child", atomic_load(&told->child) + 1));
    MUST(kv_commit(db, 0, &help_err));
    atomic_fetch_add(&told->child, 1);
  }
  MUST(kv_close(db, &help_err));
  atomic_store(&told->calls, atomic_load(&calls));
}

/* It has ended what it began at `began_ms`, in time. */
static void check_time(unsigned began_ms, const char *what) {
  unsigned took_ms = now_ms() - began_ms;
  if (!CHECK(took_ms < LIMIT_MS)) printf("  %s took %u ms\n", what, took_ms);
}

/* Count on under a key, and note what was acknowledged. */
static void commit_next(kv *db, const char *key, atomic_int *acknowledged) {
  unsigned began_ms = now_ms();
  int rc = kv_begin(db, TIMEOUT_MS, &help_err);
  check_time(began_ms, "kv_begin");
  if (rc != KV_OK) {
    CHECK_INT(rc, KV_EBUSY);
    return;
  }
  began_ms = now_ms();
  MUST(help_put_number(db, key, atomic_load(acknowledged) + 1));
  MUST(kv_commit(db, 0, &help_err));
  check_time(began_ms, "kv_commit");
  atomic_fetch_add(acknowledged, 1);
}

static void look(kv *db) {
  kv_cursor *c = NULL;
  unsigned began_ms = now_ms();
  int rc = kv_cursor_open(db, &c, &help_err);
  check_time(began_ms, "kv_cursor_open");
  if (rc != KV_OK) {
    CHECK_INT(rc, KV_EBUSY);
    return;
  }
  kv_cursor_find(c, "first", 5);
  CHECK(kv_cursor_valid(c));
  kv_cursor_close(c);
}

enum { WAIT, COME, GO_HOME };

/* Forked before there is any thread, which a sanitizer wants of a child that will start one itself. */
static void be_newcomer(void *context) {
  await(&told->word, COME);
  if (atomic_load(&told->word) == GO_HOME) return;
  kv_options options = impatient(context);
  kv *db = NULL;
  unsigned began_ms = now_ms();
  int rc = kv_open(&options, &db, NULL, &help_err);
  check_time(began_ms, "kv_open");
  if (rc != KV_OK) {
    CHECK_INT(rc, KV_EBUSY);
    return;
  }
  look(db);
  commit_next(db, "newcomer", &told->newcomer);
  began_ms = now_ms();
  rc = kv_checkpoint(db, &help_err);
  CHECK(rc == KV_OK || rc == KV_EBUSY);
  check_time(began_ms, "kv_checkpoint");
  look(db);
  began_ms = now_ms();
  MUST(kv_flush(db, &help_err));
  check_time(began_ms, "kv_flush");
  began_ms = now_ms();
  MUST(kv_close(db, &help_err));
  check_time(began_ms, "kv_close");
}

/* --- one stop --------------------------------------------------------------------------------------------- */

static int number_at(kv *db, const char *key) {
  const char *text = help_get(db, key);
  return text[0] == '#' ? atoi(text + 1) : 0;
}

/* All that was acknowledged is there; a commit whose writer was not told yet may be there, too. */
static void check_all(const scene *s, int witness) {
  kv *db = help_open_full(s->path);
  CHECK_INT(number_at(db, "child"), atomic_load(&told->child));
  CHECK_INT(number_at(db, "newcomer"), atomic_load(&told->newcomer));
  CHECK_INT(number_at(db, "witness"), witness);
  CHECK_INT(kv_check(db, &help_err), KV_OK);
  MUST(kv_close(db, &help_err));
  CHECK_INT(left_over(s->path), 0);
}

static void make_log(const scene *s) {
  (void)unlink(s->path);
  kv *db = help_open(s->path, KV_SYNC_OFF, 1, 10);
  MUST(help_commit_put(db, "first", "1"));
  for (int i = 0; i < 10; i++) MUST(help_commit_put(db, "old", "1"));
  MUST(kv_close(db, &help_err));
  atomic_store(&told->child, 0);
  atomic_store(&told->newcomer, 0);
}

static void play(const scene *s, bool at_random) {
  unsigned long failed = unit_failed;
  atomic_int acknowledged = 0;
  kv *witness = NULL;
  make_log(s);
  atomic_store(&told->word, WAIT);
  pid_t newcomer = child_start(be_newcomer, (void *)(uintptr_t)s);
  pid_t child = child_start(live, (void *)(uintptr_t)s);
  if (s->has_witness) {
    kv_options options = impatient(s);
    int rc = kv_open(&options, &witness, NULL, &help_err);
    if (rc != KV_OK) CHECK_INT(rc, KV_EBUSY);
  }
  if (at_random) {
    usleep((unsigned)rand() % 8000u);
    if (kill(child, SIGSTOP) != 0) abort();
  }
  int status = 0;
  if (waitpid(child, &status, WUNTRACED) != child) abort();
  if (WIFSTOPPED(status)) {
    if (witness != NULL) {
      look(witness);
      commit_next(witness, "witness", &acknowledged);
      commit_next(witness, "witness", &acknowledged);
    }
    if (all_newcomers || played % 3 == 0) { /* which takes much longer */
      atomic_store(&told->word, COME);
      CHECK_INT(child_end(newcomer), 0);
      newcomer = 0;
    }
    if (witness != NULL) commit_next(witness, "witness", &acknowledged);
    CHECK_INT(child_go_on(child), 0);
  } else {
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  if (witness != NULL) MUST(kv_close(witness, &help_err));
  atomic_store(&told->word, GO_HOME);
  if (newcomer != 0) CHECK_INT(child_end(newcomer), 0);
  check_all(s, acknowledged);
  if (unit_failed > failed) {
    printf("  synchronous %d, witness %d, stopped %s %lu\n", (int)s->synchronous, s->has_witness,
           at_random ? "at random," : "behind call", s->stop_at);
  }
}

/* --- all of them ------------------------------------------------------------------------------------------ */

static unsigned long length_of(const scene *s) {
  scene whole = *s;
  whole.stop_at = 0;
  make_log(&whole);
  CHECK_INT(child_end(child_start(live, &whole)), 0);
  return atomic_load(&told->calls);
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  alarm(WATCHDOG_S);
  real = os;
  told = shared_memory(sizeof *told);
  static const kv_sync modes[] = {KV_SYNC_FULL, KV_SYNC_NORMAL, KV_SYNC_OFF};
  scene scenes[12];
  unsigned long lengths[12], all = 0, stops = number_of("STOPS", 60);
  for (size_t i = 0; i < 12; i++) {
    scenes[i] = (scene){.path = "stopped.log",
                        .synchronous = modes[i % 3],
                        .has_witness = i % 2 == 1,
                        .checkpoints = i >= 6};
    lengths[i] = length_of(&scenes[i]);
    all += lengths[i];
  }
  unsigned seed = (unsigned)getpid();
  srand(seed);
  if (stops == 0) stops = 1;
  all_newcomers = stops >= 500;
  unsigned long stride = all > stops ? all / stops : 1, next = 1 + (unsigned)rand() % stride;
  for (size_t i = 0; i < 12; i++) {
    for (; next <= lengths[i]; next += stride, played++) {
      scenes[i].stop_at = next;
      play(&scenes[i], false);
    }
    next -= lengths[i];
    for (unsigned long n = 0; n < stops / 24; n++, played++) {
      scenes[i].stop_at = 0;
      play(&scenes[i], true);
    }
  }
  printf("seed %u: %lu stops, %lu calls in all lives\n", seed, played, all);
  return unit_done();
}
