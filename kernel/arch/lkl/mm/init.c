// SPDX-License-Identifier: GPL-2.0-only
/* Hands the instance's memory to the page allocator. */
#include <linux/init.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/percpu.h>
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

/*
 * Kernels without an MMU keep no lists of free pages in front of the buddy
 * allocator, lest blocks fall apart that their programs need in one piece.
 * No program lives in this memory; here a page that a socket has just freed
 * must be the next one taken, while it is in the processor's cache.  Sizes as
 * with an MMU (zone_batchsize(), zone_highsize()).
 */
#define PAGE_LIST_BATCH		16

static int __init keep_page_lists(void)
{
	struct per_cpu_pages *pcp;
	struct zone *zone;

	for_each_populated_zone(zone) {
		pcp = this_cpu_ptr(zone->per_cpu_pageset);
		zone->pageset_batch = PAGE_LIST_BATCH;
		zone->pageset_high_min = max(low_wmark_pages(zone),
					     4UL * PAGE_LIST_BATCH);
		zone->pageset_high_max = max(zone_managed_pages(zone) / 8,
				(unsigned long)zone->pageset_high_min);
		pcp->batch = zone->pageset_batch;
		pcp->high_min = zone->pageset_high_min;
		pcp->high_max = zone->pageset_high_max;
	}
	return 0;
}
late_initcall(keep_page_lists);
