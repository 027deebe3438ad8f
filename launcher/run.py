"""The ``ukl-run`` command."""

from __future__ import annotations

import sys

from hijack.errors import EXIT_FAILURE, UklError


def main() -> int:
    """Say that this version does not run targets; the exit status."""
    print(
        UklError(
            "running a target is not possible in this version",
            "it has the library kernel and its kernel host; the shim comes next",
        ),
        file=sys.stderr,
    )
    return EXIT_FAILURE


if __name__ == "__main__":
    sys.exit(main())
