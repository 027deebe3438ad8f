// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pings of the user backend that are answered at once.
 *
 * Theory of operation.  An echo request to far away goes to the kernel host, who
 * sends it with a ping socket of the host's and waits for what comes (gate.c).
 * If the answer is there when the request has been sent, because this machine
 * answers it, most of the time was taken by waking the kernel host.  So it says
 * which address that was, and the next request to it is sent by who runs the
 * kernel, through a ping socket that all processes have, and its answer read.
 *
 * If that has not come yet, the address is near no longer, and the request takes
 * the usual way as well; the answer to the first one is thrown away later.
 */
#include <linux/etherdevice.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/skbuff.h>
#include <linux/socket.h>
#include <linux/uio.h>
#include <net/checksum.h>
#include <net/ip6_checksum.h>
#include <asm/ukl.h>
#include <uapi/asm/unistd.h>
#include "net.h"

#define LATE_MOST	8	/* answers, thrown away for one request */

/* A control message with an int; its room as CMSG_SPACE() has it. */
struct hops {
	size_t	len;
	int	level, type, hops, unused;
};

#define HOPS_LEN	offsetof(struct hops, unused)

/* An echo request: a frame in one piece, without options. */
struct request {
	struct sk_buff		*skb;
	bool			v6;
	unsigned int		icmp;	/* where that begins */
	struct in6_addr		to;	/* IPv4's mapped */
	int			ttl;
	int			fd;
};

static struct icmphdr *icmp_of(const struct request *r,
			       const struct sk_buff *skb)
{
	/* Both families' begin alike. */
	return (void *)(skb->data + r->icmp);
}

static bool parse(struct request *r, struct sk_buff *skb)
{
	const struct ethhdr *eth = (void *)skb->data;
	const struct ipv6hdr *ip6 = (void *)(eth + 1);
	const struct iphdr *ip = (void *)(eth + 1);
	const int *fd = ukl.runner->proc->fd;

	r->skb = skb;
	r->v6 = eth->h_proto == htons(ETH_P_IPV6);
	r->icmp = ETH_HLEN + (r->v6 ? sizeof(*ip6) : sizeof(*ip));
	if (skb_is_nonlinear(skb) ||
	    skb->len < r->icmp + sizeof(struct icmphdr))
		return false;
	if (r->v6) {
		r->to = ip6->daddr;
		r->ttl = ip6->hop_limit;
		r->fd = fd[UKL_FD_PING6];
		return ip6->nexthdr == IPPROTO_ICMPV6 &&
		       icmp_of(r, skb)->type == ICMPV6_ECHO_REQUEST;
	}
	ipv6_addr_set_v4mapped(ip->daddr, &r->to);
	r->ttl = ip->ttl;
	r->fd = fd[UKL_FD_PING4];
	return ip->ihl == 5 && ip->protocol == IPPROTO_ICMP &&
	       icmp_of(r, skb)->type == ICMP_ECHO;
}

/* The kernel is a hop of its own, as the kernel host would be. */
static bool send(const struct request *r)
{
	struct sk_buff *skb = r->skb;
	struct sockaddr_in to4 = { .sin_family = AF_INET };
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6 };
	struct hops hops = { .len = HOPS_LEN, .hops = r->ttl - 1 };
	struct iovec iov = { icmp_of(r, skb), skb->len - r->icmp };
	struct host_msghdr msg = {
		.iov = &iov, .iovlen = 1,
		.control = &hops, .controllen = sizeof(hops),
	};

	if (r->v6) {
		to6.sin6_addr = r->to;
		msg.name = &to6;
		msg.namelen = sizeof(to6);
		hops.level = SOL_IPV6;
		hops.type = IPV6_HOPLIMIT;
	} else {
		to4.sin_addr.s_addr = r->to.s6_addr32[3];
		msg.name = &to4;
		msg.namelen = sizeof(to4);
		hops.level = SOL_IP;
		hops.type = IP_TTL;
	}
	return ukl_hostcall(__NR_sendmsg, r->fd, (long)&msg,
			    MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0, 0) >= 0;
}

/* What comes back is all that was sent; another program's may be as late. */
static bool is_answer(const struct request *r, const struct sk_buff *skb)
{
	const struct icmphdr *asked = icmp_of(r, r->skb);
	const struct icmphdr *icmp = icmp_of(r, skb);

	return icmp->un.echo.sequence == asked->un.echo.sequence &&
	       !memcmp(icmp + 1, asked + 1,
		       skb->len - r->icmp - sizeof(*icmp));
}

/* Reads the answer to @r into @skb; its time to live, or 0: it is not there. */
static int receive(const struct request *r, struct sk_buff *skb)
{
	unsigned int len = r->skb->len - r->icmp;
	struct sockaddr_in6 from;
	struct hops hops;
	struct iovec iov = { icmp_of(r, skb), len };
	struct host_msghdr msg;
	struct in6_addr addr;
	long n;
	int i;

	for (i = 0; i < LATE_MOST; i++) {
		hops.len = 0;
		msg = (struct host_msghdr){
			&from, sizeof(from), &iov, 1, &hops, sizeof(hops),
		};
		n = ukl_hostcall(__NR_recvmsg, r->fd, (long)&msg,
				 MSG_DONTWAIT | MSG_TRUNC, 0, 0, 0);
		if (n < 0)
			return 0;
		addr = from.sin6_addr;
		if (!r->v6)
			ipv6_addr_set_v4mapped(((struct sockaddr_in *)&from)
					       ->sin_addr.s_addr, &addr);
		if (n == len && hops.len == HOPS_LEN && hops.hops > 0 &&
		    ipv6_addr_equal(&addr, &r->to) && is_answer(r, skb))
			return hops.hops;
	}
	return 0;
}

/* Makes a frame of it, to who has sent @r. */
static void make_frame(const struct request *r, struct sk_buff *skb, int ttl)
{
	const struct ethhdr *asked = (void *)r->skb->data;
	struct ethhdr *eth = (void *)skb->data;
	const struct ipv6hdr *asked6 = (void *)(asked + 1);
	const struct iphdr *asked4 = (void *)(asked + 1);
	struct icmphdr *icmp = icmp_of(r, skb);
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct iphdr *ip = (void *)(eth + 1);
	unsigned int len = skb->len - r->icmp;
	__be16 id = icmp_of(r, r->skb)->un.echo.id;

	ether_addr_copy(eth->h_dest, asked->h_source);
	ether_addr_copy(eth->h_source, asked->h_dest);
	eth->h_proto = asked->h_proto;
	if (r->v6) {
		icmp->un.echo.id = id;
		icmp->checksum = 0;
		icmp->checksum = csum_ipv6_magic(&asked6->daddr, &asked6->saddr,
						 len, IPPROTO_ICMPV6,
						 csum_partial(icmp, len, 0));
		*ip6 = (struct ipv6hdr){
			.version = 6,
			.payload_len = htons(len),
			.nexthdr = IPPROTO_ICMPV6,
			.hop_limit = ttl,
			.saddr = asked6->daddr,
			.daddr = asked6->saddr,
		};
		return;
	}
	csum_replace2(&icmp->checksum, icmp->un.echo.id, id);
	icmp->un.echo.id = id;
	*ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tot_len = htons(skb->len - ETH_HLEN),
		.frag_off = htons(IP_DF),
		.ttl = ttl,
		.protocol = IPPROTO_ICMP,
		.saddr = asked4->daddr,
		.daddr = asked4->saddr,
	};
	ip_send_check(ip);
}

/*
 * The answer to @skb, a frame for which @near is where the last answer came from at
 * once, or NULL: it has to be asked for in the usual way.
 */
struct sk_buff *ukl_near_answer(struct net_device *nic, struct sk_buff *skb,
				struct in6_addr *near)
{
	struct sk_buff *answer;
	struct request r;
	int ttl;

	if (!parse(&r, skb) || r.ttl <= 1 || r.fd < 0 ||
	    !ipv6_addr_equal(&r.to, near))
		return NULL;
	answer = netdev_alloc_skb_ip_align(nic, skb->len);
	if (!answer)
		return NULL;
	skb_put(answer, skb->len);
	ttl = send(&r) ? receive(&r, answer) : 0;
	if (!ttl) {
		*near = in6addr_any;
		kfree_skb(answer);
		return NULL;
	}
	make_frame(&r, answer, ttl);
	return answer;
}

/* @skb is an answer, a frame, that came at once: from where. */
void ukl_near_learn(const struct sk_buff *skb, struct in6_addr *near)
{
	const struct ethhdr *eth = (void *)skb->data;
	const struct ipv6hdr *ip6 = (void *)(eth + 1);
	const struct iphdr *ip = (void *)(eth + 1);

	if (skb_headlen(skb) >= ETH_HLEN + sizeof(*ip6) &&
	    eth->h_proto == htons(ETH_P_IPV6))
		*near = ip6->saddr;
	else if (skb_headlen(skb) >= ETH_HLEN + sizeof(*ip) &&
		 eth->h_proto == htons(ETH_P_IP))
		ipv6_addr_set_v4mapped(ip->saddr, near);
}
