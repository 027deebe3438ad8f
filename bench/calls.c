// SPDX-License-Identifier: GPL-2.0-only
/*
 * calls ROW SECONDS CONTROL [FIRST-CPU SECOND-CPU]: measures one row on one
 * kernel and prints one number.
 *
 * Rows of one thread give the median of many short batches, so that what a
 * neighbour on the machine steals for a moment does not count.  Rows of two
 * threads give the mean over the whole time.
 */
#include "call.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#define BATCH_SECONDS	0.001
#define MAX_BATCHES	20000
#define READ_SIZE	(128 * 1024)

/* ------------------------------------------------------------------ */
/* One thread.								*/

static int fds[2];
static struct epoll_event event;

static void getppid_once(void)
{
	CALL(SYS_getppid);
}

static void epoll_setup(void)
{
	uint64_t one = 1;

	fds[0] = MUST(SYS_epoll_create1, 0);
	fds[1] = MUST(SYS_eventfd2, 0, 0);
	MUST(SYS_write, fds[1], &one, sizeof(one));
	event.events = EPOLLIN;
	MUST(SYS_epoll_ctl, fds[0], EPOLL_CTL_ADD, fds[1], &event);
}

static void epoll_once(void)
{
	if (CALL(SYS_epoll_wait, fds[0], &event, 1, 0) != 1)
		die("epoll_wait", EIO);
}

static void eventfd_setup(void)
{
	fds[0] = MUST(SYS_eventfd2, 0, 0);
}

static void eventfd_once(void)
{
	uint64_t one = 1;

	MUST(SYS_write, fds[0], &one, sizeof(one));
	MUST(SYS_read, fds[0], &one, sizeof(one));
}

static void udp_setup(void)
{
	struct sockaddr_in sin = address("127.0.0.1", 0);
	int len = sizeof(sin), i;

	for (i = 0; i < 2; i++)
		fds[i] = MUST(SYS_socket, AF_INET, SOCK_DGRAM, 0);
	MUST(SYS_bind, fds[1], &sin, sizeof(sin));
	MUST(SYS_getsockname, fds[1], &sin, &len);
	MUST(SYS_connect, fds[0], &sin, sizeof(sin));
}

static void udp_once(void)
{
	char data[64] = "";

	MUST(SYS_sendto, fds[0], data, sizeof(data), 0, 0, 0);
	MUST(SYS_recvfrom, fds[1], data, sizeof(data), 0, 0, 0);
}

static void socket_once(void)
{
	int s = MUST(SYS_socket, AF_INET, SOCK_STREAM, 0);

	MUST(SYS_close, s);
}

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

/* Seconds per call. */
static double one_thread(void (*once)(void), double seconds)
{
	static double batch[MAX_BATCHES];
	double end;
	long n = 1;
	int i;

	/* Also warms up. */
	while (timed(once, n) < BATCH_SECONDS)
		n *= 2;
	end = now() + seconds;
	for (i = 0; i < MAX_BATCHES && now() < end; i++)
		batch[i] = timed(once, n) / n;
	qsort(batch, i, sizeof(batch[0]), by_value);
	return batch[i / 2];
}

/* ------------------------------------------------------------------ */
/* Two threads over a loopback connection.				*/

/* The same on both kernels, unless a row is about their own choices. */
static const char *congestion = "cubic";

static struct {
	int socket;
	int cpu;
	double end;
	unsigned long bytes;
} peer;

static void pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity", errno);
}

/* Returns this thread's end; the peer's is in peer.socket. */
static int connected(void)
{
	struct sockaddr_in sin = address("127.0.0.1", 0);
	int len = sizeof(sin), listener, s;

	listener = tcp_socket(congestion);
	MUST(SYS_bind, listener, &sin, sizeof(sin));
	MUST(SYS_listen, listener, 1);
	MUST(SYS_getsockname, listener, &sin, &len);
	s = tcp_socket(congestion);
	MUST(SYS_connect, s, &sin, sizeof(sin));
	peer.socket = MUST(SYS_accept, listener, 0, 0);
	MUST(SYS_close, listener);
	return s;
}

static void sink(void *unused)
{
	char *buffer = malloc(READ_SIZE);
	long n;

	(void)unused;
	pin(peer.cpu);
	while ((n = MUST(SYS_read, peer.socket, buffer, READ_SIZE)) > 0)
		peer.bytes += n;
	peer.end = now();
	free(buffer);
}

static void echo(void *unused)
{
	char byte;

	(void)unused;
	pin(peer.cpu);
	while (MUST(SYS_read, peer.socket, &byte, 1) > 0)
		MUST(SYS_write, peer.socket, &byte, 1);
}

/* Bits per second, as the reader sees them. */
static double bulk(double seconds, long size)
{
	char *buffer = calloc(1, size);
	int s = connected(), i;
	pthread_t thread = spawn(sink, NULL);
	double start = now();

	do {
		for (i = 0; i < 8; i++)
			MUST(SYS_write, s, buffer, size);
	} while (now() < start + seconds);
	MUST(SYS_shutdown, s, SHUT_WR);
	pthread_join(thread, NULL);
	free(buffer);
	return peer.bytes * 8 / (peer.end - start);
}

/* Seconds per transaction. */
static double request_response(double seconds)
{
	int s = connected(), i;
	pthread_t thread = spawn(echo, NULL);
	double start = now(), end;
	unsigned long n = 0;
	char byte = 0;

	do {
		for (i = 0; i < 16; i++, n++) {
			MUST(SYS_write, s, &byte, 1);
			MUST(SYS_read, s, &byte, 1);
		}
		end = now();
	} while (end < start + seconds);
	MUST(SYS_shutdown, s, SHUT_WR);
	pthread_join(thread, NULL);
	return (end - start) / n;
}

/* ------------------------------------------------------------------ */

/* Seconds from the kernel's first line to PID 1, by the stamps in its log. */
static double booted(void)
{
	static char log[128 * 1024];
	long n = MUST(SYS_syslog, 3 /* READ_ALL */, log, sizeof(log) - 1);
	const char *line;
	double stamp;

	log[n] = 0;
	line = strstr(log, "] Run /init");
	while (line && line > log && line[-1] != '[')
		line--;
	if (!line || sscanf(line, "%lf", &stamp) != 1)
		die("no line about PID 1 in the kernel's log", ENOENT);
	return stamp;
}

static const struct {
	const char *name;
	void (*setup)(void);
	void (*once)(void);
} rows[] = {
	{ "getppid", NULL, getppid_once },
	{ "epoll", epoll_setup, epoll_once },
	{ "eventfd", eventfd_setup, eventfd_once },
	{ "udp", udp_setup, udp_once },
	{ "socket", NULL, socket_once },
	{ "fork", NULL, fork_and_wait },
};

int main(int argc, char **argv)
{
	double seconds, result = -1;
	unsigned int i;

	if (argc != 4 && argc != 6) {
		fprintf(stderr, "usage: %s ROW SECONDS CONTROL "
			"[FIRST-CPU SECOND-CPU]\n", argv[0]);
		return 125;
	}
	seconds = atof(argv[2]);
	peer.cpu = argc == 6 ? atoi(argv[5]) : -1;
	side_begin(argv[3]);
	if (argc == 6)
		pin(atoi(argv[4]));
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(argv[1], rows[i].name))
			continue;
		if (rows[i].setup)
			rows[i].setup();
		result = one_thread(rows[i].once, seconds);
	}
	if (!strncmp(argv[1], "default-bulk=", 13)) {
		congestion = NULL;
		argv[1] += 8;
	}
	if (!strncmp(argv[1], "bulk=", 5))
		result = bulk(seconds, atol(argv[1] + 5));
	else if (!strcmp(argv[1], "rr"))
		result = request_response(seconds);
	else if (!strcmp(argv[1], "booted"))
		result = booted();
	if (result < 0)
		die(argv[1], EINVAL);
	side_end();
	printf("%.12g\n", result);
	return 0;
}
