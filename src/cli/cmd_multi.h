/*
** cmd_multi.h - MULTI, EXEC, DISCARD, WATCH, UNWATCH: several commands as one transaction.
**
** The commands between MULTI and EXEC are checked and kept; EXEC executes them in one transaction of
** the log, so that after any crash all of them are there or none.
**
** WATCH pins the version of the moment. At EXEC a watched keypath is unchanged if its leaf in the tree
** is still the very same one, whoever may have written meanwhile, this server or another process;
** giving a key the value it had is a change too. A key without a value has no leaf: if this server
** sets and deletes it meanwhile that is seen too (absent.h). A pinned version costs memory, so a WATCH lapses
** after WATCH_S_MAX seconds; the EXEC then fails like one whose key was changed.
*/
#ifndef CMD_MULTI_H
#define CMD_MULTI_H

#include "call.h"

#define MULTI_BYTES_MAX ((size_t)64 << 20) /* of one connection's queued commands */
#define WATCH_KEYS_MAX 1024u               /* of one connection */
#define WATCH_S_MAX 60u

/* Keep a command until EXEC; replies QUEUED. */
void multi_queue(call *x);

/* A command cannot be executed and was answered with an error: if it stands between MULTI and EXEC,
** EXEC will refuse. If it is EXEC itself the transaction is over, and the reply says so. */
void multi_spoil(call *x);

/* The connection is told an error in the place of a reply: what it queues now it would not mean. */
void multi_refuse(conn *c);

/* Forget what was queued and watched. */
void multi_free(conn *c);

/* Memory that the queue takes, and how many commands are in it. */
size_t multi_size(const conn *c);
size_t multi_count(const conn *c);

/* Let go of the versions of watches older than WATCH_S_MAX. */
void watch_lapse(conn *c, uint64_t now_ms);

void cmd_multi(call *x);
void cmd_exec(call *x);
void cmd_discard(call *x);
void cmd_watch(call *x);
void cmd_unwatch(call *x);

#endif
