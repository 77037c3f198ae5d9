/* crash_disk.c - a disk that remembers every write. See crash_disk.h. */
#include "crash_disk.h"

#include "os.h"
#include "share.h"
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define FILES_MAX 64
#define FDS_MAX 1024
#define NAMES_MAX 16
#define NAME_SIZE 128
#define PAGE_SUFFIX "-shm"
#define BLOCK_SECTORS 8u
enum { FOLDER = -1, PAGE = -2 }; /* in of_fd */

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
  size_t pages; /* of the shared page that were seen before it */
} event;

typedef struct name_entry {
  char name[NAME_SIZE];
  int file;
} name_entry;

/* A file on its way to a state. Only what is not certain depends on the state. */
typedef struct image {
  char *data;
  size_t room; /* zeros beyond what was written */
  uint64_t size;
  size_t covered;   /* events before this one are flushed, unless in limbo */
  size_t uncertain; /* sectors, numbered from `first` over all files */
  size_t first;
  unsigned char *touched; /* by sector */
  size_t *numbers;        /* by sector, from 0: how many before it are touched */
} image;

/* One recording, and the states that are built from it. */
typedef struct recording {
  os_table before;
  event *events;
  size_t count, room;
  int files;
  int of_fd[FDS_MAX];          /* file + 1; FOLDER; PAGE; 0: not ours */
  name_entry names[NAMES_MAX]; /* as the running system sees them */
  int name_count;
  unsigned fail_nth;
  bool fail_for_ever;
  int fail_reason;
  const void *mapped; /* the shared page */
  size_t mapped_size;
  char **pages; /* what was in it, each different from the one before */
  size_t page_count, page_room;
  image images[FILES_MAX];
  size_t surveyed; /* the images are set up for a crash before this event; SIZE_MAX: for none */
  size_t uncertain;
  name_entry built[NAMES_MAX];
  int built_count;
  uint64_t fingerprint;
} recording;

static void image_free(image *m) {
  free(m->data);
  free(m->touched);
  free(m->numbers);
  memset(m, 0, sizeof *m);
}

static recording levels[2], *disk = &levels[0];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
  const char *name;
  bool writes;
  void (*call)(void);
} watch;
static _Thread_local bool watching;

/* --- recording ---------------------------------------------------------------------------------- */

/* The shared page is no file that anybody writes: what is in it now may get to the disk or not. */
static void note_page(void) {
  if (disk->mapped == NULL) return;
  size_t size = disk->mapped_size / sizeof(uint64_t) * sizeof(uint64_t);
  char *now = malloc(disk->mapped_size);
  if (now == NULL) abort();
  memset(now, 0, disk->mapped_size);
  for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
    const _Atomic uint64_t *word = (const void *)((const char *)disk->mapped + at);
    uint64_t value = atomic_load_explicit(word, memory_order_relaxed);
    memcpy(now + at, &value, sizeof value);
  }
  size_t count = disk->page_count;
  if (count > 0 && memcmp(disk->pages[count - 1], now, size) == 0) {
    free(now);
    return;
  }
  if (count == disk->page_room) {
    disk->page_room = count == 0 ? 256 : count * 2;
    disk->pages = realloc(disk->pages, disk->page_room * sizeof *disk->pages);
    if (disk->pages == NULL) abort();
  }
  disk->pages[disk->page_count++] = now;
}

static event *push(event_kind kind) {
  note_page();
  if (disk->count == disk->room) {
    disk->room = disk->room == 0 ? 1024 : disk->room * 2;
    disk->events = realloc(disk->events, disk->room * sizeof *disk->events);
    if (disk->events == NULL) abort();
  }
  event *e = &disk->events[disk->count++];
  memset(e, 0, sizeof *e);
  e->kind = kind;
  e->pages = disk->page_count;
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

static bool ends_with(const char *name, const char *end) {
  size_t size = strlen(name), end_size = strlen(end);
  return size >= end_size && strcmp(name + size - end_size, end) == 0;
}

static bool is_page_name(const char *path) {
  return ends_with(path, PAGE_SUFFIX);
}

/* Let the one who watches a name do what he wants to do before a call that changes its file. */
static void tell_watcher(int fd, bool writes) {
  if (watching) return;
  pthread_mutex_lock(&lock);
  void (*call)(void) = watch.call;
  bool is = false;
  for (int i = 0; call != NULL && (!writes || watch.writes) && i < disk->name_count; i++) {
    is = is || (strcmp(disk->names[i].name, watch.name) == 0 &&
                disk->names[i].file == disk->of_fd[fd] - 1);
  }
  pthread_mutex_unlock(&lock);
  if (!is) return;
  watching = true;
  call();
  watching = false;
}

static int disk_open(const char *path, int flags, mode_t mode) {
  pthread_mutex_lock(&lock);
  int fd = disk->before.open(path, flags, mode);
  if (fd >= FDS_MAX) abort();
  if (fd >= 0 && (flags & O_DIRECTORY)) {
    disk->of_fd[fd] = FOLDER;
  } else if (fd >= 0 && is_page_name(path)) {
    disk->of_fd[fd] = PAGE;
  } else if (fd >= 0) {
    int at = find_name(disk->names, disk->name_count, path);
    if (at < 0) {
      event *e = push(EVENT_NAME);
      e->file = disk->files++;
      set_name(e->name, path);
      apply_name(disk->names, &disk->name_count, e);
      at = find_name(disk->names, disk->name_count, path);
    }
    disk->of_fd[fd] = disk->names[at].file + 1;
  }
  int reason = errno;
  pthread_mutex_unlock(&lock);
  errno = reason;
  return fd;
}

static int disk_close(int fd) {
  pthread_mutex_lock(&lock);
  disk->of_fd[fd] = 0;
  pthread_mutex_unlock(&lock);
  return disk->before.close(fd);
}

static void *disk_map(int fd, size_t size, void *at, bool writable) {
  void *mapping = disk->before.map(fd, size, at, writable);
  pthread_mutex_lock(&lock);
  if (disk->of_fd[fd] == PAGE && mapping != NULL && writable) {
    disk->mapped = mapping;
    disk->mapped_size = size;
  }
  pthread_mutex_unlock(&lock);
  return mapping;
}

static void disk_unmap(void *mapping, size_t size) {
  pthread_mutex_lock(&lock);
  if (disk->mapped == mapping) {
    note_page();
    disk->mapped = NULL;
  }
  pthread_mutex_unlock(&lock);
  disk->before.unmap(mapping, size);
}

static ssize_t disk_pwrite(int fd, const void *data, size_t size, off_t offset) {
  tell_watcher(fd, true);
  pthread_mutex_lock(&lock);
  ssize_t wrote = disk->before.pwrite(fd, data, size, offset);
  if (wrote > 0 && disk->of_fd[fd] > 0) {
    event *e = push(EVENT_WRITE);
    e->file = disk->of_fd[fd] - 1;
    e->offset = (uint64_t)offset;
    e->size = (size_t)wrote;
    e->data = malloc((size_t)wrote);
    if (e->data == NULL) abort();
    memcpy(e->data, data, (size_t)wrote);
  }
  pthread_mutex_unlock(&lock);
  return wrote;
}

static int disk_ftruncate(int fd, off_t size) {
  pthread_mutex_lock(&lock);
  int rc = disk->before.ftruncate(fd, size);
  if (rc == 0 && disk->of_fd[fd] > 0) {
    event *e = push(EVENT_TRUNCATE);
    e->file = disk->of_fd[fd] - 1;
    e->offset = (uint64_t)size;
  }
  pthread_mutex_unlock(&lock);
  return rc;
}

static void put_into_limbo(int file, size_t covers) {
  size_t from = 0;
  for (size_t i = covers; i-- > 0 && from == 0;) {
    const event *e = &disk->events[i];
    if (e->kind == EVENT_SYNC && e->file == file) from = e->covers;
  }
  for (size_t i = from; i < covers; i++) {
    event *e = &disk->events[i];
    if ((e->kind == EVENT_WRITE || e->kind == EVENT_TRUNCATE) && e->file == file) e->limbo = true;
  }
}

/* The disk takes its time: other threads write meanwhile. */
static int disk_sync(int fd) {
  pthread_mutex_lock(&lock);
  int file = disk->of_fd[fd];
  size_t covers = disk->count;
  bool fails = disk->fail_nth > 0 && --disk->fail_nth == 0;
  if (fails && disk->fail_for_ever) disk->fail_nth = 1;
  pthread_mutex_unlock(&lock);
  tell_watcher(fd, false);
  if (file > 0 && !fails) usleep(30);
  pthread_mutex_lock(&lock);
  if (fails && file > 0) {
    put_into_limbo(file - 1, disk->count); /* what came meanwhile can be in the same pages */
  } else if (!fails && (file > 0 || file == FOLDER)) {
    event *e = push(file > 0 ? EVENT_SYNC : EVENT_SYNC_FOLDER);
    e->file = file - 1;
    e->covers = covers;
  }
  pthread_mutex_unlock(&lock);
  if (fails) errno = disk->fail_reason;
  return fails ? -1 : 0;
}

static int disk_unlink(const char *path) {
  pthread_mutex_lock(&lock);
  int rc = disk->before.unlink(path), reason = errno;
  if (rc == 0 && !is_page_name(path)) {
    event *e = push(EVENT_UNNAME);
    set_name(e->name, path);
    apply_name(disk->names, &disk->name_count, e);
  }
  pthread_mutex_unlock(&lock);
  errno = reason;
  return rc;
}

static int disk_link(const char *from, const char *to) {
  pthread_mutex_lock(&lock);
  int rc = disk->before.link(from, to), reason = errno;
  if (rc == 0) {
    int at = find_name(disk->names, disk->name_count, from);
    event *e = push(EVENT_NAME);
    e->file = disk->names[at].file;
    set_name(e->name, to);
    apply_name(disk->names, &disk->name_count, e);
  }
  pthread_mutex_unlock(&lock);
  errno = reason;
  return rc;
}

static int disk_rename(const char *from, const char *to) {
  pthread_mutex_lock(&lock);
  int rc = disk->before.rename(from, to), reason = errno;
  if (rc == 0) {
    event *e = push(EVENT_RENAME);
    set_name(e->name, from);
    set_name(e->to, to);
    apply_name(disk->names, &disk->name_count, e);
  }
  pthread_mutex_unlock(&lock);
  errno = reason;
  return rc;
}

static void forget(void) {
  for (size_t i = 0; i < disk->count; i++) free(disk->events[i].data);
  for (size_t i = 0; i < disk->page_count; i++) free(disk->pages[i]);
  for (size_t i = 0; i < FILES_MAX; i++) image_free(&disk->images[i]);
  free(disk->events);
  free(disk->pages);
  memset(disk, 0, sizeof *disk);
  disk->surveyed = SIZE_MAX;
}

void crash_disk_start(void) {
  forget();
  disk->before = os;
  os.open = disk_open;
  os.close = disk_close;
  os.pwrite = disk_pwrite;
  os.ftruncate = disk_ftruncate;
  os.fdatasync = disk_sync;
  os.fsync = disk_sync;
  os.unlink = disk_unlink;
  os.link = disk_link;
  os.rename = disk_rename;
  os.map = disk_map;
  os.unmap = disk_unmap;
}

void crash_disk_stop(void) {
  watch.call = NULL;
  os = disk->before;
}

/* What was built is all certain. */
void crash_disk_nest(void) {
  const recording *outer = disk;
  int file_of[FILES_MAX];
  for (int i = 0; i < FILES_MAX; i++) file_of[i] = -1;
  if (disk != &levels[0]) abort();
  disk = &levels[1];
  crash_disk_start();
  for (int i = 0; i < outer->built_count; i++) {
    const image *m = &outer->images[outer->built[i].file];
    int *file = &file_of[outer->built[i].file];
    bool is_new = *file < 0;
    if (is_new) *file = disk->files++;
    event *e = push(EVENT_NAME);
    (void)strcpy(e->name, outer->built[i].name);
    e->file = *file;
    apply_name(disk->names, &disk->name_count, e);
    if (is_new && m->size > 0) {
      e = push(EVENT_WRITE);
      e->file = *file;
      e->size = m->size;
      e->data = malloc(m->size);
      if (e->data == NULL) abort();
      memcpy(e->data, m->data, m->size);
      e = push(EVENT_SYNC);
      e->file = *file;
      e->covers = disk->count - 1;
    }
  }
  push(EVENT_SYNC_FOLDER)->covers = disk->count - 1;
}

void crash_disk_unnest(void) {
  disk = &levels[0];
}

void crash_disk_watch(const char *name, bool writes, void (*call)(void)) {
  pthread_mutex_lock(&lock);
  watch.name = name;
  watch.writes = writes;
  watch.call = call;
  pthread_mutex_unlock(&lock);
}

void crash_disk_fail_sync(unsigned nth, bool for_ever, int reason) {
  pthread_mutex_lock(&lock);
  disk->fail_nth = nth;
  disk->fail_for_ever = for_ever;
  disk->fail_reason = reason;
  pthread_mutex_unlock(&lock);
}

void crash_disk_promise(uint64_t floor) {
  pthread_mutex_lock(&lock);
  push(EVENT_PROMISE)->offset = floor;
  pthread_mutex_unlock(&lock);
}

size_t crash_disk_events(void) {
  return disk->count;
}

uint64_t crash_disk_floor(size_t events) {
  uint64_t floor = 0;
  for (size_t i = 0; i < events; i++) {
    const event *e = &disk->events[i];
    if (e->kind == EVENT_PROMISE && e->offset > floor) floor = e->offset;
  }
  return floor;
}

/* --- building ----------------------------------------------------------------------------------- */

static void image_reset(image *m, size_t room) {
  image_free(m);
  m->room = room;
  m->data = calloc(1, room + 1);
  m->touched = calloc(1, room / CRASH_SECTOR_SIZE + 2);
  m->numbers = calloc(room / CRASH_SECTOR_SIZE + 2, sizeof *m->numbers);
  if (m->data == NULL || m->touched == NULL || m->numbers == NULL) abort();
}

static bool is_change(const event *e, int file) {
  return (e->kind == EVENT_WRITE || e->kind == EVENT_TRUNCATE) && e->file == file;
}

static bool is_certain(const image *m, size_t at) {
  return at < m->covered && !disk->events[at].limbo;
}

static void survey_file(image *m, int file, size_t events) {
  uint64_t room = 0;
  size_t covered = 0;
  for (size_t i = 0; i < events; i++) {
    const event *e = &disk->events[i];
    if (is_change(e, file) && e->offset + e->size > room) room = e->offset + e->size;
    if (e->kind == EVENT_SYNC && e->file == file && e->covers > covered) covered = e->covers;
  }
  image_reset(m, room);
  m->covered = covered;
  for (size_t i = 0; i < events; i++) {
    const event *e = &disk->events[i];
    if (!is_change(e, file) || is_certain(m, i) || e->size == 0) continue;
    size_t last = (e->offset + e->size - 1) / CRASH_SECTOR_SIZE;
    for (size_t s = e->offset / CRASH_SECTOR_SIZE; s <= last; s++) m->touched[s] = 1;
  }
  for (size_t s = 0; s <= room / CRASH_SECTOR_SIZE; s++) {
    m->numbers[s] = m->uncertain;
    m->uncertain += m->touched[s];
  }
}

/* Find out what of each file is certain, and number the sectors that are not. */
static size_t survey(size_t events) {
  if (disk->surveyed == events) return disk->uncertain;
  if (disk->files > FILES_MAX) abort();
  disk->uncertain = 0;
  for (int file = 0; file < disk->files; file++) {
    image *m = &disk->images[file];
    survey_file(m, file, events);
    m->first = disk->uncertain;
    disk->uncertain += m->uncertain;
  }
  disk->surveyed = events;
  return disk->uncertain;
}

size_t crash_disk_uncertain(size_t events) {
  return survey(events);
}

static bool changes_names(const event *e) {
  return e->kind == EVENT_NAME || e->kind == EVENT_UNNAME || e->kind == EVENT_RENAME;
}

/* The changes of names before this event are certain. */
static size_t names_covered(size_t events) {
  size_t covered = 0;
  for (size_t i = 0; i < events; i++) {
    const event *e = &disk->events[i];
    if (e->kind == EVENT_SYNC_FOLDER && e->covers > covered) covered = e->covers;
  }
  return covered;
}

size_t crash_disk_uncertain_names(size_t events) {
  size_t count = 0;
  for (size_t i = names_covered(events); i < events; i++) count += changes_names(&disk->events[i]);
  return count;
}

/* A hash of the seed and where it is asked for. */
static uint64_t dice(uint64_t seed, uint64_t a, uint64_t b) {
  uint64_t state = (seed + 1) * 0x9e3779b97f4a7c15u ^ (a + 7) * 0xbf58476d1ce4e5b9u ^ (b + 3) << 20;
  (void)unit_random(&state);
  return unit_random(&state) >> 11;
}

/* Whether an uncertain sector is the one of that number, or in its block of 4 KiB. */
static bool is_chosen(const crash_state *state, const image *m, size_t sector) {
  size_t number = m->first + m->numbers[sector];
  if (state->kind == CRASH_LOSE_ONE || state->kind == CRASH_KEEP_ONE) return number == state->index;
  if (state->index < m->first || state->index >= m->first + m->uncertain) return false;
  size_t first = sector - sector % BLOCK_SECTORS, end = first + BLOCK_SECTORS;
  if (end > m->room / CRASH_SECTOR_SIZE + 1) end = m->room / CRASH_SECTOR_SIZE + 1;
  size_t in_file = state->index - m->first;
  return in_file >= m->numbers[first] && in_file < m->numbers[end - 1] + m->touched[end - 1];
}

/* Up to which of its file's changes a sector is up to date: it has those before it. */
static size_t sector_until(const crash_state *state, const image *m, int file, size_t sector) {
  switch (state->kind) {
  case CRASH_ALL:
  case CRASH_NO_NAMES:
  case CRASH_NAMES:
    return state->events;
  case CRASH_NONE:
  case CRASH_SIZE:
    return 0;
  case CRASH_LOSE_ONE:
  case CRASH_LOSE_BLOCK:
    return is_chosen(state, m, sector) ? 0 : state->events;
  case CRASH_KEEP_ONE:
  case CRASH_KEEP_BLOCK:
    return is_chosen(state, m, sector) ? state->events : 0;
  case CRASH_CUT:
    return m->first + m->numbers[sector] < state->index ? state->events : 0;
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

static void build_write(image *m, const crash_state *state, const event *e, size_t at) {
  if (is_certain(m, at)) {
    memcpy(m->data + e->offset, e->data, e->size);
    return;
  }
  for (uint64_t from = e->offset, end = e->offset + e->size; from < end;) {
    size_t sector = from / CRASH_SECTOR_SIZE;
    uint64_t to = (sector + 1) * (uint64_t)CRASH_SECTOR_SIZE;
    if (to > end) to = end;
    if (at < sector_until(state, m, e->file, sector)) {
      memcpy(m->data + from, e->data + (from - e->offset), to - from);
    }
    from = to;
  }
}

/* CUT: the file ends behind the last sector that got there. */
static void cut_image(image *m, const crash_state *state, uint64_t certain_end) {
  uint64_t highest = certain_end;
  for (size_t s = 0; s <= m->room / CRASH_SECTOR_SIZE; s++) {
    uint64_t end = (s + 1) * (uint64_t)CRASH_SECTOR_SIZE;
    if (m->touched[s] && m->first + m->numbers[s] < state->index && end > highest) highest = end;
  }
  if (highest < m->size) m->size = highest;
}

static void build_image(image *m, const crash_state *state, int file) {
  size_t until = size_until(state, file);
  uint64_t certain_end = 0;
  memset(m->data, 0, m->room);
  m->size = 0;
  for (size_t i = 0; i < state->events; i++) {
    const event *e = &disk->events[i];
    if (!is_change(e, file)) continue;
    bool sized = is_certain(m, i) || i < until;
    if (e->kind == EVENT_WRITE) {
      build_write(m, state, e, i);
      if (sized && e->offset + e->size > m->size) m->size = e->offset + e->size;
      if (is_certain(m, i) && e->offset + e->size > certain_end) certain_end = e->offset + e->size;
    } else if (sized) {
      if (e->offset < m->size) memset(m->data + e->offset, 0, m->room - e->offset);
      m->size = e->offset;
      if (certain_end > m->size) certain_end = m->size;
    }
  }
  if (state->kind == CRASH_CUT) cut_image(m, state, certain_end);
}

/* The names that are there: those flushed, and as many of the later ones as the state has. */
static int build_names(const crash_state *state, name_entry names[NAMES_MAX]) {
  int count = 0;
  size_t covered = names_covered(state->events), until = state->events, changes = 0;
  if (state->kind == CRASH_NONE || state->kind == CRASH_NO_NAMES) until = 0;
  if (state->kind == CRASH_RANDOM) {
    uint64_t roll = dice(state->index, UINT32_MAX, 0);
    if (roll % 2 == 0) until = (roll >> 1) % (state->events + 1);
  }
  for (size_t i = 0; i < state->events; i++) {
    const event *e = &disk->events[i];
    if (i >= covered && state->kind == CRASH_NAMES && changes_names(e) && changes++ >= state->index)
      until = i;
    if (i < covered || i < until) apply_name(names, &count, e);
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
  uint64_t hash = disk->fingerprint;
  for (; size >= sizeof hash; size -= sizeof hash, bytes += sizeof hash) {
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
  }
  for (; size > 0; size--) hash = (hash ^ *bytes++) * 0x100000001b3u;
  disk->fingerprint = hash;
}

size_t crash_disk_build(const crash_state *state) {
  survey(state->events);
  for (int file = 0; file < disk->files; file++) build_image(&disk->images[file], state, file);
  disk->built_count = build_names(state, disk->built);
  disk->fingerprint = 0xcbf29ce484222325u;
  for (int i = 0; i < disk->built_count; i++) {
    const image *m = &disk->images[disk->built[i].file];
    mix_fingerprint(disk->built[i].name, strlen(disk->built[i].name) + 1);
    mix_fingerprint(&m->size, sizeof m->size);
    mix_fingerprint(m->data, m->size);
  }
  return (size_t)disk->built_count;
}

static void write_file(const char *path, const char *data, size_t size) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) abort();
  for (size_t at = 0; at < size;) {
    ssize_t wrote = write(fd, data + at, size - at);
    if (wrote <= 0) abort();
    at += (size_t)wrote;
  }
  close(fd);
}

static void write_built(const char *folder, int i) {
  const name_entry *entry = &disk->built[i];
  const image *m = &disk->images[entry->file];
  char path[1400], same[1400];
  (void)snprintf(path, sizeof path, "%s/%s", folder, entry->name);
  for (int j = 0; j < i; j++) {
    if (disk->built[j].file != entry->file) continue;
    (void)snprintf(same, sizeof same, "%s/%s", folder, disk->built[j].name);
    if (link(same, path) != 0) abort();
    return;
  }
  write_file(path, m->data, m->size);
}

/* The page, which the engine only maps: gone, as it was at some moment, torn, cut, or noise. */
static void write_page(const crash_state *state, const char *folder, const char *log_name) {
  char path[1400], page[16384];
  size_t events = state->events < disk->count ? state->events : disk->count - 1;
  size_t count = disk->count > 0 ? disk->events[events].pages : 0, size = sizeof page;
  uint64_t roll = dice(state->events * 31 + state->index, (uint64_t)state->kind, UINT32_MAX - 1);
  uint64_t how = roll % 6;
  if (how == 0 || (count == 0 && how < 5)) return;
  if (count > 0 && disk->mapped_size < size) size = disk->mapped_size;
  for (size_t at = 0; at < size; at += CRASH_SECTOR_SIZE) {
    size_t part = size - at < CRASH_SECTOR_SIZE ? size - at : CRASH_SECTOR_SIZE;
    size_t which = count == 0 ? 0 : how == 1 ? count - 1 : (roll >> 3) % count;
    if (how == 3 && count > 0) which = dice(roll, at, 0) % count; /* torn */
    if (how < 5) memcpy(page + at, disk->pages[which] + at, part);
    for (size_t i = 0; how == 5 && i < part; i++) page[at + i] = (char)dice(roll, at, i);
  }
  if (count == 0) size = sizeof(share_page);
  if (how == 4) size = (roll >> 3) % size;
  (void)snprintf(path, sizeof path, "%s/%s" PAGE_SUFFIX, folder, log_name);
  write_file(path, page, size);
}

void crash_disk_write(const crash_state *state, const char *folder, const char *log_name) {
  empty_folder(folder);
  for (int i = 0; i < disk->built_count; i++) write_built(folder, i);
  if (log_name != NULL) write_page(state, folder, log_name);
}

uint64_t crash_disk_fingerprint(void) {
  return disk->fingerprint;
}
