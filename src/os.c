/* os.c - the table of system calls, and the few loops that make them whole. See os.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static int call_open(const char *path, int flags, mode_t mode) {
  return open(path, flags | O_CLOEXEC, mode);
}

static int call_fstat(int fd, struct stat *out) {
  return fstat(fd, out);
}

static int call_stat(const char *path, struct stat *out) {
  return stat(path, out);
}

static int call_lock(int fd) {
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  return fcntl(fd, F_OFD_SETLK, &whole);
}

static int call_unlock(int fd) {
  struct flock whole = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
  return fcntl(fd, F_OFD_SETLK, &whole);
}

static char *call_realpath(const char *path) {
  return realpath(path, NULL);
}

static int call_random(void *data, size_t size) {
  ssize_t got;
  do {
    got = getrandom(data, size, 0);
  } while (got < 0 && errno == EINTR);
  return got == (ssize_t)size ? 0 : -1;
}

static uint64_t call_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

os_table os = {
    .open = call_open,
    .close = close,
    .pread = pread,
    .pwrite = pwrite,
    .fdatasync = fdatasync,
    .fsync = fsync,
    .ftruncate = ftruncate,
    .fchmod = fchmod,
    .fstat = call_fstat,
    .stat = call_stat,
    .access = access,
    .rename = rename,
    .link = link,
    .unlink = unlink,
    .lock = call_lock,
    .unlock = call_unlock,
    .realpath = call_realpath,
    .random = call_random,
    .now_ns = call_now_ns,
    .malloc = malloc,
    .realloc = realloc,
    .free = free,
};

int os_write_all(int fd, const void *data, size_t size, uint64_t offset) {
  const char *from = data;
  while (size > 0) {
    ssize_t wrote = os.pwrite(fd, from, size, (off_t)offset);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote == 0) errno = ENOSPC;
    if (wrote <= 0) return -1;
    from += wrote;
    offset += (uint64_t)wrote;
    size -= (size_t)wrote;
  }
  return 0;
}

ssize_t os_read_all(int fd, void *data, size_t size, uint64_t offset) {
  char *to = data;
  size_t done = 0;
  while (done < size) {
    ssize_t got = os.pread(fd, to + done, size - done, (off_t)(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    done += (size_t)got;
  }
  return (ssize_t)done;
}

int os_sync_data(int fd) {
  int rc;
  do {
    rc = os.fdatasync(fd);
  } while (rc != 0 && errno == EINTR);
  return rc;
}

int os_sync_file(int fd) {
  int rc;
  do {
    rc = os.fsync(fd);
  } while (rc != 0 && errno == EINTR);
  return rc;
}

int os_truncate(int fd, uint64_t size) {
  int rc;
  do {
    rc = os.ftruncate(fd, (off_t)size);
  } while (rc != 0 && errno == EINTR);
  return rc;
}

void os_close_locked(int fd) {
  (void)os.unlock(fd);
  os.close(fd);
}

char *os_folder_of(const char *path) {
  const char *slash = strrchr(path, '/');
  size_t size = slash == NULL ? 1 : slash == path ? 1 : (size_t)(slash - path);
  char *folder = os.malloc(size + 1);
  if (folder == NULL) return NULL;
  memcpy(folder, slash == NULL ? "." : path, size);
  folder[size] = '\0';
  return folder;
}

/* Without an allocation: after a rename there is no way back. */
int os_sync_folder(const char *path) {
  char folder[PATH_MAX];
  const char *slash = strrchr(path, '/');
  size_t size = slash == NULL ? 0 : (size_t)(slash - path);
  if (size >= sizeof folder) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memcpy(folder, path, size);
  folder[size] = '\0';
  int fd = os.open(slash == NULL ? "." : size == 0 ? "/" : folder, O_RDONLY | O_DIRECTORY, 0);
  if (fd < 0) return -1;
  int rc = os_sync_file(fd);
  int saved = errno;
  os.close(fd);
  errno = saved;
  return rc;
}
