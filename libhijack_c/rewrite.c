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
 * The forms, in glibc and nearly everywhere:
 *
 *	mov $number, %eax; what the compiler put between; syscall
 *	cmpb $0, variable(%rip); je; xor %eax, %eax; syscall	(read)
 *	mov 0x10(%rsp), %rsi; mov %eax, %r8d; mov 8(%rsp), %edi;
 *		xor %eax, %eax; syscall		(read with threads)
 *	mov 8(%rsp), %r9; syscall		(libc's syscall())
 *
 * Where none of them stands before the call, as in Go, the call itself becomes
 * a two-byte jump, if the padding behind a function is near enough to hold a
 * jump to the slot.  A call that is made again then jumps again.
 *
 * "What the compiler put between" are moves and the like, whose lengths
 * simple() knows.  They are decoded from a place where an instruction surely
 * begins: a mov of the very number that was called, or the instruction behind
 * another system call, from where each of five bytes or more will do.
 *
 * All others go on to trap, and are remembered, so that nobody looks at them
 * with each trap.  Slots for text that is too far from ours, as that
 * of programs with addresses of their own, lie in areas near them.
 *
 * A process begins when it has trapped HOT times, since short-lived ones would
 * pay more than they gain; UKL_REWRITE says "now" or "off" instead, for tests
 * and comparisons.
 */
#include "shim.h"
#include "signal_frame.h"

#include <fcntl.h>
#include <linux/mman.h>

#define HOT		400
#define SLOT		64
#define HEAD_MAX	31	/* and finish()'s 21 bytes fill a slot */
#define LOOK_BACK	128	/* to another system call */
#define HOPELESS	240	/* what is NEAR fits a page */
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

static NEAR struct {
	u64 traps;
	u32 lock;
	u32 off;		/* cannot be done here */
	u32 areas;		/* beside the first, which is ours */
	u32 pads;
	struct { struct slot *at; u32 used; } area[AREAS];
	u64 hopeless[HOPELESS];	/* sites, by their last bits */
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
 * Length of the instruction at @p, 0 for any that may not be moved or is not
 * known here.  *@rel: where in it an address relative to its end is, or 0.
 */
static int simple(const u8 *p, const u8 *end, int *rel)
{
	const u8 *begin = p;
	bool wide = false;
	int imm = 0;
	u8 op, mod;

	*rel = 0;
	if (end - p < 16)
		return 0;
	if ((*p & 0xf0) == 0x40)
		wide = *p++ & 8;
	op = *p++;
	if (op >= 0xb8 && op <= 0xbf)
		return p - begin + (wide ? 8 : 4);
	if (op == 0x90)
		return p - begin;
	if (op == 0x0f) {
		/* movups, movaps, movzx and movsx. */
		if ((*p & 0xfe) != 0x10 && (*p & 0xfe) != 0x28 &&
		    (*p & 0xf6) != 0xb6)
			return 0;
		op = 0x8b;
		p++;
	}
	switch (op) {
	case 0x01: case 0x09: case 0x21: case 0x29: case 0x31: case 0x39:
	case 0x03: case 0x0b: case 0x23: case 0x2b: case 0x33: case 0x3b:
	case 0x85: case 0x88: case 0x89: case 0x8a: case 0x8b: case 0x8d:
	case 0x63:
		break;
	case 0x83: case 0xc6:
		imm = 1;
		break;
	case 0x81: case 0xc7:
		imm = 4;
		break;
	default:
		return 0;
	}
	if ((op == 0xc6 || op == 0xc7) && (*p & 0x38))
		return 0;
	mod = *p++;
	if (mod >> 6 != 3) {
		if ((mod & 7) == 4 && (*p++ & 7) == 5 && mod >> 6 == 0)
			p += 4;
		if (mod >> 6 == 0 && (mod & 7) == 5) {
			*rel = p - begin;
			p += 4;
		} else if (mod >> 6) {
			p += mod >> 6 == 1 ? 1 : 4;
		}
	}
	return p + imm - begin;
}

/* Length of the conditional jump at @p, or 0. */
static int branch(const u8 *p)
{
	if ((p[0] & 0xf0) == 0x70)
		return 2;
	return p[0] == 0x0f && (p[1] & 0xf0) == 0x80 ? 6 : 0;
}

/* Copies the @head bytes before @end to @to, which will run at @real. */
static bool move(u8 *to, u8 *real, const u8 *end, int head, u64 site)
{
	const u8 *p = end - head;
	int n, rel;
	u64 target;

	for (; p < end; p += n, to += n, real += n) {
		n = simple(p, end + 16, &rel);
		if (!n || p + n > end)
			return false;
		memcpy(to, p, n);
		if (!rel)
			continue;
		target = site - (end - p) + n + *(const int *)(p + rel);
		if (!near(target, (u64)real))
			return false;
		put32(to + rel, target - ((u64)real + n));
	}
	return true;
}

/* How many bytes before @end begin with one that sets the call's number. */
static int from_number(const u8 *end, u64 nr)
{
	const u8 *p, *q;
	int head, n, rel;

	for (head = 5; head <= HEAD_MAX; head++) {
		p = end - head;
		if (*p != 0xb8 || (p[-1] & 0xf0) == 0x40 ||
		    *(const u32 *)(p + 1) != nr)
			continue;
		for (q = p; q < end; q += n) {
			n = simple(q, end + 16, &rel);
			if (!n)
				break;
		}
		if (q == end)
			return head;
	}
	return 0;
}

/*
 * How many bytes before @site begin with an instruction that is long enough,
 * as read from behind the next system call before it that we know.
 */
static int from_neighbour(u64 site)
{
	u8 text[LOOK_BACK + 16];
	u64 from = 0, at;
	u32 i, k;
	int n, rel, head = 0;

	for (i = 0; i <= rw.areas; i++)
		for (k = 0; k < rw.area[i].used; k++) {
			at = rw.area[i].at[k].site;
			if (at < site && site - at <= LOOK_BACK && at > from)
				from = at;
		}
	if (!from || !in_range(from, site + 16) ||
	    copy_user(text, (void *)from, site - from + 16))
		return 0;
	for (at = from + 2; at < site; at += n) {
		const u8 *p = text + (at - from);

		n = branch(p);
		if (n) {
			head = 0;
			continue;
		}
		n = simple(p, text + (site - from) + 16, &rel);
		if (!n)
			return 0;
		if (n >= 5 && site - at <= HEAD_MAX && !head)
			head = site - at;
	}
	return at == site ? head : 0;
}

/*
 * Writes the slot's code for the call at @site, the bytes before which are
 * @b[0 … HEAD_MAX), behind another one, and followed by 16.  Returns how many
 * of these it has copied, which is where the jump goes; 0: none of the forms.
 */
static int compose(struct slot *s, struct slot *real, u64 site, const u8 *b,
		   u64 nr)
{
	static const u8 form3[14] = {
		0x48, 0x8b, 0x74, 0x24, 0x10, 0x41, 0x89, 0xc0, 0x8b,
		0x7c, 0x24, 0x08, 0x31, 0xc0,
	};
	const u8 *end = b + 1 + HEAD_MAX;
	u8 *p = s->code;
	int head, i;
	u64 at;

#define REAL	(real->code + (p - s->code))
	s->form = 1;
	head = from_number(end, nr);
	if (!head && end[-5] == 0x4c && end[-4] == 0x8b && end[-3] == 0x4c &&
	    end[-2] == 0x24 && end[-1] == 0x08)
		head = 5;
	if (!head && !nr) {
		for (i = 0; i < 14 && end[i - 14] == form3[i]; i++)
			;
		head = i == 14 ? 14 : 0;
	}
	if (!head && !nr && end[-11] == 0x80 && end[-10] == 0x3d &&
	    end[-5] == 0 && end[-4] == 0x74 && end[-2] == 0x31 &&
	    end[-1] == 0xc0) {
		head = 11;
		s->form = 2;
		/* cmpb: the byte compared with comes behind the address. */
		at = site - 4 + *(const int *)(end - 9);
		if (!near(at, (u64)real))
			return 0;
		p = put_rel(p, REAL + 1, "\x80\x3d", 2, at);
		*p++ = 0;
		at = site - 2 + (signed char)end[-3];
		p = put_rel(p, REAL, "\x0f\x84", 2, at);
		*p++ = 0x31;
		*p++ = 0xc0;
	} else {
		if (!head)
			head = from_neighbour(site);
		if (!head || !move(p, REAL, end, head, site))
			return 0;
		p += head;
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
	u8 bytes[1 + HEAD_MAX + 16], jump[5] = { 0xe9 };
	u64 *hopeless = &rw.hopeless[site % HOPELESS];
	u32 area;
	int head;

	if (rw.off || (++rw.traps < HOT && me.rewrite[0] != 'n'))
		return;
	if (me.rewrite[0] == 'o') {
		rw.off = 1;
		return;
	}
	if (*hopeless == site)
		return;
	if (__atomic_exchange_n(&rw.lock, 1, __ATOMIC_ACQUIRE))
		return;
	*hopeless = site;
	if (!rw.n) {
		find_ranges();
		rw.off = !rw.n;
	}
	if (rw.off || !in_range(site - HEAD_MAX - 1, site + 16) ||
	    copy_user(bytes, (void *)(site - HEAD_MAX - 1), sizeof(bytes)))
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
	if (!patch(site - head, jump, sizeof(jump))) {
		rw.area[area].used--;
		goto out;
	}
	/* What comes behind it can be read now. */
	memset(rw.hopeless, 0, sizeof(rw.hopeless));
out:
	__atomic_store_n(&rw.lock, 0, __ATOMIC_RELEASE);
}

/*
 * The child of fork has only the thread that forked.  What was rewritten it has
 * as well; for what else it calls it may not live long enough, as where it is
 * there to exec.
 */
void rewrite_after_fork(void)
{
	rw.lock = 0;
	rw.traps = 0;
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
	if (s->form == 2)
		return at < 7 ? s->site - 11 : at < 13 ? s->site - 4 :
		       s->site - 2;
	return s->site - s->call + at;
}
