/*
** log_format.h - the lines of a log: how each is spelled, and read back.
**
**     log         = header *transaction [zeros]
**     header      = "KVSTORE" TAB "1" TAB id TAB base-seq TAB crc LF
**     transaction = 1*op commit
**     op          = "WRITE" TAB keypath TAB data LF                a TEXT value
**                 / "WRITE" TAB keypath TAB data TAB type LF       INTEGER, REAL, BLOB or NULL
**                 / "DELETE" TAB keypath LF
**     commit      = "COMMIT" TAB seq TAB durable-seq TAB crc LF
**
** Inside keypath and data five bytes are escaped and nothing else is: \\ \t \n \r \0 stand for
** backslash, TAB, LF, CR, NUL. Any other spelling is malformed. INTEGER data is the shortest
** decimal; REAL data is a decimal that reads back as the same double (or Inf, -Inf), independent of
** the locale; NULL data is empty. Sequence numbers are decimal without leading zeros and at most
** LOG_SEQ_MAX, base-seq less than that; id is LOG_ID_SIZE lower-case hex digits; a crc is CRC-32C as
** 8 lower-case hex digits:
**   header: over every byte of the line before the crc;
**   commit: over id and every byte after the previous COMMIT line (or the header line) up to and
**           including the TAB before the crc. Not chained: a transaction verifies on its own.
**
** One place, one spelling: whatever these functions accept they would write back byte for byte.
** Threads: any; nothing here keeps state. docs/log-format.md is the same for readers.
*/
#ifndef LOG_FORMAT_H
#define LOG_FORMAT_H

#include "buf.h"
#include "kv_base.h"

#include <stdbool.h>

#define LOG_ID_SIZE 16         /* hex digits */
#define LOG_HEADER_SIZE_MAX 80 /* bytes, LF included */
#define LOG_COMMIT_SIZE_MIN 19 /* bytes, LF not included: "COMMIT", 1, 0, crc */
#define LOG_COMMIT_END_SIZE 9  /* bytes of a COMMIT line from its crc on, LF included */
#define LOG_COMMIT_SIZE_MAX 57 /* "COMMIT", twice 20 digits, crc */

/* The number of the last transaction that a log can have; so a number that follows another, or tells
** how many there are, is always one more, and SQL's INTEGER can hold it. */
#define LOG_SEQ_MAX ((uint64_t)INT64_MAX)

typedef struct log_header {
  char id[LOG_ID_SIZE + 1]; /* NUL-terminated */
  uint64_t base_seq;        /* the first transaction of the file is base_seq + 1 */
} log_header;

typedef enum log_op { LOG_WRITE, LOG_DELETE, LOG_COMMIT } log_op;

typedef struct log_record {
  log_op op;
  const char *key; /* WRITE, DELETE; NUL-terminated, points into the line that was parsed */
  size_t key_size;
  kv_value value;       /* WRITE; a text or blob points into the line that was parsed */
  uint64_t seq;         /* COMMIT */
  uint64_t durable_seq; /* COMMIT; < seq */
  uint32_t crc;         /* COMMIT; as the line claims, not verified */
  size_t crc_offset;    /* COMMIT; bytes of the line before its crc */
} log_record;

/* Write the header line, LF included, into out (no NUL); return its size. */
size_t log_format_header(char out[LOG_HEADER_SIZE_MAX], const log_header *header);

/* Read a header line (size without the LF). KV_EFOREIGN: does not begin like one of ours;
** KV_EVERSION: begins like ours, but the format number is a different one (returned through
** *version, which is set in this case only and may be NULL); KV_EDAMAGED: ours, but malformed or
** its crc does not verify. */
int log_parse_header(const char *line, size_t size, log_header *out, uint64_t *version);

/* Append a WRITE, a DELETE or a COMMIT line. key is a valid keypath (asserted, not checked). Only
** KV_ENOMEM can happen, and then the buf is as before. The commit line's crc covers id and the
** bytes of the buf from start on, so everything of the transaction must be there. */
int log_format_write(buf *b, const char *key, size_t key_size, const kv_value *value);
int log_format_delete(buf *b, const char *key, size_t key_size);
int log_format_commit(buf *b, size_t start, const char *id, uint64_t seq, uint64_t durable_seq);

/* The same for a transaction of which a part is no longer in the buf: crc is that of id and the part.
** And with the same room, only the end of a COMMIT line: the crc as it is, and LF. */
int log_format_commit_after(buf *b, size_t start, uint32_t crc, uint64_t seq, uint64_t durable_seq);
int log_format_commit_end(buf *b, uint32_t crc);

/* Take a line (size bytes without its LF; line[size] must be writable, it is where the LF stands)
** to pieces, unescaping in place: afterwards the line is no longer what it was. KV_OK, or
** KV_EDAMAGED with err saying what is malformed: the keypath is checked with keypath_check, and
** the type and data against their one spelling. */
int log_parse_record(char *line, size_t size, log_record *out, kv_error *err);

/* Like log_parse_record for a COMMIT line only, without changing it: true if the line is a
** well-formed COMMIT. For the many lines that must only be told from a COMMIT, this is the cheap
** way. */
bool log_parse_commit(const char *line, size_t size, log_record *out);

#endif
