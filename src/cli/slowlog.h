/*
** slowlog.h - SLOWLOG: the newest commands that took longer than slowlog-log-slower-than.
**
** What is kept of each is short: at most SLOWLOG_ARGS_MAX arguments, of each at most
** SLOWLOG_ARG_SIZE_MAX bytes. Passwords are not kept.
**
** Threads: the loop's.
*/
#ifndef SLOWLOG_H
#define SLOWLOG_H

#include <stddef.h>
#include <stdint.h>

struct call;
struct slow_entry;

#define SLOWLOG_ARGS_MAX 32u
#define SLOWLOG_ARG_SIZE_MAX 128u
#define SLOWLOG_SIZE_MAX 100000u /* of slowlog-max-len */

typedef struct slowlog {
  struct slow_entry *newest, *oldest;
  uint64_t size, next_id;
  int64_t slower_than_us; /* negative: nothing is kept */
  uint64_t size_max;
} slowlog;

/* Empty, with the settings that Redis begins with: 10 ms, 128 entries. */
void slowlog_init(slowlog *l);

/* Forget all of it. */
void slowlog_clear(slowlog *l);

/* Forget the oldest ones, so that no more than size_max are left. */
void slowlog_trim(slowlog *l);

/* Keep the command of this call, which has taken so long; memory being short it is forgotten. */
void slowlog_add(slowlog *l, const struct call *x, uint64_t took_ns);

#endif
