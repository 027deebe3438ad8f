/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_CURRENT_H
#define _ASM_LKL_CURRENT_H

#ifndef __ASSEMBLY__
struct task_struct;

/* One CPU, hence one variable. */
extern struct task_struct *ukl_current;

#define get_current()	(ukl_current)
#define current		get_current()
#endif

#endif /* _ASM_LKL_CURRENT_H */
