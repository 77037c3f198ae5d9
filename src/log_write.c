/* log_write.c - the writing side of a log. See log_write.h. */
#include "log_write.h"

#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Room ahead grows with the file, between these. */
#define ALLOCATE_MIN ((uint64_t)64 << 10)
#define ALLOCATE_MAX ((uint64_t)1 << 20)

int log_error(kv_error *err, const char *call, const char *path) {
  int reason = errno;
  int code = reason == ENOSPC || reason == EDQUOT ? KV_EFULL : KV_EIO;
  return kv_error_set(err, code, "%s of '%s' failed: %s", call, path, strerror(reason));
}

int log_writer_append(log_writer *w, const void *data, size_t size, kv_error *err) {
  w->dirty = true;
  if (os_write_all(w->fd, data, size, w->end) != 0) return log_error(err, "write", w->path);
  w->end += size;
  if (w->size < w->end) w->size = w->end;
  return KV_OK;
}

int log_writer_sync(log_writer *w, kv_error *err) {
  if (os.fdatasync(w->fd) != 0) return log_error(err, "fdatasync", w->path);
  return KV_OK;
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
    w->dirty = true;
  }
}

void log_writer_trim(log_writer *w) {
  if (w->size > w->end && os.ftruncate(w->fd, (off_t)w->end) == 0) {
    w->size = w->end;
    w->dirty = true;
  }
}

int log_writer_close(log_writer *w, bool sync, kv_error *err) {
  if (w->fd < 0) return KV_OK;
  log_writer_trim(w);
  int rc = sync && w->dirty ? log_writer_sync(w, err) : KV_OK;
  os.close(w->fd);
  w->fd = -1;
  return rc;
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

/* Only now that it is locked may the file be emptied: it could have been another process's draft,
** which has got its name, or been dropped, between our open and our lock. */
static int draft_own(log_draft *draft, kv_error *err) {
  struct stat facts;
  int fd = draft->writer.fd;
  const char *path = draft->writer.path;
  bool locked = os.lock(fd) == 0;
  if (locked && os.fstat(fd, &facts) == 0 && facts.st_nlink == 1 &&
      os.access(draft->temporary_path, F_OK) == 0) {
    if (os.ftruncate(fd, 0) == 0) return KV_OK;
    return log_error(err, "truncate", draft->temporary_path);
  }
  os.close(fd);
  draft->writer.fd = -1;
  return kv_error_set(err, KV_EBUSY, "'%s' is in use by another process", path);
}

int log_draft_begin(log_draft *draft, const char *path, mode_t mode, uint64_t base_seq,
                    kv_error *err) {
  *draft = (log_draft){.writer = {.fd = -1, .path = path, .header.base_seq = base_seq}};
  char line[LOG_HEADER_SIZE_MAX];
  int rc = random_id(draft->writer.header.id, path, err);
  if (rc != KV_OK) return rc;
  draft->temporary_path = with_suffix(path, "-new");
  if (draft->temporary_path == NULL) {
    return kv_error_set(err, KV_ENOMEM, "out of memory creating '%s'", path);
  }
  draft->writer.fd = os.open(draft->temporary_path, O_RDWR | O_CREAT, mode);
  if (draft->writer.fd < 0) {
    rc = log_error(err, "creation", path);
    if (rc == KV_EIO) rc = KV_ECANTOPEN;
  } else {
    rc = draft_own(draft, err);
  }
  if (rc == KV_OK) {
    size_t size = log_format_header(line, &draft->writer.header);
    rc = log_writer_append(&draft->writer, line, size, err);
  }
  if (rc != KV_OK) log_draft_drop(draft);
  return rc;
}

int log_draft_finish(log_draft *draft, bool replace, log_writer *out, kv_error *err) {
  const char *path = draft->writer.path, *temporary = draft->temporary_path;
  int rc = KV_OK;
  if (os.fsync(draft->writer.fd) != 0) {
    rc = log_error(err, "fsync", temporary);
  } else if (replace && os.rename(temporary, path) != 0) {
    rc = log_error(err, "rename to its name", path);
  } else if (!replace && os.link(temporary, path) != 0) {
    rc = errno == EEXIST ? kv_error_set(err, KV_EBUSY, "'%s' was just created by another process", path)
                         : log_error(err, "creation", path);
  }
  if (rc != KV_OK) {
    log_draft_drop(draft);
    return rc;
  }
  if (!replace) os.unlink(temporary);
  if (os_sync_folder(path) != 0) {
    rc = log_error(err, "fsync of the folder", path);
    if (!replace) os.unlink(path);
    log_draft_drop(draft);
    return rc;
  }
  draft->writer.dirty = false;
  *out = draft->writer;
  os.free(draft->temporary_path);
  return KV_OK;
}

void log_draft_drop(log_draft *draft) {
  if (draft->writer.fd >= 0) {
    os.close(draft->writer.fd);
    os.unlink(draft->temporary_path); /* gone already if it has got its name */
  }
  os.free(draft->temporary_path);
  *draft = (log_draft){.writer.fd = -1};
}
