/*
** test_fault_death.c - a process dies at call N of its commits and its checkpoint, for every N, while
** another one has the log open: that one goes on, with all that was acknowledged and nothing in part,
** and leaves a log with nothing to repair.
**
** The process that dies is a child; in the call that it dies in, half of a write still happens. What
** it was told is in memory that both share.
*/
#include "kv_help.h"
#include "os.h"

#include <dirent.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
  os_table real;
  atomic_ulong left; /* calls until the last one; 0: it lives */
} death;

typedef struct report {
  int tried, acknowledged;
  bool checkpointed;
} report;

static report *told; /* by the child */

/* --- dying -------------------------------------------------------------------------------------------- */

static bool is_last(void) {
  return atomic_load(&death.left) > 0 && atomic_fetch_sub(&death.left, 1) == 1;
}

static ssize_t death_pwrite(int fd, const void *data, size_t size, off_t offset) {
  if (!is_last()) return death.real.pwrite(fd, data, size, offset);
  (void)death.real.pwrite(fd, data, size / 2, offset);
  _exit(1);
}

static int death_open(const char *path, int flags, mode_t mode) {
  if (is_last()) _exit(1);
  return death.real.open(path, flags, mode);
}

static int death_close(int fd) {
  if (is_last()) _exit(1);
  return death.real.close(fd);
}

static int death_sync(int fd) {
  (void)fd;
  if (is_last()) _exit(1);
  return 0;
}

static int death_ftruncate(int fd, off_t size) {
  if (is_last()) _exit(1);
  return death.real.ftruncate(fd, size);
}

static int death_rename(const char *from, const char *to) {
  if (is_last()) _exit(1);
  return death.real.rename(from, to);
}

static int death_unlink(const char *path) {
  if (is_last()) _exit(1);
  return death.real.unlink(path);
}

static int death_lock(int fd, bool shared, uint64_t offset, uint64_t size) {
  if (is_last()) _exit(1);
  return death.real.lock(fd, shared, offset, size);
}

static void death_install(unsigned long nth) {
  death.left = nth;
  os.pwrite = death_pwrite;
  os.open = death_open;
  os.close = death_close;
  os.fdatasync = os.fsync = death_sync;
  os.ftruncate = death_ftruncate;
  os.rename = death_rename;
  os.unlink = death_unlink;
  os.lock = death_lock;
}

/* --- the two processes ---------------------------------------------------------------------------------- */

/* Long ones and short ones: what is left of a long one is more than the next one covers. */
static int commit_number(kv *db, int n) {
  static char text[9000];
  kv_value value = {.type = KV_TEXT};
  memset(text, 'a' + n % 26, sizeof text);
  value.data = text;
  value.size = n % 2 ? sizeof text - 1000 : 10;
  int rc = kv_begin(db, BUSY_MS, &help_err);
  if (rc == KV_OK) rc = kv_put(db, "text", 4, &value, NULL, &help_err);
  if (rc == KV_OK) rc = help_put_number(db, "n", n);
  if (rc == KV_OK) rc = kv_commit(db, 0, &help_err);
  return rc;
}

static void child_main(int go, kv_sync synchronous, unsigned long nth) {
  char command;
  if (read(go, &command, 1) != 1) _exit(2);
  death_install(nth);
  kv *db = help_open("death", synchronous, synchronous == KV_SYNC_FULL ? 1 : 3, 0);
  for (told->tried = 2; told->tried <= 5; told->tried++) {
    if (commit_number(db, told->tried) != KV_OK) _exit(3);
    told->acknowledged = told->tried;
  }
  if (kv_checkpoint(db, &help_err) != KV_OK) _exit(4);
  told->checkpointed = true;
  for (; told->tried <= 7; told->tried++) {
    if (commit_number(db, told->tried) != KV_OK) _exit(5);
    told->acknowledged = told->tried;
  }
  _exit(0); /* without closing */
}

static void remove_files(void) {
  DIR *folder = opendir(".");
  if (folder == NULL) abort();
  for (struct dirent *e = readdir(folder); e != NULL; e = readdir(folder)) {
    if (strncmp(e->d_name, "death", 5) == 0 && unlink(e->d_name) != 0) abort();
  }
  closedir(folder);
}

static bool is_tidy(void) {
  DIR *folder = opendir(".");
  bool tidy = true;
  if (folder == NULL) abort();
  for (struct dirent *e = readdir(folder); e != NULL; e = readdir(folder)) {
    bool ours = strncmp(e->d_name, "death", 5) == 0;
    tidy = tidy && (!ours || strcmp(e->d_name, "death") == 0);
    if (ours && !tidy) printf("  there is %s\n", e->d_name);
  }
  closedir(folder);
  return tidy;
}

static bool is_number(kv *db, int n) {
  char want = (char)('a' + n % 26);
  kv_cursor *c = NULL;
  kv_value value = {.size = 0};
  MUST(kv_cursor_open(db, &c, &help_err));
  kv_cursor_find(c, "text", 4);
  if (kv_cursor_valid(c)) kv_cursor_value(c, &value);
  bool is = value.size == (n % 2 ? 8000u : 10u) && value.data[0] == want;
  kv_cursor_close(c);
  return CHECK(is) && CHECK_INT(help_number(db, "n"), n);
}

/* What is left goes on; `other` is open since before. */
static bool go_on(kv *db) {
  int n = (int)help_number(db, "n");
  bool good = CHECK(n >= told->acknowledged) && is_number(db, n);
  /* by who writes next, what was written whole and never acknowledged may be adopted */
  good = CHECK_INT(kv_begin(db, 5000, &help_err), KV_OK) && good;
  kv_rollback(db);
  n = (int)help_number(db, "n");
  good = CHECK(n >= told->acknowledged && n <= told->tried) && is_number(db, n) && good;
  good = CHECK_INT(commit_number(db, 10), KV_OK) && is_number(db, 10) && good;
  good = CHECK_INT(kv_check(db, &help_err), KV_OK) && good;
  struct stat facts;
  good = CHECK(stat("death", &facts) == 0) && good;
  kv_stats stats = help_stats(db);
  MUST(kv_flush(db, &help_err));
  CHECK(stats.log_bytes <= (uint64_t)facts.st_size);
  MUST(kv_close(db, &help_err));
  good = CHECK(stat("death", &facts) == 0) && CHECK_INT(facts.st_size, stats.log_bytes) && good;
  return good;
}

/* False when the child came to its end. */
static bool test_death(kv_sync synchronous, unsigned long nth) {
  int go[2], status;
  remove_files();
  *told = (report){.tried = 1, .acknowledged = 1};
  if (pipe(go) != 0) abort();
  pid_t child = fork();
  if (child < 0) abort();
  if (child == 0) child_main(go[0], synchronous, nth);
  /* in OFF without room ahead, which would cover what is left of half a write */
  kv *db = help_open("death", synchronous, synchronous == KV_SYNC_FULL ? 1 : 3, 0);
  MUST(commit_number(db, 1));
  if (write(go[1], "g", 1) != 1 || waitpid(child, &status, 0) != child) abort();
  close(go[0]);
  close(go[1]);
  bool died = WIFEXITED(status) && WEXITSTATUS(status) == 1;
  CHECK(died || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
  bool good = go_on(db);
  kv_error notice = {.code = KV_OK};
  kv_options options = help_options("death", KV_SYNC_FULL, 1, 10);
  if (CHECK_INT(kv_open(&options, &db, &notice, &help_err), KV_OK)) {
    good = CHECK_INT(notice.code, KV_OK) && is_number(db, 10) && good;
    MUST(kv_close(db, &help_err));
  }
  good = CHECK(is_tidy()) && good;
  if (!good) printf("  mode %d, call %lu: %s\n", (int)synchronous, nth, help_err.text);
  return died && good;
}

static int no_sync(int fd) {
  (void)fd;
  return 0;
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (told == MAP_FAILED) return 1;
  os.fdatasync = os.fsync = no_sync;
  death.real = os;
  unsigned long deaths = 0;
  for (int mode = KV_SYNC_OFF; mode <= KV_SYNC_FULL; mode++) {
    unsigned long nth = 1;
    while (test_death((kv_sync)mode, nth)) nth++;
    CHECK(nth > 20);
    deaths += nth - 1;
  }
  printf("%lu deaths\n", deaths);
  return unit_done();
}
