// SPDX-License-Identifier: GPL-2.0-only
/* How a program is begun, by whatever door: what it finds, and what fails. */
#include "same.h"

#include <elf.h>
#include <limits.h>
#include <linux/memfd.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

/* The program is loaded where these want it. */
static char aligned[8] __attribute__((aligned(2 << 20)));
static char zeroes[3 << 20];
static char data[5] = "data";

static const char *base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Zeros become bars. */
static void show_file(const char *path)
{
	char text[512];
	int fd = open(path, O_RDONLY), i;
	long n = read(fd, text, sizeof(text) - 1);

	close(fd);
	for (i = 0; i < n; i++)
		if (!text[i])
			text[i] = '|';
	text[n > 0 ? n : 0] = 0;
	printf("%s\n", text);
}

static void show_link(const char *path)
{
	char to[PATH_MAX];
	long n = readlink(path, to, sizeof(to) - 1);

	to[n > 0 ? n : 0] = 0;
	printf("%s: %s\n", base(path), n < 0 ? strerror(errno) : base(to));
}

TEST(role_show)
{
	char comm[17] = { 0 };
	int i;

	for (i = 2; arguments[i]; i++)
		printf("argument %s\n", base(arguments[i]));
	prctl(PR_GET_NAME, comm);
	printf("name %s\n", comm);
	show_link("/proc/self/exe");
	printf("execfn %s\n", base((char *)getauxval(AT_EXECFN)));
	printf("environment: %s\n", environ && environ[0] ? environ[0] : "none");
}

static void wait_for(pid_t child)
{
	fflush(stdout);
	reap(child);
}

/* In a child, with a clean environment. */
#define EXECUTE(call) do {						\
	pid_t child;							\
									\
	fflush(stdout);							\
	child = fork();							\
	if (!child) {							\
		call;							\
		show(#call, -1);					\
		_exit(9);						\
	}								\
	wait_for(child);						\
} while (0)

static char *self_path(void)
{
	static char path[PATH_MAX];

	path[MUST(readlink("/proc/self/exe", path, sizeof(path) - 1))] = 0;
	return path;
}

/* A directory of our own, in which names are the same each time. */
static void own_directory(void)
{
	static char path[] = "/tmp/same-XXXXXX";

	if (!mkdtemp(path))
		die("mkdtemp");
	MUST(chdir(path));
}

static void gone(void)
{
	char path[PATH_MAX];

	if (getcwd(path, sizeof(path)) && !strncmp(path, "/tmp/same-", 10))
		rmdir(path);
}

static void *whole_file(const char *path, long *size)
{
	int fd = MUST(open(path, O_RDONLY));
	struct stat st;
	char *p;

	MUST(fstat(fd, &st));
	*size = st.st_size;
	p = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static void make(const char *name, const void *text, long n, int mode)
{
	int fd = MUST(open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600));
	long done = 0, w;

	for (; done < n; done += w)
		w = MUST(write(fd, (char *)text + done, n - done));
	MUST(fchmod(fd, mode));
	close(fd);
}

TEST(memory_is_in_order)
{
	volatile char *heap = sbrk(0);
	long i, sum = 0;

	SHOW((long)aligned % (2 << 20));
	for (i = 0; i < (long)sizeof(zeroes); i++)
		sum += zeroes[i];
	SHOW(sum);
	puts(data);
	SHOW(sbrk(1 << 20) == heap);
	heap[(1 << 20) - 1] = 1;
	SHOW(sbrk(-(1 << 20)) != (void *)-1);
	SHOW(sbrk(0) == heap);
	/* Text cannot be written to. */
	SHOW(read(open("/dev/zero", O_RDONLY), (void *)role_show, 1));
}

TEST(auxiliary_vector)
{
	static const unsigned long known[] = {
		AT_PHDR, AT_PHENT, AT_PHNUM, AT_BASE, AT_ENTRY, AT_EXECFN,
		AT_RANDOM, AT_SECURE, AT_UID, AT_EGID, AT_SYSINFO_EHDR,
		AT_PLATFORM, AT_CLKTCK, AT_PAGESZ,
	};
	Elf64_Phdr *ph = (void *)getauxval(AT_PHDR);
	unsigned long pair[2], n, same = 0, i;
	int fd = MUST(open("/proc/self/auxv", O_RDONLY | O_CLOEXEC));

	for (n = 0; read(fd, pair, 16) == 16 && pair[0]; n++)
		for (i = 0; i < sizeof(known) / sizeof(*known); i++)
			same += pair[0] == known[i] &&
				pair[1] == getauxval(known[i]);
	SHOW(same);
	SHOW(lseek(fd, 0, SEEK_CUR) == 16 * (long)(n + 1));
	SHOW(fcntl(fd, F_GETFD));
	SHOW(getauxval(AT_PHENT));
	for (i = 0; i < getauxval(AT_PHNUM); i++)
		if (ph[i].p_type == PT_LOAD)
			printf("segment %lx %lx\n", ph[i].p_vaddr, ph[i].p_memsz);
	SHOW(getauxval(AT_SECURE));
	SHOW(getauxval(AT_SYSINFO_EHDR) != 0);
	SHOW(getauxval(AT_BASE) != 0);
	puts(base((char *)getauxval(AT_EXECFN)));
}

TEST(own_executable)
{
	char path[64], comm[17] = { 0 };
	struct stat a, b;
	char magic[4];
	int fd;

	prctl(PR_GET_NAME, comm);
	puts(comm);
	show_link("/proc/self/exe");
	snprintf(path, sizeof(path), "/proc/%d/exe", getpid());
	show_link(path);
	show_link("/proc/thread-self/exe");
	MUST(stat(self_path(), &a));
	SHOW(stat("/proc/self/exe", &b));
	SHOW(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
	SHOW(lstat("/proc/self/exe", &b));
	SHOW(S_ISLNK(b.st_mode));
	SHOW(access("/proc/self/exe", X_OK));
	fd = MUST(open("/proc/self/exe", O_RDONLY));
	SHOW(read(fd, magic, 4));
	printf("%.3s\n", magic + 1);
	SHOW(open("/proc/self/exe", O_RDONLY | O_NOFOLLOW));
	SHOW(readlink("/proc/self/exe", magic, 2));
	printf("arguments %s %s\n", base(arguments[0]), arguments[1]);
	SHOW(access("/proc/self/exe/", F_OK));
}

TEST(executing_oneself)
{
	char *argv[] = { "again", "role_show", "x", NULL };
	char *env[] = { "ONE=1", NULL };
	int fd;

	EXECUTE(execve("/proc/self/exe", argv, env));
	EXECUTE(execve("/proc/self/exe", argv, NULL));
	fd = MUST(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
	EXECUTE(fexecve(fd, argv, env));
	EXECUTE(syscall(SYS_execveat, AT_FDCWD, "/proc/self/exe", argv, env,
			0));
	EXECUTE(syscall(SYS_execveat, AT_FDCWD, "/proc/self/exe", argv, env,
			AT_SYMLINK_NOFOLLOW));
}

TEST(executing_by_descriptor)
{
	char *argv[] = { "again", "role_show", NULL };
	char *env[] = { "ONE=1", NULL };
	char *path = self_path(), dir[PATH_MAX];
	long size;
	void *p;
	int fd, d, m;

	fd = MUST(open(path, O_PATH));
	EXECUTE(syscall(SYS_execveat, fd, "", argv, env, AT_EMPTY_PATH));
	EXECUTE(syscall(SYS_execveat, fd, "", argv, env, 0));
	EXECUTE(syscall(SYS_execveat, 99, "", argv, env, AT_EMPTY_PATH));
	EXECUTE(syscall(SYS_execveat, fd, "x", argv, env, 0));
	snprintf(dir, sizeof(dir), "%.*s", (int)(base(path) - path), path);
	d = MUST(open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC));
	EXECUTE(syscall(SYS_execveat, d, base(path), argv, env, 0));
	EXECUTE(syscall(SYS_execveat, d, "", argv, env, AT_EMPTY_PATH));
	EXECUTE(syscall(SYS_execveat, d, path, argv, env, 0));
	EXECUTE(syscall(SYS_execveat, d, base(path), argv, env, 0x4000000));
	/* Of no name. */
	p = whole_file(path, &size);
	m = MUST(memfd_create("nameless", MFD_CLOEXEC));
	MUST(write(m, p, size));
	EXECUTE(fexecve(m, argv, env));		/* still open for writing */
	snprintf(dir, sizeof(dir), "/proc/self/fd/%d", m);
	fd = MUST(open(dir, O_RDONLY | O_CLOEXEC));
	close(m);
	EXECUTE(fexecve(fd, argv, env));
}

TEST(scripts_of_programs)
{
	char *argv[] = { "zero", "one", "two", NULL }, *none[] = { NULL };
	char *env[] = { "ONE=1", NULL };
	char text[PATH_MAX + 600], word[600];
	int fd, n;

	own_directory();
	n = sprintf(text, "#!%s role_show\n", self_path());
	make("first", text, n, 0755);
	EXECUTE(execve("first", argv, env));
	EXECUTE(execve("./first", none, env));
	EXECUTE(execve("./first", NULL, NULL));
	/* A script's script: the last interpreter takes one argument only. */
	make("second", "#!./first  more than  one \n", 27, 0755);
	EXECUTE(execve("./second", argv, env));
	make("third", "#! \t./second", 12, 0755);
	EXECUTE(execve("./third", argv, env));
	make("round", "#!./round\n", 10, 0755);
	EXECUTE(execve("./round", argv, env));
	/* Lines that are too long for the host. */
	memset(word, 'x', sizeof(word));
	n = sprintf(text, "#!%s role_show%.*s\n", self_path(), 400, word);
	make("long", text, n, 0755);
	EXECUTE(execve("./long", argv, env));
	n = sprintf(text, "#!./%.*s\n", 400, word);
	make("long", text, n, 0755);
	EXECUTE(execve("./long", argv, env));
	make("empty", "#! \n", 4, 0755);
	EXECUTE(execve("./empty", argv, env));
	fd = MUST(open("first", O_RDONLY));
	EXECUTE(fexecve(fd, argv, env));
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	EXECUTE(syscall(SYS_execveat, fd, "", argv, env, AT_EMPTY_PATH));
	make("first", text, n, 0644);
	EXECUTE(execve("./second", argv, env));
	unlink("first");
	EXECUTE(execve("./second", argv, env));
	unlink("second");
	unlink("third");
	unlink("round");
	unlink("long");
	unlink("empty");
	gone();
}

TEST(programs_that_are_not_in_order)
{
	char *argv[] = { "again", "role_show", NULL }, *bad[] = { (char *)8 };
	char *env[] = { "ONE=1", NULL }, *path = self_path();
	Elf64_Ehdr *eh;
	Elf64_Phdr *ph;
	long size, i;
	int fd;

	own_directory();
	eh = whole_file(path, &size);
	make("p", eh, size, 0755);
	EXECUTE(execve("p", argv, env));
	EXECUTE(execve("p", bad, env));
	EXECUTE(execve("p", argv, bad));
	EXECUTE(execve("p", (char **)8, env));
	EXECUTE(execve("p/", argv, env));
	EXECUTE(execve("", argv, env));
	EXECUTE(execve((char *)8, argv, env));
	fd = MUST(open("p", O_WRONLY));
	EXECUTE(execve("./p", argv, env));
	close(fd);
	MUST(chmod("p", 0644));
	EXECUTE(execve("./p", argv, env));
	MUST(symlink("p", "l"));
	MUST(chmod("p", 0755));
	EXECUTE(execve("./l", argv, env));
	EXECUTE(syscall(SYS_execveat, AT_FDCWD, "l", argv, env,
			AT_SYMLINK_NOFOLLOW));
	unlink("l");

	make("p", eh, 40, 0755);
	EXECUTE(execve("./p", argv, env));
	make("p", eh, 64 + 56, 0755);
	EXECUTE(execve("./p", argv, env));
	make("p", "\177ELF", 4, 0755);
	EXECUTE(execve("./p", argv, env));
	make("p", eh, 0, 0755);
	EXECUTE(execve("./p", argv, env));
	eh->e_phentsize = 55;
	make("p", eh, size, 0755);
	EXECUTE(execve("./p", argv, env));
	eh->e_phentsize = 56;
	eh->e_type = ET_REL;
	make("p", eh, size, 0755);
	EXECUTE(execve("./p", argv, env));
	eh->e_type = ET_CORE;
	make("p", eh, size, 0755);
	EXECUTE(execve("./p", argv, env));
	munmap(eh, size);

	eh = whole_file(path, &size);
	eh->e_phnum = 0;
	make("p", eh, size, 0755);
	EXECUTE(execve("./p", argv, env));
	munmap(eh, size);

	/* Its interpreter, if it has one. */
	eh = whole_file(path, &size);
	ph = (void *)((char *)eh + eh->e_phoff);
	for (i = 0; i < eh->e_phnum && ph[i].p_type != PT_INTERP; i++)
		;
	if (i < eh->e_phnum) {
		char *interp = (char *)eh + ph[i].p_offset;

		strcpy(interp, "/lib/ld-linux-none");
		make("p", eh, size, 0755);
		EXECUTE(execve("./p", argv, env));
		strcpy(interp, "/etc/passwd");
		make("p", eh, size, 0755);
		EXECUTE(execve("./p", argv, env));
		strcpy(interp, "/tmp");
		make("p", eh, size, 0755);
		EXECUTE(execve("./p", argv, env));
		ph[i].p_filesz = 3;
		make("p", eh, size, 0755);
		EXECUTE(execve("./p", argv, env));
	}
	munmap(eh, size);
	unlink("p");
	gone();
}

TEST(an_executable_that_goes)
{
	char *argv[] = { "again", "role_gone", NULL };
	char *path = self_path();
	long size;
	void *p;

	own_directory();
	p = whole_file(path, &size);
	make("goes", p, size, 0755);
	EXECUTE(execve("./goes", argv, environ));
	gone();
}

TEST(role_gone)
{
	char *argv[] = { "again", "role_show", NULL }, *env[] = { NULL };

	MUST(unlink("goes"));
	show_link("/proc/self/exe");
	EXECUTE(execve("/proc/self/exe", argv, env));
}

TEST(role_open)
{
	SHOW(close(open("/dev/null", O_RDONLY)));
	SHOW(open("/dev/null", O_RDONLY));
	SHOW(dup(0));
	SHOW(fcntl(0, F_DUPFD, 100));
	SHOW(socket(AF_INET, SOCK_STREAM, 0));
}

/* With a soft limit below the hard one there is room above it. */
TEST(numbers_are_as_low_as_ever)
{
	static const int soft[] = { 64, 256, 1024, 4096 };
	char *argv[] = { "again", "role_open", NULL };
	struct rlimit r;
	unsigned int i;

	MUST(getrlimit(RLIMIT_NOFILE, &r));
	for (i = 0; i < 4; i++) {
		r.rlim_cur = soft[i];
		MUST(setrlimit(RLIMIT_NOFILE, &r));
		EXECUTE(execve(self_path(), argv, environ));
	}
}

TEST(arguments_and_names)
{
	char *argv[] = { "", "role_show", "", "a b", NULL };
	char *env[] = { "ONE=1", NULL };

	EXECUTE(execve(self_path(), argv, env));
	show_file("/proc/self/comm");
	prctl(PR_SET_NAME, "other");
	show_file("/proc/self/comm");
	EXECUTE(execve("/proc/self/exe", argv, env));
}
