"""Where things are: the checkout, and everything ukl keeps between runs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def checkout_root() -> Path:
    """The directory that holds ``kernel/``: the clone, or a wheel's ``hijack/tree``."""
    package = Path(__file__).resolve().parent
    tree = package / "tree"
    return tree if tree.is_dir() else package.parent


def cache_root() -> Path:
    """``$XDG_CACHE_HOME/ukl``, by default ``~/.cache/ukl``.

    As the XDG base directory specification asks, a relative value is ignored.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if given.startswith("/") else Path.home() / ".cache"
    return base / "ukl"


def meson_directory(checkout: Path) -> Path:
    """The meson build directory of one checkout; outside the source tree."""
    digest = hashlib.sha256(os.fsencode(checkout)).hexdigest()
    return cache_root() / f"build-{digest[:12]}"
