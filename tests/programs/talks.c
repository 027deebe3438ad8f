/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * talks: an echo server and its client, for builds of all kinds.
 *
 *	talks serve PORT	a thread for each connection; SIGTERM ends it, with 5
 *	talks ask HOST PORT N	N connections at once, 100 KB there and back on each
 *	talks wrong		reads behind the end of what it has allocated
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SIZE = 100000 };

static volatile sig_atomic_t ended;

static void end(int number)
{
	(void)number;
	ended = 1;
}

static void *echo(void *data)
{
	int fd = (int)(long)data;
	char *piece = malloc(4096);
	ssize_t got, sent;

	while ((got = read(fd, piece, 4096)) > 0) {
		for (ssize_t at = 0; at < got; at += sent) {
			sent = write(fd, piece + at, got - at);
			if (sent < 0)
				goto out;
		}
	}
out:
	free(piece);
	close(fd);
	return NULL;
}

static struct addrinfo *find(const char *host, const char *port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
				  .ai_flags = host ? 0 : AI_PASSIVE };
	struct addrinfo *found;
	int error = getaddrinfo(host, port, &hints, &found);

	if (error) {
		fprintf(stderr, "%s\n", gai_strerror(error));
		exit(2);
	}
	return found;
}

static int serve(const char *port)
{
	struct addrinfo *at = find(NULL, port);
	struct sigaction action = { .sa_handler = end };
	int fd = socket(at->ai_family, SOCK_STREAM, 0), one = 1, peer;
	pthread_t thread;

	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, at->ai_addr, at->ai_addrlen) || listen(fd, 64)) {
		perror("bind");
		return 1;
	}
	freeaddrinfo(at);
	while (!ended) {
		peer = accept(fd, NULL, NULL);
		if (peer < 0)
			continue;
		pthread_create(&thread, NULL, echo, (void *)(long)peer);
		pthread_detach(thread);
	}
	close(fd);
	printf("ended\n");
	return 5;
}

struct talk {
	int fd;
	int sent, got;
};

static int ask(const char *host, const char *port, int count)
{
	struct addrinfo *at = find(host, port);
	struct talk *talks = calloc(count, sizeof(*talks));
	struct pollfd *polled = calloc(count, sizeof(*polled));
	char *data = malloc(SIZE), piece[8192];
	int left = count, wrong = 0;

	for (int i = 0; i < SIZE; i++)
		data[i] = i * 7 + i / 251;
	for (int i = 0; i < count; i++) {
		talks[i].fd = socket(at->ai_family, SOCK_STREAM, 0);
		if (connect(talks[i].fd, at->ai_addr, at->ai_addrlen)) {
			printf("errno %d\n", errno);
			left = -1;
			count = i + 1;
			break;
		}
		polled[i].fd = talks[i].fd;
		polled[i].events = POLLIN | POLLOUT;
	}
	while (left > 0 && poll(polled, count, 10000) > 0) {
		for (int i = 0; i < count; i++) {
			struct talk *one = &talks[i];

			if (polled[i].revents & POLLOUT) {
				int size = SIZE - one->sent;

				size = send(one->fd, data + one->sent, size,
					    MSG_DONTWAIT);
				one->sent += size > 0 ? size : 0;
				if (one->sent == SIZE) {
					shutdown(one->fd, SHUT_WR);
					polled[i].events = POLLIN;
				}
			}
			if (polled[i].revents & (POLLIN | POLLHUP)) {
				int size = recv(one->fd, piece, sizeof(piece),
						MSG_DONTWAIT);

				if (size > 0) {
					wrong += !!memcmp(data + one->got,
							  piece, size);
					one->got += size;
				} else if (size == 0) {
					polled[i].fd = -1;
					wrong += one->got != SIZE;
					left--;
				}
			}
		}
	}
	for (int i = 0; i < count; i++)
		close(talks[i].fd);
	free(data);
	free(talks);
	free(polled);
	freeaddrinfo(at);
	if (left >= 0)
		printf("%d left, %d wrong\n", left, wrong);
	return left || wrong;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		return serve(argv[2]);
	if (argc == 5 && !strcmp(argv[1], "ask"))
		return ask(argv[2], argv[3], atoi(argv[4]));
	if (argc == 2 && !strcmp(argv[1], "wrong")) {
		volatile char *data = malloc(10);

		return data[10 + argc];
	}
	return 3;
}
