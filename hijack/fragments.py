"""Kconfig fragments: what we ask of Kconfig, and whether it agreed.

A fragment is read as a list of demands.  Kconfig drops a demand whose
dependencies are not met without a word, so the answer is compared with them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hijack.errors import UklError

CONFIGS: dict[str, tuple[str, ...]] = {
    "base": ("base",),
    "debug": ("base", "debug"),
    "small": ("small",),
    "kunit": ("small", "kunit"),
}
"""Configurations that can be built, each with its fragments in order."""

_SET = re.compile(r"CONFIG_(\w+)=(.+)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")
_MAX_LISTED = 40


@dataclass(frozen=True)
class Fragment:
    """One file of ``kernel/configs``: its name, text and demands.

    ``demands`` maps a symbol to its value, or to None for "is not set".
    """

    name: str
    text: str
    demands: dict[str, str | None]


def parse(text: str, place: str) -> dict[str, str | None]:
    """Read the demands of a fragment or the answers of a ``.config``.

    Raises UklError with ``place:line`` for a line that is neither a demand, a
    comment nor blank, and for a symbol that appears twice.
    """
    demands: dict[str, str | None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := _SET.fullmatch(line):
            symbol, value = match[1], match[2]
        elif match := _UNSET.fullmatch(line):
            symbol, value = match[1], None
        elif not line.strip() or line.startswith("#"):
            continue
        else:
            raise UklError(
                f"{place}:{number}: not a Kconfig line: {line}",
                "write CONFIG_NAME=value or # CONFIG_NAME is not set",
            )
        if symbol in demands:
            raise UklError(f"{place}:{number}: CONFIG_{symbol} is there already")
        demands[symbol] = value
    return demands


def load(directory: Path, config: str) -> list[Fragment]:
    """Read the fragments of a configuration, in the order they are laid down."""
    names = CONFIGS.get(config)
    if names is None:
        raise UklError(
            f"there is no kernel configuration named {config}",
            "one of: " + ", ".join(CONFIGS),
        )
    fragments = []
    for name in names:
        path = directory / f"{name}.config"
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise UklError(
                f"{path} is missing", "the checkout is not complete"
            ) from None
        fragments.append(Fragment(name, text, parse(text, path.name)))
    return fragments


def merged(fragments: list[Fragment]) -> dict[str, str | None]:
    """All demands together; a later fragment overrules an earlier one."""
    demands: dict[str, str | None] = {}
    for fragment in fragments:
        demands |= fragment.demands
    return demands


def as_config(demands: dict[str, str | None]) -> str:
    """The demands as the text of a ``.config``."""
    return "".join(
        f"# CONFIG_{symbol} is not set\n"
        if value is None
        else f"CONFIG_{symbol}={value}\n"
        for symbol, value in demands.items()
    )


def refused(demands: dict[str, str | None], config_text: str) -> list[str]:
    """Say, a line each, which demands the finished ``.config`` does not meet."""
    answers = parse(config_text, ".config")
    lines = []
    for symbol, value in demands.items():
        answer = answers.get(symbol)
        if answer != value:
            asked = "not set" if value is None else value
            got = "not set" if answer is None else answer
            lines.append(f"  CONFIG_{symbol}: asked for {asked}, got {got}")
    return lines


def verify(demands: dict[str, str | None], config_text: str, config: str) -> None:
    """Raise UklError listing every demand that Kconfig did not meet."""
    lines = refused(demands, config_text)
    if not lines:
        return
    if len(lines) > _MAX_LISTED:
        rest = len(lines) - _MAX_LISTED
        lines = [*lines[:_MAX_LISTED], f"  and {rest} more"]
    raise UklError(
        f"Kconfig refused options that the configuration {config} asks for",
        "their dependencies are not met: correct the fragment in kernel/configs",
        details=tuple(lines),
    )
