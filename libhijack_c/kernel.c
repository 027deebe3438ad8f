// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls of the library kernel.
 */
#include "shim.h"

#define SIGCHLD_	17
#define SIGSTOP_	19

/* The kernel is gone, or this thread's task in it: there is no way on. */
static void __attribute__((noreturn)) lost(long err)
{
	if (err == -EOWNERDEAD)
		give_up("the instance has ended: ", ukl_last_words(), "");
	/* Another thread is ending the process, and its status counts. */
	RAW3(__NR_poll, 0, 0, 5000);
	for (;;)
		RAW1(__NR_exit_group, 125);
}

/* Signals that the library kernel sent us are raised on the host. */
static void raise_signals(struct ctx *c)
{
	u64 set = ukl_signals(c->th);
	int sig;

	set &= ~(SIG_BIT(SIGKILL_) | SIG_BIT(SIGSTOP_) | SIG_BIT(SIGCHLD_));
	for (sig = 1; set; sig++) {
		if (!(set & SIG_BIT(sig)))
			continue;
		set &= ~SIG_BIT(sig);
		RAW3(__NR_tgkill, RAW0(__NR_getpid), c->tid, sig);
	}
}

/* As it comes: no signal ends it. */
long lib_raw(struct ctx *c, long nr, long a, long b, long c_, long d, long e,
	     long f)
{
	const long args[6] = { a, b, c_, d, e, f };
	struct ukl_thread *th = thread_of(c);
	long ret;

	c->lib_used = 1;
	ret = ukl_head()->syscall(th, nr, args);
	if (unlikely(ret == -EOWNERDEAD || ret == -ESRCH) &&
	    (ukl_head()->shared->dead || th->state != UKL_TH_LIVE))
		lost(ret);
	return ret;
}

/* Where to put *@n bytes, or the fewer that it is then, before a write; NULL. */
void *lib_block(struct ctx *c, u64 *n)
{
	return ukl_head()->block(thread_of(c), n);
}

/* One that may wait: a signal ends it, also one that came just before. */
long lib_call(struct ctx *c, long nr, long a, long b, long c_, long d, long e,
	      long f)
{
	const long args[6] = { a, b, c_, d, e, f };
	struct ukl_thread *th = thread_of(c);
	long ret;

	c->lib_used = 1;
	*(volatile u32 *)&th->in_call = 1;
	if (unlikely(*(volatile u32 *)&c->pending)) {
		*(volatile u32 *)&th->in_call = 0;
		return -ERESTARTNOINTR;
	}
	ret = ukl_head()->syscall(th, nr, args);
	*(volatile u32 *)&th->in_call = 0;
	if (unlikely(th->signals))
		raise_signals(c);
	if (unlikely(ret == -EOWNERDEAD || ret == -ESRCH) &&
	    (ukl_head()->shared->dead || th->state != UKL_TH_LIVE))
		lost(ret);
	return ret;
}

/* The same with host descriptors to wait for: see ukl_syscall_also(). */
long lib_call_also(struct ctx *c, struct ukl_also *also, unsigned int n,
		   long nr, long a, long b, long c_, long d, long e, long f)
{
	struct ukl_thread *th = thread_of(c);
	long ret;

	th->n_also = n;
	th->also_ready = 0;
	th->also = also;
	ret = lib_call(c, nr, a, b, c_, d, e, f);
	th->also = NULL;
	return ret;
}
