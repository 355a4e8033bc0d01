/*
 * UDP echo server and load generator.
 *
 *   udpload echo PORT
 *   udpload load PORT CLIENTS INFLIGHT SIZE
 *
 * Both on 127.0.0.1.  The generator opens CLIENTS sockets once and then, for each line "SECONDS WARMUP" on
 * its stdin, keeps INFLIGHT datagrams of SIZE bytes in flight on each of them for that long, and prints one
 * line of JSON.  Between lines it sleeps.  Datagrams carry the time they were sent and the number of the line,
 * so that a late one is not taken for one of the next.  Both move up to BATCH datagrams a system call.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, ROOM = 65536, MOST_LATENCIES = 4 * 1000 * 1000 };
static const double LOST_AFTER = 0.2; /* seconds without an answer, then a client starts over */

struct stamp {
  double sent;
  long turn;
};

struct client {
  int fd;
  int in_flight;
  double last;
};

static char in_bytes[BATCH][ROOM], out_bytes[BATCH][ROOM];
static struct mmsghdr in[BATCH], out[BATCH];
static struct iovec in_parts[BATCH], out_parts[BATCH];
static struct sockaddr_in peers[BATCH];

static void die(const char *what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static struct sockaddr_in local(const char *port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return a;
}

static int udp(int flags) {
  int fd = socket(AF_INET, SOCK_DGRAM | flags, 0), size = 4 << 20;
  if (fd < 0) die("socket");
  /* Beyond the machine's limit where we may, so that what is lost is lost in the proxy. */
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  return fd;
}

static void prepare(struct mmsghdr *batch, struct iovec *parts, char (*bytes)[ROOM], int size) {
  for (int i = 0; i < BATCH; i++) {
    parts[i] = (struct iovec){bytes[i], size};
    memset(&batch[i], 0, sizeof batch[i]);
    batch[i].msg_hdr.msg_iov = &parts[i];
    batch[i].msg_hdr.msg_iovlen = 1;
  }
}

static int echo(const char *port) {
  int fd = udp(0);
  struct sockaddr_in a = local(port);
  if (bind(fd, (void *)&a, sizeof a)) die("bind");
  for (;;) {
    prepare(in, in_parts, in_bytes, ROOM);
    for (int i = 0; i < BATCH; i++) {
      in[i].msg_hdr.msg_name = &peers[i];
      in[i].msg_hdr.msg_namelen = sizeof peers[i];
    }
    int n = recvmmsg(fd, in, BATCH, MSG_WAITFORONE, 0);
    for (int i = 0; i < n; i++) in_parts[i].iov_len = in[i].msg_len;
    for (int sent = 0; sent < n;) {
      int r = sendmmsg(fd, in + sent, n - sent, 0);
      sent += r > 0 ? r : 1; /* an ICMP error of an earlier one: skip */
    }
  }
}

static void fill_up(struct client *c, int in_flight, long turn) {
  double t = now();
  struct stamp s = {t, turn};
  while (c->in_flight < in_flight) {
    int n = in_flight - c->in_flight < BATCH ? in_flight - c->in_flight : BATCH;
    for (int i = 0; i < n; i++) memcpy(out_bytes[i], &s, sizeof s);
    int r = sendmmsg(c->fd, out, n, 0);
    if (r <= 0) break;
    c->in_flight += r;
  }
  c->last = t;
}

static int by_value(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static double cpu(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static void turn(struct client *all, int clients, int in_flight, int poller, double seconds, double warmup,
                 long number, float *took) {
  struct epoll_event events[256];
  long answers = 0, before = 0, lost = 0, kept = 0;
  double began = now(), measured = 0, t = began, sweep = began + LOST_AFTER, cpu_began = cpu();
  for (int i = 0; i < clients; i++) {
    all[i].in_flight = 0;
    fill_up(&all[i], in_flight, number);
  }
  while ((t = now()) < began + warmup + seconds) {
    if (!measured && t >= began + warmup) {
      measured = t;
      before = answers;
      kept = lost = 0;
    }
    int n = epoll_wait(poller, events, 256, 20);
    for (int k = 0; k < n; k++) {
      struct client *c = &all[events[k].data.u32];
      int r = recvmmsg(c->fd, in, BATCH, 0, 0);
      double arrived = now();
      for (int i = 0; i < r; i++) {
        struct stamp s;
        memcpy(&s, in_bytes[i], sizeof s);
        if (s.turn != number) continue;
        answers++;
        if (c->in_flight > 0) c->in_flight--;
        if (kept < MOST_LATENCIES) took[kept++] = (arrived - s.sent) * 1e6;
      }
      fill_up(c, in_flight, number);
    }
    if (t > sweep) {
      sweep = t + LOST_AFTER;
      for (int i = 0; i < clients; i++)
        if (t - all[i].last > LOST_AFTER) {
          lost += all[i].in_flight;
          all[i].in_flight = 0;
          fill_up(&all[i], in_flight, number);
        }
    }
  }
  qsort(took, kept, sizeof *took, by_value);
  printf("{\"rate\": %.1f, \"p50\": %.1f, \"p99\": %.1f, \"lost\": %ld, \"answers\": %ld, \"cpu\": %.4f, "
         "\"seconds\": %.4f}\n",
         (answers - before) / (t - measured), kept ? took[kept / 2] : 0, kept ? took[(long)(kept * 0.99)] : 0,
         lost, answers, cpu() - cpu_began, t - began);
  fflush(stdout);
}

static int load(char **v) {
  int clients = atoi(v[3]), in_flight = atoi(v[4]), size = atoi(v[5]), poller = epoll_create1(0);
  struct rlimit files = {clients + 64, clients + 64};
  setrlimit(RLIMIT_NOFILE, &files);
  struct sockaddr_in a = local(v[2]);
  struct client *all = calloc(clients, sizeof *all);
  float *took = malloc(sizeof *took * MOST_LATENCIES);
  if (!all || !took) die("memory");
  if (size < (int)sizeof(struct stamp)) size = sizeof(struct stamp);
  prepare(in, in_parts, in_bytes, ROOM);
  prepare(out, out_parts, out_bytes, size);
  for (int i = 0; i < clients; i++) {
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
    all[i].fd = udp(SOCK_NONBLOCK);
    if (connect(all[i].fd, (void *)&a, sizeof a)) die("connect");
    if (epoll_ctl(poller, EPOLL_CTL_ADD, all[i].fd, &e)) die("epoll_ctl");
  }
  double seconds, warmup;
  for (long number = 1; scanf("%lf %lf", &seconds, &warmup) == 2; number++)
    turn(all, clients, in_flight, poller, seconds, warmup, number, took);
  return 0;
}

int main(int c, char **v) {
  if (c == 3 && !strcmp(v[1], "echo")) return echo(v[2]);
  if (c == 6 && !strcmp(v[1], "load")) return load(v);
  fprintf(stderr, "usage: udpload echo PORT | udpload load PORT CLIENTS INFLIGHT SIZE\n");
  return 2;
}
