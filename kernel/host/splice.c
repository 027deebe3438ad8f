// SPDX-License-Identifier: GPL-2.0-only
/*
 * TCP of the user backend: connections of the instance, spliced to the host's.
 *
 * Theory of operation.  TCP that leaves the instance ends in the library
 * kernel, in sockets of a network namespace that only this thread, "ukl-tcp",
 * has sockets in (kernel/arch/lkl/drivers/gate.c).  Each is one half of a
 * flow, the other half is a socket of the host's, and the thread moves bytes
 * between the two.  So what crosses is data, never segments: both kernels do
 * their TCP as if nothing were between them, windows, pacing and all.
 *
 * A connection of the instance's begins with a frame, its SYN, from the packet
 * socket.  The host's connect() is made first; then the frame is sent back and
 * the library kernel's TCP answers it, or the answer made here refuses it, so
 * that the program's connect() ends as the host's did.  A connection to a
 * published port begins with the host's accept(), and goes on with a
 * connect() in the library kernel, from the client's own address.
 *
 * The end of a stream (FIN) and its abort (RST) are passed on like data.
 *
 * Pings come the same way, as frames, and leave by sockets of echo.c.
 *
 * Both kernels' descriptors are watched edge-triggered, for what can be read
 * from the first on, for room to write from the first time that there was none;
 * what could be read or written last time is remembered in the flow.  The thread
 * waits in the host's epoll_wait(), with a bell in it that rings when the library
 * kernel's epoll has something.
 */
#define _GNU_SOURCE
#include "host.h"
#include "company.h"
#include "echo.h"
#include "splice.h"
#include "squeeze.h"
#include "syn.h"

#include <ukl/bulk.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef IPV6_TRANSPARENT
#define IPV6_TRANSPARENT	75
#endif

#define CHUNK		(128 * 1024)	/* fits the second-level cache */
#define WHOLE		(256 * 1024)	/* a queue that was waited for */
#define TURN		(8 * CHUNK)	/* of one direction, before others */
#define BULK		(16 * 1024)	/* as much at a time is not copied */
#define EVENTS		64
#define AHEAD		4096	/* is read before its time */
#define ACCEPTS		8	/* in a turn, at most */
#define SYN_MAX		512	/* a longer one is damaged */
#define BUCKETS		1024
#define ACCEPT_NS	(5 * 1000000000L)
#define SPIN_NS		80000		/* twice what a wake-up costs */
#define AGREE		64
#define AGREE_SQUEEZED	8
#define SPIN_STREAMS	2
#define ECHO_LOOK_MS	20000		/* for pings that have stopped */
#define SMALL		8192		/* at a time is not much */
#define SMALL_OUT	(32 * 1024)	/* the same on the way out */
#define GATHERED	(256 * 1024)	/* many small pieces */
#define ROW_MIN		8
#define ROW_NS		500000		/* at most between two turns */
#define SQUEEZED_NS	20000000	/* the same, while a window is small */
#define NAP_NS		50000
#define SEND		(MSG_DONTWAIT | MSG_NOSIGNAL)
#define EDGE		(EPOLLIN | EPOLLRDHUP | EPOLLET)

/* One direction of a flow. */
struct way {
	int can_read, can_write;
	int tells_room;		/* being writable is an event */
	int to_end;		/* what is read is followed by an end … */
	int to_fin;		/* … of the stream, not of the connection */
	int ended;		/* no more is to be read … */
	int shut;		/* … and the other side knows, or cannot */
	int bulk;		/* the last time there was much to read */
	uint8_t *rest;		/* read, and not yet written */
	size_t at, size;
	const uint8_t *ahead;	/* read in this turn, before its time … */
	long n_ahead;		/* … or the error that came instead */
};

enum state {
	REACHING,	/* the host's connect() is under way */
	LET_IN,		/* its SYN was sent back */
	DIALLING,	/* the library kernel's connect() is under way */
	OPEN,
	CLOSED,		/* to be freed after this turn */
};

struct flow {
	enum state state;
	int host, inner;	/* descriptors of the two kernels; -1: none */
	struct way out, in;
	struct squeeze squeeze;
	int busy;		/* on the list of those with more to do */
	struct flow *next_busy, *next;
	/* Until it is open: */
	struct ends ends;
	const struct sockaddr_storage *inner_address;
	struct flow *next_fresh;
	long deadline;
	uint8_t *syn;
	size_t syn_size;
};

/* Turns in which small pieces came, and nothing the other way. */
struct row {
	int small, large;	/* pieces came, this turn, … */
	struct flow *from;	/* … the last of this flow … */
	int several;		/* … and others of others */
	unsigned int turns;
	long at;		/* the last one */
};

struct splice {
	struct splice_config config;
	struct gate gate;
	struct echo *echo;
	int inner_epoll, host_epoll;
	struct flow *pending[BUCKETS];
	int n_pending;
	struct flow *busy, *closed;
	struct flow *fresh, **fresh_end;	/* accepted in this turn */
	int much;				/* was moved since the last look around */
	struct flow *squeezed;
	struct row row_out, row_in;
	unsigned int streams;			/* outwards, not ended */
	int accepts, accepted;			/* in a turn: may be, were */
	long next_look;				/* for expired ones */
	int echoes;				/* pings may have sockets */
	int can_spin;				/* there is a CPU for it */
	int policy;				/* SCHED_* */
	struct company company;
	int told;
	/* What was read last: in the buffer, or in the instance's memory. */
	enum { COPIED, SHOWN, ROOMED } how;
	int n_pieces;
	long room;				/* there was for it */
	struct ukl_piece piece[UKL_BULK_PIECES];
	uint8_t buffer[WHOLE];
	int n_ahead;
	uint8_t ahead[2 * EVENTS][AHEAD];
};

static struct splice *splices[UKL_MAX_DEVS];

#define call(s, nr, ...) ukl_call((s)->gate.th, nr, ##__VA_ARGS__)
#define bulk_call(s, nr, ...) \
	ukl_call_((s)->gate.th, nr, (s)->config.slot, ##__VA_ARGS__, 0L, 0L, \
		  0L, 0L, 0L)

/* ------------------------------------------------------------------ */
/* Flows.								*/

static unsigned int bucket(const struct ends *ends)
{
	const uint8_t *p = (const void *)ends;
	uint32_t hash = 2166136261u;
	size_t i;

	for (i = 0; i < sizeof(*ends); i++)
		hash = (hash ^ p[i]) * 16777619;
	return hash % BUCKETS;
}

static struct flow *find_pending(struct splice *s, const struct ends *ends)
{
	struct flow *f = s->pending[bucket(ends)];

	while (f && memcmp(&f->ends, ends, sizeof(*ends)))
		f = f->next;
	return f;
}

static void unlink_pending(struct splice *s, struct flow *f)
{
	struct flow **p = &s->pending[bucket(&f->ends)];

	while (*p && *p != f)
		p = &(*p)->next;
	if (*p) {
		*p = f->next;
		s->n_pending--;
	}
	free(f->syn);
	f->syn = NULL;
}

static struct flow *new_flow(enum state state)
{
	struct flow *f = calloc(1, sizeof(*f));

	if (f) {
		f->state = state;
		f->host = f->inner = -1;
	}
	return f;
}

static void count_stream(struct splice *s, int by)
{
	__atomic_add_fetch(&s->streams, by, __ATOMIC_SEQ_CST);
}

/* Events of this turn may still name it: it is freed at the turn's end. */
static void close_flow(struct splice *s, struct flow *f)
{
	if (f->state == CLOSED)
		return;
	if (s->row_in.from == f)
		s->row_in.from = NULL;
	if (s->squeezed == f)
		s->squeezed = NULL;
	if (f->state == REACHING || f->state == LET_IN)
		unlink_pending(s, f);
	if (f->state == LET_IN || (f->state == OPEN && !f->out.shut))
		count_stream(s, -1);
	if (f->host >= 0)
		close(f->host);
	f->state = CLOSED;
	f->next = s->closed;
	s->closed = f;
}

static void free_closed(struct splice *s)
{
	struct flow **busy = &s->busy, *f;

	if (!s->closed)
		return;
	while ((f = *busy)) {
		if (f->state == CLOSED)
			*busy = f->next_busy;
		else
			busy = &f->next_busy;
	}
	ukl_hold(s->gate.th);
	for (f = s->closed; f; f = f->next)
		if (f->inner >= 0)
			call(s, close, f->inner);
	ukl_release(s->gate.th);
	while ((f = s->closed)) {
		s->closed = f->next;
		free(f->out.rest);
		free(f->in.rest);
		free(f);
	}
}

static const struct linger at_once = { 1, 0 };

/* Ends both sides with a reset. */
static void abort_flow(struct splice *s, struct flow *f)
{
	if (f->host >= 0)
		setsockopt(f->host, SOL_SOCKET, SO_LINGER, &at_once,
			   sizeof(at_once));
	if (f->inner >= 0)
		call(s, setsockopt, f->inner, SOL_SOCKET, SO_LINGER, &at_once,
		     sizeof(at_once));
	close_flow(s, f);
}

/* ------------------------------------------------------------------ */
/* Moving bytes.  Calls return what the system call does, or -errno.	*/

/*
 * Much is not copied on its way: what the instance sent is read where it is,
 * and stays there until it is written; what it is to get is read into what will
 * be its packets.
 */
static long show(struct splice *s, struct flow *f)
{
	long size = 0;
	int i;

	s->n_pieces = bulk_call(s, UKL_SYS_BULK_PEEK, f->inner, s->piece, BULK);
	for (i = 0; i < s->n_pieces; i++)
		size += s->piece[i].size;
	return size;
}

static int make_room(struct splice *s)
{
	return bulk_call(s, UKL_SYS_BULK_ROOM, s->piece);
}

/*
 * Reads a little of what @w has to read, if it can go on at once, while the other
 * kernel is not to be kept waiting: see serve().
 */
static void read_ahead(struct splice *s, struct flow *f, struct way *w)
{
	uint8_t *at = s->ahead[s->n_ahead];
	long n;

	if (f->state != OPEN || !w->can_read || !w->can_write || w->bulk ||
	    w->rest || w->ended || w->shut || w->n_ahead)
		return;
	if (w == &f->out) {
		n = call(s, recvfrom, f->inner, at, AHEAD, MSG_DONTWAIT);
	} else {
		n = recv(f->host, at, AHEAD, MSG_DONTWAIT);
		n = n < 0 ? -errno : n;
	}
	if (n == -EAGAIN)
		w->can_read = 0;
	else if (!n)
		w->ended = 1;
	else
		w->n_ahead = n;
	if (n > 0) {
		w->ahead = at;
		s->n_ahead++;
	}
}

static long read_from(struct splice *s, struct flow *f, struct way *w)
{
	struct msghdr msg = { .msg_iov = (void *)s->piece };
	long n = w->n_ahead;
	int whole = w == &f->in && f == s->squeezed &&
		    squeeze_is_whole(&f->squeeze);

	if (n) {
		w->n_ahead = 0;
		s->how = COPIED;
		s->n_pieces = 1;
		s->piece[0] = (struct ukl_piece){ (void *)w->ahead, AHEAD };
		s->room = AHEAD;
		return n;
	}
	if (w == &f->out && w->bulk) {
		n = show(s, f);
		if (n > 0) {
			s->how = SHOWN;
			return n;
		}
	}
	s->n_pieces = 1;
	if (w == &f->in && w->bulk && !whole && !make_room(s)) {
		s->how = ROOMED;
	} else {
		s->how = COPIED;
		s->piece[0].data = s->buffer;
		s->piece[0].size = whole ? WHOLE : CHUNK;
	}
	s->room = s->piece[0].size;
	msg.msg_iovlen = s->n_pieces;
	if (w == &f->out)
		n = call(s, recvfrom, f->inner, s->buffer, s->room, MSG_DONTWAIT);
	else
		n = recvmsg(f->host, &msg, MSG_DONTWAIT);
	if (n < 0 && w == &f->in)
		n = -errno;
	if (n > 0)
		w->bulk = n >= BULK;
	return n;
}

/* The last of a stream goes with its end, in one packet. */
static int more(const struct way *w)
{
	return w->to_fin && !w->rest ? MSG_MORE : 0;
}

static long write_to(struct splice *s, struct flow *f, struct way *w,
		     const void *data, size_t size)
{
	long n;

	if (w == &f->in)
		return call(s, sendto, f->inner, data, size, SEND | more(w));
	n = send(f->host, data, size, SEND | more(w));
	return n < 0 ? -errno : n;
}

/* The same for the @size bytes that were read last. */
static long write_read(struct splice *s, struct flow *f, struct way *w,
		       size_t size)
{
	struct msghdr msg = { .msg_iov = (void *)s->piece,
			      .msg_iovlen = s->n_pieces };
	long n;

	if (s->how == ROOMED && size >= BULK)
		return bulk_call(s, UKL_SYS_BULK_SEND, f->inner, size);
	if (s->how != SHOWN)
		return write_to(s, f, w, s->piece[0].data, size);
	n = sendmsg(f->host, &msg, SEND | more(w));
	if (n > 0)
		call(s, recvfrom, f->inner, s->buffer, n,
		     MSG_DONTWAIT | MSG_TRUNC);
	return n < 0 ? -errno : n;
}

/* Of the @size bytes that were read last, all but the first @done. */
static int keep_rest(struct splice *s, struct way *w, size_t size, size_t done)
{
	size_t at = 0, part;
	int i;

	if (s->how == SHOWN)
		return 0;
	w->rest = malloc(size);
	if (!w->rest)
		return -ENOMEM;
	for (i = 0; at < size; i++, at += part) {
		part = s->piece[i].size;
		if (part > size - at)
			part = size - at;
		memcpy(w->rest + at, s->piece[i].data, part);
	}
	w->at = done;
	w->size = size;
	return 0;
}

/* What is left of the last read.  1: all of it went. */
static long write_rest(struct splice *s, struct flow *f, struct way *w)
{
	long n = write_to(s, f, w, w->rest + w->at, w->size - w->at);

	if (n < 0)
		return n;
	w->at += n;
	if (w->at < w->size)
		return 0;
	free(w->rest);
	w->rest = NULL;
	return 1;
}

static void set_shut(struct splice *s, struct flow *f, struct way *w)
{
	w->shut = 1;
	if (w == &f->out)
		count_stream(s, -1);
}

static void pass_end(struct splice *s, struct flow *f, struct way *w)
{
	set_shut(s, f, w);
	/* Where both have ended the closing says so. */
	if (f->in.shut && f->out.shut)
		return;
	if (w == &f->in)
		call(s, shutdown, f->inner, SHUT_WR);
	else
		shutdown(f->host, SHUT_WR);
}

/*
 * The side that @w writes to takes no more, having been reset, say.  What it
 * sent before is still to be had: reading gets to the error in the end.
 */
static long write_failed(struct splice *s, struct flow *f, struct way *w)
{
	struct way *other = w == &f->out ? &f->in : &f->out;

	set_shut(s, f, w);
	if (other->shut)
		return -EPIPE;
	other->can_read = other->to_end = 1;
	return 0;
}

static unsigned int edges(const struct way *to)
{
	return EDGE | (to->tells_room ? EPOLLOUT : 0);
}

/* @change: EPOLL_CTL_*. */
static long watch_inner(struct splice *s, struct flow *f, int change)
{
	struct epoll_event ev = { .events = edges(&f->in), .data.ptr = f };

	return call(s, epoll_ctl, s->inner_epoll, change, f->inner, &ev);
}

static int watch_host(struct splice *s, struct flow *f, int change)
{
	struct epoll_event ev = { .events = edges(&f->out), .data.ptr = f };

	return epoll_ctl(s->host_epoll, change, f->host, &ev);
}

/*
 * The side that @w writes to has no room.  Most connections never see that, and
 * are spared an event for having room at first.
 */
static void await_room(struct splice *s, struct flow *f, struct way *w)
{
	w->can_write = 0;
	if (w->tells_room)
		return;
	w->tells_room = 1;
	/* One that is not watched yet will be. */
	if (w == &f->in)
		watch_inner(s, f, EPOLL_CTL_MOD);
	else
		watch_host(s, f, EPOLL_CTL_MOD);
}

static int is_row(const struct row *row)
{
	return row->turns >= ROW_MIN;
}

static void note_piece(struct splice *s, struct flow *f, const struct way *w,
		       long n)
{
	struct row *row = w == &f->in ? &s->row_in : &s->row_out;

	row->several |= row->from && row->from != f;
	row->from = f;
	int small = w == &f->in ? SMALL : SMALL_OUT;

	if (n < (is_row(row) ? GATHERED : small) ||
	    (w == &f->in && f == s->squeezed))
		row->small = 1;
	else
		row->large = 1;
}

/*
 * As much of one direction as goes now.  0: nothing more goes; 1: its turn is
 * over, there is more; negative: the flow has failed.
 */
static long move(struct splice *s, struct flow *f, struct way *w)
{
	size_t moved = 0;
	long n, put;

	while (!w->shut && w->can_write) {
		if (w->rest) {
			n = write_rest(s, f, w);
			if (n == -EAGAIN || !n)
				await_room(s, f, w);
			else if (n < 0)
				return write_failed(s, f, w);
			continue;
		}
		if (w->ended) {
			pass_end(s, f, w);
			break;
		}
		if (!w->can_read && !w->n_ahead)
			break;
		if (moved >= TURN)
			return 1;
		n = read_from(s, f, w);
		if (n == -EAGAIN) {
			w->can_read = 0;
			break;
		}
		if (n < 0)
			return n;
		if (!n) {
			w->ended = 1;
			continue;
		}
		s->much |= n >= SMALL;
		note_piece(s, f, w, n);
		/* That was all; what comes later is an event. */
		if (s->how != SHOWN && n < s->room && !w->to_end)
			w->can_read = 0;
		put = write_read(s, f, w, n);
		if (put == -EAGAIN)
			put = 0;
		if (put < 0)
			return write_failed(s, f, w);
		moved += put;
		if (put < n) {
			if (keep_rest(s, w, n, put))
				return -ENOMEM;
			await_room(s, f, w);
		}
	}
	return 0;
}

static void move_both(struct splice *s, struct flow *f)
{
	long out, in;

	if (f->state != OPEN)
		return;
	out = move(s, f, &f->out);
	in = out < 0 ? 0 : move(s, f, &f->in);
	if (out < 0 || in < 0) {
		abort_flow(s, f);
		return;
	}
	if (f->out.shut && f->in.shut) {
		close_flow(s, f);
		return;
	}
	if ((out || in) && !f->busy) {
		f->busy = 1;
		f->next_busy = s->busy;
		s->busy = f;
	}
}

/* Those whose turn was over have another one. */
static void serve_busy(struct splice *s)
{
	struct flow *f = s->busy, *next;

	s->busy = NULL;
	for (; f; f = next) {
		next = f->next_busy;
		f->busy = 0;
		move_both(s, f);
	}
}

static void set_open(struct flow *f)
{
	f->state = OPEN;
	f->out.can_write = f->in.can_write = 1;
}

static void no_delay(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* ------------------------------------------------------------------ */
/* From the instance: frames.						*/

static void send_frame(struct splice *s, const void *frame, size_t size,
		       unsigned int type)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(type),
		.sll_ifindex = s->gate.index,
		.sll_halen = 6,
	};

	call(s, sendto, s->gate.packets, frame, size, MSG_DONTWAIT, &to, sizeof(to));
}

/* The program's connect() ends as the host's did. */
static void refuse(struct splice *s, const uint8_t *syn, size_t size, int err)
{
	const struct splice_config *c = &s->config;
	unsigned int type = syn[12] == 8 ? ETH_P_IP : ETH_P_IPV6;
	uint8_t answer[ANSWER_MAX];
	int net = 0;

	switch (err) {
	case ETIMEDOUT:
		return;		/* as the host: no answer */
	case ENETUNREACH:
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
		net = 1;
		/* fall through */
	case EHOSTUNREACH:
	case EACCES:
	case EPERM:
	case EINVAL:
		size = syn_unreachable(syn, size, net, c->gateway4,
				       &c->gateway6, answer);
		break;
	default:
		size = syn_reset(syn, size, answer);
	}
	send_frame(s, answer, size, type);
}

/* The host's first name server of a family; 0: there is one. */
static int name_server(int family, struct in6_addr *address)
{
	FILE *f = fopen("/etc/resolv.conf", "re");
	char line[256], word[64];
	struct in_addr a4;
	int found = -1;

	while (f && found && fgets(line, sizeof(line), f)) {
		if (sscanf(line, " nameserver %63s", word) != 1)
			continue;
		if (family == AF_INET && inet_pton(AF_INET, word, &a4) == 1) {
			*address = mapped(&a4);
			found = 0;
		} else if (family == AF_INET6 &&
			   inet_pton(AF_INET6, word, address) == 1) {
			found = 0;
		}
	}
	if (f)
		fclose(f);
	return found;
}

/* Where on the host the instance's @to is; an errno: nowhere. */
static int translate(const struct splice *s, struct in6_addr *to)
{
	const struct splice_config *c = &s->config;
	struct in6_addr gateway4 = mapped(&c->gateway4);
	struct in6_addr name_server4 = mapped(&c->name_server4);
	struct in_addr loopback = { htonl(INADDR_LOOPBACK) };
	struct in6_addr router = { .s6_addr = { 0xfe, 0x80, [15] = 2 } };
	const uint8_t *a = to->s6_addr;

	if (IN6_IS_ADDR_V4MAPPED(to)) {
		if (!memcmp(to, &gateway4, sizeof(*to))) {
			*to = mapped(&loopback);
			return c->host_access ? 0 : ECONNREFUSED;
		}
		if (!memcmp(to, &name_server4, sizeof(*to)))
			return name_server(AF_INET, to) ? ECONNREFUSED : 0;
		/* "This" network, loopback, multicast and beyond. */
		return !a[12] || a[12] == 127 || a[12] >= 224 ? ENETUNREACH : 0;
	}
	if (!memcmp(to, &c->gateway6, sizeof(*to)) ||
	    !memcmp(to, &router, sizeof(*to))) {
		*to = in6addr_loopback;
		return c->host_access ? 0 : ECONNREFUSED;
	}
	if (!memcmp(to, &c->name_server6, sizeof(*to)))
		return name_server(AF_INET6, to) ? ECONNREFUSED : 0;
	return IN6_IS_ADDR_LOOPBACK(to) || IN6_IS_ADDR_UNSPECIFIED(to) ||
	       IN6_IS_ADDR_LINKLOCAL(to) || IN6_IS_ADDR_MULTICAST(to) ||
	       IN6_IS_ADDR_V4COMPAT(to) ? ENETUNREACH : 0;
}

static socklen_t sockaddr_of(const struct in6_addr *a, in_port_t port,
			     struct sockaddr_storage *to)
{
	struct sockaddr_in6 *sin6 = (void *)to;
	struct sockaddr_in *sin = (void *)to;

	memset(to, 0, sizeof(*to));
	if (IN6_IS_ADDR_V4MAPPED(a)) {
		sin->sin_family = AF_INET;
		sin->sin_port = port;
		memcpy(&sin->sin_addr, a->s6_addr + 12, 4);
		return sizeof(*sin);
	}
	sin6->sin6_family = AF_INET6;
	sin6->sin6_port = port;
	sin6->sin6_addr = *a;
	return sizeof(*sin6);
}

static void of_sockaddr(const struct sockaddr_storage *from,
			struct in6_addr *a, in_port_t *port)
{
	const struct sockaddr_in6 *sin6 = (const void *)from;
	const struct sockaddr_in *sin = (const void *)from;

	if (from->ss_family == AF_INET) {
		*a = mapped(&sin->sin_addr);
		*port = sin->sin_port;
	} else {
		*a = sin6->sin6_addr;
		*port = sin6->sin6_port;
	}
}

/* Descriptors or memory have run out; the program's TCP asks again. */
static void no_room(struct splice *s, int err)
{
	if (s->told)
		return;
	s->told = 1;
	say("warning: user networking: no room for another connection: %s",
	    strerror(err));
}

static void reached(struct splice *s, struct flow *f)
{
	f->state = LET_IN;
	count_stream(s, 1);
	f->deadline = monotonic_ns() + ACCEPT_NS;
	send_frame(s, f->syn, f->syn_size, UKL_GATE_ASKED);
}

static int has_received(int fd)
{
	int n = 0;

	return !ioctl(fd, SIOCINQ, &n) && n > 0;
}

/*
 * The host's connect() has ended.  Who has said something before he reset the
 * connection has not refused it: reading gets to the error.
 */
static void on_reaching(struct splice *s, struct flow *f, unsigned int events)
{
	int err = 0;
	socklen_t size = sizeof(err);

	if ((events & (EPOLLERR | EPOLLHUP)) && !has_received(f->host))
		getsockopt(f->host, SOL_SOCKET, SO_ERROR, &err, &size);
	if (!err) {
		reached(s, f);
		return;
	}
	refuse(s, f->syn, f->syn_size, err);
	close_flow(s, f);
}

static void on_syn(struct splice *s, const uint8_t *frame, size_t size)
{
	struct sockaddr_storage to;
	struct in6_addr where;
	struct ends ends;
	struct flow *f;
	socklen_t len;
	int err;

	/* Sent again while its connect() is under way, it changes nothing. */
	if (!syn_parse(frame, size, &ends) || find_pending(s, &ends))
		return;
	where = ends.outer;
	err = translate(s, &where);
	if (err) {
		refuse(s, frame, size, err);
		return;
	}
	f = new_flow(REACHING);
	if (!f)
		return;
	f->ends = ends;
	f->syn = malloc(size);
	f->next = s->pending[bucket(&ends)];
	s->pending[bucket(&ends)] = f;
	s->n_pending++;
	len = sockaddr_of(&where, ends.outer_port, &to);
	f->host = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK |
			 SOCK_CLOEXEC, 0);
	if (!f->syn || f->host < 0) {
		err = errno;
		if (err == EAFNOSUPPORT)
			refuse(s, frame, size, err);
		else
			no_room(s, err);
		close_flow(s, f);
		return;
	}
	memcpy(f->syn, frame, size);
	f->syn_size = size;
	no_delay(f->host);
	f->out.tells_room = 1;	/* … when it is connected */
	err = connect(f->host, (void *)&to, len) ? errno : 0;
	/* Its end is an event, even if it ended at once. */
	if ((err && err != EINPROGRESS) || watch_host(s, f, EPOLL_CTL_ADD)) {
		refuse(s, frame, size, err);
		close_flow(s, f);
	}
}

static int is_tcp(const uint8_t *frame, size_t size)
{
	return size >= 14 + 20 &&
	       frame[frame[12] == 8 ? 14 + 9 : 14 + 6] == IPPROTO_TCP;
}

/* What is asked about: connections, and pings. */
static void read_frames(struct splice *s)
{
	const struct splice_config *c = &s->config;
	uint8_t *frame = s->buffer;
	long n;

	while ((n = gate_frame(&s->gate, frame, sizeof(s->buffer)))) {
		if (!is_tcp(frame, n)) {
			if (echo_takes(s->echo, frame, n))
				s->echoes = 1;
			else
				c->give_back(frame, n, c->opaque);
		} else if (n <= SYN_MAX) {
			on_syn(s, frame, n);
		}
	}
}

static void give_echo(const void *frame, size_t size, int at_once, void *opaque)
{
	const uint8_t *bytes = frame;

	send_frame(opaque, frame, size,
		   at_once ? UKL_GATE_NEAR : bytes[12] << 8 | bytes[13]);
}

static void accept_inner(struct splice *s)
{
	struct sockaddr_storage peer, self;
	struct ends ends;
	struct flow *f;
	int size, fd;

	for (;;) {
		size = sizeof(peer);
		fd = call(s, accept4, s->gate.listener, &peer, &size, SOCK_NONBLOCK);
		if (fd < 0) {
			if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
				no_room(s, -fd);
			return;
		}
		memset(&ends, 0, sizeof(ends));
		size = sizeof(self);
		call(s, getsockname, fd, &self, &size);
		of_sockaddr(&peer, &ends.inner, &ends.inner_port);
		of_sockaddr(&self, &ends.outer, &ends.outer_port);
		f = find_pending(s, &ends);
		if (!f || f->state != LET_IN) {
			/* It came too late. */
			call(s, setsockopt, fd, SOL_SOCKET, SO_LINGER,
			     &at_once, sizeof(at_once));
			call(s, close, fd);
			continue;
		}
		unlink_pending(s, f);
		set_open(f);
		f->inner = fd;
		if (watch_inner(s, f, EPOLL_CTL_ADD)) {
			abort_flow(s, f);
			continue;
		}
		move_both(s, f);
	}
}

/* ------------------------------------------------------------------ */
/* To the instance: published ports.					*/

/* Who the client is to the instance; the loopback is the gateway. */
static void client_address(const struct splice *s, struct in6_addr *a)
{
	if (IN6_IS_ADDR_V4MAPPED(a)) {
		if (a->s6_addr[12] == 127)
			*a = mapped(&s->config.gateway4);
	} else if (IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_LINKLOCAL(a)) {
		*a = s->config.gateway6;
	}
}

/*
 * A socket whose connect() to @inner, from @who at @port, is under way.  @speaks:
 * something will be written at once, and is to go with the handshake's last packet.
 */
static int dial_from(struct splice *s, const struct in6_addr *who,
		     in_port_t port, const struct sockaddr_storage *inner,
		     int speaks)
{
	int v6 = inner->ss_family == AF_INET6, one = 1, none = 0, err, fd;
	struct sockaddr_storage self;
	socklen_t len = sockaddr_of(who, port, &self);

	fd = call(s, socket, inner->ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	call(s, setsockopt, fd, v6 ? SOL_IPV6 : SOL_IP,
	     v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, &one, sizeof(one));
	call(s, setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	call(s, setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (speaks)
		call(s, setsockopt, fd, IPPROTO_TCP, TCP_QUICKACK, &none,
		     sizeof(none));
	err = call(s, bind, fd, &self, len);
	if (!err)
		err = call(s, connect, fd, inner, len);
	if (!err || err == -EINPROGRESS)
		return fd;
	call(s, close, fd);
	return err;
}

static int dial(struct splice *s, struct flow *f)
{
	const struct sockaddr_storage *inner = f->inner_address;
	struct in6_addr who = f->ends.outer;
	int speaks = f->in.rest != NULL, fd;

	client_address(s, &who);
	fd = dial_from(s, &who, f->ends.outer_port, inner, speaks);
	/* The same client may be at another published port already. */
	if (fd == -EADDRINUSE || fd == -EADDRNOTAVAIL)
		fd = dial_from(s, &who, 0, inner, speaks);
	if (fd < 0)
		return fd;
	f->inner = fd;
	return 0;
}

static void dialled(struct splice *s, struct flow *f)
{
	set_open(f);
	count_stream(s, 1);
	move_both(s, f);
}

/*
 * What a client sends first mostly has come with it: then the program that accepts
 * the connection need not wait for it.
 */
static int read_first(struct splice *s, struct flow *f)
{
	struct way *w = &f->in;
	long n = read_from(s, f, w);

	if (n == -EAGAIN)
		return 0;
	if (n < 0)
		return n;
	w->ended = !n;
	w->can_read = n == s->room;
	if (!n)
		return 0;
	note_piece(s, f, w, n);
	return keep_rest(s, w, n, 0);
}

/*
 * The library kernel's SYN and its answer, and the answer to that if there is
 * nothing to be said with it, have crossed by now, if somebody listens.
 */
static void try_dialled(struct splice *s, struct flow *f,
			const struct sockaddr_storage *inner)
{
	long err = call(s, connect, f->inner, inner, sizeof(*inner));

	if (!err || err == -EISCONN)
		dialled(s, f);
	else if (err == -EALREADY || err == -EINPROGRESS)
		f->in.tells_room = 1;	/* … when it is connected */
	else
		abort_flow(s, f);
	/* What is there now is an event then, what has been read is not. */
	if (f->state != CLOSED && watch_inner(s, f, EPOLL_CTL_ADD))
		abort_flow(s, f);
}

/* The library kernel's part. */
static void dial_fresh(struct splice *s)
{
	struct flow *f;

	for (f = s->fresh; f; f = f->next_fresh)
		if (dial(s, f))
			abort_flow(s, f);
		else
			try_dialled(s, f, f->inner_address);
}

/* The host's. */
static void watch_fresh(struct splice *s)
{
	struct flow *f;

	while ((f = s->fresh)) {
		s->fresh = f->next_fresh;
		if (f->state != CLOSED && watch_host(s, f, EPOLL_CTL_ADD))
			abort_flow(s, f);
	}
	s->fresh_end = &s->fresh;
}

/* Whether there was a client. */
static int accept_host(struct splice *s, const struct splice_publish *p)
{
	struct sockaddr_storage client;
	socklen_t len = sizeof(client);
	struct flow *f;
	int fd;

	fd = accept4(p->fd, (void *)&client, &len,
		     SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
			no_room(s, errno);
		return 0;
	}
	f = new_flow(DIALLING);
	if (!f) {
		close(fd);
		return 0;
	}
	f->host = fd;
	of_sockaddr(&client, &f->ends.outer, &f->ends.outer_port);
	f->inner_address = &p->inner;
	if (read_first(s, f)) {
		abort_flow(s, f);
		return 1;
	}
	*s->fresh_end = f;
	s->fresh_end = &f->next_fresh;
	return 1;
}

static void accept_some(struct splice *s, const struct splice_publish *p)
{
	int i;

	for (i = 0; i < s->accepts && accept_host(s, p); i++)
		s->accepted = 1;
}

/* Where clients come in every turn there are others behind the first. */
static void count_accepts(struct splice *s)
{
	if (!s->accepted)
		s->accepts = 1;
	else if (s->accepts < ACCEPTS)
		s->accepts *= 2;
	s->accepted = 0;
}

/* ------------------------------------------------------------------ */
/* The thread.								*/

#define AT_END		(EPOLLRDHUP | EPOLLHUP | EPOLLERR)
#define READABLE	(EPOLLIN | AT_END)
#define WRITABLE	(EPOLLOUT | EPOLLHUP | EPOLLERR)

static void can(struct way *from, struct way *to, unsigned int events)
{
	if (events & READABLE)
		from->can_read = 1;
	if (events & AT_END) {
		from->to_end = 1;
		from->to_fin = !(events & (EPOLLHUP | EPOLLERR));
	}
	if (events & WRITABLE)
		to->can_write = 1;
}

/* A datum inside our configuration is a published port. */
static int is_publish(const struct splice *s, const struct epoll_event *ev)
{
	const uint8_t *tag = ev->data.ptr;

	return tag >= (const uint8_t *)s->config.publish &&
	       tag < (const uint8_t *)(s->config.publish + s->config.npublish);
}

static int is_bell(const struct splice *s, const struct epoll_event *ev)
{
	return ev->data.ptr == s;
}

/* An event of the host's: what needs nothing of the library kernel. */
static void begin_host(struct splice *s, struct epoll_event *ev)
{
	struct flow *f = ev->data.ptr;

	if (is_publish(s, ev))
		accept_some(s, ev->data.ptr);
	else if (!is_bell(s, ev) && !echo_event(s->echo, ev) &&
		 f->state != CLOSED) {
		can(&f->in, &f->out, ev->events);
		read_ahead(s, f, &f->in);
		return;
	}
	ev->data.ptr = NULL;
}

/* What needs only that, if it is little. */
static void pass_in(struct splice *s, struct flow *f)
{
	struct way *w = f ? &f->in : NULL;

	if (f && w->n_ahead > 0 && w->n_ahead < AHEAD && !w->to_end &&
	    move(s, f, w) < 0)
		abort_flow(s, f);
}

/* The rest. */
static void end_host(struct splice *s, const struct epoll_event *ev)
{
	struct flow *f = ev->data.ptr;

	if (!f)
		return;
	if (f->state == REACHING && (ev->events & WRITABLE))
		on_reaching(s, f, ev->events);
	else
		move_both(s, f);
}

static int is_flow(const struct splice *s, const struct epoll_event *ev)
{
	return ev->data.ptr != &s->gate.packets &&
	       ev->data.ptr != &s->gate.listener;
}

static void begin_inner(struct splice *s, const struct epoll_event *ev)
{
	struct flow *f = ev->data.ptr;

	if (!is_flow(s, ev) || f->state == CLOSED)
		return;
	can(&f->out, &f->in, ev->events);
	read_ahead(s, f, &f->out);
}

static void end_inner(struct splice *s, const struct epoll_event *ev)
{
	struct flow *f = ev->data.ptr;

	if (ev->data.ptr == &s->gate.packets) {
		read_frames(s);
		return;
	}
	if (ev->data.ptr == &s->gate.listener) {
		accept_inner(s);
		return;
	}
	/* If it was refused, or has been reset since, reading will tell. */
	if (f->state == DIALLING && (ev->events & WRITABLE))
		dialled(s, f);
	else
		move_both(s, f);
}

/*
 * Programs that asked for a connection and were gone when it came, and pings
 * that have stopped.
 */
static void expire(struct splice *s, long now)
{
	struct flow *f, *next;
	int i;

	if (now < s->next_look)
		return;
	s->next_look = now + 1000000000L;
	s->echoes = echo_expire(s->echo);
	for (i = 0; i < BUCKETS; i++)
		for (f = s->pending[i]; f; f = next) {
			next = f->next;
			if (f->state == LET_IN && now > f->deadline)
				abort_flow(s, f);
		}
}

/* Events of the library kernel's: how many. */
static int look_inside(struct splice *s, struct epoll_event *ev)
{
	unsigned int rung = ukl_has_rung(s->gate.th);
	int n;

	if (!rung)
		return 0;
	if (rung != UKL_BELL_SELF)
		company_vote(&s->company, rung - 1);
	ukl_answer(s->gate.th);
	n = call(s, epoll_wait, s->inner_epoll, ev, EVENTS, 0);
	if (n == EVENTS)
		ukl_ring(s->gate.th);
	return n > 0 ? n : 0;
}

/*
 * These @n events of the host's, and all of the library kernel's: whether there was
 * something, if only a bell for what has been seen to.
 *
 * What the host has to say is read first, then the library kernel's CPU is held
 * for all that goes there and what it has to say, and then the host is told.  So
 * programs on other CPUs take turns with this thread, not with each of its calls,
 * and what a call of one changes does not move to the other's caches each time.
 */
static int serve(struct splice *s, struct epoll_event *ev, int n)
{
	struct epoll_event inside[EVENTS];
	int m, i;

	if (n <= 0 && !ukl_has_rung(s->gate.th))
		return 0;
	s->n_ahead = 0;
	for (i = 0; i < n; i++)
		begin_host(s, &ev[i]);
	count_accepts(s);
	/* It costs no call to look for them, and pings are in a hurry. */
	read_frames(s);
	ukl_hold(s->gate.th);
	/*
	 * New clients first: a program that is woken because the last one has
	 * gone finds the next one there, and its request.
	 */
	dial_fresh(s);
	for (i = 0; i < n; i++)
		pass_in(s, ev[i].data.ptr);
	m = look_inside(s, inside);
	for (i = 0; i < m; i++)
		begin_inner(s, &inside[i]);
	ukl_release(s->gate.th);
	watch_fresh(s);
	for (i = 0; i < n; i++)
		end_host(s, &ev[i]);
	for (i = 0; i < m; i++)
		end_inner(s, &inside[i]);
	return 1;
}

/* Whether no event of either kernel's comes for a while. */
static int is_quiet(struct splice *s)
{
	struct pollfd host = { .fd = s->host_epoll, .events = POLLIN };
	long until = monotonic_ns() + SPIN_NS;

	ukl_wake_now(s->gate.th);
	while (monotonic_ns() < until) {
		if (ukl_has_rung(s->gate.th) || poll(&host, 1, 0))
			return 0;
		sched_yield();
	}
	return 1;
}

static void stop_squeezing(struct splice *s)
{
	if (s->squeezed)
		squeeze_end(&s->squeezed->squeeze, s->squeezed->host);
	s->squeezed = NULL;
}

/* A row of small pieces: if they are of one flow, until its window is full. */
static int wait_squeezed(struct splice *s)
{
	struct flow *f = s->row_in.from;
	int waited;

	if (s->squeezed != f)
		stop_squeezing(s);
	if (s->row_in.several || !f)
		return -1;
	waited = squeeze(&f->squeeze, f->host);
	s->squeezed = waited < 0 ? NULL : f;
	/* Who reads it says nothing himself. */
	if (s->squeezed && s->gate.th->woke)
		company_vote(&s->company, s->gate.th->woke - 1);
	return waited;
}

/* The turn is over; @against: something went the other way. */
static void count_turn(struct row *row, int against, long now, long most)
{
	row->turns = row->small && !row->large && !against &&
		     now - row->at < most ? row->turns + 1 : 0;
	row->at = now;
}

static void end_turn(struct row *row)
{
	row->small = row->large = row->several = 0;
	row->from = NULL;
}

/*
 * Somebody sends in small pieces, one after another, and is not answered.  Let
 * some gather: taking each at once costs its sender a wake-up, or the library
 * kernel's CPU, and the reader another.
 */
static void let_gather(struct splice *s)
{
	struct row *in = &s->row_in, *out = &s->row_out;
	struct timespec nap = { 0, NAP_NS };
	int came = in->small || in->large, went = out->small || out->large;
	int must_nap = 0;
	long now;

	if (!came && !went)
		return;
	now = monotonic_ns();
	count_turn(in, went, now, s->squeezed ? SQUEEZED_NS : ROW_NS);
	count_turn(out, came || out->several, now, ROW_NS);
	if (!is_row(in))
		stop_squeezing(s);
	if (is_row(in))
		must_nap = wait_squeezed(s);
	if (must_nap || is_row(out))
		nanosleep(&nap, NULL);
	in->at = out->at = monotonic_ns();
	end_turn(in);
	end_turn(out);
}

/* Rings for this thread when the library kernel's epoll has something. */
static int hang_bell(struct splice *s)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.ptr = s };
	long fd = ukl_syscall(s->gate.th, UKL_SYS_BELL, s->inner_epoll, 0, 0, 0,
			      0, 0);

	return fd < 0 || epoll_ctl(s->host_epoll, EPOLL_CTL_ADD, fd, &ev);
}

/*
 * How many must agree on a CPU before this thread goes there, see company.c.
 *
 * The reader of what was squeezed belongs on this thread's CPU, for on the
 * sender's he takes the time in which that one gathers.  Mostly he comes here
 * when this thread has gone to him, since its CPU is idle then, and it follows him
 * once more.
 */
static int wants_company(const struct splice *s)
{
	if (s->squeezed)
		return AGREE_SQUEEZED;
	return !s->much && s->streams > SPIN_STREAMS ? AGREE : 0;
}

/*
 * How long to wait for the next event, in ms; -1: for ever.  @talked: there have
 * just been some.
 *
 * Where few talk, the next word mostly comes within moments, and being woken
 * for it would take longer than looking again.  Where many do, or much is said,
 * that only takes a CPU from those who talk; and so it does where there is one
 * CPU.
 */
static int patience(struct splice *s, int talked)
{
	if (s->can_spin)
		company_choose(&s->company, wants_company(s));
	if (s->busy)
		return 0;
	if (talked && s->can_spin && !s->much) {
		if (s->streams > SPIN_STREAMS)
			sched_yield();
		if (s->streams > SPIN_STREAMS || !is_quiet(s))
			return 0;
	}
	s->much = 0;
	return s->n_pending ? 1000 : s->echoes ? ECHO_LOOK_MS : -1;
}

/*
 * On one CPU: to be woken behind the thread that has something for us, which
 * otherwise is interrupted on its way to sleep and has to run once more for
 * that.  Pings are in a hurry.
 */
static void set_policy(struct splice *s)
{
	static const struct sched_param none;
	int wanted = s->can_spin || s->echoes ? SCHED_OTHER : SCHED_BATCH;

	if (wanted != s->policy && !sched_setscheduler(0, wanted, &none))
		s->policy = wanted;
}

static void *splice_thread(void *arg)
{
	struct splice *s = arg;
	struct epoll_event ev[EVENTS];
	int n, talked, wait = 0;

	prctl(PR_SET_NAME, "ukl-tcp");
	prctl(PR_SET_TIMERSLACK, 1);
	if (ukl_thread_enter(s->gate.th) || gate_enter(&s->gate) ||
	    hang_bell(s)) {
		say("warning: user networking: no TCP: the library kernel has "
		    "no room for a thread");
		return NULL;
	}
	for (;;) {
		set_policy(s);
		n = ukl_await(s->gate.th, s->host_epoll, ev, EVENTS, wait);
		if (n == -EOWNERDEAD)
			return NULL;
		talked = serve(s, ev, n);
		serve_busy(s);
		free_closed(s);
		let_gather(s);
		if (wait)
			expire(s, monotonic_ns());
		wait = patience(s, talked);
	}
}

static int must(long result, const char *what)
{
	if (result < 0)
		fail("user networking: %s: %s", what, strerror(-result));
	return result;
}

static void watch(struct splice *s, int fd, void *datum)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = datum };

	must(call(s, epoll_ctl, s->inner_epoll, EPOLL_CTL_ADD, fd, &ev),
	     "epoll_ctl");
}

static void start_echo(struct splice *s)
{
	const struct splice_config *c = &s->config;
	struct echo_config config = {
		.epoll = s->host_epoll,
		.net4 = c->net4,
		.mask4 = c->mask4,
		.net6 = c->net6,
		.len6 = c->len6,
		.gateway4 = c->gateway4,
		.gateway6 = c->gateway6,
		.give = give_echo,
		.opaque = s,
	};

	s->echo = echo_new(&config);
	if (!s->echo)
		fail("user networking: %s", strerror(ENOMEM));
}

static void start_tcp(struct splice *s, struct ukl_thread *worker)
{
	sigset_t all, old;
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	must(ukl_thread_prepare(worker, &s->gate.th), "no record for a thread");
	/* Signals are the main thread's; a broken pipe is an errno. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	err = pthread_create(&thread, &attr, splice_thread, s);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	must(-err, "cannot start a thread");
}

void splice_start(const struct splice_config *config,
		  struct ukl_thread *worker)
{
	struct splice *s = calloc(1, sizeof(*s));
	struct epoll_event ev = { .events = EPOLLIN };
	int i;

	if (!s)
		fail("user networking: %s", strerror(ENOMEM));
	splices[config->slot] = s;
	s->config = *config;
	s->gate.th = worker;
	s->can_spin = many_cpus();
	s->accepts = 1;
	s->fresh_end = &s->fresh;
	s->host_epoll = epoll_create1(EPOLL_CLOEXEC);
	if (s->host_epoll < 0)
		must(-errno, "epoll");
	for (i = 0; i < config->npublish; i++) {
		ev.data.ptr = &s->config.publish[i];
		if (epoll_ctl(s->host_epoll, EPOLL_CTL_ADD,
			      config->publish[i].fd, &ev))
			must(-errno, "epoll_ctl");
	}
	start_echo(s);
	gate_open(&s->gate, config->slot);
	s->inner_epoll = must(call(s, epoll_create1, 0), "epoll");
	watch(s, s->gate.packets, &s->gate.packets);
	watch(s, s->gate.listener, &s->gate.listener);
	start_tcp(s, worker);
}

int splice_idle(int slot)
{
	struct splice *s = splices[slot];

	return !s || !__atomic_load_n(&s->streams, __ATOMIC_SEQ_CST);
}
