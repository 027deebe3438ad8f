"""Puts what `ukl build` reads into the wheel; all else is in pyproject.toml."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOMS = ("kernel", "libhijack_c", "examples")
FILES = (
    "meson.build",
    "meson_options.txt",
    "hijack/meson.build",
    "hijack/_ffi_build.py",
)


class BuildWithTree(build_py):
    """Copies the C rooms to ``hijack/tree``, laid out as in a clone."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            # The clone is its own tree.
            return
        tree = Path(self.build_lib) / "hijack" / "tree"
        # What a build of before left is not to come along.
        shutil.rmtree(tree, ignore_errors=True)
        for room in ROOMS:
            shutil.copytree(
                room,
                tree / room,
                ignore=shutil.ignore_patterns("__pycache__", "*.orig", "*.rej", "*~"),
            )
        for name in FILES:
            (tree / name).parent.mkdir(exist_ok=True)
            shutil.copy2(name, tree / name)


setup(cmdclass={"build_py": BuildWithTree})
