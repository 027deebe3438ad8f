/* SPDX-License-Identifier: GPL-2.0-only */
/* Frames that a sender thread writes: between drivers/net.c and native.c. */
#ifndef _UKL_KERNEL_SEND_H
#define _UKL_KERNEL_SEND_H

#include <linux/skbuff.h>
#include <linux/uio.h>
#include <linux/virtio_net.h>
#include <ukl/abi.h>

#define UKL_FRAMES	128	/* a queue's length: a power of two */
#define UKL_FRAME_IOV	(MAX_SKB_FRAGS + 3)

struct ukl_frame {
	struct sk_buff		*skb;
	struct virtio_net_hdr	hdr;
	struct iovec		iov[UKL_FRAME_IOV];
	unsigned int		n;
	bool			lost;	/* the descriptor did not take it */
};

/* The queue of a slot; where it stands is in ukl.sendq[]. */
struct ukl_frames {
	struct ukl_frame	frame[UKL_FRAMES];	/* number i at i % … */
	bool			full;	/* raise an interrupt … */
	unsigned int		half;	/* … when so many have been written */
};

extern struct ukl_frames *ukl_frames[UKL_MAX_DEVS];

/* Slots whose frames mostly go another way; and when one last came by a slot. */
extern unsigned int ukl_gated_devs;
extern unsigned long ukl_last_frame;

#endif
