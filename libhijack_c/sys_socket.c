// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sockets: the address family decides which kernel has one.
 */
#include "fd.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

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
	if (!wanted(r->rdi, r->rdx))
		return pass(c, r);
	return place(c, lib_raw(c, __NR_socket, r->rdi, r->rsi, r->rdx, 0, 0,
				0), r->rsi & SOCK_CLOEXEC);
}

#ifndef UKL_SYS_ACCEPT
/*
 * The library kernel's accept4() holds a number while it waits, which may be
 * the one that another thread's file is to have.  So wait first.
 */
static long wait_for_peer(struct ctx *c, int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };
	struct timeval tv = { 0, 0 };
	u32 n = sizeof(tv);
	long ret;

	ret = LIB3(c, __NR_fcntl, fd, F_GETFL, 0);
	if (ret < 0 || (ret & O_NONBLOCK))
		return 0;
	lib_raw(c, __NR_getsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, (long)&tv,
		(long)&n, 0);
	if (tv.tv_sec || tv.tv_usec)
		return 0;
	ret = lib_call(c, __NR_ppoll, (long)&p, 1, 0, 0, 8, 0);
	return ret >= 0 ? 0 : ret == -ERESTARTNOINTR ? ret : -ERESTARTSYS;
}
#define UKL_SYS_ACCEPT	__NR_accept4
#else
static long wait_for_peer(struct ctx *c, int fd)
{
	(void)c;
	(void)fd;
	return 0;
}
#endif

long sys_accept(struct ctx *c, struct regs *r)
{
	long k, flags = r->rax == __NR_accept4 ? r->r10 : 0;

	if (kind_of(c, r->rdi) != K_LIB)
		return sys_fd1(c, r);
	k = wait_for_peer(c, r->rdi);
	if (k)
		return k;
	k = lib_call(c, UKL_SYS_ACCEPT, r->rdi, r->rsi, r->rdx, flags, 0, 0);
	return place(c, k, flags & SOCK_CLOEXEC);
}

/* A file of the library kernel cannot leave its process: EPERM, not a copy
 * of the placeholder. */
static long check_rights(struct ctx *c, u64 user_msg)
{
	struct msghdr msg;
	struct cmsghdr h;
	u64 at = 0, i, n;
	int fd;

	if (get_user(&msg, (void *)user_msg, sizeof(msg)))
		return 0;	/* the host says so */
	while (msg.msg_control && at + sizeof(h) <= msg.msg_controllen) {
		if (get_user(&h, (char *)msg.msg_control + at, sizeof(h)))
			return 0;
		if (h.cmsg_len < sizeof(h))
			return 0;
		if (h.cmsg_level == SOL_SOCKET &&
		    h.cmsg_type == SCM_RIGHTS) {
			n = (h.cmsg_len - sizeof(h)) / sizeof(int);
			for (i = 0; i < n && i < 256; i++) {
				if (get_user(&fd, (char *)msg.msg_control +
					     at + sizeof(h) + 4 * i, 4))
					return 0;
				if (kind_of(c, fd) != K_HOST)
					return kind_of(c, fd) == K_HIDDEN ?
					       -EBADF : -EPERM;
			}
		}
		at += (h.cmsg_len + 7) & ~7UL;
	}
	return 0;
}

long sys_sendmsg(struct ctx *c, struct regs *r)
{
	long err;

	if (kind_of(c, r->rdi) == K_HOST) {
		err = check_rights(c, r->rsi);
		if (err)
			return err;
	}
	return sys_fd1(c, r);
}

long sys_recvmsg(struct ctx *c, struct regs *r)
{
	return sys_fd1(c, r);
}
