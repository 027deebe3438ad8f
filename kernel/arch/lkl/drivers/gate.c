// SPDX-License-Identifier: GPL-2.0-only
/*
 * The gate of the user backend: where TCP and pings leave the instance.
 *
 * Theory of operation.  An interface of kind UKL_DEV_USER has another end
 * inside the kernel, the port, in a network namespace that is the kernel
 * host's.  TCP crosses from one to the other in segments of up to 256 KB that
 * nobody copies, and ends in sockets of that namespace, which the kernel host
 * joins to sockets of the host's.  Echo requests cross too.  Everything else
 * goes to the descriptor.
 *
 * A connection must not be accepted before its destination has been reached.
 * So the port receives its first segment, the SYN, under an Ethernet type of
 * its own, which no protocol but the kernel host's packet socket listens to.
 * When the kernel host has the connection it sends the same frame back
 * through that socket.  The frame is then received once more, this time for
 * the listener, whatever address and port it names; all further segments are
 * found by their addresses.  (A frame that refuses the connection is sent
 * through the same socket, as IP, and goes to the instance.)
 *
 * Echo requests arrive at that packet socket in the same way, and what answers
 * them is sent through it; but see near.c.
 */
#include <linux/etherdevice.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/file.h>
#include <linux/if_arp.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <net/ip.h>
#include <net/net_namespace.h>
#include <net/sock.h>
#include <asm/ukl.h>
#include "net.h"

struct gate {
	struct net_device	*port;
	struct file		*listener;
	unsigned int		slot;
	struct in6_addr		near;	/* who answers pings at once, or any */
};

static struct gate *gates[UKL_MAX_DEVS];

enum passage {
	PASSES_BY,		/* it does not go through here */
	GOES_IN,		/* to a connection that there is */
	IS_ASKED_ABOUT,		/* to the kernel host's packet socket */
};

static bool is_echo_request(const struct sk_buff *skb, unsigned int offset,
			    u8 type)
{
	struct icmphdr buf;
	const struct icmphdr *icmp;

	/* Both families' begin alike. */
	icmp = skb_header_pointer(skb, offset, sizeof(buf), &buf);
	return icmp && icmp->type == type && !icmp->code;
}

/* Where @skb, a frame, goes. */
static enum passage passage_of(const struct sk_buff *skb)
{
	const struct ethhdr *eth = (void *)skb->data;
	unsigned int offset = ETH_HLEN;
	struct ipv6hdr ip6_buf;
	struct iphdr ip_buf;
	struct tcphdr tcp_buf;
	const struct ipv6hdr *ip6;
	const struct iphdr *ip;
	const struct tcphdr *tcp;

	if (skb_headlen(skb) < ETH_HLEN)
		return PASSES_BY;
	if (eth->h_proto == htons(ETH_P_IP)) {
		ip = skb_header_pointer(skb, offset, sizeof(ip_buf), &ip_buf);
		if (!ip || ip_is_fragment(ip))
			return PASSES_BY;
		offset += ip->ihl * 4;
		if (ip->protocol == IPPROTO_ICMP &&
		    is_echo_request(skb, offset, ICMP_ECHO))
			return IS_ASKED_ABOUT;
		if (ip->protocol != IPPROTO_TCP)
			return PASSES_BY;
	} else if (eth->h_proto == htons(ETH_P_IPV6)) {
		ip6 = skb_header_pointer(skb, offset, sizeof(ip6_buf),
					 &ip6_buf);
		if (!ip6)
			return PASSES_BY;
		offset += sizeof(ip6_buf);
		if (ip6->nexthdr == IPPROTO_ICMPV6 &&
		    is_echo_request(skb, offset, ICMPV6_ECHO_REQUEST))
			return IS_ASKED_ABOUT;
		if (ip6->nexthdr != IPPROTO_TCP)
			return PASSES_BY;
	} else {
		return PASSES_BY;
	}
	tcp = skb_header_pointer(skb, offset, sizeof(tcp_buf), &tcp_buf);
	if (!tcp)
		return PASSES_BY;
	return tcp->syn && !tcp->ack && !tcp->rst ? IS_ASKED_ABOUT : GOES_IN;
}

/* @skb, a frame, arrives at the port, whatever station it was meant for. */
static bool arrive(struct gate *gate, struct sk_buff *skb)
{
	if (__dev_forward_skb(gate->port, skb))
		return false;	/* dropped, and counted there */
	skb->pkt_type = PACKET_HOST;
	return true;
}

/* @skb, a frame, comes out of the gate. */
static void deliver(struct gate *gate, struct net_device *nic,
		    struct sk_buff *skb)
{
	unsigned int len = skb->len;

	ukl_net_capture(gate->slot, skb);
	if (dev_forward_skb(nic, skb) == NET_RX_SUCCESS) {
		nic->stats.rx_packets++;
		nic->stats.rx_bytes += len;
	}
}

/* Whether @skb was an echo request that has been answered. */
static bool answer_at_once(struct gate *gate, struct sk_buff *skb)
{
	struct net_device *nic = ukl_net_device(gate->slot);
	struct sk_buff *answer;

	if (ipv6_addr_any(&gate->near))
		return false;
	answer = ukl_near_answer(nic, skb, &gate->near);
	if (!answer)
		return false;
	deliver(gate, nic, answer);
	consume_skb(skb);
	return true;
}

bool ukl_gate_takes(unsigned int slot, struct sk_buff *skb)
{
	struct gate *gate = gates[slot];
	enum passage passage;

	if (!gate)
		return false;
	passage = passage_of(skb);
	if (passage == PASSES_BY)
		return false;
	ukl_net_capture(slot, skb);
	if (passage == IS_ASKED_ABOUT && answer_at_once(gate, skb))
		return true;
	if (!arrive(gate, skb))
		return true;
	if (passage == IS_ASKED_ABOUT)
		skb->protocol = htons(UKL_GATE_ASKED);
	netif_rx(skb);
	return true;
}

/* The connection is there: its SYN reaches the listener. */
static void let_in(struct gate *gate, struct sk_buff *skb)
{
	struct sock *sk = sock_from_file(gate->listener)->sk;

	if (sk->sk_state != TCP_LISTEN) {
		kfree_skb(skb);
		return;
	}
	skb_orphan(skb);
	if (!arrive(gate, skb))
		return;
	/* Its sum may have been left to a device. */
	skb->ip_summed = CHECKSUM_UNNECESSARY;
	/* Listeners are freed by RCU: no reference is held. */
	skb->sk = sk;
	skb->destructor = sock_pfree;
	netif_rx(skb);
}

static netdev_tx_t port_xmit(struct sk_buff *skb, struct net_device *port)
{
	struct gate *gate = *(struct gate **)netdev_priv(port);
	struct net_device *nic = ukl_net_device(gate->slot);

	if (skb->protocol == htons(UKL_GATE_ASKED)) {
		let_in(gate, skb);
		return NETDEV_TX_OK;
	}
	if (!nic || skb_cow_head(skb, 0)) {
		kfree_skb(skb);
		return NETDEV_TX_OK;
	}
	/* There is one station, and nobody asks it for its address. */
	ether_addr_copy(((struct ethhdr *)skb->data)->h_dest, nic->dev_addr);
	if (skb->protocol == htons(UKL_GATE_NEAR))
		ukl_near_learn(skb, &gate->near);
	deliver(gate, nic, skb);
	return NETDEV_TX_OK;
}

static const struct net_device_ops port_ops = {
	.ndo_start_xmit		= port_xmit,
	.ndo_set_mac_address	= eth_mac_addr,
	.ndo_validate_addr	= eth_validate_addr,
};

#define PORT_FEATURES	(NETIF_F_SG | NETIF_F_FRAGLIST | NETIF_F_HW_CSUM | \
			 NETIF_F_ALL_TSO | NETIF_F_HIGHDMA)

static void port_setup(struct net_device *dev)
{
	ether_setup(dev);
	dev->netdev_ops = &port_ops;
	dev->max_mtu = ETH_MAX_MTU;
	dev->flags |= IFF_NOARP;
	dev->flags &= ~IFF_MULTICAST;
	dev->priv_flags |= IFF_NO_QUEUE;
	dev->lltx = true;
	dev->needs_free_netdev = false;
	dev->hw_features = PORT_FEATURES;
	dev->features = PORT_FEATURES;
	eth_hw_addr_random(dev);
}

/*
 * Opens the gate of the interface in @slot: its port appears in the caller's
 * network namespace, and connections arrive at @listener, a TCP socket of that
 * namespace.  Returns the port's index.
 */
long ukl_gate_add(unsigned int slot, int listener)
{
	struct net_device *nic = slot < UKL_MAX_DEVS ? ukl_net_device(slot) :
						       NULL;
	struct socket *sock;
	struct gate *gate;
	int err;

	if (!nic)
		return -ENODEV;
	if (gates[slot])
		return -EBUSY;
	gate = kzalloc(sizeof(*gate), GFP_KERNEL);
	if (!gate)
		return -ENOMEM;
	gate->slot = slot;
	err = -EBADF;
	gate->listener = fget(listener);
	if (!gate->listener)
		goto free;
	sock = sock_from_file(gate->listener);
	err = -EINVAL;
	if (!sock || sock->sk->sk_protocol != IPPROTO_TCP ||
	    !net_eq(sock_net(sock->sk), current->nsproxy->net_ns))
		goto put;
	gate->port = alloc_netdev(sizeof(gate), "gate%d", NET_NAME_ENUM,
				  port_setup);
	err = -ENOMEM;
	if (!gate->port)
		goto put;
	*(struct gate **)netdev_priv(gate->port) = gate;
	dev_net_set(gate->port, current->nsproxy->net_ns);
	gate->port->mtu = nic->mtu;
	netif_set_tso_max_size(gate->port, INNER_GSO);
	ukl_net_long_packets(gate->port);
	err = register_netdev(gate->port);
	if (err)
		goto free_port;
	gates[slot] = gate;
	return gate->port->ifindex;
free_port:
	free_netdev(gate->port);
put:
	fput(gate->listener);
free:
	kfree(gate);
	return err;
}

void ukl_gate_del(unsigned int slot)
{
	struct gate *gate = gates[slot];

	if (!gate)
		return;
	gates[slot] = NULL;
	unregister_netdev(gate->port);
	free_netdev(gate->port);
	fput(gate->listener);
	kfree(gate);
}
