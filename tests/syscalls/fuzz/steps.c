// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs programs of random steps, and prints a line for each step.
 *
 *	steps serve		reads programs from standard input, runs each in
 *				a process of its own
 *	steps resume FIRST N	goes on with a program after exec
 *
 * A program is lines of a word and numbers.  A number that means a descriptor
 * chooses among those that are open (choose()).  Whatever differs from run to run
 * (ports, process ids, inode numbers) is printed as what it stands for.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <time.h>
#include <unistd.h>

#define FDS	64		/* numbers that are watched */
#define ARGS	24
#define PORTS	4		/* of a program's own */
#define SEEN	64
#define MAX_IO	4096

enum kind {
	NOTHING, TCP4, TCP6, UDP4, UDP6, UNIX_STREAM, UNIX_DGRAM, UNIX_SEQ,
	NETLINK_, RAW4, PIPE_R, PIPE_W, EVENT, TIMER, MEMORY, FILE_, DIRECTORY,
	NULL_, EPOLL, STRANGE,
};

#define M(k)		(1u << (k))
#define INET		(M(TCP4) | M(TCP6) | M(UDP4) | M(UDP6) | M(RAW4))
#define UNIXES		(M(UNIX_STREAM) | M(UNIX_DGRAM) | M(UNIX_SEQ))
#define SOCKETS		(INET | UNIXES | M(NETLINK_))
#define STREAMS		(M(TCP4) | M(TCP6) | M(UNIX_STREAM) | M(UNIX_SEQ))
#define DATAGRAMS	(M(UDP4) | M(UDP6) | M(UNIX_DGRAM))
#define PIPES		(M(PIPE_R) | M(PIPE_W))
#define FILES		(M(FILE_) | M(MEMORY))
#define ANY		(~0u)

/* All that a program after exec must know. */
static struct world {
	uint8_t kind[FDS];
	int base;			/* the first port */
	int seen[SEEN], n_seen;		/* other ports, as they came */
	int slow;			/* ms after each step */
	int depth;			/* of processes */
	char where[64];			/* the program's directory */
} w;

static char text[1 << 16];
static char *line[4096];
static int lines;
static char out[1 << 15];
static int out_at;
static volatile sig_atomic_t pipes, alarms;

static void say(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	out_at += vsnprintf(out + out_at, sizeof(out) - out_at, format, list);
	va_end(list);
	if (out_at >= (int)sizeof(out))
		out_at = sizeof(out) - 1;
}

static void flush(void)
{
	int at = 0, n;

	while (at < out_at) {
		n = write(1, out + at, out_at - at);
		if (n <= 0)
			_exit(98);
		at += n;
	}
	out_at = 0;
}

static void on_pipe(int sig)
{
	(void)sig;
	pipes++;
}

static void on_alarm(int sig)
{
	(void)sig;
	alarms++;
}

/* ------------------------------------------------------------------ */
/* Descriptors.								*/

static void learn(int fd, int kind)
{
	if (fd >= 3 && fd < FDS)
		w.kind[fd] = kind;
}

/*
 * 0..15: one of @wanted, if there is any, the highest first; 16..31: any one;
 * 32: -1; 33: a number far off; 34: the first that is free.
 */
static int choose(unsigned int wanted, int n)
{
	int fd, count = 0, round;

	if (n == 32)
		return -1;
	if (n == 33)
		return 1000;
	if (n >= 34) {
		for (fd = 3; fd < FDS - 1 && w.kind[fd]; fd++)
			;
		return fd;
	}
	for (round = n >= 16; round < 2; round++) {
		unsigned int set = round ? ANY : wanted;

		count = 0;
		for (fd = 3; fd < FDS; fd++)
			count += w.kind[fd] && (set & M(w.kind[fd]));
		if (!count)
			continue;
		count = n % 16 % count;
		for (fd = FDS - 1; fd >= 3; fd--)
			if (w.kind[fd] && (set & M(w.kind[fd])) && !count--)
				return fd;
	}
	return 1000;
}

static int kind_of(int fd)
{
	return fd >= 3 && fd < FDS ? w.kind[fd] : NOTHING;
}

/* A blocking call is ended by a signal. */
static int may_block(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags != -1 && !(flags & O_NONBLOCK);
}

static void guard(int on)
{
	struct itimerval it = { 0 };

	if (on)
		it.it_value.tv_usec = it.it_interval.tv_usec =
			w.slow ? 30000 : 8000;
	setitimer(ITIMER_REAL, &it, NULL);
}

static long result(long ret)
{
	if (ret == -1)
		say(" %s", strerrorname_np(errno) ? strerrorname_np(errno) : "E?");
	else
		say(" %ld", ret);
	return ret;
}

/* A call that may block on @fd (and on @other). */
#define WITH2(fd, other, call) ({					\
	int b_ = may_block(fd) || may_block(other);			\
	long r_;							\
	if (b_)								\
		guard(1);						\
	r_ = (call);							\
	if (b_) {							\
		int e_ = errno;						\
		guard(0);						\
		errno = e_;						\
	}								\
	r_;								\
})
#define WITH(fd, call)	WITH2(fd, fd, call)

/* ------------------------------------------------------------------ */
/* Data and addresses.							*/

static char data[MAX_IO * 4], got[MAX_IO * 4];

static void fill(int step)
{
	unsigned int i;

	for (i = 0; i < sizeof(data); i++)
		data[i] = 'a' + (step * 7 + i) % 26;
}

static void show_data(const char *p, long n)
{
	unsigned int sum = 0;
	long i;

	if (n <= 0)
		return;
	for (i = 0; i < n; i++)
		sum = sum * 31 + (unsigned char)p[i];
	say(" \"");
	for (i = 0; i < n && i < 6; i++)
		say(p[i] >= ' ' && p[i] <= '~' ? "%c" : "\\%02x",
		    (unsigned char)p[i]);
	say("\"%08x", sum);
}

static void show_port(int port)
{
	int i;

	if (!port) {
		say(":0");
		return;
	}
	if (port >= w.base && port < w.base + PORTS) {
		say(":own%d", port - w.base);
		return;
	}
	if (port < 1024) {
		say(":%d", port);
		return;
	}
	for (i = 0; i < w.n_seen; i++)
		if (w.seen[i] == port)
			break;
	if (i == w.n_seen && i < SEEN)
		w.seen[w.n_seen++] = port;
	say(":eph%d", i);
}

static void show_address(const struct sockaddr_storage *s, socklen_t n,
			 socklen_t room)
{
	const struct sockaddr_un *u = (const void *)s;
	char name[64];

	if (n < sizeof(s->ss_family) || room < n) {
		if (room < n && s->ss_family != AF_UNIX)
			say(" short %u", n);
		else
			say(" none %u", n > 2 ? 3 : n);
		return;
	}
	switch (s->ss_family) {
	case AF_INET:
		say(" %u %s", n, inet_ntop(AF_INET,
			&((struct sockaddr_in *)s)->sin_addr, name, 64));
		show_port(ntohs(((struct sockaddr_in *)s)->sin_port));
		break;
	case AF_INET6:
		say(" %u [%s]", n, inet_ntop(AF_INET6,
			&((struct sockaddr_in6 *)s)->sin6_addr, name, 64));
		show_port(ntohs(((struct sockaddr_in6 *)s)->sin6_port));
		break;
	case AF_UNIX:
		if (n == 2)
			say(" unix unnamed");
		else if (u->sun_path[0])
			say(" unix %s", u->sun_path);
		else if (n == 8)
			say(" unix auto");
		else
			say(" unix @%.3s", u->sun_path + n - 2 - 3);
		break;
	default:
		say(" family %d %u", s->ss_family, n);
	}
}

/*
 * For a socket of @kind.  @n 0..3: a port of ours or a name; 4: any port; 5:
 * nobody's port; 6: an address that is not ours; 7: of another family; 8: too
 * short; 9: AF_UNSPEC; 10..: that of another socket's own name.
 */
static socklen_t address(struct sockaddr_storage *s, int kind, int n)
{
	struct sockaddr_in *a = (void *)s;
	struct sockaddr_in6 *b = (void *)s;
	struct sockaddr_un *u = (void *)s;
	socklen_t size = sizeof(*s);
	int six = kind == TCP6 || kind == UDP6, fd;
	int un = M(kind) & UNIXES;

	memset(s, 0, sizeof(*s));
	if (n >= 10) {
		fd = choose(un ? UNIXES : six ? M(TCP6) | M(UDP6) :
			    M(TCP4) | M(UDP4), (n - 10) % 16);
		if (!getsockname(fd, (void *)s, &size))
			return size;
		n = 0;
		memset(s, 0, sizeof(*s));
	}
	if (n == 7) {
		un = !un;
		six = 0;
	}
	if (n == 9)
		return sizeof(*a);
	if (un) {
		u->sun_family = AF_UNIX;
		if (n == 4)
			return 2;
		if (n < 2)
			sprintf(u->sun_path, "s%d", n);
		else if (n == 5)
			strcpy(u->sun_path, "nobody");
		else if (n == 6)
			strcpy(u->sun_path, "no/such");
		else {
			sprintf(u->sun_path + 1, "%s-n%d", w.where, n);
			return 2 + 1 + strlen(u->sun_path + 1);
		}
		return n == 8 ? 1 : 2 + strlen(u->sun_path) + 1;
	}
	if (six) {
		b->sin6_family = AF_INET6;
		b->sin6_addr = n == 3 ? in6addr_any : in6addr_loopback;
		b->sin6_port = htons(n < 4 ? w.base + n : n == 4 ? 0 : 9);
		if (n == 6)
			inet_pton(AF_INET6, "2001:db8::1", &b->sin6_addr);
		return n == 8 ? 12 : sizeof(*b);
	}
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = htonl(n == 3 ? INADDR_ANY : n == 2 ?
				   INADDR_LOOPBACK + 1 : INADDR_LOOPBACK);
	a->sin_port = htons(n < 4 ? w.base + n : n == 4 ? 0 : 9);
	if (n == 6)
		a->sin_addr.s_addr = htonl(0xc0000201);	/* 192.0.2.1 */
	return n == 8 ? 8 : sizeof(*a);
}

/* ------------------------------------------------------------------ */
/* The steps.								*/

static int a[ARGS], n_args, step_number;

static const struct {
	int family, type, protocol, kind;
} sorts[] = {
	{ AF_INET, SOCK_STREAM, 0, TCP4 }, { AF_INET, SOCK_DGRAM, 0, UDP4 },
	{ AF_UNIX, SOCK_STREAM, 0, UNIX_STREAM },
	{ AF_INET6, SOCK_STREAM, 0, TCP6 }, { AF_INET6, SOCK_DGRAM, 0, UDP6 },
	{ AF_UNIX, SOCK_DGRAM, 0, UNIX_DGRAM },
	{ AF_UNIX, SOCK_SEQPACKET, 0, UNIX_SEQ },
	{ AF_NETLINK, SOCK_RAW, 0, NETLINK_ },
	{ AF_NETLINK, SOCK_DGRAM, NETLINK_KOBJECT_UEVENT, NETLINK_ },
	{ AF_INET, SOCK_RAW, IPPROTO_ICMP, RAW4 },
	{ AF_INET, SOCK_RDM, 0, STRANGE },
	{ AF_INET, SOCK_STREAM, IPPROTO_UDP, STRANGE },
	{ AF_INET, SOCK_RAW, 0, STRANGE }, { AF_INET, 77, 0, STRANGE },
	{ 255, SOCK_STREAM, 0, STRANGE }, { -1, SOCK_STREAM, 0, STRANGE },
	{ AF_UNIX, SOCK_RAW, 0, UNIX_DGRAM },
	{ AF_UNIX, SOCK_STREAM, 5, STRANGE },
	{ AF_INET, SOCK_DGRAM | 0x10000, 0, STRANGE },
};
#define SORTS	((int)(sizeof(sorts) / sizeof(sorts[0])))

static const int socket_flags[] = {
	SOCK_NONBLOCK, SOCK_NONBLOCK | SOCK_CLOEXEC, 0, SOCK_CLOEXEC,
};

static void op_socket(void)
{
	int n = a[0] % SORTS;

	learn(result(socket(sorts[n].family, sorts[n].type |
			    socket_flags[a[1] & 3], sorts[n].protocol)),
	      sorts[n].kind);
}

static void op_socketpair(void)
{
	static const int of[] = { 2, 5, 6, 0, 1, 14, 16 };
	int n = of[a[0] % 7], fd[2];

	if (result(socketpair(sorts[n].family, sorts[n].type |
			      socket_flags[a[1] & 3], 0, fd)))
		return;
	say(" %d %d", fd[0], fd[1]);
	learn(fd[0], sorts[n].kind);
	learn(fd[1], sorts[n].kind);
}

/* A connected pair over the loopback: what few random programs come to. */
static void op_connected(void)
{
	static const int of[] = { 0, 3, 1, 4 };
	int n = of[a[0] & 3], kind = sorts[n].kind, fd[3] = { -1, -1, -1 }, i;
	struct sockaddr_storage s[2];
	socklen_t size;
	int stream = kind == TCP4 || kind == TCP6;

	for (i = 0; i < 2; i++) {
		size = address(&s[i], kind, 4);
		fd[i] = result(socket(sorts[n].family, sorts[n].type, 0));
		if (fd[i] < 0)
			goto fail;
		if ((!i || !stream) && bind(fd[i], (void *)&s[i], size))
			goto fail;
		size = sizeof(s[i]);
		getsockname(fd[i], (void *)&s[i], &size);
	}
	size = kind == TCP6 || kind == UDP6 ? sizeof(struct sockaddr_in6) :
	       sizeof(struct sockaddr_in);
	if (stream) {
		if (listen(fd[0], 5) || connect(fd[1], (void *)&s[0], size))
			goto fail;
		fd[2] = accept4(fd[0], NULL, NULL, SOCK_NONBLOCK);
		close(fd[0]);
		fd[0] = fd[2];
	} else if (connect(fd[1], (void *)&s[0], size) ||
		   connect(fd[0], (void *)&s[1], size)) {
		goto fail;
	}
	fcntl(fd[0], F_SETFL, O_RDWR | O_NONBLOCK);
	fcntl(fd[1], F_SETFL, O_RDWR | O_NONBLOCK);
	learn(fd[0], kind);
	learn(fd[1], kind);
	say(" %d %d", fd[0], fd[1]);
	return;
fail:
	say(" %s", strerrorname_np(errno));
	close(fd[0]);
	close(fd[1]);
}

/* A client, and a listener that it waits for. */
static void op_listening(void)
{
	static const int of[] = { 0, 3, 2, 6 };
	int n = of[a[0] & 3], kind = sorts[n].kind, fd[2];
	struct sockaddr_storage s;
	socklen_t size = address(&s, kind, M(kind) & UNIXES ? 4 + a[1] % 2 : 4);

	if (M(kind) & UNIXES) {
		unlink("l");
		size = 4;
		strcpy(((struct sockaddr_un *)&s)->sun_path, "l");
	}
	fd[0] = socket(sorts[n].family, sorts[n].type | SOCK_NONBLOCK, 0);
	fd[1] = socket(sorts[n].family, sorts[n].type | SOCK_NONBLOCK, 0);
	if (result(bind(fd[1], (void *)&s, size)) || listen(fd[1], 5)) {
		close(fd[0]);
		close(fd[1]);
		return;
	}
	size = sizeof(s);
	getsockname(fd[1], (void *)&s, &size);
	result(connect(fd[0], (void *)&s, size));
	say(" %d %d", fd[0], fd[1]);
	learn(fd[0], kind);
	learn(fd[1], kind);
}

static void op_pipe(void)
{
	static const int flags[] = {
		O_NONBLOCK, 0, O_CLOEXEC, O_NONBLOCK | O_DIRECT,
	};
	int fd[2];

	if (result(pipe2(fd, flags[a[0] & 3])))
		return;
	say(" %d %d", fd[0], fd[1]);
	learn(fd[0], PIPE_R);
	learn(fd[1], PIPE_W);
}

static void op_eventfd(void)
{
	learn(result(eventfd(a[0] % 4, EFD_NONBLOCK |
			     (a[1] & 1 ? EFD_SEMAPHORE : 0) |
			     (a[1] & 2 ? EFD_CLOEXEC : 0))), EVENT);
}

static void op_timerfd(void)
{
	struct itimerspec soon = { .it_value.tv_nsec = 1 };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);

	learn(result(fd), TIMER);
	if (a[0] & 1)
		timerfd_settime(fd, 0, &soon, NULL);
}

static void op_settime(void)
{
	struct itimerspec new = { 0 }, old;
	int fd = choose(M(TIMER), a[0]);

	if (a[1] & 1)
		new.it_value.tv_nsec = 1;
	if (a[1] & 2)
		new.it_value.tv_sec = 1000;
	if (!result(timerfd_settime(fd, 0, &new, &old)))
		say(" %d", old.it_value.tv_sec > 0);
}

static void op_memfd(void)
{
	learn(result(memfd_create("m", a[0] & 1 ? MFD_CLOEXEC : 0)), MEMORY);
}

static void op_open(void)
{
	static const char *const name[] = {
		"f0", "f1", "f2", "/dev/null", "/dev/zero", ".", "missing", "s0",
	};
	static const int flags[] = {
		O_RDWR | O_CREAT, O_RDONLY, O_WRONLY | O_CREAT | O_APPEND,
		O_RDWR | O_CREAT | O_TRUNC, O_RDWR | O_CREAT | O_EXCL,
		O_RDONLY | O_NONBLOCK | O_CLOEXEC, O_PATH,
		O_RDONLY | O_DIRECTORY,
	};
	int n = a[0] & 7, f = flags[a[1] & 7];

	if (n >= 6)
		f &= ~(O_CREAT | O_EXCL);
	if (n == 3 || n == 4)
		f &= ~(O_EXCL | O_CREAT | O_TRUNC);
	learn(result(open(name[n], f, 0600)), f & O_PATH ? STRANGE : n < 3 ?
	      FILE_ : n < 5 ? NULL_ : DIRECTORY);
}

static void op_epoll(void)
{
	learn(result(epoll_create1(a[0] & 1 ? EPOLL_CLOEXEC : 0)), EPOLL);
}

static void op_bind(void)
{
	struct sockaddr_storage s;
	int fd = choose(INET | UNIXES, a[0]);
	socklen_t n = address(&s, kind_of(fd), a[1]);

	result(bind(fd, (void *)&s, n));
}

static void op_listen(void)
{
	result(listen(choose(STREAMS, a[0]), a[1] % 6));
}

static void op_connect(void)
{
	struct sockaddr_storage s;
	int fd = choose(INET | UNIXES, a[0]);
	socklen_t n = address(&s, kind_of(fd), a[1]);

	result(WITH(fd, connect(fd, (void *)&s, n)));
}

static void op_accept(void)
{
	struct sockaddr_storage s;
	socklen_t n = sizeof(s);
	int fd = choose(STREAMS, a[0]), flags = socket_flags[a[1] & 3];
	int kind = kind_of(fd), got_fd;

	memset(&s, 0, sizeof(s));
	if (a[1] & 4)
		got_fd = WITH(fd, accept(fd, NULL, NULL));
	else if (a[1] & 8)
		got_fd = WITH(fd, accept4(fd, (void *)&s, &n, 12345));
	else
		got_fd = WITH(fd, accept4(fd, (void *)&s, &n, flags));
	learn(result(got_fd), kind);
	if (got_fd >= 0 && !(a[1] & 12))
		show_address(&s, n, sizeof(s));
}

static const int sizes[] = { 1, 10, 0, 100, 1000, 4096, 3, 17 };

static const int send_flags[] = {
	MSG_NOSIGNAL, 0, MSG_DONTWAIT, MSG_OOB | MSG_NOSIGNAL, MSG_MORE,
	MSG_DONTROUTE, MSG_EOR, MSG_NOSIGNAL | MSG_DONTWAIT,
};

static void op_send(void)
{
	int fd = choose(SOCKETS & ~M(NETLINK_), a[0]);

	result(WITH(fd, send(fd, data, sizes[a[1] & 7],
			     send_flags[a[2] & 7])));
}

static void op_sendto(void)
{
	struct sockaddr_storage s;
	int fd = choose(DATAGRAMS, a[0]);
	socklen_t n = address(&s, kind_of(fd), a[1]);

	result(WITH(fd, sendto(fd, data, sizes[a[2] & 7], MSG_NOSIGNAL,
			       (void *)&s, n)));
}

static const int recv_flags[] = {
	0, MSG_DONTWAIT, MSG_PEEK, MSG_TRUNC, MSG_OOB, MSG_WAITALL | MSG_DONTWAIT,
	MSG_PEEK | MSG_TRUNC, MSG_ERRQUEUE,
};

static int is_tcp(int fd)
{
	return kind_of(fd) == TCP4 || kind_of(fd) == TCP6;
}

/*
 * TCP throws away what MSG_TRUNC takes; the buffer says nothing then.  And ICMP
 * holds the number of a packet.
 */
static int says_nothing(int fd, int flags)
{
	return ((flags & MSG_TRUNC) && is_tcp(fd)) || kind_of(fd) == RAW4;
}

static long at_most(long n, long max)
{
	return n < max ? n : max;
}

static void op_recv(void)
{
	int fd = choose(SOCKETS, a[0]), flags = recv_flags[a[2] & 7];
	long n = WITH(fd, recv(fd, got, sizes[a[1] & 7], flags));

	result(n);
	if (!says_nothing(fd, flags))
		show_data(got, at_most(n, sizes[a[1] & 7]));
}

static void op_recvfrom(void)
{
	struct sockaddr_storage s;
	socklen_t size = sizeof(s), room;
	int fd = choose(DATAGRAMS, a[0]), flags = recv_flags[a[2] & 7];
	long n;

	if (a[3] & 1)
		size = 6;
	room = size;
	memset(&s, 0, sizeof(s));
	n = WITH(fd, recvfrom(fd, got, sizes[a[1] & 7], flags, (void *)&s,
			      &size));
	result(n);
	if (!says_nothing(fd, flags))
		show_data(got, at_most(n, sizes[a[1] & 7]));
	if (n >= 0)
		show_address(&s, size, room);
}

#define READERS	(SOCKETS | M(PIPE_R) | M(EVENT) | M(TIMER) | FILES | M(NULL_))
#define WRITERS	((SOCKETS & ~M(NETLINK_)) | M(PIPE_W) | M(EVENT) | FILES | \
		 M(NULL_))

static void op_read(void)
{
	int fd = choose(READERS, a[0]), size = sizes[a[1] & 7];
	long n;

	if (kind_of(fd) == EVENT || kind_of(fd) == TIMER)
		size = size < 8 ? 4 : 8;
	n = WITH(fd, read(fd, got, size));
	result(n);
	if (!says_nothing(fd, 0))
		show_data(got, n);
}

static void op_write(void)
{
	int fd = choose(WRITERS, a[0]), size = sizes[a[1] & 7];
	uint64_t n = a[1] % 4;

	if (kind_of(fd) == EVENT)
		result(WITH(fd, write(fd, &n, size < 4 ? 4 : 8)));
	else
		result(WITH(fd, write(fd, data, size)));
}

static int vector(struct iovec *v, char *p, int how)
{
	int i, n = how % 5;

	for (i = 0; i < n; i++) {
		v[i].iov_base = p;
		v[i].iov_len = sizes[(how / 5 + i) & 7] / (i + 1);
		p += v[i].iov_len;
	}
	return n;
}

static void op_readv(void)
{
	struct iovec v[5];
	int fd = choose(READERS & ~(M(EVENT) | M(TIMER)), a[0]);
	int k = vector(v, got, a[1]);
	long n = WITH(fd, a[2] & 1 ? preadv(fd, v, k, a[2]) : a[2] & 2 ?
		      preadv2(fd, v, k, -1, 0) : readv(fd, v, k));

	result(n);
	if (!says_nothing(fd, 0))
		show_data(got, n);
}

static void op_writev(void)
{
	struct iovec v[5];
	int fd = choose(WRITERS & ~M(EVENT), a[0]), k = vector(v, data, a[1]);

	result(WITH(fd, a[2] & 1 ? pwritev(fd, v, k, a[2]) : a[2] & 2 ?
		    pwritev2(fd, v, k, -1, 0) : writev(fd, v, k)));
}

static void op_pread(void)
{
	int fd = choose(FILES, a[0]);
	long n = WITH(fd, pread(fd, got, sizes[a[1] & 7], a[2]));

	result(n);
	show_data(got, n);
}

static void op_pwrite(void)
{
	int fd = choose(FILES, a[0]);

	result(WITH(fd, pwrite(fd, data, sizes[a[1] & 7], a[2])));
}

/* To the library kernel's files a limit of ukl applies: see test_fuzz.py. */
static int passable(int fd)
{
	int kind = kind_of(fd);

	return !(M(kind) & (INET | M(EPOLL) | M(STRANGE) | M(NETLINK_)));
}

static void op_sendmsg(void)
{
	struct iovec v[5];
	struct sockaddr_storage s;
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr h;
	} u = { 0 };
	int fd = choose(UNIXES | M(UDP4) | M(TCP4) | M(UDP6), a[0]), pass;
	struct msghdr m = { .msg_iov = v, .msg_iovlen = vector(v, data, a[1]) };

	if (a[2] & 1) {
		m.msg_name = &s;
		m.msg_namelen = address(&s, kind_of(fd), a[3]);
	}
	pass = choose(ANY, a[4] & 15);
	if ((a[2] & 2) && (M(kind_of(fd)) & UNIXES) && passable(pass)) {
		m.msg_control = u.bytes;
		m.msg_controllen = CMSG_LEN(sizeof(int));
		u.h.cmsg_level = SOL_SOCKET;
		u.h.cmsg_type = SCM_RIGHTS;
		u.h.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&u.h), &pass, sizeof(pass));
		say(" with %d", pass);
	}
	result(WITH(fd, sendmsg(fd, &m, MSG_NOSIGNAL)));
}

static void show_control(struct msghdr *m)
{
	struct cmsghdr *h;
	struct stat st;
	int fd;

	for (h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		say(" {%d %d %u", h->cmsg_level, h->cmsg_type,
		    (unsigned int)h->cmsg_len);
		if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS) {
			memcpy(&fd, CMSG_DATA(h), sizeof(fd));
			say(" fd %d cloexec %d", fd, fcntl(fd, F_GETFD));
			learn(fd, STRANGE);
			if (!fstat(fd, &st)) {
				static const struct { int mode, kind; } of[] = {
					{ S_IFIFO, PIPE_R }, { S_IFREG, FILE_ },
					{ S_IFSOCK, UNIX_STREAM },
				};
				int i;

				for (i = 0; i < 3; i++)
					if ((st.st_mode & S_IFMT) ==
					    (mode_t)of[i].mode)
						learn(fd, of[i].kind);
			}
		}
		say("}");
	}
}

static void op_recvmsg(void)
{
	struct iovec v[5];
	struct sockaddr_storage s;
	union {
		char bytes[256];
		struct cmsghdr h;
	} u;
	int fd = choose(UNIXES | M(UDP4) | M(UDP6) | M(TCP4), a[0]);
	int flags = recv_flags[a[2] & 7], i;
	struct msghdr m = { .msg_iov = v, .msg_iovlen = vector(v, got, a[1]),
		.msg_name = &s, .msg_namelen = sizeof(s),
		.msg_control = u.bytes, .msg_controllen = sizeof(u) };
	long n, room = 0;

	memset(&s, 0, sizeof(s));
	if (a[3] & 1)
		m.msg_controllen = 0;
	n = WITH(fd, recvmsg(fd, &m, flags | (a[3] & 2 ? MSG_CMSG_CLOEXEC : 0)));
	result(n);
	if (n < 0)
		return;
	for (i = 0; i < (int)m.msg_iovlen; i++)
		room += v[i].iov_len;
	if (!says_nothing(fd, flags))
		show_data(got, at_most(n, room));
	say(" flags %x", m.msg_flags & ~MSG_CMSG_CLOEXEC);
	if (!m.msg_namelen)
		say(" no name");
	else
		show_address(&s, m.msg_namelen, sizeof(s));
	show_control(&m);
}

static void op_sendmmsg(void)
{
	struct iovec v[3];
	struct mmsghdr m[3] = { 0 };
	int fd = choose(DATAGRAMS | STREAMS, a[0]), i, n = a[1] % 4;
	long ret;

	for (i = 0; i < 3; i++) {
		v[i].iov_base = data + i;
		v[i].iov_len = sizes[(a[2] + i) & 7];
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	ret = result(WITH(fd, sendmmsg(fd, m, n, MSG_NOSIGNAL)));
	for (i = 0; i < ret; i++)
		say(" %u", m[i].msg_len);
}

static void op_recvmmsg(void)
{
	struct timespec zero = { 0 };
	struct iovec v[3];
	struct mmsghdr m[3] = { 0 };
	int fd = choose(DATAGRAMS | STREAMS, a[0]), i, n = a[1] % 4;
	long ret;

	for (i = 0; i < 3; i++) {
		v[i].iov_base = got + 4096 * i;
		v[i].iov_len = sizes[(a[2] + i) & 7];
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	ret = result(recvmmsg(fd, m, n, MSG_DONTWAIT, a[3] & 1 ? &zero : NULL));
	for (i = 0; i < ret; i++) {
		say(" %u/%x", m[i].msg_len, m[i].msg_hdr.msg_flags);
		if (!says_nothing(fd, 0))
			show_data(v[i].iov_base, m[i].msg_len);
	}
}

static void op_shutdown(void)
{
	result(shutdown(choose(SOCKETS, a[0]), a[1] % 4));
}

static void op_close(void)
{
	int fd = choose(ANY, a[0]);

	result(close(fd));
	learn(fd, NOTHING);
}

static void op_dup(void)
{
	int fd = choose(ANY, a[0]), kind = kind_of(fd);

	learn(result(dup(fd)), kind);
}

static void op_dup2(void)
{
	int fd = choose(ANY, a[0]), kind = kind_of(fd), to = 3 + a[1] % 40;

	say(" %d %d", fd, to);
	learn(result(dup2(fd, to)), kind);
}

static void op_dup3(void)
{
	int fd = choose(ANY, a[0]), kind = kind_of(fd), to = 3 + a[1] % 40;

	say(" %d %d", fd, to);
	learn(result(dup3(fd, to, a[2] & 1 ? O_CLOEXEC : a[2] & 2 ? 4 : 0)),
	      kind);
}

static void op_dupfd(void)
{
	int fd = choose(ANY, a[0]), kind = kind_of(fd);
	int cmd = a[2] & 1 ? F_DUPFD_CLOEXEC : F_DUPFD;

	learn(result(fcntl(fd, cmd, a[1] == 39 ? -1 : 3 + a[1] % 40)), kind);
}

static void op_getfd(void)
{
	result(fcntl(choose(ANY, a[0]), F_GETFD));
}

static void op_setfd(void)
{
	result(fcntl(choose(ANY, a[0]), F_SETFD, a[1] & 3));
}

static void op_getfl(void)
{
	long n = fcntl(choose(ANY, a[0]), F_GETFL);

	result(n == -1 ? n : n & ~O_LARGEFILE & ~0100000);
}

static void op_setfl(void)
{
	static const int flags[] = {
		O_NONBLOCK, 0, O_NONBLOCK | O_APPEND, O_RDWR | O_NONBLOCK,
	};

	int fd = choose(ANY, a[0]);
	/* Sockets that append: doc/limits.md. */
	int mask = M(kind_of(fd)) & SOCKETS ? ~O_APPEND : ~0;

	result(fcntl(fd, F_SETFL, flags[a[1] & 3] & mask));
}

static void op_fcntl(void)
{
	struct f_owner_ex o = { F_OWNER_PID, getpid() };
	struct flock l = { .l_type = a[2] & 1 ? F_WRLCK : F_RDLCK };
	int fd = choose(ANY, a[0]);
	long n;

	/* Locks are of inodes, and some have one for the whole machine. */
	if ((M(kind_of(fd)) & (M(EVENT) | M(TIMER) | M(EPOLL) | M(NULL_) |
			       M(STRANGE))) &&
	    (a[1] % 8 == 2 || a[1] % 8 == 3 || a[1] % 8 == 7))
		return;
	switch (a[1] % 8) {
	case 0:
		n = result(fcntl(fd, F_SETOWN, getpid()));
		if (!n)
			say(" %d", fcntl(fd, F_GETOWN) == getpid());
		break;
	case 1:
		n = result(fcntl(fd, F_SETOWN_EX, &o));
		if (!n && !fcntl(fd, F_GETOWN_EX, &o))
			say(" %d %d", o.type, o.pid == getpid());
		break;
	case 2:
		result(fcntl(fd, F_SETLK, &l));
		break;
	case 3:
		result(fcntl(fd, F_GETLK, &l));
		say(" %d", l.l_type);
		break;
	case 4:
		result(fcntl(fd, 4242, 1));
		break;
	case 5:
		result(fcntl(fd, F_GETPIPE_SZ));
		break;
	case 6:
		result(fcntl(fd, F_SETSIG, a[2] & 1 ? SIGUSR1 : 0));
		say(" %d", fcntl(fd, F_GETSIG));
		break;
	case 7:
		result(flock(fd, a[2] & 1 ? LOCK_EX | LOCK_NB : LOCK_UN));
		break;
	}
}

static void op_ioctl(void)
{
	static const struct { unsigned long cmd; int show; } of[] = {
		{ FIONREAD, 1 }, { FIONBIO, 0 }, { FIOCLEX, 0 }, { FIONCLEX, 0 },
		{ SIOCATMARK, 1 }, { TCGETS, 0 }, { 0x1234, 0 }, { FIONBIO, 0 },
		{ TIOCGWINSZ, 0 }, { SIOCGPGRP, 2 }, { FIOASYNC, 0 },
		{ SIOCINQ, 1 }, { TIOCGPGRP, 0 },
	};
	int fd = choose(ANY, a[0]), n = a[1] % 13;
	int room[32] = { a[2] & 1 };
	int kind = kind_of(fd);

	if (of[n].cmd == FIONBIO && n == 1)
		room[0] = 1;
	if (of[n].cmd == FIONREAD && (kind == DIRECTORY || kind == STRANGE))
		return;
	say(" %lx", of[n].cmd);
	if (result(ioctl(fd, of[n].cmd, room)))
		return;
	if (of[n].show == 1)
		say(" %d", room[0]);
	if (of[n].show == 2)
		say(" %d", room[0] == getpid());
}

static const struct option {
	int level, name, shows;
} options[] = {
	{ SOL_SOCKET, SO_TYPE, 1 }, { SOL_SOCKET, SO_ERROR, 1 },
	{ SOL_SOCKET, SO_REUSEADDR, 1 }, { SOL_SOCKET, SO_KEEPALIVE, 1 },
	{ SOL_SOCKET, SO_BROADCAST, 1 }, { SOL_SOCKET, SO_LINGER, 1 },
	{ SOL_SOCKET, SO_RCVBUF, 1 }, { SOL_SOCKET, SO_SNDBUF, 1 },
	{ SOL_SOCKET, SO_RCVTIMEO, 1 }, { SOL_SOCKET, SO_SNDTIMEO, 1 },
	{ SOL_SOCKET, SO_ACCEPTCONN, 1 }, { SOL_SOCKET, SO_DOMAIN, 1 },
	{ SOL_SOCKET, SO_PROTOCOL, 1 }, { SOL_SOCKET, SO_REUSEPORT, 1 },
	{ SOL_SOCKET, SO_OOBINLINE, 1 }, { SOL_SOCKET, SO_PRIORITY, 1 },
	{ SOL_SOCKET, SO_RCVLOWAT, 1 }, { SOL_SOCKET, SO_PASSCRED, 1 },
	{ SOL_SOCKET, SO_PEERCRED, 2 }, { SOL_SOCKET, SO_BINDTODEVICE, 1 },
	{ SOL_SOCKET, SO_MARK, 1 }, { SOL_SOCKET, SO_DONTROUTE, 1 },
	{ SOL_SOCKET, SO_SNDLOWAT, 1 }, { SOL_SOCKET, 9999, 1 },
	{ IPPROTO_TCP, TCP_NODELAY, 1 }, { IPPROTO_TCP, TCP_CORK, 1 },
	{ IPPROTO_TCP, TCP_KEEPIDLE, 1 }, { IPPROTO_TCP, TCP_KEEPINTVL, 1 },
	{ IPPROTO_TCP, TCP_KEEPCNT, 1 }, { IPPROTO_TCP, TCP_DEFER_ACCEPT, 0 },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, 1 }, { IPPROTO_TCP, TCP_INFO, 3 },
	{ IPPROTO_TCP, TCP_CONGESTION, 0 }, { IPPROTO_TCP, TCP_LINGER2, 1 },
	{ IPPROTO_TCP, TCP_SYNCNT, 1 }, { IPPROTO_TCP, 9999, 1 },
	{ IPPROTO_IP, IP_TTL, 1 }, { IPPROTO_IP, IP_TOS, 1 },
	{ IPPROTO_IP, IP_PKTINFO, 1 }, { IPPROTO_IP, IP_RECVERR, 1 },
	{ IPPROTO_IP, IP_MULTICAST_TTL, 1 }, { IPPROTO_IP, IP_MULTICAST_LOOP, 1 },
	{ IPPROTO_IP, IP_RECVTTL, 1 }, { IPPROTO_IP, IP_MTU_DISCOVER, 1 },
	{ IPPROTO_IP, IP_FREEBIND, 1 }, { IPPROTO_IP, IP_HDRINCL, 1 },
	{ IPPROTO_IPV6, IPV6_V6ONLY, 1 }, { IPPROTO_IPV6, IPV6_UNICAST_HOPS, 1 },
	{ IPPROTO_IPV6, IPV6_RECVPKTINFO, 1 }, { IPPROTO_IPV6, IPV6_TCLASS, 1 },
	{ IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 1 }, { IPPROTO_UDP, 1, 1 },
	{ 12345, 1, 1 },
};
#define OPTIONS	((int)(sizeof(options) / sizeof(options[0])))

static void op_getsockopt(void)
{
	const struct option *o = &options[a[1] % OPTIONS];
	static const int room[] = { 4, 1, 0, 64, 8, 16 };
	char value[256] = { 0 };
	socklen_t n = room[a[2] % 6];
	int fd = choose(SOCKETS, a[0]), i;

	if (o->name == TCP_INFO && o->level == IPPROTO_TCP)
		n = 64;
	if (a[2] % 6 == 0 && (o->name == SO_LINGER || o->shows == 2))
		n = 16;
	say(" %d/%d", o->level, o->name);
	if (result(getsockopt(fd, o->level, o->name, value, &n)))
		return;
	/* TCP tunes them, each kernel in its way. */
	if (o->level == SOL_SOCKET && is_tcp(fd) &&
	    (o->name == SO_RCVBUF || o->name == SO_SNDBUF))
		return;
	if (o->shows == 3) {
		say(" state %d", value[0]);
	} else if (o->shows == 2) {
		int v[3];

		memcpy(v, value, sizeof(v));
		say(" %u", n);
		if (n >= 12)
			say(" %d %d %d", v[0] == getpid() ? 1 : v[0] ? 2 : 0,
			    v[1] == (int)getuid() ? 0 : v[1],
			    v[2] == (int)getgid() ? 0 : v[2]);
	} else if (o->shows) {
		say(" %u:", n);
		for (i = 0; i < (int)n && i < 16; i++)
			say("%02x", (unsigned char)value[i]);
	}
}

static void op_setsockopt(void)
{
	const struct option *o = &options[a[1] % OPTIONS];
	static const int values[] = { 1, 0, 5, 10000, -1, 300, 65536, 2 };
	static const int room[] = { 4, 1, 0, 8, 16 };
	struct timeval tv = { 0, 20000 };
	struct linger l = { a[2] & 1, a[2] & 2 };
	int fd = choose(SOCKETS, a[0]), v[4] = { values[a[2] & 7] };
	socklen_t n = room[a[3] % 5];
	const void *p = v;

	if (o->level == SOL_SOCKET && !(a[3] % 5)) {
		if (o->name == SO_RCVTIMEO || o->name == SO_SNDTIMEO) {
			p = &tv;
			n = sizeof(tv);
		}
		if (o->name == SO_LINGER) {
			p = &l;
			n = sizeof(l);
		}
		if (o->name == SO_BINDTODEVICE) {
			p = a[2] & 1 ? "lo" : a[2] & 2 ? "none0" : "";
			n = strlen(p);
		}
	}
	say(" %d/%d", o->level, o->name);
	result(setsockopt(fd, o->level, o->name, p, n));
}

static void name_of(int peer)
{
	struct sockaddr_storage s;
	static const socklen_t room[] = { sizeof(s), 2, 8, 0 };
	socklen_t n = room[a[1] & 3], had = n;
	int fd = choose(SOCKETS, a[0]), ret;

	memset(&s, 0, sizeof(s));
	ret = peer ? getpeername(fd, (void *)&s, &n) :
	      getsockname(fd, (void *)&s, &n);
	if (!result(ret))
		show_address(&s, n, had);
}

static void op_getsockname(void)
{
	name_of(0);
}

static void op_getpeername(void)
{
	name_of(1);
}

static const short events_of[] = {
	POLLIN, POLLOUT, POLLIN | POLLOUT, 0, POLLPRI, POLLIN | POLLRDHUP,
	POLLRDNORM | POLLWRNORM, POLLIN | POLLPRI | POLLOUT | POLLRDHUP,
};

/* ms, then pairs of descriptor and events */
static int poll_set(struct pollfd *p)
{
	int i, n = (n_args - 1) / 2;

	for (i = 0; i < n; i++) {
		p[i].fd = choose(ANY, a[1 + 2 * i]);
		p[i].events = events_of[a[2 + 2 * i] & 7];
		p[i].revents = 0x7777;
	}
	return n;
}

static void show_set(struct pollfd *p, int n)
{
	int i;

	for (i = 0; i < n; i++)
		say(" %d:%x", p[i].fd, p[i].revents & 0xffff);
}

static void op_poll(void)
{
	struct pollfd p[ARGS];
	int n = poll_set(p);

	if (result(poll(p, n, a[0] & 7 ? 0 : 2)) >= 0)
		show_set(p, n);
}

static void op_ppoll(void)
{
	struct timespec t = { 0, a[0] & 7 ? 0 : 2000000 };
	struct pollfd p[ARGS];
	sigset_t mask;
	int n = poll_set(p);

	sigemptyset(&mask);
	if (result(ppoll(p, n, &t, a[0] & 8 ? &mask : NULL)) >= 0) {
		show_set(p, n);
		say(" left %d", t.tv_nsec || t.tv_sec);
	}
}

/* ms, then pairs of descriptor and the sets it is in */
static void op_select(void)
{
	struct timeval tv = { 0, a[0] & 7 ? 0 : 2000 };
	struct timespec ts = { 0, a[0] & 7 ? 0 : 2000000 };
	int n = (n_args - 1) / 2, i, fd, max = 0;
	fd_set set[3];

	for (i = 0; i < 3; i++)
		FD_ZERO(&set[i]);
	for (i = 0; i < n; i++) {
		fd = choose(ANY, a[1 + 2 * i]);
		if (fd < 0)
			continue;
		/* Closed ones far beyond all open ones: doc/limits.md. */
		if (fd >= FDS)
			fd = FDS - 1;
		if (fd >= max)
			max = fd + 1;
		if (a[2 + 2 * i] & 1)
			FD_SET(fd, &set[0]);
		if (a[2 + 2 * i] & 2)
			FD_SET(fd, &set[1]);
		if (a[2 + 2 * i] & 4)
			FD_SET(fd, &set[2]);
	}
	i = a[0] & 8 ? pselect(max, &set[0], &set[1], &set[2], &ts, NULL) :
	    select(max, &set[0], a[0] & 16 ? NULL : &set[1], &set[2], &tv);
	if (result(i) < 0)
		return;
	for (fd = 0; fd < max; fd++) {
		int in = (FD_ISSET(fd, &set[0]) ? 1 : 0) |
			 (FD_ISSET(fd, &set[1]) && !(a[0] & 16) ? 2 : 0) |
			 (FD_ISSET(fd, &set[2]) ? 4 : 0);

		if (in)
			say(" %d:%d", fd, in);
	}
}

static void op_epoll_ctl(void)
{
	static const uint32_t events[] = {
		EPOLLIN, EPOLLOUT, EPOLLIN | EPOLLOUT, EPOLLIN | EPOLLET,
		EPOLLIN | EPOLLOUT | EPOLLET, EPOLLIN | EPOLLONESHOT,
		EPOLLIN | EPOLLRDHUP, 0, EPOLLIN | EPOLLEXCLUSIVE,
		EPOLLPRI | EPOLLIN, EPOLLOUT | EPOLLONESHOT,
	};
	int ep = choose(M(EPOLL), a[0]), fd = choose(ANY & ~M(EPOLL), a[2]);
	struct epoll_event e = {
		.events = events[a[3] % 11], .data.u32 = fd,
	};

	say(" %d %d", ep, fd);
	result(epoll_ctl(ep, (int[]){ EPOLL_CTL_ADD, EPOLL_CTL_ADD,
			 EPOLL_CTL_MOD, EPOLL_CTL_DEL, EPOLL_CTL_ADD, 77
			 }[a[1] % 6], fd, a[1] % 6 == 4 && a[3] & 1 ? NULL :
			 &e));
}

/* An epoll with several descriptors in it. */
static void op_watch(void)
{
	static const uint32_t extra[] = { 0, 0, EPOLLET, EPOLLONESHOT };
	int ep = epoll_create1(0), i, fd;
	struct epoll_event e;

	result(ep);
	for (i = 1; i + 1 < n_args; i += 2) {
		fd = choose(ANY & ~M(EPOLL), a[i]);
		e.events = (uint16_t)events_of[a[i + 1] & 7] |
			   extra[(a[0] + i) & 3];
		e.data.u64 = fd;
		say(" %d", fd);
		result(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	}
	learn(ep, EPOLL);
}

/*
 * The order is nobody's business, and the host's part of a mixed set may come
 * with a later call: see test_fuzz.py.
 */
static void op_epoll_wait(void)
{
	int ep = choose(M(EPOLL), a[0]), i, k, n, round, fd;
	struct epoll_event e[FDS * 2];
	uint32_t at[2000] = { 0 };

	for (round = 0; round < 8; round++) {
		n = epoll_wait(ep, e, a[1] == 7 ? 0 : FDS * 2,
			       !round && !a[1] ? 2 : 0);
		if (!round && n < 0) {
			result(n);
			return;
		}
		for (i = 0; i < n; i++) {
			k = e[i].data.u32;
			at[k >= 0 && k < 2000 ? k : 1999] |= e[i].events;
		}
	}
	for (fd = 0; fd < 2000; fd++)
		if (at[fd])
			say(" %d:%x", fd, at[fd]);
}

static void op_sendfile(void)
{
	/* What ends before its time stays in a UDP socket of IPv6 until more is
	 * sent: doc/limits.md. */
	int out_fd = choose((STREAMS | M(PIPE_W)) & ~M(UDP6), a[0]);
	int in = choose(FILES, a[1]);
	off_t off = a[2] % 50;
	long n;

	n = WITH2(out_fd, in, sendfile(out_fd, in, a[3] & 1 ? &off : NULL,
				       sizes[a[2] & 7]));
	result(n);
	if (n >= 0 && (a[3] & 1))
		say(" at %ld", (long)off);
}

static void op_splice(void)
{
	int from_pipe = a[3] & 1;
	int in = choose(from_pipe ? M(PIPE_R) : READERS, a[0]);
	int to = choose(from_pipe ? WRITERS : M(PIPE_W), a[1]);
	loff_t off = 5;
	int with = a[3] & 4;

	result(WITH2(in, to, splice(in, with ? &off : NULL, to, NULL,
				    sizes[a[2] & 7],
				    a[3] & 2 ? SPLICE_F_NONBLOCK : 0)));
}

static void op_tee(void)
{
	int in = choose(M(PIPE_R), a[0]), to = choose(M(PIPE_W), a[1]);

	result(tee(in, to, sizes[a[2] & 7], SPLICE_F_NONBLOCK));
}

static void op_copy_range(void)
{
	int in = choose(FILES, a[0]), to = choose(FILES, a[1]);

	result(copy_file_range(in, NULL, to, NULL, sizes[a[2] & 7], 0));
}

static void op_lseek(void)
{
	result(lseek(choose(FILES, a[0]), a[1], a[2] % 4));
}

static void op_ftruncate(void)
{
	result(ftruncate(choose(FILES, a[0]), a[1] * 10));
}

static void op_fstat(void)
{
	struct stat st;

	if (!result(fstat(choose(ANY, a[0]), &st)))
		say(" %o", st.st_mode & S_IFMT);
}

static void op_misc(void)
{
	int fd = choose(SOCKETS, a[0]);
	void *p;

	switch (a[1] % 8) {
	case 0:
		result(fsync(fd));
		break;
	case 1:
		result(fchmod(fd, 0600));
		break;
	case 2:
		result(fchdir(kind_of(fd) == DIRECTORY ? 1000 : fd));
		break;
	case 3:
		say(" mmap");
		p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
		result(p == MAP_FAILED ? -1 : 0);
		if (p != MAP_FAILED)
			munmap(p, 4096);
		break;
	case 4:
		result(isatty(fd) ? 0 : -1);
		break;
	case 5:
		result(syscall(SYS_getdents64, fd, got, sizeof(got)) < 0 ? -1 : 0);
		break;
	case 6:
		result(posix_fadvise(fd, 0, 10, POSIX_FADV_NORMAL));
		break;
	case 7:
		result(fallocate(fd, 0, 0, 10));
		break;
	}
}

static void op_close_range(void)
{
	unsigned int first = 3 + a[0] % 40, last = first + a[1] % 12 - 1, fd;
	int flags = a[2] & 1 ? CLOSE_RANGE_CLOEXEC : a[2] & 2 ?
		    CLOSE_RANGE_UNSHARE : a[2] & 4 ? 1 << 7 : 0;

	if (a[2] & 8)
		last = ~0u;
	say(" %u %d", first, last);
	if (!result(close_range(first, last, flags)) && !(a[2] & 1))
		for (fd = first; fd < FDS && fd <= last; fd++)
			learn(fd, NOTHING);
}

static void op_limit(void)
{
	struct rlimit r;

	getrlimit(RLIMIT_NOFILE, &r);
	/* More than a set of poll() has. */
	r.rlim_cur = 10 + a[0];
	result(setrlimit(RLIMIT_NOFILE, &r));
}

/* What /proc says is open. */
static void op_list(void)
{
	char name[64], what[64];
	int fd, n;

	for (fd = 0; fd < FDS; fd++) {
		sprintf(name, "/proc/self/fd/%d", fd);
		n = readlink(name, what, sizeof(what) - 1);
		if (n < 0)
			continue;
		if (fd < 3)
			continue;
		what[n] = 0;
		n = strcspn(what, "[");
		say(" %d", fd);
		if (!strncmp(what, "socket:", 7) || !strncmp(what, "pipe:", 5))
			say("=%.*s", n, what);
	}
}

static void op_dirfd(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *d;
	char there[2000] = { 0 };
	int fd, own;

	if (!dir) {
		say(" %s", strerrorname_np(errno));
		return;
	}
	own = dirfd(dir);
	while ((d = readdir(dir)))
		if (d->d_name[0] != '.' && (fd = atoi(d->d_name)) < 2000)
			there[fd] = fd != own;
	closedir(dir);
	for (fd = 3; fd < 2000; fd++)
		if (there[fd])
			say(" %d", fd);
}

/* A null pointer and its like. */
static void op_fault(void)
{
	int fd = choose(SOCKETS | PIPES, a[0]);
	char *bad = (char *)16;
	socklen_t n = 16;

	switch (a[1] % 14) {
	case 0:
		result(WITH(fd, read(fd, bad, 4)));
		break;
	case 1:
		result(WITH(fd, write(fd, bad, 4)));
		break;
	case 2:
		result(WITH(fd, send(fd, bad, 4, MSG_NOSIGNAL)));
		break;
	case 3:
		result(bind(fd, (void *)bad, 16));
		break;
	case 4:
		result(WITH(fd, connect(fd, (void *)bad, 16)));
		break;
	case 5:
		result(getsockname(fd, (void *)bad, &n));
		break;
	case 6:
		result(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, bad, 4));
		break;
	case 7:
		result(getsockopt(fd, SOL_SOCKET, SO_TYPE, bad, &n));
		break;
	case 8:
		result(poll((void *)bad, 2, 0));
		break;
	case 9:
		result(WITH(fd, sendmsg(fd, (void *)bad, MSG_NOSIGNAL)));
		break;
	case 10:
		result(recvmsg(fd, (void *)bad, MSG_DONTWAIT));
		break;
	case 11:
		result(epoll_ctl(choose(M(EPOLL), 0), EPOLL_CTL_ADD, fd,
				 (void *)bad));
		break;
	case 12:
		result(select(fd + 1 < 0 ? 1 : fd + 1, (void *)bad, NULL, NULL,
			      &(struct timeval){ 0 }));
		break;
	case 13:
		result(ioctl(fd, FIONREAD, bad));
		break;
	}
}

static void run(int first, int n);

static void reap(pid_t pid)
{
	int status = -1;

	if (pid < 0) {
		say(" %s", strerrorname_np(errno));
		return;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			break;
	say(" status %x", status);
}

/* The child does the next steps. */
static int op_fork(int at)
{
	int n = 1 + a[0] % 6, i;
	pid_t pid;

	if (at + n >= lines)
		n = lines - at - 1;
	if (n <= 0 || w.depth >= 3)
		return 0;
	say(" %d\n", n);
	flush();
	pid = fork();
	if (!pid) {
		w.depth++;
		i = a[1] & 7;
		run(at + 1, n);
		flush();
		_exit(i);
	}
	say("  back");
	reap(pid);
	return n;
}

/* The same after exec, of which the parent waits for the end. */
static int op_exec(int at)
{
	char first[16], count[16];
	int n = 1 + a[0] % 6, fd;
	pid_t pid;

	if (at + n >= lines)
		n = lines - at - 1;
	if (n <= 0 || w.depth >= 3)
		return 0;
	/* Room for two numbers beside the program's. */
	fd = open("state", O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0) {
		say(" no state");
		return n;
	}
	w.depth++;
	write(fd, &w, sizeof(w));
	write(fd, text, sizeof(text));
	w.depth--;
	close(fd);
	say(" %d\n", n);
	flush();
	sprintf(first, "%d", at + 1);
	sprintf(count, "%d", n);
	pid = a[1] & 1 ? vfork() : fork();
	if (!pid) {
		if (a[1] & 2)
			execl("/proc/self/exe", "steps", "resume", first, count,
			      NULL);
		else
			execle("/proc/self/exe", "steps", "resume", first, count,
			       NULL, (char *[]){ NULL });
		_exit(97);
	}
	say("  back");
	reap(pid);
	return n;
}

static const struct {
	const char *name;
	void (*run)(void);
	int (*takes)(int at);
} ops[] = {
#define OP(n)	{ #n, op_##n, NULL }
	OP(socket), OP(socketpair), OP(connected), OP(listening), OP(watch), OP(pipe), OP(eventfd),
	OP(timerfd), OP(settime), OP(memfd), OP(open), OP(epoll), OP(bind),
	OP(listen), OP(connect), OP(accept), OP(send), OP(sendto), OP(recv),
	OP(recvfrom), OP(read), OP(write), OP(readv), OP(writev), OP(pread),
	OP(pwrite), OP(sendmsg), OP(recvmsg), OP(sendmmsg), OP(recvmmsg),
	OP(shutdown), OP(close), OP(dup), OP(dup2), OP(dup3), OP(dupfd),
	OP(getfd), OP(setfd), OP(getfl), OP(setfl), OP(fcntl), OP(ioctl),
	OP(getsockopt), OP(setsockopt), OP(getsockname), OP(getpeername),
	OP(poll), OP(ppoll), OP(select), OP(epoll_ctl), OP(epoll_wait),
	OP(sendfile), OP(splice), OP(tee), OP(copy_range), OP(lseek),
	OP(ftruncate), OP(fstat), OP(misc), OP(close_range), OP(limit),
	OP(list), OP(dirfd), OP(fault),
	{ "fork", NULL, op_fork }, { "exec", NULL, op_exec },
#undef OP
};
#define OPS	((int)(sizeof(ops) / sizeof(ops[0])))

/* It is for the thread that makes the call. */
static void mask_alarm(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(how, &set, NULL);
}

static void *in_thread(void *op)
{
	mask_alarm(SIG_UNBLOCK);
	((void (*)(void))op)();
	return NULL;
}

static void beside(void (*op)(void))
{
	pthread_t t;

	mask_alarm(SIG_BLOCK);
	if (pthread_create(&t, NULL, in_thread, op))
		say(" no thread");
	else
		pthread_join(t, NULL);
	mask_alarm(SIG_UNBLOCK);
}

static int one(int at)
{
	char word[32] = "", *p = line[at], *end;
	int i, used = 0, threaded = 0;

	memset(a, 0, sizeof(a));
	sscanf(p, "%31s", word);
	p += strlen(word);
	for (n_args = 0; n_args < ARGS; n_args++) {
		a[n_args] = strtol(p, &end, 10);
		if (end == p)
			break;
		p = end;
	}
	if (word[0] == '*') {		/* in another thread */
		threaded = 1;
		memmove(word, word + 1, strlen(word));
	}
	step_number = at;
	fill(at);
	say("%*s%d %s", w.depth, "", at, word);
	pipes = alarms = 0;
	for (i = 0; i < OPS; i++) {
		if (strcmp(ops[i].name, word))
			continue;
		if (ops[i].takes)
			used = ops[i].takes(at);
		else if (threaded)
			beside(ops[i].run);
		else
			ops[i].run();
		break;
	}
	if (i == OPS)
		say(" what?");
	if (pipes)
		say(" SIGPIPE");
	if (alarms)
		say(" waited");
	say("\n");
	if (w.slow || out_at > (int)sizeof(out) / 2) {
		flush();
		usleep(w.slow * 1000);
	}
	return used;
}

static void run(int first, int n)
{
	int at;

	for (at = first; at < first + n && at < lines; at++)
		at += one(at);
}

static void cut(void)
{
	char *p = text;

	for (lines = 0; *p && lines < 4096; lines++) {
		line[lines] = p;
		p += strcspn(p, "\n");
		if (*p)
			*p++ = 0;
	}
}

static void set_up(void)
{
	struct sigaction s = { .sa_handler = on_pipe };

	sigaction(SIGPIPE, &s, NULL);
	s.sa_handler = on_alarm;
	sigaction(SIGALRM, &s, NULL);
	s.sa_handler = SIG_IGN;
	sigaction(SIGIO, &s, NULL);
	sigaction(SIGURG, &s, NULL);
	sigaction(SIGUSR1, &s, NULL);
}

static int resume(int first, int n)
{
	int fd = open("state", O_RDONLY | O_CLOEXEC), i;

	if (fd < 0 || read(fd, &w, sizeof(w)) != sizeof(w) ||
	    read(fd, text, sizeof(text)) != sizeof(text))
		return 96;
	close(fd);
	/* Lines were cut already. */
	{
		char *p = text;

		for (lines = 0; lines < 4096 && p < text + sizeof(text) && *p;
		     lines++) {
			line[lines] = p;
			p += strlen(p) + 1;
		}
	}
	set_up();
	say("%*sopen:", w.depth, "");
	for (i = 3; i < FDS; i++) {
		int flags = fcntl(i, F_GETFD);

		if (flags == -1)
			w.kind[i] = NOTHING;
		else
			say(" %d", i);
	}
	say("\n");
	flush();
	run(first, n);
	flush();
	return 5;
}

/* Programs end after this long, whatever they wait for. */
#define SECONDS	10

static void serve(const char *where)
{
	char command[128];
	int base, slow, size, status, i, number = 0;
	struct sigaction s = { .sa_handler = on_alarm };
	pid_t pid;

	sigaction(SIGALRM, &s, NULL);
	/* What others have left open. */
	close_range(3, ~0u, 0);
	setvbuf(stdin, NULL, _IONBF, 0);
	while (scanf("%d %d %d", &base, &slow, &size) == 3) {
		getchar();
		if (size >= (int)sizeof(text) - 1 ||
		    (size && fread(text, size, 1, stdin) != 1))
			_exit(95);
		memset(text + size, 0, sizeof(text) - size);
		memset(&w, 0, sizeof(w));
		w.base = base;
		w.slow = slow;
		snprintf(w.where, sizeof(w.where), "%08d", getpid());
		snprintf(command, sizeof(command), "%s/p%d", where, number++);
		if (mkdir(command, 0700))
			_exit(94);
		pid = fork();
		if (!pid) {
			setpgid(0, 0);
			i = open("/dev/null", O_RDWR);
			dup2(i, 0);
			dup2(i, 2);
			close(i);
			if (chdir(command))
				_exit(93);
			cut();
			set_up();
			run(0, lines);
			flush();
			_exit(0);
		}
		setpgid(pid, pid);
		alarms = 0;
		alarm(SECONDS);
		while (waitpid(pid, &status, 0) != pid)
			if (alarms) {
				say("hangs\n");
				kill(-pid, SIGKILL);
				alarms = 0;
			}
		alarm(0);
		say("END %x\n", status);
		flush();
	}
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(argv[2]);
	else if (argc == 4 && !strcmp(argv[1], "resume"))
		return resume(atoi(argv[2]), atoi(argv[3]));
	else
		return 2;
	return 0;
}
