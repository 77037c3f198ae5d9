/*
** format_tabs.c - what the sqlite3 shell writes of two columns with -tabs or in .mode tabs; read only.
**
**     test/val<TAB>this is a test val
**
** Key, TAB, text, on one line each, every byte as it stands: there are no escapes, and so no line
** breaks in a value, and no types: all are TEXT, NULL the empty one. To keep types and line breaks use
** .dump. A line without a TAB, or with two, is an error.
*/
#include "format.h"

#include <string.h>

/* Up to a TAB, the line's end or the end, which s then stands on; CR before LF is not part of it. */
static void read_field(source *s, bytes *out) {
  while (s->c != '\t' && s->c != '\n' && s->c != EOF) {
    char byte = (char)s->c;
    tool_append(out, &byte, 1);
    source_step(s);
  }
  if (s->c == '\n' && out->size > 0 && out->data[out->size - 1] == '\r') out->size--;
}

static read_result tabs_read(source *s, entry *out) {
  while (s->c == '\n') source_step(s);
  if (s->c == EOF) return READ_END;
  entry_begin(out, s);
  read_field(s, &out->key);
  if (s->c != '\t') {
    return source_bad(s, "a TAB and the value are missing behind the key; a line break in a value"
                         " is not to be told from the end of a row here: use .dump");
  }
  source_step(s);
  read_field(s, &out->data);
  if (s->c == '\t') {
    return source_bad(s, "a second TAB: there are two columns, key and value, and a value with a"
                         " TAB is not to be told from them here: use .dump");
  }
  entry_set_data(out, KV_TEXT);
  if (s->c == '\n') source_step(s);
  return READ_ENTRY;
}

const text_format format_tabs = {.name = "tabs", .suffixes = "", .read = tabs_read};
