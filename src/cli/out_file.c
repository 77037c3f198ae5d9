/* out_file.c - the file that a tool writes its text to. See out_file.h. */
#include "out_file.h"

#include "rights.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static bool fail(const char *path, const char *why) {
  (void)tool_fail("cannot write to '%s': %s", path, why);
  return false;
}

/* --- a new file ----------------------------------------------------------------------------------- */

/* Whether the file open as fd is the one of that name. */
static bool has_name(int fd, const char *path) {
  struct stat facts, named;
  return fstat(fd, &facts) == 0 && lstat(path, &named) == 0 && facts.st_dev == named.st_dev &&
         facts.st_ino == named.st_ino;
}

static int create(const char *path) {
  return open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

/* Remove what a dump that was killed has left: a regular file of the caller's own, with one name, that
** nobody writes any more. */
static const char *remove_left_over(const char *path) {
  struct stat facts;
  const char *why = NULL;
  int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode) || facts.st_nlink != 1 ||
      facts.st_uid != geteuid()) {
    why = "is in the way; it is no file that a dump of yours has left";
  } else if (flock(fd, LOCK_EX | LOCK_NB) != 0 || !has_name(fd, path)) {
    why = "is being written by another dump";
  } else if (unlink(path) != 0) {
    why = "is in the way";
  }
  if (fd >= 0) close(fd);
  return why;
}

/* Group, mode and ACL of the log. If they cannot be given, the file stays the caller's alone. */
static void give_rights(int fd, const char *model) {
  rights like;
  int from = open(model, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (from < 0) return;
  if (rights_read(from, &like) == 0) {
    mode_t mask = umask(077);
    (void)umask(mask);
    like.owner = geteuid();
    like.mode &= ~mask;
    (void)rights_give(fd, &like, NULL);
  }
  close(from);
}

static bool open_new(out_file *o, const char *model) {
  const char *name = o->temporary.data;
  int fd = create(name);
  if (fd < 0 && errno == EEXIST) {
    const char *why = remove_left_over(name);
    if (why != NULL) {
      (void)tool_fail("cannot write to '%s': '%s' %s", o->path, name, why);
      return false;
    }
    fd = create(name);
  }
  if (fd < 0) return fail(o->path, strerror(errno));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    close(fd);
    return fail(o->path, "another dump does");
  }
  give_rights(fd, model);
  o->file = fdopen(fd, "w");
  if (o->file != NULL) return true;
  int reason = errno;
  close(fd);
  (void)unlink(name);
  return fail(o->path, strerror(reason));
}

/* --- what is there -------------------------------------------------------------------------------- */

/* Write to what is no regular file, or one of another process's by its name in /dev or /proc. Nothing
** is created or cut off, whatever has taken its place meanwhile. */
static bool open_in_place(out_file *o, bool is_named_by_system) {
  struct stat facts;
  int fd = open(o->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return fail(o->path, strerror(errno));
  if (!is_named_by_system && (fstat(fd, &facts) != 0 || S_ISREG(facts.st_mode))) {
    close(fd);
    return fail(o->path, "it has just been replaced");
  }
  o->file = fdopen(fd, "w");
  if (o->file != NULL) return true;
  close(fd);
  return fail(o->path, strerror(errno));
}

bool out_file_open(out_file *o, const char *path, const char *model) {
  static const char suffix[] = "-dump-new";
  struct stat facts, out;
  *o = (out_file){.file = stdout, .path = path};
  if (path == NULL) return true;
  if (!tool_check_name(path)) return false;
  bool exists = stat(path, &facts) == 0;
  /* Such as /dev/stdout, which must not be replaced by a file. */
  if (exists && fstat(STDOUT_FILENO, &out) == 0 && facts.st_dev == out.st_dev &&
      facts.st_ino == out.st_ino) {
    return true;
  }
  bool is_named_by_system = strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0;
  if (exists && (is_named_by_system || !S_ISREG(facts.st_mode))) {
    return open_in_place(o, is_named_by_system);
  }
  tool_append(&o->temporary, path, strlen(path));
  tool_append(&o->temporary, suffix, sizeof suffix);
  if (open_new(o, model)) return true;
  bytes_free(&o->temporary);
  return false;
}

int out_file_close(out_file *o, int code) {
  bool is_new = o->temporary.size > 0;
  bool good = fflush(o->file) == 0 && !ferror(o->file);
  if (good && is_new) good = fsync(fileno(o->file)) == 0;
  if (good && is_new && code == TOOL_OK) good = rename(o->temporary.data, o->path) == 0;
  int reason = errno;
  if ((!good || code != TOOL_OK) && is_new) (void)unlink(o->temporary.data);
  if (o->file != stdout && fclose(o->file) != 0 && good) {
    good = false;
    reason = errno;
  }
  if (!good && code == TOOL_OK) {
    code = tool_fail("cannot write to '%s': %s", o->path != NULL ? o->path : "stdout",
                     strerror(reason));
  }
  if (!good && o->file == stdout) clearerr(stdout); /* it is told */
  bytes_free(&o->temporary);
  return code;
}
