"""What words of the command line must look like."""

from __future__ import annotations

from hijack.errors import UklError
from hijack.runtime import SHIM_WORDS

OWN = SHIM_WORDS
"""What the shim is told by the launcher only."""


class WordError(UklError):
    """A word that is not what its option wants."""


def _fields(text: str, what: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise WordError(f"{text!r} is not {what}")
    return key, value


def settings(value: tuple[str, ...]) -> tuple[str, ...]:
    """Each word is KEY=VALUE."""
    for text in value:
        _fields(text, "KEY=VALUE, as --set wants it")
    return value


def environment(value: tuple[str, ...]) -> dict[str, str]:
    """Each word is NAME=VALUE; those of ours cannot be set."""
    result = {}
    for text in value:
        name, content = _fields(text, "NAME=VALUE, as --env wants it")
        if name in OWN:
            raise WordError(f"{name} is ukl's own and cannot be set with --env")
        result[name] = content
    return result


def published(value: tuple[str, ...]) -> tuple[str, ...]:
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
            raise WordError(
                f"{text!r} is not [ADDRESS:]HOSTPORT:PORT[/udp], as --publish wants it"
            )
        for word in words[-2:]:
            if not 0 < int(word) < 65536:
                raise WordError(f"{text!r}: {word} is not a port (1 to 65535)")
    return value


def traced(value: str | None) -> str | None:
    """A set of calls, perhaps with a file."""
    if value is not None and (not value or value.startswith(",")):
        raise WordError("--trace wants a set of calls, for instance: network")
    return value
