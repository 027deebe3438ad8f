// SPDX-License-Identifier: GPL-2.0-only
/* Descriptors of all kinds in messages between processes. */
#include "same.h"

#include <sys/prctl.h>

#define MOST	8

/* @n descriptors, or none, with one byte. */
static long send_fds(int s, const int *fd, int n)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * MOST)];
		struct cmsghdr align;
	} u = { 0 };
	char c = 'x';
	struct iovec iov = { &c, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *h;

	if (n) {
		m.msg_control = &u;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int) * n);
		memcpy(CMSG_DATA(h), fd, sizeof(int) * n);
	}
	return sendmsg(s, &m, 0);
}

/* How many came; room for @room. */
static int recv_fds(int s, int *fd, int room, int flags)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * MOST)];
		struct cmsghdr align;
	} u = { 0 };
	char c;
	struct iovec iov = { &c, 1 };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &u,
		.msg_controllen = CMSG_SPACE(sizeof(int) * room),
	};
	struct cmsghdr *h;
	int n;

	if (recvmsg(s, &m, flags) != 1)
		return -1;
	h = CMSG_FIRSTHDR(&m);
	if (!h)
		return 0;
	n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fd, CMSG_DATA(h), n * sizeof(int));
	printf("truncated: %d\n", !!(m.msg_flags & MSG_CTRUNC));
	return n;
}

static void unix_pair(int *u)
{
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, u));
}

TEST(a_socket_to_oneself)
{
	int u[2], s[2], got;
	char b[8] = { 0 };

	unix_pair(u);
	pair(s);
	SHOW(send_fds(u[0], &s[0], 1));
	SHOW(recv_fds(u[1], &got, 1, 0));
	SHOW(got);
	SHOW(write(s[1], "hello", 5));
	SHOW(read(got, b, 5));
	puts(b);
	SHOW(fcntl(got, F_GETFD));
	/* It is the same file. */
	SHOW(fcntl(got, F_SETFL, O_NONBLOCK));
	SHOW(!!(fcntl(s[0], F_GETFL) & O_NONBLOCK));
	SHOW(close(s[0]));
	SHOW(write(s[1], "again", 5));
	SHOW(read(got, b, 5));
	SHOW(close(got));
	SHOW(read(s[1], b, 5));
	SHOW(send_fds(u[0], &s[1], 1));
	SHOW(recv_fds(u[1], &got, 1, MSG_CMSG_CLOEXEC));
	SHOW(fcntl(got, F_GETFD));
	SHOW(close(99));
}

TEST(a_listener_to_a_child)
{
	int u[2], l, port, got, s, c;
	char b[8] = { 0 };
	pid_t child;

	unix_pair(u);
	fflush(stdout);
	child = fork();
	if (!child) {
		close(u[0]);
		SHOW(recv_fds(u[1], &got, 1, 0));
		fflush(stdout);
		SHOW(s = accept(got, NULL, NULL));
		SHOW(write(s, "served", 6));
		fflush(stdout);
		_exit(0);
	}
	close(u[1]);
	/* Made after the fork; ours is closed before it is received. */
	l = listener(&port);
	MUST(send_fds(u[0], &l, 1));
	fflush(stdout);
	close(l);
	c = dial(port);
	MUST(read(c, b, 6));
	reap(child);
	puts(b);
	SHOW(read(c, b, 6));
}

TEST(the_sender_has_gone)
{
	int u[2], got = -1, port, c;
	pid_t child;

	unix_pair(u);
	fflush(stdout);
	child = fork();
	if (!child) {
		int l = listener(&port);

		write(u[0], &port, sizeof(port));
		send_fds(u[0], &l, 1);
		_exit(0);
	}
	reap(child);
	MUST(read(u[1], &port, sizeof(port)));
	SHOW(recv_fds(u[1], &got, 1, 0));
	c = dial(port);
	SHOW(accept(got, NULL, NULL) > 0);
	SHOW(write(c, "x", 1));
}

TEST(many_kinds_at_once)
{
	int u[2], s[2], p[2], fd[5], got[8], i, n;
	char b[8] = { 0 };

	unix_pair(u);
	pair(s);
	MUST(pipe(p));
	fd[0] = p[0];
	fd[1] = s[0];
	fd[2] = open("/dev/null", O_RDONLY);
	fd[3] = s[1];
	fd[4] = s[0];
	SHOW(send_fds(u[0], fd, 5));
	SHOW(n = recv_fds(u[1], got, 5, 0));
	for (i = 0; i < n; i++)
		SHOW(got[i]);
	SHOW(write(got[1], "12", 2));
	SHOW(write(got[4], "34", 2));
	SHOW(read(got[3], b, 4));
	puts(b);
	SHOW(write(p[1], "pipe", 4));
	SHOW(read(got[0], b, 4));
	puts(b);
	SHOW(read(got[2], b, 4));
	/* Without one of them nothing is sent. */
	fd[2] = 99;
	SHOW(send_fds(u[0], fd, 5));
	SHOW(recv_fds(u[1], got, 5, MSG_DONTWAIT));
	/* More than there is room for. */
	fd[2] = 0;
	SHOW(send_fds(u[0], fd, 5));
	SHOW(recv_fds(u[1], got, 2, 0));
	SHOW(write(got[1], "56", 2));
	SHOW(send_fds(u[0], fd, 0));
	SHOW(recv_fds(u[1], got, 2, 0));
}

TEST(looking_first)
{
	int u[2], s[2], one, two;
	char b[4];

	unix_pair(u);
	pair(s);
	SHOW(send_fds(u[0], &s[0], 1));
	SHOW(recv_fds(u[1], &one, 1, MSG_PEEK));
	SHOW(recv_fds(u[1], &two, 1, 0));
	SHOW(one != two);
	SHOW(write(one, "a", 1));
	SHOW(write(two, "b", 1));
	SHOW(read(s[1], b, 4));
	SHOW(close(one));
	SHOW(write(two, "c", 1));
	SHOW(read(s[1], b, 4));
}

TEST(rights_in_several_messages)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} w[3] = { 0 }, r[3] = { 0 };
	struct mmsghdr out[3] = { 0 }, in[3] = { 0 };
	char c[3] = "abc", d[3];
	struct iovec vo[3], vi[3];
	int u[2], s[2], i, fd;

	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, u));
	pair(s);
	for (i = 0; i < 3; i++) {
		struct cmsghdr *h;

		vo[i] = (struct iovec){ &c[i], 1 };
		vi[i] = (struct iovec){ &d[i], 1 };
		out[i].msg_hdr = (struct msghdr){
			.msg_iov = &vo[i], .msg_iovlen = 1,
			.msg_control = &w[i], .msg_controllen = sizeof(w[i]),
		};
		in[i].msg_hdr = (struct msghdr){
			.msg_iov = &vi[i], .msg_iovlen = 1,
			.msg_control = &r[i], .msg_controllen = sizeof(r[i]),
		};
		h = CMSG_FIRSTHDR(&out[i].msg_hdr);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &s[i & 1], sizeof(int));
	}
	SHOW(sendmmsg(u[0], out, 3, 0));
	SHOW(out[2].msg_len);
	SHOW(recvmmsg(u[1], in, 3, 0, NULL));
	for (i = 0; i < 3; i++) {
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&in[i].msg_hdr)),
		       sizeof(fd));
		SHOW(write(fd, &d[i], 1));
	}
	SHOW(read(s[1], d, 3));
	SHOW(read(s[0], d, 3));
}

TEST(rights_that_fail)
{
	int u[2], s[2], many[300], i;
	struct msghdr m = { .msg_control = (void *)8, .msg_controllen = 24 };
	char *big;
	struct cmsghdr *h;

	unix_pair(u);
	pair(s);
	SHOW(sendmsg(u[0], &m, 0));
	SHOW(sendmsg(u[0], (void *)8, 0));
	/* More than the host lets pass. */
	for (i = 0; i < 300; i++)
		many[i] = s[0];
	big = calloc(1, CMSG_SPACE(sizeof(many)));
	m.msg_control = big;
	m.msg_controllen = CMSG_SPACE(sizeof(many));
	h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(many));
	memcpy(CMSG_DATA(h), many, sizeof(many));
	SHOW(sendmsg(u[0], &m, 0));
	/* Nobody reads: the socket is not held. */
	close(u[1]);
	signal(SIGPIPE, SIG_IGN);
	SHOW(send_fds(u[0], &s[0], 1));
	close(s[0]);
	SHOW(read(s[1], big, 1));
}

static int bell;

static void ring(int sig)
{
	bell++;
}

TEST(rights_and_signals)
{
	int u[2], s[2], i, sum = 0, fd;
	struct sigaction sa = { .sa_handler = ring };
	char b;

	unix_pair(u);
	pair(s);
	sigaction(SIGALRM, &sa, NULL);
	alarm_ms(1, 1);
	for (i = 0; i < 500; i++) {
		while (send_fds(u[0], &s[0], 1) != 1)
			if (errno != EINTR)
				die("send");
		fflush(stdout);
		while (recvmsg(u[1], &(struct msghdr){ 0 },
			       MSG_PEEK | MSG_DONTWAIT) < 0)
			if (errno != EINTR)
				die("peek");
		{
			union {
				char buf[CMSG_SPACE(sizeof(int))];
				struct cmsghdr align;
			} r;
			struct iovec iov = { &b, 1 };
			struct msghdr m = {
				.msg_iov = &iov, .msg_iovlen = 1,
				.msg_control = &r,
				.msg_controllen = sizeof(r),
			};

			while (recvmsg(u[1], &m, 0) < 0)
				if (errno != EINTR)
					die("recv");
			memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
		}
		while (write(fd, "x", 1) != 1)
			;
		sum += read(s[1], &b, 1) == 1;
		close(fd);
	}
	alarm_ms(0, 0);
	SHOW(sum);
	SHOW(close(s[0]));
	SHOW(read(s[1], &b, 1));
}

/* Which descriptors there are between 3 and 20. */
static void show_open(void)
{
	int i;

	printf("open:");
	for (i = 3; i < 20; i++)
		if (fcntl(i, F_GETFD) >= 0)
			printf(" %d", i);
	puts("");
	fflush(stdout);
}

/* @how: a socket type, or its negative for sockets with a name. */
static void connected(int how, int *u)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	socklen_t n = sizeof(a);
	int l;

	if (how > 0) {
		MUST(socketpair(AF_UNIX, how, 0, u));
		return;
	}
	/* Names that the host makes up. */
	l = MUST(socket(AF_UNIX, -how, 0));
	MUST(bind(l, (void *)&a, sizeof(sa_family_t)));
	MUST(getsockname(l, (void *)&a, &n));
	u[0] = MUST(socket(AF_UNIX, -how, 0));
	if (-how == SOCK_DGRAM) {
		MUST(connect(u[0], (void *)&a, n));
		u[1] = l;
		return;
	}
	MUST(listen(l, 1));
	MUST(connect(u[0], (void *)&a, n));
	u[1] = MUST(accept(l, NULL, NULL));
	close(l);
}

TEST(all_sockets_that_carry_rights)
{
	static const int how[] = {
		SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET,
		-SOCK_STREAM, -SOCK_DGRAM, -SOCK_SEQPACKET,
	};
	int u[2], s[2], got[2];
	pid_t child;
	size_t i;
	char b[4];

	for (i = 0; i < sizeof(how) / sizeof(*how); i++) {
		connected(how[i], u);
		pair(s);
		fflush(stdout);
		child = fork();
		if (!child) {
			close(s[0]);
			close(s[1]);
			SHOW(recv_fds(u[1], got, 2, 0));
			SHOW(got[0]);
			SHOW(got[1]);
			SHOW(write(got[0], "abc", 3));
			_exit(0);
		}
		MUST(send_fds(u[0], s, 2));
		reap(child);
		SHOW(read(s[1], b, 3));
		close(u[0]);
		close(u[1]);
		close(s[0]);
		close(s[1]);
		show_open();
	}
}

TEST(files_of_the_host_among_them)
{
	int u[2], p[2], x[2], fd[6], got[8], i, n;
	uint64_t value = 7;
	struct itimerspec soon = { .it_value = { 0, 1000000 } };
	char b[8] = { 0 };
	pid_t child;

	unix_pair(u);
	MUST(pipe(p));
	unix_pair(x);
	fd[0] = MUST(eventfd(0, 0));
	fd[1] = MUST(timerfd_create(CLOCK_MONOTONIC, 0));
	fd[2] = MUST(open("/etc/passwd", O_RDONLY));
	fd[3] = p[1];
	fd[4] = x[0];
	fd[5] = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	MUST(read(fd[2], b, 4));
	puts(b);
	fflush(stdout);
	child = fork();
	if (!child) {
		for (i = 0; i < 6; i++)
			close(fd[i]);
		SHOW(n = recv_fds(u[1], got, 6, 0));
		for (i = 0; i < n; i++)
			SHOW(got[i]);
		SHOW(write(got[0], &value, 8));
		SHOW(timerfd_settime(got[1], 0, &soon, NULL));
		SHOW(read(got[1], &value, 8));
		SHOW(lseek(got[2], 0, SEEK_CUR));
		SHOW(lseek(got[2], 1, SEEK_SET));
		SHOW(write(got[3], "pipe", 4));
		SHOW(write(got[4], "unix", 4));
		SHOW(write(got[5], "none", 4));
		_exit(0);
	}
	MUST(send_fds(u[0], fd, 6));
	reap(child);
	value = 0;
	SHOW(read(fd[0], &value, 8));
	SHOW((long)value);
	SHOW(lseek(fd[2], 0, SEEK_CUR));
	SHOW(read(p[0], b, 4));
	puts(b);
	SHOW(read(x[1], b, 4));
	puts(b);
}

static void show_event(int ep, int ms)
{
	struct epoll_event e = { 0 };
	long n = epoll_wait(ep, &e, 1, ms);

	if (n == 1)
		printf("event %#x of %ld\n", e.events, (long)e.data.u64);
	else
		show("epoll_wait", n);
	fflush(stdout);
}

TEST(an_epoll_to_a_child)
{
	struct epoll_event e = { .events = EPOLLIN };
	int u[2], s[2], p[2], ep, got[2], back;
	char b;
	pid_t child;

	unix_pair(u);
	pair(s);
	MUST(pipe(p));
	ep = MUST(epoll_create1(0));
	e.data.u64 = 1;
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &e));
	fflush(stdout);
	child = fork();
	if (!child) {
		close(ep);
		close(s[0]);
		SHOW(recv_fds(u[1], got, 2, MSG_CMSG_CLOEXEC));
		SHOW(got[0]);
		SHOW(got[1]);
		SHOW(fcntl(got[0], F_GETFD));
		show_event(got[0], 0);
		SHOW(write(s[1], "x", 1));
		show_event(got[0], 5000);
		SHOW(read(got[1], &b, 1));
		show_event(got[0], 0);
		/* One more, which the parent sees too. */
		e.data.u64 = 2;
		SHOW(epoll_ctl(got[0], EPOLL_CTL_ADD, p[0], &e));
		e.data.u64 = 3;
		SHOW(epoll_ctl(got[0], EPOLL_CTL_MOD, got[1], &e));
		SHOW(send_fds(u[1], got, 1));
		_exit(0);
	}
	back = s[0];
	MUST(send_fds(u[0], (int[]){ ep, back }, 2));
	reap(child);
	SHOW(write(p[1], "y", 1));
	show_event(ep, 5000);
	SHOW(recv_fds(u[0], got, 1, 0));
	show_event(got[0], 5000);
	SHOW(read(p[0], &b, 1));
	SHOW(write(s[1], "z", 1));
	show_event(got[0], 5000);
	close(ep);
	show_event(got[0], 5000);
	show_open();
}

TEST(an_epoll_looked_at_first)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 5 };
	int u[2], s[2], ep, one, two;

	unix_pair(u);
	pair(s);
	ep = MUST(epoll_create1(0));
	SHOW(send_fds(u[0], &ep, 1));
	close(ep);
	SHOW(recv_fds(u[1], &one, 1, MSG_PEEK));
	SHOW(epoll_ctl(one, EPOLL_CTL_ADD, s[0], &e));
	SHOW(recv_fds(u[1], &two, 1, 0));
	SHOW(write(s[1], "x", 1));
	show_event(two, 5000);
	close(one);
	show_event(two, 5000);
	show_open();
}

/* Whether the other end of @s closes within 10 seconds. */
static void show_end(int s)
{
	struct pollfd p = { s, POLLIN, 0 };
	char b;

	SHOW(poll(&p, 1, 10000));
	SHOW(read(s, &b, 1));
}

TEST(messages_that_nobody_reads)
{
	int u[2], s[2], got[2];
	char b;

	/* The receiver goes. */
	unix_pair(u);
	pair(s);
	SHOW(send_fds(u[0], &s[0], 1));
	close(s[0]);
	SHOW(write(s[1], "x", 1));
	close(u[0]);
	close(u[1]);
	show_end(s[1]);
	close(s[1]);
	/* The message is read, the descriptor is not. */
	unix_pair(u);
	pair(s);
	SHOW(send_fds(u[0], &s[0], 1));
	close(s[0]);
	SHOW(read(u[1], &b, 1));
	show_end(s[1]);
	close(s[1]);
	/* There is room for the others only: two, for the sake of alignment. */
	pair(s);
	SHOW(send_fds(u[0], (int[]){ s[1], 1, s[0] }, 3));
	close(s[0]);
	SHOW(recv_fds(u[1], got, 1, 0));
	SHOW(got[0]);
	SHOW(got[1]);
	close(got[0]);
	show_end(s[1]);
	show_open();
}

TEST(a_message_that_waits)
{
	int u[2], s[2], got;
	char b;

	unix_pair(u);
	pair(s);
	SHOW(send_fds(u[0], &s[0], 1));
	close(s[0]);
	usleep(1500000);
	SHOW(recv_fds(u[1], &got, 1, 0));
	SHOW(write(s[1], "x", 1));
	SHOW(read(got, &b, 1));
}

TEST(rights_with_credentials)
{
	union {
		char buf[128];
		struct cmsghdr align;
	} r = { 0 };
	int u[2], s[2], yes = 1, fd = -1;
	char c;
	struct iovec iov = { &c, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1,
			    .msg_control = &r, .msg_controllen = sizeof(r) };
	struct cmsghdr *h;
	struct ucred who;

	unix_pair(u);
	pair(s);
	MUST(setsockopt(u[1], SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes)));
	SHOW(send_fds(u[0], &s[0], 1));
	SHOW(recvmsg(u[1], &m, 0));
	for (h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		printf("type %d, %d bytes\n", h->cmsg_type, (int)h->cmsg_len);
		if (h->cmsg_type == SCM_RIGHTS)
			memcpy(&fd, CMSG_DATA(h), sizeof(fd));
		else
			memcpy(&who, CMSG_DATA(h), sizeof(who));
	}
	SHOW(who.pid == getpid());
	SHOW(write(fd, "x", 1));
	SHOW(read(s[1], &c, 1));
}

TEST(role_receiver)
{
	int got;
	char b;

	SHOW(recv_fds(0, &got, 1, 0));
	SHOW(got);
	SHOW(read(got, &b, 1));
	SHOW(write(got, "y", 1));
}

TEST(a_socket_to_another_program)
{
	int u[2], s[2];
	char b = 'x';
	pid_t child;

	unix_pair(u);
	fflush(stdout);
	child = fork();
	if (!child) {
		dup2(u[1], 0);
		closefrom(3);
		execl("/proc/self/exe", arguments[0], "role_receiver", NULL);
		die("exec");
	}
	close(u[1]);
	pair(s);
	MUST(send_fds(u[0], &s[0], 1));
	MUST(write(s[1], &b, 1));
	reap(child);
	SHOW(read(s[1], &b, 1));
}

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd	438
#endif

static int get_fd(int pidfd, int fd)
{
	return syscall(SYS_pidfd_getfd, pidfd, fd, 0);
}

/* Lives until @in is at its end; it has told what it has. */
static void wait_here(int in, int out)
{
	char c;

	write(out, "x", 1);
	while (read(in, &c, 1) > 0)
		;
	fflush(stdout);
	_exit(0);
}

TEST(taking_from_a_child)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 4 };
	int in[2], out[2], s[2], p[2], pidfd, got, i, n;
	char b[64] = { 0 };
	pid_t child;

	MUST(pipe(in));
	MUST(pipe(out));
	pair(s);
	fflush(stdout);
	child = fork();
	if (!child) {
		int ep, t[2];

		close(in[1]);
		MUST(dup2(s[0], 30));
		MUST(dup2(open("/proc/net/dev", O_RDONLY), 31));
		MUST(dup2(open("/etc/passwd", O_RDONLY), 32));
		MUST(dup2(socket(AF_NETLINK, SOCK_RAW, 0), 33));
		pair(t);
		ep = MUST(epoll_create1(0));
		MUST(epoll_ctl(ep, EPOLL_CTL_ADD, t[0], &e));
		MUST(dup2(ep, 34));
		MUST(dup2(open("/tmp", O_PATH), 35));
		MUST(dup2(t[1], 36));
		MUST(dup2(open("/proc/self/ns/net", O_RDONLY), 37));
		wait_here(in[0], out[1]);
	}
	close(in[0]);
	close(s[0]);
	MUST(read(out[0], b, 1));
	pidfd = MUST(syscall(SYS_pidfd_open, child, 0));
	show_open();
	SHOW(got = get_fd(pidfd, 30));
	SHOW(fcntl(got, F_GETFD));
	SHOW(write(s[1], "socket", 6));
	SHOW(read(got, b, 6));
	puts(b);
	/* It is the same file. */
	SHOW(fcntl(got, F_SETFL, O_NONBLOCK));
	SHOW(n = get_fd(pidfd, 30));
	SHOW(!!(fcntl(n, F_GETFL) & O_NONBLOCK));
	close(n);
	SHOW(write(got, "back", 4));
	SHOW(read(s[1], b, 4));
	close(got);
	SHOW(got = get_fd(pidfd, 31));
	SHOW(read(got, b, 17));
	puts(b);
	SHOW(n = get_fd(pidfd, 31));
	SHOW(lseek(n, 0, SEEK_CUR));
	SHOW(get_fd(pidfd, 32));
	SHOW(got = get_fd(pidfd, 33));
	SHOW(getsockopt(got, SOL_SOCKET, SO_DOMAIN, &i,
			&(socklen_t){ sizeof(i) }));
	SHOW(i == AF_NETLINK);
	SHOW(got = get_fd(pidfd, 34));
	show_event(got, 0);
	SHOW(n = get_fd(pidfd, 36));
	SHOW(write(n, "x", 1));
	show_event(got, 5000);
	e.data.u64 = 5;
	MUST(pipe(p));
	SHOW(epoll_ctl(got, EPOLL_CTL_ADD, p[0], &e));
	SHOW(epoll_ctl(got, EPOLL_CTL_ADD, s[1], &e));
	SHOW(get_fd(pidfd, 35));
	SHOW(got = get_fd(pidfd, 37));
	SHOW(ioctl(got, TCGETS, &n));
	show_open();
	SHOW(get_fd(pidfd, 38));
	SHOW(get_fd(pidfd, -1));
	SHOW(get_fd(99, 30));
	SHOW(get_fd(s[1], 30));
	SHOW(get_fd(out[0], 30));
	SHOW(syscall(SYS_pidfd_getfd, pidfd, 30, 1));
	show_open();
	/* Its end. */
	close(in[1]);
	waitid(P_PID, child, &(siginfo_t){ 0 }, WEXITED | WNOWAIT);
	SHOW(get_fd(pidfd, 30));
	reap(child);
	SHOW(get_fd(pidfd, 30));
}

TEST(taking_from_oneself)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 6 };
	int s[2], p[2], pidfd, got, ep, i, had = 0, gives = 0;
	char b;

	pair(s);
	MUST(pipe(p));
	ep = MUST(epoll_create1(0));
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &e));
	pidfd = MUST(syscall(SYS_pidfd_open, getpid(), 0));
	SHOW(got = get_fd(pidfd, s[0]));
	SHOW(fcntl(got, F_GETFD));
	close(s[0]);
	SHOW(write(s[1], "x", 1));
	show_event(ep, 5000);
	SHOW(read(got, &b, 1));
	SHOW(got = get_fd(pidfd, ep));
	e.data.u64 = 7;
	SHOW(epoll_ctl(got, EPOLL_CTL_ADD, p[0], &e));
	SHOW(write(p[1], "x", 1));
	show_event(ep, 5000);
	show_event(got, 5000);
	SHOW(get_fd(pidfd, pidfd));
	/* Nothing but what is seen to be open. */
	for (i = 0; i < 5000; i++) {
		had += fcntl(i, F_GETFD) >= 0;
		got = get_fd(pidfd, i);
		gives += got >= 0;
		close(got);
	}
	SHOW(had == gives);
	show_open();
}

TEST(role_holder)
{
	int port, l = listener(&port), in = 0, out = 1;

	/* Where Yama would let nobody else look. */
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	MUST(dup2(l, 20));
	if (l != 20)
		close(l);
	write(out, &port, sizeof(port));
	wait_here(in, out);
}

/* It has been executed: its table in the library kernel is as old as it. */
TEST(taking_from_another_program)
{
	int in[2], out[2], pidfd, got, port, c;
	struct rlimit r;
	char b;
	pid_t child;

	MUST(pipe(in));
	MUST(pipe(out));
	fflush(stdout);
	child = fork();
	if (!child) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		closefrom(3);
		execl("/proc/self/exe", arguments[0], "role_holder", NULL);
		die("exec");
	}
	close(in[0]);
	close(out[1]);
	MUST(read(out[0], &port, sizeof(port)));
	MUST(read(out[0], &b, 1));
	pidfd = MUST(syscall(SYS_pidfd_open, child, 0));
	SHOW(got = get_fd(pidfd, 20));
	/* Who holds it may go. */
	getrlimit(RLIMIT_NOFILE, &r);
	c = r.rlim_cur;
	r.rlim_cur = 4;
	MUST(setrlimit(RLIMIT_NOFILE, &r));
	SHOW(get_fd(pidfd, 20));
	r.rlim_cur = c;
	MUST(setrlimit(RLIMIT_NOFILE, &r));
	close(in[1]);
	reap(child);
	c = dial(port);
	SHOW(accept(got, NULL, NULL));
	SHOW(write(c, "x", 1));
	show_open();
}

/* By test_rights.py: from a role_holder that is not our child. */
TEST(role_take)
{
	int pidfd = MUST(syscall(SYS_pidfd_open, atoi(arguments[2]), 0));

	SHOW(get_fd(pidfd, 20));
	SHOW(get_fd(pidfd, 0));
	/* Nothing is left over. */
	SHOW(dup(0));
}

/* By test_rights.py: descriptor 0 leads out of the instance. */
TEST(role_to_a_stranger)
{
	int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
	int ep = MUST(epoll_create1(0));
	int null = MUST(open("/dev/null", O_RDWR));
	int both[2] = { null, s };

	SHOW(send_fds(0, &s, 1));
	SHOW(send_fds(0, &ep, 1));
	SHOW(send_fds(0, both, 2));
	SHOW(send_fds(0, &null, 1));
	/* Nothing is left over. */
	SHOW(dup(0));
}
