/*
** cmd_lcs.c - LCS: the longest common subsequence of two values, by the table of all their prefixes.
**
** The table takes 4 bytes for each pair of bytes, 512 MiB at most. What is found where several are
** equally long is what Redis finds: the way back through the table goes to the left if that is not
** worse than up.
*/
#include "commands.h"
#include "reply.h"

#include <stdlib.h>

#define TABLE_MAX ((uint64_t)512 << 20)

typedef struct lcs {
  resp_arg a, b;
  uint32_t *table; /* (a.size + 1) rows of b.size + 1 */
  bool wants_size, wants_ranges, with_size;
  int64_t size_least;
} lcs;

static uint32_t *cell(const lcs *l, size_t i, size_t j) {
  return &l->table[i * (l->b.size + 1) + j];
}

static bool parse(call *x, lcs *l) {
  for (size_t i = 3; i < x->count; i++) {
    const resp_arg *arg = &x->args[i];
    if (call_is(arg, "IDX")) {
      l->wants_ranges = true;
    } else if (call_is(arg, "LEN")) {
      l->wants_size = true;
    } else if (call_is(arg, "WITHMATCHLEN")) {
      l->with_size = true;
    } else if (call_is(arg, "MINMATCHLEN") && i + 1 < x->count) {
      if (!call_integer(x, &x->args[++i], &l->size_least)) return false;
      if (l->size_least < 0) l->size_least = 0;
    } else {
      call_reply_syntax_error(x);
      return false;
    }
  }
  if (!l->wants_ranges || !l->wants_size) return true;
  reply_error(x->out, "ERR If you want both the length and indexes, please just use IDX.");
  return false;
}

static bool fill(call *x, lcs *l) {
  uint64_t rows = l->a.size + 1, columns = l->b.size + 1;
  if (rows > UINT32_MAX || columns > UINT32_MAX || rows > TABLE_MAX / sizeof(uint32_t) / columns) {
    reply_error(x->out,
                "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    return false;
  }
  l->table = malloc((size_t)(rows * columns) * sizeof *l->table);
  if (l->table == NULL) {
    reply_error(x->out, "ERR Insufficient memory, failed allocating transient memory for LCS");
    return false;
  }
  for (size_t i = 0; i < rows; i++) {
    for (size_t j = 0; j < columns; j++) {
      uint32_t size = 0;
      if (i > 0 && j > 0) {
        uint32_t up = *cell(l, i - 1, j), left = *cell(l, i, j - 1);
        bool same = l->a.data[i - 1] == l->b.data[j - 1];
        size = same ? *cell(l, i - 1, j - 1) + 1 : up > left ? up : left;
      }
      *cell(l, i, j) = size;
    }
  }
  return true;
}

/* A run of both values that is the same, from its first byte to behind its last one. */
typedef struct run {
  size_t a, b, size;
} run;

static void reply_run(call *x, const lcs *l, const run *r) {
  reply_array(x->out, l->with_size ? 3 : 2);
  reply_array(x->out, 2);
  reply_integer(x->out, (int64_t)r->a);
  reply_integer(x->out, (int64_t)(r->a + r->size - 1));
  reply_array(x->out, 2);
  reply_integer(x->out, (int64_t)r->b);
  reply_integer(x->out, (int64_t)(r->b + r->size - 1));
  if (l->with_size) reply_integer(x->out, (int64_t)r->size);
}

/* From the end back: the bytes into `out` (NULL: not wanted), the runs into the reply. How many. */
static size_t go_back(call *x, const lcs *l, char *out) {
  size_t i = l->a.size, j = l->b.size, at = *cell(l, i, j), count = 0;
  run r = {0};
  while (i > 0 && j > 0) {
    bool same = l->a.data[i - 1] == l->b.data[j - 1];
    bool ends = r.size > 0 && (!same || r.a != i || r.b != j);
    if (ends) {
      if (l->wants_ranges && r.size >= (size_t)l->size_least) {
        reply_run(x, l, &r);
        count++;
      }
      r.size = 0;
    }
    if (same) {
      r = (run){.a = i - 1, .b = j - 1, .size = r.size + 1};
      if (out != NULL) out[--at] = l->a.data[i - 1];
      i--;
      j--;
    } else if (*cell(l, i - 1, j) > *cell(l, i, j - 1)) {
      i--;
    } else {
      j--;
    }
  }
  if (r.size > 0 && l->wants_ranges && r.size >= (size_t)l->size_least) {
    reply_run(x, l, &r);
    count++;
  }
  return count;
}

static void answer(call *x, const lcs *l) {
  size_t size = *cell(l, l->a.size, l->b.size);
  if (l->wants_ranges) {
    reply_map(x->out, x->conn->protocol, 2);
    reply_text(x->out, "matches");
    size_t begin = reply_array_begin(x->out), count = go_back(x, l, NULL);
    reply_array_end(x->out, begin, count);
    reply_text(x->out, "len");
    reply_integer(x->out, (int64_t)size);
  } else if (l->wants_size) {
    reply_integer(x->out, (int64_t)size);
  } else {
    char *out = malloc(size + 1);
    if (out == NULL) {
      call_fail(x, &(kv_error){.code = KV_ENOMEM, .text = "out of memory"});
      return;
    }
    (void)go_back(x, l, out);
    reply_bulk(x->out, out, size);
    free(out);
  }
}

void cmd_lcs(call *x) {
  char scratch_a[VALUE_TEXT_MAX], scratch_b[VALUE_TEXT_MAX];
  lcs l = {.table = NULL};
  if (!call_find_bytes(x, &x->args[1], scratch_a, &l.a)) return;
  if (!call_find_bytes(x, &x->args[2], scratch_b, &l.b)) return;
  if (!parse(x, &l)) return;
  if (fill(x, &l)) answer(x, &l);
  free(l.table);
}
