/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the shim share.
 *
 * The core runs in strangers' processes: it uses no libc, no thread-local
 * storage, no vector register, and never the program's stack.  Only the stub
 * page makes host system calls.
 */
#ifndef UKL_SHIM_H
#define UKL_SHIM_H

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <asm/unistd.h>
#include <ukl/ukl.h>

#include "layout.h"

#pragma GCC visibility push(hidden)

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)

#define PAGE		4096UL

/* Results that never reach the program. */
#define ERESTARTSYS		512
#define ERESTARTNOINTR		513
#define ERESTARTNOHAND		514
#define ERESTART_RESTARTBLOCK	516

/*
 * In the first page of what is written: a fault for each page is much of what a
 * fork and an exec cost.
 */
#define NEAR		__attribute__((section(".data")))

/* The program's registers at the call; rcx is where it goes on, r11 flags. */
struct regs {
	u64 rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
	u64 r8, r9, r10, r11, r12, r13, r14, r15;
};

/* What rt_sigaction(2) takes. */
struct action {
	u64 handler;
	u64 flags;
	u64 restorer;
	u64 mask;
};

/* The program's view of its signals; shared by threads, copied by fork. */
struct sighand {
	u32 lock;
	u32 used;		/* see sig_beside() */
	u64 known;		/* bit n-1: act[n-1] is what the program has */
	struct action act[64];
};

/* What stands behind a descriptor. */
#define K_HOST		0
#define K_LIB		1	/* the library kernel's file of that number */
#define K_EPOLL		2	/* both: an epoll of the host's and its own */
#define K_HIDDEN	3	/* ours */

#define MAX_FD		(1 << 20)
#define MAX_AUXV	64	/* the host's has some 25 */

struct files {
	u32 refs;
	u32 top;		/* no entry from here on is set */
	u8 *kind;		/* [MAX_FD] */
	u16 *note;		/* [MAX_FD]: of an epoll, a place in me.ep_shared */
};

#define FILES_SIZE	(sizeof(struct files) + 3 * MAX_FD)

/* The note of a file of the library kernel. */
#define NOTE_ROUTE	1	/* a socket of NETLINK_ROUTE */

struct stack_t_ {
	u64 sp;
	int flags;
	u64 size;
};

#define IO_SIZE		(256 * 1024UL)

struct raw_info {
	int signo, error, code, pad;
	u64 addr;
	int nr;
	u32 arch;
	char rest[96];
};

struct filter;

/* ctx.state */
#define CTX_FREE	0
#define CTX_USED	1

/* A thread. */
struct ctx {
	struct ctx *self;
	u32 in;			/* in the core: signals wait */
	u32 pending;		/* some wait */
	u64 top;		/* of the core's stack */
	struct regs r;
	u32 fsgsbase;
	u32 state;

	struct ukl_thread *th;
	struct sighand *sig;
	struct files *files;
	struct ctx *next;	/* all of the process */
	u64 nr;			/* the call's number, rax at entry */
	u64 deferred;		/* signals blocked on the host only for us */
	u64 waiting;		/* signals that came while in the core */
	u64 held;		/* of VIRTUAL_MASK: not queued on the host */
	u64 temp_mask;		/* of a call with a mask … */
	u32 temp_mask_set;	/* … that a signal ended */
	u32 entered;		/* a network namespace, by setns */
	u64 mask_tmp;		/* for sig_enter */
	u64 restore_mask;	/* to put in the next signal frame … */
	u32 restore_mask_set;	/* … if set */
	u32 vfork_child;
	u32 new_process;	/* not a thread */
	u64 virt_mask;		/* SIGSEGV, SIGBUS, SIGSYS: what it blocks */
	struct stack_t_ alt;	/* the program's alternate stack */
	u64 site;		/* restart address; 0: rcx - 2 */
	void *scratch;		/* exec's, freed by a vfork parent */
	u64 scratch_size;
	void *arguments;	/* the same */
	u64 arguments_size;
	u64 ticks;
	void *io;		/* IO_SIZE bytes, once needed */
	u32 tid;
	u32 traps;
	u32 lib_used;		/* the library kernel was asked */
	u32 refused;		/* by us; for the report */
	u32 confined;		/* SECCOMP_MODE_… */
	struct filter *filter;	/* the newest */
	struct raw_info sys_info; /* of the SIGSYS that one wants … */
	u32 sys_info_set;	/* … if set */
};

/* The place for handlers on a context's own page, which is never unmapped. */
static inline struct sighand *sig_beside(struct ctx *c)
{
	return (struct sighand *)(c + 1);
}

_Static_assert(offsetof(struct ctx, in) == CTX_IN, "layout");
_Static_assert(offsetof(struct ctx, pending) == CTX_PENDING, "layout");
_Static_assert(offsetof(struct ctx, top) == CTX_TOP, "layout");
_Static_assert(offsetof(struct ctx, r.rax) == CTX_RAX, "layout");
_Static_assert(offsetof(struct ctx, r.r15) == CTX_R15, "layout");
_Static_assert(offsetof(struct ctx, fsgsbase) == CTX_FSGSBASE, "layout");
_Static_assert(offsetof(struct ctx, state) == CTX_STATE, "layout");

/* The process: what stays the same in it and travels over fork. */
struct process {
	struct ctx *all;		/* list of contexts, never shortened */
	struct ukl_files kernel;	/* the instance's descriptors */
	int anchor;			/* what placeholders are copies of */
	int shim_fd;			/* our own file … */
	long uid, gid;			/* … whose path these may read */
	u32 fsgsbase;
	char instance[256];		/* its directory */
	char shim[512];			/* our own path, for LD_PRELOAD */
	char trace[256];		/* what UKL_TRACE said */
	char report[32];		/* what UKL_REPORT said … */
	int report_fd, report_socket;	/* … which are hidden */
	u32 watched;			/* WATCH_*: who looks at each call */
	char rewrite[8];		/* UKL_REWRITE: now, off, or nothing */
	char via[8];			/* UKL_VIA: loader, or nothing */
	bool service;			/* UKL_SERVICE: see UKL_PROC_SERVICE */
	int exe_fd;			/* the program's file, if loaded by us */
	u32 late;			/* its thread's record, see thread_of() … */
	struct ukl_thread *forked;	/* … and where that is, if mapped */
	u8 *ep_shared;			/* see sys_epoll.c */
	u32 threads;			/* that the process has */
};
extern struct process me;

#define WATCH_TRACE	1
#define WATCH_REPORT	2

static inline struct ctx *self(void)
{
	struct ctx *c;

	__asm__ volatile("mov %%gs:0, %0" : "=r"(c));
	return c;
}

/* entry_stub.S */
long ukl_hostcall_raw(long nr, long a, long b, long c, long d, long e,
		      long f);
long host_call(long nr, long a, long b, long c, long d, long e, long f);
long host_clone(struct ctx *child, long nr, const long *args);
void __attribute__((noreturn)) host_exit(long nr, long status, u32 *word,
					 u32 value);
void __attribute__((noreturn)) host_sigreturn(void);
void __attribute__((noreturn)) sig_enter(u64 handler, long sig, void *info,
					 void *uc, u64 sp, u64 *mask);
extern char stub_start[], stub_end[], stub_restorer[];
extern char host_call_check[], host_call_insn[], host_call_abort[];
extern char ukl_entry[], ukl_entry_in[], ukl_leave[], ukl_leave_end[];
extern char ukl_deliver[], ukl_deliver_trap[];
extern char copy_user_insn[], copy_user_fault[];
long copy_user(void *to, const void *from, u64 n);
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);

#define RAW0(nr)	ukl_hostcall_raw(nr, 0, 0, 0, 0, 0, 0)
#define RAW1(nr, a)	ukl_hostcall_raw(nr, (long)(a), 0, 0, 0, 0, 0)
#define RAW2(nr, a, b)							\
	ukl_hostcall_raw(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define RAW3(nr, a, b, c)						\
	ukl_hostcall_raw(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define RAW4(nr, a, b, c, d)						\
	ukl_hostcall_raw(nr, (long)(a), (long)(b), (long)(c), (long)(d), \
			 0, 0)
#define RAW5(nr, a, b, c, d, e)						\
	ukl_hostcall_raw(nr, (long)(a), (long)(b), (long)(c), (long)(d), \
			 (long)(e), 0)
#define RAW6(nr, a, b, c, d, e, f)					\
	ukl_hostcall_raw(nr, (long)(a), (long)(b), (long)(c), (long)(d), \
			 (long)(e), (long)(f))

static inline bool is_err(long v)
{
	return v < 0 && v > -4096;
}

/* host.c: memory, text, messages. */
void *map_memory(u64 size);
void unmap_memory(void *p, u64 size);
u64 str_len(const char *s);
bool str_eq(const char *a, const char *b);
bool str_starts(const char *s, const char *prefix);
char *str_put(char *to, char *end, const char *s);
char *num_put(char *to, char *end, u64 n);
u64 num_parse(const char *s);
char *bytes_put(char *to, char *end, const void *data, u64 size);
bool bytes_parse(void *data, u64 size, const char *s);
void say(const char *a, const char *b, const char *c);
void __attribute__((noreturn)) give_up(const char *a, const char *b,
				       const char *c);
static inline long get_user(void *to, const void *from, u64 n)
{
	return copy_user(to, from, n);
}
static inline long put_user(void *to, const void *from, u64 n)
{
	return copy_user(to, from, n);
}
/* Length of a program's string up to @max; -EFAULT, -ENAMETOOLONG. */
long get_user_string(char *to, const char *from, u64 max);
void lock_word(u32 *word);
void unlock_word(u32 *word);

/* kernel.c: calls of the library kernel. */
long lib_call(struct ctx *c, long nr, long a, long b, long c_, long d, long e,
	      long f);
long lib_raw(struct ctx *c, long nr, long a, long b, long c_, long d, long e,
	     long f);
void *lib_block(struct ctx *c, u64 *n);
long lib_call_also(struct ctx *c, struct ukl_also *also, unsigned int n,
		   long nr, long a, long b, long c_, long d, long e, long f);
#define LIB1(c, nr, a)	lib_raw(c, nr, (long)(a), 0, 0, 0, 0, 0)
#define LIB2(c, nr, a, b) lib_raw(c, nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define LIB3(c, nr, a, b, d)						\
	lib_raw(c, nr, (long)(a), (long)(b), (long)(d), 0, 0, 0)
#define LIB4(c, nr, a, b, d, e)						\
	lib_raw(c, nr, (long)(a), (long)(b), (long)(d), (long)(e), 0, 0)

/* dispatch.c */
typedef long (*sys_fn)(struct ctx *c, struct regs *r);
void dispatch(struct ctx *c);
long pass(struct ctx *c, struct regs *r);
long pass_lib(struct ctx *c, struct regs *r);

/* entry_trap.c */
void arm(void);
void catch_traps(void);

/* trace.c */
void trace_start(struct ctx *c);
void trace_call(struct ctx *c, u64 nr, const u64 *a, const long *ret);

/* report.c */
void report_start(struct ctx *c);
void report_call(struct ctx *c, u64 nr, long ret);
void report_error(struct ctx *c, u64 nr, long ret);
void report_trap(u64 site, u64 nr);
void report_after_fork(void);
void report_end(void);

/* What neither kernel was asked. */
static inline long refused(struct ctx *c, long err)
{
	c->refused = 1;
	return err;
}

/* rewrite.c */
void rewrite(u64 site, u64 nr);
void rewrite_after_fork(void);
u64 slot_to_site(u64 ip);

/* attach.c */
struct words {
	const char *state;	/* UKL_STATE */
	const char *shim;	/* UKL_SHIM: our path, with that */
	const char *program;	/* UKL_PROGRAM: what to load, as it was named */
	const char *image;	/* UKL_IMAGE: where it is, if elsewhere */
};
struct state;
struct ctx *ctx_new(void);
struct files *files_first(void);
bool is_files_first(const struct files *f);
void ctx_install(struct ctx *c);
struct ctx *join(char **env, struct words *w, struct state *s, u64 *mask);
void attach_late(struct ctx *c);

/*
 * The record through which this thread calls the library kernel.  Most programs
 * that others execute never do, nor do the children that execute them, and a page
 * of the library kernel's that nobody touches costs nothing: after exec, and
 * after a fork without files of the instance, a process attaches when it first
 * calls.
 */
static inline struct ukl_thread *thread_of(struct ctx *c)
{
	if (unlikely(!c->th))
		attach_late(c);
	return c->th;
}

/* entry_loader.c */
extern u64 loaded_auxv[2 * MAX_AUXV];
extern u64 loaded_auxv_size;

/* sys_signal.c */
#define SIG_BIT(n)	(1UL << ((n) - 1))
#define SIGILL_		4
#define SIGBUS_		7
#define SIGKILL_	9
#define SIGSEGV_	11
#define SIGPIPE_	13
#define SIGSYS_		31
#define VIRTUAL_MASK	(SIG_BIT(SIGSEGV_) | SIG_BIT(SIGBUS_) | \
			 SIG_BIT(SIGSYS_))
void on_signal(int sig, void *info, void *context);
void install(int sig);
struct sighand;
void know_all(struct sighand *s);
u64 block_all(void);
void set_mask(u64 mask);
long with_mask(struct ctx *c, u64 user_mask, u64 size, u64 *saved, bool *set);
long without_mask(struct ctx *c, u64 saved, bool set, long ret);
bool wants_restart(struct ctx *c);
long sys_rt_sigaction(struct ctx *c, struct regs *r);
long sys_rt_sigprocmask(struct ctx *c, struct regs *r);
long sys_rt_sigpending(struct ctx *c, struct regs *r);
long sys_rt_sigsuspend(struct ctx *c, struct regs *r);
long sys_rt_sigreturn(struct ctx *c, struct regs *r);
long sys_sigaltstack(struct ctx *c, struct regs *r);
bool is_ours(int pid);
long sys_kill(struct ctx *c, struct regs *r);
long sys_tgkill(struct ctx *c, struct regs *r);
long sys_pidfd_send_signal(struct ctx *c, struct regs *r);

/* sys_process.c */
void clone_child(struct ctx *c);
long sys_fork(struct ctx *c, struct regs *r);
long sys_vfork(struct ctx *c, struct regs *r);
long sys_clone(struct ctx *c, struct regs *r);
long sys_clone3(struct ctx *c, struct regs *r);
long sys_exit(struct ctx *c, struct regs *r);
long sys_exit_group(struct ctx *c, struct regs *r);
long sys_arch_prctl(struct ctx *c, struct regs *r);
long sys_prctl(struct ctx *c, struct regs *r);

/* sys_seccomp.c */
bool seccomp_allows(struct ctx *c, struct regs *r);
long sys_seccomp(struct ctx *c, struct regs *r);
long prctl_seccomp(struct ctx *c, struct regs *r);
void filters_write(struct ctx *c, int fd);
void filters_read(struct ctx *c, int fd);

/* sys_exec.c */
long sys_execve(struct ctx *c, struct regs *r);
long sys_execveat(struct ctx *c, struct regs *r);

/* program.c: what a program's file says. */
struct program {
	int fd;
	Elf64_Ehdr eh;
	Elf64_Phdr *ph;		/* eh.e_phnum of them */
	char interp[4096];	/* empty: none */
	union {			/* as the file begins: mostly it has all that */
		Elf64_Ehdr align;
		char text[1024];
	} head;
	u64 head_size;
};
long program_read(struct program *p, int fd);
void program_drop(struct program *p);
long program_open_interp(struct program *p, struct program *interp);
bool program_wants_loader(struct program *p);

/* What exec passes on in UKL_STATE: what the new program finds. */
#define STATE_MAGIC	0x31304c4b55UL
struct state {
	u64 magic;
	u32 id;			/* of the thread record */
	u32 idle;		/* the library kernel has nothing to do for it */
	int anchor;
	int shim_fd;
	long uid, gid;
	struct ukl_files files;
	int filters;		/* a memfd with the program's, or -1 */
	int program;		/* for the loader door; 0: none */
	char name[16];		/* the thread's, if not as the path ends */
};

#pragma GCC visibility pop

#endif
