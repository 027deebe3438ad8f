"""The ``ukl`` command: one file per verb, imported only when it is used."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from hijack.errors import EXIT_FAILURE, UklError

VERBS = {
    "build": "Build the library kernel and the kernel host.",
    "profile": "Check, show and explain profiles.",
}
"""Verbs and their one-line help; ``launcher/verb_NAME.py`` holds ``command``."""

EXIT_INTERRUPTED = 130


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


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Linux as a library for unmodified programs."""


def main() -> int:
    """Run the command line; the exit status."""
    try:
        status = cli.main(prog_name="ukl", standalone_mode=False)
    except UklError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILURE
    except click.ClickException as error:
        print(f"ukl: {error.format_message()}", file=sys.stderr)
        return EXIT_FAILURE
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    sys.exit(main())
