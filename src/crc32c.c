/*
** crc32c.c - checksums at the speed of the memory, and one step backwards.
**
** Every transaction of the log carries a CRC-32C, and opening a store sums the whole file, so this
** is among the hottest loops there are. Three ways to the same number:
**
**   hardware   the crc32 instruction of SSE4.2 takes 8 bytes per cycle, but its result is there
**              only 3 cycles later. Three neighbouring blocks are therefore summed side by side,
**              and their registers put together with carry-less multiplications (PCLMULQDQ).
**   portable   slicing by 8: eight table look-ups for eight bytes.
**   backwards  see below.
**
** The register is kept inverted between calls, as everybody does, so that leading zero bytes count.
** In what follows r is the raw register. One byte b moves it on by
**
**     r' = (r >> 8) ^ table[0][(r ^ b) & 0xff]
**
** The top bytes of the 256 entries of table[0] are all different, so the top byte of r' tells which
** entry i was used, and everything else follows:  r = (r' ^ table[0][i]) << 8 | (i ^ b). With
** undo[top byte] = table[0][i] << 8 ^ i this is
**
**     r = (r' << 8) ^ undo[r' >> 24] ^ b
**
** Threads: any. Tables and choice are made by a constructor, before main or before dlopen returns,
** and only read afterwards; no other constructor may call in here.
*/
#include "crc32c.h"

#include <assert.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* 0x1edc6f41 with its bits reflected */

static uint32_t table[8][256]; /* table[n][b]: the register n zero bytes after b */
static uint32_t undo[256];

static uint32_t load_32(const unsigned char *from) {
  return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
         (uint32_t)from[3] << 24;
}

/* The raw register after size bytes, by table. */
static uint32_t run_portable(uint32_t r, const unsigned char *at, size_t size) {
  for (; size >= 8; at += 8, size -= 8) {
    uint32_t low = r ^ load_32(at);
    uint32_t high = load_32(at + 4);
    r = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^
        table[4][low >> 24] ^ table[3][high & 0xff] ^ table[2][high >> 8 & 0xff] ^
        table[1][high >> 16 & 0xff] ^ table[0][high >> 24];
  }
  for (; size > 0; at++, size--) r = r >> 8 ^ table[0][(r ^ *at) & 0xff];
  return r;
}

static uint32_t (*run)(uint32_t r, const unsigned char *at, size_t size) = run_portable;

#if defined(__x86_64__)
#include <immintrin.h>

#define HARDWARE __attribute__((target("sse4.2,pclmul")))

/* Blocks of this many bytes are summed three at a time: long ones while there is enough, so that
** putting together is rare; short ones for what is left. */
#define LONG_BLOCK 1024u
#define SHORT_BLOCK 128u

/* What `size` zero bytes do to a register is to multiply it by x^(8*size) modulo the polynomial.
** The product of two reflected registers comes out multiplied by x, and the crc32 instruction that
** reduces it multiplies by x^32; so these are x^(8*size - 33), reflected. */
#define OVER_LONG_1 0x170076fau  /* size = LONG_BLOCK */
#define OVER_LONG_2 0xa51b6135u  /* size = 2 * LONG_BLOCK */
#define OVER_SHORT_1 0x0d3b6092u /* size = SHORT_BLOCK */
#define OVER_SHORT_2 0xb9e02b86u /* size = 2 * SHORT_BLOCK */

HARDWARE static inline uint64_t load_64(const unsigned char *from) {
  uint64_t word;
  memcpy(&word, from, sizeof word);
  return word;
}

HARDWARE static inline uint64_t multiply(uint64_t r, uint32_t factor) {
  __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)r),
                                         _mm_cvtsi64_si128((long long)factor), 0);
  return (uint64_t)_mm_cvtsi128_si64(product);
}

/* The register after three blocks of `block` bytes at `at`. */
HARDWARE static inline uint64_t run_three(uint64_t r, const unsigned char *at, size_t block,
                                          uint32_t over_1, uint32_t over_2) {
  uint64_t r1 = 0;
  uint64_t r2 = 0;
  for (const unsigned char *end = at + block; at < end; at += 8) {
    r = _mm_crc32_u64(r, load_64(at));
    r1 = _mm_crc32_u64(r1, load_64(at + block));
    r2 = _mm_crc32_u64(r2, load_64(at + 2 * block));
  }
  return _mm_crc32_u64(0, multiply(r, over_2) ^ multiply(r1, over_1)) ^ r2;
}

HARDWARE static uint32_t run_hardware(uint32_t r32, const unsigned char *at, size_t size) {
  uint64_t r = r32;
  for (; size >= 3 * LONG_BLOCK; at += 3 * LONG_BLOCK, size -= 3 * LONG_BLOCK) {
    r = run_three(r, at, LONG_BLOCK, OVER_LONG_1, OVER_LONG_2);
  }
  for (; size >= 3 * SHORT_BLOCK; at += 3 * SHORT_BLOCK, size -= 3 * SHORT_BLOCK) {
    r = run_three(r, at, SHORT_BLOCK, OVER_SHORT_1, OVER_SHORT_2);
  }
  for (; size >= 8; at += 8, size -= 8) r = _mm_crc32_u64(r, load_64(at));
  for (; size > 0; at++, size--) r = _mm_crc32_u8((uint32_t)r, *at);
  return (uint32_t)r;
}

static void choose(void) {
  __builtin_cpu_init(); /* a constructor may run before the compiler's own */
  if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) run = run_hardware;
}
#else
static void choose(void) {
}
#endif

__attribute__((constructor)) static void prepare(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t r = i;
    for (int bit = 0; bit < 8; bit++) r = r >> 1 ^ (POLYNOMIAL & (0u - (r & 1u)));
    table[0][i] = r;
    undo[r >> 24] = r << 8 ^ i;
  }
  for (int n = 1; n < 8; n++) {
    for (int i = 0; i < 256; i++) {
      uint32_t r = table[n - 1][i];
      table[n][i] = r >> 8 ^ table[0][r & 0xff];
    }
  }
  choose();
}

uint32_t crc32c(uint32_t crc, const void *data, size_t size) {
  assert(table[0][128] == POLYNOMIAL); /* the constructor has run */
  return ~run(~crc, data, size);
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t size) {
  return ~run_portable(~crc, data, size);
}

uint32_t crc32c_unstep(uint32_t crc, unsigned char byte) {
  uint32_t r = ~crc;
  return ~(r << 8 ^ undo[r >> 24] ^ byte);
}
