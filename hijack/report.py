"""The report of a run: what its system calls were, and who answered them.

The processes of the run count in shared memory (``libhijack_c/report.c``).  A child
of the launcher's, which is nobody's child soon, makes a text of it when the run's
first process ends, and again when its last one has, if that has made more calls.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import signal
import socket
import stat
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from hijack.errors import UklError
from hijack.record import Record

_MAGIC = 0x31747065726B6C75
_CALLS, _ERRORS, _SITES = 512, 4096, 2048
_HEAD = struct.Struct("<QIIQQ")
_COUNT = struct.Struct(f"<{_CALLS}Q")
_ERROR = struct.Struct("<QQ")
_SITE = struct.Struct("<QQQqQ216s")
_SIZE = _HEAD.size + 3 * _COUNT.size + _ERRORS * _ERROR.size + _SITES * _SITE.size
WHO = ("host", "library kernel", "ukl")
"""Who answers a call; ukl itself only refuses."""

_LOW = """
read write open close stat fstat lstat poll lseek mmap mprotect munmap brk
rt_sigaction rt_sigprocmask rt_sigreturn ioctl pread64 pwrite64 readv writev access
pipe select sched_yield mremap msync mincore madvise shmget shmat shmctl dup dup2
pause nanosleep getitimer alarm setitimer getpid sendfile socket connect accept
sendto recvfrom sendmsg recvmsg shutdown bind listen getsockname getpeername
socketpair setsockopt getsockopt clone fork vfork execve exit wait4 kill uname
semget semop semctl shmdt msgget msgsnd msgrcv msgctl fcntl flock fsync fdatasync
truncate ftruncate getdents getcwd chdir fchdir rename mkdir rmdir creat link unlink
symlink readlink chmod fchmod chown fchown lchown umask gettimeofday getrlimit
getrusage sysinfo times ptrace getuid syslog getgid setuid setgid geteuid getegid
setpgid getppid getpgrp setsid setreuid setregid getgroups setgroups setresuid
getresuid setresgid getresgid getpgid setfsuid setfsgid getsid capget capset
rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend sigaltstack utime mknod
uselib personality ustat statfs fstatfs sysfs getpriority setpriority sched_setparam
sched_getparam sched_setscheduler sched_getscheduler sched_get_priority_max
sched_get_priority_min sched_rr_get_interval mlock munlock mlockall munlockall
vhangup modify_ldt pivot_root _sysctl prctl arch_prctl adjtimex setrlimit chroot
sync acct settimeofday mount umount2 swapon swapoff reboot sethostname setdomainname
iopl ioperm create_module init_module delete_module get_kernel_syms query_module
quotactl nfsservctl getpmsg putpmsg afs_syscall tuxcall security gettid readahead
setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr
flistxattr removexattr lremovexattr fremovexattr tkill time futex sched_setaffinity
sched_getaffinity set_thread_area io_setup io_destroy io_getevents io_submit
io_cancel get_thread_area lookup_dcookie epoll_create epoll_ctl_old epoll_wait_old
remap_file_pages getdents64 set_tid_address restart_syscall semtimedop fadvise64
timer_create timer_settime timer_gettime timer_getoverrun timer_delete clock_settime
clock_gettime clock_getres clock_nanosleep exit_group epoll_wait epoll_ctl tgkill
utimes vserver mbind set_mempolicy get_mempolicy mq_open mq_unlink mq_timedsend
mq_timedreceive mq_notify mq_getsetattr kexec_load waitid add_key request_key keyctl
ioprio_set ioprio_get inotify_init inotify_add_watch inotify_rm_watch migrate_pages
openat mkdirat mknodat fchownat futimesat newfstatat unlinkat renameat linkat
symlinkat readlinkat fchmodat faccessat pselect6 ppoll unshare set_robust_list
get_robust_list splice tee sync_file_range vmsplice move_pages utimensat epoll_pwait
signalfd timerfd_create eventfd fallocate timerfd_settime timerfd_gettime accept4
signalfd4 eventfd2 epoll_create1 dup3 pipe2 inotify_init1 preadv pwritev
rt_tgsigqueueinfo perf_event_open recvmmsg fanotify_init fanotify_mark prlimit64
name_to_handle_at open_by_handle_at clock_adjtime syncfs sendmmsg setns getcpu
process_vm_readv process_vm_writev kcmp finit_module sched_setattr sched_getattr
renameat2 seccomp getrandom memfd_create kexec_file_load bpf execveat userfaultfd
membarrier mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc
pkey_free statx io_pgetevents rseq
"""
_HIGH = """
pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree
move_mount fsopen fsconfig fsmount fspick pidfd_open clone3 close_range openat2
pidfd_getfd faccessat2 process_madvise epoll_pwait2 mount_setattr quotactl_fd
landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret
process_mrelease futex_waitv set_mempolicy_home_node cachestat fchmodat2
map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount
lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal
"""
_NAMES = {**dict(enumerate(_LOW.split())), **dict(enumerate(_HIGH.split(), 424))}


def name_of(call: int) -> str:
    """The name of the system call with that number on x86-64."""
    if call == _CALLS - 1:
        return "others"
    return _NAMES.get(call, f"syscall_{call}") if call >= 0 else "several"


def name_of_error(number: int) -> str:
    """As ``ENOENT``."""
    return errno.errorcode.get(number, f"errno {number}")


class Call(Record):
    """How often a call was made, by who answered."""

    name: str
    answered: tuple[int, int, int]


class Failure(Record):
    """How often a call failed in one way."""

    name: str
    who: str
    error: str
    count: int


class Site(Record):
    """Code whose calls trapped; ``offset`` is in ``file``, or an address."""

    file: str
    offset: int
    name: str
    count: int


class Report(Record):
    """What was counted, the most frequent first."""

    command: tuple[str, ...]
    calls: list[Call]
    failures: list[Failure]
    sites: list[Site]
    lost_failures: int
    lost_traps: int

    def total(self, who: int) -> int:
        """All calls that one of ``WHO`` answered."""
        return sum(call.answered[who] for call in self.calls)

    def trapped(self) -> int:
        """All calls that were trapped."""
        return sum(site.count for site in self.sites) + self.lost_traps

    def as_json(self) -> str:
        """Everything, for programs."""
        made = sum(self.total(who) for who in range(len(WHO)))
        value = {
            "command": list(self.command),
            "total": {
                "calls": made,
                "host": self.total(0),
                "library": self.total(1),
                "refused": self.total(2),
                "trapped": self.trapped(),
            },
            "calls": [
                dict(
                    zip(
                        ("call", "host", "library", "refused"),
                        (one.name, *one.answered),
                        strict=True,
                    )
                )
                for one in self.calls
            ],
            "refused": [_json_of(one) for one in self.failures if one.who == WHO[2]],
            "failed": [_json_of(one) for one in self.failures if one.who != WHO[2]],
            "trapped": [
                {
                    "file": one.file or None,
                    "offset": one.offset,
                    "call": one.name,
                    "count": one.count,
                }
                for one in self.sites
            ],
            "lost": {"failed": self.lost_failures, "trapped": self.lost_traps},
        }
        return json.dumps(value, indent=1) + "\n"

    def as_text(self) -> str:
        """For people."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        made = sum(self.total(who) for who in range(len(WHO)))
        yield f"ukl: {' '.join(self.command)}"
        yield ""
        where = f"{self.total(1)} in the library kernel, {self.total(0)} on the host"
        more = f"{self.total(2)} refused by ukl; {self.trapped()} trapped"
        yield f"{made} calls: {where}, {more}"
        yield ""
        yield f"{'call':<24}{'library kernel':>16}{'host':>12}{'refused':>12}"
        for one in self.calls:
            host, library, refused = (str(n) if n else "" for n in one.answered)
            yield f"{one.name:<24}{library:>16}{host:>12}{refused:>12}".rstrip()
        for title, ours in (("refused by ukl", True), ("failed", False)):
            some = [one for one in self.failures if (one.who == WHO[2]) == ours]
            yield ""
            yield f"{title}: {sum(one.count for one in some) or 'nothing'}"
            for each in some:
                who = "" if ours else f"  [{each.who}]"
                yield f"{each.count:>10}  {each.name} {each.error}{who}"
            if self.lost_failures and not ours:
                yield f"{self.lost_failures:>10}  others"
        yield ""
        yield f"trapped, not rewritten: {self.trapped() or 'nothing'}"
        for site in self.sites:
            where = f"{site.file}+{site.offset:#x}"
            if not site.file:
                where = f"no file, at {site.offset:#x}"
            yield f"{site.count:>10}  {site.name}  {where}"
        if self.lost_traps:
            yield f"{self.lost_traps:>10}  elsewhere"


def _json_of(one: Failure) -> dict[str, object]:
    value: dict[str, object] = {"call": one.name, "error": one.error}
    if one.who != WHO[2]:
        value["by"] = "host" if one.who == WHO[0] else "library"
    return {**value, "count": one.count}


def read(memory: bytes, command: Sequence[str]) -> Report:
    """What the processes have counted."""
    magic, _, _, lost_failures, lost_traps = _HEAD.unpack_from(memory)
    assert magic == _MAGIC
    at = _HEAD.size
    counts = []
    for _ in WHO:
        counts.append(_COUNT.unpack_from(memory, at))
        at += _COUNT.size
    calls = [
        Call(name_of(number), (one[0], one[1], one[2]))
        for number, one in enumerate(zip(*counts, strict=True))
        if any(one)
    ]
    failures = []
    for key, count in _ERROR.iter_unpack(memory[at : at + _ERRORS * _ERROR.size]):
        if key:
            who, call, number = key >> 32 & 0xFF, key >> 16 & 0xFFFF, key & 0xFFFF
            failures.append(
                Failure(name_of(call), WHO[who], name_of_error(number), count)
            )
    at += _ERRORS * _ERROR.size
    sites = []
    for key, count, offset, call, ready, path in _SITE.iter_unpack(
        memory[at : at + _SITES * _SITE.size]
    ):
        if key and ready:
            file = path.partition(b"\0")[0].decode(errors="replace")
            sites.append(Site(file, offset, name_of(call), count))
    calls.sort(key=lambda one: (-sum(one.answered), one.name))
    failures.sort(key=lambda one: (-one.count, one.name, one.error))
    sites.sort(key=lambda one: (-one.count, one.file, one.offset))
    return Report(tuple(command), calls, failures, sites, lost_failures, lost_traps)


class Reporter:
    """Makes a report of the process that has called it, and of its children."""

    def __init__(self, file: Path, command: Sequence[str]) -> None:
        """Raises UklError if ``file`` cannot be written."""
        self.file = file
        self.command = tuple(command)
        try:
            self._out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise UklError(f"--report: cannot write {file}: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(self._out).st_mode):
            raise UklError(f"--report: {file} is not a regular file")

    def start(self) -> str:
        """Leave the writer behind; the value of UKL_REPORT for the caller's exec."""
        shared = os.memfd_create("ukl-report", os.MFD_CLOEXEC)
        os.truncate(shared, _SIZE)
        os.pwrite(shared, _HEAD.pack(_MAGIC, os.getpid(), 0, 0, 0), 0)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child = os.fork()
        if not child:
            try:
                theirs.close()
                if not os.fork():
                    self._write_in_the_end(shared, ours)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        ours.close()
        os.close(self._out)
        word = theirs.detach()
        os.set_inheritable(shared, True)
        os.set_inheritable(word, True)
        return f"{shared},{word}"

    def _write_in_the_end(self, shared: int, words: socket.socket) -> None:
        """As nobody's child, until the run has ended."""
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        os.chdir("/")
        kept = sorted((shared, words.fileno(), self._out))
        for low, high in zip([2, *kept], [*kept, 1 << 20], strict=True):
            os.closerange(low + 1, high)
        written = b""
        with mmap.mmap(shared, _SIZE, prot=mmap.PROT_READ) as memory:
            while words.recv(1):
                written = memory[:]
                self._write(written)
                with contextlib.suppress(BrokenPipeError):
                    words.send(b"y")
            if memory[:] != written:
                self._write(memory[:])

    def _write(self, memory: bytes) -> None:
        report = read(memory, self.command)
        as_json = self.file.suffix == ".json"
        text = (report.as_json() if as_json else report.as_text()).encode()
        os.pwrite(self._out, text, 0)
        os.ftruncate(self._out, len(text))
