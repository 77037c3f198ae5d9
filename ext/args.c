/* args.c - the arguments of CREATE VIRTUAL TABLE. See args.h. */
#include "args.h"

#include <string.h>

#define VALID_NAMES                                                                                \
  "file, synchronous, group_size, group_timeout, busy_timeout, auto_checkpoint, readonly, "        \
  "log_name"

static const char *const names[] = {"file",          "synchronous",  "group_size",
                                    "group_timeout", "busy_timeout", "auto_checkpoint",
                                    "readonly",      "log_name"};

/* Space as SQL has it, independent of the locale. */
static bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static bool is_name_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static int refuse(char **message, const char *format, const char *name, const char *value) {
  char *text = sqlite3_mprintf(format, name, value);
  *message = text != NULL ? sqlite3_mprintf("kvstore: %s", text) : NULL;
  sqlite3_free(text);
  return *message != NULL ? SQLITE_ERROR : SQLITE_NOMEM;
}

/* A copy of the text from..end without space around it and, if it is quoted ('', "", `` or []),
** without its quotes. `*whole`: nothing follows the closing quote. */
static char *unquoted(const char *from, const char *end, bool *whole) {
  while (from < end && is_space(*from)) from++;
  while (end > from && is_space(end[-1])) end--;
  *whole = true;
  char *out = sqlite3_malloc64((sqlite3_uint64)(end - from) + 1);
  if (out == NULL) return NULL;
  char *to = out, quote = from < end ? *from : '\0';
  if (quote != '\'' && quote != '"' && quote != '`' && quote != '[') {
    memcpy(out, from, (size_t)(end - from));
    out[end - from] = '\0';
    return out;
  }
  char closing = quote == '[' ? ']' : quote;
  for (from++; from < end; from++) {
    bool doubled = quote != '[' && end - from >= 2 && from[1] == closing;
    if (*from == closing && !doubled) break;
    if (*from == closing) from++;
    *to++ = *from;
  }
  *to = '\0';
  *whole = end - from == 1;
  return out;
}

/* A whole number in [low, high]. */
static bool parse_number(const char *text, int64_t low, int64_t high, int64_t *out) {
  int64_t number = 0;
  if (*text == '\0') return false;
  for (; *text != '\0'; text++) {
    if (*text < '0' || *text > '9' || number > high) return false;
    number = number * 10 + (*text - '0');
  }
  if (number < low || number > high) return false;
  *out = number;
  return true;
}

static int set_number(const char *name, const char *value, int64_t low, int64_t high, int64_t *out,
                      char **message) {
  if (parse_number(value, low, high, out)) return SQLITE_OK;
  char *expected = sqlite3_mprintf("%%s=%%s: expected a whole number from %lld to %lld", low, high);
  if (expected == NULL) return SQLITE_NOMEM;
  int rc = refuse(message, expected, name, value);
  sqlite3_free(expected);
  return rc;
}

int args_apply_setting(const char *name, const char *value, kv_settings *settings, char **message) {
  int64_t number = 0;
  int rc;
  if (sqlite3_stricmp(name, "synchronous") == 0) {
    static const char *const modes[] = {"OFF", "NORMAL", "FULL"};
    for (int i = 0; i < 3; i++) {
      if (sqlite3_stricmp(value, modes[i]) == 0) {
        settings->synchronous = (kv_sync)i;
        return SQLITE_OK;
      }
    }
    return refuse(message, "%s=%s: expected FULL, NORMAL or OFF", name, value);
  }
  if (sqlite3_stricmp(name, "group_size") == 0) {
    rc = set_number(name, value, 1, KV_GROUP_SIZE_MAX, &number, message);
    if (rc == SQLITE_OK) settings->group_size = (unsigned)number;
    return rc;
  }
  if (sqlite3_stricmp(name, "group_timeout") == 0) {
    rc = set_number(name, value, 0, KV_GROUP_TIMEOUT_MS_MAX, &number, message);
    if (rc == SQLITE_OK) settings->group_timeout_ms = (unsigned)number;
    return rc;
  }
  if (sqlite3_stricmp(name, "auto_checkpoint") == 0) {
    rc = set_number(name, value, 0, INT64_MAX / 16, &number, message);
    if (rc == SQLITE_OK) settings->auto_checkpoint = number > 0 ? (uint64_t)number : KV_NEVER;
    return rc;
  }
  return SQLITE_NOTFOUND;
}

static int set_flag(const char *name, const char *value, bool *out, char **message) {
  static const char *const words[] = {"0", "1", "off", "on", "no", "yes", "false", "true"};
  for (int i = 0; i < 8; i++) {
    if (sqlite3_stricmp(value, words[i]) == 0) {
      *out = i % 2 == 1;
      return SQLITE_OK;
    }
  }
  return refuse(message, "%s=%s: expected 0 or 1", name, value);
}

static int apply(args *a, const char *name, const char *value, char **message) {
  int64_t number = 0;
  int rc = args_apply_setting(name, value, &a->settings, message);
  if (rc != SQLITE_NOTFOUND) return rc;
  if (sqlite3_stricmp(name, "busy_timeout") == 0) {
    rc = set_number(name, value, 0, 2147483647, &number, message);
    if (rc == SQLITE_OK) a->busy_timeout_ms = (int)number;
    return rc;
  }
  if (sqlite3_stricmp(name, "readonly") == 0) return set_flag(name, value, &a->readonly, message);
  if (sqlite3_stricmp(name, "log_name") == 0) {
    a->log_name = sqlite3_mprintf("%s", value); /* any: it is a table's name */
    return a->log_name != NULL ? SQLITE_OK : SQLITE_NOMEM;
  }
  return refuse(message, "unknown argument '%s'; valid are " VALID_NAMES "%s", name, "");
}

static int set_file(args *a, const char *value, char **message) {
  if (value[0] == '\0') return refuse(message, "%s: the file name is empty%s", "file", "");
  if (a->file != NULL) return refuse(message, "two file names: '%s' and '%s'", a->file, value);
  a->file = sqlite3_mprintf("%s", value);
  return a->file != NULL ? SQLITE_OK : SQLITE_NOMEM;
}

/* Setting a name twice is more likely a slip than a wish. */
static int check_once(unsigned *seen, const char *name, char **message) {
  for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (sqlite3_stricmp(name, names[i]) != 0) continue;
    if (*seen & 1u << i) return refuse(message, "argument '%s' is given twice%s", names[i], "");
    *seen |= 1u << i;
  }
  return SQLITE_OK;
}

/* One argument: name=value, or the positional file name. `seen` has a bit for each name so far. */
static int parse_one(args *a, bool first, const char *text, unsigned *seen, char **message) {
  const char *at = text, *end = text + strlen(text);
  while (is_space(*at)) at++;
  const char *name_from = at;
  while (is_name_byte(*at)) at++;
  const char *name_end = at;
  while (is_space(*at)) at++;
  bool named = *at == '=' && name_end > name_from, whole;
  char *name = sqlite3_mprintf("%.*s", named ? (int)(name_end - name_from) : 0, name_from);
  char *value = unquoted(named ? at + 1 : text, end, &whole);
  int rc = name == NULL || value == NULL ? SQLITE_NOMEM : SQLITE_OK;
  if (rc == SQLITE_OK && !whole) {
    rc = refuse(message, "malformed argument %s: one quoted value is expected%s", name_from, "");
  } else if (rc == SQLITE_OK && named) {
    rc = check_once(seen, name, message);
  }
  if (rc == SQLITE_OK && (!named || sqlite3_stricmp(name, "file") == 0)) {
    rc = named || first ? set_file(a, value, message)
                        : refuse(message,
                                 "'%s' is not name=value; only the first argument may be a file "
                                 "name alone; valid names are " VALID_NAMES "%s",
                                 value, "");
  } else if (rc == SQLITE_OK) {
    rc = apply(a, name, value, message);
  }
  sqlite3_free(name);
  sqlite3_free(value);
  return rc;
}

int args_parse(int argc, const char *const *argv, args *out, char **message) {
  *out = (args){.settings = {.synchronous = KV_SYNC_FULL, .group_timeout_ms = 10},
                .busy_timeout_ms = -1};
  int rc = SQLITE_OK;
  unsigned seen = 0;
  /* kvstore() comes as one empty argument. */
  bool none = argc == 1 && argv[0][strspn(argv[0], " \t\r\n")] == '\0';
  for (int i = 0; i < argc && rc == SQLITE_OK && !none; i++) {
    rc = parse_one(out, i == 0, argv[i], &seen, message);
  }
  if (out->settings.group_size == 0) {
    out->settings.group_size = kv_default_group_size(out->settings.synchronous);
  }
  if (rc != SQLITE_OK) args_free(out);
  return rc;
}

void args_free(args *a) {
  sqlite3_free(a->file);
  sqlite3_free(a->log_name);
  a->file = a->log_name = NULL;
}
