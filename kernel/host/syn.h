/* SPDX-License-Identifier: GPL-2.0-only */
/* The first frame of a TCP connection, and its answers (syn.c). */
#ifndef UKL_SYN_H
#define UKL_SYN_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

/* Whom a connection joins.  IPv4 addresses are mapped ones (RFC 4291). */
struct ends {
	struct in6_addr inner, outer;	/* the program's; the far end's */
	in_port_t inner_port, outer_port;
};

#define ANSWER_MAX	192

struct in6_addr mapped(const void *ipv4);

/* Where the TCP header of @frame, a SYN, is; 0: it is damaged. */
size_t syn_parse(const uint8_t *frame, size_t size, struct ends *ends);

/*
 * Answers, as frames in @frame, which has room for ANSWER_MAX bytes; they
 * return the size.  A reset is that of a host where nobody listens; the other
 * is a gateway's word that the network, or the host, cannot be reached.
 */
size_t syn_reset(const uint8_t *syn, size_t size, uint8_t *frame);
size_t syn_unreachable(const uint8_t *syn, size_t size, int net,
		       struct in_addr gateway4,
		       const struct in6_addr *gateway6, uint8_t *frame);

#endif
