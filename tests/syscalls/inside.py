"""Runs programs in an instance through the shim, and on the host to compare."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from hijack import paths
from hijack.instance import Instance

HERE = Path(__file__).resolve().parent
SHIM = paths.meson_directory(paths.checkout_root()) / "libhijack_c" / "libukl-hijack.so"
SECONDS = 30.0

# A network of its own, as an instance has: nothing but a loopback that is up.
ALONE = ["unshare", *(() if os.geteuid() == 0 else ("-r",)), "-n", "sh", "-c"]
ALONE_UP = 'ip link set lo up && exec "$@"'
# The same with an empty /run, in which it may mount what it likes.
ALONE_RUN = f"mount -t tmpfs run /run && {ALONE_UP}"


class Inside:
    """Runs programs in one instance, by one of the shim's doors."""

    def __init__(self, instance: Instance, shim: Path, *, loader: bool = False) -> None:
        """With ``loader`` everything goes by the loader door, what is executed too."""
        self.instance = instance
        self.shim = shim
        self.loader = loader

    def environment(
        self, extra: Mapping[str, str] | None = None, program: str = ""
    ) -> dict[str, str]:
        """The environment that makes a program one of the instance's.

        With ``program`` by the loader door, otherwise by preloading.
        """
        # UKL_TEST_… is for us: the shim leaves it where it is.
        not_theirs = ("LD_", "UKL_")
        given = {k: v for k, v in os.environ.items() if not k.startswith(not_theirs)}
        given["UKL_INSTANCE"] = str(self.instance.directory)
        if self.loader:
            given["UKL_VIA"] = "loader"
        if program:
            given["UKL_PROGRAM"] = program
        else:
            given["LD_PRELOAD"] = str(self.shim)
        given |= dict(extra or {})
        # What the shim takes away are pairs, see fill_gap() in attach.c.
        ours = [name for name in given if name.startswith("UKL_")]
        if not program and len(ours) % 2 == 0:
            given["UKL_PAD"] = ""
        return given

    def run(
        self,
        *line: object,
        seconds: float = SECONDS,
        extra: Mapping[str, str] | None = None,
        given: str = "",
        loader: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end; it is killed after ``seconds``.

        ``loader``: by the loader door, where the preload door is the default.
        """
        words = [str(word) for word in line]
        loader = loader or self.loader
        program = (shutil.which(words[0]) or words[0]) if loader else ""
        return subprocess.run(
            words,
            executable=self.shim if loader else None,
            env=self.environment(extra, program),
            input=given,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            errors="replace",
        )

    def start(
        self, *line: object, log: Path, loader: bool = False
    ) -> subprocess.Popen[bytes]:
        """Starts a server; its output goes to ``log``."""
        words = [str(word) for word in line]
        loader = loader or self.loader
        program = (shutil.which(words[0]) or words[0]) if loader else ""
        with log.open("wb") as stream:
            return subprocess.Popen(
                words,
                executable=self.shim if loader else None,
                env=self.environment(program=program),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def on_host(
    *line: object, seconds: float = SECONDS, mounts: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs a command on the host, in a network namespace of its own.

    ``mounts``: in a mount namespace too, with an empty /run.
    """
    first = [ALONE[0], "-m", *ALONE[1:], ALONE_RUN] if mounts else [*ALONE, ALONE_UP]
    return subprocess.run(
        [*first, "sh", *(str(word) for word in line)],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        errors="replace",
    )


def need(*programs: str) -> None:
    """Fails, and says which programs are missing: ./ukl-test installs them."""
    missing = [name for name in programs if shutil.which(name) is None]
    assert not missing, f"not installed: {' '.join(missing)} (./ukl-test installs it)"
