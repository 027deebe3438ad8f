/* SPDX-License-Identifier: GPL-2.0-only */
/* Plain C: see <asm/atomic.h>. */
#ifndef _ASM_LKL_CMPXCHG_H
#define _ASM_LKL_CMPXCHG_H

#define arch_xchg(ptr, x) ({						\
	__typeof__(ptr) __xp = (ptr);					\
	__typeof__(*(ptr)) __xo = *(volatile __typeof__(__xp))__xp;	\
	*(volatile __typeof__(__xp))__xp = (x);				\
	__xo; })

#define arch_cmpxchg(ptr, old, new) ({					\
	__typeof__(ptr) __cp = (ptr);					\
	__typeof__(*(ptr)) __co = *(volatile __typeof__(__cp))__cp;	\
	if (__co == (__typeof__(*(ptr)))(old))				\
		*(volatile __typeof__(__cp))__cp =			\
			(__typeof__(*(ptr)))(new);			\
	__co; })

#define arch_cmpxchg64			arch_cmpxchg
#define arch_cmpxchg_local		arch_cmpxchg
#define arch_cmpxchg64_local		arch_cmpxchg

#endif /* _ASM_LKL_CMPXCHG_H */
