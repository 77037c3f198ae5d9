/* histogram.c - durations counted in buckets. See histogram.h. */
#include "histogram.h"

#define LOW_BITS 6 /* 64 ns */

/* Bucket 4k + j holds [2^(6+k) * (1 + j/4), 2^(6+k) * (1 + (j+1)/4)); bucket 0 all that is less. */
static unsigned bucket_of(uint64_t ns) {
  if (ns < (1u << LOW_BITS)) return 0;
  unsigned power = 63u - (unsigned)__builtin_clzll(ns);
  unsigned bucket = (power - LOW_BITS) * 4 + (unsigned)(ns >> (power - 2) & 3);
  return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t bucket_end_ns(unsigned bucket) {
  unsigned power = bucket / 4 + LOW_BITS;
  return ((uint64_t)(5 + bucket % 4) << power) / 4;
}

void histogram_add(histogram *h, uint64_t duration_ns) {
  h->counts[bucket_of(duration_ns)]++;
  h->total++;
  if (duration_ns > h->max_ns) h->max_ns = duration_ns;
}

uint64_t histogram_percentile_ns(const histogram *h, double fraction) {
  if (h->total == 0) return 0;
  uint64_t wanted = (uint64_t)(fraction * (double)h->total), seen = 0;
  for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
    seen += h->counts[i];
    if (seen > wanted || seen == h->total) {
      return bucket_end_ns(i) < h->max_ns ? bucket_end_ns(i) : h->max_ns;
    }
  }
  return h->max_ns;
}
