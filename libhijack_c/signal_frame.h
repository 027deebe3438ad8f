/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The frame that the host builds for a signal handler (man 2 sigreturn;
 * arch/x86/include/uapi/asm/sigcontext.h).
 */
#ifndef UKL_SIGNAL_FRAME_H
#define UKL_SIGNAL_FRAME_H

#include "shim.h"

_Static_assert(sizeof(struct raw_info) == 128, "siginfo");

struct raw_context {
	u64 flags, link;
	struct stack_t_ stack;
	u64 r8, r9, r10, r11, r12, r13, r14, r15;
	u64 di, si, bp, bx, dx, ax, cx, sp, ip, eflags, segments;
	u64 err, trapno, oldmask, cr2;
	u64 fpstate;
	u64 reserved[8];
	u64 mask;
};

_Static_assert(sizeof(struct raw_context) == 304, "ucontext");

struct raw_frame {
	u64 restorer;
	struct raw_context uc;
	struct raw_info info;
};

#define FP_MAGIC_AT	464	/* within fpstate */
#define FP_SIZE_AT	468
#define FP_MAGIC	0x46505853u
#define FP_PLAIN_SIZE	512

#pragma GCC visibility push(hidden)
void on_trap(struct ctx *c, struct raw_info *info, struct raw_context *uc);
void deliver(struct ctx *c, struct raw_context *uc);
#pragma GCC visibility pop

#endif
