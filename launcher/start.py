"""Starts a program on a kernel of its own; what ``ukl-run`` does with its options.

Nothing is supervised: the target is executed in this process, and so has its
pid, its terminal, its signals and its exit status.  The kernel host boots while
the program is looked at.

``ukl-run`` imports this on every start, so nothing slow is imported here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from hijack import elf, paths, runtime, stamp
from hijack.errors import UklError
from hijack.record import Record
from launcher.context import Context

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Options(Record):
    """What the command line of ``ukl-run`` says."""

    command: tuple[str, ...]
    profiles: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    name: str | None = None
    variables: Mapping[str, str] = _NOTHING
    trace: str | None = None
    report: str | None = None
    pcap: str | None = None
    via: str = "auto"
    trap_only: bool = False
    allow_host: bool = False
    keep: bool = False
    dry_run: bool = False


def start(options: Options, known: Context) -> int:
    """Become the target; or the exit status, where no program is to be started.

    Raises UklError.
    """
    command, name = options.command, options.name
    if name is not None:
        runtime.check_name(name)
    stamp.build_if_needed(paths.checkout_root())
    built = runtime.built(known.shim)
    plan = runtime.load_plan(options.profiles, options.settings, options.publish)
    # A name without a value is the caller's variable, which is there already.
    given = {key: value for key, value in plan.environment.items() if value is not None}
    changes = {**given, **options.variables}
    environment = {**os.environ, **changes}
    if command[0] in plan.packages:
        runtime.install_command(command[0], plan.packages[command[0]], environment)
    # Before anything is started: most mistakes are spelling mistakes.
    elf.find(command[0], environment)
    clients = None
    if plan.dhcp:
        # Imported here: most profiles have none.
        from hijack.dhcp import Clients

        clients = Clients(plan, built.shim)
    if options.dry_run:
        verdict = elf.check(command, environment, built.shim, via=options.via)
        lines = clients.lines() if clients is not None else []
        _describe(verdict, built, plan, changes, lines, options)
        return 0
    if options.allow_host:
        verdict = elf.check(command, environment, built.shim, via=options.via)
        if not verdict.door:
            return become_on_host(verdict, environment, known.ignored, options.report)
    reporter = None
    if options.report is not None:
        from hijack.report import Reporter

        reporter = Reporter(Path(options.report), command)
    claimed = runtime.claim_new(command[0]) if name is None else runtime.claim(name)
    with claimed as directory:
        starting = runtime.start(
            directory, built, plan, options.pcap, keep=options.keep
        )
        try:
            verdict = elf.check(command, environment, built.shim, via=options.via)
            verdict.must_be_open()
            runtime.write_views(directory, plan)
            runtime.sweep()
            starting.wait()

            def inside(
                words: Sequence[tuple[str, str]] = (), report: str | None = None
            ) -> dict[str, str]:
                return runtime.target_environment(
                    os.environ,
                    directory.path,
                    built.shim,
                    changes,
                    options.trace,
                    words,
                    trap_only=options.trap_only,
                    report=report,
                )

            runtime.load_nftables(plan, inside())
            if clients is not None:
                clients.start(directory.path)
            door = verdict.door_and_why
            runtime.write_record(directory, command, door, options.profiles, given)
            report = None if reporter is None else reporter.start()
            environment = inside(verdict.words, report)
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
    verdict: elf.Verdict,
    environment: Mapping[str, str],
    ignored: int,
    report: str | None,
) -> int:
    """Execute a program that has no door, on the host's kernel, and say so.

    Raises UklError if a ``report`` is wanted: nothing would be counted.
    """
    if report is not None:
        raise UklError(
            f"--report: {verdict.reason}; nothing is counted on the host's kernel"
        )
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
    changes: Mapping[str, str],
    clients: Sequence[Sequence[str]],
    options: Options,
) -> None:
    """Print what would be done, a subject a line."""
    import shlex

    name = options.name or f"{runtime.stem_of(verdict.argv[0])}-N"
    directory = runtime.base_directory() / name
    start = runtime.host_line(built, directory, plan, options.pcap, keep=options.keep)
    environment = runtime.target_environment(
        {},
        directory,
        built.shim,
        changes,
        options.trace,
        verdict.words,
        trap_only=options.trap_only,
    )
    door = f"{verdict.door}: {verdict.reason}"
    if not verdict.door:
        door = f"none: {verdict.reason} ({verdict.mend})"
    rows: list[tuple[str, Sequence[str]]] = [
        ("instance", [str(directory)]),
        ("plan", [f"{len(plan.data)} bytes"]),
        ("devices", plan.expand() or ["none"]),
        ("kernel host", [shlex.join(start)]),
        ("dhcp", [shlex.join(line) for line in clients]),
        ("door", [door]),
        ("environment", [f"{key}={value}" for key, value in environment.items()]),
        (
            "execute",
            [f"{verdict.execute or verdict.run}: {shlex.join(verdict.argv)}"],
        ),
    ]
    for title, lines in rows:
        for line in lines:
            print(f"{title:<12} {line}")
            title = ""
