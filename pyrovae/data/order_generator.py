"""The random numbers that an order of rows is made of."""

from __future__ import annotations

import hashlib

import torch


def order_generator(*key: int | str) -> torch.Generator:
    """A generator of one use, whose start is a hash: seed 0, epoch 1 is not seed 1, epoch 0, nor near any other.

    Args:
        key: what the order is a function of: a seed, an epoch, and what it orders where that is not the rows.

    Examples:
        >>> torch.randperm(4, generator=order_generator(0, 1)).tolist()
        [1, 0, 2, 3]
    """
    state = hashlib.sha256("/".join(map(str, key)).encode()).digest()[:7]
    return torch.Generator().manual_seed(int.from_bytes(state, "little"))
