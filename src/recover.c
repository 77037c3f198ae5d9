/* recover.c - opening a log. See recover.h. */
#include "recover.h"

#include "log_judge.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COPY_SIZE ((size_t)64 << 10)
#define TAILS_MAX                                                                                  \
  999u /* with one number: the longest name is LOG_SUFFIX_MAX longer than the log's */
#define CONVERT_BATCH ((size_t)1 << 20)

/* A replay under way. */
typedef struct replay {
  log_reader reader;
  const char *path;
  tree *tree;
  recovery *found;
  kv_error *err;
  uint64_t last_seq; /* the transaction to stop after */
  uint64_t warm_end; /* the lines before it have been looked at by warm() */
} replay;

static int replay_error(replay *p, int code) {
  if (code == KV_EIO) return log_error(p->err, "read", p->path);
  if (code == KV_ENOMEM) {
    return kv_error_set(p->err, code, "out of memory opening '%s'", p->path);
  }
  if (code == KV_EFULL) {
    return kv_error_set(p->err, code, "'%s' has more than %u keys", p->path, KV_ENTRIES_MAX);
  }
  return code;
}

/* --- what follows the last good transaction ----------------------------------------------------- */

/* The bytes behind found->end up to the zeros at the end of the file; if there are none, what is there
** is room ahead, which who closes the log may be cutting off just now. */
static int measure_tail(replay *p) {
  char *part = os.malloc(COPY_SIZE);
  if (part == NULL) return KV_ENOMEM;
  uint64_t end = p->found->size;
  ssize_t got = 0;
  while (got == 0 && end > p->found->end) {
    uint64_t left = end - p->found->end;
    size_t size = left < COPY_SIZE ? (size_t)left : COPY_SIZE;
    end -= size;
    got = os_read_all(p->reader.fd, part, size, end);
    while (got > 0 && part[got - 1] == '\0') got--;
  }
  os.free(part);
  if (got < 0) return KV_EIO;
  p->found->torn_size = end + (uint64_t)got - p->found->end;
  return KV_OK;
}

typedef struct promise {
  uint64_t damaged_seq;
  log_transaction later;
  bool broken;
} promise;

static bool look_for_promise(void *context, const log_transaction *t) {
  promise *p = context;
  if (t->seq <= p->damaged_seq || t->durable_seq < p->damaged_seq) return true;
  p->later = *t;
  p->broken = true;
  return false;
}

/* The transaction at found->end does not verify: a torn tail, or damage to what was promised? */
static int judge_tail(replay *p) {
  const recovery *found = p->found;
  if (found->header.base_seq > 0 && found->transactions == 0) {
    return kv_error_set(p->err, KV_EDAMAGED,
                        "log '%s' is damaged: its first transaction, at byte %" PRIu64
                        " (line %" PRIu64
                        "), does not verify, though a checkpoint put it on stable "
                        "storage; nothing was changed; 'kvstore check' tells more",
                        p->path, found->end, found->lines + 1);
  }
  int rc = measure_tail(p);
  if (rc != KV_OK || found->torn_size == 0) return rc;
  promise promised = {.damaged_seq = p->found->seq + 1};
  rc = log_reader_lookahead(&p->reader, p->found->end, look_for_promise, &promised);
  if (rc != KV_OK) return rc;
  if (promised.broken) {
    return kv_error_set(p->err, KV_EDAMAGED,
                        "log '%s' is damaged: transaction %" PRIu64 " at byte %" PRIu64
                        " (line %" PRIu64 ") does not verify, though transaction %" PRIu64
                        " at byte %" PRIu64 " says that it was on stable storage; nothing was "
                        "changed; 'kvstore check' tells more",
                        p->path, promised.damaged_seq, p->found->end, p->found->lines + 1,
                        promised.later.seq, promised.later.offset);
  }
  return KV_OK;
}

/* --- transactions ------------------------------------------------------------------------------- */

/* Have the nodes that the next lines will change brought into the cache, all at the same time: one after
** the other, waiting for them takes most of the time of a large replay. The lines are looked at as they
** stand, for nothing depends on what is found. */
static void warm(replay *p, uint64_t offset) {
  tree_key keys[TREE_WARM_MAX];
  size_t count = 0, size;
  const char *start;
  log_reader_peek(&p->reader, offset, &start, &size);
  if (size == 0) return;
  const char *line = start, *end = start + size, *lf;
  while (count < TREE_WARM_MAX && (lf = memchr(line, '\n', (size_t)(end - line))) != NULL) {
    /* with its TAB */
    size_t word = *line == 'W' ? sizeof "WRITE" : *line == 'D' ? sizeof "DELETE" : SIZE_MAX;
    if (word < (size_t)(lf - line)) {
      const char *key = line + word, *tab = memchr(key, '\t', (size_t)(lf - key));
      keys[count++] = (tree_key){key, (size_t)((tab != NULL ? tab : lf) - key)};
    }
    line = lf + 1;
  }
  tree_warm(p->tree->edit.top, keys, count);
  p->warm_end = offset + (size_t)(line - start);
}

static int apply_line(replay *p, uint64_t offset, char *line, size_t size) {
  log_record record;
  kv_error why;
  int rc = log_parse_record(line, size, &record, &why);
  if (rc != KV_OK) {
    return kv_error_set(p->err, KV_EDAMAGED,
                        "log '%s' is damaged at byte %" PRIu64 " (line %" PRIu64
                        "), in a transaction whose checksum is right: %s",
                        p->path, offset, p->found->lines + 1, why.text);
  }
  if (record.op == LOG_WRITE) {
    rc = tree_put(p->tree, record.key, record.key_size, &record.value, NULL);
  } else {
    rc = tree_delete(p->tree, record.key, record.key_size, NULL);
  }
  p->found->lines++;
  p->found->ops++;
  return rc;
}

/* Apply a verified transaction. A checkpoint's comes in the order of the keys, whose nodes are still in
** the cache. */
static int apply(replay *p, const log_transaction *t) {
  if (p->found->header.base_seq > 0 && p->found->transactions == 0) p->warm_end = t->end_offset;
  uint64_t offset = t->offset;
  for (uint64_t i = 0; p->tree != NULL && i < t->ops; i++) {
    char *line;
    size_t size;
    bool ended;
    if (offset >= p->warm_end) warm(p, offset);
    int rc = log_reader_line(&p->reader, offset, &line, &size, &ended);
    if (rc == KV_OK) rc = apply_line(p, offset, line, size);
    if (rc != KV_OK) return rc;
    offset += size + 1;
  }
  p->found->lines += p->tree == NULL ? t->ops + 1 : 1; /* the COMMIT line */
  p->found->end = t->end_offset;
  p->found->seq = t->seq;
  p->found->transactions++;
  return KV_OK;
}

/* Apply what verifies, as far as last_seq; KV_ETORN if it ends before that. */
static int replay_transactions(replay *p) {
  while (p->found->seq < p->last_seq) {
    log_transaction t;
    int rc = log_reader_transaction(&p->reader, p->found->end, &t);
    if (rc == KV_OK && t.seq != p->found->seq + 1) rc = KV_ETORN;
    if (rc == KV_OK) rc = apply(p, &t);
    if (rc != KV_OK) return rc;
  }
  return KV_OK;
}

/* --- original logs ------------------------------------------------------------------------------ */

static int foreign(replay *p, uint64_t line, uint64_t offset, const char *why) {
  return kv_error_set(p->err, KV_EFOREIGN,
                      "'%s' is not a kvstore log, and was left as it is: line %" PRIu64
                      " (byte %" PRIu64 "): %s",
                      p->path, line, offset, why);
}

/* Call `each` for every line of an original log before byte `end`, that was judged to be one. */
static int original_lines(replay *p, uint64_t end,
                          int (*each)(void *context, const log_record *record), void *context) {
  uint64_t number = 0;
  for (uint64_t offset = 0; offset < end;) {
    char *line;
    size_t size;
    bool ended;
    int rc = log_reader_line(&p->reader, offset, &line, &size, &ended);
    if (rc != KV_OK) return rc;
    if (size == 0 && !ended) return KV_OK;
    number++;
    if (size > 0) {
      log_record record;
      kv_error why;
      if (!log_original_parse(line, size, &record, &why)) { /* changed meanwhile */
        return foreign(p, number, offset, why.text);
      }
      rc = each(context, &record);
      if (rc != KV_OK) return rc;
    }
    offset += size + ended;
  }
  return KV_OK;
}

static int original_apply(void *context, const log_record *record) {
  replay *p = context;
  p->found->seq++;
  p->found->transactions++;
  p->found->ops++;
  return tree_put(p->tree, record->key, record->key_size, &record->value, NULL);
}

static int replay_original(replay *p, const log_verdict *verdict) {
  p->found->original = true;
  p->found->end = verdict->end;
  p->found->lines = verdict->lines;
  p->found->torn_size = verdict->torn_size;
  return original_lines(p, verdict->end, original_apply, p);
}

/* --- opening ------------------------------------------------------------------------------------ */

static int damaged_header(replay *p) {
  return kv_error_set(p->err, KV_EDAMAGED,
                      "the first line of log '%s' is damaged; nothing was changed; "
                      "'kvstore check' tells more",
                      p->path);
}

/* Read the header line, which begins as one. */
static int read_header(replay *p) {
  char *line;
  size_t size;
  bool ended;
  int rc = log_reader_line(&p->reader, 0, &line, &size, &ended);
  if (rc != KV_OK) return rc;
  uint64_t version = 0;
  rc = log_parse_header(line, size, &p->found->header, &version);
  if (rc == KV_EVERSION) {
    return kv_error_set(p->err, rc,
                        "log '%s' has format %" PRIu64
                        ", made by a newer version; this one reads format 1; it was left as it is",
                        p->path, version);
  }
  if (rc != KV_OK || !ended) return damaged_header(p);
  memcpy(p->reader.id, p->found->header.id, sizeof p->reader.id);
  p->found->seq = p->found->header.base_seq;
  p->found->end = size + 1;
  p->found->lines = 1;
  return KV_OK;
}

/* The first bytes of the file, as many as a header has at most; *headed tells whether they begin as
** one does. */
static int read_head(replay *p, char head[LOG_HEADER_SIZE_MAX], size_t *size, bool *headed) {
  static const char magic[] = "KVSTORE\t";
  ssize_t got = os_read_all(p->reader.fd, head, LOG_HEADER_SIZE_MAX, 0);
  if (got < 0) return KV_EIO;
  *size = (size_t)got;
  *headed = *size >= sizeof magic - 1 && memcmp(head, magic, sizeof magic - 1) == 0;
  return KV_OK;
}

static int replay_file(replay *p) {
  log_verdict verdict;
  int rc = log_judge(p->reader.fd, p->found->size, &verdict);
  if (rc != KV_OK) return rc;
  if (verdict.code == KV_EFOREIGN) return foreign(p, verdict.line, verdict.offset, verdict.why);
  if (verdict.code == KV_EDAMAGED) return damaged_header(p);
  if (verdict.original) return replay_original(p, &verdict);
  rc = read_header(p);
  if (rc == KV_OK) rc = replay_transactions(p);
  return rc == KV_ETORN ? judge_tail(p) : rc;
}

int recover_header(int fd, const char *path, recovery *out, kv_error *err) {
  recovery found = {.size = UINT64_MAX};
  replay p = {.path = path, .found = &found, .err = err};
  char head[LOG_HEADER_SIZE_MAX];
  size_t size;
  bool headed;
  log_reader_init(&p.reader, fd, LOG_HEADER_SIZE_MAX);
  int rc = read_head(&p, head, &size, &headed);
  if (rc == KV_OK) rc = headed ? read_header(&p) : foreign(&p, 1, 0, "it is no header");
  rc = replay_error(&p, rc);
  log_reader_free(&p.reader);
  if (rc == KV_OK) *out = found;
  return rc;
}

uint64_t recover_last_seq(const log_header *header, uint64_t seq) {
  return header->base_seq > 0 && seq <= header->base_seq ? header->base_seq + 1 : seq;
}

int recover_continue(int fd, const char *path, tree *t, uint64_t size, uint64_t last_seq,
                     recovery *at, kv_error *err) {
  recovery found = *at;
  replay p = {.path = path, .tree = t, .last_seq = last_seq, .found = &found, .err = err};
  log_reader_init(&p.reader, fd, size);
  memcpy(p.reader.id, found.header.id, sizeof p.reader.id);
  int rc = replay_transactions(&p);
  rc = replay_error(&p, rc == KV_ETORN ? KV_OK : rc);
  log_reader_free(&p.reader);
  if (rc == KV_OK) *at = found;
  return rc;
}

int recover_replay(int fd, const char *path, tree *t, uint64_t last_seq, recovery *out,
                   kv_error *err) {
  struct stat facts;
  uint64_t start_ns = os.now_ns();
  if (os.fstat(fd, &facts) != 0) return log_error(err, "fstat", path);
  if (!S_ISREG(facts.st_mode)) {
    return kv_error_set(err, KV_ECANTOPEN, "'%s' is not a regular file", path);
  }
  recovery found = {.size = (uint64_t)facts.st_size};
  replay p = {.path = path, .tree = t, .last_seq = last_seq, .found = &found, .err = err};
  log_reader_init(&p.reader, fd, found.size);
  int rc = replay_error(&p, replay_file(&p));
  log_reader_free(&p.reader);
  found.took_ns = os.now_ns() - start_ns;
  if (rc == KV_OK) *out = found;
  return rc;
}

/* --- making it ready for writing ---------------------------------------------------------------- */

/* Room for the name of a torn tail's file; the caller frees it with os.free. */
static char *tail_name(const char *path) {
  return os.malloc(strlen(path) + LOG_SUFFIX_MAX + 1);
}

/* Create the file for a torn tail, with the log's owner and rights as far as these can be given; its
** name goes to `name`, which is tail_name's. */
static int create_for_tail(int fd, const char *path, const recovery *found, char *name, int *copy,
                           kv_error *err) {
  size_t name_size = strlen(path) + LOG_SUFFIX_MAX + 1;
  rights like;
  *copy = -1;
  for (unsigned attempt = 0; *copy < 0; attempt++) {
    (void)snprintf(name, name_size, attempt == 0 ? "%s-torn-%" PRIu64 : "%s-torn-%" PRIu64 ".%u",
                   path, found->end, attempt);
    *copy = os.open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (*copy < 0 && (errno != EEXIST || attempt == TAILS_MAX)) {
      return log_error(err, "creation", name);
    }
  }
  if (rights_read(fd, &like) != 0 || rights_give(*copy, &like, NULL) != 0) {
    int rc = log_error(err, "setting of the access rights", name);
    os.close(*copy);
    os.unlink(name);
    return rc;
  }
  return KV_OK;
}

/* Save the torn tail as a new file of that name. */
static int save_tail(int fd, const char *path, const recovery *found, char *name, kv_error *err) {
  int copy;
  char *part = os.malloc(COPY_SIZE);
  if (part == NULL)
    return kv_error_set(err, KV_ENOMEM, "out of memory saving the end of '%s'", path);
  int rc = create_for_tail(fd, path, found, name, &copy, err);
  if (rc != KV_OK) {
    os.free(part);
    return rc;
  }
  for (uint64_t done = 0; rc == KV_OK && done < found->torn_size;) {
    uint64_t left = found->torn_size - done;
    size_t size = left < COPY_SIZE ? (size_t)left : COPY_SIZE;
    if (os_read_exactly(fd, part, size, found->end + done) != 0) {
      rc = log_error(err, "read", path);
    } else if (os_write_all(copy, part, size, done) != 0) {
      rc = log_error(err, "write", name);
    }
    done += size;
  }
  if (rc == KV_OK && os_sync_file(copy) != 0) rc = log_error(err, "fsync", name);
  if (rc == KV_OK && os_sync_folder(name) != 0) rc = log_error(err, "fsync of the folder", name);
  os.free(part);
  os.close(copy);
  if (rc != KV_OK) os.unlink(name);
  return rc;
}

static int cut_tail(int fd, const char *path, const recovery *found, kv_error *notice,
                    kv_error *err) {
  char *name = tail_name(path);
  if (name == NULL) return kv_error_set(err, KV_ENOMEM, "out of memory opening '%s'", path);
  int rc = save_tail(fd, path, found, name, err);
  if (rc == KV_OK && os_truncate(fd, found->end) != 0) rc = log_error(err, "truncate", path);
  if (rc == KV_OK) {
    kv_error_set(notice, KV_ETORN,
                 "log '%s': %" PRIu64 " bytes behind transaction %" PRIu64
                 " were not flushed before a crash and have been cut off; they are kept in '%s'",
                 path, found->torn_size, found->seq, name);
  }
  os.free(name);
  return rc;
}

int recover_finish(int fd, const char *path, const recovery *found, log_writer *out,
                   kv_error *notice, kv_error *err) {
  log_writer writer = {
      .fd = fd, .path = path, .header = found->header, .end = found->end, .size = found->size};
  if (found->torn_size > 0) {
    int rc = cut_tail(fd, path, found, notice, err);
    if (rc != KV_OK) return rc;
    writer.size = found->end;
  }
  log_draft_clean(path);
  /* All of it, the file's size too: where a tail was cut off, what is appended next must not meet
  ** it again. And its name: the file may be a new one, whose maker did not come to sync the folder. */
  if (os_sync_file(fd) != 0) {
    int rc = log_error(err, "fsync", path);
    log_writer_soil(&writer);
    return rc;
  }
  if (os_sync_folder(path) != 0) return log_error(err, "fsync of the folder", path);
  writer.synced_end = writer.end;
  *out = writer;
  return KV_OK;
}

/* --- converting an original log ----------------------------------------------------------------- */

typedef struct conversion {
  log_draft draft;
  buf lines;
  uint64_t seq;
  kv_error *err;
} conversion;

static int convert_line(void *context, const log_record *record) {
  conversion *c = context;
  size_t start = c->lines.size;
  int rc = log_format_write(&c->lines, record->key, record->key_size, &record->value);
  if (rc == KV_OK) {
    rc = log_format_commit(&c->lines, start, c->draft.writer.header.id, c->seq + 1, c->seq);
  }
  if (rc != KV_OK) return rc;
  c->seq++;
  if (c->lines.size < CONVERT_BATCH) return KV_OK;
  rc = log_writer_append(&c->draft.writer, c->lines.data, c->lines.size, c->err);
  c->lines.size = 0;
  return rc;
}

static int convert(int fd, const char *path, const recovery *found, log_draft *out, kv_error *err) {
  conversion c = {.err = err};
  int rc = log_draft_replace(&c.draft, path, fd, 0, err);
  if (rc != KV_OK) return rc;
  recovery passed = {.size = found->size};
  replay p = {.path = path, .found = &passed};
  log_reader_init(&p.reader, fd, found->size);
  kv_error why = {.code = KV_OK};
  p.err = c.err = &why;
  rc = original_lines(&p, found->end, convert_line, &c);
  if (rc == KV_OK && c.lines.size > 0) {
    rc = log_writer_append(&c.draft.writer, c.lines.data, c.lines.size, &why);
  }
  if (rc != KV_OK && why.code == KV_OK) (void)replay_error(&p, rc);
  log_reader_free(&p.reader);
  buf_free(&c.lines);
  if (rc != KV_OK) {
    log_draft_drop(&c.draft);
    return kv_error_set(err, rc, "converting the original log '%s': %s", path, why.text);
  }
  *out = c.draft;
  return KV_OK;
}

/* Judge the log once more: where it ends is not kept while others may have the turn. */
static int judge_again(int fd, const char *path, recovery *found, kv_error *err) {
  log_verdict verdict;
  replay p = {.path = path, .err = err};
  int rc = log_judge(fd, found->size, &verdict);
  if (rc != KV_OK) return replay_error(&p, rc);
  if (!verdict.original) {
    return kv_error_set(err, KV_EFOREIGN, "'%s' was changed since it was opened", path);
  }
  found->end = verdict.end;
  found->torn_size = verdict.torn_size;
  return KV_OK;
}

int recover_convert(int fd, const char *path, const recovery *opened, log_draft *out,
                    kv_error *err) {
  recovery found = *opened;
  int rc = judge_again(fd, path, &found, err);
  if (rc != KV_OK || found.torn_size == 0) {
    return rc == KV_OK ? convert(fd, path, &found, out, err) : rc;
  }
  char *name = tail_name(path);
  if (name == NULL) return kv_error_set(err, KV_ENOMEM, "out of memory opening '%s'", path);
  rc = save_tail(fd, path, &found, name, err);
  if (rc == KV_OK) {
    rc = convert(fd, path, &found, out, err);
    if (rc != KV_OK) os.unlink(name); /* the log still has it */
  }
  os.free(name);
  return rc;
}
