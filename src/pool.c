/* pool.c - memory for tree nodes. See pool.h. Source of the idea of slabs that know their own free
** blocks: Bonwick, "The slab allocator" (1994); Leijen, Zorn, de Moura, "Mimalloc" (2019). */
#include "pool.h"

#include "os.h"

#include <assert.h>
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

#define SLAB_SIZE ((size_t)16 << 10)
#define SLAB_HEAD 64u
/* Where nodes lie is as good as random, and with small pages finding out where a page is costs as much
** as the memory itself: a large pool lies in huge pages. What a small one does not use of a region
** takes no memory. */
#define REGION_SMALL ((size_t)256 << 10)
#define REGION_HUGE OS_HUGE_PAGE
#define HUGE_FROM ((size_t)8 << 20)
#define REGION_SLABS_MAX (REGION_HUGE / SLAB_SIZE)
#define KEEP_EMPTY_OF 16u /* a region is kept empty if it is no more of all than 1 in so many ... */
#define STEPS 32u         /* in which regions are told apart by what is in use */
#define STEPS_FULL 28u    /* from here on it is not worth moving */

struct pool_slab {
  pool_region *region;
  pool_slab *next, *previous; /* in the list of its size, if it is listed */
  void *free;                 /* each block's first word is the next */
  uint32_t uncut;             /* from here on there is nothing but room */
  uint16_t used;              /* blocks */
  uint16_t size;              /* of a block */
  uint8_t class;
  bool listed;
};

struct pool_region {
  pool_region *next, *previous;
  pool_region *open_next, *open_previous;
  char *memory;
  size_t size;
  size_t live;                          /* bytes of blocks in use */
  uint64_t used[REGION_SLABS_MAX / 64]; /* slabs, a bit each */
  unsigned slabs, used_slabs;
  bool open;   /* in that list */
  bool chosen; /* to be emptied */
};

struct pool_large {
  pool_large *next, *previous;
};

_Static_assert(sizeof(pool_slab) <= SLAB_HEAD, "a slab's head has its place");

static size_t rounded(size_t size) {
  return (size + 7) & ~(size_t)7;
}

/* The class of a rounded size, and the size of its blocks. */
static unsigned class_of(size_t size) {
  if (size <= 256) return (unsigned)(size / 8);
  unsigned top = 63u - (unsigned)__builtin_clzll(size - 1); /* 8 and more */
  return 33u + (top - 8u) * 16u + (unsigned)((size - 1) >> (top - 4u) & 15u);
}

static size_t class_size(size_t size) {
  if (size <= 256) return size;
  size_t step = (size_t)1 << (59u - (unsigned)__builtin_clzll(size - 1));
  return (size + step - 1) & ~(step - 1);
}

static pool_slab *slab_of(const void *block) {
  return (pool_slab *)((uintptr_t)block & ~(uintptr_t)(SLAB_SIZE - 1));
}

/* --- large blocks ------------------------------------------------------------------------------- */

static void *large_alloc(pool *p, size_t size) {
  pool_large *block = os.malloc(sizeof *block + size);
  if (block == NULL) return NULL;
  *block = (pool_large){.next = p->large};
  if (p->large != NULL) p->large->previous = block;
  p->large = block;
  pool_count(&p->taken, sizeof *block + size);
  pool_count(&p->bytes_large, size);
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
  pool_count(&p->taken, 0 - (sizeof *block + size));
  pool_count(&p->bytes_large, 0 - size);
  os.free(block);
}

/* --- regions ------------------------------------------------------------------------------------- */

/* An empty one comes last, so that it may stay so. */
static void region_open(pool *p, pool_region *r) {
  assert(!r->open && !r->chosen);
  r->open = true;
  if (r->used_slabs > 0) {
    r->open_previous = NULL;
    r->open_next = p->open;
    *(p->open != NULL ? &p->open->open_previous : &p->open_last) = r;
    p->open = r;
  } else {
    r->open_next = NULL;
    r->open_previous = p->open_last;
    *(p->open_last != NULL ? &p->open_last->open_next : &p->open) = r;
    p->open_last = r;
  }
}

static void region_close(pool *p, pool_region *r) {
  r->open = false;
  *(r->open_previous != NULL ? &r->open_previous->open_next : &p->open) = r->open_next;
  *(r->open_next != NULL ? &r->open_next->open_previous : &p->open_last) = r->open_previous;
}

static pool_region *region_new(pool *p) {
  size_t in_slabs = atomic_load_explicit(&p->bytes_in_slabs, memory_order_relaxed);
  size_t size = in_slabs < HUGE_FROM ? REGION_SMALL : REGION_HUGE;
  pool_region *r = os.malloc(sizeof *r);
  if (r == NULL) return NULL;
  *r = (pool_region){.next = p->regions, .size = size, .slabs = (unsigned)(size / SLAB_SIZE)};
  r->memory = os.take_pages(size);
  if (r->memory == NULL) {
    os.free(r);
    return NULL;
  }
  if (size == REGION_HUGE) os.use_huge_pages(r->memory, size);
  POISON(r->memory, size);
  if (p->regions != NULL) p->regions->previous = r;
  p->regions = r;
  pool_count(&p->bytes_in_slabs, size);
  pool_count(&p->taken, size);
  region_open(p, r);
  return r;
}

static void region_free(pool *p, pool_region *r) {
  if (r->open) region_close(p, r);
  if (p->empty == r) p->empty = NULL;
  *(r->previous != NULL ? &r->previous->next : &p->regions) = r->next;
  if (r->next != NULL) r->next->previous = r->previous;
  pool_count(&p->bytes_in_slabs, 0 - r->size);
  pool_count(&p->taken, 0 - r->size);
  UNPOISON(r->memory, r->size);
  os.give_pages(r->memory, r->size);
  os.free(r);
}

static bool is_worth_keeping(const pool *p, const pool_region *r) {
  return r->size == REGION_SMALL ||
         atomic_load_explicit(&p->bytes_in_slabs, memory_order_relaxed) / KEEP_EMPTY_OF >= r->size;
}

/* Nothing in it is in use any more. */
static void region_emptied(pool *p, pool_region *r) {
  if (!r->chosen && p->empty == NULL && is_worth_keeping(p, r)) {
    p->empty = r;
    region_close(p, r);
    region_open(p, r); /* as the last */
    return;
  }
  region_free(p, r);
  if (p->empty != NULL && !is_worth_keeping(p, p->empty)) region_free(p, p->empty);
}

/* --- slabs --------------------------------------------------------------------------------------- */

static void slab_list(pool *p, pool_slab *slab) {
  slab->listed = true;
  slab->next = NULL;
  slab->previous = p->slabs[slab->class].last;
  *(slab->previous != NULL ? &slab->previous->next : &p->slabs[slab->class].first) = slab;
  p->slabs[slab->class].last = slab;
}

static void slab_unlist(pool *p, pool_slab *slab) {
  slab->listed = false;
  *(slab->previous != NULL ? &slab->previous->next : &p->slabs[slab->class].first) = slab->next;
  *(slab->next != NULL ? &slab->next->previous : &p->slabs[slab->class].last) = slab->previous;
}

/* The first of a list may be allocated from. */
static void pass_over_chosen(pool *p, unsigned class) {
  pool_slab *first;
  while ((first = p->slabs[class].first) != NULL && first->region->chosen) slab_unlist(p, first);
}

static pool_slab *slab_new(pool *p, size_t size, unsigned class) {
  pool_region *r = p->open != NULL ? p->open : region_new(p);
  if (r == NULL) return NULL;
  unsigned word = 0;
  while (~r->used[word] == 0) word++;
  unsigned bit = (unsigned)__builtin_ctzll(~r->used[word]);
  r->used[word] |= (uint64_t)1 << bit;
  if (p->empty == r) p->empty = NULL;
  if (++r->used_slabs == r->slabs) region_close(p, r);
  pool_slab *slab = (pool_slab *)(void *)(r->memory + (word * 64 + bit) * SLAB_SIZE);
  UNPOISON(slab, SLAB_HEAD);
  *slab = (pool_slab){.region = r,
                      .uncut = SLAB_HEAD,
                      .size = (uint16_t)class_size(size),
                      .class = (uint8_t) class};
  slab_list(p, slab);
  return slab;
}

/* None of its blocks is in use. */
static void slab_free(pool *p, pool_slab *slab) {
  pool_region *r = slab->region;
  unsigned class = slab->class;
  bool was_first = p->slabs[class].first == slab;
  if (slab->listed) slab_unlist(p, slab);
  if (was_first) pass_over_chosen(p, class);
  unsigned index = (unsigned)(((char *)slab - r->memory) / (ptrdiff_t)SLAB_SIZE);
  r->used[index / 64] &= ~((uint64_t)1 << index % 64);
  POISON(slab, SLAB_SIZE);
  r->used_slabs--;
  if (!r->open && !r->chosen) region_open(p, r);
  if (r->used_slabs == 0) region_emptied(p, r);
}

static bool slab_is_full(const pool_slab *slab) {
  return slab->free == NULL && slab->uncut + slab->size > SLAB_SIZE;
}

static void slab_filled(pool *p, pool_slab *slab) {
  slab_unlist(p, slab);
  pass_over_chosen(p, slab->class);
}

/* Cut a block from a slab, a new one if there is none with room. */
static void *cut(pool *p, size_t size, unsigned class) {
  pool_slab *slab = p->slabs[class].first;
  if (slab == NULL && (slab = slab_new(p, size, class)) == NULL) return NULL;
  void *block = (char *)slab + slab->uncut;
  UNPOISON(block, size);
  slab->uncut += slab->size;
  slab->used++;
  slab->region->live += slab->size;
  if (slab_is_full(slab)) slab_filled(p, slab);
  return block;
}

static inline void *small_alloc(pool *p, size_t size) {
  unsigned class = class_of(size);
  pool_slab *slab = p->slabs[class].first;
  if (slab == NULL || slab->free == NULL) return cut(p, size, class);
  void *block = slab->free, *next;
  UNPOISON(block, size);
  memcpy(&next, block, sizeof next);
  __builtin_prefetch(next, 1); /* the next one asked for */
  slab->free = next;
  slab->used++;
  slab->region->live += slab->size;
  if (next == NULL && slab_is_full(slab)) slab_filled(p, slab);
  return block;
}

static void small_free(pool *p, void *block) {
  pool_slab *slab = slab_of(block);
  memcpy(block, &slab->free, sizeof(void *));
  slab->free = block;
  POISON(block, slab->size);
  slab->region->live -= slab->size;
  if (--slab->used == 0) {
    slab_free(p, slab);
  } else if (!slab->listed && !slab->region->chosen) {
    slab_list(p, slab);
  }
}

/* --- both ---------------------------------------------------------------------------------------- */

void *pool_alloc(pool *p, size_t size) {
  size = rounded(size);
  void *block = size > POOL_SMALL_MAX ? large_alloc(p, size) : small_alloc(p, size);
  if (block != NULL) pool_count(&p->bytes, size);
  return block;
}

void pool_free(pool *p, void *block, size_t size) {
  size = rounded(size);
  assert(block != NULL && size >= sizeof(void *));
  pool_count(&p->bytes, 0 - size);
  if (size > POOL_SMALL_MAX) {
    large_free(p, block, size);
  } else {
    small_free(p, block);
  }
}

void pool_destroy(pool *p) {
  while (p->regions != NULL) region_free(p, p->regions);
  while (p->large != NULL) {
    pool_large *block = p->large;
    p->large = block->next;
    os.free(block);
  }
  memset(p, 0, sizeof *p);
}

/* --- giving back --------------------------------------------------------------------------------- */

bool pool_is_sparse(const void *block, size_t size) {
  return rounded(size) <= POOL_SMALL_MAX && slab_of(block)->region->chosen;
}

/* Let a region be allocated from again. */
static void unchoose(pool *p, pool_region *r) {
  r->chosen = false;
  for (unsigned i = 0; i < r->slabs; i++) {
    if ((r->used[i / 64] >> i % 64 & 1) == 0) continue;
    pool_slab *slab = (pool_slab *)(void *)(r->memory + i * SLAB_SIZE);
    if (!slab->listed && !slab_is_full(slab)) slab_list(p, slab);
  }
  if (r->used_slabs < r->slabs) region_open(p, r);
}

static unsigned step_of(const pool_region *r) {
  return (unsigned)(r->live * STEPS / r->size);
}

void pool_choose_none(pool *p) {
  for (pool_region *r = p->regions; r != NULL; r = r->next) {
    if (r->chosen) unchoose(p, r);
  }
}

bool pool_choose_sparse(pool *p) {
  size_t live[STEPS + 1] = {0}, sum = 0;
  size_t most = atomic_load_explicit(&p->bytes_in_slabs, memory_order_relaxed) / 4;
  pool_choose_none(p);
  for (pool_region *r = p->regions; r != NULL; r = r->next) live[step_of(r)] += r->live;
  unsigned least = 0, end;
  while (least < STEPS && live[least] == 0) least++;
  for (end = 0; end < STEPS_FULL && (end <= least || sum + live[end] <= most); end++) {
    sum += live[end];
  }
  bool any = false;
  sum = 0;
  for (pool_region *r = p->regions; r != NULL; r = r->next) {
    if (step_of(r) >= end || r->used_slabs == 0 || (any && sum + r->live > most)) continue;
    if (r->open) region_close(p, r);
    r->chosen = any = true;
    sum += r->live;
  }
  for (unsigned class = 0; class < POOL_CLASSES; class ++) pass_over_chosen(p, class);
  return any;
}
