"""Finds ``hijack._libukl``, the compiled binding of libukl.

Installed, it lies beside this file; in a clone, in the meson build directory,
which is outside the source tree.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import hijack
from hijack import paths
from hijack.errors import UklError


@functools.cache
def load() -> Any:
    """The module with ``ffi`` and ``lib``.

    Raises UklError if it has not been built.
    """
    built = str(paths.meson_directory(paths.checkout_root()) / "hijack")
    if built not in hijack.__path__:
        hijack.__path__.append(built)
    try:
        return importlib.import_module("hijack._libukl")
    except ModuleNotFoundError as error:
        if error.name != "hijack._libukl":
            raise
        raise UklError(
            "the Python binding of libukl has not been built", "ukl build makes it"
        ) from None
