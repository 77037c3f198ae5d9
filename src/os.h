/*
** os.h - every call the engine makes to the operating system or its allocator, in one table.
**
** Nothing else in src/ may call the kernel. Tests replace members of `os` to inject faults and to
** record what reached the disk; they do so before any store is open, in a single thread.
**
** The members behave as the POSIX calls they are named after, errno included, except where a
** comment says otherwise. The os_ functions below are built on the table, so that whatever they do
** passes through it too.
*/
#ifndef OS_H
#define OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

typedef struct os_table {
  /* Adds O_CLOEXEC. A forked child closes the file at once, so that it keeps no lock of its parent's
  ** alive, unless flags have OS_FOR_CHILDREN. */
  int (*open)(const char *path, int flags, mode_t mode);
  int (*close)(int fd);
  ssize_t (*pread)(int fd, void *data, size_t size, off_t offset);
  ssize_t (*pwrite)(int fd, const void *data, size_t size, off_t offset);
  int (*fdatasync)(int fd);
  int (*fsync)(int fd);
  int (*ftruncate)(int fd, off_t size);
  int (*fchmod)(int fd, mode_t mode);
  int (*fchown)(int fd, uid_t owner, gid_t group);
  uid_t (*geteuid)(void);
  /* Extended attributes; setting one to NULL removes it. */
  ssize_t (*get_attribute)(int fd, const char *name, void *value, size_t size);
  int (*set_attribute)(int fd, const char *name, const void *value, size_t size);
  ssize_t (*list_attributes)(int fd, char *names, size_t size);
  int (*fstat)(int fd, struct stat *out);
  int (*stat)(const char *path, struct stat *out);
  int (*lstat)(const char *path, struct stat *out);
  int (*access)(const char *path, int mode);
  int (*rename)(const char *from, const char *to);
  int (*link)(const char *from, const char *to);
  int (*unlink)(const char *path);
  /* Locks of the open file (OFD locks): they are gone when its last descriptor is, that is, with the
  ** process, however it ends. lock never waits: EAGAIN if taken. unlock gives them back whoever else
  ** has the file open by a fork. */
  int (*lock)(int fd, bool shared, uint64_t offset, uint64_t size); /* size 0: to the end */
  int (*unlock)(int fd, uint64_t offset, uint64_t size);
  int (*is_locked)(int fd, uint64_t offset, uint64_t size); /* by another: 1, 0; -1 and errno */
  /* A shared mapping from offset 0, in the place of the one at `at` if that is not NULL; or NULL. In
  ** a forked child zeros take its place. */
  void *(*map)(int fd, size_t size, void *at, bool writable);
  void (*unmap)(void *mapping, size_t size);
  /* Wait until woken, but for at most ns, if *word is still `expected`; wake all that wait. Between
  ** processes, for words in shared mappings. */
  void (*wait)(_Atomic uint32_t *word, uint32_t expected, uint64_t ns);
  void (*wake)(_Atomic uint32_t *word);
  const char *(*network_name)(int fd); /* of the network file system it is on; NULL: on none */
  char *(*realpath)(const char *path); /* result is freed with os.free */
  ssize_t (*readlink)(const char *path, char *target, size_t size);
  bool (*is_mount)(
      const char *path); /* something is mounted there; false also if it cannot be told */
  int (*random)(void *data, size_t size); /* fills all of it, size <= 256; 0 or -1 */
  uint64_t (*now_ns)(void);               /* monotonic clock, nanoseconds */
  uint64_t (*time_s)(void);               /* wall clock, seconds since 1970 */
  void *(*malloc)(size_t size);
  void *(*realloc)(void *data, size_t size);
  void (*free)(void *data);
  /* Pages from the system, zeroed, as many bytes as a power of two says and aligned to that; NULL if
  ** there are none. They go back at once, whatever else the process has allocated. */
  void *(*take_pages)(size_t size);
  void (*give_pages)(void *data, size_t size);
  /* Pages, aligned and a multiple of OS_HUGE_PAGE, shall lie in huge ones if they can. */
  void (*use_huge_pages)(void *data, size_t size);
  /* What was freed and is still with the allocator goes back to the system. */
  void (*trim)(void);
} os_table;

#define OS_HUGE_PAGE ((size_t)2 << 20)

#define OS_FOR_CHILDREN (1 << 30) /* a flag of open: a forked child goes on using the file */

extern os_table os;

/* Have fork handled as open and map say. Called by the first open; whoever registers handlers of its
** own, which take locks, calls it before, so that its locks are taken first. */
void os_handle_forks(void);

/* The functions below go on after EINTR, but not for ever: after OS_EINTR_MAX in a row it is an error. */
#define OS_EINTR_MAX 1000u

/* Write all of data at offset, going on after EINTR and short writes. 0, or -1 and errno. */
int os_write_all(int fd, const void *data, size_t size, uint64_t offset);

/* Read up to size bytes at offset, going on after EINTR and short reads. The number of bytes read,
** less than size only at the end of the file; or -1 and errno. */
ssize_t os_read_all(int fd, void *data, size_t size, uint64_t offset);

/* The same where the file is known to have them: 0; or -1 and errno, EIO if it has become shorter. */
int os_read_exactly(int fd, void *data, size_t size, uint64_t offset);

/* fdatasync, fsync and ftruncate, going on after EINTR. 0, or -1 and errno. */
int os_sync_data(int fd);
int os_sync_file(int fd);
int os_truncate(int fd, uint64_t size);

/* Sleep for so many nanoseconds, or less. */
void os_pause(uint64_t ns);

/* Close a file and give its locks back now: a child that was just forked may still share it. */
void os_close_locked(int fd);

/* Bring the entry of `path` in its folder to stable storage. 0, or -1 and errno. */
int os_sync_folder(const char *path);

/* The folder that holds path ("." if path has no slash), as a new string the caller frees with
** os.free; NULL if memory is short. */
char *os_folder_of(const char *path);

#endif
