/*
** test_tree_memory.c - the tree when memory is short: every allocation of every function fails once;
** the content is then as it was, nothing leaks, and the same call succeeds when memory is back.
**
** Two ways. First the allocations that go to the system are failed one after the other. But most
** blocks come out of the pool's chunk in use; so secondly this chunk is cut down to 0, 8, 16 ...
** bytes before a call and a new one is refused, which fails each allocation of the call in turn.
*/
#include "os.h"
#include "short_memory.h"
#include "tree_model.h"
#include "unit.h"

/* --- calls: each makes one in both, the tree and the model, if the tree's succeeds --------------- */

typedef struct state {
  tree t;
  model now, saved;
  tree_savepoint at;
  tree_pin pins[80];
  unsigned pin_count;
} state;

static int put(state *s, const char *key, size_t size, kv_value value) {
  bool replaced;
  int rc = tree_put(&s->t, key, size, &value, &replaced);
  bool wrong = rc == KV_OK && model_put(&s->now, key, size, &value) != replaced;
  if (wrong) CHECK(!wrong);
  return rc;
}

static int delete (state *s, const char *key, size_t size) {
  bool found;
  int rc = tree_delete(&s->t, key, size, &found);
  bool wrong = rc == KV_OK && model_delete(&s->now, key, size) != found;
  if (wrong) CHECK(!wrong);
  return rc;
}

static int walk(state *s, bool deep) {
  static const char key[] = "d/d/d";
  tree_cursor c;
  tree_cursor_init(&c, s->t.edit.top);
  int rc = tree_cursor_last(&c);
  if (rc == KV_OK) rc = tree_cursor_first(&c);
  if (rc == KV_OK && deep) rc = tree_cursor_seek(&c, key, 5, TREE_GT);
  while (rc == KV_OK && c.leaf != NULL) rc = tree_cursor_next(&c);
  if (rc != KV_OK) {
    CHECK(c.leaf == NULL);
    calls_left = -1; /* a cursor that failed can be used again */
    CHECK(tree_cursor_last(&c) == KV_OK && (c.leaf != NULL) == (s->now.count > 0));
  }
  tree_cursor_free(&c);
  return rc;
}

static int pin(state *s, int kind) {
  tree_pin *p = &s->pins[s->pin_count];
  int rc = kind == 0   ? tree_pin_published(&s->t, p)
           : kind == 1 ? tree_pin_head(&s->t, p)
                       : tree_pin_edit(&s->t, p);
  if (rc == KV_OK) s->pin_count++;
  return rc;
}

/* The calls by number, the same for the same seed; KV_EMISUSE when there are no more. */
static int call(state *s, int number, uint64_t seed) {
  static char bytes[5000], key[5000];
  static const kv_value large = {.type = KV_BLOB, .data = bytes, .size = 600};
  static const kv_value small = {.type = KV_INTEGER, .integer = 5};
  size_t size;
  if (number < 60) { /* small and large nodes, shared and private, and deep ones */
    size = model_random_key(&seed, number % 3 == 0 ? KEYS_WIDE : KEYS_SEGMENTS, key);
    return put(s, key, size, number % 5 == 0 ? large : small);
  }
  if (number < 120) {
    for (size_t i = 0; i < sizeof key; i++) key[i] = i % 2 == 0 ? 'd' : '/';
    return put(s, key, (size_t)(number - 60) * 2 + (number > 110 ? 3001 : 1), small);
  }
  if (number < 124) return walk(s, number % 2 == 0);
  if (number == 124) {
    int rc = tree_savepoint_set(&s->t, &s->at);
    if (rc == KV_OK) model_copy(&s->saved, &s->now);
    return rc;
  }
  if (number < 200) return pin(s, number % 3);
  if (number == 200) {
    tree_edit_seal(&s->t, 1);
    return KV_OK;
  }
  if (number == 201) return tree_edit_begin(&s->t);
  if (number == 202) return tree_savepoint_set(&s->t, &s->at);
  if (number < 340) {
    if (s->now.count == 0 || model_random(&seed, 3) == 0) {
      return put(s, key, model_random_key(&seed, KEYS_WIDE, key), small);
    }
    const model_entry *entry = s->now.entries[model_random(&seed, (unsigned)s->now.count)];
    memcpy(key, entry->key, size = entry->size);
    return delete (s, key, size);
  }
  return KV_EMISUSE;
}

static bool start(state *s) {
  memset(s, 0, sizeof *s);
  return CHECK(tree_init(&s->t) == KV_OK) && CHECK(tree_edit_begin(&s->t) == KV_OK);
}

static void finish(state *s) {
  for (unsigned i = 0; i < s->pin_count; i++) tree_unpin(&s->t, &s->pins[i]);
  if (s->t.edit.open) tree_edit_rollback(&s->t);
  tree_destroy(&s->t);
  model_free(&s->now);
  model_free(&s->saved);
  CHECK_INT(blocks, 0);
}

/* Make the calls, each with its n-th allocation from the system failing until none does. */
static void system_allocations_fail(uint64_t seed) {
  state s;
  if (!start(&s)) return;
  for (int number = 0;; number++) {
    long n = 0;
    int rc;
    for (;; n++) {
      calls_left = n;
      rc = call(&s, number, seed + (uint64_t)number * 99);
      calls_left = -1;
      if (rc != KV_ENOMEM) break;
      if (s.t.edit.open && !CHECK_STR(model_compare_walk(&s.now, s.t.edit.top), NULL)) return;
    }
    if (rc == KV_EMISUSE) break;
    if (!CHECK_INT(rc, KV_OK)) return;
  }
  CHECK_STR(model_compare(&s.now, s.t.edit.top), NULL);
  tree_savepoint_rollback(&s.t, &s.at);
  CHECK_INT(s.pin_count, 75);
  finish(&s);
}

/* What the pool is filled up with. */
typedef struct filler {
  struct filler *next;
  size_t size;
} filler;

/* A block more; false if there is no place. */
static bool fill(pool *p, filler **list, size_t size) {
  filler *block = pool_alloc(p, size);
  if (block == NULL) return false;
  *block = (filler){.next = *list, .size = size};
  *list = block;
  return true;
}

static void unfill(pool *p, filler *list) {
  while (list != NULL) {
    filler *next = list->next;
    pool_free(p, list, list->size);
    list = next;
  }
}

/* Leave place for `left` blocks of each size, and for no slab of any other. */
static filler *fill_pool(pool *p, size_t left) {
  filler *spare = NULL, *list = NULL;
  for (size_t size = 16; size <= POOL_SMALL_MAX; size += 8) {
    for (size_t i = 0; i < left; i++) fill(p, &spare, size);
  }
  calls_left = 0;
  for (size_t size = POOL_SMALL_MAX; size >= 16; size -= 8) {
    while (fill(p, &list, size)) continue;
  }
  calls_left = -1;
  unfill(p, spare);
  return list;
}

/* Make the calls, each with place for `left` blocks of each size, first. */
static void pool_is_empty(uint64_t seed, size_t left) {
  state s;
  if (!start(&s)) return;
  for (int number = 0;; number++) {
    filler *list = fill_pool(&s.t.memory, left);
    size_t bytes = atomic_load(&s.t.memory.bytes), garbage = s.t.garbage_size;
    calls_left = 0;
    int rc = call(&s, number, seed + (uint64_t)number * 99);
    calls_left = -1;
    if (rc == KV_ENOMEM) {
      if (s.t.edit.open && !CHECK_STR(model_compare_walk(&s.now, s.t.edit.top), NULL)) return;
      bool leaked = s.t.garbage_size == garbage && atomic_load(&s.t.memory.bytes) != bytes;
      if (!CHECK(!leaked)) return;
      rc = call(&s, number, seed + (uint64_t)number * 99);
    }
    unfill(&s.t.memory, list);
    if (rc == KV_EMISUSE) break;
    if (!CHECK_INT(rc, KV_OK)) return;
  }
  tree_publish(&s.t, s.t.head);
  CHECK_STR(model_compare_walk(&s.now, s.t.edit.top), NULL);
  finish(&s);
}

static void beginning_fails(void) {
  tree t;
  for (long n = 0; n < 2; n++) {
    calls_left = n;
    CHECK(tree_init(&t) == KV_ENOMEM);
    calls_left = -1;
    CHECK_INT(blocks, 0);
  }
  CHECK(tree_init(&t) == KV_OK);
  for (long n = 0; n < 2; n++) {
    calls_left = n;
    CHECK(tree_edit_begin(&t) == KV_ENOMEM && !t.edit.open);
  }
  calls_left = -1;
  CHECK(tree_edit_begin(&t) == KV_OK);
  calls_left = 0; /* sealing and rolling back need nothing */
  tree_publish(&t, tree_edit_seal(&t, 1));
  calls_left = -1;
  tree_destroy(&t);
  CHECK_INT(blocks, 0);
}

/* Going back to a savepoint while a private pin is held notes the dropped top; no number of times
** runs out of places for it, also where a put finds nothing to copy. */
static void rollbacks_need_no_memory(void) {
  static const kv_value value = {.type = KV_NULL};
  for (int entries = 0; entries < 3; entries++) {
    tree t;
    tree_savepoint at;
    tree_pin p;
    CHECK(tree_init(&t) == KV_OK && tree_edit_begin(&t) == KV_OK);
    for (int i = 0; i < entries; i++) tree_put(&t, &"bc"[i], 1, &value, NULL);
    CHECK(tree_savepoint_set(&t, &at) == KV_OK && tree_pin_edit(&t, &p) == KV_OK);
    for (int i = 0; i < 1000; i++) {
      CHECK(tree_put(&t, "a", 1, &value, NULL) == KV_OK);
      tree_savepoint_rollback(&t, &at);
    }
    tree_unpin(&t, &p);
    tree_edit_rollback(&t);
    tree_destroy(&t);
    CHECK_INT(blocks, 0);
  }
}

int main(int argc, char **argv) {
  uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, last = argc > 1 ? first : 2;
  os.malloc = short_malloc;
  os.realloc = short_realloc;
  os.free = counted_free;
  beginning_fails();
  rollbacks_need_no_memory();
  for (uint64_t seed = first; seed <= last; seed++) {
    printf("seed %llu\n", (unsigned long long)seed);
    system_allocations_fail(seed);
    for (size_t left = 0; left < 8; left++) pool_is_empty(seed, left);
  }
  printf("%lu allocations refused\n", refused);
  return unit_done();
}
