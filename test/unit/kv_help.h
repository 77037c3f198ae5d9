/*
** kv_help.h - short words for tests of the engine through kv.h.
**
** Each stops the program where going on makes no sense, so that tests read as what they prove.
*/
#ifndef KV_HELP_H
#define KV_HELP_H

#include "kv.h"
#include "unit.h"

#include <stdlib.h>

#define BUSY_MS 60000u

static kv_error help_err; /* of the last call below that failed */

#define MUST(call)                                                                                 \
  do {                                                                                             \
    if ((call) != KV_OK) {                                                                         \
      printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, help_err.text);                         \
      fflush(stdout);                                                                              \
      abort();                                                                                     \
    }                                                                                              \
  } while (0)

static inline kv_options help_options(const char *path, kv_sync synchronous, unsigned group_size,
                                      unsigned timeout_ms) {
  return (kv_options){.path = path,
                      .settings = {.synchronous = synchronous,
                                   .group_size = group_size,
                                   .group_timeout_ms = timeout_ms}};
}

static inline kv *help_open(const char *path, kv_sync synchronous, unsigned group_size,
                            unsigned timeout_ms) {
  kv_options options = help_options(path, synchronous, group_size, timeout_ms);
  kv *db = NULL;
  MUST(kv_open(&options, &db, NULL, &help_err));
  return db;
}

/* FULL, each commit flushed by itself. */
static inline kv *help_open_full(const char *path) {
  return help_open(path, KV_SYNC_FULL, 1, 10);
}

static inline int help_put(kv *db, const char *key, const char *text) {
  kv_value value = {.type = KV_TEXT};
  value.data = text;
  value.size = strlen(text);
  return kv_put(db, key, strlen(key), &value, NULL, &help_err);
}

static inline int help_put_number(kv *db, const char *key, int64_t number) {
  kv_value value = {.type = KV_INTEGER, .integer = number};
  return kv_put(db, key, strlen(key), &value, NULL, &help_err);
}

static inline int help_delete(kv *db, const char *key) {
  return kv_delete(db, key, strlen(key), NULL, &help_err);
}

/* One transaction with one text. */
static inline int help_commit_put(kv *db, const char *key, const char *text) {
  int rc = kv_begin(db, BUSY_MS, &help_err);
  if (rc != KV_OK) return rc;
  rc = help_put(db, key, text);
  if (rc != KV_OK) {
    kv_rollback(db);
    return rc;
  }
  return kv_commit(db, 0, &help_err);
}

/* What the handle sees at a keypath, in a buffer of its own: the text, "#" and an integer, "-". */
static inline const char *help_get(kv *db, const char *key) {
  static char text[256];
  kv_cursor *c = NULL;
  MUST(kv_cursor_open(db, &c, &help_err));
  kv_cursor_find(c, key, strlen(key));
  (void)strcpy(text, "-");
  if (kv_cursor_valid(c)) {
    kv_value value;
    kv_cursor_value(c, &value);
    if (value.type == KV_INTEGER) {
      (void)snprintf(text, sizeof text, "#%lld", (long long)value.integer);
    } else {
      size_t size = value.size < sizeof text - 1 ? value.size : sizeof text - 1;
      memcpy(text, value.data, size);
      text[size] = '\0';
    }
  }
  kv_cursor_close(c);
  return text;
}

/* The number at a keypath, -1 if there is none. */
static inline int64_t help_number(kv *db, const char *key) {
  const char *text = help_get(db, key);
  return text[0] == '#' ? strtoll(text + 1, NULL, 10) : -1;
}

/* Everything the handle sees, as "key=value key=value", in a buffer of its own. */
static inline const char *help_all(kv *db) {
  static char all[4096];
  kv_cursor *c = NULL;
  size_t at = 0;
  MUST(kv_cursor_open(db, &c, &help_err));
  all[0] = '\0';
  for (int rc = kv_cursor_first(c); kv_cursor_valid(c); rc = kv_cursor_next(c)) {
    kv_value value;
    if (rc != KV_OK) abort();
    kv_cursor_value(c, &value);
    size_t size;
    const char *between = at > 0 ? " " : "", *key = kv_cursor_key(c, &size);
    int wrote = value.type == KV_INTEGER ? snprintf(all + at, sizeof all - at, "%s%s=#%lld",
                                                    between, key, (long long)value.integer)
                                         : snprintf(all + at, sizeof all - at, "%s%s=%.*s", between,
                                                    key, (int)value.size, value.data);
    at += (size_t)wrote;
    if (at >= sizeof all) abort();
  }
  kv_cursor_close(c);
  return all;
}

static inline kv_stats help_stats(kv *db) {
  kv_stats stats;
  MUST(kv_get_stats(db, &stats, &help_err));
  return stats;
}

#endif
