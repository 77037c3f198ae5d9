/* os.c - the table of system calls, and the few loops that make them whole. See os.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

/* What lies in these pages refers to memory of the allocator: who looks for leaks has to know. */
#if defined(__SANITIZE_ADDRESS__)
#define ROOT_REGIONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ROOT_REGIONS 1
#endif
#endif
#ifdef ROOT_REGIONS
#include <sanitizer/lsan_interface.h>
#define ROOT_REGION(what, data, size) __lsan_##what##_root_region((data), (size))
#else
#define ROOT_REGION(what, data, size) ((void)0)
#endif

/* A lock that is made anew where nobody has it any more: who follows the locks has to know. */
#if defined(__SANITIZE_THREAD__)
#define FOLLOWS_LOCKS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FOLLOWS_LOCKS 1
#endif
#endif
#ifdef FOLLOWS_LOCKS
#include <sanitizer/tsan_interface.h>
#define LOCK_IS_FREE(lock) (__tsan_mutex_pre_unlock((lock), 0), __tsan_mutex_post_unlock((lock), 0))
#else
#define LOCK_IS_FREE(lock) ((void)0)
#endif

/* --- forks ------------------------------------------------------------------------------------ */

/* What a forked child gets rid of. Locks belong to the open file, which lives as long as any process
** has a descriptor or a mapping of it: a child that kept one would keep its dead parent's locks.
** Opening, closing, mapping and unmapping are done with `calls` for reading, a fork with it for
** writing, so that the child finds a list that is exact; `list` guards the list among threads. */
static struct {
  pthread_rwlock_t calls;
  pthread_mutex_t list;
  int *fds;
  size_t fd_count, fd_room;
  struct {
    void *at;
    size_t size;
  } * maps;
  size_t map_count, map_room;
} kept = {.calls = PTHREAD_RWLOCK_INITIALIZER, .list = PTHREAD_MUTEX_INITIALIZER};

static void before_fork(void) {
  pthread_rwlock_wrlock(&kept.calls);
}

static void after_fork_in_parent(void) {
  pthread_rwlock_unlock(&kept.calls);
}

/* Nothing is allocated or freed here: the allocator may be locked for ever. */
static void after_fork_in_child(void) {
  for (size_t i = 0; i < kept.fd_count; i++) (void)close(kept.fds[i]);
  for (size_t i = 0; i < kept.map_count; i++) {
    (void)mmap(kept.maps[i].at, kept.maps[i].size, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  }
  kept.fd_count = kept.map_count = 0;
  /* The parent's thread has it, which is not here. */
  LOCK_IS_FREE(&kept.calls);
  (void)pthread_rwlock_init(&kept.calls, NULL);
}

static void register_handlers(void) {
  (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void os_handle_forks(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  (void)pthread_once(&once, register_handlers);
}

/* Make room for one more of `size` bytes in a list. */
static bool make_room(void **items, size_t count, size_t *room, size_t size) {
  if (count < *room) return true;
  size_t more = *room > 0 ? *room * 2 : 16;
  void *grown = realloc(*items, more * size);
  if (grown == NULL) return false;
  *items = grown;
  *room = more;
  return true;
}

static bool keep_fd(int fd) {
  pthread_mutex_lock(&kept.list);
  void *fds = kept.fds;
  bool room = make_room(&fds, kept.fd_count, &kept.fd_room, sizeof *kept.fds);
  kept.fds = fds;
  if (room) kept.fds[kept.fd_count++] = fd;
  pthread_mutex_unlock(&kept.list);
  return room;
}

static void forget_fd(int fd) {
  pthread_mutex_lock(&kept.list);
  for (size_t i = kept.fd_count; i-- > 0;) {
    if (kept.fds[i] != fd) continue;
    kept.fds[i] = kept.fds[--kept.fd_count];
    break;
  }
  pthread_mutex_unlock(&kept.list);
}

static bool keep_map(void *at, size_t size) {
  pthread_mutex_lock(&kept.list);
  void *maps = kept.maps;
  bool room = make_room(&maps, kept.map_count, &kept.map_room, sizeof *kept.maps);
  kept.maps = maps;
  if (room) {
    kept.maps[kept.map_count].at = at;
    kept.maps[kept.map_count++].size = size;
  }
  pthread_mutex_unlock(&kept.list);
  return room;
}

static void forget_map(const void *at) {
  pthread_mutex_lock(&kept.list);
  for (size_t i = kept.map_count; i-- > 0;) {
    if (kept.maps[i].at != at) continue;
    kept.maps[i] = kept.maps[--kept.map_count];
    break;
  }
  pthread_mutex_unlock(&kept.list);
}

/* --- the table -------------------------------------------------------------------------------- */

static int call_open(const char *path, int flags, mode_t mode) {
  if (flags & OS_FOR_CHILDREN) return open(path, (flags & ~OS_FOR_CHILDREN) | O_CLOEXEC, mode);
  os_handle_forks();
  pthread_rwlock_rdlock(&kept.calls);
  int fd = open(path, flags | O_CLOEXEC, mode);
  if (fd >= 0 && !keep_fd(fd)) {
    (void)close(fd);
    fd = -1;
    errno = ENOMEM;
  }
  pthread_rwlock_unlock(&kept.calls);
  return fd;
}

static int call_close(int fd) {
  pthread_rwlock_rdlock(&kept.calls);
  forget_fd(fd);
  int rc = close(fd);
  pthread_rwlock_unlock(&kept.calls);
  return rc;
}

static ssize_t call_get_attribute(int fd, const char *name, void *value, size_t size) {
  return fgetxattr(fd, name, value, size);
}

static int call_set_attribute(int fd, const char *name, const void *value, size_t size) {
  return value != NULL ? fsetxattr(fd, name, value, size, 0) : fremovexattr(fd, name);
}

static ssize_t call_list_attributes(int fd, char *names, size_t size) {
  return flistxattr(fd, names, size);
}

static int call_fstat(int fd, struct stat *out) {
  return fstat(fd, out);
}

static int call_stat(const char *path, struct stat *out) {
  return stat(path, out);
}

static int call_lstat(const char *path, struct stat *out) {
  return lstat(path, out);
}

static int set_lock(int fd, short type, uint64_t offset, uint64_t size) {
  struct flock range = {
      .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)offset, .l_len = (off_t)size};
  return fcntl(fd, F_OFD_SETLK, &range);
}

static int call_lock(int fd, bool shared, uint64_t offset, uint64_t size) {
  return set_lock(fd, shared ? F_RDLCK : F_WRLCK, offset, size);
}

static int call_unlock(int fd, uint64_t offset, uint64_t size) {
  return set_lock(fd, F_UNLCK, offset, size);
}

static int call_is_locked(int fd, uint64_t offset, uint64_t size) {
  struct flock range = {
      .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)offset, .l_len = (off_t)size};
  if (fcntl(fd, F_OFD_GETLK, &range) != 0) return -1;
  return range.l_type != F_UNLCK;
}

static void *call_map(int fd, size_t size, void *at, bool writable) {
  int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  int flags = at != NULL ? MAP_SHARED | MAP_FIXED : MAP_SHARED;
  os_handle_forks();
  pthread_rwlock_rdlock(&kept.calls);
  void *mapping = mmap(at, size, protection, flags, fd, 0);
  int reason = errno;
  if (mapping == MAP_FAILED) {
    mapping = NULL;
  } else if (at == NULL && !keep_map(mapping, size)) {
    (void)munmap(mapping, size);
    mapping = NULL;
    reason = ENOMEM;
  }
  pthread_rwlock_unlock(&kept.calls);
  errno = reason;
  return mapping;
}

static void call_unmap(void *mapping, size_t size) {
  pthread_rwlock_rdlock(&kept.calls);
  forget_map(mapping);
  (void)munmap(mapping, size);
  pthread_rwlock_unlock(&kept.calls);
}

static void call_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t ns) {
  struct timespec limit = {.tv_sec = (time_t)(ns / 1000000000u),
                           .tv_nsec = (long)(ns % 1000000000u)};
  (void)syscall(SYS_futex, word, FUTEX_WAIT, expected, &limit, NULL, 0);
}

static void call_wake(_Atomic uint32_t *word) {
  (void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Those on which neither shared memory nor locks can be relied upon between machines. */
static const char *call_network_name(int fd) {
  static const struct {
    uint32_t type;
    const char *name;
  } systems[] = {
      {0x6969, "NFS"},        {0x517b, "SMB"},        {0xff534d42, "SMB"},
      {0xfe534d42, "SMB"},    {0x01021997, "9p"},     {0x5346414f, "AFS"},
      {0x6b414653, "AFS"},    {0x00c36400, "Ceph"},   {0x73757245, "Coda"},
      {0x0bd00bd0, "Lustre"}, {0x19830326, "BeeGFS"}, {0x20030528, "OrangeFS"},
      {0x01161970, "GFS2"},   {0x7461636f, "OCFS2"},  {0x47504653, "GPFS"},
  };
  struct statfs facts;
  if (fstatfs(fd, &facts) != 0) return NULL;
  for (size_t i = 0; i < sizeof systems / sizeof systems[0]; i++) {
    if ((uint32_t)facts.f_type == systems[i].type) return systems[i].name;
  }
  return NULL;
}

static char *call_realpath(const char *path) {
  return realpath(path, NULL);
}

static bool call_is_mount(const char *path) {
#ifdef STATX_ATTR_MOUNT_ROOT
  struct statx facts;
  return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, 0, &facts) == 0 &&
         (facts.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
#else
  (void)path;
  return false;
#endif
}

static int call_random(void *data, size_t size) {
  ssize_t got;
  unsigned tries = 0;
  do {
    got = getrandom(data, size, 0);
  } while (got < 0 && errno == EINTR && ++tries < OS_EINTR_MAX);
  return got == (ssize_t)size ? 0 : -1;
}

static uint64_t call_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t call_time_s(void) {
  return (uint64_t)time(NULL);
}

static void *call_take_pages(size_t size) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
  char *data = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (data == MAP_FAILED) return NULL;
  if (((uintptr_t)data & (size - 1)) != 0) { /* then twice as much has it somewhere */
    (void)munmap(data, size);
    data = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (data == MAP_FAILED) return NULL;
    size_t before = (size - ((uintptr_t)data & (size - 1))) & (size - 1);
    if (before > 0) (void)munmap(data, before);
    data += before;
    (void)munmap(data + size, size - before);
  }
  ROOT_REGION(register, data, size);
  return data;
}

static void call_give_pages(void *data, size_t size) {
  ROOT_REGION(unregister, data, size);
  (void)munmap(data, size);
}

static void call_trim(void) {
#ifdef __GLIBC__
  (void)malloc_trim(0);
#endif
}

static void call_use_huge_pages(void *data, size_t size) {
  (void)madvise(data, size, MADV_HUGEPAGE); /* advice: it may be refused */
}

os_table os = {
    .open = call_open,
    .close = call_close,
    .pread = pread,
    .pwrite = pwrite,
    .fdatasync = fdatasync,
    .fsync = fsync,
    .ftruncate = ftruncate,
    .fchmod = fchmod,
    .fchown = fchown,
    .geteuid = geteuid,
    .get_attribute = call_get_attribute,
    .set_attribute = call_set_attribute,
    .list_attributes = call_list_attributes,
    .fstat = call_fstat,
    .stat = call_stat,
    .lstat = call_lstat,
    .access = access,
    .rename = rename,
    .link = link,
    .unlink = unlink,
    .lock = call_lock,
    .unlock = call_unlock,
    .is_locked = call_is_locked,
    .map = call_map,
    .unmap = call_unmap,
    .wait = call_wait,
    .wake = call_wake,
    .network_name = call_network_name,
    .realpath = call_realpath,
    .readlink = readlink,
    .is_mount = call_is_mount,
    .random = call_random,
    .now_ns = call_now_ns,
    .time_s = call_time_s,
    .malloc = malloc,
    .realloc = realloc,
    .free = free,
    .take_pages = call_take_pages,
    .give_pages = call_give_pages,
    .use_huge_pages = call_use_huge_pages,
    .trim = call_trim,
};

int os_write_all(int fd, const void *data, size_t size, uint64_t offset) {
  const char *from = data;
  unsigned tries = 0;
  while (size > 0) {
    ssize_t wrote = os.pwrite(fd, from, size, (off_t)offset);
    if (wrote < 0 && errno == EINTR && ++tries < OS_EINTR_MAX) continue;
    if (wrote == 0) errno = ENOSPC;
    if (wrote <= 0) return -1;
    tries = 0;
    from += wrote;
    offset += (uint64_t)wrote;
    size -= (size_t)wrote;
  }
  return 0;
}

ssize_t os_read_all(int fd, void *data, size_t size, uint64_t offset) {
  char *to = data;
  size_t done = 0;
  unsigned tries = 0;
  while (done < size) {
    ssize_t got = os.pread(fd, to + done, size - done, (off_t)(offset + done));
    if (got < 0 && errno == EINTR && ++tries < OS_EINTR_MAX) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    tries = 0;
    done += (size_t)got;
  }
  return (ssize_t)done;
}

int os_read_exactly(int fd, void *data, size_t size, uint64_t offset) {
  ssize_t got = os_read_all(fd, data, size, offset);
  if (got == (ssize_t)size) return 0;
  if (got >= 0) errno = EIO;
  return -1;
}

int os_sync_data(int fd) {
  int rc;
  unsigned tries = 0;
  do {
    rc = os.fdatasync(fd);
  } while (rc != 0 && errno == EINTR && ++tries < OS_EINTR_MAX);
  return rc;
}

int os_sync_file(int fd) {
  int rc;
  unsigned tries = 0;
  do {
    rc = os.fsync(fd);
  } while (rc != 0 && errno == EINTR && ++tries < OS_EINTR_MAX);
  return rc;
}

int os_truncate(int fd, uint64_t size) {
  int rc;
  unsigned tries = 0;
  do {
    rc = os.ftruncate(fd, (off_t)size);
  } while (rc != 0 && errno == EINTR && ++tries < OS_EINTR_MAX);
  return rc;
}

/* Nobody wakes who waits here. */
void os_pause(uint64_t ns) {
  _Atomic uint32_t word = 0;
  os.wait(&word, 0, ns);
}

void os_close_locked(int fd) {
  (void)os.unlock(fd, 0, 0);
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
