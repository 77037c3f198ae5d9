/*
** cmd_bits.c - commands on the bits of a value: GETBIT, SETBIT, BITCOUNT.
**
** Bit 0 is the highest bit of the first byte. Behind the end of a value all bits are 0.
*/
#include "commands.h"
#include "reply.h"

#include <stdlib.h>

/* The offset of a bit; false: the reply is the error. */
static bool parse_offset(call *x, const resp_arg *arg, uint64_t *out) {
  int64_t offset;
  bool is_one = value_parse_integer(arg->data, arg->size, &offset) && offset >= 0 &&
                (uint64_t)offset >> 3 < x->server->limits.bulk_max;
  if (!is_one) reply_error(x->out, "ERR bit offset is not an integer or out of range");
  if (is_one) *out = (uint64_t)offset;
  return is_one;
}

static bool bit_at(const resp_arg *bytes_of, uint64_t offset) {
  if (offset >> 3 >= bytes_of->size) return false;
  return (unsigned char)bytes_of->data[offset >> 3] >> (7 - (offset & 7)) & 1;
}

void cmd_getbit(call *x) {
  char scratch[VALUE_TEXT_MAX];
  uint64_t offset;
  resp_arg now;
  if (!parse_offset(x, &x->args[2], &offset)) return;
  if (call_find_bytes(x, &x->args[1], scratch, &now)) reply_integer(x->out, bit_at(&now, offset));
}

void cmd_setbit(call *x) {
  char scratch[VALUE_TEXT_MAX];
  uint64_t offset;
  int64_t bit;
  resp_arg now;
  const resp_arg *arg = &x->args[3];
  if (!parse_offset(x, &x->args[2], &offset)) return;
  if (!value_parse_integer(arg->data, arg->size, &bit) || (bit != 0 && bit != 1)) {
    reply_error(x->out, "ERR bit is not an integer or out of range");
    return;
  }
  if (!call_find_bytes(x, &x->args[1], scratch, &now)) return;
  size_t at = (size_t)(offset >> 3), size = at < now.size ? now.size : at + 1;
  char *changed = calloc(1, size);
  if (changed == NULL) {
    call_fail(x, &(kv_error){.code = KV_ENOMEM, .text = "out of memory"});
    return;
  }
  memcpy(changed, now.data, now.size);
  unsigned char mask = (unsigned char)(1u << (7 - (offset & 7)));
  unsigned char byte = (unsigned char)changed[at];
  changed[at] = (char)(bit != 0 ? byte | mask : byte & ~mask);
  bool before = bit_at(&now, offset);
  if (call_put_bytes(x, &x->args[1], changed, size)) reply_integer(x->out, before);
  free(changed);
}

static int64_t count_bits(const resp_arg *of, uint64_t first, uint64_t last) {
  int64_t count = 0;
  for (; first <= last && (first & 7) != 0; first++) count += bit_at(of, first);
  for (; first + 7 <= last; first += 8) {
    count += __builtin_popcount((unsigned char)of->data[first >> 3]);
  }
  for (; first <= last; first++) count += bit_at(of, first);
  return count;
}

/* The range of BITCOUNT in bits, whose end is included; false: the call is answered. */
static bool parse_range(call *x, const resp_arg *now, uint64_t *first, uint64_t *last) {
  int64_t from, to, size = (int64_t)now->size;
  bool in_bits = x->count == 5 && call_is(&x->args[4], "BIT");
  if (in_bits) size *= 8;
  (void)value_parse_integer(x->args[2].data, x->args[2].size, &from); /* checked before */
  (void)value_parse_integer(x->args[3].data, x->args[3].size, &to);
  bool is_backward = from < 0 && to < 0 && from > to;
  if (from < 0) from = from < -size ? 0 : from + size;
  if (to < 0) to = to < -size ? 0 : to + size;
  if (to >= size) to = size - 1;
  if (is_backward || from > to) {
    reply_integer(x->out, 0);
    return false;
  }
  *first = (uint64_t)from * (in_bits ? 1 : 8);
  *last = (uint64_t)to * (in_bits ? 1 : 8) + (in_bits ? 0 : 7);
  return true;
}

/* Whether the words behind the key are a range; if not the call is answered. */
static bool check_range(call *x) {
  int64_t number;
  if (x->count != 2 && x->count != 4 && x->count != 5) {
    call_reply_syntax_error(x);
    return false;
  }
  if (x->count == 2) return true;
  if (!call_integer(x, &x->args[2], &number) || !call_integer(x, &x->args[3], &number))
    return false;
  if (x->count == 4 || call_is(&x->args[4], "BIT") || call_is(&x->args[4], "BYTE")) return true;
  call_reply_syntax_error(x);
  return false;
}

/* As in Redis the range of a key that is not there is not looked at. */
void cmd_bitcount(call *x) {
  char scratch[VALUE_TEXT_MAX];
  kv_value value;
  resp_arg now = {.data = ""};
  call_found found = call_find(x, &x->args[1], &value);
  if (found == CALL_FOUND) (void)value_bytes(&value, scratch, &now.data, &now.size);
  if (found == CALL_MISSING) reply_integer(x->out, 0);
  if (found != CALL_FOUND || !check_range(x)) return;
  uint64_t first = 0, last = now.size * 8 - 1;
  if (now.size == 0) {
    reply_integer(x->out, 0);
  } else if (x->count == 2 || parse_range(x, &now, &first, &last)) {
    reply_integer(x->out, count_bits(&now, first, last));
  }
}
