/*
** tool_load.c - kvstore load FILE [INPUT]: what dump wrote, into a log.
**
** All of it is one transaction: at the first thing that is not understood nothing is loaded. With
** --batch N every N keys are a transaction of their own, for inputs that do not fit into memory
** twice, or to let others write in between; then what came before the batch with the error stays, and
** the error says how much that is. A key that is there already gets the new value; others stay. A
** batch is on stable storage when the next one begins.
*/
#include "format.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

static const struct option options[] = {
    {"format", required_argument, NULL, 'f'},  {"batch", required_argument, NULL, 'b'},
    {"timeout", required_argument, NULL, 't'}, {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},          {0}};

static const tool_about about = {
    .name = "load",
    .letters = "f:b:t:q",
    .options = options,
    .usage =
        "usage: kvstore load [--format sql|tsv|json|tabs] [--batch N] FILE [INPUT]\n"
        "\n"
        "Read what 'kvstore dump' wrote, from INPUT or stdin, into a log, which is created if\n"
        "there is none. Keys that are there already get the new value. What the sqlite3 shell\n"
        "writes of a table of two columns, key and value, is read too: its .dump as sql, its\n"
        "-json as json, its -tabs as tabs.\n"
        "\n"
        "  -f, --format F     sql, tsv, json or tabs; if it is not given, INPUT's suffix tells,\n"
        "                     else it is sql\n"
        "  -b, --batch N      a transaction for every N keys (0: one for all)\n"
        "  -t, --timeout MS   wait so long for another writer (5000)\n"
        "  -q, --quiet        print nothing but errors\n"
        "\n"
        "Exit code: 0, or 2 if it could not be done; then nothing was loaded, or, with --batch,\n"
        "what the message says.\n"};

typedef struct load {
  const char *path, *input;
  const text_format *format;
  uint64_t batch, timeout_ms;
  bool quiet;
  kv *db;
  source source;
  entry entry;
  progress bar;
  uint64_t size;               /* of the input; 0: not known */
  uint64_t keys, transactions; /* committed */
  uint64_t pending;            /* in the open transaction */
} load;

static const char *input_name(const load *l) {
  return l->input != NULL ? l->input : "stdin";
}

/* What stays in the log after an error. */
static void tell_rest(const load *l) {
  if (l->keys > 0) {
    fprintf(stderr, "%s in %s before that were loaded.\n", tool_count(l->keys, "key"),
            tool_count(l->transactions, "transaction"));
  } else {
    fputs("Nothing was loaded.\n", stderr);
  }
}

static int fail_store(load *l, const kv_error *err) {
  progress_end(&l->bar);
  (void)tool_fail("%s", err->text);
  tell_rest(l);
  return TOOL_FAILED;
}

static int fail_input(load *l) {
  const source *s = &l->source;
  progress_end(&l->bar);
  if (ferror(s->file)) {
    (void)tool_fail("cannot read '%s': %s", input_name(l), strerror(errno));
  } else {
    (void)tool_fail("%s: line %" PRIu64 ", column %" PRIu64 ": %s", input_name(l), s->why_line,
                    s->why_column, s->why);
  }
  tell_rest(l);
  return TOOL_FAILED;
}

/* --- transactions --------------------------------------------------------------------------------- */

static int commit(load *l, kv_error *err) {
  if (l->pending == 0) return KV_OK;
  int rc = kv_commit(l->db, 0, err);
  if (rc != KV_OK) return rc;
  l->keys += l->pending;
  l->transactions++;
  l->pending = 0;
  return KV_OK;
}

static int put(load *l, kv_error *err) {
  const entry *e = &l->entry;
  int rc = KV_OK;
  if (l->pending == 0) rc = kv_begin(l->db, (unsigned)l->timeout_ms, err);
  if (rc == KV_OK) rc = kv_put(l->db, e->key.data, e->key.size, &e->value, NULL, err);
  if (rc != KV_OK) return rc;
  l->pending++;
  return l->pending == l->batch ? commit(l, err) : KV_OK;
}

static int read_all(load *l) {
  kv_error err;
  for (uint64_t n = 0;; n++) {
    read_result result = l->format->read(&l->source, &l->entry);
    if (ferror(l->source.file)) return fail_input(l);
    if (result == READ_END) break;
    if (result == READ_ENTRY) {
      const entry *e = &l->entry;
      const char *key = e->key.data != NULL ? e->key.data : "";
      if (kv_keypath_check(key, e->key.size, &err) != KV_OK) {
        result = source_bad_at(&l->source, e->line, e->column, "%s", err.text);
      }
    }
    if (result == READ_BAD) return fail_input(l);
    if (put(l, &err) != KV_OK) return fail_store(l, &err);
    if (n % 1024 == 0) progress_show(&l->bar, l->source.offset, l->size);
  }
  if (commit(l, &err) != KV_OK) return fail_store(l, &err);
  if (l->transactions > 0) return TOOL_OK;
  /* Of nothing too there is a log then: beginning creates it. */
  if (kv_begin(l->db, (unsigned)l->timeout_ms, &err) != KV_OK) return fail_store(l, &err);
  kv_rollback(l->db);
  return TOOL_OK;
}

/* --- opening -------------------------------------------------------------------------------------- */

static FILE *open_input(load *l) {
  struct stat facts;
  FILE *file = l->input != NULL ? fopen(l->input, "r") : stdin;
  if (file == NULL) {
    (void)tool_fail("cannot open '%s': %s", l->input, strerror(errno));
    return NULL;
  }
  if (fstat(fileno(file), &facts) == 0 && S_ISREG(facts.st_mode)) l->size = (uint64_t)facts.st_size;
  return file;
}

static int load_file(load *l) {
  kv_options open = {.path = l->path, .settings = {.synchronous = KV_SYNC_FULL}};
  kv_error notice = {.code = KV_OK}, err;
  FILE *file = open_input(l);
  if (file == NULL) return TOOL_FAILED;
  int code = TOOL_FAILED;
  if (kv_open(&open, &l->db, &notice, &err) != KV_OK) {
    (void)tool_fail("%s", err.text);
  } else {
    if (notice.code != KV_OK) (void)tool_fail("%s", notice.text);
    progress_begin(&l->bar, "loading");
    source_begin(&l->source, file);
    code = read_all(l);
    progress_end(&l->bar);
    kv_rollback(l->db);
    if (kv_close(l->db, &err) != KV_OK && code == TOOL_OK) code = tool_fail("%s", err.text);
  }
  if (code == TOOL_OK && !l->quiet) {
    printf("%s: %s loaded in %s\n", l->path, tool_count(l->keys, "key"),
           tool_count(l->transactions, "transaction"));
  }
  if (file != stdin) (void)fclose(file);
  entry_free(&l->entry);
  return code;
}

int tool_load(int argc, char **argv) {
  load l = {.timeout_ms = 5000};
  int code = TOOL_FAILED, option;
  while ((option = tool_option(&about, argc, argv, &code)) >= 0) {
    if (option == 'q') l.quiet = true;
    if (option == 'b' && !tool_parse_number(optarg, &l.batch)) {
      return tool_misused(&about, "--batch takes a number, not '%s'", optarg);
    }
    if (option == 't' && (!tool_parse_number(optarg, &l.timeout_ms) || l.timeout_ms > INT32_MAX)) {
      return tool_misused(&about, "--timeout takes milliseconds, not '%s'", optarg);
    }
    if (option == 'f') {
      l.format = format_named(optarg);
      if (l.format == NULL) {
        return tool_misused(&about, "--format is sql, tsv, json or tabs, not '%s'", optarg);
      }
    }
  }
  if (option == TOOL_STOP) return code;
  if (!tool_operands(&about, argc, argv, 1, 2)) return TOOL_FAILED;
  l.path = argv[optind];
  l.input = argv[optind + 1];
  if (l.input != NULL && strcmp(l.input, "-") == 0) l.input = NULL;
  if (l.format == NULL && l.input != NULL) l.format = format_of_file(l.input);
  if (l.format == NULL) l.format = &format_sql;
  return load_file(&l);
}
