// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts: bits that host threads raise and the CPU's owner looks for,
 * when it enables interrupts, relaxes, or continues a context that is idle
 * or in user mode.  There are no interrupt numbers and no controllers.
 */
#include <linux/ftrace.h>
#include <linux/hardirq.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqflags.h>
#include <linux/lockdep.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <asm/irq_regs.h>
#include <asm/ukl.h>

bool ukl_resched_asked;	/* a nudged thread waits for the CPU */

void __init init_IRQ(void)
{
}

/*
 * One interrupt, with interrupts off.  Returns the bits it saw,
 * UKL_IRQ_ENTER if a thread came in.
 */
unsigned int ukl_irq(void)
{
	struct pt_regs regs = {
		.ip = _THIS_IP_,
		.sp = (unsigned long)__builtin_frame_address(0),
		.user = current->thread.host && current->thread.host->nr < 0,
	};
	struct pt_regs *old = set_irq_regs(&regs);
	struct ukl_thread *entering = ukl.entering;
	/* Lockdep keeps an account of its own, in idle even a different one. */
	bool enabled = lockdep_hardirqs_enabled();
	unsigned int bits;

	if (enabled)
		lockdep_hardirqs_off(CALLER_ADDR0);
	irq_enter();
	if (entering) {
		ukl.entering = NULL;
		if (entering->task)
			wake_up_state(entering->task, TASK_PARKED);
	}
	bits = __atomic_exchange_n(&ukl.pending, 0, __ATOMIC_SEQ_CST);
	if (bits & UKL_IRQ_TIMER)
		ukl_timer_irq();
	if (bits & UKL_IRQ_POKE)
		ukl_handle_pokes();
	if (bits & UKL_IRQ_RESCHED)
		ukl_resched_asked = true;
	if (bits & UKL_IRQ_JOIN)
		ukl_handle_joins();
	if (bits >= UKL_IRQ_DEV(0))
		ukl_net_irq(bits / UKL_IRQ_DEV(0));
	irq_exit();
	if (enabled) {
		lockdep_hardirqs_on_prepare();
		lockdep_hardirqs_on(CALLER_ADDR0);
	}
	set_irq_regs(old);
	return entering ? bits | UKL_IRQ_ENTER : bits;
}

/* Interrupts have just been enabled, and some are pending. */
void ukl_run_pending(void)
{
	do {
		ukl.irqs_off = ARCH_IRQ_DISABLED;
		ukl_irq();
		barrier();
		ukl.irqs_off = ARCH_IRQ_ENABLED;
	} while (READ_ONCE(ukl.pending));
}

void ukl_cpu_relax(void)
{
	if (READ_ONCE(ukl.pending) && !READ_ONCE(ukl.irqs_off))
		ukl_run_pending();
	__builtin_ia32_pause();
}
