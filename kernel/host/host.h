/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the files of the kernel host. */
#ifndef UKL_HOST_H
#define UKL_HOST_H

#include <elf.h>
#include <linux/netlink.h>
#include <time.h>
#include <ukl/ukl.h>

/* ukl_syscall() by name, with as many arguments as the call takes. */
#define ukl_call(th, nr, ...) \
	ukl_call_(th, SYS_##nr, ##__VA_ARGS__, 0L, 0L, 0L, 0L, 0L, 0L)
#define ukl_call_(th, nr, a, b, c, d, e, f, ...)			\
	ukl_syscall(th, nr, (long)(a), (long)(b), (long)(c), (long)(d),	\
		    (long)(e), (long)(f))

/* A line on standard error that names the instance. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A line on standard error, and exit 125: only while starting. */
void fail(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));

/* CLOCK_MONOTONIC. */
static inline long monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000L + ts.tv_nsec;
}

/* Starts a thread that ends with the process, or fails. */
void start_thread(void *(*fn)(void *), void *arg);

/* Copies the kernel's code into huge pages of @memory, if there are any. */
void text_start(int memory);

/* May the kernel host run on more than one CPU? */
int many_cpus(void);

/**
 * Opens the host side of the interface that @spec describes (see devices.c)
 * and fills in @dev.  Returns the descriptor, or fails.
 */
int device_open(const char *spec, int slot, struct ukl_dev *dev);

/* Takes a word of the user backend's spec; 0: not one of its keys. */
int user_key(int slot, const char *key, char *value, const char *text);

/* Starts the user backend of @slot; returns the instance's end. */
int user_open(int slot, struct ukl_dev *dev, const char *text);

/* Opens the user backend's way for TCP; once the interface is there. */
void user_start(int slot, struct ukl_thread *th);

/* Has everything that the instance sent to its user backends gone on? */
int users_idle(void);

/* A descriptor that is readable when the wire in @slot changes; -1: no wire. */
int device_watch(int slot);

/* Fills in the other ends of the wire in @slot. */
void device_peers(int slot, struct ukl_wire *wire);

/* Removes what the devices left in the file system. */
void devices_close(void);

/* Begins a pcapng file with these @n interfaces; returns the descriptor. */
int capture_open(const char *path, const struct ukl_dev *devs, int n);

/* Opens a netlink socket in the instance, with calls of @th; or -errno. */
long netlink_open(struct ukl_thread *th, int family);

/**
 * Sends @nh and waits for its ACK; what comes before is given to @answer.
 * Returns the ACK's errno, or another one; @words is what the kernel said, or
 * NULL, until the next request.
 */
long netlink_ask(struct ukl_thread *th, int fd, struct nlmsghdr *nh,
		 void (*answer)(const struct nlmsghdr *, void *), void *datum,
		 const char **words);

/**
 * Does in the instance what the boot plan in @path says (see plan.c), with
 * calls of @th; fails with the place of the record that was refused.
 */
void plan_replay(const char *path, struct ukl_thread *th);

#endif
