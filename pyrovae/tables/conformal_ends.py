"""Ends of intervals, moved until they hold known cells as often as they are to hold all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pyrovae.errors import DataError

_LEAST = 0.1  # of a column's mean width, that an interval of no width can be moved by


def conformal_ends(
    low: Tensor, high: Tensor, true: Tensor, missing: Tensor, level: float, names: Sequence[str] = ()
) -> tuple[Tensor, Tensor]:
    r"""Intervals moved by conformal prediction, each column by itself.

    \[ [\, l_i - \hat e\, s_i,\; h_i + \hat e\, s_i \,], \qquad s_i = h_i - l_i + \tfrac1{10} \overline{h - l}, \qquad
    \hat e = \text{the } \lceil (n + 1) c \rceil \text{-th smallest of } e_i = \max(l_i - x_i, x_i - h_i) / s_i \]

    over the n known cells of the column. Where these are exchangeable with the others, a cell lies within its interval
    with a probability between c and c + 1/(n + 1), whatever the model.

    Args:
        low: ends, (rows, ...), in double precision.
        high: likewise.
        true: what is known, NaN elsewhere.
        missing: which cells were drawn.
        level: c.
        names: of the columns, for words.

    Returns:
        The ends, both moved outwards or inwards.

    Raises:
        DataError: a column has missing cells, and too few of them are known.

    References:
        Romano, Patterson and Candès, "Conformalized quantile regression" (2019).
    """
    shape = low.shape
    low, high, true, missing = (part.reshape(len(low), -1) for part in (low, high, true, missing))
    known = missing & ~true.isnan()
    scale = _scales(high - low, missing)
    errors = torch.maximum(low - true, true - high) / scale
    moves = torch.zeros(low.shape[1], dtype=low.dtype)
    for place in missing.any(0).nonzero().flatten().tolist():
        name = repr(names[place]) if names else str(place)
        moves[place] = _move(errors[known[:, place], place], level, name)
    moved = torch.where(missing, moves * scale, 0.0)
    return (low - moved).reshape(shape), (high + moved).reshape(shape)


def _scales(width: Tensor, missing: Tensor) -> Tensor:
    mean = torch.where(missing, width, 0.0).sum(0) / missing.sum(0).clamp(min=1)
    found = width + _LEAST * mean
    return torch.where(found > 0, found, 1.0)


def _move(errors: Tensor, level: float, name: str) -> Tensor:
    rank = math.ceil((len(errors) + 1) * level - 1e-9)
    if rank > len(errors):
        raise DataError(
            f"calibrated_on holds {len(errors)} of the missing cells of column {name}: intervals of {level:.0%} take "
            f"{math.ceil(level / (1 - level) - 1e-9)} at least. Hide more cells of it before training, or ask for a "
            "lower level."
        )
    return errors.sort().values[rank - 1]
