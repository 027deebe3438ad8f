// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files that are under way from one process to another.
 *
 * A message of the host's (SCM_RIGHTS) can carry no file of ours.  It carries
 * a socket of the host's instead whose name is a ticket; here is the file that
 * the ticket is for.  Who receives the message takes the file.  Messages that
 * nobody ever receives are the kernel host's care: it is told when the first
 * file is lent, and looks every now and then whether the sockets still exist.
 */
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/ukl.h>
#include <asm/unistd.h>

struct lent {
	struct list_head list;
	struct file *file;
	unsigned long ticket;
};

static LIST_HEAD(lent);
static DEFINE_MUTEX(lent_lock);

static struct lent *find(unsigned long ticket)
{
	struct lent *l;

	list_for_each_entry(l, &lent, list)
		if (l->ticket == ticket)
			return l;
	return NULL;
}

static void count(int change)
{
	__atomic_store_n(&ukl.lent, ukl.lent + change, __ATOMIC_SEQ_CST);
	if (change < 0 || ukl.lent > 1)
		return;
	__atomic_fetch_add(&ukl.procs_word, 1, __ATOMIC_SEQ_CST);
	ukl_hostcall(__NR_futex, (long)&ukl.procs_word, FUTEX_WAKE, INT_MAX,
		     0, 0, 0);
}

/* Keeps the file of @fd for whoever brings @ticket, which the caller chose. */
long ukl_lend(int fd, unsigned long ticket)
{
	struct lent *new = kmalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	long err = -EBADF;

	if (!new)
		return -ENOMEM;
	new->ticket = ticket;
	new->file = fget(fd);
	if (!new->file)
		goto free;
	err = -EEXIST;
	mutex_lock(&lent_lock);
	if (!find(ticket)) {
		list_add_tail(&new->list, &lent);
		count(1);
		err = 0;
	}
	mutex_unlock(&lent_lock);
	if (!err)
		return 0;
	fput(new->file);
free:
	kfree(new);
	return err;
}

/* Installs the file of @ticket.  -ENOENT: it is with nobody. */
long ukl_take(unsigned long ticket, int flags, int how)
{
	struct file *file = NULL;
	struct lent *l;
	int fd = 0;

	if (how != UKL_TAKE_NONE)
		fd = get_unused_fd_flags(flags & O_CLOEXEC);
	if (fd < 0)
		return fd;
	mutex_lock(&lent_lock);
	l = find(ticket);
	if (l) {
		file = l->file;
		if (how == UKL_TAKE_COPY) {
			get_file(file);
		} else {
			list_del(&l->list);
			count(-1);
			kfree(l);
		}
	}
	mutex_unlock(&lent_lock);
	if (how == UKL_TAKE_NONE) {
		if (file)
			fput(file);
		return file ? 0 : -ENOENT;
	}
	if (!file) {
		put_unused_fd(fd);
		return -ENOENT;
	}
	fd_install(fd, file);
	return fd;
}

long ukl_lent(unsigned long __user *tickets, unsigned long n)
{
	unsigned long i = 0;
	struct lent *l;
	long err = 0;

	mutex_lock(&lent_lock);
	list_for_each_entry(l, &lent, list) {
		if (i < n && !err)
			err = put_user(l->ticket, &tickets[i]);
		i++;
	}
	mutex_unlock(&lent_lock);
	return err ? err : i;
}
