"""How pictures and panels are laid out on a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyrovae.plots.blank_figure import blank_figure
from pyrovae.plots.pictures import grid, value_range


def sheet(
    rows: np.ndarray, columns: int, *, limits: tuple[float, float] | None = None, words: Sequence[str] = ()
) -> Any:
    """Pictures in lines, with words beside these."""
    sheet = grid(rows, limits or value_range(rows), columns)
    lines = math.ceil(len(rows) / columns)
    width = min(10.0, max(2.0, 0.7 * columns)) + (0.8 if words else 0.0)
    figure, (axis,) = blank_figure(size=(width, width * sheet.height / sheet.width))
    axis.imshow(sheet, cmap="gray", vmin=0, vmax=255)
    axis.spines[:].set_visible(False)
    axis.set_xticks([])
    places = [(line + 0.5) * sheet.height / lines for line in range(lines)]
    axis.set_yticks(places if words else [], words if words else [])
    axis.tick_params(length=0)
    return figure


def filled(rows: np.ndarray, count: int) -> np.ndarray:
    """A last line that is too short, filled up with what is black."""
    return np.concatenate([rows, np.full((count - len(rows), *rows.shape[1:]), rows.min(), rows.dtype)])


def panels(count: int) -> tuple[Any, list[Any]]:
    """A figure of so many panels, at most four in a line."""
    columns = min(4, count)
    figure, lines = lines_of(math.ceil(count / columns), columns)
    axes = [axis for line in lines for axis in line]
    for axis in axes[count:]:
        axis.remove()
    return figure, axes[:count]


def lines_of(lines: int, columns: int) -> tuple[Any, list[list[Any]]]:
    """A figure of lines of panels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(min(12.0, 1.0 + 1.6 * columns), 0.6 + 1.5 * lines), layout="constrained")
    return figure, figure.subplots(lines, columns, squeeze=False).tolist()
