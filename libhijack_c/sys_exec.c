// SPDX-License-Identifier: GPL-2.0-only
/*
 * exec: the new program is one of the instance's too, or it does not start.
 *
 * It comes by the preload door if ld.so will load us into it, whatever
 * environment it is given.  All others come by the loader door: we execute
 * ourselves, with the program's arguments and a descriptor of its file.
 * Either finds in UKL_STATE what it needs to go on with our record: the
 * thread's number and the instance's descriptors.  Programs that the host
 * would give rights (other people's set-id) are refused.
 */
#include "fd.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/memfd.h>
#include <linux/xattr.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define MAX_ARGS	(1 << 20)
#define MAX_SCRIPTS	6
#define SCRIPT_LINE	256	/* that the host reads */
#define AT_EXECVE_CHECK_ 0x10000
#define MADV_POPULATE_WRITE_ 23	/* Linux 5.14 */
#define WORD_SIZE	64	/* of a variable, to tell its name */
#define EXEC_STACK	(24 * 1024)	/* that an exec touches */

/* How the new program gets in. */
enum door {
	DOOR_PRELOAD,		/* or not at all: the host says why */
	DOOR_LOADER,
};

struct target {
	enum door door;
	int program;		/* loader: the file, open */
	u32 scripts;		/* that lead to it */
	struct {
		char line[SCRIPT_LINE];
		char *name, *arg;
	} script[MAX_SCRIPTS];
};

/*
 * Can the program that is to be executed open us through the descriptor?
 * Privilege that would let us may be gone by then.
 */
static bool shim_fd_is_there(void)
{
	char path[64], *end = path + sizeof(path);
	struct stat st;
	long fd;

	num_put(str_put(path, end, "/proc/self/fd/"), end, me.shim_fd);
	fd = RAW4(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return false;
	RAW2(__NR_fstat, fd, &st);
	RAW1(__NR_close, fd);
	return (st.st_mode & S_IROTH) || st.st_uid == RAW0(__NR_geteuid);
}

static void explain(const char *path, const char *why)
{
	self()->refused = 1;
	say(path, ": ", why);
}

/* Owner and group bits that would change who we are. */
static bool changes_ids(const struct stat *st)
{
	if ((st->st_mode & S_ISUID) && st->st_uid != RAW0(__NR_geteuid))
		return true;
	return (st->st_mode & S_ISGID) && (st->st_mode & S_IXGRP) &&
	       st->st_gid != RAW0(__NR_getegid);
}

/* File capabilities that the library kernel has for everybody. */
static bool only_network(const struct vfs_cap_data *cap, long size)
{
	u32 net = 1U << CAP_NET_BIND_SERVICE | 1U << CAP_NET_BROADCAST |
		  1U << CAP_NET_ADMIN | 1U << CAP_NET_RAW;
	u32 rest;

	if (size < (long)XATTR_CAPS_SZ_1)
		return false;
	rest = (cap->data[0].permitted | cap->data[0].inheritable) & ~net;
	if (size >= (long)XATTR_CAPS_SZ_2)
		rest |= cap->data[1].permitted | cap->data[1].inheritable;
	return !rest;
}

/* Without the rights that the host would give it, or not at all. */
static long check_rights(int fd, const struct stat *st, const char *path,
			 bool *without)
{
	struct vfs_cap_data cap[2];
	long n;

	*without = false;
	if (changes_ids(st)) {
		explain(path, "a set-id program: it would run without the "
			"instance");
		return -EPERM;
	}
	if (!RAW0(__NR_getuid))
		return 0;
	n = RAW4(__NR_fgetxattr, fd, "security.capability", cap, sizeof(cap));
	if (n <= 0)
		return 0;
	*without = only_network(cap, n);
	if (*without)
		return 0;
	explain(path, "a program with file capabilities: it would run without "
		"the instance");
	return -EPERM;
}

/* 0: @t->door is the one; the loader's keeps @fd. */
static long check_elf(int fd, const Elf64_Ehdr *eh, const char *path,
		      bool without, struct target *t)
{
	struct program p, interp;
	long err;

	if (eh->e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh->e_machine != EM_X86_64) {
		explain(path, "not an x86-64 program: it cannot run in the "
			"instance");
		return -EACCES;
	}
	err = program_read(&p, fd);
	if (err)
		return err;
	if (str_eq(me.via, "loader") || without || program_wants_loader(&p)) {
		t->door = DOOR_LOADER;
		t->program = fd;
		if (p.interp[0])
			err = program_open_interp(&p, &interp);
		if (p.interp[0] && !err) {
			program_drop(&interp);
			RAW1(__NR_close, interp.fd);
		}
	}
	program_drop(&p);
	return err;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/*
 * The first line of a script, cut as fs/binfmt_script.c cuts it.  False: it
 * is none that the host would take.
 */
static bool cut_line(struct target *t)
{
	char *line = t->script[t->scripts].line, *p, *end, *name;

	line[SCRIPT_LINE - 1] = 0;
	for (end = line + 2; *end && *end != '\n'; end++)
		;
	if (*end != '\n' && end == line + SCRIPT_LINE - 1) {
		/* Cut off: the name at least must be whole. */
		for (p = line + 2; is_blank(*p); p++)
			;
		while (*p && !is_blank(*p))
			p++;
		if (!*p)
			return false;
	}
	while (end > line + 2 && is_blank(end[-1]))
		end--;
	*end = 0;
	for (name = line + 2; is_blank(*name); name++)
		;
	if (!*name)
		return false;
	for (p = name; *p && !is_blank(*p); p++)
		;
	if (*p)
		*p++ = 0;
	while (is_blank(*p))
		p++;
	t->script[t->scripts].name = name;
	t->script[t->scripts].arg = *p ? p : NULL;
	t->scripts++;
	return true;
}

/*
 * May the file be executed, so that execve gets as far as its contents?
 * Hosts from 6.14 answer that themselves.
 */
static long may_execute(int dirfd, const char *path, int flags, int fd,
			bool *asked)
{
	char *const argv[] = { (char *)path, NULL }, *const env[] = { NULL };
	struct { long type, bsize; u64 a[5]; int id[2]; long b[2], flags; }
		fs = { 0 };
	long err;

	err = RAW5(__NR_execveat, dirfd, path, argv, env, flags |
		   AT_EXECVE_CHECK_);
	*asked = err != -EINVAL;
	if (*asked)
		return err;
	if (!RAW2(__NR_fstatfs, fd, &fs) && (fs.flags & 8 /* ST_NOEXEC */))
		return -EACCES;
	err = RAW4(__NR_faccessat2, dirfd, path, 1 /* X_OK */, AT_EACCESS |
		   flags);
	return err == -ENOSYS ? 0 : err;
}

/*
 * Follows #! as the host will.  0: it may be tried by @t->door, and if the
 * host finds something wrong it will say so itself.
 */
static long check_target(int dirfd, const char *path, int flags,
			 struct target *t, bool *new_host)
{
	union {
		Elf64_Ehdr eh;
		char text[SCRIPT_LINE];
	} *head;
	bool without, script = false;
	struct stat st;
	long fd, n, err = 0;

	if (t->scripts >= MAX_SCRIPTS)
		return 0;
	if (flags & AT_EMPTY_PATH && !path[0]) {
		char own[64];

		num_put(str_put(own, own + 64, "/proc/self/fd/"), own + 64,
			dirfd);
		fd = RAW4(__NR_openat, AT_FDCWD, own, O_RDONLY | O_CLOEXEC |
			  O_NONBLOCK, 0);
	} else {
		fd = RAW4(__NR_openat, dirfd, path, O_RDONLY | O_CLOEXEC |
			  O_NONBLOCK | (flags & AT_SYMLINK_NOFOLLOW ?
					O_NOFOLLOW : 0), 0);
	}
	if (fd == -EACCES &&
	    !RAW4(__NR_faccessat, dirfd, path, 1 /* X_OK */, 0)) {
		explain(path, "it cannot be read, so nobody knows what it is");
		return -EACCES;
	}
	if (fd < 0)
		return 0;
	if (RAW2(__NR_fstat, fd, &st) || !S_ISREG(st.st_mode))
		goto out;
	head = (void *)t->script[t->scripts].line;
	memset(head, 0, sizeof(*head));
	n = RAW4(__NR_pread64, fd, head, sizeof(*head) - 1, 0);
	if (n < 4)
		goto out;
	if (head->text[0] == '#' && head->text[1] == '!') {
		if (!cut_line(t))
			goto out;
		err = check_target(AT_FDCWD, t->script[t->scripts - 1].name, 0,
				   t, new_host);
		script = true;
	} else if (*(u32 *)head->text == 0x464c457f &&
		   n >= (long)sizeof(head->eh)) {
		err = check_rights(fd, &st, path, &without);
		if (!err)
			err = check_elf(fd, &head->eh, path, without, t);
	}
	if (!err && t->door == DOOR_LOADER)
		err = may_execute(dirfd, path, flags, fd, new_host);
out:
	if (t->program != fd || script)
		RAW1(__NR_close, fd);
	return err;
}

static bool is_word(const char *s, const char *name)
{
	u64 n = str_len(name);

	return str_starts(s, name) && s[n] == '=';
}

/* How many pointers, the end included; -EFAULT. */
static long count(u64 user)
{
	u64 n = 0, p;

	if (!user)
		return 1;
	do {
		if (get_user(&p, (void *)(user + 8 * n), 8))
			return -EFAULT;
		n++;
	} while (p && n < MAX_ARGS);
	return n;
}

/* After a change of user or root the path may lead nowhere. */
static bool shim_is_there(void)
{
	long err;

	if (RAW0(__NR_geteuid) != me.uid || RAW0(__NR_getegid) != me.gid)
		return false;
	err = RAW4(__NR_faccessat2, AT_FDCWD, me.shim, 4 /* R_OK */,
		   AT_EACCESS);
	if (err == -ENOSYS)
		err = RAW3(__NR_faccessat, AT_FDCWD, me.shim, 4);
	return !err;
}

static bool is_own_word(const char *entry)
{
	static const char names[][16] = {
		"UKL_INSTANCE", "UKL_STATE", "UKL_REWRITE", "UKL_TRACE",
		"UKL_REPORT", "UKL_SHIM",
		"UKL_VIA", "UKL_PROGRAM", "UKL_IMAGE", "UKL_PAD",
		"UKL_SERVICE",
	};
	u32 i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (is_word(entry, names[i]))
			return true;
	return false;
}

/* Of a variable that is a list: where it lies, and how long it is. */
struct own_preload {
	char *at;
	u64 len;
};

static long find_preload(u64 user, u64 n, struct own_preload *own)
{
	char text[16], one;
	u64 i, q;

	for (i = 0; user && i < n; i++) {
		if (get_user(&q, (void *)(user + 8 * i), 8))
			return -EFAULT;
		if (!q)
			break;
		if (get_user_string(text, (char *)q, sizeof(text)) == -EFAULT)
			return -EFAULT;
		text[sizeof(text) - 1] = 0;
		if (!is_word(text, "LD_PRELOAD"))
			continue;
		own->at = (char *)q + 11;
		for (own->len = 0; own->len < 1 << 17; own->len++) {
			if (get_user(&one, own->at + own->len, 1))
				return -EFAULT;
			if (!one)
				break;
		}
	}
	return 0;
}

/* A word of ours, NAME=VALUE. */
static char *put_word(u64 **list, char *p, char *end, const char *name,
		      const char *value)
{
	*(*list)++ = (u64)p;
	p = str_put(str_put(str_put(p, end, name), end, "="), end, value);
	return p + 1;
}

/*
 * The environment for the new program, in one mapping that starts with the
 * pointers.  @name: what the program is called, for the loader door; @by_path:
 * whether our path leads to us.
 */
static long environment(struct ctx *c, u64 user, const struct state *state,
			enum door door, const char *name, bool by_path)
{
	char text[2 * sizeof(*state) + 1], *text_end = text + sizeof(text), *p, *end;
	struct own_preload own = { 0 };
	u64 i, size, q, *list, *at, *ours;
	long n = count(user), err;

	if (n < 0)
		return n;
	err = find_preload(user, n - 1, &own);
	if (err)
		return err;
	size = (n + 14) * 8 + 2 * sizeof(me.shim) + sizeof(me.instance) +
	       sizeof(me.trace) + sizeof(me.report) + sizeof(text) + own.len +
	       str_len(name) + 256;
	list = map_memory(size);
	if (!list)
		return -ENOMEM;
	c->scratch = list;
	c->scratch_size = size;
	p = (char *)(list + n + 14);
	end = (char *)list + size;
	at = list;

	for (i = 0; user && i < (u64)n - 1; i++) {
		get_user(&q, (void *)(user + 8 * i), 8);
		if (!q)
			break;
		memset(text, 0, WORD_SIZE);
		get_user_string(text, (char *)q, WORD_SIZE - 1);
		if (is_own_word(text) ||
		    (door == DOOR_PRELOAD && is_word(text, "LD_PRELOAD")))
			continue;
		*at++ = q;
	}
	ours = at;
	if (door == DOOR_PRELOAD) {
		*at++ = (u64)p;
		p = str_put(p, end, "LD_PRELOAD=");
		if (by_path)
			p = str_put(p, end, me.shim);
		else
			p = num_put(str_put(p, end, "/proc/self/fd/"), end,
				    me.shim_fd);
		if (own.len) {
			p = str_put(p, end, ":");
			if (get_user(p, own.at, own.len))
				return -EFAULT;
			p += own.len;
			*p = 0;
			ours++;		/* stays with the program */
		}
		p++;
	} else {
		p = put_word(&at, p, end, "UKL_PROGRAM", name);
	}
	p = put_word(&at, p, end, "UKL_INSTANCE", me.instance);
	bytes_put(text, text_end, state, sizeof(*state));
	p = put_word(&at, p, end, "UKL_STATE", text);
	p = put_word(&at, p, end, "UKL_SHIM", me.shim);
	if (me.trace[0])
		p = put_word(&at, p, end, "UKL_TRACE", me.trace);
	if (me.report[0])
		p = put_word(&at, p, end, "UKL_REPORT", me.report);
	if (me.rewrite[0])
		p = put_word(&at, p, end, "UKL_REWRITE", me.rewrite);
	if (me.via[0])
		p = put_word(&at, p, end, "UKL_VIA", me.via);
	if ((at - ours) % 2)
		p = put_word(&at, p, end, "UKL_PAD", "");
	*at = 0;
	return 0;
}

/* A copy of @fd that the new program will have, but not among its own. */
static long hand_on(long fd)
{
	long high;

	if (is_err(fd))
		return fd;
	high = RAW3(__NR_fcntl, fd, F_DUPFD, me.anchor);
	if (is_err(high)) {
		/* Where it is, then. */
		RAW3(__NR_fcntl, fd, F_SETFD, 0);
		return fd;
	}
	RAW1(__NR_close, fd);
	return high;
}

static long make_state(struct ctx *c, const struct target *t, const char *name,
		  struct state *s)
{
	long fd;

	*s = (struct state){
		.magic = STATE_MAGIC,
		.id = c->th ? ukl_exec_prepare(c->th) : me.late,
		.idle = !c->th || (c->th->proc->threads == 1 &&
				   !has_lib_files(c)),
		.anchor = me.anchor,
		.shim_fd = me.shim_fd,
		.uid = me.uid,
		.gid = me.gid,
		.files = me.kernel,
		.filters = -1,
		.program = t->door == DOOR_LOADER ? t->program : 0,
	};
	str_put(s->name, s->name + sizeof(s->name), name);
	if (!c->filter)
		return 0;
	/* They may be larger than an environment. */
	fd = RAW2(__NR_memfd_create, "ukl", 0);
	if (is_err(fd))
		return fd;
	filters_write(c, fd);
	s->filters = hand_on(fd);
	return 0;
}

/*
 * The arguments when scripts lead to the program: their interpreters and what
 * follows these, the last script's first, then the script itself in place of
 * argv[0].  In a mapping of its own.
 */
static long arguments(struct ctx *c, struct target *t, const char *name,
		      u64 argv, u64 **out)
{
	long n = count(argv), i;
	u64 q, *list, *at;
	u32 level;

	if (n < 0)
		return n;
	list = map_memory((n + 2 * MAX_SCRIPTS + 2) * 8);
	if (!list)
		return -ENOMEM;
	c->arguments = list;
	c->arguments_size = (n + 2 * MAX_SCRIPTS + 2) * 8;
	at = list;
	for (level = t->scripts; level--;) {
		*at++ = (u64)t->script[level].name;
		if (t->script[level].arg)
			*at++ = (u64)t->script[level].arg;
	}
	*at++ = (u64)name;
	for (i = 1; argv && i < n; i++) {
		if (get_user(&q, (void *)(argv + 8 * i), 8))
			return -EFAULT;
		*at++ = q;
		if (!q)
			break;
	}
	*at = 0;
	*out = list;
	return 0;
}

/* Where the name of a file ends, as in /proc/self/fd. */
static void name_of_file(int fd, char *to, char *end)
{
	char path[64], text[512], *p, *base = text;
	long n;

	num_put(str_put(path, path + 64, "/proc/self/fd/"), path + 64, fd);
	n = RAW3(__NR_readlink, path, text, sizeof(text) - 1);
	if (n <= 0)
		return;
	text[n] = 0;
	for (p = text; *p; p++)
		if (*p == '/')
			base = p + 1;
	if (n > 10 && str_eq(text + n - 10, " (deleted)"))
		text[n - 10] = 0;
	str_put(to, end, base);
}

/* A mapping of ours that the host has read by now. */
static void drop_lists(struct ctx *c)
{
	if (c->scratch)
		unmap_memory(c->scratch, c->scratch_size);
	if (c->arguments)
		unmap_memory(c->arguments, c->arguments_size);
	c->scratch = c->arguments = NULL;
}

/* Where the stack of what follows will be: in one call, not by a fault a page. */
static void populate_stack(void)
{
	u64 here = (u64)__builtin_frame_address(0) & -PAGE;

	RAW3(__NR_madvise, here - EXEC_STACK, EXEC_STACK, MADV_POPULATE_WRITE_);
}

static long exec(struct ctx *c, struct regs *r, int dirfd, u64 user_path,
		 u64 argv, u64 envp, int flags)
{
	struct target t = { .program = -1 };
	char path[4096], name[4096 + 32], comm[16] = "";
	char *end = name + sizeof(name), *p;
	bool new_host = false, own_exe, by_path;
	u64 *list = (u64 *)argv;
	struct rlimit limit;
	struct state s = { .filters = -1 };
	long err;

	populate_stack();
	err = get_user_string(path, (char *)user_path, sizeof(path));
	if (err < 0)
		return err;
	if (dirfd != AT_FDCWD && is_hidden(dirfd))
		return -EBADF;
	/* What execve says of it: AT_EXECFN, and a script's last word. */
	str_put(name, end, path);
	if (dirfd != AT_FDCWD && path[0] != '/') {
		p = num_put(str_put(name, end, "/dev/fd/"), end, dirfd);
		if (path[0])
			str_put(str_put(p, end, "/"), end, path);
	}
	own_exe = path_of_own_exe(c, path);
	limit_lift(&limit);
	err = check_target(dirfd, path, flags, &t, &new_host);
	if (err)
		goto out;
	if (t.door == DOOR_LOADER) {
		if (t.scripts && name[0] == '/' && path[0] != '/' &&
		    RAW2(__NR_fcntl, dirfd, F_GETFD) & FD_CLOEXEC) {
			/* The interpreter could not open it. */
			err = -ENOENT;
			goto out;
		}
		if (t.scripts)
			err = arguments(c, &t, name, argv, &list);
		if (err)
			goto out;
		if (new_host && !path[0])
			name_of_file(t.program, comm, comm + sizeof(comm));
		t.program = hand_on(t.program);
	}
	err = make_state(c, &t, comm, &s);
	if (err)
		goto out;
	by_path = t.door == DOOR_PRELOAD && shim_is_there();
	err = environment(c, envp, &s, t.door, name, by_path);
	if (err)
		goto out;
	if (t.door == DOOR_PRELOAD && !by_path && !shim_fd_is_there()) {
		explain(path, "it would run without the shim, which it cannot "
			"read");
		err = -EACCES;
		goto out;
	}
	/* The new program's is the old one. */
	limit_back(&limit);
	if (t.door == DOOR_LOADER)
		err = host_call(__NR_execveat, me.shim_fd, (long)"",
				(long)list, (long)c->scratch, AT_EMPTY_PATH,
				0);
	else if (r->rax == __NR_execveat)
		err = host_call(__NR_execveat, dirfd,
				own_exe ? (long)path : (long)user_path, argv,
				(long)c->scratch, flags, 0);
	else
		err = host_call(__NR_execve,
				own_exe ? (long)path : (long)user_path, argv,
				(long)c->scratch, 0, 0, 0);
out:
	limit_back(&limit);
	drop_lists(c);
	if (t.program >= 0)
		RAW1(__NR_close, t.program);
	if (s.filters >= 0)
		RAW1(__NR_close, s.filters);
	return err;
}

long sys_execve(struct ctx *c, struct regs *r)
{
	return exec(c, r, AT_FDCWD, r->rdi, r->rsi, r->rdx, 0);
}

long sys_execveat(struct ctx *c, struct regs *r)
{
	return exec(c, r, r->rdi, r->rsi, r->rdx, r->r10, r->r8);
}
