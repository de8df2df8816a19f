"""Whether numbers are less skewed by their logarithms."""

from __future__ import annotations

import numpy as np

_NARROW = 0.05  # a spread, over the mean, below which a column is far from 0


def less_skewed_by_logarithm(numbers: np.ndarray) -> bool:
    """Of numbers above 0; those far from it are not: there a logarithm is a straight line, and skewness is chance."""
    if numbers.min() <= 0:
        return False
    shares = numbers / numbers.max()  # squares of 1e200 are infinite
    return shares.std() >= _NARROW * shares.mean() and abs(_skew(np.log(numbers))) < abs(_skew(shares))


def _skew(numbers: np.ndarray) -> float:
    spread = numbers.std()
    return float((((numbers - numbers.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0
