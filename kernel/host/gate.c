// SPDX-License-Identifier: GPL-2.0-only
/*
 * The network namespace in which the instance's TCP ends.
 *
 * It has the port of a gate (kernel/arch/lkl/drivers/gate.c), takes every
 * address there is for its own when a packet comes in, and sends replies back.
 */
#define _GNU_SOURCE
#include "host.h"
#include "splice.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#ifndef IPV6_TRANSPARENT
#define IPV6_TRANSPARENT	75
#endif

#define TABLE		100	/* where everything is ours */

#define RING_FRAMES	512
#define RING_FRAME	256	/* a SYN, or a ping of the usual size, and its head */

#define call(gate, nr, ...) ukl_call((gate)->th, nr, ##__VA_ARGS__)

static int must(long result, const char *what)
{
	if (result < 0)
		fail("user networking: %s: %s", what, strerror(-result));
	return result;
}

struct request {
	struct nlmsghdr nh;
	union {
		struct ifinfomsg link;
		struct rtmsg route;
		struct fib_rule_hdr rule;
	};
	char attributes[128];
};

static void add_attribute(struct request *r, int type, const void *data,
			  size_t size)
{
	struct rtattr *a = (void *)((char *)r + NLMSG_ALIGN(r->nh.nlmsg_len));

	a->rta_type = type;
	a->rta_len = RTA_LENGTH(size);
	memcpy(RTA_DATA(a), data, size);
	r->nh.nlmsg_len = NLMSG_ALIGN(r->nh.nlmsg_len) + RTA_ALIGN(a->rta_len);
}

static void ask(struct gate *gate, int fd, struct request *r, const char *what)
{
	const char *words;
	long err = netlink_ask(gate->th, fd, &r->nh, NULL, NULL, &words);

	if (err)
		fail("user networking: %s: %s", what, strerror(-err));
}

static void link_up(struct gate *gate, int fd, int index)
{
	struct request r = {
		.nh = { .nlmsg_len = NLMSG_LENGTH(sizeof(r.link)),
			.nlmsg_type = RTM_NEWLINK },
		.link = { .ifi_index = index, .ifi_flags = IFF_UP,
			  .ifi_change = IFF_UP },
	};

	ask(gate, fd, &r, "an interface does not come up");
}

/* All of a family's addresses: what comes in is for us, replies go back. */
static void add_routes(struct gate *gate, int fd, int family)
{
	struct request rule = {
		.nh = { .nlmsg_len = NLMSG_LENGTH(sizeof(rule.rule)),
			.nlmsg_type = RTM_NEWRULE,
			.nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL },
		.rule = { .family = family, .table = TABLE,
			  .action = FR_ACT_TO_TBL },
	};
	struct request route = {
		.nh = { .nlmsg_len = NLMSG_LENGTH(sizeof(route.route)),
			.nlmsg_type = RTM_NEWROUTE,
			.nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL },
		.route = { .rtm_family = family, .rtm_table = TABLE,
			   .rtm_protocol = RTPROT_BOOT,
			   .rtm_scope = RT_SCOPE_HOST,
			   .rtm_type = RTN_LOCAL },
	};
	struct request back = {
		.nh = { .nlmsg_len = NLMSG_LENGTH(sizeof(back.route)),
			.nlmsg_type = RTM_NEWROUTE,
			.nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL },
		.route = { .rtm_family = family, .rtm_table = RT_TABLE_MAIN,
			   .rtm_protocol = RTPROT_BOOT,
			   .rtm_scope = RT_SCOPE_LINK,
			   .rtm_type = RTN_UNICAST },
	};
	int loopback = 1;

	add_attribute(&rule, FRA_IIFNAME, "gate0", sizeof("gate0"));
	ask(gate, fd, &rule, "the gate has no routing rule");
	add_attribute(&route, RTA_OIF, &loopback, sizeof(loopback));
	ask(gate, fd, &route, "the gate has no way in");
	add_attribute(&back, RTA_OIF, &gate->index, sizeof(gate->index));
	ask(gate, fd, &back, "the gate has no way back");
}

static void set(struct gate *gate, const char *name, const char *value)
{
	char path[128];
	long fd;

	snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
	fd = call(gate, open, path, O_WRONLY);
	if (fd < 0 || call(gate, write, fd, value, strlen(value)) < 0)
		fail("user networking: %s cannot be set", name);
	call(gate, close, fd);
}

static void make_listener(struct gate *gate)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
	int one = 1, zero = 0;
	int fd = must(call(gate, socket, AF_INET6,
			   SOCK_STREAM | SOCK_NONBLOCK, 0), "no socket");

	call(gate, setsockopt, fd, SOL_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	must(call(gate, setsockopt, fd, SOL_IPV6, IPV6_TRANSPARENT, &one,
		  sizeof(one)), "the gate may not use foreign addresses");
	call(gate, setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	must(call(gate, bind, fd, &any, sizeof(any)), "bind");
	must(call(gate, listen, fd, 65535), "listen");
	gate->listener = fd;
}

/*
 * What is asked about lies in a ring that both of us see: the library kernel's
 * memory is mapped here too.  Frames that are longer than one of its places are
 * in the socket's queue as well.
 */
static void make_ring(struct gate *gate)
{
	struct tpacket_req ring = {
		.tp_block_size = RING_FRAMES * RING_FRAME,
		.tp_block_nr = 1,
		.tp_frame_size = RING_FRAME,
		.tp_frame_nr = RING_FRAMES,
	};
	int version = TPACKET_V2, copy = 1;
	unsigned long block;

	must(call(gate, setsockopt, gate->packets, SOL_PACKET, PACKET_VERSION,
		  &version, sizeof(version)), "PACKET_VERSION");
	must(call(gate, setsockopt, gate->packets, SOL_PACKET,
		  PACKET_COPY_THRESH, &copy, sizeof(copy)),
	     "PACKET_COPY_THRESH");
	must(call(gate, setsockopt, gate->packets, SOL_PACKET, PACKET_RX_RING,
		  &ring, sizeof(ring)), "PACKET_RX_RING");
	must(ukl_syscall(gate->th, UKL_SYS_PACKET_RING, gate->packets,
			 (long)&block, 1, 0, 0, 0), "no ring");
	gate->ring = (void *)block;
	gate->next = 0;
}

/* Its length; 0 or less: it is lost. */
static long take(struct gate *gate, const struct tpacket2_hdr *head,
		 uint32_t status, void *frame, size_t room)
{
	if (status & TP_STATUS_COPY)
		return call(gate, recvfrom, gate->packets, frame, room,
			    MSG_DONTWAIT);
	if (head->tp_snaplen < head->tp_len || head->tp_len > room)
		return 0;
	memcpy(frame, (const uint8_t *)head + head->tp_mac, head->tp_len);
	return head->tp_len;
}

long gate_frame(struct gate *gate, void *frame, size_t room)
{
	struct tpacket2_hdr *head;
	uint32_t status;
	long n;

	do {
		head = (void *)(gate->ring + gate->next * RING_FRAME);
		status = __atomic_load_n(&head->tp_status, __ATOMIC_ACQUIRE);
		if (!(status & TP_STATUS_USER))
			return 0;
		n = take(gate, head, status, frame, room);
		__atomic_store_n(&head->tp_status, TP_STATUS_KERNEL,
				 __ATOMIC_RELEASE);
		gate->next = (gate->next + 1) % RING_FRAMES;
	} while (n <= 0);
	return n;
}

/* With calls of a task that is in the namespace. */
static void make_gate(struct gate *gate, int slot)
{
	struct sockaddr_ll here = {
		.sll_family = AF_PACKET, .sll_protocol = htons(UKL_GATE_ASKED),
	};
	int route;

	set(gate, "core/somaxconn", "65535");
	set(gate, "ipv4/tcp_slow_start_after_idle", "0");
	/* Nothing is under way when a connection has ended here. */
	set(gate, "ipv4/tcp_max_tw_buckets", "0");
	set(gate, "ipv6/conf/default/accept_ra", "0");
	/* No addresses of its own, hence no words about them. */
	set(gate, "ipv6/conf/default/addr_gen_mode", "1");
	make_listener(gate);
	gate->index = must(ukl_syscall(gate->th, UKL_SYS_GATE, slot,
				       gate->listener, 0, 0, 0, 0),
			   "no gate");
	route = must(netlink_open(gate->th, NETLINK_ROUTE), "netlink");
	link_up(gate, route, 1);
	link_up(gate, route, gate->index);
	add_routes(gate, route, AF_INET);
	add_routes(gate, route, AF_INET6);
	call(gate, close, route);
	gate->packets = must(call(gate, socket, AF_PACKET,
				  SOCK_RAW | SOCK_NONBLOCK, 0),
			     "no packet socket");
	make_ring(gate);
	here.sll_ifindex = gate->index;
	must(call(gate, bind, gate->packets, &here, sizeof(here)), "bind");
}

static int open_namespace(struct gate *gate)
{
	return must(call(gate, open, "/proc/self/ns/net", O_RDONLY),
		    "/proc/self/ns/net");
}

void gate_open(struct gate *gate, int slot)
{
	struct rlimit files = { 1 << 20, 1 << 20 };
	int home = open_namespace(gate);

	/* A connection is a descriptor. */
	call(gate, prlimit64, 0, RLIMIT_NOFILE, &files, NULL);
	must(call(gate, unshare, CLONE_NEWNET), "no network namespace");
	gate->namespace = open_namespace(gate);
	make_gate(gate, slot);
	must(call(gate, setns, home, CLONE_NEWNET), "setns");
	call(gate, close, home);
}

int gate_enter(struct gate *gate)
{
	return call(gate, setns, gate->namespace, CLONE_NEWNET);
}
