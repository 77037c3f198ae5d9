/* stats.c - how often each command was executed. See stats.h. */
#include "stats.h"

#include <string.h>

void stats_add_error(command_stats *stats, const char *reply, size_t size) {
  size_t length = 1; /* behind the - */
  while (length < size && length <= STATS_CODE_MAX - 1 && reply[length] >= 'A' &&
         reply[length] <= 'Z') {
    length++;
  }
  length--;
  for (size_t i = 0; i < stats->error_count; i++) {
    error_count *one = &stats->errors[i];
    if (strlen(one->code) != length || memcmp(one->code, reply + 1, length) != 0) continue;
    one->count++;
    return;
  }
  if (length == 0 || stats->error_count == STATS_ERRORS_MAX) return;
  error_count *one = &stats->errors[stats->error_count++];
  memcpy(one->code, reply + 1, length);
  one->code[length] = '\0';
  one->count = 1;
}
