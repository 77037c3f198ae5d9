/*
** reply.h - writing replies of the Redis protocol (RESP2).
**
** Each function appends one reply, or the head of one, to a buffer. Errors begin with a code in
** capitals, as Redis writes them: "ERR syntax error".
*/
#ifndef REPLY_H
#define REPLY_H

#include "bytes.h"

#include <stdint.h>

void reply_status(bytes *out, const char *text); /* "OK" */
void reply_ok(bytes *out);
void reply_nil(bytes *out);       /* of a bulk */
void reply_nil_array(bytes *out); /* of an array: an EXEC that was given up */
void reply_integer(bytes *out, int64_t number);
void reply_bulk(bytes *out, const char *data, size_t size);
void reply_text(bytes *out, const char *text);

/* The head of an array of so many replies, which follow. */
void reply_array(bytes *out, size_t count);

/* An array whose count is known at its end only. */
size_t reply_array_begin(const bytes *out);
void reply_array_end(bytes *out, size_t begin, size_t count);

/* An error; line breaks in it become blanks. */
void reply_error(bytes *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
