/*
** options.h - words and options of a command line, and of the environment.
**
** An option is `--name VALUE` or `--name=VALUE`, anywhere; `--` ends the options. One that is not given
** is taken from the environment: KVSTORE_ and its name in capitals, `-` being `_`.
*/
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum option_type {
  OPTION_TEXT,        /* const char ** */
  OPTION_SECRET,      /* the same, and wiped from what ps shows */
  OPTION_NUMBER,      /* unsigned *, from low to high */
  OPTION_SYNCHRONOUS, /* kv_sync * */
  OPTION_FLAG         /* bool *, takes no value */
} option_type;

typedef struct option {
  const char *name; /* without --; NULL ends the table */
  option_type type;
  void *value;
  unsigned low, high;
  const char *argument, *help;
} option;

/* Fill in what the options point at, and put the other words into words, at most words_max. Their
** number, or -1 after saying on stderr what is wrong. */
int options_parse(const option *options, int argc, char **argv, const char **words, int words_max);

/* The options' part of a help text, on stdout. */
void options_print(const option *options);

#endif
