// SPDX-License-Identifier: GPL-2.0-only
/*
 * netserve CONTROL IP PORT IFNAME: the side under test of the device rows.
 *
 * Serves one client at a time on one thread, with blocking calls: the first
 * byte of a TCP connection says what it wants (netload.c is the client).
 *
 *	'e' echo: every byte comes back
 *	'i' bulk in: reads to the end, then answers with the byte count
 *	'o' bulk out: writes until the client goes, as many bytes at a time
 *	    as the 32-bit number says that follows
 *	'u' echoes datagrams at the same port until the connection ends
 *	'q' the server ends: a process that is killed inside a library
 *	    kernel takes the instance along
 *
 * On a library kernel it first gives IFNAME the address IP/24.  Prints
 * "ready" when it listens.
 */
#include "call.h"

#include <signal.h>

#define CONGESTION	"cubic"
#define BULK_SIZE	(128 * 1024)

static char buffer[BULK_SIZE];

#ifdef UKL_SIDE
static void configure(const char *ip, const char *name)
{
	struct sockaddr_in sin = address(ip, 0);
	struct ifreq ifr = { 0 };
	int s = MUST(SYS_socket, AF_INET, SOCK_DGRAM, 0);

	strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	memcpy(&ifr.ifr_addr, &sin, sizeof(sin));
	MUST(SYS_ioctl, s, SIOCSIFADDR, &ifr);
	sin = address("255.255.255.0", 0);
	memcpy(&ifr.ifr_netmask, &sin, sizeof(sin));
	MUST(SYS_ioctl, s, SIOCSIFNETMASK, &ifr);
	MUST(SYS_close, s);
	if_up(name);
}
#else
/* The test bed has done it. */
static void configure(const char *ip, const char *name)
{
	(void)ip;
	(void)name;
}
#endif

static void echo(int s)
{
	long n;

	while ((n = CALL(SYS_read, s, buffer, sizeof(buffer))) > 0)
		if (CALL(SYS_write, s, buffer, n) != n)
			break;
}

static void bulk_in(int s)
{
	uint64_t bytes = 0;
	long n;

	while ((n = CALL(SYS_read, s, buffer, sizeof(buffer))) > 0)
		bytes += n;
	CALL(SYS_write, s, &bytes, sizeof(bytes));
}

static void bulk_out(int s)
{
	uint32_t size;

	if (CALL(SYS_read, s, &size, sizeof(size)) != sizeof(size) ||
	    size > sizeof(buffer))
		return;
	while (CALL(SYS_write, s, buffer, size) > 0)
		;
}

/* Ends when the client has closed the connection. */
static void udp_echo(int s, int udp)
{
	struct timeval patience = { .tv_usec = 200000 };
	struct sockaddr_in from;
	char byte;
	int len;
	long n;

	MUST(SYS_setsockopt, udp, SOL_SOCKET, SO_RCVTIMEO, &patience,
	     sizeof(patience));
	MUST(SYS_write, s, "", 1);
	for (;;) {
		len = sizeof(from);
		n = CALL(SYS_recvfrom, udp, buffer, sizeof(buffer), 0, &from,
			 &len);
		if (n > 0)
			CALL(SYS_sendto, udp, buffer, n, 0, &from, len);
		else if (CALL(SYS_recvfrom, s, &byte, 1, MSG_DONTWAIT, 0,
			      0) != -EAGAIN)
			return;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in sin;
	int listener, udp, s;
	char what;

	if (argc != 5) {
		fprintf(stderr, "usage: %s CONTROL IP PORT IFNAME\n", argv[0]);
		return 125;
	}
	signal(SIGPIPE, SIG_IGN);
	side_begin(argv[1]);
	configure(argv[2], argv[4]);

	sin = address(argv[2], atoi(argv[3]));
	listener = tcp_socket(CONGESTION);
	set_option(listener, SOL_SOCKET, SO_REUSEADDR, 1);
	MUST(SYS_bind, listener, &sin, sizeof(sin));
	MUST(SYS_listen, listener, 8);
	udp = MUST(SYS_socket, AF_INET, SOCK_DGRAM, 0);
	MUST(SYS_bind, udp, &sin, sizeof(sin));
	puts("ready");
	fflush(stdout);

	do {
		s = MUST(SYS_accept, listener, 0, 0);
		what = 0;
		CALL(SYS_read, s, &what, 1);
		switch (what) {
		case 'e': echo(s); break;
		case 'i': bulk_in(s); break;
		case 'o': bulk_out(s); break;
		case 'u': udp_echo(s, udp); break;
		}
		CALL(SYS_close, s);
	} while (what != 'q');
	side_end();
	return 0;
}
