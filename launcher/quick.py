"""Reads the command lines of ``ukl-run`` that are as one expects.

What is not, and every mistake, is click's: importing it takes longer than a kernel
takes to boot.  A test compares the two.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from hijack.elf import DOORS
from launcher import checks
from launcher.start import Options

LISTS = {
    "-p": "profiles",
    "--profile": "profiles",
    "-s": "settings",
    "--set": "settings",
    "-P": "publish",
    "--publish": "publish",
    "-e": "variables",
    "--env": "variables",
}
WORDS = {
    "-n": "name",
    "--name": "name",
    "--trace": "trace",
    "--report": "report",
    "--pcap": "pcap",
    "--via": "via",
}
FLAGS = {
    "--trap-only": "trap_only",
    "--allow-host": "allow_host",
    "--keep": "keep",
    "--dry-run": "dry_run",
}


def read(words: Sequence[str]) -> Options | None:
    """The options of a command line; None: ask click."""
    if "_UKL_RUN_COMPLETE" in os.environ:
        return None
    lists: dict[str, list[str]] = {field: [] for field in LISTS.values()}
    single: dict[str, str] = {}
    flags: dict[str, bool] = {}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word == "--":
            break
        if word in FLAGS:
            flags[FLAGS[word]] = True
            continue
        option, equals, value = word.partition("=")
        if not equals:
            if not rest or rest[0].startswith("-"):
                return None
            value = rest.pop(0)
        elif not option.startswith("--"):
            return None
        if option in LISTS:
            lists[LISTS[option]].append(value)
        elif option in WORDS:
            single[WORDS[option]] = value
        else:
            return None
    if not rest or single.get("via", "auto") not in ("auto", *DOORS):
        return None
    try:
        return Options(
            command=tuple(rest),
            profiles=tuple(lists["profiles"]),
            settings=checks.settings(tuple(lists["settings"])),
            publish=checks.published(tuple(lists["publish"])),
            variables=checks.environment(tuple(lists["variables"])),
            name=single.get("name"),
            trace=checks.traced(single.get("trace")),
            report=single.get("report"),
            pcap=single.get("pcap"),
            via=single.get("via", "auto"),
            **flags,
        )
    except checks.WordError:
        return None
