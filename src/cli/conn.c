/* conn.c - a client's connection. See conn.h. */
#include "cmd_multi.h"
#include "command.h"
#include "logger.h"
#include "reply.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_ROOM_MIN ((size_t)16 << 10)
#define DISCARDS_MAX 16 /* reads, before a connection is closed */

/* --- lists ------------------------------------------------------------------------------------ */

void conn_list_add(conn_list *lists, conn_list_id which, conn *c) {
  conn_list *list = &lists[which];
  conn_link *link = &c->links[which];
  if (link->is_in) return;
  *link = (conn_link){.previous = list->last, .is_in = true};
  if (list->last != NULL) {
    list->last->links[which].next = c;
  } else {
    list->first = c;
  }
  list->last = c;
  list->size++;
}

void conn_list_remove(conn_list *lists, conn_list_id which, conn *c) {
  conn_list *list = &lists[which];
  conn_link *link = &c->links[which];
  if (!link->is_in) return;
  if (link->previous != NULL) {
    link->previous->links[which].next = link->next;
  } else {
    list->first = link->next;
  }
  if (link->next != NULL) {
    link->next->links[which].previous = link->previous;
  } else {
    list->last = link->previous;
  }
  *link = (conn_link){.is_in = false};
  list->size--;
}

/* --- coming and going ------------------------------------------------------------------------- */

static void on_poll(uv_poll_t *poll, int status, int events);

/* Watch for these events; libuv tells of nothing while there are none. */
static void watch_for(conn *c, int events) {
  if (c->events == events || c->is_closed) return;
  c->events = events;
  if (events == 0) {
    uv_poll_stop(&c->poll);
  } else if (uv_poll_start(&c->poll, events, on_poll) != 0) {
    c->is_closing = true;
  }
}

static void on_closed(uv_handle_t *handle) {
  conn *c = handle->data;
  free(c);
}

/* Keep the server's sum of all buffers, and what an idle connection need not have is given back. */
static void count_buffers(conn *c) {
  if (c->in.size == 0 && c->in.room > CONN_KEEP_MAX) bytes_free(&c->in);
  if (c->out.size == 0 && c->out.room > CONN_KEEP_MAX) bytes_free(&c->out);
  size_t now = c->in.room + c->out.room + multi_size(c);
  c->server->buffers += now - c->buffers;
  c->buffers = now;
}

void conn_open(server *s, int fd, const char *peer) {
  conn *c = calloc(1, sizeof *c);
  if (c == NULL || uv_poll_init(&s->loop, &c->poll, fd) != 0) {
    free(c);
    close(fd);
    return;
  }
  c->poll.data = c;
  c->server = s;
  c->fd = fd;
  c->id = ++s->next_id;
  c->is_authenticated = s->options.password == NULL;
  c->last_command = "NULL";
  c->protocol = 2;
  c->created_ms = c->active_ms = c->progress_ms = uv_now(&s->loop);
  c->out.limit = CONN_OUTPUT_MAX;
  c->in.limit = s->limits.request_max + SERVER_READ_SIZE;
  snprintf(c->peer, sizeof c->peer, "%s", peer);
  conn_list_add(s->lists, LIST_ALL, c);
  s->counters.connections++;
  watch_for(c, UV_READABLE);
}

void conn_close(conn *c) {
  if (c->is_closed) return;
  server *s = c->server;
  c->is_closed = true;
  for (unsigned i = 0; i < LIST_COUNT; i++) conn_list_remove(s->lists, (conn_list_id)i, c);
  multi_free(c);
  resp_free(&c->parser);
  bytes_free(&c->in);
  bytes_free(&c->out);
  c->start = c->ready = 0;
  count_buffers(c);
  free(c->name);
  free(c->library);
  free(c->library_version);
  c->name = c->library = c->library_version = NULL;
  uv_close((uv_handle_t *)&c->poll, on_closed); /* stops polling */
  close(c->fd);
}

/* Not at once: the loop may be about to look at it. */
void conn_kill(conn *c) {
  server *s = c->server;
  c->is_killed = c->is_closing = true;
  c->blocked = WAIT_NOTHING;
  c->hold_count = 0;
  c->out.size = c->start = c->ready = 0;
  c->replies = 0;
  conn_list_remove(s->lists, LIST_HELD, c);
  conn_list_remove(s->lists, LIST_BLOCKED, c);
  conn_list_remove(s->lists, LIST_MONITORS, c);
  conn_list_add(s->lists, LIST_TOUCHED, c);
}

/* --- output ----------------------------------------------------------------------------------- */

/* Put behind the replies of a batch what they depend on. */
static void finish_batch(conn *c) {
  server *s = c->server;
  size_t end = c->out.size;
  if (c->hold_count == 0 && c->depends_seq <= s->published) {
    if (end > c->ready) s->has_served = true;
    c->ready = end;
    c->replies = 0;
  } else if (end > (c->hold_count > 0 ? c->holds[c->hold_count - 1].end : c->ready)) {
    conn_hold hold = {.end = end, .seq = c->depends_seq, .replies = c->replies};
    if (c->hold_count < 2) {
      c->hold_count++;
    } else {
      hold.replies += c->holds[1].replies;
    }
    c->holds[c->hold_count - 1] = hold;
    c->replies = 0;
    conn_list_add(s->lists, LIST_HELD, c);
  }
  if (c->ready > c->start || c->is_closing || bytes_failed(&c->out)) {
    conn_list_add(s->lists, LIST_TOUCHED, c);
  }
  count_buffers(c);
  if (s->buffers > SERVER_BUFFERS_MAX && c->buffers > CONN_OUTPUT_PAUSE) {
    logger_warn("the buffers of all clients take %zu bytes: closing %s, which has %zu of them",
                s->buffers, c->peer, c->buffers);
    c->out.failed = true;
    conn_list_add(s->lists, LIST_TOUCHED, c);
  }
}

void conn_push(conn *c) {
  finish_batch(c);
}

void conn_publish(conn *c, uint64_t seq) {
  while (c->hold_count > 0 && c->holds[0].seq <= seq) {
    c->ready = c->holds[0].end;
    c->holds[0] = c->holds[1];
    c->hold_count--;
  }
  if (c->ready > c->start) conn_list_add(c->server->lists, LIST_TOUCHED, c);
  if (c->hold_count > 0) return;
  conn_list_remove(c->server->lists, LIST_HELD, c);
  if (c->blocked == WAIT_PUBLISHED) conn_resume(c);
}

void conn_break(conn *c, const char *why) {
  c->out.size = c->ready;
  c->hold_count = 0;
  conn_list_remove(c->server->lists, LIST_HELD, c);
  reply_error(&c->out, "MISCONF kvstore: %s", why);
  c->ready = c->out.size;
  c->is_closing = true;
  conn_list_add(c->server->lists, LIST_TOUCHED, c);
}

void conn_refuse(conn *c, uint64_t kept_seq, const char *why) {
  unsigned kept = 0;
  while (kept < c->hold_count && c->holds[kept].seq <= kept_seq) kept++;
  bool depends = c->depends_seq > kept_seq;
  if (depends) c->depends_seq = kept_seq;
  size_t replies = depends ? c->replies : 0;
  for (unsigned i = kept; i < c->hold_count; i++) replies += c->holds[i].replies;
  size_t told = kept > 0 ? c->holds[kept - 1].end : c->ready;
  if (kept == c->hold_count && (!depends || c->out.size == told)) return;
  c->out.size = told;
  c->hold_count = kept;
  c->replies = 1;
  reply_error(&c->out, "MISCONF kvstore: %s", why);
  if (replies != 1 || c->links[LIST_MONITORS].is_in) c->is_closing = true;
  multi_refuse(c);
  if (kept > 0) {
    c->holds[kept - 1].end = c->out.size;
  } else {
    c->ready = c->out.size;
    c->replies = 0;
  }
  conn_list_add(c->server->lists, LIST_TOUCHED, c);
}

static size_t pending_output(const conn *c) {
  return c->out.size - c->start;
}

bool conn_is_stalled(const conn *c, uint64_t since_ms) {
  return c->ready > c->start && c->progress_ms < since_ms;
}

/* Forget what has been sent. */
static void drop_sent(conn *c) {
  size_t sent = c->start;
  if (sent < c->out.size) {
    if (sent < c->out.size / 2) return;
    memmove(c->out.data, c->out.data + sent, c->out.size - sent);
  }
  c->out.size -= sent;
  c->ready -= sent;
  for (unsigned i = 0; i < c->hold_count; i++) c->holds[i].end -= sent;
  c->start = 0;
}

static void set_events(conn *c, bool is_full) {
  bool reads = !c->is_closing && !c->is_paused && c->blocked == WAIT_NOTHING;
  watch_for(c, (reads ? UV_READABLE : 0) | (is_full ? UV_WRITABLE : 0));
}

/* What has come and was never read would make closing discard the last reply on its way. */
static void close_after_output(conn *c) {
  shutdown(c->fd, SHUT_WR);
  for (int i = 0; i < DISCARDS_MAX; i++) {
    if (recv(c->fd, c->server->read_buffer, SERVER_READ_SIZE, 0) <= 0) break;
  }
  conn_close(c);
}

void conn_send(conn *c) {
  server *s = c->server;
  conn_list_remove(s->lists, LIST_TOUCHED, c);
  if (bytes_failed(&c->out)) {
    logger_warn("%s asked for more output than there is room for: closing its connection", c->peer);
    conn_close(c);
    return;
  }
  bool is_full = false;
  if (c->start == 0 && c->ready > 0) c->progress_ms = uv_now(&s->loop);
  while (c->start < c->ready && !is_full) {
    ssize_t n = send(c->fd, c->out.data + c->start, c->ready - c->start, MSG_NOSIGNAL);
    if (n > 0) {
      c->start += (size_t)n;
      s->counters.bytes_out += (uint64_t)n;
      c->progress_ms = uv_now(&s->loop);
    } else if (n < 0 && errno != EINTR) {
      is_full = errno == EAGAIN || errno == EWOULDBLOCK;
      if (!is_full) {
        conn_close(c);
        return;
      }
    }
  }
  drop_sent(c);
  count_buffers(c);
  if (c->is_closing && c->hold_count == 0 && !is_full) {
    close_after_output(c);
    return;
  }
  bool goes_on = c->is_paused && pending_output(c) < CONN_OUTPUT_PAUSE / 2;
  if (goes_on) c->is_paused = false;
  set_events(c, is_full);
  if (goes_on) conn_resume(c);
}

/* --- input ------------------------------------------------------------------------------------ */

/* The request's arguments, with their bytes; NULL: memory is short. */
static const resp_arg *arguments(conn *c, const char *data) {
  server *s = c->server;
  const resp_parser *p = &c->parser;
  if (p->count > s->args_room) {
    resp_arg *args = realloc(s->args, p->count * sizeof *args);
    if (args == NULL) return NULL;
    s->args = args;
    s->args_room = p->count;
  }
  for (size_t i = 0; i < p->count; i++) {
    s->args[i] = (resp_arg){.data = data + p->spans[i].offset, .size = p->spans[i].size};
  }
  return s->args;
}

/* Execute the complete request at data; false: it has to wait. */
static bool execute(conn *c, const char *data) {
  if (c->parser.count == 0) return true;
  const resp_arg *args = arguments(c, data);
  if (args == NULL) {
    reply_error(&c->out, "OOM kvstore: out of memory");
    c->replies++;
    return true;
  }
  command_result result = command_run(c, args, c->parser.count);
  conn_wait before = c->blocked;
  c->blocked = result == COMMAND_DONE        ? WAIT_NOTHING
               : result == COMMAND_WAIT_TURN ? WAIT_TURN
                                             : WAIT_PUBLISHED;
  conn_list *lists = c->server->lists;
  if (c->blocked == WAIT_TURN) {
    if (before != WAIT_TURN) c->blocked_ms = uv_now(&c->server->loop);
    conn_list_add(lists, LIST_BLOCKED, c);
  } else {
    conn_list_remove(lists, LIST_BLOCKED, c);
  }
  return c->blocked == WAIT_NOTHING;
}

/* Execute the requests in data, which begins with one; how many bytes are done with. */
static size_t execute_all(conn *c, char *data, size_t size) {
  server *s = c->server;
  size_t at = 0;
  while (at < size && !c->is_closing && !bytes_failed(&c->out)) {
    if (pending_output(c) > CONN_OUTPUT_PAUSE) {
      c->is_paused = true;
      break;
    }
    const resp_limits *limits = c->is_authenticated ? &s->limits : &s->stranger_limits;
    int rc = resp_parse(&c->parser, limits, data + at, size - at);
    if (rc == RESP_MORE) break;
    if (rc == RESP_BAD) {
      s->counters.protocol_errors++;
      reply_error(&c->out, "ERR %s", c->parser.error);
      c->is_closing = true;
      break;
    }
    if (!execute(c, data + at)) break;
    at += c->parser.at;
    resp_reset(&c->parser);
  }
  return c->is_closing ? size : at;
}

/* A new batch sees the store as it is now. */
static void begin_batch(server *s) {
  s->published = kv_published_seq(s->db);
  (void)server_note_losses(s);
  s->is_seen_fresh = s->is_newest_fresh = false;
  s->clock_ns = uv_hrtime();
}

void conn_resume(conn *c) {
  begin_batch(c->server);
  size_t done = execute_all(c, c->in.data, c->in.size);
  c->in.size -= done;
  if (c->in.size > 0 && done > 0) memmove(c->in.data, c->in.data + done, c->in.size);
  finish_batch(c);
  set_events(c, (c->events & UV_WRITABLE) != 0);
}

/* Where to read to: behind what waits, or into the server's buffer if nothing does. */
static char *reading_place(conn *c, size_t *room) {
  server *s = c->server;
  *room = SERVER_READ_SIZE;
  if (c->in.size == 0) return s->read_buffer;
  size_t missing = resp_missing(&c->parser, c->in.size);
  size_t more = missing < READ_ROOM_MIN      ? READ_ROOM_MIN
                : missing > SERVER_READ_SIZE ? SERVER_READ_SIZE
                                             : missing;
  if (!bytes_reserve(&c->in, more)) return NULL;
  *room = c->in.room - c->in.size;
  return c->in.data + c->in.size;
}

static void read_some(conn *c) {
  server *s = c->server;
  size_t room;
  char *place = reading_place(c, &room);
  ssize_t n = place != NULL ? recv(c->fd, place, room, 0) : -1;
  if (place != NULL && n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n == 0 && pending_output(c) > 0) { /* it still waits for what it asked for */
    c->is_closing = true;
    conn_list_add(s->lists, LIST_TOUCHED, c);
    set_events(c, (c->events & UV_WRITABLE) != 0);
    return;
  }
  if (n <= 0) {
    conn_close(c);
    return;
  }
  c->active_ms = uv_now(&s->loop);
  s->counters.bytes_in += (uint64_t)n;
  if (place != s->read_buffer) {
    c->in.size += (size_t)n;
    conn_resume(c);
    return;
  }
  begin_batch(s);
  size_t size = (size_t)n, done = execute_all(c, place, size);
  if (done < size) bytes_append(&c->in, place + done, size - done);
  if (bytes_failed(&c->in)) c->out.failed = true;
  finish_batch(c);
  if (c->is_closing || c->is_paused || c->blocked != WAIT_NOTHING) {
    set_events(c, (c->events & UV_WRITABLE) != 0);
  }
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  conn *c = poll->data;
  if (status < 0) {
    conn_close(c);
    return;
  }
  if (events & UV_READABLE) read_some(c);
  if (!c->is_closed && events & UV_WRITABLE) conn_send(c);
}
