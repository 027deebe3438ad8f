// SPDX-License-Identifier: GPL-2.0-only
/* fork, vfork, spawn, exec, threads, and every way to end. */
#include "same.h"
#include <linux/sched.h>

static char *self_argv(const char *role, const char *arg, char **argv)
{
	argv[0] = "again";
	argv[1] = (char *)role;
	argv[2] = (char *)arg;
	argv[3] = NULL;
	return "/proc/self/exe";
}

/* What an exec'd image of this program does: talks over fd 10. */
TEST(role_talk)
{
	char b[8] = { 0 };
	int type;
	socklen_t n = sizeof(type);

	SHOW(getsockopt(10, SOL_SOCKET, SO_TYPE, &type, &n));
	SHOW(write(10, "exec", 4));
	SHOW(read(10, b, 4));
	puts(b);
	SHOW(fcntl(11, F_GETFD));
	SHOW(getsockopt(11, SOL_SOCKET, SO_TYPE, &type, &n));
	SHOW(getenv("LD_PRELOAD") == NULL);
	SHOW(getenv("UKL_INSTANCE") == NULL);
	SHOW(getenv("UKL_STATE") == NULL);
	printf("environment: %s\n", environ && environ[0] ? "some" : "none");
	SHOW(socket(AF_INET, SOCK_STREAM, 0));
}

TEST(role_epoll)
{
	struct epoll_event ev;

	SHOW(epoll_wait(10, &ev, 1, 1000));
	SHOW(ev.data.fd);
	ev.events = EPOLLIN;
	SHOW(epoll_ctl(10, EPOLL_CTL_ADD, socket(AF_INET, SOCK_DGRAM, 0),
		       &ev));
}

TEST(fork_shares_sockets)
{
	int s[2], port, l = listener(&port);
	char b[8];
	pid_t child;

	pair(s);
	child = fork();
	if (!child) {
		close(s[0]);
		if (write(s[1], "child", 5) != 5 || getppid() <= 1)
			_exit(1);
		_exit(accept(l, NULL, NULL) > 0 ? 7 : 8);
	}
	SHOW(recv(s[0], b, 5, MSG_PEEK));
	close(dial(port));
	reap(child);
	SHOW(read(s[0], b, 8));
	SHOW(write(s[1], "me", 2));
	SHOW(read(s[0], b, 8));
	SHOW(write(s[0], "me", 2));
}

TEST(close_in_child_leaves_parents)
{
	int s[2];
	char b;

	pair(s);
	if (!fork()) {
		close(s[0]);
		close(s[1]);
		_exit(0);
	}
	wait(NULL);
	SHOW(write(s[0], "x", 1));
	SHOW(read(s[1], &b, 1));
	if (!fork())
		_exit(0);
	wait(NULL);
	SHOW(write(s[0], "x", 1));
	close(s[0]);
	SHOW(read(s[1], &b, 1));
	SHOW(read(s[1], &b, 1));
}

/* The peer sees the end at once when the last holder exits. */
TEST(exit_closes)
{
	int s[2], i;
	char b;

	for (i = 0; i < 20; i++) {
		pair(s);
		if (!fork())
			_exit(0);
		close(s[0]);
		wait(NULL);
		if (read(s[1], &b, 1))
			puts("not closed");
		close(s[1]);
	}
}

TEST(vfork_and_exec)
{
	int s[2], status;
	volatile int changed = 0;
	char b[8], *argv[4], *path = self_argv("role_talk", "", argv);
	pid_t child;

	pair(s);
	fflush(stdout);
	child = vfork();
	if (!child) {
		changed = 1;
		dup2(s[0], 10);
		fcntl(s[1], F_DUPFD_CLOEXEC, 11);
		execve(path, argv, environ);
		_exit(9);
	}
	read(s[1], b, 4);
	write(s[1], "pong", 4);
	reap(child);
	SHOW(changed);
	SHOW(fcntl(10, F_GETFD));	/* its table was its own */
	child = vfork();
	if (!child)
		_exit(3);
	reap(child);
	child = vfork();
	if (!child) {
		execve("/nonexistent", argv, environ);
		_exit(errno == ENOENT ? 4 : 5);
	}
	reap(child);
	SHOW(waitpid(-1, &status, 0));
}

TEST(spawn)
{
	char *argv[] = { "sh", "-c", "cat <&10; exit 5", NULL };
	posix_spawn_file_actions_t a;
	posix_spawnattr_t attr;
	sigset_t set;
	int s[2];
	pid_t child;

	pair(s);
	write(s[1], "from a socket\n", 14);
	shutdown(s[1], SHUT_WR);
	posix_spawn_file_actions_init(&a);
	posix_spawn_file_actions_adddup2(&a, s[0], 10);
	posix_spawn_file_actions_addclose(&a, s[1]);
	posix_spawnattr_init(&attr);
	sigfillset(&set);
	posix_spawnattr_setsigdefault(&attr, &set);
	sigemptyset(&set);
	posix_spawnattr_setsigmask(&attr, &set);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF |
				 POSIX_SPAWN_SETSIGMASK);
	fflush(stdout);
	SHOW(posix_spawnp(&child, "sh", &a, &attr, argv, environ));
	reap(child);
	SHOW(posix_spawnp(&child, "not-a-program", &a, &attr, argv, environ));
	SHOW(posix_spawn(&child, "/etc/passwd", NULL, NULL, argv, environ));
}

TEST(system_and_popen)
{
	char line[64];
	FILE *f;

	fflush(stdout);
	SHOW(WEXITSTATUS(system("exit 3")));
	SHOW(WEXITSTATUS(system("kill -9 $$")));
	f = popen("echo out; read x; exit 2", "r");
	SHOW(fgets(line, 64, f) == line);
	puts(line);
	SHOW(WEXITSTATUS(pclose(f)));
	f = popen("cat", "w");
	fputs("to cat\n", f);
	SHOW(pclose(f));
}

static void exec_with(char **env)
{
	int s[2];
	char b[8], *argv[4], *path = self_argv("role_talk", "", argv);
	pid_t child;

	pair(s);
	fflush(stdout);
	child = fork();
	if (!child) {
		dup2(s[0], 10);
		dup3(s[0], 11, O_CLOEXEC);
		execve(path, argv, env);
		_exit(9);
	}
	read(s[1], b, 4);
	write(s[1], "pong", 4);
	reap(child);
}

TEST(exec_keeps_sockets)
{
	exec_with(environ);
}

TEST(exec_with_an_empty_environment)
{
	char *none[] = { NULL };

	exec_with(none);
	exec_with(NULL);
}

TEST(exec_with_a_huge_environment)
{
	static char *env[2000], text[2000][64];
	int i;

	for (i = 0; i < 1999; i++) {
		snprintf(text[i], 64, "VARIABLE_%04d=%040d", i, i);
		env[i] = text[i];
	}
	exec_with(env);
}

TEST(exec_epoll)
{
	char *argv[4], *path = self_argv("role_epoll", "", argv);
	int s[2], ep = epoll_create1(0);
	struct epoll_event ev = { EPOLLIN, { .fd = 42 } };
	pid_t child;

	pair(s);
	epoll_ctl(ep, EPOLL_CTL_ADD, s[1], &ev);
	write(s[0], "x", 1);
	fflush(stdout);
	child = fork();
	if (!child) {
		dup2(ep, 10);
		execve(path, argv, environ);
		_exit(9);
	}
	reap(child);
}

TEST(role_goes_first)
{
	int s = socket(AF_INET, SOCK_STREAM, 0);

	SHOW(s);
	SHOW(shutdown(s, SHUT_WR));
	fflush(stdout);
	kill(getppid(), SIGCONT);
}

/* A parent that does not run before its child has executed a program. */
TEST(exec_before_the_parent_goes_on)
{
	char *argv[4], *path = self_argv("role_goes_first", "", argv);
	pid_t child;

	fflush(stdout);
	child = syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0);
	if (!child) {
		kill(getppid(), SIGSTOP);
		execve(path, argv, environ);
		_exit(9);
	}
	reap(child);
}

static void script(const char *path, const char *text)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0755);

	write(fd, text, strlen(text));
	close(fd);
}

TEST(exec_failures_and_scripts)
{
	char *argv[] = { "x", "arg", NULL }, name[256], text[300];
	int fd;

	fflush(stdout);
	SHOW(execve("/nonexistent", argv, environ));
	SHOW(execve("/tmp", argv, environ));
	SHOW(execve("/etc/passwd", argv, environ));
	SHOW(execve("", argv, environ));
	SHOW(execve("/etc/passwd/x", argv, environ));
	snprintf(name, sizeof(name), "/tmp/same-%d", getpid());
	script(name, "not a format");
	SHOW(execve(name, argv, environ));
	script(name, "#!/nonexistent/interpreter\n");
	SHOW(execve(name, argv, environ));
	script(name, "#!/bin/sh\necho script ${0%%-*} $#\nexit 6\n");
	if (!fork()) {
		execve(name, argv, environ);
		_exit(9);
	}
	wait(NULL);
	snprintf(text, sizeof(text), "%s2", name);
	fd = open(name, O_RDONLY);
	if (!fork()) {
		fexecve(fd, argv, environ);
		_exit(9);
	}
	wait(NULL);
	if (!fork()) {
		snprintf(text, sizeof(text), "#!%s\n", name);
		strcat(name, "2");
		script(name, text);
		execve(name, argv, environ);
		_exit(9);
	}
	wait(NULL);
	unlink(name);
	strcat(name, "2");
	unlink(name);
	fd = open("/bin/echo", O_RDONLY | O_CLOEXEC);
	if (!fork()) {
		fexecve(fd, argv, environ);
		_exit(9);
	}
	wait(NULL);
}

static void *thread_work(void *arg)
{
	int s[2];
	char b[4];
	long i, bad = 0;

	pair(s);
	for (i = 0; i < 50; i++) {
		bad += write(s[0], "abc", 3) != 3;
		bad += recv(s[1], b, 3, MSG_WAITALL) != 3;
	}
	close(s[0]);
	close(s[1]);
	(void)arg;
	return (void *)bad;
}

TEST(threads)
{
	pthread_t t[8];
	long bad = 0;
	void *ret;
	int i, round;

	for (round = 0; round < 25; round++) {
		for (i = 0; i < 8; i++)
			bad += pthread_create(&t[i], NULL, thread_work, NULL);
		for (i = 0; i < 8; i++) {
			pthread_join(t[i], &ret);
			bad += (long)ret;
		}
	}
	SHOW(bad);
	SHOW(socket(AF_INET, SOCK_STREAM, 0));
}

static void *sleeper(void *arg)
{
	char b;

	read(*(int *)arg, &b, 1);
	return NULL;
}

TEST(exit_with_threads_inside)
{
	int s[2], i;
	pthread_t t;
	pid_t child;

	for (i = 0; i < 10; i++) {
		child = fork();
		if (!child) {
			pair(s);
			pthread_create(&t, NULL, sleeper, &s[0]);
			pthread_create(&t, NULL, sleeper, &s[1]);
			usleep(2000);
			if (i % 2)
				exit(i);
			execl("/bin/sh", "sh", "-c", "exit 44", NULL);
		}
		reap(child);
	}
}

static void *fork_in_thread(void *arg)
{
	int status = 0;
	pid_t child = fork();

	(void)arg;
	if (!child) {
		int s[2];
		char b;

		pair(s);
		write(s[0], "x", 1);
		_exit(read(s[1], &b, 1) == 1 ? 5 : 6);
	}
	waitpid(child, &status, 0);
	return (void *)(long)WEXITSTATUS(status);
}

TEST(fork_from_threads)
{
	pthread_t t[4], noise;
	void *ret;
	int i, s[2], round;
	long sum = 0;

	pair(s);
	pthread_create(&noise, NULL, sleeper, &s[0]);
	for (round = 0; round < 5; round++) {
		for (i = 0; i < 4; i++)
			pthread_create(&t[i], NULL, fork_in_thread, NULL);
		for (i = 0; i < 4; i++) {
			pthread_join(t[i], &ret);
			sum += (long)ret;
		}
	}
	SHOW(sum);
}

TEST(main_thread_exits_first)
{
	pid_t child = fork();

	if (!child) {
		pthread_t t;
		static int s[2];

		pair(s);
		pthread_create(&t, NULL, sleeper, &s[0]);
		if (!fork()) {
			usleep(20000);
			write(s[1], "x", 1);
			_exit(0);
		}
		pthread_exit(NULL);
	}
	reap(child);
}

TEST(raw_clones)
{
	struct clone_args a = { .exit_signal = SIGCHLD };
	int pidfd = -1, tid = 0;
	siginfo_t si = { 0 };
	long pid;

	fflush(stdout);
	pid = syscall(SYS_clone3, &a, sizeof(a));
	if (!pid)
		_exit(8);
	reap(pid);
	a.flags = CLONE_PIDFD | CLONE_PARENT_SETTID;
	a.pidfd = (uintptr_t)&pidfd;
	a.parent_tid = (uintptr_t)&tid;
	pid = syscall(SYS_clone3, &a, sizeof(a));
	if (!pid)
		_exit(9);
	SHOW(tid == pid);
	SHOW(pidfd);
	SHOW(waitid(P_PIDFD, pidfd, &si, WEXITED));
	SHOW(si.si_status);
	SHOW(syscall(SYS_clone3, &a, 8));
	a.flags = CLONE_THREAD;
	SHOW(syscall(SYS_clone3, &a, sizeof(a)));
	a.flags = 1UL << 60;
	SHOW(syscall(SYS_clone3, &a, sizeof(a)));
	pid = syscall(SYS_fork);
	if (!pid)
		syscall(SYS_exit, 3);
	reap(pid);
	pid = syscall(SYS_clone, SIGCHLD | CLONE_FILES, 0, 0, 0, 0);
	if (!pid) {
		dup2(socket(AF_INET, SOCK_DGRAM, 0), 33);
		syscall(SYS_exit_group, 3);
	}
	reap(pid);
	SHOW(fcntl(33, F_GETFD));
}

TEST(ways_to_end)
{
	pid_t child;

	fflush(stdout);
	if (!(child = fork()))
		abort();
	reap(child);
	if (!(child = fork()))
		exit(300);
	reap(child);
	if (!(child = fork())) {
		*(volatile int *)8 = 1;
		_exit(0);
	}
	reap(child);
	if (!(child = fork())) {
		kill(getpid(), SIGKILL);
		_exit(0);
	}
	reap(child);
	if (!(child = fork())) {
		raise(SIGSEGV);
		_exit(0);
	}
	reap(child);
	if (!(child = fork())) {
		int s[2];
		char b;

		pair(s);
		read(s[0], &b, 1);
		_exit(0);
	}
	usleep(20000);
	SHOW(kill(child, SIGKILL));
	reap(child);
	if (!(child = fork())) {
		pause();
		_exit(0);
	}
	usleep(10000);
	SHOW(kill(child, SIGTERM));
	reap(child);
	SHOW(kill(child, 0));
	SHOW(kill(1 << 30, SIGKILL));
}

TEST(daemon_like)
{
	int s[2], i;
	char b[8];

	pair(s);
	if (!fork()) {
		setsid();
		if (fork())
			_exit(0);
		for (i = 3; i < 1024; i++)
			if (i != s[0])
				close(i);
		chdir("/");
		write(s[0], "daemon", 6);
		_exit(0);
	}
	wait(NULL);
	close(s[0]);
	SHOW(recv(s[1], b, 6, MSG_WAITALL));
	SHOW(read(s[1], b, 8));
}
