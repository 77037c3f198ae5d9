/*
** short_memory.h - an allocator that runs out, for os.malloc, os.realloc and os.free.
**
** calls_left counts down with each call that can be refused; at 0 every further one is refused; at
** -1 none is. `blocks` is the number of blocks not given back, which tells a leak.
*/
#ifndef SHORT_MEMORY_H
#define SHORT_MEMORY_H

#include "os.h"

#include <stdbool.h>
#include <stdlib.h>

static long calls_left = -1, blocks;
static unsigned long refused;

static bool refuse(void) {
  if (calls_left < 0) return false;
  if (calls_left > 0) {
    calls_left--;
    return false;
  }
  refused++;
  return true;
}

static void *short_malloc(size_t size) {
  if (refuse()) return NULL;
  blocks++;
  return malloc(size);
}

static void *short_realloc(void *data, size_t size) {
  if (refuse()) return NULL;
  blocks += data == NULL;
  return realloc(data, size);
}

static void counted_free(void *data) {
  blocks -= data != NULL;
  free(data);
}

#endif
