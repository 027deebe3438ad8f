// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tasks: how they start, serve the calls of their host thread, and end.
 *
 * A user task spends its life in ukl_user_loop().  "In user mode" it is
 * either `current`, saved on its own stack by ukl_leave() (lazy: its next
 * call costs two stack switches), or parked: off the run queue in
 * TASK_PARKED, which no signal wakes, until its host thread enters again.
 */
#include <linux/binfmts.h>
#include <linux/completion.h>
#include <linux/cred.h>
#include <linux/fdtable.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/nsproxy.h>
#include <linux/ptrace.h>
#include <linux/resume_user_mode.h>
#include <linux/sched/debug.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/signal.h>
#include <linux/syscalls.h>
#include <linux/task_work.h>
#include <linux/wait.h>
#include <asm/switch_to.h>
#include <asm/syscall.h>
#include <asm/ukl.h>
#include <ukl/bulk.h>
#include "../drivers/net.h"
#include "copy.h"

struct task_struct *ukl_current = &init_task;
static struct task_struct *switched_from;

static DECLARE_WAIT_QUEUE_HEAD(join_wait);
static DECLARE_WAIT_QUEUE_HEAD(bound_wait);

struct task_struct *__switch_to(struct task_struct *prev,
				struct task_struct *next)
{
	struct ukl_thread *host = next->thread.host;

	switched_from = prev;
	ukl_current = next;
	if (host) {
		host->nudged = 0;
		if (ukl.nudge == host)
			ukl.nudge = NULL;
		/* The dead take no CPU; the kernel host may know before the
		 * worker has come to unbind(). */
		if (unlikely(READ_ONCE(host->proc->state) == UKL_PROC_GONE))
			next->thread.gone = true;
	}
	if (!host || host == ukl.runner || next->thread.gone)
		ukl_switch(&prev->thread.sp, next->thread.sp);
	else
		ukl_leave(&prev->thread.sp, ukl.runner, UKL_LEFT_HANDOFF);
	return switched_from;
}

asmlinkage void ukl_schedule_tail(void)
{
	schedule_tail(switched_from);
}

/* What ukl_ret_from_fork() pops and where it returns to. */
struct new_stack {
	unsigned long r15, r14, r13, r12, rbx, rbp, ret;
};

int copy_thread(struct task_struct *p, const struct kernel_clone_args *args)
{
	struct pt_regs *regs = task_pt_regs(p);
	struct new_stack *frame = (struct new_stack *)regs - 1;

	memset(regs, 0, sizeof(*regs));
	memset(frame, 0, sizeof(*frame));
	memset(&p->thread, 0, sizeof(p->thread));
	frame->ret = (unsigned long)ukl_ret_from_fork;
	frame->rbx = (unsigned long)args->fn;
	frame->r12 = (unsigned long)args->fn_arg;
	p->thread.sp = (unsigned long)frame;
	if (!args->fn)
		p->thread.bind = (struct ukl_thread *)args->stack;
	return 0;
}

void flush_thread(void)
{
}

void start_thread(struct pt_regs *regs, unsigned long ip, unsigned long sp)
{
	regs->ip = ip;
	regs->sp = sp;
	regs->user = 1;
}

void exit_thread(struct task_struct *tsk)
{
	struct ukl_thread *host = tsk->thread.host;

	/* Also called for a task that fork could not finish. */
	if (tsk != current || !host)
		return;
	tsk->thread.host = NULL;
	host->task = NULL;
	smp_store_release(&host->state, UKL_TH_DEAD);
	if (host != ukl.runner)
		ukl_post(host, UKL_WAKE_CHANGED);
}

/*
 * Signals of the library kernel's own (SIGPIPE, say) are noted for the host
 * side, which raises them.  Every action but SIGCHLD's is a handler, so that
 * none is lost or kills the task here; SIGCHLD is ignored, so that the dead
 * need no wait().
 */
static void catch_all_signals(void)
{
	struct k_sigaction *action = current->sighand->action;
	int sig;

	spin_lock_irq(&current->sighand->siglock);
	for (sig = 1; sig <= _NSIG; sig++) {
		if (sig_kernel_only(sig))
			continue;
		action[sig - 1].sa.sa_handler =
			sig == SIGCHLD ? SIG_IGN : (__sighandler_t)2;
	}
	spin_unlock_irq(&current->sighand->siglock);
}

bool ukl_others_wait;	/* behind a thread that holds the CPU */

static unsigned long work_left(const struct thread_struct *t)
{
	unsigned long flags = read_thread_flags() & _TIF_EXIT_WORK;

	if (unlikely(flags & _TIF_NEED_RESCHED) && t->host && t->host->held) {
		flags &= ~_TIF_NEED_RESCHED;
		ukl_others_wait = true;
	}
	return flags;
}

static void exit_work(struct thread_struct *t)
{
	struct ksignal ksig;
	unsigned long flags;

	while (unlikely(flags = work_left(t))) {
		local_irq_enable();
		if (flags & _TIF_NEED_RESCHED)
			schedule();
		if (flags & (_TIF_SIGPENDING | _TIF_NOTIFY_SIGNAL))
			while (get_signal(&ksig))
				if (t->host)
					t->host->signals |=
						1UL << (ksig.sig - 1);
		if (flags & _TIF_NOTIFY_RESUME)
			resume_user_mode_work(task_pt_regs(current));
		local_irq_disable();
	}
}

static bool wants_restart(long ret)
{
	return ret == -ERESTARTSYS || ret == -ERESTARTNOINTR ||
	       ret == -ERESTARTNOHAND || ret == -ERESTART_RESTARTBLOCK;
}

static long one_call(struct ukl_thread *host)
{
	const long *a = host->args;
	long nr = host->nr;

	if (unlikely(is_long_write(nr, a)))
		return ukl_long_write(host, nr, a);
	if (likely((unsigned long)nr < NR_syscalls))
		return sys_call_table[nr](a[0], a[1], a[2], a[3], a[4], a[5]);
	if (nr >= UKL_SYS && nr < UKL_SYS_END)
		return ukl_private_call(nr, a);
	if (nr >= UKL_SYS_BULK && nr < UKL_SYS_BULK_END)
		return ukl_bulk_call(nr, a);
	return -ENOSYS;
}

/*
 * A call that a host signal ended returns its -ERESTART… code: only the host
 * side knows whether the handler wants a restart.  One that ended for the
 * kernel's own work (task_work) is simply made again.
 */
static void serve_call(struct thread_struct *t)
{
	struct ukl_thread *host = t->host;
	unsigned long had;
	long ret;

	for (;;) {
		ret = one_call(host);
		if (likely(!wants_restart(ret)))
			break;
		had = host->signals;
		if (t->poked || host->signals != had)
			break;
		local_irq_disable();
		exit_work(t);
		local_irq_enable();
		if (t->poked || host->signals != had)
			break;
		if (unlikely(t->gone))
			break;
		if (ret == -ERESTART_RESTARTBLOCK) {
			ret = sys_call_table[__NR_restart_syscall](0, 0, 0, 0,
								   0, 0);
			if (!wants_restart(ret))
				break;
		}
	}
	/* The record of a dead thread may be another's by now. */
	if (likely(!t->gone))
		host->ret = ret;
}

/*
 * Off the run queue until the host thread comes back.  TASK_PARKED is set
 * with a lock elsewhere, against wakers on other CPUs; here wakers are
 * interrupts, and those are off.
 */
static void park(void)
{
	WRITE_ONCE(current->__state, TASK_PARKED);
	schedule();
}

/*
 * A lazy task is continued by whoever comes with the CPU.  If its own thread
 * has left work and is not the one who comes, it was killed on its way in, and
 * the task waits for unbind().
 */
static bool is_here(const struct ukl_thread *host, bool has_work)
{
	return host == ukl.runner && has_work;
}

/*
 * May a task that has finished its call stay `current` while its thread is in
 * user mode?  If it is the only one that can run, or if the next one's thread
 * can come and ask for the CPU: waking that one takes time, in which this one
 * often enters again, or sleeps and so gives the CPU away.  A kernel thread
 * cannot come, so it is run at once.  A thread that holds the CPU keeps it, and
 * native_release() makes up for that.
 */
static bool stay_on_cpu(struct thread_struct *t)
{
	struct ukl_thread *next;

	if (unlikely(t->gone))
		return false;
	if (likely(single_task_running()))
		return true;
	if (unlikely(t->host->held && (ukl_resched_asked || !ukl_next_host()))) {
		ukl_others_wait = true;
		return true;
	}
	if (ukl_resched_asked) {
		ukl_resched_asked = false;
		return false;
	}
	next = ukl_next_host();
	if (!next)
		return false;
	if (!next->nudged) {
		next->nudged = 1;
		ukl.nudge = next;
	}
	return true;
}

/* Did the thread make this copy before it came, see longwrite.c? */
static bool was_filled(const struct ukl_copy *copy, void *to, const void *from,
		       unsigned long n)
{
	unsigned long at = from - copy->filled_from;

	return copy->filled && to - copy->filled_to == at &&
	       at <= copy->filled && n <= copy->filled - at;
}

/*
 * A long copy to or from user memory needs no CPU of this kernel's, so another
 * host CPU that waits for it may have it meanwhile: the host thread makes the
 * copy as if it were in user mode, and comes back.  Code that copies may sleep
 * there, and this is nothing else.  Returns how many bytes were not copied.
 */
unsigned long ukl_copy_outside(void *to, const void *from, unsigned long n)
{
	struct thread_struct *t = &current->thread;
	struct ukl_thread *host = t->host;
	struct ukl_copy *copy;
	bool here = false;

	if (!host)
		return ukl_copy_here(to, from, n);
	copy = &ukl_copies[host->id - 1];
	if (was_filled(copy, to, from, n))
		return 0;
	if (likely(!READ_ONCE(ukl_wanted)) || irqs_disabled() ||
	    pagefault_disabled() || in_interrupt())
		return ukl_copy_here(to, from, n);
	WRITE_ONCE(ukl_wanted, 0);
	copy->to = to;
	copy->from = from;
	copy->n = n;
	copy->due = true;
	local_irq_disable();
	while (stay_on_cpu(t)) {
		t->lazy = true;
		ukl_leave(&t->sp, ukl.runner, UKL_LEFT_USER);
		t->lazy = false;
		here = is_here(host, !copy->due);
		if (likely(here))
			break;
		if (ukl_irq() & (UKL_IRQ_TIMER | UKL_IRQ_RESCHED |
				 UKL_IRQ_ENTER))
			break;
	}
	if (!here && !t->gone)
		park();
	local_irq_enable();
	/* The record of a dead thread may be another's by now. */
	return t->gone ? n : copy->n;
}

void __noreturn ukl_user_loop(void)
{
	struct thread_struct *t = &current->thread;
	struct ukl_thread *host = t->bind;
	bool here;

	if (is_global_init(current)) {
		catch_all_signals();
		ukl_init_main();
	}
	if (!host)
		do_exit(0);

	local_irq_disable();
	host->ktid = task_pid_nr(current);
	if (thread_group_leader(current))
		host->proc->kpid = task_tgid_nr(current);
	host->task = current;
	t->bind = NULL;
	t->host = host;
	smp_store_release(&host->state, UKL_TH_LIVE);
	ukl_post(host, UKL_WAKE_CHANGED);
	wake_up(&bound_wait);
	park();

	for (;;) {
		/* Interrupts are off; either gone, or the host is here. */
		if (unlikely(t->gone)) {
			local_irq_enable();
			do_exit(SIGKILL);
		}
		local_irq_enable();
		serve_call(t);
		if (unlikely(ukl_net_held))
			ukl_net_settle();
		local_irq_disable();
		exit_work(t);
		if (unlikely(t->gone))
			continue;
		if (unlikely(t->poked)) {
			t->poked = false;
			clear_thread_flag(TIF_NOTIFY_SIGNAL);
		}

		/* Done: from here on the host thread may return. */
		host->nr = -1;
		here = false;
		while (stay_on_cpu(t)) {
			t->lazy = true;
			ukl_leave(&t->sp, ukl.runner, UKL_LEFT_USER);
			t->lazy = false;
			here = is_here(host, host->nr >= 0);
			if (likely(here))
				break;
			/* Not for me.  Off the CPU for whoever is here; and a
			 * tick means that nobody was for a while, so that it
			 * may stop. */
			if (ukl_irq() & (UKL_IRQ_TIMER | UKL_IRQ_RESCHED |
					 UKL_IRQ_ENTER))
				break;
		}
		if (!here && !t->gone)
			park();
	}
}

/* ------------------------------------------------------------------ */
/* The private calls.							*/

static long wait_bound(struct ukl_thread *th)
{
	wait_event(bound_wait, smp_load_acquire(&th->state) != UKL_TH_NEW);
	return th->ktid;
}

static long clone_for(struct ukl_thread *th, u64 flags, int exit_signal)
{
	struct kernel_clone_args args = {
		.flags		= flags,
		.exit_signal	= exit_signal,
		.stack		= (unsigned long)th,
	};
	pid_t pid = kernel_clone(&args);

	if (pid < 0)
		return pid;
	return wait_bound(th);
}

#define THREAD_FLAGS	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | \
			 CLONE_THREAD | CLONE_SYSVSEM)

/*
 * Takes the task of @th away from its host thread; it goes on without, and
 * ends at the next return to user mode.
 */
static void unbind(struct ukl_thread *th, bool whole_process)
{
	struct task_struct *task = th->task;

	if (!task)
		return;
	th->task = NULL;
	th->state = UKL_TH_DEAD;
	task->thread.host = NULL;
	task->thread.gone = true;
	if (whole_process)
		send_sig(SIGKILL, task, 1);
	wake_up_state(task, TASK_PARKED);
}

static void forget(struct ukl_thread *th)
{
	struct ukl_thread **p;

	for (p = &ukl.joining; *p; p = &(*p)->next)
		if (*p == th) {
			*p = th->next;
			break;
		}
	if (ukl.entering == th)
		ukl.entering = NULL;
}

/* Every thread of a process that is dead on the host. */
static long reap(struct ukl_proc *proc)
{
	struct ukl_thread *th;
	int n = 0;

	/* A poked record may be in a list: empty it first. */
	ukl_handle_pokes();
	ukl_for_each_record(th) {
		if (th->state == UKL_TH_FREE || th->proc != proc)
			continue;
		forget(th);
		unbind(th, true);
		ukl_image.thread_free(th);
		n++;
	}
	return n;
}

/* The other threads of the caller's process lose their tasks. */
static void end_siblings(struct ukl_thread *host, bool free)
{
	struct ukl_thread *th;

	ukl_for_each_record(th) {
		if (th == host || th->state == UKL_TH_FREE ||
		    th->proc != host->proc)
			continue;
		forget(th);
		unbind(th, !free);
		if (free)
			ukl_image.thread_free(th);
	}
}

static bool siblings_live(void)
{
	struct task_struct *t;

	for_each_thread(current, t)
		if (t != current && !t->exit_state)
			return true;
	return false;
}

/*
 * The end of a process, before its host side ends: the siblings' tasks go on
 * without their threads, which stay where they are, and end.  When the caller
 * has ended too every file is closed, as a parent expects that waits for it.
 */
static long exit_process(void)
{
	int round;

	end_siblings(current->thread.host, false);
	for (round = 0; siblings_live(); round++) {
		if (round < 1000)
			yield();
		else
			schedule_timeout_uninterruptible(1);
	}
	do_exit(0);
}

/* Exec gives such a task nothing but closed files and reset signals. */
static bool is_plain(void)
{
	const struct cred *cred = current_cred();

	return thread_group_leader(current) && thread_group_empty(current) &&
	       atomic_read(&current->mm->mm_users) == 1 &&
	       cred->user_ns == &init_user_ns && !cred->securebits &&
	       uid_eq(cred->uid, GLOBAL_ROOT_UID) &&
	       uid_eq(cred->euid, GLOBAL_ROOT_UID) &&
	       cap_issubset(CAP_FULL_SET, cred->cap_effective) &&
	       cap_issubset(CAP_FULL_SET, cred->cap_permitted);
}

/*
 * What is left of exec for most tasks.  The whole of it finds, reads and judges
 * a file first, which touches memory all over the kernel that a new program
 * has to be given a page at a time.
 */
static long plain_exec(void)
{
	long err = unshare_files();

	if (err)
		return err;
#ifdef CONFIG_POSIX_TIMERS
	exit_itimers(current);
	flush_itimer_signals();
#endif
	do_close_on_exec(current->files);
	current->flags &= ~PF_FORKNOEXEC;
	current->sas_ss_sp = current->sas_ss_size = 0;
	set_task_comm(current, "init");
	WRITE_ONCE(current->self_exec_id, current->self_exec_id + 1);
	flush_signal_handlers(current, 0);
	return 0;
}

static bool any_files(void)
{
	struct fdtable *fdt;
	bool any;

	rcu_read_lock();
	fdt = files_fdtable(current->files);
	any = find_first_bit(fdt->open_fds, fdt->max_fds) < fdt->max_fds;
	rcu_read_unlock();
	return any;
}

static long exec_init(void)
{
	static const char *const argv[] = { "exec", NULL };
	static const char *const envp[] = { NULL };
	long err;

	/* The host's exec has ended the other threads already. */
	end_siblings(current->thread.host, true);
	err = is_plain() ? plain_exec() : kernel_execve("/init", argv, envp);
	if (err)
		return err;
	catch_all_signals();
	return any_files();
}

long ukl_private_call(long nr, const long *a)
{
	switch (nr) {
	case UKL_SYS_THREAD:
		return clone_for((void *)a[0], THREAD_FLAGS, 0);
	case UKL_SYS_FORK:
		return clone_for((void *)a[0], a[1] & (CLONE_FILES | CLONE_FS |
				 CLONE_NEWNET), SIGCHLD);
	case UKL_SYS_EXEC:
		return exec_init();
	case UKL_SYS_REAP:
		return reap((void *)a[0]);
	case UKL_SYS_ABANDON:
		unbind((void *)a[0], ((struct ukl_thread *)a[0])->proc !=
		       current->thread.host->proc);
		ukl_image.thread_free((void *)a[0]);
		return 0;
	case UKL_SYS_NETDEV:
		return ukl_netdev_add(a[0], (void *)a[1]);
	case UKL_SYS_NETDEV_DEL:
		return ukl_netdev_del(a[0]);
	case UKL_SYS_WIRE:
		return ukl_wire_set(a[0], (void *)a[1]);
	case UKL_SYS_GATE:
		return ukl_gate_add(a[0], a[1]);
	case UKL_SYS_EXIT:
		return exit_process();
	case UKL_SYS_PACKET_RING:
		return ukl_packet_ring(a[0], (void *)a[1], a[2]);
	case UKL_SYS_ACCEPT:
		return ukl_accept(a[0], (void *)a[1], (void *)a[2], a[3],
				  (int)a[4] - 1);
	case UKL_SYS_LEND:
		return ukl_lend(a[0], a[1]);
	case UKL_SYS_TAKE:
		return ukl_take(a[0], a[1], a[2]);
	case UKL_SYS_LENT:
		return ukl_lent((void *)a[0], a[1]);
	case UKL_SYS_BELL:
		return ukl_bell(a[0]);
	}
	return -ENOSYS;
}

/* A host signal arrived for these threads: their waits end. */
void ukl_handle_pokes(void)
{
	struct ukl_thread *th, *next;
	struct task_struct *task;

	th = __atomic_exchange_n(&ukl.poked, NULL, __ATOMIC_SEQ_CST);
	for (; th; th = next) {
		next = th->next;
		th->next = NULL;
		__atomic_store_n(&th->poked, 0, __ATOMIC_SEQ_CST);
		task = th->task;
		if (!task || !th->in_call)
			continue;
		task->thread.poked = true;
		set_notify_signal(task);
	}
}

void ukl_handle_joins(void)
{
	wake_up(&join_wait);
}

/* ------------------------------------------------------------------ */
/* PID 1: a coroutine without a host thread.				*/

static void init_call(long nr, long a, long b, long c, long d, long e)
{
	long err = sys_call_table[nr](a, b, c, d, e, 0);

	if (err < 0 && err != -EEXIST && err != -EBUSY)
		pr_warn("ukl: init: call %ld: error %ld\n", nr, -err);
}

static void init_mount(const char *type, const char *where)
{
	init_call(__NR_mkdir, (long)where, 0755, 0, 0, 0);
	init_call(__NR_mount, (long)type, (long)where, (long)type, 0, 0);
}

/*
 * Makes the file system that a Linux program expects, then turns requests to
 * join into processes.
 */
void __noreturn ukl_init_main(void)
{
	struct ukl_thread *th;
	long pid;

	init_mount("proc", "/proc");
	init_mount("sysfs", "/sys");
	init_mount("tmpfs", "/tmp");
	init_mount("tmpfs", "/run");
	ukl_init_net();

	__atomic_store_n(&ukl.booted, 1, __ATOMIC_SEQ_CST);
	ukl_hostcall(__NR_futex, (long)&ukl.booted, 1 /* WAKE */, INT_MAX, 0,
		     0, 0);
	for (;;) {
		wait_event_interruptible(join_wait, READ_ONCE(ukl.joining));
		if (signal_pending(current))
			flush_signals(current);
		local_irq_disable();
		th = ukl.joining;
		if (th)
			ukl.joining = th->next;
		local_irq_enable();
		if (!th)
			continue;
		pid = clone_for(th, 0, SIGCHLD);
		if (pid < 0) {
			smp_store_release(&th->state, UKL_TH_DEAD);
			ukl_post(th, UKL_WAKE_CHANGED);
		}
	}
}

/* ------------------------------------------------------------------ */

void arch_cpu_idle(void)
{
	/* Nobody gathers any more. */
	if (unlikely(ukl_net_held))
		__atomic_fetch_or(&ukl.pending, ukl_net_held * UKL_IRQ_DEV(0),
				  __ATOMIC_SEQ_CST);
	if (!READ_ONCE(ukl.pending) && !ukl.entering)
		ukl_leave(&current->thread.sp, ukl.runner, UKL_LEFT_IDLE);
	ukl_irq();
}

unsigned long __get_wchan(struct task_struct *p)
{
	return 0;
}

void show_regs(struct pt_regs *regs)
{
	dump_stack();
}

/* Host tools trace the host's processes; nobody traces these tasks. */
long arch_ptrace(struct task_struct *child, long request, unsigned long addr,
		 unsigned long data)
{
	return -EIO;
}

void ptrace_disable(struct task_struct *child)
{
}
