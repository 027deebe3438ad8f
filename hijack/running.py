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
        """The pids of the processes that are attached, the kernel host's first."""
        data = self._field("proc")
        size = self._ffi.sizeof("struct ukl_proc")
        state = self._ffi.offsetof("struct ukl_proc", "state")
        pid = self._ffi.offsetof("struct ukl_proc", "pid")
        found = []
        for at in range(0, len(data), size):
            (is_in,) = struct.unpack_from("<I", data, at + state)
            (number,) = struct.unpack_from("<i", data, at + pid)
            if is_in in (1, 2) and number > 0:  # UKL_PROC_NEW, UKL_PROC_LIVE
                found.append(number)
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

    def _ask(self, what: int) -> tuple[int, list[int]]:
        """Ask the kernel host; a pidfd of its guardian, and descriptors it sent.

        Raises GoneError if nobody is there, TimeoutError if it does not answer.
        """
        version = int(binding.load().lib.UKL_ABI_VERSION)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
            control.settimeout(_ANSWER_SECONDS)
            try:
                control.connect(str(self.directory / "control"))
                peer = control.getsockopt(
                    socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
                )
                guardian = os.pidfd_open(_CREDENTIALS.unpack(peer)[0])
            except TimeoutError:
                raise
            except OSError:
                raise gone(self.name) from None
            try:
                control.send(struct.pack("IIiI", version, what, 0, 0))
                reply, given, _, _ = socket.recv_fds(control, 16, _MOST_FDS)
            except OSError as error:
                os.close(guardian)
                if isinstance(error, TimeoutError):
                    raise
                raise gone(self.name) from None
        if len(reply) < 16:
            os.close(guardian)
            raise gone(self.name)
        told, _, refused, _ = struct.unpack("IIiI", reply)
        if told != version or refused:
            os.close(guardian)
            raise UklError(
                f"instance {self.name} is of another version of ukl",
                f"ukl stop {self.name} ends it",
            )
        return guardian, list(given)

    def look(self) -> Shared:
        """Its memory.

        Raises GoneError if it has ended, UklError if its kernel host is stuck.
        """
        try:
            guardian, given = self._ask(_HELLO)
        except TimeoutError:
            raise UklError(
                f"the kernel host of instance {self.name} does not answer",
                f"ukl stop {self.name} ends it",
            ) from None
        os.close(guardian)
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
        try:
            guardian, _ = self._ask(_STOP)
        except TimeoutError:
            guardian = self._guardian()
            # It passes it on, and insists.
            signal.pidfd_send_signal(guardian, signal.SIGTERM)
        try:
            orderly = _ended(guardian, patience)
            if not orderly:
                for pid in processes:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                if not _ended(guardian, _KILL_SECONDS):
                    signal.pidfd_send_signal(guardian, signal.SIGKILL)
                    _ended(guardian, _KILL_SECONDS)
        finally:
            os.close(guardian)
        runtime.clear(self.directory)
        return orderly

    def _guardian(self) -> int:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
            control.settimeout(_ANSWER_SECONDS)
            try:
                control.connect(str(self.directory / "control"))
                peer = control.getsockopt(
                    socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
                )
                return os.pidfd_open(_CREDENTIALS.unpack(peer)[0])
            except OSError:
                raise gone(self.name) from None

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


def _ended(pidfd: int, seconds: float) -> bool:
    return bool(select.select([pidfd], [], [], seconds)[0])


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
