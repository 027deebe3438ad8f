/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the files of this port: see kernel/ for who defines what. */
#ifndef _ASM_LKL_UKL_H
#define _ASM_LKL_UKL_H

#include <linux/sched.h>
#include <asm/irqflags.h>
#include <ukl/abi.h>

/* Why a coroutine went back to the native stack. */
enum ukl_leave {
	UKL_LEFT_USER,		/* `current` is in user mode */
	UKL_LEFT_IDLE,		/* nothing to run */
	UKL_LEFT_HANDOFF,	/* `current` must run in its own thread */
	UKL_LEFT_DEAD,		/* for ever: the kernel has stopped */
};

/*
 * All records that were ever taken, which is the first free one first: what
 * lies behind is not touched, for a child would fault in every page of it.
 */
#define ukl_for_each_record(th)						\
	for ((th) = ukl.thread;						\
	     (th) < ukl.thread + UKL_MAX_THREADS &&			\
	     ((th)->id || (th)->state != UKL_TH_FREE); (th)++)

/* entry.S */
long ukl_resume(struct ukl_thread *th, unsigned long sp);
void ukl_leave(unsigned long *save, struct ukl_thread *th, long why);
void ukl_switch(unsigned long *save, unsigned long sp);
long ukl_call_on(unsigned long sp, void (*fn)(void), struct ukl_thread *th);
void ukl_ret_from_fork(void);

/* native.c: runs on host stacks */
long ukl_hostcall(long nr, long a, long b, long c, long d, long e, long f);
void ukl_post(struct ukl_thread *th, unsigned int bits);
void ukl_poll_anew(void);
int ukl_take_wait_slot(struct ukl_thread *th);
void ukl_toll(struct ukl_thread *th);
void __noreturn ukl_stop(const char *why);
extern struct ukl_boot ukl_boot_info;
extern const struct ukl_image ukl_image;

/* irq.c */
extern bool ukl_resched_asked;
extern bool ukl_others_wait;
unsigned int ukl_irq(void);

/* runqueue.c */
struct ukl_thread *ukl_next_host(void);

/* process.c */
void ukl_schedule_tail(void);
void ukl_user_loop(void);
long ukl_private_call(long nr, const long *args);
void ukl_handle_joins(void);
void ukl_handle_pokes(void);
void ukl_init_main(void);

/* lend.c */
long ukl_lend(int fd, unsigned long ticket);
long ukl_take(unsigned long ticket, int flags, int how);
long ukl_lent(unsigned long __user *tickets, unsigned long n);

/* bell.c */
long ukl_bell(int epoll);

/* accept.c */
struct sockaddr;
#ifdef CONFIG_NET
long ukl_accept(int fd, struct sockaddr __user *peer, int __user *peer_len,
		int flags, int wanted);
#else
static inline long ukl_accept(int fd, struct sockaddr __user *peer,
			      int __user *peer_len, int flags, int wanted)
{
	return -ENOSYS;
}
#endif

/* packet.c */
#ifdef CONFIG_PACKET
long ukl_packet_ring(int fd, unsigned long __user *to, unsigned int n);
#else
static inline long ukl_packet_ring(int fd, unsigned long __user *to,
				   unsigned int n)
{
	return -EAFNOSUPPORT;
}
#endif

/* console.c */
void ukl_early_console(void);

/* time.c */
void ukl_early_time(void);
void ukl_timer_irq(void);

/* drivers/ */
#ifdef CONFIG_UKL_NET
void ukl_init_net(void);
void ukl_net_irq(unsigned int slots);
long ukl_netdev_add(unsigned int slot, const struct ukl_dev *dev);
long ukl_netdev_del(unsigned int slot);
long ukl_wire_set(unsigned int slot, const struct ukl_wire *wire);
long ukl_gate_add(unsigned int slot, int listener);
#else
static inline void ukl_init_net(void) { }
static inline void ukl_net_irq(unsigned int slots) { }

static inline long ukl_netdev_add(unsigned int slot, const struct ukl_dev *dev)
{
	return -EAFNOSUPPORT;
}

static inline long ukl_netdev_del(unsigned int slot)
{
	return -EAFNOSUPPORT;
}

static inline long ukl_wire_set(unsigned int slot, const struct ukl_wire *wire)
{
	return -EAFNOSUPPORT;
}

static inline long ukl_gate_add(unsigned int slot, int listener)
{
	return -EAFNOSUPPORT;
}
#endif

#endif /* _ASM_LKL_UKL_H */
