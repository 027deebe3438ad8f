/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/* Private calls for the kernel host's TCP, see kernel/arch/lkl/drivers/bulk.c. */
#ifndef _UAPI_UKL_BULK_H
#define _UAPI_UKL_BULK_H

#include <ukl/abi.h>

#define UKL_BULK_PIECES	64

/** Where data is: struct iovec. */
struct ukl_piece {
	void			*data;
	unsigned long		size;
};

/* The first argument is the slot of the caller's UKL_DEV_USER. */

/* (slot, TCP socket, struct ukl_piece *, least): what there is to read, if that
 * is @least bytes or more.  It stays in the queue, and in memory until the next
 * such call for @slot.  Returns the number of pieces. */
#define UKL_SYS_BULK		(UKL_SYS + 0x100)
#define UKL_SYS_BULK_PEEK	(UKL_SYS_BULK + 0)
/* (slot, struct ukl_piece *): a block of memory, mostly of 128 KB */
#define UKL_SYS_BULK_ROOM	(UKL_SYS_BULK + 1)
/* (slot, TCP socket, n): sends the first @n bytes of that block; how many of
 * them were taken.  It must not be written to any more, and may be read until
 * the next call. */
#define UKL_SYS_BULK_SEND	(UKL_SYS_BULK + 2)
#define UKL_SYS_BULK_END	(UKL_SYS_BULK + 3)

#endif
