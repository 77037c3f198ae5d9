/* logger.c - what the server has to say. See logger.h. */
#include "logger.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#define LINE_SIZE_MAX 2048

static struct timespec start;

void logger_start(void) {
  clock_gettime(CLOCK_MONOTONIC, &start);
}

/* One write for a line, so that lines of several threads do not mix; control characters, which a
** peer may have sent, do not reach the terminal. */
static void say(const char *level, const char *format, va_list args) {
  char line[LINE_SIZE_MAX];
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  int head = snprintf(line, sizeof line, "%s[%04lld] ", level,
                      (long long)(now.tv_sec - start.tv_sec) - (now.tv_nsec < start.tv_nsec));
  vsnprintf(line + head, sizeof line - (size_t)head - 1, format, args);
  char *end = line;
  for (; *end != '\0'; end++) {
    if ((unsigned char)*end < ' ' || *end == 0x7f) *end = '?';
  }
  *end++ = '\n';
  (void)fwrite(line, 1, (size_t)(end - line), stderr);
}

void logger_info(const char *format, ...) {
  va_list args;
  va_start(args, format);
  say("INFO", format, args);
  va_end(args);
}

void logger_warn(const char *format, ...) {
  va_list args;
  va_start(args, format);
  say("WARN", format, args);
  va_end(args);
}

void logger_error(const char *format, ...) {
  va_list args;
  va_start(args, format);
  say("ERRO", format, args);
  va_end(args);
}
