/*
** tree_version.c - versions of the tree: stamps, publishing, pins, savepoints, and what is freed
** when. See tree.h for the invariants.
**
** A reader announces what it reads in a slot: the address of a published version, or a private
** stamp. Announcing a published version takes three steps: load it, store it into the slot, load it
** again; if it is still the published one, every later look of the writer at the slots finds it,
** and the writer frees nothing of a version that is in a slot. If it has changed, the slot may name
** a version whose memory is being reused: the writer may read its stamp all the same, since a
** version's memory is never given back, and at worst keeps something a little longer.
**
** The writer frees at the beginning of an edit. It has then no savepoint and no private version,
** so the stamps that matter are those in the slots, the published one, and those of the sealed
** versions after it, which readers may come to yet. An entry stays for as long as one of these
** stamps lies in [birth, gone).
**
** A dropped edit is one garbage entry with its top, and freeing it walks down to what is older. That
** must still be there: nodes that an entry can meet are not freed before it. Within the edit,
** edit.floor sees to it; later they become garbage themselves, behind the entry in the list and
** held by whatever holds it.
*/
#include "tree_version.h"

#include "os.h"
#include "tree_node.h"

#define READERS_PER_BLOCK 64u
#define STAMP_NONE UINT64_MAX
#define STAMPS_FEW 4u       /* are looked at one after another */
#define PREFETCH_AHEAD 8u   /* entries of garbage: freed ones are touched again after long */
#define UNPUBLISHED_FEW 16u /* versions: looking at so many costs little */
#define MUCH_GARBAGE 8192u  /* entries ... */
#define MUCH_LARGE ((uint64_t)1 << 20) /* ... or bytes of large values */
#define GARBAGE_ROOM_KEPT 1024u

#define SLOT_FREE 0u
#define SLOT_IDLE 2u /* taken, announces nothing */
/* else: address of a tree_version, or a private stamp * 2 + 1 */

struct tree_readers {
  _Atomic uintptr_t slots[READERS_PER_BLOCK];
  _Atomic unsigned used; /* slots from here on were never taken, so that few have to be looked at */
  tree_readers *next;
};

/* --- versions --------------------------------------------------------------------------------- */

static tree_version *version_new(tree *t) {
  tree_version *version = t->spare;
  if (version != NULL) {
    t->spare = version->next;
    return version;
  }
  version = os.malloc(sizeof *version);
  if (version == NULL) return NULL;
  *version = (tree_version){0};
  atomic_init(&version->stamp, 0);
  atomic_init(&version->seq, 0);
  return version;
}

static void version_free(tree *t, tree_version *version) {
  version->next = t->spare;
  t->spare = version;
}

int tree_init(tree *t) {
  memset(t, 0, sizeof *t);
  t->head = version_new(t);
  tree_readers *readers = os.malloc(sizeof *readers);
  if (t->head == NULL || readers == NULL) {
    os.free(t->head);
    os.free(readers);
    return KV_ENOMEM;
  }
  memset(readers, 0, sizeof *readers);
  t->stamp = 1;
  atomic_store(&t->head->stamp, 1);
  atomic_store(&t->published, t->head);
  atomic_store(&t->readers, readers);
  return KV_OK;
}

/* --- freeing ---------------------------------------------------------------------------------- */

/* Garbage entries are nodes or, with bit 1 set, versions. */
static tree_ref version_ref(tree_version *version) {
  return (tree_ref)version | 2u;
}

/* Free every node below top that is younger than `since`. What is older ends the walk: all below it
** is older too. Nodes on the way are chained through their own memory, so that no depth and no
** shortage of memory can stop it. */
static void free_younger(tree *t, tree_ref top, uint64_t since) {
  tree_inner *chain = NULL;
  tree_ref ref = top;
  for (;;) {
    if (ref != 0 && ref_stamp(ref) > since) {
      if (ref_is_leaf(ref)) {
        ref_free(&t->memory, ref);
      } else {
        tree_inner *node = ref_inner(ref);
        node->nodes = (uint64_t)(uintptr_t)chain;
        chain = node;
      }
    }
    if (chain == NULL) return;
    if (chain->count > 0) {
      ref = inner_refs(chain)[--chain->count];
    } else {
      tree_inner *done = chain;
      chain = (tree_inner *)(uintptr_t)done->nodes;
      ref_free(&t->memory, inner_ref(done));
      ref = 0;
    }
  }
}

/* Bytes of the large value that an entry holds; a dropped edit may hold many. */
static uint64_t garbage_large(const tree_garbage *entry) {
  if (entry->since != 0) return MUCH_LARGE;
  if (!ref_is_leaf(entry->ref)) return 0;
  return leaf_apart_size(ref_leaf(entry->ref));
}

static inline void garbage_free(tree *t, const tree_garbage *entry) {
  tree_ref ref = entry->ref;
  if (entry->since == 0 && (ref & 3u) == 0) { /* an inner node: most are */
    ref_free(&t->memory, ref);
    return;
  }
  if (entry->since == 0 && (ref & 2u) != 0) {
    version_free(t, (tree_version *)(ref & ~(tree_ref)3));
    return;
  }
  uint64_t large = garbage_large(entry);
  t->garbage_large -= large;
  t->large_freed += large;
  if (entry->since != 0) {
    free_younger(t, ref, entry->since);
  } else {
    ref_free(&t->memory, ref);
  }
}

static void set_add(tree_stamps *set, uint64_t stamp) {
  size_t i = set->size;
  while (i > 0 && set->stamps[i - 1] > stamp) i--;
  if (i > 0 && set->stamps[i - 1] == stamp) return;
  if (set->size == TREE_STAMPS_MAX) { /* then the greatest go */
    set->overflow = true;
    if (i == set->size) return;
    set->size--;
  }
  if (i < set->size) {
    memmove(set->stamps + i + 1, set->stamps + i, (set->size - i) * sizeof set->stamps[0]);
  }
  set->stamps[i] = stamp;
  set->size++;
}

/* The first stamp of the set that is >= from, STAMP_NONE if there is none. */
static inline uint64_t set_next(const tree_stamps *set, uint64_t from) {
  if (set->size > 0 && set->stamps[0] >= from) return set->stamps[0]; /* usual */
  size_t low = 0, high = set->size;
  if (high <= STAMPS_FEW) { /* usual too */
    while (low < high && set->stamps[low] < from) low++;
    high = low;
  }
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (set->stamps[middle] < from) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low < set->size) return set->stamps[low];
  return set->overflow ? from : STAMP_NONE;
}

/* The least stamp that `before` has and `now` has no more, STAMP_NONE if there is none. */
static uint64_t set_least_lost(const tree_stamps *before, const tree_stamps *now) {
  for (size_t i = 0; i < before->size; i++) {
    if (set_next(now, before->stamps[i]) != before->stamps[i]) return before->stamps[i];
  }
  if (!before->overflow) return STAMP_NONE;
  uint64_t next = before->stamps[before->size - 1] + 1;
  bool has_all = now->overflow && now->stamps[now->size - 1] < next;
  return has_all ? STAMP_NONE : next;
}

static uint64_t slot_stamp(uintptr_t slot) {
  if (slot & 1u) return slot >> 1;
  return atomic_load_explicit(&((tree_version *)slot)->stamp, memory_order_relaxed);
}

/* Collect the stamps in use. The published one is read first: see the note on top. */
static void stamps_in_use(tree *t, tree_stamps *set) {
  set->size = 0;
  set->overflow = false;
  for (tree_version *version = atomic_load(&t->published); version != NULL;
       version = version == t->head ? NULL : version->next) {
    set_add(set, atomic_load(&version->stamp));
  }
  for (tree_readers *block = atomic_load(&t->readers); block != NULL; block = block->next) {
    unsigned used = atomic_load(&block->used);
    for (unsigned i = 0; i < used; i++) {
      uintptr_t slot = atomic_load(&block->slots[i]);
      if (slot != SLOT_FREE && slot != SLOT_IDLE) set_add(set, slot_stamp(slot));
    }
  }
}

static uint64_t garbage_birth(const tree_garbage *entry) {
  if (entry->since != 0) return entry->since + 1;
  if (entry->ref & 2u) return atomic_load(&((tree_version *)(entry->ref & ~(tree_ref)3))->stamp);
  return ref_stamp(entry->ref);
}

static void prefetch_garbage(const tree_garbage *entry) {
  __builtin_prefetch((const void *)(entry->ref & ~(tree_ref)3), 1);
}

/* The first of so many garbage entries that is gone later than a stamp. */
static size_t garbage_after(const tree *t, size_t count, uint64_t stamp) {
  size_t low = 0, high = count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (t->garbage[middle].gone <= stamp) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static bool is_much(const tree *t) {
  return t->garbage_size >= MUCH_GARBAGE || t->garbage_large >= MUCH_LARGE;
}

/* Free what can be freed. What was held the last time is so still, but for entries that the stamps
** no longer in use may have held: these are gone later than the least of them. So a long reader's
** garbage is not looked at again and again while others come and go. */
static void reclaim_once(tree *t) {
  tree_stamps set;
  t->reclaimed_seq = atomic_load(&t->published)->seq;
  stamps_in_use(t, &set);
  size_t kept = t->garbage_held;
  if (kept > 0) kept = garbage_after(t, kept, set_least_lost(&t->held, &set));
  for (size_t i = kept; i < t->garbage_size; i++) {
    tree_garbage *entry = &t->garbage[i];
    if (i + PREFETCH_AHEAD < t->garbage_size) prefetch_garbage(entry + PREFETCH_AHEAD);
    if (set_next(&set, garbage_birth(entry)) < entry->gone) {
      t->garbage[kept++] = *entry;
    } else {
      garbage_free(t, entry);
    }
  }
  t->garbage_size = t->garbage_held = kept;
  t->held.size = set.size;
  t->held.overflow = set.overflow;
  memcpy(t->held.stamps, set.stamps, set.size * sizeof set.stamps[0]);
}

/* What one big transaction took is not kept for ever. */
static void give_garbage_room_back(tree *t) {
  if (t->garbage_room <= GARBAGE_ROOM_KEPT || t->garbage_size > t->garbage_room / 8) return;
  size_t room = t->garbage_room / 4;
  tree_garbage *garbage = os.realloc(t->garbage, room * sizeof *garbage);
  if (garbage == NULL) return;
  t->garbage = garbage;
  t->garbage_room = room;
  t->large_freed += MUCH_LARGE; /* there may be more of that transaction's with the allocator */
}

/* If much is left, readers are told that one of them may be who holds it; then it is looked at once
** more, for one who went meanwhile and was not told. */
static void reclaim(tree *t) {
  reclaim_once(t);
  if (is_much(t)) {
    atomic_store(&t->much_until, atomic_load(&atomic_load(&t->published)->stamp));
    reclaim_once(t);
  }
  if (!is_much(t) && tree_has_much_garbage(t)) atomic_store(&t->much_until, 0);
  give_garbage_room_back(t);
}

void tree_reclaim(tree *t) {
  assert(!t->edit.open);
  t->edit.depth = 0;
  reclaim(t);
}

int tree_garbage_reserve(tree *t, size_t count) {
  /* For sealing, a rollback to each savepoint and the base, and taking sealed versions back. */
  count += 3 + t->edit.depth;
  if (t->garbage_room - t->garbage_size >= count) return KV_OK;
  size_t room = t->garbage_room < 64 ? 64 : t->garbage_room * 2;
  while (room - t->garbage_size < count) room *= 2;
  tree_garbage *garbage = os.realloc(t->garbage, room * sizeof *garbage);
  if (garbage == NULL) return KV_ENOMEM;
  t->garbage = garbage;
  t->garbage_room = room;
  return KV_OK;
}

static inline void garbage_add(tree *t, tree_ref ref, uint64_t since) {
  assert(t->garbage_size < t->garbage_room);
  tree_garbage *entry = &t->garbage[t->garbage_size++];
  *entry = (tree_garbage){.ref = ref, .gone = t->stamp, .since = since};
  if (since != 0 || ref_is_leaf(ref)) t->garbage_large += garbage_large(entry);
}

void tree_retire(tree *t, tree_ref ref) {
  pool_count(&t->move.retired, 1);
  if (ref_stamp(ref) > t->edit.frozen) {
    ref_free(&t->memory, ref);
  } else {
    garbage_add(t, ref, 0);
  }
}

void tree_destroy(tree *t) {
  assert(!t->edit.open && tree_pin_count(t) == 0);
  for (size_t i = 0; i < t->garbage_size; i++) garbage_free(t, &t->garbage[i]);
  free_younger(t, t->head->top, 0);
  version_free(t, t->head);
  while (t->spare != NULL) {
    tree_version *version = t->spare;
    t->spare = version->next;
    os.free(version);
  }
  for (tree_readers *block = atomic_load(&t->readers); block != NULL;) {
    tree_readers *next = block->next;
    os.free(block);
    block = next;
  }
  os.free(t->garbage);
  os.free(t->move.key);
  assert(atomic_load(&t->memory.bytes) == 0);
  pool_destroy(&t->memory);
  memset(t, 0, sizeof *t);
}

/* --- pins ------------------------------------------------------------------------------------- */

/* A slot of one's own; NULL if memory is short. */
static _Atomic uintptr_t *slot_take(tree *t) {
  tree_readers *first = atomic_load(&t->readers);
  for (tree_readers *block = first; block != NULL; block = block->next) {
    for (unsigned i = 0; i < READERS_PER_BLOCK; i++) {
      uintptr_t expected = SLOT_FREE;
      if (atomic_load_explicit(&block->slots[i], memory_order_relaxed) == SLOT_FREE &&
          atomic_compare_exchange_strong(&block->slots[i], &expected, SLOT_IDLE)) {
        unsigned used = atomic_load(&block->used);
        while (used <= i && !atomic_compare_exchange_weak(&block->used, &used, i + 1)) continue;
        return &block->slots[i];
      }
    }
  }
  tree_readers *block = os.malloc(sizeof *block);
  if (block == NULL) return NULL;
  memset(block, 0, sizeof *block);
  atomic_store(&block->used, 1);
  atomic_store(&block->slots[0], SLOT_IDLE);
  do {
    block->next = first;
  } while (!atomic_compare_exchange_weak(&t->readers, &first, block));
  return &block->slots[0];
}

int tree_pin_published(tree *t, tree_pin *out) {
  _Atomic uintptr_t *slot = slot_take(t);
  if (slot == NULL) return KV_ENOMEM;
  tree_version *version = atomic_load(&t->published), *before;
  do {
    before = version;
    atomic_store(slot, (uintptr_t)version);
    version = atomic_load(&t->published);
  } while (version != before);
  *out =
      (tree_pin){.top = version->top, .bytes = version->bytes, .seq = version->seq, .slot = slot};
  return KV_OK;
}

int tree_pin_edit(tree *t, tree_pin *out) {
  assert(t->edit.open);
  _Atomic uintptr_t *slot = slot_take(t);
  if (slot == NULL) return KV_ENOMEM;
  atomic_fetch_add(&t->edit_pins, 1);
  atomic_store(slot, t->stamp << 1 | 1);
  *out = (tree_pin){.top = t->edit.top, .bytes = t->edit.bytes, .seq = t->head->seq, .slot = slot};
  t->edit.frozen = t->stamp++;
  return KV_OK;
}

int tree_pin_head(tree *t, tree_pin *out) {
  return tree_pin_version(t, t->head, out);
}

int tree_pin_version(tree *t, tree_version *version, tree_pin *out) {
  _Atomic uintptr_t *slot = slot_take(t);
  if (slot == NULL) return KV_ENOMEM;
  atomic_store(slot, (uintptr_t)version);
  *out =
      (tree_pin){.top = version->top, .bytes = version->bytes, .seq = version->seq, .slot = slot};
  return KV_OK;
}

void tree_pin_move_to_head(tree *t, tree_pin *pin) {
  assert(pin->slot != NULL && (atomic_load(pin->slot) & 1u) == 0);
  atomic_store(pin->slot, (uintptr_t)t->head);
  pin->top = t->head->top;
  pin->bytes = t->head->bytes;
  pin->seq = t->head->seq;
}

bool tree_unpin(tree *t, tree_pin *pin) {
  if (pin->slot == NULL) return false;
  uintptr_t slot = atomic_load_explicit(pin->slot, memory_order_relaxed);
  uint64_t stamp = slot_stamp(slot);
  if (slot & 1u) atomic_fetch_sub(&t->edit_pins, 1);
  atomic_store(pin->slot, SLOT_FREE);
  *pin = (tree_pin){0};
  return stamp < atomic_load(&t->much_until);
}

size_t tree_pin_count(tree *t) {
  size_t count = 0;
  for (tree_readers *block = atomic_load(&t->readers); block != NULL; block = block->next) {
    for (unsigned i = 0; i < READERS_PER_BLOCK; i++) {
      count += atomic_load(&block->slots[i]) != SLOT_FREE;
    }
  }
  return count;
}

uint64_t tree_pin_lag(tree *t) {
  uint64_t newest = atomic_load(&t->published)->seq, oldest = newest;
  for (tree_readers *block = atomic_load(&t->readers); block != NULL; block = block->next) {
    for (unsigned i = 0; i < READERS_PER_BLOCK; i++) {
      uintptr_t slot = atomic_load(&block->slots[i]);
      if (slot == SLOT_FREE || slot == SLOT_IDLE || (slot & 1u)) continue;
      uint64_t seq = atomic_load(&((tree_version *)slot)->seq);
      if (seq < oldest) oldest = seq;
    }
  }
  return newest - oldest;
}

/* --- edits ------------------------------------------------------------------------------------ */

/* Under commits that do not wait hundreds of versions may be unpublished, and looking at the stamps
** in use takes as long as there are many. What has gone since is held by one of them, so that it is
** not worth it before they are published. */
static bool is_worth_reclaiming(const tree *t) {
  const tree_version *published = atomic_load(&t->published);
  if (t->head->seq - published->seq < UNPUBLISHED_FEW) return true;
  return published->seq != t->reclaimed_seq;
}

int tree_edit_begin(tree *t) {
  assert(!t->edit.open);
  if (is_worth_reclaiming(t)) reclaim(t);
  /* What ending the edit needs is set aside now: a version, and places in the garbage. */
  t->edit.depth = 0;
  if (tree_garbage_reserve(t, 0) != KV_OK) return KV_ENOMEM;
  if (t->spare == NULL) {
    tree_version *version = version_new(t);
    if (version == NULL) return KV_ENOMEM;
    version_free(t, version);
  }
  uint64_t frozen = t->stamp++;
  t->edit.open = true;
  t->edit.top = t->head->top;
  t->edit.bytes = t->head->bytes;
  t->edit.frozen = frozen;
  t->edit.floor = 0;
  t->edit.base = (tree_savepoint){.top = t->head->top,
                                  .bytes = t->head->bytes,
                                  .stamp = frozen,
                                  .garbage_size = t->garbage_size};
  return KV_OK;
}

int tree_savepoint_set(tree *t, tree_savepoint *out) {
  assert(t->edit.open);
  if (tree_garbage_reserve(t, 1) != KV_OK) return KV_ENOMEM;
  *out = (tree_savepoint){.top = t->edit.top,
                          .bytes = t->edit.bytes,
                          .stamp = t->stamp,
                          .garbage_size = t->garbage_size,
                          .depth = ++t->edit.depth};
  t->edit.frozen = t->stamp++;
  return KV_OK;
}

void tree_savepoint_rollback(tree *t, const tree_savepoint *to) {
  assert(t->edit.open && to->stamp <= t->edit.frozen && to->garbage_size <= t->garbage_size);
  bool pinned = atomic_load(&t->edit_pins) > 0;
  /* Entries since then: what is older than the savepoint lives again, the rest stays garbage. */
  size_t kept = to->garbage_size;
  for (size_t i = kept; i < t->garbage_size; i++) {
    if (garbage_birth(&t->garbage[i]) <= to->stamp) {
      t->garbage_large -= garbage_large(&t->garbage[i]);
      continue;
    }
    if (pinned) {
      t->garbage[kept++] = t->garbage[i];
    } else {
      garbage_free(t, &t->garbage[i]);
    }
  }
  t->garbage_size = kept;
  tree_ref top = t->edit.top;
  t->edit.top = to->top;
  t->edit.bytes = to->bytes;
  if (top != to->top && top != 0) {
    if (pinned) {
      t->stamp++;
      garbage_add(t, top, to->stamp);
      if (t->edit.floor < to->stamp) t->edit.floor = to->stamp;
    } else {
      free_younger(t, top, to->stamp);
    }
  }
  t->edit.depth = to->depth;
  t->edit.frozen = t->stamp++;
}

void tree_savepoint_release(tree *t, const tree_savepoint *savepoint, const tree_savepoint *outer) {
  assert(t->edit.open);
  t->edit.depth = savepoint->depth - 1;
  if (atomic_load(&t->edit_pins) > 0) return; /* stays frozen; the entries wait for reclaim */
  uint64_t frozen = outer != NULL ? outer->stamp : t->edit.base.stamp;
  if (frozen < t->edit.floor) frozen = t->edit.floor;
  size_t kept = savepoint->garbage_size;
  for (size_t i = kept; i < t->garbage_size; i++) {
    if (garbage_birth(&t->garbage[i]) <= frozen) {
      t->garbage[kept++] = t->garbage[i];
    } else {
      garbage_free(t, &t->garbage[i]);
    }
  }
  t->garbage_size = kept;
  t->edit.frozen = frozen;
}

int tree_edit_clear(tree *t) {
  assert(t->edit.open && t->edit.top == t->head->top);
  if (tree_garbage_reserve(t, 1) != KV_OK) return KV_ENOMEM;
  if (t->edit.top != 0) garbage_add(t, t->edit.top, 1); /* every node is younger than that */
  t->edit.top = 0;
  t->edit.bytes = 0;
  return KV_OK;
}

tree_version *tree_edit_seal(tree *t, uint64_t seq) {
  assert(t->edit.open);
  tree_version *version = version_new(t);
  assert(version != NULL);
  version->top = t->edit.top;
  version->bytes = t->edit.bytes;
  atomic_store_explicit(&version->seq, seq, memory_order_relaxed);
  version->window = 0;
  atomic_store(&version->stamp, t->stamp);
  garbage_add(t, version_ref(t->head), 0);
  if (is_much(t)) atomic_store(&t->much_until, t->stamp);
  t->head->next = version;
  t->head = version;
  t->edit.open = false;
  return version;
}

void tree_edit_rollback(tree *t) {
  tree_savepoint_rollback(t, &t->edit.base);
  t->edit.open = false;
}

/* As a rollback to a savepoint, but that readers may have pinned what is taken back. What it replaced
** is garbage still, since `to` is not older than the published version, and lives again. */
void tree_take_back(tree *t, tree_version *to) {
  uint64_t stamp = atomic_load(&to->stamp);
  tree_version *head = t->head;
  assert(!t->edit.open && head != to);
  size_t kept = garbage_after(t, t->garbage_size, stamp);
  if (t->garbage_held > kept) t->garbage_held = kept;
  for (size_t i = kept; i < t->garbage_size; i++) {
    tree_garbage entry = t->garbage[i];
    if (entry.since != 0 && entry.since < stamp)
      entry.since = stamp; /* a part of it may be older */
    if (garbage_birth(&entry) > stamp) t->garbage[kept++] = entry;
  }
  t->garbage_size = kept;
  t->stamp++;
  if (head->top != to->top && head->top != 0) garbage_add(t, head->top, stamp);
  garbage_add(t, version_ref(head), 0);
  t->head = to;
}

void tree_publish(tree *t, tree_version *version) {
  atomic_store(&t->published, version);
}
