"""``ukl exec``: a program joins a running instance."""

from __future__ import annotations

import os
from pathlib import Path

import click

from hijack import elf, paths, running, runtime, stamp
from hijack.errors import UklError
from hijack.report import Reporter
from launcher import context as known_to
from launcher import words
from launcher.start import become, become_on_host


@click.command(
    name="exec",
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
)
@click.option("-e", "--env", "variables", **words.ENVIRONMENT)
@click.option("--trace", **words.TRACE)
@click.option("--report", **words.REPORT)
@click.option("--via", **words.VIA)
@click.option("--trap-only", **words.TRAP_ONLY)
@click.option("--allow-host", **words.ALLOW_HOST)
@click.argument("instance")
@click.argument("command", **words.COMMAND)
@click.pass_context
def command(
    context: click.Context,
    variables: dict[str, str],
    trace: str | None,
    report: str | None,
    via: str,
    trap_only: bool,
    allow_host: bool,
    instance: str,
    command: tuple[str, ...],
) -> int:
    """Run a program in a running instance.

    The program runs as itself, as with ukl-run, and the instance lives at least
    as long as it does.

    Exit status: the program's own; 125 if ukl failed, 126 if the program cannot
    be run, 127 if it was not found.
    """
    known = known_to.of(context)
    command = command[1:] if command[:1] == ("--",) else command
    if not command:
        raise click.UsageError("no command is given")
    try:
        found = running.find_alive(instance)
    except running.GoneError as error:
        # Not the target's status.
        raise UklError(error.message, error.hint) from None
    stamp.build_if_needed(paths.checkout_root())
    built = runtime.built(known.shim)
    changes = {**found.record.get("environment", {}), **variables}
    environment = {**os.environ, **changes}
    verdict = elf.check(command, environment, built.shim, via=via)
    if not verdict.door and allow_host:
        return become_on_host(verdict, environment, known.ignored, report)
    verdict.must_be_open()
    reporter = None if report is None else Reporter(Path(report), command)
    environment = runtime.target_environment(
        os.environ,
        found.directory,
        built.shim,
        changes,
        trace,
        verdict.words,
        trap_only=trap_only,
        report=None if reporter is None else reporter.start(),
    )
    return become(verdict, environment, known.ignored)
