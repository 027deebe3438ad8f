"""Profiles: the YAML a person writes, checked and merged.

::

    profile = load(["examples/bbr.yaml"], ["hostname=web"])

Importing this package is cheap; pydantic and ruamel come with the first call.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hijack.profile.loading import Loaded as Profile

__all__ = ["Profile", "load"]


def load(
    sources: Sequence[str | os.PathLike[str]],
    overrides: Sequence[str] = (),
    publish: Sequence[str] = (),
) -> Profile:
    """Read, merge and check profiles; later sources and overrides win.

    ``sources`` are paths of YAML files, ``overrides`` are ``KEY=VALUE`` with a
    dotted key and a YAML value.  Neither: the default, a rootless network.
    ``publish`` are ports in the short form of ``ports:``.  They are added to those
    of the profiles, as compose adds ports: one takes the place of another only if it
    is of the same address, port and protocol of the host.

    Raises ProfileErrors (a UklError) that lists everything that is wrong.
    """
    from hijack.profile.loading import load as load_

    return load_(sources, overrides, publish)
