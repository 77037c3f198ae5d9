/* buf.c - a growing run of bytes. See buf.h. */
#include "buf.h"

#include "os.h"

int buf_reserve(buf *b, size_t more) {
  if (more <= b->room - b->size) return KV_OK;
  if (more > SIZE_MAX / 2 - b->size) return KV_ENOMEM;
  size_t room = b->room < 256 ? 256 : b->room;
  while (room < b->size + more) room += room / 2;
  char *data = os.realloc(b->data, room);
  if (data == NULL) return KV_ENOMEM;
  b->data = data;
  b->room = room;
  return KV_OK;
}

int buf_append(buf *b, const void *data, size_t size) {
  if (size == 0) return KV_OK;
  if (buf_reserve(b, size) != KV_OK) return KV_ENOMEM;
  memcpy(b->data + b->size, data, size);
  b->size += size;
  return KV_OK;
}

void buf_free(buf *b) {
  os.free(b->data);
  *b = (buf){0};
}
