/* SPDX-License-Identifier: GPL-2.0-only */
/* A word says whether interrupts are off; enabling them looks for some. */
#ifndef _ASM_LKL_IRQFLAGS_H
#define _ASM_LKL_IRQFLAGS_H

#ifndef __ASSEMBLY__
#include <linux/compiler.h>
#include <ukl/abi.h>

#define ARCH_IRQ_DISABLED	1UL
#define ARCH_IRQ_ENABLED	0UL

extern struct ukl_shared ukl;

void ukl_run_pending(void);

static __always_inline unsigned long arch_local_save_flags(void)
{
	return READ_ONCE(ukl.irqs_off);
}
#define arch_local_save_flags arch_local_save_flags

static __always_inline unsigned long arch_local_irq_save(void)
{
	unsigned long flags = READ_ONCE(ukl.irqs_off);

	WRITE_ONCE(ukl.irqs_off, ARCH_IRQ_DISABLED);
	barrier();
	return flags;
}
#define arch_local_irq_save arch_local_irq_save

static __always_inline void arch_local_irq_disable(void)
{
	WRITE_ONCE(ukl.irqs_off, ARCH_IRQ_DISABLED);
	barrier();
}
#define arch_local_irq_disable arch_local_irq_disable

static __always_inline void arch_local_irq_enable(void)
{
	barrier();
	WRITE_ONCE(ukl.irqs_off, ARCH_IRQ_ENABLED);
	if (unlikely(READ_ONCE(ukl.pending)))
		ukl_run_pending();
}
#define arch_local_irq_enable arch_local_irq_enable

static __always_inline void arch_local_irq_restore(unsigned long flags)
{
	barrier();
	WRITE_ONCE(ukl.irqs_off, flags);
	if (flags == ARCH_IRQ_ENABLED && unlikely(READ_ONCE(ukl.pending)))
		ukl_run_pending();
}
#define arch_local_irq_restore arch_local_irq_restore

#include <asm-generic/irqflags.h>
#endif

#endif /* _ASM_LKL_IRQFLAGS_H */
