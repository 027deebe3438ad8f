// SPDX-License-Identifier: GPL-2.0-only
/*
 * accept4() that takes no descriptor before there is a connection.
 *
 * The shim's numbers are the host's, and it moves the new file to one of them.
 * Linux reserves a number for as long as it waits, which may be the very one
 * that another thread's file has to have.
 */
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/net.h>
#include <linux/socket.h>
#include <net/sock.h>
#include <asm/ukl.h>

/*
 * @wanted: a number, from which on the first free one is taken, and does not
 * wait; or -1.
 */
long ukl_accept(int fd, struct sockaddr __user *peer, int __user *peer_len,
		int flags, int wanted)
{
	struct proto_accept_arg arg = { .flags = wanted < 0 ? 0 : O_NONBLOCK };
	struct file *file;
	int new;

	CLASS(fd, f)(fd);

	if (fd_empty(f))
		return -EBADF;
	if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	/* None to be had: the connection stays in the queue. */
	new = get_unused_fd_flags(0);
	if (new < 0)
		return new;
	put_unused_fd(new);

	file = do_accept(fd_file(f), &arg, peer, peer_len, flags);
	if (IS_ERR(file))
		return PTR_ERR(file);
	if (wanted >= 0) {
		new = f_dupfd(wanted, file, flags & SOCK_CLOEXEC);
		fput(file);
		return new;
	}
	new = get_unused_fd_flags(flags);
	if (new < 0)
		fput(file);
	else
		fd_install(new, file);
	return new;
}
