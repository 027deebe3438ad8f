"""Programs and Debian packages that the build needs, and getting them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from hijack import paths
from hijack.errors import UklError


@dataclass(frozen=True)
class Requirement:
    """A program on PATH, or a file if ``what`` is an absolute path."""

    what: str
    package: str
    origin: str = ""
    """Where the package comes from, if not every Debian 12 has its archive."""

    def is_met(self) -> bool:
        if self.what.startswith("/"):
            return Path(self.what).exists()
        path = paths.search_path(os.environ)
        return shutil.which(self.what, path=path) is not None


BUILD_TOOLS = (
    Requirement("gcc", "gcc"),
    # gcc only recommends the C library's headers; Kconfig's own programs
    # are ordinary C programs.
    Requirement("/usr/include/stdio.h", "libc6-dev"),
    Requirement("ld", "binutils"),
    Requirement("make", "make"),
    Requirement("flex", "flex"),
    Requirement("bison", "bison"),
    Requirement("bc", "bc"),
    Requirement("xz", "xz-utils"),
    Requirement("tar", "tar"),
    Requirement("patch", "patch"),
    # The kernel host's user networking.
    Requirement("/usr/include/slirp/libslirp.h", "libslirp-dev"),
)


def install_command(packages: list[str]) -> list[str]:
    """The one command that installs the packages, as a person would type it."""
    return ["apt-get", "install", "-y", "--no-install-recommends", *packages]


def privilege() -> list[str] | None:
    """The prefix that makes a command run as root; None when there is none."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    probe = subprocess.run(
        ["sudo", "-n", "true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return ["sudo", "-n"] if probe.returncode == 0 else None


def ensure(requirements: tuple[Requirement, ...]) -> None:
    """Install what is missing, or say in one line which command would.

    Installs only when that needs no password; says so before it does.
    Raises UklError when something is still missing afterwards.
    """
    missing = [one for one in requirements if not one.is_met()]
    if not missing:
        return
    packages = sorted({one.package for one in missing})
    names = ", ".join(packages)
    what = (
        f"the packages {names} are missing; install them"
        if len(packages) > 1
        else f"the package {names} is missing; install it"
    )
    failure = UklError(
        f"{what} with: apt-get install {' '.join(packages)}",
        "; ".join(sorted({one.origin for one in missing if one.origin})),
    )
    prefix = privilege()
    if prefix is None or shutil.which("apt-get") is None:
        raise failure
    if not _install(prefix, packages):
        raise failure
    still = [one for one in missing if not one.is_met()]
    if still:
        raise UklError(
            f"apt-get installed {names}, but {still[0].what} is still missing"
        )


def _install(prefix: list[str], packages: list[str]) -> bool:
    """Run apt-get; refresh its lists and try once more if it does not know."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    line = [*prefix, *install_command(packages)]
    print(f"ukl: running {' '.join(line)}", file=sys.stderr, flush=True)

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            check=False,
        )

    done = run(line)
    if done.returncode != 0:
        run([*prefix, "apt-get", "update"])
        done = run(line)
    if done.returncode != 0:
        sys.stderr.write(done.stdout)
    return done.returncode == 0
