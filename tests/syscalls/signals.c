// SPDX-License-Identifier: GPL-2.0-only
/* Signals, in and out of calls of both kernels. */
#include "same.h"
#include <ucontext.h>

static volatile int count, last;

static void on(int sig)
{
	count++;
	last = sig;
}

static void catch(int sig, int flags)
{
	struct sigaction a = { .sa_handler = on, .sa_flags = flags };

	sigaction(sig, &a, NULL);
}

TEST(interrupted)
{
	int s[2], port, l = listener(&port), ep = epoll_create1(0);
	struct epoll_event ev = { EPOLLIN, { .fd = 0 } };
	struct timespec ts = { 5, 0 }, left = { 0, 0 };
	struct pollfd f;
	fd_set set;
	char b;
	int p[2];

	pair(s);
	MUST(pipe(p));
	catch(SIGALRM, 0);
	f = (struct pollfd){ s[0], POLLIN, 0 };
	epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &ev);
	alarm_ms(20, 0);
	SHOW(read(s[0], &b, 1));
	alarm_ms(20, 0);
	SHOW(accept(l, NULL, NULL));
	alarm_ms(20, 0);
	SHOW(poll(&f, 1, -1));
	alarm_ms(20, 0);
	SHOW(epoll_wait(ep, &ev, 1, -1));
	alarm_ms(20, 0);
	SHOW(read(p[0], &b, 1));
	alarm_ms(20, 0);
	SHOW(nanosleep(&ts, &left));
	SHOW(left.tv_sec);
	alarm_ms(20, 0);
	SHOW(pause());
	FD_ZERO(&set);
	FD_SET(s[0], &set);
	FD_SET(p[0], &set);
	alarm_ms(20, 0);
	SHOW(select(20, &set, NULL, NULL, NULL));
	epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev);
	alarm_ms(20, 0);
	SHOW(epoll_wait(ep, &ev, 1, 3000));
	SHOW(count);
}

static void *feed(void *arg)
{
	usleep(60000);
	write(*(int *)arg, "x", 1);
	return NULL;
}

TEST(restarted)
{
	int s[2], p[2];
	struct pollfd f;
	pthread_t t;
	char b;

	pair(s);
	MUST(pipe(p));
	catch(SIGALRM, SA_RESTART);
	alarm_ms(20, 0);
	pthread_create(&t, NULL, feed, &s[1]);
	SHOW(read(s[0], &b, 1));
	SHOW(count);
	pthread_join(t, NULL);
	alarm_ms(20, 0);
	pthread_create(&t, NULL, feed, &p[1]);
	SHOW(read(p[0], &b, 1));
	SHOW(count);
	pthread_join(t, NULL);
	f = (struct pollfd){ s[0], POLLIN, 0 };
	alarm_ms(20, 0);
	SHOW(poll(&f, 1, 2000));	/* never restarted */
	SHOW(count);
}

static void on_info(int sig, siginfo_t *si, void *uc_)
{
	ucontext_t *uc = uc_;

	printf("signal %d code %d value %d, own pid %d, masked %d\n", sig,
	       si->si_code, si->si_value.sival_int, si->si_pid == getpid(),
	       sigismember(&uc->uc_sigmask, SIGUSR2));
	fflush(stdout);
	count++;
}

TEST(information)
{
	struct sigaction a = { .sa_sigaction = on_info,
			       .sa_flags = SA_SIGINFO }, old;
	sigset_t set;

	sigaction(SIGUSR1, &a, NULL);
	sigaction(SIGRTMIN, &a, NULL);
	SHOW(sigaction(SIGUSR1, NULL, &old));
	SHOW(old.sa_sigaction == on_info);
	SHOW(old.sa_flags & ~0x04000000);
	SHOW(kill(getpid(), SIGUSR1));
	SHOW(raise(SIGUSR1));
	SHOW(sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 42 }));
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGRTMIN);
	SHOW(sigprocmask(SIG_BLOCK, &set, NULL));
	sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 1 });
	sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 2 });
	sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 3 });
	SHOW(sigpending(&set));
	SHOW(sigismember(&set, SIGRTMIN));
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	SHOW(sigprocmask(SIG_UNBLOCK, &set, NULL));
	SHOW(count);
	SHOW(sigaction(SIGKILL, &a, NULL));
	SHOW(sigaction(99, &a, NULL));
	SHOW(sigaction(SIGKILL, NULL, &old));
}

static volatile int depth, max_depth;

static void nest(int sig)
{
	depth++;
	if (depth > max_depth)
		max_depth = depth;
	if (count++ < 3)
		raise(sig);
	depth--;
}

TEST(flags_of_handlers)
{
	struct sigaction a = { .sa_handler = nest, .sa_flags = 0 }, old;

	sigaction(SIGUSR1, &a, NULL);
	raise(SIGUSR1);
	SHOW(max_depth);
	SHOW(count);
	count = max_depth = 0;
	a.sa_flags = SA_NODEFER;
	sigaction(SIGUSR1, &a, NULL);
	raise(SIGUSR1);
	SHOW(max_depth);
	SHOW(count);
	a.sa_flags = SA_RESETHAND;
	a.sa_handler = on;
	sigaction(SIGUSR1, &a, NULL);
	raise(SIGUSR1);
	sigaction(SIGUSR1, NULL, &old);
	SHOW(old.sa_handler == SIG_DFL);
	signal(SIGUSR1, SIG_IGN);
	SHOW(raise(SIGUSR1));
	sigaction(SIGUSR1, NULL, &old);
	SHOW(old.sa_handler == SIG_IGN);
}

TEST(temporary_masks)
{
	int s[2], p[2], ep = epoll_create1(0), n;
	struct timespec ts = { 2, 0 };
	struct epoll_event ev = { EPOLLIN, { .fd = 0 } };
	sigset_t block, empty, now_set;
	struct pollfd f[2];
	fd_set set;

	pair(s);
	MUST(pipe(p));
	catch(SIGUSR1, 0);
	sigemptyset(&empty);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigprocmask(SIG_BLOCK, &block, NULL);
	f[0] = (struct pollfd){ s[0], POLLIN, 0 };
	f[1] = (struct pollfd){ p[0], POLLIN, 0 };
	for (n = 1; n <= 2; n++) {
		raise(SIGUSR1);
		SHOW(count);
		SHOW(ppoll(f, n, &ts, &empty));
		SHOW(count);
		sigprocmask(SIG_BLOCK, NULL, &now_set);
		SHOW(sigismember(&now_set, SIGUSR1));
	}
	raise(SIGUSR1);
	FD_ZERO(&set);
	FD_SET(s[0], &set);
	SHOW(pselect(10, &set, NULL, NULL, &ts, &empty));
	SHOW(count);
	epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &ev);
	raise(SIGUSR1);
	SHOW(epoll_pwait(ep, &ev, 1, 2000, &empty));
	SHOW(count);
	raise(SIGUSR1);
	SHOW(sigsuspend(&empty));
	SHOW(count);
	sigprocmask(SIG_BLOCK, NULL, &now_set);
	SHOW(sigismember(&now_set, SIGUSR1));
	/* Ready at once: the signal stays where it is. */
	write(s[1], "x", 1);
	usleep(1000);
	ts.tv_sec = 0;
	SHOW(ppoll(f, 1, &ts, NULL));
	raise(SIGUSR1);
	SHOW(count);
	SHOW(poll(f, 2, 0));
	SHOW(count);
	SHOW(sigtimedwait(&block, NULL, &ts));
	SHOW(sigtimedwait(&block, NULL, &ts));
}

static sigjmp_buf out;

static void jump(int sig)
{
	(void)sig;
	count++;
	siglongjmp(out, 1);
}

TEST(jumps_out_of_waits)
{
	int s[2], p[2];
	char b;

	pair(s);
	MUST(pipe(p));
	signal(SIGALRM, jump);
	while (count < 30) {
		if (sigsetjmp(out, 1))
			continue;
		alarm_ms(2, 0);
		read(count % 2 ? s[0] : p[0], &b, 1);
	}
	SHOW(count);
	SHOW(write(s[1], "x", 1));
	SHOW(read(s[0], &b, 1));
}

static char altstack[65536];

static void on_alt(int sig)
{
	char here;

	(void)sig;
	printf("on the alternate stack: %d\n",
	       &here > altstack && &here < altstack + sizeof(altstack));
	fflush(stdout);
}

TEST(alternate_stack)
{
	stack_t ss = { .ss_sp = altstack, .ss_size = sizeof(altstack) }, old;
	struct sigaction a = { .sa_handler = on_alt, .sa_flags = SA_ONSTACK };

	SHOW(sigaltstack(NULL, &old));
	SHOW(old.ss_flags);
	SHOW(sigaltstack(&ss, NULL));
	SHOW(sigaltstack(NULL, &old));
	SHOW(old.ss_sp == altstack && old.ss_size == sizeof(altstack));
	sigaction(SIGUSR1, &a, NULL);
	raise(SIGUSR1);
	a.sa_flags = 0;
	sigaction(SIGUSR1, &a, NULL);
	raise(SIGUSR1);
	ss.ss_size = 100;
	SHOW(sigaltstack(&ss, NULL));
	ss.ss_flags = 77;
	SHOW(sigaltstack(&ss, NULL));
	ss.ss_flags = SS_DISABLE;
	SHOW(sigaltstack(&ss, NULL));
	SHOW(sigaltstack((void *)16, NULL));
}

static void on_fault(int sig, siginfo_t *si, void *uc_)
{
	printf("fault %d at %lx\n", sig, (long)si->si_addr);
	fflush(stdout);
	(void)uc_;
	count++;
	siglongjmp(out, 1);
}

static int overflow(volatile char *p)
{
	volatile char big[4096];

	big[0] = p ? p[0] : 0;
	return overflow(big) + big[0];
}

static void on_overflow(int sig)
{
	(void)sig;
	count++;
	siglongjmp(out, 1);
}

TEST(faults)
{
	struct sigaction a = { .sa_sigaction = on_fault,
			       .sa_flags = SA_SIGINFO };
	stack_t ss = { .ss_sp = altstack, .ss_size = sizeof(altstack) };
	int s[2];

	sigaction(SIGSEGV, &a, NULL);
	if (!sigsetjmp(out, 1))
		*(volatile int *)24 = 1;
	pair(s);
	SHOW(write(s[0], (void *)24, 8));	/* no signal for this one */
	if (!sigsetjmp(out, 1))
		*(volatile int *)32 = 1;
	SHOW(count);
	sigaltstack(&ss, NULL);
	a.sa_handler = on_overflow;
	a.sa_flags = SA_ONSTACK;
	sigaction(SIGSEGV, &a, NULL);
	if (!sigsetjmp(out, 1))
		overflow(NULL);
	SHOW(count);
	a.sa_handler = on;
	sigaction(SIGSEGV, &a, NULL);
	SHOW(kill(getpid(), SIGSEGV));
	SHOW(count);
}

TEST(blocked_faults_and_traps)
{
	sigset_t set, old;
	pid_t child;

	catch(SIGSEGV, 0);
	catch(SIGSYS, 0);
	sigfillset(&set);
	SHOW(sigprocmask(SIG_SETMASK, &set, NULL));
	SHOW(sigprocmask(SIG_BLOCK, NULL, &old));
	SHOW(sigismember(&old, SIGSYS) + sigismember(&old, SIGSEGV));
	SHOW(getppid() > 1);
	SHOW(socket(AF_INET, SOCK_STREAM, 0));
	SHOW(raise(SIGSYS));
	SHOW(count);
	sigemptyset(&set);
	SHOW(sigprocmask(SIG_SETMASK, &set, NULL));
	SHOW(count);
	SHOW(last);
	signal(SIGSYS, SIG_IGN);
	SHOW(raise(SIGSYS));
	SHOW(getppid() > 1);
	signal(SIGSYS, SIG_DFL);
	fflush(stdout);
	child = fork();
	if (!child) {
		raise(SIGSYS);
		_exit(0);
	}
	reap(child);
}

TEST(children)
{
	int i, s[2];
	pid_t child;
	sigset_t set, old;

	catch(SIGCHLD, SA_RESTART);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	pair(s);
	for (i = 0; i < 5; i++) {
		sigprocmask(SIG_BLOCK, &set, &old);
		child = fork();
		if (!child) {
			write(s[0], "x", 1);
			_exit(i);
		}
		SHOW(sigsuspend(&old));
		sigprocmask(SIG_SETMASK, &old, NULL);
		reap(child);
	}
	SHOW(count);
	signal(SIGCHLD, SIG_IGN);
	child = fork();
	if (!child)
		_exit(0);
	SHOW(waitpid(child, NULL, 0));
}

TEST(stop_and_continue)
{
	int s[2], status;
	pid_t child;
	char b;

	pair(s);
	child = fork();
	if (!child) {
		read(s[0], &b, 1);
		_exit(3);
	}
	usleep(10000);
	SHOW(kill(child, SIGSTOP));
	SHOW(waitpid(child, &status, WUNTRACED) == child);
	SHOW(WIFSTOPPED(status));
	write(s[1], "x", 1);
	SHOW(waitpid(child, &status, WNOHANG));
	SHOW(kill(child, SIGCONT));
	reap(child);
}

static void use_sockets(int sig)
{
	static int s[2];
	char b;

	(void)sig;
	if (!s[0])
		udp_pair(s);
	write(s[0], "y", 1);
	read(s[1], &b, 1);
	count++;
}

/* Handlers that make calls, at every point of the program's calls. */
TEST(hammer)
{
	struct itimerval it = { { 0, 150 }, { 0, 150 } };
	struct sigaction a = { .sa_handler = use_sockets,
			       .sa_flags = SA_RESTART };
	long i, bad = 0;
	int s[2];
	char b[4];

	pair(s);
	sigaction(SIGALRM, &a, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
	for (i = 0; i < 60000 || count < 500; i++) {
		bad += write(s[0], "abc", 3) != 3;
		bad += recv(s[1], b, 3, MSG_WAITALL) != 3;
		bad += memcmp(b, "abc", 3) != 0;
		bad += getppid() < 1;
	}
	memset(&it, 0, sizeof(it));
	setitimer(ITIMER_REAL, &it, NULL);
	SHOW(bad);
	SHOW(count >= 500);
}

/* Each wait is ended by a signal of its own. */
TEST(no_lost_signal)
{
	struct itimerval it = { { 0, 0 }, { 0, 0 } };
	int s[2], p[2], i, bad = 0;
	struct pollfd f[2];

	pair(s);
	MUST(pipe(p));
	f[0] = (struct pollfd){ s[0], POLLIN, 0 };
	f[1] = (struct pollfd){ p[0], POLLIN, 0 };
	catch(SIGALRM, 0);
	for (i = 0; i < 2000; i++) {
		int before = count;

		/* Twice, since the first may come before the wait. */
		it.it_value.tv_usec = 60 + i % 50;
		it.it_interval.tv_usec = 5000;
		setitimer(ITIMER_REAL, &it, NULL);
		bad += poll(f, 1 + i % 2, 3000) != -1;
		bad += count == before;
	}
	SHOW(bad);
}

static void *loop_until_cancelled(void *arg)
{
	char b;

	for (;;)
		read(*(int *)arg, &b, 1);
	return NULL;
}

TEST(cancellation)
{
	int s[2], i;
	pthread_t t;
	void *ret;
	long n = 0;

	pair(s);
	for (i = 0; i < 20; i++) {
		pthread_create(&t, NULL, loop_until_cancelled, &s[0]);
		if (i % 2)
			usleep(1000);
		pthread_cancel(t);
		pthread_join(t, &ret);
		n += ret == PTHREAD_CANCELED;
	}
	SHOW(n);
}

TEST(exec_resets_handlers_keeps_mask)
{
	sigset_t set;

	catch(SIGUSR1, 0);
	signal(SIGUSR2, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_SETMASK, &set, NULL);
	execl("/bin/sh", "sh", "-c",
	      "grep -E 'SigBlk' /proc/self/status;"
	      "grep SigIgn /proc/self/status | tr 1357 xxxx | tail -c 4", NULL);
}
