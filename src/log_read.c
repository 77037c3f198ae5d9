/*
** log_read.c - finding whole transactions in a file that a crash or a bad disk may have been at.
**
** Three things are asked of a reader: the next line, the next transaction that verifies, and, where
** one does not verify, whether anything behind it still does, because that tells damage to what was
** promised from an append that never finished.
**
** The window. One buffer holds a stretch of the file. It is filled BLOCK_SIZE bytes at a time; what
** stands before the bytes asked for is dropped when it slides, and it grows for nothing but a line
** handed out. A line handed out is the caller's to unescape in place, so bytes up to its end
** (given_offset) count as gone and are read again if they are asked for again.
**
** A scan goes from line to line in the window and sums what it drops, so a transaction of any size,
** or a run of garbage without any LF, needs no memory. While a transaction is smaller than half a
** block its first byte is kept in the window: the caller, who walks it next, finds it there.
**
** Looking ahead. Transactions do not chain, so one that is whole can be recognised by itself once
** its two ends are known. Let the damage lie in transaction k.
**
**   The end. A whole transaction ends with a well-formed COMMIT line and contains no other; nor can
**   another reach into it from before, since no COMMIT line goes on with WRITE or DELETE. So every
**   place that spells a COMMIT line with its LF is a possible end e (the TAB before its crc), and
**   the one before it, if there is one, bounds how far back the start can be.
**
**   The start is mostly right behind the COMMIT line before: that sum is kept while scanning, and
**   compared first. It is elsewhere if that line is damaged (k's, while k + 1 is whole): its LF may
**   be gone, or its word, and the start then is anywhere in a line. To sum up from every possible
**   start would go over the same bytes again and again. Instead the checksum is undone. One step
**
**       state after a byte = step(state before it, byte)
**
**   can be inverted for the state, the byte being given (crc32c_unstep). So from the crc that the
**   line claims at e, going back over the bytes e - 1, e - 2, ..., s yields the one state at s that
**   leads to this crc. The transaction starts at s if and only if that is the state after id, which
**   is the same for every s: one walk backwards tries them all, at one comparison each. Beyond that
**   s must stand at the word of an operation, and so must every line the walk crosses, or it ends
**   there: in garbage it ends at the first LF. By chance a place that stands at such a word passes
**   for a start once in 2^32, as with any crc.
**
** Cost. Every byte is scanned once and crossed backwards at most once, whatever the file holds:
** walks for different ends never overlap. Memory: the window, and one block of WALK_SIZE bytes.
**
** What this finds: for damage within transaction k, every whole transaction behind it, k + 1
** included. What it cannot: a transaction of which any byte is changed.
*/
#include "log_read.h"

#include "crc32c.h"
#include "os.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define BLOCK_SIZE ((size_t)1 << 20) /* bytes read at a time */
#define WALK_SIZE ((size_t)1 << 16)  /* bytes read at a time going backwards */
#define OP_WORD_SIZE_MAX 7u          /* "DELETE" TAB */

/* ---- the window ---- */

void log_reader_init(log_reader *r, int fd, uint64_t size) {
  *r = (log_reader){.fd = fd, .size = size};
}

void log_reader_refresh(log_reader *r, uint64_t size) {
  r->size = size;
  r->window.size = 0;
  r->window_offset = 0;
  r->given_offset = 0;
}

void log_reader_free(log_reader *r) {
  buf_free(&r->window);
  r->window_offset = 0;
  r->given_offset = 0;
}

static uint64_t window_end(const log_reader *r) {
  return r->window_offset + r->window.size;
}

/* Drop what is before offset, which is in the window or at its end, and read on until `want` bytes
** from offset on are there or the file ends. One more byte of room is kept, for the LF that the
** file's last line may lack. */
static int window_read(log_reader *r, uint64_t offset, size_t want) {
  buf *b = &r->window;
  size_t drop = (size_t)(offset - r->window_offset);
  size_t room = want > BLOCK_SIZE ? want : BLOCK_SIZE;
  uint64_t left = r->size > offset ? r->size - offset : 0;
  if (room > left) room = (size_t)left; /* a small file needs a small window */
  assert(drop <= b->size && (drop == 0 || b->data != NULL));
  if (drop > 0) memmove(b->data, b->data + drop, b->size - drop);
  b->size -= drop;
  r->window_offset = offset;
  assert(b->size <= room);
  size_t more = room - b->size;
  if (buf_reserve(b, more + 1) != KV_OK) return KV_ENOMEM;
  if (more == 0) return KV_OK;
  ssize_t got = os_read_all(r->fd, b->data + b->size, more, window_end(r));
  if (got < 0) return KV_EIO;
  b->size += (size_t)got;
  if ((size_t)got < more) r->size = window_end(r);
  return KV_OK;
}

/* Have the file's bytes from offset on in the window, at least `want` > 0 of them unless the file
** ends first. *data stays valid until the next call. */
static int window_at(log_reader *r, uint64_t offset, size_t want, char **data, size_t *size) {
  if (offset < r->window_offset || offset < r->given_offset || offset > window_end(r)) {
    r->window.size = 0;
    r->window_offset = offset;
    r->given_offset = 0;
  }
  bool short_of = window_end(r) - offset < want && window_end(r) < r->size;
  if (short_of || r->window.data == NULL) {
    int rc = window_read(r, offset, want);
    if (rc != KV_OK) return rc;
  }
  *data = r->window.data + (offset - r->window_offset);
  *size = (size_t)(window_end(r) - offset);
  return KV_OK;
}

int log_reader_line(log_reader *r, uint64_t offset, char **line, size_t *line_size, bool *ended) {
  char *data;
  char *lf = NULL;
  size_t size;
  size_t want = 1;
  size_t searched = 0;
  for (;;) {
    int rc = window_at(r, offset, want, &data, &size);
    if (rc != KV_OK) return rc;
    lf = memchr(data + searched, '\n', size - searched);
    if (lf != NULL || size < want) break;
    searched = size;
    want = size + (size < BLOCK_SIZE / 2 ? 1 : BLOCK_SIZE);
  }
  *line = data;
  *line_size = lf != NULL ? (size_t)(lf - data) : size;
  *ended = lf != NULL;
  r->given_offset = offset + *line_size + *ended;
  return KV_OK;
}

void log_reader_peek(const log_reader *r, uint64_t offset, const char **data, size_t *size) {
  uint64_t before = offset - r->window_offset; /* wraps around if the window has gone on */
  assert(offset >= r->given_offset);
  *data = NULL;
  *size = 0;
  if (before >= r->window.size) return;
  *data = r->window.data + before;
  *size = r->window.size - (size_t)before;
}

int log_reader_zeros(log_reader *r, uint64_t offset, bool *zeros) {
  for (;;) {
    char *data;
    size_t size;
    int rc = window_at(r, offset, 1, &data, &size);
    if (rc != KV_OK) return rc;
    /* the first is zero and each is like the one before it */
    if (size > 0 && (data[0] != '\0' || memcmp(data, data + 1, size - 1) != 0)) {
      *zeros = false;
      return KV_OK;
    }
    if (size == 0) break;
    offset += size;
  }
  *zeros = true;
  return KV_OK;
}

/* ---- scanning ---- */

/* A walk from line to line. The bytes from `summed` on are in the window. */
typedef struct scan {
  log_reader *reader;
  uint64_t begin;  /* where it began, which may be where a transaction begins */
  uint64_t summed; /* crc is that of id and the bytes from begin to here */
  uint64_t line;   /* where the current line starts */
  uint64_t next;   /* behind its LF; while that is looked for, behind what has been searched */
  const char *at;  /* next, in the window */
  const char *end; /* of the window */
  uint32_t crc;
  bool ended;  /* the current line has an LF */
  bool commit; /* the current line begins like a COMMIT */
} scan;

static void scan_sum(scan *s, uint64_t upto) {
  assert(s->summed <= upto && upto <= s->next);
  s->crc = crc32c(s->crc, s->at - (s->next - s->summed), (size_t)(upto - s->summed));
  s->summed = upto;
}

/* Have room for a COMMIT line behind `next` in the window. What is kept before it: the transaction
** so far while it is small, or else as much of the line as a COMMIT line could be. */
static int scan_fill(scan *s) {
  uint64_t keep = s->begin;
  if (s->next - s->begin > BLOCK_SIZE / 2) {
    keep = s->line;
    if (s->next - keep > LOG_COMMIT_SIZE_MAX + 1) keep = s->next - (LOG_COMMIT_SIZE_MAX + 1);
    if (keep > s->summed) scan_sum(s, keep);
  }
  char *data;
  size_t size;
  size_t before = (size_t)(s->next - keep);
  int rc = window_at(s->reader, keep, before + LOG_COMMIT_SIZE_MAX + 1, &data, &size);
  if (rc != KV_OK) return rc;
  assert(size >= before); /* these were in the window and stayed */
  s->at = data + before;
  s->end = data + size;
  return KV_OK;
}

static int scan_begin(scan *s, log_reader *r, uint64_t offset) {
  *s = (scan){.reader = r, .begin = offset, .summed = offset, .line = offset, .next = offset};
  s->crc = crc32c(0, r->id, LOG_ID_SIZE);
  return scan_fill(s);
}

/* Go on to the next line; s->ended is false if the file ends before its LF. */
static int scan_line(scan *s) {
  s->line = s->next;
  s->ended = false;
  if (s->end - s->at <= LOG_COMMIT_SIZE_MAX) {
    int rc = scan_fill(s);
    if (rc != KV_OK) return rc;
  }
  s->commit = s->end - s->at >= 7 && memcmp(s->at, "COMMIT\t", 7) == 0;
  while (s->at < s->end) {
    const char *lf = memchr(s->at, '\n', (size_t)(s->end - s->at));
    const char *to = lf != NULL ? lf + 1 : s->end;
    s->next += (uint64_t)(to - s->at);
    s->at = to;
    s->ended = lf != NULL;
    if (s->ended) return KV_OK;
    int rc = scan_fill(s);
    if (rc != KV_OK) return rc;
  }
  return KV_OK;
}

int log_reader_transaction(log_reader *r, uint64_t offset, log_transaction *out) {
  scan s;
  log_record commit;
  uint64_t ops = 0;
  int rc = scan_begin(&s, r, offset);
  if (rc != KV_OK) return rc;
  for (;; ops++) {
    rc = scan_line(&s);
    if (rc != KV_OK) return rc;
    if (!s.ended) return KV_ETORN;
    if (s.commit) break;
  }
  uint64_t size = s.next - 1 - s.line;
  if (size > LOG_COMMIT_SIZE_MAX) return KV_ETORN; /* and maybe not all in the window */
  if (!log_parse_commit(s.at - 1 - size, (size_t)size, &commit)) return KV_ETORN;
  scan_sum(&s, s.line + commit.crc_offset);
  if (s.crc != commit.crc) return KV_ETORN;
  *out = (log_transaction){.offset = offset,
                           .end_offset = s.next,
                           .ops = ops,
                           .seq = commit.seq,
                           .durable_seq = commit.durable_seq};
  return KV_OK;
}

/* ---- looking ahead ---- */

/* True if the current line ends with what spells a COMMIT line, which starts *size bytes before the
** LF. Mostly it is the whole line; more stands in front of it if an LF was damaged. */
static bool scan_ends_with_commit(const scan *s, log_record *out, size_t *size) {
  const char *lf = s->at - 1;
  uint64_t line_size = s->next - 1 - s->line;
  size_t most = line_size < LOG_COMMIT_SIZE_MAX ? (size_t)line_size : LOG_COMMIT_SIZE_MAX;
  if (most < LOG_COMMIT_SIZE_MIN || lf[-9] != '\t') return false; /* TAB and crc */
  size_t back = 0;
  for (int tabs = 0; tabs < 3; tabs += lf[-(ptrdiff_t)back] == '\t') {
    if (++back > most - 6) return false; /* "COMMIT" is in front of the third TAB from behind */
  }
  *size = back + 6;
  return log_parse_commit(lf - *size, *size, out);
}

/* A walk backwards from a COMMIT line, in search of where its transaction starts. */
typedef struct walk {
  log_reader *reader;
  buf block;
  uint64_t bound;  /* not further than here */
  uint64_t commit; /* where the COMMIT line starts */
  uint64_t at;     /* how far back it has come */
  uint64_t ops;    /* lines crossed */
  uint32_t crc;    /* the state that makes the bytes from here on sum up to the COMMIT line's crc */
  uint32_t id_crc; /* the state it has to be at the start */
} walk;

typedef enum walk_result { WALK_ON, WALK_FOUND, WALK_END } walk_result;

static bool begins_like_op(const char *at) {
  return memcmp(at, "WRITE\t", 6) == 0 || memcmp(at, "DELETE\t", 7) == 0;
}

/* Walk over the size bytes before w->at, which are at data, with OP_WORD_SIZE_MAX more behind. */
static walk_result walk_block(walk *w, const char *data, size_t size) {
  while (size > 0) {
    const char *byte = &data[size - 1];
    bool at_commit = w->at == w->commit;
    if (*byte == '\n') {
      if (!at_commit && !begins_like_op(byte + 1)) return WALK_END;
      w->ops++;
    } else if (at_commit) {
      return WALK_END;
    }
    w->crc = crc32c_unstep(w->crc, (unsigned char)*byte);
    w->at--;
    size--;
    if (w->crc == w->id_crc && begins_like_op(byte)) return WALK_FOUND;
  }
  return WALK_ON;
}

/* The size bytes of the file at offset: in the window if they are there, otherwise in w->block, so
** that the window stays where the scan needs it. *data is NULL if the file no longer has them. */
static int walk_read(walk *w, uint64_t offset, size_t size, const char **data) {
  const log_reader *r = w->reader;
  assert(offset >= r->given_offset);      /* from where the scan began nothing was given out */
  assert(offset + size <= window_end(r)); /* the COMMIT line is in it */
  if (offset >= r->window_offset) {
    *data = r->window.data + (offset - r->window_offset);
    return KV_OK;
  }
  assert(size <= WALK_SIZE + OP_WORD_SIZE_MAX && w->block.size == 0);
  if (buf_reserve(&w->block, WALK_SIZE + OP_WORD_SIZE_MAX) != KV_OK) return KV_ENOMEM;
  ssize_t got = os_read_all(r->fd, w->block.data, size, offset);
  if (got < 0) return KV_EIO;
  *data = (size_t)got == size ? w->block.data : NULL;
  return KV_OK;
}

/* Find where the transaction starts whose COMMIT line, size bytes without its LF, is the end of the
** current line of the scan. *found tells whether it has a start; then w->at and w->ops are set. */
static int walk_back(walk *w, const scan *s, const log_record *commit, size_t size, bool *found) {
  const char *line = s->at - 1 - size;
  walk_result result = WALK_ON;
  w->bound = s->begin;
  w->commit = s->next - 1 - size;
  w->at = w->commit;
  w->ops = 0;
  w->crc = commit->crc;
  for (size_t i = commit->crc_offset; i-- > 0;) {
    w->crc = crc32c_unstep(w->crc, (unsigned char)line[i]);
  }
  if (w->crc == w->id_crc) result = WALK_FOUND; /* a COMMIT of nothing */
  while (result == WALK_ON && w->at > w->bound) {
    uint64_t left = w->at - w->bound;
    size_t step = left < WALK_SIZE ? (size_t)left : WALK_SIZE;
    const char *data;
    int rc = walk_read(w, w->at - step, step + OP_WORD_SIZE_MAX, &data);
    if (rc != KV_OK) return rc;
    result = data != NULL ? walk_block(w, data, step) : WALK_END;
  }
  *found = result == WALK_FOUND;
  return KV_OK;
}

/* Find out whether the current line of the scan is the end of a whole transaction. */
static int lookahead_line(scan *s, walk *w, uint64_t lines, bool *ended, bool *found,
                          log_transaction *out) {
  log_record commit;
  size_t size;
  *found = false;
  *ended = scan_ends_with_commit(s, &commit, &size);
  if (!*ended) return KV_OK;
  *out = (log_transaction){.offset = s->begin,
                           .end_offset = s->next,
                           .ops = lines,
                           .seq = commit.seq,
                           .durable_seq = commit.durable_seq};
  scan_sum(s, s->next - 1 - size + commit.crc_offset);
  *found = s->crc == commit.crc;
  if (*found) return KV_OK;
  int rc = walk_back(w, s, &commit, size, found);
  out->offset = w->at;
  out->ops = w->ops;
  return rc;
}

int log_reader_lookahead(log_reader *r, uint64_t offset,
                         bool (*found)(void *context, const log_transaction *t), void *context) {
  scan s;
  walk w = {.reader = r, .id_crc = crc32c(0, r->id, LOG_ID_SIZE)};
  uint64_t lines = 0; /* since the scan began */
  int rc = scan_begin(&s, r, offset);
  while (rc == KV_OK) {
    log_transaction t;
    bool commit;
    bool whole;
    rc = scan_line(&s);
    if (rc != KV_OK || !s.ended) break;
    rc = lookahead_line(&s, &w, lines, &commit, &whole, &t);
    lines++;
    if (rc != KV_OK || !commit) continue;
    if (whole && !found(context, &t)) break;
    lines = 0;
    rc = scan_begin(&s, r, s.next);
  }
  int saved = errno;
  buf_free(&w.block);
  errno = saved;
  return rc;
}
