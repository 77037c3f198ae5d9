/*
** test_walk.c - walking the nodes of the tree, against a sorted list of every node; and the cursor's
** jump to the k-th leaf.
**
**     test_walk SEED     only the random runs, with this seed
**
** That a walk passes over what is too deep without touching it is proved by making that memory
** unusable: see passed_over_is_not_touched.
*/
#include "keypath.h"
#include "kv_help.h"
#include "os.h"
#include "short_memory.h"
#include "tree_model.h"
#include "tree_walk.h"
#include "unit.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const kv_value some = {.type = KV_INTEGER, .integer = 7};

/* --- comparing a walk with the list ------------------------------------------------------------- */

/* Whether a node belongs to a walk from a root. */
static bool belongs(const model_node *node, const char *root, size_t size, size_t depth_max) {
  if (node->depth > depth_max) return false;
  if (size == 0) return true;
  if (node->size < size || memcmp(node->key, root, size) != 0) return false;
  return node->size == size || node->key[size] == '/';
}

/* What is wrong with the node that the walk stands on, `want` being the right one. */
static const char *check_node(tree_walk *w, const model *m, const model_nodes *list,
                              const model_node *want) {
  size_t label_size;
  bool equal;
  const char *label = tree_leaf_key(w->label, &label_size);
  if (label_size < w->size) return "label is shorter than the node";
  if (model_order(label, w->size, want->key, want->size) != 0) return "another node";
  if (w->depth != want->depth) return "depth";
  size_t at = model_place(m, want->key, want->size, &equal);
  if (!model_same_leaf(equal ? m->entries[at] : NULL, w->leaf)) return "value";
  tree_counts counts = model_count(m, list, want->key, want->size);
  uint64_t children = 99, nodes = 99;
  static unsigned
      asked; /* what is asked at one node must not depend on having asked at the one before */
  if (asked++ % 3 == 2) return NULL;
  tree_walk_counts(w, &children, &nodes);
  if (children != counts.children) return "children";
  return nodes == counts.nodes ? NULL : "descendants";
}

static const char *compare(const model *m, const model_nodes *list, tree_ref top, const char *root,
                           size_t size, unsigned depth_max) {
  tree_walk w;
  const char *what = NULL;
  size_t i = 0;
  int rc = tree_walk_start(&w, top, root, size, depth_max);
  for (; what == NULL && w.label != NULL && rc == KV_OK; i++) {
    while (i < list->count && !belongs(&list->nodes[i], root, size, depth_max)) i++;
    what = i < list->count ? check_node(&w, m, list, &list->nodes[i]) : "too many";
    if (what == NULL) rc = tree_walk_next(&w);
  }
  if (rc != KV_OK) what = "error";
  for (; what == NULL && i < list->count; i++) {
    if (belongs(&list->nodes[i], root, size, depth_max)) what = "too few";
  }
  tree_walk_free(&w);
  if (what == NULL) return NULL;
  return model_says("from '%.*s' to depth %u, node %zu: %s", (int)(size < 99 ? size : 99), root,
                    depth_max, i, what);
}

/* From one root, to every depth if there are few, else to some. */
static const char *compare_depths(const model *m, const model_nodes *list, tree_ref top,
                                  const char *root, size_t size, uint64_t *state) {
  unsigned deepest = 0;
  for (size_t i = 0; i < list->count; i++) {
    if (list->nodes[i].depth > deepest) deepest = (unsigned)list->nodes[i].depth;
  }
  const char *what = compare(m, list, top, root, size, KV_KEYPATH_SIZE_MAX);
  unsigned step = deepest < 12 ? 1 : deepest / 4;
  for (unsigned depth = deepest < 12 ? 0 : model_random(state, step); depth <= deepest + 1;
       depth += step) {
    if (what == NULL) what = compare(m, list, top, root, size, depth);
  }
  return what;
}

/* From above all, from nodes, and from what may be none. */
static const char *compare_roots(const model *m, tree_ref top, model_kind kind, uint64_t *state) {
  char key[MODEL_KEY_SIZE_MAX];
  model_nodes list = model_list_nodes(m);
  const char *what = compare_depths(m, &list, top, "", 0, state);
  size_t step = list.count > 40 ? list.count / (kind == KEYS_DEEP ? 4 : 16) : 1;
  for (size_t i = step > 1 ? model_random(state, (unsigned)step) : 0;
       what == NULL && i < list.count; i += step) {
    what = compare_depths(m, &list, top, list.nodes[i].key, list.nodes[i].size, state);
  }
  for (int i = 0; what == NULL && i < 10; i++) {
    size_t size = model_random_bound(state, kind, m, key);
    if (keypath_check(key, size, NULL) != KV_OK) continue;
    what = compare_depths(m, &list, top, key, size, state);
  }
  free(list.nodes);
  return what;
}

/* --- the k-th leaf ------------------------------------------------------------------------------- */

static const char *compare_at(const model *m, tree_ref top) {
  const char *what = NULL;
  tree_cursor c;
  tree_cursor_init(&c, top);
  for (size_t i = 0; what == NULL && i < m->count + 2; i++) {
    const model_entry *here = i < m->count ? m->entries[i] : NULL;
    if (tree_cursor_at(&c, i) != KV_OK || !model_same_leaf(here, c.leaf)) what = "at";
    if (what != NULL || here == NULL) continue;
    bool up = i % 2 == 0;
    int rc = up ? tree_cursor_next(&c) : tree_cursor_prev(&c);
    size_t beside = up ? i + 1 : i - 1;
    const model_entry *entry = beside < m->count ? m->entries[beside] : NULL;
    if (rc != KV_OK || !model_same_leaf(entry, c.leaf)) what = "beside";
  }
  if (what == NULL && (tree_cursor_at(&c, UINT64_MAX) != KV_OK || c.leaf != NULL)) what = "beyond";
  tree_cursor_free(&c);
  return what;
}

/* --- random trees -------------------------------------------------------------------------------- */

static bool put(tree *t, model *m, const char *key, size_t size) {
  (void)model_put(m, key, size, &some);
  return tree_put(t, key, size, &some, NULL) == KV_OK;
}

/* Keys in and out again; deleting leaves nodes without a value, and takes others along. */
static void random_tree(uint64_t seed, model_kind kind) {
  char key[MODEL_KEY_SIZE_MAX];
  tree t;
  model m = {0};
  uint64_t state = seed * 77 + kind + 1;
  if (!CHECK(tree_init(&t) == KV_OK && tree_edit_begin(&t) == KV_OK)) return;
  unsigned entries = model_random(&state, kind == KEYS_DEEP ? 12 : 150);
  for (unsigned i = 0; i < entries; i++) {
    if (!put(&t, &m, key, model_random_key(&state, kind, key))) FAIL("put");
  }
  for (unsigned i = m.count > 1 ? model_random(&state, (unsigned)m.count) : 0; i > 0; i--) {
    const model_entry *entry = m.entries[model_random(&state, (unsigned)m.count)];
    size_t size = entry->size;
    memcpy(key, entry->key, size);
    if (tree_delete(&t, key, size, NULL) != KV_OK) FAIL("delete");
    model_delete(&m, key, size);
  }
  const char *what = compare_roots(&m, t.edit.top, kind, &state);
  if (what == NULL) what = compare_at(&m, t.edit.top);
  if (!CHECK_STR(what, NULL)) printf("  seed %d, kind %d\n", (int)seed, (int)kind);
  tree_edit_rollback(&t);
  tree_destroy(&t);
  model_free(&m);
}

/* --- shapes -------------------------------------------------------------------------------------- */

static void check_shape(const char *const *keys, size_t count) {
  tree t;
  model m = {0};
  uint64_t state = 5;
  if (!CHECK(tree_init(&t) == KV_OK && tree_edit_begin(&t) == KV_OK)) return;
  for (size_t i = 0; i < count; i++) CHECK(put(&t, &m, keys[i], strlen(keys[i])));
  CHECK_STR(compare_roots(&m, t.edit.top, KEYS_SEGMENTS, &state), NULL);
  CHECK_STR(compare_at(&m, t.edit.top), NULL);
  tree_edit_rollback(&t);
  tree_destroy(&t);
  model_free(&m);
}

static void shapes(void) {
  static const char *const one[] = {"a"}, *const path[] = {"a/b/c"};
  static const char *const around[] = {"a",   "a!/x",  "a-b", "a-b/c", "a.b",
                                       "a/b", "a/b/c", "a0",  "b/c"};
  static const char *const ends[] = {"ab", "abc", "abc/d", "ab/c", "a/bc", "a/b"};
  check_shape(NULL, 0);
  check_shape(one, 1);
  check_shape(path, 1);
  check_shape(around, 9);
  check_shape(ends, 6);
}

/* Levels as far as a keypath goes, every tenth with a value, so that the walk's steps outgrow the
** place they have in it. */
static size_t fill_deep(tree *t, char *key) {
  size_t size = 0;
  for (size_t level = 1; size + 2 < KV_KEYPATH_SIZE_MAX; level++) {
    if (size > 0) key[size++] = '/';
    key[size++] = 'd';
    if (level % 10 == 0 && tree_put(t, key, size, &some, NULL) != KV_OK) FAIL("put");
  }
  CHECK(tree_put(t, key, size, &some, NULL) == KV_OK);
  return (size + 1) / 2;
}

static void deep_path(void) {
  static char key[KV_KEYPATH_SIZE_MAX];
  tree t;
  tree_walk w;
  if (!CHECK(tree_init(&t) == KV_OK && tree_edit_begin(&t) == KV_OK)) return;
  size_t levels = fill_deep(&t, key), seen = 0, wrong = 0;
  CHECK_INT(levels, 32767);
  int rc = tree_walk_start(&w, t.edit.top, "", 0, KV_KEYPATH_SIZE_MAX);
  for (; rc == KV_OK && w.label != NULL; rc = tree_walk_next(&w)) {
    uint64_t children, nodes;
    tree_walk_counts(&w, &children, &nodes);
    seen++;
    bool value = seen % 10 == 0 || seen == levels;
    wrong += w.depth != seen || w.size != seen * 2 - 1 || (w.leaf != NULL) != value ||
             children != (seen < levels) || nodes != levels - seen;
  }
  CHECK(rc == KV_OK);
  CHECK_INT(seen, levels);
  CHECK_INT(wrong, 0);
  tree_walk_free(&w);
  tree_edit_rollback(&t);
  tree_destroy(&t);
}

/* --- what is passed over ------------------------------------------------------------------------ */

/* Below an inner node, replace every way but the first by an address that cannot be read. The first
** is left, since a node's label is the first key below it. Returns how many keys became
** unreachable. */
static uint64_t poison(tree_ref ref) {
  uint64_t lost = 0;
  while (!ref_is_leaf(ref)) {
    tree_ref *refs = inner_refs(ref_inner(ref));
    for (unsigned i = 1; i < ref_inner(ref)->count; i++) {
      lost += ref_values(refs[i]);
      refs[i] = 8;
    }
    ref = refs[0];
  }
  return lost;
}

static size_t list_children(tree_ref top, const char *folder) {
  tree_walk w;
  size_t found = 0;
  int rc = tree_walk_start(&w, top, folder, strlen(folder), 2);
  for (; rc == KV_OK && w.label != NULL; rc = tree_walk_next(&w)) {
    uint64_t children, nodes;
    tree_walk_counts(&w, &children, &nodes);
    found += w.depth == 2 && nodes == 10010 && children == 10;
  }
  tree_walk_free(&w);
  return rc == KV_OK ? found : 0;
}

/* In a process of its own, which a step into what is unreadable kills. 0: all is well. */
static int list_poisoned(tree_ref top) {
  static const struct rlimit no_core = {0};
  char key[40];
  uint64_t lost = 0;
  (void)setrlimit(RLIMIT_CORE, &no_core);
  for (int i = 0; i < 10; i++) {
    int size = sprintf(key, "f/c%d", i);
    lost += poison(find_below(top, key, (size_t)size));
  }
  if (lost != 100000 - 10) return 2;
  return list_children(top, "f") == 10 ? 0 : 3;
}

/* The ten children of a folder with 100,000 keys below them cost what ten cost. */
static void passed_over_is_not_touched(void) {
  char key[40];
  tree t;
  if (!CHECK(tree_init(&t) == KV_OK && tree_edit_begin(&t) == KV_OK)) return;
  for (int i = 0; i < 100000; i++) {
    int size = sprintf(key, "f/c%d/d%d/%d", i % 10, i / 10 % 10, i / 100);
    if (tree_put(&t, key, (size_t)size, &some, NULL) != KV_OK) FAIL("put");
  }
  CHECK(tree_put(&t, "g", 1, &some, NULL) == KV_OK);
  CHECK_INT(list_children(t.edit.top, "f"), 10);
  (void)fflush(stdout);
  pid_t child = fork();
  if (child == 0) _exit(list_poisoned(t.edit.top));
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK_INT(status, 0);
  tree_edit_rollback(&t);
  tree_destroy(&t);
}

/* --- memory -------------------------------------------------------------------------------------- */

/* A whole walk; nodes seen, or -1 if memory was short. */
static long walk_all(tree_ref top) {
  tree_walk w;
  long seen = 0;
  int rc = tree_walk_start(&w, top, "", 0, KV_KEYPATH_SIZE_MAX);
  for (; rc == KV_OK && w.label != NULL; rc = tree_walk_next(&w)) seen++;
  if (rc != KV_OK) CHECK(rc == KV_ENOMEM && w.label == NULL);
  tree_walk_free(&w);
  return rc == KV_OK ? seen : -1;
}

static void every_allocation_fails(void) {
  static char key[KV_KEYPATH_SIZE_MAX];
  tree t;
  if (!CHECK(tree_init(&t) == KV_OK && tree_edit_begin(&t) == KV_OK)) return;
  long levels = (long)fill_deep(&t, key), n = 0, seen = -1, held = blocks;
  for (; n < 100 && seen < 0; n++) {
    calls_left = n;
    seen = walk_all(t.edit.top);
    calls_left = -1;
    CHECK_INT(blocks, held);
  }
  CHECK_INT(seen, levels);
  CHECK(n > 3); /* the steps grew several times, and each failed */
  tree_cursor c;
  for (n = 0; n < 100; n++) {
    tree_cursor_init(&c, t.edit.top);
    calls_left = n;
    int rc = tree_cursor_at(&c, (uint64_t)levels / 10);
    calls_left = -1;
    CHECK(rc == KV_OK ? c.leaf != NULL : rc == KV_ENOMEM && c.leaf == NULL);
    tree_cursor_free(&c);
    CHECK_INT(blocks, held);
    if (rc == KV_OK) break;
  }
  CHECK(n > 3);
  tree_edit_rollback(&t);
  tree_destroy(&t);
  CHECK_INT(blocks, 0);
}

/* Before the node that lies deep there is one that does not: the step from here to there fails. */
static void moving_fails(kv *db) {
  int rc = KV_ENOMEM;
  long n = 0;
  MUST(help_commit_put(db, "A", "x"));
  for (; rc == KV_ENOMEM && n < 100; n++) {
    kv_walk *w = NULL;
    kv_node node;
    MUST(kv_walk_open(db, "", 0, 9, &w, &help_err));
    calls_left = n;
    rc = kv_walk_next(w);
    calls_left = -1;
    CHECK(rc == KV_OK || rc == KV_ENOMEM);
    CHECK(kv_walk_node(w, &node) == (rc == KV_OK));
    kv_walk_close(w);
  }
  CHECK_INT(n, 3); /* the steps grow twice */
  CHECK_INT(help_stats(db).readers, 0);
}

/* The same through kv.h: nothing stays pinned. */
static void opening_fails(void) {
  kv_walk *w = NULL;
  kv *db = help_open_full(NULL);
  kv_node node;
  char key[100];
  long n = 0;
  /* The first node lies as deep in the tree: ab, aab, aaab ... */
  MUST(kv_begin(db, 0, &help_err));
  for (size_t size = 2; size < sizeof key; size++) {
    memset(key, 'a', size - 1);
    key[size - 1] = 'b';
    MUST(kv_put(db, key, size, &some, NULL, &help_err));
  }
  MUST(kv_commit(db, 0, &help_err));
  for (; w == NULL && n < 100; n++) {
    calls_left = n;
    int rc = kv_walk_open(db, "", 0, 9, &w, &help_err);
    calls_left = -1;
    CHECK(rc == KV_OK || (rc == KV_ENOMEM && w == NULL));
    if (w == NULL) CHECK_INT(help_stats(db).readers, 0);
  }
  CHECK(n > 3); /* the walk, the pin, and its steps twice */
  CHECK(w != NULL && kv_walk_node(w, &node) && node.size == sizeof key - 1);
  kv_walk_close(w);
  CHECK_INT(help_stats(db).readers, 0);
  moving_fails(db);
  MUST(kv_close(db, NULL));
  CHECK_INT(blocks, 0);
}

int main(int argc, char **argv) {
  uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, last = argc > 1 ? first : 15;
  for (uint64_t seed = first; seed <= last; seed++) {
    for (int kind = 0; kind < KEYS_KINDS; kind++) random_tree(seed, (model_kind)kind);
  }
  shapes();
  deep_path();
  passed_over_is_not_touched();
  os.malloc = short_malloc;
  os.realloc = short_realloc;
  os.free = counted_free;
  every_allocation_fails();
  opening_fails();
  return unit_done();
}
