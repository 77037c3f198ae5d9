/*
** conn.h - a client's connection: what it sent, what it is to be sent, and when.
**
** Input. Requests are read into the server's buffer and executed where they lie. Only what is left of
** an unfinished request, or of requests that have to wait, is kept with the connection: an idle one
** has no buffers.
**
** Output. Replies are appended to `out`. Behind every batch of requests conn_finish_batch notes the
** newest transaction that its replies depend on, so that nothing is sent before that is published:
**
**      out.data   start              ready                 size
**        | sent     | may be sent      | holds[0] | holds[1] |
**
** Two holds are enough: what comes while both are taken joins the second, and waits for the newest
** transaction that it depends on, which the next flush but one covers.
**
** Waiting. A connection does not read on while it is `blocked` (a command waits for the writer's
** turn, or for this connection's own writes to be published) or `paused` (its peer does not take what
** it asked for). The order of its commands is never changed.
**
** Limits. Pending output pauses at CONN_OUTPUT_PAUSE and ends the connection at CONN_OUTPUT_MAX; a
** peer that takes nothing for CONN_STALL_S seconds is given up; input is limited by resp.h; and all
** buffers together by SERVER_BUFFERS_MAX (server.h).
**
** Threads: the loop's.
*/
#ifndef CONN_H
#define CONN_H

#include "bytes.h"
#include "resp.h"

#include <stdint.h>
#include <uv.h>

struct server;
struct multi;
struct watch;

#define CONN_OUTPUT_PAUSE ((size_t)1 << 20)
#define CONN_OUTPUT_MAX ((size_t)1 << 30)
#define CONN_STALL_S 60u
#define CONN_MUTED UINT32_MAX
#define CONN_KEEP_MAX ((size_t)4 << 10) /* bytes of buffer that an idle connection may keep */

typedef struct conn conn;

/* The lists that a connection can be in. */
typedef enum conn_list_id {
  LIST_ALL,
  LIST_TOUCHED, /* has output to be sent, and its socket may take it */
  LIST_HELD,    /* has output that waits for a flush */
  LIST_BLOCKED, /* waits for the writer's turn, first come first */
  LIST_MONITORS,
  LIST_COUNT
} conn_list_id;

typedef struct conn_list {
  conn *first, *last;
  size_t size;
} conn_list;

typedef struct conn_link {
  conn *previous, *next;
  bool is_in;
} conn_link;

/* Output up to `end` depends on transaction `seq`; so many replies. */
typedef struct conn_hold {
  size_t end;
  uint64_t seq;
  size_t replies;
} conn_hold;

typedef enum conn_wait { WAIT_NOTHING, WAIT_TURN, WAIT_PUBLISHED } conn_wait;

struct conn {
  uv_poll_t poll;
  struct server *server;
  conn_link links[LIST_COUNT];
  uint64_t id;
  int fd;
  int events; /* what poll watches for */
  bool is_authenticated;
  bool is_paused;
  bool is_closing; /* reads no more, and is closed once everything is sent */
  bool is_killed;  /* by CLIENT KILL: closed at the end of the round, nobody hears of it any more */
  bool is_closed;  /* only waits for libuv to let go of it */
  bool wants_no_evict;
  unsigned protocol; /* 2 or 3 */
  unsigned muted;    /* so many commands, this one included, are not replied to */
  conn_wait blocked;
  uint64_t blocked_ms; /* since when */

  resp_parser parser;
  bytes in; /* from the first byte of a request on */

  bytes out;
  size_t start, ready;
  conn_hold holds[2];
  unsigned hold_count;
  size_t replies;       /* behind the holds */
  uint64_t depends_seq; /* the newest transaction that any reply so far depends on */

  struct multi *multi; /* between MULTI and EXEC */
  struct watch *watches;
  char *name, *library, *library_version;
  const char *last_command;
  size_t buffers; /* bytes counted into the server's sum */
  uint64_t created_ms, active_ms, progress_ms;
  char peer[64];
};

/* Take over an accepted socket, and close it if memory is short. */
void conn_open(struct server *s, int fd, const char *peer);

/* Close it now; it must not be in the middle of a command. */
void conn_close(conn *c);

/* The same at the end of the round, whatever it waits for; it must not be the one that executes. */
void conn_kill(conn *c);

/* Execute what has been read and waits. */
void conn_resume(conn *c);

/* Let go of what was held back for transactions up to seq. */
void conn_publish(conn *c, uint64_t seq);

/* Send what may be sent. */
void conn_send(conn *c);

/* Instead of what is held back, which cannot be acknowledged any more, send this error, and close. */
void conn_break(conn *c, const char *why);

/* Something was appended to its output that is not a reply of a batch of its own. */
void conn_push(conn *c);

/* The transactions behind kept_seq are lost, of which nothing is told yet: the disk is full. Who waits for
** one reply gets this error in its place; who waits for several, of which it cannot be said which is
** which, gets it and is closed. */
void conn_refuse(conn *c, uint64_t kept_seq, const char *why);

/* Whether it waits with output that its peer does not take since `since_ms`. */
bool conn_is_stalled(const conn *c, uint64_t since_ms);

void conn_list_add(conn_list *lists, conn_list_id which, conn *c);
void conn_list_remove(conn_list *lists, conn_list_id which, conn *c);

#endif
