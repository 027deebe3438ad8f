// SPDX-License-Identifier: GPL-2.0-only
/*
 * netload ROW[=SIZE] SECONDS IP PORT [stay]: the client of netserve, on the
 * host's kernel or, compiled for it, in the instance whose control socket
 * UKL_CONTROL names.
 * Prints one number, transactions per second for the rows tcp-rr,
 * udp-rr and crr (a connection per transaction), bits per second for in and
 * out, where SIZE bytes are written at a time.  Then it tells the server to
 * end, except with "stay"; the row "quit" does nothing else.
 */
#include "call.h"

#include <signal.h>

#define CONGESTION	"cubic"
#define BULK_SIZE	(128 * 1024)
#define MAX_LOST	3	/* datagrams */

static struct sockaddr_in server;
static char buffer[BULK_SIZE];
static uint32_t size = BULK_SIZE;

static int ask(char what)
{
	struct timeval patience = { .tv_sec = 3 };
	int s = tcp_socket(CONGESTION);

	MUST(SYS_setsockopt, s, SOL_SOCKET, SO_RCVTIMEO, &patience,
	     sizeof(patience));
	MUST(SYS_setsockopt, s, SOL_SOCKET, SO_SNDTIMEO, &patience,
	     sizeof(patience));
	MUST(SYS_connect, s, &server, sizeof(server));
	MUST(SYS_write, s, &what, 1);
	return s;
}

static void expect(long got, long want)
{
	if (got != want)
		die("the connection ended early", EPIPE);
}

static double tcp_rr(double seconds)
{
	double start, end;
	unsigned long n = 0;
	int s = ask('e'), i;

	start = now();
	do {
		for (i = 0; i < 16; i++, n++) {
			MUST(SYS_write, s, buffer, 1);
			expect(MUST(SYS_read, s, buffer, 1), 1);
		}
		end = now();
	} while (end < start + seconds);
	MUST(SYS_close, s);
	return n / (end - start);
}

static double crr(double seconds)
{
	double start = now(), end;
	unsigned long n = 0;
	int s;

	do {
		s = ask('e');
		MUST(SYS_write, s, buffer, 1);
		expect(MUST(SYS_read, s, buffer, 1), 1);
		MUST(SYS_close, s);
		n++;
		end = now();
	} while (end < start + seconds);
	return n / (end - start);
}

static double udp_rr(double seconds)
{
	struct timeval patience = { .tv_usec = 100000 };
	unsigned long n = 0, lost = 0;
	int control = ask('u'), s, i;
	double start, end;
	long got;

	/* Its answer: the server listens. */
	expect(MUST(SYS_read, control, buffer, 1), 1);
	s = MUST(SYS_socket, AF_INET, SOCK_DGRAM, 0);
	MUST(SYS_setsockopt, s, SOL_SOCKET, SO_RCVTIMEO, &patience,
	     sizeof(patience));
	MUST(SYS_connect, s, &server, sizeof(server));
	start = now();
	do {
		for (i = 0; i < 16; i++) {
			MUST(SYS_write, s, buffer, 1);
			got = CALL(SYS_read, s, buffer, 1);
			if (got == 1)
				n++;
			else if (got != -EAGAIN || ++lost > MAX_LOST)
				die("no answer", got == 1 ? EIO : got);
		}
		end = now();
	} while (end < start + seconds);
	MUST(SYS_close, control);
	return n / (end - start);
}

/* To the side under test: what it counts, until its answer is here. */
static double in(double seconds)
{
	uint64_t bytes;
	int s = ask('i'), i;
	double start = now();

	do {
		for (i = 0; i < 8; i++)
			MUST(SYS_write, s, buffer, size);
	} while (now() < start + seconds);
	MUST(SYS_shutdown, s, SHUT_WR);
	expect(MUST(SYS_read, s, &bytes, sizeof(bytes)), sizeof(bytes));
	seconds = now() - start;
	MUST(SYS_close, s);
	return bytes * 8 / seconds;
}

static double out(double seconds)
{
	unsigned long bytes = 0;
	double start, end;
	int s = ask('o');
	long n;

	MUST(SYS_write, s, &size, sizeof(size));
	start = now();
	do {
		n = MUST(SYS_read, s, buffer, sizeof(buffer));
		if (!n)
			expect(n, 1);
		bytes += n;
		end = now();
	} while (end < start + seconds);
	MUST(SYS_close, s);
	return bytes * 8 / (end - start);
}

static const struct {
	const char *name;
	double (*run)(double seconds);
} rows[] = {
	{ "tcp-rr", tcp_rr },
	{ "udp-rr", udp_rr },
	{ "crr", crr },
	{ "in", in },
	{ "out", out },
};

static void quit(void)
{
	MUST(SYS_close, ask('q'));
}

int main(int argc, char **argv)
{
	char *given = argc > 1 ? strchr(argv[1], '=') : NULL;
	unsigned int i;

	if (given) {
		*given = 0;
		size = atoi(given + 1);
	}
	if (argc < 5 || argc > 6 || (argc == 6 && strcmp(argv[5], "stay")) ||
	    size < 1 || size > sizeof(buffer)) {
		fprintf(stderr, "usage: %s ROW[=SIZE] SECONDS IP PORT "
			"[stay]\n", argv[0]);
		return 125;
	}
	signal(SIGPIPE, SIG_IGN);
	side_begin(getenv("UKL_CONTROL") ? getenv("UKL_CONTROL") : "here");
	server = address(argv[3], atoi(argv[4]));
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!strcmp(argv[1], rows[i].name)) {
			printf("%.12g\n", rows[i].run(atof(argv[2])));
			if (argc == 5)
				quit();
			side_end();
			return 0;
		}
	if (!strcmp(argv[1], "quit")) {
		quit();
		side_end();
		return 0;
	}
	die(argv[1], EINVAL);
}
