/*
** store_follow.c - what other processes have committed comes into this one's tree.
**
** The tree is a replay of the log up to a transaction; following is to go on with it. `follow.at`
** tells where that is: after the transaction at.seq, at byte at.end of the file that follow.fd has
** open. While this process has the turn nobody else appends, and at.end stays behind until it passes
** the turn on.
**
** A reader goes as far as is visible, in one new version. Who has the turn goes on to all that is
** written: what waits for a flush of another process yet gets a version for each transaction, since
** these become visible one by one.
**
** A new file (a checkpoint, or the conversion of an original log) has everything up to
** snapshot_seq in its first snapshot_end bytes, then the same transactions as the old one. The old
** one is read to its end first, for which it is enough to have it open; then the place in the new
** one is found by passing over the transactions that the tree has. If it was replaced more than once
** meanwhile, so that what is missing is nowhere any more but in the snapshot, the tree is made anew;
** readers of the old versions are not disturbed.
**
** A store that joined nobody because there was nobody, or no permission, looks at the file itself.
*/
#include "store.h"

#include "log_place.h"
#include "os.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define SWITCH_PAUSE_NS 1000000u
#define SWITCH_SOON_NS 20000000u /* after this a member looks whether who replaces it has died */
#define HELP_NS 10000000u

static int no_memory(const store *s, kv_error *err) {
  return kv_error_set(err, KV_ENOMEM, "out of memory following '%s'", s->path);
}

/* --- going on in the file that is open ------------------------------------------------------------ */

/* Replay on as far as last_seq, or what verifies before byte `size`, in one version. */
static int read_on(store *s, uint64_t size, uint64_t last_seq, kv_error *err) {
  recovery *at = &s->follow.at;
  if (at->seq >= last_seq || at->original) return KV_OK;
  if (tree_edit_begin(&s->tree) != KV_OK) return no_memory(s, err);
  recovery to = *at;
  int rc = recover_continue(s->follow.fd, s->path, &s->tree, size, last_seq, &to, err);
  if (rc == KV_OK && to.seq > at->seq) {
    *at = to;
    commit_seal_others(&s->queue, to.seq);
    store_tidy_followed(s);
  } else {
    tree_edit_rollback(&s->tree);
  }
  return rc;
}

/* --- another file ---------------------------------------------------------------------------------- */

static void use_file(store *s, int fd, uint64_t generation, const recovery *at) {
  os.close(s->follow.fd);
  s->follow.fd = fd;
  s->follow.generation = generation;
  s->follow.at = *at;
}

/* Find the place of the tree's state in a new file, open as fd. */
static int find_place(store *s, int fd, const share_file *file, recovery *place, kv_error *err) {
  uint64_t have = s->follow.at.seq;
  if (file->snapshot_end > 0) {
    place->seq = file->snapshot_seq;
    place->end = file->snapshot_end;
  }
  int rc = recover_continue(fd, s->path, NULL, UINT64_MAX, have, place, err);
  if (rc == KV_OK && place->seq != have) {
    rc = kv_error_set(err, KV_EDAMAGED, "'%s' ends before transaction %" PRIu64 " that was in it",
                      s->path, have);
  }
  return rc;
}

/* Begin again with a new file, open as fd, up to transaction last_seq. */
static int read_anew(store *s, int fd, uint64_t last_seq, recovery *place, kv_error *err) {
  if (tree_edit_begin(&s->tree) != KV_OK) return no_memory(s, err);
  int rc = tree_edit_clear(&s->tree);
  if (rc != KV_OK) no_memory(s, err);
  if (rc == KV_OK) rc = recover_replay(fd, s->path, &s->tree, last_seq, place, err);
  if (rc == KV_OK && place->seq < s->queue.handed_seq) {
    rc = kv_error_set(err, KV_EDAMAGED, "'%s' has lost transactions that were in it", s->path);
  }
  if (rc == KV_OK) {
    commit_seal_others(&s->queue, place->seq);
  } else {
    tree_edit_rollback(&s->tree);
  }
  return rc;
}

/* Go over to a file, open as fd, by reading it from its beginning. */
static int change_anew(store *s, int fd, uint64_t generation, kv_error *err) {
  recovery place;
  int rc = read_anew(s, fd, UINT64_MAX, &place, err);
  if (rc == KV_OK) {
    use_file(s, fd, generation, &place);
  } else {
    os.close(fd);
  }
  return rc;
}

/* Go over to the file that has the log's name now; *moved is false if it is not the one that the
** page speaks of, because it is being replaced. */
static int change_file(store *s, const share_file *file, bool *moved, kv_error *err) {
  *moved = file->id[0] == '\0'; /* a log of the original program, which has made it longer */
  if (!*moved && s->follow.at.seq < file->snapshot_seq) {
    int rc = read_on(s, UINT64_MAX, UINT64_MAX, err);
    if (rc != KV_OK) return rc;
  }
  int fd = os.open(s->path, O_RDONLY | O_NONBLOCK, 0);
  if (fd < 0) {
    return kv_error_set(err, KV_ECANTOPEN, "cannot open '%s': %s", s->path, strerror(errno));
  }
  recovery place = {.header.id = ""};
  int rc = *moved ? KV_OK : recover_header(fd, s->path, &place, err);
  if (rc == KV_OK) rc = log_place_compare(fd, s->path, file, place.header.id, err);
  if (rc == KV_OK && *moved) return change_anew(s, fd, file->generation, err);
  *moved = false;
  bool other = rc == KV_EBUSY || rc == KV_EFOREIGN || rc == KV_EVERSION, same = rc == KV_OK;
  if (same && s->follow.at.seq >= file->snapshot_seq) {
    rc = find_place(s, fd, file, &place, err);
  } else if (same) {
    uint64_t published = atomic_load(&s->share.page->published_seq);
    rc = read_anew(s, fd, recover_last_seq(&place.header, published), &place, err);
  }
  if (rc == KV_OK && same) {
    use_file(s, fd, file->generation, &place);
    *moved = true;
  } else {
    os.close(fd);
  }
  if (!other) return rc;
  return log_place_check_change(LOG_REPLACED, s->share.page, file->generation, s->path, err);
}

/* See to it that the file which the page speaks of is open. KV_EBUSY: it has not come. A member waits a
** moment only: store_follow can do more about it. */
static int follow_file(store *s, store_wait *w, kv_error *err) {
  uint64_t end_ns = 0;
  while (atomic_load(&s->share.page->generation) != s->follow.generation) {
    share_file file;
    share_read_file(s->share.page, &file);
    bool moved;
    int rc = change_file(s, &file, &moved, err);
    if (rc != KV_OK || moved) return rc;
    bool looks = w != NULL && s->share.member == 0;
    if (end_ns == 0) {
      end_ns = looks ? store_wait_limit(w)->deadline_ns : os.now_ns() + SWITCH_SOON_NS;
    }
    if (looks && share_is_interrupted(store_wait_limit(w))) {
      return kv_error_set(err, KV_EINTERRUPTED, "interrupted following '%s'", s->path);
    }
    if (os.now_ns() >= end_ns) {
      return kv_error_set(err, KV_EBUSY,
                          "'%s' was replaced by something else than its checkpoint, or the process "
                          "that is replacing it has not finished; try again",
                          s->path);
    }
    os_pause(SWITCH_PAUSE_NS);
  }
  return KV_OK;
}

/* --- whether the page is right ---------------------------------------------------------------------- */

/* Whether transaction `seq` ends at byte `end` of the file that is open, by its COMMIT line directly in
** front, or the header's; *behind tells whether anything but zeros follows. 1, 0; -1 and errno. */
static int ends_at(const store *s, uint64_t seq, uint64_t end, bool *behind) {
  char part[LOG_HEADER_SIZE_MAX + 1];
  size_t before = end < LOG_HEADER_SIZE_MAX ? (size_t)end : LOG_HEADER_SIZE_MAX;
  if (end > INT64_MAX) return 0;
  ssize_t got = os_read_all(s->follow.fd, part, before + 1, end - before);
  if (got < 0) return -1;
  *behind = (size_t)got > before && part[before] != '\0';
  if ((size_t)got < before || before == 0 || part[before - 1] != '\n') return 0;
  size_t start = before - 1;
  while (start > 0 && part[start - 1] != '\n') start--;
  log_record commit;
  log_header header;
  if (start == 0 && before == end) {
    return log_parse_header(part, before - 1, &header, NULL) == KV_OK && header.base_seq == seq;
  }
  return log_parse_commit(part + start, before - 1 - start, &commit) && commit.seq == seq;
}

bool store_confirms_end(const store *s) {
  const share_page *page = s->share.page;
  bool behind = true;
  return s->follow.fd >= 0 && !s->follow.at.original &&
         s->follow.generation == atomic_load(&page->generation) &&
         ends_at(s, atomic_load(&page->written_seq), share_log_end(page), &behind) == 1 && !behind;
}

/* Ask the log itself, if the page does not contradict what was read. */
static int confirm_by_log(store *s, uint64_t seq, uint64_t end, bool right, kv_error *err) {
  if (right) {
    bool behind = false;
    int is = ends_at(s, seq, end, &behind);
    if (is < 0) return log_error(err, "read", s->path);
    right = is && !behind;
  }
  if (!right) {
    return kv_error_set(err, KV_EDAMAGED,
                        "'%s' says that transaction %" PRIu64
                        " is the last one of '%s' and ends at "
                        "byte %" PRIu64 ", but the log does not say so; nothing was written; close "
                        "the log everywhere",
                        s->share.path, seq, s->path, end);
  }
  store_note_end(s);
  return KV_OK;
}

int store_confirm(store *s, kv_error *err) {
  const share_page *page = s->share.page;
  uint64_t seq = atomic_load(&page->written_seq), end = share_end(page, s->follow.generation);
  bool right = s->follow.at.seq == seq && s->follow.at.end == end &&
               atomic_load(&page->durable_seq) <= seq && atomic_load(&page->published_seq) <= seq;
  bool as_it_was = s->follow.confirmed.seq == seq && s->follow.confirmed.end == end &&
                   s->follow.confirmed.generation == s->follow.generation;
  bool known = (right && as_it_was) || s->follow.at.original;
  return known ? KV_OK : confirm_by_log(s, seq, end, right, err);
}

/* --- with a page ------------------------------------------------------------------------------------ */

/* Read on to a transaction that is in the log. */
static int follow_to(store *s, uint64_t seq, store_wait *w, kv_error *err) {
  while (s->follow.at.seq < seq) {
    uint64_t before = s->follow.at.seq, generation = s->follow.generation;
    int rc = follow_file(s, w, err);
    if (rc == KV_OK) rc = read_on(s, share_end(s->share.page, s->follow.generation), seq, err);
    if (rc != KV_OK) return rc;
    bool stuck = s->follow.at.seq == before && s->follow.generation == generation &&
                 atomic_load(&s->share.page->generation) == generation;
    if (stuck) {
      return kv_error_set(err, KV_EDAMAGED,
                          "log '%s' is damaged: transaction %" PRIu64 " at byte %" PRIu64
                          " does not verify; 'kvstore check' tells more",
                          s->path, before + 1, s->follow.at.end);
    }
  }
  return KV_OK;
}

int store_follow_written(store *s, kv_error *err) {
  const share_page *page = s->share.page;
  uint64_t written = atomic_load(&page->written_seq);
  int rc = follow_file(s, NULL, err); /* a member's wait has no other limit */
  if (rc == KV_OK) rc = follow_to(s, atomic_load(&page->published_seq), NULL, err);
  while (rc == KV_OK && s->follow.at.seq < written) {
    rc = follow_to(s, s->follow.at.seq + 1, NULL, err);
  }
  return rc;
}

/* A member died with the turn: perhaps it had put the announced file in the log's place, and not told
** yet. That has all that was written, on stable storage. */
int store_find_file(store *s, kv_error *err) {
  share_page *page = s->share.page;
  share_file file, announced;
  recovery place;
  struct stat facts;
  int fd = os.open(s->path, O_RDONLY | O_NONBLOCK, 0);
  if (fd < 0 && errno == ENOENT) return log_place_error(LOG_REMOVED, s->path, err);
  if (fd < 0) {
    return kv_error_set(err, KV_ECANTOPEN, "cannot open '%s': %s", s->path, strerror(errno));
  }
  int rc = os.fstat(fd, &facts) == 0 ? KV_OK : log_error(err, "fstat", s->path);
  if (rc != KV_OK) {
    os.close(fd);
    return rc;
  }
  rc = recover_header(fd, s->path, &place, NULL);
  os.close(fd);
  share_read_file(page, &file);
  share_read_announced(page, &announced);
  uint64_t inode = (uint64_t)facts.st_ino;
  if (rc == KV_EFOREIGN && share_is_file(&file, "", inode)) return KV_OK; /* not converted yet */
  if (rc == KV_EIO || rc == KV_ENOMEM) {
    return kv_error_set(err, rc, "'%s' cannot be read after a process has died", s->path);
  }
  if (rc == KV_OK && share_is_file(&file, place.header.id, inode)) return KV_OK;
  if (rc != KV_OK || announced.id[0] == '\0' ||
      !share_is_file(&announced, place.header.id, inode)) {
    return log_place_error(LOG_REPLACED, s->path, err);
  }
  if (os_sync_folder(s->path) != 0) return log_error(err, "fsync of the folder", s->path);
  uint64_t base_seq = place.header.base_seq;
  file = (share_file){.snapshot_seq = base_seq > 0 ? base_seq + 1 : 0,
                      .inode = inode,
                      .end = (uint64_t)facts.st_size,
                      .size = (uint64_t)facts.st_size};
  memcpy(file.id, place.header.id, sizeof place.header.id);
  share_raise(&page->durable_seq, atomic_load(&page->written_seq));
  share_raise(&page->published_seq, atomic_load(&page->written_seq));
  share_write_file(page, &file);
  return KV_OK;
}

int store_check_named(const store *s, uint64_t inode, kv_error *err) {
  share_file file;
  if (atomic_load(&s->page) == NULL) return KV_OK;
  share_read_file(s->share.page, &file);
  if (file.inode == 0 || file.inode == inode) return KV_OK;
  return log_place_check_change(LOG_REPLACED, s->share.page, file.generation, s->path, err);
}

int store_repair(store *s, kv_error *err) {
  share_page *page = s->share.page;
  struct stat facts;
  int rc = store_find_file(s, err);
  if (rc == KV_OK) rc = store_follow_written(s, err);
  if (rc == KV_OK) rc = read_on(s, UINT64_MAX, UINT64_MAX, err);
  if (rc == KV_OK && os.fstat(s->follow.fd, &facts) != 0) rc = log_error(err, "fstat", s->path);
  if (rc != KV_OK) return rc;
  uint64_t end = s->follow.at.end;
  bool behind;
  if (!s->follow.at.original && (uint64_t)facts.st_size > end) {
    int is = ends_at(s, s->follow.at.seq, end, &behind);
    if (is < 0) return log_error(err, "read", s->path);
    if (is == 0) {
      return kv_error_set(err, KV_EDAMAGED,
                          "'%s' does not say where '%s' ends; nothing was changed", s->share.path,
                          s->path);
    }
    int fd = os.open(s->path, O_RDWR | O_NONBLOCK, 0);
    if (fd < 0) rc = log_error(err, "opening", s->path);
    if (rc == KV_OK) rc = log_place_check_same(fd, s->follow.fd, s->path, err);
    if (rc == KV_OK && os_truncate(fd, end) != 0) rc = log_error(err, "truncate", s->path);
    if (fd >= 0) os_close_locked(fd);
  }
  if (rc != KV_OK) return rc;
  share_set_end(page, end, end);
  atomic_store(&page->written_seq, s->follow.at.seq);
  atomic_store(&page->unrepaired, 0);
  return KV_OK;
}

/* --- without a page -------------------------------------------------------------------------------- */

static bool looks_same(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
         a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* The clock of modification times ticks every few milliseconds: within one that is not over yet the
** file can change again, in room that it has, and look the same. */
static bool is_settled(const struct stat *facts) {
  return facts->st_mtim.tv_sec >= 0 && (uint64_t)facts->st_mtim.tv_sec + 2 <= os.time_s();
}

/* Whoever wrote is gone, so that everything in the file that verifies is committed. */
static int follow_alone(store *s, kv_error *err) {
  struct stat facts, ours;
  if (os.stat(s->path, &facts) != 0) {
    return errno == ENOENT || errno == ENOTDIR ? KV_OK : log_error(err, "stat", s->path);
  }
  int rc = os.fstat(s->follow.fd, &ours) == 0 ? KV_OK : log_error(err, "fstat", s->path);
  if (rc != KV_OK) return rc;
  /* By the file that is open; what was seen long ago may have had the number that is this one's now. */
  bool same_file = facts.st_dev == ours.st_dev && facts.st_ino == ours.st_ino;
  bool original = s->follow.at.original; /* which has no room ahead, and is read as a whole */
  bool same = same_file && looks_same(&facts, &s->follow.seen);
  if (same && (original || is_settled(&facts))) return KV_OK;
  if (same_file && !original) {
    rc = read_on(s, (uint64_t)facts.st_size, UINT64_MAX, err);
  } else {
    int fd = os.open(s->path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0 && errno == ENOENT) return KV_OK; /* it was there a moment ago */
    if (fd < 0) {
      return kv_error_set(err, KV_ECANTOPEN, "cannot open '%s': %s", s->path, strerror(errno));
    }
    rc = change_anew(s, fd, 0, err);
  }
  if (rc == KV_OK) s->follow.seen = facts;
  return rc;
}

static int follow_unjoined(store *s, store_wait *w, kv_error *err) {
  if (!s->readonly) return store_join(s, false, w, err);
  if (s->follow.fd < 0) return store_look(s, err); /* there was no file */
  if (!share_look(&s->share, s->path)) return follow_alone(s, err);
  atomic_store_explicit(&s->page, s->share.page, memory_order_release);
  uint64_t published = atomic_load(&s->share.page->published_seq);
  return published != SHARE_CLOSED ? follow_to(s, published, w, err) : follow_alone(s, err);
}

static int follow(store *s, store_wait *w, kv_error *err) {
  int rc = KV_OK;
  if (atomic_load(&s->page) != NULL) {
    pthread_mutex_lock(&s->follow.lock); /* who has it does not wait for other processes for long */
  } else {
    rc = store_wait_lock(s, &s->follow.lock, w, err);
  }
  if (rc != KV_OK) return rc;
  share_page *page = atomic_load(&s->page);
  uint64_t published = page != NULL ? atomic_load(&page->published_seq) : SHARE_CLOSED;
  if (published == SHARE_CLOSED) {
    rc = follow_unjoined(s, w, err);
  } else if (s->follow.appending || published <= s->queue.handed_seq) {
    commit_show(&s->queue);
  } else {
    rc = follow_to(s, published, w, err);
  }
  pthread_mutex_unlock(&s->follow.lock);
  return rc;
}

/* If the file that the page speaks of does not come, whoever was replacing it may have died. Taking the
** turn repairs that; nobody else might for long. */
int store_follow(store *s, const kv_waiting *waiting, kv_error *err) {
  store_wait wait = {.how = waiting};
  for (;;) {
    char us;
    int rc = follow(s, &wait, err);
    if (rc != KV_EBUSY || s->share.member == 0) return rc;
    const share_limit *limit = store_wait_limit(&wait);
    uint64_t now_ns = os.now_ns();
    if (now_ns >= limit->deadline_ns) return rc;
    if (share_is_interrupted(limit)) {
      return kv_error_set(err, KV_EINTERRUPTED, "interrupted following '%s'", s->path);
    }
    share_limit help = *limit;
    if (help.deadline_ns > now_ns + HELP_NS) help.deadline_ns = now_ns + HELP_NS;
    if (store_turn_take_briefly(s, &us, &help, NULL) == KV_OK) store_turn_pass(s, &us);
  }
}
