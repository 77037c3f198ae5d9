/*
** tool_check.c - kvstore check FILE: does every transaction of a log verify?
**
** Two looks. The first goes through the file place by place (inspect.h) and lists whatever is wrong
** with it. If that finds no damage, the second opens the log as a reader does, so that what check
** says of a log is what opening says of it; it also counts the keys. A file that others write to may
** end within an append, which looks like a torn tail: such an end is looked at again a moment later.
*/
#include "inspect.h"
#include "tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOKS_MAX 5 /* at an end that may be an append under way */
#define LOOK_AGAIN_MS 20

static const struct option options[] = {{"limit", required_argument, NULL, 'n'},
                                        {"quiet", no_argument, NULL, 'q'},
                                        {"help", no_argument, NULL, 'h'},
                                        {0}};

static const tool_about about = {
    .name = "check",
    .letters = "n:q",
    .options = options,
    .usage = "usage: kvstore check [--limit N] [--quiet] FILE\n"
             "\n"
             "Verify every transaction of a log, changing nothing.\n"
             "\n"
             "  -n, --limit N  list at most N damaged places (20); 0: all\n"
             "  -q, --quiet    print nothing but errors\n"
             "\n"
             "Exit code: 0 all is well; 1 a torn tail, which the next writer saves and cuts off;\n"
             "2 damage to what was durable, or the file is no log, or cannot be read.\n"};

/* A run of lines that inspection tells of as one. */
typedef struct place {
  uint64_t offset, size, line, lines;
  inspect_status status;
  char note[256];
} place;

typedef struct check {
  const char *path;
  bool quiet;
  uint64_t limit;
  place *places;
  size_t count; /* kept, at most the limit */
  uint64_t damaged, torn, torn_offset, torn_bytes;
  uint64_t damaged_bytes;
  uint64_t transactions; /* that are in place */
  bool original;
  bool open_end; /* what is wrong is all at the end, and may be an append under way */
} check;

/* One more line of what is wrong. */
static void take_bad_row(check *c, const inspect_row *row, uint64_t *last_place) {
  bool damaged = row->status == INSPECT_DAMAGED;
  if (damaged) c->damaged_bytes += row->size;
  if (!damaged) {
    if (c->torn == 0) c->torn_offset = row->offset;
    c->torn_bytes += row->size;
  }
  if (*last_place != row->place) {
    *last_place = row->place;
    c->damaged += damaged;
    c->torn += !damaged;
    if (c->limit > 0 && c->damaged + c->torn > c->limit) return;
    c->places = tool_realloc(c->places, (c->count + 1) * sizeof *c->places);
    place *p = &c->places[c->count++];
    *p = (place){.offset = row->offset, .line = row->line, .status = row->status};
    memcpy(p->note, row->note, sizeof p->note);
  } else if (c->count == 0 || (c->limit > 0 && c->damaged + c->torn > c->limit)) {
    return;
  }
  place *p = &c->places[c->count - 1];
  p->size = row->offset + row->size - p->offset;
  p->lines = row->line - p->line + 1;
}

static void forget(check *c) {
  c->count = 0;
  c->damaged = c->torn = c->torn_bytes = c->damaged_bytes = 0;
}

/* Read on to the end. */
static int read_rows(check *c, inspection *log, progress *bar, uint64_t size, kv_error *err) {
  inspect_row row;
  bool more;
  uint64_t last_place = UINT64_MAX;
  for (unsigned n = 0;; n++) {
    int rc = inspect_next(log, &row, &more, err);
    if (rc != KV_OK || !more) return rc;
    if (row.status == INSPECT_DAMAGED || row.status == INSPECT_TORN) {
      take_bad_row(c, &row, &last_place);
    } else if (row.status == INSPECT_OK && strcmp(row.op, "COMMIT") == 0) {
      c->transactions++;
      c->open_end = c->damaged + c->torn == 0;
    }
    if (n % 1024 == 0) progress_show(bar, row.offset, size);
  }
}

static void pause_ms(long ms) {
  struct timespec time = {.tv_nsec = ms * 1000000};
  (void)nanosleep(&time, NULL);
}

/* The first look. An end that is torn may be an append under way, and is looked at again. */
static int inspect_file(check *c, kv_error *err) {
  inspection *log;
  progress bar;
  inspect_facts facts;
  int rc = inspect_open(c->path, &log, err);
  if (rc != KV_OK) return rc;
  inspect_tell(log, &facts);
  c->original = facts.original;
  progress_begin(&bar, "checking");
  rc = read_rows(c, log, &bar, facts.size, err);
  for (int looks = 1; rc == KV_OK && looks < LOOKS_MAX && c->torn == 1 && c->open_end; looks++) {
    uint64_t before = c->torn_offset, size = c->torn_bytes;
    bool shorter;
    pause_ms(LOOK_AGAIN_MS);
    rc = inspect_refresh(log, &shorter, err);
    if (rc != KV_OK || shorter) break;
    forget(c);
    rc = read_rows(c, log, &bar, facts.size, err);
    if (c->torn > 0 && c->torn_offset == before && c->torn_bytes == size) break;
  }
  progress_end(&bar);
  inspect_close(log);
  return rc;
}

static void print_places(const check *c) {
  for (size_t i = 0; i < c->count; i++) {
    const place *p = &c->places[i];
    printf("%s: %s at byte %" PRIu64 " (line %" PRIu64 "), %s in %s: %s\n", c->path,
           p->status == INSPECT_DAMAGED ? "damaged" : "torn", p->offset, p->line,
           tool_count(p->size, "byte"), tool_count(p->lines, "line"), p->note);
  }
  uint64_t rest = c->damaged + c->torn - c->count;
  if (rest > 0) printf("%s: and %s more\n", c->path, tool_count(rest, "place"));
}

static int tell_damage(const check *c) {
  if (!c->quiet) {
    print_places(c);
    printf("%s: DAMAGED: %s, %s; %s verified\n", c->path, tool_count(c->damaged, "damaged place"),
           tool_count(c->damaged_bytes, "byte"), tool_count(c->transactions, "transaction"));
    printf("Opening refuses it; 'kvstore repair %s' writes what verifies to a new file.\n",
           c->path);
  }
  return TOOL_FAILED;
}

/* The second look: what opening says. */
static int open_file(const check *c) {
  kv *db;
  kv_stats stats;
  kv_error err;
  if (!tool_open_readonly(c->path, &db)) return TOOL_FAILED;
  int rc = kv_get_stats(db, &stats, &err);
  if (rc != KV_OK) {
    (void)kv_close(db, NULL);
    return tool_fail("%s", err.text);
  }
  bool torn = stats.torn_bytes > 0 && c->torn > 0;
  if (!c->quiet) {
    if (torn) print_places(c);
    printf("%s: %s: %s verified, %s, %s%s\n", c->path, torn ? "torn tail" : "ok",
           tool_count(stats.replay_transactions, "transaction"), tool_count(stats.keys, "key"),
           tool_count(stats.log_bytes, "byte"),
           c->original ? "; a log without a header and checksums" : "");
    if (torn) {
      printf("The last %s were not flushed before a crash; the next writer saves them as\n"
             "'%s-torn-%" PRIu64 "' and cuts them off.\n",
             tool_count(stats.torn_bytes, "byte"), c->path, stats.log_bytes);
      if (c->transactions > stats.replay_transactions) {
        printf("Behind the torn place %s more would verify, not known to be durable;\n"
               "'kvstore repair %s' keeps what verifies.\n",
               tool_count(c->transactions - stats.replay_transactions, "transaction"), c->path);
      }
    }
  }
  (void)kv_close(db, NULL);
  return torn ? TOOL_FOUND : TOOL_OK;
}

int tool_check(int argc, char **argv) {
  check c = {.limit = 20, .open_end = true};
  int code = TOOL_FAILED, option;
  while ((option = tool_option(&about, argc, argv, &code)) >= 0) {
    if (option == 'q') c.quiet = true;
    if (option == 'n' && !tool_parse_number(optarg, &c.limit)) {
      return tool_misused(&about, "--limit takes a number, not '%s'", optarg);
    }
  }
  if (option == TOOL_STOP) return code;
  if (!tool_operands(&about, argc, argv, 1, 1)) return TOOL_FAILED;
  c.path = argv[optind];
  kv_error err;
  if (inspect_file(&c, &err) != KV_OK) {
    code = tool_fail("%s", err.text);
  } else {
    code = c.damaged > 0 ? tell_damage(&c) : open_file(&c);
  }
  free(c.places);
  return code;
}
