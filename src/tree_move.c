/*
** tree_move.c - moving nodes together, so that memory goes back to the system. See tree.h.
**
** Values of changing sizes leave slabs behind in which a few blocks are in use, and a region with one
** block in use cannot go back. So the pool chooses its emptiest regions (pool.h), and a pass goes
** through the keys in order and copies each node that lies in one of them: an inner node as any write
** does, a leaf with its stamp, for it is the same write's (invariant 6). To reclaim, a moved leaf
** looks older than it is, so that it may be held a little too long and never too short. What was there
** before is garbage; readers see the old nodes for as long as they need them.
**
** A pass is made in slices, each an edit of its own with the same content; it remembers the key that
** it has come to. What lies in chosen regions can only become less meanwhile, for nothing is
** allocated there.
*/
#include "tree_node.h"

#include "os.h"
#include "tree_version.h"

#define MOVE_STEPS 8u
#define SLACK ((size_t)1 << 20) /* bytes that may be unused in any pool: a slab for every size */
#define HELD_SLACK ((size_t)16384u) /* entries of garbage */

static size_t read_size(const _Atomic size_t *size) {
  return atomic_load_explicit(size, memory_order_relaxed);
}

bool tree_is_worth_moving(const tree *t, bool closely) {
  size_t values = t->head->top != 0 ? ref_values(t->head->top) : 0;
  /* What readers hold would be doubled. */
  if (t->garbage_size > values / 8 + HELD_SLACK) return false;
  if (t->move.under_way) return true;
  size_t taken = read_size(&t->memory.bytes_in_slabs);
  size_t retired = closely ? 1 : values / 16;
  return read_size(&t->move.retired) >= retired || taken < t->move.taken - t->move.taken / 16;
}

static int move_leaf(tree *t, const tree_leaf *leaf) {
  tree_ref *at = make_path_private(t, leaf->bytes, leaf_key_size(leaf), SIZE_MAX);
  if (at == NULL || tree_garbage_reserve(t, 1) != KV_OK) return KV_ENOMEM;
  tree_leaf *copy = leaf_copy(&t->memory, leaf);
  if (copy == NULL) return KV_ENOMEM;
  tree_retire(t, *at);
  *at = leaf_ref(copy);
  return KV_OK;
}

/* Move the leaf that the cursor stands on, and the inner nodes that it has come to with it. */
static int move_here(tree *t, const tree_cursor *c, size_t *moved) {
  const tree_leaf *leaf = c->leaf;
  size_t size = leaf_key_size(leaf);
  for (unsigned i = c->depth; i > 0; i--) {
    const tree_inner *node = c->frames[i - 1].node;
    if (pool_is_sparse(node, ref_alloc_size(inner_ref(node)))) {
      if (make_path_private(t, leaf->bytes, size, inner_offset(node) + 1u) == NULL)
        return KV_ENOMEM;
      (*moved)++;
    }
    if (c->frames[i - 1].index != 0) break;
  }
  if (!pool_is_sparse(leaf, ref_alloc_size(leaf_ref(leaf)))) return KV_OK;
  (*moved)++;
  return move_leaf(t, leaf);
}

/* Remember where the pass is to go on. */
static int remember(tree *t, const tree_leaf *leaf) {
  size_t size = leaf_key_size(leaf);
  if (size > t->move.key_room) {
    char *key = os.realloc(t->move.key, size);
    if (key == NULL) return KV_ENOMEM;
    t->move.key = key;
    t->move.key_room = size;
  }
  memcpy(t->move.key, leaf->bytes, size);
  t->move.key_size = size;
  return KV_OK;
}

static bool begin_pass(tree *t) {
  atomic_store_explicit(&t->move.retired, 0, memory_order_relaxed);
  t->move.taken = read_size(&t->memory.bytes_in_slabs);
  t->move.key_size = 0;
  t->move.under_way = pool_choose_sparse(&t->memory);
  return t->move.under_way;
}

/* The cursor walks on the version that the edit began on, which does not change. */
size_t tree_move(tree *t, size_t steps) {
  assert(t->edit.open && t->edit.top == t->head->top);
  size_t moved = 0;
  if (!t->move.under_way && !begin_pass(t)) return 0;
  size_t retired = read_size(&t->move.retired);
  tree_cursor c;
  tree_cursor_init(&c, t->edit.top);
  int rc = tree_cursor_seek(&c, t->move.key, t->move.key_size, TREE_GE);
  for (size_t step = 0; rc == KV_OK && c.leaf != NULL && step + moved * MOVE_STEPS < steps;
       step++) {
    rc = move_here(t, &c, &moved);
    if (rc == KV_OK) rc = tree_cursor_next(&c);
  }
  if (rc == KV_OK && c.leaf != NULL) rc = remember(t, c.leaf);
  if (rc != KV_OK || c.leaf == NULL) t->move.under_way = false;
  if (rc != KV_OK) pool_choose_none(&t->memory);
  tree_cursor_free(&c);
  /* What was retired here is not others'. */
  atomic_store_explicit(&t->move.retired, retired, memory_order_relaxed);
  return moved;
}
