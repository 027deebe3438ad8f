"""The library kernel's code in huge pages, and where the host makes none."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hijack.instance import Instance

CODE = 0x2000_0000_0000
HUGE = 2 << 20
MAP_FIXED = 0x10
MADV_COLLAPSE = 25
PR_SET_THP_DISABLE = 41

libc = ctypes.CDLL(None, use_errno=True)


def host_makes_huge_pages() -> bool:
    """Of a memory file's; asked for in the way that the kernel host does."""
    libc.mmap.restype = ctypes.c_void_p
    file = os.memfd_create("test")
    os.ftruncate(file, HUGE)
    with mmap.mmap(-1, 2 * HUGE) as room:
        first = ctypes.c_char.from_buffer(room)
        at = ctypes.c_void_p((ctypes.addressof(first) + HUGE - 1) & -HUGE)
        rights = mmap.PROT_READ | mmap.PROT_WRITE
        flags = mmap.MAP_SHARED | MAP_FIXED
        assert libc.mmap(at, ctypes.c_size_t(HUGE), rights, flags, file, 0) == at.value
        os.close(file)
        ctypes.memset(at, 1, 1)
        made: bool = libc.madvise(at, ctypes.c_size_t(HUGE), MADV_COLLAPSE) == 0
        del first
    return made


@contextmanager
def small_pages() -> Generator[None]:
    """No huge pages for this process and those that it starts."""
    assert libc.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        libc.prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0)


def code_of(pid: int) -> str:
    """The line of the mapping that the kernel's code is in."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return next(line for line in maps if line.startswith(f"{CODE:x}-"))


def until_copied(pid: int) -> None:
    """Waits for the kernel host to run in the copy."""
    deadline = time.monotonic() + 20
    while "/memfd:" not in code_of(pid):
        assert time.monotonic() < deadline, code_of(pid)
        time.sleep(0.01)


def code_in(pid: int, size: int) -> bytes:
    """What is mapped there."""
    with Path(f"/proc/{pid}/mem").open("rb") as memory:
        memory.seek(CODE)
        return memory.read(size)


def code_size(line: str) -> int:
    """The length of the mapping of that line."""
    start, end = line.split()[0].split("-")
    return int(end, 16) - int(start, 16)


def test_code_is_copied(boot: Callable[..., Instance], run: Any, image: Path) -> None:
    """All of it, and it cannot be written; programs that come later share it."""
    instance = boot()
    if not host_makes_huge_pages():
        time.sleep(0.5)
        assert code_of(instance.pid).endswith(str(image))
        return
    until_copied(instance.pid)
    running = run("devices", instance, "answer", 7000, 1)
    assert running.line() == "ready"
    file = image.read_bytes()
    for pid in instance.pid, running.process.pid:
        line = code_of(pid)
        assert "/memfd:ukl-kernel" in line
        assert line.split()[1] == "r-xs"
        code = code_in(pid, code_size(line)).rstrip(b"\0")
        assert len(code) > HUGE
        assert file[file.find(code[:4096]) :].startswith(code)
        smaps = Path(f"/proc/{pid}/smaps").read_text().split(line, 1)[1]
        huge = smaps.split("ShmemPmdMapped:", 1)[1].split()[0]
        assert int(huge) * 1024 >= HUGE, smaps[:1000]


def test_without_huge_pages(boot: Callable[..., Instance], run: Any, image: Path) -> None:
    """The file itself is mapped, by all."""
    with small_pages():
        instance = boot()
        running = run("devices", instance, "answer", 7000, 1)
    assert running.line() == "ready"
    time.sleep(0.5)
    for pid in instance.pid, running.process.pid:
        assert code_of(pid).endswith(str(image))
        assert code_of(pid).split()[1] == "r-xp"
    threads = Path(f"/proc/{instance.pid}/task").iterdir()
    assert "ukl-text" not in [(t / "comm").read_text().strip() for t in threads]
