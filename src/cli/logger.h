/*
** logger.h - what the server has to say, on stderr: `INFO[0012] listening on 127.0.0.1:1337`, the
** number being seconds since the start. One line a call, written at once. Threads: any.
*/
#ifndef LOGGER_H
#define LOGGER_H

/* Seconds count from here on. */
void logger_start(void);

void logger_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void logger_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void logger_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
