// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waits until the window of somebody who makes small writes is full.
 *
 * Theory of operation.  Who writes 1500 bytes at a time without Nagle's delay
 * has his TCP make a packet of each, which takes several times as long as the
 * write.  But while the receiver's window is full his writes gather, and leave
 * in long packets when it opens: the receiver's answer does that work, and he
 * goes on writing.  So let him be ahead of the window: keep it from growing, and
 * read a while after it is full.
 *
 * How long that while is decides.  Too long, and he has filled his own buffer
 * and sleeps, which is not seen from here; waking up takes him as long as a few
 * windows.  Too short, and he has nothing left that has gathered, makes packets,
 * and does not get ahead of the window again by himself.  That is seen: of what
 * was read less comes back at once.  So the nap is shortened until it happens.
 * Then the buffer is closed behind what has come, lest he fill it with short
 * packets, which takes ten times as long; he gathers for one and a half turns;
 * and the nap is made longer by an eighth of one.
 *
 * Who does not get ahead then writes less than his TCP could send, and is left
 * alone: waiting would only delay what he says.
 *
 * Whether that is better for him nobody knows: some hosts gather as well without,
 * and he may make long writes by now, for which it is too small.  So he is timed
 * without, then with; and after a while he has it as he likes, and is timed anew.
 *
 * What he may send is bounded twice.  The receive buffer (SO_RCVBUF) says how much
 * comes before it is read.  The window that he is told (TCP_WINDOW_CLAMP) says how
 * much is under way, and opens again as it comes, as long as there is buffer.  It
 * is kept to what has room in the buffer as short packets, which take up to
 * fourteen times their length there: one that finds none is lost, and if it was
 * the last it is sent again after 200 ms.  How many times it is is seen before,
 * as long as he is left alone.
 */
#define _GNU_SOURCE
#include "host.h"
#include "squeeze.h"

#include <limits.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK	72
#endif

#define NEAR_US		1000	/* to the peer and back */
#define SIZE		(64 * 1024)
#define SIZE_MOST	(192 * 1024)
#define WIDE		512	/* packets as long as this take a larger one */
#define LONG		4096	/* packets, over a loopback */
#define AHEAD_PACKETS	128	/* a window has, if they are small */
#define HEAVY		900	/* bytes that one takes beside its data, perhaps */
#define WEIGHED_LEAST	65536	/* to tell better */
#define WEIGHED_MOST	65536	/* in what is longer are packets that gathered */
#define BRISK		700	/* packets as long as this take most, and are … */
#define LEAST_WINDOW	4096
#define ROOM		16384	/* for the heads of packets */
#define LOOK_NS		20000
#define FASTER		96	/* packets in a look: he cannot make so many */
#define FILL_NS		20000000L	/* at most */
#define OPENING		2		/* windows, with the longest nap */
#define SHORTENING	128
#define SHORTENING_BRISK	256
#define NAP_LEAST	2000		/* worth the call */
#define NAP_MOST	1500000
#define STINT_NS	1000000000L	/* then what he writes is looked at again; … */
#define STINT_MOST	(4 * STINT_NS)	/* … twice as long each time */
#define VAIN		4	/* waits, then he is left alone, … */
#define VAIN_NS		30000000L	/* (if it was good: so long after) … */
#define PAUSE_NS	1000000000L	/* … for twice as long each time, */
#define PAUSE_MOST	(64 * PAUSE_NS)
#define TRIAL_NS	12000000L	/* how fast he is, either way */
#define SETTLING	2		/* of these, before it counts */
#define TRIAL_MOST	(5 * TRIAL_NS)	/* then he does not write all the time */

static void clamp(int fd, int size)
{
	setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &size, sizeof(size));
}

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

static void take_nap(long ns)
{
	struct timespec nap = { 0, ns };

	if (ns)
		nanosleep(&nap, NULL);
}

static void learn_cycle(struct squeeze *q)
{
	long now = monotonic_ns(), took = now - q->turned;

	if (q->turned && took < FILL_NS)
		q->cycle += (took - q->cycle) / 8;
	q->turned = q->filled = now;
}

/*
 * What comes at once, as long as it does: long packets are much faster than
 * those that he makes.
 */
static int come_at_once(const struct squeeze *q, int fd)
{
	int before, now = queued(fd);

	/* … not waited for once they have filled it. */
	if (q->packet >= BRISK && now >= q->full - q->full / 8)
		return now;
	do {
		before = now;
		take_nap(LOOK_NS);
		now = queued(fd);
	} while (now - before > q->much);
	return now;
}

/* Memory that the queue takes, by the host's count. */
static int memory_of(int fd)
{
	unsigned int info[SK_MEMINFO_VARS] = { 0 };
	socklen_t size = sizeof(info);

	getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &size);
	return info[SK_MEMINFO_RMEM_ALLOC];
}

/* How much memory his packets take. */
static void weigh(struct squeeze *q, int fd)
{
	int n = queued(fd);

	if (n <= 0 || n >= WEIGHED_MOST)
		return;
	q->weight += memory_of(fd);
	q->weighed += n;
}

/* Until nothing comes; -1: something always does. */
static int wait_quiet(int fd)
{
	long until = monotonic_ns() + FILL_NS;
	int before, now = queued(fd);

	do {
		if (monotonic_ns() > until)
			return -1;
		before = now;
		take_nap(LOOK_NS);
		now = queued(fd);
	} while (now != before);
	return 0;
}

/*
 * He has caught up, and makes packets of what he writes: no more of them may
 * come than he was told, and then he is to get ahead again.
 */
static int let_get_ahead(struct squeeze *q, int fd)
{
	int quiet;

	/* The host takes it twice. */
	set_size(fd, memory_of(fd) / 2 + q->window + ROOM);
	quiet = !wait_quiet(fd);
	if (quiet)
		take_nap(q->cycle + q->cycle / 2);
	set_size(fd, q->size);
	return quiet ? 0 : -1;
}

/* Turns that take a whole one off the nap. */
static int shortening(const struct squeeze *q)
{
	return q->packet < BRISK ? SHORTENING : SHORTENING_BRISK;
}

/*
 * By an eighth of a turn.  With long packets a missed window alone is more often a
 * disturbance, or he has slept: then it must not add up.
 */
static void lengthen(struct squeeze *q)
{
	long alone = q->cycle / 6;

	q->nap += q->cycle / 8;
	if (q->packet >= BRISK && !q->missed && q->nap > alone)
		q->nap = alone;
	if (q->nap > q->nap_most)
		q->nap = q->nap_most;
}

/* -1: he does not fill it. */
static int wait_full(struct squeeze *q, int fd)
{
	int came = come_at_once(q, fd);

	if (q->opening) {
		q->opening--;
		take_nap(q->nap);
		return 0;
	}
	if (came >= q->full / 2) {
		learn_cycle(q);
		q->missed = 0;
		q->nap -= q->found ? q->cycle / shortening(q) : q->nap / 6;
		if (q->nap < NAP_LEAST)
			q->nap = 0;
		take_nap(q->nap);
		return 0;
	}
	q->turned = 0;
	q->found = 1;
	lengthen(q);
	return ++q->missed > VAIN ? -1 : let_get_ahead(q, fd);
}

struct seen {
	struct tcp_info info;
	unsigned int window;	/* that he was told; 0: not known */
};

static struct seen look_at(int fd)
{
	/* Newer than the C library's headers. */
	size_t at = offsetof(struct tcp_info, tcpi_snd_wnd) + sizeof(__u32);
	struct seen seen = { .window = 0 };
	unsigned char bytes[512] = { 0 };
	socklen_t size = sizeof(bytes);

	getsockopt(fd, IPPROTO_TCP, TCP_INFO, bytes, &size);
	memcpy(&seen.info, bytes, sizeof(seen.info));
	if (size >= at + sizeof(seen.window))
		memcpy(&seen.window, bytes + at, sizeof(seen.window));
	return seen;
}

/* What comes from now on tells how fast he writes. */
static void begin_trial(struct squeeze *q, const struct tcp_info *info)
{
	q->since = monotonic_ns();
	q->bytes = info->tcpi_bytes_received;
	q->packets = info->tcpi_data_segs_in;
}

/* How long packets were, on an average. */
static unsigned long packet_of(const struct squeeze *q,
			       const struct tcp_info *info)
{
	unsigned int packets = info->tcpi_data_segs_in - q->packets;

	return packets ? (info->tcpi_bytes_received - q->bytes) / packets : 0;
}

/* Bytes per second since then; 0: it is too early to tell. */
static long end_trial(const struct squeeze *q, const struct tcp_info *info)
{
	long time = monotonic_ns() - q->since;

	if (time < TRIAL_NS)
		return 0;
	return (info->tcpi_bytes_received - q->bytes) * 1000000 / (time / 1000);
}

static void end_stint(struct squeeze *q, int fd)
{
	squeeze_end(q, fd);
	q->since = 0;
	q->weight = q->weighed = 0;
}

static int leave(struct squeeze *q, int fd)
{
	end_stint(q, fd);
	q->stint = 0;
	q->pause = q->pause ? 2 * q->pause : PAUSE_NS;
	if (q->pause > PAUSE_MOST)
		q->pause = PAUSE_MOST;
	q->again = monotonic_ns() + q->pause;
	return -1;
}

/*
 * Over a loopback packets are as long as the window: one that does not fit is not
 * sent in part, but when a timer of the sender's runs out.  So it cannot be as
 * small there as those would need who write least.
 */
static int may_gain(const struct tcp_info *info, long packet)
{
	return info->tcpi_rtt <= NEAR_US && packet &&
	       (packet >= WIDE || info->tcpi_advmss < LONG);
}

static void plan(struct squeeze *q, const struct tcp_info *info, long packet)
{
	q->size = packet < WIDE ? SIZE :
		  packet < BRISK ? SIZE + AHEAD_PACKETS * packet : SIZE_MOST;
	q->packet = packet;
	if (q->weighed < WEIGHED_LEAST) {
		q->weight = packet + HEAVY;
		q->weighed = packet;
	}
	q->loopback = info->tcpi_advmss >= LONG;
	q->nap_most = q->size * (packet < WIDE ? 1000L : 500L) / packet;
	if (q->nap_most > NAP_MOST)
		q->nap_most = NAP_MOST;
	q->nap = q->cycle = q->nap_most;
	q->much = FASTER * packet;
	q->opening = OPENING;
	q->found = q->missed = q->in_vain = 0;
	q->turned = 0;
}

static int start(struct squeeze *q, int fd)
{
	long now = monotonic_ns(), rate, packet;
	struct seen seen;

	if (q->again && now < q->again)
		return -1;
	weigh(q, fd);
	if (q->since && now - q->since < TRIAL_NS)
		return -1;
	seen = look_at(fd);
	rate = q->since && now - q->since < TRIAL_MOST ?
	       end_trial(q, &seen.info) : 0;
	/* While he becomes faster by himself, let him. */
	if (!rate || rate > q->rate + q->rate / 4) {
		q->rate = rate;
		begin_trial(q, &seen.info);
		return -1;
	}
	packet = packet_of(q, &seen.info);
	if (!may_gain(&seen.info, packet))
		return leave(q, fd);
	plan(q, &seen.info, packet);
	q->rate = rate;
	q->squeezed = 1;
	q->before = get_size(fd);
	clamp(fd, q->loopback ? q->size : LEAST_WINDOW);
	/*
	 * What he was told he may send he may send still.  Hosts before Linux
	 * 6.2 do not say; mostly it is half of the buffer.
	 */
	q->ahead = seen.info.tcpi_bytes_received +
		   (seen.window ? seen.window : (unsigned int)q->before / 2);
	return 1;
}

/*
 * How much may be under way: what has room as short packets.  With small ones it
 * is full ones to the last, or his TCP cuts them; with others something to spare.
 */
static int window_for(const struct squeeze *q, long size)
{
	long window = AHEAD_PACKETS * q->packet;

	if (q->loopback)
		return size / 4;
	if (q->packet < WIDE)
		return window < size / 4 ? window : size / 4;
	return 3 * size * q->weighed / (4 * q->weight);
}

static int begin(struct squeeze *q, int fd)
{
	struct seen seen = look_at(fd);
	int size;

	/* More than there will be room for would be taken for a lack of it. */
	if (seen.info.tcpi_bytes_received < q->ahead || queued(fd) > q->size)
		return 1;
	q->ahead = 0;
	q->judged = 0;
	q->settling = SETTLING;
	q->stint = q->stint ? 2 * q->stint : STINT_NS;
	if (q->stint > STINT_MOST)
		q->stint = STINT_MOST;
	q->until = monotonic_ns() + q->stint;
	set_size(fd, q->size);
	/* net.core.rmem_max may not allow as much as it was asked for. */
	size = get_size(fd);
	q->window = window_for(q, size);
	/* Long packets take little more memory than they have bytes. */
	q->full = size - q->window;
	if (wait_full(q, fd))
		return leave(q, fd);
	clamp(fd, q->window);
	begin_trial(q, &seen.info);
	return 0;
}

/* Is it better with than without?  Only asked once. */
static int is_better(struct squeeze *q, int fd)
{
	struct seen seen;

	if (q->judged || monotonic_ns() - q->since < TRIAL_NS)
		return 1;
	seen = look_at(fd);
	if (q->settling) {
		q->settling--;
		begin_trial(q, &seen.info);
		return 1;
	}
	q->judged = 1;
	return end_trial(q, &seen.info) > q->rate;
}

/*
 * He did not fill it.  Who is better with it may not have had a CPU for a while, and
 * gets another chance.
 */
static int give_up(struct squeeze *q)
{
	if (++q->in_vain < VAIN)
		return 0;
	if (!q->judged || monotonic_ns() - q->filled > VAIN_NS)
		return 1;
	q->in_vain = q->missed = 0;
	return 0;
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
	} else if (give_up(q)) {
		return leave(q, fd);
	}
	return 0;
}

int squeeze_is_whole(const struct squeeze *q)
{
	return q->squeezed && q->packet >= BRISK;
}

void squeeze_end(struct squeeze *q, int fd)
{
	int unlocked = 0;

	if (!q->squeezed)
		return;
	clamp(fd, INT_MAX);
	set_size(fd, q->before / 2);
	setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &unlocked, sizeof(unlocked));
	q->squeezed = 0;
}
