/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/* Private calls for the kernel host's TCP, see kernel/arch/lkl/drivers/bulk.c. */
#ifndef _UAPI_UKL_BULK_H
#define _UAPI_UKL_BULK_H

#include <ukl/abi.h>

#define UKL_BULK_PIECES	64
#define UKL_BULK_BLOCKS	4
#define UKL_BULK_BLOCK	(32 * 1024)

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
/* (slot, struct ukl_piece *): UKL_BULK_BLOCKS blocks of UKL_BULK_BLOCK bytes */
#define UKL_SYS_BULK_ROOM	(UKL_SYS_BULK + 1)
/* (slot, TCP socket, n): sends the first @n bytes of these blocks; how many of
 * them were taken.  They must not be written to until the next ROOM. */
#define UKL_SYS_BULK_SEND	(UKL_SYS_BULK + 2)
#define UKL_SYS_BULK_END	(UKL_SYS_BULK + 3)

#endif
