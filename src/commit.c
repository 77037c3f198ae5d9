/* commit.c - the commit queue. See commit.h. */
#include "commit.h"

#include "log_place.h"
#include "os.h"

#include <assert.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define FILLING_KEEP_MAX ((size_t)256 << 10) /* a larger buffer is given back once it is written */
#define RELUCTANCE_NS 10000000u /* after this a commit does what should have been done for it */
#define ALLOCATE_BATCH_MAX ((size_t)16 << 10) /* batches up to this size are worth room ahead */
#define ALLOCATE_GROUP_MAX 100 /* NORMAL groups up to this size too: see log_write.h */
#define LOOK_NS                                                                                    \
  1000000u /* how often commits look for the log's name, but for FULL: its flush does */

void commit_queue_init(commit_queue *q, tree *t, share *s) {
  memset(q, 0, sizeof *q);
  q->tree = t;
  q->share = s;
  q->log.fd = q->flushing_fd = -1;
  pthread_mutex_init(&q->lock, NULL);
  pthread_condattr_init(&q->clock);
  pthread_condattr_setclock(&q->clock, CLOCK_MONOTONIC);
  pthread_cond_init(&q->flusher.wake, &q->clock);
  pthread_cond_init(&q->flush_done, &q->clock);
}

/* Use another file, or the first one. */
static void set_log(commit_queue *q, const log_writer *log, uint64_t generation) {
  struct stat facts;
  if (q->log.fd >= 0 && q->log.fd != q->flushing_fd) os_close_locked(q->log.fd);
  q->log = *log;
  bool known = os.fstat(log->fd, &facts) == 0;
  q->log.device = known ? facts.st_dev : 0;
  q->log.inode = known ? facts.st_ino : 0;
  q->generation = generation;
}

void commit_queue_attach(commit_queue *q, const log_writer *log, uint64_t generation) {
  pthread_mutex_lock(&q->lock);
  set_log(q, log, generation);
  q->page = q->share->page;
  pthread_mutex_unlock(&q->lock);
}

/* --- conditions ------------------------------------------------------------------------------- */

static uint64_t durable_seq(const commit_queue *q) {
  return q->page != NULL ? atomic_load(&q->page->durable_seq) : 0;
}

static void wait_until(pthread_cond_t *wake, pthread_mutex_t *lock, uint64_t deadline_ns) {
  struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                           .tv_nsec = (long)(deadline_ns % 1000000000u)};
  pthread_cond_timedwait(wake, lock, &until);
}

/* How many transactions may be unflushed when this one becomes visible: FULL shows nothing that a
** crash could take back, NORMAL nothing that it could take back beyond what was said. */
static uint64_t window_of(const commit_settings *settings) {
  if (settings->synchronous == KV_SYNC_FULL) return 0;
  return settings->synchronous == KV_SYNC_OFF ? UINT64_MAX : 2 * (uint64_t)settings->group_size;
}

/* Whether a transaction, all before it being visible, may be seen. */
static bool is_showable(const commit_queue *q, const tree_version *version) {
  uint64_t seq = version->seq, durable = durable_seq(q);
  if (durable >= seq) return true;
  return atomic_load(&q->page->written_seq) >= seq && seq - durable <= version->window;
}

/* Whether its commit may return. */
static bool is_done(const commit_queue *q, const commit_ticket *ticket) {
  return atomic_load_explicit(&q->shown_seq, memory_order_relaxed) >= ticket->seq;
}

/* Whether it waits for a flush that somebody has to lead. */
static bool is_waiting_full(const commit_queue *q, const commit_ticket *ticket) {
  return ticket->settings.synchronous == KV_SYNC_FULL && !is_done(q, ticket) && !ticket->lost;
}

/* Whether a cut of the file is not durable yet, so that a crash could bring back what was lost. */
static bool is_cut_soft(const commit_queue *q) {
  return atomic_load_explicit(&q->losses, memory_order_relaxed) != q->losses_synced;
}

static uint64_t ticket_deadline_ns(const commit_ticket *ticket) {
  return ticket->handed_ns + (uint64_t)ticket->settings.group_timeout_ms * 1000000u;
}

/* Whether one of the FULL commits has waited for others long enough. */
static bool is_group_due(const commit_queue *q) {
  uint64_t unflushed = q->handed_seq - q->flushing_seq, now_ns = 0;
  for (const commit_ticket *t = q->first; t != NULL; t = t->next) {
    if (!is_waiting_full(q, t)) continue;
    if (unflushed >= t->settings.group_size) return true;
    if (now_ns == 0) now_ns = os.now_ns();
    if (now_ns >= ticket_deadline_ns(t)) return true;
  }
  return false;
}

/* --- writing and flushing; all with the lock --------------------------------------------------- */

/* Make visible what has become so. The page tells it first, so that no statement of another process
** can begin later than one of ours that saw it, and not see it. */
static void show(commit_queue *q) {
  share_page *page = q->page;
  tree_version *before = atomic_load(&q->tree->published), *version = before;
  while (version != q->tree->head) {
    tree_version *next = version->next;
    if (page != NULL && atomic_load(&page->published_seq) < next->seq) {
      if (!is_showable(q, next)) break;
      share_raise(&page->published_seq, next->seq);
    }
    version = next;
  }
  if (version == before) return;
  tree_publish(q->tree, version);
  atomic_store_explicit(&q->shown_seq, version->seq, memory_order_release);
}

void commit_seal_others(commit_queue *q, uint64_t seq) {
  pthread_mutex_lock(&q->lock);
  (void)tree_edit_seal(q->tree, seq);
  q->handed_seq = seq;
  if (q->flushing_seq < seq && durable_seq(q) >= seq) q->flushing_seq = seq;
  show(q);
  pthread_mutex_unlock(&q->lock);
}

/* It has the number of the version before it, and becomes visible with that. */
void commit_seal_same(commit_queue *q) {
  pthread_mutex_lock(&q->lock);
  (void)tree_edit_seal(q->tree, q->tree->head->seq);
  show(q);
  pthread_mutex_unlock(&q->lock);
}

/* Wake the commits that are done; and one that leads the next group if it is due, for its flush
** covers the others; else all that have a deadline to watch. */
static void wake_waiting(commit_queue *q) {
  bool one_leads = is_group_due(q), led = false;
  for (commit_ticket *t = q->first; t != NULL; t = t->next) {
    if (is_done(q, t) || t->lost || q->failed != KV_OK) {
      pthread_cond_signal(&t->wake);
    } else if (is_waiting_full(q, t) && !(one_leads && led)) {
      pthread_cond_signal(&t->wake);
      led = true;
    }
  }
}

/* Publish what another process has flushed or published: no flush of this process will do it. */
static void show_and_wake(commit_queue *q) {
  uint64_t before = atomic_load(&q->shown_seq);
  show(q);
  if (atomic_load(&q->shown_seq) != before) wake_waiting(q);
}

void commit_show(commit_queue *q) {
  pthread_mutex_lock(&q->lock);
  show_and_wake(q);
  pthread_mutex_unlock(&q->lock);
}

static void fail(commit_queue *q, int code, const char *why) {
  if (q->failed != KV_OK) return;
  if (code == KV_EFULL) code = KV_EIO; /* KV_EFULL promises that it goes on */
  q->failed = code;
  kv_error_set(&q->failure, code, "%s; the store is read-only until it is reopened", why);
  atomic_store(&q->page->broken, 1);
  wake_waiting(q);
}

/* The disk is full: what was to be written is lost. The log is cut off in front of it. */
static void lose(commit_queue *q, const kv_error *why) {
  uint64_t kept_seq = atomic_load(&q->page->written_seq);
  share_set_end(q->page, q->log.end, q->log.size);
  buf_free(&q->filling);
  q->handed_seq = q->kept_seq = kept_seq;
  if (q->flusher.wanted_seq > kept_seq) q->flusher.wanted_seq = kept_seq;
  kv_error_set(&q->loss, why->code, "%s; nothing of the transaction is kept", why->text);
  for (commit_ticket *t = q->first; t != NULL; t = t->next) t->lost = t->lost || t->seq > kept_seq;
  atomic_store(&q->has_lost, true);
  atomic_fetch_add(&q->losses, 1);
  wake_waiting(q);
}

/* The newest version that is not lost: behind the last transaction that was kept there may be others with
** its content and its number, which hold leaves that were moved. */
static tree_version *kept_version(commit_queue *q) {
  tree_version *version = q->tree->head;
  if (!atomic_load(&q->has_lost)) return version;
  version = atomic_load(&q->tree->published);
  while (version != q->tree->head && version->next->seq <= q->kept_seq) version = version->next;
  return version;
}

static void take_back(commit_queue *q) {
  if (!atomic_load(&q->has_lost)) return;
  tree_take_back(q->tree, kept_version(q));
  atomic_store(&q->has_lost, false);
}

void commit_take_back(commit_queue *q) {
  if (!atomic_load_explicit(&q->has_lost, memory_order_relaxed)) return;
  pthread_mutex_lock(&q->lock);
  take_back(q);
  pthread_mutex_unlock(&q->lock);
}

uint64_t commit_losses(commit_queue *q, uint64_t *kept_seq, kv_error *why) {
  if (why == NULL) return atomic_load_explicit(&q->losses, memory_order_acquire);
  pthread_mutex_lock(&q->lock);
  uint64_t losses = atomic_load(&q->losses);
  *kept_seq = q->kept_seq;
  *why = q->loss;
  pthread_mutex_unlock(&q->lock);
  return losses;
}

static bool is_broken_by_others(const commit_queue *q) {
  return q->failed == KV_OK && q->page != NULL && atomic_load(&q->page->broken) != 0;
}

/* What another process could not write or flush, this one must not go on with either. */
static void check_others(commit_queue *q) {
  if (!is_broken_by_others(q)) return;
  kv_error why;
  int rc = log_place_check_flushed(q->page, q->generation, &q->log, &why);
  fail(q, rc != KV_OK ? rc : KV_EIO,
       rc != KV_OK ? why.text : "another process could not write or flush the log");
}

/* By who has the turn: what is written to a log that has lost its name is gone with its last process. */
static void check_place(commit_queue *q) {
  kv_error why;
  int rc = log_place_check_flushed(q->page, q->generation, &q->log, &why);
  if (rc != KV_OK) fail(q, rc, why.text);
}

static void write_out(commit_queue *q) {
  if (q->filling.size == 0 || q->failed != KV_OK) return;
  assert(q->appending);
  kv_error why;
  if (q->worth_room && q->filling.size <= ALLOCATE_BATCH_MAX) {
    log_writer_allocate(&q->log, q->filling.size);
  }
  int rc = log_writer_append(&q->log, q->filling.data, q->filling.size, &why);
  if (rc == KV_EFULL && q->log.size == q->log.end) {
    lose(q, &why);
    return;
  }
  if (rc != KV_OK) {
    fail(q, rc, why.text);
    return;
  }
  q->stats.bytes += q->filling.size;
  q->filling.size = 0;
  if (q->filling.room > FILLING_KEEP_MAX) buf_free(&q->filling);
  share_page *page = q->page;
  share_set_end(page, q->log.end, q->log.size);
  atomic_store_explicit(&page->written_seq, q->handed_seq, memory_order_release);
}

/* Open the file that the page says is the log, instead of the older one that we have. KV_EBUSY: the
** file of that name is another one. */
static int reopen(commit_queue *q, kv_error *err) {
  share_file file;
  share_read_file(q->page, &file);
  assert(file.generation > q->generation);
  log_writer log = {.fd = -1, .path = q->log.path};
  int rc = log_writer_open(&log, file.id, file.inode, err);
  log.synced_end = file.snapshot_end;
  if (rc == KV_OK) set_log(q, &log, file.generation);
  return rc;
}

/* The log's file is not the one that the page speaks of: who replaces it has not told yet, or has
** died over that. It has all that is written, and on stable storage, but perhaps for its name. Or it is
** a foreign one. */
static int flush_untold(commit_queue *q, uint64_t generation, uint64_t covered, kv_error *err) {
  share_page *page = q->page;
  int rc = log_place_check_change(LOG_REPLACED, page, generation, q->log.path, err);
  if (rc != KV_OK) return rc;
  if (os_sync_folder(q->log.path) != 0) return log_error(err, "fsync of the folder", q->log.path);
  if (atomic_load(&page->generation) != generation) return KV_OK; /* told meanwhile: try again */
  share_raise(&page->durable_seq, covered);
  share_raise(&page->published_seq, covered);
  q->losses_synced = atomic_load(&q->losses); /* what was cut was the end of an older file */
  return KV_OK;
}

/* Flush what every process has written, having the right to; the lock is given back meanwhile.
** `orphaned`: another process has begun to and has not ended it. It may have met an error that it has
** not told yet, and that the kernel tells only once: then the pages that it lost look clean, so that all
** that it may have been about is written anew. */
static int flush_as_owner(commit_queue *q, bool orphaned, kv_error *err) {
  share_page *page = q->page;
  uint64_t covered = atomic_load(&page->written_seq), end = q->log.end;
  uint64_t generation = atomic_load(&page->generation), written_end = share_end(page, generation);
  if (generation != q->generation) {
    int rc = reopen(q, err);
    return rc == KV_EBUSY ? flush_untold(q, generation, covered, err) : rc;
  }
  log_writer log = q->log;
  uint64_t losses = atomic_load(&q->losses);
  q->flushing_fd = log.fd;
  pthread_mutex_unlock(&q->lock);
  uint64_t start_ns = os.now_ns();
  int rc = orphaned ? log_writer_rewrite(&log, share_synced_end(page, generation), written_end, err)
                    : KV_OK;
  if (rc == KV_OK) rc = log_writer_sync(&log, err);
  bool synced = rc == KV_OK;
  uint64_t took_ns = os.now_ns() - start_ns;
  if (synced) rc = log_place_check_flushed(page, generation, &log, err);
  if (rc == KV_OK) {
    share_raise(&page->durable_seq, covered);
    share_raise(&page->published_seq, covered);
    share_raise_synced(page, generation, written_end);
  } else {
    atomic_store(&page->broken, 1);
  }
  pthread_mutex_lock(&q->lock);
  if (!synced) { /* what was appended while it ran may have been marked clean as well */
    log.end = share_end(page, generation);
    log_writer_soil(&log);
  }
  q->flushing_fd = -1;
  if (q->log.fd != log.fd) os_close_locked(log.fd); /* it was replaced meanwhile */
  if (rc != KV_OK) return rc;
  if (q->log.fd == log.fd && q->log.synced_end < end) q->log.synced_end = end;
  q->losses_synced = losses;
  q->stats.flushes++;
  histogram_add(&q->stats.flush_ns, took_ns);
  return KV_OK;
}

/* Have everything up to a transaction flushed, by us or by another process; if not patient, not by
** another one that is at it and would have to be waited for. */
static void flush_through(commit_queue *q, uint64_t seq, bool patient) {
  share *s = q->share;
  share_watch watch = {.since_ns = 0};
  while (q->failed == KV_OK && (durable_seq(q) < seq || is_cut_soft(q))) {
    bool orphaned;
    pthread_mutex_unlock(&q->lock);
    bool owner = patient ? share_lock_try(s, &q->page->flush, &watch, &orphaned)
                         : share_lock_take(s, &q->page->flush, 0, &orphaned);
    pthread_mutex_lock(&q->lock);
    check_others(q);
    if (!owner && !patient) return;
    if (!owner) continue;
    kv_error why;
    int rc = KV_OK;
    if (q->failed == KV_OK && (durable_seq(q) < seq || is_cut_soft(q))) {
      rc = flush_as_owner(q, orphaned, &why);
    }
    if (rc == KV_OK &&
        atomic_load(&q->page->written_seq) < seq) { /* no flush would ever cover it */
      rc = kv_error_set(&why, KV_EIO, "'%s-shm' lacks transactions that were committed",
                        q->log.path);
    }
    share_lock_pass(s, &q->page->flush);
    if (rc != KV_OK) fail(q, rc, why.text);
  }
}

/* What is handed over here, and all that others have written; 0 without a log. */
static uint64_t newest_seq(const commit_queue *q) {
  if (q->page == NULL) return 0;
  uint64_t written_seq = atomic_load(&q->page->written_seq);
  return written_seq > q->handed_seq ? written_seq : q->handed_seq;
}

static int tell_loss(const commit_queue *q, kv_error *err) {
  return kv_error_set(err, q->loss.code, "%s", q->loss.text);
}

/* The flush did not come about: what it was to cover is due when it was. */
static void put_off(commit_queue *q, uint64_t flushing_seq, uint64_t deadline_ns) {
  uint64_t since_ns = q->flusher.deadline_ns; /* of a commit meanwhile */
  q->flushing_seq = flushing_seq;
  if (deadline_ns != 0 && (since_ns == 0 || deadline_ns < since_ns)) {
    q->flusher.deadline_ns = deadline_ns;
  }
}

/* Write what waits here, flush it and what others have written up to seq, let everybody know. */
static void flush(commit_queue *q, uint64_t seq, bool patient) {
  assert(!q->flushing);
  uint64_t deadline_ns = q->flusher.deadline_ns;
  q->flusher.deadline_ns = 0;
  write_out(q);
  if (seq > q->handed_seq && is_cut_soft(q)) seq = newest_seq(q); /* the rest is lost */
  if (seq > durable_seq(q) || is_cut_soft(q)) {
    uint64_t before_seq = q->flushing_seq;
    q->flushing = true;
    q->flushing_seq = q->handed_seq;
    flush_through(q, seq, patient);
    q->flushing = false;
    if (!patient && (durable_seq(q) < seq || is_cut_soft(q))) put_off(q, before_seq, deadline_ns);
  }
  show(q);
  wake_waiting(q);
  pthread_cond_broadcast(&q->flush_done);
  if (q->flusher.running) pthread_cond_signal(&q->flusher.wake);
}

/* --- the flush thread ------------------------------------------------------------------------- */

static void *flusher_main(void *context) {
  commit_queue *q = context;
  pthread_mutex_lock(&q->lock);
  while (!q->flusher.stop) {
    bool waiting = q->flusher.deadline_ns != 0 && q->failed == KV_OK;
    if (q->flushing || !waiting) {
      pthread_cond_wait(&q->flusher.wake, &q->lock);
    } else if (q->flusher.wanted_seq > durable_seq(q) || os.now_ns() >= q->flusher.deadline_ns) {
      flush(q, q->handed_seq, true);
    } else {
      wait_until(&q->flusher.wake, &q->lock, q->flusher.deadline_ns);
    }
  }
  pthread_mutex_unlock(&q->lock);
  return NULL;
}

/* Signals are for the threads of the program. */
static bool flusher_start(commit_queue *q) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool started = pthread_create(&q->flusher.id, NULL, flusher_main, q) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return started;
}

/* Tell the flush thread of a NORMAL commit; start it with the first one. If that is impossible the
** committer flushes itself. */
static void ask_flusher(commit_queue *q, const commit_settings *settings, uint64_t handed_ns) {
  uint64_t deadline_ns = handed_ns + (uint64_t)settings->group_timeout_ms * 1000000u;
  bool wake = false;
  if (q->flusher.deadline_ns == 0 || deadline_ns < q->flusher.deadline_ns) {
    q->flusher.deadline_ns = deadline_ns;
    wake = true;
  }
  if (!q->flusher.running && !(q->flusher.running = flusher_start(q))) {
    if (!q->flushing) flush(q, q->handed_seq, true);
    return;
  }
  bool full = q->handed_seq - q->flushing_seq >= settings->group_size;
  if (full && q->flusher.wanted_seq <= q->flushing_seq) {
    q->flusher.wanted_seq = q->handed_seq;
    wake = true;
  }
  if (wake && !q->flushing) pthread_cond_signal(&q->flusher.wake);
}

/* --- committing ------------------------------------------------------------------------------- */

static void ticket_link(commit_queue *q, commit_ticket *ticket) {
  pthread_cond_init(&ticket->wake, &q->clock);
  ticket->next = NULL;
  ticket->previous = q->last;
  if (q->last != NULL) {
    q->last->next = ticket;
  } else {
    q->first = ticket;
  }
  q->last = ticket;
}

static void ticket_unlink(commit_queue *q, commit_ticket *ticket) {
  if (ticket->previous != NULL) {
    ticket->previous->next = ticket->next;
  } else {
    q->first = ticket->next;
  }
  if (ticket->next != NULL) {
    ticket->next->previous = ticket->previous;
  } else {
    q->last = ticket->previous;
  }
  pthread_cond_destroy(&ticket->wake);
}

static int tell_failure(commit_queue *q, kv_error *err) {
  check_others(q);
  return kv_error_set(err, q->failed, "%s", q->failure.text);
}

static inline int queue_failure(commit_queue *q, kv_error *err) {
  if (q->failed == KV_OK && !is_broken_by_others(q)) return KV_OK; /* every commit asks often */
  return tell_failure(q, err);
}

int commit_resume(commit_queue *q, kv_error *err) {
  pthread_mutex_lock(&q->lock);
  int rc = queue_failure(q, err);
  if (rc == KV_OK && atomic_load(&q->page->generation) != q->generation) rc = reopen(q, err);
  if (rc == KV_OK) {
    assert(q->filling.size == 0 && q->handed_seq == atomic_load(&q->page->written_seq));
    q->log.end = share_end(q->page, q->generation);
    q->log.size = share_size(q->page);
    q->appending = true;
  }
  pthread_mutex_unlock(&q->lock);
  return rc;
}

void commit_suspend(commit_queue *q) {
  pthread_mutex_lock(&q->lock);
  write_out(q);
  take_back(q);
  q->appending = false;
  pthread_mutex_unlock(&q->lock);
}

void commit_settle(commit_queue *q) {
  pthread_mutex_lock(&q->lock);
  write_out(q);
  take_back(q);
  pthread_mutex_unlock(&q->lock);
}

int commit_end(commit_queue *q, uint64_t *end, kv_error *err) {
  pthread_mutex_lock(&q->lock);
  assert(q->appending);
  write_out(q);
  take_back(q);
  int rc = queue_failure(q, err);
  if (rc == KV_OK) *end = q->log.end;
  pthread_mutex_unlock(&q->lock);
  return rc;
}

void commit_switch(commit_queue *q, const log_writer *log, const share_file *file) {
  pthread_mutex_lock(&q->lock);
  assert(q->appending && q->filling.size == 0);
  share_page *page = q->page;
  share_raise(&page->durable_seq, q->handed_seq);
  share_raise(&page->published_seq, q->handed_seq);
  share_file now = *file;
  now.end = log->end;
  now.size = log->size;
  share_write_file(page, &now);
  set_log(q, log, atomic_load(&page->generation));
  show(q);
  wake_waiting(q);
  pthread_mutex_unlock(&q->lock);
}

/* Put the transaction's lines behind those that wait. */
static int append_lines(commit_queue *q, const buf *ops) {
  size_t start = q->filling.size;
  int rc = buf_append(&q->filling, ops->data, ops->size);
  if (rc == KV_OK) {
    rc = log_format_commit(&q->filling, start, q->log.header.id, q->handed_seq + 1, durable_seq(q));
  }
  if (rc != KV_OK) q->filling.size = start;
  return rc;
}

/* What a commit that is not FULL does at hand-over. */
static void write_at_once(commit_queue *q, const commit_settings *settings, uint64_t handed_ns) {
  write_out(q);
  show(q);
  if (settings->synchronous == KV_SYNC_NORMAL) ask_flusher(q, settings, handed_ns);
  if (!q->flushing && is_group_due(q)) wake_waiting(q);
}

/* Whether commits of these settings come with a flush for each or for few of them: see log_write.h. */
static bool is_worth_room(const commit_settings *settings) {
  if (settings->synchronous == KV_SYNC_FULL) return settings->group_size == 1;
  return settings->synchronous == KV_SYNC_NORMAL && settings->group_size <= ALLOCATE_GROUP_MAX;
}

int commit_hand_over(commit_queue *q, const buf *ops, const commit_settings *settings,
                     commit_ticket *ticket, kv_error *err) {
  assert(ops->size > 0 && settings->group_size > 0);
  pthread_mutex_lock(&q->lock);
  uint64_t now_ns = os.now_ns();
  if (settings->synchronous != KV_SYNC_FULL && now_ns - q->looked_ns >= LOOK_NS) {
    q->looked_ns = now_ns;
    check_place(q);
  }
  int rc = queue_failure(q, err);
  if (rc == KV_OK && atomic_load_explicit(&q->has_lost, memory_order_relaxed)) {
    rc = tell_loss(q, err); /* the edit began on what is lost */
  }
  if (rc == KV_OK && q->handed_seq >= LOG_SEQ_MAX) {
    rc = kv_error_set(err, KV_EFULL, "log '%s' has no number for another transaction", q->log.path);
  }
  if (rc == KV_OK && append_lines(q, ops) != KV_OK) {
    rc = kv_error_set(err, KV_ENOMEM, "out of memory committing %zu bytes", ops->size);
  }
  if (rc == KV_OK) {
    if (settings->synchronous != KV_SYNC_OFF) q->promised = true;
    q->worth_room = is_worth_room(settings);
    uint64_t seq = ++q->handed_seq;
    tree_edit_seal(q->tree, seq)->window = window_of(settings);
    if (ticket != NULL) {
      *ticket = (commit_ticket){.settings = *settings, .seq = seq, .handed_ns = now_ns};
      ticket_link(q, ticket);
    }
    q->stats.commits++;
    if (settings->synchronous != KV_SYNC_FULL) write_at_once(q, settings, now_ns);
  }
  pthread_mutex_unlock(&q->lock);
  return rc;
}

void commit_volatile(commit_queue *q) {
  pthread_mutex_lock(&q->lock);
  q->stats.commits++;
  (void)tree_edit_seal(q->tree, ++q->handed_seq);
  show(q);
  pthread_mutex_unlock(&q->lock);
}

uint64_t commit_handed_seq(commit_queue *q) {
  pthread_mutex_lock(&q->lock);
  uint64_t seq = q->handed_seq;
  pthread_mutex_unlock(&q->lock);
  return seq;
}

int commit_pin_newest(commit_queue *q, tree_pin *out) {
  pthread_mutex_lock(&q->lock);
  int rc = tree_pin_version(q->tree, kept_version(q), out);
  pthread_mutex_unlock(&q->lock);
  return rc;
}

void commit_break(commit_queue *q, int code, const char *why) {
  pthread_mutex_lock(&q->lock);
  fail(q, code, why);
  pthread_mutex_unlock(&q->lock);
}

/* Whether the thread should lead a flush now that none is in flight here. A commit that is not FULL
** has somebody else to do it, if all goes well: the flush thread, or the FULL commits before it. */
static bool should_lead(commit_queue *q, const commit_ticket *ticket) {
  if (ticket->settings.synchronous == KV_SYNC_FULL) return is_group_due(q);
  if (ticket->settings.synchronous == KV_SYNC_NORMAL && !q->flusher.running) return true;
  return os.now_ns() >= ticket->handed_ns + RELUCTANCE_NS;
}

/* The caller's function is called without the lock. */
static bool is_interrupted(commit_queue *q, const commit_ticket *ticket) {
  const kv_waiting *w = ticket->waiting;
  if (w == NULL || w->is_interrupted == NULL || is_done(q, ticket)) return false;
  pthread_mutex_unlock(&q->lock);
  bool interrupted = w->is_interrupted(w->context);
  pthread_mutex_lock(&q->lock);
  return interrupted;
}

/* Whether a commit has something to wait for. The number of one that is lost is another's by now. */
static bool is_open(const commit_queue *q, const commit_ticket *ticket) {
  return ticket->lost ? is_cut_soft(q) : !is_done(q, ticket);
}

int commit_wait(commit_queue *q, commit_ticket *ticket, kv_error *err) {
  pthread_mutex_lock(&q->lock);
  bool full = ticket->settings.synchronous == KV_SYNC_FULL, hurries = false;
  while (is_open(q, ticket) && queue_failure(q, NULL) == KV_OK) {
    if (!q->flushing && (ticket->lost || hurries || should_lead(q, ticket))) {
      flush(q, q->handed_seq, true);
      continue;
    }
    /* Nobody wakes it when another process has flushed it, nor when the flush that it waits for does
    ** not cover it and nobody else leads the next. */
    uint64_t until_ns = os.now_ns() + RELUCTANCE_NS;
    if (!q->flushing && full && ticket_deadline_ns(ticket) < until_ns) {
      until_ns = ticket_deadline_ns(ticket);
    }
    if (!q->flushing && !full) until_ns = ticket->handed_ns + RELUCTANCE_NS;
    wait_until(&ticket->wake, &q->lock, until_ns);
    show_and_wake(q);
    if (!hurries) hurries = is_interrupted(q, ticket);
  }
  int rc = is_open(q, ticket) ? queue_failure(q, err) : KV_OK;
  if (rc == KV_OK && ticket->lost) rc = tell_loss(q, err);
  ticket_unlink(q, ticket);
  pthread_mutex_unlock(&q->lock);
  return rc;
}

static int flush_all(commit_queue *q, kv_error *err) {
  uint64_t wanted_seq = newest_seq(q), losses = atomic_load(&q->losses);
  while ((durable_seq(q) < wanted_seq || is_cut_soft(q)) && queue_failure(q, NULL) == KV_OK) {
    if (losses != atomic_load(&q->losses) && !is_cut_soft(q)) break;
    if (q->flushing) {
      pthread_cond_wait(&q->flush_done, &q->lock);
    } else {
      flush(q, wanted_seq, true);
    }
  }
  show_and_wake(q);
  int rc = queue_failure(q, err);
  return rc != KV_OK || losses == atomic_load(&q->losses) ? rc : tell_loss(q, err);
}

int commit_flush(commit_queue *q, kv_error *err) {
  pthread_mutex_lock(&q->lock);
  int rc = flush_all(q, err);
  pthread_mutex_unlock(&q->lock);
  return rc;
}

int commit_flush_unless_busy(commit_queue *q, kv_error *err) {
  pthread_mutex_lock(&q->lock);
  uint64_t wanted_seq = newest_seq(q), losses = atomic_load(&q->losses);
  int rc = queue_failure(q, err);
  if (rc == KV_OK && !q->flushing && (durable_seq(q) < wanted_seq || is_cut_soft(q))) {
    flush(q, wanted_seq, false);
    rc = queue_failure(q, err);
  }
  show_and_wake(q);
  if (rc == KV_OK && losses != atomic_load(&q->losses)) {
    rc = tell_loss(q, err);
  } else if (rc == KV_OK && (durable_seq(q) < wanted_seq || is_cut_soft(q))) {
    rc = kv_error_set(err, KV_EBUSY, "another flush is under way");
  }
  pthread_mutex_unlock(&q->lock);
  return rc;
}

void commit_trim(commit_queue *q) {
  pthread_mutex_lock(&q->lock);
  assert(q->appending);
  write_out(q);
  take_back(q);
  if (q->failed == KV_OK) {
    log_writer_trim(&q->log);
    share_set_end(q->page, q->log.end, q->log.size);
  }
  pthread_mutex_unlock(&q->lock);
}

int commit_failure(commit_queue *q, kv_error *err) {
  pthread_mutex_lock(&q->lock);
  int rc = queue_failure(q, err);
  pthread_mutex_unlock(&q->lock);
  return rc;
}

int commit_queue_close(commit_queue *q, bool last, kv_error *err) {
  pthread_mutex_lock(&q->lock);
  bool running = q->flusher.running;
  q->flusher.stop = true;
  pthread_cond_signal(&q->flusher.wake);
  pthread_mutex_unlock(&q->lock);
  if (running) pthread_join(q->flusher.id, NULL);
  assert(q->first == NULL && !q->flushing && (q->filling.size == 0 || q->failed != KV_OK));
  if (last && atomic_load(&q->page->generation) == q->generation) {
    q->log.end = share_end(q->page, q->generation);
    q->log.size = share_size(q->page);
    log_writer_trim(&q->log);
  }
  int rc = q->promised && q->failed == KV_OK ? commit_flush(q, err) : KV_OK;
  if (!q->promised && q->stats.commits > 0 && q->log.fd >= 0 && q->failed == KV_OK) {
    rc = log_place_check_flushed(q->page, q->generation, &q->log, err);
  }
  if (q->log.fd >= 0) os_close_locked(q->log.fd);
  buf_free(&q->filling);
  pthread_cond_destroy(&q->flusher.wake);
  pthread_cond_destroy(&q->flush_done);
  pthread_condattr_destroy(&q->clock);
  pthread_mutex_destroy(&q->lock);
  return rc;
}
