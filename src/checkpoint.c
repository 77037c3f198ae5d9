/* checkpoint.c - making a log as small as what it holds. See checkpoint.h. */
#include "checkpoint.h"

#include "crc32c.h"
#include "log_place.h"
#include "log_read.h"
#include "os.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#define PART_SIZE ((size_t)256 << 10)  /* bytes written at a time */
#define SYNC_EVERY ((uint64_t)4 << 20) /* bytes: a flush of a little does not hold others up long */
#define REST_MAX ((uint64_t)64 << 10)  /* bytes left to copy when the turn is asked for */
#define ROUNDS_MAX 20                  /* of copying, if writers are faster than that */
#define FREE_STEP ((uint64_t)4 << 20)  /* bytes of the old file given back at a time */
#define FREE_PAUSE_NS 1000000u
#define TURN_SLICE_NS 100000000u
#define LINE_SIZE 16u /* bytes of a line besides its keypath and value, about */

typedef struct checkpoint {
  store *store;
  kv_error *err;
  log_draft draft;
  buf lines;
  uint32_t crc; /* of the snapshot's lines that were written */
  uint64_t unsynced;
  tree_pin pin;        /* the snapshot */
  int fd;              /* of the log */
  log_reader reader;   /* on it */
  uint64_t generation; /* which file that is */
  uint64_t copied;     /* everything before this byte of the log is in the draft */
  share_file file;
  log_place place; /* where the log's name led at the beginning */
  bool has_turn;
  bool is_asked;    /* for, by a command */
  bool is_hopeless; /* it need not be tried again */
  const kv_waiting *waiting;
  uint64_t left_ns; /* to wait for the turn */
} checkpoint;

static int no_memory(checkpoint *c) {
  return kv_error_set(c->err, KV_ENOMEM, "out of memory checkpointing '%s'", c->store->path);
}

static int under_way(const checkpoint *c) {
  return kv_error_set(c->err, KV_EBUSY, "a checkpoint of '%s' is under way already",
                      c->store->path);
}

/* --- the turn ------------------------------------------------------------------------------------- */

static bool is_free(log_place place) {
  return place == LOG_REMOVED || place == LOG_MOVED;
}

static int check_stop(const checkpoint *c) {
  const kv_waiting *how = c->waiting;
  if (how->is_interrupted != NULL && how->is_interrupted(how->context)) {
    return kv_error_set(c->err, KV_EINTERRUPTED, "the checkpoint of '%s' was interrupted",
                        c->store->path);
  }
  if (!atomic_load(&c->store->checkpointer.stop)) return KV_OK;
  return kv_error_set(c->err, KV_EBUSY, "'%s' is being closed", c->store->path);
}

/* The limit is for both waits together, of which the second may begin long after the first. */
static int take_turn(checkpoint *c) {
  uint64_t began_ns = os.now_ns(), end_ns = began_ns + c->left_ns;
  share_limit slice = {.is_interrupted = c->waiting->is_interrupted,
                       .context = c->waiting->context};
  int rc = KV_EBUSY;
  for (uint64_t now_ns = began_ns; rc == KV_EBUSY && now_ns < end_ns; now_ns = os.now_ns()) {
    int stop = check_stop(c);
    if (stop != KV_OK) return stop;
    slice.deadline_ns = now_ns + TURN_SLICE_NS < end_ns ? now_ns + TURN_SLICE_NS : end_ns;
    rc = store_turn_take_briefly(c->store, c, &slice, c->err);
  }
  uint64_t waited_ns = os.now_ns() - began_ns;
  c->left_ns = waited_ns + TURN_SLICE_NS < c->left_ns ? c->left_ns - waited_ns : TURN_SLICE_NS;
  c->has_turn = rc == KV_OK;
  return rc;
}

static void pass_turn(checkpoint *c) {
  if (c->has_turn) store_turn_pass(c->store, c);
  c->has_turn = false;
}

/* Until the draft is locked another process can begin a checkpoint and end it: then the log is a new
** file, and this draft, made of the old one, lacks what was appended since. */
static int check_overtaken(checkpoint *c) {
  if (atomic_load(&c->store->share.page->generation) == c->generation) return KV_OK;
  return kv_error_set(c->err, KV_EBUSY, "'%s' was just checkpointed by another", c->store->path);
}

/* Open the log once more, if its name is still its own and can be another file's. */
static int open_log(checkpoint *c) {
  store *s = c->store;
  int rc = log_place_error(c->place, s->path, c->err);
  if (rc != KV_OK) return rc;
  rc = log_place_check_mount(s->path, c->err);
  c->is_hopeless = rc != KV_OK;
  if (rc != KV_OK) return rc;
  c->fd = os.open(s->path, O_RDWR | O_NONBLOCK, 0);
  if (c->fd < 0) return log_error(c->err, "opening", s->path);
  return log_place_check_same(c->fd, s->queue.log.fd, s->path, c->err);
}

/* Pin the newest version, and open the log at its end. Of a log that has lost its name and whose name is
** free the turn is kept, for the rescue. */
static int pin_newest(checkpoint *c) {
  store *s = c->store;
  int rc = take_turn(c);
  if (rc != KV_OK) return rc;
  c->place = log_place_of(s->queue.log.fd, s->path);
  if (c->place == LOG_UNKNOWN) rc = log_place_error(c->place, s->path, c->err);
  if (c->is_asked && is_free(c->place)) return KV_OK;
  if (rc == KV_OK)
    rc = commit_end(&s->queue, &c->copied, c->err); /* the head is what is written then */
  if (rc == KV_OK && tree_pin_head(&s->tree, &c->pin) != KV_OK) rc = no_memory(c);
  if (rc == KV_OK) rc = open_log(c);
  if (rc == KV_OK) {
    log_reader_init(&c->reader, c->fd, 0);
    memcpy(c->reader.id, s->queue.log.header.id, sizeof c->reader.id);
    c->generation = atomic_load(&s->share.page->generation);
  }
  pass_turn(c);
  return rc;
}

/* --- writing ------------------------------------------------------------------------------------- */

/* Append what has gathered. Now and then it is flushed: all of it at once would keep the disk busy
** for long, and with it everybody's commits. */
static int write_lines(checkpoint *c) {
  log_writer *w = &c->draft.writer;
  int rc = log_writer_append(w, c->lines.data, c->lines.size, c->err);
  c->unsynced += c->lines.size;
  c->lines.size = 0;
  if (rc == KV_OK && c->unsynced >= SYNC_EVERY) {
    rc = log_writer_sync(w, c->err);
    c->unsynced = 0;
  }
  return rc == KV_OK ? check_stop(c) : rc;
}

/* A line of the snapshot stands at the end of c->lines. */
static int write_if_much(checkpoint *c) {
  if (c->lines.size < PART_SIZE) return KV_OK;
  c->crc = crc32c(c->crc, c->lines.data, c->lines.size);
  return write_lines(c);
}

static int write_rows(checkpoint *c) {
  tree_cursor cursor;
  tree_cursor_init(&cursor, c->pin.top);
  int rc = tree_cursor_first(&cursor) == KV_OK ? KV_OK : no_memory(c);
  while (rc == KV_OK && cursor.leaf != NULL) {
    size_t size;
    kv_value value;
    const char *key = tree_leaf_key(cursor.leaf, &size);
    tree_leaf_value(cursor.leaf, &value);
    if (log_format_write(&c->lines, key, size, &value) != KV_OK) rc = no_memory(c);
    if (rc == KV_OK) rc = write_if_much(c);
    if (rc == KV_OK && tree_cursor_next(&cursor) != KV_OK) rc = no_memory(c);
  }
  tree_cursor_free(&cursor);
  return rc;
}

static int write_snapshot(checkpoint *c) {
  static const char nothing[] = "kvstore";
  uint64_t seq = c->pin.seq;
  c->crc = crc32c(0, c->draft.writer.header.id, LOG_ID_SIZE);
  int rc = write_rows(c);
  if (rc == KV_OK && c->pin.top == 0 &&
      log_format_delete(&c->lines, nothing, sizeof nothing - 1) != KV_OK) {
    rc = no_memory(c);
  }
  if (rc == KV_OK && log_format_commit_after(&c->lines, 0, c->crc, seq, seq - 1) != KV_OK) {
    rc = no_memory(c);
  }
  if (rc == KV_OK) rc = write_lines(c);
  if (rc == KV_OK) rc = log_writer_sync(&c->draft.writer, c->err);
  c->file.snapshot_seq = seq;
  c->file.snapshot_end = c->draft.writer.end;
  return rc;
}

/* --- copying what came meanwhile -------------------------------------------------------------------- */

/* A transaction is the same but for the checksum at its end, which is under the new file's id. */
static int copy_transaction(checkpoint *c, const log_transaction *t) {
  uint64_t end = t->end_offset - LOG_COMMIT_END_SIZE;
  uint32_t crc = crc32c(0, c->draft.writer.header.id, LOG_ID_SIZE);
  int rc = KV_OK;
  for (uint64_t at = t->offset; rc == KV_OK && at < end;) {
    size_t size = end - at < PART_SIZE ? (size_t)(end - at) : PART_SIZE;
    if (buf_reserve(&c->lines, size) != KV_OK) return no_memory(c);
    char *to = c->lines.data + c->lines.size;
    if (os_read_exactly(c->fd, to, size, at) != 0) {
      return log_error(c->err, "read", c->store->path);
    }
    crc = crc32c(crc, to, size);
    c->lines.size += size;
    at += size;
    if (c->lines.size >= PART_SIZE) rc = write_lines(c);
  }
  if (rc == KV_OK && log_format_commit_end(&c->lines, crc) != KV_OK) rc = no_memory(c);
  return rc;
}

/* Copy what lies before byte `end` of the log. */
static int copy_until(checkpoint *c, uint64_t end) {
  int rc = KV_OK;
  c->reader.size = end;
  while (rc == KV_OK && c->copied < end) {
    log_transaction t;
    rc = log_reader_transaction(&c->reader, c->copied, &t);
    if (rc == KV_ETORN) {
      return kv_error_set(c->err, KV_EIO,
                          "read of '%s' failed: the transaction at byte %" PRIu64
                          " does not verify",
                          c->store->path, c->copied);
    }
    if (rc == KV_EIO) return log_error(c->err, "read", c->store->path);
    if (rc != KV_OK) return no_memory(c);
    rc = copy_transaction(c, &t);
    if (rc == KV_OK) c->copied = t.end_offset;
  }
  if (rc == KV_OK && c->lines.size > 0) rc = write_lines(c);
  return rc;
}

/* Copy until little is left, which is on stable storage then. */
static int catch_up(checkpoint *c) {
  const share_page *page = c->store->share.page;
  int rc = KV_OK;
  for (int round = 0; rc == KV_OK && round < ROUNDS_MAX; round++) {
    uint64_t end = share_end(page, c->generation);
    if (end - c->copied <= REST_MAX && round > 0) break;
    rc = copy_until(c, end);
    if (check_overtaken(c) != KV_OK) return KV_EBUSY;
    if (rc == KV_OK) rc = log_writer_sync(&c->draft.writer, c->err);
  }
  return rc;
}

/* --- changing over ---------------------------------------------------------------------------------- */

/* Give the draft the log's name, which the open file old_fd has or (-1) nothing, and go on in it. The
** draft has everything before byte `end` of the log. */
static int change_file(checkpoint *c, int old_fd, uint64_t end) {
  store *s = c->store;
  share_page *page = s->share.page;
  log_writer writer = {.fd = -1};
  memcpy(c->file.id, c->draft.writer.header.id, sizeof c->draft.writer.header.id);
  c->file.inode = log_draft_inode(&c->draft);
  share_announce(page, c->file.id, c->file.inode);
  kv_error why;
  int rc = log_draft_finish(&c->draft, old_fd, &writer, &why);
  if (writer.fd < 0) {
    share_announce(page, NULL, 0);
    c->is_hopeless = rc == KV_ECANTOPEN; /* mounted by itself */
    return kv_error_set(c->err, rc, "%s", why.text);
  }
  /* The turn may have been kept since other handles committed: the tree has all of that. */
  pthread_mutex_lock(&s->follow.lock);
  s->follow.at.seq = s->queue.handed_seq;
  s->follow.at.end = end;
  pthread_mutex_unlock(&s->follow.lock);
  atomic_fetch_add(&page->checkpoints, 1);
  atomic_store(&page->checkpoint_time, os.time_s());
  commit_switch(&s->queue, &writer, &c->file);
  if (rc != KV_OK) {
    commit_break(&s->queue, rc, why.text);
    return kv_error_set(c->err, rc, "%s", why.text);
  }
  pthread_mutex_lock(&s->follow.lock);
  (void)store_follow_written(s, NULL); /* else the next statement will */
  pthread_mutex_unlock(&s->follow.lock);
  return KV_OK;
}

static int change_over(checkpoint *c) {
  uint64_t end = 0;
  int rc = check_overtaken(c);
  if (rc == KV_OK) rc = commit_end(&c->store->queue, &end, c->err);
  if (rc == KV_OK) rc = copy_until(c, end);
  if (rc == KV_OK) rc = log_draft_match(&c->draft, c->fd, c->err); /* they may be others by now */
  return rc == KV_OK ? change_file(c, c->fd, end) : rc;
}

static int run(checkpoint *c) {
  int rc = log_draft_replace(&c->draft, c->store->path, c->fd, c->pin.seq - 1, c->err);
  if (rc == KV_EBUSY) return under_way(c);
  if (rc != KV_OK) return rc;
  rc = check_overtaken(c);
  if (rc == KV_OK) rc = write_snapshot(c);
  tree_unpin(&c->store->tree, &c->pin);
  if (rc == KV_OK) rc = catch_up(c);
  if (rc == KV_OK) rc = take_turn(c);
  if (rc == KV_OK) rc = change_over(c);
  pass_turn(c);
  return rc;
}

/* Give the old file's space back bit by bit: a file system that frees a gigabyte at once holds up
** everybody's flushes meanwhile (half a second was seen). Not if others are still reading it, or if it
** has got another name. */
static void give_back(const checkpoint *c) {
  struct stat facts;
  if (os.fstat(c->fd, &facts) != 0 || facts.st_nlink > 0 || os.is_locked(c->fd, 0, 0) != 0) return;
  for (uint64_t size = (uint64_t)facts.st_size; size > FREE_STEP;) {
    size -= FREE_STEP;
    if (os_truncate(c->fd, size) != 0 || check_stop(c) != KV_OK) return;
    os_pause(FREE_PAUSE_NS);
  }
}

/* --- a log that has lost its name ------------------------------------------------------------------------ */

/* The draft has the rights of the log without a name, as far as the caller may give them: better another
** owner than no log. */
static int begin_rescue(checkpoint *c) {
  store *s = c->store;
  rights like;
  pthread_mutex_lock(&s->follow.lock);
  int rc = rights_read(s->follow.fd, &like) == 0 ? KV_OK : log_error(c->err, "fstat", s->path);
  if (rc == KV_OK) rc = log_draft_begin(&c->draft, s->path, &like, c->pin.seq - 1, c->err);
  pthread_mutex_unlock(&s->follow.lock);
  return rc == KV_EBUSY ? under_way(c) : rc;
}

/* With the turn: everything that was handed over; the store goes on in the new file. */
static int rescue_all(checkpoint *c) {
  store *s = c->store;
  uint64_t end;
  int rc = commit_end(&s->queue, &end, c->err); /* what is lost by now is not in the head */
  if (rc != KV_OK) return rc;
  if (tree_pin_head(&s->tree, &c->pin) != KV_OK) return no_memory(c);
  if (c->pin.seq == 0) return log_place_error(c->place, s->path, c->err);
  rc = begin_rescue(c);
  if (rc == KV_OK) rc = write_snapshot(c);
  if (rc == KV_OK) rc = commit_failure(&s->queue, c->err); /* a flush may have failed meanwhile */
  return rc == KV_OK ? change_file(c, -1, end) : rc;
}

/* After a flush has failed: what was committed and not refused. The store stays read-only, since its
** tree has what was refused. */
static int rescue_published(checkpoint *c) {
  store *s = c->store;
  pthread_mutex_lock(&s->follow.lock);
  c->place = log_place_of(s->follow.fd, s->path);
  pthread_mutex_unlock(&s->follow.lock);
  if (c->place == LOG_IN_PLACE) return KV_EMOVED; /* again; the text is there */
  if (!is_free(c->place)) return log_place_error(c->place, s->path, c->err);
  if (tree_pin_published(&s->tree, &c->pin) != KV_OK) return no_memory(c);
  if (c->pin.seq == 0) return log_place_error(c->place, s->path, c->err);
  log_writer writer = {.fd = -1};
  int rc = begin_rescue(c);
  if (rc == KV_OK) rc = write_snapshot(c);
  if (rc == KV_OK) rc = log_draft_finish(&c->draft, -1, &writer, c->err);
  if (writer.fd >= 0) os_close_locked(writer.fd);
  return rc;
}

static int run_any(checkpoint *c) {
  int rc = pin_newest(c);
  if (rc == KV_OK && !c->has_turn) return c->pin.seq > 0 ? run(c) : KV_OK;
  if (rc == KV_OK) rc = rescue_all(c);
  pass_turn(c);
  if (rc != KV_EMOVED || !c->is_asked) return rc;
  log_draft_drop(&c->draft);
  tree_unpin(&c->store->tree, &c->pin);
  c->lines.size = 0;
  return rescue_published(c);
}

static int run_and_free(checkpoint *c) {
  store *s = c->store;
  int rc = run_any(c);
  if (rc != KV_OK) log_draft_drop(&c->draft);
  tree_unpin(&s->tree, &c->pin);
  log_reader_free(&c->reader);
  if (c->fd >= 0) {
    if (rc == KV_OK) give_back(c);
    os.close(c->fd);
  }
  buf_free(&c->lines);
  return rc;
}

static checkpoint prepare(store *s, const kv_waiting *waiting, kv_error *err) {
  store_wait wait = {.how = waiting};
  return (checkpoint){.store = s,
                      .err = err,
                      .fd = -1,
                      .draft.writer.fd = -1,
                      .waiting = waiting,
                      .left_ns = store_wait_limit(&wait)->deadline_ns - os.now_ns()};
}

int checkpoint_run(store *s, const kv_waiting *waiting, kv_error *err) {
  checkpoint c = prepare(s, waiting, err);
  c.is_asked = true;
  int rc = run_and_free(&c);
  if (rc == KV_OK) atomic_store(&s->checkpointer.not_before, 0);
  return rc;
}

/* --- by itself --------------------------------------------------------------------------------------- */

static void *checkpointer_main(void *context) {
  static const kv_waiting patient = {.timeout_ms = NULL};
  store *s = context;
  checkpoint c = prepare(s, &patient, NULL);
  int rc = run_and_free(&c);
  store_tidy_all(s);
  if (rc != KV_OK) { /* not again before it is half as large again */
    uint64_t end = share_log_end(s->share.page);
    uint64_t not_before = c.is_hopeless ? UINT64_MAX : end + end / 2;
    atomic_store(&s->checkpointer.not_before, not_before);
  }
  atomic_store(&s->checkpointer.busy, false);
  return NULL;
}

void checkpoint_consider(store *s, uint64_t least) {
  const share_page *page = s->share.page;
  uint64_t end = share_log_end(page);
  if (end < least || end < atomic_load(&s->checkpointer.not_before)) return;
  uint64_t values = tree_values(s->tree.head->top);
  if (end / CHECKPOINT_RATIO < s->tree.head->bytes + values * LINE_SIZE) return;
  if (atomic_exchange(&s->checkpointer.busy, true)) return;
  if (s->checkpointer.started) pthread_join(s->checkpointer.id, NULL);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  s->checkpointer.started = pthread_create(&s->checkpointer.id, NULL, checkpointer_main, s) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!s->checkpointer.started) atomic_store(&s->checkpointer.busy, false);
}
