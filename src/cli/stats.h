/*
** stats.h - how often each command was executed, how long it took, and which errors there were: what
** INFO tells in commandstats and errorstats.
**
** Commands are numbered by their place in command_table.
*/
#ifndef STATS_H
#define STATS_H

#include <stddef.h>
#include <stdint.h>

#define STATS_COMMANDS_MAX 160u /* not less than there are in command_table */
#define STATS_ERRORS_MAX 32u    /* codes of errors; others are not told apart */
#define STATS_CODE_MAX 24u

typedef struct command_count {
  uint64_t calls, took_ns;
  uint64_t rejected; /* not executed: wrong number of arguments, no password and the like */
  uint64_t failed;   /* executed, and the reply was an error */
} command_count;

typedef struct error_count {
  char code[STATS_CODE_MAX]; /* "ERR" */
  uint64_t count;
} error_count;

typedef struct command_stats {
  command_count commands[STATS_COMMANDS_MAX];
  error_count errors[STATS_ERRORS_MAX];
  size_t error_count;
} command_stats;

/* Count a reply that is an error: "-ERR ...", of which size bytes are there. */
void stats_add_error(command_stats *stats, const char *reply, size_t size);

#endif
