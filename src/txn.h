/*
** txn.h - one handle's transaction: pending changes, savepoints, committing, taking back.
**
** States:                begin               commit                  settle
**              IDLE -----------------> OPEN -----------> COMMITTED ---------------> IDLE
**                ^                       |  (UNDOABLE)       |
**                +------- rollback ------+                   +------- undo -------> IDLE
**
** While OPEN the handle has the store's turn and the tree's edit is this transaction's; the lines
** for the log are collected in `records`, and a savepoint is a length of records and a state of the
** tree. Without KV_UNDOABLE a commit goes to IDLE at once.
**
** Threads: the handle's.
*/
#ifndef TXN_H
#define TXN_H

#include "buf.h"
#include "store.h"
#include "tree.h"

typedef enum txn_state { TXN_IDLE, TXN_OPEN, TXN_COMMITTED } txn_state;

typedef struct txn_savepoint {
  int number;
  size_t records_size;
  tree_savepoint tree;
} txn_savepoint;

typedef struct txn {
  store *store;
  commit_settings settings; /* of the next commit */
  kv_waiting waiting;
  txn_state state;
  bool has_turn;
  bool keeps_turn; /* beyond the end of the transaction */
  buf records;
  txn_savepoint *savepoints;
  size_t savepoint_count, savepoint_room;
  tree_pin before, after; /* COMMITTED: the versions it began on and ended with */
} txn;

/* All as their namesakes in kv.h, which check the arguments. */
void txn_init(txn *x, store *s, const commit_settings *settings);
void txn_free(txn *x);
int txn_take_turn(txn *x, const share_limit *limit, kv_error *err);
int txn_begin(txn *x, const share_limit *limit, kv_error *err);
int txn_put(txn *x, const char *key, size_t size, const kv_value *value, bool *replaced,
            kv_error *err);
int txn_delete(txn *x, const char *key, size_t size, bool *found, kv_error *err);
int txn_savepoint_set(txn *x, int number, kv_error *err);
void txn_rollback_to(txn *x, int number);
void txn_release(txn *x, int number);
int txn_commit(txn *x, unsigned flags, kv_error *err);
void txn_pass_turn(txn *x);
void txn_settle(txn *x);
int txn_undo(txn *x, kv_error *err);
void txn_rollback(txn *x);

#endif
