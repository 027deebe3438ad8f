"""Queueing disciplines in tc's words: ``netem delay 50ms loss 1%``.

Times become nanoseconds, rates bytes per second, sizes bytes, percentages
parts of 2^32 - 1, which is what the kernel takes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hijack.profile.problems import quoted, suggestion

_TIMES = {
    "": 1_000,
    "s": 1_000_000_000,
    "sec": 1_000_000_000,
    "secs": 1_000_000_000,
    "ms": 1_000_000,
    "msec": 1_000_000,
    "msecs": 1_000_000,
    "us": 1_000,
    "usec": 1_000,
    "usecs": 1_000,
    "ns": 1,
    "nsec": 1,
    "nsecs": 1,
}
_PREFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12} | {
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}
_SIZES = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30} | {
    "kb": 2**10,
    "mb": 2**20,
    "gb": 2**30,
    "kbit": 125,
    "mbit": 125_000,
    "gbit": 125_000_000,
}
_NUMBER = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)([A-Za-z%]*)")


class QdiscError(ValueError):
    """What is wrong with a discipline's words, in one sentence."""


@dataclass(frozen=True)
class Qdisc:
    """A discipline and its parameters, in the kernel's units."""

    kind: str
    parameters: dict[str, int]
    text: str
    """The same in tc's words."""


def _split(word: str, what: str, example: str) -> tuple[float, str]:
    match = _NUMBER.fullmatch(word)
    if not match:
        raise QdiscError(f"{quoted(word)} is not {what} such as {example}")
    return float(match[1]), match[2]


def _scaled(word: str, units: dict[str, int], what: str, example: str) -> int:
    number, unit = _split(word, what, example)
    factor = units.get(unit.lower())
    if factor is None:
        raise QdiscError(f"{quoted(word)} is not {what} such as {example}")
    return round(number * factor)


def _time(word: str) -> int:
    result = _scaled(word, _TIMES, "a time", "50ms")
    if result > 3600 * 10**9:
        raise QdiscError(f"{word} is longer than an hour")
    return result


def _rate(word: str) -> int:
    number, unit = _split(word, "a rate", "10mbit")
    lower = unit.lower() or "bit"
    for ending, divisor in (("bit", 8), ("bps", 1)):
        factor = _PREFIXES.get(lower.removesuffix(ending))
        if lower.endswith(ending) and factor is not None:
            result = round(number * factor / divisor)
            if not 0 < result < 2**62:
                break
            return result
    raise QdiscError(f"{quoted(word)} is not a rate such as 10mbit")


def _size(word: str) -> int:
    result = _scaled(word, _SIZES, "a size", "32kb")
    if not 0 < result < 2**32:
        raise QdiscError(f"{word} is out of range for a size")
    return result


def _percent(word: str) -> int:
    number, unit = _split(word, "a percentage", "1%")
    if unit != "%" or number > 100:
        raise QdiscError(f"{quoted(word)} is not a percentage such as 1%")
    return round(number / 100 * 0xFFFFFFFF)


def _count(word: str) -> int:
    if not re.fullmatch(r"\d{1,10}", word) or int(word) >= 2**32:
        raise QdiscError(f"{quoted(word)} is not a number")
    return int(word)


_Reader = Callable[[str], int]


@dataclass(frozen=True)
class _Word:
    """A word with ``needed`` values and then some more; or a flag's value."""

    values: tuple[tuple[str, _Reader], ...] = ()
    needed: int = 1
    flag: tuple[str, int] | None = None


def _one(name: str, read: _Reader) -> _Word:
    return _Word(((name, read),))


def _share(name: str) -> _Word:
    return _Word(((name, _percent), (f"{name}_correlation", _percent)))


_ECN = {"ecn": _Word(flag=("ecn", 1)), "noecn": _Word(flag=("ecn", 0))}

GRAMMAR: dict[str, dict[str, _Word]] = {
    "netem": {
        "delay": _Word(
            (("delay", _time), ("jitter", _time), ("delay_correlation", _percent))
        ),
        "loss": _share("loss"),
        "duplicate": _share("duplicate"),
        "corrupt": _share("corrupt"),
        "reorder": _share("reorder"),
        "gap": _one("gap", _count),
        "rate": _one("rate", _rate),
        "limit": _one("limit", _count),
        "ecn": _Word(flag=("ecn", 1)),
    },
    "fq": {
        "limit": _one("limit", _count),
        "flow_limit": _one("flow_limit", _count),
        "quantum": _one("quantum", _size),
        "initial_quantum": _one("initial_quantum", _size),
        "maxrate": _one("maxrate", _rate),
        "low_rate_threshold": _one("low_rate_threshold", _rate),
        "buckets": _one("buckets", _count),
        "refill_delay": _one("refill_delay", _time),
        "ce_threshold": _one("ce_threshold", _time),
        "timer_slack": _one("timer_slack", _time),
        "horizon": _one("horizon", _time),
        "horizon_cap": _Word(flag=("horizon_drop", 0)),
        "horizon_drop": _Word(flag=("horizon_drop", 1)),
        "pacing": _Word(flag=("pacing", 1)),
        "nopacing": _Word(flag=("pacing", 0)),
    },
    "fq_codel": {
        "limit": _one("limit", _count),
        "flows": _one("flows", _count),
        "target": _one("target", _time),
        "interval": _one("interval", _time),
        "quantum": _one("quantum", _size),
        "ce_threshold": _one("ce_threshold", _time),
        "memory_limit": _one("memory_limit", _size),
        "drop_batch": _one("drop_batch", _count),
        **_ECN,
    },
    "codel": {
        "limit": _one("limit", _count),
        "target": _one("target", _time),
        "interval": _one("interval", _time),
        "ce_threshold": _one("ce_threshold", _time),
        **_ECN,
    },
    "tbf": {
        "rate": _one("rate", _rate),
        "burst": _one("burst", _size),
        "latency": _one("latency", _time),
        "limit": _one("limit", _size),
    },
    "pfifo": {"limit": _one("limit", _count)},
    "bfifo": {"limit": _one("limit", _size)},
    "pfifo_fast": {},
    "noqueue": {},
}
"""The disciplines, and their words with what follows each."""

CLASSFUL = ("htb", "hfsc", "prio", "drr", "qfq", "ets", "cbs", "taprio", "mqprio")


def parse(text: str) -> Qdisc:
    """Read ``KIND [WORD VALUE...]...``; raises QdiscError."""
    words = text.split()
    if not words:
        raise QdiscError("name a discipline, as in: netem delay 50ms")
    kind, rest = words[0], words[1:]
    grammar = GRAMMAR.get(kind)
    if grammar is None:
        if kind in CLASSFUL:
            raise QdiscError(
                f"{kind} is made of classes, which this line cannot say "
                "(run tc in the instance: ukl exec NAME tc qdisc …)"
            )
        near = suggestion(kind, GRAMMAR) or f" (one of {', '.join(GRAMMAR)})"
        raise QdiscError(f"unknown discipline {quoted(kind)}{near}")
    parameters: dict[str, int] = {}
    while rest:
        word = rest.pop(0)
        rule = grammar.get(word)
        if rule is None:
            near = suggestion(word, grammar)
            if not near:
                near = f" (one of {', '.join(grammar)})" if grammar else ""
            raise QdiscError(f"{kind}: unknown word {quoted(word)}{near}")
        if rule.flag:
            parameters[rule.flag[0]] = rule.flag[1]
            continue
        _values(kind, word, rule, rest, grammar, parameters)
    _check(kind, parameters)
    return Qdisc(kind, parameters, " ".join(words))


def _values(
    kind: str,
    word: str,
    rule: _Word,
    rest: list[str],
    grammar: dict[str, _Word],
    parameters: dict[str, int],
) -> None:
    """Take a word's values from ``rest``."""
    for index, (name, read) in enumerate(rule.values):
        if not rest or rest[0] in grammar:
            if index < rule.needed:
                raise QdiscError(f"{kind}: {word} needs a value")
            return
        if index >= rule.needed and not rest[0][0].isdigit():
            return
        try:
            parameters[name] = read(rest.pop(0))
        except QdiscError as error:
            raise QdiscError(f"{kind} {word}: {error}") from None


def _check(kind: str, parameters: dict[str, int]) -> None:
    if kind == "netem":
        if "delay" not in parameters and "reorder" in parameters:
            raise QdiscError("netem: reorder needs a delay")
        if "gap" in parameters and "reorder" not in parameters:
            raise QdiscError("netem: gap needs reorder")
    if kind == "tbf":
        for word in ("rate", "burst"):
            if word not in parameters:
                raise QdiscError(f"tbf needs {word}, as in: {_TBF}")
        if ("latency" in parameters) == ("limit" in parameters):
            raise QdiscError(f"tbf needs latency or limit, as in: {_TBF}")


_TBF = "tbf rate 10mbit burst 32kb latency 50ms"


def from_mapping(value: dict[str, object]) -> str:
    """tc's words of ``{netem: {delay: 50ms, loss: 1%}}``; raises QdiscError."""
    if len(value) != 1:
        raise QdiscError("give one discipline, as in: netem: {delay: 50ms}")
    ((kind, inner),) = value.items()
    words = [kind]
    if inner is not None and not isinstance(inner, dict):
        raise QdiscError(f"{kind}: give a mapping, as in: netem: {{delay: 50ms}}")
    for key, argument in (inner or {}).items():
        given: Sequence[object]
        given = argument if isinstance(argument, list) else [argument]
        if any(isinstance(item, dict | list) for item in given):
            raise QdiscError(f"{kind}: {key}: give a value or a list of them")
        words.append(str(key))
        words += [
            word
            for item in given
            if item is not None and str(item).lower() != "true"
            for word in str(item).split()
        ]
    return " ".join(words)
