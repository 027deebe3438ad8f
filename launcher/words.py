"""Words of the command line that several commands share, and their checks."""

from __future__ import annotations

from typing import Any

import click

from hijack.elf import DOORS

OWN = frozenset(
    f"UKL_{word}"
    for word in [
        "INSTANCE",
        "TRACE",
        "STATE",
        "PROGRAM",
        "IMAGE",
        "VIA",
        "REWRITE",
        "PAD",
    ]
)
"""What the shim is told by the launcher only."""


def _fields(text: str, what: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"{text!r} is not {what}")
    return key, value


def settings(
    context: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    """Each word is KEY=VALUE."""
    for text in value:
        _fields(text, "KEY=VALUE, as --set wants it")
    return value


def environment(
    context: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> dict[str, str]:
    """Each word is NAME=VALUE; those of ours cannot be set."""
    result = {}
    for text in value:
        name, content = _fields(text, "NAME=VALUE, as --env wants it")
        if name in OWN:
            raise click.UsageError(f"{name} is ukl's own and cannot be set with --env")
        result[name] = content
    return result


def published(
    context: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    """Each word is [ADDRESS:]HOSTPORT:PORT[/tcp|/udp]."""
    for text in value:
        ports, _, protocol = text.partition("/")
        words = ports.rsplit(":", 2)
        if (
            len(words) < 2
            or protocol not in ("", "tcp", "udp")
            or text.endswith("/")
            or not all(word.isdigit() for word in words[-2:])
        ):
            raise click.UsageError(
                f"{text!r} is not [ADDRESS:]HOSTPORT:PORT[/udp], as --publish wants it"
            )
        for word in words[-2:]:
            if not 0 < int(word) < 65536:
                raise click.UsageError(f"{text!r}: {word} is not a port (1 to 65535)")
    return value


def traced(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> str | None:
    """A set of calls, perhaps with a file."""
    if value is not None and (not value or value.startswith(",")):
        raise click.UsageError("--trace wants a set of calls, for instance: network")
    return value


ENVIRONMENT: dict[str, Any] = {
    "multiple": True,
    "metavar": "NAME=VALUE",
    "callback": environment,
    "help": "Set a variable in the target's environment.",
}
TRACE: dict[str, Any] = {
    "metavar": "SET[,FILE]",
    "callback": traced,
    "help": "Write the target's system calls to standard error, or to FILE.",
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
