"""``ukl ps``: the instances that run."""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path
from typing import Any

import click

from hijack import running
from hijack.errors import UklError
from hijack.files import human_time


def _row(one: running.Running) -> dict[str, Any]:
    """An instance as ``--json`` prints it."""
    state, processes = "running" if one.alive() else "dead", []
    services: set[int] = set()
    if state == "running":
        try:
            shared = one.look()
            # The first is the kernel host.
            processes = shared.processes()[1:]
            services = shared.services()
            shared.close()
        except running.GoneError:
            state = "starting" if one.alive() else "dead"
        except UklError:
            state = "stuck"
    last = one.log.strip().splitlines()[-1:]
    return {
        "name": one.name,
        "state": state,
        "directory": str(one.directory),
        "pid": one.record.get("pid"),
        "processes": [pid for pid in processes if pid not in services],
        "services": [
            {"pid": pid, "argv": argv}
            for pid in processes
            if pid in services and (argv := _argv(pid))
        ],
        "door": one.record.get("door"),
        "started": one.record.get("started"),
        "argv": one.record.get("argv"),
        "profiles": one.record.get("profiles"),
        "said": last[0].removeprefix("ukl: ") if last else "",
    }


def _argv(pid: int) -> list[str]:
    """A process's command line; empty if it has gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(word) for word in words.split(b"\0")[:-1]]


def _age(started: float | None) -> str:
    if started is None:
        return "-"
    seconds = max(0.0, time.time() - started)
    if seconds < 3600:
        return human_time(seconds)
    hours, rest = divmod(round(seconds), 3600)
    if hours < 48:
        return f"{hours} h {rest // 60:02d} min"
    return f"{hours // 24} days"


@click.command(name="ps")
@click.option("-a", "--all", "dead", is_flag=True, help="Dead ones too, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def command(dead: bool, as_json: bool) -> int:
    """List the instances of this user.

    PID is the process that ukl-run became, PROCS the number of processes that
    are in the instance now. Below an instance are its services, such as a DHCP client,
    which end with it.
    """
    rows = [_row(one) for one in running.everything()]
    if not dead:
        rows = [row for row in rows if row["state"] != "dead"]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return 0
    table = [("NAME", "STATE", "PID", "PROCS", "DOOR", "AGE", "COMMAND")]
    for row in rows:
        what = shlex.join(row["argv"]) if row["argv"] else "-"
        table.append(
            (
                row["name"],
                row["state"],
                str(row["pid"] or "-"),
                str(len(row["processes"])),
                row["door"] or "-",
                _age(row["started"]),
                row["said"] if row["state"] == "dead" else what,
            )
        )
        for service in row["services"]:
            what = shlex.join(service["argv"])
            table.append(("", "service", str(service["pid"]), "-", "-", "-", what))
    widths = [max(len(line[n]) for line in table) for n in range(len(table[0]))]
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
    return 0
