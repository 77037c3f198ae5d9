/*
** test_rights.c - whose a new file becomes, and who may read it, whatever the system refuses.
**
** The files are made up: a table for `os` knows two of them, the model and the new one, and refuses what
** a case says. What real users see is tested in whose.test.
*/
#include "os.h"
#include "rights.h"
#include "unit.h"

#include <errno.h>

#define ACL "system.posix_acl_access"
#define MODEL 1000 /* descriptors */
#define NEW 1001

typedef struct made_up {
  uid_t uid;
  gid_t gid;
  mode_t mode;
  const char *acl, *note; /* NULL: it has none */
} made_up;

static made_up model, new;

/* What is refused, with which errno; 0: it is not. */
static struct refused {
  int owner, group, mode, get_acl, set_acl, remove_acl, list, get_note, set_note;
  int stat_number, stats; /* that one of the calls of fstat */
} refused;

static int refuse(int reason) {
  errno = reason;
  return reason != 0 ? -1 : 0;
}

static made_up *file_of(int fd) {
  return fd == MODEL ? &model : &new;
}

static int made_up_fstat(int fd, struct stat *out) {
  const made_up *file = file_of(fd);
  if (++refused.stats == refused.stat_number) return refuse(EIO);
  memset(out, 0, sizeof *out);
  out->st_uid = file->uid;
  out->st_gid = file->gid;
  out->st_mode = S_IFREG | file->mode;
  return 0;
}

static int made_up_stat(const char *path, struct stat *out) {
  return strcmp(path, "model") == 0 ? made_up_fstat(MODEL, out) : refuse(ENOENT);
}

static int made_up_fchown(int fd, uid_t owner, gid_t group) {
  made_up *file = file_of(fd);
  if (owner != (uid_t)-1 && owner != file->uid && refused.owner != 0) return refuse(refused.owner);
  if (group != file->gid && refused.group != 0) return refuse(refused.group);
  if (owner != (uid_t)-1) file->uid = owner;
  file->gid = group;
  return 0;
}

static int made_up_fchmod(int fd, mode_t mode) {
  if (refused.mode != 0) return refuse(refused.mode);
  file_of(fd)->mode = mode;
  return 0;
}

static ssize_t made_up_get(int fd, const char *name, void *value, size_t size) {
  bool is_acl = strcmp(name, ACL) == 0;
  int reason = is_acl ? refused.get_acl : refused.get_note;
  const char *text = is_acl ? file_of(fd)->acl : file_of(fd)->note;
  if (reason != 0) return refuse(reason);
  if (text == NULL) return refuse(ENODATA);
  if (size > 0) memcpy(value, text, strlen(text));
  return (ssize_t)strlen(text);
}

static int made_up_set(int fd, const char *name, const void *value, size_t size) {
  bool is_acl = strcmp(name, ACL) == 0;
  const char **text = is_acl ? &file_of(fd)->acl : &file_of(fd)->note;
  int reason = !is_acl ? refused.set_note : value != NULL ? refused.set_acl : refused.remove_acl;
  CHECK(is_acl || strcmp(name, "user.note") == 0);
  if (reason != 0) return refuse(reason);
  if (value == NULL && *text == NULL) return refuse(ENODATA);
  const char *from = is_acl ? model.acl : model.note;
  if (value != NULL) CHECK_BYTES((const char *)value, size, from, strlen(from));
  *text = value != NULL ? from : NULL;
  return 0;
}

static ssize_t made_up_list(int fd, char *names, size_t size) {
  static const char both[] = "security.label\0user.note";
  CHECK(fd == MODEL && size >= sizeof both);
  if (refused.list != 0) return refuse(refused.list);
  if (model.note == NULL) return 0;
  memcpy(names, both, sizeof both);
  return (ssize_t)sizeof both;
}

static void begin(gid_t group, mode_t mode) {
  model = (made_up){.uid = 7, .gid = group, .mode = mode};
  new = (made_up){.uid = 7, .gid = 70, .mode = 0600};
  memset(&refused, 0, sizeof refused);
}

/* Give the new file the model's rights: the result, and in *same whether they are the same. */
static int give(bool *same) {
  rights like;
  int number = refused.stat_number;
  refused.stat_number = 0;
  CHECK_INT(rights_read(MODEL, &like), 0);
  refused.stat_number = number;
  refused.stats = 0;
  return rights_give(NEW, &like, same);
}

static void test_reading(void) {
  rights like;
  begin(70, 0640);
  CHECK_INT(rights_read_path("model", &like), 0);
  CHECK(like.known && like.owner == 7 && like.group == 70 && like.mode == 0640 && like.fd < 0);
  CHECK_INT(rights_mode_at_first(&like), 0600); /* until it has its owner */
  CHECK_INT(rights_read_path("nothing", &like), -1);
  refused.stat_number = refused.stats + 1;
  CHECK_INT(rights_read(MODEL, &like), -1);
  like.known = false;
  bool same = false;
  CHECK_INT(rights_mode_at_first(&like), 0644);
  CHECK_INT(rights_give(NEW, &like, &same), 0);
  CHECK(same && new.mode == 0600); /* nothing is known, and nothing was changed */
  CHECK_INT(rights_give(NEW, &like, NULL), 0);
}

static void test_owner(void) {
  bool same;
  begin(70, 0640);
  CHECK_INT(give(&same), 0);
  CHECK(same && new.mode == 0640);
  begin(70, 0640);
  model.uid = 8;
  CHECK_INT(give(&same), 0);
  CHECK(same && new.uid == 8 && new.gid == 70);
  begin(80, 0640); /* the group can be given all the same */
  model.uid = 8;
  refused.owner = EPERM;
  CHECK_INT(give(&same), 0);
  CHECK(!same && new.uid == 7 && new.gid == 80 && new.mode == 0640);
  for (int nth = 1; nth <= 2; nth++) {
    begin(80, 0640);
    refused.stat_number = nth;
    CHECK_INT(give(&same), -1);
    CHECK_INT(new.mode, 0600); /* more was not opened to anybody */
  }
  begin(70, 0600);
  refused.stat_number = 2; /* its mode cannot be told, and is set to be sure */
  CHECK_INT(give(&same), 0);
  CHECK_INT(new.mode, 0600);
  begin(70, 0640);
  refused.mode = EPERM;
  CHECK_INT(give(&same), -1);
}

/* The group is another one, which may have no more than everybody has. */
static void test_group(void) {
  static const struct {
    mode_t mode, narrowed;
    bool same;
  } cases[] = {{0664, 0644, false}, {0660, 0600, false}, {0644, 0644, true},
               {0600, 0600, true},  {0646, 0644, false}, {0604, 0600, false}};
  bool same;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    begin(80, cases[i].mode);
    new.acl = "of its folder"; /* its entries mean the wrong group */
    refused.group = EPERM;
    CHECK_INT(give(&same), 0);
    CHECK(same == cases[i].same && new.acl == NULL);
    CHECK_INT(new.gid, 70);
    CHECK_INT(new.mode, cases[i].narrowed);
  }
  begin(80, 0644);
  model.acl = "more for some";
  refused.group = EPERM;
  CHECK_INT(give(&same), 0);
  CHECK(!same && new.acl == NULL);
  begin(80, 0644);
  new.acl = "of its folder";
  refused.group = EPERM;
  refused.remove_acl = EIO;
  CHECK_INT(give(&same), -1); /* or the wrong ones might read it */
}

static void test_acl(void) {
  static const int none[] = {ENOTSUP, ENOSYS, EPERM, EACCES};
  bool same;
  begin(70, 0640);
  model.acl = "more for some";
  CHECK_INT(give(&same), 0);
  CHECK_STR(new.acl, "more for some");
  CHECK(same);
  begin(70, 0640);
  new.acl = "of its folder";
  CHECK_INT(give(&same), 0);
  CHECK(new.acl == NULL);
  begin(70, 0640);
  model.acl = ""; /* it has none, in other words */
  new.acl = "of its folder";
  CHECK_INT(give(&same), 0);
  CHECK(new.acl == NULL &&same);
  for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
    begin(70, 0640);
    refused.get_acl = none[i];
    CHECK_INT(give(&same), 0);
    begin(70, 0640);
    refused.remove_acl = none[i];
    CHECK_INT(give(&same), 0);
    CHECK_INT(new.mode, 0640);
  }
  begin(70, 0640);
  refused.get_acl = EIO;
  CHECK_INT(give(&same), -1);
  begin(70, 0640);
  refused.remove_acl = EIO;
  CHECK_INT(give(&same), -1);
  begin(70, 0640);
  model.acl = "more for some";
  refused.set_acl = ENOSPC;
  CHECK_INT(give(&same), -1);
  CHECK_INT(new.mode, 0600);
}

static void test_attributes(void) {
  bool same;
  begin(70, 0640);
  model.note = "keep";
  CHECK_INT(give(&same), 0);
  CHECK_STR(new.note, "keep");
  begin(70, 0640);
  model.note = "keep";
  refused.get_note = ENODATA; /* somebody has just removed it */
  CHECK_INT(give(&same), 0);
  CHECK(new.note == NULL &&new.mode == 0640);
  begin(70, 0640);
  model.note = "keep";
  refused.set_note = ENOTSUP;
  CHECK_INT(give(&same), 0);
  CHECK(new.note == NULL &&new.mode == 0640);
  refused.set_note = ENOSPC;
  CHECK_INT(give(&same), -1);
  begin(70, 0640);
  model.note = "keep";
  refused.list = ENOTSUP;
  CHECK_INT(give(&same), 0);
  CHECK(new.note == NULL &&same);
}

int main(void) {
  os.fstat = made_up_fstat;
  os.stat = made_up_stat;
  os.fchown = made_up_fchown;
  os.fchmod = made_up_fchmod;
  os.get_attribute = made_up_get;
  os.set_attribute = made_up_set;
  os.list_attributes = made_up_list;
  test_reading();
  test_owner();
  test_group();
  test_acl();
  test_attributes();
  return unit_done();
}
