"""Numbers that are only known to lie in an interval: how probable each interval is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_LEAST = 1e-300  # of a mass whose logarithm is taken

Ends = Sequence[tuple[float, float]]


def log_normal_mass(low: Tensor, high: Tensor) -> Tensor:
    r"""The logarithm of what a standard normal has between two ends, which may be infinite.

    \[ \log\big(\Phi(b) - \Phi(a)\big) = \log \Phi(b) + \log\big(1 - e^{\log \Phi(a) - \log \Phi(b)}\big) \]

    on the side of 0 where both are small, so that nothing is lost in either tail.

    Examples:
        >>> log_normal_mass(torch.tensor([-torch.inf, 9.0]), torch.tensor([0.0, 10.0])).tolist()
        [-0.6931..., -43.628...]
    """
    right = low + high > 0  # NaN of two infinite ends is neither
    below, above = torch.where(right, -high, low), torch.where(right, -low, high)
    lower, upper = (torch.special.log_ndtr(torch.where(end.isinf(), 0.0, end)) for end in (below, above))
    upper = torch.where(above.isinf(), 0.0, upper)
    inside = (-torch.expm1(torch.where(below.isinf(), -1.0, lower - upper))).clamp(min=_LEAST).log()
    return upper + torch.where(below.isinf(), 0.0, inside)


def middles(ends: Ends) -> list[float]:
    """A number within each interval: its middle; the first and the last are taken for no wider than is usual.

    Examples:
        >>> middles([(-math.inf, 20.0), (20.0, 30.0), (30.0, 1000.0)])
        [15.0, 25.0, 35.0]
    """
    finite = [[high - low for low, high in part if math.isfinite(high - low)] for part in (ends[1:-1], ends)]
    widths = sorted(finite[0] or finite[1] or [1.0])
    usual, last = widths[len(widths) // 2], len(ends) - 1
    found = [(low + high) / 2 for low, high in ends]
    if ends[last][0] > -math.inf:
        found[last] = ends[last][0] + min(ends[last][1] - ends[last][0], usual) / 2
    if ends[0][1] < math.inf:
        found[0] = ends[0][1] - min(ends[0][1] - ends[0][0], usual) / 2
    return found


def wrong_ends(ends: Ends, classes: int) -> str | None:
    """What is wrong with the ends of a column's intervals."""
    if len(ends) != classes:
        return f"has {len(ends)} pairs of ends for {classes} intervals; give one for each."
    if any(not low < high for low, high in ends):
        return "has an interval whose low end is not below the high one."
    if any(before[1] > after[0] for before, after in itertools.pairwise(ends)):
        return "has intervals that overlap, or are not in their order."
    return None
