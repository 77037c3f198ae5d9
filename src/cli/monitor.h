/*
** monitor.h - MONITOR: connections that are shown every command that is executed.
**
** As in Redis each line is a status reply: time, database, the client's address, the words between
** quotes. Commands of administrators (CONFIG, SHUTDOWN and others) are not shown, nor are passwords.
** A line tells what was asked for, before it is flushed.
*/
#ifndef MONITOR_H
#define MONITOR_H

#include "call.h"

#define MONITOR_OUTPUT_MAX ((size_t)64 << 20) /* bytes that one does not take; then it is closed */

/* Show the command of this call to all of them. */
void monitor_feed(const call *x);

#endif
