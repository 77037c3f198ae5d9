/*
** tool_log.c - kvstore log FILE: a log line by line, and what comes to it.
**
**     offset      seq op      status   key and value
**          0          KVSTORE header   id 5fe36501e30f856f, base seq 0
**         37        1 WRITE   ok       test/val = 'this is a test val'
**         73        1 COMMIT  ok       durable 0
**
** It takes no lock, so that others write meanwhile. When it follows the file it shows a transaction
** once it is whole: an end that does not verify is an append under way, and is looked at again, and
** so is what looks like damage, some times, before it is believed. When the file is replaced (a
** checkpoint, a conversion) what is left of the old one is shown first, and then what is new in the
** new one: transactions with numbers that were shown already are passed over, unless the new file
** begins anew.
*/
#include "inspect.h"
#include "show.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 50
#define LOOKS_MAX 6  /* at what looks like damage */
#define MARGIN 38    /* columns before the key */
#define WIDTH_MIN 60 /* of a terminal; a smaller one breaks the lines */

static const struct option options[] = {{"follow", no_argument, NULL, 'f'},
                                        {"from", required_argument, NULL, 's'},
                                        {"raw", no_argument, NULL, 'r'},
                                        {"help", no_argument, NULL, 'h'},
                                        {0}};

static const tool_about about = {
    .name = "log",
    .letters = "fs:r",
    .options = options,
    .usage =
        "usage: kvstore log [--follow] [--from SEQ] [--raw] FILE\n"
        "\n"
        "Show a log line by line: offset, number of the transaction, operation, status, key\n"
        "and value. On a terminal lines are cut to its width and coloured, unless NO_COLOR is\n"
        "set. Changes nothing, and is in nobody's way.\n"
        "\n"
        "  -f, --follow    go on as the log grows, also when it is replaced, until Ctrl-C\n"
        "  -s, --from SEQ  begin with this transaction\n"
        "  -r, --raw       the lines as they stand in the file\n"
        "\n"
        "Exit code: 0, or 2 if the log cannot be read.\n"};

typedef struct viewer {
  const char *path;
  bool follow, raw, color;
  uint64_t from; /* show no transaction before this */
  size_t width;  /* columns; 0: as many as it takes */
  inspection *log;
  inspect_facts facts;
  int fd;                /* the same file, for its bytes */
  uint64_t shown_offset; /* what is before this was shown */
  uint64_t last_seq;     /* of the newest transaction that was come across */
  uint64_t doubt_offset; /* where damage was seen, and how often */
  int looks;
} viewer;

static volatile sig_atomic_t stopped;

static void stop(int number) {
  (void)number;
  stopped = 1;
}

/* --- a line ------------------------------------------------------------------------------------- */

static const char *const status_words[] = {
    [INSPECT_OK] = "ok",          [INSPECT_HEADER] = "header", [INSPECT_ORIGINAL] = "original",
    [INSPECT_ROOM] = "room",      [INSPECT_TORN] = "torn",     [INSPECT_DAMAGED] = "damaged",
    [INSPECT_FOREIGN] = "foreign"};

static const char *color_of(const inspect_row *row) {
  if (row->status == INSPECT_DAMAGED || row->status == INSPECT_FOREIGN) return "\033[31;1m";
  if (row->status == INSPECT_TORN) return "\033[33m";
  if (row->op == NULL || row->status == INSPECT_HEADER) return "\033[36m";
  if (row->op[0] == 'W') return "";
  return row->op[0] == 'D' ? "\033[35m" : "\033[2m";
}

/* The room that is left for more, at least a little. */
static size_t room(const viewer *v, size_t used) {
  if (v->width == 0) return 0;
  return v->width > used + 8 ? v->width - used : 8;
}

static void show_what(const viewer *v, const inspect_row *row) {
  size_t used = MARGIN;
  bool text = row->value.type == KV_TEXT;
  if (row->status == INSPECT_HEADER) {
    printf("id %s, base seq %" PRIu64, v->facts.id, v->facts.base_seq);
    return;
  }
  if (row->key != NULL) {
    /* The key gets at most half of the line, or what the value leaves. */
    size_t most = room(v, used);
    if (row->has_value && most > 0) most = most > 24 ? most * 3 / 5 : most / 2;
    used += show_text(stdout, row->key, row->key_size, most);
  }
  if (row->has_value) {
    used += text ? 5 : 3;
    fputs(text ? " = '" : " = ", stdout);
    used += show_value(stdout, &row->value, room(v, used));
    if (text) putchar('\'');
  }
  if (row->op != NULL && row->op[0] == 'C' && row->note[0] == '\0') {
    printf("durable %" PRIu64, row->durable_seq);
  }
  if (row->note[0] != '\0') {
    if (used > MARGIN) fputs("  ", stdout);
    (void)show_text(stdout, row->note, strlen(row->note), room(v, used + 2));
  }
}

static void show_pretty(const viewer *v, const inspect_row *row) {
  char seq[24] = "";
  const char *color = v->color ? color_of(row) : "";
  if (row->seq > 0) (void)snprintf(seq, sizeof seq, "%" PRIu64, row->seq);
  printf("%s%10" PRIu64 " %8s %-7s %-8s ", color, row->offset, seq, row->op != NULL ? row->op : "-",
         status_words[row->status]);
  show_what(v, row);
  fputs(color[0] != '\0' ? "\033[0m\n" : "\n", stdout);
}

static void show_raw(const viewer *v, const inspect_row *row) {
  char part[65536];
  for (uint64_t done = 0; done < row->size;) {
    uint64_t left = row->size - done;
    size_t size = left < sizeof part ? (size_t)left : sizeof part;
    ssize_t got = pread(v->fd, part, size, (off_t)(row->offset + done));
    if (got <= 0) return;
    (void)fwrite(part, 1, (size_t)got, stdout);
    done += (uint64_t)got;
  }
}

/* Whether a line of an original log has its end. */
static bool is_ended(const viewer *v, const inspect_row *row) {
  char last;
  return pread(v->fd, &last, 1, (off_t)(row->offset + row->size - 1)) == 1 && last == '\n';
}

/* --- the file ----------------------------------------------------------------------------------- */

static void close_file(viewer *v) {
  if (v->fd >= 0) close(v->fd);
  inspect_close(v->log);
  v->fd = -1;
  v->log = NULL;
}

/* Open the file twice: for its lines and for its bytes. */
static int open_file(viewer *v, kv_error *err) {
  for (int tries = 0; tries < 100; tries++) {
    struct stat facts;
    v->fd = open(v->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (v->fd < 0 || fstat(v->fd, &facts) != 0) {
      int reason = errno;
      close_file(v);
      return kv_error_set(err, KV_ECANTOPEN, "cannot open '%s': %s", v->path, strerror(reason));
    }
    int rc = inspect_open(v->path, &v->log, err);
    if (rc != KV_OK) {
      close_file(v);
      return rc;
    }
    inspect_tell(v->log, &v->facts);
    if (v->facts.device == (uint64_t)facts.st_dev && v->facts.inode == (uint64_t)facts.st_ino) {
      v->shown_offset = v->doubt_offset = 0;
      v->looks = 0;
      return KV_OK;
    }
    close_file(v); /* replaced between the two */
  }
  return kv_error_set(err, KV_EBUSY, "'%s' is replaced all the time", v->path);
}

static bool is_replaced(const viewer *v) {
  struct stat facts;
  if (stat(v->path, &facts) != 0) return false; /* gone: what has its place later is new */
  return v->facts.device != (uint64_t)facts.st_dev || v->facts.inode != (uint64_t)facts.st_ino;
}

/* --- showing and following -------------------------------------------------------------------------- */

/* Whether a line that was read is to wait, since what is behind it may still be on its way. */
static bool is_doubtful(viewer *v, const inspect_row *row) {
  if (!v->follow || row->offset < v->shown_offset) return false;
  if (row->status == INSPECT_TORN) return true;
  if (row->status == INSPECT_ORIGINAL || row->status == INSPECT_FOREIGN) return !is_ended(v, row);
  if (row->status != INSPECT_DAMAGED) return false;
  if (v->doubt_offset != row->offset) v->looks = 0;
  v->doubt_offset = row->offset;
  return v->looks++ < LOOKS_MAX && row->offset > 0;
}

static bool is_wanted(const viewer *v, const inspect_row *row) {
  if (row->offset < v->shown_offset) return false;
  if (row->status == INSPECT_ROOM) return !v->follow && !v->raw;
  if (row->status == INSPECT_HEADER) return v->from == 0 || v->last_seq > 0;
  return row->whole ? row->seq >= v->from : v->last_seq + 1 >= v->from;
}

/* Show what is there. Damage that is believed once is believed to its end. */
static int show_lines(viewer *v, kv_error *err) {
  inspect_row row;
  bool more;
  uint64_t believed = UINT64_MAX;
  while (!stopped) {
    int rc = inspect_next(v->log, &row, &more, err);
    if (rc != KV_OK || !more) return rc;
    bool bad = row.status == INSPECT_DAMAGED;
    if (!(bad && row.place == believed) && is_doubtful(v, &row)) return KV_OK;
    if (bad) believed = row.place;
    if (is_wanted(v, &row)) {
      if (v->raw) {
        show_raw(v, &row);
      } else {
        show_pretty(v, &row);
      }
    }
    if (row.whole && row.seq > v->last_seq) v->last_seq = row.seq;
    if (row.status == INSPECT_ROOM) continue;
    if (row.offset + row.size > v->shown_offset) v->shown_offset = row.offset + row.size;
  }
  return KV_OK;
}

/* The file was replaced: show the rest of the old one, then open the new one. */
static int change_file(viewer *v, bool shorter, kv_error *err) {
  int rc = KV_OK;
  if (!shorter) {
    rc = inspect_refresh(v->log, &shorter, err);
    if (rc == KV_OK && !shorter) rc = show_lines(v, err);
  }
  close_file(v);
  if (rc == KV_OK) rc = open_file(v, err);
  if (rc != KV_OK) return rc;
  if (v->facts.base_seq > 0) {
    if (v->from <= v->last_seq) v->from = v->last_seq + 1;
  } else {
    v->from = 0;
  }
  return show_lines(v, err);
}

static int follow(viewer *v, kv_error *err) {
  int rc = KV_OK;
  while (rc == KV_OK && !stopped) {
    struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    bool shorter;
    if (fflush(stdout) != 0) return KV_OK; /* main tells */
    (void)nanosleep(&pause, NULL);
    bool replaced = is_replaced(v);
    rc = inspect_refresh(v->log, &shorter, err);
    if (rc == KV_OK) rc = replaced || shorter ? change_file(v, shorter, err) : show_lines(v, err);
  }
  return rc;
}

static void look_at_terminal(viewer *v) {
  struct winsize size;
  const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
  if (isatty(STDOUT_FILENO) != 1) return;
  v->width = 80;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) v->width = size.ws_col;
  if (v->width < WIDTH_MIN) v->width = WIDTH_MIN;
  v->color = (no_color == NULL || no_color[0] == '\0') && term != NULL && strcmp(term, "dumb") != 0;
}

int tool_log(int argc, char **argv) {
  viewer v = {.fd = -1};
  int code = TOOL_FAILED, option;
  while ((option = tool_option(&about, argc, argv, &code)) >= 0) {
    if (option == 'f') v.follow = true;
    if (option == 'r') v.raw = true;
    if (option == 's' && !tool_parse_number(optarg, &v.from)) {
      return tool_misused(&about, "--from takes the number of a transaction, not '%s'", optarg);
    }
  }
  if (option == TOOL_STOP) return code;
  if (!tool_operands(&about, argc, argv, 1, 1)) return TOOL_FAILED;
  v.path = argv[optind];
  look_at_terminal(&v);
  kv_error err;
  if (v.follow) {
    struct sigaction action = {.sa_handler = stop};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
  }
  int rc = open_file(&v, &err);
  if (rc == KV_OK) rc = show_lines(&v, &err);
  if (rc == KV_OK && v.follow) rc = follow(&v, &err);
  close_file(&v);
  return rc == KV_OK ? TOOL_OK : tool_fail("%s", err.text);
}
