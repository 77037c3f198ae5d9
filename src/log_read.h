/*
** log_read.h - reading a log from its file: lines of any length, whole transactions, and what can
** still be verified behind a damaged place.
**
** Reading streams: the reader keeps one window of the file, which grows only to the longest line,
** and goes back to the file for bytes that have left it. It never trusts a length or a count.
** A reader changes nothing in the file. Threads: one at a time. Errors: KV_ENOMEM, KV_EIO (errno is
** left for the caller to name) and those listed; the reader stays usable after each.
*/
#ifndef LOG_READ_H
#define LOG_READ_H

#include "buf.h"
#include "kv_base.h"
#include "log_format.h"

#include <stdbool.h>

typedef struct log_reader {
  int fd;        /* borrowed */
  uint64_t size; /* of the file when the reader was made; nothing beyond it is read; becomes less
                   ** if the file turns out to have become shorter */
  char id[LOG_ID_SIZE + 1]; /* of the log, for the checksums; set by the caller after the header */
  buf window;               /* bytes of the file ... */
  uint64_t window_offset;   /* ... from here on */
  uint64_t given_offset;    /* before this they may have been changed by whom a line was given to */
} log_reader;

/* What log_reader_transaction found. */
typedef struct log_transaction {
  uint64_t offset;     /* where its first line starts */
  uint64_t end_offset; /* behind the LF of its COMMIT line */
  uint64_t ops;        /* WRITE and DELETE lines */
  uint64_t seq;
  uint64_t durable_seq;
} log_transaction;

/* Start reading fd, of which size bytes count. */
void log_reader_init(log_reader *r, int fd, uint64_t size);

/* Others write to the file, of which size bytes count by now: forget what was read of it. */
void log_reader_refresh(log_reader *r, uint64_t size);

/* Give the window's memory back. */
void log_reader_free(log_reader *r);

/* The line that starts at offset: *line points at its bytes in the window (writable, valid until
** the next call), *line_size is without the LF, *ended tells whether an LF ends it (false: the file
** ends first). At the end of the file: *line_size 0 and *ended false. */
int log_reader_line(log_reader *r, uint64_t offset, char **line, size_t *line_size, bool *ended);

/* What is in the window from offset on, which is not before the last line given, as it is in the file:
** a look ahead that reads nothing. *size is 0 if nothing is there. */
void log_reader_peek(const log_reader *r, uint64_t offset, const char **data, size_t *size);

/* The transaction that starts at offset: reads on to the first line that begins like a COMMIT and
** verifies its crc. KV_ETORN: no such line before the end of the file, or it is malformed, or its
** crc is not that of the bytes. Nothing is decoded or given out; the caller walks
** the lines from out->offset to out->end_offset afterwards. */
int log_reader_transaction(log_reader *r, uint64_t offset, log_transaction *out);

/* True through *zeros if every byte from offset to the end of the file is zero (also if there is
** none). */
int log_reader_zeros(log_reader *r, uint64_t offset, bool *zeros);

/* Look behind a place that does not verify: call found(context, transaction) for every
** transaction after offset that verifies by itself, wherever it starts, in the order of the file,
** until it returns false. A transaction's start is found even if the line before it is damaged:
** see the note in log_read.c. */
int log_reader_lookahead(log_reader *r, uint64_t offset,
                         bool (*found)(void *context, const log_transaction *t), void *context);

#endif
