/*
** test_tree_move.c - the tree gives memory back: whatever sizes values had and however many there
** were, after passes of moving it takes little more than a fresh tree with the same content; the
** content, what readers see, and what a shortage of memory leaves behind are as before.
**
** That moving mixes with edits, savepoints and pins of all kinds is test_tree_versions.c's.
*/
#include "short_memory.h"
#include "tree_check.h"
#include "tree_model.h"
#include "unit.h"

#define KEYS 20000u
#define SLICES_MAX 10000u /* a hundred times what any shape here takes */

static char bytes[4096];

static size_t key_of(unsigned i, char *key) {
  return (size_t)sprintf(key, "user/%u/%u", i % 97, i);
}

static void put(tree *t, unsigned i, size_t size) {
  char key[40];
  size_t key_size = key_of(i, key);
  kv_value value = {.type = KV_BLOB};
  value.data = bytes;
  value.size = size;
  if (tree_put(t, key, key_size, &value, NULL) != KV_OK) abort();
}

static void drop(tree *t, unsigned i) {
  char key[40];
  size_t key_size = key_of(i, key);
  if (tree_delete(t, key, key_size, NULL) != KV_OK) abort();
}

static void begin(tree *t) {
  if (tree_edit_begin(t) != KV_OK) abort();
}

static void seal(tree *t) {
  tree_publish(t, tree_edit_seal(t, t->head->seq + 1));
}

/* Slices of passes as long as they are worth it; how many. */
static unsigned move_all(tree *t) {
  unsigned slices = 0;
  for (tree_reclaim(t); tree_is_sparse(t, true) && tree_is_worth_moving(t, true); slices++) {
    begin(t);
    (void)tree_move(t, 4096);
    tree_publish(t, tree_edit_seal(t, t->head->seq));
    tree_reclaim(t);
    if (slices == SLICES_MAX) {
      FAIL("passes come to an end");
      exit(unit_done());
    }
  }
  return slices;
}

static size_t taken(const tree *t) {
  return atomic_load(&t->memory.taken);
}

/* What a fresh tree of the same content takes. */
static size_t fresh_size(tree_ref top) {
  tree fresh;
  tree_cursor c;
  if (tree_init(&fresh) != KV_OK) abort();
  begin(&fresh);
  tree_cursor_init(&c, top);
  for (int rc = tree_cursor_first(&c); rc == KV_OK && c.leaf != NULL; rc = tree_cursor_next(&c)) {
    kv_value value;
    tree_leaf_value(c.leaf, &value);
    if (tree_put(&fresh, c.leaf->bytes, leaf_key_size(c.leaf), &value, NULL) != KV_OK) abort();
  }
  tree_cursor_free(&c);
  seal(&fresh);
  kv_error err = {0};
  CHECK_INT(tree_compare(top, "the one", fresh.head->top, "the other", &err), KV_OK);
  size_t size = taken(&fresh);
  tree_destroy(&fresh);
  return size;
}

static void is_small(tree *t, const char *shape) {
  move_all(t);
  kv_error err = {0};
  CHECK_INT(tree_check(t->head->top, &err), KV_OK);
  size_t fresh = fresh_size(t->head->top), now = taken(t);
  bool small = now <= fresh + fresh / 4 + ((size_t)1 << 20);
  if (!small) printf("%s: %zu bytes taken, %zu by a fresh tree\n", shape, now, fresh);
  CHECK(small);
}

/* --- shapes of churn ------------------------------------------------------------------------------ */

static void append(tree *t) {
  for (unsigned size = 10; size <= 250; size += 10) {
    for (unsigned i = 0; i < KEYS; i++) put(t, i, size);
  }
}

static void shrink(tree *t) {
  for (unsigned size = 400; size > 0; size -= 50) {
    for (unsigned i = 0; i < KEYS; i++) put(t, i, size);
  }
}

static void at_random(tree *t) {
  uint64_t random = 5;
  for (unsigned i = 0; i < 4 * KEYS; i++) {
    put(t, model_random(&random, KEYS), model_random(&random, 500));
  }
}

static void of_kilobytes(tree *t) {
  uint64_t random = 7;
  for (unsigned i = 0; i < 2 * KEYS; i++) {
    put(t, model_random(&random, KEYS / 8), 500 + model_random(&random, 1600));
  }
}

static void delete_all(tree *t) {
  for (unsigned i = 0; i < KEYS; i++) put(t, i, 100);
  for (unsigned i = 0; i < KEYS; i++) drop(t, i);
}

static void delete_second(tree *t) {
  for (unsigned i = 0; i < KEYS; i++) put(t, i, 100);
  for (unsigned i = 0; i < KEYS; i += 2) drop(t, i);
}

static void delete_most(tree *t) {
  for (unsigned i = 0; i < KEYS; i++) put(t, i, 200);
  for (unsigned i = 0; i < KEYS; i++) {
    if (i % 50 != 0) drop(t, i);
  }
}

static const struct shape {
  const char *name;
  void (*churn)(tree *t);
} shapes[] = {{"append", append},          {"shrink", shrink},
              {"at random", at_random},    {"of kilobytes", of_kilobytes},
              {"delete all", delete_all},  {"delete every second", delete_second},
              {"delete most", delete_most}};
#define SHAPES (sizeof shapes / sizeof *shapes)

/* One transaction for all of it, or readers that come in between and stay to the end. */
static void memory_follows(const struct shape *shape, bool readers) {
  tree t;
  tree_pin pin = {0}, later = {0};
  if (!CHECK(tree_init(&t) == KV_OK)) return;
  if (readers) {
    begin(&t);
    for (unsigned i = 0; i < KEYS; i += 3) put(&t, i, 300);
    seal(&t);
    CHECK(tree_pin_published(&t, &pin) == KV_OK);
  }
  begin(&t);
  shape->churn(&t);
  seal(&t);
  if (readers) {
    CHECK(tree_pin_published(&t, &later) == KV_OK);
    uint64_t values = tree_values(later.top);
    move_all(&t);
    begin(&t);
    shape->churn(&t);
    seal(&t);
    move_all(&t);
    kv_error err = {0};
    CHECK_INT(tree_values(pin.top), (KEYS + 2) / 3);
    CHECK_INT(tree_values(later.top), values);
    CHECK_INT(tree_check(pin.top, &err), KV_OK);
    CHECK_INT(tree_check(later.top, &err), KV_OK);
    tree_unpin(&t, &pin);
    tree_unpin(&t, &later);
  }
  is_small(&t, shape->name);
  tree_destroy(&t);
  CHECK_INT(blocks, 0);
}

/* --- more ----------------------------------------------------------------------------------------- */

/* A slice stops in time, and its pass is no longer for what has changed in between. */
static void slices_are_small(void) {
  tree t;
  if (!CHECK(tree_init(&t) == KV_OK)) return;
  begin(&t);
  delete_most(&t);
  seal(&t);
  tree_reclaim(&t);
  unsigned slices = 0;
  for (; tree_is_sparse(&t, true) && tree_is_worth_moving(&t, true); slices++) {
    begin(&t);
    CHECK(tree_move(&t, 100) <= 100);
    tree_publish(&t, tree_edit_seal(&t, t.head->seq));
    begin(&t);
    put(&t, slices % KEYS, slices % 300);
    if (slices % 3 > 0) drop(&t, slices % KEYS);
    seal(&t);
    if (!CHECK(slices < 10000)) break;
  }
  CHECK(slices > 3);
  is_small(&t, "in small slices");
  tree_destroy(&t);
}

/* Whichever allocation fails first, with all that come after it. */
static void memory_is_short(void) {
  tree t;
  if (!CHECK(tree_init(&t) == KV_OK)) return;
  begin(&t);
  delete_second(&t);
  for (unsigned i = 1; i < KEYS; i += 40) put(&t, i, 3000);
  seal(&t);
  tree_reclaim(&t);
  uint64_t values = tree_values(t.head->top), content = t.head->bytes;
  kv_error err = {0};
  unsigned long before = refused;
  for (long n = 0; n < 60; n++) {
    begin(&t);
    calls_left = n;
    (void)tree_move(&t, 1u << 20);
    calls_left = -1;
    tree_publish(&t, tree_edit_seal(&t, t.head->seq));
    if (n % 10 == 0) CHECK_INT(tree_check(t.head->top, &err), KV_OK);
    begin(&t);
    for (unsigned i = 1; i < KEYS; i += 40) put(&t, i, 3000 + (unsigned)n % 2);
    seal(&t);
    tree_reclaim(&t);
  }
  CHECK(refused > before);
  CHECK_INT(tree_values(t.head->top), values);
  CHECK(t.head->bytes - content <= KEYS);
  is_small(&t, "after a shortage");
  tree_destroy(&t);
  CHECK_INT(blocks, 0);
}

/* Who moves copies what a reader holds: that is given up before it doubles everything. */
static void readers_do_not_double(void) {
  tree t;
  tree_pin pin;
  if (!CHECK(tree_init(&t) == KV_OK)) return;
  begin(&t);
  for (unsigned i = 0; i < 5 * KEYS; i++) put(&t, i, 100);
  seal(&t);
  begin(&t);
  for (unsigned i = 0; i < 5 * KEYS; i++) {
    if (i % 4 != 0) drop(&t, i);
  }
  seal(&t);
  CHECK(tree_pin_published(&t, &pin) == KV_OK);
  tree_reclaim(&t);
  size_t before = atomic_load(&t.memory.bytes);
  move_all(&t);
  CHECK(atomic_load(&t.memory.bytes) <= before * 2);
  CHECK(t.garbage_size < 5 * KEYS / 4);
  tree_unpin(&t, &pin);
  is_small(&t, "after a reader");
  tree_destroy(&t);
}

/* The one that was the last to need much garbage is told so, the others are not. */
static void last_reader_is_told(void) {
  tree t;
  tree_pin old, young;
  static char large[2 << 20];
  kv_value value = {.type = KV_BLOB};
  value.data = large;
  value.size = sizeof large;
  if (!CHECK(tree_init(&t) == KV_OK)) return;
  begin(&t);
  CHECK(tree_put(&t, "large", 5, &value, NULL) == KV_OK);
  seal(&t);
  CHECK(tree_pin_published(&t, &old) == KV_OK);
  begin(&t);
  CHECK(tree_delete(&t, "large", 5, NULL) == KV_OK);
  seal(&t);
  CHECK(tree_has_much_garbage(&t));
  tree_reclaim(&t);
  CHECK(tree_has_much_garbage(&t));
  CHECK(tree_pin_published(&t, &young) == KV_OK);
  CHECK(!tree_unpin(&t, &young));
  CHECK(tree_unpin(&t, &old));
  tree_reclaim(&t);
  CHECK(!tree_has_much_garbage(&t));
  CHECK_INT(atomic_load(&t.memory.apart), 0);
  CHECK(tree_pin_published(&t, &young) == KV_OK);
  CHECK(!tree_unpin(&t, &young));
  tree_destroy(&t);
}

/* After a leaf was moved it is still of the same write. */
static void moved_leaves_are_the_same(void) {
  tree t;
  tree_pin pin;
  if (!CHECK(tree_init(&t) == KV_OK)) return;
  begin(&t);
  delete_most(&t);
  seal(&t);
  CHECK(tree_pin_published(&t, &pin) == KV_OK);
  move_all(&t);
  begin(&t);
  put(&t, 50, 7);
  seal(&t);
  unsigned moved = 0;
  for (unsigned i = 0; i < KEYS; i += 50) {
    char key[40];
    size_t size = key_of(i, key);
    const tree_leaf *was = tree_find(pin.top, key, size), *is = tree_find(t.head->top, key, size);
    CHECK(tree_leaf_is_same(was, is) == (i != 50));
    moved += was != is;
  }
  CHECK(moved > KEYS / 100);
  tree_unpin(&t, &pin);
  tree_destroy(&t);
}

int main(void) {
  os.malloc = short_malloc;
  os.realloc = short_realloc;
  os.free = counted_free;
  for (size_t i = 0; i < SHAPES; i++) {
    memory_follows(&shapes[i], false);
    memory_follows(&shapes[i], true);
  }
  slices_are_small();
  memory_is_short();
  readers_do_not_double();
  last_reader_is_told();
  moved_leaves_are_the_same();
  return unit_done();
}
