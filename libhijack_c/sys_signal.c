// SPDX-License-Identifier: GPL-2.0-only
/*
 * Signals: every handler of the program is registered as ours.
 *
 * Theory of operation.  on_signal() runs on a stack of our own with all
 * signals blocked.  If the thread is in the program, it moves the frame that
 * the host built to where the program's handler expects it, sets the mask
 * that the program asked for, and jumps there.  If the thread is in the core,
 * the signal is queued again, blocked, and marked; calls that wait end; and
 * the way out traps once, which puts the mask right, so that the host
 * delivers the signal with the program's exact state.
 *
 * SIGSYS, SIGSEGV and SIGBUS are never blocked or ignored on the host: the
 * first is how calls are caught, the others how bad addresses are found in
 * the kernels' copies of user memory.
 */
#include "shim.h"
#include "signal_frame.h"

#define SIG_DFL_	0
#define SIG_IGN_	1
#define SA_NOCLDSTOP_	1UL
#define SA_NOCLDWAIT_	2UL
#define SA_SIGINFO_	4UL
#define SA_RESTORER_	0x04000000UL
#define SA_ONSTACK_	0x08000000UL
#define SA_RESTART_	0x10000000UL
#define SA_NODEFER_	0x40000000UL
#define SA_RESETHAND_	0x80000000UL
#define SS_ONSTACK_	1
#define SS_DISABLE_	2
#define SYS_USER_DISPATCH_ 2
#define MINSIGSTKSZ_	2048

#define SIG_BLOCK_	0
#define SIG_UNBLOCK_	1
#define SIG_SETMASK_	2

static bool is_virtual(int sig)
{
	return VIRTUAL_MASK & SIG_BIT(sig);
}

static bool within(u64 ip, const char *from, const char *to)
{
	return ip >= (u64)from && ip < (u64)to;
}

/* Our handler on the host, with the flags of @flags that the host acts on. */
static void install_with(int sig, u64 flags)
{
	struct action host = {
		.handler = (u64)on_signal,
		.flags = SA_SIGINFO_ | SA_ONSTACK_ | SA_RESTORER_ |
			 (flags & (SA_RESTART_ | SA_NOCLDSTOP_ |
				   SA_NOCLDWAIT_)),
		.restorer = (u64)stub_restorer,
		.mask = ~0UL,
	};

	RAW4(__NR_rt_sigaction, sig, &host, 0, 8);
}

void install(int sig)
{
	install_with(sig, 0);
}

static void reset(int sig)
{
	struct action host = { .handler = SIG_DFL_ };

	RAW4(__NR_rt_sigaction, sig, &host, 0, 8);
}

/* Blocks everything that may be; returns what was blocked. */
u64 block_all(void)
{
	u64 all = ~VIRTUAL_MASK, old = 0;

	RAW4(__NR_rt_sigprocmask, SIG_SETMASK_, &all, &old, 8);
	return old;
}

void set_mask(u64 mask)
{
	mask &= ~VIRTUAL_MASK;
	RAW4(__NR_rt_sigprocmask, SIG_SETMASK_, &mask, 0, 8);
}

/* ------------------------------------------------------------------ */
/* Signals that come while the core runs.				*/

static void defer(struct ctx *c, int sig, struct raw_info *info,
		  struct raw_context *uc)
{
	long err;

	if (is_virtual(sig)) {
		/* It cannot be blocked meanwhile. */
		c->held |= SIG_BIT(sig);
	} else {
		err = RAW4(__NR_rt_tgsigqueueinfo, RAW0(__NR_getpid), c->tid,
			   sig, info);
		if (err)
			RAW3(__NR_tgkill, RAW0(__NR_getpid), c->tid, sig);
		if (!(uc->mask & SIG_BIT(sig))) {
			uc->mask |= SIG_BIT(sig);
			c->deferred |= SIG_BIT(sig);
		}
	}
	c->waiting |= SIG_BIT(sig);
	c->pending = 1;

	/* A call to the host that has not begun shall not. */
	if (uc->ip >= (u64)host_call_check && uc->ip <= (u64)host_call_insn)
		uc->ip = (u64)host_call_abort;
	if (c->th)
		ukl_poke(c->th);
}

/* The trap on the way out: the mask is the program's again. */
void deliver(struct ctx *c, struct raw_context *uc)
{
	u64 held = c->held & ~c->virt_mask;
	int sig;

	c->held &= ~held;
	uc->cx = c->r.rcx;
	uc->r11 = c->r.r11;
	uc->ip = c->r.rcx;
	uc->eflags = c->r.r11;
	uc->mask &= ~c->deferred;
	if (c->temp_mask_set) {
		uc->mask = c->temp_mask;
		c->temp_mask_set = 0;
	}
	c->deferred = 0;
	c->waiting = 0;
	c->pending = 0;
	c->in = 0;
	for (sig = 1; held; sig++) {
		if (!(held & SIG_BIT(sig)))
			continue;
		held &= ~SIG_BIT(sig);
		RAW3(__NR_tgkill, RAW0(__NR_getpid), c->tid, sig);
	}
	if (c->sys_info_set) {
		/* To oneself it may look as if from the kernel. */
		c->sys_info_set = 0;
		RAW4(__NR_rt_tgsigqueueinfo, RAW0(__NR_getpid), c->tid,
		     SIGSYS_, &c->sys_info);
	}
}

/* Does the handler that comes first want interrupted calls made again? */
bool wants_restart(struct ctx *c)
{
	u64 waiting = c->waiting;

	if (!waiting)
		return true;
	return c->sig->act[__builtin_ctzl(waiting)].flags & SA_RESTART_;
}

/* ------------------------------------------------------------------ */
/* Delivery.								*/

static bool on_stack(const struct stack_t_ *s, u64 sp)
{
	return s->size && sp > s->sp && sp - s->sp <= s->size;
}

static void __attribute__((noreturn))
enter_handler(struct ctx *c, const struct action *act, int sig,
	      struct raw_info *info, struct raw_context *uc, u64 mask)
{
	struct raw_frame *frame;
	u64 sp = uc->sp, fp = 0, size = 0;

	if ((act->flags & SA_ONSTACK_) && c->alt.size &&
	    !on_stack(&c->alt, sp))
		sp = c->alt.sp + c->alt.size;
	else
		sp -= 128;
	if (uc->fpstate) {
		size = FP_PLAIN_SIZE;
		if (*(u32 *)(uc->fpstate + FP_MAGIC_AT) == FP_MAGIC)
			size = *(u32 *)(uc->fpstate + FP_SIZE_AT);
		fp = (sp - size) & -64UL;
		sp = fp;
	}
	frame = (struct raw_frame *)(((sp - sizeof(*frame)) & -16UL) - 8);
	/* If the stack is not there the host ends us by SIGSEGV: all
	 * signals are blocked.  As it would have, building the frame. */
	if (fp)
		memcpy((void *)fp, (void *)uc->fpstate, size);
	frame->restorer = (u64)stub_restorer;
	memcpy(&frame->uc, uc, sizeof(*uc));
	memcpy(&frame->info, info, sizeof(*info));
	frame->uc.fpstate = fp;

	c->mask_tmp = mask & ~VIRTUAL_MASK;
	sig_enter(act->handler, sig, &frame->info, &frame->uc, (u64)frame,
		  &c->mask_tmp);
}

static void to_program(struct ctx *c, int sig, struct raw_info *info,
		       struct raw_context *uc)
{
	struct action *set = &c->sig->act[sig - 1], act = *set;
	bool fault = is_virtual(sig) && info->code > 0;
	u64 mask = uc->mask;

	if (c->restore_mask_set) {
		uc->mask = c->restore_mask;
		c->restore_mask_set = 0;
	}
	if (act.handler == SIG_IGN_ && !fault)
		return;
	if (act.handler <= SIG_IGN_ ||
	    (fault && (c->virt_mask & SIG_BIT(sig)))) {
		/* The default action; a fault happens again by itself. */
		reset(sig);
		if (!fault || sig == SIGSYS_)
			RAW3(__NR_tgkill, RAW0(__NR_getpid), c->tid, sig);
		return;
	}
	if (is_virtual(sig) && (c->virt_mask & SIG_BIT(sig))) {
		c->held |= SIG_BIT(sig);
		return;
	}
	if (act.flags & SA_RESETHAND_) {
		set->handler = SIG_DFL_;
		if (!is_virtual(sig))
			reset(sig);
	}
	mask |= act.mask;
	if (!(act.flags & SA_NODEFER_))
		mask |= SIG_BIT(sig);
	enter_handler(c, &act, sig, info, uc, mask);
}

void on_signal(int sig, void *info_, void *context)
{
	struct raw_context *uc = context;
	struct raw_info *info = info_;
	struct ctx *c = self();
	unsigned long to;

	if (sig == SIGSYS_ && info->code == SYS_USER_DISPATCH_) {
		on_trap(c, info, uc);
		return;
	}
	if (sig == SIGSEGV_ || sig == SIGBUS_) {
		if (uc->ip == (u64)copy_user_insn) {
			uc->ip = (u64)copy_user_fault;
			return;
		}
		to = ukl_head() ? ukl_head()->fixup(uc->ip) : 0;
		if (to) {
			uc->ip = to;
			return;
		}
	}
	if (!c->in) {
		if (uc->ip == (u64)ukl_entry) {
			/* Caught, but not yet in: not yet made. */
			uc->ip = uc->cx - 2;
		} else if (within(uc->ip, ukl_leave, ukl_leave_end)) {
			c->in = 1;
		} else {
			uc->ip = slot_to_site(uc->ip);
		}
	}
	if (!c->in) {
		to_program(c, sig, info, uc);
		return;
	}
	if ((sig == SIGSEGV_ || sig == SIGBUS_ || sig == SIGILL_ ||
	     sig == 8 || sig == 5) && info->code > 0) {
		char text[64], *end = text + sizeof(text), *p;

		p = str_put(text, end, "a fault inside the shim, call ");
		p = num_put(p, end, c->nr);
		p = str_put(p, end, ", offset ");
		num_put(p, end, uc->ip - (u64)stub_start);
		say(text, "", "");
		reset(sig);
		return;
	}
	if (within(uc->ip, ukl_leave, ukl_leave_end))
		uc->ip = (u64)ukl_leave;
	defer(c, sig, info, uc);
}

/* ------------------------------------------------------------------ */
/* The calls.								*/

/* What the program has set, asking the host the first time. */
static struct action *known(struct sighand *s, int sig)
{
	struct action *act = &s->act[sig - 1];

	if (!(s->known & SIG_BIT(sig))) {
		struct action host = { 0 };

		if (!is_virtual(sig))
			RAW4(__NR_rt_sigaction, sig, 0, &host, 8);
		*act = host;
		s->known |= SIG_BIT(sig);
	}
	return act;
}

/*
 * posix_spawn() asks for each signal in a child that has a table of its own:
 * what the parent knows is asked once.
 */
void know_all(struct sighand *s)
{
	int sig;

	if (s->known == ~0UL)
		return;
	for (sig = 1; sig <= 64; sig++)
		known(s, sig);
}

/* Is what the host does with @sig the same after as before?  Setting it has
 * ignored signals forgotten that wait. */
static bool same_on_host(int sig, const struct action *old,
			 const struct action *new)
{
	static const u64 ignored = SIG_BIT(17 /* CHLD */) |
		SIG_BIT(18 /* CONT */) | SIG_BIT(23 /* URG */) |
		SIG_BIT(28 /* WINCH */);

	return old->handler == SIG_DFL_ && new->handler == SIG_DFL_ &&
	       !(ignored & SIG_BIT(sig));
}

long sys_rt_sigaction(struct ctx *c, struct regs *r)
{
	int sig = r->rdi;
	struct action new, old, host;
	long err = 0;

	if (sig < 1 || sig > 64 || r->r10 != 8)
		return pass(c, r);
	if (r->rsi && get_user(&new, (void *)r->rsi, sizeof(new)))
		return -EFAULT;
	if (r->rsi && (sig == SIGKILL_ || sig == 19))
		return -EINVAL;
	/* Signals that come meanwhile wait, and do not look at the table. */
	lock_word(&c->sig->lock);
	old = *known(c->sig, sig);
	if (r->rsi) {
		new.mask &= ~(SIG_BIT(SIGKILL_) | SIG_BIT(19));
		c->sig->act[sig - 1] = new;
		if (is_virtual(sig) || same_on_host(sig, &old, &new)) {
			;
		} else if (new.handler > SIG_IGN_) {
			install_with(sig, new.flags);
		} else {
			host = new;
			host.restorer = 0;
			host.flags &= SA_NOCLDSTOP_ | SA_NOCLDWAIT_;
			err = RAW4(__NR_rt_sigaction, sig, &host, 0, 8);
		}
	}
	unlock_word(&c->sig->lock);
	if (!err && r->rdx && put_user((void *)r->rdx, &old, sizeof(old)))
		err = -EFAULT;
	return err;
}

long sys_rt_sigprocmask(struct ctx *c, struct regs *r)
{
	u64 set = 0, old, virt = c->virt_mask;
	long err;

	if (r->r10 != 8)
		return -EINVAL;
	if (r->rsi) {
		if (get_user(&set, (void *)r->rsi, 8))
			return -EFAULT;
		switch ((int)r->rdi) {
		case SIG_BLOCK_:
			virt |= set & VIRTUAL_MASK;
			break;
		case SIG_UNBLOCK_:
			virt &= ~set;
			break;
		case SIG_SETMASK_:
			virt = set & VIRTUAL_MASK;
			break;
		default:
			return -EINVAL;
		}
		set &= ~VIRTUAL_MASK;
	}
	/* Interruptible, so that nothing of ours is in the old mask. */
	err = host_call(__NR_rt_sigprocmask, (int)r->rdi,
			r->rsi ? (long)&set : 0, (long)&old, 8, 0, 0);
	if (err)
		return err;
	old |= c->virt_mask;
	c->virt_mask = virt;
	if (c->held & ~virt)
		c->pending = 1;
	if (r->rdx && put_user((void *)r->rdx, &old, 8))
		return -EFAULT;
	return 0;
}

long sys_rt_sigpending(struct ctx *c, struct regs *r)
{
	u64 set = 0;
	long err;

	if (r->rsi > 8)
		return -EINVAL;
	err = host_call(__NR_rt_sigpending, (long)&set, 8, 0, 0, 0, 0);
	if (err)
		return err;
	set |= c->held & c->virt_mask;
	return put_user((void *)r->rdi, &set, r->rsi);
}

/*
 * Calls with a mask of their own (ppoll, pselect6, epoll_pwait, sigsuspend):
 * made here with the mask set around them.  A signal that ends one is
 * delivered with the temporary mask, and its frame restores the old one.
 */
long with_mask(struct ctx *c, u64 user_mask, u64 size, u64 *saved, bool *set)
{
	u64 mask;
	long err;

	*set = false;
	if (!user_mask)
		return 0;
	if (size != 8)
		return -EINVAL;
	if (get_user(&mask, (void *)user_mask, 8))
		return -EFAULT;
	mask &= ~VIRTUAL_MASK;
	err = host_call(__NR_rt_sigprocmask, SIG_SETMASK_, (long)&mask,
			(long)saved, 8, 0, 0);
	if (err)
		return err;
	c->temp_mask = mask;
	*set = true;
	return 0;
}

long without_mask(struct ctx *c, u64 saved, bool set, long ret)
{
	if (!set)
		return ret;
	if (c->pending && (ret == -EINTR || ret <= -ERESTARTSYS)) {
		/* All is blocked that ours must not disturb. */
		c->restore_mask = saved;
		c->restore_mask_set = 1;
		c->temp_mask_set = 1;
		/* It came within the call, whatever the point. */
		return -EINTR;
	}
	/* Deferred signals stay blocked. */
	saved |= c->deferred;
	RAW4(__NR_rt_sigprocmask, SIG_SETMASK_, &saved, 0, 8);
	return ret;
}

long sys_rt_sigsuspend(struct ctx *c, struct regs *r)
{
	u64 saved;
	bool set;
	long err = with_mask(c, r->rdi, r->rsi, &saved, &set);

	if (err)
		return err;
	if (!set)
		return -EFAULT;
	/* pause() ends only by a signal. */
	return without_mask(c, saved, set,
			    host_call(__NR_pause, 0, 0, 0, 0, 0, 0));
}

long sys_rt_sigreturn(struct ctx *c, struct regs *r)
{
	(void)r;
	if (c->pending)
		return -ERESTARTNOINTR;
	host_sigreturn();
}

/* The host's alternate stack is ours; the program's is kept here. */
long sys_sigaltstack(struct ctx *c, struct regs *r)
{
	struct stack_t_ new, old = c->alt;
	bool on = on_stack(&c->alt, r->rsp);

	old.flags = !old.size ? SS_DISABLE_ : on ? SS_ONSTACK_ : 0;
	if (r->rdi) {
		if (get_user(&new, (void *)r->rdi, sizeof(new)))
			return -EFAULT;
		if (on)
			return -EPERM;
		new.flags &= ~(1 << 31);	/* SS_AUTODISARM */
		if (new.flags & ~(SS_DISABLE_ | SS_ONSTACK_) ||
		    new.flags == (SS_DISABLE_ | SS_ONSTACK_))
			return -EINVAL;
		if (new.flags & SS_DISABLE_)
			new.sp = new.size = 0;
		else if (new.size < MINSIGSTKSZ_)
			return -ENOMEM;
		c->alt = new;
	}
	if (r->rsi && put_user((void *)r->rsi, &old, sizeof(old)))
		return -EFAULT;
	return 0;
}

/* Is the host process @pid one of the instance? */
bool is_ours(int pid)
{
	const struct ukl_shared *s = ukl_head()->shared;
	int i;

	for (i = 0; i < UKL_MAX_PROCS; i++)
		if (s->proc[i].state != UKL_PROC_FREE && s->proc[i].pid == pid)
			return true;
	return false;
}

/* Nobody of the instance is killed inside the kernel. */
long sys_kill(struct ctx *c, struct regs *r)
{
	int pid = r->rdi;
	long err;

	if ((int)r->rsi != SIGKILL_)
		return pass(c, r);
	thread_of(c);
	if (pid > 0) {
		if (!is_ours(pid))
			return pass(c, r);
		if (pid != RAW0(__NR_getpid))
			return ukl_kill(c->th, pid, SIGKILL_);
	}
	/* Groups, and ourselves: hold the CPU while they fall. */
	ukl_head()->hold(c->th);
	err = RAW2(__NR_kill, pid, SIGKILL_);
	ukl_head()->release_cpu(c->th);
	return err;
}

long sys_tgkill(struct ctx *c, struct regs *r)
{
	bool tkill = r->rax == __NR_tkill;
	int sig = tkill ? r->rsi : r->rdx;
	long err;

	if (sig != SIGKILL_)
		return pass(c, r);
	thread_of(c);
	ukl_head()->hold(c->th);
	err = RAW3(r->rax, r->rdi, r->rsi, r->rdx);
	ukl_head()->release_cpu(c->th);
	return err;
}

long sys_pidfd_send_signal(struct ctx *c, struct regs *r)
{
	struct { int fd; short events, revents; } p = { r->rdi, 1, 0 };
	long err;

	if ((int)r->rsi != SIGKILL_)
		return pass(c, r);
	thread_of(c);
	ukl_head()->hold(c->th);
	err = RAW4(__NR_pidfd_send_signal, r->rdi, r->rsi, r->rdx, r->r10);
	if (!err)
		RAW3(__NR_poll, &p, 1, 1000);
	ukl_head()->release_cpu(c->th);
	return err;
}
