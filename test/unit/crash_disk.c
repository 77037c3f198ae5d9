/* crash_disk.c - a disk that remembers every write. See crash_disk.h. */
#include "crash_disk.h"

#include "os.h"
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define FILES_MAX 64
#define FDS_MAX 1024
#define NAMES_MAX 16
#define NAME_SIZE 128

typedef enum event_kind {
  EVENT_WRITE,
  EVENT_TRUNCATE,
  EVENT_SYNC,
  EVENT_NAME,
  EVENT_UNNAME,
  EVENT_RENAME,
  EVENT_SYNC_FOLDER,
  EVENT_PROMISE
} event_kind;

typedef struct event {
  event_kind kind;
  int file;        /* WRITE, TRUNCATE, SYNC, NAME */
  uint64_t offset; /* WRITE; TRUNCATE: the new size; PROMISE: the floor */
  size_t size;
  char *data;
  size_t covers; /* SYNC, SYNC_FOLDER: events before this one */
  bool limbo;    /* WRITE, TRUNCATE: a flush of it failed */
  char name[NAME_SIZE], to[NAME_SIZE];
} event;

typedef struct name_entry {
  char name[NAME_SIZE];
  int file;
} name_entry;

static struct {
  pthread_mutex_t lock;
  os_table before;
  event *events;
  size_t count, room;
  int files;
  int of_fd[FDS_MAX];          /* file + 1, 0: not ours, -1: a folder */
  name_entry names[NAMES_MAX]; /* as the running system sees them */
  int name_count;
  unsigned fail_nth;
  bool fail_for_ever;
  int fail_reason;
  uint64_t fingerprint;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- recording ---------------------------------------------------------------------------------- */

static event *push(event_kind kind) {
  if (disk.count == disk.room) {
    disk.room = disk.room == 0 ? 1024 : disk.room * 2;
    disk.events = realloc(disk.events, disk.room * sizeof *disk.events);
    if (disk.events == NULL) abort();
  }
  event *e = &disk.events[disk.count++];
  memset(e, 0, sizeof *e);
  e->kind = kind;
  return e;
}

static void set_name(char to[NAME_SIZE], const char *path) {
  const char *slash = strrchr(path, '/');
  const char *name = slash != NULL ? slash + 1 : path;
  if (strlen(name) >= NAME_SIZE) abort();
  (void)strcpy(to, name);
}

static int find_name(const name_entry *names, int count, const char *path) {
  char name[NAME_SIZE];
  set_name(name, path);
  for (int i = 0; i < count; i++) {
    if (strcmp(names[i].name, name) == 0) return i;
  }
  return -1;
}

static void add_name(name_entry *names, int *count, const char *name, int file) {
  int at = find_name(names, *count, name);
  if (at < 0) at = (*count)++;
  if (at >= NAMES_MAX) abort();
  (void)strcpy(names[at].name, name);
  names[at].file = file;
}

static void remove_name(name_entry *names, int *count, const char *name) {
  int at = find_name(names, *count, name);
  if (at >= 0) names[at] = names[--*count];
}

/* Make the event true of a set of names. */
static void apply_name(name_entry *names, int *count, const event *e) {
  if (e->kind == EVENT_NAME) {
    add_name(names, count, e->name, e->file);
  } else if (e->kind == EVENT_UNNAME) {
    remove_name(names, count, e->name);
  } else if (e->kind == EVENT_RENAME) {
    int at = find_name(names, *count, e->name);
    int file = at >= 0 ? names[at].file : -1;
    remove_name(names, count, e->name);
    if (file >= 0) add_name(names, count, e->to, file);
  }
}

static int disk_open(const char *path, int flags, mode_t mode) {
  int fd = disk.before.open(path, flags, mode);
  if (fd < 0) return fd;
  if (fd >= FDS_MAX) abort();
  pthread_mutex_lock(&disk.lock);
  if (flags & O_DIRECTORY) {
    disk.of_fd[fd] = -1;
  } else {
    int at = find_name(disk.names, disk.name_count, path);
    if (at < 0) {
      event *e = push(EVENT_NAME);
      e->file = disk.files++;
      set_name(e->name, path);
      apply_name(disk.names, &disk.name_count, e);
      at = find_name(disk.names, disk.name_count, path);
    }
    disk.of_fd[fd] = disk.names[at].file + 1;
  }
  pthread_mutex_unlock(&disk.lock);
  return fd;
}

static int disk_close(int fd) {
  pthread_mutex_lock(&disk.lock);
  disk.of_fd[fd] = 0;
  pthread_mutex_unlock(&disk.lock);
  return disk.before.close(fd);
}

static ssize_t disk_pwrite(int fd, const void *data, size_t size, off_t offset) {
  pthread_mutex_lock(&disk.lock);
  ssize_t wrote = disk.before.pwrite(fd, data, size, offset);
  if (wrote > 0 && disk.of_fd[fd] > 0) {
    event *e = push(EVENT_WRITE);
    e->file = disk.of_fd[fd] - 1;
    e->offset = (uint64_t)offset;
    e->size = (size_t)wrote;
    e->data = malloc((size_t)wrote);
    if (e->data == NULL) abort();
    memcpy(e->data, data, (size_t)wrote);
  }
  pthread_mutex_unlock(&disk.lock);
  return wrote;
}

static int disk_ftruncate(int fd, off_t size) {
  pthread_mutex_lock(&disk.lock);
  int rc = disk.before.ftruncate(fd, size);
  if (rc == 0 && disk.of_fd[fd] > 0) {
    event *e = push(EVENT_TRUNCATE);
    e->file = disk.of_fd[fd] - 1;
    e->offset = (uint64_t)size;
  }
  pthread_mutex_unlock(&disk.lock);
  return rc;
}

static void put_into_limbo(int file, size_t covers) {
  size_t from = 0;
  for (size_t i = covers; i-- > 0 && from == 0;) {
    const event *e = &disk.events[i];
    if (e->kind == EVENT_SYNC && e->file == file) from = e->covers;
  }
  for (size_t i = from; i < covers; i++) {
    event *e = &disk.events[i];
    if ((e->kind == EVENT_WRITE || e->kind == EVENT_TRUNCATE) && e->file == file) e->limbo = true;
  }
}

/* The disk takes its time: other threads write meanwhile. */
static int disk_sync(int fd) {
  pthread_mutex_lock(&disk.lock);
  int file = disk.of_fd[fd];
  size_t covers = disk.count;
  bool fails = disk.fail_nth > 0 && --disk.fail_nth == 0;
  if (fails && disk.fail_for_ever) disk.fail_nth = 1;
  pthread_mutex_unlock(&disk.lock);
  if (file > 0 && !fails) usleep(30);
  pthread_mutex_lock(&disk.lock);
  if (fails && file > 0) {
    put_into_limbo(file - 1, covers);
  } else if (!fails && file != 0) {
    event *e = push(file > 0 ? EVENT_SYNC : EVENT_SYNC_FOLDER);
    e->file = file - 1;
    e->covers = covers;
  }
  pthread_mutex_unlock(&disk.lock);
  if (fails) errno = disk.fail_reason;
  return fails ? -1 : 0;
}

static int disk_unlink(const char *path) {
  int rc = disk.before.unlink(path);
  if (rc != 0) return rc;
  pthread_mutex_lock(&disk.lock);
  event *e = push(EVENT_UNNAME);
  set_name(e->name, path);
  apply_name(disk.names, &disk.name_count, e);
  pthread_mutex_unlock(&disk.lock);
  return rc;
}

static int disk_link(const char *from, const char *to) {
  int rc = disk.before.link(from, to);
  if (rc != 0) return rc;
  pthread_mutex_lock(&disk.lock);
  int at = find_name(disk.names, disk.name_count, from);
  event *e = push(EVENT_NAME);
  e->file = disk.names[at].file;
  set_name(e->name, to);
  apply_name(disk.names, &disk.name_count, e);
  pthread_mutex_unlock(&disk.lock);
  return rc;
}

static int disk_rename(const char *from, const char *to) {
  int rc = disk.before.rename(from, to);
  if (rc != 0) return rc;
  pthread_mutex_lock(&disk.lock);
  event *e = push(EVENT_RENAME);
  set_name(e->name, from);
  set_name(e->to, to);
  apply_name(disk.names, &disk.name_count, e);
  pthread_mutex_unlock(&disk.lock);
  return rc;
}

void crash_disk_start(void) {
  for (size_t i = 0; i < disk.count; i++) free(disk.events[i].data);
  free(disk.events);
  disk.events = NULL;
  disk.count = disk.room = 0;
  disk.files = disk.name_count = 0;
  disk.fail_nth = 0;
  memset(disk.of_fd, 0, sizeof disk.of_fd);
  disk.before = os;
  os.open = disk_open;
  os.close = disk_close;
  os.pwrite = disk_pwrite;
  os.ftruncate = disk_ftruncate;
  os.fdatasync = disk_sync;
  os.fsync = disk_sync;
  os.unlink = disk_unlink;
  os.link = disk_link;
  os.rename = disk_rename;
}

void crash_disk_stop(void) {
  os = disk.before;
}

void crash_disk_fail_sync(unsigned nth, bool for_ever, int reason) {
  pthread_mutex_lock(&disk.lock);
  disk.fail_nth = nth;
  disk.fail_for_ever = for_ever;
  disk.fail_reason = reason;
  pthread_mutex_unlock(&disk.lock);
}

void crash_disk_promise(uint64_t floor) {
  pthread_mutex_lock(&disk.lock);
  push(EVENT_PROMISE)->offset = floor;
  pthread_mutex_unlock(&disk.lock);
}

size_t crash_disk_events(void) {
  return disk.count;
}

uint64_t crash_disk_floor(size_t events) {
  uint64_t floor = 0;
  for (size_t i = 0; i < events; i++) {
    const event *e = &disk.events[i];
    if (e->kind == EVENT_PROMISE && e->offset > floor) floor = e->offset;
  }
  return floor;
}

/* --- building ----------------------------------------------------------------------------------- */

/* A file on its way to a state. Only what is not certain depends on the state. */
typedef struct image {
  char *data;
  size_t room; /* zeros beyond what was written */
  uint64_t size;
  size_t covered;   /* events before this one are flushed, unless in limbo */
  size_t uncertain; /* sectors, numbered from `first` over all files */
  size_t first;
  unsigned char *touched; /* by sector */
} image;

static image images[FILES_MAX];

static void image_reset(image *m, size_t room) {
  free(m->data);
  free(m->touched);
  memset(m, 0, sizeof *m);
  m->room = room;
  m->data = calloc(1, room + 1);
  m->touched = calloc(1, room / CRASH_SECTOR_SIZE + 2);
  if (m->data == NULL || m->touched == NULL) abort();
}

static bool is_change(const event *e, int file) {
  return (e->kind == EVENT_WRITE || e->kind == EVENT_TRUNCATE) && e->file == file;
}

static bool is_certain(const image *m, size_t at) {
  return at < m->covered && !disk.events[at].limbo;
}

/* Find out what of each file is certain, and number the sectors that are not. */
static size_t survey(size_t events) {
  size_t uncertain = 0;
  if (disk.files > FILES_MAX) abort();
  for (int file = 0; file < disk.files; file++) {
    image *m = &images[file];
    uint64_t room = 0;
    size_t covered = 0;
    for (size_t i = 0; i < events; i++) {
      const event *e = &disk.events[i];
      if (is_change(e, file) && e->offset + e->size > room) room = e->offset + e->size;
      if (e->kind == EVENT_SYNC && e->file == file && e->covers > covered) covered = e->covers;
    }
    image_reset(m, room);
    m->covered = covered;
    m->first = uncertain;
    for (size_t i = 0; i < events; i++) {
      const event *e = &disk.events[i];
      if (!is_change(e, file) || is_certain(m, i) || e->size == 0) continue;
      size_t last = (e->offset + e->size - 1) / CRASH_SECTOR_SIZE;
      for (size_t s = e->offset / CRASH_SECTOR_SIZE; s <= last; s++) {
        if (!m->touched[s]) m->uncertain++;
        m->touched[s] = 1;
      }
    }
    uncertain += m->uncertain;
  }
  return uncertain;
}

size_t crash_disk_uncertain(size_t events) {
  return survey(events);
}

/* A hash of the seed and where it is asked for. */
static uint64_t dice(uint64_t seed, uint64_t a, uint64_t b) {
  uint64_t state = (seed + 1) * 0x9e3779b97f4a7c15u ^ (a + 7) * 0xbf58476d1ce4e5b9u ^ (b + 3) << 20;
  (void)unit_random(&state);
  return unit_random(&state) >> 11;
}

/* Up to which of its file's changes a sector is up to date: it has those before it. */
static size_t sector_until(const crash_state *state, int file, size_t sector, size_t number) {
  switch (state->kind) {
  case CRASH_ALL:
  case CRASH_NO_NAMES:
    return state->events;
  case CRASH_NONE:
  case CRASH_SIZE:
    return 0;
  case CRASH_LOSE_ONE:
    return number == state->index ? 0 : state->events;
  case CRASH_KEEP_ONE:
    return number == state->index ? state->events : 0;
  case CRASH_CUT:
    return number < state->index ? state->events : 0;
  default:
    break;
  }
  uint64_t roll = dice(state->index, (uint64_t)file, sector);
  if (roll % 4 == 0) return 0;
  return roll % 4 == 1 ? (roll >> 2) % (state->events + 1) : state->events;
}

static size_t size_until(const crash_state *state, int file) {
  if (state->kind == CRASH_NONE) return 0;
  if (state->kind != CRASH_RANDOM) return state->events;
  uint64_t roll = dice(state->index, (uint64_t)file, UINT32_MAX);
  return roll % 4 == 0 ? (roll >> 2) % (state->events + 1) : state->events;
}

static void build_write(image *m, const crash_state *state, const event *e, size_t at,
                        const size_t *numbers) {
  for (uint64_t from = e->offset, end = e->offset + e->size; from < end;) {
    size_t sector = from / CRASH_SECTOR_SIZE;
    uint64_t to = (sector + 1) * (uint64_t)CRASH_SECTOR_SIZE;
    if (to > end) to = end;
    if (is_certain(m, at) ||
        at < sector_until(state, e->file, sector, m->first + numbers[sector])) {
      memcpy(m->data + from, e->data + (from - e->offset), to - from);
    }
    from = to;
  }
}

static void build_image(image *m, const crash_state *state, int file) {
  size_t sectors = m->room / CRASH_SECTOR_SIZE + 1;
  size_t *numbers = calloc(sectors, sizeof *numbers);
  if (numbers == NULL) abort();
  for (size_t s = 0, number = 0; s < sectors; s++) {
    numbers[s] = number;
    number += m->touched[s];
  }
  size_t until = size_until(state, file);
  uint64_t highest = 0; /* CUT: behind the last sector that got there */
  for (size_t i = 0; i < state->events; i++) {
    const event *e = &disk.events[i];
    if (!is_change(e, file)) continue;
    bool sized = is_certain(m, i) || i < until;
    if (e->kind == EVENT_WRITE) {
      build_write(m, state, e, i, numbers);
      if (sized && e->offset + e->size > m->size) m->size = e->offset + e->size;
      if (is_certain(m, i) && e->offset + e->size > highest) highest = e->offset + e->size;
    } else if (sized) {
      if (e->offset < m->size) memset(m->data + e->offset, 0, m->room - e->offset);
      m->size = e->offset;
      if (highest > m->size) highest = m->size;
    }
  }
  if (state->kind == CRASH_CUT) {
    for (size_t s = 0; s < sectors; s++) {
      uint64_t end = (s + 1) * (uint64_t)CRASH_SECTOR_SIZE;
      if (m->touched[s] && m->first + numbers[s] < state->index && end > highest) highest = end;
    }
    if (highest < m->size) m->size = highest;
  }
  free(numbers);
}

/* The names that are there: those flushed, and as many of the later ones as the state has. */
static int build_names(const crash_state *state, name_entry names[NAMES_MAX]) {
  int count = 0;
  size_t covered = 0, until = state->events;
  for (size_t i = 0; i < state->events; i++) {
    const event *e = &disk.events[i];
    if (e->kind == EVENT_SYNC_FOLDER && e->covers > covered) covered = e->covers;
  }
  if (state->kind == CRASH_NONE || state->kind == CRASH_NO_NAMES) until = 0;
  if (state->kind == CRASH_RANDOM) {
    uint64_t roll = dice(state->index, UINT32_MAX, 0);
    if (roll % 2 == 0) until = (roll >> 1) % (state->events + 1);
  }
  for (size_t i = 0; i < state->events; i++) {
    if (i < covered || i < until) apply_name(names, &count, &disk.events[i]);
  }
  return count;
}

static void empty_folder(const char *folder) {
  DIR *dir = opendir(folder);
  if (dir == NULL) abort();
  for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
    char path[1400];
    (void)snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    if (e->d_name[0] != '.') (void)unlink(path);
  }
  closedir(dir);
}

static void mix_fingerprint(const void *data, size_t size) {
  const unsigned char *bytes = data;
  for (size_t i = 0; i < size; i++)
    disk.fingerprint = (disk.fingerprint ^ bytes[i]) * 0x100000001b3u;
}

static void write_file(const char *folder, const name_entry *entry) {
  const image *m = &images[entry->file];
  char path[1400];
  if (snprintf(path, sizeof path, "%s/%s", folder, entry->name) >= (int)sizeof path) abort();
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) abort();
  for (uint64_t at = 0; at < m->size;) {
    ssize_t wrote = write(fd, m->data + at, m->size - at);
    if (wrote <= 0) abort();
    at += (uint64_t)wrote;
  }
  close(fd);
  mix_fingerprint(entry->name, strlen(entry->name) + 1);
  mix_fingerprint(&m->size, sizeof m->size);
  mix_fingerprint(m->data, m->size);
}

size_t crash_disk_build(const crash_state *state, const char *folder) {
  name_entry names[NAMES_MAX];
  empty_folder(folder);
  survey(state->events);
  for (int file = 0; file < disk.files; file++) build_image(&images[file], state, file);
  int count = build_names(state, names);
  disk.fingerprint = 0xcbf29ce484222325u;
  for (int i = 0; i < count; i++) write_file(folder, &names[i]);
  return (size_t)count;
}

uint64_t crash_disk_fingerprint(void) {
  return disk.fingerprint;
}
