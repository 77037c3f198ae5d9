/*
** test_crash.c - whatever a crash leaves of the disk, opening finds an exact prefix of the commits,
** with all that were acknowledged in it.
**
**     test_crash               a few thousand states, in the tests
**     test_crash checkpoint    only the scenes whose name starts so
**     CRASH_STATES=100000 test_crash     rounds with ever other transactions, until that many
**                                        different states have been opened (make crash)
**
** Each scene runs the engine on a disk that records (crash_disk.h), and notes what has been promised:
** in FULL every commit that has returned, in NORMAL the one 2 * group_size before it, after a flush or
** a checkpoint all, and in FULL whatever another handle can see. Then crash_check.h breaks the disk
** off everywhere.
**
** Checkpoints run under load in two ways: in a thread beside those that commit, and alone, with
** another handle that commits before each write and each flush of the new file.
*/
#include "crash_check.h"
#include "kv_help.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct scene {
  const char *name;
  void (*play)(const struct scene *scene);
  kv_sync synchronous;
  unsigned group_size;
  unsigned event_step, nested_every;
  crash_model model;
  crash_counts counts;
} scene;

static unsigned round_now; /* 0: as it always was */
static size_t first_event; /* to crash at: what lies before it is what the scene begins with */

/* --- playing ------------------------------------------------------------------------------------ */

static void empty(const char *folder) {
  crash_state none = {.kind = CRASH_NONE};
  crash_disk_start();
  crash_disk_stop();
  crash_disk_build(&none);
  crash_disk_write(&none, folder, NULL); /* of an empty disk: only removes */
}

/* How many transactions back the promise of a commit is. */
static unsigned lag_of(kv_sync synchronous, unsigned group_size) {
  if (synchronous == KV_SYNC_FULL) return 0;
  return synchronous == KV_SYNC_OFF ? CRASH_COMMITS_MAX : 2 * group_size;
}

static void promise_after(unsigned n, unsigned lag) {
  if (n > lag) crash_disk_promise(n - lag);
}

static void commit_many(kv *db, unsigned from, unsigned to, unsigned lag) {
  for (unsigned n = from; n <= to; n++) {
    MUST(crash_make(db, n));
    promise_after(n, lag);
    crash_made = n;
  }
}

/* So many more. */
static void commit_more(kv *db, const scene *s, unsigned count) {
  commit_many(db, crash_made + 1, crash_made + count, lag_of(s->synchronous, s->group_size));
}

/* Between so many and half as many again, by the round. */
static unsigned about(unsigned count) {
  return round_now == 0 ? count : count + (round_now * 7 + count) % (count / 2 + 1);
}

static kv *open_live(const scene *s) {
  return help_open("live/log", s->synchronous, s->group_size,
                   s->synchronous == KV_SYNC_FULL ? 2 : 3600000);
}

static void begin(const scene *s) {
  crash_model model = s->model;
  model.seed = round_now;
  empty("live");
  first_event = 0;
  crash_expect(&model, CRASH_COMMITS_MAX);
  crash_disk_start();
}

static void write_file(const char *path, const char *data, size_t size, bool sync_name) {
  int fd = os.open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
  if (fd < 0 || os_write_all(fd, data, size, 0) != 0 || os.fsync(fd) != 0) abort();
  if (sync_name && os_sync_folder(path) != 0) abort();
  os.close(fd);
  first_event = crash_disk_events();
}

static size_t read_file(const char *path, char *data, size_t room) {
  int fd = os.open(path, O_RDONLY, 0);
  ssize_t size = fd >= 0 ? os_read_all(fd, data, room, 0) : -1;
  if (size < 0 || (size_t)size == room) abort();
  os.close(fd);
  return (size_t)size;
}

/* --- others ------------------------------------------------------------------------------------- */

static kv *other;
static unsigned other_lag, other_made, other_most;

/* Commit by another handle, if nobody has the turn. */
static void other_commits(void) {
  unsigned n;
  if (other_made >= other_most || crash_made + 1 >= CRASH_COMMITS_MAX) return;
  int rc = crash_make_next(other, 0, &n);
  if (rc == KV_EBUSY) return;
  CHECK_INT(rc, KV_OK);
  other_made++;
  promise_after(n, other_lag);
}

/* What another handle can see: in FULL it must be there to stay. */
static void other_reads(void) {
  int64_t n = help_number(other, "seq");
  if (n > 0) crash_disk_promise((uint64_t)n);
}

/* Checkpoint; before each write and flush of the new file the other handle commits, so often at
** most. Everything committed before is on stable storage then, in every mode. */
static void checkpoint_under_load(kv *db, const scene *s, unsigned most) {
  unsigned before = crash_made;
  other_made = 0;
  other_most = most;
  other_lag = lag_of(s->synchronous, s->group_size);
  crash_disk_watch("log-kvstore-new", true, other_commits);
  MUST(kv_checkpoint(db, &help_err));
  crash_disk_watch(NULL, false, NULL);
  CHECK(other_made >= most || other_made >= 3);
  crash_disk_promise(before);
  CHECK(help_stats(db).durable_seq >= before);
  crash_disk_promise(help_stats(db).durable_seq);
}

/* --- scenes without checkpoints ------------------------------------------------------------------- */

static void play_commits(const scene *s) {
  kv *db = open_live(s);
  if (s->synchronous == KV_SYNC_FULL) {
    other = open_live(s);
    crash_disk_watch("log", false, other_reads);
  }
  commit_more(db, s, about(s->synchronous == KV_SYNC_OFF ? 10 : 24));
  if (s->synchronous == KV_SYNC_FULL) {
    crash_disk_watch(NULL, false, NULL);
    MUST(kv_close(other, &help_err));
    MUST(kv_close(db, &help_err));
    db = open_live(s);
  } else {
    MUST(kv_flush(db, &help_err));
    crash_disk_promise(crash_made);
  }
  commit_more(db, s, about(12));
  MUST(kv_close(db, &help_err));
  if (s->synchronous == KV_SYNC_NORMAL) crash_disk_promise(crash_made);
}

static pthread_t beside;
static bool is_beside;

static void *beside_main(void *context) {
  unsigned n;
  CHECK_INT(crash_make_next(other, BUSY_MS, &n), KV_OK);
  promise_after(n, other_lag);
  return context;
}

/* It returns only when what is being flushed is visible, so that it takes a thread. */
static void other_commits_beside(void) {
  if (is_beside) return;
  is_beside = pthread_create(&beside, NULL, beside_main, NULL) == 0;
  usleep(1000);
}

/* While a flush is on its way another handle commits, which needs none and is not covered. */
static void play_flush_under_load(const scene *s) {
  kv *db = open_live(s);
  other = help_open("live/log", KV_SYNC_NORMAL, 50, 3600000);
  other_lag = lag_of(KV_SYNC_NORMAL, 50);
  commit_more(db, s, 2);
  for (unsigned i = about(10); i > 0; i--) {
    unsigned n;
    crash_disk_watch("log", false, other_commits_beside);
    MUST(crash_make_next(db, BUSY_MS, &n));
    crash_disk_watch(NULL, false, NULL);
    crash_disk_promise(n);
    if (CHECK(is_beside)) pthread_join(beside, NULL);
    is_beside = false;
    crash_disk_promise(help_stats(db).durable_seq);
  }
  MUST(kv_close(other, &help_err));
  MUST(kv_close(db, &help_err));
}

/* A flush fails, the store is opened again while the machine runs on, and writes on: what has been
** read once must not be taken back when the power fails later. */
static void play_failed_flush(const scene *s) {
  kv *db = help_open("live/log", s->synchronous, 2, 0);
  commit_many(db, 1, 5, 4);
  MUST(kv_flush(db, &help_err));
  crash_disk_promise(5);
  crash_disk_fail_sync(1, true, EIO);
  unsigned n = 6;
  while (n < 60 && crash_make(db, n) == KV_OK) n++;
  CHECK(n <= 6 + 4 + 1);
  CHECK_INT(kv_flush(db, NULL), KV_EIO);
  crash_disk_fail_sync(0, false, 0);
  MUST(kv_close(db, &help_err));
  db = help_open_full("live/log");
  int64_t found = help_number(db, "seq");
  CHECK(found >= 5);
  crash_disk_promise((uint64_t)found); /* it can be read: FULL shows nothing that may go */
  commit_many(db, (unsigned)found + 1, (unsigned)found + 12, 0);
  MUST(kv_close(db, &help_err));
}

/* The same, with commits that come while the flush is on its way: when it fails what they have written
** is clean too. */
static void play_failed_flush_under_load(const scene *s) {
  kv *db = open_live(s);
  other = open_live(s);
  other_lag = lag_of(s->synchronous, s->group_size);
  commit_more(db, s, 3);
  other_made = 0;
  other_most = 2;
  crash_disk_fail_sync(1, false, EIO);
  crash_disk_watch("log", false, other_commits);
  CHECK_INT(kv_flush(db, &help_err), KV_EIO);
  crash_disk_watch(NULL, false, NULL);
  CHECK_INT(other_made, 1);
  MUST(kv_close(other, &help_err));
  MUST(kv_close(db, &help_err));
  db = help_open_full("live/log");
  CHECK_INT(help_number(db, "seq"), 4);
  crash_disk_promise(4);
  commit_many(db, 5, 8, 0);
  MUST(kv_close(db, &help_err));
}

static void play_failed_open(const scene *s) {
  kv *db = open_live(s);
  commit_more(db, s, 6);
  MUST(kv_close(db, &help_err)); /* nothing is flushed */
  crash_disk_fail_sync(1, false, EIO);
  kv_options options = help_options("live/log", KV_SYNC_FULL, 1, 10);
  CHECK_INT(kv_open(&options, &db, NULL, &help_err), KV_EIO);
  db = help_open_full("live/log");
  CHECK_INT(help_number(db, "seq"), 6);
  crash_disk_promise(6);
  commit_many(db, 7, 12, 0);
  MUST(kv_close(db, &help_err));
}

/* A log of the original program is turned into ours by the first commit. */
static void play_conversion(const scene *s) {
  static char log[16384];
  size_t size = 0;
  for (unsigned n = 1; n <= s->model.lines; n++)
    size += crash_original_line(log + size, sizeof log - size, n);
  write_file("live/log", log, size, true);
  crash_disk_promise(s->model.lines);
  crash_made = s->model.lines;
  kv *db = open_live(s);
  commit_more(db, s, 3);
  other = open_live(s);
  checkpoint_under_load(db, s, 3);
  commit_more(db, s, 3);
  MUST(kv_close(other, &help_err));
  MUST(kv_close(db, &help_err));
}

/* The first thing that happens to a log of the original program is a checkpoint. */
static void play_conversion_by_checkpoint(const scene *s) {
  static char log[16384];
  size_t size = 0;
  for (unsigned n = 1; n <= s->model.lines; n++)
    size += crash_original_line(log + size, sizeof log - size, n);
  write_file("live/log", log, size, true);
  crash_disk_promise(s->model.lines);
  crash_made = s->model.lines;
  kv *db = open_live(s);
  MUST(kv_checkpoint(db, &help_err));
  commit_more(db, s, 2);
  MUST(kv_close(db, &help_err));
}

/* A torn tail in which a whole transaction follows one that is not; it is cut off, the same number
** is given again to one of the same size, and the power fails while the cut is not certain. */
static void play_torn(const scene *s) {
  static char log[1 << 18];
  size_t ends[16];
  crash_disk_stop();
  kv *db = help_open("live/log", KV_SYNC_NORMAL, 50, 3600000);
  for (unsigned n = 1; n <= 8; n++) {
    MUST(crash_make(db, n));
    ends[n] = (size_t)help_stats(db).log_bytes;
    if (n == 4) MUST(kv_flush(db, &help_err));
  }
  MUST(kv_close(db, &help_err));
  size_t size = read_file("live/log", log, sizeof log);
  CHECK_INT(size, ends[8]);
  memset(log + ends[4], 0, 3);
  empty("live");
  crash_disk_start();
  write_file("live/log", log, size, true);
  crash_disk_promise(4);
  crash_expect_epoch(5, 60, 'b');
  db = open_live(s);
  CHECK_INT(help_number(db, "seq"), 4);
  commit_many(db, 5, 10, lag_of(s->synchronous, s->group_size));
  MUST(kv_close(db, &help_err));
}

/* The process that made the log was killed between giving it its name and flushing the folder. */
static void play_unsynced_name(const scene *s) {
  static char log[1 << 18];
  crash_disk_stop();
  kv *db = help_open("live/log", KV_SYNC_OFF, 50, 10);
  MUST(crash_make(db, 1));
  MUST(kv_close(db, &help_err));
  size_t size = read_file("live/log", log, sizeof log);
  empty("live");
  crash_disk_start();
  write_file("live/log", log, size, false);
  db = open_live(s);
  crash_disk_promise(1);
  commit_many(db, 2, 6, 0);
  MUST(kv_close(db, &help_err));
}

/* --- scenes with checkpoints ----------------------------------------------------------------------- */

/* Checkpoints under load, one right after another too, and across a closing. */
static void play_checkpoints(const scene *s) {
  kv *db = open_live(s);
  other = open_live(s);
  commit_more(db, s, about(6));
  checkpoint_under_load(db, s, 4);
  commit_more(db, s, about(3));
  checkpoint_under_load(db, s, 2);
  MUST(kv_checkpoint(db, &help_err));
  crash_disk_promise(crash_made);
  commit_more(other, s, 2);
  MUST(kv_close(other, &help_err));
  MUST(kv_close(db, &help_err));
  if (s->synchronous != KV_SYNC_OFF) crash_disk_promise(crash_made);
  db = open_live(s);
  crash_disk_promise(crash_made);
  other = open_live(s);
  commit_more(db, s, 2);
  checkpoint_under_load(db, s, 3);
  commit_more(db, s, about(2));
  MUST(kv_close(other, &help_err));
  MUST(kv_close(db, &help_err));
}

/* Values of many blocks, a snapshot of several parts, and rounds of copying. */
static void play_large(const scene *s) {
  kv *db = open_live(s);
  other = open_live(s);
  commit_more(db, s, 6);
  checkpoint_under_load(db, s, 4);
  commit_more(db, s, 1);
  MUST(kv_close(other, &help_err));
  MUST(kv_close(db, &help_err));
}

/* A transaction has a line besides its COMMIT. */
static void check_first_line(const char *path) {
  static char log[1 << 18];
  size_t size = read_file(path, log, sizeof log - 1);
  log[size] = '\0';
  const char *line = strchr(log, '\n');
  CHECK(line != NULL && strncmp(line, "\nCOMMIT", 7) != 0);
}

/* Of a store that holds nothing: never did, and does not any more. */
static void play_empty(const scene *s) {
  kv *db = open_live(s);
  MUST(kv_checkpoint(db, &help_err));
  MUST(kv_begin(db, 0, &help_err));
  kv_rollback(db);
  MUST(kv_checkpoint(db, &help_err)); /* the file is there, with no transaction */
  other = open_live(s);
  commit_more(db, s, s->model.wipes);
  CHECK_STR(help_all(db), "");
  MUST(kv_checkpoint(db, &help_err));
  crash_disk_promise(crash_made);
  check_first_line("live/log");
  commit_more(db, s, s->model.wipes);
  CHECK_STR(help_all(db), "");
  checkpoint_under_load(db, s, s->model.wipes); /* and holds something meanwhile */
  MUST(kv_checkpoint(db, &help_err));
  MUST(kv_close(other, &help_err));
  MUST(kv_close(db, &help_err));
  db = open_live(s);
  commit_more(db, s, 1);
  MUST(kv_close(db, &help_err));
}

/* Flush `nth` from the beginning of a checkpoint fails: of the new file, or of the folder after the
** rename. Either way nothing is lost, and the store can be written again, in the end. */
static void play_failed_checkpoint(const scene *s) {
  unsigned nth = 0;
  for (int rc = KV_EIO; rc != KV_OK && nth < 9;) {
    kv *db = open_live(s);
    crash_disk_promise(crash_made);
    commit_more(db, s, 2);
    crash_disk_fail_sync(++nth, false, EIO);
    rc = kv_checkpoint(db, &help_err);
    crash_disk_fail_sync(0, false, 0);
    CHECK(rc == KV_OK || rc == KV_EIO);
    if (rc == KV_OK) crash_disk_promise(crash_made);
    int again = crash_make(db, crash_made + 1);
    if (again == KV_OK) {
      promise_after(++crash_made, lag_of(s->synchronous, s->group_size));
    } else {
      CHECK_INT(again, KV_EREADONLY); /* the last step failed */
      CHECK_INT(rc, KV_EIO);
    }
    MUST(kv_close(db, &help_err));
    if (s->synchronous != KV_SYNC_OFF && again == KV_OK) crash_disk_promise(crash_made);
  }
  CHECK(nth >= 4);
}

/* --- with threads ----------------------------------------------------------------------------------- */

typedef struct writer {
  pthread_t id;
  kv_sync synchronous;
  unsigned group_size, commits;
  uint64_t auto_checkpoint;
  kv_error err;
} writer;

static _Atomic unsigned writers_left;

static void *writer_main(void *context) {
  writer *w = context;
  kv_options options = help_options("live/log", w->synchronous, w->group_size, 2);
  options.settings.auto_checkpoint = w->auto_checkpoint;
  kv *db = NULL;
  int rc = kv_open(&options, &db, NULL, &w->err);
  for (unsigned i = 0, n; rc == KV_OK && i < w->commits; i++) {
    rc = crash_make_next(db, BUSY_MS, &n);
    if (rc == KV_OK) promise_after(n, lag_of(w->synchronous, w->group_size));
  }
  if (rc == KV_OK) rc = kv_close(db, &w->err);
  if (rc != KV_OK) printf("  a writer: %d %s\n", rc, w->err.text);
  writers_left--;
  return rc == KV_OK ? w : NULL;
}

static void run_writers(writer *writers, size_t count) {
  writers_left = (unsigned)count;
  for (size_t i = 0; i < count; i++)
    if (pthread_create(&writers[i].id, NULL, writer_main, &writers[i]) != 0) abort();
}

static void join_writers(writer *writers, size_t count) {
  for (size_t i = 0; i < count; i++) {
    void *ended;
    pthread_join(writers[i].id, &ended);
    CHECK(ended != NULL);
  }
}

/* Writers of different modes, and checkpoints as fast as they go. */
static void play_threads(const scene *s) {
  writer writers[] = {
      {.synchronous = s->synchronous, .group_size = s->group_size, .commits = about(12)},
      {.synchronous = s->synchronous, .group_size = s->group_size, .commits = about(12)},
      {.synchronous = KV_SYNC_NORMAL, .group_size = 3, .commits = about(6)}};
  for (size_t i = 0; i < 3; i++) writers[i].auto_checkpoint = KV_NEVER;
  kv *db = open_live(s);
  commit_more(db, s, 2);
  run_writers(writers, 3);
  unsigned checkpoints = 0;
  while (writers_left > 0 || checkpoints == 0) {
    MUST(kv_checkpoint(db, &help_err));
    crash_disk_promise(help_stats(db).durable_seq);
    if (++checkpoints >= 20) break;
    usleep(300);
  }
  join_writers(writers, 3);
  MUST(kv_close(db, &help_err));
}

/* Checkpoints that start by themselves. */
static void play_auto(const scene *s) {
  kv *db = open_live(s);
  kv_settings settings = {.synchronous = s->synchronous,
                          .group_size = s->group_size,
                          .group_timeout_ms = 3600000,
                          .auto_checkpoint = 2500};
  kv_set_settings(db, &settings);
  for (unsigned i = 0; i < 80 && help_stats(db).checkpoints < 2; i++) {
    commit_more(db, s, 1);
    usleep(200);
  }
  CHECK(help_stats(db).checkpoints >= 1);
  MUST(kv_close(db, &help_err));
  if (s->synchronous != KV_SYNC_OFF) crash_disk_promise(crash_made);
}

/* --- all of them ------------------------------------------------------------------------------------ */

static scene scenes[] = {
    {.name = "commits", .play = play_commits, .synchronous = KV_SYNC_FULL, .group_size = 1},
    {.name = "commits", .play = play_commits, .synchronous = KV_SYNC_NORMAL, .group_size = 3},
    {.name = "commits", .play = play_commits, .synchronous = KV_SYNC_OFF, .group_size = 50},
    {.name = "flush under load",
     .play = play_flush_under_load,
     .synchronous = KV_SYNC_FULL,
     .group_size = 1},
    {.name = "failed flush", .play = play_failed_flush, .synchronous = KV_SYNC_FULL},
    {.name = "failed flush", .play = play_failed_flush, .synchronous = KV_SYNC_NORMAL},
    {.name = "failed flush under load",
     .play = play_failed_flush_under_load,
     .synchronous = KV_SYNC_OFF,
     .group_size = 1},
    {.name = "failed opening",
     .play = play_failed_open,
     .synchronous = KV_SYNC_OFF,
     .group_size = 1},
    {.name = "torn tail", .play = play_torn, .synchronous = KV_SYNC_FULL, .group_size = 1},
    {.name = "torn tail", .play = play_torn, .synchronous = KV_SYNC_OFF, .group_size = 3},
    {.name = "name not flushed",
     .play = play_unsynced_name,
     .group_size = 1,
     .synchronous = KV_SYNC_FULL},
    {.name = "conversion",
     .play = play_conversion,
     .synchronous = KV_SYNC_FULL,
     .group_size = 1,
     .model = {.lines = 3}},
    {.name = "conversion",
     .play = play_conversion,
     .synchronous = KV_SYNC_NORMAL,
     .group_size = 3,
     .model = {.lines = 3}},
    {.name = "conversion only",
     .play = play_conversion_by_checkpoint,
     .synchronous = KV_SYNC_OFF,
     .group_size = 3,
     .model = {.lines = 3}},
    {.name = "checkpoint", .play = play_checkpoints, .synchronous = KV_SYNC_FULL, .group_size = 1},
    {.name = "checkpoint",
     .play = play_checkpoints,
     .synchronous = KV_SYNC_NORMAL,
     .group_size = 3},
    {.name = "checkpoint", .play = play_checkpoints, .synchronous = KV_SYNC_OFF, .group_size = 3},
    {.name = "checkpoint of large",
     .play = play_large,
     .synchronous = KV_SYNC_FULL,
     .group_size = 1,
     .event_step = 3,
     .model = {.large_size = 70000}},
    {.name = "checkpoint of nothing",
     .play = play_empty,
     .synchronous = KV_SYNC_FULL,
     .group_size = 1,
     .model = {.wipes = 4}},
    {.name = "checkpoint of nothing",
     .play = play_empty,
     .synchronous = KV_SYNC_NORMAL,
     .group_size = 2,
     .model = {.wipes = 4}},
    {.name = "checkpoint fails",
     .play = play_failed_checkpoint,
     .synchronous = KV_SYNC_FULL,
     .group_size = 1},
    {.name = "checkpoint fails",
     .play = play_failed_checkpoint,
     .synchronous = KV_SYNC_NORMAL,
     .group_size = 50}, /* nobody else flushes */
    {.name = "threads",
     .play = play_threads,
     .synchronous = KV_SYNC_FULL,
     .group_size = 2,
     .event_step = 3},
    {.name = "threads",
     .play = play_threads,
     .synchronous = KV_SYNC_NORMAL,
     .group_size = 4,
     .event_step = 3},
    {.name = "automatic", .play = play_auto, .synchronous = KV_SYNC_FULL, .group_size = 1},
    {.name = "automatic", .play = play_auto, .synchronous = KV_SYNC_NORMAL, .group_size = 3},
    {.name = "automatic", .play = play_auto, .synchronous = KV_SYNC_OFF, .group_size = 3},
};

enum { SCENES = sizeof scenes / sizeof scenes[0] };

static int nothing(int fd) {
  (void)fd;
  return 0;
}

static bool run_scene(scene *s, const crash_effort *effort) {
  crash_effort own = *effort;
  if (s->event_step > 0) own.event_step = s->event_step;
  if (s->model.large_size > 0) own.nested_every *= 4;
  begin(s);
  s->play(s);
  crash_disk_stop();
  os_table real = os;
  os.fsync = os.fdatasync = nothing;
  unsigned long before = s->counts.distinct;
  bool good = unit_failed == 0 &&
              CHECK(crash_everywhere(s->name, first_event, CRASH_COMMITS_MAX, &own, &s->counts));
  if (good) unit_passed += s->counts.distinct - before; /* crash_check.c has counters of its own */
  os = real;
  return good;
}

static void report(const char *only) {
  static const char *const modes[] = {"OFF", "NORMAL", "FULL"};
  crash_counts all = {0};
  printf("%-22s %-6s %8s %9s %7s %6s %7s %6s\n", "scene", "mode", "events", "states", "again",
         "torn", "drafts", "more");
  for (size_t i = 0; i < SCENES; i++) {
    const crash_counts *c = &scenes[i].counts;
    if (strncmp(scenes[i].name, only, strlen(only)) != 0) continue;
    printf("%-22s %-6s %8zu %9lu %7lu %6lu %7lu %6lu\n", scenes[i].name,
           modes[scenes[i].synchronous], c->events, c->distinct, c->again, c->cut, c->drafts,
           c->more);
    all.events += c->events, all.distinct += c->distinct, all.again += c->again;
    all.cut += c->cut, all.drafts += c->drafts, all.more += c->more, all.states += c->states;
  }
  printf("%-22s %-6s %8zu %9lu %7lu %6lu %7lu %6lu\n", "all", "", all.events, all.distinct,
         all.again, all.cut, all.drafts, all.more);
  printf("%lu disk states opened, all different within a scene, of %lu built, in %u rounds\n",
         all.distinct, all.states, round_now);
}

static unsigned long distinct_states(void) {
  unsigned long count = 0;
  for (size_t i = 0; i < SCENES; i++) count += scenes[i].counts.distinct;
  return count;
}

int main(int argc, char **argv) {
  const char *only = argc > 1 ? argv[1] : "", *wanted = getenv("CRASH_STATES");
  unsigned long states = wanted != NULL ? strtoul(wanted, NULL, 10) : 0;
  crash_effort quick = {.sectors = 6, .random = 3, .event_step = 1, .nested_every = 60};
  crash_effort deep = {.sectors = 24, .random = 12, .event_step = 1, .nested_every = 30};
  if (mkdir("live", 0755) != 0 || mkdir("crash", 0755) != 0 || mkdir("again", 0755) != 0) return 1;
  setvbuf(stdout, NULL, _IOLBF, 0);
  bool good = true;
  do {
    for (size_t i = 0; good && i < SCENES; i++) {
      if (strncmp(scenes[i].name, only, strlen(only)) != 0) continue;
      good = run_scene(&scenes[i], states > 0 ? &deep : &quick);
    }
    round_now++;
    if (states > 0) printf("round %u: %lu states\n", round_now, distinct_states());
  } while (good && distinct_states() < states);
  report(only);
  if (only[0] == '\0') CHECK(distinct_states() >= 5000);
  return unit_done();
}
