"""Programs of random steps do the same on the host and under the shim.

``UKL_TEST_FUZZ_STEPS`` is how many steps there shall be, for all ways together, and
``UKL_TEST_FUZZ_SEED`` the first seed: the same seeds make the same programs.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from programs import programs
from rig import Rig, Way

STEPS = int(os.environ.get("UKL_TEST_FUZZ_STEPS", "6000"))
SEED = int(os.environ.get("UKL_TEST_FUZZ_SEED", "0"))
EXAMPLES = 100
PHASES = (Phase.generate, Phase.shrink)

WAYS = {
    "preload": Way(),
    "loader-trapped": Way(loader=True, sites="off"),
}


@pytest.fixture(params=WAYS)
def rig(
    request: pytest.FixtureRequest, shim: Path, tmp_path: Path
) -> Generator[Rig, None, None]:
    with Rig(tmp_path, shim, WAYS[request.param]) as one:
        yield one


def search(rig: Rig, number: int) -> None:
    """One seed's programs; the first difference, made short, is the failure."""

    @seed(number)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=PHASES,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(programs())
    def same(lines: list[str]) -> None:
        difference = rig.difference(lines)
        assert not difference, difference

    same()


def test_random_programs(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    share = -(-STEPS // len(WAYS))
    first = SEED + list(WAYS.values()).index(rig.way) * 1_000_000
    number = first
    while rig.steps < share:
        search(rig, number)
        number += 1
    with capsys.disabled():
        print(f"\n{rig.summary()}; seeds {first} to {number - 1}")
    # A busy machine; were it more, it would be ours.
    assert len(rig.unsteady) * 100 <= rig.runs, "\n\n".join(rig.unsteady)


def test_a_difference_is_seen(tmp_path: Path, shim: Path) -> None:
    rig = Rig(tmp_path, shim, Way())
    same = ["0 socket 3", "1 getsockopt 1/16 0 4:00000000", "END 0"]
    assert rig.compare(same, same) == []
    other = ["0 socket 3", "1 getsockopt 1/16 EOPNOTSUPP", "END 0"]
    assert len(rig.compare(other, same) or ()) == 1
    assert rig.compare(same, other) is None
    assert rig.compare(same, same[:2]) is None
    assert rig.compare(same, ["0 socket EMFILE", *same[1:]]) is None
