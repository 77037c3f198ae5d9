/*
** process_help.h - children of a test that open a log for themselves.
**
** A child is forked while the test has no store open, or none that the child touches; it is killed
** when the test ends, however that ends. Parent and children tell each other where they are by
** flags in memory that they share.
*/
#ifndef PROCESS_HELP_H
#define PROCESS_HELP_H

#include "kv_help.h"
#include "os.h"

#include <dirent.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 60000u /* for what takes no time unless something is broken */

static inline void *shared_memory(size_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) abort();
  return memory;
}

static inline unsigned now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (unsigned)(now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

/* A number in the environment. */
static inline uint64_t number_of(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

/* Run a function in a child; checks that fail there, or its abort, fail the parent's check of its
** end. */
static inline pid_t child_start(void (*run)(void *), void *context) {
  fflush(stdout);
  pid_t parent = getpid(), child = fork();
  if (child < 0) abort();
  if (child > 0) return child;
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  unit_passed = unit_failed = 0;
  run(context);
  fflush(stdout);
  _exit(unit_failed > 0);
}

/* Wait for its end: its exit status, or 1000 and the signal that killed it. */
static inline int child_end(pid_t child) {
  int status = 0;
  if (waitpid(child, &status, 0) != child) abort();
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static inline void child_kill(pid_t child) {
  if (kill(child, SIGKILL) != 0 || child_end(child) != 1000 + SIGKILL) abort();
}

/* Wait until it has stopped itself; false: it has ended. */
static inline bool child_stopped(pid_t child) {
  int status = 0;
  return waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status);
}

static inline int child_go_on(pid_t child) {
  if (kill(child, SIGCONT) != 0) abort();
  return child_end(child);
}

/* Wait until a flag has come to a value. */
static inline void await(atomic_int *flag, int value) {
  unsigned began_ms = now_ms();
  while (atomic_load(flag) < value) {
    if (now_ms() - began_ms > PATIENCE_MS) {
      printf("waited in vain\n");
      abort();
    }
    usleep(200);
  }
}

static inline bool exists(const char *path) {
  return access(path, F_OK) == 0;
}

/* A file's bytes, malloced. */
static inline char *bytes_of(const char *path, size_t *size) {
  struct stat facts;
  FILE *file = fopen(path, "r");
  if (file == NULL || fstat(fileno(file), &facts) != 0) abort();
  char *bytes = malloc((size_t)facts.st_size + 1);
  if (bytes == NULL) abort();
  *size = fread(bytes, 1, (size_t)facts.st_size, file);
  fclose(file);
  return bytes;
}

static inline void write_file(const char *path, const char *bytes, size_t size) {
  FILE *file = fopen(path, "w");
  if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) abort();
}

/* Wait until something is written, and told. */
static inline void await_in_file(const char *path, const char *text) {
  for (bool written = false; !written; usleep(1000)) {
    size_t size;
    char *bytes = bytes_of(path, &size);
    bytes[size] = '\0';
    written = strstr(bytes, text) != NULL;
    free(bytes);
  }
  usleep(20000);
}

/* How many files there are beside the log that have its name at their beginning; they are told. */
static inline int left_over(const char *path) {
  DIR *folder = opendir(".");
  int count = 0;
  if (folder == NULL) abort();
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    size_t size = strlen(path);
    if (strncmp(entry->d_name, path, size) != 0 || entry->d_name[size] != '-') continue;
    printf("  left over: %s\n", entry->d_name);
    count++;
  }
  closedir(folder);
  return count;
}

static inline kv *open_readonly(const char *path) {
  kv_options options = help_options(path, KV_SYNC_FULL, 1, 10);
  options.readonly = true;
  kv *db = NULL;
  MUST(kv_open(&options, &db, NULL, &help_err));
  return db;
}

static inline int commit_number(kv *db, const char *key, int64_t number) {
  int rc = kv_begin(db, BUSY_MS, &help_err);
  if (rc != KV_OK) return rc;
  rc = help_put_number(db, key, number);
  if (rc != KV_OK) {
    kv_rollback(db);
    return rc;
  }
  return kv_commit(db, 0, &help_err);
}

/* The number a cursor finds at a keypath, 0 if there is none. */
static inline int64_t cursor_number(kv_cursor *c, const char *key) {
  kv_value value;
  kv_cursor_find(c, key, strlen(key));
  if (!kv_cursor_valid(c)) return 0;
  kv_cursor_value(c, &value);
  return value.type == KV_INTEGER ? value.integer : -1;
}

#endif
