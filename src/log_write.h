/*
** log_write.h - the writing side of a log: creating the file, appending bytes, bringing them to
** stable storage.
**
** Only whole transactions are appended, in the order of their numbers; whoever appends has the
** writer's turn among all processes, and the lock of the commit queue. log_writer_sync may run while
** another thread appends; what it covers is what was appended before it was called.
**
** Room ahead. Overwriting allocated space is cheaper to flush than growing the file, which also
** has to write the file's new size (62 against 77 us per flush on one machine, and more while others
** append), but an overwriting pwrite costs more than an appending one (1.8 against 0.5 us there). So
** flushes for one or some tens of commits want room ahead, and flushes for many do not; the commit
** queue decides.
** Room ahead is zeros, which a reader takes for the end; closing cuts it off again.
**
** Errors: KV_ENOMEM, KV_EIO, KV_EFULL and those listed, each with a text that names call and file.
*/
#ifndef LOG_WRITE_H
#define LOG_WRITE_H

#include "kv_base.h"
#include "log_format.h"
#include "rights.h"

#include <stdbool.h>
#include <sys/types.h>

typedef struct log_writer {
  int fd;           /* -1: no file yet */
  const char *path; /* borrowed */
  log_header header;
  uint64_t end;        /* offset behind the last transaction */
  uint64_t size;       /* of the file; end <= size, zeros between */
  uint64_t synced_end; /* what is before this is on stable storage */
  uint64_t device;     /* of the open file, and ... */
  uint64_t inode;      /* ... its number, for log_place_check_flushed; 0: not known */
} log_writer;

/* Read the header of an open file. KV_EBUSY: it has none; KV_EIO. */
int log_read_header(int fd, const char *path, log_header *out, kv_error *err);

/* Open the log of that id, which is the file of that inode (0: not known), for appending; w->path is set
** before, and end and size are the caller's to set. KV_EBUSY (another file has taken its place),
** KV_ECANTOPEN, KV_EIO, KV_ENOMEM. */
int log_writer_open(log_writer *w, const char *id, uint64_t inode, kv_error *err);

/* Append data at the end of the log. After a failure the file is cut off at the old end if that is
** possible, else its tail is undefined; the writer must not be used but to close it. */
int log_writer_append(log_writer *w, const void *data, size_t size, kv_error *err);

/* Bring everything appended so far to stable storage. */
int log_writer_sync(log_writer *w, kv_error *err);

/* After a failed sync: write what is not known to be on stable storage over itself. The kernel may
** have marked pages clean that never reached the disk; whoever opens the log next reads them, and
** his sync has to mean something. Never fails: what cannot be read or written stays as it is. */
void log_writer_soil(log_writer *w);

/* Write the bytes from `from` to `end` over themselves, so that the next sync takes them to the disk
** whatever the kernel believes of them. KV_EIO. */
int log_writer_rewrite(const log_writer *w, uint64_t from, uint64_t end, kv_error *err);

/* Make sure that `more` bytes fit without growing the file, if the disk has room. Never fails. */
void log_writer_allocate(log_writer *w, size_t more);

/* Cut off the room ahead. Zeros that cannot be cut off do no harm, so that this never fails. */
void log_writer_trim(log_writer *w);

/* Lock the file as one of those that write it: what keeps a process out that does not share with the
** others (share.h), because their shared file was removed, or the log has two names. KV_EBUSY, KV_EIO. */
int log_writer_share(const log_writer *w, kv_error *err);

/* How much longer than the log's the names of the files beside it are at most: FILE-torn-OFFSET.N,
** and of those that it cannot be written without: FILE-kvstore-new. */
#define LOG_SUFFIX_MAX (sizeof "-torn-18446744073709551615.999" - 1)
#define LOG_SUFFIX_NEEDED (sizeof "-kvstore-new" - 1)

/* A new log under construction: PATH-kvstore-new, unknown to anyone until it is put in place. */
typedef struct log_draft {
  log_writer writer; /* of temporary_path */
  const char *path;  /* borrowed */
  char *temporary_path;
} log_draft;

/* Begin a new log for path, with the access rights of the model (NULL: 0644, less the umask) and a
** random id. KV_EBUSY (another process has a draft for path); KV_ECANTOPEN (also if what has the
** draft's name is no draft, or somebody else's: it is left as it is). */
int log_draft_begin(log_draft *draft, const char *path, const rights *like, uint64_t base_seq,
                    kv_error *err);

/* The same for a draft that will replace the log open as fd: only if it can have that one's owner,
** group and rights, which the owner and root can give, else KV_ECANTOPEN. */
int log_draft_replace(log_draft *draft, const char *path, int fd, uint64_t base_seq, kv_error *err);

/* Give it the rights that the log open as fd has by now. KV_ECANTOPEN, KV_EIO, KV_EFULL. */
int log_draft_match(const log_draft *draft, int fd, kv_error *err);

/* Sync the draft and give it its name: replacing the log that is open as old_fd, which must have that
** name still (KV_EMOVED), or (old_fd -1) failing with KV_EBUSY if something has the name. Then sync the
** folder and hand the open file to *out, whose path is the caller's `path`. KV_ECANTOPEN: the log is
** mounted by itself. On failure the draft is dropped, but for one case: it has replaced what had its
** name, and the folder could not be synced, or the name has been taken away again. Then it is handed to
** *out all the same, whose fd the caller has set to -1 before, and nothing must be committed to it. */
int log_draft_finish(log_draft *draft, int old_fd, log_writer *out, kv_error *err);

/* The number of the draft's file; 0: not known. */
uint64_t log_draft_inode(const log_draft *draft);

/* Remove what a crash left of a draft for path; the caller has the turn among all processes. Never
** fails. A draft that is being written is left alone: it is locked. */
void log_draft_clean(const char *path);

/* Close and remove it. */
void log_draft_drop(log_draft *draft);

/* Store errno's meaning: KV_EFULL for no space, quota or file size limit, KV_ENOMEM, else KV_EIO, with
** "call of 'path' failed: reason" as text. Returns the code. */
int log_error(kv_error *err, const char *call, const char *path);

#endif
