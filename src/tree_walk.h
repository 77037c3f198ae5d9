/*
** tree_walk.h - walking the nodes of the nested tree, those without a value too.
**
** A cursor (tree.h) sees the keypaths that have a value. A walk sees the nodes: with only `a/b/c`
** stored, `a`, `a/b` and `a/b/c`. They come in the order of their keypaths, `a` before `a-b` before
** `a/b`, and with their counts. A limit on the depth passes over what lies deeper without touching
** it, so that the children of a folder cost what their own number is.
*/
#ifndef TREE_WALK_H
#define TREE_WALK_H

#include "tree.h"

typedef struct tree_step {
  const void *node; /* inner node */
  unsigned index;   /* of the child taken */
  unsigned depth;   /* segments that end before the node's offset */
} tree_step;

#define TREE_STEPS 20 /* deeper paths go to allocated memory */

/* A place among the nodes. label is NULL before the first move and at the end; else the node's
** keypath is the first `size` bytes of label's. */
typedef struct tree_walk {
  const tree_leaf *label;
  size_t size;
  const tree_leaf *leaf; /* with the node's value, or NULL */
  unsigned depth;        /* segments of the node */
  tree_ref below;        /* what lies below the node, 0 if nothing does */
  /* how to go on */
  tree_ref ref; /* the edge to it is being walked */
  unsigned depth_max;
  tree_step *steps;
  unsigned step_count, step_room;
  struct {
    tree_ref ref; /* the edge that was counted last; 0: none */
    size_t from;
    uint64_t slashes; /* on the edge from `from` on */
  } counted;
  tree_step inline_steps[TREE_STEPS];
} tree_walk;

/* Start at the node `root` ("" with size 0: above all nodes, and not a node itself), going down to
** nodes of at most depth_max segments. Moves to the first node. The top must stay pinned; free the
** walk's memory afterwards. A walk must not be moved in memory. KV_ENOMEM. */
int tree_walk_start(tree_walk *w, tree_ref top, const char *root, size_t size, unsigned depth_max);
void tree_walk_free(tree_walk *w);

/* Move to the next node. KV_ENOMEM, and then the walk is at its end. */
int tree_walk_next(tree_walk *w);

/* The counts of the node the walk stands on: direct children, and nodes below. They cost the bytes of
** the edge that the node lies on, once for all nodes on it. */
void tree_walk_counts(tree_walk *w, uint64_t *children, uint64_t *nodes);

#endif
