/* rights.c - whose a file is. See rights.h. */
#include "rights.h"

#include "os.h"

#include <errno.h>
#include <string.h>

#define ACL "system.posix_acl_access"
#define NAMES_SIZE 4096 /* bytes of attributes' names, and of one value, that are copied */
#define VALUE_SIZE 8192

static void read_facts(const struct stat *facts, int fd, rights *out) {
  *out = (rights){.known = true,
                  .owner = facts->st_uid,
                  .group = facts->st_gid,
                  .mode = facts->st_mode & 0777,
                  .fd = fd};
}

int rights_read(int fd, rights *out) {
  struct stat facts;
  if (os.fstat(fd, &facts) != 0) return -1;
  read_facts(&facts, fd, out);
  return 0;
}

int rights_read_path(const char *path, rights *out) {
  struct stat facts;
  if (os.stat(path, &facts) != 0) return -1;
  read_facts(&facts, -1, out);
  return 0;
}

mode_t rights_mode_at_first(const rights *like) {
  return like->known ? 0600 : 0644;
}

/* Whether the file system, or a sandbox, knows nothing of attributes. */
static bool has_no_attributes(int reason) {
  return reason == ENOTSUP || reason == ENOSYS || reason == EPERM || reason == EACCES;
}

static int remove_acl(int fd) {
  if (os.set_attribute(fd, ACL, NULL, 0) == 0 || errno == ENODATA) return 0;
  return has_no_attributes(errno) ? 0 : -1;
}

/* The ACL of the model, or none, where the folder gave the new file one. *has tells which. */
static int give_acl(int fd, int from, bool *has) {
  char value[VALUE_SIZE];
  *has = false;
  ssize_t size = os.get_attribute(from, ACL, value, sizeof value);
  if (size > 0) {
    *has = true;
    return os.set_attribute(fd, ACL, value, (size_t)size);
  }
  if (size < 0 && has_no_attributes(errno)) return 0;
  if (size < 0 && errno != ENODATA) return -1;
  return remove_acl(fd);
}

/* What users or their programs have noted on the file. An attribute too large for the buffers, which
** few file systems allow, is left out. */
static int give_attributes(int fd, int from) {
  char names[NAMES_SIZE], value[VALUE_SIZE];
  ssize_t size = os.list_attributes(from, names, sizeof names);
  for (ssize_t at = 0; at < size; at += (ssize_t)strlen(names + at) + 1) {
    if (strncmp(names + at, "user.", 5) != 0) continue;
    ssize_t got = os.get_attribute(from, names + at, value, sizeof value);
    if (got < 0) continue; /* it has just been removed */
    if (os.set_attribute(fd, names + at, value, (size_t)got) != 0 && !has_no_attributes(errno)) {
      return -1;
    }
  }
  return 0;
}

/* Make owner and group those of the model, as far as the caller may. */
static int give_owner(int fd, const rights *like, struct stat *now) {
  if (os.fstat(fd, now) != 0) return -1;
  if (now->st_uid == like->owner && now->st_gid == like->group) return 0;
  if (os.fchown(fd, like->owner, like->group) != 0) {
    (void)os.fchown(fd, (uid_t)-1, like->group);
  }
  return os.fstat(fd, now);
}

int rights_give(int fd, const rights *like, bool *same) {
  struct stat now;
  bool has_acl = false;
  if (same != NULL) *same = true;
  if (!like->known) return 0;
  if (give_owner(fd, like, &now) != 0) return -1;
  bool has_owner = now.st_uid == like->owner, has_group = now.st_gid == like->group;
  mode_t mode = like->mode, group = mode >> 3 & 7, others = mode & 7;
  if (!has_group) mode = (mode & 0700) | (group & others) << 3 | (group & others);
  if (like->fd >= 0) {
    if (has_group && give_acl(fd, like->fd, &has_acl) != 0) return -1;
    if (!has_group) { /* the entries mean the group that is missing */
      has_acl = os.get_attribute(like->fd, ACL, NULL, 0) > 0;
      if (remove_acl(fd) != 0) return -1;
    }
    if (give_attributes(fd, like->fd) != 0) return -1;
  }
  if ((os.fstat(fd, &now) != 0 || (now.st_mode & 0777) != mode) && os.fchmod(fd, mode) != 0) {
    return -1;
  }
  if (same != NULL) *same = has_owner && (has_group || (group == others && !has_acl));
  return 0;
}
