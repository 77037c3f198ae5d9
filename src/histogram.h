/*
** histogram.h - durations counted in buckets, for percentiles.
**
** Four buckets to each power of two of nanoseconds, so that a percentile is right to 25 per cent,
** from 64 ns to 18 minutes; what is longer counts as the longest. Threads: the caller's lock.
*/
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 140

typedef struct histogram {
  uint64_t counts[HISTOGRAM_BUCKETS];
  uint64_t total;
  uint64_t max_ns; /* exact */
} histogram;

void histogram_add(histogram *h, uint64_t duration_ns);

/* The duration that `fraction` (0 to 1) of the counted ones do not exceed, as the upper end of its
** bucket and at most the exact maximum; 0 if nothing was counted. */
uint64_t histogram_percentile_ns(const histogram *h, double fraction);

#endif
