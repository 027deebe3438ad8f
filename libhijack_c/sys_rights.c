// SPDX-License-Identifier: GPL-2.0-only
/*
 * Descriptors of other processes: in messages (SCM_RIGHTS) over sockets of the
 * host, and by pidfd_getfd().
 *
 * For a file of the library kernel the message carries a socket of the host's,
 * the carrier, whose abstract name holds a ticket (struct ukl_carrier).  The
 * library kernel keeps the file until the receiver, if it is one of the
 * instance, puts it in the carrier's place.  When the carrier is gone, its
 * message unread, so is the name, and the kernel host has the file closed.
 *
 * An epoll is two: the host's waits in the carrier's own queue.
 *
 * pidfd_getfd() needs no carrier: the host has looked whether it is allowed, and
 * gives a copy of the placeholder; the library kernel, asked in the same way,
 * gives the file.
 */
#include "fd.h"

#include <fcntl.h>
#include <sys/socket.h>

#define RIGHTS_MAX	253	/* SCM_MAX_FD */
#define MESSAGES_MAX	1024	/* UIO_MAXIOV */
#define IS_EPOLL	1UL	/* in a ticket */

struct message {
	struct msghdr msg;
	u32 len;
};

_Static_assert(sizeof(struct message) == 64, "mmsghdr");

/* What a message under way has cost. */
struct load {
	u32 n;
	struct { int fd; u64 ticket; } part[RIGHTS_MAX];
};

/* A message with one byte and one descriptor. */
struct parcel {
	char byte;
	struct iovec iov;
	struct msghdr msg;
	struct { struct cmsghdr h; int fd, pad; } control;
};

static struct msghdr *parcel(struct parcel *p, int fd)
{
	memset(p, 0, sizeof(*p));
	p->iov.iov_base = &p->byte;
	p->iov.iov_len = 1;
	p->msg.msg_iov = &p->iov;
	p->msg.msg_iovlen = 1;
	p->msg.msg_control = &p->control;
	p->msg.msg_controllen = sizeof(p->control);
	p->control.h.cmsg_len = sizeof(p->control.h) + sizeof(fd);
	p->control.h.cmsg_level = SOL_SOCKET;
	p->control.h.cmsg_type = SCM_RIGHTS;
	p->control.fd = fd;
	return &p->msg;
}

static bool same_name(const struct ukl_carrier *a, const struct ukl_carrier *b)
{
	const u64 *p = (const u64 *)a, *q = (const u64 *)b;

	return p[0] == q[0] && p[1] == q[1] && p[2] == q[2] && p[3] == q[3];
}

_Static_assert(sizeof(struct ukl_carrier) == 32, "ukl_carrier");

/* Is the other end one that could receive it?  Unknown ones are. */
static bool stays_inside(int fd)
{
	struct ucred peer = { 0 };
	u32 n = sizeof(peer);

	if (RAW5(__NR_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) ||
	    peer.pid <= 0)
		return true;
	return is_ours(peer.pid) || RAW2(__NR_kill, peer.pid, 0) == -ESRCH;
}

/* A carrier for @fd with a ticket that nobody else has. */
static long make_carrier(struct ctx *c, int fd, bool epoll, u64 *ticket)
{
	struct ukl_carrier name;
	struct parcel p;
	long s, err;
	u32 lo, hi;

	s = RAW3(__NR_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (is_err(s))
		return s;
	/* The name first: a ticket without one is taken for lost. */
	do {
		__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
		*ticket = ((u64)hi << 32 | lo) << 1 | (epoll ? IS_EPOLL : 0);
		err = ukl_carrier(&me.kernel, *ticket, &name);
		if (!err)
			err = RAW3(__NR_bind, s, &name, sizeof(name));
	} while (err == -EADDRINUSE);
	if (!err && epoll) {
		parcel(&p, fd);
		p.msg.msg_name = &name;
		p.msg.msg_namelen = sizeof(name);
		err = RAW3(__NR_sendmsg, s, &p.msg, 0);
		if (err == 1)
			err = 0;
	}
	if (!err)
		err = LIB2(c, UKL_SYS_LEND, fd, *ticket);
	if (!err)
		return s;
	RAW1(__NR_close, s);
	return err;
}

/* Replaces *@fd by a carrier of its file. */
static long pack(struct ctx *c, struct load *load, int *fd, bool epoll)
{
	long s;
	u64 ticket;

	if (load->n == RIGHTS_MAX)
		return -EINVAL;
	if (epoll)
		epoll_goes_out(c, *fd);
	s = make_carrier(c, *fd, epoll, &ticket);
	if (is_err(s))
		return s;
	load->part[load->n].fd = s;
	load->part[load->n++].ticket = ticket;
	*fd = s;
	return 0;
}

static void unpack_all(struct ctx *c, struct load *load, bool sent)
{
	u32 i;

	for (i = 0; i < load->n; i++) {
		RAW1(__NR_close, load->part[i].fd);
		if (!sent)
			LIB3(c, UKL_SYS_TAKE, load->part[i].ticket, 0,
			     UKL_TAKE_NONE);
	}
}

/* All of the control data @p, @size bytes. */
static long pack_all(struct ctx *c, struct load *load, char *p, u64 size)
{
	struct cmsghdr *h;
	u64 at, i;
	long err;
	int *fd;

	for (at = 0; at + sizeof(*h) <= size; at += (h->cmsg_len + 7) & ~7UL) {
		h = (struct cmsghdr *)(p + at);
		if (h->cmsg_len < sizeof(*h) || h->cmsg_len > size - at)
			return 0;	/* the host says so */
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		fd = (int *)(h + 1);
		for (i = 0; i < (h->cmsg_len - sizeof(*h)) / 4; i++) {
			switch (*fd < 0 ? K_HOST : kind_of(c, *fd)) {
			case K_HIDDEN:
				return -EBADF;
			case K_EPOLL:
			case K_LIB:
				err = pack(c, load, fd,
					   kind_of(c, *fd) == K_EPOLL);
				if (err)
					return err;
			}
			fd++;
		}
	}
	return 0;
}

static long send_one(struct ctx *c, int fd, u64 user, long flags)
{
	struct load load;
	struct msghdr msg;
	char *control;
	u64 size;
	long ret;

	if (get_user(&msg, (void *)user, sizeof(msg)) || !msg.msg_control ||
	    !msg.msg_controllen)
		return host_call(__NR_sendmsg, fd, user, flags, 0, 0, 0);
	size = msg.msg_controllen;
	if (size > IO_SIZE)
		return -ENOBUFS;
	control = io_buffer(c);
	if (!control)
		return -ENOMEM;
	if (get_user(control, msg.msg_control, size))
		return -EFAULT;
	load.n = 0;
	ret = pack_all(c, &load, control, size);
	if (!ret && load.n && !stays_inside(fd))
		ret = refused(c, -EPERM);
	if (!ret) {
		msg.msg_control = control;
		ret = host_call(__NR_sendmsg, fd, (long)&msg, flags, 0, 0, 0);
	}
	unpack_all(c, &load, ret >= 0);
	return ret;
}

/* The host's part of an epoll, out of @carrier, which keeps it. */
static void receive_epoll(int carrier, bool cloexec)
{
	struct parcel p;

	if (RAW3(__NR_recvmsg, carrier, parcel(&p, -1),
		 MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != 1 ||
	    p.control.fd < 0)
		return;
	RAW3(__NR_dup3, p.control.fd, carrier, cloexec ? O_CLOEXEC : 0);
	RAW1(__NR_close, p.control.fd);
}

/* The number of the file that came as @fd. */
static int receive(struct ctx *c, int fd, long flags)
{
	bool cloexec = flags & MSG_CMSG_CLOEXEC, epoll;
	struct ukl_carrier got, name;
	u32 size = sizeof(got);
	long n, p;

	if (RAW3(__NR_getsockname, fd, &got, &size) || size != sizeof(got) ||
	    ukl_carrier(&me.kernel, got.ticket, &name) ||
	    !same_name(&got, &name))
		return fd;
	epoll = got.ticket & IS_EPOLL;
	n = LIB3(c, UKL_SYS_TAKE, got.ticket, cloexec ? O_CLOEXEC : 0,
		 flags & MSG_PEEK ? UKL_TAKE_COPY : UKL_TAKE_AWAY);
	if (n >= 0 && epoll)
		receive_epoll(fd, cloexec);
	else
		RAW3(__NR_dup3, me.anchor, fd, cloexec ? O_CLOEXEC : 0);
	if (n < 0)
		return fd;	/* no room for it: it leads nowhere */
	p = settle(c, n, fd, cloexec);
	if (is_err(p))
		return fd;
	c->files->note[p] = epoll ? 0 : note_of(c, p);
	set_kind(c, p, epoll ? K_EPOLL : K_LIB);
	return p;
}

static void receive_all(struct ctx *c, u64 user, long flags)
{
	struct msghdr msg;
	struct cmsghdr h;
	u64 at, i;
	char *p;
	int fd, got;

	if (get_user(&msg, (void *)user, sizeof(msg)) || !msg.msg_control)
		return;
	for (at = 0; at + sizeof(h) <= msg.msg_controllen;
	     at += (h.cmsg_len + 7) & ~7UL) {
		p = (char *)msg.msg_control + at;
		if (get_user(&h, p, sizeof(h)) || h.cmsg_len < sizeof(h) ||
		    h.cmsg_len > msg.msg_controllen - at)
			return;
		if (h.cmsg_level != SOL_SOCKET || h.cmsg_type != SCM_RIGHTS)
			continue;
		for (i = 0; i < (h.cmsg_len - sizeof(h)) / 4; i++) {
			if (get_user(&fd, p + sizeof(h) + 4 * i, 4))
				return;
			got = receive(c, fd, flags);
			if (got != fd)
				put_user(p + sizeof(h) + 4 * i, &got, 4);
		}
	}
}

long sys_sendmsg(struct ctx *c, struct regs *r)
{
	if (kind_of(c, r->rdi) == K_HOST)
		return send_one(c, r->rdi, r->rsi, r->rdx);
	return kind_of(c, r->rdi) == K_LIB ? send_to_kernel(c, r) : sys_fd1(c, r);
}

long sys_recvmsg(struct ctx *c, struct regs *r)
{
	long ret = sys_fd1(c, r);

	if (ret >= 0 && kind_of(c, r->rdi) == K_HOST)
		receive_all(c, r->rsi, r->rdx);
	return ret;
}

static bool any_control(u64 user, u64 n)
{
	struct message m;
	u64 i;

	for (i = 0; i < n; i++) {
		if (get_user(&m, (void *)(user + i * sizeof(m)), sizeof(m)))
			return false;
		if (m.msg.msg_control && m.msg.msg_controllen)
			return true;
	}
	return false;
}

long sys_sendmmsg(struct ctx *c, struct regs *r)
{
	u64 n = (u32)r->rdx, i, at;
	long ret = 0;
	u32 len;

	if (n > MESSAGES_MAX)
		n = MESSAGES_MAX;
	if (kind_of(c, r->rdi) != K_HOST || !any_control(r->rsi, n))
		return sys_fd1(c, r);
	for (i = 0; i < n; i++) {
		at = r->rsi + i * sizeof(struct message);
		ret = send_one(c, r->rdi, at, r->r10);
		if (ret < 0)
			break;
		len = ret;
		if (put_user((char *)at + offsetof(struct message, len), &len,
			     4))
			return -EFAULT;
	}
	return i ? (long)i : ret;
}

long sys_recvmmsg(struct ctx *c, struct regs *r)
{
	long ret = sys_fd1(c, r), i;

	if (kind_of(c, r->rdi) == K_HOST)
		for (i = 0; i < ret; i++)
			receive_all(c, r->rsi + i * sizeof(struct message),
				    r->r10);
	return ret;
}

/* ------------------------------------------------------------------ */

#define PIDFD_THREAD_	O_EXCL

/* What the host's file @fd is, which came from another process. */
static u8 kind_by_name(int fd)
{
	char path[64], name[32], *end = path + sizeof(path);
	long n;

	num_put(str_put(path, end, "/proc/thread-self/fd/"), end, fd);
	n = RAW4(__NR_readlinkat, AT_FDCWD, path, name, sizeof(name) - 1);
	name[n > 0 ? n : 0] = 0;
	if (str_eq(name, "anon_inode:[eventpoll]"))
		return K_EPOLL;
	/* What make_anchor() has made. */
	return str_eq(name, "/memfd:ukl (deleted)") &&
	       (RAW2(__NR_fcntl, fd, F_GETFL) & O_PATH) ? K_LIB : K_HOST;
}

/* The library kernel's file of the number @fd in the process or thread @pid. */
static long file_of(struct ctx *c, long pid, int fd)
{
	int kid;
	long k, n;

	if (pid < 0)
		return pid;
	kid = kernel_id(pid);
	if (!kid)
		return refused(c, -EPERM);
	k = LIB2(c, __NR_pidfd_open, kid, PIDFD_THREAD_);
	if (k < 0)
		return k;
	n = LIB3(c, __NR_pidfd_getfd, k, fd, 0);
	LIB1(c, __NR_close, k);
	return n;
}

long sys_pidfd_getfd(struct ctx *c, struct regs *r)
{
	int target = r->rsi;
	long fd, pid, k;
	u8 kind;

	fd = pass(c, r);
	if (is_err(fd))
		return fd;
	pid = pid_of(r->rdi);
	kind = kind_by_name(fd);
	/* Ours are where theirs are: over fork and exec they keep their numbers. */
	if (is_hidden(target) && pid > 0 && kernel_id(pid)) {
		RAW1(__NR_close, fd);
		return -EBADF;
	}
	if (kind == K_HOST)
		return fd;
	if (kind == K_EPOLL && pid == RAW0(__NR_getpid))
		epoll_goes_out(c, target);
	k = file_of(c, pid, target);
	if (k < 0 && kind == K_EPOLL) {
		c->refused = 0;
		return fd;	/* one of the host's alone */
	}
	if (k < 0) {
		RAW1(__NR_close, fd);
		return k;
	}
	fd = settle(c, k, fd, true);
	if (is_err(fd))
		return fd;
	c->files->note[fd] = kind == K_LIB ? note_of(c, fd) : 0;
	set_kind(c, fd, kind);
	return fd;
}
