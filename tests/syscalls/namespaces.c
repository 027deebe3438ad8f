// SPDX-License-Identifier: GPL-2.0-only
/* Network namespaces: whose they are, entering them, their names in /run. */
#include "same.h"

#include <linux/net_namespace.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/mount.h>

static struct stat stat_of(const char *path)
{
	struct stat st = { 0 };

	if (stat(path, &st))
		printf("%s: %s\n", path, strerrorname_np(errno));
	return st;
}

static struct stat own(void)
{
	return stat_of("/proc/thread-self/ns/net");
}

static int same(struct stat a, struct stat b)
{
	return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static struct stat of_fd(int fd)
{
	struct stat st = { 0 };

	MUST(fstat(fd, &st));
	return st;
}

static char *proc(const char *form, long a, long b)
{
	static char path[4][64];
	static int n;

	n = (n + 1) % 4;
	snprintf(path[n], sizeof(path[n]), form, a, b);
	return path[n];
}

static int open_own(void)
{
	return MUST(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}

/* A child in a network namespace of its own; it ends when told to. */
static pid_t child(int *say)
{
	int in[2], out[2];
	char c;
	pid_t pid;

	MUST(pipe(in));
	MUST(pipe(out));
	pid = MUST(fork());
	if (!pid) {
		MUST(unshare(CLONE_NEWNET));
		write(out[1], "x", 1);
		close(in[1]);
		read(in[0], &c, 1);
		_exit(0);
	}
	close(in[0]);
	close(out[1]);
	MUST(read(out[0], &c, 1));
	close(out[0]);
	*say = in[1];
	return pid;
}

TEST(ways_to_ones_own)
{
	struct stat mine = own(), st;
	char text[64], want[64];
	int fd, dir, n;

	SHOW(same(mine, stat_of("/proc/self/ns/net")));
	SHOW(same(mine, stat_of(proc("/proc/%ld/ns/net", getpid(), 0))));
	SHOW(same(mine, stat_of(proc("/proc/self/task/%ld/ns/net", getpid(),
				     0))));
	SHOW(same(mine, stat_of(proc("/proc/%ld/task/%ld/ns/net", getpid(),
				     getpid()))));
	SHOW(S_ISREG(mine.st_mode));
	SHOW(mine.st_size);
	fd = open_own();
	SHOW(fd);
	SHOW(same(mine, of_fd(fd)));
	SHOW(read(fd, text, 1));
	SHOW(write(fd, text, 1));
	SHOW(open("/proc/self/ns/net", O_RDWR) >= 0);
	snprintf(want, sizeof(want), "net:[%lu]", (long)mine.st_ino);
	n = readlink("/proc/self/ns/net", text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = 0;
	SHOW(strcmp(text, want));
	n = readlink(proc("/proc/self/fd/%ld", fd, 0), text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = 0;
	SHOW(strcmp(text, want));
	SHOW(lstat("/proc/self/ns/net", &st));
	SHOW(S_ISLNK(st.st_mode));
	SHOW(same(mine, stat_of(proc("/proc/self/fd/%ld", fd, 0))));
	/* By directories. */
	dir = MUST(open("/proc/self", O_RDONLY | O_DIRECTORY));
	SHOW(fstatat(dir, "ns/net", &st, 0));
	SHOW(same(mine, st));
	SHOW(same(mine, of_fd(MUST(openat(dir, "ns/net", O_RDONLY)))));
	SHOW(faccessat(dir, "ns/net", W_OK, 0));
	dir = MUST(open("/proc/self/ns", O_RDONLY | O_DIRECTORY));
	n = readlinkat(dir, "net", text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = 0;
	SHOW(strcmp(text, want));
	MUST(chdir("/proc"));
	SHOW(same(mine, stat_of("self/ns/net")));
	SHOW(same(mine, stat_of("thread-self/ns/net")));
	MUST(chdir("self/ns"));
	SHOW(same(mine, stat_of("net")));
	SHOW(same(mine, stat_of("./net")));
	/* Others are not about the network, or not there. */
	SHOW(stat("uts", &st));
	SHOW(stat("/proc/self/ns/nothing", &st));
	SHOW(stat("/proc/self/ns/net/", &st));
	SHOW(stat("/proc/self/task/1/ns/net", &st));
	SHOW(stat("/proc/99999999/ns/net", &st));
	SHOW(open("/proc/0/ns/net", O_RDONLY));
}

TEST(there_and_back)
{
	int home = open_own(), away;
	struct stat first = own(), second;

	SHOW(unshare(CLONE_NEWNET));
	second = own();
	SHOW(same(first, second));
	SHOW(same(first, of_fd(home)));
	away = open_own();
	SHOW(setns(home, CLONE_NEWNET));
	SHOW(same(first, own()));
	SHOW(setns(away, 0));
	SHOW(same(second, own()));
	SHOW(same(second, stat_of("/proc/self/ns/net")));
	SHOW(setns(home, CLONE_NEWUTS));
	SHOW(setns(home, 1));
	SHOW(setns(-1, CLONE_NEWNET));
	SHOW(setns(99, CLONE_NEWNET));
	SHOW(setns(1, CLONE_NEWNET));
	SHOW(setns(MUST(socket(AF_INET, SOCK_DGRAM, 0)), CLONE_NEWNET));
	SHOW(setns(MUST(socket(AF_UNIX, SOCK_DGRAM, 0)), CLONE_NEWNET));
	SHOW(setns(MUST(open("/", O_RDONLY)), CLONE_NEWNET));
	SHOW(setns(MUST(open("/proc/self/ns/uts", O_RDONLY)), CLONE_NEWNET));
	SHOW(setns(MUST(open("/proc/self/ns/net", O_PATH)), CLONE_NEWNET));
	SHOW(same(second, own()));
	SHOW(unshare(0));
	SHOW(unshare(CLONE_NEWNET | CLONE_FS | CLONE_FILES));
	SHOW(same(second, own()));
	SHOW(unshare(CLONE_NEWNET | CLONE_VM | CLONE_PTRACE));
}

static struct {
	int tid, ready[2], done[2];
} other;

static void *unsharing(void *nothing)
{
	char c;

	SHOW(unshare(CLONE_NEWNET));
	other.tid = syscall(SYS_gettid);
	SHOW(same(own(), stat_of("/proc/self/ns/net")));
	write(other.ready[1], "x", 1);
	read(other.done[0], &c, 1);
	return nothing;
}

TEST(a_thread_has_one_of_its_own)
{
	struct stat mine = own(), theirs;
	pthread_t t;
	char c;

	MUST(pipe(other.ready));
	MUST(pipe(other.done));
	pthread_create(&t, NULL, unsharing, NULL);
	read(other.ready[0], &c, 1);
	theirs = stat_of(proc("/proc/self/task/%ld/ns/net", other.tid, 0));
	SHOW(same(mine, own()));
	SHOW(same(mine, theirs));
	SHOW(same(theirs, stat_of(proc("/proc/%ld/task/%ld/ns/net", getpid(),
				       other.tid))));
	SHOW(same(theirs, stat_of(proc("/proc/%ld/ns/net", other.tid, 0))));
	SHOW(same(mine, stat_of("/proc/self/ns/net")));
	write(other.done[1], "x", 1);
	pthread_join(t, NULL);
}

TEST(a_childs)
{
	struct stat mine = own(), theirs;
	char *path;
	int say, fd;
	pid_t pid = child(&say);

	path = proc("/proc/%ld/ns/net", pid, 0);
	theirs = stat_of(path);
	SHOW(same(mine, theirs));
	SHOW(same(theirs, stat_of(proc("/proc/%ld/task/%ld/ns/net", pid,
				       pid))));
	fd = MUST(open(path, O_RDONLY));
	SHOW(setns(fd, CLONE_NEWNET));
	SHOW(same(theirs, own()));
	SHOW(unshare(CLONE_NEWNET));
	close(say);
	waitid(P_PID, pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT);
	SHOW(open(path, O_RDONLY));
	reap(pid);
	SHOW(open(path, O_RDONLY));
	/* It lives as long as it is held. */
	SHOW(setns(fd, CLONE_NEWNET));
	SHOW(same(theirs, own()));
}

TEST(by_pidfd)
{
	struct stat mine = own(), theirs;
	int home = open_own(), say, fd;
	pid_t pid = child(&say);

	theirs = stat_of(proc("/proc/%ld/ns/net", pid, 0));
	fd = MUST(syscall(SYS_pidfd_open, pid, 0));
	SHOW(setns(fd, 0));
	SHOW(setns(fd, 1));
	SHOW(setns(fd, CLONE_NEWNET | 1));
	SHOW(same(mine, own()));
	SHOW(setns(fd, CLONE_NEWNET));
	SHOW(same(theirs, own()));
	SHOW(setns(home, CLONE_NEWNET));
	SHOW(setns(fd, CLONE_NEWNET | CLONE_NEWUTS));
	SHOW(same(theirs, own()));
	SHOW(setns(home, CLONE_NEWNET));
	close(say);
	waitid(P_PID, pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT);
	SHOW(setns(fd, CLONE_NEWNET));
	reap(pid);
	SHOW(setns(fd, CLONE_NEWNET));
	SHOW(same(mine, own()));
}

TEST(clone_makes_one)
{
	struct stat mine = own();
	pid_t pid = syscall(SYS_clone, CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0);

	if (!pid) {
		SHOW(same(mine, own()));
		SHOW(if_nametoindex("lo"));
		_exit(0);
	}
	reap(pid);
	SHOW(same(mine, own()));
}

TEST(sockets_stay_where_they_were_made)
{
	int port, l = listener(&port), home = open_own(), s, fd;
	struct sockaddr_in a = loop(port);

	SHOW(unshare(CLONE_NEWNET));
	s = MUST(socket(AF_INET, SOCK_STREAM, 0));
	SHOW(connect(s, (void *)&a, sizeof(a)));
	fd = MUST(ioctl(l, SIOCGSKNS));
	SHOW(same(of_fd(fd), of_fd(home)));
	SHOW(fcntl(fd, F_GETFD));
	close(fd);
	fd = MUST(ioctl(s, SIOCGSKNS));
	SHOW(same(of_fd(fd), own()));
	SHOW(setns(home, CLONE_NEWNET));
	s = MUST(socket(AF_INET, SOCK_STREAM, 0));
	SHOW(connect(s, (void *)&a, sizeof(a)));
	SHOW(setns(fd, CLONE_NEWNET));
}

TEST(what_ioctl_says)
{
	int fd = open_own(), got;

	SHOW(ioctl(fd, NS_GET_NSTYPE));
	got = ioctl(fd, NS_GET_USERNS);
	SHOW(got);
	SHOW(ioctl(got, NS_GET_NSTYPE));
	SHOW(fcntl(got, F_GETFD));
	SHOW(close(got));
	SHOW(open("/dev/null", O_RDONLY));
	SHOW(ioctl(fd, NS_GET_PARENT));
	SHOW(ioctl(fd, TCGETS, &got));
	SHOW(dup(fd));
	SHOW(same(own(), of_fd(dup(fd))));
}

TEST(role_enter)
{
	int fd = atoi(arguments[2]);

	SHOW(same(of_fd(fd), own()));
	SHOW(setns(fd, CLONE_NEWNET));
	SHOW(same(of_fd(fd), own()));
}

TEST(over_exec)
{
	int home = dup(open_own());
	char number[16], self[4096] = { 0 };
	char *argv[] = { self, "role_enter", number, NULL };

	MUST(unshare(CLONE_NEWNET));
	MUST(readlink("/proc/self/exe", self, sizeof(self) - 1));
	snprintf(number, sizeof(number), "%d", home);
	execv(self, argv);
	die("execv");
}

struct question {
	struct nlmsghdr h;
	union {
		struct ifinfomsg link;
		struct rtgenmsg any;
	};
	char attributes[64];
};

/* With one attribute, a process, behind a header of @size bytes. */
static struct question about(int type, int size, int attribute, int pid)
{
	struct question q = {
		.h.nlmsg_len = NLMSG_LENGTH(NLMSG_ALIGN(size)),
		.h.nlmsg_type = type,
		.h.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
	};
	struct nlattr *a = (void *)((char *)&q + q.h.nlmsg_len);

	a->nla_len = sizeof(*a) + 4;
	a->nla_type = attribute;
	memcpy(a + 1, &pid, 4);
	q.h.nlmsg_len += a->nla_len;
	return q;
}

/* The name of what the process is in, or why not. */
static struct question which(int pid)
{
	return about(RTM_GETNSID, sizeof(struct rtgenmsg), NETNSA_PID, pid);
}

static void answer(int s)
{
	struct {
		struct nlmsghdr h;
		int rest[64];
	} a;
	long n = recv(s, &a, sizeof(a), 0);

	if (n < (long)sizeof(a.h))
		die("recv");
	printf("type %d: %d\n", a.h.nlmsg_type, a.h.nlmsg_type == NLMSG_ERROR ?
	       a.rest[0] : a.rest[2]);
	fflush(stdout);
	if (a.h.nlmsg_type == RTM_NEWNSID && n == a.h.nlmsg_len)
		answer(s);
}

static void ask(int s, struct question q)
{
	SHOW(send(s, &q, q.h.nlmsg_len, 0) == q.h.nlmsg_len);
	answer(s);
}

TEST(role_ask)
{
	ask(atoi(arguments[2]), which(getpid()));
}

TEST(processes_in_messages)
{
	int s = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)), say;
	int other = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_XFRM));
	struct sockaddr_nl to = { .nl_family = AF_NETLINK };
	pid_t pid = child(&say);
	struct question q = which(pid);
	struct iovec iov[] = {
		{ &q, 10 }, { (char *)&q + 10, q.h.nlmsg_len - 10 },
	};
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
	char number[16], self[4096] = { 0 };
	char *argv[] = { self, "role_ask", number, NULL };

	ask(s, which(getpid()));
	ask(s, which(pid));
	ask(s, which(99999999));
	ask(s, which(0));
	ask(s, which(-1));
	SHOW(sendto(s, &q, q.h.nlmsg_len, 0, (void *)&to, sizeof(to)));
	answer(s);
	SHOW(sendmsg(s, &m, 0));
	answer(s);
	SHOW(send(s, (void *)8, q.h.nlmsg_len, 0));
	SHOW(send(s, &q, q.h.nlmsg_len, MSG_OOB));
	iov[1].iov_base = (void *)8;
	SHOW(sendmsg(s, &m, 0));
	ask(dup(s), which(pid));
	/* The loopback interface moves nowhere. */
	q = about(RTM_NEWLINK, sizeof(struct ifinfomsg), IFLA_NET_NS_PID, pid);
	q.link.ifi_index = 1;
	ask(s, q);
	q = about(RTM_NEWLINK, sizeof(struct ifinfomsg), IFLA_NET_NS_PID,
		  99999999);
	q.link.ifi_index = 1;
	ask(s, q);
	/* Lengths that are none. */
	q = which(pid);
	((struct nlattr *)((char *)&q + 20))->nla_len = 3;
	ask(s, q);
	((struct nlattr *)((char *)&q + 20))->nla_len = 60;
	ask(s, q);
	/* Another protocol's message of that number. */
	SHOW(send(other, &q, q.h.nlmsg_len, 0) > 0);
	close(say);
	reap(pid);
	ask(s, which(pid));
	MUST(readlink("/proc/self/exe", self, sizeof(self) - 1));
	snprintf(number, sizeof(number), "%d", s);
	execv(self, argv);
	die("execv");
}

/* What ip does for `ip netns add`. */
static void begin_names(void)
{
	SHOW(stat("/run/netns", &(struct stat){ 0 }));
	SHOW(mkdir("/run/netns", 0755));
	SHOW(mkdir("/var/run/netns", 0755));
	SHOW(mount("", "/run/netns", "none", MS_SHARED | MS_REC, NULL));
	SHOW(mount("/run/netns", "/run/netns", "none", MS_BIND | MS_REC,
		   NULL));
	SHOW(mount("", "/run/netns", "none", MS_SHARED | MS_REC, NULL));
}

static void end_names(void)
{
	SHOW(rmdir("/run/netns"));
	SHOW(umount2("/run/netns", 0));
	SHOW(umount2("/run/netns", 0));
	SHOW(rmdir("/run/netns"));
	SHOW(rmdir("/run/netns"));
}

TEST(names)
{
	int home = open_own(), dir, fd;
	struct stat first = own(), second;
	char text[8];

	begin_names();
	dir = open("/run/netns", O_RDONLY | O_DIRECTORY);
	SHOW(flock(dir, 2 /* LOCK_EX */));
	fd = open("/run/netns/one", O_RDONLY | O_CREAT | O_EXCL, 0);
	SHOW(fd);
	SHOW(open("/run/netns/one", O_RDONLY | O_CREAT | O_EXCL, 0));
	SHOW(setns(fd, CLONE_NEWNET));
	SHOW(close(fd));
	SHOW(unshare(CLONE_NEWNET));
	second = own();
	SHOW(mount("/proc/self/ns/net", "/run/netns/one", "none", MS_BIND,
		   NULL));
	SHOW(setns(home, CLONE_NEWNET));
	SHOW(same(second, stat_of("/run/netns/one")));
	SHOW(same(second, stat_of("/var/run/netns/one")));
	SHOW(fstatat(dir, "one", &first, 0));
	SHOW(same(second, first));
	SHOW(access("/run/netns/one", W_OK));
	SHOW(readlink("/run/netns/one", text, sizeof(text)));
	fd = open("/run/netns/one", O_RDONLY);
	SHOW(setns(fd, CLONE_NEWNET));
	SHOW(same(second, own()));
	SHOW(setns(home, CLONE_NEWNET));
	SHOW(mount("/proc/self/ns/net", "/run/netns/two", "none", MS_BIND,
		   NULL));
	SHOW(close(creat("/run/netns/two", 0600)));
	SHOW(chmod("/run/netns/two", 0644));
	SHOW(chown("/run/netns/two", 0, 0));
	SHOW(truncate("/run/netns/two", 4));
	SHOW(stat_of("/run/netns/two").st_size);
	SHOW(mount("/run/netns/one", "/run/netns/two", "none", MS_BIND,
		   NULL));
	SHOW(same(second, stat_of("/run/netns/two")));
	SHOW(unlink("/run/netns/two"));
	SHOW(umount2("/run/netns/two", MNT_DETACH));
	SHOW(unlinkat(AT_FDCWD, "/run/netns/two", 0));
	SHOW(unlinkat(dir, "two", 0));
	SHOW(umount2("/run/netns/one", UMOUNT_NOFOLLOW));
	SHOW(umount2("/run/netns/one", MNT_DETACH));
	SHOW(umount2("/run/netns/one", MNT_DETACH));
	SHOW(same(second, of_fd(fd)));
	SHOW(setns(fd, CLONE_NEWNET));
	SHOW(setns(home, CLONE_NEWNET));
	SHOW(unlink("/run/netns/one"));
	SHOW(unlink("/run/netns/one"));
	SHOW(umount2("/run/netns/one", 0));
	SHOW(mount("/proc/self/ns/net", "/run/netns/", "none", MS_BIND, NULL));
	close(dir);
	end_names();
}

TEST(names_like_other_files)
{
	struct stat theirs;
	int say, fd, dir;
	pid_t pid = child(&say);
	char *path = proc("/proc/%ld/ns/net", pid, 0), there[4096];

	theirs = stat_of(path);
	SHOW(symlink(path, "/run/netns/no"));
	SHOW(mkdir("/run/netns", 0755));
	SHOW(symlink(path, "/var/run/netns/link"));
	SHOW(symlinkat(path, -1, "/run/netns/link"));
	SHOW(readlink("/run/netns/link", there, sizeof(there)) > 0);
	SHOW(same(theirs, stat_of("/run/netns/link")));
	fd = open("/run/netns/link", O_RDONLY);
	SHOW(setns(fd, CLONE_NEWNET));
	SHOW(same(theirs, own()));
	SHOW(symlinkat("link", -1, "/run/netns/link2"));
	SHOW(same(theirs, stat_of("/run/netns/link2")));
	SHOW(rename("/run/netns/link", "/run/netns/other"));
	SHOW(rename("/run/netns/link", "/var/run/netns/other"));
	SHOW(same(theirs, stat_of("/run/netns/other")));
	SHOW(stat("/run/netns/link2", &theirs));
	close(creat("/run/netns/a", 0600));
	SHOW(link("/run/netns/a", "/run/netns/b"));
	SHOW(linkat(AT_FDCWD, "/run/netns/a", AT_FDCWD, "/run/netns/c", 0));
	SHOW(stat_of("/run/netns/c").st_nlink);
	SHOW(renameat(AT_FDCWD, "/run/netns/a", AT_FDCWD, "/run/netns/d"));
	SHOW(syscall(SYS_renameat2, AT_FDCWD, "/run/netns/b", AT_FDCWD,
		     "/run/netns/c", 1 /* RENAME_NOREPLACE */));
	SHOW(rename("/run/netns/b", "/tmp/b"));
	SHOW(link("/tmp", "/run/netns/e"));
	dir = open("/run/netns", O_RDONLY | O_DIRECTORY);
	SHOW(access(proc("/proc/self/fd/%ld/c", dir, 0), F_OK));
	SHOW(access(proc("/dev/fd/%ld/nothing", dir, 0), F_OK));
	SHOW(access(proc("/proc/self/fd/%ld/../netns/c", dir, 0), F_OK));
	SHOW(access(proc("/proc/self/fd/%ld/", say, 0), F_OK));
	SHOW(unlinkat(dir, "b", 0));
	SHOW(unlinkat(dir, "c", 0));
	SHOW(unlinkat(dir, "d", 0));
	SHOW(unlinkat(dir, "link2", 0));
	SHOW(rmdir("/run/netns"));
	SHOW(unlink("/run/netns/other"));
	SHOW(rmdir("/run/netns"));
	close(say);
	reap(pid);
}

/* What ip does for `ip netns exec`; then the mounts are the process's own. */
TEST(entering_as_ip_does)
{
	int home = open_own();

	MUST(unshare(CLONE_NEWNET));
	SHOW(setns(home, CLONE_NEWNET));
	SHOW(unshare(CLONE_NEWNS));
	SHOW(mount("", "/", "none", MS_SLAVE | MS_REC, NULL));
	umount2("/sys", MNT_DETACH);
	SHOW(mount("x", "/sys", "sysfs", 0, NULL));
	SHOW(access("/sys/class/net/lo", F_OK));
	/* Others are what they are. */
	SHOW(mount("none", "/nothing", "tmpfs", 0, NULL));
	SHOW(mount("none", "/sys", "nothing", 0, NULL));
	SHOW(umount2("/nothing", 0));
	SHOW(mount((char *)8, "/sys", NULL, MS_BIND, NULL));
	SHOW(mount("x", (char *)8, "tmpfs", 0, NULL));
	SHOW(umount2((char *)8, 0));
}
