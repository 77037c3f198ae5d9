/*
** latency.h - durations counted in buckets fine enough to draw: 32 to each power of two, so that a
** percentile is right to 3 per cent. Also how often this process has flushed, and for how long.
*/
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H

#include <stdint.h>
#include <stdio.h>

#define LATENCY_BUCKETS (32 * 60)

typedef struct latency {
  uint64_t counts[LATENCY_BUCKETS];
  uint64_t total, max_ns;
} latency;

uint64_t now_ns(void); /* monotonic */

void latency_add(latency *l, uint64_t duration_ns);
void latency_merge(latency *into, const latency *from);

/* What `fraction` (0 to 1) of the durations do not exceed; 0 if there are none. */
uint64_t latency_percentile_ns(const latency *l, double fraction);

/* A line for each bucket that is not empty: its upper end in ns, and which part of all durations
** does not exceed it. */
void latency_write(const latency *l, FILE *out);

/* Calls of fsync and fdatasync by any library of this process so far, and the time they took. */
typedef struct flush_count {
  uint64_t calls, ns;
} flush_count;
flush_count flush_count_now(void);

#endif
