"""The kernel cache: finished images by the content they were built from.

::

    $XDG_CACHE_HOME/ukl/kernel/
        digests.json             sha-256 of tarballs by path, size and time
        images/CONFIG-KEY/       ukl-kernel.elf  manifest.json  config
        work/TREEKEY/            tree/  out-CONFIG/  lock

An entry appears by a rename and is trusted only after its size and digest
have been compared with its manifest.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from hijack.errors import UklError
from hijack.files import (
    disk_errors,
    human_size,
    read_json,
    sha256_of,
    sync_directory,
    write_json,
)

IMAGE_NAME = "ukl-kernel.elf"
MANIFEST_NAME = "manifest.json"
FORMAT = 1
KEPT_PER_CONFIG = 12
"""Older images of a configuration are removed when a new one arrives."""


@dataclass(frozen=True)
class Manifest:
    """What is known about an image.

    ``size`` is in bytes, ``build_seconds`` the wall time of the build that
    made it; ``incremental`` says that objects of an earlier build were used.
    """

    config: str
    key: str
    sha256: str
    size: int
    kernel_version: str
    package_version: str
    source_sha256: str
    compiler: str
    build_seconds: float
    incremental: bool
    format: int = FORMAT


@dataclass(frozen=True)
class Image:
    """A verified image in the cache."""

    path: Path
    manifest: Manifest


class CorruptEntryError(Exception):
    """An entry that is not what its manifest says; ``args[0]`` says how."""


class ImageCache:
    """The images below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._images = directory / "images"

    @property
    def digests(self) -> Path:
        """The file that remembers digests of tarballs."""
        return self.directory / "digests.json"

    def entry(self, config: str, key: str) -> Path:
        """The directory of an entry, whether it exists or not."""
        return self._images / f"{config}-{key[:16]}"

    def work(self, tree_key: str) -> Path:
        """The directory in which trees of ``tree_key`` are built."""
        return self.directory / "work" / tree_key

    def lookup(self, config: str, key: str) -> Image | None:
        """The verified image; None when there is none.

        Raises CorruptEntryError for an entry that is there but wrong.
        """
        entry = self.entry(config, key)
        if not entry.is_dir():
            return None
        fields = read_json(entry / MANIFEST_NAME)
        if fields is None:
            raise CorruptEntryError("its manifest is unreadable")
        try:
            manifest = Manifest(**fields)
        except TypeError:
            raise CorruptEntryError("its manifest has other fields") from None
        if manifest.format != FORMAT or manifest.key != key:
            raise CorruptEntryError("its manifest is of another build")
        path = entry / IMAGE_NAME
        try:
            size = path.stat().st_size
        except OSError:
            raise CorruptEntryError("its image is missing") from None
        if size != manifest.size:
            raise CorruptEntryError(
                f"its image has {size} bytes instead of {manifest.size}"
            )
        if sha256_of(path) != manifest.sha256:
            raise CorruptEntryError("its image has been altered")
        return Image(path, manifest)

    def discard(self, config: str, key: str) -> None:
        """Remove an entry, whatever its state."""
        shutil.rmtree(self.entry(config, key), ignore_errors=True)

    def install(self, built: Path, config_file: Path, manifest: Manifest) -> Image:
        """Copy a finished image in; it is there completely or not at all."""
        entry = self.entry(manifest.config, manifest.key)
        partial = self._images / f".{entry.name}.{os.getpid()}.partial"
        with disk_errors(self.directory):
            try:
                partial.mkdir(parents=True)
                shutil.copyfile(built, partial / IMAGE_NAME)
                shutil.copyfile(config_file, partial / "config")
                with (partial / IMAGE_NAME).open("rb") as stream:
                    os.fsync(stream.fileno())
                write_json(partial / MANIFEST_NAME, asdict(manifest))
                self.discard(manifest.config, manifest.key)
                partial.rename(entry)
                sync_directory(self._images)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        self._prune(manifest.config, entry)
        try:
            image = self.lookup(manifest.config, manifest.key)
        except CorruptEntryError as error:
            raise UklError(
                f"the image just written to {entry} is not intact: {error}",
                "look at the disk",
            ) from None
        assert image is not None
        return image

    def _prune(self, config: str, keep: Path) -> None:
        entries = [
            path
            for path in self._images.glob(f"{config}-*")
            if path != keep and path.is_dir()
        ]
        entries.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in entries[KEPT_PER_CONFIG - 1 :]:
            shutil.rmtree(path, ignore_errors=True)


def describe(image: Image) -> str:
    """``PATH  9.6 MB``."""
    return f"{image.path}  {human_size(image.manifest.size)}"


@contextmanager
def exclusive(path: Path, waiting: Callable[[str], None]) -> Iterator[int]:
    """Hold the lock file ``path``; ``waiting`` is told when another holds it.

    Yields the descriptor.  Children that inherit it keep the lock until they
    are gone too, so a compiler that outlives us cannot meet its successor.
    """
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            by = f" (process {holder})" if holder.isdigit() else ""
            waiting(f"waiting for another build{by}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)
