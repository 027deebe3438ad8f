// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replays a boot plan (<ukl/plan.h>) in a new instance.
 *
 * The worker makes the calls, on the thread that booted the kernel.  Memory of
 * this process is the calls' user memory.  Whatever is refused ends the start:
 * fail() prints the record's place first.
 */
#define _GNU_SOURCE
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <linux/if.h>
#include <linux/loop.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <ukl/plan.h>
#include <unistd.h>

#define LOOP_CONTROL	makedev(10, 237)
#define LOOP_MAJOR	7
#define COPY_BYTES	(1 << 20)

static struct {
	const char *path;
	const char *place;		/* of the record at hand */
	struct ukl_thread *th;
	int route, generic;		/* sockets of the instance; -1: none */
	long loop;			/* held open while it is mounted */
} plan;

#define call(nr, ...)	ukl_call(plan.th, nr, ##__VA_ARGS__)

static void __attribute__((noreturn)) damaged(void)
{
	fail("%s: the boot plan is damaged or of another version (ukl build "
	     "brings everything up to date)", plan.path);
}

static void __attribute__((noreturn)) refused(long err)
{
	fail("%s: %s", plan.place, strerror(-err));
}

/* ------------------------------------------------------------------ */
/* Netlink.								*/

static int netlink_socket(int family)
{
	int *fd = family == NETLINK_ROUTE ? &plan.route : &plan.generic;

	if (family != NETLINK_ROUTE && family != NETLINK_GENERIC)
		damaged();
	if (*fd >= 0)
		return *fd;
	*fd = netlink_open(plan.th, family);
	if (*fd < 0)
		refused(*fd);
	return *fd;
}

static void take_index(const struct nlmsghdr *nh, void *index)
{
	if (nh->nlmsg_type == RTM_NEWLINK)
		*(int *)index = ((struct ifinfomsg *)NLMSG_DATA(nh))->ifi_index;
}

static int interface_index(const char *name)
{
	struct {
		struct nlmsghdr nh;
		struct ifinfomsg ifi;
		struct nlattr attr;
		char name[IFNAMSIZ];
	} ask = {
		.nh = { .nlmsg_len = sizeof(ask), .nlmsg_type = RTM_GETLINK },
		.attr = { .nla_len = sizeof(ask.attr) + IFNAMSIZ,
			  .nla_type = IFLA_IFNAME },
	};
	const char *words;
	int index = 0;
	long err;

	memcpy(ask.name, name, IFNAMSIZ);
	err = netlink_ask(plan.th, netlink_socket(NETLINK_ROUTE), &ask.nh, take_index,
			  &index, &words);
	if (err)
		fail("%s: interface %s: %s", plan.place, name, strerror(-err));
	return index;
}

static void take_family(const struct nlmsghdr *nh, void *id)
{
	const struct nlattr *attr;
	unsigned int at = NLMSG_LENGTH(GENL_HDRLEN);

	while (at + sizeof(*attr) <= nh->nlmsg_len) {
		attr = (const void *)((const char *)nh + at);
		if (attr->nla_len < sizeof(*attr))
			break;
		if (attr->nla_type == CTRL_ATTR_FAMILY_ID)
			memcpy(id, attr + 1, sizeof(uint16_t));
		at += NLA_ALIGN(attr->nla_len);
	}
}

static uint16_t generic_family(const char *name)
{
	struct {
		struct nlmsghdr nh;
		struct genlmsghdr genl;
		struct nlattr attr;
		char name[GENL_NAMSIZ];
	} ask = {
		.nh = { .nlmsg_len = sizeof(ask), .nlmsg_type = GENL_ID_CTRL },
		.genl = { .cmd = CTRL_CMD_GETFAMILY, .version = 1 },
		.attr = { .nla_len = sizeof(ask.attr) + GENL_NAMSIZ,
			  .nla_type = CTRL_ATTR_FAMILY_NAME },
	};
	const char *words;
	uint16_t id = 0;
	long err;

	memcpy(ask.name, name, GENL_NAMSIZ);
	err = netlink_ask(plan.th, netlink_socket(NETLINK_GENERIC), &ask.nh, take_family,
			  &id, &words);
	if (err)
		fail("%s: the library kernel has no %s: %s", plan.place, name,
		     strerror(-err));
	return id;
}

static void do_netlink(char *payload, size_t length)
{
	const struct ukl_plan_netlink *head = (void *)payload;
	const struct ukl_plan_fix *fix = (void *)(head + 1);
	struct nlmsghdr *nh;
	const char *words;
	uint32_t index;
	uint16_t id;
	size_t size;
	unsigned int i;
	long err;

	if (length < sizeof(*head) ||
	    head->fixes > (length - sizeof(*head)) / sizeof(*fix))
		damaged();
	nh = (void *)(fix + head->fixes);
	size = length - ((char *)nh - payload);
	if (size < sizeof(*nh) || nh->nlmsg_len != size)
		damaged();
	for (i = 0; i < head->fixes; i++, fix++) {
		if (fix->offset > size - sizeof(index) ||
		    fix->name[sizeof(fix->name) - 1])
			damaged();
		if (fix->kind == UKL_PLAN_FIX_INDEX) {
			index = interface_index(fix->name);
			memcpy((char *)nh + fix->offset, &index, sizeof(index));
		} else if (fix->kind == UKL_PLAN_FIX_GENERIC) {
			id = generic_family(fix->name);
			memcpy((char *)nh + fix->offset, &id, sizeof(id));
		} else {
			damaged();
		}
	}
	err = netlink_ask(plan.th, netlink_socket(head->family), nh, NULL, NULL, &words);
	if (err && words && *words)
		fail("%s: %s (%s)", plan.place, strerror(-err), words);
	if (err)
		refused(err);
}

/* ------------------------------------------------------------------ */
/* Strings.								*/

/* The next of the zero-terminated strings between @p and @end. */
static const char *next_string(char **p, char *end)
{
	char *s = *p, *zero = memchr(s, 0, end - s);

	if (!zero)
		damaged();
	*p = zero + 1;
	return s;
}

/* The next word of @p and where it ends; NULL: no more. */
static const char *next_word(const char **p, size_t *size)
{
	const char *word = *p + strspn(*p, " \t\n");

	*size = strcspn(word, " \t\n");
	*p = word + *size;
	return *size ? word : NULL;
}

static int same_number(const char *a, size_t a_size, const char *b,
		       size_t b_size)
{
	char *a_end, *b_end;
	long long x = strtoll(a, &a_end, 0), y = strtoll(b, &b_end, 0);

	/* What is not a number is the kernel's to spell. */
	if (a_end != a + a_size || b_end != b + b_size)
		return 1;
	return x == y;
}

/* Whether the kernel took @wrote for @is, word by word. */
static int same_values(const char *wrote, const char *is)
{
	const char *a, *b;
	size_t a_size, b_size;

	do {
		a = next_word(&wrote, &a_size);
		b = next_word(&is, &b_size);
		if (a && b && !same_number(a, a_size, b, b_size))
			return 0;
	} while (a && b);
	return 1;
}

/* ------------------------------------------------------------------ */
/* Sysctls.								*/

static void do_sysctl(char *payload, size_t length, int is_default)
{
	char *end = payload + length, path[512], now[4096];
	const char *name = next_string(&payload, end);
	const char *value = next_string(&payload, end);
	size_t size = strlen(value);
	long fd, n;

	if (snprintf(path, sizeof(path), "/proc/sys/%s", name) >=
	    (int)sizeof(path))
		damaged();
	fd = call(open, path, O_WRONLY | O_CLOEXEC);
	if (fd == -ENOENT && is_default)
		return;
	if (fd == -ENOENT || fd == -ENOTDIR)
		fail("%s: the library kernel has no such sysctl", plan.place);
	if (fd == -EACCES || fd == -EISDIR)
		fail("%s: cannot be set", plan.place);
	if (fd < 0)
		refused(fd);
	n = call(write, fd, value, size);
	call(close, fd);
	if (n < 0)
		fail("%s: the library kernel refuses %s: %s", plan.place, value,
		     strerror(-n));
	if ((size_t)n < size)
		fail("%s: the library kernel takes fewer values than %s",
		     plan.place, value);
	fd = call(open, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;		/* some can only be written */
	n = call(read, fd, now, sizeof(now) - 1);
	call(close, fd);
	if (n < 0)
		return;
	while (n && now[n - 1] == '\n')
		n--;
	now[n] = 0;
	if (!same_values(value, now))
		fail("%s: the library kernel made %s of %s (write that)",
		     plan.place, now, value);
}

/* ------------------------------------------------------------------ */
/* Files.								*/

static void make_path(const char *path, int mode)
{
	char part[4096];
	size_t i, size = strlen(path);
	long err;

	if (size >= sizeof(part))
		refused(-ENAMETOOLONG);
	for (i = 1; i <= size; i++) {
		if (path[i] && path[i] != '/')
			continue;
		memcpy(part, path, i);
		part[i] = 0;
		err = call(mkdir, part, mode);
		if (err && err != -EEXIST)
			refused(err);
	}
}

static void mount_on(const char *source, const char *target, const char *type,
		     unsigned long flags, const char *data)
{
	long err = call(mount, source, target, type, flags, *data ? data : NULL);

	if (err == -ENODEV)
		fail("%s: the library kernel has no file system %s", plan.place,
		     type);
	if (err)
		refused(err);
}

static void do_mkdir(char *payload, size_t length)
{
	char *end = payload + length;

	make_path(next_string(&payload, end), 0755);
}

/* Copies a file of the host into the instance's memory. */
static void copy_file(const char *from, const char *to)
{
	char *buffer = malloc(COPY_BYTES);
	int in = open(from, O_RDONLY | O_CLOEXEC);
	long out, n, done, w;

	if (in < 0 || !buffer)
		fail("%s: %s: %s", plan.place, from, strerror(errno));
	out = call(open, to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (out < 0)
		refused(out);
	while ((n = read(in, buffer, COPY_BYTES)) > 0)
		for (done = 0; done < n; done += w) {
			w = call(write, out, buffer + done, n - done);
			if (w == -ENOMEM || w == -ENOSPC)
				fail("%s: the instance's memory is too small "
				     "for %s (kernel: memory)", plan.place,
				     from);
			if (w <= 0)
				refused(w ? w : -EIO);
		}
	if (n < 0)
		fail("%s: %s: %s", plan.place, from, strerror(errno));
	close(in);
	free(buffer);
	call(close, out);
}

/* A loop device over the instance's file @path; its name is put in @name. */
static void attach_loop(const char *path, int read_only, char *name,
			size_t size)
{
	struct loop_config config = { 0 };
	long control, number, device, file, err;

	err = call(mknod, "/dev/loop-control", S_IFCHR | 0600, LOOP_CONTROL);
	if (err && err != -EEXIST)
		refused(err);
	control = call(open, "/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		refused(control);
	number = call(ioctl, control, LOOP_CTL_GET_FREE);
	call(close, control);
	if (number < 0)
		refused(number);
	snprintf(name, size, "/dev/loop%ld", number);
	err = call(mknod, name, S_IFBLK | 0600, makedev(LOOP_MAJOR, number));
	if (err && err != -EEXIST)
		refused(err);
	file = call(open, path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	device = call(open, name, O_RDWR | O_CLOEXEC);
	if (file < 0 || device < 0)
		refused(file < 0 ? file : device);
	config.fd = file;
	config.info.lo_flags = LO_FLAGS_AUTOCLEAR |
			       (read_only ? LO_FLAGS_READ_ONLY : 0);
	err = call(ioctl, device, LOOP_CONFIGURE, &config);
	if (err)
		refused(err);
	call(close, file);
	/* The last close would clear it. */
	plan.loop = device;
}

static void do_mount(char *payload, size_t length, int image)
{
	struct ukl_plan_mount head;
	char *end = payload + length, copy[64], device[64];
	const char *source, *target, *type, *data;
	static int count;

	if (length < sizeof(head))
		damaged();
	memcpy(&head, payload, sizeof(head));
	payload += sizeof(head);
	source = next_string(&payload, end);
	target = next_string(&payload, end);
	type = next_string(&payload, end);
	data = next_string(&payload, end);
	make_path(target, 0755);
	if (!image) {
		mount_on(source, target, type, head.flags, data);
		return;
	}
	snprintf(copy, sizeof(copy), "/run/ukl-image-%d", count++);
	copy_file(source, copy);
	attach_loop(copy, head.flags & MS_RDONLY, device, sizeof(device));
	mount_on(device, target, type, head.flags, data);
	call(close, plan.loop);
	/* The loop device keeps the file; its name is of no use. */
	call(unlink, copy);
}

static void do_hostname(char *payload, size_t length)
{
	char *end = payload + length;
	const char *name = next_string(&payload, end);
	long err = call(sethostname, name, strlen(name));

	if (err)
		refused(err);
}

/* ------------------------------------------------------------------ */

static void replay(struct ukl_plan_record *record, char *payload)
{
	switch (record->op) {
	case UKL_PLAN_NETLINK:
		do_netlink(payload, record->length);
		break;
	case UKL_PLAN_SYSCTL:
	case UKL_PLAN_DEFAULT:
		do_sysctl(payload, record->length,
			  record->op == UKL_PLAN_DEFAULT);
		break;
	case UKL_PLAN_MKDIR:
		do_mkdir(payload, record->length);
		break;
	case UKL_PLAN_MOUNT:
	case UKL_PLAN_IMAGE:
		do_mount(payload, record->length,
			 record->op == UKL_PLAN_IMAGE);
		break;
	case UKL_PLAN_HOSTNAME:
		do_hostname(payload, record->length);
		break;
	default:
		damaged();
	}
}

static size_t padded(size_t size)
{
	return (size + 7) & -8UL;
}

/* The whole file, in memory that ends with a zero. */
static char *read_plan(const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *data;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st))
		fail("--plan %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size > UKL_PLAN_MAX ||
	    st.st_size < (off_t)sizeof(struct ukl_plan))
		damaged();
	data = calloc(1, st.st_size + 1);
	if (!data)
		fail("--plan %s: %s", path, strerror(ENOMEM));
	n = read(fd, data, st.st_size);
	if (n != st.st_size)
		fail("--plan %s: %s", path, n < 0 ? strerror(errno) :
		     "it changes while it is read");
	close(fd);
	*size = n;
	return data;
}

void plan_replay(const char *path, struct ukl_thread *th)
{
	struct ukl_plan_record *record;
	const struct ukl_plan *head;
	size_t size, at, need;
	unsigned int i;
	char *data;

	plan.path = path;
	plan.th = th;
	plan.route = plan.generic = -1;
	data = read_plan(path, &size);
	head = (void *)data;
	if (head->magic != UKL_PLAN_MAGIC ||
	    head->version != UKL_PLAN_VERSION || head->size != size)
		damaged();
	at = sizeof(*head);
	for (i = 0; i < head->records; i++) {
		record = (void *)(data + at);
		if (size - at < sizeof(*record))
			damaged();
		need = sizeof(*record) + padded(record->place) +
		       padded(record->length);
		if (size - at < need || !record->place)
			damaged();
		plan.place = data + at + sizeof(*record);
		if (plan.place[record->place - 1])
			damaged();
		replay(record, data + at + sizeof(*record) +
			       padded(record->place));
		at += need;
	}
	if (at != size)
		damaged();
	if (plan.route >= 0)
		call(close, plan.route);
	if (plan.generic >= 0)
		call(close, plan.generic);
	free(data);
}
