/*
** kv.h - the engine: a durable nested key/value tree. This header is its manual.
**
** A store is a tree in memory and a log that makes it durable. A keypath such as `test/val` names a
** node (keypath.h tells what a keypath is); a node can have a value of one of SQLite's five storage
** classes, and children. Writes are collected in transactions, which are appended to the log as
** text lines and become durable in groups (commit.h). Reading looks at one version of the tree,
** which never changes.
**
** Handles. kv_open gives a handle on a store. All handles of a process on the same file share one
** store. A handle and its cursors are used by one thread at a time; different handles by as many
** threads as there are. After a fork the child's handles answer KV_EMISUSE; open again there.
**
** Versions. A cursor sees the newest committed version as of its opening for its whole life; inside
** the handle's own transaction, the state of that transaction at that moment. It is disturbed by
** nothing: not by commits, nor by the end or the rollback of the transaction it was opened in.
**
** Writing. One writer at a time has the store's turn, from kv_begin to kv_commit or kv_rollback.
**
** The file. The log is the file that was opened, not its name. If another program removes it or gives its
** name to another file, the next commit fails with KV_EMOVED (in FULL; in the other modes the first that
** comes a millisecond later), that file is left as it is, and the store is read-only. kv_checkpoint writes
** what was committed to a new file, if the name is free.
**
** Errors. 0 is KV_OK; failures are negative (kv_base.h) and come with a text in *err, which may be
** NULL. Unless a function says otherwise, a failed call has changed nothing. After KV_EIO from
** kv_commit the store is read-only until every handle on it is closed and it is opened again: the
** kernel does not tell what it has written. After KV_EFULL (the disk is full, or the file as large as
** it may get) the transaction is gone, and the next one is tried as any other.
**
** Limits: KV_KEYPATH_SIZE_MAX, KV_VALUE_SIZE_MAX, KV_ENTRIES_MAX; a transaction has to fit into
** memory twice.
*/
#ifndef KV_H
#define KV_H

#include "kv_base.h"

#include <stdbool.h>

typedef struct kv kv;
typedef struct kv_cursor kv_cursor;

/* When a commit of this handle returns, and what a crash can take back then:
**   KV_SYNC_FULL    it is on stable storage. Nothing is lost.
**   KV_SYNC_NORMAL  it is with the operating system. A crash of the process loses nothing; a crash
**                   of the machine at most the newest 2 * group_size commits, never part of one,
**                   never an older one. With groups of one it is FULL.
**   KV_SYNC_OFF     it is with the operating system, which writes it when it likes. A crash of the
**                   machine loses what was not written, always the newest. */
typedef struct kv_settings {
  kv_sync synchronous;
  unsigned group_size;       /* commits that one flush waits for, 1 to KV_GROUP_SIZE_MAX */
  unsigned group_timeout_ms; /* and how long the oldest of them waits at most */
  uint64_t auto_checkpoint;  /* bytes of log from which on a commit starts a checkpoint in the
                                background, if they are 4 times what is in it; 0: 64 MiB,
                                KV_NEVER: never */
} kv_settings;

#define KV_NEVER UINT64_MAX

#define KV_GROUP_SIZE_MAX 1000000u
#define KV_GROUP_TIMEOUT_MS_MAX 3600000u

/* How to open. A zeroed one with a path and settings is complete. */
typedef struct kv_options {
  const char *path; /* relative to the working directory of now; NULL: volatile, without a log */
  const char *rights_from; /* a new file gets the access rights of this one, and its owner and group
                              as far as the caller may give them; NULL: 0644, less the umask. A
                              file in its place that is not there counts as NULL */
  const char *const *databases; /* files of SQLite databases, though they may be empty still, up to
                                   NULL: the log cannot be one of them, nor a side file of one
                                   (FILE-wal and the like). They are not opened. NULL: none */
  bool (*is_database)(const char *path); /* asks whether a file is an SQLite database: the log
                                   cannot be a side file of it. NULL: the engine reads the
                                   file, for which no SQLite of this process may have it open */
  bool readonly;                         /* never writes, never creates */
  bool may_be_missing;                   /* readonly: a file that is not there is an empty store */
  kv_settings settings; /* group_size 0: the default of its mode (kv_default_group_size) */
  kv_waiting waiting;   /* how to wait, in kv_open and in all calls on the handle */
} kv_options;

/* Waiting. Another process can stop at any moment, for any time (Ctrl-Z, a debugger, a frozen
** container), and be in the way of all others. No call waits for one without a limit:
**   kv_begin      waits busy_timeout_ms for the writer lock, then returns KV_EBUSY
**   kv_commit     waits for nobody: if another process does not end its flush within 0.3 s it flushes
**                 itself. An interrupt ends the wait for a group, and not the commit, which is in the log
**   kv_open, kv_cursor_open, kv_cursor_refresh, kv_checkpoint, kv_undo  wait waiting.timeout_ms
** Where a process opens, closes or checkpoints the log, 0.4 s more. waiting.is_interrupted ends a
** wait earlier, with KV_EINTERRUPTED. The system's own calls last as long as the disk takes. */

unsigned kv_default_group_size(kv_sync synchronous); /* FULL 1, others 50 */

/* KV_OK if the bytes are a keypath; KV_EKEYPATH or KV_ETOOBIG with what is wrong and where:
** invalid keypath 'a//b': empty segment at byte 2. */
int kv_keypath_check(const char *key, size_t size, kv_error *err);

/* The engine's version, as "0.1.0". Static. */
const char *kv_version(void);

/* --- opening ---------------------------------------------------------------------------------- */

/* Open a handle. A missing file is created with the first transaction, not before. *notice (may be
** NULL) is filled, with a code that is not KV_OK, if a torn tail had to be cut off; it comes once per
** opening of a store. The caller closes the handle with kv_close.
** KV_ENOMEM; KV_ECANTOPEN (no such folder, no permission, a folder in the file's place, a name that
** kv_check_name refuses); KV_EBUSY (another process is opening, closing or replacing the log for longer
** than options->waiting allows, or writes it without sharing it); KV_EINTERRUPTED; KV_EFOREIGN,
** KV_EVERSION, KV_EDAMAGED (the file is left byte
** for byte as it was); KV_EREADONLY (open read-only in this process); KV_EIO. */
int kv_open(const kv_options *options, kv **out, kv_error *notice, kv_error *err);

/* What kv_open checks of the name alone: the log is neither one of the databases nor a side file of
** one; and, if it is to be written, has no name that the engine uses beside another log. Databases may
** appear later than the log was opened. KV_ECANTOPEN, KV_ENOMEM. */
int kv_check_name(const kv_options *options, kv_error *err);

/* Close a handle (NULL is allowed); its cursors must be closed before. An open transaction is rolled
** back. Closing the last handle of a store flushes it (not in mode OFF); if that fails the error is
** returned and the handle is closed all the same. */
int kv_close(kv *db, kv_error *err);

/* What kv_stats.store is for this handle. */
const void *kv_store_of(const kv *db);

/* Whether two handles are on one store. */
bool kv_same_store(const kv *a, const kv *b);

/* --- transactions ----------------------------------------------------------------------------- */

/* Begin: take the writer's turn, waiting at most busy_timeout_ms for it. The file is created or
** converted if it has to be.
** KV_EBUSY (the turn was not free in time); KV_EINTERRUPTED; KV_EREADONLY; KV_EMOVED (the log was
** removed or replaced); KV_EMISUSE (in a transaction already, or
** forked); KV_ECANTOPEN, KV_EIO, KV_EFULL (creating the file); KV_ENOMEM. */
int kv_begin(kv *db, unsigned busy_timeout_ms, kv_error *err);

/* The same without any wait, not even for a checkpoint. For event loops. */
int kv_begin_now(kv *db, kv_error *err);

/* Take the writer lock as kv_begin does, and begin nothing yet: the next kv_begin has it at once;
** kv_pass_turn gives it back. A thread can wait here for another that owns the handle; meanwhile that
** one may read by it, and not begin. */
int kv_take_turn(kv *db, unsigned busy_timeout_ms, kv_error *err);

/* Whether the handle is between kv_begin and its end. */
bool kv_in_transaction(const kv *db);

/* Whether it has changed anything in it. */
bool kv_has_changes(const kv *db);

/* Give a keypath a value, copied; *replaced (may be NULL) tells whether it had one. KV_EKEYPATH,
** KV_ETOOBIG, KV_EFULL (KV_ENTRIES_MAX), KV_ENOMEM, KV_EMISUSE (no transaction). */
int kv_put(kv *db, const char *key, size_t size, const kv_value *value, bool *replaced,
           kv_error *err);

/* Take a keypath's value away, if it has one (*found, may be NULL). Its children stay. KV_ENOMEM,
** KV_EMISUSE. */
int kv_delete(kv *db, const char *key, size_t size, bool *found, kv_error *err);

/* Whether the open transaction sees a value at a keypath. False without a transaction. */
bool kv_has(const kv *db, const char *key, size_t size);

/* Savepoints, numbered by the caller, ascending. kv_savepoint remembers the present state under a
** number; one that is there already stays as it is. kv_rollback_to goes back to it and keeps it;
** a number below every remembered one means the state at kv_begin. kv_release forgets this number
** and those above. KV_ENOMEM from the first; the others cannot fail. */
int kv_savepoint(kv *db, int number, kv_error *err);
void kv_rollback_to(kv *db, int number);
void kv_release(kv *db, int number);

/* Commit: hand the transaction to the log, pass the turn on, wait for the durability that the
** settings ask for. On failure it is not committed, and rolled back but for KV_ENOMEM before the
** hand-over, after which it is still open. A transaction that changed nothing costs nothing.
**
** With KV_UNDOABLE the handle keeps what kv_undo needs, until kv_settle. With KV_KEEP_TURN too the turn is passed on by kv_settle or kv_undo.
**
** With KV_NO_WAIT (not with KV_UNDOABLE) it returns once the transaction is handed over, whatever
** the settings say: it is committed when kv_published_seq has reached the number that kv_handed_seq
** told then, and somebody has to see to its flush (kv_flush). With KV_KEEP_TURN too the handle keeps
** the turn for its next transaction, until kv_pass_turn. For event loops.
** KV_ENOMEM, KV_EIO, KV_EFULL, KV_EMOVED, KV_EMISUSE. */
int kv_commit(kv *db, unsigned flags, kv_error *err);

/* Pass on what KV_NO_WAIT | KV_KEEP_TURN has kept; nothing happens if nothing is. */
void kv_pass_turn(kv *db);

/* The number of the newest transaction that was handed over in this process or seen in the log, and of
** the newest one that everybody may see. Any thread may ask. */
uint64_t kv_handed_seq(kv *db);

/* How often handed-over transactions were lost because the disk was full. The last time all behind
** *kept_seq were, for the reason in *why (both may be NULL, which is cheap); their numbers are used
** again. Who commits with KV_NO_WAIT
** has to ask after each kv_begin and before each use of kv_published_seq. Any thread may ask. */
uint64_t kv_losses(kv *db, uint64_t *kept_seq, kv_error *why);

uint64_t kv_published_seq(kv *db);

/* End what KV_UNDOABLE began: let the commit stand, or take it back by a transaction of its own that
** gives every key which still is as the commit left it the value it had before. Undo waits for the
** turn, as long as waiting.timeout_ms and 0.4 s more. Errors of kv_begin and kv_commit; then the
** commit stands. */
void kv_settle(kv *db);
int kv_undo(kv *db, kv_error *err);

/* Drop the open transaction. Cannot fail; does nothing if there is none. */
void kv_rollback(kv *db);

/* Bring everything committed so far to stable storage, whoever committed it. KV_EIO, KV_EMOVED. */
int kv_flush(kv *db, kv_error *err);

/* The same, without waiting for anybody who is flushing already: KV_EBUSY then. */
int kv_flush_unless_busy(kv *db, kv_error *err);

/* Checkpoint: replace the log by a new file with what is in it now, while others go on; they wait
** only while the last transactions are copied and the new file takes the old one's name. Other
** processes follow by themselves. If the log was removed or moved, and nothing has its name: write a new
** file there; the store goes on in it, or, once a commit has failed, is read-only until it is reopened.
** KV_EMOVED (another file has the name), KV_ECANTOPEN (the new file cannot be created, or cannot be given
** the log's owner and group; also a log that is mounted by itself), KV_EMISUSE (in a transaction),
** KV_EREADONLY, KV_EBUSY (another checkpoint is under way, or the turn is not to be had in time),
** KV_EINTERRUPTED, KV_EIO, KV_EFULL, KV_ENOMEM. */
int kv_checkpoint(kv *db, kv_error *err);

/* Replace how the handle waits. */
void kv_set_waiting(kv *db, const kv_waiting *waiting);

/* Replace the handle's settings; they apply from the next commit on. */
void kv_set_settings(kv *db, const kv_settings *settings);
void kv_get_settings(const kv *db, kv_settings *out);

/* --- reading ---------------------------------------------------------------------------------- */

/* A cursor on the version of now; it stands nowhere. What other processes have committed is read from
** the log first. KV_ENOMEM, KV_EMISUSE (forked); KV_EIO, KV_ECANTOPEN, KV_EDAMAGED, KV_EBUSY (the log
** cannot be read on). */
int kv_cursor_open(kv *db, kv_cursor **out, kv_error *err);
void kv_cursor_close(kv_cursor *c);

/* Look at the version of now instead. Errors as for kv_cursor_open; then the cursor sees an empty
** one. */
int kv_cursor_refresh(kv_cursor *c, kv_error *err);

/* Let go of the version, whose memory the store needs back, until the cursor is refreshed: it
** sees an empty one. */
void kv_cursor_let_go(kv_cursor *c);

/* The same, but the cursor sees what is handed over and not committed yet as well: for who holds back
** what he tells of it until kv_published_seq has reached kv_cursor_seq. */
int kv_cursor_open_newest(kv *db, kv_cursor **out, kv_error *err);
int kv_cursor_refresh_newest(kv_cursor *c, kv_error *err);

/* The number of the transaction that made the version the cursor sees. */
uint64_t kv_cursor_seq(const kv_cursor *c);

typedef enum kv_seek { KV_SEEK_GE, KV_SEEK_GT, KV_SEEK_LE, KV_SEEK_LT } kv_seek;

/* Move. Order is memcmp of the keypath; key may be any bytes. A cursor that finds nothing stands
** nowhere (kv_cursor_valid false). After kv_cursor_find, which is the cheapest way to one keypath,
** next and prev are not allowed. KV_ENOMEM. */
int kv_cursor_first(kv_cursor *c);
int kv_cursor_last(kv_cursor *c);
int kv_cursor_seek(kv_cursor *c, const char *key, size_t size, kv_seek how);
void kv_cursor_find(kv_cursor *c, const char *key, size_t size);
int kv_cursor_at(kv_cursor *c, uint64_t rank); /* the key with so many keys below it */
int kv_cursor_next(kv_cursor *c);
int kv_cursor_prev(kv_cursor *c);

bool kv_cursor_valid(const kv_cursor *c);

/* Where it stands. The keypath is NUL-terminated, and so is a text, which may have NULs in it as well;
** both live as long as the cursor's version, that is, until it is closed or refreshed. */
const char *kv_cursor_key(const kv_cursor *c, size_t *size);
void kv_cursor_value(const kv_cursor *c, kv_value *out);

/* The bytes of a large text or blob (kv_cursor_value's data) with a reference that outlives the
** cursor, given back with kv_bytes_release by any thread; NULL for what must be copied. */
const char *kv_cursor_bytes_hold(const kv_cursor *c);
void kv_bytes_release(void *bytes);

/* Exact counts at and below a keypath; "" is the whole tree. */
typedef struct kv_counts {
  uint64_t values;   /* keypaths with a value, its own included */
  uint64_t nodes;    /* nodes below it, with or without a value */
  uint64_t children; /* direct ones */
} kv_counts;
void kv_cursor_count(const kv_cursor *c, const char *key, size_t size, kv_counts *out);

/* How many keypaths with a value sort below key (any bytes). */
uint64_t kv_cursor_rank(const kv_cursor *c, const char *key, size_t size);

/* --- nodes ------------------------------------------------------------------------------------ */

/* A node of the nested tree, with or without a value. */
typedef struct kv_node {
  const char *path; /* not NUL-terminated */
  size_t size;      /* bytes of path */
  size_t depth;     /* segments */
  bool has_value;
} kv_node;

/* A walk over the nodes at and below a keypath ("": all), in the order of their keypaths, on the
** version of now. Nodes of more than depth_max segments are passed over and cost nothing. The cost of a
** walk is linear in its nodes, however long their keypaths are. */
typedef struct kv_walk kv_walk;

/* Start; the walk stands on the first node. KV_ENOMEM, KV_EMISUSE (forked). */
int kv_walk_open(kv *db, const char *root, size_t size, size_t depth_max, kv_walk **out,
                 kv_error *err);
void kv_walk_close(kv_walk *w);

/* Move on. KV_ENOMEM; then the walk is at its end. */
int kv_walk_next(kv_walk *w);

/* The node it stands on, valid until it moves or closes; false at the end. */
bool kv_walk_node(const kv_walk *w, kv_node *out);

/* How many children the node has, and how many nodes lie below it, with or without a value. Requires:
** the walk stands on a node. */
void kv_walk_counts(kv_walk *w, uint64_t *children, uint64_t *descendants);

/* The node's value; KV_NULL if it has none. Valid until the walk is closed. */
void kv_walk_value(const kv_walk *w, kv_value *out);

/* --- about the store ---------------------------------------------------------------------------- */

typedef struct kv_stats {
  const void *store; /* tells the stores of a process apart */
  const char *path;  /* NULL: volatile; lives as long as the handle */
  bool readonly;
  uint64_t keys, nodes;
  uint64_t memory_bytes; /* taken from the system for the tree */
  uint64_t memory_used;  /* of them, in use: the tree, and what readers still see of older ones */
  uint64_t log_bytes;    /* of whole transactions */
  uint64_t commits, flushes;
  uint64_t written_bytes; /* appended since the store was opened */
  uint64_t flush_p50_ns, flush_p99_ns, flush_max_ns;
  uint64_t replay_transactions, replay_ns;
  uint64_t torn_bytes;       /* of a torn tail found by opening */
  uint64_t seq, durable_seq; /* newest commit handed over, newest on stable storage */
  uint64_t readers;          /* versions pinned by cursors */
  uint64_t reader_lag;       /* commits made since the oldest of them */
  uint64_t live_bytes;       /* of keypaths and values */
  uint64_t checkpoints;      /* since the log was opened by the first of its processes */
  uint64_t checkpoint_time;  /* of the last of them, seconds since 1970; 0: none yet */
} kv_stats;
int kv_get_stats(kv *db, kv_stats *out, kv_error *err);

/* Check that the tree is sound and that the log, read anew, verifies and says the same. Needs as much
** memory again as the tree; others go on meanwhile. KV_EDAMAGED with the first thing found wrong;
** KV_ENOMEM, KV_EIO, KV_ECANTOPEN. */
int kv_check(kv *db, kv_error *err);

/* Call each(context, stats) for every store that is open in this process. */
int kv_each_store(int (*each)(void *context, const kv_stats *stats), void *context);

#endif
