/* SPDX-License-Identifier: GPL-2.0-only */
/* A thread that runs on the CPU of those who talk to it. */
#ifndef UKL_HOST_COMPANY_H
#define UKL_HOST_COMPANY_H

#include <sched.h>

/* All zero at first.  Of one thread. */
struct company {
	unsigned int cpu;	/* of most of those who rang lately, … */
	int votes;		/* … as far as they agree */
	int wanted;		/* so many; 0: no company */
	int shared;		/* we run on CPU n-1 only, … */
	cpu_set_t before;	/* … and before where we might */
};

/* Somebody on @cpu has something for the calling thread. */
void company_vote(struct company *c, unsigned int cpu);

/*
 * If @wanted votes agree on a CPU, the calling thread goes there, until half of
 * them are lost; 0: it goes where it likes.
 */
void company_choose(struct company *c, int wanted);

#endif
