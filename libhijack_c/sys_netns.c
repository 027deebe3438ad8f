// SPDX-License-Identifier: GPL-2.0-only
/*
 * Network namespaces: the library kernel's.
 *
 * /proc/PID/ns/net is a file of the library kernel, so setns() finds the
 * namespace by itself.  Their names, the files in /run/netns, lie in its file
 * system too: every process of the instance sees them, and nobody else does.
 * The host's namespaces play no part.
 */
#include "fd.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sys/stat.h>

#define SIOCGSKNS_	0x894c
#define NS_GET_USERNS_	0xb701
#define NS_GET_PARENT_	0xb702

/* ioctls that answer with a descriptor. */
bool gives_namespace(u32 cmd)
{
	return cmd == SIOCGSKNS_ || cmd == NS_GET_USERNS_ ||
	       cmd == NS_GET_PARENT_;
}

/* ------------------------------------------------------------------ */
/* Whose they are.							*/

/* A dead process has no namespace; its record may be there for a while. */
static bool has_namespaces(u64 id)
{
	char path[64], *end = path + sizeof(path), none;
	long err;

	str_put(num_put(str_put(path, end, "/proc/"), end, id), end,
		"/ns/net");
	err = RAW4(__NR_readlinkat, AT_FDCWD, path, &none, 1);
	return err != -ENOENT && err != -ESRCH;
}

static int recorded_id(u64 id)
{
	const struct ukl_shared *s;
	int i, pid = id, hosts;

	thread_of(self());	/* or the instance may not be mapped yet */
	s = ukl_head()->shared;
	hosts = s->proc[0].pid;
	if (id > INT32_MAX || pid == hosts)
		return 0;
	for (i = 0; i < UKL_MAX_PROCS; i++)
		if ((s->proc[i].state == UKL_PROC_NEW ||
		     s->proc[i].state == UKL_PROC_LIVE) &&
		    s->proc[i].pid == pid)
			return s->proc[i].kpid;
	for (i = 0; i < UKL_MAX_THREADS; i++)
		if (s->thread[i].state == UKL_TH_LIVE &&
		    s->thread[i].tid == pid && s->thread[i].proc->pid != hosts)
			return s->thread[i].ktid;
	return 0;
}

/*
 * The number in the library kernel of the host's process or thread @id; 0: it
 * is not of the instance.  The kernel host, the first of all, does not count.
 */
int kernel_id(u64 id)
{
	int kid = recorded_id(id);

	return kid && has_namespaces(id) ? kid : 0;
}

/* Its directory there; empty if it is nobody's. */
void kernel_proc(char *at, char *end, u64 id)
{
	int kid = kernel_id(id);

	*at = 0;
	if (kid)
		num_put(str_put(at, end, "/proc/"), end, kid);
}

/* The process that the host's descriptor @pidfd is about; 0: it is no pidfd. */
long pid_of(int pidfd)
{
	char path[64], text[512], *end = path + sizeof(path), *p;
	long fd, n;

	num_put(str_put(path, end, "/proc/self/fdinfo/"), end, pidfd);
	fd = RAW4(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (is_err(fd))
		return fd;
	n = RAW3(__NR_read, fd, text, sizeof(text) - 1);
	RAW1(__NR_close, fd);
	text[n > 0 ? n : 0] = 0;
	for (p = text; *p; p++)
		if (str_starts(p, "\nPid:\t"))
			return p[6] == '-' ? -ESRCH : (long)num_parse(p + 6);
	return 0;
}

static long open_namespace(struct ctx *c, long pid)
{
	char path[64], *end = path + sizeof(path);

	kernel_proc(path, end, pid);
	if (!*path)
		return has_namespaces(pid) ? refused(c, -EPERM) : -ESRCH;
	str_put(path + str_len(path), end, "/ns/net");
	return LIB4(c, __NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
}

/* That of its process, open in the library kernel. */
long namespace_of_pidfd(struct ctx *c, int pidfd)
{
	long pid = pid_of(pidfd);

	return pid > 0 ? open_namespace(c, pid) : pid ? pid : -EINVAL;
}

static bool in_first_namespace(struct ctx *c)
{
	struct stat first, here;

	return !LIB2(c, __NR_stat, "/proc/1/ns/net", &first) &&
	       !LIB2(c, __NR_stat, "/proc/thread-self/ns/net", &here) &&
	       first.st_ino == here.st_ino;
}

/*
 * Where sysfs shows the namespace of this thread: in *@at.  A mount shows the
 * one in which it was made, so others are made when they are needed.  What
 * it has opened for that, or -1.
 */
long sysfs_here(struct ctx *c, char *at, char *end)
{
	long fs, tree;

	str_put(at, end, "/sys");
	if (in_first_namespace(c))
		return -1;
	fs = LIB2(c, __NR_fsopen, "sysfs", FSOPEN_CLOEXEC);
	if (fs < 0)
		return -1;
	lib_raw(c, __NR_fsconfig, fs, FSCONFIG_CMD_CREATE, 0, 0, 0, 0);
	tree = LIB3(c, __NR_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	LIB1(c, __NR_close, fs);
	if (tree < 0)
		return -1;
	num_put(str_put(at, end, "/proc/thread-self/fd/"), end, tree);
	return tree;
}

/* ------------------------------------------------------------------ */
/* Entering them.							*/

/* The network namespace of a process, and others of its on the host. */
static long enter_process(struct ctx *c, struct regs *r)
{
	u64 others = (u32)r->rsi & ~(u32)CLONE_NEWNET;
	long pid = pid_of(r->rdi), ns, err = 0;

	if (pid < 0)
		return pid == -ESRCH ? pid : pass(c, r);
	if (!pid)
		return pass(c, r);
	ns = open_namespace(c, pid);
	if (ns < 0)
		return ns;
	if (others)
		err = host_call(__NR_setns, r->rdi, others, 0, 0, 0, 0);
	if (!err)
		err = LIB2(c, __NR_setns, ns, CLONE_NEWNET);
	LIB1(c, __NR_close, ns);
	return err;
}

long sys_setns(struct ctx *c, struct regs *r)
{
	long err;

	if (kind_of(c, r->rdi) == K_HOST && (r->rsi & CLONE_NEWNET))
		err = enter_process(c, r);
	else
		err = sys_fd1(c, r);
	if (!err && kind_of(c, r->rdi) == K_LIB)
		c->entered = 1;
	return err;
}

/*
 * `ip netns exec` wants a mount namespace, to give it a /sys that shows the
 * network namespace that it has just entered.  /sys/class/net here always shows
 * the thread's.  So what the host does not allow it needs not be done: it goes
 * on as if it were, until the program that it executes.
 */
static long not_needed(struct ctx *c, long err)
{
	return c->entered && (err == -EPERM || err == -EACCES) ? 0 : err;
}

long sys_unshare(struct ctx *c, struct regs *r)
{
	u64 flags = r->rdi, others = flags & ~(u64)CLONE_NEWNET;
	long err;

	if (flags & CLONE_FS) {
		err = LIB1(c, __NR_unshare, CLONE_FS);
		if (err)
			return err;
	}
	if (flags & CLONE_FILES) {
		err = files_unshare(c);
		if (err)
			return err;
	}
	if (others || !flags) {
		err = host_call(__NR_unshare, others, 0, 0, 0, 0, 0);
		if (flags == CLONE_NEWNS)
			err = not_needed(c, err);
		if (err)
			return err;
	}
	return flags & CLONE_NEWNET ? LIB1(c, __NR_unshare, CLONE_NEWNET) : 0;
}

/* ------------------------------------------------------------------ */
/* Their names.								*/

static bool is_name(enum where where, const struct way *w)
{
	return where == IN_KERNEL && str_starts(w->text, NETNS_DIR);
}

static bool is_namespace(enum where where, const struct way *w)
{
	static const char tail[] = "/ns/net";
	u64 n = str_len(w->text), m = sizeof(tail) - 1;

	return where == ELSEWHERE || is_name(where, w) ||
	       (where == IN_KERNEL && n > m && str_eq(w->text + n - m, tail));
}

static bool user_says(u64 user, const char *word)
{
	char text[16];

	return get_user_string(text, (char *)user, sizeof(text)) >= 0 &&
	       str_eq(text, word);
}

long sys_mount(struct ctx *c, struct regs *r)
{
	bool bind = (r->r10 & (MS_BIND | MS_REMOUNT)) == MS_BIND;
	enum where to, from;
	char path[PATH_SIZE];
	struct way w, v;
	long err;

	to = look_user(c, AT_FDCWD, r->rsi, path, &w);
	from = bind ? look_user(c, AT_FDCWD, r->rdi, path, &v) : ON_HOST;
	way_end(c, &w);
	if (bind)
		way_end(c, &v);
	if (is_name(to, &w) && (!bind || from == IN_KERNEL))
		return lib_call(c, r->rax, bind ? (long)v.text : (long)r->rdi,
				(long)w.text, r->rdx, r->r10, r->r8, 0);
	/* Neither kernel can put a file of the other into its tree. */
	if (is_name(to, &w) || (bind && is_namespace(from, &v)))
		return refused(c, -EINVAL);
	err = pass(c, r);
	if (err && (user_says(r->rsi, "/") ? r->r10 == (MS_REC | MS_SLAVE) :
		    user_says(r->rsi, "/sys") && user_says(r->rdx, "sysfs")))
		err = not_needed(c, err);
	return err;
}

long sys_umount2(struct ctx *c, struct regs *r)
{
	char path[PATH_SIZE];
	struct way w;
	enum where to = look_user(c, AT_FDCWD, r->rdi, path, &w);
	long err;

	way_end(c, &w);
	if (is_name(to, &w))
		return lib_call(c, r->rax, (long)w.text, r->rsi, 0, 0, 0, 0);
	err = pass(c, r);
	return err && user_says(r->rdi, "/sys") ? not_needed(c, err) : err;
}

/* rename and link: within one file system, if both are names. */
static long pair(struct ctx *c, struct regs *r, long dir, u64 from, long dir2,
		 u64 to, u64 flags)
{
	char path[PATH_SIZE];
	struct way w, v;
	bool a, b;
	long nr = r->rax == __NR_link || r->rax == __NR_linkat ?
		  __NR_linkat : __NR_renameat2;

	a = is_name(look_user(c, dir, from, path, &w), &w);
	way_end(c, &w);
	b = is_name(look_user(c, dir2, to, path, &v), &v);
	way_end(c, &v);
	if (a && b)
		return lib_call(c, nr, AT_FDCWD, (long)w.text, AT_FDCWD,
				(long)v.text, flags, 0);
	return a || b ? -EXDEV : pass(c, r);
}

long sys_rename(struct ctx *c, struct regs *r)
{
	return pair(c, r, AT_FDCWD, r->rdi, AT_FDCWD, r->rsi, 0);
}

long sys_renameat(struct ctx *c, struct regs *r)
{
	return pair(c, r, (int)r->rdi, r->rsi, (int)r->rdx, r->r10,
		    r->rax == __NR_renameat ? 0 : r->r8);
}

/*
 * `ln -s /proc/PID/ns/net /run/netns/NAME`: the library kernel follows it, so
 * it leads to the process's number there.
 */
static long symlink_name(struct ctx *c, struct regs *r, long dir, u64 name)
{
	char path[PATH_SIZE];
	enum where where;
	struct way w, to;

	where = look_user(c, dir, name, path, &w);
	way_end(c, &w);
	if (!is_name(where, &w))
		return pass(c, r);
	where = look_user(c, AT_FDCWD, r->rdi, path, &to);
	way_end(c, &to);
	if (where == ELSEWHERE)
		return refused(c, -EACCES);
	return lib_call(c, __NR_symlink, is_namespace(where, &to) ?
			(long)to.text : (long)r->rdi, (long)w.text, 0, 0, 0, 0);
}

long sys_symlink(struct ctx *c, struct regs *r)
{
	return symlink_name(c, r, AT_FDCWD, r->rsi);
}

long sys_symlinkat(struct ctx *c, struct regs *r)
{
	return symlink_name(c, r, (int)r->rsi, r->rdx);
}
