/*
** fuzz_table.c - what people write between the parentheses of CREATE VIRTUAL TABLE ... USING kvstore(),
** and commands to the table.
**
** The first byte chooses the database: 'f' a file, 'u' one in UTF-16, else none. The rest of the first
** line are the arguments. Each further line is a command with its value, `name=value` or `name`, given
** by INSERT INTO t(t, value); or with '>' in front a new name for the table. There are a sound log
** test.dat and a damaged one bad.dat to be opened; files elsewhere than in the target's own folder do
** not open.
**
** What fails says why, and says that it comes from here; what succeeds makes a table that works.
*/
#include "fuzz_help.h"
#include "os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

int sqlite3_kvstore_init(sqlite3 *connection, char **message, const sqlite3_api_routines *api);

#define FOLDER "fuzz_table.files"

/* --- files only in the folder --------------------------------------------------------------------- */

static char folder[4096];
static os_table real;
static uint64_t random_count;

static bool is_inside(const char *path) {
  size_t size = strlen(folder);
  if (strstr(path, "..") != NULL) return false;
  return path[0] != '/' || (strncmp(path, folder, size) == 0 && strchr("/", path[size]) != NULL);
}

static int refuse(void) {
  errno = EACCES;
  return -1;
}

static int guarded_open(const char *path, int flags, mode_t mode) {
  return is_inside(path) ? real.open(path, flags, mode) : refuse();
}

static int guarded_rename(const char *from, const char *to) {
  return is_inside(from) && is_inside(to) ? real.rename(from, to) : refuse();
}

static int guarded_link(const char *from, const char *to) {
  return is_inside(from) && is_inside(to) ? real.link(from, to) : refuse();
}

static int guarded_unlink(const char *path) {
  return is_inside(path) ? real.unlink(path) : refuse();
}

static int no_sync(int fd) {
  (void)fd;
  return 0;
}

static int same_random(void *data, size_t size) {
  for (size_t i = 0; i < size; i++) ((uint8_t *)data)[i] = (uint8_t)(random_count++ * 37 >> 3);
  return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  (void)mkdir(FOLDER, 0755);
  FUZZ_CHECK(realpath(FOLDER, folder) != NULL, "no folder");
  real = os;
  os.open = guarded_open;
  os.rename = guarded_rename;
  os.link = guarded_link;
  os.unlink = guarded_unlink;
  os.fdatasync = os.fsync = no_sync;
  os.random = same_random;
  return 0;
}

static void put_file(const char *name, const char *text) {
  int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  FUZZ_CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s", name);
  close(fd);
}

static void empty_folder(void) {
  DIR *at = opendir(".");
  FUZZ_CHECK(at != NULL, "the folder is gone");
  for (struct dirent *entry; (entry = readdir(at)) != NULL;) {
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
      (void)unlink(entry->d_name);
    }
  }
  closedir(at);
  random_count = 0;
}

static void make_files(void) {
  static const char sound[] = "KVSTORE\t1\t5fe36501e30f856f\t0\t00631734\n"
                              "WRITE\ttest/val\tthis is a test val\nCOMMIT\t1\t0\tc0017df0\n";
  empty_folder();
  put_file("test.dat", sound);
  put_file("bad.dat", "KVSTORE\t1\t5fe36501e30f856f\t0\t00631735\n");
}

/* --- statements ----------------------------------------------------------------------------------- */

static sqlite3 *connection;

static bool is_ours(const char *message) {
  return strncmp(message, "kvstore: ", 9) == 0 && message[9] != '\0';
}

/* Execute one statement, with up to two texts bound. */
static int execute(const char *sql, const char *first, const char *second) {
  sqlite3_stmt *statement = NULL;
  int rc = sqlite3_prepare_v2(connection, sql, -1, &statement, NULL);
  if (statement == NULL) return rc;
  if (first != NULL) sqlite3_bind_text(statement, 1, first, -1, SQLITE_STATIC);
  if (second != NULL) sqlite3_bind_text(statement, 2, second, -1, SQLITE_STATIC);
  while (sqlite3_step(statement) == SQLITE_ROW) {
    for (int i = 0; i < sqlite3_column_count(statement); i++) {
      (void)sqlite3_column_text(statement, i);
    }
  }
  return sqlite3_finalize(statement);
}

static int count_rows(const char *sql) {
  sqlite3_stmt *statement = NULL;
  int count = -1;
  int rc = sqlite3_prepare_v2(connection, sql, -1, &statement, NULL);
  if (rc == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
    count = sqlite3_column_int(statement, 0);
  }
  (void)sqlite3_finalize(statement);
  return count;
}

static void command(const char *name, const char *value) {
  if (execute("INSERT INTO t(t, value) VALUES(?, ?)", name, value) == SQLITE_OK) return;
  FUZZ_CHECK(is_ours(sqlite3_errmsg(connection)), "command '%s': %s", name,
             sqlite3_errmsg(connection));
}

/* It agrees with its log; a readonly one takes no commands. */
static void check_integrity(void) {
  int rc = execute("INSERT INTO t(t) VALUES('integrity-check')", NULL, NULL);
  const char *message = sqlite3_errmsg(connection);
  bool refused = rc == SQLITE_READONLY || rc == SQLITE_CANTOPEN;
  FUZZ_CHECK(rc == SQLITE_OK || (refused && is_ours(message)), "%d: %s", rc, message);
}

/* It can be read; and written, unless it says that it is readonly, or that no file can be made. */
static void use(void) {
  FUZZ_CHECK(execute("SELECT key, value FROM t ORDER BY key", NULL, NULL) == SQLITE_OK, "%s",
             sqlite3_errmsg(connection));
  command("group_timeout", "0"); /* or else the write waits for others */
  int rc = execute("INSERT OR REPLACE INTO t VALUES('fuzz/key', 1)", NULL, NULL);
  const char *message = sqlite3_errmsg(connection);
  bool refused = rc == SQLITE_READONLY || rc == SQLITE_CANTOPEN;
  FUZZ_CHECK(rc == SQLITE_OK || (refused && is_ours(message)), "%d: %s", rc, message);
  if (rc == SQLITE_OK) {
    FUZZ_CHECK(count_rows("SELECT count(*) FROM t WHERE key = 'fuzz/key' AND value = 1") == 1,
               "the row is not found");
    FUZZ_CHECK(execute("DELETE FROM t WHERE key = 'fuzz/key'", NULL, NULL) == SQLITE_OK, "%s",
               sqlite3_errmsg(connection));
  }
}

/* Rename there and back. */
static void rename_table(const char *name) {
  char *there = sqlite3_mprintf("ALTER TABLE t RENAME TO \"%w\"", name);
  char *back = sqlite3_mprintf("ALTER TABLE \"%w\" RENAME TO t", name);
  int rc = execute(there, NULL, NULL);
  if (rc == SQLITE_OK) {
    FUZZ_CHECK(execute(back, NULL, NULL) == SQLITE_OK, "back from '%s': %s", name,
               sqlite3_errmsg(connection));
  } else {
    const char *message = sqlite3_errmsg(connection);
    FUZZ_CHECK(message[0] != '\0' && strcmp(message, sqlite3_errstr(rc)) != 0, "'%s': %s", name,
               message);
  }
  sqlite3_free(there);
  sqlite3_free(back);
}

/* --- an input ------------------------------------------------------------------------------------- */

static bool create(char kind, const char *arguments) {
  bool temp = kind != 'f' && kind != 'm';
  char *sql = sqlite3_mprintf("CREATE VIRTUAL TABLE %s.t USING kvstore(%s)", temp ? "temp" : "main",
                              arguments);
  sqlite3_stmt *statement = NULL;
  if (sqlite3_prepare_v2(connection, sql, -1, &statement, NULL) != SQLITE_OK) {
    sqlite3_free(sql); /* no SQL */
    return false;
  }
  (void)sqlite3_step(statement);
  int rc = sqlite3_finalize(statement);
  FUZZ_CHECK(rc == SQLITE_OK || is_ours(sqlite3_errmsg(connection)), "%s: %s", sql,
             sqlite3_errmsg(connection));
  sqlite3_free(sql);
  return rc == SQLITE_OK;
}

static bool is_ascii(const char *text) {
  while (*text != '\0' && (unsigned char)*text < 0x80) text++;
  return *text == '\0';
}

/* What is no UTF-8 becomes another name in UTF-16. */
static void run_lines(char *at, bool utf16) {
  for (char *next; at != NULL; at = next) {
    next = strchr(at, '\n');
    if (next != NULL) *next++ = '\0';
    char *value = strchr(at, '=');
    if (at[0] == '>') {
      if (!utf16 || is_ascii(at + 1)) rename_table(at + 1);
    } else {
      if (value != NULL) *value++ = '\0';
      command(at, value);
    }
  }
}

static void run(char *text) {
  char kind = text[0];
  char *arguments = text + 1, *lines = strchr(text, '\n');
  if (kind == '\0' || lines == text) return;
  if (lines != NULL) *lines++ = '\0';
  const char *file = kind == 'f' ? "fuzz.db" : ":memory:";
  FUZZ_CHECK(sqlite3_open(file, &connection) == SQLITE_OK, "open");
  (void)sqlite3_exec(connection, "PRAGMA synchronous = OFF", NULL, NULL, NULL);
  if (kind == 'u') (void)sqlite3_exec(connection, "PRAGMA encoding = 'UTF-16'", NULL, NULL, NULL);
  FUZZ_CHECK(sqlite3_kvstore_init(connection, NULL, NULL) == SQLITE_OK, "load");
  if (create(kind, arguments)) {
    use();
    run_lines(lines, kind == 'u');
    use();
    check_integrity();
    FUZZ_CHECK(execute("DROP TABLE t", NULL, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(connection));
  }
  FUZZ_CHECK(sqlite3_close(connection) == SQLITE_OK, "something is open still");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int home = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  FUZZ_CHECK(home >= 0 && chdir(FOLDER) == 0, "no folder");
  make_files();
  char *text = fuzz_memory(size + 1);
  memcpy(text, data, size);
  run(text);
  free(text);
  FUZZ_CHECK(fchdir(home) == 0, "no way back");
  close(home);
  return 0;
}
