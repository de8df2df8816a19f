"""What the columns of a table are, and the family of distributions that each kind has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.conditional import bounded
from pyrovae.models.conditionals.distributions import InflatedNegativeBinomial, OpenBeta, ZeroOrLogNormal

_PEAKS = 5  # of a column that has several
_FAR = 6.0  # spreads from a column's centre that a network's mean comes near to, and never past


class Column(NamedTuple):
    """A column of numbers.

    Attributes:
        name: its name.
        kind: one of `KINDS`.
        classes: how many, where its numbers are those of classes.
        center: where its numbers lie: a mean, of logarithms where the kind is positive or a count.
        spread: their standard deviation, likewise.
        shares: of each class, how often it occurs.

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


@runtime_checkable
class HasColumns(Protocol):
    """What describes a table, such as `pv.tables.Schema`."""

    @property
    def columns(self) -> Sequence[Column]: ...  # noqa: D102


class Kind(NamedTuple):
    """A kind of column.

    Attributes:
        words: what it is for, in words.
        outputs: how many numbers of a network one column takes.
        make: from several columns of one size, the network's numbers (..., columns, outputs) and a free number for
            each column, their distributions (..., columns).
    """

    words: str
    outputs: Callable[[Column], int]
    make: Callable[[Sequence[Column], Tensor, Tensor], Any]


def _numbers(columns: Sequence[Column], field: str, like: Tensor) -> Tensor:
    # In double precision: a date in seconds has a level of 1e9.
    return torch.tensor([getattr(column, field) for column in columns], dtype=torch.float64, device=like.device)


def _mean(columns: Sequence[Column], raw: Tensor) -> Tensor:
    """Where a number, or its logarithm, lies: off the data a network goes anywhere, and a logarithm's is in exp()."""
    off = bounded(raw[..., 0], -_FAR, _FAR)
    return _numbers(columns, "center", raw) + _numbers(columns, "spread", raw) * off


def _level(columns: Sequence[Column], raw: Tensor) -> Tensor:
    return _mean(columns, raw).to(raw.dtype)


def _real(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    spread, loc = _numbers(columns, "spread", raw), _mean(columns, raw)
    return dist.Normal(loc, (spread * bounded(free).exp()).expand(loc.shape), validate_args=False)


def _heavy(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    spread, loc = _numbers(columns, "spread", raw), _mean(columns, raw)
    return dist.StudentT(4.0, loc, (spread * bounded(free).exp()).expand(loc.shape), validate_args=False)


def _peaked(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    """A mixture of normals, which begin side by side over the column's range.

    No component is narrower than 2 % of the column: its density on a value that occurs often would have no end.
    """
    logits, off, log_scale = raw.unflatten(-1, (3, _PEAKS)).unbind(-2)
    start = torch.linspace(-1.5, 1.5, _PEAKS, dtype=raw.dtype, device=raw.device)
    center, spread = (_numbers(columns, field, raw).unsqueeze(-1) for field in ("center", "spread"))
    loc = center + spread * bounded(off + start, -_FAR, _FAR)
    scale = spread * bounded(log_scale + free.unsqueeze(-1) - 1.0, -4.0, 4.0).exp()
    weights = dist.Categorical(logits=bounded(logits), validate_args=False)
    return dist.MixtureSameFamily(weights, dist.Normal(loc, scale, validate_args=False), validate_args=False)


def _positive(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    scale = _numbers(columns, "spread", raw).to(raw.dtype) * bounded(free).exp()
    loc = _level(columns, raw)
    return dist.LogNormal(loc, scale.expand(loc.shape), validate_args=False)


def _positive_or_zero(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    scale = _numbers(columns, "spread", raw).to(raw.dtype) * bounded(free).exp()
    loc = _level(columns, raw)
    base = _logits(columns, raw)
    zeros = bounded(raw[..., 1]) + base[:, 0] - base[:, 1]
    return ZeroOrLogNormal(zeros, loc, scale.expand(loc.shape), validate_args=False)


def _count(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    total = bounded(free).exp().expand(raw[..., 0].shape)
    return dist.NegativeBinomial(total, logits=_level(columns, raw) - total.log(), validate_args=False)


def _inflated_count(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    counts = _count(columns, raw, free)
    return InflatedNegativeBinomial(bounded(raw[..., 1] - 2.0), counts.total_count, counts.logits, validate_args=False)


def _logits(columns: Sequence[Column], raw: Tensor) -> Tensor:
    """The logarithms of the classes' shares, (columns, classes)."""
    shares = [column.shares or (1.0,) * max(column.classes, 2) for column in columns]
    return torch.tensor(shares, device=raw.device).clamp(min=1e-4).log().to(raw.dtype)


def _binary(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    base = _logits(columns, raw)
    return dist.Bernoulli(logits=bounded(raw[..., 0]) + base[:, 1] - base[:, 0], validate_args=False)


def _categorical(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    return dist.Categorical(logits=raw + _logits(columns, raw), validate_args=False)


def _ordinal(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    """Cumulative logits: cut points where the shares have them, moved together by the network, and spread by it."""
    below = _logits(columns, raw).softmax(-1).cumsum(-1)[:, :-1].clamp(1e-4, 1 - 1e-4)
    cuts = below.logit() * bounded(raw[..., 1]).exp().unsqueeze(-1)
    return dist.OrderedLogistic(raw[..., 0], cuts, validate_args=False)


def _proportion(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    mean = (bounded(raw[..., 0]) + _numbers(columns, "center", raw).to(raw.dtype)).sigmoid()
    total = bounded(free + 2.0).exp()
    return OpenBeta(mean * total, (1 - mean) * total, validate_args=False)


def _one(column: Column) -> int:
    return 1


def _two(column: Column) -> int:
    return 2


def _three_by_peak(column: Column) -> int:
    return 3 * _PEAKS


def _classes(column: Column) -> int:
    return column.classes


KINDS = {
    "real": Kind("numbers on both sides of 0 or far from it: Normal", _one, _real),
    "heavy": Kind("the same with outliers: Student's t with 4 degrees of freedom", _one, _heavy),
    "peaked": Kind("numbers around several peaks: a mixture of five normals", _three_by_peak, _peaked),
    "positive": Kind("numbers above 0: LogNormal", _one, _positive),
    "positive_or_zero": Kind("numbers above 0 and zeros: a mass at 0 beside LogNormal", _two, _positive_or_zero),
    "count": Kind("whole numbers from 0 up: NegativeBinomial", _one, _count),
    "inflated_count": Kind("the same with more zeros: a mass at 0 beside NegativeBinomial", _two, _inflated_count),
    "binary": Kind("two classes: Bernoulli", _one, _binary),
    "categorical": Kind("classes without an order: Categorical", _classes, _categorical),
    "ordinal": Kind("classes in their order: cumulative logits", _two, _ordinal),
    "proportion": Kind("numbers between 0 and 1: Beta", _one, _proportion),
}

_OF_CLASSES = ("binary", "categorical", "ordinal", "positive_or_zero")  # kinds that have shares


def has_classes(column: Column) -> bool:
    """Whether a column's numbers are those of classes."""
    return column.kind in ("binary", "categorical", "ordinal")


def check_column(column: Column) -> Column:
    """Refuse what is no column that a distribution can be made for."""
    if column.kind not in KINDS:
        raise ArgumentError(f"column {column.name!r}: kind={column.kind!r}; give one of {', '.join(map(repr, KINDS))}.")
    if has_classes(column) and column.classes < 2:
        raise ArgumentError(
            f"column {column.name!r} is {column.kind} and has {column.classes} classes; give 2 at least."
        )
    if column.kind == "binary" and column.classes != 2:
        raise ArgumentError(f"column {column.name!r} is binary and has {column.classes} classes; make it categorical.")
    if not (math.isfinite(column.center) and 0 < column.spread < math.inf):
        raise ArgumentError(
            f"column {column.name!r}: center={column.center!r}, spread={column.spread!r}; give finite ones."
        )
    wanted = 2 if column.kind == "positive_or_zero" else column.classes
    if column.kind in _OF_CLASSES and column.shares and len(column.shares) != wanted:
        raise ArgumentError(
            f"column {column.name!r} has {len(column.shares)} shares of {wanted} classes; give one for each."
        )
    return column
