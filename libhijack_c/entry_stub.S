/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The assembly: the one page from which system calls reach the host, the way
 * into the core and the way out.
 *
 * Syscall User Dispatch lets calls from this page pass and turns all others
 * into SIGSYS.  Nothing here touches the program's stack, so its red zone and
 * Go's small stacks are safe.
 */
#include "layout.h"

	.section .text.stub, "ax", @progbits
	.balign 4096
	.globl stub_start, stub_end
	.hidden stub_start, stub_end
stub_start:

.macro FUNC name
	.globl \name
	.hidden \name
	.type \name, @function
	.balign 16
\name:
.endm

.macro LABEL name
	.globl \name
	.hidden \name
\name:
.endm

.macro CALL_REGS
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%r8, %r10
	mov	%r9, %r8
	mov	8(%rsp), %r9
.endm

/* long ukl_hostcall_raw(nr, a, b, c, d, e, f): whatever signals say. */
FUNC ukl_hostcall_raw
	CALL_REGS
	syscall
	ret

/*
 * long host_call(nr, a, b, c, d, e, f): -513 at once when a signal waits to be
 * delivered.  The handler takes a thread that it finds between the check and
 * the call to the label behind.
 */
FUNC host_call
	CALL_REGS
LABEL host_call_check
	cmpl	$0, %gs:CTX_PENDING
	jne	host_call_abort
LABEL host_call_insn
	syscall
	ret
LABEL host_call_abort
	mov	$-513, %rax
	ret

/*
 * long host_clone(ctx, nr, args): with a @ctx the child, which shares our
 * memory, starts there, on the stack of @ctx.
 */
FUNC host_clone
	push	%rbx
	mov	%rdi, %rbx
	mov	%rsi, %rax
	mov	%rdx, %r11
	mov	0(%r11), %rdi
	mov	8(%r11), %rsi
	mov	16(%r11), %rdx
	mov	24(%r11), %r10
	mov	32(%r11), %r8
	mov	40(%r11), %r9
	syscall
	test	%rax, %rax
	jnz	1f
	test	%rbx, %rbx
	jnz	2f
1:	pop	%rbx
	ret
2:	cmpl	$0, CTX_FSGSBASE(%rbx)
	je	3f
	wrgsbase %rbx
	jmp	4f
3:	mov	$158, %eax		/* arch_prctl(ARCH_SET_GS) */
	mov	$0x1001, %edi
	mov	%rbx, %rsi
	syscall
4:	mov	CTX_TOP(%rbx), %rsp
	mov	%rbx, %rdi
	call	clone_child
	jmp	ukl_leave

/* host_exit(nr, status, word, value): the context may be used again from the
 * store on, so that nothing of it is touched after. */
FUNC host_exit
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%ecx, (%rdx)
	syscall
	ud2

/* host_sigreturn(): for a program that calls rt_sigreturn itself. */
FUNC host_sigreturn
	mov	%gs:CTX_RSP, %rsp
	mov	$15, %eax
	movl	$0, %gs:CTX_IN
	syscall
	ud2

/* The bytes by which unwinders know a signal frame. */
	.globl stub_restorer
	.hidden stub_restorer
	.balign 16
	nop
stub_restorer:
	mov	$15, %rax
	syscall

/*
 * sig_enter(handler, sig, info, uc, sp, mask): leaves for the program's
 * handler, on its stack and with its mask.  Another signal may come as soon
 * as the mask allows.
 */
FUNC sig_enter
	mov	%r8, %rsp
	mov	%rdi, %rbx
	mov	%rsi, %r12
	mov	%rdx, %r13
	mov	%rcx, %r14
	mov	$14, %eax		/* rt_sigprocmask */
	mov	$2, %edi		/* SIG_SETMASK */
	mov	%r9, %rsi
	xor	%edx, %edx
	mov	$8, %r10d
	syscall
	mov	%r12, %rdi
	mov	%r13, %rsi
	mov	%r14, %rdx
	xor	%eax, %eax
	jmp	*%rbx

	.balign 4096, 0xcc
stub_end:

/* What rewritten sites jump to; see rewrite.c. */
	.globl slots, slots_end
	.hidden slots, slots_end
slots:
	.fill 65536, 1, 0xcc
slots_end:

	.text

/*
 * The one entry.  All registers are the program's, but rcx, which says where
 * it goes on; as syscall leaves them.
 */
FUNC ukl_entry
	movl	$1, %gs:CTX_IN
LABEL ukl_entry_in
	mov	%rsp, %gs:CTX_RSP
	mov	%gs:CTX_TOP, %rsp
	pushfq
	popq	%gs:CTX_R11
	cld
	mov	%rax, %gs:CTX_RAX
	mov	%rbx, %gs:CTX_RBX
	mov	%rcx, %gs:CTX_RCX
	mov	%rdx, %gs:CTX_RDX
	mov	%rsi, %gs:CTX_RSI
	mov	%rdi, %gs:CTX_RDI
	mov	%rbp, %gs:CTX_RBP
	mov	%r8, %gs:CTX_R8
	mov	%r9, %gs:CTX_R9
	mov	%r10, %gs:CTX_R10
	mov	%r12, %gs:CTX_R12
	mov	%r13, %gs:CTX_R13
	mov	%r14, %gs:CTX_R14
	mov	%r15, %gs:CTX_R15
	mov	%gs:CTX_SELF, %rdi
	call	dispatch

.macro RESTORE
	pushq	%gs:CTX_R11
	popfq
	mov	%gs:CTX_RAX, %rax
	mov	%gs:CTX_RBX, %rbx
	mov	%gs:CTX_RCX, %rcx
	mov	%gs:CTX_RDX, %rdx
	mov	%gs:CTX_RSI, %rsi
	mov	%gs:CTX_RDI, %rdi
	mov	%gs:CTX_RBP, %rbp
	mov	%gs:CTX_R8, %r8
	mov	%gs:CTX_R9, %r9
	mov	%gs:CTX_R10, %r10
	mov	%gs:CTX_R11, %r11
	mov	%gs:CTX_R12, %r12
	mov	%gs:CTX_R13, %r13
	mov	%gs:CTX_R14, %r14
	mov	%gs:CTX_R15, %r15
	mov	%gs:CTX_RSP, %rsp
.endm

/*
 * The way out can be begun anew at any point: a signal that comes here is
 * made to wait, and the thread sent back to the start.
 */
FUNC ukl_leave
	mov	%gs:CTX_TOP, %rsp
	cmpl	$0, %gs:CTX_PENDING
	jne	ukl_deliver
	RESTORE
	movl	$0, %gs:CTX_IN
	jmp	*%rcx
LABEL ukl_leave_end
	ud2

/*
 * With signals that wait: this call is not from the stub page, so it traps,
 * and the handler puts the mask right.  The host then delivers them with the
 * program's exact state.
 */
FUNC ukl_deliver
	RESTORE
	syscall
LABEL ukl_deliver_trap
	ud2

/*
 * Where a process begins that executes us as a program; its stack is the
 * program's to be.
 */
FUNC ukl_start
	xor	%ebp, %ebp
	mov	%rsp, %rdi
	and	$-16, %rsp
	call	loader_start
	ud2

/* loader_leave(sp, entry): to the program, as the host would have begun it. */
FUNC loader_leave
	mov	%rdi, %rsp
	mov	%rsi, -8(%rsp)
	movl	$0, %gs:CTX_IN
	xor	%eax, %eax
	xor	%ebx, %ebx
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%ebp, %ebp
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	xor	%r12d, %r12d
	xor	%r13d, %r13d
	xor	%r14d, %r14d
	xor	%r15d, %r15d
	jmp	*-8(%rsp)

/*
 * long copy_user(to, from, n): 0, or -EFAULT when either side is not there;
 * the SIGSEGV handler knows the one instruction that may fault.
 */
FUNC copy_user
	mov	%rdx, %rcx
LABEL copy_user_insn
	rep movsb
	xor	%eax, %eax
	ret
FUNC copy_user_fault
	mov	$-14, %rax
	ret

FUNC memcpy
	mov	%rdi, %rax
	mov	%rdx, %rcx
	rep movsb
	ret

FUNC memset
	mov	%rdi, %r8
	mov	%esi, %eax
	mov	%rdx, %rcx
	rep stosb
	mov	%r8, %rax
	ret

	.section .note.GNU-stack, "", @progbits
