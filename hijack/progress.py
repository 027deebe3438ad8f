"""Telling a person how far a long piece of work has come.

A bar on a terminal, otherwise plain lines, at most one per 10 %.  Everything
goes to standard error.
"""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichBar
    from rich.progress import TaskID


class Progress(Protocol):
    """What the work calls; also a context manager around all of it."""

    def stage(self, name: str, total: int | None) -> None:
        """Begin a stage of ``total`` steps; None when nobody knows how many."""

    def reach(self, step: int) -> None:
        """Say that ``step`` steps of the stage are done."""

    def note(self, text: str) -> None:
        """Show a line that stays."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class PlainProgress:
    """Lines for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._name = ""
        self._total: int | None = None
        self._shown = 0
        self._reached = 0

    def _print(self, text: str) -> None:
        print(f"ukl: {text}", file=self._stream, flush=True)

    def stage(self, name: str, total: int | None) -> None:
        self._close_stage()
        self._name, self._total, self._shown, self._reached = name, total, 0, 0
        self._print(name)

    def reach(self, step: int) -> None:
        self._reached = step
        if not self._total:
            return
        tenth = min(step * 10 // self._total, 10)
        if tenth > self._shown:
            self._shown = tenth
            self._print(f"{self._name} {tenth * 10} %")

    def note(self, text: str) -> None:
        self._print(text)

    def _close_stage(self) -> None:
        if self._total is None and self._reached:
            self._print(f"{self._name}: {self._reached} done")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._close_stage()


class TerminalProgress:
    """One rich bar per stage."""

    def __init__(self) -> None:
        # Imported here: it costs more than a whole cached build.
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar: RichBar = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task: TaskID | None = None

    def stage(self, name: str, total: int | None) -> None:
        self._close_stage()
        self._task = self._bar.add_task(name, total=total)

    def reach(self, step: int) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=step)

    def note(self, text: str) -> None:
        self._bar.console.print(f"ukl: {text}", markup=False, highlight=False)

    def _close_stage(self) -> None:
        if self._task is None:
            return
        task = self._bar.tasks[self._task]
        total = task.total if task.total is not None else max(task.completed, 1)
        self._bar.update(self._task, total=total, completed=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._close_stage()
        self._bar.stop()


def for_stream(stream: TextIO | None = None) -> Progress:
    """A bar when standard error is a capable terminal, lines otherwise."""
    stream = stream or sys.stderr
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return TerminalProgress()
    return PlainProgress(stream)
