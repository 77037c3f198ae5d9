/*
** bench.c - see bench.h.
*/
#include "bench.h"
#include "latency.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOAD_BATCH 100000u /* entries in a transaction of the loading */
#define THREADS_MAX 1024

typedef enum key_order { ORDER_RANDOM, ORDER_EACH, ORDER_SORTED } key_order;

typedef struct round_spec {
  char operation[64];
  uint64_t count; /* 0: until stopped */
  double seconds;
  key_order order;
  bool latency;
  char histogram[512];
  char meanwhile[64];
} round_spec;

typedef struct worker {
  void *connection;
  int number;
  uint64_t random; /* goes on from round to round */
  uint64_t ops, rows, end_ns;
  latency outside, during; /* of what runs beside the meanwhile operation */
  pthread_t thread;
} worker;

static const bench_subject *subject;
static bench_options options = {
    .keys = 10000, .shape = KEY_TREE, .value_size = 6, .threads = 1, .load = true};
static const char *value;
static const uint32_t *shuffled;
static worker *workers;

static round_spec spec;
static pthread_barrier_t start_line;
static _Atomic bool stop, meanwhile_runs;

void bench_die(const char *what, const char *why) {
  fprintf(stderr, "%s: %s%s%s\n", options.program, what, why != NULL ? ": " : "",
          why != NULL ? why : "");
  exit(1);
}

const char *bench_setting(const bench_options *o, const char *name, const char *otherwise) {
  size_t size = strlen(name);
  for (int i = 0; i < o->setting_count; i++) {
    const char *setting = o->settings[i];
    if (strncmp(setting, name, size) == 0 && setting[size] == '=') return setting + size + 1;
  }
  return otherwise;
}

/* --- one round -------------------------------------------------------------------------------- */

static void pick(worker *w, uint64_t n, entry *e) {
  uint64_t number;
  if (spec.order == ORDER_RANDOM) {
    number = random_below(&w->random, options.keys);
  } else {
    number = ((uint64_t)w->number * spec.count + n) % options.keys;
    if (spec.order == ORDER_EACH) number = shuffled[number];
  }
  key_make(options.shape, number, e);
}

/* All that is measured; its name is what tools that count instructions look for. */
__attribute__((noinline)) void bench_measured(worker *w);
void bench_measured(worker *w) {
  entry e = {.value = value, .value_size = options.value_size};
  uint64_t before = spec.latency ? now_ns() : 0;
  bool meanwhile_ran = false;
  for (uint64_t n = 0; spec.count == 0 || n < spec.count; n++) {
    if (spec.count == 0 && atomic_load_explicit(&stop, memory_order_relaxed)) break;
    pick(w, n, &e);
    w->rows += subject->step(w->connection, &e);
    w->ops++;
    if (!spec.latency) continue;
    uint64_t now = now_ns();
    bool runs = atomic_load_explicit(&meanwhile_runs, memory_order_relaxed);
    latency_add(runs || meanwhile_ran ? &w->during : &w->outside, now - before);
    meanwhile_ran = runs;
    before = now;
  }
}

static void *work(void *context) {
  worker *w = context;
  pthread_barrier_wait(&start_line);
  if (subject->begin != NULL) subject->begin(w->connection);
  bench_measured(w);
  if (subject->finish != NULL) subject->finish(w->connection);
  w->end_ns = now_ns();
  return NULL;
}

static void sleep_s(double seconds) {
  struct timespec t = {.tv_sec = (time_t)seconds};
  t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
  while (nanosleep(&t, &t) != 0 && errno == EINTR) {
  }
}

/* Runs the meanwhile operation in the middle of the round; the seconds it took. */
static double run_meanwhile(void *connection) {
  entry e = {.value = value, .value_size = options.value_size};
  key_make(options.shape, 0, &e);
  sleep_s(spec.seconds / 3);
  atomic_store(&meanwhile_runs, true);
  uint64_t start = now_ns();
  subject->step(connection, &e);
  uint64_t end = now_ns();
  atomic_store(&meanwhile_runs, false);
  sleep_s(spec.seconds / 3);
  return (double)(end - start) / 1e9;
}

static void start_workers(void) {
  for (int i = 0; i < options.threads; i++) {
    worker *w = &workers[i];
    if (!subject->select(w->connection, spec.operation)) bench_die("no operation", spec.operation);
    w->ops = w->rows = 0;
    memset(&w->outside, 0, sizeof w->outside);
    memset(&w->during, 0, sizeof w->during);
    if (pthread_create(&w->thread, NULL, work, w) != 0) bench_die("no thread", NULL);
  }
}

static void print_latencies(const latency *outside, const latency *during) {
  latency all = *outside;
  latency_merge(&all, during);
  printf(" p50_ns=%llu p99_ns=%llu p999_ns=%llu max_ns=%llu",
         (unsigned long long)latency_percentile_ns(&all, 0.5),
         (unsigned long long)latency_percentile_ns(&all, 0.99),
         (unsigned long long)latency_percentile_ns(&all, 0.999), (unsigned long long)all.max_ns);
  if (spec.meanwhile[0] != '\0') {
    printf(" outside_max_ns=%llu meanwhile_ops=%llu meanwhile_p99_ns=%llu meanwhile_max_ns=%llu",
           (unsigned long long)outside->max_ns, (unsigned long long)during->total,
           (unsigned long long)latency_percentile_ns(during, 0.99),
           (unsigned long long)during->max_ns);
  }
  if (spec.histogram[0] != '\0') {
    FILE *out = fopen(spec.histogram, "w");
    if (out == NULL) bench_die(spec.histogram, strerror(errno));
    latency_write(&all, out);
    fclose(out);
  }
}

static void print_result(uint64_t start, flush_count before, double meanwhile_s) {
  static latency outside, during;
  uint64_t ops = 0, rows = 0, end = start;
  memset(&outside, 0, sizeof outside);
  memset(&during, 0, sizeof during);
  for (int i = 0; i < options.threads; i++) {
    worker *w = &workers[i];
    ops += w->ops;
    rows += w->rows;
    if (w->end_ns > end) end = w->end_ns;
    latency_merge(&outside, &w->outside);
    latency_merge(&during, &w->during);
  }
  flush_count after = flush_count_now();
  uint64_t flushes = after.calls - before.calls;
  double seconds = (double)(end - start) / 1e9, total = ops > 0 ? (double)ops : 1;
  printf("%s ops=%llu seconds=%.6f ns=%.1f rate=%.1f rows=%llu flushes=%llu flush_ns=%.0f",
         spec.operation, (unsigned long long)ops, seconds, seconds * 1e9 / total,
         (double)ops / seconds, (unsigned long long)rows, (unsigned long long)flushes,
         flushes > 0 ? (double)(after.ns - before.ns) / (double)flushes : 0);
  if (spec.meanwhile[0] != '\0') printf(" meanwhile_s=%.3f", meanwhile_s);
  if (spec.latency) print_latencies(&outside, &during);
  if (subject->figures != NULL) subject->figures(workers[0].connection, stdout);
  putchar('\n');
  fflush(stdout);
}

static void run_round(void) {
  void *beside = NULL;
  double meanwhile_s = 0;
  if (spec.order == ORDER_EACH && shuffled == NULL) shuffled = random_order(options.keys);
  if (spec.meanwhile[0] != '\0') {
    beside = subject->open(&options);
    if (!subject->select(beside, spec.meanwhile)) bench_die("no operation", spec.meanwhile);
  }
  atomic_store(&stop, false);
  pthread_barrier_init(&start_line, NULL, (unsigned)options.threads + 1);
  start_workers();
  flush_count before = flush_count_now();
  uint64_t start = now_ns();
  pthread_barrier_wait(&start_line);
  if (beside != NULL) meanwhile_s = run_meanwhile(beside);
  else if (spec.count == 0) sleep_s(spec.seconds);
  atomic_store(&stop, true);
  for (int i = 0; i < options.threads; i++) pthread_join(workers[i].thread, NULL);
  print_result(start, before, meanwhile_s);
  pthread_barrier_destroy(&start_line);
  if (beside != NULL) subject->close(beside);
}

/* --- reading what to do ----------------------------------------------------------------------- */

static bool setting_of(const char *word, const char *name, const char **out) {
  size_t size = strlen(name);
  if (strncmp(word, name, size) != 0 || word[size] != '=') return false;
  *out = word + size + 1;
  return true;
}

static void parse_round(char *line) {
  spec = (round_spec){.order = ORDER_RANDOM};
  char *rest = line, *word = strtok_r(line, " \n", &rest);
  const char *is;
  snprintf(spec.operation, sizeof spec.operation, "%s", word);
  while ((word = strtok_r(NULL, " \n", &rest)) != NULL) {
    if (setting_of(word, "count", &is)) {
      spec.count = strtoull(is, NULL, 10);
    } else if (setting_of(word, "seconds", &is)) {
      spec.seconds = strtod(is, NULL);
    } else if (setting_of(word, "order", &is)) {
      spec.order = is[0] == 'e' ? ORDER_EACH : is[0] == 's' ? ORDER_SORTED : ORDER_RANDOM;
    } else if (setting_of(word, "latency", &is)) {
      spec.latency = is[0] == '1';
    } else if (setting_of(word, "histogram", &is)) {
      spec.latency = true;
      snprintf(spec.histogram, sizeof spec.histogram, "%s", is);
    } else if (setting_of(word, "meanwhile", &is)) {
      spec.latency = true;
      snprintf(spec.meanwhile, sizeof spec.meanwhile, "%s", is);
    } else {
      bench_die("unknown word in a round", word);
    }
  }
  if (spec.count == 0 && spec.seconds <= 0) bench_die("neither count nor seconds", line);
}

static void parse_option(const char *name, const char *is) {
  if (strcmp(name, "--folder") == 0) {
    if (chdir(is) != 0) bench_die(is, strerror(errno));
  } else if (strcmp(name, "--keys") == 0) {
    options.keys = strtoull(is, NULL, 10);
  } else if (strcmp(name, "--shape") == 0) {
    options.shape = strcmp(is, "grid") == 0 ? KEY_GRID : KEY_TREE;
  } else if (strcmp(name, "--value-size") == 0) {
    options.value_size = strtoull(is, NULL, 10);
  } else if (strcmp(name, "--threads") == 0) {
    options.threads = atoi(is);
  } else if (strcmp(name, "--load") == 0) {
    options.load = is[0] == '1';
  } else if (strcmp(name, "--set") == 0 && options.setting_count < BENCH_SETTINGS_MAX) {
    options.settings[options.setting_count++] = is;
  } else {
    bench_die("unknown option", name);
  }
}

static void parse_options(int argc, char **argv) {
  static char origin[PATH_MAX], file[PATH_MAX];
  options.program = argv[0];
  if (getcwd(origin, sizeof origin) == NULL) bench_die("getcwd", strerror(errno));
  options.origin = origin;
  for (int i = 1; i < argc; i++) {
    if (argv[i][0] == '-' && i + 1 < argc) {
      parse_option(argv[i], argv[i + 1]);
      i++;
    } else if (argv[i][0] == '-') {
      bench_die("no value", argv[i]);
    } else if (realpath(argv[i], file) == NULL) {
      bench_die(argv[i], strerror(errno));
    } else {
      options.file = file;
    }
  }
  if (options.threads < 1 || options.threads > THREADS_MAX) bench_die("--threads", "1 to 1024");
  if (options.keys < 1 || options.keys > UINT32_MAX) bench_die("--keys", "1 to 4294967295");
}

/* --- from the start to the first round -------------------------------------------------------- */

static long rss_kb(void) {
  long pages = 0;
  FILE *in = fopen("/proc/self/statm", "r");
  if (in == NULL || fscanf(in, "%*d %ld", &pages) != 1) pages = 0;
  if (in != NULL) fclose(in);
  return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void load(void) {
  void *connection = workers[0].connection;
  entry e = {.value = value, .value_size = options.value_size};
  if (!options.load || subject->load == NULL) return;
  for (uint64_t n = 0; n < options.keys; n++) {
    if (n % LOAD_BATCH == 0) {
      if (n > 0) subject->load_end(connection);
      subject->load_begin(connection);
    }
    key_make(options.shape, shuffled[n], &e);
    subject->load(connection, &e);
  }
  subject->load_end(connection);
}

static void prepare(void) {
  value = value_make(options.value_size);
  workers = calloc((size_t)options.threads, sizeof *workers);
  if (workers == NULL) bench_die("no memory", NULL);
  if (options.load && subject->load != NULL) shuffled = random_order(options.keys);
  long rss_start = rss_kb();
  uint64_t start = now_ns();
  for (int i = 0; i < options.threads; i++) {
    workers[i].number = i;
    workers[i].random = 88172645463325252u + 7919u * (uint64_t)i;
    workers[i].connection = subject->open(&options);
  }
  uint64_t opened = now_ns();
  long rss_setup = rss_kb();
  load();
  printf("ready setup_s=%.6f load_s=%.6f rss_setup_kb=%ld rss_load_kb=%ld",
         (double)(opened - start) / 1e9, (double)(now_ns() - opened) / 1e9, rss_setup - rss_start,
         rss_kb() - rss_start);
  if (subject->figures != NULL) subject->figures(workers[0].connection, stdout);
  putchar('\n');
  fflush(stdout);
}

int bench_main(int argc, char **argv, const bench_subject *s) {
  static char line[4096];
  subject = s;
  parse_options(argc, argv);
  prepare();
  while (fgets(line, sizeof line, stdin) != NULL) {
    if (line[strspn(line, " \n")] == '\0') continue;
    parse_round(line);
    run_round();
  }
  for (int i = 0; i < options.threads; i++) subject->close(workers[i].connection);
  return 0;
}
