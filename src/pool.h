/*
** pool.h - memory for tree nodes: many small blocks of a few sizes, freed one by one or all at once.
**
** Blocks of up to POOL_SMALL_MAX bytes are cut from chunks, rounded up to 8 bytes and with no header
** of their own (the owner tells the size again when it frees); freed ones wait in a list per size.
** Larger blocks are the allocator's, linked so that pool_destroy finds them. Chunks go back to the
** system only with pool_destroy.
**
** Threads: one at a time; in the store that is whoever has the writer's turn. pool_bytes may be
** read by any thread. Under AddressSanitizer freed blocks are poisoned.
*/
#ifndef POOL_H
#define POOL_H

#include <stdatomic.h>
#include <stddef.h>

#define POOL_SMALL_MAX 2176u

typedef struct pool_chunk pool_chunk;
typedef struct pool_large pool_large;

typedef struct pool {
  void *free_list[POOL_SMALL_MAX / 8 + 1]; /* by size / 8; each block's first word is the next */
  pool_chunk *chunks;
  char *next;           /* uncut part of the newest chunk */
  size_t left;          /* bytes of it */
  pool_large *large;    /* doubly linked */
  _Atomic size_t bytes; /* given out, rounded */
  _Atomic size_t taken; /* from the system */
} pool;

/* A zeroed pool is ready. */

/* size bytes, aligned to 8, uninitialised; NULL if memory is short. */
void *pool_alloc(pool *p, size_t size);

/* Give back a block; size is the one it was asked with. */
void pool_free(pool *p, void *block, size_t size);

/* Give everything back at once; the pool is empty and ready again. */
void pool_destroy(pool *p);

#endif
