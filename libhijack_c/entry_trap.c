// SPDX-License-Identifier: GPL-2.0-only
/*
 * Catches what no other way has caught: Syscall User Dispatch.
 *
 * Every system call outside the stub page raises SIGSYS.  The handler makes
 * no decision: it sends the thread to the entry, with the address behind the
 * call in rcx, so that the call itself runs outside signal context.
 */
#include "shim.h"
#include "signal_frame.h"

#define PR_SET_SYSCALL_USER_DISPATCH	59
#define AUDIT_X86_64			0xc000003eU

void arm(void)
{
	long err = RAW5(__NR_prctl, PR_SET_SYSCALL_USER_DISPATCH, 1,
			stub_start, stub_end - stub_start, 0);

	if (err)
		give_up("the host has no Syscall User Dispatch",
			" (Linux 5.11 or newer has it)", "");
}

void on_trap(struct ctx *c, struct raw_info *info, struct raw_context *uc)
{
	if (uc->ip == (u64)ukl_deliver_trap && c->in) {
		deliver(c, uc);
		return;
	}
	if (info->arch != AUDIT_X86_64) {
		uc->ax = -ENOSYS;
		return;
	}
	if (c->in)
		give_up("a system call from inside the shim", "", "");
	c->traps++;
	if (unlikely(me.watched & WATCH_REPORT))
		report_trap(uc->ip - 2, uc->ax);
	rewrite(uc->ip - 2, uc->ax);
	uc->cx = uc->ip;
	uc->ip = (u64)ukl_entry;
}
