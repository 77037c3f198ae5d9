/*
** test_adopt.c - a process has died with the turn, and whoever comes next finds out what it left while
** calls fail and memory ends: it is told so, changes nothing by halves, and the next try succeeds, with
** all that the dead one had committed and nothing in part.
**
** What it left: half a transaction; a new file in the log's place of which nobody has been told; a log of
** the original program, converted or not. Next comes another process that had the log open before, or
** one that opens it now.
*/
#include "fault_table.h"
#include "process_help.h"
#include "short_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static os_table real;
static atomic_int *ready;
static int syncs;

static bool says(const char *what) {
  bool does = strstr(help_err.text, what) != NULL;
  if (!does) printf("  it says: %s\n", help_err.text);
  return does;
}

/* --- the one that dies ------------------------------------------------------------------------------- */

typedef enum death { DEATH_HALF, DEATH_RENAMED, DEATH_CONVERTED, DEATH_NOT_CONVERTED } death;

enum { DEATHS = DEATH_NOT_CONVERTED + 1 };

static bool is_original(death how) {
  return how >= DEATH_CONVERTED;
}

static ssize_t die_in_pwrite(int fd, const void *data, size_t size, off_t offset) {
  (void)real.pwrite(fd, data, size / 2, offset);
  _exit(0);
}

static int die_after_rename(const char *from, const char *to) {
  if (real.rename(from, to) != 0) abort();
  _exit(0);
}

static int die_at_chmod(int fd, mode_t mode) {
  (void)fd, (void)mode;
  _exit(0); /* its draft is empty */
}

static void be_dying(void *context) {
  death how = *(const death *)context;
  kv *db = help_open("log", KV_SYNC_OFF, 1, 10); /* without room ahead */
  if (!is_original(how)) MUST(help_commit_put(db, "b", "2"));
  atomic_store(ready, 1);
  await(ready, 2);
  if (how == DEATH_HALF) os.pwrite = die_in_pwrite;
  if (how == DEATH_RENAMED || how == DEATH_CONVERTED) os.rename = die_after_rename;
  if (how == DEATH_NOT_CONVERTED) os.fchmod = die_at_chmod;
  if (how == DEATH_RENAMED) {
    (void)kv_checkpoint(db, &help_err);
  } else {
    char text[2000]; /* the half of it is longer than what comes next */
    memset(text, 'c', sizeof text);
    text[sizeof text - 1] = '\0';
    (void)help_commit_put(db, "c", text);
  }
  _exit(1);
}

/* --- those that come next ---------------------------------------------------------------------------- */

static const char *const all = "a=1 b=2";

/* How a call is made to fail: call N of any kind, or allocation N. */
typedef struct obstacle {
  unsigned long nth;
  bool memory;
} obstacle;

static void obstruct(const obstacle *o) {
  refused = 0;
  if (o->memory) {
    calls_left = (long)o->nth - 1;
  } else {
    fail_call(CALL_ANY, o->nth, false, EIO);
  }
}

static bool obstructed(const obstacle *o) {
  bool was = o->memory ? refused > 0 : fault.failed > 0;
  calls_left = -1;
  fail_nothing();
  return was;
}

static bool check_told(int rc, const obstacle *o) {
  if (rc == KV_OK) return true;
  return CHECK(help_err.code == rc && help_err.text[0] != '\0') &&
         CHECK(o->memory ? rc == KV_ENOMEM : rc != KV_ENOMEM && says("log"));
}

/* It has the log open since before. If it puts a new file in the log's place, and that may not be durable,
** it has to open it again. */
static bool take_over(kv **db, death how, const obstacle *o) {
  obstruct(o);
  syncs = 0;
  int rc = kv_begin(*db, BUSY_MS, &help_err);
  if (rc == KV_OK && how == DEATH_RENAMED) CHECK_INT(syncs, 1); /* of the folder, for its name */
  bool was = obstructed(o);
  check_told(rc, o);
  if (rc != KV_OK) CHECK(was);
  if (rc != KV_OK) rc = kv_begin(*db, BUSY_MS, &help_err);
  if (rc != KV_OK) {
    CHECK(how == DEATH_NOT_CONVERTED && rc == KV_EREADONLY && says("fsync of the folder"));
    MUST(kv_close(*db, &help_err));
    *db = help_open("log", KV_SYNC_OFF, 1, 10);
    MUST(kv_begin(*db, BUSY_MS, &help_err));
  }
  CHECK_STR(help_all(*db), all);
  kv_rollback(*db);
  return was;
}

/* It comes only now; its exit status: 2, if something failed. */
static void be_newcomer(void *context) {
  const obstacle *o = context;
  kv_options options = help_options("log", KV_SYNC_FULL, 1, 10);
  kv *db = NULL;
  obstruct(o);
  int rc = kv_open(&options, &db, NULL, &help_err);
  bool was = obstructed(o);
  check_told(rc, o);
  if (rc != KV_OK) CHECK(was && db == NULL);
  if (rc != KV_OK) MUST(kv_open(&options, &db, NULL, &help_err));
  CHECK_STR(help_all(db), all);
  MUST(help_commit_put(db, "d", "4"));
  MUST(kv_close(db, &help_err));
  fflush(stdout);
  if (unit_failed == 0) _exit(was ? 2 : 0);
}

static void begin_log(death how) {
  (void)unlink("log");
  if (is_original(how)) {
    write_file("log", "WRITE\ta\t1\nWRITE\tb\t2\n", 20);
    return;
  }
  kv *db = help_open("log", KV_SYNC_OFF, 1, 10);
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_close(db, &help_err));
}

/* False when nothing failed any more. */
static bool adopt(death how, bool newcomer, obstacle o) {
  unsigned long failed = unit_failed;
  begin_log(how);
  atomic_store(ready, 0);
  pid_t child = child_start(be_dying, &how);
  await(ready, 1);
  kv *db = help_open("log", KV_SYNC_OFF, 1, 10);
  CHECK_STR(help_all(db), all);
  atomic_store(ready, 2);
  CHECK_INT(child_end(child), 0);
  bool was;
  if (newcomer) {
    int status = child_end(child_start(be_newcomer, &o));
    CHECK(status == 0 || status == 2);
    was = status == 2;
  } else {
    was = take_over(&db, how, &o);
    MUST(help_commit_put(db, "d", "4"));
  }
  CHECK_STR(help_all(db), "a=1 b=2 d=4");
  CHECK_INT(kv_check(db, &help_err), KV_OK);
  MUST(kv_close(db, &help_err));
  CHECK_INT(left_over("log"), 0);
  db = help_open_full("log");
  CHECK_STR(help_all(db), "a=1 b=2 d=4");
  MUST(kv_close(db, &help_err));
  if (unit_failed > failed) {
    printf("  death %d, %s, %s %lu (%s)\n", (int)how, newcomer ? "newcomer" : "member",
           o.memory ? "allocation" : "call", o.nth, fault_call_names[fault.failed_call]);
  }
  return was && unit_failed == failed;
}

static int no_sync(int fd) {
  (void)fd;
  syncs++;
  return 0;
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  ready = shared_memory(sizeof *ready);
  os.fdatasync = os.fsync = no_sync;
  real = os;
  faults_install();
  os.malloc = short_malloc;
  os.realloc = short_realloc;
  os.free = counted_free;
  unsigned long deaths = 0;
  for (int which = 0; which < 4 * DEATHS; which++) {
    obstacle o = {.nth = 1, .memory = which & 1};
    while (adopt((death)(which / 4), which & 2, o)) o.nth++;
    deaths += o.nth;
  }
  printf("%lu deaths\n", deaths);
  return unit_done();
}
