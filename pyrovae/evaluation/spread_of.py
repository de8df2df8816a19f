"""The deviation of draws."""

from __future__ import annotations

import torch

_OF_POINTS = 1e-4  # for what does not vary, such as a point or what a mask hides


def spread_of(draws: torch.Tensor) -> torch.Tensor:
    """Deviations over the first dim, in the unit of the draws; where these are all the same, a small number."""
    spread, level = draws.std(0), draws.mean(0).abs()
    varies = spread > 4 * torch.finfo(draws.dtype).eps * level
    return torch.where(varies, spread, _OF_POINTS)
