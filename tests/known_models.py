"""Models of `pyrovae.truth` that several files of tests compare with."""

from __future__ import annotations

import torch

import pyrovae as pv


def classes() -> pv.truth.DiscreteMixture:
    """Six binary columns of three classes."""
    probabilities = torch.rand(3, 6, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1
    return pv.truth.DiscreteMixture(torch.tensor([0.5, 0.3, 0.2]), probabilities)
