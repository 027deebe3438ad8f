"""Compare the objects of two builds of the library kernel.

    python tests/compare_objects.py OUT OUT

For whoever changes which headers are precompiled, or the version of Linux
(HACKING.md, "Precompiled headers"): the code must be the same without them.  Each OUT
is the directory `out-base` of a build.  What the compiler numbers as it goes is taken
for equal.  Prints each section that differs, and exits 1 if any does.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

# Of the build itself, and what is linked again and again at its end.
_NOT_THE_KERNEL = ("scripts/", ".tmp", "vmlinux", "arch/lkl/headers/")
_NOT_CODE = ("SHT_SYMTAB", "SHT_STRTAB", "SHT_NULL")

Section = tuple[str, object]


def _plain(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def sections(path: Path) -> list[Section]:
    """Names and contents of the sections of an object that mean something."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        symbols = elf.get_section_by_name(".symtab")
        every = list(elf.iter_sections())
        found: list[Section] = []
        for section in every:
            if section["sh_type"] in _NOT_CODE or section.name == ".comment":
                continue
            if isinstance(section, RelocationSection):
                entries = []
                for entry in section.iter_relocations():
                    symbol = symbols.get_symbol(entry["r_info_sym"])
                    where = symbol["st_shndx"]
                    name = symbol.name or (
                        every[where].name if isinstance(where, int) else ""
                    )
                    entries.append(
                        (
                            entry["r_offset"],
                            entry["r_info_type"],
                            _plain(name),
                            entry["r_addend"],
                        )
                    )
                found.append((_plain(section.name), sorted(entries)))
            elif section["sh_type"] == "SHT_NOBITS":
                found.append((_plain(section.name), section["sh_size"]))
            else:
                found.append((_plain(section.name), section.data()))
    return sorted(found, key=lambda one: (one[0], repr(one[1])))


def objects(out: Path) -> dict[str, Path]:
    """The kernel's objects below `out`, by their names."""
    named = {str(path.relative_to(out)): path for path in out.rglob("*.o")}
    return {n: p for n, p in named.items() if not n.startswith(_NOT_THE_KERNEL)}


def differences(one: Path, other: Path) -> list[str]:
    """The names of the sections in which two objects differ."""
    ours, theirs = sections(one), sections(other)
    if len(ours) != len(theirs):
        return [f"{len(ours)} sections, {len(theirs)} sections"]
    return [a[0] for a, b in zip(ours, theirs, strict=True) if a != b]


def main(arguments: list[str]) -> int:
    """Print what differs, and say by the exit status whether anything does."""
    if len(arguments) != 2:
        print("usage: compare_objects.py OUT OUT", file=sys.stderr)
        return 2
    first, second = (objects(Path(name)) for name in arguments)
    differ = 0
    for name in sorted(first.keys() | second.keys()):
        if name not in first or name not in second:
            print(f"{name}: only in {arguments[name not in first]}")
            differ += 1
            continue
        found = differences(first[name], second[name])
        if found:
            print(f"{name}: {', '.join(found)}")
            differ += 1
    print(f"{len(first)} objects, {differ} differ")
    return 1 if differ or not first else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
