/*
** flusher.h - the server's flush thread: brings what the loop has handed over to stable storage.
**
** The loop executes a command, hands its transaction to the log without waiting, and holds the reply
** back. flusher_ask tells the thread how far the log has come; the thread flushes through a handle of
** its own and then wakes the loop, which sends the replies that the flush covers. While one flush runs
** the loop goes on, so that the next group forms by itself. It is asked for by the loop in the round
** in which it learns of the flush before, when what has come in that round is in the group too: groups
** of 50 clients are twice as large as if the thread went on by itself.
**
** Even so clients that wait for their replies fall into two halves, of which one waits for a flush while
** the other's requests come in, and each flush carries half of them. So the thread waits for those that
** the last flush has just answered, but no longer than half of what a flush takes: where flushes are
** slow, that makes fewer of them; where they are fast it costs nothing to speak of.
**
** Where flushes are quick, and nobody else is served, it is not worth a thread, which takes its
** time from the loop and the clients where cores are few. Then the loop flushes itself
** (flusher_flush), all that came in its round in one.
**
** With a group_size above 1 the thread waits until so many transactions are there, or until the
** first of them has waited for group_timeout.
**
** A flush that fails is the last one: nothing handed over since is acknowledged any more. That the disk
** is full is no such failure: the loop asks for what is lost (server.h).
**
** Threads: all functions are for the loop's; one thread of its own.
*/
#ifndef FLUSHER_H
#define FLUSHER_H

#include "kv.h"

#include <pthread.h>

typedef struct flusher {
  kv *db; /* the thread's handle */
  unsigned group_size, group_timeout_ms;
  void (*wake)(void *context); /* called by the thread after each flush */
  void *context;
  pthread_t id;
  pthread_mutex_t lock; /* guards what follows */
  pthread_cond_t asked;
  bool running, stop, is_flushing;
  uint64_t wanted_seq, flushed_seq;
  unsigned forgets;     /* calls of flusher_forget: a flush that began before one says nothing */
  uint64_t last_group;  /* transactions that the last flush covered */
  uint64_t took_ns;     /* by a flush, of late, whoever did it */
  uint64_t expected;    /* transactions that the next one is worth waiting for */
  uint64_t told_ns;     /* the deadline that the thread knows of */
  uint64_t deadline_ns; /* by then wanted_seq is flushed, whatever the group's size */
  kv_error failure;     /* code KV_OK: none */
} flusher;

/* Start the thread on a handle, of which it makes use until flusher_stop. KV_ENOMEM. */
int flusher_start(flusher *f, kv *db, const kv_settings *settings, void (*wake)(void *context),
                  void *context, kv_error *err);

/* Use other settings from now on. */
void flusher_set(flusher *f, const kv_settings *settings);

/* Transactions through seq wait to be flushed. False: a flush is running, ask again when it is done. */
bool flusher_ask(flusher *f, uint64_t seq);

/* Transactions behind kept_seq are lost, and their numbers are used again. */
void flusher_forget(flusher *f, uint64_t kept_seq);

/* Whether a flush is expected to take so little that the loop can do it, and none is asked for. */
bool flusher_is_quick(flusher *f);

/* By the loop's thread, through its own handle: flush what was handed over through seq. False:
** somebody else is flushing, and the thread has to be asked. */
bool flusher_flush(flusher *f, kv *db, uint64_t seq);

/* KV_OK, or why nothing can be flushed any more. */
int flusher_failure(flusher *f, kv_error *err);

/* End the thread after the flush that is running. What was asked for and not begun stays undone. */
void flusher_stop(flusher *f);

#endif
