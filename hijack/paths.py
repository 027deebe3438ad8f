"""Where things are: the checkout, and everything ukl keeps between runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
"""What is searched when the environment has no PATH."""


def search_path(environment: Mapping[str, str]) -> str:
    """Where a command is looked for: in PATH, then where Debian keeps root's.

    An ordinary user's PATH does not lead there, but servers and the tools that
    configure a network are there, and in an instance everybody may use them.
    """
    return f"{environment.get('PATH', DEFAULT_PATH)}:/usr/sbin:/sbin"


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
