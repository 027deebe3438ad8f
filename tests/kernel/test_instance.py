"""Instances as a whole: start, end, errors, company, cost."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hijack.errors import UklError
from hijack.instance import Instance

GETPID, NANOSLEEP, EXIT_GROUP = 39, 35, 231


def cpu_seconds(pid: int) -> float:
    """Processor time that a process's threads have used."""
    return sum(
        int((task / "schedstat").read_text().split()[0]) / 1e9
        for task in Path(f"/proc/{pid}/task").iterdir()
    )


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> bool:
    """Whether ``condition`` becomes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def forked(instance: Instance, body: Callable[[Any], None]) -> int:
    """A child process, attached to ``instance``, that runs ``body``; its pid.

    It returns once the child has attached.
    """
    ready, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with instance.attach() as attached:
                os.write(theirs, b"x")
                body(attached)
        finally:
            os._exit(0)
    os.close(theirs)
    assert os.read(ready, 1) == b"x", "the child did not attach"
    os.close(ready)
    return pid


def sleep_long(attached: Any) -> None:
    """Blocks in the library kernel for a minute."""
    attached.raw(NANOSLEEP, (60).to_bytes(8, "little") + bytes(8), None)


def sleep_short(attached: Any) -> None:
    """Blocks in the library kernel for a moment, then outside it."""
    attached.raw(NANOSLEEP, bytes(8) + (300_000_000).to_bytes(8, "little"), None)
    time.sleep(60)


def busy(attached: Any) -> None:
    """Makes calls for ever, most of the time inside the kernel."""
    entropy = bytearray(64 * 1024)
    while True:
        attached.raw(318, entropy, len(entropy), 0)  # getrandom


def reap(pid: int, seconds: float = 5) -> int:
    """The wait status of a child that must end in time."""
    end = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pytest.fail(f"process {pid} lived on")
        time.sleep(0.002)


def test_calls_from_python(instance: Instance) -> None:
    with instance.attach() as attached:
        assert attached.syscall(GETPID) > 1
        fd = attached.syscall(41, 2, 1, 0)
        assert attached.syscall(3, fd) == 0
        with pytest.raises(OSError, match="Bad file descriptor"):
            attached.syscall(3, fd)
        with pytest.raises(UklError, match="attached to instance test1 already"):
            instance.attach()
    assert "Linux version 6.12" in instance.log()


def test_a_process_may_attach_again(instance: Instance) -> None:
    before = instance.records()
    for _ in range(20):
        with instance.attach() as attached:
            assert attached.pid > 1
    assert wait_until(lambda: instance.records() == before)


def test_two_instances_at_once(boot: Any) -> None:
    first, second = boot(), boot()
    with first.attach() as attached:
        fd = attached.syscall(2, b"/tmp/mine\0", os.O_CREAT | os.O_WRONLY, 0o600)
        assert attached.syscall(1, fd, b"one", 3) == 3
    with (
        second.attach() as attached,
        pytest.raises(OSError, match="No such file"),
    ):
        attached.syscall(2, b"/tmp/mine\0", os.O_RDONLY, 0)
    with first.attach() as attached:
        assert attached.syscall(2, b"/tmp/mine\0", os.O_RDONLY, 0) >= 0


def test_an_instance_ends_with_its_last_process(boot: Any) -> None:
    instance = boot(keep=False)
    pid = forked(instance, lambda attached: None)
    reap(pid)
    assert instance.process.wait(5) == 0
    assert not instance.control.exists()


def test_a_kept_instance_lives_on(boot: Any) -> None:
    instance = boot(keep=True)
    reap(forked(instance, lambda attached: None))
    time.sleep(0.3)
    assert instance.running
    with instance.attach() as attached:
        assert attached.pid > 1


def test_stop_ends_the_processes(boot: Any) -> None:
    instance = boot()
    pid = forked(instance, sleep_long)
    instance.stop()
    assert os.WTERMSIG(reap(pid)) == signal.SIGTERM


def test_second_host_of_a_name(boot: Any, tmp_path: Path) -> None:
    boot(name="web", directory=tmp_path / "web")
    with pytest.raises(
        UklError, match=r"an instance named web is running already \(ukl stop web"
    ):
        boot(name="web", directory=tmp_path / "web")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--memory", "1M"], "ukl: --memory 1M: give a size from 32M to 1024G\n"),
        (["--memory", "many"], "ukl: --memory many: give a size from 32M to 1024G\n"),
        (
            ["--device", "carrier-pigeon"],
            "ukl: --device carrier-pigeon: unknown kind carrier-pigeon "
            "(tap, fd, stream, wire, user)\n",
        ),
        (
            ["--device", "tap"],
            "ukl: --device tap: tap needs host=IFNAME or fd=N\n",
        ),
        (
            ["--device", "fd"],
            "ukl: --device fd: give the socket as fd=N\n",
        ),
        (
            ["--device", "fd,fd=0,mtu=12"],
            "ukl: --device fd,fd=0,mtu=12: mtu=12: give a number from 68 to 65535\n",
        ),
        (
            ["--device", "fd,fd=0,mac=01:00:00:00:00:01"],
            "ukl: --device fd,fd=0,mac=01:00:00:00:00:01: mac=01:00:00:00:00:01: "
            "not the address of one interface\n",
        ),
        (
            ["--device", "fd,colour=red"],
            "ukl: --device fd,colour=red: unknown key colour\n",
        ),
    ],
)
def test_bad_options(
    host: Path, image: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    where = tmp_path / "i"
    done = subprocess.run(
        [host, "--image", image, "--dir", where, *options],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stderr) == (125, words)
    assert not where.exists() or not list(where.iterdir())


def broken_image(image: Path, tmp_path: Path, what: str) -> Path:
    """A copy of the image with one thing wrong."""
    path = tmp_path / f"{what}.elf"
    shutil.copy(image, path)
    data = bytearray(path.read_bytes())
    offset = data.index((0x4C454E52454B4C55).to_bytes(8, "little"))
    if what == "version":
        data[offset + 8] ^= 0x40
    elif what == "magic":
        data[offset] ^= 1
    elif what == "truncated":
        del data[len(data) // 3 :]
    elif what == "empty":
        data.clear()
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("version", "the kernel has another interface version than this program"),
        ("magic", "not a library kernel (ukl build makes one)"),
        ("empty", "not a library kernel (ukl build makes one)"),
        ("truncated", "the kernel image is incomplete (ukl build --force makes it"),
    ],
)
def test_bad_images(
    host: Path, image: Path, tmp_path: Path, what: str, words: str
) -> None:
    path = broken_image(image, tmp_path, what)
    done = subprocess.run(
        [host, "--image", path], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 125
    assert done.stderr.startswith(f"ukl: {path}: {words}"), done.stderr
    assert done.stderr.count("\n") == 1


def test_missing_image(host: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [host, "--image", tmp_path / "none"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 125
    assert done.stderr == (
        f"ukl: {tmp_path}/none: No such file or directory "
        "(ukl build makes the library kernel)\n"
    )


def test_occupied_addresses(instance: Instance) -> None:
    """A process whose own mappings are in the way cannot attach, and says so."""
    code = (
        "import ctypes, sys\n"
        "from hijack import binding\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.mmap.restype = ctypes.c_void_p\n"
        "at = libc.mmap(ctypes.c_void_p(0x200000100000), ctypes.c_size_t(4096),"
        " 3, 0x32, -1, ctypes.c_long(0))\n"
        "assert at == 0x200000100000\n"
        "m = binding.load()\n"
        "files = m.ffi.new('struct ukl_files *')\n"
        "assert m.lib.ukl_connect(sys.argv[1].encode(), files) == 0\n"
        "out = m.ffi.new('struct ukl_thread **')\n"
        "print(m.lib.ukl_attach(files, out))\n"
        "assert ctypes.string_at(at, 1) == b'\\0'\n"
    )
    import sys

    done = subprocess.run(
        [sys.executable, "-c", code, str(instance.control)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.stdout == "-17\n", done.stderr


def test_host_killed(boot: Any) -> None:
    instance = boot()
    pids = [forked(instance, sleep_long), forked(instance, busy)]
    began = time.monotonic()
    os.kill(instance.pid, signal.SIGKILL)
    statuses = [reap(pid, 2) for pid in pids]
    took = time.monotonic() - began
    assert took < 0.1, f"it took {took * 1e3:.0f} ms"
    assert all(os.WTERMSIG(status) == signal.SIGKILL for status in statuses)
    assert instance.process.wait(2) == 1
    assert instance.messages() == (
        "ukl: instance test1: the kernel host was killed by signal 9; "
        "the instance's processes were killed\n"
    )


def test_killed_inside_the_kernel(boot: Any) -> None:
    """It ends everywhere at once, with one message; outside it lives on."""
    for _ in range(50):
        instance = boot()
        bystander = forked(instance, sleep_long)
        victim = forked(instance, busy)
        time.sleep(0.02)
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        reap(victim)
        if wait_until(lambda: not instance.running, 0.3):
            reap(bystander, 1)
            took = time.monotonic() - began
            assert took < 0.4
            assert instance.process.returncode == 1
            assert instance.messages() == (
                f"ukl: instance {instance.name}: process {victim} was killed "
                "inside the library kernel; its processes were killed\n"
            )
            return
        instance.stop()
        reap(bystander)
    pytest.fail("50 kills of a process that is always in the kernel missed it")


STOPPED = (
    "ukl: instance {name}: process {pid} was stopped while it had the library kernel, "
    "which all others of the instance wait for: it goes on until it is out of it\n"
)


def state_of(pid: int) -> str:
    """As /proc has it: R, S, T, …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_stopped_inside_the_kernel(boot: Any) -> None:
    """A process that is stopped with the CPU lets it go, and then is stopped."""
    instance = boot()
    victim = forked(instance, busy)
    try:
        for _ in range(50):
            time.sleep(0.02)
            os.kill(victim, signal.SIGSTOP)
            waiting, ready = forked_call(instance)
            assert select.select([ready], [], [], 5)[0], instance.messages()
            reap(waiting)
            assert wait_until(lambda: state_of(victim) == "T", 5)
            if instance.messages():
                break
            os.kill(victim, signal.SIGCONT)
        else:
            pytest.fail("50 stops of a process that is always in the kernel missed it")
        assert instance.messages() == STOPPED.format(name=instance.name, pid=victim)
    finally:
        os.kill(victim, signal.SIGKILL)
        reap(victim)


def test_stopped_before_it_is_handed_the_cpu(boot: Any) -> None:
    """What a stopped process has waited for comes: the others do not wait for it."""
    instance = boot()
    victim = forked(instance, sleep_short)
    time.sleep(0.1)
    os.kill(victim, signal.SIGSTOP)
    try:
        time.sleep(0.5)
        for _ in range(5):
            waiting, ready = forked_call(instance)
            assert select.select([ready], [], [], 5)[0], instance.messages()
            reap(waiting)
        assert wait_until(lambda: state_of(victim) == "T", 5)
        assert instance.messages() == STOPPED.format(name=instance.name, pid=victim)
    finally:
        os.kill(victim, signal.SIGKILL)
        reap(victim)


def forked_call(instance: Instance) -> tuple[int, int]:
    """A child that attaches and writes a byte to the pipe when it has."""
    ready, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with instance.attach():
                os.write(theirs, b"x")
        finally:
            os._exit(0)
    os.close(theirs)
    return pid, ready


def test_idle_costs_nothing(boot: Any) -> None:
    """Under 0.2 % of a CPU, with a process that waits in the kernel."""
    instance = boot()
    pids = [forked(instance, sleep_long), instance.process.pid, instance.pid]
    time.sleep(1)
    shares: list[float] = []
    # All that is idle has cold caches, and takes as long as the machine is slow.
    while len(shares) < 3 and not any(share < 0.002 for share in shares):
        before, began = sum(map(cpu_seconds, pids)), time.monotonic()
        time.sleep(20)
        used = sum(map(cpu_seconds, pids)) - before
        shares.append(used / (time.monotonic() - began))
    assert min(shares) < 0.002, shares


def pss(pid: int) -> int:
    """Bytes of memory of a process, shared pages divided by their users."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no Pss")


def test_two_hundred_at_once(boot: Any) -> None:
    """200 instances answer within 4 GB of memory."""
    instances = [boot(memory="32M") for _ in range(200)]
    for instance in instances:
        with instance.attach() as attached:
            assert attached.pid > 1
    total = sum(
        pss(pid) for instance in instances for pid in (instance.pid, instance.process.pid)
    )
    print(f"# 200 instances: {total / 1e6:.0f} MB")
    assert total < 4e9


def test_timers_across_the_wrap_of_jiffies(boot: Any) -> None:
    """The tick counter's low half wraps after 2 s; sleeps and polls stay true."""
    instance = boot(cmdline="ukl.jiffies=200")
    with instance.attach() as attached:
        end = time.monotonic() + 4
        while time.monotonic() < end:
            began = time.monotonic()
            wait = (0).to_bytes(8, "little") + (150_000_000).to_bytes(8, "little")
            assert attached.raw(NANOSLEEP, wait, None) == 0
            slept = time.monotonic() - began
            assert 0.149 < slept < 0.4
            # SO_RCVTIMEO counts in jiffies.
            fd = attached.syscall(41, 2, 2, 0)
            limit = (0).to_bytes(8, "little") + (150_000).to_bytes(8, "little")
            attached.syscall(54, fd, 1, 20, limit, 16)
            began = time.monotonic()
            with pytest.raises(BlockingIOError):
                attached.syscall(45, fd, bytearray(1), 1, 0, 0, 0)
            waited = time.monotonic() - began
            assert 0.13 < waited < 0.4
            attached.syscall(3, fd)
