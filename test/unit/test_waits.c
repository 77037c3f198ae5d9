/*
** test_waits.c - what ends a wait: a deadline, an interrupt, the patience with a process that does not
** go on; and what may then be believed of what that process was doing.
*/
#include "process_help.h"
#include "share.h"

#include <errno.h>

#define WATCHDOG_S 120
#define SOON_MS 5000u /* far less than the timeouts here, which are a minute and more */

static os_table real;
static atomic_int *ready;

static void make_log(const char *path) {
  kv *db = help_open_full(path);
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_close(db, &help_err));
}

/* --- locks between processes ------------------------------------------------------------------------------ */

static share members[3];

static void join_all(const char *path) {
  bool alone;
  make_log(path);
  for (int i = 0; i < 3; i++) {
    MUST(share_join(&members[i], path, 0, &alone, &help_err));
    if (alone) share_ready(&members[i]);
    share_joined(&members[i]);
  }
}

static void leave_all(void) {
  for (int i = 0; i < 3; i++) share_leave(&members[i]);
}

/* Let the first have the lock, with the second as its heir, and pass it on. */
static void reserve(share_lock *lock) {
  bool inherited;
  CHECK(share_lock_take(&members[0], lock, 0, &inherited));
  atomic_store(&lock->word, (uint64_t)members[1].member << 32 | members[0].member);
  share_lock_pass(&members[0], lock);
  CHECK(atomic_load(&lock->word) == (uint64_t)members[1].member << 32);
}

/* An heir that takes it in time has it; one that does not is passed over, and has to ask again. */
static void test_idle_heir(void) {
  bool inherited;
  join_all("heir");
  share_lock *turn = &members[0].page->turn;
  reserve(turn);
  CHECK(share_lock_take(&members[1], turn, 0, &inherited) && !inherited);
  CHECK(!share_lock_take(&members[2], turn, 0, &inherited));
  share_lock_pass(&members[1], turn);
  CHECK_INT(atomic_load(&turn->word), 0);
  reserve(turn);
  atomic_store(&turn->reserved_ns,
               os.now_ns() + 1000000000u); /* of a container with its own clock */
  CHECK(share_lock_take(&members[2], turn, 0, &inherited) && !inherited);
  share_lock_pass(&members[2], turn);
  reserve(turn);
  CHECK(share_lock_take(&members[2], turn, os.now_ns() + 10000000000u, &inherited) && !inherited);
  CHECK_INT(atomic_load(&turn->word), members[2].member);
  share_lock_pass(&members[2], turn);
  CHECK_INT(atomic_load(&turn->word), 0);
  reserve(turn);
  share_leave(&members[1]); /* a dead one is not waited for */
  CHECK(share_lock_take(&members[0], turn, 0, &inherited) && !inherited);
  share_lock_pass(&members[0], turn);
  share_leave(&members[0]);
  share_leave(&members[2]);
}

/* The flush lock is taken from an owner that keeps it for too long, who learns of it when it passes it
** on; not from one behind the other. */
static void test_stalled_flush(void) {
  bool orphaned;
  share_watch watch = {.since_ns = 0};
  join_all("stalled");
  share_lock *flush = &members[0].page->flush;
  CHECK(share_lock_take(&members[0], flush, 0, &orphaned));
  for (int i = 0; i < 60; i++) { /* 600 ms */
    atomic_fetch_add(&flush->wake, 1);
    CHECK(!share_lock_try(&members[1], flush, &watch, &orphaned));
    if (i % 2 == 1) usleep(10000);
  }
  unsigned began_ms = now_ms();
  while (!share_lock_try(&members[1], flush, &watch, &orphaned)) CHECK(!orphaned);
  CHECK(orphaned);
  CHECK(now_ms() - began_ms < SOON_MS);
  share_lock_pass(&members[0], flush);
  CHECK_INT(atomic_load(&flush->word), members[1].member);
  share_lock_pass(&members[1], flush);
  CHECK_INT(atomic_load(&flush->word), 0);
  CHECK(share_lock_try(&members[2], flush, &watch, &orphaned) && !orphaned);
  share_lock_pass(&members[2], flush);
  leave_all();
}

/* How far the file was flushed is known of one file only. */
static void test_synced(void) {
  join_all("synced");
  share_page *page = members[0].page;
  share_file file = {.end = 100, .size = 100};
  share_write_file(page, &file);
  uint64_t generation = atomic_load(&page->generation);
  CHECK_INT(share_synced_end(page, generation), 100);
  share_raise_synced(page, generation, 300);
  share_raise_synced(page, generation, 200);
  CHECK_INT(share_synced_end(page, generation), 300);
  share_write_file(page, &file);
  share_raise_synced(page, generation, 400); /* by one who was stopped since */
  share_raise_synced(page, generation + 2, 400);
  CHECK_INT(share_synced_end(page, generation), 0);
  CHECK_INT(share_synced_end(page, generation + 1), 100);
  leave_all();
}

/* --- a flush that was not ended ---------------------------------------------------------------------------- */

static int fail_and_stop(int fd) {
  (void)fd;
  raise(SIGSTOP); /* the kernel has told the error, and will not tell it again */
  errno = EIO;
  return -1;
}

static void be_unlucky(void *context) {
  kv *db = help_open_full(context);
  os.fdatasync = fail_and_stop;
  CHECK_INT(help_commit_put(db, "saved", "1"), KV_OK); /* by another's flush */
  CHECK_INT(help_commit_put(db, "lost", "1"), KV_EREADONLY);
  (void)kv_close(db, NULL);
}

static uint64_t rewritten_from, rewritten_to;

static ssize_t watch_pwrite(int fd, const void *data, size_t size, off_t offset) {
  if ((uint64_t)offset < rewritten_from) rewritten_from = (uint64_t)offset;
  if ((uint64_t)offset + size > rewritten_to) rewritten_to = (uint64_t)offset + size;
  return real.pwrite(fd, data, size, offset);
}

/* Whoever takes a flush over may have come after the error: it writes anew what that flush was about. And
** the error, once it is told, ends writing for all. */
static void test_failed_flush_untold(void) {
  make_log("untold");
  kv *first = help_open_full("untold");
  uint64_t end = help_stats(first).log_bytes;
  MUST(kv_close(first, &help_err));
  pid_t child = child_start(be_unlucky, (void *)(uintptr_t) "untold");
  if (!CHECK(child_stopped(child))) return;
  kv *db = help_open_full("untold");
  CHECK_STR(help_get(db, "saved"), "-");
  rewritten_from = UINT64_MAX;
  os.pwrite = watch_pwrite;
  MUST(help_commit_put(db, "b", "2"));
  os.pwrite = real.pwrite;
  CHECK_INT(rewritten_from, end);
  CHECK(rewritten_to >= help_stats(db).log_bytes);
  CHECK_INT(child_go_on(child), 0);
  CHECK_STR(help_get(db, "saved"), "1");
  CHECK_INT(help_commit_put(db, "c", "3"), KV_EREADONLY);
  (void)kv_close(db, NULL);
}

/* --- a flush by another process -------------------------------------------------------------------------- */

static void be_flusher(void *context) {
  kv *db = help_open_full(context);
  atomic_store(ready, 1);
  await(ready, 2);
  MUST(kv_flush(db, &help_err));
  MUST(kv_close(db, &help_err));
}

/* What was handed over here and flushed there is published, however it is asked for. */
static void test_covered(int how) {
  make_log("covered");
  atomic_store(ready, 0);
  pid_t child = child_start(be_flusher, (void *)(uintptr_t) "covered");
  await(ready, 1);
  kv *db = help_open_full("covered");
  MUST(kv_begin(db, BUSY_MS, &help_err));
  MUST(help_put(db, "b", "2"));
  MUST(kv_commit(db, KV_NO_WAIT, &help_err));
  CHECK_INT(kv_published_seq(db) + 1, kv_handed_seq(db));
  atomic_store(ready, 2);
  CHECK_INT(child_end(child), 0);
  if (how == 0) MUST(kv_flush(db, &help_err));
  if (how == 1) MUST(kv_flush_unless_busy(db, &help_err));
  CHECK_INT(kv_published_seq(db), kv_handed_seq(db));
  CHECK_INT(help_stats(db).flushes, 0);
  MUST(kv_close(db, &help_err));
}

/* --- interrupts and timeouts ------------------------------------------------------------------------------ */

static unsigned asked, interrupts_at, timeout_is_ms;

static bool is_interrupted(void *context) {
  (void)context;
  return ++asked >= interrupts_at;
}

static unsigned timeout_ms(void *context) {
  (void)context;
  return timeout_is_ms;
}

static const kv_waiting waiting = {.timeout_ms = timeout_ms, .is_interrupted = is_interrupted};

static void be_joining(void *context) {
  share s = {.fd = -1};
  bool alone;
  MUST(share_join(&s, context, 0, &alone, &help_err));
  raise(SIGSTOP);
  if (alone) share_ready(&s);
  share_joined(&s);
  share_leave(&s);
}

/* Beside a process that has stopped while it joined, an interrupt ends the opening, and so does a
** timeout; a thread that waits for the first one's opening has its own. */
static void test_opening(void) {
  make_log("opening");
  kv_options options = {.path = "opening", .waiting = waiting};
  kv *db = NULL;
  pid_t child = child_start(be_joining, (void *)(uintptr_t) "opening");
  if (!CHECK(child_stopped(child))) return;
  unsigned began_ms = now_ms();
  asked = 0, interrupts_at = 3, timeout_is_ms = 600000;
  CHECK_INT(kv_open(&options, &db, NULL, &help_err), KV_EINTERRUPTED);
  asked = 0, interrupts_at = UINT32_MAX, timeout_is_ms = 10;
  CHECK_INT(kv_open(&options, &db, NULL, &help_err), KV_EBUSY);
  CHECK(strstr(help_err.text, "opening-shm' is locked") != NULL);
  CHECK(now_ms() - began_ms < SOON_MS);
  CHECK_INT(child_go_on(child), 0);
  MUST(kv_open(&options, &db, NULL, &help_err));
  CHECK_STR(help_get(db, "a"), "1");
  MUST(kv_close(db, &help_err));
}

/* Waits for the turn, which another handle has, or another process. */
static void check_turn(kv *db) {
  unsigned began_ms = now_ms();
  asked = 0, interrupts_at = 3, timeout_is_ms = 600000;
  CHECK_INT(kv_begin(db, 600000, &help_err), KV_EINTERRUPTED);
  asked = 0;
  CHECK_INT(kv_checkpoint(db, &help_err), KV_EINTERRUPTED);
  asked = 0, interrupts_at = UINT32_MAX, timeout_is_ms = 10;
  CHECK_INT(kv_begin(db, 10, &help_err), KV_EBUSY);
  CHECK_INT(kv_begin_now(db, &help_err), KV_EBUSY);
  CHECK_INT(kv_take_turn(db, 10, &help_err), KV_EBUSY);
  CHECK_INT(kv_checkpoint(db, &help_err), KV_EBUSY);
  CHECK(now_ms() - began_ms < SOON_MS);
}

static void be_holder(void *context) {
  kv *db = help_open_full(context);
  MUST(kv_begin(db, BUSY_MS, &help_err));
  raise(SIGSTOP);
  kv_rollback(db);
  MUST(kv_close(db, &help_err));
}

static void test_turn(void) {
  make_log("turn");
  kv_options options = {.path = "turn", .waiting = waiting};
  kv *db = NULL, *other = help_open_full("turn");
  interrupts_at = UINT32_MAX;
  MUST(kv_open(&options, &db, NULL, &help_err));
  MUST(kv_begin(other, BUSY_MS, &help_err));
  check_turn(db);
  kv_rollback(other);
  MUST(kv_close(other, &help_err));
  pid_t child = child_start(be_holder, (void *)(uintptr_t) "turn");
  if (!CHECK(child_stopped(child))) return;
  check_turn(db);
  CHECK_STR(help_get(db, "a"), "1");
  CHECK_INT(child_go_on(child), 0);
  MUST(kv_take_turn(db, BUSY_MS, &help_err));
  MUST(kv_begin_now(db, &help_err));
  kv_rollback(db);
  MUST(help_commit_put(db, "a", "2"));
  MUST(kv_close(db, &help_err));
}

/* A commit that was to be taken back, while another process has the turn and does not go on, stands. */
static void test_undo(void) {
  make_log("undo");
  kv_options options = {.path = "undo", .waiting = waiting};
  kv *db = NULL;
  interrupts_at = UINT32_MAX, timeout_is_ms = 10;
  MUST(kv_open(&options, &db, NULL, &help_err));
  MUST(kv_begin(db, BUSY_MS, &help_err));
  MUST(help_put(db, "a", "2"));
  MUST(kv_commit(db, KV_UNDOABLE, &help_err));
  pid_t child = child_start(be_holder, (void *)(uintptr_t) "undo");
  if (!CHECK(child_stopped(child))) return;
  unsigned began_ms = now_ms();
  CHECK_INT(kv_undo(db, &help_err), KV_EBUSY);
  CHECK(now_ms() - began_ms < SOON_MS);
  CHECK_STR(help_get(db, "a"), "2");
  CHECK_INT(child_go_on(child), 0);
  MUST(help_commit_put(db, "b", "3"));
  MUST(kv_close(db, &help_err));
}

/* An interrupt makes a commit that waits for its group flush at once; it does not fail. */
static void test_group(void) {
  make_log("group");
  kv_options options = {.path = "group",
                        .waiting = waiting,
                        .settings = {.synchronous = KV_SYNC_FULL,
                                     .group_size = 50,
                                     .group_timeout_ms = KV_GROUP_TIMEOUT_MS_MAX}};
  kv *db = NULL;
  interrupts_at = UINT32_MAX;
  MUST(kv_open(&options, &db, NULL, &help_err));
  asked = 0, interrupts_at = 3;
  unsigned began_ms = now_ms();
  MUST(help_commit_put(db, "a", "2"));
  CHECK(now_ms() - began_ms < SOON_MS);
  interrupts_at = UINT32_MAX;
  CHECK_STR(help_get(db, "a"), "2");
  MUST(kv_close(db, &help_err));
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  alarm(WATCHDOG_S);
  real = os;
  ready = shared_memory(sizeof *ready);
  test_idle_heir();
  test_stalled_flush();
  test_synced();
  test_failed_flush_untold();
  for (int how = 0; how < 3; how++) test_covered(how);
  test_opening();
  test_turn();
  test_undo();
  test_group();
  return unit_done();
}
