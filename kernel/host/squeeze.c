// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waits until the window of somebody who makes small writes is full.
 *
 * Theory of operation.  Who writes 1500 bytes at a time without Nagle's delay
 * has his TCP make a packet of each, which takes several times as long as the
 * write.  But while the receiver's window is full his writes gather, and leave
 * in long packets when it opens: the receiver's answer does that work, and he
 * goes on writing.  So let him be ahead of the window: keep it from growing, and
 * read when it is full.
 *
 * That it is full is seen from two looks at the queue, a nap apart: nothing has
 * come meanwhile.  Who does not fill it in a while writes less than his TCP
 * could send, and is left alone: waiting would only delay what he says.
 *
 * Whoever is ahead of it may make long writes by now, for which it is too small:
 * after a second he has it as he likes, and what comes then is looked at.
 *
 * It is never smaller than the longest packet: one that does not fit is not
 * sent in part, but when a timer of the sender's runs out.
 */
#define _GNU_SOURCE
#include "host.h"
#include "squeeze.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK	72
#endif

#define NEAR_US		1000	/* to the peer and back */
#define SIZE		(128 * 1024)	/* its window: 70 KB at least */
#define NAP_NS		100000
#define LOOKS		20
#define PACKET_LEAST	512	/* with shorter ones it would take too long */
#define STINT_NS	1000000000L	/* then what he writes is looked at again */
#define VAIN		4	/* waits, then he is left alone, … */
#define PAUSE_NS	1000000000L	/* … for twice as long each time, */
#define PAUSE_MOST	(64 * PAUSE_NS)

static void set_size(int fd, int size)
{
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

/* As the host tells it: twice what it was asked for. */
static int get_size(int fd)
{
	int size = 0;
	socklen_t length = sizeof(size);

	getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, &length);
	return size;
}

static int queued(int fd)
{
	int n = 0;

	ioctl(fd, SIOCINQ, &n);
	return n;
}

/* Until nothing comes; -1: something always does. */
static int wait_full(int fd)
{
	struct timespec nap = { 0, NAP_NS };
	int before = queued(fd), now, look;

	for (look = 0; look < LOOKS; look++, before = now) {
		nanosleep(&nap, NULL);
		now = queued(fd);
		if (now == before)
			return 0;
	}
	return -1;
}

static struct tcp_info info_of(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);

	getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
	return info;
}

/* The packets from now on tell what he writes. */
static void end_stint(struct squeeze *q, int fd)
{
	struct tcp_info info = info_of(fd);

	squeeze_end(q, fd);
	q->bytes = info.tcpi_bytes_received;
	q->packets = info.tcpi_data_segs_in;
}

static int leave(struct squeeze *q, int fd)
{
	end_stint(q, fd);
	q->pause = q->pause ? 2 * q->pause : PAUSE_NS;
	if (q->pause > PAUSE_MOST)
		q->pause = PAUSE_MOST;
	q->again = monotonic_ns() + q->pause;
	return -1;
}

/* Packets of small writes are neither very short nor, on a link, full. */
static int may_gain(const struct squeeze *q, const struct tcp_info *info)
{
	unsigned int packets = info->tcpi_data_segs_in - q->packets;
	unsigned long packet;

	if (!packets || info->tcpi_rtt > NEAR_US)
		return 0;
	packet = (info->tcpi_bytes_received - q->bytes) / packets;
	return packet >= PACKET_LEAST &&
	       packet < info->tcpi_snd_mss * 7ul / 8;
}

static int start(struct squeeze *q, int fd)
{
	struct tcp_info info;

	if (q->again && monotonic_ns() < q->again)
		return -1;
	info = info_of(fd);
	if (!may_gain(q, &info))
		return leave(q, fd);
	q->before = get_size(fd);
	set_size(fd, SIZE);
	q->squeezed = 1;
	q->in_vain = 0;
	/* net.core.rmem_max may not allow it. */
	if (get_size(fd) < 2 * SIZE)
		return leave(q, fd);
	/* What it was told it may send it may send still. */
	q->ahead = info.tcpi_bytes_received + q->before / 2;
	return 1;
}

static int begin(struct squeeze *q, int fd)
{
	if (info_of(fd).tcpi_bytes_received < q->ahead)
		return 1;
	q->ahead = 0;
	q->until = monotonic_ns() + STINT_NS;
	return wait_full(fd) ? leave(q, fd) : 0;
}

int squeeze(struct squeeze *q, int fd)
{
	if (!q->squeezed)
		return start(q, fd);
	if (q->ahead)
		return begin(q, fd);
	if (monotonic_ns() > q->until) {
		end_stint(q, fd);
		return -1;
	}
	if (!wait_full(fd)) {
		q->in_vain = 0;
		q->pause = 0;
	} else if (++q->in_vain == VAIN) {
		return leave(q, fd);
	}
	return 0;
}

void squeeze_end(struct squeeze *q, int fd)
{
	int unlocked = 0;

	if (!q->squeezed)
		return;
	set_size(fd, q->before / 2);
	setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &unlocked, sizeof(unlocked));
	q->squeezed = 0;
}
