"""The one kind of error that a person is meant to read."""

from __future__ import annotations

EXIT_FAILURE = 125
"""Exit status of every failure that is ukl's own and not the target's."""


class UklError(Exception):
    """A failure with its cause in one line and, where there is one, its mend.

    ``details`` are lines shown before the message: what a compiler said, which
    options were refused.
    """

    status = EXIT_FAILURE
    """The exit status that goes with it."""

    def __init__(
        self, message: str, hint: str = "", *, details: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        line = f"ukl: {self.message}"
        if self.hint:
            line += f" ({self.hint})"
        return "\n".join((*self.details, line))
