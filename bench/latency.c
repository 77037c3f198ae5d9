/*
** latency.c - see latency.h. fsync and fdatasync are defined here, before libc's, so that the calls of
** every engine are counted alike, whatever it tells of itself.
*/
#include "latency.h"

#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FINE_BITS 5 /* 32 buckets to a power of two */

uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Below 32 a bucket is a number; above, the highest bit and the five that follow it. */
static unsigned bucket_of(uint64_t ns) {
  if (ns < 1u << FINE_BITS) return (unsigned)ns;
  unsigned high = 63u - (unsigned)__builtin_clzll(ns);
  unsigned shift = high - FINE_BITS;
  return (shift << FINE_BITS) + (unsigned)(ns >> shift);
}

static uint64_t bucket_end(unsigned bucket) {
  if (bucket < 2u << FINE_BITS) return bucket;
  unsigned shift = (bucket >> FINE_BITS) - 1;
  uint64_t top = bucket - (shift << FINE_BITS);
  return ((top + 1) << shift) - 1;
}

void latency_add(latency *l, uint64_t duration_ns) {
  l->counts[bucket_of(duration_ns)]++;
  l->total++;
  if (duration_ns > l->max_ns) l->max_ns = duration_ns;
}

void latency_merge(latency *into, const latency *from) {
  for (int i = 0; i < LATENCY_BUCKETS; i++) into->counts[i] += from->counts[i];
  into->total += from->total;
  if (from->max_ns > into->max_ns) into->max_ns = from->max_ns;
}

uint64_t latency_percentile_ns(const latency *l, double fraction) {
  double wanted = fraction * (double)l->total;
  uint64_t seen = 0;
  for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
    seen += l->counts[i];
    if (l->counts[i] > 0 && (double)seen >= wanted) {
      return bucket_end(i) < l->max_ns ? bucket_end(i) : l->max_ns;
    }
  }
  return l->max_ns;
}

void latency_write(const latency *l, FILE *out) {
  uint64_t seen = 0;
  for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
    if (l->counts[i] == 0) continue;
    seen += l->counts[i];
    fprintf(out, "%llu %.6f\n", (unsigned long long)bucket_end(i), (double)seen / (double)l->total);
  }
}

static _Atomic uint64_t flush_calls, flush_ns;

static int flush(long call, int fd) {
  uint64_t start = now_ns();
  int result = (int)syscall(call, fd);
  atomic_fetch_add(&flush_ns, now_ns() - start);
  atomic_fetch_add(&flush_calls, 1);
  return result;
}

__attribute__((visibility("default"))) int fdatasync(int fd) {
  return flush(SYS_fdatasync, fd);
}

__attribute__((visibility("default"))) int fsync(int fd) {
  return flush(SYS_fsync, fd);
}

flush_count flush_count_now(void) {
  return (flush_count){.calls = atomic_load(&flush_calls), .ns = atomic_load(&flush_ns)};
}
