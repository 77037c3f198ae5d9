/*
** test_sql_history.c - what threads of many processes do to one log through SQL is as if they had done
** it one after another, in the order of the log, and each at some moment between its beginning and its
** end: strict serializability, checked over recorded histories.
**
** Every transaction that writes puts an id of its own under `last`. So the log tells the order of all
** commits, and the `last` that a statement sees tells behind which of them it stands. For each
** operation the checker demands: what it saw is exactly what the log holds up to there; nobody stands
** before what had ended before it began; a transaction that was acknowledged is in the log once, one
** that was rolled back or refused never. Since the order is known, this takes a sort and no search.
** (The conditions are those of Herlihy and Wing's linearizability, with transactions as operations.)
**
** HISTORY_ROUNDS (1) is how often it is done, HISTORY_MS (700) how long each part takes, HISTORY_SEED
** (from the clock) where chance begins.
*/
#include "inspect.h"
#include "process_help.h"

#include <pthread.h>
#include <sqlite3.h>

#define LOG "history"
#define KEYS 10 /* k/0 to k/8, and last */
#define LAST (KEYS - 1)
#define PROCESSES 4
#define THREADS 2
#define WORKERS (PROCESSES * THREADS)
#define WATCHDOG_S 150       /* for what comes to an end unless somebody waits in vain */
#define OPERATIONS_MAX 60000 /* of a worker */

int sqlite3_kvstore_init(sqlite3 *connection, char **message, const sqlite3_api_routines *api);

typedef enum kind { LOOK, LOOK_AT_LAST, PUT, REMOVE, READ_AND_PUT, GIVE_UP, KINDS } kind;

typedef struct operation {
  int64_t id;
  uint64_t began_ns, ended_ns;
  kind kind;
  bool done;          /* acknowledged */
  int64_t seen[KEYS]; /* ids; 0: no such key, -1: not looked at */
  uint64_t seq;       /* the checker's: where it stands in the order of the log; 0: nowhere */
  unsigned times;     /* the checker's: how often it is in the log */
} operation;

typedef struct history {
  atomic_int ready;
  atomic_bool stop;
  atomic_int count[WORKERS];
  operation operations[WORKERS][OPERATIONS_MAX];
} history;

typedef struct worker {
  int number;
  const char *settings;
  uint64_t random;
  sqlite3 *db;
  sqlite3_stmt *look, *look_at_last, *put, *remove, *begin, *commit, *rollback;
} worker;

static history *shared;
static uint64_t random_state;
static unsigned long operations_checked, commits_checked, anomalies;

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* --- an operation ------------------------------------------------------------------------------------- */

static int64_t id_of(int number, int n) {
  return (int64_t)(number + 1) << 32 | n;
}

static operation *operation_of(int64_t id) {
  int64_t number = (id >> 32) - 1, n = id & 0xffffffff;
  if (number < 0 || number >= WORKERS || n >= atomic_load(&shared->count[number])) return NULL;
  return &shared->operations[number][n];
}

static int key_number(const char *key, size_t size) {
  if (size == 4 && memcmp(key, "last", 4) == 0) return LAST;
  return size == 3 && memcmp(key, "k/", 2) == 0 && key[2] < '0' + LAST ? key[2] - '0' : -1;
}

static int see(sqlite3_stmt *query, operation *o) {
  int rc;
  while ((rc = sqlite3_step(query)) == SQLITE_ROW) {
    int key = key_number((const char *)sqlite3_column_text(query, 0),
                         (size_t)sqlite3_column_bytes(query, 0));
    if (key < 0) abort();
    o->seen[key] = sqlite3_column_int64(query, 1);
  }
  (void)sqlite3_reset(query);
  return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int see_all(worker *w, operation *o) {
  for (int i = 0; i < KEYS; i++) o->seen[i] = 0;
  return see(w->look, o);
}

static int execute(sqlite3_stmt *statement) {
  int rc = sqlite3_step(statement);
  (void)sqlite3_reset(statement);
  return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int put(worker *w, int key, int64_t id) {
  char text[8];
  (void)snprintf(text, sizeof text, key == LAST ? "last" : "k/%d", key);
  sqlite3_bind_text(w->put, 1, text, -1, SQLITE_TRANSIENT);
  sqlite3_bind_int64(w->put, 2, id);
  return execute(w->put);
}

static int remove_key(worker *w, int key) {
  char text[8];
  (void)snprintf(text, sizeof text, "k/%d", key);
  sqlite3_bind_text(w->remove, 1, text, -1, SQLITE_TRANSIENT);
  return execute(w->remove);
}

/* `last` first, which takes the writer's turn: what is read behind it is read in place. */
static int change(worker *w, operation *o) {
  int key = (int)(unit_random(&w->random) % LAST);
  int rc = put(w, LAST, o->id);
  if (rc == SQLITE_OK && o->kind == READ_AND_PUT) rc = see_all(w, o);
  if (rc == SQLITE_OK) rc = o->kind == REMOVE ? remove_key(w, key) : put(w, key, o->id);
  if (rc == SQLITE_OK && o->kind == PUT) rc = put(w, (key + 1) % LAST, o->id);
  return rc;
}

static int transact(worker *w, operation *o) {
  int rc = execute(w->begin);
  if (rc == SQLITE_OK) rc = change(w, o);
  if (rc == SQLITE_OK && o->kind != GIVE_UP) rc = execute(w->commit);
  if (!sqlite3_get_autocommit(w->db)) {
    int back = execute(w->rollback);
    if (back != SQLITE_OK) return back;
    if (rc == SQLITE_OK && o->kind != GIVE_UP) abort();
  }
  return rc;
}

/* Do one; false: it cannot go on. */
static bool operate(worker *w, int n) {
  operation *o = &shared->operations[w->number][n];
  int rc;
  o->id = id_of(w->number, n);
  o->kind = (kind)(unit_random(&w->random) % KINDS);
  for (int i = 0; i < KEYS; i++) o->seen[i] = -1;
  o->began_ns = now_ns();
  /* The others find it here before they can see what it writes. */
  atomic_store(&shared->count[w->number], n + 1);
  if (o->kind == LOOK) {
    rc = see_all(w, o);
  } else if (o->kind == LOOK_AT_LAST) {
    o->seen[LAST] = 0;
    rc = see(w->look_at_last, o);
  } else {
    rc = transact(w, o);
  }
  o->ended_ns = now_ns();
  o->done = rc == SQLITE_OK && o->kind != GIVE_UP;
  if (rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY) return true;
  printf("worker %d: %d: %s\n", w->number, rc, sqlite3_errmsg(w->db));
  unit_failed++;
  return false;
}

/* --- workers ------------------------------------------------------------------------------------------- */

static sqlite3_stmt *prepare(worker *w, const char *sql) {
  sqlite3_stmt *statement = NULL;
  if (sqlite3_prepare_v3(w->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != 0) {
    printf("%s: %s\n", sql, sqlite3_errmsg(w->db));
    abort();
  }
  return statement;
}

static void *work(void *context) {
  worker *w = context;
  char *message = NULL;
  if (sqlite3_open(":memory:", &w->db) != SQLITE_OK) abort();
  if (sqlite3_kvstore_init(w->db, &message, NULL) != SQLITE_OK) abort();
  char *create =
      sqlite3_mprintf("CREATE VIRTUAL TABLE kv USING kvstore('" LOG "', %s)", w->settings);
  if (sqlite3_exec(w->db, create, NULL, NULL, &message) != SQLITE_OK) {
    printf("%s: %s\n", create, message);
    abort();
  }
  sqlite3_free(create);
  w->look = prepare(w, "SELECT key, value FROM kv");
  w->look_at_last = prepare(w, "SELECT key, value FROM kv WHERE key = 'last'");
  w->put = prepare(w, "INSERT OR REPLACE INTO kv VALUES(?1, ?2)");
  w->remove = prepare(w, "DELETE FROM kv WHERE key = ?1");
  w->begin = prepare(w, "BEGIN");
  w->commit = prepare(w, "COMMIT");
  w->rollback = prepare(w, "ROLLBACK");
  atomic_fetch_add(&shared->ready, 1);
  await(&shared->ready, WORKERS);
  for (int n = 0; n < OPERATIONS_MAX && !atomic_load(&shared->stop) && operate(w, n);) n++;
  sqlite3_stmt *all[] = {w->look,  w->look_at_last, w->put,     w->remove,
                         w->begin, w->commit,       w->rollback};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) sqlite3_finalize(all[i]);
  if (sqlite3_close(w->db) != SQLITE_OK) abort();
  return NULL;
}

typedef struct process {
  int number;
  uint64_t random;
  const char *const *settings; /* of its threads */
} process;

static void live(void *context) {
  process *p = context;
  static worker workers[THREADS];
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    workers[i] = (worker){.number = p->number * THREADS + i,
                          .settings = p->settings[i],
                          .random = p->random + (uint64_t)i * 77};
    if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0) abort();
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

/* --- the checker ---------------------------------------------------------------------------------------- */

/* What the log holds behind each transaction; [0]: before the first. */
typedef struct states {
  int64_t (*values)[KEYS];
  size_t count, room;
} states;

static void add_state(states *s) {
  if (s->count == s->room) {
    s->room = s->room * 2 + 1000;
    s->values = realloc(s->values, s->room * sizeof s->values[0]);
    if (s->values == NULL) abort();
  }
  if (s->count == 0) {
    memset(s->values[0], 0, sizeof s->values[0]);
  } else {
    memcpy(s->values[s->count], s->values[s->count - 1], sizeof s->values[0]);
  }
  s->count++;
}

/* The first of what must not be is told with what it was. */
static void demand(bool holds, const char *what, int64_t id) {
  if (holds || anomalies++ >= 20) return;
  printf("operation %lld of worker %lld %s\n", (long long)(id & 0xffffffff),
         (long long)(id >> 32) - 1, what);
}

/* Who wrote `last` stands here. */
static void place(int64_t id, uint64_t seq) {
  operation *o = operation_of(id);
  demand(o != NULL, "is nobody's", id);
  if (o == NULL) return;
  o->seq = seq;
  o->times++;
}

static void read_log(states *s) {
  inspection *i = NULL;
  inspect_row row;
  bool more = true, begun = false;
  MUST(inspect_open(LOG, &i, &help_err));
  add_state(s);
  while (inspect_next(i, &row, &more, &help_err) == KV_OK && more) {
    if (row.status != INSPECT_OK) continue;
    if (strcmp(row.op, "COMMIT") == 0) {
      demand(row.seq == s->count - 1, "has another number than its place", 0);
      begun = false;
      continue;
    }
    if (!begun) add_state(s);
    begun = true;
    int key = key_number(row.key, row.key_size);
    if (key < 0) abort();
    s->values[s->count - 1][key] = row.has_value ? row.value.integer : 0;
    if (key == LAST) place(row.value.integer, s->count - 1);
  }
  inspect_close(i);
}

/* Where one stands that only looked: behind whose `last` it saw. */
static void place_look(operation *o) {
  const operation *writer = o->seen[LAST] != 0 ? operation_of(o->seen[LAST]) : NULL;
  o->seq = writer != NULL ? writer->seq : 0;
  demand(o->seen[LAST] == 0 || o->seq > 0, "saw what was not committed", o->id);
  demand(writer == NULL || writer->began_ns <= o->ended_ns, "saw the future", o->id);
}

/* What it saw is what the log holds where it stands, with what it had written itself by then. */
static void check_seen(operation *o, const states *s) {
  int64_t want[KEYS];
  bool same = true;
  if (o->kind < PUT) place_look(o);
  memcpy(want, s->values[o->kind < PUT ? o->seq : o->seq - 1], sizeof want);
  if (o->kind >= PUT) want[LAST] = o->id;
  for (int i = 0; i < KEYS; i++) same = same && (o->seen[i] == -1 || o->seen[i] == want[i]);
  demand(same, "saw what never was", o->id);
}

static int by_begin(const void *a, const void *b) {
  const operation *x = *(operation *const *)a, *y = *(operation *const *)b;
  return (x->began_ns > y->began_ns) - (x->began_ns < y->began_ns);
}

static int by_end(const void *a, const void *b) {
  const operation *x = *(operation *const *)a, *y = *(operation *const *)b;
  return (x->ended_ns > y->ended_ns) - (x->ended_ns < y->ended_ns);
}

/* Nobody stands before one that had ended before it began. */
static void check_time(operation **began, operation **ended, size_t count) {
  uint64_t newest = 0; /* of those that have ended */
  size_t e = 0;
  qsort(began, count, sizeof began[0], by_begin);
  qsort(ended, count, sizeof ended[0], by_end);
  for (size_t b = 0; b < count; b++) {
    for (; e < count && ended[e]->ended_ns < began[b]->began_ns; e++) {
      if (ended[e]->seq > newest) newest = ended[e]->seq;
    }
    demand(began[b]->seq >= newest + (began[b]->kind >= PUT), "stands before its past",
           began[b]->id);
  }
}

static void check_history(void) {
  states s = {0};
  read_log(&s);
  size_t count = 0, most = 0;
  for (int w = 0; w < WORKERS; w++) most += (size_t)atomic_load(&shared->count[w]);
  operation **began = malloc((most + 1) * sizeof *began),
            **ended = malloc((most + 1) * sizeof *ended);
  if (began == NULL || ended == NULL) abort();
  for (int w = 0; w < WORKERS; w++) {
    for (int n = 0; n < atomic_load(&shared->count[w]); n++) {
      operation *o = &shared->operations[w][n];
      demand(o->times == (o->done && o->kind >= PUT), "is lost, or too often in the log", o->id);
      if (!o->done || (o->kind >= PUT && o->times == 0)) continue;
      check_seen(o, &s);
      began[count] = ended[count] = o;
      count++;
    }
  }
  check_time(began, ended, count);
  CHECK(s.count > 20 && count > 40);
  CHECK_INT(anomalies, 0);
  operations_checked += count;
  commits_checked += s.count - 1;
  free(began);
  free(ended);
  free(s.values);
}

/* --- runs ------------------------------------------------------------------------------------------------ */

/* What each process' two connections have. */
static const char *const runs[][WORKERS] = {
    {"synchronous=FULL", "synchronous=FULL", "synchronous=FULL", "synchronous=FULL, busy_timeout=0",
     "synchronous=FULL", "synchronous=FULL", "synchronous=FULL", "synchronous=FULL"},
    {"synchronous=FULL", "synchronous=NORMAL", "synchronous=OFF", "synchronous=FULL, group_size=3",
     "synchronous=NORMAL, group_size=5", "synchronous=NORMAL, busy_timeout=0", "synchronous=OFF",
     "synchronous=FULL"},
    {"synchronous=OFF", "synchronous=OFF", "synchronous=OFF", "synchronous=NORMAL",
     "synchronous=NORMAL", "synchronous=NORMAL, group_size=1000", "synchronous=OFF",
     "synchronous=OFF"},
};

static void run(const char *const *settings, unsigned ms) {
  pid_t children[PROCESSES];
  alarm(WATCHDOG_S + ms / 1000);
  memset(shared, 0, sizeof *shared);
  if (unlink(LOG) != 0 && exists(LOG)) abort();
  for (int i = 0; i < PROCESSES; i++) {
    process p = {
        .number = i, .random = unit_random(&random_state) | 1, .settings = settings + i * THREADS};
    children[i] = child_start(live, &p);
  }
  await(&shared->ready, WORKERS);
  usleep(ms * 1000);
  atomic_store(&shared->stop, true);
  for (int i = 0; i < PROCESSES; i++) CHECK_INT(child_end(children[i]), 0);
  check_history();
  CHECK_INT(left_over(LOG), 0);
}

int main(void) {
  uint64_t rounds = number_of("HISTORY_ROUNDS", 1), seed = number_of("HISTORY_SEED", now_ns());
  unsigned ms = (unsigned)number_of("HISTORY_MS", 700);
  random_state = seed | 1;
  shared = shared_memory(sizeof *shared);
  for (uint64_t round = 0; round < rounds && unit_failed == 0; round++) {
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) run(runs[i], ms);
  }
  printf("seed %llu: %lu operations, %lu of them commits\n", (unsigned long long)seed,
         operations_checked, commits_checked);
  return unit_done();
}
