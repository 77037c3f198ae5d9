/* tree_node.c - leaves and inner nodes of the tree, one at a time. See tree_node.h. */
#include "tree_node.h"

#include "os.h"

/* --- leaves ---------------------------------------------------------------------------------- */

static bool value_is_bytes(unsigned type) {
  return type == KV_TEXT || type == KV_BLOB;
}

static bool leaf_is_apart(const tree_leaf *leaf) {
  return leaf_apart_size(leaf) > 0;
}

/* A text is followed by a NUL, so that it can be handed on as a C string. */
static size_t value_room(size_t key_size, unsigned type, size_t size) {
  if (type == KV_NULL) return 0;
  bool bytes = value_is_bytes(type) && value_is_inline(key_size, size);
  return bytes ? size + (type == KV_TEXT) : 8;
}

static size_t leaf_alloc_size(size_t key_size, unsigned type, size_t value_size) {
  return offsetof(tree_leaf, bytes) + key_size + 1 + value_room(key_size, type, value_size);
}

static char *leaf_value_at(const tree_leaf *leaf) {
  return (char *)(uintptr_t)leaf->bytes + leaf_key_size(leaf) + 1;
}

static tree_bytes *leaf_bytes(const tree_leaf *leaf) {
  tree_bytes *bytes;
  memcpy(&bytes, leaf_value_at(leaf), sizeof bytes);
  return bytes;
}

static tree_bytes *bytes_new(const char *data, size_t size) {
  tree_bytes *bytes = os.malloc(sizeof *bytes + size + 1);
  if (bytes == NULL) return NULL;
  atomic_init(&bytes->references, 1);
  bytes->size = size;
  memcpy(bytes->data, data, size);
  bytes->data[size] = '\0';
  return bytes;
}

tree_leaf *leaf_new(pool *p, uint64_t stamp, const char *key, size_t size, const kv_value *value) {
  assert(size > 0 && size <= KV_KEYPATH_SIZE_MAX && stamp <= STAMP_MAX);
  size_t value_size = value_is_bytes(value->type) ? value->size : 0;
  assert(value_size <= KV_VALUE_SIZE_MAX);
  tree_leaf *leaf = pool_alloc(p, leaf_alloc_size(size, value->type, value_size));
  if (leaf == NULL) return NULL;
  leaf->tag = stamp << 16 | size;
  leaf->value_size = (uint32_t)value_size;
  leaf->type = (uint8_t)value->type;
  memcpy(leaf->bytes, key, size);
  leaf->bytes[size] = '\0';
  char *at = leaf_value_at(leaf);
  if (leaf_is_apart(leaf)) {
    tree_bytes *bytes = bytes_new(value->data, value_size);
    if (bytes == NULL) {
      pool_free(p, leaf, leaf_alloc_size(size, value->type, value_size));
      return NULL;
    }
    memcpy(at, &bytes, sizeof bytes);
    pool_count(&p->apart, value_size);
  } else if (value_is_bytes(value->type)) {
    if (value_size > 0) memcpy(at, value->data, value_size);
    if (value->type == KV_TEXT) at[value_size] = '\0';
  } else if (value->type == KV_INTEGER) {
    memcpy(at, &value->integer, sizeof value->integer);
  } else if (value->type == KV_REAL) {
    memcpy(at, &value->real, sizeof value->real);
  }
  return leaf;
}

tree_leaf *leaf_copy(pool *p, const tree_leaf *leaf) {
  size_t size = leaf_alloc_size(leaf_key_size(leaf), leaf->type, leaf->value_size);
  tree_leaf *copy = pool_alloc(p, size);
  if (copy == NULL) return NULL;
  memcpy(copy, leaf, size);
  if (leaf_is_apart(leaf)) {
    atomic_fetch_add_explicit(&leaf_bytes(leaf)->references, 1, memory_order_relaxed);
    pool_count(&p->apart, leaf->value_size);
  }
  return copy;
}

const char *tree_leaf_key(const tree_leaf *leaf, size_t *size) {
  *size = leaf_key_size(leaf);
  return leaf->bytes;
}

void tree_leaf_value(const tree_leaf *leaf, kv_value *out) {
  out->type = (kv_type)leaf->type;
  const char *at = leaf_value_at(leaf);
  if (leaf->type == KV_INTEGER) {
    memcpy(&out->integer, at, sizeof out->integer);
  } else if (leaf->type == KV_REAL) {
    memcpy(&out->real, at, sizeof out->real);
  } else {
    out->data = leaf_is_apart(leaf) ? leaf_bytes(leaf)->data : at;
    out->size = leaf->value_size;
  }
}

const char *tree_leaf_bytes_hold(const tree_leaf *leaf) {
  if (!leaf_is_apart(leaf)) return NULL;
  tree_bytes *bytes = leaf_bytes(leaf);
  atomic_fetch_add_explicit(&bytes->references, 1, memory_order_relaxed);
  return bytes->data;
}

void tree_bytes_release(void *data) {
  tree_bytes *bytes = (tree_bytes *)(void *)((char *)data - offsetof(tree_bytes, data));
  if (atomic_fetch_sub_explicit(&bytes->references, 1, memory_order_acq_rel) == 1) os.free(bytes);
}

/* --- inner nodes ------------------------------------------------------------------------------ */

/* The rooms that exist, so that freed nodes fit new ones. */
static unsigned room_for(unsigned count) {
  static const uint16_t rooms[] = {2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256};
  unsigned i = 0;
  while (rooms[i] < count) i++;
  return rooms[i];
}

static size_t inner_alloc_size(unsigned room) {
  return inner_refs_at(room) + room * sizeof(tree_ref);
}

tree_inner *inner_new(pool *p, uint64_t stamp, unsigned offset, unsigned count) {
  unsigned room = room_for(count);
  tree_inner *node = pool_alloc(p, inner_alloc_size(room));
  if (node == NULL) return NULL;
  memset(node, 0, inner_refs_at(room));
  node->tag = stamp << 16 | offset;
  node->room = (uint16_t)room;
  return node;
}

/* Children of a small node, as the bitmap of a large one. */
static void bitmap_from_bytes(uint64_t bitmap[4], const uint8_t *bytes, unsigned count) {
  for (unsigned i = 0; i < count; i++) bitmap[bytes[i] >> 6] |= (uint64_t)1 << (bytes[i] & 63);
}

static void bytes_from_bitmap(uint8_t *bytes, const uint64_t bitmap[4]) {
  for (unsigned word = 0; word < 4; word++) {
    for (uint64_t bits = bitmap[word]; bits != 0; bits &= bits - 1) {
      *bytes++ = (uint8_t)(word * 64 + (unsigned)__builtin_ctzll(bits));
    }
  }
}

tree_inner *inner_copy(pool *p, uint64_t stamp, const tree_inner *node, unsigned count) {
  assert(count >= node->count);
  tree_inner *copy = inner_new(p, stamp, inner_offset(node), count);
  if (copy == NULL) return NULL;
  copy->nodes = node->nodes;
  copy->values = node->values;
  copy->segments = node->segments;
  copy->count = node->count;
  bool from_small = node->room <= SMALL_ROOM_MAX, to_small = copy->room <= SMALL_ROOM_MAX;
  if (from_small && to_small) {
    memcpy(inner_bytes(copy), inner_bytes(node), node->count);
  } else if (from_small) {
    bitmap_from_bytes(inner_bitmap(copy), inner_bytes(node), node->count);
  } else if (to_small) {
    bytes_from_bitmap(inner_bytes(copy), inner_bitmap(node));
  } else {
    memcpy(inner_bitmap(copy), inner_bitmap(node), 32);
  }
  memcpy(inner_refs(copy), inner_refs(node), node->count * sizeof(tree_ref));
  return copy;
}

size_t ref_alloc_size(tree_ref ref) {
  if (!ref_is_leaf(ref)) return inner_alloc_size(ref_inner(ref)->room);
  const tree_leaf *leaf = ref_leaf(ref);
  return leaf_alloc_size(leaf_key_size(leaf), leaf->type, leaf->value_size);
}

void ref_free(pool *p, tree_ref ref) {
  size_t size = ref_alloc_size(ref);
  if (!ref_is_leaf(ref)) {
    pool_free(p, ref_inner(ref), size);
  } else {
    tree_leaf *leaf = ref_leaf(ref);
    if (leaf_is_apart(leaf)) {
      pool_count(&p->apart, 0 - (size_t)leaf->value_size);
      tree_bytes_release(leaf_bytes(leaf)->data);
    }
    pool_free(p, leaf, size);
  }
}

/* How many of the node's first `count` bytes are below `byte`. */
static unsigned small_place(const tree_inner *node, uint8_t byte) {
#if defined(__SSE2__)
  /* As in inner_find. Unsigned a >= b is max(a, b) == a. */
  __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)inner_bytes(node));
  __m128i at_least = _mm_cmpeq_epi8(_mm_max_epu8(bytes, _mm_set1_epi8((char)byte)), bytes);
  unsigned mask = (unsigned)_mm_movemask_epi8(at_least) | 1u << node->count;
  return (unsigned)__builtin_ctz(mask);
#else
  const uint8_t *bytes = inner_bytes(node);
  unsigned i = 0;
  while (i < node->count && bytes[i] < byte) i++;
  return i;
#endif
}

static unsigned large_place(const tree_inner *node, uint8_t byte) {
  const uint64_t *bitmap = inner_bitmap(node);
  unsigned word = byte >> 6, place = 0;
  for (unsigned i = 0; i < word; i++) place += (unsigned)__builtin_popcountll(bitmap[i]);
  uint64_t below = ((uint64_t)1 << (byte & 63)) - 1;
  return place + (unsigned)__builtin_popcountll(bitmap[word] & below);
}

unsigned inner_place(const tree_inner *node, uint8_t byte, bool *equal) {
  if (node->room <= SMALL_ROOM_MAX) {
    unsigned place = small_place(node, byte);
    *equal = place < node->count && inner_bytes(node)[place] == byte;
    return place;
  }
  *equal = inner_bitmap(node)[byte >> 6] >> (byte & 63) & 1;
  return large_place(node, byte);
}

void inner_insert(tree_inner *node, uint8_t byte, tree_ref child) {
  bool equal;
  unsigned place = inner_place(node, byte, &equal), after = node->count - place;
  assert(!equal && node->count < node->room);
  if (node->room <= SMALL_ROOM_MAX) {
    uint8_t *bytes = inner_bytes(node) + place;
    memmove(bytes + 1, bytes, after);
    *bytes = byte;
  } else {
    inner_bitmap(node)[byte >> 6] |= (uint64_t)1 << (byte & 63);
  }
  tree_ref *refs = inner_refs(node) + place;
  memmove(refs + 1, refs, after * sizeof *refs);
  *refs = child;
  node->count++;
}

void inner_remove(tree_inner *node, uint8_t byte) {
  bool equal;
  unsigned place = inner_place(node, byte, &equal), after = node->count - place - 1u;
  assert(equal);
  if (node->room <= SMALL_ROOM_MAX) {
    uint8_t *bytes = inner_bytes(node) + place;
    memmove(bytes, bytes + 1, after);
  } else {
    inner_bitmap(node)[byte >> 6] &= ~((uint64_t)1 << (byte & 63));
  }
  tree_ref *refs = inner_refs(node) + place;
  memmove(refs, refs + 1, after * sizeof *refs);
  node->count--;
}

/* --- walks ------------------------------------------------------------------------------------ */

size_t leaf_mismatch(const tree_leaf *leaf, const char *key, size_t size) {
  size_t common = leaf_key_size(leaf), i = 0;
  if (size < common) common = size;
  for (; i + 8 <= common; i += 8) {
    uint64_t a, b;
    memcpy(&a, leaf->bytes + i, 8);
    memcpy(&b, key + i, 8);
    if (a != b) break;
  }
  while (i < common && leaf->bytes[i] == key[i]) i++;
  return i;
}

const tree_leaf *first_leaf(tree_ref ref) {
  while (!ref_is_leaf(ref)) ref = inner_refs(ref_inner(ref))[0];
  return ref_leaf(ref);
}

const tree_leaf *closest_leaf(tree_ref ref, const char *key, size_t size) {
  while (!ref_is_leaf(ref)) ref = closest_child(ref_inner(ref), key, size);
  return ref_leaf(ref);
}
