/*
** test_hiredis.c - the server through a client library of Redis, hiredis: commands, pipelines, binary
** values, transactions, errors, a Unix socket.
**
** Starts the program KVSTORE_BIN on a file and a socket in the working directory, and ends it by its
** process id.
*/
#include "unit.h"

#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SOCKET "hiredis.sock"

static pid_t start_server(void) {
  const char *program = getenv("KVSTORE_BIN");
  pid_t pid = fork();
  if (pid != 0) return pid;
  if (freopen("server.log", "w", stderr) == NULL) _exit(1);
  execl(program != NULL ? program : "./kvstore", "kvstore", "server", "hiredis.dat", "--port", "0",
        "--unixsocket", SOCKET, (char *)NULL);
  _exit(1);
}

static redisContext *connect_soon(void) {
  for (int i = 0; i < 1000; i++) {
    redisContext *context = redisConnectUnix(SOCKET);
    if (context != NULL && context->err == 0) return context;
    if (context != NULL) redisFree(context);
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
  }
  return NULL;
}

static void check_status(redisReply *reply, const char *want) {
  if (!CHECK(reply != NULL)) return;
  CHECK_INT(reply->type, REDIS_REPLY_STATUS);
  CHECK_STR(reply->str, want);
  freeReplyObject(reply);
}

static void check_string(redisReply *reply, const char *want, size_t size) {
  if (!CHECK(reply != NULL)) return;
  CHECK_INT(reply->type, REDIS_REPLY_STRING);
  CHECK_BYTES(reply->str, reply->len, want, size);
  freeReplyObject(reply);
}

static void check_integer(redisReply *reply, long long want) {
  if (!CHECK(reply != NULL)) return;
  CHECK_INT(reply->type, REDIS_REPLY_INTEGER);
  CHECK_INT(reply->integer, want);
  freeReplyObject(reply);
}

static void test_commands(redisContext *c) {
  check_status(redisCommand(c, "SET %s %s", "test/val", "this is a test val"), "OK");
  check_string(redisCommand(c, "GET test/val"), "this is a test val", 18);
  check_status(redisCommand(c, "SET bin %b", "a\0\xff\r\n", (size_t)5), "OK");
  check_string(redisCommand(c, "GET bin"), "a\0\xff\r\n", 5);
  check_integer(redisCommand(c, "INCRBY n 41"), 41);
  check_integer(redisCommand(c, "INCR n"), 42);
  redisReply *reply = redisCommand(c, "GET nope");
  CHECK(reply != NULL && reply->type == REDIS_REPLY_NIL);
  freeReplyObject(reply);
  reply = redisCommand(c, "SET a//b 1");
  CHECK(reply != NULL && reply->type == REDIS_REPLY_ERROR);
  CHECK_STR(reply->str, "ERR kvstore: invalid keypath 'a//b': empty segment at byte 2");
  freeReplyObject(reply);
}

/* Ten thousand requests before the first reply is read. */
static void test_pipeline(redisContext *c) {
  for (int i = 0; i < 10000; i++) {
    CHECK(redisAppendCommand(c, "SET pipe/%d %d", i, i) == REDIS_OK);
    CHECK(redisAppendCommand(c, "GET pipe/%d", i) == REDIS_OK);
  }
  for (int i = 0; i < 10000; i++) {
    char want[16];
    void *reply;
    if (!CHECK(redisGetReply(c, &reply) == REDIS_OK)) return;
    check_status(reply, "OK");
    if (!CHECK(redisGetReply(c, &reply) == REDIS_OK)) return;
    snprintf(want, sizeof want, "%d", i);
    check_string(reply, want, strlen(want));
  }
}

static void test_transaction(redisContext *c) {
  check_status(redisCommand(c, "MULTI"), "OK");
  check_status(redisCommand(c, "SET x 1"), "QUEUED");
  check_status(redisCommand(c, "INCR x"), "QUEUED");
  redisReply *reply = redisCommand(c, "EXEC");
  if (!CHECK(reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2)) return;
  CHECK_STR(reply->element[0]->str, "OK");
  CHECK_INT(reply->element[1]->integer, 2);
  freeReplyObject(reply);
}

static void test_large(redisContext *c) {
  size_t size = (size_t)20 << 20;
  char *value = malloc(size);
  if (value == NULL) abort();
  for (size_t i = 0; i < size; i++) value[i] = (char)(i * 31 >> 5);
  check_status(redisCommand(c, "SET large %b", value, size), "OK");
  check_string(redisCommand(c, "GET large"), value, size);
  free(value);
}

int main(void) {
  signal(SIGPIPE, SIG_IGN);
  pid_t pid = start_server();
  redisContext *c = connect_soon();
  if (CHECK(c != NULL)) {
    test_commands(c);
    test_pipeline(c);
    test_transaction(c);
    test_large(c);
    redisFree(c);
  }
  int status = 0;
  kill(pid, SIGTERM);
  CHECK(waitpid(pid, &status, 0) == pid);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(access(SOCKET, F_OK) != 0);
  return unit_done();
}
