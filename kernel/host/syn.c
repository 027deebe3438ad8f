// SPDX-License-Identifier: GPL-2.0-only
/* The first frame of a connection: who wants what of whom, and the answers. */
#define _GNU_SOURCE
#include "syn.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <string.h>

#define QUOTE_MAX	128	/* of the frame, in an ICMP message */

static uint64_t add_words(const void *data, size_t size)
{
	const uint8_t *p = data;
	uint64_t sum = 0;
	uint16_t word;

	for (; size > 1; p += 2, size -= 2) {
		memcpy(&word, p, 2);
		sum += word;
	}
	if (size) {
		word = 0;
		memcpy(&word, p, 1);
		sum += word;
	}
	return sum;
}

static uint16_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

struct in6_addr mapped(const void *ipv4)
{
	struct in6_addr a = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	memcpy(a.s6_addr + 12, ipv4, 4);
	return a;
}

/* The addresses and the header's place in a SYN; 0: it is damaged. */
size_t syn_parse(const uint8_t *frame, size_t size, struct ends *ends)
{
	const struct tcphdr *tcp;
	size_t at;

	memset(ends, 0, sizeof(*ends));
	if (size < 14 + 20)
		return 0;
	if (frame[12] == 8) {
		at = 14 + 4 * (frame[14] & 15);
		ends->inner = mapped(frame + 14 + 12);
		ends->outer = mapped(frame + 14 + 16);
	} else {
		at = 14 + 40;
		if (size < at)
			return 0;
		memcpy(&ends->inner, frame + 14 + 8, 16);
		memcpy(&ends->outer, frame + 14 + 24, 16);
	}
	if (size < at + sizeof(*tcp))
		return 0;
	tcp = (const void *)(frame + at);
	ends->inner_port = tcp->source;
	ends->outer_port = tcp->dest;
	return at;
}

/* The answer of a host where nobody listens. */
size_t syn_reset(const uint8_t *syn, size_t size, uint8_t *frame)
{
	struct ends ends;
	size_t at = syn_parse(syn, size, &ends), head = at - 14;
	const struct tcphdr *theirs = (const void *)(syn + at);
	struct tcphdr tcp = {
		.source = theirs->dest, .dest = theirs->source,
		.doff = 5, .rst = 1, .ack = 1,
	};
	uint8_t *ip = frame + 14;
	int v6 = syn[12] != 8;
	uint64_t sum;
	size_t data;

	/* A SYN may carry data (TCP Fast Open); all of it is refused. */
	data = v6 ? (size_t)(syn[18] << 8 | syn[19]) :
		    (syn[16] << 8 | syn[17]) - head;
	tcp.ack_seq = htonl(ntohl(theirs->seq) + 1 + data - theirs->doff * 4);
	if (!v6)
		head = 20;
	memset(frame, 0, ANSWER_MAX);
	memcpy(frame + 12, syn + 12, 2);
	if (v6) {
		ip[0] = 0x60;
		ip[5] = sizeof(tcp);
		ip[6] = IPPROTO_TCP;
		ip[7] = 64;
		memcpy(ip + 8, &ends.outer, 16);
		memcpy(ip + 24, &ends.inner, 16);
		sum = add_words(ip + 8, 32);
	} else {
		uint16_t check;

		ip[0] = 0x45;
		ip[3] = 20 + sizeof(tcp);
		ip[6] = 0x40;	/* DF */
		ip[8] = 64;
		ip[9] = IPPROTO_TCP;
		memcpy(ip + 12, ends.outer.s6_addr + 12, 4);
		memcpy(ip + 16, ends.inner.s6_addr + 12, 4);
		check = fold(add_words(ip, 20));
		memcpy(ip + 10, &check, 2);
		sum = add_words(ip + 12, 8);
	}
	sum += htons(IPPROTO_TCP) + htons(sizeof(tcp));
	tcp.check = fold(sum + add_words(&tcp, sizeof(tcp)));
	memcpy(ip + head, &tcp, sizeof(tcp));
	return 14 + head + sizeof(tcp);
}

/* The gateway's word that the destination cannot be reached. */
size_t syn_unreachable(const uint8_t *syn, size_t size, int net,
		       struct in_addr gateway4,
		       const struct in6_addr *gateway6, uint8_t *frame)
{
	uint8_t *ip = frame + 14, *icmp;
	int v6 = syn[12] != 8;
	size_t quoted = size - 14, head = v6 ? 40 : 20, length;
	uint16_t check;
	uint64_t sum;

	if (quoted > QUOTE_MAX)
		quoted = QUOTE_MAX;
	length = 8 + quoted;
	memset(frame, 0, ANSWER_MAX);
	memcpy(frame + 12, syn + 12, 2);
	icmp = ip + head;
	memcpy(icmp + 8, syn + 14, quoted);
	if (v6) {
		icmp[0] = ICMP6_DST_UNREACH;
		icmp[1] = net ? ICMP6_DST_UNREACH_NOROUTE :
				ICMP6_DST_UNREACH_ADDR;
		ip[0] = 0x60;
		ip[4] = length >> 8;
		ip[5] = length;
		ip[6] = IPPROTO_ICMPV6;
		ip[7] = 64;
		memcpy(ip + 8, gateway6, 16);
		memcpy(ip + 24, syn + 14 + 8, 16);
		sum = add_words(ip + 8, 32) + htons(length) +
		      htons(IPPROTO_ICMPV6);
	} else {
		icmp[0] = ICMP_DEST_UNREACH;
		icmp[1] = net ? ICMP_NET_UNREACH : ICMP_HOST_UNREACH;
		ip[0] = 0x45;
		ip[2] = (20 + length) >> 8;
		ip[3] = 20 + length;
		ip[8] = 64;
		ip[9] = IPPROTO_ICMP;
		memcpy(ip + 12, &gateway4, 4);
		memcpy(ip + 16, syn + 14 + 12, 4);
		check = fold(add_words(ip, 20));
		memcpy(ip + 10, &check, 2);
		sum = 0;
	}
	check = fold(sum + add_words(icmp, length));
	memcpy(icmp + 2, &check, 2);
	return 14 + head + length;
}
