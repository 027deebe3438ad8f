// SPDX-License-Identifier: GPL-2.0-only
/* The system calls, under x86-64's numbers. */
#include <linux/syscalls.h>
#include <linux/mman.h>
#include <asm/syscall.h>

SYSCALL_DEFINE6(mmap, unsigned long, addr, unsigned long, len,
		unsigned long, prot, unsigned long, flags,
		unsigned long, fd, unsigned long, off)
{
	if (offset_in_page(off))
		return -EINVAL;
	return ksys_mmap_pgoff(addr, len, prot, flags, fd, off >> PAGE_SHIFT);
}

/* These belong to the processor and the program: always the host's. */
#define sys_arch_prctl		sys_ni_syscall
#define sys_ioperm		sys_ni_syscall
#define sys_iopl		sys_ni_syscall
#define sys_modify_ldt		sys_ni_syscall
#define sys_rt_sigreturn	sys_ni_syscall

/* Every entry takes up to six registers and uses those it knows. */
#define __SYSCALL(nr, sym)	[nr] = (sys_call_fn)(void *)sym,
#define __SYSCALL_NORETURN	__SYSCALL

const sys_call_fn sys_call_table[NR_syscalls] = {
	[0 ... NR_syscalls - 1] = (sys_call_fn)(void *)sys_ni_syscall,
#include <asm/syscall_table_64.h>
};
