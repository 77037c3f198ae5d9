/*
** store.h - one open store: its tree, its log, its queue, and whose turn it is to write.
**
** A process has one store per log file, whatever number of handles (kv.h) use it; a volatile store
** has one handle and no log. The first handle to come opens the log and replays it while later ones
** wait; the last one to go flushes and closes it. (A log that is open read-only here is opened once
** more for writing.)
**
** The file is not created before the first transaction, so that an open which comes to nothing
** leaves nothing behind. Likewise an original log is converted only when a writable handle writes.
**
** Processes. A store that may write joins the others on its log (share.h). Whoever finds nobody else
** there recovers the log, for all (recover.h); later ones read as far as the others have come. From
** then on every statement compares one word in the shared page with what the tree has, and reads on
** in the log where it is behind (store_follow.c); who has the turn does so before it writes. A store
** opened read-only joins nobody: it looks at the others' page if there is one, else at the file.
**
** A forked child closes and unmaps at once what it inherited of the files (os.h), so that locks stay
** with the parent alone; and closing unlocks first, for a child that has not come to it yet.
**
** At the process's end what is open is flushed and the room ahead cut off, for programs that exit
** without closing.
**
** Threads: any. The turn belongs to a handle, not to a thread: a connection may be used by several
** threads one after another. Lock order: the list's, opening, turn.lock, follow.lock, the queue's.
*/
#ifndef STORE_H
#define STORE_H

#include "commit.h"
#include "kv_base.h"
#include "recover.h"
#include "share.h"
#include "tree.h"

#include <pthread.h>
#include <sys/stat.h>

typedef struct store {
  struct store *next; /* in the process-wide list */
  char *path;         /* canonical; NULL: volatile */
  unsigned handles;   /* guarded by the list's lock */
  pthread_mutex_t opening;
  _Atomic bool open; /* written under `opening` */
  bool readonly;
  bool may_be_missing; /* readonly: without a file it is empty, until there is one */
  unsigned forks;      /* of this process when the store was opened */
  rights file_rights;  /* for creating the file */
  tree tree;
  commit_queue queue;
  recovery recovered; /* what opening found */
  kv_error notice;    /* what opening had to do, code KV_OK if nothing */
  bool noticed;       /* somebody has been told */
  share share;
  _Atomic(share_page *) page; /* share.page, once it can be used by any thread */
  struct {
    pthread_mutex_t lock; /* guards this, and the tree's edit while `appending` is not set */
    int fd;               /* of the log, for reading; -1: there is none yet */
    uint64_t generation;  /* of that file */
    recovery at;          /* how far the tree is: at.seq, at.end */
    struct {
      uint64_t generation, seq, end;
    } confirmed;      /* what the log itself was seen to say of its end */
    struct stat seen; /* without a page: what the file looked like then */
    bool appending;   /* the process has the turn, and the tree's edit belongs to its owner; at.end
                       stays behind */
  } follow;
  struct {
    pthread_mutex_t lock;
    const void *owner;                /* a handle, NULL: free */
    bool brief;                       /* the owner is a checkpoint */
    struct turn_waiter *first, *last; /* who waits for it, in the order in which they came */
    struct turn_waiter *heir;         /* gets it next */
    uint64_t began_ns;                /* when the process got it from the others */
  } turn;
  struct {
    pthread_t id;
    bool started;      /* there is a thread to be joined; by who has the turn, or closes */
    _Atomic bool busy; /* and it is at work */
    _Atomic bool stop; /* the store is being closed */
    _Atomic uint64_t not_before; /* bytes of log, after one that failed */
  } checkpointer;                /* see checkpoint.h */
} store;

/* What a call waits beyond its caller's timeout for processes that open or close the log, or change
** its file: they have ended in a moment unless they are stopped. */
#define STORE_GRACE_NS ((uint64_t)400 * 1000000u)

/* A wait that may come: the caller is asked for its timeout when there is something to wait for. */
typedef struct store_wait {
  const kv_waiting *how;
  bool began;
  share_limit limit; /* with the grace */
} store_wait;

/* The limit, which is fixed by the first call. */
const share_limit *store_wait_limit(store_wait *w);

/* Lock a mutex that another thread may hold while it waits itself, for longer than this one would.
** KV_EBUSY, KV_EINTERRUPTED. */
int store_wait_lock(store *s, pthread_mutex_t *mutex, store_wait *w, kv_error *err);

/* Open the store of a path, or find it open; NULL makes a volatile one. path may be relative and
** need not exist yet, unless readonly and not may_be_missing. *notice (may be NULL) gets a sentence, once, if opening had to
** cut off a torn tail. The caller gives the store back with store_release.
** KV_ENOMEM, KV_EIO, KV_EBUSY and KV_EINTERRUPTED (see share_join), KV_ECANTOPEN, KV_EFOREIGN, KV_EVERSION, KV_EDAMAGED. */
int store_acquire(const char *path, const rights *file_rights, bool readonly, bool may_be_missing,
                  const kv_waiting *waiting, store **out, kv_error *notice, kv_error *err);

/* The one absolute name of a file that may not exist yet: its folder's real path and its own name, or
** the real path of what it links to. The caller frees it with os.free. KV_ECANTOPEN, KV_ENOMEM. */
int store_canonical_path(const char *path, char **out, kv_error *err);

/* Give a store back. The last one flushes and closes it; a failure of that is
** reported, the store is gone all the same. In a forked child: nothing happens. */
int store_release(store *s, kv_error *err);

/* Call visit(context, store) for every open store of the process, the list being locked, until it
** returns something else than KV_OK; return that. */
int store_each(int (*visit)(void *context, store *s), void *context);

/* KV_OK, or KV_EMISUSE in a child of the process that opened the store: what it inherited is of no
** use to it and must not be touched, it has to open the log again. */
int store_check_fork(const store *s, kv_error *err);

/* What to call it: its path, or ":memory:". */
const char *store_name(const store *s);

/* --- joining (store_join.c); with follow.lock ---------------------------------------------------- */

/* Join the processes on the log, recovering it if nobody else is there, and bring the tree to what
** is committed. Without a file it is created if `create`, else nothing happens. Errors as for
** store_acquire, and KV_EFULL. */
int store_join(store *s, bool create, store_wait *w, kv_error *err);

/* What a store that is opened read-only has instead. */
int store_look(store *s, kv_error *err);

/* By a store that is opened read-only: bring what it sees to stable storage. Not with follow.lock.
** Errors of store_follow. */
int store_sync_read(store *s, const kv_waiting *waiting, kv_error *err);

/* Leave, closing the queue. */
int store_leave(store *s, kv_error *err);

/* --- following the others (store_follow.c) ------------------------------------------------------ */

/* Bring the tree to what is committed, if it is not there: to be called where a statement begins.
** KV_OK; KV_ENOMEM, KV_EIO, KV_ECANTOPEN, KV_EDAMAGED (the log cannot be followed), KV_EBUSY,
** KV_EINTERRUPTED. */
int store_follow(store *s, const kv_waiting *waiting, kv_error *err);

static inline int store_refresh(store *s, const kv_waiting *waiting, kv_error *err) {
  const share_page *page = atomic_load_explicit(&s->page, memory_order_acquire);
  if (page != NULL && atomic_load_explicit(&page->published_seq, memory_order_acquire) ==
                          atomic_load_explicit(&s->queue.shown_seq, memory_order_acquire)) {
    return KV_OK;
  }
  return s->path != NULL ? store_follow(s, waiting, err) : KV_OK;
}

/* With follow.lock and the turn among all processes: everything that is written, committed or not,
** each transaction that is not visible yet in a version of its own. */
int store_follow_written(store *s, kv_error *err);

/* The same after a member died with the turn: adopt what it has written whole, cut off the rest, and
** find the file again if it was being replaced. */
int store_repair(store *s, kv_error *err);

/* KV_OK if a file of that number, which has the log's name, is what the processes on the log have open, or
** the next one. Else KV_EMOVED; or KV_EIO, KV_ECANTOPEN. */
int store_check_named(const store *s, uint64_t inode, kv_error *err);
/* With the turn, the tree having all that is written: whether the log says as well that it ends where
** the page says that it does, before anything is written there. Without a system call if it ends where
** it did when it was asked last, or when this process passed the turn on (store_note_end).
** KV_EDAMAGED, KV_EIO. */
int store_confirm(store *s, kv_error *err);

static inline void store_note_end(store *s) {
  s->follow.confirmed.generation = s->follow.generation;
  s->follow.confirmed.seq = s->follow.at.seq;
  s->follow.confirmed.end = s->follow.at.end;
}

/* The same for who leaves last, without an error. */
bool store_confirms_end(const store *s);

/* The part of it that finds the file. */
int store_find_file(store *s, kv_error *err);

/* --- the turn (store_turn.c) ---------------------------------------------------------------------- */

/* Take the writer's turn for a handle, among the handles and the processes, waiting as long as the limit
** allows; NULL: not at all. Then the tree has all that is written, and the log can be appended to: it is
** created, or converted from an original one, if it has to be. KV_EBUSY; KV_EINTERRUPTED; KV_EREADONLY
** (after a failure); errors as for store_acquire, and KV_EFULL. */
int store_turn_take(store *s, const void *owner, const share_limit *limit, kv_error *err);

/* The same for a checkpoint, which has it for a moment at a time, and often unasked: for that moment all
** wait, STORE_GRACE at most if their limit is less; but for those that want it briefly themselves. */
int store_turn_take_briefly(store *s, const void *owner, const share_limit *limit, kv_error *err);

void store_turn_pass(store *s, const void *owner);

/* --- giving memory back (store_tidy.c) -------------------------------------------------------------- */

/* A little of it. By who has the right to edit the tree, no edit being open. */
void store_tidy_here(store *s);

/* In proportion to what others have changed, by who has followed them, with follow.lock. */
void store_tidy_followed(store *s);

/* Where a reader has let go, or a transaction has ended: free what no reader needs any more, and move
** what keeps memory from going back, in proportion to what the transaction has changed. Does nothing if
** somebody else has the right to edit the tree: who has it will do it. */
void store_tidy_by_reader(store *s);
void store_tidy_by_writer(store *s);

/* All of it, by who has time and not the turn. */
void store_tidy_all(store *s);

static inline void store_tidy_if_wanted(store *s) {
  if (tree_has_much_garbage(&s->tree) || tree_is_sparse(&s->tree, false)) {
    store_tidy_by_writer(s);
  }
}

#endif
