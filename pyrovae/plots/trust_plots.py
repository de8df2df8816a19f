"""Pictures of calibration, ranks, risk and novelty, in the style of `Fit.plot`."""

from __future__ import annotations

from typing import Any

import torch


def blank_figure(panels: int, *, height: float = 3.2) -> tuple[Any, list[Any]]:
    """A figure with panels side by side."""
    # Figure without pyplot: no global state of matplotlib is touched, and no window opens.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * panels, height), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def draw_coverage(axis: Any, levels: torch.Tensor, coverage: torch.Tensor, error: torch.Tensor) -> None:
    """The share inside intervals against their level, with two standard errors."""
    axis.plot([0, 1], [0, 1], ":", color="gray")
    axis.errorbar(levels, coverage, 2 * error, fmt="o", capsize=3, markersize=4)
    axis.set(title="coverage", xlabel="level of the interval", ylabel="share inside", xlim=(0, 1), ylim=(0, 1))


def draw_ranks(axis: Any, points: torch.Tensor, share: torch.Tensor, lower: torch.Tensor, upper: torch.Tensor) -> None:
    """Each curve's distance from the diagonal, and the band in which all of them stay by chance."""
    axis.fill_between(points, lower - points, upper - points, alpha=0.2, lw=0)
    for curve in share.reshape(len(points), -1).T[:20]:  # more would hide each other
        axis.plot(points, curve - points)
    axis.axhline(0, ls=":", color="gray")
    axis.set(xlabel="rank", ylabel="share below, less the rank")


def draw_reliability(axis: Any, said: torch.Tensor, found: torch.Tensor, error: torch.Tensor, *, title: str) -> None:
    """Frequencies against the probabilities that were said."""
    axis.plot([0, 1], [0, 1], ":", color="gray")
    axis.errorbar(said, found, 2 * error, fmt="o", capsize=3, markersize=4)
    axis.set_title(title, fontsize="medium")
    axis.set(xlabel="probability said", ylabel="frequency", xlim=(0, 1), ylim=(0, 1))


def draw_surprise(axis: Any, usual: torch.Tensor, score: torch.Tensor, *, title: str) -> None:
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
