/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the files of the kernel host. */
#ifndef UKL_HOST_H
#define UKL_HOST_H

#include <elf.h>
#include <ukl/ukl.h>

/* A line on standard error that names the instance. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A line on standard error, and exit 125: only while starting. */
void fail(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));

/**
 * Opens the host side of the interface that @spec describes (see devices.c)
 * and fills in @dev.  Returns the descriptor, or fails.
 */
int device_open(const char *spec, int slot, struct ukl_dev *dev);

/* Takes a word of the user backend's spec; 0: not one of its keys. */
int user_key(int slot, const char *key, char *value, const char *text);

/* Starts the user backend of @slot; returns the instance's end. */
int user_open(int slot, struct ukl_dev *dev, const char *text);

/* A descriptor that is readable when the wire in @slot changes; -1: no wire. */
int device_watch(int slot);

/* Fills in the other ends of the wire in @slot. */
void device_peers(int slot, struct ukl_wire *wire);

/* Removes what the devices left in the file system. */
void devices_close(void);

/* Begins a pcapng file with these @n interfaces; returns the descriptor. */
int capture_open(const char *path, const struct ukl_dev *devs, int n);

/**
 * Does in the instance what the boot plan in @path says (see plan.c), with
 * calls of @th; fails with the place of the record that was refused.
 */
void plan_replay(const char *path, struct ukl_thread *th);

#endif
