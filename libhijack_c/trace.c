// SPDX-License-Identifier: GPL-2.0-only
/*
 * UKL_TRACE=SET[,FILE]: a line for each call, in strace's format, with who
 * answered it: [ukl] the library kernel, [host] the host.
 *
 * SET is "all", "ukl" or "host".  Lines go to FILE (appended), or to standard
 * error.  The line is written when the call has returned, so one that never
 * does (exit, a successful exec) has its line first, with "?".
 */
#include "fd.h"

#include <fcntl.h>

#define SHOW_LIB	1
#define SHOW_HOST	2

static NEAR struct {
	u32 set;
	int fd;
} trace;

struct name {
	u16 nr;
	u8 args;
	u8 text;		/* bit n: argument n is a path */
	const char *name;
};

#define N(call, args, text)	{ __NR_##call, args, text, #call }
static const struct name names[] = {
	N(read, 3, 0), N(write, 3, 0), N(open, 3, 1), N(close, 1, 0),
	N(stat, 2, 1), N(fstat, 2, 0), N(lstat, 2, 1), N(poll, 3, 0),
	N(lseek, 3, 0), N(mmap, 6, 0), N(mprotect, 3, 0), N(munmap, 2, 0),
	N(brk, 1, 0), N(rt_sigaction, 4, 0), N(rt_sigprocmask, 4, 0),
	N(ioctl, 3, 0), N(pread64, 4, 0), N(pwrite64, 4, 0), N(readv, 3, 0),
	N(writev, 3, 0), N(access, 2, 1), N(pipe, 1, 0), N(select, 5, 0),
	N(sched_yield, 0, 0), N(madvise, 3, 0), N(dup, 1, 0), N(dup2, 2, 0),
	N(pause, 0, 0), N(nanosleep, 2, 0), N(alarm, 1, 0), N(getpid, 0, 0),
	N(sendfile, 4, 0), N(socket, 3, 0), N(connect, 3, 0),
	N(accept, 3, 0), N(sendto, 6, 0), N(recvfrom, 6, 0),
	N(sendmsg, 3, 0), N(recvmsg, 3, 0), N(shutdown, 2, 0), N(bind, 3, 0),
	N(listen, 2, 0), N(getsockname, 3, 0), N(getpeername, 3, 0),
	N(socketpair, 4, 0), N(setsockopt, 5, 0), N(getsockopt, 5, 0),
	N(clone, 5, 0), N(fork, 0, 0), N(vfork, 0, 0), N(execve, 3, 1),
	N(exit, 1, 0), N(wait4, 4, 0), N(kill, 2, 0), N(uname, 1, 0),
	N(fcntl, 3, 0), N(flock, 2, 0), N(fsync, 1, 0), N(ftruncate, 2, 0),
	N(getdents, 3, 0), N(getcwd, 2, 0), N(chdir, 1, 1), N(fchdir, 1, 0),
	N(rename, 2, 3), N(mkdir, 2, 1), N(rmdir, 1, 1), N(unlink, 1, 1),
	N(symlink, 2, 3), N(readlink, 3, 1), N(chmod, 2, 1),
	N(chown, 3, 1), N(umask, 1, 0), N(gettimeofday, 2, 0),
	N(getuid, 0, 0), N(getgid, 0, 0), N(setuid, 1, 0), N(setgid, 1, 0),
	N(geteuid, 0, 0), N(getegid, 0, 0), N(setpgid, 2, 0),
	N(getppid, 0, 0), N(getpgrp, 0, 0), N(setsid, 0, 0),
	N(setgroups, 2, 0), N(capget, 2, 0), N(capset, 2, 0),
	N(rt_sigsuspend, 2, 0), N(sigaltstack, 2, 0), N(prctl, 5, 0),
	N(arch_prctl, 2, 0), N(setrlimit, 2, 0), N(sethostname, 2, 0),
	N(gettid, 0, 0), N(futex, 6, 0), N(epoll_create, 1, 0),
	N(getdents64, 3, 0), N(set_tid_address, 1, 0), N(fadvise64, 4, 0),
	N(clock_gettime, 2, 0), N(clock_nanosleep, 4, 0),
	N(exit_group, 1, 0), N(epoll_wait, 4, 0), N(epoll_ctl, 4, 0),
	N(tgkill, 3, 0), N(waitid, 5, 0), N(openat, 4, 2),
	N(newfstatat, 4, 2), N(unlinkat, 3, 2), N(readlinkat, 4, 2),
	N(faccessat, 3, 2), N(pselect6, 6, 0), N(ppoll, 5, 0),
	N(set_robust_list, 2, 0), N(splice, 6, 0), N(utimensat, 4, 2),
	N(epoll_pwait, 6, 0), N(signalfd4, 4, 0), N(timerfd_create, 2, 0),
	N(eventfd2, 2, 0), N(timerfd_settime, 4, 0), N(accept4, 4, 0),
	N(epoll_create1, 1, 0), N(dup3, 3, 0), N(pipe2, 2, 0),
	N(recvmmsg, 5, 0), N(prlimit64, 4, 0), N(sendmmsg, 4, 0),
	N(getrandom, 3, 0), N(memfd_create, 2, 1), N(execveat, 5, 2),
	N(statx, 5, 2), N(rseq, 4, 0), N(clone3, 2, 0),
	N(close_range, 3, 0), N(faccessat2, 4, 2), N(sysinfo, 1, 0),
	N(epoll_pwait2, 6, 0), N(restart_syscall, 0, 0), N(mount, 5, 3),
	N(umount2, 2, 1), N(unshare, 1, 0), N(setns, 2, 0), N(mkdirat, 3, 2),
	N(pidfd_getfd, 3, 0),
};

static const char *const errors[] = {
	[1] = "EPERM", [2] = "ENOENT", [3] = "ESRCH", [4] = "EINTR",
	[5] = "EIO", [6] = "ENXIO", [7] = "E2BIG", [8] = "ENOEXEC",
	[9] = "EBADF", [10] = "ECHILD", [11] = "EAGAIN", [12] = "ENOMEM",
	[13] = "EACCES", [14] = "EFAULT", [16] = "EBUSY", [17] = "EEXIST",
	[18] = "EXDEV", [19] = "ENODEV", [20] = "ENOTDIR", [21] = "EISDIR",
	[22] = "EINVAL", [23] = "ENFILE", [24] = "EMFILE", [25] = "ENOTTY",
	[27] = "EFBIG", [28] = "ENOSPC", [29] = "ESPIPE", [30] = "EROFS",
	[32] = "EPIPE", [34] = "ERANGE", [36] = "ENAMETOOLONG",
	[38] = "ENOSYS", [39] = "ENOTEMPTY", [40] = "ELOOP",
	[61] = "ENODATA", [88] = "ENOTSOCK", [89] = "EDESTADDRREQ",
	[90] = "EMSGSIZE", [92] = "ENOPROTOOPT", [93] = "EPROTONOSUPPORT",
	[94] = "ESOCKTNOSUPPORT", [95] = "EOPNOTSUPP",
	[97] = "EAFNOSUPPORT", [98] = "EADDRINUSE", [99] = "EADDRNOTAVAIL",
	[100] = "ENETDOWN", [101] = "ENETUNREACH", [103] = "ECONNABORTED",
	[104] = "ECONNRESET", [105] = "ENOBUFS", [106] = "EISCONN",
	[107] = "ENOTCONN", [110] = "ETIMEDOUT", [111] = "ECONNREFUSED",
	[113] = "EHOSTUNREACH", [114] = "EALREADY", [115] = "EINPROGRESS",
};

/* After the attachment; the file's descriptor is one of the hidden. */
void trace_start(struct ctx *c)
{
	char *file = me.trace;
	long fd;

	if (!me.trace[0])
		return;
	while (*file && *file != ',')
		file++;
	if (str_starts(me.trace, "ukl"))
		trace.set = SHOW_LIB;
	else if (str_starts(me.trace, "host"))
		trace.set = SHOW_HOST;
	else if (str_starts(me.trace, "all"))
		trace.set = SHOW_LIB | SHOW_HOST;
	else
		give_up("UKL_TRACE: not a set of calls: ", me.trace,
			" (all, ukl or host)");
	me.watched |= WATCH_TRACE;
	trace.fd = 2;
	if (!*file)
		return;
	fd = RAW4(__NR_openat, AT_FDCWD, file + 1, O_WRONLY | O_CREAT |
		  O_APPEND | O_CLOEXEC, 0666);
	if (is_err(fd))
		give_up("UKL_TRACE: cannot write to ", file + 1, "");
	trace.fd = RAW3(__NR_fcntl, fd, F_DUPFD_CLOEXEC, me.anchor);
	if (is_err(trace.fd))
		trace.fd = fd;
	else
		RAW1(__NR_close, fd);
	set_kind(c, trace.fd, K_HIDDEN);
}

static char *hex_put(char *to, char *end, u64 n)
{
	char text[20];
	int i = sizeof(text) - 1;

	text[i] = 0;
	do {
		text[--i] = "0123456789abcdef"[n % 16];
		n /= 16;
	} while (n);
	return str_put(str_put(to, end, "0x"), end, text + i);
}

static char *value_put(char *to, char *end, u64 n)
{
	int small = n;

	if ((long)n == small || n == (u32)small) {
		if (small < 0)
			return num_put(str_put(to, end, "-"), end,
				       -(long)small);
		return num_put(to, end, small);
	}
	return hex_put(to, end, n);
}

static char *path_put(char *to, char *end, u64 user)
{
	char text[256];
	long n = get_user_string(text, (char *)user, sizeof(text));

	if (n < 0 && n != -ENAMETOOLONG)
		return hex_put(to, end, user);
	text[sizeof(text) - 1] = 0;
	to = str_put(str_put(to, end, "\""), end, text);
	return str_put(to, end, n < 0 ? "\"..." : "\"");
}

/* @a: the arguments as they were; @ret: NULL when there will be none. */
void trace_call(struct ctx *c, u64 nr, const u64 *a, const long *ret)
{
	char line[1024], *end = line + sizeof(line) - 1, *p = line;
	const struct name *n = NULL;
	u32 i, args = 6, text = 0;

	if (!(trace.set & (c->lib_used ? SHOW_LIB : SHOW_HOST)))
		return;
	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (names[i].nr == nr)
			n = &names[i];
	p = str_put(p, end, c->lib_used ? "[ukl]  " : "[host] ");
	p = num_put(p, end, c->tid);
	p = str_put(p, end, " ");
	if (n) {
		args = n->args;
		text = n->text;
		p = str_put(p, end, n->name);
	} else {
		p = num_put(str_put(p, end, "syscall_"), end, nr);
	}
	p = str_put(p, end, "(");
	for (i = 0; i < args; i++) {
		if (i)
			p = str_put(p, end, ", ");
		p = text & (1u << i) ? path_put(p, end, a[i]) :
		    value_put(p, end, a[i]);
	}
	p = str_put(p, end, ") = ");
	if (!ret) {
		p = str_put(p, end, "?");
	} else if (*ret <= -ERESTARTSYS && *ret >= -ERESTART_RESTARTBLOCK) {
		p = str_put(p, end, "? (interrupted)");
	} else if (is_err(*ret)) {
		i = -*ret;
		p = str_put(p, end, "-1 ");
		if (i < sizeof(errors) / sizeof(*errors) && errors[i])
			p = str_put(p, end, errors[i]);
		else
			p = num_put(str_put(p, end, "errno "), end, i);
	} else {
		p = value_put(p, end, *ret);
	}
	*p++ = '\n';
	RAW3(__NR_write, trace.fd, line, p - line);
}
