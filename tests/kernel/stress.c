// SPDX-License-Identifier: GPL-2.0-only
/*
 * The stress test: eight processes exchange bytes of random amounts over TCP
 * with one epoll server, all in one instance and all under a storm of
 * signals, and every byte is compared.
 *
 * stress CONTROL stress SECONDS [SEED]
 */
#include "kit.h"

#define CLIENTS		8
#define PORT		7000
#define LARGEST		(96 * 1024)
#define CONNECTIONS	64	/* at once, in the server */
#define STALL_SECONDS	10

/* What the processes tell the first one; in host memory they share. */
struct board {
	volatile int stop, server_stop;
	struct {
		volatile long exchanges, bytes, connections, interrupted,
			signals, oddities;
	} of[CLIENTS + 1];
};

static struct board *board;
static int self;		/* row of the board */
static uint64_t seed;

static long random_up_to(long n)
{
	return xorshift(&seed) % n;
}

/* Signals a thousand times a second or more, at changing distances. */
static void storm_signal(int sig)
{
	kit_on_signal(sig);
	board->of[self].signals++;
	kit_alarm(100 + (now_ns() >> 8) % 900, 0);
}

static void storm(void)
{
	struct sigaction act = { .sa_handler = storm_signal,
				 .sa_flags = SA_ONSTACK };

	sigaction(SIGALRM, &act, NULL);
	kit_alarm(500, 0);
}

static int interrupted(long ret)
{
	if (ret != -EINTR)
		return 0;
	board->of[self].interrupted++;
	return 1;
}

/* ------------------------------------------------------------------ */
/* The server: sends back what comes, and never blocks.			*/

struct connection {
	int fd;
	long from, to;		/* what of buf waits to be sent */
	char buf[LARGEST];
};

static struct connection conn[CONNECTIONS];

static void hang_up(struct connection *c)
{
	good(CALL(close, c->fd));
	c->fd = -1;
}

static void serve(struct connection *c, int epoll)
{
	struct epoll_event ev = { .data.ptr = c };
	long n;

	for (;;) {
		if (c->from == c->to) {
			c->from = c->to = 0;
			n = CALL(recvfrom, c->fd, c->buf, sizeof(c->buf), 0, 0,
				 0);
			if (interrupted(n))
				continue;
			if (n == -EAGAIN) {
				ev.events = EPOLLIN;
				break;
			}
			if (n == -ECONNRESET || !n) {
				hang_up(c);
				return;
			}
			c->to = good(n);
		}
		n = CALL(sendto, c->fd, c->buf + c->from, c->to - c->from,
			 MSG_NOSIGNAL, 0, 0);
		if (interrupted(n))
			continue;
		if (n == -EAGAIN) {
			ev.events = EPOLLOUT;
			break;
		}
		if (n == -EPIPE || n == -ECONNRESET) {
			hang_up(c);
			return;
		}
		c->from += good(n);
		board->of[self].bytes += n;
	}
	good(CALL(epoll_ctl, epoll, EPOLL_CTL_MOD, c->fd, &ev));
}

static void server(int listener)
{
	struct epoll_event ev[16] = { { .events = EPOLLIN } };
	int epoll = good(CALL(epoll_create1, 0));
	long i, j, n, fd;

	for (i = 0; i < CONNECTIONS; i++)
		conn[i].fd = -1;
	good(CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, listener, &ev[0]));
	while (!board->server_stop) {
		n = CALL(epoll_wait, epoll, ev, 16, 100);
		if (interrupted(n))
			continue;
		good(n);
		for (i = 0; i < n; i++) {
			struct epoll_event in = { .events = EPOLLIN };

			if (ev[i].data.ptr) {
				serve(ev[i].data.ptr, epoll);
				continue;
			}
			fd = CALL(accept4, listener, 0, 0, SOCK_NONBLOCK);
			if (interrupted(fd) || fd == -EAGAIN)
				continue;
			good(fd);
			for (j = 0; j < CONNECTIONS && conn[j].fd >= 0; j++)
				;
			if (j == CONNECTIONS)
				kit_fail("server: too many connections");
			conn[j].fd = fd;
			conn[j].from = conn[j].to = 0;
			in.data.ptr = &conn[j];
			good(CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, fd, &in));
			board->of[self].connections++;
		}
	}
}

/* ------------------------------------------------------------------ */
/* A client: one of the eight.						*/

static void send_all(int s, const unsigned char *buf, long size)
{
	long n, part;

	while (size) {
		part = random_up_to(4) ? size : 1 + random_up_to(size);
		n = CALL(sendto, s, buf, part, MSG_NOSIGNAL, 0, 0);
		if (interrupted(n))
			continue;
		n = good(n);
		buf += n;
		size -= n;
	}
}

static void receive_all(int s, unsigned char *buf, long size)
{
	struct pollfd pfd = { s, POLLIN, 0 };
	long n, part;

	while (size) {
		if (!random_up_to(8)) {
			n = CALL(poll, &pfd, 1, 1 + random_up_to(20));
			if (interrupted(n) || !good(n))
				continue;
			check(pfd.revents & POLLIN);
		}
		part = random_up_to(4) ? size : 1 + random_up_to(size);
		n = CALL(recvfrom, s, buf, part, 0, 0, 0);
		if (interrupted(n))
			continue;
		n = good(n);
		if (!n)
			kit_fail("client %d: end of stream, %ld bytes missing",
				 self, size);
		buf += n;
		size -= n;
	}
}

static int dial(void)
{
	struct sockaddr_in addr = loop(PORT);
	struct pollfd pfd = { -1, POLLOUT, 0 };
	int s = good(CALL(socket, AF_INET, SOCK_STREAM, 0)), err;
	socklen_t len = sizeof(err);
	long n = CALL(connect, s, &addr, sizeof(addr));

	if (interrupted(n)) {
		/* It goes on without us. */
		pfd.fd = s;
		do {
			n = CALL(poll, &pfd, 1, 5000);
		} while (interrupted(n));
		check_eq(n, 1);
		good(CALL(getsockopt, s, SOL_SOCKET, SO_ERROR, &err, &len));
		n = -err;
	}
	good(n);
	board->of[self].connections++;
	return s;
}

/* Other calls, in between: they must do what they always do. */
static void oddity(void)
{
	struct timespec ts = { 0, 1 + random_up_to(300000) };
	uint64_t value = 0;
	char text[16];
	int p[2];
	long n, fd;

	switch (random_up_to(4)) {
	case 0:
		n = CALL(nanosleep, &ts, 0);
		if (!interrupted(n))
			good(n);
		break;
	case 1:
		fd = good(CALL(eventfd2, 5, 0));
		check_eq(CALL(read, fd, &value, 8), 8);
		check_eq(value, 5);
		good(CALL(close, fd));
		break;
	case 2:
		good(CALL(pipe, p));
		check_eq(CALL(write, p[1], "0123456789", 10), 10);
		check_eq(CALL(read, p[0], text, 16), 10);
		check(!memcmp(text, "0123456789", 10));
		good(CALL(close, p[0]));
		good(CALL(close, p[1]));
		break;
	case 3:
		fd = good(CALL(socket, AF_INET, SOCK_DGRAM, 0));
		n = CALL(recvfrom, fd, text, 16, MSG_DONTWAIT, 0, 0);
		check_eq(n, -EAGAIN);
		good(CALL(close, fd));
		break;
	}
	board->of[self].oddities++;
}

static void client(void)
{
	static unsigned char sent[LARGEST], got[LARGEST];
	struct linger reset = { 1, 0 };
	int s = dial();
	long size, i;

	while (!board->stop) {
		size = random_up_to(3) ? 1 + random_up_to(2000) :
		       1 + random_up_to(LARGEST);
		for (i = 0; i < size; i += 8) {
			uint64_t word = xorshift(&seed);

			memcpy(sent + i, &word,
			       size - i < 8 ? size - i : 8);
		}
		memset(got, 0, size);
		send_all(s, sent, size);
		receive_all(s, got, size);
		for (i = 0; i < size; i++)
			if (sent[i] != got[i])
				kit_fail("client %d: byte %ld of %ld is %#x, "
					 "should be %#x", self, i, size,
					 got[i], sent[i]);
		board->of[self].exchanges++;
		board->of[self].bytes += size;
		if (!random_up_to(16))
			oddity();
		if (!random_up_to(64)) {
			if (random_up_to(2))
				good(CALL(setsockopt, s, SOL_SOCKET, SO_LINGER,
					  &reset, sizeof(reset)));
			good(CALL(close, s));
			s = dial();
		}
	}
	good(CALL(close, s));
}

/* ------------------------------------------------------------------ */

static const char *state_of(pid_t pid)
{
	static char line[64], path[64], stat[512];
	char *p;
	int fd, n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY);
	n = fd < 0 ? 0 : read(fd, stat, sizeof(stat) - 1);
	stat[n > 0 ? n : 0] = 0;
	close(fd);
	p = strrchr(stat, ')');
	snprintf(line, sizeof(line), "%c", p ? p[2] : '?');
	return line;
}

/* Every process must get on; says which does not. */
static void watch(const pid_t *pid, double until)
{
	long last[CLIENTS + 1] = { 0 }, total;
	double since[CLIENTS + 1];
	int i, status;

	for (i = 0; i <= CLIENTS; i++)
		since[i] = now();
	while (now() < until) {
		host_sleep_us(50000);
		for (i = 0; i <= CLIENTS; i++) {
			if (waitpid(pid[i], &status, WNOHANG) == pid[i]) {
				if (WIFSIGNALED(status))
					kit_fail("process %d: signal %d", i,
						 WTERMSIG(status));
				_exit(1);	/* it has said why */
			}
			total = board->of[i].exchanges + board->of[i].bytes;
			if (total != last[i]) {
				last[i] = total;
				since[i] = now();
			} else if (now() - since[i] > STALL_SECONDS) {
				kit_fail("process %d (%s, host state %s) makes "
					 "no progress for %d s; exchanges %ld; "
					 "lock %#x pending %#x", i,
					 i ? "client" : "server",
					 state_of(pid[i]), STALL_SECONDS,
					 board->of[i].exchanges,
					 ukl_head()->shared->lock,
					 ukl_head()->shared->pending);
			}
		}
	}
}

TEST(stress)
{
	double seconds = arguments[0] ? atof(arguments[0]) : 60, begun;
	long exchanges = 0, bytes = 0, connections = 0, eintr = 0, odd = 0,
	     signals = 0;
	int listener, procs, threads, i;
	pid_t pid[CLIENTS + 1];
	char before[1024];
	uint64_t start = arguments[0] && arguments[1] ?
			 strtoull(arguments[1], NULL, 0) : now_ns();

	kit_no_time_wait();
	kit_sockstat(before, sizeof(before));
	procs = kit_procs_used();
	threads = kit_threads_used();
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check(board != MAP_FAILED);
	listener = kit_listen(PORT);
	good(CALL(fcntl, listener, F_SETFL, O_NONBLOCK));
	printf("# seed %llu\n", (unsigned long long)start);
	fflush(stdout);

	begun = now();
	for (i = 0; i <= CLIENTS; i++) {
		pid[i] = kit_fork();
		if (!pid[i]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			self = i;
			seed = start + i * 0x9e3779b97f4a7c15ULL;
			storm();
			if (i)
				client();
			else
				server(listener);
			_exit(0);
		}
	}
	watch(pid, begun + seconds);
	board->stop = 1;
	for (i = CLIENTS; i >= 0; i--) {
		/* The server goes last. */
		board->server_stop = !i;
		kit_wait(pid[i]);
	}
	for (i = 0; i <= CLIENTS; i++) {
		if (i) {
			exchanges += board->of[i].exchanges;
			bytes += board->of[i].bytes;
			connections += board->of[i].connections;
			check(board->of[i].exchanges > 0);
		}
		eintr += board->of[i].interrupted;
		signals += board->of[i].signals;
		odd += board->of[i].oddities;
	}
	printf("# stress: %.0f s, %ld exchanges, %.1f MB verified, %ld "
	       "connections, %ld other calls, %ld signals, %ld calls "
	       "interrupted\n", now() - begun, exchanges, bytes / 1e6,
	       connections, odd, signals, eintr);
	check(eintr > 0);
	good(CALL(close, listener));
	kit_nothing_leaked(before, procs, threads);
}
