/*
** tool_stat.c - kvstore stat FILE: what is in a log, and how much of it is live.
**
** Opens read-only and walks the nodes once. The bytes that are live are those of the lines a new log
** with the same content would have, without its header and COMMIT lines.
*/
#include "format.h"
#include "inspect.h"
#include "show.h"
#include "tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DEPTHS 8 /* told one by one; deeper ones together */
#define TOP_MAX 100
#define KEY_COLUMNS 60

static const struct option options[] = {
    {"top", required_argument, NULL, 'n'}, {"help", no_argument, NULL, 'h'}, {0}};

static const tool_about about = {
    .name = "stat",
    .letters = "n:",
    .options = options,
    .usage =
        "usage: kvstore stat [--top N] FILE\n"
        "\n"
        "Tell what is in a log: keys, values by type, bytes that are live, transactions, nodes\n"
        "by depth, the biggest values and the widest folders. Changes nothing.\n"
        "\n"
        "  -n, --top N  how many of the biggest and widest (5, at most 100)\n"
        "\n"
        "Exit code: 0, or 2 if the log cannot be opened.\n"};

/* The largest so far, in falling order. */
typedef struct top {
  size_t most, count;
  struct {
    char *path;
    size_t path_size;
    uint64_t size;
    kv_type type;
  } items[TOP_MAX];
} top;

typedef struct tally {
  uint64_t values[5]; /* by kv_type */
  uint64_t depths[DEPTHS + 1];
  uint64_t depth_max;
  uint64_t key_bytes, value_bytes, line_bytes;
  top biggest, widest;
} tally;

static void top_add(top *t, const char *path, size_t path_size, uint64_t size, kv_type type) {
  if (t->most == 0 || (t->count == t->most && size <= t->items[t->count - 1].size)) return;
  size_t at = t->count;
  if (t->count == t->most) {
    free(t->items[--at].path);
  } else {
    t->count++;
  }
  for (; at > 0 && t->items[at - 1].size < size; at--) t->items[at] = t->items[at - 1];
  t->items[at].path = tool_realloc(NULL, path_size);
  memcpy(t->items[at].path, path, path_size);
  t->items[at].path_size = path_size;
  t->items[at].size = size;
  t->items[at].type = type;
}

static void top_free(top *t) {
  for (size_t i = 0; i < t->count; i++) free(t->items[i].path);
}

/* --- counting ----------------------------------------------------------------------------------- */

static uint64_t escaped_size(const char *data, size_t size) {
  uint64_t total = size;
  for (size_t i = 0; i < size; i++) {
    char c = data[i];
    total += c == '\\' || c == '\t' || c == '\n' || c == '\r' || c == '\0';
  }
  return total;
}

/* The bytes of a WRITE line, and those of the value alone. */
static uint64_t line_size(const kv_node *node, const kv_value *value, uint64_t *value_size) {
  static const uint64_t tails[] = {[KV_NULL] = 5, [KV_INTEGER] = 8, [KV_REAL] = 5, [KV_BLOB] = 5};
  char number[32];
  uint64_t data = 0;
  *value_size = 0;
  if (value->type == KV_TEXT || value->type == KV_BLOB) {
    *value_size = value->size;
    data = escaped_size(value->data, value->size);
  } else if (value->type != KV_NULL) {
    *value_size = 8;
    if (value->type == KV_REAL) show_real(number, value->real);
    if (value->type == KV_INTEGER) snprintf(number, sizeof number, "%" PRId64, value->integer);
    data = strlen(number);
  }
  uint64_t tail = value->type == KV_TEXT ? 0 : tails[value->type];
  return sizeof "WRITE\t" - 1 + escaped_size(node->path, node->size) + 1 + data + tail + 1;
}

static int count_nodes(kv *db, tally *t, uint64_t nodes, kv_error *err) {
  kv_walk *w;
  kv_node node;
  kv_value value;
  progress bar;
  uint64_t done = 0, children, descendants;
  int rc = kv_walk_open(db, "", 0, SIZE_MAX, &w, err);
  if (rc != KV_OK) return rc;
  progress_begin(&bar, "counting");
  for (; kv_walk_node(w, &node); rc = kv_walk_next(w)) {
    t->depths[node.depth <= DEPTHS ? node.depth - 1 : DEPTHS]++;
    if (node.depth > t->depth_max) t->depth_max = node.depth;
    kv_walk_counts(w, &children, &descendants);
    if (children > 0) top_add(&t->widest, node.path, node.size, children, KV_NULL);
    if (node.has_value) {
      uint64_t size;
      kv_walk_value(w, &value);
      t->values[value.type]++;
      t->key_bytes += node.size;
      t->line_bytes += line_size(&node, &value, &size);
      t->value_bytes += size;
      if (size > 0) top_add(&t->biggest, node.path, node.size, size, value.type);
    }
    if (done++ % 1024 == 0) progress_show(&bar, done, nodes);
  }
  progress_end(&bar);
  kv_walk_close(w);
  return rc == KV_OK ? KV_OK : kv_error_set(err, rc, "out of memory");
}

/* --- telling ------------------------------------------------------------------------------------ */

static void tell(const char *name, const char *value) {
  printf("%-16s %s\n", name, value);
}

static void tell_file(const kv_stats *stats, const inspect_facts *facts, const tally *t) {
  tell("file", stats->path);
  if (facts->original) {
    tell("format", "original, without a header");
  } else {
    tell("id", facts->id);
    tell("base seq", tool_number(facts->base_seq));
  }
  tell("newest seq", tool_number(stats->seq));
  tell("transactions", tool_number(stats->replay_transactions));
  tell("file bytes", tool_number(facts->size));
  tell("log bytes", tool_number(stats->log_bytes));
  double part = stats->log_bytes > 0 ? (double)t->line_bytes / (double)stats->log_bytes * 100 : 0;
  printf("%-16s %s, %.0f%% of the log\n", "live bytes", tool_number(t->line_bytes), part);
  tell("torn tail", stats->torn_bytes > 0 ? tool_count(stats->torn_bytes, "byte") : "none");
  printf("%-16s %.1f ms\n", "opened in", (double)stats->replay_ns / 1e6);
  tell("memory bytes", tool_number(stats->memory_bytes));
}

static void tell_content(const kv_stats *stats, const tally *t) {
  printf("%-16s %s", "keys", tool_number(stats->keys));
  const char *lead = ": ";
  for (int type = KV_BLOB; type >= KV_NULL; type--) {
    if (t->values[type] == 0) continue;
    printf("%s%s %s", lead, tool_number(t->values[type]), show_type((kv_type)type));
    lead = ", ";
  }
  putchar('\n');
  tell("key bytes", tool_number(t->key_bytes));
  tell("value bytes", tool_number(t->value_bytes));
  printf("%-16s %s, at most %s deep\n", "nodes", tool_number(stats->nodes),
         tool_number(t->depth_max));
  for (int depth = 0; depth <= DEPTHS; depth++) {
    if (t->depths[depth] == 0) continue;
    char name[32];
    (void)snprintf(name, sizeof name, depth < DEPTHS ? "  depth %d" : "  deeper", depth + 1);
    tell(name, tool_number(t->depths[depth]));
  }
}

static void tell_top(const char *name, const top *t, bool types) {
  for (size_t i = 0; i < t->count; i++) {
    printf("%-16s ", i == 0 ? name : "");
    (void)show_text(stdout, t->items[i].path, t->items[i].path_size, KEY_COLUMNS);
    const char *size = tool_number(t->items[i].size);
    if (types) {
      printf(": %s bytes, %s\n", size, show_type(t->items[i].type));
    } else {
      printf(": %s %s\n", size, t->items[i].size == 1 ? "child" : "children");
    }
  }
}

/* What the header says. */
static int read_facts(const char *path, inspect_facts *facts, kv_error *err) {
  inspection *log;
  int rc = inspect_open(path, &log, err);
  if (rc != KV_OK) return rc;
  inspect_tell(log, facts);
  inspect_close(log);
  return KV_OK;
}

int tool_stat(int argc, char **argv) {
  static tally t;
  uint64_t most = 5;
  int code = TOOL_FAILED, option;
  while ((option = tool_option(&about, argc, argv, &code)) >= 0) {
    if (option == 'n' && (!tool_parse_number(optarg, &most) || most > TOP_MAX)) {
      return tool_misused(&about, "--top takes a number up to %d, not '%s'", TOP_MAX, optarg);
    }
  }
  if (option == TOOL_STOP) return code;
  if (!tool_operands(&about, argc, argv, 1, 1)) return TOOL_FAILED;
  t.biggest.most = t.widest.most = (size_t)most;
  kv *db;
  kv_stats stats;
  kv_error err;
  inspect_facts facts;
  if (!tool_open_readonly(argv[optind], &db)) return TOOL_FAILED;
  int rc = kv_get_stats(db, &stats, &err);
  if (rc == KV_OK) rc = read_facts(argv[optind], &facts, &err);
  if (rc == KV_OK) rc = count_nodes(db, &t, stats.nodes, &err);
  if (rc != KV_OK) {
    code = tool_fail("%s", err.text);
  } else {
    tell_file(&stats, &facts, &t);
    tell_content(&stats, &t);
    tell_top("biggest values", &t.biggest, true);
    tell_top("widest folders", &t.widest, false);
    code = TOOL_OK;
  }
  top_free(&t.biggest);
  top_free(&t.widest);
  (void)kv_close(db, NULL);
  return code;
}
