/*
** test_commit.c - the commit queue by itself, on a page of the test's own: what it does about a page
** that others have left in any state, about a log that has become another file, and where a thread
** cannot be started.
**
** What other processes do is done to the page and the files by hand, between two steps of the queue or
** in the middle of its flush.
*/
#include "commit.h"
#include "fault_table.h"
#include "process_help.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#define NOW 0u
#define LATER 3600000u /* ms: nobody is so patient */
#define WATCHDOG_S 20

static tree versions;
static share shared;
static commit_queue queue;
static share_page page; /* aligned as a mapping is, as far as it matters here */

static bool says(const char *what) {
  bool does = strstr(help_err.text, what) != NULL;
  if (!does) printf("  it says: %s\n", help_err.text);
  return does;
}

/* --- a log, a page and a queue ----------------------------------------------------------------------- */

/* A new log file of that name, opened for appending. */
static log_writer make_file(const char *path) {
  log_draft draft;
  log_writer writer;
  MUST(log_draft_begin(&draft, path, 0, 0, &help_err));
  int old = open(path, O_RDONLY | O_CLOEXEC);
  share_announce(&page, draft.writer.header.id, log_draft_inode(&draft));
  MUST(log_draft_finish(&draft, old, &writer, &help_err));
  if (old >= 0) close(old);
  return writer;
}

static share_file file_of(const log_writer *writer) {
  share_file file = {.end = writer->end, .size = writer->size};
  memcpy(file.id, writer->header.id, sizeof writer->header.id);
  return file;
}

/* Another file takes the log's place, and the page tells; or not yet. */
static void replace_log(bool tells) {
  log_writer writer = make_file("log");
  share_file file = file_of(&writer);
  if (tells) share_write_file(&page, &file);
  os_close_locked(writer.fd);
}

static void start(void) {
  memset(&page, 0, sizeof page);
  shared = (share){.fd = -1, .page = &page, .member = 1};
  MUST(tree_init(&versions));
  commit_queue_init(&queue, &versions, &shared);
  log_writer writer = make_file("log");
  share_file file = file_of(&writer);
  share_write_file(&page, &file);
  commit_queue_attach(&queue, &writer, atomic_load(&page.generation));
  MUST(commit_resume(&queue, &help_err));
}

/* `rc` is what closing shall say. */
static void stop(int rc) {
  commit_suspend(&queue);
  CHECK_INT(commit_queue_close(&queue, false, &help_err), rc);
  tree_destroy(&versions);
  if (unlink("log") != 0) abort();
}

/* Hand over a transaction that puts a number. */
static int hand_over(commit_ticket *ticket, kv_sync synchronous, unsigned group_size,
                     unsigned timeout_ms, int number) {
  commit_settings settings = {
      .synchronous = synchronous, .group_size = group_size, .group_timeout_ms = timeout_ms};
  kv_value value = {.type = KV_INTEGER, .integer = number};
  buf ops = {0};
  MUST(tree_edit_begin(&versions));
  MUST(tree_put(&versions, "n", 1, &value, NULL));
  MUST(log_format_write(&ops, "n", 1, &value));
  int rc = commit_hand_over(&queue, &ops, &settings, ticket, &help_err);
  if (rc != KV_OK) tree_edit_rollback(&versions);
  buf_free(&ops);
  return rc;
}

/* The number that everybody sees; 0: none. */
static int visible(void) {
  const tree_leaf *leaf = tree_find(atomic_load(&versions.published)->top, "n", 1);
  kv_value value = {.integer = 0};
  if (leaf != NULL) tree_leaf_value(leaf, &value);
  return (int)value.integer;
}

/* --- what others have left ---------------------------------------------------------------------------- */

/* Another process has flushed what is written here, and died before it could say that it is visible:
** the commit is done, without a flush of its own. */
static void test_durable_and_not_told(void) {
  commit_ticket tickets[2];
  start();
  for (int i = 0; i < 2; i++) MUST(hand_over(&tickets[i], KV_SYNC_FULL, 3, LATER, 1 + i));
  commit_suspend(&queue);
  CHECK_INT(visible(), 0);
  atomic_store(&page.durable_seq, 2);
  commit_show(&queue);
  CHECK_INT(visible(), 2);
  CHECK_INT(atomic_load(&page.published_seq), 2);
  for (int i = 0; i < 2; i++) CHECK_INT(commit_wait(&queue, &tickets[i], &help_err), KV_OK);
  CHECK_INT(queue.stats.flushes, 0);
  MUST(commit_resume(&queue, &help_err));
  stop(KV_OK);
}

/* Another process could not flush: nothing is committed here either, from then on, and what waits
** learns it. */
static void test_broken_by_another(void) {
  static const char why[] = "another process could not write or flush the log; the store is "
                            "read-only until it is reopened";
  commit_ticket ticket;
  start();
  MUST(hand_over(&ticket, KV_SYNC_FULL, 2, LATER, 1));
  commit_suspend(&queue);
  atomic_store(&page.broken, 1);
  CHECK_INT(commit_wait(&queue, &ticket, &help_err), KV_EIO);
  CHECK(says(why));
  CHECK_INT(commit_resume(&queue, &help_err), KV_EIO);
  CHECK_INT(commit_flush(&queue, &help_err), KV_EIO);
  CHECK(says(why));
  CHECK_INT(hand_over(&ticket, KV_SYNC_OFF, 1, NOW, 2), KV_EIO);
  commit_break(&queue, KV_EFULL, "something else"); /* the first reason counts */
  CHECK_INT(commit_failure(&queue, &help_err), KV_EIO);
  CHECK(says(why));
  CHECK_INT(visible(), 0);
  stop(KV_OK);
}

/* Another process is flushing, cannot, and passes the right to flush on: it is not tried again, for the
** kernel may have marked clean what never reached the disk. */
static void (*real_wait)(_Atomic uint32_t *word, uint32_t expected, uint64_t ns);

static void fail_and_pass(_Atomic uint32_t *word, uint32_t expected, uint64_t ns) {
  os.wait = real_wait;
  atomic_store(&page.broken, 1);
  atomic_store(&page.flush.word, 0);
  atomic_fetch_add(&page.flush.wake, 1);
  real_wait(word, expected, ns);
}

static void test_failed_in_flight(void) {
  commit_ticket ticket;
  start();
  MUST(hand_over(&ticket, KV_SYNC_FULL, 1, NOW, 1));
  atomic_store(&page.flush.word, 2);
  real_wait = os.wait;
  os.wait = fail_and_pass;
  fail_call(CALL_FDATASYNC, 1, false, EIO);
  CHECK_INT(commit_wait(&queue, &ticket, &help_err), KV_EIO);
  CHECK_INT(fault.failed, 0);
  fail_nothing();
  CHECK(says("another process could not"));
  CHECK_INT(atomic_load(&page.flush.word), 0);
  CHECK_INT(visible(), 0);
  stop(KV_OK);
}

/* --- the log has become another file ------------------------------------------------------------------- */

/* Who has got the turn goes on in the new one; not in one that the page does not speak of. */
static void test_resuming_in_another_file(void) {
  commit_ticket ticket;
  start();
  commit_suspend(&queue);
  replace_log(true);
  replace_log(false);
  CHECK_INT(commit_resume(&queue, &help_err), KV_EBUSY);
  CHECK(says("'log' is not the log any more that was opened"));
  fail_call(CALL_OPEN, 1, false, EMFILE);
  CHECK_INT(commit_resume(&queue, &help_err), KV_ECANTOPEN);
  fail_nothing();
  replace_log(true);
  CHECK_INT(commit_resume(&queue, &help_err), KV_OK);
  MUST(hand_over(&ticket, KV_SYNC_FULL, 1, NOW, 1));
  CHECK_INT(commit_wait(&queue, &ticket, &help_err), KV_OK);
  size_t size;
  char *bytes = bytes_of("log", &size);
  bytes[size] = '\0';
  CHECK(strstr(bytes, "WRITE\tn\t1") != NULL);
  free(bytes);
  stop(KV_OK);
}

/* A commit waits for a flush, the page speaks of another file, and the one of that name is a third:
** whoever put it there has not told, but it has all that was written, on stable storage, but perhaps
** for its name. */
static void start_untold(commit_ticket *ticket) {
  start();
  MUST(hand_over(ticket, KV_SYNC_FULL, 1, NOW, 1));
  commit_suspend(&queue);
  replace_log(true);
  replace_log(false);
}

static int syncs;

static int counted_fsync(int fd) {
  syncs++;
  return fault.real.fsync(fd);
}

static void test_untold_file(void) {
  commit_ticket ticket;
  start_untold(&ticket);
  syncs = 0;
  os.fsync = counted_fsync;
  CHECK_INT(commit_wait(&queue, &ticket, &help_err), KV_OK);
  os.fsync = fault.real.fsync;
  CHECK_INT(syncs, 1); /* of the folder */
  CHECK_INT(atomic_load(&page.durable_seq), 1);
  CHECK_INT(visible(), 1);
  stop(KV_OK);
}

static void test_untold_file_not_synced(void) {
  commit_ticket ticket;
  start_untold(&ticket);
  fail_call(CALL_OPEN, 3, false, EIO); /* the first two are those of the log */
  CHECK_INT(commit_wait(&queue, &ticket, &help_err), KV_EIO);
  fail_nothing();
  CHECK(says("fsync of the folder of 'log'"));
  CHECK_INT(visible(), 0);
  CHECK_INT(atomic_load(&page.broken), 1);
  stop(KV_OK);
}

static void test_untold_file_not_opened(void) {
  commit_ticket ticket;
  start_untold(&ticket);
  fail_call(CALL_OPEN, 1, false, EMFILE);
  CHECK_INT(commit_wait(&queue, &ticket, &help_err), KV_ECANTOPEN);
  fail_nothing();
  CHECK_INT(visible(), 0);
  stop(KV_OK);
}

/* It is told while the folder is being flushed: then the file itself is flushed, for somebody may have
** appended to it since. */
static int tell_and_fsync(int fd) {
  os.fsync = fault.real.fsync;
  replace_log(true);
  return fault.real.fsync(fd);
}

static void test_told_meanwhile(void) {
  commit_ticket ticket;
  start_untold(&ticket);
  os.fsync = tell_and_fsync;
  CHECK_INT(commit_wait(&queue, &ticket, &help_err), KV_OK);
  CHECK_INT(queue.stats.flushes, 1);
  CHECK_INT(queue.generation, atomic_load(&page.generation));
  CHECK_INT(visible(), 1);
  stop(KV_OK);
}

/* A checkpoint puts a new file in the log's place while a flush of the old one is in flight: that one is
** closed when the flush is done with it. */
static int old_fd;

static int replace_and_fdatasync(int fd) {
  log_writer writer = make_file("log");
  share_file file = file_of(&writer);
  os.fdatasync = fault.real.fdatasync;
  old_fd = fd;
  commit_switch(&queue, &writer, &file);
  CHECK_INT(visible(), 1); /* the new one has it on stable storage */
  CHECK(fcntl(fd, F_GETFD) >= 0);
  return fault.real.fdatasync(fd);
}

static void test_replaced_in_flight(void) {
  commit_ticket ticket;
  start();
  MUST(hand_over(&ticket, KV_SYNC_FULL, 1, NOW, 1));
  os.fdatasync = replace_and_fdatasync;
  CHECK_INT(commit_wait(&queue, &ticket, &help_err), KV_OK);
  CHECK(fcntl(old_fd, F_GETFD) < 0 && errno == EBADF);
  CHECK(queue.log.fd != old_fd);
  MUST(hand_over(&ticket, KV_SYNC_FULL, 1, NOW, 2));
  CHECK_INT(commit_wait(&queue, &ticket, &help_err), KV_OK);
  CHECK_INT(visible(), 2);
  stop(KV_OK);
}

/* --- a flush that does not cover who waits for it --------------------------------------------------------- */

static commit_ticket patient, behind_it;
static pthread_t waiting;

static void *wait_behind(void *context) {
  kv_error err;
  (void)context;
  CHECK_INT(commit_wait(&queue, &behind_it, &err), KV_OK);
  return NULL;
}

/* While a flush is in flight, a FULL commit that has all the time in the world and an OFF one behind it
** begin to wait. */
static int let_wait_and_fdatasync(int fd) {
  os.fdatasync = fault.real.fdatasync;
  MUST(hand_over(&patient, KV_SYNC_FULL, 100, LATER, 2));
  MUST(hand_over(&behind_it, KV_SYNC_OFF, 1, LATER, 3));
  if (pthread_create(&waiting, NULL, wait_behind, NULL) != 0) abort();
  usleep(20000); /* it sleeps now, or will not have to */
  return fault.real.fdatasync(fd);
}

/* The next flush has nobody else to lead it: the OFF commit does, when it has waited a while. */
static void test_not_covered(void) {
  commit_ticket ticket;
  start();
  MUST(hand_over(&ticket, KV_SYNC_FULL, 1, NOW, 1));
  os.fdatasync = let_wait_and_fdatasync;
  alarm(WATCHDOG_S);
  CHECK_INT(commit_wait(&queue, &ticket, &help_err), KV_OK);
  if (pthread_join(waiting, NULL) != 0) abort();
  CHECK_INT(commit_wait(&queue, &patient, &help_err), KV_OK);
  alarm(0);
  CHECK_INT(queue.stats.flushes, 2);
  CHECK_INT(visible(), 3);
  stop(KV_OK);
}

/* --- flushing what can be flushed at once ----------------------------------------------------------------- */

static int flush_and_fdatasync(int fd) {
  os.fdatasync = fault.real.fdatasync;
  CHECK_INT(commit_flush_unless_busy(&queue, &help_err), KV_EBUSY);
  CHECK(says("another flush is under way"));
  return fault.real.fdatasync(fd);
}

static void test_flush_unless_busy(void) {
  commit_ticket tickets[2];
  start();
  CHECK_INT(commit_flush_unless_busy(&queue, &help_err), KV_OK);
  CHECK_INT(queue.stats.flushes, 0);
  MUST(hand_over(&tickets[0], KV_SYNC_FULL, 1, NOW, 1));
  CHECK_INT(commit_flush_unless_busy(&queue, &help_err), KV_OK);
  CHECK_INT(queue.stats.flushes, 1);
  CHECK_INT(visible(), 1);
  CHECK_INT(commit_wait(&queue, &tickets[0], &help_err), KV_OK);
  MUST(hand_over(&tickets[1], KV_SYNC_FULL, 1, NOW, 2));
  os.fdatasync = flush_and_fdatasync;
  CHECK_INT(commit_wait(&queue, &tickets[1], &help_err), KV_OK);
  CHECK_INT(queue.stats.flushes, 2);
  commit_break(&queue, KV_EIO, "out of order");
  CHECK_INT(commit_flush_unless_busy(&queue, &help_err), KV_EIO);
  CHECK(says("out of order"));
  stop(KV_OK);
}

/* Another process flushes, so that the flush is left to it. It need not cover a NORMAL commit of ours: that
** is still flushed when its time has come. */
static void test_flush_put_off(void) {
  commit_ticket ticket;
  start();
  atomic_store(&page.members[1], 1);
  atomic_store(&page.flush.word, 1u << 12 | 2u);
  MUST(hand_over(&ticket, KV_SYNC_NORMAL, 100, 300, 1));
  CHECK_INT(commit_flush_unless_busy(&queue, &help_err), KV_EBUSY);
  atomic_store(&page.flush.word, 0);
  CHECK_INT(commit_wait(&queue, &ticket, &help_err), KV_OK);
  unsigned end = now_ms() + PATIENCE_MS;
  while (atomic_load(&page.durable_seq) < 1 && now_ms() < end) usleep(1000);
  CHECK_INT(atomic_load(&page.durable_seq), 1);
  stop(KV_OK);
}

/* --- no thread can be started ---------------------------------------------------------------------------- */

/* Then a NORMAL commit flushes itself. */
static void test_no_flush_thread(void) {
  commit_ticket ticket;
  start();
  fail_threads(true);
  MUST(hand_over(&ticket, KV_SYNC_NORMAL, 100, LATER, 1));
  fail_threads(false);
  CHECK_INT(visible(), 1);
  CHECK_INT(atomic_load(&page.durable_seq), 1);
  CHECK_INT(queue.stats.flushes, 1);
  CHECK(!queue.flusher.running);
  CHECK_INT(commit_wait(&queue, &ticket, &help_err), KV_OK);
  MUST(hand_over(&ticket, KV_SYNC_NORMAL, 100, LATER, 2));
  CHECK(queue.flusher.running); /* now it can be */
  CHECK_INT(commit_wait(&queue, &ticket, &help_err), KV_OK);
  CHECK_INT(queue.stats.flushes, 1);
  stop(KV_OK);
  CHECK_INT(atomic_load(&page.durable_seq), 2);
}

static commit_ticket others[3];

/* While a flush is in flight three more come, and the window is two. */
static int commit_and_fdatasync(int fd) {
  os.fdatasync = fault.real.fdatasync;
  for (int i = 0; i < 3; i++) MUST(hand_over(&others[i], KV_SYNC_NORMAL, 1, LATER, 2 + i));
  return fault.real.fdatasync(fd);
}

static uint64_t no_time(void) {
  return 1;
}

static void test_no_flush_thread_in_flight(void) {
  uint64_t (*now_ns)(void) = os.now_ns;
  commit_ticket ticket;
  start();
  MUST(hand_over(&ticket, KV_SYNC_FULL, 1, NOW, 1));
  os.fdatasync = commit_and_fdatasync;
  fail_threads(true);
  CHECK_INT(commit_wait(&queue, &ticket, &help_err), KV_OK);
  CHECK_INT(visible(), 3);
  CHECK_INT(atomic_load(&page.durable_seq), 1);
  CHECK_INT(commit_wait(&queue, &others[0], &help_err), KV_OK);
  CHECK_INT(commit_wait(&queue, &others[1], &help_err), KV_OK);
  CHECK_INT(queue.stats.flushes, 1);
  os.now_ns = no_time; /* it leads, and does not wait first */
  alarm(WATCHDOG_S);
  CHECK_INT(commit_wait(&queue, &others[2], &help_err), KV_OK);
  alarm(0);
  os.now_ns = now_ns;
  fail_threads(false);
  CHECK_INT(queue.stats.flushes, 2);
  CHECK_INT(visible(), 4);
  CHECK_INT(atomic_load(&page.durable_seq), 4);
  stop(KV_OK);
}

/* --- writing what waits ----------------------------------------------------------------------------------- */

/* Lines that were held back are written when somebody asks where the log ends, or cuts it. If there is
** no room they are lost, and the log ends where it did; if it fails otherwise nothing is cut. */
static void test_failed_write(void) {
  commit_ticket ticket;
  uint64_t end = 0;
  start();
  MUST(hand_over(&ticket, KV_SYNC_FULL, 2, LATER, 1));
  fail_call(CALL_PWRITE, 1, true, ENOSPC);
  CHECK_INT(commit_end(&queue, &end, &help_err), KV_OK);
  fail_nothing();
  CHECK(end == queue.log.end);
  CHECK_INT(commit_wait(&queue, &ticket, &help_err), KV_EFULL);
  CHECK(says("No space left on device"));
  CHECK_INT(queue.stats.flushes, 1); /* the cut is durable */
  stop(KV_OK);

  start(); /* by who leads the flush: there is nothing to flush but the cut */
  MUST(hand_over(&ticket, KV_SYNC_FULL, 1, NOW, 1));
  fail_call(CALL_PWRITE, 1, true, ENOSPC);
  CHECK_INT(commit_wait(&queue, &ticket, &help_err), KV_EFULL);
  fail_nothing();
  CHECK_INT(queue.stats.flushes, 1);
  CHECK_INT(visible(), 0);
  /* An edit that began on what is lost is refused; one that begins anew is not. */
  if (!CHECK_INT(hand_over(&ticket, KV_SYNC_FULL, 1, NOW, 2), KV_EFULL)) exit(unit_done());
  commit_take_back(&queue);
  MUST(hand_over(&ticket, KV_SYNC_FULL, 1, NOW, 3));
  MUST(commit_wait(&queue, &ticket, &help_err));
  CHECK_INT(visible(), 3);
  CHECK_INT(atomic_load(&page.durable_seq), 1);
  stop(KV_OK);

  start();
  MUST(hand_over(&ticket, KV_SYNC_FULL, 2, LATER, 1));
  share_set_end(&page, 4711, 4712);
  fail_call(CALL_PWRITE, 1, true, EIO);
  commit_trim(&queue);
  fail_nothing();
  CHECK_INT(share_log_end(&page), 4711);
  CHECK_INT(commit_wait(&queue, &ticket, &help_err), KV_EIO);
  stop(KV_OK);
}

/* The number of what was lost is another's, which can be seen at once: that does not say that the cut is
** durable, without which a crash could bring the lost one back. */
static void test_lost_number(void) {
  commit_ticket lost, other;
  uint64_t end = 0;
  start();
  MUST(hand_over(&lost, KV_SYNC_FULL, 2, LATER, 1));
  fail_call(CALL_PWRITE, 1, true, ENOSPC);
  CHECK_INT(commit_end(&queue, &end, &help_err), KV_OK);
  fail_nothing();
  MUST(hand_over(&other, KV_SYNC_OFF, 1, LATER, 2));
  CHECK_INT(other.seq, lost.seq);
  CHECK_INT(visible(), 2);
  CHECK_INT(queue.stats.flushes, 0);
  CHECK_INT(commit_wait(&queue, &lost, &help_err), KV_EFULL);
  CHECK_INT(queue.stats.flushes, 1);
  CHECK_INT(commit_wait(&queue, &other, &help_err), KV_OK);
  stop(KV_OK);
}

/* A part of the tree is moved between what is kept and what is lost: that is kept, with all its memory. */
static void test_lost_behind_moved(void) {
  commit_ticket tickets[2];
  kv_value value = {.type = KV_TEXT, .data = "0123456789 0123456789 0123456789", .size = 32};
  char key[16];
  start();
  MUST(tree_edit_begin(&versions));
  for (int i = 0; i < 5000; i++) {
    MUST(tree_put(&versions, key, (size_t)sprintf(key, "k%d", i), &value, NULL));
  }
  for (int i = 0; i < 5000; i++) {
    if (i % 8 > 0) MUST(tree_delete(&versions, key, (size_t)sprintf(key, "k%d", i), NULL));
  }
  commit_seal_same(&queue);
  MUST(hand_over(&tickets[0], KV_SYNC_FULL, 1, NOW, 1));
  commit_settle(&queue);
  CHECK_INT(atomic_load(&page.written_seq), 1);
  MUST(tree_edit_begin(&versions));
  CHECK(tree_move(&versions, 100000) > 0);
  commit_seal_same(&queue);
  size_t bytes = atomic_load(&versions.memory.bytes);
  MUST(hand_over(&tickets[1], KV_SYNC_FULL, 2, LATER, 2));
  fail_call(CALL_PWRITE, 1, true, ENOSPC);
  commit_settle(&queue);
  fail_nothing();
  CHECK_INT(commit_wait(&queue, &tickets[0], &help_err), KV_OK);
  CHECK_INT(commit_wait(&queue, &tickets[1], &help_err), KV_EFULL);
  CHECK_INT(visible(), 1);
  tree_reclaim(&versions);
  CHECK(atomic_load(&versions.memory.bytes) <= bytes);
  MUST(tree_edit_begin(&versions));
  MUST(tree_edit_clear(&versions));
  commit_seal_same(&queue);
  tree_reclaim(&versions);
  CHECK_INT(atomic_load(&versions.memory.bytes), 0);
  stop(KV_OK);
}

int main(void) {
  faults_install();
  test_durable_and_not_told();
  test_broken_by_another();
  test_failed_in_flight();
  test_resuming_in_another_file();
  test_untold_file();
  test_untold_file_not_synced();
  test_untold_file_not_opened();
  test_told_meanwhile();
  test_replaced_in_flight();
  test_not_covered();
  test_flush_unless_busy();
  test_flush_put_off();
  test_no_flush_thread();
  test_no_flush_thread_in_flight();
  test_failed_write();
  test_lost_number();
  test_lost_behind_moved();
  return unit_done();
}
