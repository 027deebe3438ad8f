"""DHCP: busybox's udhcpc runs in the instance, one for each interface that asks.

The client is a *service* of the instance (``UKL_PROC_SERVICE`` in ``<ukl/ukl.h>``):
the instance does not live for it, and ends it after the last of its programs.  What
a lease says is done by ``dhcp.sh``, which udhcpc runs; it is told here what the
profile has said already.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from hijack import elf, runtime
from hijack.errors import UklError
from hijack.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hijack.plan import Dhcp

LEASE_SECONDS = 30.0
"""How long a target waits for the first leases."""
FIRST_METRIC = 100
"""Of the routes of the first interface; netplan's too."""

_SCRIPT = Path(__file__).with_name("dhcp.sh")
# A discover a second, five of them; then ten seconds of silence.
_PATIENCE = ("-T", "1", "-t", "5", "-A", "10")
_OPTIONS = ("staticroutes", "mtu", "search")
_READY = 9
"""The descriptor on which the script says that there is a lease; udhcpc has some
below that are its own."""
_MEND = "apt-get install busybox"


class _Waiting(Record):
    """A client whose first lease is awaited."""

    asked: Dhcp
    ready: int
    """The end of a pipe; it closes when the client has died."""


class Clients:
    """The DHCP clients of a plan, before and while they are started."""

    def __init__(self, plan: runtime.Plan, shim: Path) -> None:
        """Look for what is needed.

        Raises UklError if there is no busybox, or it has no udhcpc, or the time to
        wait is not a number.
        """
        self._plan = plan
        self._shim = shim
        self._seconds = _seconds()
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"
        self._environment = {"PATH": path}
        self._busybox = self._find(path)
        check = (self._busybox, *self.lines()[0][1:])
        self._verdict = elf.check(check, self._environment, shim)
        self._verdict.must_be_open()

    def _find(self, path: str) -> str:
        place = self._plan.dhcp[0].place
        found = shutil.which("busybox", path=path)
        if found is None:
            raise UklError(f"{place}: there is no busybox to be the client", _MEND)
        listed = subprocess.run(
            [found, "--list"],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if b"udhcpc" not in listed.stdout.split():
            raise UklError(
                f"{place}: {found} has no udhcpc to be the client",
                f"Debian's has it: {_MEND}",
            )
        return found

    def lines(self) -> list[list[str]]:
        """The command lines of the clients, in the order of the interfaces."""
        return [
            [
                *(self._busybox, "udhcpc", "-i", one.interface, "-f", "-R"),
                *_PATIENCE,
                *(word for option in _OPTIONS for word in ("-O", option)),
                *(("-x", f"hostname:{host}") if (host := self._plan.hostname) else ()),
                *("-s", str(_SCRIPT)),
            ]
            for one in self._plan.dhcp
        ]

    def start(self, directory: Path) -> None:
        """Start them in the instance of ``directory``, and wait for first leases.

        Raises UklError if one dies, or has no lease in time.
        """
        waiting = []
        for number, line in enumerate(self.lines()):
            one = self._plan.dhcp[number]
            words = {
                "DHCP_DIRECTORY": str(directory),
                "DHCP_BUSYBOX": self._busybox,
                "DHCP_METRIC": str(FIRST_METRIC + number),
                "DHCP_TAKE": one.take,
                "DHCP_STATIC": one.static,
                "DHCP_NAMES": self._plan.resolv_conf,
                "UKL_SERVICE": "1",
            }
            environment = runtime.target_environment(
                self._environment,
                directory,
                self._shim,
                words,
                None,
                self._verdict.words,
            )
            program = self._verdict.execute or self._verdict.run
            waiting.append(
                _Waiting(one, _spawn(program, line, environment, directory / "log"))
            )
        try:
            self._wait([one for one in waiting if one.asked.wait], directory)
        finally:
            for each in waiting:
                os.close(each.ready)

    def _wait(self, waiting: list[_Waiting], directory: Path) -> None:
        end = time.monotonic() + self._seconds
        while waiting:
            left = max(0.0, end - time.monotonic())
            ready = select.select([one.ready for one in waiting], [], [], left)[0]
            if not ready:
                raise UklError(
                    f"{waiting[0].asked.place}: no DHCP server gave a lease within "
                    f"{self._seconds:g} s",
                    "optional: true starts without one",
                )
            for one in waiting:
                if one.ready in ready and not os.read(one.ready, 64):
                    said = (directory / "log").read_text(errors="replace")
                    raise UklError(
                        f"{one.asked.place}: the DHCP client has ended",
                        details=tuple(said.splitlines()),
                    )
            waiting = [one for one in waiting if one.ready not in ready]


def _seconds() -> float:
    text = os.environ.get("UKL_DHCP_SECONDS", "")
    if not text:
        return LEASE_SECONDS
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) < 1e6:
            return seconds
    raise UklError(f"UKL_DHCP_SECONDS is {text!r}", "give a number of seconds")


def _spawn(
    program: str, line: list[str], environment: Mapping[str, str], log: Path
) -> int:
    """Start a program as nobody's child; the end of its pipe.

    Its words go to ``log``; it has no other descriptor than ``_READY``.
    """
    ready, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        # One in between: the target must not find a child it never had.
        with contextlib.suppress(BaseException):
            os.setsid()
            if os.fork() == 0:
                _become(program, line, environment, log, theirs)
        os._exit(0)
    os.close(theirs)
    os.waitpid(child, 0)
    return ready


def _become(
    program: str, line: list[str], environment: Mapping[str, str], log: Path, ready: int
) -> None:
    """In a forked child: execute the program, or say in the log why not."""
    words = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        # Out of the way of the numbers that are given here.
        high = [os.dup(one) for one in (ready, words)]
        while min(high) <= _READY:
            high = [os.dup(one) for one in high]
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(high[1], 1)
        os.dup2(high[1], 2)
        os.dup2(high[0], _READY)
        os.closerange(3, _READY)
        os.closerange(_READY + 1, os.sysconf("SC_OPEN_MAX"))
        os.chdir("/")
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        # The launcher listens for the first lease only.
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        os.execve(program, line, dict(environment))
    except OSError as error:
        os.write(2, f"{program}: {error.strerror}\n".encode())
