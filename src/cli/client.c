/* client.c - the client. See client.h. */
#include "client.h"

#include "options.h"
#include "show.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MAX 3
#define CONNECT_S_MAX 10
#define SCAN_COUNT "1000"

enum { DONE = 0, NOT_FOUND = 1, FAILED = 2 };

typedef struct client {
  const char *host, *unixsocket, *password;
  unsigned port;
  redisContext *context;
} client;

/* --- talking to the server ---------------------------------------------------------------------- */

/* Say what went wrong with the connection, and what may help. */
static int explain(const client *c) {
  const char *reason = c->context != NULL ? c->context->errstr : "out of memory";
  int number = c->context != NULL && c->context->err == REDIS_ERR_IO ? errno : 0;
  char where[256];
  if (c->unixsocket != NULL) {
    snprintf(where, sizeof where, "%s", c->unixsocket);
  } else {
    snprintf(where, sizeof where, "%s:%u", c->host, c->port);
  }
  if (number == ECONNREFUSED || (c->unixsocket != NULL && number == ENOENT)) {
    fprintf(stderr, "connection refused: is \"kvstore server FILE\" running on %s?\n", where);
  } else {
    fprintf(stderr, "kvstore: %s: %s\n", where, reason);
  }
  return FAILED;
}

/* An error of the server, and what may help. */
static int explain_reply(const redisReply *reply) {
  bool is_auth = strncmp(reply->str, "NOAUTH", 6) == 0 || strncmp(reply->str, "WRONGPASS", 9) == 0;
  const char *text = strncmp(reply->str, "ERR ", 4) == 0 ? reply->str + 4 : reply->str;
  if (strncmp(text, "kvstore: ", 9) == 0) text += 9;
  fprintf(stderr, "kvstore: %s%s\n", text,
          is_auth ? " Give it with --password or in KVSTORE_PASSWORD." : "");
  return FAILED;
}

/* Send a command, and give its reply to show unless it is an error. */
static int ask(client *c, int count, const char **words, const size_t *sizes,
               int (*show)(const redisReply *reply, void *context), void *context) {
  redisReply *reply = redisCommandArgv(c->context, count, words, sizes);
  if (reply == NULL) return explain(c);
  int code = reply->type == REDIS_REPLY_ERROR ? explain_reply(reply) : show(reply, context);
  freeReplyObject(reply);
  return code;
}

static int show_nothing(const redisReply *reply, void *context) {
  (void)reply;
  (void)context;
  return DONE;
}

static int connect_to_server(client *c) {
  struct timeval most = {.tv_sec = CONNECT_S_MAX};
  c->context = c->unixsocket != NULL ? redisConnectUnixWithTimeout(c->unixsocket, most)
                                     : redisConnectWithTimeout(c->host, (int)c->port, most);
  if (c->context == NULL || c->context->err != 0) return explain(c);
  if (c->password == NULL) return DONE;
  const char *words[] = {"AUTH", c->password};
  return ask(c, 2, words, NULL, show_nothing, NULL);
}

/* --- put, get, del ------------------------------------------------------------------------------ */

static int show_success(const redisReply *reply, void *context) {
  (void)reply;
  (void)context;
  puts("success");
  return DONE;
}

/* All of standard input. */
static char *read_input(size_t *size) {
  size_t room = 0;
  char *data = NULL;
  *size = 0;
  do {
    if (*size == room) {
      room = room == 0 ? 4096 : room * 2;
      char *larger = realloc(data, room);
      if (larger == NULL) {
        free(data);
        return NULL;
      }
      data = larger;
    }
    *size += fread(data + *size, 1, room - *size, stdin);
  } while (!feof(stdin) && !ferror(stdin));
  return data;
}

static int put(client *c, const char **words, int count) {
  size_t size = count > 2 ? strlen(words[2]) : 0;
  char *input = count > 2 ? NULL : read_input(&size);
  if (count < 3 && input == NULL) return FAILED;
  const char *command[] = {"SET", words[1], count > 2 ? words[2] : input};
  const size_t sizes[] = {3, strlen(words[1]), size};
  int code = ask(c, 3, command, sizes, show_success, NULL);
  free(input);
  return code;
}

/* Print what came from the server. On a terminal nothing of it may be taken for a command: what does not
** print is escaped, but for the lines of a value. Into a file or a pipe goes every byte. */
static void print_text(const char *data, size_t size, bool has_lines) {
  if (isatty(STDOUT_FILENO) != 1) {
    fwrite(data, 1, size, stdout);
    return;
  }
  for (const char *end = data + size, *stop; data < end; data = stop) {
    for (stop = data; stop < end && !(has_lines && (*stop == '\n' || *stop == '\t')); stop++)
      continue;
    if (stop > data) (void)show_text(stdout, data, (size_t)(stop - data), 0);
    for (; stop < end && has_lines && (*stop == '\n' || *stop == '\t'); stop++) putchar(*stop);
  }
}

static int show_data(const redisReply *reply, void *context) {
  const bool *is_raw = context;
  if (reply->type == REDIS_REPLY_NIL) {
    if (!*is_raw) puts("no data at key");
    return NOT_FOUND;
  }
  if (*is_raw) {
    fwrite(reply->str, 1, reply->len, stdout);
    return DONE;
  }
  puts("got data:");
  print_text(reply->str, reply->len, true);
  putchar('\n');
  return DONE;
}

static int show_deleted(const redisReply *reply, void *context) {
  (void)context;
  puts(reply->integer > 0 ? "success" : "no data at key");
  return reply->integer > 0 ? DONE : NOT_FOUND;
}

/* --- ls, tree, scan ------------------------------------------------------------------------------ */

static void print_line(const redisReply *reply) {
  print_text(reply->str, reply->len, false);
  putchar('\n');
}

/* There is nothing at or below a key; nothing at all is no failure. */
static int show_no_node(const char *key) {
  if (*key == '\0') return DONE;
  puts("no node at key");
  return NOT_FOUND;
}

static int show_names(const redisReply *reply, void *context) {
  for (size_t i = 0; i < reply->elements; i++) print_line(reply->element[i]);
  return reply->elements > 0 ? DONE : show_no_node(context);
}

static const char *last_slash(const redisReply *path, size_t *offset) {
  const char *slash = memrchr(path->str, '/', path->len);
  *offset = slash != NULL ? (size_t)(slash - path->str) + 1 : 0;
  return slash;
}

static int depth_of(const redisReply *path) {
  int depth = 0;
  for (size_t i = 0; i < path->len; i++) depth += path->str[i] == '/';
  return depth;
}

/* Each node below its parent: its name, and its value if it has one. */
static int show_tree(const redisReply *reply, void *context) {
  int top = reply->elements > 0 ? depth_of(reply->element[0]->element[0]) : 0;
  for (size_t i = 0; i < reply->elements; i++) {
    const redisReply *path = reply->element[i]->element[0], *value = reply->element[i]->element[1];
    size_t offset = 0;
    if (i > 0 || top == 0) (void)last_slash(path, &offset);
    printf("%*s", 2 * (depth_of(path) - top), "");
    print_text(path->str + offset, path->len - offset, false);
    if (value->type == REDIS_REPLY_STRING) {
      fputs(" = ", stdout);
      print_text(value->str, value->len, false);
    }
    putchar('\n');
  }
  return reply->elements > 0 ? DONE : show_no_node(context);
}

/* A page of keys; context gets the cursor to go on with. */
static int show_page(const redisReply *reply, void *context) {
  char *cursor = context;
  if (reply->elements != 2) return FAILED;
  snprintf(cursor, 32, "%s", reply->element[0]->str);
  const redisReply *keys = reply->element[1];
  for (size_t i = 0; i < keys->elements; i++) print_line(keys->element[i]);
  return DONE;
}

static int scan(client *c, const char *pattern) {
  char cursor[32] = "0";
  int code;
  do {
    const char *words[] = {"SCAN", cursor, "COUNT", SCAN_COUNT, "MATCH", pattern};
    code = ask(c, pattern != NULL ? 6 : 4, words, NULL, show_page, cursor);
  } while (code == DONE && strcmp(cursor, "0") != 0);
  return code;
}

/* --- the command line ---------------------------------------------------------------------------- */

static const char usage[] =
    "usage: kvstore client [options] put KEY [VALUE]   without VALUE: from "
    "standard input\n"
    "       kvstore client [options] get KEY\n"
    "       kvstore client [options] del KEY\n"
    "       kvstore client [options] ls [KEY]          direct children\n"
    "       kvstore client [options] tree [KEY]        all below, indented\n"
    "       kvstore client [options] scan [PATTERN]    all keys, in order\n";

static int run(client *c, const char **words, int count, bool *is_raw) {
  const char *what = words[0], *key = count > 1 ? words[1] : "";
  if (strcmp(what, "put") == 0 && count >= 2) return put(c, words, count);
  if (strcmp(what, "get") == 0 && count == 2) {
    return ask(c, 2, (const char *[]){"GET", key}, NULL, show_data, is_raw);
  }
  if (strcmp(what, "del") == 0 && count == 2) {
    return ask(c, 2, (const char *[]){"DEL", key}, NULL, show_deleted, NULL);
  }
  if (strcmp(what, "ls") == 0 && count <= 2) {
    return ask(c, 2, (const char *[]){"KV.CHILDREN", key}, NULL, show_names,
               (void *)(uintptr_t)key);
  }
  if (strcmp(what, "tree") == 0 && count <= 2) {
    return ask(c, 2, (const char *[]){"KV.TREE", key}, NULL, show_tree, (void *)(uintptr_t)key);
  }
  if (strcmp(what, "scan") == 0 && count <= 2) return scan(c, count > 1 ? key : NULL);
  fputs(usage, stderr);
  return FAILED;
}

int client_main(int argc, char **argv) {
  client c = {.host = "127.0.0.1", .port = 1337};
  bool wants_help = false, is_raw = false;
  const option options[] = {
      {"host", OPTION_TEXT, &c.host, 0, 0, "ADDRESS", "where the server is (127.0.0.1)"},
      {"port", OPTION_NUMBER, &c.port, 1, 65535, "N", "its port (1337)"},
      {"unixsocket", OPTION_TEXT, &c.unixsocket, 0, 0, "PATH", "its Unix socket, instead"},
      {"password", OPTION_SECRET, &c.password, 0, 0, "PASSWORD", "for AUTH"},
      {"raw", OPTION_FLAG, &is_raw, 0, 0, NULL, "get: the value alone, byte for byte"},
      {"help", OPTION_FLAG, &wants_help, 0, 0, NULL, "show this"},
      {NULL, OPTION_FLAG, NULL, 0, 0, NULL, NULL}};
  const char *words[WORDS_MAX];
  int count = options_parse(options, argc, argv, words, WORDS_MAX);
  if (wants_help) {
    printf("%s\n", usage);
    options_print(options);
    return DONE;
  }
  if (count < 0) return FAILED;
  if (count == 0) {
    fputs(usage, stderr);
    return FAILED;
  }
  int code = connect_to_server(&c);
  if (code == DONE) code = run(&c, words, count, &is_raw);
  if (c.context != NULL) redisFree(c.context);
  if (code == DONE && fflush(stdout) != 0) code = FAILED;
  return code;
}
