/*
** test_place.c - whether a name still leads to the open log, whatever stands under it, whatever a page
** announces, and where the system does not tell; and the names that belong to another file.
*/
#include "fault_table.h"
#include "log_format.h"
#include "log_place.h"
#include "log_write.h"
#include "process_help.h"
#include "side_file.h"

#include <errno.h>
#include <fcntl.h>

static bool says(const char *text) {
  bool found = strstr(help_err.text, text) != NULL;
  if (!found) printf("  it says: %s\n", help_err.text);
  return found;
}

static int open_new(const char *path, const char *text) {
  write_file(path, text, strlen(text));
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) abort();
  return fd;
}

/* --- where the name leads ------------------------------------------------------------------------- */

static void check_place(int fd, log_place place, int code, const char *words) {
  CHECK_INT(log_place_of(fd, "place"), place);
  CHECK_INT(log_place_check(fd, "place", &help_err), code);
  if (code != KV_OK) CHECK(says("'place'") && says(words));
}

static void test_places(void) {
  int fd = open_new("place", "x");
  check_place(fd, LOG_IN_PLACE, KV_OK, "");
  if (rename("place", "elsewhere") != 0) abort();
  check_place(fd, LOG_MOVED, KV_EMOVED, "was moved");
  if (symlink("elsewhere", "place") != 0) abort();
  check_place(fd, LOG_MOVED, KV_EMOVED, "was moved");
  write_file("third", "y", 1);
  if (unlink("place") != 0 || symlink("third", "place") != 0) abort();
  check_place(fd, LOG_REPLACED, KV_EMOVED, "was replaced");
  if (unlink("third") != 0) abort(); /* the link leads nowhere */
  check_place(fd, LOG_MOVED, KV_EMOVED, "was moved");
  if (unlink("elsewhere") != 0) abort();
  check_place(fd, LOG_REMOVED, KV_EMOVED, "was removed");
  if (unlink("place") != 0) abort();
  check_place(fd, LOG_REMOVED, KV_EMOVED, "was removed");
  write_file("place", "z", 1);
  check_place(fd, LOG_REPLACED, KV_EMOVED, "was replaced");
  if (unlink("place") != 0) abort();
  close(fd);
}

/* What cannot be told is no reason to say that the log is gone. */
static void test_unknown(void) {
  int fd = open_new("place", "x"), other = open_new("other", "x");
  fail_call(CALL_FSTAT, 1, true, EIO);
  check_place(fd, LOG_UNKNOWN, KV_EIO, "Input/output error");
  fail_call(CALL_STAT, 1, true, EACCES);
  check_place(fd, LOG_UNKNOWN, KV_ECANTOPEN, "Permission denied");
  fail_call(CALL_STAT, 1, true, ENOMEM);
  check_place(fd, LOG_UNKNOWN, KV_ENOMEM, "Cannot allocate memory");
  fail_call(CALL_STAT, 1, true, ENOTDIR); /* a file has taken the name of its folder */
  check_place(fd, LOG_MOVED, KV_EMOVED, "was moved");
  fail_nothing();
  CHECK_INT(log_place_check_same(fd, fd, "place", &help_err), KV_OK);
  CHECK_INT(log_place_check_same(other, fd, "place", &help_err), KV_EMOVED);
  for (unsigned nth = 1; nth <= 2; nth++) {
    fail_call(CALL_FSTAT, nth, false, EIO);
    CHECK_INT(log_place_check_same(fd, fd, "place", &help_err), KV_EIO);
    CHECK(says("fstat of 'place'"));
  }
  fail_nothing();
  close(fd);
  close(other);
  if (unlink("place") != 0 || unlink("other") != 0) abort();
}

/* --- what a page announces ------------------------------------------------------------------------ */

static bool is_mount(const char *path) {
  (void)path;
  return true;
}

/* A log, its id, and a page that announces it. */
static share_page *announce(char id[SHARE_ID_SIZE]) {
  share_page *page = aligned_alloc(64, (sizeof *page + 63) / 64 * 64);
  size_t size;
  if (page == NULL) abort();
  memset(page, 0, sizeof *page);
  kv *db = help_open_full("place");
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_close(db, &help_err));
  char *bytes = bytes_of("place", &size);
  if (size < 32 || memcmp(bytes, "KVSTORE\t1\t", 10) != 0) abort();
  memcpy(id, bytes + 10, LOG_ID_SIZE);
  id[LOG_ID_SIZE] = 0;
  free(bytes);
  share_announce(page, id, 0);
  return page;
}

static int check_change(const share_page *page, uint64_t generation) {
  return log_place_check_change(LOG_REPLACED, page, generation, "place", &help_err);
}

static int check_flushed(const share_page *page, uint64_t generation, int fd) {
  log_writer log = {.fd = fd, .path = "place"};
  int rc = log_place_check_flushed(page, generation, &log, &help_err);
  /* What the writer knows of its file spares the question, and never changes the answer. */
  struct stat facts;
  if (fstat(fd, &facts) != 0) abort();
  log.inode = (uint64_t)facts.st_ino;
  log.device = facts.st_dev;
  CHECK_INT(log_place_check_flushed(page, generation, &log, &help_err), rc);
  log.device = facts.st_dev + 1; /* the same number on another device is another file */
  CHECK_INT(log_place_check_flushed(page, generation, &log, &help_err), rc);
  return rc;
}

static void test_announced(void) {
  char id[SHARE_ID_SIZE];
  share_page *page = announce(id);
  struct stat facts;
  int fd = open("place", O_RDONLY | O_CLOEXEC), older = open_new("older", "x");
  if (fd < 0 || fstat(fd, &facts) != 0) abort();
  CHECK_INT(check_change(page, 0), KV_OK);
  CHECK_INT(check_flushed(page, 0, fd), KV_OK);
  CHECK_INT(check_flushed(page, 0, older), KV_OK);
  share_announce(page, id, facts.st_ino + 1); /* a copy of it */
  CHECK_INT(check_change(page, 0), KV_EMOVED);
  CHECK(says("was replaced"));
  CHECK_INT(check_flushed(page, 0, older), KV_EMOVED);
  share_announce(page, NULL, 0); /* nothing */
  CHECK_INT(check_change(page, 0), KV_EMOVED);
  CHECK_INT(check_change(page, 1), KV_OK); /* but it was told meanwhile */
  share_announce(page, id, facts.st_ino);
  static const struct {
    fault_call call;
    unsigned nth;
    int reason, code;
    const char *words;
  } faults[] = {{CALL_OPEN, 1, EACCES, KV_ECANTOPEN, "cannot open 'place': Permission denied"},
                {CALL_OPEN, 1, ENOENT, KV_EMOVED, "was replaced"},
                {CALL_PREAD, 1, EIO, KV_EIO, "'place'"},
                {CALL_FSTAT, 1, EIO, KV_EIO, "fstat of 'place'"}};
  for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
    fail_call(faults[i].call, faults[i].nth, true, faults[i].reason);
    CHECK_INT(check_change(page, 0), faults[i].code);
    CHECK(fault.failed > 0 && says(faults[i].words));
    CHECK_INT(check_change(page, 1), KV_OK);
  }
  fail_nothing();
  CHECK_INT(log_place_check_mount("place", &help_err), KV_OK);
  os.is_mount = is_mount;
  CHECK_INT(log_place_check_mount("place", &help_err), KV_ECANTOPEN);
  CHECK(says("'place' is mounted by itself"));
  close(fd);
  close(older);
  free(page);
}

/* --- names of other files ------------------------------------------------------------------------- */

static bool fold; /* the file system takes upper and lower case for the same */

/* The real file, in either case: what the tests make has names in lower case. */
static int folding_stat(const char *path, struct stat *out) {
  char name[256];
  size_t size = strlen(path);
  if (!fold || size >= sizeof name) return fault.real.stat(path, out);
  for (size_t i = 0; i <= size; i++) {
    name[i] = (char)(path[i] >= 'A' && path[i] <= 'Z' ? path[i] - 'A' + 'a' : path[i]);
  }
  return fault.real.stat(name, out);
}

static bool is_database(const char *path) {
  return side_file_is_database(path);
}

static void test_bases(void) {
  static const struct {
    const char *path;
    size_t base;
  } names[] = {{"a.db-wal", 4},
               {"a.db-shm", 4},
               {"a.db-journal", 4},
               {"a.db-WAL", 4},
               {"/d/-wal", 0},
               {"-wal", 0},
               {"a.db-walk", 0},
               {"a.db", 0},
               {"a.db-mj0123ABCDe", 4},
               {"a.db-mjxyz", 0},
               {"a.db-mj", 0},
               {"/d/-mj12", 0},
               {"", 0},
               {"abc", 0},
               {"a.db-mj12g", 0},
               {"a.db-Journal", 4},
               {"12", 0},
               {"a.db-wal-shm", 8}};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (!CHECK_INT(side_file_base(names[i].path), names[i].base)) printf("  %s\n", names[i].path);
  }
}

static void check_beside(const char *path, int code) {
  if (!CHECK_INT(side_file_check_beside(path, is_database, &help_err), code)) {
    printf("  %s\n", path);
  }
  if (code != KV_OK) CHECK(says("has the name of a file that SQLite itself keeps beside"));
}

static void check_database(const char *path, int code, const char *words) {
  if (!CHECK_INT(side_file_check_database(path, path, "a.db", &help_err), code)) {
    printf("  %s\n", path);
  }
  if (code != KV_OK) CHECK(says(words));
}

static void check_own(const char *path, int code, const char *words) {
  if (!CHECK_INT(side_file_check_own(path, &help_err), code)) printf("  %s\n", path);
  if (code != KV_OK) CHECK(says(words));
}

static void test_side_files(void) {
  static const char head[16] = "SQLite format 3";
  write_file("a.db", head, sizeof head);
  write_file("7", head, sizeof head); /* without a letter that has two cases */
  write_file("notes", "some", 4);
  check_beside("a.db-wal", KV_ECANTOPEN);
  check_beside("a.db-mj12EF", KV_ECANTOPEN); /* its digits have either case */
  check_beside("./a.db-shm", KV_ECANTOPEN);
  check_beside("a.db-WAL", KV_OK); /* another file here */
  check_beside("7-WAL", KV_OK);
  check_beside("7-MJ12", KV_OK);
  check_beside("a.db", KV_OK);
  check_beside("notes-wal", KV_OK);
  check_beside("nothing-wal", KV_OK);
  check_beside(".-wal", KV_OK);
  check_database("a.db", KV_ECANTOPEN, "is the database; a log is a file of its own");
  check_database("./a.db", KV_ECANTOPEN, "is the database; a log is a file of its own");
  check_database("a.db-journal", KV_ECANTOPEN, "SQLite itself keeps beside");
  check_database("./a.db-wal", KV_ECANTOPEN, "SQLite itself keeps beside");
  check_database("a.db-WAL", KV_OK, "");
  check_database("b.db-wal", KV_OK, "");
  check_database("notes", KV_OK, "");
  if (link("notes", "a.db-wal") != 0) abort(); /* a second name of a side file */
  check_database("notes", KV_ECANTOPEN, "SQLite itself keeps beside 'a.db'");
  if (unlink("a.db-wal") != 0) abort();
  check_own("x-kvstore-new", KV_ECANTOPEN, "under construction");
  check_own("notes-shm", KV_ECANTOPEN, "the file that processes share beside");
  check_own("notes-SHM", KV_OK, "");
  check_own("nothing-shm", KV_OK, "");
  check_own("notes", KV_OK, "");
  check_own("-kvstore-new", KV_OK, "");
  fold = true;
  check_beside("a.db-WAL", KV_ECANTOPEN);
  check_beside("./a.db-Shm", KV_ECANTOPEN);
  check_beside("7-WAL", KV_OK); /* it cannot be told */
  check_own("notes-SHM", KV_ECANTOPEN, "the file that processes share beside");
  check_database("a.db-WAL", KV_ECANTOPEN, "SQLite itself keeps beside");
  fold = false;
}

static void test_database_head(void) {
  CHECK(side_file_is_database("a.db"));
  CHECK(!side_file_is_database("notes"));
  CHECK(!side_file_is_database("nothing"));
  write_file("notes", "something that is longer", 24);
  CHECK(!side_file_is_database("notes"));
  fail_call(CALL_PREAD, 1, true, EIO);
  CHECK(!side_file_is_database("a.db"));
  fail_nothing();
}

static void *no_malloc(size_t size) {
  (void)size;
  return NULL;
}

static unsigned allocations; /* until there is no memory */

static void *short_malloc(size_t size) {
  return allocations-- > 0 ? fault.real.malloc(size) : no_malloc(size);
}

static void test_short_memory(void) {
  os.malloc = no_malloc;
  CHECK_INT(side_file_check_beside("a.db-wal", is_database, &help_err), KV_ENOMEM);
  CHECK(says("out of memory opening 'a.db-wal'"));
  CHECK_INT(side_file_check_own("notes-shm", &help_err), KV_ENOMEM);
  CHECK_INT(side_file_check_database("b.db-wal", "b.db-wal", "a.db", &help_err), KV_ENOMEM);
  os.malloc = short_malloc;
  for (unsigned at = 0; at < 3; at++) {
    allocations = at;
    CHECK_INT(side_file_check_database("notes", "notes", "a.db", &help_err), KV_ENOMEM);
  }
  os.malloc = fault.real.malloc;
}

int main(void) {
  faults_install();
  test_places();
  test_unknown();
  test_bases();
  os.stat = folding_stat;
  test_side_files();
  test_database_head();
  test_short_memory();
  test_announced();
  return unit_done();
}
