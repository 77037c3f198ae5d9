/*
** resp.h - reading requests of the Redis protocol out of a buffer (both versions have the same).
**
**     request   = multibulk / inline                 numbers without leading zeros
**     multibulk = "*" count CRLF count*bulk          a count of 0 or less: an empty request
**     bulk      = "$" size CRLF size*byte CRLF       as in Redis, what stands for this CRLF, and for
**                                                    every LF, is not looked at
**     inline    = words LF                           as typed by hand, without NUL; CR before LF
**                                                    belongs to the end
**     words     = bare, "with \n \x00 escapes", or 'with \' only'; separated by blanks
**
** resp_parse is a function of its parser and of the bytes it is given, and does nothing else: it reads
** no socket and keeps no reference. It goes on where it stopped for want of bytes, so that a request
** that comes byte by byte costs no more than one that comes at once. What it has found it keeps as
** offsets, so that the buffer may be moved in between; it must hold the request from its first byte.
**
** Every size a peer names is checked against a limit before it is believed, and no memory is taken
** for what has only been announced.
**
** Threads: one at a time.
*/
#ifndef RESP_H
#define RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes, and numbers of them. */
typedef struct resp_limits {
  size_t inline_max;  /* an inline request */
  size_t args_max;    /* arguments of a request */
  size_t bulk_max;    /* one argument */
  size_t request_max; /* a whole request */
  bool is_stranger;   /* the limits are those before AUTH: errors say so */
} resp_limits;

/* Where an argument lies, from the request's first byte on. */
typedef struct resp_span {
  size_t offset, size;
} resp_span;

/* An argument with its bytes. */
typedef struct resp_arg {
  const char *data;
  size_t size;
} resp_arg;

#define RESP_INLINE_SPANS 6u

/* A zeroed one is ready for the first request. */
typedef struct resp_parser {
  resp_span *spans; /* own_spans, or allocated */
  size_t count;     /* arguments found */
  size_t room;
  size_t at;        /* how far the request has been read; at RESP_DONE its size */
  size_t args_left; /* bulks still to come */
  size_t bulk_size; /* of the bulk whose bytes are awaited */
  bool has_count;   /* the multibulk's count has been read */
  bool has_size;    /* and the size of the next bulk */
  bool is_done;     /* all of it */
  char error[64];   /* RESP_BAD: what the peer is told, without "ERR " */
  resp_span own_spans[RESP_INLINE_SPANS];
} resp_parser;

enum { RESP_DONE, RESP_MORE, RESP_BAD };

/* Read a request from its first byte at data, of which size bytes are there. RESP_DONE: it is
** complete, its arguments are the parser's first `count` spans, and it took `at` bytes; asked again it
** says the same. RESP_MORE: come again with more bytes. RESP_BAD: this will never be a request;
** parser->error has the text. An inline request's words are unescaped in place. */
int resp_parse(resp_parser *parser, const resp_limits *limits, char *data, size_t size);

/* How many bytes beyond `size` the argument being read still needs at least; 0: not known. */
size_t resp_missing(const resp_parser *parser, size_t size);

/* Be ready for the next request. */
void resp_reset(resp_parser *parser);

/* The same, and give the memory back. */
void resp_free(resp_parser *parser);

#endif
