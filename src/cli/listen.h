/*
** listen.h - the sockets that connections come in by.
**
** Accepting stops for a while when the process or the machine has no file descriptor left, instead of
** trying again at once for ever; a client above maxclients gets an error and is closed. Without a
** password only peers on this machine are served, whatever addresses the server listens on.
*/
#ifndef LISTEN_H
#define LISTEN_H

#include "server.h"

/* Open all sockets of the options and start accepting. On failure some may be open: listen_stop. */
int listen_start(server *s, kv_error *err);

/* Close them. */
void listen_stop(server *s);

#endif
