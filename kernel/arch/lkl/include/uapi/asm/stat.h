/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/* struct stat has x86-64's layout: programs were compiled for that. */
#include "../../../../x86/include/uapi/asm/stat.h"
