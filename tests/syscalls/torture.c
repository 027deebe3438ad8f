// SPDX-License-Identifier: GPL-2.0-only
/*
 * Signals at every point of calls, in numbers: none is lost, and no handler
 * runs while its thread is in the library kernel.
 *
 * (On the host there is no library kernel, and nothing to be found in it.)
 */
#include "same.h"

#include <ukl/abi.h>

#define CALLS		257000
#define HANDLERS	20000
#define WAITS		20000
#define JUMPS		200

static volatile long handlers, inside;
static struct ukl_shared *shared;

/* Where this thread is written down, or NULL. */
static struct ukl_thread *own_record(void)
{
	const struct ukl_image *image = (void *)UKL_BASE;
	unsigned char there;
	int i;

	if (mincore((void *)UKL_BASE, 4096, &there))
		return NULL;
	shared = image->shared;
	for (i = 0; i < UKL_MAX_THREADS; i++)
		if (shared->thread[i].state == UKL_TH_LIVE &&
		    shared->thread[i].tid == (int)syscall(SYS_gettid))
			return &shared->thread[i];
	printf("no record of this thread\n");
	return NULL;
}

static struct ukl_thread *record;

static void look(void)
{
	handlers++;
	inside += record && (record->in_call || record->in_kernel ||
			     (shared->lock & ~UKL_LOCK_WAITERS) == record->id);
}

static int datagrams[2];

static void call_in_handler(int sig)
{
	char b;

	(void)sig;
	look();
	write(datagrams[0], "y", 1);
	read(datagrams[1], &b, 1);
}

static void every(long us, void (*handler)(int))
{
	struct itimerval it = { { 0, us }, { 0, us } };
	struct sigaction a = { .sa_handler = handler, .sa_flags = SA_RESTART };

	sigaction(SIGALRM, &a, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
}

/* 10 kHz, and each handler makes calls of its own. */
TEST(calls_under_alarms)
{
	long calls, bad = 0;
	char b[4];
	int s[2];

	pair(s);
	udp_pair(datagrams);
	record = own_record();
	every(100, call_in_handler);
	for (calls = 0; calls < CALLS || handlers < HANDLERS; calls += 2) {
		bad += write(s[0], "abc", 3) != 3;
		bad += recv(s[1], b, 3, MSG_WAITALL) != 3;
		bad += memcmp(b, "abc", 3) != 0;
	}
	every(0, call_in_handler);
	SHOW(bad);
	SHOW(calls >= CALLS && handlers >= HANDLERS);
	SHOW(inside);
}

static void on_alarm(int sig)
{
	(void)sig;
	look();
}

/* Each wait is ended by an alarm that comes when it has just begun, or before. */
TEST(waits_under_alarms)
{
	struct sigaction a = { .sa_handler = on_alarm };
	struct itimerval it = { { 0, 5000 }, { 0, 53 } };
	long lost = 0, ended = 0, before, i;
	struct pollfd f;
	int s[2];

	pair(s);
	f = (struct pollfd){ s[0], POLLIN, 0 };
	record = own_record();
	sigaction(SIGALRM, &a, NULL);
	for (i = 0; i < WAITS; i++) {
		before = handlers;
		setitimer(ITIMER_REAL, &it, NULL);
		ended += poll(&f, 1, 3000) == -1 && errno == EINTR;
		lost += handlers == before;
	}
	SHOW(ended);
	SHOW(lost);
	SHOW(inside);
}

static sigjmp_buf out;

static void jump(int sig)
{
	(void)sig;
	look();
	siglongjmp(out, 1);
}

TEST(jumps_under_alarms)
{
	int s[2];
	char b;

	pair(s);
	record = own_record();
	signal(SIGALRM, jump);
	while (handlers < JUMPS) {
		if (sigsetjmp(out, 1))
			continue;
		alarm_ms(1, 0);
		read(s[0], &b, 1);
	}
	SHOW(handlers);
	SHOW(inside);
	SHOW(write(s[1], "x", 1));
	SHOW(read(s[0], &b, 1));
}
