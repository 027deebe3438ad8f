"""``ukl profile``: checks, shows and explains profiles."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hijack import paths

_FILES = click.argument("files", nargs=-1, type=click.Path())
_SET = click.option(
    "-s",
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set one value; the key's steps are joined with dots.",
)


@click.group(name="profile", no_args_is_help=False)
def command() -> None:
    """Check, show and explain profiles (see doc/ukl-profile.5)."""


@command.command()
@_FILES
@_SET
def check(files: tuple[str, ...], overrides: tuple[str, ...]) -> int:
    """Check the profiles FILES as they would be used together.

    Prints nothing if they are right.
    """
    from hijack import plan, profile

    plan.build(profile.load(files, overrides))
    return 0


@command.command()
@_FILES
@_SET
def show(files: tuple[str, ...], overrides: tuple[str, ...]) -> int:
    """Print the profiles FILES merged, in the long forms."""
    from ruamel.yaml import YAML

    from hijack import profile

    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.width = 1000
    writer.dump(profile.load(files, overrides).dump(), sys.stdout)
    return 0


@command.command()
def schema() -> int:
    """Print the JSON Schema of a profile, for editors."""
    import json

    from hijack.profile.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
    return 0


@command.command(name="list")
def list_() -> int:
    """Print the examples: path, then what it is."""
    for path in sorted(examples().glob("*.yaml")):
        first = path.read_text().split("\n", 1)[0].lstrip("# ").rstrip()
        click.echo(f"{_short(path)}  {first}")
    return 0


def examples() -> Path:
    """The directory of the examples."""
    return paths.checkout_root() / "examples"


def _short(path: Path) -> str:
    """The path from here, if it is below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
