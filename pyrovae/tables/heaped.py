"""Numbers of which one value is far more frequent than those beside it."""

from __future__ import annotations

import numpy as np

_FEWEST = 50  # numbers of which it is no chance
_SHARE = 0.05  # of the cells that such a value takes at least
_TIMES = 5.0  # as frequent as the values beside it
_BESIDE = 3  # of these on either side
_LEVELS = 200  # ordered classes that a model of a table can do with


def heaped_words(numbers: np.ndarray, kind: str) -> str:
    """What to know of numbers that are heaped: a density draws no heap. Nothing where they are not.

    Args:
        numbers: those that are there.
        kind: that they are taken for; one with a mass at 0 draws its zeros.
    """
    if len(numbers) < _FEWEST:
        return ""
    if kind == "count" and (words := _of_zeros(numbers)):
        return words
    values, counts = np.unique(numbers, return_counts=True)
    inside = values != 0 if kind in ("positive_or_zero", "inflated_count", "count") else np.ones(len(values), bool)
    if not inside.any():
        return ""
    top = int(np.where(inside, counts, 0).argmax())
    beside = np.concatenate([counts[max(top - _BESIDE, 0) : top], counts[top + 1 : top + 1 + _BESIDE]])
    share = counts[top] / len(numbers)
    if len(values) < 2 or share < _SHARE or counts[top] < _TIMES * beside.mean():
        return ""
    words = f"{share:.0%} are {values[top]:g}, which a density does not draw"
    if top in (0, len(values) - 1):
        return f"{words}: a code for what is missing? Make holes of it then"
    return f"{words}; ordinal draws it" if len(values) <= _LEVELS else words


def _of_zeros(numbers: np.ndarray) -> str:
    """Of counts, zeros beyond those of the negative binomial that has their mean and variance."""
    mean, variance = numbers.mean(), numbers.var()
    size = mean**2 / max(variance - mean, 1e-9 * mean)
    expected, share = float(np.exp(-size * np.log1p(mean / size))), float((numbers == 0).mean())
    if share < 2 * expected + _SHARE:
        return ""
    return f"{share:.0%} are 0, where such counts have {expected:.0%}: inflated_count draws them"
