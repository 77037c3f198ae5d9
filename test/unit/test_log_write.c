/*
** test_log_write.c - the writing side of a log where something is in its way: a log that is not the
** one any more, a draft that another process replaces, locks, or has put in place meanwhile. What is
** not ours stays as it is, and no descriptor stays open.
**
** What another process does between two calls is done in the call between them.
*/
#include "fault_table.h"
#include "log_write.h"
#include "os.h"
#include "process_help.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DRAFT "log-kvstore-new"

static bool says(const char *what) {
  bool does = strstr(help_err.text, what) != NULL;
  if (!does) printf("  it says: %s\n", help_err.text);
  return does;
}

/* The descriptor that the next open gets: it is another one as long as something stays open. */
static int next_fd(void) {
  int fd = open("/dev/null", O_RDONLY);
  if (fd < 0 || close(fd) != 0) abort();
  return fd;
}

static bool holds(const char *path, const char *text) {
  size_t size;
  char *bytes = bytes_of(path, &size);
  bool does = size == strlen(text) && memcmp(bytes, text, size) == 0;
  free(bytes);
  return does;
}

static void remove_all(void) {
  (void)unlink("log");
  (void)unlink(DRAFT);
  (void)unlink("aside");
}

/* A log with nothing in it; its id. */
static void make_log(char id[LOG_ID_SIZE + 1]) {
  log_draft draft;
  log_writer writer;
  remove_all();
  MUST(log_draft_begin(&draft, "log", 0, 0, &help_err));
  MUST(log_draft_finish(&draft, -1, &writer, &help_err));
  memcpy(id, writer.header.id, LOG_ID_SIZE + 1);
  os_close_locked(writer.fd);
}

/* --- opening for appending ------------------------------------------------------------------------ */

/* Opening fails, and nothing is left of it. */
static void refused(const char *id, int code, const char *words) {
  log_writer w = {.fd = -1, .path = "log"};
  int fd = next_fd();
  CHECK_INT(log_writer_open(&w, id, 0, &help_err), code);
  CHECK(says(words) && says("log"));
  CHECK(help_err.code == code && w.fd == -1);
  fail_nothing();
  CHECK_INT(next_fd(), fd);
}

static void test_another_log(void) {
  static const char gone[] = "is not the log any more that was opened";
  char id[LOG_ID_SIZE + 1], other[LOG_ID_SIZE + 1];
  make_log(id);
  size_t size;
  char *bytes = bytes_of("log", &size);
  make_log(other);
  refused(id, KV_EBUSY, gone);
  write_file("log", bytes, size - 1); /* its line has no end */
  refused(id, KV_EBUSY, gone);
  bytes[size - 2] ^= 1; /* its checksum is wrong */
  write_file("log", bytes, size);
  refused(id, KV_EBUSY, gone);
  write_file("log", "", 0);
  refused(id, KV_EBUSY, gone);
  remove_all();
  refused(id, KV_ECANTOPEN, "No such file");
  free(bytes);
}

static void test_failed_opening(void) {
  char id[LOG_ID_SIZE + 1];
  make_log(id);
  fail_call(CALL_PREAD, 1, false, EIO);
  refused(id, KV_EIO, "read of 'log' failed: Input/output error");
  fail_call(CALL_PREAD, 1, false, ENOMEM);
  refused(id, KV_ENOMEM, "read of 'log'");
  fail_call(CALL_LOCK, 1, false, ENOLCK);
  refused(id, KV_EIO, "lock of 'log'");
  fail_call(CALL_LOCK, 1, false, EACCES); /* POSIX lets a lock that is taken say this, too */
  refused(id, KV_EBUSY, "'log' is in use by another process");
  int other = open("log", O_RDWR);
  if (other < 0 || os.lock(other, false, 0, 0) != 0) abort();
  refused(id, KV_EBUSY, "'log' is in use by another process");
  close(other);
  log_writer w = {.fd = -1, .path = "log"};
  CHECK_INT(log_writer_open(&w, id, 0, &help_err), KV_OK);
  CHECK_STR(w.header.id, id);
  os_close_locked(w.fd);
}

/* Room ahead is an eighth of the log, but neither little nor much. */
static void test_room(void) {
  static const struct {
    uint64_t end, ahead;
  } samples[] = {{100, 64 << 10}, {4 << 20, 512 << 10}, {64 << 20, 1 << 20}};
  for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
    char id[LOG_ID_SIZE + 1];
    struct stat facts;
    make_log(id);
    log_writer w = {.fd = -1, .path = "log"};
    MUST(log_writer_open(&w, id, 0, &help_err));
    w.end = w.size = samples[i].end;
    if (ftruncate(w.fd, (off_t)w.end) != 0) abort();
    log_writer_allocate(&w, 10);
    CHECK_INT(w.size, samples[i].end + 10 + samples[i].ahead);
    CHECK(fstat(w.fd, &facts) == 0 && (uint64_t)facts.st_size == w.size);
    uint64_t size = w.size;
    log_writer_allocate(&w, samples[i].ahead); /* it is there */
    CHECK_INT(w.size, size);
    fail_call(CALL_PWRITE, 2, true, ENOSPC);
    log_writer_allocate(&w, 2 << 20); /* as much as there is */
    fail_nothing();
    CHECK_INT(w.size, size + (64 << 10));
    log_writer_trim(&w);
    CHECK(fstat(w.fd, &facts) == 0 && (uint64_t)facts.st_size == samples[i].end);
    os_close_locked(w.fd);
  }
}

/* --- writing over itself ------------------------------------------------------------------------- */

static void test_rewriting(void) {
  char id[LOG_ID_SIZE + 1];
  static char data[10000];
  make_log(id);
  log_writer w = {.fd = -1, .path = "log"};
  MUST(log_writer_open(&w, id, 0, &help_err));
  memset(data, 'x', sizeof data);
  MUST(log_writer_append(&w, data, sizeof data, &help_err));
  CHECK_INT(log_writer_rewrite(&w, 0, sizeof data, &help_err), KV_OK);
  CHECK_INT(log_writer_rewrite(&w, sizeof data, sizeof data, &help_err), KV_OK); /* nothing */
  fail_call(CALL_PREAD, 2, false, EIO);
  CHECK_INT(log_writer_rewrite(&w, 0, sizeof data, &help_err), KV_EIO);
  CHECK(says("read of 'log' failed: Input/output error"));
  fail_call(CALL_PWRITE, 1, false, EIO); /* the parts behind it are written all the same */
  CHECK_INT(log_writer_rewrite(&w, 0, sizeof data, &help_err), KV_EIO);
  CHECK(says("write of 'log' failed: Input/output error"));
  fail_nothing();
  size_t size;
  char *bytes = bytes_of("log", &size);
  CHECK_BYTES(bytes, size, data, sizeof data);
  free(bytes);
  if (ftruncate(w.fd, 4096) != 0) abort(); /* somebody has cut it off */
  CHECK_INT(log_writer_rewrite(&w, 0, sizeof data, &help_err), KV_EIO);
  CHECK(says("'log' ends at byte 4096, before what was committed"));
  if (ftruncate(w.fd, 5000) != 0) abort();
  CHECK_INT(log_writer_rewrite(&w, 0, sizeof data, &help_err), KV_EIO);
  CHECK(says("'log' ends at byte 5000, before what was committed"));
  log_writer_soil(&w); /* nobody is told */
  os_close_locked(w.fd);
}

/* --- a draft --------------------------------------------------------------------------------------- */

/* Between opening a draft and locking it: it gets the log's name, or is dropped, by its owner, and
** maybe the next one begins one. */
static void (*meanwhile)(void);

static int lock_later(int fd, bool shared, uint64_t offset, uint64_t size) {
  if (meanwhile != NULL) meanwhile();
  meanwhile = NULL;
  return fault.real.lock(fd, shared, offset, size);
}

static void dropped(void) {
  if (unlink(DRAFT) != 0) abort();
}

static void put_in_place(void) {
  if (rename(DRAFT, "log") != 0) abort();
}

static void begun_again(void) {
  put_in_place();
  write_file(DRAFT, "another's", 9);
}

/* What has its name is on another device. */
static void link_put_there(void) {
  put_in_place();
  if (symlink("/proc/version", DRAFT) != 0) abort();
}

static void linked_twice(void) {
  if (link(DRAFT, "aside") != 0) abort();
}

static void test_draft_of_another(void (*what)(void), const char *draft, const char *log) {
  log_draft d;
  remove_all();
  write_file(DRAFT, "KVSTORE\tof another", 18);
  meanwhile = what;
  int fd = next_fd();
  CHECK_INT(log_draft_begin(&d, "log", 0, 0, &help_err), KV_EBUSY);
  CHECK(says("'" DRAFT "' is in use by another process"));
  CHECK_INT(next_fd(), fd);
  CHECK(draft != NULL ? holds(DRAFT, draft) : access(DRAFT, F_OK) != 0 || what == link_put_there);
  CHECK(log != NULL ? holds("log", log) : !exists("log"));
}

static void test_drafts_of_others(void) {
  os.lock = lock_later;
  test_draft_of_another(dropped, NULL, NULL);
  test_draft_of_another(put_in_place, NULL, "KVSTORE\tof another");
  test_draft_of_another(begun_again, "another's", "KVSTORE\tof another");
  test_draft_of_another(link_put_there, NULL, "KVSTORE\tof another");
  test_draft_of_another(linked_twice, "KVSTORE\tof another", NULL);
}

/* What has the draft's name and is none stays. */
static void test_not_a_draft(void) {
  log_draft d;
  remove_all();
  if (mkfifo(DRAFT, 0600) != 0) abort();
  int fd = next_fd();
  CHECK_INT(log_draft_begin(&d, "log", 0, 0, &help_err), KV_ECANTOPEN);
  CHECK(says("'" DRAFT "' is in the way of creating 'log'"));
  log_draft_clean("log");
  CHECK_INT(next_fd(), fd);
  CHECK(exists(DRAFT));
  remove_all();
  write_file(DRAFT, "a letter", 8);
  CHECK_INT(log_draft_begin(&d, "log", 0, 0, &help_err), KV_ECANTOPEN);
  log_draft_clean("log");
  CHECK(holds(DRAFT, "a letter"));
  fail_call(CALL_OPEN, 1, false, ENOSPC);
  CHECK_INT(log_draft_begin(&d, "log", 0, 0, NULL), KV_EFULL); /* nobody wants to know why */
  fail_call(CALL_OPEN, 1, false, EACCES);
  CHECK_INT(log_draft_begin(&d, "log", 0, 0, NULL), KV_ECANTOPEN);
  fail_nothing();
  CHECK_INT(next_fd(), fd);
}

static int unlink_and_begin(const char *path) {
  int rc = fault.real.unlink(path);
  write_file(DRAFT, "another's", 9);
  return rc;
}

/* Another process begins a draft right after we have removed what was left. */
static void test_begun_before_us(void) {
  log_draft d;
  remove_all();
  write_file(DRAFT, "\0\0\0\0\0\0\0\0\0", 9); /* what a crash left may be zeros */
  int (*usual)(const char *) = os.unlink;
  os.unlink = unlink_and_begin;
  CHECK_INT(log_draft_begin(&d, "log", 0, 0, &help_err), KV_EBUSY);
  os.unlink = usual;
  CHECK(says("'" DRAFT "' is in use by another process") && holds(DRAFT, "another's"));
  remove_all();
}

/* --- what a crash left ------------------------------------------------------------------------------ */

static void test_cleaning(void) {
  char id[LOG_ID_SIZE + 1];
  make_log(id);
  log_draft_clean("log"); /* there is nothing */
  write_file(DRAFT, "KVSTO", 5);
  fail_call(CALL_FSTAT, 1, false, EIO);
  log_draft_clean("log"); /* who knows what it is */
  fail_nothing();
  CHECK(exists(DRAFT));
  fail_call(CALL_PREAD, 1, false, EIO);
  log_draft_clean("log");
  fail_nothing();
  CHECK(exists(DRAFT));
  int fd = open(DRAFT, O_RDWR);
  if (fd < 0 || os.lock(fd, false, 0, 0) != 0) abort();
  log_draft_clean("log"); /* it is being written */
  CHECK(exists(DRAFT));
  close(fd);
  log_draft_clean("log");
  CHECK(!exists(DRAFT));
  if (link("log", DRAFT) != 0) abort(); /* a creation's crash, between its link and its unlink */
  fd = open("log", O_RDWR);
  if (fd < 0 || os.lock(fd, true, 0, 0) != 0) abort();
  log_draft_clean("log");
  CHECK(!exists(DRAFT) && exists("log"));
  close(fd);
}

/* It was put in place, and the next one begun, when it is dropped. */
static void test_dropping(void) {
  log_draft d;
  int fd = next_fd();
  remove_all();
  MUST(log_draft_begin(&d, "log", 0, 0, &help_err));
  begun_again();
  log_draft_drop(&d);
  CHECK(holds(DRAFT, "another's") && exists("log"));
  remove_all();
  MUST(log_draft_begin(&d, "log", 0, 0, &help_err));
  fail_call(CALL_FSTAT, 1, false, EIO);
  log_draft_drop(&d);
  fail_nothing();
  CHECK(exists(DRAFT)); /* the next one removes it */
  log_draft_clean("log");
  CHECK(!exists(DRAFT));
  MUST(log_draft_begin(&d, "log", 0, 0, &help_err));
  log_draft_drop(&d);
  CHECK(!exists(DRAFT));
  CHECK_INT(next_fd(), fd);
}

/* --- its name --------------------------------------------------------------------------------------- */

/* A log that is open, and a draft that is to replace it. */
static int begin_replacing(log_draft *d) {
  char id[LOG_ID_SIZE + 1];
  make_log(id);
  int fd = open("log", O_RDWR);
  if (fd < 0) abort();
  MUST(log_draft_replace(d, "log", fd, 0, &help_err));
  return fd;
}

/* The draft does not get its name, and is gone; what has it stays. */
static void check_not_placed(log_draft *d, int old_fd, int code, const char *words) {
  log_writer writer = {.fd = -1};
  CHECK_INT(log_draft_finish(d, old_fd, &writer, &help_err), code);
  CHECK(says(words) && writer.fd == -1);
  fail_nothing();
  CHECK(!exists(DRAFT));
  if (old_fd >= 0) close(old_fd);
}

static void test_replacing(void) {
  log_draft d;
  log_writer writer = {.fd = -1};
  int before = next_fd();
  int fd = begin_replacing(&d);
  fail_call(CALL_RENAME, 1, false, EBUSY);
  check_not_placed(&d, fd, KV_ECANTOPEN, "'log' is mounted by itself");
  fd = begin_replacing(&d);
  if (rename("log", "aside") != 0) abort();
  check_not_placed(&d, fd, KV_EMOVED, "'log' was moved");
  CHECK(exists("aside") && !exists("log"));
  fd = begin_replacing(&d);
  write_file("aside", "a letter", 8);
  if (rename("aside", "log") != 0) abort();
  check_not_placed(&d, fd, KV_EMOVED, "'log' was replaced");
  CHECK(holds("log", "a letter"));
  fd = begin_replacing(&d);
  fail_call(CALL_FSTAT, 2, true,
            EIO); /* where it is cannot be told any more, but it has its name */
  CHECK_INT(log_draft_inode(&d) > 0, true);
  CHECK_INT(log_draft_inode(&d), 0);
  fail_call(CALL_FSTAT, 2, true, EIO);
  CHECK_INT(log_draft_finish(&d, fd, &writer, &help_err), KV_OK);
  fail_nothing();
  CHECK(writer.fd >= 0 && exists("log") && !exists(DRAFT));
  os_close_locked(writer.fd);
  close(fd);
  CHECK_INT(next_fd(), before);
}

/* The folder is flushed, but the name is gone by then, or another file has it. */
static void (*at_sync)(void);
static int syncs_left;

static int sync_later(int fd) {
  if (--syncs_left == 0) at_sync();
  return fault.real.fsync(fd);
}

static void moved_away(void) {
  if (rename("log", "aside") != 0) abort();
}

static void replaced(void) {
  moved_away();
  write_file("log", "a letter", 8);
}

static void test_name_taken_away(void) {
  log_draft d;
  remove_all();
  int (*usual)(int) = os.fsync;
  os.fsync = sync_later;
  MUST(log_draft_begin(&d, "log", 0, 0, &help_err));
  at_sync = moved_away;
  syncs_left = 2;
  check_not_placed(&d, -1, KV_EMOVED, "'log' was moved");
  remove_all();
  MUST(log_draft_begin(&d, "log", 0, 0, &help_err));
  at_sync = replaced;
  syncs_left = 2;
  check_not_placed(&d, -1, KV_EMOVED, "'log' was replaced");
  CHECK(holds("log", "a letter")); /* it is not ours to remove */
  os.fsync = usual;
  remove_all();
  MUST(log_draft_begin(&d, "log", 0, 0, &help_err));
  fail_call(CALL_FSTAT, 1, true, EIO); /* nothing was committed to it yet: it is taken back */
  check_not_placed(&d, -1, KV_EIO, "cannot tell whether 'log' is still the open file");
  CHECK(!exists("log"));
  MUST(log_draft_begin(&d, "log", 0, 0, &help_err));
  if (symlink("nowhere", "log") != 0) abort();
  check_not_placed(&d, -1, KV_ECANTOPEN, "'log' has become a symbolic link");
  if (unlink("log") != 0) abort();
}

static int others_fd;

static int made_up_fstat(int fd, struct stat *out) {
  int rc = fault.real.fstat(fd, out);
  if (fd == others_fd) out->st_uid++;
  return rc;
}

/* The rights of the log that it replaces. */
static void test_matching(void) {
  log_draft d;
  int fd = begin_replacing(&d);
  fail_call(CALL_FSTAT, 1, false, EIO);
  CHECK_INT(log_draft_match(&d, fd, &help_err), KV_EIO);
  CHECK(says("fstat of 'log'"));
  fail_call(CALL_FSTAT, 2, false, EIO);
  CHECK_INT(log_draft_match(&d, fd, &help_err), KV_EIO);
  CHECK(says("setting of the access rights of '" DRAFT "'"));
  fail_nothing();
  MUST(log_draft_match(&d, fd, &help_err));
  int (*usual)(int, struct stat *) = os.fstat;
  os.fstat = made_up_fstat;
  others_fd = fd;
  fail_call(CALL_FCHOWN, 1, true, EPERM); /* it is another's, and we are not root */
  CHECK_INT(log_draft_match(&d, fd, &help_err), KV_ECANTOPEN);
  CHECK(says("'log' belongs to user") && says("or root can do this"));
  fail_nothing();
  os.fstat = usual;
  log_draft_drop(&d);
  int before = next_fd();
  fail_call(CALL_FSTAT, 1, false, EIO);
  CHECK_INT(log_draft_replace(&d, "log", fd, 0, &help_err), KV_EIO);
  CHECK(says("fstat of 'log'"));
  for (unsigned nth = 2; nth <= 7; nth++) { /* whichever fails, nothing is left */
    fail_call(CALL_FSTAT, nth, false, EIO);
    int rc = log_draft_replace(&d, "log", fd, 0, &help_err);
    bool failed = fault.failed > 0;
    fail_nothing();
    if (rc == KV_OK) log_draft_drop(&d);
    CHECK(rc == KV_OK || failed);
    log_draft_clean("log");
    CHECK(!exists(DRAFT));
    CHECK_INT(next_fd(), before);
  }
  close(fd);
}

int main(void) {
  faults_install();
  test_rewriting();
  test_replacing();
  test_name_taken_away();
  test_matching();
  test_another_log();
  test_failed_opening();
  test_room();
  test_drafts_of_others();
  test_not_a_draft();
  test_begun_before_us();
  test_cleaning();
  test_dropping();
  remove_all();
  return unit_done();
}
