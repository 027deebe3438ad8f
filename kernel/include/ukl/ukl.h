/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * libukl: calling a library kernel from C.
 *
 * A process attaches once; each of its threads that calls has a record, and
 * passes it along.  Numbers, arguments and structures are x86-64 Linux's own.
 * Functions that return int or long return 0 or more, or a negative errno.
 * The library uses neither libc nor thread-local storage nor the heap.
 *
 *	struct ukl_files files;
 *	struct ukl_thread *th;
 *
 *	if (ukl_connect("/run/user/1000/ukl/web/control", &files) ||
 *	    ukl_attach(&files, &th))
 *		...
 *	fd = ukl_syscall(th, __NR_socket, AF_INET, SOCK_STREAM, 0, 0, 0, 0);
 *
 * Signal handlers that may run while their thread is inside ukl_syscall()
 * must be installed with SA_ONSTACK, call nothing of this library but
 * ukl_poke(), and return.  Each thread needs an alternate stack;
 * ukl_attach() and ukl_thread_enter() make one where there is none.
 */
#ifndef UKL_UKL_H
#define UKL_UKL_H

#include <ukl/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The descriptors through which a process reaches an instance. */
struct ukl_files {
	int memory;			/* the shared memory */
	int image;			/* the kernel's ELF file */
	int fd[UKL_MAX_FDS];		/* devices and the kick; -1: none */
};

/**
 * The name of a host socket that stands for a file under way (UKL_SYS_LEND): an
 * abstract address of AF_UNIX, sizeof(struct ukl_carrier) long.
 */
struct ukl_carrier {
	unsigned short family;
	char tag[6];
	unsigned long device, inode;	/* of the instance's memory */
	unsigned long ticket;
};

/* struct ukl_proc.flags */
#define UKL_PROC_SERVICE	1	/* of the instance, which does not live for
					 * it; so are the processes it forks */

/** The name for @ticket in the instance of @files. */
int ukl_carrier(const struct ukl_files *files, unsigned long ticket,
		struct ukl_carrier *name);

/* Control socket: SOCK_SEQPACKET, one request, one reply. */
#define UKL_CTL_HELLO	1		/* reply carries the descriptors */
#define UKL_CTL_STOP	2		/* ends the instance */

struct ukl_ctl {
	unsigned int version;		/* UKL_ABI_VERSION */
	unsigned int op;
	int error;			/* in a reply: 0 or a negative errno */
	unsigned int fds;		/* bit n: slot n follows, after
					 * memory and image */
};

/**
 * Asks the kernel host that listens at @path for the instance's descriptors,
 * which arrive close-on-exec and belong to the caller.
 * -ENOENT, -ECONNREFUSED: nobody there; -EPERM: another user's;
 * -EPROTONOSUPPORT: another version of ukl; -ETIMEDOUT: no answer for 5 s.
 */
int ukl_connect(const char *path, struct ukl_files *files);

/** Tells the kernel host at @path to end its instance; fails as above. */
int ukl_stop(const char *path);

/**
 * Maps the instance and makes the calling process one of its own, with an
 * empty descriptor table.  @files must stay open.
 * -EEXIST: the address range is in use (an instance is attached, or the
 * program's own mappings are there); -EPROTONOSUPPORT: the image has another
 * version; -ENOEXEC: not an image; -EAGAIN: the tables are full.
 */
int ukl_attach(const struct ukl_files *files, struct ukl_thread **th);

/**
 * Ends the process's part in the instance and unmaps it.  -EBUSY: other
 * threads have records still; a process that is about to exit anyway calls
 * ukl_exit().
 */
int ukl_detach(struct ukl_thread *th);

/**
 * One system call.  Returns what Linux returns; a wait that ukl_poke() ended
 * gives -EINTR.  -EOWNERDEAD: the instance has ended (ukl_last_words() says
 * why); -ESRCH: this thread's task has.
 */
long ukl_syscall(struct ukl_thread *th, long nr, long a, long b, long c,
		 long d, long e, long f);

/**
 * The same, but an interrupted call gives the kernel's -ERESTART… codes
 * (512 to 516), for callers that restart as sigaction() asks.
 */
long ukl_syscall_raw(struct ukl_thread *th, long nr, long a, long b, long c,
		     long d, long e, long f);

/**
 * ukl_syscall_raw() that waits for host descriptors too: when one of the @n
 * (at most UKL_MAX_ALSO; -E2BIG) is ready while the call blocks, the call
 * ends as if by a signal, @th->also_ready is 1 and the revents say which.
 * @also is struct pollfd's equal, and must be writable until the return.
 */
long ukl_syscall_also(struct ukl_thread *th, struct ukl_also *also,
		      unsigned int n, long nr, long a, long b, long c, long d,
		      long e, long f);

/**
 * epoll_wait() on the host, without a call, for a thread whose bell
 * (UKL_SYS_BELL) is in the set @epoll: @events has room for @n of the host's
 * struct epoll_event, and @ms is as there.  Returns as that does, at once if the
 * bell has rung and was not answered, and -EOWNERDEAD once the instance has
 * ended.
 */
long ukl_await(struct ukl_thread *th, int epoll, void *events, int n, int ms);

/**
 * For who waits otherwise: whom this thread's calls have woken, on the CPU that it
 * runs on, may be told so only with its next calls, and is told now.
 */
void ukl_wake_now(struct ukl_thread *th);

/** Whether it has rung and was not answered; th->bell then. */
unsigned int ukl_has_rung(struct ukl_thread *th);

/** After this, all that it may have rung for is to be looked at. */
void ukl_answer(struct ukl_thread *th);

/** As if it had rung: there is more to look at. */
void ukl_ring(struct ukl_thread *th);

/**
 * Between the two, calls of @th follow one another without letting others have
 * the library kernel's CPU, and nobody is woken by one before the last: for a few
 * short calls.  One that blocks ends it.
 */
void ukl_hold(struct ukl_thread *th);
void ukl_release(struct ukl_thread *th);

/** In a signal handler: ends the blocking call that @th is in, if any. */
void ukl_poke(struct ukl_thread *th);

/** Signals (bit n-1: signal n) that the kernel sent to @th; clears them. */
unsigned long ukl_signals(struct ukl_thread *th);

/**
 * Threads: the parent prepares a record, the new thread enters with it.  A
 * record that will not be entered is given to ukl_abandon().
 */
int ukl_thread_prepare(struct ukl_thread *th, struct ukl_thread **child);
int ukl_thread_enter(struct ukl_thread *th);
void ukl_thread_exit(struct ukl_thread *th);

/**
 * exit_group(): the process's files in the library kernel are closed before
 * the host process ends, and no thread of it is cut off inside the kernel.
 * Other threads' calls do not return any more, or give -ESRCH.
 */
void ukl_exit(struct ukl_thread *th, int status);

/**
 * fork(): prepare, fork, then each side says so.  @flags: CLONE_FILES and
 * CLONE_FS as for clone(2).  @pid is the host's answer; negative: it failed.
 */
int ukl_fork_prepare(struct ukl_thread *th, unsigned long flags,
		     struct ukl_thread **child);
int ukl_fork_child(struct ukl_thread *child);
int ukl_fork_parent(struct ukl_thread *th, struct ukl_thread *child, int pid);
int ukl_abandon(struct ukl_thread *th, struct ukl_thread *child);

/**
 * execve(): the new program attaches to the record of the thread that called
 * exec.  Descriptors marked close-on-exec are closed there, as by execve(2).
 * Returns 1 if others are open, 0 if none is.  The child of a fork may exec
 * before it has called ukl_fork_child(), with its record's id and
 * UKL_EXEC_FORKED for @id.
 */
#define UKL_EXEC_FORKED	0x80000000u
unsigned int ukl_exec_prepare(struct ukl_thread *th);
int ukl_exec_attach(const struct ukl_files *files, unsigned int id,
		    struct ukl_thread **th);

/** Sends @sig to the host process @pid while nobody is inside the kernel. */
int ukl_kill(struct ukl_thread *th, int pid, int sig);

/** Why the instance has ended, or an empty string. */
const char *ukl_last_words(void);

/** The attached image's head, or NULL. */
const struct ukl_image *ukl_head(void);

/** Lower level, for the kernel host. */
int ukl_map(int memory, int image, unsigned long *size);
int ukl_unmap(void);
struct ukl_proc *ukl_proc_new(const struct ukl_files *files);
long ukl_hostcall_raw(long nr, long a, long b, long c, long d, long e, long f);

#ifdef __cplusplus
}
#endif

#endif /* UKL_UKL_H */
