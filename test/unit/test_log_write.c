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

int main(void) {
  faults_install();
  test_another_log();
  test_failed_opening();
  test_room();
  test_drafts_of_others();
  test_not_a_draft();
  test_cleaning();
  test_dropping();
  remove_all();
  return unit_done();
}
