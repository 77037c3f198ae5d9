/*
** tree_walk.c - walking the nodes of the nested tree. See tree_walk.h.
**
** A node ends before a "/" or at the end of a key. On the way down the trie such places lie on an
** edge, where the bytes that all keys below share have a "/"; or at an inner node whose children
** include the end of a key or a "/". So the walk goes down edge by edge: first the places on the
** edge, then the inner node itself, then its children in order; that is the order of the keypaths.
**
** Cost: linear in the nodes and the bytes of the edges, however long the keypaths are. No step looks
** at the bytes in front of its edge. The first leaf below an inner node is also that of its first
** child, so that no chain of first children is gone down twice. The counts of a node on an edge follow
** from those of the node before it on that edge.
*/
#include "tree_walk.h"

#include "os.h"
#include "tree_node.h"

static int push(tree_walk *w, const tree_inner *node, unsigned depth) {
  if (w->step_count == w->step_room) {
    unsigned room = w->step_room * 4;
    bool grown = w->steps != w->inline_steps;
    tree_step *steps = os.realloc(grown ? w->steps : NULL, room * sizeof *steps);
    if (steps == NULL) return KV_ENOMEM;
    if (!grown) memcpy(steps, w->inline_steps, sizeof w->inline_steps);
    w->steps = steps;
    w->step_room = room;
  }
  w->steps[w->step_count++] = (tree_step){.node = node, .index = 0, .depth = depth};
  return KV_OK;
}

/* Stand on the node that ends at `size` of the label. */
static void stand(tree_walk *w, size_t size, const tree_leaf *leaf, tree_ref below) {
  w->size = size;
  w->leaf = leaf;
  w->below = below;
  w->depth++;
}

/* Look for a node on the edge to w->ref from byte `from` on, and at its end. True if the walk stands
** on one. */
static bool find_on_edge(tree_walk *w, size_t from) {
  const char *bytes = w->label->bytes;
  bool is_leaf = ref_is_leaf(w->ref);
  size_t end = is_leaf ? leaf_key_size(w->label) : inner_offset(ref_inner(w->ref));
  assert(from <= end);
  const char *slash = from < end ? memchr(bytes + from, '/', end - from) : NULL;
  if (slash != NULL) {
    stand(w, (size_t)(slash - bytes), NULL, w->ref);
    return true;
  }
  if (is_leaf) {
    stand(w, end, w->label, 0);
    return true;
  }
  const tree_ref *own = inner_find(ref_inner(w->ref), 0);
  const tree_ref *folder = inner_find(ref_inner(w->ref), '/');
  if (own == NULL && folder == NULL) return false;
  stand(w, end, own != NULL ? ref_leaf(*own) : NULL, folder != NULL ? *folder : 0);
  return true;
}

/* Go on with the next child of the innermost step: true and w->ref, w->label and w->depth set, or
** false if nothing is left. */
static bool next_child(tree_walk *w) {
  while (w->step_count > 0) {
    tree_step *step = &w->steps[w->step_count - 1];
    const tree_inner *node = step->node;
    if (step->index == node->count) {
      w->step_count--;
      continue;
    }
    tree_ref child = inner_refs(node)[step->index++];
    const tree_ref *below = inner_find(node, '/');
    bool folder = below != NULL && *below == child;
    w->depth = step->depth + folder;
    if (folder && w->depth >= w->depth_max) continue;
    if (step->index == 1 && inner_find(node, 0) != NULL) continue; /* the node stood on before */
    w->ref = child;
    /* Just pushed: the label is the first leaf below `node`, and so below its first child. */
    if (step->index > 1) w->label = first_leaf(child);
    return true;
  }
  return false;
}

/* From byte `from` on the edge to w->ref, go on to the next node. */
static int advance(tree_walk *w, size_t from) {
  for (;;) {
    if (find_on_edge(w, from)) return KV_OK;
    if (!ref_is_leaf(w->ref) && push(w, ref_inner(w->ref), w->depth) != KV_OK) break;
    if (!next_child(w)) {
      w->label = NULL;
      return KV_OK;
    }
    from = inner_offset(w->steps[w->step_count - 1].node) + 1u;
  }
  w->label = NULL;
  w->step_count = 0;
  return KV_ENOMEM;
}

int tree_walk_next(tree_walk *w) {
  assert(w->label != NULL);
  bool is_leaf = w->ref == 0 || ref_is_leaf(w->ref);
  size_t end = is_leaf ? leaf_key_size(w->label) : inner_offset(ref_inner(w->ref));
  bool on_edge = w->ref != 0 && w->size < end;
  if (on_edge && w->depth < w->depth_max) return advance(w, w->size + 1);
  if (!on_edge && !is_leaf) {
    /* On an inner node. The walk stands one segment deeper than what goes on beside it. */
    if (push(w, ref_inner(w->ref), w->depth - 1) != KV_OK) {
      w->label = NULL;
      return KV_ENOMEM;
    }
  }
  if (!next_child(w)) {
    w->label = NULL;
    return KV_OK;
  }
  return advance(w, inner_offset(w->steps[w->step_count - 1].node) + 1u);
}

int tree_walk_start(tree_walk *w, tree_ref top, const char *root, size_t size, unsigned depth_max) {
  *w = (tree_walk){.depth_max = depth_max, .step_room = TREE_STEPS};
  w->steps = w->inline_steps;
  if (top == 0) return KV_OK;
  if (size == 0) {
    if (depth_max == 0) return KV_OK;
    w->ref = top;
    w->label = first_leaf(top);
    return advance(w, 0);
  }
  w->leaf = tree_find(top, root, size);
  w->below = w->ref = find_below(top, root, size);
  w->label = w->ref != 0 ? first_leaf(w->ref) : w->leaf;
  w->size = size;
  w->depth = 1;
  for (size_t i = 0; i < size; i++) w->depth += root[i] == '/';
  if (w->depth > depth_max) w->label = NULL;
  return KV_OK;
}

void tree_walk_free(tree_walk *w) {
  if (w->steps != w->inline_steps) os.free(w->steps);
  *w = (tree_walk){.label = NULL};
  w->steps = w->inline_steps;
}

/* The first leaf below what lies below the node. */
static const tree_leaf *leaf_below(const tree_walk *w) {
  bool is_first =
      w->below == w->ref || (!ref_is_leaf(w->ref) && inner_refs(ref_inner(w->ref))[0] == w->below);
  return is_first ? w->label : first_leaf(w->below);
}

static uint64_t count_slashes(const char *at, const char *end) {
  uint64_t slashes = 0;
  while (at < end && (at = memchr(at, '/', (size_t)(end - at))) != NULL) {
    slashes++;
    at++;
  }
  return slashes;
}

void tree_walk_counts(tree_walk *w, uint64_t *children, uint64_t *nodes) {
  *children = *nodes = 0;
  if (w->below == 0) return;
  const char *bytes = leaf_below(w)->bytes;
  bool is_leaf = ref_is_leaf(w->below);
  size_t from = w->size + 1, to = edge_end(w->below);
  if (w->counted.ref == w->below && w->counted.from <= from) {
    w->counted.slashes -= count_slashes(bytes + w->counted.from, bytes + from);
  } else {
    w->counted.slashes = from < to ? count_slashes(bytes + from, bytes + to) : 0;
    w->counted.ref = w->below;
  }
  w->counted.from = from;
  *nodes = w->counted.slashes + (is_leaf ? 1 : ref_inner(w->below)->nodes);
  *children = w->counted.slashes > 0 || is_leaf ? 1 : ref_inner(w->below)->segments;
}
