// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the port's own: copies, fills, user memory, blocks, delays,
 * weighing.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/string.h>
#include <linux/timex.h>
#include <linux/uaccess.h>
#include <asm/ukl.h>
#include "../drivers/weigh.h"
#include "../kernel/copy.h"

#define SIZE	640

static u8 from[SIZE], to[SIZE], want[SIZE];

static void fill(u8 *p, unsigned int seed)
{
	int i;

	for (i = 0; i < SIZE; i++)
		p[i] = (i * 151 + seed * 29) >> 2;
}

/* The compiler must not answer these itself. */
static noinline void *far_memcpy(void *d, const void *s, size_t n)
{
	return memcpy(d, s, n);
}

static noinline void *far_memmove(void *d, const void *s, size_t n)
{
	return memmove(d, s, n);
}

static noinline void *far_memset(void *d, int c, size_t n)
{
	return memset(d, c, n);
}

static void copy_every_size(struct kunit *test)
{
	size_t n, at, i;

	for (n = 0; n <= 320; n++)
		for (at = 0; at < 9; at++) {
			fill(from, n);
			fill(to, at + 100);
			memset(want, 0, SIZE);
			for (i = 0; i < SIZE; i++)
				want[i] = to[i];
			for (i = 0; i < n; i++)
				want[at + i] = from[2 * at + i];
			KUNIT_ASSERT_PTR_EQ(test, far_memcpy(to + at,
							     from + 2 * at, n),
					    to + at);
			for (i = 0; i < SIZE; i++)
				KUNIT_ASSERT_EQ_MSG(test, to[i], want[i],
						    "n %zu at %zu", n, i);
		}
}

/* Where source and target lie alike in their pages, the way is another. */
static void copy_aliased(struct kunit *test)
{
	static u8 s[2 * PAGE_SIZE] __aligned(PAGE_SIZE);
	static u8 d[2 * PAGE_SIZE] __aligned(PAGE_SIZE);
	size_t sizes[] = { 64, 71, 255, 257, 300, 1448, 4096, 4099 };
	size_t k, n, at, i;
	int user;

	for (i = 0; i < sizeof(s); i++)
		s[i] = (i * 151) >> 2;
	for (k = 0; k < ARRAY_SIZE(sizes) * 20; k++)
		for (user = 0; user < 2; user++) {
			n = sizes[k / 20];
			at = k % 20;
			memset(d, 0xee, sizeof(d));
			if (user)
				KUNIT_ASSERT_EQ(test, 0,
						ukl_user_copy(d + 32 + at,
							      s + 32, n));
			else
				far_memcpy(d + 32 + at, s + 32, n);
			for (i = 0; i < sizeof(d); i++)
				KUNIT_ASSERT_EQ_MSG(test, d[i],
					i - 32 - at < n ? s[i - at] : 0xee,
					"n %zu at %zu byte %zu", n, at, i);
		}
}

static void move_every_overlap(struct kunit *test)
{
	size_t n, a, b, i;

	for (n = 0; n <= 80; n++)
		for (a = 0; a < 40; a += 3)
			for (b = 0; b < 40; b++) {
				fill(to, n);
				for (i = 0; i < SIZE; i++)
					want[i] = to[i];
				for (i = 0; i < n; i++)
					want[a + i] = to[b + i];
				far_memmove(to + a, to + b, n);
				for (i = 0; i < 160; i++)
					KUNIT_ASSERT_EQ_MSG(test, to[i],
							    want[i],
							    "%zu+%zu < %zu",
							    a, n, b);
			}
}

static void fill_every_size(struct kunit *test)
{
	size_t n, i;

	for (n = 0; n <= 320; n++) {
		fill(to, n);
		fill(want, n);
		for (i = 0; i < n; i++)
			want[5 + i] = 0xa5;
		far_memset(to + 5, 0x1a5, n);
		for (i = 0; i < SIZE; i++)
			KUNIT_ASSERT_EQ_MSG(test, to[i], want[i],
					    "n %zu at %zu", n, i);
	}
}

/*
 * Memory ends at a known address: copies across it stop exactly there.  The
 * fault is the host's, the fix-up ours.
 */
static void user_copy_stops_at_the_hole(struct kunit *test)
{
	const u8 *end = (const u8 *)UKL_BASE + ukl_boot_info.ram;
	size_t n, have;

	for (n = 1; n <= 200; n += 7)
		for (have = 0; have <= n; have += 3) {
			KUNIT_ASSERT_EQ(test, ukl_user_copy(to, end - have, n),
					n - have);
			KUNIT_ASSERT_EQ(test, memcmp(to, end - have, have), 0);
		}
}

typedef unsigned long copy_fn(void *to, const void *from, unsigned long n);

static void check_long_copy(struct kunit *test, copy_fn *copy)
{
	static u8 s[1024], d[1024];
	const u8 *end = (const u8 *)UKL_BASE + ukl_boot_info.ram;
	size_t n, at, i, have;

	for (i = 0; i < sizeof(s); i++)
		s[i] = (i * 151) >> 2;
	for (n = 256; n < 700; n += 9)
		for (at = 0; at < 64; at += 5) {
			memset(d, 0xee, sizeof(d));
			KUNIT_ASSERT_EQ(test, 0, copy(d + at, s + n % 40, n));
			for (i = 0; i < sizeof(d); i++)
				KUNIT_ASSERT_EQ_MSG(test, d[i],
					i - at < n ? s[i - at + n % 40] : 0xee,
					"n %zu at %zu byte %zu", n, at, i);
		}
	for (n = 256; n < 520; n += 13)
		for (have = 0; have <= n; have += 3) {
			KUNIT_ASSERT_EQ(test, n - have,
					copy(d + have % 40, end - have, n));
			KUNIT_ASSERT_EQ(test, memcmp(d + have % 40, end - have,
						     have), 0);
		}
}

/* Long ones, by the string instructions and by vector registers. */
static void long_user_copy(struct kunit *test)
{
	bool wide = ukl_wide_copies;

	check_long_copy(test, ukl_copy_here);
	check_long_copy(test, ukl_copy_past);
	ukl_wide_copies = false;
	check_long_copy(test, ukl_copy_here);
	check_long_copy(test, ukl_copy_past);
	ukl_wide_copies = wide;
}

static void user_words_fault(struct kunit *test)
{
	u64 __user *nowhere = (u64 __user *)0x10;
	u64 v = 1;

	KUNIT_EXPECT_EQ(test, get_user(v, nowhere), -EFAULT);
	KUNIT_EXPECT_EQ(test, v, 0);
	KUNIT_EXPECT_EQ(test, put_user(v, nowhere), -EFAULT);
	KUNIT_EXPECT_EQ(test, clear_user(nowhere, 100), 100);
	KUNIT_EXPECT_EQ(test, get_user(v, (u64 __user *)&ukl_boot_info.ram), 0);
	KUNIT_EXPECT_EQ(test, v, ukl_boot_info.ram);
}

static void long_blocks_are_used_again(struct kunit *test)
{
	struct page *block[16], *again;
	int i;

	for (i = 0; i < ARRAY_SIZE(block); i++) {
		block[i] = ukl_long_block(LONG_BLOCK);
		KUNIT_ASSERT_NOT_NULL(test, block[i]);
		KUNIT_EXPECT_EQ(test, page_size(block[i]), LONG_BLOCK);
		if (i)
			KUNIT_EXPECT_PTR_NE(test, block[i], block[i - 1]);
	}
	put_page(block[5]);
	again = ukl_long_block(LONG_BLOCK);
	KUNIT_EXPECT_PTR_EQ(test, again, block[5]);
	for (i = 0; i < ARRAY_SIZE(block); i++)
		put_page(block[i]);
	/* The longest unused first: the others are in caches still. */
	again = ukl_long_block(LONG_BLOCK);
	KUNIT_EXPECT_PTR_EQ(test, again, block[0]);
	put_page(again);
}

static void delays_last(struct kunit *test)
{
	u64 khz = ukl_boot_info.tsc_khz, start = get_cycles();

	udelay(200);
	KUNIT_EXPECT_GE(test, get_cycles() - start, khz / 5);
}

/* A load of 100 bytes per event, which come every so many cycles. */
struct load {
	struct ukl_weigh	w;
	unsigned long		now, end;
	unsigned int		cycles, cycles_other;
	unsigned int		events, other;
};

/* How many events out of a thousand went the other way in @turns turns. */
static unsigned int other_share(struct load *load, unsigned int turns)
{
	unsigned long ms = ukl_boot_info.tsc_khz;
	bool other;

	load->end = load->now + turns * ms * UKL_WEIGH_US / 1000;
	load->events = load->other = 0;
	while (load->now < load->end) {
		other = ukl_weigh(&load->w, load->now);
		load->w.bytes += 100;
		load->events++;
		load->other += other;
		load->now += other ? load->cycles_other : load->cycles;
	}
	return load->other * 1000ul / load->events;
}

static void weighing_finds_the_better_way(struct kunit *test)
{
	unsigned int us = ukl_boot_info.tsc_khz / 1000;
	struct load load = {
		.now = 1ul << 40,
		.cycles = 20 * us, .cycles_other = 10 * us,
	};

	other_share(&load, 20);
	KUNIT_EXPECT_GE(test, other_share(&load, 500), 950);
	/* What it is changes while data moves. */
	load.cycles = 5 * us;
	other_share(&load, 70);
	KUNIT_EXPECT_LE(test, other_share(&load, 500), 50);
	/* No difference, or too small a one: it stays. */
	load.cycles_other = 5 * us;
	KUNIT_EXPECT_LE(test, other_share(&load, 500), 50);
	load.cycles = 10 * us;
	load.cycles_other = 10 * us - us / 2;
	KUNIT_EXPECT_LE(test, other_share(&load, 500), 50);
}

static void weighing_begins_anew_after_a_silence(struct kunit *test)
{
	unsigned long ms = ukl_boot_info.tsc_khz;
	unsigned int us = ms / 1000;
	struct load load = {
		.now = 1ul << 40,
		.cycles = 20 * us, .cycles_other = 10 * us,
	};

	other_share(&load, 20);
	KUNIT_EXPECT_GE(test, other_share(&load, 5), 999);
	load.now += 100 * ms;
	KUNIT_EXPECT_EQ(test, other_share(&load, 5), 0);
	/* So few events gain nothing, whatever moves with them. */
	load.cycles = 100 * us;
	KUNIT_EXPECT_EQ(test, other_share(&load, 100), 0);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(copy_every_size),
	KUNIT_CASE(copy_aliased),
	KUNIT_CASE(move_every_overlap),
	KUNIT_CASE(fill_every_size),
	KUNIT_CASE(user_copy_stops_at_the_hole),
	KUNIT_CASE(long_user_copy),
	KUNIT_CASE(user_words_fault),
	KUNIT_CASE(long_blocks_are_used_again),
	KUNIT_CASE(delays_last),
#ifdef CONFIG_UKL_NET
	KUNIT_CASE(weighing_finds_the_better_way),
	KUNIT_CASE(weighing_begins_anew_after_a_silence),
#endif
	{ }
};

static struct kunit_suite suite = { .name = "ukl", .test_cases = cases };
kunit_test_suite(suite);

MODULE_DESCRIPTION("KUnit tests of the library kernel's port");
MODULE_LICENSE("GPL");
