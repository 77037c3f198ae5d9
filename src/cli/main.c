/*
** main.c - the program kvstore: what can be done with a log from the command line.
**
** One word chooses the tool, the rest is the tool's (tool.h). Exit codes: 0 all is well; 1 what the
** tool's --help says; 2 anything went wrong, or was not understood.
*/
#include "client.h"
#include "server.h"
#include "tool.h"

#include <string.h>

static int run_server(int argc, char **argv) {
  return server_main(argc - 1, argv + 1);
}

static int run_client(int argc, char **argv) {
  return client_main(argc - 1, argv + 1);
}

static const struct {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *what;
} tools[] = {
    {"server", run_server, "serve a log to clients of the Redis protocol"},
    {"client", run_client, "be such a client: put, get, del, ls, tree, scan"},
    {"check", tool_check, "verify every transaction of a log, changing nothing"},
    {"repair", tool_repair, "write what verifies of a damaged log to a new one"},
    {"dump", tool_dump, "write the content as SQL, TSV or JSON"},
    {"load", tool_load, "read what dump wrote into a log"},
    {"log", tool_log, "show a log line by line, and follow it as it grows"},
    {"compact", tool_compact, "rewrite a log to what is live, while others write"},
    {"stat", tool_stat, "tell what is in a log, and how much of it is live"},
};

enum { TOOLS = sizeof tools / sizeof tools[0] };

static void usage(FILE *out) {
  fputs("usage: kvstore TOOL [OPTION...] FILE\n\n", out);
  for (int i = 0; i < TOOLS; i++) fprintf(out, "  %-8s %s\n", tools[i].name, tools[i].what);
  fputs("\n'kvstore TOOL --help' tells more, 'kvstore --version' the version. The log is written\n"
        "through SQLite, too: in the sqlite3 shell, .load ./kvstore\n",
        out);
}

int main(int argc, char **argv) {
  if (argc >= 2) {
    for (int i = 0; i < TOOLS; i++) {
      if (strcmp(argv[1], tools[i].name) == 0) {
        int code = tools[i].run(argc - 1, argv + 1);
        if (fflush(stdout) != 0 || ferror(stdout)) code = tool_fail("cannot write to stdout");
        return code;
      }
    }
    if (strcmp(argv[1], "--version") == 0) {
      printf("kvstore %s\n", kv_version());
      return 0;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
      usage(stdout);
      return 0;
    }
    fprintf(stderr, "kvstore: '%s' is not a tool of it\n", argv[1]);
  }
  usage(stderr);
  return 2;
}
