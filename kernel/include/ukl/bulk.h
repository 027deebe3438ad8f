/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/* The kernel owns this header; here is the way to it from a program's side. */
#include "../../arch/lkl/include/uapi/ukl/bulk.h"
