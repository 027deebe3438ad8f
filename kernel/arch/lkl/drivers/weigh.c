// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which of two ways moves more data?
 *
 * It depends on who else wants a CPU and on what the others wait for, and none
 * of that can be seen from here; but what moves can.  So one turn in many goes
 * the other way than its neighbours, and if more data moves in it than in both
 * of them, that way is kept.  Where a trial changes nothing, the next is later.
 * After a silence, or with few events in a turn, the first way is taken.
 */
#include <linux/minmax.h>
#include <asm/ukl.h>
#include "weigh.h"

#define EVENTS_MIN	200	/* in a turn: with fewer nothing is gained */
#define PAUSE_MIN	8
#define PAUSE_MAX	64

/* An eighth more: turns of the same way differ by less, mostly. */
static bool better(unsigned long trial, unsigned long before,
		   unsigned long after)
{
	return trial > max(before, after) / 8 * 9;
}

static void pause(struct ukl_weigh *w, unsigned int turns)
{
	w->pause = w->left = turns;
	w->phase = UKL_WEIGH_PAUSE;
}

static void end_turn(struct ukl_weigh *w, unsigned long rate)
{
	switch (w->phase) {
	case UKL_WEIGH_PAUSE:
		if (--w->left)
			return;
		w->before = rate;
		w->other = !w->other;
		w->phase = UKL_WEIGH_TRIAL;
		return;
	case UKL_WEIGH_TRIAL:
		w->trial = rate;
		w->other = !w->other;
		w->phase = UKL_WEIGH_AFTER;
		return;
	case UKL_WEIGH_AFTER:
		if (better(w->trial, w->before, rate)) {
			w->other = !w->other;
			pause(w, PAUSE_MIN);
		} else {
			pause(w, min(2 * w->pause, PAUSE_MAX));
		}
	}
}

bool ukl_weigh(struct ukl_weigh *w, unsigned long now)
{
	unsigned long turn = ukl_boot_info.tsc_khz * UKL_WEIGH_US / 1000;
	unsigned long passed = now - w->at;

	w->events++;
	if (passed < turn)
		return w->other;
	if (passed > 2 * turn || w->events < EVENTS_MIN) {
		w->other = false;
		pause(w, PAUSE_MIN);
	} else {
		end_turn(w, (w->bytes << 20) / passed);
	}
	w->at = now;
	w->events = 0;
	w->bytes = 0;
	return w->other;
}
