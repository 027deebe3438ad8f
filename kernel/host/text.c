// SPDX-License-Identifier: GPL-2.0-only
/*
 * The library kernel's code in huge pages.
 *
 * Theory of operation.  What serves one request runs through code on hundreds of
 * pages, in each process that makes calls, and the host's own kernel, whose code
 * is in huge pages, shares their translations' caches with it.  Pages of the
 * image's file are small ones on almost all hosts.  Those of a memory file can be
 * made huge (MADV_COLLAPSE), and the part of the instance's memory under the
 * image's mapping is not used.  So a copy goes there, beside the boot.
 *
 * Its first word is written last: whoever maps the kernel from then on maps the
 * copy (ukl_map()), and so does this process, under its threads.  Whoever came
 * before keeps the file, and so do all where the host makes no huge pages, or is
 * told not to (PR_SET_THP_DISABLE).
 */
#define _GNU_SOURCE
#include "host.h"

#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25	/* Linux 6.1 */
#endif

#define HUGE		(2UL << 20)

static struct {
	int memory;
	size_t size;		/* of the code, in whole pages */
} text;

/* @size bytes of the memory at a boundary of huge pages; or MAP_FAILED. */
static char *map_aligned(size_t size, char **all)
{
	char *at;

	*all = mmap(NULL, size + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	if (*all == MAP_FAILED)
		return MAP_FAILED;
	at = (char *)(((uintptr_t)*all + HUGE - 1) & -HUGE);
	return mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		    text.memory, 0);
}

/* Everything but the first word; 0, or -1: the host makes no huge pages. */
static int copy_to(char *copy)
{
	const char *code = (const char *)UKL_BASE;
	size_t at, huge = text.size & -HUGE;

	/* Only what has a page already is made huge. */
	for (at = 0; at < huge; at += HUGE)
		copy[at + sizeof(long)] = 0;
	if (madvise(copy, huge, MADV_COLLAPSE))
		return -1;
	__builtin_memcpy(copy + sizeof(long), code + sizeof(long),
			 text.size - sizeof(long));
	return 0;
}

static void *text_thread(void *unused)
{
	char *all, *copy;

	(void)unused;
	prctl(PR_SET_NAME, "ukl-text");
	copy = map_aligned(text.size, &all);
	if (copy == MAP_FAILED)
		return NULL;
	if (copy_to(copy)) {
		madvise(copy, text.size, MADV_REMOVE);
	} else {
		__atomic_store_n((unsigned long *)copy, UKL_MAGIC,
				 __ATOMIC_RELEASE);
		/* In one step for all who run in it: pages that fault wait. */
		mmap((void *)UKL_BASE, text.size, PROT_READ | PROT_EXEC,
		     MAP_SHARED | MAP_FIXED, text.memory, 0);
	}
	munmap(all, text.size + HUGE);
	return NULL;
}

void text_start(int memory)
{
	text.memory = memory;
	text.size = ukl_head()->data - UKL_BASE;
	start_thread(text_thread, NULL);
}
