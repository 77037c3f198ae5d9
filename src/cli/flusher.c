/* flusher.c - the server's flush thread. See flusher.h. */
#include "flusher.h"

#include <signal.h>
#include <time.h>

#define QUICK_NS 300000u /* flushes that take less are done by the loop */

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool is_due(const flusher *f) {
  return f->wanted_seq - f->flushed_seq >= f->expected || now_ns() >= f->deadline_ns;
}

/* The first request for the next flush: how many will it be worth waiting for, and how long? */
static void expect(flusher *f, uint64_t seq) {
  uint64_t timeout_ns = (uint64_t)f->group_timeout_ms * 1000000u;
  uint64_t all = f->last_group + (seq - f->flushed_seq);
  f->expected = f->group_size;
  if (f->group_size == 1) {
    f->expected = all - all / 8; /* some will have left, or have nothing to write */
    timeout_ns = f->took_ns / 2;
  }
  f->deadline_ns = now_ns() + timeout_ns;
}

static void wait_for_group(flusher *f) {
  struct timespec until = {.tv_sec = (time_t)(f->deadline_ns / 1000000000u),
                           .tv_nsec = (long)(f->deadline_ns % 1000000000u)};
  pthread_cond_timedwait(&f->asked, &f->lock, &until);
}

/* With the lock: a flush through seq is over, which began when there were so many forgets. */
static void note_flush(flusher *f, uint64_t seq, unsigned forgets, uint64_t began_ns, int rc,
                       const kv_error *err) {
  if (rc == KV_EFULL) { /* there is nothing to flush before the loop asks again */
    f->wanted_seq = f->flushed_seq;
    return;
  }
  if (rc == KV_OK && forgets != f->forgets) return;
  if (rc != KV_OK) {
    f->failure = *err;
    f->failure.code = rc;
    return;
  }
  f->last_group = seq - f->flushed_seq;
  f->flushed_seq = seq;
  f->took_ns = (3 * f->took_ns + (now_ns() - began_ns)) / 4;
}

static void *flusher_main(void *context) {
  flusher *f = context;
  pthread_mutex_lock(&f->lock);
  while (!f->stop && f->failure.code == KV_OK) {
    if (f->wanted_seq <= f->flushed_seq) {
      pthread_cond_wait(&f->asked, &f->lock);
    } else if (!is_due(f)) {
      wait_for_group(f);
    } else {
      uint64_t seq = f->wanted_seq;
      unsigned forgets = f->forgets;
      f->is_flushing = true;
      pthread_mutex_unlock(&f->lock);
      kv_error err = {.code = KV_OK};
      uint64_t began_ns = now_ns();
      int rc = kv_flush(f->db, &err);
      pthread_mutex_lock(&f->lock);
      f->is_flushing = false;
      note_flush(f, seq, forgets, began_ns, rc, &err);
      f->wake(f->context);
    }
  }
  pthread_mutex_unlock(&f->lock);
  return NULL;
}

static void use(flusher *f, const kv_settings *settings) {
  f->group_size = settings->synchronous == KV_SYNC_FULL ? settings->group_size : 1;
  f->group_timeout_ms = settings->group_timeout_ms;
}

void flusher_set(flusher *f, const kv_settings *settings) {
  pthread_mutex_lock(&f->lock);
  use(f, settings);
  pthread_cond_signal(&f->asked);
  pthread_mutex_unlock(&f->lock);
}

int flusher_start(flusher *f, kv *db, const kv_settings *settings, void (*wake)(void *context),
                  void *context, kv_error *err) {
  *f = (flusher){.db = db, .wake = wake, .context = context};
  use(f, settings);
  f->wanted_seq = f->flushed_seq = kv_published_seq(db);
  pthread_condattr_t clock;
  pthread_condattr_init(&clock);
  pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
  pthread_mutex_init(&f->lock, NULL);
  pthread_cond_init(&f->asked, &clock);
  pthread_condattr_destroy(&clock);
  /* Signals are for the loop. */
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int rc = pthread_create(&f->id, NULL, flusher_main, f);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  f->running = rc == 0;
  if (f->running) return KV_OK;
  if (err != NULL) {
    *err = (kv_error){.code = KV_ENOMEM, .text = "cannot start the flush thread"};
  }
  return KV_ENOMEM;
}

bool flusher_ask(flusher *f, uint64_t seq) {
  pthread_mutex_lock(&f->lock);
  bool is_heard = !f->is_flushing;
  if (is_heard && seq > f->wanted_seq) {
    if (f->wanted_seq <= f->flushed_seq) expect(f, seq);
    f->wanted_seq = seq;
    if (is_due(f) || f->deadline_ns != f->told_ns) pthread_cond_signal(&f->asked);
    f->told_ns = f->deadline_ns;
  }
  pthread_mutex_unlock(&f->lock);
  return is_heard;
}

void flusher_forget(flusher *f, uint64_t kept_seq) {
  pthread_mutex_lock(&f->lock);
  if (f->wanted_seq > kept_seq) f->wanted_seq = kept_seq;
  if (f->flushed_seq > kept_seq) f->flushed_seq = kept_seq;
  f->forgets++;
  pthread_mutex_unlock(&f->lock);
}

bool flusher_is_quick(flusher *f) {
  pthread_mutex_lock(&f->lock);
  bool is_quick = f->group_size == 1 && f->took_ns < QUICK_NS && f->wanted_seq <= f->flushed_seq;
  pthread_mutex_unlock(&f->lock);
  return is_quick;
}

bool flusher_flush(flusher *f, kv *db, uint64_t seq) {
  kv_error err = {.code = KV_OK};
  uint64_t began_ns = now_ns();
  int rc = kv_flush_unless_busy(db, &err);
  if (rc == KV_EBUSY) return false;
  pthread_mutex_lock(&f->lock);
  f->wanted_seq = seq;
  note_flush(f, seq, f->forgets, began_ns, rc, &err);
  pthread_mutex_unlock(&f->lock);
  return true;
}

int flusher_failure(flusher *f, kv_error *err) {
  pthread_mutex_lock(&f->lock);
  int rc = f->failure.code;
  if (rc != KV_OK && err != NULL) *err = f->failure;
  pthread_mutex_unlock(&f->lock);
  return rc;
}

void flusher_stop(flusher *f) {
  if (!f->running) return;
  pthread_mutex_lock(&f->lock);
  f->stop = true;
  pthread_cond_signal(&f->asked);
  pthread_mutex_unlock(&f->lock);
  pthread_join(f->id, NULL);
  pthread_cond_destroy(&f->asked);
  pthread_mutex_destroy(&f->lock);
  f->running = false;
}
