"""A discipline's parameters as TCA_OPTIONS (include/uapi/linux/pkt_sched.h)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from hijack.profile.qdisc import Qdisc

_TICK_SHIFT = 6
"""PSCHED_SHIFT: a tick is 64 ns."""

Parameters = dict[str, int]


def attribute(kind: int, data: bytes) -> bytes:
    """One netlink attribute, padded."""
    return struct.pack("=HH", len(data) + 4, kind) + data + bytes(-len(data) % 4)


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", min(value, 0xFFFFFFFF)))


def _ticks(ns: int) -> int:
    return min(ns >> _TICK_SHIFT, 0xFFFFFFFF)


def _listed(table: dict[str, tuple[int, int]], given: Parameters) -> bytes:
    """32-bit attributes by name; each is divided by its unit."""
    return b"".join(
        _u32(table[name][0], value // table[name][1]) for name, value in given.items()
    )


def _netem(given: Parameters) -> bytes:
    get = given.get
    # struct tc_netem_qopt
    data = struct.pack(
        "=6I",
        _ticks(get("delay", 0)),
        get("limit", 1000),
        get("loss", 0),
        get("gap", 1 if "reorder" in given else 0),
        get("duplicate", 0),
        _ticks(get("jitter", 0)),
    )
    correlations = [
        get(f"{word}_correlation", 0) for word in ("delay", "loss", "duplicate")
    ]
    if any(correlations):
        data += attribute(1, struct.pack("=3I", *correlations))
    for kind, word in ((3, "reorder"), (4, "corrupt")):
        if word in given:
            pair = struct.pack("=2I", given[word], get(f"{word}_correlation", 0))
            data += attribute(kind, pair)
    if "rate" in given:
        rate = given["rate"]
        data += attribute(6, struct.pack("=IiIi", min(rate, 0xFFFFFFFF), 0, 0, 0))
        if rate >= 1 << 32:
            data += attribute(8, struct.pack("=Q", rate))
    if get("ecn"):
        data += _u32(7, 1)
    # In nanoseconds, beside the ticks.
    data += attribute(10, struct.pack("=q", get("delay", 0)))
    return data + attribute(11, struct.pack("=q", get("jitter", 0)))


_FQ = {
    "limit": (1, 1),
    "flow_limit": (2, 1),
    "quantum": (3, 1),
    "initial_quantum": (4, 1),
    "pacing": (5, 1),
    "maxrate": (7, 1),
    "refill_delay": (9, 1000),
    "low_rate_threshold": (11, 1),
    "ce_threshold": (12, 1000),
    "timer_slack": (13, 1),
    "horizon": (14, 1000),
    "horizon_drop": (15, 1),
}


def _fq(given: Parameters) -> bytes:
    rest = dict(given)
    data = b""
    if "buckets" in rest:
        data = _u32(8, max(rest.pop("buckets").bit_length() - 1, 0))
    data += _listed(
        {k: v for k, v in _FQ.items() if k != "horizon_drop"},
        {k: v for k, v in rest.items() if k != "horizon_drop"},
    )
    if "horizon_drop" in rest:
        data += attribute(15, bytes([rest["horizon_drop"]]))
    return data


_FQ_CODEL = {
    "target": (1, 1000),
    "limit": (2, 1),
    "interval": (3, 1000),
    "ecn": (4, 1),
    "flows": (5, 1),
    "quantum": (6, 1),
    "ce_threshold": (7, 1000),
    "drop_batch": (8, 1),
    "memory_limit": (9, 1),
}
_CODEL = {
    "target": (1, 1000),
    "limit": (2, 1),
    "interval": (3, 1000),
    "ecn": (4, 1),
    "ce_threshold": (5, 1000),
}


def _tbf(given: Parameters) -> bytes:
    rate, burst = given["rate"], given["burst"]
    if "limit" in given:
        limit = given["limit"]
    else:
        limit = rate * given["latency"] // 10**9 + burst
    # struct tc_ratespec: the kernel computes with the rate itself when the
    # link layer is named, so no table of times is sent.
    ethernet = struct.pack("=BBHhHI", 0, 1, 0, -1, 0, min(rate, 0xFFFFFFFF))
    none = bytes(len(ethernet))
    buffer = _ticks(burst * 10**9 // rate)
    parms = ethernet + none + struct.pack("=III", min(limit, 0xFFFFFFFF), buffer, 0)
    data = attribute(1, parms) + _u32(6, burst)
    if rate >= 1 << 32:
        data += attribute(4, struct.pack("=Q", rate))
    return data


def _fifo(given: Parameters) -> bytes:
    return struct.pack("=I", given["limit"]) if given else b""


_ENCODERS: dict[str, Callable[[Parameters], bytes]] = {
    "netem": _netem,
    "fq": _fq,
    "fq_codel": lambda given: _listed(_FQ_CODEL, given),
    "codel": lambda given: _listed(_CODEL, given),
    "tbf": _tbf,
    "pfifo": _fifo,
    "bfifo": _fifo,
    "pfifo_fast": _fifo,
    "noqueue": _fifo,
}


def options(qdisc: Qdisc) -> bytes:
    """The payload of TCA_OPTIONS; empty if there is nothing to say."""
    return _ENCODERS[qdisc.kind](qdisc.parameters)
