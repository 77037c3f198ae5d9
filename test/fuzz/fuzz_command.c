/*
** fuzz_command.c - the server's commands, without sockets and without a loop that turns.
**
** The input is what two clients of an empty store send: the first byte says whether they need a
** password, then 0xfe says that the other one goes on. Each request gets one reply, which is one of the
** protocol's and not left open, unless the connection is being closed; and at the end the tree is
** sound.
*/
#include "cli/cmd_multi.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/reply.h"
#include "fuzz_help.h"

#include <strings.h>
#include <sys/socket.h>

#define OTHER_CLIENT 0xfe
#define DEPTH_MAX 12

static const resp_limits LIMITS = {
    .inline_max = 1024, .args_max = 64, .bulk_max = 4096, .request_max = 16384};
static const resp_limits STRANGER_LIMITS = {
    .inline_max = 1024, .args_max = 10, .bulk_max = 512, .request_max = 4096, .is_stranger = true};

static server s;
static bool has_odd_replies; /* a client gets none, or more than one for each request */

/* A client: its connection, the socket's other end, and what is to be seen of its replies. */
typedef struct client {
  conn *c;
  int fd;
  resp_parser parser;
  bytes sent;
  size_t requests;
} client;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  FILE *silence = fopen("/dev/null", "w"); /* for the server's own log */
  FUZZ_CHECK(silence != NULL && uv_loop_init(&s.loop) == 0, "no event loop");
  stderr = silence;
  uv_timer_init(&s.loop, &s.accept_pause);
  s.limits = LIMITS;
  s.stranger_limits = STRANGER_LIMITS;
  s.read_buffer = fuzz_memory(SERVER_READ_SIZE);
  return 0;
}

/* --- coming and going ----------------------------------------------------------------------------- */

static void start(bool password) {
  kv_options options = {.path = NULL, .settings = {.synchronous = KV_SYNC_FULL}};
  s.options = (server_options){.file = ":memory:", .clients_max = 10, .busy_timeout_ms = 1000};
  s.options.password = password ? "secret" : NULL;
  FUZZ_CHECK(kv_open(&options, &s.db, NULL, NULL) == KV_OK, "open");
  FUZZ_CHECK(kv_cursor_open(s.db, &s.seen, NULL) == KV_OK, "cursor");
  FUZZ_CHECK(kv_cursor_open_newest(s.db, &s.newest, NULL) == KV_OK, "cursor");
  s.published = s.handed = s.asked = kv_published_seq(s.db);
  s.counters = (server_counters){0};
  s.is_ending = false;
  s.stats = (command_stats){.error_count = 0};
  has_odd_replies = false;
  slowlog_init(&s.slow);
  s.slow.slower_than_us = 0;
  scan_table_init(&s.scans, 1);
  srand48(1);
}

static client connect_client(void) {
  client out = {.fd = -1};
  int fds[2];
  FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "no sockets");
  conn_open(&s, fds[0], "fuzz");
  out.fd = fds[1];
  out.c = s.lists[LIST_ALL].last;
  return out;
}

static void stop(void) {
  kv_error err;
  kv_pass_turn(s.db);
  FUZZ_CHECK(kv_check(s.db, &err) == KV_OK, "%s", err.text);
  while (s.lists[LIST_ALL].first != NULL) conn_close(s.lists[LIST_ALL].first);
  for (int i = 0; i < 3; i++) uv_run(&s.loop, UV_RUN_NOWAIT);
  FUZZ_CHECK(s.buffers == 0, "%zu bytes of buffers are counted for nobody", s.buffers);
  kv_cursor_close(s.seen);
  kv_cursor_close(s.newest);
  FUZZ_CHECK(kv_close(s.db, &err) == KV_OK, "%s", err.text);
  FUZZ_CHECK(s.absent.count == 0 && s.absent.buckets == NULL, "keys are watched by nobody");
  slowlog_clear(&s.slow);
  free(s.new_password);
  s.new_password = NULL;
  scan_table_free(&s.scans);
  free(s.args);
  s.args = NULL;
  s.args_room = 0;
}

/* --- replies -------------------------------------------------------------------------------------- */

static const char *line_end(const char *at, const char *end) {
  const char *cr = memchr(at, '\r', (size_t)(end - at));
  FUZZ_CHECK(cr != NULL && cr + 1 < end && cr[1] == '\n', "a line without an end: '%.*s'",
             (int)(end - at), at);
  FUZZ_CHECK(memchr(at, '\n', (size_t)(cr - at)) == NULL, "LF in '%.*s'", (int)(cr - at), at);
  return cr + 2;
}

static long long number_at(const char *at, const char *end) {
  char *number_end;
  long long out = strtoll(at, &number_end, 10);
  FUZZ_CHECK(number_end == end - 2 && number_end > at, "no number: '%.*s'", (int)(end - at), at);
  return out;
}

/* Where the reply ends that begins here. */
static const char *skip_reply(const char *at, const char *end, int depth) {
  FUZZ_CHECK(at < end && depth < DEPTH_MAX, "a reply is missing");
  const char *next = line_end(at, end);
  long long count;
  switch (*at) {
  case '+':
    return next;
  case '-':
    FUZZ_CHECK(at[1] >= 'A' && at[1] <= 'Z', "an error without a code");
    return next;
  case ':':
    (void)number_at(at + 1, next);
    return next;
  case '$':
    count = number_at(at + 1, next);
    FUZZ_CHECK(count >= -1 && count + 2 <= end - next + (count < 0 ? 1 : 0), "%lld bytes", count);
    if (count < 0) return next;
    FUZZ_CHECK(memcmp(next + count, "\r\n", 2) == 0, "a bulk without an end");
    return next + count + 2;
  case '_':
    FUZZ_CHECK(next == at + 3, "something behind _");
    return next;
  case '=':
    count = number_at(at + 1, next);
    FUZZ_CHECK(count >= 4 && count + 2 <= end - next && memcmp(next, "txt:", 4) == 0, "%lld bytes",
               count);
    return next + count + 2;
  case '%':
  case '~':
  case '*':
    count = number_at(at + 1, next) * (*at == '%' ? 2 : 1);
    FUZZ_CHECK(count >= (*at == '*' ? -1 : 0), "%lld replies", count);
    for (; count > 0; count--) next = skip_reply(next, end, depth + 1);
    return next;
  default:
    FUZZ_CHECK(false, "no reply begins with 0x%02x", (unsigned char)*at);
    return end;
  }
}

/* How many replies the connection has ready or held back. */
static size_t count_replies(const conn *c) {
  size_t count = 0;
  if (c->out.size == 0) return 0;
  const char *at = c->out.data + c->start, *end = c->out.data + c->out.size;
  for (; at < end; count++) at = skip_reply(at, end, 0);
  return count;
}

/* --- requests ------------------------------------------------------------------------------------- */

/* A command is found by its name only. */
static void check_name(const char *name, size_t size) {
  const command *found = command_find(name, size);
  FUZZ_CHECK(found == NULL ||
                 (strlen(found->name) == size && strncasecmp(found->name, name, size) == 0),
             "'%.*s' is taken for %s", (int)size, name, found->name);
}

/* CLIENT REPLY and MONITOR change how many replies there are. */
static void note_odd(const resp_parser *p, const char *data) {
  resp_arg args[2] = {{.data = ""}};
  size_t count = p->count < 2 ? p->count : 2;
  for (size_t i = 0; i < count; i++) {
    args[i] = (resp_arg){.data = data + p->spans[i].offset, .size = p->spans[i].size};
  }
  const command *found = command_find_called(args, count);
  if (found == NULL) return;
  has_odd_replies = has_odd_replies || found->run == cmd_client_reply || found->run == cmd_monitor;
}

/* What replies are expected for: requests with a word, and an end for what is none. Only while it is
** known what the connection takes for a request, which depends on whether it may. */
static void count_requests(client *l, bool is_stranger) {
  const resp_limits *limits = is_stranger ? &STRANGER_LIMITS : &LIMITS;
  size_t at = 0;
  while (at < l->sent.size) {
    int rc = resp_parse(&l->parser, limits, l->sent.data + at, l->sent.size - at);
    if (rc != RESP_DONE) break;
    if (l->parser.count > 0)
      check_name(l->sent.data + at + l->parser.spans[0].offset, l->parser.spans[0].size);
    if (l->parser.count > 0) note_odd(&l->parser, l->sent.data + at);
    l->requests += l->parser.count > 0;
    at += l->parser.at;
    resp_reset(&l->parser);
  }
  l->sent.size -= at;
  if (at > 0) memmove(l->sent.data, l->sent.data + at, l->sent.size);
}

static void publish(client *clients, size_t count) {
  s.published = kv_published_seq(s.db);
  for (size_t i = 0; i < count; i++) {
    if (!clients[i].c->is_closed) conn_publish(clients[i].c, s.published);
  }
}

static void send_bytes(client *l, const uint8_t *data, size_t size) {
  if (l->c->is_closing || l->c->is_closed) return;
  bytes_append(&l->c->in, data, size);
  if (s.options.password == NULL) {
    bytes_append(&l->sent, data, size);
    count_requests(l, false);
  }
  conn_resume(l->c);
  kv_pass_turn(s.db);
}

static void check_client(const client *l) {
  size_t replies = count_replies(l->c);
  if (l->c->is_closing || l->c->is_paused || has_odd_replies || s.options.password != NULL) return;
  FUZZ_CHECK(l->c->blocked == WAIT_NOTHING, "waits for nobody: %d", (int)l->c->blocked);
  FUZZ_CHECK(replies == l->requests, "%zu replies to %zu requests", replies, l->requests);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  start(data[0] == 'P');
  client clients[2] = {connect_client(), connect_client()};
  size_t turn = 0;
  for (size_t at = 1; at < size; turn = 1 - turn) {
    const uint8_t *next = memchr(data + at, OTHER_CLIENT, size - at);
    size_t end = next != NULL ? (size_t)(next - data) : size;
    send_bytes(&clients[turn], data + at, end - at);
    publish(clients, 2);
    at = end + 1;
  }
  for (int i = 0; i < 2; i++) {
    check_client(&clients[i]);
    resp_free(&clients[i].parser);
    bytes_free(&clients[i].sent);
  }
  stop();
  for (int i = 0; i < 2; i++) close(clients[i].fd);
  return 0;
}
