/* scan_table.c - where each SCAN goes on. See scan_table.h. */
#include "scan_table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define STEP_BITS 16u
#define SLOT_BITS 14u
#define GENERATION_MAX 0xfffffu
#define NO_SLOT UINT32_MAX

_Static_assert(SCANS_MAX <= 1u << SLOT_BITS, "a slot's number fits");

void scan_table_init(scan_table *t, uint32_t seed) {
  *t = (scan_table){.generation = seed % GENERATION_MAX, .newest = NO_SLOT, .oldest = NO_SLOT};
}

static void place_free(scan_table *t, scan_place *place) {
  if (place->key != NULL) t->bytes -= place->size;
  free(place->key);
  *place = (scan_place){0};
}

void scan_table_free(scan_table *t) {
  for (uint32_t i = 0; i < t->count; i++) {
    place_free(t, &t->slots[i].places[0]);
    place_free(t, &t->slots[i].places[1]);
  }
  free(t->slots);
  scan_table_init(t, t->generation);
}

/* --- the order of use ------------------------------------------------------------------------- */

static void unlink_slot(scan_table *t, uint32_t i) {
  scan_slot *slot = &t->slots[i];
  if (slot->newer != NO_SLOT) {
    t->slots[slot->newer].older = slot->older;
  } else {
    t->newest = slot->older;
  }
  if (slot->older != NO_SLOT) {
    t->slots[slot->older].newer = slot->newer;
  } else {
    t->oldest = slot->newer;
  }
}

static void link_newest(scan_table *t, uint32_t i) {
  scan_slot *slot = &t->slots[i];
  slot->newer = NO_SLOT;
  slot->older = t->newest;
  if (t->newest != NO_SLOT) t->slots[t->newest].newer = i;
  t->newest = i;
  if (t->oldest == NO_SLOT) t->oldest = i;
}

/* --- cursors ---------------------------------------------------------------------------------- */

static uint64_t cursor_of(uint32_t generation, uint32_t slot, uint16_t step) {
  return (uint64_t)generation << (SLOT_BITS + STEP_BITS) | (uint64_t)slot << STEP_BITS | step;
}

/* The slot of a cursor whose place is still known, or NO_SLOT. */
static uint32_t slot_of(const scan_table *t, uint64_t cursor) {
  uint32_t slot = (uint32_t)(cursor >> STEP_BITS) & ((1u << SLOT_BITS) - 1);
  uint16_t step = (uint16_t)cursor;
  if (slot >= t->count) return NO_SLOT;
  const scan_slot *at = &t->slots[slot];
  bool is_of_it = cursor >> (SLOT_BITS + STEP_BITS) == at->generation;
  bool is_recent = (uint16_t)(at->step - step) <= 1;
  return is_of_it && is_recent && at->places[step & 1].key != NULL ? slot : NO_SLOT;
}

bool scan_table_find(const scan_table *t, uint64_t cursor, const char **key, size_t *size) {
  uint32_t slot = slot_of(t, cursor);
  if (slot == NO_SLOT) return false;
  const scan_place *place = &t->slots[slot].places[cursor & 1];
  *key = place->key;
  *size = place->size;
  return true;
}

/* A slot for a new scan: one never used, or the one used longest ago. NO_SLOT: memory is short. */
static uint32_t take_slot(scan_table *t) {
  uint32_t slot;
  if (t->slots == NULL) t->slots = calloc(SCANS_MAX, sizeof *t->slots);
  if (t->slots == NULL) return NO_SLOT;
  if (t->count < SCANS_MAX) {
    slot = t->count++;
  } else {
    slot = t->oldest;
    unlink_slot(t, slot);
    place_free(t, &t->slots[slot].places[0]);
    place_free(t, &t->slots[slot].places[1]);
  }
  t->generation = t->generation % GENERATION_MAX + 1;
  t->slots[slot].generation = t->generation;
  t->slots[slot].step = 0;
  link_newest(t, slot);
  return slot;
}

/* Let the places of the oldest scans go until so many bytes more fit. */
static void make_room(scan_table *t, size_t size) {
  for (uint32_t i = t->oldest; i != NO_SLOT && t->bytes + size > SCAN_KEYS_MAX;
       i = t->slots[i].newer) {
    place_free(t, &t->slots[i].places[0]);
    place_free(t, &t->slots[i].places[1]);
  }
}

uint64_t scan_table_next(scan_table *t, uint64_t cursor, const char *key, size_t size) {
  char *copy = malloc(size > 0 ? size : 1);
  if (copy == NULL) return 0;
  memcpy(copy, key, size);
  uint32_t slot = cursor != 0 ? slot_of(t, cursor) : NO_SLOT;
  uint16_t step = 1;
  if (slot == NO_SLOT) {
    slot = take_slot(t);
    if (slot == NO_SLOT) {
      free(copy);
      return 0;
    }
  } else {
    step = (uint16_t)(cursor + 1);
    unlink_slot(t, slot);
    link_newest(t, slot);
  }
  make_room(t, size);
  scan_slot *at = &t->slots[slot];
  place_free(t, &at->places[step & 1]);
  at->places[step & 1] = (scan_place){.key = copy, .size = size};
  t->bytes += size;
  at->step = step;
  return cursor_of(at->generation, slot, step);
}
