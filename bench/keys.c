/*
** keys.c - see keys.h. Keys are spelled without printf, which would take longer than a lookup.
*/
#include "keys.h"

#include <stdlib.h>
#include <string.h>

static char *put_digits(char *at, uint64_t number, int width) {
  for (int i = width; i > 0; i--) {
    at[i - 1] = (char)('0' + number % 10);
    number /= 10;
  }
  return at + width;
}

static char *put_number(char *at, uint64_t below_100) {
  return put_digits(at, below_100, below_100 < 10 ? 1 : 2);
}

void key_make(key_shape shape, uint64_t number, entry *out) {
  char *at = out->key;
  if (shape == KEY_GRID) {
    at = put_number(at, number / 100 % 100);
    out->folder_size = (size_t)(at - out->key);
    *at++ = '/';
    at = put_number(at, number % 100);
  } else {
    memcpy(at, "data/", 5);
    at = put_digits(at + 5, number / 100, 7);
    out->folder_size = (size_t)(at - out->key);
    *at++ = '/';
    at = put_digits(at, number % 100, 3);
  }
  *at = '\0';
  out->key_size = (size_t)(at - out->key);
}

const char *value_make(size_t size) {
  char *value = malloc(size + 1);
  if (value == NULL) abort();
  for (size_t i = 0; i < size; i++) value[i] = "goober"[i % 6];
  value[size] = '\0';
  return value;
}

/* xorshift64*, its upper half scaled to the limit. */
uint64_t random_below(uint64_t *state, uint64_t limit) {
  uint64_t x = *state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  *state = x;
  return (x * 0x2545F4914F6CDD1Du >> 32) * limit >> 32;
}

const uint32_t *random_order(uint64_t count) {
  uint32_t *order = malloc((count + 1) * sizeof *order);
  uint64_t state = 20240229;
  if (order == NULL) abort();
  for (uint64_t i = 0; i < count; i++) {
    uint64_t j = random_below(&state, i + 1);
    order[i] = order[j];
    order[j] = (uint32_t)i;
  }
  return order;
}
