"""A stack of bits: what is pushed under a probability costs its logarithm, and popping gives that back."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from pyrovae.errors import ArgumentError

_MOST = 24  # bits that one decision can take: the coder's probabilities are whole multiples of 2^-24
_KEPT = 3  # words that always stay, so that what comes beneath them later stands as if it had been there from the start


def constriction() -> Any:
    """The library of entropy coders, or an error that says where it is from."""
    try:
        import constriction as library
    except ImportError as error:
        raise ArgumentError(
            "compressing needs constriction, which is an extra: pip install 'pyrovae[compress]'."
        ) from error
    return library


class BitStack:
    """Decisions between 0 and 1, last in, first out.

    Args:
        words: what is in it, 32 bits each.
        random: where the first bits come from, which bits-back coding takes out before anything was put in; left out,
            an empty stack is an error.
    """

    def __init__(self, words: np.ndarray, random: np.random.Generator | None = None):
        library = constriction().stream
        self._new, self._bits = library.stack.AnsCoder, library.model.Bernoulli(perfect=False)
        self._random = random
        self.first_words = np.zeros(0, np.uint32)
        self._coder: Any = self._new(words) if len(words) else None
        if random is not None:
            self._add(_KEPT + 1)

    def push(self, bits: Tensor, shares: Tensor) -> None:
        """Put decisions in.

        Args:
            bits: 0 or 1.
            shares: the probability of 1 for each.
        """
        self._coder.encode_reverse(bits.numpy().astype(np.int32), self._bits, shares.numpy())

    def pop(self, shares: Tensor) -> np.ndarray:
        """Take decisions out, whose probabilities of 1 are given."""
        need = len(shares) * _MOST // 32 + _KEPT + 2
        if self._random is None or self._coder.num_words() > need:
            return self._coder.decode(self._bits, shares.numpy())
        while True:
            before = self._coder.clone()
            found = self._coder.decode(self._bits, shares.numpy())
            if self._coder.num_words() > _KEPT:
                return found
            self._coder = before
            self._add(max(2, len(shares) * _MOST // 256))

    def words(self) -> np.ndarray:
        """What is in it."""
        return self._coder.get_compressed()

    def _add(self, count: int) -> None:
        """Random words beneath all others."""
        assert self._random is not None, "who codes has random bits"
        more = self._random.integers(1, 2**32, count, np.uint32)  # the topmost word must not be 0
        self.first_words = np.concatenate([more, self.first_words])
        held = self._coder.get_compressed() if self._coder is not None else np.zeros(0, np.uint32)
        self._coder = self._new(np.concatenate([more, held]))
