/*
** unit.h - the least a unit test needs.
**
**     #include "unit.h"
**
**     int main(void) {
**       CHECK(1 + 1 == 2);
**       CHECK_STR(name_of(7), "seven");
**       return unit_done();
**     }
**
** A test is one program. A failed check says where and what, and the program goes on; the last line
** it prints is `N passed, N failed`, and its exit status is 1 if any failed. Every check evaluates
** its arguments once; FAIL("what") is one that has failed. CHECK and its kin are expressions that are
** true when the check passed, so that a test can stop where going on makes no sense:
** if (!CHECK(p != NULL)) return;
*/
#ifndef UNIT_H
#define UNIT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Threads of a test may check at the same time. */
static _Atomic unsigned long unit_passed, unit_failed;

/* Count one check; say what failed, but not more than the first hundred times. */
static inline bool unit_check(bool passed, const char *file, int line, const char *what) {
  if (passed) {
    unit_passed++;
    return true;
  }
  if (unit_failed++ < 100) printf("%s:%d: failed: %s\n", file, line, what);
  fflush(stdout); /* the program may not come to its end */
  return false;
}

static inline bool unit_str(const char *got, const char *want, const char *file, int line,
                            const char *what) {
  bool passed = got != NULL && want != NULL ? strcmp(got, want) == 0 : got == want;
  if (!unit_check(passed, file, line, what) && unit_failed <= 100) {
    printf("  got:  %s\n  want: %s\n", got ? got : "(NULL)", want ? want : "(NULL)");
  }
  return passed;
}

static inline bool unit_int(long long got, long long want, const char *file, int line,
                            const char *what) {
  bool passed = got == want;
  if (!unit_check(passed, file, line, what) && unit_failed <= 100) {
    printf("  got:  %lld\n  want: %lld\n", got, want);
  }
  return passed;
}

static inline void unit_show(const char *name, const char *data, size_t size) {
  printf("  %s: %zu bytes: ", name, size);
  for (size_t i = 0; i < size && i < 200; i++) {
    unsigned char byte = (unsigned char)data[i];
    if (byte >= ' ' && byte < 0x7f && byte != '\\') {
      putchar(byte);
    } else {
      printf("\\x%02x", byte);
    }
  }
  putchar('\n');
}

static inline bool unit_bytes(const char *got, size_t got_size, const char *want, size_t want_size,
                              const char *file, int line, const char *what) {
  bool passed = got_size == want_size && (want_size == 0 || memcmp(got, want, want_size) == 0);
  if (!unit_check(passed, file, line, what) && unit_failed <= 100) {
    unit_show("got ", got, got_size);
    unit_show("want", want, want_size);
  }
  return passed;
}

/* A condition holds. */
#define FAIL(what) unit_check(false, __FILE__, __LINE__, what)
#define CHECK(condition) unit_check((condition) ? true : false, __FILE__, __LINE__, #condition)

/* Two NUL-terminated strings, two integers, two runs of bytes are the same. */
#define CHECK_STR(got, want) unit_str((got), (want), __FILE__, __LINE__, #got " is " #want)
#define CHECK_INT(got, want)                                                                       \
  unit_int((long long)(got), (long long)(want), __FILE__, __LINE__, #got " == " #want)
#define CHECK_BYTES(got, got_size, want, want_size)                                                \
  unit_bytes((got), (got_size), (want), (want_size), __FILE__, __LINE__, #got " is " #want)

/* The next number of a fixed sequence (xorshift64*), so that a failure comes again. */
static inline uint64_t unit_random(uint64_t *state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 2685821657736338717u;
}

/* Print the summary; the value for main to return. */
static inline int unit_done(void) {
  printf("%lu passed, %lu failed\n", (unsigned long)unit_passed, (unsigned long)unit_failed);
  return unit_failed > 0 ? 1 : 0;
}

#endif
