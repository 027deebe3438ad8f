// SPDX-License-Identifier: GPL-2.0-only
/* Requests to the library kernel by netlink. */
#define _GNU_SOURCE
#include "host.h"

#include <linux/netlink.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

static char reply[8192];	/* one thread at a time asks */

long netlink_open(struct ukl_thread *th, int family)
{
	int one = 1;
	long fd = ukl_call(th, socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC,
			   family);

	if (fd < 0)
		return fd;
	/* The kernel's own words, and no copy of the request. */
	ukl_call(th, setsockopt, fd, SOL_NETLINK, NETLINK_EXT_ACK, &one,
		 sizeof(one));
	ukl_call(th, setsockopt, fd, SOL_NETLINK, NETLINK_CAP_ACK, &one,
		 sizeof(one));
	return fd;
}

/* What the kernel says about an error, or NULL. */
static const char *kernel_words(const struct nlmsghdr *nh)
{
	const struct nlmsgerr *err = NLMSG_DATA(nh);
	const struct nlattr *attr;
	unsigned int at = NLMSG_LENGTH(sizeof(*err));

	if (!(nh->nlmsg_flags & NLM_F_ACK_TLVS))
		return NULL;
	if (!(nh->nlmsg_flags & NLM_F_CAPPED))
		at += NLMSG_ALIGN(err->msg.nlmsg_len - sizeof(err->msg));
	while (at + sizeof(*attr) <= nh->nlmsg_len) {
		attr = (const void *)((const char *)nh + at);
		if (attr->nla_len < sizeof(*attr))
			break;
		if ((attr->nla_type & NLA_TYPE_MASK) == NLMSGERR_ATTR_MSG)
			return (const char *)(attr + 1);
		at += NLA_ALIGN(attr->nla_len);
	}
	return NULL;
}

long netlink_ask(struct ukl_thread *th, int fd, struct nlmsghdr *nh,
		 void (*answer)(const struct nlmsghdr *, void *), void *datum,
		 const char **words)
{
	static unsigned int sequence;
	const struct nlmsghdr *part;
	long n;

	*words = NULL;
	nh->nlmsg_seq = ++sequence;
	nh->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	n = ukl_call(th, sendto, fd, nh, nh->nlmsg_len);
	if (n < 0)
		return n;
	for (;;) {
		n = ukl_call(th, recvfrom, fd, reply, sizeof(reply) - 1);
		if (n < 0)
			return n;
		reply[n] = 0;
		for (part = (void *)reply; NLMSG_OK(part, n);
		     part = NLMSG_NEXT(part, n)) {
			if (part->nlmsg_seq != sequence)
				continue;
			if (part->nlmsg_type == NLMSG_ERROR) {
				*words = kernel_words(part);
				return ((struct nlmsgerr *)
					NLMSG_DATA(part))->error;
			}
			if (answer)
				answer(part, datum);
		}
	}
}
