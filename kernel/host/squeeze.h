/* SPDX-License-Identifier: GPL-2.0-only */
/* Waits until the window of somebody who makes small writes is full. */
#ifndef UKL_HOST_SQUEEZE_H
#define UKL_HOST_SQUEEZE_H

/* All zero at first.  Of one socket of the host's. */
struct squeeze {
	int squeezed;		/* its window is kept small */
	int before;		/* SO_RCVBUF then, as the host tells it */
	int size, window;	/* SO_RCVBUF, as it is asked for, and the clamp */
	unsigned long ahead;	/* bytes received when waiting begins; 0: it has */
	long packet;		/* how long his were, on an average, … */
	long weight, weighed;	/* … and how much memory so many bytes of them took */
	int loopback;		/* he is on this host, in this namespace */
	int full;		/* bytes that come at once when it has opened, … */
	int much;		/* … in a look more than this, if they had gathered */
	long nap, nap_most;	/* ns, then it is read … */
	long cycle;		/* … once in so many … */
	long turned;		/* … and then the last time; 0: it was disturbed */
	long filled;		/* when it was full last */
	int opening;		/* windows, before it changes */
	int found;		/* the nap has been too short */
	int missed;		/* so often, one after another */
	int in_vain;		/* waits, one after another */
	long stint;		/* how long it is squeezed, ns … */
	long until;		/* … CLOCK_MONOTONIC in ns */
	long since;		/* when he began to be timed; 0: he is not … */
	unsigned long bytes;	/* … and what had been received then, … */
	unsigned int packets;	/* … in so many */
	long rate;		/* bytes per second, without */
	int settling;		/* until that can be compared … */
	int judged;		/* … and it was */
	long again;		/* when to try again, after waits in vain; … */
	long pause;		/* … after so long */
};

/*
 * Waits until the window of the host's connected socket @fd is full.  1: it is
 * only being made small, and was not waited for; -1: it is not squeezed, since
 * the peer is not near, or does not fill it.
 */
int squeeze(struct squeeze *q, int fd);

/*
 * Whether all that is queued is to be read at once: each read tells him that he
 * may go on, and he had better be told once.
 */
int squeeze_is_whole(const struct squeeze *q);

/* Gives the window back to the host, if it was squeezed. */
void squeeze_end(struct squeeze *q, int fd);

#endif
