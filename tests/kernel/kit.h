/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the C tests of the library kernel share.
 *
 * A file holds several TEST(name) { … }; the program is called with the
 * control socket of an instance and the name of one test, attaches, runs it,
 * and prints "ok NAME" or "not ok NAME: reason".  ROLE(name) { … } is a body
 * for another program of the same file: see kit_spawn().
 *
 * CALL(read, fd, buf, n) is that system call in the library kernel; a plain
 * read() is the host's.
 */
#ifndef KIT_H
#define KIT_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <ukl/ukl.h>
#include <unistd.h>

static const char *control;		/* the instance's socket */
static const char *name;		/* of the test */
static char **arguments;		/* after the name; ends with NULL */
static struct ukl_files files;
static __thread struct ukl_thread *me;

extern char **environ;

struct body {
	const char *name;
	void (*run)(void);
	int role;
	struct body *next;
};

static struct body *bodies;

#define BODY(ident, is_role)						\
	static void body_##ident(void);					\
	static struct body entry_##ident = { #ident, body_##ident,	\
					     is_role, NULL };		\
	static void __attribute__((constructor)) add_##ident(void)	\
	{								\
		entry_##ident.next = bodies;				\
		bodies = &entry_##ident;				\
	}								\
	static void body_##ident(void)

#define TEST(ident)	BODY(ident, 0)
#define ROLE(ident)	BODY(ident, 1)

static void __attribute__((noreturn, format(printf, 1, 2)))
kit_fail(const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n = snprintf(line, sizeof(line), "not ok %s: ", name);

	va_start(ap, fmt);
	n += vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	if (write(1, line, n) < 0)
		_exit(3);
	_exit(1);
}

#define CALL6(nr, a, b, c, d, e, f, ...)				\
	ukl_syscall(me, nr, (long)(a), (long)(b), (long)(c), (long)(d),	\
		    (long)(e), (long)(f))
#define CALL(call, ...)							\
	CALL6(SYS_##call, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

#define PLACE(text)	__FILE__ ":%d: " text, __LINE__

#define check(condition)						\
	do {								\
		if (!(condition))					\
			kit_fail(PLACE("not true: %s"), #condition);	\
	} while (0)

#define check_eq(got, want)						\
	do {								\
		long got_ = (long)(got), want_ = (long)(want);		\
		if (got_ != want_)					\
			kit_fail(PLACE("%s is %ld, should be %s = %ld"),\
				 #got, got_, #want, want_);		\
	} while (0)

/* A value that is not an error. */
#define good(call)							\
	({								\
		long got_ = (long)(call);				\
		if (got_ < 0)						\
			kit_fail(PLACE("%s gave %ld (%s)"), #call, got_,\
				 strerror(-got_));			\
		got_;							\
	})

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static inline double now(void)
{
	return now_ns() / 1e9;
}

/* Sleeps in the host, signals or not. */
static inline void host_sleep_us(long us)
{
	struct timespec ts = { us / 1000000, us % 1000000 * 1000 };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

static inline uint64_t xorshift(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* ------------------------------------------------------------------ */
/* Processes and threads.						*/

static inline pid_t kit_fork_flags(unsigned long flags)
{
	struct ukl_thread *child;
	pid_t pid;

	good(ukl_fork_prepare(me, flags, &child));
	pid = fork();
	if (pid < 0)
		kit_fail("fork: %s", strerror(errno));
	if (!pid) {
		me = child;
		good(ukl_fork_child(child));
		return 0;
	}
	good(ukl_fork_parent(me, child, pid));
	return pid;
}

static inline pid_t kit_fork(void)
{
	return kit_fork_flags(0);
}

/* The child must have ended well. */
static inline void kit_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR)
			kit_fail("waitpid: %s", strerror(errno));
	if (WIFSIGNALED(status))
		kit_fail("child %d was ended by signal %d", pid,
			 WTERMSIG(status));
	if (WEXITSTATUS(status))
		_exit(WEXITSTATUS(status));	/* it has said why */
}

static inline void kit_kill_and_reap(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR)
			kit_fail("waitpid: %s", strerror(errno));
}

/*
 * execve() of this program in both kernels: the ROLE @role goes on with this
 * process's descriptors.
 */
static inline void __attribute__((noreturn))
kit_exec(const char *role, const char *argument)
{
	char *argv[] = { "role", (char *)control, (char *)role,
			 (char *)argument, NULL };
	char id[32];

	snprintf(id, sizeof(id), "%u", ukl_exec_prepare(me));
	setenv("KIT_EXEC", id, 1);
	execv("/proc/self/exe", argv);
	kit_fail("execv: %s", strerror(errno));
}

/* Starts this program anew, with the ROLE @role and one more argument. */
static inline pid_t kit_spawn(const char *role, const char *argument)
{
	char *argv[] = { "role", (char *)control, (char *)role,
			 (char *)argument, NULL };
	pid_t pid;
	int err = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv,
			      environ);

	if (err)
		kit_fail("posix_spawn: %s", strerror(err));
	return pid;
}

struct kit_thread {
	pthread_t thread;
	struct ukl_thread *record;
	void (*run)(void *);
	void *arg;
};

static inline void *kit_thread_main(void *p)
{
	struct kit_thread *t = p;

	me = t->record;
	good(ukl_thread_enter(me));
	t->run(t->arg);
	ukl_thread_exit(me);
	return NULL;
}

static inline void kit_start(struct kit_thread *t, void (*run)(void *),
			     void *arg)
{
	int err;

	t->run = run;
	t->arg = arg;
	good(ukl_thread_prepare(me, &t->record));
	err = pthread_create(&t->thread, NULL, kit_thread_main, t);
	if (err)
		kit_fail("pthread_create: %s", strerror(err));
}

static inline void kit_join(struct kit_thread *t)
{
	pthread_join(t->thread, NULL);
}

/* Records in use, the kernel host's three included. */
static inline int kit_threads_used(void)
{
	const struct ukl_shared *s = ukl_head()->shared;
	int i, n = 0;

	for (i = 0; i < UKL_MAX_THREADS; i++)
		n += s->thread[i].state != UKL_TH_FREE;
	return n;
}

static inline int kit_procs_used(void)
{
	const struct ukl_shared *s = ukl_head()->shared;
	int i, n = 0;

	for (i = 0; i < UKL_MAX_PROCS; i++)
		n += s->proc[i].state != UKL_PROC_FREE;
	return n;
}

/* ------------------------------------------------------------------ */
/* Signals.								*/

static volatile long kit_signals;

static inline void kit_on_signal(int sig)
{
	(void)sig;
	kit_signals++;
	if (me)
		ukl_poke(me);
}

static inline void kit_catch(int sig)
{
	struct sigaction act = { .sa_handler = kit_on_signal,
				 .sa_flags = SA_ONSTACK };

	sigaction(sig, &act, NULL);
}

/* SIGALRM once after @us, or every @us. */
static inline void kit_alarm(long us, int again)
{
	struct itimerval it = {
		.it_value = { us / 1000000, us % 1000000 },
	};

	if (again)
		it.it_interval = it.it_value;
	setitimer(ITIMER_REAL, &it, NULL);
}

/* ------------------------------------------------------------------ */
/* Files and sockets of the library kernel.				*/

static inline int kit_read_file(const char *path, char *buf, int size)
{
	int fd = good(CALL(open, path, O_RDONLY)), n = 0, got;

	while (n < size - 1) {
		got = good(CALL(read, fd, buf + n, size - 1 - n));
		if (!got)
			break;
		n += got;
	}
	buf[n] = 0;
	good(CALL(close, fd));
	return n;
}

static inline void kit_write_file(const char *path, const char *text)
{
	int fd = good(CALL(open, path, O_WRONLY));

	check_eq(CALL(write, fd, text, strlen(text)), strlen(text));
	good(CALL(close, fd));
}

static inline struct sockaddr_in loop(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

static inline int kit_listen(int port)
{
	struct sockaddr_in addr = loop(port);
	int one = 1;
	int s = good(CALL(socket, AF_INET, SOCK_STREAM, 0));

	good(CALL(setsockopt, s, SOL_SOCKET, SO_REUSEADDR, &one,
		  sizeof(one)));
	good(CALL(bind, s, &addr, sizeof(addr)));
	good(CALL(listen, s, 128));
	return s;
}

static inline int kit_connect(int port)
{
	struct sockaddr_in addr = loop(port);
	int s = good(CALL(socket, AF_INET, SOCK_STREAM, 0));

	good(CALL(connect, s, &addr, sizeof(addr)));
	return s;
}

/* A connected pair over TCP: @fd[0] was accepted. */
static inline void kit_tcp_pair(int *fd, int port)
{
	int l = kit_listen(port);

	fd[1] = kit_connect(port);
	fd[0] = good(CALL(accept4, l, 0, 0, 0));
	good(CALL(close, l));
}

/* Closed connections leave nothing behind. */
static inline void kit_no_time_wait(void)
{
	kit_write_file("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0\n");
}

/* What /proc/net/sockstat counts, without the pages they take. */
static inline void kit_sockstat(char *out, int size)
{
	char buf[2048], *word, *save;
	int skip = 0, n = 0;

	kit_read_file("/proc/net/sockstat", buf, sizeof(buf));
	out[0] = 0;
	for (word = strtok_r(buf, " \n", &save); word;
	     word = strtok_r(NULL, " \n", &save)) {
		if (skip || !strcmp(word, "mem")) {
			skip = !skip;
			continue;
		}
		n += snprintf(out + n, size - n, "%s ", word);
		if (n >= size)
			kit_fail("sockstat is too long");
	}
}

/* Waits up to 5 s until sockets are as in @before, records as few. */
static inline void kit_nothing_leaked(const char *before, int procs,
				      int threads)
{
	double end = now() + 5;
	char after[1024];

	for (;;) {
		kit_sockstat(after, sizeof(after));
		if (!strcmp(before, after) && kit_procs_used() == procs &&
		    kit_threads_used() == threads)
			return;
		if (now() > end)
			kit_fail("leaked: sockets %s(were %s), processes %d "
				 "(%d), threads %d (%d)", after, before,
				 kit_procs_used(), procs, kit_threads_used(),
				 threads);
		host_sleep_us(10000);
	}
}

/* ------------------------------------------------------------------ */

static inline void kit_attach(void)
{
	const char *id = getenv("KIT_EXEC");
	int err = ukl_connect(control, &files);

	if (err)
		kit_fail("cannot connect to %s: %s", control, strerror(-err));
	if (id)
		err = ukl_exec_attach(&files, atoi(id), &me);
	else
		err = ukl_attach(&files, &me);
	if (err < 0)
		kit_fail("cannot attach: %s", strerror(-err));
	unsetenv("KIT_EXEC");
}

#ifndef KIT_OWN_MAIN
int main(int argc, char **argv)
{
	struct body *b;

	if (argc < 3) {
		fprintf(stderr, "usage: %s CONTROL TEST\n", argv[0]);
		return 2;
	}
	control = argv[1];
	name = argv[2];
	arguments = argv + 3;
	/* Nothing outlives the test run. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (b = bodies; b && strcmp(b->name, name); b = b->next)
		;
	if (!b) {
		fprintf(stderr, "%s: no test named %s\n", argv[0], name);
		return 2;
	}
#ifndef KIT_NOT_ATTACHED
	kit_attach();
#endif
	b->run();
	if (!b->role)
		printf("ok %s\n", name);
	return 0;
}
#endif

#endif
