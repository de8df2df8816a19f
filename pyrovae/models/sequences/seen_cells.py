"""Which cells of series are there: not those behind a series' length, and not gaps."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrovae.errors import DataError
from pyrovae.pairs.part_observed import where_missing


def seen_cells(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Which cells of series (rows, steps, *event) are there: inside of their row's length, and not missing (NaN)."""
    seen = ~where_missing(x)
    if lengths is None:
        return seen
    inside = torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(-1)
    return seen & inside.reshape((*inside.shape, *[1] * (x.dim() - 2)))


def last_steps(seen: Tensor) -> Tensor:
    """How many steps of each series there are up to its last observed cell, (rows,)."""
    steps = torch.arange(1, seen.shape[1] + 1, device=seen.device)
    return (seen.flatten(2).any(-1) * steps).amax(-1)


def check_series(x: Tensor, lengths: Tensor | None, event: torch.Size) -> None:
    """Refuse series of another width, lengths that cannot be, and series of which nothing is there.

    Args:
        x: the series.
        lengths: of each.
        event: the shape of one step.
    """
    if x.dim() != 2 + len(event) or x.shape[2:] != event:
        form = ", ".join(("rows", "steps", *map(str, event)))
        raise DataError(f"series are of shape ({form}); got {tuple(x.shape)}.")
    if not x.shape[1]:
        raise DataError(f"series of no steps, {tuple(x.shape)}: each has to have one step at least.")
    if lengths is not None:
        _check_lengths(x, lengths)
    gone = ~seen_cells(x, lengths).flatten(1).any(1)
    if gone.any():
        raise DataError(
            f"all of the series in row {int(gone.nonzero()[0])} are missing: leave out rows of which nothing is there."
        )


def _check_lengths(x: Tensor, lengths: Tensor) -> None:
    if lengths.shape != x.shape[:1]:
        raise DataError(f"lengths are one number a series, ({len(x)},); got {tuple(lengths.shape)}.")
    if lengths.dtype == torch.bool:
        raise DataError("lengths are whole numbers, how many steps each series has; these are True and False.")
    wrong = ~((lengths >= 1) & (lengths <= x.shape[1]) & (lengths == lengths.round()))
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise DataError(
            f"the length of the series in row {row} is {float(lengths[row]):g}: lengths are whole numbers from 1 to "
            f"the array's {x.shape[1]} steps. Leave out what is empty; lengthen the array by NaN where more follows."
        )
