"""Reads, merges and checks profiles."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path as FilePath
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hijack.profile import check, words
from hijack.profile.problems import (
    Path,
    Place,
    Problem,
    ProfileErrors,
    quoted,
    suggestion,
)
from hijack.profile.schema import Port, Profile, aliases
from hijack.profile.source import Source, Tree, override, read_file

HINTS = {
    "gateway4": "routes: [{to: default, via: ADDRESS}] says it",
    "gateway6": "routes: [{to: default, via: ADDRESS}] says it",
    "renderer": "there is none; take it out",
    "match": "an instance's interfaces are made by name; take it out",
    "set-name": "an instance's interfaces are made by name; take it out",
    "wakeonlan": "there is no hardware; take it out",
    "link-local": "IPv6 has one, IPv4 has none; take it out",
    "hosts": "did you mean extra_hosts?",
    "wifis": "there is no radio",
    "modems": "there is no modem",
    "bonds": "not in a profile yet; ukl exec NAME ip link add … type bond",
    "vrfs": "not in a profile yet; ukl exec NAME ip link add … type vrf",
    "gateway": "routes: [{to: default, via: ADDRESS}] says it",
    "dns": "nameservers: {addresses: [ADDRESS]} says it",
    "image": "ukl runs programs, not images; take it out",
    "volumes": "the target sees the host's files; mounts: adds file systems",
    "command": "the command follows on ukl-run's command line",
}
"""The mend for keys that people know from netplan and compose."""


class Loaded:
    """A checked profile, and where each of its values was written."""

    def __init__(
        self,
        model: Profile,
        places: dict[Path, Place],
        values: dict[Path, Place],
        sources: Sequence[str],
        files: dict[str, bytes],
    ) -> None:
        self.model = model
        """The settings; see hijack.profile.schema."""
        self.sources = tuple(sources)
        """The names of the sources, as they were given."""
        self.files = files
        """Absolute paths of the files that the profile names, and their bytes."""
        self._places = places
        self._values = values

    def place(self, path: Path) -> Place:
        """Where a value is written; its nearest parent if it is a default."""
        return locate(self._values, path)[1]

    def directory(self, path: Path) -> FilePath:
        """What relative paths in a value start at."""
        return directory_of(self.place(path))

    def file(self, path: Path, name: str) -> bytes:
        """The bytes of a file that the value at ``path`` names."""
        return self.files[os.fspath(absolute_path(self.place(path), name))]

    def dump(self) -> dict[str, Any]:
        """What the profile says, in plain types and in long forms."""
        dumped = self.model.model_dump(by_alias=True, exclude_unset=True)
        if "network" not in dumped:
            default: Tree = {"ethernets": {"eth0": {"backend": {"user": {}}}}}
            dumped = {"network": default} | dumped
        return _plain(dumped)  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"kind", "parameters", "text"}:
            return value["text"]
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


def directory_of(place: Place) -> FilePath:
    """The directory of the file of a place; of an override, the current one."""
    return FilePath(place.file).parent if place.line else FilePath()


def absolute_path(place: Place, name: str) -> FilePath:
    """The absolute path of a file named at ``place``."""
    return FilePath(os.path.abspath(directory_of(place) / name))  # noqa: PTH100


def locate(places: dict[Path, Place], path: Path) -> tuple[Path, Place]:
    """The longest part of a path that was written, and where."""
    for end in range(len(path), -1, -1):
        if path[:end] in places:
            return path[:end], places[path[:end]]
    return (), Place("default")


def load(
    sources: Sequence[str | os.PathLike[str]],
    overrides: Sequence[str] = (),
    publish: Sequence[str] = (),
) -> Loaded:
    """See :func:`hijack.profile.load`."""
    merged = _Merged()
    for name in sources:
        merged.add((), read_file(name))
    for text in overrides:
        merged.add(*override(text))
    merged.publish(publish)
    model, pruned = merged.validate()
    files: dict[str, bytes] = {}
    if model is not None:
        found = check.problems(model, check.names(merged.tree))
        found += _read_files(model, merged, files)
        for path, message in found:
            if not any(_related(path, gone) for gone in pruned):
                merged.report(path, message)
    if merged.problems or model is None:
        raise ProfileErrors(merged.sorted_problems())
    names = [os.fsdecode(name) for name in sources]
    return Loaded(model, merged.places, merged.values, names, files)


def _related(one: Path, other: Path) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _read_files(
    model: Profile, merged: _Merged, files: dict[str, bytes]
) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    for index, mount in enumerate(model.mounts):
        below: Path = ("mounts", index, "source")
        if mount.source is None:
            continue
        image = absolute_path(locate(merged.values, below)[1], mount.source)
        if not image.is_file():
            found.append((below, f"{mount.source}: no such file"))
    for path, name in check.files(model):
        where = absolute_path(locate(merged.values, path)[1], name)
        try:
            files[os.fspath(where)] = where.read_bytes()
        except OSError as error:
            found.append((path, f"{name}: {error.strerror}"))
            continue
        except ValueError as error:
            found.append((path, f"{quoted(name)}: {error}"))
            continue
        if path[-1] in ("private", "shared"):
            try:
                words.wireguard_key(files[os.fspath(where)].decode().strip())
            except ValueError:
                found.append((path, f"{name}: holds no WireGuard key"))
    return found


class _Merged:
    """Sources laid over each other, and what is wrong with them."""

    def __init__(self) -> None:
        self.tree: Tree = None
        self.places: dict[Path, Place] = {}
        self.values: dict[Path, Place] = {}
        self.problems: list[Problem] = []
        self._order: dict[str, int] = {}

    def add(self, path: Path, source: Source) -> None:
        """Lay a source over what is there, its tree at ``path``."""
        self._order.setdefault(source.name, len(self._order))
        tree = source.tree
        for step in reversed(path):
            tree = {step: tree}
        if source.problems and not path and tree is None:
            self.problems += source.problems
            return
        self.problems += source.problems
        if source.problems and path:
            return
        if tree is None and not path and () not in source.values:
            self.values.setdefault((), Place(source.name))
            self.places.setdefault((), Place(source.name))
            return
        tree = self._flatten(tree, source)
        self.tree = self._lay(self.tree, tree, (), source)

    def _flatten(self, tree: Tree, source: Source) -> Tree:
        """Turn compose's lists of NAME=VALUE into mappings, which merge."""
        if not isinstance(tree, dict):
            return tree
        result = dict(tree)
        for key, split in _LISTS.items():
            if not isinstance(tree.get(key), list):
                continue
            made: dict[str, Any] = {}
            for index, item in enumerate(tree[key]):
                place = source.values.get((key, index), source.values[(key,)])
                entry = split(item) if isinstance(item, str) else None
                if entry is None:
                    what = quoted(item) if isinstance(item, str) else words.shown(item)
                    self.problems.append(
                        Problem(place, (key, index), f"{what} is not {_FORMS[key]}")
                    )
                    continue
                name, value = entry
                if name in made and key == "extra_hosts":
                    made[name] += value
                else:
                    made[name] = value
                for table in (source.places, source.values):
                    table[(key, name)] = place
            result[key] = made
        return result

    def _lay(self, below: Tree, above: Tree, path: Path, source: Source) -> Tree:
        for table, theirs in (
            (self.places, source.places),
            (self.values, source.values),
        ):
            if path in theirs:
                table[path] = theirs[path]
        if isinstance(below, dict) and isinstance(above, dict):
            result = dict(below)
            for key, value in above.items():
                result[key] = self._lay(below.get(key), value, (*path, key), source)
            return result
        for table, theirs in (
            (self.places, source.places),
            (self.values, source.values),
        ):
            depth = len(path)
            for old in [p for p in table if len(p) > depth and p[:depth] == path]:
                del table[old]
            for new in [p for p in theirs if len(p) > depth and p[:depth] == path]:
                table[new] = theirs[new]
        return above

    def publish(self, texts: Sequence[str]) -> None:
        """Add ports of the command line, each in the place of the same one."""
        tree = {} if self.tree is None else self.tree
        ports = tree.get("ports") or [] if isinstance(tree, dict) else None
        if not texts or not isinstance(ports, list):
            # What is there instead is complained of when it is checked.
            return
        ours = [_host_side(item) for item in ports]
        ports = list(ports)
        for text in texts:
            side = _host_side(text)
            index = len(ports)
            if side is not None and side in ours:
                index = ours.index(side)
                # Two of the command line do not replace each other: a mistake.
                ours[index] = None
            ports[index : index + 1] = [text]
            place = Place(f"-P {text}")
            self._order.setdefault(place.file, len(self._order))
            for table in (self.places, self.values):
                table.setdefault(("ports",), place)
                for below in [p for p in table if p[:2] == ("ports", index)]:
                    del table[below]
                table[("ports", index)] = place
        self.tree = {**tree, "ports": ports}

    def report(self, path: Path, message: str) -> None:
        """Note a problem of the value at ``path``."""
        known, place = locate(self.values, path)
        self.problems.append(Problem(place, known, message))

    def sorted_problems(self) -> list[Problem]:
        """In the order of the sources, from the top down, each once."""

        def key(problem: Problem) -> tuple[int, int, int, str]:
            place = problem.place
            number = self._order.get(place.file, -1)
            return number, place.line, place.column, str(problem)

        return sorted(dict.fromkeys(self.problems), key=key)

    def validate(self) -> tuple[Profile | None, list[Path]]:
        """The model, without what is wrong with it; and the paths left out."""
        pruned: list[Path] = []
        tree = copy.deepcopy(self.tree)
        for attempt in range(8):
            try:
                return Profile.model_validate(tree), pruned
            except ValidationError as error:
                details = error.errors(include_url=False)
            bad = [self._explain(one, report=attempt == 0) for one in details]
            for path in bad:
                if not path:
                    return None, pruned
                pruned.append(_prune(tree, path))
        return None, pruned

    def _explain(self, error: ErrorDetails, report: bool) -> Path:
        """Note what pydantic found; the path of the value that is wrong."""
        path = tuple(step for step in error["loc"] if step != "[key]")
        kind = error["type"]
        if kind == "missing":
            parent = path[:-1]
            if report:
                self._missing(parent, str(path[-1]))
            return locate(self.values, parent)[0]
        known, place = locate(self.values, path)
        if kind == "extra_forbidden":
            place = locate(self.places, path)[1]
            message = "unknown key" + _unknown(path)
            # The key itself is the place, also of a short form's mapping.
            known = path
        elif error["loc"][-1:] == ("[key]",):
            known, place = locate(self.places, path)
            message = error["msg"]
        elif kind in ("dict_type", "model_type"):
            shown = words.shown(error["input"])
            message = f"give a mapping (KEY: VALUE), not {shown}"
        elif kind == "list_type":
            message = f"give a list, not {words.shown(error['input'])}"
        else:
            message = error["msg"]
        if report:
            self.problems.append(Problem(place, known, message))
        return known

    def _missing(self, parent: Path, key: str) -> None:
        record = _record_at(parent)
        example = ""
        if record is not None:
            for name, field in record.model_fields.items():
                if (field.alias or name) == key and field.examples:
                    example = f", as in {key}: {field.examples[0]}"
        known, place = locate(self.values, parent)
        self.problems.append(Problem(place, known, f"{key} is missing{example}"))


def _prune(tree: Tree, path: Path) -> Path:
    """Take a value out of a tree; of a list's item, the whole list."""
    end = next((i for i, step in enumerate(path) if isinstance(step, int)), len(path))
    path = path[:end]
    for step in path[:-1]:
        if not isinstance(tree, dict) or step not in tree:
            return path
        tree = tree[step]
    if isinstance(tree, dict):
        tree.pop(path[-1], None)
    return path


def _unknown(path: Path) -> str:
    """What to write instead of the unknown key at the end of ``path``."""
    word = str(path[-1])
    record = _record_at(path[:-1])
    known: Iterable[str] = aliases(record) if record is not None else ()
    near = suggestion(word, known)
    if word in HINTS and (not near or word == "hosts"):
        return f" ({HINTS[word]})"
    if not near and known:
        near = f" (known: {', '.join(known)})"
    return near


def _record_at(path: Path) -> type[BaseModel] | None:
    """The record that describes the mapping at ``path``."""
    here: Any = Profile
    for step in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            fields = {
                field.alias or name: field for name, field in here.model_fields.items()
            }
            if step not in fields:
                return None
            here = bare_type(fields[step].annotation)
        elif get_origin(here) is list:
            here = bare_type(get_args(here)[0])
        elif get_origin(here) is dict:
            here = bare_type(get_args(here)[1])
        else:
            return None
    if isinstance(here, type) and issubclass(here, BaseModel):
        return here
    return None


def bare_type(annotation: Any) -> Any:
    """An annotation without ``| None`` and ``Annotated``."""
    while True:
        arguments = get_args(annotation)
        if hasattr(annotation, "__metadata__"):
            annotation = arguments[0]
        elif type(None) in arguments:
            annotation = next(a for a in arguments if a is not type(None))
        else:
            return annotation


def _variable(item: str) -> tuple[str, Any] | None:
    name, equals, value = item.partition("=")
    return (name, value if equals else None) if name else None


def _sysctl(item: str) -> tuple[str, Any] | None:
    name, equals, value = item.partition("=")
    return (name.strip(), value.strip()) if equals and name.strip() else None


def _host_side(item: Tree) -> tuple[object, ...] | None:
    """What a published port takes of the host; None if it is not one."""
    try:
        port = Port.model_validate(item)
    except ValidationError:
        return None
    pairs = port.pairs()
    return port.protocol, ip_address(port.host_ip), pairs[0][0], pairs[-1][0]


def _host(item: str) -> tuple[str, Any] | None:
    match = re.fullmatch(r"\s*([^=:\s]+)\s*[=:]\s*(\S+)\s*", item)
    return (match[1], [match[2]]) if match else None


_LISTS: dict[str, Callable[[str], tuple[str, Any] | None]] = {
    "environment": _variable,
    "sysctls": _sysctl,
    "extra_hosts": _host,
}
_FORMS = {
    "environment": "NAME=VALUE",
    "sysctls": "NAME=VALUE",
    "extra_hosts": "NAME:ADDRESS",
}
