// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where the rings of a packet socket are.  Without an MMU a program cannot
 * have them mapped; but they lie in the instance's shared memory, which the
 * program's process can map again, block by block.
 */
#include <linux/file.h>
#include <linux/if_packet.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/uaccess.h>
#include <net/sock.h>
#include <asm/ukl.h>

#include "../../../net/packet/internal.h"

static int count_blocks(const struct packet_ring_buffer *ring,
			unsigned long __user *to, unsigned int n, int done)
{
	unsigned int i;

	for (i = 0; ring->pg_vec && i < ring->pg_vec_len; i++, done++) {
		if (done >= n)
			return -ENOSPC;
		if (put_user((unsigned long)ring->pg_vec[i].buffer, to + done))
			return -EFAULT;
	}
	return done;
}

/*
 * The addresses of the blocks, the receive ring's first, and how many they
 * are.  From then on the rings cannot be exchanged.
 */
long ukl_packet_ring(int fd, unsigned long __user *to, unsigned int n)
{
	struct packet_sock *po;
	struct socket *sock;
	int err;

	sock = sockfd_lookup(fd, &err);
	if (!sock)
		return err;
	if (sock->ops->family != PF_PACKET || sock->type == SOCK_PACKET) {
		sockfd_put(sock);
		return -EINVAL;
	}
	po = pkt_sk(sock->sk);
	mutex_lock(&po->pg_vec_lock);
	err = count_blocks(&po->rx_ring, to, n, 0);
	if (err >= 0)
		err = count_blocks(&po->tx_ring, to, n, err);
	if (!err)
		err = -EINVAL;
	if (err > 0)
		atomic_long_inc(&po->mapped);
	mutex_unlock(&po->pg_vec_lock);
	sockfd_put(sock);
	return err;
}
