"""``ukl logs``: what the library kernel and the kernel host said."""

from __future__ import annotations

import click

from hijack import running


@click.command(name="logs")
@click.option("-f", "--follow", is_flag=True, help="Go on until the instance ends.")
@click.argument("instance")
def command(follow: bool, instance: str) -> int:
    """Show what an instance's kernel and kernel host said.

    The library kernel's log (its last 128 KiB) comes first, as dmesg would show
    it, then the kernel host's messages. Of an instance that died the latter are
    kept for a day.

    Exit status: 0, or 1 if there is no such instance.
    """
    one = running.find(instance)
    if one.alive():
        for words in one.follow():
            click.echo(words, nl=False)
            if not follow:
                break
        return 0
    if not one.log:
        raise running.gone(instance)
    click.echo(one.log, nl=False)
    return 0
