// SPDX-License-Identifier: GPL-2.0-only
/*
 * Descriptors.
 *
 * Numbers are the host's.  For a file of the library kernel the host has a
 * placeholder under that number, a copy of one O_PATH descriptor: the lowest
 * free number, limits, close-on-exec, fork and exec then follow the host by
 * themselves, and a use that escapes us fails with EBADF.  The file has the
 * same number in the task's table in the library kernel, so arguments pass
 * through untouched.
 */
#include "fd.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <linux/sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define F_DUPFD_CLOEXEC_	1030
#define FIONCLEX_		0x5450
#define FIOCLEX_		0x5451
#define FIONBIO_		0x5421
#define FIOASYNC_		0x5452
#define PIDFD_GET_NET_NAMESPACE_ 0xff04

/* In @f, which is FILES_SIZE long and zero, but for what notes were. */
struct files *files_init(struct files *f)
{
	f->refs = 1;
	f->kind = (u8 *)(f + 1);
	f->note = (u16 *)(f->kind + MAX_FD);
	return f;
}

/* One that was dropped: a vfork takes it, and its parent gets it back. */
static struct files *spare;

struct files *files_new(void)
{
	struct files *f = __atomic_exchange_n(&spare, NULL, __ATOMIC_ACQUIRE);

	if (!f)
		f = map_memory(FILES_SIZE);
	return f ? files_init(f) : NULL;
}

static void files_drop(struct files *f)
{
	if (is_files_first(f))
		return;
	memset(f->kind, 0, f->top);
	f->top = 0;
	f = __atomic_exchange_n(&spare, f, __ATOMIC_RELEASE);
	if (f)
		unmap_memory(f, FILES_SIZE);
}

struct files *files_copy(struct files *from)
{
	struct files *f = files_new();
	u32 i;

	if (!f)
		return NULL;
	f->top = from->top;
	memcpy(f->kind, from->kind, from->top);
	/* Those of others are not read, and their pages mostly not there. */
	for (i = 0; i < f->top; i++)
		if (f->kind[i] == K_LIB || f->kind[i] == K_EPOLL)
			f->note[i] = from->note[i];
	return f;
}

void files_put(struct files *f)
{
	if (__atomic_fetch_sub(&f->refs, 1, __ATOMIC_ACQ_REL) == 1)
		files_drop(f);
}

void set_kind(struct ctx *c, long fd, u8 kind)
{
	struct files *f = c->files;
	u32 top = f->top;

	if (fd < 0 || fd >= MAX_FD)
		return;
	f->kind[fd] = kind;
	while (kind && top <= fd &&
	       !__atomic_compare_exchange_n(&f->top, &top, fd + 1, false,
					    __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
}

/* ------------------------------------------------------------------ */
/* Descriptors of our own.						*/

/*
 * They stay open over exec, which is always ours to make: the new program finds
 * their numbers in its state.  To clear a flag of each, and set it again, would
 * be fifty calls.
 */
static void hide(int *fd, long from)
{
	long n;

	if (*fd < 0)
		return;
	n = RAW3(__NR_fcntl, *fd, F_DUPFD, from);
	if (is_err(n)) {
		RAW3(__NR_fcntl, *fd, F_SETFD, 0);
		return;
	}
	RAW1(__NR_close, *fd);
	*fd = n;
}

/* Around files of ours: the program may have no number left. */
void limit_lift(struct rlimit *old)
{
	struct rlimit all;

	RAW4(__NR_prlimit64, 0, RLIMIT_NOFILE, 0, old);
	all = *old;
	all.rlim_cur = all.rlim_max;
	if (old->rlim_cur < old->rlim_max)
		RAW4(__NR_prlimit64, 0, RLIMIT_NOFILE, &all, 0);
}

void limit_back(const struct rlimit *old)
{
	if (old->rlim_cur < old->rlim_max)
		RAW4(__NR_prlimit64, 0, RLIMIT_NOFILE, old, 0);
}

#define HIDDEN_ROOM	(UKL_MAX_FDS + 16)
#define HIDDEN_AT	1024

/*
 * Moved above the soft limit, where the program has none, if the hard limit
 * is higher.  Else to numbers that few programs come to; not to the highest,
 * since a fork copies the host's table up to the last.
 */
static long hidden_begin(struct rlimit *old)
{
	struct rlimit all;

	if (RAW4(__NR_prlimit64, 0, RLIMIT_NOFILE, 0, old))
		return 500;
	all = *old;
	all.rlim_cur = all.rlim_max;
	if (old->rlim_cur < HIDDEN_AT &&
	    old->rlim_cur + HIDDEN_ROOM < old->rlim_max) {
		RAW4(__NR_prlimit64, 0, RLIMIT_NOFILE, &all, 0);
		return old->rlim_cur;
	}
	if (old->rlim_cur > HIDDEN_AT + HIDDEN_ROOM)
		return HIDDEN_AT;
	return old->rlim_cur > 2 * HIDDEN_ROOM ?
	       (long)old->rlim_cur - HIDDEN_ROOM : 16;
}

void mark_hidden(void)
{
	struct ctx *c = self();
	int i;

	set_kind(c, me.kernel.memory, K_HIDDEN);
	set_kind(c, me.kernel.image, K_HIDDEN);
	set_kind(c, me.anchor, K_HIDDEN);
	set_kind(c, me.shim_fd, K_HIDDEN);
	if (me.exe_fd)
		set_kind(c, me.exe_fd, K_HIDDEN);
	if (me.report_fd) {
		set_kind(c, me.report_fd, K_HIDDEN);
		set_kind(c, me.report_socket, K_HIDDEN);
	}
	for (i = 0; i < UKL_MAX_FDS; i++)
		if (me.kernel.fd[i] >= 0)
			set_kind(c, me.kernel.fd[i], K_HIDDEN);
}

void hide_files(struct ukl_files *k)
{
	struct rlimit old;
	long from = hidden_begin(&old);
	int i;

	hide(&k->memory, from);
	hide(&k->image, from);
	for (i = 0; i < UKL_MAX_FDS; i++)
		hide(&k->fd[i], from);
	RAW4(__NR_prlimit64, 0, RLIMIT_NOFILE, &old, 0);
}

/* For programs that are executed where our path does not lead to us. */
void open_shim(void)
{
	struct rlimit old;
	long from;

	me.shim_fd = RAW4(__NR_openat, AT_FDCWD, me.shim,
			  O_RDONLY | O_CLOEXEC, 0);
	if (me.shim_fd < 0)
		give_up("cannot open ", me.shim, "");
	from = hidden_begin(&old);
	hide(&me.shim_fd, from);
	RAW4(__NR_prlimit64, 0, RLIMIT_NOFILE, &old, 0);
}

/* An O_PATH descriptor of a file that nobody else has. */
void make_anchor(void)
{
	char path[64], *end = path + sizeof(path);
	struct rlimit old;
	long fd, from;

	fd = RAW2(__NR_memfd_create, "ukl", MFD_CLOEXEC);
	num_put(str_put(path, end, "/proc/self/fd/"), end, fd);
	me.anchor = RAW4(__NR_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC, 0);
	RAW1(__NR_close, fd);
	if (me.anchor < 0)
		give_up("cannot make a placeholder (is /proc mounted?)", "",
			"");
	from = hidden_begin(&old);
	hide(&me.anchor, from);
	RAW4(__NR_prlimit64, 0, RLIMIT_NOFILE, &old, 0);
	mark_hidden();
}

/* The file of the program that we load: /proc/self/exe leads there. */
void hide_program(void)
{
	struct rlimit old;
	long from = hidden_begin(&old);

	set_kind(self(), me.exe_fd, K_HOST);
	hide(&me.exe_fd, from);
	RAW3(__NR_fcntl, me.exe_fd, F_SETFD, FD_CLOEXEC);
	RAW4(__NR_prlimit64, 0, RLIMIT_NOFILE, &old, 0);
	mark_hidden();
}

/* The descriptors of UKL_REPORT. */
void hide_report(void)
{
	struct rlimit old;
	long from = hidden_begin(&old);

	/* After exec they are where they were. */
	if (me.report_fd < from)
		hide(&me.report_fd, from);
	if (me.report_socket >= 0 && me.report_socket < from)
		hide(&me.report_socket, from);
	RAW4(__NR_prlimit64, 0, RLIMIT_NOFILE, &old, 0);
	mark_hidden();
}

bool is_hidden(long fd)
{
	return kind_of(self(), fd) == K_HIDDEN;
}

/* Are any of the library kernel's open? */
bool has_lib_files(struct ctx *c)
{
	const struct files *f = c->files;
	u32 fd;

	for (fd = 0; fd < f->top; fd++)
		if (f->kind[fd] == K_LIB || f->kind[fd] == K_EPOLL)
			return true;
	return false;
}

struct dirent64 {
	u64 ino, off;
	unsigned short reclen;
	u8 type;
	char name[];
};

/* After exec: the task's table in the library kernel is the truth. */
void files_from_kernel(struct ctx *c)
{
	char buf[2048], path[64], what[32], *end = path + sizeof(path);
	struct dirent64 *d;
	long dir, n, at, got;
	u64 fd;

	dir = LIB4(c, __NR_openat, AT_FDCWD, "/proc/self/fd",
		   O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0)
		give_up("the library kernel has no /proc", "", "");
	for (;;) {
		n = LIB3(c, __NR_getdents64, dir, buf, sizeof(buf));
		if (n <= 0)
			break;
		for (at = 0; at < n; at += d->reclen) {
			d = (struct dirent64 *)(buf + at);
			if (d->name[0] == '.')
				continue;
			fd = num_parse(d->name);
			if ((long)fd == dir)
				continue;
			str_put(str_put(path, end, "/proc/self/fd/"), end,
				d->name);
			got = LIB4(c, __NR_readlinkat, AT_FDCWD, path, what,
				   sizeof(what) - 1);
			what[got > 0 ? got : 0] = 0;
			set_kind(c, fd, str_eq(what, "anon_inode:[eventpoll]") ?
				 K_EPOLL : K_LIB);
			if (fd < MAX_FD && str_starts(what, "socket:"))
				c->files->note[fd] = note_of(c, fd);
		}
	}
	LIB1(c, __NR_close, dir);
}

/* ------------------------------------------------------------------ */
/* New numbers.								*/

/*
 * Moves the library kernel's file @k to the number @to, whose placeholder we
 * have.  Somebody else's file may be on its way through that number; it will
 * go, if we do not stand in its way ourselves.  Negative, and @k still there
 * in *@at: it has not gone for too long.
 */
static long try_move(struct ctx *c, long k, long to, bool cloexec, long *at)
{
	unsigned int patience = 200;
	long n;

	while (k != to) {
		n = LIB3(c, __NR_fcntl, k,
			 cloexec ? F_DUPFD_CLOEXEC_ : F_DUPFD, to);
		LIB1(c, __NR_close, k);
		if (n < 0)
			return n;
		k = n;
		if (k == to)
			break;
		if (!patience--) {
			*at = k;
			return -EBUSY;
		}
		RAW0(__NR_sched_yield);
	}
	return to;
}

/*
 * Moves @k to the placeholder @p, or to the next one if a call that waits, or a
 * thread that was interrupted, holds that number.  Closes both on failure.
 */
long settle(struct ctx *c, long k, long p, bool cloexec)
{
	long q, err;

	while ((err = try_move(c, k, p, cloexec, &k)) == -EBUSY) {
		q = RAW3(__NR_fcntl, p, cloexec ? F_DUPFD_CLOEXEC_ : F_DUPFD,
			 p + 1);
		RAW1(__NR_close, p);
		if (is_err(q)) {
			LIB1(c, __NR_close, k);
			return q;
		}
		p = q;
	}
	if (err < 0) {
		RAW1(__NR_close, p);
		return err;
	}
	return p;
}

/* The new file @k is to have the number of the placeholder @p. */
long adopt(struct ctx *c, long k, long p, bool cloexec)
{
	p = settle(c, k, p, cloexec);
	if (is_err(p))
		return p;
	c->files->note[p] = 0;
	set_kind(c, p, K_LIB);
	return p;
}

/* Gives the library kernel's new file @k its number. */
long place(struct ctx *c, long k, bool cloexec)
{
	long p;

	if (k < 0)
		return k;
	p = RAW3(__NR_fcntl, me.anchor, cloexec ? F_DUPFD_CLOEXEC_ : F_DUPFD,
		 0);
	if (is_err(p)) {
		LIB1(c, __NR_close, k);
		return p;
	}
	return adopt(c, k, p, cloexec);
}

/* The host has made @to a copy of @from, which is not its own. */
static long copied(struct ctx *c, long from, long to, bool cloexec)
{
	long n;

	if (is_err(to))
		return to;
	n = LIB3(c, __NR_fcntl, from, cloexec ? F_DUPFD_CLOEXEC_ : F_DUPFD,
		 to);
	if (n < 0) {
		RAW1(__NR_close, to);
		return n;
	}
	to = settle(c, n, to, cloexec);
	if (is_err(to))
		return to;
	c->files->note[to] = c->files->note[from];
	set_kind(c, to, c->files->kind[from]);
	return to;
}

/* ------------------------------------------------------------------ */
/* Calls with a descriptor as their first argument.			*/

long sys_fd1(struct ctx *c, struct regs *r)
{
	switch (kind_of(c, r->rdi)) {
	case K_LIB:
		return pass_lib(c, r);
	case K_HIDDEN:
		return -EBADF;
	}
	return pass(c, r);
}

/*
 * Is it the list of this process's descriptors: /proc/N/fd, fdinfo, or a
 * thread's?  /proc may be mounted anywhere.
 */
static bool lists_own_files(int fd)
{
	char path[64], where[512], *end = path + sizeof(path), *p, *q;
	struct statfs fs;
	long n;

	if (RAW2(__NR_fstatfs, fd, &fs) || fs.f_type != PROC_SUPER_MAGIC)
		return false;
	num_put(str_put(path, end, "/proc/self/fd/"), end, fd);
	n = RAW4(__NR_readlinkat, AT_FDCWD, path, where, sizeof(where) - 1);
	if (n <= 0)
		return false;
	where[n] = 0;
	p = where + n;
	while (p > where && *--p != '/')
		;
	if (!str_eq(p, "/fd") && !str_eq(p, "/fdinfo"))
		return false;
	*p = 0;
	while (p > where && *--p != '/')
		;
	for (q = p; q - where > 4 && q[-1] != '/'; q--)
		;
	if (q - where > 4 && str_starts(q, "task/")) {
		/* The number before is the process's. */
		p = q - 1;
		*p = 0;
		while (p > where && *--p != '/')
			;
	}
	return (long)num_parse(p + 1) == RAW0(__NR_getpid);
}

/* Of getdents() and of getdents64(): the same begin, the name elsewhere. */
union dirent_head {
	struct {
		u64 ino, off;
		unsigned short reclen;
	};
	char bytes[48];		/* with a name that is a number */
};

/* Without the entries of our own descriptors; what is left of @n bytes. */
static long without_hidden(struct ctx *c, char *buf, long n, int name)
{
	union dirent_head d;
	long at, to = 0, len;

	for (at = 0; at < n; at += len) {
		len = sizeof(d) - 1;
		memset(&d, 0, sizeof(d));
		if (get_user(&d, buf + at, n - at < len ? n - at : len))
			return -EFAULT;
		len = d.reclen;
		if (d.bytes[name] != '.' &&
		    kind_of(c, num_parse(d.bytes + name)) == K_HIDDEN)
			continue;
		/* Forwards: what is overwritten has been looked at. */
		if (to != at && copy_user(buf + to, buf + at, len))
			return -EFAULT;
		to += len;
	}
	return to;
}

long sys_getdents(struct ctx *c, struct regs *r)
{
	int name = r->rax == __NR_getdents64 ?
		   (int)offsetof(struct dirent64, name) :
		   (int)(sizeof(u64[2]) + sizeof(short));
	long n, left;

	if (kind_of(c, r->rdi) != K_HOST)
		return sys_fd1(c, r);
	do {
		n = left = pass(c, r);
		if (n > 0 && lists_own_files(r->rdi))
			left = without_hidden(c, (char *)r->rsi, n,
					      name);
	} while (n > 0 && !left);
	return left;
}

long sys_fstat(struct ctx *c, struct regs *r)
{
	return sys_fd1(c, r);
}

long sys_close(struct ctx *c, struct regs *r)
{
	int fd = r->rdi;
	long err;

	switch (kind_of(c, fd)) {
	case K_HIDDEN:
		return -EBADF;
	case K_HOST:
		return pass(c, r);
	}
	/* The file first: until the number is free nobody takes it. */
	err = lib_call(c, __NR_close, fd, 0, 0, 0, 0, 0);
	if (err == -ERESTARTNOINTR)
		return err;
	set_kind(c, fd, K_HOST);
	RAW1(__NR_close, fd);
	return err;
}

/* Around ours. */
static long host_close_range(struct ctx *c, u64 first, u64 last, u64 flags)
{
	struct files *f = c->files;
	u64 n, begin = first;
	long err;

	for (n = first; n < f->top && n <= last; n++) {
		if (f->kind[n] != K_HIDDEN)
			continue;
		if (n > begin) {
			err = RAW3(__NR_close_range, begin, n - 1, flags);
			if (err)
				return err;
		}
		begin = n + 1;
	}
	return begin <= last ? RAW3(__NR_close_range, begin, last, flags) : 0;
}

/* A table of its own for this thread, in all three places. */
long files_unshare(struct ctx *c)
{
	struct files *old = c->files, *f;
	long err;

	if (__atomic_load_n(&old->refs, __ATOMIC_ACQUIRE) == 1)
		return 0;
	f = files_copy(old);
	if (!f)
		return -ENOMEM;
	err = LIB1(c, __NR_unshare, CLONE_FILES);
	if (err) {
		files_put(f);
		return err;
	}
	c->files = f;
	files_put(old);
	return 0;
}

long sys_close_range(struct ctx *c, struct regs *r)
{
	u32 first = r->rdi, last = r->rsi, flags = r->rdx;
	bool any = false;
	struct files *f;
	u64 n;
	long err;

	if (first > last ||
	    flags & ~(u32)(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC))
		return -EINVAL;
	if (flags & CLOSE_RANGE_UNSHARE) {
		err = files_unshare(c);
		if (err)
			return err;
	}
	f = c->files;
	for (n = first; n < f->top && n <= last; n++)
		any |= f->kind[n] == K_LIB || f->kind[n] == K_EPOLL;
	if (any) {
		err = LIB3(c, __NR_close_range, first, last,
			   flags & CLOSE_RANGE_CLOEXEC);
		if (err)
			return err;
	}
	if (!(flags & CLOSE_RANGE_CLOEXEC))
		for (n = first; n < f->top && n <= last; n++)
			if (f->kind[n] != K_HIDDEN)
				f->kind[n] = K_HOST;
	return host_close_range(c, first, last, flags);
}

long sys_dup(struct ctx *c, struct regs *r)
{
	switch (kind_of(c, r->rdi)) {
	case K_HIDDEN:
		return -EBADF;
	case K_HOST:
		return pass(c, r);
	}
	return copied(c, (int)r->rdi, RAW1(__NR_dup, r->rdi), false);
}

static long dup_to(struct ctx *c, struct regs *r, int flags)
{
	int from = r->rdi, to = r->rsi;
	u8 old = kind_of(c, from), was = kind_of(c, to);
	long err;

	if (old == K_HIDDEN || was == K_HIDDEN)
		return -EBADF;
	if ((old == K_HOST && was == K_HOST) || from == to)
		return pass(c, r);
	err = RAW3(r->rax, from, to, flags);
	if (is_err(err))
		return err;
	if (old == K_HOST) {
		set_kind(c, to, K_HOST);
		LIB1(c, __NR_close, to);
		return to;
	}
	err = LIB3(c, __NR_dup3, from, to, flags);
	if (err < 0)
		return err;
	c->files->note[to] = c->files->note[from];
	set_kind(c, to, old);
	return to;
}

long sys_dup2(struct ctx *c, struct regs *r)
{
	return dup_to(c, r, 0);
}

long sys_dup3(struct ctx *c, struct regs *r)
{
	return dup_to(c, r, r->rdx);
}

static int to_kernel_pid(struct ctx *c, int pid)
{
	int a = pid < 0 ? -pid : pid;

	if (a && a == RAW0(__NR_getpid))
		a = thread_of(c)->proc->kpid;
	else if (a && a == (int)c->tid)
		a = thread_of(c)->ktid;
	return pid < 0 ? -a : a;
}

static int to_host_pid(struct ctx *c, int pid)
{
	int a = pid < 0 ? -pid : pid;

	if (a && a == thread_of(c)->proc->kpid)
		a = RAW0(__NR_getpid);
	else if (a && a == c->th->ktid)
		a = c->tid;
	return pid < 0 ? -a : a;
}

/* SIOCSPGRP, FIOSETOWN, SIOCGPGRP, FIOGETOWN: the owner, by ioctl. */
#define FIOSETOWN_	0x8901
#define SIOCSPGRP_	0x8902
#define FIOGETOWN_	0x8903
#define SIOCGPGRP_	0x8904

static long owner_ioctl(struct ctx *c, int fd, u32 cmd, u64 user)
{
	bool set = cmd == FIOSETOWN_ || cmd == SIOCSPGRP_;
	int pid = 0;
	long err;

	if (set) {
		if (get_user(&pid, (void *)user, sizeof(pid)))
			return -EFAULT;
		pid = to_kernel_pid(c, pid);
	}
	err = LIB3(c, __NR_ioctl, fd, cmd, &pid);
	if (!err && !set) {
		pid = to_host_pid(c, pid);
		err = put_user((void *)user, &pid, sizeof(pid));
	}
	return err;
}

static long owner_ex(struct ctx *c, int fd, int cmd, u64 user)
{
	struct f_owner_ex o = { 0 };
	long err;

	if (cmd == F_SETOWN_EX) {
		if (get_user(&o, (void *)user, sizeof(o)))
			return -EFAULT;
		o.pid = to_kernel_pid(c, o.pid);
	}
	err = LIB3(c, __NR_fcntl, fd, cmd, &o);
	if (!err && cmd == F_GETOWN_EX) {
		o.pid = to_host_pid(c, o.pid);
		err = put_user((void *)user, &o, sizeof(o));
	}
	return err;
}

long sys_fcntl(struct ctx *c, struct regs *r)
{
	int fd = r->rdi, cmd = r->rsi;
	u8 kind = kind_of(c, fd);
	long err;

	if (kind == K_HIDDEN)
		return -EBADF;
	if (kind == K_HOST)
		return pass(c, r);
	switch (cmd) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC_:
		return copied(c, fd, RAW3(__NR_fcntl, fd, cmd, r->rdx),
			      cmd != F_DUPFD);
	case F_GETFD:
		return pass(c, r);
	case F_SETFD:
		err = LIB3(c, __NR_fcntl, fd, cmd, r->rdx);
		return err ? err : RAW3(__NR_fcntl, fd, cmd, r->rdx);
	}
	if (kind == K_EPOLL)
		return pass(c, r);
	switch (cmd) {
	case F_SETOWN:
		return LIB3(c, __NR_fcntl, fd, cmd,
			    to_kernel_pid(c, r->rdx));
	case F_SETOWN_EX:
	case F_GETOWN_EX:
		return owner_ex(c, fd, cmd, r->rdx);
	case F_GETOWN:
		err = LIB3(c, __NR_fcntl, fd, cmd, 0);
		return is_err(err) ? err : to_host_pid(c, err);
	}
	return pass_lib(c, r);
}

/* Questions about interfaces go to the library kernel whatever socket asks. */
static bool is_interface_ioctl(u32 cmd)
{
	return cmd >= 0x890b && cmd <= 0x89df;
}

static bool is_host_socket(int fd)
{
	struct stat st;

	return !RAW2(__NR_fstat, fd, &st) && S_ISSOCK(st.st_mode);
}

long sys_ioctl(struct ctx *c, struct regs *r)
{
	u32 cmd = r->rsi;
	u8 kind = kind_of(c, r->rdi);
	long s, err;

	if (kind == K_HIDDEN)
		return -EBADF;
	if (kind == K_LIB) {
		if (cmd == FIOCLEX_ || cmd == FIONCLEX_)
			RAW3(__NR_fcntl, r->rdi, F_SETFD,
			     cmd == FIOCLEX_ ? FD_CLOEXEC : 0);
		if (cmd >= FIOSETOWN_ && cmd <= SIOCGPGRP_)
			return owner_ioctl(c, r->rdi, cmd, r->rdx);
		if (gives_namespace(cmd))
			return place(c, pass_lib(c, r), true);
		return pass_lib(c, r);
	}
	if (kind == K_EPOLL && (cmd == FIOCLEX_ || cmd == FIONCLEX_))
		LIB2(c, __NR_ioctl, r->rdi, cmd);
	if (is_interface_ioctl(cmd) && is_host_socket(r->rdi)) {
		/* 2, 2: AF_INET, SOCK_DGRAM */
		s = LIB3(c, __NR_socket, 2, 2 | O_CLOEXEC, 0);
		if (s < 0)
			return s;
		err = LIB3(c, __NR_ioctl, s, cmd, r->rdx);
		LIB1(c, __NR_close, s);
		return gives_namespace(cmd) ? place(c, err, true) : err;
	}
	if (cmd == PIDFD_GET_NET_NAMESPACE_) {
		err = pass(c, r);
		if (is_err(err))
			return err;
		RAW1(__NR_close, err);
		return place(c, namespace_of_pidfd(c, r->rdi), true);
	}
	return pass(c, r);
}

/* ------------------------------------------------------------------ */
/* Data that crosses from one kernel to the other.			*/

void *io_buffer(struct ctx *c)
{
	if (!c->io)
		c->io = map_memory(IO_SIZE);
	return c->io;
}

static bool is_lib(struct ctx *c, u64 fd)
{
	return kind_of(c, fd) == K_LIB;
}

static long any_call(struct ctx *c, long nr, int fd, void *p, u64 n, long off)
{
	if (is_lib(c, fd))
		return lib_call(c, nr, fd, (long)p, n, off, 0, 0);
	return host_call(nr, fd, (long)p, n, off, 0, 0);
}

#define MAP_PRIVATE_	0x02
#define MAP_POPULATE_	0x8000
#define WORTH_MAPPING	(192 * 1024UL)
#define MAP_AT_ONCE	(2 * 1024 * 1024UL)

/*
 * A large part of a file of the host, to a socket: the library kernel copies
 * from the page cache, without a buffer in between.  -ENODEV: it cannot be
 * mapped.
 */
static long send_mapped(struct ctx *c, int out, int in, u64 n, long pos,
			u64 size)
{
	u64 skip = pos & (PAGE - 1);
	long p, w;

	if ((u64)pos >= size || size - pos < WORTH_MAPPING)
		return -ENODEV;
	if (n > size - pos)
		n = size - pos;
	if (n > MAP_AT_ONCE)
		n = MAP_AT_ONCE;
	p = RAW6(__NR_mmap, 0, n + skip, 1 /* PROT_READ */,
		 MAP_PRIVATE_ | MAP_POPULATE_, in, pos - skip);
	if (is_err(p))
		return -ENODEV;
	w = lib_call(c, __NR_write, out, p + skip, n, 0, 0, 0);
	RAW2(__NR_munmap, p, n + skip);
	return w;
}

#define MSG_PEEK_	2
#define MSG_MORE_	0x8000
#define POLLIN_		1
#define POLLOUT_	4
#define POLLERR_	8
#define SPLICE_NONBLOCK	2UL
#define SPLICE_MORE	4UL
#define SPLICE_FLAGS	0xfUL

static long any_fstat(struct ctx *c, int fd, struct stat *st)
{
	return is_lib(c, fd) ? LIB2(c, __NR_fstat, fd, st) :
	       RAW2(__NR_fstat, fd, st);
}

/* The flags of a descriptor that stands for more than a path. */
static long open_flags(struct ctx *c, int fd)
{
	long n = is_lib(c, fd) ? LIB2(c, __NR_fcntl, fd, F_GETFL) :
				 RAW2(__NR_fcntl, fd, F_GETFL);

	return n >= 0 && (n & O_PATH) ? -EBADF : n;
}

/* Whether the descriptor @fd is open for it. */
static long open_for(struct ctx *c, int fd, bool writing)
{
	long n = open_flags(c, fd);

	if (n < 0)
		return n;
	return (n & O_ACCMODE) == (writing ? O_RDONLY : O_WRONLY) ? -EBADF : 0;
}

static bool is_pipe(int fd)
{
	struct stat st;

	return !RAW2(__NR_fstat, fd, &st) && S_ISFIFO(st.st_mode);
}

/* Until the host's pipe @fd has what @events ask for. */
static long wait_pipe(int fd, short events, u64 flags, short *got)
{
	struct pollfd_ { int fd; short events, revents; } p = { fd, events, 0 };
	long n = RAW3(__NR_poll, &p, 1, 0);

	if (!n && ((flags & SPLICE_NONBLOCK) ||
		   (RAW2(__NR_fcntl, fd, F_GETFL) & O_NONBLOCK)))
		return -EAGAIN;
	if (!n)
		n = host_call(__NR_ppoll, (long)&p, 1, 0, 0, 8, 0);
	*got = p.revents;
	return n < 0 ? n : 0;
}

/* One of our own, even if the program has no number left. */
static long host_pipe(int *way)
{
	struct rlimit limit;
	long n = RAW2(__NR_pipe2, way, O_NONBLOCK | O_CLOEXEC);

	if (n == -EMFILE) {
		limit_lift(&limit);
		n = RAW2(__NR_pipe2, way, O_NONBLOCK | O_CLOEXEC);
		limit_back(&limit);
	}
	return n;
}

/* A copy of what the pipe holds, which keeps it. */
static long peek_pipe(struct ctx *c, int pipe, u64 len)
{
	int way[2];
	long n = host_pipe(way);

	if (n)
		return n;
	n = RAW4(__NR_tee, pipe, way[1], len, SPLICE_NONBLOCK);
	if (n > 0)
		n = RAW3(__NR_read, way[0], c->io, n);
	RAW1(__NR_close, way[0]);
	RAW1(__NR_close, way[1]);
	return n;
}

static long pipe_to_socket(struct ctx *c, int in, int out, u64 len, u64 flags)
{
	short got;
	long n, w, at;

	n = wait_pipe(in, POLLIN_, flags, &got);
	if (n)
		return n;
	n = got & POLLIN_ ? peek_pipe(c, in, len) : 0;
	if (n <= 0)
		return n;
	w = lib_call(c, __NR_sendto, out, (long)c->io, n,
		     flags & SPLICE_MORE ? MSG_MORE_ : 0, 0, 0);
	/* Exactly what the socket took. */
	for (at = 0; at < w; at += n) {
		n = RAW3(__NR_read, in, c->io, w - at);
		if (n <= 0)
			break;
	}
	return w;
}

static long socket_to_pipe(struct ctx *c, int in, int out, u64 len, u64 flags)
{
	short got;
	long n, w, at;

	n = wait_pipe(out, POLLOUT_, flags, &got);
	if (n)
		return n;
	if (got & POLLERR_)	/* nobody reads: EPIPE, SIGPIPE */
		return host_call(__NR_write, out, (long)c->io, 1, 0, 0, 0);
	n = lib_call(c, __NR_recvfrom, in, (long)c->io, len, MSG_PEEK_, 0, 0);
	if (n <= 0)
		return n;
	w = host_call(__NR_write, out, (long)c->io, n, 0, 0, 0);
	if (w <= 0)
		return w;
	/* Exactly what the pipe took. */
	for (at = 0; at < w; at += n) {
		n = LIB4(c, __NR_recvfrom, in, c->io, w - at, 0);
		if (n <= 0)
			break;
	}
	return w;
}

/*
 * Files of the library kernel, as of /proc/net.  Which of them can be spliced,
 * and from where, it knows itself: it is asked with a pipe of its own.
 */
static bool is_lib_socket(struct ctx *c, int fd)
{
	struct stat st;

	return !any_fstat(c, fd, &st) && S_ISSOCK(st.st_mode);
}

static long lib_splice(struct ctx *c, int in, long *in_pos, int out,
		       long *out_pos, u64 len)
{
	return lib_raw(c, __NR_splice, in, (long)in_pos, out, (long)out_pos,
		       len, SPLICE_NONBLOCK);
}

static long lib_pipe(struct ctx *c, int *way)
{
	return LIB2(c, __NR_pipe2, way, O_NONBLOCK | O_CLOEXEC);
}

static void lib_pipe_end(struct ctx *c, const int *way)
{
	LIB1(c, __NR_close, way[0]);
	LIB1(c, __NR_close, way[1]);
}

/* Into the buffer: what can be spliced from @in at @pos, a pipe full at most. */
static long take_file(struct ctx *c, int in, long pos, u64 len)
{
	int way[2];
	long n = lib_pipe(c, way);

	if (n)
		return n;
	n = lib_splice(c, in, &pos, way[1], NULL, len);
	if (n > 0)
		n = LIB3(c, __NR_read, way[0], c->io, n);
	lib_pipe_end(c, way);
	return n;
}

/* @n bytes of the buffer to @pipe, or as many as there is room for now. */
static long fill_pipe(struct ctx *c, int pipe, long n)
{
	int way[2];
	long err = host_pipe(way);

	if (err)
		return err;
	n = RAW3(__NR_write, way[1], c->io, n);
	if (n > 0)
		n = RAW6(__NR_splice, way[0], 0, pipe, 0, n, SPLICE_NONBLOCK);
	RAW1(__NR_close, way[0]);
	RAW1(__NR_close, way[1]);
	return n;
}

static long file_to_pipe(struct ctx *c, int in, long pos, int out, u64 len,
			 u64 flags)
{
	short got;
	long n;

	do {
		n = wait_pipe(out, POLLOUT_, flags, &got);
		if (n)
			return n;
		if (got & POLLERR_)
			return host_call(__NR_write, out, (long)c->io, 1, 0, 0,
					 0);
		n = take_file(c, in, pos, len);
		if (n <= 0)
			return n;
		n = fill_pipe(c, out, n);
		/* Somebody else was quicker. */
	} while (n == -EAGAIN);
	return n;
}

/* @pos: NULL, the file's own. */
static long pipe_to_file(struct ctx *c, int in, int out, long *pos, u64 len,
			 u64 flags)
{
	int way[2];
	short got;
	long n = lib_pipe(c, way), w, at;

	if (n)
		return n;
	/* Nothing yet: does it want anything? */
	w = lib_splice(c, way[0], NULL, out, pos, len);
	if (w != -EAGAIN)
		goto out;
	w = wait_pipe(in, POLLIN_, flags, &got);
	if (w)
		goto out;
	w = got & POLLIN_ ? peek_pipe(c, in, len) : 0;
	if (w > 0)
		w = LIB3(c, __NR_write, way[1], c->io, w);
	if (w > 0)
		w = lib_splice(c, way[0], NULL, out, pos, w);
	/* Exactly what the file took. */
	for (at = 0; at < w; at += n) {
		n = RAW3(__NR_read, in, c->io, w - at);
		if (n <= 0)
			break;
	}
out:
	lib_pipe_end(c, way);
	return w;
}

/* Between a pipe of the host and a file of the library kernel. */
static long splice_file(struct ctx *c, struct regs *r, u64 len)
{
	int in = r->rdi, out = r->rdx;
	bool reads = is_lib(c, in);
	u64 user = reads ? r->rsi : r->r10;
	long pos, n;

	if (user && get_user(&pos, (void *)user, sizeof(pos)))
		return -EFAULT;
	n = open_for(c, in, false);
	if (!n)
		n = open_for(c, out, true);
	if (n)
		return n;
	if (!is_pipe(reads ? out : in))
		return -EINVAL;
	if (!io_buffer(c))
		return -ENOMEM;
	if (!reads) {
		n = pipe_to_file(c, in, out, user ? &pos : NULL, len, r->r9);
	} else {
		if (!user)
			pos = LIB3(c, __NR_lseek, in, 0, 1 /* SEEK_CUR */);
		if (!user && pos < 0)
			return pos == -ESPIPE ? -EINVAL : pos;
		n = file_to_pipe(c, in, pos, out, len, r->r9);
		pos += n;
	}
	if (n < 0)
		return n;
	if (user)
		return put_user((void *)user, &pos, sizeof(pos)) ? -EFAULT : n;
	if (reads && n)
		LIB3(c, __NR_lseek, in, pos, 0 /* SEEK_SET */);
	return n;
}

/* Files, disks, and devices like /dev/zero. */
static bool has_position(struct ctx *c, int fd, u32 mode)
{
	return S_ISREG(mode) || S_ISBLK(mode) || (S_ISCHR(mode) &&
	       any_call(c, __NR_lseek, fd, 0, 1 /* SEEK_CUR */, 0) >= 0);
}

/* Whatever is not a file's data; errors come in Linux's order. */
static long unusual_sendfile(struct ctx *c, int in, int out, u64 len, bool at)
{
	long n, err = open_for(c, in, false);
	char none;

	if (err)
		return err;
	err = open_for(c, out, true);
	n = any_call(c, __NR_pread64, in, &none, 0, 0);
	if (at && n == -ESPIPE)
		return n;
	if (err)
		return err;
	if (is_lib(c, in) && !at && is_pipe(out) && is_lib_socket(c, in)) {
		if (!io_buffer(c))
			return -ENOMEM;
		if (len > IO_SIZE)
			len = IO_SIZE;
		return len ? socket_to_pipe(c, in, out, len, 0) : 0;
	}
	if (!len && any_call(c, __NR_lseek, in, 0, 1 /* SEEK_CUR */, 0) >= 0)
		return 0;
	return -EINVAL;
}

/* Regular file to anything: what is not taken is not consumed. */
long sys_sendfile(struct ctx *c, struct regs *r)
{
	int out = r->rdi, in = r->rsi;
	u64 left = r->r10, part;
	long pos, done = 0, n, w;
	struct stat st;
	void *data;
	long off;

	if (is_hidden(out) || is_hidden(in))
		return -EBADF;
	if (!is_lib(c, out) && !is_lib(c, in))
		return pass(c, r);
	if (is_lib(c, out) && is_lib(c, in))
		return pass_lib(c, r);
	if (any_fstat(c, in, &st) || !left || !has_position(c, in, st.st_mode) ||
	    open_for(c, out, true))
		return unusual_sendfile(c, in, out, left, r->rdx);
	if (r->rdx) {
		if (get_user(&off, (void *)r->rdx, 8))
			return -EFAULT;
		if (off < 0)
			return -EINVAL;
		pos = off;
	} else {
		pos = any_call(c, __NR_lseek, in, 0, 1 /* SEEK_CUR */, 0);
		if (pos < 0)
			return pos == -ESPIPE ? -EINVAL : pos;
	}
	if (!io_buffer(c))
		return -ENOMEM;
	if (is_lib(c, in) && is_pipe(out)) {
		done = file_to_pipe(c, in, pos, out, left, 0);
		pos += done;
		left = 0;
	}
	while (left) {
		if (left >= WORTH_MAPPING && is_lib(c, out)) {
			w = send_mapped(c, out, in, left, pos, st.st_size);
			if (w <= 0 && w != -ENODEV) {
				if (!done)
					done = w;
				break;
			}
			if (w > 0) {
				pos += w;
				done += w;
				left -= w;
				continue;
			}
		}
		part = left < IO_SIZE ? left : IO_SIZE;
		data = c->io;
		if (is_lib(c, in)) {
			n = take_file(c, in, pos, part);
		} else {
			/* Where it is sent from, if there is such a place. */
			data = lib_block(c, &part) ?: c->io;
			n = host_call(__NR_pread64, in, (long)data, part, pos,
				      0, 0);
		}
		if (!n && S_ISCHR(st.st_mode))
			n = -EINVAL;	/* /dev/null has nothing to send */
		if (n <= 0) {
			if (!done)
				done = n;
			break;
		}
		w = any_call(c, __NR_write, out, data, n, 0);
		if (w <= 0) {
			if (!done)
				done = w;
			break;
		}
		pos += w;
		done += w;
		left -= w;
		if (w < n)
			break;
	}
	/* Zeroes and random bytes have no place. */
	if (done > 0 && !S_ISCHR(st.st_mode)) {
		if (!r->rdx)
			any_call(c, __NR_lseek, in, (void *)pos, 0, 0);
		else if (put_user((void *)r->rdx, &pos, 8))
			return -EFAULT;
	}
	return done;
}

/* Between a pipe of the host and a socket or file of the library kernel. */
long sys_splice(struct ctx *c, struct regs *r)
{
	int in = r->rdi, out = r->rdx, host;
	u64 len = r->r8 < IO_SIZE ? r->r8 : IO_SIZE;
	bool pipe;
	long err;

	if (is_hidden(out) || is_hidden(in))
		return -EBADF;
	if (!is_lib(c, out) && !is_lib(c, in))
		return pass(c, r);
	if (is_lib(c, out) && is_lib(c, in))
		return pass_lib(c, r);	/* EINVAL: one must be a pipe */
	if (!r->r8)
		return 0;
	if (r->r9 & ~SPLICE_FLAGS)
		return -EINVAL;
	host = is_lib(c, in) ? out : in;
	err = RAW2(__NR_fcntl, host, F_GETFD);
	if (err < 0)
		return err;
	pipe = is_pipe(host);
	if (pipe && (is_lib(c, in) ? r->r10 : r->rsi))
		return -ESPIPE;
	if (!is_lib_socket(c, is_lib(c, in) ? in : out))
		return splice_file(c, r, len);
	err = open_for(c, host, is_lib(c, in));
	if (err)
		return err;
	if (!pipe || r->rsi || r->r10)
		return -EINVAL;
	if (!io_buffer(c))
		return -ENOMEM;
	return is_lib(c, in) ? socket_to_pipe(c, in, out, len, r->r9) :
	       pipe_to_socket(c, in, out, len, r->r9);
}

long sys_tee(struct ctx *c, struct regs *r)
{
	long err;

	if (is_hidden(r->rdi) || is_hidden(r->rsi))
		return -EBADF;
	if (!is_lib(c, r->rdi) && !is_lib(c, r->rsi))
		return pass(c, r);
	if (is_lib(c, r->rdi) && is_lib(c, r->rsi))
		return pass_lib(c, r);
	if (r->r10 & ~SPLICE_FLAGS)
		return -EINVAL;
	if (!r->rdx)
		return 0;
	err = is_lib(c, r->rdi) ? open_for(c, r->rsi, true) :
	      open_for(c, r->rdi, false);
	return err ? err : -EINVAL;
}

long sys_vmsplice(struct ctx *c, struct regs *r)
{
	if (is_lib(c, r->rdi))
		return -EBADF;
	return sys_fd1(c, r);
}

/* From a regular file to one of the same kind: those of two kernels never are. */
long sys_copy_file_range(struct ctx *c, struct regs *r)
{
	int in = r->rdi, out = r->rdx;
	struct stat from, to;
	long err;

	if (is_hidden(in) || is_hidden(out))
		return -EBADF;
	if (!is_lib(c, in) && !is_lib(c, out))
		return pass(c, r);
	if (is_lib(c, in) && is_lib(c, out))
		return pass_lib(c, r);
	err = open_flags(c, in);
	if (err >= 0)
		err = open_flags(c, out);
	if (err >= 0)
		err = any_fstat(c, in, &from);
	if (!err)
		err = any_fstat(c, out, &to);
	if (err)
		return err;
	if ((S_ISDIR(from.st_mode) || S_ISDIR(to.st_mode)) && !r->r9)
		return -EISDIR;
	if (!S_ISREG(from.st_mode) || !S_ISREG(to.st_mode) || r->r9)
		return -EINVAL;
	err = open_for(c, in, false);
	if (!err)
		err = open_for(c, out, true);
	return err ? err : -EXDEV;
}

/* ------------------------------------------------------------------ */

#define MAX_BLOCKS	4096
#define MAP_SHARED_	0x01
#define MAP_FIXED_	0x10
#define MAP_ANONYMOUS_	0x20

/*
 * The ring of a packet socket: its blocks lie in the instance's memory, and
 * are mapped one behind the other where the program wants them.
 */
static long map_ring(struct ctx *c, struct regs *r)
{
	u64 *block = io_buffer(c);
	u64 size, at;
	long n, i, p;

	if (!block)
		return -ENOMEM;
	n = LIB3(c, UKL_SYS_PACKET_RING, r->r8, block, MAX_BLOCKS);
	if (n <= 0 || !(r->r10 & MAP_SHARED_) || r->r9 || r->rsi % n)
		return n == -EBADF ? n : -ENODEV;
	size = r->rsi / n;
	if (size % PAGE)
		return -EINVAL;
	/* The range first, whole. */
	p = RAW6(__NR_mmap, r->rdi, r->rsi, 0, r->r10 | MAP_ANONYMOUS_, -1, 0);
	if (is_err(p))
		return p;
	for (i = 0; i < n; i++) {
		at = p + i * size;
		at = RAW6(__NR_mmap, at, size, r->rdx,
			  MAP_SHARED_ | MAP_FIXED_, me.kernel.memory,
			  block[i] - UKL_BASE);
		if (is_err(at)) {
			RAW2(__NR_munmap, p, r->rsi);
			return at;
		}
	}
	return p;
}

long sys_mmap(struct ctx *c, struct regs *r)
{
	if (r->r10 & MAP_ANONYMOUS_)
		return pass(c, r);
	switch (kind_of(c, r->r8)) {
	case K_HIDDEN:
		return -EBADF;
	case K_LIB:
		return map_ring(c, r);
	}
	return pass(c, r);
}
