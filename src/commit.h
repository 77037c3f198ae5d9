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
** Processes. How far the log is written, durable and visible is in the page that all share
** (share.h). Lines are held back only as long as this process has the turn: before another one
** appends, they are written. A flush covers what every process has written; while one flushes the
** others wait for that, and then flush what it did not cover, if anything. They do not have to: if the
** process has stopped one of them flushes itself (share_lock_try), and what the other one then tells
** of its flush, whenever it does, is still true.
**
** After a failed write or flush nothing can be known about the file's tail: the kernel may have
** marked the pages clean. So the queue refuses everything from then on, in every process, every
** commit that waits fails, and its version never becomes visible.
**
** A full disk is no such failure. If a write finds no room (KV_EFULL), nothing of it was flushed or told
** to anybody: the file is cut off where it ended before, what was being written is *lost*, and the
** queue goes on. Lost are the transactions in `filling`, all of them, since each builds on the one
** before. Their commits fail with KV_EFULL, once a flush has made the cut durable, so that no crash can
** bring them back. Their versions are taken back from the tree before the turn is passed on and before
** the next edit begins; an edit that had begun on them cannot be committed. Their numbers are used
** again. If the file cannot be cut, or that flush fails, it is a failure like any other. So each commit
** tries the disk anew, and other processes see nothing of it.
**
** Invariants:
**   1. durable_seq <= written_seq <= handed_seq, of which the first two are the page's; filling has
**      the transactions in between, and is empty without the turn
**   2. a flush covers what was written when it began; in a process there is one at a time, and among
**      all processes too, but for those that do not end
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
#include "share.h"
#include "tree.h"

#include <pthread.h>

typedef struct commit_settings {
  kv_sync synchronous;
  unsigned group_size; /* commits, 1 or more */
  unsigned group_timeout_ms;
  uint64_t auto_checkpoint; /* bytes */
} commit_settings;

/* A transaction in the queue; lives on the stack of the thread that commits it. */
typedef struct commit_ticket {
  struct commit_ticket *next, *previous; /* by seq */
  uint64_t seq;
  uint64_t handed_ns;
  bool lost; /* the disk is full */
  commit_settings settings;
  const kv_waiting
      *waiting; /* an interrupt makes it lead at once; set before commit_wait, or NULL */
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
  share *share;
  share_page *page; /* NULL: volatile, read-only, or there is no log yet */
  log_writer log;
  uint64_t generation;         /* of the file that log has open */
  bool appending;              /* this process has the turn */
  bool worth_room;             /* the newest commit's flush is cheaper with room ahead */
  buf filling;                 /* lines handed over and not yet written */
  uint64_t handed_seq;         /* of the tree's newest sealed version */
  _Atomic uint64_t shown_seq;  /* of its published one */
  uint64_t flushing_seq;       /* the flush in flight covers this; or the last one did */
  bool flushing;               /* a thread of this process leads one */
  int flushing_fd;             /* which is not to be closed meanwhile, else -1 */
  bool promised;               /* some commit was not of mode OFF, so that closing has to flush */
  uint64_t looked_ns;          /* when a commit last looked whether the log has its name still */
  pthread_cond_t flush_done;   /* for those without a ticket */
  commit_ticket *first, *last; /* those that have not returned */
  _Atomic uint64_t losses;     /* how often transactions were lost */
  uint64_t losses_synced;      /* so many of the cuts are durable */
  uint64_t kept_seq;           /* the last loss took everything behind this one */
  kv_error loss;               /* and this was the reason */
  _Atomic bool has_lost;       /* what was lost is in the tree still */
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

/* Start a queue on an empty tree. Without a log everything that is sealed is visible at once. */
void commit_queue_init(commit_queue *q, tree *t, share *s);

/* Give the queue the log; the share has been joined, and the file is of that generation. */
void commit_queue_attach(commit_queue *q, const log_writer *log, uint64_t generation);

/* Stop the flush thread, flush what waits (if any commit was not of mode OFF), close the log.
** `last`: no other process has it open, and none comes meanwhile; then room ahead is cut off. */
int commit_queue_close(commit_queue *q, bool last, kv_error *err);

/* This process has got the turn, and the tree everything that is written: what the page says is
** where to append. If the log has become a new file that is opened. The queue's failure; KV_EIO,
** KV_ECANTOPEN, KV_ENOMEM. */
int commit_resume(commit_queue *q, kv_error *err);

/* It is about to pass the turn on: write what was handed over. Where the log ends then is in the
** page. */
void commit_suspend(commit_queue *q);

/* Seal the tree's edit, which has what other processes committed up to seq, and show it if it is
** visible. The caller has the right to edit the tree. */
void commit_seal_others(commit_queue *q, uint64_t seq);

/* Seal the tree's edit, which has changed nothing that can be read. The caller has the right to edit
** the tree, and has called commit_settle before the edit began. */
void commit_seal_same(commit_queue *q);

/* Show what has become visible by what others did. */
void commit_show(commit_queue *q);

/* By who has the turn: write what was handed over, and tell where the log ends then. */
int commit_end(commit_queue *q, uint64_t *end, kv_error *err);

/* Go on in a new file, whose every transaction up to the newest is on stable storage, and tell the
** other processes. By who has the turn; closes the old one. */
void commit_switch(commit_queue *q, const log_writer *log, const share_file *file);

/* Hand over the transaction whose WRITE and DELETE lines are in ops and whose edit is open in the
** tree: on success the edit is sealed and the ticket in the queue, and commit_wait must follow;
** ticket NULL: nobody waits. On failure the edit is still open. The caller has the writer's turn.
** KV_ENOMEM, or the queue's failure. */
int commit_hand_over(commit_queue *q, const buf *ops, const commit_settings *settings,
                     commit_ticket *ticket, kv_error *err);

/* The same for a volatile store: the sealed version is all there is, and nothing to wait for. */
void commit_volatile(commit_queue *q);

/* The number of the newest transaction handed over. */
uint64_t commit_handed_seq(commit_queue *q);

/* Pin the newest version handed over, whether or not it is visible yet. KV_ENOMEM. */
int commit_pin_newest(commit_queue *q, tree_pin *out);

/* Refuse everything from now on, for this reason if there was none before. */
void commit_break(commit_queue *q, int code, const char *why);

/* How often transactions were lost for want of room, behind which one the last time, and why. With NULL
** for both it takes no lock. */
uint64_t commit_losses(commit_queue *q, uint64_t *kept_seq, kv_error *why);

/* By who has the turn, before an edit begins: take what was lost from the tree. */
void commit_take_back(commit_queue *q);

/* By who has the right to edit the tree: write what was handed over, and take what was lost from the tree,
** so that nothing of what is in it will be taken back. */
void commit_settle(commit_queue *q);

/* Wait for the ticket's durability. KV_OK: the transaction is committed and visible. Else the
** queue's failure: it is neither, and whether a reopened store has it cannot be said; or KV_EFULL
** because it was lost: it is neither, and nothing will have it.
**
** What is in the log cannot be called back, so that neither a timeout nor an interrupt makes this fail.
** It does not have to wait for others: with an interrupt it waits for no group and flushes at once. */
int commit_wait(commit_queue *q, commit_ticket *ticket, kv_error *err);

/* Bring everything that any process has committed so far to stable storage. The queue's failure. */
int commit_flush(commit_queue *q, kv_error *err);

/* The same, but not if another thread or process is flushing: then KV_EBUSY at once. */
int commit_flush_unless_busy(commit_queue *q, kv_error *err);

/* Cut the room ahead off, by who has the turn. */
void commit_trim(commit_queue *q);

/* KV_OK, or why nothing can be committed any more. */
int commit_failure(commit_queue *q, kv_error *err);

#endif
