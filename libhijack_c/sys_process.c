// SPDX-License-Identifier: GPL-2.0-only
/*
 * Processes and threads: the host's call paired with the library kernel's.
 *
 * Signals are blocked from before the host's call until the child has a
 * context, a stack for signals and the trap of its own.  A child that shares
 * our memory (a thread, vfork, posix_spawn) starts on a context that we have
 * prepared; one with its own memory just returns from the call.
 */
#include "fd.h"

#include <linux/prctl.h>
#include <linux/sched.h>

#define ARCH_SET_GS	0x1001
#define PR_SET_SYSCALL_USER_DISPATCH 59

static void own_context_only(struct ctx *c)
{
	struct ctx *other;

	for (other = me.all; other; other = other->next)
		if (other != c)
			other->state = CTX_FREE;
	me.threads = 0;
	rewrite_after_fork();
	report_after_fork();
}

/* The first code of a child on the context that its parent made for it. */
void clone_child(struct ctx *c)
{
	ctx_install(c);
	if (c->vfork_child || c->new_process)
		ukl_fork_child(c->th);
	else
		ukl_thread_enter(c->th);
	arm();
	set_mask(c->mask_tmp);
}

static void sig_put(struct ctx *c)
{
	if (c->sig == sig_beside(c))
		c->sig->used = 0;
	else
		unmap_memory(c->sig, sizeof(*c->sig));
}

static void drop_child(struct ctx *child, bool sig, bool files)
{
	if (sig)
		sig_put(child);
	if (files)
		files_put(child->files);
	if (child->io)
		unmap_memory(child->io, IO_SIZE);
	if (child->scratch)
		unmap_memory(child->scratch, child->scratch_size);
	if (child->arguments)
		unmap_memory(child->arguments, child->arguments_size);
	__atomic_store_n(&child->state, CTX_FREE, __ATOMIC_RELEASE);
}

static struct ctx *make_child(struct ctx *c, u64 flags, u64 sp)
{
	bool own_sig = !(flags & CLONE_SIGHAND);
	bool own_files = !(flags & CLONE_FILES);
	struct ctx *child = ctx_new();
	int i;

	if (!child)
		return NULL;
	child->r = c->r;
	child->r.rax = 0;
	if (sp)
		child->r.rsp = sp;
	child->virt_mask = c->virt_mask;
	child->confined = c->confined;
	child->filter = c->filter;
	child->nr = c->nr;
	child->vfork_child = !!(flags & CLONE_VFORK);
	child->new_process = !(flags & CLONE_THREAD);
	if (!(flags & CLONE_THREAD))
		child->alt = c->alt;
	child->sig = c->sig;
	child->files = c->files;
	if (own_sig) {
		if (flags & CLONE_VFORK)
			know_all(c->sig);
		/* Threads may still use what was this context's once. */
		child->sig = sig_beside(child)->used ?
			     map_memory(sizeof(*child->sig)) : sig_beside(child);
		if (!child->sig)
			goto out;
		memcpy(child->sig, c->sig, sizeof(*c->sig));
		child->sig->lock = 0;
		child->sig->used = 1;
		if (flags & CLONE_CLEAR_SIGHAND)
			for (i = 0; i < 64; i++)
				if (child->sig->act[i].handler > 1)
					child->sig->act[i].handler = 0;
	}
	if (own_files) {
		child->files = files_copy(c->files);
		if (!child->files) {
			if (own_sig)
				sig_put(child);
			goto out;
		}
	} else {
		__atomic_fetch_add(&c->files->refs, 1, __ATOMIC_RELAXED);
	}
	return child;
out:
	child->state = CTX_FREE;
	return NULL;
}

/*
 * @flags as clone3's, without the exit signal; @sp: the child's stack, or 0;
 * @nr and @args: the host's call.
 */
static long engine(struct ctx *c, u64 flags, u64 sp, long nr, long *args)
{
	bool vm = flags & CLONE_VM, thread = flags & CLONE_THREAD;
	u64 lib_flags = flags & (CLONE_FILES | CLONE_FS | CLONE_NEWNET);
	struct ukl_thread *record;
	struct ctx *child = NULL;
	u64 mask;
	long pid, err;
	u32 id;

	mask = block_all();
	err = -ERESTARTNOINTR;
	if (c->pending)
		goto out;
	if (vm) {
		err = -EAGAIN;
		child = make_child(c, flags, sp);
		if (!child)
			goto out;
		child->mask_tmp = mask;
	}
	err = thread ? ukl_thread_prepare(thread_of(c), &record) :
	      ukl_fork_prepare(thread_of(c), lib_flags, &record);
	if (err) {
		err = -EAGAIN;
		goto drop;
	}
	if (vm) {
		child->th = record;
		if (thread)
			me.threads = 1;
	}
	id = record->id;
	pid = host_clone(child, nr, args);
	if (!pid) {
		/* The child, in memory of its own. */
		c->tid = RAW0(__NR_gettid);
		own_context_only(c);
		c->th = NULL;
		me.forked = record;
		me.late = id | UKL_EXEC_FORKED;
		if (has_lib_files(c))
			thread_of(c);
		if (sp)
			c->r.rsp = sp;
		if (flags & CLONE_CLEAR_SIGHAND) {
			int i;

			for (i = 0; i < 64; i++)
				if (c->sig->act[i].handler > 1)
					c->sig->act[i].handler = 0;
			install(SIGSEGV_);
			install(SIGBUS_);
			install(SIGSYS_);
		}
		c->sig->lock = 0;
		arm();
		set_mask(mask);
		return 0;
	}
	err = pid;
	if (is_err(pid)) {
		ukl_abandon(c->th, record);
		goto drop;
	}
	if (!vm)
		ukl_fork_parent(c->th, record, pid);
	if (vm && (flags & CLONE_VFORK)) {
		/* It has gone: nobody else frees what it used. */
		err = pid;
		goto drop;
	}
	goto out;
drop:
	if (child)
		drop_child(child, !(flags & CLONE_SIGHAND), true);
out:
	set_mask(mask);
	return err;
}

long sys_fork(struct ctx *c, struct regs *r)
{
	long args[6] = { 0 };

	(void)r;
	return engine(c, 0, 0, __NR_fork, args);
}

long sys_vfork(struct ctx *c, struct regs *r)
{
	/* With clone the child's stack can be ours for a moment. */
	long args[6] = { CLONE_VM | CLONE_VFORK | 17 /* SIGCHLD */ };

	(void)r;
	return engine(c, CLONE_VM | CLONE_VFORK, 0, __NR_clone, args);
}

/* Flags that neither kernel lets pass as they are. */
static long check_flags(struct ctx *c, u64 flags)
{
	/* A child without our table but with our memory we cannot follow. */
	if ((flags & CLONE_THREAD) && !(flags & CLONE_FILES))
		return refused(c, -EINVAL);
	return 0;
}

long sys_clone(struct ctx *c, struct regs *r)
{
	long args[6] = { r->rdi, r->rsi, r->rdx, r->r10, r->r8 };
	u64 flags = r->rdi & 0xffffff00UL;
	long err = check_flags(c, flags);

	/* A network namespace is one of the library kernel's. */
	args[0] &= ~(long)CLONE_NEWNET;

	if (err)
		return err;
	if (!(flags & CLONE_VM))
		args[1] = 0;
	/* The host's child starts with its stack, and leaves it at once. */
	return engine(c, flags, r->rsi, __NR_clone, args);
}

long sys_clone3(struct ctx *c, struct regs *r)
{
	union {
		struct clone_args a;
		char bytes[256];
	} u = { 0 };
	long args[6] = { (long)&u, r->rsi };
	u64 sp = 0, flags;
	long err;

	if (r->rsi < CLONE_ARGS_SIZE_VER0 || r->rsi > sizeof(u))
		return pass(c, r);	/* fails */
	if (get_user(&u, (void *)r->rdi, r->rsi))
		return -EFAULT;
	if ((u.a.flags & CLONE_THREAD) && (u.a.flags & 0x7f))
		return -EINVAL;
	err = check_flags(c, u.a.flags);
	if (err)
		return err;
	if (u.a.stack)
		sp = u.a.stack + u.a.stack_size;
	if (!(u.a.flags & CLONE_VM))
		u.a.stack = u.a.stack_size = 0;
	flags = u.a.flags;
	u.a.flags &= ~(u64)CLONE_NEWNET;
	return engine(c, flags, sp, __NR_clone3, args);
}

/* ------------------------------------------------------------------ */
/* The end.								*/

/*
 * The whole process.  What a parent that waits may look for is that our files
 * are closed, and that nobody dies inside the library kernel; where there is
 * neither, the kernel host finds out by itself that we are gone.
 */
static void __attribute__((noreturn)) end(struct ctx *c, long status)
{
	report_end();
	if (c->th && (c->th->proc->threads > 1 || has_lib_files(c)))
		ukl_exit(c->th, status);
	for (;;)
		RAW1(__NR_exit_group, status);
}

long sys_exit(struct ctx *c, struct regs *r)
{
	long status = r->rdi;
	bool keep = c->vfork_child;

	if (c->pending)
		return -ERESTARTNOINTR;
	block_all();
	/* The last one takes the process along. */
	if (!c->th ||
	    __atomic_load_n(&c->th->proc->threads, __ATOMIC_SEQ_CST) == 1)
		end(c, status);
	ukl_thread_exit(c->th);
	if (!keep) {
		if (c->io)
			unmap_memory(c->io, IO_SIZE);
		files_put(c->files);
	}
	host_exit(__NR_exit, status, &c->state, keep ? CTX_USED : CTX_FREE);
}

long sys_exit_group(struct ctx *c, struct regs *r)
{
	if (c->pending)
		return -ERESTARTNOINTR;
	block_all();
	end(c, r->rdi);
}

/* ------------------------------------------------------------------ */

long sys_arch_prctl(struct ctx *c, struct regs *r)
{
	/* The context is there. */
	if (r->rdi == ARCH_SET_GS)
		return refused(c, -EPERM);
	if (r->rdi == 0x1004 /* ARCH_GET_GS */) {
		u64 zero = 0;

		return put_user((void *)r->rsi, &zero, 8);
	}
	return pass(c, r);
}

long sys_prctl(struct ctx *c, struct regs *r)
{
	if (r->rdi == PR_SET_SYSCALL_USER_DISPATCH)
		return refused(c, -EINVAL);
	if (r->rdi == PR_GET_SECCOMP || r->rdi == PR_SET_SECCOMP)
		return prctl_seccomp(c, r);
	return pass(c, r);
}
