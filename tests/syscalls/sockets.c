// SPDX-License-Identifier: GPL-2.0-only
/* Sockets through libc. */
#include "same.h"
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netdb.h>

TEST(kinds)
{
	SHOW(socket(AF_INET, SOCK_STREAM, 0) >= 0);
	SHOW(socket(AF_INET6, SOCK_DGRAM, 0) >= 0);
	SHOW(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
	SHOW(socket(AF_INET, 99, 0));
	SHOW(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
	SHOW(socket(AF_UNIX, 99, 0));
	SHOW(socket(9999, SOCK_STREAM, 0));
	SHOW(socket(-1, SOCK_STREAM, 0));
	SHOW(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) >= 0);
	SHOW(socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT) >= 0);
}

TEST(stream)
{
	int fd[2], l, port, n, c;
	char buf[64] = { 0 };
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	struct iovec v[2] = { { "ab", 2 }, { "cde", 3 } };

	pair(fd);
	SHOW(write(fd[0], "hello", 5));
	SHOW(recv(fd[1], buf, 64, MSG_PEEK));
	SHOW(ioctl(fd[1], FIONREAD, &n));
	SHOW(n);
	SHOW(read(fd[1], buf, 64));
	puts(buf);
	SHOW(writev(fd[0], v, 2));
	SHOW(recv(fd[1], buf, 5, MSG_WAITALL));
	SHOW(recv(fd[1], buf, 5, MSG_DONTWAIT));
	SHOW(getpeername(fd[0], (void *)&a, &len));
	SHOW(ntohl(a.sin_addr.s_addr));
	SHOW(shutdown(fd[0], SHUT_WR));
	SHOW(read(fd[1], buf, 64));
	SHOW(write(fd[1], "late", 4));
	SHOW(read(fd[0], buf, 64));
	signal(SIGPIPE, SIG_IGN);
	SHOW(write(fd[0], "x", 1));
	SHOW(send(fd[0], "x", 1, MSG_NOSIGNAL));
	l = listener(&port);
	close(l);
	c = socket(AF_INET, SOCK_STREAM, 0);
	a = loop(port);
	SHOW(connect(c, (void *)&a, sizeof(a)));
	SHOW(connect(c, (void *)&a, 3));
	SHOW(shutdown(c, SHUT_RD));
	SHOW(listen(99, 5));
	SHOW(send(c, "x", 1, MSG_NOSIGNAL));
}

TEST(not_blocking)
{
	int port, l = listener(&port), c, err = 5;
	struct sockaddr_in a = loop(port);
	socklen_t n = sizeof(err);
	struct pollfd p;
	char b;

	fcntl(l, F_SETFL, O_NONBLOCK);
	SHOW(accept(l, NULL, NULL));
	c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	SHOW(connect(c, (void *)&a, sizeof(a)));
	p = (struct pollfd){ c, POLLOUT, 0 };
	SHOW(poll(&p, 1, 1000));
	SHOW(getsockopt(c, SOL_SOCKET, SO_ERROR, &err, &n));
	SHOW(err);
	SHOW(connect(c, (void *)&a, sizeof(a)));
	SHOW(recv(c, &b, 1, 0));
	p = (struct pollfd){ l, POLLIN, 0 };
	SHOW(poll(&p, 1, 1000));
	SHOW(accept4(l, NULL, NULL, SOCK_CLOEXEC) >= 0);
	SHOW(accept4(l, NULL, NULL, 77));
}

TEST(datagrams)
{
	int fd[2], i;
	char buf[64];
	struct mmsghdr m[4];
	struct iovec v[4];

	udp_pair(fd);
	SHOW(send(fd[0], "one", 3, 0));
	SHOW(send(fd[0], "", 0, 0));
	SHOW(recv(fd[1], buf, 2, MSG_TRUNC));
	SHOW(recv(fd[1], buf, 64, 0));
	memset(m, 0, sizeof(m));
	for (i = 0; i < 4; i++) {
		v[i] = (struct iovec){ buf + i * 8, 8 };
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	SHOW(sendmmsg(fd[0], m, 3, 0));
	SHOW(recvmmsg(fd[1], m, 4, MSG_WAITFORONE, NULL));
	SHOW(m[2].msg_len);
	SHOW(recvmmsg(fd[1], m, 4, MSG_DONTWAIT, NULL));
	SHOW(send(fd[0], buf, 70000, 0));
	close(fd[1]);
	SHOW(send(fd[0], "x", 1, 0));
	SHOW(recv(fd[0], buf, 1, 0));
}

TEST(bad_addresses)
{
	char *bad = (char *)16, *edge;
	int fd[2], u[2];
	struct iovec v[2] = { { "good", 4 }, { (void *)16, 10 } };
	struct sockaddr_in a = loop(1);
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };

	edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(edge + 4096, 4096, PROT_NONE);
	memset(edge, 'e', 4096);
	pair(fd);
	udp_pair(u);
	SHOW(write(fd[0], bad, 10));
	SHOW(write(fd[0], (void *)-1, 10));
	SHOW(write(fd[0], (void *)0x8000000000000000UL, 10));
	SHOW(write(fd[0], edge + 4090, 100));
	SHOW(recv(fd[1], edge, 64, MSG_DONTWAIT));
	SHOW(writev(fd[0], v, 2));
	SHOW(writev(fd[0], (void *)16, 2));
	SHOW(sendmsg(u[0], &m, 0));
	SHOW(sendmsg(u[0], (void *)16, 0));
	SHOW(write(fd[0], "12345678", 8));
	SHOW(read(fd[1], bad, 10));
	SHOW(read(fd[1], edge + 4092, 8));
	SHOW(bind(u[0], (void *)16, sizeof(a)));
	SHOW(connect(u[0], (void *)16, sizeof(a)));
	SHOW(getsockname(u[0], (void *)16, (void *)edge));
	SHOW(getsockname(u[0], (void *)edge, (void *)16));
	SHOW(setsockopt(u[0], SOL_SOCKET, SO_RCVBUF, (void *)16, 4));
	SHOW(getsockopt(u[0], SOL_SOCKET, SO_RCVBUF, (void *)edge, (void *)16));
	SHOW(ioctl(u[0], FIONREAD, 16));
	SHOW(poll((void *)16, 1, 0));
	SHOW(poll((void *)(edge + 4092), 2, 0));
	SHOW(select(5, (void *)16, NULL, NULL, NULL));
	SHOW(epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, u[0], (void *)16));
	SHOW(open((void *)16, O_RDONLY));
	SHOW(syscall(SYS_nanosleep, 16, 0));
	SHOW(syscall(SYS_rt_sigaction, SIGUSR1, 16, 0, 8));
	SHOW(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 16, 0, 8));
	SHOW(uname((void *)16));
	SHOW(syscall(SYS_execve, 16, 0, 0));
	SHOW(syscall(SYS_clone3, 16, 88));
}

TEST(broken_pipe_signal)
{
	int fd[2];
	char b;
	pid_t child = fork();

	if (!child) {
		pair(fd);
		close(fd[1]);
		read(fd[0], &b, 1);
		write(fd[0], "x", 1);
		usleep(10000);
		write(fd[0], "x", 1);
		_exit(1);
	}
	reap(child);
}

TEST(options)
{
	int fd[2], v = 1;
	socklen_t n = sizeof(v);
	struct timeval tv = { 0, 30000 };
	char b;
	double t;

	pair(fd);
	SHOW(setsockopt(fd[0], IPPROTO_TCP, TCP_NODELAY, &v, n));
	SHOW(getsockopt(fd[0], IPPROTO_TCP, TCP_NODELAY, &v, &n));
	SHOW(v);
	SHOW(setsockopt(fd[0], SOL_SOCKET, 9999, &v, n));
	SHOW(setsockopt(fd[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	t = now();
	SHOW(recv(fd[0], &b, 1, 0));
	SHOW(now() - t > 0.025 && now() - t < 0.3);
	SHOW(getsockopt(fd[0], SOL_SOCKET, SO_TYPE, &v, &n));
	SHOW(v);
}

TEST(names_through_libc)
{
	struct addrinfo hint = { .ai_socktype = SOCK_STREAM }, *a;
	struct ifaddrs *all, *i;
	int n = 0;

	SHOW(getaddrinfo("127.0.0.1", "80", &hint, &a));
	SHOW(getaddrinfo("localhost", "80", &hint, &a));
	SHOW(if_nametoindex("lo"));
	SHOW(if_nametoindex("nothere0"));
	SHOW(getifaddrs(&all));
	for (i = all; i; i = i->ifa_next)
		if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET &&
		    !strcmp(i->ifa_name, "lo"))
			n++;
	SHOW(n);
}

TEST(stdio_over_a_socket)
{
	int fd[2];
	FILE *f, *g;
	char line[64];

	pair(fd);
	f = fdopen(fd[0], "w");
	g = fdopen(fd[1], "r");
	SHOW(fprintf(f, "line %d\nand %d\n", 1, 2));
	SHOW(fflush(f));
	SHOW(fgets(line, 64, g) == line);
	puts(line);
	SHOW(fclose(f));
	SHOW(fgets(line, 64, g) == line);
	puts(line);
	SHOW(fgets(line, 64, g) == NULL);
}

TEST(big_transfer)
{
	static char out[1 << 20], in[1 << 20];
	int fd[2];
	long n, total = 0;
	pid_t child;

	for (n = 0; n < (long)sizeof(out); n++)
		out[n] = n * 31 + (n >> 9);
	pair(fd);
	child = fork();
	if (!child) {
		close(fd[1]);
		for (total = 0; total < (long)sizeof(out); total += n) {
			n = write(fd[0], out + total, sizeof(out) - total);
			if (n < 0)
				_exit(1);
		}
		_exit(0);
	}
	close(fd[0]);
	while ((n = read(fd[1], in + total, sizeof(in) - total)) > 0)
		total += n;
	SHOW(total);
	SHOW(memcmp(in, out, sizeof(in)));
	reap(child);
}

static void *block_in_accept(void *arg)
{
	int *l = arg;

	return (void *)(long)accept(*l, NULL, NULL);
}

TEST(accept_in_threads)
{
	int port, l = listener(&port), i, c[4], good = 0;
	pthread_t t[4];
	void *ret;

	for (i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, block_in_accept, &l);
	usleep(20000);
	for (i = 0; i < 4; i++)
		c[i] = dial(port);
	for (i = 0; i < 4; i++) {
		pthread_join(t[i], &ret);
		good += (long)ret > 2 && write(c[i], "x", 1) == 1;
	}
	SHOW(good);
}

static void *make_and_close(void *arg)
{
	long bad = 0, i;
	int s, f, type;
	socklen_t n;

	(void)arg;
	for (i = 0; i < 500; i++) {
		s = socket(AF_INET, i % 2 ? SOCK_DGRAM : SOCK_STREAM, 0);
		f = i % 3 ? open("/dev/null", O_RDONLY) : dup(s);
		n = sizeof(type);
		bad += getsockopt(s, SOL_SOCKET, SO_TYPE, &type, &n) ||
		       type != (i % 2 ? SOCK_DGRAM : SOCK_STREAM);
		bad += close(s) != 0;
		bad += close(f) != 0;
	}
	return (void *)bad;
}

TEST(sockets_in_threads)
{
	pthread_t t[6];
	void *ret;
	long bad = 0;
	int i;

	for (i = 0; i < 6; i++)
		pthread_create(&t[i], NULL, make_and_close, NULL);
	for (i = 0; i < 6; i++) {
		pthread_join(t[i], &ret);
		bad += (long)ret;
	}
	SHOW(bad);
	SHOW(socket(AF_INET, SOCK_STREAM, 0));
}
