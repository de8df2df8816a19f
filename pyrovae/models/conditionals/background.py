"""What an outlier may be: for each kind of column a distribution much wider than the column."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pyrovae.models.conditionals.columns import Column, has_classes
from pyrovae.models.units.table_units import transformed

_LARGEST, _LARGEST_COUNT = 80.0, 30.0  # logarithms that single precision holds
_WIDTH = 2.0  # in spreads of the column: half of what is absurd lies within


def background(columns: Sequence[Column], rows: Tensor) -> Tensor:
    r"""Log-densities of cells that may be anything that their column can hold, (..., columns).

    Numbers have a Cauchy density around the column's centre, twice as wide as the column, of their logarithm where the
    kind is positive, and cut off below 0; a mass at 0 as the column has it; whole numbers the mass between their
    neighbours; proportions are uniform; classes are all as probable. NaN stays NaN.
    """
    return torch.stack([_of_column(column, rows[..., place].double()) for place, column in enumerate(columns)], -1)


def background_draws(columns: Sequence[Column], like: Tensor) -> Tensor:
    """Draws of it in the shape and type of others, (..., columns), finite ones."""
    uniform = torch.rand(like.shape, dtype=torch.float64, device=like.device)
    drawn = [_drawn(column, uniform[..., place]) for place, column in enumerate(columns)]
    return torch.stack(drawn, -1).to(like.dtype)


def _of_column(column: Column, x: Tensor) -> Tensor:
    if has_classes(column):
        return torch.where(x.isnan(), x, -math.log(column.classes))
    if column.kind == "proportion":
        return torch.where(x.isnan(), x, 0.0)
    if column.kind in ("count", "inflated_count"):
        below, above = (_distribution(column, (x + off).log()) for off in (0.5, 1.5))
        return ((above - below).clamp(min=1e-300) / (1 - _below_zero(column))).log()
    off = (transformed(column, x) - column.center) / (_WIDTH * column.spread)
    found = -math.log(math.pi * _WIDTH * column.spread) - off.square().log1p()
    if column.kind == "positive":
        return found - x.log()
    if column.kind == "positive_or_zero":
        zero, more = _zero_and_more(column)
        return torch.where(x > 0, math.log(more) + found - x.log(), torch.where(x.isnan(), x, math.log(zero)))
    return found


def _drawn(column: Column, uniform: Tensor) -> Tensor:
    if has_classes(column):
        return (uniform * column.classes).floor()
    if column.kind == "proportion":
        return uniform.clamp(1e-7, 1 - 1e-7)
    if column.kind in ("count", "inflated_count"):
        first = _below_zero(column)
        logarithm = _quantile(column, first + (1 - first) * uniform).clamp(max=_LARGEST_COUNT)
        return (logarithm.exp() - 0.5).floor().clamp(min=0.0)
    if column.kind == "positive":
        return _quantile(column, uniform).clamp(-_LARGEST, _LARGEST).exp()
    if column.kind == "positive_or_zero":
        zero, _ = _zero_and_more(column)
        above = _quantile(column, (uniform - zero) / (1 - zero)).clamp(-_LARGEST, _LARGEST).exp()
        return torch.where(uniform < zero, 0.0, above)
    return _quantile(column, uniform)


def _quantile(column: Column, uniform: Tensor) -> Tensor:
    inside = uniform.clamp(1e-12, 1 - 1e-12)
    return column.center + _WIDTH * column.spread * (math.pi * (inside - 0.5)).tan()


def _zero_and_more(column: Column) -> tuple[float, float]:
    zero, more = (max(share, 1e-4) for share in (column.shares or (0.5, 0.5)))
    return zero / (zero + more), more / (zero + more)


def _below_zero(column: Column) -> float:
    """The part of a Cauchy that no count has."""
    return 0.5 + math.atan((math.log(0.5) - column.center) / (_WIDTH * column.spread)) / math.pi


def _distribution(column: Column, logarithm: Tensor) -> Tensor:
    return 0.5 + ((logarithm - column.center) / (_WIDTH * column.spread)).atan() / math.pi
