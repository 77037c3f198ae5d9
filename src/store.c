/* store.c - the stores of a process: opening, sharing and closing them. See store.h. */
#include "store.h"

#include "os.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static store *list;

/* --- forks and the end of the process ----------------------------------------------------------- */

static _Atomic unsigned forks; /* how many this process has behind it, counted in the child */

/* The list is whole in the child, whatever other threads were doing in the parent. */
static void before_fork(void) {
  pthread_mutex_lock(&list_lock);
}

static void after_fork_in_parent(void) {
  pthread_mutex_unlock(&list_lock);
}

/* The lock on a log belongs to the open file, which parent and child would share. */
static void after_fork_in_child(void) {
  unsigned before = atomic_fetch_add(&forks, 1);
  for (store *s = list; s != NULL; s = s->next) {
    if (s->forks != before || !s->open) continue;
    if (s->queue.log.fd >= 0) os.close(s->queue.log.fd);
    if (s->follow.fd >= 0) os.close(s->follow.fd);
    share_forget(&s->share);
  }
  pthread_mutex_unlock(&list_lock);
}

const char *store_name(const store *s) {
  return s->path != NULL ? s->path : ":memory:";
}

int store_check_fork(const store *s, kv_error *err) {
  if (s->forks == atomic_load_explicit(&forks, memory_order_relaxed)) return KV_OK;
  return kv_error_set(err, KV_EMISUSE,
                      "'%s' was opened before this process was forked; open it again",
                      store_name(s));
}

/* Flush, and cut the room ahead off if nobody writes. A log of the original program has neither, as long
** as nobody has written to it: taking the turn would convert it. */
static void settle(store *s) {
  static const char us;
  static const share_limit soon = {.deadline_ns = 0};
  pthread_mutex_lock(&s->follow.lock);
  bool original = s->follow.at.original;
  pthread_mutex_unlock(&s->follow.lock);
  if (original || commit_flush(&s->queue, NULL) != KV_OK) return;
  if (store_turn_take(s, &us, &soon, NULL) != KV_OK) return;
  commit_trim(&s->queue);
  store_turn_pass(s, &us);
}

static void settle_all(void) {
  if (pthread_mutex_trylock(&list_lock) != 0) return;
  for (store *s = list; s != NULL; s = s->next) {
    bool has_log = s->open && !s->readonly && s->page != NULL;
    if (has_log && store_check_fork(s, NULL) == KV_OK) settle(s);
  }
  pthread_mutex_unlock(&list_lock);
}

static void prepare_process(void) {
  (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  (void)atexit(settle_all);
}

/* --- names ------------------------------------------------------------------------------------ */

/* The one absolute name of a file that may not exist yet: its folder's real path and its own name,
** or the real path of what it links to. */
static int canonical_path(const char *path, char **out, kv_error *err) {
  char *real = os.realpath(path);
  if (real != NULL) {
    *out = real;
    return KV_OK;
  }
  int reason = errno;
  char *folder = os_folder_of(path);
  if (folder == NULL) return kv_error_set(err, KV_ENOMEM, "out of memory opening '%s'", path);
  char *real_folder = reason == ENOENT ? os.realpath(folder) : NULL;
  if (real_folder == NULL) {
    if (reason == ENOENT) reason = errno;
    os.free(folder);
    return kv_error_set(err, reason == ENOMEM ? KV_ENOMEM : KV_ECANTOPEN, "cannot open '%s': %s",
                        path, strerror(reason));
  }
  os.free(folder);
  const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
  size_t folder_size = strlen(real_folder), name_size = strlen(name) + 1;
  char *joined = os.malloc(folder_size + 1 + name_size);
  if (joined != NULL) {
    memcpy(joined, real_folder, folder_size);
    joined[folder_size] = '/';
    memcpy(joined + folder_size + 1, name, name_size);
  }
  os.free(real_folder);
  if (joined == NULL) return kv_error_set(err, KV_ENOMEM, "out of memory opening '%s'", path);
  *out = joined;
  return KV_OK;
}

/* --- waiting ---------------------------------------------------------------------------------- */

#define TIMEOUT_MS 60000u /* where the caller has none */
#define LOCK_PAUSE_NS 200000u

const share_limit *store_wait_limit(store_wait *w) {
  if (!w->began) {
    unsigned ms = w->how->timeout_ms != NULL ? w->how->timeout_ms(w->how->context) : TIMEOUT_MS;
    w->limit = (share_limit){.deadline_ns = os.now_ns() + (uint64_t)ms * 1000000u + STORE_GRACE_NS,
                             .is_interrupted = w->how->is_interrupted,
                             .context = w->how->context};
    w->began = true;
  }
  return &w->limit;
}

int store_wait_lock(store *s, pthread_mutex_t *mutex, store_wait *w, kv_error *err) {
  while (pthread_mutex_trylock(mutex) != 0) {
    const share_limit *limit = store_wait_limit(w);
    if (share_is_interrupted(limit)) {
      return kv_error_set(err, KV_EINTERRUPTED, "interrupted waiting for '%s'", store_name(s));
    }
    if (os.now_ns() >= limit->deadline_ns) {
      return kv_error_set(err, KV_EBUSY, "another thread is opening or following '%s'",
                          store_name(s));
    }
    os_pause(LOCK_PAUSE_NS);
  }
  return KV_OK;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* Bring a new store to life. On failure it is as before. */
static int open_store(store *s, store_wait *w, kv_error *err) {
  if (tree_init(&s->tree) != KV_OK) return kv_error_set(err, KV_ENOMEM, "out of memory");
  commit_queue_init(&s->queue, &s->tree, &s->share);
  if (s->path == NULL) return KV_OK;
  pthread_mutex_lock(&s->follow.lock);
  int rc = s->readonly ? store_look(s, err) : store_join(s, false, w, err);
  pthread_mutex_unlock(&s->follow.lock);
  if (rc == KV_OK) return KV_OK;
  (void)store_leave(s, NULL);
  tree_destroy(&s->tree);
  return rc;
}

/* --- sharing ---------------------------------------------------------------------------------- */

static void store_free(store *s) {
  pthread_mutex_destroy(&s->opening);
  pthread_mutex_destroy(&s->follow.lock);
  pthread_mutex_destroy(&s->turn.lock);
  os.free(s->path);
  os.free(s);
}

static store *store_new(char *path, mode_t file_mode, bool readonly) {
  store *s = os.malloc(sizeof *s);
  if (s == NULL) return NULL;
  memset(s, 0, sizeof *s);
  s->path = path;
  s->readonly = readonly;
  s->file_mode = file_mode;
  s->follow.fd = s->share.fd = -1;
  s->forks = atomic_load(&forks);
  pthread_mutex_init(&s->opening, NULL);
  pthread_mutex_init(&s->follow.lock, NULL);
  pthread_mutex_init(&s->turn.lock, NULL);
  return s;
}

/* Find the store of a path in the list, or put a new one there; takes the path over. */
static int list_enter(char *path, mode_t file_mode, bool readonly, store **out, kv_error *err) {
  static pthread_once_t prepared = PTHREAD_ONCE_INIT;
  pthread_once(&prepared, prepare_process);
  pthread_mutex_lock(&list_lock);
  store *s = list;
  while (s != NULL && !(path != NULL && s->path != NULL && strcmp(path, s->path) == 0 &&
                        (readonly || !s->readonly) && store_check_fork(s, NULL) == KV_OK)) {
    s = s->next;
  }
  if (s != NULL) {
    os.free(path);
  } else if ((s = store_new(path, file_mode, readonly)) == NULL) {
    os.free(path);
    pthread_mutex_unlock(&list_lock);
    return kv_error_set(err, KV_ENOMEM, "out of memory");
  } else {
    s->next = list;
    list = s;
  }
  s->handles++;
  pthread_mutex_unlock(&list_lock);
  *out = s;
  return KV_OK;
}

int store_acquire(const char *path, mode_t file_mode, bool readonly, const kv_waiting *waiting,
                  store **out, kv_error *notice, kv_error *err) {
  char *canonical = NULL;
  store *s = NULL;
  int rc = path != NULL ? canonical_path(path, &canonical, err) : KV_OK;
  if (rc == KV_OK) rc = list_enter(canonical, file_mode, readonly, &s, err);
  if (rc != KV_OK) return rc;
  store_wait wait = {.how = waiting};
  rc = store_wait_lock(s, &s->opening, &wait, err);
  if (rc == KV_OK) {
    if (!s->open) {
      rc = open_store(s, &wait, err);
      s->open = rc == KV_OK;
    }
    if (rc == KV_OK && notice != NULL && s->notice.code != KV_OK && !s->noticed) {
      *notice = s->notice;
      s->noticed = true;
    }
    pthread_mutex_unlock(&s->opening);
  }
  if (rc != KV_OK) {
    (void)store_release(s, NULL);
    return rc;
  }
  *out = s;
  return KV_OK;
}

int store_release(store *s, kv_error *err) {
  if (store_check_fork(s, NULL) != KV_OK) return KV_OK;
  /* The list stays locked until the file is closed: whoever opens the same log next must not find
  ** it in use by ourselves. */
  pthread_mutex_lock(&list_lock);
  if (--s->handles > 0) {
    pthread_mutex_unlock(&list_lock);
    return KV_OK;
  }
  store **at = &list;
  while (*at != s) at = &(*at)->next;
  *at = s->next;
  int rc = KV_OK;
  if (s->open) {
    rc = store_leave(s, err);
    tree_destroy(&s->tree);
  }
  store_free(s);
  pthread_mutex_unlock(&list_lock);
  return rc;
}

int store_each(int (*visit)(void *context, store *s), void *context) {
  int rc = KV_OK;
  pthread_mutex_lock(&list_lock);
  for (store *s = list; s != NULL && rc == KV_OK; s = s->next) {
    if (store_check_fork(s, NULL) == KV_OK && s->open) rc = visit(context, s);
  }
  pthread_mutex_unlock(&list_lock);
  return rc;
}
