"""Scores of novelty, of new data beside the usual ones."""

from __future__ import annotations

from typing import Any

import torch


def draw_score_histograms(axis: Any, usual: torch.Tensor, score: torch.Tensor, *, title: str) -> None:
    """Histograms of a score, of the data and of calibration data; what lies far out is gathered in the last bins."""
    usual = usual[usual.isfinite()]
    low, high = float(usual.min()), float(usual.max())
    span = max(high - low, 1e-9)
    edges = torch.linspace(low - span, high + 2 * span, 61)
    for values, label in ((usual, "calibration"), (score, "data")):
        inside = values.nan_to_num(nan=torch.inf).clamp(float(edges[0]), float(edges[-1]))
        axis.hist(inside, edges, weights=torch.full((len(values),), 1 / len(values)), alpha=0.5, label=label)
    axis.set(title=title, xlabel="score", ylabel="share")
    axis.legend(frameon=False)
