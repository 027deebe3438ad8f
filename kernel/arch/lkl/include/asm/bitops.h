/* SPDX-License-Identifier: GPL-2.0-only */
/* Plain C: see <asm/atomic.h>. */
#ifndef _ASM_LKL_BITOPS_H
#define _ASM_LKL_BITOPS_H

#ifndef _LINUX_BITOPS_H
#error only <linux/bitops.h> can be included directly
#endif

#include <linux/compiler.h>
#include <asm/barrier.h>

#include <asm-generic/bitops/builtin-__ffs.h>
#include <asm-generic/bitops/builtin-ffs.h>
#include <asm-generic/bitops/builtin-__fls.h>
#include <asm-generic/bitops/builtin-fls.h>
#include <asm-generic/bitops/ffz.h>
#include <asm-generic/bitops/fls64.h>
#include <asm-generic/bitops/sched.h>
#include <asm-generic/bitops/hweight.h>
#include <asm-generic/bitops/non-atomic.h>

#define arch_set_bit			arch___set_bit
#define arch_clear_bit			arch___clear_bit
#define arch_change_bit			arch___change_bit
#define arch_test_and_set_bit		arch___test_and_set_bit
#define arch_test_and_clear_bit		arch___test_and_clear_bit
#define arch_test_and_change_bit	arch___test_and_change_bit
#define arch_test_and_set_bit_lock	arch___test_and_set_bit
#define arch_clear_bit_unlock		arch___clear_bit
#define arch___clear_bit_unlock		arch___clear_bit

static __always_inline bool
arch_xor_unlock_is_negative_byte(unsigned long mask, volatile unsigned long *p)
{
	unsigned long old = *p;

	*p = old ^ mask;
	return old & BIT(7);
}
#define arch_xor_unlock_is_negative_byte arch_xor_unlock_is_negative_byte

#include <asm-generic/bitops/instrumented-atomic.h>
#include <asm-generic/bitops/instrumented-lock.h>
#include <asm-generic/bitops/le.h>
#include <asm-generic/bitops/ext2-atomic.h>

#endif /* _ASM_LKL_BITOPS_H */
