"""Kinds of columns of classes, with an order or without."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.models.conditionals.column import Column
from pyrovae.models.conditionals.conditional import bounded
from pyrovae.models.conditionals.interval_masses import log_normal_mass, middles, wrong_ends
from pyrovae.models.conditionals.kind import Kind, Make, logits, mean, numbers
from pyrovae.models.conditionals.kinds_of_numbers import wrong_shares


# --- families -------------------------------------------------------------------------------------------
def _binary(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    base = logits(columns, raw)
    return dist.Bernoulli(logits=bounded(raw[..., 0]) + base[:, 1] - base[:, 0], validate_args=False)


def _categorical(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    return dist.Categorical(logits=raw + logits(columns, raw), validate_args=False)


def _ordinal(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    """Cumulative logits: cut points where the shares have them, moved together by the network, and spread by it."""
    below = logits(columns, raw).softmax(-1).cumsum(-1)[:, :-1].clamp(1e-4, 1 - 1e-4)
    cuts = below.logit() * bounded(raw[..., 1]).exp().unsqueeze(-1)
    return dist.OrderedLogistic(raw[..., 0], cuts, validate_args=False)


def _as_they_are(x: Tensor) -> Tensor:
    return x


def _logarithms(x: Tensor) -> Tensor:
    return x.clamp(min=0).log()


def _interval(units: Callable[[Tensor], Tensor]) -> Make:
    """A normal number, or logarithm, of which it is known in which of the intervals it lies."""

    def make(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
        ends = units(numbers(columns, "ends", raw))  # (columns, classes, 2)
        loc, scale = mean(columns, raw), numbers(columns, "spread", raw) * bounded(free).exp()
        closed = torch.where(ends.isinf(), 0.0, ends)  # an infinite end has no gradient
        standard = (closed - loc[..., None, None]) / scale[..., None, None]
        low, high = torch.where(ends.isinf(), ends, standard).unbind(-1)
        # Where intervals leave something out, nothing lies there: Categorical divides by the sum.
        masses = log_normal_mass(low, high)
        return dist.Categorical(logits=(masses - masses.logsumexp(-1, keepdim=True)).to(raw.dtype), validate_args=False)

    return make


# --- what is else of them -------------------------------------------------------------------------------
class Classes(Kind):
    """Whole numbers from 0 up to one less than there are classes.

    Args:
        words: as of any kind.
        make: likewise.
        outputs: likewise; 0 is one for each class.
        ordered: whether they have an order.
        most: how many there can be.
        units: of classes that are intervals, the numbers of which `center` and `spread` are, such as logarithms.
    """

    has_classes, whole = True, True
    lowest = 0.0

    def __init__(
        self,
        words: str,
        make: Make,
        *,
        outputs: int = 1,
        ordered: bool = False,
        most: float = math.inf,
        units: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__(words, make, outputs=outputs, likely="median" if ordered else "mode")
        self.ordered, self.most, self.units, self.has_free = ordered, most, units, units is not None

    def outputs(self, column: Column) -> int:
        """How many numbers of a network a column takes."""
        return self._outputs or column.classes

    def trouble(self, column: Column) -> str | None:
        """Two classes at least, and shares of each."""
        if column.classes < 2:
            return f"is {column.kind} and has {column.classes} classes; give 2 at least."
        if column.classes > self.most:
            return f"is {column.kind} and has {column.classes} classes; make it categorical."
        if self.units is not None and (words := wrong_ends(column.ends, column.classes)):
            return words
        if self.units is not None and not bool(
            self.units(torch.tensor(middles(column.ends), device="cpu")).isfinite().all()
        ):
            return "is positive_interval and has ends below 0; make it interval."
        return wrong_shares(column, column.classes)

    def range_of(self, column: Column) -> tuple[float, float, bool]:
        """The first and the last class."""
        return self.lowest, column.classes - 1.0, self.whole

    def learned(self, column: Column, seen: Tensor) -> Column:
        """How often each class occurs; of intervals where the numbers lie, taken for the middles."""
        counts = torch.bincount(seen.long(), minlength=column.classes).double() + 0.5
        column = column._replace(shares=tuple((counts / counts.sum()).tolist()))
        if self.units is None:
            return column
        return super().learned(column, self.units(torch.tensor(middles(column.ends)).double())[seen.long()])

    def anything(self, column: Column, x: Tensor) -> Tensor:
        """All are as probable."""
        return torch.where(x.isnan(), x, -math.log(column.classes))

    def anything_drawn(self, column: Column, uniform: Tensor) -> Tensor:
        """Each as often."""
        return (uniform * column.classes).floor()


CLASSES: dict[str, Kind] = {
    "binary": Classes("two classes: Bernoulli", _binary, most=2),
    "categorical": Classes("classes without an order: Categorical", _categorical, outputs=0),
    "ordinal": Classes("classes in their order: cumulative logits", _ordinal, outputs=2, ordered=True),
    "interval": Classes(
        "intervals in which a number lies: Normal", _interval(_as_they_are), ordered=True, units=_as_they_are
    ),
    "positive_interval": Classes(
        "intervals in which a number above 0 lies: LogNormal", _interval(_logarithms), ordered=True, units=_logarithms
    ),
}
