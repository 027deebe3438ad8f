"""What the caller of a command knows and no option says."""

from __future__ import annotations

from pathlib import Path

from hijack.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import click


class Context(Record):
    """Goes along as click's ``obj``."""

    shim: Path | None = None
    """A shim instead of the one that was built; for tests."""
    ignored: int = 0
    """Signals that were ignored before Python started (bit n-1: signal n)."""


def of(context: click.Context) -> Context:
    """The one that goes with a click context."""
    return context.obj if isinstance(context.obj, Context) else Context()
