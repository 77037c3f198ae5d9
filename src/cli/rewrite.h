/*
** rewrite.h - BGREWRITEAOF: a checkpoint of the log in a thread of libuv's, while the server goes on.
**
** Threads: the loop's; the checkpoint has a handle of its own.
*/
#ifndef REWRITE_H
#define REWRITE_H

#include "server.h"

/* Start one. KV_EBUSY: one is under way; KV_EMISUSE: the store is volatile; errors of kv_open. What
** becomes of it is logged. */
int rewrite_start(server *s, kv_error *err);

/* Start what BGREWRITEAOF inside MULTI has asked for; nothing happens if it has not. */
void rewrite_start_scheduled(server *s);

#endif
