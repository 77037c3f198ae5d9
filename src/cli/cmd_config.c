/*
** cmd_config.c - CONFIG: settings are shown, and those that can be changed while the server runs are.
**
** GET uses the names that Redis' clients look for, as far as they mean something here. SET of several
** settings changes all of them or none. What cannot be changed may be "set" to what it is already,
** since many programs do that when they start.
*/
#include "commands.h"
#include "glob.h"
#include "reply.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define VALUE_MAX 512u
#define PAIRS_MAX 32u

typedef enum setting_id {
  SET_BUSY_TIMEOUT,
  SET_GROUP_SIZE,
  SET_GROUP_TIMEOUT,
  SET_CLIENTS_MAX,
  SET_PASSWORD,
  SET_SLOWER_THAN,
  SET_SLOWLOG_SIZE,
  SET_IDLE_TIMEOUT,
  SET_NOT /* it cannot be changed */
} setting_id;

typedef struct setting {
  const char *name;
  setting_id id;
  int64_t least, most;
} setting;

static const setting settings[] = {{"appendfilename", SET_NOT, 0, 0},
                                   {"appendfsync", SET_NOT, 0, 0},
                                   {"appendonly", SET_NOT, 0, 0},
                                   {"bind", SET_NOT, 0, 0},
                                   {"busy-timeout", SET_BUSY_TIMEOUT, 0, 3600000},
                                   {"databases", SET_NOT, 0, 0},
                                   {"group-size", SET_GROUP_SIZE, 1, KV_GROUP_SIZE_MAX},
                                   {"group-timeout", SET_GROUP_TIMEOUT, 0, KV_GROUP_TIMEOUT_MS_MAX},
                                   {"maxclients", SET_CLIENTS_MAX, 1, UINT32_MAX},
                                   {"maxmemory", SET_NOT, 0, 0},
                                   {"maxmemory-policy", SET_NOT, 0, 0},
                                   {"port", SET_NOT, 0, 0},
                                   {"proto-max-bulk-len", SET_NOT, 0, 0},
                                   {"requirepass", SET_PASSWORD, 0, 0},
                                   {"save", SET_NOT, 0, 0},
                                   {"slowlog-log-slower-than", SET_SLOWER_THAN, -1, INT64_MAX},
                                   {"slowlog-max-len", SET_SLOWLOG_SIZE, 0, SLOWLOG_SIZE_MAX},
                                   {"synchronous", SET_NOT, 0, 0},
                                   {"timeout", SET_IDLE_TIMEOUT, 0, INT_MAX},
                                   {"unixsocket", SET_NOT, 0, 0}};

enum { SETTINGS = sizeof settings / sizeof settings[0] };

static const char *appendfsync_of(const server *s) {
  kv_sync synchronous = s->options.settings.synchronous;
  return synchronous == KV_SYNC_FULL ? "always" : synchronous == KV_SYNC_NORMAL ? "everysec" : "no";
}

static const char *text_of(const char *text) {
  return text != NULL ? text : "";
}

/* The setting's value now. */
static void value_of(const server *s, const setting *one, char out[VALUE_MAX]) {
  const server_options *o = &s->options;
  const struct {
    const char *name, *text;
  } texts[] = {{"appendfilename", o->file},
               {"appendfsync", appendfsync_of(s)},
               {"appendonly", s->flush_db != NULL ? "yes" : "no"},
               {"bind", o->bind},
               {"databases", "1"},
               {"maxmemory", "0"},
               {"maxmemory-policy", "noeviction"},
               {"requirepass", text_of(o->password)},
               {"save", ""},
               {"synchronous", server_synchronous_name(s)},
               {"unixsocket", text_of(o->unixsocket)}};
  const struct {
    const char *name;
    int64_t number;
  } numbers[] = {{"busy-timeout", o->busy_timeout_ms},
                 {"group-size", o->settings.group_size},
                 {"group-timeout", o->settings.group_timeout_ms},
                 {"maxclients", o->clients_max},
                 {"port", o->port},
                 {"proto-max-bulk-len", (int64_t)s->limits.bulk_max},
                 {"slowlog-log-slower-than", s->slow.slower_than_us},
                 {"slowlog-max-len", (int64_t)s->slow.size_max},
                 {"timeout", o->idle_timeout_s}};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    if (strcmp(texts[i].name, one->name) == 0) snprintf(out, VALUE_MAX, "%s", texts[i].text);
  }
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    if (strcmp(numbers[i].name, one->name) == 0) {
      snprintf(out, VALUE_MAX, "%" PRId64, numbers[i].number);
    }
  }
}

void cmd_config_get(call *x) {
  char value[VALUE_MAX];
  size_t begin = reply_array_begin(x->out), shown = 0;
  for (size_t i = 0; i < SETTINGS; i++) {
    const char *name = settings[i].name;
    bool matches = false;
    for (size_t j = 2; j < x->count && !matches; j++) {
      char pattern[64];
      if (x->args[j].size >= sizeof pattern) continue;
      for (size_t k = 0; k < x->args[j].size; k++) {
        char c = x->args[j].data[k];
        pattern[k] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
      }
      matches = glob_match(pattern, x->args[j].size, name, strlen(name));
    }
    if (!matches) continue;
    value_of(x->server, &settings[i], value);
    reply_text(x->out, name);
    reply_text(x->out, value);
    shown++;
  }
  reply_map_end(x->out, x->conn->protocol, begin, shown);
}

/* --- SET --------------------------------------------------------------------------------------- */

typedef struct change {
  const setting *setting;
  int64_t number;
  const resp_arg *text;
} change;

static bool refuse(call *x, const setting *one, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool refuse(call *x, const setting *one, const char *format, ...) {
  char why[192];
  va_list args;
  va_start(args, format);
  vsnprintf(why, sizeof why, format, args);
  va_end(args);
  reply_error(x->out, "ERR CONFIG SET failed (possibly related to argument '%s') - %s", one->name,
              why);
  return false;
}

/* What a pair of words asks for; false: the call is answered. */
static bool parse_change(call *x, const resp_arg *name, const resp_arg *value, change *out) {
  char now[VALUE_MAX];
  const setting *one = NULL;
  for (size_t i = 0; i < SETTINGS && one == NULL; i++) {
    if (call_is(name, settings[i].name)) one = &settings[i];
  }
  if (one == NULL) {
    reply_error(x->out, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
                (int)(name->size < 128 ? name->size : 128), name->data);
    return false;
  }
  *out = (change){.setting = one, .text = value};
  if (one->id == SET_NOT) {
    value_of(x->server, one, now);
    if (call_is(value, now)) return true;
    return refuse(x, one, "can't set immutable config");
  }
  if (one->id == SET_PASSWORD) {
    bool is_text = memchr(value->data, '\0', value->size) == NULL && value->size < VALUE_MAX;
    return is_text || refuse(x, one, "a password has no NUL and at most %u bytes", VALUE_MAX - 1);
  }
  if (!value_parse_integer(value->data, value->size, &out->number)) {
    return refuse(x, one, "argument couldn't be parsed into an integer");
  }
  if (out->number >= one->least && out->number <= one->most) return true;
  return refuse(x, one, "argument must be between %" PRId64 " and %" PRId64 " inclusive",
                one->least, one->most);
}

static bool set_password(server *s, const resp_arg *text) {
  char *copy = text->size > 0 ? strndup(text->data, text->size) : NULL;
  if (copy == NULL && text->size > 0) return false;
  s->options.password = copy;
  free(s->new_password);
  s->new_password = copy;
  return true;
}

static void set_engine(server *s) {
  kv_set_settings(s->db, &s->options.settings);
  if (s->flush_db == NULL) return;
  kv_set_settings(s->flush_db, &s->options.settings);
  flusher_set(&s->flusher, &s->options.settings);
}

/* Do it; false: it cannot be done, and nothing has changed. */
static bool apply(call *x, const change *c) {
  server *s = x->server;
  switch (c->setting->id) {
  case SET_BUSY_TIMEOUT:
    s->options.busy_timeout_ms = (unsigned)c->number;
    break;
  case SET_GROUP_SIZE:
    s->options.settings.group_size = (unsigned)c->number;
    set_engine(s);
    break;
  case SET_GROUP_TIMEOUT:
    s->options.settings.group_timeout_ms = (unsigned)c->number;
    set_engine(s);
    break;
  case SET_CLIENTS_MAX:
    if (server_set_clients_max(s, (unsigned)c->number)) break;
    return refuse(x, c->setting,
                  "The operating system is not able to handle the specified number "
                  "of clients");
  case SET_PASSWORD:
    if (set_password(s, c->text)) break;
    return refuse(x, c->setting, "out of memory");
  case SET_SLOWER_THAN:
    s->slow.slower_than_us = c->number;
    break;
  case SET_SLOWLOG_SIZE:
    s->slow.size_max = (uint64_t)c->number;
    slowlog_trim(&s->slow);
    break;
  case SET_IDLE_TIMEOUT:
    s->options.idle_timeout_s = (unsigned)c->number;
    break;
  case SET_NOT:
    break;
  }
  return true;
}

void cmd_config_set(call *x) {
  change changes[PAIRS_MAX];
  size_t count = (x->count - 2) / 2;
  if (x->count % 2 != 0) {
    call_reply_wrong_count(x);
    return;
  }
  if (count > PAIRS_MAX) {
    reply_error(x->out, "ERR kvstore: at most %u settings at once", PAIRS_MAX);
    return;
  }
  for (size_t i = 0; i < count; i++) {
    if (!parse_change(x, &x->args[2 + 2 * i], &x->args[3 + 2 * i], &changes[i])) return;
    for (size_t j = 0; j < i; j++) {
      if (changes[j].setting != changes[i].setting) continue;
      (void)refuse(x, changes[i].setting, "duplicate parameter");
      return;
    }
  }
  /* Those that the system can refuse come first. */
  for (size_t i = 0; i < count; i++) {
    bool can_fail = changes[i].setting->id == SET_CLIENTS_MAX;
    if (can_fail && !apply(x, &changes[i])) return;
  }
  for (size_t i = 0; i < count; i++) {
    bool is_done = changes[i].setting->id == SET_CLIENTS_MAX;
    if (!is_done && !apply(x, &changes[i])) return;
  }
  reply_ok(x->out);
}

/* --- others ------------------------------------------------------------------------------------ */

void cmd_config_resetstat(call *x) {
  x->server->counters = (server_counters){0};
  x->server->stats = (command_stats){.error_count = 0};
  x->server->rate.commands_before = x->server->rate.bytes_in_before = 0;
  x->server->rate.bytes_out_before = 0;
  reply_ok(x->out);
}

void cmd_config_rewrite(call *x) {
  reply_error(x->out, "ERR The server is running without a config file");
}

void cmd_config_help(call *x) {
  static const char *const lines[] = {"GET <pattern> [<pattern> ...]",
                                      "    Show the settings that match, and their values.",
                                      "RESETSTAT",
                                      "    Reset what INFO counts.",
                                      "REWRITE",
                                      "    Is an error: there is no file of settings.",
                                      "SET <setting> <value> [<setting> <value> ...]",
                                      "    Change settings.",
                                      NULL};
  call_reply_help(x, lines);
}
