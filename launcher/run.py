"""The ``ukl-run`` command: starts a kernel host, then becomes the target.

Nothing is supervised: the target is executed in this process, and so has its
pid, its terminal, its signals and its exit status.  The kernel host boots while
the program is looked at.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from hijack import elf, paths, runtime, stamp
from launcher import context as known_to
from launcher import outcome, words

HELP_LINE = "ukl-run --help lists the options"


@click.command(
    name="ukl-run",
    context_settings={
        "help_option_names": ["-h", "--help"],
        "allow_interspersed_args": False,
        "max_content_width": 88,
    },
    options_metavar="[OPTIONS] [--]",
)
@click.option(
    "-p",
    "--profile",
    "profiles",
    multiple=True,
    metavar="FILE",
    help="A profile, see ukl-profile(5); the words of later ones win.",
)
@click.option(
    "-s",
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    callback=words.settings,
    help="Set one key of the profile.",
)
@click.option(
    "-P",
    "--publish",
    multiple=True,
    metavar="[ADDRESS:]HOSTPORT:PORT[/udp]",
    callback=words.published,
    help="Publish a port of the instance on the host, beside those of the profile; of "
    "those, the one of the same address, port and protocol of the host is replaced.",
)
@click.option("-n", "--name", metavar="NAME", help="Name the instance.")
@click.option("-e", "--env", "variables", **words.ENVIRONMENT)
@click.option("--trace", **words.TRACE)
@click.option("--pcap", metavar="FILE", help="Capture all frames to a pcapng file.")
@click.option("--via", **words.VIA)
@click.option("--trap-only", **words.TRAP_ONLY)
@click.option("--allow-host", **words.ALLOW_HOST)
@click.option(
    "--keep", is_flag=True, help="Keep the instance when its last process has ended."
)
@click.option(
    "--dry-run", is_flag=True, help="Print what would be done and start nothing."
)
@click.argument("command", **words.COMMAND)
@click.pass_context
def command(
    context: click.Context,
    profiles: tuple[str, ...],
    settings: tuple[str, ...],
    publish: tuple[str, ...],
    name: str | None,
    variables: dict[str, str],
    trace: str | None,
    pcap: str | None,
    via: str,
    trap_only: bool,
    allow_host: bool,
    keep: bool,
    dry_run: bool,
    command: tuple[str, ...],
) -> int:
    """Run a program on a Linux kernel of its own.

    The program runs as itself: ukl-run becomes it, with the same process id,
    terminal, signals and exit status. Its network is the instance's; its files
    are the host's.

    Exit status: the program's own; 125 if ukl failed, 126 if the program cannot
    be run, 127 if it was not found.
    """
    known = known_to.of(context)
    if not command:
        raise click.UsageError("no command is given")
    if name is not None:
        runtime.check_name(name)
    stamp.build_if_needed(paths.checkout_root())
    built = runtime.built(known.shim)
    plan = runtime.load_plan(profiles, settings, publish)
    # A name without a value is the caller's variable, which is there already.
    given = {key: value for key, value in plan.environment.items() if value is not None}
    changes = {**given, **variables}
    environment = {**os.environ, **changes}
    if command[0] in plan.packages:
        runtime.install_command(command[0], plan.packages[command[0]], environment)
    # Before anything is started: most mistakes are spelling mistakes.
    elf.find(command[0], environment)
    if dry_run:
        verdict = elf.check(command, environment, built.shim, via=via)
        _describe(
            verdict,
            built,
            plan,
            name,
            changes,
            trace,
            pcap,
            keep=keep,
            trap_only=trap_only,
        )
        return 0
    if allow_host:
        verdict = elf.check(command, environment, built.shim, via=via)
        if not verdict.door:
            return become_on_host(verdict, environment, known.ignored)
    claimed = runtime.claim_new(command[0]) if name is None else runtime.claim(name)
    with claimed as directory:
        starting = runtime.start(directory, built, plan, pcap, keep=keep)
        try:
            verdict = elf.check(command, environment, built.shim, via=via)
            verdict.must_be_open()
            runtime.write_views(directory, plan)
            environment = runtime.target_environment(
                os.environ,
                directory.path,
                built.shim,
                changes,
                trace,
                trap_only=trap_only,
            )
            runtime.sweep()
            starting.wait()
            runtime.load_nftables(plan, environment)
            door = verdict.door_and_why
            runtime.write_record(directory, command, door, profiles, given)
            if verdict.words:
                environment = runtime.target_environment(
                    os.environ,
                    directory.path,
                    built.shim,
                    changes,
                    trace,
                    verdict.words,
                    trap_only=trap_only,
                )
            runtime.limit(plan.ulimits)
            return become(verdict, environment, known.ignored)
        except BaseException:
            starting.cancel()
            raise


def become(verdict: elf.Verdict, environment: Mapping[str, str], ignored: int) -> int:
    """Execute the target in this process; raises if that cannot be done."""
    runtime.reset_signals(ignored)
    try:
        os.execve(verdict.execute or verdict.run, verdict.argv, environment)
    except OSError as error:
        raise elf.CannotRunError(f"{verdict.run}: {error.strerror}") from None


def become_on_host(
    verdict: elf.Verdict, environment: Mapping[str, str], ignored: int
) -> int:
    """Execute a program that has no door, on the host's kernel, and say so."""
    print(
        f"ukl: warning: {verdict.reason}; it runs on the host's kernel, outside "
        "any instance (--allow-host)",
        file=sys.stderr,
        flush=True,
    )
    return become(verdict, environment, ignored)


def _describe(
    verdict: elf.Verdict,
    built: runtime.Built,
    plan: runtime.Plan,
    name: str | None,
    changes: Mapping[str, str],
    trace: str | None,
    pcap: str | None,
    *,
    keep: bool,
    trap_only: bool,
) -> None:
    """Print what would be done, a subject a line."""
    import shlex

    name = name or f"{runtime.stem_of(verdict.argv[0])}-N"
    directory = runtime.base_directory() / name
    start = runtime.host_line(built, directory, plan, pcap, keep=keep)
    environment = runtime.target_environment(
        {},
        directory,
        built.shim,
        changes,
        trace,
        verdict.words,
        trap_only=trap_only,
    )
    door = f"{verdict.door}: {verdict.reason}"
    if not verdict.door:
        door = f"none: {verdict.reason} ({verdict.mend})"
    rows: list[tuple[str, Sequence[str]]] = [
        ("instance", [str(directory)]),
        ("plan", [f"{len(plan.data)} bytes"]),
        ("devices", plan.expand() or ["none"]),
        ("kernel host", [shlex.join(start)]),
        ("door", [door]),
        ("environment", [f"{key}={value}" for key, value in environment.items()]),
        (
            "execute",
            [f"{verdict.execute or verdict.run}: {shlex.join(verdict.argv)}"],
        ),
    ]
    for title, lines in rows:
        for line in lines:
            click.echo(f"{title:<12} {line}")
            title = ""


def main(
    argv: Sequence[str] | None = None, *, shim: Path | None = None, ignored: int = 0
) -> int:
    """Run the command line; the exit status, if it did not become the target.

    ``shim`` is used instead of the one that was built; ``ignored`` are the
    signals that were ignored before Python started (bit n-1: signal n).
    """
    return outcome.guarded(
        lambda: command.main(
            args=argv if argv is None else list(argv),
            prog_name="ukl-run",
            standalone_mode=False,
            obj=known_to.Context(shim, ignored),
        ),
        HELP_LINE,
    )


if __name__ == "__main__":
    sys.exit(main())
