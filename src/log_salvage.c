/* log_salvage.c - the id of a log whose header is damaged. See log_salvage.h. */
#include "log_salvage.h"

#include "crc32c.h"
#include "os.h"

#include <string.h>

#define STATES_MAX 64 /* transactions whose states are compared */

/* The state of the CRC before the size bytes at data, being crc behind them. */
static uint32_t undo(uint32_t crc, const char *data, size_t size) {
  while (size > 0) crc = crc32c_unstep(crc, (unsigned char)data[--size]);
  return crc;
}

/* Find the state that one of the transactions has with what is known, or else two different ones
** agree in (a block that was written twice agrees with itself). They end with COMMIT lines, and start
** behind the one before, or behind the first line of all. */
static bool agreed_state(const char *data, size_t size, uint32_t known, uint32_t *out) {
  uint32_t states[STATES_MAX];
  uint64_t seqs[STATES_MAX];
  bool agreed = false;
  int count = 0;
  const char *end = data + size, *start = NULL, *line = data, *lf;
  for (; count < STATES_MAX && (lf = memchr(line, '\n', (size_t)(end - line))) != NULL;
       line = lf + 1) {
    log_record commit;
    if (!log_parse_commit(line, (size_t)(lf - line), &commit)) {
      if (start == NULL) start = lf + 1;
      continue;
    }
    if (start != NULL && start < line) {
      uint32_t state = undo(commit.crc, start, (size_t)(line - start) + commit.crc_offset);
      if (state == known) {
        *out = known;
        return true;
      }
      for (int i = 0; i < count && !agreed; i++) {
        agreed = states[i] == state && seqs[i] != commit.seq;
        if (agreed) *out = state;
      }
      states[count] = state;
      seqs[count++] = commit.seq;
    }
    start = lf + 1;
  }
  return agreed;
}

/* Four bytes added to a state lead to whatever state is wanted: they are the difference between it
** and the one that four zero bytes would lead there from. */
static void make_id(char id[LOG_ID_SIZE + 1], uint32_t state) {
  static const char zeros[4];
  memcpy(id, "(not known) ", LOG_ID_SIZE - 4);
  uint32_t bytes = undo(state, zeros, sizeof zeros) ^ crc32c(0, id, LOG_ID_SIZE - 4);
  for (int i = 0; i < 4; i++) id[LOG_ID_SIZE - 4 + i] = (char)(bytes >> 8 * i & 255);
  id[LOG_ID_SIZE] = '\0';
}

int log_salvage_id(int fd, char id[LOG_ID_SIZE + 1], bool *found) {
  struct stat facts;
  uint32_t state, known = crc32c(0, id, LOG_ID_SIZE);
  if (os.fstat(fd, &facts) != 0) return KV_EIO;
  size_t size = LOG_SALVAGE_SIZE_MAX;
  if (facts.st_size < (off_t)size) size = (size_t)facts.st_size;
  char *data = os.malloc(size + 1);
  if (data == NULL) return KV_ENOMEM;
  ssize_t got = os_read_all(fd, data, size, 0);
  if (got >= 0) {
    *found = agreed_state(data, (size_t)got, known, &state);
    if (*found && known != state) make_id(id, state);
  }
  os.free(data);
  return got >= 0 ? KV_OK : KV_EIO;
}
