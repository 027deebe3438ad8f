"""The quick reader of command lines says what click says, or nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher import quick, verb_run
from launcher.start import Options

OPTIONS = {**quick.LISTS, **quick.WORDS, **quick.FLAGS}
_OTHERS = """-x -h -pF -p=F --help --nmae -- - nginx -g a.yaml a=b A=1 =b UKL_TRACE=1
80:80 [::]:80:80/udp 0:1 80:80/ network ,x auto preload loader magic"""
WORDS = st.sampled_from([*OPTIONS, "", *_OTHERS.split()])


def by_click(words: list[str]) -> Options | None:
    """What click makes of a command line; None: it complains, or has the last word."""
    with patch.object(verb_run, "start", lambda options, _known: options):
        try:
            done = verb_run.command.main(
                args=list(words), prog_name="ukl-run", standalone_mode=False
            )
        except click.ClickException:
            return None
    return done if isinstance(done, Options) else None


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Mostly well-formed ones."""

    def pieces() -> Iterator[str]:
        for option in draw(st.lists(st.sampled_from(list(OPTIONS)), max_size=4)):
            if option in quick.FLAGS:
                yield option
                continue
            value = draw(WORDS)
            if option.startswith("--") and draw(st.booleans()):
                yield f"{option}={value}"
            else:
                yield from (option, value)
        yield from draw(st.lists(WORDS, max_size=3))

    return list(pieces())


@settings(max_examples=1500, deadline=None)
@given(command_lines())
def test_as_click_reads_it(words: list[str]) -> None:
    ours = quick.read(words)
    if ours is not None:
        assert ours == by_click(words)


@pytest.mark.parametrize(
    "words",
    [
        "true",
        "-- nginx -g daemon",
        "-p a.yaml --profile=b.yaml -s a.b=c -P 127.0.0.1:80:80 -n x nginx -t",
        "-e A=1 --env B= --trace network,file --pcap f --via loader curl",
        "--trap-only --allow-host --keep --dry-run true",
    ],
)
def test_the_usual_ones_are_quick(words: str) -> None:
    assert quick.read(words.split()) == by_click(words.split()) != None  # noqa: E711


def test_it_knows_all_options() -> None:
    known: dict[str, str] = {}
    for parameter in verb_run.command.params:
        if isinstance(parameter, click.Option):
            assert parameter.name
            known |= dict.fromkeys(parameter.opts, parameter.name)
    assert known == OPTIONS


def test_a_usual_start_imports_nothing_slow() -> None:
    script = (
        "import sys; from launcher import run; "
        "from launcher.quick import read; read(['-p', 'a.yaml', 'true']); "
        "from hijack import plan; "
        "slow = {'click', 'dataclasses', 'inspect', 'typing', 'subprocess', 'cffi', "
        "'elftools', 'hijack.dhcp', 'pydantic', 'pyroute2', 'ruamel'}; "
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "[]\n"


def test_records() -> None:
    """What hijack.record promises."""
    one = Options(("true",), name="a")
    assert one == Options(command=("true",), name="a") != one.replace(name="b")
    assert one.as_dict()["via"] == "auto"
    assert repr(Options(("x",))).startswith("Options(command=('x',), profiles=()")
    with pytest.raises(AttributeError, match="cannot be changed"):
        one.name = "c"  # type: ignore[misc]
    with pytest.raises(TypeError, match="command is missing"):
        Options()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="nmae is wrong"):
        Options(("x",), nmae="a")  # type: ignore[call-arg]
