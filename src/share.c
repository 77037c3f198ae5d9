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

static bool has_name(int fd, const char *path) {
  struct stat facts, named;
  return os.fstat(fd, &facts) == 0 && os.stat(path, &named) == 0 && facts.st_dev == named.st_dev &&
         facts.st_ino == named.st_ino;
}

/* Lock a byte, waiting while another has it. */
static int lock_join(share *s, const share_limit *limit, kv_error *err) {
  while (os.lock(s->fd, false, JOIN, 1) != 0) {
    if (errno != EAGAIN && errno != EACCES) return fail(err, "lock", s->path);
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
      has_name(s->fd, s->path)) {
    os.unlink(s->path);
  }
}

/* Open the file and lock it for joining; it may be removed by who leaves until it is locked. */
static int open_and_lock(share *s, mode_t mode, kv_error *err) {
  for (;;) {
    s->fd = os.open(s->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, mode != 0 ? mode : 0644);
    if (s->fd < 0) return fail(err, "opening", s->path);
    const char *network = os.network_name(s->fd);
    if (network != NULL) {
      remove_if_ours(s);
      return kv_error_set(err, KV_ECANTOPEN,
                          "'%s' is on a network file system (%s), where processes cannot share "
                          "memory; readonly=1 reads what it holds",
                          s->path, network);
    }
    share_limit patient = {.deadline_ns = os.now_ns() + JOIN_WAIT_NS};
    int rc = lock_join(s, s->limit != NULL ? s->limit : &patient, err);
    if (rc != KV_OK) return rc;
    if (has_name(s->fd, s->path)) break;
    os_close_locked(s->fd);
  }
  struct stat facts;
  if (mode != 0 && os.fstat(s->fd, &facts) == 0 && (facts.st_mode & 0777) != mode) {
    (void)os.fchmod(s->fd, mode); /* if it is another user's, that one has done it */
  }
  return KV_OK;
}

/* Map it, at its full size. It never becomes smaller, for others may have it mapped. */
static int map_page(share *s, kv_error *err) {
  struct stat facts;
  if (os.fstat(s->fd, &facts) != 0) return fail(err, "fstat", s->path);
  if (!S_ISREG(facts.st_mode)) {
    return kv_error_set(err, KV_ECANTOPEN, "'%s' is in the way: it is not a regular file", s->path);
  }
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
}

int share_join(share *s, const char *log_path, mode_t mode, bool *alone, kv_error *err) {
  assert(s->page == NULL);
  *s = (share){.fd = -1, .path = page_path(log_path), .limit = s->limit};
  if (s->path == NULL) return kv_error_set(err, KV_ENOMEM, "out of memory opening '%s'", log_path);
  int rc = open_and_lock(s, mode, err);
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
  share_limit limit = {.deadline_ns = os.now_ns() + LEAVE_WAIT_NS};
  *last =
      lock_join(s, &limit, NULL) == KV_OK && os.is_locked(s->fd, JOIN + 1, SHARE_MEMBERS_MAX) == 0;
}

void share_leave(share *s) {
  bool last = false;
  if (s->member != 0) share_begin_leaving(s, &last);
  if (last) {
    atomic_store(&s->page->published_seq, SHARE_CLOSED);
    atomic_store(&s->page->ready, 0);
    if (has_name(s->fd, s->path)) os.unlink(s->path); /* else it was removed by hand */
  }
  give_up(s);
}

/* A page that is mapped already is replaced at its place, for other threads may be looking at it. */
bool share_look(share *s, const char *log_path) {
  if (s->path == NULL) *s = (share){.fd = -1, .path = page_path(log_path)};
  if (s->path == NULL) return false;
  if (s->fd >= 0) os.close(s->fd);
  struct stat facts;
  bool mapped = false;
  s->fd = os.open(s->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
  if (s->fd >= 0 && os.fstat(s->fd, &facts) == 0 && S_ISREG(facts.st_mode) &&
      facts.st_size >= (off_t)sizeof(share_page) &&
      os.is_locked(s->fd, JOIN + 1, SHARE_MEMBERS_MAX) == 1) {
    share_page *page = os.map(s->fd, sizeof(share_page), s->page, false);
    mapped = page != NULL;
    if (mapped) s->page = page;
  }
  return mapped && is_page(s->page);
}

void share_forget(share *s) {
  if (s->fd >= 0) os.close(s->fd);
  s->fd = -1;
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
  uint64_t word = atomic_load(&lock->word);
  do {
    if (owner_of(word) != s->member) return;
    if (heir_of(word) != 0) atomic_store(&lock->reserved_ns, os.now_ns());
  } while (!atomic_compare_exchange_weak(&lock->word, &word, word_of(0, heir_of(word))));
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

void share_read_file(const share_page *page, share_file *out) {
  do {
    out->generation = atomic_load(&page->generation);
    unsigned at = out->generation & 1;
    for (size_t i = 0; i < SHARE_ID_SIZE; i++) out->id[i] = atomic_load(&page->files[at].id[i]);
    out->snapshot_seq = atomic_load(&page->files[at].snapshot_seq);
    out->snapshot_end = atomic_load(&page->files[at].snapshot_end);
    out->end = atomic_load(&page->files[at].end);
    out->size = atomic_load(&page->files[at].size);
  } while (atomic_load(&page->generation) != out->generation);
}

void share_write_file(share_page *page, const share_file *file) {
  uint64_t next = atomic_load(&page->generation) + 1;
  unsigned at = next & 1;
  for (size_t i = 0; i < SHARE_ID_SIZE; i++) atomic_store(&page->files[at].id[i], file->id[i]);
  atomic_store(&page->files[at].snapshot_seq, file->snapshot_seq);
  atomic_store(&page->files[at].snapshot_end, file->snapshot_end);
  atomic_store(&page->files[at].end, file->end);
  atomic_store(&page->files[at].size, file->size);
  atomic_store(&page->synced, synced_of(next, file->end));
  atomic_store(&page->generation, next);
}

uint64_t share_end(const share_page *page, uint64_t generation) {
  return atomic_load(&page->files[generation & 1].end);
}

uint64_t share_log_end(const share_page *page) {
  return share_end(page, atomic_load(&page->generation));
}

uint64_t share_size(const share_page *page) {
  return atomic_load(&page->files[atomic_load(&page->generation) & 1].size);
}

void share_set_end(share_page *page, uint64_t end, uint64_t size) {
  unsigned at = atomic_load(&page->generation) & 1;
  atomic_store_explicit(&page->files[at].size, size, memory_order_release);
  atomic_store_explicit(&page->files[at].end, end, memory_order_release);
}
