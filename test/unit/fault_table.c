/* fault_table.c - system calls that fail when they are told to. See fault_table.h. */
#include "fault_table.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

fault_state fault;

const char *const fault_call_names[] = {"open",          "pread",         "pwrite",
                                        "fdatasync",     "fsync",         "ftruncate",
                                        "fchmod",        "fstat",         "stat",
                                        "access",        "rename",        "link",
                                        "unlink",        "lock",          "realpath",
                                        "random",        "map",           "fchown",
                                        "get_attribute", "set_attribute", "list_attributes",
                                        "is_locked"};

static bool fails(fault_call call) {
  if (fault.left == 0 || (fault.call != CALL_ANY && fault.call != call)) return false;
  unsigned long left = atomic_load(&fault.left);
  while (left > 0) {
    unsigned long then = left == 1 && fault.for_ever ? 1 : left - 1;
    if (atomic_compare_exchange_weak(&fault.left, &left, then)) break;
  }
  if (left != 1) return false;
  if (fault.failed++ == 0) fault.failed_call = call;
  errno = fault.reason;
  return true;
}

static int fault_open(const char *path, int flags, mode_t mode) {
  return fails(CALL_OPEN) ? -1 : fault.real.open(path, flags, mode);
}

static ssize_t fault_pread(int fd, void *data, size_t size, off_t offset) {
  return fails(CALL_PREAD) ? -1 : fault.real.pread(fd, data, size, offset);
}

static ssize_t fault_pwrite(int fd, const void *data, size_t size, off_t offset) {
  if (!fails(CALL_PWRITE)) return fault.real.pwrite(fd, data, size, offset);
  if (fault.short_write) return fault.real.pwrite(fd, data, size > 1 ? size - 1 : size, offset);
  if (size > 2) (void)fault.real.pwrite(fd, data, size / 2, offset); /* some of it got there */
  errno = fault.reason;
  return -1;
}

static int fault_fdatasync(int fd) {
  return fails(CALL_FDATASYNC) ? -1 : fault.real.fdatasync(fd);
}

static int fault_fsync(int fd) {
  return fails(CALL_FSYNC) ? -1 : fault.real.fsync(fd);
}

static int fault_ftruncate(int fd, off_t size) {
  return fails(CALL_FTRUNCATE) ? -1 : fault.real.ftruncate(fd, size);
}

static int fault_fchmod(int fd, mode_t mode) {
  return fails(CALL_FCHMOD) ? -1 : fault.real.fchmod(fd, mode);
}

static int fault_fstat(int fd, struct stat *out) {
  return fails(CALL_FSTAT) ? -1 : fault.real.fstat(fd, out);
}

static int fault_stat(const char *path, struct stat *out) {
  return fails(CALL_STAT) ? -1 : fault.real.stat(path, out);
}

static int fault_lstat(const char *path, struct stat *out) {
  return fails(CALL_STAT) ? -1 : fault.real.lstat(path, out);
}

static int fault_access(const char *path, int mode) {
  return fails(CALL_ACCESS) ? -1 : fault.real.access(path, mode);
}

static int fault_rename(const char *from, const char *to) {
  return fails(CALL_RENAME) ? -1 : fault.real.rename(from, to);
}

static int fault_link(const char *from, const char *to) {
  return fails(CALL_LINK) ? -1 : fault.real.link(from, to);
}

static int fault_unlink(const char *path) {
  return fails(CALL_UNLINK) ? -1 : fault.real.unlink(path);
}

static int fault_lock(int fd, bool shared, uint64_t offset, uint64_t size) {
  return fails(CALL_LOCK) ? -1 : fault.real.lock(fd, shared, offset, size);
}

static char *fault_realpath(const char *path) {
  return fails(CALL_REALPATH) ? NULL : fault.real.realpath(path);
}

static void *fault_map(int fd, size_t size, void *at, bool writable) {
  return fails(CALL_MAP) ? NULL : fault.real.map(fd, size, at, writable);
}

static int fault_random(void *data, size_t size) {
  return fails(CALL_RANDOM) ? -1 : fault.real.random(data, size);
}

static int fault_fchown(int fd, uid_t owner, gid_t group) {
  return fails(CALL_FCHOWN) ? -1 : fault.real.fchown(fd, owner, group);
}

static ssize_t fault_get_attribute(int fd, const char *name, void *value, size_t size) {
  return fails(CALL_GET_ATTRIBUTE) ? -1 : fault.real.get_attribute(fd, name, value, size);
}

static int fault_set_attribute(int fd, const char *name, const void *value, size_t size) {
  return fails(CALL_SET_ATTRIBUTE) ? -1 : fault.real.set_attribute(fd, name, value, size);
}

static ssize_t fault_list_attributes(int fd, char *names, size_t size) {
  return fails(CALL_LIST_ATTRIBUTES) ? -1 : fault.real.list_attributes(fd, names, size);
}

static int fault_is_locked(int fd, uint64_t offset, uint64_t size) {
  return fails(CALL_IS_LOCKED) ? -1 : fault.real.is_locked(fd, offset, size);
}

/* A minute is over at once for who waits for a lock, or for a name. */
static void fault_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t ns) {
  if ((fault.call == CALL_LOCK || fault.call == CALL_STAT) && fault.left > 0) {
    fault.skew_ns += 1000000000u;
  } else {
    fault.real.wait(word, expected, ns);
  }
}

static uint64_t fault_now_ns(void) {
  return fault.real.now_ns() + fault.skew_ns;
}

void faults_install(void) {
  fault.real = os;
  os.open = fault_open;
  os.pread = fault_pread;
  os.pwrite = fault_pwrite;
  os.fdatasync = fault_fdatasync;
  os.fsync = fault_fsync;
  os.ftruncate = fault_ftruncate;
  os.fchmod = fault_fchmod;
  os.fstat = fault_fstat;
  os.stat = fault_stat;
  os.lstat = fault_lstat;
  os.access = fault_access;
  os.rename = fault_rename;
  os.link = fault_link;
  os.unlink = fault_unlink;
  os.lock = fault_lock;
  os.realpath = fault_realpath;
  os.random = fault_random;
  os.map = fault_map;
  os.fchown = fault_fchown;
  os.get_attribute = fault_get_attribute;
  os.set_attribute = fault_set_attribute;
  os.list_attributes = fault_list_attributes;
  os.is_locked = fault_is_locked;
  os.wait = fault_wait;
  os.now_ns = fault_now_ns;
}

void fail_call(fault_call call, unsigned long nth, bool for_ever, int reason) {
  fault.call = call;
  fault.left = nth;
  fault.for_ever = for_ever;
  fault.reason = reason;
  fault.short_write = false;
  fault.failed = 0;
}

void fail_nothing(void) {
  fault.skew_ns = 0;
  fault.left = 0;
}

void fail_threads(bool fail) {
  static pthread_attr_t usual;
  pthread_attr_t attributes;
  if (fail && pthread_getattr_default_np(&usual) != 0) abort();
  if (pthread_attr_init(&attributes) != 0) abort();
  if (fail && pthread_attr_setstacksize(&attributes, (size_t)1 << 60) != 0) abort();
  if (pthread_setattr_default_np(fail ? &attributes : &usual) != 0) abort();
  pthread_attr_destroy(&attributes);
}
