// SPDX-License-Identifier: GPL-2.0-only
/*
 * The little that the core needs of a library: memory, text, messages.
 */
#include "shim.h"

#include <linux/futex.h>
#include <linux/mman.h>

void *map_memory(u64 size)
{
	long p = RAW6(__NR_mmap, 0, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return is_err(p) ? NULL : (void *)p;
}

void unmap_memory(void *p, u64 size)
{
	RAW2(__NR_munmap, p, size);
}

u64 str_len(const char *s)
{
	u64 n = 0;

	while (s[n])
		n++;
	return n;
}

bool str_eq(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

bool str_starts(const char *s, const char *prefix)
{
	while (*prefix)
		if (*s++ != *prefix++)
			return false;
	return true;
}

/* Appends as much of @s as fits, always with an end. */
char *str_put(char *to, char *end, const char *s)
{
	while (*s && to < end - 1)
		*to++ = *s++;
	*to = 0;
	return to;
}

char *num_put(char *to, char *end, u64 n)
{
	char text[24];
	int i = sizeof(text) - 1;

	text[i] = 0;
	do {
		text[--i] = '0' + n % 10;
		n /= 10;
	} while (n);
	return str_put(to, end, text + i);
}

u64 num_parse(const char *s)
{
	u64 n = 0;

	while (*s >= '0' && *s <= '9')
		n = n * 10 + (*s++ - '0');
	return n;
}

/* Each byte as two letters from 'a' to 'p'. */
char *bytes_put(char *to, char *end, const void *data, u64 size)
{
	const u8 *p = data;

	for (; size && end - to > 2; size--, p++) {
		*to++ = 'a' + (*p >> 4);
		*to++ = 'a' + (*p & 15);
	}
	*to = 0;
	return to;
}

/* False: @s is not @size bytes so. */
bool bytes_parse(void *data, u64 size, const char *s)
{
	u8 *p = data;

	for (; size; size--, p++, s += 2) {
		if (s[0] < 'a' || s[0] > 'p' || s[1] < 'a' || s[1] > 'p')
			return false;
		*p = (s[0] - 'a') << 4 | (s[1] - 'a');
	}
	return !*s;
}

/* One line on standard error. */
void say(const char *a, const char *b, const char *c)
{
	char line[1024], *end = line + sizeof(line) - 1, *p = line;

	p = str_put(p, end, "ukl: ");
	p = str_put(p, end, a);
	p = str_put(p, end, b);
	p = str_put(p, end, c);
	*p++ = '\n';
	RAW3(__NR_write, 2, line, p - line);
}

void give_up(const char *a, const char *b, const char *c)
{
	say(a, b, c);
	for (;;)
		RAW1(__NR_exit_group, 125);
}

long get_user_string(char *to, const char *from, u64 max)
{
	u64 n = 0, part, i;

	/* A page at a time: the next one may not be there. */
	while (n < max) {
		part = PAGE - ((u64)(from + n) & (PAGE - 1));
		if (part > max - n)
			part = max - n;
		if (part > 256)
			part = 256;
		if (copy_user(to + n, from + n, part))
			return -EFAULT;
		for (i = 0; i < part; i++)
			if (!to[n + i])
				return n + i;
		n += part;
	}
	return -ENAMETOOLONG;
}

void lock_word(u32 *word)
{
	u32 seen = 0;

	if (__atomic_compare_exchange_n(word, &seen, 1, false,
					__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return;
	while (__atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE))
		RAW4(__NR_futex, word, FUTEX_WAIT_PRIVATE, 2, 0);
}

void unlock_word(u32 *word)
{
	if (__atomic_exchange_n(word, 0, __ATOMIC_RELEASE) == 2)
		RAW3(__NR_futex, word, FUTEX_WAKE_PRIVATE, 1);
}
