/* log_write.c - the writing side of a log. See log_write.h. */
#include "log_write.h"

#include "log_place.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Room ahead grows with the file, between these. */
#define ALLOCATE_MIN ((uint64_t)64 << 10)
#define ALLOCATE_MAX ((uint64_t)1 << 20)

#define DRAFT_SUFFIX "-kvstore-new"

int log_error(kv_error *err, const char *call, const char *path) {
  int reason = errno;
  int code = reason == ENOSPC || reason == EDQUOT || reason == EFBIG ? KV_EFULL : KV_EIO;
  if (reason == ENOMEM) code = KV_ENOMEM;
  return kv_error_set(err, code, "%s of '%s' failed: %s", call, path, strerror(reason));
}

int log_read_header(int fd, const char *path, log_header *out, kv_error *err) {
  char line[LOG_HEADER_SIZE_MAX];
  ssize_t got = os_read_all(fd, line, sizeof line, 0);
  if (got < 0) return log_error(err, "read", path);
  const char *end = got > 0 ? memchr(line, '\n', (size_t)got) : NULL;
  if (end == NULL || log_parse_header(line, (size_t)(end - line), out, NULL) != KV_OK) {
    return kv_error_set(err, KV_EBUSY, "'%s' is not the log any more that was opened", path);
  }
  return KV_OK;
}

int log_writer_open(log_writer *w, const char *id, uint64_t inode, kv_error *err) {
  log_header header;
  share_file file = {.inode = inode};
  memcpy(file.id, id, strlen(id) + 1);
  int fd = os.open(w->path, O_RDWR | O_NONBLOCK, 0);
  if (fd < 0) {
    return kv_error_set(err, KV_ECANTOPEN, "cannot open '%s': %s", w->path, strerror(errno));
  }
  int rc = log_read_header(fd, w->path, &header, err);
  if (rc == KV_OK) rc = log_place_compare(fd, w->path, &file, header.id, err);
  log_writer opened = {.fd = fd, .path = w->path};
  if (rc == KV_OK) rc = log_writer_share(&opened, err);
  if (rc != KV_OK) {
    os_close_locked(fd);
    return rc;
  }
  opened.header = header;
  *w = opened;
  return KV_OK;
}

int log_writer_append(log_writer *w, const void *data, size_t size, kv_error *err) {
  if (os_write_all(w->fd, data, size, w->end) != 0) {
    int rc = log_error(err, "write", w->path);
    w->size = UINT64_MAX; /* unknown */
    log_writer_trim(w);
    return rc;
  }
  w->end += size;
  if (w->size < w->end) w->size = w->end;
  return KV_OK;
}

int log_writer_sync(log_writer *w, kv_error *err) {
  if (os_sync_data(w->fd) != 0) return log_error(err, "fdatasync", w->path);
  return KV_OK;
}

int log_writer_rewrite(const log_writer *w, uint64_t from, uint64_t end, kv_error *err) {
  char part[4096];
  int rc = KV_OK;
  for (uint64_t at = from; at < end;) {
    size_t size = end - at < sizeof part ? (size_t)(end - at) : sizeof part;
    ssize_t got = os_read_all(w->fd, part, size, at);
    if (got >= 0 && (size_t)got < size) {
      return kv_error_set(err, KV_EIO, "'%s' ends at byte %" PRIu64 ", before what was committed",
                          w->path, at + (uint64_t)got);
    }
    if (got < 0) {
      rc = log_error(err, "read", w->path);
    } else if (os_write_all(w->fd, part, size, at) != 0) {
      rc = log_error(err, "write", w->path);
    }
    at += size;
  }
  return rc;
}

void log_writer_soil(log_writer *w) {
  (void)log_writer_rewrite(w, w->synced_end, w->end, NULL);
}

void log_writer_allocate(log_writer *w, size_t more) {
  if (w->end + more <= w->size) return;
  static const char zeros[64 << 10];
  uint64_t ahead = w->end / 8;
  if (ahead < ALLOCATE_MIN) ahead = ALLOCATE_MIN;
  if (ahead > ALLOCATE_MAX) ahead = ALLOCATE_MAX;
  uint64_t until = w->end + more + ahead;
  while (w->size < until) {
    uint64_t part = until - w->size < sizeof zeros ? until - w->size : sizeof zeros;
    ssize_t wrote = os.pwrite(w->fd, zeros, part, (off_t)w->size);
    if (wrote <= 0) return; /* the append will tell why */
    w->size += (uint64_t)wrote;
  }
}

void log_writer_trim(log_writer *w) {
  if (w->size > w->end && os_truncate(w->fd, w->end) == 0) {
    w->size = w->end;
  }
}

int log_writer_share(const log_writer *w, kv_error *err) {
  if (os.lock(w->fd, true, 0, 0) == 0) return KV_OK;
  if (errno != EAGAIN && errno != EACCES) return log_error(err, "lock", w->path);
  return kv_error_set(err, KV_EBUSY, "'%s' is in use by another process", w->path);
}

/* --- a new log -------------------------------------------------------------------------------- */

static int random_id(char id[LOG_ID_SIZE + 1], const char *path, kv_error *err) {
  unsigned char bytes[LOG_ID_SIZE / 2];
  if (os.random(bytes, sizeof bytes) != 0) return log_error(err, "getrandom for the id", path);
  for (size_t i = 0; i < sizeof bytes; i++) (void)snprintf(id + 2 * i, 3, "%02x", bytes[i]);
  return KV_OK;
}

static char *with_suffix(const char *path, const char *suffix) {
  size_t size = strlen(path), suffix_size = strlen(suffix) + 1;
  char *name = os.malloc(size + suffix_size);
  if (name == NULL) return NULL;
  memcpy(name, path, size);
  memcpy(name + size, suffix, suffix_size);
  return name;
}

static bool is_same_file(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whether the file begins as a draft does: with a header, or with what a crash left of one. */
static bool begins_like_draft(int fd) {
  static const char magic[] = "KVSTORE\t", nothing[sizeof magic];
  char head[sizeof magic - 1];
  ssize_t got = os_read_all(fd, head, sizeof head, 0);
  if (got < 0) return false;
  return memcmp(head, magic, (size_t)got) == 0 || memcmp(head, nothing, (size_t)got) == 0;
}

static int draft_busy(const log_draft *draft, kv_error *err) {
  return kv_error_set(err, KV_EBUSY, "'%s' is in use by another process", draft->temporary_path);
}

static int draft_open(log_draft *draft, int flags, const rights *like) {
  draft->writer.fd = os.open(draft->temporary_path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | flags,
                             rights_mode_at_first(like));
  return draft->writer.fd >= 0 ? 0 : -1;
}

/* Lock it. Only then can it be judged: it may have been another process's draft, which has got its
** name, or been dropped, between our open and our lock. */
static int draft_lock(log_draft *draft, struct stat *facts, kv_error *err) {
  struct stat named;
  int fd = draft->writer.fd, rc = KV_OK;
  bool ours = os.lock(fd, false, 0, 0) == 0;
  if (ours && os.fstat(fd, facts) != 0) rc = log_error(err, "fstat", draft->temporary_path);
  if (ours && rc == KV_OK && os.stat(draft->temporary_path, &named) != 0) {
    ours = false;
    if (errno != ENOENT) rc = log_error(err, "stat", draft->temporary_path);
  }
  if (rc == KV_OK && ours && facts->st_nlink == 1 && is_same_file(facts, &named)) return KV_OK;
  os.close(fd);
  draft->writer.fd = -1;
  return rc == KV_OK ? draft_busy(draft, err) : rc;
}

/* Create the file anew, locked. What a crash left is removed, not emptied: it could be another user's,
** or somebody could have it open who may not read the new log. */
static int draft_create(log_draft *draft, const rights *like, kv_error *err) {
  struct stat facts;
  int rc = KV_OK;
  bool there = draft_open(draft, O_CREAT | O_EXCL, like) != 0 && errno == EEXIST;
  if (there && draft_open(draft, 0, like) == 0) {
    rc = draft_lock(draft, &facts, err);
    if (rc != KV_OK) return rc;
    bool gone = S_ISREG(facts.st_mode) && begins_like_draft(draft->writer.fd) &&
                os.unlink(draft->temporary_path) == 0;
    os_close_locked(draft->writer.fd);
    draft->writer.fd = -1;
    if (!gone) {
      return kv_error_set(err, KV_ECANTOPEN, "'%s' is in the way of creating '%s'",
                          draft->temporary_path, draft->path);
    }
    if (draft_open(draft, O_CREAT | O_EXCL, like) != 0 && errno == EEXIST) {
      return draft_busy(draft, err);
    }
  }
  if (draft->writer.fd >= 0) return draft_lock(draft, &facts, err);
  int reason = errno;
  if (there && reason == ENOENT) return draft_busy(draft, err); /* it has just got its name */
  rc = log_error(NULL, "creation", draft->temporary_path);
  return kv_error_set(err, rc == KV_EIO ? KV_ECANTOPEN : rc,
                      "creation of '%s', which becomes '%s', failed: %s", draft->temporary_path,
                      draft->path, strerror(reason));
}

void log_draft_clean(const char *path) {
  char *temporary = with_suffix(path, DRAFT_SUFFIX);
  if (temporary == NULL) return;
  int fd = os.open(temporary, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
  if (fd >= 0) {
    struct stat facts, named;
    bool regular = os.fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode);
    bool has_got_name = os.stat(path, &named) == 0 && is_same_file(&facts, &named);
    bool unused = has_got_name || os.is_locked(fd, 0, 0) == 0;
    if (regular && unused && begins_like_draft(fd)) os.unlink(temporary);
    os.close(fd);
  }
  os.free(temporary);
}

int log_draft_begin(log_draft *draft, const char *path, const rights *like, uint64_t base_seq,
                    kv_error *err) {
  static const rights none = {.known = false, .fd = -1};
  *draft = (log_draft){.writer = {.fd = -1, .header.base_seq = base_seq}, .path = path};
  char line[LOG_HEADER_SIZE_MAX];
  if (like == NULL) like = &none;
  int rc = random_id(draft->writer.header.id, path, err);
  if (rc != KV_OK) return rc;
  draft->temporary_path = with_suffix(path, DRAFT_SUFFIX);
  if (draft->temporary_path == NULL) {
    return kv_error_set(err, KV_ENOMEM, "out of memory creating '%s'", path);
  }
  draft->writer.path = draft->temporary_path; /* for errors; it has no other name yet */
  rc = draft_create(draft, like, err);
  if (rc == KV_OK && rights_give(draft->writer.fd, like, NULL) != 0) {
    rc = log_error(err, "setting of the access rights", draft->temporary_path);
  }
  if (rc == KV_OK) {
    size_t size = log_format_header(line, &draft->writer.header);
    rc = log_writer_append(&draft->writer, line, size, err);
  }
  if (rc != KV_OK) log_draft_drop(draft);
  return rc;
}

int log_draft_match(const log_draft *draft, int fd, kv_error *err) {
  rights like;
  bool same;
  if (rights_read(fd, &like) != 0) return log_error(err, "fstat", draft->path);
  if (rights_give(draft->writer.fd, &like, &same) != 0) {
    return log_error(err, "setting of the access rights", draft->temporary_path);
  }
  if (same) return KV_OK;
  return kv_error_set(
      err, KV_ECANTOPEN,
      "'%s' belongs to user %u and group %u, and the current user cannot give a new file to them; "
      "only user %u, as a member of that group, or root can do this",
      draft->path, (unsigned)like.owner, (unsigned)like.group, (unsigned)like.owner);
}

int log_draft_replace(log_draft *draft, const char *path, int fd, uint64_t base_seq,
                      kv_error *err) {
  rights like;
  if (rights_read(fd, &like) != 0) return log_error(err, "fstat", path);
  int rc = log_draft_begin(draft, path, &like, base_seq, err);
  if (rc == KV_OK && (rc = log_draft_match(draft, fd, err)) != KV_OK) log_draft_drop(draft);
  return rc;
}

uint64_t log_draft_inode(const log_draft *draft) {
  struct stat facts;
  return os.fstat(draft->writer.fd, &facts) == 0 ? (uint64_t)facts.st_ino : 0;
}

/* Give a draft the name of the log that is open as old_fd. */
static int draft_replace(const log_draft *draft, int old_fd, kv_error *err) {
  const char *path = draft->path;
  int rc = log_place_check(old_fd, path, err);
  if (rc != KV_OK || os.rename(draft->temporary_path, path) == 0) return rc;
  return errno == EBUSY ? log_place_mounted(path, err) : log_error(err, "rename to its name", path);
}

/* Give it a name that nothing has. */
static int draft_place(const log_draft *draft, kv_error *err) {
  const char *path = draft->path;
  struct stat facts;
  if (os.link(draft->temporary_path, path) == 0) {
    os.unlink(draft->temporary_path);
    return KV_OK;
  }
  if (errno != EEXIST) return log_error(err, "creation", path);
  if (os.lstat(path, &facts) == 0 && S_ISLNK(facts.st_mode)) {
    return kv_error_set(err, KV_ECANTOPEN,
                        "'%s' has become a symbolic link since it was opened; open it again", path);
  }
  return kv_error_set(err, KV_EBUSY, "'%s' was just created by another process", path);
}

int log_draft_finish(log_draft *draft, int old_fd, log_writer *out, kv_error *err) {
  const char *path = draft->path;
  int rc = KV_OK;
  if (os_sync_file(draft->writer.fd) != 0) rc = log_error(err, "fsync", draft->temporary_path);
  if (rc == KV_OK) rc = old_fd >= 0 ? draft_replace(draft, old_fd, err) : draft_place(draft, err);
  if (rc != KV_OK) {
    log_draft_drop(draft);
    return rc;
  }
  if (os_sync_folder(path) != 0) rc = log_error(err, "fsync of the folder", path);
  /* The folder may have been moved, so that another one was synced. */
  log_place place = log_place_of(draft->writer.fd, path);
  if (rc == KV_OK && (place != LOG_UNKNOWN || old_fd < 0)) rc = log_place_error(place, path, err);
  if (rc != KV_OK && old_fd < 0) {
    if (place == LOG_IN_PLACE || place == LOG_UNKNOWN) os.unlink(path);
    log_draft_drop(draft);
    return rc;
  }
  draft->writer.path = path;
  draft->writer.synced_end = draft->writer.end;
  (void)os.lock(draft->writer.fd, true, 0, 0);
  *out = draft->writer;
  os.free(draft->temporary_path);
  *draft = (log_draft){.writer.fd = -1}; /* nothing to drop any more, also where rc is an error */
  return rc;
}

void log_draft_drop(log_draft *draft) {
  if (draft->writer.fd >= 0) {
    /* As long as it is locked nobody takes it for one that was left behind; and what has its name may
    ** be another's already, if it has got the log's. */
    struct stat facts, named;
    bool has_name = os.fstat(draft->writer.fd, &facts) == 0 &&
                    os.stat(draft->temporary_path, &named) == 0 && is_same_file(&facts, &named);
    if (has_name) os.unlink(draft->temporary_path);
    os_close_locked(draft->writer.fd);
  }
  os.free(draft->temporary_path);
  *draft = (log_draft){.writer.fd = -1};
}
