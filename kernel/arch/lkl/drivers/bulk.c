// SPDX-License-Identifier: GPL-2.0-only
/*
 * TCP data in bulk, which the kernel host moves between sockets of this kernel
 * and of its own.
 *
 * All memory of this kernel is the kernel host's too.  So it need not have data
 * copied to it that it only passes on: it is told where in the receive queue
 * the data is, and the host's send() copies from there.  The other way, the
 * host's recv() fills blocks that become part of the packets to send.
 */
#include <linux/file.h>
#include <linux/gfp.h>
#include <linux/net.h>
#include <linux/skbuff.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <asm/ukl.h>
#include <ukl/bulk.h>
#include "../kernel/copy.h"
#include "net.h"

#define PACKETS		64

static struct bulk {
	struct sk_buff *shown[PACKETS];	/* clones: they keep the data */
	unsigned int n_shown;
	struct page *block;
} *bulks[UKL_MAX_DEVS];

static struct bulk *bulk_of(unsigned int slot)
{
	if (slot >= UKL_MAX_DEVS)
		return NULL;
	if (!bulks[slot])
		bulks[slot] = kzalloc(sizeof(struct bulk), GFP_KERNEL);
	return bulks[slot];
}

static struct socket *tcp_socket_of(struct file *file)
{
	struct socket *sock = file ? sock_from_file(file) : NULL;

	return sock && sk_is_tcp(sock->sk) ? sock : NULL;
}

/* The pieces of @skb from @offset on, after the @n that there are; how many
 * there are then.  Not more than the table holds. */
static unsigned int pieces_of(struct sk_buff *skb, unsigned int offset,
			      struct ukl_piece *piece, unsigned int n)
{
	struct skb_seq_state state;
	unsigned int done = 0, len;
	const u8 *data;

	skb_prepare_seq_read(skb, offset, skb->len, &state);
	while ((len = skb_seq_read(done, &data, &state))) {
		done += len;
		if (n && piece[n - 1].data + piece[n - 1].size == data) {
			piece[n - 1].size += len;
			continue;
		}
		if (n == UKL_BULK_PIECES) {
			skb_abort_seq_read(&state);
			break;
		}
		piece[n++] = (struct ukl_piece){ (void *)data, len };
	}
	return n;
}

static unsigned int show(struct bulk *bulk, struct sock *sk,
			 struct ukl_piece *piece)
{
	u32 seq = tcp_sk(sk)->copied_seq, offset;
	struct sk_buff *skb = tcp_recv_skb(sk, seq, &offset), *clone;
	unsigned int n = 0;

	while (skb && offset < skb->len && n < UKL_BULK_PIECES &&
	       bulk->n_shown < PACKETS) {
		clone = skb_clone(skb, GFP_KERNEL);
		if (!clone)
			break;
		bulk->shown[bulk->n_shown++] = clone;
		n = pieces_of(clone, offset, piece, n);
		seq += skb->len - offset;
		skb = skb_peek_next(skb, &sk->sk_receive_queue);
		if (skb)
			offset = seq - TCP_SKB_CB(skb)->seq;
	}
	return n;
}

static long bulk_peek(struct bulk *bulk, struct file *file,
		      struct ukl_piece __user *to, unsigned long least)
{
	struct ukl_piece piece[UKL_BULK_PIECES];
	struct socket *sock = tcp_socket_of(file);
	unsigned int n = 0;
	struct sock *sk;

	while (bulk->n_shown)
		consume_skb(bulk->shown[--bulk->n_shown]);
	if (!sock)
		return -EINVAL;
	sk = sock->sk;
	lock_sock(sk);
	if (sk->sk_state != TCP_LISTEN && !tcp_sk(sk)->urg_data &&
	    tcp_inq(sk) >= least)
		n = show(bulk, sk, piece);
	release_sock(sk);
	if (copy_to_user(to, piece, n * sizeof(*piece)))
		return -EFAULT;
	return n;
}

static long bulk_room(struct bulk *bulk, struct ukl_piece __user *to)
{
	struct ukl_piece piece;

	if (!bulk->block)
		bulk->block = ukl_long_block(LONG_BLOCK);
	if (!bulk->block)
		return -ENOMEM;
	piece.data = page_address(bulk->block);
	piece.size = page_size(bulk->block);
	return copy_to_user(to, &piece, sizeof(piece)) ? -EFAULT : 0;
}

static long bulk_send(struct bulk *bulk, struct file *file, unsigned long n)
{
	struct socket *sock = tcp_socket_of(file);
	struct page *block = bulk->block;

	if (!sock || !block || n > page_size(block))
		return -EINVAL;
	bulk->block = NULL;
	return ukl_send_filled(sock, block, n);
}

long ukl_bulk_call(long nr, const long *a)
{
	struct bulk *bulk = bulk_of(a[0]);

	if (!bulk)
		return -ENOMEM;
	if (nr == UKL_SYS_BULK_ROOM)
		return bulk_room(bulk, (void *)a[1]);

	CLASS(fd, f)(a[1]);

	if (nr == UKL_SYS_BULK_PEEK)
		return bulk_peek(bulk, fd_file(f), (void *)a[2], a[3]);
	return bulk_send(bulk, fd_file(f), a[2]);
}
