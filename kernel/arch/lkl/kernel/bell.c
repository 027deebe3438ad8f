// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bells: a thread that waits for both kernels' events at once, and often.
 *
 * A blocking call with host descriptors beside it (ukl_syscall_also()) costs a
 * task that sleeps and is woken here, and on the host ppoll(), a read of the
 * eventfd that ended it, and a look at which event it was.  A thread with a
 * bell does not sleep here: whenever its epoll file has become ready, its eventfd
 * is written, which is one of the descriptors that it waits for in an epoll of
 * the host's, edge-triggered, so that nobody has to read it.  While the bell has
 * rung and was not answered it does not ring again, and may be looked at for
 * nothing.
 */
#include <linux/file.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/wait.h>
#include <asm/ukl.h>

struct bell {
	poll_table		table;
	wait_queue_entry_t	wait;
	struct ukl_thread	*th;
};

static int ring(wait_queue_entry_t *wait, unsigned int mode, int sync,
		void *key)
{
	ukl_toll(container_of(wait, struct bell, wait)->th);
	return 0;
}

static void hang(struct file *file, wait_queue_head_t *head, poll_table *table)
{
	add_wait_queue(head, &container_of(table, struct bell, table)->wait);
}

/*
 * Has the caller's bell ring whenever the file of @epoll has become ready, as
 * long as there is an instance: for the kernel host's threads, which stay.
 */
long ukl_bell(int epoll)
{
	struct ukl_thread *th = current->thread.host;
	struct bell *bell;
	struct file *file;
	int slot;

	if (th->wait_slot >= 0)
		return -EBUSY;
	file = fget(epoll);
	if (!file)
		return -EBADF;
	slot = -EINVAL;
	if (!file_can_poll(file))
		goto put;
	slot = -ENOMEM;
	bell = kzalloc(sizeof(*bell), GFP_KERNEL);
	if (!bell)
		goto put;
	bell->th = th;
	slot = ukl_take_wait_slot(th);
	if (slot < 0) {
		kfree(bell);
		slot = -ENOSPC;
		goto put;
	}
	ukl.bell[slot] = th;
	init_waitqueue_func_entry(&bell->wait, ring);
	init_poll_funcptr(&bell->table, hang);
	/* What is ready already rings, too. */
	if (vfs_poll(file, &bell->table))
		ukl_toll(th);
	/* The file is kept: its queue has our entry. */
	return th->proc->fd[UKL_FD_WAIT + slot];
put:
	fput(file);
	return slot;
}
