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

#define PATH_SIZE	4096

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

/* /proc/self or /proc/OUR-NUMBER, also a thread's. */
static const char *own_proc(struct ctx *c, const char *p)
{
	const char *q = component(p, "self");
	char pid[24];

	if (q)
		return q;
	q = component(p, "thread-self");
	if (q)
		return q;
	num_put(pid, pid + sizeof(pid), RAW0(__NR_getpid));
	(void)c;
	return component(p, pid);
}

enum where {
	ON_HOST,
	IN_KERNEL,		/* *path is what to ask for */
	IN_INSTANCE,		/* a file of the host: *path */
	OWN_AUXV,		/* what we have told the program that we loaded */
};

/* The number that a path in /proc/self/fd or /dev/fd names; -1. */
static long fd_of(const char *p)
{
	u64 n;
	const char *q;

	while (*p == '/')
		p++;
	if (*p < '0' || *p > '9')
		return -1;
	n = num_parse(p);
	for (q = p; *q >= '0' && *q <= '9'; q++)
		;
	return *q || n >= MAX_FD ? -1 : (long)n;
}

/* Such a path for a file of the library kernel: the same there. */
static bool through_fd(struct ctx *c, const char *p, char *buf)
{
	long fd = p ? fd_of(p) : -1;

	if (fd < 0 || kind_of(c, fd) != K_LIB)
		return false;
	num_put(str_put(buf, buf + PATH_SIZE, "/proc/self/fd/"),
		buf + PATH_SIZE, fd);
	return true;
}

/*
 * What a program that we have loaded calls its executable is ours on the
 * host: the descriptor of its file stands for it.
 */
static bool through_exe(const char *p, char *buf)
{
	if (!p || *p || !me.exe_fd)
		return false;
	num_put(str_put(buf, buf + PATH_SIZE, "/proc/self/fd/"),
		buf + PATH_SIZE, me.exe_fd);
	return true;
}

static const char *const views[] = {
	"/etc/resolv.conf", "/etc/hosts", "/etc/hostname",
};

/* Where an absolute path leads; @buf is PATH_SIZE bytes for a new one. */
static enum where look(struct ctx *c, char *path, char *buf)
{
	char *end = buf + PATH_SIZE;
	const char *p, *q;
	u32 i;

	if (path[0] != '/')
		return ON_HOST;
	p = component(path, "proc");
	if (p) {
		q = component(p, "net");
		if (q) {
			str_put(str_put(buf, end, "/proc/net"), end, q);
			return IN_KERNEL;
		}
		q = component(p, "sys");
		if (q) {
			q = component(q, "net");
			if (!q)
				return ON_HOST;
			str_put(str_put(buf, end, "/proc/sys/net"), end, q);
			return IN_KERNEL;
		}
		p = own_proc(c, p);
		if (p && through_fd(c, component(p, "fd"), buf))
			return IN_KERNEL;
		if (p && through_exe(component(p, "exe"), buf))
			return IN_INSTANCE;
		q = p && me.exe_fd ? component(p, "auxv") : NULL;
		if (q && !*q)
			return OWN_AUXV;
		q = p ? component(p, "ns") : NULL;
		q = q ? component(q, "net") : NULL;
		if (q) {
			str_put(buf, end, "/proc/self/ns/net");
			return IN_KERNEL;
		}
		q = p ? component(p, "net") : NULL;
		if (!q)
			return ON_HOST;
		str_put(str_put(buf, end, "/proc/net"), end, q);
		return IN_KERNEL;
	}
	p = component(path, "dev");
	if (p)
		return through_fd(c, component(p, "fd"), buf) ? IN_KERNEL :
		       ON_HOST;
	p = component(path, "sys");
	if (p) {
		q = component(p, "class");
		q = q ? component(q, "net") : NULL;
		if (q) {
			str_put(str_put(buf, end, "/sys/class/net"), end, q);
			return IN_KERNEL;
		}
		q = component(p, "devices");
		q = q ? component(q, "virtual") : NULL;
		q = q ? component(q, "net") : NULL;
		if (!q)
			return ON_HOST;
		str_put(str_put(buf, end, "/sys/devices/virtual/net"), end,
			q);
		return IN_KERNEL;
	}
	for (i = 0; i < sizeof(views) / sizeof(*views); i++) {
		if (!str_eq(path, views[i]))
			continue;
		str_put(str_put(buf, end, me.instance), end, views[i]);
		if (!RAW4(__NR_faccessat, AT_FDCWD, buf, 4 /* R_OK */, 0))
			return IN_INSTANCE;
	}
	return ON_HOST;
}

/* The first words of paths that look() could want: one look at the text. */
static bool may_matter(const char *p)
{
	return p[0] == '/' && (p[1] == 'p' || p[1] == 's' || p[1] == 'e' ||
			       p[1] == 'd' || p[1] == '/' || p[1] == '.');
}

static enum where look_user(struct ctx *c, u64 user, char *path, char *buf)
{
	char head[2];
	u64 n = PAGE - (user & (PAGE - 1));

	if (n >= 2) {
		if (get_user(head, (void *)user, 2) ||
		    (head[0] != '/') ||
		    !may_matter(head))
			return ON_HOST;
	}
	if (get_user_string(path, (char *)user, PATH_SIZE) < 0)
		return ON_HOST;
	return look(c, path, buf);
}

/* For exec: replaces @path, of PATH_SIZE bytes, if it is that of our own. */
bool path_of_own_exe(struct ctx *c, char *path)
{
	char buf[PATH_SIZE];
	const char *p = me.exe_fd ? component(path, "proc") : NULL;

	if (!p || path[0] != '/')
		return false;
	p = own_proc(c, p);
	if (!p || !through_exe(component(p, "exe"), buf))
		return false;
	str_put(path, path + PATH_SIZE, buf);
	return true;
}

/* stat, lstat, access, readlink, statfs: the path comes first. */
long sys_path1(struct ctx *c, struct regs *r)
{
	char path[PATH_SIZE], buf[PATH_SIZE];

	switch (look_user(c, r->rdi, path, buf)) {
	case IN_KERNEL:
		return lib_call(c, r->rax, (long)buf, r->rsi, r->rdx, 0, 0, 0);
	case IN_INSTANCE:
		return host_call(r->rax, (long)buf, r->rsi, r->rdx, 0, 0, 0);
	default:
		return pass(c, r);
	}
}

/* newfstatat, statx, faccessat, readlinkat: a directory, then the path. */
long sys_path2(struct ctx *c, struct regs *r)
{
	char path[PATH_SIZE], buf[PATH_SIZE];
	int dir = r->rdi;
	u8 kind = dir < 0 ? K_HOST : kind_of(c, dir);

	switch (look_user(c, r->rsi, path, buf)) {
	case IN_KERNEL:
		return lib_call(c, r->rax, AT_FDCWD, (long)buf, r->rdx, r->r10,
				r->r8, 0);
	case IN_INSTANCE:
		return host_call(r->rax, AT_FDCWD, (long)buf, r->rdx, r->r10,
				 r->r8, 0);
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
	char path[PATH_SIZE], buf[PATH_SIZE];
	struct regs q = *r;
	char first = '/';

	switch (look_user(c, user, path, buf)) {
	case IN_KERNEL:
		if (r->rax == __NR_open)
			q.rdi = (u64)buf;
		else
			q.rsi = (u64)buf;
		return place(c, pass_lib(c, &q), flags & O_CLOEXEC);
	case IN_INSTANCE:
		if (r->rax == __NR_open)
			q.rdi = (u64)buf;
		else
			q.rsi = (u64)buf;
		return pass(c, &q);
	case OWN_AUXV:
		return open_auxv(flags);
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
	return open_path(c, r, -1, r->rdi, r->rsi);
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
