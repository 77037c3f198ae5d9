/*
** command.h - from a request to the command that executes it.
*/
#ifndef COMMAND_H
#define COMMAND_H

#include "call.h"

typedef enum command_result {
  COMMAND_DONE,          /* the reply is in the connection's output */
  COMMAND_WAIT_TURN,     /* nothing has happened: another writer has the turn */
  COMMAND_WAIT_PUBLISHED /* nothing has happened: it has to see writes that are not flushed yet */
} command_result;

/* Execute a request of a connection. */
command_result command_run(conn *c, const resp_arg *args, size_t count);

/* Find a command by its name, in either case; NULL: there is none. */
const command *command_find(const char *name, size_t size);

/* The command that a request calls, a subcommand if its first word is a container's; NULL: none. */
const command *command_find_called(const resp_arg *args, size_t count);

/* Whether a command takes so many arguments, with its name. */
bool command_takes(const command *one, size_t count);

/* All of them, for COMMAND; ends with one without a name. */
extern const command command_table[];
extern const size_t command_table_size;

/* Execute a command in the transaction of EXEC, replying into x->out. */
void command_run_queued(call *x);

/* Count and show a command that was called CMD_LATE. */
void command_note(call *x);

/* Begin and end the transaction of a call. command_begin is false if the call must wait or has been
** answered with an error. */
bool command_begin(call *x);
void command_end(call *x);

#endif
