"""How settings that were tried compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyrovae.plots.blank_figure import blank_figure


def plot_tried_settings(settings: Sequence[Any], evidence: Sequence[float], error: Sequence[float]) -> Any:
    """The held-out evidence of each setting with its standard error, and a line at the best.

    Args:
        settings: numbers, which are put in their order; or anything else, in the order given.
        evidence: of each.
        error: of each.

    Returns:
        A matplotlib `Figure`.
    """
    numbers = all(isinstance(setting, int | float) for setting in settings)
    order = sorted(range(len(settings)), key=settings.__getitem__) if numbers else range(len(settings))
    places = [settings[row] if numbers else str(settings[row]) for row in order]
    best = settings[max(range(len(settings)), key=evidence.__getitem__)]
    figure, (axis,) = blank_figure(size=(5, 3.2))
    axis.errorbar(places, [evidence[row] for row in order], [error[row] for row in order], fmt="o-", capsize=3)
    axis.set(xlabel="setting", ylabel="held-out log evidence, nats per datum")
    axis.axvline(best if numbers else str(best), linestyle=":", color="grey")
    return figure
