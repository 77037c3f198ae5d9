/* kv_base.c - filling in an error. */
#include "kv_base.h"

#include <stdarg.h>
#include <stdio.h>

int kv_error_write(kv_error *err, int code, const char *format, ...) {
  if (err == NULL) return code;
  va_list args;
  va_start(args, format);
  err->code = code;
  (void)vsnprintf(err->text, sizeof err->text, format, args);
  va_end(args);
  return code;
}
