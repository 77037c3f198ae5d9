/* absent.c - watched keys that have no value. See absent.h. */
#include "absent.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 65536u

typedef struct absent_key {
  struct absent_key *next, **place; /* in its bucket */
  struct absent_key *next_of_list;
  bool *touched;
  size_t size;
  char key[];
} absent_key;

static uint32_t bucket_of(const char *key, size_t size) {
  uint64_t hash = 14695981039346656037u;
  for (size_t i = 0; i < size; i++) hash = (hash ^ (unsigned char)key[i]) * 1099511628211u;
  return (uint32_t)(hash >> 32 ^ hash) % BUCKETS;
}

bool absent_add(absent_table *t, const char *key, size_t size, bool *touched, absent_key **list) {
  if (t->buckets == NULL) t->buckets = calloc(BUCKETS, sizeof(absent_key *));
  absent_key *one = t->buckets != NULL ? malloc(sizeof *one + size) : NULL;
  if (one == NULL) return false;
  absent_key **bucket = &t->buckets[bucket_of(key, size)];
  *one = (absent_key){
      .next = *bucket, .place = bucket, .next_of_list = *list, .touched = touched, .size = size};
  memcpy(one->key, key, size);
  if (one->next != NULL) one->next->place = &one->next;
  *bucket = one;
  *list = one;
  t->count++;
  return true;
}

void absent_remove(absent_table *t, absent_key **list) {
  while (*list != NULL) {
    absent_key *one = *list;
    *list = one->next_of_list;
    *one->place = one->next;
    if (one->next != NULL) one->next->place = one->place;
    free(one);
    t->count--;
  }
  if (t->count > 0) return;
  free(t->buckets);
  t->buckets = NULL;
}

void absent_touch(const absent_table *t, const char *key, size_t size) {
  for (const absent_key *one = t->buckets[bucket_of(key, size)]; one != NULL; one = one->next) {
    if (one->size == size && memcmp(one->key, key, size) == 0) *one->touched = true;
  }
}
