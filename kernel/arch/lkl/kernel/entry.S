/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Switching between stacks: a host thread's native one and those of the
 * kernel's coroutines.  Only callee-saved registers live across these calls;
 * the kernel has no vector registers to save.
 */
#include <linux/linkage.h>
#include <asm/asm-offsets.h>

.macro PUSH_CALLEE_SAVED
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
.endm

.macro POP_CALLEE_SAVED
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
.endm

	.text

/*
 * long ukl_resume(struct ukl_thread *th, unsigned long sp)
 * From the native stack of @th into the coroutine whose stack pointer was
 * saved as @sp.  Returns what the coroutine that leaves passes as @why.
 */
SYM_FUNC_START(ukl_resume)
	PUSH_CALLEE_SAVED
	movq	%rsp, UKL_TH_NATIVE_SP(%rdi)
	movq	%rsi, %rsp
	POP_CALLEE_SAVED
	ret
SYM_FUNC_END(ukl_resume)

/*
 * void ukl_leave(unsigned long *save, struct ukl_thread *th, long why)
 * From a coroutine, saved to @save, back to the native stack of @th.
 */
SYM_FUNC_START(ukl_leave)
	PUSH_CALLEE_SAVED
	movq	%rsp, (%rdi)
	movq	UKL_TH_NATIVE_SP(%rsi), %rsp
	POP_CALLEE_SAVED
	movq	%rdx, %rax
	ret
SYM_FUNC_END(ukl_leave)

/*
 * void ukl_switch(unsigned long *save, unsigned long sp)
 * From one coroutine to another on the same host thread.
 */
SYM_FUNC_START(ukl_switch)
	PUSH_CALLEE_SAVED
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	POP_CALLEE_SAVED
	ret
SYM_FUNC_END(ukl_switch)

/*
 * long ukl_call_on(unsigned long sp, void (*fn)(void), struct ukl_thread *th)
 * Like ukl_resume(), but starts @fn, which never returns, on a fresh stack.
 */
SYM_FUNC_START(ukl_call_on)
	PUSH_CALLEE_SAVED
	movq	%rsp, UKL_TH_NATIVE_SP(%rdx)
	movq	%rdi, %rsp
	xorl	%ebp, %ebp
	call	*%rsi
	ud2
SYM_FUNC_END(ukl_call_on)

/*
 * Where a new task starts: copy_thread() left the function of a kernel
 * thread in rbx and its argument in r12, or zero for a user task.
 */
SYM_FUNC_START(ukl_ret_from_fork)
	call	ukl_schedule_tail
	testq	%rbx, %rbx
	jz	1f
	movq	%r12, %rdi
	call	*%rbx
1:	call	ukl_user_loop
	ud2
SYM_FUNC_END(ukl_ret_from_fork)
