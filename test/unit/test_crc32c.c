/*
** test_crc32c.c - the checksum is CRC-32C whichever way it is computed, and one step can be undone.
*/
#include "crc32c.h"
#include "unit.h"

#include <stdlib.h>

#define SIZE 20000u

/* The definition, a bit at a time: what everything else must agree with. */
static uint32_t crc_by_bit(uint32_t crc, const unsigned char *data, size_t size) {
  uint32_t r = ~crc;
  for (size_t i = 0; i < size; i++) {
    r ^= data[i];
    for (int bit = 0; bit < 8; bit++) r = (r & 1u) ? r >> 1 ^ 0x82f63b78u : r >> 1;
  }
  return ~r;
}

/* The vectors of RFC 3720, appendix B.4, and the check value of every catalogue. */
static void known_vectors(void) {
  unsigned char data[32];
  CHECK_INT(crc32c(0, "", 0), 0);
  CHECK_INT(crc32c(0, "a", 1), 0xc1d04330u);
  CHECK_INT(crc32c(0, "123456789", 9), 0xe3069283u);
  memset(data, 0, sizeof data);
  CHECK_INT(crc32c(0, data, sizeof data), 0x8a9136aau);
  memset(data, 0xff, sizeof data);
  CHECK_INT(crc32c(0, data, sizeof data), 0x62a8ab43u);
  for (unsigned i = 0; i < 32; i++) data[i] = (unsigned char)i;
  CHECK_INT(crc32c(0, data, sizeof data), 0x46dd794eu);
  for (unsigned i = 0; i < 32; i++) data[i] = (unsigned char)(31 - i);
  CHECK_INT(crc32c(0, data, sizeof data), 0x113fdb5cu);
}

/* Every size up to some blocks, every alignment, any start. */
static void three_ways_agree(const unsigned char *data) {
  uint64_t seed = 42;
  for (size_t size = 0; size < 1200; size++) {
    size_t offset = size % 17;
    uint32_t start = (uint32_t)unit_random(&seed);
    uint32_t want = crc_by_bit(start, data + offset, size);
    CHECK_INT(crc32c(start, data + offset, size), want);
    CHECK_INT(crc32c_portable(start, data + offset, size), want);
  }
  for (int i = 0; i < 300; i++) {
    size_t offset = (size_t)(unit_random(&seed) % 64);
    size_t size = (size_t)(unit_random(&seed) % (SIZE - 64));
    uint32_t want = crc_by_bit(0, data + offset, size);
    CHECK_INT(crc32c(0, data + offset, size), want);
    CHECK_INT(crc32c_portable(0, data + offset, size), want);
  }
}

static void parts_make_the_whole(const unsigned char *data) {
  uint32_t whole = crc32c(0, data, SIZE);
  for (size_t cut = 0; cut <= SIZE; cut += 97) {
    CHECK_INT(crc32c(crc32c(0, data, cut), data + cut, SIZE - cut), whole);
    CHECK_INT(crc32c_portable(crc32c_portable(0, data, cut), data + cut, SIZE - cut), whole);
  }
}

static void a_step_can_be_undone(const unsigned char *data) {
  for (unsigned byte = 0; byte < 256; byte++) {
    unsigned char one = (unsigned char)byte;
    CHECK_INT(crc32c_unstep(crc32c(0x12345678, &one, 1), one), 0x12345678);
  }
  uint32_t crc = crc32c(0xdeadbeef, data, SIZE);
  for (size_t i = SIZE; i-- > 0;) {
    crc = crc32c_unstep(crc, data[i]);
    if (i % 1000 == 0) CHECK_INT(crc, crc32c(0xdeadbeef, data, i));
  }
  CHECK_INT(crc, 0xdeadbeefu);
}

int main(void) {
  unsigned char *data = malloc(SIZE);
  if (!CHECK(data != NULL)) return unit_done();
  uint64_t seed = 7;
  for (size_t i = 0; i < SIZE; i++) data[i] = (unsigned char)(unit_random(&seed) >> 56);
  known_vectors();
  three_ways_agree(data);
  parts_make_the_whole(data);
  a_step_can_be_undone(data);
  free(data);
  return unit_done();
}
