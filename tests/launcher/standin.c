// SPDX-License-Identifier: GPL-2.0-only
/*
 * A shim for tests of the launcher: it attaches the process it is loaded into
 * to the instance that UKL_INSTANCE names, and that is all.  With STANDIN_LOG,
 * it appends a line to that file, so that a test can see who was attached.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ukl/ukl.h>

static struct ukl_files files;
static struct ukl_thread *thread;

static void __attribute__((constructor)) attach(void)
{
	const char *where = getenv("UKL_INSTANCE"), *log = getenv("STANDIN_LOG");
	char path[256], line[256];
	int err, fd, n;

	snprintf(path, sizeof(path), "%s/control", where ? where : "");
	err = ukl_connect(path, &files);
	if (!err)
		err = ukl_attach(&files, &thread);
	if (err) {
		fprintf(stderr, "ukl: cannot attach: %s\n", strerror(-err));
		_exit(125);
	}
	if (!log)
		return;
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	n = snprintf(line, sizeof(line), "%d %s %s\n", getpid(),
		     program_invocation_short_name, where);
	if (fd < 0 || write(fd, line, n) != n)
		_exit(125);
	close(fd);
}
