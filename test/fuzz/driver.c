/*
** driver.c - runs a fuzz target where there is no libFuzzer: any compiler, any sanitizer.
**
**     build/release/test/fuzz/fuzz_glob            its corpus, then fresh inputs made from it
**     build/release/test/fuzz/fuzz_glob FILE...    these inputs only
**
** Each file of test/fuzz/corpus/NAME is a check, and all fresh inputs together are one. They are made
** by a few random changes to a file of the corpus, by the target's own mutator if it has one, from a
** fixed sequence: FUZZ_SEED is another one. There are FUZZ_RUNS (20000) of them, but no more than
** FUZZ_SECONDS (3) allow; `make fuzz` is for searching, this is for not going back.
**
** Inputs are run in a child, so that the first one that fails does not keep the others from being
** tried. It dies of a failed check, a signal, a sanitizer's report, or because an input takes a
** minute. Then the input is kept in the current folder. Leaks are looked for behind each file, if
** there is a sanitizer that does, and at the end.
*/
#include "fuzz_help.h"

#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define INPUT_SIZE_MAX ((size_t)1 << 20)
#define FRESH_SIZE_MAX                                                                             \
  ((size_t)4 << 10) /* what a mutator may make; a larger file may stay so large */
#define FAILURES_MAX 5
#define HANG_S 60

#pragma weak LLVMFuzzerInitialize
#pragma weak LLVMFuzzerCustomMutator
#pragma weak __lsan_do_recoverable_leak_check
int __lsan_do_recoverable_leak_check(void);

typedef struct input {
  char *name; /* with its folder */
  uint8_t *data;
  size_t size;
} input;

/* What the child leaves behind when it dies. */
typedef struct progress {
  size_t index; /* of the input being run: files first, then fresh ones */
  bool ended;
  size_t size;
  uint8_t data[INPUT_SIZE_MAX];
} progress;

static input *inputs;
static size_t input_count, run_count;
static progress *now;
static const char *program, *name; /* as called; without its folder and "fuzz_" */
static uint64_t seed = 1, seconds_max = 3;

/* --- random changes ----------------------------------------------------------------------------- */

static uint64_t random_state;

static size_t random_below(size_t limit) {
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  return limit > 0 ? (size_t)((random_state * 2685821657736338717u) >> 16) % limit : 0;
}

static size_t random_length(size_t limit) {
  return limit > 0 ? 1 + random_below(limit < 32 ? limit : random_below(8) == 0 ? limit : 32) : 0;
}

static uint8_t random_byte(void) {
  static const uint8_t special[] = "\0\t\n\r\\/\"'*?[]^-=,0129azAZ \x7f\x80\xbf\xc2\xed\xf4\xff";
  return random_below(2) == 0 ? special[random_below(sizeof special - 1)]
                              : (uint8_t)random_below(256);
}

/* Put bytes in at a place, as many as there is room for. */
static size_t insert(uint8_t *data, size_t size, size_t size_max, const uint8_t *from,
                     size_t from_size) {
  size_t at = random_below(size + 1);
  if (from_size > size_max - size) from_size = size_max - size;
  memmove(data + at + from_size, data + at, size - at);
  memcpy(data + at, from, from_size);
  return size + from_size;
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max) {
  uint8_t part[256];
  size_t at = random_below(size), length = random_length(size - at), to;
  if (length > sizeof part) length = sizeof part;
  if (size == 0 || random_below(8) == 0) {
    uint8_t byte = random_byte();
    return size < size_max ? insert(data, size, size_max, &byte, 1) : size;
  }
  switch (random_below(7)) {
  case 0:
    data[at] ^= (uint8_t)(1u << random_below(8));
    return size;
  case 1:
    data[at] = random_byte();
    return size;
  case 2: /* cut out */
    memmove(data + at, data + at + length, size - at - length);
    return size - length;
  case 3: /* once more somewhere */
    memcpy(part, data + at, length);
    return insert(data, size, size_max, part, length);
  case 4: /* over another place */
    to = random_below(size - length + 1);
    memmove(data + to, data + at, length);
    return size;
  case 5:
    data[at] = (uint8_t)(data[at] + random_below(9) - 4);
    return size;
  default: { /* a piece of another input */
    const input *other = &inputs[random_below(input_count)];
    size_t from = random_below(other->size);
    length = random_length(other->size - from);
    return insert(data, size, size_max, other->data + from, length);
  }
  }
}

/* The fresh input of this number: the same each time, whatever was run before. */
static void make_fresh(size_t number) {
  random_state = (seed + 1) * 0x9e3779b97f4a7c15u ^ (number + 1) * 0xbf58476d1ce4e5b9u;
  for (int i = 0; i < 8; i++) (void)random_below(1);
  const input *from = &inputs[random_below(input_count)];
  size_t size_max = from->size > FRESH_SIZE_MAX ? from->size : FRESH_SIZE_MAX;
  now->size = from->size;
  if (from->size > 0) memcpy(now->data, from->data, from->size);
  for (size_t n = 1 + random_below(4); n > 0; n--) {
    now->size = LLVMFuzzerCustomMutator != NULL
                    ? LLVMFuzzerCustomMutator(now->data, now->size, size_max,
                                              (unsigned)random_below((size_t)1 << 32))
                    : LLVMFuzzerMutate(now->data, now->size, size_max);
  }
}

/* --- the corpus --------------------------------------------------------------------------------- */

static void die(const char *what, const char *path) {
  printf("%s '%s'\n0 passed, 1 failed\n", what, path);
  exit(1);
}

static void add_input(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) die("cannot open", path);
  input in = {.name = strdup(path), .data = fuzz_memory(INPUT_SIZE_MAX)};
  in.size = fread(in.data, 1, INPUT_SIZE_MAX, file);
  (void)fclose(file);
  uint8_t *fits = realloc(in.data, in.size > 0 ? in.size : 1);
  inputs = realloc(inputs, (input_count + 1) * sizeof *inputs);
  if (fits == NULL || inputs == NULL || in.name == NULL) abort();
  in.data = fits;
  inputs[input_count++] = in;
}

static int is_shown(const struct dirent *entry) {
  return entry->d_name[0] != '.';
}

/* The program lies in ROOT/build/..., its corpus in ROOT/test/fuzz/corpus/NAME. */
static void read_corpus(void) {
  char path[4096], *build = NULL;
  ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
  path[size > 0 ? size : 0] = '\0';
  for (char *at = path; (at = strstr(at, "/build/")) != NULL; at++) build = at;
  if (build == NULL) die("no build folder above", path);
  (void)snprintf(build, sizeof path - (size_t)(build - path), "/test/fuzz/corpus/%s", name);
  struct dirent **entries = NULL;
  int count = scandir(path, &entries, is_shown, alphasort);
  if (count <= 0) die("no corpus in", path);
  for (int i = 0; i < count; i++) {
    char file[8192];
    (void)snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
    add_input(file);
    free(entries[i]);
  }
  free(entries);
}

/* --- running -------------------------------------------------------------------------------------- */

static double seconds(void) {
  struct timespec time;
  (void)clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void run_one(void) {
  uint8_t *copy = (uint8_t *)fuzz_copy(now->data, now->size);
  (void)alarm(HANG_S);
  (void)LLVMFuzzerTestOneInput(copy, now->size);
  (void)alarm(0);
  free(copy);
}

/* The child: everything from now->index on. */
static void run_all(void) {
  for (; now->index < input_count; now->index++) {
    const input *in = &inputs[now->index];
    now->size = in->size;
    if (in->size > 0) memcpy(now->data, in->data, in->size);
    run_one();
    if (__lsan_do_recoverable_leak_check != NULL && __lsan_do_recoverable_leak_check() != 0) {
      abort();
    }
  }
  for (double end = seconds() + (double)seconds_max; now->index < input_count + run_count;) {
    make_fresh(now->index - input_count);
    run_one();
    now->index++;
    if (seconds() > end) break;
  }
  now->ended = true;
  exit(0); /* where leaks are looked for */
}

static void tell_failure(int status, unsigned long number) {
  const char *of = now->index < input_count ? inputs[now->index].name : "a fresh input";
  if (now->ended) {
    printf("failed at the end: memory was lost by some input\n");
    return;
  }
  if (WIFSIGNALED(status)) {
    printf("%s: %s\n", of, WTERMSIG(status) == SIGALRM ? "hangs" : strsignal(WTERMSIG(status)));
  } else {
    printf("%s: exit code %d\n", of, WEXITSTATUS(status));
  }
  char path[256], *folder = getcwd(NULL, 0);
  (void)snprintf(path, sizeof path, "failed-%s-%lu", name, number);
  FILE *file = fopen(path, "wb");
  if (file != NULL && fwrite(now->data, 1, now->size, file) == now->size && fclose(file) == 0) {
    printf("again: %s %s/%s\n", program, folder != NULL ? folder : ".", path);
  }
  free(folder);
}

/* True if everything from now->index on has been run; else one input has failed. */
static bool run_child(unsigned long failed) {
  int status = 0;
  (void)fflush(NULL);
  pid_t child = fork();
  if (child == 0) run_all();
  if (child < 0 || waitpid(child, &status, 0) != child) abort();
  if (status == 0 && now->ended) return true;
  tell_failure(status, failed);
  return false;
}

static uint64_t setting(const char *variable, uint64_t otherwise) {
  const char *text = getenv(variable);
  return text != NULL && *text != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

int main(int argc, char **argv) {
  unsigned long failed = 0;
  bool fresh_failed = false;
  program = argv[0];
  name = strrchr(program, '/') != NULL ? strrchr(program, '/') + 1 : program;
  if (strncmp(name, "fuzz_", 5) == 0) name += 5;
  seed = setting("FUZZ_SEED", 1);
  seconds_max = setting("FUZZ_SECONDS", 3);
  run_count = argc > 1 ? 0 : (size_t)setting("FUZZ_RUNS", 20000);
  now = mmap(NULL, sizeof *now, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (now == MAP_FAILED) abort();
  for (int i = 1; i < argc; i++) add_input(argv[i]);
  if (argc == 1) read_corpus();
  if (LLVMFuzzerInitialize != NULL) (void)LLVMFuzzerInitialize(&argc, &argv);
  while (!run_child(failed)) {
    failed++;
    fresh_failed = fresh_failed || now->index >= input_count;
    if (now->ended || failed == FAILURES_MAX) break;
    now->index++;
  }
  size_t files = now->index < input_count ? now->index + 1 : input_count;
  printf("%zu files, %zu fresh inputs\n", files,
         now->index > input_count ? now->index - input_count : 0);
  size_t checks = files + (argc == 1 && now->index >= input_count);
  printf("%zu passed, %lu failed\n", failed < checks ? checks - failed : 0, failed);
  return failed > 0 ? 1 : 0;
}
