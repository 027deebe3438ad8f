"""How a command of ours ends: its exit status, and its one line of words."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from hijack.errors import EXIT_FAILURE, UklError


def guarded(call: Callable[[], object], help_line: str) -> int:
    """Run a command; the exit status.

    Failures of ours are told on standard error; ``help_line`` goes with those
    of the command line.  An interrupt ends the process as SIGINT does: a kernel
    host that it has started then ends by itself.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        status = call()
    except UklError as error:
        print(error, file=sys.stderr)
        return error.status
    except Exception as error:
        # Click's, if it was needed at all.
        click = sys.modules.get("click")
        if click and isinstance(error, click.Abort):
            return EXIT_FAILURE
        if not click or not isinstance(error, click.ClickException):
            raise
        message = error.format_message().rstrip(".").replace("\n", " ")
        print(UklError(message, help_line), file=sys.stderr)
        return EXIT_FAILURE
    return status if isinstance(status, int) else 0
