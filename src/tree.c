/*
** tree.c - changing, finding and counting in the nested tree. See tree.h; versions and memory are
** in tree_version.c.
**
** A put walks three times, the second and third on warm cache lines: to the closest leaf, which
** tells at which byte m the new keypath branches off; then down to that place, copying what is
** shared (a copy changes nothing that can be seen, so running out of memory here is harmless); then
** down once more to count, when nothing can fail any more. A delete is the same backwards.
**
** Counting. Let a boundary of a keypath be a place where one of its nodes ends: before each "/" and
** at its end. Entering a keypath that branches off at byte m makes the nodes that end at its
** boundaries e >= m, except that the node ending at m itself is there already if another key goes
** on behind it with the end or a "/". All of these lie below every inner node of the path, so each
** adds their number. And an inner node at `offset` gets one segment more if the first boundary at
** or behind its offset is a new one, that is, if offset lies behind the last old boundary.
*/
#include "tree_node.h"

#include "tree_version.h"

/* What entering or removing a keypath means for the nodes above it. */
typedef struct path_change {
  uint64_t nodes;        /* nodes made, or taken away */
  size_t segment_offset; /* inner nodes at this offset or behind count a segment */
} path_change;

static path_change path_change_of(const char *key, size_t size, size_t m, bool node_at_m) {
  size_t first = m;
  bool skip = node_at_m;
  for (;; first++) {
    if (first >= size || key[first] == '/') {
      if (!skip || first > m) break;
    }
    if (first >= size) return (path_change){.nodes = 0, .segment_offset = SIZE_MAX};
  }
  path_change change = {.nodes = 1, .segment_offset = 0};
  for (size_t i = first; i < size; i++) change.nodes += key[i] == '/';
  for (size_t i = first; i > 0; i--) {
    if (key[i - 1] == '/') {
      change.segment_offset = i;
      break;
    }
  }
  return change;
}

/* Those that the node's own count leaves out lie on the edge to it. */
void edge_counts(tree_ref ref, size_t from, uint64_t *nodes, uint32_t *segments) {
  const tree_leaf *leaf = first_leaf(ref);
  size_t to = edge_end(ref);
  uint64_t slashes = 0;
  for (size_t i = from; i < to; i++) slashes += leaf->bytes[i] == '/';
  *nodes = slashes + (ref_is_leaf(ref) ? 1 : ref_inner(ref)->nodes);
  *segments = slashes > 0 || ref_is_leaf(ref) ? 1 : ref_inner(ref)->segments;
}

tree_ref *make_path_private(tree *t, const char *key, size_t size, size_t until) {
  tree_ref *at = &t->edit.top;
  while (!ref_is_leaf(*at) && inner_offset(ref_inner(*at)) < until) {
    tree_inner *node = ref_inner(*at);
    if (ref_stamp(*at) <= t->edit.frozen) {
      if (tree_garbage_reserve(t, 1) != KV_OK) return NULL;
      node = inner_copy(&t->memory, t->stamp, node, node->count);
      if (node == NULL) return NULL;
      tree_retire(t, *at);
      *at = inner_ref(node);
    }
    at = inner_find(node, key_byte(key, size, inner_offset(node)));
    assert(at != NULL);
  }
  return at;
}

/* Down the same path, now private, add a change, times sign, to its nodes. Returns the same. */
static tree_ref *count_path(tree *t, const char *key, size_t size, size_t until,
                            const path_change *change, int sign) {
  tree_ref *at = &t->edit.top;
  while (!ref_is_leaf(*at) && inner_offset(ref_inner(*at)) < until) {
    tree_inner *node = ref_inner(*at);
    assert(ref_stamp(*at) > t->edit.frozen);
    node->values += (uint32_t)sign;
    node->nodes += (uint64_t)(int64_t)sign * change->nodes;
    if (inner_offset(node) >= change->segment_offset) node->segments += (uint32_t)sign;
    at = inner_find(node, key_byte(key, size, inner_offset(node)));
  }
  return at;
}

/* A private version of the node at `at` with room for one child more. */
static tree_inner *make_room(tree *t, tree_ref *at) {
  tree_inner *node = ref_inner(*at);
  if (ref_stamp(*at) > t->edit.frozen && node->count < node->room) return node;
  if (tree_garbage_reserve(t, 1) != KV_OK) return NULL;
  tree_inner *copy = inner_copy(&t->memory, t->stamp, node, node->count + 1u);
  if (copy == NULL) return NULL;
  tree_retire(t, *at);
  *at = inner_ref(copy);
  return copy;
}

/* Enter a new leaf that branches off its closest neighbour at byte m. */
static int insert_leaf(tree *t, tree_leaf *leaf, const tree_leaf *near, size_t m) {
  const char *key = leaf->bytes;
  size_t size = leaf_key_size(leaf);
  uint8_t byte = key_byte(key, size, m);
  tree_ref *at = make_path_private(t, key, size, m);
  if (at == NULL) return KV_ENOMEM;
  bool branch = !ref_is_leaf(*at) && inner_offset(ref_inner(*at)) == m;
  bool node_at_m = false;
  if (ends_segment(byte)) {
    uint8_t other = byte == 0 ? '/' : 0;
    node_at_m = branch ? inner_find(ref_inner(*at), other) != NULL
                       : key_byte(near->bytes, leaf_key_size(near), m) == other;
  }
  path_change change = path_change_of(key, size, m, node_at_m);
  if (branch) {
    tree_inner *node = make_room(t, at);
    if (node == NULL) return KV_ENOMEM;
    inner_insert(node, byte, leaf_ref(leaf));
    (void)count_path(t, key, size, m + 1, &change, 1);
    return KV_OK;
  }
  tree_inner *node = inner_new(&t->memory, t->stamp, (unsigned)m, 2);
  if (node == NULL) return KV_ENOMEM;
  edge_counts(*at, m, &node->nodes, &node->segments);
  node->values = (uint32_t)ref_values(*at) + 1;
  node->nodes += change.nodes;
  if (m >= change.segment_offset) node->segments++;
  inner_insert(node, key_byte(near->bytes, leaf_key_size(near), m), *at);
  inner_insert(node, byte, leaf_ref(leaf));
  *count_path(t, key, size, m, &change, 1) = inner_ref(node);
  return KV_OK;
}

/* Put a leaf in the place of the one with the same keypath. */
static int replace_leaf(tree *t, tree_leaf *leaf) {
  const char *key = leaf->bytes;
  size_t size = leaf_key_size(leaf);
  tree_ref *at = make_path_private(t, key, size, SIZE_MAX);
  if (at == NULL || tree_garbage_reserve(t, 1) != KV_OK) return KV_ENOMEM;
  t->edit.bytes -= leaf_content_size(ref_leaf(*at));
  tree_retire(t, *at);
  *at = leaf_ref(leaf);
  return KV_OK;
}

int tree_put(tree *t, const char *key, size_t size, const kv_value *value, bool *replaced) {
  assert(t->edit.open);
  tree_ref top = t->edit.top;
  if (tree_garbage_reserve(t, 1) != KV_OK) return KV_ENOMEM;
  tree_leaf *leaf = leaf_new(&t->memory, t->stamp, key, size, value);
  if (leaf == NULL) return KV_ENOMEM;
  int rc = KV_OK;
  bool equal = false;
  if (top == 0) {
    t->edit.top = leaf_ref(leaf);
  } else {
    const tree_leaf *near = closest_leaf(top, key, size);
    size_t m = leaf_mismatch(near, key, size);
    equal = m == size && leaf_key_size(near) == size;
    rc = equal                              ? replace_leaf(t, leaf)
         : ref_values(top) < KV_ENTRIES_MAX ? insert_leaf(t, leaf, near, m)
                                            : KV_EFULL;
  }
  if (rc != KV_OK) {
    ref_free(&t->memory, leaf_ref(leaf));
    return rc;
  }
  t->edit.bytes += leaf_content_size(leaf);
  if (replaced != NULL) *replaced = equal;
  return KV_OK;
}

/* Take the leaf at key out of its parent, of which two children are left or more. */
static int delete_from_parent(tree *t, const char *key, size_t size, size_t m,
                              const path_change *change) {
  if (make_path_private(t, key, size, m + 1) == NULL) return KV_ENOMEM;
  if (tree_garbage_reserve(t, 1) != KV_OK) return KV_ENOMEM;
  tree_ref *at = make_path_private(t, key, size, m); /* the parent's place; copies no more */
  tree_ref leaf = *count_path(t, key, size, m + 1, change, -1);
  tree_inner *parent = ref_inner(*at);
  inner_remove(parent, key_byte(key, size, m));
  tree_retire(t, leaf);
  /* Give room back where much is unused; if memory is short the room stays. */
  if (parent->count <= parent->room / 3u) {
    tree_inner *less = inner_copy(&t->memory, t->stamp, parent, parent->count);
    if (less != NULL) {
      ref_free(&t->memory, *at);
      *at = inner_ref(less);
    }
  }
  return KV_OK;
}

/* Take the leaf at key out, and its parent too, which then has one child left: that takes its place. */
static int delete_with_parent(tree *t, const char *key, size_t size, size_t m,
                              const path_change *change) {
  if (make_path_private(t, key, size, m) == NULL) return KV_ENOMEM;
  if (tree_garbage_reserve(t, 2) != KV_OK) return KV_ENOMEM;
  tree_ref *at = count_path(t, key, size, m, change, -1);
  tree_ref parent = *at, leaf = *inner_find(ref_inner(parent), key_byte(key, size, m));
  const tree_ref *both = inner_refs(ref_inner(parent));
  *at = both[0] == leaf ? both[1] : both[0];
  tree_retire(t, leaf);
  tree_retire(t, parent);
  return KV_OK;
}

int tree_delete(tree *t, const char *key, size_t size, bool *found) {
  assert(t->edit.open);
  const tree_inner *parent = NULL;
  tree_ref ref = t->edit.top;
  while (ref != 0 && !ref_is_leaf(ref)) {
    parent = ref_inner(ref);
    const tree_ref *child = inner_find(parent, key_byte(key, size, inner_offset(parent)));
    ref = child != NULL ? *child : 0;
  }
  bool there = ref != 0 && leaf_key_size(ref_leaf(ref)) == size &&
               leaf_mismatch(ref_leaf(ref), key, size) == size;
  uint64_t bytes = there ? leaf_content_size(ref_leaf(ref)) : 0;
  int rc = KV_OK;
  if (there && parent == NULL) {
    rc = tree_garbage_reserve(t, 1);
    if (rc == KV_OK) {
      t->edit.top = 0;
      tree_retire(t, ref);
    }
  } else if (there) {
    size_t m = inner_offset(parent);
    uint8_t byte = key_byte(key, size, m);
    bool node_at_m = ends_segment(byte) && inner_find(parent, byte == 0 ? '/' : 0) != NULL;
    path_change change = path_change_of(key, size, m, node_at_m);
    rc = parent->count > 2 ? delete_from_parent(t, key, size, m, &change)
                           : delete_with_parent(t, key, size, m, &change);
  }
  if (rc == KV_OK) t->edit.bytes -= bytes;
  if (rc == KV_OK && found != NULL) *found = there;
  return rc;
}

/* --- reading ---------------------------------------------------------------------------------- */

const tree_leaf *tree_find(tree_ref ref, const char *key, size_t size) {
  while (ref != 0 && !ref_is_leaf(ref)) {
    const tree_inner *node = ref_inner(ref);
    const tree_ref *child = inner_find(node, key_byte(key, size, inner_offset(node)));
    ref = child != NULL ? *child : 0;
  }
  if (ref == 0 || leaf_key_size(ref_leaf(ref)) != size) return NULL;
  return leaf_mismatch(ref_leaf(ref), key, size) == size ? ref_leaf(ref) : NULL;
}

bool tree_leaf_is_same(const tree_leaf *a, const tree_leaf *b) {
  if (a == NULL || b == NULL) return a == b;
  return a->tag == b->tag;
}

void tree_warm(tree_ref top, const tree_key *keys, size_t count) {
  tree_ref at[TREE_WARM_MAX];
  assert(count <= TREE_WARM_MAX);
  for (size_t i = 0; i < count; i++) at[i] = top;
  for (bool below = top != 0; below;) {
    below = false;
    for (size_t i = 0; i < count; i++) {
      if (ref_is_leaf(at[i])) continue;
      at[i] = closest_child(ref_inner(at[i]), keys[i].bytes, keys[i].size);
      __builtin_prefetch((const char *)(at[i] & ~(tree_ref)1));
      __builtin_prefetch((const char *)(at[i] & ~(tree_ref)1) + 64);
      below = true;
    }
  }
}

tree_ref find_below(tree_ref ref, const char *key, size_t size) {
  while (ref != 0 && !ref_is_leaf(ref) && inner_offset(ref_inner(ref)) <= size) {
    const tree_inner *node = ref_inner(ref);
    unsigned offset = inner_offset(node);
    const tree_ref *child = inner_find(node, offset < size ? (uint8_t)key[offset] : '/');
    ref = child != NULL ? *child : 0;
  }
  if (ref == 0) return 0;
  const tree_leaf *leaf = first_leaf(ref);
  bool below = leaf_mismatch(leaf, key, size) == size && leaf->bytes[size] == '/';
  return below ? ref : 0;
}

void tree_count(tree_ref top, const char *key, size_t size, tree_counts *out) {
  *out = (tree_counts){0};
  tree_ref ref = top;
  if (size > 0) {
    out->values = tree_find(top, key, size) != NULL;
    ref = find_below(top, key, size);
  }
  if (ref == 0) return;
  uint32_t children;
  edge_counts(ref, size > 0 ? size + 1 : 0, &out->nodes, &children);
  out->values += ref_values(ref);
  out->children = children;
}

uint64_t tree_values(tree_ref top) {
  return top != 0 ? ref_values(top) : 0;
}

uint64_t tree_rank(tree_ref top, const char *key, size_t size) {
  if (top == 0) return 0;
  const char *nul = size > 0 ? memchr(key, 0, size) : NULL;
  bool past_equal = nul != NULL; /* no keypath has a NUL: below key is at or below its beginning */
  if (past_equal) size = (size_t)(nul - key);
  const tree_leaf *near = closest_leaf(top, key, size);
  size_t m = leaf_mismatch(near, key, size);
  uint64_t rank = 0;
  for (tree_ref ref = top;;) {
    bool equal = false;
    if (ref_is_leaf(ref) || inner_offset(ref_inner(ref)) > m) {
      uint8_t mine = key_byte(key, size, m), its = key_byte(near->bytes, leaf_key_size(near), m);
      bool below = its < mine || (its == mine && past_equal);
      return rank + (below ? ref_values(ref) : 0);
    }
    const tree_inner *node = ref_inner(ref);
    unsigned place = inner_place(node, key_byte(key, size, inner_offset(node)), &equal);
    for (unsigned i = 0; i < place; i++) rank += ref_values(inner_refs(node)[i]);
    if (!equal) return rank;
    ref = inner_refs(node)[place];
  }
}
