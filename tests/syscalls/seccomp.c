// SPDX-License-Identifier: GPL-2.0-only
/* A program's seccomp filters: what they see, and what becomes of a call. */
#include "same.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>

#define NR		offsetof(struct seccomp_data, nr)
#define ARG(n)		offsetof(struct seccomp_data, args[n])
#define LOAD(at)	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at)
#define IS(v, t, f)	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, v, t, f)
#define RETURN(v)	BPF_STMT(BPF_RET | BPF_K, v)

static long filter_with(int flags, struct sock_filter *f, int n)
{
	struct sock_fprog p = { n, f };

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p);
}

#define FILTER(...) ({							\
	struct sock_filter f[] = { __VA_ARGS__ };			\
									\
	filter_with(0, f, sizeof(f) / sizeof(f[0]));			\
})

/* The call @nr gets @what, all others pass. */
static long refuse(int nr, unsigned int what)
{
	return FILTER(LOAD(NR), IS(nr, 0, 1), RETURN(what),
		      RETURN(SECCOMP_RET_ALLOW));
}

#define IN_CHILD(code) do {						\
	pid_t child;							\
									\
	fflush(stdout);							\
	child = fork();							\
	if (!child) {							\
		code							\
		fflush(stdout);						\
		_exit(0);						\
	}								\
	reap(child);							\
	fflush(stdout);							\
} while (0)

TEST(filter_errno)
{
	int s[2];

	pair(s);
	SHOW(refuse(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV));
	SHOW(syscall(SYS_getppid));
	SHOW(write(s[0], "x", 1));
	SHOW(refuse(SYS_socket, SECCOMP_RET_ERRNO | EACCES));
	SHOW(socket(AF_INET, SOCK_STREAM, 0));
	SHOW(socket(AF_UNIX, SOCK_STREAM, 0));
	SHOW(prctl(PR_GET_SECCOMP));
	SHOW(refuse(SYS_sendto, SECCOMP_RET_ERRNO));
	SHOW(send(s[0], "x", 1, 0));
	SHOW(refuse(SYS_recvfrom, SECCOMP_RET_ERRNO | 0xffff));
	SHOW(syscall(SYS_recvfrom, s[1], 0, 0, 0, 0, 0) == -4095 ||
	     errno == 4095);
	SHOW(refuse(SYS_listen, SECCOMP_RET_TRACE));
	SHOW(listen(s[0], 1));
	SHOW(refuse(SYS_shutdown, SECCOMP_RET_LOG));
	SHOW(shutdown(s[0], SHUT_WR));
}

TEST(filter_sees_arguments)
{
	int s[2];

	pair(s);
	/* Writes of five bytes fail, as do those from address 16. */
	SHOW(FILTER(LOAD(NR), IS(SYS_write, 0, 5),
		    LOAD(ARG(2)), IS(5, 2, 0),
		    LOAD(ARG(1)), IS(16, 0, 1),
		    RETURN(SECCOMP_RET_ERRNO | ENOLINK),
		    RETURN(SECCOMP_RET_ALLOW)));
	SHOW(write(s[0], "12345", 5));
	SHOW(write(s[0], "1234", 4));
	SHOW(write(s[0], (void *)16, 4));
	SHOW(write(s[0], (void *)24, 4));
}

TEST(filter_computes)
{
	/* 16 * 3 - 6 | 1 in all ways there are, through memory. */
	SHOW(FILTER(LOAD(NR), IS(SYS_getppid, 1, 0),
		    RETURN(SECCOMP_RET_ALLOW),
		    BPF_STMT(BPF_LD | BPF_IMM, 16),
		    BPF_STMT(BPF_LDX | BPF_IMM, 3),
		    BPF_STMT(BPF_ALU | BPF_MUL | BPF_X, 0),
		    BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 6),
		    BPF_STMT(BPF_ST, 7),
		    BPF_STMT(BPF_LDX | BPF_MEM, 7),
		    BPF_STMT(BPF_MISC | BPF_TXA, 0),
		    BPF_STMT(BPF_ALU | BPF_OR | BPF_K, 1),
		    BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 4),
		    BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
		    BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff),
		    BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO),
		    BPF_STMT(BPF_RET | BPF_A, 0)));
	SHOW(syscall(SYS_getppid));
	SHOW(FILTER(LOAD(NR), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SYS_getppid,
				       0, 2),
		    BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, SYS_getppid, 1, 0),
		    RETURN(SECCOMP_RET_ERRNO | 7),
		    BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), IS(64, 0, 1),
		    RETURN(SECCOMP_RET_ALLOW), RETURN(SECCOMP_RET_ERRNO)));
	SHOW(syscall(SYS_getppid));
	SHOW(getpid() > 0);
}

static volatile int seen;

static void on_sys(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	seen++;
	printf("signal %d code %d errno %d call %d arch %d\n", sig,
	       info->si_code, info->si_errno, info->si_syscall,
	       info->si_arch == AUDIT_ARCH_X86_64);
	printf("rax %lld address %d\n", uc->uc_mcontext.gregs[REG_RAX],
	       info->si_call_addr == (void *)uc->uc_mcontext.gregs[REG_RIP]);
	uc->uc_mcontext.gregs[REG_RAX] = 77;
}

TEST(filter_trap)
{
	struct sigaction sa = { .sa_sigaction = on_sys, .sa_flags = SA_SIGINFO };
	sigset_t set;
	int i;

	sigaction(SIGSYS, &sa, NULL);
	SHOW(refuse(SYS_getppid, SECCOMP_RET_TRAP | 5));
	for (i = 0; i < 3; i++)
		SHOW(syscall(SYS_getppid));
	SHOW(seen);
	fflush(stdout);
	/* Blocked or ignored it kills. */
	IN_CHILD(
		sigemptyset(&set);
		sigaddset(&set, SIGSYS);
		sigprocmask(SIG_BLOCK, &set, NULL);
		syscall(SYS_getppid);
		puts("alive");
	);
	IN_CHILD(
		signal(SIGSYS, SIG_IGN);
		syscall(SYS_getppid);
		puts("alive");
	);
	IN_CHILD(
		signal(SIGSYS, SIG_DFL);
		syscall(SYS_getppid);
		puts("alive");
	);
}

TEST(filter_kills)
{
	IN_CHILD(
		SHOW(refuse(SYS_getppid, SECCOMP_RET_KILL_PROCESS));
		syscall(SYS_getppid);
		puts("alive");
	);
	IN_CHILD(
		SHOW(refuse(SYS_getppid, SECCOMP_RET_KILL_THREAD));
		syscall(SYS_getppid);
		puts("alive");
	);
	IN_CHILD(
		SHOW(refuse(SYS_getppid, 0x12340000));	/* unknown */
		syscall(SYS_getppid);
		puts("alive");
	);
}

static void *caller(void *nr)
{
	syscall((long)nr);
	return (void *)1;
}

TEST(filter_kills_a_thread)
{
	pthread_t t;

	SHOW(refuse(SYS_getppid, SECCOMP_RET_KILL_THREAD));
	pthread_create(&t, NULL, caller, (void *)(long)SYS_getppid);
	usleep(100000);
	puts("the others go on");
	fflush(stdout);
	_exit(0);
}

TEST(filters_add_up)
{
	SHOW(refuse(SYS_getppid, SECCOMP_RET_ERRNO | 1));
	SHOW(refuse(SYS_getppid, SECCOMP_RET_ERRNO | 2));
	SHOW(syscall(SYS_getppid));
	SHOW(refuse(SYS_getppid, SECCOMP_RET_LOG));
	SHOW(syscall(SYS_getppid));
	SHOW(refuse(SYS_getppid, SECCOMP_RET_ALLOW));
	SHOW(syscall(SYS_getppid));
	IN_CHILD(
		SHOW(refuse(SYS_getppid, SECCOMP_RET_KILL_PROCESS));
		syscall(SYS_getppid);
	);
	SHOW(refuse(SYS_seccomp, SECCOMP_RET_ERRNO | 3));
	SHOW(refuse(SYS_getppid, SECCOMP_RET_ALLOW));
	SHOW(refuse(SYS_prctl, SECCOMP_RET_ERRNO | 4));
	SHOW(prctl(PR_GET_SECCOMP));
}

TEST(role_filtered)
{
	SHOW(syscall(SYS_getppid));
	SHOW(socket(AF_INET, SOCK_STREAM, 0));
	SHOW(prctl(PR_GET_SECCOMP));
}

TEST(filters_are_inherited)
{
	char *argv[] = { arguments[0], "role_filtered", NULL };
	char *env[] = { NULL };
	pthread_t t;
	void *ret;
	pid_t child;

	SHOW(refuse(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV));
	SHOW(refuse(SYS_socket, SECCOMP_RET_ERRNO | ENOTTY));
	IN_CHILD( SHOW(syscall(SYS_getppid)); );
	IN_CHILD( execve(argv[0], argv, env); );
	MUST(posix_spawn(&child, argv[0], NULL, NULL, argv, env));
	reap(child);
	fflush(stdout);
	if (!(child = vfork())) {
		execve(argv[0], argv, env);
		_exit(9);
	}
	reap(child);
	pthread_create(&t, NULL, caller, (void *)(long)SYS_getppid);
	pthread_join(t, &ret);
	SHOW((long)ret);
	/* What a child installs is its own. */
	IN_CHILD( SHOW(refuse(SYS_getpgrp, SECCOMP_RET_ERRNO | 9)); );
	SHOW(getpgrp() > 0);
}

static int stage;

static void *waits_for_stage(void *unused)
{
	while (!__atomic_load_n(&stage, __ATOMIC_ACQUIRE))
		usleep(1000);
	return (void *)(syscall(SYS_getppid) == -1 ? (long)errno : 0L);
}

static void *filters_for_itself(void *unused)
{
	refuse(SYS_getpgrp, SECCOMP_RET_ERRNO | 9);
	while (__atomic_load_n(&stage, __ATOMIC_ACQUIRE) < 2)
		usleep(1000);
	return NULL;
}

TEST(filters_for_all_threads)
{
	struct sock_filter f[] = {
		LOAD(NR), IS(SYS_getppid, 0, 1),
		RETURN(SECCOMP_RET_ERRNO | EXDEV), RETURN(SECCOMP_RET_ALLOW),
	};
	pthread_t t[2];
	void *ret;

	pthread_create(&t[0], NULL, waits_for_stage, NULL);
	usleep(20000);
	SHOW(filter_with(SECCOMP_FILTER_FLAG_TSYNC, f, 4));
	__atomic_store_n(&stage, 1, __ATOMIC_RELEASE);
	pthread_join(t[0], &ret);
	SHOW((long)ret == EXDEV);
	pthread_create(&t[1], NULL, filters_for_itself, NULL);
	usleep(50000);
	SHOW(filter_with(SECCOMP_FILTER_FLAG_TSYNC, f, 4) > 0);
	SHOW(filter_with(SECCOMP_FILTER_FLAG_TSYNC |
			 SECCOMP_FILTER_FLAG_TSYNC_ESRCH, f, 4));
	__atomic_store_n(&stage, 2, __ATOMIC_RELEASE);
	pthread_join(t[1], NULL);
}

TEST(strict_mode)
{
	int s[2], p[2];

	pair(s);
	MUST(pipe(p));
	IN_CHILD(
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
		write(s[0], "socket", 6);
		write(p[1], "pipe", 4);
		syscall(SYS_exit, 3);
	);
	IN_CHILD(
		SHOW(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, 0));
		getpid();
		syscall(SYS_getppid);
	);
	{
		char b[8] = { 0 };

		SHOW(read(s[1], b, 6));
		puts(b);
		SHOW(read(p[0], b, 6));
	}
	SHOW(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, 0));
	SHOW(refuse(SYS_getpgrp, SECCOMP_RET_ERRNO | 9));
	SHOW(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, 0));
	SHOW(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
}

TEST(filters_that_are_none)
{
	static struct sock_filter many[5000];
	struct sock_fprog p = { 1, (void *)8 };
	unsigned int action;

	SHOW(FILTER(LOAD(NR)));
	SHOW(FILTER(LOAD(2), RETURN(0)));
	SHOW(FILTER(LOAD(64), RETURN(0)));
	SHOW(FILTER(IS(0, 0, 1), RETURN(0)));
	SHOW(FILTER(BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0), RETURN(0)));
	SHOW(FILTER(BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), RETURN(0)));
	SHOW(FILTER(BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32), RETURN(0)));
	SHOW(FILTER(BPF_STMT(BPF_ST, 16), RETURN(0)));
	SHOW(FILTER(BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), RETURN(0)));
	SHOW(FILTER(BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 3), RETURN(0)));
	SHOW(FILTER(BPF_STMT(BPF_RET | BPF_X, 0)));
	SHOW(filter_with(0, many, 0));
	SHOW(filter_with(0, many, 5000));
	SHOW(filter_with(1 << 20, many, 1));
	SHOW(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p));
	SHOW(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, 8));
	SHOW(syscall(SYS_seccomp, 99, 0, 0));
	SHOW(prctl(PR_SET_SECCOMP, 99, 0));
	SHOW(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p));
	action = SECCOMP_RET_TRAP;
	SHOW(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
	action = 0x12340000;
	SHOW(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
	SHOW(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 1, &action));
	SHOW(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, 8));
	SHOW(prctl(PR_GET_SECCOMP));
}

TEST(filters_without_privilege)
{
	if (setuid(65534) && geteuid() == 0)
		die("setuid");
	SHOW(refuse(SYS_getppid, SECCOMP_RET_ERRNO | 1));
	SHOW(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	SHOW(refuse(SYS_getppid, SECCOMP_RET_ERRNO | 1));
	SHOW(syscall(SYS_getppid));
}

static void on_alarm(int sig)
{
	syscall(SYS_getppid);
}

TEST(filter_and_interrupted_calls)
{
	int s[2];
	char b[4];

	pair(s);
	SHOW(refuse(SYS_getppid, SECCOMP_RET_ERRNO | 1));
	/* The call is made again, and judged again. */
	signal(SIGALRM, on_alarm);
	alarm_ms(5, 1);
	if (!fork()) {
		usleep(50000);
		write(s[1], "abc", 3);
		_exit(0);
	}
	SHOW(read(s[0], b, 3));
	alarm_ms(0, 0);
	wait(NULL);
}
