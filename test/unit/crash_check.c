/* crash_check.c - the model of what is committed, and the check against it. See crash_check.h. */
#include "crash_check.h"

#include "kv_help.h"
#include "os.h"

#include <dirent.h>
#include <unistd.h>

#define KEYS 5u
#define SEEN_SIZE (1u << 18)
#define TEXT_MAX ((size_t)256 << 10)
#define AGAIN_STATES 40u /* of one second crash */

crash_model crash_model_now;
unsigned crash_made;

static char epochs[CRASH_COMMITS_MAX + 2]; /* of transaction n */
static uint64_t expected[CRASH_COMMITS_MAX + 2];
static uint64_t seen[SEEN_SIZE];

/* --- the model ---------------------------------------------------------------------------------- */

static unsigned random_of(unsigned n, unsigned what) {
  if (crash_model_now.seed == 0) return n * 71 + what * 3;
  uint64_t state = crash_model_now.seed * 0x9e3779b97f4a7c15u + n * 1009u + what + 1;
  (void)unit_random(&state);
  return (unsigned)(unit_random(&state) >> 40);
}

static size_t text_of(char *text, unsigned n, char epoch) {
  size_t large = crash_model_now.large_size > 0 ? crash_model_now.large_size : 2600;
  bool is_large = crash_model_now.large_size > 0 ? n % 3 != 2 : n % 6 == 5;
  size_t size = is_large ? large - n : 20 + random_of(n, 0) % 600;
  for (size_t i = 0; i < size; i++) text[i] = (char)('A' + (n + i + i / 997) % 26);
  text[0] = epoch;
  return size;
}

static unsigned key_of(unsigned n) {
  return crash_model_now.seed == 0 ? n % KEYS : random_of(n, 1) % KEYS;
}

static bool deletes(unsigned n) {
  return n > crash_model_now.lines && n % 4 == 0;
}

static unsigned deleted_by(unsigned n) {
  return crash_model_now.seed == 0 ? (n * 3 + 1) % KEYS : random_of(n, 2) % KEYS;
}

static bool wipes(unsigned n) {
  return crash_model_now.wipes > 0 && n > crash_model_now.lines && n % crash_model_now.wipes == 0;
}

static uint64_t mix(uint64_t hash, const void *data, size_t size) {
  const unsigned char *bytes = data;
  for (; size >= sizeof hash; size -= sizeof hash, bytes += sizeof hash) {
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
  }
  for (; size > 0; size--) hash = (hash ^ *bytes++) * 0x100000001b3u;
  return hash ^ hash >> 31;
}

static uint64_t hash_of_model(unsigned n) {
  static char text[TEXT_MAX];
  unsigned holder[KEYS] = {0};
  for (unsigned i = 1; i <= n; i++) {
    holder[key_of(i)] = i;
    if (deletes(i)) holder[deleted_by(i)] = 0;
    if (wipes(i)) memset(holder, 0, sizeof holder);
  }
  uint64_t hash = 1;
  for (unsigned k = 0; k < KEYS; k++) {
    char key[32];
    if (holder[k] == 0) continue;
    (void)snprintf(key, sizeof key, "k/%u", k);
    hash = mix(hash, key, strlen(key));
    hash = mix(hash, text, text_of(text, holder[k], epochs[holder[k]]));
  }
  int64_t seq = wipes(n) || n <= crash_model_now.lines ? -1 : (int64_t)n;
  return mix(hash, &seq, sizeof seq);
}

static uint64_t hash_of_store(kv *db) {
  kv_cursor *c;
  uint64_t hash = 1;
  int64_t seq = -1;
  MUST(kv_cursor_open(db, &c, &help_err));
  MUST(kv_cursor_first(c));
  for (; kv_cursor_valid(c); kv_cursor_next(c)) {
    size_t size;
    kv_value value;
    const char *key = kv_cursor_key(c, &size);
    kv_cursor_value(c, &value);
    if (value.type == KV_TEXT) {
      hash = mix(hash, key, size);
      hash = mix(hash, value.data, value.size);
    } else {
      seq = value.integer;
    }
  }
  kv_cursor_close(c);
  return mix(hash, &seq, sizeof seq);
}

void crash_expect_epoch(unsigned from, unsigned last, char epoch) {
  if (last > CRASH_COMMITS_MAX) abort();
  for (unsigned n = from; n <= last; n++) epochs[n] = epoch;
  for (unsigned n = from == 1 ? 0 : from; n <= last; n++) expected[n] = hash_of_model(n);
}

void crash_expect(const crash_model *model, unsigned last) {
  crash_model_now = *model;
  crash_made = 0;
  crash_expect_epoch(1, last, 'a');
}

bool crash_is_expected(kv *db, uint64_t *n) {
  *n = help_stats(db).seq;
  return CHECK(*n <= CRASH_COMMITS_MAX) && CHECK(hash_of_store(db) == expected[*n]);
}

/* --- making transactions -------------------------------------------------------------------------- */

static _Thread_local kv_error made_err;

static int put_all(kv *db, unsigned n) {
  static _Thread_local char text[TEXT_MAX];
  char key[32];
  kv_value value = {.type = KV_TEXT};
  value.data = text;
  value.size = text_of(text, n, epochs[n]);
  (void)snprintf(key, sizeof key, "k/%u", key_of(n));
  int rc = kv_put(db, key, strlen(key), &value, NULL, &made_err);
  (void)snprintf(key, sizeof key, "k/%u", deleted_by(n));
  if (rc == KV_OK && deletes(n)) rc = kv_delete(db, key, strlen(key), NULL, &made_err);
  value = (kv_value){.type = KV_INTEGER, .integer = (int64_t)n};
  if (rc == KV_OK) rc = kv_put(db, "seq", 3, &value, NULL, &made_err);
  for (unsigned k = 0; rc == KV_OK && wipes(n) && k <= KEYS; k++) {
    if (k < KEYS) (void)snprintf(key, sizeof key, "k/%u", k);
    if (k == KEYS) (void)strcpy(key, "seq");
    rc = kv_delete(db, key, strlen(key), NULL, &made_err);
  }
  return rc;
}

int crash_make(kv *db, unsigned n) {
  int rc = kv_begin(db, BUSY_MS, &made_err);
  if (rc != KV_OK) return rc;
  MUST(put_all(db, n));
  return kv_commit(db, 0, &made_err);
}

int crash_make_next(kv *db, unsigned busy_ms, unsigned *n) {
  int rc = kv_begin(db, busy_ms, &made_err);
  if (rc != KV_OK) return rc;
  *n = ++crash_made; /* guarded by the turn */
  MUST(put_all(db, *n));
  return kv_commit(db, 0, &made_err);
}

size_t crash_original_line(char *line, size_t room, unsigned n) {
  size_t size = (size_t)snprintf(line, room, "WRITE\tk/%u\t", key_of(n));
  if (room - size < 4096) abort();
  size += text_of(line + size, n, epochs[n]);
  line[size++] = '\n';
  return size;
}

/* --- checking a state --------------------------------------------------------------------------- */

static const char *const kind_names[] = {"all",      "nothing",  "sizes",    "no names",
                                         "names",    "lose one", "keep one", "lose 4 K",
                                         "keep 4 K", "cut",      "random"};

static bool is_new(uint64_t fingerprint) {
  uint64_t at = fingerprint % SEEN_SIZE;
  while (seen[at] != 0 && seen[at] != fingerprint) at = (at + 1) % SEEN_SIZE;
  bool is = seen[at] == 0;
  seen[at] = fingerprint;
  return is;
}

static bool is_there(const char *folder, const char *name) {
  char path[64];
  (void)snprintf(path, sizeof path, "%s/%s", folder, name);
  return access(path, F_OK) == 0;
}

/* After closing: the log, torn tails, nothing else. */
static bool is_tidy(const char *folder) {
  DIR *dir = opendir(folder);
  bool tidy = dir != NULL;
  for (struct dirent *e = tidy ? readdir(dir) : NULL; e != NULL; e = readdir(dir)) {
    tidy = tidy && (e->d_name[0] == '.' || strcmp(e->d_name, "log") == 0 ||
                    strncmp(e->d_name, "log-torn-", 9) == 0);
    if (!tidy) printf("  there is %s\n", e->d_name);
  }
  if (dir != NULL) closedir(dir);
  return tidy;
}

static kv *open_in(const char *folder, kv_error *notice) {
  char path[64];
  kv *db = NULL;
  (void)snprintf(path, sizeof path, "%s/log", folder);
  kv_options options = help_options(path, KV_SYNC_FULL, 1, 10);
  *notice = (kv_error){.code = KV_OK};
  if (!CHECK_INT(kv_open(&options, &db, notice, &help_err), KV_OK)) {
    printf("  %s\n", help_err.text);
  }
  return db;
}

/* A reader that may change nothing sees at least what was promised, also with a torn tail. */
static bool check_readonly(const char *folder, uint64_t floor) {
  char path[64];
  kv *db = NULL;
  uint64_t n = 0;
  (void)snprintf(path, sizeof path, "%s/log", folder);
  kv_options options = help_options(path, KV_SYNC_FULL, 1, 10);
  options.readonly = true;
  int rc = kv_open(&options, &db, NULL, &help_err);
  if (rc == KV_ECANTOPEN && !is_there(folder, "log")) return CHECK_INT(floor, 0);
  if (!CHECK_INT(rc, KV_OK)) return false;
  bool good = crash_is_expected(db, &n) && CHECK(n >= floor);
  MUST(kv_close(db, &help_err));
  return good;
}

/* Write on, in an epoch of its own, and check again. */
static bool write_on(const char *folder, kv *db, unsigned n) {
  kv_error notice;
  char epoch = epochs[n + 1];
  uint64_t hash = expected[n + 1], found = 0;
  crash_expect_epoch(n + 1, n + 1, 'z');
  bool good =
      CHECK_INT(crash_make(db, n + 1), KV_OK) && CHECK(!is_there(folder, "log-kvstore-new"));
  if (good && n % 3 == 0) good = CHECK_INT(kv_checkpoint(db, &help_err), KV_OK);
  MUST(kv_close(db, &help_err));
  good = CHECK(is_tidy(folder)) && good;
  db = good ? open_in(folder, &notice) : NULL;
  if (db != NULL) {
    good = CHECK_INT(notice.code, KV_OK) && crash_is_expected(db, &found) &&
           CHECK_INT(found, n + 1) && CHECK_INT(kv_check(db, &help_err), KV_OK);
    MUST(kv_close(db, &help_err));
  }
  epochs[n + 1] = epoch;
  expected[n + 1] = hash;
  return good && db != NULL;
}

/* Open what is left; check it; write on and check again. */
static bool check_left(const char *folder, uint64_t floor, unsigned last, bool go_on,
                       crash_counts *counts) {
  kv_error notice;
  bool had_log = is_there(folder, "log");
  kv *db = open_in(folder, &notice);
  if (db == NULL) return false;
  uint64_t n = 0;
  bool good = crash_is_expected(db, &n) && CHECK(n >= floor) && CHECK(n <= last);
  if (had_log && n > crash_model_now.lines)
    good = CHECK(!is_there(folder, "log-kvstore-new")) && good;
  counts->cut += notice.code != KV_OK;
  counts->more += n > floor;
  if (!good) {
    printf("  found %llu, promised %llu, tried %u\n", (unsigned long long)n,
           (unsigned long long)floor, last);
  }
  if (good && go_on) return write_on(folder, db, (unsigned)n);
  MUST(kv_close(db, &help_err));
  return good;
}

/* --- crashing again -------------------------------------------------------------------------------- */

static void tell(const char *scene, const crash_state *state) {
  printf("  %s: events %zu, %s %llu\n", scene, state->events, kind_names[state->kind],
         (unsigned long long)state->index);
}

static bool try_again(const char *scene, const crash_state *state, uint64_t floor, unsigned last,
                      crash_counts *counts) {
  crash_disk_build(state);
  counts->states++;
  if (!is_new(crash_disk_fingerprint() ^ (floor + 1) * 0x9e3779b97f4a7c15u)) return true;
  counts->distinct++;
  counts->again++;
  crash_disk_write(state, "again", "log");
  bool good = check_left("again", floor, last, counts->again % 8 == 0, counts);
  if (!good) tell(scene, state);
  return good;
}

/* Recover the state that was built, recording that, writing one transaction on, and crash in it. */
static bool crash_again(const char *scene, uint64_t floor, unsigned last, crash_counts *counts) {
  static const crash_kind whole[] = {CRASH_ALL, CRASH_NONE, CRASH_SIZE, CRASH_NO_NAMES};
  kv_error notice;
  crash_disk_nest();
  crash_disk_promise(floor);
  size_t first = crash_disk_events();
  kv *db = open_in("crash", &notice);
  bool good = db != NULL;
  uint64_t n = 0;
  if (good) good = crash_is_expected(db, &n) && CHECK(n >= floor) && CHECK(n <= last);
  char epoch = epochs[n + 1];
  uint64_t hash = expected[n + 1];
  if (good) {
    crash_disk_promise(n); /* it was served */
    crash_expect_epoch((unsigned)n + 1, (unsigned)n + 1, 'y');
    good = CHECK_INT(crash_make(db, (unsigned)n + 1), KV_OK);
    crash_disk_promise(n + 1);
    MUST(kv_close(db, &help_err));
  }
  crash_disk_stop();
  size_t events = crash_disk_events();
  for (unsigned i = 0; good && i < AGAIN_STATES; i++) {
    size_t at = first + (events - first + 1) * i / AGAIN_STATES;
    size_t uncertain = crash_disk_uncertain(at);
    crash_state state = {.events = at, .kind = whole[i % 4]};
    good = try_again(scene, &state, crash_disk_floor(at), (unsigned)n + 1, counts);
    if (!good || uncertain == 0) continue;
    state.kind = i % 3 == 0 ? CRASH_LOSE_ONE : i % 3 == 1 ? CRASH_CUT : CRASH_RANDOM;
    state.index = i % 3 == 2 ? i : i * 7 % uncertain;
    good = try_again(scene, &state, crash_disk_floor(at), (unsigned)n + 1, counts);
  }
  crash_disk_unnest();
  epochs[n + 1] = epoch;
  expected[n + 1] = hash;
  return good;
}

/* --- everywhere ----------------------------------------------------------------------------------- */

static bool try_state(const char *scene, const crash_state *state, uint64_t floor, unsigned last,
                      const crash_effort *effort, crash_counts *counts) {
  counts->states++;
  crash_disk_build(state);
  if (!is_new(crash_disk_fingerprint() ^ (floor + 1) * 0x9e3779b97f4a7c15u)) return true;
  unsigned long number = ++counts->distinct;
  crash_disk_write(state, "crash", "log");
  counts->drafts += is_there("crash", "log-kvstore-new");
  bool good = true;
  if (number % 5 == 0) good = check_readonly("crash", floor);
  if (good && effort->nested_every > 0 && number % effort->nested_every == 0) {
    good = crash_again(scene, floor, last, counts);
    if (!good) printf("  a second crash, after\n");
  } else if (good) {
    good = check_left("crash", floor, last, number % 4 == 0, counts);
  }
  if (!good) tell(scene, state);
  return good;
}

static bool try_sectors(const char *scene, size_t events, uint64_t floor, unsigned last,
                        const crash_effort *effort, crash_counts *counts) {
  static const crash_kind kinds[] = {CRASH_LOSE_ONE, CRASH_KEEP_ONE, CRASH_CUT, CRASH_LOSE_BLOCK,
                                     CRASH_KEEP_BLOCK};
  size_t uncertain = crash_disk_uncertain(events);
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    size_t step = uncertain / effort->sectors + 1;
    if (i >= 3 && uncertain < 8) continue; /* most are one block then */
    for (size_t s = (events + i) % step; s < uncertain; s += s < 4 && step > 1 ? 1 : step) {
      crash_state state = {.events = events, .kind = kinds[i], .index = s};
      if (!try_state(scene, &state, floor, last, effort, counts)) return false;
    }
  }
  return true;
}

bool crash_everywhere(const char *scene, size_t from, unsigned last, const crash_effort *effort,
                      crash_counts *counts) {
  static const crash_kind whole[] = {CRASH_ALL, CRASH_NONE, CRASH_SIZE, CRASH_NO_NAMES};
  memset(seen, 0, sizeof seen);
  counts->events += crash_disk_events();
  bool good = true;
  for (size_t at = from; good && at <= crash_disk_events(); at += effort->event_step) {
    uint64_t floor = crash_disk_floor(at);
    for (size_t i = 0; good && i < 4; i++) {
      crash_state state = {.events = at, .kind = whole[i]};
      good = try_state(scene, &state, floor, last, effort, counts);
    }
    for (size_t i = 0, names = crash_disk_uncertain_names(at); good && i < names; i++) {
      crash_state state = {.events = at, .kind = CRASH_NAMES, .index = i};
      good = try_state(scene, &state, floor, last, effort, counts);
    }
    if (good) good = try_sectors(scene, at, floor, last, effort, counts);
    bool any = crash_disk_uncertain(at) > 0 || crash_disk_uncertain_names(at) > 0;
    for (unsigned seed = 0; good && any && seed < effort->random; seed++) {
      crash_state state = {.events = at, .kind = CRASH_RANDOM, .index = at * 100 + seed};
      good = try_state(scene, &state, floor, last, effort, counts);
    }
  }
  return good;
}
