// SPDX-License-Identifier: GPL-2.0-only
/*
 * epoll over both kernels.
 *
 * Each epoll descriptor is two: one of the host's, which is the placeholder
 * and holds the host's descriptors, and one of the library kernel's under the
 * same number, for the others.  A byte in memory that forked processes share
 * says which of them are in use, so that a set of one kernel waits there.
 */
#include "fd.h"
#include "wait.h"

#include <linux/eventpoll.h>
#include <linux/mman.h>
#include <poll.h>

#define EP_LIB		1
#define EP_HOST		2
#define EP_STATES	65536
#define HOST_EVERY	8	/* waits that looked at the library only */
#define MAX_EVENTS	(0x7fffffff / sizeof(struct epoll_event))

/* Entry 0 stands for "not known": both. */
static u16 new_state(void)
{
	u32 *next;
	u32 n;
	long p;

	if (!me.ep_shared) {
		p = RAW6(__NR_mmap, 0, EP_STATES, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (is_err(p))
			return 0;
		me.ep_shared = (u8 *)p;
	}
	next = (u32 *)me.ep_shared;
	n = __atomic_add_fetch(next, 1, __ATOMIC_RELAXED) + 8;
	return n < EP_STATES ? n : 0;
}

static void use(struct ctx *c, int ep, u8 what)
{
	u16 n = c->files->note[ep];

	if (n && (me.ep_shared[n] & what) != what)
		__atomic_fetch_or(&me.ep_shared[n], what, __ATOMIC_SEQ_CST);
}

/* To a process that does not know our state of it. */
void epoll_goes_out(struct ctx *c, int ep)
{
	use(c, ep, EP_LIB | EP_HOST);
}

static u8 in_use(struct ctx *c, int ep)
{
	u16 n = c->files->note[ep];

	/* Another thread may add while this one waits. */
	if (!n || me.threads)
		return EP_LIB | EP_HOST;
	return me.ep_shared[n];
}

static long create(struct ctx *c, struct regs *r, u64 flags)
{
	long k, p = pass(c, r);

	if (p < 0)
		return p;
	k = lib_raw(c, __NR_epoll_create1, flags, 0, 0, 0, 0, 0);
	if (k < 0) {
		RAW1(__NR_close, p);
		return k;
	}
	p = settle(c, k, p, flags);
	if (is_err(p))
		return p;
	set_kind(c, p, K_EPOLL);
	c->files->note[p] = new_state();
	return p;
}

long sys_epoll_create(struct ctx *c, struct regs *r)
{
	return create(c, r, 0);
}

long sys_epoll_create1(struct ctx *c, struct regs *r)
{
	return create(c, r, r->rdi);
}

long sys_epoll_ctl(struct ctx *c, struct regs *r)
{
	u8 kind = kind_of(c, r->rdi), target = kind_of(c, r->rdx);
	struct epoll_event ev;
	long err;

	if (kind == K_HIDDEN || target == K_HIDDEN)
		return -EBADF;
	if (kind == K_LIB) {
		if (target != K_HOST)
			return pass_lib(c, r);	/* not an epoll: it says so */
		/* The target is looked at first; it is no epoll for itself. */
		return host_call(__NR_epoll_ctl, r->rdx, r->rsi, r->rdx,
				 r->r10, 0, 0);
	}
	if (kind != K_EPOLL) {
		if (target == K_HOST)
			return pass(c, r);
		if (r->rsi != EPOLL_CTL_DEL &&
		    get_user(&ev, (void *)r->r10, sizeof(ev)))
			return -EFAULT;
		err = RAW2(__NR_fcntl, r->rdi, F_GETFL);
		return err < 0 ? err : err & O_PATH ? -EBADF : -EINVAL;
	}
	if (target == K_LIB) {
		use(c, r->rdi, EP_LIB);
		return pass_lib(c, r);
	}
	use(c, r->rdi, EP_HOST);
	err = pass(c, r);
	if (!err && target == K_EPOLL) {
		use(c, r->rdi, EP_LIB);
		LIB4(c, __NR_epoll_ctl, r->rdi, r->rsi, r->rdx, r->r10);
	}
	return err;
}

static long host_wait(int ep, u64 events, long max, long ns)
{
	struct timespec_ t = { ns / 1000000000L, ns % 1000000000L };

	if (!ns)
		return host_call(__NR_epoll_wait, ep, events, max, 0, 0, 0);
	if (ns == NEVER)
		return host_call(__NR_epoll_wait, ep, events, max, -1, 0, 0);
	if (!(ns % 1000000))
		return host_call(__NR_epoll_wait, ep, events, max,
				 ns / 1000000, 0, 0);
	return host_call(__NR_epoll_pwait2, ep, events, max, (long)&t, 0, 8);
}

static long kernel_wait(struct ctx *c, int ep, u64 events, long max, long ns,
			bool host, bool *ready)
{
	struct timespec_ t = { ns / 1000000000L, ns % 1000000000L };
	struct pollfd p = { ep, POLLIN, 0 };

	*ready = false;
	if (!host || !ns)
		return lib_call(c, __NR_epoll_pwait2, ep, events, max,
				ns == NEVER ? 0 : (long)&t, 0, 8);
	return lib_wait(c, &p, 1, ready, __NR_epoll_pwait2, ep, events, max,
			ns == NEVER ? 0 : (long)&t, 0, 8);
}

/* What the host has beside @n events; it is asked now and then only. */
static long and_host(struct ctx *c, int ep, u64 events, long n, int max)
{
	long more;

	if (n <= 0 || n == max || ++c->ticks % HOST_EVERY)
		return n;
	more = host_wait(ep, events + n * sizeof(struct epoll_event), max - n,
			 0);
	return n + (more > 0 ? more : 0);
}

static long do_wait(struct ctx *c, int ep, u64 events, int max, long ns)
{
	u8 kind = kind_of(c, ep), used;
	bool ready, host = !ns;
	long n, end = 0;

	if (kind == K_HIDDEN)
		return -EBADF;
	if (kind == K_LIB)
		return lib_call(c, __NR_epoll_wait, ep, events, max, 0, 0, 0);
	used = kind == K_EPOLL ? in_use(c, ep) : EP_HOST;
	if (!(used & EP_LIB) || max <= 0 || (u64)max > MAX_EVENTS)
		return host_wait(ep, events, max, ns);
	if (!(used & EP_HOST))
		return kernel_wait(c, ep, events, max, ns, false, &ready);
	for (;;) {
		n = kernel_wait(c, ep, events, max, 0, false, &ready);
		if (n)
			return and_host(c, ep, events, n, max);
		/* Whoever sleeps learns there that the host has something. */
		if (host) {
			n = host_wait(ep, events, max, 0);
			if (n || !ns)
				return n;
		}
		if (ns != NEVER) {
			if (!end)
				end = time_now() + ns;
			else if ((ns = end - time_now()) < 0)
				ns = 0;
		}
		n = kernel_wait(c, ep, events, max, ns, true, &host);
		if (!host)
			return and_host(c, ep, events, n, max);
	}
}

long sys_epoll_wait(struct ctx *c, struct regs *r)
{
	int ms = r->r10;

	return do_wait(c, r->rdi, r->rsi, r->rdx,
		       ms < 0 ? NEVER : ms * 1000000L);
}

long sys_epoll_pwait(struct ctx *c, struct regs *r)
{
	int ms = r->r10;
	u64 saved;
	bool set;
	long err = with_mask(c, r->r8, r->r9, &saved, &set);

	if (err)
		return err;
	return without_mask(c, saved, set,
			    do_wait(c, r->rdi, r->rsi, r->rdx,
				    ms < 0 ? NEVER : ms * 1000000L));
}

long sys_epoll_pwait2(struct ctx *c, struct regs *r)
{
	u64 saved;
	bool set;
	long ns, err = timespec_ns(r->r10, &ns);

	if (err)
		return err;
	err = with_mask(c, r->r8, r->r9, &saved, &set);
	if (err)
		return err;
	return without_mask(c, saved, set,
			    do_wait(c, r->rdi, r->rsi, r->rdx, ns));
}
