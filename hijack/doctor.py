"""Looks whether this machine can run instances; each check says one thing."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hijack import files, paths, runtime, stamp, tools
from hijack.errors import UklError

OK, WARNING, PROBLEM = "ok", "warning", "problem"

_OLDEST = (5, 11)
_PR_SET_SYSCALL_USER_DISPATCH = 59
_AT_HWCAP2 = 26
_HWCAP2_FSGSBASE = 1 << 1
_CLONE_NEWUSER = 0x10000000
_SPACE = 3_000_000_000  # a kernel build's work tree
_ADDRESSES = 4 << 30
_DESCRIPTORS = 1024


@dataclass(frozen=True)
class Finding:
    """What a check found: ``level`` is ok, warning or problem."""

    check: str
    level: str
    text: str
    mend: str = ""


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def host_kernel() -> Iterator[Finding]:
    """Its version, and the architecture."""
    release, machine = platform.release(), platform.machine()
    if machine != "x86_64":
        yield Finding("host", PROBLEM, f"{machine}: ukl is for x86-64 only")
        return
    version = tuple(int(word) for word in release.split("-")[0].split(".")[:2])
    if version < _OLDEST:
        yield Finding(
            "host", PROBLEM, f"Linux {release} is too old", "Linux 5.11 is needed"
        )
    else:
        yield Finding("host", OK, f"Linux {release}, {machine}")


def syscall_dispatch() -> Iterator[Finding]:
    """Syscall User Dispatch, the shim's catch-all; switching it off is harmless."""
    if _libc().prctl(_PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0) == 0:
        yield Finding("syscall dispatch", OK, "Syscall User Dispatch is there")
    else:
        yield Finding(
            "syscall dispatch",
            PROBLEM,
            f"no Syscall User Dispatch: {os.strerror(ctypes.get_errno())}",
            "it needs a host kernel from 5.11 with CONFIG_GENERIC_ENTRY",
        )


def fsgsbase() -> Iterator[Finding]:
    """Whether programs may set their segment bases without a system call."""
    libc = _libc()
    libc.getauxval.restype = ctypes.c_ulong
    if libc.getauxval(_AT_HWCAP2) & _HWCAP2_FSGSBASE:
        yield Finding("fsgsbase", OK, "programs can set their segment bases")
    else:
        yield Finding(
            "fsgsbase",
            WARNING,
            "programs cannot set their segment bases by themselves",
            "it needs a host kernel from 5.9 without nofsgsbase, and the processor's",
        )


def shared_memory() -> Iterator[Finding]:
    """A sealed memfd, and the limits on the memory of an instance."""
    try:
        descriptor = os.memfd_create("ukl-doctor", os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, 64 << 20)
        finally:
            os.close(descriptor)
    except OSError as error:
        yield Finding("shared memory", PROBLEM, f"no memfd: {error.strerror}")
    else:
        yield Finding("shared memory", OK, "64 MB of it can be made")
    for name, number, least in (
        ("address space", resource.RLIMIT_AS, _ADDRESSES),
        ("file size", resource.RLIMIT_FSIZE, 64 << 20),
        ("open files", resource.RLIMIT_NOFILE, _DESCRIPTORS),
    ):
        soft, _ = resource.getrlimit(number)
        if soft != resource.RLIM_INFINITY and soft < least:
            yield Finding(
                "limits", WARNING, f"the limit on {name} is {soft}", "see ulimit -a"
            )
    with suppress(OSError):
        if Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2":
            yield Finding(
                "overcommit",
                WARNING,
                "the host does not overcommit memory: each process of an instance "
                "is charged for all of the instance's",
                "sysctl vm.overcommit_memory=0",
            )


def clock() -> Iterator[Finding]:
    """Whether the host trusts its time stamp counter."""
    path = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    with suppress(OSError):
        source = path.read_text().strip()
        if source.startswith(("tsc", "kvm-clock", "hyperv")):
            yield Finding("clock", OK, f"the host's clock source is {source}")
        else:
            yield Finding(
                "clock",
                WARNING,
                f"the host's clock source is {source}, so its time stamp counter "
                "may drift, and an instance's timers with it",
            )


def tap() -> Iterator[Finding]:
    """Whether TAP devices can be made or used."""
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        yield Finding(
            "tap",
            WARNING,
            f"/dev/net/tun: {error.strerror}; backend: tap is not possible",
            "backend: user needs no rights",
        )
    else:
        yield Finding("tap", OK, "/dev/net/tun can be opened")


def user_namespaces() -> Iterator[Finding]:
    """Whether this user may make some; only tests of ours need them."""
    child = os.fork()
    if child == 0:
        os._exit(0 if _libc().unshare(_CLONE_NEWUSER) == 0 else 1)
    _, status = os.waitpid(child, 0)
    have = "can be made" if status == 0 else "cannot be made; ukl works without"
    yield Finding("namespaces", OK, f"user namespaces {have}")


def cache() -> Iterator[Finding]:
    """The directory of all that ukl keeps."""
    root = paths.cache_root()
    place = root
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        yield Finding(
            "cache",
            WARNING,
            f"{root} cannot be written to",
            "set XDG_CACHE_HOME to a directory you may write to, to build",
        )
        return
    free = files.free_bytes(root)
    level = OK if free > _SPACE else WARNING
    text = f"{root}, {files.human_size(free)} free"
    yield Finding("cache", level, text, "" if level == OK else "a build may need 3 GB")


def build_tools() -> Iterator[Finding]:
    """What a build needs."""
    missing = sorted({one.package for one in tools.BUILD_TOOLS if not one.is_met()})
    if missing:
        mend = " ".join(tools.install_command(missing))
        yield Finding("tools", WARNING, f"not there: {', '.join(missing)}", mend)
    else:
        yield Finding("tools", OK, "everything a build needs is there")


def build() -> Iterator[Finding]:
    """Whether the build is complete and of this checkout's files."""
    try:
        built = runtime.built()
    except UklError as error:
        yield Finding("build", PROBLEM, error.message, error.hint)
        return
    if stamp.is_current(paths.checkout_root()):
        size = files.human_size(built.image.stat().st_size)
        yield Finding("build", OK, f"current; the library kernel has {size}")
    else:
        yield Finding(
            "build",
            WARNING,
            "the build is older than the sources, or was stopped",
            "ukl build, or the next ukl-run, brings it up to date",
        )


def instance() -> Iterator[Finding]:
    """Boots one, and ends it."""
    try:
        # It boots without the shim too.
        built = runtime.built(Path(os.devnull))
        with runtime.claim_new("doctor") as directory:
            begun = time.monotonic()
            started = runtime.start(
                directory, built, runtime.EmptyPlan(memory="32M"), keep=True
            )
            try:
                started.wait()
                took = time.monotonic() - begun
            finally:
                started.cancel()
    except UklError as error:
        yield Finding("instance", PROBLEM, error.message, error.hint)
        return
    yield Finding("instance", OK, f"one boots in {took * 1000:.0f} ms")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    host_kernel,
    syscall_dispatch,
    fsgsbase,
    shared_memory,
    clock,
    tap,
    user_namespaces,
    cache,
    build_tools,
    build,
    instance,
)
"""In the order in which they are made and shown."""
