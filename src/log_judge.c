/* log_judge.c - what a file is. See log_judge.h. */
#include "log_judge.h"

#include "keypath.h"
#include "log_salvage.h"
#include "os.h"

#include <stdio.h>
#include <string.h>

static const char original_word[] = "WRITE\t";
#define ORIGINAL_WORD_SIZE (sizeof original_word - 1)

/* --- lines of an original log --------------------------------------------------------------------- */

bool log_original_parse(const char *line, size_t size, log_record *out, kv_error *why) {
  const char *key = line + ORIGINAL_WORD_SIZE, *tab = NULL;
  if (size > ORIGINAL_WORD_SIZE && memcmp(line, original_word, ORIGINAL_WORD_SIZE) == 0) {
    tab = memchr(key, '\t', size - ORIGINAL_WORD_SIZE);
  }
  if (tab == NULL) {
    kv_error_set(why, KV_EFOREIGN, "it is not 'WRITE', a keypath and a value");
    return false;
  }
  *out = (log_record){.op = LOG_WRITE, .key = key, .key_size = (size_t)(tab - key)};
  out->value.type = KV_TEXT;
  out->value.data = tab + 1;
  out->value.size = (size_t)(line + size - (tab + 1));
  return keypath_check(out->key, out->key_size, why) == KV_OK;
}

bool log_original_begins(const char *head, size_t size) {
  return size == 0 || head[0] == '\n' ||
         (size >= ORIGINAL_WORD_SIZE && memcmp(head, original_word, ORIGINAL_WORD_SIZE) == 0);
}

/* The size without the beginning of a UTF-8 sequence at the end that is not whole. */
static size_t without_cut_character(const char *key, size_t size) {
  for (size_t back = 1; back <= 3 && back <= size; back++) {
    unsigned char byte = (unsigned char)key[size - back];
    if (byte < 0x80) break;
    if (byte < 0xc0) continue;
    size_t whole = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return back < whole ? size - back : size;
  }
  return size;
}

/* Whether more bytes could make a line of an original log of this, which is none. */
static bool is_cut_line(const char *line, size_t size) {
  size_t compare = size < ORIGINAL_WORD_SIZE ? size : ORIGINAL_WORD_SIZE;
  if (memcmp(line, original_word, compare) != 0) return false;
  if (size <= ORIGINAL_WORD_SIZE) return true;
  const char *key = line + ORIGINAL_WORD_SIZE;
  size -= ORIGINAL_WORD_SIZE;
  if (size > KV_KEYPATH_SIZE_MAX || memchr(key, '\t', size) != NULL) return false;
  size_t whole = without_cut_character(key, size);
  if (whole == 0) return true;
  if (whole > 1 && key[whole - 1] == '/') whole--; /* a segment can follow */
  return keypath_check(key, whole, NULL) == KV_OK;
}

/* --- an original log ------------------------------------------------------------------------------ */

static void set_foreign(log_verdict *v, const char *why) {
  v->code = KV_EFOREIGN;
  v->line = v->lines + 1;
  v->offset = v->end;
  (void)snprintf(v->why, sizeof v->why, "%.*s", LOG_JUDGE_WHY_SIZE - 1, why);
}

/* What stands at v->end, to the end of the file, has no LF. */
static void judge_tail(log_verdict *v, const char *line, size_t size) {
  log_record record;
  kv_error why;
  size_t content = size;
  while (content > 0 && line[content - 1] == '\0') content--;
  bool is_line = log_original_parse(line, content, &record, &why);
  if (is_line && content == size) {
    v->lines++;
    v->records++;
    v->end += size;
  } else if (is_line || (v->records > 0 && (content == 0 || is_cut_line(line, content)))) {
    v->torn_size = content;
  } else {
    set_foreign(v, why.text);
  }
}

int log_judge_original(log_reader *r, log_verdict *v) {
  v->code = KV_OK;
  v->torn_size = 0;
  for (;;) {
    char *line;
    size_t size;
    bool ended;
    log_record record;
    kv_error why;
    int rc = log_reader_line(r, v->end, &line, &size, &ended);
    if (rc != KV_OK || (size == 0 && !ended)) return rc;
    if (!ended) {
      judge_tail(v, line, size);
      return KV_OK;
    }
    if (size > 0) {
      if (!log_original_parse(line, size, &record, &why)) {
        set_foreign(v, why.text);
        return KV_OK;
      }
      v->records++;
    }
    v->lines++;
    v->end += size + 1;
  }
}

/* --- any file ------------------------------------------------------------------------------------- */

/* The file has no header that verifies; its first line begins at line. *found: transactions do. */
static int salvage(int fd, const char *line, size_t size, log_verdict *v, bool *found) {
  static const char start[] = "KVSTORE\t1\t";
  size_t skip = sizeof start - 1;
  memset(v->id, '0', LOG_ID_SIZE);
  if (size >= skip + LOG_ID_SIZE && memcmp(line, start, skip) == 0) {
    memcpy(v->id, line + skip, LOG_ID_SIZE);
  }
  v->id[LOG_ID_SIZE] = '\0';
  *found = false;
  return log_salvage_id(fd, v->id, found);
}

/* The file does not begin like a header. */
static int judge_headless(int fd, uint64_t size, const char *head, size_t head_size,
                          log_verdict *v) {
  bool found;
  int rc = KV_OK;
  set_foreign(v, "it is not 'WRITE', a keypath and a value");
  if (log_original_begins(head, head_size)) {
    log_reader r;
    log_reader_init(&r, fd, size);
    rc = log_judge_original(&r, v);
    log_reader_free(&r);
    v->original = rc == KV_OK && v->code == KV_OK;
  }
  if (rc != KV_OK || v->original) return rc;
  rc = salvage(fd, head, head_size, v, &found);
  if (rc == KV_OK && found) v->code = KV_EDAMAGED;
  return rc;
}

int log_judge(int fd, uint64_t size, log_verdict *out) {
  char head[LOG_HEADER_SIZE_MAX];
  *out = (log_verdict){.code = KV_OK};
  ssize_t got = os_read_all(fd, head, sizeof head, 0); /* /proc tells no size */
  if (got < 0) return KV_EIO;
  const char *lf = memchr(head, '\n', (size_t)got);
  size_t line_size = lf != NULL ? (size_t)(lf - head) : (size_t)got;
  int rc = log_parse_header(head, line_size, &out->header, &out->version);
  if (rc == KV_EFOREIGN) return judge_headless(fd, size, head, (size_t)got, out);
  if (rc == KV_OK && lf != NULL) {
    out->header_size = line_size + 1;
    memcpy(out->id, out->header.id, sizeof out->id);
    return KV_OK;
  }
  out->code = rc == KV_EVERSION ? rc : KV_EDAMAGED;
  bool found;
  return rc == KV_EVERSION ? KV_OK : salvage(fd, head, line_size, out, &found);
}
