"""``ukl stop``: ends instances."""

from __future__ import annotations

import click

from hijack import running, runtime
from hijack.errors import UklError


@click.command(name="stop")
@click.option(
    "-t",
    "--timeout",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="After this the instance is ended whatever state it is in.",
)
@click.option("-a", "--all", "everyone", is_flag=True, help="All that run.")
@click.argument("names", nargs=-1, metavar="INSTANCE...")
def command(timeout: float, everyone: bool, names: tuple[str, ...]) -> int:
    """End instances and their processes.

    Processes get SIGTERM, and SIGKILL two seconds later, both outside the
    library kernel.

    Exit status: 0 if all have ended, 1 if one was not running.
    """
    if everyone:
        if names:
            raise click.UsageError("--all and names do not go together")
        names = tuple(one.name for one in running.everything() if one.alive())
    elif not names:
        raise click.UsageError("no instance is named")
    status = 0
    for name in names:
        try:
            one = running.find(name)
            if not one.alive():
                runtime.clear(one.directory)
                raise running.gone(name)
            if not one.stop(timeout):
                click.echo(
                    f"ukl: instance {name} did not end by itself; it was killed",
                    err=True,
                )
        except running.GoneError as error:
            if not everyone:
                click.echo(str(error), err=True)
                status = error.status
        except UklError as error:
            click.echo(str(error), err=True)
            status = error.status
    return status
