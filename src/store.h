/*
** store.h - one open store: its tree, its log, its queue, and whose turn it is to write.
**
** A process has one store per log file, whatever number of handles (kv.h) use it; a volatile store
** has one handle and no log. The first handle to come opens the log and replays it while later ones
** wait; the last one to go flushes and closes it.
**
** The file is not created before the first transaction, so that an open which comes to nothing
** leaves nothing behind. Likewise an original log is converted, and a torn tail cut off, only when
** a writable handle opens it or writes.
**
** After a fork the child closes what it inherited of the files, so that the lock of a log stays with
** the parent alone; and closing unlocks first, for a child that has not come to it yet.
**
** At the process's end what is open is flushed and the room ahead cut off, for programs that exit
** without closing.
**
** Threads: any. The turn belongs to a handle, not to a thread: a connection may be used by several
** threads one after another.
*/
#ifndef STORE_H
#define STORE_H

#include "commit.h"
#include "kv_base.h"
#include "recover.h"
#include "tree.h"

#include <pthread.h>
#include <sys/types.h>

typedef struct store {
  struct store *next; /* in the process-wide list */
  char *path;         /* canonical; NULL: volatile */
  unsigned handles;   /* guarded by the list's lock */
  pthread_mutex_t opening;
  _Atomic bool open; /* written under `opening` */
  bool readonly;
  unsigned forks;   /* of this process when the store was opened */
  mode_t file_mode; /* for creating the file, as log_draft_begin has it */
  tree tree;
  commit_queue queue;
  recovery recovered;
  int original_fd; /* an original log that waits for its conversion, else -1 */
  kv_error notice; /* what opening had to do, code KV_OK if nothing */
  bool noticed;    /* somebody has been told */
  struct {
    pthread_mutex_t lock;
    pthread_cond_t free;
    const void *owner; /* a handle, NULL: free */
    unsigned waiting;
  } turn;
} store;

/* Open the store of a path, or find it open; NULL makes a volatile one. path may be relative and
** need not exist yet, unless readonly. A store that is open read-only is not opened for writing as
** well: KV_EREADONLY. *notice (may be NULL) gets a sentence, once, if opening had to cut off a torn
** tail. The caller gives the store back with store_release.
** KV_ENOMEM, KV_EIO, KV_EBUSY (another process has it), KV_ECANTOPEN, KV_EFOREIGN, KV_EVERSION,
** KV_EDAMAGED, KV_EREADONLY. */
int store_acquire(const char *path, mode_t file_mode, bool readonly, store **out, kv_error *notice,
                  kv_error *err);

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

/* Take the writer's turn for a handle, waiting at most timeout_ms. KV_EBUSY. */
int store_turn_take(store *s, const void *owner, unsigned timeout_ms);
void store_turn_pass(store *s, const void *owner);

/* Make the log ready for a transaction: create the file, or convert an original one. The caller has
** the turn. Errors as for store_acquire, and KV_EFULL. */
int store_make_writable(store *s, kv_error *err);

#endif
