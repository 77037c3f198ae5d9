/*
** tree_model.h - what the tree's tests compare it with: a sorted array of keypaths, obviously right.
**
** A model's entries are counted and never changed, so that copying a model, which the tests do for
** every version they hold, copies pointers only. Nothing here goes through the `os` table except
** where it calls the tree. What compares returns NULL if all is the same, else words for it:
**
**     CHECK_STR(model_compare(&m, top), NULL);
*/
#ifndef TREE_MODEL_H
#define TREE_MODEL_H

#include "tree_node.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct model_entry {
  unsigned references;
  kv_value value; /* its bytes lie behind the key */
  size_t size;
  char key[];
} model_entry;

typedef struct model {
  model_entry **entries; /* ordered by memcmp */
  size_t count, room;
} model; /* a zeroed model is empty */

static inline void *model_memory(void *old, size_t size) {
  void *data = realloc(old, size > 0 ? size : 1);
  if (data == NULL) abort();
  return data;
}

/* Some words into a static buffer. */
__attribute__((format(printf, 1, 2))) static inline const char *model_says(const char *format,
                                                                           ...) {
  static char text[400];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  return text;
}

/* --- content ---------------------------------------------------------------------------------- */

static inline int model_order(const char *a, size_t a_size, const char *b, size_t b_size) {
  int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
  return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

/* The place of the first entry >= key. */
static inline size_t model_place(const model *m, const char *key, size_t size, bool *equal) {
  size_t low = 0, high = m->count;
  *equal = false;
  while (low < high) {
    size_t middle = (low + high) / 2;
    int order = model_order(m->entries[middle]->key, m->entries[middle]->size, key, size);
    if (order == 0) *equal = true;
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static inline void model_drop(model_entry *entry) {
  if (--entry->references == 0) free(entry);
}

/* Tells whether the key was there; so does model_delete. */
static inline bool model_put(model *m, const char *key, size_t size, const kv_value *value) {
  bool bytes = value->type == KV_TEXT || value->type == KV_BLOB;
  model_entry *entry = model_memory(NULL, sizeof *entry + size + (bytes ? value->size : 0));
  *entry = (model_entry){.references = 1, .value = *value, .size = size};
  memcpy(entry->key, key, size);
  if (bytes) {
    if (value->size > 0) memcpy(entry->key + size, value->data, value->size);
    entry->value.data = entry->key + size;
  }
  bool equal;
  size_t at = model_place(m, key, size, &equal);
  if (equal) {
    model_drop(m->entries[at]);
  } else {
    if (m->count == m->room) {
      m->room = m->room * 2 + 16;
      m->entries = model_memory(m->entries, m->room * sizeof *m->entries);
    }
    memmove(m->entries + at + 1, m->entries + at, (m->count - at) * sizeof *m->entries);
    m->count++;
  }
  m->entries[at] = entry;
  return equal;
}

static inline bool model_delete(model *m, const char *key, size_t size) {
  bool equal;
  size_t at = model_place(m, key, size, &equal);
  if (!equal) return false;
  model_drop(m->entries[at]);
  m->count--;
  memmove(m->entries + at, m->entries + at + 1, (m->count - at) * sizeof *m->entries);
  return true;
}

static inline void model_free(model *m) {
  for (size_t i = 0; i < m->count; i++) model_drop(m->entries[i]);
  free(m->entries);
  *m = (model){0};
}

/* Frees what `to` had. */
static inline void model_copy(model *to, const model *from) {
  model copy = {.entries = model_memory(NULL, from->count * sizeof *from->entries),
                .count = from->count,
                .room = from->count};
  for (size_t i = 0; i < from->count; i++) {
    copy.entries[i] = from->entries[i];
    copy.entries[i]->references++;
  }
  model_free(to);
  *to = copy;
}

/* --- random keypaths and values ----------------------------------------------------------------- */

/* The next number of a fixed sequence, below a limit. */
static inline unsigned model_random(uint64_t *state, unsigned limit) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return (unsigned)((*state * 2685821657736338717u) >> 32) % limit;
}

/* Kinds of keypaths, each hard on something else. */
typedef enum model_kind {
  KEYS_SEGMENTS, /* few segments that sort around the "/" */
  KEYS_BYTES,    /* every short keypath of a few bytes */
  KEYS_WIDE,     /* folders with many children, up to 255 at one byte */
  KEYS_DEEP,     /* a thousand levels */
  KEYS_LONG,     /* a long common prefix; leaves larger than the pool's blocks */
  KEYS_KINDS
} model_kind;

#define MODEL_KEY_SIZE_MAX 4096u

static inline size_t model_random_key(uint64_t *state, model_kind kind, char *out) {
  static const char *const segments[] = {"a", "a-b", "a.b", "a0", "\xc3\xa4", "b", "a!", "aa", "~"};
  size_t size = 0;
  if (kind == KEYS_SEGMENTS) {
    for (unsigned n = 1 + model_random(state, 4); n > 0; n--) {
      const char *segment = segments[model_random(state, sizeof segments / sizeof *segments)];
      if (size > 0) out[size++] = '/';
      memcpy(out + size, segment, strlen(segment));
      size += strlen(segment);
    }
  } else if (kind == KEYS_BYTES) {
    for (unsigned n = 1 + model_random(state, 6); n > 0 || out[size - 1] == '/'; n -= n > 0) {
      char byte = "ab-./0"[model_random(state, 6)];
      if (byte == '/' && (size == 0 || out[size - 1] == '/')) byte = 'a';
      out[size++] = byte;
    }
  } else if (kind == KEYS_WIDE) {
    unsigned number = model_random(state, 3000);
    size = (size_t)sprintf(out,
                           number % 3 == 0   ? "w/%u"
                           : number % 3 == 1 ? "w/%04u/x"
                                             : "w",
                           number);
    if (number % 3 == 2) {
      out[size++] = (char)(1 + model_random(state, 255));
      if (out[size - 1] == '/') out[size++] = 'c';
    }
  } else if (kind == KEYS_DEEP) {
    for (unsigned n = 1 + model_random(state, 1300); n > 0; n--) {
      if (size > 0) out[size++] = '/';
      out[size++] = model_random(state, 1000) == 0 ? 'b' : 'a';
    }
  } else {
    size = 2100;
    memset(out, 'x', size);
    out[model_random(state, 4) * 700] = 'y';
    size += (size_t)sprintf(out + size, "/%u", model_random(state, 40));
  }
  return size;
}

/* Values of all types; data is where the bytes may lie, of 3000. */
static inline kv_value model_random_value(uint64_t *state, char *data) {
  kv_value value = {.type = (kv_type)model_random(state, 5)};
  static const unsigned sizes[] = {0, 1, 6, 7, 8, 200, 511, 512, 513, 2000, 2150, 3000};
  if (value.type == KV_INTEGER) value.integer = (int64_t)model_random(state, 1u << 31) << 20;
  if (value.type == KV_REAL) value.real = (double)model_random(state, 1u << 31) / 7;
  if (value.type == KV_TEXT || value.type == KV_BLOB) {
    value.size = sizes[model_random(state, sizeof sizes / sizeof *sizes)];
    memset(data, (int)model_random(state, 256), value.size);
    value.data = data;
  }
  return value;
}

/* Bytes to search with: a keypath, one of the model's, or one near it that may be no keypath. */
static inline size_t model_random_bound(uint64_t *state, model_kind kind, const model *m,
                                        char *out) {
  size_t size = model_random_key(state, kind, out);
  if (m->count > 0 && model_random(state, 2) == 0) {
    const model_entry *entry = m->entries[model_random(state, (unsigned)m->count)];
    size = entry->size;
    memcpy(out, entry->key, size);
  }
  switch (model_random(state, 8)) {
  case 0:
    size = model_random(state, (unsigned)size + 1);
    break;
  case 1:
    size--;
    break;
  case 2:
    out[size++] = '/';
    break;
  case 3:
    out[size++] = '\0';
    break;
  case 4:
    out[size++] = '\xff';
    break;
  case 5:
    out[model_random(state, (unsigned)size)] = "\0\1/0\xff"[model_random(state, 5)];
    break;
  case 6:
    memset(out + size, 'a', 20);
    size += 20;
    break;
  default:
    break;
  }
  return size;
}

/* --- every node, for counting ----------------------------------------------------------------- */

typedef struct model_node {
  const char *key;
  size_t size, depth;
} model_node;

typedef struct model_nodes {
  model_node *nodes; /* ordered by memcmp, each once */
  size_t count;
} model_nodes;

static inline int model_node_order(const void *a, const void *b) {
  const model_node *x = a, *y = b;
  return model_order(x->key, x->size, y->key, y->size);
}

static inline model_nodes model_list_nodes(const model *m) {
  model_nodes list = {0};
  size_t all = 0, kept = 0;
  for (size_t i = 0; i < m->count; i++) {
    all++;
    for (size_t k = 0; k < m->entries[i]->size; k++) all += m->entries[i]->key[k] == '/';
  }
  list.nodes = model_memory(NULL, all * sizeof *list.nodes);
  for (size_t i = 0; i < m->count; i++) {
    const model_entry *entry = m->entries[i];
    size_t depth = 0;
    for (size_t k = 1; k <= entry->size; k++) {
      if (k < entry->size && entry->key[k] != '/') continue;
      list.nodes[list.count++] = (model_node){.key = entry->key, .size = k, .depth = ++depth};
    }
  }
  if (all > 0) qsort(list.nodes, all, sizeof *list.nodes, model_node_order);
  for (size_t i = 0; i < all; i++) {
    if (i > 0 && model_node_order(&list.nodes[i], &list.nodes[kept - 1]) == 0) continue;
    list.nodes[kept++] = list.nodes[i];
  }
  list.count = kept;
  return list;
}

static inline size_t model_node_place(const model_nodes *list, const char *key, size_t size) {
  size_t low = 0, high = list->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    const model_node *node = &list->nodes[middle];
    if (model_order(node->key, node->size, key, size) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/* What tree_count should say: what lies below a key stands between it with a "/" behind and it with
** a '0' behind, the byte after '/'. */
static inline tree_counts model_count(const model *m, const model_nodes *list, const char *key,
                                      size_t size) {
  tree_counts out = {0};
  if (size == 0) {
    out.values = m->count;
    out.nodes = list->count;
    for (size_t i = 0; i < list->count; i++) out.children += list->nodes[i].depth == 1;
    return out;
  }
  char *edge = model_memory(NULL, size + 1);
  size_t depth = 1;
  bool equal;
  memcpy(edge, key, size);
  for (size_t i = 0; i < size; i++) depth += key[i] == '/';
  edge[size] = '/';
  size_t from = model_node_place(list, edge, size + 1);
  size_t first = model_place(m, edge, size + 1, &equal);
  edge[size] = '0';
  size_t to = model_node_place(list, edge, size + 1);
  out.values = model_place(m, edge, size + 1, &equal) - first;
  (void)model_place(m, key, size, &equal);
  out.values += equal;
  out.nodes = to - from;
  for (size_t i = from; i < to; i++) out.children += list->nodes[i].depth == depth + 1;
  free(edge);
  return out;
}

/* --- comparing -------------------------------------------------------------------------------- */

static inline bool model_same_leaf(const model_entry *entry, const tree_leaf *leaf) {
  if (entry == NULL || leaf == NULL) return entry == NULL && leaf == NULL;
  size_t size;
  kv_value value;
  const char *key = tree_leaf_key(leaf, &size);
  if (model_order(entry->key, entry->size, key, size) != 0 || key[size] != '\0') return false;
  tree_leaf_value(leaf, &value);
  if (value.type != entry->value.type) return false;
  if (value.type == KV_NULL) return true;
  if (value.type == KV_INTEGER) return value.integer == entry->value.integer;
  if (value.type == KV_REAL) return memcmp(&value.real, &entry->value.real, 8) == 0;
  if (value.type == KV_TEXT && value.data[value.size] != '\0') return false;
  return value.size == entry->value.size &&
         (value.size == 0 || memcmp(value.data, entry->value.data, value.size) == 0);
}

static inline const char *model_compare_counts(const model *m, const model_nodes *list,
                                               tree_ref top, const char *key, size_t size) {
  tree_counts got, want = model_count(m, list, key, size);
  tree_count(top, key, size, &got);
  if (got.values == want.values && got.nodes == want.nodes && got.children == want.children) {
    return NULL;
  }
  return model_says("count of '%.*s': values %d, nodes %d, children %d, not %d, %d, %d",
                    (int)(size < 99 ? size : 99), key, (int)got.values, (int)got.nodes,
                    (int)got.children, (int)want.values, (int)want.nodes, (int)want.children);
}

/* That finding, ranking and seeking a key (any bytes) tells the same, and a step both ways. */
static inline const char *model_probe(const model *m, tree_ref top, const char *key, size_t size) {
  bool equal;
  size_t at = model_place(m, key, size, &equal);
  if (!model_same_leaf(equal ? m->entries[at] : NULL, tree_find(top, key, size))) {
    return model_says("found '%.*s' wrongly", (int)(size < 99 ? size : 99), key);
  }
  tree_key near[] = {{key, size}, {key, size / 2}, {"", 0}};
  tree_warm(top, near, 3); /* does nothing that could be seen */
  if (tree_rank(top, key, size) != at) {
    return model_says("rank of '%.*s'", (int)(size < 99 ? size : 99), key);
  }
  size_t targets[] = {at, equal ? at + 1 : at, equal ? at : at - 1, at - 1}; /* as tree_seek */
  for (tree_seek how = TREE_GE; how <= TREE_LT; how++) {
    size_t i = targets[how];
    tree_cursor c;
    tree_cursor_init(&c, top);
    bool ok = tree_cursor_seek(&c, key, size, how) == KV_OK;
    ok = ok && model_same_leaf(i < m->count ? m->entries[i] : NULL, c.leaf);
    if (ok && c.leaf != NULL) {
      bool up = i % 2 == 0;
      i += up ? (size_t)1 : SIZE_MAX;
      ok = (up ? tree_cursor_next(&c) : tree_cursor_prev(&c)) == KV_OK &&
           model_same_leaf(i < m->count ? m->entries[i] : NULL, c.leaf);
    }
    tree_cursor_free(&c);
    if (!ok) return model_says("seek %d '%.*s'", (int)how, (int)(size < 99 ? size : 99), key);
  }
  return NULL;
}

/* --- the tree's structure --------------------------------------------------------------------- */

typedef struct model_edge {
  uint64_t nodes, values, segments;
} model_edge;

/* Check invariants 3 and 4 of an inner node and all below, and add the bytes of all of them. The
** counts of a child are its own; `edge` is what its parent at byte `from` should make of it. */
static inline const char *model_check_node(tree_ref ref, size_t from, model_edge *edge,
                                           size_t *bytes) {
  const tree_leaf *first = first_leaf(ref);
  model_edge sum = {.nodes = 1, .values = 1, .segments = 1};
  size_t to = leaf_key_size(first);
  *bytes += (ref_alloc_size(ref) + 7) & ~(size_t)7; /* as the pool rounds it */
  if (!ref_is_leaf(ref)) {
    const tree_inner *node = ref_inner(ref);
    to = inner_offset(node);
    sum = (model_edge){0};
    int last = -1;
    bool end = false, slash = false;
    if (node->count < 2 || node->count > node->room) return "number of children";
    if (node->count <= node->room / 3) return "unused room";
    for (unsigned i = 0; i < node->count; i++) {
      model_edge part;
      tree_ref child = inner_refs(node)[i];
      const tree_leaf *leaf = first_leaf(child);
      int byte = key_byte(leaf->bytes, leaf_key_size(leaf), to);
      if (byte <= last || inner_find(node, (uint8_t)byte) != inner_refs(node) + i) return "order";
      last = byte;
      end = end || byte == 0;
      slash = slash || byte == '/';
      if (leaf_mismatch(first, leaf->bytes, leaf_key_size(leaf)) < to) return "prefix";
      if (!ref_is_leaf(child) && inner_offset(ref_inner(child)) <= to) return "offset";
      const char *what = model_check_node(child, to, &part, bytes);
      if (what != NULL) return what;
      sum.nodes += part.nodes;
      sum.values += part.values;
      sum.segments += part.segments;
    }
    sum.nodes -= end && slash;
    sum.segments -= end && slash;
    if (sum.nodes != node->nodes || sum.values != node->values || sum.segments != node->segments) {
      return model_says("counts at offset %zu below '%.60s'", to, first->bytes);
    }
  }
  uint64_t slashes = 0;
  for (size_t i = from; i < to; i++) slashes += first->bytes[i] == '/';
  *edge = (model_edge){.nodes = sum.nodes + slashes,
                       .values = sum.values,
                       .segments = slashes > 0 ? 1 : sum.segments};
  return NULL;
}

/* *bytes is what the nodes below top take from the pool. */
static inline const char *model_check_structure(tree_ref top, size_t *bytes) {
  model_edge edge;
  *bytes = 0;
  return top == 0 ? NULL : model_check_node(top, 0, &edge, bytes);
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Compare by walking both ways. */
static inline const char *model_compare_walk(const model *m, tree_ref top) {
  tree_cursor c;
  const char *what = NULL;
  tree_cursor_init(&c, top);
  size_t i = 0;
  for (int rc = tree_cursor_first(&c); what == NULL && c.leaf != NULL; rc = tree_cursor_next(&c)) {
    if (rc != KV_OK || i == m->count || !model_same_leaf(m->entries[i++], c.leaf)) what = "forward";
  }
  if (what == NULL && i != m->count) what = "forward, too few";
  if (what == NULL) tree_cursor_last(&c);
  for (; what == NULL && c.leaf != NULL; tree_cursor_prev(&c)) {
    if (i == 0 || !model_same_leaf(m->entries[--i], c.leaf)) what = "backward";
  }
  if (what == NULL && i != 0) what = "backward, too few";
  tree_cursor_free(&c);
  return what;
}

/* Compare everything: the walks, the structure, the whole count, and the counts of every node. */
static inline const char *model_compare(const model *m, tree_ref top) {
  size_t bytes;
  const char *what = model_compare_walk(m, top);
  if (what == NULL) what = model_check_structure(top, &bytes);
  if (what != NULL) return what;
  model_nodes list = model_list_nodes(m);
  what = model_compare_counts(m, &list, top, "", 0);
  for (size_t i = 0; what == NULL && i < list.count; i++) {
    what = model_compare_counts(m, &list, top, list.nodes[i].key, list.nodes[i].size);
  }
  free(list.nodes);
  return what;
}

#endif
