/*
** tool_repair.c - kvstore repair FILE [-o NEW]: what verifies of a damaged log, in a new one.
**
** The work is repair.h's: the old file is never changed, and the new one has its name only when it
** is complete. This says what was left out, as exactly as it can be told: the bytes, the numbers of
** the transactions, and the keys that lines among those bytes still name. Such a line may itself be
** what is damaged, so that its key and value are hints, not facts.
*/
#include "repair.h"
#include "show.h"
#include "tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
    {"output", required_argument, NULL, 'o'}, {"prefix", no_argument, NULL, 'p'},
    {"dry-run", no_argument, NULL, 'd'},      {"limit", required_argument, NULL, 'n'},
    {"help", no_argument, NULL, 'h'},         {0}};

static const tool_about about = {
    .name = "repair",
    .letters = "o:pdn:",
    .options = options,
    .usage =
        "usage: kvstore repair [-o NEW] [--prefix] [--dry-run] [--limit N] FILE\n"
        "\n"
        "Write what verifies of a log to a new one, FILE.repaired, and say what is left out.\n"
        "FILE is not changed, and no file is overwritten.\n"
        "\n"
        "Transactions behind a damaged one verify by themselves. They are kept, in order, with\n"
        "new numbers that follow one another; but they may build on what is lost.\n"
        "\n"
        "  -o, --output NEW  the new file\n"
        "  -p, --prefix      keep nothing behind the first transaction that is missing\n"
        "  -d, --dry-run     only say what would be left out\n"
        "  -n, --limit N     list at most N places, and N lines in each (20); 0: all\n"
        "\n"
        "Exit code: 0 nothing is left out; 1 something is; 2 it could not be done.\n"};

typedef struct request {
  const char *path, *new_path;
  bool prefix, dry_run;
  uint64_t limit;
} request;

/* --- what is left out --------------------------------------------------------------------------- */

static void print_loss(const request *q, const repair_loss *loss) {
  printf("%s: left out: bytes %" PRIu64 " to %" PRIu64 " (line %" PRIu64 "), %s: ", q->path,
         loss->offset, loss->offset + loss->size - 1, loss->line, tool_count(loss->size, "byte"));
  switch (loss->why) {
  case REPAIR_UNVERIFIED:
    printf("%s%s\n", loss->note, loss->header_only ? "; a new one takes its place" : "");
    break;
  case REPAIR_MALFORMED:
    if (loss->seq != 0) printf("transaction %" PRIu64 ": ", loss->seq);
    printf("%s\n", loss->note);
    break;
  case REPAIR_SECOND:
    printf("another transaction %" PRIu64 "\n", loss->seq);
    break;
  case REPAIR_BEHIND:
    printf("transaction %" PRIu64 " stands behind one that is missing\n", loss->seq);
    break;
  }
}

static void print_lost_line(const inspect_row *row) {
  printf("    line %" PRIu64 ": %s ", row->line, row->op);
  (void)show_text(stdout, row->key, row->key_size, 60);
  if (row->has_value) {
    fputs(" = ", stdout);
    (void)show_value(stdout, &row->value, 60);
  }
  putchar('\n');
}

/* Look once more at the lines of every loss, and tell what they name. */
static int print_losses(const request *q, const repair *plan, size_t count, kv_error *err) {
  inspection *log;
  inspect_row row;
  bool more = true;
  size_t next = 0; /* the loss that is looked for or in */
  uint64_t lines = 0, hidden = 0;
  if (count == 0) return KV_OK;
  int rc = inspect_open(q->path, &log, err);
  if (rc != KV_OK) return rc;
  const repair_loss *loss = repair_loss_at(plan, 0);
  print_loss(q, loss);
  while ((rc = inspect_next(log, &row, &more, err)) == KV_OK && more) {
    while (row.offset >= loss->offset + loss->size) {
      if (hidden > 0) printf("    and %s more\n", tool_count(hidden, "line"));
      lines = hidden = 0;
      if (++next >= count) break;
      loss = repair_loss_at(plan, next);
      print_loss(q, loss);
    }
    if (next >= count) break;
    if (row.offset < loss->offset || row.key == NULL || row.op == NULL) continue;
    if (q->limit > 0 && lines == q->limit) {
      hidden++;
    } else {
      print_lost_line(&row);
      lines++;
    }
  }
  if (hidden > 0) printf("    and %s more\n", tool_count(hidden, "line"));
  inspect_close(log);
  return rc;
}

static void print_gaps(const request *q, const repair *plan, const repair_summary *sum) {
  size_t shown = sum->gaps;
  if (q->limit > 0 && shown > q->limit) shown = (size_t)q->limit;
  for (size_t i = 0; i < shown; i++) {
    const repair_gap *gap = repair_gap_at(plan, i);
    printf("%s: gap: ", q->path);
    if (gap->first == gap->last) {
      printf("transaction %" PRIu64 " is missing", gap->first);
    } else {
      printf("transactions %" PRIu64 " to %" PRIu64 " are missing", gap->first, gap->last);
    }
    if (gap->first == sum->facts.base_seq + 1 && sum->facts.base_seq > 0) {
      printf("; it is a checkpoint's, with all that was written before\n");
    } else {
      printf(q->prefix ? "\n" : "; those behind may build on it\n");
    }
  }
  if (shown < sum->gaps) {
    printf("%s: and %s more\n", q->path, tool_count(sum->gaps - shown, "gap"));
  }
}

/* Whether anything of the content is left out. */
static bool is_lossy(const repair *plan, const repair_summary *sum) {
  if (sum->missing > 0) return true;
  for (size_t i = 0; i < sum->losses; i++) {
    if (!repair_loss_at(plan, i)->header_only) return true;
  }
  return false;
}

static int tell_plan(const request *q, const repair *plan, const repair_summary *sum,
                     kv_error *err) {
  size_t shown = sum->losses;
  if (q->limit > 0 && shown > q->limit) shown = (size_t)q->limit;
  if (sum->header_missing)
    printf("%s: the header is missing; a new one takes its place\n", q->path);
  int rc = print_losses(q, plan, shown, err);
  if (rc != KV_OK) return rc;
  if (shown < sum->losses) {
    printf("%s: and %s more\n", q->path, tool_count(sum->losses - shown, "place"));
  }
  print_gaps(q, plan, sum);
  if (sum->moved > 0) {
    printf("%s: %s stood behind a later one, and went back to the place of the number\n", q->path,
           tool_count(sum->moved, "transaction"));
  }
  return KV_OK;
}

/* --- doing it ------------------------------------------------------------------------------------- */

/* Open the new log, which verifies it. */
static int verify(const request *q, const repair_summary *sum) {
  kv *db;
  kv_stats stats;
  kv_error err;
  if (!tool_open_readonly(q->new_path, &db)) return TOOL_FAILED;
  int rc = kv_get_stats(db, &stats, &err);
  (void)kv_close(db, NULL);
  if (rc != KV_OK) return tool_fail("%s", err.text);
  if (stats.replay_transactions != sum->kept || stats.torn_bytes != 0) {
    return tool_fail("'%s' does not have what was written to it", q->new_path);
  }
  printf("%s: written and verified: %s, %s\n", q->new_path, tool_count(sum->kept, "transaction"),
         tool_count(stats.keys, "key"));
  return TOOL_OK;
}

static int write_new(const request *q, const repair *plan, const repair_summary *sum) {
  kv_error err;
  if (!tool_check_name(q->new_path)) return TOOL_FAILED;
  progress bar;
  progress_begin(&bar, "writing");
  int rc = repair_write(plan, q->new_path, progress_show, &bar, &err);
  progress_end(&bar);
  return rc == KV_OK ? verify(q, sum) : tool_fail("%s", err.text);
}

static int repair_file(const request *q) {
  repair *plan;
  kv_error err;
  progress bar;
  progress_begin(&bar, "reading");
  int rc = repair_plan(q->path, q->prefix, progress_show, &bar, &plan, &err);
  progress_end(&bar);
  if (rc != KV_OK) return tool_fail("%s", err.text);
  repair_summary sum;
  repair_tell(plan, &sum);
  int code = TOOL_FAILED;
  rc = tell_plan(q, plan, &sum, &err);
  if (rc != KV_OK) {
    (void)tool_fail("%s", err.text);
  } else {
    bool lossy = is_lossy(plan, &sum);
    printf("%s: %s kept, %s left out%s\n", q->path, tool_count(sum.kept, "transaction"),
           tool_count(sum.lost_bytes, "byte"), lossy ? "" : "; nothing of the content is lost");
    code = q->dry_run ? TOOL_OK : write_new(q, plan, &sum);
    if (code == TOOL_OK && lossy) code = TOOL_FOUND;
  }
  repair_free(plan);
  return code;
}

int tool_repair(int argc, char **argv) {
  static const char suffix[] = ".repaired";
  request q = {.limit = 20};
  int code = TOOL_FAILED, option;
  while ((option = tool_option(&about, argc, argv, &code)) >= 0) {
    if (option == 'o') q.new_path = optarg;
    if (option == 'p') q.prefix = true;
    if (option == 'd') q.dry_run = true;
    if (option == 'n' && !tool_parse_number(optarg, &q.limit)) {
      return tool_misused(&about, "--limit takes a number, not '%s'", optarg);
    }
  }
  if (option == TOOL_STOP) return code;
  if (!tool_operands(&about, argc, argv, 1, 1)) return TOOL_FAILED;
  q.path = argv[optind];
  bytes name = {0};
  if (q.new_path == NULL) {
    tool_append(&name, q.path, strlen(q.path));
    tool_append(&name, suffix, sizeof suffix);
    q.new_path = name.data;
  }
  code = repair_file(&q);
  bytes_free(&name);
  return code;
}
