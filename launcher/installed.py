"""The commands as pip installs them; in a clone they are shell scripts.

They differ from those in one thing: Python has already made SIGPIPE ignored when we
get to speak, so nobody can tell whether it was before.  Targets get its default.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from pathlib import Path


def ukl() -> int:
    """``ukl``."""
    return _start("ukl")


def ukl_run() -> int:
    """``ukl-run``."""
    return _start("run")


def _start(module: str) -> int:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    theirs = any(name.startswith("PYTHON") for name in os.environ)
    if theirs and not sys.flags.ignore_environment:
        # They are for the target: what we import is ours.
        line = ["-E", "-P", "-c", "import sys; from launcher import installed as i;"]
        line[-1] += f"sys.exit(i.{'ukl' if module == 'ukl' else 'ukl_run'}())"
        os.execv(sys.executable, [sys.executable, *line, *sys.argv[1:]])
    if not _had("LC_CTYPE"):
        # In the C locale Python sets it (PEP 538).
        os.environ.pop("LC_CTYPE", None)
    main = import_module(f"launcher.{module}").main
    status: int = main(sys.argv[1:])
    return status


def _had(name: str) -> bool:
    """Whether a variable was there when this process began."""
    try:
        block = Path("/proc/self/environ").read_bytes()
    except OSError:
        return True
    return any(one.startswith(f"{name}=".encode()) for one in block.split(b"\0"))
