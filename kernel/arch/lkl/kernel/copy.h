/* SPDX-License-Identifier: GPL-2.0-only */
/* Long copies, made without the CPU: between process.c and native.c. */
#ifndef _UKL_KERNEL_COPY_H
#define _UKL_KERNEL_COPY_H

#include <ukl/abi.h>

/* What a host thread is to do before it goes on with its call. */
struct ukl_copy {
	void			*to;
	const void		*from;
	unsigned long		n;	/* afterwards, what was not copied */
	bool			due;
};

extern struct ukl_copy ukl_copies[UKL_MAX_THREADS];

/* Somebody on another host CPU waits for this one. */
extern unsigned int ukl_wanted;

/* uaccess.S: ukl_user_copy() of 256 bytes and more, on this CPU. */
unsigned long ukl_copy_here(void *to, const void *from, unsigned long n);

/* Whether that uses vector registers, and whether this processor would let it. */
extern bool ukl_wide_copies;
bool ukl_can_copy_wide(void);

/* uaccess.S comes here with what is long. */
unsigned long ukl_copy_outside(void *to, const void *from, unsigned long n);

#endif
