/*
** call.h - one command being executed: its arguments, its view of the store, its reply.
**
** A command that writes (CMD_WRITE) is called inside a transaction, which command.c begins and, unless
** call_fail was called, hands over; inside EXEC the transaction is that of all its commands. So
** commands read and change and know nothing of turns and flushes.
**
** A command checks everything that a client can have got wrong before it changes anything, since in
** EXEC the commands before and behind it stand.
*/
#ifndef CALL_H
#define CALL_H

#include "server.h"
#include "value.h"

/* What a command is, for the table in command_table.c. */
enum {
  CMD_WRITE = 1 << 0,    /* is executed in a transaction */
  CMD_READ = 1 << 1,     /* looks at keys */
  CMD_NO_AUTH = 1 << 2,  /* is allowed before AUTH */
  CMD_NO_MULTI = 1 << 3, /* is not allowed in MULTI */
  CMD_NOW = 1 << 4,      /* is executed at once in MULTI: EXEC and its kin */
  CMD_WALK = 1 << 5,     /* walks nodes, which is possible on the published version only */
  CMD_ADMIN = 1 << 6
};

struct call;

typedef struct command {
  const char *name; /* lower case */
  int arity;        /* arguments with the name; -n: at least n */
  unsigned flags;
  int first_key, last_key, key_step; /* as in Redis' COMMAND */
  void (*run)(struct call *x);
  const char *summary;
} command;

typedef struct call {
  server *server;
  conn *conn;
  const command *command;
  const resp_arg *args; /* args[0] is the name */
  size_t count;
  bytes *out;
  size_t begin;        /* of the reply in out */
  bool in_transaction; /* reads see what it changed, and others not yet */
  bool is_failed;      /* by call_fail: the transaction is rolled back */
  bool must_wait;      /* the writer's turn was not free: to be executed again later */
} call;

/* A cursor on what the command is to see, valid until the next change or command. NULL: memory was
** short, and the call has failed. */
kv_cursor *call_cursor(call *x);

/* The value of a keypath, valid as long as the cursor of call_cursor. */
typedef enum call_found {
  CALL_FOUND,
  CALL_MISSING, /* it has none */
  CALL_ANSWERED /* it is no keypath, or memory was short: the reply is that error */
} call_found;
call_found call_find(call *x, const resp_arg *key, kv_value *out);

/* Whether it is a keypath; if not the reply is that error. */
bool call_check_key(call *x, const resp_arg *key);

/* Give a keypath bytes (TEXT or BLOB, as value.h says) or any value; take it away. False: the reply
** is the error. */
bool call_put_bytes(call *x, const resp_arg *key, const char *data, size_t size);
bool call_put(call *x, const resp_arg *key, const kv_value *value, bool *replaced);
bool call_delete(call *x, const resp_arg *key, bool *found);

/* The engine failed: the reply is this error and nothing else, and the transaction is rolled back. */
void call_fail(call *x, const kv_error *err);

/* Whether an argument is this word, in either case. */
bool call_is(const resp_arg *arg, const char *word);

/* An argument as a 64-bit number; if it is none the reply is Redis' error. */
bool call_integer(call *x, const resp_arg *arg, int64_t *out);

/* Replies that several commands have. */
void call_reply_value(call *x, const kv_value *value);
void call_reply_syntax_error(call *x);
void call_reply_wrong_count(call *x);
void call_reply_unknown_subcommand(call *x);

#endif
