/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the files of the interfaces. */
#ifndef _UKL_DRIVERS_NET_H
#define _UKL_DRIVERS_NET_H

#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/uio.h>

#define INNER_GSO	(256 * 1024)

/* The host's, for sendmsg() and recvmsg(). */
struct host_msghdr {
	void		*name;
	int		namelen;
	struct iovec	*iov;
	size_t		iovlen;
	void		*control;
	size_t		controllen;
	int		flags;
};

/* The interface in @slot, or NULL. */
struct net_device *ukl_net_device(unsigned int slot);

/* Copies a frame of the interface in @slot to the capture, if there is one. */
void ukl_net_capture(unsigned int slot, const struct sk_buff *skb);

/* The slots that hold a sent frame, see tx_done(); and a look at them. */
#ifdef CONFIG_UKL_NET
extern unsigned int ukl_net_held;
void ukl_net_settle(void);
#else
#define ukl_net_held 0
static inline void ukl_net_settle(void) { }
#endif

/* Both ends of @dev are in this kernel. */
void ukl_net_long_packets(struct net_device *dev);

/* Takes a frame that leaves by the gate of @slot; false: it does not. */
bool ukl_gate_takes(unsigned int slot, struct sk_buff *skb);

/* UKL_SYS_BULK_*: a[0] is the slot of the caller's gate. */
#ifdef CONFIG_UKL_NET
long ukl_bulk_call(long nr, const long *a);
#else
static inline long ukl_bulk_call(long nr, const long *a)
{
	return -ENOSYS;
}
#endif

/*
 * The answer to an echo request, if it is to @near and there at once; otherwise
 * NULL, and nothing is near.
 */
struct sk_buff *ukl_near_answer(struct net_device *nic, struct sk_buff *skb,
				struct in6_addr *near);

/* An answer has come at once: @near is where from. */
void ukl_near_learn(const struct sk_buff *skb, struct in6_addr *near);

/* Removes the gate of @slot, if it has one. */
void ukl_gate_del(unsigned int slot);

#endif
