// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pings of the user backend: echo requests of the instance to far away.
 *
 * An unprivileged ping socket of the host's (a raw one where the host allows no
 * others and we may) carries the requests of one program to one address.  Its
 * time to live goes along, less the hop that we are; the answer comes with the
 * one it had, and ICMP's errors come back as such.  So traceroute sees the way.
 */
#define _GNU_SOURCE
#include "echo.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/errqueue.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ETHERNET	14
#define IP4		20
#define IP6		40
#define ICMP		8
#define IDLE_S		60
#define QUOTED		(IP6 + ICMP)	/* of a request, in an error's answer */
#define ANSWER_MAX	65536

/* The requests of one program to one address. */
struct flow {
	int fd;			/* -1: free */
	int raw;
	int v6;
	uint16_t id, outer_id;	/* in the network's order */
	uint8_t to[16];
	int ttl;
	time_t used;
	uint8_t request[ETHERNET + QUOTED];	/* the last one's head */
};

struct echo {
	struct echo_config config;
	struct flow flow[ECHO_FLOWS];
	uint8_t in[ANSWER_MAX];
	uint8_t out[ETHERNET + IP6 + ANSWER_MAX];
};

static time_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return ts.tv_sec;
}

/* RFC 1071, over @sum and more. */
static uint64_t add_sum(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (; len > 1; p += 2, len -= 2)
		sum += p[0] << 8 | p[1];
	return len ? sum + (p[0] << 8) : sum;
}

static void put_sum(uint8_t *at, uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	at[0] = ~sum >> 8;
	at[1] = ~sum;
}

/* ------------------------------------------------------------------ */
/* To the instance.							*/

/*
 * @len bytes of an ICMP message lie in place behind the headers of e->out: they
 * are sent to who sent the request of @f, from @from with @ttl.
 */
static void give(struct echo *e, const struct flow *f, const void *from,
		 int ttl, size_t len, int at_once)
{
	uint8_t *frame = e->out, *ip = frame + ETHERNET, *icmp;
	size_t size;

	memcpy(frame, f->request + 6, 6);
	memcpy(frame + 6, f->request, 6);
	memcpy(frame + 12, f->request + 12, 2);
	if (f->v6) {
		icmp = ip + IP6;
		size = IP6 + len;
		memset(ip, 0, 8);
		ip[0] = 0x60;
		ip[4] = len >> 8;
		ip[5] = len;
		ip[6] = IPPROTO_ICMPV6;
		ip[7] = ttl;
		memcpy(ip + 8, from, 16);
		memcpy(ip + 24, f->request + ETHERNET + 8, 16);
		icmp[2] = icmp[3] = 0;
		/* The addresses, the length and the protocol count too. */
		put_sum(icmp + 2, add_sum(add_sum(len + IPPROTO_ICMPV6, ip + 8,
						  32), icmp, len));
	} else {
		icmp = ip + IP4;
		size = IP4 + len;
		memset(ip, 0, IP4);
		ip[0] = 0x45;
		ip[2] = size >> 8;
		ip[3] = size;
		ip[6] = 0x40;	/* not to be fragmented, so no identification */
		ip[8] = ttl;
		ip[9] = IPPROTO_ICMP;
		memcpy(ip + 12, from, 4);
		memcpy(ip + 16, f->request + ETHERNET + 12, 4);
		put_sum(ip + 10, add_sum(0, ip, IP4));
		icmp[2] = icmp[3] = 0;
		put_sum(icmp + 2, add_sum(0, icmp, len));
	}
	e->config.give(frame, ETHERNET + size, at_once, e->config.opaque);
}

/* An ICMP error of @from about the last request, with sequence number @seq. */
static void give_error(struct echo *e, const struct flow *f, const void *from,
		       int ttl, int type, int code, uint32_t info,
		       const uint8_t *seq)
{
	size_t head = f->v6 ? IP6 : IP4;
	uint8_t *icmp = e->out + ETHERNET + head;

	memset(icmp, 0, ICMP);
	icmp[0] = type;
	icmp[1] = code;
	/* The next hop's MTU: all of it by IPv6, half of it by IPv4. */
	if (f->v6 ? type == ICMP6_PACKET_TOO_BIG :
		    type == ICMP_UNREACH && code == ICMP_UNREACH_NEEDFRAG) {
		info = htonl(info);
		memcpy(icmp + 4, &info, 4);
	}
	memcpy(icmp + ICMP, f->request + ETHERNET, head + ICMP);
	if (seq)
		memcpy(icmp + ICMP + head + 6, seq, 2);
	give(e, f, from, ttl, ICMP + head + ICMP, 0);
}

static void give_local(struct echo *e, const struct flow *f, int type, int code)
{
	give_error(e, f, f->v6 ? (void *)&e->config.gateway6 :
				 (void *)&e->config.gateway4,
		   255, type, code, 0, NULL);
}

/* The host's own kernel did not take the request. */
static void give_errno(struct echo *e, const struct flow *f, int err)
{
	int net = err == ENETUNREACH || err == EADDRNOTAVAIL;

	if (err == EAGAIN || err == ENOBUFS || err == ENOMEM)
		return;		/* lost */
	if (f->v6)
		give_local(e, f, ICMP6_DST_UNREACH, net ?
			   ICMP6_DST_UNREACH_NOROUTE : ICMP6_DST_UNREACH_ADDR);
	else
		give_local(e, f, ICMP_UNREACH, net ?
			   ICMP_UNREACH_NET : ICMP_UNREACH_HOST);
}

/* ------------------------------------------------------------------ */
/* From the host.							*/

static void free_flow(struct flow *f)
{
	close(f->fd);
	f->fd = -1;
}

/* The time to live of what was received. */
static int heard_ttl(struct msghdr *msg)
{
	struct cmsghdr *c;
	int ttl = 64;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
		if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) ||
		    (c->cmsg_level == IPPROTO_IPV6 &&
		     c->cmsg_type == IPV6_HOPLIMIT))
			memcpy(&ttl, CMSG_DATA(c), sizeof(ttl));
	return ttl;
}

static int read_error(struct echo *e, struct flow *f)
{
	union {
		struct cmsghdr first;
		char room[512];
	} control;
	uint8_t sent[ICMP] = { 0 };
	struct iovec iov = { sent, sizeof(sent) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	const struct sock_extended_err *ee;
	const struct sockaddr *who;
	struct cmsghdr *c;

	if (recvmsg(f->fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
		return 0;
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (!(c->cmsg_level == IPPROTO_IP &&
		      c->cmsg_type == IP_RECVERR) &&
		    !(c->cmsg_level == IPPROTO_IPV6 &&
		      c->cmsg_type == IPV6_RECVERR))
			continue;
		ee = (void *)CMSG_DATA(c);
		who = SO_EE_OFFENDER(ee);
		if (ee->ee_origin == SO_EE_ORIGIN_LOCAL)
			give_errno(e, f, ee->ee_errno);
		else if (who->sa_family == AF_INET && !f->v6)
			give_error(e, f,
				   &((struct sockaddr_in *)who)->sin_addr, 64,
				   ee->ee_type, ee->ee_code, ee->ee_info,
				   sent + 6);
		else if (who->sa_family == AF_INET6 && f->v6)
			give_error(e, f,
				   &((struct sockaddr_in6 *)who)->sin6_addr, 64,
				   ee->ee_type, ee->ee_code, ee->ee_info,
				   sent + 6);
	}
	return 1;
}

static void read_answer(struct echo *e, struct flow *f, int at_once)
{
	size_t head = f->v6 ? IP6 : IP4;
	uint8_t *icmp = e->out + ETHERNET + head, *in = e->in;
	union {
		struct cmsghdr first;
		char room[128];
	} control;
	struct iovec iov = { e->in, sizeof(e->in) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(f->fd, &msg, MSG_DONTWAIT);
	size_t skip;

	if (n < 0)
		return;
	/* A raw socket of IPv4 gives the header as well. */
	if (f->raw && !f->v6) {
		skip = (in[0] & 15) * 4;
		if (n < IP4 || (size_t)n < skip)
			return;
		in += skip;
		n -= skip;
	}
	if (n < ICMP || in[0] != (f->v6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY) ||
	    memcmp(in + 4, &f->outer_id, 2))
		return;
	memcpy(icmp, in, n);
	memcpy(icmp + 4, &f->id, 2);
	f->used = now_s();
	give(e, f, f->to, heard_ttl(&msg), n, at_once);
}

int echo_event(struct echo *e, const struct epoll_event *ev)
{
	struct flow *f = ev->data.ptr;

	if (f < e->flow || f >= e->flow + ECHO_FLOWS)
		return 0;
	/* If there are more, there will be another event. */
	if (f->fd >= 0 && (ev->events & EPOLLERR))
		read_error(e, f);
	if (f->fd >= 0 && (ev->events & EPOLLIN))
		read_answer(e, f, 0);
	return 1;
}

int echo_expire(struct echo *e)
{
	time_t now = now_s();
	struct flow *f;
	int left = 0;

	for (f = e->flow; f < e->flow + ECHO_FLOWS; f++) {
		if (f->fd >= 0 && now - f->used > IDLE_S)
			free_flow(f);
		left += f->fd >= 0;
	}
	return left;
}

/* ------------------------------------------------------------------ */
/* From the instance.							*/

/* Far away: what libslirp does not answer itself. */
static int is_far4(const struct echo *e, const uint8_t *to)
{
	struct in_addr a;

	memcpy(&a, to, 4);
	return to[0] && to[0] != 127 && to[0] < 224 &&
	       ((a.s_addr ^ e->config.net4.s_addr) & e->config.mask4.s_addr);
}

static int is_far6(const struct echo *e, const uint8_t *to)
{
	const uint8_t *net = e->config.net6.s6_addr;
	struct in6_addr a;
	int whole = e->config.len6 / 8, rest = e->config.len6 % 8;

	memcpy(&a, to, 16);
	if (!memcmp(to, net, whole) &&
	    (!rest || !((to[whole] ^ net[whole]) >> (8 - rest))))
		return 0;
	return !IN6_IS_ADDR_MULTICAST(&a) && !IN6_IS_ADDR_LINKLOCAL(&a) &&
	       !IN6_IS_ADDR_LOOPBACK(&a) && !IN6_IS_ADDR_UNSPECIFIED(&a) &&
	       !IN6_IS_ADDR_V4MAPPED(&a) && !IN6_IS_ADDR_V4COMPAT(&a);
}

static int open_ping(int family, int kind)
{
	return socket(family, kind | SOCK_CLOEXEC | SOCK_NONBLOCK,
		      family == AF_INET6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

static void tell_ttl(int fd, int family)
{
	int one = 1;

	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &one,
			   sizeof(one));
	else
		setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &one, sizeof(one));
}

int echo_socket(int family)
{
	int fd = open_ping(family, SOCK_DGRAM);

	if (fd >= 0)
		tell_ttl(fd, family);
	return fd;
}

/* The socket for an id and an address; 0, or an errno. */
static int open_flow(struct echo *e, struct flow *f)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = f };
	int family = f->v6 ? AF_INET6 : AF_INET, one = 1, err;
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in to4 = { .sin_family = AF_INET };
	struct sockaddr_storage self;
	socklen_t len = sizeof(self);

	f->raw = 0;
	f->fd = open_ping(family, SOCK_DGRAM);
	if (f->fd < 0 && (errno == EACCES || errno == EPROTONOSUPPORT)) {
		f->raw = 1;
		f->fd = open_ping(family, SOCK_RAW);
	}
	if (f->fd < 0)
		return errno;
	memcpy(&to4.sin_addr, f->to, 4);
	memcpy(&to6.sin6_addr, f->to, 16);
	if (connect(f->fd, f->v6 ? (void *)&to6 : (void *)&to4,
		    f->v6 ? sizeof(to6) : sizeof(to4)) ||
	    epoll_ctl(e->config.epoll, EPOLL_CTL_ADD, f->fd, &ev)) {
		err = errno;
		free_flow(f);
		return err;
	}
	tell_ttl(f->fd, family);
	if (f->v6)
		setsockopt(f->fd, IPPROTO_IPV6, IPV6_RECVERR, &one, sizeof(one));
	else
		setsockopt(f->fd, IPPROTO_IP, IP_RECVERR, &one, sizeof(one));
	/* A ping socket's port is its id, which the kernel puts in. */
	f->outer_id = f->id;
	if (f->raw)
		f->outer_id ^= htons(f->fd << 11 | getpid() >> 5);
	else if (!getsockname(f->fd, (void *)&self, &len))
		f->outer_id = ((struct sockaddr_in *)&self)->sin_port;
	f->ttl = -1;
	return 0;
}

/* The flow of a request, perhaps a new one; the one idle longest makes room. */
static struct flow *find_flow(struct echo *e, int v6, const uint8_t *id,
			      const uint8_t *to, int *err)
{
	size_t size = v6 ? 16 : 4;
	struct flow *f, *free = NULL;

	for (f = e->flow; f < e->flow + ECHO_FLOWS; f++) {
		if (f->fd >= 0 && f->v6 == v6 && !memcmp(&f->id, id, 2) &&
		    !memcmp(f->to, to, size))
			return f;
		if (!free || (free->fd >= 0 && (f->fd < 0 ||
						f->used < free->used)))
			free = f;
	}
	if (free->fd >= 0)
		free_flow(free);
	free->v6 = v6;
	memcpy(&free->id, id, 2);
	memcpy(free->to, to, size);
	*err = open_flow(e, free);
	return free;
}

static void send_request(struct echo *e, struct flow *f, uint8_t *icmp,
			 size_t len, int ttl)
{
	if (f->raw) {
		memcpy(icmp + 4, &f->outer_id, 2);
		/* The kernel sums up IPv6's, which has the addresses in it. */
		icmp[2] = icmp[3] = 0;
		if (!f->v6)
			put_sum(icmp + 2, add_sum(0, icmp, len));
	}
	if (ttl != f->ttl)
		setsockopt(f->fd, f->v6 ? IPPROTO_IPV6 : IPPROTO_IP,
			   f->v6 ? IPV6_UNICAST_HOPS : IP_TTL, &ttl, sizeof(ttl));
	f->ttl = ttl;
	if (send(f->fd, icmp, len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
		/* One from this machine has come by now. */
		read_answer(e, f, 1);
		return;
	}
	/* An error of an earlier request's comes first, once. */
	while (read_error(e, f))
		;
	if (send(f->fd, icmp, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		give_errno(e, f, errno);
}

int echo_takes(struct echo *e, const uint8_t *frame, size_t len)
{
	const uint8_t *ip = frame + ETHERNET, *icmp, *to;
	int v6, ttl, err = 0;
	size_t size, head;
	struct flow *f;

	if (len < ETHERNET + IP4 + ICMP)
		return 0;
	v6 = frame[12] == 0x86 && frame[13] == 0xdd;
	if (v6) {
		if (len < ETHERNET + IP6 + ICMP || ip[6] != IPPROTO_ICMPV6)
			return 0;
		head = IP6;
		size = IP6 + (ip[4] << 8 | ip[5]);
		to = ip + 24;
		ttl = ip[7];
	} else {
		/* No options, no fragments. */
		if (frame[12] != 8 || frame[13] || ip[0] != 0x45 ||
		    ip[9] != IPPROTO_ICMP || (ip[6] & 0x3f) || ip[7])
			return 0;
		head = IP4;
		size = ip[2] << 8 | ip[3];
		to = ip + 16;
		ttl = ip[8];
	}
	icmp = ip + head;
	if (size < head + ICMP || ETHERNET + size > len || icmp[1] ||
	    icmp[0] != (v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO) ||
	    !(v6 ? is_far6(e, to) : is_far4(e, to)))
		return 0;
	f = find_flow(e, v6, icmp + 4, to, &err);
	if (err == EACCES || err == EPERM || err == EAFNOSUPPORT)
		return 0;
	f->used = now_s();
	memcpy(f->request, frame, ETHERNET + head + ICMP);
	if (err) {
		give_errno(e, f, err);
		return 1;
	}
	if (ttl <= 1) {
		give_local(e, f, v6 ? ICMP6_TIME_EXCEEDED : ICMP_TIMXCEED, 0);
		return 1;
	}
	memcpy(e->in, icmp, size - head);
	send_request(e, f, e->in, size - head, ttl - 1);
	return 1;
}

struct echo *echo_new(const struct echo_config *config)
{
	struct echo *e = calloc(1, sizeof(*e));
	int i;

	if (!e)
		return NULL;
	e->config = *config;
	for (i = 0; i < ECHO_FLOWS; i++)
		e->flow[i].fd = -1;
	return e;
}
