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
  CMD_WRITE = 1 << 0,     /* is executed in a transaction */
  CMD_READ = 1 << 1,      /* looks at keys */
  CMD_NO_AUTH = 1 << 2,   /* is allowed before AUTH */
  CMD_NO_MULTI = 1 << 3,  /* is not allowed in MULTI */
  CMD_NOW = 1 << 4,       /* is executed at once in MULTI: EXEC, QUIT and others */
  CMD_WALK = 1 << 5,      /* walks nodes, which is possible on the published version only */
  CMD_ADMIN = 1 << 6,     /* is not shown to MONITOR */
  CMD_CONTAINER = 1 << 7, /* a name only: what is executed is one of its subcommands */
  CMD_SECRET = 1 << 8,    /* its arguments are not shown to anybody */
  CMD_UNTIMED = 1 << 9,   /* does not come into the slow log: skip_slowlog */
  CMD_LATE = 1 << 19,     /* EXEC: counted and shown once it has the turn, by itself */
  /* What Redis' clients are told besides, and nothing here looks at. */
  CMD_DENYOOM = 1 << 10,
  CMD_NOSCRIPT = 1 << 11,
  CMD_LOADING = 1 << 12,
  CMD_STALE = 1 << 13,
  CMD_FAST = 1 << 14,
  CMD_ALLOW_BUSY = 1 << 15,
  CMD_NO_ASYNC_LOADING = 1 << 16,
  /* Categories, those that do not follow from the bits above. */
  CAT_KEYSPACE = 1 << 20,
  CAT_STRING = 1 << 21,
  CAT_BITMAP = 1 << 22,
  CAT_ADMIN = 1 << 23,
  CAT_DANGEROUS = 1 << 24,
  CAT_CONNECTION = 1 << 25,
  CAT_TRANSACTION = 1 << 26
};

struct call;

typedef struct command {
  const char *name; /* lower case; a subcommand's is "client|list" */
  int arity;        /* arguments with the name, or both names; -n: at least n */
  unsigned flags;
  int first_key, last_key, key_step; /* as in Redis' COMMAND */
  const char *keys;                  /* what becomes of them: "RO access;OW update"; or NULL */
  void (*run)(struct call *x);       /* NULL: a container that needs a subcommand */
  const char *tips, *group, *since;  /* as in Redis' COMMAND INFO and DOCS */
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
  bool in_exec;        /* executed by EXEC */
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

/* The bytes of a value, empty if there is none; false: the call is answered. */
bool call_find_bytes(call *x, const resp_arg *key, char scratch[VALUE_TEXT_MAX], resp_arg *out);

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

/* Put a text that clients call themselves by into *place, in the place of the one before; empty:
** NULL. False: the reply says that `what` cannot have such characters. */
bool call_set_name(call *x, const resp_arg *name, char **place, const char *what);

/* Replies that several commands have. */
void call_reply_value(call *x, const kv_value *value);
void call_reply_syntax_error(call *x);
void call_reply_nil(call *x);
void call_reply_wrong_count(call *x);
void call_reply_unknown_subcommand(call *x);

/* HELP of a container: its lines, between those that every HELP has. Ends with NULL. */
void call_reply_help(call *x, const char *const *lines);

#endif
