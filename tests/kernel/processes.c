// SPDX-License-Identifier: GPL-2.0-only
/* Threads, fork, exec, and every way to end. */
#include "kit.h"

#define PORT	6000

/* What the tests here compare before and after. */
static char before[1024];
static int procs, threads;

static void remember(void)
{
	kit_no_time_wait();
	kit_sockstat(before, sizeof(before));
	procs = kit_procs_used();
	threads = kit_threads_used();
}

static void same_as_before(void)
{
	kit_nothing_leaked(before, procs, threads);
}

static int host_pipe(int *p)
{
	return pipe2(p, O_CLOEXEC);
}

/* ------------------------------------------------------------------ */

/* The child has a copy of the table, and shares what is behind it. */
TEST(fork_files)
{
	char buf[8];
	int fd = good(CALL(open, "/tmp/f", O_CREAT | O_RDWR, 0600));
	int p[2], pid = me->ktid;
	pid_t child;

	check_eq(CALL(write, fd, "0123456789", 10), 10);
	good(CALL(lseek, fd, 0, SEEK_SET));
	good(CALL(pipe, p));
	child = kit_fork();
	if (!child) {
		check(CALL(getpid) != pid);
		check_eq(CALL(getppid), pid);
		check_eq(CALL(read, fd, buf, 3), 3);
		good(CALL(close, fd));
		check_eq(CALL(dup2, p[0], 100), 100);
		check_eq(CALL(write, p[1], "c", 1), 1);
		_exit(0);
	}
	check_eq(CALL(read, p[0], buf, 8), 1);
	kit_wait(child);
	check_eq(CALL(lseek, fd, 0, SEEK_CUR), 3);
	check_eq(CALL(close, 100), -EBADF);
}

TEST(fork_shares_what_it_is_told)
{
	pid_t child = kit_fork_flags(CLONE_FILES | CLONE_FS);
	char cwd[64];
	int fd;

	if (!child) {
		fd = good(CALL(open, "/", O_RDONLY));
		check_eq(CALL(dup2, fd, 50), 50);
		good(CALL(chdir, "/tmp"));
		_exit(0);
	}
	kit_wait(child);
	good(CALL(getcwd, cwd, sizeof(cwd)));
	check(!strcmp(cwd, "/tmp"));
	good(CALL(close, 50));
}

/* Connection between parent and child, both ways, and one they share. */
TEST(fork_tcp)
{
	int l, c, s, i;
	pid_t child;
	char buf[64];

	remember();
	l = kit_listen(PORT);
	child = kit_fork();
	if (!child) {
		c = kit_connect(PORT);
		for (i = 0; i < 1000; i++) {
			check_eq(CALL(write, c, &i, 4), 4);
			check_eq(CALL(read, c, buf, 64), 4);
			check(!memcmp(buf, &i, 4));
		}
		_exit(0);	/* closes it */
	}
	s = good(CALL(accept4, l, 0, 0, 0));
	for (i = 0; i < 1000; i++) {
		check_eq(CALL(read, s, buf, 64), 4);
		check_eq(CALL(write, s, buf, 4), 4);
	}
	check_eq(CALL(read, s, buf, 64), 0);
	kit_wait(child);

	c = kit_connect(PORT);
	good(CALL(close, s));
	s = good(CALL(accept4, l, 0, 0, 0));
	child = kit_fork();
	if (!child) {
		check_eq(CALL(write, s, "child", 5), 5);
		_exit(0);
	}
	kit_wait(child);
	/* Its exit has not closed what the parent has open. */
	check_eq(CALL(write, s, "parent", 6), 6);
	check_eq(CALL(recvfrom, c, buf, 11, MSG_WAITALL, 0, 0), 11);
	check(!memcmp(buf, "childparent", 11));
	good(CALL(close, l));
	good(CALL(close, s));
	good(CALL(close, c));
	same_as_before();
}

TEST(fork_many)
{
	pid_t pid[64];
	int i, round;

	remember();
	for (round = 0; round < 12; round++) {
		for (i = 0; i < 64; i++) {
			pid[i] = kit_fork();
			if (!pid[i]) {
				good(CALL(socket, AF_INET, SOCK_STREAM, 0));
				_exit(0);
			}
		}
		for (i = 0; i < 64; i++)
			kit_wait(pid[i]);
	}
	same_as_before();
}

TEST(fork_of_a_fork)
{
	int depth = 0, fd, p[2];
	pid_t child;
	char c;

	remember();
	good(CALL(pipe, p));
	while (depth < 10) {
		child = kit_fork();
		if (child) {
			kit_wait(child);
			break;
		}
		depth++;
		good(CALL(getpid));
	}
	if (depth == 10)
		check_eq(CALL(write, p[1], "x", 1), 1);
	if (depth)
		_exit(0);
	check_eq(CALL(read, p[0], &c, 1), 1);
	for (fd = 0; fd < 2; fd++)
		good(CALL(close, p[fd]));
	same_as_before();
}

/* Records for children that never came to be. */
TEST(abandoned)
{
	struct ukl_thread *child;
	pid_t pid;
	int i;

	remember();
	for (i = 0; i < 100; i++) {
		good(ukl_fork_prepare(me, 0, &child));
		good(ukl_fork_parent(me, child, -EAGAIN));
		good(ukl_thread_prepare(me, &child));
		good(ukl_abandon(me, child));
	}
	same_as_before();
	/* Who prepares and dies leaves nothing either. */
	for (i = 0; i < 20; i++) {
		pid = kit_fork();
		if (!pid) {
			good(ukl_fork_prepare(me, 0, &child));
			good(ukl_thread_prepare(me, &child));
			_exit(0);
		}
		kit_wait(pid);
	}
	same_as_before();
}

static int vfork_child(void *arg)
{
	struct ukl_thread *child = arg, *parent = me;
	int fd;

	/* Shares the memory and this variable with its parent, who waits. */
	me = child;
	good(ukl_fork_child(child));
	fd = good(CALL(open, "/tmp", O_RDONLY | O_DIRECTORY));
	check_eq(CALL(dup2, fd, 60), 60);
	me = parent;
	_exit(0);
}

TEST(vfork)
{
	static char stack[65536] __attribute__((aligned(16)));
	struct ukl_thread *child;
	pid_t pid;
	int i;

	remember();
	for (i = 0; i < 100; i++) {
		good(ukl_fork_prepare(me, 0, &child));
		pid = clone(vfork_child, stack + sizeof(stack),
			    CLONE_VM | CLONE_VFORK | SIGCHLD, child);
		check(pid > 0);
		good(ukl_fork_parent(me, child, pid));
		kit_wait(pid);
		check_eq(CALL(close, 60), -EBADF);
		check(CALL(getpid) > 1);
	}
	same_as_before();
}

/* ------------------------------------------------------------------ */
/* exec									*/

ROLE(executed)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	char buf[16];

	/* 10 was close-on-exec, 11 not; so a socket and a pipe. */
	check_eq(me->ktid, atoi(arguments[0]));
	check_eq(CALL(getpid), atoi(arguments[0]));
	check_eq(CALL(close, 10), -EBADF);
	good(CALL(getsockname, 11, &a, &len));
	check_eq(ntohs(a.sin_port), PORT);
	check_eq(CALL(read, 12, buf, 16), 5);
	check(!memcmp(buf, "still", 5));
	check_eq(CALL(close, 13), -EBADF);
	check_eq(CALL(write, 14, "yes", 3), 3);
}

static void open_and_exec(void)
{
	char pid[16];
	int p[2], fd;

	fd = kit_listen(PORT);
	check_eq(CALL(dup2, fd, 11), 11);
	check_eq(CALL6(SYS_dup3, fd, 10, O_CLOEXEC, 0, 0, 0, 0), 10);
	good(CALL(pipe, p));
	check_eq(CALL(dup2, p[0], 12), 12);
	check_eq(CALL6(SYS_dup3, p[1], 13, O_CLOEXEC, 0, 0, 0, 0), 13);
	check_eq(CALL(write, p[1], "still", 5), 5);
	snprintf(pid, sizeof(pid), "%ld", CALL(getpid));
	kit_exec("executed", pid);
}

static void wait_for_ever(void *fd)
{
	char c;

	CALL(read, (long)fd, &c, 1);
	_exit(9);
}

TEST(exec)
{
	char buf[16];
	pid_t child;
	int p[2];

	remember();
	good(CALL(pipe, p));
	child = kit_fork();
	if (!child) {
		check_eq(CALL(dup2, p[1], 14), 14);
		open_and_exec();
	}
	good(CALL(close, p[1]));
	check_eq(CALL(read, p[0], buf, 16), 3);
	check_eq(CALL(read, p[0], buf, 16), 0);
	kit_wait(child);
	good(CALL(close, p[0]));
	same_as_before();
}

/* The other threads end; one of them waits in the kernel. */
TEST(exec_with_threads)
{
	struct kit_thread t[3];
	char buf[16];
	pid_t child;
	int p[2], never[2], i;

	remember();
	good(CALL(pipe, p));
	child = kit_fork();
	if (!child) {
		good(CALL(pipe, never));
		for (i = 0; i < 3; i++)
			kit_start(&t[i], wait_for_ever, (void *)(long)never[0]);
		host_sleep_us(20000);
		check_eq(CALL(dup2, p[1], 14), 14);
		open_and_exec();
	}
	good(CALL(close, p[1]));
	check_eq(CALL(read, p[0], buf, 16), 3);
	check_eq(CALL(read, p[0], buf, 16), 0);
	kit_wait(child);
	good(CALL(close, p[0]));
	same_as_before();
}

/* ------------------------------------------------------------------ */
/* Threads								*/

static long group;

static void one_of_the_group(void *fd)
{
	check_eq(CALL(getpid), group);
	check(CALL(gettid) != group);
	check_eq(CALL(gettid), me->ktid);
	check_eq(CALL(write, (long)fd, "t", 1), 1);
}

TEST(thread_group)
{
	struct kit_thread t[20];
	char buf[32];
	int p[2], i;

	remember();
	group = CALL(getpid);
	good(CALL(pipe, p));
	for (i = 0; i < 20; i++)
		kit_start(&t[i], one_of_the_group, (void *)(long)p[1]);
	for (i = 0; i < 20; i++)
		kit_join(&t[i]);
	check_eq(CALL(read, p[0], buf, 32), 20);
	good(CALL(close, p[0]));
	good(CALL(close, p[1]));
	same_as_before();
}

static void nothing(void *unused)
{
	(void)unused;
}

TEST(short_threads)
{
	struct kit_thread t;
	int i;

	remember();
	for (i = 0; i < 1000; i++) {
		kit_start(&t, nothing, NULL);
		kit_join(&t);
	}
	check_eq(kit_threads_used(), threads);
	same_as_before();
}

static void ping(void *arg)
{
	int *fd = arg, i;
	char c;

	for (i = 0; i < 2000; i++) {
		check_eq(CALL(read, fd[0], &c, 1), 1);
		check_eq(CALL(write, fd[1], &c, 1), 1);
	}
}

/* 16 threads pass a byte around in a ring of pipes. */
TEST(thread_ring)
{
	static int p[16][2], ends[16][2];
	struct kit_thread t[16];
	char c = 'x';
	int i;

	for (i = 0; i < 16; i++)
		good(CALL(pipe, p[i]));
	for (i = 0; i < 16; i++) {
		ends[i][0] = p[i][0];
		ends[i][1] = p[(i + 1) % 16][1];
		kit_start(&t[i], ping, ends[i]);
	}
	check_eq(CALL(write, p[0][1], &c, 1), 1);
	for (i = 0; i < 16; i++)
		kit_join(&t[i]);
}

/* The last record for a thread is refused with EAGAIN, and all come back. */
TEST(too_many_threads)
{
	static struct ukl_thread *t[UKL_MAX_THREADS];
	int n = 0, i, err;

	remember();
	while (n < UKL_MAX_THREADS && !(err = ukl_thread_prepare(me, &t[n])))
		n++;
	if (err != -EAGAIN && err != -ENOMEM)
		kit_fail("after %d threads: %s", n, strerror(-err));
	/* Linux allows one per 128 KB of memory: threads-max. */
	check(n > 300);
	for (i = 0; i < n; i++)
		good(ukl_abandon(me, t[i]));
	check(CALL(getpid) > 0);
	same_as_before();
}

/* ------------------------------------------------------------------ */
/* Ends									*/

static void just_wait(void *fd)
{
	char c;

	CALL(read, (long)fd, &c, 1);
}

static void spin_outside(void *ready)
{
	*(volatile int *)ready = 1;
	for (;;)
		pause();
}

/* Nothing of @t's is on the CPU: it sleeps until somebody wakes it. */
static void wait_until_asleep(const struct kit_thread *t)
{
	const volatile unsigned int *wake = &t->record->wake;

	while (!(*wake & (UKL_WAKE_SLEEPING | UKL_WAKE_LEADING)))
		sched_yield();
}

/* exit() with threads that never called, and threads that wait. */
TEST(exit_orders)
{
	struct kit_thread t[4];
	volatile int ready[4] = { 0 };
	int p[2], how, i, waits;
	pid_t child;

	remember();
	good(CALL(pipe, p));
	for (how = 0; how < 40; how++) {
		child = kit_fork();
		if (!child) {
			waits = how & 1;
			for (i = 0; i < 4; i++)
				kit_start(&t[i], waits ? just_wait :
					  spin_outside, waits ?
					  (void *)(long)p[0] :
					  (void *)&ready[i]);
			for (i = 0; i < 4; i++) {
				while (!waits && !ready[i])
					sched_yield();
				if (waits)
					wait_until_asleep(&t[i]);
			}
			good(CALL(socket, AF_INET, SOCK_STREAM, 0));
			/* Not while others might come back to its code. */
			check_eq(ukl_detach(me), -EBUSY);
			if (how & 2)
				ukl_exit(me, 0);
			_exit(0);
		}
		kit_wait(child);
	}
	good(CALL(close, p[0]));
	good(CALL(close, p[1]));
	same_as_before();
}

static void call_for_ever(void *unused)
{
	static char buf[4096];

	(void)unused;
	for (;;)
		CALL(getrandom, buf, sizeof(buf), 0);
}

/*
 * ukl_exit() cuts no thread off inside the kernel, and whoever waits for the
 * process finds its files closed.
 */
TEST(exit_closes_first)
{
	struct kit_thread t[3];
	int i, round, status;
	pid_t child;

	remember();
	for (round = 0; round < 200; round++) {
		child = kit_fork();
		if (!child) {
			kit_listen(PORT);
			for (i = 0; i < 3; i++)
				kit_start(&t[i], call_for_ever, NULL);
			host_sleep_us(round * 37 % 1000);
			ukl_exit(me, 7);
		}
		check_eq(waitpid(child, &status, 0), child);
		check(WIFEXITED(status));
		check_eq(WEXITSTATUS(status), 7);
		good(CALL(close, kit_listen(PORT)));
	}
	same_as_before();
}

/* The CPU was handed to a process that is stopped, and is killed then. */
TEST(killed_with_the_cpu)
{
	struct kit_thread t;
	int p[2], round;
	pid_t child, killer;

	remember();
	good(CALL(pipe, p));
	for (round = 0; round < 10; round++) {
		child = kit_fork();
		if (!child) {
			kit_start(&t, just_wait, (void *)(long)p[0]);
			wait_until_asleep(&t);
			kill(getpid(), SIGSTOP);
			_exit(9);
		}
		check_eq(waitpid(child, NULL, WUNTRACED), child);
		killer = fork();
		if (!killer) {
			host_sleep_us(50000);
			kill(child, SIGKILL);
			_exit(0);
		}
		check_eq(CALL(write, p[1], "x", 1), 1);
		/* Blocks, so that the reader's turn comes. */
		check_eq(CALL(poll, 0, 0, 10), 0);
		check_eq(waitpid(child, NULL, 0), child);
		check_eq(waitpid(killer, NULL, 0), killer);
		/* The byte was read or was not; the pipe must be empty. */
		good(CALL(fcntl, p[0], F_SETFL, O_NONBLOCK));
		CALL(read, p[0], &t, 1);
		good(CALL(fcntl, p[0], F_SETFL, 0));
	}
	good(CALL(close, p[0]));
	good(CALL(close, p[1]));
	same_as_before();
}

/* One's own end, when the other threads are always in the kernel. */
TEST(end_while_busy)
{
	struct kit_thread t[3];
	int i, round, status;
	pid_t child;

	remember();
	for (round = 0; round < 100; round++) {
		child = kit_fork();
		if (!child) {
			for (i = 0; i < 3; i++)
				kit_start(&t[i], call_for_ever, NULL);
			host_sleep_us(1000 + round * 37 % 1000);
			ukl_kill(me, getpid(), SIGKILL);
			kit_fail("lived on");
		}
		check_eq(waitpid(child, &status, 0), child);
		check(WIFSIGNALED(status));
		check_eq(WTERMSIG(status), SIGKILL);
		check(CALL(getpid) > 0);
	}
	same_as_before();
}

/* The parent ends before its child, which goes on and talks. */
TEST(orphan)
{
	char buf[8];
	int p[2];
	pid_t child;

	remember();
	good(CALL(pipe, p));
	child = kit_fork();
	if (!child) {
		pid_t grand = kit_fork();

		if (!grand) {
			host_sleep_us(100000);
			check_eq(CALL(getppid), 1);
			check_eq(CALL(write, p[1], "alone", 5), 5);
			_exit(0);
		}
		_exit(0);
	}
	kit_wait(child);
	check_eq(CALL(read, p[0], buf, 8), 5);
	good(CALL(close, p[0]));
	good(CALL(close, p[1]));
	same_as_before();
}

ROLE(stranger)
{
	int c = kit_connect(PORT);
	char buf[16];

	check_eq(CALL(getppid), 1);
	check_eq(CALL(write, c, "hello", 5), 5);
	check_eq(CALL(read, c, buf, 16), 5);
	check(!memcmp(buf, "world", 5));
}

/* Programs that share nothing but the instance. */
TEST(unrelated_processes)
{
	pid_t pid[8];
	char buf[16];
	int l, s, i;

	remember();
	l = kit_listen(PORT);
	for (i = 0; i < 8; i++)
		pid[i] = kit_spawn("stranger", NULL);
	for (i = 0; i < 8; i++) {
		s = good(CALL(accept4, l, 0, 0, 0));
		check_eq(CALL(read, s, buf, 16), 5);
		check_eq(CALL(write, s, "world", 5), 5);
		check_eq(CALL(read, s, buf, 16), 0);
		good(CALL(close, s));
	}
	for (i = 0; i < 8; i++)
		kit_wait(pid[i]);
	good(CALL(close, l));
	same_as_before();
}

/*
 * A child that connects, does @what and is killed there: the peer sees the
 * end of the stream, soon, and nothing is left.
 */
static void killed_while(void (*what)(int s), int inside)
{
	struct pollfd pfd;
	char buf[16];
	double begun;
	int l, s, p[2], i;
	pid_t child;

	remember();
	for (i = 0; i < 10; i++) {
		l = kit_listen(PORT);
		check(!host_pipe(p));
		child = kit_fork();
		if (!child) {
			good(CALL(close, l));
			s = kit_connect(PORT);
			check_eq(write(p[1], "x", 1), 1);
			what(s);
			_exit(5);
		}
		s = good(CALL(accept4, l, 0, 0, 0));
		good(CALL(close, l));
		check_eq(read(p[0], buf, 1), 1);
		close(p[0]);
		close(p[1]);
		host_sleep_us(inside ? 10000 : 1000);
		begun = now();
		kit_kill_and_reap(child);
		pfd = (struct pollfd){ s, POLLIN, 0 };
		check_eq(CALL(poll, &pfd, 1, 2000), 1);
		check_eq(CALL(read, s, buf, 16), 0);
		if (now() - begun > 0.2)
			kit_fail("the peer saw the end after %.0f ms",
				 (now() - begun) * 1e3);
		good(CALL(close, s));
		same_as_before();
	}
}

static void spin(int s)
{
	(void)s;
	for (;;)
		__asm__ volatile("pause");
}

static void receive(int s)
{
	char c;

	CALL(read, s, &c, 1);
}

static void accept_for_ever(int s)
{
	int l = kit_listen(PORT + 1);

	(void)s;
	CALL(accept4, l, 0, 0, 0);
}

static void wait_many(int s)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int epoll = good(CALL(epoll_create1, 0));

	good(CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, s, &ev));
	CALL(epoll_wait, epoll, &ev, 1, -1);
}

static void sleep_long(int s)
{
	struct timespec ts = { 1000, 0 };

	(void)s;
	CALL(nanosleep, &ts, 0);
}

static void threads_wait(int s)
{
	struct kit_thread t[5];
	int i;

	for (i = 0; i < 5; i++)
		kit_start(&t[i], just_wait, (void *)(long)s);
	for (;;)
		pause();
}

TEST(killed_in_user_mode)
{
	killed_while(spin, 0);
}

TEST(killed_in_recv)
{
	killed_while(receive, 1);
}

TEST(killed_in_accept)
{
	killed_while(accept_for_ever, 1);
}

TEST(killed_in_epoll_wait)
{
	killed_while(wait_many, 1);
}

TEST(killed_in_nanosleep)
{
	killed_while(sleep_long, 1);
}

TEST(killed_with_threads)
{
	killed_while(threads_wait, 1);
}

/* A crash is a death like any other. */
static void crash(int s)
{
	int *volatile nowhere = (int *)8;

	(void)s;
	host_sleep_us(5000);
	*nowhere = 1;
}

TEST(crashed)
{
	killed_while(crash, 1);
}

/* The reader in one process, the writer in another, by turns. */
TEST(blocking_read_between_processes)
{
	int a[2], b[2], i;
	pid_t child;
	char c;

	good(CALL(pipe, a));
	good(CALL(pipe, b));
	child = kit_fork();
	if (!child) {
		for (i = 0; i < 5000; i++) {
			check_eq(CALL(read, a[0], &c, 1), 1);
			check_eq(CALL(write, b[1], &c, 1), 1);
		}
		_exit(0);
	}
	for (i = 0; i < 5000; i++) {
		check_eq(CALL(write, a[1], "x", 1), 1);
		check_eq(CALL(read, b[0], &c, 1), 1);
	}
	kit_wait(child);
}
