/* tree_version.h - what tree.c asks of tree_version.c: replacing nodes. For tree_*.c only. */
#ifndef TREE_VERSION_H
#define TREE_VERSION_H

#include "tree.h"

/* Make sure that `count` nodes can be retired without failing. KV_ENOMEM. */
int tree_garbage_reserve(tree *t, size_t count);

/* The edit no longer uses a node (its children are none of this call's business): free it if nobody
** else can see it, else note it as garbage; that was reserved before. */
void tree_retire(tree *t, tree_ref ref);

#endif
