/*
** tree_node.h - how a node of the tree lies in memory. For tree_*.c only.
**
** A leaf is a keypath with its value, in one block:
**
**     tag: stamp 48 | key size 16     value_size    type   key bytes, NUL, value bytes (text: NUL)
**     +-----------------------------+-------------+------+---------------------------+
**     | 8                           | 4           | 1    | ...                       |
**     +-----------------------------+-------------+------+---------------------------+
**
** Integers and reals take 8 value bytes. A text or blob with which the leaf would be no small block of
** the pool is kept in a counted tree_bytes, and the value bytes are the pointer to it; but no value
** of LEAF_INLINE_MAX bytes or less is, however long the key.
**
** An inner node chooses by the byte at `offset` of the key; it holds no key bytes of its own, since
** any leaf below tells the prefix. Up to 16 children are found by comparing bytes, more by a bitmap:
**
**     tag: stamp 48 | offset 16, nodes, values, segments, count, room
**     small: room bytes, sorted, then (aligned) room refs in the same order
**     large: bitmap of 256 bits, then room refs, one for each bit set, in order
**
** With 4 children a small node is one cache line.
*/
#ifndef TREE_NODE_H
#define TREE_NODE_H

#include "tree.h"

#include <assert.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define LEAF_INLINE_MAX 512u
#define LEAF_INLINE_SUM_MAX (POOL_SMALL_MAX - 15u) /* of key and value; the rest is head and NULs */
#define SMALL_ROOM_MAX 16u
#define STAMP_MAX (((uint64_t)1 << 48) - 1)

struct tree_leaf {
  uint64_t tag;
  uint32_t value_size;
  uint8_t type;
  char bytes[];
};

typedef struct tree_inner {
  uint64_t tag;
  uint64_t nodes;  /* keypath nodes at or below that are at least `offset` bytes long */
  uint32_t values; /* leaves below */
  uint32_t
      segments;   /* different ways in which the segment that `offset` lies in goes on and ends */
  uint16_t count; /* children */
  uint16_t room;
} tree_inner;

/* A large value. */
typedef struct tree_bytes {
  _Atomic uint64_t references;
  size_t size;
  char data[];
} tree_bytes;

_Static_assert(sizeof(void *) == 8, "references are stored in 64 bits");

#define INNER_BYTES_AT 28u
#define INNER_BITMAP_AT 32u
#define INNER_LARGE_REFS_AT 64u

static inline bool ref_is_leaf(tree_ref ref) {
  return ref & 1;
}
static inline tree_leaf *ref_leaf(tree_ref ref) {
  return (tree_leaf *)(ref - 1);
}
static inline tree_inner *ref_inner(tree_ref ref) {
  return (tree_inner *)ref;
}
static inline tree_ref leaf_ref(const tree_leaf *leaf) {
  return (tree_ref)leaf + 1;
}
static inline tree_ref inner_ref(const tree_inner *node) {
  return (tree_ref)node;
}
/* Leaf and inner node both begin with their tag. */
static inline uint64_t ref_stamp(tree_ref ref) {
  return *(const uint64_t *)(ref & ~(tree_ref)1) >> 16;
}
static inline size_t leaf_key_size(const tree_leaf *leaf) {
  return leaf->tag & 0xffff;
}
/* Whether the bytes of a text or blob lie in the leaf. */
static inline bool value_is_inline(size_t key_size, size_t value_size) {
  return value_size <= LEAF_INLINE_MAX || key_size + value_size <= LEAF_INLINE_SUM_MAX;
}

/* Bytes of keypath and value; those of a large value, which is kept apart, too. */
static inline uint64_t leaf_content_size(const tree_leaf *leaf) {
  return leaf_key_size(leaf) + leaf->value_size;
}
static inline unsigned inner_offset(const tree_inner *node) {
  return (unsigned)(node->tag & 0xffff);
}

static inline uint8_t *inner_bytes(const tree_inner *node) {
  return (uint8_t *)(uintptr_t)node + INNER_BYTES_AT;
}
static inline uint64_t *inner_bitmap(const tree_inner *node) {
  return (uint64_t *)((uintptr_t)node + INNER_BITMAP_AT);
}
static inline size_t inner_refs_at(unsigned room) {
  return room <= SMALL_ROOM_MAX ? (INNER_BYTES_AT + room + 7u) & ~7u : INNER_LARGE_REFS_AT;
}
static inline tree_ref *inner_refs(const tree_inner *node) {
  return (tree_ref *)((uintptr_t)node + inner_refs_at(node->room));
}

/* Where the edge to a node ends: all keys below it agree before this byte. */
static inline size_t edge_end(tree_ref ref) {
  return ref_is_leaf(ref) ? leaf_key_size(ref_leaf(ref)) : inner_offset(ref_inner(ref));
}

/* Leaves at or below a node. */
static inline uint64_t ref_values(tree_ref ref) {
  return ref_is_leaf(ref) ? 1 : ref_inner(ref)->values;
}

/* The byte by which a key is told apart at offset; 0 at its end and beyond. */
static inline uint8_t key_byte(const char *key, size_t size, size_t offset) {
  return offset < size ? (uint8_t)key[offset] : 0;
}

/* The byte can stand behind the last byte of a node's keypath. */
static inline bool ends_segment(uint8_t byte) {
  return byte == 0 || byte == '/';
}

/* A new leaf, born at stamp, its value copied; NULL if memory is short. */
tree_leaf *leaf_new(pool *p, uint64_t stamp, const char *key, size_t size, const kv_value *value);

/* A copy of a leaf, born when that was; a large value is shared. NULL if memory is short. */
tree_leaf *leaf_copy(pool *p, const tree_leaf *leaf);

/* Bytes of the leaf's value that are kept apart, 0 if it is not. */
static inline uint64_t leaf_apart_size(const tree_leaf *leaf) {
  return value_is_inline(leaf_key_size(leaf), leaf->value_size) ? 0 : leaf->value_size;
}

/* A new inner node without children, with room for at least `count`; NULL if memory is short. */
tree_inner *inner_new(pool *p, uint64_t stamp, unsigned offset, unsigned count);

/* A copy, born at stamp, with room for at least `count` children. */
tree_inner *inner_copy(pool *p, uint64_t stamp, const tree_inner *node, unsigned count);

/* Give a node's memory (and a leaf's hold on its large value) back; children are left alone. */
void ref_free(pool *p, tree_ref ref);

/* The bytes a node was asked from the pool with. */
size_t ref_alloc_size(tree_ref ref);

/* The place of the first child whose byte is >= byte, count if there is none; *equal tells whether
** it is that byte's. */
unsigned inner_place(const tree_inner *node, uint8_t byte, bool *equal);

/* The child of a byte, or NULL. Every step down is one of these: a wait for the memory that the node
** lies in. So it asks at once for what lies behind the node's head, where the child's ref will be. */
static inline tree_ref *inner_find(const tree_inner *node, uint8_t byte) {
  __builtin_prefetch((const char *)node + 64);
  __builtin_prefetch((const char *)node + 128);
#if defined(__SSE2__)
  if (node->room <= SMALL_ROOM_MAX) {
    /* Reads 16 bytes from INNER_BYTES_AT on, which the smallest node has. */
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)inner_bytes(node));
    __m128i same = _mm_cmpeq_epi8(bytes, _mm_set1_epi8((char)byte));
    unsigned mask = (unsigned)_mm_movemask_epi8(same) & ((1u << node->count) - 1);
    return mask != 0 ? inner_refs(node) + __builtin_ctz(mask) : NULL;
  }
#endif
  bool equal;
  unsigned place = inner_place(node, byte, &equal);
  return equal ? inner_refs(node) + place : NULL;
}

/* The child that agrees longest with key, if any key below node does. */
static inline tree_ref closest_child(const tree_inner *node, const char *key, size_t size) {
  const tree_ref *child = inner_find(node, key_byte(key, size, inner_offset(node)));
  return child != NULL ? *child : inner_refs(node)[0];
}

/* Put a child in, which must be a new byte and have room; take one out. */
void inner_insert(tree_inner *node, uint8_t byte, tree_ref child);
void inner_remove(tree_inner *node, uint8_t byte);

/* How many bytes of key (any bytes) and the leaf's keypath agree; both sizes if they are equal. */
size_t leaf_mismatch(const tree_leaf *leaf, const char *key, size_t size);

/* The first leaf at or below ref. */
const tree_leaf *first_leaf(tree_ref ref);

/* The leaf that agrees longest with key, if any leaf below ref does. */
const tree_leaf *closest_leaf(tree_ref ref, const char *key, size_t size);

/* In tree.c: */

/* Make every inner node of key's path with an offset below `until` private. Returns the place that
** holds the first node with another offset, or the leaf; NULL if memory is short. */
tree_ref *make_path_private(tree *t, const char *key, size_t size, size_t until);

/* The top of what begins with key and a "/", 0 if nothing does. */
tree_ref find_below(tree_ref ref, const char *key, size_t size);

/* How many nodes a subtree has that end at byte `from` or behind, and in how many ways the segment
** that `from` lies in goes on; all keys of the subtree agree before `from`. */
void edge_counts(tree_ref ref, size_t from, uint64_t *nodes, uint32_t *segments);

#endif
