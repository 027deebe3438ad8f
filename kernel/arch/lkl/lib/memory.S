/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Copying and filling without vector registers.  Short blocks go through two
 * overlapping moves; from 256 bytes up the string instructions win, but where
 * the target lies 1 to 15 bytes behind the source in its page: see uaccess.S.
 */
#include <linux/linkage.h>
#include <linux/export.h>

	.text

SYM_FUNC_START(memcpy)
	movq	%rdi, %rax
	cmpq	$16, %rdx
	jb	.Lcpy_small
	cmpq	$256, %rdx
	ja	.Lcpy_string
.Lcpy_words:
	/* The last 16 bytes first into registers, then 16 a round. */
	movq	-8(%rsi,%rdx), %r8
	movq	-16(%rsi,%rdx), %r9
	leaq	-16(%rdi,%rdx), %r10
1:	cmpq	%r10, %rdi
	jae	2f
	movq	(%rsi), %rcx
	movq	8(%rsi), %r11
	movq	%rcx, (%rdi)
	movq	%r11, 8(%rdi)
	addq	$16, %rsi
	addq	$16, %rdi
	jmp	1b
2:	movq	%r9, (%r10)
	movq	%r8, 8(%r10)
	ret
.Lcpy_string:
	leal	-1(%rdi), %ecx
	subl	%esi, %ecx
	testl	$0xff0, %ecx
	jz	.Lcpy_words
	movq	%rdx, %rcx
	rep movsb
	ret
.Lcpy_small:
	cmpl	$8, %edx
	jb	3f
	movq	(%rsi), %rcx
	movq	-8(%rsi,%rdx), %r8
	movq	%rcx, (%rdi)
	movq	%r8, -8(%rdi,%rdx)
	ret
3:	cmpl	$4, %edx
	jb	4f
	movl	(%rsi), %ecx
	movl	-4(%rsi,%rdx), %r8d
	movl	%ecx, (%rdi)
	movl	%r8d, -4(%rdi,%rdx)
	ret
4:	testl	%edx, %edx
	jz	6f
	movzbl	(%rsi), %ecx
	cmpl	$1, %edx
	je	5f
	movzwl	-2(%rsi,%rdx), %r8d
	movw	%r8w, -2(%rdi,%rdx)
5:	movb	%cl, (%rdi)
6:	ret
SYM_FUNC_END(memcpy)
EXPORT_SYMBOL(memcpy)

SYM_FUNC_START(memmove)
	movq	%rdi, %rcx
	subq	%rsi, %rcx
	cmpq	%rdx, %rcx
	jae	memcpy_forward		/* below, or beyond the end */
	movq	%rdi, %rax
	leaq	-1(%rdi,%rdx), %rdi
	leaq	-1(%rsi,%rdx), %rsi
	movq	%rdx, %rcx
	std
	cmpq	$8, %rdx
	jb	1f
	/* Whole words from the end, then what is left at the start. */
	subq	$7, %rdi
	subq	$7, %rsi
	shrq	$3, %rcx
	rep movsq
	addq	$7, %rdi
	addq	$7, %rsi
	movq	%rdx, %rcx
	andl	$7, %ecx
1:	rep movsb
	cld
	ret
memcpy_forward:
	movq	%rdi, %rax
	movq	%rdx, %rcx
	rep movsb
	ret
SYM_FUNC_END(memmove)
EXPORT_SYMBOL(memmove)

SYM_FUNC_START(memset)
	movq	%rdi, %r9
	movzbl	%sil, %esi
	movabsq	$0x0101010101010101, %rax
	imulq	%rsi, %rax
	cmpq	$8, %rdx
	jb	2f
	cmpq	$256, %rdx
	ja	3f
	leaq	-8(%rdi,%rdx), %r10
1:	movq	%rax, (%rdi)
	addq	$8, %rdi
	cmpq	%r10, %rdi
	jb	1b
	movq	%rax, (%r10)
	movq	%r9, %rax
	ret
2:	movq	%rdx, %rcx
	rep stosb
	movq	%r9, %rax
	ret
3:	movq	%rdx, %rcx
	rep stosb
	movq	%r9, %rax
	ret
SYM_FUNC_END(memset)
EXPORT_SYMBOL(memset)

SYM_FUNC_START(clear_page)
	movl	$512, %ecx
	xorl	%eax, %eax
	rep stosq
	ret
SYM_FUNC_END(clear_page)

SYM_FUNC_START(copy_page)
	movl	$512, %ecx
	rep movsq
	ret
SYM_FUNC_END(copy_page)
