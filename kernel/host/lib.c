// SPDX-License-Identifier: GPL-2.0-only
/*
 * libukl: attaches a process to an instance and calls its kernel.
 *
 * Freestanding: it runs in strangers' processes, in any libc or none.
 * It keeps no state but which image is mapped; all else is in the instance's
 * shared memory.
 */
#include <ukl/ukl.h>

#include <elf.h>
#include <errno.h>
#include <linux/fcntl.h>
#include <linux/futex.h>
#include <linux/stat.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#define PAGE		4096UL
#define STACK_SIZE	(64 * 1024UL)

/* Kernel-internal results of an interrupted call. */
#define RESTART_FIRST	512
#define RESTART_LAST	516

/* How long the kernel host may take to answer. */
#define CTL_SECONDS	5

/* What rt_sigaction(2) takes. */
struct raw_action {
	void (*handler)(int, siginfo_t *, void *);
	unsigned long flags;
	void (*restorer)(void);
	unsigned long mask;
};

#ifdef UKL_SHIM
/* On the page with the rest of what the shim writes: NEAR in its shim.h. */
__attribute__((section(".data")))
#endif
static struct {
	const struct ukl_image *image;
	unsigned long size;
	struct raw_action old_segv, old_bus;
} me;

#ifndef UKL_SHIM
long ukl_hostcall_raw(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
			   "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#endif

#define host(nr, a, b, c, d, e, f)					\
	ukl_hostcall_raw(nr, (long)(a), (long)(b), (long)(c), (long)(d),	\
			 (long)(e), (long)(f))

/* ------------------------------------------------------------------ */
/* Faults in the kernel's copies of user memory.			*/

#ifdef UKL_SHIM
/* The shim makes host calls, catches faults and has signal stacks itself. */
static void catch_faults(void) { }
static void release_faults(void) { }
static int need_altstack(void) { return 0; }
#else

__asm__(".text\n"
	".type ukl_sigreturn, @function\n"
	"ukl_sigreturn:\n"
	"	mov $15, %eax\n"	/* rt_sigreturn */
	"	syscall\n");
void ukl_sigreturn(void) __attribute__((visibility("hidden")));

#define SA_RESTORER_FLAG	0x04000000UL

/* glibc's ucontext: general registers behind flags, link and stack. */
struct raw_context {
	unsigned long flags, link, stack[3];
	unsigned long gregs[23];
};
#define GREG_RIP	16

static void on_fault(int sig, siginfo_t *info, void *context)
{
	struct raw_context *uc = context;
	struct raw_action *old = sig == SIGBUS ? &me.old_bus : &me.old_segv;
	unsigned long to = 0;

	if (me.image)
		to = me.image->fixup(uc->gregs[GREG_RIP]);
	if (to) {
		uc->gregs[GREG_RIP] = to;
		return;
	}
	/* Not ours: the program's own handler, if it has one. */
	if ((unsigned long)old->handler > 1) {
		old->handler(sig, info, context);
		return;
	}
	/* Again, with the default action. */
	host(SYS_rt_sigaction, sig, old, 0, 8, 0, 0);
}

static void catch_faults(void)
{
	struct raw_action act = {
		.handler = on_fault,
		.flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER |
			 SA_RESTORER_FLAG,
		.restorer = ukl_sigreturn,
	};
	struct raw_action old;

	host(SYS_rt_sigaction, SIGSEGV, 0, &old, 8, 0, 0);
	if (old.handler == on_fault)
		return;
	host(SYS_rt_sigaction, SIGSEGV, &act, &me.old_segv, 8, 0, 0);
	host(SYS_rt_sigaction, SIGBUS, &act, &me.old_bus, 8, 0, 0);
}

static void release_faults(void)
{
	struct raw_action now;

	host(SYS_rt_sigaction, SIGSEGV, 0, &now, 8, 0, 0);
	if (now.handler == on_fault)
		host(SYS_rt_sigaction, SIGSEGV, &me.old_segv, 0, 8, 0, 0);
	host(SYS_rt_sigaction, SIGBUS, 0, &now, 8, 0, 0);
	if (now.handler == on_fault)
		host(SYS_rt_sigaction, SIGBUS, &me.old_bus, 0, 8, 0, 0);
}

/* Frames must not land on the kernel's stacks. */
static int need_altstack(void)
{
	struct {
		void *sp;
		int flags;
		size_t size;
	} now, fresh = { 0, 0, STACK_SIZE };
	long p;

	host(SYS_sigaltstack, 0, &now, 0, 0, 0, 0);
	if (!(now.flags & 2 /* SS_DISABLE */))
		return 0;
	p = host(SYS_mmap, 0, STACK_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p < 0 && p > -4096)
		return p;
	fresh.sp = (void *)p;
	return host(SYS_sigaltstack, &fresh, 0, 0, 0, 0, 0);
}

#endif

/* ------------------------------------------------------------------ */
/* Mapping.								*/

const struct ukl_image *ukl_head(void)
{
	return me.image;
}

static int bad(long p)
{
	return p < 0 && p > -4096;
}

/* Maps [@va, @va + @size) of @fd from @offset, nowhere else. */
static int map_at(unsigned long va, unsigned long size, int prot, int flags,
		  int fd, unsigned long offset)
{
	long p = host(SYS_mmap, va, size, prot,
		      flags | MAP_FIXED_NOREPLACE | MAP_NORESERVE, fd, offset);

	if (bad(p))
		return p;
	if ((unsigned long)p == va)
		return 0;
	/* Kernels before 4.17 take the address as a wish. */
	host(SYS_munmap, p, size, 0, 0, 0, 0);
	return -EEXIST;
}

int ukl_unmap(void)
{
	if (!me.image)
		return -EINVAL;
	release_faults();
	me.image = NULL;
	return host(SYS_munmap, UKL_BASE, me.size, 0, 0, 0, 0);
}

/* Is there a copy of the image's read-only part, see text.c of the host? */
static int has_text(int memory)
{
	unsigned long magic = 0;

	return host(SYS_pread64, memory, &magic, sizeof(magic), 0, 0, 0) ==
	       sizeof(magic) && magic == UKL_MAGIC;
}

/* Maps the read-only part, which is @ph's. */
static int map_text(int memory, int image, const Elf64_Phdr *ph)
{
	unsigned long size = (ph->p_memsz + PAGE - 1) & -PAGE;

	if (has_text(memory) &&
	    !map_at(UKL_BASE, size, PROT_READ | PROT_EXEC, MAP_SHARED, memory,
		    0))
		return 0;
	return map_at(UKL_BASE, size, PROT_READ | PROT_EXEC, MAP_PRIVATE,
		      image, ph->p_offset);
}

/**
 * Maps the image's read-only part, from its file or its copy, and the rest from
 * @memory.
 * @size: bytes of address space taken.
 */
int ukl_map(int memory, int image, unsigned long *size)
{
	const struct ukl_image *head = (const struct ukl_image *)UKL_BASE;
	Elf64_Phdr ph[8];
	Elf64_Ehdr eh;
	unsigned long ram;
	long err;
	int i;

	if (me.image)
		return -EEXIST;
	if (host(SYS_pread64, image, &eh, sizeof(eh), 0, 0, 0) != sizeof(eh) ||
	    *(unsigned int *)eh.e_ident != 0x464c457f ||
	    eh.e_type != ET_EXEC || eh.e_machine != EM_X86_64 ||
	    eh.e_phnum > 8 || eh.e_phentsize != sizeof(ph[0]))
		return -ENOEXEC;
	if (host(SYS_pread64, image, ph, eh.e_phnum * sizeof(ph[0]),
		 eh.e_phoff, 0, 0) != (long)(eh.e_phnum * sizeof(ph[0])))
		return -ENOEXEC;
	err = host(SYS_lseek, memory, 0, 2 /* SEEK_END */, 0, 0, 0);
	if (err < 0)
		return err;
	ram = err;

	for (i = 0; i < eh.e_phnum; i++)
		if (ph[i].p_type == PT_LOAD && ph[i].p_vaddr == UKL_BASE)
			break;
	if (i == eh.e_phnum || ph[i].p_offset % PAGE)
		return -ENOEXEC;
	err = map_text(memory, image, &ph[i]);
	if (err)
		return err;
	me.size = (ph[i].p_memsz + PAGE - 1) & -PAGE;
	err = -ENOEXEC;
	if (head->magic != UKL_MAGIC)
		goto undo;
	err = -EPROTONOSUPPORT;
	if (head->version != UKL_ABI_VERSION ||
	    head->header_size != sizeof(*head) ||
	    head->shared_size != sizeof(struct ukl_shared))
		goto undo;
	err = -ENOMEM;
	if (head->end - UKL_BASE >= ram)
		goto undo;
	err = map_at(head->data, UKL_BASE + ram - head->data,
		     PROT_READ | PROT_WRITE, MAP_SHARED, memory,
		     head->data - UKL_BASE);
	if (err)
		goto undo;
	me.size = ram;
	host(SYS_madvise, head->data, UKL_BASE + ram - head->data,
	     MADV_DONTDUMP, 0, 0, 0);
	me.image = head;
	if (size)
		*size = ram;
	catch_faults();
	return 0;
undo:
	host(SYS_munmap, UKL_BASE, me.size, 0, 0, 0, 0);
	return err;
}

/* ------------------------------------------------------------------ */
/* The control socket.							*/

static long ask(const char *path, unsigned int op, struct ukl_ctl *reply,
		int *fds, unsigned int *nfds)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct ukl_ctl req = { .version = UKL_ABI_VERSION, .op = op };
	struct iovec iov = { reply, sizeof(*reply) };
	union {
		char buf[CMSG_SPACE(sizeof(int) * (UKL_MAX_FDS + 2))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	unsigned int i;
	const struct { long sec, usec; } patience = { CTL_SECONDS, 0 };
	long s, err;

	for (i = 0; path[i]; i++) {
		if (i == sizeof(addr.sun_path) - 1)
			return -ENAMETOOLONG;
		addr.sun_path[i] = path[i];
	}
	s = host(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, 0, 0,
		 0);
	if (s < 0)
		return s;
	host(SYS_setsockopt, s, SOL_SOCKET, SO_SNDTIMEO, &patience,
	     sizeof(patience), 0);
	host(SYS_setsockopt, s, SOL_SOCKET, SO_RCVTIMEO, &patience,
	     sizeof(patience), 0);
	err = host(SYS_connect, s, &addr, sizeof(addr), 0, 0, 0);
	if (err)
		goto out;
	err = host(SYS_sendto, s, &req, sizeof(req), MSG_NOSIGNAL, 0, 0);
	if (err < 0)
		goto out;
	err = host(SYS_recvmsg, s, &msg, MSG_CMSG_CLOEXEC, 0, 0, 0);
	if (err < 0)
		goto out;
	*nfds = 0;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS) {
		*nfds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < *nfds; i++)
			fds[i] = ((int *)CMSG_DATA(c))[i];
	}
	err = err != sizeof(*reply) ? -EPROTO :
	      reply->version != UKL_ABI_VERSION ? -EPROTONOSUPPORT :
	      reply->error;
out:
	host(SYS_close, s, 0, 0, 0, 0, 0);
	return err == -EAGAIN ? -ETIMEDOUT : err;
}

int ukl_connect(const char *path, struct ukl_files *files)
{
	int fds[UKL_MAX_FDS + 2];
	struct ukl_ctl reply = { 0 };
	unsigned int n = 0, i, used = 2;
	long err = ask(path, UKL_CTL_HELLO, &reply, fds, &n);

	if (!err && n < 2)
		err = -EPROTO;
	if (err) {
		for (i = 0; i < n; i++)
			host(SYS_close, fds[i], 0, 0, 0, 0, 0);
		return err;
	}
	files->memory = fds[0];
	files->image = fds[1];
	for (i = 0; i < UKL_MAX_FDS; i++)
		files->fd[i] = (reply.fds & (1u << i)) && used < n ?
			       fds[used++] : -1;
	return 0;
}

int ukl_carrier(const struct ukl_files *files, unsigned long ticket,
		struct ukl_carrier *name)
{
	static const char tag[sizeof(name->tag)] = "\0ukl-f";
	struct statx st;
	unsigned int i;
	long err;

	err = host(SYS_statx, files->memory, "", AT_EMPTY_PATH, STATX_INO, &st,
		   0);
	if (err)
		return err;
	name->family = AF_UNIX;
	for (i = 0; i < sizeof(tag); i++)
		name->tag[i] = tag[i];
	name->device = (unsigned long)st.stx_dev_major << 32 | st.stx_dev_minor;
	name->inode = st.stx_ino;
	name->ticket = ticket;
	return 0;
}

int ukl_stop(const char *path)
{
	int fds[UKL_MAX_FDS + 2];
	struct ukl_ctl reply = { 0 };
	unsigned int n;

	return ask(path, UKL_CTL_STOP, &reply, fds, &n);
}

/* ------------------------------------------------------------------ */
/* Calls.								*/

long ukl_syscall_raw(struct ukl_thread *th, long nr, long a, long b, long c,
		     long d, long e, long f)
{
	const long args[6] = { a, b, c, d, e, f };
	long ret;

	/* A signal from here on finds the call, and ends its wait. */
	*(volatile unsigned int *)&th->in_call = 1;
	ret = me.image->syscall(th, nr, args);
	*(volatile unsigned int *)&th->in_call = 0;
	return ret;
}

long ukl_syscall(struct ukl_thread *th, long nr, long a, long b, long c,
		 long d, long e, long f)
{
	long ret = ukl_syscall_raw(th, nr, a, b, c, d, e, f);

	return ret <= -RESTART_FIRST && ret >= -RESTART_LAST ? -EINTR : ret;
}

long ukl_syscall_also(struct ukl_thread *th, struct ukl_also *also,
		      unsigned int n, long nr, long a, long b, long c, long d,
		      long e, long f)
{
	long ret;

	if (n > UKL_MAX_ALSO)
		return -E2BIG;
	th->n_also = n;
	th->also_ready = 0;
	th->also = also;
	ret = ukl_syscall_raw(th, nr, a, b, c, d, e, f);
	th->also = 0;
	return ret;
}

long ukl_await(struct ukl_thread *th, int epoll, void *events, int n, int ms)
{
	return me.image->await(th, epoll, events, n, ms);
}

void ukl_wake_now(struct ukl_thread *th)
{
	me.image->wake_now(th);
}

unsigned int ukl_has_rung(struct ukl_thread *th)
{
	return __atomic_load_n(&th->bell, __ATOMIC_SEQ_CST);
}

void ukl_answer(struct ukl_thread *th)
{
	__atomic_store_n(&th->bell, 0, __ATOMIC_SEQ_CST);
}

void ukl_ring(struct ukl_thread *th)
{
	__atomic_store_n(&th->bell, UKL_BELL_SELF, __ATOMIC_SEQ_CST);
}

void ukl_poke(struct ukl_thread *th)
{
	if (me.image && *(volatile unsigned int *)&th->in_call)
		me.image->poke(th, th);
}

unsigned long ukl_signals(struct ukl_thread *th)
{
	unsigned long s = th->signals;

	th->signals = 0;
	return s;
}

const char *ukl_last_words(void)
{
	return me.image && me.image->shared->dead ?
	       me.image->shared->last_words : "";
}

/* The kernel host watches new processes. */
static void announce(void)
{
	struct ukl_shared *s = me.image->shared;

	__atomic_fetch_add(&s->procs_word, 1, __ATOMIC_SEQ_CST);
	host(SYS_futex, &s->procs_word, FUTEX_WAKE, 1, 0, 0, 0);
}

struct ukl_proc *ukl_proc_new(const struct ukl_files *files)
{
	struct ukl_proc *proc = me.image->proc_alloc();
	int i;

	if (!proc)
		return NULL;
	proc->hostcall = ukl_hostcall_raw;
	for (i = 0; i < UKL_MAX_FDS; i++)
		proc->fd[i] = files->fd[i];
	return proc;
}

int ukl_attach(const struct ukl_files *files, struct ukl_thread **out)
{
	struct ukl_proc *proc;
	struct ukl_thread *th;
	long err = ukl_map(files->memory, files->image, NULL);
	int pid;

	if (err)
		return err;
	err = -EOWNERDEAD;
	if (me.image->shared->dead)
		goto undo;
	err = need_altstack();
	if (err)
		goto undo;
	err = -EAGAIN;
	/* From here to where the record has the pid it is nobody's: no call of
	 * the host's, in which those who are killed die. */
	pid = host(SYS_getpid, 0, 0, 0, 0, 0, 0);
	proc = ukl_proc_new(files);
	if (!proc)
		goto undo;
	proc->pid = pid;
	th = me.image->thread_alloc(proc);
	if (!th) {
		proc->pid = 0;
		proc->state = UKL_PROC_FREE;
		goto undo;
	}
	th->tid = host(SYS_gettid, 0, 0, 0, 0, 0, 0);
	announce();
	err = me.image->join(th);
	if (!err) {
		*out = th;
		return 0;
	}
	proc->pid = 0;
	me.image->thread_free(th);
undo:
	ukl_unmap();
	return err;
}

int ukl_detach(struct ukl_thread *th)
{
	struct ukl_proc *proc = th->proc;

	/* They would come back to code that is no longer there. */
	if (__atomic_load_n(&proc->threads, __ATOMIC_SEQ_CST) != 1)
		return -EBUSY;
	ukl_syscall(th, SYS_exit_group, 0, 0, 0, 0, 0, 0);
	/* Free with its last record; the kernel host forgets it then. */
	proc->pid = 0;
	me.image->thread_free(th);
	announce();
	return ukl_unmap();
}

/* ------------------------------------------------------------------ */
/* Threads, fork, exec.							*/

int ukl_thread_prepare(struct ukl_thread *th, struct ukl_thread **child)
{
	struct ukl_thread *new = me.image->thread_alloc(th->proc);
	long err;

	if (!new)
		return -EAGAIN;
	err = ukl_syscall(th, UKL_SYS_THREAD, (long)new, 0, 0, 0, 0, 0);
	if (err < 0) {
		me.image->thread_free(new);
		return err;
	}
	*child = new;
	return 0;
}

int ukl_thread_enter(struct ukl_thread *th)
{
	th->tid = host(SYS_gettid, 0, 0, 0, 0, 0, 0);
	return need_altstack();
}

void ukl_hold(struct ukl_thread *th)
{
	me.image->hold(th);
}

void ukl_release(struct ukl_thread *th)
{
	me.image->release_cpu(th);
}

void ukl_thread_exit(struct ukl_thread *th)
{
	ukl_syscall(th, SYS_exit, 0, 0, 0, 0, 0, 0);
	me.image->thread_free(th);
}

void ukl_exit(struct ukl_thread *th, int status)
{
	ukl_syscall(th, UKL_SYS_EXIT, 0, 0, 0, 0, 0, 0);
	/* With the CPU: no thread of this process is inside the kernel. */
	ukl_hold(th);
	for (;;)
		host(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

int ukl_fork_prepare(struct ukl_thread *th, unsigned long flags,
		     struct ukl_thread **child)
{
	struct ukl_files files;
	struct ukl_proc *proc;
	struct ukl_thread *new;
	long err;
	int i;

	for (i = 0; i < UKL_MAX_FDS; i++)
		files.fd[i] = th->proc->fd[i];
	proc = ukl_proc_new(&files);
	if (!proc)
		return -EAGAIN;
	proc->hostcall = th->proc->hostcall;
	proc->parent_pid = th->proc->pid;
	proc->parent = th->proc;
	proc->flags = th->proc->flags & UKL_PROC_SERVICE;
	new = me.image->thread_alloc(proc);
	if (!new) {
		proc->state = UKL_PROC_FREE;
		return -EAGAIN;
	}
	th->forked = proc;
	th->forked_life = proc->life;
	err = ukl_syscall(th, UKL_SYS_FORK, (long)new, flags, 0, 0, 0, 0);
	if (err < 0) {
		me.image->thread_free(new);
		return err;
	}
	*child = new;
	return 0;
}

int ukl_fork_child(struct ukl_thread *child)
{
	int pid = host(SYS_getpid, 0, 0, 0, 0, 0, 0);

	child->tid = pid;
	child->proc->pid = pid;
	announce();
	return 0;
}

int ukl_fork_parent(struct ukl_thread *th, struct ukl_thread *child, int pid)
{
	unsigned long fresh = (unsigned long)th->forked_life << 32;

	if (pid < 0)
		return ukl_abandon(th, child);
	/* The child may have said so itself, and have gone by now. */
	if (__atomic_compare_exchange_n(&th->forked->pid_life, &fresh,
					fresh | (unsigned int)pid, 0,
					__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		announce();
	return 0;
}

int ukl_abandon(struct ukl_thread *th, struct ukl_thread *child)
{
	return ukl_syscall(th, UKL_SYS_ABANDON, (long)child, 0, 0, 0, 0, 0);
}

unsigned int ukl_exec_prepare(struct ukl_thread *th)
{
	return th->id;
}

int ukl_exec_attach(const struct ukl_files *files, unsigned int id,
		    struct ukl_thread **out)
{
	unsigned int forked = id & UKL_EXEC_FORKED;
	struct ukl_thread *th;
	long err = ukl_map(files->memory, files->image, NULL);
	int i;

	if (err)
		return err;
	err = -EINVAL;
	id &= ~UKL_EXEC_FORKED;
	if (!id || id > UKL_MAX_THREADS)
		goto undo;
	th = &me.image->shared->thread[id - 1];
	err = -ESRCH;
	if (th->state != UKL_TH_LIVE)
		goto undo;
	/* The parent may not have come to saying who this is. */
	if (forked)
		ukl_fork_child(th);
	else if (th->proc->pid != host(SYS_getpid, 0, 0, 0, 0, 0, 0))
		goto undo;
	err = need_altstack();
	if (err)
		goto undo;
	th->tid = host(SYS_gettid, 0, 0, 0, 0, 0, 0);
	th->in_call = 0;
	th->proc->hostcall = ukl_hostcall_raw;
	for (i = 0; i < UKL_MAX_FDS; i++)
		th->proc->fd[i] = files->fd[i];
	err = ukl_syscall(th, UKL_SYS_EXEC, 0, 0, 0, 0, 0, 0);
	if (err < 0)
		goto undo;
	*out = th;
	return err;
undo:
	ukl_unmap();
	return err;
}

int ukl_kill(struct ukl_thread *th, int pid, int sig)
{
	struct { int fd; short events, revents; } pfd = { -1, 1, 0 };
	long err;

	if (sig == SIGKILL)
		pfd.fd = host(SYS_pidfd_open, pid, 0, 0, 0, 0, 0);
	ukl_hold(th);
	err = host(SYS_kill, pid, sig, 0, 0, 0, 0);
	/* Until it is dead it might still take the CPU from us. */
	if (!err && pfd.fd >= 0)
		host(SYS_poll, &pfd, 1, 1000, 0, 0, 0);
	ukl_release(th);
	if (pfd.fd >= 0)
		host(SYS_close, pfd.fd, 0, 0, 0, 0, 0);
	return err;
}
