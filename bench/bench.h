/*
** bench.h - what the programs run_*.c have in common: options, threads, clocks, the result line.
**
** A program stands for a subject of a comparison (this engine through SQL, SQLite, RocksDB, ...). It
** opens its connections, loads its entries, says so, and then does what standard input asks, so that
** several subjects can be measured in turn, A B A B ..., while all of them stay open:
**
**     run_sql bench/sql/get_kvstore.sql --folder F --keys 1000000
**     <- ready setup_s=0.002 load_s=2.31 rss_setup_kb=310 rss_load_kb=81234 ...
**     -> get count=1000000
**     <- get ops=1000000 seconds=0.912 ns=912.0 rate=1096491 rows=1000000 flushes=0 flush_ns=0
**
** A line of standard input is a round: the name of an operation and, in any order,
**     count=N          operations of each connection
**     seconds=S        or for how long (one of the two)
**     order=random     which keys: at random (the default), each (once, shuffled) or sorted
**     latency=1        more figures: p50_ns p99_ns p999_ns max_ns
**     histogram=FILE   the latencies, as latency_write has them
**     meanwhile=NAME   one more connection does this operation once, a third of `seconds` after
**                      the start: meanwhile_s, and p99 and max of the latencies during it:
**                      meanwhile_p99_ns meanwhile_max_ns
**
** Options: --folder F (., where the files go), --keys N (10000), --shape grid|tree (tree),
** --value-size N (6), --threads N (1, each with a connection), --load 0|1 (1), --set NAME=VALUE.
*/
#ifndef BENCH_H
#define BENCH_H

#include "keys.h"

#include <stdbool.h>
#include <stdio.h>

#define BENCH_SETTINGS_MAX 16

typedef struct bench_options {
  const char *program; /* argv[0] */
  const char *file;    /* the one argument without a dash, or NULL; absolute */
  const char *origin;  /* the working directory before it became the folder */
  uint64_t keys;
  key_shape shape;
  size_t value_size;
  int threads;
  bool load;
  const char *settings[BENCH_SETTINGS_MAX]; /* NAME=VALUE */
  int setting_count;
} bench_options;

/* What a subject can do. Every error ends the program (bench_die). */
typedef struct bench_subject {
  void *(*open)(const bench_options *o); /* a connection */
  void (*close)(void *connection);

  /* Loading, by the first connection: begin and end surround some thousand entries. */
  void (*load_begin)(void *connection);
  void (*load)(void *connection, const entry *e);
  void (*load_end)(void *connection);

  /* Prepare for a round of this operation; false: there is none of this name. */
  bool (*select)(void *connection, const char *operation);
  /* Measured: what comes before all operations of a round (NULL: nothing), one of them (the rows
  ** that it found), and after them. */
  void (*begin)(void *connection);
  uint64_t (*step)(void *connection, const entry *e);
  void (*finish)(void *connection);

  void (*figures)(void *connection,
                  FILE *out); /* more figures, each with a space before; or NULL */
} bench_subject;

int bench_main(int argc, char **argv, const bench_subject *subject);

/* The value of --set NAME=VALUE, or a default. */
const char *bench_setting(const bench_options *o, const char *name, const char *otherwise);

_Noreturn void bench_die(const char *what, const char *why);

#endif
