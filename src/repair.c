/*
** repair.c - writing what verifies of a damaged log into a new one. See repair.h.
**
** The plan is a list of pieces, one for each run of lines that inspection tells of as one: a
** transaction that verifies, or what lies between two that do. Pieces that verify are sorted by
** their numbers; what is not wanted of them becomes a loss too, and losses are sorted back into the
** order of the file. A piece takes 40 bytes, so that a log of a million transactions is planned in
** 40 MB, whatever its size.
**
** Writing copies the lines as they stand, since they have one spelling, and puts a new COMMIT line
** behind them. A transaction is verified once more before it is copied: the file may have been
** changed meanwhile. Lines of an original log are spelled anew.
*/
#include "repair.h"

#include "keypath.h"
#include "log_read.h"
#include "log_write.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WRITE_BATCH ((size_t)1 << 20) /* bytes collected before they are written */

typedef struct piece {
  uint64_t offset, end;
  uint64_t seq;
  uint32_t ops;
  bool in_place;
  uint64_t line;
} piece;

struct repair {
  char *path;
  inspect_facts facts;
  buf pieces; /* of piece: what is kept, in the order of the numbers */
  buf losses; /* of repair_loss */
  buf gaps;   /* of repair_gap */
  repair_summary summary;
};

static size_t piece_count(const repair *r) {
  return r->pieces.size / sizeof(piece);
}

static piece *piece_at(const repair *r, size_t index) {
  return (piece *)(void *)r->pieces.data + index;
}

const repair_loss *repair_loss_at(const repair *r, size_t index) {
  return (const repair_loss *)(const void *)r->losses.data + index;
}

const repair_gap *repair_gap_at(const repair *r, size_t index) {
  return (const repair_gap *)(const void *)r->gaps.data + index;
}

void repair_tell(const repair *r, repair_summary *out) {
  *out = r->summary;
}

void repair_free(repair *r) {
  if (r == NULL) return;
  buf_free(&r->pieces);
  buf_free(&r->losses);
  buf_free(&r->gaps);
  os.free(r->path);
  os.free(r);
}

/* --- the plan ----------------------------------------------------------------------------------- */

/* The run of lines that is being read. */
typedef struct run {
  bool any;
  bool whole;
  bool malformed;
  piece piece;
  repair_loss loss;
} run;

static int add_loss(repair *r, const repair_loss *loss) {
  return buf_append(&r->losses, loss, sizeof *loss);
}

/* A run is at its end: something to keep, or a loss. */
static int finish_run(repair *r, const run *n) {
  if (!n->any) return KV_OK;
  if (n->whole && !n->malformed) return buf_append(&r->pieces, &n->piece, sizeof n->piece);
  repair_loss loss = n->loss;
  loss.why = n->whole ? REPAIR_MALFORMED : REPAIR_UNVERIFIED;
  loss.seq = n->whole ? n->piece.seq : 0;
  loss.size = n->piece.end - loss.offset;
  return add_loss(r, &loss);
}

static void begin_run(run *n, const inspect_row *row) {
  *n = (run){.any = true, .whole = row->whole};
  n->piece = (piece){.offset = row->offset, .seq = row->seq, .line = row->line};
  n->piece.in_place = row->status == INSPECT_OK;
  n->loss = (repair_loss){.offset = row->offset, .line = row->line};
  n->loss.torn = row->status == INSPECT_TORN;
  memcpy(n->loss.note, row->note, sizeof n->loss.note);
}

static int take_row(repair *r, run *n, const inspect_row *row) {
  int rc = KV_OK;
  if (row->status == INSPECT_HEADER || row->status == INSPECT_ROOM) return KV_OK;
  if (row->offset == 0) r->summary.header_missing = row->whole;
  if (!n->any || n->piece.offset != row->place) {
    rc = finish_run(r, n);
    begin_run(n, row);
  }
  n->piece.end = row->offset + row->size;
  if (row->op == NULL) {
    if (row->whole && !n->malformed) memcpy(n->loss.note, row->note, sizeof n->loss.note);
    n->malformed = true;
  }
  bool commit = row->op != NULL && strcmp(row->op, "COMMIT") == 0;
  if (!commit) n->piece.ops++;
  return rc;
}

/* Each line of an original log is a piece, or a loss. */
static int take_original(repair *r, const inspect_row *row) {
  kv_error why;
  if (row->size == 1 && row->op == NULL) return KV_OK; /* an empty line */
  piece p = {.offset = row->offset, .end = row->offset + row->size, .ops = 1, .in_place = true};
  p.seq = piece_count(r) + 1;
  p.line = row->line;
  if (row->op != NULL && keypath_check(row->key, row->key_size, &why) == KV_OK) {
    return buf_append(&r->pieces, &p, sizeof p);
  }
  repair_loss loss = {.why = REPAIR_MALFORMED, .offset = row->offset, .size = row->size};
  loss.line = row->line;
  const char *text = row->op == NULL ? row->note : why.text;
  size_t size = strlen(text) < sizeof loss.note ? strlen(text) : sizeof loss.note - 1;
  memcpy(loss.note, text, size);
  return add_loss(r, &loss);
}

static int by_number(const void *left, const void *right) {
  const piece *a = left, *b = right;
  if (a->seq != b->seq) return a->seq < b->seq ? -1 : 1;
  if (a->in_place != b->in_place) return a->in_place ? -1 : 1;
  return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static int by_offset(const void *left, const void *right) {
  const repair_loss *a = left, *b = right;
  return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static int leave_out(repair *r, const piece *p, repair_why why) {
  repair_loss loss = {.why = why, .offset = p->offset, .size = p->end - p->offset};
  loss.line = p->line;
  loss.seq = p->seq;
  return add_loss(r, &loss);
}

/* Sort the pieces, leave out what is there twice and, if asked, what is behind a gap; note gaps. */
static int decide(repair *r, bool prefix_only) {
  size_t count = piece_count(r), kept = 0;
  int rc = KV_OK;
  if (count > 1) qsort(r->pieces.data, count, sizeof(piece), by_number);
  if (r->facts.header || r->facts.original) {
    r->summary.base_seq = r->facts.base_seq;
  } else if (count > 0 && !prefix_only) {
    r->summary.base_seq = piece_at(r, 0)->seq - 1;
  }
  uint64_t last = r->summary.base_seq;
  bool cut = false;
  for (size_t i = 0; i < count && rc == KV_OK; i++) {
    piece p = *piece_at(r, i);
    if (p.seq <= last) {
      rc = leave_out(r, &p, REPAIR_SECOND);
      continue;
    }
    if (p.seq != last + 1) {
      repair_gap gap = {last + 1, p.seq - 1};
      rc = buf_append(&r->gaps, &gap, sizeof gap);
      r->summary.missing += gap.last - gap.first + 1;
      cut = cut || prefix_only;
    }
    last = p.seq;
    if (rc == KV_OK && cut) {
      rc = leave_out(r, &p, REPAIR_BEHIND);
      continue;
    }
    r->summary.kept_ops += p.ops;
    *piece_at(r, kept++) = p;
  }
  r->pieces.size = kept * sizeof(piece);
  if (kept == 0) r->summary.base_seq = 0; /* a log with a base has the transaction behind it */
  return rc;
}

/* Whether the loss is a header line and nothing else: it has the size of one with this base, which is
** the number before that of the first transaction behind it. */
static bool is_header_only(const repair *r, const repair_loss *loss) {
  log_header header = {.base_seq = r->summary.base_seq};
  char line[LOG_HEADER_SIZE_MAX];
  if (r->facts.header || r->facts.original || loss->offset > 0) return false;
  memset(header.id, '0', LOG_ID_SIZE);
  return loss->size == log_format_header(line, &header) && r->pieces.size > 0;
}

static void summarize(repair *r) {
  size_t losses = r->losses.size / sizeof(repair_loss);
  if (losses > 1) qsort(r->losses.data, losses, sizeof(repair_loss), by_offset);
  r->summary.facts = r->facts;
  r->summary.kept = piece_count(r);
  r->summary.losses = losses;
  r->summary.gaps = r->gaps.size / sizeof(repair_gap);
  for (size_t i = 1; i < r->summary.kept; i++) {
    r->summary.moved += piece_at(r, i)->offset < piece_at(r, i - 1)->offset;
  }
  for (size_t i = 0; i < losses; i++) {
    repair_loss *loss = (repair_loss *)(void *)r->losses.data + i;
    loss->header_only = is_header_only(r, loss);
    r->summary.lost_bytes += loss->size;
  }
}

static int read_all(repair *r, inspection *log, repair_progress *progress, void *context,
                    kv_error *err) {
  run n = {.any = false};
  inspect_row row;
  bool more;
  unsigned lines = 0;
  for (;;) {
    int rc = inspect_next(log, &row, &more, err);
    if (rc != KV_OK) return rc;
    if (!more) break;
    rc = row.status == INSPECT_ORIGINAL || row.status == INSPECT_FOREIGN ? take_original(r, &row)
                                                                         : take_row(r, &n, &row);
    if (rc != KV_OK) return kv_error_set(err, rc, "out of memory");
    if (progress != NULL && lines++ % 1024 == 0) progress(context, row.offset, r->facts.size);
  }
  return finish_run(r, &n) == KV_OK ? KV_OK : kv_error_set(err, KV_ENOMEM, "out of memory");
}

int repair_plan(const char *path, bool prefix_only, repair_progress *progress, void *context,
                repair **out, kv_error *err) {
  inspection *log;
  int rc = inspect_open(path, &log, err);
  if (rc != KV_OK) return rc;
  repair *r = os.malloc(sizeof *r);
  char *copy = os.malloc(strlen(path) + 1);
  if (r == NULL || copy == NULL) {
    os.free(r);
    os.free(copy);
    inspect_close(log);
    return kv_error_set(err, KV_ENOMEM, "out of memory");
  }
  memcpy(copy, path, strlen(path) + 1);
  *r = (repair){.path = copy};
  inspect_tell(log, &r->facts);
  rc = read_all(r, log, progress, context, err);
  inspect_close(log);
  if (rc == KV_OK && decide(r, prefix_only) != KV_OK) {
    rc = kv_error_set(err, KV_ENOMEM, "out of memory");
  }
  if (rc != KV_OK) {
    repair_free(r);
    return rc;
  }
  summarize(r);
  *out = r;
  return KV_OK;
}

/* --- the new log -------------------------------------------------------------------------------- */

typedef struct copying {
  const repair *plan;
  log_reader reader;
  log_draft draft;
  buf lines; /* whole transactions, to be written */
  uint64_t seq;
  kv_error *err;
} copying;

static int changed(const copying *c) {
  return kv_error_set(c->err, KV_EDAMAGED, "'%s' was changed while it was being repaired",
                      c->plan->path);
}

static int copy_error(const copying *c, int rc) {
  if (rc == KV_EIO) return log_error(c->err, "read", c->plan->path);
  if (rc == KV_ENOMEM) {
    return kv_error_set(c->err, rc, "out of memory repairing '%s'", c->plan->path);
  }
  return rc;
}

/* Append the lines of a transaction but its COMMIT line as they stand. */
static int copy_lines(copying *c, const piece *p) {
  log_transaction t;
  int rc = log_reader_transaction(&c->reader, p->offset, &t);
  if (rc == KV_ETORN || (rc == KV_OK && (t.end_offset != p->end || t.seq != p->seq))) {
    return changed(c);
  }
  uint64_t offset = p->offset;
  for (uint32_t n = 0; n < p->ops && rc == KV_OK; n++) {
    char *line;
    size_t size;
    bool ended;
    rc = log_reader_line(&c->reader, offset, &line, &size, &ended);
    if (rc == KV_OK && (!ended || offset + size + 1 > p->end)) return changed(c);
    if (rc == KV_OK) rc = buf_append(&c->lines, line, size + 1);
    offset += size + 1;
  }
  return copy_error(c, rc);
}

/* Spell a line of an original log anew. */
static int copy_original(copying *c, const piece *p) {
  static const size_t skip = sizeof "WRITE\t" - 1;
  char *line;
  size_t size;
  bool ended;
  int rc = log_reader_line(&c->reader, p->offset, &line, &size, &ended);
  if (rc != KV_OK) return copy_error(c, rc);
  const char *tab = size > skip ? memchr(line + skip, '\t', size - skip) : NULL;
  if (p->offset + size + ended != p->end || tab == NULL) return changed(c);
  size_t key_size = (size_t)(tab - line) - skip;
  if (keypath_check(line + skip, key_size, NULL) != KV_OK) return changed(c);
  kv_value value = {.type = KV_TEXT};
  value.data = tab + 1;
  value.size = (size_t)(line + size - value.data);
  return copy_error(c, log_format_write(&c->lines, line + skip, key_size, &value));
}

static int flush_lines(copying *c) {
  int rc = log_writer_append(&c->draft.writer, c->lines.data, c->lines.size, c->err);
  c->lines.size = 0;
  return rc;
}

static int copy_pieces(copying *c, repair_progress *progress, void *context) {
  size_t count = piece_count(c->plan);
  for (size_t i = 0; i < count; i++) {
    const piece *p = piece_at(c->plan, i);
    size_t start = c->lines.size;
    int rc = c->plan->facts.original ? copy_original(c, p) : copy_lines(c, p);
    if (rc != KV_OK) return rc;
    rc = log_format_commit(&c->lines, start, c->draft.writer.header.id, c->seq + 1, c->seq);
    if (rc != KV_OK) return copy_error(c, rc);
    c->seq++;
    if (c->lines.size >= WRITE_BATCH) rc = flush_lines(c);
    if (rc != KV_OK) return rc;
    if (progress != NULL && i % 1024 == 0) progress(context, i, count);
  }
  return c->lines.size > 0 ? flush_lines(c) : KV_OK;
}

static int open_old(copying *c, int *fd, struct stat *facts) {
  *fd = os.open(c->plan->path, O_RDONLY | O_NONBLOCK, 0);
  if (*fd < 0) {
    return kv_error_set(c->err, KV_ECANTOPEN, "cannot open '%s': %s", c->plan->path,
                        strerror(errno));
  }
  if (os.fstat(*fd, facts) != 0) return log_error(c->err, "fstat", c->plan->path);
  if ((uint64_t)facts->st_dev != c->plan->facts.device ||
      (uint64_t)facts->st_ino != c->plan->facts.inode) {
    return changed(c);
  }
  log_reader_init(&c->reader, *fd, c->plan->facts.size);
  memcpy(c->reader.id, c->plan->facts.id, sizeof c->reader.id);
  return KV_OK;
}

int repair_write(const repair *r, const char *new_path, repair_progress *progress, void *context,
                 kv_error *err) {
  copying c = {.plan = r, .seq = r->summary.base_seq, .err = err};
  struct stat facts, there;
  rights like;
  int fd = -1;
  if (os.stat(new_path, &there) == 0) {
    return kv_error_set(err, KV_EBUSY, "'%s' exists, and is not overwritten", new_path);
  }
  int rc = open_old(&c, &fd, &facts);
  if (rc == KV_OK && rights_read(fd, &like) != 0) rc = log_error(err, "fstat", r->path);
  if (rc == KV_OK) {
    rc = log_draft_begin(&c.draft, new_path, &like, r->summary.base_seq, err);
    if (rc == KV_OK) {
      rc = copy_pieces(&c, progress, context);
      log_writer out = {.fd = -1};
      if (rc != KV_OK) {
        log_draft_drop(&c.draft);
      } else {
        rc = log_draft_finish(&c.draft, -1, &out, err);
      }
      if (out.fd >= 0) os_close_locked(out.fd);
    }
  }
  log_reader_free(&c.reader);
  buf_free(&c.lines);
  if (fd >= 0) os.close(fd);
  return rc;
}
