"""Whether a build is current: every change counts, and looking is quick."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from tinytree import ROOT

from hijack import paths, stamp
from hijack.errors import UklError
from hijack.files import write_json


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of a few files with a build that is current."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "checkout"
    for name in ("kernel/arch/a.c", "libhijack_c/b.c", "hijack/c.py", "meson.build"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    made = paths.meson_directory(root)
    for name in ("kernel/host/ukl-host", "libhijack_c/libukl-hijack.so", "image"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(name)
    write_json(made / "kernel" / "kernel-image.json", {"image": str(made / "image")})
    stamp.write(root, stamp.digest(root))
    assert stamp.is_current(root)
    return root


def edit(path: Path) -> None:
    path.write_text("other words")


def touch(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize("change", [edit, touch, Path.unlink])
@pytest.mark.parametrize(
    "name", ["kernel/arch/a.c", "libhijack_c/b.c", "hijack/c.py", "meson.build"]
)
def test_a_change_of_the_sources(
    checkout: Path, name: str, change: Callable[[Path], None]
) -> None:
    change(checkout / name)
    assert not stamp.is_current(checkout)


def test_a_new_file(checkout: Path) -> None:
    (checkout / "kernel" / "arch" / "new.h").touch()
    assert not stamp.is_current(checkout)


@pytest.mark.parametrize("change", [edit, touch, Path.unlink])
@pytest.mark.parametrize(
    "name", ["kernel/host/ukl-host", "libhijack_c/libukl-hijack.so", "image"]
)
def test_a_change_of_what_was_built(
    checkout: Path, name: str, change: Callable[[Path], None]
) -> None:
    change(paths.meson_directory(checkout) / name)
    assert not stamp.is_current(checkout)


def test_what_is_no_source(checkout: Path) -> None:
    (checkout / "hijack" / "__pycache__").mkdir()
    (checkout / "hijack" / "__pycache__" / "c.pyc").touch()
    (checkout / "doc").mkdir()
    (checkout / "doc" / "text").touch()
    assert stamp.is_current(checkout)


def test_a_build_that_is_missing_is_made_once(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hijack import mesonbuild

    calls: list[list[str]] = []

    def build(arguments: list[str]) -> str:
        calls.append(arguments)
        return "line"

    monkeypatch.setattr(mesonbuild, "build", build)
    stamp.build_if_needed(checkout)
    assert calls == []
    edit(checkout / "meson.build")
    stamp.build_if_needed(checkout)
    stamp.build_if_needed(checkout)
    assert calls == [[]]


def test_a_build_that_fails_leaves_no_stamp(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hijack import mesonbuild

    def build(arguments: list[str]) -> str:
        raise UklError("no")

    monkeypatch.setattr(mesonbuild, "build", build)
    edit(checkout / "meson.build")
    for _ in range(2):
        with pytest.raises(UklError):
            stamp.build_if_needed(checkout)
    assert not stamp.is_current(checkout)


@pytest.mark.parametrize(
    ("how", "times"), [("build_if_needed(checkout)", 1), ("build(checkout, [])", 2)]
)
def test_two_that_need_a_build_take_turns(checkout: Path, how: str, times: int) -> None:
    edit(checkout / "meson.build")
    code = (
        "import sys, time; from pathlib import Path\n"
        "from hijack import mesonbuild, stamp\n"
        "def build(arguments):\n"
        "    begun = time.monotonic(); time.sleep(1)\n"
        "    print(begun, time.monotonic()); return ''\n"
        "mesonbuild.build = build; checkout = Path(sys.argv[1])\n"
        f"stamp.{how}\n"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, checkout],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [one.communicate(timeout=20) for one in both]
    builds = sorted(tuple(map(float, out.split())) for out, _ in said if out)
    assert len(builds) == times
    assert all(one[1] <= next_one[0] for one, next_one in pairwise(builds))
    assert sorted(err for _, err in said) == ["", "ukl: waiting for another build\n"]


def test_looking_is_quick(kernel_image: Path) -> None:
    """The whole of this checkout, in less than 10 ms."""
    times = []
    for _ in range(10):
        begun = time.perf_counter()
        assert stamp.is_current(ROOT)
        times.append(time.perf_counter() - begun)
    assert min(times) < 0.010
