/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Descriptors: one number space, the host's.
 */
#ifndef UKL_SHIM_FD_H
#define UKL_SHIM_FD_H

#include "shim.h"

#pragma GCC visibility push(hidden)

/* sys_fd.c */
struct files *files_init(struct files *f);
struct files *files_new(void);
struct files *files_copy(struct files *f);
void files_put(struct files *f);
long files_unshare(struct ctx *c);
void files_from_kernel(struct ctx *c);
struct rlimit;
void limit_lift(struct rlimit *old);
void limit_back(const struct rlimit *old);
void hide_files(struct ukl_files *kernel);
void make_anchor(void);
void open_shim(void);
void hide_program(void);
void hide_report(void);
void mark_hidden(void);
bool is_hidden(long fd);
bool has_lib_files(struct ctx *c);
void set_kind(struct ctx *c, long fd, u8 kind);
long place(struct ctx *c, long k, bool cloexec);
long adopt(struct ctx *c, long k, long p, bool cloexec);
long settle(struct ctx *c, long k, long p, bool cloexec);
void *io_buffer(struct ctx *c);

static inline u8 kind_of(struct ctx *c, u64 fd)
{
	/* The program's registers hold an int. */
	u32 n = fd;

	return n < c->files->top ? c->files->kind[n] : K_HOST;
}

long sys_close(struct ctx *c, struct regs *r);
long sys_close_range(struct ctx *c, struct regs *r);
long sys_dup(struct ctx *c, struct regs *r);
long sys_dup2(struct ctx *c, struct regs *r);
long sys_dup3(struct ctx *c, struct regs *r);
long sys_fcntl(struct ctx *c, struct regs *r);
long sys_ioctl(struct ctx *c, struct regs *r);
long sys_fd1(struct ctx *c, struct regs *r);
long sys_getdents(struct ctx *c, struct regs *r);
long sys_fstat(struct ctx *c, struct regs *r);
long sys_sendfile(struct ctx *c, struct regs *r);
long sys_splice(struct ctx *c, struct regs *r);
long sys_tee(struct ctx *c, struct regs *r);
long sys_copy_file_range(struct ctx *c, struct regs *r);
long sys_mmap(struct ctx *c, struct regs *r);
long sys_vmsplice(struct ctx *c, struct regs *r);

/* sys_socket.c */
long sys_socket(struct ctx *c, struct regs *r);
long sys_accept(struct ctx *c, struct regs *r);

/* sys_rights.c */
long sys_recvmsg(struct ctx *c, struct regs *r);
long sys_sendmsg(struct ctx *c, struct regs *r);
long sys_recvmmsg(struct ctx *c, struct regs *r);
long sys_sendmmsg(struct ctx *c, struct regs *r);
long sys_pidfd_getfd(struct ctx *c, struct regs *r);

/* sys_poll.c */
long sys_poll(struct ctx *c, struct regs *r);
long sys_ppoll(struct ctx *c, struct regs *r);
long sys_select(struct ctx *c, struct regs *r);
long sys_pselect6(struct ctx *c, struct regs *r);

/* sys_epoll.c */
void epoll_goes_out(struct ctx *c, int ep);
long sys_epoll_create(struct ctx *c, struct regs *r);
long sys_epoll_create1(struct ctx *c, struct regs *r);
long sys_epoll_ctl(struct ctx *c, struct regs *r);
long sys_epoll_wait(struct ctx *c, struct regs *r);
long sys_epoll_pwait(struct ctx *c, struct regs *r);
long sys_epoll_pwait2(struct ctx *c, struct regs *r);

/* sys_path.c */
#define PATH_SIZE	4096

enum where {
	ON_HOST,
	IN_KERNEL,		/* way.text is what to ask for */
	IN_INSTANCE,		/* a file of the host: way.text */
	OWN_AUXV,		/* what we have told the program that we loaded */
	ELSEWHERE,		/* a namespace that is not the instance's */
};

/* What a path is called where it leads. */
struct way {
	long tree;		/* open in the library kernel for it, or -1 */
	char text[PATH_SIZE];
};

/* For a path of the program, relative to @dir; @path gets a copy. */
enum where look_user(struct ctx *c, int dir, u64 user, char *path,
		     struct way *w);
void way_end(struct ctx *c, struct way *w);
bool path_of_own_exe(struct ctx *c, char *path);
long sys_path1(struct ctx *c, struct regs *r);
long sys_path2(struct ctx *c, struct regs *r);
long sys_change1(struct ctx *c, struct regs *r);
long sys_change2(struct ctx *c, struct regs *r);
long sys_utimensat(struct ctx *c, struct regs *r);
long sys_openat(struct ctx *c, struct regs *r);
long sys_open(struct ctx *c, struct regs *r);
long sys_uname(struct ctx *c, struct regs *r);
long sys_sethostname(struct ctx *c, struct regs *r);
long sys_capget(struct ctx *c, struct regs *r);
long sys_capset(struct ctx *c, struct regs *r);

/* sys_netns.c */
#define NETNS_DIR	"/run/netns"	/* in the library kernel */

int kernel_id(u64 id);
long pid_of(int pidfd);
void kernel_proc(char *at, char *end, u64 id);
long sysfs_here(struct ctx *c, char *at, char *end);
bool gives_namespace(u32 cmd);
long namespace_of_pidfd(struct ctx *c, int pidfd);
long sys_setns(struct ctx *c, struct regs *r);
long sys_unshare(struct ctx *c, struct regs *r);
long sys_mount(struct ctx *c, struct regs *r);
long sys_umount2(struct ctx *c, struct regs *r);
long sys_rename(struct ctx *c, struct regs *r);
long sys_renameat(struct ctx *c, struct regs *r);
long sys_symlink(struct ctx *c, struct regs *r);
long sys_symlinkat(struct ctx *c, struct regs *r);

/* sys_netlink.c */
u16 note_of(struct ctx *c, int fd);
long send_to_kernel(struct ctx *c, struct regs *r);
long sys_sendto(struct ctx *c, struct regs *r);

#pragma GCC visibility pop

#endif
