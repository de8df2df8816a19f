"""What an outlier may be: for each kind of column a distribution much wider than the column."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pyrovae.models.conditionals.columns import Column, has_classes
from pyrovae.models.units.table_units import transformed

_WIDTH = 2.0  # in spreads of the column: half of what is absurd lies within


def background(columns: Sequence[Column], rows: Tensor) -> Tensor:
    r"""Log-densities of cells that may be anything that their column can hold, (rows, columns).

    Numbers have a Cauchy density around the column's centre, twice as wide as the column, of their logarithm where the
    kind is positive, and cut off below 0; a mass at 0 as the column has it; whole numbers the mass between their
    neighbours; proportions are uniform; classes are all as probable. NaN stays NaN.
    """
    return torch.stack([_of_column(column, rows[:, place].double()) for place, column in enumerate(columns)], 1)


def _of_column(column: Column, x: Tensor) -> Tensor:
    if has_classes(column):
        return torch.where(x.isnan(), x, -math.log(column.classes))
    if column.kind == "proportion":
        return torch.where(x.isnan(), x, 0.0)
    if column.kind in ("count", "inflated_count"):
        below, above = (_distribution(column, (x + off).log()) for off in (0.5, 1.5))
        first = _distribution(column, torch.tensor(0.5, dtype=x.dtype).log())
        return ((above - below).clamp(min=1e-300) / (1 - first)).log()
    off = (transformed(column, x) - column.center) / (_WIDTH * column.spread)
    found = -math.log(math.pi * _WIDTH * column.spread) - off.square().log1p()
    if column.kind == "positive":
        return found - x.log()
    if column.kind == "positive_or_zero":
        zero, more = (max(share, 1e-4) for share in (column.shares or (0.5, 0.5)))
        return torch.where(x > 0, math.log(more) + found - x.log(), torch.where(x.isnan(), x, math.log(zero)))
    return found


def _distribution(column: Column, logarithm: Tensor) -> Tensor:
    return 0.5 + ((logarithm - column.center) / (_WIDTH * column.spread)).atan() / math.pi
