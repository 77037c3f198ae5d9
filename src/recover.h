/*
** recover.h - opening a log: what it holds, and what a crash left of its end.
**
** Nothing of a transaction is applied before its COMMIT line verifies and its number is the next.
** Where that ends, the rest of the file decides: zeros to the end are room ahead. Otherwise the
** reader looks ahead for any later transaction that verifies and says that one at or behind this
** place was on stable storage: then something promised is damaged, and the log is refused. If none
** says so it is a torn tail, the unflushed end of a crash: it is saved beside the log, cut off, and
** the log goes on. Only a writer cuts; a reader stops before it.
*/
#ifndef RECOVER_H
#define RECOVER_H

#include "kv_base.h"
#include "log_write.h"
#include "tree.h"

typedef struct recovery {
  log_header header;
  bool original;         /* without a header: one of the original program's */
  uint64_t seq;          /* of the last transaction */
  uint64_t transactions; /* applied */
  uint64_t ops;          /* lines applied */
  uint64_t lines;        /* before `end` */
  uint64_t end;          /* offset behind the last transaction */
  uint64_t size;         /* of the file */
  uint64_t torn_size; /* bytes of a torn tail (zeros at its end not counted), 0 if there is none */
  uint64_t took_ns;
} recovery;

/* Replay the open file `fd` into the tree, on which an edit is open, as far as transaction last_seq
** (UINT64_MAX: all), and tell what was found. The file is not changed. KV_ENOMEM, KV_EIO, KV_EFOREIGN, KV_EVERSION, KV_EDAMAGED; then the edit has
** to be rolled back. */
int recover_replay(int fd, const char *path, tree *t, uint64_t last_seq, recovery *out,
                   kv_error *err);

/* The transaction that a replay up to `seq` has to go on to: at least the first one of a file, which
** has all that was before it. */
uint64_t recover_last_seq(const log_header *header, uint64_t seq);

/* Read a log's header: *out tells where the first transaction starts. KV_EIO, KV_ENOMEM, KV_EFOREIGN
** (also an original log), KV_EVERSION, KV_EDAMAGED. */
int recover_header(int fd, const char *path, recovery *out, kv_error *err);

/* Go on from where *at is, as far as what verifies, but not beyond transaction last_seq or byte
** `size`; *at moves. t NULL: pass over without applying. It is no error that nothing more verifies,
** for that may be somebody's append in the making. KV_EIO, KV_ENOMEM, KV_EFULL, KV_EDAMAGED. */
int recover_continue(int fd, const char *path, tree *t, uint64_t size, uint64_t last_seq,
                     recovery *at, kv_error *err);

/* Make the file ready for appending: save a torn tail as PATH-torn-OFFSET, cut it off, and bring
** the recovered log to stable storage. Then fill *out. notice (may be NULL) gets a sentence if
** something was cut off, and stays untouched otherwise. The caller has the writer's turn among all
** processes; what a crash left of a draft is removed too. KV_ENOMEM, KV_EIO, KV_EFULL. */
int recover_finish(int fd, const char *path, const recovery *found, log_writer *out,
                   kv_error *notice, kv_error *err);

/* Turn an original log, open as fd and already replayed, into a headed one: its torn tail is saved as for
** recover_finish, then a draft is made with a transaction for each line, which the caller finishes. On
** failure there is neither. The caller has the turn among all processes. */
int recover_convert(int fd, const char *path, const recovery *found, log_draft *out, kv_error *err);

#endif
