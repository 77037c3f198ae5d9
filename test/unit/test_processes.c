/*
** test_processes.c - many processes on one log, some of them killed at any moment.
**
** Every writer counts up a sum and a number of its own in each transaction, and then, in memory that
** all processes share, how many of its commits were acknowledged. Readers look at those counts before
** they open a cursor: in it the sum is that of the writers' numbers (nothing is seen by halves), none
** of these is less than what was acknowledged before (each statement sees all that was committed
** before it began, in whatever mode and process), nor less than in the statement before. In the end
** each number is what was acknowledged, or more by what the killed were not there to acknowledge.
**
** PROCESS_ROUNDS (1) is how often it is all done, PROCESS_MS (1500) how long each part takes,
** PROCESS_SEED (from the clock) where chance begins.
*/
#include "inspect.h"
#include "process_help.h"

#include <pthread.h>

#define SLOTS_MAX 10
#define THREADS_MAX 2
#define WRITERS_MAX (SLOTS_MAX * THREADS_MAX)
#define WATCHDOG_S 280
#define BIG_MAX 200000u

typedef enum role { WRITER, READER, LOOKER, CHECKPOINTER, FLUSHER } role;

typedef struct slot {
  role role;
  kv_settings settings;
  int threads;      /* of a writer */
  bool come_and_go; /* closes and opens again now and then */
  bool immortal;
} slot;

/* What parent and children share. */
typedef struct board {
  atomic_bool stop;
  atomic_long acknowledged[WRITERS_MAX]; /* commits */
  atomic_long kills[WRITERS_MAX];        /* of processes with that writer, counted before */
  atomic_long statements, checkpoints, busy, flushes, reopened;
  atomic_long torn, behind, ahead, back, failed;
} board;

typedef struct life {
  const char *path;
  const slot *slot;
  int place; /* of the slot */
  uint64_t random;
} life;

typedef struct writer {
  const life *life;
  int id;
  uint64_t random;
  pthread_t thread;
} writer;

static board *shared;

/* --- helpers ---------------------------------------------------------------------------------------- */

static bool stopping(void) {
  return atomic_load(&shared->stop);
}

static void report(const char *what, int code, const char *why) {
  if (atomic_fetch_add(&shared->failed, 1) > 20) return;
  printf("%s: %d: %s\n", what, code, why);
  fflush(stdout);
}

static kv *open_for(const life *l) {
  kv_options options = {.path = l->path, .settings = l->slot->settings};
  kv *db = NULL;
  kv_error err;
  options.readonly = l->slot->role == LOOKER;
  int rc = kv_open(&options, &db, NULL, &err);
  if (rc != KV_OK) report("kv_open", rc, err.text);
  return rc == KV_OK ? db : NULL;
}

static void close_it(kv *db) {
  kv_error err;
  int rc = kv_close(db, &err);
  if (rc != KV_OK) report("kv_close", rc, err.text);
}

/* Close and open again, now and then; false: it cannot be opened. */
static bool stay_open(kv **db, const life *l, uint64_t *random, unsigned one_in) {
  if (!l->slot->come_and_go || unit_random(random) % one_in != 0) return true;
  close_it(*db);
  *db = open_for(l);
  atomic_fetch_add(&shared->reopened, 1);
  return *db != NULL;
}

static const char *key_of(char key[32], const char *kind, int id) {
  (void)snprintf(key, 32, "%s/%d", kind, id);
  return key;
}

/* --- what must hold --------------------------------------------------------------------------------- */

/* The value a writer's big one has when its number is n. */
static size_t big_size(int id, int64_t n) {
  uint64_t random = (uint64_t)(n + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)(id + 1);
  uint64_t chance = unit_random(&random) % 100;
  return chance == 0  ? unit_random(&random) % BIG_MAX
         : chance < 5 ? unit_random(&random) % 9000
                      : 7;
}

static bool is_big_right(kv_cursor *c, int id, int64_t n) {
  char key[32];
  kv_value value;
  kv_cursor_find(c, key_of(key, "big", id), strlen(key_of(key, "big", id)));
  if (!kv_cursor_valid(c)) return n < 3;
  kv_cursor_value(c, &value);
  size_t size = big_size(id, n - n % 3);
  if (value.type != KV_BLOB || value.size != size) return false;
  for (size_t i = 0; i < size; i += 997) {
    if (value.data[i] != (char)('a' + (n - n % 3) % 26)) return false;
  }
  return true;
}

/* Look at everything in a cursor that was opened after the counts were read. */
static void look(kv_cursor *c, const long *acknowledged, int64_t *before) {
  char key[32];
  int64_t sum = cursor_number(c, "sum"), parts = 0;
  for (int id = 0; id < WRITERS_MAX; id++) {
    int64_t n = cursor_number(c, key_of(key, "by", id));
    parts += n;
    if (n < acknowledged[id]) {
      atomic_fetch_add(&shared->behind, 1);
      report("behind what was acknowledged", id, key);
    }
    if (n < before[id]) atomic_fetch_add(&shared->back, 1);
    before[id] = n;
    bool right =
        cursor_number(c, key_of(key, "twin", id)) == n && (n == 0 || is_big_right(c, id, n));
    if (!right) {
      atomic_fetch_add(&shared->torn, 1);
      report("half of a transaction", id, key);
    }
    long most = atomic_load(&shared->acknowledged[id]) + atomic_load(&shared->kills[id]) + 1;
    if (n > most) atomic_fetch_add(&shared->ahead, 1);
  }
  if (sum != parts) {
    atomic_fetch_add(&shared->torn, 1);
    report("the sum is not that of its parts", (int)(sum - parts), "");
  }
  atomic_fetch_add(&shared->statements, 1);
}

static void read_counts(long *acknowledged) {
  for (int id = 0; id < WRITERS_MAX; id++)
    acknowledged[id] = atomic_load(&shared->acknowledged[id]);
}

/* One statement of its own; the cursor may be one that is used again. */
static bool look_now(kv *db, kv_cursor **c, int64_t *before) {
  long acknowledged[WRITERS_MAX];
  kv_error err;
  read_counts(acknowledged);
  int rc = *c == NULL ? kv_cursor_open(db, c, &err) : kv_cursor_refresh(*c, &err);
  if (rc != KV_OK) {
    report("a statement", rc, err.text);
    return false;
  }
  look(*c, acknowledged, before);
  return true;
}

/* --- writers ------------------------------------------------------------------------------------------ */

static int put_big(kv *db, int id, int64_t n, kv_error *err) {
  static _Thread_local char bytes[BIG_MAX];
  char key[32];
  kv_value value = {.type = KV_BLOB};
  value.data = bytes;
  value.size = big_size(id, n);
  memset(bytes, 'a' + (int)(n % 26), value.size);
  key_of(key, "big", id);
  return kv_put(db, key, strlen(key), &value, NULL, err);
}

static int put_number(kv *db, const char *key, int64_t n, kv_error *err) {
  kv_value value = {.type = KV_INTEGER, .integer = n};
  return kv_put(db, key, strlen(key), &value, NULL, err);
}

/* Keys that come and go, with savepoints around some. */
static int change_others(kv *db, writer *w, kv_error *err) {
  char key[32];
  int rc = KV_OK;
  bool savepoint = unit_random(&w->random) % 8 == 0;
  if (savepoint) rc = kv_savepoint(db, 0, err);
  for (uint64_t i = unit_random(&w->random) % 6; rc == KV_OK && i > 0; i--) {
    (void)snprintf(key, sizeof key, "other/%u", (unsigned)(unit_random(&w->random) % 3000));
    rc = unit_random(&w->random) % 3 == 0 ? kv_delete(db, key, strlen(key), NULL, err)
                                          : put_number(db, key, w->id, err);
  }
  if (rc == KV_OK && savepoint && unit_random(&w->random) % 2 == 0) {
    rc = put_number(db, "sum", -1, err);
    kv_rollback_to(db, 0);
  }
  if (savepoint) kv_release(db, 0);
  return rc;
}

/* The transaction, which is open; *n is the writer's number then. */
static int change(kv *db, writer *w, int64_t *n, kv_error *err) {
  char key[32];
  kv_cursor *c;
  int rc = kv_cursor_open(db, &c, err);
  if (rc != KV_OK) return rc;
  int64_t sum = cursor_number(c, "sum");
  *n = cursor_number(c, key_of(key, "by", w->id)) + 1;
  if (unit_random(&w->random) % 16 == 0) {
    long acknowledged[WRITERS_MAX] = {0};
    int64_t before[WRITERS_MAX] = {0};
    look(c, acknowledged, before);
  }
  kv_cursor_close(c);
  rc = put_number(db, "sum", sum + 1, err);
  if (rc == KV_OK) rc = change_others(db, w, err);
  if (rc == KV_OK) rc = put_number(db, key_of(key, "twin", w->id), *n, err);
  if (rc == KV_OK && *n % 3 == 0) rc = put_big(db, w->id, *n, err);
  if (rc == KV_OK) rc = put_number(db, key_of(key, "by", w->id), *n, err);
  return rc;
}

static int write_once(kv *db, writer *w) {
  kv_error err;
  int64_t n;
  int rc = kv_begin(db, BUSY_MS, &err);
  if (rc == KV_OK) {
    rc = change(db, w, &n, &err);
    if (rc != KV_OK || unit_random(&w->random) % 12 == 0) {
      kv_rollback(db);
    } else {
      rc = kv_commit(db, 0, &err);
      if (rc == KV_OK) atomic_fetch_add(&shared->acknowledged[w->id], 1);
    }
  }
  if (rc != KV_OK) report("a transaction", rc, err.text);
  return rc;
}

static void *write_on(void *context) {
  writer *w = context;
  int64_t before[WRITERS_MAX] = {0};
  kv *db = open_for(w->life);
  while (db != NULL && !stopping() && write_once(db, w) == KV_OK) {
    kv_cursor *c = NULL;
    if (unit_random(&w->random) % 8 == 0) {
      if (!look_now(db, &c, before)) break;
      kv_cursor_close(c);
    }
    if (!stay_open(&db, w->life, &w->random, 50)) break;
  }
  if (db != NULL) close_it(db);
  return NULL;
}

static void be_writer(life *l) {
  writer writers[THREADS_MAX];
  for (int i = 0; i < l->slot->threads; i++) {
    writers[i] =
        (writer){.life = l, .id = l->place * THREADS_MAX + i, .random = l->random + (uint64_t)i};
    if (i > 0 && pthread_create(&writers[i].thread, NULL, write_on, &writers[i]) != 0) abort();
  }
  write_on(&writers[0]);
  for (int i = 1; i < l->slot->threads; i++) pthread_join(writers[i].thread, NULL);
}

/* --- the others ---------------------------------------------------------------------------------------- */

static void be_reader(life *l) {
  int64_t before[WRITERS_MAX] = {0};
  kv_cursor *c = NULL;
  kv *db = open_for(l);
  while (db != NULL && !stopping() && look_now(db, &c, before)) {
    if (unit_random(&l->random) % 4 == 0) {
      kv_cursor_close(c);
      c = NULL;
      if (!stay_open(&db, l, &l->random, 20)) break;
    }
    if (unit_random(&l->random) % 100 == 0) usleep((unsigned)(unit_random(&l->random) % 30000));
  }
  if (c != NULL) kv_cursor_close(c);
  if (db != NULL) close_it(db);
}

static void be_checkpointer(life *l) {
  kv_error err;
  kv *db = open_for(l);
  while (db != NULL && !stopping()) {
    int rc = kv_checkpoint(db, &err);
    if (rc != KV_OK && rc != KV_EBUSY) {
      report("kv_checkpoint", rc, err.text);
      break;
    }
    atomic_fetch_add(rc == KV_OK ? &shared->checkpoints : &shared->busy, 1);
    usleep((unsigned)(unit_random(&l->random) % 3000));
    if (!stay_open(&db, l, &l->random, 10)) break;
  }
  if (db != NULL) close_it(db);
}

static void be_flusher(life *l) {
  kv_error err;
  kv *db = open_for(l);
  while (db != NULL && !stopping()) {
    int rc = kv_flush(db, &err);
    if (rc != KV_OK) {
      report("kv_flush", rc, err.text);
      break;
    }
    atomic_fetch_add(&shared->flushes, 1);
    usleep((unsigned)(unit_random(&l->random) % 2000));
    if (!stay_open(&db, l, &l->random, 10)) break;
  }
  if (db != NULL) close_it(db);
}

static void live(void *context) {
  life *l = context;
  switch (l->slot->role) {
  case WRITER:
    be_writer(l);
    break;
  case READER:
  case LOOKER:
    be_reader(l);
    break;
  case CHECKPOINTER:
    be_checkpointer(l);
    break;
  case FLUSHER:
    be_flusher(l);
    break;
  }
}

/* --- a run ----------------------------------------------------------------------------------------------- */

typedef struct plan {
  const char *path;
  const slot *slots;
  int count;
  bool kill_all; /* in the end, instead of stopping them */
  unsigned ms;
} plan;

static uint64_t random_state;
static unsigned long kills_made, commits_made, statements_made, checkpoints_made, torn_files;

static pid_t give_birth(const plan *p, int place) {
  life l = {.path = p->path, .slot = &p->slots[place], .place = place};
  l.random = unit_random(&random_state) | 1;
  return child_start(live, &l);
}

static void kill_one(pid_t *children, int place) {
  for (int i = 0; i < THREADS_MAX; i++) {
    atomic_fetch_add(&shared->kills[place * THREADS_MAX + i], 1);
  }
  if (kill(children[place], SIGKILL) != 0) abort();
  int end = child_end(children[place]);
  if (end != 1000 + SIGKILL) CHECK_INT(end, 0);
  children[place] = 0;
  kills_made++;
}

/* Nothing but the log is there, and every line of it is whole. */
static void inspect_log(const char *path) {
  inspection *i = NULL;
  kv_error err;
  inspect_row row;
  bool more = true;
  unsigned long bad = 0;
  if (!CHECK_INT(inspect_open(path, &i, &err), KV_OK)) return;
  while (inspect_next(i, &row, &more, &err) == KV_OK && more) {
    bad += row.status != INSPECT_OK && row.status != INSPECT_HEADER;
  }
  CHECK_INT(bad, 0);
  inspect_close(i);
}

static void check_end(const plan *p) {
  kv_error notice = {.code = KV_OK};
  kv_options options = help_options(p->path, KV_SYNC_FULL, 1, 10);
  kv *db = NULL;
  MUST(kv_open(&options, &db, &notice, &help_err));
  if (notice.code != KV_OK) {
    char command[64];
    torn_files++;
    CHECK(p->kill_all);
    (void)snprintf(command, sizeof command, "rm -f %s-torn-*", p->path);
    CHECK_INT(system(command), 0);
  }
  CHECK_INT(kv_check(db, &help_err), KV_OK);
  char key[32];
  int64_t parts = 0;
  for (int id = 0; id < WRITERS_MAX; id++) {
    long acknowledged = atomic_load(&shared->acknowledged[id]);
    int64_t n = help_number(db, key_of(key, "by", id));
    if (n < 0) n = 0;
    parts += n;
    commits_made += (unsigned long)acknowledged;
    CHECK(acknowledged <= n);
    CHECK(n <= acknowledged + atomic_load(&shared->kills[id]));
  }
  CHECK_INT(help_number(db, "sum"), parts);
  MUST(kv_close(db, &help_err));
  inspect_log(p->path);
  db = open_readonly(p->path);
  CHECK_INT(help_number(db, "sum"), parts);
  MUST(kv_close(db, &help_err));
  CHECK_INT(left_over(p->path), 0);
  statements_made += (unsigned long)atomic_load(&shared->statements);
  checkpoints_made += (unsigned long)atomic_load(&shared->checkpoints);
}

static void run(const plan *p) {
  pid_t children[SLOTS_MAX];
  memset(shared, 0, sizeof *shared);
  if (unlink(p->path) != 0 && exists(p->path)) abort();
  kv *db = help_open_full(p->path); /* for those that only look it has to be there */
  MUST(commit_number(db, "sum", 0));
  MUST(kv_close(db, &help_err));
  for (int i = 0; i < p->count; i++) children[i] = give_birth(p, i);
  for (unsigned began_ms = now_ms(); now_ms() - began_ms < p->ms;) {
    usleep((unsigned)(2000 + unit_random(&random_state) % 40000));
    int place = (int)(unit_random(&random_state) % (unsigned)p->count);
    if (p->slots[place].immortal) continue;
    kill_one(children, place);
    children[place] = give_birth(p, place);
  }
  for (int i = 0; p->kill_all && i < p->count; i++) kill_one(children, i);
  atomic_store(&shared->stop, true);
  for (int i = 0; i < p->count; i++) {
    if (children[i] != 0) CHECK_INT(child_end(children[i]), 0);
  }
  CHECK_INT(atomic_load(&shared->torn), 0);
  CHECK_INT(atomic_load(&shared->behind), 0);
  CHECK_INT(atomic_load(&shared->ahead), 0);
  CHECK_INT(atomic_load(&shared->back), 0);
  CHECK_INT(atomic_load(&shared->failed), 0);
  CHECK(atomic_load(&shared->statements) > 0);
  check_end(p);
}

#define FULL_ALONE                                                                                 \
  { .synchronous = KV_SYNC_FULL, .group_size = 1, .group_timeout_ms = 10 }
#define FULL_TEN                                                                                   \
  { .synchronous = KV_SYNC_FULL, .group_size = 10, .group_timeout_ms = 3 }
#define NORMAL_TWO                                                                                 \
  { .synchronous = KV_SYNC_NORMAL, .group_size = 2, .group_timeout_ms = 1 }
#define NORMAL_FIFTY                                                                               \
  { .synchronous = KV_SYNC_NORMAL, .group_size = 50, .group_timeout_ms = 20 }
#define OFF                                                                                        \
  { .synchronous = KV_SYNC_OFF, .group_size = 1, .group_timeout_ms = 10 }
#define OFF_SMALL                                                                                  \
  { .synchronous = KV_SYNC_OFF, .auto_checkpoint = 20000 }
#define NORMAL_SMALL                                                                               \
  {                                                                                                \
    .synchronous = KV_SYNC_NORMAL, .group_size = 7, .group_timeout_ms = 5,                         \
    .auto_checkpoint = 30000                                                                       \
  }

/* In each of these somebody stays alive, if not all are killed in the end. */
static const slot common[] = {
    {.role = WRITER, .threads = 1, .settings = FULL_ALONE},
    {.role = WRITER, .threads = 1, .settings = NORMAL_FIFTY, .come_and_go = true},
    {.role = WRITER, .threads = 2, .settings = FULL_TEN},
    {.role = WRITER, .threads = 1, .settings = OFF},
    {.role = READER, .settings = NORMAL_TWO, .come_and_go = true},
    {.role = READER, .settings = FULL_ALONE, .immortal = true},
    {.role = LOOKER, .come_and_go = true},
    {.role = LOOKER, .immortal = true},
};

static const slot checkpointed[] = {
    {.role = WRITER, .threads = 2, .settings = OFF_SMALL},
    {.role = WRITER, .threads = 1, .settings = NORMAL_SMALL, .come_and_go = true},
    {.role = WRITER, .threads = 1, .settings = FULL_ALONE, .come_and_go = true},
    {.role = CHECKPOINTER, .settings = FULL_ALONE, .come_and_go = true},
    {.role = CHECKPOINTER, .settings = OFF, .immortal = true},
    {.role = FLUSHER, .settings = NORMAL_TWO, .come_and_go = true},
    {.role = READER, .settings = NORMAL_TWO, .come_and_go = true},
    {.role = LOOKER, .immortal = true},
};

/* Often nobody has it open: the first and the last of them, again and again. */
static const slot alone[] = {
    {.role = WRITER, .threads = 1, .settings = NORMAL_TWO, .come_and_go = true},
    {.role = WRITER, .threads = 1, .settings = OFF_SMALL, .come_and_go = true},
    {.role = LOOKER, .immortal = true},
    {.role = LOOKER, .come_and_go = true},
};

int main(void) {
  uint64_t rounds = number_of("PROCESS_ROUNDS", 1);
  unsigned ms = (unsigned)number_of("PROCESS_MS", 1500);
  uint64_t seed = number_of("PROCESS_SEED", now_ms());
  random_state = seed | 1;
  shared = shared_memory(sizeof *shared);
  for (uint64_t round = 0; round < rounds && unit_failed == 0; round++) {
    alarm(WATCHDOG_S);
    bool kill_all = round % 2 == 1;
    run(&(plan){.path = "common", .slots = common, .count = 8, .kill_all = kill_all, .ms = ms});
    run(&(plan){
        .path = "checkpointed", .slots = checkpointed, .count = 8, .kill_all = kill_all, .ms = ms});
    run(&(plan){.path = "alone", .slots = alone, .count = 4, .kill_all = !kill_all, .ms = ms});
  }
  printf("seed %llu: %lu commits, %lu statements, %lu kills, %lu checkpoints, %lu torn files\n",
         (unsigned long long)seed, commits_made, statements_made, kills_made, checkpoints_made,
         torn_files);
  return unit_done();
}
