/*
** buf.h - a growing run of bytes.
**
** A zeroed buf is an empty one. The owner releases it with buf_free, which leaves it empty again.
** A function that fails for want of memory returns KV_ENOMEM and changes nothing.
*/
#ifndef BUF_H
#define BUF_H

#include "kv_base.h"

#include <string.h>

typedef struct buf {
  char *data;
  size_t size; /* bytes used */
  size_t room; /* bytes allocated */
} buf;

/* Make room for `more` bytes behind the used ones. */
int buf_reserve(buf *b, size_t more);

/* Append size bytes. */
int buf_append(buf *b, const void *data, size_t size);

/* Give the memory back; the buf is empty and may be used again. */
void buf_free(buf *b);

#endif
