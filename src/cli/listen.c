/* listen.c - the sockets that connections come in by. See listen.h. */
#include "listen.h"

#include "logger.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 511
#define ACCEPTS_PER_ROUND 1000 /* then those that are there get their turn */
#define ACCEPT_PAUSE_MS 100u   /* without file descriptors */
#define KEEPALIVE_S 300
#define KEEPALIVE_PROBES 3

static int fail(kv_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int fail(kv_error *err, const char *format, ...) {
  va_list args;
  err->code = KV_ECANTOPEN;
  va_start(args, format);
  vsnprintf(err->text, sizeof err->text, format, args);
  va_end(args);
  return err->code;
}

/* --- accepting -------------------------------------------------------------------------------- */

/* Tell a peer why it is not served; it is not waited for. */
static void refuse(server *s, int fd, const char *text) {
  s->counters.rejected++;
  (void)send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
  close(fd);
}

/* What to call a peer, and whether it is on this machine. */
static bool name_peer(const struct sockaddr_storage *from, char *name, size_t size) {
  char host[INET6_ADDRSTRLEN] = "?";
  if (from->ss_family == AF_INET) {
    const struct sockaddr_in *v4 = (const void *)from;
    inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
    snprintf(name, size, "%s:%u", host, ntohs(v4->sin_port));
    return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
  }
  if (from->ss_family == AF_INET6) {
    const struct sockaddr_in6 *v6 = (const void *)from;
    inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
    snprintf(name, size, "[%s]:%u", host, ntohs(v6->sin6_port));
    bool is_v4 = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == 127;
    return is_v4 || IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
  }
  snprintf(name, size, "unix socket");
  return true;
}

static void set_tcp_options(int fd) {
  int on = 1, idle_s = KEEPALIVE_S, between_s = KEEPALIVE_S / 3, probes = KEEPALIVE_PROBES;
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between_s, sizeof between_s);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static void welcome(server *s, int fd, const struct sockaddr_storage *from) {
  char peer[64];
  bool is_local = name_peer(from, peer, sizeof peer);
  if (!is_local && s->options.password == NULL) {
    refuse(s, fd,
           "-DENIED kvstore is running in protected mode because no password is set. In this mode "
           "connections are only accepted from the loopback interface. To connect from other "
           "machines start the server with --requirepass\r\n");
    return;
  }
  if (s->lists[LIST_ALL].size >= s->options.clients_max) {
    refuse(s, fd, "-ERR max number of clients reached\r\n");
    return;
  }
  if (from->ss_family != AF_UNIX) set_tcp_options(fd);
  conn_open(s, fd, peer);
}

static void on_connection(uv_poll_t *poll, int status, int events);

static void on_accept_pause_over(uv_timer_t *timer) {
  server *s = timer->data;
  for (unsigned i = 0; i < s->listener_count && !s->is_ending; i++) {
    uv_poll_start(&s->listeners[i], UV_READABLE, on_connection);
  }
}

/* Who connects meanwhile waits in the kernel's queue. */
static void pause_accepting(server *s, int reason) {
  logger_warn("cannot accept connections: %s", strerror(reason));
  for (unsigned i = 0; i < s->listener_count; i++) uv_poll_stop(&s->listeners[i]);
  uv_timer_start(&s->accept_pause, on_accept_pause_over, ACCEPT_PAUSE_MS, 0);
}

static void on_connection(uv_poll_t *poll, int status, int events) {
  server *s = poll->data;
  unsigned i = (unsigned)(poll - s->listeners);
  (void)events;
  if (status < 0) return;
  for (int n = 0; n < ACCEPTS_PER_ROUND; n++) {
    struct sockaddr_storage from = {.ss_family = AF_UNIX};
    socklen_t size = sizeof from;
    int fd =
        accept4(s->listener_fds[i], (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      welcome(s, fd, &from);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      pause_accepting(s, errno);
      return;
    } /* else that one connection failed */
  }
}

/* --- opening ---------------------------------------------------------------------------------- */

static int add_listener(server *s, int fd, const char *name, kv_error *err) {
  if (s->listener_count == SERVER_LISTENERS_MAX) {
    close(fd);
    return fail(err, "too many addresses to listen on");
  }
  uv_poll_t *poll = &s->listeners[s->listener_count];
  if (listen(fd, BACKLOG) != 0 || uv_poll_init(&s->loop, poll, fd) != 0) {
    int reason = errno;
    close(fd);
    return fail(err, "cannot listen on %s: %s", name, strerror(reason));
  }
  poll->data = s;
  s->listener_fds[s->listener_count++] = fd;
  uv_poll_start(poll, UV_READABLE, on_connection);
  logger_info("listening on %s", name);
  return KV_OK;
}

static int listen_address(server *s, const char *host, kv_error *err) {
  struct addrinfo *found, hints = {.ai_socktype = SOCK_STREAM};
  char service[16], name[128];
  snprintf(service, sizeof service, "%u", s->options.port);
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  int rc = getaddrinfo(strcmp(host, "*") == 0 ? NULL : host, service, &hints, &found);
  if (rc != 0) return fail(err, "cannot listen on '%s': %s", host, gai_strerror(rc));
  int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
  if (fd >= 0) (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  bool is_v6 = found->ai_family == AF_INET6;
  snprintf(name, sizeof name, is_v6 ? "[%s]:%s" : "%s:%s", host, service);
  bool is_bound = fd >= 0 && bind(fd, found->ai_addr, found->ai_addrlen) == 0;
  int reason = errno;
  freeaddrinfo(found);
  if (is_bound) return add_listener(s, fd, name, err);
  if (fd >= 0) close(fd);
  return fail(err, "cannot listen on %s: %s%s", name, strerror(reason),
              reason == EADDRINUSE ? "; another server runs there, choose another --port" : "");
}

/* A socket file of a server that is gone is in the way; one that answers is left alone. */
static int listen_unix(server *s, const char *path, kv_error *err) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  struct stat facts;
  if (strlen(path) >= sizeof address.sun_path) return fail(err, "'%s' is too long a name", path);
  memcpy(address.sun_path, path, strlen(path) + 1);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(err, "cannot listen on '%s': %s", path, strerror(errno));
  if (stat(path, &facts) == 0 && S_ISSOCK(facts.st_mode)) {
    bool answers = connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    if (!answers && errno == ECONNREFUSED) (void)unlink(path);
    close(fd);
    if (answers) return fail(err, "cannot listen on '%s': another server does", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  }
  if (fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0) {
    s->owns_unixsocket = true;
    return add_listener(s, fd, path, err);
  }
  int reason = errno;
  if (fd >= 0) close(fd);
  return fail(err, "cannot listen on '%s': %s", path, strerror(reason));
}

int listen_start(server *s, kv_error *err) {
  char list[1024], *rest = list;
  int rc = KV_OK;
  snprintf(list, sizeof list, "%s", s->options.port != 0 ? s->options.bind : "");
  for (char *host; rc == KV_OK && (host = strsep(&rest, " ,")) != NULL;) {
    if (*host != '\0') rc = listen_address(s, host, err);
  }
  if (rc == KV_OK && s->options.unixsocket != NULL) rc = listen_unix(s, s->options.unixsocket, err);
  if (rc == KV_OK && s->listener_count == 0) {
    rc = fail(err, "nothing to listen on: give a --port or a --unixsocket");
  }
  return rc;
}

void listen_stop(server *s) {
  if (s->owns_unixsocket) (void)unlink(s->options.unixsocket);
  s->owns_unixsocket = false;
  for (unsigned i = 0; i < s->listener_count; i++) {
    uv_close((uv_handle_t *)&s->listeners[i], NULL);
    close(s->listener_fds[i]);
  }
  s->listener_count = 0;
  uv_timer_stop(&s->accept_pause);
}
