/*
** test_server_turn.c - the server beside another writer on the same log, played by a handle of this
** process: commands wait for the writer's turn without holding up anybody else, in order, and not for
** ever; what the other one commits is seen, and makes a WATCH fail.
*/
#include "cli/server.h"
#include "kv_help.h"

#include <hiredis/hiredis.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define SOCKET "turn.sock"
#define FILE_NAME "turn.dat"
#define BUSY_TIMEOUT "400"

static void *server_thread(void *context) {
  char *argv[] = {FILE_NAME, "--port", "0", "--unixsocket", SOCKET, "--busy-timeout", BUSY_TIMEOUT};
  *(int *)context = server_main(sizeof argv / sizeof argv[0], argv);
  return NULL;
}

static void sleep_ms(long ms) {
  nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static redisContext *connect_soon(void) {
  for (int i = 0; i < 1000; i++) {
    redisContext *context = redisConnectUnix(SOCKET);
    if (context != NULL && context->err == 0) return context;
    if (context != NULL) redisFree(context);
    sleep_ms(10);
  }
  abort();
}

/* The reply as text: a string, a status, an error, a number; nil is "(nil)", an array its size. */
static const char *text_of(redisReply *reply) {
  static char text[256];
  if (reply == NULL) return "(none)";
  if (reply->type == REDIS_REPLY_INTEGER) {
    snprintf(text, sizeof text, "%lld", reply->integer);
  } else if (reply->type == REDIS_REPLY_ARRAY) {
    snprintf(text, sizeof text, "[%zu]", reply->elements);
  } else {
    snprintf(text, sizeof text, "%s", reply->type == REDIS_REPLY_NIL ? "(nil)" : reply->str);
  }
  freeReplyObject(reply);
  return text;
}

static const char *ask(redisContext *c, const char *command) {
  return text_of(redisCommand(c, command));
}

static const char *next_reply(redisContext *c) {
  void *reply = NULL;
  return redisGetReply(c, &reply) == REDIS_OK ? text_of(reply) : "(failed)";
}

/* While the other one writes: a write waits, and what the same connection asked for behind it; others
** go on. */
static void test_waiting(kv *other, redisContext *a, redisContext *b) {
  CHECK_STR(ask(a, "SET k 1"), "OK");
  MUST(kv_begin(other, BUSY_MS, &help_err));
  MUST(help_put(other, "k", "other"));
  redisAppendCommand(a, "SET k 2");
  redisAppendCommand(a, "GET k");
  int done = 0;
  redisBufferWrite(a, &done);
  sleep_ms(50);
  CHECK_STR(ask(b, "GET k"), "1");
  CHECK_STR(ask(b, "PING"), "PONG");
  CHECK(strstr(ask(b, "INFO clients"), "blocked_clients:1") != NULL);
  MUST(kv_commit(other, 0, &help_err));
  CHECK_STR(next_reply(a), "OK");
  CHECK_STR(next_reply(a), "2");
  CHECK_STR(ask(b, "GET k"), "2");
}

/* Two that wait are served in the order in which they came. */
static void test_order(kv *other, redisContext *a, redisContext *b) {
  MUST(kv_begin(other, BUSY_MS, &help_err));
  int done = 0;
  redisAppendCommand(a, "APPEND order a");
  redisBufferWrite(a, &done);
  sleep_ms(30);
  redisAppendCommand(b, "MULTI");
  redisAppendCommand(b, "APPEND order b");
  redisAppendCommand(b, "GET order");
  redisAppendCommand(b, "EXEC");
  redisBufferWrite(b, &done);
  sleep_ms(30);
  kv_rollback(other);
  CHECK_STR(next_reply(a), "1");
  CHECK_STR(next_reply(b), "OK");
  CHECK_STR(next_reply(b), "QUEUED");
  CHECK_STR(next_reply(b), "QUEUED");
  CHECK_STR(next_reply(b), "[2]");
  CHECK_STR(ask(a, "GET order"), "ab");
}

static void test_too_long(kv *other, redisContext *a, redisContext *b) {
  MUST(kv_begin(other, BUSY_MS, &help_err));
  CHECK_STR(ask(a, "SET late 1"),
            "BUSY kvstore: another writer has had the turn for " BUSY_TIMEOUT " ms; try again");
  kv_rollback(other);
  CHECK_STR(ask(a, "SET late 1"), "OK");
  CHECK_STR(ask(b, "GET late"), "1");
}

/* A client that goes away while it waits leaves nothing behind. */
static void test_gone(kv *other, redisContext *b) {
  MUST(kv_begin(other, BUSY_MS, &help_err));
  redisContext *c = connect_soon();
  int done = 0;
  redisAppendCommand(c, "SET gone 1");
  redisBufferWrite(c, &done);
  sleep_ms(30);
  redisFree(c);
  sleep_ms(30);
  kv_rollback(other);
  CHECK_STR(ask(b, "SET here 1"), "OK");
}

static void test_others_commits(kv *other, redisContext *a) {
  MUST(help_commit_put(other, "theirs", "1"));
  CHECK_STR(ask(a, "GET theirs"), "1");
  CHECK_STR(ask(a, "WATCH theirs"), "OK");
  CHECK_STR(ask(a, "MULTI"), "OK");
  CHECK_STR(ask(a, "SET mine 1"), "QUEUED");
  MUST(help_commit_put(other, "theirs", "1"));
  CHECK_STR(ask(a, "EXEC"), "(nil)");
  CHECK_STR(ask(a, "GET mine"), "(nil)");
}

/* What the server has read it does not hold on to: versions that later commits replace can go. */
static void test_holds_nothing(kv *other, redisContext *a, redisContext *b) {
  CHECK_STR(ask(a, "SET k 1"), "OK");
  CHECK_STR(ask(b, "GET k"), "1");
  redisAppendCommand(a, "SET k 2");
  redisAppendCommand(a, "GET k");
  CHECK_STR(next_reply(a), "OK");
  CHECK_STR(next_reply(a), "2");
  kv_stats stats = {.readers = 1};
  for (int i = 0; i < 500 && stats.readers > 0; i++) { /* until its round is over */
    MUST(kv_get_stats(other, &stats, &help_err));
    if (stats.readers > 0) sleep_ms(10);
  }
  CHECK_INT(stats.readers, 0);
}

int main(void) {
  int code = -1;
  pthread_t thread;
  if (pthread_create(&thread, NULL, server_thread, &code) != 0) abort();
  redisContext *a = connect_soon(), *b = connect_soon();
  kv *other = help_open_full(FILE_NAME);
  test_waiting(other, a, b);
  test_order(other, a, b);
  test_too_long(other, a, b);
  test_gone(other, b);
  test_others_commits(other, a);
  test_holds_nothing(other, a, b);
  MUST(kv_close(other, &help_err));
  redisFree(b);
  CHECK_STR(ask(a, "SHUTDOWN"), "(none)");
  redisFree(a);
  pthread_join(thread, NULL);
  CHECK_INT(code, 0);
  return unit_done();
}
