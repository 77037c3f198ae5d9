/*
** tree_cursor.c - walking the leaves of a version in order, both ways. See tree.h.
**
** A cursor keeps the inner nodes from the top to its leaf, each with the index of the child taken.
** A deep path makes that long, never recursive: the first TREE_FRAMES lie in the cursor, more in
** allocated memory.
*/
#include "os.h"
#include "tree_node.h"

void tree_cursor_init(tree_cursor *c, tree_ref top) {
  c->top = top;
  c->leaf = NULL;
  c->frames = c->inline_frames;
  c->depth = 0;
  c->room = TREE_FRAMES;
}

void tree_cursor_free(tree_cursor *c) {
  if (c->frames != c->inline_frames) os.free(c->frames);
  tree_cursor_init(c, 0);
}

/* Forget the place after a failure. */
static int lost(tree_cursor *c) {
  c->leaf = NULL;
  c->depth = 0;
  return KV_ENOMEM;
}

static int push(tree_cursor *c, const tree_inner *node, unsigned index) {
  if (c->depth == c->room) {
    unsigned room = c->room * 4;
    bool grown = c->frames != c->inline_frames;
    tree_frame *frames = os.realloc(grown ? c->frames : NULL, room * sizeof *frames);
    if (frames == NULL) return lost(c);
    if (!grown) memcpy(frames, c->inline_frames, sizeof c->inline_frames);
    c->frames = frames;
    c->room = room;
  }
  c->frames[c->depth++] = (tree_frame){.node = node, .index = index};
  return KV_OK;
}

/* Nodes that will be stood on soon are asked for some places ahead: a walk would else wait for the
** memory of each. A leaf of usual size may lie across two cache lines. */
#define AHEAD 6u

static inline void fetch(tree_ref ref) {
  const char *node = (const char *)(ref & ~(tree_ref)1);
  __builtin_prefetch(node);
  __builtin_prefetch(node + 48);
}

/* Go down to the first or the last leaf below ref. */
static int go_first(tree_cursor *c, tree_ref ref) {
  while (!ref_is_leaf(ref)) {
    const tree_inner *node = ref_inner(ref);
    const tree_ref *refs = inner_refs(node);
    for (unsigned i = 1; i <= AHEAD && i < node->count; i++) fetch(refs[i]);
    if (push(c, node, 0) != KV_OK) return KV_ENOMEM;
    ref = refs[0];
  }
  c->leaf = ref_leaf(ref);
  return KV_OK;
}

static int go_last(tree_cursor *c, tree_ref ref) {
  while (!ref_is_leaf(ref)) {
    const tree_inner *node = ref_inner(ref);
    const tree_ref *last = inner_refs(node) + node->count - 1;
    for (unsigned i = 1; i <= AHEAD && i < node->count; i++) fetch(last[-(ptrdiff_t)i]);
    if (push(c, node, node->count - 1u) != KV_OK) return KV_ENOMEM;
    ref = *last;
  }
  c->leaf = ref_leaf(ref);
  return KV_OK;
}

/* From the path that stands, go to the leaf after it, or before it. */
static int go_next(tree_cursor *c) {
  while (c->depth > 0) {
    tree_frame *frame = &c->frames[c->depth - 1];
    const tree_inner *node = frame->node;
    if (frame->index + 1 < node->count) {
      frame->index++;
      const tree_ref *at = inner_refs(node) + frame->index;
      if (frame->index + AHEAD < node->count) fetch(at[AHEAD]);
      return go_first(c, *at);
    }
    c->depth--;
  }
  c->leaf = NULL;
  return KV_OK;
}

static int go_prev(tree_cursor *c) {
  while (c->depth > 0) {
    tree_frame *frame = &c->frames[c->depth - 1];
    if (frame->index > 0) {
      frame->index--;
      const tree_ref *at = inner_refs(frame->node) + frame->index;
      if (frame->index >= AHEAD) fetch(*(at - AHEAD));
      return go_last(c, *at);
    }
    c->depth--;
  }
  c->leaf = NULL;
  return KV_OK;
}

int tree_cursor_first(tree_cursor *c) {
  c->depth = 0;
  c->leaf = NULL;
  return c->top == 0 ? KV_OK : go_first(c, c->top);
}

int tree_cursor_last(tree_cursor *c) {
  c->depth = 0;
  c->leaf = NULL;
  return c->top == 0 ? KV_OK : go_last(c, c->top);
}

int tree_cursor_at(tree_cursor *c, uint64_t rank) {
  c->depth = 0;
  c->leaf = NULL;
  if (c->top == 0 || rank >= ref_values(c->top)) return KV_OK;
  tree_ref ref = c->top;
  while (!ref_is_leaf(ref)) {
    const tree_inner *node = ref_inner(ref);
    const tree_ref *refs = inner_refs(node);
    unsigned i = 0;
    for (; rank >= ref_values(refs[i]); i++) rank -= ref_values(refs[i]);
    if (push(c, node, i) != KV_OK) return KV_ENOMEM;
    ref = refs[i];
  }
  c->leaf = ref_leaf(ref);
  return KV_OK;
}

int tree_cursor_next(tree_cursor *c) {
  assert(c->leaf != NULL);
  return go_next(c);
}

int tree_cursor_prev(tree_cursor *c) {
  assert(c->leaf != NULL);
  return go_prev(c);
}

/* Everything below ref sorts on one side of the key: go to its near end if that is the side wanted,
** else to what lies beside it. */
static int go_beside(tree_cursor *c, tree_ref ref, bool all_greater, bool up) {
  if (up) return all_greater ? go_first(c, ref) : go_next(c);
  return all_greater ? go_prev(c) : go_last(c, ref);
}

int tree_cursor_seek(tree_cursor *c, const char *key, size_t size, tree_seek how) {
  c->depth = 0;
  c->leaf = NULL;
  if (c->top == 0) return KV_OK;
  bool up = how == TREE_GE || how == TREE_GT;
  /* No keypath has a NUL, so that a key with one lies just above its beginning. */
  const char *nul = size > 0 ? memchr(key, 0, size) : NULL;
  if (nul != NULL) {
    size = (size_t)(nul - key);
    how = up ? TREE_GT : TREE_LE;
  }
  const tree_leaf *near = closest_leaf(c->top, key, size);
  size_t m = leaf_mismatch(near, key, size);
  bool found = m == size && leaf_key_size(near) == size;
  size_t stop = found ? SIZE_MAX : m;
  tree_ref ref = c->top;
  while (!ref_is_leaf(ref) && inner_offset(ref_inner(ref)) < stop) {
    const tree_inner *node = ref_inner(ref);
    bool equal;
    unsigned place = inner_place(node, key_byte(key, size, inner_offset(node)), &equal);
    assert(equal);
    if (push(c, node, place) != KV_OK) return KV_ENOMEM;
    ref = inner_refs(node)[place];
  }
  if (found) {
    c->leaf = near;
    if (how == TREE_GT) return go_next(c);
    if (how == TREE_LT) return go_prev(c);
    return KV_OK;
  }
  if (ref_is_leaf(ref) || inner_offset(ref_inner(ref)) > m) {
    bool greater = key_byte(near->bytes, leaf_key_size(near), m) > key_byte(key, size, m);
    return go_beside(c, ref, greater, up);
  }
  /* The children of this node lie on both sides of the key. */
  const tree_inner *node = ref_inner(ref);
  bool equal;
  unsigned place = inner_place(node, key_byte(key, size, m), &equal);
  if (place < node->count) {
    if (push(c, node, place) != KV_OK) return KV_ENOMEM;
    return up ? go_first(c, inner_refs(node)[place]) : go_prev(c);
  }
  if (push(c, node, place - 1) != KV_OK) return KV_ENOMEM;
  return up ? go_next(c) : go_last(c, inner_refs(node)[place - 1]);
}
