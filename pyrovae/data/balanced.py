"""Weights of rows by which every class is met as often as the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pyrovae.errors import ArgumentError, DataError
from pyrovae.pairs.numbers import as_number


def balanced(labels: Any, *, power: float = 1.0) -> torch.Tensor:
    r"""Weights for `fit(..., row_weights=)` by which training meets every class as often as the others.

    With \( N_c \) of N rows in class c, of C classes, a row of class c has the weight \( (N / (C N_c))^{power} \).

    Args:
        labels: the class of each row: numbers or texts, (rows,).
        power: 1 for classes that are met equally often, 0 for rows that are; between them half measures.

    Returns:
        One weight for each row; their mean is 1 where `power` is.

    Examples:
        >>> import pyrovae as pv
        >>> pv.balanced(["common", "common", "common", "rare"])
        tensor([0.6667, 0.6667, 0.6667, 2.0000], dtype=torch.float64)
    """
    number = as_number(power)
    if number is None or not 0 <= number <= 1:
        raise ArgumentError(f"power={power!r}; give a number between 0 and 1.")
    classes = np.asarray(labels.detach().cpu() if isinstance(labels, torch.Tensor) else labels)
    if classes.ndim != 1 or not len(classes):
        raise ArgumentError(f"labels has the shape {classes.shape}; give the class of each row, (rows,).")
    # Nothing but what is missing differs from itself; of None texts and numbers have no order.
    if any(one is None or one != one for one in classes.tolist()):
        raise DataError("labels has holes; give those rows a class of their own, or leave them out.")
    _, places, counts = np.unique(classes, return_inverse=True, return_counts=True)
    return torch.from_numpy((len(classes) / (len(counts) * counts[places])) ** number)
