/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Behaviours that a program sees: each TEST prints what it got, and the
 * printed text must be the same on the host and under the shim.
 */
#ifndef SAME_H
#define SAME_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#ifndef __GLIBC__
/* musl has no names for them. */
static inline const char *strerrorname_np(int error)
{
	static char text[24];

	snprintf(text, sizeof(text), "errno %d", error);
	return text;
}

static inline int close_range(unsigned int first, unsigned int last, int flags)
{
	return syscall(SYS_close_range, first, last, flags);
}

static inline void closefrom(int first)
{
	close_range(first, ~0U, 0);
}
#endif

struct test {
	const char *name;
	void (*run)(void);
	struct test *next;
};

static struct test *tests;
static char **arguments;

#define TEST(n)								\
	static void n(void);						\
	static struct test entry_##n = { #n, n, NULL };			\
	static void __attribute__((constructor)) add_##n(void)		\
	{								\
		entry_##n.next = tests;					\
		tests = &entry_##n;					\
	}								\
	static void n(void)

/* The result of a call, or the name of its errno. */
static inline void show(const char *what, long ret)
{
	if (ret == -1)
		printf("%s: %s\n", what, strerrorname_np(errno));
	else
		printf("%s: %ld\n", what, ret);
	fflush(stdout);
}

#define SHOW(call)	show(#call, call)

/* Only whether it worked: the value differs from run to run. */
#define WORKS(call)	show(#call, (call) == -1 ? -1 : 0)

static inline void die(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	fflush(stdout);
	_exit(99);
}

static inline long must(long ret, const char *what)
{
	if (ret == -1)
		die(what);
	return ret;
}

#define MUST(call)	must(call, #call)

static inline double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static inline struct sockaddr_in loop(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

static inline int listener(int *port)
{
	int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in a = loop(0);
	socklen_t n = sizeof(a);

	MUST(bind(s, (void *)&a, sizeof(a)));
	MUST(listen(s, 64));
	MUST(getsockname(s, (void *)&a, &n));
	*port = ntohs(a.sin_port);
	return s;
}

static inline int dial(int port)
{
	int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in a = loop(port);

	MUST(connect(s, (void *)&a, sizeof(a)));
	return s;
}

/* Connected over TCP. */
static inline void pair(int *fd)
{
	int port, l = listener(&port);

	fd[0] = dial(port);
	fd[1] = MUST(accept(l, NULL, NULL));
	close(l);
}

/* Two UDP sockets that know each other. */
static inline void udp_pair(int *fd)
{
	struct sockaddr_in a[2];
	socklen_t n = sizeof(a[0]);
	int i;

	for (i = 0; i < 2; i++) {
		a[i] = loop(0);
		fd[i] = MUST(socket(AF_INET, SOCK_DGRAM, 0));
		MUST(bind(fd[i], (void *)&a[i], sizeof(a[i])));
		MUST(getsockname(fd[i], (void *)&a[i], &n));
	}
	for (i = 0; i < 2; i++)
		MUST(connect(fd[i], (void *)&a[!i], sizeof(a[0])));
}

static inline void reap(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR)
			die("waitpid");
	if (WIFSIGNALED(status))
		printf("child: signal %d\n", WTERMSIG(status));
	else
		printf("child: exit %d\n", WEXITSTATUS(status));
}

static inline void alarm_ms(int ms, int every)
{
	struct itimerval it = { .it_value = { ms / 1000, ms % 1000 * 1000 } };

	if (every)
		it.it_interval = it.it_value;
	setitimer(ITIMER_REAL, &it, NULL);
}

int main(int argc, char **argv)
{
	struct test *t;

	arguments = argv;
	for (t = tests; argc > 1 && t; t = t->next)
		if (!strcmp(t->name, argv[1])) {
			t->run();
			fflush(stdout);
			printf("end of %s\n", t->name);
			return 0;
		}
	fprintf(stderr, "no test %s\n", argc > 1 ? argv[1] : "given");
	return 2;
}

#endif
