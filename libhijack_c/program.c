// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a program's file says: its headers, its interpreter, and whether ld.so
 * would load us into it.
 *
 * Files that are not in order give the errno that the host's execve gives
 * (fs/binfmt_elf.c).
 */
#include "shim.h"

#include <fcntl.h>
#include <sys/stat.h>

/* The host's limit. */
#define MAX_HEADERS	65536

#define DYNAMIC_MAX	(64 * sizeof(Elf64_Dyn))

static long read_at(int fd, void *to, u64 n, u64 at)
{
	long got = RAW4(__NR_pread64, fd, to, n, at);

	return got == (long)n ? 0 : is_err(got) ? got : -EIO;
}

static bool is_in_head(const struct program *p, u64 at, u64 size)
{
	return at <= p->head_size && size <= p->head_size - at;
}

/* read_at(), from what has been read already if that will do. */
static long read_near(const struct program *p, void *to, u64 n, u64 at)
{
	if (!is_in_head(p, at, n))
		return read_at(p->fd, to, n, at);
	memcpy(to, p->head.text + at, n);
	return 0;
}

void program_drop(struct program *p)
{
	if (p->ph && (char *)p->ph != p->head.text + p->eh.e_phoff)
		unmap_memory(p->ph, p->eh.e_phnum * sizeof(*p->ph));
	p->ph = NULL;
}

static long read_interp(struct program *p, const Elf64_Phdr *ph)
{
	long err;

	if (ph->p_filesz < 2 || ph->p_filesz > sizeof(p->interp))
		return -ENOEXEC;
	err = read_near(p, p->interp, ph->p_filesz, ph->p_offset);
	if (!err && p->interp[ph->p_filesz - 1])
		err = -ENOEXEC;
	return err;
}

/* Reads the headers of @fd; the caller drops @p if it gets 0. */
long program_read(struct program *p, int fd)
{
	Elf64_Ehdr *eh = &p->eh;
	u64 size;
	long err;
	int i;

	p->fd = fd;
	p->ph = NULL;
	p->interp[0] = 0;
	err = RAW4(__NR_pread64, fd, p->head.text, sizeof(p->head.text), 0);
	if (is_err(err))
		return err;
	p->head_size = err;
	memset(eh, 0, sizeof(*eh));
	memcpy(eh, p->head.text, p->head_size < sizeof(*eh) ? p->head_size :
							      sizeof(*eh));
	if (*(u32 *)eh->e_ident != 0x464c457f ||
	    (eh->e_type != ET_EXEC && eh->e_type != ET_DYN) ||
	    eh->e_machine != EM_X86_64 || eh->e_phentsize != sizeof(*p->ph))
		return -ENOEXEC;
	size = eh->e_phnum * sizeof(*p->ph);
	if (!size || size > MAX_HEADERS)
		return -ENOEXEC;
	if (eh->e_phoff % _Alignof(Elf64_Phdr) == 0 &&
	    is_in_head(p, eh->e_phoff, size)) {
		p->ph = (Elf64_Phdr *)(p->head.text + eh->e_phoff);
		err = 0;
	} else {
		p->ph = map_memory(size);
		if (!p->ph)
			return -ENOMEM;
		err = read_at(fd, p->ph, size, eh->e_phoff) ? -ENOEXEC : 0;
	}
	for (i = 0; !err && i < eh->e_phnum; i++)
		if (p->ph[i].p_type == PT_INTERP) {
			err = read_interp(p, &p->ph[i]);
			break;
		}
	if (err)
		program_drop(p);
	return err;
}

/* Opens and reads the interpreter of @p; it is to be dropped and closed. */
long program_open_interp(struct program *p, struct program *interp)
{
	struct stat st;
	long fd, err;

	fd = RAW4(__NR_openat, AT_FDCWD, p->interp, O_RDONLY | O_CLOEXEC, 0);
	if (is_err(fd))
		return fd;
	err = RAW4(__NR_faccessat2, AT_FDCWD, p->interp, 1 /* X_OK */,
		   AT_EACCESS);
	if (err == -ENOSYS)
		err = RAW3(__NR_faccessat, AT_FDCWD, p->interp, 1);
	if (!err && (RAW2(__NR_fstat, fd, &st) || !S_ISREG(st.st_mode)))
		err = -EACCES;
	if (!err)
		err = program_read(interp, fd);
	if (err)
		RAW1(__NR_close, fd);
	return err == -ENOEXEC ? -ELIBBAD : err;
}

/* The place in the file of what will be at @address. */
static u64 offset_of(const struct program *p, u64 address)
{
	const Elf64_Phdr *ph;
	int i;

	for (i = 0; i < p->eh.e_phnum; i++) {
		ph = &p->ph[i];
		if (ph->p_type == PT_LOAD && address >= ph->p_vaddr &&
		    address - ph->p_vaddr < ph->p_filesz)
			return address - ph->p_vaddr + ph->p_offset;
	}
	return 0;
}

/*
 * Among the libraries that it needs: AddressSanitizer's runtime must be the
 * first of all, and without any there is no libc that would tell us of the
 * environment (Go's position-independent programs are so).
 */
static bool libraries_are_fine(const struct program *p)
{
	Elf64_Dyn dyn[DYNAMIC_MAX / sizeof(Elf64_Dyn)];
	u64 strings = 0, n = 0, at, i, needed = 0;
	char name[24];
	long got;

	for (i = 0; i < p->eh.e_phnum; i++) {
		if (p->ph[i].p_type != PT_DYNAMIC)
			continue;
		got = RAW4(__NR_pread64, p->fd, dyn,
			   p->ph[i].p_filesz < sizeof(dyn) ?
			   p->ph[i].p_filesz : sizeof(dyn), p->ph[i].p_offset);
		n = got > 0 ? got / sizeof(*dyn) : 0;
		break;
	}
	for (i = 0; i < n; i++)
		if (dyn[i].d_tag == DT_STRTAB)
			strings = offset_of(p, dyn[i].d_un.d_ptr);
	for (i = 0; strings && i < n; i++) {
		if (dyn[i].d_tag != DT_NEEDED)
			continue;
		needed++;
		at = strings + dyn[i].d_un.d_val;
		memset(name, 0, sizeof(name));
		RAW4(__NR_pread64, p->fd, name, sizeof(name) - 1, at);
		if (str_starts(name, "libasan.so") ||
		    str_starts(name, "libclang_rt.asan"))
			return false;
	}
	return needed;
}

/* Would nobody preload us? */
bool program_wants_loader(struct program *p)
{
	const char *base = p->interp, *q;

	for (q = p->interp; *q; q++)
		if (*q == '/')
			base = q + 1;
	if (!str_starts(base, "ld-linux") && !str_starts(base, "ld-musl"))
		return true;
	return !libraries_are_fine(p);
}
