/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the assembly finds things in struct ctx (shim.h checks it).
 */
#ifndef UKL_SHIM_LAYOUT_H
#define UKL_SHIM_LAYOUT_H

#define CTX_SELF	0
#define CTX_IN		8
#define CTX_PENDING	12
#define CTX_TOP		16
#define CTX_RAX		24
#define CTX_RBX		32
#define CTX_RCX		40
#define CTX_RDX		48
#define CTX_RSI		56
#define CTX_RDI		64
#define CTX_RBP		72
#define CTX_RSP		80
#define CTX_R8		88
#define CTX_R9		96
#define CTX_R10		104
#define CTX_R11		112
#define CTX_R12		120
#define CTX_R13		128
#define CTX_R14		136
#define CTX_R15		144
#define CTX_FSGSBASE	152
#define CTX_STATE	156

#endif
