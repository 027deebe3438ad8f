// SPDX-License-Identifier: GPL-2.0-only
/*
 * The program's seccomp filters, which run here: on the host they would judge
 * our calls, not the program's.
 *
 * A filter sees each call of the program before it is dispatched, with the
 * number, arguments and address that the program gave.  Filters are inherited
 * as the host's are (kernel/seccomp.c): by threads, children, and over exec in
 * the state file.  They bind the program as long as it does not set out to
 * break them: what runs in its own memory is no border.
 */
#include "shim.h"
#include "signal_frame.h"

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>

#define SYS_SECCOMP_	1
#define MEM_WORDS	16

struct filter {
	struct filter *older;
	u32 len;
	struct sock_filter insn[];
};

static bool good_load(const struct sock_filter *f)
{
	return f->k % 4 == 0 && f->k < sizeof(struct seccomp_data);
}

/* One instruction, @left of which follow: one that the host would take. */
static bool good(const struct sock_filter *f, u32 left)
{
	switch (f->code) {
	case BPF_LD | BPF_W | BPF_ABS:
		return good_load(f);
	case BPF_ALU | BPF_DIV | BPF_K:
		return f->k;
	case BPF_ALU | BPF_LSH | BPF_K:
	case BPF_ALU | BPF_RSH | BPF_K:
		return f->k < 32;
	case BPF_LD | BPF_MEM:
	case BPF_LDX | BPF_MEM:
	case BPF_ST:
	case BPF_STX:
		return f->k < MEM_WORDS;
	case BPF_JMP | BPF_JA:
		return f->k < left;
	case BPF_JMP | BPF_JEQ | BPF_K: case BPF_JMP | BPF_JEQ | BPF_X:
	case BPF_JMP | BPF_JGE | BPF_K: case BPF_JMP | BPF_JGE | BPF_X:
	case BPF_JMP | BPF_JGT | BPF_K: case BPF_JMP | BPF_JGT | BPF_X:
	case BPF_JMP | BPF_JSET | BPF_K: case BPF_JMP | BPF_JSET | BPF_X:
		return f->jt < left && f->jf < left;
	case BPF_LD | BPF_W | BPF_LEN: case BPF_LDX | BPF_W | BPF_LEN:
	case BPF_LD | BPF_IMM: case BPF_LDX | BPF_IMM:
	case BPF_MISC | BPF_TAX: case BPF_MISC | BPF_TXA:
	case BPF_ALU | BPF_ADD | BPF_K: case BPF_ALU | BPF_ADD | BPF_X:
	case BPF_ALU | BPF_SUB | BPF_K: case BPF_ALU | BPF_SUB | BPF_X:
	case BPF_ALU | BPF_MUL | BPF_K: case BPF_ALU | BPF_MUL | BPF_X:
	case BPF_ALU | BPF_AND | BPF_K: case BPF_ALU | BPF_AND | BPF_X:
	case BPF_ALU | BPF_OR | BPF_K: case BPF_ALU | BPF_OR | BPF_X:
	case BPF_ALU | BPF_XOR | BPF_K: case BPF_ALU | BPF_XOR | BPF_X:
	case BPF_ALU | BPF_DIV | BPF_X:
	case BPF_ALU | BPF_LSH | BPF_X: case BPF_ALU | BPF_RSH | BPF_X:
	case BPF_ALU | BPF_NEG:
	case BPF_RET | BPF_K: case BPF_RET | BPF_A:
		return true;
	}
	return false;
}

static bool all_good(const struct filter *f)
{
	u32 i;

	for (i = 0; i < f->len; i++)
		if (!good(&f->insn[i], f->len - i - 1))
			return false;
	return BPF_CLASS(f->insn[f->len - 1].code) == BPF_RET;
}

static u32 alu(u32 op, u32 a, u32 b)
{
	switch (op) {
	case BPF_ADD: return a + b;
	case BPF_SUB: return a - b;
	case BPF_MUL: return a * b;
	case BPF_DIV: return a / b;
	case BPF_AND: return a & b;
	case BPF_OR: return a | b;
	case BPF_XOR: return a ^ b;
	case BPF_LSH: return a << (b & 31);
	case BPF_RSH: return a >> (b & 31);
	}
	return -a;
}

static bool holds(u32 op, u32 a, u32 b)
{
	switch (op) {
	case BPF_JEQ: return a == b;
	case BPF_JGE: return a >= b;
	case BPF_JGT: return a > b;
	}
	return a & b;
}

static u32 run(const struct filter *filter, const struct seccomp_data *data)
{
	const struct sock_filter *f = filter->insn;
	u32 mem[MEM_WORDS] = { 0 }, a = 0, x = 0, b;

	for (;; f++) {
		b = BPF_SRC(f->code) == BPF_X ? x : f->k;
		switch (BPF_CLASS(f->code)) {
		case BPF_RET:
			return BPF_RVAL(f->code) == BPF_A ? a : f->k;
		case BPF_LD:
			a = BPF_MODE(f->code) == BPF_ABS ?
			    ((const u32 *)data)[f->k / 4] :
			    BPF_MODE(f->code) == BPF_MEM ? mem[f->k] :
			    BPF_MODE(f->code) == BPF_LEN ? sizeof(*data) :
			    f->k;
			break;
		case BPF_LDX:
			x = BPF_MODE(f->code) == BPF_MEM ? mem[f->k] :
			    BPF_MODE(f->code) == BPF_LEN ? sizeof(*data) :
			    f->k;
			break;
		case BPF_ST:
			mem[f->k] = a;
			break;
		case BPF_STX:
			mem[f->k] = x;
			break;
		case BPF_MISC:
			if (BPF_MISCOP(f->code) == BPF_TAX)
				x = a;
			else
				a = x;
			break;
		case BPF_ALU:
			if (BPF_OP(f->code) == BPF_DIV && !b)
				return 0;
			a = alu(BPF_OP(f->code), a, b);
			break;
		case BPF_JMP:
			if (BPF_OP(f->code) == BPF_JA)
				f += f->k;
			else
				f += holds(BPF_OP(f->code), a, b) ? f->jt :
				     f->jf;
			break;
		}
	}
}

/* ------------------------------------------------------------------ */
/* The verdict on a call.						*/

/* Nobody of the process may be inside the library kernel when it dies. */
static void __attribute__((noreturn)) die(struct ctx *c, int sig)
{
	struct action def = { 0 };

	block_all();
	if (c->th)
		ukl_head()->hold(c->th);
	if (sig != SIGKILL_)
		RAW4(__NR_rt_sigaction, sig, &def, 0, 8);
	for (;;)
		RAW3(__NR_tgkill, RAW0(__NR_getpid), c->tid, sig);
}

static bool strict_allows(u64 nr)
{
	return nr == __NR_read || nr == __NR_write || nr == __NR_exit ||
	       nr == __NR_rt_sigreturn;
}

/*
 * True: @r is to be dispatched.  Otherwise it has its result, and goes back.
 */
bool seccomp_allows(struct ctx *c, struct regs *r)
{
	const struct seccomp_data data = {
		.nr = r->rax,
		.arch = AUDIT_ARCH_X86_64,
		.instruction_pointer = r->rcx,
		.args = { r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9 },
	};
	u32 got, worst = SECCOMP_RET_ALLOW;
	struct raw_info *info = &c->sys_info;
	const struct filter *f;

	if (c->confined == SECCOMP_MODE_STRICT && !strict_allows(r->rax))
		die(c, SIGKILL_);
	/* The strictest counts; of equals the newest. */
	for (f = c->filter; f; f = f->older) {
		got = run(f, &data);
		if ((int)(got & SECCOMP_RET_ACTION_FULL) <
		    (int)(worst & SECCOMP_RET_ACTION_FULL))
			worst = got;
	}
	switch (worst & SECCOMP_RET_ACTION_FULL) {
	case SECCOMP_RET_ALLOW:
	case SECCOMP_RET_LOG:
		return true;
	case SECCOMP_RET_ERRNO:
		got = worst & SECCOMP_RET_DATA;
		r->rax = -(long)(got < 4095 ? got : 4095);
		return false;
	case SECCOMP_RET_TRACE:
	case SECCOMP_RET_USER_NOTIF:
		/* There is no tracer, and no listener. */
		r->rax = -ENOSYS;
		return false;
	case SECCOMP_RET_TRAP:
		memset(info, 0, sizeof(*info));
		info->signo = SIGSYS_;
		info->error = worst & SECCOMP_RET_DATA;
		info->code = SYS_SECCOMP_;
		info->addr = r->rcx;
		info->nr = r->rax;
		info->arch = AUDIT_ARCH_X86_64;
		c->sys_info_set = 1;
		c->pending = 1;
		return false;
	case SECCOMP_RET_KILL_THREAD:
		if (c->th && c->th->proc->threads > 1) {
			r->rdi = SIGSYS_;
			sys_exit(c, r);
		}
		break;
	}
	die(c, SIGSYS_);
}

/* ------------------------------------------------------------------ */
/* Putting one in.							*/

static bool may_install(void)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct d[2] = { 0 };

	if (RAW5(__NR_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		return true;
	return !RAW2(__NR_capget, &h, d) &&
	       (d[0].effective & 1U << CAP_SYS_ADMIN);
}

static bool descends_from(const struct filter *f, const struct filter *other)
{
	while (f && f != other)
		f = f->older;
	return f == other;
}

static bool is_sibling(const struct ctx *c, const struct ctx *other)
{
	return other != c && other->state == CTX_USED && other->th &&
	       !other->new_process && other->sig == c->sig;
}

static struct filter *filter_new(u32 len)
{
	struct filter *f = map_memory(sizeof(*f) + len * sizeof(f->insn[0]));

	if (f)
		f->len = len;
	return f;
}

static long add_filter(struct ctx *c, u64 flags, u64 user)
{
	struct sock_fprog prog;
	struct filter *f;
	struct ctx *other;

	/* Nobody could answer a listener's questions. */
	if (flags & ~(u64)(SECCOMP_FILTER_FLAG_TSYNC |
			   SECCOMP_FILTER_FLAG_LOG |
			   SECCOMP_FILTER_FLAG_SPEC_ALLOW |
			   SECCOMP_FILTER_FLAG_TSYNC_ESRCH))
		return -EINVAL;
	if (get_user(&prog, (void *)user, sizeof(prog)))
		return -EFAULT;
	if (!prog.len || prog.len > BPF_MAXINSNS)
		return -EINVAL;
	if (!may_install())
		return -EACCES;
	f = filter_new(prog.len);
	if (!f)
		return -ENOMEM;
	if (get_user(f->insn, prog.filter, prog.len * sizeof(f->insn[0]))) {
		unmap_memory(f, sizeof(*f) + f->len * sizeof(f->insn[0]));
		return -EFAULT;
	}
	if (!all_good(f) || c->confined == SECCOMP_MODE_STRICT) {
		unmap_memory(f, sizeof(*f) + f->len * sizeof(f->insn[0]));
		return -EINVAL;
	}
	if (flags & SECCOMP_FILTER_FLAG_TSYNC)
		for (other = me.all; other; other = other->next)
			if (is_sibling(c, other) &&
			    !descends_from(c->filter, other->filter))
				return flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH ?
				       -ESRCH : (long)other->tid;
	f->older = c->filter;
	c->filter = f;
	c->confined = SECCOMP_MODE_FILTER;
	if (flags & SECCOMP_FILTER_FLAG_TSYNC)
		for (other = me.all; other; other = other->next)
			if (is_sibling(c, other)) {
				other->filter = f;
				other->confined = SECCOMP_MODE_FILTER;
			}
	return 0;
}

static long be_strict(struct ctx *c)
{
	if (c->confined == SECCOMP_MODE_FILTER)
		return -EINVAL;
	c->confined = SECCOMP_MODE_STRICT;
	return 0;
}

static long action_is_there(u64 user)
{
	u32 action;

	if (get_user(&action, (void *)user, sizeof(action)))
		return -EFAULT;
	switch (action) {
	case SECCOMP_RET_KILL_PROCESS:
	case SECCOMP_RET_KILL_THREAD:
	case SECCOMP_RET_TRAP:
	case SECCOMP_RET_ERRNO:
	case SECCOMP_RET_TRACE:
	case SECCOMP_RET_LOG:
	case SECCOMP_RET_ALLOW:
		return 0;
	}
	return -EOPNOTSUPP;
}

long sys_seccomp(struct ctx *c, struct regs *r)
{
	u32 op = r->rdi, flags = r->rsi;

	switch (op) {
	case SECCOMP_SET_MODE_STRICT:
		return flags || r->rdx ? -EINVAL : be_strict(c);
	case SECCOMP_SET_MODE_FILTER:
		return add_filter(c, flags, r->rdx);
	case SECCOMP_GET_ACTION_AVAIL:
		return flags ? -EINVAL : action_is_there(r->rdx);
	}
	return pass(c, r);
}

/* prctl()'s way of saying the same. */
long prctl_seccomp(struct ctx *c, struct regs *r)
{
	if (r->rdi == PR_GET_SECCOMP)
		return c->confined;
	if (r->rsi == SECCOMP_MODE_STRICT)
		return be_strict(c);
	return r->rsi == SECCOMP_MODE_FILTER ? add_filter(c, 0, r->rdx) :
	       -EINVAL;
}

/* ------------------------------------------------------------------ */
/* Over exec.								*/

/* Behind the state in its file: each filter, the newest first. */
void filters_write(struct ctx *c, int fd)
{
	const struct filter *f;

	for (f = c->filter; f; f = f->older)
		RAW3(__NR_write, fd, f,
		     sizeof(*f) + f->len * sizeof(f->insn[0]));
}

void filters_read(struct ctx *c, int fd)
{
	struct filter head, *f, **last = &c->filter;
	u64 size, at = 0;

	while (RAW4(__NR_pread64, fd, &head, sizeof(head), at) ==
	       sizeof(head)) {
		f = filter_new(head.len);
		size = sizeof(head) + head.len * sizeof(f->insn[0]);
		if (!f || RAW4(__NR_pread64, fd, f, size, at) != (long)size)
			give_up("the filters that exec passed on are damaged",
				"", "");
		f->older = NULL;
		*last = f;
		last = &f->older;
		at += size;
	}
	if (c->filter)
		c->confined = SECCOMP_MODE_FILTER;
}
