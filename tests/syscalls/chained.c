// SPDX-License-Identifier: GPL-2.0-only
/*
 * A link of a chain of programs of different kinds: sends a word to itself
 * over TCP, says who it is, and executes the next with an empty environment.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t n = sizeof(a);
	char word[8] = "", exe[4096] = "";
	char *none[] = { NULL };
	int l, c, s;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	l = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(l, (void *)&a, sizeof(a)) || listen(l, 1) ||
	    getsockname(l, (void *)&a, &n))
		return 3;
	c = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(c, (void *)&a, n))
		return 4;
	s = accept(l, NULL, NULL);
	if (write(c, "word", 4) != 4 || read(s, word, 4) != 4)
		return 5;
	/* The host has no such device. */
	readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	printf("%s %s %s %s\n", argv[0], strrchr(exe, '/'), word,
	       environ && environ[0] ? environ[0] : "-");
	fflush(stdout);
	close(l);
	close(c);
	close(s);
	if (argc > 1) {
		execve(argv[1], argv + 1, none);
		perror(argv[1]);
		return 9;
	}
	printf("host: %d\n", access("/sys/class/net/inside0", 0) != 0);
	return 0;
}
