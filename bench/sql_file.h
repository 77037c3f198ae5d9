/*
** sql_file.h - a benchmark written in SQL: a file that the sqlite3 shell can run as it stands, in
** sections that begin with a comment.
**
**     -- @setup            once for each connection, when it is opened
**     -- @load             once for each entry, many to a transaction, before the first round
**     -- @begin NAME       once for each round of the operation NAME and each connection, measured
**     -- @measure NAME     the operation: all its statements once, as often as the round asks for
**     -- @finish NAME      once at the end of each round, measured
**     -- @figures          a row whose columns go into the result line
**
** Parameters: :key, :value, :folder (the key up to its last '/'), and what --set NAME=VALUE names.
** Of the shell's own commands, `.open FILE` (a file in the folder of the run) and `.load NAME` are
** obeyed in their place; others (`.parameter`, ...) are there for the shell alone.
*/
#ifndef BENCH_SQL_FILE_H
#define BENCH_SQL_FILE_H

#define SQL_SECTIONS_MAX 24

typedef struct sql_section {
  char kind[16];
  char name[32];
  char *text;
} sql_section;

typedef struct sql_file {
  sql_section sections[SQL_SECTIONS_MAX];
  int count;
  char database[256];  /* of .open; else :memory: */
  char extension[256]; /* of .load; else "" */
} sql_file;

/* Read it; what cannot be read ends the program. */
void sql_file_read(const char *path, sql_file *out);

/* The text of a section, "" if it has none. */
const char *sql_file_section(const sql_file *f, const char *kind, const char *name);

#endif
