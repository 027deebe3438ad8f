/* SPDX-License-Identifier: GPL-2.0-only */
/* Echo requests (ping) of the user backend. */
#ifndef UKL_ECHO_H
#define UKL_ECHO_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#define ECHO_FLOWS	32

struct epoll_event;

struct echo_config {
	int epoll;			/* where its sockets are waited for */
	struct in_addr net4, mask4;	/* what is in it is not ours */
	struct in6_addr net6;
	int len6;
	struct in_addr gateway4;
	struct in6_addr gateway6;
	/* Takes a frame to the instance; @at_once: it was there when asked for. */
	void (*give)(const void *frame, size_t len, int at_once, void *opaque);
	void *opaque;
};

struct echo *echo_new(const struct echo_config *config);

/* A ping socket for the library kernel (near.c), of a family; -1: there is none. */
int echo_socket(int family);

/* Takes a frame from the instance; 0: it is not an echo request to far away. */
int echo_takes(struct echo *e, const uint8_t *frame, size_t len);

/* An event of the epoll, if its datum is one of @e's; 0: it is not. */
int echo_event(struct echo *e, const struct epoll_event *ev);

/* Closes what has not been used for long; returns how many are left. */
int echo_expire(struct echo *e);

#endif
