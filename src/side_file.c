/* side_file.c - names that belong to another file. See side_file.h. */
#include "side_file.h"

#include "os.h"

#include <fcntl.h>
#include <string.h>

static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
#define SUFFIXES (sizeof suffixes / sizeof suffixes[0])

static const char super_journal[] = "-mj"; /* and hex digits */

/* --- names ---------------------------------------------------------------------------------------- */

static char lower(char c) {
  return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static bool is_letter(char c) {
  return lower(c) >= 'a' && lower(c) <= 'z';
}

static bool is_hex_digit(char c) {
  return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'f');
}

/* The bytes in front of a suffix, 0 if the name does not end with it or has nothing else. */
static size_t without_suffix(const char *path, size_t size, const char *suffix) {
  size_t suffix_size = strlen(suffix);
  if (size <= suffix_size || path[size - suffix_size - 1] == '/') return 0;
  for (size_t i = 0; i < suffix_size; i++) {
    if (lower(path[size - suffix_size + i]) != suffix[i]) return 0;
  }
  return size - suffix_size;
}

size_t side_file_base(const char *path) {
  size_t size = strlen(path), digits = size;
  for (size_t i = 0; i < SUFFIXES; i++) {
    size_t base = without_suffix(path, size, suffixes[i]);
    if (base > 0) return base;
  }
  while (digits > 0 && is_hex_digit(path[digits - 1])) digits--;
  return digits < size ? without_suffix(path, digits, super_journal) : 0;
}

static char *copy_of(const char *text, size_t size, const char *more) {
  size_t more_size = strlen(more) + 1;
  char *out = os.malloc(size + more_size);
  if (out == NULL) return NULL;
  memcpy(out, text, size);
  memcpy(out + size, more, more_size);
  return out;
}

static int no_memory(const char *path, kv_error *err) {
  return kv_error_set(err, KV_ENOMEM, "out of memory opening '%s'", path);
}

/* --- files ---------------------------------------------------------------------------------------- */

static bool is_same_file(const char *a, const char *b) {
  struct stat left, right;
  return os.stat(a, &left) == 0 && os.stat(b, &right) == 0 && left.st_dev == right.st_dev &&
         left.st_ino == right.st_ino;
}

bool side_file_is_regular(const char *path) {
  struct stat facts;
  return os.stat(path, &facts) == 0 && S_ISREG(facts.st_mode);
}

/* One file, or one name of a file that may not be there yet. */
static bool is_same(const char *a, const char *b) {
  return strcmp(a, b) == 0 || is_same_file(a, b);
}

/* Whether the file system of an existing file takes upper and lower case for the same: whether its
** name with a letter in the other case is the same file. `name` is changed meanwhile. */
static bool folds_case(char *name) {
  char *slash = strrchr(name, '/');
  for (char *at = slash != NULL ? slash + 1 : name; *at != '\0'; at++) {
    if (!is_letter(*at)) continue;
    struct stat as_it_is, other;
    bool exists = os.stat(name, &as_it_is) == 0;
    *at = (char)(*at ^ ('a' ^ 'A'));
    bool same = exists && os.stat(name, &other) == 0 && as_it_is.st_dev == other.st_dev &&
                as_it_is.st_ino == other.st_ino;
    *at = (char)(*at ^ ('a' ^ 'A'));
    return same;
  }
  return false;
}

/* Whether the suffix behind the base is SQLite's as it stands, or for the base's file system. */
static bool is_suffix_of(const char *path, char *base, size_t base_size) {
  for (const char *at = path + base_size; *at != '\0'; at++) {
    bool is_digit_of_super_journal = at - (path + base_size) >= 3 && is_hex_digit(*at);
    if (lower(*at) != *at && !is_digit_of_super_journal) return folds_case(base);
  }
  return true;
}

static int refuse(const char *path, const char *database, kv_error *err) {
  return kv_error_set(
      err, KV_ECANTOPEN,
      "'%s' has the name of a file that SQLite itself keeps beside '%s', and removes; "
      "another name is needed",
      path, database);
}

int side_file_check_database(const char *path, const char *given, const char *database,
                             kv_error *err) {
  if (is_same(path, database)) {
    return kv_error_set(err, KV_ECANTOPEN, "'%s' is the database; a log is a file of its own",
                        given);
  }
  int rc = KV_OK;
  size_t base_size = side_file_base(path);
  if (base_size > 0) {
    char *base = copy_of(path, base_size, "");
    if (base == NULL) return no_memory(path, err);
    if (is_same(base, database) && is_suffix_of(path, base, base_size)) {
      rc = refuse(path, database, err);
    }
    os.free(base);
  }
  /* A second name of a side file that is there. */
  for (size_t i = 0; i < SUFFIXES && rc == KV_OK; i++) {
    char *side = copy_of(database, strlen(database), suffixes[i]);
    if (side == NULL) return no_memory(path, err);
    if (is_same_file(path, side)) rc = refuse(path, database, err);
    os.free(side);
  }
  return rc;
}

int side_file_check_beside(const char *path, bool (*is_database)(const char *path), kv_error *err) {
  size_t base_size = side_file_base(path);
  if (base_size == 0) return KV_OK;
  char *base = copy_of(path, base_size, "");
  if (base == NULL) return no_memory(path, err);
  bool is_side =
      side_file_is_regular(base) && is_suffix_of(path, base, base_size) && is_database(base);
  int rc = is_side ? refuse(path, base, err) : KV_OK;
  os.free(base);
  return rc;
}

int side_file_check_own(const char *path, kv_error *err) {
  size_t size = strlen(path), base_size = without_suffix(path, size, "-kvstore-new");
  if (base_size > 0) {
    return kv_error_set(err, KV_ECANTOPEN,
                        "'%s' has the name of a log under construction, which the next opening of "
                        "the log '%.*s' removes; another name is needed",
                        path, (int)base_size, path);
  }
  base_size = without_suffix(path, size, "-shm");
  if (base_size == 0) return KV_OK;
  char *base = copy_of(path, base_size, "");
  if (base == NULL) return no_memory(path, err);
  bool is_side = side_file_is_regular(base) && is_suffix_of(path, base, base_size);
  os.free(base);
  if (!is_side) return KV_OK;
  return kv_error_set(err, KV_ECANTOPEN,
                      "'%s' has the name of the file that processes share beside the log or "
                      "database '%.*s'; another name is needed",
                      path, (int)base_size, path);
}

bool side_file_is_database(const char *path) {
  static const char magic[] = "SQLite format 3";
  char head[sizeof magic];
  int fd = os.open(path, O_RDONLY | O_NONBLOCK, 0);
  if (fd < 0) return false;
  ssize_t got = os_read_all(fd, head, sizeof head, 0);
  os.close(fd);
  return got == (ssize_t)sizeof head && memcmp(head, magic, sizeof head) == 0;
}
