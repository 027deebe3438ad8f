"""``ukl run``: the same as ``ukl-run``."""

from __future__ import annotations

from launcher.run import command

__all__ = ["command"]
