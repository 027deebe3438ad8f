"""Writes the man pages from the commands themselves.

``python -m launcher.manpage`` rewrites ``doc/ukl-run.1`` and ``doc/ukl.1``; a test
compares them with what it would write.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import click

from hijack import paths

_HEAD = """\
.\\" SPDX-License-Identifier: GPL-2.0-only
.\\" Written by python -m launcher.manpage from the commands; do not edit.
"""

_FILES = """\
.SH FILES
.TP
.I $XDG_RUNTIME_DIR/ukl/NAME/
An instance: the kernel host's socket and lock, what was started, and the log of
the kernel host. Without XDG_RUNTIME_DIR it is below
.I /run/user/UID
or
.IR /tmp/ukl-UID .
.TP
.I $XDG_CACHE_HOME/ukl/
Everything that was built, and what was found out about programs; by default
.IR ~/.cache/ukl .
"""

_ENVIRONMENT = """\
.SH ENVIRONMENT
.TP
.B UKL_DHCP_SECONDS
How long the first lease of
.B dhcp4
is waited for, by default 30.
"""

_STATUS = """\
.SH EXIT STATUS
.TP
.B 125
ukl failed; standard error has one line with the cause and the mend.
.TP
.B 126
The program was found and cannot be run.
.TP
.B 127
The program was not found: not in
.BR PATH ,
nor in
.I /usr/sbin
or
.IR /sbin ,
which an ordinary user's
.B PATH
does not lead to.
.TP
.B 130
A build was interrupted.
.PP
Everything else is the program's own.
"""

_EXAMPLES = """\
.SH EXAMPLES
.TP
.B ukl\\-run \\-\\-profile net.yaml nginx
Serve from the instance that
.I net.yaml
describes.
.TP
.B ukl\\-run sh
A shell in which any user can make a network, for all programs of the instance:
.IP
.EX
ip netns add red
ip netns add blue
ip link add one netns red type veth peer name two netns blue
ip \\-n red addr add 192.0.2.1/24 dev one
ip \\-n blue addr add 192.0.2.2/24 dev two
ip \\-n red link set one up
ip \\-n blue link set two up
ip netns exec red ping \\-c 1 192.0.2.2
.EE
.TP
.B ukl\\-run \\-n web \\-P 127.0.0.1:8080:80 nginx
The same on a host port of one's own, under a name.
.TP
.B ukl exec web ss \\-tlnp
Look into it.
.TP
.B ukl stop web
End it.
"""


def _escape(text: str) -> str:
    """Text as roff takes it."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def _paragraphs(text: str) -> str:
    """A docstring's paragraphs."""
    blocks = inspect.cleandoc(text).split("\n\n")
    return "\n.PP\n".join(_escape(" ".join(block.split())) for block in blocks)


def _option(context: click.Context, option: click.Option) -> str:
    """One option, with its value's name, its help and its default."""
    record = option.get_help_record(context)
    assert record is not None, option.name
    text = record[1]
    words = ", ".join(f"\\fB{_escape(word)}\\fR" for word in option.opts)
    if not option.is_flag:
        metavar = option.make_metavar(context)
        words += f" \\fI{_escape(metavar)}\\fR"
    return f".TP\n{words}\n{_escape(text)}\n"


def _options(command: click.Command, context: click.Context) -> str:
    options = [one for one in command.params if isinstance(one, click.Option)]
    return "".join(_option(context, one) for one in options)


def _synopsis(command: click.Command, context: click.Context) -> str:
    pieces = command.collect_usage_pieces(context)
    return " ".join(f"\\fI{_escape(piece)}\\fR" for piece in pieces)


def ukl_run() -> str:
    """The text of ``ukl-run.1``."""
    from launcher.verb_run import command

    context = click.Context(command, info_name="ukl-run", **command.context_settings)
    return (
        f'{_HEAD}.TH UKL\\-RUN 1 "" ukl\n.SH NAME\n'
        "ukl\\-run \\- run a program on a Linux kernel of its own\n"
        f".SH SYNOPSIS\n.B ukl\\-run\n{_synopsis(command, context)}\n"
        f".SH DESCRIPTION\n{_paragraphs(command.help or '')}\n"
        f".SH OPTIONS\n{_options(command, context)}"
        f"{_STATUS}{_ENVIRONMENT}{_FILES}{_EXAMPLES}"
        ".SH SEE ALSO\n.BR ukl (1),\n.BR ukl\\-profile (5)\n"
    )


def ukl() -> str:
    """The text of ``ukl.1``; the options of ``ukl run`` are in ``ukl-run.1``."""
    from launcher.ukl import VERBS, cli

    top = click.Context(cli, info_name="ukl", **cli.context_settings)
    parts = [
        f'{_HEAD}.TH UKL 1 "" ukl\n.SH NAME\n'
        "ukl \\- look after instances of the library kernel, and build it\n"
        ".SH SYNOPSIS\n.B ukl\n.I VERB\n[\\fIOPTIONS\\fR] [\\fIARGUMENT\\fR]...\n"
        f".SH DESCRIPTION\n{_paragraphs(cli.help or '')}\n"
    ]
    for verb in VERBS:
        command = cli.get_command(top, verb)
        assert command is not None
        parts.append(_verb(verb, command, top))
    parts.append(f"{_STATUS}{_FILES}.SH SEE ALSO\n.BR ukl\\-run (1)\n")
    return "".join(parts)


def _verb(name: str, command: click.Command, parent: click.Context) -> str:
    """A verb and, if it has some, those below it."""
    context = click.Context(
        command,
        info_name=name.split()[-1],
        parent=parent,
        **command.context_settings,
    )
    text = f".SS ukl {_escape(name)}\n"
    if name == "run":
        return f"{text}The same as\n.BR ukl\\-run (1).\n"
    text += f".B ukl {_escape(name)}\n{_synopsis(command, context)}\n"
    text += f".PP\n{_paragraphs(command.help or '')}\n"
    text += _options(command, context)
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            text += _verb(f"{name} {below}", found, context)
    return text


PAGES = {"ukl-run.1": ukl_run, "ukl.1": ukl}
"""What writes each page, by its file's name in ``doc/``."""


def main() -> int:
    """Write the pages."""
    for name, text in PAGES.items():
        (Path(paths.checkout_root()) / "doc" / name).write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
