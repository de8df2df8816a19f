"""One value for each missing cell, of its draws."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pyrovae.models.conditionals.columns import Column

_BY_MEAN = ("real", "proportion")
# Means hang on the tail, or lie between two peaks where nothing is.
_BY_MEDIAN = ("heavy", "peaked", "positive", "positive_or_zero", "count", "inflated_count", "ordinal")


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
        if column.kind in _BY_MEAN:
            found[:, place] = draws[..., place].double().mean(0)
        elif column.kind in _BY_MEDIAN:
            found[:, place] = draws[..., place].double().median(0).values
    return found
