/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the processes of a run count together: shared memory that the launcher
 * makes and reads (hijack/report.py has the same layout).
 */
#ifndef UKL_SHIM_REPORT_H
#define UKL_SHIM_REPORT_H

#include <stdint.h>

#define REPORT_MAGIC	0x31747065726b6c75UL
#define REPORT_CALLS	512	/* the last one: all that are not below it */
#define REPORT_ERRORS	4096
#define REPORT_SITES	2048

/* Who answered. */
#define BY_HOST		0
#define BY_LIBRARY	1
#define BY_UKL		2	/* neither: ukl refused */

struct report {
	uint64_t magic;
	uint32_t root;		/* the pid whose end writes the report */
	uint32_t spare;
	uint64_t lost_errors, lost_traps;	/* no room */
	uint64_t calls[3][REPORT_CALLS];
	struct report_error {
		uint64_t key;	/* 1 << 63 | who << 32 | call << 16 | errno */
		uint64_t n;
	} errors[REPORT_ERRORS];
	struct report_site {
		uint64_t key;	/* never 0 */
		uint64_t n;
		uint64_t offset;	/* in the file, or an address */
		int64_t call;	/* -1: several */
		uint64_t ready;
		char path[216];	/* empty: no file */
	} sites[REPORT_SITES];
};

#endif
