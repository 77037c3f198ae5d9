/* store.c - opening, sharing and closing stores, and the writer's turn. See store.h. */
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
    if (s->original_fd >= 0) os.close(s->original_fd);
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

static void settle_all(void) {
  if (pthread_mutex_trylock(&list_lock) != 0) return;
  for (store *s = list; s != NULL; s = s->next) {
    bool has_log = s->open && s->path != NULL;
    if (has_log && store_check_fork(s, NULL) == KV_OK) commit_settle(&s->queue);
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

/* --- opening ---------------------------------------------------------------------------------- */

static int open_error(const store *s, int reason, kv_error *err) {
  const char *hint = reason == EACCES || reason == EROFS ? "; readonly=1 opens it for reading" : "";
  return kv_error_set(err, KV_ECANTOPEN, "cannot open '%s': %s%s", s->path, strerror(reason),
                      s->readonly ? "" : hint);
}

/* There is no such file: will it be possible to create it? */
static int check_creatable(const store *s, kv_error *err) {
  if (s->readonly) return open_error(s, ENOENT, err);
  char *folder = os_folder_of(s->path);
  if (folder == NULL) return kv_error_set(err, KV_ENOMEM, "out of memory opening '%s'", s->path);
  int rc =
      os.access(folder, W_OK | X_OK) == 0
          ? KV_OK
          : kv_error_set(err, KV_ECANTOPEN, "cannot create '%s': %s", s->path, strerror(errno));
  os.free(folder);
  return rc;
}

/* Replay the file into the tree and make it the first version. */
static int replay_into_tree(store *s, int fd, kv_error *err) {
  if (tree_edit_begin(&s->tree) != KV_OK) {
    return kv_error_set(err, KV_ENOMEM, "out of memory opening '%s'", s->path);
  }
  int rc = recover_replay(fd, s->path, &s->tree, UINT64_MAX, &s->recovered, err);
  if (rc != KV_OK) {
    tree_edit_rollback(&s->tree);
    return rc;
  }
  tree_publish(&s->tree, tree_edit_seal(&s->tree, s->recovered.seq));
  return KV_OK;
}

/* Lock a log for writing. *moved tells that the file had lost its name, to a conversion or a
** checkpoint, before it was locked. */
static int lock_file(const store *s, int fd, bool *moved, kv_error *err) {
  struct stat facts, named;
  *moved = false;
  if (os.lock(fd) != 0) {
    if (errno != EAGAIN && errno != EACCES) return log_error(err, "lock", s->path);
    return kv_error_set(err, KV_EBUSY,
                        "'%s' is in use by another process; readonly=1 reads what it holds now",
                        s->path);
  }
  if (os.fstat(fd, &facts) != 0) return log_error(err, "fstat", s->path);
  *moved =
      os.stat(s->path, &named) != 0 || facts.st_dev != named.st_dev || facts.st_ino != named.st_ino;
  return KV_OK;
}

static int open_file(store *s, int *fd, kv_error *err) {
  int rc = KV_OK;
  for (bool moved = true; moved && rc == KV_OK;) {
    /* Not blocking, so that a pipe in the file's place cannot hang us. */
    *fd = os.open(s->path, (s->readonly ? O_RDONLY : O_RDWR) | O_NONBLOCK, 0);
    if (*fd < 0) return errno == ENOENT ? check_creatable(s, err) : open_error(s, errno, err);
    moved = false;
    if (!s->readonly) rc = lock_file(s, *fd, &moved, err);
    if (moved) os_close_locked(*fd);
  }
  if (rc == KV_OK) rc = replay_into_tree(s, *fd, err);
  if (rc == KV_OK) return KV_OK;
  os_close_locked(*fd);
  *fd = -1;
  return rc;
}

/* What is served is on stable storage, also where nothing will be written. A file system that is
** read-only may refuse to flush. */
static int sync_as_it_is(const store *s, int fd, kv_error *err) {
  if (os_sync_data(fd) == 0 || errno == EROFS || errno == EINVAL) return KV_OK;
  return log_error(err, "fdatasync", s->path);
}

/* Bring a new store to life. On failure it is as before. */
static int open_log(store *s, kv_error *err) {
  int fd = -1;
  if (tree_init(&s->tree) != KV_OK) return kv_error_set(err, KV_ENOMEM, "out of memory");
  int rc = s->path != NULL ? open_file(s, &fd, err) : KV_OK;
  log_writer writer = {.fd = -1, .path = s->path};
  bool as_it_is = s->readonly || s->recovered.original;
  if (rc == KV_OK && fd >= 0) {
    rc = as_it_is ? sync_as_it_is(s, fd, err)
                  : recover_finish(fd, s->path, &s->recovered, &writer, &s->notice, err);
  }
  if (rc == KV_OK) rc = commit_queue_init(&s->queue, &s->tree, s->recovered.seq);
  if (fd >= 0 && (rc != KV_OK || s->readonly)) {
    os_close_locked(fd);
    fd = -1;
  }
  if (rc != KV_OK) {
    tree_destroy(&s->tree);
    return rc;
  }
  s->original_fd = as_it_is ? fd : -1;
  s->queue.log = writer;
  return KV_OK;
}

int store_make_writable(store *s, kv_error *err) {
  assert(!s->readonly && s->path != NULL);
  if (s->queue.log.fd >= 0) return KV_OK;
  log_writer writer = {.fd = -1};
  int rc;
  if (s->original_fd >= 0) {
    rc = recover_convert(&s->original_fd, s->path, &s->recovered, &writer, err);
  } else {
    log_draft draft;
    rc = log_draft_begin(&draft, s->path, s->file_mode, 0, err);
    if (rc == KV_OK) rc = log_draft_finish(&draft, false, &writer, err);
  }
  if (writer.fd >= 0) {
    commit_queue_attach(&s->queue, &writer);
    if (rc != KV_OK) commit_break(&s->queue, rc, err != NULL ? err->text : "out of order");
  }
  return rc;
}

/* --- sharing ---------------------------------------------------------------------------------- */

static void store_free(store *s) {
  pthread_mutex_destroy(&s->opening);
  pthread_mutex_destroy(&s->turn.lock);
  pthread_cond_destroy(&s->turn.free);
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
  s->original_fd = -1;
  s->forks = atomic_load(&forks);
  pthread_mutex_init(&s->opening, NULL);
  pthread_mutex_init(&s->turn.lock, NULL);
  pthread_condattr_t clock;
  pthread_condattr_init(&clock);
  pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
  pthread_cond_init(&s->turn.free, &clock);
  pthread_condattr_destroy(&clock);
  return s;
}

/* Find the store of a path in the list, or put a new one there; takes the path over. */
static int list_enter(char *path, mode_t file_mode, bool readonly, store **out, kv_error *err) {
  static pthread_once_t prepared = PTHREAD_ONCE_INIT;
  pthread_once(&prepared, prepare_process);
  pthread_mutex_lock(&list_lock);
  store *s = list;
  while (s != NULL && !(path != NULL && s->path != NULL && strcmp(path, s->path) == 0 &&
                        store_check_fork(s, NULL) == KV_OK)) {
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

int store_acquire(const char *path, mode_t file_mode, bool readonly, store **out, kv_error *notice,
                  kv_error *err) {
  char *canonical = NULL;
  store *s = NULL;
  int rc = path != NULL ? canonical_path(path, &canonical, err) : KV_OK;
  if (rc == KV_OK) rc = list_enter(canonical, file_mode, readonly, &s, err);
  if (rc != KV_OK) return rc;
  pthread_mutex_lock(&s->opening);
  if (!s->open) {
    rc = open_log(s, err);
    s->open = rc == KV_OK;
  } else if (s->readonly && !readonly) {
    rc = kv_error_set(err, KV_EREADONLY, "'%s' is already open read-only in this process", s->path);
  }
  if (rc == KV_OK && notice != NULL && s->notice.code != KV_OK && !s->noticed) {
    *notice = s->notice;
    s->noticed = true;
  }
  pthread_mutex_unlock(&s->opening);
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
    rc = commit_queue_close(&s->queue, err);
    if (s->original_fd >= 0) os_close_locked(s->original_fd);
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

/* --- the turn --------------------------------------------------------------------------------- */

int store_turn_take(store *s, const void *owner, unsigned timeout_ms) {
  int rc = KV_OK;
  pthread_mutex_lock(&s->turn.lock);
  assert(s->turn.owner != owner);
  if (s->turn.owner != NULL && timeout_ms > 0) {
    uint64_t end_ns = os.now_ns() + (uint64_t)timeout_ms * 1000000u;
    struct timespec end = {.tv_sec = (time_t)(end_ns / 1000000000u),
                           .tv_nsec = (long)(end_ns % 1000000000u)};
    s->turn.waiting++;
    while (s->turn.owner != NULL && rc != ETIMEDOUT) {
      rc = pthread_cond_timedwait(&s->turn.free, &s->turn.lock, &end);
    }
    s->turn.waiting--;
  }
  if (s->turn.owner == NULL) {
    s->turn.owner = owner;
    rc = KV_OK;
  } else {
    rc = KV_EBUSY;
  }
  pthread_mutex_unlock(&s->turn.lock);
  return rc;
}

void store_turn_pass(store *s, const void *owner) {
  pthread_mutex_lock(&s->turn.lock);
  assert(s->turn.owner == owner);
  (void)owner;
  s->turn.owner = NULL;
  if (s->turn.waiting > 0) pthread_cond_signal(&s->turn.free);
  pthread_mutex_unlock(&s->turn.lock);
}
