/*
** test_paths.c - names that cannot be opened: links that lead nowhere, in circles or too far, what the
** kernel does not tell, names that are too long, a name of an open log that cannot be looked at; what is
** wrong is said, and nothing is made.
** (links.test and whose.test have the rest.)
*/
#include "kv_help.h"
#include "os.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static os_table real;

static bool says(const char *text) {
  bool found = strstr(help_err.text, text) != NULL;
  if (!found) printf("  it says: %s\n", help_err.text);
  return found;
}

/* How many files the folder has. */
static int count_files(void) {
  DIR *folder = opendir(".");
  int count = 0;
  if (folder == NULL) abort();
  while (readdir(folder) != NULL) count++;
  closedir(folder);
  return count;
}

static void refused(const char *path, int code, const char *words) {
  kv_options options = help_options(path, KV_SYNC_FULL, 1, 10);
  kv *db = NULL;
  int before = count_files();
  CHECK_INT(kv_open(&options, &db, NULL, &help_err), code);
  CHECK(db == NULL && help_err.code == code && says(words));
  CHECK_INT(count_files(), before);
}

/* --- what readlink says ----------------------------------------------------------------------------- */

static const char *link_text; /* NULL: link_errno; "": nothing at all */
static int link_errno;
static bool link_is_too_long;
static unsigned links;

static ssize_t made_up_readlink(const char *path, char *target, size_t size) {
  (void)path;
  links++;
  if (link_is_too_long) {
    memset(target, 'x', size);
    return (ssize_t)size;
  }
  if (link_text == NULL) {
    errno = link_errno;
    return -1;
  }
  memcpy(target, link_text, strlen(link_text));
  return (ssize_t)strlen(link_text);
}

static void *no_malloc(size_t size) {
  (void)size;
  return NULL;
}

static unsigned mallocs_left;

static void *short_malloc(size_t size) {
  return mallocs_left-- > 0 ? real.malloc(size) : no_malloc(size);
}

static void test_links(void) {
  os.readlink = made_up_readlink;
  link_errno = EACCES;
  refused("missing", KV_ECANTOPEN, "cannot open 'missing': Permission denied");
  link_errno = EIO;
  refused("missing", KV_ECANTOPEN, "cannot open 'missing': Input/output error");
  link_text = "next"; /* and so on */
  links = 0;
  refused("missing", KV_ECANTOPEN, "Too many levels of symbolic links");
  CHECK(says("cannot open 'missing', a symbolic link to '") && links > 40);
  link_text = "/nowhere/at/all";
  refused("missing", KV_ECANTOPEN,
          "cannot open 'missing', a symbolic link to '/nowhere/at/all': No such file");
  link_is_too_long = true;
  refused("missing", KV_ECANTOPEN, "File name too long");
  link_is_too_long = false;
  link_text = ""; /* as if it were not there */
  kv *db = help_open_full("missing");
  MUST(kv_close(db, &help_err));
  link_text = "next";
  for (unsigned at = 0; at < 4; at++) {
    os.malloc = short_malloc;
    mallocs_left = at;
    kv_options options = help_options("missing", KV_SYNC_FULL, 1, 10);
    CHECK_INT(kv_open(&options, &db, NULL, &help_err), KV_ENOMEM);
    os.malloc = real.malloc;
  }
  os.readlink = real.readlink;
}

/* --- what stat says --------------------------------------------------------------------------------- */

static int no_stat(const char *path, struct stat *out) {
  (void)path, (void)out;
  errno = EACCES;
  return -1;
}

/* The kernel does not let us follow what the name leads to, though each part of it could be read. */
static void test_protected_link(void) {
  kv *db = help_open_full("there");
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_close(db, &help_err));
  os.stat = no_stat;
  refused("there", KV_ECANTOPEN, "cannot open 'there': Permission denied");
  refused("missing", KV_ECANTOPEN, "cannot open 'missing': Permission denied");
  os.stat = real.stat;
}

/* --- long names ------------------------------------------------------------------------------------- */

static void test_long_names(void) {
  static char path[PATH_MAX + 100];
  memset(path, 'n', 226);
  path[226] = '\0';
  refused(path, KV_ECANTOPEN, "has at most 225 bytes");
  path[225] = '\0';
  kv *db = help_open_full(path);
  MUST(kv_close(db, &help_err));
  memset(path, 'n', 300);
  path[300] = '\0';
  refused(path, KV_ECANTOPEN, "a log's name has at most 225 bytes, its path at most 4065");
  /* a path of folders, longer than what leaves room */
  char here[PATH_MAX];
  if (getcwd(here, sizeof here) == NULL) abort();
  size_t size = strlen(here);
  memcpy(path, here, size);
  char folder[202];
  unsigned depth = 0;
  for (; size + 201 < 4066; depth++) {
    memset(folder, 'd', 200);
    folder[200] = '\0';
    if (mkdir(folder, 0700) != 0 || chdir(folder) != 0) abort();
    path[size++] = '/';
    memcpy(path + size, folder, 200);
    size += 200;
  }
  path[size++] = '/';
  while (size < 4067) path[size++] = 'n';
  path[size] = '\0';
  refused(path, KV_ECANTOPEN, "a log's path has at most 4065 bytes");
  for (; depth > 0; depth--) {
    if (chdir("..") != 0 || rmdir(folder) != 0) abort();
  }
}

/* --- another thread opens it --------------------------------------------------------------------------- */

static bool interrupted;

static bool is_interrupted(void *context) {
  (void)context;
  return interrupted;
}

static unsigned no_time(void *context) {
  (void)context;
  return 0;
}

static void *open_in_thread(void *context) {
  kv_options options = help_options("slow", KV_SYNC_FULL, 1, 10);
  kv *db = NULL;
  int *code = context;
  options.waiting = (kv_waiting){.timeout_ms = no_time, .is_interrupted = is_interrupted};
  *code = kv_open(&options, &db, NULL, &help_err);
  return NULL;
}

/* While the log is being opened, others open it. */
static int open_slowly(const char *path, int flags, mode_t mode) {
  os.open = real.open;
  for (int i = 0; i < 2; i++) {
    pthread_t thread;
    int code = KV_OK;
    interrupted = i == 1;
    if (pthread_create(&thread, NULL, open_in_thread, &code) != 0) abort();
    pthread_join(thread, NULL);
    CHECK_INT(code, interrupted ? KV_EINTERRUPTED : KV_EBUSY);
    CHECK(says(interrupted ? "interrupted waiting for '"
                           : "another thread is opening or following '"));
  }
  return real.open(path, flags, mode);
}

static void test_opening_thread(void) {
  kv *db = help_open_full("slow");
  MUST(help_commit_put(db, "a", "1"));
  MUST(kv_close(db, &help_err));
  os.open = open_slowly;
  db = help_open_full("slow");
  CHECK_STR(help_all(db), "a=1");
  MUST(kv_close(db, &help_err));
}

/* --- what has the name of an open log ------------------------------------------------------------------ */

/* The calls of stat and open that concern the log's name: from the nth on each stat of it fails, and each open. */
static unsigned stat_calls, stat_fails; /* 0: none */
static int stat_errno, open_errno;      /* 0: none fails */

static bool is_named(const char *path) {
  const char *name = strrchr(path, '/');
  return strcmp(name != NULL ? name + 1 : path, "named") == 0;
}

static int failing_stat(const char *path, struct stat *out) {
  if (is_named(path) && ++stat_calls >= stat_fails && stat_fails > 0) {
    errno = stat_errno;
    return -1;
  }
  return real.stat(path, out);
}

static int failing_open(const char *path, int flags, mode_t mode) {
  if (is_named(path) && open_errno != 0) {
    errno = open_errno;
    return -1;
  }
  return real.open(path, flags, mode);
}

static int open_further(bool readonly) {
  kv_options options = help_options("named", KV_SYNC_FULL, 1, 10);
  kv *db = NULL;
  options.readonly = readonly;
  stat_calls = 0;
  int rc = kv_open(&options, &db, NULL, &help_err);
  if (rc == KV_OK) MUST(kv_close(db, &help_err));
  return rc;
}

/* A further handle asks what has the name: nothing is no error, and what cannot be told is one. */
static void test_further_handle(void) {
  static const struct {
    int reason, code;
  } answers[] = {{ENOENT, KV_OK}, {ENOTDIR, KV_OK}, {EIO, KV_EIO}};
  kv *db = help_open_full("named");
  MUST(help_commit_put(db, "a", "1"));
  os.stat = failing_stat;
  stat_fails = 0;
  CHECK_INT(open_further(false), KV_OK);
  unsigned last = stat_calls;
  CHECK(last > 0);
  for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
    stat_fails = last;
    stat_errno = answers[i].reason;
    CHECK_INT(open_further(false), answers[i].code);
    if (answers[i].code != KV_OK) CHECK(says("stat"));
  }
  stat_fails = 0;
  os.stat = real.stat;
  CHECK_STR(help_all(db), "a=1");
  MUST(kv_close(db, &help_err));
}

/* The same by a reader that is alone: with nothing under the name it goes on with what it has. */
static void test_looking(void) {
  kv_options options = help_options("named", KV_SYNC_FULL, 1, 10);
  kv_cursor *c = NULL;
  kv *db = NULL;
  options.readonly = true;
  MUST(kv_open(&options, &db, NULL, &help_err));
  CHECK_STR(help_all(db), "a=1");
  os.stat = failing_stat;
  stat_fails = 1;
  stat_errno = ENOTDIR;
  CHECK_STR(help_all(db), "a=1");
  stat_errno = EIO;
  CHECK_INT(kv_cursor_open(db, &c, &help_err), KV_EIO);
  CHECK(says("stat"));
  stat_fails = 0;
  kv *other = help_open_full("another");
  MUST(help_commit_put(other, "b", "2"));
  MUST(kv_close(other, &help_err));
  if (rename("another", "named") != 0) abort();
  os.open = failing_open;
  open_errno = ENOENT;
  CHECK_STR(help_all(db), "a=1");
  open_errno = EACCES;
  CHECK_INT(kv_cursor_open(db, &c, &help_err), KV_ECANTOPEN);
  CHECK(says("named': Permission denied"));
  open_errno = 0;
  CHECK_STR(help_all(db), "b=2");
  os.open = real.open;
  os.stat = real.stat;
  MUST(kv_close(db, &help_err));
}

int main(void) {
  real = os;
  test_links();
  test_protected_link();
  test_long_names();
  test_opening_thread();
  test_further_handle();
  test_looking();
  return unit_done();
}
