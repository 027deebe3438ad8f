"""The cache of boot plans: what it keeps, what it notices, what it costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tinytree import ROOT

from hijack import plan, profile
from hijack.errors import UklError

PROFILE = "hostname: web\nsysctls: {net.core.somaxconn: 5}\nports: ['1:1']\n"

SLOW = ("pydantic", "ruamel", "pyroute2", "rich", "click", "cffi")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, with a profile beside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(PROFILE)
    return tmp_path / "cache" / "ukl" / "plan"


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each compilation."""
    count: list[int] = []
    real = plan.build

    def build(loaded: profile.Profile) -> plan.Plan:
        count.append(1)
        return real(loaded)

    monkeypatch.setattr(plan, "build", build)
    return count


def test_a_hit_is_the_same(cache: Path, compiles: list[int]) -> None:
    first = plan.cached(["p.yaml"], ["kernel.memory=99M"])
    assert plan.cached(["p.yaml"], ["kernel.memory=99M"]) == first
    assert len(compiles) == 1
    assert first == plan.build(profile.load(["p.yaml"], ["kernel.memory=99M"]))
    (entry,) = cache.iterdir()
    assert entry.stat().st_mode & 0o777 == 0o600
    assert cache.stat().st_mode & 0o777 == 0o700


def test_a_warm_path_imports_nothing_slow() -> None:
    script = (
        "import sys\n"
        "from hijack import plan\n"
        "made = plan.cached(['p.yaml'], [])\n"
        "print(len(made.data), sorted({m.split('.')[0] for m in sys.modules} & "
        f"set({SLOW!r})))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def run() -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split(maxsplit=1)

    cold, warm = run(), run()
    assert cold[0] == warm[0] != "0"
    assert "pydantic" in cold[1]
    assert warm[1].strip() == "[]"


def test_everything_that_counts_is_in_the_key(
    compiles: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan.cached(["p.yaml"])
    plan.cached(["p.yaml"], ["hostname=b"])
    plan.cached(["p.yaml"], ["hostname=c"])
    plan.cached(["p.yaml", "p.yaml"])
    plan.cached([])
    plan.cached(["p.yaml"], [], ["5:7"])
    plan.cached(["p.yaml"], [], ["5:8"])
    Path("p.yaml").write_text(PROFILE + "\n")
    plan.cached(["p.yaml"])
    # The same bytes under another name have other places.
    Path("q.yaml").write_text(PROFILE)
    plan.cached(["q.yaml"])
    (tmp_path / "d").mkdir()
    monkeypatch.chdir(tmp_path / "d")
    plan.cached(["../q.yaml"])
    assert len(compiles) == 10
    Path("../p.yaml").write_text(PROFILE)
    monkeypatch.chdir(tmp_path)
    plan.cached(["p.yaml"])
    assert len(compiles) == 10


def test_files_that_a_profile_names(compiles: list[int]) -> None:
    Path("rules.nft").write_text("table inet a { }\n")
    Path("n.yaml").write_text("nftables: {file: rules.nft}\n")
    assert plan.cached(["n.yaml"]).nftables == "table inet a { }\n"
    assert plan.cached(["n.yaml"]).nftables == "table inet a { }\n"
    assert len(compiles) == 1
    Path("rules.nft").write_text("table inet b { }\n")
    assert plan.cached(["n.yaml"]).nftables == "table inet b { }\n"
    assert len(compiles) == 2
    Path("rules.nft").unlink()
    with pytest.raises(UklError):
        plan.cached(["n.yaml"])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:90] + b"X" + data[91:],
        lambda data: b"X" + data,
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    ],
)
def test_a_damaged_entry_is_made_again(
    damage: object, cache: Path, compiles: list[int]
) -> None:
    first = plan.cached(["p.yaml"])
    (entry,) = cache.iterdir()
    entry.write_bytes(damage(entry.read_bytes()))  # type: ignore[operator]
    assert plan.cached(["p.yaml"]) == first
    assert plan.cached(["p.yaml"]) == first
    assert len(compiles) == 2


def test_errors_are_not_kept(cache: Path) -> None:
    Path("bad.yaml").write_text("hostnme: a\n")
    for _ in range(2):
        with pytest.raises(UklError):
            plan.cached(["bad.yaml"])
        with pytest.raises(UklError):
            plan.cached(["none.yaml"])
    assert not cache.exists()


def test_a_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert plan.cached(["p.yaml"]).hostname == "web"


def test_old_entries_go(cache: Path) -> None:
    for number in range(plan.KEPT + 3):
        plan.cached([], [f"hostname=h{number}"])
    assert len(list(cache.iterdir())) == plan.KEPT
