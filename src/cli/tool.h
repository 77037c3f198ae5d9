/*
** tool.h - what the tools of the program kvstore share: how they report, take options, show
** progress, and end.
**
** A tool is a function that gets its own arguments (argv[0] is its name) and returns the program's
** exit code. What it finds goes to stdout, what goes wrong to stderr as "kvstore NAME: what".
** Memory that cannot be had ends the program with TOOL_FAILED: a tool changes a file only by
** transactions or by making a new one, so that nothing is left half done.
**
** main.c has the table of the tools, whose functions are declared at the end of this file.
*/
#ifndef TOOL_H
#define TOOL_H

#include "bytes.h"
#include "kv.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>

/* Exit codes. What 1 means is each tool's to say: a torn tail, something left out. */
enum { TOOL_OK = 0, TOOL_FOUND = 1, TOOL_FAILED = 2 };

/* --- reporting ---------------------------------------------------------------------------------- */

/* "kvstore NAME: text" on stderr; returns TOOL_FAILED. */
int tool_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A number in decimal with commas, "1,234,567": one of four buffers that take turns. */
const char *tool_number(uint64_t n);

/* "1 transaction", "2 transactions": the number with commas and the word, an s behind it unless it
** is one. One of four buffers that take turns. */
const char *tool_count(uint64_t n, const char *word);

/* --- arguments ---------------------------------------------------------------------------------- */

/* What a tool says of itself: its usage, which --help prints, and its options beside --help. */
typedef struct tool_about {
  const char *name;
  const char *usage; /* begins with "usage: kvstore NAME ..." and ends with LF */
  const char *letters;
  const struct option *options; /* ends with a zeroed one; NULL: none */
} tool_about;

/* The next option's letter (optarg has its argument); -1 at the first operand, which optind tells;
** TOOL_STOP when the tool has to return *code: help was asked for, or an option is none. */
enum { TOOL_STOP = -2 };
int tool_option(const tool_about *about, int argc, char **argv, int *code);

/* Check that there are between least and most operands, else say so. */
bool tool_operands(const tool_about *about, int argc, char **argv, int least, int most);

/* "kvstore NAME: text", and where to find help; returns TOOL_FAILED. */
int tool_misused(const tool_about *about, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A whole decimal number. */
bool tool_parse_number(const char *text, uint64_t *out);

/* --- a store -------------------------------------------------------------------------------------- */

/* Open a log that has to be there and is not written; the error is told. */
bool tool_open_readonly(const char *path, kv **out);

/* Whether a file of this name can be written; not if SQLite, or a log, has another use for the name.
** The error is told. */
bool tool_check_name(const char *path);

/* --- memory ------------------------------------------------------------------------------------- */

void *tool_realloc(void *data, size_t size); /* never NULL */

void tool_append(bytes *b, const void *data, size_t size); /* cannot fail */
void tool_append_character(bytes *b, unsigned long code);  /* at most 0x10ffff, as UTF-8 */

/* --- progress ----------------------------------------------------------------------------------- */

/* A bar on stderr for what takes long, if stderr is a terminal. It shows itself after a moment and
** is gone when the work is done. */
typedef struct progress {
  const char *what;
  bool on, shown;
  uint64_t begin_ns, last_ns;
} progress;

void progress_begin(progress *p, const char *what);
void progress_show(void *p, uint64_t done, uint64_t total); /* p is a progress * */
void progress_end(progress *p);

uint64_t tool_now_ns(void); /* monotonic clock */

/* --- the tools ------------------------------------------------------------------------------------ */

int tool_check(int argc, char **argv);
int tool_compact(int argc, char **argv);
int tool_dump(int argc, char **argv);
int tool_load(int argc, char **argv);
int tool_log(int argc, char **argv);
int tool_repair(int argc, char **argv);
int tool_stat(int argc, char **argv);

#endif
