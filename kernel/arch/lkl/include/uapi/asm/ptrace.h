/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/* Registers live in the host process; nothing here is visible to a tracer. */
#ifndef _UAPI_ASM_LKL_PTRACE_H
#define _UAPI_ASM_LKL_PTRACE_H

struct user_regs_struct {
	unsigned long ip;
	unsigned long sp;
};

#endif
