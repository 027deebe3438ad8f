/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_PTRACE_H
#define _ASM_LKL_PTRACE_H

#include <uapi/asm/ptrace.h>

#ifndef __ASSEMBLY__

struct pt_regs {
	unsigned long ip;
	unsigned long sp;
	unsigned long ax;
	unsigned long user;	/* came from user mode */
};

#define user_mode(regs)			((regs)->user)
#define instruction_pointer(regs)	((regs)->ip)
#define user_stack_pointer(regs)	((regs)->sp)
#define profile_pc(regs)		instruction_pointer(regs)
#define regs_return_value(regs)		((regs)->ax)
#define kernel_stack_pointer(regs)	((regs)->sp)
#define instruction_pointer_set(regs, v)	((regs)->ip = (v))

#endif

#endif /* _ASM_LKL_PTRACE_H */
