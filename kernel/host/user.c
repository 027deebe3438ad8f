// SPDX-License-Identifier: GPL-2.0-only
/*
 * The user backend: a way out for an instance that needs nothing but sockets.
 *
 * TCP is spliced to sockets of the host's (splice.c), pings to far away are
 * passed on by others (echo.c).  For everything else there is libslirp, an IP
 * stack that does with the host's socket calls what the instance's datagrams
 * ask for; it runs in a thread of the kernel host, "ukl-user".  No TAP device,
 * no namespace, no privilege, no other process.
 *
 *	user,name=IFNAME,mtu=N,mac=…	as every kind; mtu at most 65520
 *	ipv4=A.B.C.D/LEN | off		the network (default 10.0.2.0/24), or the
 *					instance's address in it
 *	ipv6=PREFIX/LEN | off		the same (default fd00::/64)
 *	host=on | off			may the instance reach the host's
 *					loopback as the gateway's address?
 *					(default off)
 *	publish=PROTO:ADDR:PORT:INNER	what arrives at PORT of the host's
 *					address ADDR goes to port INNER of the
 *					instance; PROTO is tcp or udp, an IPv6
 *					address is in brackets; may be repeated
 *
 * What the instance must be given, in the default networks:
 *	addresses	10.0.2.15/24, fd00::15/64 (published ports lead there)
 *	default routes	via 10.0.2.2, via fd00::2
 *	name servers	10.0.2.3, fd00::3 (queries go to the first server of
 *			that family in the host's /etc/resolv.conf)
 * In others the same numbers are added to the network's.  The router
 * advertises itself too, for accept-ra, and DHCP gives the IPv4 address.
 *
 * Frames cross a pair of SOCK_SEQPACKET sockets with a virtio_net_hdr before
 * each, the instance's end is a TAP to the library kernel.  So one frame
 * carries up to 64 KB in either direction, and the library kernel neither
 * makes nor checks sums.
 *
 * Neither end ever waits for the other.  The library kernel's end does not
 * block, and it tries again later.  What its socket does not take waits here
 * in a queue, and while that is long the host's sockets are not read; frames
 * from the instance are read always.
 */
#define _GNU_SOURCE
#include "host.h"
#include "splice.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <slirp/libslirp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define VNET_HDR	10		/* without num_buffers */
#define USER_MTU	65520		/* libslirp's limit, nearly */
#define FRAME_MAX	(VNET_HDR + 14 + 4 + 65536)
#define SOCKET_BUFFER	(16 << 20)	/* as much as the host allows */
#define FRAMES_A_TURN	64
#define QUEUE_LOW	(1 << 20)	/* bytes: the host's sockets wait */
#define QUEUE_HIGH	(16 << 20)	/* bytes: frames are lost */
#define MAX_PUBLISH	1024
#define TIMERS		8
#define SPIN_NS		30000		/* a wake-up costs about that */

struct publish {
	int udp;
	int fd;			/* a listening one, or libslirp's; -1 */
	struct sockaddr_storage host, inner;
	const char *text;
};

struct frame {
	struct frame *next;
	size_t len;
	uint8_t data[];
};

struct timer {
	SlirpTimerCb cb;
	void *opaque;
	int64_t expires;	/* ms; -1: not armed */
};

struct user {
	int fd, theirs;		/* our end, and the instance's */
	int host;
	const char *ipv4, *ipv6;
	struct publish *publish;
	int npublish;
	struct in_addr net4, mask4, inner4;
	struct in6_addr net6, inner6;
	int len6;

	Slirp *slirp;
	struct timer timer[TIMERS];
	struct pollfd *poll;
	int npoll, apoll;
	int busy;		/* looks, or works on what it has found */
	struct frame *head, **tail;
	size_t queued;
	/* Ports of the host's loopback that sent to a published UDP port. */
	uint8_t heard[2][65536 / 8];
	uint8_t buffer[FRAME_MAX];
};

static struct user *users[UKL_MAX_DEVS];

/* ------------------------------------------------------------------ */
/* Words.								*/

static struct user *user_at(int slot)
{
	struct user *u = users[slot];

	if (!u) {
		u = calloc(1, sizeof(*u));
		if (!u)
			fail("--device: %s", strerror(ENOMEM));
		u->ipv4 = "10.0.2.0/24";
		u->ipv6 = "fd00::/64";
		u->tail = &u->head;
		users[slot] = u;
	}
	return u;
}

static int parse_port(const char *s)
{
	char *end;
	unsigned long n = strtoul(s, &end, 10);

	return *s < '0' || *s > '9' || *end || !n || n > 65535 ? -1 : (int)n;
}

/* PROTO:ADDR:PORT:INNER */
static void parse_publish(struct user *u, const char *value, const char *text)
{
	struct publish *p;
	char copy[128], *s = copy, *addr, *port, *inner;
	struct sockaddr_in *sin;
	struct sockaddr_in6 *sin6;
	int n, m;

	if (u->npublish == MAX_PUBLISH)
		fail("--device %.40s…: publish: at most %d", text, MAX_PUBLISH);
	u->publish = reallocarray(u->publish, u->npublish + 1, sizeof(*p));
	if (!u->publish)
		fail("--device: %s", strerror(ENOMEM));
	p = &u->publish[u->npublish++];
	memset(p, 0, sizeof(*p));
	p->text = strdup(value);
	if (!p->text || strlen(value) >= sizeof(copy))
		goto bad;
	strcpy(copy, value);
	p->udp = !strncmp(s, "udp:", 4);
	if (!p->udp && strncmp(s, "tcp:", 4))
		goto bad;
	addr = s + 4;
	if (*addr == '[') {
		port = strchr(++addr, ']');
		if (!port || port[1] != ':')
			goto bad;
		*port++ = 0;
		*port++ = 0;
	} else {
		port = strchr(addr, ':');
		if (!port)
			goto bad;
		*port++ = 0;
	}
	inner = strchr(port, ':');
	if (!inner)
		goto bad;
	*inner++ = 0;
	n = parse_port(port);
	m = parse_port(inner);
	if (n < 0 || m < 0)
		goto bad;
	sin = (void *)&p->host;
	sin6 = (void *)&p->host;
	if (value[4] != '[' && inet_pton(AF_INET, addr, &sin->sin_addr) == 1) {
		sin->sin_family = AF_INET;
		sin->sin_port = htons(n);
		p->inner.ss_family = AF_INET;
	} else if (value[4] == '[' &&
		   inet_pton(AF_INET6, addr, &sin6->sin6_addr) == 1) {
		sin6->sin6_family = AF_INET6;
		sin6->sin6_port = htons(n);
		p->inner.ss_family = AF_INET6;
	} else {
		goto bad;
	}
	/* The same offset for both families. */
	((struct sockaddr_in *)&p->inner)->sin_port = htons(m);
	return;
bad:
	fail("--device %.40s…: publish=%s: write tcp or udp:ADDRESS:PORT:INNER, "
	     "an IPv6 address in brackets (publish=tcp:127.0.0.1:8080:80)",
	     text, value);
}

int user_key(int slot, const char *key, char *value, const char *text)
{
	struct user *u = user_at(slot);

	if (!strcmp(key, "publish")) {
		parse_publish(u, value, text);
	} else if (!strcmp(key, "host")) {
		if (strcmp(value, "on") && strcmp(value, "off"))
			fail("--device %s: host=%s: on or off", text, value);
		u->host = value[1] == 'n';
	} else if (!strcmp(key, "ipv4") || !strcmp(key, "ipv6")) {
		value = strdup(value);
		if (!value)
			fail("--device: %s", strerror(ENOMEM));
		if (key[3] == '4')
			u->ipv4 = value;
		else
			u->ipv6 = value;
	} else {
		return 0;
	}
	return 1;
}

/*
 * ADDRESS/LEN into the network of @family, the instance's address in it (the
 * network's own means that it has the number 15) and the length; 0: off.
 */
static int parse_net(const char *value, int family, void *addr, void *inner,
		     const char *text)
{
	int max = family == AF_INET ? 29 : 64, len, i, own = 0;
	int bytes = family == AF_INET ? 4 : 16;
	char copy[64], *slash, *end;
	uint8_t *a = addr;

	if (!strcmp(value, "off"))
		return 0;
	snprintf(copy, sizeof(copy), "%s", value);
	slash = strchr(copy, '/');
	if (!slash)
		goto bad;
	*slash++ = 0;
	len = strtol(slash, &end, 10);
	if (inet_pton(family, copy, addr) != 1 || *end || end == slash ||
	    len < 8 || len > max)
		goto bad;
	/* There must be a number 15. */
	if (family == AF_INET && len > 27)
		goto bad;
	memcpy(inner, addr, bytes);
	for (i = len; i < bytes * 8; i++) {
		own |= a[i / 8] & (128 >> i % 8);
		a[i / 8] &= ~(128 >> i % 8);
	}
	/* The gateway's and the name server's are taken. */
	((uint8_t *)memcpy(copy, addr, bytes))[bytes - 1] |= 2;
	if (!memcmp(copy, inner, bytes))
		goto bad;
	copy[bytes - 1] |= 1;
	if (!memcmp(copy, inner, bytes))
		goto bad;
	if (!own)
		((uint8_t *)inner)[bytes - 1] |= family == AF_INET ? 15 : 0x15;
	return len;
bad:
	fail("--device %.100s: %s=%s: give a network as %s, or off", text,
	     family == AF_INET ? "ipv4" : "ipv6", value,
	     family == AF_INET ? "10.0.2.0/24 (a length from 8 to 27)" :
				 "fd00::/64 (a length from 8 to 64)");
}

/* ------------------------------------------------------------------ */
/* Frames.								*/

/* The sum that the library kernel left to us (RFC 1071). */
static void finish_sum(uint8_t *data, size_t len, unsigned int offset)
{
	const uint8_t *p = data;
	uint64_t a = 0, b = 0;
	uint32_t w[4];
	uint16_t sum;

	for (; len >= 16; p += 16, len -= 16) {
		memcpy(w, p, 16);
		a += (uint64_t)w[0] + w[1];
		b += (uint64_t)w[2] + w[3];
	}
	if (len) {
		memset(w, 0, sizeof(w));
		memcpy(w, p, len);
		a += (uint64_t)w[0] + w[1] + w[2] + w[3];
	}
	a = (a & 0xffffffff) + (a >> 32) + (b & 0xffffffff) + (b >> 32);
	while (a >> 16)
		a = (a & 0xffff) + (a >> 16);
	sum = ~a;
	if (!sum)
		sum = 0xffff;	/* zero means "no sum" to UDP */
	memcpy(data + offset, &sum, 2);
}

/* The UDP header in a frame between the instance and the gateway, or NULL. */
static const uint8_t *gateway_udp(const struct user *u, const uint8_t *frame,
				  size_t len, int out, int *v6)
{
	const uint8_t *ip = frame + 14, *udp, *addr;
	struct in6_addr gateway6 = u->net6;
	uint32_t gateway4 = htonl(ntohl(u->net4.s_addr) + 2);

	if (len < 14 + 28)
		return NULL;
	gateway6.s6_addr[15] = 2;
	*v6 = frame[12] == 0x86 && frame[13] == 0xdd;
	if (*v6) {
		addr = ip + (out ? 24 : 8);
		udp = ip + 40;
		if (ip[6] != IPPROTO_UDP || len < 14 + 48 ||
		    memcmp(addr, &gateway6, 16))
			return NULL;
	} else {
		addr = ip + (out ? 16 : 12);
		udp = ip + 4 * (ip[0] & 15);
		/* A fragment's ports are elsewhere. */
		if (frame[12] != 8 || frame[13] || ip[9] != IPPROTO_UDP ||
		    (ip[6] & 0x3f) || ip[7] || udp + 8 > frame + len ||
		    memcmp(addr, &gateway4, 4))
			return NULL;
	}
	return udp;
}

/*
 * Where the host's loopback is out of reach, libslirp drops answers to its
 * clients of published UDP ports too: they leave here.  Returns whether the
 * frame was one.
 */
static int answer_loopback(struct user *u, const uint8_t *frame, size_t len)
{
	struct sockaddr_in to4 = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct sockaddr_in6 to6 = {
		.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback,
	};
	const struct sockaddr_in *inner;
	const uint8_t *udp;
	unsigned int port, size;
	int v6, i;

	udp = u->host ? NULL : gateway_udp(u, frame, len, 1, &v6);
	if (!udp)
		return 0;
	port = udp[2] << 8 | udp[3];
	size = udp[4] << 8 | udp[5];
	if (!(u->heard[v6][port / 8] & 1 << port % 8) || size < 8 ||
	    udp + size > frame + len)
		return 0;
	for (i = 0; i < u->npublish; i++) {
		inner = (void *)&u->publish[i].inner;
		if (!u->publish[i].udp || u->publish[i].fd < 0 ||
		    memcmp(&inner->sin_port, udp, 2) ||
		    (inner->sin_family == AF_INET6) != v6)
			continue;
		memcpy(&to4.sin_port, udp + 2, 2);
		to6.sin6_port = to4.sin_port;
		sendto(u->publish[i].fd, udp + 8, size - 8,
		       MSG_DONTWAIT | MSG_NOSIGNAL,
		       v6 ? (void *)&to6 : (void *)&to4,
		       v6 ? sizeof(to6) : sizeof(to4));
		return 1;
	}
	return 0;
}

/* Everything that the instance has sent, up to a limit. */
static void read_frames(struct user *u)
{
	struct virtio_net_hdr hdr;
	uint8_t *frame = u->buffer + VNET_HDR;
	ssize_t len;
	int i;

	for (i = 0; i < FRAMES_A_TURN; i++) {
		len = read(u->fd, u->buffer, sizeof(u->buffer));
		if (len < VNET_HDR + 14)
			return;
		len -= VNET_HDR;
		memcpy(&hdr, u->buffer, VNET_HDR);
		if ((hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) &&
		    hdr.csum_start + hdr.csum_offset + 2 <= len)
			finish_sum(frame + hdr.csum_start,
				   len - hdr.csum_start, hdr.csum_offset);
		if (!u->npublish || !answer_loopback(u, frame, len))
			slirp_input(u->slirp, frame, len);
	}
}

#define HEAD_MAX	(14 + 40 + 20)

/* The sum of @len bytes (even) in host order, not folded. */
static uint64_t add_words(const uint8_t *p, size_t len)
{
	uint64_t sum = 0;
	uint16_t w;

	for (; len; p += 2, len -= 2) {
		memcpy(&w, p, 2);
		sum += w;
	}
	return sum;
}

/*
 * libslirp made the sums of what it sends, and nobody need look at them.  The
 * library kernel's driver believes a frame whose sum is "not made yet": that
 * means the pseudo-header's in its place, so that the frame may be sent on.
 * Copies the headers to @head.  Returns their length; 0: not such a frame.
 */
static size_t leave_sum(const uint8_t *frame, size_t len, uint8_t *head,
			struct virtio_net_hdr *hdr)
{
	int v6 = len > 14 && frame[12] == 0x86 && frame[13] == 0xdd;
	size_t start = v6 ? 14 + 40 : 14 + 20, end;
	const uint8_t *ip = frame + 14;
	uint64_t sum;
	uint16_t word;
	uint8_t proto;

	if (len < start)
		return 0;
	if (!v6 && (frame[12] != 8 || frame[13] || ip[0] != 0x45 ||
		    (ip[6] & 0x3f) || ip[7]))
		return 0;
	proto = ip[v6 ? 6 : 9];
	if (proto == IPPROTO_TCP)
		hdr->csum_offset = 16;
	else if (proto == IPPROTO_UDP)
		hdr->csum_offset = 6;
	else
		return 0;
	end = start + hdr->csum_offset + 2;
	word = v6 ? ip[4] << 8 | ip[5] : (ip[2] << 8 | ip[3]) - 20;
	/* Without padding, which a sum would include. */
	if (len < end || len != start + word)
		return 0;
	sum = (v6 ? add_words(ip + 8, 32) : add_words(ip + 12, 8)) +
	      htons(word) + htons(proto);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	word = sum;
	memcpy(head, frame, end);
	memcpy(head + start + hdr->csum_offset, &word, 2);
	hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	hdr->csum_start = start;
	return end;
}

static ssize_t write_frame(struct user *u, const void *data, size_t len)
{
	struct virtio_net_hdr hdr = { 0 };
	uint8_t head[HEAD_MAX];
	size_t n = leave_sum(data, len, head, &hdr);
	struct iovec iov[3] = {
		{ &hdr, VNET_HDR }, { head, n },
		{ (uint8_t *)data + n, len - n },
	};

	return writev(u->fd, iov, 3);
}

static ssize_t send_packet(const void *data, size_t len, void *opaque)
{
	struct user *u = opaque;
	struct frame *f;
	const uint8_t *udp;
	int v6;

	if (u->npublish && !u->host &&
	    (udp = gateway_udp(u, data, len, 0, &v6)))
		u->heard[v6][(udp[0] << 8 | udp[1]) / 8] |= 1 << udp[1] % 8;
	if (!u->head && (write_frame(u, data, len) >= 0 || errno != EAGAIN))
		return len;
	if (u->queued + len > QUEUE_HIGH)
		return len;
	f = malloc(sizeof(*f) + len);
	if (!f)
		return len;
	f->next = NULL;
	f->len = len;
	memcpy(f->data, data, len);
	*u->tail = f;
	u->tail = &f->next;
	u->queued += len;
	return len;
}

static void send_queued(struct user *u)
{
	struct frame *f;

	while ((f = u->head)) {
		if (write_frame(u, f->data, f->len) < 0 && errno == EAGAIN)
			return;
		u->head = f->next;
		if (!u->head)
			u->tail = &u->head;
		u->queued -= f->len;
		free(f);
	}
}

/* ------------------------------------------------------------------ */
/* What libslirp asks of us.						*/

static int64_t clock_ns(void *opaque)
{
	struct timespec ts;

	(void)opaque;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void guest_error(const char *msg, void *opaque)
{
	(void)msg;
	(void)opaque;
}

static void *timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
	struct user *u = opaque;
	int i;

	for (i = 0; i < TIMERS; i++)
		if (!u->timer[i].cb) {
			u->timer[i] = (struct timer){ cb, cb_opaque, -1 };
			return &u->timer[i];
		}
	fail("user networking: more than %d timers", TIMERS);
}

static void timer_free(void *timer, void *opaque)
{
	(void)opaque;
	((struct timer *)timer)->cb = NULL;
}

static void timer_mod(void *timer, int64_t expires, void *opaque)
{
	(void)opaque;
	((struct timer *)timer)->expires = expires;
}

static void poll_fd(int fd, void *opaque)
{
	(void)fd;
	(void)opaque;
}

static void notify(void *opaque)
{
	(void)opaque;
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_ns,
	.timer_new = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = poll_fd,
	.unregister_poll_fd = poll_fd,
	.notify = notify,
};

/* ------------------------------------------------------------------ */
/* The thread.								*/

static int add_poll(int fd, int events, void *opaque)
{
	struct user *u = opaque;
	struct pollfd *p;

	if (u->npoll == u->apoll) {
		p = reallocarray(u->poll, u->apoll * 2, sizeof(*p));
		if (!p)
			return -1;
		u->poll = p;
		u->apoll *= 2;
	}
	p = &u->poll[u->npoll];
	p->fd = fd;
	p->events = (events & SLIRP_POLL_IN ? POLLIN : 0) |
		    (events & SLIRP_POLL_OUT ? POLLOUT : 0) |
		    (events & SLIRP_POLL_PRI ? POLLPRI : 0);
	p->revents = 0;
	return u->npoll++;
}

static int get_revents(int index, void *opaque)
{
	struct user *u = opaque;
	int r = index < 0 ? 0 : u->poll[index].revents;

	return (r & POLLIN ? SLIRP_POLL_IN : 0) |
	       (r & POLLOUT ? SLIRP_POLL_OUT : 0) |
	       (r & POLLPRI ? SLIRP_POLL_PRI : 0) |
	       (r & POLLERR ? SLIRP_POLL_ERR : 0) |
	       (r & POLLHUP ? SLIRP_POLL_HUP : 0);
}

/* Runs what is due; returns how long to sleep, at most @timeout ms. */
static uint32_t run_timers(struct user *u, uint32_t timeout)
{
	int64_t now = clock_ns(NULL) / 1000000;
	struct timer *t;

	for (t = u->timer; t < u->timer + TIMERS; t++) {
		if (!t->cb || t->expires < 0)
			continue;
		if (t->expires <= now) {
			t->expires = -1;
			t->cb(t->opaque);
		}
		if (t->expires >= 0 && t->expires - now < timeout)
			timeout = t->expires > now ? t->expires - now : 0;
	}
	return timeout;
}

static void *user_thread(void *arg)
{
	struct user *u = arg;
	uint32_t timeout;
	int64_t began;
	int filled, spin = many_cpus(), n;

	prctl(PR_SET_NAME, "ukl-user");
	for (;;) {
		timeout = run_timers(u, 1000000);
		u->poll[0].fd = u->fd;
		u->poll[0].events = u->head ? POLLIN | POLLOUT : POLLIN;
		filled = u->queued < QUEUE_LOW;
		u->npoll = 1;
		if (filled)
			slirp_pollfds_fill(u->slirp, &timeout, add_poll, u);
		/*
		 * The next frame or answer mostly comes within moments:
		 * being woken for it would take longer than looking again,
		 * where it is made on another CPU.
		 */
		n = poll(u->poll, u->npoll, 0);
		for (began = clock_ns(NULL);
		     spin && !n && clock_ns(NULL) - began < SPIN_NS;
		     n = poll(u->poll, u->npoll, 0))
			sched_yield();
		if (!n && timeout) {
			__atomic_store_n(&u->busy, 0, __ATOMIC_SEQ_CST);
			n = poll(u->poll, u->npoll, timeout);
			__atomic_store_n(&u->busy, 1, __ATOMIC_SEQ_CST);
		}
		if (n < 0 && errno != EINTR) {
			say("warning: user networking: poll: %s",
			    strerror(errno));
			return NULL;
		}
		if (u->poll[0].revents & POLLOUT)
			send_queued(u);
		/*
		 * First this: libslirp looks at the clock here only, and
		 * sockets made by an old clock expire at once.
		 */
		slirp_pollfds_poll(u->slirp, n < 0 || !filled, get_revents, u);
		if (u->poll[0].revents & POLLIN)
			read_frames(u);
	}
}

/* ------------------------------------------------------------------ */

static struct in6_addr in_net6(const struct user *u, unsigned int n)
{
	struct in6_addr a = u->net6;

	a.s6_addr[15] = n;
	return a;
}

static struct in_addr in_net4(const struct user *u, unsigned int n)
{
	return (struct in_addr){ htonl(ntohl(u->net4.s_addr) + n) };
}

/* A frame of the instance's that has nowhere else to go: as if it had come here. */
static void give_back(const void *frame, size_t len, void *opaque)
{
	struct virtio_net_hdr hdr = { 0 };
	struct iovec iov[2] = {
		{ &hdr, VNET_HDR }, { (void *)frame, len },
	};
	struct user *u = opaque;
	ssize_t n;

	n = writev(u->theirs, iov, 2);
	(void)n;	/* a full queue loses it, as others */
}

static void start_slirp(struct user *u, const char *text)
{
	SlirpConfig config = {
		.version = 4,
		.in_enabled = u->mask4.s_addr != 0,
		.in6_enabled = u->len6 != 0,
		.vnetwork = u->net4,
		.vnetmask = u->mask4,
		.vhost = in_net4(u, 2),
		.vnameserver = in_net4(u, 3),
		.vdhcp_start = u->inner4,
		.vprefix_addr6 = u->net6,
		.vprefix_len = u->len6,
		.vhost6 = in_net6(u, 2),
		.vnameserver6 = in_net6(u, 3),
		.if_mtu = USER_MTU,
		.if_mru = USER_MTU,
		.disable_host_loopback = !u->host,
	};

	u->slirp = slirp_new(&config, &callbacks, u);
	if (!u->slirp)
		fail("--device %.100s: libslirp did not start", text);
}

/* The socket that libslirp has just bound, or -1. */
static int bound_socket(const struct publish *p, socklen_t len)
{
	struct sockaddr_storage is;
	socklen_t size;
	int fd, type;

	for (fd = 3; fd < 4096; fd++) {
		size = sizeof(type);
		if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) ||
		    type != SOCK_DGRAM)
			continue;
		memset(&is, 0, sizeof(is));
		size = sizeof(is);
		if (!getsockname(fd, (void *)&is, &size) && size == len &&
		    !memcmp(&is, &p->host, len))
			return fd;
	}
	return -1;
}

static void __attribute__((noreturn)) cannot_publish(const struct publish *p,
						     int err)
{
	fail("publish=%s: %s%s", p->text, strerror(err ? err : EADDRINUSE),
	     err == EACCES ? " (ports below 1024 are root's)" : "");
}

/* A listening socket for a TCP port. */
static int listen_at(const struct publish *p, socklen_t len)
{
	int fd = socket(p->host.ss_family,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0)
		cannot_publish(p, errno);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	/* Whom it accepts has it too. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (p->host.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, (void *)&p->host, len) || listen(fd, SOMAXCONN))
		cannot_publish(p, errno);
	return fd;
}

static void add_publish(struct user *u, struct publish *p)
{
	int v6 = p->host.ss_family == AF_INET6;
	socklen_t len = v6 ? sizeof(struct sockaddr_in6) :
			     sizeof(struct sockaddr_in);

	if (v6 ? !u->len6 : !u->mask4.s_addr)
		fail("publish=%s: the interface has no %s (%s=off)", p->text,
		     v6 ? "IPv6" : "IPv4", v6 ? "ipv6" : "ipv4");
	if (v6)
		((struct sockaddr_in6 *)&p->inner)->sin6_addr = u->inner6;
	else
		((struct sockaddr_in *)&p->inner)->sin_addr = u->inner4;
	if (!p->udp) {
		p->fd = listen_at(p, len);
		return;
	}
	errno = 0;
	if (slirp_add_hostxfwd(u->slirp, (void *)&p->host, len,
			       (void *)&p->inner, len, SLIRP_HOSTFWD_UDP |
			       (v6 ? SLIRP_HOSTFWD_V6ONLY : 0)) < 0)
		cannot_publish(p, errno);
	p->fd = u->host ? -1 : bound_socket(p, len);
}

int user_open(int slot, struct ukl_dev *dev, const char *text)
{
	struct user *u = user_at(slot);
	struct rlimit files;
	sigset_t all, old;
	pthread_attr_t attr;
	pthread_t thread;
	int ends[2], size = SOCKET_BUFFER, len, err, i;

	if (!dev->mtu)
		dev->mtu = USER_MTU;
	if (dev->mtu > USER_MTU)
		fail("--device %.100s: mtu=%d: at most %d", text, dev->mtu,
		     USER_MTU);
	len = parse_net(u->ipv4, AF_INET, &u->net4, &u->inner4, text);
	u->mask4.s_addr = len ? htonl(~0u << (32 - len)) : 0;
	u->len6 = parse_net(u->ipv6, AF_INET6, &u->net6, &u->inner6, text);

	/* A connection is a descriptor. */
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
		       0, ends))
		fail("--device %.100s: %s", text, strerror(errno));
	for (i = 0; i < 2; i++)
		if (setsockopt(ends[i], SOL_SOCKET, SO_SNDBUFFORCE, &size,
			       sizeof(size)))
			setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &size,
				   sizeof(size));
	u->fd = ends[0];
	u->theirs = ends[1];
	u->apoll = 64;
	u->poll = calloc(u->apoll, sizeof(*u->poll));
	if (!u->poll)
		fail("--device: %s", strerror(ENOMEM));
	start_slirp(u, text);
	for (i = 0; i < u->npublish; i++)
		add_publish(u, &u->publish[i]);

	/* Signals are the main thread's; a broken pipe is an errno. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 512 * 1024);
	err = pthread_create(&thread, &attr, user_thread, u);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		fail("cannot start a thread: %s", strerror(err));
	dev->kind = UKL_DEV_USER;
	return ends[1];
}

void user_start(int slot, struct ukl_thread *th)
{
	struct user *u = users[slot];
	struct splice_config config = {
		.slot = slot,
		.host_access = u->host,
		.gateway4 = in_net4(u, 2),
		.name_server4 = in_net4(u, 3),
		.gateway6 = in_net6(u, 2),
		.name_server6 = in_net6(u, 3),
		.net4 = u->net4,
		.mask4 = u->mask4,
		.net6 = u->net6,
		.len6 = u->len6,
		.give_back = give_back,
		.opaque = u,
	};
	struct publish *p;

	config.publish = calloc(u->npublish + 1, sizeof(*config.publish));
	if (!config.publish)
		fail("--device: %s", strerror(ENOMEM));
	for (p = u->publish; p < u->publish + u->npublish; p++)
		if (!p->udp)
			config.publish[config.npublish++] =
				(struct splice_publish){ p->fd, p->inner };
	splice_start(&config, th);
}

int users_idle(void)
{
	struct user *u;
	int unread = 0, i;
	char byte;

	for (i = 0; i < UKL_MAX_DEVS; i++) {
		u = users[i];
		if (!u)
			continue;
		/*
		 * In this order: a frame is taken before it is worked on.  A
		 * datagram may wait for an answer that is not read yet, the
		 * gateway's address.
		 */
		if (recv(u->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0 ||
		    __atomic_load_n(&u->busy, __ATOMIC_SEQ_CST) ||
		    ioctl(u->fd, SIOCOUTQ, &unread) || unread ||
		    !splice_idle(i))
			return 0;
	}
	return 1;
}
