/* pool.c - memory for tree nodes. See pool.h. */
#include "pool.h"

#include "os.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define POOL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_ASAN 1
#endif
#endif

#ifdef POOL_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(data, size) ASAN_POISON_MEMORY_REGION((data), (size))
#define UNPOISON(data, size) ASAN_UNPOISON_MEMORY_REGION((data), (size))
#else
#define POISON(data, size) ((void)(data), (void)(size))
#define UNPOISON(data, size) ((void)(data), (void)(size))
#endif

/* Chunks double from the first size to the last, so that a small store takes little and a large
** one asks seldom. */
#define CHUNK_SIZE_MIN ((size_t)16 << 10)
#define CHUNK_SIZE_MAX ((size_t)1 << 20)

struct pool_chunk {
  pool_chunk *next;
  size_t size; /* bytes behind this header */
};

struct pool_large {
  pool_large *next, *previous;
};

static size_t rounded(size_t size) {
  return (size + 7) & ~(size_t)7;
}

static void count(_Atomic size_t *counter, size_t change) {
  atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + change,
                        memory_order_relaxed);
}

static void *large_alloc(pool *p, size_t size) {
  pool_large *block = os.malloc(sizeof *block + size);
  if (block == NULL) return NULL;
  *block = (pool_large){.next = p->large};
  if (p->large != NULL) p->large->previous = block;
  p->large = block;
  count(&p->taken, sizeof *block + size);
  return block + 1;
}

static void large_free(pool *p, void *data, size_t size) {
  pool_large *block = (pool_large *)data - 1;
  if (block->next != NULL) block->next->previous = block->previous;
  if (block->previous != NULL) {
    block->previous->next = block->next;
  } else {
    p->large = block->next;
  }
  count(&p->taken, 0 - (sizeof *block + size));
  os.free(block);
}

/* Put what is left of the chunk in use into the free lists and take a new one. */
static int new_chunk(pool *p) {
  size_t size = p->chunks == NULL ? CHUNK_SIZE_MIN : p->chunks->size * 2;
  if (size > CHUNK_SIZE_MAX) size = CHUNK_SIZE_MAX;
  pool_chunk *chunk = os.malloc(sizeof *chunk + size);
  if (chunk == NULL) return -1;
  while (p->left >= 8) {
    size_t part = p->left > POOL_SMALL_MAX ? POOL_SMALL_MAX : p->left;
    UNPOISON(p->next, sizeof(void *));
    *(void **)(void *)p->next = p->free_list[part / 8];
    p->free_list[part / 8] = p->next;
    POISON(p->next, part);
    p->next += part;
    p->left -= part;
  }
  *chunk = (pool_chunk){.next = p->chunks, .size = size};
  p->chunks = chunk;
  p->next = (char *)(chunk + 1);
  p->left = size;
  POISON(p->next, size);
  count(&p->taken, sizeof *chunk + size);
  return 0;
}

void *pool_alloc(pool *p, size_t size) {
  size = rounded(size);
  void *block;
  if (size > POOL_SMALL_MAX) {
    block = large_alloc(p, size);
    if (block == NULL) return NULL;
  } else if (p->free_list[size / 8] != NULL) {
    block = p->free_list[size / 8];
    UNPOISON(block, size);
    memcpy(&p->free_list[size / 8], block, sizeof(void *));
    __builtin_prefetch(p->free_list[size / 8], 1); /* the next one asked for */
  } else {
    if (p->left < size && new_chunk(p) != 0) return NULL;
    block = p->next;
    UNPOISON(block, size);
    p->next += size;
    p->left -= size;
  }
  count(&p->bytes, size);
  return block;
}

void pool_free(pool *p, void *block, size_t size) {
  size = rounded(size);
  assert(block != NULL && size >= sizeof(void *));
  count(&p->bytes, 0 - size);
  if (size > POOL_SMALL_MAX) {
    large_free(p, block, size);
    return;
  }
  memcpy(block, &p->free_list[size / 8], sizeof(void *));
  p->free_list[size / 8] = block;
  POISON(block, size);
}

void pool_destroy(pool *p) {
  while (p->chunks != NULL) {
    pool_chunk *chunk = p->chunks;
    p->chunks = chunk->next;
    UNPOISON(chunk + 1, chunk->size);
    os.free(chunk);
  }
  while (p->large != NULL) {
    pool_large *block = p->large;
    p->large = block->next;
    os.free(block);
  }
  memset(p, 0, sizeof *p);
}
