/*
** tool_compact.c - kvstore compact FILE: rewrite a log to what is live.
**
** The engine's checkpoint does the work: a new file with the state of now, given the log's name when
** it is complete, so that a crash leaves the one or the other. Whoever writes meanwhile goes on.
*/
#include "tool.h"

static const tool_about about = {
    .name = "compact",
    .letters = "",
    .usage = "usage: kvstore compact FILE\n"
             "\n"
             "Rewrite a log to what is live: its keys and values, without what they were before.\n"
             "Others may read and write meanwhile.\n"
             "\n"
             "Exit code: 0, or 2 if it could not be done; then the log is as it was.\n"};

static int compact(kv *db, const char *path, kv_error *err) {
  kv_stats before, after;
  uint64_t start_ns = tool_now_ns();
  int rc = kv_get_stats(db, &before, err);
  if (rc == KV_OK) rc = kv_checkpoint(db, err);
  if (rc == KV_OK) rc = kv_get_stats(db, &after, err);
  if (rc != KV_OK) return rc;
  double part = 0;
  if (before.log_bytes > 0) part = (double)after.log_bytes / (double)before.log_bytes * 100;
  printf("%s: %s before, %s after (%.0f%%), %s, %.0f ms\n", path,
         tool_count(before.log_bytes, "byte"), tool_count(after.log_bytes, "byte"), part,
         tool_count(after.keys, "key"), (double)(tool_now_ns() - start_ns) / 1e6);
  return KV_OK;
}

int tool_compact(int argc, char **argv) {
  int code = TOOL_FAILED, option;
  while ((option = tool_option(&about, argc, argv, &code)) >= 0) {
  }
  if (option == TOOL_STOP) return code;
  if (!tool_operands(&about, argc, argv, 1, 1)) return TOOL_FAILED;
  /* Read-only first: a file that is not there is not to be created. */
  kv_options open = {.path = argv[optind], .readonly = true};
  kv *db;
  kv_error err, notice = {.code = KV_OK};
  if (!tool_open_readonly(open.path, &db)) return TOOL_FAILED;
  (void)kv_close(db, NULL);
  open.readonly = false;
  if (kv_open(&open, &db, &notice, &err) != KV_OK) return tool_fail("%s", err.text);
  if (notice.code != KV_OK) (void)tool_fail("%s", notice.text);
  code = compact(db, open.path, &err) == KV_OK ? TOOL_OK : tool_fail("%s", err.text);
  if (kv_close(db, &err) != KV_OK && code == TOOL_OK) code = tool_fail("%s", err.text);
  return code;
}
