/*
** test_share.c - the file that the processes on a log share: missing, damaged, left by a crash, in the
** way, removed while it is used; what it is not relied upon for; and that looking at it costs no
** system call.
*/
#include "process_help.h"
#include "share.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define WATCHDOG_S 120

static os_table real;
static atomic_int *step;

/* --- helpers ---------------------------------------------------------------------------------------- */

static void make_log(const char *path) {
  kv *db = help_open_full(path);
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_close(db, &help_err));
}

static const char *page_of(const char *path) {
  static char name[64];
  (void)snprintf(name, sizeof name, "%s-shm", path);
  return name;
}

/* Has the log open, from step 1 to step 2, and still can write then. */
/* Where whose.test puts its lies. */
_Static_assert(offsetof(share_page, published_seq) == 64, "");
_Static_assert(offsetof(share_page, written_seq) == 128, "");
_Static_assert(offsetof(share_page, brief) == 152, "");
_Static_assert(offsetof(share_page, synced) == 160, "");
_Static_assert(offsetof(share_page, generation) == 192, "");
_Static_assert(offsetof(share_page, files[0].inode) == 232, "");
_Static_assert(offsetof(share_page, files[1]) == 264, "");
_Static_assert(offsetof(share_page, announced) == 344, "");
_Static_assert(offsetof(share_page, turn) == 384, "");
_Static_assert(offsetof(share_page, flush) == 448, "");

static void be_holder(void *context) {
  kv *db = help_open_full(context);
  MUST(help_commit_put(db, "held", "1"));
  atomic_store(step, 1);
  await(step, 2);
  MUST(help_commit_put(db, "held", "2"));
  CHECK_STR(help_all(db), "a=1 held=2");
  MUST(kv_close(db, &help_err));
}

static pid_t start_holder(const char *path) {
  atomic_store(step, 0);
  pid_t child = child_start(be_holder, (void *)(uintptr_t)path);
  await(step, 1);
  return child;
}

static void end_holder(pid_t child) {
  atomic_store(step, 2);
  CHECK_INT(child_end(child), 0);
}

static int try_open(const char *path) {
  kv_options options = help_options(path, KV_SYNC_FULL, 1, 10);
  kv *db = NULL;
  int rc = kv_open(&options, &db, NULL, &help_err);
  if (rc == KV_OK) MUST(kv_close(db, &help_err));
  return rc;
}

static void check_readable(const char *path, const char *all) {
  kv *db = open_readonly(path);
  CHECK_STR(help_all(db), all);
  MUST(kv_close(db, &help_err));
}

/* It opens, is written, and nothing is left behind. */
static void check_usable(const char *path, const char *before) {
  char after[64];
  kv *db = help_open_full(path);
  CHECK_STR(help_all(db), before);
  CHECK(exists(page_of(path)));
  MUST(help_commit_put(db, "z", "9"));
  (void)snprintf(after, sizeof after, "%s z=9", before);
  check_readable(path, after);
  CHECK_INT(kv_check(db, &help_err), KV_OK);
  MUST(kv_close(db, &help_err));
  check_readable(path, after);
  CHECK_INT(left_over(path), 0);
}

/* --- what is in its place ---------------------------------------------------------------------------- */

static void test_missing(void) {
  struct stat facts;
  make_log("missing");
  if (chmod("missing", 0640) != 0) abort();
  kv *db = help_open_full("missing");
  CHECK(stat("missing-shm", &facts) == 0 && (facts.st_mode & 0777) == 0640);
  MUST(kv_close(db, &help_err));
  CHECK(!exists("missing-shm"));
  check_usable("missing", "a=1");
  db = help_open_full("not-yet"); /* nor before there is a log */
  CHECK_INT(left_over("not-yet"), 0);
  MUST(kv_close(db, &help_err));
}

static void test_any_bytes(void) {
  static char bytes[20000];
  static const size_t sizes[] = {
      0, 1, 16, 63, 4096, sizeof(share_page) - 1, sizeof(share_page), sizeof bytes};
  uint64_t random = 7;
  for (size_t i = 0; i < 3 * sizeof sizes / sizeof sizes[0]; i++) {
    size_t size = sizes[i / 3];
    for (size_t at = 0; at < size; at++) {
      bytes[at] = i % 3 == 0 ? (char)unit_random(&random) : i % 3 == 1 ? (char)0xff : 0;
    }
    if (i % 6 < 3 && size >= 16) memcpy(bytes, "kvstore share 2", 16);
    make_log("any");
    write_file("any-shm", bytes, size);
    check_readable("any", "a=1");
    bool ours = size == 0 || size == sizeof(share_page) || (i % 6 < 3 && size >= 16) ||
                (i % 3 == 2 && size < sizeof(share_page));
    if (ours) {
      check_usable("any", "a=1");
    } else { /* it could be somebody's notes */
      struct stat facts;
      CHECK_INT(try_open("any"), KV_ECANTOPEN);
      CHECK(strstr(help_err.text, "any-shm' is in the way: kvstore did not make it") != NULL);
      CHECK(stat("any-shm", &facts) == 0 && (size_t)facts.st_size == size);
      if (unlink("any-shm") != 0) abort();
    }
    if (unlink("any") != 0) abort();
  }
}

static void test_after_a_crash(void) {
  for (int i = 0; i < 5; i++) {
    make_log("crash");
    pid_t child = start_holder("crash");
    child_kill(child);
    CHECK(exists("crash-shm"));
    check_readable("crash", "a=1 held=1");
    if (i == 1) { /* the page of this log before another log */
      make_log("other");
      if (rename("crash-shm", "other-shm") != 0) abort();
      check_readable("other", "a=1");
      check_usable("other", "a=1");
    }
    if (i == 2 && truncate("crash-shm", 100) != 0) abort();
    if (i == 3 && (unlink("crash-shm") != 0)) abort();
    check_usable("crash", "a=1 held=1");
    if (unlink("crash") != 0) abort();
  }
}

static void test_in_the_way(void) {
  make_log("way");
  write_file("victim", "precious", 8);
  if (symlink("victim", "way-shm") != 0) abort();
  CHECK_INT(try_open("way"), KV_ECANTOPEN);
  CHECK(strstr(help_err.text, "way-shm") != NULL);
  check_readable("way", "a=1");
  size_t size;
  char *bytes = bytes_of("victim", &size);
  CHECK_BYTES(bytes, size, "precious", 8);
  free(bytes);
  if (unlink("way-shm") != 0 || symlink("nowhere", "way-shm") != 0) abort();
  CHECK_INT(try_open("way"), KV_ECANTOPEN);
  CHECK(!exists("nowhere"));
  if (unlink("way-shm") != 0 || mkdir("way-shm", 0700) != 0) abort();
  CHECK_INT(try_open("way"), KV_ECANTOPEN);
  CHECK(strstr(help_err.text, "way-shm") != NULL);
  check_readable("way", "a=1");
  if (rmdir("way-shm") != 0 || mkfifo("way-shm", 0600) != 0) abort();
  CHECK_INT(try_open("way"), KV_ECANTOPEN);
  CHECK(strstr(help_err.text, "way-shm") != NULL);
  CHECK(exists("way-shm")); /* it is not ours */
  check_readable("way", "a=1");
  if (unlink("way-shm") != 0) abort();
  check_usable("way", "a=1");
}

/* --- while it is used ---------------------------------------------------------------------------------- */

static void test_removed_while_used(void) {
  make_log("removed");
  pid_t child = start_holder("removed");
  if (unlink("removed-shm") != 0) abort();
  CHECK_INT(try_open("removed"), KV_EBUSY);
  CHECK(strstr(help_err.text, "'") != NULL && strstr(help_err.text, "was removed") != NULL);
  CHECK(!exists("removed-shm"));
  check_readable("removed", "a=1 held=1");
  end_holder(child);
  check_usable("removed", "a=1 held=2");
}

/* What has its name by then is not ours to remove. */
static void test_replaced_while_used(void) {
  make_log("replaced");
  kv *db = help_open_full("replaced");
  if (unlink("replaced-shm") != 0) abort();
  write_file("replaced-shm", "", 0);
  MUST(help_commit_put(db, "b", "2"));
  MUST(kv_close(db, &help_err));
  CHECK(exists("replaced-shm"));
  check_usable("replaced", "a=1 b=2");
}

static void test_damaged_while_used(void) {
  make_log("damaged");
  pid_t child = start_holder("damaged");
  int fd = open("damaged-shm", O_RDWR);
  if (fd < 0 || pwrite(fd, "another", 7, 0) != 7 || close(fd) != 0) abort();
  CHECK_INT(try_open("damaged"), KV_ECANTOPEN);
  CHECK(exists("damaged-shm"));
  check_readable("damaged", "a=1 held=1");
  end_holder(child);
  check_usable("damaged", "a=1 held=2");
}

/* The file shared beside the log is read as it is. */
static ssize_t no_pread(int fd, void *data, size_t size, off_t offset) {
  struct stat facts, log;
  if (fstat(fd, &facts) != 0 || stat("unreadable", &log) != 0) abort();
  if (facts.st_ino != log.st_ino) return real.pread(fd, data, size, offset);
  errno = EIO;
  return -1;
}

/* Who cannot read the log is told so, and not that it is another one. */
static void test_unreadable_while_used(void) {
  make_log("unreadable");
  pid_t child = start_holder("unreadable");
  os.pread = no_pread;
  CHECK_INT(try_open("unreadable"), KV_EIO);
  os.pread = real.pread;
  end_holder(child);
  check_usable("unreadable", "a=1 held=2");
}

static void test_two_names(void) {
  make_log("hard");
  if (link("hard", "hard-link") != 0 || symlink("hard", "soft") != 0) abort();
  pid_t child = start_holder("hard");
  CHECK_INT(try_open("hard-link"), KV_EBUSY);
  CHECK(strstr(help_err.text, "two names") != NULL);
  CHECK(!exists("hard-link-shm") && !exists("soft-shm"));
  kv *db = help_open_full("soft"); /* the same name in the end */
  CHECK_STR(help_all(db), "a=1 held=1");
  CHECK(!exists("soft-shm"));
  end_holder(child);
  CHECK_STR(help_all(db), "a=1 held=2");
  MUST(kv_close(db, &help_err));
  if (unlink("hard-link") != 0) abort();
  check_usable("hard", "a=1 held=2");
}

/* --- where it cannot be -------------------------------------------------------------------------------- */

static const char *name_nfs(int fd) {
  (void)fd;
  return "NFS";
}

static void test_network(void) {
  make_log("network");
  os.network_name = name_nfs;
  CHECK_INT(try_open("network"), KV_ECANTOPEN);
  CHECK(strstr(help_err.text, "NFS") != NULL && strstr(help_err.text, "readonly=1") != NULL);
  CHECK_INT(left_over("network"), 0);
  check_readable("network", "a=1");
  CHECK_INT(try_open("network-new"), KV_OK); /* nothing to share yet */
  kv *db = help_open_full("network-new");
  CHECK_INT(kv_begin(db, 0, &help_err), KV_ECANTOPEN);
  MUST(kv_close(db, &help_err));
  CHECK(!exists("network-new") && left_over("network-new") == 0);
  os.network_name = real.network_name;
  check_usable("network", "a=1");
}

static unsigned flushes;

static int count_flush(int fd) {
  flushes++;
  return real.fdatasync(fd);
}

/* A readonly handle may only look at what others share; whatever it does, that is enough. */
static void test_flush_of_readonly(void) {
  make_log("looking");
  kv *looker = open_readonly("looking");
  kv *db = help_open("looking", KV_SYNC_OFF, 1, 10);
  MUST(help_commit_put(db, "b", "2"));
  CHECK_STR(help_all(looker), "a=1 b=2");
  CHECK(help_stats(looker).durable_seq < help_stats(looker).seq);
  os.fdatasync = count_flush;
  CHECK_INT(kv_flush(looker, &help_err), KV_OK);
  CHECK_INT(flushes, 1);
  os.fdatasync = real.fdatasync;
  CHECK_INT(kv_check(looker, &help_err), KV_OK);
  CHECK_INT(kv_checkpoint(looker, &help_err), KV_EREADONLY);
  CHECK_INT(kv_begin(looker, 0, &help_err), KV_EREADONLY);
  MUST(kv_close(db, &help_err));
  CHECK_INT(kv_flush(looker, &help_err), KV_OK);
  MUST(kv_close(looker, &help_err));
}

/* --- the turn ------------------------------------------------------------------------------------------ */

static share members[3];
static unsigned waits, pass_at;

/* The owner passes the lock on while another is within its nth wait. */
static void wait_and_pass(_Atomic uint32_t *word, uint32_t value, uint64_t ns) {
  (void)word, (void)value, (void)ns;
  usleep(1500); /* more than SHARE_PATIENCE_NS */
  if (++waits == pass_at) share_lock_pass(&members[0], &members[0].page->turn);
}

/* Whoever it was handed to passes it on again, whenever that was. */
static void test_handing_over(void) {
  bool alone, inherited;
  make_log("hand");
  for (int i = 0; i < 3; i++) {
    MUST(share_join(&members[i], "hand", 0, &alone, &help_err));
    if (alone) share_ready(&members[i]);
    share_joined(&members[i]);
    CHECK(alone == (i == 0));
  }
  share_lock *turn = &members[0].page->turn;
  os.wait = wait_and_pass;
  for (pass_at = 1; pass_at <= 4; pass_at++) {
    waits = 0;
    CHECK(share_lock_take(&members[0], turn, 0, &inherited) && !inherited);
    CHECK(!share_lock_take(&members[1], turn, 0, &inherited));
    CHECK(share_lock_take(&members[1], turn, os.now_ns() + 1000000000u, &inherited) && !inherited);
    CHECK(!share_lock_take(&members[2], turn, 0, &inherited));
    share_lock_pass(&members[1], turn);
    CHECK_INT(atomic_load(&turn->word), 0);
    CHECK(share_lock_take(&members[2], turn, 0, &inherited) && !inherited);
    share_lock_pass(&members[2], turn);
    CHECK_INT(atomic_load(&turn->word), 0);
  }
  pass_at = 0; /* an heir that waits in vain resigns */
  CHECK(share_lock_take(&members[0], turn, 0, &inherited));
  CHECK(!share_lock_take(&members[1], turn, os.now_ns() + 5000000u, &inherited));
  share_lock_pass(&members[0], turn);
  CHECK_INT(atomic_load(&turn->word), 0);
  CHECK(share_lock_take(&members[1], turn, 0, &inherited) && !inherited);
  share_leave(&members[1]); /* with the lock: as if it had died */
  CHECK(share_lock_take(&members[2], turn, 0, &inherited) && inherited);
  share_lock_pass(&members[2], turn);
  os.wait = real.wait;
  share_leave(&members[0]);
  CHECK(exists("hand-shm"));
  share_leave(&members[2]);
  CHECK_INT(left_over("hand"), 0);
}

/* --- what it costs ------------------------------------------------------------------------------------- */

static unsigned long calls;

#define COUNTED(type, name, parameters, arguments)                                                 \
  static type count_##name parameters {                                                            \
    calls++;                                                                                       \
    return real.name arguments;                                                                    \
  }

COUNTED(int, open, (const char *path, int flags, mode_t mode), (path, flags, mode))
COUNTED(int, close, (int fd), (fd))
COUNTED(ssize_t, pread, (int fd, void *data, size_t size, off_t at), (fd, data, size, at))
COUNTED(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
COUNTED(int, fdatasync, (int fd), (fd))
COUNTED(int, fsync, (int fd), (fd))
COUNTED(int, ftruncate, (int fd, off_t size), (fd, size))
COUNTED(int, fchmod, (int fd, mode_t mode), (fd, mode))
COUNTED(int, fstat, (int fd, struct stat *out), (fd, out))
COUNTED(int, stat, (const char *path, struct stat *out), (path, out))
COUNTED(int, access, (const char *path, int mode), (path, mode))
COUNTED(int, rename, (const char *from, const char *to), (from, to))
COUNTED(int, link, (const char *from, const char *to), (from, to))
COUNTED(int, unlink, (const char *path), (path))
COUNTED(int, lock, (int fd, bool shared, uint64_t at, uint64_t size), (fd, shared, at, size))
COUNTED(int, unlock, (int fd, uint64_t at, uint64_t size), (fd, at, size))
COUNTED(int, is_locked, (int fd, uint64_t at, uint64_t size), (fd, at, size))
COUNTED(void *, map, (int fd, size_t size, void *at, bool writable), (fd, size, at, writable))
COUNTED(void, unmap, (void *mapping, size_t size), (mapping, size))
COUNTED(void, wait, (_Atomic uint32_t *word, uint32_t value, uint64_t ns), (word, value, ns))
COUNTED(void, wake, (_Atomic uint32_t *word), (word))
COUNTED(const char *, network_name, (int fd), (fd))
COUNTED(char *, realpath, (const char *path), (path))
COUNTED(int, random, (void *data, size_t size), (data, size))
COUNTED(uint64_t, time_s, (void), ())

static void count_calls(void) {
  os.open = count_open;
  os.close = count_close;
  os.pread = count_pread;
  os.pwrite = count_pwrite;
  os.fdatasync = count_fdatasync;
  os.fsync = count_fsync;
  os.ftruncate = count_ftruncate;
  os.fchmod = count_fchmod;
  os.fstat = count_fstat;
  os.stat = count_stat;
  os.access = count_access;
  os.rename = count_rename;
  os.link = count_link;
  os.unlink = count_unlink;
  os.lock = count_lock;
  os.unlock = count_unlock;
  os.is_locked = count_is_locked;
  os.map = count_map;
  os.unmap = count_unmap;
  os.wait = count_wait;
  os.wake = count_wake;
  os.network_name = count_network_name;
  os.realpath = count_realpath;
  os.random = count_random;
  os.time_s = count_time_s;
}

/* 1,000 point gets and as many refreshes; how many system calls they made. */
static unsigned long calls_of_gets(kv *db, const char *held) {
  kv_cursor *again;
  MUST(kv_cursor_open(db, &again, &help_err));
  unsigned long before = calls;
  for (int i = 0; i < 1000; i++) {
    kv_cursor *c;
    MUST(kv_cursor_open(db, &c, &help_err));
    kv_cursor_find(c, "held", 4);
    kv_value value;
    kv_cursor_value(c, &value);
    if (value.data[0] != held[0]) CHECK(false);
    kv_cursor_close(c);
    MUST(kv_cursor_refresh(again, &help_err));
  }
  unsigned long made = calls - before;
  kv_cursor_close(again);
  return made;
}

static void test_gets_cost_no_call(void) {
  make_log("gets");
  pid_t child = start_holder("gets");
  kv *looker = open_readonly("gets"), *db = help_open_full("gets");
  CHECK(!kv_same_store(looker, db));
  CHECK_INT(calls_of_gets(db, "1"), 0);
  CHECK_INT(calls_of_gets(looker, "1"), 0);
  end_holder(child);
  CHECK_STR(help_get(looker, "held"), "2");
  CHECK_STR(help_get(db, "held"), "2");
  CHECK_INT(calls_of_gets(looker, "2"), 0);
  CHECK_INT(calls_of_gets(db, "2"), 0);
  MUST(kv_begin(db, 0,
                &help_err)); /* after another process had the turn the log's end is looked at */
  kv_rollback(db);
  unsigned long before = calls; /* nor does the turn, if nobody else wants it */
  for (int i = 0; i < 1000; i++) {
    MUST(kv_begin(db, 0, &help_err));
    kv_rollback(db);
  }
  CHECK_INT(calls - before, 0);
  MUST(kv_checkpoint(db, &help_err));
  CHECK_STR(help_get(looker, "held"), "2");
  CHECK_INT(calls_of_gets(looker, "2"), 0);
  CHECK_INT(calls_of_gets(db, "2"), 0);
  CHECK(calls > before);
  MUST(kv_close(db, &help_err));
  MUST(kv_close(looker, &help_err));
}

/* --- between two calls ----------------------------------------------------------------------------- */

static void (*meanwhile)(void); /* between opening the file and locking it */

static int lock_later(int fd, bool shared, uint64_t offset, uint64_t size) {
  void (*what)(void) = meanwhile;
  meanwhile = NULL;
  if (what != NULL) what();
  return real.lock(fd, shared, offset, size);
}

static void replaced(void) {
  if (unlink("between-shm") != 0) abort();
  write_file("between-shm", "", 0);
}

static void replaced_by_link(void) {
  if (unlink("between-shm") != 0 || symlink("/proc/version", "between-shm") != 0) abort();
}

/* The file that was opened has lost its name to another: it is that one that is shared. */
static void test_replaced_while_joining(void) {
  make_log("between");
  os.lock = lock_later;
  meanwhile = replaced;
  check_usable("between", "a=1");
  CHECK(meanwhile == NULL);
  meanwhile = replaced_by_link; /* on another device; links are not followed */
  CHECK_INT(try_open("between"), KV_ECANTOPEN);
  os.lock = real.lock;
  if (unlink("between-shm") != 0) abort();
  CHECK_INT(try_open("between"), KV_OK);
  CHECK_INT(left_over("between"), 0);
}

static int cannot_tell(int fd, uint64_t offset, uint64_t size) {
  (void)fd, (void)offset, (void)size;
  errno = ENOLCK;
  return -1;
}

static void test_locks_cannot_be_told(void) {
  make_log("untold");
  os.is_locked = cannot_tell;
  CHECK_INT(try_open("untold"), KV_EIO);
  os.is_locked = real.is_locked;
  CHECK(strstr(help_err.text, "untold-shm', which its processes share, failed") != NULL);
  check_usable("untold", "a=1");
}

static const char *replaced_on_network(int fd) {
  (void)fd;
  if (unlink("remote-shm") != 0) abort();
  write_file("remote-shm", "", 0);
  return "NFS";
}

/* What has its name now is another's, and stays. */
static void test_replaced_on_network(void) {
  make_log("remote");
  os.network_name = replaced_on_network;
  CHECK_INT(try_open("remote"), KV_ECANTOPEN);
  os.network_name = real.network_name;
  CHECK(exists("remote-shm"));
  check_usable("remote", "a=1");
}

/* --- a lock ------------------------------------------------------------------------------------------- */

static share *late;

/* The lock is handed to who waits, but only when its time is over. */
static void wait_too_long(_Atomic uint32_t *word, uint32_t expected, uint64_t ns) {
  real.wait(word, expected, ns);
  usleep(20000);
  atomic_store(&late->page->turn.word, late->member);
}

static void test_lock(void) {
  share one = {0}, two = {0};
  bool alone, inherited = true;
  make_log("lock");
  MUST(share_join(&one, "lock", 0, &alone, &help_err));
  CHECK(alone);
  share_ready(&one);
  share_joined(&one);
  MUST(share_join(&two, "lock", 0, &alone, &help_err));
  CHECK(!alone);
  share_joined(&two);
  share_lock *turn = &one.page->turn;
  CHECK(share_lock_take(&one, turn, 0, &inherited) && !inherited);
  CHECK(!share_lock_take(&two, turn, os.now_ns() + 1000000u, &inherited) && !inherited);
  CHECK_INT(atomic_load(&turn->word), one.member);
  late = &two;
  os.wait = wait_too_long;
  CHECK(share_lock_take(&two, turn, os.now_ns() + 10000000u, &inherited) && !inherited);
  os.wait = real.wait;
  CHECK_INT(atomic_load(&turn->word), two.member);
  share_lock_pass(&two, turn);
  atomic_store(&turn->word, 0xfff); /* a member that there cannot be: the word was damaged */
  CHECK(share_lock_take(&one, turn, os.now_ns() + 1000000u, &inherited) && inherited);
  share_lock_pass(&one, turn);
  CHECK_INT(atomic_load(&turn->word), 0);
  share_leave(&two);
  share_leave(&one);
  check_usable("lock", "a=1");
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  alarm(WATCHDOG_S);
  real = os;
  step = shared_memory(sizeof *step);
  test_missing();
  test_any_bytes();
  test_after_a_crash();
  test_in_the_way();
  test_removed_while_used();
  test_replaced_while_used();
  test_damaged_while_used();
  test_unreadable_while_used();
  test_two_names();
  test_network();
  test_flush_of_readonly();
  test_handing_over();
  test_replaced_while_joining();
  test_locks_cannot_be_told();
  test_replaced_on_network();
  test_lock();
  count_calls();
  test_gets_cost_no_call();
  return unit_done();
}
