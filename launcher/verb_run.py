"""``ukl run``, and ``ukl-run``: the command line as click reads it."""

from __future__ import annotations

import click

from launcher import checks, words
from launcher import context as known_to
from launcher.start import Options, start


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
    callback=words.checked(checks.settings),
    help="Set one key of the profile.",
)
@click.option(
    "-P",
    "--publish",
    multiple=True,
    metavar="[ADDRESS:]HOSTPORT:PORT[/udp]",
    callback=words.checked(checks.published),
    help="Publish a port of the instance on the host, beside those of the profile; of "
    "those, the one of the same address, port and protocol of the host is replaced.",
)
@click.option("-n", "--name", metavar="NAME", help="Name the instance.")
@click.option("-e", "--env", "variables", **words.ENVIRONMENT)
@click.option("--trace", **words.TRACE)
@click.option("--report", **words.REPORT)
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
    report: str | None,
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
    if not command:
        raise click.UsageError("no command is given")
    options = Options(
        command=command,
        profiles=profiles,
        settings=settings,
        publish=publish,
        name=name,
        variables=variables,
        trace=trace,
        report=report,
        pcap=pcap,
        via=via,
        trap_only=trap_only,
        allow_host=allow_host,
        keep=keep,
        dry_run=dry_run,
    )
    return start(options, known_to.of(context))
