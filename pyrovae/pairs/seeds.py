"""A seed for every piece of work, so that neither order nor memory decides what is drawn."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch

from pyrovae.errors import ArgumentError, argument
from pyrovae.pairs.isolation import forked_random


def seed_for(seed: int, *place: int | str) -> int:
    """The seed of one piece of work: pieces at other places draw independently.

    Args:
        seed: that of the whole.
        *place: what the piece is, such as ("local", draw tile, row tile).
    """
    words = [word for part in place for word in ([part] if isinstance(part, int) else part.encode())]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0] >> 1)


def check_seed(seed: Any) -> None:
    """Refuse a seed that is none."""
    if isinstance(seed, bool) or not (seed is None or hasattr(seed, "__index__")):
        raise ArgumentError(
            f"{argument('seed', seed)}; give a whole number, or None for one that follows from torch's generator."
        )


def chosen_seed(seed: int | None) -> int:
    """`seed`, or where there is none one that follows from the caller's random state, which stays as it is."""
    check_seed(seed)
    if seed is not None:
        return operator.index(seed) % 2**63
    with forked_random():
        return int(torch.randint(2**62, ()))
