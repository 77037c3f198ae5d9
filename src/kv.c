/*
** kv.c - the public face of the engine: handles and cursors. See kv.h, which documents all of it.
**
** A handle is a place in a store plus one transaction; a cursor is a pinned version plus a place in
** it. What they do is done below: store.c, txn.c, tree.c.
*/
#include "kv.h"

#include "check.h"
#include "checkpoint.h"
#include "keypath.h"
#include "os.h"
#include "side_file.h"
#include "store.h"
#include "tree_walk.h"
#include "txn.h"

#include <assert.h>
#include <string.h>

#define AUTO_CHECKPOINT ((uint64_t)64 << 20)

struct kv {
  txn txn; /* with the store and the settings */
  bool readonly;
};

struct kv_cursor {
  store *store;
  tree_pin pin;
  tree_cursor place;
  kv *db;
};

_Static_assert((int)KV_SEEK_GE == (int)TREE_GE && (int)KV_SEEK_GT == (int)TREE_GT &&
                   (int)KV_SEEK_LE == (int)TREE_LE && (int)KV_SEEK_LT == (int)TREE_LT,
               "the two enumerations are one");

unsigned kv_default_group_size(kv_sync synchronous) {
  return synchronous == KV_SYNC_FULL ? 1 : 50;
}

const char *kv_version(void) {
  return KVSTORE_VERSION;
}

int kv_keypath_check(const char *key, size_t size, kv_error *err) {
  return keypath_check(key, size, err);
}

static commit_settings checked(const kv_settings *settings) {
  commit_settings out = {.synchronous = settings->synchronous,
                         .group_size = settings->group_size,
                         .group_timeout_ms = settings->group_timeout_ms,
                         .auto_checkpoint = settings->auto_checkpoint};
  if (out.auto_checkpoint == 0) out.auto_checkpoint = AUTO_CHECKPOINT;
  if (out.group_size == 0) out.group_size = kv_default_group_size(out.synchronous);
  /* NORMAL with groups of one would flush for each commit by a thread of its own, for nothing: the
  ** committer does that itself, and has FULL. */
  if (out.group_size == 1 && out.synchronous == KV_SYNC_NORMAL) out.synchronous = KV_SYNC_FULL;
  if (out.group_size > KV_GROUP_SIZE_MAX) out.group_size = KV_GROUP_SIZE_MAX;
  if (out.group_timeout_ms > KV_GROUP_TIMEOUT_MS_MAX)
    out.group_timeout_ms = KV_GROUP_TIMEOUT_MS_MAX;
  return out;
}

/* --- handles ---------------------------------------------------------------------------------- */

/* The canonical name; NULL if there is none, so that nothing can stand at it. KV_ENOMEM. */
static int canonical_or_none(const char *path, char **out, kv_error *err) {
  *out = NULL;
  int rc = store_canonical_path(path, out, err);
  return rc == KV_ENOMEM ? rc : KV_OK;
}

static int check_database(const char *path, const char *given, const char *database,
                          kv_error *err) {
  char *canonical;
  int rc = canonical_or_none(database, &canonical, err);
  if (rc != KV_OK || canonical == NULL) return rc;
  rc = side_file_check_database(path, given, canonical, err);
  os.free(canonical);
  return rc;
}

int kv_check_name(const kv_options *options, kv_error *err) {
  if (options->path == NULL) return KV_OK;
  char *path;
  int rc = canonical_or_none(options->path, &path, err);
  if (rc != KV_OK || path == NULL) return rc; /* opening tells why */
  const char *const *database = options->databases;
  for (; rc == KV_OK && database != NULL && *database != NULL; database++) {
    rc = check_database(path, options->path, *database, err);
  }
  if (rc == KV_OK && !options->readonly) {
    bool (*is_database)(const char *) = options->is_database;
    if (is_database == NULL) is_database = side_file_is_database;
    rc = side_file_check_beside(path, is_database, err);
    if (rc == KV_OK) rc = side_file_check_own(path, err);
  }
  os.free(path);
  return rc;
}

int kv_open(const kv_options *options, kv **out, kv_error *notice, kv_error *err) {
  /* Before it is opened: closing it would take away the locks that this process has on it. */
  int rc = kv_check_name(options, err);
  if (rc != KV_OK) return rc;
  kv *db = os.malloc(sizeof *db);
  if (db == NULL) return kv_error_set(err, KV_ENOMEM, "out of memory");
  store *s;
  rights like = {.known = false, .fd = -1};
  if (options->rights_from != NULL) (void)rights_read_path(options->rights_from, &like);
  bool may_be_missing = options->readonly && options->may_be_missing;
  rc = store_acquire(options->path, &like, options->readonly, may_be_missing, &options->waiting, &s,
                     notice, err);
  if (rc != KV_OK) {
    os.free(db);
    return rc;
  }
  commit_settings settings = checked(&options->settings);
  txn_init(&db->txn, s, &settings);
  db->txn.waiting = options->waiting;
  db->readonly = options->readonly;
  *out = db;
  return KV_OK;
}

int kv_close(kv *db, kv_error *err) {
  if (db == NULL) return KV_OK;
  store *s = db->txn.store;
  txn_free(&db->txn);
  os.free(db);
  return store_release(s, err);
}

const void *kv_store_of(const kv *db) {
  return db->txn.store;
}

bool kv_same_store(const kv *a, const kv *b) {
  return a->txn.store == b->txn.store;
}

void kv_set_settings(kv *db, const kv_settings *settings) {
  db->txn.settings = checked(settings);
}

void kv_set_waiting(kv *db, const kv_waiting *waiting) {
  db->txn.waiting = *waiting;
}

void kv_get_settings(const kv *db, kv_settings *out) {
  const commit_settings *settings = &db->txn.settings;
  *out = (kv_settings){.synchronous = settings->synchronous,
                       .group_size = settings->group_size,
                       .group_timeout_ms = settings->group_timeout_ms,
                       .auto_checkpoint = settings->auto_checkpoint};
}

/* --- transactions ----------------------------------------------------------------------------- */

static int misuse(kv_error *err, const char *what) {
  return kv_error_set(err, KV_EMISUSE, "%s", what);
}

/* KV_OK if the handle has a transaction open, and is of this process. */
static int check_open(const kv *db, kv_error *err) {
  int rc = store_check_fork(db->txn.store, err);
  if (rc == KV_OK && db->txn.state != TXN_OPEN) rc = misuse(err, "no transaction is open");
  return rc;
}

static bool is_open(const kv *db) {
  return check_open(db, NULL) == KV_OK;
}

static int readonly_error(const kv *db, kv_error *err) {
  return kv_error_set(err, KV_EREADONLY, "'%s' was opened with readonly=1",
                      store_name(db->txn.store));
}

/* KV_OK if the handle can take the turn, or has it. */
static int check_idle(const kv *db, kv_error *err) {
  int rc = store_check_fork(db->txn.store, err);
  if (rc != KV_OK) return rc;
  if (db->txn.state != TXN_IDLE) return misuse(err, "a transaction is open already");
  return db->readonly ? readonly_error(db, err) : KV_OK;
}

static share_limit limit_of(const kv *db, unsigned busy_timeout_ms) {
  const kv_waiting *w = &db->txn.waiting;
  return (share_limit){
      .deadline_ns = busy_timeout_ms > 0 ? os.now_ns() + (uint64_t)busy_timeout_ms * 1000000u : 0,
      .is_interrupted = w->is_interrupted,
      .context = w->context};
}

int kv_begin(kv *db, unsigned busy_timeout_ms, kv_error *err) {
  int rc = check_idle(db, err);
  if (rc != KV_OK) return rc;
  share_limit limit = limit_of(db, busy_timeout_ms);
  return txn_begin(&db->txn, &limit, err);
}

int kv_begin_now(kv *db, kv_error *err) {
  int rc = check_idle(db, err);
  return rc == KV_OK ? txn_begin(&db->txn, NULL, err) : rc;
}

int kv_take_turn(kv *db, unsigned busy_timeout_ms, kv_error *err) {
  int rc = check_idle(db, err);
  if (rc != KV_OK) return rc;
  share_limit limit = limit_of(db, busy_timeout_ms);
  return txn_take_turn(&db->txn, &limit, err);
}

bool kv_in_transaction(const kv *db) {
  return db->txn.state == TXN_OPEN;
}

bool kv_has_changes(const kv *db) {
  return db->txn.state == TXN_OPEN && db->txn.records.size > 0;
}

int kv_put(kv *db, const char *key, size_t size, const kv_value *value, bool *replaced,
           kv_error *err) {
  int rc = check_open(db, err);
  if (rc == KV_OK) rc = keypath_check(key, size, err);
  if (rc != KV_OK) return rc;
  if ((value->type == KV_TEXT || value->type == KV_BLOB) && value->size > KV_VALUE_SIZE_MAX) {
    return kv_error_set(err, KV_ETOOBIG, "value of %zu bytes is too long: at most %u bytes",
                        value->size, KV_VALUE_SIZE_MAX);
  }
  return txn_put(&db->txn, key, size, value, replaced, err);
}

int kv_delete(kv *db, const char *key, size_t size, bool *found, kv_error *err) {
  int rc = check_open(db, err);
  if (rc != KV_OK) return rc;
  if (keypath_check(key, size, NULL) != KV_OK) {
    if (found != NULL) *found = false;
    return KV_OK; /* there cannot be such a key */
  }
  return txn_delete(&db->txn, key, size, found, err);
}

bool kv_has(const kv *db, const char *key, size_t size) {
  if (!is_open(db)) return false;
  return tree_find(db->txn.store->tree.edit.top, key, size) != NULL;
}

int kv_savepoint(kv *db, int number, kv_error *err) {
  int rc = check_open(db, err);
  return rc == KV_OK ? txn_savepoint_set(&db->txn, number, err) : rc;
}

void kv_rollback_to(kv *db, int number) {
  if (is_open(db)) txn_rollback_to(&db->txn, number);
}

void kv_release(kv *db, int number) {
  if (is_open(db)) txn_release(&db->txn, number);
}

int kv_commit(kv *db, unsigned flags, kv_error *err) {
  int rc = check_open(db, err);
  if (rc != KV_OK) return rc;
  bool undoable = (flags & KV_UNDOABLE) != 0, no_wait = (flags & KV_NO_WAIT) != 0;
  if ((undoable && no_wait) || ((flags & KV_KEEP_TURN) != 0 && !undoable && !no_wait)) {
    return misuse(err, "these flags of a commit exclude each other");
  }
  return txn_commit(&db->txn, flags, err);
}

void kv_pass_turn(kv *db) {
  if (store_check_fork(db->txn.store, NULL) == KV_OK) txn_pass_turn(&db->txn);
}

uint64_t kv_handed_seq(kv *db) {
  return commit_handed_seq(&db->txn.store->queue);
}

uint64_t kv_losses(kv *db, uint64_t *kept_seq, kv_error *why) {
  return commit_losses(&db->txn.store->queue, kept_seq, why);
}

/* Another process may have flushed and published what was handed over here. */
uint64_t kv_published_seq(kv *db) {
  store *s = db->txn.store;
  const share_page *page = atomic_load(&s->page);
  uint64_t published = page != NULL ? atomic_load(&page->published_seq) : SHARE_CLOSED;
  if (published != SHARE_CLOSED && published > atomic_load(&s->queue.shown_seq)) {
    commit_show(&s->queue);
  }
  return atomic_load(&s->queue.shown_seq);
}

void kv_settle(kv *db) {
  if (db->txn.state != TXN_COMMITTED) return;
  if (store_check_fork(db->txn.store, NULL) == KV_OK) txn_settle(&db->txn);
}

int kv_undo(kv *db, kv_error *err) {
  int rc = store_check_fork(db->txn.store, err);
  if (rc != KV_OK || db->txn.state != TXN_COMMITTED) return rc;
  return txn_undo(&db->txn, err);
}

void kv_rollback(kv *db) {
  if (is_open(db)) txn_rollback(&db->txn);
}

static int flush_with(kv *db, int (*how)(commit_queue *q, kv_error *err), kv_error *err) {
  int rc = store_check_fork(db->txn.store, err);
  if (rc != KV_OK || db->txn.store->path == NULL) return rc;
  if (db->txn.store->readonly) return store_sync_read(db->txn.store, &db->txn.waiting, err);
  rc = how(&db->txn.store->queue, err);
  store_tidy_if_wanted(db->txn.store); /* what has become visible may have left much behind */
  return rc;
}

int kv_flush(kv *db, kv_error *err) {
  return flush_with(db, commit_flush, err);
}

int kv_flush_unless_busy(kv *db, kv_error *err) {
  return flush_with(db, commit_flush_unless_busy, err);
}

int kv_checkpoint(kv *db, kv_error *err) {
  store *s = db->txn.store;
  int rc = store_check_fork(s, err);
  if (rc != KV_OK) return rc;
  if (db->txn.state != TXN_IDLE) return misuse(err, "a transaction is open");
  if (db->readonly) return readonly_error(db, err);
  const kv_waiting *waiting = &db->txn.waiting;
  if (s->path != NULL) rc = store_refresh(s, waiting, err);
  /* A log that was never written stays that way. */
  if (rc == KV_OK && s->page != NULL) rc = checkpoint_run(s, waiting, err);
  store_tidy_all(s);
  return rc;
}

/* --- cursors ---------------------------------------------------------------------------------- */

/* Pin what the handle sees now: its own transaction, or the newest version that anyone in any process
** has committed. */
static int pin_now(kv *db, tree_pin *out, kv_error *err) {
  store *s = db->txn.store;
  int rc;
  if (db->txn.state == TXN_OPEN) {
    rc = tree_pin_edit(&s->tree, out);
  } else {
    rc = store_refresh(s, &db->txn.waiting, err);
    if (rc != KV_OK) return rc;
    rc = tree_pin_published(&s->tree, out);
  }
  return rc == KV_OK ? KV_OK : kv_error_set(err, rc, "out of memory");
}

static void unpin(store *s, tree_pin *pin) {
  if (tree_unpin(&s->tree, pin)) store_tidy_by_reader(s);
}

void kv_cursor_let_go(kv_cursor *c) {
  unpin(c->store, &c->pin);
  c->place.leaf = NULL;
  c->place.top = 0;
}

int kv_cursor_refresh(kv_cursor *c, kv_error *err) {
  kv_cursor_let_go(c);
  int rc = store_check_fork(c->store, err);
  if (rc == KV_OK) rc = pin_now(c->db, &c->pin, err);
  if (rc == KV_OK) c->place.top = c->pin.top;
  return rc;
}

int kv_cursor_refresh_newest(kv_cursor *c, kv_error *err) {
  kv_cursor_let_go(c);
  int rc = store_check_fork(c->store, err);
  if (rc == KV_OK) rc = store_refresh(c->store, &c->db->txn.waiting, err);
  if (rc != KV_OK) return rc;
  rc = commit_pin_newest(&c->store->queue, &c->pin);
  if (rc != KV_OK) return kv_error_set(err, rc, "out of memory");
  c->place.top = c->pin.top;
  return KV_OK;
}

uint64_t kv_cursor_seq(const kv_cursor *c) {
  return c->pin.seq;
}

static int open_cursor(kv *db, int (*refresh)(kv_cursor *c, kv_error *err), kv_cursor **out,
                       kv_error *err) {
  kv_cursor *c = os.malloc(sizeof *c);
  if (c == NULL) return kv_error_set(err, KV_ENOMEM, "out of memory");
  c->store = db->txn.store;
  c->db = db;
  c->pin = (tree_pin){0};
  tree_cursor_init(&c->place, 0);
  int rc = refresh(c, err);
  if (rc != KV_OK) {
    kv_cursor_close(c);
    return rc;
  }
  *out = c;
  return KV_OK;
}

int kv_cursor_open(kv *db, kv_cursor **out, kv_error *err) {
  return open_cursor(db, kv_cursor_refresh, out, err);
}

int kv_cursor_open_newest(kv *db, kv_cursor **out, kv_error *err) {
  return open_cursor(db, kv_cursor_refresh_newest, out, err);
}

void kv_cursor_close(kv_cursor *c) {
  tree_cursor_free(&c->place);
  unpin(c->store, &c->pin);
  os.free(c);
}

int kv_cursor_first(kv_cursor *c) {
  return tree_cursor_first(&c->place);
}

int kv_cursor_last(kv_cursor *c) {
  return tree_cursor_last(&c->place);
}

int kv_cursor_seek(kv_cursor *c, const char *key, size_t size, kv_seek how) {
  return tree_cursor_seek(&c->place, key, size, (tree_seek)how);
}

void kv_cursor_find(kv_cursor *c, const char *key, size_t size) {
  c->place.depth = 0;
  c->place.leaf = tree_find(c->pin.top, key, size);
}

int kv_cursor_at(kv_cursor *c, uint64_t rank) {
  return tree_cursor_at(&c->place, rank);
}

int kv_cursor_next(kv_cursor *c) {
  return tree_cursor_next(&c->place);
}

int kv_cursor_prev(kv_cursor *c) {
  return tree_cursor_prev(&c->place);
}

bool kv_cursor_valid(const kv_cursor *c) {
  return c->place.leaf != NULL;
}

const char *kv_cursor_key(const kv_cursor *c, size_t *size) {
  return tree_leaf_key(c->place.leaf, size);
}

void kv_cursor_value(const kv_cursor *c, kv_value *out) {
  tree_leaf_value(c->place.leaf, out);
}

const char *kv_cursor_bytes_hold(const kv_cursor *c) {
  return tree_leaf_bytes_hold(c->place.leaf);
}

void kv_bytes_release(void *bytes) {
  tree_bytes_release(bytes);
}

void kv_cursor_count(const kv_cursor *c, const char *key, size_t size, kv_counts *out) {
  tree_counts counts;
  tree_count(c->pin.top, key, size, &counts);
  *out = (kv_counts){.values = counts.values, .nodes = counts.nodes, .children = counts.children};
}

uint64_t kv_cursor_rank(const kv_cursor *c, const char *key, size_t size) {
  return tree_rank(c->pin.top, key, size);
}

/* --- nodes ------------------------------------------------------------------------------------ */

struct kv_walk {
  store *store;
  tree_pin pin;
  tree_walk place;
};

int kv_walk_open(kv *db, const char *root, size_t size, size_t depth_max, kv_walk **out,
                 kv_error *err) {
  int rc = store_check_fork(db->txn.store, err);
  if (rc != KV_OK) return rc;
  kv_walk *w = os.malloc(sizeof *w);
  if (w == NULL) return kv_error_set(err, KV_ENOMEM, "out of memory");
  w->store = db->txn.store;
  rc = pin_now(db, &w->pin, err);
  if (rc != KV_OK) {
    os.free(w);
    return rc;
  }
  unsigned limit = depth_max < KV_KEYPATH_SIZE_MAX ? (unsigned)depth_max : KV_KEYPATH_SIZE_MAX;
  rc = tree_walk_start(&w->place, w->pin.top, root, size, limit);
  if (rc != KV_OK) {
    kv_walk_close(w);
    return kv_error_set(err, rc, "out of memory");
  }
  *out = w;
  return KV_OK;
}

void kv_walk_close(kv_walk *w) {
  tree_walk_free(&w->place);
  unpin(w->store, &w->pin);
  os.free(w);
}

int kv_walk_next(kv_walk *w) {
  return tree_walk_next(&w->place);
}

bool kv_walk_node(const kv_walk *w, kv_node *out) {
  const tree_walk *place = &w->place;
  if (place->label == NULL) return false;
  size_t label_size;
  *out = (kv_node){.path = tree_leaf_key(place->label, &label_size),
                   .size = place->size,
                   .depth = place->depth,
                   .has_value = place->leaf != NULL};
  return true;
}

void kv_walk_counts(kv_walk *w, uint64_t *children, uint64_t *descendants) {
  tree_walk_counts(&w->place, children, descendants);
}

void kv_walk_value(const kv_walk *w, kv_value *out) {
  *out = (kv_value){.type = KV_NULL};
  if (w->place.leaf != NULL) tree_leaf_value(w->place.leaf, out);
}

/* --- about the store ---------------------------------------------------------------------------- */

static int store_stats(store *s, kv_stats *out, kv_error *err) {
  *out = (kv_stats){.store = s, .path = s->path, .readonly = s->readonly};
  out->readers = tree_pin_count(&s->tree);
  tree_pin pin;
  if (tree_pin_published(&s->tree, &pin) != KV_OK)
    return kv_error_set(err, KV_ENOMEM, "out of memory");
  const share_page *page = atomic_load(&s->page);
  pthread_mutex_lock(&s->follow.lock);
  out->log_bytes = page != NULL ? share_log_end(page) : s->follow.at.end;
  pthread_mutex_unlock(&s->follow.lock);
  tree_counts counts;
  tree_count(pin.top, "", 0, &counts);
  out->live_bytes = pin.bytes;
  out->reader_lag = tree_pin_lag(&s->tree);
  tree_unpin(&s->tree, &pin);
  out->keys = counts.values;
  out->nodes = counts.nodes;
  const pool *memory = &s->tree.memory;
  uint64_t apart = atomic_load_explicit(&memory->apart, memory_order_relaxed);
  out->memory_bytes = atomic_load_explicit(&memory->taken, memory_order_relaxed) + apart;
  out->memory_used = atomic_load_explicit(&memory->bytes, memory_order_relaxed) + apart;
  out->replay_transactions = s->recovered.transactions;
  out->replay_ns = s->recovered.took_ns;
  out->torn_bytes = s->recovered.torn_size;
  commit_queue *q = &s->queue;
  pthread_mutex_lock(&q->lock);
  out->commits = q->stats.commits;
  out->flushes = q->stats.flushes;
  out->written_bytes = q->stats.bytes;
  out->flush_p50_ns = histogram_percentile_ns(&q->stats.flush_ns, 0.50);
  out->flush_p99_ns = histogram_percentile_ns(&q->stats.flush_ns, 0.99);
  out->flush_max_ns = q->stats.flush_ns.max_ns;
  out->seq = q->handed_seq;
  out->checkpoints = page != NULL ? atomic_load(&page->checkpoints) : 0;
  out->checkpoint_time = page != NULL ? atomic_load(&page->checkpoint_time) : 0;
  out->durable_seq = page != NULL ? atomic_load(&page->durable_seq) : s->recovered.seq;
  pthread_mutex_unlock(&q->lock);
  return KV_OK;
}

int kv_get_stats(kv *db, kv_stats *out, kv_error *err) {
  int rc = store_check_fork(db->txn.store, err);
  return rc == KV_OK ? store_stats(db->txn.store, out, err) : rc;
}

int kv_check(kv *db, kv_error *err) {
  int rc = store_check_fork(db->txn.store, err);
  return rc == KV_OK ? check_store(db->txn.store, &db->txn.waiting, err) : rc;
}

typedef struct each_store {
  int (*each)(void *context, const kv_stats *stats);
  void *context;
} each_store;

static int visit(void *context, store *s) {
  const each_store *call = context;
  kv_stats stats;
  int rc = store_stats(s, &stats, NULL);
  return rc == KV_OK ? call->each(call->context, &stats) : rc;
}

int kv_each_store(int (*each)(void *context, const kv_stats *stats), void *context) {
  each_store call = {.each = each, .context = context};
  return store_each(visit, &call);
}
