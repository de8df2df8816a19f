"""How often training meets each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pyrovae.errors import ArgumentError, argument


def row_weights(weights: Any, rows: int) -> torch.Tensor | None:
    """Weights of rows whose mean is 1; None where all are equal, which is no weighting.

    Raises:
        ArgumentError: they are not one finite number of 0 or more for each row, of which one is above 0.
    """
    try:
        given = weights.detach().cpu() if isinstance(weights, torch.Tensor) else weights
        # A copy: a series gives what may not be written to, and what is turned round has steps that torch cannot take.
        found = torch.from_numpy(np.asarray(given, dtype=np.float64).copy())
    except (TypeError, ValueError):
        raise ArgumentError(f"{argument('row_weights')} is no array of numbers; give one for each row.") from None
    if found.shape != (rows,):
        raise ArgumentError(
            f"{argument('row_weights')} has the shape {tuple(found.shape)}, and there are {rows} rows; give each one."
        )
    if not bool(found.isfinite().all()) or bool((found < 0).any()) or not bool(found.any()):
        raise ArgumentError(
            f"{argument('row_weights')}: weights are finite numbers of 0 or more, of which one at least is above 0."
        )
    return None if bool((found == found[0]).all()) else found / found.mean()


def weighted_order(weights: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """As many rows as there are, each as often as its weight says: the whole part of it, and the rest by chance.

    Args:
        weights: of mean 1.
        generator: of the chance, and of the order.
    """
    start = torch.rand((), generator=generator, dtype=torch.float64)
    places = (torch.arange(len(weights), dtype=torch.float64) + start).clamp(max=len(weights) - 1e-9)
    ends = weights.cumsum(0)
    chosen = torch.searchsorted(ends * (len(weights) / ends[-1]), places, right=True)
    return chosen[torch.randperm(len(weights), generator=generator)]
