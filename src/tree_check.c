/*
** tree_check.c - whether a version of the tree is what it should be. See tree_check.h.
**
** Each inner node is checked against its children alone, so that one visit to each is enough; the
** leaves are checked against each other by one walk in order.
*/
#include "tree_check.h"

#include "buf.h"
#include "tree_node.h"

#include <inttypes.h>

static int no_memory(kv_error *err) {
  return kv_error_set(err, KV_ENOMEM, "out of memory checking the tree");
}

/* The counts of an inner node as its children make them. */
static void count_children(const tree_inner *node, tree_counts *out) {
  unsigned offset = inner_offset(node);
  const tree_ref *own = inner_find(node, 0), *folder = inner_find(node, '/');
  bool is_node = own != NULL || folder != NULL;
  *out = (tree_counts){.nodes = is_node, .children = is_node};
  for (unsigned i = 0; i < node->count; i++) {
    const tree_ref *child = inner_refs(node) + i;
    uint64_t nodes;
    uint32_t segments;
    out->values += ref_values(*child);
    if (child == own) continue;
    edge_counts(*child, offset + 1u, &nodes, &segments);
    out->nodes += nodes;
    if (child != folder) out->children += segments;
  }
}

static int check_inner(const tree_inner *node, kv_error *err) {
  unsigned offset = inner_offset(node);
  tree_counts counts;
  count_children(node, &counts);
  bool right = node->count >= 2 && node->values == counts.values && node->nodes == counts.nodes &&
               node->segments == counts.children;
  for (unsigned i = 0; i < node->count && right; i++) {
    tree_ref child = inner_refs(node)[i];
    const tree_leaf *leaf = first_leaf(child);
    uint8_t byte = key_byte(leaf->bytes, leaf_key_size(leaf), offset);
    right = inner_find(node, byte) == inner_refs(node) + i &&
            (ref_is_leaf(child) || inner_offset(ref_inner(child)) > offset);
  }
  if (right) return KV_OK;
  const tree_leaf *leaf = first_leaf(inner_ref(node));
  return kv_error_set(err, KV_EDAMAGED,
                      "the tree is wrong above '%.100s': node at byte %u has %u values, %" PRIu64
                      " nodes, %u segments; its children %" PRIu64 ", %" PRIu64 ", %" PRIu64,
                      leaf->bytes, offset, node->values, node->nodes, node->segments, counts.values,
                      counts.nodes, counts.children);
}

static int check_nodes(tree_ref top, kv_error *err) {
  buf stack = {0};
  int rc = buf_append(&stack, &top, sizeof top) == KV_OK ? KV_OK : no_memory(err);
  while (rc == KV_OK && stack.size > 0) {
    tree_ref ref;
    stack.size -= sizeof ref;
    memcpy(&ref, stack.data + stack.size, sizeof ref);
    if (ref_is_leaf(ref)) continue;
    const tree_inner *node = ref_inner(ref);
    rc = check_inner(node, err);
    if (rc == KV_OK && buf_append(&stack, inner_refs(node), node->count * sizeof ref) != KV_OK) {
      rc = no_memory(err);
    }
  }
  buf_free(&stack);
  return rc;
}

static int check_leaves(tree_ref top, kv_error *err) {
  tree_cursor c;
  tree_cursor_init(&c, top);
  const tree_leaf *before = NULL;
  int rc = tree_cursor_first(&c);
  while (rc == KV_OK && c.leaf != NULL) {
    const char *key = c.leaf->bytes;
    if (before != NULL && strcmp(before->bytes, key) >= 0) {
      rc = kv_error_set(err, KV_EDAMAGED, "the tree is wrong: '%.100s' stands before '%.100s'",
                        before->bytes, key);
    } else if (tree_find(top, key, leaf_key_size(c.leaf)) != c.leaf) {
      rc =
          kv_error_set(err, KV_EDAMAGED, "the tree is wrong: '%.100s' is there but not found", key);
    } else {
      before = c.leaf;
      if (tree_cursor_next(&c) != KV_OK) rc = no_memory(err);
    }
  }
  tree_cursor_free(&c);
  return rc;
}

int tree_check(tree_ref top, kv_error *err) {
  if (top == 0) return KV_OK;
  int rc = check_nodes(top, err);
  return rc == KV_OK ? check_leaves(top, err) : rc;
}

/* --- comparing --------------------------------------------------------------------------------- */

static bool same_value(const tree_leaf *a, const tree_leaf *b) {
  kv_value x, y;
  tree_leaf_value(a, &x);
  tree_leaf_value(b, &y);
  if (x.type != y.type) return false;
  switch (x.type) {
  case KV_NULL:
    return true;
  case KV_INTEGER:
    return x.integer == y.integer;
  case KV_REAL:
    return memcmp(&x.real, &y.real, sizeof x.real) == 0;
  default:
    return x.size == y.size && (x.size == 0 || memcmp(x.data, y.data, x.size) == 0);
  }
}

/* Compare where two cursors stand. */
static int compare_leaves(const tree_leaf *x, const char *a, const tree_leaf *y, const char *b,
                          kv_error *err) {
  int order = x == NULL ? 1 : y == NULL ? -1 : strcmp(x->bytes, y->bytes);
  if (order < 0) {
    return kv_error_set(err, KV_EDAMAGED, "'%.100s' is in %s and not in %s", x->bytes, a, b);
  }
  if (order > 0) {
    return kv_error_set(err, KV_EDAMAGED, "'%.100s' is in %s and not in %s", y->bytes, b, a);
  }
  if (same_value(x, y)) return KV_OK;
  return kv_error_set(err, KV_EDAMAGED, "'%.100s' has different values in %s and in %s", x->bytes,
                      a, b);
}

int tree_compare(tree_ref top_a, const char *a, tree_ref top_b, const char *b, kv_error *err) {
  tree_cursor x, y;
  tree_cursor_init(&x, top_a);
  tree_cursor_init(&y, top_b);
  int rc = KV_OK;
  if (tree_cursor_first(&x) != KV_OK || tree_cursor_first(&y) != KV_OK) rc = no_memory(err);
  while (rc == KV_OK && (x.leaf != NULL || y.leaf != NULL)) {
    rc = compare_leaves(x.leaf, a, y.leaf, b, err);
    if (rc == KV_OK && (tree_cursor_next(&x) != KV_OK || tree_cursor_next(&y) != KV_OK)) {
      rc = no_memory(err);
    }
  }
  tree_cursor_free(&x);
  tree_cursor_free(&y);
  return rc;
}
