"""``ukl build``: meson set up once, then ninja, with the builder's own words."""

from __future__ import annotations

import click

from hijack import fragments


@click.command(name="build")
@click.option(
    "--config",
    type=click.Choice(list(fragments.CONFIGS)),
    default="base",
    show_default=True,
    help="Kernel configuration, see kernel/configs.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Parallel compilers.")
@click.option(
    "--source",
    type=click.Path(),
    envvar="UKL_LINUX_SOURCE",
    help="Tarball of linux-source-6.12 instead of the Debian package's.",
)
@click.option("--force", is_flag=True, help="Build from nothing.")
@click.option("--dry-run", is_flag=True, help="Print the command lines, run nothing.")
def command(
    config: str, jobs: int | None, source: str | None, force: bool, dry_run: bool
) -> int:
    """Build the library kernel and the kernel host.

    Prints the image's path, its size, and the time it took, or "cached".
    """
    from hijack import mesonbuild, paths, stamp

    arguments = ["--config", config]
    if jobs is not None:
        arguments += ["--jobs", str(jobs)]
    if source is not None:
        arguments += ["--source", click.format_filename(source)]
    if force:
        arguments.append("--force")
    if dry_run:
        click.echo("\n".join(mesonbuild.plan(arguments)))
        return 0
    click.echo(stamp.build(paths.checkout_root(), arguments))
    return 0
