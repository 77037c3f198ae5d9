/*
** test_share_join.c - coming to the shared file of a log: whose page is trusted, who waits for how long,
** what is removed and made again meanwhile, and what fails; and the small things of its locks.
**
** Owners are made up: a table for `os` says whose the files are. What real users see is tested in
** whose.test.
*/
#include "process_help.h"
#include "share.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static os_table real;

static bool says(const char *text) {
  bool found = strstr(help_err.text, text) != NULL;
  if (!found) printf("  it says: %s\n", help_err.text);
  return found;
}

static void make_log(const char *path) {
  kv *db = help_open_full(path);
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_close(db, &help_err));
}

/* Become a member, and tell the others that the page is ready if nobody else is one. */
static void join(share *s, const char *path) {
  bool alone;
  *s = (share){.fd = -1};
  MUST(share_join(s, path, NULL, &alone, &help_err));
  if (alone) share_ready(s);
  share_joined(s);
}

/* --- whose page it is ----------------------------------------------------------------------------- */

#define US 500

typedef struct owners {
  uid_t page_user;
  gid_t page_group;
  uid_t user; /* of the log */
  gid_t group;
  mode_t mode, folder;
  bool trusted;
} owners;

static const owners *now;
static bool no_folder, no_log;

static uid_t made_up_geteuid(void) {
  return US;
}

static int made_up_fstat(int fd, struct stat *out) {
  int rc = real.fstat(fd, out);
  if (rc == 0 && out->st_size == (off_t)sizeof(share_page)) {
    out->st_uid = now->page_user;
    out->st_gid = now->page_group;
  }
  return rc;
}

static int made_up_stat(const char *path, struct stat *out) {
  int rc = real.stat(path, out);
  if (rc != 0) return rc;
  bool is_folder = S_ISDIR(out->st_mode);
  if (is_folder ? no_folder : no_log) {
    errno = EACCES;
    return -1;
  }
  if (is_folder) out->st_mode = S_IFDIR | now->folder;
  if (strcmp(path, "whose") == 0) {
    out->st_uid = now->user;
    out->st_gid = now->group;
    out->st_mode = S_IFREG | now->mode;
  }
  return rc;
}

static void *no_malloc(size_t size) {
  (void)size;
  return NULL;
}

static bool looks(share *looker) {
  return share_look(looker, "whose");
}

/* A stranger could make us write in the wrong place of the log. */
static void test_whose(void) {
  static const owners cases[] = {
      {0, 0, 600, 60, 0600, 0755, true},      /* root's */
      {US, 50, 600, 60, 0600, 0755, true},    /* ours */
      {600, 70, 600, 60, 0600, 0755, true},   /* the log's owner's */
      {700, 70, 600, 60, 0600, 0755, false},  /* nobody's */
      {700, 70, 600, 60, 0666, 0755, true},   /* he can write the log itself */
      {700, 60, 600, 60, 0660, 0755, true},   /* one of the group, which can */
      {700, 60, 600, 60, 0640, 0755, false},  /* which cannot */
      {700, 70, 600, 60, 0660, 0755, false},  /* not one of it */
      {700, 60, 600, 60, 0660, 03777, false}, /* the folder gives the group to anybody */
      {700, 60, 600, 60, 0660, 02775, true},  /* to those who may write in it */
      {700, 60, 600, 60, 0660, 01777, true},
  };
  share member, looker = {.fd = -1};
  make_log("whose");
  join(&member, "whose");
  os.geteuid = made_up_geteuid;
  os.fstat = made_up_fstat;
  os.stat = made_up_stat;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    now = &cases[i];
    if (!CHECK(looks(&looker) == now->trusted)) printf("  case %zu\n", i);
  }
  now = &cases[5]; /* what cannot be told is no proof */
  CHECK(looks(&looker));
  no_folder = true;
  CHECK(!looks(&looker));
  no_folder = false;
  os.malloc = no_malloc;
  CHECK(!looks(&looker));
  os.malloc = real.malloc;
  no_log = true;
  CHECK(!looks(&looker));
  no_log = false;
  now = &cases[3];
  share late = {.fd = -1};
  bool alone;
  CHECK_INT(share_join(&late, "whose", NULL, &alone, &help_err), KV_ECANTOPEN);
  CHECK(says("'whose-shm' was made by user 700") && says("remove it"));
  os = real;
  share_leave(&looker);
  if (link("whose-shm", "second") != 0) abort(); /* what we write would be in another file too */
  CHECK_INT(share_join(&late, "whose", NULL, &alone, &help_err), KV_ECANTOPEN);
  CHECK(says("'whose-shm' is in the way: the file has another name too"));
  if (unlink("second") != 0) abort();
  share_leave(&member);
  CHECK_INT(left_over("whose"), 0);
}

/* --- waiting -------------------------------------------------------------------------------------- */

static bool interrupted;
static unsigned asked;

static bool is_interrupted(void *context) {
  (void)context;
  asked++;
  return interrupted;
}

static const share_limit *limit_of(void *waiting) {
  return waiting;
}

/* Another process stays stopped in its joining: who waits for it keeps to its own limit. */
static void test_waiting(void) {
  bool alone;
  make_log("wait");
  share member;
  join(&member, "wait");
  int fd = open("wait-shm", O_RDWR);
  if (fd < 0 || real.lock(fd, false, (uint64_t)1 << 40, 1) != 0) abort();
  share_limit limit = {.deadline_ns = os.now_ns() + 3000000, .is_interrupted = is_interrupted};
  share late = {.fd = -1, .limit = limit_of, .waiting = &limit};
  CHECK_INT(share_join(&late, "wait", NULL, &alone, &help_err), KV_EBUSY);
  CHECK(says("another process is opening or closing the log") && asked > 0);
  interrupted = true;
  limit.deadline_ns = os.now_ns() + (uint64_t)60 * 1000000000u;
  late = (share){.fd = -1, .limit = limit_of, .waiting = &limit};
  CHECK_INT(share_join(&late, "wait", NULL, &alone, &help_err), KV_EINTERRUPTED);
  CHECK(says("interrupted while another process opens the log"));
  close(fd);
  share other; /* nor for a lock that another has */
  bool inherited;
  join(&other, "wait");
  CHECK(share_lock_take(&member, &member.page->turn, 0, &inherited));
  CHECK(share_lock_take(&member, &member.page->turn, os.now_ns() + 1000000000u, &inherited));
  CHECK(!share_lock_wait(&other, &member.page->turn, &limit, &inherited));
  interrupted = false;
  share_lock_pass(&member, &member.page->turn);
  share_leave(&other);
  share_leave(&member);
  CHECK_INT(left_over("wait"), 0);
}

/* --- removed and made again ------------------------------------------------------------------------- */

static unsigned opens;

/* Another process makes it between our two tries. */
static int open_late(const char *path, int flags, mode_t mode) {
  if (strcmp(path, "again-shm") == 0 && ++opens == 2 && (flags & O_CREAT) != 0) {
    write_file(path, "", 0);
  }
  return real.open(path, flags, mode);
}

static int never_there(const char *path, struct stat *out) {
  if (strcmp(path, "again-shm") != 0) return real.stat(path, out);
  errno = ENOENT;
  return -1;
}

static int cannot_stat(const char *path, struct stat *out) {
  if (strcmp(path, "again-shm") != 0) return real.stat(path, out);
  errno = EIO;
  return -1;
}

static void test_again(void) {
  bool alone;
  share s = {.fd = -1};
  make_log("again");
  os.open = open_late;
  join(&s, "again");
  CHECK(opens >= 3 && s.page != NULL);
  share_leave(&s);
  CHECK_INT(left_over("again"), 0);
  os = real;
  os.stat = never_there;
  share_limit limit = {.deadline_ns = 0};
  s = (share){.fd = -1, .limit = limit_of, .waiting = &limit};
  CHECK_INT(share_join(&s, "again", NULL, &alone, &help_err), KV_EBUSY);
  CHECK(says("'again-shm' is removed and made again all the time"));
  os.stat = cannot_stat;
  s = (share){.fd = -1};
  CHECK_INT(share_join(&s, "again", NULL, &alone, &help_err), KV_EIO);
  CHECK(says("stat of 'again-shm'"));
  os = real;
  make_log("again"); /* whatever was left is no obstacle */
  CHECK_INT(left_over("again"), 0);
}

/* The page cannot be given the log's rights: it is not left behind half made. */
static int no_fchmod(int fd, mode_t mode) {
  (void)fd, (void)mode;
  errno = EPERM;
  return -1;
}

static void test_no_rights(void) {
  bool alone;
  share s = {.fd = -1};
  rights like = {.known = true, .owner = geteuid(), .group = getegid(), .mode = 0640, .fd = -1};
  make_log("rights");
  os.fchmod = no_fchmod;
  CHECK_INT(share_join(&s, "rights", &like, &alone, &help_err), KV_ECANTOPEN);
  CHECK(says("setting of the access rights of 'rights-shm'") && says("not permitted"));
  CHECK_INT(left_over("rights"), 0);
  os = real;
}

/* --- locks ---------------------------------------------------------------------------------------- */

/* A free lock that is reserved for a member that has gone is anybody's. */
static void test_dead_heir(void) {
  share one, two;
  bool inherited;
  make_log("heir");
  join(&one, "heir");
  join(&two, "heir");
  share_lock *turn = &one.page->turn;
  atomic_store(&turn->reserved_ns, os.now_ns());
  atomic_store(&turn->word, (uint64_t)two.member << 32);
  CHECK(!share_lock_take(&one, turn, 0, &inherited)); /* it is there, and has time to take it */
  share_leave(&two);
  atomic_store(&turn->reserved_ns, os.now_ns());
  CHECK(share_lock_take(&one, turn, 0, &inherited) && !inherited);
  share_lock_pass(&one, turn);
  CHECK_INT(atomic_load(&turn->word), 0);
  share_leave(&one);
}

/* A successor that dies while the lock is taken has its place taken by the next that waits. */
static share *passing; /* has the lock, and passes it on when `waiting` is the successor */
static uint32_t waiting;

static void pass_to_heir(_Atomic uint32_t *word, uint32_t seen, uint64_t ns) {
  share_lock *turn = &passing->page->turn;
  if (atomic_load(&turn->word) >> 32 == waiting) share_lock_pass(passing, turn);
  real.wait(word, seen, ns);
}

static void test_heir_dies_early(void) {
  share one, two, three;
  bool inherited;
  make_log("early");
  join(&one, "early");
  join(&two, "early");
  join(&three, "early");
  share_lock *turn = &one.page->turn;
  CHECK(share_lock_take(&one, turn, 0, &inherited));
  atomic_store(&turn->word, (uint64_t)two.member << 32 | one.member);
  share_leave(&two);
  passing = &one;
  waiting = three.member;
  os.wait = pass_to_heir;
  CHECK(share_lock_take(&three, turn, os.now_ns() + 5000000000u, &inherited) && !inherited);
  os = real;
  CHECK_INT(atomic_load(&turn->word), three.member);
  share_lock_pass(&three, turn);
  share_leave(&three);
  share_leave(&one);
}

/* How far a file is on stable storage is told of that file alone. */
static void test_synced(void) {
  share one;
  share_file file = {.end = 100, .size = 100};
  make_log("synced");
  join(&one, "synced");
  share_write_file(one.page, &file);
  uint64_t generation = atomic_load(&one.page->generation);
  CHECK_INT(share_synced_end(one.page, generation), 100);
  CHECK_INT(share_synced_end(one.page, generation + 1), 0);
  share_raise_synced(one.page, generation, 200);
  share_raise_synced(one.page, generation, 150); /* never less */
  share_raise_synced(one.page, generation - 1, 900);
  share_raise_synced(one.page, generation + 1, 900);
  CHECK_INT(share_synced_end(one.page, generation), 200);
  share_leave(&one);
}

int main(void) {
  real = os;
  test_whose();
  test_waiting();
  test_again();
  test_no_rights();
  test_dead_heir();
  test_heir_dies_early();
  test_synced();
  return unit_done();
}
