/* turn.c - waiting for the writer's turn. See turn.h. */
#include "turn.h"

static void work(uv_work_t *request) {
  server *s = request->data;
  (void)kv_take_turn(s->db, s->options.busy_timeout_ms,
                     NULL); /* who retries meets the error, too */
}

static void after_work(uv_work_t *request, int status) {
  server *s = request->data;
  (void)status; /* nobody cancels it */
  s->turn.is_awaited = false;
  turn_retry(s);
}

void turn_await(server *s) {
  if (s->turn.is_awaited || s->is_ending) return;
  s->turn.request.data = s;
  s->turn.is_awaited = uv_queue_work(&s->loop, &s->turn.request, work, after_work) == 0;
}

bool turn_is_awaited(const server *s) {
  return s->turn.is_awaited;
}

/* The first in the queue tries; if it gets the turn the next one does. */
void turn_retry(server *s) {
  conn *c;
  while ((c = s->lists[LIST_BLOCKED].first) != NULL) {
    conn_resume(c);
    if (s->lists[LIST_BLOCKED].first == c) return;
  }
}
