/*
** reply.h - writing replies of the Redis protocol, version 2 or 3.
**
** Each function appends one reply, or the head of one, to a buffer. Errors begin with a code in
** capitals, as Redis writes them: "ERR syntax error". Where the two versions of the protocol differ,
** the function takes the connection's version:
**
**      reply            version 2            version 3
**      nil              $-1 (array: *-1)     _
**      map of n pairs   *2n                  %n
**      set of n         *n                   ~n
**      long text        $size                =size, "txt:" in front
*/
#ifndef REPLY_H
#define REPLY_H

#include "bytes.h"

#include <stdint.h>

void reply_status(bytes *out, const char *text); /* "OK" */
void reply_ok(bytes *out);
void reply_nil(bytes *out, unsigned protocol);       /* of a bulk */
void reply_nil_array(bytes *out, unsigned protocol); /* of an array: an EXEC that was given up */
void reply_integer(bytes *out, int64_t number);
void reply_bulk(bytes *out, const char *data, size_t size);
void reply_text(bytes *out, const char *text);

/* A text of several lines for people, such as INFO's. */
void reply_verbatim(bytes *out, unsigned protocol, const char *data, size_t size);

/* The head of an array of so many replies, which follow. */
void reply_array(bytes *out, size_t count);

/* The same of a map of so many pairs, a key and its value each; and of a set. */
void reply_map(bytes *out, unsigned protocol, size_t pairs);
void reply_set(bytes *out, unsigned protocol, size_t count);

/* An array whose count is known at its end only. */
size_t reply_array_begin(const bytes *out);
void reply_array_end(bytes *out, size_t begin, size_t count);
void reply_map_end(bytes *out, unsigned protocol, size_t begin, size_t pairs);
void reply_set_end(bytes *out, unsigned protocol, size_t begin, size_t count);

/* An error; line breaks in it become blanks. */
void reply_error(bytes *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
