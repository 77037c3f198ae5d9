/*
** notify.h - telling systemd how the service is (sd_notify's protocol, without its library).
*/
#ifndef NOTIFY_H
#define NOTIFY_H

/* Send "READY=1" or another state to $NOTIFY_SOCKET; nothing happens without one. */
void notify(const char *state);

#endif
