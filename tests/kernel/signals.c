// SPDX-License-Identifier: GPL-2.0-only
/* Host signals end the library kernel's waits, and break nothing. */
#include "kit.h"

static void waits_end(long result, double begun)
{
	check_eq(result, -EINTR);
	if (now() - begun < 0.028 || now() - begun > 0.5)
		kit_fail("interrupted after %.0f ms, should be 30",
			 (now() - begun) * 1e3);
}

#define INTERRUPTED(call)						\
	do {								\
		double begun_ = now();					\
									\
		kit_alarm(30000, 0);					\
		waits_end(call, begun_);				\
	} while (0)

TEST(waits_end_with_eintr)
{
	struct timespec ts = { 10, 0 }, left = { 0, 0 };
	struct epoll_event ev;
	struct pollfd pfd;
	fd_set set;
	char c;
	int p[2], epoll, l, u;

	kit_catch(SIGALRM);
	good(CALL(pipe, p));
	epoll = good(CALL(epoll_create1, 0));
	l = kit_listen(6100);
	u = good(CALL(socket, AF_INET, SOCK_DGRAM, 0));
	pfd = (struct pollfd){ p[0], POLLIN, 0 };
	FD_ZERO(&set);
	FD_SET(p[0], &set);

	INTERRUPTED(CALL(recvfrom, u, &c, 1, 0, 0, 0));
	INTERRUPTED(CALL(read, p[0], &c, 1));
	INTERRUPTED(CALL(nanosleep, &ts, &left));
	check(left.tv_sec == 9);
	INTERRUPTED(CALL(epoll_wait, epoll, &ev, 1, -1));
	INTERRUPTED(CALL(epoll_wait, epoll, &ev, 1, 10000));
	INTERRUPTED(CALL(accept4, l, 0, 0, 0));
	INTERRUPTED(CALL(poll, &pfd, 1, -1));
	INTERRUPTED(CALL(poll, &pfd, 1, 10000));
	INTERRUPTED(CALL(select, p[0] + 1, &set, 0, 0, 0));
	INTERRUPTED(CALL(pause));
	check_eq(kit_signals, 10);
	/* And no later call for it. */
	ts = (struct timespec){ 0, 20000000 };
	check_eq(CALL(nanosleep, &ts, 0), 0);
}

/* What a caller that restarts as sigaction(2) asks gets to know. */
TEST(restart_codes)
{
	struct timespec ts = { 10, 0 };
	struct pollfd pfd;
	char c;
	int p[2];

	kit_catch(SIGALRM);
	good(CALL(pipe, p));
	kit_alarm(20000, 0);
	check_eq(ukl_syscall_raw(me, SYS_read, p[0], (long)&c, 1, 0, 0, 0),
		 -512);
	kit_alarm(20000, 0);
	check_eq(ukl_syscall_raw(me, SYS_nanosleep, (long)&ts, 0, 0, 0, 0, 0),
		 -516);
	kit_alarm(20000, 0);
	check_eq(ukl_syscall_raw(me, SYS_pause, 0, 0, 0, 0, 0, 0), -514);
	pfd = (struct pollfd){ p[0], POLLIN, 0 };
	kit_alarm(20000, 0);
	check_eq(ukl_syscall_raw(me, SYS_poll, (long)&pfd, 1, 10000, 0, 0, 0),
		 -516);
}

/* A handler that does not poke leaves the wait alone. */
static volatile long unpoked;

static void no_poke(int sig)
{
	(void)sig;
	unpoked++;
}

TEST(handler_without_poke)
{
	struct sigaction act = { .sa_handler = no_poke,
				 .sa_flags = SA_ONSTACK };
	struct timespec ts = { 0, 100000000 };
	double begun = now();

	sigaction(SIGALRM, &act, NULL);
	kit_alarm(5000, 1);
	check_eq(CALL(nanosleep, &ts, 0), 0);
	kit_alarm(0, 0);
	check(now() - begun >= 0.0999);
	check(unpoked >= 10);
}

static volatile int reading;

static void read_until_signal(void *fd)
{
	char c;

	reading = 1;
	check_eq(CALL(read, (long)fd, &c, 1), -EINTR);
}

/* Aimed at one thread; the other one's wait goes on. */
TEST(one_of_two_threads)
{
	struct kit_thread t;
	int a[2], i;

	kit_catch(SIGUSR1);
	for (i = 0; i < 50; i++) {
		reading = 0;
		good(CALL(pipe, a));
		kit_start(&t, read_until_signal, (void *)(long)a[0]);
		while (!reading || !t.record->in_call)
			sched_yield();
		pthread_kill(t.thread, SIGUSR1);
		kit_join(&t);
		good(CALL(close, a[0]));
		good(CALL(close, a[1]));
	}
	check_eq(kit_signals, 50);
}

/*
 * A signal at any point of a call that would wait for ever ends it: a second
 * one, much later, finds the call over.  One that comes before or after the
 * call is none of its business, and is followed by another.
 */
#define GAP_US	200000

static volatile int in_call_signals;

static void hammer(int sig)
{
	(void)sig;
	kit_signals++;
	if (*(volatile unsigned int *)&me->in_call)
		in_call_signals++;
	ukl_poke(me);
}

static void no_lost_wake_up(int use_epoll)
{
	struct sigaction act = { .sa_handler = hammer,
				 .sa_flags = SA_ONSTACK };
	struct itimerval it = { .it_interval = { 0, GAP_US } };
	struct epoll_event ev = { .events = EPOLLIN };
	uint64_t seed = 88172645463325252ULL;
	long i, missed = 0, n;
	char c;
	int p[2], epoll;

	sigaction(SIGALRM, &act, NULL);
	good(CALL(pipe, p));
	epoll = good(CALL(epoll_create1, 0));
	good(CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, p[0], &ev));
	for (i = 0; i < 10000; i++) {
		it.it_value.tv_usec = 20 + xorshift(&seed) % 60;
		in_call_signals = 0;
		setitimer(ITIMER_REAL, &it, NULL);
		/* The signal may come before, within, or in between. */
		for (n = xorshift(&seed) % 400; n; n--)
			if (n & 1)
				CALL(getppid);
		in_call_signals = 0;
		n = use_epoll ? CALL(epoll_wait, epoll, &ev, 1, -1) :
		    CALL(read, p[0], &c, 1);
		check_eq(n, -EINTR);
		if (in_call_signals > 1)
			kit_fail("wait %ld: %d signals came before it ended",
				 i, in_call_signals);
		missed += !in_call_signals;
		if (kit_signals > 200000)
			kit_fail("too many signals came early");
		if (in_call_signals)
			continue;
	}
	kit_alarm(0, 0);
	/* Not more waits may have ended without a signal of their own than
	 * calls were under way before them. */
	if (missed > 9000)
		kit_fail("%ld of 10000 waits ended without a signal", missed);
	check(kit_signals >= 10000);
	printf("# %ld signals, 10000 waits ended\n", kit_signals);
}

TEST(hammer_read)
{
	no_lost_wake_up(0);
}

TEST(hammer_epoll_wait)
{
	no_lost_wake_up(1);
}

/* Signals while calls do real work: results stay whole. */
TEST(signals_during_work)
{
	static char out[60000], in[60000];
	double end = now() + 3;
	long i, calls = 0, n, size;
	uint64_t seed = 99;
	int p[2], s, fd;
	struct sockaddr_in a = loop(6101);

	kit_catch(SIGALRM);
	kit_alarm(70, 1);
	good(CALL(pipe, p));
	fd = good(CALL(open, "/tmp/f", O_CREAT | O_RDWR, 0600));
	s = good(CALL(socket, AF_INET, SOCK_DGRAM, 0));
	good(CALL(bind, s, &a, sizeof(a)));
	while (now() < end) {
		size = 1 + xorshift(&seed) % sizeof(out);
		for (i = 0; i < size; i++)
			out[i] = seed + i;
		check_eq(CALL(pwrite64, fd, out, size, 0), size);
		check_eq(CALL(pread64, fd, in, size, 0), size);
		check(!memcmp(in, out, size));
		check_eq(CALL(sendto, s, out, size, 0, &a, sizeof(a)), size);
		do {
			n = CALL(recvfrom, s, in, sizeof(in), 0, 0, 0);
		} while (n == -EINTR);
		check_eq(n, size);
		check(!memcmp(in, out, size));
		calls += 4;
	}
	kit_alarm(0, 0);
	check(kit_signals > 1000);
	printf("# %ld signals, %ld calls\n", kit_signals, calls);
}

/* Signals of one kind come while another's handler waits to return. */
TEST(nested_handlers)
{
	struct itimerval it = { { 0, 90 }, { 0, 90 } };
	double end = now() + 2;
	struct timespec ts = { 0, 500000 };
	long eintr = 0, n;

	kit_catch(SIGALRM);
	kit_catch(SIGVTALRM);
	kit_catch(SIGPROF);
	kit_alarm(110, 1);
	setitimer(ITIMER_VIRTUAL, &it, NULL);
	setitimer(ITIMER_PROF, &it, NULL);
	while (now() < end) {
		n = CALL(nanosleep, &ts, 0);
		check(!n || n == -EINTR);
		eintr += n == -EINTR;
	}
	kit_alarm(0, 0);
	check(eintr > 100);
}
