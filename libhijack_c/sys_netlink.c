// SPDX-License-Identifier: GPL-2.0-only
/*
 * Processes in netlink messages: `ip link set X netns PID`.
 *
 * Their numbers are the host's, and the library kernel has others.  What comes
 * by write() or sendmmsg() stays as it is: nobody does that.
 */
#include "fd.h"

#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sys/socket.h>

/* Attributes in a message: how many bytes are left at @p. */
struct rest {
	char *p;
	u64 n;
};

/* The next one, whose value is *@value; its type, or -1. */
static int attribute(struct rest *in, struct rest *value)
{
	struct nlattr *a = (struct nlattr *)in->p;
	u64 step;

	if (in->n < sizeof(*a) || a->nla_len < sizeof(*a) ||
	    a->nla_len > in->n)
		return -1;
	value->p = in->p + sizeof(*a);
	value->n = a->nla_len - sizeof(*a);
	step = NLA_ALIGN(a->nla_len);
	if (step > in->n)
		step = in->n;
	in->p += step;
	in->n -= step;
	return a->nla_type & NLA_TYPE_MASK;
}

static bool skip(struct rest *r, u64 n)
{
	if (r->n < n)
		return false;
	r->p += n;
	r->n -= n;
	return true;
}

static u32 one_process(struct rest v)
{
	u32 pid;

	if (v.n < sizeof(pid))
		return 0;
	memcpy(&pid, v.p, sizeof(pid));
	pid = kernel_id(pid);
	memcpy(v.p, &pid, sizeof(pid));
	return 1;
}

static u32 interface(struct rest link, bool has_peer);

/* Those of the other end, if the interface is one of a pair. */
static u32 peer(struct rest info)
{
	struct rest v, w;
	bool pair = false;
	u32 found = 0;
	int type;

	while ((type = attribute(&info, &v)) >= 0) {
		if (type == IFLA_INFO_KIND)
			pair = v.n >= 4 && str_starts(v.p, "veth");
		if (type != IFLA_INFO_DATA || !pair)
			continue;
		while ((type = attribute(&v, &w)) >= 0)
			if (type == VETH_INFO_PEER)
				found += interface(w, false);
	}
	return found;
}

static u32 interface(struct rest link, bool has_peer)
{
	struct rest v;
	u32 found = 0;
	int type;

	if (!skip(&link, sizeof(struct ifinfomsg)))
		return 0;
	while ((type = attribute(&link, &v)) >= 0) {
		if (type == IFLA_NET_NS_PID)
			found += one_process(v);
		if (type == IFLA_LINKINFO && has_peer)
			found += peer(v);
	}
	return found;
}

/* Puts the library kernel's numbers into messages; how many. */
static u32 translate(struct rest all)
{
	struct rest one, v;
	struct nlmsghdr *h;
	u32 found = 0;
	int type;

	while (all.n >= sizeof(*h)) {
		h = (struct nlmsghdr *)all.p;
		if (h->nlmsg_len < sizeof(*h) || h->nlmsg_len > all.n)
			break;
		one.p = all.p + sizeof(*h);
		one.n = h->nlmsg_len - sizeof(*h);
		switch (h->nlmsg_type) {
		case RTM_NEWLINK:
		case RTM_SETLINK:
			found += interface(one, true);
			break;
		case RTM_NEWNSID:
		case RTM_GETNSID:
			if (!skip(&one, NLMSG_ALIGN(sizeof(struct rtgenmsg))))
				break;
			while ((type = attribute(&one, &v)) >= 0)
				if (type == NETNSA_PID)
					found += one_process(v);
			break;
		}
		if (!skip(&all, NLMSG_ALIGN(h->nlmsg_len)))
			break;
	}
	return found;
}

static bool option_is(struct ctx *c, int fd, int option, int wanted)
{
	int value;
	u32 n = sizeof(value);

	return !lib_raw(c, __NR_getsockopt, fd, SOL_SOCKET, option,
			(long)&value, (long)&n, 0) && value == wanted;
}

/* For a file of the library kernel that somebody else has opened. */
u16 note_of(struct ctx *c, int fd)
{
	return option_is(c, fd, SO_DOMAIN, AF_NETLINK) &&
	       option_is(c, fd, SO_PROTOCOL, NETLINK_ROUTE) ? NOTE_ROUTE : 0;
}

static bool is_route(struct ctx *c, u64 fd)
{
	return kind_of(c, fd) == K_LIB && c->files->note[(u32)fd] == NOTE_ROUTE;
}

long sys_sendto(struct ctx *c, struct regs *r)
{
	u64 n = r->rdx;

	if (likely(!is_route(c, r->rdi)) || n > IO_SIZE || !io_buffer(c) ||
	    get_user(c->io, (void *)r->rsi, n) ||
	    !translate((struct rest){ c->io, n }))
		return sys_fd1(c, r);
	return lib_call(c, r->rax, r->rdi, (long)c->io, n, r->r10, r->r8,
			r->r9);
}

/* All of a message's data, in c->io; negative: it is not to be had. */
static long gather(struct ctx *c, const struct msghdr *msg)
{
	struct iovec v;
	u64 i, n = 0;

	for (i = 0; i < msg->msg_iovlen; i++) {
		if (get_user(&v, msg->msg_iov + i, sizeof(v)) ||
		    v.iov_len > IO_SIZE - n ||
		    get_user((char *)c->io + n, v.iov_base, v.iov_len))
			return -EFAULT;
		n += v.iov_len;
	}
	return n;
}

/* sendmsg() to a file of the library kernel. */
long send_to_kernel(struct ctx *c, struct regs *r)
{
	struct msghdr msg;
	struct iovec v;
	long n;

	if (likely(!is_route(c, r->rdi)) || !io_buffer(c) ||
	    get_user(&msg, (void *)r->rsi, sizeof(msg)))
		return pass_lib(c, r);
	n = gather(c, &msg);
	if (n < 0 || !translate((struct rest){ c->io, n }))
		return pass_lib(c, r);
	v.iov_base = c->io;
	v.iov_len = n;
	msg.msg_iov = &v;
	msg.msg_iovlen = 1;
	return lib_call(c, r->rax, r->rdi, (long)&msg, r->rdx, 0, 0, 0);
}
