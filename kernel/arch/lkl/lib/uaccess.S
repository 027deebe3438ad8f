/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Copies to and from the program's memory.  A bad address makes the host send
 * SIGSEGV; the handler finds the instruction in the exception table and goes
 * on at the fix-up, where rcx is the number of bytes left.
 */
#include <linux/linkage.h>

.macro EXTABLE from, to
	.pushsection __ex_table, "a"
	.balign	8
	.quad	\from, \to
	.popsection
.endm

#define LONG_COPY	(16 * 1024)	/* some ten times as long as two switches */

	.text

/* unsigned long ukl_user_copy(void *to, const void *from, unsigned long n) */
SYM_FUNC_START(ukl_user_copy)
	cmpq	$LONG_COPY, %rdx
	jae	ukl_copy_outside
SYM_INNER_LABEL(ukl_copy_here, SYM_L_GLOBAL)
	movq	%rdx, %rcx
	cmpq	$64, %rdx
	jae	.Llong
.Lwords:
	shrq	$3, %rcx
	jz	.Lbytes
1:	movq	(%rsi), %rax
2:	movq	%rax, (%rdi)
	addq	$8, %rsi
	addq	$8, %rdi
	subq	$8, %rdx
	decq	%rcx
	jnz	1b
.Lbytes:
	movl	%edx, %ecx
	testl	%ecx, %ecx
	jz	4f
3:	rep movsb
4:	movq	%rcx, %rax
	ret
	/*
	 * AMD's processors move byte by byte, at a twentieth of the speed, to
	 * where the target lies 1 to 15 bytes behind the source in its page.
	 */
.Llong:
	leal	-1(%rdi), %eax
	subl	%esi, %eax
	testl	$0xff0, %eax
	jnz	3b
	jmp	.Lwords
	/* A word failed: find out byte by byte how far it goes. */
5:	movq	%rdx, %rcx
	jmp	3b
SYM_FUNC_END(ukl_user_copy)
	EXTABLE	1b, 5b
	EXTABLE	2b, 5b
	EXTABLE	3b, 4b

/* unsigned long ukl_user_clear(void *to, unsigned long n) */
SYM_FUNC_START(ukl_user_clear)
	movq	%rsi, %rcx
	xorl	%eax, %eax
6:	rep stosb
7:	movq	%rcx, %rax
	ret
SYM_FUNC_END(ukl_user_clear)
	EXTABLE	6b, 7b
