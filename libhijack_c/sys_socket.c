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
	if (!wanted(r->rdi, r->rdx))
		return pass(c, r);
	return place(c, lib_raw(c, __NR_socket, r->rdi, r->rsi, r->rdx, 0, 0,
				0), r->rsi & SOCK_CLOEXEC);
}

long sys_accept(struct ctx *c, struct regs *r)
{
	long k, flags = r->rax == __NR_accept4 ? r->r10 : 0;

	if (kind_of(c, r->rdi) != K_LIB)
		return sys_fd1(c, r);
	if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	/* Without a number for it the connection stays where it is. */
	k = RAW3(__NR_fcntl, me.anchor, F_DUPFD_CLOEXEC, 0);
	if (is_err(k))
		return k;
	RAW1(__NR_close, k);
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
