"""Operations that only move numbers, as places: which number of the input each number of the output is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_MOST = 2_000_000  # places that are written out one by one


def moved_places(move: Callable[[torch.Tensor], torch.Tensor], shape: torch.Size) -> torch.Tensor:
    """For each number of `move(x)` the place that it had in x, counted from 1; 0 where it is new and zero.

    Examples:
        >>> moved_places(lambda x: x.T, torch.Size([2, 3])).tolist()
        [[1, 4], [2, 5], [3, 6]]
    """
    # As float64, which holds whole numbers up to 2^53 and which every operation takes.
    return move(torch.arange(1, shape.numel() + 1, dtype=torch.float64).reshape(shape)).long()


def tables_of(places: torch.Tensor) -> dict[str, Any] | None:
    """Places as a sum of one table for each dim, which is short; None where they are no such sum.

    Examples:
        >>> tables_of(torch.tensor([[1, 4], [2, 5], [3, 6]]))
        {'first': 0, 'tables': [[0, 1, 2], [0, 3]]}
    """
    if not places.numel() or bool((places == 0).any()):
        return None
    first = places.reshape(-1)[0]
    tables, total = [], first.reshape([1] * places.ndim)
    for dim in range(places.ndim):
        line = places.movedim(dim, 0).reshape(places.shape[dim], -1)[:, 0] - first
        tables.append(line.tolist())
        total = total + line.reshape([-1 if one == dim else 1 for one in range(places.ndim)])
    return {"first": int(first) - 1, "tables": tables} if torch.equal(total, places) else None


def is_in_place(places: torch.Tensor, count: int) -> bool:
    """Whether nothing moves: the shape alone is another one."""
    return places.numel() == count and torch.equal(places.reshape(-1), torch.arange(1, count + 1))


def fits(places: torch.Tensor) -> bool:
    """Whether there are few enough to be written out."""
    return places.numel() <= _MOST
