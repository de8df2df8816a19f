"""Statistics of data beside those of data sets that a model draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pyrovae.plots.blank_figure import blank_figure


def plot_test_statistics(
    names: Sequence[str], observed: torch.Tensor, drawn: torch.Tensor, chances: torch.Tensor
) -> Any:
    """A histogram of each statistic over the drawn data sets, and a line where the data's own lies.

    Args:
        names: of the statistics.
        observed: theirs of the data, (statistics,).
        drawn: (statistics, draws).
        chances: the p-value of each.

    Returns:
        A matplotlib `Figure`.
    """
    figure, axes = blank_figure(len(names), size=(2.8 * len(names), 2.8))
    for axis, name, own, others, chance in zip(axes, names, observed, drawn, chances, strict=True):
        axis.hist(others[others.isfinite()].numpy(), bins=20, color="C0", alpha=0.6)
        axis.axvline(float(own), color="black")
        axis.set_title(f"{name}, p = {float(chance):.2g}", fontsize="medium")
        axis.set_yticks([])
    return figure
