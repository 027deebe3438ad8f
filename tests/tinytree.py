"""A checkout with a kernel tree of a few lines, for tests of the builder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

TINY_MAKEFILE = """\
VERSION = 6
PATCHLEVEL = 12
SUBLEVEL = 1
sources := $(sort $(wildcard $(CURDIR)/arch/lkl/*.c $(CURDIR)/init/*.c))
objects := $(patsubst $(CURDIR)/%.c,$(O)/%.o,$(sources))
.DELETE_ON_ERROR:
olddefconfig:
	@grep -v DROPPED $(O)/.config >$(O)/.answer; mv $(O)/.answer $(O)/.config
vmlinux: $(O)/vmlinux
$(O)/vmlinux: $(objects)
	@echo '  LD      vmlinux'
	@gcc -o $@ $^
$(O)/%.o: $(CURDIR)/%.c
	@mkdir -p $(@D)
	@echo '  CC      $(notdir $@)'
	@if grep -q SLOW $<; then touch $(O)/slow; for i in $$(seq 300); do \\
	if [ -e $(O)/go ]; then break; fi; sleep 0.1; done; fi
	@if grep -q FILL $<; then head -c 64M /dev/zero >$@; fi
	@gcc -c -o $@ $<
"""


@dataclass
class Site:
    """A checkout with a port of a few lines, for a Linux of one Makefile.

    The Makefile answers to what the builder asks of Kbuild (O=, ARCH=,
    olddefconfig, vmlinux, its progress lines) and really compiles and links.
    A C file with SLOW in it takes until there is a file ``go`` (half a minute at
    most), one with FILL fills the disk, and Kconfig drops every option with
    DROPPED in its name.
    """

    root: Path
    cache: Path
    tarball: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def port(self) -> Path:
        return self.root / "kernel" / "arch" / "lkl"

    @property
    def fragment(self) -> Path:
        return self.root / "kernel" / "configs" / "small.config"

    @property
    def patches(self) -> Path:
        return self.root / "kernel" / "patches"

    def command(self, *arguments: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "hijack.build",
            "--config=small",
            f"--source={self.tarball}",
            *arguments,
        ]

    def env(self) -> dict[str, str]:
        return (
            os.environ
            | {"PYTHONPATH": str(self.root), "XDG_CACHE_HOME": str(self.cache)}
            | self.environment
        )

    def build(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env=self.env(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.root,
            env=self.env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def log(self) -> str:
        (path,) = self.cache.glob("ukl/kernel/work/*/build-small.log")
        return path.read_text()

    def compiled(self) -> list[str]:
        """What the last build compiled, sorted."""
        lines = [line for line in self.log().splitlines() if "  CC " in line]
        return sorted(line.split()[1] for line in lines)

    def entry(self) -> Path:
        (path,) = self.cache.glob("ukl/kernel/images/small-*")
        return path

    def leftovers(self) -> list[str]:
        """Temporary files below the cache."""
        found: Iterable[Path] = self.cache.rglob("*")
        return [str(path) for path in found if path.name.endswith((".tmp", ".partial"))]


def make_tarball(path: Path, files: dict[str, str]) -> None:
    """A tarball whose one top directory holds ``files``."""
    top = path.parent / "linux-tiny"
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    with tarfile.open(path, "w:xz") as archive:
        archive.add(top, "linux-tiny")
    shutil.rmtree(top)
