/*
** sql_file.c - see sql_file.h.
*/
#include "sql_file.h"
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void append(sql_section *s, const char *line) {
  size_t size = s->text != NULL ? strlen(s->text) : 0;
  s->text = realloc(s->text, size + strlen(line) + 1);
  if (s->text == NULL) abort();
  strcpy(s->text + size, line);
}

static void begin_section(sql_file *out, const char *path, const char *marker) {
  if (out->count == SQL_SECTIONS_MAX) bench_die(path, "too many sections");
  sql_section *s = &out->sections[out->count++];
  if (sscanf(marker, "%15s %31s", s->kind, s->name) < 1)
    bench_die(path, "a section without a name");
  append(s, "");
}

void sql_file_read(const char *path, sql_file *out) {
  static char line[4096];
  FILE *in = fopen(path, "r");
  if (in == NULL) bench_die(path, strerror(errno));
  memset(out, 0, sizeof *out);
  strcpy(out->database, ":memory:");
  while (fgets(line, sizeof line, in) != NULL) {
    if (strncmp(line, "-- @", 4) == 0) {
      begin_section(out, path, line + 4);
    } else if (line[0] == '.') {
      (void)(sscanf(line, ".open %255s", out->database) == 1 ||
             sscanf(line, ".load %255s", out->extension) == 1);
    } else if (out->count > 0) {
      append(&out->sections[out->count - 1], line);
    }
  }
  fclose(in);
}

const char *sql_file_section(const sql_file *f, const char *kind, const char *name) {
  for (int i = 0; i < f->count; i++) {
    const sql_section *s = &f->sections[i];
    if (strcmp(s->kind, kind) == 0 && strcmp(s->name, name) == 0) return s->text;
  }
  return "";
}
