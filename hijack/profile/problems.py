"""What is wrong with a profile, and where."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hijack.errors import UklError

Path = tuple[str | int, ...]
"""Keys and list indices from the top of a profile down to a value."""

_PLAIN = re.compile(r"[A-Za-z0-9_/@:-]+")


@dataclass(frozen=True)
class Place:
    """A spot in a source; ``line`` and ``column`` count from 1, 0 is none."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Problem:
    """One line of complaint."""

    place: Place
    path: Path
    message: str

    def __str__(self) -> str:
        where = f"{self.place}: "
        if self.path:
            where += f"{dotted(self.path)}: "
        return where + self.message


class ProfileErrors(UklError):  # noqa: N818
    """Everything that is wrong with a profile; each line has its place."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        super().__init__(
            f"the profile has {count} error{'s' if count > 1 else ''}",
            "doc/ukl-profile.5 describes every key",
            details=tuple(str(problem) for problem in self.problems),
        )


def dotted(path: Path) -> str:
    """``network.ethernets.eth0.addresses[0]``; odd keys are quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            # A sysctl's dots are its own, as in -s sysctls.net.core.somaxconn=1.
            bare = step.replace(".", "") if path[0] == "sysctls" else step
            word = step if _PLAIN.fullmatch(bare) else quoted(step)
            text += f".{word}" if text else word
    return text


def quoted(value: str) -> str:
    """A value as messages show it: one line, not too long."""
    if len(value) > 60:
        value = value[:57] + "..."
    return repr(value)


def suggestion(word: str, known: Iterable[str]) -> str:
    """`` (did you mean X?)``, or nothing if no known word is close."""
    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""
