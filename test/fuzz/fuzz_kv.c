/*
** fuzz_kv.c - what is done to a store in a transaction and around it, against a sorted array.
**
** The first byte says whether the store has a log. Then each byte is something to do, and takes what it
** needs from those behind it: put, delete, savepoints, commit, undo, rollback; cursors that are opened
** at any moment and must see that moment for ever, on the writing handle and on another one; check,
** checkpoint, close and open again.
*/
#include "../unit/tree_model.h"
#include "fuzz_help.h"
#include "kv.h"
#include "os.h"

#include <sys/stat.h>

#define FILE_NAME "fuzz_kv.log"
#define STEPS_MAX 400
#define SAVEPOINTS_MAX 8
#define CURSORS_MAX 4

typedef struct view {
  kv_cursor *cursor; /* NULL: none */
  model seen;
} view;

static kv *db, *reader;
static bool logged;
static model now, committed; /* what the transaction and what everybody sees */
static struct {
  int number;
  model content;
} savepoints[SAVEPOINTS_MAX];
static size_t savepoint_count;
static view views[CURSORS_MAX];

static int no_sync(int fd) {
  (void)fd;
  return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  os.fdatasync = os.fsync = no_sync;
  return 0;
}

static void must(int rc, const kv_error *err) {
  FUZZ_CHECK(rc == KV_OK, "%d: %s", rc, err->text);
}

/* --- keypaths and values from bytes --------------------------------------------------------------- */

static size_t take_key(fuzz_bytes *in, char key[64]) {
  static const char *const segments[] = {"a", "a-b", "a.b", "a0", "b", "\xc3\xa4", "aa", "c"};
  unsigned byte = fuzz_take(in), count = 1 + byte % 4;
  size_t size = 0;
  for (unsigned n = 0; n < count; n++) {
    const char *segment = segments[n == 0 ? byte >> 2 & 7 : fuzz_take(in) & 7];
    if (n > 0) key[size++] = '/';
    memcpy(key + size, segment, strlen(segment));
    size += strlen(segment);
  }
  return size;
}

static kv_value take_value(fuzz_bytes *in) {
  static const unsigned sizes[] = {0, 1, 6, 7, 8, 200, 511, 512, 513, 4000};
  static char data[4000];
  unsigned byte = fuzz_take(in);
  kv_value value = {.type = (kv_type)(byte % 5)};
  if (value.type == KV_INTEGER) value.integer = (int64_t)fuzz_take_number(in, byte / 5 % 9);
  if (value.type == KV_REAL) value.real = (double)fuzz_take(in) / 7;
  if (value.type == KV_TEXT || value.type == KV_BLOB) {
    value.size = sizes[byte / 5 % (sizeof sizes / sizeof *sizes)];
    memset(data, (int)fuzz_take(in), value.size);
    value.data = data;
  }
  return value;
}

/* --- comparing ------------------------------------------------------------------------------------ */

static bool is_entry(const kv_cursor *c, const model *m, size_t at) {
  size_t size;
  kv_value value;
  if (!kv_cursor_valid(c)) return at >= m->count;
  if (at >= m->count) return false;
  const model_entry *entry = m->entries[at];
  const char *key = kv_cursor_key(c, &size);
  kv_cursor_value(c, &value);
  if (size != entry->size || memcmp(key, entry->key, size) != 0 || key[size] != '\0') {
    return false;
  }
  if (value.type != entry->value.type) return false;
  if (value.type == KV_INTEGER) return value.integer == entry->value.integer;
  if (value.type == KV_REAL) return memcmp(&value.real, &entry->value.real, 8) == 0;
  return value.type == KV_NULL ||
         (value.size == entry->value.size &&
          (value.size == 0 || memcmp(value.data, entry->value.data, value.size) == 0));
}

/* Both ways from end to end. */
static void compare(kv_cursor *c, const model *m) {
  size_t at = 0;
  int rc = kv_cursor_first(c);
  for (; kv_cursor_valid(c); rc = kv_cursor_next(c)) {
    FUZZ_CHECK(rc == KV_OK && is_entry(c, m, at), "entry %zu of %zu", at, m->count);
    at++;
  }
  FUZZ_CHECK(at == m->count, "%zu entries, not %zu", at, m->count);
  for (rc = kv_cursor_last(c); kv_cursor_valid(c); rc = kv_cursor_prev(c)) {
    FUZZ_CHECK(rc == KV_OK && at-- > 0 && is_entry(c, m, at), "entry %zu, backward", at);
  }
  FUZZ_CHECK(at == 0, "%zu entries too few, backward", at);
}

/* A key sought in each way, its rank, what is below it, and a step from there. */
static void probe(kv_cursor *c, const model *m, const char *key, size_t size, bool up) {
  bool equal;
  size_t at = model_place(m, key, size, &equal);
  size_t targets[] = {at, equal ? at + 1 : at, equal ? at : at - 1, at - 1}; /* as kv_seek */
  FUZZ_CHECK(kv_cursor_rank(c, key, size) == at, "rank, not %zu", at);
  for (kv_seek how = KV_SEEK_GE; how <= KV_SEEK_LT; how++) {
    size_t i = targets[how];
    FUZZ_CHECK(kv_cursor_seek(c, key, size, how) == KV_OK && is_entry(c, m, i), "seek %d", how);
    if (!kv_cursor_valid(c)) continue;
    i += up ? (size_t)1 : SIZE_MAX;
    FUZZ_CHECK((up ? kv_cursor_next(c) : kv_cursor_prev(c)) == KV_OK && is_entry(c, m, i),
               "a step from seek %d", how);
  }
  FUZZ_CHECK(kv_cursor_at(c, at) == KV_OK && is_entry(c, m, at), "at %zu", at);
  kv_cursor_find(c, key, size);
  FUZZ_CHECK(kv_cursor_valid(c) == equal && (!equal || is_entry(c, m, at)), "find");
  model_nodes nodes = model_list_nodes(m);
  tree_counts want = model_count(m, &nodes, key, size);
  kv_counts got;
  kv_cursor_count(c, key, size, &got);
  FUZZ_CHECK(got.values == want.values && got.nodes == want.nodes && got.children == want.children,
             "counts below '%.*s'", (int)size, key);
  free(nodes.nodes);
}

static void check_handle(kv *handle, const model *m) {
  kv_cursor *c;
  FUZZ_CHECK(kv_cursor_open(handle, &c, NULL) == KV_OK, "cursor");
  compare(c, m);
  kv_cursor_close(c);
}

/* --- transactions --------------------------------------------------------------------------------- */

static void forget_savepoints(size_t keep) {
  while (savepoint_count > keep) model_free(&savepoints[--savepoint_count].content);
}

static void begin(void) {
  kv_error err;
  if (!kv_in_transaction(db)) must(kv_begin(db, 1000, &err), &err);
}

static void put(fuzz_bytes *in) {
  char key[64];
  kv_error err;
  size_t size = take_key(in, key);
  kv_value value = take_value(in);
  bool replaced, had = model_put(&now, key, size, &value);
  begin();
  FUZZ_CHECK(kv_has(db, key, size) == had, "has");
  must(kv_put(db, key, size, &value, &replaced, &err), &err);
  FUZZ_CHECK(replaced == had, "replaced %d", replaced);
}

static void delete (fuzz_bytes *in) {
  char key[64];
  kv_error err;
  size_t size = take_key(in, key);
  bool found, had = model_delete(&now, key, size);
  begin();
  must(kv_delete(db, key, size, &found, &err), &err);
  FUZZ_CHECK(found == had, "found %d", found);
}

static void savepoint(fuzz_bytes *in) {
  kv_error err;
  int last = savepoint_count > 0 ? savepoints[savepoint_count - 1].number : -1;
  int number = last + (int)(fuzz_take(in) % 3);
  if (number < 0 || savepoint_count == SAVEPOINTS_MAX) return;
  begin();
  must(kv_savepoint(db, number, &err), &err);
  if (number == last) return; /* it is there already, and stays as it is */
  savepoints[savepoint_count].number = number;
  model_copy(&savepoints[savepoint_count++].content, &now);
}

static size_t savepoints_below(int number) {
  size_t i = savepoint_count;
  while (i > 0 && savepoints[i - 1].number >= number) i--;
  return i;
}

static void roll_back_to(fuzz_bytes *in) {
  int number = (int)(fuzz_take(in) % 10);
  if (!kv_in_transaction(db)) return;
  kv_rollback_to(db, number);
  size_t keep = savepoints_below(number);
  if (savepoint_count == 0 || savepoints[0].number > number) {
    model_copy(&now, &committed);
    forget_savepoints(0);
  } else if (keep < savepoint_count) {
    model_copy(&now, &savepoints[keep].content);
    forget_savepoints(keep + 1);
  }
}

static void release(fuzz_bytes *in) {
  int number = (int)(fuzz_take(in) % 10);
  if (!kv_in_transaction(db)) return;
  kv_release(db, number);
  forget_savepoints(savepoints_below(number));
}

static void commit(bool undo) {
  kv_error err;
  if (!kv_in_transaction(db)) return;
  bool changes = kv_has_changes(db);
  must(kv_commit(db, undo ? KV_UNDOABLE : 0, &err), &err);
  forget_savepoints(0);
  if (undo && changes) {
    check_handle(db, &now);
    must(kv_undo(db, &err), &err);
    model_copy(&now, &committed);
  } else {
    model_copy(&committed, &now);
  }
}

static void roll_back(void) {
  kv_rollback(db);
  forget_savepoints(0);
  model_copy(&now, &committed);
}

/* --- cursors, and coming and going ---------------------------------------------------------------- */

static void close_view(view *v) {
  if (v->cursor != NULL) kv_cursor_close(v->cursor);
  v->cursor = NULL;
  model_free(&v->seen);
}

static void look(fuzz_bytes *in) {
  unsigned byte = fuzz_take(in);
  view *v = &views[byte % CURSORS_MAX];
  bool other = (byte & 4) != 0 && reader != db;
  char key[64];
  if (v->cursor == NULL) {
    FUZZ_CHECK(kv_cursor_open(other ? reader : db, &v->cursor, NULL) == KV_OK, "cursor");
    model_copy(&v->seen, other ? &committed : &now);
    return;
  }
  size_t size = take_key(in, key);
  if (byte & 8) size -= byte >> 4 & 1; /* a part of one, too */
  probe(v->cursor, &v->seen, key, size, (byte & 32) != 0);
  if (byte & 64) compare(v->cursor, &v->seen);
  if (byte & 128) close_view(v);
}

static void open_store(void) {
  kv_error err;
  kv_options options = {.path = logged ? FILE_NAME : NULL,
                        .settings = {.synchronous = KV_SYNC_FULL, .auto_checkpoint = KV_NEVER}};
  must(kv_open(&options, &db, NULL, &err), &err);
  reader = db;
  if (logged) must(kv_open(&options, &reader, NULL, &err), &err);
}

static void close_store(void) {
  kv_error err;
  roll_back();
  for (size_t i = 0; i < CURSORS_MAX; i++) close_view(&views[i]);
  if (reader != db) must(kv_close(reader, &err), &err);
  must(kv_close(db, &err), &err);
}

static void keep_house(fuzz_bytes *in) {
  kv_error err;
  unsigned byte = fuzz_take(in);
  if (byte % 4 == 0) {
    must(kv_check(db, &err), &err);
  } else if (byte % 4 == 1 && logged && !kv_in_transaction(db)) {
    must(kv_checkpoint(db, &err), &err);
  } else if (byte % 4 == 2 && logged) {
    close_store();
    open_store();
    check_handle(db, &committed);
  } else if (byte % 4 == 3) {
    check_handle(db, &now);
    if (reader != db) check_handle(reader, &committed);
  }
}

static void step(fuzz_bytes *in) {
  unsigned byte = fuzz_take(in);
  switch (byte % 16) {
  case 8:
  case 9:
    delete (in);
    break;
  case 10:
    savepoint(in);
    break;
  case 11:
    (byte & 16 ? release : roll_back_to)(in);
    break;
  case 12:
    commit((byte & 16) != 0);
    break;
  case 13:
    if (byte & 16) roll_back();
    break;
  case 14:
    look(in);
    break;
  case 15:
    keep_house(in);
    break;
  default:
    put(in);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_bytes in = {.at = data, .end = data + size};
  logged = fuzz_take(&in) % 2 == 1;
  (void)unlink(FILE_NAME);
  open_store();
  for (int n = 0; n < STEPS_MAX && !fuzz_is_over(&in); n++) step(&in);
  check_handle(db, &now);
  for (size_t i = 0; i < CURSORS_MAX; i++) {
    if (views[i].cursor != NULL) compare(views[i].cursor, &views[i].seen);
  }
  kv_error err;
  must(kv_check(db, &err), &err);
  close_store();
  if (logged) {
    open_store();
    check_handle(db, &committed);
    close_store();
    (void)unlink(FILE_NAME);
  }
  model_free(&now);
  model_free(&committed);
  return 0;
}
