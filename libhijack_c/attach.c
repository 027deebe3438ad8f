// SPDX-License-Identifier: GPL-2.0-only
/*
 * How a process becomes one of the instance's, whatever door it came by.
 *
 * The door gives the environment, from which our words are taken out.  The
 * process attaches, or goes on with the attachment of the program that called
 * exec, and catches traps.
 */
#include "shim.h"
#include "fd.h"

#include <fcntl.h>
#include <linux/mman.h>

NEAR struct process me __attribute__((aligned(PAGE)));

#define STACK_SIZE	(64 * 1024UL)
#define AUX_HWCAP2	26
#define HWCAP2_FSGSBASE	2
#define ARCH_SET_GS	0x1001

/* ------------------------------------------------------------------ */
/* Contexts.								*/

/*
 * Of the process's first thread, which needs no mapping of its own, nor a call
 * to guard the end of its stack: there lie entries of the highest descriptors.
 */
static struct {
	char files[(FILES_SIZE + PAGE - 1) & -PAGE];
	char core_stack[STACK_SIZE];
	char signal_stack[STACK_SIZE];
	char context[PAGE];
} first __attribute__((aligned(PAGE)));

struct files *files_first(void)
{
	return files_init((struct files *)first.files);
}

bool is_files_first(const struct files *f)
{
	return f == (struct files *)first.files;
}

static struct ctx *first_context(void)
{
	return (struct ctx *)first.context;
}

/* One mapping: guard page, core stack, signal stack, context. */
static struct ctx *map_context(void)
{
	char *p = map_memory(PAGE + 2 * STACK_SIZE + PAGE);

	if (!p)
		return NULL;
	RAW3(__NR_mprotect, p, PAGE, PROT_NONE);
	return (struct ctx *)(p + PAGE + 2 * STACK_SIZE);
}

struct ctx *ctx_new(void)
{
	struct ctx *c, *head;
	u32 none;

	for (c = __atomic_load_n(&me.all, __ATOMIC_ACQUIRE); c; c = c->next) {
		none = CTX_FREE;
		if (__atomic_compare_exchange_n(&c->state, &none, CTX_USED,
						false, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED)) {
			head = c->next;
			memset(c, 0, sizeof(*c));
			c->next = head;
			goto found;
		}
	}
	_Static_assert(sizeof(*c) + sizeof(*c->sig) <= PAGE,
		       "a context and handlers beside it");
	c = me.all ? map_context() : first_context();
	if (!c)
		return NULL;
	head = __atomic_load_n(&me.all, __ATOMIC_ACQUIRE);
	do {
		c->next = head;
	} while (!__atomic_compare_exchange_n(&me.all, &head, c, false,
					      __ATOMIC_RELEASE,
					      __ATOMIC_ACQUIRE));
found:
	c->self = c;
	c->top = (u64)c - STACK_SIZE;
	c->fsgsbase = me.fsgsbase;
	c->state = CTX_USED;
	c->in = 1;
	return c;
}

/* In the thread itself: signals arrive on the context's stack. */
void ctx_install(struct ctx *c)
{
	struct stack_t_ s = { .sp = (u64)c - STACK_SIZE, .size = STACK_SIZE };

	c->tid = RAW0(__NR_gettid);
	RAW2(__NR_sigaltstack, &s, 0);
}

/* ------------------------------------------------------------------ */
/* The environment.							*/

static const char *value_of(const char *entry, const char *name)
{
	while (*name)
		if (*entry++ != *name++)
			return NULL;
	return *entry == '=' ? entry + 1 : NULL;
}

static void copy_text(char *to, u64 size, const char *from)
{
	if (str_len(from) >= size)
		give_up("the path is too long: ", from, "");
	str_put(to, to + size, from);
}

/* A word that stays with us, as a text of @size bytes at @to. */
static bool take_text(const char *entry, const char *name, char *to, u64 size)
{
	const char *v = value_of(entry, name);

	if (v)
		copy_text(to, size, v);
	return v;
}

/* One that is needed at the start only. */
static bool take_word(const char *entry, const char *name, const char **to)
{
	const char *v = value_of(entry, name);

	if (v)
		*to = v;
	return v;
}

/*
 * The environment now ends at @to, and the auxiliary vector begins behind
 * @end, where libc knows it.  Go looks for it behind the environment: it finds
 * entries without a meaning there that lead on to it.  That takes an even
 * number of words, see UKL_PAD.
 */
static void fill_gap(char **to, char **end)
{
	*to++ = NULL;
	if ((end + 1 - to) % 2)
		return;
	for (; to < end; to += 2) {
		to[0] = (char *)AT_IGNORE;
		to[1] = NULL;
	}
}

static void take_words(char **env, struct words *w)
{
	char **to = env, **from, *rest;
	const char *v, *pad, *service = NULL;
	u64 n;

	for (from = env; *from; from++) {
		if (take_text(*from, "UKL_INSTANCE", me.instance,
			      sizeof(me.instance)) ||
		    take_text(*from, "UKL_TRACE", me.trace,
			      sizeof(me.trace)) ||
		    take_text(*from, "UKL_REPORT", me.report,
			      sizeof(me.report)) ||
		    take_text(*from, "UKL_REWRITE", me.rewrite,
			      sizeof(me.rewrite)) ||
		    take_word(*from, "UKL_SERVICE", &service) ||
		    take_text(*from, "UKL_VIA", me.via, sizeof(me.via)) ||
		    take_word(*from, "UKL_STATE", &w->state) ||
		    take_word(*from, "UKL_SHIM", &w->shim) ||
		    take_word(*from, "UKL_PROGRAM", &w->program) ||
		    take_word(*from, "UKL_IMAGE", &w->image) ||
		    take_word(*from, "UKL_PAD", &pad))
			continue;
		v = value_of(*from, "LD_PRELOAD");
		if (v && !me.shim[0]) {
			rest = (char *)v;
			while (*rest && *rest != ':' && *rest != ' ')
				rest++;
			n = rest - v;
			if (n >= sizeof(me.shim))
				give_up("the path is too long: ", v, "");
			memcpy(me.shim, v, n);
			if (!*rest)
				continue;
			/* The program's own, moved to where ours began. */
			memcpy((char *)v, rest + 1, str_len(rest + 1) + 1);
		}
		*to++ = *from;
	}
	me.service = service;
	fill_gap(to, from);
}

/* ------------------------------------------------------------------ */

/* Behind the environment, if it is the one that the host has made. */
static bool read_auxv(char **env)
{
	const u64 *aux;
	bool sure = false;
	int i;

	while (*env)
		env++;
	aux = (u64 *)(env + 1);
	for (i = 0; i < MAX_AUXV && aux[2 * i]; i++) {
		if (aux[2 * i] == AT_PAGESZ)
			sure = aux[2 * i + 1] == PAGE;
		if (aux[2 * i] == AUX_HWCAP2)
			me.fsgsbase = !!(aux[2 * i + 1] & HWCAP2_FSGSBASE);
	}
	return sure && i < MAX_AUXV;
}

static void find_features(char **env)
{
	u64 aux[2 * MAX_AUXV];
	long fd, n, i;

	if (read_auxv(env))
		return;
	me.fsgsbase = 0;
	fd = RAW4(__NR_openat, AT_FDCWD, "/proc/self/auxv", O_RDONLY, 0);
	if (fd < 0)
		return;
	n = RAW3(__NR_read, fd, aux, sizeof(aux)) / 16;
	RAW1(__NR_close, fd);
	for (i = 0; i < n; i++)
		if (aux[2 * i] == AUX_HWCAP2)
			me.fsgsbase = !!(aux[2 * i + 1] & HWCAP2_FSGSBASE);
}

static void why_not(long err)
{
	const char *why = err == -ENOENT || err == -ECONNREFUSED ?
			  "nobody is there" :
			  err == -EPERM ? "it is another user's" :
			  err == -EPROTONOSUPPORT ?
			  "it runs another version of ukl" :
			  err == -EEXIST ?
			  "the program uses the library kernel's addresses" :
			  err == -EAGAIN ? "its tables are full" :
			  err == -EOWNERDEAD ? "it has ended" :
			  err == -ESRCH ? "its record of us is gone" :
			  "it does not work";
	char text[80], *end = text + sizeof(text);

	str_put(str_put(text, end, ": "), end, why);
	give_up("cannot attach to the instance in ", me.instance, text);
}

/* A fresh process of the instance. */
static void attach(struct ctx *c)
{
	char path[300], *end = path + sizeof(path);
	const u64 limit[2] = { MAX_FD, MAX_FD };
	long err;

	str_put(str_put(path, end, me.instance), end, "/control");
	err = ukl_connect(path, &me.kernel);
	if (!err) {
		hide_files(&me.kernel);
		open_shim();
		me.uid = RAW0(__NR_geteuid);
		me.gid = RAW0(__NR_getegid);
		make_anchor();
		err = ukl_attach(&me.kernel, &c->th);
	}
	if (err)
		why_not(err);
	if (me.service)
		c->th->proc->flags |= UKL_PROC_SERVICE;
	/* The host's limit is the one that counts. */
	LIB4(c, __NR_prlimit64, 0, 7, limit, 0);
}

/*
 * The program that forked or called exec was one of the instance's, and so are
 * we: our task is there.  Unless it is idle, it is told of an exec at once.
 */
void attach_late(struct ctx *c)
{
	long err;

	if (me.forked) {
		c->th = me.forked;
		me.forked = NULL;
		ukl_fork_child(c->th);
		return;
	}
	err = ukl_exec_attach(&me.kernel, me.late, &c->th);
	if (err < 0)
		why_not(err);
	if (err)
		files_from_kernel(c);
}

static void attach_again(struct ctx *c, const struct words *w, struct state *s)
{
	if (!bytes_parse(s, sizeof(*s), w->state) || s->magic != STATE_MAGIC ||
	    !w->shim)
		give_up("the state that exec passed on is damaged", "", "");
	if (s->filters >= 0) {
		filters_read(c, s->filters);
		RAW1(__NR_close, s->filters);
	}
	me.kernel = s->files;
	me.anchor = s->anchor;
	me.shim_fd = s->shim_fd;
	me.uid = s->uid;
	me.gid = s->gid;
	me.exe_fd = s->program;
	copy_text(me.shim, sizeof(me.shim), w->shim);
	if (me.exe_fd)
		RAW3(__NR_fcntl, me.exe_fd, F_SETFD, FD_CLOEXEC);
	mark_hidden();
	me.late = s->id;
	if (!s->idle)
		attach_late(c);
}

/*
 * All that comes before the first call of the program: a context that is in
 * the core, handlers, the attachment.  Signals are blocked, *@mask is what to
 * set in the end; @s is what exec has passed on, if it has.
 */
struct ctx *join(char **env, struct words *w, struct state *s, u64 *mask)
{
	struct ctx *c;

	memset(w, 0, sizeof(*w));
	memset(s, 0, sizeof(*s));
	find_features(env);
	take_words(env, w);
	if (!me.instance[0])
		give_up("libukl-hijack.so is preloaded without an instance",
			" (start programs with ukl-run)", "");
	*mask = block_all();
	c = ctx_new();
	if (!c)
		give_up("no memory", "", "");
	if (me.fsgsbase)
		__asm__ volatile("wrgsbase %0" : : "r"(c));
	else
		RAW2(__NR_arch_prctl, ARCH_SET_GS, c);
	ctx_install(c);
	c->sig = sig_beside(c);
	c->files = files_first();
	c->sig->used = 1;
	install(SIGSEGV_);
	install(SIGBUS_);
	install(SIGSYS_);
	c->sig->known = VIRTUAL_MASK;
	if (w->state)
		attach_again(c, w, s);
	else
		attach(c);
	trace_start(c);
	report_start(c);
	c->virt_mask = *mask & VIRTUAL_MASK;
	return c;
}
