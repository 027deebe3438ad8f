// SPDX-License-Identifier: GPL-2.0-only
/*
 * boottime UKL-HOST ARGUMENT...: starts a kernel host, and prints the seconds
 * from its execve() to its ready line, then ends it.
 *
 * A program of its own because what starts it should weigh nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS	10000

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "boottime: %s: %s\n", what, strerror(errno));
	exit(1);
}

int main(int argc, char **argv)
{
	int ready[2], started[2], status, i;
	char line[32] = "", fd[16], *args[64];
	struct pollfd pfd;
	double begin, end;
	pid_t child;

	if (argc < 2 || argc > 60) {
		fprintf(stderr, "usage: boottime UKL-HOST ARGUMENT...\n");
		return 125;
	}
	if (pipe(ready) || pipe(started))
		die("pipe");
	for (i = 0; i < argc - 1; i++)
		args[i] = argv[i + 1];
	snprintf(fd, sizeof(fd), "%d", ready[1]);
	args[i++] = "--ready-fd";
	args[i++] = fd;
	args[i] = NULL;

	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ready[0]);
		close(started[0]);
		begin = now();
		if (write(started[1], &begin, sizeof(begin)) < 0)
			_exit(125);
		close(started[1]);
		execv(args[0], args);
		perror(args[0]);
		_exit(125);
	}
	close(ready[1]);
	pfd = (struct pollfd){ .fd = ready[0], .events = POLLIN };
	i = poll(&pfd, 1, PATIENCE_MS) == 1 ?
	    read(ready[0], line, sizeof(line) - 1) : 0;
	end = now();
	if (read(started[0], &begin, sizeof(begin)) != sizeof(begin))
		die("pipe");
	if (i > 0)
		kill(atoi(line), SIGTERM);
	else
		kill(child, SIGKILL);
	if (waitpid(child, &status, 0) < 0)
		die("waitpid");
	if (i <= 0 || status) {
		fprintf(stderr, "boottime: the kernel host was not ready, or "
			"did not end in order (status %#x)\n", status);
		return 1;
	}
	printf("%.9f\n", end - begin);
	return 0;
}
