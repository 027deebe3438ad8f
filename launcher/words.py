"""Words of the command line that several commands share, and their checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from hijack.elf import DOORS
from launcher import checks


def checked(check: Callable[[Any], object]) -> Callable[..., object]:
    """A click callback for a check of :mod:`launcher.checks`."""

    def callback(
        context: click.Context, parameter: click.Parameter, value: object
    ) -> object:
        try:
            return check(value)
        except checks.WordError as error:
            raise click.UsageError(error.message) from None

    return callback


ENVIRONMENT: dict[str, Any] = {
    "multiple": True,
    "metavar": "NAME=VALUE",
    "callback": checked(checks.environment),
    "help": "Set a variable in the target's environment.",
}
TRACE: dict[str, Any] = {
    "metavar": "SET[,FILE]",
    "callback": checked(checks.traced),
    "help": "Write the target's system calls to standard error, or to FILE.",
}
REPORT: dict[str, Any] = {
    "metavar": "FILE",
    "help": "Write to FILE, when the program ends, how often each system call was made "
    "and who answered it, what failed, what was refused, and what code was trapped "
    "rather than rewritten; for programs to read if FILE ends in .json. It counts the "
    "processes that the program has started, and is written again if one outlives it.",
}
VIA: dict[str, Any] = {
    "type": click.Choice(["auto", *DOORS]),
    "default": "auto",
    "show_default": True,
    "help": "How the shim gets into the target; auto looks at each program.",
}
TRAP_ONLY: dict[str, Any] = {
    "is_flag": True,
    "help": "Leave the target's code as it is: each call traps, which is slower.",
}
ALLOW_HOST: dict[str, Any] = {
    "is_flag": True,
    "help": "Run a program that cannot take the shim on the host's kernel.",
}
COMMAND: dict[str, Any] = {
    "nargs": -1,
    "type": click.UNPROCESSED,
    "metavar": "COMMAND [ARG]...",
}
"""What a command has that runs a target: options stop at the first word."""
