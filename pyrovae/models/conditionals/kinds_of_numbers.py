"""Kinds of columns of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.models.conditionals.column import Column
from pyrovae.models.conditionals.conditional import bounded
from pyrovae.models.conditionals.distributions import (
    InflatedNegativeBinomial,
    OpenBeta,
    WideNegativeBinomial,
    ZeroOrLogNormal,
)
from pyrovae.models.conditionals.kind import WIDTH, Kind, level, logits, mean, near, numbers, wide_quantile

_PEAKS = 5  # of a column that has several
_LARGEST, _LARGEST_COUNT = 80.0, 30.0  # logarithms that single precision holds


# --- families -------------------------------------------------------------------------------------------
def _real(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    spread, loc = numbers(columns, "spread", raw), mean(columns, raw)
    return dist.Normal(loc, (spread * bounded(free).exp()).expand(loc.shape), validate_args=False)


def _heavy(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    spread, loc = numbers(columns, "spread", raw), mean(columns, raw)
    return dist.StudentT(4.0, loc, (spread * bounded(free).exp()).expand(loc.shape), validate_args=False)


def _peaked(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    """A mixture of normals, which begin side by side over the column's range.

    No component is narrower than 2 % of the column: its density on a value that occurs often would have no end.
    """
    shares, off, log_scale = raw.unflatten(-1, (3, _PEAKS)).unbind(-2)
    start = torch.linspace(-1.5, 1.5, _PEAKS, dtype=raw.dtype, device=raw.device)
    center, spread = (numbers(columns, field, raw).unsqueeze(-1) for field in ("center", "spread"))
    loc = center + spread * near(columns, off + start)
    scale = spread * bounded(log_scale + free.unsqueeze(-1) - 1.0, -4.0, 4.0).exp()
    weights = dist.Categorical(logits=bounded(shares), validate_args=False)
    return dist.MixtureSameFamily(weights, dist.Normal(loc, scale, validate_args=False), validate_args=False)


def _positive(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    scale = numbers(columns, "spread", raw).to(raw.dtype) * bounded(free).exp()
    loc = level(columns, raw)
    return dist.LogNormal(loc, scale.expand(loc.shape), validate_args=False)


def _positive_or_zero(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    scale = numbers(columns, "spread", raw).to(raw.dtype) * bounded(free).exp()
    loc = level(columns, raw)
    base = logits(columns, raw)
    zeros = bounded(raw[..., 1]) + base[:, 0] - base[:, 1]
    return ZeroOrLogNormal(zeros, loc, scale.expand(loc.shape), validate_args=False)


def _count(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    """In double precision: log-gammas of 100,000 are rounded to a tenth in single precision."""
    total = bounded(free).double().exp().expand(raw[..., 0].shape)
    return WideNegativeBinomial(total, logits=mean(columns, raw) - total.log(), validate_args=False)


def _inflated_count(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    counts = _count(columns, raw, free)
    return InflatedNegativeBinomial(bounded(raw[..., 1] - 2.0), counts.total_count, counts.logits, validate_args=False)


def _proportion(columns: Sequence[Column], raw: Tensor, free: Tensor) -> Any:
    """In double precision: where a column is narrow, concentrations are large, and their log-gammas cancel."""
    center, spread = numbers(columns, "center", raw), numbers(columns, "spread", raw)
    # Of logits the deviation is close to one over the root of m (1 - m) times the sum of both concentrations.
    scale = spread * bounded(free).exp()
    total = 1 / (scale.square() * center.sigmoid() * (-center).sigmoid())
    shift = mean(columns, raw)
    return OpenBeta(shift.sigmoid() * total, (-shift).sigmoid() * total, validate_args=False)


# --- what is else of them -------------------------------------------------------------------------------
class Positive(Kind):
    """Numbers above 0, by their logarithms."""

    lowest = 1e-300

    def transformed(self, column: Column, x: Tensor) -> Tensor:
        """Logarithms."""
        return x.clamp(min=1e-300).log()

    def anything(self, column: Column, x: Tensor) -> Tensor:
        """A Cauchy density of the logarithm."""
        return super().anything(column, x) - x.log()

    def anything_drawn(self, column: Column, uniform: Tensor) -> Tensor:
        """Draws of it, finite ones."""
        return wide_quantile(column, uniform).clamp(-_LARGEST, _LARGEST).exp()


class PositiveOrZero(Kind):
    """Numbers above 0, by their logarithms, and zeros, which are three spreads below."""

    lowest = 0.0
    alike = False  # zeros stand where their own column has them

    def trouble(self, column: Column) -> str | None:
        """Shares are those of zeros and of the others."""
        return wrong_shares(column, 2)

    def transformed(self, column: Column, x: Tensor) -> Tensor:
        """Logarithms."""
        return torch.where(x > 0, torch.where(x > 0, x, 1.0).log(), column.center - 3 * column.spread)

    def learned(self, column: Column, seen: Tensor) -> Column:
        """Of numbers above 0; and how often there is a zero."""
        zeros = (float((seen == 0).double().mean()) * len(seen) + 0.5) / (len(seen) + 1)
        return super().learned(column._replace(shares=(zeros, 1 - zeros)), seen[seen > 0])

    def anything(self, column: Column, x: Tensor) -> Tensor:
        """A Cauchy density of the logarithm beside zeros as the column has them."""
        zero, more = self._zero_and_more(column)
        above = math.log(more) + super().anything(column, x) - x.log()
        return torch.where(x > 0, above, torch.where(x.isnan(), x, math.log(zero)))

    def anything_drawn(self, column: Column, uniform: Tensor) -> Tensor:
        """Draws of it, finite ones."""
        zero, _ = self._zero_and_more(column)
        above = wide_quantile(column, (uniform - zero) / (1 - zero)).clamp(-_LARGEST, _LARGEST).exp()
        return torch.where(uniform < zero, 0.0, above)

    @staticmethod
    def _zero_and_more(column: Column) -> tuple[float, float]:
        zero, more = (max(share, 1e-4) for share in (column.shares or (0.5, 0.5)))
        return zero / (zero + more), more / (zero + more)


class Count(Kind):
    """Whole numbers from 0 up, by the logarithms of what is one more."""

    lowest, whole = 0.0, True

    def transformed(self, column: Column, x: Tensor) -> Tensor:
        """Logarithms."""
        return x.clamp(min=0).log1p()

    def free_start(self, column: Column) -> float:
        """A total count, which the spread of logarithms is the root of one over."""
        return min(max(-2 * math.log(column.spread), -2.0), 6.0)

    def anything(self, column: Column, x: Tensor) -> Tensor:
        """The mass of a Cauchy between neighbours, of logarithms and cut off below 0."""
        below, above = (self._below(column, (x + off).log()) for off in (0.5, 1.5))
        return ((above - below).clamp(min=1e-300) / (1 - self._below_zero(column))).log()

    def anything_drawn(self, column: Column, uniform: Tensor) -> Tensor:
        """Draws of it, finite ones."""
        first = self._below_zero(column)
        logarithm = wide_quantile(column, first + (1 - first) * uniform).clamp(max=_LARGEST_COUNT)
        return (logarithm.exp() - 0.5).floor().clamp(min=0.0)

    @staticmethod
    def _below_zero(column: Column) -> float:
        """The part of a Cauchy that no count has."""
        return 0.5 + math.atan((math.log(0.5) - column.center) / (WIDTH * column.spread)) / math.pi

    @staticmethod
    def _below(column: Column, logarithm: Tensor) -> Tensor:
        return 0.5 + ((logarithm - column.center) / (WIDTH * column.spread)).atan() / math.pi


class Proportion(Kind):
    """Numbers between 0 and 1, by their logits."""

    lowest, highest = 1e-30, 1 - 1e-9

    def transformed(self, column: Column, x: Tensor) -> Tensor:
        """Logits."""
        return x.clamp(1e-6, 1 - 1e-6).logit()

    def anything(self, column: Column, x: Tensor) -> Tensor:
        """Uniform."""
        return torch.where(x.isnan(), x, 0.0)

    def anything_drawn(self, column: Column, uniform: Tensor) -> Tensor:
        """As they are."""
        return uniform.clamp(1e-7, 1 - 1e-7)


def wrong_shares(column: Column, wanted: int) -> str | None:
    """What is wrong with a column's shares."""
    if not column.shares or len(column.shares) == wanted:
        return None
    return f"has {len(column.shares)} shares of {wanted} classes; give one for each."


NUMBERS: dict[str, Kind] = {
    "real": Kind("numbers on both sides of 0 or far from it: Normal", _real),
    "heavy": Kind("the same with outliers: Student's t with 4 degrees of freedom", _heavy, likely="median"),
    "peaked": Kind(
        "numbers around several peaks: a mixture of five normals", _peaked, outputs=3 * _PEAKS, likely="median"
    ),
    "positive": Positive("numbers above 0: LogNormal", _positive, likely="median"),
    "positive_or_zero": PositiveOrZero(
        "numbers above 0 and zeros: a mass at 0 beside LogNormal", _positive_or_zero, outputs=2, likely="median"
    ),
    "count": Count("whole numbers from 0 up: NegativeBinomial", _count, likely="median"),
    "inflated_count": Count(
        "the same with more zeros: a mass at 0 beside NegativeBinomial", _inflated_count, outputs=2, likely="median"
    ),
    "proportion": Proportion("numbers between 0 and 1: Beta", _proportion),
}
