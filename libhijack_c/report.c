// SPDX-License-Identifier: GPL-2.0-only
/*
 * UKL_REPORT=MEMORY,SOCKET: counts calls, for --report.
 *
 * Both are descriptors, which exec passes on.  All processes of the run count
 * in the one memory.  The launcher has left a process behind that makes a text
 * of it: when the first process of the run ends, which says so and waits for
 * it, and when nobody has the socket any more.
 */
#include "fd.h"
#include "report.h"

#include <fcntl.h>
#include <linux/mman.h>
#include <sys/socket.h>

#define OTHERS		(REPORT_CALLS - 1)
#define SEEN		1024
#define WAIT_SECONDS	10

static NEAR struct report *report;

/* Where the sites of this process are counted: place + 1, or 0. */
static struct { u64 site; u32 place; } seen[SEEN];
static NEAR u32 seen_lock;

static void add(u64 *n)
{
	__atomic_fetch_add(n, 1, __ATOMIC_RELAXED);
}

/* After the attachment. */
void report_start(struct ctx *c)
{
	const char *second = me.report;
	long p;

	if (!me.report[0])
		return;
	while (*second && *second != ',')
		second++;
	me.report_fd = num_parse(me.report);
	me.report_socket = *second ? (int)num_parse(second + 1) : -1;
	p = RAW6(__NR_mmap, 0, sizeof(*report), PROT_READ | PROT_WRITE,
		 MAP_SHARED, me.report_fd, 0);
	if (is_err(p) || ((struct report *)p)->magic != REPORT_MAGIC)
		give_up("UKL_REPORT: not a report's memory: ", me.report, "");
	report = (struct report *)p;
	hide_report();
	num_put(str_put(num_put(me.report, me.report + sizeof(me.report),
				me.report_fd),
			me.report + sizeof(me.report), ","),
		me.report + sizeof(me.report), me.report_socket);
	me.watched |= WATCH_REPORT;
	(void)c;
}

static u8 who(struct ctx *c, long ret)
{
	if (c->refused && is_err(ret))
		return BY_UKL;
	return c->lib_used ? BY_LIBRARY : BY_HOST;
}

void report_error(struct ctx *c, u64 nr, long ret)
{
	struct report_error *e;
	u64 key, old;
	u32 i, at;

	if (nr > OTHERS)
		nr = OTHERS;
	key = 1UL << 63 | (u64)who(c, ret) << 32 | nr << 16 | (u64)-ret;
	at = (key * 0x9e3779b97f4a7c15UL) >> 52;
	for (i = 0; i < 64; i++) {
		e = &report->errors[(at + i) % REPORT_ERRORS];
		old = 0;
		if (e->key == key ||
		    __atomic_compare_exchange_n(&e->key, &old, key, false,
						__ATOMIC_RELAXED,
						__ATOMIC_RELAXED) ||
		    old == key) {
			add(&e->n);
			return;
		}
	}
	add(&report->lost_errors);
}

void report_call(struct ctx *c, u64 nr, long ret)
{
	add(&report->calls[who(c, ret)][nr < OTHERS ? nr : OTHERS]);
	if (is_err(ret))
		report_error(c, nr, ret);
}

/* ------------------------------------------------------------------ */

static const char *hex(const char *p, u64 *n)
{
	for (*n = 0; (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f'); p++)
		*n = *n * 16 + (*p <= '9' ? *p - '0' : *p - 'a' + 10);
	return p;
}

/* Is @line, of /proc/self/maps, the mapping of @at?  Then of what file. */
static bool is_mapping(const char *line, u64 at, struct report_site *s)
{
	u64 from, to, skip;
	const char *p = hex(line, &from);

	p = hex(p + (*p == '-'), &to);
	if (at < from || at >= to)
		return false;
	while (*p == ' ')
		p++;
	while (*p && *p != ' ')		/* rights */
		p++;
	p = hex(p + (*p == ' '), &skip);
	while (*p && *p != '/')
		p++;
	str_put(s->path, s->path + sizeof(s->path), p);
	s->offset = *p ? at - from + skip : at;
	return true;
}

/* Fills in offset and path of @at. */
static void locate(u64 at, struct report_site *s)
{
	char buf[512], line[512], *end = line + sizeof(line) - 1, *p = line;
	bool found = false;
	long fd, n, i;

	s->offset = at;
	s->path[0] = 0;
	fd = RAW4(__NR_openat, AT_FDCWD, "/proc/self/maps",
		  O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return;
	while (!found && (n = RAW3(__NR_read, fd, buf, sizeof(buf))) > 0) {
		for (i = 0; i < n && !found; i++) {
			if (buf[i] != '\n') {
				if (p < end)
					*p++ = buf[i];
				continue;
			}
			*p = 0;
			p = line;
			found = is_mapping(line, at, s);
		}
	}
	RAW1(__NR_close, fd);
}

/* The place of a site that this process has not seen yet; 0: no room. */
static u32 place_of(u64 at, u64 nr)
{
	struct report_site found = { 0 }, *s;
	u64 key, old;
	const char *p;
	u32 i, n;

	locate(at, &found);
	key = found.offset * 0x9e3779b97f4a7c15UL;
	for (p = found.path; *p; p++)
		key = (key ^ (u8)*p) * 0x100000001b3UL;
	key |= 1;
	for (i = 0; i < 64; i++) {
		n = ((key >> 40) + i) % REPORT_SITES;
		s = &report->sites[n];
		old = 0;
		if (__atomic_compare_exchange_n(&s->key, &old, key, false,
						__ATOMIC_RELAXED,
						__ATOMIC_RELAXED)) {
			s->offset = found.offset;
			s->call = nr;
			memcpy(s->path, found.path, sizeof(s->path));
			__atomic_store_n(&s->ready, 1, __ATOMIC_RELEASE);
			return n + 1;
		}
		if (old == key)
			return n + 1;
	}
	return 0;
}

/* In the handler: a trap at @site. */
void report_trap(u64 site, u64 nr)
{
	u32 i, at = (site * 0x9e3779b97f4a7c15UL) >> 54, place = 0;
	struct report_site *s;

	for (i = 0; i < SEEN; i++) {
		at = (at + 1) % SEEN;
		if (seen[at].site == site)
			place = seen[at].place;
		if (seen[at].site == site || !seen[at].site)
			break;
	}
	if (!place) {
		/* Another thread is looking for one: two lines at worst. */
		place = place_of(site, nr);
		if (place && i < SEEN &&
		    !__atomic_exchange_n(&seen_lock, 1, __ATOMIC_ACQUIRE)) {
			if (!seen[at].site) {
				seen[at].place = place;
				__atomic_store_n(&seen[at].site, site,
						 __ATOMIC_RELEASE);
			}
			__atomic_store_n(&seen_lock, 0, __ATOMIC_RELEASE);
		}
	}
	if (!place) {
		add(&report->lost_traps);
		return;
	}
	s = &report->sites[place - 1];
	add(&s->n);
	if (s->call != (long)nr)
		s->call = -1;
}

/* The child of fork has only the thread that forked. */
void report_after_fork(void)
{
	seen_lock = 0;
}

/* Before the process ends: the first of the run waits for the text. */
void report_end(void)
{
	const struct { long sec, usec; } patience = { WAIT_SECONDS, 0 };
	char word = 'x';

	if (!report || me.report_socket < 0 ||
	    RAW0(__NR_getpid) != report->root)
		return;
	RAW5(__NR_setsockopt, me.report_socket, SOL_SOCKET, SO_RCVTIMEO,
	     &patience, sizeof(patience));
	if (RAW6(__NR_sendto, me.report_socket, &word, 1, MSG_NOSIGNAL, 0,
		 0) == 1)
		RAW6(__NR_recvfrom, me.report_socket, &word, 1, 0, 0, 0);
}
