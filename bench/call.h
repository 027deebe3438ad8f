/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One benchmark source, two kernels.
 *
 * A program that includes this is compiled twice: with UKL_SIDE its calls go
 * to a library kernel through libukl, without it they are system call
 * instructions (of libc's, with LIBC_SIDE).  Nothing else differs.
 *
 *	CALL(nr, ...)		a system call: 0 or more, or a negative errno
 *	MUST(nr, ...)		the same, and the program ends if it fails
 *	side_begin(control)	first; @control: an instance's control socket
 *	side_end()		last
 *	spawn(fn, arg)		a thread that may use CALL
 */
#ifndef BENCH_CALL_H
#define BENCH_CALL_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void __attribute__((noreturn, unused)) die(const char *what, long err)
{
	fprintf(stderr, "%s: %s\n", what, strerror(err < 0 ? -err : err));
	exit(1);
}

static double __attribute__((unused)) now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

#define CALL(...)	CALL7(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL7(nr, a, b, c, d, e, f, ...)				\
	side_call(nr, (long)(a), (long)(b), (long)(c), (long)(d),	\
		  (long)(e), (long)(f))

#define MUST(...)							\
	({								\
		long must_ret = CALL(__VA_ARGS__);			\
									\
		if (__builtin_expect(must_ret < 0, 0))			\
			die(#__VA_ARGS__, must_ret);			\
		must_ret;						\
	})

static void lo_up(void);

#ifdef UKL_SIDE

#include <ukl/ukl.h>

static __thread struct ukl_thread *self;
static struct ukl_files files;

#define side_call(nr, a, b, c, d, e, f)					\
	ukl_syscall(self, nr, a, b, c, d, e, f)

static void side_begin(const char *control)
{
	int err = ukl_connect(control, &files);

	if (err)
		die(control, err);
	err = ukl_attach(&files, &self);
	if (err)
		die("ukl_attach", err);
	lo_up();
}

static void __attribute__((unused)) side_end(void)
{
	int err = ukl_detach(self);

	if (err)
		die("ukl_detach", err);
}

struct start {
	void (*fn)(void *arg);
	void *arg;
	struct ukl_thread *record;
};

static void *side_thread(void *p)
{
	struct start start = *(struct start *)p;
	int err = ukl_thread_enter(start.record);

	free(p);
	if (err)
		die("ukl_thread_enter", err);
	self = start.record;
	start.fn(start.arg);
	ukl_thread_exit(self);
	return NULL;
}

static void side_prepare(struct start *start)
{
	int err = ukl_thread_prepare(self, &start->record);

	if (err)
		die("ukl_thread_prepare", err);
}

/*
 * A child that ends at once; the parent waits for it.  The library kernel
 * reaps its half of the child by itself.
 */
static void __attribute__((unused)) fork_and_wait(void)
{
	struct ukl_thread *child;
	long pid, err = ukl_fork_prepare(self, 0, &child);

	if (err)
		die("ukl_fork_prepare", err);
	pid = fork();
	if (!pid) {
		ukl_fork_child(child);
		_exit(ukl_detach(child) ? 1 : 0);
	}
	err = ukl_fork_parent(self, child, pid < 0 ? -errno : pid);
	if (pid < 0 || err)
		die("fork", pid < 0 ? errno : err);
	if (syscall(SYS_wait4, pid, NULL, 0, NULL) != pid)
		die("wait4 on the host", errno);
}

#else /* the host's kernel */

#ifdef LIBC_SIDE
/* As other programs call: for what is measured by its launcher. */
static inline long side_call(long nr, long a, long b, long c, long d, long e,
			     long f)
{
	long ret = syscall(nr, a, b, c, d, e, f);

	return ret < 0 ? -errno : ret;
}
#else
static inline long side_call(long nr, long a, long b, long c, long d, long e,
			     long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
			   "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#endif

/*
 * Loopback rows run in a network namespace of their own, as the library
 * kernel's do: none of the machine's packet filters or settings count, and
 * the congestion control can be chosen.  "here": the namespace is the
 * caller's.
 */
static void side_begin(const char *control)
{
	if (!strcmp(control, "here"))
		return;
	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
		die("a network namespace of our own", errno);
	lo_up();
}

static void __attribute__((unused)) side_end(void)
{
}

struct start {
	void (*fn)(void *arg);
	void *arg;
};

static void *side_thread(void *p)
{
	struct start start = *(struct start *)p;

	free(p);
	start.fn(start.arg);
	return NULL;
}

static void side_prepare(struct start *start)
{
	(void)start;
}

static void __attribute__((unused)) fork_and_wait(void)
{
	long pid = fork();

	if (!pid)
		_exit(0);
	if (pid < 0 || syscall(SYS_wait4, pid, NULL, 0, NULL) != pid)
		die("fork", errno);
}

#endif

static pthread_t __attribute__((unused)) spawn(void (*fn)(void *), void *arg)
{
	struct start *start = calloc(1, sizeof(*start));
	pthread_t thread;
	int err;

	if (!start)
		die("calloc", ENOMEM);
	start->fn = fn;
	start->arg = arg;
	side_prepare(start);
	err = pthread_create(&thread, NULL, side_thread, start);
	if (err)
		die("pthread_create", err);
	return thread;
}

static void if_up(const char *name)
{
	struct ifreq ifr = { 0 };
	int s = MUST(SYS_socket, AF_INET, SOCK_DGRAM, 0);

	strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	MUST(SYS_ioctl, s, SIOCGIFFLAGS, &ifr);
	ifr.ifr_flags |= IFF_UP;
	MUST(SYS_ioctl, s, SIOCSIFFLAGS, &ifr);
	MUST(SYS_close, s);
}

static void __attribute__((unused)) lo_up(void)
{
	if_up("lo");
}

static void __attribute__((unused)) set_option(int s, int level, int name,
					       int value)
{
	MUST(SYS_setsockopt, s, level, name, &value, sizeof(value));
}

/* @congestion: the algorithm; NULL: the kernel's own choice. */
static int __attribute__((unused)) tcp_socket(const char *congestion)
{
	int s = MUST(SYS_socket, AF_INET, SOCK_STREAM, 0);

	if (congestion)
		MUST(SYS_setsockopt, s, IPPROTO_TCP, TCP_CONGESTION,
		     congestion, strlen(congestion));
	set_option(s, IPPROTO_TCP, TCP_NODELAY, 1);
	return s;
}

static struct sockaddr_in __attribute__((unused)) address(const char *ip,
							  int port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_port = htons(port) };

	if (inet_pton(AF_INET, ip, &sin.sin_addr) != 1)
		die(ip, EINVAL);
	return sin;
}

#endif /* BENCH_CALL_H */
