"""The Python binding: calls, threads, fork, signals, and its refusals."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hijack import _ffi_build
from hijack.errors import UklError
from hijack.instance import Instance

ROOT = Path(__file__).resolve().parents[2]

READ, WRITE, OPEN, CLOSE, PIPE = 0, 1, 2, 3, 22
NANOSLEEP, GETPID, SOCKET, GETTID, DUP2 = 35, 39, 41, 186, 33
CLONE_FILES = 0x400


def pipe(attached: Any) -> tuple[int, int]:
    """A pipe of the library kernel."""
    ends = bytearray(8)
    attached.syscall(PIPE, ends)
    return (
        int.from_bytes(ends[:4], sys.byteorder),
        int.from_bytes(ends[4:], sys.byteorder),
    )


def in_child(body: Callable[[], object]) -> None:
    """Runs ``body`` in a forked process, which must end well."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            body()
            status = 0
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert status == 0


def test_memory_arguments(instance: Instance) -> None:
    with instance.attach() as attached:
        reader, writer = pipe(attached)
        assert attached.syscall(WRITE, writer, b"bytes", 5) == 5
        assert attached.syscall(WRITE, writer, memoryview(b"-view")[1:], 4) == 4
        into = bytearray(16)
        assert attached.syscall(READ, reader, into, 16) == 9
        assert into[:9] == b"bytesview"
        assert attached.raw(WRITE, writer, None, 1) == -errno.EFAULT
        assert attached.raw(CLOSE, 0xFFFF_FFFF_FFFF_FFFF) == -errno.EBADF
        with pytest.raises(OverflowError):
            attached.raw(1 << 70)


def test_errors_are_the_kernels(instance: Instance) -> None:
    with instance.attach() as attached:
        with pytest.raises(FileNotFoundError):
            attached.syscall(OPEN, b"/none\0", 0)
        with pytest.raises(OSError, match="Address family not supported") as info:
            attached.syscall(SOCKET, 44, 1, 0)
        assert info.value.errno == errno.EAFNOSUPPORT


def test_threads(instance: Instance) -> None:
    before = instance.records()
    with instance.attach() as attached:
        reader, writer = pipe(attached)
        into = bytearray(4)

        def read() -> tuple[int, int]:
            return attached.syscall(GETTID), attached.syscall(READ, reader, into, 4)

        thread = attached.thread(read)
        with pytest.raises(TimeoutError):
            thread.result(0.05)
        # This thread runs on while that one waits: the call has let Python go.
        assert attached.syscall(WRITE, writer, b"abc", 3) == 3
        assert thread.result(5)[1] == 3
        assert thread.result()[0] != attached.syscall(GETTID)
        assert into == b"abc\0"

        with pytest.raises(ZeroDivisionError):
            attached.thread(lambda: 1 // 0).result(5)
        for _ in range(100):
            attached.thread(int).result(5)
    assert instance.records() == before


def test_a_thread_without_a_record(instance: Instance) -> None:
    errors: list[UklError] = []
    with instance.attach() as attached:

        def call() -> None:
            try:
                attached.syscall(GETPID)
            except UklError as error:
                errors.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert [str(error) for error in errors] == [
        "ukl: this thread has no record in the instance "
        "(start it with Attachment.thread())"
    ]


def test_detach_waits_for_threads(instance: Instance) -> None:
    with instance.attach() as attached:
        reader, writer = pipe(attached)
        thread = attached.thread(attached.syscall, READ, reader, bytearray(1), 1)
        with pytest.raises(UklError, match="other threads of this process"):
            attached.detach()
        assert attached.syscall(WRITE, writer, b"x", 1) == 1
        assert thread.result(5) == 1


def test_fork(instance: Instance) -> None:
    with instance.attach() as attached:
        reader, writer = pipe(attached)
        mine = attached.pid
        child = attached.fork()
        if child == 0:
            try:
                attached.syscall(CLOSE, reader)
                text = f"{attached.pid != mine}".encode()
                attached.syscall(WRITE, writer, text, len(text))
            finally:
                os._exit(0)
        into = bytearray(16)
        assert attached.syscall(READ, reader, into, 16) == 4
        assert into[:4] == b"True"
        os.waitpid(child, 0)

        child = attached.fork(CLONE_FILES)
        if child == 0:
            attached.raw(DUP2, reader, 77)
            os._exit(0)
        os.waitpid(child, 0)
        assert attached.syscall(CLOSE, 77) == 0


def test_fork_behind_the_back(instance: Instance) -> None:
    with instance.attach() as attached:

        def call() -> None:
            with pytest.raises(UklError, match=r"\(use Attachment.fork\(\)\)"):
                attached.syscall(GETPID)

        in_child(call)
        assert attached.pid > 1


def test_signals_of_the_library_kernel(instance: Instance) -> None:
    with instance.attach() as attached:
        reader, writer = pipe(attached)
        attached.syscall(CLOSE, reader)
        with pytest.raises(BrokenPipeError):
            attached.syscall(WRITE, writer, b"x", 1)
        assert attached.signals() == {signal.SIGPIPE}
        assert attached.signals() == set()


def test_kill(instance: Instance) -> None:
    with instance.attach() as attached:
        child = attached.fork()
        if child == 0:
            while True:
                attached.raw(GETPID)
        attached.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            attached.kill(child, signal.SIGKILL)
    assert instance.running


@pytest.mark.parametrize("times", [1, 20])
def test_python_signals_end_waits(instance: Instance, times: int) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    try:
        with instance.attach() as attached:
            for count in range(1, times + 1):
                signal.setitimer(signal.ITIMER_REAL, 0.02)
                began = time.monotonic()
                with pytest.raises(InterruptedError):
                    attached.syscall(
                        NANOSLEEP, (10).to_bytes(8, "little") + bytes(8), 0
                    )
                assert 0.015 < time.monotonic() - began < 1
                assert len(seen) == count
        # Python's own handler is back.
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        time.sleep(0.05)
        assert len(seen) == times + 1
    finally:
        signal.signal(signal.SIGALRM, before)


def test_control_c(instance: Instance) -> None:
    with instance.attach() as attached:
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            attached.syscall(NANOSLEEP, (10).to_bytes(8, "little") + bytes(8), 0)
        timer.join()
        assert attached.pid > 1


def test_the_log_outlives_the_instance(instance: Instance) -> None:
    os.kill(instance.pid, signal.SIGKILL)
    instance.process.wait(5)
    assert "Run /init as init process" in instance.log()
    instance.stop()
    with pytest.raises(UklError, match="has been closed"):
        instance.log()


def test_last_words(boot: Any) -> None:
    """A library kernel that is halted ends its processes, and says so."""
    instance = boot()
    assert instance.last_words() == ""
    pid = os.fork()
    if pid == 0:
        try:
            with instance.attach() as attached:
                attached.raw(169, 0xFEE1DEAD, 0x28121969, 0xCDEF0123, 0)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert instance.process.wait(5) == 1
    assert instance.last_words() == "the library kernel was halted"
    assert instance.messages() == (
        f"ukl: instance {instance.name}: the library kernel was halted; "
        "its processes were killed\n"
    )


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "with space", "-x", "ü"])
def test_names(boot: Any, name: str) -> None:
    if not name:
        assert boot(name=None).name.startswith("python-")
        return
    with pytest.raises(UklError, match="cannot name an instance"):
        boot(name=name)


def test_directories(
    image: Path, host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Private ones, without XDG_RUNTIME_DIR and with it; nothing is left."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with Instance.boot(image, host=host) as instance:
        assert instance.directory.is_relative_to(tmp_path)
        assert instance.directory.stat().st_mode & 0o777 == 0o700
        assert instance.directory.parent.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with Instance.boot(image, host=host, name="web") as instance:
        assert instance.control == tmp_path / "ukl" / "web" / "control"
        assert instance.directory.stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "ukl").stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "ukl").iterdir()) == []


def test_no_kernel_host(image: Path, tmp_path: Path) -> None:
    with pytest.raises(UklError, match=r"cannot start .*none: No such file"):
        Instance.boot(image, host=tmp_path / "none", directory=tmp_path / "i")
    assert list(tmp_path.iterdir()) == []


def test_not_built(tmp_path: Path) -> None:
    """Without a build there is one line that says what to do."""
    code = (
        "from hijack import instance\n"
        "from hijack.errors import UklError\n"
        "for f in (instance.default_host, instance.default_image,"
        " instance.binding.load):\n"
        "    try: f()\n"
        "    except UklError as e: print(e)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "ukl: the kernel host has not been built (ukl build makes it)",
        "ukl: there is no library kernel (ukl build makes it)",
        "ukl: the Python binding of libukl has not been built (ukl build makes it)",
    ], done.stderr


def test_the_binding_has_what_the_header_has() -> None:
    """Every function that ukl.h declares can be called, with its number of arguments.

    The oracle is the C compiler's own list of the header's declarations.
    """
    from hijack import binding

    include = ROOT / "kernel" / "include"
    done = subprocess.run(
        [
            "gcc",
            "-xc",
            f"-I{include}",
            "-aux-info",
            "/dev/stdout",
            "-fsyntax-only",
            "-",
        ],
        input="#include <ukl/ukl.h>\n",
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if "ukl.h:" in line]
    assert len(lines) > 20
    module = binding.load()
    for line in lines:
        declared, _, rest = line.partition("*/")[2].partition("(")
        name = declared.split()[-1].lstrip("*")
        function = module.ffi.typeof(getattr(module.lib, name))
        arguments = rest.rpartition(")")[0]
        wanted = 0 if arguments == "void" else arguments.count(",") + 1
        assert len(function.args) == wanted, line


def test_constants_are_read_from_headers() -> None:
    header = "#define UKL_A 1 /* UKL_B */\n#define UKL_C(n) n\n#define UKL_D\n"
    assert _ffi_build.constants(header) == ["UKL_A"]
    cleaned = _ffi_build.declarations(
        "#ifdef __cplusplus\nextern {\n#endif\nint f[UKL_A]; /* x */\n"
    )
    assert cleaned.split() == ["int", "f[...];"]
