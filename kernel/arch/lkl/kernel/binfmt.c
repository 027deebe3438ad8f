// SPDX-License-Identifier: GPL-2.0-only
/*
 * The only program format of the library kernel: a file of eight bytes.
 * Executing it gives the task what exec gives (a fresh mm, closed descriptors,
 * reset signals); the code that runs is the host program's.
 */
#include <linux/binfmts.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/task_work.h>
#include <asm/processor.h>
#include <asm/ptrace.h>

static const char magic[8] = "UKLEXEC\n";

static int load_binary(struct linux_binprm *bprm)
{
	int err;

	if (memcmp(bprm->buf, magic, sizeof(magic)))
		return -ENOEXEC;
	err = begin_new_exec(bprm);
	if (err)
		return err;
	setup_new_exec(bprm);
	finalize_exec(bprm);
	start_thread(current_pt_regs(), 0, 0);
	return 0;
}

static struct linux_binfmt format = { .load_binary = load_binary };

static int __init register_format(void)
{
	register_binfmt(&format);
	return 0;
}
core_initcall(register_format);

/* PID 1 executes /init, as everywhere. */
static int __init write_init(void)
{
	struct file *file = filp_open("/init", O_CREAT | O_WRONLY | O_TRUNC,
				      0755);
	loff_t pos = 0;
	ssize_t n;

	if (IS_ERR(file))
		return PTR_ERR(file);
	n = kernel_write(file, magic, sizeof(magic), &pos);
	filp_close(file, NULL);
	/* A file that is open for writing cannot be executed. */
	flush_delayed_fput();
	task_work_run();
	return n == sizeof(magic) ? 0 : -EIO;
}
device_initcall(write_init);
