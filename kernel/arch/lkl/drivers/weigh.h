/* SPDX-License-Identifier: GPL-2.0-only */
/* Which of two ways moves more data?  They are tried in turns. */
#ifndef _UKL_DRIVERS_WEIGH_H
#define _UKL_DRIVERS_WEIGH_H

#include <linux/types.h>

#define UKL_WEIGH_US	10000	/* a turn */

enum ukl_weigh_phase { UKL_WEIGH_PAUSE, UKL_WEIGH_TRIAL, UKL_WEIGH_AFTER };

/* All zero at first. */
struct ukl_weigh {
	bool			other;	/* the other way, in this turn */
	enum ukl_weigh_phase	phase;
	unsigned long		at;	/* cycles: when the turn began */
	unsigned int		events;	/* in it */
	unsigned long		bytes;	/* moved in it */
	unsigned long		before, trial;	/* bytes per cycle << 20 */
	unsigned int		pause, left;	/* turns until the next trial */
};

/* Another event, at @now cycles; true: it goes the other way. */
bool ukl_weigh(struct ukl_weigh *w, unsigned long now);

#endif
