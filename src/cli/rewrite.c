/* rewrite.c - a checkpoint in the background. See rewrite.h. */
#include "rewrite.h"

#include "logger.h"

#include <time.h>

/* The server's end does not wait for a checkpoint that waits for others. */
static bool is_ending(void *context) {
  return ((server *)context)->is_ending;
}

static void work(uv_work_t *request) {
  server *s = request->data;
  s->rewrite.rc = kv_checkpoint(s->rewrite.db, &s->rewrite.err);
}

static void after_work(uv_work_t *request, int status) {
  server *s = request->data;
  (void)status; /* nobody cancels it */
  uint64_t now_s = (uint64_t)time(NULL);
  s->rewrite.is_failed = s->rewrite.rc != KV_OK;
  s->rewrite.took_s = (int64_t)(now_s - s->rewrite.began_s);
  if (s->rewrite.rc == KV_OK) {
    s->rewritten_s = now_s;
    logger_info("the log was rewritten");
  } else {
    logger_warn("rewriting the log failed: %s", s->rewrite.err.text);
  }
  (void)kv_close(s->rewrite.db, NULL);
  s->rewrite.db = NULL;
}

int rewrite_start(server *s, kv_error *err) {
  if (s->flush_db == NULL) {
    *err = (kv_error){.code = KV_EMISUSE, .text = "there is no log to rewrite"};
    return KV_EMISUSE;
  }
  if (s->rewrite.db != NULL) {
    *err = (kv_error){.code = KV_EBUSY,
                      .text = "Background append only file rewriting already in progress"};
    return KV_EBUSY;
  }
  kv_options options = {.path = s->options.file,
                        .settings = s->options.settings,
                        .waiting = {.is_interrupted = is_ending, .context = s}};
  int rc = kv_open(&options, &s->rewrite.db, NULL, err);
  if (rc != KV_OK) return rc;
  s->rewrite.request.data = s;
  s->rewrite.began_s = (uint64_t)time(NULL);
  (void)uv_queue_work(&s->loop, &s->rewrite.request, work, after_work);
  return KV_OK;
}

void rewrite_start_scheduled(server *s) {
  kv_error err;
  if (!s->rewrite.is_scheduled || s->rewrite.db != NULL) return;
  s->rewrite.is_scheduled = false;
  if (rewrite_start(s, &err) != KV_OK) logger_warn("rewriting the log failed: %s", err.text);
}
