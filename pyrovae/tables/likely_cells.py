"""One value for each missing cell, of its draws."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pyrovae.models.conditionals.column import Column
from pyrovae.models.conditionals.columns import kind_of


def likely_cells(draws: torch.Tensor, columns: Sequence[Column]) -> torch.Tensor:
    """The value that stands for the draws of a cell: what its kind of column makes of them.

    The mean of numbers (`real`, `proportion`, dates); the median, which was drawn, of those whose mean hangs on few
    large ones (`heavy`, `positive`, `positive_or_zero`) or lies between peaks (`peaked`), of counts and of ordered
    classes; else the most frequent class.

    Args:
        draws: (draws, rows, columns).
        columns: what they are.

    Returns:
        (rows, columns).
    """
    found = draws.double().mode(0).values
    for place, column in enumerate(columns):
        if (likely := kind_of(column).likely) == "mean":
            found[:, place] = draws[..., place].double().mean(0)
        elif likely == "median":
            found[:, place] = draws[..., place].double().median(0).values
    return found
