/* SPDX-License-Identifier: GPL-2.0-only */
/* Every symbol is hidden: addresses are RIP-relative, without a GOT. */
#ifndef __ASSEMBLY__
#pragma GCC visibility push(hidden)
#endif
