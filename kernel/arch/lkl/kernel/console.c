// SPDX-License-Identifier: GPL-2.0-only
/*
 * The console is a ring in shared memory: the program's own descriptors are
 * never written to.  `ukl logs` and the kernel host read it.
 */
#include <linux/console.h>
#include <linux/init.h>
#include <asm/ukl.h>

static void ring_write(struct console *con, const char *s, unsigned int n)
{
	unsigned long head = ukl.log_head;

	while (n--)
		ukl.log[head++ % UKL_LOG_SIZE] = *s++;
	smp_store_release(&ukl.log_head, head);
}

static struct console ring_console = {
	.name	= "ukl",
	.write	= ring_write,
	.flags	= CON_PRINTBUFFER | CON_ENABLED | CON_ANYTIME,
	.index	= -1,
};

void __init ukl_early_console(void)
{
	register_console(&ring_console);
}
