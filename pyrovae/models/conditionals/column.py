"""A column of a table, as a model knows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable


class Column(NamedTuple):
    """A column of numbers.

    Attributes:
        name: its name.
        kind: one of `KINDS`.
        classes: how many, where its numbers are those of classes.
        center: where its numbers lie: a mean, of logarithms where the kind is positive or a count.
        spread: their standard deviation, likewise.
        shares: of each class, how often it occurs.
        ends: of each class, between which two numbers it lies, where it is an interval.

    Examples:
        >>> Column("age", "real", center=40.0, spread=12.0).name
        'age'
    """

    name: str
    kind: str
    classes: int = 0
    center: float = 0.0
    spread: float = 1.0
    shares: tuple[float, ...] = ()
    ends: tuple[tuple[float, float], ...] = ()


@runtime_checkable
class HasColumns(Protocol):
    """What describes a table, such as `pv.tables.Schema`."""

    @property
    def columns(self) -> Sequence[Column]: ...  # noqa: D102 - said by the name of the protocol
