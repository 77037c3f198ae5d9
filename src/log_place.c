/* log_place.c - whether the name of an open log still leads to it. See log_place.h. */
#include "log_place.h"

#include "log_write.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static bool is_same(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

log_place log_place_of(int fd, const char *path) {
  struct stat facts, named;
  if (os.fstat(fd, &facts) != 0) return LOG_UNKNOWN;
  if (os.lstat(path, &named) == 0) {
    if (is_same(&facts, &named)) return LOG_IN_PLACE;
    if (!S_ISLNK(named.st_mode)) return LOG_REPLACED;
    if (os.stat(path, &named) == 0) return is_same(&facts, &named) ? LOG_MOVED : LOG_REPLACED;
  }
  if (facts.st_nlink == 0) return LOG_REMOVED; /* whatever has the name */
  return errno == ENOENT || errno == ENOTDIR ? LOG_MOVED : LOG_UNKNOWN;
}

int log_place_error(log_place place, const char *path, kv_error *err) {
  switch (place) {
  case LOG_IN_PLACE:
    return KV_OK;
  case LOG_MOVED:
    return kv_error_set(err, KV_EMOVED,
                        "'%s' was moved while it was open; move it back to its name", path);
  case LOG_REMOVED:
    return kv_error_set(err, KV_EMOVED,
                        "'%s' was removed while it was open; the command 'checkpoint' writes what "
                        "was committed to a new file of that name",
                        path);
  case LOG_REPLACED:
    return kv_error_set(err, KV_EMOVED,
                        "'%s' was replaced by another file while it was open, and that file was "
                        "left as it is; once it is moved away, the command 'checkpoint' writes "
                        "what was committed to a new file of that name",
                        path);
  case LOG_UNKNOWN:
    break;
  }
  int reason = errno;
  int code = reason == EACCES ? KV_ECANTOPEN : reason == ENOMEM ? KV_ENOMEM : KV_EIO;
  return kv_error_set(err, code, "cannot tell whether '%s' is still the open file: stat failed: %s",
                      path, strerror(reason));
}

int log_place_check(int fd, const char *path, kv_error *err) {
  return log_place_error(log_place_of(fd, path), path, err);
}

int log_place_check_same(int fd, int log_fd, const char *path, kv_error *err) {
  struct stat facts, ours;
  if (os.fstat(fd, &facts) != 0 || os.fstat(log_fd, &ours) != 0) {
    return log_error(err, "fstat", path);
  }
  return is_same(&facts, &ours) ? KV_OK : log_place_error(LOG_REPLACED, path, err);
}

int log_place_compare(int fd, const char *path, const share_file *file, const char *id,
                      kv_error *err) {
  struct stat facts;
  if (os.fstat(fd, &facts) != 0) return log_error(err, "fstat", path);
  if (share_is_file(file, id, (uint64_t)facts.st_ino)) return KV_OK;
  return kv_error_set(err, KV_EBUSY, "'%s' is not the log any more that was opened", path);
}

/* Whether the name leads to the file that is announced: KV_OK, or KV_EBUSY; KV_EIO, KV_ECANTOPEN. */
static int check_announced(const share_page *page, const char *path, kv_error *err) {
  share_file announced;
  log_header header;
  share_read_announced(page, &announced);
  if (announced.id[0] == '\0') return KV_EBUSY;
  int fd = os.open(path, O_RDONLY | O_NONBLOCK, 0);
  if (fd < 0 && errno == ENOENT) return KV_EBUSY;
  if (fd < 0) return kv_error_set(err, KV_ECANTOPEN, "cannot open '%s': %s", path, strerror(errno));
  int rc = log_read_header(fd, path, &header, err);
  if (rc == KV_OK) rc = log_place_compare(fd, path, &announced, header.id, err);
  os.close(fd);
  return rc;
}

int log_place_check_change(log_place place, const share_page *page, uint64_t generation,
                           const char *path, kv_error *err) {
  int rc = check_announced(page, path, err);
  if (rc == KV_OK || atomic_load(&page->generation) != generation) return KV_OK;
  return rc == KV_EBUSY ? log_place_error(place, path, err) : rc;
}

/* What is open keeps its number, and no other file gets that: one question is enough, usually. */
int log_place_check_flushed(const share_page *page, uint64_t generation, const log_writer *log,
                            kv_error *err) {
  struct stat named;
  if (log->inode != 0 && os.lstat(log->path, &named) == 0 && named.st_ino == log->inode &&
      named.st_dev == log->device) {
    return KV_OK;
  }
  log_place place = log_place_of(log->fd, log->path);
  if (place != LOG_REMOVED && place != LOG_REPLACED) return KV_OK;
  return log_place_check_change(place, page, generation, log->path, err);
}

int log_place_mounted(const char *path, kv_error *err) {
  return kv_error_set(err, KV_ECANTOPEN,
                      "'%s' is mounted by itself, so that no new file can take its name; mount the "
                      "folder that holds it instead",
                      path);
}

int log_place_check_mount(const char *path, kv_error *err) {
  return os.is_mount(path) ? log_place_mounted(path, err) : KV_OK;
}
