"""The Linux source: Debian's tarball, unpacked, patched, with our port laid over.

Nothing of Linux is kept in this repository.  The tree is unpacked once per
tarball and set of patches; the overlay is then kept in step file by file, so
that make sees which files really changed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hijack import tools
from hijack.errors import UklError
from hijack.files import (
    digest_of,
    disk_errors,
    free_bytes,
    read_json,
    sha256_of,
    write_json,
)

PACKAGE = "linux-source-6.12"
PACKAGE_TARBALL = Path("/usr/src/linux-source-6.12.tar.xz")

EXCLUDED = (
    # Kconfig reads the Kconfig files of every architecture and driver, so
    # those stay; what they describe need not be there.
    "*/Documentation/[!K]*",
    *(
        f"*/arch/{family}/*.{kind}"
        for family in ("[!x]*", "xtensa")
        for kind in ("[chSs]", "dts", "dtsi", "dtso", "tbl", "sh")
    ),
    "*/arch/[!x]*/configs/*",
    *(
        f"*/{directory}/*.[chS]"
        for directory in (
            "drivers/accel",
            "drivers/clk",
            "drivers/comedi",
            "drivers/gpu",
            "drivers/hwmon",
            "drivers/iio",
            "drivers/infiniband",
            "drivers/input",
            "drivers/media",
            "drivers/mmc",
            "drivers/mtd",
            "drivers/net/ethernet",
            "drivers/net/wireless",
            "drivers/phy",
            "drivers/pinctrl",
            "drivers/platform",
            "drivers/regulator",
            "drivers/scsi",
            "drivers/soc",
            "drivers/staging",
            "drivers/usb",
            "drivers/video",
            "sound",
            "tools/perf",
            "tools/testing",
        )
    ),
)
"""What tar leaves packed (its patterns; ``*`` matches slashes as well)."""

UNPACK_RECIPE = 1
"""Raise when the same tarball and patches must be unpacked anew."""

ORIGIN = (
    "it comes with Debian 12's security updates: the suite bookworm-security must be "
    "among apt's sources"
)
"""Where the source package is."""

_DECOMPRESSORS = {
    ".xz": ["xz", "-T0", "-dc"],
    ".gz": ["gzip", "-dc"],
    ".tar": ["cat"],
}
_CHUNK = 1 << 20
_IGNORED = re.compile(r"\..*|.*~|.*\.(orig|rej|o|swp)")
_VERSION = re.compile(r"^(VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Tarball:
    """A source tarball and its identity."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class OverlayFile:
    """One file of the port, as it was when the build began."""

    data: bytes
    executable: bool

    def digest(self) -> str:
        kind = "x" if self.executable else "-"
        return kind + hashlib.sha256(self.data).hexdigest()


Overlay = dict[str, OverlayFile]
"""Files by their path below ``arch/lkl``."""


@dataclass(frozen=True)
class Patch:
    """A change to Linux outside ``arch/lkl``."""

    name: str
    data: bytes


def find_tarball(given: Path | None, memo: Path) -> Tarball:
    """The tarball to build from: ``given``, or Debian's package, installed if need be.

    ``memo`` remembers digests by path, size and time, because hashing 150 MB
    on each call would be most of a cached build.
    """
    if given is None:
        given = PACKAGE_TARBALL
        tools.ensure((tools.Requirement(str(given), PACKAGE, ORIGIN),))
    path = given.resolve()
    if not path.is_file():
        raise UklError(
            f"{given} is not a file", "--source takes the tarball of linux-source-6.12"
        )
    if path.suffix not in _DECOMPRESSORS:
        raise UklError(
            f"{path.name} is not a tarball this build can read",
            "it must end in .tar, .tar.gz or .tar.xz",
        )
    status = path.stat()
    print_of_file = [status.st_size, status.st_mtime_ns, status.st_ino]
    known = read_json(memo) or {}
    entry = known.get(str(path))
    if isinstance(entry, dict) and entry.get("file") == print_of_file:
        return Tarball(path, str(entry["sha256"]))
    digest = sha256_of(path)
    with disk_errors(memo.parent):
        write_json(memo, known | {str(path): {"file": print_of_file, "sha256": digest}})
    return Tarball(path, digest)


def package_version() -> str:
    """Debian's version of the source package; empty when it is not installed."""
    try:
        done = subprocess.run(
            ["dpkg-query", "-W", "-f=${Version}", PACKAGE],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def kernel_version(tree: Path) -> str:
    """``6.12.117``, from the tree's own Makefile."""
    found = dict(_VERSION.findall((tree / "Makefile").read_text(encoding="utf-8")))
    return ".".join(found.get(k, "0") for k in ("VERSION", "PATCHLEVEL", "SUBLEVEL"))


def read_overlay(directory: Path) -> Overlay:
    """Take a snapshot of the port, links followed, editors' leavings left out."""
    if not (directory / "Kconfig").is_file():
        raise UklError(
            f"{directory} does not hold the port", "the checkout is not complete"
        )
    overlay: Overlay = {}
    for place, directories, names in os.walk(directory, followlinks=True):
        directories[:] = [d for d in directories if not _IGNORED.fullmatch(d)]
        for name in names:
            if _IGNORED.fullmatch(name):
                continue
            path = Path(place, name)
            executable = bool(path.stat().st_mode & stat.S_IXUSR)
            overlay[str(path.relative_to(directory))] = OverlayFile(
                path.read_bytes(), executable
            )
    return dict(sorted(overlay.items()))


def read_patches(directory: Path) -> list[Patch]:
    """The patches in the order of their names."""
    return [Patch(p.name, p.read_bytes()) for p in sorted(directory.glob("*.patch"))]


def tree_key(tarball: Tarball, patches: list[Patch]) -> str:
    """Names the unpacked tree: equal keys, equal trees."""
    return digest_of(
        {
            "tarball": tarball.sha256,
            "excluded": EXCLUDED,
            "patches": [[p.name, hashlib.sha256(p.data).hexdigest()] for p in patches],
            "recipe": UNPACK_RECIPE,
        }
    )[:16]


def unpack_lines(tarball: Tarball, destination: Path) -> tuple[list[str], list[str]]:
    """The two commands of the unpacking pipeline."""
    tar = [
        "tar",
        "-x",
        "--strip-components=1",
        "--no-same-owner",
        f"--directory={destination}",
        "--wildcards",
        *(f"--exclude={pattern}" for pattern in EXCLUDED),
    ]
    return _DECOMPRESSORS[tarball.path.suffix], tar


def unpack(
    tarball: Tarball,
    patches: list[Patch],
    tree: Path,
    reach: Callable[[int], None],
) -> None:
    """Unpack and patch into ``tree``, which appears only when it is complete.

    ``reach`` is told how many compressed bytes have been read.
    """
    partial = tree.with_name(tree.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _run_pipeline(tarball, partial, reach)
        if not (partial / "Makefile").is_file():
            raise UklError(
                f"{tarball.path.name} does not hold a Linux source tree",
                "--source takes the tarball of linux-source-6.12",
            )
        for patch in patches:
            _apply(patch, partial)
        partial.rename(tree)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _run_pipeline(
    tarball: Tarball, destination: Path, reach: Callable[[int], None]
) -> None:
    decompress, extract = unpack_lines(tarball, destination)
    with (
        tarball.path.open("rb") as stream,
        subprocess.Popen(
            decompress,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        ) as unpacker,
        subprocess.Popen(
            extract,
            stdin=unpacker.stdout,
            stderr=subprocess.PIPE,
            process_group=0,
            env=os.environ | {"LC_ALL": "C"},
        ) as tar,
    ):
        assert unpacker.stdin
        assert unpacker.stdout
        assert unpacker.stderr
        assert tar.stderr
        unpacker.stdout.close()
        try:
            done = 0
            while chunk := stream.read(_CHUNK):
                unpacker.stdin.write(chunk)
                done += len(chunk)
                reach(done)
            unpacker.stdin.close()
        except BrokenPipeError:
            pass  # one of the two has failed; its own words follow
        except BaseException:
            for child in (unpacker, tar):
                child.send_signal(signal.SIGTERM)
            raise
        complaints = tar.stderr.read() + unpacker.stderr.read()
    text = complaints.decode(errors="replace")
    if tar.returncode == 0 and unpacker.returncode == 0:
        return
    # tar's last words on a full disk may also be "Wrote only 512 of 10240".
    if "Disk quota exceeded" in text or free_bytes(destination) < _CHUNK:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise UklError(
        f"cannot unpack {tarball.path}",
        "reinstall it with: apt-get install --reinstall linux-source-6.12",
        details=tuple(text.splitlines()[:5]),
    )


def _apply(patch: Patch, tree: Path) -> None:
    done = subprocess.run(
        ["patch", "-p1", "--forward", "--no-backup-if-mismatch", "--quiet"],
        cwd=tree,
        input=patch.data,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        raise UklError(
            f"kernel/patches/{patch.name} does not apply",
            "make it anew for this version of Linux",
            details=tuple(done.stdout.decode(errors="replace").splitlines()[-10:]),
        )


def sync_overlay(overlay: Overlay, directory: Path) -> int:
    """Make ``directory`` equal to the snapshot; the number of files touched.

    A file whose bytes did not change keeps its time, so make leaves alone
    what was compiled from it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    touched = 0
    for place, directories, names in os.walk(directory, topdown=False):
        for name in names:
            path = Path(place, name)
            if str(path.relative_to(directory)) not in overlay:
                path.unlink()
                touched += 1
        for name in directories:
            below = Path(place, name)
            if not any(below.iterdir()):
                below.rmdir()
    for relative, file in overlay.items():
        path = directory / relative
        mode = 0o755 if file.executable else 0o644
        try:
            same = path.read_bytes() == file.data
        except OSError:
            same = False
        if not same:
            if path.is_dir():
                shutil.rmtree(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.data)
            touched += 1
        if stat.S_IMODE(path.stat().st_mode) != mode:
            path.chmod(mode)
    return touched
