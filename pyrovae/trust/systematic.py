"""Resampling by weights with as few repetitions as there can be."""

from __future__ import annotations

import torch
from torch import Tensor


def systematic(weights: Tensor, draws: int) -> Tensor:
    r"""Indices drawn in proportion to weights, each so often as its weight says but for less than one.

    \[ \sum_{l < k_i} \tilde w_l \le \tfrac{i + u}{S} < \sum_{l \le k_i} \tilde w_l, \qquad u \sim \mathcal U(0, 1) \]

    in a random order, so that each draw alone is one of the weights' distribution. Independent draws repeat candidates
    more often, and intervals of repeated ones are too narrow; draws without replacement are of other weights.

    Args:
        weights: of the candidates, (rows, candidates), none below 0.
        draws: of each row.

    Returns:
        Indices, (rows, draws).
    """
    ends = weights.double().cumsum(-1)
    steps = (torch.arange(draws) + torch.rand(len(weights), 1, dtype=torch.double)) / draws
    found = torch.searchsorted(ends, steps * ends[:, -1:], right=True)
    last = (ends < ends[:, -1:]).sum(-1, keepdim=True)  # where rounding leads past the end: no candidate of weight 0
    order = torch.rand(found.shape).argsort(-1)
    return found.minimum(last).gather(-1, order)
