"""Exact quantiles over many draws of many elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from pyrovae.prediction.blocks import array_of, over_blocks

_BLOCK = 128  # elements sorted at once: with a thousand draws half a MiB, which a core's own cache holds
_SHARE = 8 * _BLOCK  # elements in a piece of work for a thread


def quantiles_over_draws(held: torch.Tensor, levels: tuple[float, ...]) -> torch.Tensor:
    """Quantiles over the first axis, linear between neighbours, as those of `torch.quantile`.

    Args:
        held: `(draws, elements)`.
        levels: between 0 and 1.

    Returns:
        `(levels, elements)`; NaN where a draw is NaN.

    Examples:
        >>> quantiles_over_draws(torch.tensor([[3.0], [1.0], [2.0]]), (0.0, 0.25))
        tensor([[1.0000],
                [1.5000]])
    """
    if held.device.type != "cpu":
        parts = [torch.stack(_between(part.sort(0).values.T, levels)) for part in held.split(_SHARE, 1)]
        return torch.cat([*parts, held.new_empty((len(levels), 0))], 1)
    found = held.new_empty((len(levels), held.shape[1]))
    draws, target = array_of(held), array_of(found)

    def work(share: slice) -> None:
        for start in range(share.start, share.stop, _BLOCK):
            block = slice(start, min(start + _BLOCK, share.stop))
            with np.errstate(invalid="ignore"):  # infinity minus infinity, which is then put right
                target[:, block] = _between(_sorted(draws[:, block]), levels)

    over_blocks(work, held.shape[1], _SHARE)
    return found


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
