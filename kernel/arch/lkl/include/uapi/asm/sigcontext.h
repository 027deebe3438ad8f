/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/* Signal frames are built by the host, never by the library kernel. */
#ifndef _UAPI_ASM_LKL_SIGCONTEXT_H
#define _UAPI_ASM_LKL_SIGCONTEXT_H

struct sigcontext {
	unsigned long __unused;
};

#endif
