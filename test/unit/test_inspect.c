/*
** test_inspect.c - inspection tells of any log, whatever happened to it, what opening it would find:
** it covers the file without gap or overlap, never changes it, shows each whole transaction as ok
** wherever it stands, and tells damage exactly where opening refuses, a torn tail exactly where
** opening cuts.
**
** Every image is made from one log whose transactions are known. What inspection has to say of it is
** worked out by searching the image for their bytes: no checksum is summed up here.
*/
#include "crc32c.h"
#include "inspect.h"
#include "kv_help.h"
#include "log_format.h"
#include "log_salvage.h"
#include "os.h"
#include "short_memory.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID "00ff17fe23dc42ba"
#define FILE_NAME "log"
#define TRANSACTIONS 9

static buf whole; /* the log */
static struct {
  size_t offset, end;
  uint64_t seq, durable_seq;
} transactions[TRANSACTIONS];
static size_t header_size;
static int file = -1;
static unsigned long images;

/* --- the log ------------------------------------------------------------------------------------- */

static void write_value(buf *b, const char *key, kv_type type, const char *data, size_t size) {
  kv_value value = {.type = type};
  if (type == KV_INTEGER) value.integer = -(int64_t)size;
  if (type == KV_REAL) value.real = (double)size / 7;
  if (type == KV_TEXT || type == KV_BLOB) {
    value.data = data;
    value.size = size;
  }
  if (log_format_write(b, key, strlen(key), &value) != KV_OK) abort();
}

static void write_commit(buf *b, size_t start, uint64_t seq, uint64_t durable_seq) {
  if (log_format_commit(b, start, ID, seq, durable_seq) != KV_OK) abort();
}

static void write_header(buf *b, uint64_t base_seq) {
  log_header header = {.id = ID, .base_seq = base_seq};
  if (buf_reserve(b, LOG_HEADER_SIZE_MAX) != KV_OK) abort();
  b->size = log_format_header(b->data, &header);
}

/* Every kind of record; durable-seq lags behind by up to two. */
static void make_whole(void) {
  write_header(&whole, 0);
  header_size = whole.size;
  for (int i = 0; i < TRANSACTIONS; i++) {
    size_t start = transactions[i].offset = whole.size;
    char key[] = "k/?";
    key[2] = (char)('0' + i);
    if (i % 4 == 0) write_value(&whole, key, KV_TEXT, "tab\tand\nline \\", 14);
    if (i % 4 == 1) write_value(&whole, key, KV_BLOB, "a\0b", 3);
    if (i % 4 == 2) write_value(&whole, key, KV_INTEGER, NULL, 42);
    if (i % 4 == 3) write_value(&whole, key, KV_NULL, NULL, 0);
    if (i == 5 && log_format_delete(&whole, "k/0", 3) != KV_OK) abort();
    if (i == 6) write_value(&whole, "k/real", KV_REAL, NULL, 22);
    transactions[i].seq = (uint64_t)i + 1;
    transactions[i].durable_seq = (uint64_t)(i - (i > 3 ? i % 3 : 0));
    write_commit(&whole, start, transactions[i].seq, transactions[i].durable_seq);
    transactions[i].end = whole.size;
  }
}

/* --- what is right -------------------------------------------------------------------------------- */

typedef struct span {
  size_t offset;
  inspect_status status;
} span;

/* Up to the next one's offset. */
typedef struct spans {
  span at[400];
  size_t count;
} spans;

static void add(spans *s, size_t offset, inspect_status status) {
  if (s->count == sizeof s->at / sizeof *s->at) abort();
  s->at[s->count++] = (span){.offset = offset, .status = status};
}

static bool is_zero(const char *data, size_t size) {
  for (size_t i = 0; i < size; i++) {
    if (data[i] != 0) return false;
  }
  return true;
}

/* The known transaction that stands first at or behind an offset; -1: none. */
static int find_known(const char *data, size_t size, size_t from, size_t *offset) {
  int best = -1;
  for (int i = 0; i < TRANSACTIONS; i++) {
    size_t length = transactions[i].end - transactions[i].offset;
    const char *at = memmem(data + from, size - from, whole.data + transactions[i].offset, length);
    if (at == NULL || (best >= 0 && (size_t)(at - data) >= *offset)) continue;
    best = i;
    *offset = (size_t)(at - data);
  }
  return best;
}

static uint64_t promised_behind(const char *data, size_t size, size_t from) {
  uint64_t promised = 0;
  size_t at = from;
  for (int i; (i = find_known(data, size, at, &at)) >= 0;) {
    if (transactions[i].durable_seq > promised) promised = transactions[i].durable_seq;
    at += transactions[i].end - transactions[i].offset;
  }
  return promised;
}

/* The statuses of an image that has a header line of ours at its beginning, whole or not. */
static void work_out(const char *data, size_t size, spans *out) {
  bool header = size >= header_size && memcmp(data, whole.data, header_size) == 0, bad = !header;
  uint64_t next = header ? 1 : 0, promised = header ? 0 : promised_behind(data, size, 0);
  size_t at = header ? header_size : 0;
  out->count = 0;
  add(out, 0, header ? INSPECT_HEADER : INSPECT_DAMAGED);
  while (at < size) {
    size_t offset;
    if (at > 0 && is_zero(data + at, size - at)) {
      add(out, at, INSPECT_ROOM);
      return;
    }
    int i = find_known(data, size, at, &offset);
    bool here = i >= 0 && offset == at;
    if (here && next == 0) next = transactions[i].seq;
    if (!here || transactions[i].seq != next) {
      if (!bad) promised = promised_behind(data, size, at);
      bad = true;
      add(out, at, promised >= next ? INSPECT_DAMAGED : INSPECT_TORN);
    } else {
      add(out, at, INSPECT_OK);
    }
    if (here) {
      if (transactions[i].seq >= next) next = transactions[i].seq + 1;
      at += transactions[i].end - transactions[i].offset;
    } else if (i >= 0) {
      if (transactions[i].seq > next) next = transactions[i].seq;
      at = offset;
    } else {
      size_t end = size;
      while (data[end - 1] == 0) end--;
      if (end < size) add(out, end, INSPECT_ROOM);
      return;
    }
  }
}

/* --- checking an image ---------------------------------------------------------------------------- */

typedef struct told {
  int rc; /* of inspect_open, then of inspect_next */
  unsigned rows, torn, damaged, noted;
  size_t covered;
} told;

/* Inspect the file; compare the statuses with the spans, if any are given. */
static told inspect_file(const spans *want) {
  told t = {.rc = KV_OK};
  inspection *i = NULL;
  inspect_row row;
  bool more = false;
  size_t at = 0;
  t.rc = inspect_open(FILE_NAME, &i, &help_err);
  if (t.rc != KV_OK) return t;
  while ((t.rc = inspect_next(i, &row, &more, &help_err)) == KV_OK && more) {
    bool right = row.offset == t.covered && row.size > 0;
    while (want != NULL && at + 1 < want->count && want->at[at + 1].offset <= row.offset) at++;
    if (want != NULL) right = right && row.status == want->at[at].status;
    if (row.status == INSPECT_OK) right = right && row.op != NULL && row.note[0] == '\0';
    if (row.status == INSPECT_DAMAGED || row.status == INSPECT_TORN) {
      right = right && row.note[0] != '\0';
    }
    if (!right) {
      FAIL("row");
      printf("  image %lu: offset %d, size %d, status %d, %s\n", images, (int)row.offset,
             (int)row.size, (int)row.status, row.note);
    }
    t.rows++;
    t.torn += row.status == INSPECT_TORN;
    t.damaged += row.status == INSPECT_DAMAGED;
    t.noted += row.note[0] != '\0';
    t.covered += row.size;
    if (t.rows > 10000) break;
  }
  inspect_close(i);
  return t;
}

static void put_file(const char *data, size_t size) {
  images++;
  if (pwrite(file, data, size, 0) != (ssize_t)size || ftruncate(file, (off_t)size) != 0) abort();
}

static void check_unchanged(const char *data, size_t size) {
  char *now = malloc(size + 1);
  ssize_t got = pread(file, now, size + 1, 0);
  bool same = got == (ssize_t)size && memcmp(now, data, size) == 0;
  if (!same) FAIL("file changed");
  free(now);
}

/* What opening, read-only, says of the file. */
static int open_file(bool *torn) {
  kv *db = NULL;
  kv_options options = help_options(FILE_NAME, KV_SYNC_FULL, 1, 10);
  options.readonly = true;
  int rc = kv_open(&options, &db, NULL, &help_err);
  *torn = rc == KV_OK && help_stats(db).torn_bytes > 0;
  if (rc == KV_OK) (void)kv_close(db, NULL);
  return rc;
}

/* Inspect the image, open it, and compare. */
static told check_image(const char *data, size_t size, const spans *want) {
  bool torn;
  put_file(data, size);
  told t = inspect_file(want);
  int opened = open_file(&torn);
  check_unchanged(data, size);
  bool right = t.rc != KV_OK           ? opened == t.rc
               : opened == KV_OK       ? t.damaged == 0 && (t.torn > 0) == torn
               : opened == KV_EFOREIGN ? t.damaged == 0 && t.torn == 0 && t.noted > 0
                                       : opened == KV_EDAMAGED && t.damaged > 0;
  if (t.rc == KV_OK) right = right && t.covered == size;
  if (!CHECK(right)) {
    printf("  image %lu: told %d, %u rows, %u torn, %u damaged, %zu of %zu bytes; opened: %d %s\n",
           images, t.rc, t.rows, t.torn, t.damaged, t.covered, size, opened, torn ? "torn" : "");
  }
  return t;
}

/* An image of the whole log with something done to it. */
static void check_made(const char *data, size_t size) {
  spans want;
  bool ours = size >= 10 && memcmp(data, "KVSTORE\t1\t", 10) == 0;
  bool id = size >= 27 && memcmp(data, whole.data, 27) == 0;
  if (ours && id) work_out(data, size, &want);
  (void)check_image(data, size, ours && id ? &want : NULL);
}

/* --- damage ---------------------------------------------------------------------------------------- */

static char scratch[8192];

static void every_bit_flipped(void) {
  for (size_t bit = 0; bit < whole.size * 8; bit++) {
    memcpy(scratch, whole.data, whole.size);
    scratch[bit / 8] ^= (char)(1 << bit % 8);
    check_made(scratch, whole.size);
  }
}

/* Cut off at every byte, without and with zeros behind. */
static void every_end(void) {
  for (size_t size = 0; size <= whole.size; size++) {
    memcpy(scratch, whole.data, size);
    memset(scratch + size, 0, 100);
    check_made(scratch, size);
    if (size > 0) check_made(scratch, size + 100);
  }
}

static void every_block_zeroed(void) {
  static const size_t sizes[] = {1, 5, 33, 64, 200};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    for (size_t at = 0; at + sizes[i] <= whole.size; at += i < 2 ? 1 : 7) {
      memcpy(scratch, whole.data, whole.size);
      memset(scratch + at, 0, sizes[i]);
      check_made(scratch, whole.size);
    }
  }
}

static void append_transaction(size_t *size, unsigned number) {
  size_t length = transactions[number].end - transactions[number].offset;
  memcpy(scratch + *size, whole.data + transactions[number].offset, length);
  *size += length;
}

/* Whole transactions in a wrong order, missing or doubled: every choice of six out of seven. */
static void wrong_order(void) {
  unsigned all = 1;
  for (int i = 0; i < 6; i++) all *= 7;
  for (unsigned n = 0; n < all; n += 13) {
    size_t size = header_size;
    memcpy(scratch, whole.data, header_size);
    for (unsigned i = 0, rest = n; i < 6; i++, rest /= 7) append_transaction(&size, (rest + i) % 7);
    check_made(scratch, size);
  }
}

/* Blocks doubled, swapped, cut out, overwritten with noise; up to three times. */
static void random_damage(uint64_t *state) {
  size_t size = whole.size;
  memcpy(scratch, whole.data, size);
  for (uint64_t n = 1 + unit_random(state) % 3; n > 0; n--) {
    size_t length = 1 + (size_t)(unit_random(state) % 120), from, to;
    from = (size_t)(unit_random(state) % (size - length));
    to = (size_t)(unit_random(state) % (size - length));
    switch (unit_random(state) % 5) {
    case 0: /* doubled in place of another */
      memmove(scratch + to, scratch + from, length);
      break;
    case 1: /* cut out */
      memmove(scratch + from, scratch + from + length, size - from - length);
      size -= length;
      break;
    case 2: /* put in */
      memmove(scratch + from + length, scratch + from, size - from);
      size += length;
      break;
    case 3:
      for (size_t i = 0; i < length; i++) scratch[from + i] = (char)unit_random(state);
      break;
    default: /* swapped */
      for (size_t i = 0; i < length && to + i < size && from + i < size; i++) {
        char byte = scratch[from + i];
        scratch[from + i] = scratch[to + i];
        scratch[to + i] = byte;
      }
    }
  }
  check_made(scratch, size);
}

/* --- single images --------------------------------------------------------------------------------- */

/* The rows' offsets, sizes, statuses and what they show, by example. */
static void rows_by_example(void) {
  static const inspect_status statuses[] = {INSPECT_HEADER,  INSPECT_OK,      INSPECT_OK,
                                            INSPECT_DAMAGED, INSPECT_DAMAGED, INSPECT_OK};
  inspection *i = NULL;
  inspect_row row;
  bool more;
  memcpy(scratch, whole.data, whole.size);
  scratch[transactions[1].offset + 8] ^= 1;
  put_file(scratch, whole.size);
  if (!CHECK(inspect_open(FILE_NAME, &i, &help_err) == KV_OK)) return;
  for (int n = 0; n < 6; n++) {
    CHECK(inspect_next(i, &row, &more, &help_err) == KV_OK && more);
    CHECK_INT(row.status, statuses[n]);
    if (n == 0) CHECK_STR(row.op, "KVSTORE");
    if (n == 1) CHECK_BYTES(row.key, row.key_size, "k/0", 3);
    if (n == 1) CHECK_BYTES(row.value.data, row.value.size, "tab\tand\nline \\", 14);
    if (n == 1) CHECK(row.seq == 1 && row.has_value && row.value.type == KV_TEXT);
    if (n == 2) CHECK_STR(row.op, "COMMIT");
    if (n == 3) CHECK_STR(row.note, "transaction 2 does not verify, though it was durable");
    if (n == 3) CHECK_BYTES(row.key, row.key_size, "k/0", 3);
    if (n == 5) CHECK(row.seq == 3 && row.value.type == KV_INTEGER && row.value.integer == -42);
  }
  inspect_close(i);
}

/* Files that are no logs of ours, or another kind. */
static void others(void) {
  static const char original[] = "WRITE\ta\tx\n\nWRITE\tb/c\ty\tz\n",
                    bad[] = "WRITE\ta\tx\nDELETE\ta\n", newer[] = "KVSTORE\t2\tanything\n",
                    foreign[] = "SQLite format 3";
  inspection *i = NULL;
  CHECK(check_image("", 0, NULL).rows == 0);
  told t = check_image(original, sizeof original - 1, NULL);
  CHECK(t.rows == 3 && t.noted == 0);
  CHECK(check_image(original, sizeof original - 2, NULL).rows == 3);
  CHECK(check_image(bad, sizeof bad - 1, NULL).noted == 1);
  CHECK_INT(check_image(newer, sizeof newer - 1, NULL).rc, KV_EVERSION);
  CHECK_INT(check_image(foreign, sizeof foreign, NULL).rc, KV_EFOREIGN);
  memset(scratch, 0, 5000);
  CHECK_INT(check_image(scratch, 5000, NULL).rc, KV_EFOREIGN);
  CHECK_INT(check_image(whole.data, header_size - 1, NULL).damaged, 1);
  CHECK_INT(inspect_open("missing", &i, &help_err), KV_ECANTOPEN);
  CHECK_STR(help_err.text, "cannot open 'missing': No such file or directory");
  CHECK_INT(inspect_open(".", &i, &help_err), KV_ECANTOPEN);
  CHECK_STR(help_err.text, "'.' is not a regular file");
  CHECK_INT(inspect_open("/dev/null", &i, &help_err), KV_ECANTOPEN);
  alarm(20); /* opening a FIFO that nobody writes must not wait */
  CHECK(mkfifo("fifo", 0600) == 0);
  CHECK_INT(inspect_open("fifo", &i, &help_err), KV_ECANTOPEN);
  alarm(0);
  CHECK(i == NULL);
}

static void append(buf *b, const char *text) {
  if (buf_reserve(b, strlen(text)) != KV_OK) abort();
  memcpy(b->data + b->size, text, strlen(text));
  b->size += strlen(text);
}

/* Checksums that are right over lines that are not: no writer makes them, but a file can hold them. */
static void lines_that_no_writer_makes(void) {
  static const char *const lines[] = {"WRITE\ta//b\tx\n", "WRITE\ta\n",   "\n",
                                      "COMMIT\tx\n",      "KVSTORE\t1\n", "WRITE\ta\tx\tREAL\n"};
  for (size_t n = 0; n < sizeof lines / sizeof *lines; n++) {
    for (int torn = 0; torn < 2; torn++) {
      buf b = {0};
      write_header(&b, 7);
      if (torn) append(&b, "WRITE\tz\tunfinished\n");
      for (uint64_t seq = 8; seq < 10; seq++) {
        size_t start = b.size;
        append(&b, lines[n]);
        write_commit(&b, start, seq, 7);
      }
      told t = check_image(b.data, b.size, NULL);
      CHECK(t.rc == KV_OK && t.rows >= 5);
      buf_free(&b);
    }
  }
}

/* Lines longer than what is read at a time, and room of that size, with damage in between. */
static void long_lines(void) {
  const size_t size = (size_t)3 << 20;
  char *data = malloc(size);
  buf b = {0};
  memset(data, 'x', size);
  write_header(&b, 0);
  size_t starts[4];
  for (uint64_t seq = 1; seq <= 4; seq++) {
    starts[seq - 1] = b.size;
    write_value(&b, "long", KV_TEXT, data, seq % 2 == 0 ? size : 10);
    write_commit(&b, starts[seq - 1], seq, seq - 1);
  }
  told t = check_image(b.data, b.size, NULL);
  CHECK(t.rows == 9 && t.torn + t.damaged == 0);
  b.data[starts[1] + size / 2] = '\n';
  t = check_image(b.data, b.size, NULL);
  CHECK(t.rows == 10 && t.damaged == 3);
  memset(b.data + starts[3] + 100, 0, b.size - starts[3] - 100);
  b.data[starts[1] + size / 2] = 'x';
  t = check_image(b.data, b.size, NULL);
  CHECK(t.rows == 9 && t.torn == 1); /* and the room behind what is torn */
  free(data);
  buf_free(&b);
}

/* --- failures ---------------------------------------------------------------------------------------- */

static int opened;

static int counted_open(const char *path, int flags, mode_t mode) {
  int fd = open(path, flags, mode);
  opened += fd >= 0;
  return fd;
}

static int counted_close(int fd) {
  opened--;
  return close(fd);
}

static ssize_t bad_pread(int fd, void *data, size_t size, off_t offset) {
  if (refuse()) {
    errno = EIO;
    return -1;
  }
  return pread(fd, data, size, offset);
}

static int bad_fstat(int fd, struct stat *out) {
  if (refuse()) {
    errno = EIO;
    return -1;
  }
  return fstat(fd, out);
}

/* Every call that can fail does: the error comes out, nothing leaks, and the rows before it were
** right. */
static void every_call_fails_on(const char *data, size_t size, const spans *want, int code) {
  put_file(data, size);
  for (long n = 0;; n++) {
    calls_left = n;
    told t = inspect_file(want);
    calls_left = -1;
    CHECK_INT(blocks, 0);
    CHECK_INT(opened, 0);
    if (t.rc == KV_OK) {
      CHECK(n > 1 && t.covered == size);
      break;
    }
    bool says = code == KV_ENOMEM ? strstr(help_err.text, "out of memory") != NULL
                                  : strstr(help_err.text, "of 'log' failed: Input/output") != NULL;
    if (!CHECK(t.rc == code && help_err.code == code && says)) {
      printf("  it says: %s\n", help_err.text);
    }
  }
}

/* More than is read at a time: transactions, damage, one that is torn, and room. */
static buf make_large(void) {
  buf b = {0};
  char *data = malloc(1100000);
  if (data == NULL) abort();
  memset(data, 'x', 1100000);
  write_header(&b, 0);
  for (uint64_t seq = 1; seq <= 6; seq++) {
    size_t start = b.size;
    write_value(&b, "k", KV_TEXT, data, seq % 4 == 2 ? 1100000 : 10);
    write_commit(&b, start, seq, seq > 5 ? 4 : seq - 1);
    if (seq == 2 || seq == 5) b.data[start + 7] = 'y';
  }
  if (buf_reserve(&b, 1100000) != KV_OK) abort();
  memset(b.data + b.size, 0, 1100000);
  b.size += 1100000;
  free(data);
  return b;
}

static void every_call_fails(const buf *large, int code) {
  spans want;
  memcpy(scratch, whole.data, whole.size);
  scratch[transactions[2].offset + 8] ^= 1;
  scratch[transactions[7].offset + 8] ^= 1;
  work_out(scratch, whole.size, &want);
  every_call_fails_on(scratch, whole.size, &want, code);
  scratch[10] ^= 1; /* the header, in its id: that is found out */
  every_call_fails_on(scratch, whole.size, NULL, code);
  every_call_fails_on(large->data, large->size, NULL, code);
}

/* What others write comes into an inspection, or it is said why not. */
static void refreshing(void) {
  inspection *i = NULL;
  bool shorter;
  put_file(whole.data, whole.size);
  MUST(inspect_open(FILE_NAME, &i, &help_err));
  calls_left = 0;
  CHECK_INT(inspect_refresh(i, &shorter, &help_err), KV_EIO);
  calls_left = -1;
  MUST(inspect_refresh(i, &shorter, &help_err));
  CHECK(!shorter);
  inspect_close(i);
}

/* --- an id that is not known -------------------------------------------------------------------------- */

/* The one with `id` if it is not NULL, each of the others under an id of its own. */
static void add_strange(buf *b, int count, const char *id, uint64_t *seq) {
  for (int i = 0; i < count; i++) {
    char own[LOG_ID_SIZE + 1];
    size_t start = b->size;
    (void)snprintf(own, sizeof own, "%016x", 0x1000 + (int)*seq);
    write_value(b, "k", KV_INTEGER, NULL, (size_t)*seq);
    if (log_format_commit(b, start, id != NULL ? id : own, *seq, *seq - 1) != KV_OK) abort();
    ++*seq;
  }
}

static bool salvages(const buf *b, char id[LOG_ID_SIZE + 1]) {
  bool found = false;
  put_file(b->data, b->size);
  (void)strcpy(id, "ffffffffffffffff");
  CHECK_INT(log_salvage_id(file, id, &found), KV_OK);
  return found;
}

/* The transactions at the beginning decide, and only those: where they do not agree there is no id. */
static void salvaging(void) {
  buf b = {0};
  char id[LOG_ID_SIZE + 1];
  uint64_t seq = 1;
  add_strange(&b, 20, NULL, &seq);
  CHECK(!salvages(&b, id));
  CHECK_STR(id, "ffffffffffffffff");
  add_strange(&b, 2, ID, &seq);
  CHECK(salvages(&b, id));
  CHECK_INT(crc32c(0, id, LOG_ID_SIZE), crc32c(0, ID, LOG_ID_SIZE));
  b.size = 0;
  add_strange(&b, 70, NULL, &seq); /* more than are compared */
  add_strange(&b, 2, ID, &seq);
  CHECK(!salvages(&b, id));
  b.size = 0;
  write_commit(&b, 0, 1, 0); /* of nothing, on the first line: no lines start behind another */
  add_strange(&b, 2, ID, &seq);
  CHECK(salvages(&b, id));
  b.size = 0;
  if (buf_reserve(&b, LOG_SALVAGE_SIZE_MAX) != KV_OK) abort();
  memset(b.data, 'x', LOG_SALVAGE_SIZE_MAX);
  b.data[0] = '\n';
  b.size = LOG_SALVAGE_SIZE_MAX - 100;
  b.data[b.size - 1] = '\n';
  add_strange(&b, 2, ID, &seq); /* the second goes beyond what is looked at */
  add_strange(&b, 4, ID, &seq);
  CHECK(!salvages(&b, id));
  buf_free(&b);
}

static uint64_t bytes_read;

static ssize_t counted_pread(int fd, void *data, size_t size, off_t offset) {
  ssize_t got = pread(fd, data, size, offset);
  if (got > 0) bytes_read += (uint64_t)got;
  return got;
}

/* A thousand damaged places cost no more than a few readings of the file. */
static void many_places(void) {
  buf b = {0};
  char data[4000];
  memset(data, 'x', sizeof data);
  write_header(&b, 0);
  for (uint64_t seq = 1; seq <= 2000; seq++) {
    size_t start = b.size;
    write_value(&b, "k", KV_TEXT, data, sizeof data);
    write_commit(&b, start, seq, seq - 1);
    if (seq % 2 == 0) b.data[start + 100] = 'y';
  }
  put_file(b.data, b.size);
  told t = inspect_file(NULL);
  CHECK_INT(t.damaged + t.torn, 2000);
  CHECK_INT(t.torn, 2); /* the last */
  CHECK(bytes_read < 10 * b.size);
  buf_free(&b);
}

/* The second transaction is written while the file is read: its last bytes come as zeros, once. */
static ssize_t early_pread(int fd, void *data, size_t size, off_t offset) {
  ssize_t got = pread(fd, data, size, offset);
  size_t end = transactions[1].end;
  if (offset != 0 || got < (ssize_t)end || (size_t)got <= LOG_HEADER_SIZE_MAX) return got;
  memset((char *)data + end - 10, 0, 10);
  os.pread = pread;
  return got;
}

static void written_meanwhile(void) {
  put_file(whole.data, whole.size);
  spans want;
  work_out(whole.data, whole.size, &want);
  os.pread = early_pread;
  told t = inspect_file(&want);
  CHECK(os.pread == pread);
  CHECK_INT(t.torn + t.damaged, 0);
}

static int no_sync(int fd) {
  (void)fd;
  return 0;
}

int main(void) {
  uint64_t state = 20240611;
  os.fdatasync = os.fsync = no_sync;
  file = open(FILE_NAME, O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (!CHECK(file >= 0)) return unit_done();
  make_whole();
  check_made(whole.data, whole.size);
  rows_by_example();
  others();
  every_bit_flipped();
  every_end();
  every_block_zeroed();
  wrong_order();
  for (int i = 0; i < 5000; i++) random_damage(&state);
  lines_that_no_writer_makes();
  long_lines();
  salvaging();
  os.pread = counted_pread;
  many_places();
  os.pread = pread;
  written_meanwhile();
  buf large = make_large();
  os.open = counted_open;
  os.close = counted_close;
  os.malloc = short_malloc;
  os.realloc = short_realloc;
  os.free = counted_free;
  every_call_fails(&large, KV_ENOMEM);
  os.malloc = malloc;
  os.realloc = realloc;
  os.free = free;
  os.pread = bad_pread;
  os.fstat = bad_fstat;
  every_call_fails(&large, KV_EIO);
  refreshing();
  printf("%lu images\n", images);
  buf_free(&whole);
  buf_free(&large);
  return unit_done();
}
