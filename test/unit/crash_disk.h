/*
** crash_disk.h - a disk that remembers every write, to be broken off at any moment.
**
** While recording, the engine works on real files, and the calls that change what a disk holds are
** noted: writes, truncations, flushes of files and folders, creation, link, rename, unlink. From
** these any state can be built that a crash may leave:
**
**   - what was written before a flush of the file began that has returned is there;
**   - of what was written since, each sector of 512 bytes can be there or not, or as one of the
**     writes in between left it; where nothing was written before there are zeros;
**   - the file's size can be the new one without the data, or an old one;
**   - names change in order, but none of it is certain before a flush of the folder;
**   - what the processes share in FILE-shm, a mapping that nobody flushes, may be there as it was at
**     any moment, or a mixture of several.
**
** A flush that fails makes pages clean that have not reached the disk, as Linux does: what they held
** is read back as long as the machine runs, and no later flush writes it. Only a new write does.
**
** One disk at a time. Recording may go on in several threads; building is for one, after it.
*/
#ifndef CRASH_DISK_H
#define CRASH_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRASH_SECTOR_SIZE 512u

/* Record from now on, forgetting what was recorded before: the members of `os` are replaced. No file
** of the engine may be open. Nothing is flushed in earnest. */
void crash_disk_start(void);

/* Put `os` back. */
void crash_disk_stop(void);

/* Let the nth call from now on fail, for ever if `for_ever`, with an errno; 0: none. */
void crash_disk_fail_sync(unsigned nth, bool for_ever, int reason);

/* Have `call` called whenever a file that now has this name is about to be flushed, or, if `writes`,
** written; not while it is being called by the same thread already. NULL or the end of the recording
** ends it. */
void crash_disk_watch(const char *name, bool writes, void (*call)(void));

/* Note that the application has been promised something: crashes from now on must keep `floor`.
** Smaller floors than before are ignored. */
void crash_disk_promise(uint64_t floor);

/* How many events there are. A crash happens before event 0, 1, ... or after the last. */
size_t crash_disk_events(void);

/* What was promised before a crash in front of an event. */
uint64_t crash_disk_floor(size_t events);

/* The kinds of state a crash leaves of what was not flushed. */
typedef enum crash_kind {
  CRASH_ALL,        /* everything got there */
  CRASH_NONE,       /* nothing did */
  CRASH_SIZE,       /* the new sizes without the data */
  CRASH_NO_NAMES,   /* the data, but no name that was not flushed */
  CRASH_NAMES,      /* the data, and so many of the changes of names that were not flushed */
  CRASH_LOSE_ONE,   /* all but one sector; index tells which */
  CRASH_KEEP_ONE,   /* one sector, and the size */
  CRASH_LOSE_BLOCK, /* the same with the block of 4 KiB that the sector is in */
  CRASH_KEEP_BLOCK,
  CRASH_CUT,   /* the sectors before one, and as much of the size */
  CRASH_RANDOM /* each sector and size from a moment of its own; index seeds */
} crash_kind;

typedef struct crash_state {
  size_t events; /* that happened before the crash */
  crash_kind kind;
  uint64_t index;
} crash_state;

/* How many sectors are not certain before an event, all files together: the limit of index. */
size_t crash_disk_uncertain(size_t events);

/* How many changes of names are not certain: the limit of CRASH_NAMES's index. */
size_t crash_disk_uncertain_names(size_t events);

/* Build a state in memory. Returns how many files there are. */
size_t crash_disk_build(const crash_state *state);

/* A number that two states share if they are the same on disk, but for the shared page. To be called
** after the build. */
uint64_t crash_disk_fingerprint(void);

/* Make the files of the state that was built, each under its name without its folder; what was in
** the folder is removed first. With log_name there may be a LOG-shm too: as it was at some moment,
** or torn, or cut off, or noise. */
void crash_disk_write(const crash_state *state, const char *folder, const char *log_name);

/* Record anew, on a disk that holds what was built, for a second crash during what follows the first.
** The first recording stays; all functions here are about the second one until crash_disk_unnest,
** which comes after crash_disk_stop. */
void crash_disk_nest(void);
void crash_disk_unnest(void);

#endif
