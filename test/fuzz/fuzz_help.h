/*
** fuzz_help.h - the least a fuzz target needs: a check that ends the program, and bytes to take.
**
** A target is one file with LLVMFuzzerTestOneInput. It is linked with libFuzzer for `make fuzz` and
** with driver.c for the tests; it must not tell the two apart. A failed check says what it found and
** aborts: whoever runs the target keeps the input. What a target writes to disk goes to the current
** folder.
*/
#ifndef FUZZ_HELP_H
#define FUZZ_HELP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);

/* Of libFuzzer or the driver: change the bytes a little; their new size. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

#define FUZZ_CHECK(condition, ...)                                                                 \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      dprintf(STDERR_FILENO, "%s:%d: failed: %s: ", __FILE__, __LINE__, #condition);               \
      dprintf(STDERR_FILENO, __VA_ARGS__);                                                         \
      dprintf(STDERR_FILENO, "\n");                                                                \
      abort();                                                                                     \
    }                                                                                              \
  } while (0)

/* Zeroed, so that an input does the same each time. */
static inline void *fuzz_memory(size_t size) {
  void *data = calloc(1, size > 0 ? size : 1);
  if (data == NULL) abort();
  return data;
}

/* A copy that ends where its memory does, so that a sanitizer sees what reads beyond. */
static inline char *fuzz_copy(const void *data, size_t size) {
  char *copy = fuzz_memory(size);
  if (size > 0) memcpy(copy, data, size);
  return copy;
}

/* What is left of an input. */
typedef struct fuzz_bytes {
  const uint8_t *at, *end;
} fuzz_bytes;

static inline unsigned fuzz_take(fuzz_bytes *b) {
  return b->at < b->end ? *b->at++ : 0;
}

static inline bool fuzz_is_over(const fuzz_bytes *b) {
  return b->at == b->end;
}

/* Up to so many bytes, in place; *size tells how many. */
static inline const char *fuzz_take_bytes(fuzz_bytes *b, size_t size_max, size_t *size) {
  const char *out = (const char *)b->at;
  size_t left = (size_t)(b->end - b->at);
  *size = left < size_max ? left : size_max;
  b->at += *size;
  return out;
}

/* So many bytes, or fewer with zeros behind. */
static inline uint64_t fuzz_take_number(fuzz_bytes *b, unsigned size) {
  uint64_t out = 0;
  for (unsigned i = 0; i < size; i++) out |= (uint64_t)fuzz_take(b) << (8 * i);
  return out;
}

#endif
