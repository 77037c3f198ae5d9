/*
** test_kv_memory.c - allocation N fails, for every N, through a whole life of a store: the call says
** KV_ENOMEM, has done nothing by halves, and does it when it is called again. Under AddressSanitizer
** nothing leaks.
**
** The life goes on after each failure, so that it comes to the same end whatever failed, and the
** log it leaves is opened again without failures.
*/
#include "kv_help.h"
#include "os.h"

#include <sys/wait.h>
#include <unistd.h>

static struct {
  os_table real;
  unsigned long left;
  bool for_ever; /* until somebody has been told */
  unsigned long failed;
} fault;

static bool fails(void) {
  if (fault.left == 0 || --fault.left > 0) return false;
  fault.failed++;
  if (fault.for_ever) fault.left = 1;
  return true;
}

static void *fault_malloc(size_t size) {
  return fails() ? NULL : fault.real.malloc(size);
}

static void *fault_realloc(void *data, size_t size) {
  return fails() ? NULL : fault.real.realloc(data, size);
}

/* Do a call until memory is there for it; `unchanged` must hold in between. */
#define RETRY(call, unchanged)                                                                     \
  do {                                                                                             \
    help_err.code = KV_OK;                                                                         \
    int retry_rc = (call);                                                                         \
    if (retry_rc == KV_ENOMEM) {                                                                   \
      fault.left = 0;                                                                              \
      CHECK(unchanged);                                                                            \
      told++;                                                                                      \
      retry_rc = (call);                                                                           \
    }                                                                                              \
    if (!CHECK_INT(retry_rc, KV_OK)) printf("  %s\n", help_err.text);                              \
  } while (0)

static unsigned long told;
static char big[70000];

static int open_store(const char *path, kv_sync synchronous, kv **out) {
  kv_options options = help_options(path, synchronous, 1, 10);
  return kv_open(&options, out, NULL, &help_err);
}

/* help_all without failures in it. */
static bool is_all(kv *db, const char *all) {
  unsigned long left = fault.left;
  fault.left = 0;
  bool is = strcmp(help_all(db), all) == 0;
  if (!is) printf("  got:  %s\n  want: %s\n", help_all(db), all);
  fault.left = left;
  return is;
}

static int put_big(kv *db, char fill) {
  kv_value value = {.type = KV_BLOB};
  memset(big, fill, sizeof big);
  value.data = big;
  value.size = sizeof big;
  return kv_put(db, "zz/big", 6, &value, NULL, &help_err);
}

static void do_cursors(kv *db, const char *first) {
  kv_cursor *c = NULL;
  size_t size;
  RETRY(kv_cursor_open(db, &c, &help_err), c == NULL);
  RETRY(kv_cursor_first(c), !kv_cursor_valid(c));
  if (CHECK(kv_cursor_valid(c))) CHECK_STR(kv_cursor_key(c, &size), first);
  RETRY(kv_cursor_next(c), !kv_cursor_valid(c) || (kv_cursor_first(c), kv_cursor_valid(c)));
  RETRY(kv_cursor_seek(c, "deep", 4, KV_SEEK_GT), !kv_cursor_valid(c));
  RETRY(kv_cursor_refresh(c, NULL), !kv_cursor_valid(c));
  RETRY(kv_cursor_last(c), !kv_cursor_valid(c));
  kv_cursor_close(c);
}

static void do_transaction(kv *db) {
  char deep[2 * 300], key[16];
  for (size_t i = 0; i < sizeof deep; i++) deep[i] = i % 2 ? '/' : 'd';
  RETRY(kv_begin(db, 0, &help_err), !kv_in_transaction(db));
  RETRY(help_put(db, "a", "1"), is_all(db, ""));
  RETRY(help_put(db, "b", "2"), is_all(db, "a=1"));
  RETRY(kv_savepoint(db, 0, &help_err), is_all(db, "a=1 b=2"));
  RETRY(help_delete(db, "a"), is_all(db, "a=1 b=2"));
  RETRY(kv_savepoint(db, 1, &help_err), is_all(db, "b=2"));
  RETRY(kv_put(db, deep, sizeof deep - 1, &(kv_value){.type = KV_NULL}, NULL, &help_err),
        !kv_has(db, deep, sizeof deep - 1) && is_all(db, "b=2"));
  for (int i = 0; i < 40; i++) {
    (void)snprintf(key, sizeof key, "n/%02d", i);
    RETRY(help_put_number(db, key, i), !kv_has(db, key, 4));
  }
  RETRY(put_big(db, 'x'), !kv_has(db, "zz/big", 6));
  do_cursors(db, "b");
  kv_rollback_to(db, 1);
  CHECK(is_all(db, "b=2"));
  for (int n = 2; n < 12; n++) RETRY(kv_savepoint(db, n, &help_err), is_all(db, "b=2"));
  RETRY(help_put(db, "c", "3"), is_all(db, "b=2"));
  kv_release(db, 1);
  kv_rollback_to(db, 0);
  CHECK(is_all(db, "a=1 b=2"));
  RETRY(help_put(db, "c", "4"), is_all(db, "a=1 b=2"));
  RETRY(kv_commit(db, 0, &help_err), kv_in_transaction(db) && is_all(db, "a=1 b=2 c=4"));
  CHECK(is_all(db, "a=1 b=2 c=4"));
}

static void do_undo(kv *db) {
  RETRY(kv_begin(db, 0, &help_err), !kv_in_transaction(db));
  RETRY(help_delete(db, "a"), is_all(db, "a=1 b=2 c=4"));
  RETRY(help_put(db, "b", "5"), is_all(db, "b=2 c=4"));
  RETRY(put_big(db, 'y'), !kv_has(db, "zz/big", 6));
  RETRY(kv_commit(db, KV_UNDOABLE, &help_err), kv_in_transaction(db) && !kv_has(db, "a", 1));
  int rc = kv_undo(db, &help_err);
  CHECK(rc == KV_OK || rc == KV_ENOMEM);
  fault.left = rc == KV_OK ? fault.left : 0;
  CHECK(!kv_in_transaction(db));
  if (rc == KV_OK) {
    CHECK(is_all(db, "a=1 b=2 c=4"));
    return;
  }
  told++;
  MUST(kv_begin(db, 0, &help_err)); /* the commit stands */
  CHECK(!kv_has(db, "a", 1) && kv_has(db, "zz/big", 6));
  MUST(help_put(db, "a", "1"));
  MUST(help_put(db, "b", "2"));
  MUST(help_delete(db, "zz/big"));
  MUST(kv_commit(db, 0, &help_err));
}

static void live(const char *path, kv_sync synchronous) {
  kv *db = NULL, *second = NULL;
  kv_stats stats;
  RETRY(open_store(path, synchronous, &db), db == NULL);
  do_transaction(db);
  do_undo(db);
  do_cursors(db, "a");
  RETRY(kv_get_stats(db, &stats, &help_err), true);
  CHECK_INT(stats.keys, 3);
  CHECK_INT(stats.readers, 0);
  if (path != NULL) {
    RETRY(open_store(path, synchronous, &second), second == NULL);
    MUST(kv_close(db, &help_err));
    RETRY(kv_flush(second, &help_err), true);
    MUST(kv_close(second, &help_err));
    RETRY(open_store(path, synchronous, &db), true);
    CHECK(is_all(db, "a=1 b=2 c=4"));
  }
  MUST(kv_close(db, &help_err));
}

/* A commit, a checkpoint, and the same with nothing left. */
static void live_checkpoints(const char *path, kv_sync synchronous) {
  kv *db = NULL;
  unsigned long left = fault.left;
  fault.left = 0;
  MUST(open_store(path, synchronous, &db));
  for (int i = 0; i < 3; i++) {
    MUST(kv_begin(db, 0, &help_err));
    MUST(help_put(db, i == 0 ? "a" : i == 1 ? "b" : "c", i == 0 ? "1" : i == 1 ? "2" : "4"));
    if (i == 1) MUST(put_big(db, 'z'));
    if (i == 2) MUST(help_delete(db, "zz/big"));
    MUST(kv_commit(db, 0, &help_err));
  }
  fault.left = left;
  for (int i = 0; i < 2; i++) {
    RETRY(kv_checkpoint(db, &help_err),
          access("log-kvstore-new", F_OK) != 0 && is_all(db, "a=1 b=2 c=4"));
    CHECK(is_all(db, "a=1 b=2 c=4"));
    RETRY(kv_begin(db, 0, &help_err), !kv_in_transaction(db));
    RETRY(help_delete(db, "c"), is_all(db, "a=1 b=2 c=4"));
    RETRY(help_put(db, "c", "4"), is_all(db, "a=1 b=2"));
    RETRY(kv_commit(db, 0, &help_err), kv_in_transaction(db));
  }
  CHECK_INT(help_stats(db).readers, 0);
  CHECK_INT(help_stats(db).checkpoints, 2);
  MUST(kv_close(db, &help_err));
}

/* --- beside another process ------------------------------------------------------------------------ */

static struct {
  pid_t id;
  int to, from;
} helper;

/* Does what it is told with the log "shared": open, commit the next number, checkpoint, close. */
static void helper_main(int from, int to) {
  char command;
  kv *db = NULL;
  int n = 0;
  while (read(from, &command, 1) == 1) {
    if (command == 'o') {
      db = help_open("shared", KV_SYNC_FULL, 1, 10);
      n = 0;
    } else if (command == 'c') {
      MUST(kv_begin(db, BUSY_MS, &help_err));
      MUST(help_put_number(db, "n", ++n));
      MUST(kv_commit(db, 0, &help_err));
    } else if (command == 'k') {
      MUST(kv_checkpoint(db, &help_err));
    } else {
      MUST(kv_close(db, &help_err));
    }
    if (write(to, &command, 1) != 1) break;
  }
  _exit(0);
}

static void helper_start(void) {
  int there[2], back[2];
  if (pipe(there) != 0 || pipe(back) != 0) abort();
  helper.id = fork();
  if (helper.id < 0) abort();
  if (helper.id == 0) {
    close(there[1]);
    close(back[0]);
    helper_main(there[0], back[1]);
  }
  close(there[0]);
  close(back[1]);
  helper.to = there[1];
  helper.from = back[0];
}

static void helper_does(const char *commands) {
  for (const char *c = commands; *c != '\0'; c++) {
    char answer;
    if (write(helper.to, c, 1) != 1 || read(helper.from, &answer, 1) != 1) abort();
  }
}

static void helper_end(void) {
  int status;
  close(helper.to);
  if (waitpid(helper.id, &status, 0) != helper.id || status != 0) abort();
}

/* A statement sees what there is, or says that there is no memory for it. */
static void do_see(kv *db, const char *all) {
  kv_cursor *c = NULL;
  RETRY(kv_cursor_open(db, &c, &help_err), c == NULL);
  kv_cursor_close(c);
  CHECK(is_all(db, all));
}

/* Join a log that another process writes, or look at it; follow it in its file, to a new one, and to
** one that has to be read anew. */
static void live_beside(bool readonly) {
  kv_options options = help_options("shared", KV_SYNC_FULL, 1, 10);
  kv *db = NULL;
  options.readonly = readonly;
  (void)unlink("shared");
  helper_does("occ");
  RETRY(kv_open(&options, &db, NULL, &help_err), db == NULL);
  do_see(db, "n=#2");
  helper_does("c");
  do_see(db, "n=#3");
  helper_does("kc");
  do_see(db, "n=#4");
  helper_does("ckck");
  do_see(db, "n=#6");
  if (!readonly) {
    helper_does("c");
    RETRY(kv_begin(db, BUSY_MS, &help_err), !kv_in_transaction(db));
    RETRY(help_put(db, "a", "1"), is_all(db, "n=#7"));
    RETRY(kv_commit(db, 0, &help_err), kv_in_transaction(db));
    helper_does("kck");
    RETRY(kv_begin(db, BUSY_MS, &help_err), !kv_in_transaction(db));
    RETRY(help_delete(db, "a"), is_all(db, "a=1 n=#8"));
    RETRY(kv_commit(db, 0, &help_err), kv_in_transaction(db));
    helper_does("c");
    RETRY(kv_checkpoint(db, &help_err), access("shared-kvstore-new", F_OK) != 0);
    helper_does("c");
    do_see(db, "n=#10");
  }
  helper_does(readonly ? "cx" : "x");
  do_see(db, readonly ? "n=#7" : "n=#10");
  CHECK_INT(help_stats(db).readers, 0);
  MUST(kv_close(db, &help_err));
}

/* --- old files ------------------------------------------------------------------------------------- */

static void write_file(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0) abort();
}

/* Opening what has to be converted, or has a torn tail. */
static void live_old(void) {
  kv *db = NULL;
  write_file("old", "WRITE\ta\t1\nWRITE\tb\t2\n");
  RETRY(open_store("old", KV_SYNC_FULL, &db), db == NULL);
  RETRY(kv_begin(db, 0, &help_err), !kv_in_transaction(db));
  RETRY(help_put(db, "c", "4"), is_all(db, "a=1 b=2"));
  RETRY(kv_commit(db, 0, &help_err), kv_in_transaction(db));
  MUST(kv_close(db, &help_err));
  FILE *file = fopen("old", "a");
  if (file == NULL || fputs("WRITE\tb\ttorn", file) < 0 || fclose(file) != 0) abort();
  db = NULL;
  RETRY(open_store("old", KV_SYNC_FULL, &db), db == NULL);
  CHECK(is_all(db, "a=1 b=2 c=4"));
  MUST(kv_close(db, &help_err));
  fault.left = 0;
  if (access("old-kvstore-new", F_OK) == 0) {
    db = help_open_full("old"); /* not even its name could be made: the next opening removes it */
    CHECK(access("old-kvstore-new", F_OK) != 0);
    MUST(kv_close(db, &help_err));
  }
  char name[64];
  int tails = 0;
  for (long at = 0; at < 400; at++) { /* one tail, and no second copy of it for each failure */
    (void)snprintf(name, sizeof name, "old-torn-%ld", at);
    if (unlink(name) == 0) tails++;
    (void)snprintf(name, sizeof name, "old-torn-%ld.1", at);
    CHECK(access(name, F_OK) != 0);
  }
  CHECK_INT(tails, 1);
}

/* A put that failed leaves no line behind, a commit that failed neither, wherever in its buffers
** the memory ended. */
static void test_lines_left_behind(void) {
  char text[300];
  memset(text, 't', sizeof text);
  for (size_t size = 1; size < sizeof text - 1; size++) {
    for (unsigned long nth = 1; nth <= 3; nth++) {
      kv *db = help_open("lines", KV_SYNC_OFF, 1, 10);
      text[size] = '\0';
      MUST(kv_begin(db, 0, &help_err));
      MUST(help_put(db, "a", text));
      fault.left = nth;
      fault.for_ever = true;
      int rc = help_put(db, "b", text);
      CHECK(rc == KV_OK || rc == KV_ENOMEM);
      fault.left = rc == KV_OK ? fault.left : 1;
      int failed = kv_commit(db, 0, &help_err);
      CHECK(failed == KV_OK || failed == KV_ENOMEM);
      fault.left = 0;
      if (failed != KV_OK) MUST(kv_commit(db, 0, &help_err));
      MUST(kv_close(db, &help_err));
      db = help_open("lines", KV_SYNC_OFF, 1, 10);
      CHECK_INT(help_stats(db).keys, rc == KV_OK ? 2 : 1);
      CHECK_INT(help_stats(db).seq, 1);
      MUST(kv_close(db, &help_err));
      text[size] = 't';
      if (unlink("lines") != 0) abort();
    }
  }
}

/* The line is there already when the tree has no memory for the value. */
static void test_put_without_memory(void) {
  static char text[5001];
  memset(text, 't', sizeof text - 1);
  kv *db = help_open("put", KV_SYNC_OFF, 1, 10);
  MUST(kv_begin(db, 0, &help_err));
  MUST(help_put(db, "a", text));
  MUST(help_put(db, "b", text));
  fault.left = 1;
  fault.for_ever = true;
  CHECK_INT(help_put(db, "c", text), KV_ENOMEM);
  fault.left = 0;
  CHECK(!kv_has(db, "c", 1));
  MUST(kv_commit(db, 0, &help_err));
  MUST(kv_close(db, &help_err));
  db = help_open("put", KV_SYNC_OFF, 1, 10);
  CHECK_INT(help_stats(db).keys, 2);
  MUST(kv_close(db, &help_err));
}

/* What an undoable commit needs is there before it is one, or it is none. `readers` leave that many
** fewer places than they can have without another allocation. */
static void test_undoable_without_memory(unsigned readers) {
  kv_cursor *cursors[64];
  kv *db = help_open("undoable", KV_SYNC_OFF, 1, 10);
  MUST(kv_begin(db, 0, &help_err));
  MUST(help_put(db, "a", "1"));
  for (unsigned i = 0; i < readers; i++) MUST(kv_cursor_open(db, &cursors[i], &help_err));
  fault.left = 1;
  fault.for_ever = true;
  CHECK_INT(kv_commit(db, KV_UNDOABLE, &help_err), KV_ENOMEM);
  fault.left = 0;
  CHECK(kv_in_transaction(db));
  MUST(kv_commit(db, KV_UNDOABLE, &help_err));
  CHECK_STR(help_all(db), "a=1");
  for (unsigned i = 0; i < readers; i++) kv_cursor_close(cursors[i]);
  MUST(kv_undo(db, &help_err));
  CHECK_STR(help_all(db), "");
  CHECK_INT(help_stats(db).readers, 0);
  MUST(kv_close(db, &help_err));
  if (unlink("undoable") != 0) abort();
}

/* Savepoints, each after a change that leaves something to take back, until there is no memory. */
static void test_savepoint_without_memory(void) {
  kv *db = help_open("many", KV_SYNC_OFF, 1, 10);
  MUST(help_commit_put(db, "a", "0"));
  MUST(kv_begin(db, 0, &help_err));
  unsigned long refusals = 0;
  for (int n = -200; n < 0; n++) { /* with nothing between them */
    fault.left = 1;
    fault.for_ever = true;
    int rc = kv_savepoint(db, n, &help_err);
    fault.left = 0;
    refusals += rc == KV_ENOMEM;
    if (rc == KV_ENOMEM) MUST(kv_savepoint(db, n, &help_err));
  }
  for (int n = 0; n < 300; n++) {
    char text[16], all[32];
    (void)snprintf(text, sizeof text, "%d", n);
    (void)snprintf(all, sizeof all, "a=%d", n);
    MUST(help_put(db, "a", text));
    fault.left = 1;
    fault.for_ever = true;
    int rc = kv_savepoint(db, n, &help_err);
    fault.left = 0;
    refusals += rc == KV_ENOMEM;
    CHECK(rc == KV_OK || rc == KV_ENOMEM);
    CHECK(is_all(db, all));
    if (rc == KV_ENOMEM) MUST(kv_savepoint(db, n, &help_err));
  }
  CHECK(refusals > 8);
  for (int n = 299; n >= 0; n -= 13) {
    char all[32];
    (void)snprintf(all, sizeof all, "a=%d", n);
    kv_rollback_to(db, n);
    CHECK(is_all(db, all));
  }
  kv_rollback(db);
  CHECK(is_all(db, "a=0"));
  MUST(kv_close(db, &help_err));
}

static int no_sync(int fd) {
  (void)fd;
  return 0;
}

static void live_scene(int scene) {
  switch (scene) {
  case 0:
    live("log", KV_SYNC_FULL);
    break;
  case 1:
    live("log", KV_SYNC_NORMAL);
    break;
  case 2:
    live("log", KV_SYNC_OFF);
    break;
  case 3:
    live(NULL, KV_SYNC_FULL);
    break;
  case 4:
    live_old();
    break;
  case 5:
    live_checkpoints("log", KV_SYNC_FULL);
    break;
  case 6:
    live_checkpoints("log", KV_SYNC_NORMAL);
    break;
  case 7:
    live_beside(false);
    break;
  default:
    live_beside(true);
    break;
  }
}

enum { SCENES = 9 };

/* Every allocation of a scene; how many there are. */
static unsigned long test_scene(int scene, bool for_ever) {
  for (unsigned long nth = 1;; nth++) {
    (void)unlink("log");
    fault.failed = 0;
    fault.left = nth;
    fault.for_ever = for_ever;
    live_scene(scene);
    fault.left = 0;
    if (unit_failed > 0) printf("scene %d, allocation %lu\n", scene, nth);
    if (unit_failed > 0 || fault.failed == 0) return nth - 1;
    if (scene != 0 && scene != 5) continue;
    kv *db = help_open_full("log");
    CHECK(is_all(db, "a=1 b=2 c=4"));
    MUST(kv_close(db, &help_err));
  }
}

int main(void) {
  unsigned long most = 0;
  setvbuf(stdout, NULL, _IOLBF, 0);
  os.fdatasync = os.fsync = no_sync;
  helper_start();
  fault.real = os;
  os.malloc = fault_malloc;
  os.realloc = fault_realloc;
  for (int scene = 0; scene < SCENES && unit_failed == 0; scene++) {
    unsigned long told_before = told;
    for (int for_ever = 0; for_ever < 2 && unit_failed == 0; for_ever++) {
      unsigned long allocations = test_scene(scene, for_ever != 0);
      if (allocations > most) most = allocations;
      CHECK(allocations >= 4);
    }
    CHECK(told - told_before >= 4);
  }
  helper_end();
  test_lines_left_behind();
  test_put_without_memory();
  test_undoable_without_memory(64);
  test_undoable_without_memory(63);
  test_savepoint_without_memory();
  printf("%lu allocations in a life, %lu failures told\n", most, told);
  CHECK(most > 30);
  CHECK(told > 300);
  return unit_done();
}
