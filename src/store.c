/* store.c - the stores of a process: opening, sharing and closing them. See store.h. */
#include "store.h"

#include "os.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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

/* What was open is closed already (os.h), whatever other threads of the parent were doing with it. */
static void after_fork_in_child(void) {
  atomic_fetch_add(&forks, 1);
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
  os_handle_forks();
  (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  (void)atexit(settle_all);
}

/* --- names ------------------------------------------------------------------------------------ */

#define LINKS_MAX 40 /* symbolic links in a row, as many as the kernel follows */

static const char name_limit[] = "a log's name has at most 225 bytes, its path at most 4065; ";

_Static_assert(NAME_MAX - LOG_SUFFIX_MAX == 225 && PATH_MAX - 1 - LOG_SUFFIX_MAX == 4065,
               "what the error says");

/* Say why a path cannot be opened; where it is a link, what that leads to. */
static int path_error(const char *path, const char *target, int reason, kv_error *err) {
  int code = reason == ENOMEM ? KV_ENOMEM : KV_ECANTOPEN;
  if (target == path) {
    return kv_error_set(err, code, "%scannot open '%s': %s",
                        reason == ENAMETOOLONG ? name_limit : "", path, strerror(reason));
  }
  return kv_error_set(err, code, "cannot open '%s', a symbolic link to '%s': %s", path, target,
                      strerror(reason));
}

/* The real path of a file's folder and the file's own name; NULL and errno. */
static char *join_real_folder(const char *path) {
  char *folder = os_folder_of(path);
  char *real_folder = folder != NULL ? os.realpath(folder) : NULL;
  int reason = folder != NULL ? errno : ENOMEM;
  os.free(folder);
  const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
  size_t name_size = strlen(name) + 1;
  size_t folder_size = real_folder != NULL ? strlen(real_folder) : 0;
  char *joined = real_folder != NULL ? os.malloc(folder_size + 1 + name_size) : NULL;
  if (joined != NULL) {
    memcpy(joined, real_folder, folder_size);
    joined[folder_size] = '/';
    memcpy(joined + folder_size + 1, name, name_size);
  } else if (real_folder != NULL) {
    reason = ENOMEM;
  }
  os.free(real_folder);
  errno = reason;
  return joined;
}

/* What the link at an absolute path leads to, with the link's folder in front if it is relative. NULL and
** errno: EINVAL if it is no link, ENOENT if there is nothing. */
static char *follow_link(const char *link) {
  char target[PATH_MAX];
  ssize_t size = os.readlink(link, target, sizeof target);
  if (size < 0) return NULL;
  if (size == 0 || (size_t)size == sizeof target) {
    errno = size == 0 ? ENOENT : ENAMETOOLONG;
    return NULL;
  }
  size_t folder_size = target[0] != '/' ? (size_t)(strrchr(link, '/') - link) + 1 : 0;
  char *joined = os.malloc(folder_size + (size_t)size + 1);
  if (joined == NULL) {
    errno = ENOMEM;
    return NULL;
  }
  memcpy(joined, link, folder_size);
  memcpy(joined + folder_size, target, (size_t)size);
  joined[folder_size + (size_t)size] = '\0';
  return joined;
}

/* The absolute name of a file that does not exist: its folder's real path and its own name, or where the
** last of the links there leads to. */
static int missing_path(const char *path, char **out, kv_error *err) {
  char *target = (char *)(uintptr_t)path, *real = NULL, *next = NULL;
  int reason = 0;
  for (unsigned links = 0; links <= LINKS_MAX; links++) {
    real = join_real_folder(target);
    reason = errno;
    next = real != NULL ? follow_link(real) : NULL;
    if (next == NULL) break;
    os.free(real);
    if (target != path) os.free(target);
    target = next;
    real = NULL;
    reason = ELOOP;
  }
  if (real != NULL && errno != ENOENT && errno != EINVAL) {
    reason = errno;
    os.free(real);
    real = NULL;
  }
  int rc = real != NULL ? KV_OK : path_error(path, target, reason, err);
  if (target != path) os.free(target);
  if (rc == KV_OK) *out = real;
  return rc;
}

/* The kernel is asked as well: it does not follow a link that another user has put into a folder which all
** may write. */
int store_canonical_path(const char *path, char **out, kv_error *err) {
  struct stat facts;
  char *real = os.realpath(path);
  int reason = real != NULL ? 0 : errno;
  if (os.stat(path, &facts) != 0 && errno == EACCES) reason = EACCES;
  if (reason == 0) {
    *out = real;
    return KV_OK;
  }
  os.free(real);
  return reason == ENOENT ? missing_path(path, out, err) : path_error(path, path, reason, err);
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
  if (rc == KV_OK) store_tidy_followed(s);
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

static store *store_new(char *path, const rights *file_rights, bool readonly, bool may_be_missing) {
  store *s = os.malloc(sizeof *s);
  if (s == NULL) return NULL;
  memset(s, 0, sizeof *s);
  s->path = path;
  s->readonly = readonly;
  s->may_be_missing = may_be_missing;
  s->file_rights = *file_rights;
  s->follow.fd = s->share.fd = -1;
  s->forks = atomic_load(&forks);
  pthread_mutex_init(&s->opening, NULL);
  pthread_mutex_init(&s->follow.lock, NULL);
  pthread_mutex_init(&s->turn.lock, NULL);
  return s;
}

/* Find the store of a path in the list, or put a new one there; takes the path over. */
static int list_enter(char *path, const rights *file_rights, bool readonly, bool may_be_missing,
                      store **out, kv_error *err) {
  static pthread_once_t prepared = PTHREAD_ONCE_INIT;
  pthread_once(&prepared, prepare_process);
  pthread_mutex_lock(&list_lock);
  store *s = list;
  while (s != NULL && !(path != NULL && s->path != NULL && strcmp(path, s->path) == 0 &&
                        (!s->readonly || (readonly && s->may_be_missing == may_be_missing)) &&
                        store_check_fork(s, NULL) == KV_OK)) {
    s = s->next;
  }
  if (s != NULL) {
    os.free(path);
  } else if ((s = store_new(path, file_rights, readonly, may_be_missing)) == NULL) {
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

/* A further handle is for the file that has the name now, and that may not be the store's any more. Where
** there is none the store is what is left of it. */
static int check_named(const store *s, kv_error *err) {
  struct stat facts;
  if (s->path == NULL) return KV_OK;
  if (os.stat(s->path, &facts) != 0) {
    return errno == ENOENT || errno == ENOTDIR ? KV_OK : log_error(err, "stat", s->path);
  }
  return store_check_named(s, (uint64_t)facts.st_ino, err);
}

int store_acquire(const char *path, const rights *file_rights, bool readonly, bool may_be_missing,
                  const kv_waiting *waiting, store **out, kv_error *notice, kv_error *err) {
  char *canonical = NULL;
  store *s = NULL;
  int rc = path != NULL ? store_canonical_path(path, &canonical, err) : KV_OK;
  if (rc == KV_OK) rc = list_enter(canonical, file_rights, readonly, may_be_missing, &s, err);
  if (rc != KV_OK) return rc;
  store_wait wait = {.how = waiting};
  rc = store_wait_lock(s, &s->opening, &wait, err);
  if (rc == KV_OK) {
    if (!s->open) {
      rc = open_store(s, &wait, err);
      s->open = rc == KV_OK;
    } else {
      rc = check_named(s, err);
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
