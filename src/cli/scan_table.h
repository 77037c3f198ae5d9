/*
** scan_table.h - where each SCAN goes on.
**
** A SCAN cursor is a number; a place in the tree is a keypath. The table keeps the keypath behind which
** each scan goes on, so that the guarantee is whole: what is there from the beginning of a scan to its
** end is returned, once, whatever comes and goes meanwhile.
**
** A scan remembers two places: the one behind the reply it sent last, and the one before, so that a
** client that lost a reply can ask again. The table holds SCANS_MAX scans; the one used longest ago
** makes way. A cursor that is not in it any more is an error for the client, who begins anew: better
** than a scan that silently leaves something out.
**
**      cursor = generation (20 bits) | slot (14 bits) | step (16 bits)      < 2^53, for JavaScript
**
** Threads: the loop's.
*/
#ifndef SCAN_TABLE_H
#define SCAN_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCANS_MAX 16384u
#define SCAN_KEYS_MAX ((size_t)64 << 20) /* bytes of all keypaths together */

typedef struct scan_place {
  char *key;
  size_t size;
} scan_place;

typedef struct scan_slot {
  uint32_t generation;   /* 0: never used */
  uint16_t step;         /* of the reply sent last */
  scan_place places[2];  /* by the lowest bit of the step */
  uint32_t newer, older; /* in order of use */
} scan_slot;

typedef struct scan_table {
  scan_slot *slots;
  uint32_t count; /* in use */
  uint32_t newest, oldest;
  uint32_t generation;
  size_t bytes;
} scan_table;

/* Start with a number that other runs of the server hardly have started with. */
void scan_table_init(scan_table *t, uint32_t seed);
void scan_table_free(scan_table *t);

/* The keypath behind which a cursor goes on; false: it is not known. */
bool scan_table_find(const scan_table *t, uint64_t cursor, const char **key, size_t *size);

/* Remember a keypath, copied, as the place where the scan of `cursor` goes on (0: a new scan); the
** cursor to go on with. 0: memory is short. */
uint64_t scan_table_next(scan_table *t, uint64_t cursor, const char *key, size_t size);

#endif
