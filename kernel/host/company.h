/* SPDX-License-Identifier: GPL-2.0-only */
/* A thread that runs on the CPU of those who talk to it. */
#ifndef UKL_HOST_COMPANY_H
#define UKL_HOST_COMPANY_H

#include <sched.h>

/* All zero at first.  Of one thread. */
struct company {
	unsigned int cpu;	/* of most of those who rang lately, … */
	int votes;		/* … as far as they agree */
	int shared;		/* we run on CPU n-1 only, … */
	cpu_set_t before;	/* … and before where we might */
};

/* Somebody on @cpu has something for the calling thread. */
void company_vote(struct company *c, unsigned int cpu);

/* If it is @wanted, and they agree on a CPU, the calling thread goes there. */
void company_choose(struct company *c, int wanted);

#endif
