"""Frozen records, for what a start imports.

:mod:`dataclasses` imports ``inspect`` and compiles code for each class: 30 ms of a
start for the records that one needs.  Elsewhere use that.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda cls: cls


def names(cls: type) -> list[str]:
    """The fields of a record class, in their order."""
    return [
        name
        for base in reversed(cls.__mro__)
        for name in getattr(base, "__annotations__", ())
    ]


@dataclass_transform(frozen_default=True)
class Record:
    """Fields are what is annotated in the class; a value there is the default.

    A default is shared, so it must not be one that can change.
    """

    def __init__(self, *values: Any, **named: Any) -> None:
        fields = names(type(self))
        if len(values) > len(fields):
            raise TypeError(f"{type(self).__name__} has {len(fields)} fields")
        given = self.__dict__
        given.update(zip(fields, values, strict=False))
        for name, value in named.items():
            if name not in fields or name in given:
                raise TypeError(f"{type(self).__name__}: {name} is wrong here")
            given[name] = value
        for name in fields:
            if name not in given:
                try:
                    given[name] = getattr(type(self), name)
                except AttributeError:
                    raise TypeError(
                        f"{type(self).__name__}: {name} is missing"
                    ) from None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {type(self).__name__} cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a {type(self).__name__} cannot be changed")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        words = []
        for name, value in self.__dict__.items():
            # A plan's bytes say nothing to a reader.
            word = f"<{len(value)} bytes>" if isinstance(value, bytes) else repr(value)
            words.append(f"{name}={word}")
        return f"{type(self).__name__}({', '.join(words)})"

    def replace(self, **changes: Any) -> Self:
        """The same with some fields changed."""
        return type(self)(**{**self.__dict__, **changes})

    def as_dict(self) -> dict[str, Any]:
        """Field names and values; values that are records stay records."""
        return dict(self.__dict__)
