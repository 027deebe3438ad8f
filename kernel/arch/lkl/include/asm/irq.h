/* SPDX-License-Identifier: GPL-2.0-only */
/* Interrupts have no numbers here: see kernel/irq.c. */
#ifndef _ASM_LKL_IRQ_H
#define _ASM_LKL_IRQ_H

#define NR_IRQS		1

#define irq_canonicalize(irq)	(irq)

#endif /* _ASM_LKL_IRQ_H */
