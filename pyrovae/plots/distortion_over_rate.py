"""Distortion over rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyrovae.plots.blank_figure import blank_figure


def plot_distortion_over_rate(weights: Sequence[float], rates: Sequence[float], distortions: Sequence[float]) -> Any:
    """Each point with its weight, and the line of equal ELBO through the best.

    Args:
        weights: of the rate, one a point.
        rates: nats per datum.
        distortions: nats per datum.

    Returns:
        A matplotlib `Figure`.
    """
    figure, (axis,) = blank_figure(size=(4.5, 3.6))
    axis.plot(rates, distortions, "o-")
    for weight, *place in zip(weights, rates, distortions, strict=True):
        axis.annotate(f"β = {weight:g}", tuple(place), (5, 5), textcoords="offset points")
    best = max(-rate - distortion for rate, distortion in zip(rates, distortions, strict=True))
    ends = [min(rates), max(rates)]
    axis.plot(ends, [-best - rate for rate in ends], ":", color="grey", label=f"ELBO = {best:.4g}")
    axis.set(xlabel="rate, nats per datum", ylabel="distortion, nats per datum")
    axis.legend(frameon=False)
    return figure
