// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls with a path: what is about the network is the library kernel's, and
 * a few files are the instance's own.
 */
#include "fd.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/memfd.h>
#include <sys/utsname.h>

#define WAY_END(w)	((w)->text + PATH_SIZE)

static char *way_put(struct way *w, const char *a, const char *b)
{
	return str_put(str_put(w->text, WAY_END(w), a), WAY_END(w), b);
}

/* Skips one component if it is @name; NULL otherwise. */
static const char *component(const char *p, const char *name)
{
	while (*p == '/')
		p++;
	while (p[0] == '.' && p[1] == '/')
		for (p++; *p == '/'; p++)
			;
	while (*name)
		if (*p++ != *name++)
			return NULL;
	return *p == '/' || !*p ? p : NULL;
}

/* Skips one component if it is a number, which is *@n; NULL otherwise. */
static const char *number(const char *p, u64 *n)
{
	while (*p == '/')
		p++;
	if (*p < '0' || *p > '9')
		return NULL;
	*n = num_parse(p);
	while (*p >= '0' && *p <= '9')
		p++;
	return *p == '/' || !*p ? p : NULL;
}

/* /proc/self or /proc/OUR-NUMBER, also a thread's. */
static const char *own_proc(const char *p)
{
	const char *q = component(p, "self");
	u64 pid;

	if (q)
		return q;
	q = component(p, "thread-self");
	if (q)
		return q;
	q = number(p, &pid);
	return q && (long)pid == RAW0(__NR_getpid) ? q : NULL;
}

/*
 * Whose directory in /proc it is, and that in the library kernel, whose numbers
 * are others: *@at, or empty if it is nobody's of the instance.
 */
static const char *any_proc(const char *p, char *at, char *end)
{
	const char *q = component(p, "thread-self"), *task, *rest;
	u64 id;

	if (q) {
		str_put(at, end, "/proc/thread-self");
		return q;
	}
	q = own_proc(p);
	if (q) {
		str_put(at, end, "/proc/self");
	} else {
		q = number(p, &id);
		if (!q)
			return NULL;
		kernel_proc(at, end, id);
	}
	task = component(q, "task");
	rest = task ? number(task, &id) : NULL;
	if (!rest)
		return q;
	kernel_proc(at, end, id);
	return rest;
}

/*
 * A path in /proc/self/fd or /dev/fd, to a file of the library kernel or through
 * a directory of its: the same there.  Where a descriptor of ours is, the
 * library kernel has none.
 */
static bool through_fd(struct ctx *c, const char *p, struct way *w)
{
	u64 fd;

	p = p ? number(p, &fd) : NULL;
	if (!p || fd >= MAX_FD ||
	    (kind_of(c, fd) != K_LIB && kind_of(c, fd) != K_HIDDEN))
		return false;
	str_put(num_put(way_put(w, "/proc/self/fd/", ""), WAY_END(w), fd),
		WAY_END(w), p);
	return true;
}

/*
 * What a program that we have loaded calls its executable is ours on the
 * host: the descriptor of its file stands for it.
 */
static bool through_exe(const char *p, struct way *w)
{
	if (!p || *p || !me.exe_fd)
		return false;
	num_put(way_put(w, "/proc/self/fd/", ""), WAY_END(w), me.exe_fd);
	return true;
}

static const char *const views[] = {
	"/etc/resolv.conf", "/etc/hosts", "/etc/hostname",
};

static enum where look_proc(struct ctx *c, const char *p, struct way *w)
{
	const char *q = component(p, "net");
	char proc[64];

	if (q) {
		way_put(w, "/proc/net", q);
		return IN_KERNEL;
	}
	q = component(p, "sys");
	if (q) {
		q = component(q, "net");
		if (!q)
			return ON_HOST;
		way_put(w, "/proc/sys/net", q);
		return IN_KERNEL;
	}
	q = own_proc(p);
	if (q && through_fd(c, component(q, "fd"), w))
		return IN_KERNEL;
	if (q && through_exe(component(q, "exe"), w))
		return IN_INSTANCE;
	q = q && me.exe_fd ? component(q, "auxv") : NULL;
	if (q && !*q)
		return OWN_AUXV;
	p = any_proc(p, proc, proc + sizeof(proc));
	if (!p)
		return ON_HOST;
	q = component(p, "ns");
	q = q ? component(q, "net") : NULL;
	if (q && !*proc)
		return ELSEWHERE;
	if (q) {
		str_put(way_put(w, proc, "/ns/net"), WAY_END(w), q);
		return IN_KERNEL;
	}
	q = *proc ? component(p, "net") : NULL;
	if (!q)
		return ON_HOST;
	str_put(way_put(w, proc, "/net"), WAY_END(w), q);
	return IN_KERNEL;
}

/* What a mount of sysfs shows is its network namespace's: that of the thread. */
static enum where look_sys(struct ctx *c, const char *p, struct way *w)
{
	const char *q = component(p, "class");
	char at[64];

	q = q ? component(q, "net") : NULL;
	if (!q) {
		q = component(p, "devices");
		q = q ? component(q, "virtual") : NULL;
		q = q ? component(q, "net") : NULL;
	}
	if (!q)
		return ON_HOST;
	w->tree = sysfs_here(c, at, at + sizeof(at));
	way_put(w, at, p);
	return IN_KERNEL;
}

/* Where an absolute path leads. */
static enum where look(struct ctx *c, const char *path, struct way *w)
{
	const char *p;
	u32 i;

	w->tree = -1;
	if (path[0] != '/')
		return ON_HOST;
	p = component(path, "proc");
	if (p)
		return look_proc(c, p, w);
	p = component(path, "dev");
	if (p)
		return through_fd(c, component(p, "fd"), w) ? IN_KERNEL :
		       ON_HOST;
	p = component(path, "sys");
	if (p)
		return look_sys(c, p, w);
	p = component(path, "var");
	p = component(p ? p : path, "run");
	p = p ? component(p, "netns") : NULL;
	if (p) {
		way_put(w, NETNS_DIR, p);
		return IN_KERNEL;
	}
	for (i = 0; i < sizeof(views) / sizeof(*views); i++) {
		if (!str_eq(path, views[i]))
			continue;
		way_put(w, me.instance, views[i]);
		if (!RAW4(__NR_faccessat, AT_FDCWD, w->text, 4 /* R_OK */, 0))
			return IN_INSTANCE;
	}
	return ON_HOST;
}

/* The first words of paths that look() could want: one look at the text. */
static bool may_matter(const char *p)
{
	switch (p[1]) {
	case 'd':
	case 'e':
	case 'p':
	case 'r':
	case 's':
	case 'v':
	case '/':
	case '.':
		return true;
	}
	return false;
}

/* The same for relative ones: net, ns/net, self/ns/net, 12/task/34/ns/net. */
static bool may_be_namespace(const char *p)
{
	return (p[0] == 'n' && (p[1] == 'e' || p[1] == 's')) ||
	       (p[0] == 's' && p[1] == 'e') ||
	       (p[0] == 't' && (p[1] == 'h' || p[1] == 'a')) ||
	       (p[0] >= '0' && p[0] <= '9') || (p[0] == '.' && p[1] == '/');
}

/* Makes @path, which is relative to @dir, absolute if it may be a namespace. */
static bool under_proc(int dir, char *path)
{
	char full[PATH_SIZE], fd[64], *end = fd + sizeof(fd);
	u64 n = str_len(path);
	long got;

	if (!str_eq(path, "net") && (n < 4 || !str_eq(path + n - 4, "/net")))
		return false;
	if (dir == AT_FDCWD)
		str_put(fd, end, "/proc/thread-self/cwd");
	else
		num_put(str_put(fd, end, "/proc/thread-self/fd/"), end, dir);
	got = RAW4(__NR_readlinkat, AT_FDCWD, fd, full, sizeof(full) - n - 2);
	if (got <= 0)
		return false;
	full[got] = 0;
	if (!component(full, "proc"))
		return false;
	str_put(str_put(full + got, full + sizeof(full), "/"),
		full + sizeof(full), path);
	memcpy(path, full, sizeof(full));
	return true;
}

enum where look_user(struct ctx *c, int dir, u64 user, char *path,
		     struct way *w)
{
	char head[2];
	u64 n = PAGE - (user & (PAGE - 1));

	w->tree = -1;
	w->text[0] = 0;
	if (n >= 2) {
		if (get_user(head, (void *)user, 2) ||
		    !(head[0] == '/' ? may_matter(head) :
		      may_be_namespace(head)))
			return ON_HOST;
	}
	if (get_user_string(path, (char *)user, PATH_SIZE) < 0)
		return ON_HOST;
	if (path[0] != '/' &&
	    ((dir >= 0 && kind_of(c, dir) != K_HOST) ||
	     !under_proc(dir, path)))
		return ON_HOST;
	return look(c, path, w);
}

/* After the call: what look() has opened for it. */
void way_end(struct ctx *c, struct way *w)
{
	if (w->tree >= 0)
		LIB1(c, __NR_close, w->tree);
	w->tree = -1;
}

/* The namespace of a process of no concern of ours, as of another user's. */
static long elsewhere(struct ctx *c, const char *path)
{
	char text[64];
	long err = RAW4(__NR_readlinkat, AT_FDCWD, path, text, sizeof(text));

	return is_err(err) ? err : refused(c, -EACCES);
}

/* For exec: replaces @path, of PATH_SIZE bytes, if it is that of our own. */
bool path_of_own_exe(struct ctx *c, char *path)
{
	struct way w;
	const char *p = me.exe_fd ? component(path, "proc") : NULL;

	if (!p || path[0] != '/')
		return false;
	p = own_proc(p);
	if (!p || !through_exe(component(p, "exe"), &w))
		return false;
	str_put(path, path + PATH_SIZE, w.text);
	return true;
}

/* @own: also for the instance's own files. */
static long path1(struct ctx *c, struct regs *r, bool own)
{
	char path[PATH_SIZE];
	struct way w;
	long ret;

	switch (look_user(c, AT_FDCWD, r->rdi, path, &w)) {
	case IN_KERNEL:
		ret = lib_call(c, r->rax, (long)w.text, r->rsi, r->rdx, r->r10,
			       r->r8, 0);
		way_end(c, &w);
		return ret;
	case IN_INSTANCE:
		if (!own)
			break;
		return host_call(r->rax, (long)w.text, r->rsi, r->rdx, r->r10,
				 r->r8, 0);
	case ELSEWHERE:
		return elsewhere(c, path);
	default:
		break;
	}
	return pass(c, r);
}

static long path2(struct ctx *c, struct regs *r, bool own)
{
	char path[PATH_SIZE];
	struct way w;
	int dir = r->rdi;
	u8 kind = dir < 0 ? K_HOST : kind_of(c, dir);
	long ret;

	switch (look_user(c, dir, r->rsi, path, &w)) {
	case IN_KERNEL:
		ret = lib_call(c, r->rax, AT_FDCWD, (long)w.text, r->rdx,
			       r->r10, r->r8, 0);
		way_end(c, &w);
		return ret;
	case IN_INSTANCE:
		if (!own)
			break;
		return host_call(r->rax, AT_FDCWD, (long)w.text, r->rdx,
				 r->r10, r->r8, 0);
	case ELSEWHERE:
		return elsewhere(c, path);
	default:
		break;
	}
	/* Relative to a directory of the library kernel, or about it. */
	if (kind == K_LIB) {
		char first = '/';

		if (r->rsi)
			get_user(&first, (void *)r->rsi, 1);
		if (first != '/')
			return pass_lib(c, r);
	}
	if (kind == K_HIDDEN)
		return -EBADF;
	return pass(c, r);
}

/* stat, lstat, access, readlink, statfs, getxattr: the path comes first. */
long sys_path1(struct ctx *c, struct regs *r)
{
	return path1(c, r, true);
}

/* newfstatat, statx, faccessat, readlinkat: a directory, then the path. */
long sys_path2(struct ctx *c, struct regs *r)
{
	return path2(c, r, true);
}

/* mkdir, rmdir, unlink, chmod and the like: the program's files are the host's. */
long sys_change1(struct ctx *c, struct regs *r)
{
	return path1(c, r, false);
}

long sys_change2(struct ctx *c, struct regs *r)
{
	return path2(c, r, false);
}

/* Without a path it is about the descriptor. */
long sys_utimensat(struct ctx *c, struct regs *r)
{
	return r->rsi ? sys_path2(c, r) : sys_fd1(c, r);
}

/* The host's file of that name is about us. */
static long open_auxv(u64 flags)
{
	long fd = RAW2(__NR_memfd_create, "auxv",
		       flags & O_CLOEXEC ? MFD_CLOEXEC : 0);

	if (is_err(fd))
		return fd;
	RAW4(__NR_pwrite64, fd, loaded_auxv, loaded_auxv_size, 0);
	return fd;
}

static long open_path(struct ctx *c, struct regs *r, int dir, u64 user,
		      u64 flags)
{
	char path[PATH_SIZE];
	struct regs q = *r;
	struct way w;
	char first = '/';
	long ret;

	if (r->rax == __NR_openat || r->rax == __NR_openat2)
		q.rsi = (u64)w.text;
	else
		q.rdi = (u64)w.text;
	switch (look_user(c, dir, user, path, &w)) {
	case IN_KERNEL:
		ret = pass_lib(c, &q);
		way_end(c, &w);
		return place(c, ret, flags & O_CLOEXEC);
	case IN_INSTANCE:
		return pass(c, &q);
	case OWN_AUXV:
		return open_auxv(flags);
	case ELSEWHERE:
		return elsewhere(c, path);
	default:
		break;
	}
	if (dir >= 0 && kind_of(c, dir) == K_LIB &&
	    !get_user(&first, (void *)user, 1) && first != '/')
		return place(c, pass_lib(c, r), flags & O_CLOEXEC);
	if (dir >= 0 && is_hidden(dir))
		return -EBADF;
	return pass(c, r);
}

long sys_open(struct ctx *c, struct regs *r)
{
	return open_path(c, r, AT_FDCWD, r->rdi,
			 r->rax == __NR_creat ? 0 : r->rsi);
}

long sys_openat(struct ctx *c, struct regs *r)
{
	u64 flags = r->rdx;

	if (r->rax == __NR_openat2 &&
	    get_user(&flags, (void *)r->rdx, sizeof(flags)))
		return -EFAULT;
	return open_path(c, r, r->rdi, r->rsi, flags);
}

/* ------------------------------------------------------------------ */
/* Names of the whole system, and privilege over the network.		*/

long sys_uname(struct ctx *c, struct regs *r)
{
	struct utsname host, lib;
	long err = RAW1(__NR_uname, &host);

	if (err)
		return err;
	if (!LIB1(c, __NR_uname, &lib) && !str_eq(lib.nodename, "(none)"))
		memcpy(host.nodename, lib.nodename, sizeof(host.nodename));
	return put_user((void *)r->rdi, &host, sizeof(host));
}

long sys_sethostname(struct ctx *c, struct regs *r)
{
	return pass_lib(c, r);
}

/* In the library kernel every process has these. */
#define NET_CAPS	(1U << CAP_NET_ADMIN | 1U << CAP_NET_RAW | \
			 1U << CAP_NET_BIND_SERVICE | 1U << CAP_NET_BROADCAST)

long sys_capget(struct ctx *c, struct regs *r)
{
	struct __user_cap_data_struct d;
	long err = pass(c, r);

	if (err || !r->rsi)
		return err;
	if (get_user(&d, (void *)r->rsi, sizeof(d)))
		return -EFAULT;
	d.effective |= NET_CAPS;
	d.permitted |= NET_CAPS;
	return put_user((void *)r->rsi, &d, sizeof(d));
}

long sys_capset(struct ctx *c, struct regs *r)
{
	struct __user_cap_header_struct h;
	struct __user_cap_data_struct have[2], want[2] = { 0 };
	long err = pass(c, r);
	u64 n;

	if (err != -EPERM || get_user(&h, (void *)r->rdi, sizeof(h)))
		return err;
	/* Once more without what the host does not have to give. */
	n = h.version == _LINUX_CAPABILITY_VERSION_1 ? 1 : 2;
	if (get_user(want, (void *)r->rsi, n * sizeof(want[0])))
		return -EFAULT;
	memset(have, 0, sizeof(have));
	if (RAW2(__NR_capget, &h, have))
		return err;
	want[0].effective &= ~(NET_CAPS & ~have[0].permitted);
	want[0].permitted &= ~(NET_CAPS & ~have[0].permitted);
	want[0].inheritable &= ~(NET_CAPS & ~have[0].permitted);
	return RAW2(__NR_capset, &h, want);
}
