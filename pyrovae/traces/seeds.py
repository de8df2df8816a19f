"""A seed for every piece of work, so that neither order nor memory decides what is drawn."""

from __future__ import annotations

import numpy as np
import torch

from pyrovae.isolation import forked_random


def seed_for(seed: int, *place: int | str) -> int:
    """The seed of one piece of work: pieces at other places draw independently.

    Args:
        seed: that of the whole.
        *place: what the piece is, such as ("local", draw tile, row tile).
    """
    words = [word for part in place for word in ([part] if isinstance(part, int) else part.encode())]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0] >> 1)


def chosen_seed(seed: int | None) -> int:
    """`seed`, or where there is none one that follows from the caller's random state, which stays as it is."""
    if seed is not None:
        return seed % 2**63
    with forked_random():
        return int(torch.randint(2**62, ()))
