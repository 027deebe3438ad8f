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
 * Whether that is better for him nobody knows: some hosts gather as well without,
 * and he may make long writes by now, for which it is too small.  So he is timed
 * without, then with; and after a second he has it as he likes, and is timed anew.
 *
 * How small it has to be depends on how fast he writes: it is halved while he
 * takes long to fill it, and doubled while it is full at once.  But it is never
 * smaller than some of the longest packets: one that does not fit is not sent in
 * part, but when a timer of the sender's runs out.  Over a loopback, where packets
 * are as long as the largest window here, that leaves those out who write least.
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
#define FIRST		(128 * 1024)	/* SO_RCVBUF; the window: half of it and more */
#define MOST		(2 * FIRST)	/* if packets are worth their memory */
#define WORTH		512
#define PACKETS		8		/* of the longest, it is for at least */
#define NAP_NS		100000
#define LOOKS		20
#define LONG		8		/* looks: it could be smaller */
#define PACKET_LEAST	512	/* with shorter ones it would take too long … */
#define PACKETS_LONG	4096	/* … if packets may be as long as this */
#define STINT_NS	1000000000L	/* then what he writes is looked at again */
#define VAIN		4	/* waits, then he is left alone, … */
#define PAUSE_NS	1000000000L	/* … for twice as long each time, */
#define PAUSE_MOST	(64 * PAUSE_NS)
#define TRIAL_NS	25000000L	/* how fast he is, either way */
#define TRIAL_MOST	(5 * TRIAL_NS)	/* then he does not write all the time */

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

static void resize(struct squeeze *q, int fd, int size)
{
	if (size > q->most)
		size = q->most;
	if (size < q->least)
		size = q->least;
	if (size != q->size)
		set_size(fd, size);
	q->size = size;
}

/* Until nothing comes; -1: something always does, and it cannot be smaller. */
static int wait_full(struct squeeze *q, int fd)
{
	struct timespec nap = { 0, NAP_NS };
	int before = queued(fd), now, look;

	for (look = 0; look < LOOKS; look++, before = now) {
		nanosleep(&nap, NULL);
		now = queued(fd);
		if (now == before)
			break;
	}
	if (look == LOOKS && q->size == q->least)
		return -1;
	if (!look)
		resize(q, fd, 2 * q->size);
	else if (look >= LONG)
		resize(q, fd, q->size / 2);
	return 0;
}

static struct tcp_info info_of(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);

	getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
	return info;
}

/* What comes from now on tells what he writes, and how fast. */
static void begin_trial(struct squeeze *q, const struct tcp_info *info)
{
	q->since = monotonic_ns();
	q->bytes = info->tcpi_bytes_received;
	q->packets = info->tcpi_data_segs_in;
}

/* Bytes per second since then; 0: it is too early to tell. */
static long end_trial(const struct squeeze *q, const struct tcp_info *info)
{
	long time = monotonic_ns() - q->since;

	if (time < TRIAL_NS)
		return 0;
	return (info->tcpi_bytes_received - q->bytes) * 1000000 / (time / 1000);
}

/* How long packets were, on an average. */
static unsigned long packet_of(const struct squeeze *q,
			       const struct tcp_info *info)
{
	unsigned int packets = info->tcpi_data_segs_in - q->packets;

	return packets ? (info->tcpi_bytes_received - q->bytes) / packets : 0;
}

static void end_stint(struct squeeze *q, int fd)
{
	squeeze_end(q, fd);
	q->since = 0;
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

/* Over a loopback packets are as long as the window, and it cannot be smaller. */
static int may_gain(const struct tcp_info *info, unsigned long packet)
{
	return info->tcpi_rtt <= NEAR_US &&
	       (packet >= PACKET_LEAST || info->tcpi_advmss < PACKETS_LONG);
}

static int start(struct squeeze *q, int fd)
{
	long now = monotonic_ns(), rate;
	unsigned long packet;
	struct tcp_info info;

	if (q->again && now < q->again)
		return -1;
	if (q->since && now - q->since < TRIAL_NS)
		return -1;
	info = info_of(fd);
	rate = q->since && now - q->since < TRIAL_MOST ?
	       end_trial(q, &info) : 0;
	/* While he becomes faster by himself, let him. */
	if (!rate || rate > q->rate + q->rate / 4) {
		q->rate = rate;
		begin_trial(q, &info);
		return -1;
	}
	packet = packet_of(q, &info);
	if (!may_gain(&info, packet))
		return leave(q, fd);
	q->rate = rate;
	q->before = get_size(fd);
	q->least = PACKETS * info.tcpi_advmss;
	if (q->least > FIRST)
		q->least = FIRST;
	q->most = packet < WORTH ? FIRST : MOST;
	q->size = 0;
	resize(q, fd, FIRST);
	q->squeezed = 1;
	q->in_vain = 0;
	/* net.core.rmem_max may not allow it. */
	if (get_size(fd) < 2 * q->size)
		return leave(q, fd);
	/* What it was told it may send it may send still. */
	q->ahead = info.tcpi_bytes_received + q->before / 2;
	return 1;
}

static int begin(struct squeeze *q, int fd)
{
	struct tcp_info info = info_of(fd);

	if (info.tcpi_bytes_received < q->ahead)
		return 1;
	q->ahead = 0;
	q->judged = 0;
	q->until = monotonic_ns() + STINT_NS;
	if (wait_full(q, fd))
		return leave(q, fd);
	begin_trial(q, &info);
	return 0;
}

/* Is it better with than without?  Only asked once. */
static int is_better(struct squeeze *q, int fd)
{
	struct tcp_info info;
	long rate;

	if (q->judged || monotonic_ns() - q->since < TRIAL_NS)
		return 1;
	q->judged = 1;
	info = info_of(fd);
	rate = end_trial(q, &info);
	return rate > q->rate;
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
	if (!is_better(q, fd))
		return leave(q, fd);
	if (!wait_full(q, fd)) {
		q->in_vain = 0;
		if (q->judged)
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
