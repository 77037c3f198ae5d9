/*
** test_repair.c - repair, where files alone do not lead: checksums that are right over lines that are
** none, a log that changes between the plan and its writing, and every call of the operating system
** and the allocator that fails. Then there is no new file, nothing leaks, and the old log is as it was.
**
** What repair keeps of every damaged log is shown by test/tools_repair.test.
*/
#include "repair.h"

#include "kv_help.h"
#include "log_format.h"
#include "log_salvage.h"
#include "os.h"
#include "short_memory.h"
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define ID "00ff17fe23dc42ba"
#define OLD "old.log"
#define NEW "new.log"

static buf whole;
static size_t damaged_at; /* in transaction 3 */

static void append_line(buf *b, const char *text) {
  if (buf_append(b, text, strlen(text)) != KV_OK) abort();
}

static void append_commit(buf *b, size_t start, uint64_t seq) {
  if (log_format_commit(b, start, ID, seq, seq - 1) != KV_OK) abort();
}

/* Transactions of one line each, by example. */
static void make(buf *b, const char *const *lines, size_t count) {
  log_header header = {.id = ID};
  b->size = 0;
  if (buf_reserve(b, LOG_HEADER_SIZE_MAX) != KV_OK) abort();
  b->size = log_format_header(b->data, &header);
  for (size_t i = 0; i < count; i++) {
    size_t start = b->size;
    append_line(b, lines[i]);
    append_commit(b, start, i + 1);
  }
}

static void put_file(const char *path, const buf *b) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0 || write(fd, b->data, b->size) != (ssize_t)b->size) abort();
  close(fd);
}

static bool file_is(const char *path, const buf *b) {
  char *data = malloc(b->size + 1);
  int fd = open(path, O_RDONLY);
  bool same = fd >= 0 && read(fd, data, b->size + 1) == (ssize_t)b->size &&
              memcmp(data, b->data, b->size) == 0;
  if (fd >= 0) close(fd);
  free(data);
  return same;
}

static int files_here(void) {
  int count = 0;
  DIR *folder = opendir(".");
  while (readdir(folder) != NULL) count++;
  closedir(folder);
  return count;
}

static int open_files(void) {
  int count = 0;
  for (int fd = 0; fd < 256; fd++) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

static int repair_all(kv_error *err) {
  repair *r = NULL;
  int rc = repair_plan(OLD, false, NULL, NULL, &r, err);
  if (rc == KV_OK) rc = repair_write(r, NEW, NULL, NULL, err);
  repair_free(r);
  return rc;
}

/* --- by example ----------------------------------------------------------------------------------- */

/* A transaction with a line that no writer makes is left out whole, with its number and the reason;
** the torn end is told as torn. */
static void malformed(void) {
  static const char *const lines[] = {"WRITE\ta\t1\n", "WRITE\tb\t2\nWRITE\tx//y\t2\nDELETE\ta\n",
                                      "WRITE\tc\t3\n", "WRITE\td\t3\tREAL\n", "WRITE\te\tx\\y\n"};
  buf b = {0};
  make(&b, lines, 5);
  append_line(&b, "WRITE\tf\tunfinished");
  put_file(OLD, &b);
  repair *r = NULL;
  repair_summary sum;
  if (!CHECK(repair_plan(OLD, false, NULL, NULL, &r, &help_err) == KV_OK)) return;
  repair_tell(r, &sum);
  CHECK(sum.kept == 3 && sum.kept_ops == 3 && sum.losses == 3 && sum.gaps == 1);
  CHECK(sum.missing == 1 && sum.moved == 0 && sum.base_seq == 0);
  const repair_loss *loss = repair_loss_at(r, 0);
  CHECK(loss->why == REPAIR_MALFORMED && loss->seq == 2 && loss->line == 4 && !loss->header_only);
  CHECK(strstr(loss->note, "empty segment") != NULL);
  loss = repair_loss_at(r, 1);
  CHECK(loss->why == REPAIR_MALFORMED && loss->seq == 5 && strstr(loss->note, "escape") != NULL);
  loss = repair_loss_at(r, 2);
  CHECK(loss->why == REPAIR_UNVERIFIED && loss->seq == 0 && loss->torn);
  CHECK_INT(loss->offset + loss->size, b.size);
  CHECK(repair_gap_at(r, 0)->first == 2 && repair_gap_at(r, 0)->last == 2);
  MUST(repair_write(r, NEW, NULL, NULL, &help_err));
  repair_free(r);
  kv *db = help_open_full(NEW);
  CHECK_STR(help_get(db, "a"), "1");
  CHECK_STR(help_get(db, "b"), "-");
  CHECK_STR(help_get(db, "c"), "3");
  MUST(kv_close(db, &help_err));
  buf_free(&b);
  unlink(NEW);
}

/* The log is changed, cut or replaced between the plan and its writing. */
static void changed(void) {
  for (int how = 0; how < 4; how++) {
    put_file(OLD, &whole);
    repair *r = NULL;
    MUST(repair_plan(OLD, false, NULL, NULL, &r, &help_err));
    if (how == 0 && truncate(OLD, (off_t)whole.size - 5) != 0) abort();
    if (how == 1) {
      int fd = open(OLD, O_WRONLY);
      if (pwrite(fd, "?", 1, (off_t)whole.size - 30) != 1) abort();
      close(fd);
    }
    if (how == 2) {
      put_file("other", &whole);
      if (rename("other", OLD) != 0) abort();
    }
    if (how == 3 && unlink(OLD) != 0) abort();
    int rc = repair_write(r, NEW, NULL, NULL, &help_err);
    CHECK_INT(rc, how == 3 ? KV_ECANTOPEN : KV_EDAMAGED);
    CHECK(access(NEW, F_OK) != 0);
    repair_free(r);
  }
}

/* What is found out of an id that is not known verifies the same transactions. */
static void salvage(void) {
  char id[LOG_ID_SIZE + 1] = "0000000000000000";
  bool found = false;
  put_file(OLD, &whole);
  int fd = open(OLD, O_RDONLY);
  CHECK(log_salvage_id(fd, id, &found) == KV_OK && found);
  CHECK(strcmp(id, ID) != 0);
  buf b = {0};
  append_line(&b, "WRITE\tz\t1\n");
  append_commit(&b, 0, 9);
  char want[64];
  size_t size = b.size;
  memcpy(want, b.data, size);
  /* The same COMMIT line comes out of both, if the bytes can be handed over as a string. */
  b.size = 0;
  append_line(&b, "WRITE\tz\t1\n");
  if (CHECK(strlen(id) == LOG_ID_SIZE)) {
    MUST(log_format_commit(&b, 0, id, 9, 8));
    CHECK_BYTES(b.data, b.size, want, size);
  }
  memcpy(id, ID, sizeof id);
  CHECK(log_salvage_id(fd, id, &found) == KV_OK && found);
  CHECK_STR(id, ID);
  close(fd);
  buf_free(&b);
}

/* --- faults ----------------------------------------------------------------------------------------- */

static os_table real;
static int fail_errno;

#define FAULT(name, result, parameters, arguments)                                                 \
  static result fault_##name parameters {                                                          \
    if (refuse()) {                                                                                \
      errno = fail_errno;                                                                          \
      return (result)-1;                                                                           \
    }                                                                                              \
    return real.name arguments;                                                                    \
  }

FAULT(open, int, (const char *p, int f, mode_t m), (p, f, m))
FAULT(pread, ssize_t, (int fd, void *d, size_t n, off_t o), (fd, d, n, o))
FAULT(pwrite, ssize_t, (int fd, const void *d, size_t n, off_t o), (fd, d, n, o))
FAULT(fsync, int, (int fd), (fd))
FAULT(ftruncate, int, (int fd, off_t n), (fd, n))
FAULT(fchmod, int, (int fd, mode_t m), (fd, m))
FAULT(fstat, int, (int fd, struct stat *s), (fd, s))
FAULT(link, int, (const char *a, const char *b), (a, b))
FAULT(random, int, (void *d, size_t n), (d, n))

static void with_faults(bool memory) {
  if (memory) {
    os.malloc = short_malloc;
    os.realloc = short_realloc;
    os.free = counted_free;
    return;
  }
  os.open = fault_open;
  os.pread = fault_pread;
  os.pwrite = fault_pwrite;
  os.fsync = fault_fsync;
  os.ftruncate = fault_ftruncate;
  os.fchmod = fault_fchmod;
  os.fstat = fault_fstat;
  os.link = fault_link;
  os.random = fault_random;
}

/* Every call fails, each in a run of its own and all behind it, too. */
static void faults(bool memory, int reason) {
  fail_errno = reason;
  buf b = {0};
  if (buf_append(&b, whole.data, whole.size) != KV_OK) abort();
  b.data[damaged_at] ^= 1;
  put_file(OLD, &b);
  int files = files_here(), fds = open_files();
  unsigned long failed = 0;
  for (long n = 0;; n++) {
    refused = 0;
    blocks = 0;
    with_faults(memory);
    calls_left = n;
    int rc = repair_all(&help_err);
    calls_left = -1;
    os = real;
    CHECK_INT(blocks, 0);
    CHECK_INT(open_files(), fds);
    CHECK(file_is(OLD, &b));
    if (refused == 0) {
      CHECK_INT(rc, KV_OK);
      unlink(NEW);
      break;
    }
    failed++;
    CHECK(rc != KV_OK && help_err.text[0] != '\0');
    if (memory) CHECK_INT(rc, KV_ENOMEM);
    CHECK(access(NEW, F_OK) != 0);
    unlink(NEW);
    unlink(NEW "-kvstore-new"); /* where unlink itself could not be reached */
    CHECK_INT(files_here(), files);
    if (n > 1000) break;
  }
  CHECK(failed > 5);
  buf_free(&b);
}

int main(void) {
  static const char *const lines[] = {"WRITE\ta\t1\n", "WRITE\tb\t2\n", "WRITE\tc\t3\n",
                                      "DELETE\ta\n",   "WRITE\td\t4\n", "WRITE\te\t5\n"};
  make(&whole, lines, 6);
  damaged_at = (size_t)((char *)memmem(whole.data, whole.size, "WRITE\tc", 7) - whole.data) + 6;
  real = os;
  malformed();
  changed();
  salvage();
  faults(true, ENOMEM);
  faults(false, EIO);
  faults(false, ENOSPC);
  buf_free(&whole);
  return unit_done();
}
