/*
** args.h - the arguments of CREATE VIRTUAL TABLE ... USING kvstore(...).
**
** An optional positional file name, and name=value pairs in any order; names and keywords in any
** case; values bare or quoted as SQL strings or identifiers.
*/
#ifndef ARGS_H
#define ARGS_H

#include "face.h"

#include <stdbool.h>

typedef struct args {
  char *file;     /* NULL: none given. sqlite3_malloc'ed */
  char *log_name; /* what the default file is named after, NULL: the table. sqlite3_malloc'ed */
  kv_settings settings;
  int busy_timeout_ms; /* -1: the connection's own */
  bool readonly;
} args;

/* Parse argv[0..argc). SQLITE_OK, and the caller frees with args_free; or SQLITE_ERROR or
** SQLITE_NOMEM with a message in *message for sqlite3_free. */
int args_parse(int argc, const char *const *argv, args *out, char **message);
void args_free(args *a);

/* Apply one named setting (synchronous, group_size, group_timeout, auto_checkpoint) with its value as text, as the
** commands of the table do. SQLITE_OK, SQLITE_NOTFOUND if there is no such setting, or
** SQLITE_ERROR with a message. */
int args_apply_setting(const char *name, const char *value, kv_settings *settings, char **message);

#endif
