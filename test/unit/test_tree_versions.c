/*
** test_tree_versions.c - the tree's versions: pins of all kinds, savepoints, rollbacks and sealed
** versions that wait to be published or are taken back, in random order against copies of a model; and that memory
** holds what these need, no more.
**
**     test_tree_versions SEED     only the random run with this seed
*/
#include "tree_model.h"
#include "unit.h"

#define SAVED_MAX 6u
#define PENDING_MAX 5u
#define PINS_MAX 10u

typedef struct saved {
  tree_savepoint at;
  model content;
} saved;

typedef struct sealed {
  tree_version *version;
  uint64_t seq;
  model content;
  bool moved; /* it holds leaves that its slice has moved */
} sealed;

typedef struct held {
  tree_pin pin;
  uint64_t seq;
  model content;
} held;

/* A tree and what every state of it that can be reached should hold. */
typedef struct world {
  tree t;
  uint64_t random;
  model_kind kind;
  uint64_t seq;     /* of the newest sealed version */
  model now, base;  /* the open edit; the newest sealed version */
  sealed published; /* its version is NULL at first */
  saved saved[SAVED_MAX];
  unsigned depth; /* savepoints set */
  sealed pending[PENDING_MAX];
  unsigned pending_count;
  held pins[PINS_MAX];
  unsigned pin_count;
  bool moved; /* some node ever was: such a leaf may be held longer than it can be seen */
} world;

static unsigned moves; /* slices that moved something */

static unsigned chance(world *w, unsigned limit) {
  return model_random(&w->random, limit);
}

/* --- steps: each returns NULL, or words for what is wrong --------------------------------------- */

static const char *change(world *w) {
  char key[MODEL_KEY_SIZE_MAX], data[3000];
  bool told = false;
  for (unsigned n = chance(w, 8); n > 0; n--) {
    size_t size = model_random_key(&w->random, w->kind, key);
    if (chance(w, 5) < 3) {
      kv_value value = model_random_value(&w->random, data);
      if (tree_put(&w->t, key, size, &value, &told) != KV_OK) return "put";
      if (told != model_put(&w->now, key, size, &value)) return "replaced";
    } else {
      if (w->now.count > 0 && chance(w, 2) == 0) {
        const model_entry *entry = w->now.entries[chance(w, (unsigned)w->now.count)];
        memcpy(key, entry->key, size = entry->size);
      }
      if (tree_delete(&w->t, key, size, &told) != KV_OK) return "delete";
      if (told != model_delete(&w->now, key, size)) return "found";
    }
  }
  return NULL;
}

/* Now and then take nearly everything away, so that the top itself goes and comes. */
static const char *clear(world *w) {
  while (w->now.count > chance(w, 3)) {
    const model_entry *entry = w->now.entries[chance(w, (unsigned)w->now.count)];
    if (tree_delete(&w->t, entry->key, entry->size, NULL) != KV_OK) return "clear";
    model_delete(&w->now, entry->key, entry->size);
  }
  return NULL;
}

/* Held by pins, the version readers get, the newest, and those between: each node counted once. */
typedef struct ref_list {
  tree_ref *refs;
  size_t count, room;
} ref_list;

static void list_refs(ref_list *list, tree_ref ref) {
  if (ref == 0) return;
  if (list->count == list->room) {
    list->room = list->room * 2 + 64;
    list->refs = model_memory(list->refs, list->room * sizeof *list->refs);
  }
  list->refs[list->count++] = ref;
  if (ref_is_leaf(ref)) return;
  for (unsigned i = 0; i < ref_inner(ref)->count; i++)
    list_refs(list, inner_refs(ref_inner(ref))[i]);
}

static int order_refs(const void *a, const void *b) {
  tree_ref x = *(const tree_ref *)a, y = *(const tree_ref *)b;
  return (x > y) - (x < y);
}

/* Whether the pool holds exactly what somebody can see. Right after the beginning of an edit; what
** a private pin keeps of a dropped edit may be more than it sees. */
static const char *check_memory(world *w) {
  for (size_t i = 0; i < w->t.garbage_size; i++) {
    if (w->t.garbage[i].since != 0) return NULL;
  }
  ref_list list = {0};
  for (tree_version *v = atomic_load(&w->t.published);; v = v->next) {
    list_refs(&list, v->top);
    if (v == w->t.head) break;
  }
  for (unsigned i = 0; i < w->pin_count; i++) list_refs(&list, w->pins[i].pin.top);
  if (list.count > 0) qsort(list.refs, list.count, sizeof *list.refs, order_refs);
  size_t bytes = 0, in_use = atomic_load(&w->t.memory.bytes);
  for (size_t i = 0; i < list.count; i++) {
    if (i > 0 && list.refs[i] == list.refs[i - 1]) continue;
    bytes += (ref_alloc_size(list.refs[i]) + 7) & ~(size_t)7;
  }
  free(list.refs);
  bool right = w->moved ? bytes <= in_use : bytes == in_use;
  return right ? NULL : model_says("%zu bytes in use, %zu in sight", in_use, bytes);
}

static const char *begin(world *w) {
  if (tree_edit_begin(&w->t) != KV_OK) return "begin";
  model_copy(&w->now, &w->base);
  return check_memory(w);
}

static void forget_savepoints(world *w, unsigned depth) {
  while (w->depth > depth) model_free(&w->saved[--w->depth].content);
}

static const char *savepoint(world *w) {
  unsigned i = w->depth > 0 ? chance(w, w->depth) : 0;
  switch (chance(w, 3)) {
  case 0:
    if (w->depth == SAVED_MAX) break;
    if (tree_savepoint_set(&w->t, &w->saved[w->depth].at) != KV_OK) return "savepoint";
    model_copy(&w->saved[w->depth++].content, &w->now);
    break;
  case 1:
    if (w->depth == 0) break;
    tree_savepoint_rollback(&w->t, &w->saved[i].at);
    model_copy(&w->now, &w->saved[i].content);
    forget_savepoints(w, i + 1);
    break;
  default:
    if (w->depth == 0) break;
    tree_savepoint_release(&w->t, &w->saved[i].at, i > 0 ? &w->saved[i - 1].at : NULL);
    forget_savepoints(w, i);
  }
  return w->t.edit.depth == w->depth ? NULL : "depth";
}

static void end(world *w) {
  forget_savepoints(w, 0);
  if (w->pending_count == PENDING_MAX || chance(w, 3) == 0) {
    tree_edit_rollback(&w->t);
    model_copy(&w->now, &w->base);
    return;
  }
  sealed *s = &w->pending[w->pending_count++];
  s->seq = ++w->seq;
  s->version = tree_edit_seal(&w->t, s->seq);
  s->moved = false;
  model_copy(&s->content, &w->now);
  model_copy(&w->base, &w->now);
}

/* A slice of a pass in an edit of its own, which is a version with the same number and content. */
static const char *move(world *w) {
  if (w->pending_count == PENDING_MAX) return NULL;
  if (tree_edit_begin(&w->t) != KV_OK) return "begin";
  if (tree_move(&w->t, 1 + chance(w, 200)) == 0) {
    tree_edit_rollback(&w->t);
    return NULL;
  }
  w->moved = true;
  sealed *s = &w->pending[w->pending_count++];
  s->seq = w->seq;
  s->version = tree_edit_seal(&w->t, s->seq);
  s->moved = true;
  model_copy(&s->content, &w->base);
  moves++;
  return NULL;
}

/* Publish the next pending version, or skip to the newest. */
static void publish(world *w, bool all) {
  if (w->pending_count == 0) return;
  unsigned n = all || chance(w, 3) == 0 ? w->pending_count : 1;
  tree_publish(&w->t, w->pending[n - 1].version);
  model_free(&w->published.content);
  w->published = w->pending[n - 1];
  for (unsigned i = 0; i + 1 < n; i++) model_free(&w->pending[i].content);
  memmove(w->pending, w->pending + n, (w->pending_count - n) * sizeof *w->pending);
  w->pending_count -= n;
  for (unsigned i = w->pending_count; i < w->pending_count + n; i++) w->pending[i] = (sealed){0};
}

/* Take the newest pending versions back, one at least, but none with moved leaves; pins on them stay. */
static void take_back(world *w) {
  unsigned least = 0;
  for (unsigned i = 0; i < w->pending_count; i++) {
    if (w->pending[i].moved) least = i + 1;
  }
  if (w->t.edit.open || w->pending_count == least) return;
  unsigned kept = least + chance(w, w->pending_count - least);
  const sealed *to = kept > 0 ? &w->pending[kept - 1] : &w->published;
  tree_take_back(&w->t, to->version != NULL ? to->version : atomic_load(&w->t.published));
  w->seq = to->seq;
  model_copy(&w->base, &to->content);
  while (w->pending_count > kept) model_free(&w->pending[--w->pending_count].content);
}

static const char *pin(world *w) {
  if (w->pin_count == PINS_MAX) return NULL;
  held *h = &w->pins[w->pin_count];
  int rc;
  switch (chance(w, 4)) {
  case 0:
  case 1:
    if (!w->t.edit.open) return NULL;
    rc = tree_pin_edit(&w->t, &h->pin);
    h->seq = w->seq;
    model_copy(&h->content, &w->now);
    break;
  case 2:
    rc = tree_pin_head(&w->t, &h->pin);
    h->seq = w->seq;
    model_copy(&h->content, &w->base);
    break;
  default:
    rc = tree_pin_published(&w->t, &h->pin);
    h->seq = w->published.seq;
    model_copy(&h->content, &w->published.content);
    if (chance(w, 4) > 0) break;
    tree_pin_move_to_head(&w->t, &h->pin);
    h->seq = w->seq;
    model_copy(&h->content, &w->base);
  }
  w->pin_count++;
  if (rc != KV_OK || h->pin.slot == NULL) return "pin";
  if (tree_pin_count(&w->t) != w->pin_count) return "number of pins";
  return h->pin.seq == h->seq ? NULL : "seq of a pin";
}

static const char *unpin(world *w) {
  if (w->pin_count == 0) return NULL;
  held *h = &w->pins[chance(w, w->pin_count)];
  const char *what = model_compare(&h->content, h->pin.top);
  tree_unpin(&w->t, &h->pin);
  tree_unpin(&w->t, &h->pin); /* holds nothing by now */
  model_free(&h->content);
  *h = w->pins[--w->pin_count];
  w->pins[w->pin_count] = (held){0};
  return what;
}

/* Let everything go: then the newest version is all there is. */
static const char *quiet(world *w) {
  const char *what = NULL;
  if (w->t.edit.open) {
    end(w);
    w->depth = 0;
  }
  publish(w, true);
  while (what == NULL && w->pin_count > 0) what = unpin(w);
  if (what == NULL) what = begin(w);
  if (what == NULL) tree_edit_rollback(&w->t);
  if (what == NULL && w->t.garbage_size > 0) what = "garbage stays";
  if (what == NULL && atomic_load(&w->t.edit_pins) > 0) what = "number of private pins";
  if (what == NULL) what = model_compare(&w->base, w->t.head->top);
  return what;
}

/* The same content put into a fresh tree makes the same nodes, whatever happened before; their room
** for more children may differ. */
static size_t count_refs(tree_ref top) {
  ref_list list = {0};
  list_refs(&list, top);
  free(list.refs);
  return list.count;
}

static const char *compare_to_fresh(world *w) {
  tree fresh;
  if (tree_init(&fresh) != KV_OK || tree_edit_begin(&fresh) != KV_OK) return "fresh tree";
  for (size_t i = 0; i < w->base.count; i++) {
    const model_entry *entry = w->base.entries[i];
    tree_put(&fresh, entry->key, entry->size, &entry->value, NULL);
  }
  size_t nodes = count_refs(fresh.edit.top);
  tree_edit_rollback(&fresh);
  tree_destroy(&fresh);
  return count_refs(w->t.head->top) == nodes ? NULL : "not the nodes of a fresh tree";
}

static const char *step(world *w) {
  unsigned r = chance(w, 100);
  if (r < 10) return pin(w);
  if (r < 20) return unpin(w);
  if (r < 26) {
    publish(w, false);
    return NULL;
  }
  if (r == 26) return quiet(w);
  if (r > 96) take_back(w);
  if (!w->t.edit.open) return chance(w, 2) == 0 ? move(w) : begin(w);
  if (r == 27) return clear(w);
  if (r < 50) return savepoint(w);
  if (r < 60) {
    end(w);
    return NULL;
  }
  if (r < 65) return model_compare(&w->now, w->t.edit.top);
  return change(w);
}

static bool random_run(uint64_t seed, model_kind kind, int steps) {
  static world w; /* large */
  memset(&w, 0, sizeof w);
  w.random = seed;
  w.kind = kind;
  if (!CHECK(tree_init(&w.t) == KV_OK)) return false;
  const char *what = NULL;
  int i = 0;
  for (; i < steps && what == NULL; i++) what = step(&w);
  if (what == NULL) what = quiet(&w);
  if (what == NULL) what = compare_to_fresh(&w);
  if (what != NULL) printf("seed %llu, kind %d, step %d\n", (unsigned long long)seed, (int)kind, i);
  if (!CHECK_STR(what, NULL)) return false; /* the world may be in any state */
  tree_destroy(&w.t);
  model_free(&w.now);
  model_free(&w.base);
  model_free(&w.published.content);
  return true;
}

/* What a private pin keeps of a dropped edit refers to nodes of the edit before. When the pin has
** gone, these must not go ahead of it: here "old" is such a node, and deleted after a savepoint was
** released that came and went in between. */
static void dropped_edit_goes_first(void) {
  static const kv_value value = {.type = KV_NULL};
  tree t;
  tree_pin p;
  tree_savepoint outer, inner;
  CHECK(tree_init(&t) == KV_OK && tree_edit_begin(&t) == KV_OK);
  CHECK(tree_put(&t, "old", 3, &value, NULL) == KV_OK);
  CHECK(tree_put(&t, "old/too", 7, &value, NULL) == KV_OK);
  CHECK(tree_savepoint_set(&t, &outer) == KV_OK && tree_pin_edit(&t, &p) == KV_OK);
  CHECK(tree_put(&t, "new", 3, &value, NULL) == KV_OK);
  tree_savepoint_rollback(&t, &outer);
  tree_unpin(&t, &p);
  CHECK(tree_savepoint_set(&t, &inner) == KV_OK);
  tree_savepoint_release(&t, &inner, &outer);
  CHECK(tree_savepoint_set(&t, &inner) == KV_OK);
  tree_savepoint_release(&t, &inner, NULL);
  CHECK(tree_delete(&t, "old", 3, NULL) == KV_OK);
  CHECK(tree_delete(&t, "old/too", 7, NULL) == KV_OK);
  tree_publish(&t, tree_edit_seal(&t, 1));
  CHECK(tree_edit_begin(&t) == KV_OK);
  CHECK_INT(atomic_load(&t.memory.bytes), 0);
  tree_edit_rollback(&t);
  tree_destroy(&t);
}

/* More pins on different versions than the stamps that are told apart: nothing a pin needs is freed,
** and when they have gone, everything is. */
static void more_pins_than_stamps(void) {
  enum { PINS = TREE_STAMPS_MAX + 100 };
  static tree_pin pins[PINS];
  static const unsigned strides[] = {1, PINS - 1, 101};
  for (size_t s = 0; s < 3; s++) {
    tree t;
    unsigned wrong = 0, at = 0;
    CHECK(tree_init(&t) == KV_OK);
    for (unsigned i = 0; i < PINS; i++) {
      kv_value value = {.type = KV_INTEGER, .integer = i};
      wrong += tree_edit_begin(&t) != KV_OK || tree_put(&t, "a", 1, &value, NULL) != KV_OK ||
               tree_put(&t, "b", 1, &value, NULL) != KV_OK;
      tree_publish(&t, tree_edit_seal(&t, i));
      wrong += tree_pin_published(&t, &pins[i]) != KV_OK;
    }
    CHECK_INT(tree_pin_count(&t), PINS);
    for (unsigned i = 0; i < PINS; i++, at = (at + strides[s]) % PINS) {
      kv_value value = {0};
      const tree_leaf *leaf = tree_find(pins[at].top, "b", 1);
      if (leaf != NULL) tree_leaf_value(leaf, &value);
      wrong += pins[at].seq != at || value.type != KV_INTEGER || value.integer != at;
      tree_unpin(&t, &pins[at]);
      wrong += tree_edit_begin(&t) != KV_OK;
      tree_edit_rollback(&t);
    }
    CHECK_INT(wrong, 0);
    CHECK_INT(t.garbage_size, 0);
    CHECK_INT(atomic_load(&t.memory.bytes), 2 * 24 + 48);
    tree_destroy(&t);
  }
}

/* A reader stays, and more versions than stamps are always waiting to be published: what came
** and went since the reader is freed all the same, so that garbage does not grow with the number
** of edits. */
static void long_reader_holds_its_own(void) {
  static const kv_value value = {.type = KV_NULL};
  enum { EDITS = 100 * TREE_STAMPS_MAX, BEHIND = 2 * TREE_STAMPS_MAX, STEP = TREE_STAMPS_MAX / 2 };
  static tree_version *versions[EDITS];
  tree t;
  tree_pin reader = {0};
  size_t most_early = 0, most = 0;
  unsigned wrong = 0;
  CHECK(tree_init(&t) == KV_OK);
  for (unsigned i = 0; i < EDITS; i++) {
    char key = (char)('a' + i % 20);
    wrong += tree_edit_begin(&t) != KV_OK || tree_put(&t, &key, 1, &value, NULL) != KV_OK;
    versions[i] = tree_edit_seal(&t, i + 1);
    if (i == STEP) wrong += tree_pin_head(&t, &reader) != KV_OK;
    if (i >= BEHIND && i % STEP == 0) tree_publish(&t, versions[i - BEHIND]);
    if (t.garbage_size > most) most = t.garbage_size;
    if (i == EDITS / 10) most_early = most;
  }
  CHECK_INT(wrong, 0);
  CHECK(most <= most_early + most_early / 4);
  tree_publish(&t, t.head);
  tree_unpin(&t, &reader);
  tree_destroy(&t);
}

int main(int argc, char **argv) {
  static const int steps[] = {1500, 1500, 300, 60, 200};
  uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, last = argc > 1 ? first : 6;
  dropped_edit_goes_first();
  more_pins_than_stamps();
  long_reader_holds_its_own();
  for (uint64_t seed = first; seed <= last; seed++) {
    printf("seed %llu\n", (unsigned long long)seed);
    for (model_kind kind = 0; kind < KEYS_KINDS; kind++) {
      if (!random_run(seed * 100 + kind, kind, steps[kind])) return unit_done();
    }
  }
  CHECK(moves > 100);
  return unit_done();
}
