// SPDX-License-Identifier: GPL-2.0-only
/* poll, select and epoll over files of both kernels. */
#include "same.h"

static void *later(void *arg)
{
	int *fd = arg;

	usleep(30000);
	write(fd[0], "12345678", 8);
	return NULL;
}

static void write_later(int *fd)
{
	pthread_t t;

	pthread_create(&t, NULL, later, fd);
	pthread_detach(t);
}

static void took(double begun, int ms)
{
	double t = (now() - begun) * 1000;

	printf("took %d ms: %s\n", ms, t > ms - 3 && t < ms + 150 ? "yes" :
	       "no");
}

TEST(poll_mixed)
{
	int s[2], p[2], e = eventfd(0, 0);
	struct pollfd f[5];
	double t;
	char b[8];
	int i;

	pair(s);
	MUST(pipe(p));
	f[0] = (struct pollfd){ s[1], POLLIN, 0 };
	f[1] = (struct pollfd){ p[0], POLLIN, 0 };
	f[2] = (struct pollfd){ -1, POLLIN, 99 };
	f[3] = (struct pollfd){ e, POLLIN, 0 };
	f[4] = (struct pollfd){ s[0], POLLIN | POLLOUT, 0 };
	SHOW(poll(f, 4, 0));
	t = now();
	SHOW(poll(f, 4, 50));
	took(t, 50);
	SHOW(poll(f, 5, -1));
	for (i = 0; i < 5; i++)
		SHOW(f[i].revents);
	t = now();
	write_later(s);
	SHOW(poll(f, 4, 2000));
	took(t, 30);
	for (i = 0; i < 4; i++)
		SHOW(f[i].revents);
	SHOW(read(s[1], b, 8));
	t = now();
	write_later(&p[1]);
	SHOW(poll(f, 4, 2000));
	took(t, 30);
	for (i = 0; i < 4; i++)
		SHOW(f[i].revents);
	SHOW(write(s[0], "x", 1));
	SHOW(poll(f, 4, 2000));
	SHOW(f[0].revents);
	SHOW(f[1].revents);
	close(s[0]);
	close(p[1]);
	read(s[1], b, 8);
	read(p[0], b, 8);
	f[4].fd = 77;
	SHOW(poll(f, 5, 1000));
	for (i = 0; i < 5; i++)
		SHOW(f[i].revents);
}

TEST(poll_many_of_the_host)
{
	struct pollfd f[60];
	int s[2], p[2], i, n = 0;
	double t;

	pair(s);
	f[n++] = (struct pollfd){ s[1], POLLIN, 0 };
	for (i = 0; i < 50; i++) {
		MUST(pipe(p));
		f[n++] = (struct pollfd){ p[0], POLLIN, 0 };
	}
	t = now();
	SHOW(poll(f, n, 30));
	took(t, 30);
	t = now();
	write_later(&p[1]);
	SHOW(poll(f, n, 1000));
	took(t, 30);
	SHOW(f[50].revents);
	SHOW(f[0].revents);
}

TEST(select_mixed)
{
	int s[2], p[2];
	fd_set in, out;
	struct timeval tv = { 0, 50000 };
	double t;

	pair(s);
	MUST(pipe(p));
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_SET(s[1], &in);
	FD_SET(p[0], &in);
	t = now();
	SHOW(select(p[1] + 1, &in, NULL, NULL, &tv));
	took(t, 50);
	SHOW(tv.tv_usec);
	SHOW(FD_ISSET(s[1], &in) + FD_ISSET(p[0], &in));
	FD_SET(s[1], &in);
	FD_SET(p[0], &in);
	FD_SET(p[1], &out);
	FD_SET(s[0], &out);
	SHOW(select(p[1] + 1, &in, &out, NULL, NULL));
	SHOW(FD_ISSET(s[0], &out));
	SHOW(FD_ISSET(p[1], &out));
	SHOW(FD_ISSET(s[1], &in));
	FD_SET(s[1], &in);
	FD_SET(p[0], &in);
	tv = (struct timeval){ 2, 0 };
	t = now();
	write_later(s);
	SHOW(select(p[1] + 1, &in, NULL, NULL, &tv));
	took(t, 30);
	SHOW(FD_ISSET(s[1], &in));
	SHOW(FD_ISSET(p[0], &in));
	SHOW(tv.tv_sec);
	/* A kernel looks at numbers within its table only: make that large. */
	MUST(dup2(p[0], 200));
	close(200);
	FD_SET(99, &in);
	SHOW(select(100, &in, NULL, NULL, &tv));
	SHOW(select(-1, &in, NULL, NULL, &tv));
	tv.tv_sec = -1;
	SHOW(select(5, &in, NULL, NULL, &tv));
	tv = (struct timeval){ 0, 20000 };
	SHOW(select(0, NULL, NULL, NULL, &tv));
}

TEST(epoll_mixed)
{
	int s[2], p[2], ep = epoll_create1(EPOLL_CLOEXEC), d;
	struct epoll_event ev[8] = { 0 };
	uint64_t seen;
	double t;
	char b[8];

	pair(s);
	MUST(pipe(p));
	ev[0] = (struct epoll_event){ EPOLLIN, { .u64 = 0xdeadbeefcafeUL } };
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, s[1], ev));
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, s[1], ev));
	ev[0].data.u64 = 0x1234567812345678UL;
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], ev));
	SHOW(epoll_ctl(ep, EPOLL_CTL_MOD, s[0], ev));
	SHOW(epoll_ctl(ep, EPOLL_CTL_DEL, p[1], ev));
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, ep, ev));
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, 99, ev));
	SHOW(epoll_ctl(ep, 9, s[1], ev));
	SHOW(epoll_ctl(s[0], EPOLL_CTL_ADD, s[1], ev));
	SHOW(epoll_ctl(p[0], EPOLL_CTL_ADD, s[1], ev));
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, open("/dev/null", 0), ev));
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, open("/etc/passwd", 0), ev));
	SHOW(epoll_wait(ep, ev, 0, 0));
	SHOW(epoll_wait(s[0], ev, 8, 0));
	SHOW(epoll_wait(p[0], ev, 8, 0));
	SHOW(epoll_wait(ep, ev, 8, 0));
	t = now();
	SHOW(epoll_wait(ep, ev, 8, 40));
	took(t, 40);
	t = now();
	write_later(s);
	SHOW(epoll_wait(ep, ev, 8, 2000));
	took(t, 30);
	SHOW(ev[0].data.u64 == 0xdeadbeefcafeUL);
	SHOW(epoll_wait(ep, ev, 8, 2000));	/* level */
	read(s[1], b, 8);
	t = now();
	write_later(&p[1]);
	SHOW(epoll_wait(ep, ev, 8, -1));
	took(t, 30);
	SHOW(ev[0].data.u64 == 0x1234567812345678UL);
	write(s[0], "x", 1);
	usleep(1000);
	/* Both are ready: both are seen, in one go or two. */
	for (seen = 0, t = now(); seen != 3 && now() < t + 1;) {
		int n = epoll_wait(ep, ev, 8, 100);

		while (n-- > 0)
			seen |= ev[n].data.u64 == 0xdeadbeefcafeUL ? 1 : 2;
	}
	SHOW(seen);
	read(p[0], b, 8);
	d = dup(ep);
	SHOW(epoll_wait(d, ev, 8, 100));
	SHOW(epoll_ctl(d, EPOLL_CTL_DEL, s[1], NULL));
	SHOW(epoll_wait(ep, ev, 8, 20));
	SHOW(close(ep));
	SHOW(epoll_wait(ep, ev, 8, 0));
	SHOW(epoll_wait(d, ev, 8, 0));
	SHOW(read(d, b, 8));
}

TEST(epoll_edges)
{
	int s[2], ep = epoll_create1(0);
	struct epoll_event ev = { EPOLLIN | EPOLLET, { .fd = 1 } };
	char b[8];

	pair(s);
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, s[1], &ev));
	write(s[0], "ab", 2);
	SHOW(epoll_wait(ep, &ev, 1, 100));
	SHOW(epoll_wait(ep, &ev, 1, 10));
	write(s[0], "c", 1);
	SHOW(epoll_wait(ep, &ev, 1, 100));
	read(s[1], b, 8);
	ev.events = EPOLLIN | EPOLLONESHOT;
	SHOW(epoll_ctl(ep, EPOLL_CTL_MOD, s[1], &ev));
	write(s[0], "d", 1);
	SHOW(epoll_wait(ep, &ev, 1, 100));
	SHOW(epoll_wait(ep, &ev, 1, 10));
	ev.events = EPOLLIN | EPOLLRDHUP;
	SHOW(epoll_ctl(ep, EPOLL_CTL_MOD, s[1], &ev));
	shutdown(s[0], SHUT_WR);
	usleep(1000);
	SHOW(epoll_wait(ep, &ev, 1, 100));
	SHOW(ev.events);
	close(s[1]);
	SHOW(epoll_wait(ep, &ev, 1, 10));
}

static void *add_later(void *arg)
{
	int *v = arg;
	struct epoll_event ev = { EPOLLIN, { .fd = 7 } };

	usleep(30000);
	epoll_ctl(v[0], EPOLL_CTL_ADD, v[1], &ev);
	return NULL;
}

/* While a thread waits for a host descriptor only, another adds a socket. */
TEST(epoll_added_while_waiting)
{
	int s[2], ep = epoll_create1(0), e = eventfd(0, 0), v[2];
	struct epoll_event ev = { EPOLLIN, { .fd = 1 } };
	pthread_t t;
	double begun;

	pair(s);
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev));
	write(s[0], "x", 1);
	v[0] = ep;
	v[1] = s[1];
	begun = now();
	pthread_create(&t, NULL, add_later, v);
	SHOW(epoll_wait(ep, &ev, 1, 2000));
	took(begun, 30);
	SHOW(ev.data.fd);
	pthread_join(t, NULL);
}

TEST(epoll_nested)
{
	int s[2], p[2], in = epoll_create1(0), out = epoll_create1(0);
	struct epoll_event ev = { EPOLLIN, { .fd = 1 } };
	struct pollfd f = { in, POLLIN, 0 };
	char b[8];

	pair(s);
	MUST(pipe(p));
	SHOW(epoll_ctl(in, EPOLL_CTL_ADD, s[1], &ev));
	SHOW(epoll_ctl(in, EPOLL_CTL_ADD, p[0], &ev));
	SHOW(epoll_ctl(out, EPOLL_CTL_ADD, in, &ev));
	SHOW(epoll_ctl(in, EPOLL_CTL_ADD, out, &ev));
	SHOW(epoll_wait(out, &ev, 1, 10));
	SHOW(poll(&f, 1, 0));
	write(s[0], "x", 1);
	SHOW(epoll_wait(out, &ev, 1, 1000));
	SHOW(poll(&f, 1, 0));
	SHOW(f.revents);
	read(s[1], b, 8);
	SHOW(epoll_wait(out, &ev, 1, 10));
	write(p[1], "x", 1);
	SHOW(epoll_wait(out, &ev, 1, 1000));
	SHOW(poll(&f, 1, 0));
}

TEST(epoll_over_fork)
{
	int s[2], p[2], ep = epoll_create1(0);
	struct epoll_event ev = { EPOLLIN, { .fd = 1 } };
	pid_t child;

	pair(s);
	MUST(pipe(p));
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, s[1], &ev));
	ev.data.fd = 2;
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev));
	child = fork();
	if (!child) {
		SHOW(epoll_wait(ep, &ev, 1, 2000));
		SHOW(ev.data.fd);
		fflush(stdout);
		_exit(0);
	}
	usleep(20000);
	write(s[0], "x", 1);
	reap(child);
	SHOW(epoll_wait(ep, &ev, 1, 2000));
	SHOW(ev.data.fd);
}

TEST(timers_and_events_with_sockets)
{
	int s[2], ep = epoll_create1(0), t, e = eventfd(0, 0), sig;
	struct itimerspec it = { .it_value = { 0, 30000000 } };
	struct epoll_event ev = { EPOLLIN, { .fd = 0 } };
	sigset_t set;
	double begun;

	pair(s);
	t = timerfd_create(CLOCK_MONOTONIC, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sig = signalfd(-1, &set, 0);
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, s[1], &ev));
	ev.data.fd = 1;
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, t, &ev));
	ev.data.fd = 2;
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev));
	ev.data.fd = 3;
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, sig, &ev));
	begun = now();
	timerfd_settime(t, 0, &it, NULL);
	SHOW(epoll_wait(ep, &ev, 1, 2000));
	took(begun, 30);
	SHOW(ev.data.fd);
	epoll_ctl(ep, EPOLL_CTL_DEL, t, NULL);
	write_later(&e);
	SHOW(epoll_wait(ep, &ev, 1, 2000));
	SHOW(ev.data.fd);
	epoll_ctl(ep, EPOLL_CTL_DEL, e, NULL);
	kill(getpid(), SIGUSR1);
	SHOW(epoll_wait(ep, &ev, 1, 2000));
	SHOW(ev.data.fd);
}

/* A byte there and back between a socket and a pipe, many times. */
TEST(no_lost_wake_up)
{
	int s[2], p[2], ep = epoll_create1(0), i, n = 0, one = 1;
	struct epoll_event ev = { EPOLLIN, { .fd = 0 } };
	pid_t child;
	char b;

	pair(s);
	setsockopt(s[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(s[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	MUST(pipe(p));
	child = fork();
	if (!child) {
		for (i = 0; i < 3000; i++) {
			if (i % 2)
				write(p[1], "x", 1);
			else
				write(s[0], "x", 1);
			if (read(s[0], &b, 1) != 1)
				_exit(1);
		}
		_exit(0);
	}
	ev.data.fd = s[1];
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, s[1], &ev));
	ev.data.fd = p[0];
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev));
	while (n < 3000) {
		if (epoll_wait(ep, &ev, 1, 3000) != 1)
			break;
		n += read(ev.data.fd, &b, 1);
		write(s[1], "x", 1);
	}
	SHOW(n);
	reap(child);
}

/* As many as may be open, and no more. */
TEST(poll_beyond_the_limit)
{
	struct pollfd p[20];
	struct rlimit r;
	int i, s = socket(AF_INET, SOCK_DGRAM, 0), ends[2];

	MUST(pipe(ends));
	getrlimit(RLIMIT_NOFILE, &r);
	for (i = 0; i < 20; i++)
		p[i] = (struct pollfd){ i % 2 ? s : ends[0], 0, 0 };
	SHOW(poll(p, 20, 0));
	r.rlim_cur = 10;
	MUST(setrlimit(RLIMIT_NOFILE, &r));
	SHOW(poll(p, 10, 0));
	SHOW(poll(p, 11, 0));
	for (i = 0; i < 20; i++)
		p[i].fd = s;
	SHOW(poll(p, 11, 0));
}

/* A descriptor that can do nothing is ready for everything. */
TEST(select_with_a_mere_path)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0), path = open("/", O_PATH), i;
	struct timeval tv = { 0 };
	fd_set set[3];

	for (i = 0; i < 3; i++) {
		FD_ZERO(&set[i]);
		FD_SET(s, &set[i]);
		FD_SET(path, &set[i]);
	}
	SHOW(select(path + 1, &set[0], &set[1], &set[2], &tv));
	for (i = 0; i < 3; i++)
		SHOW(FD_ISSET(path, &set[i]) + 2 * FD_ISSET(s, &set[i]));
	close(path);
	FD_SET(path, &set[0]);
	FD_SET(s, &set[0]);
	SHOW(select(path + 1, &set[0], NULL, NULL, &tv));
}
