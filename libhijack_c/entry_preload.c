// SPDX-License-Identifier: GPL-2.0-only
/*
 * The preload door: a constructor in a program that ld.so has loaded.
 *
 * From its end on no system call reaches the host but through the core.
 */
#include "shim.h"

#pragma GCC visibility push(default)
/* In glibc constructors get main()'s arguments, in musl they do not. */
extern const char *gnu_get_libc_version(void) __attribute__((weak));
extern char **environ __attribute__((weak));
#pragma GCC visibility pop

static char **find_environment(char **given)
{
	if (gnu_get_libc_version)
		return given;
	return &environ ? environ : NULL;
}

static void __attribute__((constructor))
start(int argc, char **argv, char **given)
{
	char **env = find_environment(given);
	struct words w;
	struct state s;
	struct ctx *c;
	u64 mask;

	(void)argc;
	(void)argv;
	if (!env)
		give_up("the program has no environment", "", "");
	c = join(env, &w, &s, &mask);
	arm();
	c->in = 0;
	set_mask(mask);
}
