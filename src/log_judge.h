/*
** log_judge.h - what a file is: a log with a header, one of the original program, a damaged log, or
** nothing of ours. Opening, inspection and repair all ask here, so that they agree about every file.
**
** Headed: the first line is a header that verifies. Of a newer version: it says so.
** Damaged: the file begins like a header that does not verify; or it begins otherwise, but at least
** two transactions near its beginning verify together (log_salvage.h): something was put in front of
** the header, or took its place.
** Original: `WRITE<TAB>keypath<TAB>value` lines and empty lines, and nothing else but a torn tail.
** Foreign: all else.
**
** An original log has no checksums, so that a torn tail is taken for one only if nothing else can have
** left it: behind the last LF, zeros to the end of the file; or the beginning of a line that could go
** on as an original one; or a whole line without its LF, with zeros behind it. (Without zeros that
** is a line: the original program read it so.) At least one whole line must stand before it, but for
** the last case, or else any file of zeros would be a log.
**
** Threads: any. Nothing is changed.
*/
#ifndef LOG_JUDGE_H
#define LOG_JUDGE_H

#include "log_format.h"
#include "log_read.h"

#define LOG_JUDGE_WHY_SIZE 256

typedef struct log_verdict {
  int code; /* KV_OK, KV_EDAMAGED (its first line), KV_EFOREIGN, KV_EVERSION */
  bool original;
  log_header header;        /* KV_OK, unless original */
  uint64_t header_size;     /* with its LF */
  uint64_t version;         /* KV_EVERSION */
  char id[LOG_ID_SIZE + 1]; /* KV_EDAMAGED: what transactions verify with, as far as can be known */
  uint64_t end;             /* original: behind the last line */
  uint64_t torn_size;       /* original: bytes of a torn tail, without the zeros behind it */
  uint64_t lines, records;  /* original: before `end`; and those that are not empty */
  uint64_t line, offset;    /* KV_EFOREIGN: the first line that is none of ours, from 1 */
  char why[LOG_JUDGE_WHY_SIZE];
} log_verdict;

/* Judge an open file, of which size bytes count. KV_OK, whatever the verdict; KV_EIO (errno tells),
** KV_ENOMEM. */
int log_judge(int fd, uint64_t size, log_verdict *out);

/* Go on with the lines of an original log from v->end, as far as the reader's size. v->code becomes
** KV_OK or KV_EFOREIGN. KV_EIO, KV_ENOMEM. */
int log_judge_original(log_reader *r, log_verdict *v);

/* Take a line of an original log (size bytes without its LF) to pieces: WRITE, the keypath, and
** everything behind the second TAB, as it stands. False: it is none; *why, which may be NULL, tells. */
bool log_original_parse(const char *line, size_t size, log_record *out, kv_error *why);

/* Whether inspection can show a file as an original log that has foreign lines: it begins as one. */
bool log_original_begins(const char *head, size_t size);

#endif
