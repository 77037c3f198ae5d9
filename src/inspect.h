/*
** inspect.h - looking at a log line by line, damaged or not, changing nothing.
**
** Recovery (recover.h) decides whether a log can be used; inspection shows what is in it. Every
** line is told with what is known of it: that its transaction verifies and is the next, or why not.
** Where nothing verifies, inspection goes on at the next place that does; so a transaction that is
** whole is OK behind a damaged one too. Its place counts from what came before it: where another
** transaction stands than the next, that one is told as torn or damaged, and those that follow it
** are in place again.
**
** A damaged header does not hide the transactions: log_salvage.h finds what they verify with. Where it is
** missing, so that the file begins with a transaction which verifies, the first line alone is damaged.
**
** If any row is damaged, opening refuses the log with KV_EDAMAGED, and for no other log. If any is
** foreign, opening refuses the file as none of ours. If none is, and any is torn, opening cuts the log off
** there. What the file is decides log_judge.h, for opening too.
**
** Threads: one at a time.
*/
#ifndef INSPECT_H
#define INSPECT_H

#include "kv_base.h"

#include <stdbool.h>

typedef struct inspection inspection;

typedef enum inspect_status {
  INSPECT_OK,       /* part of a transaction that verifies and is the next */
  INSPECT_HEADER,   /* the header line */
  INSPECT_ORIGINAL, /* a line of a log without a header */
  INSPECT_ROOM,     /* zeros to the end: room ahead */
  INSPECT_TORN,     /* the next transaction is not here, and nobody says that it was durable */
  INSPECT_DAMAGED,  /* nor is it, and a later one says that it was durable; or a damaged header */
  INSPECT_FOREIGN   /* a line that no original log has, in a file that begins like one */
} inspect_status;

/* A line. Pointers live until the next call. */
typedef struct inspect_row {
  uint64_t offset; /* of the line, bytes */
  uint64_t size;   /* bytes, LF included */
  uint64_t line;   /* its number, from 1 */
  uint64_t place;  /* where the run of lines began that is told of as one: a transaction that
                   ** verifies, or all between two places that do */
  bool whole;      /* its transaction verifies, wherever it stands */
  inspect_status status;
  const char *op;  /* "KVSTORE", "WRITE", "DELETE", "COMMIT"; NULL: not to be told */
  const char *key; /* NULL: none */
  size_t key_size;
  bool has_value;
  kv_value value;
  uint64_t seq;         /* of the transaction; 0: not known */
  uint64_t durable_seq; /* COMMIT lines only */
  char note[256];       /* what is wrong, in words; empty if nothing is */
} inspect_row;

/* Begin with a file. KV_ECANTOPEN, KV_EFOREIGN (it is no log, and does not begin like an original one),
** KV_EVERSION, KV_EIO, KV_ENOMEM. The caller closes. */
int inspect_open(const char *path, inspection **out, kv_error *err);
void inspect_close(inspection *i);

/* What is known of the file itself. */
typedef struct inspect_facts {
  uint64_t size;     /* of the file, bytes */
  bool original;     /* a log without a header, or an empty file */
  bool header;       /* it verifies; if it does not, id and base_seq are not to be trusted */
  char id[17];       /* NUL-terminated; if the header does not verify, what makes transactions
                     ** verify, which may be any bytes */
  uint64_t base_seq; /* the first transaction of the file is the next one */
  uint64_t device, inode;
} inspect_facts;
void inspect_tell(const inspection *i, inspect_facts *out);

/* Take the file as it is by now, for one that others write to: what was found behind the last
** transaction that is in place is forgotten, and the next line is the one behind it. *shorter tells
** that the file ends before that, so that only a new inspection can say what is in it. KV_EIO. */
int inspect_refresh(inspection *i, bool *shorter, kv_error *err);

/* The next line; *more is false at the end. KV_EIO, KV_ENOMEM. */
int inspect_next(inspection *i, inspect_row *row, bool *more, kv_error *err);

#endif
