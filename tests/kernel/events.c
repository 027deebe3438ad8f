// SPDX-License-Identifier: GPL-2.0-only
/* Sockets, pipes and the things one waits for, inside one process. */
#include "kit.h"

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

TEST(udp)
{
	struct sockaddr_in a = loop(5000), from;
	socklen_t len = sizeof(from);
	char buf[70000];
	int s = good(CALL(socket, AF_INET, SOCK_DGRAM, 0));
	int c = good(CALL(socket, AF_INET, SOCK_DGRAM, 0)), size;

	good(CALL(bind, s, &a, sizeof(a)));
	for (size = 0; size <= 65507; size = size * 3 + 1) {
		memset(buf, size, size);
		check_eq(CALL(sendto, c, buf, size, 0, &a, sizeof(a)), size);
		memset(buf, 0xee, size);
		check_eq(CALL(recvfrom, s, buf, sizeof(buf), 0, &from, &len),
			 size);
		check(!size || (unsigned char)buf[size - 1] ==
		      (unsigned char)size);
		check_eq(from.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	}
	check_eq(CALL(sendto, c, buf, 65508, 0, &a, sizeof(a)), -EMSGSIZE);
	check_eq(CALL(recvfrom, s, buf, 10, MSG_DONTWAIT, 0, 0), -EAGAIN);
	good(CALL(close, s));
	good(CALL(connect, c, &a, sizeof(a)));
	check_eq(CALL(write, c, "x", 1), 1);
	check_eq(CALL(read, c, buf, 1), -ECONNREFUSED);
}

static void reader(void *fd)
{
	static char buf[65536];
	unsigned int i, seen = 0;
	long n;

	while ((n = good(CALL(read, (long)fd, buf, sizeof(buf)))))
		for (i = 0; i < n; i++)
			if ((unsigned char)buf[i] !=
			    (unsigned char)(seen++ * 7 >> 3))
				kit_fail("byte %u is wrong", seen - 1);
	check_eq(seen, 4000000);
}

/* More than the buffers hold, from one thread to another. */
TEST(tcp_bulk)
{
	static char buf[50000];
	struct kit_thread t;
	unsigned int sent = 0, i;
	int fd[2];

	kit_tcp_pair(fd, 5001);
	kit_start(&t, reader, (void *)(long)fd[0]);
	while (sent < 4000000) {
		for (i = 0; i < sizeof(buf); i++)
			buf[i] = (sent + i) * 7 >> 3;
		check_eq(CALL(write, fd[1], buf, sizeof(buf)), sizeof(buf));
		sent += sizeof(buf);
	}
	good(CALL(shutdown, fd[1], SHUT_WR));
	kit_join(&t);
}

TEST(tcp_errors)
{
	struct sockaddr_in a = loop(5999);
	struct linger reset = { 1, 0 };
	char c;
	int s = good(CALL(socket, AF_INET, SOCK_STREAM, 0)), fd[2];

	check_eq(CALL(connect, s, &a, sizeof(a)), -ECONNREFUSED);
	check_eq(CALL(read, s, &c, 1), -ENOTCONN);
	kit_tcp_pair(fd, 5002);
	good(CALL(setsockopt, fd[0], SOL_SOCKET, SO_LINGER, &reset,
		  sizeof(reset)));
	good(CALL(close, fd[0]));
	check_eq(CALL(read, fd[1], &c, 1), -ECONNRESET);
	/* As on any Linux: EPIPE, and a SIGPIPE that is noted. */
	check_eq(ukl_signals(me), 0);
	check_eq(CALL(sendto, fd[1], "x", 1, MSG_NOSIGNAL, 0, 0), -EPIPE);
	check_eq(ukl_signals(me), 0);
	check_eq(CALL(write, fd[1], "x", 1), -EPIPE);
	check_eq(ukl_signals(me), 1UL << (SIGPIPE - 1));
	check_eq(ukl_signals(me), 0);
}

TEST(ipv6)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6,
				  .sin6_port = htons(5003),
				  .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int l = good(CALL(socket, AF_INET6, SOCK_STREAM, 0));
	int c = good(CALL(socket, AF_INET6, SOCK_STREAM, 0)), s;
	char buf[8];

	good(CALL(bind, l, &a, sizeof(a)));
	good(CALL(listen, l, 1));
	good(CALL(connect, c, &a, sizeof(a)));
	s = good(CALL(accept4, l, 0, 0, 0));
	check_eq(CALL(write, c, "six", 3), 3);
	check_eq(CALL(read, s, buf, 8), 3);
}

TEST(raw_and_netlink)
{
	struct sockaddr_in a = loop(0);
	unsigned char echo[8] = { 8, 0, 0xf7, 0xfd, 0, 1, 0, 1 }, reply[64];
	struct {
		struct nlmsghdr h;
		struct rtgenmsg g;
	} ask = { { sizeof(ask), RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1,
		    0 }, { AF_UNSPEC } };
	static char buf[16384];
	int s = good(CALL(socket, AF_INET, SOCK_RAW, IPPROTO_ICMP));
	int n;

	check_eq(CALL(sendto, s, echo, 8, 0, &a, sizeof(a)), 8);
	/* Our own request, then the answer. */
	check_eq(CALL(recvfrom, s, reply, 64, 0, 0, 0), 28);
	check_eq(CALL(recvfrom, s, reply, 64, 0, 0, 0), 28);
	check_eq(reply[20], 0);
	s = good(CALL(socket, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	check_eq(CALL(sendto, s, &ask, sizeof(ask), 0, 0, 0), sizeof(ask));
	n = good(CALL(recvfrom, s, buf, sizeof(buf), 0, 0, 0));
	check_eq(((struct nlmsghdr *)buf)->nlmsg_type, RTM_NEWLINK);
	check(memmem(buf, n, "lo", 3));
	s = good(CALL(socket, AF_PACKET, SOCK_RAW, htons(3)));
	good(CALL(close, s));
}

TEST(unix_sockets)
{
	struct sockaddr_un a = { AF_UNIX, "/tmp/socket" };
	struct iovec iov = { "fd", 2 };
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr h;
	} u;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
			      .msg_control = &u, .msg_controllen = sizeof(u) };
	int sv[2], p[2], l, c, s, got;
	char buf[16];

	good(CALL(socketpair, AF_UNIX, SOCK_SEQPACKET, 0, sv));
	good(CALL(pipe, p));
	u.h.cmsg_level = SOL_SOCKET;
	u.h.cmsg_type = SCM_RIGHTS;
	u.h.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&u.h), &p[0], sizeof(int));
	check_eq(CALL(sendmsg, sv[0], &msg, 0), 2);
	good(CALL(close, p[0]));
	iov.iov_base = buf;
	iov.iov_len = sizeof(buf);
	msg.msg_controllen = sizeof(u);
	check_eq(CALL(recvmsg, sv[1], &msg, 0), 2);
	memcpy(&got, CMSG_DATA(&u.h), sizeof(int));
	check_eq(CALL(write, p[1], "through", 7), 7);
	check_eq(CALL(read, got, buf, 16), 7);

	l = good(CALL(socket, AF_UNIX, SOCK_STREAM, 0));
	good(CALL(bind, l, &a, sizeof(a)));
	check_eq(CALL(bind, sv[0], &a, sizeof(a)), -EADDRINUSE);
	good(CALL(listen, l, 1));
	c = good(CALL(socket, AF_UNIX, SOCK_STREAM, 0));
	good(CALL(connect, c, &a, sizeof(a)));
	s = good(CALL(accept4, l, 0, 0, 0));
	check_eq(CALL(write, c, "local", 5), 5);
	check_eq(CALL(read, s, buf, 16), 5);
}

/* ------------------------------------------------------------------ */

TEST(eventfd)
{
	uint64_t v = 3;
	int fd = good(CALL(eventfd2, 2, EFD_NONBLOCK));
	int sem = good(CALL(eventfd2, 2, EFD_NONBLOCK | EFD_SEMAPHORE));

	check_eq(CALL(write, fd, &v, 8), 8);
	check_eq(CALL(read, fd, &v, 8), 8);
	check_eq(v, 5);
	check_eq(CALL(read, fd, &v, 8), -EAGAIN);
	check_eq(CALL(read, sem, &v, 8), 8);
	check_eq(v, 1);
	check_eq(CALL(read, sem, &v, 8), 8);
	check_eq(CALL(read, sem, &v, 8), -EAGAIN);
	v = ~0ULL;
	check_eq(CALL(write, fd, &v, 8), -EINVAL);
}

/* Seconds that a wait took, which must be near @want, never less. */
static void took(double begun, double want)
{
	double past = now() - begun;

	if (past < want - 0.0002 || past > want + 0.25)
		kit_fail("a wait of %.3f s took %.3f s", want, past);
}

TEST(timerfd)
{
	struct itimerspec it = { { 0, 10000000 }, { 0, 50000000 } }, left;
	double begun;
	uint64_t n;
	int fd = good(CALL(timerfd_create, CLOCK_MONOTONIC, 0));

	begun = now();
	good(CALL(timerfd_settime, fd, 0, &it, 0));
	check_eq(CALL(read, fd, &n, 8), 8);
	took(begun, 0.05);
	good(CALL(timerfd_gettime, fd, &left));
	check(left.it_value.tv_nsec > 0 && left.it_value.tv_nsec <= 10000000);
	host_sleep_us(100000);
	check_eq(CALL(read, fd, &n, 8), 8);
	check(n >= 9);
}

TEST(signalfd)
{
	struct signalfd_siginfo info;
	uint64_t mask = 1UL << (SIGUSR1 - 1);
	int fd = good(CALL6(SYS_signalfd4, -1, &mask, 8, SFD_NONBLOCK, 0, 0,
			    0));

	good(CALL(rt_sigprocmask, SIG_BLOCK, &mask, 0, 8));
	check_eq(CALL(read, fd, &info, sizeof(info)), -EAGAIN);
	good(CALL(kill, me->ktid, SIGUSR1));
	check_eq(CALL(read, fd, &info, sizeof(info)), sizeof(info));
	check_eq(info.ssi_signo, SIGUSR1);
	check_eq(info.ssi_pid, CALL(getpid));
	/* Not blocked: noted for the caller. */
	good(CALL(rt_sigprocmask, SIG_UNBLOCK, &mask, 0, 8));
	good(CALL(kill, me->ktid, SIGUSR1));
	check_eq(ukl_signals(me), mask);
}

TEST(inotify)
{
	char buf[1024] __attribute__((aligned(8)));
	struct inotify_event *ev = (void *)buf;
	int fd = good(CALL(inotify_init1, IN_NONBLOCK)), f;

	good(CALL(inotify_add_watch, fd, "/tmp", IN_CREATE));
	check_eq(CALL(read, fd, buf, sizeof(buf)), -EAGAIN);
	f = good(CALL(open, "/tmp/new", O_CREAT | O_WRONLY, 0600));
	good(CALL(close, f));
	check(good(CALL(read, fd, buf, sizeof(buf))) >= (long)sizeof(*ev));
	check_eq(ev->mask, IN_CREATE);
	check(!strcmp(ev->name, "new"));
}

TEST(pipe)
{
	static char buf[1 << 17];
	int p[2];

	good(CALL(pipe2, p, O_NONBLOCK));
	check_eq(CALL(write, p[1], buf, sizeof(buf)), 65536);
	check_eq(CALL(write, p[1], buf, 1), -EAGAIN);
	check_eq(CALL(read, p[0], buf, sizeof(buf)), 65536);
	check_eq(CALL(read, p[0], buf, 1), -EAGAIN);
	good(CALL(close, p[1]));
	check_eq(CALL(read, p[0], buf, 1), 0);
	good(CALL(pipe, p));
	good(CALL(close, p[0]));
	check_eq(CALL(write, p[1], buf, 1), -EPIPE);
	check_eq(ukl_signals(me), 1UL << (SIGPIPE - 1));
}

TEST(poll_timeouts)
{
	struct timeval limit = { 0, 60000 };
	struct timespec ts = { 0, 30000000 };
	struct epoll_event ev;
	struct pollfd pfd;
	double begun;
	fd_set set;
	char c;
	int p[2], epoll, s;

	good(CALL(pipe, p));
	pfd = (struct pollfd){ p[0], POLLIN, 0 };
	begun = now();
	check_eq(CALL(poll, &pfd, 1, 50), 0);
	took(begun, 0.05);
	begun = now();
	check_eq(CALL(poll, &pfd, 1, 0), 0);
	took(begun, 0);
	begun = now();
	check_eq(CALL(ppoll, &pfd, 1, &ts, 0, 8), 0);
	took(begun, 0.03);
	FD_ZERO(&set);
	FD_SET(p[0], &set);
	begun = now();
	check_eq(CALL(select, p[0] + 1, &set, 0, 0, &limit), 0);
	took(begun, 0.06);
	check(!FD_ISSET(p[0], &set));
	epoll = good(CALL(epoll_create1, 0));
	ev = (struct epoll_event){ .events = EPOLLIN };
	good(CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, p[0], &ev));
	begun = now();
	check_eq(CALL(epoll_wait, epoll, &ev, 1, 40), 0);
	took(begun, 0.04);
	begun = now();
	ts = (struct timespec){ 0, 20000000 };
	good(CALL(nanosleep, &ts, 0));
	took(begun, 0.02);
	good(CALL(clock_nanosleep, CLOCK_MONOTONIC, 0, &ts, 0));
	s = good(CALL(socket, AF_INET, SOCK_DGRAM, 0));
	limit = (struct timeval){ 0, 50000 };
	good(CALL(setsockopt, s, SOL_SOCKET, SO_RCVTIMEO, &limit,
		  sizeof(limit)));
	begun = now();
	check_eq(CALL(read, s, &c, 1), -EAGAIN);
	took(begun, 0.05);
	/* Something ready ends the wait at once. */
	check_eq(CALL(write, p[1], "x", 1), 1);
	begun = now();
	check_eq(CALL(poll, &pfd, 1, 5000), 1);
	check_eq(pfd.revents, POLLIN);
	check_eq(CALL(epoll_wait, epoll, &ev, 1, 5000), 1);
	took(begun, 0);
}

static void write_later(void *fd)
{
	host_sleep_us(50000);
	check_eq(CALL(write, (long)fd, "x", 1), 1);
}

TEST(edge_triggered)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	struct kit_thread t;
	int epoll = good(CALL(epoll_create1, 0)), p[2];

	good(CALL(pipe, p));
	good(CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, p[0], &ev));
	kit_start(&t, write_later, (void *)(long)p[1]);
	check_eq(CALL(epoll_wait, epoll, &ev, 1, 5000), 1);
	check_eq(CALL(epoll_wait, epoll, &ev, 1, 0), 0);
	kit_join(&t);
	check_eq(CALL(write, p[1], "y", 1), 1);
	check_eq(CALL(epoll_wait, epoll, &ev, 1, 0), 1);
}

TEST(oneshot)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT };
	int epoll = good(CALL(epoll_create1, 0)), p[2];

	good(CALL(pipe, p));
	good(CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, p[0], &ev));
	check_eq(CALL(write, p[1], "x", 1), 1);
	check_eq(CALL(epoll_wait, epoll, &ev, 1, 0), 1);
	check_eq(CALL(epoll_wait, epoll, &ev, 1, 20), 0);
	ev.events = EPOLLIN | EPOLLONESHOT;
	good(CALL(epoll_ctl, epoll, EPOLL_CTL_MOD, p[0], &ev));
	check_eq(CALL(epoll_wait, epoll, &ev, 1, 0), 1);
	check_eq(CALL(epoll_wait, epoll, &ev, 1, 0), 0);
}

static void accept_later(void *fd)
{
	int c = good(CALL6(UKL_SYS_ACCEPT, (long)fd, 0, 0, SOCK_CLOEXEC, 0, 0,
			   0));

	check_eq(CALL(fcntl, c, F_GETFD), FD_CLOEXEC);
	good(CALL(close, c));
}

/* A number is taken when there is a connection, not before. */
TEST(accept_takes_its_number_late)
{
	int l = kit_listen(5013), free_one = good(CALL(dup, l)), c;
	struct kit_thread t;

	good(CALL(close, free_one));
	kit_start(&t, accept_later, (void *)(long)l);
	host_sleep_us(20000);
	check_eq(CALL(dup2, l, free_one), free_one);
	c = kit_connect(5013);
	kit_join(&t);
	good(CALL(close, c));
	check_eq(CALL6(UKL_SYS_ACCEPT, 99, 0, 0, 0, 0, 0, 0), -EBADF);
	check_eq(CALL6(UKL_SYS_ACCEPT, l, 0, 0, 1, 0, 0, 0), -EINVAL);
	/* One from 40 on, now or not at all, though @l may wait. */
	check_eq(CALL6(UKL_SYS_ACCEPT, l, 0, 0, 0, 41, 0, 0), -EAGAIN);
	c = kit_connect(5013);
	check_eq(CALL6(UKL_SYS_ACCEPT, l, 0, 0, SOCK_CLOEXEC, 41, 0, 0), 40);
	check_eq(CALL(fcntl, 40, F_GETFD), FD_CLOEXEC);
	good(CALL(close, 40));
	good(CALL(close, c));
	good(CALL(fcntl, l, F_SETFL, O_NONBLOCK));
	check_eq(CALL6(UKL_SYS_ACCEPT, l, 0, 0, 0, 0, 0, 0), -EAGAIN);
}

/* A name for the kernel host to find: without one a file is dropped as lost. */
static int carrier(unsigned long ticket)
{
	struct ukl_carrier name;
	int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	good(ukl_carrier(&files, ticket, &name));
	check(s >= 0 && !bind(s, (void *)&name, sizeof(name)));
	return s;
}

#define LEND(fd, ticket) CALL6(UKL_SYS_LEND, fd, ticket, 0, 0, 0, 0, 0)
#define TAKE(ticket, flags, how) \
	CALL6(UKL_SYS_TAKE, ticket, flags, how, 0, 0, 0, 0)

TEST(files_under_way)
{
	int s = carrier(7), p[2], got, i;
	unsigned long first = 0;
	char b[4];

	good(CALL(pipe2, p, O_NONBLOCK));
	check_eq(LEND(99, 7), -EBADF);
	check_eq(LEND(p[0], 7), 0);
	check_eq(LEND(p[1], 7), -EEXIST);
	check_eq(CALL6(UKL_SYS_LENT, &first, 1, 0, 0, 0, 0, 0), 1);
	check_eq(first, 7);
	check_eq(CALL6(UKL_SYS_LENT, 8, 1, 0, 0, 0, 0, 0), -EFAULT);
	check_eq(TAKE(8, 0, UKL_TAKE_AWAY), -ENOENT);
	/* It stays open, also while the kernel host looks. */
	good(CALL(close, p[0]));
	host_sleep_us(1200000);
	check_eq(CALL(write, p[1], "x", 1), 1);
	got = good(TAKE(7, O_CLOEXEC, UKL_TAKE_COPY));
	check_eq(CALL(fcntl, got, F_GETFD), FD_CLOEXEC);
	check_eq(CALL(read, got, b, 4), 1);
	good(CALL(close, got));
	got = good(TAKE(7, 0, UKL_TAKE_AWAY));
	check_eq(CALL(fcntl, got, F_GETFD), 0);
	check_eq(TAKE(7, 0, UKL_TAKE_AWAY), -ENOENT);
	/* Nobody wants it, or can have it any more. */
	check_eq(LEND(got, 7), 0);
	check_eq(TAKE(7, 0, UKL_TAKE_NONE), 0);
	check_eq(LEND(got, 7), 0);
	good(CALL(close, got));
	check_eq(CALL(write, p[1], "x", 1), 1);
	close(s);
	for (i = 0; i < 500 && CALL(write, p[1], "x", 1) == 1; i++)
		host_sleep_us(10000);
	check_eq(CALL(write, p[1], "x", 1), -EPIPE);
	check_eq(CALL6(UKL_SYS_LENT, 0, 0, 0, 0, 0, 0, 0), 0);
}

TEST(congestion_control)
{
	static const char *const names[] = { "bbr", "cubic", "reno", "dctcp",
					     "vegas" };
	int s = good(CALL(socket, AF_INET, SOCK_STREAM, 0));
	socklen_t len;
	char got[16];
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		good(CALL(setsockopt, s, IPPROTO_TCP, TCP_CONGESTION, names[i],
			  strlen(names[i])));
		len = sizeof(got);
		good(CALL(getsockopt, s, IPPROTO_TCP, TCP_CONGESTION, got,
			  &len));
		check(!strcmp(got, names[i]));
	}
	check_eq(CALL(setsockopt, s, IPPROTO_TCP, TCP_CONGESTION, "none", 4),
		 -ENOENT);
}

/* A ring of packets, mapped again by the program; here what lo carries. */
TEST(packet_ring)
{
	struct tpacket_req req = { .tp_block_size = 16384, .tp_block_nr = 4,
				   .tp_frame_size = 2048, .tp_frame_nr = 32 };
	struct sockaddr_in a = loop(5011);
	int version = TPACKET_V2, s, u, i, n, found = 0;
	unsigned long block[8];
	struct tpacket2_hdr *h;
	struct pollfd pfd;
	char *ring;

	s = good(CALL(socket, AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)));
	check_eq(CALL6(UKL_SYS_PACKET_RING, s, block, 8, 0, 0, 0, 0), -EINVAL);
	good(CALL(setsockopt, s, SOL_PACKET, PACKET_VERSION, &version,
		  sizeof(version)));
	good(CALL(setsockopt, s, SOL_PACKET, PACKET_RX_RING, &req,
		  sizeof(req)));
	check_eq(CALL6(UKL_SYS_PACKET_RING, s, block, 3, 0, 0, 0, 0), -ENOSPC);
	check_eq(CALL6(UKL_SYS_PACKET_RING, 99, block, 8, 0, 0, 0, 0), -EBADF);
	check_eq(CALL6(UKL_SYS_PACKET_RING, s, 16, 8, 0, 0, 0, 0), -EFAULT);
	check_eq(CALL6(UKL_SYS_PACKET_RING, s, block, 8, 0, 0, 0, 0), 4);
	ring = mmap(NULL, 4 * 16384, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	for (i = 0; i < 4; i++)
		check(mmap(ring + i * 16384, 16384, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_FIXED, files.memory,
			   block[i] - UKL_BASE) != MAP_FAILED);

	u = good(CALL(socket, AF_INET, SOCK_DGRAM, 0));
	check_eq(CALL(sendto, u, "found me", 8, 0, &a, sizeof(a)), 8);
	pfd = (struct pollfd){ s, POLLIN, 0 };
	check_eq(CALL(poll, &pfd, 1, 1000), 1);
	for (i = 0; i < 32; i++) {
		h = (void *)(ring + i * 2048);
		if (!(h->tp_status & TP_STATUS_USER))
			continue;
		n = h->tp_snaplen;
		found += n == 14 + 20 + 8 + 8 &&
			 !memcmp((char *)h + h->tp_mac + n - 8, "found me", 8);
		h->tp_status = TP_STATUS_KERNEL;
	}
	check_eq(found, 2);		/* going out, and coming in */
	munmap(ring, 4 * 16384);
	good(CALL(close, s));
}

TEST(blocking_read_between_threads)
{
	struct kit_thread t;
	double begun = now();
	char c;
	int p[2];

	good(CALL(pipe, p));
	kit_start(&t, write_later, (void *)(long)p[1]);
	check_eq(CALL(read, p[0], &c, 1), 1);
	took(begun, 0.05);
	kit_join(&t);
}

/* ------------------------------------------------------------------ */
/* Calls that wait for host descriptors too.				*/

static void *host_writes_later(void *fd)
{
	host_sleep_us(50000);
	check_eq(write((long)fd, "x", 1), 1);
	return NULL;
}

static int host_pair[2];

static long read_also(int fd, char *c, struct ukl_also *also)
{
	*also = (struct ukl_also){ host_pair[0], POLLIN, 0 };
	return ukl_syscall_also(me, also, 1, SYS_read, fd, (long)c, 1, 0, 0,
				0);
}

TEST(also_a_host_descriptor)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int epoll = good(CALL(epoll_create1, 0)), p[2], i;
	struct ukl_also also;
	struct kit_thread t;
	double begun;
	pthread_t host;
	pid_t child;
	char c;

	check(!pipe(host_pair));
	good(CALL(pipe, p));
	good(CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, p[0], &ev));
	for (i = 0; i < 10; i++) {
		/* The host's: the call ends as by a signal. */
		begun = now();
		pthread_create(&host, NULL, host_writes_later,
			       (void *)(long)host_pair[1]);
		check_eq(read_also(p[0], &c, &also), -512);
		took(begun, 0.05);
		check_eq(me->also_ready, 1);
		check_eq(also.revents, POLLIN);
		pthread_join(host, NULL);
		/* At once, when it is ready already. */
		begun = now();
		also.revents = 0;
		check_eq(ukl_syscall_also(me, &also, 1, SYS_epoll_wait, epoll,
					  (long)&ev, 1, 5000, 0, 0), -EINTR);
		took(begun, 0);
		check_eq(also.revents, POLLIN);
		/* What the call itself finds comes first. */
		check_eq(CALL(write, p[1], "x", 1), 1);
		check_eq(read_also(p[0], &c, &also), 1);
		check_eq(me->also_ready, 0);
		check_eq(read(host_pair[0], &c, 1), 1);
		/* The library kernel's: from a thread and from a process. */
		begun = now();
		kit_start(&t, write_later, (void *)(long)p[1]);
		check_eq(read_also(p[0], &c, &also), 1);
		check_eq(me->also_ready, 0);
		took(begun, 0.05);
		kit_join(&t);
		child = kit_fork();
		if (!child) {
			write_later((void *)(long)p[1]);
			_exit(0);
		}
		check_eq(read_also(p[0], &c, &also), 1);
		kit_wait(child);
		/* A time-out is the call's own. */
		begun = now();
		check_eq(ukl_syscall_also(me, &also, 1, SYS_epoll_wait, epoll,
					  (long)&ev, 1, 50, 0, 0), 0);
		took(begun, 0.05);
	}
	also.fd = -1;
	check_eq(ukl_syscall_also(me, &also, UKL_MAX_ALSO + 1, SYS_getpid, 0,
				  0, 0, 0, 0, 0), -E2BIG);
}

/* @bell rings for the epoll @inner, which has the pipe @p. */
static void await_bell(int inner, int *p, int bell)
{
	int outer = epoll_create1(0), pair[2], i;
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	struct kit_thread t;
	double begun;
	pthread_t host;
	char c;

	check(!pipe(pair));
	check(!epoll_ctl(outer, EPOLL_CTL_ADD, bell, &ev));
	ev = (struct epoll_event){ .events = EPOLLIN, .data.fd = pair[0] };
	check(!epoll_ctl(outer, EPOLL_CTL_ADD, pair[0], &ev));
	for (i = 0; i < 10; i++) {
		check_eq(ukl_await(me, outer, &ev, 1, 0), 0);
		check(!ukl_has_rung(me));
		begun = now();
		check_eq(ukl_await(me, outer, &ev, 1, 50), 0);
		took(begun, 0.05);
		/* The host's. */
		begun = now();
		pthread_create(&host, NULL, host_writes_later,
			       (void *)(long)pair[1]);
		check_eq(ukl_await(me, outer, &ev, 1, -1), 1);
		check_eq(ev.data.fd, pair[0]);
		took(begun, 0.05);
		pthread_join(host, NULL);
		check_eq(read(pair[0], &c, 1), 1);
		check(!ukl_has_rung(me));
		/* The library kernel's. */
		begun = now();
		kit_start(&t, write_later, (void *)(long)p[1]);
		check_eq(ukl_await(me, outer, &ev, 1, -1), 1);
		took(begun, 0.05);
		check(ukl_has_rung(me));
		kit_join(&t);
		/* Until it is answered nobody waits. */
		ukl_await(me, outer, &ev, 1, -1);
		ukl_answer(me);
		check_eq(CALL(epoll_wait, inner, &ev, 1, 0), 1);
		check_eq(CALL(read, p[0], &c, 1), 1);
	}
	/* From this thread itself. */
	check_eq(CALL(write, p[1], "x", 1), 1);
	check(ukl_has_rung(me));
}

/* By a child, whose thread has a bell then. */
TEST(bell)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int inner = good(CALL(epoll_create1, 0)), p[2];
	pid_t child;
	long bell;

	good(CALL(pipe, p));
	good(CALL(epoll_ctl, inner, EPOLL_CTL_ADD, p[0], &ev));
	child = kit_fork();
	if (!child) {
		check_eq(CALL6(UKL_SYS_BELL, 99, 0, 0, 0, 0, 0, 0), -EBADF);
		bell = good(CALL6(UKL_SYS_BELL, inner, 0, 0, 0, 0, 0, 0));
		check_eq(CALL6(UKL_SYS_BELL, inner, 0, 0, 0, 0, 0, 0), -EBUSY);
		await_bell(inner, p, bell);
		_exit(0);
	}
	kit_wait(child);
	/* It is gone, and nobody minds what rings for it. */
	check_eq(CALL(write, p[1], "x", 1), 1);
}

static volatile int may_call, has_read, has_called;

static void read_one(void *fd)
{
	char c;

	check_eq(CALL(read, (long)fd, &c, 1), 1);
	has_read = 1;
}

static void call_one(void *unused)
{
	while (!may_call)
		host_sleep_us(100);
	good(CALL(getppid));
	has_called = 1;
	(void)unused;
}

/* Calls between hold and release are one: nobody else's come in between. */
TEST(hold)
{
	struct kit_thread reader, caller;
	int p[2], empty[2], i;
	struct pollfd pfd;
	double begun;

	good(CALL(pipe, p));
	good(CALL(pipe, empty));
	pfd = (struct pollfd){ empty[0], POLLIN, 0 };
	for (i = 0; i < 200; i++) {
		may_call = has_read = has_called = 0;
		kit_start(&reader, read_one, (void *)(long)p[0]);
		kit_start(&caller, call_one, NULL);
		host_sleep_us(2000);
		ukl_hold(me);
		may_call = 1;
		check_eq(CALL(write, p[1], "x", 1), 1);
		good(CALL(getppid));
		host_sleep_us(300);	/* less than a time slice */
		check(!has_read && !has_called);
		good(CALL(getppid));
		check(!has_read && !has_called);
		ukl_release(me);
		kit_join(&reader);
		kit_join(&caller);
		check(has_read && has_called);
	}
	/* A call that waits ends it: others go on meanwhile. */
	may_call = has_called = 0;
	kit_start(&caller, call_one, NULL);
	ukl_hold(me);
	may_call = 1;
	begun = now();
	check_eq(CALL(poll, &pfd, 1, 50), 0);
	took(begun, 0.05);
	check(has_called);
	kit_join(&caller);
	/* … and then there is nothing to release. */
	ukl_release(me);
	good(CALL(getppid));
}

static int many[2];

static void wait_also(void *unused)
{
	struct ukl_also also;
	char c;

	(void)unused;
	check_eq(read_also(many[0], &c, &also), 1);
	check_eq(me->also_ready, 0);
}

/* More at once than can be rung one by one. */
TEST(also_many_at_once)
{
	struct kit_thread t[3 * UKL_MAX_WAITS];
	unsigned int i, n = 3 * UKL_MAX_WAITS, round;

	check(!pipe(host_pair));
	good(CALL(pipe, many));
	for (round = 0; round < 5; round++) {
		for (i = 0; i < n; i++)
			kit_start(&t[i], wait_also, NULL);
		host_sleep_us(20000);
		for (i = 0; i < n; i++)
			check_eq(CALL(write, many[1], "x", 1), 1);
		for (i = 0; i < n; i++)
			kit_join(&t[i]);
		check_eq(ukl_head()->shared->waits, 0);
	}
}

static volatile int caught, caught_inside;

static void on_alarm(int sig)
{
	(void)sig;
	caught_inside = me->in_call;
	ukl_poke(me);
	caught = 1;
}

static volatile int calls_done;

/* A signal that comes before the call does not end it: then this does. */
static void *end_call(void *fd)
{
	int done = -1, late = 0;

	for (;;) {
		host_sleep_us(1000);
		late = caught && calls_done == done ? late + 1 : 0;
		done = calls_done;
		if (late > 1000 && caught_inside)
			kit_fail("a signal inside the call did not end it");
		if (late > 20 && !caught_inside) {
			late = 0;
			check_eq(write((long)fd, "x", 1), 1);
		}
	}
	return NULL;
}

/* A signal ends it like any other wait, without loss. */
TEST(also_interrupted)
{
	struct sigaction act = { .sa_handler = on_alarm,
				 .sa_flags = SA_ONSTACK };
	struct ukl_also also;
	pthread_t helper;
	int p[2], i, inside = 0;
	sigset_t set;
	char c;

	check(!pipe(host_pair));
	good(CALL(pipe, p));
	sigaction(SIGALRM, &act, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	pthread_create(&helper, NULL, end_call, (void *)(long)host_pair[1]);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	for (i = 0; i < 5000; i++) {
		caught = 0;
		kit_alarm(10 + i % 90, 0);
		check_eq(read_also(p[0], &c, &also), -512);
		if (me->also_ready)
			check_eq(read(host_pair[0], &c, 1), 1);
		else
			check(caught);
		inside += caught && caught_inside;
		calls_done++;
	}
	check(inside > 1000);
}

/* Timers across the wrap of jiffies: boot with ukl.jiffies=500. */
TEST(jiffies_wrap)
{
	struct sockaddr_in a = loop(5009);
	struct timeval limit = { 0, 130000 };
	struct tcp_info info;
	socklen_t len = sizeof(info);
	double end = now() + 7, begun;
	int s = good(CALL(socket, AF_INET, SOCK_DGRAM, 0)), c, l;
	char buf[64];
	struct pollfd pfd = { s, POLLIN, 0 };

	good(CALL(setsockopt, s, SOL_SOCKET, SO_RCVTIMEO, &limit,
		  sizeof(limit)));
	/* A connection whose SYNs are lost: the listener's queue is full. */
	kit_write_file("/proc/sys/net/ipv4/tcp_syn_linear_timeouts", "0");
	l = good(CALL(socket, AF_INET, SOCK_STREAM, 0));
	good(CALL(bind, l, &a, sizeof(a)));
	good(CALL(listen, l, 0));
	kit_connect(5009);
	c = good(CALL(socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	check_eq(CALL(connect, c, &a, sizeof(a)), -EINPROGRESS);
	while (now() < end) {
		begun = now();
		check_eq(CALL(read, s, buf, 1), -EAGAIN);
		took(begun, 0.13);
		begun = now();
		check_eq(CALL(poll, &pfd, 1, 70), 0);
		took(begun, 0.07);
	}
	/* SYNs after 1, 3 and 7 s (RFC 6298, doubled): 2 or 3 repeats. */
	good(CALL(getsockopt, c, IPPROTO_TCP, TCP_INFO, &info, &len));
	if (info.tcpi_total_retrans < 2 || info.tcpi_total_retrans > 3)
		kit_fail("%u SYNs were repeated in 7 s, should be 2 or 3",
			 info.tcpi_total_retrans);
	/* The queue empties: the next one gets through. */
	good(CALL(accept4, l, 0, 0, 0));
	pfd = (struct pollfd){ c, POLLOUT, 0 };
	check_eq(CALL(poll, &pfd, 1, 20000), 1);
	check_eq(pfd.revents, POLLOUT);
}
