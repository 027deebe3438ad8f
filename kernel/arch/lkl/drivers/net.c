// SPDX-License-Identifier: GPL-2.0-only
/*
 * Network interfaces over host descriptors.
 *
 * Theory of operation.  Slot n of the instance is interface n, and descriptor
 * fd[n] of every process that may run the kernel.  Whoever finds it readable
 * raises UKL_IRQ_DEV(n), which schedules NAPI; frames are read and written by
 * the thread that runs the kernel at that moment, in its own process.
 *
 * TAP devices, wires and the user backend carry a virtio_net_hdr before each
 * frame, so frames of up to 64 KB cross in one piece and checksums need not be
 * computed.  TCP of the user backend never gets here: see gate.c.  Datagram and
 * stream sockets carry what is on a real cable.
 *
 * A frame that was sent stays the driver's for a moment when its socket sends
 * in a quick row, as it would stay in a network card's ring: TCP gathers small
 * writes as long as the last frame has not left (tcp_autocorking), and a frame
 * is what a write costs here, with all of the host's receive path in it.
 *
 * A TAP device runs the host's receive path in the call that writes a frame.
 * While a socket sends long frames, they are therefore queued, and a thread of
 * the kernel host writes them (native.c) while this kernel goes on, if there
 * is a host CPU for it.  Frames that come later queue up behind them.  Whether
 * all frames are better queued depends on what that CPU would do otherwise, and
 * on whether who sends has more to do or waits for an answer to this very
 * frame: that is tried now and then (weigh.c).
 *
 * Who writes a little at a time gathers only while he waits.  The window of a
 * neighbour behind a TAP device, which Linux lets grow by what comes in a
 * millisecond or more, never makes him: each of his writes is a frame, and costs
 * both sides as much as one of 64 KB.  So the receive buffers of near
 * connections, those whose answers take less than 100 us, are kept at 1 MB, and
 * smaller as long as much of what comes is in short frames (bound_learn()).
 *
 * A frame is read into a short linear buffer followed by pages.  Small frames
 * stay in the buffer and leave the pages for the next read; large ones take
 * the pages along, which saves a copy.
 */
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/hrtimer.h>
#include <linux/jhash.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/socket.h>
#include <linux/swap.h>
#include <linux/timekeeping.h>
#include <linux/uio.h>
#include <linux/un.h>
#include <linux/virtio_net.h>
#include <net/tcp.h>
#include <net/udp.h>
#include <asm/ukl.h>
#include <uapi/asm/unistd.h>
#include "../kernel/send.h"
#include "net.h"
#include "weigh.h"

#define VNET_HDR	((int)sizeof(struct virtio_net_hdr))
#define FRAME_MAX	(65536 + ETH_HLEN + VLAN_HLEN)
#define RX_LINEAR	1600
#define RX_SHORT	1024
#define RX_PAGES	20
#define RX_ORDER	3
#define RX_REST_MIN	2048	/* a page's rest below this is not worth it */
#define ALONE_MAX	63u	/* polls between two that ask for more */
#define TX_IOV		UKL_FRAME_IOV
#define RETRY_NS	(50 * NSEC_PER_USEC)
#define HOLD_US		20	/* a sent frame of a quick row */
#define ROW_US		60	/* at most between two of its frames */
#define ROW_MIN		3
#define SETTLE_NS	(1 * NSEC_PER_MSEC)	/* if nobody comes by */
#define LONG_FRAME	(32 * 1024)	/* worth another CPU's attention … */
#define LONG_US		250	/* … this soon after the one before */
#define LONG_ROOM	8	/* takes the room of so many in the queue */
#define STREAM_BUF	(256 * 1024)
#define NEAR_US		100	/* round trip of a neighbour */
#define NEAR_MAX	(1 << 20)	/* its buffer: 40 Gbit/s in that time … */
#define NEAR_MIN	(128 * 1024)	/* … and while frames are short */
#define NEAR_TURN	(256 * 1024)	/* bytes between two looks at them */
#define DATA_MIN	128	/* below, a frame is a mere acknowledgement */
#define DATA_SHORT	4096
#define BARE		66	/* headers of Ethernet, IPv4 and TCP */
#define FDB_SIZE	64

struct rx_page {
	struct page	*page;
	unsigned int	size;
	unsigned int	used;
};

/* What a wire has learned: behind which peer a station is. */
struct fdb_entry {
	u8		mac[ETH_ALEN];
	u8		peer;		/* index + 1; 0: nothing */
};

/* What ethtool -S shows beside the interface's own statistics. */
enum count { RX_POLLS, RX_LARGE, TX_LARGE, TX_HELD, TX_QUEUED, COUNTS };

static const char count_names[COUNTS][ETH_GSTRING_LEN] = {
	[RX_POLLS]	= "rx_polls",
	[RX_LARGE]	= "rx_large_frames",	/* to be cut at the MTU */
	[TX_LARGE]	= "tx_large_frames",
	[TX_HELD]	= "tx_held",		/* the descriptor took no more */
	[TX_QUEUED]	= "tx_queued",		/* written by another thread */
};

struct nic {
	struct net_device	*dev;
	struct napi_struct	napi;
	struct hrtimer		retry;
	unsigned int		slot;
	unsigned int		kind;
	bool			vnet;
	bool			capture;
	bool			asked;	/* sent something since the last poll … */
	bool			said;	/* … that is not only a "yes" */
	unsigned int		alone;	/* how rarely there is a second frame: … */
	unsigned int		skip;	/* … for so many polls one will do */
	u64			counts[COUNTS];

	/* What came in since bound_learn(), and what a neighbour may send. */
	unsigned int		came, came_short;	/* bytes */
	int			bound;

	/* The frame that is not given back yet, and its socket's row. */
	struct sk_buff		*sent;
	const struct sock	*row_of;
	unsigned long		row_at;	/* cycles */
	unsigned int		row;
	struct hrtimer		settle;

	/* The queue to the sender. */
	unsigned long		long_at;	/* cycles: the last long frame */
	unsigned int		reclaimed;	/* of its frames */
	unsigned int		taken;	/* of its room */
	struct ukl_weigh	queue_all;

	struct sk_buff		*skb;	/* linear buffer of the next frame */
	struct rx_page		rx[RX_PAGES];
	unsigned int		rx_count;

	/* Streams: what was read and not yet delivered, or not yet sent. */
	u8			*in;
	unsigned int		in_start, in_end;
	u8			*out;
	unsigned int		out_start, out_end;

	struct ukl_wire		*wire;
	struct fdb_entry	fdb[FDB_SIZE];
};

static struct nic *nics[UKL_MAX_DEVS];

unsigned int ukl_net_held;
static unsigned long held_since;	/* cycles */
static unsigned long hold_cycles, row_cycles, long_cycles;

static int nic_fd(const struct nic *nic)
{
	return ukl.runner->proc->fd[nic->slot];
}

/* ------------------------------------------------------------------ */
/* Capture: an enhanced packet block of pcapng per frame.		*/

struct epb {
	__le32	type, length, interface, time_high, time_low, captured, original;
} __packed;

#define EPB_TYPE	6

static void capture_frame(struct nic *nic, const struct sk_buff *skb)
{
	static const u8 zeros[4];
	int fd = ukl.runner->proc->fd[UKL_FD_CAPTURE], i, n = 0;
	u64 now = ktime_get_real_ns();
	unsigned int pad = -skb->len & 3;
	__le32 trailer = cpu_to_le32(sizeof(struct epb) + skb->len + pad + 4);
	struct epb head = {
		.type		= cpu_to_le32(EPB_TYPE),
		.length		= trailer,
		.interface	= cpu_to_le32(nic->slot),
		.time_high	= cpu_to_le32(now >> 32),
		.time_low	= cpu_to_le32(now),
		.captured	= cpu_to_le32(skb->len),
		.original	= cpu_to_le32(skb->len),
	};
	struct iovec iov[TX_IOV + 2];

	if (fd < 0)
		return;
	iov[n++] = (struct iovec){ &head, sizeof(head) };
	iov[n++] = (struct iovec){ skb->data, skb_headlen(skb) };
	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[i];

		iov[n++] = (struct iovec){ skb_frag_address(frag),
					   skb_frag_size(frag) };
	}
	iov[n++] = (struct iovec){ (void *)zeros, pad };
	iov[n++] = (struct iovec){ &trailer, sizeof(trailer) };
	/* The file is in append mode: one call is one block. */
	ukl_hostcall(__NR_writev, fd, (long)iov, n, 0, 0, 0);
}

void ukl_net_capture(unsigned int slot, const struct sk_buff *skb)
{
	if (nics[slot]->capture)
		capture_frame(nics[slot], skb);
}

struct net_device *ukl_net_device(unsigned int slot)
{
	return nics[slot] ? nics[slot]->dev : NULL;
}

/* ------------------------------------------------------------------ */
/* Receive.								*/

static void rx_refill(struct nic *nic)
{
	unsigned int room = 0, i;
	struct page *page;
	unsigned int order;

	for (i = 0; i < nic->rx_count; i++)
		room += nic->rx[i].size - nic->rx[i].used;
	while (room < FRAME_MAX && nic->rx_count < RX_PAGES) {
		order = RX_ORDER;
		page = alloc_pages(GFP_ATOMIC | __GFP_COMP | __GFP_NOWARN |
				   __GFP_NORETRY, order);
		if (!page) {
			order = 0;
			page = alloc_pages(GFP_ATOMIC | __GFP_NOWARN, order);
		}
		if (!page)
			return;
		nic->rx[nic->rx_count++] = (struct rx_page){
			page, PAGE_SIZE << order, 0 };
		room += PAGE_SIZE << order;
	}
}

static void rx_free(struct nic *nic)
{
	while (nic->rx_count)
		put_page(nic->rx[--nic->rx_count].page);
	dev_kfree_skb_any(nic->skb);
	nic->skb = NULL;
}

/* Moves the first @len bytes behind the linear buffer from pages to @skb. */
static void rx_take(struct nic *nic, struct sk_buff *skb, unsigned int len)
{
	unsigned int i, part, step, done = 0;

	for (i = 0; len && i < nic->rx_count; i++) {
		struct rx_page *rx = &nic->rx[i];

		part = min(len, rx->size - rx->used);
		step = min(ALIGN(part, L1_CACHE_BYTES), rx->size - rx->used);
		get_page(rx->page);
		skb_add_rx_frag(skb, skb_shinfo(skb)->nr_frags, rx->page,
				rx->used, part, step);
		rx->used += step;
		len -= part;
		if (rx->size - rx->used < RX_REST_MIN) {
			put_page(rx->page);
			done = i + 1;
		}
	}
	nic->rx_count -= done;
	memmove(nic->rx, nic->rx + done, nic->rx_count * sizeof(nic->rx[0]));
}

static void wire_learn(struct nic *nic, const u8 *mac, const char *path);
static void tx_settle(struct nic *nic);
static void tx_reclaim(struct nic *nic);

/*
 * Reads one frame.  Returns an skb, NULL when there is none, or an error
 * pointer when the frame was dropped.
 */
static struct sk_buff *rx_frame(struct nic *nic)
{
	struct iovec iov[RX_PAGES + 2];
	struct virtio_net_hdr hdr;
	struct sockaddr_un from = { };
	struct host_msghdr msg = { &from, sizeof(from), iov };
	struct sk_buff *skb = nic->skb;
	unsigned int i, n = 0, head = nic->vnet ? VNET_HDR : 0;
	long len;

	if (!skb) {
		skb = napi_alloc_skb(&nic->napi, RX_LINEAR);
		if (!skb)
			return NULL;
		nic->skb = skb;
	}
	rx_refill(nic);
	if (head)
		iov[n++] = (struct iovec){ &hdr, head };
	iov[n++] = (struct iovec){ skb->data, RX_LINEAR };
	for (i = 0; i < nic->rx_count; i++)
		iov[n++] = (struct iovec){
			page_address(nic->rx[i].page) + nic->rx[i].used,
			nic->rx[i].size - nic->rx[i].used };
	if (nic->kind == UKL_DEV_WIRE) {
		msg.iovlen = n;
		len = ukl_hostcall(__NR_recvmsg, nic_fd(nic), (long)&msg,
				   MSG_DONTWAIT, 0, 0, 0);
	} else {
		len = ukl_hostcall(__NR_readv, nic_fd(nic), (long)iov, n, 0,
				   0, 0);
	}
	if (len < 0)
		return NULL;
	/* A datagram socket whose other end is closed reads as empty. */
	if (!len)
		return NULL;
	len -= head;
	if (len < ETH_HLEN) {
		nic->dev->stats.rx_length_errors++;
		return ERR_PTR(-EINVAL);
	}
	nic->skb = NULL;
	skb_put(skb, min_t(unsigned int, len, RX_LINEAR));
	if (len > RX_LINEAR)
		rx_take(nic, skb, len - RX_LINEAR);
	if (nic->kind == UKL_DEV_WIRE)
		wire_learn(nic, skb->data + ETH_ALEN, from.sun_path);
	if (head && virtio_net_hdr_to_skb(skb, &hdr, true)) {
		nic->dev->stats.rx_frame_errors++;
		kfree_skb(skb);
		return ERR_PTR(-EINVAL);
	}
	return skb;
}

/* The next whole frame of a stream. */
static struct sk_buff *rx_stream(struct nic *nic)
{
	struct sk_buff *skb;
	unsigned int have, len;
	long n;

	for (;;) {
		have = nic->in_end - nic->in_start;
		len = have < 4 ? 0 : be32_to_cpup((__be32 *)(nic->in +
							     nic->in_start));
		if (have >= 4 && (len < ETH_HLEN || len > FRAME_MAX)) {
			/* Out of step: nothing after this makes sense. */
			netdev_err(nic->dev, "frame of %u bytes in the stream: "
				   "the interface stops\n", len);
			nic->in_start = nic->in_end = 0;
			ukl.devs &= ~BIT(nic->slot);
			netif_carrier_off(nic->dev);
			return NULL;
		}
		if (have >= 4 && have - 4 >= len)
			break;
		if (nic->in_start) {
			memmove(nic->in, nic->in + nic->in_start, have);
			nic->in_start = 0;
			nic->in_end = have;
		}
		n = ukl_hostcall(__NR_read, nic_fd(nic),
				 (long)(nic->in + nic->in_end),
				 STREAM_BUF - nic->in_end, 0, 0, 0);
		if (!n) {
			netdev_err(nic->dev, "the other end has closed\n");
			ukl.devs &= ~BIT(nic->slot);
			netif_carrier_off(nic->dev);
		}
		if (n <= 0)
			return NULL;
		nic->in_end += n;
	}
	skb = napi_alloc_skb(&nic->napi, len);
	if (skb)
		skb_put_data(skb, nic->in + nic->in_start + 4, len);
	nic->in_start += 4 + len;
	if (!skb)
		nic->dev->stats.rx_dropped++;
	return skb ?: ERR_PTR(-ENOMEM);
}

/*
 * A frame that is no longer than this is enough for one poll; 0: none is.
 *
 * One question, one small answer: asking for more only costs a call.  But
 * where many ask, there is more, and each poll has its price.  So the second
 * frame is asked for less and less often as long as there is none; if there
 * is, and it was not asked for, the descriptor stays readable.
 *
 * After mere acknowledgements one short frame is enough in any case: who sends
 * a row of them waits for no answer, and writes more into each while we do
 * not hurry.
 */
static unsigned int rx_enough(struct nic *nic)
{
	if (!nic->asked || nic->kind == UKL_DEV_STREAM)
		return 0;
	if (!nic->said)
		return RX_SHORT;
	if (!nic->skip)
		return 0;
	nic->skip--;
	return RX_LINEAR;
}

static void rx_asked_for_all(struct nic *nic, int got)
{
	if (got == 1)
		nic->alone = min(2 * nic->alone + 1, ALONE_MAX);
	else if (got > 1)
		nic->alone = 0;
	nic->skip = nic->alone;
}

/* What tells which way of sending is better: data of either direction. */
static void weigh_data(struct nic *nic, unsigned int len)
{
	if (len > BARE)
		nic->queue_all.bytes += len - BARE;
}

static void rx_count(struct nic *nic, unsigned int len)
{
	weigh_data(nic, len);
	if (len < DATA_MIN)
		return;
	nic->came += len;
	if (len < DATA_SHORT)
		nic->came_short += len;
}

static int nic_poll(struct napi_struct *napi, int budget)
{
	struct nic *nic = container_of(napi, struct nic, napi);
	unsigned int enough = rx_enough(nic);
	struct sk_buff *skb;
	unsigned int len;
	int done = 0;

	nic->asked = nic->said = false;
	nic->counts[RX_POLLS]++;
	tx_settle(nic);
	tx_reclaim(nic);
	while (done < budget) {
		skb = nic->kind == UKL_DEV_STREAM ? rx_stream(nic) :
						    rx_frame(nic);
		if (!skb)
			break;
		done++;
		if (IS_ERR(skb))
			continue;
		len = skb->len;
		nic->counts[RX_LARGE] += skb_is_gso(skb);
		if (nic->capture)
			capture_frame(nic, skb);
		nic->dev->stats.rx_packets++;
		nic->dev->stats.rx_bytes += len;
		rx_count(nic, len);
		skb->protocol = eth_type_trans(skb, nic->dev);
		napi_gro_receive(napi, skb);
		if (len <= enough)
			break;
	}
	if (!enough)
		rx_asked_for_all(nic, done);
	if (done)
		ukl_last_frame = get_cycles();
	if (done < budget)
		napi_complete_done(napi, done);
	return done;
}

void ukl_net_irq(unsigned int slots)
{
	unsigned int i;

	for (i = 0; i < UKL_MAX_DEVS; i++)
		if ((slots & BIT(i)) && nics[i])
			napi_schedule(&nics[i]->napi);
}

/* ------------------------------------------------------------------ */
/* Transmit.								*/

/* The frame's memory, behind whatever header the descriptor wants. */
static int tx_pieces(struct sk_buff *skb, struct iovec *iov)
{
	int i, n = 0;

	iov[n++] = (struct iovec){ skb->data, skb_headlen(skb) };
	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[i];

		iov[n++] = (struct iovec){ skb_frag_address(frag),
					   skb_frag_size(frag) };
	}
	return n;
}

static void tx_count(struct nic *nic, const struct sk_buff *skb)
{
	nic->asked = true;
	nic->said |= !skb_is_tcp_pure_ack(skb);
	nic->counts[TX_LARGE] += skb_is_gso(skb);
	nic->dev->stats.tx_packets++;
	nic->dev->stats.tx_bytes += skb->len;
}

/* The descriptor takes no more: try again soon. */
static void tx_hold(struct nic *nic)
{
	nic->counts[TX_HELD]++;
	netif_stop_queue(nic->dev);
	hrtimer_start(&nic->retry, ns_to_ktime(RETRY_NS), HRTIMER_MODE_REL);
}

/* Sends what is left of a frame that the stream took in part. */
static bool tx_flush(struct nic *nic)
{
	long n;

	while (nic->out_start < nic->out_end) {
		n = ukl_hostcall(__NR_write, nic_fd(nic),
				 (long)(nic->out + nic->out_start),
				 nic->out_end - nic->out_start, 0, 0, 0);
		if (n < 0)
			return false;
		nic->out_start += n;
	}
	return true;
}

static enum hrtimer_restart tx_retry(struct hrtimer *timer)
{
	struct nic *nic = container_of(timer, struct nic, retry);

	if (nic->kind == UKL_DEV_STREAM && !tx_flush(nic)) {
		hrtimer_forward_now(timer, ns_to_ktime(RETRY_NS));
		return HRTIMER_RESTART;
	}
	netif_wake_queue(nic->dev);
	return HRTIMER_NORESTART;
}

static unsigned int fdb_slot(const u8 *mac)
{
	return jhash(mac, ETH_ALEN, 0) % FDB_SIZE;
}

static void wire_learn(struct nic *nic, const u8 *mac, const char *path)
{
	struct fdb_entry *e = &nic->fdb[fdb_slot(mac)];
	unsigned int i;

	if (is_multicast_ether_addr(mac))
		return;
	if (e->peer && ether_addr_equal(e->mac, mac) &&
	    !strcmp(nic->wire->path[e->peer - 1], path))
		return;
	for (i = 0; i < nic->wire->n; i++)
		if (!strcmp(nic->wire->path[i], path)) {
			ether_addr_copy(e->mac, mac);
			e->peer = i + 1;
			return;
		}
}

/* To the peer behind which the station is, or to all. */
static long wire_send(struct nic *nic, const u8 *mac, struct iovec *iov, int n)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct host_msghdr msg = { &to, sizeof(to), iov, n };
	struct fdb_entry *e = &nic->fdb[fdb_slot(mac)];
	unsigned int i, first = 0, last = nic->wire->n;
	bool known = e->peer && ether_addr_equal(e->mac, mac);
	long err;

	if (known) {
		first = e->peer - 1;
		last = first + 1;
	}
	for (i = first; i < last; i++) {
		memcpy(to.sun_path, nic->wire->path[i], sizeof(to.sun_path));
		err = ukl_hostcall(__NR_sendmsg, nic_fd(nic), (long)&msg,
				   MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0, 0);
		if (known && err == -EAGAIN)
			return err;
		if (known && err < 0)
			e->peer = 0;	/* it has gone */
	}
	return 0;
}

/* Are there frames in the queue that were not reclaimed? */
static bool tx_queued(const struct nic *nic)
{
	return nic->reclaimed != ukl.sendq[nic->slot].queued;
}

static bool tx_full(const struct nic *nic)
{
	return nic->taken > UKL_FRAMES - LONG_ROOM;
}

/* More than a few long frames are not in the caches any more when written. */
static unsigned int tx_room_of(const struct sk_buff *skb)
{
	return skb->len >= LONG_FRAME ? LONG_ROOM : 1;
}

static struct ukl_frame *tx_frame(const struct nic *nic, unsigned int number)
{
	return &ukl_frames[nic->slot]->frame[number % UKL_FRAMES];
}

/* Frees what the sender has written. */
static void tx_reclaim(struct nic *nic)
{
	unsigned int sent = smp_load_acquire(&ukl.sendq[nic->slot].sent);
	struct ukl_frame *frame;

	if (nic->reclaimed == sent)
		return;
	for (; nic->reclaimed != sent; nic->reclaimed++) {
		frame = tx_frame(nic, nic->reclaimed);
		nic->dev->stats.tx_dropped += frame->lost;
		nic->taken -= tx_room_of(frame->skb);
		dev_consume_skb_any(frame->skb);
	}
	if (netif_queue_stopped(nic->dev))
		netif_wake_queue(nic->dev);
}

/* Should @skb wait for the sender even if no other frame does? */
static bool tx_may_wait(struct nic *nic, const struct sk_buff *skb)
{
	unsigned long now = get_cycles();
	bool wait;

	if (!READ_ONCE(ukl.sendq[nic->slot].useful))
		return false;
	weigh_data(nic, skb->len);
	wait = ukl_weigh(&nic->queue_all, now);
	if (skb->len >= LONG_FRAME) {
		wait |= now - nic->long_at < long_cycles;
		nic->long_at = now;
	}
	return wait;
}

/* No more for now: the sender says when half of it is written. */
static void tx_queue_full(struct nic *nic)
{
	struct ukl_sendq *q = &ukl.sendq[nic->slot];
	struct ukl_frames *frames = ukl_frames[nic->slot];

	netif_stop_queue(nic->dev);
	WRITE_ONCE(frames->half,
		   q->queued - (q->queued - nic->reclaimed) / 2);
	__atomic_store_n(&frames->full, true, __ATOMIC_SEQ_CST);
	/* It may have written them before it could see that. */
	if (__atomic_load_n(&q->sent, __ATOMIC_SEQ_CST) == q->queued)
		tx_reclaim(nic);
}

/* Queues @skb for the sender, unless it is better written at once. */
static bool tx_queue(struct nic *nic, struct sk_buff *skb)
{
	struct ukl_sendq *q = &ukl.sendq[nic->slot];
	struct ukl_frame *frame;
	bool wait;

	tx_reclaim(nic);
	wait = tx_may_wait(nic, skb);
	if (!wait && !tx_queued(nic))
		return false;
	tx_settle(nic);
	frame = tx_frame(nic, q->queued);
	if (virtio_net_hdr_from_skb(skb, &frame->hdr, true, false, 0)) {
		nic->dev->stats.tx_dropped++;
		dev_kfree_skb_any(skb);
		return true;
	}
	frame->skb = skb;
	nic->taken += tx_room_of(skb);
	frame->iov[0] = (struct iovec){ &frame->hdr, VNET_HDR };
	frame->n = 1 + tx_pieces(skb, frame->iov + 1);
	if (nic->capture)
		capture_frame(nic, skb);
	tx_count(nic, skb);
	nic->counts[TX_QUEUED]++;
	__atomic_store_n(&q->queued, q->queued + 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&q->sleeps, __ATOMIC_SEQ_CST) &&
	    __atomic_exchange_n(&q->sleeps, 0, __ATOMIC_SEQ_CST))
		ukl_hostcall(__NR_futex, (long)&q->sleeps, 1 /* WAKE */, 1, 0,
			     0, 0);
	if (tx_full(nic))
		tx_queue_full(nic);
	if (!hrtimer_active(&nic->settle))
		hrtimer_start(&nic->settle, ns_to_ktime(SETTLE_NS),
			      HRTIMER_MODE_REL_SOFT);
	return true;
}

/* Gives the frame back: its socket may send what it has gathered. */
static void tx_settle(struct nic *nic)
{
	struct sk_buff *skb = nic->sent;

	if (!skb)
		return;
	nic->sent = NULL;
	ukl_net_held &= ~BIT(nic->slot);
	dev_consume_skb_any(skb);
}

static enum hrtimer_restart tx_settle_late(struct hrtimer *timer)
{
	struct nic *nic = container_of(timer, struct nic, settle);

	tx_settle(nic);
	tx_reclaim(nic);
	if (!tx_queued(nic))
		return HRTIMER_NORESTART;
	hrtimer_forward_now(timer, ns_to_ktime(SETTLE_NS));
	return HRTIMER_RESTART;
}

/* A call is over, and frames are held: long enough? */
void ukl_net_settle(void)
{
	unsigned int i;

	if (get_cycles() - held_since < hold_cycles)
		return;
	local_bh_disable();
	for (i = 0; i < UKL_MAX_DEVS; i++)
		if (ukl_net_held & BIT(i))
			tx_settle(nics[i]);
	local_bh_enable();
}

/* A frame of @sk is on its way: does it belong to a quick row? */
static bool tx_in_row(struct nic *nic, const struct sock *sk)
{
	unsigned long now = get_cycles();

	if (sk != nic->row_of || now - nic->row_at >= row_cycles)
		nic->row = 0;
	else if (nic->row < ROW_MIN)
		nic->row++;
	nic->row_of = sk;
	nic->row_at = now;
	return sk && nic->row >= ROW_MIN;
}

/* Keeps @skb, which belongs to a socket, for a moment. */
static void tx_keep(struct nic *nic, struct sk_buff *skb)
{
	nic->sent = skb;
	held_since = get_cycles();
	ukl_net_held |= BIT(nic->slot);
	if (!hrtimer_active(&nic->settle))
		hrtimer_start(&nic->settle, ns_to_ktime(SETTLE_NS),
			      HRTIMER_MODE_REL_SOFT);
}

/* The host has the frame. */
static void tx_done(struct nic *nic, struct sk_buff *skb)
{
	tx_settle(nic);
	if (nic->vnet && tx_in_row(nic, skb->sk))
		tx_keep(nic, skb);
	else
		dev_consume_skb_any(skb);
}

/* What a socket is charged for @from is charged for @to, its clone. */
static void move_charge(struct sk_buff *from, struct sk_buff *to)
{
	to->sk = from->sk;
	to->destructor = from->destructor;
	from->sk = NULL;
	from->destructor = NULL;
}

/* Frames that go by the gate are the receiver's: what is kept is a clone. */
static bool tx_by_gate(struct nic *nic, struct sk_buff *skb)
{
	unsigned int len = skb->len;
	struct sk_buff *clone = NULL;

	tx_settle(nic);
	if (tx_in_row(nic, skb->sk))
		clone = skb_clone(skb, GFP_ATOMIC);
	if (clone)
		move_charge(skb, clone);
	if (!ukl_gate_takes(nic->slot, skb)) {
		if (clone) {
			move_charge(clone, skb);
			consume_skb(clone);
		}
		return false;
	}
	if (clone)
		tx_keep(nic, clone);
	nic->dev->stats.tx_packets++;
	nic->dev->stats.tx_bytes += len;
	return true;
}

/*
 * A buffer in which a little less comes than is sent makes the sender gather
 * all the time; in a larger one he catches up, and then he sends short frames
 * until it is full again.  Where the frames are long anyway it costs the time
 * that the two could work beside each other.
 */
static void bound_learn(struct nic *nic)
{
	if (nic->came_short > nic->came / 8)
		nic->bound -= nic->bound / 4;
	else
		nic->bound += nic->bound / 32;
	nic->bound = clamp(nic->bound, NEAR_MIN, NEAR_MAX);
	nic->came = nic->came_short = 0;
}

/*
 * An acknowledgement of @sk leaves.  What is promised already stays so: Linux
 * lets the buffer grow again, if it must, rather than drop any of it.
 */
static void bound_buffer(struct nic *nic, struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);

	if (nic->came >= NEAR_TURN)
		bound_learn(nic);
	if (sk->sk_rcvbuf <= nic->bound || tcp_min_rtt(tp) > NEAR_US ||
	    (sk->sk_userlocks & SOCK_RCVBUF_LOCK))
		return;
	WRITE_ONCE(sk->sk_rcvbuf, nic->bound);
	/* Who has set TCP_WINDOW_CLAMP may have asked for less. */
	WRITE_ONCE(tp->window_clamp,
		   min_t(u32, tp->window_clamp,
			 tcp_win_from_space(sk, nic->bound)));
	tp->rcv_ssthresh = min(tp->rcv_ssthresh, tp->window_clamp);
	/* What makes it grow again, up to a higher bound. */
	tp->rcvq_space.space = min_t(u32, tp->rcvq_space.space,
				     tp->window_clamp);
}

static netdev_tx_t nic_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct nic *nic = netdev_priv(dev);
	struct iovec iov[TX_IOV];
	struct virtio_net_hdr hdr;
	unsigned int total = skb->len;
	__be32 length = cpu_to_be32(skb->len);
	unsigned int len = skb->len;
	int n = 0;
	long sent;

	if (nic->kind == UKL_DEV_TAP && skb->sk &&
	    skb_is_tcp_pure_ack(skb) && sk_fullsock(skb->sk))
		bound_buffer(nic, skb->sk);
	if (nic->kind == UKL_DEV_USER && tx_by_gate(nic, skb))
		return NETDEV_TX_OK;
	if (nic->kind == UKL_DEV_TAP && tx_queue(nic, skb))
		return NETDEV_TX_OK;
	if (nic->vnet) {
		if (virtio_net_hdr_from_skb(skb, &hdr, true, false, 0))
			goto drop;
		iov[n++] = (struct iovec){ &hdr, VNET_HDR };
		total += VNET_HDR;
	} else if (nic->kind == UKL_DEV_STREAM) {
		iov[n++] = (struct iovec){ &length, sizeof(length) };
		total += sizeof(length);
	}
	n += tx_pieces(skb, iov + n);
	if (nic->kind == UKL_DEV_WIRE)
		sent = wire_send(nic, skb->data, iov, n);
	else
		sent = ukl_hostcall(__NR_writev, nic_fd(nic), (long)iov, n, 0,
				    0, 0);
	if (sent == -EAGAIN) {
		tx_hold(nic);
		return NETDEV_TX_BUSY;
	}
	if (sent < 0)
		goto drop;
	if (nic->capture)
		capture_frame(nic, skb);
	if (nic->kind == UKL_DEV_STREAM && sent < total) {
		/* Headers are not fragmented: the rest is in the frame. */
		nic->out_start = 0;
		nic->out_end = total - sent;
		if (sent < sizeof(length)) {
			memcpy(nic->out, (u8 *)&length + sent,
			       sizeof(length) - sent);
			skb_copy_bits(skb, 0,
				      nic->out + sizeof(length) - sent,
				      skb->len);
		} else {
			skb_copy_bits(skb, sent - sizeof(length), nic->out,
				      total - sent);
		}
		tx_hold(nic);
	}
	tx_count(nic, skb);
	tx_done(nic, skb);
	return NETDEV_TX_OK;

drop:
	dev->stats.tx_dropped++;
	dev_kfree_skb_any(skb);
	return NETDEV_TX_OK;
}

/* ------------------------------------------------------------------ */
/* Interfaces come and go.						*/

static int nic_open(struct net_device *dev)
{
	struct nic *nic = netdev_priv(dev);

	napi_enable(&nic->napi);
	netif_start_queue(dev);
	__atomic_fetch_or(&ukl.devs, BIT(nic->slot), __ATOMIC_SEQ_CST);
	ukl_poll_anew();
	return 0;
}

static int nic_stop(struct net_device *dev)
{
	struct nic *nic = netdev_priv(dev);

	__atomic_fetch_and(&ukl.devs, ~BIT(nic->slot), __ATOMIC_SEQ_CST);
	ukl_poll_anew();
	netif_stop_queue(dev);
	hrtimer_cancel(&nic->retry);
	hrtimer_cancel(&nic->settle);
	napi_disable(&nic->napi);
	/* What the sender reads stays until it has read it. */
	while (READ_ONCE(ukl.sendq[nic->slot].sent) !=
	       ukl.sendq[nic->slot].queued)
		msleep(1);
	local_bh_disable();
	tx_settle(nic);
	tx_reclaim(nic);
	local_bh_enable();
	rx_free(nic);
	return 0;
}

static const struct net_device_ops nic_ops = {
	.ndo_open		= nic_open,
	.ndo_stop		= nic_stop,
	.ndo_start_xmit		= nic_xmit,
	.ndo_set_mac_address	= eth_mac_addr,
	.ndo_validate_addr	= eth_validate_addr,
};

static void nic_drvinfo(struct net_device *dev, struct ethtool_drvinfo *info)
{
	static const char *const kinds[] = {
		[UKL_DEV_TAP]		= "tap",
		[UKL_DEV_DGRAM]		= "dgram",
		[UKL_DEV_STREAM]	= "stream",
		[UKL_DEV_WIRE]		= "wire",
		[UKL_DEV_USER]		= "user",
	};
	const struct nic *nic = netdev_priv(dev);

	/* The version is the kernel's, which the caller has filled in. */
	strscpy(info->driver, "ukl", sizeof(info->driver));
	snprintf(info->bus_info, sizeof(info->bus_info), "%s-%u",
		 kinds[nic->kind], nic->slot);
}

/*
 * There is no speed.  What bridges and monitors make of one is sensible with
 * that of a TAP device.
 */
static int nic_link_settings(struct net_device *dev,
			     struct ethtool_link_ksettings *cmd)
{
	cmd->base.speed = SPEED_10000;
	cmd->base.duplex = DUPLEX_FULL;
	cmd->base.port = PORT_OTHER;
	cmd->base.autoneg = AUTONEG_DISABLE;
	return 0;
}

static int nic_sset_count(struct net_device *dev, int set)
{
	return set == ETH_SS_STATS ? COUNTS : -EOPNOTSUPP;
}

static void nic_strings(struct net_device *dev, u32 set, u8 *data)
{
	if (set == ETH_SS_STATS)
		memcpy(data, count_names, sizeof(count_names));
}

static void nic_counts(struct net_device *dev, struct ethtool_stats *stats,
		       u64 *data)
{
	const struct nic *nic = netdev_priv(dev);

	memcpy(data, nic->counts, sizeof(nic->counts));
}

static const struct ethtool_ops nic_ethtool_ops = {
	.get_drvinfo		= nic_drvinfo,
	.get_link		= ethtool_op_get_link,
	.get_link_ksettings	= nic_link_settings,
	.get_sset_count		= nic_sset_count,
	.get_strings		= nic_strings,
	.get_ethtool_stats	= nic_counts,
	.get_ts_info		= ethtool_op_get_ts_info,
};

static void nic_free(struct net_device *dev)
{
	struct nic *nic = netdev_priv(dev);

	nics[nic->slot] = NULL;
	kfree(nic->in);
	kfree(nic->out);
	kfree(nic->wire);
}

long ukl_netdev_add(unsigned int slot, const struct ukl_dev *spec)
{
	struct net_device *dev;
	struct nic *nic;
	int err;

	if (slot >= UKL_MAX_DEVS || spec->kind == UKL_DEV_NONE ||
	    spec->kind > UKL_DEV_USER)
		return -EINVAL;
	if (nics[slot])
		return -EBUSY;
	dev = alloc_etherdev(sizeof(*nic));
	if (!dev)
		return -ENOMEM;
	nic = netdev_priv(dev);
	nic->dev = dev;
	nic->slot = slot;
	nic->kind = spec->kind;
	nic->vnet = spec->kind == UKL_DEV_TAP || spec->kind == UKL_DEV_WIRE ||
		    spec->kind == UKL_DEV_USER;
	nic->capture = spec->flags & UKL_DEV_F_CAPTURE;
	hrtimer_init(&nic->retry, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
	nic->retry.function = tx_retry;
	hrtimer_init(&nic->settle, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
	nic->settle.function = tx_settle_late;
	hold_cycles = (unsigned long)ukl_boot_info.tsc_khz * HOLD_US / 1000;
	row_cycles = (unsigned long)ukl_boot_info.tsc_khz * ROW_US / 1000;
	long_cycles = (unsigned long)ukl_boot_info.tsc_khz * LONG_US / 1000;

	strscpy(dev->name, spec->name, IFNAMSIZ);
	dev->netdev_ops = &nic_ops;
	dev->ethtool_ops = &nic_ethtool_ops;
	dev->max_mtu = ETH_MAX_MTU;
	if (spec->mtu)
		dev->mtu = spec->mtu;
	if (is_valid_ether_addr(spec->mac))
		eth_hw_addr_set(dev, spec->mac);
	else
		eth_hw_addr_random(dev);
	if (nic->vnet) {
		dev->hw_features = NETIF_F_SG | NETIF_F_HW_CSUM | NETIF_F_TSO |
				   NETIF_F_TSO6 | NETIF_F_TSO_ECN;
		dev->features = dev->hw_features | NETIF_F_GRO;
		dev->vlan_features = dev->features;
		/* TCP that leaves here ends in the same kernel, see gate.c. */
		if (spec->kind == UKL_DEV_USER) {
			netif_set_tso_max_size(dev, INNER_GSO);
			ukl_net_long_packets(dev);
		}
	} else if (spec->kind == UKL_DEV_STREAM) {
		nic->in = kmalloc(STREAM_BUF, GFP_KERNEL);
		nic->out = kmalloc(FRAME_MAX + 4, GFP_KERNEL);
	}
	if (spec->kind == UKL_DEV_WIRE)
		nic->wire = kzalloc(sizeof(*nic->wire), GFP_KERNEL);
	/* Never freed: the sender has its address. */
	if (spec->kind == UKL_DEV_TAP && !ukl_frames[slot])
		ukl_frames[slot] = kzalloc(sizeof(struct ukl_frames),
					   GFP_KERNEL);
	nic->reclaimed = ukl.sendq[slot].queued;
	if ((spec->kind == UKL_DEV_STREAM && (!nic->in || !nic->out)) ||
	    (spec->kind == UKL_DEV_WIRE && !nic->wire) ||
	    (spec->kind == UKL_DEV_TAP && !ukl_frames[slot])) {
		nic_free(dev);
		free_netdev(dev);
		return -ENOMEM;
	}
	nic->bound = NEAR_MAX;
	netif_napi_add(dev, &nic->napi, nic_poll);
	dev->priv_destructor = nic_free;
	err = register_netdev(dev);
	if (err) {
		nic_free(dev);
		free_netdev(dev);
		return err;
	}
	nics[slot] = nic;
	if (spec->kind == UKL_DEV_USER)
		ukl_gated_devs |= BIT(slot);
	return dev->ifindex;
}

long ukl_netdev_del(unsigned int slot)
{
	struct net_device *dev;

	if (slot >= UKL_MAX_DEVS || !nics[slot])
		return -ENODEV;
	dev = nics[slot]->dev;
	ukl_gated_devs &= ~BIT(slot);
	ukl_gate_del(slot);
	unregister_netdev(dev);
	free_netdev(dev);
	return 0;
}

/* The other ends of the wire in @slot are now these. */
long ukl_wire_set(unsigned int slot, const struct ukl_wire *wire)
{
	struct nic *nic = slot < UKL_MAX_DEVS ? nics[slot] : NULL;

	if (!nic || nic->kind != UKL_DEV_WIRE)
		return -ENODEV;
	if (wire->n > UKL_WIRE_PEERS)
		return -EINVAL;
	local_bh_disable();
	*nic->wire = *wire;
	memset(nic->fdb, 0, sizeof(nic->fdb));
	local_bh_enable();
	return 0;
}

/*
 * Linux leaves TCP and UDP a tenth of a machine's memory, and a connection no
 * more than a 128th.  An instance's memory is there for its sockets, and is
 * small: they may have half, and each as much as on any machine of some size.
 */
#define MAX_SEND_BUFFER		(4 << 20)
#define MAX_RECEIVE_BUFFER	(6 << 20)

static void init_memory_limits(void)
{
#ifdef CONFIG_INET
	unsigned long pages = nr_free_buffer_pages();
	int i;

	for (i = 0; i < 3; i++) {
		sysctl_tcp_mem[i] = pages / 8 * (i + 2);
		sysctl_udp_mem[i] = sysctl_tcp_mem[i];
	}
	/* Namespaces that come later begin with these. */
	init_net.ipv4.sysctl_tcp_wmem[2] = MAX_SEND_BUFFER;
	init_net.ipv4.sysctl_tcp_rmem[2] = MAX_RECEIVE_BUFFER;
#endif
}

/*
 * Packets between sockets of one kernel may be as long as a large write: each
 * costs as much as a short one.
 */
void ukl_net_long_packets(struct net_device *dev)
{
	WRITE_ONCE(dev->gso_max_size, INNER_GSO);
	WRITE_ONCE(dev->gso_ipv4_max_size, INNER_GSO);
}

static int on_device(struct notifier_block *block, unsigned long event,
		     void *info)
{
	struct net_device *dev = netdev_notifier_info_to_dev(info);

	if (event == NETDEV_REGISTER && (dev->flags & IFF_LOOPBACK))
		ukl_net_long_packets(dev);
	return NOTIFY_DONE;
}

static struct notifier_block device_notifier = {
	.notifier_call = on_device,
};

void ukl_init_net(void)
{
	init_memory_limits();
	WARN_ON(register_netdevice_notifier(&device_notifier));
	rtnl_lock();
	dev_change_flags(init_net.loopback_dev, IFF_UP, NULL);
	rtnl_unlock();
}
