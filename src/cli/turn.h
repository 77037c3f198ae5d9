/*
** turn.h - how the server waits for the writer's turn without holding up its loop.
**
** A command that does not get the turn at once leaves its connection waiting, and a thread of libuv's
** waits for the turn as any writer does, so that it becomes the successor of who has it (share.h). Then
** the loop executes what waits, all of it in one go. A loop that only looked now and then would hardly
** ever find the turn free beside busy writers.
**
** Threads: the loop's. Between turn_await and the loop's learning of the end the thread has the handle
** server.db for taking the turn; the loop reads by it, and begins nothing.
*/
#ifndef TURN_H
#define TURN_H

#include "server.h"

/* Begin to wait for the turn, unless that is under way. */
void turn_await(server *s);

/* Whether it is under way: then the turn can neither be taken nor passed on. */
bool turn_is_awaited(const server *s);

/* Execute what waits for the turn, as far as that goes; and answer those that have waited for too long. */
void turn_retry(server *s);

#endif
