// SPDX-License-Identifier: GPL-2.0-only
/*
 * Long writes to sockets.
 *
 * What sockets send is copied to blocks of the task's (task_frag).  Linux takes
 * them of 32 KB; a long write gets one of its own length, up to 128: a copy that
 * is made outside must come back for each, and packets have fewer pieces.  Short
 * writes after it take ordinary ones again.
 *
 * A thread that writes so to a socket mostly does it again.  So it is left the
 * block for its next long write to the same descriptor, which it fills before
 * it takes the CPU; the copy to that block, when it is due, has been made.
 * There are few of these: who does not write any more loses its own.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/net.h>
#include <linux/sched.h>
#include <linux/shrinker.h>
#include <linux/socket.h>
#include <linux/uio.h>
#include <asm/syscall.h>
#include <asm/ukl.h>
#include "copy.h"

#define OWNERS		8

/* Whose blocks there are; NULL: room for another. */
static struct ukl_copy *owners[OWNERS];
static unsigned int next_loser;

/*
 * Blocks to be used again, the last taken first; the pool has a reference to
 * each, and nobody else has one to those that are free.  The page allocator
 * would join blocks of this size when they are given back, and take others: a
 * stream would go through all free memory, past every cache.  But a block that
 * the reader, on another CPU, has only just read is still in that one's own
 * cache, from where it is slow to take: so there are more than one needs.
 */
#define POOL		32
#define POOL_LEAST	12

static struct page *pool[POOL];
static unsigned int n_pool;

static bool is_free(struct page *page)
{
	return page_ref_count(page) == 1;
}

/* Makes @page the first, instead of what is at @at. */
static void put_first(struct page *page, unsigned int at)
{
	memmove(pool + 1, pool, at * sizeof(pool[0]));
	pool[0] = page;
}

/* The one of the free blocks that was taken longest ago. */
static struct page *take_again(unsigned int order)
{
	struct page *page;
	unsigned int i = n_pool;

	while (i--) {
		page = pool[i];
		if (is_free(page) && compound_order(page) == order) {
			put_first(page, i);
			get_page(page);
			return page;
		}
	}
	return NULL;
}

struct page *ukl_long_block(unsigned long size)
{
	unsigned int order = get_order(min_t(unsigned long, size, LONG_BLOCK));
	struct page *page = NULL;

	if (n_pool >= POOL_LEAST)
		page = take_again(order);
	if (page)
		return page;
	page = alloc_pages(GFP_NOWAIT | __GFP_COMP | __GFP_NOWARN |
			   __GFP_NORETRY, order);
	if (!page)
		return take_again(order);
	if (n_pool < POOL) {
		put_first(page, n_pool++);
		get_page(page);
	}
	return page;
}

static unsigned long count_free(struct shrinker *shrinker,
				struct shrink_control *sc)
{
	unsigned long pages = 0;
	unsigned int i;

	for (i = 0; i < n_pool; i++)
		if (is_free(pool[i]))
			pages += compound_nr(pool[i]);
	return pages ?: SHRINK_EMPTY;
}

static unsigned long give_back(struct shrinker *shrinker,
			       struct shrink_control *sc)
{
	unsigned long pages = 0;
	unsigned int i, n = 0;

	for (i = 0; i < n_pool; i++) {
		if (is_free(pool[i])) {
			pages += compound_nr(pool[i]);
			put_page(pool[i]);
		} else {
			pool[n++] = pool[i];
		}
	}
	n_pool = n;
	return pages ?: SHRINK_STOP;
}

static int __init init_pool(void)
{
	struct shrinker *shrinker = shrinker_alloc(0, "ukl-blocks");

	if (!shrinker)
		return -ENOMEM;
	shrinker->count_objects = count_free;
	shrinker->scan_objects = give_back;
	shrinker_register(shrinker);
	return 0;
}
core_initcall(init_pool);

static struct page *page_of(void *block)
{
	return block ? virt_to_page(block) : NULL;
}

/* The block that was left to the thread of @copy, if it has not taken it. */
static struct page *take_back(struct ukl_copy *copy)
{
	return page_of(__atomic_exchange_n(&copy->block, NULL,
					   __ATOMIC_SEQ_CST));
}

/* Is that a thread that has ended while it filled its block? */
static bool has_ended(const struct ukl_copy *copy)
{
	return READ_ONCE(ukl.thread[copy - ukl_copies].state) == UKL_TH_FREE;
}

/* Makes @copy one of the owners; false: all others need theirs. */
static bool become_owner(struct ukl_copy *copy)
{
	struct ukl_copy *loser;
	struct page *page;
	unsigned int i;

	for (i = 0; i < OWNERS; i++)
		if (owners[i] == copy)
			return true;
	for (i = 0; i < OWNERS && owners[i]; i++)
		;
	if (i == OWNERS) {
		i = next_loser++ % OWNERS;
		loser = owners[i];
		page = take_back(loser);
		if (!page && has_ended(loser)) {
			page = page_of(loser->taken);
			loser->taken = NULL;
		}
		if (!page && loser->taken)
			return false;
		if (page)
			put_page(page);
	}
	owners[i] = copy;
	return true;
}

/* For the thread's next write to @fd, which may be of @size bytes again. */
static void leave_block(struct ukl_copy *copy, int fd, unsigned long size)
{
	struct page *page;

	copy->fd = fd;
	if (READ_ONCE(copy->block) || !become_owner(copy))
		return;
	page = ukl_long_block(size);
	if (!page)
		return;
	copy->room = page_size(page);
	__atomic_store_n(&copy->block, page_address(page), __ATOMIC_SEQ_CST);
}

static void set_frag(struct page_frag *frag, struct page *page)
{
	if (frag->page)
		put_page(frag->page);
	*frag = (struct page_frag){ .page = page,
				    .size = page ? page_size(page) : 0 };
}

static void take_long_frag(struct page_frag *frag, unsigned long size)
{
	struct page *page = frag->page;

	if (page && page_ref_count(page) == 1)
		frag->offset = 0;
	if (page && frag->size - frag->offset >=
		    min_t(unsigned long, size, LONG_BLOCK))
		return;
	page = ukl_long_block(size);
	if (page)
		set_frag(frag, page);
}

static long call(long nr, const long *a)
{
	return sys_call_table[nr](a[0], a[1], a[2], a[3], a[4], a[5]);
}

long ukl_long_write(struct ukl_thread *host, long nr, const long *a)
{
	struct ukl_copy *copy = &ukl_copies[host->id - 1];
	struct page_frag *frag = &current->task_frag;
	struct page *page;
	unsigned int at;
	long ret;

	if (copy->taken) {
		set_frag(frag, page_of(copy->taken));
		copy->taken = NULL;
	} else {
		take_long_frag(frag, a[2]);
	}
	page = frag->page;
	at = frag->offset;
	ret = call(nr, a);
	/* The record of a dead thread may be another's by now. */
	if (current->thread.gone)
		return ret;
	copy->filled = 0;
	if (ret > 0 && (frag->offset != at || frag->page != page))
		leave_block(copy, a[0], a[2]);
	if (ret != -EFAULT || !frag->page)
		return ret;
	/* Where a block cannot be filled, Linux sends those before it. */
	set_frag(frag, NULL);
	return call(nr, a);
}

#ifdef CONFIG_NET
long ukl_send_filled(struct socket *sock, struct page *block, unsigned long n)
{
	struct ukl_copy *copy = &ukl_copies[current->thread.host->id - 1];
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
	long ret;

	/* What is sent is where it is to be copied to. */
	copy->filled_from = copy->filled_to = page_address(block);
	copy->filled = n;
	set_frag(&current->task_frag, block);
	iov_iter_ubuf(&msg.msg_iter, ITER_SOURCE,
		      (void __user *)page_address(block), n);
	ret = sock_sendmsg(sock, &msg);
	copy->filled = 0;
	return ret;
}
#endif
