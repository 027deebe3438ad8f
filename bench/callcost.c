// SPDX-License-Identifier: GPL-2.0-only
/*
 * callcost ROW SECONDS: what one call costs a program, in seconds.
 *
 * An ordinary program: its calls are libc's, and it does not know on which
 * kernel it runs.  The median of many short batches, so that what a neighbour
 * on the machine steals for a moment does not count.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCH_SECONDS	0.001
#define WARM_UP		2000	/* calls, after which nothing is rewritten */
#define MAX_BATCHES	20000

extern char **environ;

static int fd;

static void __attribute__((noreturn)) die(const char *what, int err)
{
	fprintf(stderr, "%s: %s\n", what, strerror(err));
	exit(1);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void udp_setup(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };

	fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (void *)&a, sizeof(a)))
		die("a socket", errno);
}

static void getsockname_once(void)
{
	struct sockaddr_in a;
	socklen_t n = sizeof(a);

	if (getsockname(fd, (void *)&a, &n))
		die("getsockname", errno);
}

static void recv_once(void)
{
	char b[64];

	if (recv(fd, b, sizeof(b), 0) != -1 || errno != EAGAIN)
		die("recv", errno);
}

static void getppid_once(void)
{
	getppid();
}

static void file_setup(void)
{
	fd = open("/proc/self/exe", O_RDONLY);
	if (fd < 0)
		die("a file", errno);
}

static void read_once(void)
{
	char b[64];

	if (pread(fd, b, sizeof(b), 0) != sizeof(b))
		die("pread", errno);
}

static void reap(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		die("a child", errno);
	if (status)
		die("a child's end", EIO);
}

static void fork_once(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	reap(pid);
}

static char *const true_line[] = { "/bin/true", NULL };
static char *const python_line[] = { "/usr/bin/python3", "-c", "pass", NULL };

static void fork_exec_once(void)
{
	pid_t pid = fork();

	if (!pid) {
		execve(true_line[0], true_line, environ);
		_exit(127);
	}
	reap(pid);
}

static void vfork_exec_once(void)
{
	pid_t pid = vfork();

	if (!pid) {
		execve(true_line[0], true_line, environ);
		_exit(127);
	}
	reap(pid);
}

static void spawn(char *const *line)
{
	pid_t pid;
	int err = posix_spawn(&pid, line[0], NULL, NULL, line, environ);

	if (err)
		die("posix_spawn", err);
	reap(pid);
}

static void spawn_once(void)
{
	spawn(true_line);
}

static void python_once(void)
{
	spawn(python_line);
}

static const struct {
	const char *name;
	void (*setup)(void);
	void (*once)(void);
	int processes;
} rows[] = {
	{ "getsockname", udp_setup, getsockname_once, 0 },
	{ "recv", udp_setup, recv_once, 0 },
	{ "getppid", NULL, getppid_once, 0 },
	{ "pread", file_setup, read_once, 0 },
	{ "fork", NULL, fork_once, 1 },
	{ "fork-exec", NULL, fork_exec_once, 1 },
	{ "vfork-exec", NULL, vfork_exec_once, 1 },
	{ "spawn", NULL, spawn_once, 1 },
	{ "python", NULL, python_once, 1 },
};

static double timed(void (*once)(void), long n)
{
	double start = now();

	while (n--)
		once();
	return now() - start;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Seconds for one; at least three, however long they take. */
static double median(void (*once)(void), double seconds, long n)
{
	static double batch[MAX_BATCHES];
	double end = now() + seconds;
	int i;

	for (i = 0; i < MAX_BATCHES && (now() < end || i < 3); i++)
		batch[i] = timed(once, n) / n;
	qsort(batch, i, sizeof(batch[0]), by_value);
	return batch[i / 2];
}

int main(int argc, char **argv)
{
	unsigned int i;
	long n = 1;

	if (argc != 3) {
		fprintf(stderr, "usage: %s ROW SECONDS\n", argv[0]);
		return 125;
	}
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(argv[1], rows[i].name))
			continue;
		if (rows[i].setup)
			rows[i].setup();
		timed(rows[i].once, rows[i].processes ? 2 : WARM_UP);
		while (timed(rows[i].once, n) < BATCH_SECONDS)
			n *= 2;
		printf("%.12g\n", median(rows[i].once, atof(argv[2]), n));
		return 0;
	}
	die(argv[1], EINVAL);
}
