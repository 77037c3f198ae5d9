/*
** test_recover.c - opening what a crash left while calls fail, or while the file changes: an opening that
** fails has changed nothing that matters, the next one finds every transaction, and what is cut off is
** kept, every byte of it.
*/
#include "buf.h"
#include "fault_table.h"
#include "log_format.h"
#include "process_help.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID "0123456789abcdef"
#define LARGE 1500000u /* more than is read at a time: read twice */
#define PART 65536u    /* what is copied of a tail at a time */

static buf image; /* the log, and what is behind it */
static size_t whole_size, torn_size;

static bool says(const char *what) {
  bool does = strstr(help_err.text, what) != NULL;
  if (!does) printf("  it says: %s\n", help_err.text);
  return does;
}

/* --- what a crash left ------------------------------------------------------------------------------- */

static void add(const void *data, size_t size) {
  if (buf_append(&image, data, size) != KV_OK) abort();
}

static void add_bytes(char byte, size_t size) {
  if (buf_reserve(&image, size) != KV_OK) abort();
  memset(image.data + image.size, byte, size);
  image.size += size;
}

static void add_transaction(const char *key, size_t size, uint64_t seq, uint64_t durable_seq) {
  size_t start = image.size;
  char *text = malloc(size + 1);
  if (text == NULL) abort();
  memset(text, 'x', size);
  kv_value value = {.type = KV_TEXT};
  value.data = text;
  value.size = size;
  if (log_format_write(&image, key, strlen(key), &value) != KV_OK ||
      log_format_commit(&image, start, ID, seq, durable_seq) != KV_OK) {
    abort();
  }
  free(text);
}

static void begin_image(void) {
  log_header header = {.id = ID, .base_seq = 0};
  image.size = 0;
  if (buf_reserve(&image, LOG_HEADER_SIZE_MAX) != KV_OK) abort();
  image.size = log_format_header(image.data, &header);
  add_transaction("a", 1, 1, 0);
  add_transaction("large", LARGE, 2, 1);
  add_transaction("b", 3, 3, 1);
  whole_size = image.size;
}

/* What is behind the last whole transaction, zeros at its end not counted. */
static void end_image(void) {
  torn_size = image.size - whole_size;
  while (torn_size > 0 && image.data[whole_size + torn_size - 1] == '\0') torn_size--;
}

static void tail_none(void) {
}

static void tail_room(void) {
  add_bytes('\0', 1200000);
}

static void tail_byte(void) {
  add("W", 1);
}

static void tail_long(void) {
  add("WRITE\tc\t", 8);
  add_bytes('y', 2 * PART + 1000);
}

/* More than is read at a time: it is read again to look for something behind it. */
static void tail_large(void) {
  add("WRITE\tc\t", 8);
  add_bytes('y', 1200000);
  add("\nWRITE\tc", 8);
}

/* A hole that a later append had been written behind of, and room. */
static void tail_hole(void) {
  add("WRITE\tc\tz", 9);
  add_bytes('\0', 5000);
  add("\n", 1);
  add_transaction("d", 10, 5, 3);
  add_bytes('\0', 3 * PART);
}

/* --- opening it ---------------------------------------------------------------------------------------- */

static void remove_all(void) {
  DIR *folder = opendir(".");
  if (folder == NULL) abort();
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    if (strncmp(entry->d_name, "log", 3) == 0 && unlink(entry->d_name) != 0) abort();
  }
  closedir(folder);
}

/* Every file that a tail was saved in has all of it; how many there are. */
static int saved_tails(void) {
  DIR *folder = opendir(".");
  int count = 0;
  if (folder == NULL) abort();
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    if (strncmp(entry->d_name, "log-torn-", 9) != 0) continue;
    size_t size;
    char *bytes = bytes_of(entry->d_name, &size);
    CHECK_BYTES(bytes, size, image.data + whole_size, torn_size);
    free(bytes);
    count++;
  }
  closedir(folder);
  return count;
}

static bool begins_as_before(void) {
  size_t size;
  char *bytes = bytes_of("log", &size);
  bool does = size >= whole_size && memcmp(bytes, image.data, whole_size) == 0;
  free(bytes);
  return does;
}

static void check_content(kv *db) {
  CHECK_STR(help_get(db, "a"), "x");
  CHECK_STR(help_get(db, "b"), "xxx");
  CHECK_STR(help_get(db, "c"), "-");
  CHECK_STR(help_get(db, "d"), "-");
  CHECK_INT(help_stats(db).keys, 3);
  CHECK_INT(help_stats(db).seq, 3);
  CHECK_INT(strspn(help_get(db, "large"), "x"), 255); /* it shows no more */
}

/* False when no such call fails any more. */
static bool open_with_fault(fault_call call, unsigned long nth, int reason, bool readonly) {
  kv_options options = help_options("log", KV_SYNC_FULL, 1, 10);
  kv *db = NULL;
  options.readonly = readonly;
  remove_all();
  write_file("log", image.data, image.size);
  fail_call(call, nth, false, reason);
  help_err.code = KV_OK;
  int rc = kv_open(&options, &db, NULL, &help_err);
  bool failed = fault.failed > 0;
  fail_nothing();
  if (rc != KV_OK) {
    CHECK(failed && help_err.code == rc && says("log") && db == NULL);
    if (readonly) CHECK_INT(saved_tails(), 0);
    CHECK(begins_as_before());
    db = help_open_full("log");
  }
  check_content(db);
  MUST(kv_close(db, &help_err));
  if (readonly && rc == KV_OK) return failed;
  int saved = saved_tails();
  CHECK(torn_size > 0 ? saved >= 1 && saved <= 2 : saved == 0);
  return failed;
}

static unsigned long openings;

static void test_tail(void (*tail)(void)) {
  static const fault_call calls[] = {CALL_OPEN, CALL_PREAD, CALL_PWRITE, CALL_FSYNC,
                                     CALL_FTRUNCATE};
  begin_image();
  tail();
  end_image();
  for (size_t i = 0; i < 2 * sizeof calls / sizeof *calls; i++) {
    unsigned long nth = 1;
    while (open_with_fault(calls[i / 2], nth, calls[i / 2] == CALL_PWRITE ? ENOSPC : EIO, i % 2)) {
      nth++;
    }
    openings += nth;
  }
}

/* --- the file changes meanwhile -------------------------------------------------------------------------- */

static int reads, shrink_at;

/* Whoever wrote it closes it just now, and cuts off its room ahead. */
static ssize_t shrinking_pread(int fd, void *data, size_t size, off_t offset) {
  if (++reads == shrink_at && truncate("log", (off_t)whole_size) != 0) abort();
  return fault.real.pread(fd, data, size, offset);
}

static void test_room_is_cut_off(void) {
  begin_image();
  tail_room();
  end_image();
  os.pread = shrinking_pread;
  for (shrink_at = 1, reads = shrink_at; reads >= shrink_at; shrink_at++) {
    remove_all();
    write_file("log", image.data, image.size);
    reads = 0;
    kv *db = open_readonly("log");
    check_content(db);
    MUST(kv_close(db, &help_err));
  }
  os.pread = fault.real.pread;
  CHECK(shrink_at > 5);
}

/* Part of a torn tail cannot be read again when it is to be saved: it is not cut off, then. */
static ssize_t short_pread(int fd, void *data, size_t size, off_t offset) {
  struct stat facts, log;
  if (fstat(fd, &facts) != 0 || stat("log", &log) != 0) abort();
  ssize_t got = fault.real.pread(fd, data, size, offset);
  if (facts.st_ino != log.st_ino || (size_t)offset != whole_size + PART) return got;
  errno = ENOSPC; /* of an earlier call */
  return 0;
}

static void test_tail_is_short(void) {
  kv_options options = help_options("log", KV_SYNC_FULL, 1, 10);
  kv *db = NULL;
  begin_image();
  tail_long();
  end_image();
  remove_all();
  write_file("log", image.data, image.size);
  os.pread = short_pread;
  CHECK_INT(kv_open(&options, &db, NULL, &help_err), KV_EIO);
  os.pread = fault.real.pread;
  CHECK(says("read of '") && says("Input/output error"));
  CHECK_INT(saved_tails(), 0);
  db = help_open_full("log");
  check_content(db);
  MUST(kv_close(db, &help_err));
  CHECK_INT(saved_tails(), 1);
}

/* Who opens it first is told once what was cut off, and may not want to know. */
static void test_notice(void) {
  kv_options options = help_options("log", KV_SYNC_FULL, 1, 10);
  for (int i = 0; i < 3; i++) {
    kv_error notices[2] = {{.code = KV_OK}, {.code = KV_OK}};
    kv *dbs[2];
    begin_image();
    tail_long();
    end_image();
    remove_all();
    write_file("log", image.data, image.size);
    for (int n = 0; n < 2; n++) {
      MUST(kv_open(&options, &dbs[n], n == i ? NULL : &notices[n], &help_err));
    }
    CHECK_INT(notices[0].code, i == 0 ? KV_OK : KV_ETORN);
    CHECK_INT(notices[1].code, i == 0 ? KV_ETORN : KV_OK);
    MUST(kv_close(dbs[0], &help_err));
    MUST(kv_close(dbs[1], &help_err));
  }
}

/* --- something else has the log's name ---------------------------------------------------------------------- */

static void see_something_else(kv *reader) {
  kv_cursor *c = NULL;
  CHECK_INT(kv_cursor_open(reader, &c, &help_err), KV_ECANTOPEN);
  CHECK(says("log' is not a regular file"));
}

static void test_no_file(void) {
  remove_all();
  begin_image();
  write_file("log", image.data, image.size);
  kv *reader = open_readonly("log");
  check_content(reader);
  if (unlink("log") != 0 || mkfifo("log", 0600) != 0) abort();
  see_something_else(reader);
  if (unlink("log") != 0 || mkdir("log", 0700) != 0) abort();
  see_something_else(reader);
  if (rmdir("log") != 0) abort();
  check_content(reader); /* it has been seen, and nothing has taken its place */
  write_file("log", image.data, image.size);
  check_content(reader);
  MUST(kv_close(reader, &help_err));
}

static int no_sync(int fd) {
  (void)fd;
  return 0;
}

int main(void) {
  faults_install();
  fault.real.fdatasync = fault.real.fsync = no_sync;
  test_tail(tail_none);
  test_tail(tail_room);
  test_tail(tail_byte);
  test_tail(tail_long);
  test_tail(tail_large);
  test_tail(tail_hole);
  test_room_is_cut_off();
  test_tail_is_short();
  test_notice();
  test_no_file();
  remove_all();
  buf_free(&image);
  printf("%lu openings\n", openings);
  return unit_done();
}
