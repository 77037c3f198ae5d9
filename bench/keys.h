/*
** keys.h - the keys and values of all benchmarks, the same for every subject.
**
** Keys have a number from 0 on and one of two shapes:
**
**   grid   12/34              the experiment's: out of 100 x 100, so numbers below 10,000
**   tree   data/0000012/034   16 bytes, a hundred to a folder
**
** The value is `goober`, repeated or cut to the wanted size. Random numbers depend on their seed
** alone, so that each subject of a comparison gets the same keys in the same order.
*/
#ifndef BENCH_KEYS_H
#define BENCH_KEYS_H

#include <stddef.h>
#include <stdint.h>

typedef enum key_shape { KEY_GRID, KEY_TREE } key_shape;

typedef struct entry {
  char key[24]; /* NUL-terminated */
  size_t key_size;
  size_t folder_size; /* the key up to its last '/' */
  const char *value;
  size_t value_size;
} entry;

/* The key with this number; the value is left alone. */
void key_make(key_shape shape, uint64_t number, entry *out);

/* `goober` in a loop, size bytes, to be kept for good. */
const char *value_make(size_t size);

/* A random number below limit; *state is any number but 0, and moves on. */
uint64_t random_below(uint64_t *state, uint64_t limit);

/* The numbers below count, each once, in random order; to be kept for good. */
const uint32_t *random_order(uint64_t count);

#endif
