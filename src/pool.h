/*
** pool.h - memory for tree nodes: many small blocks of a few sizes, freed one by one or all at once.
**
** Blocks of up to POOL_SMALL_MAX bytes have no header of their own (the owner tells the size again
** when it frees). They lie in slabs of 16 KB, each for blocks of one size: 8 bytes apart up to 256,
** then 16 sizes to a doubling. A slab knows which of its blocks are free; one that has none in use
** can be had for any size. Slabs lie in regions, which come from the system and go back to it as
** soon as nothing in them is in use, but for one that is kept for what comes next:
**
**     region   256 KB, or 2 MB and a huge page once the pool is large
**     slab     | head 64 bytes | block | block | ... of one size |
**
** Larger blocks are the allocator's, linked so that pool_destroy finds them.
**
** Giving back. A few blocks in use keep a region. So whoever owns the blocks can ask which regions
** are the emptiest (pool_choose_sparse), and move what lies in them by allocating anew and freeing:
** a chosen region is not allocated from, so that it empties.
**
** Threads: one at a time; in the store that is whoever has the right to edit the tree. the counters
** bytes, apart and taken may be read by any thread. Under AddressSanitizer freed blocks are poisoned.
*/
#ifndef POOL_H
#define POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_SMALL_MAX 2176u
#define POOL_CLASSES 82u

typedef struct pool_region pool_region;
typedef struct pool_slab pool_slab;
typedef struct pool_large pool_large;

typedef struct pool {
  struct {
    pool_slab *first, *last; /* with room; the first is in use and lies in no chosen region */
  } slabs[POOL_CLASSES];
  pool_region *regions;          /* all */
  pool_region *open, *open_last; /* those with a free slab that are not chosen */
  pool_region *empty;            /* one of them with nothing in use, kept; or NULL */
  pool_large *large;             /* doubly linked */
  _Atomic size_t bytes;          /* given out, rounded up to 8 */
  _Atomic size_t bytes_large;    /* of them, the allocator's */
  _Atomic size_t bytes_in_slabs; /* taken from the system, in regions */
  _Atomic size_t taken;          /* from the system, in all */
  _Atomic size_t apart;          /* what the owner of the blocks keeps outside, counted by him */
} pool;

/* A zeroed pool is ready. */

/* size bytes, aligned to 8, uninitialised; NULL if memory is short. */
void *pool_alloc(pool *p, size_t size);

/* Give back a block; size is the one it was asked with. */
void pool_free(pool *p, void *block, size_t size);

/* Give everything back at once; the pool is empty and ready again. */
void pool_destroy(pool *p);

/* Bytes in regions, and those of them that are given out; read by others they may not fit together. */
static inline size_t pool_in_slabs(const pool *p) {
  return atomic_load_explicit(&p->bytes_in_slabs, memory_order_relaxed);
}
static inline size_t pool_given_in_slabs(const pool *p) {
  return atomic_load_explicit(&p->bytes, memory_order_relaxed) -
         atomic_load_explicit(&p->bytes_large, memory_order_relaxed);
}

/* Choose the emptiest regions, of which a quarter of what is taken at most is in use, in the place of
** those chosen before; false if all are full enough. Is a block, of the size it was asked with, in a
** chosen one? */
bool pool_choose_sparse(pool *p);
void pool_choose_none(pool *p);
bool pool_is_sparse(const void *block, size_t size);

/* A counter of the pool, changed. */
static inline void pool_count(_Atomic size_t *counter, size_t change) {
  atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + change,
                        memory_order_relaxed);
}

#endif
