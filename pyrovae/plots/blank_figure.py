"""The one way in which a figure is begun."""

from __future__ import annotations

from typing import Any


def blank_figure(panels: int = 1, *, size: tuple[float, float] | None = None) -> tuple[Any, list[Any]]:
    """A figure with panels side by side, without pyplot: no global state is touched, and no window opens.

    Args:
        panels: how many.
        size: width and height in inches; left out, 3.4 by 3.2 for each panel.

    Returns:
        The matplotlib `Figure`, and its axes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size or (3.4 * panels, 3.2), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes
