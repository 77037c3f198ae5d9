/*
** log_mutator.c - changes a log so that it stays one, or nearly.
**
** Random bytes get no further than the first checksum. So lines are changed, moved, doubled, put in
** and taken out, numbers of COMMIT lines are changed, and then, most times, all checksums are made
** right again. Where they are not, the log is a damaged one of which everything else is in order.
*/
#include "crc32c.h"
#include "fuzz_help.h"
#include "log_format.h"

#include <inttypes.h>

#define LINES_MAX 512

typedef struct line {
  size_t offset, size; /* LF included, if there is one */
} line;

static struct {
  uint8_t *data;
  size_t size, size_max;
  line lines[LINES_MAX];
  size_t count;
  uint64_t random;
} m;

static size_t roll(size_t limit) {
  m.random = m.random * 6364136223846793005u + 1442695040888963407u;
  return limit > 0 ? (size_t)(m.random >> 33) % limit : 0;
}

static void find_lines(void) {
  m.count = 0;
  for (size_t at = 0; at < m.size && m.count < LINES_MAX;) {
    const uint8_t *lf = memchr(m.data + at, '\n', m.size - at);
    size_t end = lf != NULL ? (size_t)(lf - m.data) + 1 : m.size;
    m.lines[m.count++] = (line){.offset = at, .size = end - at};
    at = end;
  }
}

static bool begins(const line *l, const char *word) {
  return l->size >= strlen(word) && memcmp(m.data + l->offset, word, strlen(word)) == 0;
}

/* Put `size` bytes in the place of `old` bytes; false: there is no room. */
static bool replace(size_t offset, size_t old, const void *data, size_t size) {
  if (m.size - old + size > m.size_max) return false;
  memmove(m.data + offset + size, m.data + offset + old, m.size - offset - old);
  if (size > 0) memcpy(m.data + offset, data, size);
  m.size = m.size - old + size;
  find_lines();
  return true;
}

static void insert_text(size_t offset, const char *text) {
  (void)replace(offset, 0, text, strlen(text));
}

/* Where some line begins, or the end. */
static size_t some_place(void) {
  size_t n = roll(m.count + 1);
  return n < m.count ? m.lines[n].offset : m.size;
}

/* Some COMMIT line, or NULL. */
static const line *some_commit(void) {
  for (size_t n = roll(m.count), tries = 0; tries < m.count; tries++) {
    const line *l = &m.lines[(n + tries) % m.count];
    if (begins(l, "COMMIT\t")) return l;
  }
  return NULL;
}

static void set_numbers(const line *l, uint64_t seq, uint64_t durable_seq) {
  char text[80];
  int size =
      snprintf(text, sizeof text, "COMMIT\t%" PRIu64 "\t%" PRIu64 "\t00000000\n", seq, durable_seq);
  (void)replace(l->offset, l->size, text, (size_t)size);
}

static void get_numbers(const line *l, uint64_t *seq, uint64_t *durable_seq) {
  char text[80] = "", *end;
  size_t size = l->size < sizeof text ? l->size : sizeof text - 1;
  memcpy(text, m.data + l->offset, size);
  *seq = strtoull(text + 7, &end, 10);
  *durable_seq = *end == '\t' ? strtoull(end + 1, NULL, 10) : 0;
}

static uint64_t base_seq(void) {
  if (m.count == 0 || !begins(&m.lines[0], "KVSTORE\t1\t") || m.lines[0].size < 29) return 0;
  char text[24] = "";
  size_t size = m.lines[0].size - 27;
  memcpy(text, m.data + 27, size < sizeof text ? size : sizeof text - 1);
  return strtoull(text, NULL, 10);
}

/* Count all COMMIT lines through, so that each is the next. */
static void renumber(void) {
  uint64_t seq = base_seq(), durable = roll(3);
  for (size_t n = 0; n < m.count; n++) {
    if (!begins(&m.lines[n], "COMMIT\t")) continue;
    seq++;
    set_numbers(&m.lines[n], seq, durable == 0 ? seq - 1 : durable == 1 ? 0 : roll((size_t)seq));
  }
}

static void change_numbers(void) {
  static const uint64_t edges[] = {0, 1, 2, 1000, INT64_MAX, UINT64_MAX - 1, UINT64_MAX};
  const line *l = some_commit();
  uint64_t seq, durable_seq;
  if (l == NULL) return;
  get_numbers(l, &seq, &durable_seq);
  switch (roll(5)) {
  case 0:
    seq += roll(5) - 2;
    break;
  case 1:
    durable_seq = seq - 1 - roll(3);
    break;
  case 2:
    durable_seq = 0;
    break;
  case 3:
    seq = edges[roll(sizeof edges / sizeof *edges)];
    break;
  default:
    durable_seq = edges[roll(sizeof edges / sizeof *edges)];
  }
  set_numbers(l, seq, durable_seq);
}

static void change_header(void) {
  static const char *const bases[] = {
      "0", "1", "2", "7", "9223372036854775806", "9223372036854775807"};
  char text[LOG_HEADER_SIZE_MAX + 40];
  int size = snprintf(text, sizeof text, "KVSTORE\t1\t%016x\t%s\t00000000\n", (unsigned)roll(1000),
                      bases[roll(sizeof bases / sizeof *bases)]);
  if (m.count > 0 && begins(&m.lines[0], "KVSTORE\t")) {
    if (roll(4) == 0) size = 0;
    (void)replace(0, m.lines[0].size, text, (size_t)size);
  } else {
    (void)replace(0, 0, text, (size_t)size);
  }
}

/* Let the common mutator change part of a line. */
static void change_part(void) {
  uint8_t part[600];
  if (m.count == 0) return;
  const line *l = &m.lines[roll(m.count)];
  size_t from = roll(4) == 0 ? 0 : roll(l->size), size = 1 + roll(l->size - from);
  if (from + size == l->size && size > 1 && roll(8) > 0) size--; /* leave the LF */
  if (size > sizeof part - 64) size = sizeof part - 64;
  memcpy(part, m.data + l->offset + from, size);
  size_t now = LLVMFuzzerMutate(part, size, size + 64);
  (void)replace(l->offset + from, size, part, now);
}

static void insert_line(void) {
  static const char *const texts[] = {"WRITE\ta\ttext\n",
                                      "WRITE\ta/b\t-17\tINTEGER\n",
                                      "WRITE\tb\t2.5\tREAL\n",
                                      "WRITE\ta/b/c\t\\0\tBLOB\n",
                                      "WRITE\tb/x\t\tNULL\n",
                                      "WRITE\ta\t\n",
                                      "DELETE\ta\n",
                                      "DELETE\ta/b\n",
                                      "\n",
                                      "COMMIT\t1\t0\t00000000\n",
                                      "WRITE\ta//b\tx\n",
                                      "WRITE\ta\tx\tREAL\n",
                                      "DELETE\tb\tx\n",
                                      "KVSTORE\t1\t0\n",
                                      "WRITE\ta\\x\ty\n"};
  insert_text(some_place(), texts[roll(sizeof texts / sizeof *texts)]);
}

static void insert_transaction(void) {
  char text[200];
  (void)snprintf(text, sizeof text, "WRITE\tt/%u\t%u\tINTEGER\nCOMMIT\t%u\t%u\t00000000\n",
                 (unsigned)roll(9), (unsigned)roll(99), (unsigned)roll(9) + 1, (unsigned)roll(9));
  insert_text(some_place(), text);
}

/* A run of lines once more, somewhere else; or only there. */
static void move_lines(bool keep) {
  if (m.count == 0) return;
  size_t first = roll(m.count), last = first + roll(m.count - first < 6 ? m.count - first : 6);
  size_t from = m.lines[first].offset, to = m.lines[last].offset + m.lines[last].size;
  uint8_t *copy = (uint8_t *)fuzz_copy(m.data + from, to - from);
  if (!keep) (void)replace(from, to - from, NULL, 0);
  if (keep || roll(2) == 0) (void)replace(some_place(), 0, copy, to - from);
  free(copy);
}

static void change_end(void) {
  static const uint8_t zeros[64];
  switch (roll(3)) {
  case 0:
    m.size -= roll(m.size < 80 ? m.size : 80);
    break;
  case 1:
    (void)replace(m.size, 0, zeros, 1 + roll(sizeof zeros));
    break;
  default:
    insert_text(m.size, "WRITE\tunfinished\tlin");
  }
  find_lines();
}

/* Overwrite a stretch with zeros, as a block that was never written. */
static void zero_part(void) {
  if (m.size == 0) return;
  size_t from = roll(m.size), size = 1 + roll(m.size - from < 40 ? m.size - from : 40);
  memset(m.data + from, 0, size);
  find_lines();
}

/* --- checksums ------------------------------------------------------------------------------------ */

static void put_crc(uint8_t *to, uint32_t crc) {
  for (int i = 7; i >= 0; i--, crc >>= 4) to[i] = (uint8_t) "0123456789abcdef"[crc & 15];
}

/* Where a line's checksum stands: behind its last TAB; 0: it has none. */
static size_t crc_place(const line *l) {
  if (l->size < 10 || m.data[l->offset + l->size - 1] != '\n') return 0;
  size_t at = l->offset + l->size - 9;
  return m.data[at - 1] == '\t' ? at : 0;
}

static void settle(void) {
  if (m.count == 0 || !begins(&m.lines[0], "KVSTORE\t1\t") || m.lines[0].size < 28) return;
  size_t at = crc_place(&m.lines[0]), start = m.lines[0].size;
  if (at > 0) put_crc(m.data + at, crc32c(0, m.data, at));
  uint32_t seed = crc32c(0, m.data + 10, LOG_ID_SIZE);
  for (size_t n = 1; n < m.count; n++) {
    const line *l = &m.lines[n];
    if (!begins(l, "COMMIT\t")) continue;
    at = crc_place(l);
    if (at > 0) put_crc(m.data + at, crc32c(seed, m.data + start, at - start));
    start = l->offset + l->size;
  }
}

static void change(void) {
  switch (roll(11)) {
  case 0:
  case 1:
    change_part();
    break;
  case 2:
    move_lines(true);
    break;
  case 3:
    move_lines(false);
    break;
  case 4:
    insert_line();
    break;
  case 5:
    insert_transaction();
    break;
  case 6:
    renumber();
    break;
  case 7:
    change_numbers();
    break;
  case 8:
    if (roll(4) == 0) change_header();
    break;
  case 9:
    change_end();
    break;
  default:
    m.size = LLVMFuzzerMutate(m.data, m.size, m.size_max);
    find_lines();
  }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed) {
  m.data = data;
  m.size = size;
  m.size_max = size_max;
  m.random = seed * 0x9e3779b97f4a7c15u + 1;
  (void)roll(1);
  find_lines();
  bool damages = roll(4) == 0;
  if (damages) settle();
  for (size_t n = 1 + roll(3); n > 0; n--) change();
  if (damages && roll(2) == 0) zero_part();
  if (!damages) settle();
  return m.size;
}
