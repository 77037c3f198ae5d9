/*
** test_tree_threads.c - readers beside a writer: one thread edits and seals, another publishes, some
** pin what is published, one of these often interrupted, one is handed pins of private versions.
** Every version holds one number in all its keys, so that a reader who sees two has seen two
** versions, or memory that was reused. To be run under ThreadSanitizer and AddressSanitizer too.
**
**     test_tree_threads VERSIONS     as many as that
*/
#include "tree_model.h"
#include "unit.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#define KEYS 60u
#define READERS 3u

static tree shared;
static long versions = 3000;
static _Atomic(tree_version *) sealed; /* the newest */
static atomic_bool done;
static _Atomic(tree_pin *) handed; /* a private pin, from the writer to its reader */
static atomic_ulong wrong, scans, private_scans;
static _Atomic uint64_t published_seq; /* published, that is to say, at least */

static void fail(const char *what) {
  if (atomic_fetch_add(&wrong, 1) < 5) printf("%s\n", what);
}

/* The number in all values of a version; the count of its keys is told by the number too. */
static int64_t scan(tree_ref top) {
  int64_t number = -1;
  unsigned count = 0;
  tree_counts counts;
  tree_cursor c;
  tree_cursor_init(&c, top);
  tree_cursor_first(&c);
  for (; c.leaf != NULL; count++, tree_cursor_next(&c)) {
    kv_value value;
    tree_leaf_value(c.leaf, &value);
    if (value.type == KV_BLOB) {
      if (value.size != 700) fail("size of a large value");
      value.integer = (int64_t)strtol(value.data, NULL, 10);
    }
    if (number >= 0 && value.integer != number) fail("two versions in one");
    number = value.integer;
  }
  tree_cursor_free(&c);
  tree_count(top, "", 0, &counts);
  if (counts.values != count) fail("count");
  if (count > 0 && count != KEYS + (unsigned)(number % 17)) fail("number of keys");
  return number;
}

static void *read_published(void *arg) {
  uint64_t last = 0;
  char *bytes = NULL;
  (void)arg;
  while (!atomic_load(&done)) {
    tree_pin pin;
    uint64_t least = atomic_load(&published_seq);
    if (tree_pin_published(&shared, &pin) != KV_OK) fail("pin");
    if (pin.seq < last || pin.seq < least) fail("an older version than before");
    last = pin.seq;
    int64_t number = scan(pin.top);
    if (number >= 0 ? (uint64_t)number != pin.seq : pin.seq != 0) fail("not the version's number");
    const tree_leaf *leaf = tree_find(pin.top, "k/0", 3);
    if (bytes != NULL) tree_bytes_release(bytes);
    bytes = leaf == NULL ? NULL : (char *)(uintptr_t)tree_leaf_bytes_hold(leaf);
    tree_unpin(&shared, &pin);
    if (bytes != NULL && (uint64_t)strtol(bytes, NULL, 10) != last) fail("held bytes");
    atomic_fetch_add(&scans, 1);
  }
  if (bytes != NULL) tree_bytes_release(bytes);
  return NULL;
}

static void *read_private(void *arg) {
  (void)arg;
  for (;;) {
    bool last = atomic_load(&done);
    tree_pin *pin = atomic_exchange(&handed, NULL);
    if (pin != NULL) {
      scan(pin->top);
      tree_unpin(&shared, pin);
      free(pin);
      atomic_fetch_add(&private_scans, 1);
    } else if (last) {
      return NULL;
    } else {
      sched_yield();
    }
  }
}

static void *publish(void *arg) {
  (void)arg;
  tree_version *newest = NULL;
  for (;;) {
    bool last = atomic_load(&done);
    tree_version *version = atomic_load(&sealed);
    if (version != newest) {
      uint64_t seq = version->seq;
      tree_publish(&shared, version);
      atomic_store(&published_seq, seq);
      newest = version;
    } else if (last) {
      return NULL;
    } else {
      sched_yield();
    }
  }
}

/* Pins and unpins in a tight loop while signals stop it at any instruction for long enough that
** versions come and go: so also between the steps in which a pin is announced. */
static void *read_interrupted(void *arg) {
  (void)arg;
  while (!atomic_load(&done)) {
    tree_pin pin;
    size_t size;
    int64_t number = 0;
    if (tree_pin_published(&shared, &pin) != KV_OK) fail("pin");
    const tree_leaf *leaf = tree_find(pin.top, "k/1/sub-7", 9);
    if (leaf != NULL) {
      kv_value value;
      tree_leaf_value(leaf, &value);
      number = value.integer;
      if (memcmp(tree_leaf_key(leaf, &size), "k/1/sub-7", 10) != 0) fail("another key");
    }
    if ((uint64_t)number != pin.seq) fail("interrupted: not the version's number");
    tree_unpin(&shared, &pin);
  }
  return NULL;
}

static void pause_a_while(int signal_number) {
  (void)signal_number;
  nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}

static void *interrupt(void *arg) {
  while (!atomic_load(&done)) {
    nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    pthread_kill(*(pthread_t *)arg, SIGUSR1);
  }
  return NULL;
}

/* Give all keys of the open edit the number, and take those away that it has too many. */
static void write_all(int64_t number) {
  char key[32], data[700];
  bool ok = true;
  for (unsigned i = 0; i < KEYS + 17; i++) {
    size_t size = (size_t)sprintf(key, i % 4 == 0 ? "k/%u" : "k/%u/sub-%u", i, i * 7);
    kv_value value = {.type = KV_INTEGER, .integer = number};
    if (i % 8 == 0) {
      value = (kv_value){.type = KV_BLOB, .data = data, .size = sizeof data};
      memset(data, 0, sizeof data);
      sprintf(data, "%ld", (long)number);
    }
    ok = (i < KEYS + number % 17 ? tree_put(&shared, key, size, &value, NULL)
                                 : tree_delete(&shared, key, size, NULL)) == KV_OK &&
         ok;
  }
  if (!ok) fail("write");
}

/* Hand out a pin of the private version, unless the one before was not yet fetched. */
static void hand_over(void) {
  tree_pin *pin = model_memory(NULL, sizeof *pin), *expected = NULL;
  if (tree_pin_edit(&shared, pin) != KV_OK) fail("private pin");
  if (!atomic_compare_exchange_strong(&handed, &expected, pin)) {
    tree_unpin(&shared, pin);
    free(pin);
  }
}

static void write_versions(void) {
  for (int64_t n = 1; n <= versions; n++) {
    tree_savepoint at;
    if (tree_edit_begin(&shared) != KV_OK) fail("begin");
    if (n % 3 == 0) { /* a savepoint that is gone back to, its version seen by the private reader */
      if (tree_savepoint_set(&shared, &at) != KV_OK) fail("savepoint");
      write_all(1000000 + n);
      hand_over();
      tree_savepoint_rollback(&shared, &at);
      if (n % 2 == 0) tree_savepoint_release(&shared, &at, NULL);
    }
    write_all(n);
    if (n % 5 == 0) hand_over();
    if (n % 7 == 0) { /* dropped; the number comes again */
      tree_edit_rollback(&shared);
      if (tree_edit_begin(&shared) != KV_OK) fail("begin");
      write_all(n);
    }
    atomic_store(&sealed, tree_edit_seal(&shared, (uint64_t)n));
  }
}

int main(int argc, char **argv) {
  pthread_t readers[READERS], private_reader, publisher, interrupted, interrupter;
  if (argc > 1) versions = atol(argv[1]);
  CHECK(tree_init(&shared) == KV_OK);
  atomic_store(&sealed, shared.head);
  for (unsigned i = 0; i < READERS; i++) {
    CHECK(pthread_create(&readers[i], NULL, read_published, NULL) == 0);
  }
  CHECK(pthread_create(&private_reader, NULL, read_private, NULL) == 0);
  CHECK(pthread_create(&publisher, NULL, publish, NULL) == 0);
  signal(SIGUSR1, pause_a_while);
  CHECK(pthread_create(&interrupted, NULL, read_interrupted, NULL) == 0);
  CHECK(pthread_create(&interrupter, NULL, interrupt, &interrupted) == 0);
  write_versions();
  atomic_store(&done, true);
  for (unsigned i = 0; i < READERS; i++) pthread_join(readers[i], NULL);
  pthread_join(interrupter, NULL);
  pthread_join(interrupted, NULL);
  pthread_join(private_reader, NULL);
  pthread_join(publisher, NULL);
  CHECK_INT(atomic_load(&wrong), 0);
  CHECK_INT(tree_pin_count(&shared), 0);
  CHECK(tree_edit_begin(&shared) == KV_OK);
  tree_edit_rollback(&shared);
  CHECK_INT(shared.garbage_size, 0);
  CHECK_INT(scan(shared.head->top), versions);
  printf("%lu scans, %lu of private versions\n", atomic_load(&scans), atomic_load(&private_scans));
  tree_destroy(&shared);
  return unit_done();
}
