// SPDX-License-Identifier: GPL-2.0-only
/*
 * A thread that runs on the CPU of those who talk to it.
 *
 * Where many talk, "ukl-tcp" shares the CPU of the program that they talk to:
 * what one has to say is in that CPU's caches then, and the two take turns with
 * the library kernel's one CPU anyway.  Not where much is said, which both may
 * copy at once, nor where few talk, who are answered sooner by somebody who
 * looks for their words on a CPU of his own, unless it is in the way there (see
 * splice.c).  Which of these it is, and how many votes it takes, the caller says.
 */
#define _GNU_SOURCE
#include "company.h"

void company_vote(struct company *c, unsigned int cpu)
{
	if (c->cpu == cpu) {
		c->votes += c->votes < c->wanted;
	} else if (--c->votes < 0) {
		c->cpu = cpu;
		c->votes = 0;
	}
}

void company_choose(struct company *c, int wanted)
{
	cpu_set_t one;

	c->wanted = wanted;
	if (c->votes > wanted)
		c->votes = wanted;
	if (c->shared && (!wanted || c->votes < wanted / 2 ||
			  c->shared != (int)c->cpu + 1)) {
		sched_setaffinity(0, sizeof(c->before), &c->before);
		c->shared = 0;
	}
	if (c->shared || !wanted || c->votes < wanted ||
	    c->cpu >= CPU_SETSIZE ||
	    sched_getaffinity(0, sizeof(c->before), &c->before) ||
	    !CPU_ISSET(c->cpu, &c->before))
		return;
	CPU_ZERO(&one);
	CPU_SET(c->cpu, &one);
	if (!sched_setaffinity(0, sizeof(one), &one))
		c->shared = c->cpu + 1;
}
