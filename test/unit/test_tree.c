/*
** test_tree.c - the tree's content: random puts and deletes against a sorted array, and keypaths of
** shapes that are hard on it. Versions, failing memory and threads have tests of their own.
**
**     test_tree SEED     only the random runs, with this seed
*/
#include "tree_model.h"
#include "unit.h"

static const char *const kind_names[] = {"segments", "bytes", "wide", "deep", "long"};

/* Compare the model and the tree by some random searches and counts. */
static const char *probe_some(const model *m, tree_ref top, uint64_t *state, model_kind kind,
                              int n) {
  char key[MODEL_KEY_SIZE_MAX];
  model_nodes list = model_list_nodes(m);
  const char *what = NULL;
  for (int i = 0; i < n && what == NULL; i++) {
    size_t size = model_random_bound(state, kind, m, key);
    what = model_probe(m, top, key, size);
    if (what == NULL) what = model_compare_counts(m, &list, top, key, size);
  }
  free(list.nodes);
  return what;
}

/* One put or delete in both; NULL if they tell the same. */
static const char *random_step(tree *t, model *m, uint64_t *state, model_kind kind, unsigned puts) {
  char key[MODEL_KEY_SIZE_MAX], data[3000];
  size_t size = model_random_key(state, kind, key);
  bool told = false;
  if (model_random(state, 100) < puts) {
    kv_value value = model_random_value(state, data);
    if (tree_put(t, key, size, &value, &told) != KV_OK) return "put";
    return told == model_put(m, key, size, &value) ? NULL : "replaced";
  }
  if (m->count > 0 && model_random(state, 4) != 0) {
    const model_entry *entry = m->entries[model_random(state, (unsigned)m->count)];
    memcpy(key, entry->key, size = entry->size);
  }
  if (tree_delete(t, key, size, &told) != KV_OK) return "delete";
  return told == model_delete(m, key, size) ? NULL : "found";
}

/* Puts and deletes in edits, growing and shrinking. */
static bool random_run(uint64_t seed, model_kind kind, int steps) {
  tree t;
  model m = {0};
  uint64_t state = seed;
  const char *what = NULL;
  if (!CHECK(tree_init(&t) == KV_OK)) return false;
  unsigned puts = 0;
  for (int i = 0; i < steps && what == NULL; i++) {
    if (!t.edit.open && tree_edit_begin(&t) != KV_OK) what = "begin";
    if (i % 500 == 0) puts = 20 + model_random(&state, 80); /* of a hundred */
    if (what == NULL) what = random_step(&t, &m, &state, kind, puts);
    if (model_random(&state, 100) == 0) {
      if (what == NULL) what = model_compare(&m, t.edit.top);
      if (what == NULL) what = probe_some(&m, t.edit.top, &state, kind, 50);
    }
    if (model_random(&state, 50) == 0) tree_publish(&t, tree_edit_seal(&t, 1));
  }
  if (t.edit.open) tree_publish(&t, tree_edit_seal(&t, 2));
  if (what == NULL) what = model_compare(&m, t.head->top);
  if (what != NULL) printf("%s: seed %llu\n", kind_names[kind], (unsigned long long)seed);
  CHECK_STR(what, NULL);
  tree_destroy(&t);
  model_free(&m);
  return what == NULL;
}

static void random_runs(uint64_t seed) {
  static const int steps[] = {6000, 6000, 6000, 200, 1000};
  printf("seed %llu\n", (unsigned long long)seed);
  for (model_kind kind = 0; kind < KEYS_KINDS; kind++) {
    if (!random_run(seed + kind, kind, steps[kind])) return;
  }
}

/* --- an edit from empty for the shapes below ---------------------------------------------------- */

static const kv_value some = {.type = KV_INTEGER, .integer = 7};

static bool setup(tree *t) {
  return CHECK(tree_init(t) == KV_OK) && CHECK(tree_edit_begin(t) == KV_OK);
}

static void teardown(tree *t) {
  tree_edit_rollback(t);
  CHECK(atomic_load(&t->memory.bytes) == 0);
  tree_destroy(t);
}

static void empty_tree(void) {
  tree t;
  model m = {0};
  bool found = true;
  if (!setup(&t)) return;
  CHECK_STR(model_compare(&m, 0), NULL);
  CHECK_STR(model_probe(&m, 0, "", 0), NULL);
  CHECK_STR(model_probe(&m, 0, NULL, 0), NULL);
  CHECK_STR(model_probe(&m, 0, "a", 1), NULL);
  CHECK(tree_delete(&t, "a", 1, &found) == KV_OK && !found);
  CHECK(tree_delete(&t, "a", 1, NULL) == KV_OK);
  CHECK(tree_put(&t, "a", 1, &some, NULL) == KV_OK);
  CHECK(tree_find(t.edit.top, "a", 1) != NULL && tree_find(t.edit.top, NULL, 0) == NULL);
  CHECK(tree_rank(t.edit.top, NULL, 0) == 0);
  CHECK(tree_delete(&t, "a", 1, &found) == KV_OK && found && t.edit.top == 0);
  teardown(&t);
}

/* The longest keypath with the most segments, and several of its nodes with values of their own. */
static void longest_keypath(void) {
  tree t;
  static char key[KV_KEYPATH_SIZE_MAX + 1];
  static const size_t deep[] = {32768, 1, 2, 32767, 100, 20000, 16384, 3, 32000};
  enum { PLACES = sizeof deep / sizeof *deep };
  if (!setup(&t)) return;
  for (size_t i = 0; i < KV_KEYPATH_SIZE_MAX; i++) key[i] = i % 2 == 0 ? 's' : '/';
  for (size_t i = 0; i < PLACES; i++) {
    CHECK(tree_put(&t, key, deep[i] * 2 - 1, &some, NULL) == KV_OK);
  }
  for (size_t at = 0; at <= 32768; at += at < 5 || at > 32760 ? 1 : 997) {
    tree_counts counts;
    size_t values = 0, below = 0;
    for (size_t i = 0; i < PLACES; i++) values += deep[i] >= at;
    for (size_t i = 0; i < PLACES; i++) below += deep[i] < at;
    tree_count(t.edit.top, key, at > 0 ? at * 2 - 1 : 0, &counts);
    CHECK_INT(counts.values, values);
    CHECK_INT(counts.nodes, 32768 - at);
    CHECK_INT(counts.children, at < 32768);
    if (at > 0) CHECK_INT(tree_rank(t.edit.top, key, at * 2 - 1), below);
  }
  size_t bytes;
  CHECK_STR(model_check_structure(t.edit.top, &bytes), NULL);
  CHECK(tree_find(t.edit.top, key, KV_KEYPATH_SIZE_MAX + 1) == NULL); /* longer than any can be */
  CHECK(tree_rank(t.edit.top, key, KV_KEYPATH_SIZE_MAX + 1) == PLACES);
  CHECK(tree_delete(&t, key, KV_KEYPATH_SIZE_MAX, NULL) == KV_OK);
  tree_counts counts;
  tree_count(t.edit.top, "", 0, &counts);
  CHECK_INT(counts.nodes, 32767);
  teardown(&t);
}

/* Deeper than a cursor's own frames, there and back. */
static void thousands_of_levels(void) {
  enum { LEVELS = 3000 };
  static char key[LEVELS * 2];
  tree t;
  tree_cursor c;
  if (!setup(&t)) return;
  for (size_t i = 0; i < LEVELS * 2; i++) key[i] = i % 2 == 0 ? 'd' : '/';
  for (size_t i = 1; i <= LEVELS; i++) {
    if (!CHECK(tree_put(&t, key, i * 2 - 1, &some, NULL) == KV_OK)) break;
  }
  tree_cursor_init(&c, t.edit.top);
  size_t levels = 0, size, wrong = 0;
  CHECK(tree_cursor_first(&c) == KV_OK);
  for (; c.leaf != NULL; tree_cursor_next(&c)) {
    tree_leaf_key(c.leaf, &size);
    wrong += size != ++levels * 2 - 1;
  }
  CHECK(levels == LEVELS && wrong == 0);
  CHECK(tree_cursor_last(&c) == KV_OK && c.leaf != NULL);
  for (; c.leaf != NULL; tree_cursor_prev(&c)) levels--;
  CHECK(levels == 0);
  CHECK(tree_cursor_seek(&c, key, 2 * 2999, TREE_LT) == KV_OK && c.leaf != NULL);
  tree_leaf_key(c.leaf, &size);
  CHECK_INT(size, 2 * 2999 - 1);
  tree_cursor_free(&c);
  teardown(&t);
}

/* A folder of many children, in order, backwards and mixed; each exactly counted and ranked. */
static void wide_folder(void) {
  enum { CHILDREN = 20000 };
  static const unsigned strides[] = {1, CHILDREN - 1, 7919};
  for (size_t s = 0; s < 3; s++) {
    tree t;
    tree_counts counts;
    char key[32];
    unsigned wrong = 0, at = 0;
    if (!setup(&t)) return;
    CHECK(tree_put(&t, "f-", 2, &some, NULL) == KV_OK &&
          tree_put(&t, "f0", 2, &some, NULL) == KV_OK);
    for (unsigned i = 0; i < CHILDREN; i++, at = (at + strides[s]) % CHILDREN) {
      size_t size = (size_t)sprintf(key, i % 2 ? "f/%05u" : "f/%05u/x", at);
      wrong += tree_put(&t, key, size, &some, NULL) != KV_OK;
    }
    tree_count(t.edit.top, "f", 1, &counts);
    CHECK(wrong == 0 && counts.values == CHILDREN && counts.children == CHILDREN);
    CHECK_INT(counts.nodes, CHILDREN + CHILDREN / 2);
    for (unsigned i = 0; i < CHILDREN; i += 37) {
      wrong += tree_rank(t.edit.top, key, (size_t)sprintf(key, "f/%05u", i)) != i + 1;
    }
    size_t bytes;
    CHECK(wrong == 0);
    CHECK_STR(model_check_structure(t.edit.top, &bytes), NULL);
    CHECK(bytes == atomic_load(&t.memory.bytes));
    teardown(&t);
  }
}

/* A large value outlives its entry and its pin for as long as it is held. */
static void large_values_are_held(void) {
  tree t;
  static char data[100000];
  memset(data, 'L', sizeof data);
  kv_value large = {.type = KV_TEXT, .data = data, .size = sizeof data};
  kv_value small = {.type = KV_BLOB, .data = data, .size = LEAF_INLINE_MAX};
  if (!setup(&t)) return;
  CHECK(tree_put(&t, "large", 5, &large, NULL) == KV_OK);
  CHECK(tree_put(&t, "small", 5, &small, NULL) == KV_OK);
  CHECK(tree_put(&t, "none", 4, &some, NULL) == KV_OK);
  CHECK(tree_leaf_bytes_hold(tree_find(t.edit.top, "small", 5)) == NULL);
  CHECK(tree_leaf_bytes_hold(tree_find(t.edit.top, "none", 4)) == NULL);
  const tree_leaf *leaf = tree_find(t.edit.top, "large", 5);
  char *held = (char *)(uintptr_t)tree_leaf_bytes_hold(leaf);
  char *again = (char *)(uintptr_t)tree_leaf_bytes_hold(leaf);
  CHECK(held != NULL && again == held);
  tree_bytes_release(again);
  CHECK(tree_delete(&t, "large", 5, NULL) == KV_OK);
  teardown(&t);
  CHECK_BYTES(held, sizeof data, data, sizeof data);
  tree_bytes_release(held);
}

/* At the limit, one more is refused, and replacing one is not. */
static void full(void) {
  tree t;
  bool replaced = false;
  if (!setup(&t)) return;
  CHECK(tree_put(&t, "a", 1, &some, NULL) == KV_OK && tree_put(&t, "b", 1, &some, NULL) == KV_OK);
  ref_inner(t.edit.top)->values = KV_ENTRIES_MAX;
  size_t bytes = atomic_load(&t.memory.bytes);
  CHECK(tree_put(&t, "c", 1, &some, NULL) == KV_EFULL);
  CHECK(tree_put(&t, "a", 1, &some, &replaced) == KV_OK && replaced);
  CHECK(atomic_load(&t.memory.bytes) == bytes);
  ref_inner(t.edit.top)->values = 2;
  teardown(&t);
}

int main(int argc, char **argv) {
  if (argc > 1) {
    random_runs(strtoull(argv[1], NULL, 10));
    return unit_done();
  }
  empty_tree();
  longest_keypath();
  thousands_of_levels();
  wide_folder();
  large_values_are_held();
  full();
  for (uint64_t seed = 1; seed <= 20; seed += 10) random_runs(seed);
  return unit_done();
}
