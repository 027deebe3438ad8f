/* SPDX-License-Identifier: GPL-2.0-only */
/* The user backend's TCP and pings (gate.c, splice.c), as user.c starts them. */
#ifndef UKL_SPLICE_H
#define UKL_SPLICE_H

#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <ukl/ukl.h>

/* What there is of a gate in the library kernel. */
struct gate {
	struct ukl_thread *th;		/* makes the calls */
	int namespace;			/* it is in */
	int index;			/* of its interface */
	int listener;			/* where connections arrive */
	int packets;			/* and their first frames, before: … */
	uint8_t *ring;			/* … in memory, as packet(7) has it */
	unsigned int next;		/* of its frames */
};

/*
 * Opens the gate of the interface in @slot with calls of @gate->th, and fills
 * in the rest; fails with the reason.
 */
void gate_open(struct gate *gate, int slot);

/* The next frame that is asked about, in @room bytes at @frame: its length, or 0. */
long gate_frame(struct gate *gate, void *frame, size_t room);

/* The task of @gate->th joins the gate's namespace: 0 or -errno. */
int gate_enter(struct gate *gate);

/* A port of the host's that leads into the instance. */
struct splice_publish {
	int fd;				/* listens */
	struct sockaddr_storage inner;	/* where to */
};

struct splice_config {
	int slot;
	int host_access;		/* the gateway is the host's loopback */
	struct in_addr gateway4, name_server4;
	struct in6_addr gateway6, name_server6;
	struct in_addr net4, mask4;	/* what is in it is near */
	struct in6_addr net6;
	int len6;
	/* Takes a ping to near, a frame of the instance's that was asked about. */
	void (*give_back)(const void *frame, size_t len, void *opaque);
	void *opaque;
	struct splice_publish *publish;	/* kept */
	int npublish;
};

/*
 * Opens the gate of the interface in @config's slot, with calls of @worker,
 * and starts the thread behind it; fails with the reason.
 */
void splice_start(const struct splice_config *config,
		  struct ukl_thread *worker);

/* Have all streams from the instance been passed on to their ends? */
int splice_idle(int slot);

#endif
