/*
** fuzz_record.c - the lines of a log: what is read is written back byte for byte, and what is written
** is read back the same.
**
** An input that begins with 'K' is a header line. One that begins with 'V' makes a record: its type, a
** keypath and a value, which is spelled by the engine and, by a second set of rules of its own, here.
** Anything else is a line, a COMMIT line included.
*/
#include "crc32c.h"
#include "fuzz_help.h"
#include "keypath.h"
#include "log_format.h"

#include <inttypes.h>
#include <math.h>

#define ID "0123456789abcdef"

/* --- reading and writing back ------------------------------------------------------------------- */

static bool is_within(const char *part, size_t part_size, const char *line, size_t size) {
  return part_size == 0 || (part >= line && part + part_size <= line + size);
}

static void write_record(buf *b, const log_record *r) {
  int rc;
  if (r->op == LOG_WRITE) {
    rc = log_format_write(b, r->key, r->key_size, &r->value);
  } else if (r->op == LOG_DELETE) {
    rc = log_format_delete(b, r->key, r->key_size);
  } else {
    char head[LOG_COMMIT_SIZE_MAX + 1];
    int size =
        snprintf(head, sizeof head, "COMMIT\t%" PRIu64 "\t%" PRIu64 "\t", r->seq, r->durable_seq);
    FUZZ_CHECK((size_t)size == r->crc_offset, "crc at %zu, not %d", r->crc_offset, size);
    rc = buf_append(b, head, (size_t)size);
    if (rc == KV_OK) rc = log_format_commit_end(b, r->crc);
  }
  FUZZ_CHECK(rc == KV_OK, "%d", rc);
}

static void check_line(const uint8_t *data, size_t size) {
  kv_error err = {.code = KV_OK};
  log_record record, commit, silent;
  char *line = fuzz_memory(size + 1), *again = fuzz_memory(size + 1);
  memcpy(line, data, size);
  memcpy(again, data, size);
  line[size] = again[size] = '\n';
  bool is_commit = log_parse_commit(line, size, &commit);
  FUZZ_CHECK(memcmp(line, data, size) == 0, "log_parse_commit has changed the line");
  int rc = log_parse_record(line, size, &record, &err);
  FUZZ_CHECK(rc == log_parse_record(again, size, &silent, NULL), "another result without an error");
  FUZZ_CHECK(rc == KV_OK || rc == KV_EDAMAGED, "%d", rc);
  FUZZ_CHECK((rc == KV_OK && record.op == LOG_COMMIT) == is_commit, "one of two reads a COMMIT");
  if (rc != KV_OK) {
    FUZZ_CHECK(err.code == rc && strncmp(err.text, "malformed line: ", 16) == 0, "'%s'", err.text);
  } else {
    buf b = {0};
    write_record(&b, &record);
    FUZZ_CHECK(b.size == size + 1 && memcmp(b.data, data, size) == 0 && b.data[size] == '\n',
               "written back as '%.*s'", (int)b.size, b.data);
    if (record.op != LOG_COMMIT) {
      FUZZ_CHECK(is_within(record.key, record.key_size + 1, line, size + 1), "key outside");
      FUZZ_CHECK(record.key[record.key_size] == '\0', "key without an end");
    }
    if (record.op == LOG_WRITE && record.value.type >= KV_TEXT) {
      FUZZ_CHECK(is_within(record.value.data, record.value.size, line, size), "value outside");
    }
    buf_free(&b);
  }
  free(line);
  free(again);
}

static void check_header(const uint8_t *data, size_t size) {
  log_header header;
  uint64_t version = 1;
  char *line = fuzz_copy(data, size);
  int rc = log_parse_header(line, size, &header, &version);
  FUZZ_CHECK(memcmp(line, data, size) == 0, "the line was changed");
  FUZZ_CHECK(rc == log_parse_header(line, size, &header, NULL), "another result without a version");
  FUZZ_CHECK((rc == KV_EVERSION) == (version != 1), "%d with version %" PRIu64, rc, version);
  FUZZ_CHECK(rc != KV_EFOREIGN || size < 8 || memcmp(data, "KVSTORE\t", 8) != 0, "foreign");
  if (rc == KV_OK) {
    char out[LOG_HEADER_SIZE_MAX];
    size_t out_size = log_format_header(out, &header);
    FUZZ_CHECK(out_size == size + 1 && memcmp(out, data, size) == 0 && out[size] == '\n',
               "written back as '%.*s'", (int)out_size, out);
  }
  free(line);
}

/* --- writing and reading back ------------------------------------------------------------------- */

/* A keypath as like the bytes as one can be. */
static size_t make_keypath(char *key, size_t size) {
  for (size_t i = 0; i < size; i++) {
    bool separates = key[i] == '/' && i > 0 && i + 1 < size && key[i - 1] != '/';
    if (key[i] == '\0' || (key[i] == '/' && !separates)) key[i] = 'n';
  }
  if (size == 0) key[size++] = 'k';
  for (size_t i = 0; i < size && keypath_check(key, size, NULL) != KV_OK; i++) {
    if ((unsigned char)key[i] >= 0x80) key[i] = (char)('A' + ((unsigned char)key[i] & 15));
  }
  return size;
}

static size_t spell_bytes(char *to, const char *from, size_t size) {
  static const char bytes[] = "\\\t\n\r", letters[] = "\\tnr";
  char *at = to;
  for (size_t i = 0; i < size; i++) {
    const char *found = from[i] != '\0' ? strchr(bytes, from[i]) : NULL;
    if (from[i] == '\0') *at++ = '\\', *at++ = '0';
    if (found != NULL) *at++ = '\\', *at++ = letters[found - bytes];
    if (from[i] != '\0' && found == NULL) *at++ = from[i];
  }
  return (size_t)(at - to);
}

static int spell_real(char *to, size_t room, double real) {
  if (isinf(real)) return snprintf(to, room, real < 0 ? "-Inf" : "Inf");
  int size = 0;
  for (int precision = 15; precision <= 17; precision++) {
    size = snprintf(to, room, "%.*g", precision, real);
    if (strtod(to, NULL) == real) break;
  }
  return size;
}

/* A WRITE line as docs/log-format.md has it. */
static size_t spell(char *to, size_t room, const char *key, size_t key_size, const kv_value *v) {
  static const char *const tails[] = {"\tNULL\n", "\tINTEGER\n", "\tREAL\n", "\n", "\tBLOB\n"};
  char *at = to;
  memcpy(at, "WRITE\t", 6);
  at += 6;
  at += spell_bytes(at, key, key_size);
  *at++ = '\t';
  size_t left = room - (size_t)(at - to);
  if (v->type == KV_INTEGER) at += snprintf(at, left, "%" PRId64, v->integer);
  if (v->type == KV_REAL) at += spell_real(at, left, v->real);
  if (v->type == KV_TEXT || v->type == KV_BLOB) at += spell_bytes(at, v->data, v->size);
  memcpy(at, tails[v->type], strlen(tails[v->type]));
  return (size_t)(at - to) + strlen(tails[v->type]);
}

static bool is_same_value(const kv_value *a, const kv_value *b) {
  if (a->type != b->type) return false;
  if (a->type == KV_INTEGER) return a->integer == b->integer;
  if (a->type == KV_REAL) return memcmp(&a->real, &b->real, sizeof a->real) == 0;
  if (a->type == KV_NULL) return true;
  return a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

/* CRC-32C bit by bit. */
static uint32_t naive_crc(uint32_t crc, const char *data, size_t size) {
  crc = ~crc;
  for (size_t i = 0; i < size; i++) {
    crc ^= (unsigned char)data[i];
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
  }
  return ~crc;
}

static void check_commit(buf *b, uint64_t seq) {
  size_t start = b->size;
  log_record record;
  seq = seq % LOG_SEQ_MAX + 1;
  uint64_t durable_seq = seq / 2;
  FUZZ_CHECK(log_format_commit(b, 0, ID, seq, durable_seq) == KV_OK, "COMMIT");
  size_t size = b->size - start - 1;
  FUZZ_CHECK(log_parse_commit(b->data + start, size, &record), "not a COMMIT");
  FUZZ_CHECK(record.seq == seq && record.durable_seq == durable_seq, "other numbers");
  uint32_t crc = naive_crc(naive_crc(0, ID, LOG_ID_SIZE), b->data, start + record.crc_offset);
  FUZZ_CHECK(record.crc == crc, "checksum %08x, not %08x", record.crc, crc);
}

static void check_value(fuzz_bytes in) {
  kv_value value = {.type = (kv_type)(fuzz_take(&in) % 5)};
  size_t key_size, seq_size = fuzz_take(&in) % 9;
  uint64_t seq = fuzz_take_number(&in, (unsigned)seq_size);
  const char *from = fuzz_take_bytes(&in, fuzz_take(&in), &key_size);
  char *key = fuzz_memory(key_size + 1);
  memcpy(key, from, key_size);
  key_size = make_keypath(key, key_size);
  size_t left = (size_t)(in.end - in.at);
  char *bytes = fuzz_copy(in.at, left);
  if (value.type == KV_INTEGER) value.integer = (int64_t)fuzz_take_number(&in, 8);
  if (value.type == KV_REAL) {
    uint64_t bits = fuzz_take_number(&in, 8);
    memcpy(&value.real, &bits, sizeof bits);
    if (isnan(value.real)) value.real = -0.0;
  }
  if (value.type == KV_TEXT || value.type == KV_BLOB) value.data = bytes, value.size = left;
  size_t room = 2 * (key_size + left) + 100;
  char *want = fuzz_memory(room);
  size_t want_size = spell(want, room, key, key_size, &value);
  buf b = {0};
  log_record record;
  FUZZ_CHECK(log_format_write(&b, key, key_size, &value) == KV_OK, "WRITE");
  FUZZ_CHECK(b.size == want_size && memcmp(b.data, want, want_size) == 0, "'%.*s', not '%.*s'",
             (int)b.size, b.data, (int)want_size, want);
  check_commit(&b, seq);
  FUZZ_CHECK(log_parse_record(b.data, want_size - 1, &record, NULL) == KV_OK, "not read back");
  FUZZ_CHECK(record.op == LOG_WRITE && record.key_size == key_size, "another record");
  FUZZ_CHECK(memcmp(record.key, key, key_size) == 0, "another key");
  FUZZ_CHECK(is_same_value(&record.value, &value), "another value");
  buf_free(&b);
  free(want);
  free(bytes);
  free(key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size > 0 && data[0] == 'V') {
    check_value((fuzz_bytes){.at = data + 1, .end = data + size});
  } else if (size > 0 && data[0] == 'K') {
    check_header(data, size);
  } else {
    check_line(data, size);
  }
  return 0;
}
