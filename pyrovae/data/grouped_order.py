"""An order of rows in which those of a batch are of about one length."""

from __future__ import annotations

from typing import Any

import torch

_WINDOW = 16  # batches among which rows change places: so many are still a sample of all


def grouped_order(order: torch.Tensor, lengths: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """The same rows, sorted by length among each other where they stand near, in batches whose order is by chance.

    What batches cost is what their longest rows cost. Each row is met as often as before.

    Args:
        order: numbers of rows, shuffled.
        lengths: of each row.
        size: of a batch.
        generator: of the order of the batches.

    Examples:
        >>> order = grouped_order(torch.tensor([2, 0, 3, 1]), torch.tensor([9, 1, 8, 2]), 2, torch.Generator())
        >>> sorted(sorted(batch) for batch in order.reshape(2, 2).tolist())
        [[0, 2], [1, 3]]
    """
    whole = len(order) // size * size
    parts = [part[lengths[part].argsort(stable=True)] for part in order[:whole].split(_WINDOW * size)]
    if not parts:
        return order
    batches = torch.cat(parts).reshape(-1, size)
    return torch.cat([batches[torch.randperm(len(batches), generator=generator)].flatten(), order[whole:]])


def row_lengths(pair: Any, batches: Any) -> torch.Tensor | None:
    """What the length of each row is, of a pair that says it by `row_lengths(*data)`: rows are grouped by it."""
    said: Any = getattr(pair, "row_lengths", None)
    if not callable(said) or not batches.random_access or batches.transform is not None or not batches.leaves():
        return None
    given = batches.take(torch.arange(batches.rows))
    found: Any = said(*given.args, **given.kwargs)
    return found.cpu()
