/*
** test_crash.c - whatever a crash leaves of the disk, opening finds an exact prefix of the commits,
** with all that were acknowledged in it.
**
** Each scene runs the engine on a disk that records (crash_disk.h), one transaction after another,
** and notes after each what has been promised: in FULL this very commit, in NORMAL the one
** 2 * group_size before it, after a flush all. Then the disk is broken off before each event, in
** many ways each, and the log that is left is opened by the real recovery.
**
** Transaction n puts its number, puts and deletes keys that only depend on n, and marks them with
** the epoch in which it was made: the same number, tried again after a crash, has another.
*/
#include "crash_disk.h"
#include "kv_help.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMMITS_MAX 64
#define KEYS 5u
#define SECTORS_TRIED 16u
#define SEEN_SIZE (1u << 18)

static char epochs[COMMITS_MAX + 2]; /* of transaction n */
static uint64_t expected[COMMITS_MAX + 2];
static unsigned base; /* the transactions before the first that has a number */
static unsigned long states, distinct, cut, promised_more;
static uint64_t seen[SEEN_SIZE];

/* --- transactions ------------------------------------------------------------------------------- */

static size_t text_of(char *text, unsigned n, char epoch) {
  size_t size = n % 6 == 5 ? 2600 : 20 + n * 71 % 600;
  for (size_t i = 0; i < size; i++) text[i] = (char)('A' + (n + i) % 26);
  text[0] = epoch;
  return size;
}

static unsigned key_of(unsigned n) {
  return n % KEYS;
}

static bool deletes(unsigned n) {
  return n % 4 == 0;
}

static unsigned deleted_by(unsigned n) {
  return (n * 3 + 1) % KEYS;
}

static int make(kv *db, unsigned n, char epoch) {
  char key[32], text[4096];
  kv_value value = {.type = KV_TEXT};
  value.data = text;
  value.size = text_of(text, n, epoch);
  int rc = kv_begin(db, BUSY_MS, &help_err);
  if (rc != KV_OK) return rc;
  (void)snprintf(key, sizeof key, "k/%u", key_of(n));
  MUST(kv_put(db, key, strlen(key), &value, NULL, &help_err));
  (void)snprintf(key, sizeof key, "k/%u", deleted_by(n));
  if (deletes(n)) MUST(help_delete(db, key));
  MUST(help_put_number(db, "seq", (int64_t)n));
  return kv_commit(db, 0, &help_err);
}

static uint64_t mix(uint64_t hash, const void *data, size_t size) {
  const unsigned char *bytes = data;
  for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
  return hash;
}

/* What a store that has the transactions 1 to n holds, from the model alone. */
static uint64_t hash_of_model(unsigned n) {
  unsigned holder[KEYS] = {0};
  for (unsigned i = 1; i <= n; i++) {
    holder[key_of(i)] = i;
    if (deletes(i)) holder[deleted_by(i)] = 0;
  }
  uint64_t hash = 1;
  for (unsigned k = 0; k < KEYS; k++) {
    char key[32], text[4096];
    if (holder[k] == 0) continue;
    (void)snprintf(key, sizeof key, "k/%u", k);
    hash = mix(hash, key, strlen(key));
    hash = mix(hash, text, text_of(text, holder[k], epochs[holder[k]]));
  }
  return hash;
}

static uint64_t hash_of_store(kv *db) {
  kv_cursor *c;
  uint64_t hash = 1;
  MUST(kv_cursor_open(db, &c, &help_err));
  MUST(kv_cursor_first(c));
  for (; kv_cursor_valid(c); kv_cursor_next(c)) {
    size_t size;
    kv_value value;
    const char *key = kv_cursor_key(c, &size);
    kv_cursor_value(c, &value);
    if (value.type != KV_TEXT) continue; /* seq */
    hash = mix(hash, key, size);
    hash = mix(hash, value.data, value.size);
  }
  kv_cursor_close(c);
  return hash;
}

static void expect(unsigned from, unsigned to, char epoch) {
  for (unsigned n = from; n <= to; n++) epochs[n] = epoch;
  for (unsigned n = 0; n <= to; n++) expected[n] = hash_of_model(n);
}

/* --- checking a state --------------------------------------------------------------------------- */

static int nothing(int fd) {
  (void)fd;
  return 0;
}

static bool is_new(uint64_t fingerprint) {
  uint64_t at = fingerprint % SEEN_SIZE;
  while (seen[at] != 0 && seen[at] != fingerprint) at = (at + 1) % SEEN_SIZE;
  bool is = seen[at] == 0;
  seen[at] = fingerprint;
  return is;
}

static void tell(const char *scene, const crash_state *state) {
  printf("  %s: events %zu, kind %d, index %llu\n", scene, state->events, (int)state->kind,
         (unsigned long long)state->index);
}

/* Open what is left; check it; write on and check again. */
static bool check_left(uint64_t floor, unsigned last, bool go_on) {
  kv_options options = help_options("crash/log", KV_SYNC_FULL, 1, 10);
  kv *db;
  kv_error notice = {.code = KV_OK};
  if (!CHECK_INT(kv_open(&options, &db, &notice, &help_err), KV_OK)) {
    printf("  %s\n", help_err.text);
    return false;
  }
  int64_t found = help_number(db, "seq");
  uint64_t n = found < 0 ? base : (uint64_t)found;
  bool good = CHECK(n >= floor) && CHECK(n <= last) && CHECK(hash_of_store(db) == expected[n]);
  cut += notice.code != KV_OK;
  promised_more += n > floor;
  if (!good)
    printf("  found %llu, promised %llu\n", (unsigned long long)n, (unsigned long long)floor);
  if (good && go_on) {
    char before = epochs[n + 1];
    epochs[n + 1] = 'z';
    good = CHECK_INT(make(db, (unsigned)n + 1, 'z'), KV_OK);
    MUST(kv_close(db, &help_err));
    notice.code = KV_OK;
    MUST(kv_open(&options, &db, &notice, &help_err));
    good = CHECK_INT(notice.code, KV_OK) && CHECK_INT(help_number(db, "seq"), n + 1) &&
           CHECK(hash_of_store(db) == hash_of_model((unsigned)n + 1)) && good;
    epochs[n + 1] = before;
  }
  MUST(kv_close(db, &help_err));
  return good;
}

static bool try_state(const char *scene, const crash_state *state, uint64_t floor, unsigned last) {
  states++;
  crash_disk_build(state, "crash");
  if (!is_new(crash_disk_fingerprint() ^ (floor + 1) * 0x9e3779b97f4a7c15u)) return true;
  distinct++;
  bool good = check_left(floor, last, distinct % 4 == 0);
  if (!good) tell(scene, state);
  return good;
}

/* Crash before every event from one on, in every way. */
static void crash_everywhere(const char *scene, size_t from, unsigned last) {
  static const crash_kind whole[] = {CRASH_ALL, CRASH_NONE, CRASH_SIZE, CRASH_NO_NAMES};
  static const crash_kind sectors[] = {CRASH_LOSE_ONE, CRASH_KEEP_ONE, CRASH_CUT};
  unsigned long before = distinct, cuts = cut;
  memset(seen, 0, sizeof seen);
  for (size_t events = from; events <= crash_disk_events(); events++) {
    uint64_t floor = crash_disk_floor(events);
    size_t uncertain = crash_disk_uncertain(events);
    for (size_t i = 0; i < 4; i++) {
      crash_state state = {.events = events, .kind = whole[i]};
      if (!try_state(scene, &state, floor, last)) return;
    }
    for (size_t i = 0; i < 3; i++) {
      size_t step = uncertain / SECTORS_TRIED + 1;
      for (size_t s = (events + i) % step; s < uncertain; s += s < 8 && step > 1 ? 1 : step) {
        crash_state state = {.events = events, .kind = sectors[i], .index = s};
        if (!try_state(scene, &state, floor, last)) return;
      }
    }
    for (uint64_t seed = 0; uncertain > 0 && seed < 30; seed++) {
      crash_state state = {.events = events, .kind = CRASH_RANDOM, .index = events * 100 + seed};
      if (!try_state(scene, &state, floor, last)) return;
    }
  }
  printf("%-28s %4zu events, %5lu states, %5lu with a torn tail\n", scene, crash_disk_events(),
         distinct - before, cut - cuts);
}

/* --- scenes ------------------------------------------------------------------------------------- */

static void empty(const char *folder) {
  crash_state none = {.kind = CRASH_NONE};
  crash_disk_start();
  crash_disk_stop();
  crash_disk_build(&none, folder); /* of an empty disk: only removes */
}

static void end_scene(const char *scene, size_t from, unsigned last) {
  os_table real;
  crash_disk_stop();
  real = os;
  os.fsync = os.fdatasync = nothing;
  crash_everywhere(scene, from, last);
  os = real;
}

/* Commit `from` to `to`; after each, what is promised is `lag` less. */
static void commit_many(kv *db, unsigned from, unsigned to, char epoch, unsigned lag) {
  for (unsigned n = from; n <= to; n++) {
    MUST(make(db, n, epoch));
    if (n > lag) crash_disk_promise(n - lag);
  }
}

static void scene_full(void) {
  empty("live");
  expect(1, 36, 'a');
  crash_disk_start();
  kv *db = help_open_full("live/log");
  commit_many(db, 1, 24, 'a', 0);
  MUST(kv_close(db, &help_err));
  db = help_open_full("live/log");
  commit_many(db, 25, 36, 'a', 0);
  MUST(kv_close(db, &help_err));
  end_scene("full", 0, 36);
}

static void scene_normal(void) {
  empty("live");
  expect(1, 60, 'a');
  crash_disk_start();
  kv *db = help_open("live/log", KV_SYNC_NORMAL, 3, 3600000);
  commit_many(db, 1, 45, 'a', 6);
  MUST(kv_flush(db, &help_err));
  crash_disk_promise(45);
  commit_many(db, 46, 60, 'a', 6);
  MUST(kv_close(db, &help_err));
  crash_disk_promise(60);
  end_scene("normal, group_size 3", 0, 60);
}

static void scene_off(void) {
  empty("live");
  expect(1, 20, 'a');
  crash_disk_start();
  kv *db = help_open("live/log", KV_SYNC_OFF, 50, 10);
  commit_many(db, 1, 10, 'a', 20);
  MUST(kv_flush(db, &help_err));
  crash_disk_promise(10);
  commit_many(db, 11, 20, 'a', 20);
  MUST(kv_close(db, &help_err));
  end_scene("off", 0, 20);
}

/* A flush fails, the store is opened again while the machine runs on, and writes on: what has been
** read once must not be taken back when the power fails later. */
static void scene_failed_flush(kv_sync synchronous, const char *scene) {
  empty("live");
  expect(1, COMMITS_MAX, 'a');
  crash_disk_start();
  kv *db = help_open("live/log", synchronous, 2, 0);
  commit_many(db, 1, 5, 'a', 4);
  MUST(kv_flush(db, &help_err));
  crash_disk_promise(5);
  crash_disk_fail_sync(1, true, EIO);
  unsigned n = 6;
  while (n < COMMITS_MAX && make(db, n, 'a') == KV_OK) n++;
  CHECK(n <= 6 + 4 + 1);
  CHECK_INT(kv_flush(db, NULL), KV_EIO);
  crash_disk_fail_sync(0, false, 0);
  MUST(kv_close(db, &help_err));
  db = help_open_full("live/log");
  int64_t found = help_number(db, "seq");
  CHECK(found >= 5);
  crash_disk_promise((uint64_t)found); /* it can be read: FULL shows nothing that may go */
  commit_many(db, (unsigned)found + 1, (unsigned)found + 16, 'a', 0);
  MUST(kv_close(db, &help_err));
  end_scene(scene, 0, (unsigned)found + 16);
}

static void scene_failed_open(void) {
  empty("live");
  expect(1, 12, 'a');
  crash_disk_start();
  kv *db = help_open("live/log", KV_SYNC_OFF, 1, 10);
  commit_many(db, 1, 6, 'a', 20);
  MUST(kv_close(db, &help_err)); /* nothing is flushed */
  crash_disk_fail_sync(1, false, EIO);
  kv_options options = help_options("live/log", KV_SYNC_FULL, 1, 10);
  CHECK_INT(kv_open(&options, &db, NULL, &help_err), KV_EIO);
  db = help_open_full("live/log");
  CHECK_INT(help_number(db, "seq"), 6);
  crash_disk_promise(6);
  commit_many(db, 7, 12, 'a', 0);
  MUST(kv_close(db, &help_err));
  end_scene("failed flush at opening", 0, 12);
}

static void write_file(const char *path, const char *data, size_t size, bool sync_name) {
  int fd = os.open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
  if (fd < 0 || os_write_all(fd, data, size, 0) != 0 || os.fsync(fd) != 0) abort();
  if (sync_name && os_sync_folder(path) != 0) abort();
  os.close(fd);
}

static size_t read_file(const char *path, char *data, size_t room) {
  int fd = os.open(path, O_RDONLY, 0);
  ssize_t size = fd >= 0 ? os_read_all(fd, data, room, 0) : -1;
  if (size < 0 || (size_t)size == room) abort();
  os.close(fd);
  return (size_t)size;
}

/* A log of the original program is turned into ours by the first commit. */
static void scene_conversion(void) {
  char log[8192], text[4096];
  size_t size = 0;
  empty("live");
  expect(1, 8, 'a');
  for (unsigned n = 1; n <= 3; n++) { /* 1 to 3 delete nothing; their numbers are texts here */
    size += (size_t)snprintf(log + size, sizeof log - size, "WRITE\tk/%u\t", key_of(n));
    size_t text_size = text_of(text, n, 'a');
    memcpy(log + size, text, text_size);
    size += text_size;
    log[size++] = '\n';
  }
  crash_disk_start();
  write_file("live/log", log, size, true);
  crash_disk_promise(3);
  size_t written = crash_disk_events();
  kv *db = help_open_full("live/log");
  CHECK(hash_of_store(db) == expected[3]);
  commit_many(db, 4, 8, 'a', 0);
  MUST(kv_close(db, &help_err));
  base = 3;
  end_scene("conversion", written, 8);
  base = 0;
}

/* A torn tail in which a whole transaction follows one that is not; it is cut off, the same number
** is given again to one of the same size, and the power fails while the cut is not certain. */
static void scene_torn(void) {
  static char log[1 << 18];
  size_t ends[16];
  empty("live");
  crash_disk_start();
  crash_disk_stop();
  kv *db = help_open("live/log", KV_SYNC_NORMAL, 50, 3600000);
  for (unsigned n = 1; n <= 8; n++) {
    MUST(make(db, n, 'a'));
    ends[n] = (size_t)help_stats(db).log_bytes;
    if (n == 4) MUST(kv_flush(db, &help_err));
  }
  MUST(kv_close(db, &help_err));
  size_t size = read_file("live/log", log, sizeof log);
  CHECK_INT(size, ends[8]);
  memset(log + ends[4], 0, 3);
  empty("live");
  crash_disk_start();
  write_file("live/log", log, size, true);
  crash_disk_promise(4);
  size_t written = crash_disk_events();
  expect(1, 4, 'a');
  expect(5, 10, 'b');
  db = help_open_full("live/log");
  CHECK_INT(help_number(db, "seq"), 4);
  commit_many(db, 5, 10, 'b', 0);
  MUST(kv_close(db, &help_err));
  end_scene("torn tail cut off", written, 10);
}

/* The process that made the log was killed between giving it its name and flushing the folder. */
static void scene_unsynced_name(void) {
  static char log[1 << 18];
  empty("live");
  expect(1, 6, 'a');
  kv *db = help_open("live/log", KV_SYNC_OFF, 50, 10);
  MUST(make(db, 1, 'a'));
  MUST(kv_close(db, &help_err));
  size_t size = read_file("live/log", log, sizeof log);
  empty("live");
  crash_disk_start();
  write_file("live/log", log, size, false);
  size_t written = crash_disk_events();
  db = help_open_full("live/log");
  crash_disk_promise(1);
  commit_many(db, 2, 6, 'a', 0);
  MUST(kv_close(db, &help_err));
  end_scene("name not flushed", written, 6);
}

int main(void) {
  if (mkdir("live", 0755) != 0 || mkdir("crash", 0755) != 0) return 1;
  scene_full();
  scene_normal();
  scene_off();
  scene_failed_flush(KV_SYNC_FULL, "failed flush, full");
  scene_failed_flush(KV_SYNC_NORMAL, "failed flush, normal");
  scene_failed_open();
  scene_conversion();
  scene_torn();
  scene_unsynced_name();
  printf(
      "%lu states, %lu of them different, %lu with a torn tail, %lu with more than was promised\n",
      states, distinct, cut, promised_more);
  CHECK(distinct >= 3000);
  CHECK(cut >= 500);
  return unit_done();
}
