/* SPDX-License-Identifier: GPL-2.0-only */
/* Long copies, made without the CPU: between process.c and native.c. */
#ifndef _UKL_KERNEL_COPY_H
#define _UKL_KERNEL_COPY_H

#include <ukl/abi.h>
#include <uapi/asm/unistd.h>

/* What a host thread is to do before it goes on with its call. */
struct ukl_copy {
	void			*to;
	const void		*from;
	unsigned long		n;	/* afterwards, what was not copied */
	bool			due;

	/* What it may fill before a long write to @fd, see longwrite.c. */
	int			fd;
	void			*block;	/* left to it; NULL: nothing is */
	void			*taken;	/* by it: the same, to be filled */
	unsigned long		room;	/* of it */
	/* These bytes are where they are to be copied already. */
	const void		*filled_from;
	void			*filled_to;
	unsigned long		filled;
};

extern struct ukl_copy ukl_copies[UKL_MAX_THREADS];

/* Somebody on another host CPU waits for this one. */
extern unsigned int ukl_wanted;

/* uaccess.S: ukl_user_copy() of 256 bytes and more, on this CPU. */
unsigned long ukl_copy_here(void *to, const void *from, unsigned long n);

/* The same, and what was copied is in no cache of this CPU's then. */
unsigned long ukl_copy_past(void *to, const void *from, unsigned long n);

/*
 * Whether they use vector registers, and whether this processor would let them.
 */
extern bool ukl_wide_copies;
bool ukl_can_copy_wide(void);

/* longwrite.c */
#define LONG_WRITE	(48 * 1024)
#define LONG_BLOCK	(128 * 1024)

static __always_inline bool is_long_write(long nr, const long *a)
{
	return (nr == __NR_write || nr == __NR_sendto) && a[2] >= LONG_WRITE;
}

long ukl_long_write(struct ukl_thread *host, long nr, const long *a);

struct page;
struct socket;

/* A block for @size bytes or less; NULL. */
struct page *ukl_long_block(unsigned long size);

/* Sends the first @n bytes of @block, which is the task's from now on. */
long ukl_send_filled(struct socket *sock, struct page *block, unsigned long n);

/* uaccess.S comes here with what is long. */
unsigned long ukl_copy_outside(void *to, const void *from, unsigned long n);

#endif
