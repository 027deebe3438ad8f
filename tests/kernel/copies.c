// SPDX-License-Identifier: GPL-2.0-only
/*
 * Long copies of user memory, which are made without the library kernel's CPU
 * while others on other host CPUs want it.
 */
#include "kit.h"

#define LONG	(96 * 1024)
#define ROUNDS	400

static int stop;

/* Wants the CPU all the time. */
static void hammer(void *unused)
{
	(void)unused;
	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST))
		check(CALL(getppid) >= 0);
}

static void connected(int pair[2])
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	int listener = good(CALL(socket, AF_INET, SOCK_STREAM, 0));
	int size = sizeof(sin);

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	good(CALL(bind, listener, &sin, sizeof(sin)));
	good(CALL(listen, listener, 1));
	good(CALL(getsockname, listener, &sin, &size));
	pair[0] = good(CALL(socket, AF_INET, SOCK_STREAM, 0));
	good(CALL(connect, pair[0], &sin, sizeof(sin)));
	pair[1] = good(CALL(accept, listener, 0, 0));
	good(CALL(close, listener));
}

static unsigned char pattern(size_t at)
{
	return (at * 2654435761u) >> 13;
}

static void check_pattern(const unsigned char *data, size_t from, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++)
		if (data[i] != pattern(from + i))
			kit_fail("byte %zu is %d, should be %d", from + i,
				 data[i], pattern(from + i));
}

static int pair[2];

static void receive(void *unused)
{
	static unsigned char data[LONG];
	size_t at = 0;
	long n;

	(void)unused;
	while ((n = good(CALL(read, pair[1], data, sizeof(data))))) {
		check_pattern(data, at, n);
		at += n;
	}
	check_eq(at, (size_t)ROUNDS * LONG);
}

static void fill(unsigned char *data, size_t from, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++)
		data[i] = pattern(from + i);
}

TEST(long_copies_are_whole)
{
	struct kit_thread others[2], reader;
	static unsigned char data[LONG];
	size_t at = 0, end;
	int i;

	connected(pair);
	kit_start(&reader, receive, NULL);
	for (i = 0; i < 2; i++)
		kit_start(&others[i], hammer, NULL);
	for (i = 0; i < ROUNDS; i++) {
		fill(data, at, LONG);
		end = at + LONG;
		while (at < end)
			at += good(CALL(write, pair[0], data + LONG -
					(end - at), end - at));
	}
	good(CALL(shutdown, pair[0], SHUT_WR));
	kit_join(&reader);
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < 2; i++)
		kit_join(&others[i]);
}

#define STREAMS		3
#define LONGEST		(400 * 1024)
#define WRITES		1500

static struct stream {
	struct kit_thread reader;
	int pair[2];
	size_t sent;
} streams[STREAMS];

static void read_stream(void *arg)
{
	struct stream *s = arg;
	unsigned char *data = malloc(LONGEST);
	size_t at = 0;
	long n;

	while ((n = good(CALL(read, s->pair[1], data, LONGEST)))) {
		check_pattern(data, at, n);
		at += n;
	}
	free(data);
	check_eq(at, s->sent);
}

/* One thread writes now here, now there, from one buffer and from others. */
TEST(long_writes_of_all_lengths)
{
	unsigned char *data = malloc(LONGEST), *other = malloc(LONGEST), *from;
	struct stream *s = streams;
	unsigned int seed = 1;
	size_t size, done;
	long n;
	int i;

	connected(streams[0].pair);
	connected(streams[1].pair);
	good(CALL(socketpair, AF_UNIX, SOCK_STREAM, 0, streams[2].pair));
	good(CALL(fcntl, streams[1].pair[0], F_SETFL, O_NONBLOCK));
	for (i = 0; i < STREAMS; i++)
		kit_start(&streams[i].reader, read_stream, &streams[i]);
	for (i = 0; i < WRITES; i++) {
		/* Mostly the same one again, mostly of the same length. */
		if (rand_r(&seed) % 4 == 0)
			s = &streams[rand_r(&seed) % STREAMS];
		size = rand_r(&seed) % 2 ? LONG : rand_r(&seed) % LONGEST + 1;
		from = rand_r(&seed) % 8 ? data : other;
		fill(from, s->sent, size);
		for (done = 0; done < size; done += n) {
			n = rand_r(&seed) % 2 ?
			    CALL(write, s->pair[0], from + done, size - done) :
			    CALL(sendto, s->pair[0], from + done, size - done,
				 rand_r(&seed) % 2 ? MSG_DONTWAIT : 0, 0, 0);
			if (n != -EAGAIN)
				good(n);
			else if (rand_r(&seed) % 8)
				n = 0;
			else
				break;
		}
		s->sent += done;
	}
	for (i = 0; i < STREAMS; i++)
		good(CALL(shutdown, streams[i].pair[0], SHUT_WR));
	for (i = 0; i < STREAMS; i++)
		kit_join(&streams[i].reader);
	free(other);
	free(data);
}

/* The last page of such a buffer is not there. */
TEST(long_copies_fault)
{
	unsigned char *data = mmap(NULL, LONG + 4096, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static unsigned char got[LONG];
	struct kit_thread others[2];
	long sent, n, part;
	int i;

	check(data != MAP_FAILED);
	check(!mprotect(data + LONG, 4096, PROT_NONE));
	connected(pair);
	for (i = 0; i < 2; i++)
		kit_start(&others[i], hammer, NULL);
	for (i = 0; i < ROUNDS; i++) {
		fill(data, 0, LONG);
		sent = CALL(sendto, pair[0], data, LONG + 4096, MSG_DONTWAIT,
			    0, 0);
		check(sent > 0 || sent == -EFAULT || sent == -EAGAIN);
		check(sent <= LONG);
		for (n = 0; n < sent; n += part)
			part = good(CALL(read, pair[1], got + n, sent - n));
		check_pattern(got, 0, sent < 0 ? 0 : sent);

		sent = CALL(sendto, pair[0], data, LONG, MSG_DONTWAIT, 0, 0);
		if (sent < 0)
			continue;
		/* From a page before the end: the most that can be had. */
		part = CALL(read, pair[1], data + LONG - 32768, 65536);
		check(part == -EFAULT || (part > 0 && part <= 32768));
		n = part < 0 ? 0 : part;
		check_pattern(data + LONG - 32768, 0, n);
		for (; n < sent; n += part) {
			part = good(CALL(read, pair[1], got, sent - n));
			check_pattern(got, n, part);
		}
	}
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < 2; i++)
		kit_join(&others[i]);
}

#define VECTORS	4

struct vectors {
	unsigned char before[VECTORS][32], after[VECTORS][32];
};

/* ukl_syscall() with three arguments, and these in the vector registers. */
long with_vectors(struct vectors *v, struct ukl_thread *th, long nr, long a,
		  const void *b, long c);
__asm__(".text\n"
	"with_vectors:\n"
	"	push	%rbx\n"
	"	mov	%rdi, %rbx\n"
	"	mov	%rsi, %rdi\n"
	"	mov	%rdx, %rsi\n"
	"	mov	%rcx, %rdx\n"
	"	mov	%r8, %rcx\n"
	"	mov	%r9, %r8\n"
	"	xor	%r9d, %r9d\n"
	"	push	$0\n"
	"	push	$0\n"
	"	vmovdqu	(%rbx), %ymm0\n"
	"	vmovdqu	32(%rbx), %ymm1\n"
	"	vmovdqu	64(%rbx), %ymm2\n"
	"	vmovdqu	96(%rbx), %ymm3\n"
	"	call	ukl_syscall\n"
	"	vmovdqu	%ymm0, 128(%rbx)\n"
	"	vmovdqu	%ymm1, 160(%rbx)\n"
	"	vmovdqu	%ymm2, 192(%rbx)\n"
	"	vmovdqu	%ymm3, 224(%rbx)\n"
	"	vzeroupper\n"
	"	add	$16, %rsp\n"
	"	pop	%rbx\n"
	"	ret\n");

/* A system call keeps them, faults and other threads or not. */
TEST(long_copies_keep_vectors)
{
	unsigned char *data = mmap(NULL, LONG + 4096, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kit_thread others[2];
	struct vectors v;
	long sent, n, part;
	int i;

	check(data != MAP_FAILED);
	check(!mprotect(data + LONG, 4096, PROT_NONE));
	check(__builtin_cpu_supports("avx"));
	connected(pair);
	for (i = 0; i < 2; i++)
		kit_start(&others[i], hammer, NULL);
	for (i = 0; i < ROUNDS; i++) {
		memset(&v, 0, sizeof(v));
		fill(v.before[0], i, sizeof(v.before));
		sent = with_vectors(&v, me, SYS_write, pair[0], data,
				    LONG + i % 2 * 4096 - i);
		check(sent > 0);
		check(!memcmp(v.before, v.after, sizeof(v.before)));
		for (n = 0; n < sent; n += part) {
			memset(v.after, 0, sizeof(v.after));
			part = with_vectors(&v, me, SYS_read, pair[1],
					    data + i % 64, LONG - 64);
			check(part > 0);
			check(!memcmp(v.before, v.after, sizeof(v.before)));
		}
	}
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < 2; i++)
		kit_join(&others[i]);
}

/* What the processor knows of unused halves: bit 2 of XINUSE. */
static int upper_halves_in_use(void)
{
	unsigned int low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
	return low & 4;
}

/* Upper halves that nobody has used are unused afterwards. */
TEST(long_copies_leave_upper_halves_unused)
{
	static unsigned char data[LONG];
	long n, part;
	int i, seen = 0;

	check(__builtin_cpu_supports("avx"));
	connected(pair);
	for (i = 0; i < ROUNDS; i++) {
		__asm__ volatile("vzeroupper" : : : "memory");
		if (upper_halves_in_use())
			continue;
		seen++;
		n = good(CALL(write, pair[0], data, LONG));
		check(!upper_halves_in_use());
		for (; n; n -= part) {
			part = good(CALL(read, pair[1], data, n));
			check(!upper_halves_in_use());
		}
	}
	check(seen);
}
