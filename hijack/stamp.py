"""Tells in a few milliseconds whether the last build is still the right one.

After a build a stamp is kept beside it: the names, sizes and times of all files
the build reads, and of those it made.  It is compared before each start; only
when it differs is ninja asked, which then has the last word.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from hijack import paths
from hijack.errors import UklError
from hijack.files import read_json

_INPUTS = ("kernel", "libhijack_c", "hijack")
_FILES = ("meson.build", "meson_options.txt")
_ENDINGS = (".pyc", ".tmp", "~", ".swp")


def _walk(directory: str) -> Iterator[str]:
    """A line for each file below, in no particular order."""
    try:
        entries = os.scandir(directory)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from _walk(entry.path)
            elif not entry.name.endswith(_ENDINGS):
                yield _line(entry.path, entry.stat())


def _line(path: str, status: os.stat_result) -> str:
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def digest(checkout: Path) -> str:
    """What the build of ``checkout`` reads, by name, size and time."""
    lines = [sys.version]
    for name in _INPUTS:
        lines += sorted(_walk(str(checkout / name)))
    package = Path(__file__).resolve().parent
    if checkout.parent == package:
        # Installed: the builder itself is around what it builds.
        lines += sorted(_walk(str(package)))
    for name in _FILES:
        with suppress(FileNotFoundError):
            lines.append(_line(name, (checkout / name).stat()))
    return sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def _made(directory: Path) -> list[str]:
    """What a build made, by name, size and time."""
    image = (read_json(directory / "kernel" / "kernel-image.json") or {}).get("image")
    made = [directory / "kernel" / "host" / "ukl-host", Path(str(image))]
    lines = []
    for path in made:
        try:
            lines.append(_line(str(path), path.stat()))
        except OSError:
            lines.append(f"{path} missing")
    lines += sorted(_walk(str(directory / "libhijack_c")))
    return lines


def _text(inputs: str, directory: Path) -> str:
    return "\n".join([inputs, *_made(directory), ""])


def is_current(checkout: Path) -> bool:
    """Whether the last build of ``checkout`` is complete and of these files."""
    directory = paths.meson_directory(checkout)
    try:
        kept = (directory / "stamp").read_text()
    except (OSError, ValueError):
        return False
    return kept == _text(digest(checkout), directory)


@contextmanager
def _alone(checkout: Path) -> Iterator[bool]:
    """While nobody else builds ``checkout``; yields whether somebody has just done."""
    directory = paths.meson_directory(checkout)
    lock_path = directory.with_name(f"{directory.name}.lock")
    try:
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UklError(
            f"cannot build below {directory.parent}: {error.strerror}",
            "set XDG_CACHE_HOME to a directory you may write to",
        ) from None
    waited = False
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("ukl: waiting for another build", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
            waited = True
        yield waited
    finally:
        os.close(lock)


def build_if_needed(checkout: Path) -> None:
    """Build what is missing or old, with progress on standard error.

    Raises UklError, or SystemExit after a failure that has been told already.
    """
    if is_current(checkout):
        return
    with _alone(checkout) as waited:
        if not (waited and is_current(checkout)):
            _build(checkout, [])


def build(checkout: Path, arguments: list[str]) -> str:
    """Build and leave the stamp; the result line of the kernel builder.

    Raises as build_if_needed() does.
    """
    with _alone(checkout):
        return _build(checkout, arguments)


def _build(checkout: Path, arguments: list[str]) -> str:
    from hijack import mesonbuild

    # Before the build: what is edited meanwhile is built next time.
    inputs = digest(checkout)
    line = mesonbuild.build(arguments)
    with suppress(OSError):
        write(checkout, inputs)
    return line


def write(checkout: Path, inputs: str) -> None:
    """Say that the build of ``checkout`` is of the files with that digest."""
    from hijack.files import write_atomically

    directory = paths.meson_directory(checkout)
    write_atomically(directory / "stamp", _text(inputs, directory).encode())
