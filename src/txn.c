/* txn.c - one handle's transaction. See txn.h. */
#include "txn.h"

#include "checkpoint.h"
#include "log_format.h"
#include "os.h"

#include <assert.h>
#include <string.h>

#define RECORDS_KEEP_MAX                                                                           \
  ((size_t)256 << 10) /* a larger buffer is given back after its transaction */

/* Give the turn back, if the handle has it. */
static void pass_turn(txn *x) {
  if (x->has_turn) store_turn_pass(x->store, x);
  x->has_turn = false;
}

void txn_init(txn *x, store *s, const commit_settings *settings) {
  *x = (txn){.store = s, .settings = *settings, .state = TXN_IDLE};
}

void txn_free(txn *x) {
  if (store_check_fork(x->store, NULL) == KV_OK) {
    if (x->state == TXN_OPEN) txn_rollback(x);
    if (x->state == TXN_COMMITTED) txn_settle(x);
    pass_turn(x);
  }
  buf_free(&x->records);
  os.free(x->savepoints);
}

static int no_memory(kv_error *err) {
  return kv_error_set(err, KV_ENOMEM, "out of memory");
}

/* Back to IDLE, the tree's edit being over. */
static void end(txn *x) {
  if (!x->keeps_turn) pass_turn(x);
  if (!x->has_turn) store_tidy_if_wanted(x->store);
  x->state = TXN_IDLE;
  x->savepoint_count = 0;
  x->records.size = 0;
  if (x->records.room > RECORDS_KEEP_MAX) {
    buf_free(&x->records);
    os.trim();
  }
}

/* --- begin ------------------------------------------------------------------------------------ */

static int begin_with_turn(txn *x, kv_error *err) {
  store *s = x->store;
  int rc = KV_OK;
  commit_take_back(&s->queue);
  store_tidy_here(s);
  if (tree_edit_begin(&s->tree) != KV_OK) rc = no_memory(err);
  if (rc == KV_OK) x->state = TXN_OPEN;
  return rc;
}

int txn_take_turn(txn *x, const share_limit *limit, kv_error *err) {
  assert(x->state == TXN_IDLE && !x->store->readonly);
  int rc = x->has_turn ? KV_OK : store_turn_take(x->store, x, limit, err);
  if (rc == KV_OK) x->has_turn = true;
  return rc;
}

int txn_begin(txn *x, const share_limit *limit, kv_error *err) {
  assert(x->records.size == 0 && x->savepoint_count == 0);
  int rc = txn_take_turn(x, limit, err);
  if (rc != KV_OK) return rc;
  x->keeps_turn = false;
  rc = begin_with_turn(x, err);
  if (rc != KV_OK) pass_turn(x);
  return rc;
}

/* --- changes ---------------------------------------------------------------------------------- */

int txn_put(txn *x, const char *key, size_t size, const kv_value *value, bool *replaced,
            kv_error *err) {
  assert(x->state == TXN_OPEN);
  size_t before = x->records.size;
  int rc = log_format_write(&x->records, key, size, value);
  if (rc == KV_OK) rc = tree_put(&x->store->tree, key, size, value, replaced);
  if (rc == KV_OK) return KV_OK;
  x->records.size = before;
  if (rc == KV_ENOMEM) return no_memory(err);
  return kv_error_set(err, rc, "the store is full: at most %u keys", KV_ENTRIES_MAX);
}

int txn_delete(txn *x, const char *key, size_t size, bool *found, kv_error *err) {
  assert(x->state == TXN_OPEN);
  size_t before = x->records.size;
  bool there = false;
  int rc = log_format_delete(&x->records, key, size);
  if (rc == KV_OK) rc = tree_delete(&x->store->tree, key, size, &there);
  if (rc != KV_OK || !there) x->records.size = before;
  if (rc != KV_OK) return no_memory(err);
  if (found != NULL) *found = there;
  return KV_OK;
}

/* --- savepoints ------------------------------------------------------------------------------- */

int txn_savepoint_set(txn *x, int number, kv_error *err) {
  assert(x->state == TXN_OPEN);
  size_t count = x->savepoint_count;
  if (count > 0 && x->savepoints[count - 1].number >= number) return KV_OK;
  if (count == x->savepoint_room) {
    size_t room = count == 0 ? 8 : count * 2;
    txn_savepoint *savepoints = os.realloc(x->savepoints, room * sizeof *savepoints);
    if (savepoints == NULL) return no_memory(err);
    x->savepoints = savepoints;
    x->savepoint_room = room;
  }
  txn_savepoint *savepoint = &x->savepoints[count];
  if (tree_savepoint_set(&x->store->tree, &savepoint->tree) != KV_OK) return no_memory(err);
  savepoint->number = number;
  savepoint->records_size = x->records.size;
  x->savepoint_count++;
  return KV_OK;
}

/* How many savepoints have a number below this one. */
static size_t savepoints_below(const txn *x, int number) {
  size_t i = x->savepoint_count;
  while (i > 0 && x->savepoints[i - 1].number >= number) i--;
  return i;
}

void txn_release(txn *x, int number) {
  assert(x->state == TXN_OPEN);
  size_t keep = savepoints_below(x, number);
  if (keep == x->savepoint_count) return;
  tree_savepoint_release(&x->store->tree, &x->savepoints[keep].tree,
                         keep > 0 ? &x->savepoints[keep - 1].tree : NULL);
  x->savepoint_count = keep;
}

void txn_rollback_to(txn *x, int number) {
  assert(x->state == TXN_OPEN);
  size_t keep = savepoints_below(x, number);
  tree *t = &x->store->tree;
  if (x->savepoint_count == 0 || x->savepoints[0].number > number) {
    tree_savepoint_rollback(t, &t->edit.base);
    x->records.size = 0;
    x->savepoint_count = 0;
  } else if (keep < x->savepoint_count) {
    tree_savepoint_rollback(t, &x->savepoints[keep].tree);
    x->records.size = x->savepoints[keep].records_size;
    x->savepoint_count = keep + 1;
  }
}

/* --- commit ----------------------------------------------------------------------------------- */

/* Pin the versions before and after; the second is moved on once there is one. */
static int pin_for_undo(txn *x, kv_error *err) {
  tree *t = &x->store->tree;
  bool pinned = tree_pin_head(t, &x->before) == KV_OK && tree_pin_head(t, &x->after) == KV_OK;
  return pinned ? KV_OK : no_memory(err);
}

/* The disk was full: no crash must bring back what the caller is told is lost. */
static int lost(txn *x, kv_error *err) {
  uint64_t kept_seq;
  kv_error why;
  (void)commit_flush(&x->store->queue, NULL);
  (void)commit_losses(&x->store->queue, &kept_seq, &why);
  return kv_error_set(err, why.code, "%s", why.text);
}

int txn_commit(txn *x, unsigned flags, kv_error *err) {
  bool undoable = (flags & KV_UNDOABLE) != 0, wait = (flags & KV_NO_WAIT) == 0;
  assert(x->state == TXN_OPEN);
  store *s = x->store;
  x->keeps_turn = !wait && (flags & KV_KEEP_TURN) != 0;
  if (x->records.size == 0) {
    txn_rollback(x);
    return KV_OK;
  }
  commit_ticket ticket;
  uint64_t losses = atomic_load(&s->queue.losses);
  bool logged = s->path != NULL;
  int rc = undoable ? pin_for_undo(x, err) : KV_OK;
  if (rc == KV_OK && logged) {
    rc = commit_hand_over(&s->queue, &x->records, &x->settings, wait ? &ticket : NULL, err);
  } else if (rc == KV_OK) {
    commit_volatile(&s->queue);
  }
  if (rc != KV_OK) {
    tree_unpin(&s->tree, &x->before);
    tree_unpin(&s->tree, &x->after);
    if (rc != KV_ENOMEM) txn_rollback(x);
    return rc;
  }
  if (undoable) tree_pin_move_to_head(&s->tree, &x->after);
  if (logged) checkpoint_consider(s, x->settings.auto_checkpoint);
  if ((flags & KV_KEEP_TURN) == 0) pass_turn(x);
  x->state = TXN_COMMITTED;
  ticket.waiting = &x->waiting;
  if (logged && wait) {
    rc = commit_wait(&s->queue, &ticket, err);
  } else if (losses !=
             atomic_load(&s->queue.losses)) { /* this one among them, nobody knowing of it */
    rc = lost(x, err);
  }
  if (!undoable || rc != KV_OK) txn_settle(x);
  return rc;
}

void txn_pass_turn(txn *x) {
  if (x->state == TXN_IDLE) pass_turn(x);
}

void txn_settle(txn *x) {
  assert(x->state == TXN_COMMITTED);
  tree_unpin(&x->store->tree, &x->before);
  tree_unpin(&x->store->tree, &x->after);
  end(x);
}

void txn_rollback(txn *x) {
  assert(x->state == TXN_OPEN && x->has_turn);
  tree_edit_rollback(&x->store->tree);
  end(x);
}

/* --- taking a commit back ---------------------------------------------------------------------- */

/* Give a key the value it had before, if it still has the one that the commit gave it: the leaves
** tell. */
static int restore(txn *x, const char *key, size_t size, kv_error *err) {
  tree_ref now = x->store->tree.edit.top;
  const tree_leaf *given = tree_find(x->after.top, key, size);
  if (!tree_leaf_is_same(tree_find(now, key, size), given)) return KV_OK;
  const tree_leaf *leaf = tree_find(x->before.top, key, size);
  if (leaf == NULL) return txn_delete(x, key, size, NULL, err);
  kv_value value;
  tree_leaf_value(leaf, &value);
  return txn_put(x, key, size, &value, NULL, err);
}

/* The lines are ours alone now and are taken to pieces. */
static int restore_all(txn *x, buf *lines, kv_error *err) {
  for (size_t at = 0; at < lines->size;) {
    char *line = lines->data + at, *end_of_line = memchr(line, '\n', lines->size - at);
    assert(end_of_line != NULL);
    log_record record;
    at = (size_t)(end_of_line - lines->data) + 1;
    int rc = log_parse_record(line, (size_t)(end_of_line - line), &record, err);
    if (rc == KV_OK) rc = restore(x, record.key, record.key_size, err);
    if (rc != KV_OK) return rc;
  }
  return KV_OK;
}

int txn_undo(txn *x, kv_error *err) {
  assert(x->state == TXN_COMMITTED);
  buf lines = x->records;
  x->records = (buf){0};
  int rc = KV_OK;
  store_wait wait = {.how = &x->waiting};
  if (!x->has_turn) { /* interrupted or not: what ended the commit is not to end taking it back */
    share_limit limit = {.deadline_ns = store_wait_limit(&wait)->deadline_ns};
    rc = store_turn_take(x->store, x, &limit, err);
  }
  if (rc == KV_OK) x->has_turn = true;
  if (rc == KV_OK) rc = begin_with_turn(x, err);
  if (rc == KV_OK) {
    rc = restore_all(x, &lines, err);
    tree_pin before = x->before, after = x->after; /* for they outlive the new commit */
    x->before = x->after = (tree_pin){0};
    if (rc == KV_OK) rc = txn_commit(x, 0, err);
    if (x->state == TXN_OPEN) txn_rollback(x);
    tree_unpin(&x->store->tree, &before);
    tree_unpin(&x->store->tree, &after);
    store_tidy_if_wanted(x->store);
  } else {
    txn_settle(x);
  }
  buf_free(&lines);
  return rc;
}
