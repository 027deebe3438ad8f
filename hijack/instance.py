"""Boots instances of the library kernel, and makes calls in them from Python.

::

    with Instance.boot() as instance, instance.attach() as attached:
        fd = attached.syscall(SYS_SOCKET, socket.AF_INET, socket.SOCK_DGRAM, 0)

An instance is a process, ``ukl-host``, and those that attach to it; see
``kernel/host/main.c`` for what it does and ``kernel/include/ukl/ukl.h`` for the
calls underneath.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import select
import signal
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from hijack import binding, paths
from hijack.errors import UklError
from hijack.files import read_json

if TYPE_CHECKING:
    from hijack.plan import Plan

_BOOT_SECONDS = 30.0
_STOP_SECONDS = 10.0
_DESCRIPTOR = re.compile(r"(?:^|,)fd=(\d+)(?=,|$)")
_NAMES = itertools.count(1)

T = TypeVar("T")

Argument = int | bytes | bytearray | memoryview | None
"""What a system call takes: a number, or memory (bytes are not written to)."""


def default_host() -> Path:
    """The kernel host that ``ukl build`` made.

    Raises UklError if there is none.
    """
    path = _build_directory() / "kernel" / "host" / "ukl-host"
    if not path.is_file():
        raise UklError("the kernel host has not been built", "ukl build makes it")
    return path


def default_image() -> Path:
    """The library kernel that ``ukl build`` made last.

    Raises UklError if there is none.
    """
    result = read_json(_build_directory() / "kernel" / "kernel-image.json") or {}
    image = Path(str(result.get("image", "")))
    if "image" not in result or not image.is_file():
        raise UklError("there is no library kernel", "ukl build makes it")
    return image


def _build_directory() -> Path:
    return paths.meson_directory(paths.checkout_root())


def _runtime_directory(name: str) -> tuple[Path, bool]:
    """The directory of the instance ``name``; whether it is private to us."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if base.startswith("/") and Path(base).is_dir():
        parent = Path(base) / "ukl"
        try:
            parent.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise UklError(f"cannot make {parent}: {error.strerror}") from None
        return parent / name, False
    return Path(tempfile.mkdtemp(prefix="ukl-")) / name, True


class Instance:
    """A library kernel that runs; make one with :meth:`boot`.

    As a context manager it stops the instance at the end.
    """

    def __init__(
        self,
        name: str,
        process: subprocess.Popen[bytes],
        directory: Path,
        private: bool,
        errors: IO[bytes],
    ) -> None:
        self.name = name
        self.directory = directory
        """Holds the control socket; mode 0700."""
        self.pid = 0
        """Of the kernel host proper, a child of ``process``."""
        self._private = private
        self.process = process
        """The guardian; ends with the instance: 0 in order, 1 it died."""
        self._errors = errors
        self._memory = -1
        self._shared = 0

    @classmethod
    def boot(
        cls,
        image: str | os.PathLike[str] | None = None,
        memory: str | None = None,
        name: str | None = None,
        devices: Iterable[str] = (),
        cmdline: str = "",
        keep: bool = False,
        *,
        host: str | os.PathLike[str] | None = None,
        directory: str | os.PathLike[str] | None = None,
        capture: str | os.PathLike[str] | None = None,
        plan: Plan | None = None,
    ) -> Self:
        """Start an instance and wait until it can be attached to.

        ``image`` and ``host`` are what ``ukl build`` made unless given;
        ``memory`` is a size from 32M up, kernel included; ``devices`` are
        written as ``kernel/host/devices.c`` says; ``cmdline`` is the library
        kernel's; with ``keep`` the instance outlives its last process; the
        frames of all devices are written to ``capture``, a pcapng file.

        ``plan`` is a profile's: its devices come first, and its memory, command
        line and capture stand for those that are not given.

        Raises UklError with the kernel host's own words if it did not start.
        """
        image = default_image() if image is None else Path(image)
        host = default_host() if host is None else Path(host)
        name = name or f"python-{os.getpid()}-{next(_NAMES)}"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise UklError(
                f"{name!r} cannot name an instance",
                "use letters, digits, '.', '_' and '-'",
            )
        where, private = (
            _runtime_directory(name) if directory is None else (Path(directory), False)
        )
        devices = tuple(devices)
        planned: tuple[int, ...] = ()
        if plan is not None:
            devices = (*plan.expand(), *devices)
            memory = memory or plan.memory
            cmdline = cmdline or plan.cmdline
            capture = capture or plan.capture
            planned = (_in_memory(plan.data),)
        memory = memory or "64M"
        ready, theirs = os.pipe()
        errors = tempfile.TemporaryFile()  # noqa: SIM115
        line: list[str | Path] = [host, "--image", image, "--memory", memory]
        line += ["--name", name, "--dir", where, f"--ready-fd={theirs}"]
        line += [f"--cmdline={cmdline}", *(f"--device={spec}" for spec in devices)]
        if keep:
            line.append("--keep")
        if capture is not None:
            line += ["--capture", Path(capture)]
        line += [f"--plan=/proc/self/fd/{fd}" for fd in planned]
        given = [int(fd) for spec in devices for fd in _DESCRIPTOR.findall(spec)]
        try:
            process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=(theirs, *planned, *given),
            )
        except OSError as error:
            os.close(ready)
            errors.close()
            raise UklError(f"cannot start {host}: {error.strerror}") from None
        finally:
            for fd in (theirs, *planned):
                os.close(fd)
        made = cls(name, process, where, private, errors)
        try:
            made._await(ready)
            made._look()
        except BaseException:
            made.stop()
            raise
        finally:
            os.close(ready)
        return made

    def _await(self, ready: int) -> None:
        deadline = time.monotonic() + _BOOT_SECONDS
        said = b""
        while not said.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([ready], [], [], left)[0]:
                raise UklError(f"{self._title()} did not start in {_BOOT_SECONDS:g} s")
            chunk = os.read(ready, 64)
            if not chunk:
                self.process.wait(_STOP_SECONDS)
                words = self.messages().strip()
                raise UklError(
                    words.removeprefix("ukl: ")
                    or f"{self._title()} did not start: {_ending(self.process)}"
                )
            said += chunk
        self.pid = int(said)

    def _look(self) -> None:
        """Keep the shared memory, and find what Python reads in it."""
        ffi = binding.load().ffi
        files = _connect(self.control)
        try:
            head = _read_head(ffi, files.image)
            self._memory = os.dup(files.memory)
        finally:
            _close(files)
        base = binding.load().lib.UKL_BASE
        self._shared = int(ffi.cast("unsigned long", head.shared)) - base
        self.release = ffi.string(head.release).decode()
        """``uname -r`` of the library kernel."""

    def _title(self) -> str:
        return f"instance {self.name}"

    @property
    def control(self) -> Path:
        """The socket through which processes attach."""
        return self.directory / "control"

    @property
    def running(self) -> bool:
        """Whether the instance lives."""
        return self.process.poll() is None

    def messages(self) -> str:
        """What the kernel host has said on its standard error so far."""
        return os.pread(self._errors.fileno(), 1 << 20, 0).decode(errors="replace")

    def _field(self, name: str) -> bytes:
        """The bytes of a field of struct ukl_shared, read from the memory."""
        ffi = binding.load().ffi
        for field, what in ffi.typeof("struct ukl_shared").fields:
            if field == name:
                size = ffi.sizeof(what.type)
                return os.pread(self._memory, size, self._shared + what.offset)
        raise AttributeError(name)

    def log(self) -> str:
        """The library kernel's log: its last 128 KiB.

        It can be read as long as this object is open, even when the instance
        has ended, and whether or not this process is attached.
        """
        self._must_be_open()
        (head,) = struct.unpack("<Q", self._field("log_head"))
        ring = self._field("log")
        if head > len(ring):
            at = head % len(ring)
            ring = ring[at:] + ring[:at]
        else:
            ring = ring[:head]
        return ring.decode(errors="replace")

    def last_words(self) -> str:
        """Why the instance died; empty if it has not."""
        self._must_be_open()
        if not any(self._field("dead")):
            return ""
        return self._field("last_words").split(b"\0")[0].decode(errors="replace")

    def records(self) -> tuple[int, int]:
        """How many process and thread records are taken, the host's included."""
        self._must_be_open()
        ffi = binding.load().ffi
        counts = []
        for field, kind in (
            ("proc", "struct ukl_proc"),
            ("thread", "struct ukl_thread"),
        ):
            data = self._field(field)
            at, size = ffi.offsetof(kind, "state"), ffi.sizeof(kind)
            states = (
                struct.unpack_from("<I", data, start + at)[0]
                for start in range(0, len(data), size)
            )
            counts.append(sum(state != 0 for state in states))
        return counts[0], counts[1]

    def _must_be_open(self) -> None:
        if self._memory < 0:
            raise UklError(f"{self._title()} has been closed")

    def attach(self) -> Attachment:
        """Make this process one of the instance's, as a context manager.

        The library kernel has one fixed address, so a process can be attached
        to one instance at a time.

        Raises UklError if it is attached already, or cannot be.
        """
        return Attachment(self)

    def stop(self) -> None:
        """End the instance and its processes, and release what we hold of it.

        An attached process would be ended too: detach first.
        """
        if _attached is not None and _attached.instance is self:
            raise UklError(
                f"this process is attached to {self._title()}", "detach first"
            )
        if self.process.poll() is None:
            # The guardian passes it on, and insists.
            self.process.terminate()
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    if self.pid:
                        os.kill(self.pid, signal.SIGKILL)
                    else:
                        self.process.kill()
                self.process.wait()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1
        with suppress(OSError):
            self.directory.rmdir()
        if self._private:
            with suppress(OSError):
                self.directory.parent.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _in_memory(data: bytes) -> int:
    """A descriptor of a file without a name that holds ``data``."""
    descriptor = os.memfd_create("ukl-plan")
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return descriptor


def _ending(process: subprocess.Popen[bytes]) -> str:
    status = process.returncode
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


def _why(number: int) -> str:
    return os.strerror(-number)


def _connect(control: Path) -> Any:
    module = binding.load()
    files = module.ffi.new("struct ukl_files *")
    status = module.lib.ukl_connect(os.fsencode(control), files)
    if status < 0:
        raise UklError(f"{control}: {_why(status)}")
    return files


def _close(files: Any) -> None:
    for fd in (files.memory, files.image, *files.fd):
        if fd >= 0:
            os.close(fd)


def _read_head(ffi: Any, image: int) -> Any:
    """The head of a kernel image, from its file (see abi.h)."""
    base = binding.load().lib.UKL_BASE
    elf = os.pread(image, 64, 0)
    (offset,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    for index in range(count):
        program = os.pread(image, size, offset + index * size)
        kind, _, place, address = struct.unpack_from("<IIQQ", program)
        if kind == 1 and address == base:
            data = os.pread(image, ffi.sizeof("struct ukl_image"), place)
            head = ffi.new("struct ukl_image *")
            ffi.memmove(head, data, len(data))
            return head
    raise UklError("the instance's image is not a library kernel")


_attached: Attachment | None = None


class Attachment:
    """This process as a process of an instance; see :meth:`Instance.attach`.

    Each thread that makes calls has a record: the one that attached has it, and
    those that :meth:`thread` starts.

    Signals for which Python had a handler when it attached end a blocking call
    of the thread they reach, with EINTR, and the handler runs: Ctrl-C works.
    """

    instance: Instance

    def __init__(self, instance: Instance) -> None:
        global _attached
        if _attached is not None:
            raise UklError(
                f"this process is attached to instance {_attached.instance.name} "
                "already; the library kernel has one fixed address",
                "detach first, or use another process",
            )
        module = binding.load()
        self.instance = instance
        self._ffi = module.ffi
        self._lib = module.lib
        self._local = threading.local()
        self._files = _connect(instance.control)
        out = self._ffi.new("struct ukl_thread **")
        status = self._lib.ukl_attach(self._files, out)
        if status < 0:
            _close(self._files)
            raise UklError(f"cannot attach to instance {instance.name}: {_why(status)}")
        self._local.record = out[0]
        self._pid = os.getpid()
        self._caught = [
            number
            for number in signal.valid_signals()
            if callable(signal.getsignal(number))
            and self._lib.ukl_py_catch(int(number)) == 0
        ]
        _attached = self

    @property
    def record(self) -> Any:
        """The calling thread's ``struct ukl_thread *``.

        Raises UklError in a thread that has none, and in a process that was
        forked without :meth:`fork`.
        """
        if os.getpid() != self._pid:
            raise UklError(
                "this process was forked behind the library kernel's back",
                "use Attachment.fork()",
            )
        record = getattr(self._local, "record", None)
        if record is None:
            raise UklError(
                "this thread has no record in the instance",
                "start it with Attachment.thread()",
            )
        return record

    @property
    def pid(self) -> int:
        """Of this process, in the library kernel."""
        return self.syscall(39)

    def raw(self, number: int, *arguments: Argument) -> int:
        """One system call; the kernel's own result, negative for an error."""
        keep = [self._convert(argument) for argument in arguments]
        words = [value for value, _ in keep] + [0] * (6 - len(keep))
        return int(self._lib.ukl_py_syscall(self.record, number, *words))

    def syscall(self, number: int, *arguments: Argument) -> int:
        """One system call by its x86-64 number; other Python threads run on.

        Raises OSError with the kernel's errno, and UklError if the instance
        has died.
        """
        result = self.raw(number, *arguments)
        if -4096 < result < 0:
            if result == -errno.EOWNERDEAD and self.last_words():
                raise UklError(f"the instance has ended: {self.last_words()}")
            raise OSError(-result, os.strerror(-result))
        return result

    def last_words(self) -> str:
        """Why the instance died; empty if it has not."""
        return bytes(self._ffi.string(self._lib.ukl_last_words())).decode()

    def _convert(self, argument: Argument) -> tuple[int, object]:
        """The machine word for an argument, and what must live as long."""
        if argument is None:
            return 0, None
        if isinstance(argument, int):
            word = argument & 0xFFFF_FFFF_FFFF_FFFF
            return word - (word >> 63 << 64), None
        held = self._ffi.from_buffer(argument)
        return int(self._ffi.cast("long", held)), held

    def thread(self, function: Callable[..., T], *arguments: object) -> Worker[T]:
        """Run ``function`` on a new thread that has a record of its own.

        The thread is one of this process's in the library kernel too.
        """
        out = self._ffi.new("struct ukl_thread **")
        self._check(self._lib.ukl_thread_prepare(self.record, out))
        return Worker(self, out[0], function, arguments)

    def fork(self, flags: int = 0) -> int:
        """os.fork(), on both kernels: 0 in the child, else its host pid.

        The child has a copy of the descriptor table; with ``CLONE_FILES`` in
        ``flags`` it shares it (man 2 clone).
        """
        out = self._ffi.new("struct ukl_thread **")
        self._check(self._lib.ukl_fork_prepare(self.record, flags, out))
        child = out[0]
        try:
            pid = os.fork()
        except OSError:
            self._lib.ukl_abandon(self.record, child)
            raise
        if pid == 0:
            self._pid = os.getpid()
            self._local.record = child
            self._lib.ukl_fork_child(child)
        else:
            self._lib.ukl_fork_parent(self.record, child, pid)
        return pid

    def signals(self) -> set[int]:
        """The signals the library kernel has sent this thread since last asked.

        Nothing acts on them but the caller: SIGPIPE, for one.
        """
        bits = int(self._lib.ukl_signals(self.record))
        return {number for number in range(1, 65) if bits >> (number - 1) & 1}

    def kill(self, pid: int, number: int) -> None:
        """kill(2) of a host process while no process is inside the kernel.

        Raises OSError as os.kill() does.
        """
        self._check(self._lib.ukl_kill(self.record, pid, number))

    def _check(self, status: int) -> int:
        if status < 0:
            raise OSError(-status, os.strerror(-status))
        return status

    def detach(self) -> None:
        """End this process's part in the instance; its descriptors close.

        Raises UklError while other threads have records.
        """
        global _attached
        if _attached is not self:
            return
        status = self._lib.ukl_detach(self.record)
        if status == -errno.EBUSY:
            raise UklError(
                "other threads of this process are still attached", "wait for them"
            )
        _attached = None
        del self._local.record
        for number in self._caught:
            self._lib.ukl_py_release(int(number))
        _close(self._files)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.detach()


class Worker(threading.Thread, Generic[T]):
    """A started thread of an attachment; :meth:`result` waits for it."""

    def __init__(
        self,
        attachment: Attachment,
        record: Any,
        function: Callable[..., T],
        arguments: tuple[object, ...],
    ) -> None:
        super().__init__(daemon=True)
        self._attachment = attachment
        self._record = record
        self._function = function
        self._arguments = arguments
        self._value: T | None = None
        self._error: BaseException | None = None
        try:
            self.start()
        except RuntimeError:
            attachment._lib.ukl_abandon(attachment.record, record)
            raise

    def run(self) -> None:
        """The body of the thread."""
        attachment, lib = self._attachment, self._attachment._lib
        try:
            attachment._check(lib.ukl_thread_enter(self._record))
            attachment._local.record = self._record
            self._value = self._function(*self._arguments)
        except BaseException as error:
            self._error = error
        finally:
            lib.ukl_thread_exit(self._record)

    def result(self, timeout: float | None = None) -> T:
        """What the function returned, or its exception.

        Raises TimeoutError if it has not ended after ``timeout`` seconds.
        """
        self.join(timeout)
        if self.is_alive():
            raise TimeoutError("the thread runs on")
        if self._error is not None:
            raise self._error
        return cast(T, self._value)
