"""The ``ukl-run`` command.

Most command lines are read by :mod:`launcher.quick`; the others, and all mistakes,
by click, whose import is a third of a start.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from launcher import outcome, quick
from launcher.context import Context
from launcher.start import start

HELP_LINE = "ukl-run --help lists the options"


def main(
    argv: Sequence[str] | None = None, *, shim: Path | None = None, ignored: int = 0
) -> int:
    """Run the command line; the exit status, if it did not become the target.

    ``shim`` is used instead of the one that was built; ``ignored`` are the
    signals that were ignored before Python started (bit n-1: signal n).
    """
    known = Context(shim, ignored)
    words = sys.argv[1:] if argv is None else list(argv)

    def run() -> object:
        options = quick.read(words)
        if options is not None:
            return start(options, known)
        from launcher.verb_run import command

        return command.main(
            args=words, prog_name="ukl-run", standalone_mode=False, obj=known
        )

    return outcome.guarded(run, HELP_LINE)


if __name__ == "__main__":
    sys.exit(main())
