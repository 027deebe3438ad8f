// SPDX-License-Identifier: GPL-2.0-only
/*
 * exec: the new program is one of the instance's too, or it does not start.
 *
 * It is preloaded again whatever environment it is given, and finds in a
 * memfd what it needs to go on with our record: the thread's number and the
 * instance's descriptors.  Programs that ld.so would not preload us into
 * (static ones, other people's set-id) are refused.
 */
#include "fd.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/stat.h>

#define MAX_ARGS	(1 << 20)

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

static void refused(const char *path, const char *why)
{
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

static long check_elf(int fd, const Elf64_Ehdr *eh, const char *path)
{
	Elf64_Phdr ph;
	int i;

	if (eh->e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh->e_machine != EM_X86_64) {
		refused(path, "not an x86-64 program: it cannot run in the "
			"instance");
		return -EACCES;
	}
	for (i = 0; i < eh->e_phnum; i++) {
		if (RAW4(__NR_pread64, fd, &ph, sizeof(ph),
			 eh->e_phoff + i * eh->e_phentsize) != sizeof(ph))
			return 0;	/* the host says what is wrong */
		if (ph.p_type == PT_INTERP)
			return 0;
	}
	refused(path, "a static program: it cannot be preloaded "
		"(link it dynamically)");
	return -EACCES;
}

/*
 * Follows #! as the host will.  0: it may be tried, and if the host finds
 * something wrong it will say so itself.
 */
static long check_target(int dirfd, const char *path, int flags, int depth)
{
	union {
		Elf64_Ehdr eh;
		char text[256];
	} head = { 0 };
	struct stat st;
	char *p, *begin, cap[32];
	long fd, n, err = 0;

	if (depth > 5)
		return 0;
	fd = RAW4(__NR_openat, dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK |
		  (flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0), 0);
	if (fd == -EACCES &&
	    !RAW4(__NR_faccessat, dirfd, path, 1 /* X_OK */, 0)) {
		refused(path, "it cannot be read, so nobody knows what it is");
		return -EACCES;
	}
	if (fd < 0)
		return 0;
	if (RAW2(__NR_fstat, fd, &st) || !S_ISREG(st.st_mode))
		goto out;
	n = RAW4(__NR_pread64, fd, &head, sizeof(head) - 1, 0);
	if (n < 4)
		goto out;
	if (head.text[0] == '#' && head.text[1] == '!') {
		for (p = head.text + 2; *p == ' ' || *p == '\t'; p++)
			;
		begin = p;
		while (*p && *p != ' ' && *p != '\t' && *p != '\n')
			p++;
		*p = 0;
		if (*begin)
			err = check_target(AT_FDCWD, begin, 0, depth + 1);
		goto out;
	}
	if (*(u32 *)head.text != 0x464c457f || n < (long)sizeof(head.eh))
		goto out;
	if (changes_ids(&st)) {
		refused(path, "a set-id program: it would run without the "
			"instance");
		err = -EPERM;
		goto out;
	}
	if (RAW0(__NR_getuid) &&
	    RAW4(__NR_fgetxattr, fd, "security.capability", cap,
		 sizeof(cap)) > 0) {
		refused(path, "a program with file capabilities: it would run "
			"without the instance");
		err = -EPERM;
		goto out;
	}
	err = check_elf(fd, &head.eh, path);
out:
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
	long fd;

	if (RAW0(__NR_geteuid) != me.uid || RAW0(__NR_getegid) != me.gid)
		return false;
	fd = RAW4(__NR_openat, AT_FDCWD, me.shim, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return false;
	RAW1(__NR_close, fd);
	return true;
}

/*
 * The environment for the new program, in one mapping that starts with the
 * pointers.
 */
static long environment(struct ctx *c, u64 user, int state)
{
	char text[32], *own = NULL, *p, *end;
	u64 i, at = 0, size, q, own_len = 0;
	u64 *list;
	long n = count(user), err;

	if (n < 0)
		return n;
	size = (n + 8) * 8 + sizeof(me.shim) + sizeof(me.instance) +
	       sizeof(me.trace) + 256;
	for (i = 0; user && i < (u64)n - 1; i++) {
		get_user(&q, (void *)(user + 8 * i), 8);
		if (!q)
			break;
		err = get_user_string(text, (char *)q, sizeof(text));
		if (err == -EFAULT)
			return err;
		text[sizeof(text) - 1] = 0;
		if (is_word(text, "LD_PRELOAD")) {
			own = (char *)q + 11;
			for (own_len = 0; own_len < 1 << 17; own_len++) {
				char one;

				if (get_user(&one, own + own_len, 1))
					return -EFAULT;
				if (!one)
					break;
			}
		}
	}
	size += own_len;
	list = map_memory(size);
	if (!list)
		return -ENOMEM;
	c->scratch = list;
	c->scratch_size = size;
	p = (char *)(list + n + 8);
	end = (char *)list + size;

	for (i = 0; user && i < (u64)n - 1; i++) {
		get_user(&q, (void *)(user + 8 * i), 8);
		if (!q)
			break;
		memset(text, 0, sizeof(text));
		get_user_string(text, (char *)q, sizeof(text) - 1);
		if (is_word(text, "LD_PRELOAD") ||
		    is_word(text, "UKL_INSTANCE") ||
		    is_word(text, "UKL_STATE") ||
		    is_word(text, "UKL_REWRITE") || is_word(text, "UKL_TRACE"))
			continue;
		list[at++] = q;
	}
	list[at++] = (u64)p;
	p = str_put(p, end, "LD_PRELOAD=");
	if (shim_is_there())
		p = str_put(p, end, me.shim);
	else
		p = num_put(str_put(p, end, "/proc/self/fd/"), end,
			    me.shim_fd);
	if (own_len) {
		p = str_put(p, end, ":");
		if (get_user(p, own, own_len))
			return -EFAULT;
		p += own_len;
		*p = 0;
	}
	list[at++] = (u64)++p;
	p = str_put(str_put(p, end, "UKL_INSTANCE="), end, me.instance);
	list[at++] = (u64)++p;
	p = num_put(str_put(p, end, "UKL_STATE="), end, state);
	if (me.trace[0]) {
		list[at++] = (u64)++p;
		p = str_put(str_put(p, end, "UKL_TRACE="), end, me.trace);
	}
	if (me.rewrite[0]) {
		list[at++] = (u64)++p;
		p = str_put(str_put(p, end, "UKL_REWRITE="), end, me.rewrite);
	}
	list[at] = 0;
	return 0;
}

static long state_file(struct ctx *c)
{
	struct state s = {
		.magic = STATE_MAGIC,
		.id = ukl_exec_prepare(c->th),
		.anchor = me.anchor,
		.shim_fd = me.shim_fd,
		.uid = me.uid,
		.gid = me.gid,
		.files = me.kernel,
	};
	long fd = RAW2(__NR_memfd_create, "ukl", 0), high;

	if (is_err(fd))
		return fd;
	memcpy(s.shim, me.shim, sizeof(s.shim));
	RAW3(__NR_write, fd, &s, sizeof(s));
	/* Not among the program's. */
	high = RAW3(__NR_fcntl, fd, F_DUPFD, me.anchor);
	if (!is_err(high)) {
		RAW1(__NR_close, fd);
		fd = high;
	}
	return fd;
}

static long exec(struct ctx *c, struct regs *r, int dirfd, u64 user_path,
		 u64 argv, u64 envp, int flags)
{
	char path[4096], *name = path;
	char self_path[64];
	long err, state;

	err = get_user_string(path, (char *)user_path, sizeof(path));
	if (err < 0)
		return err;
	if (dirfd != AT_FDCWD && is_hidden(dirfd))
		return -EBADF;
	if (!path[0] && (flags & AT_EMPTY_PATH)) {
		num_put(str_put(self_path, self_path + 64, "/proc/self/fd/"),
			self_path + 64, dirfd);
		err = check_target(AT_FDCWD, self_path, 0, 0);
	} else {
		err = check_target(dirfd, name, flags, 0);
	}
	if (err)
		return err;
	state = state_file(c);
	if (is_err(state))
		return state;
	err = environment(c, envp, state);
	if (err)
		goto out;
	if (!shim_is_there() && !shim_fd_is_there()) {
		refused(path, "it would run without the shim, which it cannot "
			"read");
		err = -EACCES;
		goto out;
	}
	keep_files_over_exec(true);
	if (r->rax == __NR_execveat)
		err = host_call(__NR_execveat, dirfd, user_path, argv,
				(long)c->scratch, flags, 0);
	else
		err = host_call(__NR_execve, user_path, argv,
				(long)c->scratch, 0, 0, 0);
	keep_files_over_exec(false);
out:
	if (c->scratch)
		unmap_memory(c->scratch, c->scratch_size);
	c->scratch = NULL;
	RAW1(__NR_close, state);
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
