"""The risk of predictions as less sure ones are answered, too."""

from __future__ import annotations

from typing import Any

import torch

from pyrovae.plots.blank_figure import blank_figure


def plot_risk_over_coverage(
    coverage: torch.Tensor, risk: torch.Tensor, perfect: torch.Tensor, *, area: float, perfect_area: float
) -> Any:
    """Risk against coverage, and what perfect confidence and none would give.

    Args:
        coverage: shares of data that are answered, the surest first, up to all.
        risk: the mean loss of those.
        perfect: the same, if the data of least loss were the surest.
        area: under the first curve.
        perfect_area: under the second.

    Returns:
        A matplotlib `Figure`.
    """
    figure, (axis,) = blank_figure()
    axis.plot(coverage, risk, label="by confidence")
    axis.plot(coverage, perfect, "--", label="perfect")
    axis.axhline(float(risk[-1]), ls=":", color="gray", label="no confidence")
    axis.set(xlabel="coverage", ylabel="risk", title=f"area {area:.4f} (perfect {perfect_area:.4f})")
    axis.legend(frameon=False)
    return figure
