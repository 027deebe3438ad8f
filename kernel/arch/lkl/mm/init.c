// SPDX-License-Identifier: GPL-2.0-only
/* Hands the instance's memory to the page allocator. */
#include <linux/init.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <asm/sections.h>

char empty_zero_page[PAGE_SIZE] __page_aligned_bss;


void __init mem_init(void)
{
	high_memory = __va(max_low_pfn << PAGE_SHIFT);
	memblock_free_all();
}

/* Code is mapped from the image file; only the data is memory to give back. */
void free_initmem(void)
{
	free_initmem_default(-1);
}
