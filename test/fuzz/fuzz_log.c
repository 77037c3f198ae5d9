/*
** fuzz_log.c - any bytes as a log: everything that looks at them says the same, and what can be opened
** stays what it is.
**
** The bytes are a file, in a folder of their own. Then
**   - inspection tells each of its bytes once, and what has happened to it; `kvstore check` and
**     opening say the same;
**   - what opening finds is what the lines say that inspection calls sound;
**   - opened for writing it has the same content, also after a write and a checkpoint, each time it is
**     opened again; a torn tail is kept beside it, byte for byte;
**   - what is refused is left as it is;
**   - repair makes a log that opens, of everything that inspection says is whole.
**
** Nothing is flushed, and what is random is always the same.
*/
#include "../unit/tree_model.h"
#include "cli/tool.h"
#include "fuzz_help.h"
#include "inspect.h"
#include "kv.h"
#include "log_format.h"
#include "os.h"
#include "repair.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <time.h>

#define FOLDER "fuzz_log.files"
#define LOG FOLDER "/log"
#define REPAIRED FOLDER "/repaired"

/* --- surroundings ---------------------------------------------------------------------------------- */

static uint64_t random_count;
static FILE *silence;

static int no_sync(int fd) {
  (void)fd;
  return 0;
}

static int same_random(void *data, size_t size) {
  for (size_t i = 0; i < size; i++) ((uint8_t *)data)[i] = (uint8_t)(random_count++ * 37 >> 3);
  return 0;
}

/* `kvstore check` looks a moment later again whether a torn tail is an append under way. */
int nanosleep(const struct timespec *time, struct timespec *left) {
  (void)time, (void)left;
  return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  os.fdatasync = os.fsync = no_sync;
  os.random = same_random;
  (void)mkdir(FOLDER, 0755);
  silence = fopen("/dev/null", "w");
  FUZZ_CHECK(silence != NULL, "/dev/null");
  return 0;
}

static void empty_folder(void) {
  DIR *folder = opendir(FOLDER);
  FUZZ_CHECK(folder != NULL, "the folder is gone");
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    if (entry->d_name[0] != '.') (void)unlinkat(dirfd(folder), entry->d_name, 0);
  }
  closedir(folder);
  random_count = 0;
}

static void put_file(const uint8_t *data, size_t size) {
  int fd = open(LOG, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size, "writing the log");
  close(fd);
}

static void check_file(const char *path, const uint8_t *data, size_t size) {
  char *now = fuzz_memory(size + 1);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  FUZZ_CHECK(fd >= 0, "'%s' is missing", path);
  ssize_t got = read(fd, now, size + 1);
  FUZZ_CHECK(got == (ssize_t)size && memcmp(now, data, size) == 0, "'%s' is another", path);
  close(fd);
  free(now);
}

/* --- inspecting ------------------------------------------------------------------------------------ */

/* What inspection tells. */
typedef struct told {
  int rc;
  unsigned torn, damaged, noted, room;
  uint64_t bad_offset; /* of the first line that is torn or damaged */
  uint64_t whole;      /* transactions that verify and have no line that is none */
  uint64_t last_seq;   /* the highest number of these */
  model content;       /* up to there */
} told;

static void take_sound(told *t, model *draft, const inspect_row *row) {
  if (row->op == NULL || strcmp(row->op, "KVSTORE") == 0) return;
  if (strcmp(row->op, "COMMIT") == 0) {
    model_copy(&t->content, draft);
  } else if (strcmp(row->op, "DELETE") == 0) {
    (void)model_delete(draft, row->key, row->key_size);
  } else {
    (void)model_put(draft, row->key, row->key_size, &row->value);
    if (row->status == INSPECT_ORIGINAL) model_copy(&t->content, draft);
  }
}

static void take_row(told *t, model *draft, const inspect_row *row) {
  bool bad = row->status == INSPECT_TORN || row->status == INSPECT_DAMAGED;
  FUZZ_CHECK(!bad || row->note[0] != '\0', "nothing is said of byte %" PRIu64, row->offset);
  FUZZ_CHECK(row->status != INSPECT_OK || (row->op != NULL && row->note[0] == '\0'),
             "sound, but '%s'", row->note);
  if (bad && t->torn + t->damaged == 0) t->bad_offset = row->offset;
  t->torn += row->status == INSPECT_TORN;
  t->damaged += row->status == INSPECT_DAMAGED;
  t->room += row->status == INSPECT_ROOM;
  t->noted += row->note[0] != '\0' && row->status != INSPECT_ROOM;
  if (t->torn + t->damaged == 0) take_sound(t, draft, row);
}

/* Transactions in which nothing is malformed, wherever they stand. */
typedef struct whole_run {
  uint64_t place;
  bool any, malformed;
} whole_run;

static void count_whole(told *t, whole_run *run, const inspect_row *row) {
  if (!run->any || run->place != row->place) {
    *run = (whole_run){.any = true, .place = row->place};
  }
  if (row->op == NULL) run->malformed = true;
  bool ends = row->op != NULL && strcmp(row->op, "COMMIT") == 0;
  if (!row->whole || !ends || run->malformed) return;
  t->whole++;
  if (row->seq > t->last_seq) t->last_seq = row->seq;
}

static told inspect_file(const char *path, size_t size) {
  told t = {0};
  model draft = {0};
  whole_run run = {0};
  inspection *i;
  inspect_row row;
  bool more;
  uint64_t at = 0;
  kv_error err = {.code = KV_OK};
  t.rc = inspect_open(path, &i, &err);
  FUZZ_CHECK(t.rc == err.code && (t.rc == KV_OK || err.text[0] != '\0'), "%d: '%s'", t.rc,
             err.text);
  if (t.rc != KV_OK) return t;
  while ((t.rc = inspect_next(i, &row, &more, &err)) == KV_OK && more) {
    FUZZ_CHECK(row.offset == at && row.size > 0, "from %" PRIu64 " to %" PRIu64, at, row.offset);
    at += row.size;
    take_row(&t, &draft, &row);
    count_whole(&t, &run, &row);
  }
  FUZZ_CHECK(t.rc == KV_OK, "inspection failed: %s", err.text);
  FUZZ_CHECK(at == size, "%" PRIu64 " bytes of %zu are told", at, size);
  inspect_close(i);
  model_free(&draft);
  return t;
}

/* --- opening --------------------------------------------------------------------------------------- */

static int open_log(const char *path, bool readonly, kv **db, kv_error *notice) {
  kv_options options = {.path = path,
                        .readonly = readonly,
                        .settings = {.synchronous = KV_SYNC_FULL, .group_size = 1}};
  kv_error err = {.code = KV_OK};
  int rc = kv_open(&options, db, notice, &err);
  FUZZ_CHECK(rc == err.code && (rc == KV_OK || err.text[0] != '\0'), "%d: '%s'", rc, err.text);
  return rc;
}

static void check_content(kv *db, const model *want, const char *when) {
  kv_cursor *c;
  size_t n = 0;
  FUZZ_CHECK(kv_cursor_open(db, &c, NULL) == KV_OK, "%s", when);
  for (int rc = kv_cursor_first(c); kv_cursor_valid(c); rc = kv_cursor_next(c), n++) {
    size_t size;
    kv_value value;
    const char *key = kv_cursor_key(c, &size);
    kv_cursor_value(c, &value);
    FUZZ_CHECK(rc == KV_OK && n < want->count, "%s: '%s' is one too many", when, key);
    const model_entry *entry = want->entries[n];
    FUZZ_CHECK(entry->size == size && memcmp(entry->key, key, size) == 0, "%s: '%s', not '%.*s'",
               when, key, (int)entry->size, entry->key);
    bool same = value.type == entry->value.type;
    if (same && value.type == KV_INTEGER) same = value.integer == entry->value.integer;
    if (same && value.type == KV_REAL) same = memcmp(&value.real, &entry->value.real, 8) == 0;
    if (same && value.type >= KV_TEXT) {
      same = value.size == entry->value.size &&
             (value.size == 0 || memcmp(value.data, entry->value.data, value.size) == 0);
    }
    FUZZ_CHECK(same, "%s: another value at '%s'", when, key);
  }
  FUZZ_CHECK(n == want->count, "%s: %zu keys, not %zu", when, n, want->count);
  kv_cursor_close(c);
}

static void close_log(kv *db) {
  kv_error err;
  FUZZ_CHECK(kv_close(db, &err) == KV_OK, "%s", err.text);
}

static void check_opens(const char *path, const model *want, const char *when) {
  kv *db;
  FUZZ_CHECK(open_log(path, true, &db, NULL) == KV_OK, "%s", when);
  check_content(db, want, when);
  close_log(db);
}

/* --- writing --------------------------------------------------------------------------------------- */

static void must(int rc, const kv_error *err) {
  FUZZ_CHECK(rc == KV_OK, "%d: %s", rc, err->text);
}

/* One transaction: the first key goes, another one comes. Where the numbers have come to their end it
** is refused. */
static void write_some(kv *db, model *content) {
  static const char key[] = "fuzz/new";
  kv_error err;
  kv_value value = {.type = KV_INTEGER, .integer = 42};
  bool full = kv_handed_seq(db) == LOG_SEQ_MAX;
  must(kv_begin(db, 1000, &err), &err);
  if (content->count > 0) {
    model_entry *first = content->entries[0];
    must(kv_delete(db, first->key, first->size, NULL, &err), &err);
    if (!full) (void)model_delete(content, first->key, first->size);
  }
  must(kv_put(db, key, sizeof key - 1, &value, NULL, &err), &err);
  int rc = kv_commit(db, 0, &err);
  if (full) {
    FUZZ_CHECK(rc == KV_EFULL, "%d behind the last number", rc);
    return;
  }
  must(rc, &err);
  (void)model_put(content, key, sizeof key - 1, &value);
}

static void check_sound(const char *path) {
  struct stat facts;
  FUZZ_CHECK(stat(path, &facts) == 0, "'%s' is missing", path);
  told t = inspect_file(path, (size_t)facts.st_size);
  FUZZ_CHECK(t.rc == KV_OK && t.torn + t.damaged + t.noted == 0, "%d: %u torn, %u damaged", t.rc,
             t.torn, t.damaged);
  model_free(&t.content);
}

/* What opens for reading opens for writing. */
static void check_writing(const uint8_t *data, const told *t, uint64_t torn_bytes) {
  kv *db;
  kv_error notice = {.code = KV_OK}, err;
  model content = {0};
  model_copy(&content, &t->content);
  FUZZ_CHECK(open_log(LOG, false, &db, &notice) == KV_OK, "does not open for writing");
  FUZZ_CHECK((notice.code != KV_OK) == (torn_bytes > 0), "'%s'", notice.text);
  check_content(db, &content, "for writing");
  must(kv_check(db, &err), &err);
  write_some(db, &content);
  check_content(db, &content, "after a write");
  if (torn_bytes > 0) {
    char name[100];
    (void)snprintf(name, sizeof name, LOG "-torn-%" PRIu64, t->bad_offset);
    check_file(name, data + t->bad_offset, (size_t)torn_bytes);
  }
  close_log(db);
  check_sound(LOG);
  check_opens(LOG, &content, "opened again");
  FUZZ_CHECK(open_log(LOG, false, &db, NULL) == KV_OK, "does not open again");
  check_content(db, &content, "for writing again");
  must(kv_checkpoint(db, &err), &err);
  write_some(db, &content);
  must(kv_check(db, &err), &err);
  close_log(db);
  check_sound(LOG);
  check_opens(LOG, &content, "after a checkpoint");
  model_free(&content);
}

/* --- repairing ------------------------------------------------------------------------------------- */

static void check_losses(const repair *r, const repair_summary *s, size_t size) {
  uint64_t lost = 0, at = 0;
  for (size_t i = 0; i < s->losses; i++) {
    const repair_loss *loss = repair_loss_at(r, i);
    FUZZ_CHECK(loss->size > 0 && loss->offset >= at && loss->offset + loss->size <= size,
               "loss %zu", i);
    at = loss->offset + loss->size;
    lost += loss->size;
  }
  for (size_t i = 0; i < s->gaps; i++) {
    const repair_gap *gap = repair_gap_at(r, i);
    FUZZ_CHECK(gap->first <= gap->last && gap->first > s->base_seq, "gap %zu", i);
  }
  FUZZ_CHECK(lost == s->lost_bytes, "%" PRIu64 " bytes, not %" PRIu64, lost, s->lost_bytes);
}

/* The log is there, and `t` is what inspect_open tells; opened: with this result, and `content`. */
static void check_repair(const told *t, size_t size, bool prefix_only, int opened, bool torn,
                         const model *content) {
  repair *r = NULL;
  kv *db;
  kv_stats stats;
  kv_error err = {.code = KV_OK};
  int rc = repair_plan(LOG, prefix_only, NULL, NULL, &r, &err);
  FUZZ_CHECK(rc == t->rc, "planning: %d %s; inspection: %d", rc, err.text, t->rc);
  if (rc != KV_OK) return;
  repair_summary s;
  repair_tell(r, &s);
  check_losses(r, &s, size);
  if (opened == KV_OK && !torn) {
    FUZZ_CHECK(s.losses == 0 && s.gaps == 0, "%zu losses of a sound log", s.losses);
  }
  if (opened == KV_EDAMAGED) {
    FUZZ_CHECK(s.losses + s.gaps + s.moved > 0 || s.header_missing, "refused, no loss");
  }
  if (s.header_missing) FUZZ_CHECK(opened == KV_EDAMAGED, "opened %d without a header", opened);
  if (!s.facts.original) FUZZ_CHECK(s.kept <= t->whole, "more is kept than is whole");
  if (!s.facts.original && s.kept > 0 && !prefix_only) {
    FUZZ_CHECK(s.base_seq + s.kept + s.missing == t->last_seq,
               "%" PRIu64 " kept and %" PRIu64 " missing from %" PRIu64
               " on, but the last is %" PRIu64,
               s.kept, s.missing, s.base_seq, t->last_seq);
  }
  must(repair_write(r, REPAIRED, NULL, NULL, &err), &err);
  check_sound(REPAIRED);
  FUZZ_CHECK(open_log(REPAIRED, true, &db, NULL) == KV_OK, "what was repaired does not open");
  must(kv_get_stats(db, &stats, &err), &err);
  FUZZ_CHECK(stats.replay_transactions == s.kept, "%" PRIu64 " transactions, not %" PRIu64,
             stats.replay_transactions, s.kept);
  if (opened == KV_OK && !torn) check_content(db, content, "repaired");
  close_log(db);
  repair_free(r);
  FUZZ_CHECK(unlink(REPAIRED) == 0, "the repaired log is gone");
}

/* --- all of it ------------------------------------------------------------------------------------- */

static int run_check(void) {
  char *argv[] = {"check", "--quiet", LOG, NULL};
  FILE *was = stderr;
  optind = 0;
  stderr = silence;
  int code = tool_check(3, argv);
  stderr = was;
  return code;
}

/* Open it for reading; *torn_bytes of it are a torn tail. */
static int open_reading(const told *t, uint64_t *torn_bytes) {
  kv *db = NULL;
  kv_stats stats = {0};
  int rc = open_log(LOG, true, &db, NULL);
  if (rc == KV_OK) {
    FUZZ_CHECK(kv_get_stats(db, &stats, NULL) == KV_OK, "statistics");
    check_content(db, &t->content, "for reading");
    close_log(db);
  }
  *torn_bytes = stats.torn_bytes;
  return rc;
}

static void check_agreement(const told *t, int opened, bool torn) {
  if (t->rc != KV_OK) {
    FUZZ_CHECK(opened == t->rc, "inspected %d, opened %d", t->rc, opened);
  } else if (opened == KV_OK) {
    FUZZ_CHECK(t->damaged == 0 && (t->torn > 0) == torn, "opened, torn %d; %u torn, %u damaged",
               torn, t->torn, t->damaged);
  } else if (opened == KV_EFOREIGN) {
    FUZZ_CHECK(t->damaged + t->torn == 0 && t->noted > 0, "foreign; %u torn, %u damaged, %u noted",
               t->torn, t->damaged, t->noted);
  } else {
    FUZZ_CHECK(opened == KV_EDAMAGED && t->damaged > 0, "%d; %u damaged", opened, t->damaged);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint64_t torn_bytes;
  empty_folder();
  put_file(data, size);
  told t = inspect_file(LOG, size);
  int opened = open_reading(&t, &torn_bytes);
  check_agreement(&t, opened, torn_bytes > 0);
  int code = run_check();
  int want = opened != KV_OK ? TOOL_FAILED : torn_bytes > 0 ? TOOL_FOUND : TOOL_OK;
  FUZZ_CHECK(code == want, "check says %d, opening %d", code, opened);
  check_repair(&t, size, false, opened, torn_bytes > 0, &t.content);
  check_repair(&t, size, true, opened, torn_bytes > 0, &t.content);
  check_file(LOG, data, size);
  if (opened == KV_OK) {
    check_writing(data, &t, torn_bytes);
  } else {
    kv *db;
    FUZZ_CHECK(open_log(LOG, false, &db, NULL) == opened, "another result for writing");
    check_file(LOG, data, size);
  }
  model_free(&t.content);
  return 0;
}
