"""Rows that training meets as often as their weights say."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler


def weighted_rows(x: torch.Tensor, weights: np.ndarray, batch_size: int, seed: int) -> Any:
    """Rows drawn anew for each batch in the proportions of their weights; the rows themselves where all are equal.

    So the ELBO of each row stays as it is, and the mean that training follows is the weighted one, in expectation:
    a row of weight 2 counts as one that is there twice.
    """
    if (weights == weights[0]).all():
        return x
    chosen = WeightedRandomSampler(
        torch.from_numpy(weights).tolist(), len(x), generator=torch.Generator().manual_seed(seed)
    )
    return DataLoader(TensorDataset(x), batch_size=batch_size, sampler=chosen)
