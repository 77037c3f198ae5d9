/*
** test_fault_lives.c - call N of a whole life fails, for every N: nothing acknowledged is lost,
** nothing is half done, and the store goes on once it is opened again, or at once where it can.
**
** The life has commits, checkpoints, closing, opening and flushing in it, in every mode; calls fail
** once or for ever, with EIO, ENOSPC, EINTR or by writing short. Then commits of many threads on a
** disk that becomes full, and a reader that follows a writer.
*/
#include "fault_table.h"
#include "kv_help.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static bool exists(const char *path) {
  return access(path, F_OK) == 0;
}

static void write_file(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0) abort();
}

/* --- call N ------------------------------------------------------------------------------------------ */

typedef struct life {
  kv_sync synchronous;
  bool for_ever, large;
  int acknowledged; /* the newest commit that was said to be one */
  int tried;
  int checkpoints, checkpoints_failed;
} life;

/* So much that a checkpoint writes it in several parts, and copies in several. */
static int put_large(kv *db, int n) {
  static char large[150000];
  char key[16];
  kv_value value = {.type = KV_BLOB};
  memset(large, 'a' + n, sizeof large);
  value.data = large;
  value.size = sizeof large;
  (void)snprintf(key, sizeof key, "large%d", n % 3);
  return kv_put(db, key, strlen(key), &value, NULL, &help_err);
}

/* The file keeps its place: that it has lost it may be said only where the system said so. A question that
** failed for any other reason has told nothing. */
static void check_moved(int rc) {
  bool asked = fault.failed_call == CALL_STAT || fault.failed_call == CALL_OPEN;
  bool said = fault.failed > 0 && asked && fault.reason == ENOENT;
  if (!CHECK(rc != KV_EMOVED || said)) {
    printf("  %s, errno %d: %s\n", fault_call_names[fault.failed_call], fault.reason,
           help_err.text);
  }
}

static void live_commits(kv *db, life *l, int to) {
  for (int n = l->tried + 1; n <= to; n++) {
    int rc = kv_begin(db, 0, &help_err);
    if (rc == KV_OK) {
      char key[16];
      (void)snprintf(key, sizeof key, "k%d", n % 7);
      rc = help_put_number(db, key, n);
      if (rc == KV_OK) rc = help_put_number(db, "n", n);
      if (rc == KV_OK && l->large) rc = put_large(db, n);
      l->tried = n;
      if (rc == KV_OK) rc = kv_commit(db, 0, &help_err);
    }
    if (rc != KV_OK) {
      CHECK(help_err.code == rc && help_err.text[0] != '\0');
      check_moved(rc);
      if (rc == KV_EFULL) l->tried = l->acknowledged; /* it is nowhere, and can be tried again */
      return;
    }
    l->acknowledged = n;
  }
}

static kv *live_open(const life *l) {
  kv_options options = help_options("life", l->synchronous, 3, 0);
  kv *db = NULL;
  if (l->synchronous == KV_SYNC_FULL) options.settings.group_size = 1;
  check_moved(kv_open(&options, &db, NULL, &help_err));
  return db;
}

/* A checkpoint; if it fails, the log is as it was and the store goes on, or the new file has the log's
** name and the store waits to be opened again. */
static void live_checkpoint(kv *db, life *l) {
  struct stat before, after;
  bool failed_before = fault.failed > 0;
  if (stat("life", &before) != 0) abort();
  int rc = kv_checkpoint(db, &help_err);
  if (stat("life", &after) != 0) abort();
  bool same = before.st_ino == after.st_ino;
  if (rc == KV_OK) {
    CHECK(!same);
    l->checkpoints++;
    return;
  }
  CHECK(help_err.code == rc && help_err.text[0] != '\0');
  CHECK(rc == KV_EIO || rc == KV_EFULL || rc == KV_EBUSY || rc == KV_ECANTOPEN ||
        rc == KV_EREADONLY || rc == KV_EMOVED);
  check_moved(rc);
  if (l->for_ever || failed_before || !CHECK(fault.failed > 0)) return;
  l->checkpoints_failed++;
  bool may_be_ours = fault.failed_call == CALL_PWRITE || fault.failed_call == CALL_FDATASYNC ||
                     fault.failed_call == CALL_FSYNC || fault.failed_call == CALL_RENAME ||
                     fault.failed_call == CALL_FTRUNCATE || fault.failed_call == CALL_FCHMOD;
  if (may_be_ours) CHECK(!exists("life-kvstore-new")); /* else it could be another process's */
  int acknowledged = l->acknowledged;
  live_commits(db, l, l->tried + 1);
  /* a flush of the log itself that fails is another matter: NORMAL's thread may be at it */
  if (same && (l->synchronous == KV_SYNC_FULL || fault.failed_call != CALL_FDATASYNC)) {
    CHECK_INT(before.st_size > after.st_size, 0);
    if (!CHECK_INT(l->acknowledged, acknowledged + 1))
      printf("  %s: %s\n", fault_call_names[fault.failed_call], help_err.text);
  } else if (!same) {
    CHECK_INT(l->acknowledged, acknowledged);
    CHECK_INT(kv_begin(db, 0, &help_err), KV_EREADONLY);
  }
}

/* Open, commit, checkpoint, commit, close, open again, commit, checkpoint, flush, close. */
static void live(life *l) {
  kv *db = live_open(l);
  if (db == NULL) return;
  live_commits(db, l, 4);
  if (l->acknowledged == 4) live_checkpoint(db, l);
  live_commits(db, l, 7);
  if (kv_close(db, &help_err) != KV_OK) CHECK(help_err.text[0] != '\0');
  if (l->acknowledged < 7) return;
  db = live_open(l);
  if (db == NULL) return;
  live_commits(db, l, 11);
  if (l->acknowledged >= 11) live_checkpoint(db, l);
  if (l->acknowledged >= 11) live_checkpoint(db, l);
  live_commits(db, l, 13);
  (void)kv_flush(db, &help_err);
  (void)kv_close(db, &help_err);
}

static int check_life(const life *l, bool original) {
  kv *db = live_open(l);
  if (!CHECK(db != NULL)) {
    printf("  %s\n", help_err.text);
    return -1;
  }
  int64_t n = help_number(db, "n");
  if (n < 0) n = 0;
  bool good = CHECK(n >= l->acknowledged) && CHECK(n <= l->tried);
  for (int k = 0; k < 7; k++) {
    char key[16];
    (void)snprintf(key, sizeof key, "k%d", k);
    int last = (int)n - (int)((n - k) % 7 + 7) % 7; /* the last that put it */
    good = CHECK_INT(help_number(db, key), last > 0 ? last : -1) && good;
  }
  if (original) good = CHECK_STR(help_get(db, "from"), "before") && good;
  good = CHECK_INT(help_commit_put(db, "after", "it goes on"), KV_OK) && good;
  good = CHECK(!exists("life-kvstore-new")) && good;
  MUST(kv_close(db, &help_err));
  return good ? 0 : -1;
}

static void remove_life(void) {
  DIR *folder = opendir(".");
  if (folder == NULL) abort();
  for (struct dirent *e = readdir(folder); e != NULL; e = readdir(folder)) {
    if (strncmp(e->d_name, "life", 4) == 0 && unlink(e->d_name) != 0) abort();
  }
  closedir(folder);
}

static int no_sync(int fd) {
  (void)fd;
  return 0;
}

static unsigned long lives;
static fault_call life_call = CALL_ANY; /* of this kind alone */

static void test_life(kv_sync synchronous, int reason, bool for_ever, bool original, bool large) {
  unsigned long calls = 0;
  int failed = 0;
  for (unsigned long nth = 1;; nth++) {
    life l = {.synchronous = synchronous, .for_ever = for_ever, .large = large};
    remove_life();
    if (original) write_file("life", "WRITE\tfrom\tbefore\n");
    fail_call(life_call, nth, for_ever, reason);
    live(&l);
    bool done = fault.failed == 0;
    fault_call call = fault.failed_call;
    fail_nothing();
    if (reason == EINTR && !for_ever && call >= CALL_PREAD && call <= CALL_FTRUNCATE) {
      CHECK(l.acknowledged >= 13 && l.checkpoints == 3);
    }
    if (check_life(&l, original) != 0) {
      printf("  call %lu (%s), errno %d, %s, mode %d, %s\n", nth,
             done ? "none" : fault_call_names[call], reason, for_ever ? "for ever" : "once",
             (int)synchronous, original ? "original" : "new");
      return;
    }
    failed += l.checkpoints_failed;
    if (done) {
      CHECK_INT(l.checkpoints, 3);
      break;
    }
    calls++;
  }
  lives += calls + 1;
  if (life_call != CALL_ANY) return;
  CHECK(calls > 60);
  if (!for_ever)
    CHECK(failed > 10); /* how many calls a checkpoint makes depends on what runs beside it */
}

static void test_lives(void) {
  for (int mode = KV_SYNC_OFF; mode <= KV_SYNC_FULL; mode++) {
    test_life((kv_sync)mode, EIO, false, false, false);
    test_life((kv_sync)mode, EIO, true, false, false);
    test_life((kv_sync)mode, ENOSPC, mode == KV_SYNC_OFF, false, false);
  }
  test_life(KV_SYNC_FULL, EINTR, false, false, false); /* for ever would be for ever */
  test_life(KV_SYNC_NORMAL, EINTR, false, false, false);
  test_life(KV_SYNC_OFF, ENOSPC, false, true, false);
  test_life(KV_SYNC_FULL, EIO, true, true, false);
  test_life(KV_SYNC_FULL, ENOSPC, false, false, true);
  test_life(KV_SYNC_FULL, EIO, true, false, true);
}

/* A call that never works again, though all others do, is an error in the end, whatever it is: nothing
** is tried for ever. */
static void test_each_call(void) {
  for (life_call = 0; life_call < CALL_ANY; life_call++) {
    test_life(KV_SYNC_FULL, life_call == CALL_STAT ? EACCES : EIO, true, false, false);
  }
  for (life_call = CALL_PREAD; life_call <= CALL_FTRUNCATE; life_call++) {
    test_life(KV_SYNC_FULL, EINTR, true, false, false);
  }
  for (life_call = CALL_FSTAT; life_call <= CALL_STAT; life_call++) {
    test_life(KV_SYNC_FULL, EIO, false, false, false);
    test_life(KV_SYNC_FULL, ENOENT, true, false, false);
  }
  test_life(KV_SYNC_FULL, EEXIST, true, false, false);
  life_call = CALL_OPEN;
  test_life(KV_SYNC_FULL, EEXIST, true, false, false);
  test_life(KV_SYNC_FULL, ENOENT, true, false, false);
  life_call = CALL_ANY;
}

/* --- every write is short --------------------------------------------------------------------------- */

static void test_short_writes(bool large) {
  life l = {.synchronous = KV_SYNC_FULL, .large = large};
  remove_life();
  fail_call(CALL_PWRITE, 1, true, 0);
  fault.short_write = true;
  live(&l);
  CHECK(fault.failed > 20);
  fail_nothing();
  CHECK_INT(l.acknowledged, 13);
  CHECK_INT(l.checkpoints, 3);
  CHECK_INT(check_life(&l, false), 0);
}

/* --- the disk becomes full in the middle of a group --------------------------------------------------- */

#define THREADS 4

typedef struct committer {
  pthread_t id;
  kv_sync synchronous;
  int number, acknowledged, code;
} committer;

static void *committer_main(void *context) {
  committer *c = context;
  kv_options options = help_options("life", c->synchronous, 3, 1);
  kv_value value = {.type = KV_INTEGER};
  kv_error err;
  char key[16];
  kv *db = NULL;
  (void)snprintf(key, sizeof key, "t%d", c->number);
  c->code = kv_open(&options, &db, NULL, &err);
  for (int i = 1; c->code == KV_OK && i <= 8; i++) {
    value.integer = i;
    c->code = kv_begin(db, BUSY_MS, &err);
    if (c->code == KV_OK) c->code = kv_put(db, key, strlen(key), &value, NULL, &err);
    if (c->code == KV_OK) c->code = kv_commit(db, 0, &err);
    if (c->code == KV_OK) c->acknowledged = i;
  }
  (void)kv_close(db, NULL);
  return NULL;
}

static void test_full_in_group(kv_sync synchronous, int reason) {
  for (unsigned long nth = 1;; nth++) {
    committer committers[THREADS];
    remove_life();
    kv *db = help_open("life", synchronous, 3, 1); /* stays open, as the store does */
    MUST(help_commit_put(db, "before", "it"));
    fail_call(CALL_PWRITE, nth, true, reason);
    for (int i = 0; i < THREADS; i++) {
      committers[i] = (committer){.number = i, .synchronous = synchronous};
      if (pthread_create(&committers[i].id, NULL, committer_main, &committers[i]) != 0) abort();
    }
    for (int i = 0; i < THREADS; i++) pthread_join(committers[i].id, NULL);
    bool done = fault.failed == 0;
    fail_nothing();
    if (!done && reason == EIO) CHECK_INT(kv_begin(db, 0, &help_err), KV_EREADONLY);
    if (!done && reason == ENOSPC) CHECK_INT(help_commit_put(db, "next", "it goes on"), KV_OK);
    (void)kv_close(db, NULL);
    db = help_open_full("life");
    CHECK_STR(help_get(db, "before"), "it");
    for (int i = 0; i < THREADS; i++) {
      const committer *c = &committers[i];
      char key[16];
      (void)snprintf(key, sizeof key, "t%d", i);
      int found = (int)help_number(db, key);
      if (found < 0) found = 0;
      bool may_be_there = reason == EIO; /* what was lost for want of room is nowhere */
      CHECK(found == c->acknowledged || (may_be_there && found == c->acknowledged + 1));
      CHECK(done ? c->code == KV_OK
                 : c->code == KV_OK || c->code == KV_EREADONLY ||
                       c->code == (reason == ENOSPC ? KV_EFULL : KV_EIO));
    }
    CHECK_INT(help_commit_put(db, "after", "there is space again"), KV_OK);
    MUST(kv_close(db, &help_err));
    if (done) break;
    lives++;
  }
}

/* --- following under faults --------------------------------------------------------------------------- */

/* A reader that was opened before the writer is a store of its own and follows through the page, as
** another process does. At one step of the story, call N of the reader's statement fails. */
typedef struct story {
  kv *reader, *writer;
  int step; /* now */
  int n;    /* committed */
} story;

enum { STORY_STEPS = 7 };

static void write_more(story *y, int count) {
  for (; count > 0; count--) {
    char text[16], gone[16];
    int n = ++y->n;
    (void)snprintf(text, sizeof text, "%d", n);
    (void)snprintf(gone, sizeof gone, "%d", n - 1);
    MUST(kv_begin(y->writer, 0, &help_err));
    MUST(help_put(y->writer, n % 2 ? "odd" : "even", text));
    MUST(help_put(y->writer, text, "the newest"));
    MUST(help_delete(y->writer, gone));
    MUST(kv_commit(y->writer, 0, &help_err));
  }
}

static void go_on(story *y) {
  switch (y->step) {
  case 0: /* the page is new to the reader */
    y->writer = help_open_full("follow");
    write_more(y, 2);
    break;
  case 1: /* in the same file */
    write_more(y, 3);
    break;
  case 2: /* a new file, and the place in it */
    write_more(y, 1);
    MUST(kv_checkpoint(y->writer, &help_err));
    write_more(y, 1);
    break;
  case 3: /* what is missing is nowhere but in the snapshot: anew */
    write_more(y, 1);
    MUST(kv_checkpoint(y->writer, &help_err));
    write_more(y, 1);
    MUST(kv_checkpoint(y->writer, &help_err));
    write_more(y, 1);
    break;
  case 4: /* the page is closed */
    write_more(y, 1);
    MUST(kv_close(y->writer, &help_err));
    y->writer = NULL;
    break;
  case 5: /* and there is another one */
    y->writer = help_open_full("follow");
    write_more(y, 1);
    break;
  default: /* it was replaced while nobody shared it */
    write_more(y, 1);
    MUST(kv_checkpoint(y->writer, &help_err));
    MUST(kv_close(y->writer, &help_err));
    y->writer = NULL;
    break;
  }
  y->step++;
}

/* What the reader's statement is told, and what it sees. */
static int read_story(const story *y, char odd[16], char even[16]) {
  kv_cursor *c = NULL;
  int rc = kv_cursor_open(y->reader, &c, &help_err);
  CHECK((rc == KV_OK) == (c != NULL));
  if (rc != KV_OK) return rc;
  for (int i = 0; i < 2; i++) {
    const char *key = i ? "odd" : "even";
    char *to = i ? odd : even;
    kv_value value = {.size = 0};
    kv_cursor_find(c, key, strlen(key));
    if (kv_cursor_valid(c)) kv_cursor_value(c, &value);
    (void)snprintf(to, 16, "%.*s", (int)value.size, value.data);
  }
  kv_cursor_close(c);
  return rc;
}

static bool sees(const story *y, int n) {
  char odd[16], even[16], want_odd[16], want_even[16];
  if (!CHECK_INT(read_story(y, odd, even), KV_OK)) {
    printf("  %s\n", help_err.text);
    return false;
  }
  (void)snprintf(want_odd, sizeof want_odd, "%d", n % 2 ? n : n - 1);
  (void)snprintf(want_even, sizeof want_even, "%d", n % 2 ? n - 1 : n);
  return CHECK_STR(odd, want_odd) && CHECK_STR(even, want_even) &&
         CHECK_INT(help_stats(y->reader).keys, 3);
}

/* False when there is no call N any more. */
static bool test_following_once(int step, unsigned long nth, bool for_ever, int reason) {
  story y = {.step = 0};
  char odd[16], even[16];
  (void)unlink("follow");
  y.writer = help_open_full("follow");
  write_more(&y, 2);
  MUST(kv_close(y.writer, &help_err));
  kv_options options = help_options("follow", KV_SYNC_FULL, 1, 10);
  options.readonly = true;
  MUST(kv_open(&options, &y.reader, NULL, &help_err));
  bool good = sees(&y, 2), failed = false;
  while (good && y.step < STORY_STEPS) {
    int before = y.n;
    bool here = y.step == step;
    go_on(&y);
    if (here) {
      fail_call(CALL_ANY, nth, for_ever, reason);
      help_err.code = KV_OK;
      int rc = read_story(&y, odd, even);
      failed = fault.failed > 0;
      fail_nothing();
      if (rc != KV_OK) {
        good =
            CHECK(failed) && CHECK(help_err.code == rc && strstr(help_err.text, "follow") != NULL);
      } else { /* as it is, or, where nothing could be learnt, as it was: not something else */
        int seen = atoi(odd) > atoi(even) ? atoi(odd) : atoi(even);
        good = CHECK(seen == y.n || (failed && seen >= before && seen <= y.n));
      }
    }
    good = sees(&y, y.n) && good;
    if (!good) {
      printf("  step %d, call %lu (%s)%s: %s\n", step, nth, fault_call_names[fault.failed_call],
             for_ever ? " and all behind it" : "", help_err.text);
    }
  }
  if (y.writer != NULL) MUST(kv_close(y.writer, &help_err));
  CHECK_INT(help_stats(y.reader).readers, 0);
  MUST(kv_close(y.reader, &help_err));
  return good && failed;
}

static void test_following(void) {
  unsigned long told = 0;
  for (int how = 0; how < 3; how++) {
    for (int step = 0; step < STORY_STEPS; step++) {
      unsigned long nth = 1;
      while (test_following_once(step, nth, how == 1, how == 2 ? EINTR : EIO)) nth++;
      told += nth - 1;
    }
  }
  lives += told;
  CHECK(told > 60);
}

int main(void) {
  faults_install();
  fault.real.fdatasync = fault.real.fsync = no_sync; /* it is the failures that count here */
  test_lives();
  test_each_call();
  test_short_writes(false);
  test_short_writes(true);
  for (int mode = KV_SYNC_OFF; mode <= KV_SYNC_FULL; mode++) {
    test_full_in_group((kv_sync)mode, ENOSPC);
    test_full_in_group((kv_sync)mode, EIO);
  }
  test_following();
  printf("%lu lives with a fault\n", lives);
  return unit_done();
}
