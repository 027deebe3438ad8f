// SPDX-License-Identifier: GPL-2.0-only
/*
 * The loader door: this library executed as a program, which then loads the
 * one that is meant.
 *
 * It is for programs into which no ld.so would preload us.  The host has
 * executed us with the program's own arguments, so that they and the stack
 * are where they belong; UKL_PROGRAM says which program is meant, and a
 * descriptor that exec has passed on is its file.  We take our words out,
 * attach, map the program and its interpreter as the host would have, tell
 * the auxiliary vector of them, and leave.
 *
 * The host puts a program without an interpreter, as we are one, among the
 * mappings, and the heap where position-independent programs are: far from
 * us and from programs with addresses of their own.  brk() needs no help.
 */
#include "fd.h"

#include <fcntl.h>
#include <linux/auxvec.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <sys/stat.h>

#define TASK_TOP	0x7ffffffff000UL

extern const Elf64_Ehdr own_head __asm__("__ehdr_start")
	__attribute__((visibility("hidden")));
extern const Elf64_Dyn own_dynamic[] __asm__("_DYNAMIC")
	__attribute__((visibility("hidden")));

void __attribute__((noreturn)) loader_start(u64 *sp);
void __attribute__((noreturn)) loader_leave(u64 sp, u64 entry);

u64 loaded_auxv[2 * MAX_AUXV];
u64 loaded_auxv_size;

/* ------------------------------------------------------------------ */
/* Ourselves.								*/

/* Nobody else does it.  Until then no pointer in our data is right. */
static void relocate(void)
{
	u64 base = (u64)&own_head, size = 0, n;
	const Elf64_Rela *rela = NULL;
	const Elf64_Dyn *d;

	for (d = own_dynamic; d->d_tag; d++) {
		if (d->d_tag == DT_RELA)
			rela = (void *)(base + d->d_un.d_ptr);
		if (d->d_tag == DT_RELASZ)
			size = d->d_un.d_val;
	}
	/* Of others there are only weak references to a libc. */
	for (n = size / sizeof(*rela); n; n--, rela++)
		if (ELF64_R_TYPE(rela->r_info) == R_X86_64_RELATIVE)
			*(u64 *)(base + rela->r_offset) =
				base + rela->r_addend;
}

/* ------------------------------------------------------------------ */
/* The program.								*/

static const char *base_name(const char *path)
{
	const char *base = path;

	for (; *path; path++)
		if (*path == '/')
			base = path + 1;
	return base;
}

/* The host, too, notices these when there is no program to go back to. */
static void __attribute__((noreturn)) broken(void)
{
	struct action def = { 0 };

	RAW4(__NR_rt_sigaction, SIGSEGV_, &def, 0, 8);
	for (;;)
		RAW2(__NR_kill, RAW0(__NR_getpid), SIGSEGV_);
}

static int protection(const Elf64_Phdr *ph)
{
	return (ph->p_flags & PF_R ? PROT_READ : 0) |
	       (ph->p_flags & PF_W ? PROT_WRITE : 0) |
	       (ph->p_flags & PF_X ? PROT_EXEC : 0);
}

static u64 page_up(u64 n)
{
	return (n + PAGE - 1) & -PAGE;
}

/* Where the program's memory lies before it is moved; empty: *@end is 0. */
static void extent(const struct program *p, u64 *begin, u64 *end, u64 *align)
{
	const Elf64_Phdr *ph;
	int i;

	*begin = -PAGE;
	*end = 0;
	*align = PAGE;
	for (i = 0; i < p->eh.e_phnum; i++) {
		ph = &p->ph[i];
		if (ph->p_type != PT_LOAD)
			continue;
		if (ph->p_vaddr >= TASK_TOP || ph->p_filesz > ph->p_memsz ||
		    ph->p_memsz > TASK_TOP - ph->p_vaddr)
			broken();
		if ((ph->p_vaddr & -PAGE) < *begin)
			*begin = ph->p_vaddr & -PAGE;
		if (page_up(ph->p_vaddr + ph->p_memsz) > *end)
			*end = page_up(ph->p_vaddr + ph->p_memsz);
		if (ph->p_align > *align &&
		    !(ph->p_align & (ph->p_align - 1)))
			*align = ph->p_align;
	}
}

static long reserve(u64 at, u64 size, int flags)
{
	return RAW6(__NR_mmap, at, size, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1,
		    0);
}

/*
 * Address space for the program.  A position-independent one that is no
 * interpreter lies before its heap, as ever.
 */
static u64 place_for(const struct program *p, bool main, u64 begin, u64 size,
		     u64 align)
{
	u64 at;
	long got;

	if (p->eh.e_type == ET_EXEC) {
		got = reserve(begin, size, MAP_FIXED_NOREPLACE);
		if (got == -EEXIST)
			give_up("the program wants addresses that are in use",
				"", "");
		if (got != (long)begin)
			broken();
		return begin;
	}
	if (main) {
		at = (RAW1(__NR_brk, 0) - size - PAGE) & -align;
		got = reserve(at, size, MAP_FIXED_NOREPLACE);
		if (got == (long)at)
			return at;
		if (!is_err(got))
			RAW2(__NR_munmap, got, size);
	}
	got = reserve(0, size + align - PAGE, 0);
	if (is_err(got))
		broken();
	at = (got + align - 1) & -align;
	if (at > (u64)got)
		RAW2(__NR_munmap, got, at - got);
	if (got + align - PAGE > at)
		RAW2(__NR_munmap, at + size, got + align - PAGE - at);
	return at;
}

static void map_segment(int fd, const Elf64_Phdr *ph, u64 bias)
{
	u64 begin = (bias + ph->p_vaddr) & -PAGE;
	u64 file_end = bias + ph->p_vaddr + ph->p_filesz;
	u64 end = page_up(bias + ph->p_vaddr + ph->p_memsz);
	u64 skip = (bias + ph->p_vaddr) - begin;
	int prot = protection(ph);
	u64 at = begin;

	if (ph->p_filesz) {
		if (is_err(RAW6(__NR_mmap, begin, page_up(file_end) - begin,
				prot, MAP_PRIVATE | MAP_FIXED, fd,
				ph->p_offset - skip)))
			broken();
		at = page_up(file_end);
		if (ph->p_memsz > ph->p_filesz && (prot & PROT_WRITE) &&
		    at > file_end)
			memset((void *)file_end, 0, at - file_end);
	}
	if (end > at &&
	    is_err(RAW6(__NR_mmap, at, end - at, prot, MAP_PRIVATE |
			MAP_ANONYMOUS | MAP_FIXED, -1, 0)))
		broken();
}

/* Returns what is to be added to the file's addresses. */
static u64 map_program(const struct program *p, bool main)
{
	u64 begin, end, align, bias, from, to, low;
	int i, k;

	extent(p, &begin, &end, &align);
	if (!end)
		broken();
	bias = place_for(p, main, begin, end - begin,
			 p->eh.e_type == ET_DYN ? align : PAGE) - begin;
	for (i = 0; i < p->eh.e_phnum; i++)
		if (p->ph[i].p_type == PT_LOAD && p->ph[i].p_memsz)
			map_segment(p->fd, &p->ph[i], bias);
	/* What is between them is nobody's. */
	for (from = begin; from < end; from = to) {
		to = end;
		low = 0;
		for (k = 0; k < p->eh.e_phnum; k++) {
			u64 a = p->ph[k].p_vaddr & -PAGE;
			u64 b = page_up(p->ph[k].p_vaddr + p->ph[k].p_memsz);

			if (p->ph[k].p_type != PT_LOAD || a == b)
				continue;
			if (a <= from && b > from)
				low = b;
			else if (a > from && a < to)
				to = a;
		}
		if (low)
			to = low;
		else
			RAW2(__NR_munmap, bias + from, to - from);
	}
	return bias;
}

/* The headers' address in memory, for AT_PHDR; 0: they are not mapped. */
static u64 headers_at(const struct program *p, u64 bias)
{
	const Elf64_Phdr *ph;
	int i;

	for (i = 0; i < p->eh.e_phnum; i++) {
		ph = &p->ph[i];
		if (ph->p_type == PT_LOAD && p->eh.e_phoff >= ph->p_offset &&
		    p->eh.e_phoff - ph->p_offset < ph->p_filesz)
			return bias + ph->p_vaddr + p->eh.e_phoff -
			       ph->p_offset;
	}
	return 0;
}

static bool wants_executable_stack(const struct program *p)
{
	int i;

	for (i = 0; i < p->eh.e_phnum; i++)
		if (p->ph[i].p_type == PT_GNU_STACK)
			return p->ph[i].p_flags & PF_X;
	return false;
}

/* ------------------------------------------------------------------ */
/* What the program finds.						*/

static void change_auxv(u64 *aux, u64 type, u64 value)
{
	for (; aux[0] != AT_NULL; aux += 2)
		if (aux[0] == type)
			aux[1] = value;
}

static u64 count(const u64 *list)
{
	u64 n = 0;

	while (list[n])
		n++;
	return n;
}

/*
 * Arguments, environment and auxiliary vector one behind the other again,
 * where our words are gone: upwards, the last first.  Returns the stack
 * pointer.
 */
static u64 close_ranks(u64 *sp, u64 *env, const u64 *aux)
{
	u64 n_arg = sp[0], n_env = count(env), n_aux, size, i;
	u64 *to;

	for (n_aux = 0; aux[n_aux] != AT_NULL; n_aux += 2)
		;
	n_aux += 2;
	if (n_aux > 2 * MAX_AUXV)
		give_up("the host's auxiliary vector is too long", "", "");
	size = 1 + n_arg + 1 + n_env + 1 + n_aux;
	/* We only take away, so that this is above where it was. */
	to = (u64 *)(((u64)(aux + n_aux) - 8 * size) & -16UL);
	for (i = 0; i < n_aux; i++)
		loaded_auxv[i] = aux[i];
	loaded_auxv_size = 8 * n_aux;
	for (i = n_env + 1; i--;)
		to[1 + n_arg + 1 + i] = env[i];
	for (i = 1 + n_arg + 1; i--;)
		to[i] = sp[i];
	for (i = 0; i < n_aux; i++)
		to[1 + n_arg + 1 + n_env + 1 + i] = loaded_auxv[i];
	return (u64)to;
}

static long open_program(const struct words *w)
{
	const char *path = w->image ? w->image : w->program;

	return RAW4(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
}

static void __attribute__((noreturn)) cannot_load(const char *path, long err)
{
	give_up("cannot load ", path, err == -ENOENT ? ": it is not there" :
		err == -EACCES ? ": it may not be executed" :
		err == -ELIBBAD ? ": its interpreter is not one" :
		err == -ENOEXEC ? ": it is not a program" : "");
}

static void __attribute__((noreturn, noinline)) load(u64 *sp)
{
	u64 *env = sp + 1 + sp[0] + 1, *aux = env + count(env) + 1;
	struct program program, interp;
	u64 bias, entry, base = 0, mask;
	struct words w;
	struct state s;
	long err;

	err = RAW3(__NR_readlink, "/proc/self/exe", me.shim,
		   sizeof(me.shim) - 1);
	if (err < 0)
		give_up("/proc is not mounted", "", "");
	join((char **)env, &w, &s, &mask);
	if (!w.program)
		give_up("libukl-hijack.so is executed without a program",
			" (start programs with ukl-run)", "");
	if (!me.exe_fd) {
		err = open_program(&w);
		if (is_err(err))
			cannot_load(w.program, err);
		me.exe_fd = err;
	}
	/* exec cannot hand it on above the limit. */
	if (me.exe_fd < me.anchor)
		hide_program();
	err = program_read(&program, me.exe_fd);
	if (!err && program.interp[0])
		err = program_open_interp(&program, &interp);
	if (err)
		cannot_load(w.program, err);

	bias = map_program(&program, true);
	entry = bias + program.eh.e_entry;
	change_auxv(aux, AT_PHDR, headers_at(&program, bias));
	change_auxv(aux, AT_PHNUM, program.eh.e_phnum);
	change_auxv(aux, AT_ENTRY, entry);
	if (program.interp[0]) {
		base = map_program(&interp, false);
		entry = base + interp.eh.e_entry;
		RAW1(__NR_close, interp.fd);
		program_drop(&interp);
	}
	change_auxv(aux, AT_BASE, base);
	change_auxv(aux, AT_EXECFN, (u64)w.program);
	if (wants_executable_stack(&program))
		RAW3(__NR_mprotect, (u64)sp & -PAGE,
		     page_up((u64)w.program) - ((u64)sp & -PAGE), PROT_READ |
		     PROT_WRITE | PROT_EXEC | PROT_GROWSDOWN);
	program_drop(&program);
	RAW2(__NR_prctl, PR_SET_NAME, s.name[0] ? s.name :
	     base_name(w.program));
	sp = (u64 *)close_ranks(sp, env, aux);
	arm();
	set_mask(mask);
	loader_leave((u64)sp, entry);
}

void loader_start(u64 *sp)
{
	relocate();
	load(sp);
}
