/*
** out_file.h - the file that a tool writes its text to: stdout, a new file, or what is there and is no
** regular file, such as a device or a pipe.
**
** A new file is written as NAME-dump-new, and gets its name when it is complete. In a folder that
** others may write to, somebody can put anything under a name that he guesses. So the file is always
** created, never opened: a link is not followed, and nothing that is there is written to. What is
** written is a log's content, and so others may do no more with it than with the log: it has the log's
** group, mode and ACL, less the umask; its owner is the caller.
*/
#ifndef OUT_FILE_H
#define OUT_FILE_H

#include "bytes.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct out_file {
  FILE *file;
  const char *path; /* NULL: stdout */
  bytes temporary;  /* empty: written in place */
} out_file;

/* Open it for the content of the log `model`; path NULL: stdout. False: it has been told why. */
bool out_file_open(out_file *o, const char *path, const char *model);

/* Close it, and give it its name if `code` is TOOL_OK and all was written; else drop it. The exit code. */
int out_file_close(out_file *o, int code);

#endif
