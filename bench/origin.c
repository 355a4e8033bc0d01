/*
 * The fastest HTTP server that will do: origin PORT.
 *
 * One thread, keep-alive, the same 200 for every request; a request is whatever ends with an empty line, so
 * no bodies.  One that is split inside the empty line is not seen: wrk and proxies send heads whole.
 * Asked to close the connection, it does after its answer.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nhello, world\n";

static const char CLOSING[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\nConnection: close\r\n\r\nhello, world\n";

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void watch(int poller, int fd) {
  struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e)) die("epoll_ctl");
}

static void answer(int fd) {
  char bytes[65536], answers[65536];
  ssize_t n = read(fd, bytes, sizeof bytes);
  if (n <= 0) {
    close(fd);
    return;
  }
  if (memmem(bytes, n, "Connection: close", 17)) {
    if (write(fd, CLOSING, sizeof CLOSING - 1) < 0) perror("write");
    close(fd);
    return;
  }
  size_t length = 0;
  char *at = bytes, *end = bytes + n;
  while ((at = memmem(at, end - at, "\r\n\r\n", 4)) && length + sizeof ANSWER < sizeof answers) {
    memcpy(answers + length, ANSWER, sizeof ANSWER - 1);
    length += sizeof ANSWER - 1;
    at += 4;
  }
  if (length && write(fd, answers, length) != (ssize_t)length) close(fd);
}

int main(int c, char **v) {
  int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), poller = epoll_create1(0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(c > 1 ? atoi(v[1]) : 80)};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (void *)&a, sizeof a) || listen(listener, 1024)) die("listen");
  watch(poller, listener);
  for (;;) {
    struct epoll_event events[256];
    int n = epoll_wait(poller, events, 256, -1);
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      if (fd != listener) {
        answer(fd);
        continue;
      }
      if ((fd = accept4(listener, NULL, NULL, 0)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(poller, fd);
      }
    }
  }
}
