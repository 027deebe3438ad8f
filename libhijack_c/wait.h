/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Waiting on both kernels.
 */
#ifndef UKL_SHIM_WAIT_H
#define UKL_SHIM_WAIT_H

#include "shim.h"

struct pollfd;

struct timespec_ {
	long sec, nsec;
};

#define NEVER	0x7fffffffffffffffL

#pragma GCC visibility push(hidden)
long time_now(void);
long timespec_ns(u64 user, long *ns);
long lib_wait(struct ctx *c, struct pollfd *also, unsigned int n, bool *ready,
	      long nr, long a, long b, long d, long e, long f, long g);
#pragma GCC visibility pop

#endif
