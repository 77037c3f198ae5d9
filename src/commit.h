/*
** commit.h - the commit queue: who waits for which flush.
**
** A committing thread hands its transaction over while it has the writer's turn: the queue gives it
** its number, puts its lines behind those already waiting, and seals its version. The thread then
** passes the turn on and waits until its own durability is reached:
**
**   FULL    until a flush that began after the hand-over is done. Whoever finds no flush in flight
**           and a group that is due leads: writes all that is waiting, flushes, wakes those it
**           covered. While it flushes, the next group fills. A lone writer leads itself, without a
**           thread switch.
**   NORMAL  the lines are with the operating system at hand-over; the flush is the flush thread's
**           business. The commit becomes visible and returns at once, or, if more than
**           2 * group_size commits are unflushed, once there are no more than that.
**   OFF     the lines are with the operating system at hand-over; nobody flushes.
**
** A group is due when group_size commits wait for a flush, or the oldest has waited for
** group_timeout. The three modes, and settings of all kinds, may be mixed on one log: versions become
** visible in order, each when its own transaction has reached its durability and all before it have
** theirs. Whoever is awake leads for any commit whose group is due. After a flush the first FULL
** commit not covered is woken to lead if a group is due, and all of them to watch the time if none is.
**
** A transaction may be handed over without anybody waiting for it: its ticket is then the queue's
** own. It is written and published with the others; in FULL somebody has to lead, by committing or
** by commit_flush.
**
** After a failed write or flush nothing can be known about the file's tail: the kernel may have
** marked the pages clean. So the queue refuses everything from then on, every commit that waits
** fails, and its version never becomes visible.
**
** Invariants:
**   1. durable_seq <= flushing_seq <= written_seq <= handed_seq
**   2. at most one flush is in flight; it covers exactly the transactions up to flushing_seq
**   3. published_seq is the newest visible transaction; a commit returns KV_OK when it has got
**      there, and never becomes visible if it does not
**
** Threads: any. `lock` guards everything; the flush itself runs without it. Lock order: a thread
** with the queue's lock takes no other.
*/
#ifndef COMMIT_H
#define COMMIT_H

#include "buf.h"
#include "histogram.h"
#include "kv_base.h"
#include "log_write.h"
#include "tree.h"

#include <pthread.h>

typedef struct commit_settings {
  kv_sync synchronous;
  unsigned group_size; /* commits, 1 or more */
  unsigned group_timeout_ms;
} commit_settings;

/* A transaction in the queue; lives on the stack of the thread that commits it, or is the queue's
** if nobody waits. */
typedef struct commit_ticket {
  struct commit_ticket *next, *previous; /* by seq */
  tree_version *version;
  uint64_t seq;
  uint64_t handed_ns;
  commit_settings settings;
  bool detached; /* nobody waits: the queue's own, and without a condition */
  pthread_cond_t wake;
} commit_ticket;

typedef struct commit_stats {
  uint64_t commits;
  uint64_t flushes;
  uint64_t bytes; /* appended to the log */
  histogram flush_ns;
} commit_stats;

typedef struct commit_queue {
  pthread_mutex_t lock;
  pthread_condattr_t clock; /* condition variables wait by the monotonic clock */
  tree *tree;
  log_writer log;
  buf filling; /* lines handed over and not yet written */
  uint64_t handed_seq, written_seq, flushing_seq, durable_seq, published_seq;
  bool flushing;
  bool promised;               /* some commit was not of mode OFF, so that closing has to flush */
  pthread_cond_t flush_done;   /* for those without a ticket */
  commit_ticket *first, *last; /* those that have not returned, or that nobody waits for */
  commit_ticket *spare;        /* detached ones that are not in use */
  int failed;                  /* KV_OK, or why nothing can be committed any more */
  kv_error failure;
  struct {
    pthread_t id;
    pthread_cond_t wake;
    bool running, stop;
    uint64_t wanted_seq;  /* flush through this one without waiting for more */
    uint64_t deadline_ns; /* flush by then what waits; 0: nothing waits */
  } flusher;
  commit_stats stats;
} commit_queue;

/* Start a queue on a tree whose newest version has the number seq. log.fd may be -1 until the log
** is created. Cannot fail but for KV_ENOMEM. */
int commit_queue_init(commit_queue *q, tree *t, uint64_t seq);

/* Give the queue the log that has been created; to be called by whoever has the writer's turn. */
void commit_queue_attach(commit_queue *q, const log_writer *log);

/* Stop the flush thread, flush what waits (if any commit was not of mode OFF), close the log. */
int commit_queue_close(commit_queue *q, kv_error *err);

/* Hand over the transaction whose WRITE and DELETE lines are in ops and whose edit is open in the
** tree: on success the edit is sealed and the ticket in the queue, and commit_wait must follow, unless
** ticket is NULL: then nobody waits. On failure the edit is still open. The caller has the writer's
** turn. KV_ENOMEM, or the queue's failure. */
int commit_hand_over(commit_queue *q, const buf *ops, const commit_settings *settings,
                     commit_ticket *ticket, kv_error *err);

/* The same for a volatile store: the sealed version is all there is, and nothing to wait for. */
void commit_volatile(commit_queue *q);

/* Refuse everything from now on, for this reason if there was none before. */
void commit_break(commit_queue *q, int code, const char *why);

/* Wait for the ticket's durability. KV_OK: the transaction is committed and visible. Else the
** queue's failure: it is neither, and whether a reopened store has it cannot be said. */
int commit_wait(commit_queue *q, commit_ticket *ticket, kv_error *err);

/* Bring everything handed over so far to stable storage. The queue's failure. */
int commit_flush(commit_queue *q, kv_error *err);

/* As commit_flush, and cut the room ahead off, for a process that ends without closing. */
void commit_settle(commit_queue *q);

/* The newest transaction handed over, and the newest that everybody may see. */
uint64_t commit_handed_seq(commit_queue *q);
uint64_t commit_published_seq(commit_queue *q);

/* Pin the newest version handed over, published or not. KV_ENOMEM. */
int commit_pin_newest(commit_queue *q, tree_pin *out);

/* KV_OK, or why nothing can be committed any more. */
int commit_failure(commit_queue *q, kv_error *err);

#endif
