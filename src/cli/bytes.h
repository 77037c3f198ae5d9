/*
** bytes.h - a growing run of bytes, for what a connection has read and what it is to be sent.
**
** Appending cannot be refused in the middle of a reply, so failing is a state: once memory was short
** or `limit` was reached, nothing is appended any more, and whoever sends the bytes finds out from
** bytes_failed and gives the connection up.
**
** Ownership: the struct's owner frees with bytes_free; a zeroed one with a limit is empty and valid.
** Threads: one at a time.
*/
#ifndef BYTES_H
#define BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct bytes {
  char *data;
  size_t size, room;
  size_t limit; /* of size; 0: none */
  bool failed;
} bytes;

/* Make room for so many bytes behind size; false, and failed from then on, if there is none. */
bool bytes_reserve(bytes *b, size_t more);

/* Give the memory back; the limit stays, and the failure goes. */
void bytes_free(bytes *b);

static inline void bytes_append(bytes *b, const void *data, size_t size) {
  if (b->room - b->size < size || b->failed) {
    if (!bytes_reserve(b, size)) return;
  }
  if (size > 0) memcpy(b->data + b->size, data, size);
  b->size += size;
}

static inline void bytes_append_text(bytes *b, const char *text) {
  bytes_append(b, text, strlen(text));
}

static inline bool bytes_failed(const bytes *b) {
  return b->failed;
}

#endif
