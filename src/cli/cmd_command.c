/*
** cmd_command.c - COMMAND: what command_table.c says of the commands, as Redis 7 tells it.
**
** DOCS leaves out what the table has not got: complexity and arguments.
*/
#include "command.h"
#include "commands.h"
#include "glob.h"
#include "reply.h"

/* --- flags and categories ----------------------------------------------------------------------- */

typedef struct bit_name {
  unsigned bit;
  const char *name;
} bit_name;

static const bit_name flag_names[] = {{CMD_WRITE, "write"},
                                      {CMD_READ, "readonly"},
                                      {CMD_DENYOOM, "denyoom"},
                                      {CMD_ADMIN, "admin"},
                                      {CMD_NOSCRIPT, "noscript"},
                                      {CMD_LOADING, "loading"},
                                      {CMD_STALE, "stale"},
                                      {CMD_UNTIMED, "skip_slowlog"},
                                      {CMD_FAST, "fast"},
                                      {CMD_NO_AUTH, "no_auth"},
                                      {CMD_NO_ASYNC_LOADING, "no_async_loading"},
                                      {CMD_NO_MULTI, "no_multi"},
                                      {CMD_ALLOW_BUSY, "allow_busy"}};

#define CAT_SLOW (1u << 30)

static const bit_name category_names[] = {{CAT_KEYSPACE, "keyspace"},
                                          {CMD_READ, "read"},
                                          {CMD_WRITE, "write"},
                                          {CAT_STRING, "string"},
                                          {CAT_BITMAP, "bitmap"},
                                          {CAT_ADMIN, "admin"},
                                          {CMD_FAST, "fast"},
                                          {CAT_SLOW, "slow"},
                                          {CAT_DANGEROUS, "dangerous"},
                                          {CAT_CONNECTION, "connection"},
                                          {CAT_TRANSACTION, "transaction"}};

enum {
  FLAGS = sizeof flag_names / sizeof flag_names[0],
  CATEGORIES = sizeof category_names / sizeof category_names[0]
};

static unsigned categories_of(const command *one) {
  unsigned bits = one->flags;
  if (bits & CMD_ADMIN) bits |= CAT_ADMIN | CAT_DANGEROUS;
  if (!(bits & CMD_FAST)) bits |= CAT_SLOW;
  return bits;
}

static void reply_bits(call *x, unsigned bits, const bit_name *names, size_t count,
                       const char *before) {
  char text[32];
  size_t begin = reply_array_begin(x->out), shown = 0;
  for (size_t i = 0; i < count; i++) {
    if (!(bits & names[i].bit)) continue;
    snprintf(text, sizeof text, "%s%s", before, names[i].name);
    reply_status(x->out, text);
    shown++;
  }
  reply_set_end(x->out, x->conn->protocol, begin, shown);
}

/* The words between blanks, up to `end`, as a set. */
static void reply_words(call *x, const char *text, const char *end, bool are_bulks) {
  size_t begin = reply_array_begin(x->out), count = 0;
  while (text < end) {
    const char *blank = memchr(text, ' ', (size_t)(end - text));
    const char *word_end = blank != NULL ? blank : end;
    if (are_bulks) {
      reply_bulk(x->out, text, (size_t)(word_end - text));
    } else {
      bytes_append(x->out, "+", 1);
      bytes_append(x->out, text, (size_t)(word_end - text));
      bytes_append(x->out, "\r\n", 2);
    }
    count++;
    text = word_end + (blank != NULL);
  }
  reply_set_end(x->out, x->conn->protocol, begin, count);
}

/* --- keys --------------------------------------------------------------------------------------- */

/* Where what becomes of the key number n ends; *text is its beginning. A command whose keys are all
** treated alike says it once. */
static const char *key_words(const command *one, int n, const char **text) {
  *text = one->keys;
  for (const char *next; n > 0 && (next = strchr(*text, ';')) != NULL; n--) *text = next + 1;
  const char *end = strchr(*text, ';');
  return end != NULL ? end : *text + strlen(*text);
}

static void reply_key_spec(call *x, const command *one, int n, bool is_single) {
  unsigned protocol = x->conn->protocol;
  const char *text, *end = key_words(one, n, &text);
  int last = !is_single ? 0 : one->last_key < 0 ? one->last_key : one->last_key - one->first_key;
  reply_map(x->out, protocol, 3);
  reply_text(x->out, "flags");
  reply_words(x, text, end, false);
  reply_text(x->out, "begin_search");
  reply_map(x->out, protocol, 2);
  reply_text(x->out, "type");
  reply_text(x->out, "index");
  reply_text(x->out, "spec");
  reply_map(x->out, protocol, 1);
  reply_text(x->out, "index");
  reply_integer(x->out, one->first_key + n);
  reply_text(x->out, "find_keys");
  reply_map(x->out, protocol, 2);
  reply_text(x->out, "type");
  reply_text(x->out, "range");
  reply_text(x->out, "spec");
  reply_map(x->out, protocol, 3);
  reply_text(x->out, "lastkey");
  reply_integer(x->out, last);
  reply_text(x->out, "keystep");
  reply_integer(x->out, one->key_step);
  reply_text(x->out, "limit");
  reply_integer(x->out, 0);
}

static void reply_key_specs(call *x, const command *one) {
  int count = one->keys == NULL ? 0 : strchr(one->keys, ';') != NULL ? 2 : 1;
  reply_set(x->out, x->conn->protocol, (size_t)count);
  for (int i = 0; i < count; i++) reply_key_spec(x, one, i, count == 1);
}

/* --- INFO, LIST, COUNT ---------------------------------------------------------------------------- */

static bool is_sub(const command *one) {
  return strchr(one->name, '|') != NULL;
}

static bool is_sub_of(const command *one, const command *container) {
  size_t size = strlen(container->name);
  return strncmp(one->name, container->name, size) == 0 && one->name[size] == '|';
}

static void reply_command(call *x, const command *one) {
  if (one == NULL) {
    call_reply_nil(x);
    return;
  }
  reply_array(x->out, 10);
  reply_text(x->out, one->name);
  reply_integer(x->out, one->arity);
  reply_bits(x, one->flags, flag_names, FLAGS, "");
  reply_integer(x->out, one->first_key);
  reply_integer(x->out, one->last_key);
  reply_integer(x->out, one->key_step);
  reply_bits(x, categories_of(one), category_names, CATEGORIES, "@");
  reply_words(x, one->tips, one->tips != NULL ? one->tips + strlen(one->tips) : NULL, true);
  reply_key_specs(x, one);
  size_t begin = reply_array_begin(x->out), count = 0;
  if (one->flags & CMD_CONTAINER) {
    for (const command *at = one + 1; at->name != NULL && is_sub_of(at, one); at++, count++) {
      reply_command(x, at);
    }
  }
  if (count > 0) {
    reply_array_end(x->out, begin, count);
  } else {
    reply_set_end(x->out, x->conn->protocol, begin, 0);
  }
}

static size_t count_commands(void) {
  size_t count = 0;
  for (const command *at = command_table; at->name != NULL; at++) count += !is_sub(at);
  return count;
}

void cmd_command(call *x) {
  reply_array(x->out, count_commands());
  for (const command *at = command_table; at->name != NULL; at++) {
    if (!is_sub(at)) reply_command(x, at);
  }
}

void cmd_command_info(call *x) {
  if (x->count == 2) {
    cmd_command(x);
    return;
  }
  reply_array(x->out, x->count - 2);
  for (size_t i = 2; i < x->count; i++) {
    reply_command(x, command_find(x->args[i].data, x->args[i].size));
  }
}

void cmd_command_count(call *x) {
  reply_integer(x->out, (int64_t)count_commands());
}

static bool is_in_category(const command *one, const resp_arg *wanted) {
  unsigned bits = categories_of(one);
  for (size_t i = 0; i < CATEGORIES; i++) {
    if (bits & category_names[i].bit && call_is(wanted, category_names[i].name)) return true;
  }
  return false;
}

void cmd_command_list(call *x) {
  bool filters = x->count == 5 && call_is(&x->args[2], "FILTERBY");
  const resp_arg *how = &x->args[3], *what = &x->args[4];
  bool by_module = filters && call_is(how, "MODULE"),
       by_category = filters && call_is(how, "ACLCAT");
  bool by_pattern = filters && call_is(how, "PATTERN");
  if (x->count != 2 && !by_module && !by_category && !by_pattern) {
    call_reply_syntax_error(x);
    return;
  }
  size_t begin = reply_array_begin(x->out), count = 0;
  for (const command *at = command_table; at->name != NULL; at++) {
    if (by_module || (by_category && !is_in_category(at, what))) continue;
    if (by_pattern && !glob_match(what->data, what->size, at->name, strlen(at->name))) continue;
    reply_text(x->out, at->name);
    count++;
  }
  reply_array_end(x->out, begin, count);
}

/* --- GETKEYS -------------------------------------------------------------------------------------- */

static bool has_word(const resp_arg *args, size_t count, const char *word) {
  bool has = false;
  for (size_t i = 3; i < count; i++) has = has || call_is(&args[i], word);
  return has;
}

static void reply_keys(call *x, bool with_flags) {
  const resp_arg *args = &x->args[2];
  size_t count = x->count - 2;
  const command *one = command_find_called(args, count);
  if (one == NULL) {
    reply_error(x->out, "ERR Invalid command specified");
  } else if (one->keys == NULL) {
    reply_error(x->out, "ERR The command has no key arguments");
  } else if (!command_takes(one, count)) {
    reply_error(x->out, "ERR Invalid number of arguments specified for command");
  } else {
    size_t last = one->last_key < 0 ? count - (size_t)-one->last_key : (size_t)one->last_key;
    size_t begin = reply_array_begin(x->out), shown = 0;
    for (size_t i = (size_t)one->first_key; i <= last; i += (size_t)one->key_step, shown++) {
      if (with_flags) reply_array(x->out, 2);
      reply_bulk(x->out, args[i].data, args[i].size);
      const char *text, *end = key_words(one, (int)shown, &text);
      if (with_flags && strstr(text, "variable_flags") != NULL) { /* SET's options tell */
        text = has_word(args, count, "GET") ? "RW access update" : "OW update";
        end = text + strlen(text);
      }
      if (with_flags) reply_words(x, text, end, false);
    }
    reply_array_end(x->out, begin, shown);
  }
}

void cmd_command_getkeys(call *x) {
  reply_keys(x, false);
}

void cmd_command_getkeysandflags(call *x) {
  reply_keys(x, true);
}

/* --- DOCS and HELP -------------------------------------------------------------------------------- */

static void reply_docs(call *x, const command *one) {
  bool has_subs = (one->flags & CMD_CONTAINER) != 0;
  reply_text(x->out, one->name);
  reply_map(x->out, x->conn->protocol, has_subs ? 4 : 3);
  reply_text(x->out, "summary");
  reply_text(x->out, one->summary);
  reply_text(x->out, "since");
  reply_text(x->out, one->since);
  reply_text(x->out, "group");
  reply_text(x->out, one->group);
  if (!has_subs) return;
  reply_text(x->out, "subcommands");
  size_t begin = reply_array_begin(x->out), count = 0;
  for (const command *at = one + 1; at->name != NULL && is_sub_of(at, one); at++, count++) {
    reply_docs(x, at);
  }
  reply_map_end(x->out, x->conn->protocol, begin, count);
}

void cmd_command_docs(call *x) {
  size_t begin = reply_array_begin(x->out), count = 0;
  for (const command *at = command_table; x->count == 2 && at->name != NULL; at++) {
    if (is_sub(at)) continue;
    reply_docs(x, at);
    count++;
  }
  for (size_t i = 2; i < x->count; i++) {
    const command *one = command_find(x->args[i].data, x->args[i].size);
    if (one == NULL) continue;
    reply_docs(x, one);
    count++;
  }
  reply_map_end(x->out, x->conn->protocol, begin, count);
}

void cmd_command_help(call *x) {
  static const char *const lines[] = {"(no subcommand)",
                                      "    Tell of all commands.",
                                      "COUNT",
                                      "    Count the commands.",
                                      "DOCS [<command-name> ...]",
                                      "    Tell what commands do.",
                                      "GETKEYS <full-command>",
                                      "    Tell which arguments of a command are keys.",
                                      "GETKEYSANDFLAGS <full-command>",
                                      "    Tell also what becomes of them.",
                                      "INFO [<command-name> ...]",
                                      "    Tell of some commands.",
                                      "LIST [FILTERBY (MODULE|ACLCAT|PATTERN) <what>]",
                                      "    Name the commands.",
                                      NULL};
  call_reply_help(x, lines);
}
