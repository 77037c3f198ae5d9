/* options.c - words and options of a command line. See options.h. */
#include "options.h"

#include "kv.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool parse_number(const option *o, const char *text) {
  char *end = NULL;
  errno = 0;
  unsigned long number = strtoul(text, &end, 10);
  bool is_number = isdigit((unsigned char)text[0]) && *end == '\0' && errno == 0;
  if (!is_number || number < o->low || number > o->high) {
    fprintf(stderr, "kvstore: --%s is a number from %u to %u, not '%s'\n", o->name, o->low, o->high,
            text);
    return false;
  }
  *(unsigned *)o->value = (unsigned)number;
  return true;
}

static bool parse_synchronous(const option *o, const char *text) {
  static const struct {
    const char *name;
    kv_sync value;
  } modes[] = {{"FULL", KV_SYNC_FULL}, {"NORMAL", KV_SYNC_NORMAL}, {"OFF", KV_SYNC_OFF}};
  for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
    if (strcasecmp(text, modes[i].name) != 0) continue;
    *(kv_sync *)o->value = modes[i].value;
    return true;
  }
  fprintf(stderr, "kvstore: --%s is FULL, NORMAL or OFF, not '%s'\n", o->name, text);
  return false;
}

static bool set_option(const option *o, const char *text) {
  switch (o->type) {
  case OPTION_NUMBER:
    return parse_number(o, text);
  case OPTION_SYNCHRONOUS:
    return parse_synchronous(o, text);
  case OPTION_FLAG:
    *(bool *)o->value = true;
    return true;
  case OPTION_SECRET:
  case OPTION_TEXT:
    *(const char **)o->value = text;
    return true;
  }
  return false;
}

static bool take_environment(const option *options) {
  for (const option *o = options; o->name != NULL; o++) {
    char name[64] = "KVSTORE_";
    size_t size = strlen(name);
    for (const char *c = o->name; *c != '\0' && size + 1 < sizeof name; c++) {
      name[size++] = (char)(*c == '-' ? '_' : toupper((unsigned char)*c));
    }
    name[size] = '\0';
    const char *text = o->type != OPTION_FLAG ? getenv(name) : NULL;
    if (text != NULL && *text != '\0' && !set_option(o, text)) return false;
  }
  return true;
}

static const option *find_option(const option *options, const char *name, size_t size) {
  for (const option *o = options; o->name != NULL; o++) {
    if (strlen(o->name) == size && memcmp(o->name, name, size) == 0) return o;
  }
  return NULL;
}

/* A copy that outlives the wiped argument; there is one secret at most. */
static const char *hide(char *secret) {
  static char *copy;
  free(copy);
  copy = strdup(secret);
  if (copy == NULL) return secret;
  memset(secret, 'x', strlen(secret));
  return copy;
}

/* Take the option at argv[*i]. */
static bool take_option(const option *options, int argc, char **argv, int *i) {
  char *name = argv[*i] + 2, *equals = strchr(name, '='), *value = equals;
  size_t size = equals != NULL ? (size_t)(equals - name) : strlen(name);
  const option *o = find_option(options, name, size);
  if (o == NULL) {
    fprintf(stderr, "kvstore: there is no option --%.*s; see --help\n", (int)size, name);
    return false;
  }
  if (equals != NULL) {
    value++;
  } else if (o->type != OPTION_FLAG && *i + 1 < argc) {
    value = argv[++*i];
  }
  if ((value == NULL) != (o->type == OPTION_FLAG)) {
    fprintf(stderr, "kvstore: --%s takes %s\n", o->name,
            o->type == OPTION_FLAG ? "no value" : "a value");
    return false;
  }
  return set_option(o, o->type == OPTION_SECRET ? hide(value) : value);
}

int options_parse(const option *options, int argc, char **argv, const char **words, int words_max) {
  int count = 0;
  bool is_over = false;
  if (!take_environment(options)) return -1;
  for (int i = 0; i < argc; i++) {
    if (!is_over && strcmp(argv[i], "--") == 0) {
      is_over = true;
    } else if (!is_over && strncmp(argv[i], "--", 2) == 0) {
      if (!take_option(options, argc, argv, &i)) return -1;
    } else if (count == words_max) {
      fprintf(stderr, "kvstore: one word too many: '%s'; see --help\n", argv[i]);
      return -1;
    } else {
      words[count++] = argv[i];
    }
  }
  return count;
}

void options_print(const option *options) {
  for (const option *o = options; o->name != NULL; o++) {
    char head[64];
    snprintf(head, sizeof head, "--%s %s", o->name, o->argument != NULL ? o->argument : "");
    printf("  %-28s %s\n", head, o->help);
  }
}
