"""Starting a kernel host where something is in the way."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hijack.instance import Instance

PRELOADED = """\
#include <sys/mman.h>
static void __attribute__((constructor)) take(void)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;

    mmap((void *)0x200000000000UL, 4096, PROT_READ, flags, -1, 0);
}
"""


def start(
    host: Path,
    image: Path,
    *arguments: object,
    environment: dict[str, str] | None = None,
    before: Callable[[], None] | None = None,
) -> tuple[int, str]:
    """Runs a kernel host that is expected to end; its status and its words."""
    done = subprocess.run(
        [str(word) for word in (host, "--image", image, *arguments)],
        env=os.environ | (environment or {}),
        preexec_fn=before,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


def test_occupied_in_the_kernel_host(host: Path, image: Path, tmp_path: Path) -> None:
    source, library = tmp_path / "take.c", tmp_path / "take.so"
    source.write_text(PRELOADED)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    where = tmp_path / "i"
    assert start(
        host, image, "--dir", where, environment={"LD_PRELOAD": str(library)}
    ) == (
        125,
        "ukl: the address range from 0x200000000000 is in use in this process; "
        "was ukl-host itself run with a preloaded library?\n",
    )
    assert not (where / "control").exists()


def test_not_enough_address_space(host: Path, image: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20))

    where = tmp_path / "i"
    assert start(host, image, "--dir", where, "--memory", "512M", before=limit) == (
        125,
        "ukl: 512 MiB of memory is too little for the kernel or too much for this "
        "machine (--memory)\n",
    )
    assert not (where / "control").exists()


@pytest.mark.parametrize(
    ("directory", "words"),
    [
        ("file/i", "ukl: {}/file/i: Not a directory\n"),
        ("none/i", "ukl: {}/none/i: No such file or directory\n"),
        (
            "l" * 120,
            "ukl: {}/" + "l" * 120 + ": the name of the instance's directory "
            "is too long\n",
        ),
    ],
)
def test_bad_directories(
    host: Path, image: Path, tmp_path: Path, directory: str, words: str
) -> None:
    (tmp_path / "file").touch()
    status, said = start(host, image, "--dir", tmp_path / directory)
    assert (status, said) == (125, words.format(tmp_path))


def test_a_device_that_is_refused_leaves_nothing(
    host: Path, image: Path, tmp_path: Path
) -> None:
    status, said = start(host, image, "--dir", tmp_path / "i", "--device", "fd,fd=77")
    assert status == 125
    assert said == "ukl: --device fd,fd=77: descriptor 77: Bad file descriptor\n"
    assert not (tmp_path / "i" / "control").exists()


def test_name_of_a_host_that_was_killed(boot: Any, tmp_path: Path) -> None:
    """What a killed kernel host left does not stop the next one."""
    where = tmp_path / "web"
    first = boot(name="web", directory=where)
    # Its guardian's death ends it in order, if it comes to that.
    os.kill(first.pid, signal.SIGSTOP)
    os.kill(first.process.pid, signal.SIGKILL)
    os.kill(first.pid, signal.SIGKILL)
    first.process.wait(5)
    assert (where / "control").exists()
    # The kernel host is gone when its lock is.
    subprocess.run(["flock", where / "lock", "true"], timeout=5, check=True)
    second = boot(name="web", directory=where)
    with second.attach() as attached:
        assert attached.pid > 1


def test_one_winner(host: Path, image: Path, tmp_path: Path) -> None:
    """Of many that start at once under one name, while one ends, one runs."""
    where = tmp_path / "web"
    line = [host, "--image", image, "--name", "web", "--dir", where, "--keep"]
    line += ["--memory", "32M"]
    winners: list[tuple[subprocess.Popen[bytes], int]] = []
    for _ in range(25):
        racers = []
        if winners:
            os.kill(winners[0][1], signal.SIGTERM)
        for _ in range(4):
            ready, theirs = os.pipe()
            racers.append(
                (
                    subprocess.Popen(
                        [*line, f"--ready-fd={theirs}"],
                        pass_fds=[theirs],
                        stdin=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    ),
                    ready,
                )
            )
            os.close(theirs)
        if winners:
            assert winners.pop()[0].wait(10) == 0
        for process, ready in racers:
            # A pid if it runs, nothing if it has ended.
            said = os.read(ready, 32)
            os.close(ready)
            if said:
                winners.append((process, int(said)))
            else:
                assert process.wait(10) == 125
        try:
            assert len(winners) <= 1, "two kernel hosts hold one name"
        except AssertionError:
            for process, pid in winners:
                os.kill(pid, signal.SIGKILL)
                process.wait(10)
            raise
    for process, pid in winners:
        os.kill(pid, signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_host_nobody_joins_goes_away(host: Path, image: Path, tmp_path: Path) -> None:
    """Half a minute after its start."""
    began = time.monotonic()
    ready, theirs = os.pipe()
    process = subprocess.Popen(
        [host, "--image", image, "--dir", tmp_path / "i", f"--ready-fd={theirs}"],
        pass_fds=[theirs],
        stdin=subprocess.DEVNULL,
    )
    os.close(theirs)
    assert os.read(ready, 32)
    os.close(ready)
    assert process.wait(45) == 0
    assert 25 < time.monotonic() - began < 40
    assert list(tmp_path.iterdir()) == []


def test_the_guardian_is_told_to_stop(instance: Instance) -> None:
    """A SIGTERM to the process one sees ends the instance as well."""
    os.kill(instance.process.pid, signal.SIGTERM)
    assert instance.process.wait(5) == 0


def test_stopping_a_host_that_hangs(boot: Any) -> None:
    """A kernel host that does not react is killed after a while."""
    instance = boot()
    os.kill(instance.pid, signal.SIGSTOP)
    began = time.monotonic()
    instance.stop()
    assert time.monotonic() - began < 15
    assert not Path(f"/proc/{instance.pid}").exists()
