/*
** tool_dump.c - kvstore dump FILE [ROOT]: the content of a log as text.
**
** One snapshot, in the order of the keys, whatever others write meanwhile. A named output file gets
** its name when it is complete, so that a dump which fails leaves an older one as it is (out_file.h).
*/
#include "format.h"
#include "out_file.h"
#include "tool.h"

#include <string.h>

static const struct option options[] = {{"format", required_argument, NULL, 'f'},
                                        {"output", required_argument, NULL, 'o'},
                                        {"table", required_argument, NULL, 't'},
                                        {"help", no_argument, NULL, 'h'},
                                        {0}};

static const tool_about about = {
    .name = "dump",
    .letters = "f:o:t:",
    .options = options,
    .usage =
        "usage: kvstore dump [--format sql|tsv|json] [-o OUT] [--table NAME] FILE [ROOT]\n"
        "\n"
        "Write the keys and values of a log, or those at and below the keypath ROOT, as text\n"
        "that 'kvstore load' reads back exactly.\n"
        "\n"
        "  -f, --format F    sql (the default): statements that any SQLite can run;\n"
        "                    tsv: key, TAB, data, TAB, type, as in the log;\n"
        "                    json: an object for each key, one on a line;\n"
        "                    if it is not given, OUT's suffix tells\n"
        "  -o, --output OUT  write to a file (-: to stdout); an older one stays until the new one\n"
        "                    is complete\n"
        "  -t, --table NAME  the table that the SQL fills (kv)\n"
        "\n"
        "Exit code: 0, or 2 if it could not be done.\n"};

typedef struct request {
  const char *path, *root, *output, *table;
  const text_format *format;
} request;

/* --- what is written ------------------------------------------------------------------------------ */

typedef struct walk {
  const request *q;
  kv_cursor *cursor;
  FILE *out;
  progress bar;
  uint64_t done, total;
} walk;

static void write_here(walk *w) {
  kv_value value;
  size_t size;
  const char *key = kv_cursor_key(w->cursor, &size);
  kv_cursor_value(w->cursor, &value);
  w->q->format->write(w->out, w->q->table, key, size, &value);
  if (w->done++ % 1024 == 0) progress_show(&w->bar, w->done, w->total);
}

/* Keys from here on, as long as they begin with the prefix. */
static int write_range(walk *w, const char *prefix, size_t size) {
  int rc = KV_OK;
  while (rc == KV_OK && kv_cursor_valid(w->cursor) && !ferror(w->out)) {
    size_t key_size;
    const char *key = kv_cursor_key(w->cursor, &key_size);
    if (key_size < size || memcmp(key, prefix, size) != 0) break;
    write_here(w);
    rc = kv_cursor_next(w->cursor);
  }
  return rc;
}

static int write_all(walk *w) {
  const char *root = w->q->root;
  if (root == NULL) {
    int rc = kv_cursor_first(w->cursor);
    return rc == KV_OK ? write_range(w, "", 0) : rc;
  }
  /* Between ROOT and ROOT/ sort others, such as ROOT-x. */
  size_t size = strlen(root);
  kv_cursor_find(w->cursor, root, size);
  if (kv_cursor_valid(w->cursor)) write_here(w);
  bytes below = {0};
  tool_append(&below, root, size);
  tool_append(&below, "/", 1);
  int rc = kv_cursor_seek(w->cursor, below.data, below.size, KV_SEEK_GE);
  if (rc == KV_OK) rc = write_range(w, below.data, below.size);
  bytes_free(&below);
  return rc;
}

static int dump_to(const request *q, kv *db, FILE *out) {
  walk w = {.q = q, .out = out};
  kv_error err;
  kv_counts counts;
  if (kv_cursor_open(db, &w.cursor, &err) != KV_OK) return tool_fail("%s", err.text);
  kv_cursor_count(w.cursor, q->root != NULL ? q->root : "", q->root != NULL ? strlen(q->root) : 0,
                  &counts);
  w.total = counts.values;
  progress_begin(&w.bar, "dumping");
  q->format->begin(out, q->table);
  int rc = write_all(&w);
  q->format->end(out);
  progress_end(&w.bar);
  kv_cursor_close(w.cursor);
  return rc == KV_OK ? TOOL_OK : tool_fail("out of memory");
}

static int dump(const request *q) {
  kv *db;
  out_file out;
  kv_error err;
  if (q->root != NULL && kv_keypath_check(q->root, strlen(q->root), &err) != KV_OK) {
    return tool_fail("%s", err.text);
  }
  if (!tool_open_readonly(q->path, &db)) return TOOL_FAILED;
  int code = TOOL_FAILED;
  if (out_file_open(&out, q->output, q->path)) {
    code = dump_to(q, db, out.file);
    code = out_file_close(&out, code);
  }
  (void)kv_close(db, NULL);
  return code;
}

int tool_dump(int argc, char **argv) {
  request q = {.table = FORMAT_TABLE};
  int code = TOOL_FAILED, option;
  while ((option = tool_option(&about, argc, argv, &code)) >= 0) {
    if (option == 'o') q.output = strcmp(optarg, "-") != 0 ? optarg : NULL;
    if (option == 't') q.table = optarg;
    if (option == 'f') {
      q.format = format_named(optarg);
      if (q.format == NULL || q.format->write == NULL) {
        return tool_misused(&about, "--format is sql, tsv or json, not '%s'", optarg);
      }
    }
  }
  if (option == TOOL_STOP) return code;
  if (!tool_operands(&about, argc, argv, 1, 2)) return TOOL_FAILED;
  q.path = argv[optind];
  q.root = argv[optind + 1]; /* NULL at the end */
  if (q.root != NULL && q.root[0] == '\0') q.root = NULL;
  if (q.format == NULL && q.output != NULL) q.format = format_of_file(q.output);
  if (q.format == NULL) q.format = &format_sql;
  return dump(&q);
}
