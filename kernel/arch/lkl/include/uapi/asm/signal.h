/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/* x86-64's struct sigaction is the generic one with a restorer. */
#ifndef _UAPI_ASM_LKL_SIGNAL_H
#define _UAPI_ASM_LKL_SIGNAL_H

#define SA_RESTORER 0x04000000

#include <asm-generic/signal.h>

#endif
