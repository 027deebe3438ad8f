"""Instance directories: making, finding and clearing them, and starting in them.

::

    $XDG_RUNTIME_DIR/ukl/NAME/     else /run/user/UID/ukl, else /tmp/ukl-UID
        control, lock              the kernel host's: its socket, held while it lives
        instance.json              what was started, for ``ukl ps``
        etc/                       resolv.conf, hosts, hostname: the target's views
        dhcp                       the leases of its interfaces
        plan                       the boot plan
        log                        the kernel host's standard error

The directory itself is locked (flock) from the moment it is made: first by the
launcher, then by the kernel host, which inherits the descriptor.  One whose two
locks are free belongs to nobody: its kernel host is dead.

``ukl-run`` imports this on every start, so nothing slow is imported at the top.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType

from hijack import paths
from hijack.errors import UklError
from hijack.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from hijack.plan import Dhcp

    class Plan(Protocol):
        """What the launcher asks of a compiled profile; ``hijack.plan`` makes them."""

        @property
        def data(self) -> bytes: ...
        @property
        def devices(self) -> Sequence[str]: ...
        @property
        def memory(self) -> str: ...
        @property
        def cmdline(self) -> str: ...
        @property
        def capture(self) -> str | None: ...
        @property
        def environment(self) -> Mapping[str, str | None]: ...
        @property
        def hosts(self) -> str: ...
        @property
        def resolv_conf(self) -> str: ...
        @property
        def hostname(self) -> str: ...
        @property
        def ulimits(self) -> Mapping[str, tuple[int, int]]: ...
        @property
        def packages(self) -> Mapping[str, str]: ...
        @property
        def nftables(self) -> str: ...
        @property
        def nftables_place(self) -> str: ...
        @property
        def dhcp(self) -> Sequence[Dhcp]: ...
        def expand(self) -> list[str]: ...


BOOT_SECONDS = 30.0
"""How long a kernel host may take to say that it is ready."""
KEPT_SECONDS = 24 * 3600.0
"""How long the log of an instance that died is kept."""

_CLAIM_SECONDS = 1.0
_CANCEL_SECONDS = 10.0
_LONGEST_NAME = 40
_LONGEST_PATH = 107  # a Unix socket's address, without its final 0
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
SHIM_WORDS = frozenset(
    f"UKL_{word}"
    for word in (
        *("INSTANCE", "TRACE", "REWRITE", "VIA"),
        *("STATE", "PROGRAM", "IMAGE", "PAD", "SERVICE"),
    )
)
"""What ``take_words()`` in ``libhijack_c/attach.c`` takes out of an environment."""
# Also in kernel/host/main.c, which removes these when the instance ends.
_OURS = (
    *("etc/resolv.conf", "etc/resolv.conf.new", "etc/hosts", "etc/hostname"),
    *("instance.json", "plan", "log", "dhcp", "dhcp.new"),
)

SHIM = "libhijack_c/libukl-hijack.so"
"""The shim, below the meson build directory."""


_NOTHING: Mapping[str, Any] = MappingProxyType({})


class EmptyPlan(Record):
    """No interface but ``lo``: an instance to look at, as ``ukl doctor`` does."""

    data: bytes = b""
    devices: tuple[str, ...] = ()
    memory: str = "64M"
    cmdline: str = ""
    capture: str | None = None
    environment: Mapping[str, str | None] = _NOTHING
    hosts: str = ""
    resolv_conf: str = ""
    hostname: str = ""
    ulimits: Mapping[str, tuple[int, int]] = _NOTHING
    packages: Mapping[str, str] = _NOTHING
    nftables: str = ""
    nftables_place: str = ""
    dhcp: tuple[Dhcp, ...] = ()

    def expand(self) -> list[str]:
        """The devices; there is nothing to fill in."""
        return list(self.devices)


def load_plan(
    sources: Sequence[str], overrides: Sequence[str], publish: Sequence[str]
) -> Plan:
    """The plan of the profiles ``sources``, each ``KEY=VALUE`` laid over them.

    ``publish`` are ports to publish beside the profiles'.

    Raises UklError for a profile that is wrong.
    """
    # Imported here: the other verbs have no use for it.
    from hijack import plan

    return plan.cached(sources, overrides, publish)


# -- what the build made -------------------------------------------------------


class Built(Record):
    """Files that ``ukl build`` made."""

    host: Path
    image: Path
    shim: Path


def built(shim: Path | None = None) -> Built:
    """The kernel host, the library kernel and the shim of this checkout.

    ``shim`` is used instead of the shim that was built, if given.  Raises
    UklError if one of them is not there.
    """
    directory = paths.meson_directory(paths.checkout_root())
    mend = "ukl build makes it"
    host = directory / "kernel" / "host" / "ukl-host"
    if not os.access(host, os.X_OK):
        raise UklError("the kernel host has not been built", mend)
    result = directory / "kernel" / "kernel-image.json"
    try:
        image = Path(json.loads(result.read_bytes())["image"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UklError("the library kernel has not been built", mend) from None
    if not os.access(image, os.R_OK):
        raise UklError("there is no library kernel", mend)
    shim = shim or directory / SHIM
    if not os.access(shim, os.R_OK):
        raise UklError("the shim has not been built", mend)
    if any(sign in str(shim) for sign in " :\t\n"):
        # What ld.so takes for the end of a name in LD_PRELOAD.
        raise UklError(
            f"the shim cannot be preloaded: its path {shim} has a space or a colon",
            "set XDG_CACHE_HOME to a directory without",
        )
    return Built(host, image, shim)


# -- directories ---------------------------------------------------------------


def base_directory() -> Path:
    """The directory that holds this user's instances; made if need be, 0700.

    Raises UklError if it cannot be made, or is not this user's alone.
    """
    uid = os.geteuid()
    for given in (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{uid}"):
        if given.startswith("/") and _may_use(Path(given), uid):
            return _private(Path(given, "ukl"), uid)
    return _private(Path(f"/tmp/ukl-{uid}"), uid)


def _may_use(parent: Path, uid: int) -> bool:
    """Whether ``parent`` is a directory of this user's, as XDG asks."""
    try:
        status = parent.stat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == uid


def _private(path: Path, uid: int) -> Path:
    try:
        path.mkdir(0o700, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise UklError(
            f"cannot make {path}: {error.strerror}",
            "set XDG_RUNTIME_DIR to a directory of yours",
        ) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid:
        raise UklError(
            f"{path} is not a directory of yours",
            "remove it, or set XDG_RUNTIME_DIR to a directory of yours",
        )
    if status.st_mode & 0o077:
        raise UklError(
            f"{path} is open to other users", f"chmod 700 {path} closes it to them"
        )
    return path


def check_name(name: str) -> str:
    """``name``, if an instance can have it; raises UklError if not."""
    if not name or name[0] not in _LETTERS or not set(name) <= _LETTERS | set("._-"):
        raise UklError(
            f"{name!r} cannot name an instance",
            "use letters, digits, '.', '_' and '-', and no sign first",
        )
    return name


def _path_of(base: Path, name: str) -> Path:
    path = base / check_name(name)
    if len(name) > _LONGEST_NAME:
        raise UklError(
            f"{name[:12]}… cannot name an instance: it is too long",
            f"use at most {_LONGEST_NAME} letters",
        )
    if len(os.fsencode(path / "control")) > _LONGEST_PATH:
        raise UklError(
            f"the path {base} is too long for an instance's socket",
            "set XDG_RUNTIME_DIR to a shorter one",
        )
    return path


def is_alive(path: Path) -> bool:
    """Whether the instance in a directory runs, or is being started."""
    # Only a kernel host that Python started itself has not locked the directory:
    # looking at the other lock could get in the way of one that starts.
    return is_locked(path) or is_locked(path / "lock")


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock of the file or directory ``path``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _claim(path: Path) -> int | None:
    """Lock the directory ``path``, which exists.

    The descriptor that holds the lock; None if somebody else has it.  Raises
    FileNotFoundError if the directory went away.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may be another directory by now, or none.
        if os.fstat(descriptor).st_ino != path.stat().st_ino:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        # A kernel host that Python started itself has only its own lock.
        if not is_locked(path / "lock"):
            return descriptor
    except BlockingIOError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _clear(path: Path) -> None:
    """Remove what the launcher and a kernel host keep in a directory."""
    for name in (*_OURS, "control", "lock"):
        with contextlib.suppress(OSError):
            (path / name).unlink()
    with contextlib.suppress(OSError):
        (path / "etc").rmdir()


class Directory:
    """An instance directory that this process has claimed.

    As a context manager it gives the directory up again, and removes it unless
    a kernel host has taken it over by then.
    """

    def __init__(self, name: str, path: Path, lock: int) -> None:
        self.name = name
        self.path = path
        self.lock = lock
        """Descriptor that holds the lock; the kernel host inherits it."""
        self.taken = False
        """Whether a kernel host is ready in it."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the directory."""
        (self.path / name).write_bytes(data)

    def __enter__(self) -> Directory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.taken:
            _clear(self.path)
            with contextlib.suppress(OSError):
                self.path.rmdir()
        os.close(self.lock)


def claim(name: str) -> Directory:
    """The directory of a new instance ``name``.

    Raises UklError if the name cannot be used, or an instance has it.
    """
    path = _path_of(base_directory(), name)
    deadline = time.monotonic() + _CLAIM_SECONDS
    while True:
        try:
            path.mkdir(0o700, exist_ok=True)
            lock = _claim(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UklError(f"cannot make {path}: {error.strerror}") from None
        if lock is not None:
            _clear(path)
            return Directory(name, path, lock)
        if is_locked(path / "lock"):
            raise UklError(
                f"an instance named {name} is running already",
                f"ukl stop {name} ends it",
            )
        # It is being started, ended, or looked at by one who clears up.
        if time.monotonic() > deadline:
            raise UklError(
                f"an instance named {name} is being started by another ukl-run",
                "give another name with --name",
            )
        time.sleep(0.01)


def stem_of(command: str) -> str:
    """The first part of the names of instances that run ``command``."""
    stem = "".join(c if c in _LETTERS else "-" for c in Path(command).name)
    return stem.strip("-")[:20] or "run"


def claim_new(command: str) -> Directory:
    """The directory of a new instance with a name made from ``command``."""
    base, stem = base_directory(), stem_of(command)
    number = 0
    while True:
        number += 1
        name = f"{stem}-{number}"
        path = _path_of(base, name)
        try:
            path.mkdir(0o700)
            lock = _claim(path)
        except (FileExistsError, FileNotFoundError):
            continue
        except OSError as error:
            raise UklError(f"cannot make {path}: {error.strerror}") from None
        if lock is not None:
            return Directory(name, path, lock)


def clear(path: Path) -> None:
    """Remove a directory if its instance is dead."""
    try:
        lock = _claim(path)
    except OSError:
        return
    if lock is not None:
        with Directory(path.name, path, lock):
            pass


def sweep() -> None:
    """Remove the directories of dead instances.

    Those with words in their log are kept for a day, for ``ukl logs``.
    """
    for path in directories():
        try:
            # Somebody may be about to lock what is new.
            if time.time() - path.stat().st_mtime < 2:
                continue
            lock = _claim(path)
        except OSError:
            continue
        if lock is None:
            continue
        with Directory(path.name, path, lock) as held:
            held.taken = _has_last_words(path)


def _has_last_words(path: Path) -> bool:
    try:
        status = (path / "log").stat()
    except OSError:
        return False
    return status.st_size > 0 and time.time() - status.st_mtime < KEPT_SECONDS


def directories() -> list[Path]:
    """The directories of this user's instances, dead ones included, by name."""
    with os.scandir(base_directory()) as entries:
        return sorted(
            Path(one.path)
            for one in entries
            # What begins with a dot is shared: the wires.
            if one.is_dir(follow_symlinks=False) and not one.name.startswith(".")
        )


# -- starting ------------------------------------------------------------------


def host_line(
    built: Built, directory: Path, plan: Plan, capture: str | None, *, keep: bool
) -> list[str]:
    """The kernel host's command line, but for its descriptors."""
    line = [str(built.host), "--image", str(built.image), "--memory", plan.memory]
    line += ["--name", directory.name, "--dir", str(directory)]
    if plan.cmdline:
        line.append(f"--cmdline={plan.cmdline}")
    line += [f"--device={spec}" for spec in plan.expand()]
    capture = plan.capture if capture is None else capture
    if capture is not None:
        line += ["--capture", str(Path(capture).absolute())]
    if plan.data:
        line += ["--plan", f"{directory}/plan"]
    if keep:
        line.append("--keep")
    return line


def _descriptors(devices: Sequence[str]) -> list[int]:
    """The descriptors that device specs name as ``fd=N``."""
    words = (word for spec in devices for word in spec.split(","))
    return [
        int(word[3:]) for word in words if word.startswith("fd=") and word[3:].isdigit()
    ]


class Start:
    """A kernel host that was started and is not ready yet."""

    def __init__(self, directory: Directory, line: list[str], given: Sequence[int]):
        self._directory = directory
        self._ready, theirs = os.pipe()
        said, report = os.pipe()
        log = os.open(
            directory.path / "log",
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
            0o600,
        )
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        line = [*line, f"--ready-fd={theirs}", f"--for-pid={os.getpid()}"]
        kept = sorted({theirs, directory.lock, *given})
        child = os.fork()
        if child == 0:
            # A child in between: the target must not find a child it never had.
            _become_host(line, null, log, report, kept)
        for descriptor in (theirs, report, log, null):
            os.close(descriptor)
        os.waitpid(child, 0)
        words = os.read(said, 16)
        os.close(said)
        if not words:
            raise UklError(f"cannot start {line[0]}: {self._log()}")
        self.guardian = int(words)
        """The process that waits for the kernel host."""

    def _log(self) -> str:
        return (self._directory.path / "log").read_text(errors="replace").strip()

    def wait(self) -> int:
        """Wait until processes can attach; the kernel host's pid.

        Raises UklError with its own words if it did not come so far.
        """
        deadline = time.monotonic() + BOOT_SECONDS
        said = b""
        while not said.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._ready], [], [], left)[0]:
                raise UklError(
                    f"instance {self._directory.name} did not start within "
                    f"{BOOT_SECONDS:g} s"
                )
            chunk = os.read(self._ready, 64)
            if not chunk:
                raise self._failure()
            said += chunk
        self._directory.taken = True
        os.close(self._ready)
        return int(said)

    def _failure(self) -> UklError:
        # The pipe closes with the kernel host proper; its words are all there.
        lines = self._log().splitlines()
        if not lines:
            return UklError(
                "the kernel host ended without a word", "ukl doctor looks for a cause"
            )
        return UklError(lines[-1].removeprefix("ukl: "), details=tuple(lines[:-1]))

    def cancel(self) -> None:
        """End the kernel host, ready or not, and wait until it is gone."""
        self._directory.taken = False
        try:
            guardian = os.pidfd_open(self.guardian)
        except OSError:
            return
        # The guardian passes it on, and insists.
        signal.pidfd_send_signal(guardian, signal.SIGTERM)
        select.select([guardian], [], [], _CANCEL_SECONDS)
        os.close(guardian)


def _become_host(
    line: list[str], null: int, log: int, report: int, kept: list[int]
) -> None:
    """In a forked child: start the kernel host as nobody's child, and end."""
    try:
        os.setsid()
        os.chdir("/")
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.dup2(log, 2)
        # What the launcher inherited is the target's, and would stay open.
        start = 3
        for descriptor in sorted({*kept, report}):
            if descriptor >= start:
                os.closerange(start, descriptor)
                start = descriptor + 1
        os.closerange(start, os.sysconf("SC_OPEN_MAX"))
        for descriptor in kept:
            if descriptor > 2:
                os.set_inheritable(descriptor, True)
        environment = {
            key: value for key, value in os.environ.items() if key[:3] != "LD_"
        }
        ignored = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT)
        pid = os.posix_spawn(
            line[0],
            line,
            environment,
            setsigdef=(*ignored, signal.SIGHUP),
            setsigmask=(),
        )
        with contextlib.suppress(BrokenPipeError):
            os.write(report, b"%d" % pid)
    except BaseException as error:
        words = error.strerror if isinstance(error, OSError) else repr(error)
        os.write(2, f"{words}\n".encode())
    finally:
        os._exit(0)


def start(
    directory: Directory,
    built: Built,
    plan: Plan,
    capture: str | None = None,
    *,
    keep: bool = False,
) -> Start:
    """Start a kernel host in a claimed directory; do not wait for it.

    ``capture`` is a pcapng file, instead of the plan's.
    """
    if plan.data:
        directory.write("plan", plan.data)
    line = host_line(built, directory.path, plan, capture, keep=keep)
    return Start(directory, line, _descriptors(plan.devices))


def _hosts(plan: Plan) -> str:
    """The plan's names, and the host's own, which is the instance's too.

    A plan is kept for later; the host's name may change.
    """
    if plan.hostname:
        return plan.hosts
    own = os.uname().nodename
    known = {name for line in plan.hosts.splitlines() for name in line.split()[1:]}
    names = [name for name in dict.fromkeys([own, own.partition(".")[0]]) if name]
    left = " ".join(name for name in names if name not in known)
    return plan.hosts + (f"127.0.1.1\t{left}\n" if left else "")


def write_views(directory: Directory, plan: Plan) -> None:
    """Write what the target shall see as ``/etc/hosts`` and the like."""
    views = {
        "resolv.conf": plan.resolv_conf,
        "hosts": _hosts(plan),
        "hostname": plan.hostname,
    }
    if any(views.values()):
        (directory.path / "etc").mkdir(0o700)
    for name, text in views.items():
        if text:
            end = "" if text.endswith("\n") else "\n"
            directory.write(f"etc/{name}", (text + end).encode())


def write_record(
    directory: Directory,
    argv: Sequence[str],
    door: str,
    profiles: Sequence[str],
    environment: Mapping[str, str],
) -> None:
    """Write ``instance.json``, which ``ukl ps`` and ``ukl exec`` read."""
    record = {
        "version": 1,
        "name": directory.name,
        "argv": list(argv),
        "door": door,
        "pid": os.getpid(),
        "started": time.time(),
        "environment": dict(environment),
        "profiles": [str(Path(one).absolute()) for one in profiles],
    }
    directory.write("instance.json", json.dumps(record).encode() + b"\n")


# -- what the target is given --------------------------------------------------


def load_nftables(plan: Plan, environment: Mapping[str, str]) -> None:
    """Load the plan's ruleset in an instance, with nft and its own words.

    ``environment`` is the one that a target of the instance gets.  Raises
    UklError if there is no nft, or it refuses.
    """
    if not plan.nftables:
        return
    # Imported here: most profiles have none.
    import shutil
    import subprocess

    program = shutil.which("nft", path=paths.search_path(environment))
    if program is None:
        raise UklError(
            f"{plan.nftables_place}: nftables: there is no nft to load it",
            "apt-get install nftables",
        )
    done = subprocess.run(
        [program, "-f", "-"],
        input=plan.nftables,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        lines = tuple(done.stdout.rstrip().splitlines())
        raise UklError(
            f"{plan.nftables_place}: nftables: nft ends with status {done.returncode}",
            details=lines,
        )


def install_command(command: str, package: str, environment: Mapping[str, str]) -> None:
    """Install the Debian package of a command, if the command is not there.

    Raises UklError, with the line that would install it, if that needs a password
    or fails.
    """
    import shutil

    if shutil.which(command, path=paths.search_path(environment)) is not None:
        return
    from hijack import tools

    tools.ensure((tools.Requirement(command, package),))


def limit(ulimits: Mapping[str, tuple[int, int]]) -> None:
    """Set resource limits, by their names in lower case; -1 is unlimited.

    Raises UklError for one that the host refuses.
    """
    if not ulimits:
        return
    import resource

    for name, (soft, hard) in ulimits.items():
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None:
            raise UklError(f"the host has no limit named {name}")
        try:
            resource.setrlimit(number, (soft, hard))
        except (OSError, ValueError) as error:
            raise UklError(
                f"the host refuses the limit {name} {soft}:{hard}: {error}",
                "only root may raise a hard limit",
            ) from None


def reset_signals(ignored: int) -> None:
    """Give back to the target what Python changed at its start.

    ``ignored`` are the signals that were ignored before (bit n-1: signal n).
    """
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        action = signal.SIG_IGN if ignored >> (number - 1) & 1 else signal.SIG_DFL
        signal.signal(number, action)


def target_environment(
    base: Mapping[str, str],
    directory: Path,
    shim: Path,
    changes: Mapping[str, str],
    trace: str | None,
    words: Sequence[tuple[str, str]] = (),
    *,
    trap_only: bool = False,
    report: str | None = None,
) -> dict[str, str]:
    """The environment that a target starts with; see ``libhijack_c`` for its words.

    ``changes`` are laid over ``base``; a preloaded library of the user's comes
    after the shim.  ``words`` are those of a verdict that opens the loader door,
    by which nothing of ours is preloaded.  ``trap_only``: no code is rewritten.
    ``report``: the word of a ``hijack.report.Reporter``.
    """
    result = {**base, **changes}
    theirs = result.get("LD_PRELOAD", "")
    if words:
        result.update(words)
    else:
        result["LD_PRELOAD"] = f"{shim}:{theirs}" if theirs else str(shim)
    result["UKL_INSTANCE"] = str(directory)
    if trace is not None:
        result["UKL_TRACE"] = trace
    if trap_only:
        result["UKL_REWRITE"] = "off"
    if report is not None:
        result["UKL_REPORT"] = report
    # What the shim takes away are pairs, see fill_gap() in libhijack_c/attach.c.
    ours = SHIM_WORDS & result.keys()
    if not words and (len(ours) + (not theirs)) % 2:
        result["UKL_PAD"] = ""
    return result
