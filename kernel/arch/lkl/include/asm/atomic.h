/* SPDX-License-Identifier: GPL-2.0-only */
/* Interrupts come only where the kernel looks for them: plain C is atomic. */
#ifndef _ASM_LKL_ATOMIC_H
#define _ASM_LKL_ATOMIC_H

#include <linux/types.h>
#include <asm/barrier.h>
#include <asm/cmpxchg.h>

#define UKL_ATOMIC_OP(pfx, type, ctype, op, c_op)			\
static __always_inline void						\
arch_##pfx##_##op(ctype i, type *v)					\
{									\
	v->counter = v->counter c_op i;					\
}									\
static __always_inline ctype						\
arch_##pfx##_fetch_##op(ctype i, type *v)				\
{									\
	ctype old = v->counter;						\
									\
	v->counter = old c_op i;					\
	return old;							\
}

#define UKL_ATOMIC_RETURN(pfx, type, ctype, op, c_op)			\
static __always_inline ctype						\
arch_##pfx##_##op##_return(ctype i, type *v)				\
{									\
	return v->counter = v->counter c_op i;				\
}

#define UKL_ATOMIC_OPS(pfx, type, ctype)				\
UKL_ATOMIC_OP(pfx, type, ctype, add, +)					\
UKL_ATOMIC_OP(pfx, type, ctype, sub, -)					\
UKL_ATOMIC_OP(pfx, type, ctype, and, &)					\
UKL_ATOMIC_OP(pfx, type, ctype, or, |)					\
UKL_ATOMIC_OP(pfx, type, ctype, xor, ^)					\
UKL_ATOMIC_RETURN(pfx, type, ctype, add, +)				\
UKL_ATOMIC_RETURN(pfx, type, ctype, sub, -)

#define ATOMIC64_INIT(i)	{ (i) }

UKL_ATOMIC_OPS(atomic, atomic_t, int)
UKL_ATOMIC_OPS(atomic64, atomic64_t, s64)

#undef UKL_ATOMIC_OPS
#undef UKL_ATOMIC_RETURN
#undef UKL_ATOMIC_OP

#define arch_atomic_read(v)		READ_ONCE((v)->counter)
#define arch_atomic_set(v, i)		WRITE_ONCE((v)->counter, (i))
#define arch_atomic64_read(v)		READ_ONCE((v)->counter)
#define arch_atomic64_set(v, i)		WRITE_ONCE((v)->counter, (i))

#define arch_atomic_add_return		arch_atomic_add_return
#define arch_atomic_sub_return		arch_atomic_sub_return
#define arch_atomic_fetch_add		arch_atomic_fetch_add
#define arch_atomic_fetch_sub		arch_atomic_fetch_sub
#define arch_atomic_fetch_and		arch_atomic_fetch_and
#define arch_atomic_fetch_or		arch_atomic_fetch_or
#define arch_atomic_fetch_xor		arch_atomic_fetch_xor
#define arch_atomic64_add_return	arch_atomic64_add_return
#define arch_atomic64_sub_return	arch_atomic64_sub_return
#define arch_atomic64_fetch_add		arch_atomic64_fetch_add
#define arch_atomic64_fetch_sub		arch_atomic64_fetch_sub
#define arch_atomic64_fetch_and		arch_atomic64_fetch_and
#define arch_atomic64_fetch_or		arch_atomic64_fetch_or
#define arch_atomic64_fetch_xor		arch_atomic64_fetch_xor

#endif /* _ASM_LKL_ATOMIC_H */
