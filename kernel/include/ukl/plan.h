/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Boot plans: what the kernel host does in a new instance before it is ready.
 *
 * A plan is a header and records, all in the host's byte order.  A record is
 * struct ukl_plan_record, the place it came from (text with a final zero) and
 * its payload; both are padded with zeros to a multiple of 8.  A record that
 * the kernel refuses ends the start with the place and the reason.
 *
 * hijack/plan/format.py writes them.
 */
#ifndef UKL_PLAN_H
#define UKL_PLAN_H

#include <stdint.h>

#define UKL_PLAN_MAGIC		0x4e414c504c4b55UL	/* "UKLPLAN" */
#define UKL_PLAN_VERSION	1
#define UKL_PLAN_MAX		(64 * 1024 * 1024)	/* bytes */

struct ukl_plan {
	uint64_t magic;
	uint32_t version;
	uint32_t size;			/* of everything, this included */
	uint32_t records;
	uint32_t reserved;		/* 0 */
};

struct ukl_plan_record {
	uint32_t op;
	uint32_t place;			/* bytes of text, the zero included */
	uint32_t length;		/* of the payload */
	uint32_t reserved;		/* 0 */
};

/* struct ukl_plan_netlink, its fixes, one message; the ACK is the result */
#define UKL_PLAN_NETLINK	1
/* path below /proc/sys, value: two strings; numbers are read back */
#define UKL_PLAN_SYSCTL		2
/* a path; all that is missing of it is made */
#define UKL_PLAN_MKDIR		3
/* struct ukl_plan_mount; source, target, type, data: four strings */
#define UKL_PLAN_MOUNT		4
/* the same; the source is an image file of the host, copied into memory */
#define UKL_PLAN_IMAGE		5
/* the host name: a string */
#define UKL_PLAN_HOSTNAME	6
/* as UKL_PLAN_SYSCTL, but nothing if there is no such: a default of ours */
#define UKL_PLAN_DEFAULT	7

struct ukl_plan_netlink {
	uint32_t family;		/* NETLINK_ROUTE, … */
	uint32_t fixes;			/* how many follow */
};

/* What is known only at run time, put into the message by name. */
#define UKL_PLAN_FIX_INDEX	1	/* an interface's index: 32 bits */
#define UKL_PLAN_FIX_GENERIC	2	/* a generic family's id: 16 bits */

struct ukl_plan_fix {
	uint32_t offset;		/* in the message */
	uint32_t kind;
	char name[16];
};

struct ukl_plan_mount {
	uint64_t flags;			/* MS_… */
};

#endif /* UKL_PLAN_H */
