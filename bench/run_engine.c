/*
** run_engine.c - this engine without SQL, and some of its parts by themselves. bench.h tells how it is
** run. --set synchronous=FULL|NORMAL|OFF (FULL).
**
**     find         a point get with an open cursor
**     put          a transaction of one write
**     open         opening the log, which reads all of it, and closing it
**     checkpoint   replacing the log by one with what is in it
**     encode       the lines of a transaction of one write, with their checksum
**     crc          CRC-32C of 1,024 bytes
**     request      a SET of the Redis protocol taken to pieces
*/
#include "bench.h"
#include "cli/resp.h"
#include "crc32c.h"
#include "kv.h"
#include "log_format.h"

#include <stdlib.h>
#include <string.h>

#define BUSY_MS 60000u

typedef struct connection {
  kv *db;
  kv_cursor *cursor;
  buf lines;
  resp_parser parser;
  uint64_t (*operation)(struct connection *c, const entry *e);
} connection;

static kv_options how = {.path = "kvstore.dat"};
static uint32_t crc_seen; /* so that no checksum is made for nothing */

static void check(int code, const kv_error *err) {
  if (code != KV_OK) bench_die("kvstore", err->text);
}

static void put_entry(kv *db, const entry *e) {
  kv_error err = {0};
  kv_value value = {.type = KV_TEXT, .data = e->value, .size = e->value_size};
  check(kv_put(db, e->key, e->key_size, &value, NULL, &err), &err);
}

static uint64_t find(connection *c, const entry *e) {
  kv_value value;
  kv_cursor_find(c->cursor, e->key, e->key_size);
  if (!kv_cursor_valid(c->cursor)) return 0;
  kv_cursor_value(c->cursor, &value);
  return value.size > 0;
}

static uint64_t put(connection *c, const entry *e) {
  kv_error err = {0};
  check(kv_begin(c->db, BUSY_MS, &err), &err);
  put_entry(c->db, e);
  check(kv_commit(c->db, 0, &err), &err);
  return 0;
}

static uint64_t reopen(connection *c, const entry *e) {
  kv_error err = {0};
  (void)e;
  kv_cursor_close(c->cursor);
  check(kv_close(c->db, &err), &err);
  check(kv_open(&how, &c->db, NULL, &err), &err);
  check(kv_cursor_open(c->db, &c->cursor, &err), &err);
  return 0;
}

static uint64_t checkpoint(connection *c, const entry *e) {
  kv_error err = {0};
  (void)e;
  check(kv_checkpoint(c->db, &err), &err);
  return 0;
}

static uint64_t encode(connection *c, const entry *e) {
  kv_value value = {.type = KV_TEXT, .data = e->value, .size = e->value_size};
  c->lines.size = 0;
  if (log_format_write(&c->lines, e->key, e->key_size, &value) != KV_OK ||
      log_format_commit(&c->lines, 0, "0123456789abcdef", 1000000, 999999) != KV_OK) {
    bench_die("no memory", NULL);
  }
  return 0;
}

static uint64_t crc(connection *c, const entry *e) {
  static const char bytes[1024];
  (void)c, (void)e;
  crc_seen = crc32c(crc_seen, bytes, sizeof bytes);
  return 0;
}

static uint64_t request(connection *c, const entry *e) {
  static const resp_limits limits = {
      .inline_max = 65536, .args_max = 1024, .bulk_max = 1u << 20, .request_max = 1u << 20};
  static char text[] = "*3\r\n$3\r\nSET\r\n$16\r\ndata/0000012/034\r\n$6\r\ngoober\r\n";
  (void)e;
  resp_reset(&c->parser);
  return resp_parse(&c->parser, &limits, text, sizeof text - 1) == RESP_DONE;
}

static void *engine_open(const bench_options *o) {
  const char *synchronous = bench_setting(o, "synchronous", "FULL");
  kv_error err = {0};
  connection *c = calloc(1, sizeof *c);
  if (c == NULL) abort();
  how.settings.synchronous = strcmp(synchronous, "OFF") == 0      ? KV_SYNC_OFF
                             : strcmp(synchronous, "NORMAL") == 0 ? KV_SYNC_NORMAL
                                                                  : KV_SYNC_FULL;
  how.settings.auto_checkpoint = KV_NEVER;
  check(kv_open(&how, &c->db, NULL, &err), &err);
  check(kv_cursor_open(c->db, &c->cursor, &err), &err);
  return c;
}

static void engine_close(void *connection_) {
  connection *c = connection_;
  kv_cursor_close(c->cursor);
  kv_close(c->db, NULL);
  buf_free(&c->lines);
  resp_free(&c->parser);
  free(c);
}

static void engine_load_begin(void *connection_) {
  connection *c = connection_;
  kv_error err = {0};
  check(kv_begin(c->db, BUSY_MS, &err), &err);
}

static void engine_load(void *connection_, const entry *e) {
  connection *c = connection_;
  put_entry(c->db, e);
}

static void engine_load_end(void *connection_) {
  connection *c = connection_;
  kv_error err = {0};
  check(kv_commit(c->db, 0, &err), &err);
}

static bool engine_select(void *connection_, const char *operation) {
  static const struct {
    const char *name;
    uint64_t (*step)(connection *c, const entry *e);
  } operations[] = {
      {"find", find},     {"put", put}, {"open", reopen},    {"checkpoint", checkpoint},
      {"encode", encode}, {"crc", crc}, {"request", request}};
  connection *c = connection_;
  kv_error err = {0};
  check(kv_cursor_refresh(c->cursor, &err), &err);
  for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
    c->operation = operations[i].step;
    if (strcmp(operations[i].name, operation) == 0) return true;
  }
  return false;
}

static uint64_t engine_step(void *connection_, const entry *e) {
  connection *c = connection_;
  return c->operation(c, e);
}

int main(int argc, char **argv) {
  static const bench_subject engine = {.open = engine_open,
                                       .close = engine_close,
                                       .load_begin = engine_load_begin,
                                       .load = engine_load,
                                       .load_end = engine_load_end,
                                       .select = engine_select,
                                       .step = engine_step};
  return bench_main(argc, argv, &engine);
}
