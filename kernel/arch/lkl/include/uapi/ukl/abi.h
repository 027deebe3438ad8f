/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * What the library kernel's image and the code that maps it agree on.
 *
 * The image is a static ELF file linked at UKL_BASE.  Every process of an
 * instance maps it there: text and read-only data privately from the file,
 * everything behind UKL_IMAGE_DATA from one shared memfd.  The file starts
 * with a struct ukl_image, whose functions are called on the caller's own
 * stack and return 0 or more, or a negative errno.
 *
 * Included by the kernel, by libukl and by programs: C only, no other header.
 */
#ifndef _UAPI_UKL_ABI_H
#define _UAPI_UKL_ABI_H

/** Raised with every change of a structure or function below. */
#define UKL_ABI_VERSION		10

#define UKL_MAGIC		0x4c454e52454b4c55UL	/* "UKLKERNEL" */
#define UKL_BASE		0x200000000000UL

#define UKL_MAX_THREADS		4095
#define UKL_MAX_PROCS		1024
#define UKL_MAX_DEVS		8

/* Descriptors that each process of an instance keeps for the kernel. */
#define UKL_FD_KICK		(UKL_MAX_DEVS + 0) /* eventfd: the leader */
#define UKL_FD_IO		(UKL_MAX_DEVS + 1) /* eventfd: device thread */
#define UKL_FD_CAPTURE		(UKL_MAX_DEVS + 2) /* pcapng file */
#define UKL_FD_PING4		(UKL_MAX_DEVS + 3) /* ping sockets … */
#define UKL_FD_PING6		(UKL_MAX_DEVS + 4) /* … to near hosts */
#define UKL_FD_WAIT		(UKL_MAX_DEVS + 5) /* eventfds: see also */
#define UKL_MAX_WAITS		16
#define UKL_MAX_FDS		(UKL_FD_WAIT + UKL_MAX_WAITS)

/* struct ukl_thread.state */
#define UKL_TH_FREE		0
#define UKL_TH_NEW		1	/* has no task yet */
#define UKL_TH_LIVE		2	/* has a task */
#define UKL_TH_DEAD		3	/* its task has ended */
#define UKL_TH_SERVICE		4	/* never has one: timer, device, … */

/* struct ukl_thread.wake: a futex word */
#define UKL_WAKE_RUN		1	/* the CPU has been handed to you */
#define UKL_WAKE_CHANGED	2	/* look at your state again */
#define UKL_WAKE_SLEEPING	4	/* set by the sleeper: on the futex */
#define UKL_WAKE_LEADING	8	/* set by the sleeper: in ppoll() */
#define UKL_WAKE_NUDGE		16	/* your task can run: come and ask */
#define UKL_WAKE_POLLING	32	/* set by the sleeper: in ppoll(), or in
					 * epoll_wait(), with a slot of its
					 * own to be rung by */

struct ukl_proc;

/* A host descriptor to wait for beside a call: struct pollfd. */
struct ukl_also {
	int			fd;
	short			events, revents;
};

#define UKL_MAX_ALSO		16

#define UKL_BELL_SELF		0xffffffffu

/**
 * A host thread that may run kernel code.  In shared memory; its address is
 * the same in every process.
 */
struct ukl_thread {
	unsigned int		wake;
	unsigned int		state;
	unsigned int		id;		/* 1 … UKL_MAX_THREADS */
	unsigned int		in_kernel;	/* running on a kernel stack */
	unsigned int		in_call;	/* inside ukl_syscall() */
	unsigned int		poked;
	int			tid;		/* host's */
	int			ktid;		/* library kernel's */
	void			*native_sp;
	void			*task;
	struct ukl_proc		*proc;
	struct ukl_thread	*next;		/* in a request or poke list */
	const long		*args;
	long			nr;
	long			ret;
	unsigned long		signals;	/* bit n-1: signal n was sent */
	unsigned int		nudged;		/* and has not run since */
	unsigned int		cpu;		/* host CPU it last waited on */
	struct ukl_also		*also;		/* in the caller's memory */
	unsigned int		n_also;
	unsigned int		also_ready;	/* one of them ended the call */
	int			wait_slot;	/* of UKL_FD_WAIT; -1: none */
	unsigned int		bell;		/* has rung, by host CPU n-1 or by
					 * UKL_BELL_SELF: see bell.c */
	unsigned int		held;		/* the CPU, between its calls */
	unsigned int		woke;		/* a thread that had waited on host
						 * CPU n-1; 0: none yet */
	/* The child that is being forked, as it was prepared. */
	unsigned int		forked_life;
	struct ukl_proc		*forked;
} __attribute__((aligned(64)));

/* struct ukl_proc.state */
#define UKL_PROC_FREE		0
#define UKL_PROC_NEW		1	/* the kernel host has not seen it */
#define UKL_PROC_LIVE		2	/* its death is watched */
#define UKL_PROC_GONE		3	/* dead, its tasks are ending */

/** A process of the instance. */
struct ukl_proc {
	unsigned int		state;
	int			kpid;		/* library kernel's */
	/* Change together: who says the pid may come late (ukl_fork_parent). */
	union {
		struct {
			int	pid;		/* host's; 0: not known yet */
			unsigned int life;	/* +1 when taken, and freed */
		};
		unsigned long	pid_life;
	};
	unsigned int		threads;	/* records that point here */
	unsigned int		spare2;
	/* How to make a host system call in this process. */
	long			(*hostcall)(long nr, long a, long b, long c,
					    long d, long e, long f);
	struct ukl_proc		*parent;	/* who forked it … */
	int			parent_pid;	/* … on the host */
	int			spare;
	int			fd[UKL_MAX_FDS]; /* -1: does not have it */
	unsigned int		flags;
};

/** What boot() is told.  All of it is copied. */
struct ukl_boot {
	unsigned long		ram;		/* bytes, image included */
	unsigned long		tsc_khz;
	unsigned long		realtime;	/* ns since 1970 */
	unsigned long		tsc;		/* TSC at @realtime */
	unsigned char		seed[64];	/* for the random generator */
	char			cmdline[2048];
};

#define UKL_DEV_NAME		16

/* struct ukl_dev.kind: how a frame travels in the descriptor */
#define UKL_DEV_NONE		0
#define UKL_DEV_TAP		1	/* virtio_net_hdr, then the frame */
#define UKL_DEV_DGRAM		2	/* a frame per datagram */
#define UKL_DEV_STREAM		3	/* 32-bit big-endian length, frame */
#define UKL_DEV_WIRE		4	/* like TAP, in datagrams to each peer */
#define UKL_DEV_USER		5	/* like TAP, but TCP goes to its gate */

/** An interface, filled in by the kernel host before UKL_SYS_NETDEV. */
struct ukl_dev {
	unsigned int		kind;
	unsigned int		mtu;		/* 0: 1500 */
	unsigned char		mac[6];		/* all zero: random */
	unsigned short		flags;		/* UKL_DEV_F_* */
	char			name[UKL_DEV_NAME];
};

#define UKL_DEV_F_CAPTURE	1	/* copy frames to UKL_FD_CAPTURE */

#define UKL_WIRE_PEERS		32

/** The other ends of a wire: addresses of datagram sockets. */
struct ukl_wire {
	unsigned int		n;
	char			path[UKL_WIRE_PEERS][108];
};

/**
 * Frames of a slot that its sender writes, a thread of the kernel host.
 * A frame is counted when it is put in, by the CPU's owner, and when it has
 * been written, by the sender.
 */
struct ukl_sendq {
	unsigned int		queued __attribute__((aligned(64)));
	unsigned int		sent __attribute__((aligned(64)));
	unsigned int		sleeps;		/* futex of the sender */
	unsigned int		useful;		/* it has a host CPU to itself */
};

/* Private calls, made with ukl_syscall() like any other. */
#define UKL_SYS			0x10000
#define UKL_SYS_THREAD		(UKL_SYS + 0)	/* (struct ukl_thread *) */
#define UKL_SYS_FORK		(UKL_SYS + 1)	/* (struct ukl_thread *, flags) */
#define UKL_SYS_EXEC		(UKL_SYS + 2)	/* () */
#define UKL_SYS_REAP		(UKL_SYS + 3)	/* (struct ukl_proc *) */
#define UKL_SYS_ABANDON		(UKL_SYS + 4)	/* (struct ukl_thread *) */
#define UKL_SYS_NETDEV		(UKL_SYS + 5)	/* (slot, struct ukl_dev *) */
#define UKL_SYS_NETDEV_DEL	(UKL_SYS + 6)	/* (slot) */
#define UKL_SYS_WIRE		(UKL_SYS + 7)	/* (slot, struct ukl_wire *) */
#define UKL_SYS_EXIT		(UKL_SYS + 8)	/* () */
/* (fd, unsigned long *addresses, n): the blocks of a packet socket's rings */
#define UKL_SYS_PACKET_RING	(UKL_SYS + 9)
/* accept4() that takes its number when there is a connection.  A fifth argument
 * n > 0: one from n-1 on, and if there is none it does not wait */
#define UKL_SYS_ACCEPT		(UKL_SYS + 10)
/* (slot, listening socket): opens the gate of a UKL_DEV_USER in the caller's
 * network namespace; returns its interface's index */
#define UKL_SYS_GATE		(UKL_SYS + 11)
/* Files under way from one process to another, see lend.c.  (fd, ticket) */
#define UKL_SYS_LEND		(UKL_SYS + 12)
/* (ticket, O_CLOEXEC or 0, UKL_TAKE_*): a descriptor, or 0 for UKL_TAKE_NONE */
#define UKL_SYS_TAKE		(UKL_SYS + 13)
/* (unsigned long *tickets, n): how many there are, the first @n of which */
#define UKL_SYS_LENT		(UKL_SYS + 14)
/* (epoll fd): it rings for the caller from now on, see bell.c; returns the
 * host's eventfd, for the host's epoll, edge-triggered */
#define UKL_SYS_BELL		(UKL_SYS + 15)
#define UKL_SYS_END		(UKL_SYS + 16)

#define UKL_TAKE_AWAY		0	/* the ticket is used up */
#define UKL_TAKE_COPY		1	/* it can be used again */
#define UKL_TAKE_NONE		2	/* nobody wants it any more */

/* The Ethernet type under which what the kernel host is asked about appears
 * there: a connection's first frame, a ping */
#define UKL_GATE_ASKED		0x88b5
/* … and the one under which it sends an answer to a ping that came at once */
#define UKL_GATE_NEAR		0x88b6

/* struct ukl_shared.pending */
#define UKL_IRQ_TIMER		1
#define UKL_IRQ_POKE		2
#define UKL_IRQ_JOIN		4
#define UKL_IRQ_ENTER		8
#define UKL_IRQ_RESCHED		16	/* someone who was nudged is here */
#define UKL_IRQ_DEV(n)		(0x100u << (n))

#define UKL_LOG_SIZE		(128 * 1024)	/* a power of two */

/** The part of the kernel's data that host-side code reads and writes. */
struct ukl_shared {
	/* The CPU: a record's id, or 0, and UKL_LOCK_WAITERS. */
	unsigned int		lock;
	unsigned int		pending;	/* interrupts: UKL_IRQ_* */
	unsigned int		dead;		/* the instance has ended */
	unsigned int		booted;		/* futex: PID 1 is ready */

	/* What the CPU is doing; owned by the lock's holder. */
	struct ukl_thread	*runner;	/* executes kernel code */
	struct ukl_thread	*entering;	/* wants its task woken */
	struct ukl_thread	*nudge;		/* to be told, once free */
	unsigned long		last_nudge;	/* TSC */
	unsigned int		nudges;		/* ever due */
	unsigned int		quick_nudges;	/* in a row */
	unsigned int		nudge_put_off;
	unsigned int		nudge_clock;	/* timer thread looks after it */
	unsigned long		irqs_off;

	/* The timer: a TSC value, and when the timer thread next looks. */
	unsigned long		deadline;
	unsigned long		timer_sleeps;
	unsigned int		timer_word;	/* futex of the timer thread */

	/* The leader: the blocked thread that polls the devices itself. */
	unsigned int		leader;		/* record id, or 0 */
	unsigned int		leader_epoch;	/* +1 whenever one resigns */
	unsigned int		io_deep;	/* the device thread sleeps */
	unsigned int		io_polls;	/* … or is in ppoll() */
	unsigned int		devs;		/* bit n: slot n is in use */

	struct ukl_sendq	sendq[UKL_MAX_DEVS];

	unsigned int		waits;		/* bit n: wait slot n is taken */
	unsigned int		rung;		/* bit n: its bell is to ring */
	struct ukl_thread	*bell[UKL_MAX_WAITS];	/* … for whom */
	unsigned int		joined;		/* processes that ever came */
	unsigned int		procs_word;	/* futex: a process is new, or
						 * a file is under way */
	unsigned int		lent;		/* files under way */
	unsigned int		stall;		/* a waiter found no progress */
	struct ukl_thread	*poked;		/* list */
	struct ukl_thread	*joining;	/* list */

	unsigned long		tsc_khz;
	char			last_words[256];

	unsigned long		log_head;	/* bytes ever written */
	char			log[UKL_LOG_SIZE];

	struct ukl_proc		proc[UKL_MAX_PROCS];
	struct ukl_thread	thread[UKL_MAX_THREADS];
};

#define UKL_LOCK_WAITERS	0x80000000u

/** The head of the image. */
struct ukl_image {
	unsigned long		magic;
	unsigned int		version;	/* UKL_ABI_VERSION */
	unsigned int		header_size;	/* sizeof(struct ukl_image) */
	unsigned long		data;		/* first shared address */
	unsigned long		end;		/* first address of free RAM */
	struct ukl_shared	*shared;
	unsigned int		shared_size;
	unsigned int		spare;
	char			release[64];	/* uname -r */

	/* Runs the kernel's start on @th until it idles. */
	long (*boot)(struct ukl_thread *th, const struct ukl_boot *boot);
	/* Takes a free record for the calling thread of process @proc. */
	struct ukl_thread *(*thread_alloc)(struct ukl_proc *proc);
	struct ukl_proc *(*proc_alloc)(void);
	void (*thread_free)(struct ukl_thread *th);
	/* Gives the calling thread, which has a record, a new process. */
	long (*join)(struct ukl_thread *th);
	/* A system call: the number and six arguments. */
	long (*syscall)(struct ukl_thread *th, long nr, const long *args);
	/* Raises interrupts UKL_IRQ_* and handles them if the CPU is free. */
	void (*interrupt)(struct ukl_thread *th, unsigned int bits);
	/* Ends a blocking call of @th; for signal handlers.  @by: a service
	 * record, or @th itself. */
	void (*poke)(struct ukl_thread *th, struct ukl_thread *by);
	/* For SIGSEGV handlers: where to continue instead of @ip, or 0. */
	unsigned long (*fixup)(unsigned long ip);
	/* A process has died: frees the CPU if it died waiting for it.
	 * 0, or -EOWNERDEAD if it died inside the kernel. */
	long (*proc_died)(struct ukl_thread *by, struct ukl_proc *proc);
	/* Marks the instance dead and wakes everyone. */
	void (*die)(struct ukl_thread *by, const char *why);
	/* Takes and gives the CPU without entering the kernel; @th's calls
	 * meanwhile keep it, until one blocks. */
	void (*hold)(struct ukl_thread *th);
	void (*release_cpu)(struct ukl_thread *th);
	/* The bodies of the kernel host's service threads; they return when
	 * the instance is dead. */
	void (*timer_loop)(struct ukl_thread *th);
	void (*device_loop)(struct ukl_thread *th);
	void (*sender_loop)(struct ukl_thread *th, unsigned int slot);
	/* epoll_wait() of the host, which a bell ends: see ukl_await(). */
	long (*await)(struct ukl_thread *th, int epoll, void *events, int n,
		      int ms);
	/* Wakes whom @th's calls have woken, if that was put off. */
	void (*wake_now)(struct ukl_thread *th);
	/* Where @th can put what its next write to a stream sends, which is
	 * not copied then: the first *@n bytes of it; or NULL. */
	void *(*block)(struct ukl_thread *th, unsigned long *n);
};

#endif /* _UAPI_UKL_ABI_H */
