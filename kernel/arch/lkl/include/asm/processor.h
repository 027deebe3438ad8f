/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_PROCESSOR_H
#define _ASM_LKL_PROCESSOR_H

#include <linux/types.h>
#include <linux/compiler.h>
#include <asm/ptrace.h>
#include <ukl/abi.h>

struct task_struct;

/* Where "user" addresses end: the host's own limit for x86-64. */
#define TASK_SIZE		0x7ffffffff000UL
#define TASK_UNMAPPED_BASE	0UL
#define STACK_TOP		TASK_SIZE
#define STACK_TOP_MAX		STACK_TOP

/**
 * A task's context is a coroutine: its stack is in kernel memory, and any
 * host thread can continue it.  Only a task with a @host must run there,
 * because the addresses it was given are that process's.
 */
struct thread_struct {
	unsigned long		sp;	/* while switched out */
	struct ukl_thread	*host;	/* runs this task's user side */
	struct ukl_thread	*bind;	/* will, once the task has parked */
	bool			gone;	/* the user side is dead */
	bool			poked;	/* a host signal ended the call */
	bool			lazy;	/* left to user mode as `current` */
};

#define INIT_THREAD		{ }

void ukl_cpu_relax(void);
#define cpu_relax()		ukl_cpu_relax()

#define task_pt_regs(tsk)	((struct pt_regs *)(task_stack_page(tsk) + \
				 THREAD_SIZE) - 1)
#define KSTK_EIP(tsk)		(0UL)
#define KSTK_ESP(tsk)		(0UL)

unsigned long __get_wchan(struct task_struct *p);
void start_thread(struct pt_regs *regs, unsigned long ip, unsigned long sp);

#endif /* _ASM_LKL_PROCESSOR_H */
