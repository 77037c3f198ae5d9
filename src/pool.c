/* pool.c - memory for tree nodes. See pool.h. */
#include "pool.h"

#include "os.h"

#include <assert.h>
#include <stdbool.h>
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
** one asks seldom. The last is of whole huge pages: where nodes lie is as good as random, and with small
** pages finding out where a page is costs as much as the memory itself. Beyond what was cut from it
** such a chunk takes no memory but for the rest of a page. */
#define CHUNK_SIZE_MIN ((size_t)16 << 10)
#define CHUNK_SIZE_SMALL ((size_t)1 << 20)
#define CHUNK_SIZE_HUGE (4 * OS_HUGE_PAGE)

struct pool_chunk {
  pool_chunk *next;
  void *memory; /* what the allocator gave */
  size_t size;  /* bytes of the chunk, with this header */
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

static pool_chunk *chunk_new(size_t size) {
  bool huge = size == CHUNK_SIZE_HUGE;
  void *memory = os.malloc(huge ? size + OS_HUGE_PAGE : size);
  if (memory == NULL) return NULL;
  pool_chunk *chunk = memory;
  if (huge) {
    chunk = (pool_chunk *)(((uintptr_t)memory + OS_HUGE_PAGE) & ~(uintptr_t)(OS_HUGE_PAGE - 1));
    os.use_huge_pages(chunk, size);
  }
  chunk->memory = memory;
  chunk->size = size;
  return chunk;
}

/* Put what is left of the chunk in use into the free lists and take a new one. */
static int new_chunk(pool *p) {
  size_t size = p->chunks == NULL ? CHUNK_SIZE_MIN : p->chunks->size * 2;
  pool_chunk *chunk = chunk_new(size > CHUNK_SIZE_SMALL ? CHUNK_SIZE_HUGE : size);
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
  chunk->next = p->chunks;
  p->chunks = chunk;
  p->next = (char *)(chunk + 1);
  p->left = chunk->size - sizeof *chunk;
  POISON(p->next, p->left);
  count(&p->taken, chunk->size);
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
    UNPOISON(chunk + 1, chunk->size - sizeof *chunk);
    os.free(chunk->memory);
  }
  while (p->large != NULL) {
    pool_large *block = p->large;
    p->large = block->next;
    os.free(block);
  }
  memset(p, 0, sizeof *p);
}
