"""A seed for every piece of work, so that neither order nor memory decides what is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pyrovae.errors import ArgumentError, argument
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.numbers import as_whole


def seed_for(seed: int, *place: int | str) -> int:
    """The seed of one piece of work: pieces at other places draw independently.

    Args:
        seed: that of the whole.
        *place: what the piece is, such as ("local", draw tile, row tile).
    """
    words = [word for part in place for word in ([part] if isinstance(part, int) else part.encode())]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0] >> 1)


def check_seed(seed: Any) -> int | None:
    """A whole number from 0 to 2**63 - 1, as torch takes it; None stays None."""
    number = as_whole(seed)
    if seed is not None and (number is None or not 0 <= number < 2**63):
        raise ArgumentError(f"{argument('seed', seed)}; give a whole number from 0 to 2**63 - 1, or leave it out.")
    return number


def chosen_seed(seed: Any) -> int:
    """`seed`, or where there is none one that follows from the caller's random state, which stays as it is."""
    number = check_seed(seed)
    if number is not None:
        return number
    with forked_random():
        return int(torch.randint(2**62, ()))
