/* commit.c - the commit queue. See commit.h. */
#include "commit.h"

#include "os.h"

#include <assert.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define FILLING_KEEP_MAX ((size_t)1 << 20)    /* a larger buffer is given back once it is written */
#define ALLOCATE_BATCH_MAX ((size_t)16 << 10) /* batches up to this size are worth room ahead */
#define ALLOCATE_GROUP_MAX 100 /* NORMAL groups up to this size too: see log_write.h */

int commit_queue_init(commit_queue *q, tree *t, uint64_t seq) {
  memset(q, 0, sizeof *q);
  q->tree = t;
  q->log.fd = -1;
  q->handed_seq = q->written_seq = q->flushing_seq = q->durable_seq = q->published_seq = seq;
  if (pthread_mutex_init(&q->lock, NULL) != 0) return KV_ENOMEM;
  pthread_condattr_init(&q->clock);
  pthread_condattr_setclock(&q->clock, CLOCK_MONOTONIC);
  pthread_cond_init(&q->flusher.wake, &q->clock);
  pthread_cond_init(&q->flush_done, &q->clock);
  return KV_OK;
}

void commit_queue_attach(commit_queue *q, const log_writer *log) {
  pthread_mutex_lock(&q->lock);
  q->log = *log;
  pthread_mutex_unlock(&q->lock);
}

/* --- conditions ------------------------------------------------------------------------------- */

static void wait_until(pthread_cond_t *wake, pthread_mutex_t *lock, uint64_t deadline_ns) {
  struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                           .tv_nsec = (long)(deadline_ns % 1000000000u)};
  pthread_cond_timedwait(wake, lock, &until);
}

/* Whether the transaction may be seen: FULL shows nothing that a crash could take back, NORMAL
** nothing that it could take back beyond what was said. */
static bool is_publishable(const commit_queue *q, const commit_ticket *ticket) {
  if (q->durable_seq >= ticket->seq) return true;
  if (q->written_seq < ticket->seq) return false;
  if (ticket->settings.synchronous == KV_SYNC_OFF) return true;
  return ticket->settings.synchronous == KV_SYNC_NORMAL &&
         ticket->seq - q->durable_seq <= 2 * (uint64_t)ticket->settings.group_size;
}

/* Whether its commit may return. */
static bool is_done(const commit_queue *q, const commit_ticket *ticket) {
  return q->published_seq >= ticket->seq;
}

/* Whether it waits for a flush that somebody has to lead. */
static bool is_waiting_full(const commit_queue *q, const commit_ticket *ticket) {
  return ticket->settings.synchronous == KV_SYNC_FULL && !is_done(q, ticket);
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

/* --- tickets; all with the lock ---------------------------------------------------------------- */

static void ticket_link(commit_queue *q, commit_ticket *ticket) {
  if (!ticket->detached) pthread_cond_init(&ticket->wake, &q->clock);
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
  if (!ticket->detached) pthread_cond_destroy(&ticket->wake);
}

/* A detached ticket goes to those not in use, out of the queue; and comes from there. */
static void ticket_put_aside(commit_queue *q, commit_ticket *ticket) {
  ticket_unlink(q, ticket);
  ticket->next = q->spare;
  q->spare = ticket;
}

static commit_ticket *ticket_take(commit_queue *q) {
  commit_ticket *ticket = q->spare;
  if (ticket == NULL) return os.malloc(sizeof *ticket);
  q->spare = ticket->next;
  return ticket;
}

/* Those that nobody waits for, published or not. */
static void tickets_free(commit_queue *q) {
  while (q->first != NULL && q->first->detached) ticket_put_aside(q, q->first);
  for (commit_ticket *t = q->spare, *next; t != NULL; t = next) {
    next = t->next;
    os.free(t);
  }
  q->spare = NULL;
}

/* --- writing and flushing; all with the lock --------------------------------------------------- */

/* Make visible what has become publishable. */
static void publish(commit_queue *q) {
  tree_version *newest = NULL;
  for (commit_ticket *t = q->first, *next; t != NULL && is_publishable(q, t); t = next) {
    next = t->next;
    if (t->seq > q->published_seq) {
      newest = t->version;
      q->published_seq = t->seq;
    }
    if (t->detached) ticket_put_aside(q, t);
  }
  if (newest != NULL) tree_publish(q->tree, newest);
}

/* Wake the commits that are done; and one that leads the next group if it is due, for its flush
** covers the others; else all that have a deadline to watch. */
static void wake_waiting(commit_queue *q) {
  bool one_leads = is_group_due(q), led = false;
  for (commit_ticket *t = q->first; t != NULL; t = t->next) {
    if (t->detached) continue;
    if (is_done(q, t) || q->failed != KV_OK) {
      pthread_cond_signal(&t->wake);
    } else if (is_waiting_full(q, t) && !(one_leads && led)) {
      pthread_cond_signal(&t->wake);
      led = true;
    }
  }
}

static void fail(commit_queue *q, int code, const char *why) {
  if (q->failed != KV_OK) return;
  q->failed = code;
  kv_error_set(&q->failure, code, "%s; the store is read-only until it is reopened", why);
  wake_waiting(q);
}

static void write_out(commit_queue *q) {
  if (q->filling.size == 0 || q->failed != KV_OK) return;
  kv_error why;
  int rc = log_writer_append(&q->log, q->filling.data, q->filling.size, &why);
  if (rc != KV_OK) {
    fail(q, rc, why.text);
    return;
  }
  q->stats.bytes += q->filling.size;
  q->filling.size = 0;
  if (q->filling.room > FILLING_KEEP_MAX) buf_free(&q->filling);
  q->written_seq = q->handed_seq;
}

/* Write what waits, flush it, let everybody know. Drops the lock during the flush. */
static void flush(commit_queue *q) {
  assert(!q->flushing && q->durable_seq == q->flushing_seq);
  q->flusher.deadline_ns = 0;
  write_out(q);
  if (q->failed == KV_OK && q->written_seq > q->durable_seq) {
    q->flushing = true;
    q->flushing_seq = q->written_seq;
    uint64_t end = q->log.end;
    pthread_mutex_unlock(&q->lock);
    kv_error why;
    uint64_t start_ns = os.now_ns();
    int rc = log_writer_sync(&q->log, &why);
    uint64_t took_ns = os.now_ns() - start_ns;
    pthread_mutex_lock(&q->lock);
    q->flushing = false;
    if (rc != KV_OK) {
      log_writer_soil(&q->log);
      fail(q, rc, why.text);
    } else {
      q->durable_seq = q->flushing_seq;
      q->log.synced_end = end;
      q->stats.flushes++;
      histogram_add(&q->stats.flush_ns, took_ns);
    }
  }
  publish(q);
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
    } else if (q->flusher.wanted_seq > q->durable_seq || os.now_ns() >= q->flusher.deadline_ns) {
      flush(q);
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
static void ask_flusher(commit_queue *q, const commit_ticket *ticket) {
  uint64_t deadline_ns = ticket_deadline_ns(ticket);
  bool wake = false;
  if (q->flusher.deadline_ns == 0 || deadline_ns < q->flusher.deadline_ns) {
    q->flusher.deadline_ns = deadline_ns;
    wake = true;
  }
  if (!q->flusher.running && !(q->flusher.running = flusher_start(q))) {
    if (!q->flushing) flush(q);
    return;
  }
  bool full = q->handed_seq - q->flushing_seq >= ticket->settings.group_size;
  if (full && q->flusher.wanted_seq <= q->flushing_seq) {
    q->flusher.wanted_seq = q->handed_seq;
    wake = true;
  }
  if (wake && !q->flushing) pthread_cond_signal(&q->flusher.wake);
}

/* --- committing ------------------------------------------------------------------------------- */

static int queue_failure(const commit_queue *q, kv_error *err) {
  if (q->failed == KV_OK) return KV_OK;
  return kv_error_set(err, q->failed, "%s", q->failure.text);
}

/* Put the transaction's lines behind those that wait. */
static int append_lines(commit_queue *q, const buf *ops) {
  size_t start = q->filling.size;
  int rc = buf_append(&q->filling, ops->data, ops->size);
  if (rc == KV_OK) {
    rc = log_format_commit(&q->filling, start, q->log.header.id, q->handed_seq + 1, q->durable_seq);
  }
  if (rc != KV_OK) q->filling.size = start;
  return rc;
}

int commit_hand_over(commit_queue *q, const buf *ops, const commit_settings *settings,
                     commit_ticket *ticket, kv_error *err) {
  assert(ops->size > 0 && settings->group_size > 0);
  pthread_mutex_lock(&q->lock);
  size_t start = q->filling.size;
  int rc = queue_failure(q, err);
  if (rc == KV_OK && append_lines(q, ops) != KV_OK) {
    rc = kv_error_set(err, KV_ENOMEM, "out of memory committing %zu bytes", ops->size);
  }
  bool detached = ticket == NULL;
  if (rc == KV_OK && detached && (ticket = ticket_take(q)) == NULL) {
    q->filling.size = start;
    rc = kv_error_set(err, KV_ENOMEM, "out of memory committing");
  }
  if (rc == KV_OK) {
    ticket->detached = detached;
    ticket->settings = *settings;
    if (settings->synchronous != KV_SYNC_OFF) q->promised = true;
    ticket->seq = ++q->handed_seq;
    ticket->handed_ns = os.now_ns();
    ticket->version = tree_edit_seal(q->tree, ticket->seq);
    ticket_link(q, ticket);
    q->stats.commits++;
    if (settings->synchronous != KV_SYNC_FULL) {
      bool small =
          settings->synchronous == KV_SYNC_NORMAL && settings->group_size <= ALLOCATE_GROUP_MAX;
      if (small) log_writer_allocate(&q->log, q->filling.size);
      write_out(q);
      publish(q);
      if (settings->synchronous == KV_SYNC_NORMAL) ask_flusher(q, ticket);
      if (!q->flushing && is_group_due(q)) wake_waiting(q);
    }
  }
  pthread_mutex_unlock(&q->lock);
  return rc;
}

void commit_volatile(commit_queue *q) {
  pthread_mutex_lock(&q->lock);
  q->stats.commits++;
  q->published_seq = ++q->handed_seq;
  tree_publish(q->tree, tree_edit_seal(q->tree, q->handed_seq));
  pthread_mutex_unlock(&q->lock);
}

void commit_break(commit_queue *q, int code, const char *why) {
  pthread_mutex_lock(&q->lock);
  fail(q, code, why);
  pthread_mutex_unlock(&q->lock);
}

int commit_wait(commit_queue *q, commit_ticket *ticket, kv_error *err) {
  pthread_mutex_lock(&q->lock);
  bool full = ticket->settings.synchronous == KV_SYNC_FULL;
  bool alone = ticket->settings.synchronous == KV_SYNC_NORMAL && !q->flusher.running;
  while (!is_done(q, ticket) && q->failed == KV_OK) {
    if (q->flushing) {
      pthread_cond_wait(&ticket->wake, &q->lock);
    } else if (alone || (full && is_group_due(q))) {
      if (q->filling.size <= ALLOCATE_BATCH_MAX && ticket->settings.group_size == 1) {
        log_writer_allocate(&q->log, q->filling.size);
      }
      flush(q);
    } else if (full) {
      wait_until(&ticket->wake, &q->lock, ticket_deadline_ns(ticket));
    } else {
      pthread_cond_wait(&ticket->wake, &q->lock);
    }
  }
  int rc = is_done(q, ticket) ? KV_OK : queue_failure(q, err);
  ticket_unlink(q, ticket);
  pthread_mutex_unlock(&q->lock);
  return rc;
}

int commit_flush(commit_queue *q, kv_error *err) {
  pthread_mutex_lock(&q->lock);
  uint64_t wanted_seq = q->handed_seq;
  while (q->durable_seq < wanted_seq && q->failed == KV_OK) {
    if (q->flushing) {
      pthread_cond_wait(&q->flush_done, &q->lock);
    } else {
      if (q->filling.size <= ALLOCATE_BATCH_MAX) log_writer_allocate(&q->log, q->filling.size);
      flush(q);
    }
  }
  int rc = queue_failure(q, err);
  pthread_mutex_unlock(&q->lock);
  return rc;
}

void commit_settle(commit_queue *q) {
  if (commit_flush(q, NULL) != KV_OK) return;
  pthread_mutex_lock(&q->lock);
  if (q->log.fd >= 0) log_writer_trim(&q->log);
  pthread_mutex_unlock(&q->lock);
}

uint64_t commit_handed_seq(commit_queue *q) {
  pthread_mutex_lock(&q->lock);
  uint64_t seq = q->handed_seq;
  pthread_mutex_unlock(&q->lock);
  return seq;
}

uint64_t commit_published_seq(commit_queue *q) {
  pthread_mutex_lock(&q->lock);
  uint64_t seq = q->published_seq;
  pthread_mutex_unlock(&q->lock);
  return seq;
}

/* Sealing happens under the lock, so that the newest version stays the newest meanwhile. */
int commit_pin_newest(commit_queue *q, tree_pin *out) {
  pthread_mutex_lock(&q->lock);
  int rc = tree_pin_head(q->tree, out);
  pthread_mutex_unlock(&q->lock);
  return rc;
}

int commit_failure(commit_queue *q, kv_error *err) {
  pthread_mutex_lock(&q->lock);
  int rc = queue_failure(q, err);
  pthread_mutex_unlock(&q->lock);
  return rc;
}

int commit_queue_close(commit_queue *q, kv_error *err) {
  pthread_mutex_lock(&q->lock);
  bool running = q->flusher.running;
  bool unwritten = q->filling.size > 0 && q->failed == KV_OK;
  q->flusher.stop = true;
  pthread_cond_signal(&q->flusher.wake);
  pthread_mutex_unlock(&q->lock);
  if (running) pthread_join(q->flusher.id, NULL);
  int flushed = unwritten ? commit_flush(q, err) : KV_OK;
  tickets_free(q);
  assert(q->first == NULL && !q->flushing);
  bool usable = q->failed == KV_OK;
  int rc = log_writer_close(&q->log, q->promised && usable, flushed == KV_OK ? err : NULL);
  if (flushed != KV_OK) rc = flushed;
  buf_free(&q->filling);
  pthread_cond_destroy(&q->flusher.wake);
  pthread_cond_destroy(&q->flush_done);
  pthread_condattr_destroy(&q->clock);
  pthread_mutex_destroy(&q->lock);
  return rc;
}
