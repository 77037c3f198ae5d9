/*
** cmd_object.c - OBJECT and MEMORY: how a value is kept.
**
** ENCODING tells how Redis keeps such a value after SET: numbers as int, up to 44 bytes as embstr,
** others as raw. Accesses are neither timed nor counted, and no value is shared.
*/
#include "commands.h"
#include "reply.h"

#define EMBSTR_MAX 44u
#define ENTRY_BYTES 47u /* that an entry takes beside its key and value: see docs/performance.md */

/* The value's bytes; false: there is none, and the call is answered. */
static bool find(call *x, char scratch[VALUE_TEXT_MAX], resp_arg *out) {
  kv_value value;
  call_found found = call_find(x, &x->args[2], &value);
  if (found == CALL_MISSING) call_reply_nil(x);
  if (found == CALL_FOUND) (void)value_bytes(&value, scratch, &out->data, &out->size);
  return found == CALL_FOUND;
}

void cmd_object_encoding(call *x) {
  char scratch[VALUE_TEXT_MAX];
  resp_arg now;
  int64_t number;
  if (!find(x, scratch, &now)) return;
  bool is_int = value_parse_integer(now.data, now.size, &number);
  reply_text(x->out, is_int ? "int" : now.size <= EMBSTR_MAX ? "embstr" : "raw");
}

void cmd_object_refcount(call *x) {
  char scratch[VALUE_TEXT_MAX];
  resp_arg now;
  if (find(x, scratch, &now)) reply_integer(x->out, 1);
}

void cmd_object_idletime(call *x) {
  char scratch[VALUE_TEXT_MAX];
  resp_arg now;
  if (find(x, scratch, &now)) reply_integer(x->out, 0);
}

void cmd_object_freq(call *x) {
  char scratch[VALUE_TEXT_MAX];
  resp_arg now;
  if (!find(x, scratch, &now)) return;
  reply_error(x->out, "ERR An LFU maxmemory policy is not selected, access frequency not tracked. "
                      "Please note that when switching between policies at runtime LRU and LFU "
                      "data will take some time to adjust.");
}

void cmd_object_help(call *x) {
  static const char *const lines[] = {"ENCODING <key>",
                                      "    Tell how Redis would keep the value of <key>.",
                                      "FREQ <key>",
                                      "    Is an error: accesses are not counted.",
                                      "IDLETIME <key>",
                                      "    Give 0: accesses are not timed.",
                                      "REFCOUNT <key>",
                                      "    Give 1.",
                                      NULL};
  call_reply_help(x, lines);
}

void cmd_memory_usage(call *x) {
  char scratch[VALUE_TEXT_MAX];
  resp_arg now;
  int64_t samples;
  for (size_t i = 3; i < x->count; i += 2) {
    if (!call_is(&x->args[i], "SAMPLES") || i + 1 == x->count) {
      call_reply_syntax_error(x);
      return;
    }
    if (!call_integer(x, &x->args[i + 1], &samples)) return;
    if (samples < 0) {
      call_reply_syntax_error(x);
      return;
    }
  }
  if (find(x, scratch, &now)) {
    reply_integer(x->out, (int64_t)(x->args[2].size + now.size + ENTRY_BYTES));
  }
}

void cmd_memory_help(call *x) {
  static const char *const lines[] = {"USAGE <key> [SAMPLES <count>]",
                                      "    Give about how many bytes <key> and its value take.",
                                      NULL};
  call_reply_help(x, lines);
}
