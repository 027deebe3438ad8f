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

#define XCR0_SSE_AVX	6
#define AVX_STATE	2		/* the bit's number in XCR0 */

	.text

/* unsigned long ukl_user_copy(void *to, const void *from, unsigned long n) */
SYM_FUNC_START(ukl_user_copy)
	cmpq	$LONG_COPY, %rdx
	jae	ukl_copy_outside
.Lshort:
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

/*
 * A long copy by 32 bytes at a time, if this processor can (ukl_wide_copies).
 * The caller believes it makes a system call, so its registers are kept; and
 * where it has never used their upper halves, the processor is told so again:
 * old instructions are slow otherwise, and its state long.
 */
.macro WIDE_COPY store, fence
	cmpb	$0, ukl_wide_copies(%rip)
	je	.Lshort
	pushq	%rbp
	movq	%rsp, %rbp
	andq	$-32, %rsp
	subq	$128, %rsp
	vmovdqa	%ymm0, (%rsp)
	vmovdqa	%ymm1, 32(%rsp)
	vmovdqa	%ymm2, 64(%rsp)
	vmovdqa	%ymm3, 96(%rsp)
	movq	%rdx, %r8
	movl	$1, %ecx
	xgetbv
	movl	%eax, %r9d
	/* What is aligned is written, after the first bytes. */
	movl	%edi, %ecx
	negl	%ecx
	andl	$31, %ecx
	subq	%rcx, %r8
10:	rep movsb
	jmp	.Lblock\@
11:	vmovdqu	(%rsi), %ymm0
12:	vmovdqu	32(%rsi), %ymm1
13:	vmovdqu	64(%rsi), %ymm2
14:	vmovdqu	96(%rsi), %ymm3
15:	\store	%ymm0, (%rdi)
16:	\store	%ymm1, 32(%rdi)
17:	\store	%ymm2, 64(%rdi)
18:	\store	%ymm3, 96(%rdi)
	subq	$-128, %rsi
	subq	$-128, %rdi
.Lblock\@:
	subq	$128, %r8
	jae	11b
	subq	$-128, %r8
	/* What is left, too little or where something faulted. */
.Lrest\@:
	\fence
	btl	$AVX_STATE, %r9d
	jnc	.Lunused\@
	vmovdqa	(%rsp), %ymm0
	vmovdqa	32(%rsp), %ymm1
	vmovdqa	64(%rsp), %ymm2
	vmovdqa	96(%rsp), %ymm3
.Lkept\@:
	movq	%rbp, %rsp
	popq	%rbp
	movq	%r8, %rcx
	jmp	3b
.Lunused\@:
	vmovdqa	(%rsp), %xmm0
	vmovdqa	32(%rsp), %xmm1
	vmovdqa	64(%rsp), %xmm2
	vmovdqa	96(%rsp), %xmm3
	vzeroupper
	jmp	.Lkept\@
	/* Bytes of the first ones are missing: again, and it fails again. */
19:	addq	%rcx, %r8
	jmp	.Lrest\@
20:	subq	$-128, %r8
	jmp	.Lrest\@
	EXTABLE	10b, 19b
	EXTABLE	11b, 20b
	EXTABLE	12b, 20b
	EXTABLE	13b, 20b
	EXTABLE	14b, 20b
	EXTABLE	15b, 20b
	EXTABLE	16b, 20b
	EXTABLE	17b, 20b
	EXTABLE	18b, 20b
.endm

/* unsigned long ukl_copy_here(void *to, const void *from, unsigned long n) */
SYM_FUNC_START(ukl_copy_here)
	WIDE_COPY vmovdqa
SYM_FUNC_END(ukl_copy_here)

/*
 * unsigned long ukl_copy_past(void *to, const void *from, unsigned long n)
 *
 * The same, to memory and not to this processor's caches.
 */
SYM_FUNC_START(ukl_copy_past)
	WIDE_COPY vmovntdq, sfence
SYM_FUNC_END(ukl_copy_past)

/*
 * bool ukl_can_copy_wide(void): AVX, enabled by the host, and XGETBV tells what
 * is in use.
 */
SYM_FUNC_START(ukl_can_copy_wide)
	pushq	%rbx
	movl	$1, %eax
	cpuid
	andl	$(1 << 27 | 1 << 28), %ecx	/* OSXSAVE, AVX */
	cmpl	$(1 << 27 | 1 << 28), %ecx
	jne	21f
	xorl	%ecx, %ecx
	xgetbv
	andl	$XCR0_SSE_AVX, %eax
	cmpl	$XCR0_SSE_AVX, %eax
	jne	21f
	xorl	%eax, %eax
	cpuid
	cmpl	$0xd, %eax
	jb	21f
	movl	$0xd, %eax
	movl	$1, %ecx
	cpuid
	shrl	$2, %eax			/* XGETBV with 1 in ecx */
	andl	$1, %eax
	popq	%rbx
	ret
21:	xorl	%eax, %eax
	popq	%rbx
	ret
SYM_FUNC_END(ukl_can_copy_wide)

/* unsigned long ukl_user_clear(void *to, unsigned long n) */
SYM_FUNC_START(ukl_user_clear)
	movq	%rsi, %rcx
	xorl	%eax, %eax
6:	rep stosb
7:	movq	%rcx, %rax
	ret
SYM_FUNC_END(ukl_user_clear)
	EXTABLE	6b, 7b
