// SPDX-License-Identifier: GPL-2.0-only
/*
 * Programs for the tests of interfaces: one end of a conversation each.
 *
 * devices CONTROL address IFNAME IP	gives the interface IP/24, brings it up
 * devices CONTROL mtu IFNAME N
 * devices CONTROL flap IFNAME N	takes it down and brings it up, N times
 * devices CONTROL statistic IFNAME NAME	prints one of ethtool -S
 * devices CONTROL answer PORT N	serves N clients: what they send comes back
 * devices CONTROL ask IP PORT BYTES	sends a pattern and checks what returns
 * devices CONTROL pour PORT N	sends N numbers to the first client
 * devices CONTROL datagrams IP PORT N SIZE	the same with UDP
 * devices CONTROL answer_datagrams PORT N	serves N of them
 */
#include "kit.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>

#define CHUNK	65536

static long number(int i)
{
	char *end;
	long n;

	if (!arguments[i])
		kit_fail("argument %d is missing", i + 1);
	n = strtol(arguments[i], &end, 10);
	if (*end)
		kit_fail("%s is not a number", arguments[i]);
	return n;
}

static struct sockaddr_in ip_port(const char *ip, int port)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
	};

	check_eq(inet_pton(AF_INET, ip, &sin.sin_addr), 1);
	return sin;
}

static void if_ioctl(struct ifreq *ifr, unsigned long request)
{
	int s = good(CALL(socket, AF_INET, SOCK_DGRAM, 0));

	strncpy(ifr->ifr_name, arguments[0], IFNAMSIZ - 1);
	good(CALL(ioctl, s, request, ifr));
	good(CALL(close, s));
}

TEST(address)
{
	struct sockaddr_in ip = ip_port(arguments[1], 0);
	struct sockaddr_in mask = ip_port("255.255.255.0", 0);
	struct ifreq ifr = { 0 };

	memcpy(&ifr.ifr_addr, &ip, sizeof(ip));
	if_ioctl(&ifr, SIOCSIFADDR);
	memcpy(&ifr.ifr_netmask, &mask, sizeof(mask));
	if_ioctl(&ifr, SIOCSIFNETMASK);
	ifr.ifr_flags = IFF_UP;
	if_ioctl(&ifr, SIOCSIFFLAGS);
}

TEST(mtu)
{
	struct ifreq ifr = { .ifr_mtu = number(1) };

	if_ioctl(&ifr, SIOCSIFMTU);
}

TEST(flap)
{
	struct timespec pause = { 0, 20000000 };
	struct ifreq ifr = { 0 };
	long i;

	for (i = 0; i < 2 * number(1); i++) {
		ifr.ifr_flags = i % 2 ? IFF_UP : 0;
		if_ioctl(&ifr, SIOCSIFFLAGS);
		if (i % 2)
			nanosleep(&pause, NULL);
	}
}

TEST(statistic)
{
	static struct {
		struct ethtool_gstrings head;
		char name[64][ETH_GSTRING_LEN];
	} names = { .head = { ETHTOOL_GSTRINGS, ETH_SS_STATS } };
	static struct {
		struct ethtool_stats head;
		uint64_t value[64];
	} values = { .head = { ETHTOOL_GSTATS } };
	struct ifreq ifr = { 0 };
	unsigned int i;

	ifr.ifr_data = (void *)&names;
	if_ioctl(&ifr, SIOCETHTOOL);
	ifr.ifr_data = (void *)&values;
	if_ioctl(&ifr, SIOCETHTOOL);
	for (i = 0; i < names.head.len && i < 64; i++)
		if (!strcmp(names.name[i], arguments[1])) {
			printf("%llu\n", (unsigned long long)values.value[i]);
			return;
		}
	kit_fail("there is no statistic %s", arguments[1]);
}

static unsigned char pattern(long at)
{
	return (at * 2654435761u) >> 24;
}

static int listen_any(int port)
{
	struct sockaddr_in any = ip_port("0.0.0.0", port);
	int one = 1;
	int s = good(CALL(socket, AF_INET, SOCK_STREAM, 0));

	good(CALL(setsockopt, s, SOL_SOCKET, SO_REUSEADDR, &one,
		  sizeof(one)));
	good(CALL(bind, s, &any, sizeof(any)));
	good(CALL(listen, s, 16));
	return s;
}

TEST(answer)
{
	static char buf[CHUNK];
	int l = listen_any(number(0)), i, s;
	long clients = number(1), n, done;

	printf("ready\n");
	fflush(stdout);
	for (i = 0; i < clients; i++) {
		s = good(CALL(accept4, l, 0, 0, 0));
		while ((n = good(CALL(read, s, buf, CHUNK))))
			for (done = 0; done < n;)
				done += good(CALL(write, s, buf + done,
						  n - done));
		good(CALL(close, s));
	}
}

struct asker {
	struct kit_thread thread;
	int socket;
	long bytes;
};

static void send_pattern(void *arg)
{
	static char buf[CHUNK];
	struct asker *a = arg;
	long at, n, i;

	for (at = 0; at < a->bytes; at += n) {
		n = a->bytes - at < CHUNK ? a->bytes - at : CHUNK;
		for (i = 0; i < n; i++)
			buf[i] = pattern(at + i);
		n = good(CALL(write, a->socket, buf, n));
	}
	good(CALL(shutdown, a->socket, SHUT_WR));
}

TEST(pour)
{
	static uint64_t buf[2 * CHUNK / sizeof(uint64_t)];
	const long room = sizeof(buf) / sizeof(buf[0]);
	int l = listen_any(number(0)), s;
	long count = number(1), at, n, i, done;

	printf("ready\n");
	fflush(stdout);
	s = good(CALL(accept4, l, 0, 0, 0));
	for (at = 0; at < count; at += n) {
		n = count - at < room ? count - at : room;
		for (i = 0; i < n; i++)
			buf[i] = at + i;
		for (done = 0; done < n * 8;)
			done += good(CALL(write, s, (char *)buf + done,
					  n * 8 - done));
	}
	good(CALL(close, s));
}

TEST(ask)
{
	static unsigned char buf[CHUNK];
	struct sockaddr_in to = ip_port(arguments[0], number(1));
	struct asker a = { .bytes = number(2) };
	long at = 0, n, i;

	a.socket = good(CALL(socket, AF_INET, SOCK_STREAM, 0));
	good(CALL(connect, a.socket, &to, sizeof(to)));
	kit_start(&a.thread, send_pattern, &a);
	while ((n = good(CALL(read, a.socket, buf, CHUNK)))) {
		for (i = 0; i < n; i++)
			if (buf[i] != pattern(at + i))
				kit_fail("byte %ld came back wrong", at + i);
		at += n;
	}
	kit_join(&a.thread);
	check_eq(at, a.bytes);
}

TEST(answer_datagrams)
{
	static char buf[CHUNK];
	struct sockaddr_in any = ip_port("0.0.0.0", number(0)), from;
	long n, i, count = number(1);
	socklen_t len;
	int s = good(CALL(socket, AF_INET, SOCK_DGRAM, 0));

	good(CALL(bind, s, &any, sizeof(any)));
	printf("ready\n");
	fflush(stdout);
	for (i = 0; i < count; i++) {
		len = sizeof(from);
		n = good(CALL(recvfrom, s, buf, CHUNK, 0, &from, &len));
		good(CALL(sendto, s, buf, n, 0, &from, len));
	}
}

TEST(datagrams)
{
	static unsigned char buf[CHUNK];
	struct sockaddr_in to = ip_port(arguments[0], number(1));
	long count = number(2), size = number(3), i, j;
	int s = good(CALL(socket, AF_INET, SOCK_DGRAM, 0));
	struct timeval patience = { .tv_sec = 10 };

	good(CALL(setsockopt, s, SOL_SOCKET, SO_RCVTIMEO, &patience,
		  sizeof(patience)));
	good(CALL(connect, s, &to, sizeof(to)));
	for (i = 0; i < count; i++) {
		for (j = 0; j < size; j++)
			buf[j] = pattern(i + j);
		check_eq(CALL(write, s, buf, size), size);
		memset(buf, 0, size);
		check_eq(CALL(read, s, buf, CHUNK), size);
		for (j = 0; j < size; j++)
			if (buf[j] != pattern(i + j))
				kit_fail("datagram %ld: byte %ld is wrong", i,
					 j);
	}
}
