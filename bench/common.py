"""What the benchmarks have in common: building, running, locking, figures."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
sys.path.insert(0, str(ROOT))

from hijack import paths  # noqa: E402

PATIENCE = 15.0
"""Seconds for anything that should take a moment."""

FLAGS = ("-O2", "-Wall", "-Wextra", "-pthread", "-fno-stack-protector")


class UnmeasurableError(Exception):
    """A row has no result; the message is the cause."""


class Parser(argparse.ArgumentParser):
    """With the exit status that every program of ukl gives to bad usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(125, f"{self.prog}: {message} (--help explains)\n")


def first_line(text: str) -> str:
    """The first line that says something, for a message."""
    return next((line for line in text.splitlines() if line.strip()), "no message")


def compile_programs(programs: Mapping[str, tuple[str, ...]]) -> Path:
    """Compile into a directory of the cache, which knows it by content.

    ``programs`` maps names to the compiler's words, sources relative to the
    checkout.
    """
    compiler = os.environ.get("CC", "cc")
    if not shutil.which(compiler):
        raise UnmeasurableError(f"no compiler {compiler} (apt-get install gcc)")
    state = hashlib.sha256(repr((compiler, FLAGS, programs)).encode())
    sources = [*BENCH.glob("*.[ch]"), *(ROOT / "kernel/host").glob("*.[ch]")]
    sources += (ROOT / "kernel").glob("**/ukl/*.h")
    for source in sorted(sources):
        state.update(source.read_bytes())
    directory = paths.cache_root() / "bench" / state.hexdigest()[:16]
    directory.mkdir(parents=True, exist_ok=True)
    for name, words in programs.items():
        target = directory / name
        if target.exists():
            continue
        partial = directory / f".{name}.{os.getpid()}"
        done = subprocess.run(
            [compiler, *FLAGS, "-o", str(partial), *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise UnmeasurableError(f"{name}: {first_line(done.stderr)}")
        partial.rename(target)
    return directory


def be_alone() -> int:
    """Lock out a second run, which would spoil both; keep the descriptor."""
    directory = paths.cache_root() / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UnmeasurableError("another benchmark is running") from None
    return lock


def run(*command: str, patience: float = PATIENCE) -> str:
    """What ``command`` prints; it has to succeed."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
            # The terminal's Ctrl-C is for the benchmark, which tidies up.
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise UnmeasurableError(
            f"{Path(command[0]).name} did not end within {patience:.0f} s"
        ) from None
    except OSError as error:
        raise UnmeasurableError(f"{command[0]}: {error.strerror}") from None
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise UnmeasurableError(f"{Path(command[0]).name} was ended by {name}")
    if done.returncode:
        raise UnmeasurableError(first_line(done.stderr or done.stdout))
    return done.stdout


def in_namespace(name: str) -> list[str]:
    """The words that run a command in a network namespace of the test bed."""
    return ["nsenter", f"--net=/run/netns/{name}"]


def quartiles(samples: list[float]) -> float:
    """Half the distance between the quartiles, as a share of the median."""
    if len(samples) < 3:
        return 0.0
    low, middle, high = statistics.quantiles(samples, n=4, method="inclusive")
    return (high - low) / 2 / middle


def spread(samples: list[float]) -> str:
    """The same as text, as in ``±3%``; too few samples have none."""
    return f"±{quartiles(samples):.0%}" if len(samples) >= 3 else ""


def figure(value: object) -> str:
    """Three significant digits or so."""
    if not isinstance(value, float):
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def load() -> float:
    """Runnable processes of the last minute; ours are among them."""
    return os.getloadavg()[0]


def on_terminate(_number: int, _frame: object) -> None:
    """A signal handler: as Ctrl-C."""
    raise KeyboardInterrupt
