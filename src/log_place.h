/*
** log_place.h - whether the name of an open log still leads to it.
**
** The log is the file that was opened, not its name. Another program can remove that file, move it, or
** its folder, and put another file under its name. What acts on the name (a checkpoint, a conversion,
** truncating what was opened by name) asks first where the name leads, by device and inode, and leaves a
** foreign file as it is. A flush asks too: a file without a name is gone when its last process closes it.
**
** A checkpoint of another process puts a new file under the name legitimately. It announces that file in
** the shared page before (share.h), and raises the generation after. Hence this order: look at the name,
** then at what is announced, then at the generation. If none of the three explains the file that has the
** name, it is foreign.
**
** The name is asked for right before it is acted on. What another program does between the question and
** the rename behind it, some microseconds, is not noticed.
**
** Threads: any. Ownership: nothing is kept.
*/
#ifndef LOG_PLACE_H
#define LOG_PLACE_H

#include "kv_base.h"
#include "share.h"

#include <stdbool.h>

typedef enum log_place {
  LOG_IN_PLACE, /* the name is the open file's */
  LOG_MOVED,    /* the name is free, or a link to the file, which has another name */
  LOG_REMOVED,  /* the name is free, and the file has none */
  LOG_REPLACED, /* the name is another file's */
  LOG_UNKNOWN   /* the system does not tell; errno has the reason */
} log_place;

struct log_writer;

/* Where the name of the log that is open as fd leads. */
log_place log_place_of(int fd, const char *path);

/* KV_OK for LOG_IN_PLACE; else KV_EMOVED with a text. For LOG_UNKNOWN, which is not moved: KV_EIO, or
** KV_ECANTOPEN, KV_ENOMEM by errno, so nothing may be called in between. */
int log_place_error(log_place place, const char *path, kv_error *err);

/* Both. */
int log_place_check(int fd, const char *path, kv_error *err);

/* KV_OK if both have the same file open; KV_EMOVED, for fd was opened by a name that leads elsewhere. */
int log_place_check_same(int fd, int log_fd, const char *path, kv_error *err);

/* KV_OK if the file that is open as fd, with that id in its header, is the one that a page tells of;
** KV_EBUSY if it is another one. KV_EIO. */
int log_place_compare(int fd, const char *path, const share_file *file, const char *id,
                      kv_error *err);

/* The name leads somewhere else (place) than to the file of that generation. KV_OK if that is a
** checkpoint's doing: the announced file has the name, or there is a newer generation. Else KV_EMOVED; or
** KV_EIO, KV_ECANTOPEN if it cannot be told. */
int log_place_check_change(log_place place, const share_page *page, uint64_t generation,
                           const char *path, kv_error *err);

/* By a flush of the file of that generation, which the writer has open: whether the file has lost its name, so that a
** commit to it would not last, but for a checkpoint, which has everything in the new file. Results of
** log_place_check_change. */
int log_place_check_flushed(const share_page *page, uint64_t generation,
                            const struct log_writer *log, kv_error *err);

/* KV_OK, or KV_ECANTOPEN if the log is mounted by itself: no file can be given its name then. */
int log_place_check_mount(const char *path, kv_error *err);

/* The error of that: for rename, which tells it by EBUSY where the question cannot be asked. */
int log_place_mounted(const char *path, kv_error *err);

#endif
