"""Exact quantiles over many draws of many elements, and their moments, as all draws of an element are at hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from pyrovae.prediction.blocks import array_of, over_blocks

_BLOCK = 128  # elements sorted at once: with a thousand draws half a MiB, which a core's own cache holds

_SHARE = 8 * _BLOCK  # elements in a piece of work for a thread


def over_draws(held: torch.Tensor, levels: tuple[float, ...], *, moments: bool = False) -> torch.Tensor:
    """Quantiles over the first axis, linear between neighbours, as those of `torch.quantile`.

    Args:
        held: `(draws, elements)`.
        levels: between 0 and 1.
        moments: whether mean and scale come first; see `RunningMoments`.

    Returns:
        `(levels, elements)`, or `(2 + levels, elements)`; NaN where a draw is NaN.

    Examples:
        >>> over_draws(torch.tensor([[3.0], [1.0], [2.0]]), (0.0, 0.25), moments=True).T
        tensor([[2.0000, 1.0000, 1.0000, 1.5000]])
    """
    height = len(levels) + 2 * moments
    if held.device.type != "cpu":
        parts = [torch.stack(_figures(part.sort(0).values.T, levels, moments)) for part in held.split(_SHARE, 1)]
        return torch.cat([*parts, held.new_empty((height, 0))], 1)
    found = held.new_empty((height, held.shape[1]))
    draws, target = array_of(held), array_of(found)

    def work(share: slice) -> None:
        for start in range(share.start, share.stop, _BLOCK):
            block = slice(start, min(start + _BLOCK, share.stop))
            with np.errstate(invalid="ignore"):  # infinity minus infinity, which is then put right
                target[:, block] = _figures(_sorted(draws[:, block]), levels, moments)

    over_blocks(work, held.shape[1], _SHARE)
    return found


def _figures(ordered: Any, levels: tuple[float, ...], moments: bool) -> list[Any]:
    return [*(_moments(ordered) if moments else ()), *_between(ordered, levels)]


def _moments(ordered: Any) -> tuple[Any, Any]:
    """Mean and scale of (elements, draws), counted from the middle draw, so that rounding is that of their spread."""
    count = ordered.shape[1]
    middle = ordered[:, count // 2]
    apart = ordered - middle[:, None]
    centre = apart.mean(1)
    mean = middle + centre
    unsound = mean - mean != 0
    mean[unsound] = ordered[unsound].sum(1)  # infinite, or NaN
    apart -= centre[:, None]
    apart *= apart
    return mean, (apart.sum(1) / max(count - 1, 1)) ** 0.5


def _sorted(block: np.ndarray) -> np.ndarray:
    """(elements, draws), the draws in order; numpy's sort has vector code, torch's has not."""
    # The copy comes first: a turned copy out of far-apart rows misses every cache.
    turned = np.ascontiguousarray(block.copy().T)
    turned.sort(axis=1)
    return turned


def _between(ordered: Any, levels: tuple[float, ...]) -> list[Any]:
    """Quantiles of (elements, draws) whose draws are in order, of either kind of array."""
    last = ordered.shape[1] - 1
    found = []
    for level in levels:
        below = int(level * last)
        weight, low, high = level * last - below, ordered[:, below], ordered[:, min(below + 1, last)]
        gap = high - low
        gap[(low == high) | (low == -math.inf)] = 0  # infinity minus infinity, and from minus infinity on
        value = low + gap * weight if weight else low + 0
        value[ordered[:, last] != ordered[:, last]] = math.nan  # NaN stands behind all numbers
        found.append(value)
    return found
