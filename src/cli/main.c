/*
** main.c - the program kvstore: what can be done with a log from the command line.
**
** Exit codes: 0 all is well; 1 the log has a torn tail; 2 anything else went wrong.
*/
#include "client.h"
#include "kv.h"
#include "server.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: kvstore server FILE   serve a log to clients of the Redis protocol\n"
    "       kvstore client WORDS   be such a client: put, get, del, ls, tree, scan\n"
    "       kvstore check FILE     verify every transaction of a log, changing nothing\n"
    "       kvstore --version\n"
    "       kvstore --help\n"
    "\n"
    "`kvstore server --help` and `kvstore client --help` tell their options. In the sqlite3\n"
    "shell, .load ./kvstore opens a log as a table.\n";

/* Opening verifies everything, so that a check is an opening that never writes. */
static int check(const char *path) {
  kv_options options = {.path = path, .readonly = true};
  kv *db;
  kv_error err;
  kv_stats stats;
  int rc = kv_open(&options, &db, NULL, &err);
  if (rc == KV_OK) {
    rc = kv_get_stats(db, &stats, &err);
    if (rc != KV_OK) (void)kv_close(db, NULL);
  }
  if (rc != KV_OK) {
    fprintf(stderr, "kvstore: %s\n", err.text);
    return 2;
  }
  printf("%s: %" PRIu64 " transactions verified, %" PRIu64 " keys, %" PRIu64 " bytes\n", path,
         stats.replay_transactions, stats.keys, stats.log_bytes);
  if (stats.torn_bytes > 0) {
    printf("%s: torn tail: %" PRIu64 " bytes behind transaction %" PRIu64 " (byte %" PRIu64
           ") were not flushed before a crash; the next writer saves them and cuts them off\n",
           path, stats.torn_bytes, stats.seq, stats.log_bytes);
  }
  (void)kv_close(db, NULL);
  return stats.torn_bytes > 0 ? 1 : 0;
}

int main(int argc, char **argv) {
  if (argc >= 2 && strcmp(argv[1], "server") == 0) return server_main(argc - 2, argv + 2);
  if (argc >= 2 && strcmp(argv[1], "client") == 0) return client_main(argc - 2, argv + 2);
  if (argc == 3 && strcmp(argv[1], "check") == 0) return check(argv[2]);
  if (argc == 2 && strcmp(argv[1], "--version") == 0) {
    printf("kvstore %s\n", kv_version());
    return 0;
  }
  if (argc == 2 && strcmp(argv[1], "--help") == 0) {
    fputs(usage, stdout);
    return 0;
  }
  fputs(usage, stderr);
  return 2;
}
