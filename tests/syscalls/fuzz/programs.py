"""What Hypothesis makes: programs that ``steps.c`` understands."""

from __future__ import annotations

from hypothesis import strategies as st

Strategy = st.SearchStrategy


def number(most: int) -> Strategy[int]:
    return st.integers(0, most)


FD = st.one_of(number(1), number(3), number(3), number(15), number(34))
"""See choose() in steps.c."""
NEAR = st.one_of(number(1), number(2), FD)
ADDRESS = st.one_of(number(4), number(13), st.integers(10, 14))
SIZE = number(7)
FLAGS = number(7)
PAIR = st.tuples(FD, FLAGS).map(lambda pair: f"{pair[0]} {pair[1]}")


def op(name: str, *arguments: Strategy[int]) -> Strategy[str]:
    return st.tuples(*arguments).map(
        lambda values: " ".join([name, *(str(value) for value in values)])
    )


def listing(name: str, how: int) -> Strategy[str]:
    """A number, and pairs of a descriptor and what is asked."""
    return st.tuples(number(how), st.lists(PAIR, max_size=6)).map(
        lambda parts: " ".join([name, str(parts[0]), *parts[1]])
    )


MAKERS = [
    op("connected", number(3)),
    op("connected", number(3)),
    op("listening", number(3)),
    op("listening", number(3)),
    op("socket", number(1), number(1)),
    op("socket", number(6), number(3)),
    op("socket", number(18), number(3)),
    op("socketpair", number(6), number(3)),
    op("pipe", number(3)),
    op("eventfd", number(3), number(3)),
    op("timerfd", number(1)),
    op("memfd", number(1)),
    op("open", number(7), number(7)),
    op("epoll", number(1)),
]
NAMES = [
    op("bind", FD, ADDRESS),
    op("listen", FD, number(5)),
    op("connect", FD, ADDRESS),
    op("connect", NEAR, st.integers(10, 14)),
    op("accept", NEAR, number(7)),
    op("accept", NEAR, number(15)),
    op("accept", FD, number(15)),
    op("getsockname", FD, number(3)),
    op("getpeername", FD, number(3)),
]
DATA = [
    op("send", NEAR, SIZE, FLAGS),
    op("send", number(1), SIZE, number(1)),
    op("recv", number(1), SIZE, number(2)),
    op("write", number(1), SIZE),
    op("read", number(1), SIZE),
    op("sendto", NEAR, ADDRESS, SIZE),
    op("recv", NEAR, SIZE, FLAGS),
    op("recvfrom", NEAR, SIZE, FLAGS, number(1)),
    op("read", NEAR, SIZE),
    op("write", NEAR, SIZE),
    op("readv", NEAR, number(39), number(3)),
    op("writev", NEAR, number(39), number(3)),
    op("pread", NEAR, SIZE, number(20)),
    op("pwrite", NEAR, SIZE, number(20)),
    op("sendmsg", NEAR, number(39), number(3), ADDRESS, FD),
    op("recvmsg", NEAR, number(39), FLAGS, number(3)),
    op("sendmmsg", NEAR, number(3), SIZE),
    op("recvmmsg", NEAR, number(3), SIZE, number(1)),
    op("shutdown", NEAR, number(3)),
]
CROSSING = [
    op("sendfile", FD, FD, number(50), number(1)),
    op("splice", FD, FD, SIZE, number(7)),
    op("tee", FD, FD, SIZE),
    op("copy_range", FD, FD, SIZE),
]
NUMBERS = [
    op("close", FD),
    op("close", FD),
    op("dup", FD),
    op("dup2", FD, number(39)),
    op("dup3", FD, number(39), number(3)),
    op("dupfd", FD, number(39), number(1)),
    op("getfd", FD),
    op("setfd", FD, number(3)),
    op("close_range", number(39), number(11), number(15)),
    op("limit", number(40)),
    op("list"),
    op("dirfd"),
]
PROPERTIES = [
    op("getfl", FD),
    op("setfl", FD, number(3)),
    op("fcntl", FD, number(7), number(1)),
    op("ioctl", FD, number(12), number(1)),
    op("getsockopt", FD, number(52), number(5)),
    op("setsockopt", FD, number(52), FLAGS, number(4)),
    op("settime", FD, number(3)),
    op("lseek", FD, number(40), number(3)),
    op("ftruncate", FD, number(10)),
    op("fstat", FD),
    op("misc", FD, FLAGS),
    op("fault", FD, number(13)),
]
WAITING = [
    listing("poll", 8),
    listing("ppoll", 15),
    listing("select", 31),
    op("epoll_ctl", FD, number(5), FD, number(10)),
    op("epoll_ctl", number(1), number(3), NEAR, number(10)),
    op("epoll_wait", number(1), number(7)),
    op("epoll_wait", NEAR, number(7)),
    listing("watch", 3),
    listing("watch", 3),
]
PROCESSES = [
    op("fork", number(5), number(7)),
    op("exec", number(5), number(3)),
]


def step() -> Strategy[str]:
    plain = st.one_of(
        st.one_of(MAKERS),
        st.one_of(MAKERS),
        st.one_of(NAMES),
        st.one_of(DATA),
        st.one_of(DATA),
        st.one_of(NUMBERS),
        st.one_of(PROPERTIES),
        st.one_of(WAITING),
        st.one_of(CROSSING),
    )
    return st.one_of(
        *([plain] * 8),
        plain.map(lambda line: f"*{line}"),
        st.one_of(PROCESSES),
    )


def programs() -> Strategy[list[str]]:
    """Mostly long ones: hypothesis itself likes short lists."""
    steps = st.one_of(
        st.lists(step(), min_size=1, max_size=40),
        st.lists(step(), min_size=12, max_size=40),
        st.lists(step(), min_size=20, max_size=40),
        st.lists(step(), min_size=30, max_size=60),
    )
    first = st.lists(st.one_of(MAKERS), max_size=4)
    return st.tuples(first, steps).map(lambda parts: parts[0] + parts[1])
