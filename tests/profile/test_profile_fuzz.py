"""Whatever a profile says, it is either taken or complained of in lines."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hijack import plan, profile
from hijack.profile.manpage import inner
from hijack.profile.problems import ProfileErrors
from hijack.profile.schema import Profile, Record

SETTINGS = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LINE = re.compile(r"(p\.yaml|-s .*?)(:\d+:\d+)?: .+", re.DOTALL)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def attempt(data: bytes, overrides: tuple[str, ...] = ()) -> bool:
    """Whether a profile is taken; its complaints must be in form."""
    Path("p.yaml").write_bytes(data)
    problems: tuple[object, ...] = ()
    try:
        plan.build(profile.load(["p.yaml"], overrides))
    except ProfileErrors as errors:
        problems = errors.problems or ("nothing",)
    for problem in problems:
        assert LINE.fullmatch(str(problem)), problem
    return not problems


@SETTINGS
@given(st.binary(max_size=200))
def test_bytes(data: bytes) -> None:
    attempt(data)


@SETTINGS
@given(st.text(alphabet=" \n\t:-[]{}&*!|>'\"%@`#?,<=abc0.~\\\x85\u2028", max_size=80))
def test_signs(text: str) -> None:
    attempt(text.encode())


@SETTINGS
@given(st.text(max_size=40))
def test_overrides(text: str) -> None:
    attempt(b"", (text.encode("utf-8", "replace").decode(),))


WORDS = st.sampled_from(
    [
        *("eth0", "eth1", "10.0.0.1/24", "10.0.0.0/8", "10.0.0.1", "fd00::1/64"),
        *("fd00::/8", "default", "true", "no", "0", "1", "-1", "1500", "65536"),
        *("user", "tap", "wire", "none", "8080:80", "1-2:3-4/udp", "[::1]:1:2"),
        *("netem delay 5ms", "fq", "tbf rate 1mbit burst 1kb limit 1kb", "wireguard"),
        *("vxlan", "gre", "sit", "A=b", "net.core.somaxconn=1", "db:10.0.0.1", "64M"),
        *("gI6EdUSYvn8ugXOt8QQD6Yc+JyiZxIhp3GInSWRfWGE=", "/x", "tmpfs", "", "\0", "é"),
    ]
)
LEAVES = st.one_of(WORDS, st.none(), st.text(max_size=5), st.integers())
ANYTHING = st.recursive(
    LEAVES,
    lambda below: st.one_of(
        st.lists(below, max_size=3), st.dictionaries(WORDS, below, max_size=3)
    ),
    max_leaves=6,
)


def likely(record: type[Record], depth: int) -> st.SearchStrategy[Any]:
    """Mappings with the keys of a record, and now and then something else."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for name, field in record.model_fields.items():
        kind, below = inner(field.annotation)
        value: st.SearchStrategy[Any] = LEAVES
        if below is not None and depth < 5:
            value = likely(below, depth + 1)
        if kind.startswith("list"):
            value = st.lists(value, max_size=3)
        elif kind.startswith("mapping of"):
            value = st.dictionaries(WORDS, value, max_size=3)
        fields[field.alias or name] = st.one_of(value, value, value, ANYTHING)
    return st.fixed_dictionaries({}, optional=fields)


@SETTINGS
@given(likely(Profile, 0))
def test_trees(tree: dict[str, Any]) -> None:
    """YAML is JSON, too."""
    attempt(json.dumps(tree).encode())


def test_an_alias_to_what_it_is_in() -> None:
    assert not attempt(b"network: &a {ethernets: *a}")
    assert not attempt(b"&a [*a, *a]")


def test_laughter() -> None:
    """Aliases of aliases of aliases do not fill the memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 9):
        items = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{items}]")
    assert not attempt("\n".join(lines).encode())
