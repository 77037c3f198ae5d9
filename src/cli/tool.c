/* tool.c - what the tools of the program kvstore share. See tool.h. */
#include "tool.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SHOW_AFTER_NS 300000000u /* work that is done sooner gets no bar */
#define SHOW_EVERY_NS 100000000u
#define BAR_WIDTH 30

static const char *tool_name = "";

/* --- reporting ---------------------------------------------------------------------------------- */

static void say(const char *format, va_list arguments) {
  (void)fflush(stdout); /* so that the two come in order where they go to one place */
  fprintf(stderr, "kvstore%s%s: ", tool_name[0] != '\0' ? " " : "", tool_name);
  vfprintf(stderr, format, arguments);
}

int tool_fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say(format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  return TOOL_FAILED;
}

const char *tool_number(uint64_t n) {
  static char texts[4][32];
  static unsigned turn;
  char digits[24];
  char *out = texts[turn++ % 4], *to = out;
  int size = snprintf(digits, sizeof digits, "%" PRIu64, n);
  for (int i = 0; i < size; i++) {
    if (i > 0 && (size - i) % 3 == 0) *to++ = ',';
    *to++ = digits[i];
  }
  *to = '\0';
  return out;
}

const char *tool_count(uint64_t n, const char *word) {
  static char texts[4][80];
  static unsigned turn;
  char *out = texts[turn++ % 4];
  (void)snprintf(out, sizeof texts[0], "%s %s%s", tool_number(n), word, n == 1 ? "" : "s");
  return out;
}

/* --- arguments ---------------------------------------------------------------------------------- */

int tool_misused(const tool_about *about, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  tool_name = about->name;
  say(format, arguments);
  va_end(arguments);
  fprintf(stderr, "; see kvstore %s --help\n", about->name);
  return TOOL_FAILED;
}

/* Behind an unknown or incomplete option: which one it was. */
static int wrong_option(const tool_about *about, char **argv, const char *what) {
  char letter[3] = {'-', (char)optopt, '\0'};
  bool is_long = optopt == 0 || strncmp(argv[optind - 1], "--", 2) == 0;
  return tool_misused(about, "%s '%s'", what, is_long ? argv[optind - 1] : letter);
}

int tool_option(const tool_about *about, int argc, char **argv, int *code) {
  static const struct option none[] = {{"help", no_argument, NULL, 'h'}, {0}};
  char letters[32];
  tool_name = about->name;
  opterr = 0;
  (void)snprintf(letters, sizeof letters, ":h%s", about->letters);
  int option =
      getopt_long(argc, argv, letters, about->options != NULL ? about->options : none, NULL);
  switch (option) {
  case 'h':
    fputs(about->usage, stdout);
    *code = TOOL_OK;
    return TOOL_STOP;
  case ':':
    *code = wrong_option(about, argv, "a value is missing behind");
    return TOOL_STOP;
  case '?':
    *code = wrong_option(about, argv, "unknown option");
    return TOOL_STOP;
  default:
    return option;
  }
}

bool tool_operands(const tool_about *about, int argc, char **argv, int least, int most) {
  int there = argc - optind;
  if (there < least) {
    (void)tool_misused(about, least == 1 ? "no file is named" : "arguments are missing");
    return false;
  }
  if (there > most) {
    (void)tool_misused(about, "unexpected argument '%s'", argv[optind + most]);
    return false;
  }
  return true;
}

bool tool_parse_number(const char *text, uint64_t *out) {
  uint64_t n = 0;
  if (*text == '\0') return false;
  for (; *text != '\0'; text++) {
    if (*text < '0' || *text > '9') return false;
    unsigned digit = (unsigned)(*text - '0');
    if (n > (UINT64_MAX - digit) / 10) return false;
    n = n * 10 + digit;
  }
  *out = n;
  return true;
}

/* --- a store -------------------------------------------------------------------------------------- */

bool tool_open_readonly(const char *path, kv **out) {
  kv_options options = {.path = path, .readonly = true};
  kv_error err;
  if (kv_open(&options, out, NULL, &err) == KV_OK) return true;
  (void)tool_fail("%s", err.text);
  return false;
}

bool tool_check_name(const char *path) {
  kv_options options = {.path = path};
  kv_error err;
  if (kv_check_name(&options, &err) == KV_OK) return true;
  (void)tool_fail("%s", err.text);
  return false;
}

/* --- memory ------------------------------------------------------------------------------------- */

void *tool_realloc(void *data, size_t size) {
  void *out = realloc(data, size > 0 ? size : 1);
  if (out == NULL) exit(tool_fail("out of memory"));
  return out;
}

void tool_append(bytes *b, const void *data, size_t size) {
  bytes_append(b, data, size);
  if (bytes_failed(b)) exit(tool_fail("out of memory"));
}

void tool_append_character(bytes *b, unsigned long code) {
  char text[4];
  size_t size = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (size_t i = size; i-- > 1; code >>= 6) text[i] = (char)(0x80 | (code & 0x3f));
  text[0] = (char)(lead[size] | code);
  tool_append(b, text, size);
}

/* --- progress ----------------------------------------------------------------------------------- */

uint64_t tool_now_ns(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void progress_begin(progress *p, const char *what) {
  *p = (progress){.what = what, .on = isatty(STDERR_FILENO) == 1};
  p->begin_ns = p->last_ns = tool_now_ns();
}

void progress_show(void *context, uint64_t done, uint64_t total) {
  progress *p = context;
  if (!p->on || total == 0) return;
  uint64_t now = tool_now_ns();
  if (now - p->begin_ns < SHOW_AFTER_NS || now - p->last_ns < SHOW_EVERY_NS) return;
  p->last_ns = now;
  p->shown = true;
  if (done > total) done = total;
  double part = (double)done / (double)total;
  char bar[BAR_WIDTH + 1];
  for (int i = 0; i < BAR_WIDTH; i++) bar[i] = i < (int)(part * BAR_WIDTH) ? '#' : '.';
  bar[BAR_WIDTH] = '\0';
  double left = part > 0 ? (double)(now - p->begin_ns) / 1e9 * (1 - part) / part : 0;
  fprintf(stderr, "\r%s [%s] %3d%%, %.0f s left \033[K", p->what, bar, (int)(part * 100), left);
  (void)fflush(stderr);
}

void progress_end(progress *p) {
  if (p->shown) fputs("\r\033[K", stderr);
  p->shown = p->on = false;
}
