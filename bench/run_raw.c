/*
** run_raw.c - what durability costs at least: records written with pwrite into space that is allocated
** (zeros, written and flushed before), each followed by fdatasync. bench.h tells how it is run.
**
**     insert    as many bytes as --set bytes=N says (48); with several connections they group: one
**               writes and flushes what has come meanwhile, the others wait for it
*/
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPACE (32u << 20)
#define BUFFER (1u << 20)

static int file = -1;
static size_t record_size, at; /* at: where the next write goes */

/* Records queued by number; those up to `durable` are on the disk. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t flushed = PTHREAD_COND_INITIALIZER;
static uint64_t queued, durable;
static bool flushing;

static void allocate(void) {
  static char zeros[BUFFER];
  file = open("raw.dat", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) bench_die("raw.dat", strerror(errno));
  for (size_t done = 0; done < SPACE; done += sizeof zeros) {
    if (pwrite(file, zeros, sizeof zeros, (off_t)done) != sizeof zeros) {
      bench_die("raw.dat", strerror(errno));
    }
  }
  if (fsync(file) != 0) bench_die("raw.dat", strerror(errno));
}

static void *raw_open(const bench_options *o) {
  record_size = strtoull(bench_setting(o, "bytes", "48"), NULL, 10);
  if (file < 0) allocate();
  return &file;
}

static void raw_close(void *connection) {
  (void)connection;
}

static bool raw_select(void *connection, const char *operation) {
  (void)connection;
  return strcmp(operation, "insert") == 0;
}

static void write_records(uint64_t count) {
  static char bytes[BUFFER];
  size_t size = count * record_size;
  if (size > BUFFER) size = BUFFER;
  memset(bytes, 'g', size);
  if (at + size > SPACE) at = 0;
  if (pwrite(file, bytes, size, (off_t)at) != (ssize_t)size || fdatasync(file) != 0) {
    bench_die("raw.dat", strerror(errno));
  }
  at += size;
}

static uint64_t raw_insert(void *connection, const entry *e) {
  (void)connection, (void)e;
  pthread_mutex_lock(&lock);
  uint64_t mine = ++queued;
  while (durable < mine) {
    if (flushing) {
      pthread_cond_wait(&flushed, &lock);
      continue;
    }
    uint64_t upto = queued, count = queued - durable;
    flushing = true;
    pthread_mutex_unlock(&lock);
    write_records(count);
    pthread_mutex_lock(&lock);
    durable = upto;
    flushing = false;
    pthread_cond_broadcast(&flushed);
  }
  pthread_mutex_unlock(&lock);
  return 0;
}

int main(int argc, char **argv) {
  static const bench_subject raw = {
      .open = raw_open, .close = raw_close, .select = raw_select, .step = raw_insert};
  return bench_main(argc, argv, &raw);
}
