/*
** store_tidy.c - memory follows the data: when it is given back, and by whom.
**
** The tree tells that it holds much garbage, or that its slabs are sparse (tree_move.c). Then whoever
** has the right to edit it does a slice: a writer in front of its transaction, who follows others
** behind what it has read, and who has ended a transaction or was the last reader of an old version.
** A slice is an edit of its own that changes nothing to be seen, so that no transaction, savepoint or
** undo knows of it; nothing of it is logged. A checkpoint does all that is left.
*/
#include "store.h"

#include "os.h"

#define FEW_STEPS 512u       /* in front of a transaction: 10 to 18 us in the median */
#define STEPS 8192u          /* 0.1 to 0.3 ms in the median */
#define SLICES_FEW 16u       /* by a reader that let go; writers do the rest */
#define RETIRED_A_SLICE 512u /* by a writer: in proportion to what was retired */
#define VALUES_A_SLICE 512u /* by a checkpoint: some passes, however much others change meanwhile */
#define TRIM_LEAST ((size_t)1 << 20)

/* One slice; false if it was not worth it. What was handed over is written first: a version with moved
** leaves is not taken back, for they look as old as what they were copied from (tree_take_back). */
static bool slice(store *s, size_t steps, bool closely) {
  tree *t = &s->tree;
  if (!tree_is_sparse(t, closely) || !tree_is_worth_moving(t, closely)) return false;
  commit_settle(&s->queue);
  if (tree_edit_begin(t) != KV_OK) return false;
  if (tree_move(t, steps) == 0) {
    tree_edit_rollback(t);
  } else {
    commit_seal_same(&s->queue);
  }
  return true;
}

void store_tidy_here(store *s) {
  if (tree_is_sparse(&s->tree, false)) (void)slice(s, FEW_STEPS, false);
}

/* Take the right to edit the tree, if it is free; `owner` gets the turn where it goes with that. */
static bool enter(store *s, const void *owner, unsigned timeout_ms, bool *turn) {
  *turn = s->path == NULL;
  if (!*turn) {
    if (timeout_ms > 0) {
      pthread_mutex_lock(&s->follow.lock);
    } else if (pthread_mutex_trylock(&s->follow.lock) != 0) {
      return false;
    }
    if (!s->follow.appending) return true;
    pthread_mutex_unlock(&s->follow.lock);
    if (timeout_ms == 0) return false;
    *turn = true;
  }
  share_limit limit = {.deadline_ns = os.now_ns() + (uint64_t)timeout_ms * 1000000u};
  return store_turn_take_briefly(s, owner, timeout_ms > 0 ? &limit : NULL, NULL) == KV_OK;
}

static void leave(store *s, const void *owner, bool turn) {
  if (turn) {
    store_turn_pass(s, owner);
  } else {
    pthread_mutex_unlock(&s->follow.lock);
  }
}

/* Large values are the allocator's, which may keep what is freed. */
static bool is_trim_due(tree *t) {
  size_t apart = atomic_load_explicit(&t->memory.apart, memory_order_relaxed);
  if (t->large_freed < apart / 4 + TRIM_LEAST) return false;
  t->large_freed = 0;
  return true;
}

static void tidy(store *s, unsigned slices, unsigned timeout_ms, bool closely) {
  char us;
  bool more = true, turn, trim = false;
  if (store_check_fork(s, NULL) != KV_OK) return;
  while (more && slices-- > 0 && !atomic_load(&s->checkpointer.stop) &&
         enter(s, &us, timeout_ms, &turn)) {
    tree_reclaim(&s->tree);
    more = slice(s, STEPS, closely);
    trim |= is_trim_due(&s->tree);
    leave(s, &us, turn);
  }
  if (trim) os.trim();
}

void store_tidy_by_reader(store *s) {
  tidy(s, SLICES_FEW, 0, false);
}

static unsigned slices_for_changes(const store *s) {
  size_t retired = atomic_load_explicit(&s->tree.move.retired, memory_order_relaxed);
  return 1 + (unsigned)(retired / RETIRED_A_SLICE);
}

void store_tidy_by_writer(store *s) {
  tidy(s, SLICES_FEW + slices_for_changes(s), 0, false);
}

void store_tidy_followed(store *s) {
  if (tree_has_much_garbage(&s->tree)) tree_reclaim(&s->tree);
  unsigned slices = slices_for_changes(s);
  while (slices-- > 0 && slice(s, STEPS, false)) continue;
}

void store_tidy_all(store *s) {
  tree_pin pin;
  if (tree_pin_published(&s->tree, &pin) != KV_OK) return;
  uint64_t values = tree_values(pin.top);
  tree_unpin(&s->tree, &pin);
  tidy(s, SLICES_FEW + (unsigned)(values / VALUES_A_SLICE), 100, true);
  os.trim();
}
