/*
** share.h - what the processes that have one log open share: the file FILE-shm, mapped by each.
**
** It holds how far the log is, whose turn it is to append, and who flushes; nothing in it has to
** survive anything. Who comes when nobody else is there makes it anew from the log, whatever it
** holds; the last one to go removes it.
**
**     page: | what the file is, and which log it is of       |
**           | published_seq    the word that readers look at  |
**           | written_seq, durable_seq, ...                   |
**           | generation, files[2]                            |
**           | turn             a share_lock                   |
**           | flush            a share_lock                   |
**           | members[]        how often each place was taken |
**
** Members. Whoever may write is a member: it has a place, and a lock on the byte JOIN + 1 + place of
** the file, which the kernel takes back when the process ends, however it does. So a place that is
** not locked is a dead one's. Byte JOIN itself is locked while somebody joins or leaves. Readers
** without write permission are no members; they map the page and look.
**
** A share_lock is a word with the member that owns it and the one that shall have it next, taken and
** given back without a system call if nobody else wants it. Who waits for one asks the kernel from
** time to time whether its owner is alive, and takes it over if not. A member's number counts how
** often its place was taken, so that a newcomer in a dead one's place is not mistaken for it.
**
** Fairness: whoever finds a lock free takes it, which is the fastest; but who has waited for
** SHARE_PATIENCE becomes the heir, for whom the owner reserves it when it passes it on.
**
** Stopped processes. A process may stop at any instruction, for any time, and is alive all the while
** (Ctrl-Z, a debugger, a frozen container). So no wait is without a limit:
**   - the owner of the turn keeps it while it is stopped, since it may be in the middle of a write;
**     the others wait as long as their caller allows
**   - an heir that does not take what is reserved for it within SHARE_RESERVE is passed over
**   - the flush lock only spares flushes, for an fdatasync needs no exclusivity: a waiter takes it from
**     an owner that has kept it for SHARE_STALL, and flushes itself. The former owner may end its own
**     flush at any time; what that flush covered is durable, and durable_seq never becomes less
**
** The log may be replaced by a new file (checkpoint.h), by the owner of the turn: `generation` counts
** that, and its lowest bit tells which of two places says what the file is, so that it changes with
** one store, wherever a process may be killed.
**
** Threads: of a process, one at a time contends for a lock or has it; the counters are for any.
** Joining and leaving are for one. Source of the idea: SQLite's wal-index
** and its locks, and LMDB's reader table.
*/
#ifndef SHARE_H
#define SHARE_H

#include "kv_base.h"
#include "rights.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#define SHARE_MEMBERS_MAX 1000u
#define SHARE_PATIENCE_NS 1000000u
#define SHARE_RESERVE_NS 20000000u
#define SHARE_STALL_NS 300000000u
#define SHARE_ID_SIZE 24 /* room for a log's id and NUL */
#define SHARE_CLOSED UINT64_MAX

typedef struct share_lock {
  _Atomic uint64_t
      word; /* number of the owner, and of the heir << 32; 0: nobody. An heir without an
                            owner: it is free, and reserved for the heir */
  _Atomic uint32_t wake; /* counted up at every hand-over; those who wait sleep on it */
  _Atomic uint32_t wanted;
  _Atomic uint64_t reserved_ns; /* when it was last reserved for an heir, monotonic */
} share_lock;

/* How long a call may wait. */
typedef struct share_limit {
  uint64_t deadline_ns;                  /* monotonic; 0: it does not wait */
  bool (*is_interrupted)(void *context); /* asked every ten milliseconds or so; NULL: never */
  void *context;
} share_limit;

/* What a waiter has seen of an owner that does not let go. */
typedef struct share_watch {
  uint64_t since_ns; /* 0: nothing yet */
  uint64_t word;
  uint32_t wake;
} share_watch;

typedef struct share_page {
  char magic[16];
  _Atomic uint32_t ready; /* 1: what follows can be used */
  char pad_ready[44];
  _Atomic uint64_t published_seq; /* newest transaction that all may see; SHARE_CLOSED: the page is
                                     no longer used */
  char pad_published[56];
  _Atomic uint64_t written_seq; /* newest transaction in the file */
  _Atomic uint64_t durable_seq; /* newest one on stable storage */
  _Atomic uint32_t broken;      /* a write or flush has failed: nothing is committed any more */
  _Atomic uint32_t unrepaired; /* a member died with the turn, and may have left things half done */
  _Atomic uint32_t brief;      /* who has the turn is a checkpoint, which all wait for */
  char pad_brief[4];
  _Atomic uint64_t synced; /* how much of the file is on stable storage: see share_raise_synced */
  char pad_seqs[24];
  _Atomic uint64_t generation;
  struct {
    _Atomic uint64_t snapshot_seq;  /* the file holds everything up to here in its first ... */
    _Atomic uint64_t snapshot_end;  /* ... bytes; 0: not known */
    _Atomic uint64_t end;           /* offset behind the newest transaction */
    _Atomic uint64_t size;          /* of the file, zeros from end on */
    _Atomic uint64_t inode;         /* number of the file; 0: not known */
    _Atomic char id[SHARE_ID_SIZE]; /* of the log; empty: one of the original program's */
  } files[2];
  _Atomic uint64_t checkpoints;     /* how many there were */
  _Atomic uint64_t checkpoint_time; /* of the last one, seconds since 1970; 0: none yet */
  struct {
    _Atomic uint64_t inode;
    _Atomic char id[SHARE_ID_SIZE]; /* empty: nothing is announced */
  } announced; /* the file that is about to get the log's name, or has got it */
  char pad_files[8];
  share_lock turn;
  char pad_turn[40];
  share_lock flush;
  char pad_flush[40];
  _Atomic uint32_t members[SHARE_MEMBERS_MAX];
} share_page;

typedef struct share {
  int fd;           /* -1: not open */
  share_page *page; /* NULL: not mapped */
  char *path;       /* FILE-shm */
  uint32_t member;  /* our number; 0: only looking */
  unsigned place;
  const share_limit *(*limit)(
      void *waiting); /* how long share_join waits for others, asked if it has to;
                                                 set by its caller; NULL: a minute */
  void *waiting;
} share;

/* --- coming and going ------------------------------------------------------------------------- */

/* Open the shared file of a log, making it if need be with the rights of the model (NULL: none; its fd
** >= 0: it is the log itself), and lock it for joining, waiting while others join. *alone tells whether nobody else is a member; then the page
** holds nothing, and the caller fills it and ends with share_ready. share_joined must follow in
** either case, or share_leave. KV_EBUSY (another process has been joining or leaving for longer than
** s->limit, or every place is taken), KV_EINTERRUPTED, KV_ECANTOPEN (also if what has the name is none of
** ours: it is left as it is), KV_EIO, KV_EFULL, KV_ENOMEM. */
int share_join(share *s, const char *log_path, const rights *like, bool *alone, kv_error *err);
void share_ready(share *s);
void share_joined(share *s);

/* Lock it for leaving, *last telling whether nobody else is a member; then go: the last one removes
** the file. share_leave alone is for who has nothing to do in between. Where another process stays
** stopped while it joins or leaves, a member leaves without the lock, as if it were not the last. */
void share_begin_leaving(share *s, bool *last);
void share_leave(share *s);

/* Map the page for looking only, without write permission; again if the one that was looked at is
** closed. False if there is none that is in use. share_leave ends it. */
bool share_look(share *s, const char *log_path);

/* --- the turn and the flush --------------------------------------------------------------------- */

/* Whether a wait is over before its time. */
bool share_is_interrupted(const share_limit *limit);

/* Take a lock, waiting as long as the limit allows. *inherited: its owner had died, and may have left
** what the lock guards half done. False: not in time, or interrupted. */
bool share_lock_wait(share *s, share_lock *lock, const share_limit *limit, bool *inherited);

/* The same with nothing but a deadline. */
bool share_lock_take(share *s, share_lock *lock, uint64_t deadline_ns, bool *inherited);

/* For a lock that only spares work. Take it if it is free; else wait until its owner passes it on, or
** some ten milliseconds. A caller that tries again and again takes it from an owner that has not let go
** for SHARE_STALL, alive or not; *watch, zeroed before the first try, remembers that. *orphaned: it
** was taken from another member in this way, or from a dead one, which may not have ended its work. */
bool share_lock_try(share *s, share_lock *lock, share_watch *watch, bool *orphaned);

/* Pass it on. Nothing happens if it was taken from us. */
void share_lock_pass(share *s, share_lock *lock);

/* Whether somebody in another process waits for it. */
bool share_lock_is_wanted(const share_lock *lock);

/* Raise a counter of the page; it never becomes less. */
void share_raise(_Atomic uint64_t *counter, uint64_t to);

/* --- the file ----------------------------------------------------------------------------------- */

/* What is known of the log's file. */
typedef struct share_file {
  uint64_t generation;
  char id[SHARE_ID_SIZE];
  uint64_t inode;
  uint64_t snapshot_seq, snapshot_end;
  uint64_t end, size;
} share_file;

void share_read_file(const share_page *page, share_file *out);

/* Whether a file with this id and number is that one: a copy of a log has its id. */
bool share_is_file(const share_file *file, const char *id, uint64_t inode);

/* Announce the file that will be the log, by the owner of the turn, before it gets the log's name; or
** take that back (NULL, 0). A process that finds another file under the name than the page's asks for
** the announced one, and for the generation after that, before it takes it for a foreign one. */
void share_announce(share_page *page, const char *id, uint64_t inode);

/* *out has the id, which is empty if nothing is announced, and the number. */
void share_read_announced(const share_page *page, share_file *out);

/* Change it, by the owner of the turn; the generation becomes the next one, and nothing is announced
** any more. All that is in the file is on stable storage. */
void share_write_file(share_page *page, const share_file *file);

/* Where the log ends; and where the file of a generation ends, unless it has been replaced more than
** once. */
uint64_t share_log_end(const share_page *page);
uint64_t share_end(const share_page *page, uint64_t generation);

/* Up to which byte the file of a generation was flushed without an error, at least; 0: not known, for
** it is another file's by now. A process that was stopped in its flush may raise it much later. */
uint64_t share_synced_end(const share_page *page, uint64_t generation);
void share_raise_synced(share_page *page, uint64_t generation, uint64_t end);

/* For the owner of the turn: how large the file is, and what it has become. */
uint64_t share_size(const share_page *page);
void share_set_end(share_page *page, uint64_t end, uint64_t size);

#endif
