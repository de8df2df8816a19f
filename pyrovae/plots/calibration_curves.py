"""Whether predictions hold what they promise: intervals, ranks, probabilities."""

from __future__ import annotations

from typing import Any

import torch


def draw_coverage(axis: Any, levels: torch.Tensor, coverage: torch.Tensor, error: torch.Tensor) -> None:
    """The share inside intervals against their level, with two standard errors."""
    _beside_diagonal(axis, levels, coverage, error)
    axis.set(title="coverage", xlabel="level of the interval", ylabel="share inside")


def draw_reliability(axis: Any, said: torch.Tensor, found: torch.Tensor, error: torch.Tensor, *, title: str) -> None:
    """Frequencies against the probabilities that were said."""
    _beside_diagonal(axis, said, found, error)
    axis.set_title(title, fontsize="medium")
    axis.set(xlabel="probability said", ylabel="frequency")


def draw_ranks(axis: Any, points: torch.Tensor, share: torch.Tensor, lower: torch.Tensor, upper: torch.Tensor) -> None:
    """Each curve's distance from the diagonal, and the band in which all of them stay by chance."""
    axis.fill_between(points, lower - points, upper - points, alpha=0.2, lw=0)
    for curve in share.reshape(len(points), -1).T[:20]:  # more would hide each other
        axis.plot(points, curve - points)
    axis.axhline(0, ls=":", color="gray")
    axis.set(xlabel="rank", ylabel="share below, less the rank")


def _beside_diagonal(axis: Any, promised: torch.Tensor, found: torch.Tensor, error: torch.Tensor) -> None:
    axis.plot([0, 1], [0, 1], ":", color="gray")
    axis.errorbar(promised, found, 2 * error, fmt="o", capsize=3, markersize=4)
    axis.set(xlim=(0, 1), ylim=(0, 1))
