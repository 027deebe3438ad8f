// SPDX-License-Identifier: GPL-2.0-only
/*
 * taprelay NETNS DEV NETNS DEV: carries frames between two TAP devices of
 * two network namespaces (paths).
 *
 * What it joins is the host's own network stack behind a TAP: the least that
 * a kernel in user space, which must use one too, can be compared with.  Both
 * ends take checksum and segmentation offload, so a frame has up to 64 KB.
 * Prints "ready".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Frames of one direction before the other gets its turn. */
#define BURST	64

static void die(const char *what)
{
	fprintf(stderr, "taprelay: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_tap(const char *netns, const char *name)
{
	unsigned int offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 |
				TUN_F_TSO_ECN;
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI |
					  IFF_VNET_HDR };
	int ns = open(netns, O_RDONLY | O_CLOEXEC), tap;

	if (ns < 0 || setns(ns, CLONE_NEWNET))
		die(netns);
	close(ns);
	tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tap < 0)
		die("/dev/net/tun");
	strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(tap, TUNSETIFF, &ifr) ||
	    ioctl(tap, TUNSETOFFLOAD, offloads))
		die(name);
	return tap;
}

static void carry(int from, int to)
{
	static char frame[128 * 1024];
	ssize_t n;
	int i;

	for (i = 0; i < BURST; i++) {
		n = read(from, frame, sizeof(frame));
		if (n <= 0)
			return;
		/* A frame that the device refuses is lost, as on a wire. */
		if (write(to, frame, n) < 0 && errno == EBADFD)
			die("write");
	}
}

int main(int argc, char **argv)
{
	struct pollfd end[2];

	if (argc != 5) {
		fprintf(stderr, "usage: taprelay NETNS DEV NETNS DEV\n");
		return 125;
	}
	end[0].fd = open_tap(argv[1], argv[2]);
	end[1].fd = open_tap(argv[3], argv[4]);
	end[0].events = end[1].events = POLLIN;
	puts("ready");
	fflush(stdout);
	for (;;) {
		if (poll(end, 2, -1) < 0)
			die("poll");
		if (end[0].revents)
			carry(end[0].fd, end[1].fd);
		if (end[1].revents)
			carry(end[1].fd, end[0].fd);
	}
}
