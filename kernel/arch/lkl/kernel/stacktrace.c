// SPDX-License-Identifier: GPL-2.0-only
/* Stack traces along frame pointers. */
#include <linux/kallsyms.h>
#include <linux/sched.h>
#include <linux/sched/debug.h>
#include <linux/sched/task_stack.h>
#include <linux/stacktrace.h>

static void walk(struct task_struct *task, unsigned long fp,
		 bool (*each)(void *cookie, unsigned long pc), void *cookie)
{
	unsigned long low = (unsigned long)task_stack_page(task);
	unsigned long high = low + THREAD_SIZE - 2 * sizeof(long);
	unsigned long *frame;

	if (!IS_ENABLED(CONFIG_FRAME_POINTER))
		return;
	while (fp >= low && fp <= high && !(fp & 7)) {
		frame = (unsigned long *)fp;
		if (!frame[1] || !each(cookie, frame[1]))
			return;
		low = fp + 1;
		fp = frame[0];
	}
}

static unsigned long frame_of(struct task_struct *task)
{
	if (!task || task == current)
		return (unsigned long)__builtin_frame_address(0);
	/* ukl_leave() and ukl_switch() push rbp first, r15 last. */
	return ((unsigned long *)task->thread.sp)[5];
}


void arch_stack_walk(stack_trace_consume_fn consume, void *cookie,
		     struct task_struct *task, struct pt_regs *regs)
{
	walk(task ?: current, frame_of(task), consume, cookie);
}

static bool show_one(void *cookie, unsigned long pc)
{
	printk("%s %pS\n", (const char *)cookie, (void *)pc);
	return true;
}

void show_stack(struct task_struct *task, unsigned long *sp,
		const char *loglvl)
{
	walk(task ?: current, frame_of(task), show_one, (void *)loglvl);
}
