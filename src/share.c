/* share.c - what the processes on one log share. See share.h. */
#include "share.h"

#include "os.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define JOIN ((uint64_t)1 << 40) /* the first byte that is locked: far behind the page */
#define JOIN_WAIT_NS ((uint64_t)60 * 1000000000u)
#define LEAVE_WAIT_NS ((uint64_t)200 * 1000000u) /* is waited twice */
#define JOIN_PAUSE_NS 500000u
#define LIVENESS_NS 10000000u /* how often who waits asks whether the owner is alive */

static const char magic[16] = "kvstore share 2", suffix[] = "-shm";
#define MAGIC_NAME_SIZE (sizeof "kvstore share " - 1) /* that of every version */

_Static_assert(offsetof(share_page, published_seq) == 64 && offsetof(share_page, turn) % 64 == 0 &&
                   offsetof(share_page, flush) % 64 == 0,
               "what different processes write often lies in different cache lines");

/* --- coming and going ------------------------------------------------------------------------- */

static int fail(kv_error *err, const char *call, const char *path) {
  int reason = errno;
  bool full = reason == ENOSPC || reason == EDQUOT || reason == EFBIG;
  int code = full                                ? KV_EFULL
             : reason == ENOMEM                  ? KV_ENOMEM
             : reason == EIO || reason == ENOLCK ? KV_EIO
                                                 : KV_ECANTOPEN;
  return kv_error_set(err, code,
                      "cannot open '%.*s': %s of '%s', which its processes share, failed: %s",
                      (int)(strlen(path) - strlen(suffix)), path, call, path, strerror(reason));
}

static char *page_path(const char *log_path) {
  size_t size = strlen(log_path);
  char *path = os.malloc(size + sizeof suffix);
  if (path == NULL) return NULL;
  memcpy(path, log_path, size);
  memcpy(path + size, suffix, sizeof suffix);
  return path;
}

/* Whether the open file has the name; -1: it cannot be told. */
static int has_name(int fd, const char *path) {
  struct stat facts, named;
  if (os.fstat(fd, &facts) != 0) return -1;
  if (os.stat(path, &named) != 0) return errno == ENOENT ? 0 : -1;
  return facts.st_dev == named.st_dev && facts.st_ino == named.st_ino;
}

/* --- whose it is ------------------------------------------------------------------------------ */

/* Whether a file that has the name is one of ours, not somebody's notes: it begins as a page of any
** version, as much as there is of it; or it is what a crash of the machine left of one, which may have
** lost its first sector, or be of the right size and hold anything. -1 and errno: it cannot be read. */
static int is_like_page(int fd, const struct stat *facts) {
  char head[64] = {0};
  static const char nothing[sizeof head];
  ssize_t got = os_read_all(fd, head, sizeof head, 0);
  if (got < 0) return -1;
  size_t size = (size_t)got < MAGIC_NAME_SIZE ? (size_t)got : MAGIC_NAME_SIZE;
  bool is_shorter = facts->st_size < (off_t)sizeof(share_page);
  return facts->st_size == (off_t)sizeof(share_page) || memcmp(head, magic, size) == 0 ||
         (is_shorter && memcmp(head, nothing, sizeof head) == 0);
}

/* Whether who has made the page could change the log as well, so that he need not lie about it: its
** owner, root, we; or the members of its group, whom giving the file to that group proves to be some,
** but for a folder that gives what strangers make to it. */
static bool is_trusted(const share *s, const struct stat *page, const rights *log) {
  struct stat folder;
  if (page->st_uid == 0 || page->st_uid == os.geteuid()) return true;
  if (!log->known) return false;
  if (page->st_uid == log->owner || (log->mode & S_IWOTH) != 0) return true;
  if ((log->mode & S_IWGRP) == 0 || page->st_gid != log->group) return false;
  char *name = os_folder_of(s->path);
  bool open_to_strangers = name == NULL || os.stat(name, &folder) != 0 ||
                           ((folder.st_mode & S_ISGID) != 0 && (folder.st_mode & S_IWOTH) != 0);
  os.free(name);
  return !open_to_strangers;
}

/* KV_OK if the open file may be the page. */
static int check_whose(const share *s, const rights *log, kv_error *err) {
  struct stat facts;
  if (os.fstat(s->fd, &facts) != 0) return fail(err, "fstat", s->path);
  const char *why = !S_ISREG(facts.st_mode) ? "it is not a regular file"
                    : facts.st_nlink > 1    ? "the file has another name too"
                                            : NULL;
  if (why == NULL) {
    int is = is_like_page(s->fd, &facts);
    if (is < 0) return fail(err, "read", s->path);
    if (is == 0) why = "kvstore did not make it";
  }
  if (why != NULL) return kv_error_set(err, KV_ECANTOPEN, "'%s' is in the way: %s", s->path, why);
  if (is_trusted(s, &facts, log)) return KV_OK;
  return kv_error_set(
      err, KV_ECANTOPEN,
      "'%s' was made by user %u, who does not own the log and could misdirect what is "
      "written to it; only the log's owner, root or the current user may make this "
      "file; remove it",
      s->path, (unsigned)facts.st_uid);
}

/* --- opening ------------------------------------------------------------------------------------ */

/* Lock a byte, waiting while another has it. */
static int lock_join(share *s, uint64_t patience_ns, kv_error *err) {
  share_limit own = {.deadline_ns = os.now_ns() + patience_ns};
  while (os.lock(s->fd, false, JOIN, 1) != 0) {
    if (errno != EAGAIN && errno != EACCES) return fail(err, "lock", s->path);
    const share_limit *limit = s->limit != NULL ? s->limit(s->waiting) : &own;
    if (share_is_interrupted(limit)) {
      return kv_error_set(err, KV_EINTERRUPTED, "interrupted while another process opens the log");
    }
    if (os.now_ns() >= limit->deadline_ns) {
      return kv_error_set(err, KV_EBUSY,
                          "another process is opening or closing the log and has not finished: "
                          "'%s' is locked; try again",
                          s->path);
    }
    os_pause(JOIN_PAUSE_NS);
  }
  return KV_OK;
}

/* Remove the file if it has not been filled by anybody. */
static void remove_if_ours(const share *s) {
  struct stat facts;
  if (os.fstat(s->fd, &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_size == 0 &&
      has_name(s->fd, s->path) == 1) {
    os.unlink(s->path);
  }
}

/* Open the file, or create it; *created tells which. It is created by that name alone, so that a
** sticky folder's protection of others' files does not keep us from opening the log owner's. */
static int open_file(share *s, const rights *log, bool *created, kv_error *err) {
  int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK;
  *created = false;
  s->fd = os.open(s->path, flags, 0);
  if (s->fd < 0 && errno == ENOENT) {
    s->fd = os.open(s->path, flags | O_CREAT | O_EXCL, rights_mode_at_first(log));
    *created = s->fd >= 0;
    if (*created && rights_give(s->fd, log, NULL) != 0) {
      int rc = fail(err, "setting of the access rights", s->path);
      remove_if_ours(s);
      return rc;
    }
    if (s->fd < 0 && errno == EEXIST) return KV_OK; /* again */
  }
  return s->fd >= 0 ? KV_OK : fail(err, "opening", s->path);
}

static int check_network(const share *s, kv_error *err) {
  const char *network = os.network_name(s->fd);
  if (network == NULL) return KV_OK;
  return kv_error_set(err, KV_ECANTOPEN,
                      "'%s' is on a network file system (%s), where processes cannot share "
                      "memory; readonly=1 reads what it holds",
                      s->path, network);
}

/* Open and lock it once; *there is false if it was removed by who left before it was locked. Whose it
** is can be judged only when it is locked, for who creates the log does it then. But somebody's notes,
** or a page whose maker the log shows to be a stranger, are not locked and not waited for. */
static int open_once(share *s, const char *log_path, const rights *like, bool *there,
                     kv_error *err) {
  bool created;
  rights log = *like;
  *there = false;
  int rc = open_file(s, like, &created, err);
  if (rc != KV_OK || s->fd < 0) return rc;
  rc = check_network(s, err);
  if (rc == KV_OK && !created && like->fd >= 0) rc = check_whose(s, like, err);
  if (rc == KV_OK) rc = lock_join(s, JOIN_WAIT_NS, err);
  if (rc != KV_OK) {
    if (created) remove_if_ours(s);
    return rc;
  }
  int has = has_name(s->fd, s->path);
  if (has < 0) return fail(err, "stat", s->path);
  *there = has == 1;
  if (!*there || created) return KV_OK;
  (void)rights_read_path(log_path, &log);
  return check_whose(s, &log, err);
}

/* Open the file and lock it for joining. */
static int open_and_lock(share *s, const char *log_path, const rights *like, kv_error *err) {
  uint64_t end_ns = os.now_ns() + JOIN_WAIT_NS;
  for (;;) {
    bool there;
    int rc = open_once(s, log_path, like, &there, err);
    if (rc != KV_OK) return rc;
    if (there) break;
    if (s->limit != NULL) end_ns = s->limit(s->waiting)->deadline_ns;
    if (s->fd >= 0) os_close_locked(s->fd);
    s->fd = -1;
    if (os.now_ns() >= end_ns) {
      return kv_error_set(err, KV_EBUSY, "'%s' is removed and made again all the time", s->path);
    }
    os_pause(JOIN_PAUSE_NS);
  }
  /* Also where another user's process, or an older version, has left it; if we may not, that is so. */
  (void)rights_give(s->fd, like, NULL);
  return KV_OK;
}

/* Map it, at its full size. It never becomes smaller, for others may have it mapped. */
static int map_page(share *s, kv_error *err) {
  struct stat facts;
  if (os.fstat(s->fd, &facts) != 0) return fail(err, "fstat", s->path);
  if (facts.st_size < (off_t)sizeof(share_page)) {
    /* Written, not only made longer: a page without room on the disk could not be touched. */
    static const char zeros[sizeof(share_page)];
    if (os_write_all(s->fd, zeros, sizeof zeros, 0) != 0) return fail(err, "write", s->path);
  }
  s->page = os.map(s->fd, sizeof(share_page), NULL, true);
  return s->page != NULL ? KV_OK : fail(err, "mapping", s->path);
}

/* A member's number: its place, and how often that was taken. */
static uint32_t number_of(unsigned place, uint32_t times_taken) {
  return times_taken << 12 | (place + 1);
}

static int take_place(share *s, kv_error *err) {
  for (unsigned place = 0; place < SHARE_MEMBERS_MAX; place++) {
    if (os.lock(s->fd, false, JOIN + 1 + place, 1) != 0) {
      if (errno != EAGAIN && errno != EACCES) return fail(err, "lock", s->path);
      continue;
    }
    s->place = place;
    s->member = number_of(place, atomic_fetch_add(&s->page->members[place], 1) + 1);
    return KV_OK;
  }
  return kv_error_set(err, KV_EBUSY, "'%s': %u processes have the log open, and no more can",
                      s->path, SHARE_MEMBERS_MAX);
}

static void give_up(share *s) {
  if (s->page != NULL) os.unmap(s->page, sizeof(share_page));
  if (s->fd >= 0) os_close_locked(s->fd);
  os.free(s->path);
  *s = (share){.fd = -1};
}

/* Whether the page was ever made ready, by whatever process. */
static bool is_page(const share_page *page) {
  assert(page != NULL);
  return memcmp(page->magic, magic, sizeof magic) == 0 &&
         atomic_load_explicit(&page->ready, memory_order_acquire) == 1;
}

/* Nobody is a member: everything but what readers may still look at begins anew. */
static void reset_page(share_page *page) {
  bool was_page = is_page(page);
  atomic_store(&page->ready, 0);
  if (!was_page) { /* whoever looks at it meanwhile finds nothing in it */
    atomic_store(&page->published_seq, SHARE_CLOSED);
    atomic_store(&page->generation, os.now_ns());
  }
  memcpy(page->magic, magic, sizeof magic);
  page->turn = page->flush = (share_lock){0};
  atomic_store(&page->broken, 0);
  atomic_store(&page->checkpoints, 0);
  atomic_store(&page->checkpoint_time, 0);
  share_announce(page, NULL, 0);
}

int share_join(share *s, const char *log_path, const rights *like, bool *alone, kv_error *err) {
  static const rights none = {.known = false, .fd = -1};
  assert(s->page == NULL);
  *s = (share){.fd = -1, .path = page_path(log_path), .limit = s->limit, .waiting = s->waiting};
  if (s->path == NULL) return kv_error_set(err, KV_ENOMEM, "out of memory opening '%s'", log_path);
  int rc = open_and_lock(s, log_path, like != NULL ? like : &none, err);
  bool locked = rc == KV_OK;
  int others = 0;
  if (rc == KV_OK) {
    others = os.is_locked(s->fd, JOIN + 1, SHARE_MEMBERS_MAX);
    if (others < 0) rc = fail(err, "lock", s->path);
  }
  if (rc == KV_OK) rc = map_page(s, err);
  if (rc == KV_OK && others && !is_page(s->page)) {
    rc = kv_error_set(err, KV_ECANTOPEN,
                      "'%s' is in use by another version of kvstore, or is damaged; close the log "
                      "everywhere",
                      s->path);
  }
  if (rc == KV_OK && !others) reset_page(s->page);
  if (rc == KV_OK) rc = take_place(s, err);
  if (rc != KV_OK) {
    if (locked && others == 0 && s->page == NULL) remove_if_ours(s); /* nobody has any use for it */
    give_up(s);
    return rc;
  }
  *alone = !others;
  return KV_OK;
}

void share_ready(share *s) {
  atomic_store_explicit(&s->page->ready, 1, memory_order_release);
}

void share_joined(share *s) {
  (void)os.unlock(s->fd, JOIN, 1);
}

void share_begin_leaving(share *s, bool *last) {
  *last = lock_join(s, LEAVE_WAIT_NS, NULL) == KV_OK &&
          os.is_locked(s->fd, JOIN + 1, SHARE_MEMBERS_MAX) == 0;
}

void share_leave(share *s) {
  bool last = false;
  if (s->member != 0) share_begin_leaving(s, &last);
  if (last) {
    atomic_store(&s->page->published_seq, SHARE_CLOSED);
    atomic_store(&s->page->ready, 0);
    if (has_name(s->fd, s->path) == 1) os.unlink(s->path); /* else it was removed by hand */
  }
  give_up(s);
}

/* A page that is mapped already is replaced at its place, for other threads may be looking at it. */
bool share_look(share *s, const char *log_path) {
  if (s->path == NULL) *s = (share){.fd = -1, .path = page_path(log_path)};
  if (s->path == NULL) return false;
  if (s->fd >= 0) os.close(s->fd);
  struct stat facts;
  rights log = {.known = false};
  bool mapped = false;
  (void)rights_read_path(log_path, &log);
  s->fd = os.open(s->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
  if (s->fd >= 0 && check_whose(s, &log, NULL) == KV_OK && os.fstat(s->fd, &facts) == 0 &&
      facts.st_size >= (off_t)sizeof(share_page) &&
      os.is_locked(s->fd, JOIN + 1, SHARE_MEMBERS_MAX) == 1) {
    share_page *page = os.map(s->fd, sizeof(share_page), s->page, false);
    mapped = page != NULL;
    if (mapped) s->page = page;
  }
  return mapped && is_page(s->page);
}

/* --- locks -------------------------------------------------------------------------------------- */

static uint32_t owner_of(uint64_t word) {
  return (uint32_t)word;
}

static uint32_t heir_of(uint64_t word) {
  return (uint32_t)(word >> 32);
}

static uint64_t word_of(uint32_t owner, uint32_t heir) {
  return (uint64_t)heir << 32 | owner;
}

/* Whether a member's number is that of one who is there. */
static bool is_alive(const share *s, uint32_t member) {
  unsigned place = (member & 0xfff) - 1;
  if (place >= SHARE_MEMBERS_MAX ||
      number_of(place, atomic_load(&s->page->members[place])) != member) {
    return false;
  }
  return place == s->place || os.is_locked(s->fd, JOIN + 1 + place, 1) != 0;
}

bool share_is_interrupted(const share_limit *limit) {
  return limit->is_interrupted != NULL && limit->is_interrupted(limit->context);
}

/* Whether the heir that a free lock is reserved for has not taken it in time. The clock may be another
** one in its container: then it has to be quick. */
static bool is_passed_over(const share *s, const share_lock *lock, uint32_t heir) {
  uint64_t since_ns = os.now_ns() - atomic_load(&lock->reserved_ns);
  return since_ns >= SHARE_RESERVE_NS || !is_alive(s, heir);
}

/* Take the lock if that is possible now. An heir that is passed over has to ask again; and nobody stays
** his own heir, for then he would get it back when he does not wait. */
static bool take_now(const share *s, share_lock *lock, bool ask_kernel, bool *inherited) {
  uint64_t word = atomic_load(&lock->word);
  for (;;) {
    uint32_t owner = owner_of(word), heir = heir_of(word);
    if (owner == s->member) return true;
    if (owner != 0 && (!ask_kernel || is_alive(s, owner))) return false;
    bool reserved = owner == 0 && heir != 0 && heir != s->member;
    if (reserved && !is_passed_over(s, lock, heir)) return false;
    if (reserved || heir == s->member) heir = 0;
    if (atomic_compare_exchange_weak(&lock->word, &word, word_of(s->member, heir))) {
      *inherited = owner != 0;
      return true;
    }
  }
}

/* Ask to be the next, in the place of an heir that has died too. */
static void become_heir(const share *s, share_lock *lock) {
  uint64_t word = atomic_load(&lock->word);
  uint32_t owner = owner_of(word), heir = heir_of(word);
  if (owner == 0 || (heir != 0 && is_alive(s, heir))) return;
  (void)atomic_compare_exchange_strong(&lock->word, &word, word_of(owner, s->member));
}

/* Stop asking; true if it was reserved for us, and is ours. */
static bool resign(const share *s, share_lock *lock) {
  uint64_t word = atomic_load(&lock->word);
  while (heir_of(word) == s->member) {
    bool reserved = owner_of(word) == 0;
    uint64_t next = reserved ? word_of(s->member, 0) : word_of(owner_of(word), 0);
    if (atomic_compare_exchange_weak(&lock->word, &word, next)) return reserved;
  }
  return owner_of(word) == s->member;
}

bool share_lock_wait(share *s, share_lock *lock, const share_limit *limit, bool *inherited) {
  *inherited = false;
  uint64_t nobody = 0, deadline_ns = limit->deadline_ns;
  if (atomic_compare_exchange_strong(&lock->word, &nobody, s->member)) return true;
  uint64_t began_ns = os.now_ns(), asked_ns = began_ns, now_ns = began_ns;
  bool ask_kernel = true;
  while (now_ns < deadline_ns && !(ask_kernel && share_is_interrupted(limit))) {
    uint32_t seen = atomic_load(&lock->wake);
    atomic_store(&lock->wanted, 1);
    uint64_t patient_ns = began_ns + SHARE_PATIENCE_NS;
    if (now_ns >= patient_ns) become_heir(s, lock);
    if (take_now(s, lock, ask_kernel, inherited)) return true;
    uint64_t until_ns = now_ns < patient_ns ? patient_ns : now_ns + LIVENESS_NS;
    if (until_ns > deadline_ns) until_ns = deadline_ns;
    os.wait(&lock->wake, seen, until_ns - now_ns);
    now_ns = os.now_ns();
    ask_kernel = now_ns - asked_ns >= LIVENESS_NS;
    if (ask_kernel) asked_ns = now_ns;
  }
  return resign(s, lock) || take_now(s, lock, true, inherited);
}

bool share_lock_take(share *s, share_lock *lock, uint64_t deadline_ns, bool *inherited) {
  share_limit limit = {.deadline_ns = deadline_ns};
  return share_lock_wait(s, lock, &limit, inherited);
}

/* Take it from an owner that was seen to have it for too long. */
static bool take_from_stalled(const share *s, share_lock *lock, share_watch *watch) {
  uint64_t word = atomic_load(&lock->word), now_ns = os.now_ns();
  uint32_t wake = atomic_load(&lock->wake);
  if (watch->since_ns == 0 || watch->word != word || watch->wake != wake) {
    *watch = (share_watch){.since_ns = now_ns, .word = word, .wake = wake};
    return false;
  }
  return now_ns - watch->since_ns >= SHARE_STALL_NS &&
         atomic_compare_exchange_strong(&lock->word, &word, word_of(s->member, 0));
}

bool share_lock_try(share *s, share_lock *lock, share_watch *watch, bool *orphaned) {
  *orphaned = false;
  if (take_now(s, lock, false, orphaned)) return true;
  uint32_t seen = atomic_load(&lock->wake);
  atomic_store(&lock->wanted, 1);
  if (take_now(s, lock, false, orphaned)) return true;
  os.wait(&lock->wake, seen, LIVENESS_NS);
  if (take_now(s, lock, atomic_load(&lock->wake) == seen, orphaned)) return true;
  *orphaned = take_from_stalled(s, lock, watch);
  return *orphaned;
}

void share_lock_pass(share *s, share_lock *lock) {
  uint64_t word = word_of(s->member, 0); /* usual */
  while (!atomic_compare_exchange_weak(&lock->word, &word, word_of(0, heir_of(word)))) {
    if (owner_of(word) != s->member) return;
    if (heir_of(word) != 0) atomic_store(&lock->reserved_ns, os.now_ns());
  }
  if (heir_of(word) != 0 || atomic_exchange(&lock->wanted, 0) != 0) {
    atomic_fetch_add(&lock->wake, 1);
    os.wake(&lock->wake);
  }
}

bool share_lock_is_wanted(const share_lock *lock) {
  return atomic_load_explicit(&lock->wanted, memory_order_relaxed) != 0;
}

void share_raise(_Atomic uint64_t *counter, uint64_t to) {
  uint64_t now = atomic_load(counter);
  while (now < to && !atomic_compare_exchange_weak(counter, &now, to)) continue;
}

/* --- the file ----------------------------------------------------------------------------------- */

/* The generation's lowest bits and an offset in one word, so that it is known whose offset it is. */
#define SYNCED_BITS 48

static uint64_t synced_of(uint64_t generation, uint64_t end) {
  return generation << SYNCED_BITS | (end & (((uint64_t)1 << SYNCED_BITS) - 1));
}

uint64_t share_synced_end(const share_page *page, uint64_t generation) {
  uint64_t synced = atomic_load(&page->synced), end = synced_of(0, synced);
  return synced == synced_of(generation, end) ? end : 0;
}

void share_raise_synced(share_page *page, uint64_t generation, uint64_t end) {
  uint64_t now = atomic_load(&page->synced), to = synced_of(generation, end);
  while (now >> SYNCED_BITS == to >> SYNCED_BITS && now < to &&
         !atomic_compare_exchange_weak(&page->synced, &now, to)) {
    continue;
  }
}

/* What is read while the file changes a thousand times, which no process does, is caught later. */
void share_read_file(const share_page *page, share_file *out) {
  unsigned tries = 0;
  do {
    out->generation = atomic_load(&page->generation);
    unsigned at = out->generation & 1;
    for (size_t i = 0; i < SHARE_ID_SIZE; i++) out->id[i] = atomic_load(&page->files[at].id[i]);
    out->inode = atomic_load(&page->files[at].inode);
    out->snapshot_seq = atomic_load(&page->files[at].snapshot_seq);
    out->snapshot_end = atomic_load(&page->files[at].snapshot_end);
    out->end = atomic_load(&page->files[at].end);
    out->size = atomic_load(&page->files[at].size);
  } while (atomic_load(&page->generation) != out->generation && ++tries < 1000);
  out->id[SHARE_ID_SIZE - 1] = '\0';
}

bool share_is_file(const share_file *file, const char *id, uint64_t inode) {
  return strcmp(file->id, id) == 0 && (file->inode == 0 || file->inode == inode);
}

void share_announce(share_page *page, const char *id, uint64_t inode) {
  size_t size = id != NULL ? strlen(id) : 0;
  assert(size < SHARE_ID_SIZE);
  atomic_store(&page->announced.inode, inode);
  for (size_t i = 0; i < SHARE_ID_SIZE; i++) {
    atomic_store(&page->announced.id[i], i < size ? id[i] : '\0');
  }
}

void share_read_announced(const share_page *page, share_file *out) {
  *out = (share_file){.inode = atomic_load(&page->announced.inode)};
  for (size_t i = 0; i < SHARE_ID_SIZE - 1; i++) out->id[i] = atomic_load(&page->announced.id[i]);
}

void share_write_file(share_page *page, const share_file *file) {
  uint64_t next = atomic_load(&page->generation) + 1;
  unsigned at = next & 1;
  for (size_t i = 0; i < SHARE_ID_SIZE; i++) atomic_store(&page->files[at].id[i], file->id[i]);
  atomic_store(&page->files[at].inode, file->inode);
  atomic_store(&page->files[at].snapshot_seq, file->snapshot_seq);
  atomic_store(&page->files[at].snapshot_end, file->snapshot_end);
  atomic_store(&page->files[at].end, file->end);
  atomic_store(&page->files[at].size, file->size);
  atomic_store(&page->synced, synced_of(next, file->end));
  atomic_store(&page->generation, next);
  share_announce(page, NULL, 0);
}

uint64_t share_end(const share_page *page, uint64_t generation) {
  return atomic_load(&page->files[generation & 1].end);
}

uint64_t share_log_end(const share_page *page) {
  return share_end(page, atomic_load(&page->generation));
}

uint64_t share_size(const share_page *page) {
  unsigned at = atomic_load(&page->generation) & 1;
  uint64_t end = atomic_load(&page->files[at].end), size = atomic_load(&page->files[at].size);
  return size > end ? size : end;
}

void share_set_end(share_page *page, uint64_t end, uint64_t size) {
  unsigned at = atomic_load(&page->generation) & 1;
  atomic_store_explicit(&page->files[at].size, size, memory_order_release);
  atomic_store_explicit(&page->files[at].end, end, memory_order_release);
}
