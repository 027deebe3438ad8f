// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sockets: the address family decides which kernel has one.
 */
#include "fd.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/socket.h>

static bool wanted(int family, int protocol)
{
	switch (family) {
	case AF_UNIX:
	case AF_VSOCK:
	case AF_BLUETOOTH:
	case AF_NFC:
	case AF_ALG:	/* no network; there it wants pages of the program */
		return false;
	case AF_NETLINK:
		switch (protocol) {
		case NETLINK_ROUTE:
		case NETLINK_SOCK_DIAG:
		case NETLINK_NETFILTER:
		case NETLINK_XFRM:
		case NETLINK_GENERIC:
			return true;
		}
		return false;
	}
	return true;
}

long sys_socket(struct ctx *c, struct regs *r)
{
	long fd;

	if (!wanted(r->rdi, r->rdx))
		return pass(c, r);
	fd = place(c, lib_raw(c, __NR_socket, r->rdi, r->rsi, r->rdx, 0, 0, 0),
		   r->rsi & SOCK_CLOEXEC);
	if (fd >= 0 && (int)r->rdi == AF_NETLINK &&
	    (int)r->rdx == NETLINK_ROUTE)
		c->files->note[fd] = NOTE_ROUTE;
	return fd;
}

/*
 * Without a number for it the connection stays where it is; and nothing is left
 * of that number while somebody waits for one.
 */
static long accept_later(struct ctx *c, struct regs *r, long flags)
{
	long k = RAW3(__NR_fcntl, me.anchor, F_DUPFD_CLOEXEC, 0);

	if (is_err(k))
		return k;
	RAW1(__NR_close, k);
	k = lib_call(c, UKL_SYS_ACCEPT, r->rdi, r->rsi, r->rdx, flags, 0, 0);
	return place(c, k, flags & SOCK_CLOEXEC);
}

static bool may_wait(struct ctx *c, long fd)
{
	return !(LIB3(c, __NR_fcntl, fd, F_GETFL, 0) & O_NONBLOCK);
}

long sys_accept(struct ctx *c, struct regs *r)
{
	long k, p, flags = r->rax == __NR_accept4 ? r->r10 : 0;

	if (kind_of(c, r->rdi) != K_LIB)
		return sys_fd1(c, r);
	if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	/* Mostly there is one. */
	p = RAW3(__NR_fcntl, me.anchor, flags & SOCK_CLOEXEC ?
		 F_DUPFD_CLOEXEC : F_DUPFD, 0);
	if (is_err(p))
		return p;
	k = lib_raw(c, UKL_SYS_ACCEPT, r->rdi, r->rsi, r->rdx, flags, p + 1, 0);
	if (k >= 0)
		return adopt(c, k, p, flags & SOCK_CLOEXEC);
	RAW1(__NR_close, p);
	return k == -EAGAIN && may_wait(c, r->rdi) ? accept_later(c, r, flags) : k;
}
