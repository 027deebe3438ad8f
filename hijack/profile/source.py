"""YAML with places: a tree of mappings, lists and texts, and where each was.

Scalars stay the text that was written (``1.10``, ``no`` and
``52:54:00:12:34:56`` keep their letters); the schema decides what they are.
Only null is known here: it becomes None.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from hijack.profile.problems import Path, Place, Problem

Tree = Any
"""dict[str, Tree], list[Tree], str or None."""

MAX_BYTES = 1 << 20
MAX_NODES = 100_000
MAX_DEPTH = 50

_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"
_CORE = "tag:yaml.org,2002:"
_TAGS = ("", "str", "int", "float", "bool", "null", "timestamp", "seq", "map", "value")
"""What scalars and collections are; the rest would make objects."""


@dataclass
class Source:
    """One source, read: its tree, and the place of each key and value."""

    name: str
    tree: Tree = None
    places: dict[Path, Place] = field(default_factory=dict)
    """Of a mapping's entry: where its key is; of a list's item: where it begins."""
    values: dict[Path, Place] = field(default_factory=dict)
    """Where values begin."""
    problems: list[Problem] = field(default_factory=list)


def read_file(path: str | os.PathLike[str]) -> Source:
    """Read a YAML file; what is wrong with it is in ``problems``."""
    name = os.fsdecode(path)
    source = Source(name)
    try:
        with open(path, "rb") as stream:  # noqa: PTH123
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        message = error.strerror or str(error)
        source.problems.append(Problem(Place(name), (), message))
        return source
    except ValueError as error:  # a NUL in the name
        source.problems.append(Problem(Place(name), (), str(error)))
        return source
    if len(data) > MAX_BYTES:
        source.problems.append(
            Problem(Place(name), (), f"is larger than {MAX_BYTES >> 10} KiB")
        )
        return source
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - (before.rfind(b"\n") + 1) + 1
        source.problems.append(
            Problem(Place(name, line, column), (), "is not UTF-8 text")
        )
        return source
    return read_text(text, source)


def read_text(text: str, source: Source, *, lines: bool = True) -> Source:
    """Read YAML into ``source``; without ``lines`` places are the name alone."""
    _Reader(source, lines).read(text)
    return source


class _Reader:
    def __init__(self, source: Source, lines: bool) -> None:
        self.source = source
        self.lines = lines
        self.nodes = 0

    def read(self, text: str) -> None:
        try:
            node = YAML(typ="rt", pure=True).compose(text)
        except MarkedYAMLError as error:
            self._syntax(error)
        except ReaderError as error:
            before = text[: error.position]
            place = self._at(before.count("\n"), len(before) - before.rfind("\n") - 1)
            code = f"U+{ord(text[error.position]):04X}"
            self._problem(place, (), f"the character {code} is not allowed")
        except RecursionError:
            self._problem(Place(self.source.name), (), "is nested too deeply")
        except (YAMLError, ValueError, KeyError, AttributeError, IndexError) as error:
            words = " ".join(str(error).split()) or type(error).__name__
            self._problem(Place(self.source.name), (), f"is not YAML: {words}")
        else:
            if node is not None:
                self.source.tree = self._convert(node, (), 0)

    def _syntax(self, error: MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        place = (
            Place(self.source.name)
            if mark is None
            else self._at(mark.line, mark.column)
        )
        words = " ".join((error.problem or str(error)).split())
        if "'\\t'" in words:
            words += " (indent with spaces)"
        elif "mapping values are not allowed" in words:
            words += " (quote a text that has ': ' in it)"
        elif "single document" in str(error):
            words = "a profile is one document"
        self._problem(place, (), f"is not YAML: {words}")

    def _problem(self, place: Place, path: Path, message: str) -> None:
        self.source.problems.append(Problem(place, path, message))

    def _at(self, line: int, column: int) -> Place:
        if not self.lines:
            return Place(self.source.name)
        return Place(self.source.name, line + 1, column + 1)

    def _place(self, node: Node) -> Place:
        return self._at(node.start_mark.line, node.start_mark.column)

    def _convert(self, node: Node, path: Path, depth: int) -> Tree:
        place = self._place(node)
        self.source.values.setdefault(path, place)
        self.source.places.setdefault(path, place)
        self.nodes += 1
        if self.nodes == MAX_NODES:
            self._problem(place, path, f"more than {MAX_NODES} values")
        if self.nodes >= MAX_NODES:
            return None
        if depth > MAX_DEPTH:
            # An alias to what it is in gets here too.
            if not any("nested" in p.message for p in self.source.problems):
                self._problem(place, path, "is nested too deeply")
            return None
        tag = str(node.tag or "")
        if tag.removeprefix(_CORE) not in _TAGS:
            tag = tag.replace(_CORE, "!!")
            self._problem(place, path, f"the tag {tag} means nothing here")
        if isinstance(node, ScalarNode):
            if tag == _NULL:
                return None
            return str(node.value)
        if isinstance(node, SequenceNode):
            return [
                self._convert(item, (*path, index), depth + 1)
                for index, item in enumerate(node.value)
            ]
        assert isinstance(node, MappingNode)
        return self._mapping(node, path, depth)

    def _mapping(self, node: MappingNode, path: Path, depth: int) -> Tree:
        result: dict[str, Tree] = {}
        merged: list[Node] = []
        for key, value in node.value:
            if str(key.tag) == _MERGE:
                merged += value.value if isinstance(value, SequenceNode) else [value]
                continue
            if not isinstance(key, ScalarNode):
                self._problem(self._place(key), path, "a key must be a word")
                continue
            name = str(key.value)
            if name in result:
                first = self.source.places[(*path, name)]
                self._problem(
                    self._place(key),
                    (*path, name),
                    f"is there twice (first in line {first.line})"
                    if first.line
                    else "is there twice",
                )
                continue
            self.source.places[(*path, name)] = self._place(key)
            result[name] = self._convert(value, (*path, name), depth + 1)
        for other in merged:
            if not isinstance(other, MappingNode):
                self._problem(
                    self._place(other), path, "<< takes a mapping or a list of them"
                )
                continue
            inherited = self._convert(other, path, depth + 1)
            if isinstance(inherited, dict):
                result = inherited | result
        return result


def override(text: str) -> tuple[Path, Source]:
    """Read one ``KEY=VALUE``; a key with dots in it is quoted: ``a."b.c".d``."""
    source = Source(f"-s {text}")
    key, equals, value = text.partition("=")
    place = Place(source.name)
    if not equals:
        source.problems.append(Problem(place, (), "write KEY=VALUE"))
        return (), source
    path = _split(key)
    if path is None:
        source.problems.append(
            Problem(place, (), f"{key!r} is not a key: write words with dots between")
        )
        return (), source
    inner = read_text(value, Source(source.name), lines=False)
    source.tree = inner.tree
    source.problems = [
        Problem(p.place, (*path, *p.path), p.message) for p in inner.problems
    ]
    for part, made in ((inner.places, source.places), (inner.values, source.values)):
        for below in part:
            made[(*path, *below)] = place
    for end in range(len(path)):
        source.places[path[:end]] = source.values[path[:end]] = place
    return path, source


def _split(key: str) -> Path | None:
    """The steps of a dotted key; None if there is an empty one."""
    steps: list[str] = []
    word, quote, was_quoted = "", "", False
    for letter in key:
        if quote:
            if letter == quote:
                quote = ""
            else:
                word += letter
        elif letter in "\"'" and not word:
            quote, was_quoted = letter, True
        elif letter == ".":
            if not word and not was_quoted:
                return None
            steps.append(word)
            word, was_quoted = "", False
        else:
            word += letter
    if quote or (not word and not was_quoted):
        return None
    # A sysctl's dots are its own: sysctls.net.core.somaxconn=1024 is meant so.
    steps.append(word)
    if steps[0] == "sysctls" and len(steps) > 2:
        steps = ["sysctls", ".".join(steps[1:])]
    return tuple(steps)
