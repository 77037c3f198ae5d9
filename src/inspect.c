/*
** inspect.c - looking at a log line by line. See inspect.h.
**
** The file is taken in stretches: a transaction that verifies, or what lies between one place that
** does not verify and the next that does. A stretch knows its status, and its lines get it.
**
** Damaged or torn? As recovery judges: a transaction is missing at a place, and if any later one
** that verifies says that it was durable, it is damaged, else torn. The number that is missing only
** grows from place to place, so what holds at the first place of all, where recovery would stop,
** tells for the whole file: if it is torn there, so is everything behind it.
*/
#include "inspect.h"

#include "log_judge.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SECOND_LOOKS_MAX 8 /* a writer does not get between more; each reads a block again */

struct inspection {
  log_reader reader;
  char *path;
  uint64_t at; /* the next line */
  uint64_t line;
  uint64_t next_seq;
  inspect_facts facts;
  struct {
    uint64_t begin, end;
    bool malformed; /* some line of it */
    inspect_status status;
    uint64_t seq; /* 0: not known */
    uint64_t expected_seq;
  } stretch;
  struct {
    uint64_t end, line, next_seq;
  } sound; /* behind the last transaction in place: where inspect_refresh goes back to */
  log_verdict verdict; /* original: where its lines end */
  bool original;       /* or foreign, but begins like one */
  bool header_damaged;
  bool torn; /* recovery would have cut before this place */
  bool looked_ahead;
  unsigned second_looks; /* at places where nothing verified at first */
  uint64_t snapshot_seq; /* of the checkpoint that made the file, 0: none did */
  uint64_t promised_seq; /* the highest durable-seq of any transaction that verifies */
};

void inspect_close(inspection *i) {
  if (i == NULL) return;
  if (i->reader.fd >= 0) os.close(i->reader.fd);
  log_reader_free(&i->reader);
  os.free(i->path);
  os.free(i);
}

/* What the file is decides how it is read. Where the header does not verify the transactions yet may:
** even the header's end is not to be trusted then, so that it becomes part of the first stretch, and the
** first transaction behind it that verifies tells where the numbers begin. */
static int take_verdict(inspection *i, kv_error *err) {
  log_verdict *v = &i->verdict;
  char head[LOG_HEADER_SIZE_MAX];
  int rc = log_judge(i->reader.fd, i->reader.size, v);
  ssize_t got = rc == KV_OK ? os_read_all(i->reader.fd, head, sizeof head, 0) : -1;
  if (rc == KV_ENOMEM) return kv_error_set(err, rc, "out of memory reading '%s'", i->path);
  if (got < 0) {
    return kv_error_set(err, KV_EIO, "read of '%s' failed: %s", i->path, strerror(errno));
  }
  memcpy(i->reader.id, v->id, sizeof i->reader.id);
  switch (v->code) {
  case KV_EVERSION:
    return kv_error_set(err, v->code, "log '%s' has format %" PRIu64 "; this reads format 1",
                        i->path, v->version);
  case KV_EFOREIGN:
    i->original = log_original_begins(head, (size_t)got);
    if (i->original) return KV_OK;
    return kv_error_set(err, v->code, "'%s' is not a kvstore log", i->path);
  case KV_EDAMAGED:
    i->header_damaged = true;
    return KV_OK;
  default:
    break;
  }
  i->original = v->original;
  if (i->original) return KV_OK;
  i->facts.header = true;
  i->facts.base_seq = v->header.base_seq;
  i->next_seq = v->header.base_seq + 1;
  i->snapshot_seq = v->header.base_seq > 0 ? v->header.base_seq + 1 : 0;
  i->stretch.end = v->header_size;
  bool snapshot_missing = i->snapshot_seq > 0 && i->stretch.end == i->reader.size;
  i->stretch.status = snapshot_missing ? INSPECT_DAMAGED : INSPECT_HEADER;
  i->stretch.expected_seq = i->next_seq;
  return KV_OK;
}

static int fstat_error(const char *path, kv_error *err) {
  return kv_error_set(err, KV_EIO, "fstat of '%s' failed: %s", path, strerror(errno));
}

int inspect_open(const char *path, inspection **out, kv_error *err) {
  inspection *i = os.malloc(sizeof *i);
  if (i == NULL) return kv_error_set(err, KV_ENOMEM, "out of memory");
  memset(i, 0, sizeof *i);
  size_t path_size = strlen(path) + 1;
  i->path = os.malloc(path_size);
  int fd = os.open(path, O_RDONLY | O_NONBLOCK | OS_FOR_CHILDREN, 0);
  int reason = errno;
  struct stat facts;
  int rc = KV_OK;
  log_reader_init(&i->reader, fd, 0);
  if (i->path == NULL) {
    rc = kv_error_set(err, KV_ENOMEM, "out of memory");
  } else if (fd < 0) {
    rc = kv_error_set(err, KV_ECANTOPEN, "cannot open '%s': %s", path, strerror(reason));
  } else if (os.fstat(fd, &facts) != 0) {
    rc = fstat_error(path, err);
  } else if (!S_ISREG(facts.st_mode)) {
    rc = kv_error_set(err, KV_ECANTOPEN, "'%s' is not a regular file", path);
  } else {
    memcpy(i->path, path, path_size);
    i->reader.size = (uint64_t)facts.st_size;
    i->facts.device = (uint64_t)facts.st_dev;
    i->facts.inode = (uint64_t)facts.st_ino;
    rc = take_verdict(i, err);
  }
  if (rc != KV_OK) {
    inspect_close(i);
    return rc;
  }
  *out = i;
  return KV_OK;
}

void inspect_tell(const inspection *i, inspect_facts *out) {
  *out = i->facts;
  out->size = i->reader.size;
  out->original = i->original;
  memcpy(out->id, i->reader.id, sizeof out->id);
}

int inspect_refresh(inspection *i, bool *shorter, kv_error *err) {
  struct stat facts;
  if (os.fstat(i->reader.fd, &facts) != 0) return fstat_error(i->path, err);
  log_reader_refresh(&i->reader, (uint64_t)facts.st_size);
  i->at = i->stretch.end = i->sound.end;
  i->line = i->sound.line;
  i->next_seq = i->sound.next_seq;
  i->torn = i->looked_ahead = false;
  i->second_looks = 0;
  *shorter = i->reader.size < i->at;
  if (!i->original || *shorter) return KV_OK;
  i->verdict.end = i->sound.end;
  i->verdict.lines = i->sound.line;
  int rc = log_judge_original(&i->reader, &i->verdict);
  if (rc == KV_ENOMEM) return kv_error_set(err, rc, "out of memory reading '%s'", i->path);
  if (rc != KV_OK) {
    return kv_error_set(err, rc, "read of '%s' failed: %s", i->path, strerror(errno));
  }
  return KV_OK;
}

/* --- stretches ---------------------------------------------------------------------------------- */

typedef struct ahead {
  uint64_t from;
  log_transaction first; /* the first that starts behind `from` */
  bool found;
  bool all; /* go on to the end for the highest durable-seq */
  uint64_t durable_seq;
} ahead;

static bool look(void *context, const log_transaction *t) {
  ahead *a = context;
  if (!a->found && t->offset > a->from) {
    a->first = *t;
    a->found = true;
  }
  if (t->durable_seq > a->durable_seq) a->durable_seq = t->durable_seq;
  return a->all || !a->found;
}

/* Look behind i->at, the first time to the end of the file. */
static int look_ahead(inspection *i, ahead *a) {
  *a = (ahead){.from = i->at, .all = !i->looked_ahead};
  int rc = log_reader_lookahead(&i->reader, i->at, look, a);
  if (rc != KV_OK) return rc;
  if (a->all) {
    i->promised_seq = a->durable_seq > i->snapshot_seq ? a->durable_seq : i->snapshot_seq;
  }
  i->looked_ahead = true;
  return KV_OK;
}

/* What it means that transaction next_seq is not at i->at. */
static void judge(inspection *i) {
  i->stretch.expected_seq = i->next_seq;
  i->stretch.status = i->promised_seq >= i->next_seq ? INSPECT_DAMAGED : INSPECT_TORN;
  if (i->stretch.status == INSPECT_TORN) i->torn = true;
}

static int good_stretch(inspection *i, const log_transaction *t);

/* Nothing verifies at i->at: find where something does again. Others may be writing, from the front to the
** back, into room that was read a moment ago as zeros: once something behind this place is whole, what
** stands here is all there too, so it is read again before it is called damaged or torn. */
static int bad_stretch(inspection *i) {
  ahead a;
  int rc = look_ahead(i, &a);
  if (rc != KV_OK) return rc;
  if (a.found && i->second_looks++ < SECOND_LOOKS_MAX) {
    log_transaction t;
    log_reader_refresh(&i->reader, i->reader.size);
    rc = log_reader_transaction(&i->reader, i->at, &t);
    if (rc != KV_ETORN) return rc == KV_OK ? good_stretch(i, &t) : rc;
  }
  judge(i);
  i->stretch.seq = 0;
  i->stretch.end = a.found ? a.first.offset : i->reader.size;
  /* What verifies next is as good as in its place if it is later. */
  if (a.found && a.first.seq > i->next_seq) i->next_seq = a.first.seq;
  return KV_OK;
}

/* What stands at i->at verifies. */
static int good_stretch(inspection *i, const log_transaction *t) {
  ahead a;
  bool is_first = i->header_damaged && i->at == 0; /* the header is missing: see read_row */
  if (t->seq == i->next_seq || is_first) {
    i->stretch.status = INSPECT_OK;
  } else {
    int rc = i->looked_ahead ? KV_OK : look_ahead(i, &a);
    if (rc != KV_OK) return rc;
    judge(i);
  }
  i->stretch.end = t->end_offset;
  i->stretch.seq = t->seq;
  if (t->seq >= i->next_seq) i->next_seq = t->seq + 1;
  return KV_OK;
}

static int next_stretch(inspection *i) {
  bool zeros = false;
  log_transaction t;
  i->stretch.begin = i->at;
  i->stretch.malformed = false;
  int rc = log_reader_zeros(&i->reader, i->at, &zeros);
  if (rc != KV_OK) return rc;
  bool snapshot_missing = zeros && i->next_seq == i->snapshot_seq && i->at < i->reader.size;
  if (snapshot_missing) return bad_stretch(i);
  if (i->original || zeros) {
    bool is_torn = i->verdict.code == KV_OK && i->at >= i->verdict.end;
    i->stretch.status = zeros ? INSPECT_ROOM : is_torn ? INSPECT_TORN : INSPECT_ORIGINAL;
    i->stretch.end =
        i->original && i->verdict.code == KV_OK && !is_torn ? i->verdict.end : i->reader.size;
    i->stretch.seq = 0;
    return KV_OK;
  }
  rc = log_reader_transaction(&i->reader, i->at, &t);
  if (rc == KV_ETORN) return bad_stretch(i);
  return rc == KV_OK ? good_stretch(i, &t) : rc;
}

/* --- lines -------------------------------------------------------------------------------------- */

static void describe_status(const inspection *i, inspect_row *row) {
  uint64_t expected = i->stretch.expected_seq, seq = i->stretch.seq;
  bool damaged = row->status == INSPECT_DAMAGED;
  if (!damaged && row->status != INSPECT_TORN) return;
  if (i->header_damaged && row->offset == 0) {
    (void)snprintf(row->note, sizeof row->note, "%s",
                   row->whole ? "the header in front of this line is missing"
                              : "the header does not verify");
  } else if (i->original) {
    (void)snprintf(row->note, sizeof row->note, "a crash has cut this line");
  } else if (expected == 0) {
    (void)snprintf(row->note, sizeof row->note, "does not verify with what is left of the header");
  } else if (seq != 0) {
    (void)snprintf(row->note, sizeof row->note,
                   "transaction %" PRIu64 " stands where %" PRIu64 " should%s", seq, expected,
                   damaged ? ", which was durable" : "");
  } else {
    (void)snprintf(row->note, sizeof row->note, "transaction %" PRIu64 " does not verify%s",
                   expected, damaged ? ", though it was durable" : "");
  }
}

static void take_record(inspect_row *row, const log_record *record) {
  if (record->op == LOG_COMMIT) {
    row->op = "COMMIT";
    row->seq = record->seq;
    row->durable_seq = record->durable_seq;
    return;
  }
  row->op = record->op == LOG_WRITE ? "WRITE" : "DELETE";
  row->key = record->key;
  row->key_size = record->key_size;
  row->has_value = record->op == LOG_WRITE;
  row->value = record->value;
}

/* A line of an original log: WRITE, TAB, keypath, TAB, and the value as it stands. */
static void take_original(inspect_row *row, const char *line, size_t size) {
  log_record record = {.key = NULL};
  kv_error why;
  bool is_line = log_original_parse(line, size, &record, &why);
  if (record.key != NULL) {
    row->op = "WRITE";
    row->key = record.key;
    row->key_size = record.key_size;
    row->has_value = true;
    row->value = record.value;
  }
  if (is_line || size == 0 || row->status == INSPECT_TORN) return;
  row->status = INSPECT_FOREIGN;
  (void)snprintf(row->note, sizeof row->note, "%.250s",
                 row->op != NULL ? why.text : "not a line of an original log");
}

static void take_line(inspection *i, inspect_row *row, char *line, size_t size) {
  log_record record;
  kv_error why;
  /* Where the header is gone, a transaction may stand in its place. */
  bool is_header = row->offset == 0 && !i->original && !row->whole;
  if (is_header) {
    row->op = "KVSTORE";
  } else if (i->original) {
    take_original(row, line, size);
  } else if (log_parse_record(line, size, &record, &why) == KV_OK) {
    take_record(row, &record);
  } else {
    /* Recovery takes no transaction with such a line, whatever its checksum. */
    i->stretch.malformed = true;
    if (row->status == INSPECT_OK) row->status = i->torn ? INSPECT_TORN : INSPECT_DAMAGED;
    size_t used = strlen(row->note);
    (void)snprintf(row->note + used, sizeof row->note - used, "%s%.150s", used > 0 ? "; " : "",
                   why.text);
  }
  if (row->seq == 0) row->seq = i->stretch.seq;
}

/* Where the file's last line has no end, zeros behind it are room and not part of it. */
static size_t without_zeros(const char *line, size_t size) {
  while (size > 0 && line[size - 1] == '\0') size--;
  return size;
}

static int take_room(const inspection *i, inspect_row *row) {
  row->status = INSPECT_ROOM;
  row->size = i->stretch.end - i->at;
  (void)snprintf(row->note, sizeof row->note, "%" PRIu64 " bytes of room ahead", row->size);
  return KV_OK;
}

static int read_row(inspection *i, inspect_row *row) {
  char *line;
  size_t size;
  bool ended;
  row->offset = i->at;
  row->line = i->line + 1;
  row->place = i->stretch.begin;
  row->whole = i->stretch.seq != 0;
  row->status = i->stretch.status;
  /* A transaction that verifies stands where the header should be: that is the damage, and all of it. */
  if (i->header_damaged && i->at == 0) row->status = INSPECT_DAMAGED;
  if (row->status == INSPECT_ROOM) return take_room(i, row);
  describe_status(i, row);
  int rc = log_reader_line(&i->reader, i->at, &line, &size, &ended);
  if (rc != KV_OK) return rc;
  row->size = size + ended;
  if (i->at + row->size > i->stretch.end) {
    /* The next transaction begins inside this line. */
    row->size = i->stretch.end - i->at;
    size = (size_t)row->size;
    ended = false;
  } else if (!ended && row->status != INSPECT_ORIGINAL) {
    /* But for zeros where a snapshot should be. */
    bool missing = i->snapshot_seq > 0 && i->stretch.expected_seq == i->snapshot_seq &&
                   i->stretch.status == INSPECT_DAMAGED;
    size_t used = without_zeros(line, size);
    if (used == 0 && !missing) return take_room(i, row);
    if (used > 0) size = used;
    row->size = size;
    i->stretch.end = i->at + size;
  }
  i->line += ended;
  take_line(i, row, line, size);
  return KV_OK;
}

/* Remember the end of a transaction that is in place, or of a whole line of an original log. */
static void note_sound(inspection *i, const inspect_row *row) {
  bool whole = i->at == i->stretch.end && !i->stretch.malformed &&
               (row->status == INSPECT_OK || row->status == INSPECT_HEADER);
  if (!whole && (row->status != INSPECT_ORIGINAL || row->line > i->line)) return;
  i->sound.end = i->at;
  i->sound.line = i->line;
  i->sound.next_seq = i->next_seq;
}

int inspect_next(inspection *i, inspect_row *row, bool *more, kv_error *err) {
  *row = (inspect_row){.op = NULL};
  int rc = KV_OK;
  if (i->at >= i->reader.size) {
    *more = false;
    return KV_OK;
  }
  if (i->at >= i->stretch.end) rc = next_stretch(i);
  if (rc == KV_OK) rc = read_row(i, row);
  if (rc == KV_ENOMEM) return kv_error_set(err, rc, "out of memory reading '%s'", i->path);
  if (rc != KV_OK) {
    return kv_error_set(err, KV_EIO, "read of '%s' failed: %s", i->path, strerror(errno));
  }
  i->at += row->size;
  note_sound(i, row);
  *more = row->size > 0; /* else the file has become shorter */
  return KV_OK;
}
