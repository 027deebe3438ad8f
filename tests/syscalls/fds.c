// SPDX-License-Identifier: GPL-2.0-only
/* Descriptors: one number space whatever kernel the file is of. */
#include "same.h"

TEST(lowest_free_number)
{
	int i, fd;

	for (i = 0; i < 8; i++) {
		fd = i % 2 ? socket(AF_INET, SOCK_DGRAM, 0) :
		     open("/dev/null", O_RDONLY);
		SHOW(fd);
	}
	close(4);
	close(7);
	SHOW(socket(AF_INET6, SOCK_STREAM, 0));
	SHOW(open("/dev/null", O_RDONLY));
	SHOW(dup(3));
	SHOW(dup(4));
	close(3);
	SHOW(epoll_create1(0));
	SHOW(socket(AF_NETLINK, SOCK_RAW, 0));
}

TEST(dup_in_every_direction)
{
	int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
	int f = MUST(open("/dev/zero", O_RDONLY)), type;
	socklen_t n = sizeof(type);
	char c = 'x';

	SHOW(dup2(s, 20));
	SHOW(getsockopt(20, SOL_SOCKET, SO_TYPE, &type, &n));
	SHOW(type);
	SHOW(dup2(f, 20));		/* host over library */
	SHOW(read(20, &c, 1));
	SHOW(getsockopt(20, SOL_SOCKET, SO_TYPE, &type, &n));
	SHOW(dup2(s, f));		/* library over host */
	SHOW(read(f, &c, 1));
	SHOW(dup2(s, s));
	SHOW(dup3(s, s, 0));
	SHOW(dup3(s, 30, O_CLOEXEC));
	SHOW(fcntl(30, F_GETFD));
	SHOW(dup3(s, 31, 12345));
	SHOW(dup2(s, -1));
	SHOW(dup2(s, 1 << 30));
	SHOW(dup2(99, s));
	SHOW(dup(99));
	close(s);
	SHOW(getsockopt(30, SOL_SOCKET, SO_TYPE, &type, &n));
	SHOW(fcntl(30, F_DUPFD, 50));
	SHOW(fcntl(30, F_DUPFD, 50));
	SHOW(fcntl(30, F_DUPFD_CLOEXEC, 40));
	SHOW(fcntl(40, F_GETFD));
	SHOW(fcntl(40, F_SETFD, 0));
	SHOW(fcntl(40, F_GETFD));
	SHOW(fcntl(30, F_DUPFD, -1));
	SHOW(getsockopt(51, SOL_SOCKET, SO_TYPE, &type, &n));
}

TEST(closing)
{
	int s = MUST(socket(AF_INET, SOCK_DGRAM, 0)), i;

	SHOW(close(s));
	SHOW(close(s));
	SHOW(write(s, "x", 1));
	SHOW(getsockname(s, NULL, NULL));
	for (i = 0; i < 20; i++)
		i % 3 ? socket(AF_INET, SOCK_DGRAM, 0) :
			open("/dev/null", O_WRONLY);
	SHOW(close_range(5, 8, 0));
	for (i = 3; i < 12; i++)
		SHOW(fcntl(i, F_GETFD));
	SHOW(close_range(9, 10, CLOSE_RANGE_CLOEXEC));
	for (i = 8; i < 13; i++)
		SHOW(fcntl(i, F_GETFD));
	SHOW(close_range(3, ~0U, 0));
	SHOW(close_range(8, 3, 0));
	SHOW(close_range(3, 9, 99));
	SHOW(socket(AF_INET, SOCK_DGRAM, 0));
	SHOW(open("/dev/null", O_WRONLY));
	closefrom(3);
	SHOW(socket(AF_INET, SOCK_DGRAM, 0));
	for (i = 3; i < 2000; i++)
		close(i);
	SHOW(socket(AF_INET, SOCK_DGRAM, 0));
}

TEST(limit_of_open_files)
{
	struct rlimit r = { 16, 4096 };
	int i, fd, port, l = listener(&port), c;

	c = dial(port);
	SHOW(setrlimit(RLIMIT_NOFILE, &r));
	for (i = 0; i < 20; i++) {
		fd = i % 2 ? socket(AF_INET, SOCK_DGRAM, 0) : dup(0);
		if (fd < 0)
			break;
	}
	SHOW(i);
	SHOW(socket(AF_INET, SOCK_STREAM, 0));
	SHOW(open("/dev/null", O_RDONLY));
	SHOW(accept(l, NULL, NULL));
	SHOW(dup(l));
	SHOW(fcntl(c, F_DUPFD, 16));
	SHOW(dup2(l, 16));
	SHOW(epoll_create1(0));
	close(9);
	SHOW(socket(AF_INET, SOCK_STREAM, 0));
	r.rlim_cur = 1000;
	SHOW(setrlimit(RLIMIT_NOFILE, &r));
	SHOW(dup2(l, 999));
	SHOW(dup2(l, 1000));
}

TEST(flags)
{
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		       0), on = 1, n = 0;
	char c;

	SHOW(fcntl(s, F_GETFD));
	SHOW(fcntl(s, F_GETFL) & O_NONBLOCK);
	SHOW(fcntl(s, F_SETFL, 0));
	SHOW(fcntl(s, F_GETFL) & (O_NONBLOCK | O_ACCMODE));
	SHOW(ioctl(s, FIONBIO, &on));
	SHOW(fcntl(s, F_GETFL) & (O_NONBLOCK | O_ACCMODE));
	SHOW(recv(s, &c, 1, 0));
	SHOW(ioctl(s, FIONCLEX));
	SHOW(fcntl(s, F_GETFD));
	SHOW(ioctl(s, FIOCLEX));
	SHOW(fcntl(s, F_GETFD));
	SHOW(fcntl(s, F_SETFD, 0));
	SHOW(fcntl(s, F_GETFD));
	SHOW(ioctl(s, 0x1234, &on));
	SHOW(ioctl(s, TCGETS, &on));
	SHOW(fcntl(s, 4242));
	SHOW(fcntl(s, F_SETOWN, getpid()));
	SHOW(fcntl(s, F_GETOWN) == getpid());
	SHOW(ioctl(s, SIOCGPGRP, &n));
	SHOW(n == getpid());
	n = getpid();
	SHOW(ioctl(s, FIOSETOWN, &n));
	n = 0;
	SHOW(ioctl(s, FIOGETOWN, &n));
	SHOW(n == getpid());
	SHOW(lseek(s, 0, SEEK_CUR));
	SHOW(ftruncate(s, 0));
	SHOW(fsync(s));
	SHOW(pread(s, &c, 1, 0));
	SHOW(fchdir(s));
	SHOW(isatty(s));
}

TEST(what_stat_says)
{
	struct stat st;
	char path[64], what[64];
	int s = socket(AF_INET, SOCK_STREAM, 0), fd;
	long n;

	SHOW(fstat(s, &st));
	SHOW(S_ISSOCK(st.st_mode));
	SHOW(fstatat(s, "", &st, AT_EMPTY_PATH));
	SHOW(S_ISSOCK(st.st_mode));
	SHOW(fstatat(s, "x", &st, 0));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", s);
	fd = open(path, O_RDONLY);
	SHOW(fd);
	n = readlink(path, what, sizeof(what) - 1);
	what[n > 0 ? n : 0] = 0;
	printf("%.8s\n", what);
	SHOW(stat(path, &st));
	SHOW(S_ISSOCK(st.st_mode));
}

/*
 * Pieces of a file between long writes and short ones, to several sockets in
 * turn, which take a part of some.
 */
TEST(sendfile_in_turns)
{
	static unsigned char data[700000], sent[1 << 20], got[1 << 20];
	int fd[3][2], f = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	long i, n, len, at = 0, total = 0;
	unsigned int random = 1;
	int size = 65536, which;
	off_t off;

	for (i = 0; i < (long)sizeof(data); i++)
		data[i] = i * 7 + i / 256 + i / 65536;
	MUST(write(f, data, sizeof(data)));
	for (i = 0; i < 3; i++) {
		pair(fd[i]);
		MUST(setsockopt(fd[i][0], SOL_SOCKET, SO_SNDBUF, &size,
				sizeof(size)));
		MUST(fcntl(fd[i][0], F_SETFL, O_NONBLOCK));
	}
	for (i = 0; i < 600; i++) {
		random = random * 1103515245 + 12345;
		which = (random >> 16) % 3;
		off = at = (random >> 8) % 500000;
		len = (random >> 4) % 3 ? 65536 : 1000 + (random >> 10) % 180000;
		if ((random >> 20) % 4) {
			n = sendfile(fd[which][0], f, &off, len);
			if (n > 0 && off != at + n)
				goto wrong;
		} else {
			n = write(fd[which][0], data + at, len);
		}
		if (n <= 0 || n > len)
			goto wrong;
		memcpy(sent, data + at, n);
		total += n;
		for (at = 0; at < n; at += len)
			len = MUST(read(fd[which][1], got + at, n - at));
		if (memcmp(sent, got, n))
			goto wrong;
	}
	SHOW(total > 600 * 4096);
	return;
wrong:
	printf("turn %ld: %ld of %ld at %ld\n", i, n, len, at);
}

TEST(splice_and_sendfile)
{
	static char data[900000], got[900000];
	int fd[2], p[2], f = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	int zero = open("/dev/zero", O_RDONLY);
	long i, n, total;
	off_t off = 100;
	pid_t child;

	for (i = 0; i < (long)sizeof(data); i++)
		data[i] = i * 7 + i / 256;
	MUST(write(f, data, sizeof(data)));
	pair(fd);
	MUST(pipe(p));
	child = fork();
	if (!child) {
		for (total = 0; total < 800000; total += n) {
			n = sendfile(fd[0], f, &off, 800000 - total);
			if (n <= 0)
				_exit(1);
		}
		_exit(off != 800100);
	}
	for (total = 0; total < 800000; total += n)
		n = MUST(read(fd[1], got + total, sizeof(got) - total));
	SHOW(total);
	SHOW(memcmp(data + 100, got, total));
	reap(child);
	lseek(f, 10, SEEK_SET);
	SHOW(sendfile(fd[0], f, NULL, 1000));
	SHOW(lseek(f, 0, SEEK_CUR));
	SHOW(recv(fd[1], got, 1000, MSG_WAITALL));
	SHOW(memcmp(data + 10, got, 1000));
	off = -1;
	SHOW(sendfile(fd[0], f, &off, 10));
	off = sizeof(data);
	SHOW(sendfile(fd[0], f, &off, 10));
	SHOW(sendfile(fd[0], f, (void *)8, 10));
	off = 5;
	SHOW(sendfile(fd[0], zero, &off, 10));
	SHOW((int)off);
	SHOW(recv(fd[1], got, 10, MSG_WAITALL));
	SHOW(sendfile(fd[0], fd[1], NULL, 10));
	SHOW(sendfile(f, fd[0], NULL, 10));
	SHOW(sendfile(fd[0], 99, NULL, 10));

	SHOW(write(fd[0], "spliced", 7));
	SHOW(splice(fd[1], NULL, p[1], NULL, 100, 0));
	SHOW(read(p[0], got, 100));
	SHOW(memcmp(got, "spliced", 7));
	SHOW(write(p[1], "back", 4));
	SHOW(splice(p[0], NULL, fd[0], NULL, 100, 0));
	SHOW(read(fd[1], got, 100));
	SHOW(memcmp(got, "back", 4));
	SHOW(splice(fd[0], NULL, fd[1], NULL, 100, 0));
	SHOW(splice(fd[0], &off, p[1], NULL, 100, 0));
	SHOW(splice(fd[1], NULL, p[1], &off, 100, 0));
	SHOW(tee(fd[0], p[1], 10, 0));
	SHOW(copy_file_range(f, NULL, fd[0], NULL, 10, 0));
}

TEST(unix_sockets_stay_on_the_host)
{
	int u[2], f = open("/dev/null", O_RDONLY), got = -1;
	char buf[CMSG_SPACE(sizeof(int))] = { 0 }, c = 'x';
	struct iovec iov = { &c, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1,
			    .msg_control = buf,
			    .msg_controllen = sizeof(buf) };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, u));
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &f, sizeof(f));
	SHOW(sendmsg(u[0], &m, 0));
	SHOW(recvmsg(u[1], &m, 0));
	memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(got));
	SHOW(got);
	SHOW(read(got, &c, 1));
	SHOW(socketpair(AF_INET, SOCK_STREAM, 0, u));
}

/* What programs of random steps have found. */
TEST(other_kinds_of_files)
{
	struct itimerspec t = { 0 };
	struct epoll_event e = { 0 };
	int s = socket(AF_INET, SOCK_DGRAM, 0), p[2], dir, path, ep, f, n;
	int lone = socket(AF_INET, SOCK_STREAM, 0);
	sigset_t set;

	MUST(pipe(p));
	dir = MUST(open("/", O_RDONLY));
	path = MUST(open("/", O_PATH));
	ep = MUST(epoll_create1(0));
	f = MUST(open("/tmp", O_TMPFILE | O_RDWR, 0600));
	sigemptyset(&set);
	SHOW(timerfd_settime(s, 0, &t, NULL));
	SHOW(timerfd_gettime(s, &t));
	SHOW(signalfd(s, &set, 0));
	SHOW(syscall(SYS_inotify_rm_watch, s, 1));
	SHOW(futimens(s, NULL));
	SHOW(epoll_ctl(s, EPOLL_CTL_ADD, p[0], &e));
	SHOW(epoll_ctl(s, EPOLL_CTL_ADD, f, &e));
	SHOW(epoll_ctl(s, EPOLL_CTL_ADD, 99, &e));
	SHOW(epoll_ctl(s, EPOLL_CTL_ADD, ep, &e));
	SHOW(epoll_ctl(p[0], EPOLL_CTL_ADD, s, (void *)16));
	SHOW(epoll_ctl(p[0], EPOLL_CTL_DEL, s, (void *)16));
	SHOW(epoll_ctl(f, EPOLL_CTL_ADD, s, &e));
	SHOW(epoll_ctl(open("/", O_PATH), EPOLL_CTL_ADD, s, &e));
	SHOW(tee(s, 99, 10, 0));
	SHOW(tee(s, p[1], 0, 0));
	SHOW(tee(s, p[0], 10, 0));
	SHOW(tee(s, p[1], 10, 64));
	SHOW(tee(s, s, 0, 0));
	SHOW(copy_file_range(s, NULL, 99, NULL, 10, 0));
	SHOW(copy_file_range(s, NULL, path, NULL, 10, 0));
	SHOW(copy_file_range(path, NULL, s, NULL, 10, 0));
	SHOW(copy_file_range(s, NULL, dir, NULL, 10, 0));
	SHOW(splice(s, NULL, f, NULL, 10, 0));
	SHOW(splice(f, NULL, s, NULL, 10, 0));
	SHOW(splice(s, NULL, p[0], NULL, 10, 0));
	SHOW(splice(s, NULL, s, NULL, 0, 0));
	SHOW(splice(s, NULL, p[1], NULL, 10, 64));
	SHOW(splice(p[0], NULL, s, NULL, 10, SPLICE_F_NONBLOCK));
	SHOW(sendfile(s, p[1], NULL, 10));
	SHOW(sendfile(p[0], s, NULL, 10));
	SHOW(sendfile(s, ep, NULL, 0));
	SHOW(sendfile(s, p[0], &(off_t){ 0 }, 10));
	pair(p);
	SHOW(sendfile(p[0], open("/dev/zero", O_RDONLY), NULL, 10));
	SHOW(ioctl(p[1], FIONREAD, &n));
	SHOW(n);
	SHOW(sendfile(p[0], open("/dev/null", O_RDONLY), NULL, 10));
	SHOW(sendfile(p[0], open("/dev/ptmx", O_RDONLY), NULL, 10));
	SHOW(sendfile(p[0], open("/dev/null", O_WRONLY), NULL, 10));
	close(p[1]);
	signal(SIGPIPE, SIG_IGN);
	SHOW(sendfile(lone, open("/dev/zero", O_RDONLY), NULL, 10));
}

/* What the socket does not take stays in the pipe, and the other way round. */
TEST(splice_loses_nothing)
{
	static char data[1 << 16];
	int fd[2], p[2], lone = MUST(socket(AF_INET, SOCK_STREAM, 0)), n;
	long total, got, n_in, soft;
	struct rlimit r;

	signal(SIGPIPE, SIG_IGN);
	pair(fd);
	MUST(pipe2(p, O_NONBLOCK));
	MUST(write(p[1], "kept", 4));
	SHOW(splice(p[0], NULL, lone, NULL, 100, 0));
	SHOW(ioctl(p[0], FIONREAD, &n));
	SHOW(n);
	SHOW(read(p[0], data, 100));
	SHOW(splice(p[0], NULL, fd[0], NULL, 100, 0));
	/* Until the socket is full: nobody reads it. */
	fcntl(fd[0], F_SETFL, O_RDWR | O_NONBLOCK);
	for (total = n_in = 0;;) {
		got = write(p[1], data, 30000);
		if (got > 0)
			n_in += got;
		got = splice(p[0], NULL, fd[0], NULL, 1 << 20,
			     SPLICE_F_NONBLOCK);
		if (got < 0)
			break;
		total += got;
	}
	show("full", got);
	MUST(ioctl(p[0], FIONREAD, &n));
	SHOW(n_in - total == n);
	for (n_in = 0; n_in < total; n_in += got)
		got = MUST(read(fd[1], data, sizeof(data)));
	SHOW(splice(p[0], NULL, fd[0], NULL, 1 << 20, 0) > 0);
	/* No number is free. */
	getrlimit(RLIMIT_NOFILE, &r);
	soft = r.rlim_cur;
	r.rlim_cur = 3;
	MUST(setrlimit(RLIMIT_NOFILE, &r));
	MUST(write(p[1], "more", 4));
	SHOW(splice(p[0], NULL, fd[0], NULL, 1 << 20, 0) > 0);
	r.rlim_cur = soft;
	MUST(setrlimit(RLIMIT_NOFILE, &r));
	/* Nobody reads the pipe. */
	close(p[0]);
	SHOW(splice(fd[1], NULL, p[1], NULL, 10, 0));
	SHOW(splice(lone, NULL, p[1], NULL, 10, 0));
}

/* Only some files of /proc can be spliced; all of /sys can. */
TEST(splice_of_files_about_the_network)
{
	static const char *const names[] = {
		"/proc/net/dev", "/proc/net/tcp", "/proc/self/net/route",
		"/proc/self/ns/net", "/proc/net", "/sys/class/net",
		"/sys/class/net/lo/mtu", "/proc/sys/net/ipv4/ip_forward",
	};
	int tmp = MUST(open("/tmp", O_TMPFILE | O_RDWR, 0600));
	int p[2], s[2], i, f;
	char b[4096];
	loff_t at;
	off_t off;

	/* The host's own setting is whatever it is. */
	f = MUST(open("/proc/sys/net/ipv4/ip_forward", O_WRONLY));
	MUST(write(f, "1\n", 2));
	close(f);
	pair(s);
	MUST(pipe2(p, O_NONBLOCK));
	for (i = 0; i < (int)(sizeof(names) / sizeof(*names)); i++) {
		puts(names[i]);
		f = MUST(open(names[i], O_RDONLY));
		SHOW(splice(f, NULL, p[1], NULL, 3, 0));
		SHOW(lseek(f, 0, SEEK_CUR));
		SHOW(splice(f, NULL, p[1], NULL, 100, 0));
		SHOW(splice(f, NULL, p[1], NULL, 100, 0));
		at = 2;
		SHOW(splice(f, &at, p[1], NULL, 100, 0));
		SHOW(at);
		at = -1;
		SHOW(splice(f, &at, p[1], NULL, 100, 0));
		SHOW(splice(f, (void *)8, p[1], NULL, 100, 0));
		SHOW(splice(f, NULL, p[1], &at, 100, 0));
		SHOW(splice(f, NULL, p[0], NULL, 100, 0));
		SHOW(splice(p[0], NULL, f, NULL, 100, 0));
		SHOW(splice(f, NULL, s[0], NULL, 100, 0));
		SHOW(splice(f, NULL, tmp, NULL, 100, 0));
		SHOW(splice(f, NULL, p[1], NULL, 0, 0));
		SHOW(splice(f, NULL, p[1], NULL, 100, 16));
		SHOW(tee(f, p[1], 100, 0));
		lseek(f, 0, SEEK_SET);
		SHOW(sendfile(p[1], f, NULL, 100));
		SHOW(lseek(f, 0, SEEK_CUR));
		SHOW(sendfile(p[1], f, NULL, 100));
		off = 1;
		SHOW(sendfile(p[1], f, &off, 2));
		SHOW(off);
		SHOW(sendfile(s[0], f, &off, 100));
		SHOW(off);
		SHOW(sendfile(tmp, f, &off, 100));
		SHOW(sendfile(p[0], f, NULL, 100));
		SHOW(sendfile(f, tmp, NULL, 100));
		SHOW(copy_file_range(f, NULL, tmp, NULL, 100, 0));
		SHOW(copy_file_range(tmp, NULL, f, NULL, 100, 0));
		memset(b, 0, sizeof(b));
		SHOW(read(p[0], b, sizeof(b)));
		puts(b);
		SHOW(recv(s[1], b, sizeof(b), MSG_DONTWAIT));
		close(f);
		f = MUST(open(names[i], O_PATH));
		SHOW(splice(f, NULL, p[1], NULL, 100, 0));
		SHOW(sendfile(p[1], f, NULL, 100));
		SHOW(sendfile(f, tmp, NULL, 100));
		close(f);
	}
}

TEST(splice_into_files_about_the_network)
{
	int f = MUST(open("/proc/sys/net/ipv4/ip_forward", O_RDWR));
	int tmp = MUST(open("/tmp", O_TMPFILE | O_RDWR, 0600));
	int p[2], n;
	loff_t at = 0;
	char b[16];

	MUST(pipe2(p, O_NONBLOCK));
	SHOW(splice(p[0], NULL, f, NULL, 100, 0));
	MUST(write(p[1], "1\n", 2));
	SHOW(splice(p[0], NULL, f, NULL, 100, 0));
	SHOW(lseek(f, 0, SEEK_CUR));
	SHOW(pread(f, b, sizeof(b), 0));
	SHOW(b[0]);
	SHOW(splice(p[0], NULL, f, NULL, 100, 0));
	MUST(write(p[1], "0\n", 2));
	SHOW(splice(p[0], &at, f, NULL, 100, 0));
	SHOW(splice(p[0], NULL, f, (void *)8, 100, 0));
	SHOW(splice(p[0], NULL, f, &at, 100, 0));
	SHOW(at);
	SHOW(pread(f, b, sizeof(b), 0));
	SHOW(b[0]);
	/* What it does not take stays. */
	MUST(write(p[1], "nonsense", 8));
	at = 0;
	SHOW(splice(p[0], NULL, f, &at, 100, 0));
	MUST(ioctl(p[0], FIONREAD, &n));
	SHOW(n);
	MUST(write(tmp, "1\n", 2));
	lseek(tmp, 0, SEEK_SET);
	lseek(f, 0, SEEK_SET);
	SHOW(sendfile(f, tmp, NULL, 100));
	SHOW(pread(f, b, sizeof(b), 0));
	SHOW(b[0]);
	close(p[1]);
	read(p[0], b, sizeof(b));
	SHOW(splice(p[0], NULL, f, NULL, 100, 0));
}

/* It waits for room, and takes nothing without. */
TEST(splice_of_a_file_into_a_full_pipe)
{
	int f = MUST(open("/sys/class/net/lo/mtu", O_RDONLY)), p[2], say[2], i;
	static char page[4096];
	pid_t child;
	double begun;

	signal(SIGPIPE, SIG_IGN);
	MUST(pipe(p));
	MUST(pipe(say));
	for (i = 0; i < 2; i++) {
		MUST(fcntl(p[1], F_SETFL, O_NONBLOCK));
		while (write(p[1], page, sizeof(page)) > 0)
			;
		SHOW(splice(f, NULL, p[1], NULL, 100, 0));
		SHOW(sendfile(p[1], f, NULL, 100));
		MUST(fcntl(p[1], F_SETFL, 0));
		SHOW(splice(f, NULL, p[1], NULL, 100, SPLICE_F_NONBLOCK));
		SHOW(lseek(f, 0, SEEK_CUR));
		fflush(stdout);
		child = fork();
		if (!child) {
			usleep(100000);
			read(p[0], page, sizeof(page));
			_exit(0);
		}
		begun = now();
		if (i)
			SHOW(sendfile(p[1], f, NULL, 100));
		else
			SHOW(splice(f, NULL, p[1], NULL, 100, 0));
		SHOW(now() - begun > 0.05);
		SHOW(lseek(f, 0, SEEK_SET));
		reap(child);
	}
	close(p[0]);
	SHOW(splice(f, NULL, p[1], NULL, 100, 0));
	SHOW(sendfile(p[1], f, NULL, 100));
	SHOW(lseek(f, 0, SEEK_CUR));
}

/* A connection that finds no number waits for one. */
TEST(accept_without_a_number)
{
	struct rlimit r;
	int port, l = listener(&port), c = dial(port), i, fd;
	char got[8];

	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = 12;
	MUST(setrlimit(RLIMIT_NOFILE, &r));
	while ((fd = dup(0)) >= 0)
		;
	SHOW(accept(l, NULL, NULL));
	SHOW(accept4(l, NULL, NULL, 12345));
	fcntl(l, F_SETFL, O_RDWR | O_NONBLOCK);
	SHOW(accept(c, NULL, NULL));
	close(11);
	fd = accept(l, NULL, NULL);
	SHOW(fd);
	MUST(write(c, "there", 5));
	SHOW(read(fd, got, 5));
	SHOW(accept(l, NULL, NULL));
	close(11);
	SHOW(accept(l, NULL, NULL));
}

/* One number is enough for exec, as it is for ld.so. */
TEST(role_after_a_narrow_exec)
{
	struct rlimit r;

	SHOW(fcntl(4, F_GETFD));
	getrlimit(RLIMIT_NOFILE, &r);
	SHOW(r.rlim_cur);
}

TEST(exec_with_one_number_left)
{
	struct rlimit r;
	int s = MUST(socket(AF_INET, SOCK_DGRAM, 0));

	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = 6;
	MUST(dup2(s, 4));
	MUST(setrlimit(RLIMIT_NOFILE, &r));
	SHOW(dup(s));
	SHOW(dup(s));
	close(5);
	execl(arguments[0], arguments[0], "role_after_a_narrow_exec", NULL);
	die("exec");
}

static void *own_table(void *close_it)
{
	SHOW(close_it ? close_range(4, 5, CLOSE_RANGE_UNSHARE) :
	     unshare(CLONE_FILES));
	SHOW(close(6));
	SHOW(dup(3));
	SHOW(socket(AF_INET, SOCK_DGRAM, 0));
	return NULL;
}

/* A thread with a table of its own leaves the others' alone. */
TEST(a_thread_leaves_the_table)
{
	int i, type, round;
	socklen_t n = sizeof(type);
	pthread_t t;

	for (i = 3; i < 9; i++)
		SHOW(i % 2 ? socket(AF_INET, SOCK_DGRAM, 0) :
		     epoll_create1(0));
	for (round = 0; round < 2; round++) {
		pthread_create(&t, NULL, own_table, round ? &t : NULL);
		pthread_join(t, NULL);
		for (i = 3; i < 11; i++)
			SHOW(fcntl(i, F_GETFL));
		for (i = 3; i < 11; i++)
			SHOW(getsockopt(i, SOL_SOCKET, SO_TYPE, &type, &n));
	}
}
