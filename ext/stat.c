/*
** stat.c - kvstore_stat: a row for every store that is open in this process.
**
** The rows are taken when the scan begins. Durations are in microseconds, sizes in bytes, counts
** since the store was opened. `visited` is this connection's own: how many keys its scans have looked
** at, by which a test can tell what a plan costs; counting for all would cost every get a shared
** cache line.
*/
#include "stat.h"

#include "session.h"

#include <stdbool.h>
#include <string.h>

enum {
  STAT_FILE,
  STAT_READONLY,
  STAT_KEYS,
  STAT_NODES,
  STAT_MEMORY_BYTES,
  STAT_LOG_BYTES,
  STAT_COMMITS,
  STAT_FLUSHES,
  STAT_COMMITS_PER_FLUSH,
  STAT_WRITTEN_BYTES,
  STAT_FLUSH_P50_US,
  STAT_FLUSH_P99_US,
  STAT_FLUSH_MAX_US,
  STAT_REPLAY_TRANSACTIONS,
  STAT_REPLAY_US,
  STAT_SEQ,
  STAT_DURABLE_SEQ,
  STAT_READERS,
  STAT_READER_LAG,
  STAT_LIVE_BYTES,
  STAT_CHECKPOINTS,
  STAT_LAST_CHECKPOINT,
  STAT_VISITED,
  STAT_MEMORY_USED
};

static const char declaration[] =
    "CREATE TABLE x(file TEXT, readonly INTEGER, keys INTEGER, nodes INTEGER, "
    "memory_bytes INTEGER, log_bytes INTEGER, commits INTEGER, flushes INTEGER, "
    "commits_per_flush REAL, written_bytes INTEGER, flush_p50_us REAL, flush_p99_us REAL, "
    "flush_max_us REAL, replay_transactions INTEGER, replay_us REAL, seq INTEGER, "
    "durable_seq INTEGER, readers INTEGER, reader_lag INTEGER, live_bytes INTEGER, "
    "checkpoints INTEGER, last_checkpoint INTEGER, visited INTEGER, "
    "memory_used INTEGER)";

typedef struct stat_table {
  sqlite3_vtab base;
  session *session;
} stat_table;

typedef struct stat_cursor {
  sqlite3_vtab_cursor base;
  kv_stats *rows; /* sqlite3_malloc'ed; each path is a copy of its own */
  int count, room, at;
} stat_cursor;

static int stat_connect(sqlite3 *connection, void *context, int argc, const char *const *argv,
                        sqlite3_vtab **out, char **message) {
  (void)argc, (void)argv, (void)message;
  int rc = sqlite3_declare_vtab(connection, declaration);
  if (rc != SQLITE_OK) return rc;
  stat_table *t = sqlite3_malloc64(sizeof *t);
  if (t == NULL) return SQLITE_NOMEM;
  *t = (stat_table){.session = context};
  session_hold(t->session);
  *out = &t->base;
  return SQLITE_OK;
}

static int stat_disconnect(sqlite3_vtab *base) {
  session_drop(((stat_table *)base)->session);
  sqlite3_free(base);
  return SQLITE_OK;
}

static int stat_best_index(sqlite3_vtab *base, sqlite3_index_info *info) {
  (void)base;
  info->estimatedCost = 100;
  info->estimatedRows = 4;
  return SQLITE_OK;
}

static int stat_open(sqlite3_vtab *base, sqlite3_vtab_cursor **out) {
  (void)base;
  stat_cursor *c = sqlite3_malloc64(sizeof *c);
  if (c == NULL) return SQLITE_NOMEM;
  memset(c, 0, sizeof *c);
  *out = &c->base;
  return SQLITE_OK;
}

static void forget_rows(stat_cursor *c) {
  for (int i = 0; i < c->count; i++) sqlite3_free((void *)(uintptr_t)c->rows[i].path);
  c->count = c->at = 0;
}

static int stat_close(sqlite3_vtab_cursor *base) {
  stat_cursor *c = (stat_cursor *)base;
  forget_rows(c);
  sqlite3_free(c->rows);
  sqlite3_free(c);
  return SQLITE_OK;
}

static int collect(void *context, const kv_stats *stats) {
  stat_cursor *c = context;
  if (c->count == c->room) {
    int room = c->room == 0 ? 8 : c->room * 2;
    kv_stats *rows = sqlite3_realloc64(c->rows, (sqlite3_uint64)room * sizeof *rows);
    if (rows == NULL) return KV_ENOMEM;
    c->rows = rows;
    c->room = room;
  }
  kv_stats row = *stats;
  row.path = sqlite3_mprintf("%s", stats->path != NULL ? stats->path : ":memory:");
  if (row.path == NULL) return KV_ENOMEM;
  c->rows[c->count++] = row;
  return KV_OK;
}

static int stat_filter(sqlite3_vtab_cursor *base, int plan, const char *words, int argc,
                       sqlite3_value **argv) {
  (void)plan, (void)words, (void)argc, (void)argv;
  stat_cursor *c = (stat_cursor *)base;
  forget_rows(c);
  return face_code(kv_each_store(collect, c));
}

static int stat_next(sqlite3_vtab_cursor *base) {
  ((stat_cursor *)base)->at++;
  return SQLITE_OK;
}

static int stat_eof(sqlite3_vtab_cursor *base) {
  const stat_cursor *c = (const stat_cursor *)base;
  return c->at >= c->count;
}

static int stat_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *out) {
  *out = ((stat_cursor *)base)->at + 1;
  return SQLITE_OK;
}

static void result_count(sqlite3_context *context, uint64_t count) {
  sqlite3_result_int64(context, (sqlite3_int64)count);
}

static void result_us(sqlite3_context *context, uint64_t ns) {
  sqlite3_result_double(context, (double)ns / 1000);
}

/* The links of the connection on one store: one for writing, one for reading at most. */
static uint64_t count_visited(const session *s, const void *store) {
  uint64_t visited = 0;
  for (const session_link *link = s->links; link != NULL; link = link->next) {
    if (kv_store_of(link->db) == store) visited += link->visited;
  }
  return visited;
}

static int stat_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column) {
  const stat_cursor *c = (const stat_cursor *)base;
  const kv_stats *row = &c->rows[c->at];
  switch (column) {
  case STAT_FILE:
    sqlite3_result_text(context, row->path, -1, SQLITE_TRANSIENT);
    break;
  case STAT_READONLY:
    sqlite3_result_int(context, row->readonly);
    break;
  case STAT_KEYS:
    result_count(context, row->keys);
    break;
  case STAT_NODES:
    result_count(context, row->nodes);
    break;
  case STAT_MEMORY_BYTES:
    result_count(context, row->memory_bytes);
    break;
  case STAT_LOG_BYTES:
    result_count(context, row->log_bytes);
    break;
  case STAT_COMMITS:
    result_count(context, row->commits);
    break;
  case STAT_FLUSHES:
    result_count(context, row->flushes);
    break;
  case STAT_COMMITS_PER_FLUSH:
    if (row->flushes > 0) {
      sqlite3_result_double(context, (double)row->commits / (double)row->flushes);
    }
    break;
  case STAT_WRITTEN_BYTES:
    result_count(context, row->written_bytes);
    break;
  case STAT_FLUSH_P50_US:
    result_us(context, row->flush_p50_ns);
    break;
  case STAT_FLUSH_P99_US:
    result_us(context, row->flush_p99_ns);
    break;
  case STAT_FLUSH_MAX_US:
    result_us(context, row->flush_max_ns);
    break;
  case STAT_REPLAY_TRANSACTIONS:
    result_count(context, row->replay_transactions);
    break;
  case STAT_REPLAY_US:
    result_us(context, row->replay_ns);
    break;
  case STAT_SEQ:
    result_count(context, row->seq);
    break;
  case STAT_DURABLE_SEQ:
    result_count(context, row->durable_seq);
    break;
  case STAT_READERS:
    result_count(context, row->readers);
    break;
  case STAT_READER_LAG:
    result_count(context, row->reader_lag);
    break;
  case STAT_LIVE_BYTES:
    result_count(context, row->live_bytes);
    break;
  case STAT_CHECKPOINTS:
    result_count(context, row->checkpoints);
    break;
  case STAT_LAST_CHECKPOINT: /* NULL as long as there was none */
    if (row->checkpoint_time > 0) result_count(context, row->checkpoint_time);
    break;
  case STAT_VISITED:
    result_count(context, count_visited(((stat_table *)c->base.pVtab)->session, row->store));
    break;
  default:
    result_count(context, row->memory_used);
    break;
  }
  return SQLITE_OK;
}

const sqlite3_module stat_module = {
    .xConnect = stat_connect,
    .xBestIndex = stat_best_index,
    .xDisconnect = stat_disconnect,
    .xOpen = stat_open,
    .xClose = stat_close,
    .xFilter = stat_filter,
    .xNext = stat_next,
    .xEof = stat_eof,
    .xColumn = stat_column,
    .xRowid = stat_rowid,
};
