"""The shell scripts that bring ukl up: what they start, and what they say."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tinytree import ROOT

BARE = ("sh", "env", "cksum", "readlink", "mkdir", "rm", "id", "flock", "tail")


def bare_path(tmp_path: Path, *more: str) -> Path:
    """A PATH with nothing but what every Debian has, and ``more``."""
    directory = tmp_path / "bare"
    directory.mkdir()
    for name in (*BARE, *more):
        found = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")
        assert found is not None, name
        (directory / name).symlink_to(found)
    return directory


def warm_cache(tmp_path: Path) -> tuple[Path, Path]:
    """A cache whose virtual environment has a Python that records its arguments."""
    cache = tmp_path / "cache"
    data = (ROOT / "pyproject.toml").read_bytes()
    total = subprocess.run(["cksum"], input=data, capture_output=True, check=True)
    venv = cache / "ukl" / f"venv-{total.stdout.split()[0].decode()}"
    (venv / "bin").mkdir(parents=True)
    (venv / ".complete").touch()
    said = tmp_path / "said"
    python = venv / "bin" / "python"
    python.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >>{said}\necho "$PYTHONPATH" >>{said}\n'
    )
    python.chmod(0o755)
    return cache, said


def test_warm_script_starts_python_once(tmp_path: Path) -> None:
    cache, said = warm_cache(tmp_path)
    path = bare_path(tmp_path)
    done = subprocess.run(
        [ROOT / "ukl", "build", "--config", "two words"],
        env={
            "PATH": str(path),
            "XDG_CACHE_HOME": str(cache),
            "HOME": "/",
            "PYTHONPATH": "/mine",
            "LC_CTYPE": "C",
        },
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    words = said.read_text().splitlines()
    assert words[:2] == ["-I", "-c"]
    *_, here, module, ignored, locale, one, two, three, theirs = words
    assert (module, one, two, three) == ("ukl", "build", "--config", "two words")
    assert int(ignored, 16) >= 0
    assert here == str(ROOT)
    assert locale == "=C"
    # The environment is the target's: nothing of ours is in it.
    assert theirs == "/mine"


def test_ignored_signals_are_passed_on(tmp_path: Path) -> None:
    """Python ignores SIGPIPE itself, and could not tell whether it was before."""
    cache, said = warm_cache(tmp_path)
    for action, bit in ((signal.SIG_IGN, 1), (signal.SIG_DFL, 0)):
        subprocess.run(
            [ROOT / "ukl-run", "x"],
            env=os.environ | {"XDG_CACHE_HOME": str(cache)},
            restore_signals=False,
            preexec_fn=lambda action=action: signal.signal(signal.SIGPIPE, action),
            check=True,
        )
        words = said.read_text().splitlines()
        said.unlink()
        assert words[-5] == "run"
        assert int(words[-4], 16) >> (signal.SIGPIPE - 1) & 1 == bit


@pytest.mark.parametrize("way", ["link", "relative", "sh"])
def test_script_finds_its_checkout(tmp_path: Path, way: str) -> None:
    cache, said = warm_cache(tmp_path)
    command: list[str | Path] = [ROOT / "ukl"]
    cwd = tmp_path
    if way == "link":
        (tmp_path / "link").symlink_to(ROOT / "ukl")
        command = [tmp_path / "link"]
    elif way == "relative":
        command, cwd = ["./ukl"], ROOT
    else:
        command, cwd = ["sh", "ukl"], ROOT
    done = subprocess.run(
        [*command, "x"],
        env=os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": ""},
        cwd=cwd,
        check=False,
    )
    assert done.returncode == 0
    words = said.read_text().splitlines()
    assert words[-6:-4] == [str(ROOT), "ukl"]
    assert words[-2:] == ["x", ""]


def test_warm_script_is_quick(tmp_path: Path) -> None:
    """The shell's share, measured against an empty script of the same shell."""
    cache, _ = warm_cache(tmp_path)
    for python in (cache / "ukl").glob("venv-*/bin/python"):
        python.unlink()
        python.symlink_to("/bin/true")
    empty = tmp_path / "empty"
    empty.write_text("#!/bin/sh\nexec /bin/true\n")
    empty.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(cache), "HOME": "/"}

    def best(script: Path) -> float:
        times = []
        for _ in range(40):
            begun = time.perf_counter()
            subprocess.run([script], env=environment, check=True)
            times.append(time.perf_counter() - begun)
        return min(times)

    assert best(ROOT / "ukl") - best(empty) < 0.005


def test_no_python_and_no_privilege(tmp_path: Path) -> None:
    path = bare_path(tmp_path)
    (path / "id").unlink()
    (path / "id").write_text("#!/bin/sh\necho 1000\n")
    (path / "id").chmod(0o755)
    done = subprocess.run(
        [ROOT / "ukl", "build"],
        env={"PATH": str(path), "XDG_CACHE_HOME": str(tmp_path / "c"), "HOME": "/"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 125
    assert done.stderr.splitlines() == [
        "ukl: something is missing; "
        "install it with: apt-get install python3 python3-venv"
    ]


def test_cache_that_cannot_be_made(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "ukl", "build"],
        env=os.environ | {"XDG_CACHE_HOME": "/proc/nothing"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 125
    assert "set XDG_CACHE_HOME to a directory you may write to" in done.stderr


def test_help_and_bad_words() -> None:
    done = subprocess.run(
        [ROOT / "ukl", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "Build the library kernel" in done.stdout
    for arguments in (["nonsense"], ["build", "--config", "huge"], ["build", "-x"]):
        done = subprocess.run(
            [ROOT / "ukl", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 125
        (line,) = done.stderr.splitlines()
        assert line.startswith("ukl: ")


def test_skips_fail_in_ci(tmp_path: Path) -> None:
    """The plug-in in conftest.py, tried on tests that skip in three ways."""
    for name in ("conftest.py", "tinytree.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path)
    (tmp_path / "test_a.py").write_text(
        "import pytest\n"
        "@pytest.mark.skip(reason='no')\ndef test_marked(): pass\n"
        "def test_called(): pytest.skip('no')\n"
        "def test_fine(): pass\n"
    )
    (tmp_path / "test_b.py").write_text(
        "import pytest\npytest.importorskip('there_is_no_such_module')\n"
    )

    def outcome(ci: str) -> str:
        done = subprocess.run(
            ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
            env=os.environ | {"CI": ci},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.splitlines()[-1]

    assert "1 passed, 3 skipped" in outcome("")
    assert "error" in outcome("true")
    assert "skipped" not in outcome("true")
