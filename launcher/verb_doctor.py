"""``ukl doctor``: looks whether this machine can run instances."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from hijack import doctor


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def command(as_json: bool) -> int:
    """Look whether this machine can run instances.

    One line for each check, with what mends it if it is not ok. The last one
    boots an instance.

    Exit status: 0, or 1 if there is a problem.
    """
    findings = []
    for check in doctor.CHECKS:
        for one in check():
            findings.append(one)
            if not as_json:
                mend = f" ({one.mend})" if one.mend else ""
                click.echo(f"{one.level:<8} {one.check:<17} {one.text}{mend}")
    if as_json:
        click.echo(json.dumps([asdict(one) for one in findings], indent=1))
    return int(any(one.level == doctor.PROBLEM for one in findings))
