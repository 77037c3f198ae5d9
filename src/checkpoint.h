/*
** checkpoint.h - making a log as small as what it holds, while it is being written.
**
** A log keeps every write; a checkpoint replaces it by a file with what is there now. Its steps:
**
**   1. With the turn, for a moment: pin the newest version, S, and note where the log ends.
**   2. Write a draft (log_write.h): a header with base-seq S - 1, a WRITE line for every keypath that
**      has a value, in order, and a COMMIT numbered S; to stable storage.
**   3. Copy what was appended meanwhile, each transaction under the new file's id; again, until
**      little is left.
**   4. With the turn: copy the rest, to stable storage, rename the draft over the log, the folder to
**      stable storage, tell the other processes through the page (share.h).
**
** So everybody goes on meanwhile, and writers wait for step 4 alone. A crash before the rename leaves
** the old log and a draft that the next opening removes; after it, the new log. What waits in FULL
** for a flush of the old file is on stable storage in the new one.
**
** The snapshot may be ahead of what is visible: it has transactions that wait for their flush. That
** is right: nobody sees the new file before step 4, and by then all of it is flushed.
**
** An empty tree has no WRITE line to put into its first transaction, which must have one: there it is
** a DELETE of a keypath that is not there. So the first transaction of a file with a base-seq was
** always complete, and if it does not verify that is damage (recover.h).
**
** Of several processes one at a time can have the draft.
**
** The name. A checkpoint acts on the log's name, so it first asks whether that is still the open file's
** (log_place.h); if it is another file's, that one is left as it is. If a log that was removed or moved has
** left its name free, a checkpoint that is asked for puts a new file there with all that is in memory, and
** the store goes on in that. Once a flush has failed for the lost name it has what is published, and the
** store stays read-only. One that starts by itself does neither; if the log is mounted by itself it is
** not tried again.
*/
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include "store.h"

/* Checkpoint a store's log now; one that has no transactions is left alone. All waits for the turn
** together last as long as `waiting` allows, and STORE_GRACE. KV_EBUSY (another checkpoint is under way,
** the turn was not to be had in time, or the store is being closed), KV_EINTERRUPTED (until the new file
** begins to take the log's place), KV_EIO, KV_EFULL, KV_ENOMEM, KV_ECANTOPEN (also a log that is mounted
** by itself), KV_EMOVED (its name is another file's): the log stands as it was. If only the last step
** failed, after the rename, nothing more can be committed until the store is reopened. */
int checkpoint_run(store *s, const kv_waiting *waiting, kv_error *err);

/* By who has the turn, after a commit: start a checkpoint in a thread of its own if the log has
** grown to CHECKPOINT_RATIO times what is in it, and to `least` bytes. */
#define CHECKPOINT_RATIO 4u
void checkpoint_consider(store *s, uint64_t least);

#endif
