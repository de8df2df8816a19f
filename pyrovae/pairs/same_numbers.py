"""Whether two tensors hold the same numbers, whatever unit they are written in."""

from __future__ import annotations

from collections.abc import Iterable

import torch

_DIGITS = 2e-6  # of the level: what sums in another order leave of single precision


def same_numbers(
    one: torch.Tensor, other: torch.Tensor, *, rtol: float, atol: float, among: torch.Tensor | None = None
) -> bool:
    """Whether they are close by `torch.allclose`, and by the spread of the numbers as well.

    Against 1, all numbers of a column in farads are alike; against their level, all years are.

    Args:
        one: numbers, NaN where there are none.
        other: of the same shape, or they are not the same.
        rtol: of each number, and of the spread.
        atol: as in `torch.allclose`.
        among: what has the spread; left out, `other`.
    """
    if one.shape != other.shape:
        return False
    one, other = one.detach().double(), other.detach().double()
    known = other if among is None else among.detach().double()
    known = known[known.isfinite()]
    level = known.abs().max() if len(known) else one.new_zeros(())
    spread = known.std() if len(known) > 1 else one.new_zeros(())
    allowed = (atol + rtol * other.abs()).clamp(max=float(rtol * spread + _DIGITS * level))
    near = (one - other).abs() <= allowed
    return bool((near | (one == other) | (one.isnan() & other.isnan())).all())


def same_where_known(leaf: torch.Tensor, values: Iterable[torch.Tensor]) -> bool:
    """Whether one of some values holds the numbers of an argument, wherever neither of both is missing."""
    return any(_same_where_known(leaf, value) for value in values if leaf.numel() == value.numel())


def _same_where_known(leaf: torch.Tensor, value: torch.Tensor) -> bool:
    one, other = leaf.detach().reshape(-1).double(), value.detach().reshape(-1).double()
    known = ~(one.isnan() | other.isnan())
    return bool(known.any()) and torch.equal(one[known], other[known])
