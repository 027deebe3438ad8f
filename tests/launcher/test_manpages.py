"""The man pages are what the commands say."""

from __future__ import annotations

import re

import click
import pytest
from tinytree import ROOT

from launcher import manpage
from launcher.ukl import VERBS, cli
from launcher.verb_run import command


@pytest.mark.parametrize("name", list(manpage.PAGES))
def test_a_page_is_up_to_date(name: str) -> None:
    kept = (ROOT / "doc" / name).read_text()
    assert kept == manpage.PAGES[name](), "python -m launcher.manpage writes it"


def test_every_option_is_documented_once() -> None:
    page = manpage.ukl_run().replace("\\-", "-")
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            long = option.opts[-1]
            assert len(re.findall(rf"^\.TP\n.*\\fB{long}\\fR", page, re.M)) == 1, long


def test_every_verb_is_documented() -> None:
    page = manpage.ukl()
    context = click.Context(cli)
    for verb in VERBS:
        assert f".SS ukl {verb}\n" in page
        found = cli.get_command(context, verb)
        assert found is not None
        assert found.help
