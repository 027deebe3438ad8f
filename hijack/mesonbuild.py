"""Drives meson and ninja for one checkout, outside its source tree."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from types import FrameType

from hijack import build as kernel_builder
from hijack import paths, tools
from hijack.errors import UklError
from hijack.files import disk_errors, full_disk, read_json
from hijack.kernelbuild import KernelBuild

_KERNEL_RESULT = "kernel/kernel-image.json"
_PYTHON = "ukl-python"
"""In a build directory: which Python it was set up by, whose meson ninja runs."""

_NOISE = ("ninja: build stopped", "ninja: Entering directory")


def _tool(name: str) -> str:
    """A program that came with our Python packages, else the one on PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise UklError(f"{name} is missing; install it with: pip install {name}")
    return found


def _python_headers() -> tools.Requirement:
    """What a C extension for the Python that runs us is compiled with."""
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return tools.Requirement(str(header), "python3-dev")


def setup_line(checkout: Path, directory: Path) -> list[str]:
    """The command that makes the meson build directory."""
    return [
        _tool("meson"),
        "setup",
        f"-Dpython={sys.executable}",
        str(directory),
        str(checkout),
    ]


def is_set_up(directory: Path) -> bool:
    """Whether ninja can work in a build directory: it refers to our Python's meson.

    That of another one, which may be gone, makes it stop at "no known rule".
    """
    by = directory / _PYTHON
    return (
        (directory / "build.ninja").is_file()
        and by.is_file()
        and by.read_text(encoding="utf-8") == sys.executable
    )


def ninja_line(directory: Path) -> list[str]:
    """The command that brings the build directory up to date.

    It is what ``meson compile`` runs; saying it ourselves saves a quarter of a
    second on each call.
    """
    return [_tool("ninja"), "--quiet", "-C", str(directory)]


def plan(arguments: list[str]) -> list[str]:
    """The command lines that ``build`` would run, the kernel's included."""
    checkout = paths.checkout_root()
    directory = paths.meson_directory(checkout)
    options = kernel_builder.parser().parse_args(arguments)
    lines = [
        shlex.join(setup_line(checkout, directory)),
        shlex.join(ninja_line(directory)),
    ]
    return lines + KernelBuild(kernel_builder.request_from(options)).plan()


def build(arguments: list[str]) -> str:
    """Build everything; ``arguments`` are for the kernel builder.

    Returns the result line of the kernel builder.  Raises UklError when
    something failed that has not yet told why, and SystemExit with the
    builder's status when it has.
    """
    # meson wants its own before anybody of ours gets to speak.
    tools.ensure((*tools.BUILD_TOOLS, _python_headers()))
    checkout = paths.checkout_root()
    directory = paths.meson_directory(checkout)
    environment = os.environ | {
        kernel_builder.EXTRA_ARGUMENTS: shlex.join(arguments),
        "NINJA": _tool("ninja"),
    }
    if not is_set_up(directory):
        _set_up(checkout, directory, environment)
    result = directory / _KERNEL_RESULT
    result.unlink(missing_ok=True)
    # The builder's progress and errors go to standard error, which the
    # console pool hands through; standard output has ninja's own reports.
    status, output = _run_forwarding_signals(ninja_line(directory), environment)
    outcome = read_json(result) or {}
    if status == 0 and "line" in outcome:
        return str(outcome["line"])
    if "status" in outcome:
        raise SystemExit(int(outcome["status"]))
    report = [
        line
        for line in output.splitlines()
        if line.strip() and not line.startswith(_NOISE)
    ]
    raise UklError(
        f"ninja failed with status {status}",
        f"the build directory is {directory}",
        details=tuple(report[-40:]),
    )


def _run_forwarding_signals(
    line: list[str], environment: dict[str, str]
) -> tuple[int, str]:
    """Run a command in a process group of its own; its status and output.

    Whichever way we are told to stop, the whole group is told, once, and we
    wait for it: the builder has things to tidy away and to say.
    """
    with subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        errors="replace",
        process_group=0,
    ) as child:

        def forward(number: int, frame: FrameType | None) -> None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, number)

        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, forward) for number in signals}
        try:
            output, _ = child.communicate()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return child.returncode, output


def _set_up(checkout: Path, directory: Path, environment: dict[str, str]) -> None:
    with disk_errors(directory.parent):
        directory.parent.mkdir(parents=True, exist_ok=True)
        # What a broken first attempt left would make meson refuse.
        shutil.rmtree(directory, ignore_errors=True)
    done = subprocess.run(
        setup_line(checkout, directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        (directory / _PYTHON).write_text(sys.executable, encoding="utf-8")
        return
    shutil.rmtree(directory, ignore_errors=True)
    if "No space left on device" in done.stdout:
        raise full_disk(directory.parent)
    raise UklError(
        f"meson setup failed with status {done.returncode}",
        "its last lines are above",
        details=tuple(done.stdout.splitlines()[-20:]),
    )
