// SPDX-License-Identifier: GPL-2.0-only
/* What a system call leaves alone, and calls that the shim answers itself. */
#include "same.h"
#include <linux/capability.h>
#include <sys/prctl.h>

/* All registers but rax, rcx and r11; flags; the red zone. */
static long __attribute__((naked, noinline)) registers_survive(long nr, long a,
							       void *b, long n)
{
	__asm__(
	"push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n"
	"push %r15\n"
	"mov %rdi, %rax\n mov %rsi, %rdi\n mov %rdx, %rsi\n mov %rcx, %rdx\n"
	"mov $0x1111, %rbx\n mov $0x2222, %rbp\n mov $0x3333, %r12\n"
	"mov $0x4444, %r13\n mov $0x5555, %r14\n mov $0x6666, %r15\n"
	"mov $0, %r10\n mov $0x8888, %r8\n mov $0x9999, %r9\n"
	"movq $0x77, -8(%rsp)\n movq $0x78, -128(%rsp)\n"
	"mov %rdi, -16(%rsp)\n mov %rsi, -24(%rsp)\n mov %rdx, -32(%rsp)\n"
	"stc\n"
	"syscall\n"
	"jnc 1f\n"
	"cmp $0x1111, %rbx\n jne 1f\n cmp $0x2222, %rbp\n jne 1f\n"
	"cmp $0x3333, %r12\n jne 1f\n cmp $0x4444, %r13\n jne 1f\n"
	"cmp $0x5555, %r14\n jne 1f\n cmp $0x6666, %r15\n jne 1f\n"
	"cmp $0, %r10\n jne 1f\n cmp $0x8888, %r8\n jne 1f\n"
	"cmp $0x9999, %r9\n jne 1f\n cmpq $0x77, -8(%rsp)\n jne 1f\n"
	"cmpq $0x78, -128(%rsp)\n jne 1f\n"
	"cmp %rdi, -16(%rsp)\n jne 1f\n cmp %rsi, -24(%rsp)\n jne 1f\n"
	"cmp %rdx, -32(%rsp)\n jne 1f\n"
	"2: pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
	"ret\n"
	"1: mov $-999, %rax\n jmp 2b\n");
}

TEST(registers)
{
	int s[2], i, bad = 0;
	char b[8];

	pair(s);
	for (i = 0; i < 3000; i++) {
		bad += registers_survive(SYS_write, s[0], "abcd", 4) != 4;
		bad += registers_survive(SYS_read, s[1], b, 8) != 4;
		bad += registers_survive(SYS_getpid, 0, 0, 0) != getpid();
		bad += registers_survive(SYS_read, 999, b, 8) != -EBADF;
	}
	SHOW(bad);
}

static long vector_round(long nr, long a, void *b, long n)
{
	unsigned char in[16][16], out[16][16];
	long ret, i;

	for (i = 0; i < 256; i++)
		in[i / 16][i % 16] = i * 3 + nr;
	__asm__ volatile(
	"movdqu 0(%1), %%xmm0\n movdqu 16(%1), %%xmm1\n"
	"movdqu 128(%1), %%xmm8\n movdqu 240(%1), %%xmm15\n"
	"syscall\n"
	"movdqu %%xmm0, 0(%2)\n movdqu %%xmm1, 16(%2)\n"
	"movdqu %%xmm8, 128(%2)\n movdqu %%xmm15, 240(%2)\n"
	: "=a"(ret) : "r"(in), "r"(out), "0"(nr), "D"(a), "S"(b), "d"(n)
	: "rcx", "r11", "memory", "xmm0", "xmm1", "xmm8", "xmm15");
	if (memcmp(in[0], out[0], 32) || memcmp(in[8], out[8], 16) ||
	    memcmp(in[15], out[15], 16))
		return -999;
	return ret;
}

TEST(vector_registers)
{
	int s[2], i, bad = 0;
	static char big[60000];

	pair(s);
	for (i = 0; i < 300; i++) {
		bad += vector_round(SYS_write, s[0], big, sizeof(big)) !=
		       sizeof(big);
		bad += vector_round(SYS_recvfrom, s[1], big, 100) != 100;
		while (recv(s[1], big, sizeof(big), MSG_DONTWAIT) > 0)
			;
	}
	SHOW(bad);
}

TEST(numbers_out_of_range)
{
	SHOW(syscall(9999));
	SHOW(syscall(-1));
	SHOW(syscall(1L << 40));
	SHOW(syscall(SYS_read, -1, 0, 0));
	SHOW(syscall(SYS_write, 0xffffffff00000001UL, "upper half\n", 11));
}

TEST(network_paths)
{
	char buf[4096], line[64];
	int fd, n = 0;
	FILE *f = fopen("/proc/net/tcp", "r");
	struct stat st;

	SHOW(fgets(buf, sizeof(buf), f) == buf);
	snprintf(line, 16, "%s", buf);
	puts(line);
	fclose(f);
	fd = open("/proc/self/net/dev", O_RDONLY);
	SHOW(fd);
	SHOW(read(fd, buf, sizeof(buf)) > 100);
	SHOW(lseek(fd, 0, SEEK_SET));
	SHOW(read(fd, buf, 5));
	SHOW(stat("/proc/sys/net/ipv4/ip_forward", &st));
	SHOW(access("/proc/sys/net/ipv4/ip_forward", W_OK));
	SHOW(access("/proc/sys/net/ipv4/nothing", F_OK));
	SHOW(open("/proc/sys/net/ipv4/nothing", O_RDONLY));
	SHOW(open("/proc/sys/kernel/ostype", O_RDONLY));
	SHOW(stat("/sys/class/net/lo", &st));
	SHOW(S_ISDIR(st.st_mode));
	n = readlink("/sys/class/net/lo", buf, sizeof(buf));
	SHOW(n > 0);
	fd = open("/proc/sys/net/ipv4", O_RDONLY | O_DIRECTORY);
	SHOW(fd);
	SHOW(openat(fd, "ip_forward", O_RDONLY));
	SHOW(openat(fd, "nothing", O_RDONLY));
	SHOW(openat(fd, "/dev/null", O_RDONLY));
	SHOW(fstatat(fd, "ip_forward", &st, 0));
	SHOW(faccessat(fd, "tcp_rmem", R_OK, 0));
	SHOW(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED);
}

TEST(setting_by_proc)
{
	int fd = open("/proc/sys/net/ipv4/tcp_fin_timeout", O_RDWR);
	char b[16] = { 0 };

	SHOW(write(fd, "33\n", 3));
	SHOW(lseek(fd, 0, SEEK_SET));
	SHOW(read(fd, b, 15));
	puts(b);
	SHOW(write(fd, "x\n", 2));
}

TEST(odds_and_ends)
{
	struct utsname u;

	SHOW(uname(&u));
	puts(u.sysname);
	SHOW(strcmp(u.nodename, "") != 0);
	SHOW(syscall(SYS_io_uring_setup, 8, 0) == -1);
	SHOW(prctl(PR_SET_NAME, "same", 0, 0, 0));
	SHOW(getpid() == syscall(SYS_getpid));
	SHOW(getpid() == syscall(SYS_gettid));
	SHOW(vfork() ? 1 : (_exit(0), 0));
}
