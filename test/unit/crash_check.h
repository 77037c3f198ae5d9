/*
** crash_check.h - transactions that a model foresees, and the check of what a crash left of them.
**
** Transaction n puts its number, puts and deletes keys that depend on n and the seed alone, and marks
** them with the epoch in which it was made: the same number, tried again after a crash, has another.
** So from the newest transaction that is found follows what the whole store must hold, to the byte.
**
** A scene is recorded (crash_disk.h); then the disk is broken off before each of its events, in many
** ways each, and what is left is opened by the real recovery. Of every so many states the recovery is
** recorded too and broken off in the same way. A state passes if
**
**   - the store that is found is that of some transaction n, none in part,
**   - n is not below what was acknowledged before the crash, and not above what was tried,
**   - a draft that was left is gone, and nothing but the log and a torn tail is there,
**   - transaction n + 1 can be committed, and all is there when the log is opened again.
*/
#ifndef CRASH_CHECK_H
#define CRASH_CHECK_H

#include "crash_disk.h"
#include "kv.h"

#include <stdbool.h>
#include <stdint.h>

#define CRASH_COMMITS_MAX 400u

/* --- transactions ------------------------------------------------------------------------------- */

/* What the model is of; to be set before crash_expect. */
typedef struct crash_model {
  uint64_t seed;
  unsigned lines;    /* the first so many are lines of an original log, with no number of theirs */
  unsigned wipes;    /* every so manieth leaves nothing at all; 0: none */
  size_t large_size; /* bytes of the larger values; 0: 2600 */
} crash_model;

extern crash_model crash_model_now;

/* Begin anew with this model: transactions 1 to last are of epoch 'a'. */
void crash_expect(const crash_model *model, unsigned last);

/* Those from one on are of another epoch. */
void crash_expect_epoch(unsigned from, unsigned last, char epoch);

/* Make transaction n, or, with many threads, the next one, telling its number. What kv_begin or
** kv_commit said. */
int crash_make(kv *db, unsigned n);
int crash_make_next(kv *db, unsigned busy_ms, unsigned *n);

/* The last one that crash_make_next has made; set it before the first. */
extern unsigned crash_made;

/* A line of an original log for transaction n; its size. */
size_t crash_original_line(char *line, size_t room, unsigned n);

/* Whether a store is what the model says of its last transaction, which is told. */
bool crash_is_expected(kv *db, uint64_t *n);

/* --- checking ----------------------------------------------------------------------------------- */

typedef struct crash_effort {
  unsigned sectors;      /* tried by themselves in front of an event */
  unsigned random;       /* states with everything at random in front of an event */
  unsigned event_step;   /* only every so manieth event; 1: each */
  unsigned nested_every; /* of so many states one is crashed in again */
} crash_effort;

typedef struct crash_counts {
  unsigned long states, distinct; /* built; different ones, opened */
  unsigned long cut;              /* with a torn tail */
  unsigned long more;             /* with more than was promised */
  unsigned long again;            /* crashed a second time */
  unsigned long drafts;           /* with a draft left */
  size_t events;
} crash_counts;

/* Crash in the recording at every event from one on, in the folder "crash" (and "again"); false if a
** state failed, which is told. `last`: the last transaction that was tried. */
bool crash_everywhere(const char *scene, size_t from, unsigned last, const crash_effort *effort,
                      crash_counts *counts);

#endif
