/*
** absent.h - watched keys that have no value, so that it is seen if one was set and deleted again.
**
** A key with a value has a leaf in the tree, which tells whether it was written (cmd_multi.h). A key
** without one has nothing that could tell; so those that are watched are kept here, and each write
** of this server to one of them sets the flag of its WATCH. What other processes set and delete
** again is not seen.
**
** Threads: the loop's.
*/
#ifndef ABSENT_H
#define ABSENT_H

#include <stdbool.h>
#include <stddef.h>

struct absent_key;

typedef struct absent_table {
  struct absent_key **buckets; /* NULL while there are no keys */
  size_t count;
} absent_table;

/* Keep a key, copied, whose writing sets *touched; it joins the list of its WATCH. False: memory is
** short. */
bool absent_add(absent_table *t, const char *key, size_t size, bool *touched,
                struct absent_key **list);

/* Forget a list's keys. */
void absent_remove(absent_table *t, struct absent_key **list);

/* A key is written. Requires: t->count > 0. */
void absent_touch(const absent_table *t, const char *key, size_t size);

#endif
