// SPDX-License-Identifier: GPL-2.0-only
/*
 * ukl-host: the kernel host of one instance.
 *
 * Boots a library kernel in shared memory, lends it the threads it has none
 * of its own for (timer, devices), watches the processes of the instance and
 * cleans up after those that die.
 *
 * Two processes: the guardian, whom nothing in the kernel depends on, waits
 * for the kernel host proper and ends the instance if that one is killed.
 *
 * Exit status: 0 the instance ended in order; 1 it died (standard error says
 * why); 125 it could not be started.
 */
#define _GNU_SOURCE
#include "echo.h"
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB		(1024UL * 1024)
#define MIN_MEMORY	(32 * MIB)
#define MAX_MEMORY	(1024 * 1024 * MIB)
#define JOIN_SECONDS	30	/* how long a new instance waits for someone */
#define ORPHAN_MS	100	/* from fork() to the child's first word */
#define STOP_SECONDS	2	/* from SIGTERM to SIGKILL */
#define SERVICE_SECONDS	2	/* the same for services, after the others */
#define LINGER_SECONDS	60	/* for what was sent and has not arrived */
#define LENT_MS		500	/* between looks at the files under way */
#define CONTINUED_NS	50000000UL	/* a stopped process, at a time */

#define LINGER_NOT	0
#define LINGER_ASKED	1	/* the worker looks for data under way */
#define LINGER_DONE	2	/* there is none */

static struct {
	const char *name;
	const char *image_path;
	const char *dir;
	const char *cmdline;
	const char *capture;
	const char *plan;
	unsigned long memory;
	int keep;
	int ready_fd;

	struct ukl_files files;
	struct ukl_shared *shared;
	struct ukl_thread *worker;	/* makes system calls */
	struct ukl_thread *service;	/* the main thread's; makes none */
	int lock_fd, listen_fd, epoll_fd, signal_fd;
	int for_fd;			/* pidfd of who keeps it; 0: nobody */
	int was_for;			/* … and has died */
	int stopping;
	unsigned long kill_at;		/* ns, when stopping */
	int services;			/* how many run; see is_service() */
	unsigned long dismissed;	/* ns, when they are killed; 0: no */
	int lingering;			/* LINGER_*: all are gone */
	unsigned long linger_until;	/* ns */
	char control[108];
	char lock_path[108];
} host = { .name = "unnamed", .memory = 64 * MIB, .ready_fd = -1,
	   .cmdline = "" };

/* ------------------------------------------------------------------ */
/* Words.								*/

void say(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n = snprintf(line, sizeof(line), "ukl: instance %s: ", host.name);

	va_start(ap, fmt);
	n += vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	if (write(2, line, n) < 0)
		return;		/* nobody listens */
}

void fail(const char *fmt, ...)
{
	char line[4096];	/* paths are in it */
	va_list ap;
	int n = snprintf(line, sizeof(line), "ukl: ");

	va_start(ap, fmt);
	n += vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	if (write(2, line, n) < 0)
		n = 0;
	if (host.control[0])
		unlink(host.control);
	if (host.lock_path[0])
		unlink(host.lock_path);
	if (host.dir)
		rmdir(host.dir);
	devices_close();
	_exit(125);
}

/* ------------------------------------------------------------------ */
/* What the kernel is told at boot.					*/

static unsigned long now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000UL + ts.tv_nsec;
}

/*
 * The TSC's rate.  Where the host knows it (a hypervisor told, say), its
 * "bogomips" are two per MHz, to a part in a million.  (A perf event's page
 * tells too, but the first event of an idle machine takes 15 ms to open.)
 */
static unsigned long known_tsc_khz(void)
{
	char text[4096], *flags, *mips, *end;
	int fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	flags = strstr(text, "\nflags");
	mips = strstr(text, "\nbogomips");
	if (!flags || !mips || !strstr(flags, " tsc_known_freq "))
		return 0;
	mips = strchr(mips, ':');
	return mips ? strtod(mips + 1, &end) * 500 + 0.5 : 0;
}

/* Otherwise two clocks are compared from the start of the program on. */
#define MEASURE_NS	3000000UL

static struct {
	unsigned long ns, tsc;
} started;

static unsigned long measured_tsc_khz(void)
{
	unsigned long past;

	do {
		past = now_ns(CLOCK_MONOTONIC_RAW) - started.ns;
	} while (past < MEASURE_NS);
	return (__builtin_ia32_rdtsc() - started.tsc) * 1000000 / past;
}

static void check_tsc(void)
{
	char name[32] = "";
	FILE *f = fopen("/sys/devices/system/clocksource/clocksource0/"
			"current_clocksource", "re");

	if (!f)
		return;		/* no sysfs: trust the processor */
	if (fgets(name, sizeof(name), f) && strncmp(name, "tsc", 3) &&
	    strncmp(name, "kvm-clock", 9) && strncmp(name, "hyperv", 6))
		say("warning: the host does not trust its time stamp counter "
		    "(its clock source is %.*s); timers may drift",
		    (int)strcspn(name, "\n"), name);
	fclose(f);
}

/* ------------------------------------------------------------------ */
/* Service threads.							*/

static struct ukl_thread *service_record(void)
{
	static struct ukl_proc *proc;
	struct ukl_thread *th;

	if (!proc) {
		proc = ukl_proc_new(&host.files);
		if (!proc)
			fail("the tables of a new instance are full");
		proc->pid = getpid();
		proc->state = UKL_PROC_LIVE;
	}
	th = ukl_head()->thread_alloc(proc);
	if (!th)
		fail("the tables of a new instance are full");
	th->state = UKL_TH_SERVICE;
	return th;
}

void start_thread(void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t t;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	err = pthread_create(&t, &attr, fn, arg);
	if (err)
		fail("cannot start a thread: %s", strerror(err));
	pthread_attr_destroy(&attr);
}

int many_cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) || CPU_COUNT(&set) > 1;
}

static struct ukl_thread *senders[UKL_MAX_DEVS];

/* Timers are as exact as the host can make them. */
static void *timer_thread(void *th)
{
	prctl(PR_SET_NAME, "ukl-timer");
	prctl(PR_SET_TIMERSLACK, 1);
	ukl_thread_enter(th);
	ukl_head()->timer_loop(th);
	return NULL;
}

static void *device_thread(void *th)
{
	prctl(PR_SET_NAME, "ukl-device");
	ukl_thread_enter(th);
	ukl_head()->device_loop(th);
	return NULL;
}

static void *sender_thread(void *slot)
{
	char name[16];

	snprintf(name, sizeof(name), "ukl-send-%d", (int)(long)slot);
	prctl(PR_SET_NAME, name);
	ukl_thread_enter(senders[(long)slot]);
	ukl_head()->sender_loop(senders[(long)slot], (long)slot);
	return NULL;
}

/* Has all that was queued been written? */
static int senders_idle(void)
{
	struct ukl_sendq *q = host.shared->sendq;
	int i;

	for (i = 0; i < UKL_MAX_DEVS; i++)
		if (__atomic_load_n(&q[i].queued, __ATOMIC_SEQ_CST) !=
		    __atomic_load_n(&q[i].sent, __ATOMIC_SEQ_CST))
			return 0;
	return 1;
}

/* ------------------------------------------------------------------ */
/* The processes of the instance.					*/

/* An epoll datum: which process, or one of these. */
#define ON_LISTEN	((uint64_t)-1)
#define ON_SIGNAL	((uint64_t)-2)
#define ON_WORD		((uint64_t)-3)
#define ON_FOR		((uint64_t)-4)
#define ON_WIRE(slot)	((uint64_t)-16 - (slot))

static struct {
	int pidfd;		/* 0: none */
	int pid;
} watched[UKL_MAX_PROCS];

/* All records that were ever taken, which is the first free one first. */
#define for_each_proc(i)						\
	for ((i) = 0; (i) < UKL_MAX_PROCS && was_taken(i); (i)++)

static int was_taken(int i)
{
	const struct ukl_proc *proc = &host.shared->proc[i];

	return proc->life || proc->state != UKL_PROC_FREE;
}

static int word_event;		/* the futex thread tells the main one */

#define GATHER_NS	2000000

/*
 * A futex cannot be polled: this thread turns it into an event.  Not at once:
 * where processes come and go quickly, one look finds several.
 */
static void *word_thread(void *unused)
{
	const struct timespec nap = { 0, GATHER_NS };
	unsigned int word, seen = 0;
	uint64_t one = 1;

	(void)unused;
	prctl(PR_SET_NAME, "ukl-watch");
	for (;;) {
		word = __atomic_load_n(&host.shared->procs_word,
				       __ATOMIC_SEQ_CST);
		if (word != seen || host.shared->dead) {
			if (!host.shared->dead)
				nanosleep(&nap, NULL);
			seen = word;
			if (write(word_event, &one, sizeof(one)) < 0)
				return NULL;
			if (host.shared->dead)
				return NULL;
		}
		syscall(SYS_futex, &host.shared->procs_word, FUTEX_WAIT, word,
			NULL, NULL, 0);
	}
}

static void unwatch(int i)
{
	if (!watched[i].pidfd)
		return;
	close(watched[i].pidfd);
	watched[i].pidfd = 0;
	watched[i].pid = 0;
}

/* An event may be older than the watch that has its number now: ask. */
static int has_died(int i)
{
	struct pollfd pfd = { watched[i].pidfd, POLLIN, 0 };

	return watched[i].pidfd && poll(&pfd, 1, 0) == 1;
}

/*
 * A process that serves the instance (its DHCP client), which does not live
 * for it: it is ended after the last of the others.
 */
static int is_service(const struct ukl_proc *proc)
{
	return proc->flags & UKL_PROC_SERVICE;
}

/* Those that are services, or those that are not. */
static void kill_those(int sig, int services)
{
	struct ukl_proc *proc;
	int i;

	for (i = 0; i < UKL_MAX_PROCS; i++) {
		proc = &host.shared->proc[i];
		/* Not who has left, and whose watch is about to end. */
		if (watched[i].pidfd && proc->pid == watched[i].pid &&
		    is_service(proc) == services)
			syscall(SYS_pidfd_send_signal, watched[i].pidfd, sig,
				NULL, 0);
	}
}

static void kill_all(int sig)
{
	const struct ukl_proc *proc;
	int i;

	kill_those(sig, 0);
	kill_those(sig, UKL_PROC_SERVICE);
	/* Those that came a moment ago are not watched yet. */
	for_each_proc(i) {
		proc = &host.shared->proc[i];
		if (!watched[i].pidfd && proc->state == UKL_PROC_NEW &&
		    proc->pid)
			kill(proc->pid, sig);
	}
}

/* What the launcher keeps beside the control socket (hijack/runtime.py). */
static void remove_launchers_files(void)
{
	static const char * const names[] = {
		"etc/resolv.conf", "etc/resolv.conf.new", "etc/hosts",
		"etc/hostname", "etc",
		"instance.json", "plan", "log", "dhcp", "dhcp.new",
	};
	char path[256];
	unsigned int i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (snprintf(path, sizeof(path), "%s/%s", host.dir,
			     names[i]) < (int)sizeof(path))
			remove(path);
}

static void end(int status)
{
	/* For a process that is just about to join. */
	if (host.service && !host.shared->dead)
		ukl_head()->die(host.service, "it has ended");
	/* After a death they say what happened. */
	if (host.dir && !status)
		remove_launchers_files();
	if (host.control[0])
		unlink(host.control);
	if (host.lock_path[0])
		unlink(host.lock_path);
	if (host.dir)
		rmdir(host.dir);
	devices_close();
	exit(status);
}

static void __attribute__((noreturn)) died(void)
{
	say("%s; its processes were killed", host.shared->last_words);
	kill_all(SIGKILL);
	end(1);
	__builtin_unreachable();
}

static int jobs[2];		/* a pipe to the worker */

/*
 * The worker makes the kernel host's system calls.  It may have to wait for
 * the CPU; the main thread must not, because the CPU may be waiting for a
 * process whose death only the main thread can tell.
 */
#define JOB_REAP(proc)	(proc)
#define JOB_WIRE(slot)	(UKL_MAX_PROCS + (slot))
#define JOB_LINGER	(UKL_MAX_PROCS + UKL_MAX_DEVS)
#define JOB_LENT	(UKL_MAX_PROCS + UKL_MAX_DEVS + 1)

static void update_wire(int slot)
{
	static struct ukl_wire wire;

	device_peers(slot, &wire);
	ukl_syscall(host.worker, UKL_SYS_WIRE, slot, (long)&wire, 0, 0, 0, 0);
}

/* Closed TCP sockets of the instance whose data or FIN is under way still. */
static int orphans(void)
{
	char text[512] = "", *word;
	long fd = ukl_call(host.worker, open, "/proc/net/sockstat", O_RDONLY);

	if (fd < 0)
		return 0;
	ukl_call(host.worker, read, fd, text, sizeof(text) - 1);
	ukl_call(host.worker, close, fd);
	word = strstr(text, " orphan ");
	return word ? atoi(word + 8) : 0;
}

/*
 * A kernel sends what a program has written after the program's end: not
 * until then does the instance end.
 */
static void linger(void)
{
	int asked = LINGER_ASKED, idle = 0;
	uint64_t one = 1;

	/* Seen idle once, a frame may be on its way from hand to hand. */
	while (__atomic_load_n(&host.lingering, __ATOMIC_SEQ_CST) == asked &&
	       now_ns(CLOCK_MONOTONIC) < host.linger_until) {
		idle = orphans() || !users_idle() || !senders_idle() ?
		       0 : idle + 1;
		if (idle == 2)
			break;
		usleep(1000);
	}
	/* Somebody may have come meanwhile: then it was for nothing. */
	if (__atomic_compare_exchange_n(&host.lingering, &asked, LINGER_DONE,
					0, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST) &&
	    write(word_event, &one, sizeof(one)) < 0)
		say("warning: eventfd: %s", strerror(errno));
}

/* Whether a message with the file of @ticket still exists. */
static int on_its_way(unsigned long ticket)
{
	struct ukl_carrier name;
	int s, gone;

	if (ukl_carrier(&host.files, ticket, &name))
		return 1;
	s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return 1;
	gone = connect(s, (void *)&name, sizeof(name)) < 0 &&
	       errno == ECONNREFUSED;
	close(s);
	return !gone;
}

/* Closes the files whose messages nobody can receive any more. */
static void drop_lost(void)
{
	static unsigned long tickets[4096];
	long i, n = ukl_syscall(host.worker, UKL_SYS_LENT, (long)tickets,
				4096, 0, 0, 0, 0);

	if (n > 4096)
		n = 4096;
	for (i = 0; i < n; i++)
		if (!on_its_way(tickets[i]))
			ukl_syscall(host.worker, UKL_SYS_TAKE, tickets[i], 0,
				    UKL_TAKE_NONE, 0, 0, 0);
}

/* The tasks of a dead process end; its record is free with its last thread's. */
static void reap(struct ukl_proc *proc)
{
	unsigned int life = proc->life;

	ukl_syscall(host.worker, UKL_SYS_REAP, (long)proc, 0, 0, 0, 0, 0);
	if (proc->state != UKL_PROC_GONE || proc->life != life)
		return;
	/* It was killed before it had a thread's. */
	proc->pid = 0;
	__atomic_fetch_add(&proc->life, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&proc->state, UKL_PROC_FREE, __ATOMIC_SEQ_CST);
}

static void *worker_thread(void *unused)
{
	int job;

	(void)unused;
	prctl(PR_SET_NAME, "ukl-worker");
	host.worker->tid = gettid();
	while (read(jobs[0], &job, sizeof(job)) == sizeof(job)) {
		if (job == JOB_LINGER)
			linger();
		else if (job == JOB_LENT)
			drop_lost();
		else if (job >= JOB_WIRE(0))
			update_wire(job - JOB_WIRE(0));
		else
			reap(&host.shared->proc[job]);
	}
	return NULL;
}

static void give_job(int job)
{
	if (write(jobs[1], &job, sizeof(job)) != sizeof(job))
		say("warning: the worker is not to be reached: %s",
		    strerror(errno));
}

static void proc_died(int i)
{
	struct ukl_proc *proc = &host.shared->proc[i];
	char why[128];

	unwatch(i);
	if (ukl_head()->proc_died(host.service, proc) == -EOWNERDEAD) {
		snprintf(why, sizeof(why),
			 "process %d was killed inside the library kernel",
			 proc->pid);
		ukl_head()->die(host.service, why);
		died();
	}
	give_job(JOB_REAP(i));
}

/*
 * A process that has a pid.  It may leave at any moment, and its record be
 * free, or another's: that one is seen by the next scan().
 */
static void watch(int i)
{
	struct ukl_proc *proc = &host.shared->proc[i];
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = i };
	unsigned int state = UKL_PROC_NEW;
	int pid = proc->pid;
	int fd = syscall(SYS_pidfd_open, pid, 0), err = errno;

	if (!__atomic_compare_exchange_n(&proc->state, &state, UKL_PROC_LIVE,
					 0, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST) &&
	    state != UKL_PROC_LIVE) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (fd < 0) {
		if (err != ESRCH)
			say("warning: cannot watch process %d: %s", pid,
			    strerror(err));
		if (proc->pid == pid)
			proc_died(i);
		return;
	}
	watched[i].pidfd = fd;
	watched[i].pid = pid;
	if (epoll_ctl(host.epoll_fd, EPOLL_CTL_ADD, fd, &ev))
		say("warning: cannot watch process %d: %s", pid,
		    strerror(errno));
	/* It came too late to be asked with the others. */
	if (host.stopping && !is_service(proc))
		syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0);
}

/* A child that was prepared and whose parent died before it forked. */
static int orphan(const struct ukl_proc *proc)
{
	const struct ukl_proc *parent = proc->parent;

	return proc->state == UKL_PROC_NEW && !proc->pid && parent &&
	       (parent->pid != proc->parent_pid ||
		(parent->state != UKL_PROC_LIVE &&
		 parent->state != UKL_PROC_NEW));
}

/*
 * New processes, and those that left without dying.  Returns how many are,
 * services not counted.
 */
static int scan(void)
{
	const struct ukl_proc *ourselves = host.worker->proc;
	struct ukl_proc *proc;
	int i, n = 0, services = 0;

	for_each_proc(i) {
		proc = &host.shared->proc[i];
		if (watched[i].pidfd && proc->pid != watched[i].pid)
			unwatch(i);
		if (proc->pid && !watched[i].pidfd &&
		    (proc->state == UKL_PROC_NEW ||
		     (proc->state == UKL_PROC_LIVE && proc != ourselves)))
			watch(i);
		/* A child may have been prepared and not be there yet. */
		if (!watched[i].pidfd && proc->state != UKL_PROC_NEW)
			continue;
		if (is_service(proc))
			services++;
		else
			n++;
	}
	host.services = services;
	return n;
}

/*
 * A child that did fork says so within moments.  Returns whether there are
 * some to look at again.
 */
static int reap_orphans(void)
{
	static unsigned long since[UKL_MAX_PROCS];
	unsigned long now = now_ns(CLOCK_MONOTONIC);
	int i, some = 0;

	for_each_proc(i) {
		if (!orphan(&host.shared->proc[i])) {
			since[i] = 0;
		} else if (!since[i]) {
			since[i] = now;
			some = 1;
		} else if (now - since[i] < ORPHAN_MS * 1000000UL) {
			some = 1;
		} else {
			proc_died(i);
		}
	}
	return some;
}

/* As /proc/PID/stat has it: R, S, T, …; 0 when it cannot be told. */
static int state_of(int pid)
{
	char path[64], stat[256], *state;
	int fd, n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, stat, sizeof(stat) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	stat[n] = 0;
	state = strrchr(stat, ')');
	return state && state[1] ? state[2] : 0;
}

static struct ukl_proc *cpu_owner(void)
{
	unsigned int id = __atomic_load_n(&host.shared->lock,
					  __ATOMIC_SEQ_CST) &
			  ~UKL_LOCK_WAITERS;

	return id ? host.shared->thread[id - 1].proc : NULL;
}

/*
 * A process that has the CPU is stopped: it was inside the library kernel when
 * the signal came, or was handed the CPU after that.  It goes on until it has
 * let the CPU go, and is stopped again.  False when it may not be told to.
 */
static int continue_stopped(struct ukl_proc *proc, int pid)
{
	const struct timespec nap = { 0, 20000 };
	unsigned long until = now_ns(CLOCK_MONOTONIC) + CONTINUED_NS;
	int i = proc - host.shared->proc;

	/* By its pidfd: the number may be another's in a moment. */
	if (watched[i].pid != pid) {
		errno = ESRCH;
		return 0;
	}
	while (cpu_owner() == proc && now_ns(CLOCK_MONOTONIC) < until) {
		if (syscall(SYS_pidfd_send_signal, watched[i].pidfd, SIGCONT,
			    NULL, 0))
			return 0;
		while (cpu_owner() == proc && now_ns(CLOCK_MONOTONIC) < until)
			nanosleep(&nap, NULL);
		syscall(SYS_pidfd_send_signal, watched[i].pidfd, SIGSTOP, NULL,
			0);
		while (state_of(pid) == 'R' &&
		       now_ns(CLOCK_MONOTONIC) < until)
			nanosleep(&nap, NULL);
	}
	return 1;
}

/* Someone has waited for the CPU for a while, without any progress. */
static void end_stall(void)
{
	unsigned int id = __atomic_exchange_n(&host.shared->stall, 0,
					      __ATOMIC_SEQ_CST);
	struct ukl_proc *proc = id ? host.shared->thread[id - 1].proc : NULL;
	static int told;
	int pid, state;

	if (!proc || cpu_owner() != proc)
		return;
	pid = proc->pid;
	state = state_of(pid);
	if (state != 'T' && state != 't')
		return;
	if (told != pid)
		say("process %d was stopped while it had the library kernel, "
		    "which all others of the instance wait for%s", pid,
		    state == 'T' ? ": it goes on until it is out of it" :
		    " until its tracer lets it go on");
	told = pid;
	/* A tracer's stop is the tracer's to end. */
	if (state == 'T' && !continue_stopped(proc, pid))
		say("process %d cannot be told to go on: %s (kill -CONT %d)",
		    pid, strerror(errno), pid);
}

/* ------------------------------------------------------------------ */
/* The control socket.							*/

static int same_user(int s)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return !getsockopt(s, SOL_SOCKET, SO_PEERCRED, &cred, &len) &&
	       (cred.uid == geteuid() || cred.uid == 0);
}

static void answer(int s)
{
	struct ukl_ctl req, reply = { .version = UKL_ABI_VERSION };
	struct iovec iov = { &reply, sizeof(reply) };
	union {
		char buf[CMSG_SPACE(sizeof(int) * (UKL_MAX_FDS + 2))];
		struct cmsghdr align;
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct timeval patience = { .tv_sec = 1 };
	struct cmsghdr *c;
	int fds[UKL_MAX_FDS + 2], n = 0, i;

	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (recv(s, &req, sizeof(req), 0) != sizeof(req))
		return;
	reply.op = req.op;
	if (!same_user(s))
		reply.error = -EPERM;
	else if (req.version != UKL_ABI_VERSION)
		reply.error = -EPROTONOSUPPORT;
	else if (req.op == UKL_CTL_HELLO) {
		fds[n++] = host.files.memory;
		fds[n++] = host.files.image;
		for (i = 0; i < UKL_MAX_FDS; i++)
			if (host.files.fd[i] >= 0) {
				reply.fds |= 1u << i;
				fds[n++] = host.files.fd[i];
			}
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	} else if (req.op == UKL_CTL_STOP) {
		kill(getpid(), SIGTERM);
	} else
		reply.error = -EINVAL;
	if (sendmsg(s, &msg, MSG_NOSIGNAL) < 0)
		say("warning: control socket: %s", strerror(errno));
}

static void listen_control(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (!host.dir)
		return;
	if (snprintf(host.lock_path, sizeof(host.lock_path), "%s/lock",
		     host.dir) >= (int)sizeof(host.lock_path) ||
	    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/control",
		     host.dir) >= (int)sizeof(addr.sun_path))
		fail("%s: the name of the instance's directory is too long",
		     host.dir);
	if (mkdir(host.dir, 0700) && errno != EEXIST)
		fail("%s: %s", host.dir, strerror(errno));
	host.lock_fd = open(host.lock_path, O_RDWR | O_CREAT | O_CLOEXEC,
			    0600);
	if (host.lock_fd < 0) {
		int err = errno;

		host.lock_path[0] = 0;
		fail("%s/lock: %s", host.dir, strerror(err));
	}
	if (flock(host.lock_fd, LOCK_EX | LOCK_NB)) {
		host.lock_path[0] = 0;
		fail("an instance named %s is running already "
		     "(ukl stop %s ends it)", host.name, host.name);
	}
	unlink(addr.sun_path);
	host.listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (host.listen_fd < 0 ||
	    bind(host.listen_fd, (void *)&addr, sizeof(addr)) ||
	    listen(host.listen_fd, 128))
		fail("%s: %s", addr.sun_path, strerror(errno));
	memcpy(host.control, addr.sun_path, sizeof(addr.sun_path));
	chmod(host.control, 0600);
}

/* ------------------------------------------------------------------ */
/* Start.								*/

static unsigned long parse_size(const char *s)
{
	char *end;
	unsigned long n = strtoul(s, &end, 0);

	if (*end == 'K')
		n <<= 10, end++;
	else if (*end == 'M')
		n <<= 20, end++;
	else if (*end == 'G')
		n <<= 30, end++;
	if (*end || end == s || n < MIN_MEMORY || n > MAX_MEMORY)
		fail("--memory %s: give a size from 32M to 1024G", s);
	return n & -4096UL;
}

static void make_memory(void)
{
	int fd = memfd_create("ukl-kernel", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, host.memory))
		fail("cannot make %lu MiB of shared memory: %s",
		     host.memory / MIB, strerror(errno));
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	host.files.memory = fd;
}

static void fill_data(void)
{
	const struct ukl_image *head = ukl_head();
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	unsigned long done;
	ssize_t n;
	int i;

	if (pread(host.files.image, &eh, sizeof(eh), 0) != sizeof(eh))
		goto torn;
	for (i = 0; i < eh.e_phnum; i++) {
		if (pread(host.files.image, &ph, sizeof(ph),
			  eh.e_phoff + i * sizeof(ph)) != sizeof(ph))
			goto torn;
		if (ph.p_type != PT_LOAD || ph.p_vaddr < head->data)
			continue;
		for (done = 0; done < ph.p_filesz; done += n) {
			n = pread(host.files.image,
				  (void *)(ph.p_vaddr + done),
				  ph.p_filesz - done, ph.p_offset + done);
			if (n <= 0)
				goto torn;
		}
	}
	return;
torn:
	fail("%s: the kernel image is incomplete (ukl build --force makes it "
	     "anew)", host.image_path);
}

/*
 * What a booting kernel writes to first: its table of pages, at the end of the
 * memory, and some pages from the first large block of the page allocator on.
 * They are made beside the boot, which would fault on each of them.
 */
#define BLOCK		(4 * MIB)
#define FIRST_PAGES	(460 * 4096UL)
#define PER_PAGE	64

static void *memory_thread(void *unused)
{
	unsigned long end = UKL_BASE + host.memory;
	unsigned long table = host.memory / 4096 * PER_PAGE & -4096UL;
	unsigned long first = (ukl_head()->end + BLOCK - 1) & -BLOCK;

	(void)unused;
	prctl(PR_SET_NAME, "ukl-memory");
	/* A hint: older hosts do not know it. */
	madvise((void *)(end - table), table, MADV_POPULATE_WRITE);
	madvise((void *)first, FIRST_PAGES, MADV_POPULATE_WRITE);
	return NULL;
}

static void map_instance(void)
{
	int err = ukl_map(host.files.memory, host.files.image, NULL);

	switch (-err) {
	case 0:
		break;
	case ENOEXEC:
		fail("%s: not a library kernel (ukl build makes one)",
		     host.image_path);
	case EPROTONOSUPPORT:
		fail("%s: the kernel has another interface version than this "
		     "program (ukl build makes one that fits)",
		     host.image_path);
	case EEXIST:
		fail("the address range from %#lx is in use in this process; "
		     "was ukl-host itself run with a preloaded library?",
		     UKL_BASE);
	case ENOMEM:
		fail("%lu MiB of memory is too little for the kernel or too "
		     "much for this machine (--memory)", host.memory / MIB);
	default:
		fail("cannot map the kernel: %s", strerror(-err));
	}
	if (many_cpus())
		start_thread(memory_thread, NULL);
	text_start(host.files.memory);
	fill_data();
	host.shared = ukl_head()->shared;
}

/*
 * Linux would allow a machine of 64 MB 256 connections that are closing, and
 * reset the others; and half the boot went into testing a source of random
 * numbers (the host gives ours).  Words of the user's come later, and win.
 */
static const char own_words[] =
	"thash_entries=8192 initcall_blacklist=jent_mod_init ";

static void boot(void)
{
	static struct ukl_boot info;
	struct ukl_thread *th;

	info.ram = host.memory;
	info.tsc_khz = known_tsc_khz();
	if (!info.tsc_khz)
		info.tsc_khz = measured_tsc_khz();
	if (getrandom(info.seed, sizeof(info.seed), 0) != sizeof(info.seed))
		fail("cannot get random numbers: %s", strerror(errno));
	snprintf(info.cmdline, sizeof(info.cmdline), "%s%s", own_words,
		 host.cmdline);
	info.realtime = now_ns(CLOCK_REALTIME);
	info.tsc = __builtin_ia32_rdtsc();

	th = service_record();
	/* No deadline yet: the timer thread starts before the kernel. */
	host.shared->tsc_khz = info.tsc_khz;
	host.shared->deadline = ~0UL;
	host.shared->timer_sleeps = ~0UL;
	start_thread(timer_thread, service_record());
	if (ukl_head()->boot(th, &info))
		fail("the library kernel did not boot: %s",
		     host.shared->last_words);
	/* The boot thread becomes a process, for calls of our own. */
	th->state = UKL_TH_NEW;
	th->tid = gettid();
	if (ukl_thread_enter(th) || ukl_head()->join(th))
		fail("the library kernel has no room for a process");
	host.worker = th;
	host.service = service_record();
}

static void add_descriptor(int slot, int fd)
{
	if (fd < 0)
		fail("cannot make an eventfd: %s", strerror(errno));
	host.files.fd[slot] = fd;
	host.worker->proc->fd[slot] = fd;
}

/* For pings to near hosts, where the host lets its users ping. */
static void add_ping_sockets(void)
{
	int fd4 = echo_socket(AF_INET), fd6 = echo_socket(AF_INET6);

	if (fd4 >= 0)
		add_descriptor(UKL_FD_PING4, fd4);
	if (fd6 >= 0)
		add_descriptor(UKL_FD_PING6, fd6);
}

static void add_devices(char **specs, int n)
{
	struct ukl_dev dev[UKL_MAX_DEVS];
	long err;
	int i;

	for (i = 0; i < n; i++)
		add_descriptor(i, device_open(specs[i], i, &dev[i]));
	if (host.capture)
		add_descriptor(UKL_FD_CAPTURE,
			       capture_open(host.capture, dev, n));
	for (i = 0; i < n; i++) {
		if (host.capture)
			dev[i].flags |= UKL_DEV_F_CAPTURE;
		err = ukl_syscall(host.worker, UKL_SYS_NETDEV, i, (long)&dev[i],
				  0, 0, 0, 0);
		if (err < 0)
			fail("--device %s: %s", specs[i], strerror(-err));
		if (device_watch(i) >= 0)
			update_wire(i);
		if (dev[i].kind == UKL_DEV_USER) {
			if (host.files.fd[UKL_FD_PING4] < 0)
				add_ping_sockets();
			user_start(i, host.worker);
		}
		if (dev[i].kind == UKL_DEV_TAP) {
			senders[i] = service_record();
			start_thread(sender_thread, (void *)(long)i);
		}
	}
}

static void add_event(int fd, uint64_t datum)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = datum };

	if (epoll_ctl(host.epoll_fd, EPOLL_CTL_ADD, fd, &ev))
		fail("epoll: %s", strerror(errno));
}

/*
 * The launcher becomes the target.  Until then others may come and go, one
 * that loads a ruleset, say; if it dies before, nobody will come.
 */
static void live_for(int pid)
{
	int fd = syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0 && errno != ESRCH)
		fail("--for-pid %d: %s", pid, strerror(errno));
	if (fd < 0) {
		host.was_for = 1;
		return;
	}
	host.for_fd = fd;
	add_event(fd, ON_FOR);
}

static void stop(void)
{
	/* Who has just detached is not one of ours to end. */
	scan();
	if (host.dismissed)
		return;		/* it is ending by itself */
	if (host.stopping) {
		kill_all(SIGKILL);
		return;
	}
	kill_those(SIGTERM, 0);
	host.kill_at = now_ns(CLOCK_MONOTONIC) + STOP_SECONDS * 1000000000UL;
	host.stopping = 1;
}

static void on_event(uint64_t datum)
{
	struct signalfd_siginfo info;
	uint64_t count;
	int s;

	if (datum == ON_LISTEN) {
		s = accept4(host.listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (s >= 0) {
			answer(s);
			close(s);
		}
	} else if (datum == ON_SIGNAL) {
		if (read(host.signal_fd, &info, sizeof(info)) > 0)
			stop();
	} else if (datum == ON_WORD) {
		if (read(word_event, &count, sizeof(count)) < 0)
			return;
		if (host.shared->dead)
			died();
		scan();
		end_stall();
	} else if (datum == ON_FOR) {
		close(host.for_fd);
		host.for_fd = 0;
		host.was_for = 1;
	} else if (datum <= ON_WIRE(0) && datum > ON_WIRE(UKL_MAX_DEVS)) {
		give_job(JOB_WIRE(ON_WIRE(0) - datum));
	} else if (has_died(datum)) {
		/* A detached process's slot is another's, or nobody's. */
		if (host.shared->proc[datum].pid == watched[datum].pid)
			proc_died(datum);
		else
			unwatch(datum);
	}
}

/* May an instance without processes end, @seconds after its last one? */
static int has_lingered(int seconds)
{
	unsigned long now = now_ns(CLOCK_MONOTONIC);
	unsigned long until = now + seconds * 1000000000UL;

	if (host.files.fd[0] < 0)
		return 1;	/* no interface, nobody out there */
	if (host.lingering == LINGER_NOT) {
		host.linger_until = until;
		host.lingering = LINGER_ASKED;
		give_job(JOB_LINGER);
	} else if (until < host.linger_until) {
		host.linger_until = until;
	}
	/* The worker itself is not waited for. */
	return host.lingering == LINGER_DONE ||
	       now > host.linger_until + 1000000000UL;
}

/*
 * All but the services have gone.  They are asked to end, so that a lease is
 * given back, and the instance ends when they have.
 */
static void dismiss(void)
{
	if (!host.services)
		end(0);
	/* It is too late for others to join. */
	host.stopping = 1;
	if (!host.dismissed) {
		kill_those(SIGTERM, UKL_PROC_SERVICE);
		host.dismissed = now_ns(CLOCK_MONOTONIC) +
				 SERVICE_SECONDS * 1000000000UL;
		host.kill_at = host.dismissed;
	}
}

/* Looks after the files under way, if there are any.  ms to the next look. */
static int look_for_lost(void)
{
	static unsigned long next;
	unsigned long now = now_ns(CLOCK_MONOTONIC);

	if (!__atomic_load_n(&host.shared->lent, __ATOMIC_SEQ_CST))
		return -1;
	if (now >= next) {
		next = now + LENT_MS * 1000000UL;
		give_job(JOB_LENT);
	}
	return (next - now) / 1000000 + 1;
}

static void __attribute__((noreturn)) watch_instance(void)
{
	struct epoll_event ev[16];
	unsigned long give_up = now_ns(CLOCK_MONOTONIC) +
				JOIN_SECONDS * 1000000000UL;
	int i, n, live, wait, lost;

	for (;;) {
		live = scan();
		if (live)
			__atomic_store_n(&host.lingering, LINGER_NOT,
					 __ATOMIC_SEQ_CST);
		if (host.stopping) {
			if (!live && has_lingered(STOP_SECONDS))
				dismiss();
			wait = (host.dismissed ? SERVICE_SECONDS :
				STOP_SECONDS) * 1000;
		} else if (live || host.keep || host.for_fd) {
			wait = -1;
		} else if (host.shared->joined > 1 || host.was_for) {
			/* Someone beside the worker has been here. */
			if (has_lingered(LINGER_SECONDS))
				dismiss();
			wait = 1000;
		} else {
			wait = (long)(give_up - now_ns(CLOCK_MONOTONIC)) /
			       1000000;
			if (wait <= 0)
				end(0);
		}
		if (reap_orphans() && (wait < 0 || wait > ORPHAN_MS))
			wait = ORPHAN_MS;
		lost = look_for_lost();
		if (lost >= 0 && (wait < 0 || wait > lost))
			wait = lost;
		n = epoll_wait(host.epoll_fd, ev, 16, wait);
		if (host.stopping && now_ns(CLOCK_MONOTONIC) > host.kill_at)
			kill_those(SIGKILL, 0);
		/* Wherever they are: there is nothing to be kept whole. */
		if (host.dismissed &&
		    now_ns(CLOCK_MONOTONIC) > host.dismissed) {
			kill_those(SIGKILL, UKL_PROC_SERVICE);
			end(0);
		}
		for (i = 0; i < n; i++)
			on_event(ev[i].data.u64);
	}
}

/* Waits for the kernel host; a request to end is passed on, then enforced. */
static int wait_for_host(pid_t child, const sigset_t *set)
{
	struct timespec patience = { 2 * STOP_SECONDS + SERVICE_SECONDS, 0 };
	int asked = 0, status, sig;
	siginfo_t info;

	for (;;) {
		sig = asked ? sigtimedwait(set, &info, &patience) :
			      sigwaitinfo(set, &info);
		if (waitpid(child, &status, WNOHANG) == child)
			return status;
		if (sig == SIGTERM || sig == SIGINT) {
			kill(child, SIGTERM);
			asked = 1;
		} else if (asked && sig < 0 && errno == EAGAIN) {
			say("the kernel host does not end by itself");
			kill(child, SIGKILL);
		}
	}
}

/* Outlives the kernel host, and ends the instance if that one is killed. */
static void __attribute__((noreturn)) guard(pid_t child, const sigset_t *set)
{
	int status = wait_for_host(child, set), i, fd;
	struct ukl_shared *s;

	if (WIFEXITED(status))
		_exit(WEXITSTATUS(status));

	if (ukl_map(host.files.memory, host.files.image, NULL))
		_exit(1);
	s = ukl_head()->shared;
	say("the kernel host was killed by signal %d; the instance's "
	    "processes were killed", WTERMSIG(status));
	__atomic_store_n(&s->dead, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < UKL_MAX_PROCS; i++) {
		if ((s->proc[i].state != UKL_PROC_LIVE &&
		     s->proc[i].state != UKL_PROC_NEW) ||
		    s->proc[i].pid <= 0 || s->proc[i].pid == child)
			continue;
		fd = syscall(SYS_pidfd_open, s->proc[i].pid, 0);
		if (fd >= 0) {
			syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
			close(fd);
		}
	}
	end(1);
	__builtin_unreachable();
}

static const char usage[] =
"usage: ukl-host --image FILE [--name NAME] [--dir DIRECTORY] [--memory SIZE]\n"
"                [--for-pid PID]\n"
"                [--cmdline WORDS] [--device SPEC]... [--ready-fd N] [--keep]\n"
"                [--capture FILE] [--plan FILE]\n";

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "image", required_argument, 0, 'i' },
		{ "name", required_argument, 0, 'n' },
		{ "for-pid", required_argument, 0, 'f' },
		{ "dir", required_argument, 0, 'd' },
		{ "memory", required_argument, 0, 'm' },
		{ "cmdline", required_argument, 0, 'c' },
		{ "device", required_argument, 0, 'D' },
		{ "ready-fd", required_argument, 0, 'r' },
		{ "keep", no_argument, 0, 'k' },
		{ "capture", required_argument, 0, 'C' },
		{ "plan", required_argument, 0, 'p' },
		{ "help", no_argument, 0, 'h' },
		{ 0 },
	};
	char *specs[UKL_MAX_DEVS];
	int nspecs = 0, for_pid = 0, c, i;
	sigset_t set, guarded;
	pid_t child;
	char line[32];

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'i': host.image_path = optarg; break;
		case 'n': host.name = optarg; break;
		case 'f': for_pid = atoi(optarg); break;
		case 'd': host.dir = optarg; break;
		case 'm': host.memory = parse_size(optarg); break;
		case 'c': host.cmdline = optarg; break;
		case 'r': host.ready_fd = atoi(optarg); break;
		case 'k': host.keep = 1; break;
		case 'C': host.capture = optarg; break;
		case 'p': host.plan = optarg; break;
		case 'D':
			if (nspecs == UKL_MAX_DEVS)
				fail("--device: at most %d", UKL_MAX_DEVS);
			specs[nspecs++] = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 125;
		}
	}
	if (!host.image_path || optind < argc) {
		fputs(usage, stderr);
		return 125;
	}
	if (strlen(host.cmdline) > sizeof(((struct ukl_boot *)0)->cmdline) -
				   sizeof(own_words))
		fail("--cmdline: at most %zu characters",
		     sizeof(((struct ukl_boot *)0)->cmdline) -
		     sizeof(own_words));

	signal(SIGPIPE, SIG_IGN);
	started.ns = now_ns(CLOCK_MONOTONIC_RAW);
	started.tsc = __builtin_ia32_rdtsc();
	for (i = 0; i < UKL_MAX_FDS; i++)
		host.files.fd[i] = -1;
	host.files.image = open(host.image_path, O_RDONLY | O_CLOEXEC);
	if (host.files.image < 0)
		fail("%s: %s (ukl build makes the library kernel)",
		     host.image_path, strerror(errno));
	check_tsc();
	listen_control();
	make_memory();

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	guarded = set;
	sigaddset(&guarded, SIGCHLD);
	sigprocmask(SIG_BLOCK, &guarded, NULL);
	child = fork();
	if (child < 0)
		fail("fork: %s", strerror(errno));
	if (child) {
		if (host.ready_fd >= 0)
			close(host.ready_fd);
		guard(child, &guarded);
	}
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	prctl(PR_SET_NAME, "ukl-host");

	map_instance();
	boot();
	add_descriptor(UKL_FD_KICK, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	add_descriptor(UKL_FD_IO, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	for (i = 0; i < UKL_MAX_WAITS; i++)
		add_descriptor(UKL_FD_WAIT + i,
			       eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	start_thread(device_thread, service_record());
	add_devices(specs, nspecs);
	if (host.plan)
		plan_replay(host.plan, host.worker);

	host.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	host.signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	word_event = eventfd(0, EFD_CLOEXEC);
	if (host.epoll_fd < 0 || host.signal_fd < 0 || word_event < 0)
		fail("%s", strerror(errno));
	add_event(host.signal_fd, ON_SIGNAL);
	add_event(word_event, ON_WORD);
	if (for_pid)
		live_for(for_pid);
	if (host.dir)
		add_event(host.listen_fd, ON_LISTEN);
	for (i = 0; i < nspecs; i++)
		if (device_watch(i) >= 0)
			add_event(device_watch(i), ON_WIRE(i));
	if (pipe2(jobs, O_CLOEXEC))
		fail("%s", strerror(errno));
	start_thread(worker_thread, NULL);
	start_thread(word_thread, NULL);

	if (host.ready_fd >= 0) {
		i = snprintf(line, sizeof(line), "%d\n", getpid());
		/* Who has died meanwhile is --for-pid's business. */
		if (write(host.ready_fd, line, i) != i && errno != EPIPE)
			fail("--ready-fd: %s", strerror(errno));
		close(host.ready_fd);
	}
	watch_instance();
}
