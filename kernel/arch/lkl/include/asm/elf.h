/* SPDX-License-Identifier: GPL-2.0-only */
/* What generic code wants to know; there is no ELF loader without an MMU. */
#ifndef _ASM_LKL_ELF_H
#define _ASM_LKL_ELF_H

#include <linux/elf-em.h>
#include <asm/ptrace.h>

#define ELF_CLASS		ELFCLASS64
#define ELF_DATA		ELFDATA2LSB
#define ELF_ARCH		EM_X86_64
#define elf_check_arch(hdr)	((hdr)->e_machine == ELF_ARCH)

#define ELF_NGREG		(sizeof(struct pt_regs) / sizeof(elf_greg_t))
#define CORE_DUMP_USE_REGSET
#define ELF_EXEC_PAGESIZE	4096
#define ELF_PLATFORM		"x86_64"
#define ELF_HWCAP		0

typedef unsigned long elf_greg_t;
typedef elf_greg_t elf_gregset_t[ELF_NGREG];
typedef unsigned long elf_fpregset_t;

#endif /* _ASM_LKL_ELF_H */
