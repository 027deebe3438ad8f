// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sites that trap often are rewritten: a jump to a slot in place of the trap.
 *
 * Theory of operation.  Only one instruction of at least five bytes that
 * stands before the system call is overwritten, by a five-byte jump that
 * starts where it started.  Everything behind it stays as it is, so a jump to
 * any instruction, a thread that runs there and a return address behind the
 * system call all remain valid, and nobody needs to know who jumps where.
 * The slot holds a copy of the instructions up to the call, puts the address
 * behind the call into rcx as the call would, and goes to the entry.
 *
 * Four forms, in glibc and nearly everywhere:
 *
 *	mov $number, %eax; syscall
 *	cmpb $0, variable(%rip); je; xor %eax, %eax; syscall	(read)
 *	mov 0x10(%rsp), %rsi; mov %eax, %r8d; mov 8(%rsp), %edi;
 *		xor %eax, %eax; syscall		(read with threads)
 *	mov 8(%rsp), %r9; syscall		(libc's syscall())
 *
 * Where none of them stands before the call, as in Go, the call itself becomes
 * a two-byte jump, if the padding behind a function is near enough to hold a
 * jump to the slot.  A call that is made again then jumps again.
 *
 * All others go on to trap.  Slots for text that is too far from ours, as that
 * of programs with addresses of their own, lie in areas near them.
 *
 * A process begins when it has trapped HOT times,
 * since short-lived ones would pay more than they gain; UKL_REWRITE says "now"
 * or "off" instead, for tests and comparisons.
 */
#include "shim.h"
#include "signal_frame.h"

#include <fcntl.h>
#include <linux/mman.h>

#define HOT		400
#define SLOT		64
#define HEAD_MAX	16
#define RANGES		32

struct slot {
	u64 site;		/* of the system call */
	u8 code[SLOT - 12];
	u8 form;
	u8 call;		/* offset in code[] where the site is reached */
	signed short pad;	/* form 4: from the site to the jump behind */
};

_Static_assert(sizeof(struct slot) == SLOT, "slot");

extern struct slot slots[] __attribute__((visibility("hidden")));

#define AREAS		8
#define AREA_SIZE	65536UL
#define AREA_SLOTS	(AREA_SIZE / SLOT)

static struct {
	u64 traps;
	u32 lock;
	u32 off;		/* cannot be done here */
	u32 areas;		/* beside the first, which is ours */
	u32 pads;
	struct { struct slot *at; u32 used; } area[AREAS];
	u32 n;			/* ranges; read once */
	struct { u64 from, to; } range[RANGES];
} rw;

/* Text that stays where it is: mapped from a file when we looked. */
static void find_ranges(void)
{
	static char buf[32768];
	long fd, n, got = 0;
	char *p, *line;
	u64 v[2];
	int i;

	fd = RAW4(__NR_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY, 0);
	if (fd < 0)
		return;
	while (got < (long)sizeof(buf) - 1 &&
	       (n = RAW3(__NR_read, fd, buf + got, sizeof(buf) - 1 - got)) > 0)
		got += n;
	RAW1(__NR_close, fd);
	buf[got] = 0;
	for (line = buf; *line && rw.n < RANGES; line = p + 1) {
		for (p = line; *p && *p != '\n'; p++)
			;
		if (!*p)
			break;
		*p = 0;
		for (i = 0; i < 2; i++, line++)
			for (v[i] = 0; *line != '-' && *line != ' '; line++)
				v[i] = v[i] * 16 +
				       (*line <= '9' ? *line - '0' :
					*line - 'a' + 10);
		if (!str_starts(line, "r-xp"))
			continue;
		while (*line && *line != '/')
			line++;
		if (!*line || ((u64)stub_start >= v[0] &&
			       (u64)stub_start < v[1]))
			continue;
		rw.range[rw.n].from = v[0];
		rw.range[rw.n++].to = v[1];
	}
}

static bool in_range(u64 from, u64 to)
{
	u32 i;

	for (i = 0; i < rw.n; i++)
		if (from >= rw.range[i].from && to <= rw.range[i].to)
			return true;
	return false;
}

static u8 *put32(u8 *p, u64 v)
{
	*(u32 *)p = v;
	return p + 4;
}

/* A jump, call or load whose last four bytes are relative to its end. */
static u8 *put_rel(u8 *p, u8 *real, const char *op, int n, u64 target)
{
	while (n--) {
		*p++ = *op++;
		real++;
	}
	return put32(p, target - ((u64)real + 4));
}

static bool near(u64 a, u64 b)
{
	long d = a - b;

	return d < 0x7ff00000L && d > -0x7ff00000L;
}

/* lea site + 2(%rip), %rcx; jmp ukl_entry; at @p, for the slot at @real. */
static void finish(struct slot *s, struct slot *real, u8 *p)
{
	p = put_rel(p, real->code + (p - s->code), "\x48\x8d\x0d", 3,
		    s->site + 2);
	if (near((u64)ukl_entry, (u64)real)) {
		put_rel(p, real->code + (p - s->code), "\xe9", 1,
			(u64)ukl_entry);
		return;
	}
	/* jmp *0(%rip), and the address. */
	*p++ = 0xff;
	*p++ = 0x25;
	p = put32(p, 0);
	*(u64 *)p = (u64)ukl_entry;
}

/*
 * Writes the slot's code for the call at @site, the bytes before which are
 * @b[0 … HEAD_MAX).  Returns how many of these it has copied, which is where
 * the jump goes; 0: none of the forms.
 */
static int compose(struct slot *s, struct slot *real, u64 site, const u8 *b,
		   u64 nr)
{
	const u8 *end = b + HEAD_MAX;
	u8 *p = s->code;
	int head;
	u64 at;
	int i;

#define REAL	(real->code + (p - s->code))
	if (end[-5] == 0xb8 && (end[-6] & 0xf0) != 0x40 &&
	    *(u32 *)(end - 4) == nr) {
		head = 5;
		s->form = 1;
		for (i = 0; i < head; i++)
			*p++ = end[i - head];
	} else if (end[-5] == 0x4c && end[-4] == 0x8b && end[-3] == 0x4c &&
		   end[-2] == 0x24 && end[-1] == 0x08) {
		head = 5;
		s->form = 1;
		for (i = 0; i < head; i++)
			*p++ = end[i - head];
	} else if (!nr && end[-11] == 0x80 && end[-10] == 0x3d &&
		   end[-5] == 0 && end[-4] == 0x74 && end[-2] == 0x31 &&
		   end[-1] == 0xc0) {
		head = 11;
		s->form = 2;
		/* cmpb: the byte compared with comes behind the address. */
		at = site - 4 + *(int *)(end - 9);
		if (!near(at, (u64)real))
			return 0;
		p = put_rel(p, REAL + 1, "\x80\x3d", 2, at);
		*p++ = 0;
		at = site - 2 + (signed char)end[-3];
		p = put_rel(p, REAL, "\x0f\x84", 2, at);
		*p++ = 0x31;
		*p++ = 0xc0;
	} else {
		static const u8 form3[14] = {
			0x48, 0x8b, 0x74, 0x24, 0x10, 0x41, 0x89, 0xc0, 0x8b,
			0x7c, 0x24, 0x08, 0x31, 0xc0,
		};

		head = sizeof(form3);
		if (nr)
			return 0;
		s->form = 3;
		for (i = 0; i < head; i++) {
			if (end[i - head] != form3[i])
				return 0;
			*p++ = form3[i];
		}
	}
	s->call = p - s->code;
	s->site = site;
	finish(s, real, p);
	return head;
#undef REAL
}

static bool writable(u64 from, u64 to, bool yes)
{
	from &= -PAGE;
	to = (to + PAGE - 1) & -PAGE;
	return !RAW3(__NR_mprotect, from, to - from,
		     PROT_READ | PROT_EXEC | (yes ? PROT_WRITE : 0));
}

/*
 * @n bytes at once.  Other threads may be executing them, so they must lie in
 * one cache line, which a locked exchange writes as one.
 */
static bool patch(u64 at, const u8 *code, u32 n)
{
	u64 word = at, old, new, part = 0, mask = (1UL << 8 * n) - 1;
	bool done = false;
	u32 shift, i;

	if (me.threads) {
		if ((at & 63) > 64 - n)
			return false;
		if ((at & 63) > 64 - 8)
			word = (at & -64UL) + 56;
	}
	if (!writable(word, word + 8, true))
		return false;
	shift = (at - word) * 8;
	for (i = 0; i < n; i++)
		part |= (u64)code[i] << 8 * i;
	do {
		old = *(volatile u64 *)word;
		new = (old & ~(mask << shift)) | part << shift;
		done = __sync_bool_compare_and_swap((u64 *)word, old, new);
	} while (!done);
	writable(word, word + 8, false);
	return true;
}

/* Somewhere near @site, but not where its heap or stack grows. */
static struct slot *map_area(u64 site)
{
	const long gap = 1L << 30, step = 1L << 26;
	u64 base = site & -AREA_SIZE, at;
	long p, i;

	for (i = 0; i < 12; i++) {
		at = base - gap - i * step;
		if (base < 2UL * gap)
			at = base + gap + i * step;
		p = RAW6(__NR_mmap, at, AREA_SIZE, PROT_READ | PROT_EXEC,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
			 -1, 0);
		if (p == (long)at)
			return (struct slot *)p;
		if (!is_err(p))
			RAW2(__NR_munmap, p, AREA_SIZE);
	}
	return NULL;
}

/* A free slot that a jump at @site reaches, and its area; NULL: none. */
static struct slot *find_slot(u64 site, u32 *area)
{
	u32 i;

	if (!rw.area[0].at)
		rw.area[0].at = slots;
	for (i = 0; i <= rw.areas; i++)
		if (near(site, (u64)rw.area[i].at) &&
		    rw.area[i].used < AREA_SLOTS)
			goto found;
	if (i == AREAS)
		return NULL;
	rw.area[i].at = map_area(site);
	if (!rw.area[i].at)
		return NULL;
	/* Handlers look through as many. */
	__atomic_store_n(&rw.areas, i, __ATOMIC_RELEASE);
found:
	*area = i;
	return &rw.area[i].at[rw.area[i].used];
}

#define PAD_MIN		5
#define REACH		120

/*
 * Padding that no code runs into: behind a return, up to a boundary of 16
 * bytes.  Its distance from @site, or 0.
 */
static long find_pad(u64 site)
{
	u8 text[2 * REACH];
	long from = -REACH, at, n;

	while (from < 0 && !in_range(site + from, site + REACH))
		from += 8;
	if (!in_range(site + from, site + REACH) ||
	    copy_user(text + REACH + from, (void *)(site + from),
		      REACH - from))
		return 0;
	for (at = from + 1; at < REACH; at++) {
		if (text[REACH + at] != 0xcc ||
		    text[REACH + at - 1] != 0xc3)
			continue;
		for (n = 1; at + n < REACH && text[REACH + at + n] == 0xcc;
		     n++)
			;
		if (n >= PAD_MIN && at + n < REACH &&
		    ((site + at + n) & 15) == 0)
			return at;
	}
	return 0;
}

/* The call at @site becomes a jump to a jump to @s; see above. */
static bool by_padding(struct slot *made, struct slot *s, u64 site)
{
	u8 far[5] = { 0xe9 }, short_[2] = { 0xeb };
	long pad = find_pad(site);
	u64 at = site + pad;

	if (!pad)
		return false;
	made->site = site;
	made->form = 4;
	made->call = 0;
	made->pad = pad;
	finish(made, s, made->code);
	if (!writable((u64)s, (u64)(s + 1), true))
		return false;
	memcpy(s, made, sizeof(*s));
	writable((u64)s, (u64)(s + 1), false);
	/* Nobody is there yet. */
	put32(far + 1, (u64)s->code - (at + 5));
	if (!writable(at, at + 5, true))
		return false;
	memcpy((void *)at, far, sizeof(far));
	writable(at, at + 5, false);
	rw.pads++;
	short_[1] = pad - 2;
	return patch(site, short_, sizeof(short_));
}

/* In the handler of the trap at @site (of the call itself). */
void rewrite(u64 site, u64 nr)
{
	struct slot made = { 0 }, *s;
	u8 bytes[HEAD_MAX], jump[5] = { 0xe9 };
	u32 area;
	int head;

	if (rw.off || (++rw.traps < HOT && me.rewrite[0] != 'n'))
		return;
	if (me.rewrite[0] == 'o') {
		rw.off = 1;
		return;
	}
	if (__atomic_exchange_n(&rw.lock, 1, __ATOMIC_ACQUIRE))
		return;
	if (!rw.n) {
		find_ranges();
		rw.off = !rw.n;
	}
	if (rw.off || !in_range(site - HEAD_MAX, site + 2 + 8) ||
	    copy_user(bytes, (void *)(site - HEAD_MAX), HEAD_MAX))
		goto out;
	s = find_slot(site, &area);
	if (!s)
		goto out;
	head = compose(&made, s, site, bytes, nr);
	if (!head) {
		if (by_padding(&made, s, site))
			rw.area[area].used++;
		goto out;
	}
	if (!writable((u64)s, (u64)(s + 1), true)) {
		rw.off = 1;
		goto out;
	}
	memcpy(s, &made, sizeof(*s));
	writable((u64)s, (u64)(s + 1), false);
	rw.area[area].used++;
	put32(jump + 1, (u64)s->code - (site - head + 5));
	if (!patch(site - head, jump, sizeof(jump)))
		rw.area[area].used--;
out:
	__atomic_store_n(&rw.lock, 0, __ATOMIC_RELEASE);
}

/* The child of fork has only the thread that forked. */
void rewrite_after_fork(void)
{
	rw.lock = 0;
}

/* The site whose jump in the padding is at @ip. */
static u64 pad_to_site(u64 ip)
{
	const struct slot *s;
	u32 i, k;

	for (i = 0; i <= rw.areas; i++)
		for (k = 0; k < rw.area[i].used; k++) {
			s = &rw.area[i].at[k];
			if (s->form == 4 && s->site + s->pad == ip)
				return s->site;
		}
	return ip;
}

/* The program's own address for @ip, if that is in a slot of ours. */
u64 slot_to_site(u64 ip)
{
	u32 i, areas = __atomic_load_n(&rw.areas, __ATOMIC_ACQUIRE);
	struct slot *s;
	u64 at;

	for (i = 0; i <= areas; i++)
		if (ip - (u64)rw.area[i].at < AREA_SIZE)
			break;
	if (i > areas || !rw.area[i].at)
		return rw.pads ? pad_to_site(ip) : ip;
	s = (struct slot *)(ip & -(u64)SLOT);
	at = ip - (u64)s->code;
	if (at >= s->call)
		return s->site;
	switch (s->form) {
	case 1:
		return s->site - 5 + at;
	case 2:
		return at < 7 ? s->site - 11 : at < 13 ? s->site - 4 :
		       s->site - 2;
	}
	return s->site - 14 + at;
}
