/*
** test_log_read.c - what is whole in a log is found, and nothing else, whatever happened to the
** rest of it: torn at every byte, every bit flipped, blocks zeroed, overwritten and swapped, bytes
** cut out and put in; in logs smaller and larger than what a reader holds of the file at a time.
**
** Every damaged log is made from one whose transactions are known. Those whose bytes the damage did
** not touch, and which start at or behind the place where reading forward stops, must be found by
** looking ahead from there; and whatever is found must verify when it is summed up independently.
*/
#include "crc32c.h"
#include "log_read.h"
#include "os.h"
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define ID "00ff17fe23dc42ba"
#define TRANSACTIONS_MAX 2000

/* A log in memory, and where its transactions are. */
typedef struct model {
  buf log;
  size_t header_size;
  size_t count;
  log_transaction t[TRANSACTIONS_MAX];
} model;

/* Transactions in the order they were found. */
typedef struct finds {
  size_t count;
  size_t most; /* stop after so many */
  log_transaction t[TRANSACTIONS_MAX];
} finds;

static model small, middle, wide, large;
static finds got;
static int fd = -1;

/* ---- logs ---- */

static void model_begin(model *m) {
  log_header header = {.id = ID, .base_seq = 0};
  memset(m, 0, sizeof *m);
  if (buf_reserve(&m->log, LOG_HEADER_SIZE_MAX) != KV_OK) abort();
  m->log.size = log_format_header(m->log.data, &header);
  m->header_size = m->log.size;
  m->t[0].offset = m->header_size;
}

static void model_write(model *m, const char *key, const char *data, size_t size, kv_type type) {
  kv_value value = {.type = type};
  value.data = data;
  value.size = size;
  if (type == KV_INTEGER) value.integer = (int64_t)size;
  if (log_format_write(&m->log, key, strlen(key), &value) != KV_OK) abort();
  m->t[m->count].ops++;
}

static void model_delete(model *m, const char *key) {
  if (log_format_delete(&m->log, key, strlen(key)) != KV_OK) abort();
  m->t[m->count].ops++;
}

static void model_commit(model *m) {
  log_transaction *t = &m->t[m->count++];
  if (m->count >= TRANSACTIONS_MAX) abort();
  t->seq = m->count;
  t->durable_seq = m->count - 1 - (m->count > 3 ? m->count % 3 : 0);
  if (log_format_commit(&m->log, t->offset, ID, t->seq, t->durable_seq) != KV_OK) abort();
  t->end_offset = m->log.size;
  m->t[m->count].offset = m->log.size;
}

/* Some of everything, with keys that look like the words of operations. */
static void model_small(model *m) {
  model_begin(m);
  model_write(m, "test/val", "this is a test val", 18, KV_TEXT);
  model_commit(m);
  model_write(m, "WRITE", "WRITE", 5, KV_TEXT);
  model_write(m, "a/DELETE", "x\ty\nz", 5, KV_BLOB);
  model_delete(m, "DELETE");
  model_commit(m);
  model_write(m, "COMMIT", "5", 1, KV_TEXT);
  model_commit(m);
  model_delete(m, "COMMIT");
  model_commit(m);
  for (int i = 0; i < 5; i++) model_write(m, "n", NULL, (size_t)i * 1234567, KV_INTEGER);
  model_commit(m);
  model_write(m, "nothing", NULL, 0, KV_NULL);
  model_commit(m);
  model_write(m, "last", "", 0, KV_TEXT);
  model_delete(m, "test/val");
  model_commit(m);
}

/* Transactions of all sizes up to `most` bytes or so, until the log has `size` bytes. */
static void model_random(model *m, uint64_t seed, size_t size, size_t most) {
  char *data = malloc(most);
  char key[40];
  if (data == NULL) abort();
  for (size_t i = 0; i < most; i++) data[i] = (char)(unit_random(&seed) >> 50);
  model_begin(m);
  while (m->log.size < size) {
    size_t ops = (size_t)(1 + unit_random(&seed) % 6);
    for (size_t i = 0; i < ops; i++) {
      uint64_t limit = (most >> unit_random(&seed) % 12) + 1;
      size_t value_size = (size_t)(unit_random(&seed) % limit);
      snprintf(key, sizeof key, "key/%u", (unsigned)(unit_random(&seed) % 1000));
      if (unit_random(&seed) % 8 == 0) {
        model_delete(m, key);
      } else {
        model_write(m, key, data, value_size, unit_random(&seed) % 2 ? KV_TEXT : KV_BLOB);
      }
    }
    model_commit(m);
  }
  free(data);
}

/* Larger than some blocks: a line of three, transactions of many lines, and small ones between. */
static void model_large(model *m) {
  size_t size = 3 << 20;
  char *data = malloc(size);
  char key[40];
  if (data == NULL) abort();
  memset(data, 'v', size);
  model_begin(m);
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < 100; i++) {
      model_write(m, "small", data, (size_t)i * 7, KV_TEXT);
      model_commit(m);
    }
    model_write(m, "long", data, size - 1000u * (unsigned)round, KV_TEXT);
    if (round % 2 == 0) model_commit(m);
    for (int i = 0; i < 30000; i++) {
      snprintf(key, sizeof key, "many/%d", i);
      model_write(m, key, data, (size_t)(i % 40), KV_TEXT);
    }
    model_commit(m);
  }
  free(data);
}

/* ---- files ---- */

static void file_open(void) {
  char name[512];
  const char *folder = getenv("TMPDIR");
  snprintf(name, sizeof name, "%s/test_log_read.XXXXXX", folder != NULL ? folder : ".");
  fd = mkstemp(name);
  if (fd < 0 || unlink(name) != 0) {
    perror(name);
    exit(1);
  }
}

static void file_set(const char *data, size_t size) {
  if (ftruncate(fd, 0) != 0 || os_write_all(fd, data, size, 0) != 0) {
    perror("temporary file");
    exit(1);
  }
}

static void reader_start(log_reader *r, size_t size) {
  log_reader_init(r, fd, size);
  memcpy(r->id, ID, sizeof ID);
}

static bool find(void *context, const log_transaction *t) {
  finds *f = context;
  if (f->count < TRANSACTIONS_MAX) f->t[f->count] = *t;
  f->count++;
  return f->count < f->most;
}

static int look_ahead(log_reader *r, uint64_t offset) {
  got.count = 0;
  got.most = TRANSACTIONS_MAX;
  return log_reader_lookahead(r, offset, find, &got);
}

/* ---- what must hold of any file made from a model ---- */

static bool same_transaction(const log_transaction *a, const log_transaction *b, uint64_t moved) {
  return a->offset == b->offset + moved && a->end_offset == b->end_offset + moved &&
         a->ops == b->ops && a->seq == b->seq && a->durable_seq == b->durable_seq;
}

/* Sum up a found transaction by the document, from the image alone. */
static bool verifies(const char *image, const log_transaction *t) {
  char claimed[9];
  char *end;
  size_t crc_at = (size_t)t->end_offset - 9;
  uint32_t crc = crc32c(0, ID, strlen(ID));
  memcpy(claimed, image + crc_at, 8);
  claimed[8] = '\0';
  crc = crc32c(crc, image + t->offset, crc_at - (size_t)t->offset);
  return image[t->end_offset - 1] == '\n' && crc == strtoul(claimed, &end, 16) && *end == '\0';
}

/* The transaction is in the file as it was, at its place or `moved` bytes from it (modulo 2^64). */
static bool is_whole(const model *m, size_t i, const char *image, size_t size, uint64_t moved) {
  const log_transaction *t = &m->t[i];
  uint64_t at = t->offset + moved;
  uint64_t t_size = t->end_offset - t->offset;
  return at <= size && t_size <= size - at &&
         memcmp(image + at, m->log.data + t->offset, (size_t)t_size) == 0;
}

static bool was_found(const log_transaction *t, uint64_t moved) {
  for (size_t i = 0; i < got.count && i < TRANSACTIONS_MAX; i++) {
    if (same_transaction(&got.t[i], t, moved)) return true;
  }
  return false;
}

/* The file is `image`, a damaged m: transactions that start before `damage` are where they were,
** the others `moved` bytes from there. Read forward, then look ahead: true if all is as it must be.
** If `exact`, nothing else may be found; swapped blocks can make copies. */
static bool check_damaged(const model *m, const char *image, size_t size, size_t damage,
                          uint64_t moved, bool exact) {
  log_reader r;
  log_transaction t = {0};
  uint64_t offset = m->header_size;
  size_t expected = 0;
  bool good = true;
  reader_start(&r, size);
  size_t forward = 0;
  while (log_reader_transaction(&r, offset, &t) == KV_OK) {
    good &= t.offset == offset && t.end_offset <= size && verifies(image, &t);
    offset = t.end_offset;
    forward++;
  }
  for (size_t i = 0; i < m->count && m->t[i].end_offset <= damage; i++) good &= forward > i;
  good &= look_ahead(&r, offset) == KV_OK;
  for (size_t i = 0; i < got.count; i++) {
    good &= got.t[i].offset >= offset && got.t[i].end_offset <= size && verifies(image, &got.t[i]);
    good &= i == 0 || got.t[i].offset >= got.t[i - 1].end_offset;
  }
  for (size_t i = 0; i < m->count; i++) {
    uint64_t by = m->t[i].offset < damage ? 0 : moved;
    if (m->t[i].offset + by < offset || !is_whole(m, i, image, size, by)) continue;
    expected++;
    good &= was_found(&m->t[i], by);
  }
  log_reader_free(&r);
  return good && (!exact || got.count == expected);
}

/* ---- the tests ---- */

static void write_again(buf *b, const log_record *r) {
  int rc = KV_OK;
  if (r->op == LOG_WRITE) rc = log_format_write(b, r->key, r->key_size, &r->value);
  if (r->op == LOG_DELETE) rc = log_format_delete(b, r->key, r->key_size);
  if (r->op == LOG_COMMIT) rc = log_format_commit(b, 0, ID, r->seq, r->durable_seq);
  CHECK_INT(rc, KV_OK);
}

/* Walk the file as replay does; what its lines say must be what was written. */
static void whole_log_is_read(const model *m) {
  log_reader r;
  log_transaction t;
  buf again = {0};
  uint64_t offset = m->header_size, peeked = 0;
  file_set(m->log.data, m->log.size);
  reader_start(&r, m->log.size);
  for (size_t i = 0; i < m->count; i++) {
    if (!CHECK_INT(log_reader_transaction(&r, offset, &t), KV_OK)) break;
    CHECK(same_transaction(&t, &m->t[i], 0));
    again.size = 0;
    for (uint64_t at = offset; at < t.end_offset;) {
      char *line;
      size_t size;
      bool ended;
      log_record record;
      const char *ahead;
      log_reader_peek(&r, at, &ahead, &size);
      CHECK(size <= m->log.size - at);
      CHECK(size == 0 || memcmp(ahead, m->log.data + at, size < 100 ? size : 100) == 0);
      peeked += size > 0;
      if (!CHECK_INT(log_reader_line(&r, at, &line, &size, &ended), KV_OK) || !ended) break;
      at += size + 1;
      if (log_parse_record(line, size, &record, NULL) != KV_OK) break;
      write_again(&again, &record);
    }
    CHECK(again.size == t.end_offset - offset &&
          memcmp(again.data, m->log.data + offset, again.size) == 0);
    offset = t.end_offset;
  }
  CHECK_INT(offset, m->log.size);
  CHECK(peeked > 0);
  CHECK_INT(log_reader_transaction(&r, offset, &t), KV_ETORN);
  CHECK_INT(look_ahead(&r, m->header_size), KV_OK);
  CHECK_INT(got.count, m->count);
  for (size_t i = 0; i < m->count; i++) CHECK(same_transaction(&got.t[i], &m->t[i], 0));
  CHECK_INT(look_ahead(&r, offset), KV_OK);
  CHECK_INT(got.count, 0);
  buf_free(&again);
  log_reader_free(&r);
}

/* Cut off anywhere, with and without zeros behind: the whole ones are read, no more is found, and
** the zeros are told from a tail. */
static void torn_at_every_byte(const model *m) {
  char *image = calloc(1, m->log.size + 700);
  if (!CHECK(image != NULL)) return;
  for (size_t size = m->header_size; size < m->log.size; size++) {
    memcpy(image, m->log.data, size);
    memset(image + size, 0, m->log.size + 700 - size);
    file_set(image, size + 700);
    CHECK(check_damaged(m, image, size, size, 0, true));
    CHECK(check_damaged(m, image, size + 700, size, 0, true));
    CHECK_INT(got.count, 0);
    log_reader r;
    bool zeros = false;
    reader_start(&r, size + 700);
    CHECK_INT(log_reader_zeros(&r, size, &zeros), KV_OK);
    CHECK(zeros);
    CHECK_INT(log_reader_zeros(&r, size - 1, &zeros), KV_OK);
    CHECK(!zeros);
    log_reader_free(&r);
  }
  free(image);
}

static void every_bit_flipped(const model *m) {
  char *image = malloc(m->log.size);
  if (!CHECK(image != NULL)) return;
  memcpy(image, m->log.data, m->log.size);
  file_set(image, m->log.size);
  for (size_t at = m->header_size; at < m->log.size; at++) {
    for (int bit = 0; bit < 8; bit++) {
      image[at] = (char)(image[at] ^ (1 << bit));
      if (os_write_all(fd, &image[at], 1, at) != 0) abort();
      if (!CHECK(check_damaged(m, image, m->log.size, at, 0, true))) {
        printf("  bit %d of byte %zu\n", bit, at);
      }
      image[at] = m->log.data[at];
    }
    if (os_write_all(fd, &image[at], 1, at) != 0) abort();
  }
  free(image);
}

/* A byte that means something takes the place of another. */
static void every_byte_overwritten(const model *m) {
  static const char meaning[] = "\n\t\r\0\\W0aC";
  char *image = malloc(m->log.size);
  if (!CHECK(image != NULL)) return;
  memcpy(image, m->log.data, m->log.size);
  file_set(image, m->log.size);
  for (size_t at = m->header_size; at < m->log.size; at++) {
    for (size_t i = 0; i < sizeof meaning - 1; i++) {
      image[at] = meaning[i];
      if (os_write_all(fd, &image[at], 1, at) != 0) abort();
      if (!CHECK(check_damaged(m, image, m->log.size, at, 0, true))) {
        printf("  byte %zu becomes 0x%02x\n", at, (unsigned)meaning[i]);
      }
      image[at] = m->log.data[at];
    }
    if (os_write_all(fd, &image[at], 1, at) != 0) abort();
  }
  free(image);
}

/* Bytes missing in the middle, and bytes put in: what is behind has moved. */
static void bytes_cut_out_and_put_in(const model *m, size_t at_step, const size_t *sizes,
                                     size_t sizes_count) {
  char *image = malloc(m->log.size + 10000);
  if (!CHECK(image != NULL)) return;
  for (size_t at = m->header_size; at < m->log.size; at += at_step) {
    for (size_t i = 0; i < sizes_count; i++) {
      size_t size = sizes[i];
      size_t rest = m->log.size - at;
      memcpy(image, m->log.data, at);
      if (size < rest) {
        memcpy(image + at, m->log.data + at + size, rest - size);
        file_set(image, m->log.size - size);
        if (!CHECK(check_damaged(m, image, m->log.size - size, at, 0 - (uint64_t)size, true))) {
          printf("  %zu bytes cut out at %zu\n", size, at);
        }
      }
      memset(image + at, i % 2 ? '\n' : 'x', size);
      memcpy(image + at + size, m->log.data + at, rest);
      file_set(image, m->log.size + size);
      if (!CHECK(check_damaged(m, image, m->log.size + size, at, size, true))) {
        printf("  %zu bytes put in at %zu\n", size, at);
      }
    }
  }
  free(image);
}

typedef enum block_damage { ZEROED, GARBAGE, LINES, NEXT_SWAPPED, REPEATED, DAMAGES } block_damage;

static void damage_block(const model *m, char *image, size_t at, size_t size, block_damage damage) {
  uint64_t seed = at + 1;
  const char *old = m->log.data;
  switch (damage) {
  case ZEROED:
    memset(image + at, 0, size);
    break;
  case GARBAGE:
    for (size_t i = 0; i < size; i++) image[at + i] = (char)(unit_random(&seed) >> 50);
    break;
  case LINES:
    for (size_t i = 0; i < size; i++) image[at + i] = "WRITE\ta\tb\n"[i % 10];
    break;
  case NEXT_SWAPPED:
    memcpy(image + at, old + at + size, size);
    memcpy(image + at + size, old + at, size);
    break;
  case REPEATED:
    memcpy(image + at, old + (at >= size ? at - size : at + size), size);
    break;
  case DAMAGES:
    break;
  }
}

/* A block of the disk holds something else: zeros, garbage, what looks like operations, its
** neighbour. */
static void blocks_damaged(const model *m, size_t size) {
  char *image = malloc(m->log.size);
  if (!CHECK(image != NULL)) return;
  for (size_t at = 0; at + 2 * size < m->log.size; at += size) {
    for (block_damage damage = ZEROED; damage < DAMAGES; damage++) {
      bool exact = damage != NEXT_SWAPPED && damage != REPEATED;
      memcpy(image, m->log.data, m->log.size);
      damage_block(m, image, at, size, damage);
      memcpy(image, m->log.data, m->header_size);
      file_set(image, m->log.size);
      if (!CHECK(check_damaged(m, image, m->log.size, at, 0, exact))) {
        printf("  block of %zu bytes at %zu, damage %d\n", size, at, (int)damage);
      }
    }
  }
  free(image);
}

/* The LF, the crc or the word COMMIT before a transaction is hit: its start must be found although
** no line starts there any more, even if it is megabytes back. */
static void starts_hit(const model *m) {
  char *image = malloc(m->log.size);
  if (!CHECK(image != NULL)) return;
  memcpy(image, m->log.data, m->log.size);
  file_set(image, m->log.size);
  for (size_t i = 1; i < m->count; i++) {
    size_t end = (size_t)m->t[i].offset;
    bool huge = m->t[i].end_offset - end > 100000;
    if (m == &large && !huge && i % 50 != 0) continue;
    size_t hits[] = {end - 1, end - 3, end - 20};
    for (size_t h = 0; h < 3; h++) {
      if (m == &large && !huge && h != i % 3) continue;
      image[hits[h]] = 'x';
      if (os_write_all(fd, "x", 1, hits[h]) != 0) abort();
      if (!CHECK(check_damaged(m, image, m->log.size, hits[h], 0, true))) {
        printf("  byte %zu, before transaction %zu\n", hits[h], i);
      }
      image[hits[h]] = m->log.data[hits[h]];
      if (os_write_all(fd, &image[hits[h]], 1, hits[h]) != 0) abort();
    }
  }
  free(image);
}

/* A COMMIT of nothing is nothing the engine writes, but it verifies. */
static void commit_of_nothing(void) {
  static model m;
  model_begin(&m);
  model_write(&m, "a", "b", 1, KV_TEXT);
  model_commit(&m);
  model_commit(&m);
  model_commit(&m);
  model_write(&m, "a", "c", 1, KV_TEXT);
  model_commit(&m);
  whole_log_is_read(&m);
  every_bit_flipped(&m);
  buf_free(&m.log);
}

static void lines_one_by_one(void) {
  static const char text[] = "one\n\ntwo\tx\\n\nlast";
  log_reader r;
  char *line;
  size_t size;
  bool ended;
  file_set(text, sizeof text - 1);
  reader_start(&r, sizeof text - 1);
  for (int again = 0; again < 2; again++) { /* back to bytes that were written over */
    CHECK_INT(log_reader_line(&r, 0, &line, &size, &ended), KV_OK);
    CHECK(CHECK_BYTES(line, size, "one", 3) && ended);
    memset(line, '?', size + 1);
    CHECK_INT(log_reader_line(&r, 4, &line, &size, &ended), KV_OK);
    CHECK(size == 0 && ended);
    line[0] = '?';
    CHECK_INT(log_reader_line(&r, 5, &line, &size, &ended), KV_OK);
    CHECK(CHECK_BYTES(line, size, "two\tx\\n", 7) && ended);
    memset(line, '?', size + 1);
    CHECK_INT(log_reader_line(&r, 13, &line, &size, &ended), KV_OK);
    CHECK(CHECK_BYTES(line, size, "last", 4) && !ended);
    memset(line, '?', size + 1);
    CHECK_INT(log_reader_line(&r, 0, &line, &size, &ended), KV_OK);
    CHECK(CHECK_BYTES(line, size, "one", 3) && ended);
    CHECK_INT(log_reader_line(&r, sizeof text - 1, &line, &size, &ended), KV_OK);
    CHECK(size == 0 && !ended);
    CHECK_INT(log_reader_line(&r, 10000, &line, &size, &ended), KV_OK);
    CHECK(size == 0 && !ended);
  }
  log_reader_free(&r);
  reader_start(&r, 0);
  CHECK_INT(log_reader_line(&r, 0, &line, &size, &ended), KV_OK);
  CHECK(size == 0 && !ended);
  log_reader_free(&r);
}

static void zeros_are_told_from_others(void) {
  static const char text[] = "aaaa\0\0\0\0";
  log_reader r;
  bool zeros;
  file_set(text, 8);
  reader_start(&r, 8);
  for (uint64_t offset = 0; offset < 10; offset++) {
    CHECK_INT(log_reader_zeros(&r, offset, &zeros), KV_OK);
    CHECK(zeros == (offset >= 4));
  }
  log_reader_free(&r);
  reader_start(&r, 4);
  CHECK_INT(log_reader_zeros(&r, 0, &zeros), KV_OK);
  CHECK(!zeros);
  log_reader_free(&r);
}

/* ---- faults and bounds ---- */

static os_table os_real;
static long calls_left; /* until the call fails */
static uint64_t bytes_read, reads;

static ssize_t failing_pread(int file, void *data, size_t size, off_t offset) {
  if (calls_left-- <= 0) {
    errno = EIO;
    return -1;
  }
  return os_real.pread(file, data, size, offset);
}

static void *failing_realloc(void *data, size_t size) {
  return calls_left-- <= 0 ? NULL : os_real.realloc(data, size);
}

static ssize_t counting_pread(int file, void *data, size_t size, off_t offset) {
  ssize_t n = os_real.pread(file, data, size, offset);
  if (n > 0) bytes_read += (uint64_t)n;
  reads++;
  return n;
}

/* Each call fails once, with the code it should have; the next try goes through. */
static void faults_are_reported(const model *m, bool memory) {
  log_transaction t;
  log_reader r;
  size_t hit = (size_t)m->t[101].offset - 1; /* the walk back goes beyond the window */
  int want = memory ? KV_ENOMEM : KV_EIO;
  file_set(m->log.data, m->log.size);
  if (os_write_all(fd, "x", 1, hit) != 0) abort();
  os_real = os;
  for (long n = 0;; n++) {
    char *line;
    size_t size;
    bool ended;
    bool failed = false;
    if (memory) os.realloc = failing_realloc;
    if (!memory) os.pread = failing_pread;
    calls_left = n;
    reader_start(&r, m->log.size);
    int rc = log_reader_line(&r, m->t[100].offset, &line, &size, &ended);
    failed |= rc != KV_OK;
    if (rc != KV_OK) CHECK(rc == want && (memory || errno == EIO));
    rc = log_reader_transaction(&r, m->t[1].offset, &t);
    failed |= rc != KV_OK;
    if (rc != KV_OK) CHECK(rc == want && (memory || errno == EIO));
    rc = look_ahead(&r, m->t[99].offset);
    failed |= rc != KV_OK;
    if (rc != KV_OK) CHECK(rc == want && (memory || errno == EIO));
    os = os_real;
    CHECK_INT(log_reader_transaction(&r, m->t[1].offset, &t), KV_OK);
    CHECK(same_transaction(&t, &m->t[1], 0));
    CHECK_INT(look_ahead(&r, m->t[99].offset), KV_OK);
    CHECK_INT(got.count, m->count - 100);
    log_reader_free(&r);
    if (!failed || n > 1000) break;
  }
}

static void file_becomes_shorter(const model *m) {
  log_reader r;
  log_transaction t;
  bool zeros;
  file_set(m->log.data, m->log.size);
  reader_start(&r, m->log.size);
  CHECK_INT(log_reader_transaction(&r, m->t[0].offset, &t), KV_OK);
  if (ftruncate(fd, (off_t)(m->t[102].end_offset - 5)) != 0) abort();
  CHECK_INT(log_reader_transaction(&r, m->t[101].offset, &t), KV_OK);
  CHECK_INT(log_reader_transaction(&r, m->t[102].offset, &t), KV_ETORN);
  CHECK_INT(look_ahead(&r, m->t[99].offset), KV_OK);
  CHECK_INT(got.count, 3);
  CHECK_INT(log_reader_zeros(&r, m->t[105].offset, &zeros), KV_OK);
  CHECK_INT(look_ahead(&r, m->t[105].offset), KV_OK);
  CHECK_INT(got.count, 0);
  log_reader_free(&r);
}

/* Every read in turn finds the file's end: whatever is found is there, and nothing is said to be wrong
** with the reading. */
static ssize_t ending_pread(int file, void *data, size_t size, off_t offset) {
  return calls_left-- == 0 ? 0 : os_real.pread(file, data, size, offset);
}

static void every_read_ends(const model *m) {
  log_reader r;
  size_t hit = (size_t)m->t[101].offset - 1; /* the walk back goes beyond the window */
  file_set(m->log.data, m->log.size);
  if (os_write_all(fd, "x", 1, hit) != 0) abort();
  os_real = os;
  os.pread = ending_pread;
  size_t most = 0;
  for (long n = 0;; n++) {
    calls_left = n;
    reader_start(&r, m->log.size);
    CHECK_INT(look_ahead(&r, m->t[99].offset), KV_OK);
    for (size_t i = 0; i < got.count; i++) CHECK(verifies(m->log.data, &got.t[i]));
    log_reader_free(&r);
    if (got.count > most) most = got.count;
    if (calls_left >= 0 || n > 1000) break;
  }
  os = os_real;
  CHECK_INT(most, m->count - 100);
}

static void lookahead_stops_when_told(const model *m) {
  log_reader r;
  file_set(m->log.data, m->log.size);
  reader_start(&r, m->log.size);
  got = (finds){.most = 3};
  CHECK_INT(log_reader_lookahead(&r, m->header_size, find, &got), KV_OK);
  CHECK_INT(got.count, 3);
  log_reader_free(&r);
}

static void long_line_is_read_in_blocks(const model *m) {
  log_reader r;
  char *line;
  size_t size;
  bool ended;
  file_set(m->log.data, m->log.size);
  os_real = os;
  os.pread = counting_pread;
  reads = 0;
  reader_start(&r, m->log.size);
  CHECK_INT(log_reader_line(&r, m->t[100].offset, &line, &size, &ended), KV_OK);
  CHECK(ended && size > 3 << 20 && size < (3 << 20) + 100);
  CHECK(reads <= 5);
  log_reader_free(&r);
  os = os_real;
}

/* Files made to be slow or to be large in memory: what is read of them is a few times their size,
** and what is kept is a few blocks. */
static void hostile_files_cost_little(void) {
  static const char *const pieces[] = {
      "xCOMMIT\t2\t1\t00000000\n",
      "COMMIT\t2\t1\t00000000\n",
      "WRITE\ta\tb\n",
      "WRITE\tWRITE\t",
      "COMMIT\tCOMMIT\t",
      "COMMIT\t2\t1\t00000000",
      "WRITE\ta\tb\nCOMMIT\t2\t1\t00000000\n",
  };
  size_t pieces_count = sizeof pieces / sizeof *pieces;
  size_t size = 5 << 19;
  char *image = malloc(size);
  if (!CHECK(image != NULL)) return;
  os_real = os;
  os.pread = counting_pread;
  for (size_t i = 0; i <= pieces_count; i++) {
    const char *piece = i < pieces_count ? pieces[i] : ""; /* zeros */
    size_t piece_size = i < pieces_count ? strlen(piece) : 1;
    for (size_t at = 0; at < size; at++) image[at] = piece[at % piece_size];
    if (i == 2 || i == 3) memcpy(image + size - 21, "\nCOMMIT\t2\t1\t00000000\n", 21);
    file_set(image, size);
    log_reader r;
    log_transaction t;
    bytes_read = 0;
    reader_start(&r, size);
    CHECK_INT(log_reader_transaction(&r, 0, &t), KV_ETORN);
    CHECK_INT(look_ahead(&r, 0), KV_OK);
    CHECK_INT(got.count, 0);
    CHECK(bytes_read <= 4 * size);
    CHECK(r.window.room <= 3 << 20);
    log_reader_free(&r);
  }
  os = os_real;
  free(image);
}

int main(void) {
  static const size_t small_sizes[] = {1, 2, 3, 8, 9, 10, 19, 40, 57, 58, 100, 200};
  static const size_t middle_sizes[] = {1, 58, 512, 4096};
  file_open();
  model_small(&small);
  model_random(&middle, 5, 60000, 6000);
  model_random(&wide, 6, 5 << 20, 300000);
  model_large(&large);
  lines_one_by_one();
  zeros_are_told_from_others();
  whole_log_is_read(&small);
  whole_log_is_read(&middle);
  whole_log_is_read(&wide);
  whole_log_is_read(&large);
  torn_at_every_byte(&small);
  every_bit_flipped(&small);
  every_byte_overwritten(&small);
  bytes_cut_out_and_put_in(&small, 1, small_sizes, 12);
  bytes_cut_out_and_put_in(&middle, 997, middle_sizes, 4);
  blocks_damaged(&middle, 512);
  blocks_damaged(&middle, 4096);
  starts_hit(&middle);
  starts_hit(&large);
  commit_of_nothing();
  lookahead_stops_when_told(&small);
  file_becomes_shorter(&large);
  every_read_ends(&large);
  faults_are_reported(&large, false);
  faults_are_reported(&large, true);
  long_line_is_read_in_blocks(&large);
  hostile_files_cost_little();
  buf_free(&small.log);
  buf_free(&middle.log);
  buf_free(&wide.log);
  buf_free(&large.log);
  close(fd);
  return unit_done();
}
