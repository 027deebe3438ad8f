// SPDX-License-Identifier: GPL-2.0-only
/*
 * The native side: what host threads do on their own stacks.
 *
 * Theory of operation.  The library kernel has one CPU, and the CPU is a
 * lock: ukl.lock holds the id of the thread record that owns it.  Its owner
 * may continue `current`, the coroutine that is on the CPU.  A coroutine comes
 * back to the native stack for one of three reasons (enum ukl_leave):
 *
 *   USER     `current` finished its system call, or has its thread make a long
 *            copy meanwhile.  It stays on the CPU, so its next call, or the end
 *            of the copy, finds it there.
 *   IDLE     Nothing can run.
 *   HANDOFF  `current` is a task whose user addresses belong to another host
 *            thread.  That thread gets the CPU with the lock still taken.
 *
 * A thread whose call is not finished then waits for the CPU to be handed to
 * it.  Interrupts are bits in ukl.pending: whoever raises one handles it if
 * the CPU is free, and otherwise the owner sees it when it enables interrupts
 * or lets the CPU go.
 *
 * Nothing here may touch kernel data structures without the lock, sleep in
 * the kernel's sense, or use `current` for anything but continuing it.  All
 * host calls go through the process's own hostcall().
 */
#include <linux/extable.h>
#include <linux/init_task.h>
#include <linux/sched/task_stack.h>
#include <linux/sched.h>
#include <linux/utsname.h>
#include <asm/ukl.h>
#include <asm/sections.h>
#include <generated/utsrelease.h>
#include <uapi/linux/futex.h>
#include <uapi/asm/unistd.h>
#include "copy.h"
#include "send.h"

#define HOST_POLLIN		0x001
#define HOST_POLLOUT		0x004
#define HOST_EINTR		4

struct host_timespec {
	long sec, nsec;
};

#define NSEC_PER_MSEC_L		1000000L
#define NSEC_PER_SEC_L		1000000000L
#define STALL_NS		(200 * NSEC_PER_MSEC_L)

struct ukl_shared ukl __aligned(4096);
struct ukl_boot ukl_boot_info;
struct ukl_copy ukl_copies[UKL_MAX_THREADS];
struct ukl_frames *ukl_frames[UKL_MAX_DEVS];

/* Real atomics: other host CPUs look at these words. */
#define SHARED_LOAD(p)		__atomic_load_n(p, __ATOMIC_SEQ_CST)
#define SHARED_STORE(p, v)	__atomic_store_n(p, v, __ATOMIC_SEQ_CST)
#define SHARED_OR(p, v)		__atomic_fetch_or(p, v, __ATOMIC_SEQ_CST)
#define SHARED_AND(p, v)	__atomic_fetch_and(p, v, __ATOMIC_SEQ_CST)
#define SHARED_XCHG(p, v)	__atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
#define SHARED_INC(p)		__atomic_fetch_add(p, 1, __ATOMIC_SEQ_CST)

static __always_inline bool shared_cas(unsigned int *p, unsigned int old,
				       unsigned int new)
{
	return __atomic_compare_exchange_n(p, &old, new, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static long host(struct ukl_thread *th, long nr, long a, long b, long c,
		 long d, long e, long f)
{
	return th->proc->hostcall(nr, a, b, c, d, e, f);
}

/* For kernel code: in the process that runs it. */
long ukl_hostcall(long nr, long a, long b, long c, long d, long e, long f)
{
	return ukl.runner->proc->hostcall(nr, a, b, c, d, e, f);
}

static long futex_wait(struct ukl_thread *th, unsigned int *word,
		       unsigned int val, long ns)
{
	struct host_timespec ts = { ns / 1000000000L, ns % 1000000000L };

	return host(th, __NR_futex, (long)word, FUTEX_WAIT, val,
		    ns < 0 ? 0 : (long)&ts, 0, 0);
}

static void futex_wake(struct ukl_thread *th, unsigned int *word, int n)
{
	host(th, __NR_futex, (long)word, FUTEX_WAKE, n, 0, 0, 0);
}

/*
 * Which host CPU this is.  Linux keeps the number in the limit of a segment,
 * where every x86-64 kernel's vDSO finds it.
 */
static __always_inline unsigned int host_cpu(void)
{
	unsigned int limit;

	asm volatile("lsl %1, %0" : "=r" (limit) : "r" (0x7b));
	return limit & 0xfff;
}

/*
 * Waking a thread on another CPU takes longer than most calls: wait a little
 * before going to sleep, but only while whom we wait for runs elsewhere.
 */
#define SPIN_ROUNDS	1500	/* 60 us: what such a wake-up takes */

unsigned int ukl_wanted;

static bool worth_spinning(struct ukl_thread *th)
{
	unsigned int owner = READ_ONCE(ukl.lock) & ~UKL_LOCK_WAITERS;

	return !owner || READ_ONCE(ukl.thread[owner - 1].cpu) != th->cpu;
}

static __always_inline void spin_once(void)
{
	if (!READ_ONCE(ukl_wanted))
		WRITE_ONCE(ukl_wanted, 1);
	__builtin_ia32_pause();
}

/* ------------------------------------------------------------------ */
/* The CPU lock.							*/

static __always_inline bool cpu_trylock(struct ukl_thread *th)
{
	return shared_cas(&ukl.lock, 0, th->id);
}

static void post(struct ukl_thread *by, struct ukl_thread *th,
		 unsigned int bits);

static void cpu_give(struct ukl_thread *th, struct ukl_thread *to)
{
	unsigned int v;

	do {
		v = SHARED_LOAD(&ukl.lock);
	} while (!shared_cas(&ukl.lock, v,
			     to->id | (v & UKL_LOCK_WAITERS)));
}

static bool is_gone(const struct ukl_thread *th)
{
	return th->proc && SHARED_LOAD(&th->proc->state) == UKL_PROC_GONE;
}

/*
 * The owner died outside the kernel: in the queue for the CPU, or after it
 * was handed the CPU and before it took it.  Nothing is half done, so the CPU
 * goes to @th.  A task that was about to continue there has lost its user
 * side and goes on without.  If the owner was about to hand the CPU to the
 * thread of `current`, that one gets it instead of @th.
 */
static bool cpu_steal(struct ukl_thread *th, unsigned int seen)
{
	struct ukl_thread *dead =
		&ukl.thread[(seen & ~UKL_LOCK_WAITERS) - 1];
	struct thread_struct *t;

	if (!is_gone(dead) || dead->in_kernel)
		return false;
	if (!shared_cas(&ukl.lock, seen, th->id | UKL_LOCK_WAITERS))
		return false;
	t = &current->thread;
	if (!t->lazy && t->host) {
		if (!is_gone(t->host)) {
			cpu_give(th, t->host);
			post(th, t->host, UKL_WAKE_RUN);
			return false;
		}
		t->gone = true;
	}
	/* `current` may be anything now: have it look who came in. */
	SHARED_OR(&ukl.pending, UKL_IRQ_ENTER);
	return true;
}

/* Thread @owner has had the CPU for long: the kernel host finds out why. */
static void tell_stall(struct ukl_thread *th, unsigned int owner)
{
	SHARED_STORE(&ukl.stall, owner);
	SHARED_INC(&ukl.procs_word);
	futex_wake(th, &ukl.procs_word, 1);
}

static noinline bool cpu_lock_slow(struct ukl_thread *th)
{
	unsigned int v, spin = SPIN_ROUNDS;
	long err;

	th->cpu = host_cpu();
	while (spin-- && worth_spinning(th)) {
		if (!READ_ONCE(ukl.lock) && cpu_trylock(th))
			return !READ_ONCE(ukl.dead);
		spin_once();
	}
	for (;;) {
		if (SHARED_LOAD(&ukl.dead))
			return false;
		v = SHARED_LOAD(&ukl.lock);
		if (!v) {
			/* Others may wait still: say so. */
			if (shared_cas(&ukl.lock, 0,
				       th->id | UKL_LOCK_WAITERS))
				return true;
			continue;
		}
		if (cpu_steal(th, v))
			return true;
		if (!(v & UKL_LOCK_WAITERS)) {
			if (!shared_cas(&ukl.lock, v, v | UKL_LOCK_WAITERS))
				continue;
			v |= UKL_LOCK_WAITERS;
		}
		err = futex_wait(th, &ukl.lock, v, STALL_NS);
		if (err == -ETIMEDOUT && SHARED_LOAD(&ukl.lock) == v)
			tell_stall(th, v & ~UKL_LOCK_WAITERS);
	}
}

/* False when the instance has ended. */
static __always_inline bool cpu_lock(struct ukl_thread *th)
{
	if (likely(cpu_trylock(th)))
		return likely(!READ_ONCE(ukl.dead));
	return cpu_lock_slow(th);
}

static __always_inline void cpu_unlock(struct ukl_thread *th)
{
	if (SHARED_XCHG(&ukl.lock, 0) & UKL_LOCK_WAITERS)
		futex_wake(th, &ukl.lock, 1);
}

/* ------------------------------------------------------------------ */
/* Waking, waiting, leading.						*/

/* How each thread was woken the last time. */
static struct wake {
	unsigned int	waker;		/* on which host CPU */
	bool		soon;
} wakes[UKL_MAX_THREADS];

static void ring(struct ukl_thread *by, unsigned int event)
{
	unsigned long one = 1;

	host(by, __NR_write, by->proc->fd[event], (long)&one, sizeof(one), 0,
	     0, 0);
}

static void post(struct ukl_thread *by, struct ukl_thread *th,
		 unsigned int bits)
{
	unsigned int old;
	int slot;

	WRITE_ONCE(wakes[th->id - 1].waker, host_cpu());
	if (bits & (UKL_WAKE_RUN | UKL_WAKE_NUDGE))
		by->woke = READ_ONCE(th->cpu) + 1;
	old = SHARED_OR(&th->wake, bits);
	if (old & UKL_WAKE_SLEEPING)
		futex_wake(by, &th->wake, 1);
	else if (old & UKL_WAKE_LEADING)
		ring(by, UKL_FD_KICK);
	else if (old & UKL_WAKE_POLLING) {
		slot = READ_ONCE(th->wait_slot);
		if (slot >= 0)
			ring(by, UKL_FD_WAIT + slot);
	}
}

/* For kernel code. */
void ukl_post(struct ukl_thread *th, unsigned int bits)
{
	post(ukl.runner, th, bits);
}

/* Called by signal handlers that may have interrupted anything here. */
static void native_poke(struct ukl_thread *th, struct ukl_thread *by)
{
	struct ukl_thread *head;

	if (SHARED_XCHG(&th->poked, 1))
		return;
	do {
		head = SHARED_LOAD(&ukl.poked);
		th->next = head;
	} while (!__atomic_compare_exchange_n(&ukl.poked, &head, th, false,
					      __ATOMIC_SEQ_CST,
					      __ATOMIC_SEQ_CST));
	SHARED_OR(&ukl.pending, UKL_IRQ_POKE);
	/* A wait that the signal interrupts, or prevents, looks at pending. */
	post(by, th, UKL_WAKE_CHANGED);
}

#define NO_EVENT	(-1)

/*
 * Waits in ppoll() for the eventfd in slot @event, for a frame on any of
 * @devs, and for the descriptors that @th wants to wait for beside its call,
 * one of which ends the call; @ns as for futex_wait().  Returns the
 * interrupts to raise.
 */
static unsigned int poll_host(struct ukl_thread *th, int event,
			      unsigned int devs, long ns)
{
	struct host_timespec ts = { ns / 1000000000L, ns % 1000000000L };
	struct ukl_also pfd[1 + UKL_MAX_DEVS + UKL_MAX_ALSO];
	unsigned int i, n = 0, first_also, n_also = 0, bits = 0;
	unsigned int slot[1 + UKL_MAX_DEVS];
	unsigned long drain;
	bool ready = false;

	if (event >= 0) {
		slot[n] = event;
		pfd[n++] = (struct ukl_also){ th->proc->fd[event],
					      HOST_POLLIN, 0 };
	}
	for (i = 0; i < UKL_MAX_DEVS; i++) {
		if (!(devs & (1u << i)))
			continue;
		slot[n] = i;
		pfd[n++] = (struct ukl_also){ th->proc->fd[i], HOST_POLLIN,
					      0 };
	}
	first_also = n;
	if (th->also && !th->also_ready)
		n_also = min(th->n_also, (unsigned int)UKL_MAX_ALSO);
	for (i = 0; i < n_also; i++)
		pfd[n++] = th->also[i];
	if (host(th, __NR_ppoll, (long)pfd, n, ns < 0 ? 0 : (long)&ts, 0, 0,
		 0) <= 0)
		return 0;
	for (i = 0; i < first_also; i++) {
		if (!pfd[i].revents)
			continue;
		if (slot[i] >= UKL_MAX_DEVS)
			host(th, __NR_read, pfd[i].fd, (long)&drain,
			     sizeof(drain), 0, 0, 0);
		else
			bits |= UKL_IRQ_DEV(slot[i]);
	}
	for (i = 0; i < n_also; i++) {
		th->also[i].revents = pfd[first_also + i].revents;
		ready |= th->also[i].revents != 0;
	}
	if (ready)
		th->also_ready = 1;
	return bits;
}

/*
 * Ends the call of @th if one of its own descriptors has become ready.  Not
 * while it says that it polls: it would ring for itself, and wake up for that
 * from its next wait.
 */
static void end_if_ready(struct ukl_thread *th)
{
	if (unlikely(th->also_ready))
		native_poke(th, th);
}

int ukl_take_wait_slot(struct ukl_thread *th)
{
	unsigned int taken, slot;

	do {
		taken = SHARED_LOAD(&ukl.waits);
		slot = __builtin_ctz(~taken);
		if (slot >= UKL_MAX_WAITS || th->proc->fd[UKL_FD_WAIT] < 0)
			return -1;
	} while (!shared_cas(&ukl.waits, taken, taken | 1u << slot));
	th->wait_slot = slot;
	return slot;
}

static void free_wait_slot(struct ukl_thread *th)
{
	int slot = th->wait_slot;

	if (slot < 0)
		return;
	th->wait_slot = -1;
	SHARED_AND(&ukl.waits, ~(1u << slot));
}

/*
 * Until something about @th changes or one of its host descriptors is ready.
 * With all slots taken nobody can ring: then it looks every millisecond.
 */
static void poll_also(struct ukl_thread *th)
{
	int slot = ukl_take_wait_slot(th);

	if (slot < 0) {
		if (!SHARED_LOAD(&th->wake))
			poll_host(th, NO_EVENT, 0, NSEC_PER_MSEC_L);
		end_if_ready(th);
		return;
	}
	if (shared_cas(&th->wake, 0, UKL_WAKE_POLLING)) {
		poll_host(th, UKL_FD_WAIT + slot, 0, -1);
		SHARED_AND(&th->wake, ~UKL_WAKE_POLLING);
		end_if_ready(th);
	}
	free_wait_slot(th);
}

/* For kernel code: @th, which has a wait slot, is to look at its epoll. */
void ukl_toll(struct ukl_thread *th)
{
	/* Its bell outlives a thread that ends before the instance. */
	if (READ_ONCE(th->bell) || th->wait_slot < 0)
		return;
	SHARED_STORE(&th->bell, host_cpu() + 1);
	SHARED_OR(&ukl.rung, 1u << th->wait_slot);
}

/* Those whose bells are in @rung may go on. */
static void ring_bells(struct ukl_thread *by, unsigned int rung)
{
	for (; rung; rung &= rung - 1)
		post(by, ukl.bell[__builtin_ctz(rung)], 0);
}

/* For kernel code: the set of devices has changed under those who poll. */
void ukl_poll_anew(void)
{
	if (SHARED_LOAD(&ukl.leader))
		ring(ukl.runner, UKL_FD_KICK);
	if (SHARED_LOAD(&ukl.io_polls))
		ring(ukl.runner, UKL_FD_IO);
}

static bool tsc_past(unsigned long now, unsigned long since, unsigned long ns)
{
	return (now - since) / (ns / 1000) >= ukl.tsc_khz / 1000;
}

unsigned int ukl_gated_devs;
unsigned long ukl_last_frame;	/* TSC */

#define FRAMES_NS	(20 * NSEC_PER_MSEC_L)

/*
 * Does somebody gain by polling the devices himself?  Where most frames go
 * another way, only while some come here: a wait is cheaper without.
 */
static bool frames_come(unsigned int devs)
{
	return (devs & ~READ_ONCE(ukl_gated_devs)) ||
	       !tsc_past(__builtin_ia32_rdtsc(), READ_ONCE(ukl_last_frame),
			 FRAMES_NS);
}

/* May this thread poll the devices while it waits? */
static bool can_lead(struct ukl_thread *th)
{
	unsigned int devs = READ_ONCE(ukl.devs);
	int i;

	if (!devs || !frames_come(devs) || ukl.leader ||
	    th->proc->fd[UKL_FD_KICK] < 0 || th->proc->fd[UKL_FD_IO] < 0)
		return false;
	for (i = 0; i < UKL_MAX_DEVS; i++)
		if ((devs & (1u << i)) && th->proc->fd[i] < 0)
			return false;
	return true;
}

static void resign(struct ukl_thread *th)
{
	SHARED_INC(&ukl.leader_epoch);
	SHARED_STORE(&ukl.leader, 0);
	if (SHARED_LOAD(&ukl.io_deep)) {
		SHARED_STORE(&ukl.io_deep, 0);
		futex_wake(th, &ukl.io_deep, 1);
	}
}

struct owner_seen {
	unsigned int	id;
	unsigned long	since;		/* TSC */
};

/*
 * Are there interrupts that only the CPU's owner can see to?  If it is the
 * same one for long, it may have been stopped.  For those who wait without
 * wanting the CPU themselves: they come back after STALL_NS.
 */
static bool waits_for_owner(struct ukl_thread *th, struct owner_seen *seen)
{
	unsigned int id = SHARED_LOAD(&ukl.lock) & ~UKL_LOCK_WAITERS;
	unsigned long now = __builtin_ia32_rdtsc();

	if (!id || !SHARED_LOAD(&ukl.pending)) {
		seen->id = 0;
		return false;
	}
	if (id != seen->id) {
		*seen = (struct owner_seen){ id, now };
	} else if (tsc_past(now, seen->since, STALL_NS)) {
		seen->since = now;
		tell_stall(th, id);
	}
	return true;
}

#define SHORT_NS	(60 * 1000UL)	/* what SPIN_ROUNDS take */

/* Is there something to wake up for? */
static bool may_go_on(const struct ukl_thread *th)
{
	return READ_ONCE(th->wake) ||
	       (READ_ONCE(ukl.pending) && !READ_ONCE(ukl.lock));
}

/*
 * A thread that was soon woken from another CPU the last time looks for its
 * next wake-up for a while before it sleeps again: then the other one need not
 * wake it, which takes both of them longer.
 */
static bool look_first(struct ukl_thread *th)
{
	unsigned int rounds = wakes[th->id - 1].soon ? SPIN_ROUNDS : 0;

	while (rounds--) {
		if (may_go_on(th))
			return true;
		__builtin_ia32_pause();
	}
	return false;
}

static void sleep(struct ukl_thread *th, long ns)
{
	unsigned long since = __builtin_ia32_rdtsc();
	struct wake *wake = &wakes[th->id - 1];

	futex_wait(th, &th->wake, UKL_WAKE_SLEEPING, ns);
	wake->soon = READ_ONCE(wake->waker) != host_cpu() &&
		     !tsc_past(__builtin_ia32_rdtsc(), since, SHORT_NS);
}

enum waited {
	GOT_CPU,	/* handed over: continue `current` */
	TOOK_CPU,	/* free, and there are interrupts */
	LOOK_AGAIN,	/* something about this record changed */
};

/* Waits until @th is given the CPU.  @lead: it may poll the devices. */
static enum waited wait_for_cpu(struct ukl_thread *th, bool lead)
{
	unsigned int old, bits, spin, was_ready;
	struct owner_seen seen = { };

	for (;;) {
		old = SHARED_XCHG(&th->wake, 0);
		if ((old & (UKL_WAKE_NUDGE | UKL_WAKE_RUN)) ==
		    UKL_WAKE_NUDGE) {
			SHARED_OR(&ukl.pending, UKL_IRQ_RESCHED);
			th->cpu = host_cpu();
			spin = SPIN_ROUNDS;
			while (!READ_ONCE(th->wake) && READ_ONCE(ukl.lock) &&
			       spin-- && worth_spinning(th))
				spin_once();
			old |= SHARED_XCHG(&th->wake, 0);
		}
		/* The lock is the truth: see native_proc_died(). */
		if ((old & UKL_WAKE_RUN) &&
		    (SHARED_LOAD(&ukl.lock) & ~UKL_LOCK_WAITERS) == th->id) {
			th->cpu = host_cpu();
			if (old & UKL_WAKE_CHANGED)
				SHARED_OR(&th->wake, UKL_WAKE_CHANGED);
			return GOT_CPU;
		}
		if (SHARED_LOAD(&ukl.dead))
			return LOOK_AGAIN;
		if (SHARED_LOAD(&ukl.pending) && cpu_trylock(th))
			return TOOK_CPU;
		if (old & UKL_WAKE_CHANGED)
			return LOOK_AGAIN;

		if (lead && can_lead(th) &&
		    shared_cas(&ukl.leader, 0, th->id)) {
			if (!shared_cas(&th->wake, 0, UKL_WAKE_LEADING)) {
				resign(th);
				continue;
			}
			if (SHARED_LOAD(&ukl.io_polls))
				ring(th, UKL_FD_IO);
			was_ready = th->also_ready;
			bits = poll_host(th, UKL_FD_KICK,
					 READ_ONCE(ukl.devs), -1);
			SHARED_AND(&th->wake, ~UKL_WAKE_LEADING);
			if (!was_ready)
				end_if_ready(th);
			resign(th);
			if (bits) {
				SHARED_OR(&ukl.pending, bits);
				/* Whoever has the CPU sees to them. */
				if (!(READ_ONCE(th->wake) & UKL_WAKE_RUN) &&
				    cpu_trylock(th))
					return TOOK_CPU;
				lead = false;
			}
			continue;
		}
		if (unlikely(th->also && !th->also_ready))
			poll_also(th);
		else if (!look_first(th) &&
			 shared_cas(&th->wake, 0, UKL_WAKE_SLEEPING))
			sleep(th, waits_for_owner(th, &seen) ? STALL_NS : -1);
	}
}

/* ------------------------------------------------------------------ */
/* Running the kernel.							*/

/* Continues `current` on this thread, which owns the CPU. */
static __always_inline long run(struct ukl_thread *th)
{
	long why;

	th->in_kernel = 1;
	barrier();
	ukl.runner = th;
	why = ukl_resume(th, current->thread.sp);
	barrier();
	th->in_kernel = 0;
	return why;
}

/* The timer thread sleeps until an older deadline than the kernel's: wake. */
static noinline void wake_timer(struct ukl_thread *th)
{
	SHARED_STORE(&ukl.timer_sleeps, ukl.deadline);
	SHARED_INC(&ukl.timer_word);
	futex_wake(th, &ukl.timer_word, 1);
}

/*
 * A nudge costs a system call and, if the thread @to was last seen on this
 * host CPU, mostly the CPU too: a pity for one that is about to make its next
 * call, or to block.  In a quick row of calls a nudge is therefore put off for
 * a while.  The timer thread sends it if the next call does not come.
 */
#define QUICK_NS	(100 * 1000UL)
#define QUICK_ROW	8
#define PUT_OFF_NS	(150 * 1000UL)
#define NUDGE_TICK_NS	NSEC_PER_MSEC_L

static noinline bool nudge_can_wait(struct ukl_thread *th,
				    struct ukl_thread *to)
{
	static unsigned long since;
	unsigned long now = __builtin_ia32_rdtsc();
	bool quick = !tsc_past(now, ukl.last_nudge, QUICK_NS);

	ukl.last_nudge = now;
	ukl.nudges++;
	ukl.quick_nudges = quick ? ukl.quick_nudges + 1 : 0;
	if (ukl.quick_nudges >= QUICK_ROW && to->cpu == host_cpu()) {
		if (!ukl.nudge_put_off) {
			ukl.nudge_put_off = 1;
			since = now;
		}
		if (!tsc_past(now, since, PUT_OFF_NS)) {
			if (!SHARED_XCHG(&ukl.nudge_clock, 1)) {
				SHARED_INC(&ukl.timer_word);
				futex_wake(th, &ukl.timer_word, 1);
			}
			return true;
		}
	}
	ukl.nudge_put_off = 0;
	return false;
}

/* What was put off. */
static void tell_now(struct ukl_thread *th)
{
	struct ukl_thread *to = SHARED_XCHG(&ukl.nudge, NULL);

	if (to)
		post(th, to, UKL_WAKE_NUDGE);
	ring_bells(th, SHARED_XCHG(&ukl.rung, 0));
}

static void native_wake_now(struct ukl_thread *th)
{
	if (READ_ONCE(ukl.nudge) || READ_ONCE(ukl.rung))
		tell_now(th);
}

/* The timer thread's part, every NUDGE_TICK_NS while the clock runs. */
static void nudge_tick(struct ukl_thread *th)
{
	static unsigned int seen;
	unsigned int nudges = SHARED_LOAD(&ukl.nudges);

	if (nudges != seen) {
		seen = nudges;
		return;
	}
	SHARED_STORE(&ukl.nudge_clock, 0);
	tell_now(th);
}

/*
 * epoll_wait() of the host, in a set that the thread's bell is in.  Not while
 * the bell has rung: whoever answers it first sets th->bell to 0.  It is no next
 * call that something may have been put off for.
 */
static long native_await(struct ukl_thread *th, int epoll, void *events,
			 int n, int ms)
{
	long ret = 0;

	th->cpu = host_cpu();
	if (!ms)
		return host(th, __NR_epoll_wait, epoll, (long)events, n, 0, 0,
			    0);
	native_wake_now(th);
	/* What was said to a call of this thread's, which has ended, is void. */
	while (!shared_cas(&th->wake, 0, UKL_WAKE_POLLING))
		SHARED_STORE(&th->wake, 0);
	if (!SHARED_LOAD(&th->bell) && !SHARED_LOAD(&ukl.dead))
		ret = host(th, __NR_epoll_wait, epoll, (long)events, n, ms, 0,
			   0);
	SHARED_AND(&th->wake, ~UKL_WAKE_POLLING);
	return SHARED_LOAD(&ukl.dead) ? -EOWNERDEAD : ret;
}

/*
 * Lets the CPU go, and tells who is to be nudged, or has a bell that rings,
 * unless that can wait: not if nobody is left who would make a next call.
 */
static noinline void unlock_and_tell(struct ukl_thread *th, long why)
{
	struct ukl_thread *to = READ_ONCE(ukl.nudge);
	unsigned int rung = READ_ONCE(ukl.rung);

	/* Others may tell them at any time. */
	if (!to && rung)
		to = ukl.bell[__builtin_ctz(rung)];
	if (to && why == UKL_LEFT_USER && nudge_can_wait(th, to)) {
		cpu_unlock(th);
		return;
	}
	to = SHARED_XCHG(&ukl.nudge, NULL);
	rung = SHARED_XCHG(&ukl.rung, 0);
	cpu_unlock(th);
	if (to)
		post(th, to, UKL_WAKE_NUDGE);
	ring_bells(th, rung);
}

/*
 * Lets the CPU go after run() returned @why.  True if interrupts came and
 * this thread owns the CPU again.
 */
static __always_inline bool let_go(struct ukl_thread *th, long why)
{
	struct ukl_thread *to;
	unsigned int rung;

	if (unlikely(READ_ONCE(ukl.deadline) < READ_ONCE(ukl.timer_sleeps)))
		wake_timer(th);
	if (unlikely(why == UKL_LEFT_HANDOFF)) {
		to = current->thread.host;
		rung = READ_ONCE(ukl.rung) ? SHARED_XCHG(&ukl.rung, 0) : 0;
		cpu_give(th, to);
		post(th, to, UKL_WAKE_RUN);
		ring_bells(th, rung);
		return false;
	}
	if (unlikely(why == UKL_LEFT_DEAD))
		return false;
	if (unlikely(ukl.nudge || READ_ONCE(ukl.rung)))
		unlock_and_tell(th, why);
	else
		cpu_unlock(th);
	return unlikely(SHARED_LOAD(&ukl.pending)) && cpu_trylock(th);
}

/* Handles what is pending; this thread owns the CPU and wants nothing else. */
static void serve(struct ukl_thread *th)
{
	while (let_go(th, run(th)))
		;
}

static void interrupt(struct ukl_thread *th, unsigned int bits)
{
	SHARED_OR(&ukl.pending, bits);
	if (cpu_trylock(th))
		serve(th);
}

/*
 * The copy that the task of @th left for, and into the kernel again.  False
 * when the instance has ended.
 */
static noinline bool copy_outside(struct ukl_thread *th)
{
	struct ukl_copy *copy = &ukl_copies[th->id - 1];

	copy->n = ukl_copy_here(copy->to, copy->from, copy->n);
	if (!cpu_lock(th))
		return false;
	/* Not before: until then its task is not to go on. */
	copy->due = false;
	if (current != th->task)
		ukl.entering = th;
	return true;
}

/*
 * Filling a block that another CPU has read takes four times as long where the
 * two share no cache; then it is better to write past the caches, though that
 * costs the reader more.  Which CPUs share one nobody says, and in a virtual
 * machine it changes.  So now and then a row of blocks goes the other way, and
 * the times of its second half count.
 */
#define TRIAL		4096	/* blocks, from one to the next */
#define TRIAL_ROW	64
#define TOO_SLOW	5	/* halves of the time that writing past takes */

static struct trial {
	unsigned int	n;
	bool		past;		/* the usual way */
	unsigned long	cost[2];	/* TSC per MB, of either way */
} trial;

static unsigned long fill(void *to, const void *from, unsigned long n)
{
	struct trial *t = &trial;
	unsigned int row = t->n++ % TRIAL;
	bool past = t->past ^ (row < TRIAL_ROW);
	unsigned long start = __builtin_ia32_rdtsc(), left, cost;

	left = past ? ukl_copy_past(to, from, n) : ukl_copy_here(to, from, n);
	cost = ((__builtin_ia32_rdtsc() - start) << 20) / n;
	if (row >= TRIAL_ROW / 2)
		t->cost[past] += ((long)(cost - t->cost[past])) / 16;
	if (row == TRIAL_ROW)
		t->past = 2 * t->cost[false] > TOO_SLOW * t->cost[true];
	return left;
}

/* Fills the block that was left to @th for such a write, if it was. */
static noinline void fill_block(struct ukl_thread *th, const long *args)
{
	struct ukl_copy *copy = &ukl_copies[th->id - 1];
	unsigned long n = args[2];
	void *block;

	/* A call that ended before it used its block: the data is old. */
	copy->filled = 0;
	block = copy->taken;
	if (block && (const void *)args[1] == block) {
		copy->filled_from = copy->filled_to = block;
		copy->filled = n < copy->room ? n : copy->room;
		return;
	}
	if (copy->fd != args[0] || (!block && !READ_ONCE(copy->block)))
		return;
	if (!block)
		block = SHARED_XCHG(&copy->block, NULL);
	if (!block)
		return;
	copy->taken = block;
	copy->filled_from = (const void *)args[1];
	copy->filled_to = block;
	if (n > copy->room)
		n = copy->room;
	/* What is not there is missed again when it is to be copied. */
	copy->filled = n - fill(block, copy->filled_from, n);
}

/* For who has a shorter way to fill it: he writes from there then. */
static void *native_block(struct ukl_thread *th, unsigned long *n)
{
	struct ukl_copy *copy = &ukl_copies[th->id - 1];

	if (*n < LONG_WRITE)
		return NULL;
	if (!copy->taken && READ_ONCE(copy->block))
		copy->taken = SHARED_XCHG(&copy->block, NULL);
	if (copy->taken && *n > copy->room)
		*n = copy->room;
	return copy->taken;
}

static long native_syscall(struct ukl_thread *th, long nr, const long *args)
{
	bool again;
	long why;

	if (unlikely(is_long_write(nr, args)))
		fill_block(th, args);
	th->args = args;
	if (likely(!th->held) && unlikely(!cpu_lock(th)))
		return -EOWNERDEAD;
	if (unlikely(th->state != UKL_TH_LIVE)) {
		if (!th->held)
			cpu_unlock(th);
		return -ESRCH;
	}
	th->nr = nr;
	if (current != th->task)
		ukl.entering = th;
	for (;;) {
		why = run(th);
		if (likely(th->nr < 0))
			break;
		th->held = 0;
		again = let_go(th, why);
		if (unlikely(why == UKL_LEFT_DEAD))
			return -EOWNERDEAD;
		if (th->state != UKL_TH_LIVE) {
			if (again)
				serve(th);
			return -ESRCH;
		}
		if (unlikely(ukl_copies[th->id - 1].due)) {
			if (again)
				serve(th);
			if (!copy_outside(th))
				return -EOWNERDEAD;
			if (th->state != UKL_TH_LIVE) {
				cpu_unlock(th);
				return -ESRCH;
			}
			continue;
		}
		if (again)
			continue;
		while (wait_for_cpu(th, why == UKL_LEFT_IDLE) == LOOK_AGAIN) {
			if (SHARED_LOAD(&ukl.dead))
				return -EOWNERDEAD;
			if (th->state != UKL_TH_LIVE)
				return -ESRCH;
		}
	}
	if (unlikely(th->held)) {
		if (why == UKL_LEFT_USER)
			return th->ret;
		th->held = 0;
	}
	if (unlikely(let_go(th, why)))
		serve(th);
	return th->ret;
}

static long native_join(struct ukl_thread *th)
{
	if (th->state != UKL_TH_NEW)
		return -EINVAL;
	if (!cpu_lock(th))
		return -EOWNERDEAD;
	SHARED_INC(&ukl.joined);
	th->next = ukl.joining;
	ukl.joining = th;
	SHARED_OR(&ukl.pending, UKL_IRQ_JOIN);
	serve(th);
	while (SHARED_LOAD(&th->state) == UKL_TH_NEW) {
		if (SHARED_LOAD(&ukl.dead))
			return -EOWNERDEAD;
		if (wait_for_cpu(th, false) == TOOK_CPU)
			serve(th);
	}
	return th->state == UKL_TH_LIVE ? 0 : -EAGAIN;
}

/* ------------------------------------------------------------------ */
/* Records.								*/

/* Free words of the tables are taken without the lock, by the dead too. */
static struct ukl_thread *native_thread_alloc(struct ukl_proc *proc)
{
	struct ukl_thread *th;
	unsigned int i;

	for (i = 0; i < UKL_MAX_THREADS; i++) {
		th = &ukl.thread[i];
		if (READ_ONCE(th->state) != UKL_TH_FREE ||
		    !shared_cas(&th->state, UKL_TH_FREE, UKL_TH_NEW))
			continue;
		th->id = i + 1;
		th->proc = proc;
		th->wake = 0;
		th->in_kernel = 0;
		th->in_call = 0;
		th->poked = 0;
		th->tid = 0;
		th->ktid = 0;
		th->task = NULL;
		th->next = NULL;
		th->nr = -1;
		th->signals = 0;
		th->nudged = 0;
		th->also = NULL;
		th->also_ready = 0;
		th->wait_slot = -1;
		th->bell = 0;
		th->held = 0;
		ukl_copies[i].due = false;
		ukl_copies[i].fd = -1;
		ukl_copies[i].filled = 0;
		if (ukl_copies[i].taken)
			ukl_copies[i].block = ukl_copies[i].taken;
		ukl_copies[i].taken = NULL;
		SHARED_INC(&proc->threads);
		return th;
	}
	return NULL;
}

/* Not known on the host, and for nobody whom an earlier owner meant. */
static void new_life(struct ukl_proc *proc)
{
	SHARED_STORE(&proc->pid_life, (unsigned long)(proc->life + 1) << 32);
}

static struct ukl_proc *native_proc_alloc(void)
{
	struct ukl_proc *proc;
	unsigned int i, j;

	for (i = 0; i < UKL_MAX_PROCS; i++) {
		proc = &ukl.proc[i];
		if (READ_ONCE(proc->state) != UKL_PROC_FREE ||
		    !shared_cas(&proc->state, UKL_PROC_FREE, UKL_PROC_NEW))
			continue;
		new_life(proc);
		proc->kpid = 0;
		proc->parent = NULL;
		proc->parent_pid = 0;
		proc->threads = 0;
		proc->flags = 0;
		for (j = 0; j < UKL_MAX_FDS; j++)
			proc->fd[j] = -1;
		return proc;
	}
	return NULL;
}

static void native_thread_free(struct ukl_thread *th)
{
	struct ukl_proc *proc = th->proc;

	free_wait_slot(th);
	if (__atomic_fetch_sub(&proc->threads, 1, __ATOMIC_SEQ_CST) == 1 &&
	    (proc->state == UKL_PROC_GONE || !proc->pid)) {
		/* Whoever takes it next must not be seen with this pid. */
		new_life(proc);
		SHARED_STORE(&proc->state, UKL_PROC_FREE);
	}
	SHARED_STORE(&th->state, UKL_TH_FREE);
}

/* ------------------------------------------------------------------ */
/* Death.								*/

static void native_die(struct ukl_thread *by, const char *why)
{
	struct ukl_thread *th;
	unsigned int i;

	for (i = 0; i < sizeof(ukl.last_words) - 1 && why[i]; i++)
		ukl.last_words[i] = why[i];
	ukl.last_words[i] = 0;
	SHARED_STORE(&ukl.dead, 1);
	futex_wake(by, &ukl.lock, INT_MAX);
	SHARED_INC(&ukl.procs_word);
	futex_wake(by, &ukl.procs_word, INT_MAX);
	SHARED_INC(&ukl.timer_word);
	futex_wake(by, &ukl.timer_word, INT_MAX);
	SHARED_STORE(&ukl.io_deep, 0);
	futex_wake(by, &ukl.io_deep, INT_MAX);
	if (SHARED_LOAD(&ukl.io_polls))
		ring(by, UKL_FD_IO);
	for (i = 0; i < UKL_MAX_DEVS; i++) {
		SHARED_STORE(&ukl.sendq[i].sleeps, 0);
		futex_wake(by, &ukl.sendq[i].sleeps, INT_MAX);
	}
	SHARED_STORE(&ukl.booted, 2);
	futex_wake(by, &ukl.booted, INT_MAX);
	ukl_for_each_record(th)
		if (th->state != UKL_TH_FREE)
			post(by, th, UKL_WAKE_CHANGED);
}

/* For kernel code that cannot go on.  The CPU stays taken. */
void __noreturn ukl_stop(const char *why)
{
	unsigned long sp;

	native_die(ukl.runner, why);
	for (;;)
		ukl_leave(&sp, ukl.runner, UKL_LEFT_DEAD);
}

/*
 * @proc is dead (its pidfd says so).  From GONE on, anyone who waits for the
 * CPU may take it from a thread of that process.
 */
static long native_proc_died(struct ukl_thread *by, struct ukl_proc *proc)
{
	unsigned int i, lock, owner;

	SHARED_STORE(&proc->state, UKL_PROC_GONE);
	owner = SHARED_LOAD(&ukl.lock) & ~UKL_LOCK_WAITERS;
	if (owner && ukl.thread[owner - 1].proc == proc &&
	    ukl.thread[owner - 1].in_kernel)
		return -EOWNERDEAD;
	i = SHARED_LOAD(&ukl.leader);
	if (i && ukl.thread[i - 1].proc == proc &&
	    shared_cas(&ukl.leader, i, 0)) {
		SHARED_INC(&ukl.leader_epoch);
		SHARED_STORE(&ukl.io_deep, 0);
		futex_wake(by, &ukl.io_deep, 1);
	}
	/* The CPU may have been handed to it, and all others wait for it. */
	lock = SHARED_LOAD(&ukl.lock);
	owner = lock & ~UKL_LOCK_WAITERS;
	if (owner && ukl.thread[owner - 1].proc == proc) {
		if (cpu_steal(by, lock))
			serve(by);
	} else if (owner && !ukl.thread[owner - 1].in_kernel) {
		/* It may have died handing the CPU over: say so again. */
		post(by, &ukl.thread[owner - 1], UKL_WAKE_RUN);
	}
	/* A wake-up for the lock may have died with it. */
	futex_wake(by, &ukl.lock, INT_MAX);
	return 0;
}

static void native_hold(struct ukl_thread *th)
{
	if (cpu_lock(th))
		th->held = 1;
}

static void native_release(struct ukl_thread *th)
{
	if (!th->held)
		return;
	th->held = 0;
	if (READ_ONCE(ukl_others_wait)) {
		ukl_others_wait = false;
		SHARED_OR(&ukl.pending, UKL_IRQ_RESCHED);
	}
	if (let_go(th, UKL_LEFT_USER))
		serve(th);
}

static unsigned long native_fixup(unsigned long ip)
{
	const struct exception_table_entry *e;

	if (ip < (unsigned long)_stext || ip >= (unsigned long)_etext)
		return 0;
	e = search_exception_tables(ip);
	return e ? e->fixup : 0;
}

/* ------------------------------------------------------------------ */
/* The kernel host's threads.						*/

#define DEEP_NS		(100 * NSEC_PER_MSEC_L)
#define WATCH_NS	(1 * NSEC_PER_MSEC_L)
#define WATCH_ROUNDS	20

static void native_timer_loop(struct ukl_thread *th)
{
	struct owner_seen seen = { };
	unsigned long deadline, now;
	unsigned int word, clock;
	bool watch;
	long ns;

	while (!SHARED_LOAD(&ukl.dead)) {
		word = SHARED_LOAD(&ukl.timer_word);
		deadline = SHARED_LOAD(&ukl.deadline);
		now = __builtin_ia32_rdtsc();
		if (now >= deadline) {
			/* The interrupt sets the next deadline. */
			__atomic_compare_exchange_n(&ukl.deadline, &deadline,
						    ~0UL, false,
						    __ATOMIC_SEQ_CST,
						    __ATOMIC_SEQ_CST);
			interrupt(th, UKL_IRQ_TIMER);
			continue;
		}
		SHARED_STORE(&ukl.timer_sleeps, deadline);
		if (SHARED_LOAD(&ukl.deadline) < deadline)
			continue;
		clock = SHARED_LOAD(&ukl.nudge_clock);
		if (clock && SHARED_LOAD(&ukl.timer_word) == word)
			nudge_tick(th);
		watch = waits_for_owner(th, &seen);
		if (deadline == ~0UL) {
			futex_wait(th, &ukl.timer_word, word,
				   clock ? NUDGE_TICK_NS :
				   watch ? STALL_NS : -1);
			continue;
		}
		now = (deadline - now) / 1000;
		ns = now > 1000000000UL * 1000 ? 1000000000L :
		     (long)(now * 1000000000UL / ukl.tsc_khz);
		if (clock && ns > NUDGE_TICK_NS)
			ns = NUDGE_TICK_NS;
		if (watch && ns > STALL_NS)
			ns = STALL_NS;
		futex_wait(th, &ukl.timer_word, word, ns + 1);
	}
}

/*
 * Polls the devices while no blocked thread does.  Nothing is gained by
 * being quick where threads lead now and then (the next leader takes a frame
 * on its own CPU, without a wake-up), nor where one is about to enter again
 * (it is `current`, and batches do it good): then frames wait for a moment.
 */
static void poll_instead(struct ukl_thread *th)
{
	unsigned int epoch = SHARED_LOAD(&ukl.leader_epoch), bits = 0;
	bool idle;

	SHARED_STORE(&ukl.io_polls, 1);
	if (!SHARED_LOAD(&ukl.leader) && !SHARED_LOAD(&ukl.dead))
		bits = poll_host(th, UKL_FD_IO, READ_ONCE(ukl.devs), -1);
	SHARED_STORE(&ukl.io_polls, 0);
	if (!bits)
		return;
	idle = READ_ONCE(ukl_current) == &init_task && !READ_ONCE(ukl.lock);
	interrupt(th, bits);
	if (!idle || epoch != SHARED_LOAD(&ukl.leader_epoch))
		futex_wait(th, &ukl.io_deep, 0, WATCH_NS / 3);
}

/*
 * While a leader comes and goes, this thread watches from a distance; when
 * nothing has changed for a while it sleeps until the leader resigns, and
 * looks now and then whether that one was stopped and listens no more.
 */
static void native_device_loop(struct ukl_thread *th)
{
	unsigned int epoch, rounds = 0, bits;
	struct owner_seen seen = { };

	while (!SHARED_LOAD(&ukl.dead)) {
		waits_for_owner(th, &seen);
		epoch = SHARED_LOAD(&ukl.leader_epoch);
		if (!SHARED_LOAD(&ukl.leader)) {
			rounds = 0;
			poll_instead(th);
			continue;
		}
		if (rounds < WATCH_ROUNDS) {
			futex_wait(th, &ukl.io_deep, 0, WATCH_NS);
			rounds = epoch == SHARED_LOAD(&ukl.leader_epoch) ?
				 rounds + 1 : 0;
			continue;
		}
		SHARED_STORE(&ukl.io_deep, 1);
		if (epoch == SHARED_LOAD(&ukl.leader_epoch))
			futex_wait(th, &ukl.io_deep, 1, DEEP_NS);
		SHARED_STORE(&ukl.io_deep, 0);
		if (epoch != SHARED_LOAD(&ukl.leader_epoch)) {
			rounds = 0;
			continue;
		}
		bits = poll_host(th, UKL_FD_IO, READ_ONCE(ukl.devs), 0);
		if (!bits)
			continue;
		host(th, __NR_sched_yield, 0, 0, 0, 0, 0, 0);
		if (epoch == SHARED_LOAD(&ukl.leader_epoch))
			interrupt(th, bits);
	}
}

#define SENDER_SPINS	500	/* 20 us: a long frame, and what it costs */

/* May this thread run on more than one host CPU? */
static bool may_choose_cpu(struct ukl_thread *th)
{
	unsigned long mask[128];
	long i, n, cpus = 0;

	n = host(th, __NR_sched_getaffinity, 0, sizeof(mask), (long)mask, 0, 0,
		 0);
	for (i = 0; i < n / (long)sizeof(mask[0]); i++)
		cpus += hweight_long(mask[i]);
	return n < 0 || cpus > 1;
}

/* Until a frame is queued: first by looking, for the next is often near. */
static bool await_frame(struct ukl_thread *th, struct ukl_sendq *q)
{
	unsigned int spin = q->useful ? SENDER_SPINS : 1;
	bool useful;

	while (spin--) {
		if (SHARED_LOAD(&q->queued) != q->sent)
			return true;
		__builtin_ia32_pause();
	}
	useful = q->useful;
	SHARED_STORE(&q->sleeps, 1);
	if (SHARED_LOAD(&q->queued) == q->sent && !SHARED_LOAD(&ukl.dead))
		futex_wait(th, &q->sleeps, 1, useful ? -1 : NSEC_PER_SEC_L);
	SHARED_STORE(&q->sleeps, 0);
	SHARED_STORE(&q->useful, may_choose_cpu(th));
	return SHARED_LOAD(&q->queued) != q->sent;
}

/*
 * Writes what is in the queue of a slot (drivers/net.c puts it there) beside
 * the CPU, so that its sockets go on meanwhile.
 */
static void native_sender_loop(struct ukl_thread *th, unsigned int slot)
{
	struct ukl_sendq *q = &ukl.sendq[slot];
	struct ukl_also out = { th->proc->fd[slot], HOST_POLLOUT, 0 };
	struct ukl_frames *frames;
	struct ukl_frame *frame;
	long n;

	SHARED_STORE(&q->useful, may_choose_cpu(th));
	while (!SHARED_LOAD(&ukl.dead)) {
		if (!await_frame(th, q))
			continue;
		frames = ukl_frames[slot];
		frame = &frames->frame[q->sent % UKL_FRAMES];
		n = host(th, __NR_writev, out.fd, (long)frame->iov, frame->n,
			 0, 0, 0);
		if (n == -EAGAIN) {
			host(th, __NR_ppoll, (long)&out, 1, 0, 0, 0, 0);
			continue;
		}
		frame->lost = n < 0;
		SHARED_STORE(&q->sent, q->sent + 1);
		if (SHARED_LOAD(&frames->full) &&
		    (int)(q->sent - SHARED_LOAD(&frames->half)) >= 0) {
			SHARED_STORE(&frames->full, false);
			interrupt(th, UKL_IRQ_DEV(slot));
		}
	}
}

/* ------------------------------------------------------------------ */

extern char ukl_data_start[];
asmlinkage void start_kernel(void);

static void __ref boot_entry(void)
{
	start_kernel();
}

static long native_boot(struct ukl_thread *th, const struct ukl_boot *boot)
{
	long why;

	ukl_boot_info = *boot;
	ukl.irqs_off = ARCH_IRQ_DISABLED;
	ukl_current = &init_task;
	if (!cpu_lock(th))
		return -EOWNERDEAD;
	th->in_kernel = 1;
	ukl.runner = th;
	why = ukl_call_on((unsigned long)init_stack + THREAD_SIZE -
			  sizeof(struct pt_regs), boot_entry, th);
	th->in_kernel = 0;
	if (let_go(th, why))
		serve(th);
	while (!SHARED_LOAD(&ukl.booted))
		futex_wait(th, &ukl.booted, 0, -1);
	return ukl.dead ? -EOWNERDEAD : 0;
}

const struct ukl_image ukl_image __section(".ukl_image") __used = {
	.magic		= UKL_MAGIC,
	.version	= UKL_ABI_VERSION,
	.header_size	= sizeof(struct ukl_image),
	.data		= (unsigned long)ukl_data_start,
	.end		= (unsigned long)_end,
	.shared		= &ukl,
	.shared_size	= sizeof(struct ukl_shared),
	.release	= UTS_RELEASE,
	.boot		= native_boot,
	.thread_alloc	= native_thread_alloc,
	.proc_alloc	= native_proc_alloc,
	.thread_free	= native_thread_free,
	.join		= native_join,
	.syscall	= native_syscall,
	.interrupt	= interrupt,
	.poke		= native_poke,
	.fixup		= native_fixup,
	.proc_died	= native_proc_died,
	.die		= native_die,
	.hold		= native_hold,
	.release_cpu	= native_release,
	.timer_loop	= native_timer_loop,
	.device_loop	= native_device_loop,
	.sender_loop	= native_sender_loop,
	.await		= native_await,
	.wake_now	= native_wake_now,
	.block		= native_block,
};
