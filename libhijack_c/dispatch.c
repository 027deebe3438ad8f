// SPDX-License-Identifier: GPL-2.0-only
/*
 * Decides: one table, by the number of the call.
 */
#include "fd.h"

#define TABLE_SIZE	512

/* To the host as it is. */
long pass(struct ctx *c, struct regs *r)
{
	(void)c;
	return host_call(r->rax, r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9);
}

/* To the library kernel as it is. */
long pass_lib(struct ctx *c, struct regs *r)
{
	return lib_call(c, r->rax, r->rdi, r->rsi, r->rdx, r->r10, r->r8,
			r->r9);
}

/* Calls that would work around us: as from a kernel without them. */
static long refuse(struct ctx *c, struct regs *r)
{
	(void)r;
	return refused(c, -ENOSYS);
}

static const sys_fn table[TABLE_SIZE] = {
#define CALL(name, fn)	[__NR_##name] = fn
	/* Data and properties of one descriptor. */
	CALL(read, sys_fd1), CALL(write, sys_fd1), CALL(lseek, sys_fd1),
	CALL(pread64, sys_fd1), CALL(pwrite64, sys_fd1),
	CALL(readv, sys_fd1), CALL(writev, sys_fd1),
	CALL(preadv, sys_fd1), CALL(pwritev, sys_fd1),
	CALL(preadv2, sys_fd1), CALL(pwritev2, sys_fd1),
	CALL(fstat, sys_fstat), CALL(fstatfs, sys_fd1),
	CALL(getdents, sys_getdents), CALL(getdents64, sys_getdents),
	CALL(fsync, sys_fd1), CALL(fdatasync, sys_fd1),
	CALL(ftruncate, sys_fd1), CALL(fchmod, sys_fd1),
	CALL(fchown, sys_fd1), CALL(fallocate, sys_fd1),
	CALL(fadvise64, sys_fd1), CALL(readahead, sys_fd1),
	CALL(flock, sys_fd1), CALL(fchdir, sys_fd1),
	CALL(fgetxattr, sys_fd1), CALL(flistxattr, sys_fd1),
	CALL(fsetxattr, sys_fd1), CALL(fremovexattr, sys_fd1),
	CALL(sync_file_range, sys_fd1), CALL(syncfs, sys_fd1),
	/* Of other kinds of files: EINVAL rather than EBADF for ours. */
	CALL(timerfd_settime, sys_fd1), CALL(timerfd_gettime, sys_fd1),
	CALL(inotify_add_watch, sys_fd1), CALL(inotify_rm_watch, sys_fd1),
	CALL(signalfd, sys_fd1), CALL(signalfd4, sys_fd1),
	/* Numbers. */
	CALL(close, sys_close), CALL(close_range, sys_close_range),
	CALL(dup, sys_dup), CALL(dup2, sys_dup2), CALL(dup3, sys_dup3),
	CALL(fcntl, sys_fcntl), CALL(ioctl, sys_ioctl),
	/* Both kernels at once. */
	CALL(sendfile, sys_sendfile), CALL(splice, sys_splice),
	CALL(tee, sys_tee), CALL(vmsplice, sys_vmsplice),
	CALL(copy_file_range, sys_copy_file_range), CALL(mmap, sys_mmap),
	/* Sockets. */
	CALL(socket, sys_socket), CALL(accept, sys_accept),
	CALL(accept4, sys_accept), CALL(bind, sys_fd1),
	CALL(listen, sys_fd1), CALL(connect, sys_fd1),
	CALL(getsockname, sys_fd1), CALL(getpeername, sys_fd1),
	CALL(setsockopt, sys_fd1), CALL(getsockopt, sys_fd1),
	CALL(sendto, sys_sendto), CALL(recvfrom, sys_fd1),
	CALL(sendmsg, sys_sendmsg), CALL(recvmsg, sys_recvmsg),
	CALL(sendmmsg, sys_sendmmsg), CALL(recvmmsg, sys_recvmmsg),
	CALL(shutdown, sys_fd1), CALL(pidfd_getfd, sys_pidfd_getfd),
	/* Waiting. */
	CALL(poll, sys_poll), CALL(ppoll, sys_ppoll),
	CALL(select, sys_select), CALL(pselect6, sys_pselect6),
	CALL(epoll_create, sys_epoll_create),
	CALL(epoll_create1, sys_epoll_create1),
	CALL(epoll_ctl, sys_epoll_ctl), CALL(epoll_wait, sys_epoll_wait),
	CALL(epoll_pwait, sys_epoll_pwait),
	CALL(epoll_pwait2, sys_epoll_pwait2),
	/* Processes. */
	CALL(fork, sys_fork), CALL(vfork, sys_vfork), CALL(clone, sys_clone),
	CALL(clone3, sys_clone3), CALL(execve, sys_execve),
	CALL(execveat, sys_execveat), CALL(exit, sys_exit),
	CALL(exit_group, sys_exit_group), CALL(arch_prctl, sys_arch_prctl),
	CALL(prctl, sys_prctl), CALL(unshare, sys_unshare),
	CALL(setns, sys_setns), CALL(seccomp, sys_seccomp),
	/* Signals. */
	CALL(rt_sigaction, sys_rt_sigaction),
	CALL(rt_sigprocmask, sys_rt_sigprocmask),
	CALL(rt_sigpending, sys_rt_sigpending),
	CALL(rt_sigsuspend, sys_rt_sigsuspend),
	CALL(rt_sigreturn, sys_rt_sigreturn),
	CALL(sigaltstack, sys_sigaltstack), CALL(kill, sys_kill),
	CALL(tkill, sys_tgkill), CALL(tgkill, sys_tgkill),
	CALL(pidfd_send_signal, sys_pidfd_send_signal),
	/* Paths. */
	CALL(open, sys_open), CALL(openat, sys_openat),
	CALL(openat2, sys_openat), CALL(stat, sys_path1),
	CALL(lstat, sys_path1), CALL(access, sys_path1),
	CALL(readlink, sys_path1), CALL(statfs, sys_path1),
	CALL(newfstatat, sys_path2), CALL(statx, sys_path2),
	CALL(faccessat, sys_path2), CALL(faccessat2, sys_path2),
	CALL(readlinkat, sys_path2), CALL(utimensat, sys_utimensat),
	CALL(getxattr, sys_path1), CALL(lgetxattr, sys_path1),
	CALL(listxattr, sys_path1), CALL(llistxattr, sys_path1),
	CALL(creat, sys_open), CALL(truncate, sys_change1),
	CALL(mkdir, sys_change1), CALL(rmdir, sys_change1),
	CALL(unlink, sys_change1), CALL(chmod, sys_change1),
	CALL(chown, sys_change1), CALL(lchown, sys_change1),
	CALL(mkdirat, sys_change2), CALL(unlinkat, sys_change2),
	CALL(fchmodat, sys_change2), CALL(fchownat, sys_change2),
	CALL(rename, sys_rename), CALL(renameat, sys_renameat),
	CALL(renameat2, sys_renameat), CALL(link, sys_rename),
	CALL(linkat, sys_renameat), CALL(symlink, sys_symlink),
	CALL(symlinkat, sys_symlinkat), CALL(mount, sys_mount),
	CALL(umount2, sys_umount2),
	/* The rest. */
	CALL(uname, sys_uname), CALL(sethostname, sys_sethostname),
	CALL(setdomainname, sys_sethostname),
	CALL(capget, sys_capget), CALL(capset, sys_capset),
	CALL(io_uring_setup, refuse), CALL(io_uring_enter, refuse),
	CALL(io_uring_register, refuse),
#undef CALL
};

/* What becomes of a call that a signal has ended. */
static bool again(struct ctx *c, long ret)
{
	switch (-ret) {
	case ERESTARTNOINTR:
		return true;
	case ERESTARTSYS:
		return wants_restart(c);
	}
	return !c->pending;
}

/* A call that does not come back, or only if it fails. */
static bool is_last(u64 nr)
{
	return nr == __NR_exit || nr == __NR_exit_group ||
	       nr == __NR_rt_sigreturn || nr == __NR_execve ||
	       nr == __NR_execveat;
}

static void count(struct ctx *c, u64 nr, long ret)
{
	if (is_last(nr))
		report_error(c, nr, ret);
	/* A child's zero is its parent's call. */
	else if (ret || (nr != __NR_fork && nr != __NR_vfork &&
			 nr != __NR_clone && nr != __NR_clone3))
		report_call(c, nr, ret);
}

static long watched(struct ctx *c, struct regs *r, sys_fn fn)
{
	const u64 a[6] = { r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9 };
	u64 nr = r->rax;
	long ret;

	c->lib_used = c->refused = 0;
	if (is_last(nr)) {
		trace_call(c, nr, a, NULL);
		if (me.watched & WATCH_REPORT)
			report_call(c, nr, 0);
	}
	ret = fn ? fn(c, r) : pass(c, r);
	trace_call(c, nr, a, &ret);
	return ret;
}

void dispatch(struct ctx *c)
{
	struct regs *r = &c->r;
	u64 nr = r->rax;
	sys_fn fn = nr < TABLE_SIZE ? table[nr] : NULL;
	long ret;

	c->nr = nr;
	if (unlikely(c->confined) && !seccomp_allows(c, r))
		return;
	if (unlikely(me.watched))
		ret = watched(c, r, fn);
	else
		ret = fn ? fn(c, r) : pass(c, r);
	if (unlikely(ret <= -ERESTARTSYS && ret >= -ERESTART_RESTARTBLOCK)) {
		if (again(c, ret)) {
			r->rcx -= 2;
			r->rax = nr;
			return;
		}
		ret = -EINTR;
	}
	if (unlikely(me.watched & WATCH_REPORT))
		count(c, nr, ret);
	r->rax = ret;
}
