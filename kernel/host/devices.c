// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host side of interfaces.
 *
 * A device is written KIND[,KEY=VALUE]...: the keys of every kind are
 *   name=IFNAME	inside the instance (default eth0, eth1, …)
 *   mac=XX:XX:XX:XX:XX:XX
 *   mtu=N
 * and the kinds are
 *   tap,host=IFNAME	a TAP device of the host, made if missing (needs
 *			CAP_NET_ADMIN) or attached to; with netns=FILE in
 *			that network namespace
 *   tap,fd=N		one that is open already, with IFF_VNET_HDR
 *   fd,fd=N		a frame per datagram
 *   stream,fd=N	a 32-bit big-endian length before each frame: what
 *			QEMU's and passt's stream sockets carry
 *   wire,segment=DIR	one end of the segment that lives in directory DIR:
 *			every instance with the same DIR is on it
 *   user[,…]		the way out by the host's sockets: see user.c
 *
 * A segment is a directory of datagram sockets, one per end; a frame is a
 * datagram to one of them or to all.  There is no process in the middle.
 */
#define _GNU_SOURCE
#include "host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define VNET_HDR_SIZE	10

struct spec {
	const char *text;	/* for messages */
	char host[IFNAMSIZ];
	char *segment, *netns;
	int fd;
};

static struct {
	struct sockaddr_un self;	/* sun_path empty: not a wire */
	int inotify;
} wires[UKL_MAX_DEVS];

static char wire_dirs[UKL_MAX_DEVS][96];

static int set_offloads(int fd, const char *text)
{
	int size = VNET_HDR_SIZE;

	if (ioctl(fd, TUNSETVNETHDRSZ, &size) ||
	    ioctl(fd, TUNSETOFFLOAD,
		  TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN))
		fail("--device %s: not a TAP device with IFF_VNET_HDR: %s",
		     text, strerror(errno));
	return fd;
}

static int open_or_fail(const struct spec *s, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		fail("--device %s: %s: %s", s->text, path, strerror(errno));
	return fd;
}

/* A device belongs to the network namespace of whoever opens /dev/net/tun. */
static int open_tun(const struct spec *s)
{
	int mine, theirs, fd, err;

	if (!s->netns)
		return open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	mine = open_or_fail(s, "/proc/thread-self/ns/net");
	theirs = open_or_fail(s, s->netns);
	if (setns(theirs, CLONE_NEWNET))
		fail("--device %s: network namespace %s: %s%s", s->text,
		     s->netns, strerror(errno), errno == EPERM ?
		     " (entering one needs CAP_SYS_ADMIN)" : "");
	close(theirs);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	err = errno;
	if (setns(mine, CLONE_NEWNET))
		fail("--device %s: back from network namespace %s: %s",
		     s->text, s->netns, strerror(errno));
	close(mine);
	errno = err;
	return fd;
}

static int open_tap(const struct spec *s)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI |
					  IFF_VNET_HDR };
	int fd = s->fd;

	if (fd < 0) {
		if (!s->host[0])
			fail("--device %s: tap needs host=IFNAME or fd=N",
			     s->text);
		fd = open_tun(s);
		if (fd < 0)
			fail("--device %s: /dev/net/tun: %s (the user and "
			     "wire backends need no TAP)", s->text,
			     strerror(errno));
		memcpy(ifr.ifr_name, s->host, IFNAMSIZ);
		if (ioctl(fd, TUNSETIFF, &ifr))
			fail("--device %s: TAP device %s: %s%s", s->text,
			     s->host, strerror(errno), errno == EPERM ?
			     " (making one needs CAP_NET_ADMIN; root can give "
			     "it to you: ip tuntap add mode tap user NAME)" :
			     "");
	}
	return set_offloads(fd, s->text);
}

static int check_socket(const struct spec *s, int type)
{
	int is;
	socklen_t len = sizeof(is);

	if (s->fd < 0)
		fail("--device %s: give the socket as fd=N", s->text);
	if (getsockopt(s->fd, SOL_SOCKET, SO_TYPE, &is, &len))
		fail("--device %s: descriptor %d: %s", s->text, s->fd,
		     strerror(errno));
	if (type == SOCK_DGRAM && is == SOCK_SEQPACKET)
		is = SOCK_DGRAM;
	if (is != type)
		fail("--device %s: descriptor %d is not a %s socket", s->text,
		     s->fd, type == SOCK_STREAM ? "stream" : "datagram");
	return s->fd;
}

static void parse_mac(const char *value, struct ukl_dev *dev,
		      const char *text)
{
	unsigned int m[6];
	char end;
	int i;

	if (sscanf(value, "%2x:%2x:%2x:%2x:%2x:%2x%c", &m[0], &m[1], &m[2],
		   &m[3], &m[4], &m[5], &end) != 6 || (m[0] & 1))
		fail("--device %s: mac=%s: not the address of one interface",
		     text, value);
	for (i = 0; i < 6; i++)
		dev->mac[i] = m[i];
}

static long parse_number(const char *value, long min, long max,
			 const char *key, const char *text)
{
	char *end;
	long n = strtol(value, &end, 10);

	if (*end || end == value || n < min || n > max)
		fail("--device %s: %s=%s: give a number from %ld to %ld", text,
		     key, value, min, max);
	return n;
}

/* ------------------------------------------------------------------ */
/* Wires.								*/

static int open_wire(const struct spec *s, int slot)
{
	struct sockaddr_un *self = &wires[slot].self;
	int size = 1 << 20, fd;
	char *dir;

	if (!s->segment)
		fail("--device %s: wire needs segment=DIRECTORY", s->text);
	if (mkdir(s->segment, 0700) && errno != EEXIST)
		fail("--device %s: %s: %s", s->text, s->segment,
		     strerror(errno));
	/* All ends must spell the addresses alike. */
	dir = realpath(s->segment, NULL);
	if (!dir)
		fail("--device %s: %s: %s", s->text, s->segment,
		     strerror(errno));
	if (snprintf(wire_dirs[slot], sizeof(wire_dirs[slot]), "%s", dir) >=
	    (int)sizeof(wire_dirs[slot]))
		fail("--device %s: %s: at most %zu characters", s->text, dir,
		     sizeof(wire_dirs[slot]) - 1);
	free(dir);
	self->sun_family = AF_UNIX;
	snprintf(self->sun_path, sizeof(self->sun_path), "%s/%d.%d",
		 wire_dirs[slot], getpid(), slot);
	wires[slot].inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (wires[slot].inotify < 0 ||
	    inotify_add_watch(wires[slot].inotify, wire_dirs[slot],
			      IN_CREATE | IN_DELETE) < 0)
		fail("--device %s: inotify: %s", s->text, strerror(errno));
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		fail("--device %s: %s", s->text, strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	unlink(self->sun_path);
	if (bind(fd, (void *)self, sizeof(*self)))
		fail("--device %s: %s: %s", s->text, self->sun_path,
		     strerror(errno));
	return fd;
}

/* Does an end listen there?  One whose process was killed does not. */
static int end_lives(const struct sockaddr_un *end)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return 1;
	err = connect(fd, (const void *)end, sizeof(*end)) ? errno : 0;
	close(fd);
	if (err == ECONNREFUSED)
		unlink(end->sun_path);
	return !err;
}

int device_watch(int slot)
{
	return wires[slot].self.sun_path[0] ? wires[slot].inotify : -1;
}

void device_peers(int slot, struct ukl_wire *wire)
{
	struct sockaddr_un end = { .sun_family = AF_UNIX };
	char events[4096];
	struct dirent *e;
	DIR *dir;

	while (read(wires[slot].inotify, events, sizeof(events)) > 0)
		;
	memset(wire, 0, sizeof(*wire));
	dir = opendir(wire_dirs[slot]);
	if (!dir)
		return;
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.' ||
		    snprintf(end.sun_path, sizeof(end.sun_path), "%s/%s",
			     wire_dirs[slot], e->d_name) >=
		    (int)sizeof(end.sun_path) ||
		    !strcmp(end.sun_path, wires[slot].self.sun_path) ||
		    !end_lives(&end))
			continue;
		if (wire->n == UKL_WIRE_PEERS) {
			say("warning: the wire %s has more than %d other "
			    "ends; the rest is not reached", wire_dirs[slot],
			    UKL_WIRE_PEERS);
			break;
		}
		strcpy(wire->path[wire->n++], end.sun_path);
	}
	closedir(dir);
}

void devices_close(void)
{
	int i;

	for (i = 0; i < UKL_MAX_DEVS; i++)
		if (wires[i].self.sun_path[0]) {
			unlink(wires[i].self.sun_path);
			/* The last one out takes the segment along. */
			rmdir(wire_dirs[i]);
		}
}

/* ------------------------------------------------------------------ */
/* Captures: pcapng's section header, and a description per interface.	*/

struct pcapng_section {
	uint32_t type, length, magic;
	uint16_t major, minor;
	int64_t section_length;
	uint32_t trailer;
} __attribute__((packed));

struct pcapng_interface {
	uint32_t type, length;
	uint16_t link_type, reserved;
	uint32_t snap_length;
	uint16_t name_code, name_length;
	char name[UKL_DEV_NAME];
	uint16_t resolution_code, resolution_length;
	uint8_t resolution, pad[3];
	uint16_t end_code, end_length;
	uint32_t trailer;
} __attribute__((packed));

int capture_open(const char *path, const struct ukl_dev *devs, int n)
{
	struct pcapng_section section = {
		.type = 0x0a0d0d0a, .length = sizeof(section),
		.magic = 0x1a2b3c4d, .major = 1, .section_length = -1,
		.trailer = sizeof(section),
	};
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND |
			    O_CLOEXEC, 0666);
	int i;

	if (fd < 0)
		fail("--capture %s: %s", path, strerror(errno));
	if (write(fd, &section, sizeof(section)) != sizeof(section))
		fail("--capture %s: %s", path, strerror(errno));
	for (i = 0; i < n; i++) {
		struct pcapng_interface interface = {
			.type = 1, .length = sizeof(interface),
			.link_type = 1,	/* Ethernet */
			.name_code = 2,
			.name_length = UKL_DEV_NAME,
			.resolution_code = 9, .resolution_length = 1,
			.resolution = 9, /* nanoseconds */
			.trailer = sizeof(interface),
		};

		/* Readers stop at the first zero of the sixteen bytes. */
		memcpy(interface.name, devs[i].name, UKL_DEV_NAME);
		if (write(fd, &interface, sizeof(interface)) !=
		    sizeof(interface))
			fail("--capture %s: %s", path, strerror(errno));
	}
	return fd;
}

/* ------------------------------------------------------------------ */

int device_open(const char *text, int slot, struct ukl_dev *dev)
{
	struct spec s = { .text = text, .fd = -1 };
	char copy[65536], *p = copy, *kind, *word, *value;
	int fd;

	memset(dev, 0, sizeof(*dev));
	snprintf(dev->name, sizeof(dev->name), "eth%d", slot);
	if (strlen(text) >= sizeof(copy))
		fail("--device %.40s…: too long", text);
	strcpy(copy, text);
	kind = strsep(&p, ",");
	while ((word = strsep(&p, ","))) {
		value = strchr(word, '=');
		if (!value)
			fail("--device %s: %s: write KEY=VALUE", text, word);
		*value++ = 0;
		if (!strcmp(kind, "user") && user_key(slot, word, value, text))
			continue;
		if (!strcmp(word, "name") || !strcmp(word, "host")) {
			if (!*value || strlen(value) >= IFNAMSIZ)
				fail("--device %s: %s=%s: 1 to %d characters",
				     text, word, value, IFNAMSIZ - 1);
			strcpy(*word == 'n' ? dev->name : s.host, value);
		} else if (!strcmp(word, "mac")) {
			parse_mac(value, dev, text);
		} else if (!strcmp(word, "mtu")) {
			dev->mtu = parse_number(value, 68, 65535, "mtu", text);
		} else if (!strcmp(word, "segment")) {
			s.segment = value;
		} else if (!strcmp(word, "netns")) {
			s.netns = value;
		} else if (!strcmp(word, "fd")) {
			s.fd = parse_number(value, 0, 1 << 20, "fd", text);
		} else {
			fail("--device %s: unknown key %s", text, word);
		}
	}
	if (!strcmp(kind, "tap")) {
		dev->kind = UKL_DEV_TAP;
		fd = open_tap(&s);
	} else if (!strcmp(kind, "fd")) {
		dev->kind = UKL_DEV_DGRAM;
		fd = check_socket(&s, SOCK_DGRAM);
	} else if (!strcmp(kind, "stream")) {
		dev->kind = UKL_DEV_STREAM;
		fd = check_socket(&s, SOCK_STREAM);
	} else if (!strcmp(kind, "wire")) {
		dev->kind = UKL_DEV_WIRE;
		fd = open_wire(&s, slot);
	} else if (!strcmp(kind, "user")) {
		fd = user_open(slot, dev, text);
	} else {
		fail("--device %s: unknown kind %s (tap, fd, stream, wire, "
		     "user)", text, kind);
	}
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	return fd;
}
