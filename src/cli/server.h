/*
** server.h - the server: one store, one event loop, any number of connections.
**
** One round of the loop:
**
**      poll     sockets that have something to read: requests are parsed and executed at once, each
**               write as a transaction of its own, handed over to the log without waiting
**      prepare  replies that depend on nothing unflushed are sent; then what was handed over is
**               flushed, and the replies to it are sent; the round ends, and the loop sleeps until
**               something comes
**
** The loop flushes itself if flushes are quick, of late, and since the last one it has served
** nobody who did not have to wait for it. Else the flush thread does (flusher.h): while it is at
** it the loop goes through as many rounds as there is work for; then the thread wakes the loop,
** and the replies that the flush covers are sent. Either way nothing that a crash could take back
** is ever told to anybody, be it the reply to a write or to a read (FULL; what the other modes
** promise is in kv.h).
**
** A full disk. What was handed over is lost then, and its numbers are used again (kv_losses). So the
** loop asks for losses whenever it has read how far the log is published, and before it hands over
** more: those that wait for what is lost get an error instead, and the next write is tried as any other.
**
** Reading. A connection reads the published version, unless a reply of its own depends on a later
** one: then it reads the newest version, so that it sees its own writes in order, and its reply waits
** like theirs. Between rounds no version is kept from being reclaimed.
**
** Writing. A connection whose command finds another process with the writer's turn waits, and a thread
** waits for the turn on behalf of all such connections (turn.h).
**
** Threads: everything here is the loop's, but for the flush thread's own handle.
*/
#ifndef SERVER_H
#define SERVER_H

#include "absent.h"
#include "conn.h"
#include "flusher.h"
#include "kv.h"
#include "scan_table.h"
#include "slowlog.h"
#include "stats.h"

#define SERVER_READ_SIZE ((size_t)64 << 10)
#define SERVER_BUFFERS_MAX ((size_t)2 << 30) /* of all connections together */
#define SERVER_LISTENERS_MAX 17u             /* addresses and a Unix socket */
#define SERVER_FDS_SPARE 64u /* file descriptors kept for the log and for what libraries need */

typedef struct server_options {
  const char *file;
  const char *bind; /* addresses, separated by blanks or commas */
  const char *unixsocket;
  const char *password; /* NULL: none */
  unsigned port;        /* 0: no TCP */
  unsigned clients_max;
  unsigned idle_timeout_s; /* 0: none */
  unsigned busy_timeout_ms;
  kv_settings settings;
} server_options;

typedef struct server_counters {
  uint64_t connections, rejected, commands, reads, writes, protocol_errors;
  uint64_t hits, misses, errors, bytes_in, bytes_out;
} server_counters;

typedef struct server {
  server_options options;
  uv_loop_t loop;
  uv_prepare_t prepare;
  uv_async_t flushed;     /* sent by the flush thread */
  uv_timer_t retry, cron; /* who waits for the writer's turn for too long; once a second */
  uv_signal_t signals[2];
  uv_poll_t listeners[SERVER_LISTENERS_MAX];
  int listener_fds[SERVER_LISTENERS_MAX];
  unsigned listener_count;
  bool owns_unixsocket; /* its file is removed at the end */
  uv_timer_t accept_pause;
  _Atomic bool is_ending;
  bool is_failed; /* the log cannot be written any more */
  bool
      is_refused; /* the last write was refused, since another process could not write the log any more */
  bool is_full; /* the last write found no room on the disk, and none has found any since */
  uint64_t losses, kept_seq; /* see kv_losses */

  kv *db, *flush_db; /* the second one NULL for a volatile store */
  flusher flusher;
  struct {
    uv_work_t request;
    kv *db; /* NULL: none is under way */
    int rc;
    kv_error err;
    bool is_scheduled; /* to be started by the end of the round */
    bool is_failed;    /* the last one */
    uint64_t began_s;
    int64_t took_s; /* the last one; -1: there was none */
  } rewrite;        /* see rewrite.h */
  struct {
    uv_work_t request;
    bool is_awaited;
  } turn;             /* see turn.h */
  uint64_t published; /* not newer than what everybody may see */
  uint64_t handed;    /* the newest transaction that this server handed over */
  uint64_t asked;     /* and the one that a flush was asked for last */
  bool has_served;    /* since then somebody who did not have to wait for it */

  /* Versions to read, and whether they are those of this batch; see call.h. */
  kv_cursor *seen, *newest;
  bool is_seen_fresh, is_newest_fresh;

  conn_list lists[LIST_COUNT];
  uint64_t next_id;
  size_t buffers; /* bytes */
  resp_limits limits, stranger_limits;
  char *read_buffer;
  resp_arg *args; /* of the request being executed */
  size_t args_room;
  scan_table scans;
  absent_table absent;
  server_counters counters;
  command_stats stats;
  slowlog slow;
  struct { /* of the second before the last one of cron */
    uint64_t commands, bytes_in, bytes_out;
    uint64_t commands_before, bytes_in_before, bytes_out_before;
  } rate;
  uint64_t clock_ns;    /* when the command before this one ended, or this batch began */
  uint64_t rewritten_s; /* when the log was, or the server started: seconds since 1970 */
  char run_id[41];
  char *new_password; /* what CONFIG SET has put into options.password */
  uint64_t started_ms;
} server;

/* Begin to end: take no new connections, flush, send what may be sent, close. */
void server_end(server *s, const char *why);

/* Whether transactions were lost for want of room on the disk since this was asked last; then everybody
** who waits for one has been told. To be asked before a newly read kv_published_seq is believed. */
bool server_note_losses(server *s);

/* A write was begun (KV_OK), or refused: say once that the log cannot be written any more. */
void server_note_refusal(server *s, int rc, const kv_error *err);

/* Let so many clients in from now on, if there can be as many file descriptors. */
bool server_set_clients_max(server *s, unsigned clients_max);

/* "FULL", "NORMAL", "OFF". */
const char *server_synchronous_name(const server *s);

/* The program's `kvstore server ...`; its exit code. */
int server_main(int argc, char **argv);

#endif
