/* tree_check.h - whether a version of the tree is what tree.h says it is. */
#ifndef TREE_CHECK_H
#define TREE_CHECK_H

#include "tree.h"

/* Check order, prefixes and counts of a pinned top, node by node. KV_OK; KV_EDAMAGED with the first
** thing found wrong; KV_ENOMEM. */
int tree_check(tree_ref top, kv_error *err);

/* Whether two pinned tops hold the same keypaths with the same values. KV_OK; KV_EDAMAGED with the
** first difference, `a` and `b` in words naming the two; KV_ENOMEM. */
int tree_compare(tree_ref top_a, const char *a, tree_ref top_b, const char *b, kv_error *err);

#endif
