// SPDX-License-Identifier: GPL-2.0-only
/* Offsets and sizes for the assembler and the linker script. */
#include <linux/kbuild.h>
#include <linux/sched.h>
#include <asm/page.h>
#include <ukl/abi.h>

int main(void)
{
	OFFSET(UKL_TH_NATIVE_SP, ukl_thread, native_sp);
	DEFINE(ASM_THREAD_SIZE, THREAD_SIZE);
	return 0;
}
