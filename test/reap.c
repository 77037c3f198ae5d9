/*
** reap.c - runs a command, and ends whatever that leaves running: the runner's guard.
**
**     reap COMMAND ARG...
**
** Orphans of the command become children of this program (PR_SET_CHILD_SUBREAPER), wherever they have
** moved: to another session, environment or user. When the command has ended, processes that are still
** there have a second to end by themselves. Each that has not is reported as `left running: PID WORDS`
** and killed. Exit status: the command's (128 + N for signal N), or LEFT_RUNNING if it was 0 and a
** process was left.
**
** SIGTERM, SIGINT and SIGHUP end the command and all of its descendants at once, without a report.
** So does the death of an outer reap, even by SIGKILL: the outermost one holds the writing end of a pipe,
** and the others, which find the reading end's number in REAP_FD, see the pipe close. Hence no process of
** a run outlives it.
*/
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LEFT_RUNNING 125
#define GRACE_MS 1000

static void die(const char *what) {
  fprintf(stderr, "reap: %s: %s\n", what, strerror(errno));
  exit(126);
}

static long now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000L + t.tv_nsec / 1000000L;
}

/* The parent of a process, 0 if there is no such process or it has ended. Its name, in parentheses, may
** hold anything. */
static pid_t parent_of(int pid) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  if (size <= 0) return 0;
  text[size] = 0;
  const char *end = strrchr(text, ')');
  char state;
  int parent;
  if (end == NULL || sscanf(end + 1, " %c %d", &state, &parent) != 2) return 0;
  return state == 'Z' ? 0 : (pid_t)parent;
}

static void report(int pid) {
  char path[64], words[400];
  snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t size = fd < 0 ? 0 : read(fd, words, sizeof words - 1);
  if (fd >= 0) close(fd);
  if (size < 0) size = 0;
  for (ssize_t i = 0; i < size; ++i) {
    if ((unsigned char)words[i] < ' ') words[i] = ' ';
  }
  words[size] = 0;
  printf("left running: %d %s\n", pid, words);
}

/* Kill our living children and collect them; how many there were. Their own children become ours by that. */
static int kill_children(bool reported) {
  DIR *folder = opendir("/proc");
  if (folder == NULL) die("/proc");
  int killed = 0;
  for (struct dirent *e; (e = readdir(folder)) != NULL;) {
    int pid = atoi(e->d_name); /* 0: no number, so no process */
    if (pid == 0 || parent_of(pid) != getpid()) continue;
    if (reported) report(pid);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    ++killed;
  }
  closedir(folder);
  return killed;
}

/* Collect children that have ended, setting *status if the command is among them. False: none is left. */
static bool collect(pid_t command, int *status) {
  for (;;) {
    int code;
    pid_t pid = waitpid(-1, &code, WNOHANG);
    if (pid < 0) return false;
    if (pid == 0) return true;
    if (pid == command) *status = WIFEXITED(code) ? WEXITSTATUS(code) : 128 + WTERMSIG(code);
  }
}

/* The pipe that the outermost reap holds open; its reading end. */
static int outer_pipe(void) {
  const char *inherited = getenv("REAP_FD");
  if (inherited != NULL && fcntl(atoi(inherited), F_GETFD) != -1) return atoi(inherited);
  int ends[2];
  if (pipe(ends) != 0) die("pipe");
  fcntl(ends[1], F_SETFD, FD_CLOEXEC);
  char number[16];
  snprintf(number, sizeof number, "%d", ends[0]);
  setenv("REAP_FD", number, 1);
  return ends[0];
}

/* Wait until a child ends, at most until the deadline. True: everything is to end at once. */
static bool wait_for_news(int signals, int outer, long deadline_ms) {
  struct pollfd fds[] = {{.fd = signals, .events = POLLIN}, {.fd = outer, .events = POLLIN}};
  long left = deadline_ms - now_ms();
  int n = poll(fds, 2, deadline_ms < 0 ? -1 : left > 0 ? (int)left : 0);
  if (n <= 0) return false;
  if (fds[1].revents != 0) return true;
  struct signalfd_siginfo info;
  return read(signals, &info, sizeof info) == (ssize_t)sizeof info && info.ssi_signo != SIGCHLD;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: reap COMMAND ARG...\n");
    return 126;
  }
  int outer = outer_pipe();
  sigset_t news, before;
  sigemptyset(&news);
  sigaddset(&news, SIGCHLD);
  sigaddset(&news, SIGTERM);
  sigaddset(&news, SIGINT);
  sigaddset(&news, SIGHUP);
  sigprocmask(SIG_BLOCK, &news, &before);
  int signals = signalfd(-1, &news, SFD_CLOEXEC);
  if (signals < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) die("prctl");

  pid_t command = fork();
  if (command < 0) die("fork");
  if (command == 0) {
    sigprocmask(SIG_SETMASK, &before, NULL);
    execvp(argv[1], argv + 1);
    die(argv[1]);
  }

  int status = -1;
  bool stopped = false;
  while (collect(command, &status) && status < 0 && !stopped) {
    stopped = wait_for_news(signals, outer, -1);
  }
  long deadline = now_ms() + GRACE_MS;
  while (!stopped && collect(command, &status) && now_ms() < deadline) {
    stopped = wait_for_news(signals, outer, deadline);
  }
  bool left = false;
  while (collect(command, &status)) left = kill_children(!stopped) > 0 || left;
  if (stopped) return 128 + SIGTERM;
  return left && status == 0 ? LEFT_RUNNING : status;
}
