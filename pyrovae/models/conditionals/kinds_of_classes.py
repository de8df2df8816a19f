"""Kinds of columns of classes, with an order or without."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.models.conditionals.column import Column
from pyrovae.models.conditionals.conditional import bounded
from pyrovae.models.conditionals.kind import Kind, Make, logits
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


# --- what is else of them -------------------------------------------------------------------------------
class Classes(Kind):
    """Whole numbers from 0 up to one less than there are classes; `outputs` 0 is one for each."""

    has_classes, whole = True, True
    lowest = 0.0

    def __init__(self, words: str, make: Make, *, outputs: int = 1, ordered: bool = False, most: float = math.inf):
        super().__init__(words, make, outputs=outputs, likely="median" if ordered else "mode")
        self.ordered, self.most = ordered, most

    def outputs(self, column: Column) -> int:
        """How many numbers of a network a column takes."""
        return self._outputs or column.classes

    def trouble(self, column: Column) -> str | None:
        """Two classes at least, and shares of each."""
        if column.classes < 2:
            return f"is {column.kind} and has {column.classes} classes; give 2 at least."
        if column.classes > self.most:
            return f"is {column.kind} and has {column.classes} classes; make it categorical."
        return wrong_shares(column, column.classes)

    def range_of(self, column: Column) -> tuple[float, float, bool]:
        """The first and the last class."""
        return self.lowest, column.classes - 1.0, self.whole

    def learned(self, column: Column, seen: Tensor) -> Column:
        """How often each class occurs."""
        counts = torch.bincount(seen.long(), minlength=column.classes).double() + 0.5
        return column._replace(shares=tuple((counts / counts.sum()).tolist()))

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
}
