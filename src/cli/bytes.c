/* bytes.c - a growing run of bytes. See bytes.h. */
#include "bytes.h"

#include <stdint.h>
#include <stdlib.h>

#define ROOM_MIN 512u

bool bytes_reserve(bytes *b, size_t more) {
  if (b->failed) return false;
  if (b->room - b->size >= more) return true;
  size_t wanted = b->size + more;
  bool fits = wanted >= more && (b->limit == 0 || wanted <= b->limit);
  size_t room = b->room < ROOM_MIN ? ROOM_MIN : b->room;
  while (fits && room < wanted) room = room > SIZE_MAX / 2 ? wanted : room * 2;
  char *data = fits ? realloc(b->data, room) : NULL;
  if (data == NULL) {
    b->failed = true;
    return false;
  }
  b->data = data;
  b->room = room;
  return true;
}

void bytes_free(bytes *b) {
  free(b->data);
  *b = (bytes){.limit = b->limit};
}
