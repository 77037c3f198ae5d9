/*
** store_join.c - opening a store's log among other processes, and leaving it.
**
** Whoever comes first recovers the log: replays it, cuts off a torn tail, brings what is left to
** stable storage, and fills the shared page. Others wait for that at the page's lock. Those that
** come later find a page in use, and replay as far as it says that transactions are visible. So only
** one process ever judges a tail, and none does while another appends.
*/
#include "store.h"

#include "log_place.h"
#include "os.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#define FIND_PAUSE_NS 1000000u
#define FOREIGN_WAIT_NS 200000000u /* for a log that is being put back by hand */

static int open_error(const store *s, int reason, kv_error *err) {
  const char *hint = reason == EACCES || reason == EROFS ? "; readonly=1 opens it for reading" : "";
  return kv_error_set(err, KV_ECANTOPEN, "cannot open '%s': %s%s", s->path, strerror(reason),
                      s->readonly ? "" : hint);
}

/* Whether the names of the files beside the log have room: `more` is by how much they are longer. */
static int check_name(const store *s, size_t more, kv_error *err) {
  const char *slash = strrchr(s->path, '/'), *name = slash != NULL ? slash + 1 : s->path;
  size_t name_max = NAME_MAX - more, path_max = PATH_MAX - 1 - more;
  if (strlen(name) > name_max) {
    return kv_error_set(
        err, KV_ECANTOPEN,
        "a log's name has at most %zu bytes, to leave room for the names of the files "
        "beside it: the one of '%s' has %zu",
        name_max, s->path, strlen(name));
  }
  if (strlen(s->path) <= path_max) return KV_OK;
  return kv_error_set(
      err, KV_ECANTOPEN,
      "a log's path has at most %zu bytes, to leave room for the names of the files "
      "beside it: '%.500s...' has %zu",
      path_max, s->path, strlen(s->path));
}

/* There is no such file: will it be possible to create it? */
static int check_creatable(const store *s, kv_error *err) {
  assert(!s->readonly);
  char *folder = os_folder_of(s->path);
  if (folder == NULL) return kv_error_set(err, KV_ENOMEM, "out of memory opening '%s'", s->path);
  int rc =
      os.access(folder, W_OK | X_OK) == 0
          ? KV_OK
          : kv_error_set(err, KV_ECANTOPEN, "cannot create '%s': %s", s->path, strerror(errno));
  os.free(folder);
  return rc;
}

/* Open the log; *fd is -1 if there is none, which is no error. */
static int open_log(const store *s, int *fd, struct stat *facts, kv_error *err) {
  /* Not blocking, so that a pipe in the file's place cannot hang us. */
  *fd = os.open(s->path, (s->readonly ? O_RDONLY : O_RDWR) | O_NONBLOCK, 0);
  if (*fd < 0) return errno == ENOENT ? KV_OK : open_error(s, errno, err);
  int rc = os.fstat(*fd, facts) == 0 ? KV_OK : log_error(err, "fstat", s->path);
  if (rc == KV_OK && !S_ISREG(facts->st_mode)) {
    rc = kv_error_set(err, KV_ECANTOPEN, "'%s' is not a regular file", s->path);
  }
  if (rc != KV_OK) {
    os.close(*fd);
    *fd = -1;
  }
  return rc;
}

/* Replay a file into the empty tree. */
static int replay_into_tree(store *s, int fd, uint64_t last_seq, kv_error *err) {
  if (tree_edit_begin(&s->tree) != KV_OK) {
    return kv_error_set(err, KV_ENOMEM, "out of memory opening '%s'", s->path);
  }
  int rc = recover_replay(fd, s->path, &s->tree, last_seq, &s->recovered, err);
  if (rc != KV_OK) tree_edit_rollback(&s->tree);
  return rc;
}

/* The tree has it all; the file stays open for reading on. */
static void begin_following(store *s, int fd, const share_file *file, const struct stat *seen) {
  s->follow.fd = fd;
  s->follow.generation = file != NULL ? file->generation : 0;
  s->follow.at = s->recovered;
  if (seen != NULL) s->follow.seen = *seen;
  commit_seal_others(&s->queue, s->recovered.seq);
}

/* What is served is on stable storage, also where nothing will be written. A file system that is
** read-only may refuse to flush. */
static int sync_as_it_is(const store *s, int fd, kv_error *err) {
  if (os_sync_data(fd) == 0 || errno == EROFS || errno == EINVAL) return KV_OK;
  return log_error(err, "fdatasync", s->path);
}

/* Open the file that fd has open once more, for reading; *reading is -1 if its name is another's. */
static int open_again(const store *s, int fd, int *reading, kv_error *err) {
  struct stat facts, named;
  *reading = os.open(s->path, O_RDONLY | O_NONBLOCK, 0);
  if (*reading < 0) return errno == ENOENT ? KV_OK : open_error(s, errno, err);
  int rc = KV_OK;
  if (os.fstat(fd, &facts) != 0 || os.fstat(*reading, &named) != 0) {
    rc = log_error(err, "fstat", s->path);
  } else if (facts.st_dev == named.st_dev && facts.st_ino == named.st_ino) {
    return KV_OK;
  }
  os.close(*reading);
  *reading = -1;
  return rc;
}

/* --- the first one ---------------------------------------------------------------------------------- */

/* Tell the others how the log is. */
static void fill_page(store *s, const log_writer *writer) {
  share_page *page = s->share.page;
  const recovery *found = &s->recovered;
  uint64_t base_seq = found->header.base_seq;
  share_file file = {.snapshot_seq = found->original ? found->seq
                                     : base_seq > 0  ? base_seq + 1
                                                     : 0,
                     .end = writer->end,
                     .size = writer->size};
  struct stat facts;
  if (os.fstat(writer->fd, &facts) == 0) file.inode = (uint64_t)facts.st_ino;
  if (!found->original) memcpy(file.id, writer->header.id, sizeof writer->header.id);
  atomic_store(&page->written_seq, found->seq);
  atomic_store(&page->durable_seq, found->seq);
  atomic_store(&page->unrepaired, 0);
  share_write_file(page, &file);
  atomic_store(&page->published_seq, found->seq);
  share_ready(&s->share);
}

/* Create the log. */
static int create(store *s, log_writer *writer, kv_error *err) {
  log_draft draft;
  int rc = log_draft_begin(&draft, s->path, &s->file_rights, 0, err);
  if (rc == KV_OK) rc = log_draft_finish(&draft, -1, writer, err);
  if (rc == KV_OK) s->recovered.header = writer->header;
  if (rc == KV_OK) s->recovered.end = writer->end;
  return rc;
}

/* An original log stays as it is until the first write. A crash while it was being converted may have
** left a draft. */
static int accept_original(store *s, int fd, kv_error *err) {
  const recovery *found = &s->recovered;
  int rc = sync_as_it_is(s, fd, err);
  if (rc != KV_OK) return rc;
  log_draft_clean(s->path);
  if (found->torn_size > 0) {
    kv_error_set(&s->notice, KV_ETORN,
                 "log '%s': its last %" PRIu64 " bytes, behind line %" PRIu64
                 ", are a line that a crash has cut; the first write keeps them in "
                 "'%s-torn-%" PRIu64 "'",
                 s->path, found->torn_size, found->lines, s->path, found->end);
  }
  return KV_OK;
}

/* Nobody else has the log open: recover it, or create it where there is none. */
static int open_alone(store *s, log_writer *writer, int *reading, kv_error *err) {
  struct stat facts;
  int fd;
  int rc = open_log(s, &fd, &facts, err);
  if (rc != KV_OK) return rc;
  bool new_file = fd < 0;
  if (new_file) {
    rc = tree_edit_begin(&s->tree) == KV_OK ? create(s, writer, err)
                                            : kv_error_set(err, KV_ENOMEM, "out of memory");
    if (rc != KV_OK && s->tree.edit.open) tree_edit_rollback(&s->tree);
  } else {
    log_writer old = {.fd = fd, .path = s->path};
    if (os.is_locked(fd, 0, 0) == 1) {
      rc = kv_error_set(err, KV_EBUSY,
                        "'%s' is open in a process that does not share it: the file '%s' was "
                        "removed, or the log has two names; readonly=1 reads what it holds now",
                        s->path, s->share.path);
    }
    if (rc == KV_OK) rc = log_writer_share(&old, err);
    if (rc == KV_OK) rc = replay_into_tree(s, fd, UINT64_MAX, err);
    if (rc == KV_OK) {
      *writer = old;
      rc = s->recovered.original
               ? accept_original(s, fd, err)
               : recover_finish(fd, s->path, &s->recovered, writer, &s->notice, err);
      if (rc != KV_OK) tree_edit_rollback(&s->tree);
    }
    if (rc != KV_OK) os_close_locked(fd);
  }
  if (rc == KV_OK) {
    rc = open_again(s, writer->fd, reading, err);
    if (rc == KV_OK && *reading < 0) rc = log_place_error(LOG_REPLACED, s->path, err);
    if (rc != KV_OK) tree_edit_rollback(&s->tree);
    if (rc != KV_OK) os_close_locked(writer->fd);
  }
  if (rc != KV_OK) writer->fd = -1;
  return rc;
}

/* --- later ones ------------------------------------------------------------------------------------- */

/* Whether an open file is the log that the page speaks of. KV_EIO, KV_ENOMEM: it cannot be told. */
static int is_log_of(int fd, const store *s, const share_file *file, bool *is, kv_error *err) {
  recovery found;
  int rc = recover_header(fd, s->path, &found, err);
  if (rc == KV_EIO || rc == KV_ENOMEM) return rc;
  bool original = file->id[0] == '\0';
  *is = false;
  if (rc != (original ? KV_EFOREIGN : KV_OK)) return KV_OK;
  rc = log_place_compare(fd, s->path, file, original ? "" : found.header.id, err);
  *is = rc == KV_OK;
  return rc == KV_EBUSY ? KV_OK : rc;
}

/* The log is not the page's: whoever was replacing it has died, or is at it. */
static int help_switch(store *s, kv_error *err) {
  bool inherited;
  share_page *page = s->share.page;
  if (!share_lock_take(&s->share, &page->turn, os.now_ns() + FIND_PAUSE_NS, &inherited))
    return KV_OK;
  int rc = KV_OK;
  if (inherited) atomic_store(&page->unrepaired, 1);
  if (atomic_load(&page->unrepaired)) rc = store_find_file(s, err);
  share_lock_pass(&s->share, &page->turn);
  return rc;
}

/* Open the log as the others have it, and once more for reading. */
static int open_with_others(store *s, log_writer *writer, int *reading, share_file *file,
                            store_wait *w, kv_error *err) {
  uint64_t began_ns = os.now_ns();
  struct stat facts;
  for (;;) {
    int fd = -1;
    bool is_it = false;
    share_read_file(s->share.page, file);
    int rc = open_log(s, &fd, &facts, err);
    if (rc == KV_OK && fd >= 0) rc = is_log_of(fd, s, file, &is_it, err);
    if (rc == KV_OK && is_it) rc = open_again(s, fd, reading, err);
    if (rc == KV_OK && is_it && *reading >= 0) {
      *writer = (log_writer){.fd = fd, .path = s->path};
      rc = log_writer_share(writer, err);
      if (rc == KV_OK) {
        rc = replay_into_tree(s, fd, atomic_load(&s->share.page->published_seq), err);
      }
      writer->header = s->recovered.header;
      if (rc == KV_OK) return KV_OK;
    }
    if (fd >= 0) os_close_locked(fd);
    if (*reading >= 0) os.close(*reading);
    writer->fd = *reading = -1;
    if (rc != KV_OK) return rc;
    const share_limit *limit = store_wait_limit(w);
    if (share_is_interrupted(limit)) {
      return kv_error_set(err, KV_EINTERRUPTED, "interrupted opening '%s'", s->path);
    }
    if (!is_it) {
      rc = log_place_check_change(LOG_REPLACED, s->share.page, file->generation, s->path, err);
    }
    if (rc != KV_OK && rc != KV_EMOVED) return rc; /* it cannot be told */
    bool changing = rc == KV_OK;
    uint64_t now_ns = os.now_ns();
    if (now_ns >= limit->deadline_ns || (!changing && now_ns - began_ns >= FOREIGN_WAIT_NS)) {
      return kv_error_set(
          err, KV_EBUSY,
          "'%s' is not the log that other processes have open: that was moved, "
          "removed or replaced, or one of them has been replacing it for long; close "
          "it everywhere",
          s->path);
    }
    rc = help_switch(s, err);
    if (rc != KV_OK) return rc;
    os_pause(FIND_PAUSE_NS);
  }
}

/* --- both ------------------------------------------------------------------------------------------- */

/* The share is joined, and locked if nobody else is there; the log is open, twice, and replayed, the
** tree's edit open. */
static void enter(store *s, const log_writer *writer, int reading, bool alone,
                  const share_file *file) {
  share_file now = *file;
  if (alone) {
    fill_page(s, writer);
    share_read_file(s->share.page, &now);
  }
  commit_queue_attach(&s->queue, writer, now.generation);
  begin_following(s, reading, &now, NULL);
}

static const share_limit *limit_of(void *waiting) {
  return store_wait_limit(waiting);
}

int store_join(store *s, bool create_it, store_wait *w, kv_error *err) {
  struct stat facts;
  int fd;
  int rc = open_log(s, &fd, &facts, err);
  if (rc != KV_OK) return rc;
  /* One that is there already may do without room for the longest. */
  rc = check_name(s, fd < 0 ? LOG_SUFFIX_MAX : LOG_SUFFIX_NEEDED, err);
  if (rc == KV_OK && fd < 0 && !create_it) return check_creatable(s, err);
  rights like = s->file_rights;
  if (rc == KV_OK && fd >= 0 && rights_read(fd, &like) != 0) rc = log_error(err, "fstat", s->path);
  bool alone;
  s->share.limit = limit_of;
  s->share.waiting = w;
  if (rc == KV_OK) rc = share_join(&s->share, s->path, &like, &alone, err);
  s->share.limit = NULL;
  s->share.waiting = NULL;
  if (fd >= 0) os.close(fd);
  if (rc != KV_OK) return rc;
  log_writer writer = {.fd = -1};
  share_file file = {.generation = 0};
  int reading = -1;
  if (alone) {
    rc = open_alone(s, &writer, &reading, err);
  } else {
    share_joined(&s->share);
    rc = open_with_others(s, &writer, &reading, &file, w, err);
  }
  if (rc != KV_OK) {
    share_leave(&s->share);
    return rc;
  }
  enter(s, &writer, reading, alone, &file);
  if (alone) share_joined(&s->share);
  atomic_store_explicit(&s->page, s->share.page, memory_order_release);
  return KV_OK;
}

/* Whether a file is the log of the page that a reader looks at, or the next one. */
static int check_shown(const store *s, int fd, kv_error *err) {
  share_page *page = s->share.page;
  share_file file;
  bool is_it = false;
  share_read_file(page, &file);
  int rc = is_log_of(fd, s, &file, &is_it, err);
  if (rc != KV_OK || is_it) return rc;
  rc = log_place_check_change(LOG_REPLACED, page, file.generation, s->path, err);
  return atomic_load(&page->published_seq) == SHARE_CLOSED ? KV_OK : rc;
}

int store_look(store *s, kv_error *err) {
  struct stat facts;
  int fd;
  bool shared = share_look(&s->share, s->path);
  int rc = open_log(s, &fd, &facts, err);
  if (rc == KV_OK && fd < 0 && s->may_be_missing) return KV_OK;
  if (rc == KV_OK && fd < 0) rc = open_error(s, ENOENT, err);
  if (rc != KV_OK) return rc;
  uint64_t last = shared ? atomic_load(&s->share.page->published_seq) : UINT64_MAX;
  recovery head;
  /* A checkpoint that is just changing over may be ahead of what is visible. */
  if (recover_header(fd, s->path, &head, NULL) == KV_OK)
    last = recover_last_seq(&head.header, last);
  if (shared) rc = check_shown(s, fd, err);
  if (rc == KV_OK) rc = replay_into_tree(s, fd, last, err);
  if (rc == KV_OK && !shared) {
    rc = sync_as_it_is(s, fd, err);
    if (rc != KV_OK) tree_edit_rollback(&s->tree);
  }
  if (rc != KV_OK) {
    os.close(fd);
    return rc;
  }
  begin_following(s, fd, NULL, &facts);
  if (shared) atomic_store_explicit(&s->page, s->share.page, memory_order_release);
  return KV_OK;
}

int store_sync_read(store *s, const kv_waiting *waiting, kv_error *err) {
  int rc = store_refresh(s, waiting, err);
  if (rc != KV_OK) return rc;
  pthread_mutex_lock(&s->follow.lock);
  if (s->follow.fd >= 0) rc = sync_as_it_is(s, s->follow.fd, err);
  pthread_mutex_unlock(&s->follow.lock);
  return rc;
}

int store_leave(store *s, kv_error *err) {
  bool last = false;
  atomic_store(&s->checkpointer.stop, true);
  if (s->checkpointer.started) pthread_join(s->checkpointer.id, NULL);
  if (s->share.member != 0) share_begin_leaving(&s->share, &last);
  if (last) last = s->page != NULL && store_confirms_end(s); /* else nothing is cut off there */
  int rc = commit_queue_close(&s->queue, last, err);
  if (s->follow.fd >= 0) os.close(s->follow.fd);
  if (s->share.path != NULL) share_leave(&s->share);
  return rc;
}
