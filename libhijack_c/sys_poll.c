// SPDX-License-Identifier: GPL-2.0-only
/*
 * poll, ppoll, select, pselect: over descriptors of both kernels.
 *
 * A set of one kernel is passed on.  A mixed one sleeps in the library
 * kernel's call, which waits for the host's descriptors too.
 */
#include "fd.h"
#include "wait.h"

#include <linux/eventpoll.h>
#include <poll.h>
#include <sys/resource.h>

#define NS	1000000000L

long time_now(void)
{
	struct timespec_ t;

	RAW2(__NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, &t);
	return t.sec * NS + t.nsec;
}

/* Nanoseconds of a timespec; past and never are -EINVAL and NEVER. */
long timespec_ns(u64 user, long *ns)
{
	struct timespec_ t;

	*ns = NEVER;
	if (!user)
		return 0;
	if (get_user(&t, (void *)user, sizeof(t)))
		return -EFAULT;
	if (t.sec < 0 || t.nsec < 0 || t.nsec >= NS)
		return -EINVAL;
	if (t.sec < NEVER / NS - 1)
		*ns = t.sec * NS + t.nsec;
	return 0;
}

/*
 * A call of the library kernel that blocks, with @n host descriptors to wait
 * for beside it.  *@ready: one of them ended it.
 */
long lib_wait(struct ctx *c, struct pollfd *also, unsigned int n, bool *ready,
	      long nr, long a, long b, long d, long e, long f, long g)
{
	struct ukl_also one = { 0 };
	struct epoll_event ev;
	unsigned int i;
	long ep = -1, ret;

	if (n > UKL_MAX_ALSO) {
		/* An epoll in their place. */
		ep = RAW1(__NR_epoll_create1, 02000000);
		if (is_err(ep))
			return ep;
		for (i = 0; i < n; i++) {
			ev.events = (u16)also[i].events;
			ev.data = i;
			RAW4(__NR_epoll_ctl, ep, EPOLL_CTL_ADD, also[i].fd,
			     &ev);
		}
		one.fd = ep;
		one.events = POLLIN;
		n = 1;
	}
	ret = lib_call_also(c, ep >= 0 ? &one : (struct ukl_also *)also, n,
			    nr, a, b, d, e, f, g);
	*ready = c->th->also_ready && ret < 0;
	if (ep >= 0)
		RAW1(__NR_close, ep);
	return ret;
}

struct split {
	struct pollfd *all;	/* the program's */
	struct pollfd *lib;	/* the same, the host's as -1 */
	struct pollfd *host;	/* only the host's */
	u32 *index;		/* of host[i] in all[] */
	u64 n, n_host;
};

static long merge(struct split *s)
{
	long ready = 0;
	u64 i;

	for (i = 0; i < s->n; i++)
		s->all[i].revents = s->lib[i].fd >= 0 ? s->lib[i].revents : 0;
	for (i = 0; i < s->n_host; i++)
		s->all[s->index[i]].revents |= s->host[i].revents;
	for (i = 0; i < s->n; i++)
		ready += s->all[i].revents != 0;
	return ready;
}

static long poll_now(struct ctx *c, struct split *s)
{
	struct timespec_ zero = { 0 };
	long err = RAW3(__NR_poll, s->host, s->n_host, 0);

	if (err < 0)
		return err;
	err = LIB4(c, __NR_ppoll, s->lib, s->n, &zero, 0);
	if (err < 0)
		return err;
	return merge(s);
}

/* A mixed set; @s->all is ours. */
static long poll_split(struct ctx *c, struct split *s, long ns)
{
	long end = ns == NEVER ? NEVER : ns ? time_now() + ns : 0, ret;
	struct timespec_ t, *tp = ns == NEVER ? NULL : &t;
	bool ready;

	for (;;) {
		ret = poll_now(c, s);
		if (ret || !ns)
			return ret;
		t.sec = ns / NS;
		t.nsec = ns % NS;
		ret = lib_wait(c, s->host, s->n_host, &ready, __NR_ppoll,
			       (long)s->lib, s->n, (long)tp, 0, 0, 0);
		if (ret > 0)
			return poll_now(c, s);
		if (!ready)
			return ret;
		if (ns != NEVER) {
			ns = end - time_now();
			if (ns < 0)
				ns = 0;
		}
	}
}

/* Sorts @all by kernel.  The arrays live as long as *@memory. */
static long split(struct ctx *c, struct split *s, struct pollfd *all, u64 n)
{
	u64 i;
	u8 k;

	s->all = all;
	s->n = n;
	s->n_host = 0;
	for (i = 0; i < n; i++) {
		s->lib[i] = all[i];
		s->lib[i].revents = 0;
		if (all[i].fd < 0)
			continue;
		k = kind_of(c, all[i].fd);
		if (k == K_LIB)
			continue;
		if (k == K_HOST)
			s->lib[i].fd = -1;
		s->host[s->n_host] = all[i];
		s->host[s->n_host].revents = 0;
		s->index[s->n_host++] = i;
	}
	return 0;
}

#define SPLIT_BYTES	(3 * sizeof(struct pollfd) + sizeof(u32))

static void split_memory(struct split *s, char *p, u64 n)
{
	s->lib = (struct pollfd *)p;
	s->host = s->lib + n;
	s->index = (u32 *)(s->host + n);
}

/* What the set consists of. */
static void survey(struct ctx *c, const struct pollfd *all, u64 n, bool *lib,
		   bool *host)
{
	u64 i;
	u8 k;

	*lib = *host = false;
	for (i = 0; i < n; i++) {
		if (all[i].fd < 0)
			continue;
		k = kind_of(c, all[i].fd);
		*lib |= k == K_LIB || k == K_EPOLL;
		*host |= k != K_LIB;
	}
}

static long do_poll(struct ctx *c, u64 user, u64 n, long ns)
{
	struct timespec_ t = { ns / NS, ns % NS };
	bool lib = false, host = false;
	struct pollfd *all;
	struct split s;
	long ret, err, tp = ns == NEVER ? 0 : (long)&t;
	u64 bytes = n * SPLIT_BYTES + PAGE;
	char small[16 * SPLIT_BYTES], *memory = small;

	if (n > 8) {
		/* Of the program, not of what the library kernel thinks. */
		struct rlimit limit;

		if (RAW4(__NR_prlimit64, 0, RLIMIT_NOFILE, 0, &limit) ||
		    n > limit.rlim_cur || n > MAX_FD)
			return -EINVAL;
	}
	if (n > 16) {
		memory = map_memory(bytes);
		if (!memory)
			return -ENOMEM;
	}
	all = (struct pollfd *)memory;
	ret = -EFAULT;
	if (get_user(all, (void *)user, n * sizeof(*all)))
		goto out;
	survey(c, all, n, &lib, &host);
	if (!lib) {
		ret = host_call(__NR_ppoll, user, n, tp, 0, 8, 0);
		goto out;
	}
	if (!host) {
		ret = lib_call(c, __NR_ppoll, user, n, tp, 0, 8, 0);
		goto out;
	}
	split_memory(&s, memory + n * sizeof(*all), n);
	split(c, &s, all, n);
	ret = poll_split(c, &s, ns);
	if (ret >= 0) {
		err = put_user((void *)user, all, n * sizeof(*all));
		if (err)
			ret = err;
	}
out:
	if (memory != small)
		unmap_memory(memory, bytes);
	return ret;
}

long sys_poll(struct ctx *c, struct regs *r)
{
	int ms = r->rdx;

	return do_poll(c, r->rdi, (u32)r->rsi,
		       ms < 0 ? NEVER : ms * 1000000L);
}

/* What is left of a timeout, as the system call writes it. */
static void put_left(u64 user, long ns, long begun, bool micro)
{
	struct timespec_ t = { 0 };
	long left;

	if (!user || ns == NEVER)
		return;
	left = ns - (time_now() - begun);
	if (left > 0) {
		t.sec = left / NS;
		t.nsec = left % NS;
		if (micro)
			t.nsec /= 1000;
	}
	put_user((void *)user, &t, sizeof(t));
}

long sys_ppoll(struct ctx *c, struct regs *r)
{
	long ns, begun = 0, ret;
	u64 saved;
	bool set;

	ret = timespec_ns(r->rdx, &ns);
	if (ret)
		return ret;
	if (r->rdx && ns != NEVER && ns)
		begun = time_now();
	ret = with_mask(c, r->r10, r->r8, &saved, &set);
	if (ret)
		return ret;
	ret = do_poll(c, r->rdi, (u32)r->rsi, ns);
	if (ns && ret >= -4095 && ret != -EFAULT)
		put_left(r->rdx, ns, begun, false);
	return without_mask(c, saved, set, ret);
}

/* ------------------------------------------------------------------ */
/* select: as poll, with the kernel's own table of what counts as what. */

#define SEL_IN	(POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR | \
		 POLLNVAL)
#define SEL_OUT	(POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR | POLLNVAL)
#define SEL_EX	(POLLPRI | POLLNVAL)
#define WORDS	(65536 / 64)

static bool bit(const u64 *set, u32 n)
{
	return set[n / 64] >> (n % 64) & 1;
}

static long do_select(struct ctx *c, int n, u64 *user, long ns)
{
	u64 words, bytes, i, count = 0, size;
	u64 *sets[3], small[3 * 16];
	struct timespec_ t = { ns / NS, ns % NS };
	bool lib = false, host = false;
	struct pollfd *all;
	struct split s;
	char *memory;
	u64 *in = small;
	long ret, done = 0;
	u8 k;

	if (n < 0)
		return -EINVAL;
	if (n > 65536)
		n = 65536;
	words = (n + 63) / 64;
	bytes = words * 8;
	size = 3 * bytes + (u64)n * (sizeof(*all) + SPLIT_BYTES) + PAGE;
	memory = map_memory(size);
	if (!memory)
		return -ENOMEM;
	in = (u64 *)memory;
	ret = -EFAULT;
	for (i = 0; i < 3; i++) {
		sets[i] = user[i] ? in + i * words : NULL;
		if (user[i] && get_user(sets[i], (void *)user[i], bytes))
			goto out;
	}
	all = (struct pollfd *)(memory + 3 * bytes);
	for (i = 0; i < (u64)n; i++) {
		short events = 0;

		if (sets[0] && bit(sets[0], i))
			events |= SEL_IN;
		if (sets[1] && bit(sets[1], i))
			events |= SEL_OUT;
		if (sets[2] && bit(sets[2], i))
			events |= SEL_EX;
		if (!events)
			continue;
		k = kind_of(c, i);
		lib |= k == K_LIB || k == K_EPOLL;
		host |= k != K_LIB;
		all[count++] = (struct pollfd){ i, events, 0 };
	}
	if (!lib) {
		ret = host_call(__NR_pselect6, n, user[0], user[1], user[2],
				ns == NEVER ? 0 : (long)&t, 0);
		goto out;
	}
	if (!host) {
		ret = lib_call(c, __NR_pselect6, n, user[0], user[1], user[2],
			       ns == NEVER ? 0 : (long)&t, 0);
		goto out;
	}
	split_memory(&s, (char *)(all + n), count);
	split(c, &s, all, count);
	ret = poll_split(c, &s, ns);
	if (ret < 0)
		goto out;
	memset(in, 0, 3 * bytes);
	for (i = 0; i < count; i++) {
		u32 fd = all[i].fd;
		short re = all[i].revents;

		/* One that is open cannot be waited for: it is ready. */
		if (re & POLLNVAL) {
			ret = RAW2(__NR_fcntl, fd, 1 /* F_GETFD */);
			if (ret < 0)
				goto out;
		}
		if ((all[i].events & POLLIN) && (re & SEL_IN)) {
			sets[0][fd / 64] |= 1UL << fd % 64;
			done++;
		}
		if ((all[i].events & POLLOUT) && (re & SEL_OUT)) {
			sets[1][fd / 64] |= 1UL << fd % 64;
			done++;
		}
		if ((all[i].events & POLLPRI) && (re & SEL_EX)) {
			sets[2][fd / 64] |= 1UL << fd % 64;
			done++;
		}
	}
	ret = done;
	for (i = 0; i < 3; i++)
		if (user[i] && put_user((void *)user[i], sets[i], bytes))
			ret = -EFAULT;
out:
	unmap_memory(memory, size);
	return ret;
}

long sys_select(struct ctx *c, struct regs *r)
{
	u64 user[3] = { r->rsi, r->rdx, r->r10 };
	long ns = NEVER, begun = 0, ret;
	struct timespec_ tv;

	if (r->r8) {
		if (get_user(&tv, (void *)r->r8, sizeof(tv)))
			return -EFAULT;
		/* As the kernel does: any number of microseconds. */
		tv.sec += tv.nsec / 1000000;
		tv.nsec %= 1000000;
		if (tv.sec < 0 || tv.nsec < 0)
			return -EINVAL;
		if (tv.sec < NEVER / NS - 1)
			ns = tv.sec * NS + tv.nsec * 1000;
		begun = time_now();
	}
	ret = do_select(c, r->rdi, user, ns);
	put_left(r->r8, ns, begun, true);
	return ret;
}

long sys_pselect6(struct ctx *c, struct regs *r)
{
	u64 user[3] = { r->rsi, r->rdx, r->r10 }, mask[2] = { 0 };
	long ns, begun = 0, ret;
	u64 saved;
	bool set;

	if (r->r9 && get_user(mask, (void *)r->r9, sizeof(mask)))
		return -EFAULT;
	ret = timespec_ns(r->r8, &ns);
	if (ret)
		return ret;
	if (r->r8)
		begun = time_now();
	ret = with_mask(c, mask[0], mask[1], &saved, &set);
	if (ret)
		return ret;
	ret = do_select(c, r->rdi, user, ns);
	put_left(r->r8, ns, begun, false);
	return without_mask(c, saved, set, ret);
}
