"""The instances that run now: who is in them, what they said, ending them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hijack import binding, runtime
from hijack.errors import UklError

_ANSWER_SECONDS = 3.0
_FOLLOW_SECONDS = 0.2
_KILL_SECONDS = 3.0
_HELLO, _STOP = 1, 2  # UKL_CTL_* in <ukl/ukl.h>
_SERVICE = 1  # UKL_PROC_SERVICE there
_MOST_FDS = 16
_CREDENTIALS = struct.Struct("3i")


class GoneError(UklError):
    """An instance that does not run."""

    status = 1


class Shared:
    """What an instance's memory says to one who only looks; close it."""

    def __init__(self, memory: int, image: int) -> None:
        # Python's own view of an instance reads the same fields.
        from hijack.instance import _read_head

        module = binding.load()
        self._ffi = module.ffi
        self._memory = memory
        head = _read_head(self._ffi, image)
        address = int(self._ffi.cast("unsigned long", head.shared))
        self._offset = address - int(module.lib.UKL_BASE)

    def _field(self, name: str) -> bytes:
        kind = self._ffi.typeof("struct ukl_shared")
        what = dict(kind.fields)[name]
        size = self._ffi.sizeof(what.type)
        return os.pread(self._memory, size, self._offset + what.offset)

    def processes(self) -> list[int]:
        """The pids of the processes that are attached, the kernel host's first.

        A process counts once, also if it has joined again after an exec.
        """
        return list(dict.fromkeys(pid for pid, _ in self._attached()))

    def services(self) -> set[int]:
        """Those of them that the instance does not live for."""
        return {pid for pid, is_service in self._attached() if is_service}

    def _attached(self) -> list[tuple[int, bool]]:
        data = self._field("proc")
        size = self._ffi.sizeof("struct ukl_proc")
        state = self._ffi.offsetof("struct ukl_proc", "state")
        pid = self._ffi.offsetof("struct ukl_proc", "pid")
        flags = self._ffi.offsetof("struct ukl_proc", "flags")
        found = []
        for at in range(0, len(data), size):
            (is_in,) = struct.unpack_from("<I", data, at + state)
            (number,) = struct.unpack_from("<i", data, at + pid)
            (is_what,) = struct.unpack_from("<I", data, at + flags)
            if is_in in (1, 2) and number > 0:  # UKL_PROC_NEW, UKL_PROC_LIVE
                found.append((number, bool(is_what & _SERVICE)))
        return found

    def log(self, since: int = 0) -> tuple[bytes, int]:
        """The kernel's log from byte ``since`` on, and where it ends now.

        Only its last 128 KiB are there.
        """
        (head,) = struct.unpack("<Q", self._field("log_head"))
        ring = self._field("log")
        start = max(since, head - len(ring))
        at = start % len(ring)
        return (ring[at:] + ring[:at])[: head - start], head

    def close(self) -> None:
        """Let the memory go."""
        os.close(self._memory)


@dataclass(frozen=True)
class _Guardian:
    """The parent of a kernel host proper, who ends with it."""

    pid: int
    pidfd: int

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def ended(self, seconds: float) -> bool:
        return bool(select.select([self.pidfd], [], [], seconds)[0])

    def insist(self, processes: list[int]) -> None:
        """Kill the kernel host and ``processes``, stopped or not."""
        victims = list(processes)
        with contextlib.suppress(OSError):
            path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
            victims += [int(word) for word in path.read_text().split()]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # It ends the processes that we do not know.
        self.send(signal.SIGCONT)
        if not self.ended(_KILL_SECONDS):
            self.send(signal.SIGKILL)
            self.ended(_KILL_SECONDS)


@dataclass(frozen=True)
class Running:
    """An instance and what is known about it."""

    name: str
    directory: Path
    record: dict[str, Any] = field(default_factory=dict)
    """What the launcher wrote at its start; empty if somebody else started it."""

    @property
    def log(self) -> str:
        """What the kernel host has said."""
        with contextlib.suppress(OSError):
            return (self.directory / "log").read_text(errors="replace")
        return ""

    def alive(self) -> bool:
        """Whether its kernel host lives."""
        return runtime.is_alive(self.directory)

    @contextlib.contextmanager
    def _control(self) -> Iterator[tuple[socket.socket, _Guardian]]:
        """A connection to the kernel host, and the one who listens.

        Raises GoneError if nobody is there.
        """
        with contextlib.ExitStack() as stack:
            control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.enter_context(control)
            control.settimeout(_ANSWER_SECONDS)
            try:
                control.connect(str(self.directory / "control"))
                peer = control.getsockopt(
                    socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
                )
                pid = int(_CREDENTIALS.unpack(peer)[0])
                guardian = _Guardian(pid, os.pidfd_open(pid))
            except OSError:
                raise gone(self.name) from None
            stack.callback(os.close, guardian.pidfd)
            yield control, guardian

    def _ask(self, control: socket.socket, what: int) -> list[int]:
        """Ask the kernel host; the descriptors that it sent.

        Raises GoneError if it ended, TimeoutError if it does not answer.
        """
        version = int(binding.load().lib.UKL_ABI_VERSION)
        try:
            control.send(struct.pack("IIiI", version, what, 0, 0))
            reply, given, _, _ = socket.recv_fds(control, 16, _MOST_FDS)
        except TimeoutError:
            raise
        except OSError:
            raise gone(self.name) from None
        if len(reply) < 16:
            raise gone(self.name)
        told, _, refused, _ = struct.unpack("IIiI", reply)
        if told != version or refused:
            raise UklError(
                f"instance {self.name} is of another version of ukl",
                f"ukl stop {self.name} ends it",
            )
        return list(given)

    def look(self) -> Shared:
        """Its memory.

        Raises GoneError if it has ended, UklError if its kernel host is stuck.
        """
        with self._control() as (control, _):
            try:
                given = self._ask(control, _HELLO)
            except TimeoutError:
                raise UklError(
                    f"the kernel host of instance {self.name} does not answer",
                    f"ukl stop {self.name} ends it",
                ) from None
        memory, image, *others = given
        try:
            return Shared(memory, image)
        except BaseException:
            os.close(memory)
            raise
        finally:
            for descriptor in (image, *others):
                os.close(descriptor)

    def stop(self, patience: float) -> bool:
        """End it and its processes: SIGTERM, SIGKILL, and after ``patience`` s hard.

        Whether it ended by itself.  Raises GoneError if it does not run.
        """
        processes: list[int] = []
        with contextlib.suppress(UklError):
            shared = self.look()
            processes = shared.processes()
            shared.close()
        with self._control() as (control, guardian):
            try:
                self._ask(control, _STOP)
            except (TimeoutError, UklError):
                # It passes it on, and insists.
                guardian.send(signal.SIGTERM)
            orderly = guardian.ended(patience)
            if not orderly:
                guardian.insist(processes)
        runtime.clear(self.directory)
        return orderly

    def follow(self) -> Iterator[str]:
        """What kernel and kernel host have said, and what they say until it ends."""
        shared = self.look()
        try:
            said, host = 0, 0
            while True:
                alive = self.alive()
                data, said = shared.log(said)
                words = self.log
                more = data.decode(errors="replace") + words[host:]
                # The file goes when the instance does.
                host = max(host, len(words))
                if more:
                    yield more
                if not alive:
                    return
                time.sleep(_FOLLOW_SECONDS)
        finally:
            shared.close()


def gone(name: str) -> GoneError:
    """The error for an instance that does not run."""
    return GoneError(f"no instance named {name} is running", "ukl ps lists them")


def find(name: str) -> Running:
    """The instance ``name``, alive or dead.

    Raises GoneError if there is nothing of that name.
    """
    directory = runtime.base_directory() / runtime.check_name(name)
    if not directory.is_dir():
        raise gone(name)
    return _read(directory)


def find_alive(name: str) -> Running:
    """The instance ``name``; raises GoneError if it does not run."""
    found = find(name)
    if not found.alive():
        raise gone(name)
    return found


def everything() -> list[Running]:
    """All instances of this user, by name, the dead ones too whose log was kept."""
    runtime.sweep()
    return [_read(directory) for directory in runtime.directories()]


def _read(directory: Path) -> Running:
    record: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        value = json.loads((directory / "instance.json").read_bytes())
        record = value if isinstance(value, dict) else {}
    return Running(directory.name, directory, record)
