/*
** tree.h - the nested tree: keypaths in order, in versions that never change once made.
**
** A keypath names a node. A node can have a value, and it has children if longer keypaths go
** through it; a node with neither does not exist. The tree stores the keypaths that have a value as
** the leaves of a radix trie ordered by memcmp, and counts on the way what lies below.
**
** Versions. One writer at a time edits: it begins on the newest version, changes a private one, and
** seals or rolls back. A sealed version becomes visible when it is published. A reader pins a
** version and reads it without locks for as long as it likes, whatever the writer does. Stamps
** order all this: a 48-bit number that the writer counts up at every version and every savepoint;
** a node carries the stamp at which it was born, and the stamp at which it was replaced goes into
** the garbage list.
**
** Invariants:
**   1. A node with a stamp <= edit.frozen is never changed; it is copied.
**   2. A node born at b and gone at g is freed only when no pinned version or published version or
**      open savepoint has a stamp r with b <= r < g.
**   3. An inner node has at least two children; keys below it agree in their first `offset` bytes
**      and differ at byte `offset`, where the end of a key counts as a byte 0.
**   4. The counts of an inner node are exact, so a count, an estimate or a rank is a walk from the
**      top.
**   5. A function that fails for want of memory leaves the edit with the same content as before.
**   6. Two leaves of one keypath have the same stamp if and only if one write made both: a leaf that
**      is moved keeps its stamp.
**
** Threads: tree_pin, tree_unpin and everything on a pinned top may be called by any thread.
** tree_publish: by one thread at a time, versions in the order they were sealed. Everything else
** only by whoever has the writer's turn.
*/
#ifndef TREE_H
#define TREE_H

#include "kv_base.h"
#include "pool.h"

#include <stdatomic.h>
#include <stdbool.h>

typedef uintptr_t tree_ref; /* a node: 0 none, bit 0 set a leaf, else an inner node */
typedef struct tree_leaf tree_leaf;
typedef struct tree_readers tree_readers;

/* A sealed version. Its memory is reused, never given back before the tree is destroyed, so that a
** reader may look at a stale one. */
typedef struct tree_version {
  tree_ref top;
  _Atomic uint64_t stamp;
  uint64_t bytes;            /* of its keypaths and values */
  _Atomic uint64_t seq;      /* the caller's number for it ... */
  uint64_t window;           /* ... and how many of them may be unflushed when it becomes visible */
  struct tree_version *next; /* the one sealed after it, or the free list */
} tree_version;

/* Where a ROLLBACK TO goes back to. */
typedef struct tree_savepoint {
  tree_ref top;
  uint64_t bytes;
  uint64_t stamp;
  size_t garbage_size;
  unsigned depth; /* savepoints open, this one included */
} tree_savepoint;

typedef struct tree_garbage {
  tree_ref ref;
  uint64_t gone;  /* the stamp that no longer has it */
  uint64_t since; /* not 0: ref is the top of a dropped edit, all of it younger than this goes */
} tree_garbage;

/* Stamps in use, ascending. With more than fit, every stamp behind the last of them counts as
** one: so a long reader's stamp, which is among the least, does not hold what came and went
** after it. */
#define TREE_STAMPS_MAX 256u
typedef struct tree_stamps {
  uint64_t stamps[TREE_STAMPS_MAX];
  size_t size;
  bool overflow;
} tree_stamps;

typedef struct tree {
  pool memory;
  uint64_t stamp;                    /* the newest in use */
  tree_version *head;                /* the newest sealed version */
  _Atomic(tree_version *) published; /* the newest visible version */
  tree_version *spare;               /* the next version to seal, and others not in use */
  tree_garbage *garbage;             /* ordered by gone */
  size_t garbage_size, garbage_room;
  size_t garbage_held;    /* the first so many were held by `held` */
  uint64_t garbage_large; /* bytes of large values in it, about */
  _Atomic uint64_t
      much_until;         /* not 0: it is much, and who reads a version older than this stamp may
                                  be who holds it */
  size_t large_freed;     /* bytes of large values, since the allocator was told to give back */
  uint64_t reclaimed_seq; /* published when garbage was last looked through */
  tree_stamps held;       /* what was in use when the last edit began */
  struct {
    bool open;
    tree_ref top;
    uint64_t bytes;      /* of keypaths and values */
    uint64_t frozen;     /* invariant 1 */
    uint64_t floor;      /* frozen gets no lower: a dropped edit refers to nodes this old */
    unsigned depth;      /* savepoints open */
    tree_savepoint base; /* where the edit began */
  } edit;
  struct {
    bool under_way; /* a pass, which has come to `key` */
    char *key;
    size_t key_size, key_room;
    size_t taken;           /* bytes of slabs when it began */
    _Atomic size_t retired; /* nodes, by others since the last one began */
  } move;
  _Atomic unsigned edit_pins; /* pins on private versions, still held */
  _Atomic(tree_readers *) readers;
} tree;

/* A pinned version. */
typedef struct tree_pin {
  tree_ref top;
  uint64_t bytes;          /* of its keypaths and values */
  uint64_t seq;            /* of the version; for a private one, that of its base */
  _Atomic uintptr_t *slot; /* NULL: nothing pinned */
} tree_pin;

/* --- life ---------------------------------------------------------------------------------- */

/* Make an empty tree, published under seq 0. KV_ENOMEM. */
int tree_init(tree *t);

/* Free everything. No pin may be held and no edit open. */
void tree_destroy(tree *t);

/* --- readers ------------------------------------------------------------------------------- */

/* Pin the published version. KV_ENOMEM. */
int tree_pin_published(tree *t, tree_pin *out);

/* Pin the private version of the open edit as it is now; later changes do not show. By the writer
** only. KV_ENOMEM. */
int tree_pin_edit(tree *t, tree_pin *out);

/* Pin a sealed version that is not older than the published one. By the writer only. KV_ENOMEM. */
int tree_pin_version(tree *t, tree_version *version, tree_pin *out);

/* Pin the newest sealed version: the one that the open edit began on, or that was just sealed. By
** the writer only. KV_ENOMEM. */
int tree_pin_head(tree *t, tree_pin *out);

/* Let a pin of a sealed version hold the newest sealed one instead. By the writer only. */
void tree_pin_move_to_head(tree *t, tree_pin *pin);

/* Let go. Any thread, also after the edit has ended; a pin that holds nothing is left alone. True: much
** garbage may have been held by it, and whoever has the right to should tree_reclaim. */
bool tree_unpin(tree *t, tree_pin *pin);

/* How many pins are held, and how far the oldest of them is behind the published version: by how
** much their seqs differ. Pins on private versions do not count for the second. */
size_t tree_pin_count(tree *t);
uint64_t tree_pin_lag(tree *t);

/* --- the writer ---------------------------------------------------------------------------- */

/* Begin an edit on the newest sealed version. Frees what no reader needs any more. KV_ENOMEM. */
int tree_edit_begin(tree *t);

/* Give a keypath a value, copied from *value. *replaced (may be NULL): it had one. KV_ENOMEM,
** KV_EFULL beyond KV_ENTRIES_MAX. key is valid (asserted). */
int tree_put(tree *t, const char *key, size_t size, const kv_value *value, bool *replaced);

/* Take a keypath's value away. *found (may be NULL): it had one. KV_ENOMEM. */
int tree_delete(tree *t, const char *key, size_t size, bool *found);

/* Remember the present state. KV_ENOMEM. */
int tree_savepoint_set(tree *t, tree_savepoint *out);

/* Go back to a remembered state, which stays set. Cannot fail. */
void tree_savepoint_rollback(tree *t, const tree_savepoint *to);

/* Forget a savepoint and every later one; `outer` is the one before it, or NULL if there is none. */
void tree_savepoint_release(tree *t, const tree_savepoint *savepoint, const tree_savepoint *outer);

/* End the edit: as a version under seq that tree_publish can make visible, or as if it had never
** been. Neither can fail. */
tree_version *tree_edit_seal(tree *t, uint64_t seq);
void tree_edit_rollback(tree *t);

/* Take back the versions that were sealed after `to`, which is not older than the published one: the
** next edit begins on `to`. Pins on them stay valid. Cannot fail. Requires: no edit is open, and none of
** them was sealed after tree_move, for what that copied is not younger than `to` and would never be freed. */
void tree_take_back(tree *t, tree_version *to);

/* Drop everything; the edit has changed nothing yet. KV_ENOMEM. */
int tree_edit_clear(tree *t);

/* Free what no reader needs any more, outside of an edit. */
void tree_reclaim(tree *t);

/* There is much garbage. Any thread. */
static inline bool tree_has_much_garbage(const tree *t) {
  return atomic_load_explicit(&t->much_until, memory_order_relaxed) != 0;
}

/* Make a sealed version the one that tree_pin_published finds. */
void tree_publish(tree *t, tree_version *version);

/* --- moving nodes together (tree_move.c) ---------------------------------------------------------- */

/* Is much of what the slabs take unused? `closely`: for who has time to do something about it. Some
** may be in any tree, as a slab for every size. Any thread. */
#define TREE_SLACK ((size_t)1 << 20)
static inline bool tree_is_sparse(const tree *t, bool closely) {
  size_t given = pool_given_in_slabs(&t->memory), taken = pool_in_slabs(&t->memory);
  size_t limit = closely ? given + given / 8 + TREE_SLACK / 2 : given + given / 4 + TREE_SLACK;
  return taken > limit;
}

/* Is a pass under way, or worth to be begun? It goes through all keys, so that either much has been
** retired since the last one, or that one has helped; and readers must not hold much of what it
** would copy. */
bool tree_is_worth_moving(const tree *t, bool closely);

/* In an edit that has changed nothing: go on with a pass, or begin one, for so many steps: one for each
** leaf looked at and MOVE_STEPS more for each node moved. Returns how many were moved. If memory runs
** out the pass ends, with the content as before. */
size_t tree_move(tree *t, size_t steps);

/* --- reading a pinned top ------------------------------------------------------------------- */

/* The leaf of a keypath, or NULL. key may be any bytes. */
const tree_leaf *tree_find(tree_ref top, const char *key, size_t size);

/* Whether two leaves of one keypath, each of which may be NULL, come from the same write. */
bool tree_leaf_is_same(const tree_leaf *a, const tree_leaf *b);

/* Have what lies on the way to some keypaths, which may be any bytes, brought into the cache, so that the
** waits for memory overlap. count <= TREE_WARM_MAX. Nothing depends on it. Source: Chen, Gibbons, Mowry,
** "Improving index performance through prefetching" (2001), and group prefetching in hash joins. */
#define TREE_WARM_MAX 16u
typedef struct tree_key {
  const char *bytes;
  size_t size;
} tree_key;
void tree_warm(tree_ref top, const tree_key *keys, size_t count);

/* A leaf's keypath (NUL-terminated) and value, a text NUL-terminated too; both live as long as the version is pinned. */
const char *tree_leaf_key(const tree_leaf *leaf, size_t *size);
void tree_leaf_value(const tree_leaf *leaf, kv_value *out);

/* A large text or blob is kept apart and counted: take a reference that outlives the pin. Returns
** the bytes, to be given to tree_bytes_release by any thread; NULL if the value is small and must
** be copied. */
const char *tree_leaf_bytes_hold(const tree_leaf *leaf);
void tree_bytes_release(void *bytes);

/* What is at and below a keypath ("" with size 0: the whole tree). */
typedef struct tree_counts {
  uint64_t values;   /* keypaths with a value, its own included */
  uint64_t nodes;    /* nodes below it, itself not included */
  uint64_t children; /* direct ones */
} tree_counts;
void tree_count(tree_ref top, const char *key, size_t size, tree_counts *out);

/* How many keypaths have a value. */
uint64_t tree_values(tree_ref top);

/* How many keypaths sort below key (any bytes). */
uint64_t tree_rank(tree_ref top, const char *key, size_t size);

/* --- cursors -------------------------------------------------------------------------------- */

typedef struct tree_frame {
  const void *node; /* inner node */
  unsigned index;   /* of the child taken */
} tree_frame;

#define TREE_FRAMES 20 /* deeper paths go to allocated memory */

/* A place in a top. leaf is NULL before the first move and beyond either end. */
typedef struct tree_cursor {
  tree_ref top;
  const tree_leaf *leaf;
  tree_frame *frames;
  unsigned depth, room;
  tree_frame inline_frames[TREE_FRAMES];
} tree_cursor;

typedef enum tree_seek { TREE_GE, TREE_GT, TREE_LE, TREE_LT } tree_seek;

/* Start on a top, which must stay pinned; free the memory of a deep path. A cursor must not be
** moved in memory between the two. */
void tree_cursor_init(tree_cursor *c, tree_ref top);
void tree_cursor_free(tree_cursor *c);

/* Move; c->leaf tells where to. Only KV_ENOMEM can happen, and then c->leaf is NULL. */
int tree_cursor_first(tree_cursor *c);
int tree_cursor_last(tree_cursor *c);
int tree_cursor_seek(tree_cursor *c, const char *key, size_t size, tree_seek how);
int tree_cursor_at(tree_cursor *c, uint64_t rank); /* the leaf with so many leaves before it */
int tree_cursor_next(tree_cursor *c);
int tree_cursor_prev(tree_cursor *c);

#endif
