/*
** fault_table.h - system calls that fail when they are told to: a table for `os`.
**
** faults_install once, before any store is open; then fail_call says which call of what kind fails,
** how, and whether all behind it do too. One fault at a time; calls may come from any thread.
*/
#ifndef FAULT_TABLE_H
#define FAULT_TABLE_H

#include "os.h"

#include <stdatomic.h>
#include <stdbool.h>

typedef enum fault_call {
  CALL_OPEN,
  CALL_PREAD,
  CALL_PWRITE,
  CALL_FDATASYNC,
  CALL_FSYNC,
  CALL_FTRUNCATE,
  CALL_FCHMOD,
  CALL_FSTAT,
  CALL_STAT,
  CALL_ACCESS,
  CALL_RENAME,
  CALL_LINK,
  CALL_UNLINK,
  CALL_LOCK,
  CALL_REALPATH,
  CALL_RANDOM,
  CALL_MAP,
  CALL_FCHOWN,
  CALL_GET_ATTRIBUTE,
  CALL_SET_ATTRIBUTE,
  CALL_LIST_ATTRIBUTES,
  CALL_IS_LOCKED,
  CALL_ANY
} fault_call;

extern const char *const fault_call_names[];

typedef struct fault_state {
  os_table real;
  fault_call call;
  _Atomic unsigned long left; /* calls until the one that fails; 0: none does */
  bool for_ever;
  bool short_write; /* pwrite writes one byte less than asked instead of failing */
  int reason;
  _Atomic uint64_t skew_ns;     /* of the clock */
  _Atomic unsigned long failed; /* how many did */
  fault_call failed_call;       /* the first of them */
} fault_state;

extern fault_state fault;

void faults_install(void);

/* Let the nth call of a kind fail, from now on, with an errno. */
void fail_call(fault_call call, unsigned long nth, bool for_ever, int reason);
void fail_nothing(void);

/* Let no thread be started, or let them again: every new one gets a stack that no machine has room for. */
void fail_threads(bool fail);

#endif
