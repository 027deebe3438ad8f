// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kill test: processes that are busy in the library kernel are killed at
 * random points.
 *
 * kill CONTROL polite COUNT [SEED]
 *	The kills go through ukl_kill(), which holds the CPU: each must leave
 *	the instance alive, and nothing behind.
 * kill CONTROL step
 *	A process that kills itself before the first instruction of a call that
 *	is its own side's, not the kernel's; another before the second; and so
 *	on, for a call that waits, too.  The instance outlives each.
 * kill CONTROL busy SEED
 *	One busy process, for the test that kills from outside.
 * kill CONTROL settled PROCESSES THREADS
 *	Nobody else is there: no socket may be left, and no record but so
 *	many of the kernel host.
 */
#include "kit.h"

#define WORKERS	4
#define PORT	7100

static uint64_t seed;

static long random_up_to(long n)
{
	return xorshift(&seed) % n;
}

/* Calls that end in a fault, a wait, or a wake-up of another process. */
static void some_calls(int udp, int tcp, int epoll)
{
	static char buf[8192], much[64 * 1024];
	struct sockaddr_in addr = loop(PORT + 1 + random_up_to(WORKERS));
	struct timespec ts = { 0, random_up_to(200000) };
	struct epoll_event ev[4];
	int p[2], i;

	switch (random_up_to(8)) {
	case 0:
		for (i = 0; i < 100; i++)
			CALL(getppid);
		break;
	case 1:
		CALL(sendto, udp, buf, random_up_to(sizeof(buf)), MSG_DONTWAIT,
		     &addr, sizeof(addr));
		CALL(recvfrom, udp, buf, sizeof(buf), MSG_DONTWAIT, 0, 0);
		break;
	case 2:
		if (!CALL(pipe, p)) {
			CALL(write, p[1], buf, random_up_to(4096));
			CALL(read, p[0], buf, sizeof(buf));
			CALL(close, p[0]);
			CALL(close, p[1]);
		}
		break;
	case 3:
		CALL(sendto, tcp, much, random_up_to(sizeof(much)),
		     MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
		CALL(recvfrom, tcp, much, sizeof(much), MSG_DONTWAIT, 0, 0);
		break;
	case 4:
		CALL(nanosleep, &ts, 0);
		break;
	case 5:
		CALL(write, udp, 8, 100);
		CALL(epoll_wait, epoll, ev, 4, 1);
		break;
	case 6:
		i = CALL(socket, AF_INET, SOCK_STREAM, 0);
		CALL(close, i);
		break;
	case 7:
		/* The target's own work. */
		for (i = random_up_to(20000); i; i--)
			__asm__ volatile("pause");
		break;
	}
}

static void __attribute__((noreturn)) be_busy(void)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t len = sizeof(addr);
	int udp = good(CALL(socket, AF_INET, SOCK_DGRAM, 0)), i;
	int l = good(CALL(socket, AF_INET, SOCK_STREAM, 0));
	int tcp = good(CALL(socket, AF_INET, SOCK_STREAM, 0));
	int epoll = good(CALL(epoll_create1, 0));
	struct sockaddr_in mine = loop(0);

	/* A connection to itself, and a port that others may write to. */
	for (i = 0; i < WORKERS; i++) {
		mine.sin_port = htons(PORT + 1 + i);
		if (!CALL(bind, udp, &mine, sizeof(mine)))
			break;
	}
	good(CALL(listen, l, 1));
	good(CALL(getsockname, l, &addr, &len));
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	good(CALL(connect, tcp, &addr, sizeof(addr)));
	good(CALL(accept4, l, 0, 0, 0));
	good(CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, udp, &ev));
	for (;;)
		some_calls(udp, tcp, epoll);
}

static pid_t start_worker(uint64_t s)
{
	pid_t pid = kit_fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	seed = s;
	be_busy();
}

TEST(polite)
{
	long count = arguments[0] ? atol(arguments[0]) : 1000, i, n;
	int procs, threads, status;
	pid_t pid[WORKERS];
	char before[1024];
	double begun;

	seed = arguments[0] && arguments[1] ?
	       strtoull(arguments[1], NULL, 0) : now_ns();
	printf("# seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	kit_no_time_wait();
	kit_sockstat(before, sizeof(before));
	procs = kit_procs_used();
	threads = kit_threads_used();
	begun = now();
	for (i = 0; i < WORKERS; i++)
		pid[i] = start_worker(xorshift(&seed));
	for (n = 0; n < count; n++) {
		i = random_up_to(WORKERS);
		host_sleep_us(random_up_to(3000));
		if (waitpid(pid[i], &status, WNOHANG) == pid[i])
			kit_fail("kill %ld: the worker had ended before, "
				 "status %#x", n, status);
		good(ukl_kill(me, pid[i], SIGKILL));
		if (waitpid(pid[i], &status, 0) != pid[i] ||
		    !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
			kit_fail("kill %ld: status %#x", n, status);
		pid[i] = start_worker(xorshift(&seed));
	}
	for (i = 0; i < WORKERS; i++) {
		good(ukl_kill(me, pid[i], SIGKILL));
		waitpid(pid[i], &status, 0);
	}
	kit_nothing_leaked(before, procs, threads);
	printf("# polite kills: %ld in %.1f s, the instance lived on after "
	       "each, nothing leaked\n", n + WORKERS, now() - begun);
}

/* The instructions outside the kernel yet to go; the last is not reached. */
static volatile int steps_left;

static void step(int sig)
{
	(void)sig;
	if (!me->in_kernel && !--steps_left)
		kill(getpid(), SIGKILL);
}

#define TRAP_FLAG	"0x100"

static void step_on(void)
{
	__asm__ volatile("pushf; orl $" TRAP_FLAG ", (%%rsp); popf"
			 : : : "memory", "cc");
}

static void step_off(void)
{
	__asm__ volatile("pushf; andl $~" TRAP_FLAG ", (%%rsp); popf"
			 : : : "memory", "cc");
}

static void call_alone(const int *to_echo)
{
	(void)to_echo;
	CALL(getppid);
}

static void call_and_wait(const int *to_echo)
{
	char byte = 0;

	CALL(write, to_echo[1], &byte, 1);
	CALL(read, to_echo[2], &byte, 1);
}

static void (*const stepped[])(const int *to_echo) = {
	call_alone, call_and_wait,
};

#define MOST_STEPS	400	/* a wait may spin for very many */

TEST(step)
{
	static char stack[64 * 1024];
	stack_t other = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_handler = step, .sa_flags = SA_ONSTACK };
	int procs, threads, p[4], i, n, status, kills = 0;
	char before[1024], byte;
	pid_t echo, pid;

	kit_sockstat(before, sizeof(before));
	procs = kit_procs_used();
	threads = kit_threads_used();
	sigaltstack(&other, NULL);
	sigaction(SIGTRAP, &action, NULL);
	good(CALL(pipe, p));
	good(CALL(pipe, p + 2));
	echo = kit_fork();
	if (!echo) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (good(CALL(read, p[0], &byte, 1)) == 1)
			good(CALL(write, p[3], &byte, 1));
		_exit(0);
	}
	for (i = 0; i < 2; i++) {
		for (n = 1; n <= MOST_STEPS; n++) {
			pid = kit_fork();
			if (!pid) {
				stepped[i](p);
				steps_left = n;
				step_on();
				stepped[i](p);
				step_off();
				_exit(0);
			}
			check_eq(waitpid(pid, &status, 0), pid);
			if (!status)
				break;
			check(WIFSIGNALED(status));
			check_eq(WTERMSIG(status), SIGKILL);
			good(CALL(getppid));
			kills++;
		}
		check(n > 20);
	}
	kit_kill_and_reap(echo);
	for (i = 0; i < 4; i++)
		good(CALL(close, p[i]));
	kit_nothing_leaked(before, procs, threads);
	printf("# steps: %d kills, each one instruction later\n", kills);
}

ROLE(busy)
{
	seed = strtoull(arguments[0], NULL, 0);
	kit_no_time_wait();
	printf("ready\n");
	fflush(stdout);
	be_busy();
}

TEST(settled)
{
	/* The kernel host with so many records, and this process. */
	check(arguments[0] && arguments[1]);
	kit_nothing_leaked("sockets: used 0 TCP: inuse 0 orphan 0 tw 0 alloc 0 "
			   "UDP: inuse 0 UDPLITE: inuse 0 RAW: inuse 0 "
			   "FRAG: inuse 0 memory 0 ", atoi(arguments[0]) + 1,
			   atoi(arguments[1]) + 1);
}
