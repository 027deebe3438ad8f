"""Writes doc/ukl-profile.5 from the records of the schema.

Run as ``python -m hijack.profile.manpage > doc/ukl-profile.5``; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from hijack.profile.loading import bare_type
from hijack.profile.schema import Interface, Profile, Record

NAMES: dict[str, str] = {
    "Profile": "TOP LEVEL",
    "NetworkRecord": "network",
    "Interface": "every interface",
}

HEAD = r""".\" Generated from hijack/profile/schema.py; do not edit.
.TH UKL-PROFILE 5 "" "ukl" "File formats"
.SH NAME
ukl-profile \- what an instance of the library kernel is like
.SH DESCRIPTION
A profile is a YAML file that
.BR ukl-run (1)
reads with
.BR \-\-profile .
It says which network, settings and file systems the library kernel of an
instance has. The network is written in the words of netplan, the process in
those of compose, and a few words are ukl's own. Every key may be left out.
.PP
.RS 4
.nf
network:
  ethernets:
    eth0:
      backend: user
ports: ["127.0.0.1:8080:80"]
sysctls:
  net.ipv4.tcp_congestion_control: bbr
.fi
.RE
.PP
Values are read from the text as it is written: a MAC address, a version or
.B no
needs no quotes to stay what it is. A null is the default of its key.
.SS Several profiles
.B \-\-profile
may be given several times, and
.B \-s
.IR KEY = VALUE
sets one value. Later ones win. Mappings are merged, key by key, to any depth;
lists and plain values are replaced as a whole. environment, sysctls and
extra_hosts are mappings, also when they are written as lists. The
.I KEY
of
.B \-s
has its steps joined with dots, a step with a dot in it is quoted, and the
.I VALUE
is YAML:
.PP
.RS 4
.nf
\-s network.ethernets.eth0.mtu=9000
\-s sysctls.net.core.rmem_max=33554432
\-s 'network.vlans."eth0.5".id=5'
.fi
.RE
What
.B \-\-publish
names is added to
.BR ports .
It takes the place of one that is of the same address, port and protocol of the
host.
.B "\-s ports=[]"
takes the profile's away first.
.SS Errors
An unknown key and a bad value end the start before anything is done, all of them
at once, each as
.IR FILE : LINE : COLUMN ": " KEY ": " MESSAGE .
What only the library kernel can tell (a sysctl that does not exist, a route whose
gateway is not reachable) is reported in the same form when the instance starts;
the instance is gone then. The exit status is 125.
.SS What is always there
The loopback interface is up. An interface that is listed is up. An address is
usable at once, without a search for duplicates; give an interface's
net.ipv6.conf.NAME.accept_dad in
.B sysctls
to have it for the link-local address. For the user backend without
.BR addresses ,
the addresses are 10.0.2.15/24 and fd00:7e57:10::15/64, the second address of each
network is the gateway and the third the name server.
"""

FOOT = r""".SH FILES
.TP
.I examples/*.yaml
Profiles to start from;
.B ukl profile list
shows them.
.SH SEE ALSO
.BR ukl-run (1),
.BR ukl (1),
.BR netplan (5),
.BR tc (8),
.BR nft (8)
"""


def escape(text: str) -> str:
    """Text as roff takes it."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return "\n".join(
        r"\&" + line if line.startswith((".", "'")) else line
        for line in text.split("\n")
    )


def inner(annotation: Any) -> tuple[str, type[Record] | None]:
    """How a value is shaped, and the record inside it if there is one."""
    bare = bare_type(annotation)
    if get_origin(bare) is list:
        kind, record = inner(get_args(bare)[0])
        return f"list of {kind}", record
    if get_origin(bare) is dict:
        kind, record = inner(get_args(bare)[1])
        return f"mapping of {kind}", record
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        assert issubclass(bare, Record)
        return "mapping", bare
    if bare is bool:
        return "true or false", None
    return ("number" if bare is int else "text"), None


def default_of(field: Any) -> str:
    """The default, in words; empty where the description has it."""
    if field.is_required():
        return "needed"
    if field.default is PydanticUndefined or field.default is None:
        return ""
    if field.default == "":
        return ""
    value = field.default
    return f"default {str(value).lower() if isinstance(value, bool) else value}"


def entries(record: type[Record], skip: type[Record] | None) -> Iterator[str]:
    """A paragraph for each key of a record that ``skip`` does not have."""
    for name, field in record.model_fields.items():
        if skip is not None and name in skip.model_fields:
            continue
        kind, _ = inner(field.annotation)
        about = ", ".join(word for word in (kind, default_of(field)) if word)
        yield ".TP\n"
        yield f'.BR {escape(field.alias or name)} " ({escape(about)})"\n'
        text = str(field.description).replace("`", "")
        yield escape(" ".join(text.split())) + "\n"
        yield ".br\nExample:\n"
        example = str((field.examples or ["?"])[0])
        yield f".B {escape(field.alias or name)}: {escape(example)}\n"


def records(
    record: type[Record], path: str, seen: dict[type[Record], str]
) -> Iterator[tuple[str, type[Record]]]:
    """Each record with the place where it is used first, outer ones first."""
    seen[record] = path
    yield path, record
    for name, field in record.model_fields.items():
        kind, below = inner(field.annotation)
        if below is None or below in seen:
            continue
        word = field.alias or name
        if issubclass(record, Interface) and name in Interface.model_fields:
            here = f"network.SECTION.NAME.{word}"
        else:
            here = f"{path}.{word}" if path else word
        if "list" in kind:
            here += "[]"
        elif kind.startswith("mapping of"):
            here += ".NAME"
        yield from records(below, here, seen)


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    common = False
    for path, record in records(Profile, "", {}):
        if issubclass(record, Interface) and not common:
            common = True
            parts.append(".SH network.SECTION.NAME\n")
            parts.append(
                "What every interface has: those of ethernets, bridges, vlans, "
                "tunnels, dummy\\-devices and virtual\\-ethernets.\n"
            )
            parts += entries(Interface, None)
        parts.append(f".SH {escape(path) if path else 'TOP LEVEL'}\n")
        first = str(record.__doc__).split("\n")[0]
        short = f"  Instead of a mapping: {record.short}." if record.short else ""
        parts.append(escape(first + short) + "\n")
        parts += entries(record, Interface if issubclass(record, Interface) else None)
    parts.append(FOOT)
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
