"""The ``ukl`` command: one file per verb, imported only when it is used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click

from launcher import outcome
from launcher.context import Context

VERBS = {
    "run": "Run a program on a Linux kernel of its own (ukl-run).",
    "exec": "Run a program in a running instance.",
    "ps": "List the instances.",
    "stop": "End instances and their processes.",
    "logs": "Show what an instance's kernel and kernel host said.",
    "build": "Build the library kernel, the kernel host and the shim.",
    "profile": "Check, show and explain profiles.",
    "doctor": "Look whether this machine can run instances.",
}
"""Verbs and their one-line help; ``launcher/verb_NAME.py`` holds ``command``."""

HELP_LINE = "ukl --help lists the verbs, ukl VERB --help its options"


class Verbs(click.Group):
    """A group that imports a verb when it is asked for, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = import_module(f"launcher.verb_{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(
    cls=Verbs,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
)
def cli() -> None:
    """Linux as a library for unmodified programs."""


def main(
    argv: Sequence[str] | None = None, *, shim: Path | None = None, ignored: int = 0
) -> int:
    """Run the command line; the exit status.

    ``shim`` is used instead of the one that was built; ``ignored`` are the
    signals that were ignored before Python started (bit n-1: signal n).
    """
    return outcome.guarded(
        lambda: cli.main(
            args=argv if argv is None else list(argv),
            prog_name="ukl",
            standalone_mode=False,
            obj=Context(shim, ignored),
        ),
        HELP_LINE,
    )


if __name__ == "__main__":
    sys.exit(main())
