/*
** test_checkpoint.c - a checkpoint while others commit, close, run out of memory or of disk: whatever
** happens in it, the log has everything afterwards, and a checkpoint that fails leaves no draft.
**
** What others do meanwhile is done in the draft's flushes, while the checkpoint has neither the turn nor
** a lock, by another handle of the same thread.
*/
#include "checkpoint.h"
#include "fault_table.h"
#include "process_help.h"
#include "short_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#define DRAFT "log-kvstore-new"
#define MB ((size_t)1 << 20)

static kv *db;
static store *own; /* the same one */
static int (*next_fdatasync)(int fd);
static int draft_syncs;
static void (*meanwhile)(void); /* in the draft's next flush */
static int meanwhile_at;        /* the number of that flush, from 1; 0: every one */

static bool says(const char *what) {
  bool does = strstr(help_err.text, what) != NULL;
  if (!does) printf("  it says: %s\n", help_err.text);
  return does;
}

/* --- a store, and others that use it -------------------------------------------------------------------- */

static bool is_draft(int fd) {
  struct stat facts, named;
  return fstat(fd, &facts) == 0 && stat(DRAFT, &named) == 0 && facts.st_ino == named.st_ino;
}

/* Faults and refusals are for the checkpoint; the others have none. */
static int sync_meanwhile(int fd) {
  if (is_draft(fd) && (++draft_syncs == meanwhile_at || meanwhile_at == 0) && meanwhile != NULL) {
    unsigned long left = atomic_exchange(&fault.left, 0);
    long memory_left = calls_left;
    calls_left = -1;
    meanwhile();
    calls_left = memory_left;
    atomic_store(&fault.left, left);
  }
  return next_fdatasync(fd);
}

static void commit_text(const char *key, char fill, size_t size) {
  char *text = malloc(size + 1);
  if (text == NULL) abort();
  memset(text, fill, size);
  text[size] = '\0';
  MUST(help_commit_put(db, key, text));
  free(text);
}

static const kv_waiting waiting = {.timeout_ms = NULL}; /* a minute */

static void start(void) {
  (void)unlink("log");
  db = help_open("log", KV_SYNC_FULL, 1, 0);
  MUST(store_acquire("log", NULL, false, false, &waiting, &own, NULL, &help_err));
  meanwhile = NULL;
  meanwhile_at = 1;
  draft_syncs = 0;
}

static void stop(void) {
  MUST(store_release(own, &help_err));
  MUST(kv_close(db, &help_err));
}

/* All keypaths and values in one number. */
static uint64_t digest(void) {
  kv_cursor *c = NULL;
  uint64_t sum = 14695981039346656037u;
  MUST(kv_cursor_open(db, &c, &help_err));
  for (int rc = kv_cursor_first(c); kv_cursor_valid(c); rc = kv_cursor_next(c)) {
    kv_value value;
    size_t size;
    if (rc != KV_OK) abort();
    const char *key = kv_cursor_key(c, &size);
    kv_cursor_value(c, &value);
    for (size_t i = 0; i <= size; i++) sum = (sum ^ (unsigned char)key[i]) * 1099511628211u;
    if (value.type == KV_INTEGER) sum += (uint64_t)value.integer;
    for (size_t i = 0; value.type == KV_TEXT && i < value.size; i++) {
      sum = (sum ^ (unsigned char)value.data[i]) * 1099511628211u;
    }
  }
  kv_cursor_close(c);
  return sum;
}

/* Close, open again: everything is there that was. */
static void stop_and_compare(void) {
  uint64_t sum = digest(), seq = help_stats(db).seq, keys = help_stats(db).keys;
  CHECK_INT(help_stats(db).readers, 0);
  stop();
  CHECK_INT(left_over("log"), 0);
  db = help_open_full("log");
  CHECK_INT(digest(), sum);
  CHECK_INT(help_stats(db).seq, seq);
  CHECK_INT(help_stats(db).keys, keys);
  CHECK_INT(kv_check(db, &help_err), KV_OK);
  MUST(kv_close(db, &help_err));
}

static int checkpoint(void) {
  struct stat before, after;
  if (stat("log", &before) != 0) abort();
  uint64_t checkpoints = help_stats(db).checkpoints;
  draft_syncs = 0;
  help_err.code = KV_OK;
  int rc = checkpoint_run(own, &waiting, &help_err);
  if (stat("log", &after) != 0) abort();
  CHECK((rc == KV_OK) == (before.st_ino != after.st_ino));
  CHECK_INT(help_stats(db).checkpoints, checkpoints + (rc == KV_OK));
  CHECK(rc == KV_OK || (help_err.code == rc && help_err.text[0] != '\0'));
  CHECK(!exists(DRAFT));
  return rc;
}

/* --- others commit meanwhile ------------------------------------------------------------------------------ */

/* A transaction that is copied in several parts, and small ones. */
static void commit_much(void) {
  commit_text("large", 'l', 600000);
  commit_text("small", 's', 10);
  MUST(help_commit_put(db, "a", "newer"));
}

static void test_copying(void) {
  start();
  commit_text("a", 'a', 100);
  meanwhile = commit_much;
  CHECK_INT(checkpoint(), KV_OK);
  CHECK_STR(help_get(db, "a"), "newer");
  CHECK_INT(help_stats(db).seq, 4);
  stop_and_compare();
}

/* Each call of it fails: it is told, everybody goes on, and the next one works. */
static void test_copying_with_faults(void) {
  unsigned long nth = 1;
  for (bool done = false; !done; nth++) {
    start();
    commit_text("a", 'a', 100);
    meanwhile = commit_much;
    struct stat before, after;
    if (stat("log", &before) != 0) abort();
    fail_call(CALL_ANY, nth, false, EIO);
    int rc = checkpoint_run(own, &waiting, &help_err);
    done = fault.failed == 0;
    fail_nothing();
    CHECK(done ? rc == KV_OK : rc == KV_OK || (help_err.code == rc && help_err.text[0] != '\0'));
    if (stat("log", &after) != 0) abort();
    meanwhile = NULL;
    if (rc != KV_OK && before.st_ino != after.st_ino) { /* only its name may not be durable */
      CHECK_INT(checkpoint(), KV_EREADONLY);
    } else {
      if (help_stats(db).seq == 1) commit_much(); /* it had not come so far */
      CHECK_INT(checkpoint(), KV_OK);
    }
    CHECK_INT(help_stats(db).seq, 4);
    CHECK_STR(help_get(db, "a"), "newer");
    stop_and_compare();
  }
  CHECK(nth > 20);
}

/* Somebody writes faster than it copies: it does not go on like that for ever. */
static int rounds;

static void commit_more(void) {
  commit_text("more", (char)('a' + ++rounds % 26), 70000);
}

static void test_copying_for_long(void) {
  start();
  commit_text("a", 'a', 100);
  meanwhile = commit_more;
  meanwhile_at = 0;
  rounds = 0;
  CHECK_INT(checkpoint(), KV_OK);
  CHECK(rounds > 5 && rounds < 100);
  CHECK_INT(help_stats(db).seq, 1 + (uint64_t)rounds);
  stop_and_compare();
}

/* What was appended cannot be read as it was written: the log stays as it is. */
static void commit_and_damage(void) {
  struct stat facts;
  MUST(help_commit_put(db, "b", "2"));
  int fd = open("log", O_RDWR);
  if (fd < 0 || fstat(fd, &facts) != 0) abort();
  uint64_t at = own->queue.log.end - 12; /* in its COMMIT line */
  char byte;
  if (pread(fd, &byte, 1, (off_t)at) != 1) abort();
  byte ^= 1;
  if (pwrite(fd, &byte, 1, (off_t)at) != 1 || close(fd) != 0) abort();
}

static void test_copying_damage(void) {
  start();
  MUST(help_commit_put(db, "a", "1"));
  meanwhile = commit_and_damage;
  CHECK_INT(checkpoint(), KV_EIO);
  CHECK(says("does not verify"));
  meanwhile = NULL;
  CHECK_STR(help_all(db), "a=1 b=2");
  CHECK_INT(checkpoint(), KV_OK); /* which needs nothing of what was appended before it */
  stop_and_compare();
}

/* The log has become shorter: what a call said of another error does not count. */
static size_t copied_size; /* of the transaction that is copied, without its checksum */

static ssize_t shorter_pread(int fd, void *data, size_t size, off_t offset) {
  ssize_t got = fault.real.pread(fd, data, size, offset);
  errno = ENOSPC; /* of an earlier call */
  return size == copied_size ? 0 : got;
}

static void commit_to_copy(void) {
  uint64_t before = own->queue.log.end;
  MUST(help_commit_put(db, "b", "2"));
  copied_size = (size_t)(own->queue.log.end - before) - LOG_COMMIT_END_SIZE;
}

static void test_log_becomes_shorter(void) {
  start();
  MUST(help_commit_put(db, "a", "1"));
  meanwhile = commit_to_copy;
  os.pread = shorter_pread;
  CHECK_INT(checkpoint(), KV_EIO);
  os.pread = fault.real.pread;
  meanwhile = NULL;
  CHECK(says("read of '") && says("Input/output error"));
  CHECK_INT(checkpoint(), KV_OK);
  stop_and_compare();
}

/* --- much is in the log ------------------------------------------------------------------------------------ */

/* A snapshot of several megabytes is flushed bit by bit. */
static void test_large_snapshot(void) {
  start();
  for (int i = 0; i < 10; i++) {
    char key[2] = {(char)('a' + i), '\0'};
    commit_text(key, (char)('a' + i), MB);
  }
  CHECK_INT(checkpoint(), KV_OK);
  CHECK(draft_syncs >= 4); /* two more than a small one */
  fail_call(CALL_FDATASYNC, 1, false, EIO);
  CHECK_INT(checkpoint(), KV_EIO);
  fail_nothing();
  stop_and_compare();
}

/* --- memory ends ---------------------------------------------------------------------------------------------- */

/* Every allocation of it is refused, and all behind that one. */
static void refuse_each(void (*what)(void), void (*prepare)(void)) {
  long n = 0;
  for (int rc = KV_ENOMEM; rc == KV_ENOMEM; n++) {
    start();
    prepare();
    meanwhile = what;
    calls_left = n;
    rc = checkpoint_run(own, &waiting, &help_err);
    calls_left = -1;
    CHECK(rc == KV_OK || rc == KV_ENOMEM);
    CHECK(rc == KV_OK || strstr(help_err.text, "out of memory") != NULL);
    if (what != NULL && draft_syncs == 0) what();
    CHECK_INT(checkpoint(), KV_OK);
    stop_and_compare();
  }
  CHECK(n > 2);
}

static size_t text_size;

static void prepare_nothing(void) {
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_begin(db, BUSY_MS, &help_err));
  MUST(help_delete(db, "a"));
  MUST(kv_commit(db, 0, &help_err));
}

/* Short lines, for which little more is reserved than they need. */
static void prepare_rows(void) {
  char key[32];
  MUST(kv_begin(db, BUSY_MS, &help_err));
  for (size_t i = 0; i < text_size; i++) {
    (void)snprintf(key, sizeof key, "k%02zu", i);
    MUST(help_put_number(db, key, 1));
  }
  MUST(kv_commit(db, 0, &help_err));
}

/* So deep that a cursor has no room of its own for the path. */
static void prepare_deep(void) {
  char deep[2 * 400];
  for (size_t i = 0; i < sizeof deep; i++) deep[i] = i % 2 ? '/' : 'd';
  MUST(kv_begin(db, BUSY_MS, &help_err));
  for (size_t size = 1; size < sizeof deep; size += 2) {
    MUST(kv_put(db, deep, size, &(kv_value){.type = KV_NULL}, NULL, &help_err));
  }
  MUST(kv_commit(db, 0, &help_err));
}

/* A path on which even the first leaf is deep down. */
static void prepare_steps(void) {
  MUST(kv_begin(db, BUSY_MS, &help_err));
  char key[200];
  memset(key, 'a', sizeof key);
  for (size_t size = 10; size < sizeof key; size++) {
    key[size] = 'b';
    MUST(kv_put(db, key, size + 1, &(kv_value){.type = KV_NULL}, NULL, &help_err));
    key[size] = 'a';
  }
  MUST(kv_commit(db, 0, &help_err));
}

static void commit_text_again(void) {
  commit_text("a", 'b', text_size);
}

static void test_memory(void) {
  refuse_each(NULL, prepare_nothing);
  refuse_each(NULL, prepare_deep);
  refuse_each(NULL, prepare_steps);
  /* wherever a line ends in the buffer, which has 256 bytes at first */
  for (text_size = 5; text_size < 14; text_size++) refuse_each(NULL, prepare_rows);
  for (text_size = 224; text_size < 240; text_size++) {
    refuse_each(commit_text_again, prepare_nothing);
  }
}

/* Readers have every place that there is for them without another allocation. */
static void test_memory_for_pin(void) {
  kv_cursor *cursors[64];
  start();
  MUST(help_commit_put(db, "a", "1"));
  for (size_t i = 0; i < 64; i++) MUST(kv_cursor_open(db, &cursors[i], &help_err));
  calls_left = 0;
  CHECK_INT(checkpoint_run(own, &waiting, &help_err), KV_ENOMEM);
  calls_left = -1;
  for (size_t i = 0; i < 64; i++) kv_cursor_close(cursors[i]);
  CHECK_INT(checkpoint(), KV_OK);
  stop_and_compare();
}

/* --- it has to stop ---------------------------------------------------------------------------------------------- */

static void closes(void) {
  atomic_store(&own->checkpointer.stop, true);
}

/* Whoever closes the store does not wait for its end. */
static void test_closing(void) {
  start();
  MUST(help_commit_put(db, "a", "1"));
  closes();
  CHECK_INT(checkpoint(), KV_EBUSY);
  CHECK(says("is being closed"));
  atomic_store(&own->checkpointer.stop, false);
  commit_text("b", 'b', 5 * MB);
  meanwhile = closes; /* within the snapshot */
  CHECK_INT(checkpoint(), KV_EBUSY);
  CHECK(says("is being closed"));
  CHECK_INT(draft_syncs, 1);
  atomic_store(&own->checkpointer.stop, false);
  meanwhile = NULL;
  CHECK_INT(checkpoint(), KV_OK);
  stop_and_compare();
}

/* A clock that runs while it is looked at, and has not yet come to any moment that is waited for. */
static uint64_t looked;

static uint64_t looked_at_ns(void) {
  return 50000000u * ++looked;
}

static void test_no_turn(void) {
  start();
  MUST(help_commit_put(db, "a", "1"));
  kv *other = help_open_full("log");
  MUST(kv_begin(other, BUSY_MS, &help_err));
  uint64_t (*now_ns)(void) = os.now_ns;
  os.now_ns = looked_at_ns;
  CHECK_INT(checkpoint_run(own, &waiting, &help_err), KV_EBUSY);
  os.now_ns = now_ns;
  CHECK(looked > 1200); /* a minute */
  CHECK(says("another writer has the turn"));
  kv_rollback(other);
  MUST(kv_close(other, &help_err));
  CHECK_INT(checkpoint(), KV_OK);
  stop_and_compare();
}

/* A commit has left its lines to who has the turn next, and that is the checkpoint: it has to write them,
** and cannot. */
static void *checkpoint_main(void *context) {
  int *rc = context;
  kv_error err;
  *rc = checkpoint_run(own, &waiting, &err);
  if (*rc != KV_OK) CHECK(strstr(err.text, "No space left on device") != NULL);
  return NULL;
}

static void test_lines_not_written(void) {
  pthread_t thread;
  int rc = KV_OK;
  start();
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_begin(db, BUSY_MS, &help_err));
  MUST(help_put(db, "b", "2"));
  if (pthread_create(&thread, NULL, checkpoint_main, &rc) != 0) abort();
  for (bool waits = false; !waits; usleep(1000)) {
    pthread_mutex_lock(&own->turn.lock);
    waits = own->turn.first != NULL;
    pthread_mutex_unlock(&own->turn.lock);
  }
  fail_call(CALL_PWRITE, 1, true, ENOSPC);
  int committed = kv_commit(db, KV_NO_WAIT, &help_err); /* it may hear of it already */
  CHECK(committed == KV_OK || committed == KV_EFULL);
  pthread_join(thread, NULL);
  fail_nothing();
  CHECK_INT(rc, KV_EFULL);
  CHECK_STR(help_all(db), "a=1");
  MUST(help_commit_put(db, "c", "3"));
  MUST(kv_begin(db, BUSY_MS, &help_err));
  MUST(help_delete(db, "c"));
  MUST(kv_commit(db, 0, &help_err));
  stop();
  db = help_open_full("log");
  CHECK_STR(help_all(db), "a=1");
  MUST(kv_close(db, &help_err));
  CHECK_INT(left_over("log"), 0);
}

/* A checkpoint that should start by itself and cannot is tried again with a later commit. */
static void test_no_thread(void) {
  start();
  kv_settings settings = {.synchronous = KV_SYNC_OFF, .group_size = 1, .auto_checkpoint = 1000};
  fail_threads(true);
  kv_set_settings(db, &settings);
  for (int i = 0; i < 20; i++) commit_text("a", 'a', 1000);
  CHECK(!own->checkpointer.started && !atomic_load(&own->checkpointer.busy));
  CHECK_INT(help_stats(db).checkpoints, 0);
  fail_threads(false);
  commit_text("a", 'b', 1000);
  CHECK(own->checkpointer.started);
  while (own->checkpointer.started && atomic_load(&own->checkpointer.busy)) usleep(1000);
  CHECK_INT(help_stats(db).checkpoints, 1);
  stop_and_compare();
}

/* --- another file gets the name --------------------------------------------------------------------------- */

static void replaces(void) {
  meanwhile = NULL;
  if (rename("log", "aside") != 0) abort();
  write_file("log", "a letter", 8);
}

static void removes(void) {
  meanwhile = NULL;
  if (rename("log", "aside") != 0) abort();
}

/* While the checkpoint writes, another program puts a file in the log's place, or takes the log away: what
** is there stays, and the log goes on where it is. */
static void test_replaced_meanwhile(void) {
  start();
  commit_text("a", 'a', 5 * MB);
  meanwhile = replaces;
  draft_syncs = 0;
  CHECK_INT(checkpoint_run(own, &waiting, &help_err), KV_EMOVED);
  CHECK(says("log' was replaced by another file"));
  size_t size;
  char *bytes = bytes_of("log", &size);
  CHECK_BYTES(bytes, size, "a letter", 8);
  free(bytes);
  CHECK(access(DRAFT, F_OK) != 0);
  if (rename("aside", "log") != 0) abort();
  meanwhile = removes;
  draft_syncs = 0;
  CHECK_INT(checkpoint_run(own, &waiting, &help_err), KV_EMOVED);
  CHECK(access("log", F_OK) != 0 && access(DRAFT, F_OK) != 0);
  if (rename("aside", "log") != 0) abort();
  MUST(help_commit_put(db, "b", "1"));
  CHECK_INT(checkpoint(), KV_OK);
  stop_and_compare();
}

/* --- the old file's space ------------------------------------------------------------------------------------------ */

/* What the old file has on the disk, or had when the checkpoint was done with it. */
static off_t old_size(bool linked, bool locked) {
  struct stat facts;
  start();
  for (int i = 0; i < 14; i++) commit_text("a", (char)('a' + i), MB);
  int fd = open("log", O_RDONLY);
  if (fd < 0 || (linked && link("log", "another name") != 0)) abort();
  if (locked && fault.real.lock(fd, true, 0, 0) != 0) abort();
  MUST(checkpoint_run(own, &waiting, &help_err));
  if (fstat(fd, &facts) != 0) abort();
  close(fd);
  if (linked && unlink("another name") != 0) abort();
  stop_and_compare();
  return facts.st_size;
}

static int truncates; /* of an old file, that have still to work */

static int some_ftruncate(int fd, off_t size) {
  struct stat facts;
  if (fstat(fd, &facts) != 0) abort();
  if (facts.st_nlink > 0) return fault.real.ftruncate(fd, size);
  if (truncates-- == 0) closes();
  if (truncates < -1) {
    errno = EIO;
    return -1;
  }
  return fault.real.ftruncate(fd, size);
}

static void test_old_file(void) {
  off_t whole = 14 * (off_t)MB;
  os.ftruncate = some_ftruncate;
  truncates = 1000;
  CHECK(old_size(false, false) < whole / 3);
  CHECK_INT(truncates, 1000 - 3);
  CHECK(old_size(true, false) > whole); /* it lives on under another name */
  CHECK(old_size(false, true) > whole); /* somebody reads it */
  truncates = -2;
  CHECK(old_size(false, false) > whole); /* it cannot be */
  truncates = 0;
  off_t once = old_size(false, false); /* the store is being closed */
  CHECK(once < whole && once > whole / 2);
  os.ftruncate = fault.real.ftruncate;
}

static int no_sync(int fd) {
  (void)fd;
  return 0;
}

int main(void) {
  faults_install();
  fault.real.fdatasync = fault.real.fsync = no_sync;
  next_fdatasync = os.fdatasync;
  os.fdatasync = sync_meanwhile;
  os.malloc = short_malloc;
  os.realloc = short_realloc;
  os.free = counted_free;
  test_copying();
  test_copying_with_faults();
  test_copying_for_long();
  test_copying_damage();
  test_log_becomes_shorter();
  test_large_snapshot();
  test_memory();
  test_memory_for_pin();
  test_closing();
  test_no_turn();
  test_lines_not_written();
  test_no_thread();
  test_replaced_meanwhile();
  test_old_file();
  return unit_done();
}
