// SPDX-License-Identifier: GPL-2.0-only
/*
 * The system call interface: native numbers and structures, EFAULT from every
 * bad pointer, and registers that survive.
 */
#include "kit.h"

#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/utsname.h>

TEST(identity)
{
	struct utsname uts;

	good(CALL(uname, &uts));
	check(!strcmp(uts.sysname, "Linux"));
	check(!strcmp(uts.release, ukl_head()->release));
	check(strstr(uts.release, "6.12"));
	check(CALL(getpid) > 1);
	check_eq(CALL(gettid), CALL(getpid));
	check_eq(CALL(getpid), me->ktid);
	check_eq(CALL(getuid), 0);
	/* Numbers of the two lists that x86-64 has, and none of x32's. */
	check_eq(CALL6(SYS_dup, -1, 0, 0, 0, 0, 0, 0), -EBADF);
	check_eq(CALL6(SYS_close_range, 9, 8, 0, 0, 0, 0, 0), -EINVAL);
	check_eq(CALL6(512, 0, 0, 0, 0, 0, 0, 0), -ENOSYS);
	check_eq(CALL6(-1, 0, 0, 0, 0, 0, 0, 0), -ENOSYS);
	check_eq(CALL6(0x0fffffff, 0, 0, 0, 0, 0, 0, 0), -ENOSYS);
	check_eq(CALL6(UKL_SYS_END, 0, 0, 0, 0, 0, 0, 0), -ENOSYS);
	check_eq(CALL6(SYS_rt_sigreturn, 0, 0, 0, 0, 0, 0, 0), -ENOSYS);
}

/* Structures are glibc's own, which are the host kernel's. */
TEST(structures)
{
	struct epoll_event in = { .events = EPOLLOUT }, out = { 0 };
	struct timespec ours, host;
	struct statfs fs;
	struct sysinfo info;
	struct stat st;
	struct { char buf[8192]; } dents;
	int fd, epoll;
	long n;

	fd = good(CALL(open, "/tmp/file", O_CREAT | O_RDWR | O_EXCL, 0640));
	check_eq(CALL(pwrite64, fd, "abc", 3, 5000), 3);
	good(CALL(fstat, fd, &st));
	check_eq(st.st_size, 5003);
	check_eq(st.st_mode, S_IFREG | 0640);
	check_eq(st.st_nlink, 1);
	check_eq(st.st_blksize, 4096);
	good(CALL(clock_gettime, CLOCK_REALTIME, &ours));
	clock_gettime(CLOCK_REALTIME, &host);
	check(labs(ours.tv_sec - host.tv_sec) <= 1);
	check(labs(st.st_mtime - host.tv_sec) <= 2);
	good(CALL(statfs, "/proc", &fs));
	check_eq(fs.f_type, 0x9fa0);
	good(CALL(sysinfo, &info));
	check_eq(info.mem_unit, 1);
	check(info.totalram > 16 << 20);

	epoll = good(CALL(epoll_create1, 0));
	in.data.u64 = 0x1122334455667788ULL;
	n = good(CALL(eventfd2, 0, 0));
	good(CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, n, &in));
	check_eq(CALL(epoll_wait, epoll, &out, 1, 1000), 1);
	check_eq(out.events, EPOLLOUT);
	check(out.data.u64 == in.data.u64);

	fd = good(CALL(open, "/", O_RDONLY | O_DIRECTORY));
	n = good(CALL(getdents64, fd, &dents, sizeof(dents)));
	check(n > 0 && memmem(&dents, n, "proc", 5) &&
	      memmem(&dents, n, "tmp", 4));
}

/* ------------------------------------------------------------------ */

#define PAGE	4096L

/* Three pages; the middle one is not there. */
static char *hole(void)
{
	char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(p != MAP_FAILED);
	memset(p, 'x', 3 * PAGE);
	munmap(p + PAGE, PAGE);
	return p;
}

static void *const bad_pointers[] = {
	(void *)1, (void *)8, (void *)4096, (void *)0x10000,
	(void *)0x7fffffffffffUL,		/* last of the lower half */
	(void *)0x7ffffffff000UL,
	(void *)0x0000800000000000UL,		/* not canonical */
	(void *)0x8000000000000000UL,
	(void *)0xffff800000000000UL,		/* the host kernel's */
	(void *)0xffffffffff600000UL,		/* vsyscall: not readable */
	(void *)-4096L, (void *)-8L, (void *)-1L,
};

TEST(rename_files)
{
	struct stat st;
	char c;
	int fd;

	good(CALL(chdir, "/tmp"));
	fd = good(CALL(open, "one", O_CREAT | O_RDWR, 0600));
	check_eq(CALL(write, fd, "1", 1), 1);
	good(CALL(rename, "one", "two"));
	check_eq(CALL(stat, "one", &st), -ENOENT);
	good(CALL(mkdir, "dir", 0700));
	good(CALL(renameat2, AT_FDCWD, "two", AT_FDCWD, "dir/one",
		  1 /* RENAME_NOREPLACE */));
	check_eq(CALL(rename, "dir", "dir/one"), -EINVAL);
	check_eq(CALL(rename, "two", "one"), -ENOENT);
	check_eq(CALL(pread64, fd, &c, 1, 0), 1);
	check_eq(c, '1');
	good(CALL(unlink, "dir/one"));
	good(CALL(rmdir, "dir"));
	good(CALL(close, fd));
}

TEST(bad_pointers)
{
	unsigned int i;
	int p[2], fd, epoll, size = 4;

	good(CALL(pipe, p));
	fd = good(CALL(open, "/tmp/f", O_CREAT | O_RDWR, 0600));
	check_eq(CALL(write, fd, "0123456789", 10), 10);
	for (i = 0; i <= sizeof(bad_pointers) / sizeof(*bad_pointers); i++) {
		void *bad = i == sizeof(bad_pointers) / sizeof(*bad_pointers) ?
			    hole() + PAGE : bad_pointers[i];
		struct iovec iov = { bad, 10 };
		struct msghdr msg = { .msg_iov = bad, .msg_iovlen = 1 };

		check_eq(CALL(write, p[1], bad, 10), -EFAULT);
		check_eq(CALL(pread64, fd, bad, 10, 0), -EFAULT);
		check_eq(CALL(open, bad, O_RDONLY), -EFAULT);
		check_eq(CALL(pipe, bad), -EFAULT);
		check_eq(CALL(uname, bad), -EFAULT);
		check_eq(CALL(writev, p[1], bad, 1), -EFAULT);
		check_eq(CALL(writev, p[1], &iov, 1), -EFAULT);
		check_eq(CALL(fstat, fd, bad), -EFAULT);
		check_eq(CALL(clock_gettime, CLOCK_MONOTONIC, bad), -EFAULT);
		check_eq(CALL(nanosleep, bad, 0), -EFAULT);
		check_eq(CALL(poll, bad, 1, 0), -EFAULT);
		epoll = good(CALL(epoll_create1, 0));
		check_eq(CALL(epoll_wait, epoll, bad, 1, 0), 0);
		check_eq(CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, p[0], bad),
			 -EFAULT);
		good(CALL(close, epoll));
		fd = good(CALL(socket, AF_INET, SOCK_DGRAM, 0));
		check_eq(CALL(bind, fd, bad, 16), -EFAULT);
		check_eq(CALL(connect, fd, bad, 16), -EFAULT);
		check_eq(CALL(sendmsg, fd, bad, 0), -EFAULT);
		check_eq(CALL(sendmsg, fd, &msg, 0), -EFAULT);
		check_eq(CALL(getsockopt, fd, SOL_SOCKET, SO_TYPE, bad, &size),
			 -EFAULT);
		check_eq(CALL(setsockopt, fd, SOL_SOCKET, SO_RCVBUF, bad, 4),
			 -EFAULT);
		good(CALL(close, fd));
		fd = good(CALL(open, "/tmp/f", O_RDWR));
	}
}

/* The bytes before the hole count; none after it is touched. */
TEST(short_counts)
{
	char *p = hole(), buf[200];
	int fd = good(CALL(open, "/tmp/f", O_CREAT | O_RDWR, 0600));
	int pipes[2], len;

	check_eq(CALL(write, fd, p + PAGE - 100, 200), 100);
	check_eq(CALL(pread64, fd, buf, 200, 0), 100);
	memset(p, 0, PAGE);
	check_eq(CALL(write, fd, buf, 100), 100);
	check_eq(CALL(pread64, fd, p + PAGE - 100, 200, 0), 100);
	for (len = 0; len < 100; len++)
		check_eq(p[PAGE - 100 + len], 'x');
	check_eq(p[PAGE - 101], 0);

	good(CALL(pipe, pipes));
	for (len = 1; len < 64; len++) {
		memset(p + PAGE - len, len, len);
		check_eq(CALL(write, pipes[1], p + PAGE - len, len), len);
		check_eq(CALL(read, pipes[0], buf, sizeof(buf)), len);
		check_eq(buf[len - 1], len);
	}
	/* A name that ends at the hole, and one that does not end. */
	memcpy(p + PAGE - 7, "/tmp/f", 7);
	fd = good(CALL(open, p + PAGE - 7, O_RDONLY));
	memset(p + PAGE - 7, '/', 7);
	check_eq(CALL(open, p + PAGE - 7, O_RDONLY), -EFAULT);
}

/* Read-only memory, and a file's mapping behind the file's end (SIGBUS). */
TEST(other_faults)
{
	int host_fd = memfd_create("short", 0);
	char *ro, *beyond;
	int p[2], fd;

	good(CALL(pipe, p));
	ro = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check_eq(CALL(write, p[1], ro, 5), 5);
	check_eq(CALL(read, p[0], ro, 5), -EFAULT);
	mprotect(ro, PAGE, PROT_NONE);
	check_eq(CALL(write, p[1], ro, 5), -EFAULT);

	check(!ftruncate(host_fd, PAGE));
	beyond = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, host_fd, 0);
	check_eq(CALL(write, p[1], beyond + PAGE, 5), -EFAULT);
	fd = good(CALL(open, "/tmp/f", O_CREAT | O_RDWR, 0600));
	check_eq(CALL(write, fd, beyond + PAGE - 5, 10), 5);
}

static volatile long own_faults;

static void on_own_fault(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	(void)info;
	own_faults++;
	uc->uc_mcontext.gregs[REG_RAX] = (long)&own_faults;
}

/* The program's own faults are the program's, when it came first… */
TEST(own_handler)
{
	struct sigaction act = { .sa_sigaction = on_own_fault,
				 .sa_flags = SA_SIGINFO | SA_ONSTACK };
	long got;

	good(ukl_detach(me));
	sigaction(SIGSEGV, &act, NULL);
	good(ukl_attach(&files, &me));
	__asm__ volatile("mov $16, %%eax\n\tmov (%%rax), %0"
			 : "=r"(got) : : "rax");
	check_eq(own_faults, 1);
	check_eq(CALL(uname, 16), -EFAULT);
	check_eq(own_faults, 1);
}

/* … and end it as ever if it has no handler. */
TEST(own_fault)
{
	int *volatile nowhere = (int *)16;
	pid_t pid = kit_fork();
	int status;

	if (!pid) {
		*nowhere = 1;
		_exit(0);
	}
	check_eq(waitpid(pid, &status, 0), pid);
	check(WIFSIGNALED(status));
	check_eq(WTERMSIG(status), SIGSEGV);
	check(CALL(getpid) > 0);
}

/* ------------------------------------------------------------------ */
/* Registers.								*/

struct vectors {
	unsigned char reg[16][32];
} __attribute__((aligned(32)));

#define EACH(op)							\
	op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9)	\
	op(10) op(11) op(12) op(13) op(14) op(15)
#define LOAD_Y(n)  "vmovdqa " #n "*32(%[in]), %%ymm" #n "\n\t"
#define STORE_Y(n) "vmovdqa %%ymm" #n ", " #n "*32(%[out])\n\t"
#define LOAD_X(n)  "movdqa " #n "*32(%[in]), %%xmm" #n "\n\t"
#define STORE_X(n) "movdqa %%xmm" #n ", " #n "*32(%[out])\n\t"
#define ALL_XMM "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",	\
	"xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",	\
	"xmm14", "xmm15"

/*
 * ukl_syscall() between filling the registers and looking at them: nothing
 * but the library and the kernel may touch them in between.
 */
#define AROUND(load, store)						\
	__asm__ volatile(						\
		load							\
		"mov %%rsp, %%rbx\n\t"					\
		"and $-16, %%rsp\n\t"					\
		"sub $16, %%rsp\n\t"					\
		"movq $0, (%%rsp)\n\t"					\
		"xor %%r9d, %%r9d\n\t"					\
		"call ukl_syscall\n\t"					\
		"mov %%rbx, %%rsp\n\t"					\
		store							\
		: "=a"(ret), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+c"(rcx),\
		  "+r"(r8)						\
		: [in] "r"(in), [out] "r"(out)				\
		: "rbx", "r9", "r10", "r11", "memory", "cc", ALL_XMM)

static long around_call(const struct vectors *in_, struct vectors *out_,
			long nr, long a, long b, long c)
{
	register const struct vectors *in __asm__("r12") = in_;
	register struct vectors *out __asm__("r13") = out_;
	register long r8 __asm__("r8") = c;
	long ret, rdi = (long)me, rsi = nr, rdx = a, rcx = b;

	if (__builtin_cpu_supports("avx"))
		AROUND(EACH(LOAD_Y), EACH(STORE_Y));
	else
		AROUND(EACH(LOAD_X), EACH(STORE_X));
	return ret;
}

static void fill(struct vectors *v, unsigned int salt)
{
	int i, j;

	for (i = 0; i < 16; i++)
		for (j = 0; j < 32; j++)
			v->reg[i][j] = __builtin_cpu_supports("avx") || j < 16 ?
				       salt + i * 37 + j * 11 : 0;
}

/* Scribbles on the vector registers while another thread waits. */
static void scribble(void *fd)
{
	struct timespec ts = { 0, 2000000 };
	struct vectors in, out;
	int i;

	for (i = 0; i < 200; i++) {
		fill(&in, i);
		memset(&out, 0, sizeof(out));
		check_eq(around_call(&in, &out, SYS_getppid, 0, 0, 0), 1);
		check(!memcmp(&in, &out, sizeof(in)));
		if (i % 20 == 0)
			CALL(nanosleep, &ts, 0);
	}
	check_eq(CALL(write, (long)fd, "x", 1), 1);
}

TEST(vector_registers)
{
	struct timespec ts = { 0, 3000000 };
	struct kit_thread t;
	struct vectors in, out = { 0 };
	char byte;
	int p[2], i;

	for (i = 0; i < 1000; i++) {
		fill(&in, i);
		memset(&out, 0, sizeof(out));
		check_eq(around_call(&in, &out, SYS_getpid, 0, 0, 0),
			 me->ktid);
		check(!memcmp(&in, &out, sizeof(in)));
	}
	/* A fault inside a copy. */
	check_eq(around_call(&in, &out, SYS_uname, 16, 0, 0), -EFAULT);
	check(!memcmp(&in, &out, sizeof(in)));
	/* Waits, while others use theirs. */
	good(CALL(pipe, p));
	kit_start(&t, scribble, (void *)(long)p[1]);
	for (i = 0; i < 20; i++) {
		fill(&in, 77 + i);
		memset(&out, 0, sizeof(out));
		check_eq(around_call(&in, &out, SYS_nanosleep, (long)&ts, 0,
				     0), 0);
		check(!memcmp(&in, &out, sizeof(in)));
	}
	memset(&out, 0, sizeof(out));
	check_eq(around_call(&in, &out, SYS_read, p[0], (long)&byte, 1), 1);
	check(!memcmp(&in, &out, sizeof(in)));
	kit_join(&t);
}

/* Large copies keep the direction flag and the control words, too. */
TEST(control_words)
{
	unsigned int mxcsr = 0x7f80, after = 0;	/* round to zero, … */
	unsigned short cw = 0x0f7f, cw_after = 0;
	static char buf[100000];
	int fd = good(CALL(open, "/tmp/f", O_CREAT | O_RDWR, 0600));

	__asm__ volatile("ldmxcsr %0; fldcw %1" : : "m"(mxcsr), "m"(cw));
	CALL(pwrite64, fd, buf, sizeof(buf), 0);
	CALL(pread64, fd, buf, sizeof(buf), 0);
	__asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(after), "=m"(cw_after));
	check_eq(after, mxcsr);
	check_eq(cw_after, cw);
}
