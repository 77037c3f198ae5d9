/*
** store_turn.c - the writer's turn: among the handles of a process, and among the processes.
**
** A handle first gets the turn among its own process's handles, then, unless the process has it
** still, among the processes. It is passed on the same way backwards: to another handle that waits,
** or, if none does or others have waited for TURN_KEEP, to the other processes; only then does what
** was handed over have to be written (commit.h). So commits of many threads are written together.
*/
#include "store.h"

#include "log_place.h"
#include "os.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

#define TURN_KEEP_NS 1000000u
#define SLICE_NS 10000000u /* how long at a time a handle waits, if that may be interrupted */

/* A wait for the turn. A checkpoint is waited for beyond the limit, but not beyond most_ns: its process
** may be stopped. */
typedef struct turn_wait {
  const share_limit *limit; /* NULL: do not wait at all */
  uint64_t most_ns;         /* 0: not known yet */
} turn_wait;

static uint64_t most_ns(turn_wait *w) {
  if (w->limit == NULL) return 0;
  if (w->most_ns == 0) {
    w->most_ns = os.now_ns() + STORE_GRACE_NS;
    if (w->most_ns < w->limit->deadline_ns) w->most_ns = w->limit->deadline_ns;
  }
  return w->most_ns;
}

static bool is_interrupted(const turn_wait *w) {
  return w->limit != NULL && share_is_interrupted(w->limit);
}

/* Why the turn was not taken. */
static int busy(const store *s, const turn_wait *w, kv_error *err) {
  if (is_interrupted(w)) {
    return kv_error_set(err, KV_EINTERRUPTED, "interrupted waiting for another writer of '%s'",
                        store_name(s));
  }
  return kv_error_set(err, KV_EBUSY, "another writer has the turn in '%s'", store_name(s));
}

/* --- among the handles ---------------------------------------------------------------------------- */

/* A handle that waits. Each is woken by itself: of many that wait only one is meant. */
typedef struct turn_waiter {
  const void *owner;
  bool brief;
  pthread_cond_t wake;
  struct turn_waiter *previous, *next;
} turn_waiter;

static void start_waiting(store *s, turn_waiter *w) {
  pthread_condattr_t clock;
  pthread_condattr_init(&clock);
  pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
  pthread_cond_init(&w->wake, &clock);
  pthread_condattr_destroy(&clock);
  w->previous = s->turn.last;
  *(s->turn.last != NULL ? &s->turn.last->next : &s->turn.first) = w;
  s->turn.last = w;
}

static void stop_waiting(store *s, turn_waiter *w) {
  *(w->previous != NULL ? &w->previous->next : &s->turn.first) = w->next;
  *(w->next != NULL ? &w->next->previous : &s->turn.last) = w->previous;
  if (s->turn.heir == w) s->turn.heir = NULL;
  pthread_cond_destroy(&w->wake);
}

/* Wait until the turn is passed on, or until it is time to look what to do next; false if it is time
** to give up. With turn.lock, while another handle has the turn. */
static bool wait_for_handles(store *s, turn_waiter *w, uint64_t patient_ns, turn_wait *wait) {
  if (wait->limit == NULL || is_interrupted(wait)) return false;
  uint64_t now_ns = os.now_ns(),
           until_ns = s->turn.brief ? most_ns(wait) : wait->limit->deadline_ns;
  if (until_ns <= now_ns) return false;
  bool may_change = s->turn.brief || wait->limit->is_interrupted != NULL;
  if (may_change && until_ns > now_ns + SLICE_NS) until_ns = now_ns + SLICE_NS;
  if (now_ns < patient_ns) {
    if (until_ns > patient_ns) until_ns = patient_ns;
  } else if (s->turn.heir == NULL) {
    s->turn.heir = w;
  }
  struct timespec end = {.tv_sec = (time_t)(until_ns / 1000000000u),
                         .tv_nsec = (long)(until_ns % 1000000000u)};
  (void)pthread_cond_timedwait(&w->wake, &s->turn.lock, &end);
  return true;
}

/* As among the processes (share.h): whoever finds the turn free takes it, but who has waited for
** SHARE_PATIENCE gets it handed. */
static int take_from_handles(store *s, const void *owner, bool brief, turn_wait *wait) {
  pthread_mutex_lock(&s->turn.lock);
  assert(s->turn.owner != owner);
  if (s->turn.owner != NULL) {
    turn_waiter w = {.owner = owner, .brief = brief};
    uint64_t patient_ns = os.now_ns() + SHARE_PATIENCE_NS;
    start_waiting(s, &w);
    while (s->turn.owner != NULL && s->turn.owner != owner) {
      if (!wait_for_handles(s, &w, patient_ns, wait)) break;
    }
    stop_waiting(s, &w);
  }
  /* Whoever waited takes it if it is free, late or not: the process may have kept it for him. */
  bool taken = s->turn.owner == NULL || s->turn.owner == owner;
  if (taken) {
    s->turn.owner = owner;
    s->turn.brief = brief;
  }
  pthread_mutex_unlock(&s->turn.lock);
  return taken ? KV_OK : KV_EBUSY;
}

/* Whether another handle shall have it next, and not another process. */
static bool is_kept(store *s) {
  if (s->turn.first == NULL) return false;
  return !share_lock_is_wanted(&s->share.page->turn) ||
         os.now_ns() - s->turn.began_ns < TURN_KEEP_NS;
}

/* --- among the processes -------------------------------------------------------------------------- */

/* An original log becomes a headed one, and the others are told. */
static int convert(store *s, kv_error *err) {
  log_draft draft;
  log_writer writer = {.fd = -1};
  recovery found = s->follow.at;
  int rc = log_place_check(s->follow.fd, s->path, err);
  if (rc == KV_OK) rc = log_place_check_mount(s->path, err);
  if (rc == KV_OK) rc = recover_convert(s->follow.fd, s->path, &found, &draft, err);
  if (rc != KV_OK) return rc;
  share_file file = {.inode = log_draft_inode(&draft),
                     .snapshot_seq = found.seq,
                     .snapshot_end = draft.writer.end};
  memcpy(file.id, draft.writer.header.id, sizeof draft.writer.header.id);
  share_announce(s->share.page, file.id, file.inode);
  rc = log_draft_finish(&draft, s->follow.fd, &writer, err);
  if (writer.fd < 0) {
    share_announce(s->share.page, NULL, 0);
    return rc;
  }
  commit_switch(&s->queue, &writer, &file);
  if (rc != KV_OK) commit_break(&s->queue, rc, err != NULL ? err->text : "out of order");
  return rc;
}

/* The process has the turn: make sense of where the log is. */
static int prepare(store *s, kv_error *err) {
  share_page *page = s->share.page;
  kv_error why;
  int rc = KV_OK;
  pthread_mutex_lock(&s->follow.lock);
  if (commit_failure(&s->queue, &why) != KV_OK) {
    rc = kv_error_set(err, why.code == KV_EMOVED ? KV_EMOVED : KV_EREADONLY, "%s", why.text);
  }
  if (rc == KV_OK && atomic_load(&page->unrepaired)) rc = store_repair(s, err);
  if (rc == KV_OK) rc = store_follow_written(s, err);
  if (rc == KV_OK) rc = store_confirm(s, err);
  if (rc == KV_OK) rc = commit_resume(&s->queue, err);
  if (rc == KV_OK) {
    s->follow.appending = true;
    if (s->follow.at.original) rc = convert(s, err);
    if (rc == KV_OK && s->follow.at.original) rc = store_follow_written(s, err);
  }
  pthread_mutex_unlock(&s->follow.lock);
  return rc;
}

static void pass_to_processes(store *s) {
  pthread_mutex_lock(&s->follow.lock);
  if (s->follow.appending) {
    commit_suspend(&s->queue);
    s->follow.appending = false;
    s->follow.at.seq = s->queue.handed_seq;
    s->follow.at.end = share_end(s->share.page, s->follow.generation);
    store_note_end(s);
  }
  pthread_mutex_unlock(&s->follow.lock);
  share_lock_pass(&s->share, &s->share.page->turn);
}

static int take_share_lock(store *s, turn_wait *w, bool *inherited, kv_error *err) {
  static const share_limit none = {.deadline_ns = 0};
  share_page *page = s->share.page;
  share_limit limit = w->limit != NULL ? *w->limit : none;
  while (!share_lock_wait(&s->share, &page->turn, &limit, inherited)) {
    if (atomic_load(&page->brief) == 0 || is_interrupted(w)) return busy(s, w, err);
    uint64_t now_ns = os.now_ns(), most = most_ns(w);
    if (now_ns >= most) return busy(s, w, err);
    limit.deadline_ns = now_ns + SLICE_NS < most ? now_ns + SLICE_NS : most;
  }
  return KV_OK;
}

/* Opening the log takes its own time, with the limit's deadline or a little more. */
static int join(store *s, turn_wait *w, kv_error *err) {
  static const share_limit none = {.deadline_ns = 0};
  store_wait wait = {.began = true, .limit = w->limit != NULL ? *w->limit : none};
  wait.limit.deadline_ns = most_ns(w);
  int rc = store_wait_lock(s, &s->follow.lock, &wait, err);
  if (rc != KV_OK) return rc;
  if (atomic_load(&s->page) == NULL) rc = store_join(s, true, &wait, err);
  pthread_mutex_unlock(&s->follow.lock);
  return rc;
}

static int take_from_processes(store *s, bool brief, turn_wait *w, kv_error *err) {
  if (s->follow.appending) { /* it was kept */
    atomic_store(&s->share.page->brief, brief);
    return KV_OK;
  }
  int rc = atomic_load(&s->page) == NULL ? join(s, w, err) : KV_OK;
  if (rc != KV_OK) return rc;
  bool inherited;
  rc = take_share_lock(s, w, &inherited, err);
  if (rc != KV_OK) return rc;
  atomic_store(&s->share.page->brief, brief);
  if (inherited) atomic_store(&s->share.page->unrepaired, 1);
  rc = prepare(s, err);
  if (rc == KV_OK) {
    s->turn.began_ns = os.now_ns();
  } else {
    pass_to_processes(s);
  }
  return rc;
}

/* --- both ------------------------------------------------------------------------------------------ */

static int take(store *s, const void *owner, bool brief, const share_limit *limit, kv_error *err) {
  /* A checkpoint does not wait for another one beyond its own limit. */
  turn_wait wait = {.limit = limit, .most_ns = brief && limit != NULL ? limit->deadline_ns : 0};
  if (take_from_handles(s, owner, brief, &wait) != KV_OK) return busy(s, &wait, err);
  int rc = s->path != NULL ? take_from_processes(s, brief, &wait, err) : KV_OK;
  if (rc != KV_OK) store_turn_pass(s, owner);
  return rc;
}

int store_turn_take(store *s, const void *owner, const share_limit *limit, kv_error *err) {
  return take(s, owner, false, limit, err);
}

int store_turn_take_briefly(store *s, const void *owner, const share_limit *limit, kv_error *err) {
  return take(s, owner, true, limit, err);
}

void store_turn_pass(store *s, const void *owner) {
  pthread_mutex_lock(&s->turn.lock);
  assert(s->turn.owner == owner);
  (void)owner;
  if (s->path != NULL && s->follow.appending && !is_kept(s)) {
    /* Nobody of this process can take it as long as it has an owner. */
    pthread_mutex_unlock(&s->turn.lock);
    pass_to_processes(s);
    pthread_mutex_lock(&s->turn.lock);
  }
  turn_waiter *heir = s->turn.heir, *next = heir != NULL ? heir : s->turn.first;
  s->turn.owner = heir != NULL ? heir->owner : NULL;
  s->turn.brief = heir != NULL && heir->brief;
  s->turn.heir = NULL;
  if (next != NULL) pthread_cond_signal(&next->wake);
  pthread_mutex_unlock(&s->turn.lock);
}
