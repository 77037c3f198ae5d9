/*
** repair.h - writing what verifies of a damaged log into a new one.
**
** Never in place. First a plan is made by looking at the whole file (inspect.h): which transactions
** verify, in the order of their numbers, and which bytes are left out and why. Then the plan is
** carried out: a new log with a header of its own, in which the kept transactions stand with
** numbers that follow one another, as any log has them. Where nothing is left out their numbers are
** the old ones.
**
** What is kept. A transaction verifies by itself, so that those behind a damaged one are as good as
** they ever were; but they were written by somebody who saw what is lost, and the plan says where
** such a gap is. With prefix_only nothing behind the first gap is kept, as opening keeps nothing
** behind a torn tail. Of two transactions with one number the one in its place is kept, or else the
** first. One whose checksum is right and whose lines are malformed is left out whole. Each line of a
** log without a header is a transaction.
**
** Ownership: the plan and what it points to live until repair_free. Threads: one at a time.
*/
#ifndef REPAIR_H
#define REPAIR_H

#include "inspect.h"

typedef struct repair repair;

typedef enum repair_why {
  REPAIR_UNVERIFIED, /* bytes that do not verify */
  REPAIR_MALFORMED,  /* a transaction that verifies, with lines that are none */
  REPAIR_SECOND,     /* another transaction with the number of one that is kept */
  REPAIR_BEHIND      /* behind the first gap, with prefix_only */
} repair_why;

/* Bytes of the old log that the new one does not get. */
typedef struct repair_loss {
  repair_why why;
  uint64_t offset, size; /* bytes */
  uint64_t line;         /* the number of the first line */
  uint64_t seq;          /* of a transaction that verifies; 0: not known */
  bool header_only;      /* it is the damaged header alone: nothing of the content */
  bool torn;             /* nobody said that it was durable */
  char note[256];        /* what inspection says of its first line */
} repair_loss;

/* Numbers between kept transactions, or before the first, that none of them has. */
typedef struct repair_gap {
  uint64_t first, last;
} repair_gap;

typedef struct repair_summary {
  inspect_facts facts;
  uint64_t kept;       /* transactions */
  uint64_t kept_ops;   /* their lines */
  uint64_t moved;      /* kept ones that stood behind one with a higher number */
  uint64_t lost_bytes; /* of all losses */
  uint64_t missing;    /* transactions in all gaps */
  uint64_t base_seq;   /* of the new log */
  size_t losses, gaps; /* how many of each */
  bool header_missing; /* a transaction that verifies begins the file: there is no header to lose */
} repair_summary;

/* Called now and then with how many bytes of how many are done. NULL: not called. */
typedef void repair_progress(void *context, uint64_t done, uint64_t total);

/* Look at the log and decide. Errors of inspect_open and inspect_next. The caller frees. */
int repair_plan(const char *path, bool prefix_only, repair_progress *progress, void *context,
                repair **out, kv_error *err);
void repair_free(repair *r);

void repair_tell(const repair *r, repair_summary *out);
const repair_loss *repair_loss_at(const repair *r, size_t index); /* in the order of the file */
const repair_gap *repair_gap_at(const repair *r, size_t index);

/* Write the new log, with the access rights of the old one, sync it, give it its name, sync the
** folder. KV_EBUSY: there is such a file already, which is left as it is; KV_EDAMAGED: the old log
** was changed since it was looked at; KV_ECANTOPEN, KV_EIO, KV_EFULL, KV_ENOMEM. On failure there is
** no new file. */
int repair_write(const repair *r, const char *new_path, repair_progress *progress, void *context,
                 kv_error *err);

#endif
