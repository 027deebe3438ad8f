/* SPDX-License-Identifier: GPL-2.0-only */
/* User memory is this process's own: copy, and let SIGSEGV say no. */
#ifndef _ASM_LKL_UACCESS_H
#define _ASM_LKL_UACCESS_H

#include <linux/string.h>
#include <linux/sched.h>
#include <asm/extable.h>

/*
 * A load or store of user memory that may fault.  The host's SIGSEGV handler
 * asks ukl_fixup(), which finds the instruction in the exception table and
 * continues at the fix-up.  A task whose process is dead has no user memory.
 */
#define _ASM_EXTABLE(from, to)						\
	".pushsection __ex_table,\"a\"\n"				\
	".balign 8\n"							\
	".quad " from ", " to "\n"					\
	".popsection\n"

/* Copies @n bytes; returns how many were not copied. */
unsigned long ukl_user_copy(void *to, const void *from, unsigned long n);
unsigned long ukl_user_clear(void *to, unsigned long n);

static __always_inline int ukl_no_user(void)
{
	return unlikely(current->thread.gone);
}

static __always_inline __must_check unsigned long
raw_copy_from_user(void *to, const void __user *from, unsigned long n)
{
	if (ukl_no_user())
		return n;
	return ukl_user_copy(to, (const void __force *)from, n);
}

static __always_inline __must_check unsigned long
raw_copy_to_user(void __user *to, const void *from, unsigned long n)
{
	if (ukl_no_user())
		return n;
	return ukl_user_copy((void __force *)to, from, n);
}

static __always_inline __must_check unsigned long
ukl_clear_user(void __user *to, unsigned long n)
{
	if (ukl_no_user())
		return n;
	return ukl_user_clear((void __force *)to, n);
}
#define __clear_user(to, n)	ukl_clear_user(to, n)

#define UKL_LOAD(err, to, from, mov, reg, type) do {			\
	type __v = 0;							\
	asm volatile("1:	" mov " %2, %" reg "1\n"		\
		     "2:\n"						\
		     ".pushsection .fixup,\"ax\"\n"			\
		     "3:	movl %3, %0\n"				\
		     "	jmp 2b\n"					\
		     ".popsection\n"					\
		     _ASM_EXTABLE("1b", "3b")				\
		     : "+r" (err), "+r" (__v)				\
		     : "m" (*(const type *)(from)), "i" (-EFAULT));	\
	*(type *)(to) = __v;						\
} while (0)

#define UKL_STORE(err, to, from, mov, reg, type)			\
	asm volatile("1:	" mov " %" reg "2, %1\n"		\
		     "2:\n"						\
		     ".pushsection .fixup,\"ax\"\n"			\
		     "3:	movl %3, %0\n"				\
		     "	jmp 2b\n"					\
		     ".popsection\n"					\
		     _ASM_EXTABLE("1b", "3b")				\
		     : "+r" (err), "=m" (*(type *)(to))			\
		     : "r" (*(const type *)(from)), "i" (-EFAULT))

#define UKL_BY_SIZE(what, size, err, to, from) do {			\
	switch (size) {							\
	case 1: what(err, to, from, "movb", "b", u8); break;		\
	case 2: what(err, to, from, "movw", "w", u16); break;		\
	case 4: what(err, to, from, "movl", "k", u32); break;		\
	case 8: what(err, to, from, "movq", "q", u64); break;		\
	}								\
} while (0)

static __always_inline int
__get_user_fn(size_t size, const void __user *from, void *to)
{
	int err = 0;

	if (ukl_no_user())
		return -EFAULT;
	UKL_BY_SIZE(UKL_LOAD, size, err, to, (const void __force *)from);
	return err;
}
#define __get_user_fn(sz, u, k)	__get_user_fn(sz, u, k)

static __always_inline int
__put_user_fn(size_t size, void __user *to, const void *from)
{
	int err = 0;

	if (ukl_no_user())
		return -EFAULT;
	UKL_BY_SIZE(UKL_STORE, size, err, (void __force *)to, from);
	return err;
}
#define __put_user_fn(sz, u, k)	__put_user_fn(sz, u, k)

#define __get_kernel_nofault(dst, src, type, err_label) do {		\
	int __kr = 0;							\
	UKL_BY_SIZE(UKL_LOAD, sizeof(type), __kr, dst, src);		\
	if (unlikely(__kr))						\
		goto err_label;						\
} while (0)

#define __put_kernel_nofault(dst, src, type, err_label) do {		\
	int __kr = 0;							\
	UKL_BY_SIZE(UKL_STORE, sizeof(type), __kr, dst, src);		\
	if (unlikely(__kr))						\
		goto err_label;						\
} while (0)

#include <asm-generic/uaccess.h>

#endif /* _ASM_LKL_UACCESS_H */
